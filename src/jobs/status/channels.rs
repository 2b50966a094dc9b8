//! The channels of alerts, as far as their state needs attention: one that fails is a problem itself.

use std::path::Path;

use crate::config::Plan;
use crate::policy::{Concern, ConcernKind};
use crate::repository::AlertFile;
use crate::responsiveness::{self, PATIENCE};

/// After so many attempts a channel counts as failing: the second comes half a minute after the first.
const ATTEMPTS: u32 = 3;

/// The concerns about channels that take no message. Where the state directory cannot be read there is
/// none: not everybody may read it, and the service reports what it cannot note there.
pub(super) fn judge_channels(plan: &Plan, state: Option<&Path>) -> Vec<Concern> {
    let Some(state) = state.filter(|_| !plan.alerts.is_empty()) else {
        return Vec::new();
    };
    let read = responsiveness::ask(state, PATIENCE, |state| AlertFile::at(state).read());
    let Ok(book) = read.flatten() else {
        return Vec::new();
    };
    let states = plan.alerts.iter().filter_map(|channel| {
        let failing = book.channels.get(&channel.name)?.failing.as_ref()?;
        // A ping has been tried several times before it is given up.
        let fails = failing.attempts >= ATTEMPTS || !channel.takes_alerts();
        fails.then_some((&channel.name, failing))
    });
    states
        .map(|(name, failing)| {
            let sentence = format!(
                "the alert channel {name} has taken no message since {}: {}; run `pgbackupd alerts test \
                 {name}`",
                failing.since.format("%a %Y-%m-%d %H:%M %:z"),
                failing.error
            );
            Concern::new(ConcernKind::ChannelFails, sentence).about(name)
        })
        .collect()
}
