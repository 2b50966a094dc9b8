//! What is sent to a channel: the changes in what needs attention, as one message.

use chrono::{DateTime, FixedOffset, SubsecRound as _};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::policy::attention::{Concern, ConcernKind, Severity};

/// Something that needs attention, from its first appearance until it is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// The concern's id, such as `overdue-7f3a91c2b0`.
    pub id: String,
    /// What it is.
    pub kind: ConcernKind,
    /// How urgent it is.
    pub severity: Severity,
    /// The server's name in the configuration, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// The database, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// The series of backups, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series: Option<String>,
    /// What else it is about: a backup, a file, a directory, a table, a channel or an operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// When it was first seen.
    pub since: DateTime<FixedOffset>,
    /// The same in every message about it; another one when it comes back after it was over.
    pub incident: Uuid,
    /// What is wrong with which thing, and the way out, in a sentence.
    pub sentence: String,
}

impl Alert {
    /// What opens with a concern that was not there before.
    pub fn opening(concern: &Concern, now: DateTime<FixedOffset>, incident: Uuid) -> Self {
        Self {
            id: concern.id(),
            kind: concern.kind,
            severity: concern.severity,
            server: concern.server.clone(),
            database: concern.database.clone(),
            series: concern.series.as_ref().map(ToString::to_string),
            object: concern.object.clone(),
            since: now.trunc_subsecs(0),
            incident,
            sentence: concern.sentence.clone(),
        }
    }
}

/// What happened to an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It is new.
    Opened,
    /// It has become more urgent.
    Worsened,
    /// It is still there.
    Reminded,
    /// It is over.
    Resolved,
}

/// One alert in a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoticeItem {
    /// What happened.
    pub change: Change,
    /// To what.
    pub alert: Alert,
}

/// How many alerts are open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenCounts {
    /// Critical ones.
    pub critical: u64,
    /// Warnings.
    pub warning: u64,
}

/// A message to a channel: all that has changed since the last one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// The message's own id: the same if it is sent again because it is not known whether it arrived.
    pub id: Uuid,
    /// The host that sends it.
    pub host: String,
    /// When it was put together.
    pub at: DateTime<FixedOffset>,
    /// Whether it only tests the channel.
    pub is_test: bool,
    /// What has changed, the worst first, what is over last.
    pub items: Vec<NoticeItem>,
    /// What is open now, also what is not in this message.
    pub open: OpenCounts,
    /// Alerts that came and went while the channel failed, and are not in this message: too many, or
    /// too old.
    #[serde(default)]
    pub dropped: u64,
}
