//! `status` against real directories, ledgers, locks and a real server: what it sees, what it says,
//! and that looking changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use chrono::{Duration, Utc};
use pgbackupd::repository::{DAEMON_STATE_FORMAT, DaemonState, RuntimeDirectory, ScheduledJob};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::clock::{machine_time, run_at};
use crate::support::cluster::{Cluster, wait_until};
use crate::support::drill::open_directory;
use crate::support::filesystem::Filesystem;
use crate::support::operator::{HeldLock, Operator, Output, code_of_status, make_big_table};

/// Somebody whose daemon, if there is one, is nobody else's.
fn operator(cluster: &Cluster) -> Operator {
    let mut operator = Operator::of(cluster, "postgres");
    operator.set_value("dump.globals", false);
    operator.set(
        "daemon.runtime_directory",
        operator.path("run").display().to_string(),
    );
    operator
}

/// The status as a program gets it; the exit code has to fit.
#[track_caller]
fn status(operator: &Operator) -> Value {
    let output = operator.run(&["status", "--json"]);
    assert_eq!(output.stderr, "", "{output}");
    let status: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(output.code, code_of_status(&status), "{output}");
    assert_eq!(status["ok"], output.code == 0, "{output}");
    status
}

/// The kinds of what needs attention.
fn kinds(status: &Value) -> Vec<&str> {
    let attention = status["attention"].as_array().unwrap();
    attention
        .iter()
        .map(|a| a["kind"].as_str().unwrap())
        .collect()
}

/// The text, for people, its lines joined; the exit code has to be this one, and stderr empty.
#[track_caller]
fn text(operator: &Operator, code: i32) -> String {
    let output = operator.run(&["status"]);
    assert_eq!(
        (output.code, output.stderr.as_str()),
        (code, ""),
        "{output}"
    );
    let words: Vec<&str> = output.stdout.split_whitespace().collect();
    words.join(" ")
}

/// Lets the configuration be so old that every schedule counts.
fn age_configuration(operator: &Operator) {
    let file = fs::File::options()
        .write(true)
        .open(operator.configuration())
        .unwrap();
    let long_ago = SystemTime::now() - std::time::Duration::from_secs(400 * 86_400);
    file.set_modified(long_ago).unwrap();
}

/// Runs a command with its clock ahead by so many hours.
fn shifted(operator: &Operator, hours: i64, arguments: &[&str]) -> Output {
    // From the machine's time, which may be another than this test's (packaging/test-dates).
    let from = (Utc::now() - machine_time()).num_seconds();
    run_at(operator, &format!("{:+}s", from + hours * 3600), arguments)
}

#[test]
fn after_a_backup_all_is_well() {
    let cluster = Cluster::start();
    let operator = operator(&cluster);
    operator.back_up();
    let said = text(&operator, 0);
    assert!(
        said.starts_with("all is well with 1 database, seen at "),
        "{said}"
    );
    assert!(said.contains("no daemon runs"), "{said}");
    let status = status(&operator);
    assert_eq!(status["daemon"]["running"], false);
    let database = &status["databases"][0];
    assert_eq!(database["recovery_point"]["met"], true);
    assert_eq!(database["recovery_point"]["target_seconds"], 86_400);
    assert_eq!(database["runs"]["succeeded"], 1);
    assert_eq!(database["runs"]["rate"], 1.0);
    assert_eq!(database["running"], Value::Array(Vec::new()));
    let daily = &database["series"][0];
    assert_eq!(daily["series"], "daily");
    assert_eq!(daily["newest"], operator.list()[0]);
    assert_eq!(daily["sizes"][0], operator.last_record()["bytes"]);
    assert_eq!(status["space"][0]["databases"], 1);
    assert!(status["space"][0]["backups_left"].as_u64().unwrap() > 3);
    let next = status["next"].as_array().unwrap();
    assert_eq!(next.len(), 5, "every job of the defaults");
    assert!(next.is_sorted_by_key(|next| next["at"].as_str().unwrap().to_owned()));
}

#[test]
fn a_database_without_a_backup_is_reported_once_one_was_due() {
    let mut operator = Operator::without_server("sales");
    operator.set(
        "daemon.runtime_directory",
        operator.path("run").display().to_string(),
    );
    let said = text(&operator, 0);
    assert!(
        said.contains("- database sales: there is no backup yet: the first is not due"),
        "{said}"
    );
    age_configuration(&operator);
    let said = text(&operator, 2);
    assert!(
        said.starts_with("2 things need attention, seen at "),
        "{said}"
    );
    assert!(
        said.contains(" !! sales: there is no backup, although one was due;"),
        "{said}"
    );
    assert_eq!(kinds(&status(&operator)), ["no_backup", "no_daemon"]);
    assert!(!operator.path("backups").exists(), "nothing was made");
}

#[test]
fn a_backup_that_grows_old_is_reported_and_a_new_one_settles_it() {
    let cluster = Cluster::start();
    let operator = operator(&cluster);
    operator.back_up();
    let later = shifted(&operator, 48, &["status", "--json"]);
    assert_eq!(later.code, 2, "{later}");
    let later: Value = serde_json::from_str(&later.stdout).unwrap();
    let kinds = kinds(&later);
    assert!(
        kinds.starts_with(&["recovery_point", "overdue"]),
        "{kinds:?}"
    );
    assert!(kinds.ends_with(&["no_daemon"]), "{kinds:?}");
    assert_eq!(later["databases"][0]["recovery_point"]["met"], false);
    assert_eq!(later["databases"][0]["series"][0]["series"], "daily");
    assert!(later["databases"][0]["series"][0]["overdue"].is_string());
    assert_eq!(status(&operator)["ok"], true, "today it is new");
}

#[test]
fn a_failed_run_is_reported_with_its_reason_until_one_succeeds() {
    let cluster = Cluster::start();
    let mut operator = operator(&cluster);
    operator.back_up();
    operator.stand_in(
        "pg_dump",
        "echo 'pg_dump: error: the moon is full' >&2; exit 1",
    );
    for _ in 0..2 {
        assert_ne!(operator.run(&["backup"]).code, 0);
    }
    let failed = status(&operator);
    assert_eq!(kinds(&failed), ["failed"]);
    let failing = &failed["databases"][0]["series"][0]["failing"];
    assert_eq!(failing["runs"], 2);
    let message = failed["attention"][0]["message"].as_str().unwrap();
    assert!(message.contains("the moon is full"), "{message}");
    assert!(
        message.ends_with("; run `pgbackupd backup --database postgres`"),
        "{message}"
    );
    let runs = &failed["databases"][0]["runs"];
    assert_eq!(
        (&runs["succeeded"], &runs["failed"]),
        (&1.into(), &2.into())
    );
    let said = text(&operator, 1);
    assert!(said.starts_with("1 thing needs attention, "), "{said}");

    operator.send_stand_ins_home();
    operator.back_up();
    assert_eq!(status(&operator)["ok"], true);
}

#[test]
fn damage_and_manifests_that_nobody_can_read_are_reported() {
    let cluster = Cluster::start();
    let operator = operator(&cluster);
    for _ in 0..2 {
        operator.back_up();
    }
    let names = operator.list();
    let file = |name: &str, end: &str| operator.backups().join(format!("{name}{end}"));
    let artifact = file(&names[1], ".sql.gz");
    let mut bytes = fs::read(&artifact).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(&artifact, bytes).unwrap();
    assert_eq!(status(&operator)["ok"], true, "nobody has looked yet");
    assert_eq!(operator.run(&["verify", "--all"]).code, 65);
    let damaged = status(&operator);
    assert_eq!(kinds(&damaged), ["damaged"]);
    let message = damaged["attention"][0]["message"].as_str().unwrap();
    assert!(message.contains(&names[1]), "{message}");
    let database = &damaged["databases"][0];
    assert_eq!(database["verified"]["succeeded"], false);
    assert_eq!(
        database["series"][0]["newest"], names[0],
        "the newest that is sound"
    );

    fs::write(file(&names[0], ".json"), "{").unwrap();
    let status = status(&operator);
    assert_eq!(kinds(&status), ["damaged", "no_backup", "unreadable"]);
    // What is somebody else's deserves a word and no more.
    fs::write(operator.backups().join("backup_20200101_000000.sql.gz"), "").unwrap();
    let said = text(&operator, 2);
    assert!(said.starts_with("3 things need attention"), "{said}");
    assert!(said.contains("have no manifest: 1;"), "{said}");
}

#[test]
fn a_run_is_seen_without_the_daemon_and_is_not_disturbed() {
    let cluster = Cluster::start();
    make_big_table(&cluster, "postgres", "big");
    let operator = operator(&cluster);
    operator.back_up();
    let lock = HeldLock::on(&cluster, "postgres", "big");
    let running = operator.spawn(&["backup"]);
    lock.wait_for_another();
    let waiting = status(&operator);
    let run = &waiting["databases"][0]["running"][0];
    assert_eq!(run["operation"], "backup");
    assert_eq!(run["written_bytes"], 0);
    assert!(
        run["since"].is_string() && run["requested_by"].is_string(),
        "{run}"
    );
    assert!(run["expected_bytes"].as_u64().unwrap() > 10_000, "{run}");
    assert_eq!(run["publishing"], false);
    let said = text(&operator, 0);
    assert!(
        said.contains(" running now postgres: backup for "),
        "{said}"
    );
    drop(lock);
    let output = running.wait();
    assert_eq!(output.code, 0, "{output}");
    let after = status(&operator);
    assert_eq!(after["databases"][0]["running"], Value::Array(Vec::new()));
    assert_eq!(after["databases"][0]["runs"]["skipped"], 0);

    // In the middle of the table it has written something; killed, it runs no more.
    let (halted, pg_dump) = operator.halted_midway(&cluster, "big");
    let midway = status(&operator);
    assert_eq!(
        midway["databases"][0]["running"].as_array().unwrap().len(),
        1
    );
    halted.signal(Signal::KILL);
    halted.wait();
    wait_until("pg_dump has ended", || {
        rustix::process::test_kill_process(pg_dump).is_err()
    });
    let said = text(&operator, 0);
    assert!(!said.contains("running now"), "{said}");
    assert!(
        said.contains("was cut short; the next run sweeps up"),
        "{said}"
    );
}

#[test]
fn looking_many_times_keeps_no_run_from_its_lock() {
    let cluster = Cluster::start();
    let operator = operator(&cluster);
    operator.back_up();
    let lookers: Vec<_> = (0..6).map(|_| operator.spawn(&["status"])).collect();
    for _ in 0..3 {
        operator.back_up();
    }
    for looker in lookers {
        assert_eq!(looker.wait().code, 0);
    }
}

/// Every file below a directory with its content, and when it was changed.
fn tree(directory: &Path) -> BTreeMap<PathBuf, (SystemTime, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut left = vec![directory.to_owned()];
    while let Some(path) = left.pop() {
        let metadata = path.metadata().unwrap();
        let content = if metadata.is_dir() {
            left.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
            Vec::new()
        } else {
            fs::read(&path).unwrap()
        };
        found.insert(path, (metadata.modified().unwrap(), content));
    }
    found
}

#[test]
fn looking_writes_nothing() {
    let cluster = Cluster::start();
    let operator = operator(&cluster);
    operator.back_up();
    let backups = operator.path("backups");
    for entry in tree(&backups).keys() {
        let mode = if entry.is_dir() { 0o500 } else { 0o400 };
        fs::set_permissions(entry, fs::Permissions::from_mode(mode)).unwrap();
    }
    let before = tree(&backups);
    assert_eq!(status(&operator)["ok"], true);
    assert!(tree(&backups) == before, "something has changed");
    assert!(
        !operator.path("run").exists(),
        "no runtime directory was made"
    );
    let directory = operator.backups();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn a_directory_that_cannot_be_looked_at_is_reported() {
    let mut operator = Operator::without_server("sales");
    operator.set("daemon.runtime_directory", operator.path("run").display());
    fs::create_dir(operator.path("backups")).unwrap();
    fs::write(operator.path("backups/sales"), "a file").unwrap();
    let status = status(&operator);
    assert_eq!(kinds(&status), ["directory"]);
    let message = status["attention"][0]["message"].as_str().unwrap();
    assert!(
        message.starts_with("cannot read the directory "),
        "{message}"
    );
}

#[test]
fn databases_are_found_and_chosen_by_name() {
    let cluster = Cluster::start();
    cluster.create_database("sales");
    let mut operator = operator(&cluster);
    operator.unset("database");
    operator.set("databases", "all");
    // As of a named one: nothing was missed before anybody could know of it.
    let said = text(&operator, 0);
    assert!(said.contains("yet: the first is not due"), "{said}");
    assert!(
        said.starts_with("no database is backed up here yet"),
        "{said}"
    );
    let line = operator.run(&["status", "--nagios"]);
    assert!(
        line.stdout
            .starts_with("PGBACKUPD OK - no database is backed up here yet"),
        "{line}"
    );
    age_configuration(&operator);
    let said = text(&operator, 2);
    assert!(
        said.contains("there is no backup of any database of server main in "),
        "{said}"
    );
    operator.back_up();
    // One whose first run fails has a ledger and nothing else.
    operator.stand_in("pg_dump", "exit 1");
    cluster.create_database("unlucky");
    assert_ne!(operator.run(&["backup", "--database=unlucky"]).code, 0);
    operator.send_stand_ins_home();
    let status = status(&operator);
    let names: Vec<&str> = status["databases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|database| database["database"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["postgres", "sales", "unlucky"]);
    assert_eq!(kinds(&status), ["failed"]);
    assert_eq!(operator.run(&["status", "--database=sales"]).code, 0);
    let unknown = operator.run(&["status", "--database=salse"]);
    unknown.assert_failed(
        64,
        "pgbackupd: database \"salse\" is not configured; did you mean \"sales\"?",
    );
}

#[test]
fn little_space_needs_attention() {
    let cluster = Cluster::start();
    let mut operator = operator(&cluster);
    operator.back_up();
    operator.set("limits.free_space", "1 EB");
    let status = status(&operator);
    assert_eq!(kinds(&status), ["space"]);
}

#[test]
fn p14_a_file_system_that_the_schedule_fills_is_reported_unless_retention_frees_enough() {
    let Some(disk) = Filesystem::in_memory("size=24m") else {
        return;
    };
    let cluster = Cluster::start();
    // Text that no compressor makes small.
    cluster.psql(
        "CREATE TABLE noise AS SELECT i, sha512(i::text::bytea) AS bytes \
           FROM generate_series(1, 40000) AS i",
    );
    let mut operator = operator(&cluster);
    operator.set("directory", disk.path().display());
    operator.set("limits.free_space", "1 MB");
    operator.set("jobs.daily.schedule", "0 * * * *");
    operator.back_up();
    let reported = status(&operator);
    assert_eq!(kinds(&reported), ["space"]);
    assert_eq!(reported["space"][0]["full_in_days"], 1);
    assert!(text(&operator, 1).contains("full within a day"));

    operator.set_value("series.daily.keep", false);
    operator.set_value("series.daily.keep_last", 2);
    let reported = status(&operator);
    assert_eq!(kinds(&reported), Vec::<&str>::new());
    assert_eq!(reported["space"][0]["full_in_days"], Value::Null);
}

/// Where the state directory takes nothing, no alert is sent: whoever looks has to see it.
#[test]
fn a_state_directory_that_is_full_is_critical() {
    let Some(disk) = Filesystem::in_memory("size=64k") else {
        return;
    };
    let cluster = Cluster::start();
    let mut operator = operator(&cluster);
    operator.back_up();
    operator.set("daemon.state_directory", disk.path().display());
    assert_eq!(kinds(&status(&operator)), Vec::<&str>::new());
    disk.leave_blocks(0);
    let reported = status(&operator);
    assert_eq!(kinds(&reported), ["directory"]);
    assert_eq!(reported["attention"][0]["severity"], "critical");
    let said = text(&operator, 2);
    assert!(said.contains("no alert and no report is sent"), "{said}");
    assert!(said.contains("No space left on device"), "{said}");
    assert!(said.contains("hint: free some space"), "{said}");
}

/// What a crash leaves of a line is nobody's concern; what nobody wrote is.
#[test]
fn a_ledger_in_which_somebody_else_has_written_is_reported() {
    let cluster = Cluster::start();
    let operator = operator(&cluster);
    operator.back_up();
    let ledger = operator.backups().join("backup.log");
    let written = fs::read(&ledger).unwrap();
    for (more, expected) in [
        (&b"{\"at\":\"2026-1"[..], &[][..]),
        (b"\0\0\0\0\n", &[]),
        (b"{\"format\":99,\"new\":true}\n", &[]),
        (b"\xff\x12 noise\nmore noise\n", &["directory"]),
    ] {
        fs::write(&ledger, [&written, more].concat()).unwrap();
        assert_eq!(kinds(&status(&operator)), expected, "{more:?}");
    }
}

#[test]
fn what_the_daemon_says_is_shown() {
    let cluster = Cluster::start();
    let operator = operator(&cluster);
    operator.back_up();
    let runtime = RuntimeDirectory::at(operator.path("run"));
    let lock = runtime.take().unwrap();
    let now = Utc::now().fixed_offset();
    let mut state = DaemonState {
        format: DAEMON_STATE_FORMAT,
        pid: std::process::id(),
        version: "9.9.9".to_owned(),
        started: now - Duration::hours(5),
        loaded: now - Duration::hours(4),
        refused: None,
        configuration: None,
        after_restart: Vec::new(),
        cannot_connect: Vec::new(),
        hanging: Vec::new(),
        stopping: false,
        jobs: vec![ScheduledJob {
            job: "nightly".to_owned(),
            kind: "backup".to_owned(),
            schedule: "0 2 * * *".to_owned(),
            next: Some(now + Duration::hours(3) + Duration::minutes(1)),
        }],
        running: Vec::new(),
        waiting: Vec::new(),
    };
    runtime.write(&lock, &state).unwrap();
    let said = text(&operator, 0);
    assert!(said.contains("has run for 5 hours"), "{said}");
    assert!(
        said.contains("nightly") && said.contains("in 3 hours"),
        "{said}"
    );
    let told = status(&operator);
    assert_eq!(told["daemon"]["running"], true);
    assert_eq!(
        told["next"].as_array().unwrap().len(),
        1,
        "the daemon's own"
    );

    state.refused = Some("line 3: no such key".to_owned());
    runtime.write(&lock, &state).unwrap();
    assert_eq!(kinds(&status(&operator)), ["configuration_refused"]);
    drop(lock);
    assert_eq!(status(&operator)["daemon"]["running"], false, "it has died");

    // A runtime directory that nobody can look into is no reason for alarm.
    fs::remove_dir_all(operator.path("run")).unwrap();
    fs::write(operator.path("run"), "a file").unwrap();
    let hidden = status(&operator);
    assert_eq!(hidden["ok"], true);
    assert_eq!(hidden["daemon"]["running"], Value::Null);
    assert_eq!(hidden["remarks"].as_array().unwrap().len(), 1);
}

#[test]
fn a_test_restore_that_could_not_be_made_makes_the_newest_no_younger() {
    let cluster = Cluster::start();
    let place = open_directory();
    let mut operator = operator(&cluster);
    operator.set("objectives.grace", "0 seconds");
    operator.set("objectives.drill_age", "1000 days");
    operator.back_up();
    let fresh = status(&operator);
    assert_eq!(kinds(&fresh), [""; 0]);
    let age = |status: &Value| status["databases"][0]["drill_age"].clone();
    assert_eq!(
        age(&fresh),
        json!({ "newest": null, "age_seconds": null, "limit_seconds": 1000 * 86_400, "met": true })
    );
    let said = text(&operator, 0);
    assert!(said.contains("no drill yet (1000 days at most);"), "{said}");

    operator.set("objectives.drill_age", "1 ms");
    operator.set("drill.directory", "/nonexistent");
    assert_eq!(operator.run(&["drill"]).code, 69);
    let tried = status(&operator);
    assert_eq!(kinds(&tried), ["failed", "drill_age"]);
    assert_eq!(age(&tried)["newest"], Value::Null);
    assert_eq!(age(&tried)["met"], false);
    let said = text(&operator, 1);
    assert!(
        said.contains("ago: FAILED, none yet with a result (1 ms at most);"),
        "{said}"
    );

    operator.set("drill.directory", place.path().display());
    assert_eq!(operator.run(&["drill"]).code, 0);
    operator.set("objectives.drill_age", "1 hour");
    let good = status(&operator);
    assert_eq!(kinds(&good), [""; 0]);
    assert_eq!(age(&good)["newest"], good["databases"][0]["drilled"]["at"]);
    let said = text(&operator, 0);
    assert!(
        said.contains("ago (1 hour at most): good, with the data back in "),
        "{said}"
    );

    operator.set("drill.directory", "/nonexistent");
    assert_eq!(operator.run(&["drill"]).code, 69);
    operator.set("objectives.drill_age", "1 ms");
    let again = status(&operator);
    assert_eq!(kinds(&again), ["failed", "drill_age"]);
    assert_eq!(age(&again)["newest"], age(&good)["newest"]);
    let said = text(&operator, 1);
    assert!(said.contains("FAILED, the last with a result "), "{said}");

    operator.set("objectives.drill_age", "off");
    let off = status(&operator);
    assert_eq!(kinds(&off), ["failed"]);
    assert_eq!(age(&off)["met"], Value::Null);
}

#[test]
fn directories_that_are_configured_no_more_are_remarked_as_long_as_they_hold_scheduled_backups() {
    let cluster = Cluster::start();
    let mut operator = operator(&cluster);
    fs::create_dir(operator.path("state")).unwrap();
    operator.back_up();
    assert!(not_configured(&operator).is_empty());

    // The directory is another one now, and a backup by hand goes to a third.
    let old = operator.backups();
    for name in ["usb", "new"] {
        operator.set("directory", operator.path(name).display());
        let reason: &[&str] = if name == "usb" {
            &["backup", "--reason", "before the move"]
        } else {
            &["backup"]
        };
        assert_eq!(operator.run(reason).code, 0);
    }
    let found = not_configured(&operator);
    assert_eq!(found.len(), 1, "{found:?}");
    let expected = format!(
        "{} holds 1 scheduled backup and is not configured: ",
        old.display()
    );
    assert!(found[0].starts_with(&expected), "{found:?}");

    // The whole server is another one, whose databases are found below one directory.
    operator.unset("database");
    operator.set("databases", "all");
    operator.set("directory", operator.path("all").display());
    let found = not_configured(&operator);
    assert_eq!(found.len(), 2, "{found:?}");
    fs::remove_dir_all(&old).unwrap();
    fs::remove_dir_all(operator.path("new")).unwrap();
    assert!(not_configured(&operator).is_empty());
}

/// What the status says of directories that are not configured.
fn not_configured(operator: &Operator) -> Vec<String> {
    let output = operator.run(&["status", "--json"]);
    let status: Value = serde_json::from_str(&output.stdout).unwrap();
    let remarks = status["remarks"].as_array().unwrap();
    remarks
        .iter()
        .map(|remark| remark.as_str().unwrap().to_owned())
        .filter(|remark| remark.contains("is not configured"))
        .collect()
}

/// The line of `status --nagios`, and its exit code.
fn plugin(operator: &Operator, options: &[&str]) -> (i32, String) {
    let output = operator.run(&[&["status", "--nagios"], options].concat());
    assert_eq!(output.stdout.lines().count(), 1, "{output}");
    assert_eq!(output.stderr, "", "{output}");
    (output.code, output.stdout)
}

#[test]
fn a_monitoring_plugin_gets_one_line_with_performance_data() {
    let cluster = Cluster::start();
    cluster.create_database("a|b");
    let mut operator = Operator::of(&cluster, "a|b");
    operator.set("daemon.runtime_directory", operator.path("run").display());
    operator.back_up();
    let (code, line) = plugin(&operator, &[]);
    assert_eq!(code, 0, "{line}");
    let (text, data) = line.split_once(" | ").unwrap();
    assert_eq!(text, "PGBACKUPD OK - all is well with 1 database");
    assert!(
        data.starts_with("databases=1 critical=0 warning=0 oldest_newest_backup="),
        "{data}"
    );
    assert!(data.contains("s;;86400 least_free_space="), "{data}");

    operator.set("limits.free_space", "1000 TB");
    let (code, line) = plugin(&operator, &[]);
    assert_eq!(code, 1, "{line}");
    assert!(line.starts_with("PGBACKUPD WARNING - only "), "{line}");

    let artifact = operator.artifacts().pop_first().unwrap();
    fs::write(operator.backups().join(artifact), "").unwrap();
    assert_eq!(operator.run(&["verify", "--all"]).code, 65);
    let (code, line) = plugin(&operator, &[]);
    assert_eq!(code, 2, "{line}");
    let start = "PGBACKUPD CRITICAL - a/b: the backup ";
    assert!(line.starts_with(start), "{line}");
    assert!(
        line.contains(" more) | databases=1 critical=2 warning=1"),
        "{line}"
    );

    // What the command itself cannot see is not said to be well, nor to be ill.
    let (code, line) = plugin(&operator, &["-d", "nosuch"]);
    assert_eq!(code, 3, "{line}");
    assert!(line.starts_with("PGBACKUPD UNKNOWN - "), "{line}");
    operator.set("nonsense", 1);
    let (code, line) = plugin(&operator, &[]);
    assert_eq!(code, 3, "{line}");
    assert!(line.starts_with("PGBACKUPD UNKNOWN - "), "{line}");
}
