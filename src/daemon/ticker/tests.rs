//! The real scheduler under our store: in real time, and through years of virtual time.

mod date;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use uuid::Uuid;

use self::date::{Rule, Wall};
use super::{LOOK, Ticker};
use crate::daemon::clock::Clock;
use crate::policy::Schedule;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn every_minute() -> Schedule {
    Schedule::parse("* * * * *", Tz::UTC).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_come_and_go_while_the_scheduler_waits() {
    let (mut ticker, _called) = Ticker::start().await.unwrap();
    let change = async {
        for round in 0..5 {
            let jobs: Vec<_> = (0..5)
                .map(|job| (format!("{round}-{job}"), every_minute()))
                .collect();
            let old: Vec<_> = ticker.upcoming().into_iter().map(|(job, _)| job).collect();
            ticker.change(&old, &jobs).await.unwrap();
            assert_eq!(ticker.upcoming().len(), 5);
        }
    };
    timeout(Duration::from_secs(60), change).await.unwrap();
    assert!(
        ticker
            .upcoming()
            .iter()
            .all(|(job, next)| job.starts_with("4-") && next.is_some())
    );
    ticker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minute_is_reported_within_a_second() {
    let (mut ticker, mut called) = Ticker::start().await.unwrap();
    let jobs: Vec<_> = (0..30)
        .map(|job| (job.to_string(), every_minute()))
        .collect();
    ticker.change(&[], &jobs).await.unwrap();
    let mut due = Vec::new();
    while due.len() < jobs.len() {
        timeout(Duration::from_secs(75), called.recv())
            .await
            .unwrap()
            .unwrap();
        due.extend(ticker.take_due());
    }
    let late = Utc::now() - due[0].slot;
    assert!(late.num_milliseconds() < 1000, "{late}");
    assert!(due.iter().all(|one| one.slot == due[0].slot));
    ticker.stop().await;
}

/// A clock that follows the runtime's timers, which do not wait while they are paused, and that
/// can be set.
#[derive(Clone)]
struct VirtualClock {
    wall: DateTime<Utc>,
    start: Instant,
    set_by: Arc<AtomicI64>,
}

impl VirtualClock {
    fn at(wall: DateTime<Utc>) -> Self {
        Self {
            wall,
            start: Instant::now(),
            set_by: Arc::default(),
        }
    }

    /// Sets the clock to this time.
    fn set(&self, wall: DateTime<Utc>) {
        let by = (wall - self.wall()).num_milliseconds();
        self.set_by.fetch_add(by, Ordering::Relaxed);
    }
}

impl Clock for VirtualClock {
    fn wall(&self) -> DateTime<Utc> {
        let set_by = TimeDelta::milliseconds(self.set_by.load(Ordering::Relaxed));
        self.wall + TimeDelta::from_std(self.start.elapsed()).unwrap() + set_by
    }

    fn monotonic(&self) -> std::time::Instant {
        Instant::now().into_std()
    }
}

/// Jobs, the ticker that has them, and what it has reported of them.
struct Watch {
    clock: VirtualClock,
    ticker: Ticker,
    called: mpsc::UnboundedReceiver<Option<Uuid>>,
    due: BTreeMap<String, Vec<DateTime<Utc>>>,
}

impl Watch {
    async fn start(
        zone: Tz,
        from: DateTime<Utc>,
        interval: Duration,
        patterns: impl IntoIterator<Item = &'static str>,
    ) -> Self {
        let clock = VirtualClock::at(from);
        let (mut ticker, called) = Ticker::by(Box::new(clock.clone()), interval).await.unwrap();
        let jobs = patterns.into_iter().map(|pattern| {
            let schedule = Schedule::parse(pattern, zone).unwrap();
            (pattern.to_owned(), schedule)
        });
        ticker.change(&[], &jobs.collect::<Vec<_>>()).await.unwrap();
        Self {
            clock,
            ticker,
            called,
            due: BTreeMap::new(),
        }
    }

    /// Lets the time run until the wall clock shows this; everything is reported within a second,
    /// unless the clock was set over it.
    async fn run_until(&mut self, wall: DateTime<Utc>, late: TimeDelta) {
        let rest = (wall - self.clock.wall()).to_std().unwrap();
        let end = Instant::now() + rest;
        while let Ok(call) = timeout_at(end, self.called.recv()).await {
            call.unwrap();
            let now = self.clock.wall();
            for due in self.ticker.take_due() {
                let lateness = now - due.slot;
                assert!(
                    TimeDelta::zero() <= lateness && lateness <= late,
                    "{} was due at {} and told at {now}",
                    due.job,
                    due.slot
                );
                assert_eq!(due.was_missed, lateness > TimeDelta::minutes(1));
                self.due.entry(due.job).or_default().push(due.slot);
            }
        }
    }

    fn due_slots(&self, job: &str) -> Vec<String> {
        let reported = self.due.get(job).cloned().unwrap_or_default();
        reported.iter().map(DateTime::to_rfc3339).collect()
    }

    fn next(&self, job: &str) -> Option<DateTime<Utc>> {
        let upcoming = self.ticker.upcoming();
        upcoming.into_iter().find(|(name, _)| name == job)?.1
    }
}

const ON_TIME: TimeDelta = TimeDelta::seconds(1);

/// At one time of every day.
const fn daily(hour: u32, minute: u32) -> Rule {
    Rule::Once {
        hour,
        minute,
        weekday: None,
        day: None,
    }
}

const JOBS: [(&str, Rule); 10] = [
    ("0 2 * * *", daily(2, 0)),
    ("30 2 * * *", daily(2, 30)),
    ("30 1 * * *", daily(1, 30)),
    ("45 23 * * *", daily(23, 45)),
    (
        "0 3 * * 0",
        Rule::Once {
            hour: 3,
            minute: 0,
            weekday: Some(7),
            day: None,
        },
    ),
    (
        "30 2 * * 0",
        Rule::Once {
            hour: 2,
            minute: 30,
            weekday: Some(7),
            day: None,
        },
    ),
    (
        "0 5 1 * *",
        Rule::Once {
            hour: 5,
            minute: 0,
            weekday: None,
            day: Some(1),
        },
    ),
    (
        "0 * * * *",
        Rule::Whenever {
            hours: &[],
            minutes: &[0],
        },
    ),
    (
        "*/15 * * * *",
        Rule::Whenever {
            hours: &[],
            minutes: &[0, 15, 30, 45],
        },
    ),
    (
        "30 2,14 * * *",
        Rule::Whenever {
            hours: &[2, 14],
            minutes: &[30],
        },
    ),
];

/// Every slot of every job in a period is reported once, and within a second.
async fn assert_all_due(zone: Tz, from: &str, to: &str, interval: Duration) {
    let (from, to) = (at(from), at(to));
    let wall = Wall::of(zone.name(), from, to);
    let mut watch = Watch::start(zone, from, interval, JOBS.map(|(pattern, _)| pattern)).await;
    // What is due at the very end may be reported a little after it.
    watch.run_until(to + ON_TIME, ON_TIME).await;
    for (pattern, rule) in JOBS {
        let reported = watch.due.remove(pattern).unwrap_or_default();
        assert_eq!(reported, wall.due(rule), "{pattern} in {zone}");
    }
    assert!(watch.due.is_empty());
    assert_eq!(watch.ticker.take_jump(), None);
    watch.ticker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn every_slot_of_two_years_in_riyadh_is_reported_once_and_in_time() {
    let hour = Duration::from_secs(3600);
    let riyadh = Tz::Asia__Riyadh;
    assert_all_due(riyadh, "2025-01-01T00:00:00Z", "2027-01-01T00:00:00Z", hour).await;
}

#[tokio::test(start_paused = true)]
async fn both_changes_of_the_clocks_in_berlin_are_kept() {
    let berlin = Tz::Europe__Berlin;
    assert_all_due(berlin, "2025-03-20T00:00:00Z", "2025-04-09T00:00:00Z", LOOK).await;
    assert_all_due(berlin, "2025-10-16T00:00:00Z", "2025-11-05T00:00:00Z", LOOK).await;
}

#[tokio::test(start_paused = true)]
async fn both_changes_of_the_clocks_in_new_york_are_kept() {
    let york = Tz::America__New_York;
    assert_all_due(york, "2026-02-26T00:00:00Z", "2026-03-18T00:00:00Z", LOOK).await;
    assert_all_due(york, "2026-10-22T00:00:00Z", "2026-11-11T00:00:00Z", LOOK).await;
}

#[tokio::test(start_paused = true)]
async fn a_day_that_a_zone_leaves_out_has_no_slots() {
    let apia = Tz::Pacific__Apia;
    assert_all_due(apia, "2011-12-20T00:00:00Z", "2012-01-09T00:00:00Z", LOOK).await;
}

/// The rule of the expectation itself, at moments that anybody can look up.
#[test]
fn the_wall_is_read_right() {
    let due = |zone, from, to, rule| {
        let due = Wall::of(zone, at(from), at(to)).due(rule);
        due.iter().map(DateTime::to_rfc3339).collect::<Vec<_>>()
    };
    let (berlin, half_past_two) = ("Europe/Berlin", daily(2, 30));
    assert_eq!(
        due(
            berlin,
            "2025-03-29T12:00:00Z",
            "2025-03-31T12:00:00Z",
            half_past_two
        ),
        ["2025-03-30T01:00:00+00:00", "2025-03-31T00:30:00+00:00"],
        "in the gap"
    );
    assert_eq!(
        due(
            berlin,
            "2025-10-25T12:00:00Z",
            "2025-10-27T12:00:00Z",
            half_past_two
        ),
        ["2025-10-26T00:30:00+00:00", "2025-10-27T01:30:00+00:00"],
        "twice"
    );
    assert_eq!(
        due(
            "Pacific/Apia",
            "2011-12-29T00:00:00Z",
            "2011-12-31T00:00:00Z",
            half_past_two
        ),
        ["2011-12-29T12:30:00+00:00", "2011-12-30T12:30:00+00:00"],
        "Thursday the 29th and Saturday the 31st"
    );
}

/// A daily job in Riyadh, at noon UTC of a day, half a day before its slot.
async fn daily_at_noon() -> Watch {
    Watch::start(
        Tz::Asia__Riyadh,
        at("2025-07-09T12:00:00Z"),
        LOOK,
        ["0 2 * * *"],
    )
    .await
}

#[tokio::test(start_paused = true)]
async fn a_clock_set_forward_over_a_slot_runs_it_once_and_the_next_in_time() {
    let mut watch = daily_at_noon().await;
    watch.clock.set(at("2025-07-10T12:00:00Z"));
    watch
        .run_until(at("2025-07-10T12:01:00Z"), TimeDelta::days(1))
        .await;
    assert_eq!(watch.due_slots("0 2 * * *"), ["2025-07-09T23:00:00+00:00"]);
    let jump = watch.ticker.take_jump().unwrap();
    assert!((jump - TimeDelta::days(1)).abs() < ON_TIME, "{jump}");
    watch.run_until(at("2025-07-11T23:01:00Z"), ON_TIME).await;
    assert_eq!(
        watch.due_slots("0 2 * * *")[1..],
        ["2025-07-10T23:00:00+00:00", "2025-07-11T23:00:00+00:00"]
    );
    assert_eq!(watch.ticker.take_jump(), None);
}

#[tokio::test(start_paused = true)]
async fn a_clock_set_back_a_little_repeats_nothing() {
    let mut watch = daily_at_noon().await;
    watch.run_until(at("2025-07-09T23:30:00Z"), ON_TIME).await;
    watch.clock.set(at("2025-07-09T22:00:00Z"));
    watch.run_until(at("2025-07-10T23:01:00Z"), ON_TIME).await;
    assert_eq!(
        watch.due_slots("0 2 * * *"),
        ["2025-07-09T23:00:00+00:00", "2025-07-10T23:00:00+00:00"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_clock_set_back_a_day_begins_the_day_again() {
    let mut watch = daily_at_noon().await;
    watch.run_until(at("2025-07-10T12:00:00Z"), ON_TIME).await;
    watch.clock.set(at("2025-07-09T12:00:00Z"));
    watch.run_until(at("2025-07-09T12:01:00Z"), ON_TIME).await;
    let jump = watch.ticker.take_jump().unwrap();
    assert!((jump + TimeDelta::days(1)).abs() < ON_TIME, "{jump}");
    assert_eq!(watch.next("0 2 * * *"), Some(at("2025-07-09T23:00:00Z")));
    watch.run_until(at("2025-07-10T23:01:00Z"), ON_TIME).await;
    assert_eq!(
        watch.due_slots("0 2 * * *"),
        [
            "2025-07-09T23:00:00+00:00",
            "2025-07-09T23:00:00+00:00",
            "2025-07-10T23:00:00+00:00"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_shows_1970_or_2099_for_a_while_keeps_the_schedule_of_what_it_shows() {
    for (wrong, then) in [
        ("1970-01-01T00:00:05Z", "1970-01-01T23:00:00+00:00"),
        ("2099-12-31T12:00:00Z", "2099-12-31T23:00:00+00:00"),
    ] {
        let mut watch = daily_at_noon().await;
        let wrong = at(wrong);
        watch.clock.set(wrong);
        // To 2099 it is far past the newest slot before it; in 1970 nothing was missed.
        watch
            .run_until(wrong + TimeDelta::minutes(1), TimeDelta::days(1))
            .await;
        let at_once = watch.due.remove("0 2 * * *").unwrap_or_default();
        assert_eq!(
            at_once.len(),
            usize::from(wrong.timestamp() > 1_000_000_000)
        );
        watch.run_until(at(then) + ON_TIME, ON_TIME).await;
        assert_eq!(watch.due_slots("0 2 * * *"), [then]);
        watch.due.clear();

        watch.clock.set(at("2025-07-11T12:00:00Z"));
        watch
            .run_until(at("2025-07-11T12:01:00Z"), TimeDelta::days(1))
            .await;
        watch.due.clear();
        watch.run_until(at("2025-07-12T23:01:00Z"), ON_TIME).await;
        assert_eq!(
            watch.due_slots("0 2 * * *"),
            ["2025-07-11T23:00:00+00:00", "2025-07-12T23:00:00+00:00"]
        );
    }
}

/// How many seconds the clocks of a year's test run through in a second, by libfaketime: a year
/// takes five minutes. A pause of a millisecond is more than a minute then, so that lateness means
/// nothing, and only what comes once a day or less is reported once for each slot.
const RATE: u32 = 100_000;

#[test]
#[ignore = "takes five minutes; packaging/test runs it beside the acceptance test"]
fn a_year_by_the_systems_own_clocks() {
    if std::env::var_os("FAKETIME").is_none() {
        let library = ["x86_64", "aarch64"]
            .map(|machine| format!("/usr/lib/{machine}-linux-gnu/faketime/libfaketime.so.1"))
            .into_iter()
            .find(|library| std::path::Path::new(library).exists())
            .expect("libfaketime: install the package faketime");
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture"])
            .arg("daemon::ticker::tests::a_year_by_the_systems_own_clocks")
            .env("LD_PRELOAD", library)
            .env("FAKETIME", format!("@2025-01-01 00:00:00 x{RATE}"))
            .env("TZ", "UTC")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (from, to) = (at("2025-01-01T00:00:00Z"), at("2026-01-01T00:00:00Z"));
        let (mut ticker, mut called) = Ticker::start().await.unwrap();
        let jobs = [("0 2 * * *", daily(2, 0)), JOBS[4]];
        let entries = jobs.map(|(pattern, _)| {
            let schedule = Schedule::parse(pattern, Tz::Asia__Riyadh).unwrap();
            (pattern.to_owned(), schedule)
        });
        ticker.change(&[], &entries).await.unwrap();
        let mut reported: BTreeMap<String, Vec<DateTime<Utc>>> = BTreeMap::new();
        let (mut before, mut stalls) = (Utc::now(), Vec::new());
        // The last slot is reported some time after it.
        while before < to + TimeDelta::hours(18) {
            let hour = Duration::from_secs(3600);
            if timeout(hour, called.recv()).await.is_ok() {
                for due in ticker.take_due() {
                    reported.entry(due.job).or_default().push(due.slot);
                }
            }
            let now = Utc::now();
            if now - before > TimeDelta::hours(12) {
                stalls.push((before, now));
            }
            before = now;
        }
        let wall = Wall::of("Asia/Riyadh", from, to);
        for (pattern, rule) in jobs {
            let reported = reported.remove(pattern).unwrap_or_default();
            assert_eq!(
                reported,
                without_stalled(wall.due(rule), &reported, &stalls)
            );
        }
    });
}

/// The slots that are reported in any case. Where the machine let the process stand still for more than half a
/// day of its time, half a second of ours, the newest slot of that time stands for those before it.
fn without_stalled(
    due: Vec<DateTime<Utc>>,
    reported: &[DateTime<Utc>],
    stalls: &[(DateTime<Utc>, DateTime<Utc>)],
) -> Vec<DateTime<Utc>> {
    let stood_still = |slot: DateTime<Utc>| {
        let mut stalls = stalls.iter();
        stalls.any(|(from, to)| (*from - TimeDelta::hours(12)..*to).contains(&slot))
    };
    assert!(
        stalls.len() <= 10,
        "this machine has no time for the test: {stalls:?}"
    );
    let mut expected = due;
    expected.retain(|slot| reported.contains(slot) || !stood_still(*slot));
    expected
}
