use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use proptest::prelude::*;

use super::{
    RunEnd, Slot, SlotPromise, SlotRun, SlotTally, SuccessRate, in_force_by_record, series_slots,
    share, slots_between,
};
use crate::policy::{Blackouts, Schedule, SkipReason, TAKEN_OUT};

const HOUR: Duration = Duration::from_secs(60 * 60);

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// A moment of July 2025.
fn july(day: u32, time: &str) -> DateTime<Utc> {
    at(&format!("2025-07-{day:02}T{time}:00Z"))
}

/// A run for the slot of a day.
fn due(day: u32, end: RunEnd) -> SlotRun {
    SlotRun {
        at: july(day, "02:00"),
        is_scheduled: true,
        end,
    }
}

/// What became of the slots from 2 July to 7 July at noon, the grace an hour and the window six.
fn outcomes(blackout: &[&str], since: Option<DateTime<Utc>>, runs: &[SlotRun]) -> String {
    let schedule = Schedule::parse("0 2 * * *", Tz::UTC).unwrap();
    let windows = blackout.iter().map(|text| text.parse().unwrap()).collect();
    let blackouts = Blackouts::new(windows, Tz::UTC).unwrap();
    let (after, now) = (july(1, "12:00"), july(7, "12:00"));
    let promise = SlotPromise {
        grid: &slots_between(&schedule, after, now),
        schedule: &schedule,
        blackouts: &blackouts,
        window: HOUR * 6,
        allowed: HOUR,
        since,
    };
    shown(&series_slots(&[promise], runs, (after, now)))
}

/// The days with a letter for what became of them.
fn shown(slots: &[Slot]) -> String {
    let one = |slot: &Slot| format!("{}{}", slot.at.format("%-d"), &slot.outcome.word()[..1]);
    let words: Vec<String> = slots.iter().map(one).collect();
    words.join(" ")
}

use RunEnd::{Excused, Failed, Omitted, Running, Succeeded};

#[test]
fn p18_a_slot_is_done_by_any_attempt_and_missed_without_one() {
    let always = Some(july(1, "00:00"));
    let by_hand = |day, time| SlotRun {
        at: july(day, time),
        is_scheduled: false,
        end: Succeeded,
    };
    let good = [2, 3, 4, 5, 6, 7].map(|day| due(day, Succeeded));
    let table: [(&str, &[SlotRun], &str); 8] = [
        ("a good week", &good, "2d 3d 4d 5d 6d 7d"),
        ("nothing ran", &[], "2m 3m 4m 5m 6m 7m"),
        (
            "failed, and done by a retry, in whatever order",
            &[
                due(3, Failed),
                due(3, Succeeded),
                due(4, Succeeded),
                due(4, Failed),
            ],
            "2m 3d 4d 5m 6m 7m",
        ),
        (
            "failed for good",
            &[due(3, Failed), due(3, Failed)],
            "2m 3f 4m 5m 6m 7m",
        ),
        (
            "not started: no turn in time, a blackout",
            &[
                due(3, Omitted),
                due(4, Excused),
                due(5, Failed),
                due(5, Omitted),
            ],
            "2m 3m 4s 5f 6m 7m",
        ),
        (
            "still running, and running once more after a failure",
            &[due(6, Failed), due(6, Running), due(7, Running)],
            "2m 3m 4m 5m 6p 7p",
        ),
        (
            "made by hand before the next slot",
            &[due(3, Failed), by_hand(3, "23:00"), by_hand(6, "01:59")],
            "2m 3d 4m 5d 6m 7m",
        ),
        (
            "a run for a moment that is no slot has its own",
            &[SlotRun {
                at: july(4, "09:00"),
                ..due(4, Failed)
            }],
            "2m 3m 4m 4f 5m 6m 7m",
        ),
    ];
    for (what, runs, expected) in table {
        assert_eq!(outcomes(&[], always, runs), expected, "{what}");
    }
}

#[test]
fn slots_before_the_schedule_are_known_from_the_ledger_alone() {
    let runs = [due(3, Succeeded), due(5, Failed)];
    let table = [
        (Some(july(6, "03:00")), "3d 5f 7m"),
        (Some(july(7, "03:00")), "3d 5f"),
        (None, "3d 5f"),
    ];
    for (since, expected) in table {
        assert_eq!(outcomes(&[], since, &runs), expected, "{since:?}");
    }
}

#[test]
fn a_slot_in_a_blackout_waits_for_its_end_or_does_not_count() {
    let always = Some(july(1, "00:00"));
    // The window ends at 08:00.
    assert_eq!(outcomes(&["00:00-10:00"], always, &[]), "2s 3s 4s 5s 6s 7s");
    assert_eq!(outcomes(&["00:00-04:00"], always, &[]), "2m 3m 4m 5m 6m 7m");
    // 7 July is a Monday. It may start at 07:30, and be there at 08:30.
    let late = Schedule::parse("0 2 * * *", Tz::UTC).unwrap();
    let blackouts = Blackouts::new(vec!["Mon 00:00-07:30".parse().unwrap()], Tz::UTC).unwrap();
    let at_time = |time| {
        let (after, now) = (july(6, "12:00"), july(7, time));
        let promise = SlotPromise {
            grid: &slots_between(&late, after, now),
            schedule: &late,
            blackouts: &blackouts,
            window: HOUR * 6,
            allowed: HOUR,
            since: always,
        };
        shown(&series_slots(&[promise], &[], (after, now)))
    };
    assert_eq!(at_time("01:59"), "");
    assert_eq!(at_time("08:29"), "7p");
    assert_eq!(at_time("08:30"), "7m");
}

#[test]
fn the_reason_on_record_decides_whether_a_skipped_run_counts() {
    let then = july(3, "08:00").with_timezone(&Tz::UTC);
    let table = [
        (
            SkipReason::Blackout {
                until: then,
                window_ends: then,
            }
            .to_string(),
            Excused,
        ),
        (SkipReason::WindowOver { ended: then }.to_string(), Omitted),
        (
            SkipReason::StillAtWork {
                slot: then,
                since: then,
            }
            .to_string(),
            Omitted,
        ),
        (TAKEN_OUT.to_owned(), Excused),
        (String::new(), Omitted),
    ];
    for (reason, end) in table {
        assert_eq!(RunEnd::of_skipped(&reason), end, "{reason}");
    }
}

#[test]
fn without_a_note_of_it_the_record_shows_since_when_a_schedule_is_in_force() {
    let schedule = Schedule::parse("0 2 * * *", Tz::UTC).unwrap();
    let grid = slots_between(&schedule, july(1, "12:00"), july(7, "12:00"));
    let off = |day| SlotRun {
        at: july(day, "05:00"),
        ..due(day, Succeeded)
    };
    let by_hand = SlotRun {
        is_scheduled: false,
        ..due(2, Succeeded)
    };
    let table: [(&[SlotRun], Option<DateTime<Utc>>); 4] = [
        (&[], None),
        (&[by_hand], None),
        (&[due(5, Failed), due(3, Failed)], Some(july(3, "02:00"))),
        (
            &[due(3, Failed), off(4), due(6, Failed)],
            Some(july(6, "02:00")),
        ),
    ];
    for (runs, expected) in table {
        let expected = expected.map(|slot| slot - TimeDelta::seconds(1));
        assert_eq!(in_force_by_record(&grid, runs), expected, "{runs:?}");
    }
    assert_eq!(in_force_by_record(&[], &[due(5, Failed)]), None);
}

#[test]
fn p18_a_rate_of_99_9_percent_with_30_slots_means_no_failed_slot() {
    let rate = |thousandths| SuccessRate::from_thousandths(thousandths).unwrap();
    let tally = |done, failed, missed| SlotTally {
        done,
        failed,
        missed,
        skipped: 5,
        pending: 1,
    };
    let table = [
        (99_900, tally(30, 0, 0), Some(true)),
        (99_900, tally(29, 1, 0), Some(false)),
        (99_900, tally(29, 0, 1), Some(false)),
        (99_900, tally(999, 1, 0), Some(true)),
        (99_900, tally(998, 1, 1), Some(false)),
        (90_000, tally(27, 2, 1), Some(true)),
        (90_000, tally(26, 2, 2), Some(false)),
        (100_000, tally(100_000, 0, 1), Some(false)),
        (99_900, tally(0, 0, 0), None),
    ];
    for (thousandths, tally, met) in table {
        assert_eq!(tally.meets(rate(thousandths)), met, "{tally:?}");
    }
    assert_eq!(rate(99_900).to_string(), "99.9 %");
    assert_eq!(rate(99_995).to_string(), "99.995 %");
    assert_eq!(rate(100_000).to_string(), "100 %");
    assert_eq!(SuccessRate::from_thousandths(0), None);
    assert_eq!(SuccessRate::from_thousandths(100_001), None);
    assert_eq!(share(29, 30).as_deref(), Some("96.6 %"));
    assert_eq!(share(99_999, 100_000).as_deref(), Some("99.9 %"));
    assert_eq!(share(30, 30).as_deref(), Some("100 %"));
    assert_eq!(share(0, 0), None);
}

fn any_end() -> impl Strategy<Value = RunEnd> {
    prop::sample::select(&[Excused, Omitted, Failed, Running, Succeeded][..])
}

proptest! {
    #[test]
    fn every_promised_slot_is_there_once_and_more_successes_make_nothing_worse(
        since in 0i64..20, length in 0i64..40, better in 0i64..40,
        runs in prop::collection::vec((0i64..40, any_end()), 0..60),
    ) {
        let schedule = Schedule::parse("0 2 * * *", Tz::Europe__Berlin).unwrap();
        let blackouts = Blackouts::none(Tz::Europe__Berlin);
        // The clocks change on 30 March.
        let begin = at("2025-03-20T00:00:00Z");
        let now = begin + TimeDelta::days(length);
        let grid = slots_between(&schedule, begin, now);
        let promise = SlotPromise {
            grid: &grid,
            schedule: &schedule,
            blackouts: &blackouts,
            window: HOUR * 6,
            allowed: HOUR,
            since: Some(begin + TimeDelta::days(since)),
        };
        let all = slots_between(&schedule, begin, begin + TimeDelta::days(41));
        let slot = |day: i64| all[usize::try_from(day).unwrap()];
        let mut runs: Vec<SlotRun> = runs
            .into_iter()
            .map(|(day, end)| SlotRun { at: slot(day), is_scheduled: true, end })
            .collect();
        let before = series_slots(&[promise], &runs, (begin, now));
        prop_assert!(before.windows(2).all(|pair| pair[0].at < pair[1].at));
        for at in &grid {
            let is_known = *at > begin + TimeDelta::days(since)
                || runs.iter().any(|run| run.at == *at);
            prop_assert_eq!(before.iter().any(|slot| slot.at == *at), is_known);
        }
        let tally = SlotTally::of(&before);
        prop_assert_eq!(tally.counted() + tally.skipped + tally.pending, before.len() as u64);
        runs.push(SlotRun { at: slot(better), is_scheduled: true, end: Succeeded });
        let after = SlotTally::of(&series_slots(&[promise], &runs, (begin, now)));
        prop_assert!(after.done >= tally.done);
        prop_assert!(after.without_backup() <= tally.without_backup());
        prop_assert_eq!(
            after.meets(SuccessRate::from_thousandths(100_000).unwrap()).unwrap_or(true),
            after.without_backup() == 0
        );
    }
}
