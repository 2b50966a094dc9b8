//! The newest backup of each directory, kept apart from it: one small file for a directory, in the state
//! directory. A directory whose disk is not mounted cannot say itself what is missing.
//!
//! `backups-<hash of the path>.json`; its loss loses nothing but that.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::seal;
use crate::policy::Seen;

const HEAD: &str = "backups-";
const TAIL: &str = ".json";

/// What is remembered of a directory of backups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastSeen {
    /// The directory.
    pub directory: PathBuf,
    /// The newest backup in it, by the last run that made one.
    pub newest: Seen,
    /// Backups that were the newest once, and that a later run missed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missed: Vec<Seen>,
}

impl LastSeen {
    /// Reads what is remembered of a directory; nothing where there is no such file.
    ///
    /// # Errors
    /// When the file cannot be read or is not as it was written.
    pub fn read(state: &Path, directory: &Path) -> io::Result<Option<Self>> {
        let text = match crate::regular_file::read(&path(state, directory)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        let seen: Self = seal::parse(&text)
            .ok_or_else(|| io::Error::other("it has been changed since it was written"))?;
        // Of two paths with one hash, neither is the other.
        Ok((seen.directory == directory).then_some(seen))
    }

    /// All that is remembered, by directory; what cannot be read is left out.
    ///
    /// # Errors
    /// When the state directory cannot be read.
    pub fn all(state: &Path) -> io::Result<Vec<Self>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(state)? {
            let name = entry?.file_name();
            let is_one = name.to_str().is_some_and(|name| {
                let hash = name.strip_prefix(HEAD).map(|rest| rest.strip_suffix(TAIL));
                hash.flatten().is_some_and(|hash| hash.len() == 32)
            });
            let text = is_one.then(|| crate::regular_file::read(&state.join(name)));
            let text = text.and_then(Result::ok);
            found.extend(text.and_then(|text| seal::parse::<Self>(&text)));
        }
        found.sort_by(|one, other| one.directory.cmp(&other.directory));
        Ok(found)
    }

    /// Writes it, wholly or not at all. Where there is no state directory, nothing is remembered:
    /// the package and the service make it.
    ///
    /// # Errors
    /// When the file cannot be written; the old one then stands.
    pub fn write(&self, state: &Path) -> io::Result<()> {
        if state.metadata().is_err() {
            return Ok(());
        }
        seal::replace(&path(state, &self.directory), self)
    }
}

/// The hash of a directory's path, for the names of files about it.
pub(super) fn hash(directory: &Path) -> String {
    format!(
        "{:032x}",
        xxh3_128(directory.as_os_str().as_encoded_bytes())
    )
}

fn path(state: &Path, directory: &Path) -> PathBuf {
    state.join(format!("{HEAD}{}{TAIL}", hash(directory)))
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    #[test]
    fn what_was_written_is_read_again_and_a_flipped_bit_is_seen() {
        let state = tempfile::tempdir().unwrap();
        let directory = Path::new("/var/backups/sales");
        let seen = |name: &str| Seen {
            name: name.to_owned(),
            started: DateTime::from_timestamp(1_752_000_000, 5).unwrap(),
            rows: 3,
            tables: 2,
            system_identifier: Some(7_490_000_000_000_000_000),
        };
        let last = LastSeen {
            directory: directory.to_owned(),
            newest: seen("backup_20250709_020000"),
            missed: vec![seen("backup_20250708_020000")],
        };
        assert_eq!(LastSeen::read(state.path(), directory).unwrap(), None);
        for _ in 0..2 {
            last.write(state.path()).unwrap();
        }
        let read = LastSeen::read(state.path(), directory).unwrap();
        assert_eq!(read.as_ref(), Some(&last));
        assert_eq!(std::fs::read_dir(state.path()).unwrap().count(), 1);
        std::fs::write(state.path().join("backups-of-mine.json"), "{}").unwrap();
        assert_eq!(
            LastSeen::all(state.path()).unwrap(),
            std::slice::from_ref(&last)
        );
        let other = Path::new("/var/backups/other");
        assert_eq!(LastSeen::read(state.path(), other).unwrap(), None);

        let file = path(state.path(), directory);
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replacen("20250709", "20250708", 1)).unwrap();
        assert!(LastSeen::read(state.path(), directory).is_err());
        // Where nothing is kept, nothing is made.
        last.write(&state.path().join("nowhere")).unwrap();
        assert!(!state.path().join("nowhere").exists());
    }
}
