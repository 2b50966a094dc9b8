//! Whether the clock can be believed, judged by the dates of the backups themselves.
//!
//! A rule that counts days removes whatever the clock calls old. A board without a battery wakes
//! up in 1970, a virtual machine in the year of its snapshot, a typing error sets 2099: then the
//! dates contradict one another, and no rule may act on them until somebody has looked.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Serialize, Serializer};

use super::Candidate;

/// A backup may be dated this far after now: clocks are set back by seconds, zones by hours.
pub(in crate::policy) const TOLERATED_LEAD: TimeDelta = TimeDelta::days(1);

/// A longer time without any backup is taken for a jump of the clock: a year, and a month's grace
/// for a yearly backup that was made late.
const LONGEST_SILENCE: TimeDelta = TimeDelta::days(400);

/// A gap is history once the backups after it span this much time: a clock that has run steadily
/// for so long is not the one that jumps, and a doubt that never ends would fill the disk.
const STEADY_AGAIN: TimeDelta = TimeDelta::days(90);

/// Whether the rules may act although the clock looks wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClockTrust {
    /// They act only when the dates of the backups agree with the clock.
    #[default]
    IfPlausible,
    /// The operator has looked at the clock and vouches for it (`--trust-clock`).
    Always,
}

/// What makes the clock look wrong.
///
/// Displayed, and serialised, as one sentence that says what was found and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClockDoubt {
    /// A backup is dated more than a day after now.
    Ahead {
        /// The backup of the latest date.
        name: String,
        /// When it says that it was started.
        started: DateTime<Utc>,
        /// What the clock says.
        now: DateTime<Utc>,
    },
    /// The newest backup is more than a year old, by the clock.
    Silence {
        /// The newest backup.
        name: String,
        /// When it was started.
        started: DateTime<Utc>,
        /// What the clock says.
        now: DateTime<Utc>,
    },
    /// More than a year lies between two neighbouring backups, and few have been made since.
    Gap {
        /// The backup before the gap.
        before: String,
        /// The backup after it.
        after: String,
        /// How long the gap is.
        length: TimeDelta,
    },
}

impl ClockDoubt {
    /// What was found, as a clause without what follows from it.
    pub fn finding(&self) -> String {
        match self {
            Self::Ahead { name, started, now } => format!(
                "the clock says {}, but backup {name} is dated {}, which is later",
                minute(*now),
                minute(*started),
            ),
            Self::Silence { name, started, now } => format!(
                "the clock says {}, but the newest backup, {name}, is dated {}, {} days earlier",
                minute(*now),
                minute(*started),
                (*now - *started).num_days(),
            ),
            Self::Gap {
                before,
                after,
                length,
            } => format!(
                "{} days lie between backup {before} and the next one, {after}",
                length.num_days(),
            ),
        }
    }
}

impl fmt::Display for ClockDoubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, so the clock looks wrong and nothing is removed: \
             set it right, or, if it is right, run `pgbackupd prune --trust-clock`",
            self.finding()
        )
    }
}

impl Serialize for ClockDoubt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn minute(time: DateTime<Utc>) -> impl fmt::Display {
    time.format("%Y-%m-%d %H:%M UTC")
}

/// Whether a backup is dated so long after now that the clock must be wrong.
fn is_ahead(candidate: &Candidate<'_>, now: DateTime<Utc>) -> bool {
    candidate.started - now > TOLERATED_LEAD
}

/// What is wrong with the clock, if anything. The candidates come newest first.
///
/// Pinned backups bear no witness. Nothing is removed by their date, an archive is often pinned
/// for years, and so pinning the backup that a doubt names is the way to settle it for good. Those
/// that were found bad stay for years too, and open no gap.
pub(super) fn doubt(newest_first: &[&Candidate<'_>], now: DateTime<Utc>) -> Option<ClockDoubt> {
    let witnesses = || newest_first.iter().filter(|candidate| !candidate.pinned);
    let newest = witnesses().next()?;

    if is_ahead(newest, now) {
        return Some(ClockDoubt::Ahead {
            name: newest.name.to_owned(),
            started: newest.started,
            now,
        });
    }
    if now - newest.started > LONGEST_SILENCE {
        return Some(ClockDoubt::Silence {
            name: newest.name.to_owned(),
            started: newest.started,
            now,
        });
    }
    let good = || witnesses().filter(|candidate| candidate.verified);
    good()
        .zip(good().skip(1))
        .take_while(|(after, _)| newest.started - after.started < STEADY_AGAIN)
        .find(|(after, before)| after.started - before.started > LONGEST_SILENCE)
        .map(|(after, before)| ClockDoubt::Gap {
            before: before.name.to_owned(),
            after: after.name.to_owned(),
            length: after.started - before.started,
        })
}
