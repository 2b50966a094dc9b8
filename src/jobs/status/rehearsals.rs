//! Whether the key of the copies was tried lately, and is one that is known: by what copy runs and rehearsals have
//! noted. No destination is asked.

use std::path::Path;

use chrono::{DateTime, Utc};

use crate::config::Plan;
use crate::jobs::copy::fingerprints;
use crate::policy::{Concern, ConfiguredCopies, Rehearsed, judge_rehearsals};
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
    let named = |is_plain: bool| {
        let destinations = plan.destinations.iter();
        let meant = destinations.filter(move |one| one.plain == is_plain);
        meant.map(|one| one.name.as_str()).collect::<Vec<_>>()
    };
    let (encrypted, unsealed) = (named(false), named(true));
    let Some(state) = state.filter(|_| !plan.destinations.is_empty()) else {
        return (Vec::new(), Vec::new());
    };
    let read = responsiveness::ask(state, PATIENCE, |state| RehearsalFile::at(state).read());
    let Ok(book) = read.flatten() else {
        return (Vec::new(), Vec::new());
    };
    let known = encrypted.iter().filter_map(|&name| {
        let of_it = book.destinations.get(name)?;
        Some(RehearsalStatus {
            destination: name.to_owned(),
            since: of_it.since,
            last: of_it.last.clone(),
        })
    });
    let known = known.collect();
    let copies = ConfiguredCopies {
        encrypted: &encrypted,
        plain: &unsealed,
        recipients: &fingerprints(Some(&plan.recipients)),
    };
    let concerns = judge_rehearsals(&book, copies, plan.objectives.rehearsal_age, now);
    (concerns, known)
}
