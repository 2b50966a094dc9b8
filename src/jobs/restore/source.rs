//! What is restored: a backup with its manifest, or the output of `pg_dump` without one. Either is read
//! in full before anything is done with it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, FixedOffset};

use super::dump_file::{self, Described};
use crate::config::{Compression, Format};
use crate::display::{command, option, salvage_options, with_identity};
use crate::jobs::archive::{read_archive, without_a_server};
use crate::jobs::archive_file::ArchiveFile;
use crate::jobs::dump::{Dumper, Overheard, blocking};
use crate::jobs::examine::{Examined, examine};
use crate::jobs::proof::{ComparisonLevel, major_of, read_globals};
use crate::jobs::readable::ReadableBackup;
use crate::jobs::run::Run;
use crate::jobs::{BackupDirectory, JobContext, JobError};
use crate::pipeline::{
    Adaptation, Amount, ArchiveReceipt, Finding, InputFile, Opener, Phase, StreamError,
    StreamSummary, judge_globals, read_dump_file,
};
use crate::postgres::{
    Confinement, Conninfo, DatabaseProperties, Programs, ServerFacts, archive_as_sql_arguments,
    database_properties,
};
use crate::repository::{Manifest, Stem};

/// Which dump is restored.
#[derive(Clone, Debug)]
pub enum RestoreSource {
    /// A backup with its manifest.
    Backup(BackupDirectory, Stem),
    /// A file or directory that there is no manifest for.
    DumpFile {
        /// Its path.
        path: PathBuf,
        /// Which database of it, where it holds several.
        of_database: Option<String>,
    },
}

/// A dump that is described, and perhaps not read yet.
pub(in crate::jobs) struct Source {
    /// How it is called.
    pub(in crate::jobs) label: String,
    /// The dump's file or directory.
    pub(in crate::jobs) file: InputFile,
    pub(in crate::jobs) format: Format,
    pub(in crate::jobs) compression: Compression,
    /// How an archive is compressed once more, around what `pg_dump` has written.
    pub(in crate::jobs) packed: Compression,
    /// How its text is read; none for a backup, whose text is our own.
    pub(in crate::jobs) adaptation: Option<Adaptation>,
    /// What a dump file says of its database.
    described: Option<DatabaseProperties>,
    /// What the operator should know of a dump file.
    pub(in crate::jobs) remarks: Vec<String>,
    /// The oldest major version whose `pg_restore` reads it; 0 if every one does.
    reader: u32,
    /// None for the output of `pg_dump` without a manifest.
    pub(in crate::jobs) manifest: Option<Manifest>,
    /// What opens the other files of an encrypted backup.
    opener: Option<Opener>,
    /// Roles and tablespaces of the cluster it comes from, as SQL.
    pub(in crate::jobs) globals: Vec<u8>,
    /// Why a salvage goes without these.
    pub(in crate::jobs) lost_globals: Option<String>,
}

impl RestoreSource {
    /// The command that brings back what can be had of it although it does not restore; `database` is what it
    /// was to become.
    pub fn salvage_command(&self, database: &str) -> String {
        let command = match self {
            Self::Backup(directory, stem) => {
                let options = salvage_options(&stem.to_string(), database);
                command("restore", &directory.label, &options)
            }
            Self::DumpFile { path, of_database } => {
                let mut more = salvage_options(&path.to_string_lossy(), database);
                if let Some(name) = of_database {
                    more.push(' ');
                    more.push_str(&option("--of-database", name));
                }
                format!("pgbackupd restore {more}")
            }
        };
        with_identity(command, self.is_encrypted())
    }

    /// Whether an identity opens it, as far as that can be read.
    pub fn is_encrypted(&self) -> bool {
        match self {
            Self::Backup(directory, stem) => {
                let manifest = directory.repository.manifest(stem);
                manifest.is_ok_and(|manifest| manifest.is_encrypted())
            }
            Self::DumpFile { path, .. } => dump_file::is_encrypted(path),
        }
    }
}

impl Source {
    /// Finds out what a source is, without reading all of it.
    pub(in crate::jobs) async fn open(
        run: &Run<'_>,
        source: &RestoreSource,
        is_salvaged: bool,
    ) -> Result<Self, JobError> {
        match source {
            RestoreSource::Backup(backup_directory, stem) => {
                let mut manifest = backup_directory.repository.manifest(stem)?;
                let opener = run.context.open(&mut manifest)?;
                let backup = ReadableBackup {
                    repository: &backup_directory.repository,
                    stem,
                    manifest: &manifest,
                    opener: opener.as_ref(),
                };
                let artifact = &manifest.artifact;
                let mut lost_globals = None;
                let globals = if let Some(recorded) = &manifest.globals {
                    let file = backup.globals();
                    let globals = match read_globals(run, file, &recorded.digest).await {
                        Ok(globals) => {
                            only_roles(&format!("the backup {stem}"), &globals).map(|()| globals)
                        }
                        Err(error) => Err(error),
                    };
                    match globals {
                        Err(error @ (JobError::Damaged(_) | JobError::Refused(_)))
                            if is_salvaged =>
                        {
                            tracing::warn!("no role is restored: {error}");
                            lost_globals = Some(error.to_string());
                            Vec::new()
                        }
                        globals => globals?,
                    }
                } else {
                    Vec::new()
                };
                Ok(Self {
                    label: stem.to_string(),
                    file: backup.artifact(),
                    format: artifact.format,
                    compression: artifact.compression,
                    packed: Compression::None,
                    adaptation: None,
                    described: None,
                    remarks: Vec::new(),
                    globals,
                    lost_globals,
                    reader: manifest
                        .server
                        .major()
                        .max(major_of(&manifest.pg_dump).unwrap_or_default()),
                    opener,
                    manifest: Some(manifest),
                })
            }
            RestoreSource::DumpFile { path, of_database } => {
                let described = dump_file::open(run, path, of_database.as_deref()).await?;
                Self::of_file(described)
            }
        }
    }

    fn of_file(described: Described) -> Result<Self, JobError> {
        let label = described.file.path().display().to_string();
        only_roles(&label, &described.globals)?;
        Ok(Self {
            label,
            file: described.file,
            opener: None,
            format: described.format,
            compression: described.compression,
            packed: described.packed,
            adaptation: Some(Adaptation {
                database: described.database,
                server_major: 0,
            }),
            described: described.properties,
            remarks: described.remarks,
            reader: described.reader,
            manifest: None,
            globals: described.globals,
            lost_globals: None,
        })
    }

    /// Settles that its text is for a server of this major version.
    pub(in crate::jobs) fn is_for(&mut self, server_major: u32) {
        if let Some(adaptation) = &mut self.adaptation {
            adaptation.server_major = server_major;
        }
    }

    /// Where the dump is.
    pub(in crate::jobs) fn path(&self) -> &Path {
        self.file.path()
    }

    /// The backup that it is; none where it is a file without a manifest.
    pub(in crate::jobs) fn backup<'a>(
        &'a self,
        source: &'a RestoreSource,
    ) -> Option<ReadableBackup<'a>> {
        let (RestoreSource::Backup(directory, stem), Some(manifest)) = (source, &self.manifest)
        else {
            return None;
        };
        Some(ReadableBackup {
            repository: &directory.repository,
            stem,
            manifest,
            opener: self.opener.as_ref(),
        })
    }

    /// Its archive.
    pub(in crate::jobs) fn archive(&self) -> ArchiveFile {
        ArchiveFile {
            file: self.file.clone(),
            format: self.format,
            packed: self.packed,
            adaptation: self.adaptation.clone(),
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
        if let (RestoreSource::Backup(backup_directory, stem), Some(backup)) =
            (source, self.backup(source))
        {
            return match examine(run, &backup).await? {
                Examined::Whole(stream_summary) => Ok(*stream_summary),
                Examined::Damaged(damage) => Err(JobError::Damaged(format!(
                    "the backup {stem} is damaged: {damage}\nhint: `{}` lists the others",
                    command("list", &backup_directory.label, "")
                ))),
            };
        }
        let damaged = |what: String| {
            JobError::Damaged(format!(
                "{} is not a complete dump: {what}",
                self.path().display()
            ))
        };
        let read = if self.format == Format::Plain {
            self.read_text(run).await
        } else {
            let programs = self.programs(run.context, server_major).await?;
            let overheard = Overheard::default();
            let restorer = Dumper {
                run,
                program: programs.pg_restore(),
                arguments: archive_as_sql_arguments(self.path()),
                application: "pgbackupd",
                conninfo: &without_a_server(run.context)?,
                overheard: &overheard,
                confinement: Confinement::default(),
            };
            let read = read_archive(&restorer, &self.archive()).await;
            for remark in overheard.into_remarks() {
                tracing::warn!("{}: {remark}", self.path().display());
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

    /// Reads the text of a dump file.
    async fn read_text(&self, run: &Run<'_>) -> Result<StreamSummary, JobError> {
        let (file, compression) = (self.file.clone(), self.compression);
        let adaptation = self.adaptation.clone().unwrap_or_default();
        let counted = Arc::clone(&run.progress);
        let doing = format!("cannot read {}", file.path().display());
        blocking(run, &doing, move || {
            read_dump_file(&file, compression, &adaptation, &counted)
        })
        .await
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

    /// What was recorded of the database, or its dump file says of it.
    pub(in crate::jobs) fn properties(&self) -> Option<&DatabaseProperties> {
        let recorded = self.manifest.as_ref().map(|manifest| &manifest.properties);
        recorded.or(self.described.as_ref())
    }

    /// When its contents were those of the database.
    pub(in crate::jobs) fn started(&self) -> Option<DateTime<FixedOffset>> {
        self.manifest.as_ref().map(|manifest| manifest.started)
    }

    /// How closely a copy can be compared with it, of these versions of server and `pg_dump`. The dump's text
    /// says that it was written by these.
    pub(in crate::jobs) fn comparison_level(
        &self,
        copy: [u32; 2],
        written_by: [u32; 2],
    ) -> ComparisonLevel {
        self.manifest
            .as_ref()
            .map_or(ComparisonLevel::of_file(written_by, copy), |manifest| {
                // Of what cannot be read nothing was shown.
                let pg_dump = major_of(&manifest.pg_dump).unwrap_or_default();
                ComparisonLevel::between([manifest.server.major(), pg_dump], copy)
            })
    }
}

/// What is carried out of globals is chosen by the first words of each statement: they are to be what
/// `pg_dumpall` writes.
fn only_roles(label: &str, globals: &[u8]) -> Result<(), JobError> {
    judge_globals(globals).map_or(Ok(()), |finding| {
        Err(JobError::Refused(format!(
            "the roles of {label} hold what pg_dumpall does not write: {finding}\nhint: find out \
             who has changed them; another backup may be as it was: `pgbackupd restore` lists them"
        )))
    })
}

/// What is said of a file that was read in full although nothing is done.
pub(in crate::jobs) fn read_for_the_plan(source: &Source) -> String {
    format!(
        "{} was read in full for this plan, since it has no manifest; a restore sends \
         all that it holds",
        source.label
    )
}

/// What to say of what the new database is made like, where no manifest speaks.
pub(super) fn like_what(
    source: &Source,
    server_facts: &ServerFacts,
    stands: bool,
) -> Option<String> {
    if source.manifest.is_some() {
        return None;
    }
    let label = &source.label;
    if source.properties().is_some() {
        return None;
    }
    Some(if stands {
        format!(
            "there is no manifest for {label}: owner, encoding, locale, privileges and settings are those \
             of the existing database, and no role is restored"
        )
    } else {
        format!(
            "there is no manifest for {label}: the database gets the server's own encoding and locale, \
             belongs to user {}, and no role is restored",
            server_facts.user
        )
    })
}
