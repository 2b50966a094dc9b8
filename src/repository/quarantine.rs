//! The quarantine: where a damaged backup is put aside, all of its files in a directory of their own.
//!
//! ```text
//! quarantine/backup_20250709_020000/      its files, each under the name that it had
//! quarantine/backup_20250709_020000.2/    another one that had the same name
//! ```
//!
//! On its way a backup is in a temporary directory: `.pgbackupd-<run>.quarantined-<stem>` on the way in,
//! `….released-<name>` on the way out. The manifest goes in first and comes out last, so that whatever
//! stands under a backup's name is one. A run that is killed anywhere between leaves one of these, and
//! whoever sweeps next brings the way to its end. Nothing is ever replaced.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use chrono::{DateTime, FixedOffset};
use uuid::Uuid;

use super::durable;
use super::error::RepositoryError;
use super::manifest::Manifest;
use super::names::{Role, Stem};
use super::state::State;
use super::temporary::{self, QUARANTINED, RELEASED};

/// The directory in a database's directory.
const QUARANTINE: &str = "quarantine";

/// A backup that was put aside.
#[derive(Clone, Debug, PartialEq)]
pub struct Quarantined {
    /// The name of its directory: the backup's, with a number behind it where that was taken.
    pub name: String,
    /// What the names of its files share.
    pub stem: Stem,
    /// Where its files are.
    pub directory: PathBuf,
    /// When its run started; none where its manifest cannot be read, as with the next.
    pub started: Option<DateTime<FixedOffset>>,
    /// Bytes of all its files but the manifest, as they were written.
    pub bytes: Option<u64>,
    /// What was known of it when it was put aside.
    pub state: State,
}

/// The backups in quarantine, in the order of their names. What else is there is passed over.
pub(super) fn list(directory: &Path) -> io::Result<Vec<Quarantined>> {
    let place = directory.join(QUARANTINE);
    let entries = match std::fs::read_dir(&place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(stem) = stem_of(&name).filter(|_| entry.path().is_dir()) else {
            continue;
        };
        let directory = entry.path();
        let path = stem.file(&directory, Role::Manifest);
        // What somebody left next to a backup that was released is none.
        if path.symlink_metadata().is_err() {
            continue;
        }
        let manifest = Manifest::read(&path).ok();
        found.push(Quarantined {
            started: manifest.as_ref().map(|manifest| manifest.started),
            bytes: manifest.as_ref().map(Manifest::bytes),
            state: State::read(&stem.file(&directory, Role::State)),
            name,
            stem,
            directory,
        });
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

/// Whether a backup of this name is there.
pub(super) fn holds(directory: &Path, stem: &Stem) -> bool {
    let place = directory.join(QUARANTINE).join(name_of(stem, 1));
    place.symlink_metadata().is_ok()
}

/// The backup that a directory in the quarantine is named after.
fn stem_of(name: &str) -> Option<Stem> {
    match name.split_once('.') {
        None => name.parse().ok(),
        Some((stem, count)) => {
            let count: u32 = count.parse().ok()?;
            let stem: Stem = stem.parse().ok()?;
            (name_of(&stem, count) == name).then_some(stem)
        }
    }
}

fn name_of(stem: &Stem, count: u32) -> String {
    match count {
        0 | 1 => stem.to_string(),
        count => format!("{stem}.{count}"),
    }
}

/// Takes a backup's manifest away: from here on it is no backup. The rest is [`finish`]'s.
pub(super) fn begin(directory: &Path, run: Uuid, stem: &Stem) -> Result<(), RepositoryError> {
    let aside = temporary::path(directory, run, &format!("{QUARANTINED}{stem}"));
    durable::create_directory(&aside).map_err(RepositoryError::io("create", &aside))?;
    let manifest = stem.file(directory, Role::Manifest);
    move_file(&manifest, &stem.file(&aside, Role::Manifest))
        .map_err(RepositoryError::io("quarantine", &manifest))?;
    sync(&aside)?;
    sync(directory)
}

/// Brings the way in to its end, wherever it has come to; gives where the backup is now. None where
/// it was not begun, or cannot be ended now, because its manifest cannot be read.
pub(super) fn finish(
    directory: &Path,
    run: Uuid,
    stem: &Stem,
) -> Result<Option<PathBuf>, RepositoryError> {
    let aside = temporary::path(directory, run, &format!("{QUARANTINED}{stem}"));
    let path = stem.file(&aside, Role::Manifest);
    if path.symlink_metadata().is_err() {
        // Nothing has come into it yet.
        let _ = std::fs::remove_dir(&aside);
        return Ok(None);
    }
    let Ok(manifest) = temporary::read_manifest(&path) else {
        tracing::warn!("{} cannot be read, and waits there", path.display());
        return Ok(None);
    };
    // Where renaming is linking and unlinking, the manifest may have come half way.
    for role in roles_of(&manifest).chain([Role::Manifest]) {
        let from = stem.file(directory, role);
        move_file(&from, &stem.file(&aside, role))
            .map_err(RepositoryError::io("quarantine", &from))?;
    }
    sync(&aside)?;
    sync(directory)?;
    let put = put_into(directory, &aside, stem)?;
    Ok(Some(put))
}

/// Gives a whole directory its place in the quarantine.
fn put_into(directory: &Path, aside: &Path, stem: &Stem) -> Result<PathBuf, RepositoryError> {
    let place = directory.join(QUARANTINE);
    durable::create_directory(&place).map_err(RepositoryError::io("create", &place))?;
    for count in 1.. {
        let to = place.join(name_of(stem, count));
        match durable::rename_new(aside, &to) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            renamed => {
                renamed.map_err(RepositoryError::io("move into quarantine as", &to))?;
                sync(&place)?;
                sync(directory)?;
                return Ok(to);
            }
        }
    }
    Ok(aside.to_owned())
}

/// Takes a backup out of the quarantine. Its way back is [`finish_release`]'s.
pub(super) fn begin_release(
    directory: &Path,
    run: Uuid,
    released: &Quarantined,
) -> Result<(), RepositoryError> {
    let path = released.stem.file(&released.directory, Role::Manifest);
    let manifest =
        Manifest::read(&path).map_err(|source| RepositoryError::Manifest { path, source })?;
    for role in roles_of(&manifest).chain([Role::Manifest]) {
        let path = released.stem.file(directory, role);
        if path.symlink_metadata().is_ok() {
            return Err(RepositoryError::Taken { path });
        }
    }
    let aside = temporary::path(directory, run, &format!("{RELEASED}{}", released.name));
    durable::rename_new(&released.directory, &aside).map_err(RepositoryError::io(
        "take out of quarantine",
        &released.directory,
    ))?;
    sync(&directory.join(QUARANTINE))?;
    sync(directory)
}

/// Brings the way out to its end, wherever it has come to; gives whether there was anything to do.
pub(super) fn finish_release(
    directory: &Path,
    run: Uuid,
    name: &str,
) -> Result<bool, RepositoryError> {
    let aside = temporary::path(directory, run, &format!("{RELEASED}{name}"));
    let Some(stem) = stem_of(name) else {
        return Ok(false);
    };
    let path = stem.file(&aside, Role::Manifest);
    if let Ok(manifest) = temporary::read_manifest(&path) {
        // The files' names reach the disk before the manifest's, which vouches for them.
        for role in roles_of(&manifest) {
            give_back(directory, &aside, &stem, role)?;
        }
        sync(directory)?;
        give_back(directory, &aside, &stem, Role::Manifest)?;
        sync(directory)?;
    } else if path.symlink_metadata().is_ok() {
        tracing::warn!("{} cannot be read, and waits there", path.display());
        return Ok(false);
    }
    // What else somebody has put there stays in quarantine.
    if std::fs::remove_dir(&aside).is_err() && aside.is_dir() {
        put_into(directory, &aside, &stem)?;
    }
    let _ = std::fs::remove_dir(directory.join(QUARANTINE));
    sync(directory)?;
    Ok(true)
}

fn give_back(
    directory: &Path,
    aside: &Path,
    stem: &Stem,
    role: Role,
) -> Result<(), RepositoryError> {
    let to = stem.file(directory, role);
    match move_file(&stem.file(aside, role), &to) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(RepositoryError::Taken { path: to })
        }
        moved => moved.map_err(RepositoryError::io("move back to", &to)),
    }
}

/// The backup's files but the manifest.
fn roles_of(manifest: &Manifest) -> impl Iterator<Item = Role> {
    let files = manifest.files().into_iter().map(|(role, _)| role);
    [Role::State].into_iter().chain(files)
}

/// Renames a file without replacing another; fine when it is not there, for it may have been moved
/// already, or be what is missing.
fn move_file(from: &Path, to: &Path) -> io::Result<()> {
    match durable::rename_new(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // Where renaming is linking and unlinking, it may have come half way.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && are_one(from, to) => {
            std::fs::remove_file(from)
        }
        moved => moved,
    }
}

fn are_one(one: &Path, other: &Path) -> bool {
    let identity = |metadata: Metadata| (metadata.dev(), metadata.ino());
    let of = |path: &Path| path.symlink_metadata().map(identity).ok();
    of(one).is_some() && of(one) == of(other)
}

fn sync(directory: &Path) -> Result<(), RepositoryError> {
    durable::sync_directory(directory).map_err(RepositoryError::io("sync the directory", directory))
}
