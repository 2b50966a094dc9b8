//! Dumps in custom and directory format: `pg_dump` writes them itself, and `pg_restore` proves them.

mod contents;

use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::Context;
use super::dump::{Dumper, blocking};
use super::error::JobError;
use super::limit::Limit;
use super::proof::major_of;
use crate::config::Format;
use crate::pipeline::{
    Passage, Phase, Progress, StreamError, digest_file, digest_files, take_census,
};
use crate::postgres::{Programs, archive_list_arguments};
use crate::repository::{Checked, Manifest, Role, Staging};
use contents::Contents;

/// How often the size of a growing archive is looked at.
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);

/// The programs that read the archive of a backup: not older than its server, nor than the `pg_dump` that has
/// made it, whose format an older `pg_restore` need not know.
pub(super) async fn programs_to_read(
    context: &Context,
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
    let read = read_files(restorer, path, format, limit, progress).await;
    let (passage, files) = read.map_err(|error| match error {
        JobError::Failed { message, .. } => JobError::failed(format!(
            "what pg_dump has just written cannot be read back: {message}"
        )),
        error => error,
    })?;
    // A reading of the directory that ended early would have left files on no disk.
    if synced.is_some_and(|synced| synced < files) {
        return Err(JobError::failed(
            "the directory that pg_dump has just written was not read to its end: the file system, or \
             the server that it is on, is failing",
        ));
    }
    let checked = Checked::archive(passage);
    Ok((
        checked,
        dump_time,
        began.elapsed().saturating_sub(dump_time),
    ))
}

/// Takes the digest of an archive from the disk, and the census from what `pg_restore` makes of it.
pub(super) async fn read_archive(
    restorer: &Dumper<'_>,
    path: PathBuf,
    format: Format,
    limit: &Limit,
    progress: &Arc<Progress>,
) -> Result<Passage, JobError> {
    let read = read_files(restorer, path, format, limit, progress).await;
    read.map(|(passage, _)| passage)
}

/// The same, with the number of files of a directory.
async fn read_files(
    restorer: &Dumper<'_>,
    path: PathBuf,
    format: Format,
    limit: &Limit,
    progress: &Arc<Progress>,
) -> Result<(Passage, usize), JobError> {
    let doing = format!("cannot read back {}", path.display());
    let (counted, read) = (Arc::clone(progress), path.clone());
    let (digest, files) = blocking(limit, progress, &doing, move || {
        if format == Format::Directory {
            return digest_files(&read, &counted);
        }
        let file = crate::regular_file::open(read).map_err(StreamError::Read)?;
        digest_file(file, &counted).map(|digest| (digest, Vec::new()))
    })
    .await?;
    let counted = Arc::clone(progress);
    let (census, text_bytes, findings, needs) = restorer
        .stream(limit, progress, &doing, move |source| {
            take_census(source, &counted)
        })
        .await?;
    let contents = list(restorer, &path, limit, progress).await?;
    let count = files.len();
    if contents.entries == Some(0) {
        return Err(JobError::failed(
            "its list of contents is empty: even a dump of an empty database has entries",
        ));
    }
    if format == Format::Directory {
        let found = blocking(limit, progress, &doing, move || {
            contents::account(&path, &files, &contents).map_err(StreamError::Read)
        });
        let found = found.await?.map_err(JobError::failed)?;
        if let Some(made) = census
            .large_objects()
            .filter(|made| *made > found.large_objects)
        {
            return Err(JobError::failed(format!(
                "it makes {made} large objects, and has files for {} only",
                found.large_objects
            )));
        }
        let mut remarks = restorer
            .remarks
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        remarks.extend(contents::remark(&found.extra));
    }
    let passage = Passage {
        digest,
        text_bytes,
        census,
        findings,
        needs,
    };
    Ok((passage, count))
}

/// What an archive's own list names.
async fn list(
    restorer: &Dumper<'_>,
    path: &Path,
    limit: &Limit,
    progress: &Arc<Progress>,
) -> Result<Contents, JobError> {
    let lister = Dumper {
        program: restorer.program.clone(),
        arguments: archive_list_arguments(path),
        confinement: restorer.confinement.clone(),
        ..*restorer
    };
    let doing = format!("cannot list {}", path.display());
    lister
        .stream(limit, progress, &doing, |list| {
            Contents::read(BufReader::new(list)).map_err(StreamError::Read)
        })
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
