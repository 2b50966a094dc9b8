//! What `restore.log` has of a restore beyond what it has of every run: all that its incident report
//! tells (P11).

use chrono::{DateTime, FixedOffset};
use serde::{Deserialize, Serialize};

/// What a restore was to do, and what came of it. Known at the start as far as looking can tell, and
/// at the end in full; what was not reached is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Restoration {
    /// The server, as host and port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// The dump's file or directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// When the backup's contents were those of the database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup_started: Option<DateTime<FixedOffset>>,
    /// How old that may be, in seconds: `objectives.recovery_point`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovery_point: Option<f64>,
    /// How long a restore may take, in seconds: `objectives.recovery_time`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovery_time: Option<f64>,
    /// The tables that were restored, where it was not the whole database: each with what it has
    /// become.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub restored_tables: Vec<String>,
    /// Whether it goes on after errors, and leaves out what the server refuses; or swaps in what such a one
    /// has made.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub salvages: bool,
    /// What was read in the backup, before anything was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<Content>,
    /// What was found in the restored database when it was dumped again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<Content>,
    /// In what the two differ, a sentence each; the first ones are named.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<String>,
    /// What bore the database's name before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaces: Option<Replaced>,
    /// Under which name the backup was loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loaded_into: Option<String>,
    /// What an undone restore had called the database that got its name back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub brought_back: Option<String>,
    /// What the database is called now that was replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept_as: Option<String>,
    /// Roles that were created.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// Sessions that were ended for the swap of names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions_ended: Option<u64>,
    /// What is left to be done, a sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<String>,
    /// What the operator should know, a sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// What was done, in its order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepTime>,
}

/// How much a dump holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Rows of all tables.
    pub rows: u64,
    /// Tables.
    pub tables: u64,
}

/// A database that is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replaced {
    /// Its size, if the server reports it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Sessions in it.
    pub sessions: u64,
}

/// One step of a restore.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepTime {
    /// What was done, a phrase.
    pub step: String,
    /// When it began, on the wall clock of the schedule's zone.
    pub at: DateTime<FixedOffset>,
    /// How long it took, in seconds.
    pub seconds: f64,
}
