//! Writing a ledger by which a run stands or falls.

use super::JobContext;
use super::error::JobError;
use crate::repository::{Event, Ledger, Operation, Record, Requester};

/// What is on record of a run that a crash ended.
pub(super) const FOUND_LATER: &str = "the process ended before the run did; found by a later run";

/// Appends a record. `done` begins the sentence that says what it means if that fails: what was
/// done, or that nothing was.
///
/// # Errors
/// The ledger cannot be written.
pub(super) fn append(ledger: &Ledger, record: &Record, done: &str) -> Result<(), JobError> {
    ledger.append(record).map_err(unrecorded(ledger, done))
}

/// Closes the runs of an operation that needs no lock and that a crash ended: they have no end in
/// the ledger, and their processes tell whether they are over.
///
/// # Errors
/// The ledger cannot be read or written.
pub(super) fn close_dead_runs(
    context: &JobContext,
    ledger: &Ledger,
    operation: Operation,
    done: &str,
) -> Result<(), JobError> {
    for open in ledger.open_runs().map_err(unrecorded(ledger, done))? {
        let alive = open.requested_by.as_ref().map(Requester::may_be_alive);
        if open.operation() != operation || alive == Some(true) {
            continue;
        }
        let end = open.closed(context.now(), Event::Interrupted, FOUND_LATER);
        append(ledger, &end, done)?;
    }
    Ok(())
}

/// What an error of the ledger means; `done` begins its sentence.
pub(super) fn unrecorded(ledger: &Ledger, done: &str) -> impl FnOnce(std::io::Error) -> JobError {
    move |source| JobError::Unrecorded {
        done: done.to_owned(),
        ledger: ledger.path().display().to_string(),
        source,
    }
}
