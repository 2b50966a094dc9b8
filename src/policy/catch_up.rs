//! What of a job's schedule was missed, and how long a run may wait for its turn.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::Schedule;

/// The one slot to catch up: the newest at or before `now`, if it is later than `known`.
///
/// `known` is the later of two moments: since when the job is known to be in force with this very
/// schedule, and the newest slot that was carried out. Nothing was missed where neither is known,
/// nor where `known` lies ahead of `now`: then the clock was put back, and what it shows has been
/// there before.
pub fn missed(
    schedule: &Schedule,
    known: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    let known = known?;
    let latest = schedule.latest_at_or_before(now)?.to_utc();
    (latest > known).then_some(latest)
}

/// When the window of a slot ends: so long after it, but not later than the next slot, which has
/// the same work to do.
///
/// For a catch-up run, `slot` is the moment at which it is taken up: its
/// own window is long over.
pub fn window_end(schedule: &Schedule, slot: DateTime<Utc>, window: Duration) -> DateTime<Utc> {
    let end = TimeDelta::from_std(window)
        .ok()
        .and_then(|window| slot.checked_add_signed(window))
        .unwrap_or(DateTime::<Utc>::MAX_UTC);
    match schedule.next_after(slot) {
        Some(next) => end.min(next.to_utc()),
        None => end,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::{DateTime, TimeDelta, Utc};
    use chrono_tz::Tz;
    use proptest::prelude::*;

    use super::{missed, window_end};
    use crate::policy::Schedule;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    /// Every day at 02:00 in Riyadh, 23:00 UTC of the day before.
    fn daily() -> Schedule {
        Schedule::parse("0 2 * * *", Tz::Asia__Riyadh).unwrap()
    }

    #[test]
    fn only_the_newest_slot_is_made_up_for_and_only_if_it_was_not_carried_out() {
        let now = "2025-07-09T06:00:00Z";
        let newest = "2025-07-08T23:00:00Z";
        let table = [
            (
                "one slot was missed",
                Some("2025-07-07T23:00:00Z"),
                now,
                Some(newest),
            ),
            (
                "a month was missed",
                Some("2025-06-07T23:00:00Z"),
                now,
                Some(newest),
            ),
            ("nothing was missed", Some(newest), now, None),
            ("the job is new", Some("2025-07-09T05:00:00Z"), now, None),
            ("nothing is known", None, now, None),
            (
                "this very moment",
                Some("2025-07-07T23:00:00Z"),
                newest,
                Some(newest),
            ),
            (
                "the clock was put back",
                Some("2025-07-09T06:00:01Z"),
                now,
                None,
            ),
            (
                "the clock is at 1970",
                Some(newest),
                "1970-01-01T00:10:00Z",
                None,
            ),
            (
                "the clock jumped to 2099",
                Some(newest),
                "2099-01-01T00:00:00Z",
                Some("2098-12-31T23:00:00Z"),
            ),
        ];
        for (case, known, now, slot) in table {
            let found = missed(&daily(), known.map(at), at(now));
            assert_eq!(found, slot.map(at), "{case}");
        }
    }

    #[test]
    fn a_window_ends_at_the_next_slot_at_the_latest() {
        let slot = at("2025-07-08T23:00:00Z");
        let hours = |hours: u64| Duration::from_secs(hours * 60 * 60);
        assert_eq!(
            window_end(&daily(), slot, hours(6)),
            at("2025-07-09T05:00:00Z")
        );
        assert_eq!(
            window_end(&daily(), slot, hours(48)),
            at("2025-07-09T23:00:00Z")
        );
        assert_eq!(
            window_end(&daily(), slot, Duration::MAX),
            at("2025-07-09T23:00:00Z")
        );
    }

    proptest! {
        #[test]
        fn what_was_made_up_for_is_not_missed_again(
            known in 0i64..2_000_000_000, later in 0i64..10_000_000,
            pattern in prop::sample::select(&["0 2 * * *", "*/15 * * * *", "0 3 * * 0", "0 4 1 * *"][..]),
            zone in prop::sample::select(&[Tz::Asia__Riyadh, Tz::Europe__Berlin][..]),
        ) {
            let schedule = Schedule::parse(pattern, zone).unwrap();
            let known = DateTime::from_timestamp(known, 0).unwrap();
            let now = known + TimeDelta::seconds(later);
            match missed(&schedule, Some(known), now) {
                Some(slot) => {
                    prop_assert!(known < slot && slot <= now);
                    prop_assert_eq!(missed(&schedule, Some(slot), now), None);
                }
                None => prop_assert!(schedule.next_after(known).unwrap() > now),
            }
        }
    }
}
