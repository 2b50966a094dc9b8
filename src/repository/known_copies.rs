//! What is known of the copies of a directory's backups at one destination, as of the last time that a copy
//! run asked it: for `status`, which waits for no network.
//!
//! `copying/<destination>/known-<hash of the path>.json` in the state directory. Its loss loses nothing but
//! how far the copies were proved.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::copy_journal::directory_of;
use super::durable;
use super::last_seen::hash;
use super::record::Removal;
use super::seal::{fits, sealed};
use crate::policy::{CopyState, Series};

/// What is known of the copies of a directory's backups at one destination.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownCopies {
    /// The directory.
    pub directory: PathBuf,
    /// The copies, by the runs that made the backups.
    pub copies: BTreeMap<Uuid, KnownCopy>,
    /// When the destination was asked last, and answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<DateTime<Utc>>,
    /// The last run, if it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<CopyFailure>,
    /// The copies that retention removes, by the runs that made the backups: written before their manifests
    /// go, and kept until nothing of them is left and the ledger says so.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub removing: BTreeMap<Uuid, RemovedCopy>,
    /// Since when the destination refuses to remove anything, and in which words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<CopyFailure>,
}

/// A copy that retention removes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedCopy {
    /// The backup, with the reasons in words.
    #[serde(flatten)]
    pub removal: Removal,
    /// The copy's name in keys.
    pub name: String,
    /// The keys of its facts: without a manifest, none is known as the copy's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<String>,
    /// Whether the ledger says that it was removed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_recorded: bool,
}

/// A copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownCopy {
    /// The backup.
    pub backup: String,
    /// Its series.
    pub series: Series,
    /// When the backup was started.
    pub started: DateTime<Utc>,
    /// Bytes of all its volumes.
    pub bytes: u64,
    /// When it was complete at the destination.
    pub copied: DateTime<Utc>,
    /// How far it is proved.
    pub state: CopyState,
    /// When it reached that state.
    pub proved: DateTime<Utc>,
}

/// What has failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyFailure {
    /// When it failed first, with no success since.
    pub since: DateTime<Utc>,
    /// Why it failed last.
    pub why: String,
}

impl KnownCopies {
    /// Reads what is known; nothing where there is no such file, or it is not as it was written.
    pub fn read(state: &Path, destination: &str, directory: &Path) -> Self {
        let read = || {
            let text = crate::regular_file::read(&path(state, destination, directory)).ok()?;
            let known: Self = fits(&text).then(|| serde_json::from_slice(&text).ok())??;
            // Of two paths with one hash, neither is the other.
            (known.directory == directory).then_some(known)
        };
        read().unwrap_or_else(|| Self {
            directory: directory.to_owned(),
            ..Self::default()
        })
    }

    /// Writes it, wholly or not at all.
    ///
    /// # Errors
    /// When the file cannot be written; the old one then stands.
    pub fn write(&self, state: &Path, destination: &str) -> io::Result<()> {
        let directory = directory_of(state, destination)?;
        let name = file_name(&self.directory);
        durable::replace(&directory.join(name), sealed(self)?.as_bytes())
    }

    /// The newest backup of which there is a copy, of these series or of all.
    pub fn newest(&self, is_meant: impl Fn(&Series) -> bool) -> Option<&KnownCopy> {
        let meant = self.copies.values().filter(|copy| is_meant(&copy.series));
        meant.max_by_key(|copy| copy.started)
    }
}

/// Where the manifests of a directory's copies at a destination are kept that were read before.
pub fn manifest_cache(state: &Path, destination: &str, directory: &Path) -> PathBuf {
    let home = super::copy_journal::home(state, destination);
    home.join(format!("manifests-{}", hash(directory)))
}

fn file_name(directory: &Path) -> String {
    format!("known-{}.json", hash(directory))
}

fn path(state: &Path, destination: &str, directory: &Path) -> PathBuf {
    let home = super::copy_journal::home(state, destination);
    home.join(file_name(directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: u32) -> DateTime<Utc> {
        format!("2025-07-09T{hour:02}:00:00Z").parse().unwrap()
    }

    fn removed() -> RemovedCopy {
        RemovedCopy {
            removal: Removal {
                backup: "backup_20250601_020000".to_owned(),
                reasons: vec!["older than 30 days".to_owned()],
            },
            name: "backup_20250601_020000.x".to_owned(),
            facts: vec!["v1/fact".to_owned()],
            is_recorded: true,
        }
    }

    #[test]
    fn what_was_written_is_read_again_and_what_was_changed_is_not() {
        let state = tempfile::tempdir().unwrap();
        let state = state.path().join("state");
        let directory = Path::new("/var/backups/app");
        let copy = |hour, series: &str| KnownCopy {
            backup: format!("backup_20250709_{hour:02}0000"),
            series: series.parse().unwrap(),
            started: at(hour),
            bytes: 7,
            copied: at(hour + 1),
            state: CopyState::Opened,
            proved: at(hour + 1),
        };
        let known = KnownCopies {
            directory: directory.to_owned(),
            copies: [
                (Uuid::from_u128(1), copy(2, "daily")),
                (Uuid::from_u128(2), copy(1, "weekly")),
            ]
            .into(),
            asked: Some(at(3)),
            failure: Some(CopyFailure {
                since: at(4),
                why: "it is away".to_owned(),
            }),
            removing: [(Uuid::from_u128(3), removed())].into(),
            refusal: Some(CopyFailure {
                since: at(5),
                why: "it keeps everything".to_owned(),
            }),
        };
        let none = KnownCopies::read(&state, "far", directory);
        assert_eq!((none.copies.len(), none.asked), (0, None));
        known.write(&state, "far").unwrap();
        assert_eq!(KnownCopies::read(&state, "far", directory), known);
        assert!(
            KnownCopies::read(&state, "near", directory)
                .copies
                .is_empty()
        );
        let newest = |is_meant: fn(&Series) -> bool| known.newest(is_meant).map(|one| one.started);
        assert_eq!(newest(|_| true), Some(at(2)));
        assert_eq!(newest(|series| series.as_str() == "weekly"), Some(at(1)));
        assert_eq!(newest(|_| false), None);

        let file = path(&state, "far", directory);
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replacen("opened", "sent", 1)).unwrap();
        assert!(
            KnownCopies::read(&state, "far", directory)
                .copies
                .is_empty()
        );
    }
}
