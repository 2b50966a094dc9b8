//! Why a backup is kept or removed, in words and in a form for programs.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::period::{Every, Period};

/// Why a backup is kept or removed.
///
/// Displayed, it is a clause for people: "no older than 30 days". Serialised, it is an object
/// whose `rule` names the variant in snake case, next to the variant's fields:
/// `{"rule":"age","limit_seconds":2592000}`, `{"rule":"newest","every":"week","period":"2026-W03"}`,
/// `{"rule":"pinned"}`. Variants and fields may be added later; those that are here stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "rule", rename_all = "snake_case")]
pub enum Reason {
    /// Kept: the operator pinned it.
    Pinned,
    /// Kept: it was made before something was lost that nobody has accepted, such as the rows of the
    /// database.
    Loss,
    /// Kept: a copy of it is under way.
    Copy,
    /// Kept: it has to have a copy before it may go, and has none yet.
    NoCopy,
    /// Kept: it is among the newest verified backups, of which so many always stay.
    Floor {
        /// How many.
        count: NonZeroU32,
    },
    /// Kept: it is dated after now, so that its age means nothing.
    Ahead,
    /// Kept: the series has no rules, and keeps everything.
    NoRules,
    /// Kept: its age is within the limit.
    Age {
        /// The limit, whole seconds when serialised.
        #[serde(rename = "limit_seconds", serialize_with = "whole_seconds")]
        limit: Duration,
    },
    /// Kept: it is among the newest so many.
    Last {
        /// How many.
        count: NonZeroU32,
    },
    /// Kept: it is the newest of its period, and the period is among those that its rule counts.
    Newest {
        /// What the rule counts.
        every: Every,
        /// The period.
        period: Period,
    },
    /// Kept: it is the oldest of all, and a rule still has room.
    Oldest {
        /// What the rule counts.
        every: Every,
    },
    /// Kept: it was found bad. It shows what happened, and parts of it may be recovered; retention
    /// never removes it.
    Evidence,
    /// Kept: it could not be read at its last check, so nobody knows whether it is still good.
    Unchecked,
    /// Kept: it is partial, and takes nobody's place.
    Partial,
    /// Kept: the rules would remove it, but the clock looks wrong.
    ClockDoubt,
    /// Removed although it lacks a copy: the next backup would not fit otherwise.
    NoRoom,
    /// Removed: it is older than the limit.
    TooOld {
        /// The limit, whole seconds when serialised.
        #[serde(rename = "limit_seconds", serialize_with = "whole_seconds")]
        limit: Duration,
    },
    /// Removed: so many newer ones exist.
    BeyondLast {
        /// How many.
        count: NonZeroU32,
    },
    /// Removed: a newer one of the same period exists.
    NotNewest {
        /// What the rule counts.
        every: Every,
        /// The period.
        period: Period,
    },
    /// Removed: it lies before the last so many periods that have a backup.
    BeyondPeriods {
        /// What the rule counts.
        every: Every,
        /// How many.
        count: NonZeroU32,
    },
}

impl Reason {
    /// Whether this is a reason to keep a backup; otherwise it is one to remove it.
    pub fn keeps(&self) -> bool {
        match self {
            Self::Pinned
            | Self::Loss
            | Self::Copy
            | Self::NoCopy
            | Self::Floor { .. }
            | Self::Ahead
            | Self::NoRules
            | Self::Age { .. }
            | Self::Last { .. }
            | Self::Newest { .. }
            | Self::Oldest { .. }
            | Self::Evidence
            | Self::Unchecked
            | Self::Partial
            | Self::ClockDoubt => true,
            Self::NoRoom
            | Self::TooOld { .. }
            | Self::BeyondLast { .. }
            | Self::NotNewest { .. }
            | Self::BeyondPeriods { .. } => false,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pinned => f.write_str("pinned"),
            Self::Loss => f.write_str("made before a loss that nobody has accepted"),
            Self::Copy => f.write_str("its copy is not complete"),
            Self::NoCopy => f.write_str("it lacks a copy that retention.require_copies asks for"),
            Self::Floor { count } if count.get() == 1 => {
                f.write_str("the one verified backup that always stays")
            }
            Self::Floor { count } => {
                write!(f, "one of the {count} verified backups that always stay")
            }
            Self::Ahead => f.write_str("dated after now"),
            Self::NoRules => f.write_str("its series keeps everything"),
            Self::Age { limit } => write!(f, "no older than {}", Age(*limit)),
            Self::Last { count } if count.get() == 1 => f.write_str("the newest"),
            Self::Last { count } => write!(f, "one of the newest {count}"),
            Self::Newest { every, period } => write!(f, "newest of the {every} {period}"),
            Self::Oldest { every } => {
                write!(f, "the oldest, while there is room for another {every}")
            }
            Self::Evidence => f.write_str("found bad: kept as evidence"),
            Self::Unchecked => f.write_str("could not be read at its last check"),
            Self::Partial => f.write_str("partial: yours to remove"),
            Self::ClockDoubt => f.write_str("the clock looks wrong"),
            Self::NoRoom => f.write_str("WITHOUT A COPY: the next backup would not fit"),
            Self::TooOld { limit } => write!(f, "older than {}", Age(*limit)),
            Self::BeyondLast { count } if count.get() == 1 => f.write_str("not the newest"),
            Self::BeyondLast { count } => write!(f, "not one of the newest {count}"),
            Self::NotNewest { every, period } => {
                write!(f, "not the newest of the {every} {period}")
            }
            Self::BeyondPeriods { every, count } if count.get() == 1 => {
                write!(f, "before the last {every} that has a backup")
            }
            Self::BeyondPeriods { every, count } => {
                write!(f, "before the last {count} {every}s that have a backup")
            }
        }
    }
}

/// A duration in the largest unit that it is a whole number of, from weeks to seconds.
struct Age(Duration);

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MINUTE: u64 = 60;
        const HOUR: u64 = 60 * MINUTE;
        const DAY: u64 = 24 * HOUR;
        const WEEK: u64 = 7 * DAY;

        let seconds = self.0.as_secs();
        let (size, unit) = [
            (WEEK, "week"),
            (DAY, "day"),
            (HOUR, "hour"),
            (MINUTE, "minute"),
        ]
        .into_iter()
        .find(|(size, _)| seconds >= *size && seconds.is_multiple_of(*size))
        .unwrap_or((1, "second"));
        let count = seconds / size;
        write!(f, "{count} {unit}{}", if count == 1 { "" } else { "s" })
    }
}

fn whole_seconds<S: Serializer>(limit: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(limit.as_secs())
}
