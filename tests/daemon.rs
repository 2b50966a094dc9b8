//! The daemon as a service: what it tells the service manager, its signals, and what becomes of
//! runs when it is reloaded, ended or killed in the middle of them. The cases wait for most of
//! their time, and so they run side by side.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::clock::WallClock;
use crate::support::cluster::{Cluster, wait_until};
use crate::support::daemon::{Daemon, DaemonOptions, next, only_daily, side_by_side, slots, state};
use crate::support::filesystem::Filesystem;
use crate::support::operator::{HeldLock, Operator};
use chrono::{DateTime, FixedOffset, TimeDelta};
use rustix::process::Signal;

const RIYADH: &str = "Asia/Riyadh";

/// Two in the night in Riyadh, as the ledger has it, and a moment before it in UTC.
pub(crate) const SLOT: &str = "2025-07-09T02:00:00+03:00";
pub(crate) const BEFORE: &str = "2025-07-08T22:59:58Z";

pub(crate) fn every_night(operator: &mut Operator) {
    only_daily(operator, RIYADH, "0 2 * * *");
}

pub(crate) fn as_service(operator: &Operator) -> Daemon {
    Daemon::with(
        operator,
        DaemonOptions {
            is_service: true,
            ..DaemonOptions::default()
        },
    )
}

/// The events of the ledger, oldest first.
fn events(operator: &Operator) -> Vec<String> {
    let ledger = operator.ledger();
    let events = ledger
        .iter()
        .map(|record| record["event"].as_str().unwrap().to_owned());
    events.collect()
}

/// When something happened, by the ledger.
fn at(record: &serde_json::Value) -> DateTime<FixedOffset> {
    record["at"].as_str().unwrap().parse().unwrap()
}

#[test]
fn a_daemon_is_a_good_service() {
    side_by_side(&[
        ("says_what_it_does", &says_what_it_does),
        ("reloads", &reloads),
        ("storm", &storm_of_reloads),
        ("watchdog", &watchdog),
        ("unusable", &unusable_directory),
        ("unreachable", &unreachable_server),
        ("refused", &refused_reload),
        ("missing", &missing_secrets),
    ]);
}

#[test]
fn runs_are_kept_apart_and_none_is_lost() {
    side_by_side(&[
        ("overlap", &overlap_and_reload_during_a_run),
        ("stopped", &stopped_during_a_run),
        ("killed", &killed_during_a_run),
        ("blackout_delays", &blackout_delays),
        ("blackout_skips", &blackout_skips),
        ("together", &two_jobs_on_one_database),
        ("fields", &every_line_of_a_run_has_its_fields),
    ]);
}

fn says_what_it_does(_: &Cluster, mut operator: Operator) {
    every_night(&mut operator);
    let daemon = as_service(&operator);
    daemon.wait_for_notification("READY=1", 1);
    let told = daemon.notifications();
    let first = |start: &str| told.iter().position(|message| message.starts_with(start));
    let status = first("STATUS=next: daily at ").expect("a status");
    assert!(status < first("READY=1").unwrap(), "{told:?}");
    assert!(told[status].ends_with(" 02:00 +03"), "{told:?}");
    assert!(
        next(&operator, "daily")
            .as_str()
            .unwrap()
            .ends_with("T02:00:00+03:00")
    );

    daemon.signal(Signal::USR1);
    daemon.wait_for("state: next: daily at ");
    daemon.wait_for("job daily (backup, 0 2 * * *): next ");

    let second = Daemon::launch(&operator, DaemonOptions::default()).wait();
    assert_eq!(second.code, 75, "{second:?}");
    let pid = daemon.pid().as_raw_nonzero();
    let expected = format!("another pgbackupd daemon runs with this configuration (process {pid})");
    assert!(second.log.contains(&expected), "{second:?}");

    // The state is the first one's still.
    assert_eq!(state(&operator)["pid"], pid.get());

    daemon.signal(Signal::TERM);
    daemon.wait_for_notification("STOPPING=1", 1);
    let end = daemon.wait();
    assert_eq!(end.code, 0, "{end:?}");
    assert!(state(&operator).is_null());

    // Its place is free again.
    let end = Daemon::start(&operator).end_by(Signal::INT);
    assert_eq!(end.code, 0, "{end:?}");
}

fn reloads(_: &Cluster, mut operator: Operator) {
    every_night(&mut operator);
    let daemon = as_service(&operator);

    operator.set("jobs.daily.schedule", "30 4 * * *");
    daemon.signal(Signal::HUP);
    let said = daemon.wait_for("job daily: schedule 0 2 * * * → 30 4 * * *; next run ");
    assert!(said.ends_with(" 04:30 +03"), "{said}");
    daemon.wait_for("configuration reloaded from ");
    let reloading = daemon.wait_for_notification("RELOADING=1", 1);
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    daemon.wait_for_notification("READY=1", 2);
    // Whoever hears READY and then asks gets what is in force now.
    let told = next(&operator, "daily");
    assert!(
        told.as_str().unwrap().ends_with("T04:30:00+03:00"),
        "{told}"
    );

    operator.set("jobs.daily.schedule", "30 25 * * *");
    let text = fs::read_to_string(operator.configuration()).unwrap();
    let line = text
        .lines()
        .position(|line| line.contains("30 25"))
        .unwrap()
        + 1;
    daemon.signal(Signal::HUP);
    daemon.wait_for("the configuration was NOT reloaded; the old one stays active:");
    daemon.wait_for_notification("READY=1", 3);
    let log = daemon.log();
    let place = format!("{}:{line}:", operator.configuration().display());
    assert!(
        log.contains(&place) && log.contains("jobs.daily.schedule"),
        "{log}"
    );
    daemon.wait_for_notification("STATUS=the new configuration is REFUSED", 1);
    let refused = state(&operator)["refused"].clone();
    assert!(
        refused.as_str().is_some_and(|why| why.contains("25")),
        "{refused}"
    );
    assert!(
        next(&operator, "daily")
            .as_str()
            .unwrap()
            .ends_with("T04:30:00+03:00")
    );

    operator.set("jobs.daily.schedule", "30 5 * * *");
    daemon.signal(Signal::HUP);
    daemon.wait_for("job daily: schedule 30 4 * * * → 30 5 * * *; next run ");
    daemon.wait_for_notification("READY=1", 4);
    assert!(
        daemon
            .notifications()
            .iter()
            .rfind(|told| told.starts_with("STATUS="))
            .unwrap()
            .starts_with("STATUS=next: daily at ")
    );
    assert!(state(&operator)["refused"].is_null());
    assert_eq!(daemon.end().code, 0);
}

fn storm_of_reloads(_: &Cluster, mut operator: Operator) {
    every_night(&mut operator);
    let daemon = as_service(&operator);
    for number in 0..1000 {
        if number % 50 == 0 {
            operator.set("jobs.daily.schedule", format!("{} 4 * * *", number / 50));
        }
        daemon.signal(Signal::HUP);
        sleep(Duration::from_micros(500));
    }
    operator.set("jobs.daily.schedule", "59 4 * * *");
    operator.set_value("jobs.weekly.enabled", true);
    daemon.signal(Signal::HUP);
    wait_until("the last configuration is in force", || {
        state(&operator)["jobs"].as_array().unwrap().len() == 2
    });
    let state = state(&operator);
    let jobs = state["jobs"].as_array().unwrap().iter();
    let jobs: BTreeSet<_> = jobs
        .map(|job| {
            (
                job["job"].as_str().unwrap(),
                job["schedule"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        jobs,
        BTreeSet::from([("daily", "59 4 * * *"), ("weekly", "0 3 * * 0")])
    );
    assert!(state["refused"].is_null());
    // As many ends as beginnings, and the loop still answers.
    daemon.signal(Signal::USR1);
    daemon.wait_for("state: ");
    wait_until("there are as many ends as beginnings", || {
        let told = daemon.notifications();
        let count = |start: &str| told.iter().filter(|one| one.starts_with(start)).count();
        count("READY=1") == count("RELOADING=1") + 1
    });
    assert_eq!(daemon.end().code, 0);
}

fn watchdog(_: &Cluster, mut operator: Operator) {
    every_night(&mut operator);
    let daemon = Daemon::with(
        &operator,
        DaemonOptions {
            is_service: true,
            watchdog: Some(Duration::from_secs(2)),
            ..DaemonOptions::default()
        },
    );
    let began = Instant::now();
    daemon.wait_for_notification("WATCHDOG=1", 4);
    let took = began.elapsed();
    assert!(took > Duration::from_secs(2), "too often: {took:?}");
    // Only builds for tests can be made to hang.
    if cfg!(debug_assertions) {
        let beats = || {
            daemon
                .notifications()
                .iter()
                .filter(|told| *told == "WATCHDOG=1")
                .count()
        };
        daemon.signal(Signal::USR2);
        daemon.wait_for("the loop hangs from now on");
        let before = beats();
        sleep(Duration::from_secs(4));
        assert_eq!(beats(), before, "a hung loop has no heartbeat");
    }
}

fn unusable_directory(_: &Cluster, mut operator: Operator) {
    every_night(&mut operator);
    fs::write(operator.path("file"), "").unwrap();
    operator.set("directory", operator.path("file").display());
    let end = Daemon::launch(&operator, DaemonOptions::default()).wait();
    assert_eq!(end.code, 73, "{end:?}");
    let expected = format!(
        "the directory {} for the backups of database unusable cannot be used: ",
        operator.path("file/unusable").display()
    );
    assert!(end.log.contains(&expected), "{}", end.log);
    assert!(
        end.log.contains("`pgbackupd directories --owner USER`"),
        "{}",
        end.log
    );
}

/// Files that drills, the signature of copies and one destination need are no reason not to start, nor not to reload.
fn missing_secrets(_: &Cluster, mut operator: Operator) {
    every_night(&mut operator);
    operator.set("drill.identity_file", "/nonexistent/drill");
    let daemon = as_service(&operator);
    daemon.wait_for("drill.identity_file: there is no file /nonexistent/drill; ");
    operator.set("encryption.signer_file", "/nonexistent/signer");
    operator.set("jobs.daily.schedule", "30 4 * * *");
    daemon.signal(Signal::HUP);
    daemon.wait_for("encryption.signer_file: there is no file /nonexistent/signer; ");
    daemon.wait_for("configuration reloaded from ");
    daemon.wait_for_notification("READY=1", 2);
    let next = next(&operator, "daily");
    assert!(next.as_str().unwrap().contains("T04:30:00"), "{next}");
}

/// A configuration that cannot come into force makes no directory.
fn refused_reload(_: &Cluster, mut operator: Operator) {
    every_night(&mut operator);
    let daemon = as_service(&operator);
    let elsewhere = operator.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("other"), "").unwrap();
    operator.unset("database");
    operator.set_value("databases", vec!["refused", "other"]);
    operator.set("directory", elsewhere.display());
    daemon.signal(Signal::HUP);
    daemon.wait_for("the configuration was NOT reloaded; the old one stays active:");
    daemon.wait_for("for the backups of database other cannot be used: Not a directory");
    assert!(!elsewhere.join("refused").exists());
    fs::remove_file(elsewhere.join("other")).unwrap();
    daemon.signal(Signal::HUP);
    daemon.wait_for("configuration reloaded from ");
    assert!(elsewhere.join("refused").is_dir() && elsewhere.join("other").is_dir());

    // Each of them can be made by itself, and there is room for the first ones only.
    if let Some(small) = Filesystem::in_memory("size=1m,nr_inodes=4") {
        let above = small.path().join("above");
        operator.set("directory", above.display());
        let many: Vec<String> = (1..=6).map(|number| format!("database{number}")).collect();
        operator.set_value("databases", many);
        daemon.signal(Signal::HUP);
        daemon.wait_for("cannot be used: No space left on device");
        wait_until("nothing is left", || !above.exists());
    }
    assert_eq!(daemon.end().code, 0);
}

/// It starts, tries again with growing pauses, and has its backup as soon as the server is there.
fn unreachable_server(cluster: &Cluster, mut operator: Operator) {
    every_night(&mut operator);
    operator.set("connection.host", operator.path("socket").display());
    operator.set("retry.first", "1 second");
    let clock = WallClock::at(&operator, BEFORE);
    let daemon = Daemon::under(&operator, &clock);
    daemon.wait_for("server main cannot be reached now; every run will try again: ");
    daemon.wait_for_nth("failed for a reason that may pass", 3);
    symlink(cluster.socket_directory(), operator.path("socket")).unwrap();
    daemon.wait_for(" succeeded (job daily): ");
    let ledger = operator.ledger();
    let events = events(&operator);
    assert_eq!(
        events,
        [
            "started",
            "failed",
            "started",
            "failed",
            "started",
            "failed",
            "started",
            "succeeded"
        ]
    );
    let pauses: Vec<_> = ledger[1..7]
        .chunks(2)
        .map(|pair| (at(&pair[1]) - at(&pair[0])).as_seconds_f64())
        .collect();
    for (pause, expected) in pauses.iter().zip([1.0, 2.0, 4.0]) {
        // A busy machine begins later, never sooner.
        assert!((expected..expected + 1.0).contains(pause), "{pauses:?}");
    }
    assert_eq!(slots(&operator, "succeeded"), [SLOT]);
    assert_eq!(daemon.end().code, 0);
}

/// A daemon in the middle of a run: it waits for the lock of a table.
fn in_a_run<'a>(
    cluster: &'a Cluster,
    operator: &Operator,
    clock: &WallClock,
    database: &str,
) -> (Daemon, HeldLock<'a>) {
    let lock = HeldLock::on(cluster, database, "t");
    let daemon = Daemon::under(operator, clock);
    lock.wait_for_another();
    operator.wait_for_process("pg_dump");
    (daemon, lock)
}

fn overlap_and_reload_during_a_run(cluster: &Cluster, mut operator: Operator) {
    only_daily(&mut operator, RIYADH, "*/5 * * * *");
    operator.set("limits.lock_wait", "5 minutes");
    let clock = WallClock::at(&operator, "2025-07-09T11:59:58Z");
    let (daemon, lock) = in_a_run(cluster, &operator, &clock, "overlap");
    let running = |operator: &Operator| state(operator)["running"].clone();
    wait_until("the state has the run", || {
        running(&operator)[0]["database"] == "overlap"
    });

    operator.set("dump.compression", "zstd");
    daemon.signal(Signal::HUP);
    daemon.wait_for("configuration reloaded from ");
    assert_eq!(
        operator
            .processes()
            .values()
            .filter(|name| *name == "pg_dump")
            .count(),
        1
    );

    clock.set("2025-07-09T12:04:58Z");
    let said = daemon.wait_for("was skipped");
    assert!(
        said.contains("is still in progress, since 2025-07-09 15:00:0"),
        "{said}"
    );
    assert_eq!(slots(&operator, "skipped"), ["2025-07-09T15:05:00+03:00"]);
    let message = operator.last_record()["message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(message.contains("is still in progress"), "{message}");
    assert_eq!(running(&operator)[0]["due"], "2025-07-09T15:00:00+03:00");

    drop(lock);
    daemon.wait_for(" succeeded (job daily): ");
    assert_eq!(slots(&operator, "started"), ["2025-07-09T15:00:00+03:00"]);
    assert_eq!(slots(&operator, "succeeded"), ["2025-07-09T15:00:00+03:00"]);
    // It ended under the plan that it began with.
    assert!(
        operator
            .artifacts()
            .iter()
            .any(|name| name.ends_with(".sql.gz"))
    );
    operator.assert_all_whole();
    assert_eq!(daemon.end().code, 0);
}

fn stopped_during_a_run(cluster: &Cluster, mut operator: Operator) {
    every_night(&mut operator);
    let clock = WallClock::at(&operator, BEFORE);
    let (daemon, lock) = in_a_run(cluster, &operator, &clock, "stopped");
    let began = Instant::now();
    let end = daemon.end();
    assert_eq!(end.code, 0, "{end:?}");
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    assert!(
        end.log.contains("stopping on SIGTERM: 1 run is ended"),
        "{}",
        end.log
    );
    assert!(
        end.log
            .contains("backup of stopped was interrupted (job daily) after "),
        "{}",
        end.log
    );
    assert_eq!(events(&operator), ["started", "interrupted"]);
    operator.assert_nothing_left();

    // The next start catches it up.
    drop(lock);
    let daemon = Daemon::under(&operator, &clock);
    daemon.wait_for(" succeeded (job daily): ");
    assert_eq!(slots(&operator, "succeeded"), [SLOT]);
    assert_eq!(daemon.end().code, 0);
}

fn killed_during_a_run(cluster: &Cluster, mut operator: Operator) {
    every_night(&mut operator);
    let clock = WallClock::at(&operator, BEFORE);
    let (daemon, lock) = in_a_run(cluster, &operator, &clock, "killed");
    wait_until("there is a temporary file", || {
        !operator.temporaries().is_empty()
    });
    let end = daemon.end_by(Signal::KILL);
    assert_eq!(end.code, 128 + 9);
    operator.assert_no_processes();
    assert!(!operator.temporaries().is_empty());
    assert_eq!(events(&operator), ["started"]);
    drop(lock);

    let daemon = Daemon::under(&operator, &clock);
    daemon.wait_for("removed the temporary files of a run on killed that was cut short");
    daemon.wait_for("a run on killed that began before this start had not ended; it is on record as interrupted now");
    daemon.wait_for("job daily missed its run at Wed 2025-07-09 02:00 +03; catching up");
    daemon.wait_for(" succeeded (job daily): ");
    assert_eq!(
        events(&operator),
        ["started", "interrupted", "started", "succeeded"]
    );
    assert_eq!(slots(&operator, "succeeded"), [SLOT]);
    assert_eq!(operator.temporaries(), BTreeSet::new());
    assert_eq!(operator.list().len(), 1);
    operator.assert_all_whole();
    assert_eq!(daemon.end().code, 0);
}

/// Due inside a window in which nothing starts, a run waits for its end: also over a restart.
fn blackout_delays(_: &Cluster, mut operator: Operator) {
    every_night(&mut operator);
    operator.set_value("jobs.daily.blackout", vec!["02:00-02:01"]);
    let clock = WallClock::at(&operator, BEFORE);
    let daemon = Daemon::under(&operator, &clock);
    wait_until("the job waits", || {
        let waiting = state(&operator)["waiting"][0].clone();
        waiting["until"] == "2025-07-09T02:01:00+03:00"
            && waiting["reason"] == "a blackout window lasts until then"
    });
    assert_eq!(daemon.end().code, 0);
    assert_eq!(events(&operator), [""; 0]);

    clock.set("2025-07-08T23:00:56Z");
    let daemon = Daemon::under(&operator, &clock);
    daemon.wait_for(" succeeded (job daily): ");
    let began = at(&operator.ledger()[0]);
    let end: DateTime<FixedOffset> = "2025-07-09T02:01:00+03:00".parse().unwrap();
    assert!(
        end <= began && began < end + TimeDelta::seconds(1),
        "{began}"
    );
    assert_eq!(slots(&operator, "succeeded"), [SLOT]);
    assert_eq!(daemon.end().code, 0);
}

/// A run that cannot start before its window ends is given up, and that is on record.
fn blackout_skips(_: &Cluster, mut operator: Operator) {
    every_night(&mut operator);
    operator.set_value("jobs.daily.blackout", vec!["Wed 01:00-09:00"]);
    let clock = WallClock::at(&operator, BEFORE);
    let daemon = Daemon::under(&operator, &clock);
    let said = daemon.wait_for("was skipped");
    assert!(said.contains("blackout"), "{said}");
    assert_eq!(slots(&operator, "skipped"), [SLOT]);
    assert_eq!(events(&operator), ["skipped"]);
    assert_eq!(daemon.end().code, 0);
}

fn two_jobs_on_one_database(_: &Cluster, mut operator: Operator) {
    every_night(&mut operator);
    operator.set_value("jobs.weekly.enabled", true);
    operator.set("jobs.weekly.schedule", "0 2 * * *");
    operator.set_value("daemon.concurrency_per_server", 2);
    let clock = WallClock::at(&operator, BEFORE);
    let daemon = Daemon::under(&operator, &clock);
    daemon.wait_for_nth(" succeeded (job ", 2);
    assert_eq!(
        events(&operator),
        ["started", "succeeded", "started", "succeeded"]
    );
    assert_eq!(slots(&operator, "succeeded"), [SLOT; 2]);
    assert_eq!(daemon.count(" FAILED"), 0);
    assert_eq!(operator.list().len(), 2);
    assert_eq!(daemon.end().code, 0);
}

/// What jobs log while the daemon runs them names the run, on whatever thread they do it.
fn every_line_of_a_run_has_its_fields(_: &Cluster, mut operator: Operator) {
    every_night(&mut operator);
    let directory = operator.path("log");
    operator.set("logs.file", directory.join("p.json").display());
    operator.set("logs.level", "debug");
    let clock = WallClock::at(&operator, BEFORE);
    let daemon = Daemon::under(&operator, &clock);
    daemon.wait_for(" succeeded (job daily)");
    assert_eq!(daemon.end().code, 0);

    let files = fs::read_dir(directory).unwrap();
    let text: String = files
        .map(|file| fs::read_to_string(file.unwrap().path()).unwrap())
        .collect();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of_jobs = lines.iter().filter(|line| {
        let target = line["target"].as_str().unwrap();
        target.starts_with("pgbackupd::jobs")
    });
    let record = operator.last_record();
    let mut found = 0;
    for line in of_jobs {
        found += 1;
        for (field, value) in [
            ("job", "daily"),
            ("kind", "backup"),
            ("server", "main"),
            ("database", "fields"),
            ("series", "daily"),
            ("due", SLOT),
            ("run_id", record["run"].as_str().unwrap()),
        ] {
            assert_eq!(line[field], value, "{field}: {line}");
        }
    }
    assert!(found > 1, "{text}");
}
