//! Temporary names, `.pgbackupd-<run>.<word>`: what a run has under way in a directory.
//!
//! A word says what the file is. Most are of no use without their run ([`UNPUBLISHED`]); a manifest that is on its
//! way out of the directory has the name of its backup in its word.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::manifest::{Manifest, ManifestError, read_text};

const PREFIX: &str = ".pgbackupd-";

/// The words of files that are of no use without their run.
pub(super) const UNPUBLISHED: [&str; 5] = ["artifact", "globals", "census", "manifest", "state"];

/// The word of a manifest whose backup is being removed.
pub(super) const REMOVED: &str = "removed";

/// What precedes the backup's name in the word of a manifest on its way into quarantine.
pub(super) const QUARANTINED: &str = "quarantined-";

/// What precedes the backup's name in the word of a manifest on its way out of quarantine.
pub(super) const RELEASED: &str = "released-";

/// The temporary name of a run's file.
pub(super) fn path(directory: &Path, run: Uuid, word: &str) -> PathBuf {
    directory.join(format!("{PREFIX}{run}.{word}"))
}

/// The run and the word of a temporary name, whatever the word is; none of a name that is not ours.
pub(super) fn split(name: &str) -> Option<(Uuid, &str)> {
    let (run, word) = name.strip_prefix(PREFIX)?.split_once('.')?;
    Some((run.parse().ok()?, word))
}

/// The run and the word of a file that a backup's run, its removal or its quarantine leaves.
pub(super) fn parse(name: &str) -> Option<(Uuid, &str)> {
    let (run, word) = split(name)?;
    let named = [REMOVED, QUARANTINED, RELEASED];
    let is_known = UNPUBLISHED.contains(&word) || named.iter().any(|one| word.starts_with(one));
    is_known.then_some((run, word))
}

/// A manifest under a temporary name, which cannot agree with its own.
///
/// # Errors
///
/// When it cannot be read, or is none.
pub(super) fn read_manifest(path: &Path) -> Result<Manifest, ManifestError> {
    let text = read_text(path)?;
    Manifest::from_text(&text)
}
