//! Putting right what a run left that was cut short: by a crash, a kill or a power cut.
//!
//! Whoever sweeps holds the directory's lock, so no temporary file can be in use but a state's.

use std::collections::BTreeMap;
use std::path::Path;

use uuid::Uuid;

use super::durable;
use super::error::RepositoryError;
use super::lock::guard_states;
use super::manifest::Manifest;
use super::names::{Role, Stem};
use super::quarantine;
use super::temporary::{self, QUARANTINED, RELEASED, REMOVED, UNPUBLISHED};
use crate::config::Format;
use crate::pipeline::{Digest, Progress, digest_directory, digest_file};

/// What a sweep did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Runs whose temporary files were removed.
    pub removed: Vec<Uuid>,
    /// Backups that were whole and checked and only lacked their last names, now published.
    pub completed: Vec<String>,
    /// Backups whose removal had begun, now removed.
    pub finished_removals: Vec<String>,
    /// Backups that were on their way into quarantine, now there.
    pub quarantined: Vec<String>,
    /// Backups that were on their way out of it, now back in their place.
    pub released: Vec<String>,
    /// What could not be put right, one sentence each. It is in nobody's way, and the next sweep tries
    /// again.
    pub remaining: Vec<String>,
}

pub(super) fn sweep(directory: &Path) -> Result<Swept, RepositoryError> {
    let mut swept = Swept::default();
    let reading = || RepositoryError::io("read the directory", directory);
    let mut runs: BTreeMap<Uuid, Vec<String>> = BTreeMap::new();
    for entry in std::fs::read_dir(directory).map_err(reading())? {
        let name = entry.map_err(reading())?.file_name();
        if let Some((run, word)) = name.to_str().and_then(temporary::parse) {
            runs.entry(run).or_default().push(word.to_owned());
        }
    }
    for (run, words) in runs {
        // What one run left that stays where it is keeps nothing else from going on.
        if let Err(error) = put_right(directory, run, &words, &mut swept) {
            swept.remaining.push(error.to_string());
        }
    }
    if swept != Swept::default()
        && let Err(error) = durable::sync_directory(directory)
    {
        let error = RepositoryError::io("sync the directory", directory)(error);
        swept.remaining.push(error.to_string());
    }
    Ok(swept)
}

/// Puts right what one run left.
fn put_right(
    directory: &Path,
    run: Uuid,
    words: &[String],
    swept: &mut Swept,
) -> Result<(), RepositoryError> {
    for word in words.iter().filter(|word| word.starts_with(REMOVED)) {
        let path = temporary::path(directory, run, word);
        if let Ok(manifest) = temporary::read_manifest(&path) {
            remove_files(directory, &manifest)?;
            swept.finished_removals.push(manifest.name);
        }
        durable::remove(&path).map_err(RepositoryError::io("remove", &path))?;
    }
    for word in words {
        on_the_way(directory, run, word, swept)?;
    }
    if words.iter().any(|word| word == Role::Manifest.word())
        && let Some(name) = complete(directory, run)?
    {
        swept.completed.push(name);
        return Ok(());
    }
    let mut removed = false;
    for word in words
        .iter()
        .filter(|word| UNPUBLISHED.contains(&word.as_str()))
    {
        let path = temporary::path(directory, run, word);
        // A state is written without the directory's lock, so this one may be in use.
        let _guard = (word == Role::State.word())
            .then(|| guard_states(directory))
            .transpose()
            .map_err(RepositoryError::io("read the directory", directory))?;
        match durable::remove(&path).map_err(RepositoryError::io("remove", &path)) {
            Ok(()) => removed = true,
            Err(error) => swept.remaining.push(error.to_string()),
        }
    }
    if removed {
        swept.removed.push(run);
    }
    Ok(())
}

/// Brings a backup to the end of its way into quarantine, or out of it.
fn on_the_way(
    directory: &Path,
    run: Uuid,
    word: &str,
    swept: &mut Swept,
) -> Result<(), RepositoryError> {
    if let Some(stem) = word.strip_prefix(QUARANTINED) {
        if let Ok(stem) = stem.parse()
            && quarantine::finish(directory, run, &stem)?.is_some()
        {
            swept.quarantined.push(stem.to_string());
        }
    } else if let Some(name) = word.strip_prefix(RELEASED) {
        match quarantine::finish_release(directory, run, name) {
            Ok(true) => swept.released.push(name.to_owned()),
            Ok(false) => {}
            // No reason to keep everything else from going on.
            Err(error @ RepositoryError::Taken { .. }) => tracing::warn!("{error}"),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Publishes a backup whose manifest was already on the disk when its run was cut short. Every
/// file must be there, under its own name or its temporary one, with the digest that the manifest
/// gives; else the files that are provably of this run lose their names again.
fn complete(directory: &Path, run: Uuid) -> Result<Option<String>, RepositoryError> {
    let path = temporary::path(directory, run, Role::Manifest.word());
    let Ok(manifest) = temporary::read_manifest(&path) else {
        return Ok(None);
    };
    let Ok(stem) = manifest.name.parse::<Stem>() else {
        return Ok(None);
    };
    let files = manifest.files();
    let whole = files.iter().all(|(role, digest)| {
        let is_it = |path: &Path| digest_of(*role, path).as_ref() == Some(digest);
        is_it(&stem.file(directory, *role))
            || (is_it(&temporary::path(directory, run, role.word()))
                && !is_there(&stem.file(directory, *role)))
    });
    let manifest_path = stem.file(directory, Role::Manifest);
    let is_published = is_there(&manifest_path);
    if !whole || is_published {
        for (role, digest) in &files {
            let path = stem.file(directory, *role);
            if !is_published && digest_of(*role, &path).as_ref() == Some(digest) {
                durable::remove(&path).map_err(RepositoryError::io("remove", &path))?;
            }
        }
        return Ok(None);
    }
    for (role, _) in &files {
        let from = temporary::path(directory, run, role.word());
        let to = stem.file(directory, *role);
        if is_there(&to) {
            // Where renaming is linking and unlinking, it may have come half way.
            durable::remove(&from).map_err(RepositoryError::io("remove", &from))?;
        } else {
            durable::rename_new(&from, &to).map_err(RepositoryError::io("publish", &to))?;
        }
    }
    let syncing = || RepositoryError::io("sync the directory", directory);
    durable::sync_directory(directory).map_err(syncing())?;
    durable::rename_new(&path, &manifest_path)
        .map_err(RepositoryError::io("publish", &manifest_path))?;
    durable::sync_directory(directory).map_err(syncing())?;
    Ok(Some(manifest.name))
}

/// Removes the files of a backup whose manifest is out of the way already.
pub(super) fn remove_files(directory: &Path, manifest: &Manifest) -> Result<(), RepositoryError> {
    let Ok(stem) = manifest.name.parse::<Stem>() else {
        return Ok(());
    };
    let files = manifest.files().into_iter().map(|(role, _)| role);
    for role in files.chain([Role::State]) {
        let path = stem.file(directory, role);
        durable::remove(&path).map_err(RepositoryError::io("remove", &path))?;
    }
    Ok(())
}

/// Whether anything has this name, were it a link to nothing.
fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// The digest of a file or directory; none if it cannot be read.
fn digest_of(role: Role, path: &Path) -> Option<Digest> {
    let progress = Progress::default();
    if let Role::Artifact(Format::Directory, ..) = role {
        return digest_directory(path, &progress).ok();
    }
    digest_file(crate::regular_file::open(path).ok()?, &progress).ok()
}
