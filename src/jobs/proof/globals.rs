//! The roles and tablespaces that stand next to a backup.

use std::fmt::Display;

use crate::config::Compression;
use crate::jobs::dump::blocking;
use crate::jobs::error::JobError;
use crate::jobs::run::Run;
use crate::pipeline::{Digest, InputFile, read_text};

/// They are held in memory; a hundred thousand roles need a tenth of this.
const LONGEST: usize = 256 << 20;

/// Reads the roles and tablespaces of a backup, as SQL.
///
/// # Errors
/// When they are not what was written, or longer than anything that `pg_dumpall` writes, or the limit is reached.
pub(in crate::jobs) async fn read_globals(
    run: &Run<'_>,
    file: InputFile,
    expected: &Digest,
) -> Result<Vec<u8>, JobError> {
    let shown = file.path().display().to_string();
    let read = blocking(run, &shown, move || {
        read_text(&file, Compression::Gzip, LONGEST)
    })
    .await;
    let damaged =
        |why: &dyn Display| JobError::Damaged(format!("the roles of the backup, {shown}: {why}"));
    match read {
        Ok((globals, found)) if found == *expected => Ok(globals),
        Ok((_, found)) => Err(damaged(&format!("expected {expected}, found {found}"))),
        Err(JobError::Stream { source, .. }) => Err(damaged(&source)),
        Err(error) => Err(error),
    }
}
