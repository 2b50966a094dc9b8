//! Which reports wait to be sent: one file in the state directory, `reports.json`, replaced as a whole.
//! When it is lost, what waited is not sent, and the next report is.

use std::io;
use std::path::{Path, PathBuf};

use super::seal::{self, Names};
use crate::policy::ReportBook;

const NAMES: Names = Names {
    file: "reports.json",
    lock: ".reports.lock",
    when_spoilt: "reports that waited to be sent are lost",
};

/// The file with the reports.
#[derive(Clone, Debug)]
pub struct ReportFile {
    state: PathBuf,
}

impl ReportFile {
    /// That of this state directory.
    pub fn at(state: &Path) -> Self {
        Self {
            state: state.to_owned(),
        }
    }

    /// Reads it; no report waits where there is no such file.
    ///
    /// # Errors
    /// When it cannot be read, or is not as it was written.
    pub fn read(&self) -> io::Result<ReportBook> {
        seal::read(&self.state, &NAMES)
    }

    /// Changes it, and waits until that is on the disk. A file that is spoilt is replaced by a new one.
    ///
    /// # Errors
    /// When it cannot be read or written; the old one then stays.
    pub fn change<T>(&self, change: impl FnOnce(&mut ReportBook) -> T) -> io::Result<T> {
        seal::change(&self.state, &NAMES, change)
    }
}
