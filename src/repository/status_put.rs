//! What is known of the states of this host that were put at a destination.
//!
//! `copying/<destination>/status.json` in the state directory. Only the service writes it. Its loss costs one
//! state more.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::destination_file::DestinationFile;
use super::known_copies::CopyFailure;
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

impl DestinationFile for StatusPut {
    const FILE: &'static str = "status.json";

    fn address(&mut self) -> &mut String {
        &mut self.address
    }
}

impl StatusPut {
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
