//! Directories whose file system does not answer, and a service that goes on.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::daemon::{BEFORE, SLOT, as_service, every_night};
use crate::support::clock::WallClock;
use crate::support::cluster::{Cluster, wait_until};
use crate::support::daemon::{Daemon, DaemonOptions, side_by_side, slots, state};
use crate::support::filesystem::HangingDirectory;
use crate::support::operator::{HeldLock, Operator};
use rustix::process::Signal;

#[test]
fn a_disk_that_hangs_at_the_start_or_at_a_reload_delays_the_service_for_seconds() {
    side_by_side(&[
        ("hangs_at_start", &disk_that_hangs_at_the_start),
        ("hangs_at_reload", &disk_that_hangs_at_a_reload),
        ("hangs_at_state", &runtime_directory_that_hangs),
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
        ("hangs_for_window", &directory_that_hangs_for_a_window),
    ]);
}

fn disk_that_hangs_at_the_start(_: &Cluster, mut operator: Operator) {
    every_night(&mut operator);
    let disk = operator.path("disk");
    fs::create_dir(&disk).unwrap();
    operator.set("directory", disk.join("backups").display());
    let Some(_hanging) = HangingDirectory::over(disk.clone()) else {
        return;
    };
    let daemon = Daemon::launch(&operator, DaemonOptions::default());
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
    daemon.wait_for_notification("RELOADING=1", 1);
    hanging.wait_for_caller(daemon.pid());
    daemon.signal(Signal::USR1);
    daemon.wait_for("job daily (backup, 0 2 * * *): next ");
    // It is gone: the reload ends, and the one that was asked for meanwhile comes after it.
    daemon.signal(Signal::HUP);
    daemon.signal(Signal::USR1);
    daemon.wait_for_nth("job daily (backup, 0 2 * * *): next ", 2);
    drop(hanging);
    daemon.wait_for("job daily: schedule 0 2 * * * → 30 4 * * *; next run ");
    daemon.wait_for_notification("READY=1", 3);

    let hanging = HangingDirectory::over(fragments).unwrap();
    daemon.signal(Signal::HUP);
    daemon.wait_for_notification("RELOADING=1", 3);
    let end = daemon.end();
    assert_eq!(end.code, 0, "{end:?}");
    assert!(
        end.log.contains("stopping on SIGTERM: nothing runs"),
        "{}",
        end.log
    );
    drop(hanging);
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
    let told =
        daemon.wait_for_notification(&format!("STATUS={}", operator.path("runtime").display()), 1);
    assert!(told.contains(" does not take the state: "), "{told}");
    assert!(told.contains("; next: daily at "), "{told}");
    daemon.wait_for_notification("READY=1", 2);
    daemon.signal(Signal::USR1);
    daemon.wait_for("job daily (backup, 30 4 * * *): next ");
    let end = daemon.end();
    assert_eq!(end.code, 0, "{end:?}");

    let end = Daemon::launch(&operator, DaemonOptions::default()).wait();
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
        DaemonOptions {
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
    let options = DaemonOptions {
        clock: Some(&clock),
        is_service: true,
        watchdog: Some(Duration::from_secs(2)),
    };
    let lock = HeldLock::on(cluster, "hangs_at_note", "t");
    let daemon = Daemon::with(&operator, options);
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
    assert_eq!(status.code, 2, "{status}");
    let expected = format!("the directory {} does not answer: ", directory.display());
    assert!(one_line(&status.stdout).contains(&expected), "{status}");

    let daemon = Daemon::with(&operator, options);
    assert_concern_about(&operator, &daemon, &directory);
    assert_ends_in_time(daemon);
    drop(hanging);
    let daemon = Daemon::with(&operator, options);
    assert_eq!(daemon.end().code, 0);
    assert_eq!(slots(&operator, "succeeded"), [SLOT]);
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
        DaemonOptions {
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
    let beats = daemon.notifications();
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

/// A run that cannot begin in its window, because its directory does not answer, is on record.
fn directory_that_hangs_for_a_window(_: &Cluster, mut operator: Operator) {
    every_night(&mut operator);
    operator.set("jobs.daily.window", "1 hour");
    operator.set("retry.first", "2 hours");
    operator.set("retry.longest", "2 hours");
    let clock = WallClock::at(&operator, BEFORE);
    let daemon = Daemon::under(&operator, &clock);
    let Some(hanging) = HangingDirectory::over(operator.backups()) else {
        return;
    };
    daemon.wait_for(" FAILED (job daily): ");
    drop(hanging);
    let ledger = operator.backups().join("backup.log");
    wait_until("the run is on record", || ledger.exists());
    assert_eq!(daemon.end().code, 0);
    let [record] = &*operator.ledger() else {
        panic!("{:?}", operator.ledger());
    };
    assert_eq!(record["event"], "skipped");
    assert_eq!(record["due"], SLOT);
    let message = record["message"].as_str().unwrap();
    assert!(message.contains("has not answered"), "{message}");
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

/// Log, `systemctl status` and `pgbackupd status` name the directory that does not answer.
fn assert_concern_about(operator: &Operator, daemon: &Daemon, directory: &Path) {
    let named = directory.display().to_string();
    daemon.wait_for(&format!("the directory {named} has not answered since "));
    daemon.wait_for_notification(&format!("STATUS={named} DOES NOT ANSWER"), 1);
    wait_until("the state names the directory", || {
        state(operator)["hanging"][0]["directory"] == named
    });
    let status = operator.run(&["status"]);
    assert_eq!(status.code, 2, "{status}");
    let expected = format!("the directory {named} has not answered the daemon since ");
    assert!(one_line(&status.stdout).contains(&expected), "{status}");
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
