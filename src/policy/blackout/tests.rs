//! Blackout windows: what may be written, and which moments they hold.

use chrono::{DateTime, Datelike, TimeDelta, Timelike, Utc};
use chrono_tz::Tz;
use proptest::prelude::*;

use super::{Blackout, BlackoutError, Blackouts};

fn blackouts(windows: &[&str], zone: Tz) -> Blackouts {
    let windows = windows.iter().map(|text| text.parse().unwrap()).collect();
    Blackouts::new(windows, zone).unwrap()
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

#[test]
fn what_is_written_comes_back_in_its_simplest_form() {
    let table = [
        ("08:00-18:00", "08:00-18:00"),
        ("8:00-18:00", "08:00-18:00"),
        ("Mon-Sun 08:00-18:00", "08:00-18:00"),
        ("  mon-FRI   08:00-18:00 ", "Mon-Fri 08:00-18:00"),
        ("Sat,Sun 22:00-02:00", "Sat,Sun 22:00-02:00"),
        ("Sun,Sat 22:00-02:00", "Sat,Sun 22:00-02:00"),
        ("Sat-Mon 22:00-24:00", "Mon,Sat,Sun 22:00-24:00"),
        ("Mon,Wed-Fri,Sun 00:00-24:00", "Mon,Wed-Fri,Sun 00:00-24:00"),
        ("22:00-00:00", "22:00-24:00"),
        ("Wed 00:00-00:01", "Wed 00:00-00:01"),
    ];
    for (written, simplest) in table {
        let window: Blackout = written.parse().unwrap();
        assert_eq!(window.to_string(), simplest, "{written:?}");
        assert_eq!(simplest.parse(), Ok(window), "{simplest:?}");
    }
}

#[test]
fn what_is_no_window_is_refused_with_its_reason() {
    let table = [
        ("", "two times"),
        ("Mon-Fri", "two times"),
        ("08:00", "two times"),
        ("08:00 - 18:00", "two times"),
        ("Mon Fri 08:00-18:00", "two times"),
        ("Monday 08:00-18:00", "unknown day of the week \"Monday\""),
        ("Mon-Fry 08:00-18:00", "unknown day of the week \"Fry\""),
        ("Mon, 08:00-18:00", "unknown day of the week \"\""),
        ("1-5 08:00-18:00", "unknown day of the week \"1\""),
        ("25:00-26:00", "invalid time \"25:00\""),
        ("08:00-24:01", "invalid time \"24:01\""),
        ("08:60-18:00", "invalid time \"08:60\""),
        ("24:00-08:00", "invalid time \"24:00\""),
        ("8-18:00", "invalid time \"8\""),
        ("08:0-18:00", "invalid time \"08:0\""),
        ("+8:00-18:00", "invalid time \"+8:00\""),
        ("08:00:00-18:00", "invalid time \"08:00:00\""),
        ("08:00-18:00-20:00", "invalid time \"18:00-20:00\""),
        ("08:00-08:00", "00:00-24:00"),
    ];
    for (text, reason) in table {
        let error = text.parse::<Blackout>().expect_err(text).to_string();
        assert!(error.contains(reason), "{text:?} is refused with {error:?}");
    }
}

#[test]
fn windows_that_leave_nothing_of_the_week_are_refused() {
    let whole: [&[&str]; 4] = [
        &["00:00-24:00"],
        &["00:00-12:00", "12:00-24:00"],
        &[
            "Mon-Fri 00:00-24:00",
            "Fri-Sun 12:00-12:01",
            "Sat,Sun 00:00-24:00",
        ],
        &["06:00-05:59", "05:30-06:00"],
    ];
    for windows in whole {
        let windows = windows.iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(
            Blackouts::new(windows, Tz::UTC),
            Err(BlackoutError::WholeWeek)
        );
    }
    let nearly = blackouts(&["Mon-Sat 00:00-24:00", "Sun 00:00-23:59"], Tz::UTC);
    assert_eq!(
        nearly.ends_after(at("2025-07-07T00:00:00Z")),
        Some(at("2025-07-13T23:59:00Z"))
    );
}

/// Windows, zone, moment, and where the blackout begins and ends that holds the moment.
type Held = (
    &'static [&'static str],
    Tz,
    &'static str,
    Option<(&'static str, &'static str)>,
);

const OFFICE: &[&str] = &["Mon-Fri 08:00-18:00"];
const NIGHT: &[&str] = &["Sun 22:00-02:00"];

const HELD: &[Held] = &[
    (&[], Tz::UTC, "2025-07-09T12:00:00Z", None),
    // Wednesday, in Riyadh: from 05:00 to 15:00 UTC; the end is free, the beginning is not.
    (
        OFFICE,
        Tz::Asia__Riyadh,
        "2025-07-09T05:00:00Z",
        Some(("2025-07-09T05:00:00Z", "2025-07-09T15:00:00Z")),
    ),
    (
        OFFICE,
        Tz::Asia__Riyadh,
        "2025-07-09T14:59:59.999Z",
        Some(("2025-07-09T05:00:00Z", "2025-07-09T15:00:00Z")),
    ),
    (OFFICE, Tz::Asia__Riyadh, "2025-07-09T04:59:59.999Z", None),
    (OFFICE, Tz::Asia__Riyadh, "2025-07-09T15:00:00Z", None),
    (OFFICE, Tz::UTC, "2025-07-12T12:00:00Z", None),
    // Past midnight belongs to Sunday, over the week's end.
    (
        NIGHT,
        Tz::UTC,
        "2025-07-14T01:00:00Z",
        Some(("2025-07-13T22:00:00Z", "2025-07-14T02:00:00Z")),
    ),
    (NIGHT, Tz::UTC, "2025-07-13T01:00:00Z", None),
    // Windows that touch, overlap or lie within another count as one, also over the week's end.
    (
        &[
            "Mon 10:00-12:00",
            "Mon 12:00-13:00",
            "Mon 09:00-11:00",
            "Mon 10:15-10:20",
        ],
        Tz::UTC,
        "2025-07-07T10:30:00Z",
        Some(("2025-07-07T09:00:00Z", "2025-07-07T13:00:00Z")),
    ),
    (
        &["Sun 20:00-24:00", "Mon 00:00-06:00"],
        Tz::UTC,
        "2025-07-13T23:00:00Z",
        Some(("2025-07-13T20:00:00Z", "2025-07-14T06:00:00Z")),
    ),
    // Berlin's gap: 02:00 to 03:00 is not there. Within the window, before its end, over it.
    (
        &["01:00-04:00"],
        Tz::Europe__Berlin,
        "2025-03-30T00:30:00Z",
        Some(("2025-03-30T00:00:00Z", "2025-03-30T02:00:00Z")),
    ),
    (
        &["22:00-02:30"],
        Tz::Europe__Berlin,
        "2025-03-30T00:30:00Z",
        Some(("2025-03-29T21:00:00Z", "2025-03-30T01:00:00Z")),
    ),
    (
        &["02:30-05:00"],
        Tz::Europe__Berlin,
        "2025-03-30T02:30:00Z",
        Some(("2025-03-30T01:00:00Z", "2025-03-30T03:00:00Z")),
    ),
    (
        &["01:00-02:00", "03:00-04:00"],
        Tz::Europe__Berlin,
        "2025-03-30T00:30:00Z",
        Some(("2025-03-30T00:00:00Z", "2025-03-30T02:00:00Z")),
    ),
    (
        &["02:00-03:00"],
        Tz::Europe__Berlin,
        "2025-03-30T01:00:00Z",
        None,
    ),
    // Berlin's overlap: 02:00 to 03:00 comes twice.
    (
        &["01:00-04:00"],
        Tz::Europe__Berlin,
        "2025-10-26T00:30:00Z",
        Some(("2025-10-25T23:00:00Z", "2025-10-26T03:00:00Z")),
    ),
    (
        &["02:15-02:45"],
        Tz::Europe__Berlin,
        "2025-10-26T00:30:00Z",
        Some(("2025-10-26T00:15:00Z", "2025-10-26T00:45:00Z")),
    ),
    (
        &["02:15-02:45"],
        Tz::Europe__Berlin,
        "2025-10-26T01:00:00Z",
        None,
    ),
    (
        &["02:15-02:45"],
        Tz::Europe__Berlin,
        "2025-10-26T01:30:00Z",
        Some(("2025-10-26T01:15:00Z", "2025-10-26T01:45:00Z")),
    ),
    (
        &["02:00-03:00"],
        Tz::Europe__Berlin,
        "2025-10-26T00:30:00Z",
        Some(("2025-10-26T00:00:00Z", "2025-10-26T02:00:00Z")),
    ),
    (
        &["22:00-02:30"],
        Tz::Europe__Berlin,
        "2025-10-26T00:29:59Z",
        Some(("2025-10-25T20:00:00Z", "2025-10-26T00:30:00Z")),
    ),
    (
        &["22:00-02:30"],
        Tz::Europe__Berlin,
        "2025-10-26T01:10:00Z",
        Some(("2025-10-26T01:00:00Z", "2025-10-26T01:30:00Z")),
    ),
    // The only free day of the week is left out: two weeks without a run.
    (
        &["Mon-Thu 00:00-24:00", "Sat,Sun 00:00-24:00"],
        Tz::Pacific__Apia,
        "2011-12-29T12:00:00Z",
        Some(("2011-12-24T10:00:00Z", "2012-01-05T10:00:00Z")),
    ),
];

#[test]
fn a_blackout_begins_and_ends_where_its_windows_say() {
    for (windows, zone, moment, held) in HELD {
        let blackouts = blackouts(windows, *zone);
        let found = blackouts
            .holding_since(at(moment))
            .zip(blackouts.ends_after(at(moment)));
        let held = held.map(|(since, until)| (at(since), at(until)));
        assert_eq!(found, held, "{windows:?} in {zone} at {moment}");
        assert_eq!(blackouts.ends_after(at(moment)).is_some(), held.is_some());
    }
}

/// A window as numbers: the days, and minutes from midnight.
#[derive(Clone, Debug)]
struct Plain {
    days: Vec<usize>,
    from: u32,
    to: u32,
}

impl Plain {
    fn text(&self) -> String {
        let names = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
        let days: Vec<&str> = self.days.iter().map(|&day| names[day]).collect();
        let time = |minute: u32| format!("{:02}:{:02}", minute / 60, minute % 60);
        format!("{} {}-{}", days.join(","), time(self.from), time(self.to))
    }

    /// Whether the wall clock shows a time within it.
    fn holds(&self, moment: DateTime<Utc>, zone: Tz) -> bool {
        let wall = moment.with_timezone(&zone).naive_local();
        let minute = wall.hour() * 60 + wall.minute();
        let today = wall.weekday().num_days_from_monday() as usize;
        let yesterday = (today + 6) % 7;
        if self.from < self.to {
            self.days.contains(&today) && (self.from..self.to).contains(&minute)
        } else {
            (self.days.contains(&today) && minute >= self.from)
                || (self.days.contains(&yesterday) && minute < self.to)
        }
    }
}

fn plain() -> impl Strategy<Value = Plain> {
    let time = || {
        (
            0u32..24,
            prop::sample::select(&[0u32, 0, 15, 30, 45, 59][..]),
        )
    };
    (prop::collection::vec(0usize..7, 1..7), time(), time())
        .prop_map(|(days, from, to)| Plain {
            days,
            from: from.0 * 60 + from.1,
            to: to.0 * 60 + to.1,
        })
        .prop_filter("a window lasts", |window| window.from != window.to)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn a_blackout_ends_at_the_first_minute_that_the_wall_clock_shows_outside(
        windows in prop::collection::vec(plain(), 1..5),
        zone in prop::sample::select(&[
            Tz::Asia__Riyadh, Tz::Europe__Berlin, Tz::America__Sao_Paulo, Tz::Australia__Lord_Howe,
            Tz::Pacific__Apia,
        ][..]),
        change in prop::sample::select(&[
            "2025-03-30T01:00:00Z", "2025-10-26T01:00:00Z", "2018-02-18T02:00:00Z",
            "2018-11-04T03:00:00Z", "2025-04-05T15:00:00Z", "2025-10-04T15:30:00Z",
            "2011-12-30T10:00:00Z",
        ][..]),
        minutes in -3000i64..3000, seconds in 0i64..60,
    ) {
        let texts: Vec<Blackout> = windows.iter().map(|w| w.text().parse().unwrap()).collect();
        let holds = |moment| windows.iter().any(|window| window.holds(moment, zone));
        let minute = at(change) + TimeDelta::minutes(minutes);
        let moment = minute + TimeDelta::seconds(seconds);
        match Blackouts::new(texts, zone) {
            Err(error) => {
                prop_assert_eq!(error, BlackoutError::WholeWeek);
                let week = (0..7 * 24 * 60).map(|step| minute + TimeDelta::minutes(step));
                prop_assert!(week.into_iter().all(holds));
            }
            Ok(blackouts) => {
                // Clocks change on whole minutes, so minutes are fine enough.
                let step = TimeDelta::minutes(1);
                let (mut until, mut since) = (minute, minute);
                while holds(until) {
                    until += step;
                }
                while holds(since - step) {
                    since -= step;
                }
                let held = holds(minute);
                prop_assert_eq!(blackouts.ends_after(moment), held.then_some(until));
                prop_assert_eq!(blackouts.holding_since(moment), held.then_some(since));
            }
        }
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "[MonSuat,0-9: -]{0,20}|\\PC{0,12}") {
        if let Ok(window) = text.parse::<Blackout>() {
            prop_assert_eq!(window.to_string().parse(), Ok(window));
        }
    }
}
