//! What is known of the store of a destination itself, whatever databases are copied there: for `status`, which
//! waits for no network.
//!
//! `copying/<destination>/store.json` in the state directory. Only a copy run writes it, which has the
//! destination to itself.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::destination_file::DestinationFile;

/// What is known of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownStore {
    /// The address that it is known of. Of another one, nothing is.
    pub address: String,
    /// Since when it is known that it puts an object under a key that has one, although it was asked not to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignores_conditions: Option<DateTime<Utc>>,
}

impl DestinationFile for KnownStore {
    const FILE: &'static str = "store.json";

    fn address(&mut self) -> &mut String {
        &mut self.address
    }
}

impl KnownStore {
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
