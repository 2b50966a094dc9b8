//! Metrics of the copies at destinations. Labels are names of the configuration and states: their number does
//! not grow with the copies.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::registry::Registry;

use super::{for_each_database, gauges, number, seconds, set};
use crate::jobs::StatusReport;
use crate::policy::{CopyFacts, CopyState};

/// The copies of a database at a destination.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCopies {
    server: String,
    database: String,
    destination: String,
}

/// Those of them that are proved so far.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfState {
    server: String,
    database: String,
    destination: String,
    state: &'static str,
}

/// A state as a label's value.
fn label(state: CopyState) -> &'static str {
    match state {
        CopyState::Sent => "sent",
        CopyState::Uploaded => "uploaded",
        CopyState::ReadBack => "read_back",
        CopyState::Opened => "opened",
        CopyState::Restored => "restored",
    }
}

/// How many copies are in each state, also in those that none is in.
fn by_state(facts: &CopyFacts) -> Vec<(&'static str, u64)> {
    let count = |state| facts.states.get(&state).copied().unwrap_or_default();
    let proved = CopyState::ALL.map(|state| (label(state), count(state)));
    let bad = [
        ("damaged", facts.damaged.len() as u64),
        ("missing", facts.lost.len() as u64),
    ];
    proved.into_iter().chain(bad).collect()
}

pub(super) fn about_copies(registry: &mut Registry, status: &StatusReport) {
    let help = "Copies at a destination, by how far they are proved";
    let copies = gauges::<OfState>(registry, "copies", help);
    let mut new = |name: &str, help: &str| gauges::<OfCopies>(registry, name, help);
    let bytes = new("copy_bytes", "Size of all copies at a destination");
    let newest = new(
        "copy_newest_backup_timestamp_seconds",
        "When the run of the newest backup with a copy started",
    );
    let success = new(
        "copy_last_success_timestamp_seconds",
        "When the copy of the newest backup with one was complete",
    );
    let proved = new(
        "copy_last_proof_timestamp_seconds",
        "When a copy was last read at the destination as a whole, and was what was signed",
    );
    let failing = new(
        "copy_failing_since_timestamp_seconds",
        "Since when copying fails; absent while it does not",
    );
    let missing = new(
        "copy_missing_since_timestamp_seconds",
        "Since when the oldest backup without a copy could have one; absent if none lacks it",
    );
    for_each_database(status, |database, labels| {
        for facts in &database.facts.copies {
            let of_state = |state| OfState {
                server: labels.server.clone(),
                database: labels.database.clone(),
                destination: facts.destination.clone(),
                state,
            };
            for (state, count) in by_state(facts) {
                set(&copies, &of_state(state), number(count));
            }
            let labels = OfCopies {
                server: labels.server.clone(),
                database: labels.database.clone(),
                destination: facts.destination.clone(),
            };
            set(&bytes, &labels, number(facts.bytes));
            let newest_copy = facts.newest.as_ref();
            for (gauge, moment) in [
                (&newest, newest_copy.map(|copy| copy.started)),
                (&success, newest_copy.map(|copy| copy.identity.copied)),
                (&proved, facts.last_read),
                (&failing, facts.failure.as_ref().map(|(since, _)| *since)),
                (
                    &missing,
                    facts.missing.as_ref().map(|missing| missing.since),
                ),
            ] {
                if let Some(moment) = moment {
                    set(gauge, &labels, seconds(moment.fixed_offset()));
                }
            }
        }
    });
}
