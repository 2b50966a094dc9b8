//! What a tick of the schedule needs to know and to record besides the runs themselves.

use std::ops::ControlFlow;

use chrono::{DateTime, Utc};

use super::JobContext;
use super::error::JobError;
use super::record::append;
use super::run::Run;
use crate::policy::Series;
use crate::repository::{Details, Event, Operation, Repository};

/// A run that did not happen although it was due.
#[derive(Clone, Copy, Debug)]
pub struct Skip<'a> {
    /// The database that it was for.
    pub database: &'a str,
    /// What it would have done.
    pub operation: Operation,
    /// The series of the backup that it would have made.
    pub series: Option<&'a Series>,
    /// The destination of the copies that it would have been about.
    pub destination: Option<&'a str>,
    /// Why it did not happen.
    pub reason: &'a str,
}

/// Records that a run did not happen although it was due.
///
/// # Errors
/// When the ledger cannot be written, or the directory cannot be made.
pub fn record_skip(
    context: &JobContext,
    repository: &Repository,
    skip: Skip<'_>,
) -> Result<(), JobError> {
    repository.create()?;
    let mut details = Details::of(skip.operation);
    let destination = skip.destination.map(str::to_owned);
    match &mut details {
        Details::Backup(details) => details.series = skip.series.cloned(),
        Details::Copy(details) => details.destination = destination,
        Details::VerifyCopies(details) => details.destination = destination.unwrap_or_default(),
        _ => {}
    }
    let run = Run::alone(context);
    let mut record = run.record_with_requester(Event::Skipped, skip.database, details);
    record.message = Some(skip.reason.to_owned());
    append(
        &repository.ledger_of(skip.operation),
        &record,
        "a run was skipped, but",
    )
}

/// The newest moment up to now for which a series of a database has a backup, as its ledger knows:
/// the slot that it was due for, or the time when it was asked for. None when there is none. What a
/// clock that was ahead has left in the ledger does not count.
///
/// # Errors
/// When the ledger cannot be read.
pub fn newest_success(
    repository: &Repository,
    series: &Series,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, JobError> {
    let mut newest = None;
    let ledger = repository.ledger();
    let read = ledger.read_backwards(|record| {
        if let Details::Backup(details) = &record.details
            && record.event == Event::Succeeded
            && details.series.as_ref() == Some(series)
        {
            let moment = record.due.unwrap_or(record.at).to_utc();
            newest = newest.max(Some(moment).filter(|moment| *moment <= now));
        }
        // Records older than what is known now know nothing newer.
        match newest {
            Some(newest) if record.at <= newest => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    });
    read.map_err(|source| {
        JobError::failed(format!(
            "cannot read the ledger {}: {source}",
            ledger.path().display()
        ))
    })?;
    Ok(newest)
}
