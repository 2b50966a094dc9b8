//! What is known of the store of a destination itself, whatever databases are copied there: for `status`, which
//! waits for no network.
//!
//! `copying/<destination>/store.json` in the state directory. Only a copy run writes it, which has the
//! destination to itself.

use std::io;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::copy_journal::{directory_of, home};
use super::durable;
use super::seal::{fits, sealed};

/// What is known of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownStore {
    /// The address that it is known of. Of another one, nothing is.
    pub address: String,
    /// Since when it is known that it puts an object under a key that has one, although it was asked not to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignores_conditions: Option<DateTime<Utc>>,
}

impl KnownStore {
    /// Reads what is known; nothing where there is no such file, it is not as it was written, or it is about
    /// another address.
    pub fn read(state: &Path, destination: &str, address: &str) -> Self {
        let read = || {
            let text = crate::regular_file::read(&path(state, destination)).ok()?;
            let known: Self = fits(&text).then(|| serde_json::from_slice(&text).ok())??;
            (known.address == address).then_some(known)
        };
        read().unwrap_or_else(|| Self {
            address: address.to_owned(),
            ..Self::default()
        })
    }

    /// Writes it, wholly or not at all.
    ///
    /// # Errors
    /// When the file cannot be written; the old one then stands.
    pub fn write(&self, state: &Path, destination: &str) -> io::Result<()> {
        let directory = directory_of(state, destination)?;
        durable::replace(&directory.join(FILE), sealed(self)?.as_bytes())
    }

    /// Takes down whether the store puts nothing under a key that has something, where that is known. Gives
    /// whether that it does not is news.
    pub fn take_in_conditions(&mut self, keeps: Option<bool>, now: DateTime<Utc>) -> bool {
        let Some(keeps) = keeps else {
            return false;
        };
        let was_known = self.ignores_conditions.is_some();
        if keeps {
            self.ignores_conditions = None;
        } else {
            self.ignores_conditions.get_or_insert(now);
        }
        !keeps && !was_known
    }
}

const FILE: &str = "store.json";

fn path(state: &Path, destination: &str) -> PathBuf {
    home(state, destination).join(FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_overwrites_is_news_once_until_it_no_longer_does() {
        let state = tempfile::tempdir().unwrap();
        let state = state.path().join("state");
        let now = DateTime::from_timestamp(1_752_000_000, 0).unwrap();
        for (keeps, is_news, is_known) in [
            (None, false, false),
            (Some(false), true, true),
            (Some(false), false, true),
            (None, false, true),
            (Some(true), false, false),
            (Some(false), true, true),
        ] {
            let mut known = KnownStore::read(&state, "far", "s3://a");
            assert_eq!(known.take_in_conditions(keeps, now), is_news, "{keeps:?}");
            assert_eq!(known.ignores_conditions.is_some(), is_known, "{keeps:?}");
            known.write(&state, "far").unwrap();
        }
        // It is another store.
        let other = KnownStore::read(&state, "far", "s3://b");
        assert_eq!(other.ignores_conditions, None);
    }
}
