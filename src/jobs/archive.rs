//! Dumps in custom and directory format: `pg_dump` writes them itself, and `pg_restore` proves them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::JobContext;
use super::archive_file::{ArchiveFile, unpack};
use super::dump::{DumpFile, Dumper, blocking};
use super::error::JobError;
use super::proof::major_of;
use crate::config::Connection;
use crate::pipeline::{
    ArchiveFiles, ArchiveList, ArchiveReceipt, ArchiveText, Digest, Phase, Progress, StreamError,
    write_archive,
};
use crate::postgres::{Conninfo, Programs, archive_list_arguments};
use crate::repository::{Checked, Manifest, RepositoryError, Role};

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

impl DumpFile<'_> {
    /// Lets `pg_dump` write an archive, syncs it, and has `pg_restore` decode all of it.
    pub(super) async fn write_archive_and_check(
        &self,
        dumper: &Dumper<'_>,
        restorer: &Dumper<'_>,
    ) -> Result<(Checked, Duration, Duration), JobError> {
        let (staging, role, progress) = (self.staging, self.role, &self.run.progress);
        let began = Instant::now();
        let written = self.write_archive(dumper).await?;
        let synced = staging.sync(role)?;
        let dump_time = began.elapsed();

        progress.enter(Phase::Checking);
        let Role::Artifact(format, ..) = role else {
            return Err(JobError::Internal("an archive is an artifact".to_owned()));
        };
        let archive = ArchiveFile::of_backup(self.as_written(), format);
        let receipt = read_archive(restorer, &archive)
            .await
            .map_err(|error| match error {
                JobError::Failed { message, .. } => JobError::failed(format!(
                    "what pg_dump has just written cannot be read back: {message}"
                )),
                error => error,
            })?;
        // A reading of the directory that ended early would have left files on no disk.
        if synced.is_some_and(|synced| synced < receipt.files()) {
            return Err(JobError::failed(
                "the directory that pg_dump has just written was not read to its end: the file \
                 system, or the server that it is on, is failing",
            ));
        }
        let checked = staging.accept(role, receipt)?;
        let found = &checked.stream_summary().digest;
        if let Some(written) = written.filter(|written| written != found) {
            let (path, what) = (
                staging.path(role),
                format!("{written} written, {found} read"),
            );
            return Err(RepositoryError::ReadBack { path, what }.into());
        }
        Ok((
            checked,
            dump_time,
            began.elapsed().saturating_sub(dump_time),
        ))
    }

    /// Lets `pg_dump` write an archive; one that is encrypted passes through our hands, and has its digest taken.
    async fn write_archive(&self, dumper: &Dumper<'_>) -> Result<Option<Digest>, JobError> {
        let (staging, role, progress) = (self.staging, self.role, &self.run.progress);
        let path = staging.path(role);
        let Some(sealer) = self.sealer.cloned() else {
            staging.create_archive(role)?;
            tokio::select! {
                done = dumper.run() => done?,
                () = watch_size(path, progress) => {}
            }
            return Ok(None);
        };
        let (file, counted) = (staging.create(role)?, Arc::clone(progress));
        let doing = format!("cannot write {}", path.display());
        let written = dumper.stream(&doing, move |source| {
            write_archive(source, file, &sealer, &counted)
        });
        let digest = written.await.map_err(|error| self.not_written(error))?;
        Ok(Some(digest))
    }
}

/// A `pg_restore` that reads an archive from the disk: it needs no server, and only the clean environment is
/// taken from this.
pub(super) fn without_a_server(context: &JobContext) -> Result<Conninfo, JobError> {
    Ok(Conninfo::resolve(
        &Connection::default(),
        &context.environment,
        Some("postgres"),
    )?)
}

/// Reads an archive, all of it: its files, what `pg_restore` makes of them, and its list of contents.
pub(super) async fn read_archive(
    restorer: &Dumper<'_>,
    archive: &ArchiveFile,
) -> Result<ArchiveReceipt, JobError> {
    let (path, format) = (archive.path().to_owned(), archive.format);
    let run = restorer.run;
    let doing = format!("cannot read back {}", path.display());
    if archive.is_packed() {
        // pg_restore does not see what is wrong behind its end.
        let (file, packed) = (archive.file.clone(), archive.packed);
        let counted = Arc::clone(&run.progress);
        blocking(run, &doing, move || {
            unpack(&file, packed, |block| {
                counted.found(block.len()).map_err(std::io::Error::other)
            })
            .map_err(StreamError::Read)
        })
        .await?;
    }
    let tried = archive.clone();
    let breaks_off = blocking(run, &doing, move || {
        tried.breaks_off().map_err(StreamError::Read)
    });
    if let Some(breaks_off) = breaks_off.await? {
        return Err(JobError::failed(breaks_off));
    }
    let (counted, read) = (Arc::clone(&run.progress), path.clone());
    let files = blocking(run, &doing, move || {
        ArchiveFiles::read(read, format, &counted)
    })
    .await?;
    let counted = Arc::clone(&run.progress);
    let (arguments, stdin) = archive.input(restorer.arguments.clone())?;
    let reading = Dumper {
        program: restorer.program.clone(),
        arguments,
        confinement: restorer.confinement.clone(),
        ..*restorer
    };
    let adaptation = archive.adaptation.clone();
    let text = reading
        .stream_from(stdin, &doing, move |source| {
            ArchiveText::read(source, adaptation.as_ref(), &counted)
        })
        .await?;
    let list = list(restorer, archive).await?;
    let completed = blocking(run, &doing, move || {
        files.complete(text, &list).map_err(StreamError::Read)
    });
    let receipt = completed.await?.map_err(JobError::failed)?;
    restorer
        .overheard
        .remark(receipt.remark().map(str::to_owned));
    Ok(receipt)
}

/// What an archive's own list names.
async fn list(restorer: &Dumper<'_>, archive: &ArchiveFile) -> Result<ArchiveList, JobError> {
    let (arguments, stdin) = archive.input(archive_list_arguments(archive.path()))?;
    let lister = Dumper {
        program: restorer.program.clone(),
        arguments,
        confinement: restorer.confinement.clone(),
        ..*restorer
    };
    let doing = format!("cannot list {}", archive.path().display());
    lister.stream_from(stdin, &doing, ArchiveList::read).await
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
