//! Pinning: what the operator wants kept whatever retention says, and what may have been pinned
//! before its state was lost.

use super::JobContext;
use super::error::JobError;
use super::record::append;
use super::run::Run;
use crate::display::shell_word;
use crate::repository::{Details, Event, Pin, Repository, State, Stem};

/// Pins a backup, or takes its pin off; gives whether that changed anything.
///
/// # Errors
/// When the backup's manifest is of no use, or its state cannot be written.
pub fn set_pin(
    context: &JobContext,
    repository: &Repository,
    stem: &Stem,
    pinned: bool,
) -> Result<bool, JobError> {
    let manifest = repository.manifest(stem)?;
    let run = Run::alone(context);
    let pin = Pin {
        at: context.now(),
        by: context.requester.user.clone(),
    };
    let before = repository.change_state(run.id, stem, |state| {
        if state.pinned.is_some() != pinned {
            state.pinned = pinned.then_some(pin);
        }
    })?;
    match before {
        None => {
            return Err(JobError::NoSuchBackup(format!(
                "{stem} has just been removed by another run"
            )));
        }
        Some(state) if state.is_pinned() == pinned => return Ok(false),
        Some(_) => {}
    }
    let details = if pinned {
        Details::Pin(stem.into())
    } else {
        Details::Unpin(stem.into())
    };
    let record = run.record_with_requester(Event::Succeeded, &manifest.database, details);
    let is_now = if pinned { "pinned" } else { "no longer pinned" };
    append(
        &repository.ledger(),
        &record,
        &format!("{stem} is {is_now}, but"),
    )?;
    Ok(true)
}

/// Puts it on record that a backup's state was lost and rewritten, as that of a pinned one; gives
/// the sentence that says so. None when the state `before` was as it was written.
///
/// # Errors
/// When the manifest cannot be read, or the ledger not written.
pub(super) fn record_lost_state(
    run: &Run<'_>,
    repository: &Repository,
    stem: &Stem,
    before: &State,
) -> Result<Option<String>, JobError> {
    let Some(unreadable) = &before.unreadable else {
        return Ok(None);
    };
    // By its path it is meant whatever other databases have backups of the same name.
    let backup = repository.directory().join(stem.to_string());
    let message = format!(
        "its state was lost: {}; it is pinned now, in case it was, until you run `pgbackupd unpin {}`",
        unreadable.what,
        shell_word(&backup.display().to_string())
    );
    let details = Details::Pin(stem.into());
    let database = repository.manifest(stem)?.database;
    let mut record = run.record_with_requester(Event::Succeeded, &database, details);
    record.message = Some(message.clone());
    append(
        &repository.ledger(),
        &record,
        &format!("{stem} is pinned, but"),
    )?;
    Ok(Some(message))
}
