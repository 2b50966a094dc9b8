//! Pinning: what the operator wants kept whatever retention says, and what may have been pinned
//! before its state was lost.

use super::JobContext;
use super::error::JobError;
use super::record::append;
use super::run::Run;
use crate::display::shell_word;
use crate::repository::{Details, Event, Pin, Repository, RepositoryError, State, Stem};

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
        // A backup that was brought back is not pinned here, and its copies may be by what is on record.
        Some(state) if state.is_pinned() == pinned => {
            if pinned || !is_pinned_on_record(repository, stem)? {
                return Ok(false);
            }
        }
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

/// Whether a pin is the last thing that is on record of the pin of a backup.
fn is_pinned_on_record(repository: &Repository, stem: &Stem) -> Result<bool, JobError> {
    let (ledger, name) = (repository.ledger(), stem.to_string());
    let mut is_pinned = false;
    let read = ledger.read(|record| {
        let (subject, is_pin) = match &record.details {
            Details::Pin(subject) => (subject, true),
            Details::Unpin(subject) => (subject, false),
            _ => return,
        };
        if record.event == Event::Succeeded && subject.backup.as_ref() == Some(&name) {
            is_pinned = is_pin;
        }
    });
    read.map_err(RepositoryError::io("read", ledger.path()))?;
    Ok(is_pinned)
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
