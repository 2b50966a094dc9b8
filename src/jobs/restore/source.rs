//! What is restored: a backup with its manifest, or the output of `pg_dump` without one. Either is read
//! in full before anything is done with it.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use chrono::{DateTime, FixedOffset};

use crate::config::{Compression, Format};
use crate::display::command;
use crate::jobs::archive::{read_archive, without_a_server};
use crate::jobs::dump::{Dumper, Overheard, read_back};
use crate::jobs::examine::{Examined, examine};
use crate::jobs::proof::{ComparisonLevel, major_of, read_globals};
use crate::jobs::run::Run;
use crate::jobs::{BackupDirectory, JobContext, JobError};
use crate::pipeline::{
    Amount, ArchiveReceipt, Finding, Phase, StreamError, StreamSummary, judge_globals,
};
use crate::postgres::{
    Confinement, Conninfo, DatabaseProperties, Programs, archive_as_sql_arguments,
    database_properties,
};
use crate::repository::{Manifest, Role, Stem};

/// Which dump is restored.
#[derive(Clone, Debug)]
pub enum RestoreSource {
    /// A backup with its manifest.
    Backup(BackupDirectory, Stem),
    /// A file or directory that there is no manifest for.
    DumpFile(PathBuf),
}

/// A dump that is described, and perhaps not read yet.
pub(in crate::jobs) struct Source {
    /// How it is called.
    pub(in crate::jobs) label: String,
    /// The dump's file or directory.
    pub(in crate::jobs) path: PathBuf,
    pub(in crate::jobs) format: Format,
    pub(in crate::jobs) compression: Compression,
    /// The oldest major version whose `pg_restore` reads it; 0 if every one does.
    reader: u32,
    /// None for the output of `pg_dump` without a manifest.
    pub(in crate::jobs) manifest: Option<Manifest>,
    /// Roles and tablespaces of the cluster it comes from, as SQL.
    pub(in crate::jobs) globals: Vec<u8>,
}

impl Source {
    /// Finds out what a source is, without reading all of it.
    pub(in crate::jobs) async fn open(
        run: &Run<'_>,
        source: &RestoreSource,
    ) -> Result<Self, JobError> {
        match source {
            RestoreSource::Backup(backup_directory, stem) => {
                let manifest = backup_directory.repository.manifest(stem)?;
                let artifact = &manifest.artifact;
                let role = Role::Artifact(artifact.format, artifact.compression);
                let globals = if manifest.globals.is_some() {
                    let path = backup_directory.repository.path(stem, Role::Globals);
                    let globals = read_globals(run, path).await?;
                    only_roles(stem, &globals)?;
                    globals
                } else {
                    Vec::new()
                };
                Ok(Self {
                    label: stem.to_string(),
                    path: backup_directory.repository.path(stem, role),
                    format: artifact.format,
                    compression: artifact.compression,
                    globals,
                    reader: manifest
                        .server
                        .major()
                        .max(major_of(&manifest.pg_dump).unwrap_or_default()),
                    manifest: Some(manifest),
                })
            }
            RestoreSource::DumpFile(path) => {
                let (format, compression, reader) = shape(path)?;
                Ok(Self {
                    label: path.display().to_string(),
                    path: path.clone(),
                    format,
                    compression,
                    reader,
                    manifest: None,
                    globals: Vec::new(),
                })
            }
        }
    }

    /// Reads every file of it in full.
    ///
    /// # Errors
    /// When it is damaged, or cannot be read.
    pub(in crate::jobs) async fn read(
        &self,
        run: &Run<'_>,
        source: &RestoreSource,
        server_major: u32,
    ) -> Result<StreamSummary, JobError> {
        run.progress.enter(Phase::Checking);
        if let (Some(manifest), Format::Plain) = (&self.manifest, self.format) {
            let ahead = Amount::Bytes(manifest.artifact.text_bytes);
            run.progress.expect(ahead);
        }
        if let (RestoreSource::Backup(backup_directory, stem), Some(manifest)) =
            (source, &self.manifest)
        {
            return match examine(run, &backup_directory.repository, stem, manifest).await? {
                Examined::Whole(stream_summary) => Ok(*stream_summary),
                Examined::Damaged(damage) => Err(JobError::Damaged(format!(
                    "the backup {stem} is damaged: {damage}; `{}` lists the others",
                    command("list", &backup_directory.label, "")
                ))),
            };
        }
        let damaged = |what: String| {
            JobError::Damaged(format!(
                "{} is not a complete dump: {what}",
                self.path.display()
            ))
        };
        let read = if self.format == Format::Plain {
            read_back(run, self.path.clone(), self.compression).await
        } else {
            let programs = self.programs(run.context, server_major).await?;
            let overheard = Overheard::default();
            let restorer = Dumper {
                run,
                program: programs.pg_restore(),
                arguments: archive_as_sql_arguments(&self.path),
                application: "pgbackupd",
                conninfo: &without_a_server(run.context)?,
                overheard: &overheard,
                confinement: Confinement::default(),
            };
            let read = read_archive(&restorer, self.path.clone(), self.format).await;
            for remark in overheard.into_remarks() {
                tracing::warn!("{}: {remark}", self.path.display());
            }
            read.map(ArchiveReceipt::into_summary)
        };
        read.map_err(|error| match error {
            JobError::Stream {
                source: StreamError::Cancelled,
                ..
            } => error,
            JobError::Stream {
                source: StreamError::Refused(finding),
                ..
            } => self.refused(&finding),
            JobError::Stream { source, .. } => damaged(source.to_string()),
            JobError::Failed { message, .. } => damaged(message),
            error => error,
        })
    }

    /// The failure for something that is not sent, whatever is said.
    pub(in crate::jobs) fn refused(&self, finding: &Finding) -> JobError {
        JobError::Refused(format!(
            "{} holds what a restore does not send, {}{finding}\nhint: {}",
            self.label,
            self.line_of(),
            finding.hint()
        ))
    }

    /// Of which text the lines are counted.
    pub(in crate::jobs) fn line_of(&self) -> &'static str {
        match self.format {
            Format::Plain => "",
            Format::Custom | Format::Directory => "in the text that pg_restore makes of it: ",
        }
    }

    /// The programs that fit a server of this major version; of an archive, those that also read it.
    ///
    /// # Errors
    /// When none are installed here.
    pub(in crate::jobs) async fn programs(
        &self,
        context: &JobContext,
        server_major: u32,
    ) -> Result<Programs, JobError> {
        let configured = context.programs.as_deref();
        if self.format == Format::Plain || self.reader <= server_major {
            return Ok(Programs::locate(configured, server_major).await?);
        }
        let made_by = match &self.manifest {
            Some(manifest) => manifest.pg_dump.clone(),
            None => format!("{} or newer", self.reader),
        };
        Ok(Programs::locate_reader(configured, self.reader, &made_by).await?)
    }

    /// What was recorded of the database; else what one is like that stands, if it does.
    ///
    /// # Errors
    /// When that cannot be asked.
    pub(in crate::jobs) async fn properties_or_of(
        &self,
        run: &Run<'_>,
        standing: Option<&Conninfo>,
    ) -> Result<Option<DatabaseProperties>, JobError> {
        let (None, Some(standing)) = (self.properties(), standing) else {
            return Ok(self.properties().cloned());
        };
        let client = run.connect(standing).await?;
        Ok(Some(run.wait_for(database_properties(&client)).await??))
    }

    /// What was recorded of the database.
    pub(in crate::jobs) fn properties(&self) -> Option<&DatabaseProperties> {
        self.manifest.as_ref().map(|manifest| &manifest.properties)
    }

    /// When its contents were those of the database.
    pub(in crate::jobs) fn started(&self) -> Option<DateTime<FixedOffset>> {
        self.manifest.as_ref().map(|manifest| manifest.started)
    }

    /// How closely a copy can be compared with it, of these versions of server and `pg_dump`.
    pub(in crate::jobs) fn comparison_level(&self, copy: [u32; 2]) -> ComparisonLevel {
        self.manifest
            .as_ref()
            .map_or(ComparisonLevel::Rows, |manifest| {
                // Of what cannot be read nothing was shown.
                let pg_dump = major_of(&manifest.pg_dump).unwrap_or_default();
                ComparisonLevel::between([manifest.server.major(), pg_dump], copy)
            })
    }
}

/// What is carried out of globals is chosen by the first words of each statement: they are to be what
/// `pg_dumpall` writes.
fn only_roles(stem: &Stem, globals: &[u8]) -> Result<(), JobError> {
    judge_globals(globals).map_or(Ok(()), |finding| {
        Err(JobError::Refused(format!(
            "the roles of the backup {stem} hold what pg_dumpall does not write: {finding}\nhint: find out \
             who has changed them; another backup may be as it was: `pgbackupd restore` lists them"
        )))
    })
}

/// What a file is, by its first bytes: their own formats say.
fn shape(path: &Path) -> Result<(Format, Compression, u32), JobError> {
    let failed = |error: std::io::Error| {
        JobError::failed(format!("cannot read {}: {error}", path.display()))
    };
    if path.metadata().map_err(failed)?.is_dir() {
        let contents = path.join("toc.dat");
        if contents.is_file() {
            let first = beginning(&contents).map_err(failed)?;
            return Ok((Format::Directory, Compression::None, reader_of(&first)));
        }
        return Err(JobError::NoSuchBackup(format!(
            "{} is a directory, and no dump of pg_dump's: name a backup or a file",
            path.display()
        )));
    }
    let first = beginning(path).map_err(failed)?;
    let (format, compression) = shape_of(&first);
    Ok((format, compression, reader_of(&first)))
}

/// The first bytes of a file.
fn beginning(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut first = Vec::new();
    crate::regular_file::open(path)?
        .take(8)
        .read_to_end(&mut first)?;
    Ok(first)
}

/// The oldest major version whose `pg_restore` reads an archive that begins so, by the version of its
/// format (`K_VERS_…` in `pg_backup_archiver.h`); 0 if every one that still gets updates does.
fn reader_of(first: &[u8]) -> u32 {
    match first {
        [b'P', b'G', b'D', b'M', b'P', 1, 0..=14, ..] => 0,
        [b'P', b'G', b'D', b'M', b'P', 1, 15, ..] => 16,
        [b'P', b'G', b'D', b'M', b'P', 1, 16, ..] => 17,
        [b'P', b'G', b'D', b'M', b'P', _, _, ..] => 19,
        _ => 0,
    }
}

fn shape_of(first: &[u8]) -> (Format, Compression) {
    if first.starts_with(b"PGDMP") {
        (Format::Custom, Compression::None)
    } else if first.starts_with(&[0x1f, 0x8b]) {
        (Format::Plain, Compression::Gzip)
    } else if first.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        (Format::Plain, Compression::Zstd)
    } else {
        (Format::Plain, Compression::None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_says_which_pg_restore_reads_it() {
        for (first, reader) in [
            (b"PGDMP\x01\x0e\x00".as_slice(), 0),
            (b"PGDMP\x01\x0f\x00", 16),
            (b"PGDMP\x01\x10\x00", 17),
            (b"PGDMP\x01\x11\x00", 19),
            (b"PGDMP\x02\x00\x00", 19),
            (b"PGDMP", 0),
            (b"--\n-- P", 0),
        ] {
            assert_eq!(reader_of(first), reader, "{first:?}");
        }
    }

    #[test]
    fn a_file_is_what_its_first_bytes_say() {
        for (first, format, compression) in [
            (b"PGDMP".as_slice(), Format::Custom, Compression::None),
            (b"\x1f\x8b\x08\x00\x00", Format::Plain, Compression::Gzip),
            (b"\x28\xb5\x2f\xfd\x00", Format::Plain, Compression::Zstd),
            (b"--\n--", Format::Plain, Compression::None),
            (b"", Format::Plain, Compression::None),
        ] {
            assert_eq!(shape_of(first), (format, compression), "{first:?}");
        }
    }
}
