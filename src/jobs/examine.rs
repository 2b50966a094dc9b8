//! Reading every file of a backup, and telling damage from a reading that went wrong.
//!
//! A backup is damaged when one of its files is missing, or is not what its manifest says, and a
//! second reading agrees. Whatever else goes wrong says nothing about the backup: a disk or a network
//! file system that does not answer, a right that is missing, a `pg_restore` that is too old or is
//! killed, a bit that fell over in memory on the way. The manifest has the digests of files that were
//! read back, decoded and compared when they were published; so bytes with these digests are good,
//! and who cannot make sense of them is to blame himself.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::JobErrorKind;
use super::archive;
use super::archive_file::ArchiveFile;
use super::dump::{Dumper, Overheard, blocking, read_back};
use super::error::{JobError, census_damage};
use super::readable::ReadableBackup;
use super::run::Run;
use crate::config::Format;
use crate::pipeline::census::StoredCensusError;
use crate::pipeline::{
    ArchiveReceipt, Digest, StreamError, StreamSummary, digest_directory, digest_file, read_census,
};
use crate::postgres::{Confinement, archive_as_sql_arguments};
use crate::repository::{Manifest, Repository, Role, Stem};

/// What reading every file of a backup has shown.
pub(super) enum Examined {
    /// It is damaged, in this way.
    Damaged(String),
    /// It is whole; this is in it.
    Whole(Box<StreamSummary>),
}

/// Reads every file of a backup; where something is wrong with one, all of them a second time.
///
/// # Errors
/// When that is not possible, or its outcome says nothing about the backup.
pub(super) async fn examine(
    run: &Run<'_>,
    backup: &ReadableBackup<'_>,
) -> Result<Examined, JobError> {
    let reading = Reading { run, backup };
    match reading.first().await? {
        Ok(stream_summary) => Ok(Examined::Whole(stream_summary)),
        Err(suspicion) => reading.confirm(suspicion).await.map(Examined::Damaged),
    }
}

/// What is wrong with a backup, as far as that can be told without loading it. An encrypted one that no identity
/// was given for is read as it lies on the disk: the bytes that its digests are of were decrypted, decoded and
/// compared when it was made.
///
/// # Errors
/// As [`examine`].
pub(super) async fn damage(
    run: &Run<'_>,
    repository: &Repository,
    (stem, mut manifest): (&Stem, Manifest),
) -> Result<Option<String>, JobError> {
    let is_closed = manifest.is_encrypted() && run.context.opener.is_none();
    let opener = if is_closed {
        None
    } else {
        run.context.open(&mut manifest)?
    };
    let backup = ReadableBackup {
        repository,
        stem,
        manifest: &manifest,
        opener: opener.as_ref(),
    };
    if !is_closed {
        return Ok(match examine(run, &backup).await? {
            Examined::Whole(_) => None,
            Examined::Damaged(damage) => Some(damage),
        });
    }
    let reading = Reading {
        run,
        backup: &backup,
    };
    match reading.compare_files().await? {
        Ok(()) => Ok(None),
        Err(suspicion) => reading.confirm(suspicion).await.map(Some),
    }
}

/// Whether the dump of a backup is not the file that was written.
///
/// # Errors
/// When it cannot be read.
pub(super) async fn is_dump_changed(
    run: &Run<'_>,
    backup: &ReadableBackup<'_>,
) -> Result<bool, JobError> {
    let reading = Reading { run, backup };
    let role = backup.manifest.artifact_role();
    Ok(reading.digest(role).await? != backup.manifest.artifact.digest)
}

/// A backup that is being read.
struct Reading<'a> {
    run: &'a Run<'a>,
    backup: &'a ReadableBackup<'a>,
}

/// What looks wrong with a backup, in words.
type Suspicion = String;

impl Reading<'_> {
    /// Reads and decodes all of it.
    async fn first(&self) -> Result<Result<Box<StreamSummary>, Suspicion>, JobError> {
        let manifest = self.backup.manifest;
        if let Some(globals) = &manifest.globals
            && let Err(what) = self
                .compare(manifest.globals_role(), &globals.digest)
                .await?
        {
            return Ok(Err(what));
        }
        let census = self.backup.census();
        let expected = match read_census(&census) {
            Ok((census, digest)) if digest == manifest.census.digest => census,
            Ok(_) => return Ok(Err("its census has been changed".to_owned())),
            Err(StoredCensusError::Read(error)) if is_of_the_system(&error) => {
                return Err(unreadable(census.path(), error));
            }
            Err(error) => return Ok(Err(census_damage(&error))),
        };
        let found = match self.artifact().await.map_err(suspicious) {
            Ok(stream_summary) => stream_summary,
            Err(Ok(what)) => return Ok(Err(format!("its dump: {what}"))),
            Err(Err(error)) => return Err(error),
        };
        let artifact = &manifest.artifact.digest;
        if found.digest != *artifact {
            return Ok(Err(format!(
                "its dump has been changed: {artifact} expected, {} found",
                found.digest
            )));
        }
        Ok(
            match found.census.differences(&expected).into_iter().next() {
                Some(difference) => Err(format!(
                    "its dump and its census do not agree: {difference}"
                )),
                None => Ok(Box::new(found)),
            },
        )
    }

    /// Reads every file as it lies on the disk.
    async fn compare_files(&self) -> Result<Result<(), Suspicion>, JobError> {
        for (role, expected) in self.backup.manifest.files() {
            if let Err(what) = self.compare(role, &expected).await? {
                return Ok(Err(what));
            }
        }
        Ok(Ok(()))
    }

    /// Reads a file as it lies on the disk, and says what is wrong with it.
    async fn compare(
        &self,
        role: Role,
        expected: &Digest,
    ) -> Result<Result<(), Suspicion>, JobError> {
        let path = self.backup.repository.path(self.backup.stem, role);
        let name = path.file_name().unwrap_or_default().display().to_string();
        match self.digest(role).await.map_err(suspicious) {
            Ok(found) if found == *expected => Ok(Ok(())),
            Ok(_) => Ok(Err(format!("{name} has been changed"))),
            Err(Ok(what)) => Ok(Err(format!("{name}: {what}"))),
            Err(Err(error)) => Err(error),
        }
    }

    /// Reads all of it once more, and gives back what looks wrong if it is.
    async fn confirm(&self, suspicion: Suspicion) -> Result<Suspicion, JobError> {
        if self.compare_files().await?.is_err() {
            return Ok(suspicion);
        }
        Err(JobError::failed(format!(
            "{suspicion}; but its files are those that were written, as a second reading shows: \
             the disk, the memory or a program of this machine is failing"
        )))
    }

    async fn digest(&self, role: Role) -> Result<Digest, JobError> {
        let path = self.backup.repository.path(self.backup.stem, role);
        let doing = format!("cannot read {}", path.display());
        let counted = Arc::clone(&self.run.progress);
        blocking(self.run, &doing, move || {
            if matches!(role, Role::Artifact(Format::Directory, ..)) {
                return digest_directory(&path, &counted);
            }
            digest_file(
                crate::regular_file::open(path).map_err(StreamError::Read)?,
                &counted,
            )
        })
        .await
    }

    /// Decodes the whole dump; an archive by a `pg_restore` that fits it.
    async fn artifact(&self) -> Result<StreamSummary, JobError> {
        let artifact = &self.backup.manifest.artifact;
        let file = self.backup.artifact();
        if artifact.format == Format::Plain {
            return read_back(self.run, file, artifact.compression).await;
        }
        let programs = archive::programs_to_read(self.run.context, self.backup.manifest).await?;
        let restorer = Dumper {
            run: self.run,
            program: programs.pg_restore(),
            arguments: archive_as_sql_arguments(file.path()),
            application: "pgbackupd",
            conninfo: &archive::without_a_server(self.run.context)?,
            // What pg_restore remarks on an old archive was reported when that was made.
            overheard: &Overheard::default(),
            confinement: Confinement::default(),
        };
        archive::read_archive(&restorer, &ArchiveFile::of_backup(file, artifact.format))
            .await
            .map(ArchiveReceipt::into_summary)
    }
}

/// What an error says of the file that was read; or the error, where it says nothing of that.
fn suspicious(error: JobError) -> Result<Suspicion, JobError> {
    match error {
        error if error.kind() == JobErrorKind::Interrupted => Err(error),
        JobError::Stream {
            source: StreamError::Read(ref source),
            ..
        } if is_of_the_system(source) => Err(error),
        JobError::Stream { source, .. } => Ok(source.to_string()),
        JobError::Failed { message, .. } => Ok(message),
        error => Err(error),
    }
}

/// Whether it is the operating system that could not read: then nothing is known of what it would
/// have read. That a file is not there is something to know.
fn is_of_the_system(error: &io::Error) -> bool {
    error.raw_os_error().is_some() && error.kind() != io::ErrorKind::NotFound
}

fn unreadable(path: &Path, error: io::Error) -> JobError {
    JobError::stream(format!("cannot read {}", path.display()))(StreamError::Read(error))
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use rustix::io::Errno;

    use super::super::limit::Stop;
    use super::*;

    #[test]
    fn only_what_a_file_itself_shows_is_held_against_it() {
        let read = |error: Error| JobError::stream("reading")(StreamError::Read(error));
        let of_the_file = [
            read(Errno::NOENT.into()),
            read(Error::new(ErrorKind::InvalidData, "corrupt deflate stream")),
            read(Error::from(ErrorKind::UnexpectedEof)),
            read(Error::other("Unknown frame descriptor")),
            JobError::failed("pg_restore failed"),
        ];
        for error in of_the_file {
            let message = error.to_string();
            assert!(suspicious(error).is_ok(), "{message}");
        }
        let of_the_machine = [
            read(Errno::IO.into()),
            read(Errno::ACCESS.into()),
            read(Errno::STALE.into()),
            read(Errno::TIMEDOUT.into()),
            read(Errno::NOMEM.into()),
            JobError::stream("reading")(StreamError::Cancelled),
            JobError::Stop(Stop::Interrupted),
            JobError::NoSpace("no space".to_owned()),
        ];
        for error in of_the_machine {
            let message = error.to_string();
            assert!(suspicious(error).is_err(), "{message}");
        }
    }
}
