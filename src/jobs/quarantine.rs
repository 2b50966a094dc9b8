//! Putting damaged backups aside, and giving those that are whole again their place back.

use std::path::PathBuf;
use std::time::Instant;

use super::JobContext;
use super::error::JobError;
use super::examine::damage;
use super::record::append;
use super::run::Run;
use super::target::BackupDirectory;
use crate::pipeline::Phase;
use crate::repository::{
    Details, Event, Manifest, Quarantined, Repository, RepositoryError, Role, Stem,
};

/// Puts a backup that was found damaged aside, with a record of its own; gives where it is then, or
/// none if it is no longer there.
///
/// # Errors
/// When another run is at work on the directory, or a file cannot be renamed.
pub(super) fn put_aside(
    context: &JobContext,
    backup_directory: &BackupDirectory,
    stem: &Stem,
    damage: &str,
) -> Result<Option<PathBuf>, JobError> {
    let repository = &backup_directory.repository;
    let lock = repository.lock(&context.holder("quarantine"))?;
    let run = Run::alone(context);
    let ledger = repository.ledger();
    let details = || Details::Quarantine(stem.into());
    let mut start =
        run.record_with_requester(Event::Started, &backup_directory.database, details());
    start.message = Some(damage.to_owned());
    append(&ledger, &start, "nothing was quarantined because")?;
    let put = repository.quarantine(run.id, stem, &lock);
    let event = if put.is_ok() {
        Event::Succeeded
    } else {
        Event::Failed
    };
    let mut end = run.record(event, &backup_directory.database, details());
    end.message = Some(match &put {
        Ok(Some(path)) => format!("it is in {}", below(repository, path)),
        Ok(None) => "it was removed meanwhile".to_owned(),
        Err(error) => error.to_string(),
    });
    append(&ledger, &end, "the backup was quarantined, but")?;
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
    run: &Run<'_>,
    backup_directory: &BackupDirectory,
    quarantined: &Quarantined,
) -> Result<(), JobError> {
    let began = Instant::now();
    let released = give_back(run, backup_directory, quarantined).await;
    let (event, done) = match &released {
        Ok(()) => (Event::Succeeded, "the backup was released, but"),
        Err(error) => (error.event(), "the backup stays in quarantine, and"),
    };
    let details = Details::Release {
        subject: (&quarantined.stem).into(),
        bytes: quarantined.bytes,
    };
    let mut end = run.record_with_requester(event, &backup_directory.database, details);
    end.seconds = Some(began.elapsed().as_secs_f64());
    end.message = released.as_ref().err().map(ToString::to_string);
    append(&backup_directory.repository.ledger(), &end, done)?;
    released
}

async fn give_back(
    run: &Run<'_>,
    backup_directory: &BackupDirectory,
    quarantined: &Quarantined,
) -> Result<(), JobError> {
    let Quarantined {
        name,
        stem,
        directory,
        ..
    } = quarantined;
    run.progress.enter(Phase::Checking);
    let aside = Repository::at(directory);
    let path = aside.path(stem, Role::Manifest);
    let manifest =
        Manifest::read(&path).map_err(|source| RepositoryError::Manifest { path, source })?;
    if let Some(damage) = damage(run, &aside, (stem, manifest)).await? {
        return Err(JobError::Damaged(format!(
            "the backup {name} is still damaged and stays in quarantine: {damage}; copy intact \
             files into {}, and release it again",
            directory.display()
        )));
    }
    let repository = &backup_directory.repository;
    let lock = repository.lock(&run.context.holder("release"))?;
    repository.sweep(&lock)?;
    repository.release(run.id, quarantined, &lock)?;
    let now = run.now();
    repository.change_state(run.id, stem, |state| state.record_check(now, None))?;
    Ok(())
}
