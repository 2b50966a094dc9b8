//! The temporary cluster with what was restored into it, and dumping that again.

use crate::jobs::dump::{Dumper, Overheard};
use crate::jobs::error::JobError;
use crate::jobs::load::Loader;
use crate::jobs::proof::census_of;
use crate::jobs::run::Run;
use crate::pipeline::census::Census;
use crate::postgres::{Conninfo, Programs, Running, Sandbox, SandboxError, globals_arguments};
use crate::repository::Manifest;

/// A server and what is in it.
pub(super) struct Restored<'a> {
    pub(super) run: &'a Run<'a>,
    pub(super) sandbox: &'a mut Sandbox,
    pub(super) conninfo: Conninfo,
    /// The same, in the time zone that the dumped database had.
    pub(super) loading: Conninfo,
    pub(super) programs: &'a Programs,
    /// Those that read the backup's archive.
    pub(super) reader: Programs,
    pub(super) application: String,
}

impl Restored<'_> {
    /// Makes the empty database, as the dumped one was made, and turns to it; gives the settings that the
    /// server does not take.
    pub(super) async fn make_database(
        &mut self,
        manifest: &Manifest,
    ) -> Result<Vec<String>, JobError> {
        let settings = &manifest.server.settings;
        let making = self.sandbox.create_database(&manifest.properties, settings);
        let (database, refused) = self.run.wait_for(making).await??;
        self.conninfo = self.sandbox.conninfo(&database)?;
        let zone = manifest.server.timezone.as_deref();
        self.loading = self.conninfo.for_loading(zone, false);
        Ok(refused)
    }

    pub(super) fn loader(&self) -> Loader<'_> {
        Loader {
            run: self.run,
            programs: self.programs,
            reader: &self.reader,
            server_major: self.sandbox.major(),
            conninfo: &self.loading,
            application: &self.application,
            jobs: self.run.context.drill.jobs,
            confinement: self.sandbox.confinement(),
        }
    }

    /// Dumps what was restored, straight into a census.
    pub(super) async fn census(&self, encoding: Option<&str>) -> Result<Census, JobError> {
        let mut copy = self.loader();
        copy.conninfo = &self.conninfo;
        census_of(&copy, encoding).await
    }

    /// Dumps the roles and tablespaces that were restored.
    pub(super) async fn globals(
        &self,
        encoding: &str,
        passwords: bool,
    ) -> Result<Vec<u8>, JobError> {
        let lock_wait = self.run.context.limits.lock_wait;
        let mut confinement = self.sandbox.confinement();
        if let Some(bounds) = &mut confinement.bounds {
            // It asks pg_dump for its version, by a shell.
            bounds.running = Running::Programs;
        }
        let pg_dumpall = Dumper {
            run: self.run,
            program: self.programs.pg_dumpall(),
            arguments: globals_arguments(&self.conninfo, encoding, passwords, lock_wait),
            application: &self.application,
            conninfo: &self.conninfo,
            overheard: &Overheard::default(),
            confinement,
        };
        pg_dumpall
            .read_all("cannot dump the roles that were restored")
            .await
    }
}

/// Of an error in making or using a temporary cluster: none of them is about the backup.
impl From<SandboxError> for JobError {
    fn from(error: SandboxError) -> Self {
        Self::failed(error.to_string())
    }
}
