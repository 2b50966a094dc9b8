//! The journal of a copy that is under way, in the state directory: what was put by whoever was killed is not
//! sent again, and retention leaves the backup alone meanwhile.
//!
//! `copying/<destination>/<run>.jsonl`: a first line with all that the copy rests on, then a line for each
//! volume once it is at the destination. Each line is synced before the next volume is put. The secret half
//! of the copy's key is never here.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, FixedOffset};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::durable;
use super::error::RepositoryError;
use super::lock::{Holder, Lock, LockError};

/// The directory of all destinations, in the state directory.
pub(super) const HOME: &str = "copying";

const SUFFIX: &str = ".jsonl";

/// A copy that has not come on for so long keeps its backup from retention no longer.
const STALLED: Duration = Duration::from_secs(7 * 24 * 3600);

/// What a copy rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyStart {
    /// The directory of the backup.
    pub directory: PathBuf,
    /// The backup.
    pub backup: String,
    /// The run that made the backup.
    pub run: Uuid,
    /// Where the destination is: what was put is there, and nowhere else.
    #[serde(default)]
    pub address: String,
    /// Under which key its volumes go, without a slash at its end.
    pub prefix: String,
    /// When the first volume was about to be put.
    pub began: DateTime<FixedOffset>,
    /// The public half of the copy's own key; none of a plain copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public: Option<String>,
    /// Its secret half, sealed to the recipients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<String>,
    /// The fingerprints of the recipients, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<String>,
}

/// A volume that is at the destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutVolume {
    /// The file that it is a part of.
    pub file: String,
    /// Which part, from 1.
    pub number: u32,
    /// Its key.
    pub key: String,
    /// Its length there, in bytes.
    pub bytes: u64,
    /// The SHA-256 of what lies there.
    pub sha256: String,
    /// Whether the store has compared that itself.
    pub is_checked: bool,
    /// The store's version of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// The journal of one copy.
#[derive(Debug)]
pub struct CopyJournal {
    path: PathBuf,
    file: File,
    start: CopyStart,
    put: Vec<PutVolume>,
}

impl CopyJournal {
    /// Begins the journal of a copy, in the place of one that there is.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn begin(
        state: &Path,
        destination: &str,
        start: CopyStart,
    ) -> Result<Self, RepositoryError> {
        let path = path(state, destination, start.run);
        let write = || -> io::Result<File> {
            directory_of(state, destination)?;
            durable::replace(&path, line(&start)?.as_bytes())?;
            durable::open_to_append(&path)
        };
        let file = write().map_err(RepositoryError::io("write", &path))?;
        Ok(Self {
            path,
            file,
            start,
            put: Vec::new(),
        })
    }

    /// Opens the journal of a copy that was begun; none where there is none that can be gone on with.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn resume(
        state: &Path,
        destination: &str,
        run: Uuid,
    ) -> Result<Option<Self>, RepositoryError> {
        let path = path(state, destination, run);
        let read = || -> io::Result<Option<Self>> {
            let text = match crate::regular_file::read(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                text => String::from_utf8_lossy(&text?).into_owned(),
            };
            let Some((first, rest)) = text.split_once('\n') else {
                return Ok(None);
            };
            let Ok(start) = serde_json::from_str::<CopyStart>(first) else {
                return Ok(None);
            };
            // What a crash has cut short was not put, or is put again.
            let put = rest
                .split_inclusive('\n')
                .filter(|line| line.ends_with('\n'))
                .filter_map(|line| serde_json::from_str(line).ok());
            let put: Vec<PutVolume> = put.collect();
            // Written again, so that nothing is appended to a line that was cut short.
            let mut whole = line(&start)?;
            for volume in &put {
                whole.push_str(&line(volume)?);
            }
            if whole != text {
                durable::replace(&path, whole.as_bytes())?;
            }
            Ok(Some(Self {
                file: durable::open_to_append(&path)?,
                path: path.clone(),
                start,
                put,
            }))
        };
        read().map_err(RepositoryError::io("read", &path))
    }

    /// What the copy rests on.
    pub fn start(&self) -> &CopyStart {
        &self.start
    }

    /// The volumes that are at the destination.
    pub fn volumes(&self) -> &[PutVolume] {
        &self.put
    }

    /// The volumes of a file, in their order.
    pub fn volumes_of(&self, file: &str) -> Vec<&PutVolume> {
        let mut volumes: Vec<_> = self.put.iter().filter(|one| one.file == file).collect();
        volumes.sort_by_key(|volume| volume.number);
        volumes
    }

    /// Takes down a volume that is at the destination.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add(&mut self, volume: PutVolume) -> Result<(), RepositoryError> {
        let mut write = || {
            self.file.write_all(line(&volume)?.as_bytes())?;
            self.file.sync_data()
        };
        write().map_err(RepositoryError::io("write", &self.path))?;
        self.put.push(volume);
        Ok(())
    }

    /// Removes the journal: the copy is there, or will never be.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn end(self) -> Result<(), RepositoryError> {
        durable::remove(&self.path).map_err(RepositoryError::io("remove", &self.path))
    }
}

/// Takes the lock that a run which copies to a destination holds from its start to its end, whatever the
/// database: `rate` is for all of them together.
///
/// # Errors
/// When another run holds it, or its file cannot be made.
pub fn lock_destination(
    state: &Path,
    destination: &str,
    holder: &Holder,
) -> Result<Lock, RepositoryError> {
    let home = home(state, destination);
    directory_of(state, destination).map_err(RepositoryError::io("make", &home))?;
    Lock::acquire(&home, holder).map_err(|error| match error {
        LockError::Io(source) => RepositoryError::io("lock", &home)(source),
        busy @ LockError::Busy(_) => RepositoryError::Busy {
            directory: home.clone(),
            source: busy,
        },
    })
}

/// The journals of the copies of a directory's backups to a destination that are under way, or were cut short.
///
/// # Errors
/// When one of them cannot be read.
pub fn copies_under_way(
    state: &Path,
    destination: &str,
    directory: &Path,
) -> Result<Vec<CopyJournal>, RepositoryError> {
    let mut found = Vec::new();
    let Ok(journals) = fs::read_dir(home(state, destination)) else {
        return Ok(found);
    };
    for journal in journals.flatten() {
        let name = journal.file_name();
        let run = name.to_str().and_then(|name| name.strip_suffix(SUFFIX));
        if let Some(Ok(run)) = run.map(str::parse::<Uuid>)
            && let Some(journal) = CopyJournal::resume(state, destination, run)?
            && journal.start().directory == directory
        {
            found.push(journal);
        }
    }
    Ok(found)
}

/// The runs that made the backups of a directory of which a copy is under way.
pub fn backups_being_copied(state: &Path, directory: &Path) -> BTreeSet<Uuid> {
    let mut found = BTreeSet::new();
    let Ok(destinations) = fs::read_dir(state.join(HOME)) else {
        return found;
    };
    for destination in destinations.flatten() {
        let Ok(journals) = fs::read_dir(destination.path()) else {
            continue;
        };
        for journal in journals.flatten() {
            let is_one = journal.path().extension().is_some_and(|end| end == "jsonl");
            let age = journal.metadata().and_then(|found| found.modified());
            // A clock that was set back makes nothing old.
            let age = age.map(|modified| modified.elapsed().unwrap_or_default());
            if is_one
                && age.is_ok_and(|age| age < STALLED)
                && let Ok(text) = crate::regular_file::read_to_string(&journal.path())
                && let Some(first) = text.lines().next()
                && let Ok(start) = serde_json::from_str::<CopyStart>(first)
                && start.directory == directory
            {
                found.insert(start.run);
            }
        }
    }
    found
}

/// Where all is that this host remembers of its copies to a destination.
pub(super) fn home(state: &Path, destination: &str) -> PathBuf {
    state.join(HOME).join(destination)
}

/// The same, which is made if it is not there.
pub(super) fn directory_of(state: &Path, destination: &str) -> io::Result<PathBuf> {
    make_home(state)?;
    let home = home(state, destination);
    if !home.is_dir() {
        durable::create_directory(&home)?;
    }
    Ok(home)
}

/// Makes the directory of all destinations, if it is not there.
pub(super) fn make_home(state: &Path) -> io::Result<()> {
    for directory in [state, &state.join(HOME)] {
        if !directory.is_dir() {
            durable::create_directory(directory)?;
        }
    }
    Ok(())
}

fn path(state: &Path, destination: &str, run: Uuid) -> PathBuf {
    home(state, destination).join(format!("{run}{SUFFIX}"))
}

fn line(value: &impl Serialize) -> io::Result<String> {
    let mut line = serde_json::to_string(value)?;
    line.push('\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(run: u128) -> CopyStart {
        CopyStart {
            directory: "/var/backups/app".into(),
            backup: "backup_20250709_020000".to_owned(),
            run: Uuid::from_u128(run),
            address: "file:///mnt/nas".to_owned(),
            prefix: "v1/db1/main/app/backup_20250709_020000.x".to_owned(),
            began: "2025-07-09T02:05:00+03:00".parse().unwrap(),
            public: Some("age1x".to_owned()),
            sealed: None,
            recipients: vec!["SHA256:a".to_owned()],
        }
    }

    fn volume(number: u32) -> PutVolume {
        PutVolume {
            file: "dump".to_owned(),
            number,
            key: format!("v1/dump.{number}"),
            bytes: 7,
            sha256: "ab".repeat(32),
            is_checked: true,
            version: None,
        }
    }

    #[test]
    fn what_was_put_is_known_after_a_kill_wherever_it_comes() {
        let state = tempfile::tempdir().unwrap();
        let state = state.path().join("state");
        assert!(
            CopyJournal::resume(&state, "far", Uuid::from_u128(1))
                .unwrap()
                .is_none()
        );
        let mut journal = CopyJournal::begin(&state, "far", start(1)).unwrap();
        journal.add(volume(0)).unwrap();
        journal.add(volume(1)).unwrap();
        let path = path(&state, "far", Uuid::from_u128(1));
        let whole = fs::read_to_string(&path).unwrap();
        let ends: Vec<usize> = whole.match_indices('\n').map(|(at, _)| at + 1).collect();
        for length in 0..=whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            let resumed = CopyJournal::resume(&state, "far", Uuid::from_u128(1)).unwrap();
            let lines = ends.iter().filter(|end| **end <= length).count();
            assert_eq!(resumed.is_some(), lines > 0, "{length}");
            let Some(mut resumed) = resumed else { continue };
            assert_eq!(resumed.start(), &start(1));
            assert_eq!(resumed.volumes().len(), lines - 1, "{length}");
            assert_eq!(resumed.volumes_of("dump").len(), lines - 1);
            // What comes next is on a line of its own.
            resumed.add(volume(7)).unwrap();
            let again = CopyJournal::resume(&state, "far", Uuid::from_u128(1)).unwrap();
            assert_eq!(again.unwrap().volumes().last(), Some(&volume(7)));
        }
    }

    #[test]
    fn retention_knows_what_is_being_copied_until_that_has_stood_still_for_days() {
        let state = tempfile::tempdir().unwrap();
        let directory = Path::new("/var/backups/app");
        assert!(backups_being_copied(state.path(), directory).is_empty());
        let journal = CopyJournal::begin(state.path(), "far", start(1)).unwrap();
        CopyJournal::begin(state.path(), "near", start(2)).unwrap();
        let there = |destination, directory: &Path| -> Vec<Uuid> {
            let journals = copies_under_way(state.path(), destination, directory).unwrap();
            journals.iter().map(|one| one.start().run).collect()
        };
        assert_eq!(there("near", directory), [Uuid::from_u128(2)]);
        assert!(there("near", Path::new("/var/backups/b")).is_empty());
        assert!(there("nowhere", directory).is_empty());
        let both = [1, 2].map(Uuid::from_u128).into();
        assert_eq!(backups_being_copied(state.path(), directory), both);
        assert!(backups_being_copied(state.path(), Path::new("/var/backups/b")).is_empty());
        journal.end().unwrap();
        let one = [Uuid::from_u128(2)].into();
        assert_eq!(backups_being_copied(state.path(), directory), one);
        let long_ago = std::time::SystemTime::now() - STALLED;
        let file = File::open(path(state.path(), "near", Uuid::from_u128(2))).unwrap();
        file.set_modified(long_ago).unwrap();
        assert!(backups_being_copied(state.path(), directory).is_empty());
    }
}
