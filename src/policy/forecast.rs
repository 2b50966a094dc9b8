//! When a file system is going to be full, by the backups that are scheduled and what retention removes of them.
//!
//! Every backup to come is taken to be as large as the newest of its series. Retention is not estimated:
//! the days to come are played through with [`decide`], so that a pin, a loss or a rule that keeps months
//! counts as it will.

use std::num::NonZeroU32;

use chrono::{DateTime, TimeDelta, Utc};

use super::{Candidate, ClockTrust, Rules, Schedule, decide};

/// So many days are played through.
pub const FORECAST_DAYS: usize = 7;

/// More backups of one series in a day than this are taken for this many.
const MOST_A_DAY: usize = 1440;

/// What a day does to the free space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DayOfSpace {
    /// Bytes of new backups.
    pub written: u64,
    /// Bytes of the backups that retention removes.
    pub freed: u64,
}

impl DayOfSpace {
    /// Adds what another series, or another database, does on the same day.
    pub fn add(&mut self, other: Self) {
        self.written = self.written.saturating_add(other.written);
        self.freed = self.freed.saturating_add(other.freed);
    }
}

/// The days to come, the first of which begins now.
pub type SpaceDays = [DayOfSpace; FORECAST_DAYS];

/// A series of a database, and how it goes on.
pub struct GrowingSeries<'a> {
    /// Its backups, and the bytes of each.
    pub backups: Vec<(Candidate<'a>, u64)>,
    /// What it keeps.
    pub rules: &'a Rules,
    /// How many verified backups it keeps at least.
    pub floor: NonZeroU32,
    /// When it gets further backups.
    pub schedules: Vec<&'a Schedule>,
    /// Bytes of each of them.
    pub next_bytes: u64,
}

impl GrowingSeries<'_> {
    /// What the series does to the free space, day by day.
    pub fn days(&self, now: DateTime<Utc>) -> SpaceDays {
        let mut days = SpaceDays::default();
        let names: Vec<Vec<(DateTime<Utc>, String)>> = (0..FORECAST_DAYS)
            .map(|day| self.slots_of(now, day))
            .collect();
        let mut kept = self.backups.clone();
        for ((day, slots), number) in days.iter_mut().zip(&names).zip(1..) {
            kept.extend(
                slots
                    .iter()
                    .map(|(at, name)| (self.made_at(*at, name), self.next_bytes)),
            );
            day.written = self.next_bytes.saturating_mul(slots.len() as u64);
            if slots.is_empty() {
                // Retention follows a run.
                continue;
            }
            let candidates: Vec<Candidate<'_>> = kept.iter().map(|(one, _)| one.clone()).collect();
            let end = now + TimeDelta::days(number);
            let decision = decide(&candidates, self.rules, self.floor, end, ClockTrust::Always);
            let removed: Vec<&str> = decision.removed().map(|verdict| verdict.name).collect();
            kept.retain(|(one, bytes)| {
                let goes = removed.contains(&one.name);
                if goes {
                    day.freed = day.freed.saturating_add(*bytes);
                }
                !goes
            });
        }
        days
    }

    /// The slots of a day, each with a name for its backup.
    fn slots_of(&self, now: DateTime<Utc>, day: usize) -> Vec<(DateTime<Utc>, String)> {
        let start = now + TimeDelta::days(i64::try_from(day).unwrap_or_default());
        let end = start + TimeDelta::days(1);
        let of_schedule = |schedule: &Schedule| {
            let next = |after: &DateTime<Utc>| Some(schedule.next_after(*after)?.to_utc());
            std::iter::successors(next(&start), next)
                .take_while(|slot| *slot <= end)
                .take(MOST_A_DAY)
                .collect::<Vec<_>>()
        };
        let mut slots: Vec<_> = self
            .schedules
            .iter()
            .copied()
            .flat_map(of_schedule)
            .collect();
        slots.sort_unstable();
        slots.dedup();
        let named = |slot: DateTime<Utc>| (slot, format!("to come {}", slot.timestamp()));
        slots.into_iter().map(named).collect()
    }

    fn made_at<'n>(&self, at: DateTime<Utc>, name: &'n str) -> Candidate<'n> {
        let zone = self.schedules.first().map(|schedule| schedule.zone());
        Candidate {
            name,
            started: at,
            local: zone.map_or(at.naive_utc(), |zone| at.with_timezone(&zone).naive_local()),
            verified: true,
            read: true,
            partial: false,
            pinned: false,
            held: false,
            being_copied: false,
            awaits_copy: false,
        }
    }
}

/// In how many days, rounded up, so much free space is used up; none if it lasts for all of these days.
/// `largest` is the largest backup of a day: each run removes what it can only after it has written its own.
pub fn days_until_full(free: u64, days: &SpaceDays, largest: u64) -> Option<u64> {
    let mut left = i128::from(free);
    for (day, number) in days.iter().zip(1..) {
        let peak = if day.written > 0 { largest } else { 0 };
        left += i128::from(day.freed) - i128::from(day.written);
        // The last backup of the day is counted in both.
        let at_its_peak = left - i128::from(peak.min(day.freed));
        if left < 0 || at_its_peak < 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const NOON: &str = "2026-11-30T12:00:00Z";

    fn now() -> DateTime<Utc> {
        NOON.parse().unwrap()
    }

    fn schedule(text: &str) -> Schedule {
        Schedule::parse(text, chrono_tz::UTC).unwrap()
    }

    /// A series with `count` backups of `bytes`, one a day until now, of which it keeps those `within` days.
    fn days(count: i64, bytes: u64, (within, text): (u64, &str)) -> SpaceDays {
        let names: Vec<String> = (0..count)
            .map(|number| format!("backup {number}"))
            .collect();
        let rules = Rules {
            within: Some(Duration::from_secs(within * 86_400)),
            ..Rules::default()
        };
        let schedule = schedule(text);
        let mut series = GrowingSeries {
            backups: Vec::new(),
            rules: &rules,
            floor: NonZeroU32::MIN,
            schedules: vec![&schedule],
            next_bytes: bytes,
        };
        let backups = names.iter().zip(0..).map(|(name, number)| {
            let age = TimeDelta::hours(10) + TimeDelta::days(number);
            (series.made_at(now() - age, name), bytes)
        });
        series.backups = backups.collect();
        series.days(now())
    }

    #[test]
    fn a_day_writes_what_is_scheduled_and_frees_what_retention_removes() {
        let day = |written, freed| DayOfSpace { written, freed };
        for (count, schedule, expected) in [
            // Nothing is old enough within a week.
            (3, (30, "0 2 * * *"), [day(10, 0); 7]),
            // As many go as come.
            (30, (30, "0 2 * * *"), [day(10, 10); 7]),
            (
                10,
                (30, "0 3 * * SUN"),
                [
                    day(0, 0),
                    day(0, 0),
                    day(0, 0),
                    day(0, 0),
                    day(0, 0),
                    day(10, 0),
                    day(0, 0),
                ],
            ),
            (0, (30, "0 */6 * * *"), [day(40, 0); 7]),
        ] {
            assert_eq!(days(count, 10, schedule), expected, "{count} {schedule:?}");
        }
    }

    #[test]
    fn a_file_system_is_full_on_the_day_on_which_a_backup_does_not_fit() {
        let day = |written, freed| DayOfSpace { written, freed };
        let table = [
            (100, [day(10, 0); 7], 10, None),
            (70, [day(10, 0); 7], 10, None),
            (69, [day(10, 0); 7], 10, Some(7)),
            (25, [day(10, 0); 7], 10, Some(3)),
            (9, [day(10, 0); 7], 10, Some(1)),
            // As much is freed as is written, but only after it.
            (10, [day(10, 10); 7], 10, None),
            (9, [day(10, 10); 7], 10, Some(1)),
            (0, [day(0, 0); 7], 10, None),
            // A hundred databases write one after the other, and each frees its own.
            (10, [day(1000, 1000); 7], 10, None),
        ];
        for (free, days, largest, expected) in table {
            assert_eq!(
                days_until_full(free, &days, largest),
                expected,
                "{free} {days:?}"
            );
        }
    }

    /// A year of daily backups of which 30 are kept, each a thousandth larger than the first: the disk
    /// fills once, and that is known days before, and on no other day.
    #[test]
    fn p14_in_a_year_of_growth_the_forecast_comes_days_before_the_disk_is_full_and_never_else() {
        let rules = Rules {
            within: Some(Duration::from_secs(30 * 86_400)),
            ..Rules::default()
        };
        let daily = schedule("0 2 * * *");
        let bytes = |day: u32| 1_000_000 + u64::from(day) * 1000;
        let disk: u64 = 41_500_000;
        let mut kept: Vec<(u32, u64)> = Vec::new();
        let mut warned = Vec::new();
        let mut full = None;
        for day in 0..365_u32 {
            let now = now() + TimeDelta::days(i64::from(day));
            kept.retain(|(made, _)| day - made <= 30);
            kept.push((day, bytes(day)));
            let used: u64 = kept.iter().map(|(_, bytes)| bytes).sum();
            let Some(free) = disk.checked_sub(used) else {
                full = Some(day);
                break;
            };
            let names: Vec<String> = kept.iter().map(|(made, _)| made.to_string()).collect();
            let mut series = GrowingSeries {
                backups: Vec::new(),
                rules: &rules,
                floor: NonZeroU32::MIN,
                schedules: vec![&daily],
                next_bytes: bytes(day),
            };
            let backups = kept.iter().zip(&names).map(|((made, bytes), name)| {
                let age = TimeDelta::hours(10) + TimeDelta::days(i64::from(day - made));
                (series.made_at(now - age, name), *bytes)
            });
            series.backups = backups.collect();
            if days_until_full(free, &series.days(now), series.next_bytes).is_some() {
                warned.push(day);
            }
        }
        let full = full.expect("it fills");
        let first = *warned.first().expect("it is foreseen");
        assert!(
            (2..60).contains(&(full - first)),
            "{warned:?}, full on day {full}"
        );
        let all: Vec<u32> = (first..full).collect();
        assert_eq!(warned, all, "once, until it is full");
    }

    proptest! {
        #[test]
        fn more_free_space_never_lasts_for_less(
            free in 0_u64..1000,
            more in 0_u64..1000,
            written in prop::array::uniform7(0_u64..200),
            freed in prop::array::uniform7(0_u64..200),
        ) {
            let mut days = SpaceDays::default();
            for (day, (written, freed)) in days.iter_mut().zip(written.into_iter().zip(freed)) {
                *day = DayOfSpace { written, freed };
            }
            let lasts = |free| days_until_full(free, &days, 20).unwrap_or(u64::MAX);
            prop_assert!(lasts(free + more) >= lasts(free));
        }

        #[test]
        fn what_is_freed_was_there_or_was_written(
            count in 0_i64..40,
            within in 1_u64..40,
            hours in 1_u32..24,
        ) {
            let days = days(count, 7, (within, &format!("0 */{hours} * * *")));
            let written: u64 = days.iter().map(|day| day.written).sum();
            let freed: u64 = days.iter().map(|day| day.freed).sum();
            prop_assert!(freed <= written + 7 * u64::try_from(count).unwrap());
        }
    }
}
