//! Which alerts are open and what each channel was sent of them: one file in the state directory.
//!
//! `alerts.json`, replaced as a whole, so that an alert and the message about it are on the disk
//! together. When it is lost, everything that is still open is sent once more, in one message.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::durable;
use super::seal::{self, Names};
use crate::policy::AlertBook;

const NAMES: Names = Names {
    file: "alerts.json",
    lock: ".alerts.lock",
    when_spoilt: "what is open is sent again, in one message",
};

/// Held by whoever sends: the daemon, or `alerts deliver`.
const SENDING_FILE: &str = ".alerts.sending";

/// The file with the alerts.
#[derive(Clone, Debug)]
pub struct AlertFile {
    state: PathBuf,
}

impl AlertFile {
    /// That of this state directory.
    pub fn at(state: &Path) -> Self {
        Self {
            state: state.to_owned(),
        }
    }

    /// Reads it; no alert is open where there is no such file.
    ///
    /// # Errors
    /// When it cannot be read, or is not as it was written.
    pub fn read(&self) -> io::Result<AlertBook> {
        seal::read(&self.state, &NAMES)
    }

    /// Changes it, and waits until that is on the disk. A file that is spoilt is replaced by a new one.
    ///
    /// # Errors
    /// When it cannot be read or written; the old one then stays.
    pub fn change<T>(&self, change: impl FnOnce(&mut AlertBook) -> T) -> io::Result<T> {
        seal::change(&self.state, &NAMES, change)
    }

    /// The right to send, until it is dropped; none while somebody else has it.
    ///
    /// # Errors
    /// When the lock's file cannot be made.
    pub fn try_to_send(&self) -> io::Result<Option<File>> {
        if !self.state.is_dir() {
            durable::create_directory(&self.state)?;
        }
        let lock = durable::open_to_append(&self.state.join(SENDING_FILE))?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(lock)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::AlertFile;
    use crate::policy::{AlertBook, Severity, Silence};

    #[test]
    fn what_was_changed_is_read_again_and_a_spoilt_file_is_replaced() {
        let state = tempfile::tempdir().unwrap();
        let file = AlertFile::at(&state.path().join("state"));
        assert_eq!(file.read().unwrap(), AlertBook::default());
        let at = DateTime::parse_from_rfc3339("2026-11-01T12:00:00+03:00").unwrap();
        let silence = Silence {
            id: "failed-0".to_owned(),
            severity: Severity::Warning,
            at,
            until: at,
            reason: "known".to_owned(),
            requested_by: None,
        };
        file.change(|book| book.silences.push(silence)).unwrap();
        assert_eq!(file.read().unwrap().silences.len(), 1);

        let path = state.path().join("state/alerts.json");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("known", "knowm")).unwrap();
        assert!(file.read().is_err());
        file.change(|book| assert!(book.silences.is_empty()))
            .unwrap();
        assert_eq!(file.read().unwrap(), AlertBook::default());
    }

    #[test]
    fn one_sends_at_a_time() {
        let state = tempfile::tempdir().unwrap();
        let file = AlertFile::at(state.path());
        let held = file.try_to_send().unwrap();
        assert!(held.is_some());
        assert!(file.try_to_send().unwrap().is_none());
        drop(held);
        assert!(file.try_to_send().unwrap().is_some());
    }
}
