//! The roles and tablespaces that stand beside a backup.

use std::path::PathBuf;

use crate::config::Compression;
use crate::jobs::dump::blocking;
use crate::jobs::error::JobError;
use crate::jobs::run::Run;
use crate::pipeline::{StreamError, read_text};
use crate::regular_file;

/// They are held in memory; a hundred thousand roles need a tenth of this.
const LONGEST: usize = 256 << 20;

/// Reads the roles and tablespaces of a backup, as SQL.
///
/// # Errors
/// When they are damaged or longer than anything that `pg_dumpall` writes, or the limit is reached.
pub(in crate::jobs) async fn read_globals(
    run: &Run<'_>,
    path: PathBuf,
) -> Result<Vec<u8>, JobError> {
    let shown = path.display().to_string();
    let read = blocking(run, &shown, move || {
        let file = regular_file::open(path).map_err(StreamError::Read)?;
        read_text(file, Compression::Gzip, LONGEST)
    })
    .await;
    read.map_err(|error| match error {
        JobError::Stream { source, .. } => {
            JobError::Damaged(format!("the roles of the backup, {shown}: {source}"))
        }
        error => error,
    })
}
