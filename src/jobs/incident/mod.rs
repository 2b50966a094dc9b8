//! Incident reports (P11): what `restore.log` has of a restore, as a Markdown file that people
//! complete. The ledger is all that it is made from, so a report that was lost is made again; only the full
//! output of a program that failed is in the first report alone.

mod markdown;
mod text;

use std::path::PathBuf;

use chrono::{DateTime, FixedOffset};
use uuid::Uuid;

use super::{JobContext, JobError};
use crate::repository::{Event, Operation, Record, Repository};

/// A restore on record, or the undoing of one.
#[derive(Clone, Debug, PartialEq)]
pub struct Incident {
    /// Its start; none if it failed before there was anything to do.
    start: Option<Record>,
    /// Its end; none while it goes on, and of one that was killed until the next finds it.
    end: Option<Record>,
}

impl Incident {
    /// The newest record of it.
    fn last(&self) -> Option<&Record> {
        self.end.as_ref().or(self.start.as_ref())
    }

    /// The run.
    pub fn run(&self) -> Uuid {
        self.last().map_or(Uuid::nil(), |record| record.run)
    }

    /// The database.
    pub fn database(&self) -> &str {
        self.last().map_or("", |record| &record.database)
    }

    /// The backup that was restored; none of an undoing.
    pub fn backup(&self) -> Option<&str> {
        self.last()?.backup()
    }

    /// Whether it is a restore or the undoing of one.
    pub fn operation(&self) -> Operation {
        self.last().map_or(Operation::Restore, Record::operation)
    }

    /// How it ended; none if that is not on record.
    pub fn event(&self) -> Option<Event> {
        self.end.as_ref().map(|end| end.event)
    }

    /// When it was asked for, as far as that is on record.
    pub fn asked(&self) -> Option<DateTime<FixedOffset>> {
        let records = [&self.start, &self.end].into_iter().flatten();
        records
            .flat_map(|record| {
                let first = record.restoration().and_then(|facts| facts.steps.first());
                [Some(record.at), first.map(|step| step.at)]
            })
            .flatten()
            .min()
    }

    /// The report, in Markdown. `said` is the full output of a program that failed, which the ledger
    /// does not have because it may show rows.
    pub fn report(&self, detail: Option<&str>) -> String {
        text::report(self, detail)
    }
}

/// Every restore that a directory's `restore.log` knows, and every undoing, oldest first.
///
/// # Errors
/// When the ledger cannot be read.
pub fn incidents(repository: &Repository) -> Result<Vec<Incident>, JobError> {
    let ledger = repository.restore_ledger();
    let mut found = Vec::new();
    let read = ledger.read(|record| add_record(&mut found, record));
    read.map_err(|error| {
        JobError::failed(format!("cannot read {}: {error}", ledger.path().display()))
    })?;
    Ok(found)
}

/// One record more.
fn add_record(found: &mut Vec<Incident>, record: Record) {
    if !record.is_of_restore() {
        return;
    }
    if record.event == Event::Started {
        found.push(Incident {
            start: Some(record),
            end: None,
        });
        return;
    }
    let begun = |incident: &&mut Incident| incident.run() == record.run && incident.end.is_none();
    match found.iter_mut().rev().find(begun) {
        Some(incident) => incident.end = Some(record),
        None => found.push(Incident {
            start: None,
            end: Some(record),
        }),
    }
}

/// Writes the report of a run next to `restore.log`, readable by its owner alone, and gives its path.
/// `said` is the full output of a program that failed, if that is known.
///
/// # Errors
/// When the ledger knows no such run, or the file cannot be written.
pub fn write_incident(
    context: &JobContext,
    repository: &Repository,
    run: Uuid,
    detail: Option<&str>,
) -> Result<PathBuf, JobError> {
    let all = incidents(repository)?;
    let Some(incident) = all.iter().rev().find(|incident| incident.run() == run) else {
        let ledger = repository.restore_ledger();
        return Err(JobError::failed(format!(
            "{} does not have the run {run}",
            ledger.path().display()
        )));
    };
    let at = incident.asked().unwrap_or_else(|| context.now());
    Ok(repository.write_incident(at, &incident.report(detail))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(run: u128, operation: &str, event: &str, minute: u32) -> Record {
        serde_json::from_value(serde_json::json!({
            "at": format!("2025-07-09T14:{minute:02}:00+03:00"),
            "run": Uuid::from_u128(run),
            "operation": operation,
            "event": event,
            "database": "app",
        }))
        .unwrap()
    }

    #[test]
    fn starts_and_ends_find_each_other() {
        let mut found = Vec::new();
        for record in [
            record(1, "restore", "started", 1),
            record(2, "drill", "started", 2),
            // Killed: the next one closes it.
            record(3, "restore", "started", 3),
            record(1, "restore", "succeeded", 4),
            record(3, "restore", "interrupted", 5),
            record(2, "drill", "succeeded", 6),
            // Nothing was begun.
            record(4, "restore", "failed", 7),
            record(5, "undo-restore", "started", 8),
        ] {
            add_record(&mut found, record);
        }
        let sentences: Vec<_> = found
            .iter()
            .map(|one| {
                (
                    one.run().as_u128(),
                    one.start.is_some(),
                    one.event(),
                    one.operation(),
                )
            })
            .collect();
        assert_eq!(
            sentences,
            [
                (1, true, Some(Event::Succeeded), Operation::Restore),
                (3, true, Some(Event::Interrupted), Operation::Restore),
                (4, false, Some(Event::Failed), Operation::Restore),
                (5, true, None, Operation::UndoRestore),
            ]
        );
    }
}
