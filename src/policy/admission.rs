//! Whether a run that is due may start now.

use std::fmt;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use super::Blackouts;

/// What becomes of a run that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It starts.
    Start,
    /// It waits until this moment, when a blackout ends, and is judged anew then.
    Wait(DateTime<Utc>),
    /// It does not happen; that goes on record.
    Skip(SkipReason),
}

/// Why a run that was due does not happen. Its Display is a sentence's part that can follow "the
/// backup was skipped: ".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SkipReason {
    /// A blackout lasts beyond the end of the run's window.
    Blackout {
        /// When the blackout ends.
        until: DateTime<Tz>,
        /// When the run's window ends.
        window_ends: DateTime<Tz>,
    },
    /// Its window ended before it got its turn.
    WindowOver {
        /// When.
        ended: DateTime<Tz>,
    },
    /// The job is still at work on the same database, for this slot or an earlier one.
    StillAtWork {
        /// The slot of the schedule that the run at work is for.
        slot: DateTime<Tz>,
        /// Since when it runs.
        since: DateTime<Tz>,
    },
}

/// A run of a job on a database that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AtWork {
    /// The slot of the schedule that it is for.
    pub slot: DateTime<Utc>,
    /// Since when it runs.
    pub since: DateTime<Utc>,
}

/// Decides whether a run may start at `now` whose window ends at `window_ends`.
pub fn admit(now: DateTime<Utc>, window_ends: DateTime<Utc>, blackouts: &Blackouts) -> Admission {
    let zone = blackouts.zone();
    if now >= window_ends {
        return Admission::Skip(SkipReason::WindowOver {
            ended: window_ends.with_timezone(&zone),
        });
    }
    match blackouts.ends_after(now) {
        None => Admission::Start,
        Some(until) if until < window_ends => Admission::Wait(until),
        Some(until) => Admission::Skip(SkipReason::Blackout {
            until: until.with_timezone(&zone),
            window_ends: window_ends.with_timezone(&zone),
        }),
    }
}

/// Why a run that is due cannot join the one of the same job that is at work on the same database;
/// none when none is. Which slot that one is for makes no difference: two runs of one job would do
/// the same work on the same files. `zone` is for the reason's times.
pub fn overlap(at_work: Option<AtWork>, zone: Tz) -> Option<SkipReason> {
    at_work.map(|at_work| SkipReason::StillAtWork {
        slot: at_work.slot.with_timezone(&zone),
        since: at_work.since.with_timezone(&zone),
    })
}

/// A moment to the second, with the distance from UTC.
fn told(moment: &DateTime<Tz>) -> impl fmt::Display {
    moment.format("%Y-%m-%d %H:%M:%S %:z")
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blackout { until, window_ends } => write!(
                f,
                "no run starts before the blackout ends at {}, and the job's window ends at {}",
                told(until),
                told(window_ends)
            ),
            Self::WindowOver { ended } => write!(
                f,
                "the job's window ended at {} before the run could start",
                told(ended)
            ),
            Self::StillAtWork { slot, since } => write!(
                f,
                "the run that was due at {} is still at work, since {}",
                told(slot),
                told(since)
            ),
        }
    }
}
