//! What the daemon says in its log: one line for each thing that happens, a sentence for people and
//! fields for programs.

mod verification;

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
use crate::jobs::{
    BackupReport, CopyReport, DefinitionsReport, DrillReport, JobError, JobErrorKind, PruneReport,
};
use crate::policy::{DefinitionsResult, DrillMissed, Series};
use crate::repository::Removal;
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
        kind = task.kind(),
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
        let what = self.task.noun();
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
        emit!(
            RunSucceeded,
            {
                outcome = "succeeded",
                backup = %manifest.name,
                bytes = manifest.bytes(),
                rows = manifest.census.summary.rows,
                seconds = took.as_secs_f64(),
            },
            "{} succeeded (job {}): {}, {}",
            self.name(),
            self.subject.job,
            manifest.name,
            report.summary(took)
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
        emit!(
            BackupsRemoved,
            { bytes = pruned.freed, count = pruned.removed.len(), },
            "retention removed {} of {}, {}: {}",
            counted(pruned.removed.len() as u64, "backup", "backups"),
            self.database(),
            size(pruned.freed),
            with_reasons(&pruned.removed)
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

    /// Backups were copied to a destination.
    pub(super) fn copied(&self, report: &CopyReport, took: Duration) {
        let _entered = self.span.enter();
        let seconds = took.as_secs_f64();
        let sentence = report.sentence();
        match report.failure() {
            None if report.copied.is_empty() => tracing::info!("{}: {sentence}", self.name()),
            None => emit!(
                RunSucceeded,
                { outcome = "succeeded", bytes = report.bytes(), seconds = seconds, },
                "{} succeeded (job {}): {sentence}, in {}",
                self.name(),
                self.subject.job,
                duration(took)
            ),
            Some(why) => emit!(
                RunFailed,
                { outcome = "failed", bytes = report.bytes(), seconds = seconds, },
                "{} FAILED (job {}): {why}; {sentence}",
                self.name(),
                self.subject.job
            ),
        }
        self.removed_copies(report);
        for warning in &report.warnings {
            emit!(RunWarning, {}, "{}: {warning}", self.name());
        }
    }

    fn removed_copies(&self, report: &CopyReport) {
        if report.removed.is_empty() {
            return;
        }
        emit!(
            CopiesRemoved,
            { count = report.removed.len(), },
            "retention removed {} of {} from {}: {}",
            counted(report.removed.len() as u64, "copy", "copies"),
            self.database(),
            report.destination,
            with_reasons(&report.removed)
        );
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
                if let Some(alarm) = report.outcome.alarm() {
                    emit!(
                        BackupDamaged,
                        { backup = %stem, },
                        "backup {stem} of {} {alarm}",
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

    /// The definitions of a backup were tried; none where that was needed no more. What cannot be tried
    /// here is reported once, and not every night.
    pub(super) fn tried_definitions(&self, report: Option<&DefinitionsReport>, took: Duration) {
        let _entered = self.span.enter();
        let Some(report) = report else {
            tracing::debug!("{}: tried meanwhile", self.name());
            return;
        };
        let (stem, database) = (&report.stem, self.database());
        let what = report.sentence();
        match report.result {
            DefinitionsResult::Load => emit!(
                RunSucceeded,
                { outcome = "succeeded", backup = %stem, seconds = took.as_secs_f64(), },
                "{} succeeded (job {}): {stem}: {what}, in {}",
                self.name(),
                self.subject.job,
                duration(took)
            ),
            DefinitionsResult::Refused => emit!(
                DefinitionsDoNotLoad,
                { outcome = "failed", backup = %stem, seconds = took.as_secs_f64(), },
                "the {what} (backup {stem} of {database}); rows not tried"
            ),
            DefinitionsResult::NotTried if report.is_news => emit!(
                RunWarning,
                { backup = %stem, },
                "{stem} of {database}: {what}"
            ),
            DefinitionsResult::NotTried => tracing::info!("{stem} of {database}: {what}"),
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

/// What was removed, each with the reasons.
fn with_reasons(removed: &[Removal]) -> String {
    let names: Vec<String> = removed
        .iter()
        .map(|removal| format!("{} ({})", removal.backup, removal.reasons.join("; ")))
        .collect();
    names.join(", ")
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
