//! What the log has of a verification: the damage that it found, and what it leaves.

use std::time::Duration;

use chrono::Utc;

use super::Run;
use crate::daemon::service_log::clock;
use crate::display::{counted, duration, one_line, size};
use crate::emit;
use crate::jobs::VerifyReport;

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
