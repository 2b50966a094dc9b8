//! Putting damaged backups aside, and giving those that are whole again their place back.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::JobContext;
use super::error::{JobError, JobErrorKind};
use super::limit::Limit;
use super::record::append;
use super::target::Place;
use super::verify::{Examined, examine};
use crate::pipeline::{Phase, Progress};
use crate::repository::{
    Details, Event, Holder, Manifest, Quarantined, Repository, RepositoryError, Role, Stem,
};

/// Puts a backup that was found damaged aside, with a record of its own; gives where it is then, or
/// none if it is no longer there.
///
/// # Errors
/// When another run is at work on the directory, or a file cannot be renamed.
pub(super) fn put_aside(
    context: &JobContext,
    place: &Place,
    stem: &Stem,
    damage: &str,
) -> Result<Option<PathBuf>, JobError> {
    let repository = &place.repository;
    let lock = repository.lock(&holder(context, "quarantine"))?;
    let run = Uuid::now_v7();
    let ledger = repository.ledger();
    let record = |event| {
        let details = Details::Quarantine(stem.into());
        context.record(run, event, &place.database, details)
    };
    let mut start = record(Event::Started);
    start.requested_by = Some(context.requester.clone());
    start.message = Some(damage.to_owned());
    append(&ledger, &start, "nothing was put aside because")?;
    let put = repository.quarantine(run, stem, &lock);
    let event = if put.is_ok() {
        Event::Succeeded
    } else {
        Event::Failed
    };
    let mut end = record(event);
    end.message = Some(match &put {
        Ok(Some(path)) => format!("it is in {}", below(repository, path)),
        Ok(None) => "it was removed meanwhile".to_owned(),
        Err(error) => error.to_string(),
    });
    append(&ledger, &end, "the backup was put aside, but")?;
    Ok(put?)
}

/// A path below the database's directory.
pub(super) fn below(repository: &Repository, path: &std::path::Path) -> String {
    let below = path.strip_prefix(repository.directory()).unwrap_or(path);
    below.display().to_string()
}

/// Reads a backup in quarantine in full and, if it is whole, gives it its place back.
///
/// # Errors
/// When it is still damaged, cannot be read, or its place is taken; it then stays in quarantine.
pub async fn release(
    context: &JobContext,
    place: &Place,
    quarantined: &Quarantined,
    progress: &Arc<Progress>,
    cancel: &CancellationToken,
) -> Result<(), JobError> {
    let (repository, stem) = (&place.repository, &quarantined.stem);
    let (run, began) = (Uuid::now_v7(), Instant::now());
    let released = give_back(context, run, place, quarantined, progress, cancel).await;
    let event = match &released {
        Ok(()) => Event::Succeeded,
        Err(error) if error.kind() == JobErrorKind::Interrupted => Event::Interrupted,
        Err(_) => Event::Failed,
    };
    let details = Details::Release {
        subject: stem.into(),
        bytes: quarantined.bytes,
    };
    let mut end = context.record(run, event, &place.database, details);
    end.requested_by = Some(context.requester.clone());
    end.seconds = Some(began.elapsed().as_secs_f64());
    end.message = released.as_ref().err().map(ToString::to_string);
    let done = match &released {
        Ok(()) => "the backup has its place back, but",
        Err(_) => "the backup stays in quarantine, and",
    };
    append(&repository.ledger(), &end, done)?;
    released
}

async fn give_back(
    context: &JobContext,
    run: Uuid,
    place: &Place,
    quarantined: &Quarantined,
    progress: &Arc<Progress>,
    cancel: &CancellationToken,
) -> Result<(), JobError> {
    let Quarantined {
        name,
        stem,
        directory,
        ..
    } = quarantined;
    progress.enter(Phase::Checking);
    let aside = Repository::at(directory);
    let path = aside.path(stem, Role::Manifest);
    let manifest =
        Manifest::read(&path).map_err(|source| RepositoryError::Manifest { path, source })?;
    let limit = Limit::new(cancel.clone(), "total", context.limits.total);
    if let Examined::Damaged(damage) =
        examine(context, &aside, stem, &manifest, &limit, progress).await?
    {
        return Err(JobError::Damaged(format!(
            "the backup {name} is still damaged and stays in quarantine: {damage}; put whole copies \
             of its files into {}, and release it again",
            directory.display()
        )));
    }
    let repository = &place.repository;
    let lock = repository.lock(&holder(context, "release"))?;
    repository.sweep(&lock)?;
    repository.release(run, quarantined, &lock)?;
    let now = context.now();
    repository.change_state(run, stem, |state| state.note_check(now, None))?;
    Ok(())
}

fn holder(context: &JobContext, operation: &str) -> Holder {
    Holder {
        operation: operation.to_owned(),
        since: context.now(),
        requested_by: context.requester.clone(),
    }
}
