//! Which alerts are open and what each channel was sent of them: one file in the state directory.
//!
//! `alerts.json`, replaced as a whole, so that an alert and the message about it are on the disk
//! together. When it is lost, everything that is still open is sent once more, in one message.

use std::fs::{File, TryLockError};
use std::io;

use super::durable;
use super::seal::Names;
use super::state_file::{StateContent, StateFile};
use crate::policy::AlertBook;

/// Held by whoever sends: the daemon, or `alerts deliver`.
const SENDING_FILE: &str = ".alerts.sending";

/// The file with the alerts.
pub type AlertFile = StateFile<AlertBook>;

impl StateContent for AlertBook {
    const NAMES: Names<'static> = Names {
        file: "alerts.json",
        lock: ".alerts.lock",
        when_spoilt: "what is open is sent again, in one message",
    };
}

impl AlertFile {
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
