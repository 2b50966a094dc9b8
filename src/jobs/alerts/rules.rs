//! What a channel of the configuration wants to be sent, as the state of alerts asks for it.

use chrono::{DateTime, Utc};

use crate::config::AlertChannel;
use crate::policy::{Alert, ChannelRules};

/// A channel, and what it takes now.
pub(super) struct Admission<'a> {
    /// The channel.
    pub(super) channel: &'a AlertChannel,
    takes_warnings_now: bool,
}

impl<'a> Admission<'a> {
    /// A channel at this moment.
    pub(super) fn new(channel: &'a AlertChannel, now: DateTime<Utc>) -> Self {
        Self {
            channel,
            takes_warnings_now: channel.is_open_at(now),
        }
    }

    fn admits(&self, alert: &Alert) -> bool {
        let about = (alert.server.as_deref(), alert.database.as_deref());
        self.channel.wants(alert.kind, alert.severity, about)
    }
}

/// Calls with the rules of channels.
pub(super) fn with_rules<T>(
    admissions: &[Admission<'_>],
    call: impl FnOnce(&[ChannelRules<'_>]) -> T,
) -> T {
    let admits: Vec<_> = admissions
        .iter()
        .map(|admission| |alert: &Alert| admission.admits(alert))
        .collect();
    let rules: Vec<ChannelRules<'_>> = admissions
        .iter()
        .zip(&admits)
        .map(|(admission, admits)| ChannelRules {
            name: &admission.channel.name,
            admits,
            takes_warnings_now: admission.takes_warnings_now,
            remind: admission.channel.remind,
            min_age: admission.channel.min_age,
        })
        .collect();
    call(&rules)
}
