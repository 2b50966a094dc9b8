//! The catalogue: what a scan of a database's directory finds. It needs nothing else.

mod brief;
mod directory;
mod lost;
mod names;

use std::cmp::Ordering;
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;

use chrono::{DateTime, FixedOffset};
use uuid::Uuid;

use super::error::RepositoryError;
use super::ledger::Ledger;
use super::names::{AtRest, Role, Stem};
use super::state::State;
use crate::config::{Compression, Format};
use crate::threads::{Share, share};

use directory::OpenDirectory;
use names::NameList;

/// What stands in a database's directory.
#[derive(Debug, Default)]
pub struct Catalogue {
    /// The backups, oldest first.
    pub backups: Vec<Entry>,
    /// What looks like part of a backup and is none, in the order of names.
    pub problems: Vec<Problem>,
}

/// One backup, as far as a list shows it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What the names of its files share.
    pub stem: Stem,
    /// The run that made it, as in the ledger.
    pub run: Uuid,
    /// The database.
    pub database: String,
    /// Why it was made.
    pub reason: Option<String>,
    /// When the run started, on the wall clock of the schedule's zone then.
    pub started: DateTime<FixedOffset>,
    /// When the read-back at its making had found it whole.
    pub verified: DateTime<FixedOffset>,
    /// The shape of its dump.
    pub format: Format,
    /// How its dump is compressed.
    pub compression: Compression,
    /// Bytes of all its files but the manifest.
    pub bytes: u64,
    /// Rows of all its tables.
    pub rows: u64,
    /// Its tables.
    pub tables: u64,
    /// Tables whose rows it lacks, as SQL writes them; with one of them it is partial.
    pub skipped_tables: Vec<String>,
    /// The fingerprints of the recipients that its files are encrypted to; empty where they are in the clear.
    pub encrypted_to: Vec<String>,
    /// The `system_identifier` of the server that it was made of; none where that is not known.
    pub system_identifier: Option<u64>,
    /// Pins, later checks and test restores.
    pub state: State,
}

/// A file that looks like part of a backup and is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Its name in the directory.
    pub file: String,
    /// What is wrong, in a sentence.
    pub what: String,
    /// The backup whose manifest it is; none when there is no manifest for it.
    pub manifest_of: Option<Stem>,
    /// The backup whose dump it is, although its manifest is lost; none for a dump of which nothing
    /// shows that it ever was one.
    pub lost: Option<Stem>,
}

impl Entry {
    /// Whether it lacks rows that the server did not give.
    pub fn is_partial(&self) -> bool {
        !self.skipped_tables.is_empty()
    }

    /// What its dump is in the repository.
    pub fn artifact_role(&self) -> Role {
        Role::Artifact(self.format, self.compression, self.at_rest())
    }

    /// How its files are stored.
    pub fn at_rest(&self) -> AtRest {
        if self.is_encrypted() {
            AtRest::Encrypted
        } else {
            AtRest::Clear
        }
    }

    /// Whether its files are encrypted.
    pub fn is_encrypted(&self) -> bool {
        !self.encrypted_to.is_empty()
    }

    /// Whether it counts as a backup of the database: it is intact, as far as is known, and not partial.
    pub fn counts(&self) -> bool {
        self.is_sound() && !self.is_partial()
    }

    /// Whether it counts as verified: its last full check found it whole, and its last test restore,
    /// if there was one, came through.
    pub fn is_sound(&self) -> bool {
        self.state.fault().is_none()
    }

    /// When it was last found intact; none while it does not count as verified, and while nobody knows.
    pub fn last_found_whole(&self) -> Option<DateTime<FixedOffset>> {
        let is_known = self.state.unreadable.is_none();
        (is_known && self.is_sound()).then(|| self.last_check())
    }

    /// When all of it was read last, whatever was found.
    pub fn last_check(&self) -> DateTime<FixedOffset> {
        let checked = self.state.checked.as_ref().map(|check| check.at);
        checked.map_or(self.verified, |checked| checked.max(self.verified))
    }
}

impl Problem {
    /// Whether it is of a backup, and of no file that never was one.
    pub fn is_of_a_backup(&self) -> bool {
        self.manifest_of.is_some() || self.lost.is_some()
    }
}

impl Catalogue {
    /// Reads a directory; one that is not there holds no backups. The ledger is asked only where a
    /// dump stands without a manifest.
    pub(super) fn scan(directory: &Path, ledger: &Ledger) -> Result<Self, RepositoryError> {
        let reading = || RepositoryError::io("read the directory", directory);
        let opened = match OpenDirectory::open(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            opened => opened.map_err(reading())?,
        };
        let mut others = NameList::default();
        let (names, parts) = opened.read_all(&mut others).map_err(reading())?;
        let mut catalogue = Self::default();
        let count = parts.len();
        let parts = Mutex::new(parts);
        thread::scope(|scope| {
            let (opened, names, parts) = (&opened, &names, &parts);
            let complete = move || {
                let part = parts.lock().unwrap_or_else(PoisonError::into_inner).pop();
                part.map(|part| part.complete(opened, names))
            };
            let completing: Vec<_> = (0..count).map(|_| share(scope, complete)).collect();
            for mut part in completing.into_iter().filter_map(Share::join) {
                if catalogue.backups.is_empty() {
                    catalogue.backups = part.backups;
                } else {
                    catalogue.backups.append(&mut part.backups);
                }
                catalogue.problems.extend(part.problems);
            }
        });
        let without_manifest: Vec<_> = names.unregistered().collect();
        let problems =
            lost::classify_lost(directory, ledger, &without_manifest).map_err(reading())?;
        catalogue.problems.extend(problems);
        // Each part is in order already, so that little is left to do.
        catalogue.backups.sort_by(by_time);
        catalogue.problems.sort_by(|a, b| a.file.cmp(&b.file));
        Ok(catalogue)
    }
}

fn by_time(a: &Entry, b: &Entry) -> Ordering {
    (a.started, &a.stem).cmp(&(b.started, &b.stem))
}
