//! What the daemon says in its log: one line for each thing that happens, a sentence for people and
//! fields for programs.

use std::time::Duration;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use tracing::Span;
use uuid::Uuid;

use super::board::{Skipped, Subject, Work};
use super::service_log::clock;
use super::task::Task;
use crate::display::{counted, duration, one_line, size};
use crate::emit;
use crate::jobs::{BackupReport, DrillReport, JobError, JobErrorKind, PruneReport, VerifyReport};
use crate::policy::{DrillMissed, Series};
use crate::telemetry::EVENT_TARGET;

/// One run, as every line about it names it.
#[derive(Clone, Debug)]
pub(super) struct Run<'a> {
    pub subject: &'a Subject,
    pub task: &'a Task,
    pub slot: DateTime<Utc>,
    pub attempt: u32,
    /// What it says is said in this span.
    pub span: &'a Span,
}

/// The span of a run, whose fields every line below it has. Work that is skipped has no run's id.
pub(super) fn span(work: &Work<Task>, id: Option<Uuid>) -> Span {
    let Work { subject, task, .. } = work;
    let (_, series) = task.operation();
    let due = work.slot.with_timezone(&task.job.schedule.zone());
    tracing::error_span!(
        target: EVENT_TARGET,
        "run",
        job = %subject.job,
        kind = task.job.kind.word(),
        server = %subject.server,
        database = subject.database.as_deref(),
        series = series.map(Series::as_str),
        run_id = %id.unwrap_or_default(),
        due = %due.to_rfc3339(),
        attempt = work.attempt,
    )
}

impl Run<'_> {
    fn zone(&self) -> Tz {
        self.task.job.schedule.zone()
    }

    /// `backup of app` with what tells it from others: `(job daily)`.
    fn name(&self) -> String {
        let what = self.task.job.kind.noun();
        match &self.subject.database {
            Some(_) => format!("{what} of {}", self.database()),
            None => format!("{what} on server {}", self.subject.server),
        }
    }

    /// The database as it is shown; nothing where the run has none.
    fn database(&self) -> String {
        let database = self.subject.database.as_deref().unwrap_or_default();
        one_line(&self.task.plan.label(&self.subject.server, database))
    }

    /// What it is, and for which job.
    pub(super) fn title(&self) -> String {
        format!("{} (job {})", self.name(), self.subject.job)
    }

    /// A run begins.
    pub(super) fn started(&self) {
        let _entered = self.span.enter();
        let again = match self.attempt {
            1 => String::new(),
            attempt => format!(", attempt {attempt}"),
        };
        let late = if self.task.is_catch_up {
            ", a catch-up run"
        } else {
            ""
        };
        emit!(
            RunStarted,
            {},
            "{} begins (job {}, due {}{late}{again})",
            self.name(),
            self.subject.job,
            clock(self.slot, self.zone())
        );
    }

    /// A backup was made.
    pub(super) fn backed_up(&self, report: &BackupReport, took: Duration) {
        let _entered = self.span.enter();
        let manifest = &report.manifest;
        let bytes = manifest.bytes();
        let summary = &manifest.census.summary;
        emit!(
            RunSucceeded,
            {
                outcome = "succeeded",
                backup = %manifest.name,
                bytes = bytes,
                rows = summary.rows,
                seconds = took.as_secs_f64(),
            },
            "{} succeeded (job {}): {}, {} in {}, {}, read back and intact, in {}",
            self.name(),
            self.subject.job,
            manifest.name,
            counted(summary.rows, "row", "rows"),
            counted(summary.tables, "table", "tables"),
            size(bytes),
            duration(took)
        );
        for warning in &report.warnings {
            emit!(RunWarning, {}, "{}: {warning}", self.name());
        }
        if let Some(pruned) = &report.pruned {
            self.removed(pruned);
        }
    }

    /// The newest test restore of the database is older than it may be.
    pub(super) fn drill_overdue(&self, missed: DrillMissed) {
        let _entered = self.span.enter();
        let (DrillMissed::Never { age, limit } | DrillMissed::TooOld { age, limit }) = missed;
        emit!(
            DrillOverdue,
            { age_seconds = age.as_secs(), limit_seconds = limit.as_secs(), },
            "the drill of {} is overdue: {missed}",
            self.database()
        );
    }

    /// Something of the database, or of its backups, was there before and is not any more.
    pub(super) fn losses(&self, losses: &[String]) {
        let _entered = self.span.enter();
        for loss in losses {
            emit!(LossFound, {}, "{loss}");
        }
    }

    fn removed(&self, pruned: &PruneReport) {
        if pruned.removed.is_empty() {
            return;
        }
        let names: Vec<String> = pruned
            .removed
            .iter()
            .map(|removal| format!("{} ({})", removal.backup, removal.reasons.join("; ")))
            .collect();
        emit!(
            BackupsRemoved,
            { bytes = pruned.freed, count = pruned.removed.len(), },
            "retention removed {} of {}, {}: {}",
            counted(pruned.removed.len() as u64, "backup", "backups"),
            self.database(),
            size(pruned.freed),
            names.join(", ")
        );
    }

    /// Retention was carried out.
    pub(super) fn pruned(&self, report: &PruneReport, took: Duration) {
        let _entered = self.span.enter();
        emit!(
            RunSucceeded,
            { outcome = "succeeded", bytes = report.freed, seconds = took.as_secs_f64(), },
            "{} succeeded (job {}): {} removed, {} freed, in {}",
            self.name(),
            self.subject.job,
            counted(report.removed.len() as u64, "backup", "backups"),
            size(report.freed),
            duration(took)
        );
        self.removed(report);
        for series in &report.series {
            if let Some(doubt) = &series.clock_doubt {
                emit!(
                    RunWarning,
                    {},
                    "{}: series {}: nothing was removed: {doubt}",
                    self.name(),
                    series.series
                );
            }
        }
    }

    /// Backups were checked. Damage is an error whatever else was found.
    pub(super) fn verified(&self, report: &VerifyReport, took: Duration) {
        let _entered = self.span.enter();
        for finding in &report.findings {
            if let Some(damage) = &finding.damage {
                let aside = finding
                    .quarantine
                    .as_ref()
                    .map(|path| path.display().to_string());
                emit!(
                    BackupDamaged,
                    { backup = %finding.stem, quarantine = aside, },
                    "backup {} of {} is DAMAGED: {damage}{}",
                    finding.stem,
                    self.database(),
                    finding.became()
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

    /// A backup was restored for a test; none when there was no sound one.
    pub(super) fn drilled(&self, report: Option<&DrillReport>, took: Duration) {
        let _entered = self.span.enter();
        let seconds = took.as_secs_f64();
        let Some(report) = report else {
            emit!(
                RunFailed,
                { outcome = "failed", seconds = seconds, },
                "{} FAILED (job {}): there is no intact backup to restore",
                self.name(),
                self.subject.job
            );
            return;
        };
        let stem = &report.stem;
        let back = report.recovery_time();
        match report.outcome.sentence() {
            None => emit!(
                RunSucceeded,
                {
                    outcome = "succeeded",
                    backup = %stem,
                    bytes = report.bytes,
                    rows = report.rows,
                    recovery_seconds = back.as_secs_f64(),
                    seconds = seconds,
                },
                "{} succeeded (job {}): {stem} restores, {} in {} compared, in {}; the data was \
                 back in {}",
                self.name(),
                self.subject.job,
                counted(report.rows, "row", "rows"),
                counted(report.tables, "table", "tables"),
                duration(took),
                duration(back)
            ),
            Some(sentence) => {
                if report.outcome.is_bad() {
                    emit!(
                        BackupDamaged,
                        { backup = %stem, },
                        "backup {stem} of {} does NOT RESTORE: {sentence}",
                        self.database()
                    );
                }
                emit!(
                    RunFailed,
                    { outcome = "failed", backup = %stem, seconds = seconds, },
                    "{} FAILED (job {}): {stem}: {sentence}",
                    self.name(),
                    self.subject.job
                );
            }
        }
        for remark in &report.remarks {
            emit!(RunWarning, { backup = %stem, }, "{stem}: {remark}");
        }
    }

    /// A run failed, for good or until it is tried again.
    pub(super) fn failed(&self, error: &JobError, again: Option<DateTime<Utc>>, took: Duration) {
        let _entered = self.span.enter();
        let seconds = took.as_secs_f64();
        match (error.kind(), again) {
            (JobErrorKind::Interrupted, _) => {
                emit!(
                    RunInterrupted,
                    { outcome = "interrupted", seconds = seconds, },
                    "{} was interrupted (job {}) after {}",
                    self.name(),
                    self.subject.job,
                    duration(took)
                );
            }
            (_, Some(again)) => emit!(
                RunRetried,
                { outcome = "retried", seconds = seconds, },
                "{} failed for a reason that may pass (job {}, attempt {}); next attempt at {}: {error}",
                self.name(),
                self.subject.job,
                self.attempt,
                again.with_timezone(&self.zone()).format("%H:%M:%S")
            ),
            (_, None) => emit!(
                RunFailed,
                { outcome = "failed", seconds = seconds, },
                "{} FAILED (job {}): {error}",
                self.name(),
                self.subject.job
            ),
        }
    }

    /// A part of the work that cannot be done, though the rest can.
    pub(super) fn impossible(&self, error: &JobError) {
        let _entered = self.span.enter();
        emit!(
            RunFailed,
            { outcome = "failed", },
            "{}: {error}",
            self.name()
        );
    }

    /// A fault of our own.
    pub(super) fn panicked(&self, panic: &str, took: Duration) {
        let _entered = self.span.enter();
        emit!(
            RunFailed,
            { outcome = "failed", seconds = took.as_secs_f64(), },
            "{} FAILED (job {}) by an internal error, please report it: {panic}",
            self.name(),
            self.subject.job
        );
    }
}

/// Work that was due and is not done. Gives the span in which it is said.
pub(super) fn skipped(skipped: &Skipped<Task>) -> Span {
    let work = &skipped.work;
    let span = span(work, None);
    let run = Run {
        subject: &work.subject,
        task: &work.task,
        slot: work.slot,
        attempt: work.attempt,
        span: &span,
    };
    span.in_scope(|| {
        emit!(
            RunSkipped,
            { outcome = "skipped", },
            "{} due {} was skipped (job {}): {}",
            run.name(),
            clock(work.slot, run.zone()),
            work.subject.job,
            skipped.reason
        );
    });
    span
}
