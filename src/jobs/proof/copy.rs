//! Reading a restored copy back, and making the reference for it.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::jobs::blocked::Watch;
use crate::jobs::dump::{Dumper, Remarks};
use crate::jobs::error::JobError;
use crate::jobs::limit::Limit;
use crate::jobs::load::Loader;
use crate::pipeline::census::Census;
use crate::pipeline::{Progress, take_census};
use crate::postgres::DumpCommand;

/// Dumps what was loaded, straight into a census, in the encoding that the backup names.
///
/// # Errors
/// When it cannot be dumped, or the limit is reached.
pub(in crate::jobs) async fn census_of(
    copy: &Loader<'_>,
    encoding: Option<&str>,
    lock_wait: Duration,
    limit: &Limit,
    progress: &Arc<Progress>,
) -> Result<Census, JobError> {
    let arguments =
        DumpCommand::Plain.arguments(&copy.programs.version, copy.conninfo, encoding, lock_wait)?;
    let (watch, remarks) = (Watch::default(), Remarks::default());
    let pg_dump = Dumper {
        program: copy.programs.pg_dump(),
        arguments,
        application: copy.application,
        conninfo: copy.conninfo,
        connect: copy.connect,
        watch: &watch,
        remarks: &remarks,
        confinement: copy.confinement.clone(),
    };
    let counted = Arc::clone(progress);
    let doing = "cannot dump what was restored";
    let (census, ..) = pg_dump
        .stream(limit, progress, doing, move |source| {
            take_census(source, &counted)
        })
        .await?;
    for remark in remarks.into_inner().unwrap_or_else(PoisonError::into_inner) {
        tracing::debug!("{remark}");
    }
    Ok(census)
}
