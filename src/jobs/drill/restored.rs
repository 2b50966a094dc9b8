//! The throw-away server with what was restored into it, and dumping that again.

use std::ffi::OsString;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use super::attempt::Drill;
use crate::jobs::Context;
use crate::jobs::blocked::Watch;
use crate::jobs::dump::{Dumper, Remarks};
use crate::jobs::error::JobError;
use crate::jobs::load::Loader;
use crate::pipeline::census::Census;
use crate::pipeline::{StreamError, take_census};
use crate::postgres::{
    Conninfo, DumpCommand, Programs, Running, Sandbox, SandboxError, globals_arguments,
};

/// A server and what is in it.
pub(super) struct Restored<'a> {
    pub(super) sandbox: &'a mut Sandbox,
    pub(super) conninfo: Conninfo,
    /// The same, in the time zone that the dumped database had.
    pub(super) loading: Conninfo,
    pub(super) programs: &'a Programs,
    pub(super) application: String,
}

impl Restored<'_> {
    pub(super) fn loader(&self, context: &Context) -> Loader<'_> {
        Loader {
            programs: self.programs,
            conninfo: &self.loading,
            application: &self.application,
            connect: context.limits.connect,
            confinement: self.sandbox.confinement(),
        }
    }

    fn dumper<'a>(
        &'a self,
        context: &Context,
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
    pub(super) async fn census(&self, drill: &Drill<'_>) -> Result<Census, JobError> {
        let arguments = DumpCommand::Plain.arguments(
            &self.programs.version,
            &self.conninfo,
            drill.context.limits.lock_wait,
        )?;
        let (watch, remarks) = (Watch::default(), Remarks::default());
        let dumper = self.dumper(
            drill.context,
            (self.programs.pg_dump(), arguments),
            &watch,
            &remarks,
        );
        let counted = Arc::clone(drill.progress);
        let doing = "cannot dump what was restored";
        let (census, ..) = dumper
            .stream(&drill.limit, drill.progress, doing, move |source| {
                take_census(source, &counted)
            })
            .await?;
        let said = remarks.into_inner().unwrap_or_else(PoisonError::into_inner);
        for remark in said {
            tracing::debug!("{remark}");
        }
        Ok(census)
    }

    /// Dumps the roles and tablespaces that were self.
    pub(super) async fn globals(
        &self,
        drill: &Drill<'_>,
        passwords: bool,
    ) -> Result<Vec<u8>, JobError> {
        let limits = &drill.context.limits;
        let arguments = globals_arguments(&self.conninfo, passwords, limits.lock_wait);
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

/// Of an error in making or using a throw-away server: none of them is about the backup.
impl From<SandboxError> for JobError {
    fn from(error: SandboxError) -> Self {
        Self::failed(error.to_string())
    }
}
