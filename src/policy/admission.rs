//! Whether a run that is due may start now.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;

use super::{Blackouts, Schedule, window_end};

/// What becomes of a run that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It starts.
    Start,
    /// It waits until this moment, when a blackout ends, and is judged again then.
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

/// Why a run does not happen whose job or database a reload has removed.
pub const TAKEN_OUT: &str = "a reload has taken it out of the configuration";

/// How the reason begins that is a blackout.
const BLACKOUT: &str = "no run starts before the blackout ends at ";

impl SkipReason {
    /// Whether the configuration wanted that no run started, by a reason on record: for a blackout, or
    /// since the job was removed.
    pub fn is_wanted(reason: &str) -> bool {
        reason.starts_with(BLACKOUT) || reason == TAKEN_OUT
    }
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

/// Whether any run of a schedule would ever start, whose window has this length: false where
/// blackouts hold every slot and last until its window ends.
///
/// The slots of ten years are looked at, 11,000 at most, which is more than a week has minutes.
/// They are those from 2025 on. Where both are read in one zone, its changes of clocks are left
/// out: one odd day a year does not make a job that runs.
pub fn can_ever_start(schedule: &Schedule, window: Duration, blackouts: &Blackouts) -> bool {
    if blackouts.windows().is_empty() {
        return true;
    }
    if schedule.zone() == blackouts.zone() && schedule.zone() != Tz::UTC {
        let by_the_wall = Schedule::parse(schedule.text(), Tz::UTC)
            .ok()
            .zip(Blackouts::new(blackouts.windows().to_vec(), Tz::UTC).ok());
        return by_the_wall
            .is_none_or(|(schedule, blackouts)| can_ever_start(&schedule, window, &blackouts));
    }
    let Some(begin) = DateTime::<Utc>::from_timestamp(1_735_689_600, 0) else {
        return true;
    };
    let end = begin + TimeDelta::days(3660);
    let next = |slot: &DateTime<Utc>| schedule.next_after(*slot).map(|next| next.to_utc());
    let mut slots = std::iter::successors(next(&begin), next)
        .take(11_000)
        .take_while(|slot| *slot < end)
        .peekable();
    // A schedule rarer than that cannot be judged so.
    slots.peek().is_none()
        || slots.any(|slot| {
            let ends = window_end(schedule, slot, window);
            !matches!(admit(slot, ends, blackouts), Admission::Skip(_))
        })
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
fn to_the_second(moment: &DateTime<Tz>) -> impl fmt::Display {
    moment.format("%Y-%m-%d %H:%M:%S %:z")
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blackout { until, window_ends } => write!(
                f,
                "{BLACKOUT}{}, and the job's window ends at {}",
                to_the_second(until),
                to_the_second(window_ends)
            ),
            Self::WindowOver { ended } => write!(
                f,
                "the job's window ended at {} before the run could start",
                to_the_second(ended)
            ),
            Self::StillAtWork { slot, since } => write!(
                f,
                "the run that was due at {} is still in progress, since {}",
                to_the_second(slot),
                to_the_second(since)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta, Utc};
    use chrono_tz::Tz;
    use proptest::prelude::*;

    use std::time::Duration;

    use super::{Admission, AtWork, admit, can_ever_start, overlap};
    use crate::policy::{Blackouts, Schedule};

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    /// In Riyadh: from 05:00 to 15:00 UTC.
    fn office() -> Blackouts {
        let window = "08:00-18:00".parse().unwrap();
        Blackouts::new(vec![window], Tz::Asia__Riyadh).unwrap()
    }

    #[test]
    fn a_run_starts_waits_or_is_skipped_by_its_window_and_the_blackout() {
        let decide = |now: &str, ends: &str| match admit(at(now), at(ends), &office()) {
            Admission::Start => "starts".to_owned(),
            Admission::Wait(until) => format!("waits until {until}"),
            Admission::Skip(reason) => reason.to_string(),
        };
        let table = [
            ("2025-07-09T04:59:59Z", "2025-07-09T05:00:00Z", "starts"),
            (
                "2025-07-09T05:00:00Z",
                "2025-07-09T15:00:01Z",
                "waits until 2025-07-09 15:00:00 UTC",
            ),
            (
                "2025-07-09T05:00:00Z",
                "2025-07-09T15:00:00Z",
                "no run starts before the blackout ends at 2025-07-09 18:00:00 +03:00, and the \
                 job's window ends at 2025-07-09 18:00:00 +03:00",
            ),
            (
                "2025-07-09T04:00:00Z",
                "2025-07-09T04:00:00Z",
                "the job's window ended at 2025-07-09 07:00:00 +03:00 before the run could start",
            ),
            (
                "2025-07-09T16:00:00Z",
                "2025-07-09T15:00:00Z",
                "the job's window ended at 2025-07-09 18:00:00 +03:00 before the run could start",
            ),
        ];
        for (now, ends, decision) in table {
            assert_eq!(decide(now, ends), decision, "at {now}, window to {ends}");
        }
    }

    #[test]
    fn a_schedule_whose_every_slot_is_held_beyond_its_window_never_starts() {
        let starts = |schedule: &str, hours: u64, windows: &[&str]| {
            let schedule = Schedule::parse(schedule, Tz::Europe__Berlin).unwrap();
            let windows = windows.iter().map(|text| text.parse().unwrap()).collect();
            let blackouts = Blackouts::new(windows, Tz::Europe__Berlin).unwrap();
            can_ever_start(&schedule, Duration::from_secs(hours * 60 * 60), &blackouts)
        };
        assert!(starts("0 2 * * *", 6, &[]));
        assert!(starts("0 2 * * *", 7, &["00:00-08:00"]));
        assert!(!starts("0 2 * * *", 6, &["00:00-08:00"]));
        assert!(starts("0 2 * * *", 6, &["Mon-Sat 00:00-08:00"]));
        assert!(!starts("0 2 * * 0", 6, &["Sun 00:00-08:00"]));
        assert!(starts("0 2 1 * *", 6, &["Sun-Fri 00:00-08:00"]));
        assert!(starts(
            "* * * * *",
            6,
            &["Mon-Sat 00:00-24:00", "Sun 00:00-23:59"]
        ));
        // Only on the day on which the clock is put forward is the window long enough.
        assert!(!starts("30 1 * * *", 6, &["00:00-08:00"]));
    }

    #[test]
    fn a_job_that_is_still_at_work_is_not_started_again() {
        assert_eq!(overlap(None, Tz::UTC), None);
        let at_work = AtWork {
            slot: at("2025-07-08T23:00:00Z"),
            since: at("2025-07-08T23:00:04Z"),
        };
        let reason = overlap(Some(at_work), Tz::Asia__Riyadh).unwrap();
        assert_eq!(
            reason.to_string(),
            "the run that was due at 2025-07-09 02:00:00 +03:00 is still in progress, since \
             2025-07-09 02:00:04 +03:00"
        );
    }

    proptest! {
        #[test]
        fn who_waits_can_start_when_the_wait_is_over(now in 0i64..604_800, window in -10i64..200_000) {
            let now = at("2025-07-07T00:00:00Z") + TimeDelta::seconds(now);
            let ends = now + TimeDelta::seconds(window);
            match admit(now, ends, &office()) {
                Admission::Start => prop_assert_eq!(office().ends_after(now), None),
                Admission::Wait(until) => {
                    prop_assert!(until > now && until < ends);
                    prop_assert_eq!(admit(until, ends, &office()), Admission::Start);
                }
                Admission::Skip(_) => {
                    prop_assert!(office().ends_after(now).is_none_or(|until| until >= ends));
                }
            }
        }
    }
}
