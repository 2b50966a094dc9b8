//! Reading a restored copy back, and making the reference for it.

use std::sync::Arc;

use crate::jobs::dump::{Dumper, Overheard};
use crate::jobs::error::JobError;
use crate::jobs::load::Loader;
use crate::pipeline::census::Census;
use crate::pipeline::take_census;
use crate::postgres::DumpCommand;

/// Dumps what was loaded, straight into a census, in the encoding that the backup names.
///
/// # Errors
/// When it cannot be dumped, or the limit is reached.
pub(in crate::jobs) async fn census_of(
    copy: &Loader<'_>,
    encoding: Option<&str>,
) -> Result<Census, JobError> {
    let lock_wait = copy.run.context.limits.lock_wait;
    let version = &copy.programs.version;
    let overheard = Overheard::default();
    let pg_dump = Dumper {
        run: copy.run,
        program: copy.programs.pg_dump(),
        arguments: DumpCommand::Plain.arguments(version, copy.conninfo, encoding, lock_wait)?,
        application: copy.application,
        conninfo: copy.conninfo,
        overheard: &overheard,
        confinement: copy.confinement.clone(),
    };
    let counted = Arc::clone(&copy.run.progress);
    let doing = "cannot dump what was restored";
    let (census, ..) = pg_dump
        .stream(doing, move |source| take_census(source, None, &counted))
        .await?;
    for remark in overheard.into_remarks() {
        tracing::debug!("{remark}");
    }
    Ok(census)
}
