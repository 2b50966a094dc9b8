//! The daemon as a service: what it tells the service manager, its signals, and what becomes of
//! runs when it is reloaded, ended or killed in the middle of them. The cases wait for most of
//! their time, and so they run side by side.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::clock::WallClock;
use crate::support::cluster::{Cluster, wait_until};
use crate::support::daemon::{Circumstances, Daemon, next, only_daily, side_by_side, slots, state};
use crate::support::filesystem::HangingDirectory;
use crate::support::operator::{HeldLock, Operator};
use chrono::{DateTime, FixedOffset, TimeDelta};
use rustix::process::Signal;

const RIYADH: &str = "Asia/Riyadh";

/// Two in the night in Riyadh, as the ledger has it, and a moment before it in UTC.
const SLOT: &str = "2025-07-09T02:00:00+03:00";
const BEFORE: &str = "2025-07-08T22:59:58Z";

fn every_night(operator: &mut Operator) {
    only_daily(operator, RIYADH, "0 2 * * *");
}

fn as_service(operator: &Operator) -> Daemon {
    Daemon::with(
        operator,
        Circumstances {
            is_service: true,
            ..Circumstances::default()
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
        ("hangs_at_start", &disk_that_hangs_at_the_start),
        ("hangs_at_reload", &disk_that_hangs_at_a_reload),
        ("hangs_at_state", &runtime_directory_that_hangs),
        ("refused", &refused_reload),
    ]);
}

#[test]
fn a_directory_that_hangs_keeps_nobody_else_from_being_backed_up() {
    side_by_side(&[
        ("hangs_at_night", &directory_that_hangs_in_the_night),
        ("hangs_in_run", &directory_that_hangs_in_a_run),
        ("hangs_at_stop", &directory_that_hangs_at_the_stop),
        (
            "hangs_at_jump",
            &directory_that_hangs_while_slots_are_missed,
        ),
        ("hangs_at_note", &state_directory_that_hangs),
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
    ]);
}

fn says_what_it_does(_: &Cluster, mut operator: Operator) {
    every_night(&mut operator);
    let daemon = as_service(&operator);
    daemon.wait_for_told("READY=1", 1);
    let told = daemon.told();
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

    let second = Daemon::launch(&operator, Circumstances::default()).wait();
    assert_eq!(second.code, 75, "{second:?}");
    let pid = daemon.pid().as_raw_nonzero();
    let expected = format!("another pgbackupd daemon runs with this configuration (process {pid})");
    assert!(second.log.contains(&expected), "{second:?}");

    // The state is the first one's still.
    assert_eq!(state(&operator)["pid"], pid.get());

    daemon.signal(Signal::TERM);
    daemon.wait_for_told("STOPPING=1", 1);
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
    let reloading = daemon.wait_for_told("RELOADING=1", 1);
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    daemon.wait_for_told("READY=1", 2);
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
    daemon.wait_for("the configuration was NOT reloaded, the one before it stays in force:");
    daemon.wait_for_told("READY=1", 3);
    let log = daemon.log();
    let place = format!("{}:{line}:", operator.configuration().display());
    assert!(
        log.contains(&place) && log.contains("jobs.daily.schedule"),
        "{log}"
    );
    daemon.wait_for_told("STATUS=the configuration is REFUSED", 1);
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
    daemon.wait_for_told("READY=1", 4);
    assert!(
        daemon
            .told()
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
        let told = daemon.told();
        let count = |start: &str| told.iter().filter(|one| one.starts_with(start)).count();
        count("READY=1") == count("RELOADING=1") + 1
    });
    assert_eq!(daemon.end().code, 0);
}

fn watchdog(_: &Cluster, mut operator: Operator) {
    every_night(&mut operator);
    let daemon = Daemon::with(
        &operator,
        Circumstances {
            is_service: true,
            watchdog: Some(Duration::from_secs(2)),
            ..Circumstances::default()
        },
    );
    let began = Instant::now();
    daemon.wait_for_told("WATCHDOG=1", 4);
    let took = began.elapsed();
    assert!(took > Duration::from_secs(2), "too often: {took:?}");
    // Only builds for tests can be made to hang.
    if cfg!(debug_assertions) {
        let beats = || {
            daemon
                .told()
                .iter()
                .filter(|told| *told == "WATCHDOG=1")
                .count()
        };
        daemon.signal(Signal::USR2);
        sleep(Duration::from_secs(1));
        let before = beats();
        sleep(Duration::from_secs(4));
        assert_eq!(beats(), before, "a hung loop has no heartbeat");
    }
}

fn unusable_directory(_: &Cluster, mut operator: Operator) {
    every_night(&mut operator);
    fs::write(operator.path("file"), "").unwrap();
    operator.set("directory", operator.path("file").display());
    let end = Daemon::launch(&operator, Circumstances::default()).wait();
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

fn disk_that_hangs_at_the_start(_: &Cluster, mut operator: Operator) {
    every_night(&mut operator);
    let disk = operator.path("disk");
    fs::create_dir(&disk).unwrap();
    operator.set("directory", disk.join("backups").display());
    let Some(_hanging) = HangingDirectory::over(disk.clone()) else {
        return;
    };
    let daemon = Daemon::launch(&operator, Circumstances::default());
    daemon.wait_for(" starts, with ");
    let end = daemon.end();
    assert_eq!(end.code, 0, "{end:?}");
    let expected = "stopping on SIGTERM: it was still starting";
    assert!(end.log.contains(expected), "{}", end.log);
    assert!(!end.log.contains(" ready: "), "{}", end.log);

    // It is waited for, but not for good.
    let daemon = as_service(&operator);
    let directory = disk.join("backups/hangs_at_start");
    assert_concern_about(&operator, &daemon, &directory);
    assert_eq!(daemon.end().code, 0);
}

/// Log, `systemctl status` and `pgbackupd status` name the directory that does not answer.
fn assert_concern_about(operator: &Operator, daemon: &Daemon, directory: &Path) {
    let named = directory.display().to_string();
    daemon.wait_for(&format!("the directory {named} has not answered since "));
    daemon.wait_for_told(&format!("STATUS={named} DOES NOT ANSWER"), 1);
    wait_until("the state names the directory", || {
        state(operator)["hanging"][0]["directory"] == named
    });
    let status = operator.run(&["status"]);
    assert_eq!(status.code, 1, "{status}");
    let expected = format!("the directory {named} has not answered the daemon since ");
    assert!(one_line(&status.stdout).contains(&expected), "{status}");
}

/// A runtime directory that does not answer delays READY by two seconds, and nothing else.
fn runtime_directory_that_hangs(_: &Cluster, mut operator: Operator) {
    every_night(&mut operator);
    let daemon = as_service(&operator);
    let Some(_hanging) = HangingDirectory::over(operator.path("runtime")) else {
        return;
    };
    operator.set("jobs.daily.schedule", "30 4 * * *");
    daemon.signal(Signal::HUP);
    daemon.wait_for("job daily: schedule 0 2 * * * → 30 4 * * *; next run ");
    let told = daemon.wait_for_told(&format!("STATUS={}", operator.path("runtime").display()), 1);
    assert!(told.contains(" does not take the state: "), "{told}");
    assert!(told.contains("; next: daily at "), "{told}");
    daemon.wait_for_told("READY=1", 2);
    daemon.signal(Signal::USR1);
    daemon.wait_for("job daily (backup, 30 4 * * *): next ");
    let end = daemon.end();
    assert_eq!(end.code, 0, "{end:?}");

    let end = Daemon::launch(&operator, Circumstances::default()).wait();
    assert_eq!(end.code, 73, "{end:?}");
    let runtime = operator.path("runtime").display().to_string();
    let expected =
        format!("cannot use the runtime directory {runtime}: the directory does not answer");
    assert!(end.log.contains(&expected), "{}", end.log);
}

/// A daemon, two databases and one turn: the first one's run has begun, and its directory hangs.
fn hanging_in_a_run<'a>(
    cluster: &'a Cluster,
    operator: &mut Operator,
    database: &str,
    other: &str,
) -> Option<(Daemon, HangingDirectory, HeldLock<'a>)> {
    every_night(operator);
    cluster.create_database(other);
    operator.unset("database");
    operator.set_value("databases", vec![database, other]);
    operator.set("retry.first", "1 second");
    let clock = WallClock::at(operator, BEFORE);
    let lock = HeldLock::on(cluster, database, "t");
    let daemon = Daemon::with(
        operator,
        Circumstances {
            clock: Some(&clock),
            is_service: true,
            watchdog: Some(Duration::from_secs(2)),
        },
    );
    lock.wait_for_another();
    operator.wait_for_process("pg_dump");
    let hanging = HangingDirectory::over(operator.path(&format!("backups/{database}")))?;
    Some((daemon, hanging, lock))
}

/// A run whose directory hangs in its middle is given up, and the other database has its turn.
fn directory_that_hangs_in_a_run(cluster: &Cluster, mut operator: Operator) {
    let hung = hanging_in_a_run(cluster, &mut operator, "hangs_in_run", "has_its_turn");
    let Some((daemon, hanging, lock)) = hung else {
        return;
    };
    let directory = operator.path("backups/hangs_in_run");
    let named = directory.display();
    drop(lock);
    hanging.wait_for_caller(daemon.pid());
    let said = daemon.wait_for(&format!("the directory {named} has not answered for "));
    assert!(said.contains("backup of hangs_in_run"), "{said}");
    let said = daemon.wait_for(" succeeded (job daily): ");
    assert!(said.contains("has_its_turn"), "{said}");
    assert_concern_about(&operator, &daemon, &directory);

    // It answers again, and has its backup in the same night.
    drop(hanging);
    daemon.wait_for(&format!("the directory {named} answers again"));
    let said = daemon.wait_for_nth(" succeeded (job daily): ", 2);
    assert!(said.contains("hangs_in_run"), "{said}");
    wait_until("the state has nothing that hangs", || {
        state(&operator)["hanging"] == serde_json::json!([])
    });
    assert_eq!(operator.run(&["verify", "--all"]).code, 0);
    assert_eq!(daemon.end().code, 0);
}

/// A run that hangs keeps the service from ending for less than systemd waits.
fn directory_that_hangs_at_the_stop(cluster: &Cluster, mut operator: Operator) {
    let hung = hanging_in_a_run(cluster, &mut operator, "hangs_at_stop", "never_begins");
    let Some((daemon, hanging, lock)) = hung else {
        return;
    };
    drop(lock);
    hanging.wait_for_caller(daemon.pid());
    let began = Instant::now();
    let end = daemon.end();
    assert!(began.elapsed() < Duration::from_secs(30), "{end:?}");
    // By its own hand, whether the run was given up or had to be left.
    assert!(matches!(end.code, 0 | 70), "{end:?}");
    operator.assert_no_processes();
}

/// The state directory does not answer: what it has to remember waits, and nothing else does. `status` asks
/// for the same file as the daemon, and ends all the same.
fn state_directory_that_hangs(cluster: &Cluster, mut operator: Operator) {
    every_night(&mut operator);
    let clock = WallClock::at(&operator, BEFORE);
    let circumstances = Circumstances {
        clock: Some(&clock),
        is_service: true,
        watchdog: Some(Duration::from_secs(2)),
    };
    let lock = HeldLock::on(cluster, "hangs_at_note", "t");
    let daemon = Daemon::with(&operator, circumstances);
    lock.wait_for_another();
    operator.wait_for_process("pg_dump");
    let directory = operator.path("state");
    let Some(hanging) = HangingDirectory::over(directory.clone()) else {
        return;
    };
    drop(lock);
    daemon.wait_for(" succeeded (job daily): ");
    assert_concern_about(&operator, &daemon, &directory);
    assert_ends_in_time(daemon);

    // It is waited for by nobody else: `status` finds out by itself.
    let began = Instant::now();
    let status = operator.run(&["status"]);
    assert!(began.elapsed() < Duration::from_secs(30), "{status}");
    assert_eq!(status.code, 1, "{status}");
    let expected = format!("the directory {} does not answer: ", directory.display());
    assert!(one_line(&status.stdout).contains(&expected), "{status}");

    let daemon = Daemon::with(&operator, circumstances);
    assert_concern_about(&operator, &daemon, &directory);
    assert_ends_in_time(daemon);
    drop(hanging);
    let daemon = Daemon::with(&operator, circumstances);
    assert_eq!(daemon.end().code, 0);
    assert_eq!(slots(&operator, "succeeded"), [SLOT]);
}

/// The service ends before systemd kills it, and in good order.
fn assert_ends_in_time(daemon: Daemon) {
    let began = Instant::now();
    let end = daemon.end();
    assert!(began.elapsed() < Duration::from_secs(30), "{end:?}");
    assert_eq!(end.code, 0, "{end:?}");
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// One database's directory does not answer: the others have their backups, the watchdog is fed, the
/// log names the directory, and the service ends in time.
fn directory_that_hangs_in_the_night(cluster: &Cluster, mut operator: Operator) {
    every_night(&mut operator);
    cluster.create_database("answers");
    operator.unset("database");
    operator.set_value("databases", vec!["hangs_at_night", "answers"]);
    operator.set("retry.first", "1 second");
    operator.set_value("jobs.weekly.enabled", true);
    operator.set("jobs.weekly.schedule", "0 2 * * *");
    operator.set_value("jobs.weekly.blackout", vec!["Wed,Thu 01:00-09:00"]);
    let clock = WallClock::at(&operator, BEFORE);
    let directory = operator.path("backups/hangs_at_night");
    fs::create_dir_all(&directory).unwrap();
    let period = Duration::from_secs(2);
    let daemon = Daemon::with(
        &operator,
        Circumstances {
            clock: Some(&clock),
            is_service: true,
            watchdog: Some(period),
        },
    );
    let Some(hanging) = HangingDirectory::over(directory.clone()) else {
        return;
    };
    let began = Instant::now();
    let said = daemon.wait_for(" does not answer: its file system hangs");
    let named = directory.display().to_string();
    assert!(said.contains(&named), "{said}");
    let said = daemon.wait_for(" skipped runs are recorded in its ledger as soon as it does");
    assert!(said.contains(&named), "{said}");
    let of_the_other = || {
        let ledger = fs::read_to_string(operator.path("backups/answers/backup.log"));
        ledger.unwrap_or_default()
    };
    wait_until("the other database has its backup and its skip", || {
        let ledger = of_the_other();
        ledger.contains("\"succeeded\"") && ledger.contains("\"skipped\"")
    });
    assert_concern_about(&operator, &daemon, &directory);
    sleep((period * 4).saturating_sub(began.elapsed()));
    let beats = daemon.told();
    let beats = beats.iter().filter(|told| *told == "WATCHDOG=1").count();
    // Two a period, less a turn of the loop each.
    assert!(beats >= 6, "{beats} in {:?}", began.elapsed());

    // It answers again.
    drop(hanging);
    daemon.wait_for_nth(" succeeded (job daily): ", 2);
    let hanging = HangingDirectory::over(directory).unwrap();
    clock.set("2025-07-09T22:59:58Z");
    daemon.wait_for_nth(
        " skipped runs are recorded in its ledger as soon as it does",
        2,
    );
    let ending = Instant::now();
    let end = daemon.end();
    assert!(ending.elapsed() < Duration::from_secs(30));
    assert_eq!(end.code, 0, "{end:?}");
    let missing = format!("{named} does not answer: skipped runs missing in its ledger: 1");
    assert!(end.log.contains(&missing), "{}", end.log);
    drop(hanging);
}

/// A slot is missed while a directory does not answer: the other database catches up at once, and this one
/// when its directory answers.
fn directory_that_hangs_while_slots_are_missed(cluster: &Cluster, mut operator: Operator) {
    every_night(&mut operator);
    cluster.create_database("meanwhile");
    operator.unset("database");
    operator.set_value("databases", vec!["hangs_at_jump", "meanwhile"]);
    let clock = WallClock::at(&operator, BEFORE);
    let daemon = Daemon::under(&operator, &clock);
    daemon.wait_for_nth(" succeeded (job daily): ", 2);
    let directory = operator.path("backups/hangs_at_jump");
    let Some(hanging) = HangingDirectory::over(directory.clone()) else {
        return;
    };
    clock.set("2025-07-10T05:00:00Z");
    let said = daemon.wait_for(" does not answer: whether job daily was missed there is found out");
    assert!(said.contains(&directory.display().to_string()), "{said}");
    let said = daemon.wait_for_nth(" succeeded (job daily): ", 3);
    assert!(said.contains("meanwhile"), "{said}");
    assert_eq!(daemon.count("; catching up within "), 1);
    drop(hanging);
    let said = daemon.wait_for_nth(" succeeded (job daily): ", 4);
    assert!(said.contains("hangs_at_jump"), "{said}");
    assert_eq!(daemon.count("; catching up within "), 2);
    assert_eq!(daemon.end().code, 0);
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
    daemon.wait_for("the configuration was NOT reloaded, the one before it stays in force:");
    daemon.wait_for("for the backups of database other cannot be used: Not a directory");
    assert!(!elsewhere.join("refused").exists());
    fs::remove_file(elsewhere.join("other")).unwrap();
    daemon.signal(Signal::HUP);
    daemon.wait_for("configuration reloaded from ");
    assert!(elsewhere.join("refused").is_dir() && elsewhere.join("other").is_dir());
    assert_eq!(daemon.end().code, 0);
}

/// What is configured goes on while the file system of the new configuration does not answer.
fn disk_that_hangs_at_a_reload(_: &Cluster, mut operator: Operator) {
    every_night(&mut operator);
    let fragments = operator.configuration().with_file_name("conf.d");
    fs::create_dir_all(&fragments).unwrap();
    let daemon = as_service(&operator);
    let Some(hanging) = HangingDirectory::over(fragments.clone()) else {
        return;
    };
    operator.set("jobs.daily.schedule", "30 4 * * *");
    daemon.signal(Signal::HUP);
    daemon.wait_for_told("RELOADING=1", 1);
    hanging.wait_for_caller(daemon.pid());
    daemon.signal(Signal::USR1);
    daemon.wait_for("job daily (backup, 0 2 * * *): next ");
    // It is gone: the reload ends, and the one that was asked for meanwhile comes after it.
    daemon.signal(Signal::HUP);
    daemon.signal(Signal::USR1);
    daemon.wait_for_nth("job daily (backup, 0 2 * * *): next ", 2);
    drop(hanging);
    daemon.wait_for("job daily: schedule 0 2 * * * → 30 4 * * *; next run ");
    daemon.wait_for_told("READY=1", 3);

    let hanging = HangingDirectory::over(fragments).unwrap();
    daemon.signal(Signal::HUP);
    daemon.wait_for_told("RELOADING=1", 3);
    let end = daemon.end();
    assert_eq!(end.code, 0, "{end:?}");
    assert!(
        end.log.contains("stopping on SIGTERM: nothing runs"),
        "{}",
        end.log
    );
    drop(hanging);
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
        said.contains("is still at work, since 2025-07-09 15:00:0"),
        "{said}"
    );
    assert_eq!(slots(&operator, "skipped"), ["2025-07-09T15:05:00+03:00"]);
    let message = operator.last_record()["message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(message.contains("is still at work"), "{message}");
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
