//! The daemon's schedule on a clock that changes for summer, leaves a day out, or is set: the real
//! program with a faked wall clock (libfaketime), against a real server. A year of slots in virtual
//! time is tested next to `src/daemon/ticker.rs`.

use crate::support::clock::WallClock;
use crate::support::cluster::{Cluster, wait_until};
use crate::support::daemon::{Daemon, DaemonOptions, next, only_daily, side_by_side, slots};
use crate::support::operator::Operator;
use chrono::{DateTime, TimeDelta, Utc};

const RIYADH: &str = "Asia/Riyadh";

/// A daemon of one job, a little before its slot.
struct Slot {
    zone: &'static str,
    schedule: &'static str,
    /// When it is started, in UTC.
    from: &'static str,
    /// The slot as the ledger has it.
    due: &'static str,
    /// How the backup's name begins: its time is on the wall of the zone.
    name: &'static str,
    /// The slot after it.
    next: &'static str,
    /// The same, as `systemctl status` shows it.
    shown: &'static str,
}

impl Slot {
    fn comes(&self, operator: Operator) {
        let mut operator = operator;
        only_daily(&mut operator, self.zone, self.schedule);
        let clock = WallClock::at(&operator, self.from);
        let daemon = Daemon::with(
            &operator,
            DaemonOptions {
                clock: Some(&clock),
                is_service: true,
                watchdog: None,
            },
        );
        assert_eq!(next(&operator, "daily"), self.due);
        daemon.wait_for("succeeded");
        assert_eq!(slots(&operator, "succeeded"), [self.due]);
        let names = operator.list();
        assert!(
            names.len() == 1 && names[0].starts_with(self.name),
            "{names:?}"
        );
        let shown = format!("STATUS=next: daily at {}", self.shown);
        daemon.wait_for_notification(&shown, 1);
        wait_until("the state has the next slot", || {
            next(&operator, "daily") == self.next
        });
        operator.assert_all_whole();
        assert_eq!(daemon.end().code, 0);
    }
}

fn at(time: &str) -> DateTime<Utc> {
    time.parse().unwrap()
}

fn in_riyadh(operator: &mut Operator, time: &str) -> WallClock {
    only_daily(operator, RIYADH, "0 2 * * *");
    WallClock::at(operator, time)
}

#[track_caller]
fn assert_next(operator: &Operator, slot: &str) {
    wait_until(&format!("{slot} is next"), || {
        next(operator, "daily") == slot
    });
}

/// Around changes of the clocks, and where there are none.
static SLOTS: [(&str, Slot); 6] = [
    (
        "riyadh",
        Slot {
            zone: RIYADH,
            schedule: "0 2 * * *",
            from: "2025-07-08T22:59:57Z",
            due: "2025-07-09T02:00:00+03:00",
            name: "backup_20250709_02000",
            next: "2025-07-10T02:00:00+03:00",
            shown: "Thu 2025-07-10 02:00 +03",
        },
    ),
    (
        "berlin_gap",
        Slot {
            zone: "Europe/Berlin",
            schedule: "30 2 * * *",
            from: "2025-03-30T00:59:57Z",
            due: "2025-03-30T03:00:00+02:00",
            name: "backup_20250330_03000",
            next: "2025-03-31T02:30:00+02:00",
            shown: "Mon 2025-03-31 02:30 CEST",
        },
    ),
    (
        "berlin_overlap",
        Slot {
            zone: "Europe/Berlin",
            schedule: "30 2 * * *",
            from: "2025-10-26T00:29:57Z",
            due: "2025-10-26T02:30:00+02:00",
            name: "backup_20251026_02300",
            next: "2025-10-27T02:30:00+01:00",
            shown: "Mon 2025-10-27 02:30 CET",
        },
    ),
    (
        "new_york_gap",
        Slot {
            zone: "America/New_York",
            schedule: "30 2 * * *",
            from: "2026-03-08T06:59:57Z",
            due: "2026-03-08T03:00:00-04:00",
            name: "backup_20260308_03000",
            next: "2026-03-09T02:30:00-04:00",
            shown: "Mon 2026-03-09 02:30 EDT",
        },
    ),
    (
        "new_york_overlap",
        Slot {
            zone: "America/New_York",
            schedule: "30 1 * * *",
            from: "2026-11-01T05:29:57Z",
            due: "2026-11-01T01:30:00-04:00",
            name: "backup_20261101_01300",
            next: "2026-11-02T01:30:00-05:00",
            shown: "Mon 2026-11-02 01:30 EST",
        },
    ),
    (
        "apia_skipped_day",
        Slot {
            zone: "Pacific/Apia",
            schedule: "0 0 * * *",
            from: "2011-12-30T09:59:57Z",
            due: "2011-12-31T00:00:00+14:00",
            name: "backup_20111231_00000",
            next: "2012-01-01T00:00:00+14:00",
            shown: "Sun 2012-01-01 00:00 +14",
        },
    ),
];

#[test]
fn slots_around_changes_of_the_clocks_make_their_backups() {
    let runs = SLOTS.each_ref().map(|(name, slot)| {
        let run = move |_: &Cluster, operator| slot.comes(operator);
        (*name, run)
    });
    let cases = runs.each_ref().map(|(name, run)| (*name, run as _));
    side_by_side(&cases);
}

#[test]
fn a_clock_that_is_set_costs_no_backup_and_the_schedule_is_right_afterwards() {
    side_by_side(&[
        ("off_over_slots", &off_over_slots),
        ("a_day_forward", &a_day_forward),
        ("an_hour_and_a_day_back", &an_hour_and_a_day_back),
        ("to_1970", &to_1970),
        ("to_2099", &to_2099),
    ]);
}

/// A run that was missed while the machine was off is caught up once, for the newest slot.
fn off_over_slots(_: &Cluster, mut operator: Operator) {
    let clock = in_riyadh(&mut operator, "2025-07-09T12:00:00Z");
    assert_eq!(Daemon::under(&operator, &clock).end().code, 0);
    assert_eq!(operator.list(), [""; 0]);

    let mut made_up = Vec::new();
    for (off, slot) in [
        (TimeDelta::hours(30), "2025-07-10T02:00:00+03:00"),
        (TimeDelta::hours(54), "2025-07-13T02:00:00+03:00"),
    ] {
        clock.set_by(off);
        let daemon = Daemon::under(&operator, &clock);
        daemon.wait_for("job daily missed its run at");
        daemon.wait_for("a catch-up run");
        daemon.wait_for("succeeded");
        made_up.push(slot);
        assert_eq!(slots(&operator, "started"), made_up);
        assert_eq!(slots(&operator, "succeeded"), made_up);
        assert_eq!(daemon.end().code, 0);

        // Nothing is missed any more.
        let daemon = Daemon::under(&operator, &clock);
        let end = daemon.end();
        assert!(!end.log.contains("missed"), "{}", end.log);
        assert_eq!(slots(&operator, "started"), made_up);
    }
    assert_eq!(operator.list().len(), 2);
    operator.assert_all_whole();
}

/// A clock that is set forward over a slot, or a machine that slept: one run, for that slot.
fn a_day_forward(_: &Cluster, mut operator: Operator) {
    let clock = in_riyadh(&mut operator, "2025-07-09T12:00:00Z");
    let daemon = Daemon::under(&operator, &clock);
    clock.set_by(TimeDelta::days(1));
    let said = daemon.wait_for("the clock was set forward");
    assert!(said.contains("by 1 day"), "{said}");
    daemon.wait_for("succeeded");
    assert_next(&operator, "2025-07-11T02:00:00+03:00");
    clock.set("2025-07-10T22:59:58Z");
    daemon.wait_for_nth("succeeded", 2);
    let expected = ["2025-07-10T02:00:00+03:00", "2025-07-11T02:00:00+03:00"];
    assert_eq!(slots(&operator, "started"), expected);
    assert_eq!(slots(&operator, "succeeded"), expected);
    assert_next(&operator, "2025-07-12T02:00:00+03:00");
    assert_eq!(operator.list().len(), 2);
    assert_eq!(daemon.end().code, 0);
}

/// Set back by an hour, a slot is not repeated; by a day, the day begins again.
fn an_hour_and_a_day_back(_: &Cluster, mut operator: Operator) {
    let clock = in_riyadh(&mut operator, "2025-07-09T22:59:57Z");
    let daemon = Daemon::under(&operator, &clock);
    daemon.wait_for("succeeded");
    assert_next(&operator, "2025-07-11T02:00:00+03:00");

    clock.set("2025-07-09T22:59:50Z");
    daemon.wait_for("the clock was set back");
    // Over the same slot once more.
    wait_until("the slot is over", || {
        clock.now() > at("2025-07-09T23:00:02Z")
    });
    assert_eq!(slots(&operator, "started"), ["2025-07-10T02:00:00+03:00"]);
    assert_next(&operator, "2025-07-11T02:00:00+03:00");

    clock.set_by(-TimeDelta::days(1));
    let said = daemon.wait_for_nth("the clock was set back", 2);
    assert!(said.contains("by 1 day"), "{said}");
    assert_next(&operator, "2025-07-10T02:00:00+03:00");
    assert_eq!(slots(&operator, "started").len(), 1);
    clock.set("2025-07-09T22:59:58Z");
    daemon.wait_for_nth("succeeded", 2);
    assert_eq!(
        slots(&operator, "succeeded"),
        ["2025-07-10T02:00:00+03:00"; 2]
    );
    assert_next(&operator, "2025-07-11T02:00:00+03:00");
    assert_eq!(operator.list().len(), 2);
    operator.assert_all_whole();
    assert_eq!(daemon.end().code, 0);
}

/// Five days of backups under a retention that wants to keep one day.
fn with_five_backups(operator: &mut Operator) -> (WallClock, Vec<String>) {
    let clock = in_riyadh(operator, "2025-07-05T23:00:00Z");
    for _ in 0..5 {
        clock.run(operator, &["backup"]);
        clock.set_by(TimeDelta::days(1));
    }
    let made = operator.list();
    assert_eq!(made.len(), 5);
    operator.set("series.daily.keep", "1 day");
    clock.set("2025-07-10T12:00:00Z");
    (clock, made)
}

fn to_1970(_: &Cluster, mut operator: Operator) {
    let (clock, made) = with_five_backups(&mut operator);
    let daemon = Daemon::under(&operator, &clock);
    assert_next(&operator, "2025-07-11T02:00:00+03:00");
    clock.set("1970-01-01T22:59:40Z");
    daemon.wait_for("the clock was set back");
    // In 1970 too the schedule is kept, and retention does not believe the clock.
    daemon.wait_for("succeeded");
    let listed = operator.list();
    assert!(made.iter().all(|name| listed.contains(name)), "{listed:?}");
    assert_eq!(listed.len(), 6);

    clock.set("2025-07-10T22:59:45Z");
    daemon.wait_for("the clock was set forward");
    assert_next(&operator, "2025-07-11T02:00:00+03:00");
    daemon.wait_for_nth("succeeded", 2);
    assert_eq!(
        slots(&operator, "succeeded")[..],
        ["1970-01-02T02:00:00+03:00", "2025-07-11T02:00:00+03:00"]
    );
    assert_next(&operator, "2025-07-12T02:00:00+03:00");
    operator.assert_all_whole();
    assert_eq!(daemon.end().code, 0);
}

fn to_2099(_: &Cluster, mut operator: Operator) {
    let (clock, made) = with_five_backups(&mut operator);
    let daemon = Daemon::under(&operator, &clock);
    clock.set("2099-12-31T12:00:00Z");
    daemon.wait_for("the clock was set forward");
    daemon.wait_for("succeeded");
    assert_next(&operator, "2100-01-01T02:00:00+03:00");
    let listed = operator.list();
    assert!(made.iter().all(|name| listed.contains(name)), "{listed:?}");
    assert_eq!(listed.len(), 6);

    clock.set("2025-07-10T22:59:45Z");
    daemon.wait_for("the clock was set back");
    daemon.wait_for_nth("succeeded", 2);
    assert_next(&operator, "2025-07-12T02:00:00+03:00");
    assert_eq!(
        slots(&operator, "succeeded"),
        ["2099-12-31T02:00:00+03:00", "2025-07-11T02:00:00+03:00"]
    );
    let listed = operator.list();
    assert!(made.iter().all(|name| listed.contains(name)), "{listed:?}");
    operator.assert_all_whole();
    assert_eq!(daemon.end().code, 0);
}

#[test]
fn a_test_restore_that_is_overdue_is_reported_once_a_day_with_a_backup() {
    let cluster = Cluster::start();
    let mut operator = Operator::of(&cluster, "postgres");
    operator.set("objectives.drill_age", "35 days");
    operator.back_up();
    let clock = in_riyadh(&mut operator, "2036-01-01T22:59:58Z");
    operator.set_value("jobs.weekly.enabled", true);
    operator.set("jobs.weekly.schedule", "0 2 * * *");
    let daemon = Daemon::under(&operator, &clock);
    daemon.wait_for_nth("backup of postgres succeeded", 2);
    let said = daemon.wait_for("the drill of postgres is overdue: ");
    assert!(
        said.contains("there have been backups for ")
            && said.contains("and no drill has come to a result")
            && said.ends_with("objectives.drill_age allows 35 days"),
        "{said}"
    );
    clock.set("2036-01-02T22:59:58Z");
    daemon.wait_for_nth("backup of postgres succeeded", 4);
    daemon.wait_for_nth("is overdue", 2);
    assert_eq!(daemon.count("is overdue"), 2);
    assert_eq!(daemon.end().code, 0);
}
