//! What the log has of a verification: the damage that it found, and what it leaves.

use std::time::Duration;

use chrono::Utc;

use super::Run;
use crate::daemon::service_log::clock;
use crate::display::{counted, duration, one_line, size};
use crate::emit;
use crate::jobs::{VerifyCopiesReport, VerifyReport};

impl Run<'_> {
    /// Backups were checked. Damage is an error whatever else was found.
    pub(in crate::daemon) fn verified(&self, report: &VerifyReport, took: Duration) {
        let _entered = self.span.enter();
        for finding in &report.findings {
            if let Some(alarm) = finding.alarm() {
                let aside = finding
                    .quarantine
                    .as_ref()
                    .map(|path| path.display().to_string());
                emit!(
                    BackupDamaged,
                    { backup = %finding.stem, quarantine = aside, },
                    "backup {} of {} {alarm}",
                    finding.stem,
                    self.database()
                );
            }
        }
        for problem in &report.problems {
            emit!(
                BackupDamaged,
                { file = %problem.file, },
                "{}: {}",
                one_line(&problem.file),
                problem.what
            );
        }
        for (stem, why) in &report.unchecked {
            emit!(
                RunWarning,
                { backup = %stem, },
                "backup {stem} could not be checked: {why}"
            );
        }
        self.remains(report);
        let bytes: u64 = report.findings.iter().map(|finding| finding.bytes).sum();
        let checked = counted(report.findings.len() as u64, "backup", "backups");
        let damaged = report.damaged() + report.problems.len();
        let took_seconds = took.as_secs_f64();
        if damaged == 0 && report.unchecked.is_empty() {
            emit!(
                RunSucceeded,
                { outcome = "succeeded", bytes = bytes, seconds = took_seconds, },
                "{} succeeded (job {}): {checked} read in full, {}, all intact, in {}",
                self.name(),
                self.subject.job,
                size(bytes),
                duration(took)
            );
        } else {
            emit!(
                RunFailed,
                { outcome = "failed", bytes = bytes, seconds = took_seconds, },
                "{} FAILED (job {}): {checked} read in full, {damaged} damaged, {} could not be \
                 checked, in {}",
                self.name(),
                self.subject.job,
                report.unchecked.len(),
                duration(took)
            );
        }
    }

    /// Copies were checked. Damage is an error whatever else was found.
    pub(in crate::daemon) fn verified_copies(&self, report: &VerifyCopiesReport, took: Duration) {
        let _entered = self.span.enter();
        let destination = &report.destination;
        for (backup, what) in report.damaged() {
            emit!(
                CopyDamaged,
                { backup = %backup, destination = %destination, },
                "the copy of {backup} of {} at {destination} is DAMAGED: {what}",
                self.database()
            );
        }
        for (backup, why) in &report.unread {
            emit!(
                RunWarning,
                { backup = %backup, destination = %destination, },
                "the copy of {backup} at {destination} could not be read: {why}"
            );
        }
        if report.left > 0 {
            emit!(
                RunWarning,
                { left = report.left, },
                "{}: {} did not fit into the job's budget; {} first in the next run",
                self.name(),
                counted(report.left, "copy", "copies"),
                if report.left == 1 { "it comes" } else { "they come" },
            );
        }
        let (seconds, sentence) = (took.as_secs_f64(), report.sentence());
        match report.failure() {
            None if report.findings.is_empty() => tracing::info!("{}: {sentence}", self.name()),
            None => emit!(
                RunSucceeded,
                { outcome = "succeeded", bytes = report.bytes(), seconds = seconds, },
                "{} succeeded (job {}): {sentence}, in {}",
                self.name(),
                self.subject.job,
                duration(took)
            ),
            Some(_) => emit!(
                RunFailed,
                { outcome = "failed", bytes = report.bytes(), seconds = seconds, },
                "{} FAILED (job {}): {sentence}, {} not read, in {}",
                self.name(),
                self.subject.job,
                report.unread.len(),
                duration(took)
            ),
        }
        for warning in &report.warnings {
            emit!(RunWarning, {}, "{}: {warning}", self.name());
        }
    }

    /// What a verification leaves: for the next one, and for the operator.
    fn remains(&self, report: &VerifyReport) {
        if report.left > 0 {
            let next = self.task.job.schedule.next_after(self.slot.max(Utc::now()));
            emit!(
                RunWarning,
                { left = report.left, },
                "{}: {} not reached within the job's budget; {} first in the next run{}",
                self.name(),
                counted(report.left, "backup was", "backups were"),
                if report.left == 1 { "it comes" } else { "they come" },
                next.map_or_else(String::new, |next| {
                    format!(", {}", clock(next.to_utc(), self.zone()))
                })
            );
        }
        if !report.quarantined.is_empty() {
            let names: Vec<&str> = report
                .quarantined
                .iter()
                .map(|one| one.name.as_str())
                .collect();
            emit!(
                RunWarning,
                { count = report.quarantined.len(), },
                "{}: {} in quarantine since an earlier run, to be released or removed: {}",
                self.name(),
                counted(names.len() as u64, "backup is", "backups are"),
                names.join(", ")
            );
        }
    }
}
