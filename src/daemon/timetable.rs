//! When every job is due: pure bookkeeping over schedules, given the time by whoever asks.
//!
//! The wall clock may be set back or forward, or stand still while the machine sleeps. The rules:
//! - A job is due when its next slot has come. However many slots have gone by since it was looked
//!   at, it is due once, for the newest of them.
//! - A slot that is only found when it is long past was missed: what becomes of it is for the rules
//!   of catching up to say, as after a start.
//! - A clock set back by less than [`REPEAT_AFTER`] does not repeat a slot: that is a correction of
//!   the clock. One set back further was wrong before, and the schedule starts from the new time.

use chrono::{DateTime, Duration, Utc};
use uuid::Uuid;

use crate::policy::Schedule;

/// A clock that is set back by this or more starts the schedules again; it is the limit by which
/// cron tells a correction from a new time (cron(8), Debian).
pub(super) const REPEAT_AFTER: Duration = Duration::hours(3);

/// A slot found later than this was passed over, by a sleep of the machine or a clock that was set:
/// otherwise it is found within seconds.
const LATE: Duration = Duration::minutes(1);

/// Every job in force, each with its next slot.
#[derive(Clone, Debug, Default)]
pub(super) struct Timetable {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    id: Uuid,
    job: String,
    schedule: Schedule,
    /// The newest slot that was due.
    last: Option<DateTime<Utc>>,
    /// None only beyond the calendar's end.
    next: Option<DateTime<Utc>>,
}

/// One job coming due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Due {
    /// The job's entry.
    pub id: Uuid,
    /// The job's name.
    pub job: String,
    /// The slot of its schedule.
    pub slot: DateTime<Utc>,
    /// Whether the slot was passed over, and is found only now.
    pub was_missed: bool,
}

impl Timetable {
    /// Puts a job in, due from its first slot after now.
    #[expect(
        clippy::too_many_arguments,
        reason = "what an entry is made of, and the time"
    )]
    pub(super) fn insert(&mut self, id: Uuid, job: &str, schedule: Schedule, now: DateTime<Utc>) {
        self.entries.push(Entry {
            id,
            job: job.to_owned(),
            next: next(&schedule, None, now),
            last: None,
            schedule,
        });
    }

    /// Takes a job out.
    pub(super) fn remove(&mut self, id: Uuid) {
        self.entries.retain(|entry| entry.id != id);
    }

    /// The jobs that are due, in the order of their slots. Each is given once for a slot.
    pub(super) fn take_due(&mut self, now: DateTime<Utc>) -> Vec<Due> {
        let mut due = Vec::new();
        for entry in &mut self.entries {
            let Some(slot) = entry.next.filter(|slot| *slot <= now) else {
                continue;
            };
            // After a sleep or a jump of the clock, the newest of the slots that went by.
            let newest = entry
                .schedule
                .latest_at_or_before(now)
                .map_or(slot, |newest| newest.to_utc().max(slot));
            entry.last = Some(newest);
            entry.next = next(&entry.schedule, entry.last, now);
            due.push(Due {
                id: entry.id,
                job: entry.job.clone(),
                slot: newest,
                was_missed: now - newest > LATE,
            });
        }
        due.sort_by(|a, b| (a.slot, &a.job).cmp(&(b.slot, &b.job)));
        due
    }

    /// Calculates every next slot again, after the clock was set.
    pub(super) fn calculate_again(&mut self, now: DateTime<Utc>) {
        for entry in &mut self.entries {
            // A slot that has come but was not taken yet stays due.
            if entry.next.is_none_or(|next| next > now) {
                entry.next = next(&entry.schedule, entry.last, now);
            }
        }
    }

    /// The first slot of all.
    pub(super) fn first(&self) -> Option<DateTime<Utc>> {
        self.entries.iter().filter_map(|entry| entry.next).min()
    }

    /// Every job with its next slot.
    pub(super) fn upcoming(&self) -> Vec<(String, Option<DateTime<Utc>>)> {
        self.entries
            .iter()
            .map(|entry| (entry.job.clone(), entry.next))
            .collect()
    }
}

/// The next slot after now, and not one that was due already unless the clock was set back so far
/// that its days begin again.
fn next(
    schedule: &Schedule,
    last: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    let from = match last {
        Some(last) if last > now && last - now < REPEAT_AFTER => last,
        _ => now,
    };
    schedule.next_after(from).map(|next| next.to_utc())
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Duration, TimeZone, Utc};
    use chrono_tz::Tz;
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::{REPEAT_AFTER, Timetable};
    use crate::policy::Schedule;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn timetable(pattern: &str, now: DateTime<Utc>) -> Timetable {
        let mut timetable = Timetable::default();
        let schedule = Schedule::parse(pattern, Tz::Asia__Riyadh).unwrap();
        timetable.insert(Uuid::from_u128(1), "daily", schedule, now);
        timetable
    }

    fn slots(timetable: &mut Timetable, now: &str) -> Vec<String> {
        timetable
            .take_due(at(now))
            .iter()
            .map(|due| due.slot.to_rfc3339())
            .collect()
    }

    #[test]
    fn a_slot_that_is_found_late_was_missed() {
        for (found, was_missed) in [
            ("2025-07-08T23:00:10Z", false),
            ("2025-07-08T23:01:01Z", true),
            ("2025-07-10T22:59:59Z", true),
            // Two days late, and right at the newest slot.
            ("2025-07-10T23:00:00Z", false),
        ] {
            let mut daily = timetable("0 2 * * *", at("2025-07-08T12:00:00Z"));
            let due = daily.take_due(at(found));
            assert_eq!(due[0].was_missed, was_missed, "{found}");
        }
    }

    #[test]
    fn a_job_is_due_once_for_a_slot() {
        let mut daily = timetable("0 2 * * *", at("2025-07-08T12:00:00Z"));
        assert_eq!(daily.first(), Some(at("2025-07-08T23:00:00Z")));
        assert!(slots(&mut daily, "2025-07-08T22:59:59.9Z").is_empty());
        assert_eq!(
            slots(&mut daily, "2025-07-08T23:00:00.2Z"),
            ["2025-07-08T23:00:00+00:00"]
        );
        assert!(slots(&mut daily, "2025-07-08T23:00:01Z").is_empty());
        assert_eq!(daily.first(), Some(at("2025-07-09T23:00:00Z")));
    }

    #[test]
    fn slots_that_were_slept_through_are_due_once_for_the_newest() {
        let mut daily = timetable("0 2 * * *", at("2025-07-08T12:00:00Z"));
        assert_eq!(
            slots(&mut daily, "2025-07-20T08:00:00Z"),
            ["2025-07-19T23:00:00+00:00"]
        );
        assert_eq!(daily.first(), Some(at("2025-07-20T23:00:00Z")));
    }

    #[test]
    fn a_clock_set_back_a_little_repeats_nothing() {
        let mut daily = timetable("0 2 * * *", at("2025-07-08T12:00:00Z"));
        slots(&mut daily, "2025-07-08T23:00:00.2Z");
        daily.calculate_again(at("2025-07-08T22:59:50Z"));
        assert!(slots(&mut daily, "2025-07-08T23:00:00Z").is_empty());
        daily.calculate_again(at("2025-07-08T20:00:01Z"));
        assert_eq!(daily.first(), Some(at("2025-07-09T23:00:00Z")));
    }

    #[test]
    fn a_clock_that_was_far_ahead_starts_again_from_the_right_time() {
        let mut daily = timetable("0 2 * * *", at("2025-07-08T12:00:00Z"));
        assert_eq!(
            slots(&mut daily, "2099-01-01T00:00:00Z"),
            ["2098-12-31T23:00:00+00:00"]
        );
        assert_eq!(daily.first(), Some(at("2099-01-01T23:00:00Z")));
        daily.calculate_again(at("2025-07-08T12:00:30Z"));
        assert_eq!(daily.first(), Some(at("2025-07-08T23:00:00Z")));
        daily.calculate_again(at("1970-01-01T00:00:00Z"));
        assert_eq!(daily.first(), Some(at("1970-01-01T23:00:00Z")));
    }

    #[test]
    fn a_slot_that_came_while_the_clock_was_set_stays_due() {
        let mut daily = timetable("0 2 * * *", at("2025-07-08T12:00:00Z"));
        daily.calculate_again(at("2025-07-09T10:00:00Z"));
        assert_eq!(
            slots(&mut daily, "2025-07-09T10:00:00Z"),
            ["2025-07-08T23:00:00+00:00"]
        );
    }

    #[test]
    fn a_removed_job_is_never_due() {
        let mut daily = timetable("* * * * *", at("2025-07-08T12:00:00Z"));
        daily.remove(Uuid::from_u128(1));
        assert_eq!(daily.first(), None);
        assert!(slots(&mut daily, "2025-07-08T13:00:00Z").is_empty());
    }

    proptest! {
        /// Whatever the clock does in steps of less than the limit, no slot is due twice.
        #[test]
        fn no_slot_is_due_twice_while_the_clock_is_only_corrected(
            steps in prop::collection::vec(-3 * 3600_i64 + 1..26 * 3600, 1..60),
            pattern in prop::sample::select(vec!["0 2 * * *", "*/7 * * * *", "30 */2 * * *"]),
        ) {
            let start = Utc.with_ymd_and_hms(2025, 3, 1, 0, 0, 0).unwrap();
            let mut timetable = timetable(pattern, start);
            let mut newest = start;
            let mut seen = std::collections::BTreeSet::new();
            for step in steps {
                // Not further back than the limit from the newest time that was ever seen.
                let now = (newest + Duration::seconds(step)).max(newest - REPEAT_AFTER + Duration::seconds(1));
                timetable.calculate_again(now);
                for due in timetable.take_due(now) {
                    prop_assert!(due.slot <= now);
                    prop_assert!(seen.insert(due.slot), "{} twice", due.slot);
                }
                newest = newest.max(now);
            }
        }

        /// A clock that only goes on, however it leaps, leaves no newest slot out.
        #[test]
        fn the_newest_slot_is_never_left_out(
            steps in prop::collection::vec(0_i64..90 * 3600, 1..60),
        ) {
            let mut now = Utc.with_ymd_and_hms(2025, 3, 1, 0, 0, 0).unwrap();
            let schedule = Schedule::parse("0 2 * * *", Tz::Asia__Riyadh).unwrap();
            let mut timetable = timetable("0 2 * * *", now);
            for step in steps {
                let before = now;
                now += Duration::seconds(step);
                let due = timetable.take_due(now);
                let latest = schedule.latest_at_or_before(now).unwrap().to_utc();
                if latest > before {
                    prop_assert_eq!(due.len(), 1);
                    prop_assert_eq!(due[0].slot, latest);
                } else {
                    prop_assert!(due.is_empty());
                }
            }
        }
    }
}
