//! Whether the key of the copies was tried lately, and is one that is known: by what backups, copy runs and
//! rehearsals have noted. No destination is asked.

use std::path::Path;

use chrono::{DateTime, Utc};

use crate::config::Plan;
use crate::jobs::known_recipients::configured_encryption;
use crate::policy::{Concern, Rehearsed, judge_rehearsals};
use crate::repository::RehearsalFile;
use crate::responsiveness::{self, PATIENCE};

/// The rehearsals at a destination with encrypted copies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RehearsalStatus {
    /// The destination.
    pub destination: String,
    /// When the first encrypted copy was made that is known.
    pub since: DateTime<Utc>,
    /// The last one that came through.
    pub last: Option<Rehearsed>,
}

/// The concerns about rehearsals and recipients, and when each destination had its last one. Where the state directory
/// cannot be read there is none: not everybody may read it, and copy runs report what they cannot note there.
pub(super) fn judge(
    plan: &Plan,
    state: Option<&Path>,
    now: DateTime<Utc>,
) -> (Vec<Concern>, Vec<RehearsalStatus>) {
    let configured = configured_encryption(plan);
    let Some(state) = state else {
        return (Vec::new(), Vec::new());
    };
    let read = responsiveness::ask(state, PATIENCE, |state| RehearsalFile::at(state).read());
    let Ok(book) = read.flatten() else {
        return (Vec::new(), Vec::new());
    };
    let known = configured.encrypted.iter().filter_map(|name| {
        let of_it = book.destinations.get(name)?;
        Some(RehearsalStatus {
            destination: name.clone(),
            since: of_it.since,
            last: of_it.last.clone(),
        })
    });
    let known = known.collect();
    let concerns = judge_rehearsals(&book, &configured, plan.objectives.rehearsal_age, now);
    (concerns, known)
}
