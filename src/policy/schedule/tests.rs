use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use super::{Schedule, ScheduleError};

fn runs(pattern: &str, zone: Tz, after: &str, count: usize) -> Vec<String> {
    let schedule = Schedule::parse(pattern, zone).unwrap();
    let mut moment: DateTime<Utc> = after.parse().unwrap();
    let mut found = Vec::new();
    for _ in 0..count {
        let next = schedule.next_after(moment).unwrap();
        found.push(next.to_rfc3339());
        moment = next.to_utc();
    }
    found
}

#[test]
fn riyadh_has_the_same_hour_all_the_year() {
    let after = "2025-03-29T12:00:00Z";
    assert_eq!(
        runs("0 2 * * *", Tz::Asia__Riyadh, after, 2),
        ["2025-03-30T02:00:00+03:00", "2025-03-31T02:00:00+03:00"]
    );
    assert_eq!(
        runs("0 3 * * 0", Tz::Asia__Riyadh, after, 2),
        ["2025-03-30T03:00:00+03:00", "2025-04-06T03:00:00+03:00"]
    );
}

#[test]
fn a_time_that_the_clock_jumps_over_runs_right_after_the_gap() {
    assert_eq!(
        runs("30 2 * * *", Tz::Europe__Berlin, "2025-03-29T12:00:00Z", 2),
        ["2025-03-30T03:00:00+02:00", "2025-03-31T02:30:00+02:00"]
    );
    assert_eq!(
        runs(
            "30 2 * * *",
            Tz::America__New_York,
            "2025-03-08T12:00:00Z",
            2
        ),
        ["2025-03-09T03:00:00-04:00", "2025-03-10T02:30:00-04:00"]
    );
}

#[test]
fn a_time_that_comes_twice_runs_once() {
    assert_eq!(
        runs("30 2 * * *", Tz::Europe__Berlin, "2025-10-25T12:00:00Z", 2),
        ["2025-10-26T02:30:00+02:00", "2025-10-27T02:30:00+01:00"]
    );
    assert_eq!(
        runs(
            "30 1 * * *",
            Tz::America__New_York,
            "2025-11-01T12:00:00Z",
            2
        ),
        ["2025-11-02T01:30:00-04:00", "2025-11-03T01:30:00-05:00"]
    );
}

#[test]
fn an_interval_leaves_out_the_gap_and_repeats_the_overlap() {
    assert_eq!(
        runs(
            "*/30 * * * *",
            Tz::Europe__Berlin,
            "2025-03-30T00:15:00Z",
            3
        ),
        [
            "2025-03-30T01:30:00+01:00",
            "2025-03-30T03:00:00+02:00",
            "2025-03-30T03:30:00+02:00"
        ]
    );
    assert_eq!(
        runs("0 * * * *", Tz::Europe__Berlin, "2025-10-25T23:30:00Z", 3),
        [
            "2025-10-26T02:00:00+02:00",
            "2025-10-26T02:00:00+01:00",
            "2025-10-26T03:00:00+01:00"
        ]
    );
}

#[test]
fn a_day_that_the_zone_leaves_out_has_no_run_and_the_next_day_has_its_own() {
    assert_eq!(
        runs("0 2 * * *", Tz::Pacific__Apia, "2011-12-29T00:00:00Z", 3),
        [
            "2011-12-29T02:00:00-10:00",
            "2011-12-31T02:00:00+14:00",
            "2012-01-01T02:00:00+14:00"
        ]
    );
    assert_eq!(
        runs("0 0 * * *", Tz::Pacific__Apia, "2011-12-29T12:00:00Z", 1),
        ["2011-12-31T00:00:00+14:00"],
        "midnight is the very moment at which the gap ends"
    );
    assert_eq!(
        runs("45 23 * * *", Tz::Pacific__Apia, "2011-12-29T12:00:00Z", 3),
        [
            "2011-12-29T23:45:00-10:00",
            "2011-12-31T23:45:00+14:00",
            "2012-01-01T23:45:00+14:00"
        ],
        "a quarter of an hour before the gap ends"
    );
    assert_eq!(
        runs("0 2 30 12 *", Tz::Pacific__Apia, "2011-06-01T00:00:00Z", 1),
        ["2012-12-30T02:00:00+14:00"]
    );
}

#[test]
fn both_day_fields_mean_either_as_in_crontab() {
    assert_eq!(
        runs("0 4 13 * FRI", Tz::UTC, "2025-06-10T00:00:00Z", 3),
        [
            "2025-06-13T04:00:00+00:00",
            "2025-06-20T04:00:00+00:00",
            "2025-06-27T04:00:00+00:00"
        ]
    );
}

#[test]
fn the_next_run_is_strictly_later_even_from_within_its_second() {
    assert_eq!(
        runs("0 2 * * *", Tz::UTC, "2025-01-01T02:00:00.5Z", 1),
        ["2025-01-02T02:00:00+00:00"]
    );
}

proptest::proptest! {
    #[test]
    fn any_pattern_is_refused_or_has_a_next_run(
        text in "[0-9*]{1,2}[-/,]?[0-9]{0,2} [0-9*]{1,2}[-/]?[0-9]? [0-9*LW?]{1,2} [0-9*]{1,2} [0-9*#L+]{1,3}",
    ) {
        if let Ok(schedule) = Schedule::parse(&text, Tz::Europe__Berlin) {
            let now = "2025-03-01T00:00:00Z".parse().unwrap();
            proptest::prop_assert!(schedule.next_after(now).is_some_and(|next| next > now));
            proptest::prop_assert!(!schedule.describe().is_empty());
        }
    }
}

fn latest(pattern: &str, zone: Tz, moment: &str) -> Option<String> {
    let schedule = Schedule::parse(pattern, zone).unwrap();
    schedule
        .latest_at_or_before(moment.parse().unwrap())
        .map(|run| run.to_rfc3339())
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn the_latest_run_is_the_one_at_or_before_the_moment() {
    let table = [
        (
            "0 2 * * *",
            Tz::Asia__Riyadh,
            "2025-07-08T23:00:00Z",
            "2025-07-09T02:00:00+03:00",
        ),
        (
            "0 2 * * *",
            Tz::Asia__Riyadh,
            "2025-07-08T22:59:59.999Z",
            "2025-07-08T02:00:00+03:00",
        ),
        (
            "* * * * *",
            Tz::UTC,
            "2025-07-08T22:59:59.999Z",
            "2025-07-08T22:59:00+00:00",
        ),
        (
            "0 0 29 2 *",
            Tz::UTC,
            "2104-02-28T23:59:59Z",
            "2096-02-29T00:00:00+00:00",
        ),
        (
            "0 0 29 2 +MON",
            Tz::UTC,
            "2051-12-31T00:00:00Z",
            "2044-02-29T00:00:00+00:00",
        ),
        // The last of a crowd a year ago.
        (
            "* * 1 1 *",
            Tz::UTC,
            "2025-12-31T23:59:59Z",
            "2025-01-01T23:59:00+00:00",
        ),
        // In the gap the run is at its end; the time that comes twice has one run.
        (
            "30 2 * * *",
            Tz::Europe__Berlin,
            "2025-03-30T01:00:00Z",
            "2025-03-30T03:00:00+02:00",
        ),
        (
            "30 2 * * *",
            Tz::Europe__Berlin,
            "2025-10-26T01:45:00Z",
            "2025-10-26T02:30:00+02:00",
        ),
        (
            "0 * * * *",
            Tz::Europe__Berlin,
            "2025-10-26T01:45:00Z",
            "2025-10-26T02:00:00+01:00",
        ),
        // The 30th was left out.
        (
            "0 2 * * *",
            Tz::Pacific__Apia,
            "2011-12-30T11:00:00Z",
            "2011-12-29T02:00:00-10:00",
        ),
        (
            "0 2 30 12 *",
            Tz::Pacific__Apia,
            "2012-06-01T00:00:00Z",
            "2010-12-30T02:00:00-10:00",
        ),
    ];
    for (pattern, zone, moment, run) in table {
        assert_eq!(
            latest(pattern, zone, moment).as_deref(),
            Some(run),
            "{pattern} in {zone} at {moment}"
        );
    }
}

/// Zones with gaps and overlaps of an hour, of half an hour, at midnight, and of a whole day.
const ZONES: [Tz; 9] = [
    Tz::UTC,
    Tz::Asia__Riyadh,
    Tz::Europe__Berlin,
    Tz::America__New_York,
    Tz::America__Sao_Paulo,
    Tz::Australia__Lord_Howe,
    Tz::Africa__Casablanca,
    Tz::Asia__Tehran,
    Tz::Pacific__Apia,
];

/// Changes of those zones' clocks.
const CHANGES: [&str; 12] = [
    "2025-03-30T01:00:00Z",
    "2025-10-26T01:00:00Z",
    "2025-03-09T07:00:00Z",
    "2025-11-02T06:00:00Z",
    "2018-02-18T02:00:00Z",
    "2018-11-04T03:00:00Z",
    "2025-04-05T15:00:00Z",
    "2025-10-04T15:30:00Z",
    "2025-02-23T02:00:00Z",
    "2025-04-06T02:00:00Z",
    "2022-03-21T20:30:00Z",
    "2011-12-30T10:00:00Z",
];

/// A moment within hours of a change, or any from 1975 to 2095, in seconds since 1970.
fn moment() -> impl proptest::strategy::Strategy<Value = i64> {
    use proptest::prelude::*;
    let near = (proptest::sample::select(&CHANGES[..]), -20_000..40_000_i64);
    prop_oneof![
        3 => near.prop_map(|(change, seconds)| {
            change.parse::<DateTime<Utc>>().unwrap().timestamp() + seconds
        }),
        1 => 157_766_400..3_944_678_400_i64,
    ]
}

/// A field of a pattern that is often `*`.
fn field(first: u32, last: u32) -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    prop_oneof![
        Just("*".to_owned()),
        (first..=last).prop_map(|value| value.to_string()),
        (first..=last, first..=last).prop_map(|(one, other)| format!("{one},{other}")),
        (first..=last, 1..=last / 2).prop_map(move |(from, step)| {
            let step = step.min(last - from).max(1);
            if from == last {
                from.to_string()
            } else {
                format!("{from}-{last}/{step}")
            }
        }),
    ]
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(2000))]
    #[test]
    fn the_latest_run_and_the_next_agree(
        minute in field(0, 59), hour in field(0, 23), day in field(1, 31), month in field(1, 12),
        weekday in field(0, 6), zone in proptest::sample::select(&ZONES[..]), at in moment(),
        nanos in proptest::sample::select(&[0u32, 1, 999_999_999][..]),
    ) {
        let text = format!("{minute} {hour} {day} {month} {weekday}");
        let Ok(schedule) = Schedule::parse(&text, zone) else { return Ok(()) };
        let at = DateTime::<Utc>::from_timestamp(at, nanos).unwrap();
        let latest = schedule.latest_at_or_before(at).unwrap();
        proptest::prop_assert!(latest <= at, "{latest} is later");
        let before = latest.to_utc() - chrono::TimeDelta::seconds(1);
        proptest::prop_assert_eq!(schedule.next_after(before), Some(latest));
        let next = schedule.next_after(latest.to_utc());
        proptest::prop_assert!(next.is_none_or(|next| next > at), "{next:?} comes between");
        // Whoever starts earlier, or between, comes to the same runs.
        proptest::prop_assert_eq!(schedule.next_after(at), next);
        let mut walked = schedule.next_after(at - chrono::TimeDelta::hours(3));
        while walked.is_some_and(|run| run <= at) {
            let run = walked.unwrap();
            walked = schedule.next_after(run.to_utc());
            if walked.is_some_and(|next| next > at) {
                proptest::prop_assert_eq!(run, latest);
            }
        }
        proptest::prop_assert_eq!(walked, next);
    }
}

#[test]
fn every_wrong_pattern_is_refused_with_its_reason() {
    let reasons = [
        ("", "five fields"),
        ("0 2 * *", "not 4"),
        ("0 0 2 * * *", "perhaps you mean \"0 2 * * *\""),
        ("*/90 * * * *", "step of 90"),
        ("*/60 * * * *", "step of 60"),
        ("0 */24 * * *", "step of 24"),
        ("0-10/11 * * * *", "step of 11"),
        ("*/0 * * * *", "step of zero"),
        ("5/10 * * * *", "5-59/10"),
        ("60 * * * *", "from 0 to 59"),
        ("0 24 * * *", "from 0 to 23"),
        ("0 0 0 * *", "from 1 to 31"),
        ("0 0 * 13 *", "from 1 to 12"),
        ("0 0 * * 8", "from 0 to 7"),
        ("0 22-6 * * *", "22-23,0-6"),
        ("0 0 * * SAT-MON", "6-7,0-1"),
        ("0 0 * * MONDAY", "SUN"),
        ("0 2 1,, * *", "nothing"),
        ("0 2 30 2 *", "never run"),
        ("0 2 31 4,6,9,11 *", "never run"),
        ("@reboot", "@daily"),
        ("0 2 * * * # daily", "not 7"),
    ];
    for (pattern, reason) in reasons {
        let error = Schedule::parse(pattern, Tz::UTC)
            .expect_err(pattern)
            .to_string();
        assert!(
            error.contains(reason),
            "{pattern:?} is refused with {error:?}"
        );
    }
}

#[test]
fn sound_patterns_are_accepted() {
    let good = [
        "0 2 29 2 *",
        "0 0 29 2 MON",
        "@daily",
        "@Midnight",
        "*/59 * * * *",
        "0 0 L * *",
        "0 3 * * fri#L",
        "0 3 1-7 * +SUN",
        "0 0 15W * *",
        "0 0 * jan-mar mon-fri",
        "0 0 * * fri-sun",
        "0 0 30 2 1",
    ];
    for pattern in good {
        assert!(
            Schedule::parse(pattern, Tz::Asia__Riyadh).is_ok(),
            "{pattern}"
        );
    }
    assert_eq!(
        Schedule::parse("0 2 30 2 *", Tz::UTC).err(),
        Some(ScheduleError::Impossible)
    );
}

#[test]
fn a_schedule_reads_as_a_sentence() {
    let sentences = [
        ("0 2 * * *", "every day at 02:00"),
        ("@daily", "every day at 00:00"),
        ("0 3 * * 0", "every Sunday at 03:00"),
        ("0 3 * * 7", "every Sunday at 03:00"),
        (
            "30 22 * * mon-fri",
            "every Monday, Tuesday, Wednesday, Thursday and Friday at 22:30",
        ),
        ("0 5 1 * *", "on day 1 of every month at 05:00"),
        (
            "0 5 1,15 1,7 *",
            "on days 1 and 15 of January and July at 05:00",
        ),
        (
            "0 4 13 * FRI",
            "on day 13 of every month and on every Friday at 04:00",
        ),
        ("0 0 * 12 *", "every day in December at 00:00"),
        ("0 2,14 * * *", "every day at 02:00 and 14:00"),
        ("*/15 * * * *", "every 15 minutes"),
        ("* * * * *", "every minute"),
        ("5 * * * *", "every hour at minute 5"),
        ("10 */6 * * *", "every 6 hours at minute 10"),
        ("0 * * * 0", "every hour at minute 0, every Sunday"),
    ];
    for (pattern, sentence) in sentences {
        assert_eq!(
            Schedule::parse(pattern, Tz::UTC).unwrap().describe(),
            sentence,
            "{pattern}"
        );
    }
    let rare = Schedule::parse("0 3 * * fri#L", Tz::UTC)
        .unwrap()
        .describe();
    assert!(
        !rare.is_empty(),
        "what has no sentence of ours has croner's"
    );
}
