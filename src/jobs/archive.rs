//! Dumps in custom and directory format: `pg_dump` writes them itself, and `pg_restore` proves them.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::JobContext;
use super::dump::{Dumper, blocking};
use super::error::JobError;
use super::limit::Limit;
use super::proof::major_of;
use crate::config::Format;
use crate::pipeline::{
    ArchiveFiles, ArchiveList, ArchiveReceipt, ArchiveText, Phase, Progress, StreamError,
};
use crate::postgres::{Programs, archive_list_arguments};
use crate::repository::{Checked, Manifest, Role, Staging};

/// How often the size of a growing archive is looked at.
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);

/// The programs that read the archive of a backup: not older than its server, nor than the `pg_dump` that has
/// made it, whose format an older `pg_restore` need not know.
pub(super) async fn programs_to_read(
    context: &JobContext,
    manifest: &Manifest,
) -> Result<Programs, JobError> {
    let pg_dump = major_of(&manifest.pg_dump).unwrap_or_default();
    let major = manifest.server.major().max(pg_dump);
    let programs = context.programs.as_deref();
    Ok(Programs::locate_reader(programs, major, &manifest.pg_dump).await?)
}

/// Lets `pg_dump` write an archive, syncs it, and has `pg_restore` decode all of it.
pub(super) async fn write_and_check(
    dumper: &Dumper<'_>,
    restorer: &Dumper<'_>,
    staging: &Staging<'_>,
    role: Role,
    limits: (&Limit, &Limit),
    progress: &Arc<Progress>,
) -> Result<(Checked, Duration, Duration), JobError> {
    let (dump_limit, limit) = limits;
    let path = staging.path(role);
    staging.create_archive(role)?;
    let began = Instant::now();
    tokio::select! {
        done = dumper.run(dump_limit) => done?,
        () = watch_size(path.clone(), progress) => {}
    }
    let synced = staging.sync(role)?;
    let dump_time = began.elapsed();

    progress.enter(Phase::Checking);
    let Role::Artifact(format, _) = role else {
        return Err(JobError::Internal("an archive is an artifact".to_owned()));
    };
    let read = read_archive(restorer, path, format, limit, progress).await;
    let receipt = read.map_err(|error| match error {
        JobError::Failed { message, .. } => JobError::failed(format!(
            "what pg_dump has just written cannot be read back: {message}"
        )),
        error => error,
    })?;
    // A reading of the directory that ended early would have left files on no disk.
    if synced.is_some_and(|synced| synced < receipt.files()) {
        return Err(JobError::failed(
            "the directory that pg_dump has just written was not read to its end: the file system, or \
             the server that it is on, is failing",
        ));
    }
    let checked = staging.accept(role, receipt)?;
    Ok((
        checked,
        dump_time,
        began.elapsed().saturating_sub(dump_time),
    ))
}

/// Reads an archive, all of it: its files, what `pg_restore` makes of them, and its list of contents.
pub(super) async fn read_archive(
    restorer: &Dumper<'_>,
    path: PathBuf,
    format: Format,
    limit: &Limit,
    progress: &Arc<Progress>,
) -> Result<ArchiveReceipt, JobError> {
    let doing = format!("cannot read back {}", path.display());
    let (counted, read) = (Arc::clone(progress), path.clone());
    let files = blocking(limit, progress, &doing, move || {
        ArchiveFiles::read(read, format, &counted)
    })
    .await?;
    let counted = Arc::clone(progress);
    let text = restorer
        .stream(limit, progress, &doing, move |source| {
            ArchiveText::read(source, &counted)
        })
        .await?;
    let list = list(restorer, &path, limit, progress).await?;
    let completed = blocking(limit, progress, &doing, move || {
        files.complete(text, &list).map_err(StreamError::Read)
    });
    let receipt = completed.await?.map_err(JobError::failed)?;
    let mut remarks = restorer
        .remarks
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    remarks.extend(receipt.remark().map(str::to_owned));
    Ok(receipt)
}

/// What an archive's own list names.
async fn list(
    restorer: &Dumper<'_>,
    path: &Path,
    limit: &Limit,
    progress: &Arc<Progress>,
) -> Result<ArchiveList, JobError> {
    let lister = Dumper {
        program: restorer.program.clone(),
        arguments: archive_list_arguments(path),
        confinement: restorer.confinement.clone(),
        ..*restorer
    };
    let doing = format!("cannot list {}", path.display());
    lister
        .stream(limit, progress, &doing, ArchiveList::read)
        .await
}

/// Tells how far an archive has grown; never ends by itself.
async fn watch_size(path: PathBuf, progress: &Progress) {
    loop {
        sleep(BETWEEN_LOOKS).await;
        let size = |path: &PathBuf| path.metadata().map_or(0, |metadata| metadata.len());
        let bytes = match std::fs::read_dir(&path) {
            Ok(entries) => entries.flatten().map(|entry| size(&entry.path())).sum(),
            Err(_) => size(&path),
        };
        progress.set_stored_bytes(bytes);
    }
}
