//! What is known of the states of this host that were put at a destination.
//!
//! `copying/<destination>/status.json` in the state directory. Only the service writes it. Its loss costs one
//! state more.

use std::io;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::copy_journal::{directory_of, home};
use super::durable;
use super::known_copies::CopyFailure;
use super::seal::{fits, sealed};
use crate::policy::LastStatus;

/// What is known of the states that were put.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusPut {
    /// The address that it is known of. Of another one, nothing is.
    pub address: String,
    /// The newest one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<LastStatus>,
    /// Since when none can be put, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<CopyFailure>,
    /// When that was tried last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tried: Option<DateTime<Utc>>,
    /// When old ones were last removed there, or could not be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tidied: Option<DateTime<Utc>>,
}

impl StatusPut {
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

    /// A state was put.
    pub fn succeed(&mut self, last: LastStatus) {
        (self.last, self.failure, self.tried) = (Some(last), None, None);
    }

    /// None could be put. Gives whether that is news.
    pub fn fail(&mut self, why: String, now: DateTime<Utc>) -> bool {
        let since = self.failure.as_ref().map(|failure| failure.since);
        self.failure = Some(CopyFailure {
            since: since.unwrap_or(now),
            why,
        });
        self.tried = Some(now);
        since.is_none()
    }
}

const FILE: &str = "status.json";

fn path(state: &Path, destination: &str) -> PathBuf {
    home(state, destination).join(FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_news_once_until_a_state_was_put() {
        let state = tempfile::tempdir().unwrap();
        let state = state.path().join("state");
        let at = |hour: i64| DateTime::from_timestamp(1_752_000_000 + hour * 3600, 0).unwrap();
        let mut put = StatusPut::read(&state, "far", "file:///far");
        assert!(put.fail("away".to_owned(), at(1)));
        assert!(!put.fail("still away".to_owned(), at(2)));
        put.write(&state, "far").unwrap();
        let mut put = StatusPut::read(&state, "far", "file:///far");
        let failure = put.failure.clone().unwrap();
        assert_eq!((failure.since, &*failure.why), (at(1), "still away"));
        assert_eq!(put.tried, Some(at(2)));
        put.succeed(LastStatus {
            at: at(3),
            concerns: vec!["a".to_owned()],
        });
        assert_eq!((&put.failure, put.tried), (&None, None));
        put.write(&state, "far").unwrap();
        assert_eq!(StatusPut::read(&state, "far", "file:///far"), put);
        assert_eq!(StatusPut::read(&state, "far", "file:///other").last, None);
        assert!(put.fail("away".to_owned(), at(4)));
    }
}
