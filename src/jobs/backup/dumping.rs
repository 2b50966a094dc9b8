//! The dumps that a backup is made of.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::{Backup, Origin};
use crate::config::{DumpSettings, Format};
use crate::jobs::JobError;
use crate::jobs::dump::{DumpFile, Dumper, Overheard};
use crate::jobs::run::Run;
use crate::pipeline::Phase;
use crate::pipeline::compression::Settings;
use crate::postgres::{Confinement, DumpCommand, archive_as_sql_arguments};
use crate::repository::{Checked, Role, SkippedTable, Staging};

/// The database's dump, and how long making and checking it took.
pub(super) type DumpedDatabase = (Checked, Duration, Duration);

/// The dumps of one backup.
pub(super) struct Dumping<'a> {
    pub(super) backup: &'a Backup<'a>,
    pub(super) origin: &'a Origin,
    /// By which the server knows the sessions.
    pub(super) application: &'a str,
    pub(super) overheard: &'a Overheard,
    pub(super) staging: &'a Staging<'a>,
}

impl Dumping<'_> {
    pub(super) fn file(&self, role: Role) -> DumpFile<'_> {
        DumpFile {
            run: self.backup.run,
            staging: self.staging,
            role,
            sealer: self.backup.sealer.as_ref(),
        }
    }

    pub(super) fn dumper<'b>(
        &'b self,
        run: &'b Run<'b>,
        program: PathBuf,
        arguments: Vec<OsString>,
    ) -> Dumper<'b> {
        Dumper {
            run,
            program,
            arguments,
            application: self.application,
            conninfo: &self.origin.conninfo,
            overheard: self.overheard,
            confinement: Confinement::default(),
        }
    }

    /// Dumps the database, as strictly as is asked for; gives the tables whose rows are not in it.
    pub(super) async fn database(&self) -> Result<(DumpedDatabase, Vec<SkippedTable>), JobError> {
        if self.backup.skips_damaged() {
            return self.database_without_what_fails().await;
        }
        Ok((self.database_but_for(&[]).await?, Vec::new()))
    }

    /// Dumps the database, and checks the file; with arguments that leave tables out.
    pub(super) async fn database_but_for(
        &self,
        without: &[OsString],
    ) -> Result<DumpedDatabase, JobError> {
        let (run, origin) = (self.backup.run, self.origin);
        let DumpSettings {
            format,
            compression,
            level,
            threads,
            ..
        } = self.backup.request.database.dump;
        let limits = &run.context.limits;
        let role = self.backup.role();
        let path = self.staging.path(role);
        let settings = &self.backup.request.database.dump;
        let is_encrypted = self.backup.sealer.is_some();
        let mut arguments = DumpCommand::new(settings, &path, is_encrypted).arguments(
            &origin.programs.version,
            &origin.conninfo,
            Some(&origin.properties.encoding),
            limits.lock_wait,
        )?;
        arguments.extend_from_slice(without);
        let within = run.within("dump", limits.dump);
        let pg_dump = self.dumper(&within, origin.programs.pg_dump(), arguments);
        let file = self.file(role);
        run.progress.enter(Phase::Dumping);
        if format == Format::Plain {
            let settings = Settings::new(compression, level, threads);
            return file.write_and_check(&pg_dump, settings).await;
        }
        let arguments = archive_as_sql_arguments(&path);
        let pg_restore = self.dumper(run, origin.programs.pg_restore(), arguments);
        file.write_archive_and_check(&pg_dump, &pg_restore).await
    }
}
