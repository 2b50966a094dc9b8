//! What is late: a series without the backup that its schedule promises, and a database whose
//! newest backup, or newest test restore, is older than it may be.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;

use super::{Blackouts, Schedule};
use crate::display::{rough_span, span};

/// What a job promises of its series: a success for each slot.
#[derive(Clone, Copy, Debug)]
pub struct Promise<'a> {
    /// When it is due.
    pub schedule: &'a Schedule,
    /// When it does not start: its slots within a blackout count from the blackout's end.
    pub blackouts: &'a Blackouts,
    /// How long after its slot it may be done: its random delay at most, and the grace.
    pub allowed: Duration,
    /// Since when the job is known to be in force with this schedule; slots before that moment were
    /// not promised. None when it always was.
    pub since: Option<DateTime<Utc>>,
}

/// A slot that has no success although it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overdue {
    /// The newest slot whose success is overdue.
    pub slot: DateTime<Tz>,
    /// When the newest success before it began; none where there is none at all.
    pub newest: Option<DateTime<Tz>>,
}

impl Promise<'_> {
    /// Whether a success is overdue at `now`. `newest_success` is when the newest success of the
    /// series *began*: what began before a slot holds nothing of what came between.
    ///
    /// A run that is at work is not asked about here: it has no success yet.
    pub fn overdue(
        &self,
        newest_success: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Option<Overdue> {
        let slot = self.newest_due(now)?;
        let in_force = self.since.is_none_or(|since| since < slot);
        let missing = newest_success.is_none_or(|newest| newest < slot);
        (in_force && missing).then(|| {
            let zone = self.schedule.zone();
            Overdue {
                slot: slot.with_timezone(&zone),
                newest: newest_success.map(|newest| newest.with_timezone(&zone)),
            }
        })
    }

    /// The newest slot whose success should be there at `now`.
    fn newest_due(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let allowed = TimeDelta::from_std(self.allowed).ok()?;
        let moment = now.checked_sub_signed(allowed)?;
        // A slot within a blackout that lasts at that moment may have waited for its end; those
        // before the blackout's beginning had their time.
        let moment = match self.blackouts.holding_since(moment) {
            Some(began) => began - TimeDelta::seconds(1),
            None => moment,
        };
        Some(self.schedule.latest_at_or_before(moment)?.to_utc())
    }
}

impl fmt::Display for Overdue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slot = self.slot.format("%a %Y-%m-%d %H:%M %:z");
        write!(f, "the run that was due at {slot} has not succeeded")?;
        match &self.newest {
            Some(newest) => write!(
                f,
                "; the newest one is of {}",
                newest.format("%a %Y-%m-%d %H:%M %:z")
            ),
            None => f.write_str(", and there was none before"),
        }
    }
}

/// Why a database's newest sound backup is not new enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PointMissed {
    /// There is none.
    NoBackup,
    /// It is too old.
    TooOld {
        /// How old it is, to the second.
        age: Duration,
        /// How old it may be, without the grace.
        target: Duration,
    },
}

/// Measures a database against its recovery-point target (P18): why its newest sound backup, of
/// any series, is not new enough, or none where it is. `newest_sound` is when that backup began.
///
/// A backup that began ahead of `now` counts as new: a clock that was put back makes none older.
pub fn recovery_point(
    newest_sound: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
    target: Duration,
    grace: Duration,
) -> Option<PointMissed> {
    let Some(newest) = newest_sound else {
        return Some(PointMissed::NoBackup);
    };
    let age = (now - newest).to_std().unwrap_or(Duration::ZERO);
    (age > target.saturating_add(grace)).then(|| PointMissed::TooOld {
        age: Duration::from_secs(age.as_secs()),
        target,
    })
}

/// Why the newest test restore of a database is not new enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrillMissed {
    /// There is none, and there have been backups for so long.
    Never {
        /// For how long, to the second.
        age: Duration,
        /// How old the newest may be, without the grace.
        limit: Duration,
    },
    /// It is too old.
    TooOld {
        /// How old it is, to the second.
        age: Duration,
        /// How old it may be, without the grace.
        limit: Duration,
    },
}

/// Holds a database's test restores against the age that the newest may have (P9): why it is not
/// new enough, or none where it is.
///
/// `newest_result` is when the newest test restore ended that came to a result, a good one or a bad
/// one: one that could not be made shows nothing. Where there is none, the age counts from
/// `backups_since`, when the database is known to have had backups first; none where there is
/// nothing to restore.
#[expect(
    clippy::too_many_arguments,
    reason = "two moments and two durations, and the time"
)]
pub fn drill_age(
    newest_result: Option<DateTime<Utc>>,
    backups_since: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
    limit: Duration,
    grace: Duration,
) -> Option<DrillMissed> {
    let counted_from = newest_result.or(backups_since)?;
    let age = (now - counted_from).to_std().unwrap_or(Duration::ZERO);
    let missed = age > limit.saturating_add(grace);
    let age = Duration::from_secs(age.as_secs());
    missed.then_some(match newest_result {
        Some(_) => DrillMissed::TooOld { age, limit },
        None => DrillMissed::Never { age, limit },
    })
}

impl fmt::Display for DrillMissed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = match self {
            Self::Never { age, limit } => {
                write!(
                    f,
                    "there have been backups for {}, and no drill has come to a result",
                    rough_span(*age)
                )?;
                limit
            }
            Self::TooOld { age, limit } => {
                write!(
                    f,
                    "the last drill that came to a result was {} ago",
                    rough_span(*age)
                )?;
                limit
            }
        };
        write!(f, "; objectives.drill_age allows {}", span(*limit))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::{DateTime, TimeDelta, Utc};
    use chrono_tz::Tz;
    use proptest::prelude::*;

    use super::{PointMissed, Promise, drill_age, recovery_point};
    use crate::policy::{Blackouts, Schedule};

    const HOUR: Duration = Duration::from_secs(60 * 60);

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn overdue(
        blackout: &[&str],
        since: Option<&str>,
        newest: Option<&str>,
        now: &str,
    ) -> Option<String> {
        let schedule = Schedule::parse("0 2 * * *", Tz::Asia__Riyadh).unwrap();
        let windows = blackout.iter().map(|text| text.parse().unwrap()).collect();
        let blackouts = Blackouts::new(windows, Tz::Asia__Riyadh).unwrap();
        let promise = Promise {
            schedule: &schedule,
            blackouts: &blackouts,
            allowed: HOUR,
            since: since.map(at),
        };
        promise
            .overdue(newest.map(at), at(now))
            .map(|overdue| overdue.to_string())
    }

    #[test]
    fn a_slot_without_a_success_is_overdue_once_the_grace_is_over() {
        let yesterday = Some("2025-07-07T23:00:05Z");
        let today = Some("2025-07-08T23:00:05Z");
        assert_eq!(overdue(&[], None, yesterday, "2025-07-08T23:59:59Z"), None);
        assert_eq!(
            overdue(&[], None, yesterday, "2025-07-09T00:00:00Z").as_deref(),
            Some(
                "the run that was due at Wed 2025-07-09 02:00 +03:00 has not succeeded; the \
                 newest one is of Tue 2025-07-08 02:00 +03:00"
            )
        );
        assert_eq!(overdue(&[], None, today, "2025-07-09T22:00:00Z"), None);
        assert_eq!(
            overdue(&[], None, None, "2025-07-09T22:00:00Z").as_deref(),
            Some(
                "the run that was due at Wed 2025-07-09 02:00 +03:00 has not succeeded, and \
                 there was none before"
            )
        );
        // What began just before the slot is not the slot's.
        let early = Some("2025-07-08T22:59:59Z");
        assert!(overdue(&[], None, early, "2025-07-09T00:00:00Z").is_some());
        let due = Some("2025-07-08T23:00:00Z");
        assert_eq!(overdue(&[], None, due, "2025-07-09T00:00:00Z"), None);
    }

    #[test]
    fn a_slot_from_before_the_job_was_in_force_is_not_overdue() {
        let now = "2025-07-09T22:00:00Z";
        assert_eq!(overdue(&[], Some("2025-07-09T08:00:00Z"), None, now), None);
        assert!(overdue(&[], Some("2025-07-08T08:00:00Z"), None, now).is_some());
    }

    #[test]
    fn a_slot_within_a_blackout_counts_from_its_end() {
        // To 06:00 in Riyadh, which is 03:00 UTC; the grace is an hour.
        let night = &["22:00-06:00"];
        let yesterday = Some("2025-07-08T03:00:05Z");
        assert_eq!(
            overdue(night, None, yesterday, "2025-07-09T00:00:00Z"),
            None
        );
        assert_eq!(
            overdue(night, None, yesterday, "2025-07-09T03:59:59Z"),
            None
        );
        assert!(overdue(night, None, yesterday, "2025-07-09T04:00:00Z").is_some());
        let today = Some("2025-07-09T03:00:05Z");
        assert_eq!(overdue(night, None, today, "2025-07-09T04:00:00Z"), None);
        // While the next blackout lasts, the slot before it stays overdue.
        let missing = overdue(night, None, yesterday, "2025-07-10T01:00:00Z").unwrap();
        assert!(missing.contains("due at Wed 2025-07-09 02:00"), "{missing}");
    }

    #[test]
    fn a_database_is_measured_by_the_age_of_its_newest_sound_backup() {
        let table = [
            (Some("2025-07-08T23:00:00Z"), "2025-07-09T23:00:00Z", None),
            (Some("2025-07-08T23:00:00Z"), "2025-07-10T00:00:00Z", None),
            (
                Some("2025-07-08T23:00:00Z"),
                "2025-07-10T00:00:00.1Z",
                Some(PointMissed::TooOld {
                    age: HOUR * 25,
                    target: HOUR * 24,
                }),
            ),
            (None, "2025-07-10T00:00:00Z", Some(PointMissed::NoBackup)),
            (Some("2025-07-08T23:00:00Z"), "1970-01-01T00:00:00Z", None),
        ];
        for (newest, now, missed) in table {
            let found = recovery_point(newest.map(at), at(now), HOUR * 24, HOUR);
            assert_eq!(found, missed, "{newest:?} at {now}");
        }
    }

    #[test]
    fn a_test_restore_is_measured_by_the_age_of_the_newest_with_a_result() {
        let long_ago = Some("2025-01-01T00:00:00Z");
        let table = [
            // To the second of the limit and the grace, and beyond it.
            (
                Some("2025-06-01T00:00:00Z"),
                long_ago,
                "2025-07-06T01:00:00Z",
                None,
            ),
            (
                Some("2025-06-01T00:00:00Z"),
                long_ago,
                "2025-07-06T01:00:01Z",
                Some(
                    "the last drill that came to a result was 35 days ago; \
                     objectives.drill_age allows 35 days",
                ),
            ),
            // Where there never was one, it counts from the first backup.
            (
                None,
                Some("2025-06-01T00:00:00Z"),
                "2025-07-06T01:00:00Z",
                None,
            ),
            (
                None,
                Some("2025-06-01T00:00:00Z"),
                "2025-07-11T01:00:00Z",
                Some(
                    "there have been backups for 40 days, and no drill has come to a \
                     result; objectives.drill_age allows 35 days",
                ),
            ),
            // Without a backup there is nothing to restore.
            (None, None, "2036-01-01T00:00:00Z", None),
            // A clock that was put back makes none older.
            (
                Some("2025-06-01T00:00:00Z"),
                long_ago,
                "1970-01-01T00:00:00Z",
                None,
            ),
        ];
        for (newest, since, now, missed) in table {
            let found = drill_age(newest.map(at), since.map(at), at(now), HOUR * 24 * 35, HOUR);
            assert_eq!(
                found.map(|missed| missed.to_string()).as_deref(),
                missed,
                "{newest:?} at {now}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_success_after_the_blackout_of_the_overdue_slot_settles_it(
            now in 0i64..31_536_000, newest in 0i64..31_536_000, allowed in 0u64..100_000,
            pattern in prop::sample::select(&["0 2 * * *", "*/15 * * * *", "30 2 * * 0"][..]),
            window in prop::sample::select(&["22:00-06:00", "Sun 00:00-24:00", "02:00-02:30"][..]),
        ) {
            let zone = Tz::Europe__Berlin;
            let schedule = Schedule::parse(pattern, zone).unwrap();
            let blackouts = Blackouts::new(vec![window.parse().unwrap()], zone).unwrap();
            let allowed = Duration::from_secs(allowed);
            let promise = Promise { schedule: &schedule, blackouts: &blackouts, allowed, since: None };
            let begin = at("2025-01-01T00:00:00Z");
            let now = begin + TimeDelta::seconds(now);
            let newest = begin + TimeDelta::seconds(newest);
            // The rule as it reads, slot by slot: each slot is to be done so long after it, or
            // after the end of the blackout that holds it.
            let released = |slot| blackouts.ends_after(slot).unwrap_or(slot);
            let due = |slot| released(slot) + TimeDelta::from_std(allowed).unwrap() <= now;
            let mut slot = schedule.latest_at_or_before(now).unwrap().to_utc();
            while !due(slot) {
                slot = schedule.latest_at_or_before(slot - TimeDelta::seconds(1)).unwrap().to_utc();
            }
            let found = promise.overdue(Some(newest), now);
            prop_assert_eq!(found.map(|found| found.slot.to_utc()), (newest < slot).then_some(slot));
        }
    }
}
