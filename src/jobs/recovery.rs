//! Putting right what runs left that were cut short: by a crash, a power cut, or SIGKILL.

use chrono::{DateTime, FixedOffset};
use uuid::Uuid;

use super::JobContext;
use super::error::JobError;
use super::record::{FOUND_LATER, append, unrecorded};
use super::restore::{self, CutShort};
use crate::repository::{
    Catalogue, Details, Event, Lock, Operation, Record, Repository, RepositoryError, Requester,
};

/// What was found and put right.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recovery {
    /// Runs whose temporary files were removed.
    pub swept: Vec<Uuid>,
    /// Backups that were whole and checked, and only had to get their names.
    pub completed: Vec<String>,
    /// What could not be put right, one sentence each; the next run tries again.
    pub remaining: Vec<String>,
    /// Runs that the ledger held for running; their ends as they are on record now.
    pub closed: Vec<Record>,
    /// Restores among them, each with what there is to know of it.
    pub restores: Vec<(Record, CutShort)>,
}

/// Puts a database's directory in order, as every run does before it begins. For a daemon that
/// starts: what a crash left is not to wait for the next run.
///
/// None when there is no directory yet, or another run is at work in it, which has done this
/// already.
///
/// # Errors
/// When the directory cannot be read or written.
pub fn recover(
    context: &JobContext,
    repository: &Repository,
) -> Result<Option<Recovery>, JobError> {
    if matches!(repository.directory().try_exists(), Ok(false)) {
        return Ok(None);
    }
    let lock = match repository.lock(&context.holder("recovery")) {
        Err(RepositoryError::Busy { .. }) => return Ok(None),
        lock => lock?,
    };
    let (mut recovery, catalogue) = sweep(repository, &lock)?;
    recovery.closed = close_open_runs(context, repository, &catalogue)?;
    recovery.restores = restore::close_open_runs(context, repository)?;
    Ok(Some(recovery))
}

/// Completes or removes what is left on the disk, and looks at what stands then.
pub(super) fn sweep(
    repository: &Repository,
    lock: &Lock,
) -> Result<(Recovery, Catalogue), JobError> {
    let swept = repository.sweep(lock)?;
    let recovery = Recovery {
        swept: swept.removed,
        completed: swept.completed,
        remaining: swept.remaining,
        ..Recovery::default()
    };
    Ok((recovery, repository.catalogue()?))
}

/// Runs that a crash ended have no end in the ledger; whoever holds the lock knows that they are
/// over. Verifications need no lock; their processes tell. A run whose backup stands, or is in
/// quarantine, has succeeded, whatever kept it from saying so.
pub(super) fn close_open_runs(
    context: &JobContext,
    repository: &Repository,
    catalogue: &Catalogue,
) -> Result<Vec<Record>, JobError> {
    let ledger = repository.ledger();
    let nothing_done = "nothing was done because";
    // Not to be seen, it is no reason to do nothing else.
    let aside = repository.quarantined().unwrap_or_default();
    let mut closed = Vec::new();
    for open in ledger
        .open_runs()
        .map_err(unrecorded(&ledger, nothing_done))?
    {
        if open.operation() == Operation::Verify && may_be_going_on(&open) {
            continue;
        }
        let is_aside = open.operation() == Operation::Quarantine
            && aside
                .iter()
                .any(|one| open.backup() == Some(&one.stem.to_string()));
        let record = end_of(open, context.now(), catalogue, is_aside);
        append(&ledger, &record, nothing_done)?;
        closed.push(record);
    }
    Ok(closed)
}

/// Whether the process that began a run that holds no lock is still there.
fn may_be_going_on(open: &Record) -> bool {
    open.requested_by
        .as_ref()
        .is_none_or(Requester::may_be_alive)
}

fn end_of(
    open: Record,
    now: DateTime<FixedOffset>,
    catalogue: &Catalogue,
    is_aside: bool,
) -> Record {
    let made = catalogue.backups.iter().find(|entry| entry.run == open.run);
    let (event, message) = match made {
        _ if is_aside => (
            Event::Succeeded,
            "it was quarantined by the next run, since its own was cut short",
        ),
        Some(_) => (
            Event::Succeeded,
            "its end could not be recorded at the time; found by a later run",
        ),
        None => (Event::Interrupted, FOUND_LATER),
    };
    let mut end = open.closed(now, event, message);
    if let (Details::Backup(details), Some(entry)) = (&mut end.details, made) {
        details.backup = Some(entry.stem.to_string());
        details.bytes = Some(entry.bytes);
    }
    end
}
