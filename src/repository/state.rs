//! What is known of a backup beyond its manifest: whether it is pinned, and what its last check
//! found. Its loss loses nothing else.

use std::io;
use std::path::Path;

use chrono::{DateTime, FixedOffset};
use serde::{Deserialize, Serialize};

/// A backup's changeable side, a file of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Set while the operator wants it kept whatever retention says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned: Option<Pin>,
    /// The last full check after the one it was published with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked: Option<Check>,
}

/// Who pinned a backup, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// When.
    pub at: DateTime<FixedOffset>,
    /// The user.
    pub by: String,
}

/// What a full check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// When.
    pub at: DateTime<FixedOffset>,
    /// What was wrong; none when the backup is whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damage: Option<String>,
}

impl State {
    /// Reads a state file; a missing one is the state of a backup that nothing happened to.
    ///
    /// # Errors
    /// When the file cannot be read or understood: a pin must not be lost by overlooking it.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        match std::fs::read(path) {
            Ok(text) => Ok(serde_json::from_slice(&text)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }
}
