//! One channel: what it wants to be sent, and how sending goes.

use std::time::Duration;

use chrono::{DateTime, FixedOffset, TimeDelta};
use serde::{Deserialize, Serialize};

use super::notice::{Alert, Notice};

/// The pauses after failed attempts; the last one repeats.
const PAUSES: [u64; 8] = [30, 60, 120, 240, 480, 900, 1800, 3600];

/// What a channel wants to be sent.
#[derive(Clone, Copy)]
pub struct ChannelRules<'a> {
    /// Its name in the configuration.
    pub name: &'a str,
    /// Whether it wants an alert at all: by its severity, its kind and its database.
    pub admits: &'a dyn Fn(&Alert) -> bool,
    /// Whether it wants now what is not critical.
    pub takes_warnings_now: bool,
    /// After how long an alert that is still open is sent again; none for never.
    pub remind: Option<Duration>,
    /// How long an alert must have been open before it is sent.
    pub min_age: Duration,
}

/// How sending to a channel goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelState {
    /// When a message last arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub succeeded: Option<DateTime<FixedOffset>>,
    /// The message that is being sent. One that is found after a crash is sent again under its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sending: Option<Notice>,
    /// The failures since the last message arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing: Option<Failure>,
    /// Alerts that came and went meanwhile and are not sent: too many, or too old.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dropped: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Why a message has not arrived.
#[derive(Clone, Copy, Debug)]
pub struct Refusal<'a> {
    /// A sentence without secrets.
    pub error: &'a str,
    /// How long the service wants to be left alone.
    pub retry_after: Option<Duration>,
}

/// Failed attempts, one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// When the first of them was.
    pub since: DateTime<FixedOffset>,
    /// How many they are.
    pub attempts: u32,
    /// When the next one is.
    pub next: DateTime<FixedOffset>,
    /// Why the last one failed, in a sentence without secrets.
    pub error: String,
}

impl ChannelState {
    /// Whether the next attempt may be made.
    pub fn is_due(&self, now: DateTime<FixedOffset>) -> bool {
        self.failing.as_ref().is_none_or(|failing| {
            // After a clock that was set back it need not wait for the old time to return.
            now >= failing.next || failing.next - now > pause(u32::MAX) * 2
        })
    }

    /// Takes in that an attempt failed.
    pub(super) fn fail(&mut self, refusal: &Refusal<'_>, now: DateTime<FixedOffset>) {
        let (since, attempts) = match &self.failing {
            Some(before) => (before.since, before.attempts.saturating_add(1)),
            None => (now, 1),
        };
        let wish = refusal.retry_after;
        let wish = wish.and_then(|wish| TimeDelta::from_std(wish).ok());
        let wait = pause(attempts).max(wish.unwrap_or_default().min(pause(u32::MAX)));
        self.sending = None;
        self.failing = Some(Failure {
            since,
            attempts,
            next: now + wait,
            error: refusal.error.to_owned(),
        });
    }
}

/// How long to wait after so many attempts.
fn pause(attempts: u32) -> TimeDelta {
    let index = (attempts.max(1) as usize - 1).min(PAUSES.len() - 1);
    TimeDelta::seconds(i64::try_from(PAUSES[index]).unwrap_or(i64::MAX))
}
