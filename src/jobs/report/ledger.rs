//! What the ledgers of a database have of a time.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, FixedOffset, TimeDelta};
use uuid::Uuid;

use crate::display::size;
use crate::jobs::LastDrill;
use crate::jobs::slots::{SLOT_DAYS, SlotRuns};
use crate::policy::{
    BackupRecord, CopyState, DatabaseRecord, DefinitionsResult, ReportEntry, ReportSpan,
    ReportedDrill, ReportedFailure, Series, WINDOW,
};
use crate::repository::{CopyDetails, Details, Event, Operation, Record, Repository, Requester};

/// A clock that jumped may have dated some records wrong, so one old record is not the end.
const OLD_RECORDS: u32 = 100;

/// What was read.
pub(super) struct Reading {
    span: ReportSpan,
    /// All but the series and the label.
    pub(super) record: DatabaseRecord,
    /// The runs of backups, for the slots that they were for.
    pub(super) slot_runs: SlotRuns,
    /// Of each series the newest run in the time, and the bytes of the backups before it, oldest first.
    pub(super) last: BTreeMap<Series, (Option<BackupRecord>, Vec<u64>)>,
    /// When the oldest record was written that was read.
    pub(super) oldest: Option<DateTime<FixedOffset>>,
    ended: BTreeSet<Uuid>,
    old: u32,
}

impl Reading {
    /// Reads both ledgers of a directory, from their ends back to 90 days before the time's end.
    ///
    /// # Errors
    /// When one cannot be read.
    pub(super) fn of(directory: &Path, span: ReportSpan) -> io::Result<Self> {
        let mut reading = Self {
            span,
            record: DatabaseRecord::default(),
            slot_runs: SlotRuns::default(),
            last: BTreeMap::new(),
            oldest: None,
            ended: BTreeSet::new(),
            old: 0,
        };
        let repository = Repository::at(directory);
        let mut is_whole = true;
        repository.ledger().read_backwards(|record| {
            let flow = reading.add(&record);
            is_whole &= flow.is_continue();
            flow
        })?;
        // Its restores may be older than its backups, and that makes it no older here.
        reading.record.first = reading.oldest.filter(|_| is_whole);
        let oldest = reading.oldest;
        reading.old = 0;
        repository
            .restore_ledger()
            .read_backwards(|record| reading.add(&record))?;
        reading.oldest = oldest;
        for (_, before) in reading.last.values_mut() {
            before.reverse();
        }
        Ok(reading)
    }

    /// Takes in a record that is older than those before.
    fn add(&mut self, record: &Record) -> ControlFlow<()> {
        self.oldest = Some(record.at);
        if record.at < self.span.until - TimeDelta::days(SLOT_DAYS + 2) {
            self.old += 1;
            if self.old >= OLD_RECORDS {
                return ControlFlow::Break(());
            }
        } else {
            self.old = 0;
        }
        let is_partial = match &record.details {
            Details::Backup(details) => details.partial,
            Details::Drill(details) => details.partial,
            _ => false,
        };
        if !is_partial {
            self.add_slot_run(record);
            self.add_backup(record);
            self.add_recovery_time(record);
        }
        if self.span.contains(&record.at) {
            self.add_request(record);
            self.add_change(record);
            if !is_partial {
                self.add_end(record);
            }
        }
        ControlFlow::Continue(())
    }

    fn add_slot_run(&mut self, record: &Record) {
        match record.event {
            Event::Started if self.ended.remove(&record.run) => {}
            Event::Started => {
                let alive = record.requested_by.as_ref().map(Requester::may_be_alive);
                self.slot_runs.add_open(record, alive == Some(true));
            }
            Event::Skipped => self.slot_runs.add(record),
            Event::Succeeded | Event::Failed | Event::Interrupted => {
                if record.operation() == Operation::Backup {
                    self.ended.insert(record.run);
                }
                self.slot_runs.add(record);
            }
        }
    }

    fn add_backup(&mut self, record: &Record) {
        let Details::Backup(details) = &record.details else {
            return;
        };
        let Some(series) = details.series.clone() else {
            return;
        };
        if !has_ended(record) || record.at > self.span.until {
            return;
        }
        let took = took(record);
        let started = took.and_then(|took| TimeDelta::from_std(took).ok());
        let started = record.at - started.unwrap_or_default();
        let succeeded = record.event == Event::Succeeded;
        if succeeded {
            self.record.newest = self.record.newest.max(Some(started));
        }
        let (last, before) = self.last.entry(series).or_default();
        if last.is_none() && before.is_empty() && self.span.contains(&record.at) {
            *last = Some(BackupRecord {
                started,
                backup: details.backup.clone().filter(|_| succeeded),
                bytes: details.bytes.filter(|_| succeeded),
                took: took.filter(|_| succeeded),
                message: record.message.clone().filter(|_| !succeeded),
            });
        } else if succeeded && before.len() < WINDOW {
            before.extend(details.bytes);
        }
    }

    fn add_recovery_time(&mut self, record: &Record) {
        let wanted = self.record.recovery_time.is_none() && record.at <= self.span.until;
        if wanted && record.operation() == Operation::Drill {
            let drill = LastDrill::of(record.clone());
            self.record.recovery_time = drill.map(|drill| drill.recovery_time());
        }
    }

    /// What somebody asked for: what no schedule started.
    fn add_request(&mut self, record: &Record) {
        let Some(requester) = record
            .requested_by
            .as_ref()
            .filter(|_| record.job.is_none())
        else {
            return;
        };
        // What the service does of its own accord.
        let is_own = matches!(
            record.operation(),
            Operation::Definitions | Operation::Quarantine
        );
        if is_own || record.event == Event::Skipped {
            return;
        }
        let about = record.backup().map(|backup| format!(" of {backup}"));
        let reason = match &record.details {
            Details::Backup(details) => details.reason.as_ref(),
            _ => None,
        };
        let reason = reason.map(|reason| format!(", reason: {reason}"));
        self.record.requests.add_older(ReportEntry {
            at: record.at,
            what: format!(
                "{}{} by {requester}{}",
                noun(record.operation()),
                about.unwrap_or_default(),
                reason.unwrap_or_default()
            ),
        });
    }

    fn add_change(&mut self, record: &Record) {
        let about = record.backup().unwrap_or("no backup");
        let what = match (&record.details, record.definitions_trial()) {
            (_, Some(trial)) => match trial.result {
                DefinitionsResult::Load => format!("new definitions: those of {about} load"),
                DefinitionsResult::Refused => {
                    format!("new definitions: the server refuses those of {about}")
                }
                DefinitionsResult::NotTried => {
                    format!("new definitions: those of {about} could not be tried")
                }
            },
            _ if record.event != Event::Succeeded => return,
            (Details::Quarantine(_), _) => format!("{about} was moved to the quarantine"),
            (Details::Release { .. }, _) => format!("{about} was released from the quarantine"),
            (Details::Pin(_), _) => format!("{about} was pinned"),
            (Details::Unpin(_), _) => format!("{about} was unpinned"),
            (Details::Accept { .. }, _) => format!("a concern about {about} was accepted"),
            (Details::Restore(_), _) => format!("the database was restored from {about}"),
            (Details::UndoRestore { .. }, _) => "a restore was undone".to_owned(),
            _ => return,
        };
        let at = record.at;
        self.record.changes.add_older(ReportEntry { at, what });
    }

    /// Takes in the end of a run in the time.
    fn add_end(&mut self, record: &Record) {
        if !has_ended(record) || !is_run(record.operation()) {
            return;
        }
        let (at, succeeded) = (record.at, record.event == Event::Succeeded);
        let record_of = &mut self.record;
        record_of.ended += 1;
        if !succeeded {
            record_of.failures.add_older(failure(record));
        }
        let found = record.damaged().len() as u64;
        match &record.details {
            Details::Verify(_) => {
                record_of.verified.add_older(at, succeeded);
                record_of.damaged += found;
            }
            Details::Backup(_) | Details::Prune { .. } => record_of.pruned.add_older(at, succeeded),
            Details::Drill(_) => record_of.drills.add_older(ReportedDrill {
                at,
                backup: record.backup().map(str::to_owned),
                passed: record.is_drill_result().then_some(succeeded),
                took: took(record),
                message: record.message.clone(),
            }),
            Details::Copy(details) => {
                if let Some(state) = details.copy.filter(|_| succeeded) {
                    let what = copied(record, (details, state));
                    record_of.copied.add_older(ReportEntry { at, what });
                }
            }
            _ => {}
        }
        let destination =
            destination(record).map_or_else(String::new, |name| format!(" at {name}"));
        for removal in record.removed() {
            let reasons = removal.reasons.join("; ");
            let what = format!("{}{destination} ({reasons})", removal.backup);
            record_of.removed.add_older(ReportEntry { at, what });
        }
    }
}

/// Where copies go, or went, in a run that copied.
fn destination(record: &Record) -> Option<&str> {
    match &record.details {
        Details::Copy(details) => details.destination.as_deref(),
        _ => None,
    }
}

/// "`backup_20261129_020000` to offsite, 61.2 MiB, opened".
fn copied(record: &Record, (details, state): (&CopyDetails, CopyState)) -> String {
    let bytes = details.bytes.map(|bytes| format!(", {}", size(bytes)));
    format!(
        "{} to {}{}, {}",
        record.backup().unwrap_or("a backup"),
        destination(record).unwrap_or("a destination"),
        bytes.unwrap_or_default(),
        state.word()
    )
}

fn failure(record: &Record) -> ReportedFailure {
    let series = match &record.details {
        Details::Backup(details) => details.series.as_ref(),
        _ => None,
    };
    let series = series.map_or_else(String::new, |series| format!("{series} "));
    let to = destination(record).map_or_else(String::new, |name| format!(" to {name}"));
    let how = match record.event {
        Event::Interrupted => "was interrupted",
        _ => "failed",
    };
    let message = record.message.as_ref();
    let message = message.map_or_else(String::new, |message| format!(": {message}"));
    ReportedFailure {
        at: record.at,
        what: format!("{series}{}{to} {how}{message}", noun(record.operation())),
    }
}

fn has_ended(record: &Record) -> bool {
    matches!(
        record.event,
        Event::Succeeded | Event::Failed | Event::Interrupted
    )
}

/// Whether an operation is a run of a job or of a command that can fail on its own.
fn is_run(operation: Operation) -> bool {
    matches!(
        operation,
        Operation::Backup
            | Operation::Verify
            | Operation::Drill
            | Operation::Rehearse
            | Operation::Prune
            | Operation::Copy
            | Operation::Restore
            | Operation::UndoRestore
    )
}

fn took(record: &Record) -> Option<Duration> {
    Duration::try_from_secs_f64(record.seconds?).ok()
}

fn noun(operation: Operation) -> &'static str {
    match operation {
        Operation::Backup => "backup",
        Operation::Verify => "verify run",
        Operation::Drill => "drill",
        Operation::Definitions => "trial of definitions",
        Operation::Copy => "copy",
        Operation::VerifyCopies => "verify run of copies",
        Operation::Rehearse => "rehearsal",
        Operation::Prune => "prune run",
        Operation::Pin => "pin",
        Operation::Unpin => "unpin",
        Operation::Quarantine => "quarantine",
        Operation::Release => "release",
        Operation::Accept => "accept",
        Operation::Restore => "restore",
        Operation::UndoRestore => "undo of a restore",
    }
}
