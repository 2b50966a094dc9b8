//! When copies were opened with an identity, and which recipients are known: one file in the state directory.
//!
//! `rehearsals.json`, replaced as a whole. When it is lost, the clock of each destination starts at the oldest copy
//! that is there, and the recipients of the newest copy are the known ones.

use std::io;
use std::path::{Path, PathBuf};

use super::seal::{self, Names};
use crate::policy::RehearsalBook;

const NAMES: Names = Names {
    file: "rehearsals.json",
    lock: ".rehearsals.lock",
    when_spoilt: "the next rehearsal is due as if there had been none",
};

/// The file with the rehearsals.
#[derive(Clone, Debug)]
pub struct RehearsalFile {
    state: PathBuf,
}

impl RehearsalFile {
    /// That of this state directory.
    pub fn at(state: &Path) -> Self {
        Self {
            state: state.to_owned(),
        }
    }

    /// Reads it; nothing is known where there is no such file.
    ///
    /// # Errors
    /// When it cannot be read, or is not as it was written.
    pub fn read(&self) -> io::Result<RehearsalBook> {
        seal::read(&self.state, &NAMES)
    }

    /// Changes it, and waits until that is on the disk. A file that is spoilt is replaced by a new one.
    ///
    /// # Errors
    /// When it cannot be read or written; the old one then stays.
    pub fn change<T>(&self, change: impl FnOnce(&mut RehearsalBook) -> T) -> io::Result<T> {
        seal::change(&self.state, &NAMES, change)
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::RehearsalFile;
    use crate::policy::RehearsalBook;

    #[test]
    fn what_was_changed_is_read_again_and_a_spoilt_file_is_replaced() {
        let state = tempfile::tempdir().unwrap();
        let file = RehearsalFile::at(&state.path().join("state"));
        assert_eq!(file.read().unwrap(), RehearsalBook::default());
        let at = DateTime::from_timestamp(1_752_000_000, 0).unwrap();
        let take_in = |book: &mut RehearsalBook| {
            book.take_in_copies(("far", at), &[], &["a".to_owned()]);
            book.clone()
        };
        let book = file.change(take_in).unwrap();
        assert_eq!(file.read().unwrap(), book);

        let path = state.path().join("state/rehearsals.json");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replacen("\"a\"", "\"m\"", 1)).unwrap();
        file.read().unwrap_err();
        assert_eq!(file.change(take_in).unwrap(), book);
        assert_eq!(file.read().unwrap(), book);
    }
}
