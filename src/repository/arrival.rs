//! A backup that comes from elsewhere, as long as not all of it is there.
//!
//! Its parts are collected in a directory of their own, `.pgbackupd-<id>.fetch`, next to the backup that they are
//! going to be. No sweep touches it: whoever goes on with the same id finds what was kept. Only when every part
//! is there and is what the manifest says do they get the names of a backup, the manifest's last.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::error::RepositoryError;
use super::lock::{Holder, Lock};
use super::manifest::{Manifest, ManifestError};
use super::names::{Role, Stem};
use super::{Repository, durable, temporary};
use crate::config::Format;
use crate::pipeline::{Digest, Progress, StreamError, digest_directory, digest_file};

/// What its directory is called, behind its id.
const WORD: &str = "fetch";

/// A fetch that has not come on for so long is gone on with no more.
const ABANDONED: Duration = Duration::from_secs(7 * 24 * 3600);

/// The file that says how much was kept.
const KEPT: &str = "kept.json";

/// The parts of one backup.
#[derive(Debug)]
pub struct Arrival {
    repository: Repository,
    home: PathBuf,
    id: Uuid,
    kept: AllKept,
    /// Nobody else collects the same meanwhile.
    _lock: Lock,
}

/// How much of a part is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// So many of its pieces.
    pub pieces: usize,
    /// Bytes of these.
    pub bytes: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct AllKept {
    /// What the pieces are of.
    of: String,
    parts: BTreeMap<String, Kept>,
}

impl Repository {
    /// Puts the manifest of a backup, and its globals, into a directory without its dump: enough to look ahead at a
    /// restore. It is no backup.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn put_head(
        &self,
        stem: &Stem,
        manifest: &str,
        globals: Option<(Role, &[u8])>,
    ) -> Result<(), RepositoryError> {
        let globals = globals.into_iter();
        for (role, content) in globals.chain([(Role::Manifest, manifest.as_bytes())]) {
            let path = self.path(stem, role);
            durable::replace(&path, content).map_err(RepositoryError::io("write", &path))?;
        }
        Ok(())
    }

    /// Begins to collect the parts of a backup, or goes on with it. `of` is the digest of what says which parts
    /// there are: what was kept for another one is dropped.
    ///
    /// # Errors
    /// When another process collects the same, or a file cannot be made.
    pub fn receive(&self, id: Uuid, of: &str, holder: &Holder) -> Result<Arrival, RepositoryError> {
        self.sweep_arrivals(id, holder);
        let home = temporary::path(&self.directory, id, WORD);
        let lock = || {
            durable::create_directory(&home).map_err(RepositoryError::io("create", &home))?;
            Self::at(&home).lock(holder)
        };
        let mut arrival = Arrival {
            _lock: lock()?,
            repository: self.clone(),
            kept: AllKept {
                of: of.to_owned(),
                ..AllKept::default()
            },
            id,
            home,
        };
        arrival.take_up();
        Ok(arrival)
    }

    /// Removes what other fetches into this directory have left for a week: nobody goes on with them. What cannot be
    /// removed is in nobody's way.
    fn sweep_arrivals(&self, own: Uuid, holder: &Holder) {
        let entries = std::fs::read_dir(&self.directory).into_iter().flatten();
        for entry in entries.flatten() {
            let name = entry.file_name();
            let parsed = name.to_str().and_then(temporary::split);
            if !parsed.is_some_and(|(id, word)| word == WORD && id != own) {
                continue;
            }
            let home = entry.path();
            let age = |path: &Path| {
                let modified = path.symlink_metadata().and_then(|found| found.modified());
                modified.ok().and_then(|modified| modified.elapsed().ok())
            };
            let is_old = |path: &Path| age(path).is_some_and(|age| age > ABANDONED);
            if is_old(&home)
                && (is_old(&home.join(KEPT)) || !home.join(KEPT).exists())
                && let Ok(_lock) = Self::at(&home).lock(holder)
                && let Err(error) = std::fs::remove_dir_all(&home)
            {
                tracing::debug!("cannot remove {}: {error}", home.display());
            }
        }
    }
}

impl Arrival {
    /// Takes up what an earlier process has kept, as far as it is still there.
    fn take_up(&mut self) {
        let text = crate::regular_file::read_to_string(&self.home.join(KEPT)).unwrap_or_default();
        let Ok(before) = serde_json::from_str::<AllKept>(&text) else {
            return;
        };
        if before.of != self.kept.of {
            return;
        }
        let is_there = |(part, kept): &(String, Kept)| {
            let found = self.path(part).symlink_metadata();
            found.is_ok_and(|found| found.is_file() && found.len() >= kept.bytes)
        };
        self.kept.parts = before.parts.into_iter().filter(is_there).collect();
    }

    /// Where a part is collected.
    pub fn path(&self, part: &str) -> PathBuf {
        self.home.join(part)
    }

    /// The directory of the parts.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// How much of a part is there.
    pub fn kept(&self, part: &str) -> Kept {
        self.kept.parts.get(part).copied().unwrap_or_default()
    }

    /// Adds a piece to a part, and keeps it: it is on the disk when this returns.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn append(&mut self, part: &str, piece: &[u8]) -> Result<(), RepositoryError> {
        let path = self.path(part);
        let mut kept = self.kept(part);
        let written = open_part(&path, kept).and_then(|mut file| {
            // What a killed process has written behind what it had kept.
            file.set_len(kept.bytes)?;
            file.seek(SeekFrom::Start(kept.bytes))?;
            file.write_all(piece)?;
            file.sync_data()
        });
        written.map_err(RepositoryError::io("write", &path))?;
        kept.pieces += 1;
        kept.bytes += piece.len() as u64;
        self.kept.parts.insert(part.to_owned(), kept);
        let path = self.home.join(KEPT);
        serde_json::to_vec(&self.kept)
            .map_err(io::Error::from)
            .and_then(|text| durable::replace(&path, &text))
            .map_err(RepositoryError::io("write", &path))
    }

    /// Gives the backup the names of its manifest: the parts are called as in [`Role::word`]. Each is read back
    /// from the disk before, and has to be what the manifest says.
    ///
    /// # Errors
    /// When a part is missing or is not what the manifest says, another run holds the directory's lock, or a
    /// name is taken. What was collected stays.
    pub fn publish(
        self,
        text: &str,
        holder: &Holder,
        progress: &Progress,
    ) -> Result<Manifest, RepositoryError> {
        let unusable = |source| RepositoryError::Manifest {
            path: self.path(Role::Manifest.word()),
            source,
        };
        let manifest = Manifest::from_text(text).map_err(unusable)?;
        let stem: Stem = manifest
            .name
            .parse()
            .map_err(|_| unusable(ManifestError::Misnamed(manifest.name.clone())))?;
        let mut parts = Vec::new();
        for (role, digest) in manifest.files() {
            let path = self.path(role.word());
            check_part(&path, role, (&digest, progress))?;
            parts.push((role, path));
        }
        let lock = self.repository.lock(holder)?;
        let staging = self.repository.stage(self.id, &lock);
        staging.publish_parts(&stem, text, &parts)?;
        drop(lock);
        // Nobody needs it any more.
        let _ = self.discard();
        Ok(manifest)
    }

    /// Removes everything that was collected.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn discard(self) -> Result<(), RepositoryError> {
        durable::remove(&self.home).map_err(RepositoryError::io("remove", &self.home))
    }

    /// Whether a backup of this name is in the directory, or any file that is called like one of its.
    pub fn is_taken(&self, stem: &Stem) -> bool {
        super::staging::is_taken(&self.repository.directory, stem)
    }
}

/// Syncs a part, and refuses one that does not have this digest.
fn check_part(
    path: &Path,
    role: Role,
    (digest, progress): (&Digest, &Progress),
) -> Result<(), RepositoryError> {
    let is_directory = matches!(role, Role::Artifact(Format::Directory, ..));
    let synced = if is_directory {
        durable::sync_directory_and_files(path).map(drop)
    } else {
        durable::sync_file(path)
    };
    synced.map_err(RepositoryError::io("sync", path))?;
    let found = if is_directory {
        digest_directory(path, progress)
    } else {
        match crate::regular_file::open(path) {
            Ok(file) => digest_file(file, progress),
            Err(error) => Err(StreamError::Read(error)),
        }
    };
    match found {
        Ok(found) if found == *digest => Ok(()),
        Ok(found) => Err(RepositoryError::NotTheManifests {
            file: role.suffix().trim_start_matches('.').to_owned(),
            what: format!("it has {found}, and should have {digest}"),
        }),
        Err(StreamError::Read(source)) => Err(RepositoryError::io("read", path)(source)),
        Err(error) => Err(RepositoryError::io("read", path)(io::Error::other(error))),
    }
}

/// Opens a part to write to it. Where root does, the directory's owner may have put a link in its place.
fn open_part(path: &Path, kept: Kept) -> io::Result<File> {
    if kept == Kept::default() {
        durable::remove(path)?;
        return durable::create_new(path);
    }
    let mut options = OpenOptions::new();
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    options.write(true).custom_flags(flags.bits().cast_signed());
    let file = options.open(path)?;
    let found = file.metadata()?;
    if found.is_file() && found.nlink() == 1 {
        Ok(file)
    } else {
        Err(io::Error::other(
            "somebody has put another one in its place",
        ))
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::repository::Requester;

    fn holder() -> Holder {
        Holder {
            operation: "fetch".to_owned(),
            since: DateTime::default(),
            requested_by: Requester::of_this_process(),
        }
    }

    #[test]
    fn what_was_kept_is_there_for_whoever_goes_on_and_what_was_not_is_cut_off() {
        let home = tempfile::tempdir().unwrap();
        let repository = Repository::at(home.path());
        let id = Uuid::now_v7();
        let begin = |of: &str| repository.receive(id, of, &holder());
        let mut arrival = begin("a").unwrap();
        arrival.append("artifact", b"one").unwrap();
        arrival.append("artifact", b"two").unwrap();
        let path = arrival.path("artifact");
        let busy = begin("a").unwrap_err();
        assert!(matches!(busy, RepositoryError::Busy { .. }), "{busy}");
        drop(arrival);
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"cut sho").unwrap();

        let mut arrival = begin("a").unwrap();
        let kept = Kept {
            pieces: 2,
            bytes: 6,
        };
        assert_eq!(arrival.kept("artifact"), kept);
        assert_eq!(arrival.kept("census"), Kept::default());
        arrival.append("artifact", b"three").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"onetwothree");
        drop(arrival);

        // A file that became shorter, and another backup's pieces.
        OpenOptions::new()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(10)
            .unwrap();
        assert_eq!(begin("a").unwrap().kept("artifact"), Kept::default());
        let mut arrival = begin("b").unwrap();
        assert_eq!(arrival.kept("artifact"), Kept::default());
        arrival.append("artifact", b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        arrival.discard().unwrap();
        assert!(std::fs::read_dir(home.path()).unwrap().next().is_none());
    }

    #[test]
    fn a_part_that_was_exchanged_for_a_link_is_not_written_to() {
        let home = tempfile::tempdir().unwrap();
        let repository = Repository::at(home.path());
        let mut arrival = repository.receive(Uuid::now_v7(), "a", &holder()).unwrap();
        arrival.append("artifact", b"one").unwrap();
        let theirs = home.path().join("theirs");
        std::fs::write(&theirs, "theirs").unwrap();
        for exchange in [
            |from: &Path, to: &Path| std::os::unix::fs::symlink(from, to),
            |from: &Path, to: &Path| std::fs::hard_link(from, to),
        ] {
            let path = arrival.path("artifact");
            std::fs::remove_file(&path).unwrap();
            exchange(&theirs, &path).unwrap();
            arrival.append("artifact", b"two").unwrap_err();
            assert_eq!(std::fs::read(&theirs).unwrap(), b"theirs");
        }
    }
}
