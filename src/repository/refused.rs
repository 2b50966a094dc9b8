//! What a server said in full when it refused a backup in a test restore: one file for a directory, in
//! the state directory. It may show rows, so that journal, ledger and status have the short form alone.
//!
//! `refused-<hash of the path>.txt`, of the newest test restore; gone when the next one is not refused.

use std::io;
use std::path::{Path, PathBuf};

use super::durable;
use super::last_seen::hash;

/// Keeps what was said about a backup in this directory, and gives the file.
///
/// # Errors
/// When the file cannot be written; the old one then stands.
pub fn keep_refused(state: &Path, directory: &Path, detail: &str) -> io::Result<PathBuf> {
    let path = path(state, directory);
    durable::replace(&path, detail.as_bytes())?;
    Ok(path)
}

/// Removes what is kept about this directory, if anything is.
///
/// # Errors
/// When it cannot be removed.
pub fn forget_refused(state: &Path, directory: &Path) -> io::Result<()> {
    durable::remove(&path(state, directory))
}

fn path(state: &Path, directory: &Path) -> PathBuf {
    state.join(format!("refused-{}.txt", hash(directory)))
}
