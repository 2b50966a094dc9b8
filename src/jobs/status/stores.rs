//! What is known of the destinations themselves, whatever databases are copied there. None is asked.

use std::time::Duration;

use chrono::TimeDelta;

use super::inspection::Inspection;
use crate::config::Destination;
use crate::display::{one_line, rough_span};
use crate::policy::{Concern, ConcernKind, ignores_conditions};
use crate::repository::{DestinationFile as _, KnownStore, StatusPut};

/// A host whose state cannot be put for so long looks silent to whoever reads the destination.
const LONG: TimeDelta = TimeDelta::days(2);

/// What needs attention of them, and what is good to know, one sentence each.
pub(super) fn judge_stores(inspection: &Inspection<'_>) -> (Vec<Concern>, Vec<String>) {
    let (mut concerns, mut remarks) = (Vec::new(), Vec::new());
    let Some(state) = inspection.state_directory else {
        return (concerns, remarks);
    };
    for destination in &inspection.plan.destinations {
        let address = destination.settings.full_address();
        let known = KnownStore::read(state, &destination.name, &address);
        remarks.extend(known.ignores_conditions.map(|since| {
            format!(
                "{} (first seen on {})",
                ignores_conditions(&destination.name),
                since.format("%Y-%m-%d")
            )
        }));
        let put = StatusPut::read(state, &destination.name, &address);
        if let Some(failure) = put.failure {
            let failing = inspection.now - failure.since;
            let sentence = cannot_put(destination, (&failure.why, failing));
            if failing > LONG {
                let concern = Concern::new(ConcernKind::CopyFailed, sentence);
                concerns.push(concern.about(&destination.name));
            } else {
                remarks.push(sentence);
            }
        }
    }
    (concerns, remarks)
}

fn cannot_put(destination: &Destination, (why, failing): (&str, TimeDelta)) -> String {
    let failing = failing.to_std().unwrap_or(Duration::ZERO);
    format!(
        "the state of this host could not be put at {} for {}: {}",
        destination.name,
        rough_span(failing),
        one_line(why.lines().next().unwrap_or_default())
    )
}
