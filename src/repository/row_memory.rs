//! How many rows each table had in the last backups of a directory: one small file for a directory, in
//! the state directory, so that a backup does not read the censuses of all those before it.
//!
//! `rows-<hash of the path>.json`; it is made again from the censuses when it is lost.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::last_seen::hash;
use super::seal;
use crate::policy::RowHistory;

/// What is remembered of a directory of backups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowMemory {
    /// The directory.
    pub directory: PathBuf,
    /// The rows of its backups.
    pub history: RowHistory,
}

impl RowMemory {
    /// Reads what is remembered of a directory; nothing where there is no such file, or it is not as it
    /// was written.
    pub fn read(state: &Path, directory: &Path) -> Option<Self> {
        let text = crate::regular_file::read(&path(state, directory)).ok()?;
        let memory: Self = seal::parse(&text)?;
        // Of two paths with one hash, neither is the other.
        (memory.directory == directory).then_some(memory)
    }

    /// Writes it, wholly or not at all. Where there is no state directory, nothing is remembered.
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

fn path(state: &Path, directory: &Path) -> PathBuf {
    state.join(format!("rows-{}.json", hash(directory)))
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::policy::{Rows, Tables};

    #[test]
    fn what_was_written_is_read_again_and_what_was_changed_is_not() {
        let state = tempfile::tempdir().unwrap();
        let directory = Path::new("/var/backups/sales");
        let mut history = RowHistory::default();
        let rows = Rows {
            count: 3,
            content: 7,
        };
        let tables = Tables::from([("public.a \"b\"".to_owned(), rows)]);
        let at = DateTime::from_timestamp(1_752_000_000, 5).unwrap();
        history.push("backup_20250709_020000", at, &tables);
        let memory = RowMemory {
            directory: directory.to_owned(),
            history,
        };
        assert_eq!(RowMemory::read(state.path(), directory), None);
        memory.write(state.path()).unwrap();
        assert_eq!(
            RowMemory::read(state.path(), directory),
            Some(memory.clone())
        );
        let other = Path::new("/var/backups/other");
        assert_eq!(RowMemory::read(state.path(), other), None);
        let file = path(state.path(), directory);
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replacen("20250709", "20250708", 1)).unwrap();
        assert_eq!(RowMemory::read(state.path(), directory), None);
        // Where nothing is kept, nothing is made.
        memory.write(&state.path().join("nowhere")).unwrap();
        assert!(!state.path().join("nowhere").exists());
    }
}
