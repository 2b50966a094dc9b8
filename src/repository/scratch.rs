//! A note of the databases that a restore of tables is about to make: `.pgbackupd-<run>.scratch`.
//!
//! Between a database's making and the mark by which later restores know it, the restore can be killed;
//! and the server goes on making it all the same. The note is there before, with the name of each on a
//! line of its own, and stays until they are gone.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use uuid::Uuid;

use super::durable;
use super::temporary;

/// The word in the name of a note.
const WORD: &str = "scratch";

/// The server may still be making a database whose restore has been killed for this long: such a
/// statement has a limit of 300 seconds.
const STILL_MADE: Duration = Duration::from_secs(600);

/// Names of databases that a restore was about to make, which may have been killed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScratchNote {
    path: PathBuf,
    /// The databases.
    pub names: Vec<String>,
    /// Whether none of them can come into being any more.
    pub is_old: bool,
}

/// Writes a note, and syncs it.
pub(super) fn write(directory: &Path, run: Uuid, names: &[&str]) -> io::Result<()> {
    let path = temporary::path(directory, run, WORD);
    let mut file = durable::create_new(&path)?;
    for name in names {
        // A name can have a line break in it.
        writeln!(file, "{}", serde_json::to_string(name)?)?;
    }
    file.sync_all()?;
    durable::sync_directory(directory)
}

/// Removes the note of a run whose databases are gone.
pub(super) fn remove(directory: &Path, run: Uuid) -> io::Result<()> {
    durable::remove(&temporary::path(directory, run, WORD))
}

/// All notes in a directory.
pub(super) fn read_all(directory: &Path) -> io::Result<Vec<ScratchNote>> {
    let mut notes = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if temporary::split(&name).is_none_or(|(_, word)| word != WORD) {
            continue;
        }
        let text = crate::regular_file::read_to_string(&path)?;
        let age = File::open(&path)?.metadata()?.modified()?.elapsed();
        notes.push(ScratchNote {
            // A line that was cut short is of a note that was not complete, and nothing made after it.
            names: text
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok())
                .collect(),
            // A clock that was set back says nothing.
            is_old: age.is_ok_and(|age| age > STILL_MADE),
            path,
        });
    }
    Ok(notes)
}

impl ScratchNote {
    /// Removes it.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn remove(&self) -> io::Result<()> {
        durable::remove(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn a_note_is_found_with_its_names_until_it_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let (one, other) = (Uuid::now_v7(), Uuid::now_v7());
        write(path, one, &["a", "b\nc"]).unwrap();
        write(path, other, &["d"]).unwrap();
        std::fs::write(path.join(".pgbackupd-x.scratch"), "\"no\"\n").unwrap();
        std::fs::write(path.join(format!(".pgbackupd-{one}.artifact")), "\"no\"\n").unwrap();
        let mut notes = read_all(path).unwrap();
        notes.sort_by(|a, b| a.names.cmp(&b.names));
        let names: Vec<_> = notes.iter().map(|note| note.names.join(",")).collect();
        assert_eq!(names, ["a,b\nc", "d"]);
        assert!(notes.iter().all(|note| !note.is_old));

        notes[0].remove().unwrap();
        let past = SystemTime::now() - 2 * STILL_MADE;
        let file = File::options().write(true).open(&notes[1].path).unwrap();
        file.set_modified(past).unwrap();
        let left = read_all(path).unwrap();
        assert!(left.len() == 1 && left[0].is_old, "{left:?}");
        remove(path, other).unwrap();
        assert_eq!(read_all(path).unwrap(), []);
    }
}
