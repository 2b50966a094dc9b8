//! The temporary cluster with what was restored into it, and dumping that again.

use std::ffi::OsString;
use std::io::Read as _;
use std::path::PathBuf;

use super::attempt::Drill;
use crate::jobs::blocked::Watch;
use crate::jobs::dump::{Dumper, Remarks};
use crate::jobs::error::JobError;
use crate::jobs::load::Loader;
use crate::jobs::proof::census_of;
use crate::jobs::{JobContext, Limit};
use crate::pipeline::StreamError;
use crate::pipeline::census::Census;
use crate::postgres::{Conninfo, Programs, Running, Sandbox, SandboxError, globals_arguments};
use crate::repository::Manifest;

/// A server and what is in it.
pub(super) struct Restored<'a> {
    pub(super) sandbox: &'a mut Sandbox,
    pub(super) conninfo: Conninfo,
    /// The same, in the time zone that the dumped database had.
    pub(super) loading: Conninfo,
    pub(super) programs: &'a Programs,
    /// Those that read the backup's archive.
    pub(super) reader: &'a Programs,
    pub(super) application: String,
}

impl Restored<'_> {
    /// Makes the empty database, as the dumped one was made, and turns to it; gives its name, and the
    /// settings that the server does not take.
    pub(super) async fn make_database(
        &mut self,
        limit: &Limit,
        manifest: &Manifest,
    ) -> Result<(String, Vec<String>), JobError> {
        let settings = &manifest.server.settings;
        let making = self.sandbox.create_database(&manifest.properties, settings);
        let (database, refused) = limit.wait_for(making).await??;
        self.conninfo = self.sandbox.conninfo(&database)?;
        let zone = manifest.server.timezone.as_deref();
        self.loading = self.conninfo.for_loading(zone, false);
        Ok((database, refused))
    }

    pub(super) fn loader(&self, context: &JobContext) -> Loader<'_> {
        Loader {
            programs: self.programs,
            reader: self.reader,
            server_major: self.sandbox.major(),
            conninfo: &self.loading,
            application: &self.application,
            connect: context.limits.connect,
            confinement: self.sandbox.confinement(),
        }
    }

    fn dumper<'a>(
        &'a self,
        context: &JobContext,
        (program, arguments): (PathBuf, Vec<OsString>),
        watch: &'a Watch,
        remarks: &'a Remarks,
    ) -> Dumper<'a> {
        Dumper {
            program,
            arguments,
            application: &self.application,
            conninfo: &self.conninfo,
            connect: context.limits.connect,
            watch,
            remarks,
            confinement: self.sandbox.confinement(),
        }
    }

    /// Dumps what was restored, straight into a census.
    pub(super) async fn census(
        &self,
        drill: &Drill<'_>,
        encoding: Option<&str>,
    ) -> Result<Census, JobError> {
        let mut copy = self.loader(drill.context);
        copy.conninfo = &self.conninfo;
        let lock_wait = drill.context.limits.lock_wait;
        census_of(&copy, encoding, lock_wait, &drill.limit, drill.progress).await
    }

    /// Dumps the roles and tablespaces that were restored.
    pub(super) async fn globals(
        &self,
        drill: &Drill<'_>,
        encoding: &str,
        passwords: bool,
    ) -> Result<Vec<u8>, JobError> {
        let limits = &drill.context.limits;
        let arguments = globals_arguments(&self.conninfo, encoding, passwords, limits.lock_wait);
        let (watch, remarks) = (Watch::default(), Remarks::default());
        let mut dumper = self.dumper(
            drill.context,
            (self.programs.pg_dumpall(), arguments),
            &watch,
            &remarks,
        );
        if let Some(bounds) = &mut dumper.confinement.bounds {
            // It asks pg_dump for its version, by a shell.
            bounds.running = Running::Programs;
        }
        let doing = "cannot dump the roles that were restored";
        dumper
            .stream(&drill.limit, drill.progress, doing, move |mut source| {
                let mut text = Vec::new();
                source.read_to_end(&mut text).map_err(StreamError::Read)?;
                Ok(text)
            })
            .await
    }
}

/// Of an error in making or using a temporary cluster: none of them is about the backup.
impl From<SandboxError> for JobError {
    fn from(error: SandboxError) -> Self {
        Self::failed(error.to_string())
    }
}
