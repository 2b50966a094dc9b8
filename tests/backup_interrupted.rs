//! Runs that are cut short: by another run, by a signal, by a kill that nobody can catch.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::cluster::{Cluster, wait_until};
use crate::support::operator::{HeldLock, Operator, Output, Running, with_a_backup};
use rustix::process::{Pid, Signal, kill_process};

const SIGNALS: [(Signal, &str); 3] = [
    (Signal::HUP, "SIGHUP"),
    (Signal::INT, "SIGINT"),
    (Signal::TERM, "SIGTERM"),
];

/// The run ended by this signal as it should, and reported so.
#[track_caller]
fn assert_interrupted(operator: &Operator, output: &Output, (signal, name): (Signal, &str)) {
    output.assert_failed(
        128 + signal.as_raw(),
        &format!("pgbackupd: no backup of database postgres: interrupted by {name}"),
    );
    let record = operator.last_record();
    assert_eq!(record["event"], "interrupted", "{record}");
    assert_eq!(record["operation"], "backup", "{record}");
    assert_no_run_is_open(operator);
}

/// Every run in the ledger that started has an end.
#[track_caller]
fn assert_no_run_is_open(operator: &Operator) {
    let mut open = BTreeSet::new();
    for record in operator.ledger() {
        let run = record["run"].as_str().unwrap().to_owned();
        match record["event"].as_str().unwrap() {
            "started" => assert!(open.insert(run), "{record}"),
            "skipped" => {}
            _ => assert!(open.remove(&run), "{record}"),
        }
    }
    assert_eq!(open, BTreeSet::new());
}

/// Waits until a stand-in has said by a file of this name that it is there.
fn wait_for(path: &Path) {
    wait_until(&format!("{} is there", path.display()), || path.exists());
}

#[test]
fn a_second_backup_meanwhile_is_reported_who_is_at_work_since_when() {
    let (cluster, operator) = with_a_backup();
    let lock = HeldLock::on(&cluster, "postgres", "t");
    let first = operator.spawn(&["backup"]);
    lock.wait_for_another();
    let started = operator.last_record();
    assert_eq!(started["event"], "started");

    let output = operator.run(&["backup"]);
    let requester = &started["requested_by"];
    let since = started["at"].as_str().unwrap();
    let directory = operator.backups();
    let expected = format!(
        "{} is busy: a backup by {} (process {}) has been running since {} {} +03:00",
        directory.display(),
        requester["user"].as_str().unwrap(),
        first.pid(),
        &since[..10],
        &since[11..19],
    );
    output.assert_failed(
        75,
        &format!("pgbackupd: no backup of database postgres: {expected}"),
    );
    let skipped = operator.last_record();
    assert_eq!(skipped["event"], "skipped");
    assert_eq!(skipped["message"], *expected);
    assert_ne!(skipped["run"], started["run"]);

    drop(lock);
    let output = first.wait();
    assert_eq!(output.code, 0, "{output}");
    assert_no_run_is_open(&operator);
    operator.assert_next_run_succeeds();
}

#[test]
fn a_signal_while_the_programs_are_looked_for_ends_the_run_at_once() {
    let (_cluster, mut operator) = with_a_backup();
    let before = operator.standing();
    operator.stand_in(
        "pg_dump",
        "#version\n> \"$directory/reached\"; exec sleep 1000",
    );
    let began = Instant::now();
    let running = operator.spawn(&["backup"]);
    wait_for(&operator.path("reached"));
    running.signal(Signal::TERM);
    let output = running.wait();
    assert!(began.elapsed() < Duration::from_secs(5), "{output}");
    assert_interrupted(&operator, &output, (Signal::TERM, "SIGTERM"));
    operator.assert_nothing_new(&before);
    operator.send_stand_ins_home();
    operator.assert_next_run_succeeds();
}

#[test]
fn a_signal_while_dumping_ends_the_run_and_its_programs() {
    let (cluster, operator) = with_a_backup();
    let before = operator.standing();
    for signal in SIGNALS {
        let lock = HeldLock::on(&cluster, "postgres", "t");
        let running = operator.spawn(&["backup"]);
        lock.wait_for_another();
        running.signal(signal.0);
        assert_interrupted(&operator, &running.wait(), signal);
        operator.assert_nothing_new(&before);
    }
    operator.assert_next_run_succeeds();
}

#[test]
fn a_signal_while_dumping_a_directory_ends_the_run_and_its_workers() {
    let (cluster, mut operator) = with_a_backup();
    operator.set("dump.format", "directory");
    let before = operator.standing();
    let lock = HeldLock::on(&cluster, "postgres", "t");
    let running = operator.spawn(&["backup"]);
    lock.wait_for_another();
    running.signal(Signal::TERM);
    assert_interrupted(&operator, &running.wait(), (Signal::TERM, "SIGTERM"));
    operator.assert_nothing_new(&before);
    drop(lock);
    operator.assert_next_run_succeeds();
}

#[test]
fn a_signal_while_roles_are_dumped_ends_the_run() {
    let (_cluster, mut operator) = with_a_backup();
    let before = operator.standing();
    operator.stand_in("pg_dumpall", "> \"$directory/reached\"; exec sleep 1000");
    let running = operator.spawn(&["backup"]);
    wait_for(&operator.path("reached"));
    running.signal(Signal::INT);
    assert_interrupted(&operator, &running.wait(), (Signal::INT, "SIGINT"));
    operator.assert_nothing_new(&before);
    operator.send_stand_ins_home();
    operator.assert_next_run_succeeds();
}

#[test]
fn a_signal_while_an_archive_is_read_back_ends_the_run() {
    let (_cluster, mut operator) = with_a_backup();
    operator.set("dump.format", "custom");
    let before = operator.standing();
    operator.stand_in("pg_restore", "> \"$directory/reached\"; exec sleep 1000");
    for signal in SIGNALS {
        let running = operator.spawn(&["backup"]);
        wait_for(&operator.path("reached"));
        running.signal(signal.0);
        assert_interrupted(&operator, &running.wait(), signal);
        operator.assert_nothing_new(&before);
        fs::remove_file(operator.path("reached")).unwrap();
    }
    operator.send_stand_ins_home();
    operator.assert_next_run_succeeds();
}

#[test]
fn a_second_signal_ends_the_process_at_once_and_the_next_run_sweeps_up() {
    let (_cluster, mut operator) = with_a_backup();
    let script = "trap '> \"$directory/told\"' TERM; > \"$directory/reached\"\n\
                  while :; do sleep 1000; done";
    operator.stand_in("pg_dump", script);
    let running = operator.spawn(&["backup"]);
    wait_for(&operator.path("reached"));
    running.signal(Signal::TERM);
    wait_for(&operator.path("told"));
    running.signal(Signal::INT);
    let output = running.wait();
    assert_eq!((output.code, output.stderr.as_str()), (130, ""), "{output}");
    // Nor what the program has started.
    operator.assert_no_processes();
    operator.send_stand_ins_home();
    operator.assert_next_run_succeeds();
    assert_no_run_is_open(&operator);
}

#[test]
fn a_signal_while_a_plain_dump_is_read_back_ends_the_run() {
    if !strace_works() {
        return;
    }
    let (_cluster, mut operator) = with_a_backup();
    // Then only the dump is read back, which begins with this call.
    operator.set_value("dump.globals", false);
    let before = operator.standing();
    let delayed = Delayed::at("fadvise64", &operator, &["backup"]);
    let output = delayed.end(Signal::TERM);
    assert_interrupted(&operator, &output, (Signal::TERM, "SIGTERM"));
    operator.assert_nothing_new(&before);
    operator.assert_next_run_succeeds();
}

#[test]
fn a_backup_that_is_being_published_is_published_to_the_end() {
    if !strace_works() {
        return;
    }
    let (_cluster, operator) = with_a_backup();
    let before = operator.list().len();
    let delayed = Delayed::at("renameat2", &operator, &["backup"]);
    let output = delayed.end(Signal::TERM);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{output}");
    assert_eq!(operator.list().len(), before + 1);
    assert_eq!(operator.last_record()["event"], "succeeded");
    operator.assert_next_run_succeeds();
}

#[test]
fn a_signal_between_two_databases_is_no_success() {
    if !strace_works() {
        return;
    }
    let cluster = Cluster::start();
    let names = ["first", "second", "third"];
    for name in names {
        cluster.create_database(name);
    }
    let mut operator = Operator::of(&cluster, "first");
    operator.unset("database");
    operator.set_value("databases", names.to_vec());
    // The first backup is being published, and that is done to the end.
    let delayed = Delayed::at("renameat2", &operator, &["backup"]);
    let output = delayed.end(Signal::TERM);
    assert_eq!(output.code, 143, "{output}");
    assert_eq!(
        output.stderr,
        "pgbackupd: interrupted by SIGTERM with 2 databases left: second, third\n"
    );
    assert_eq!(operator.list().len(), 1);
    operator.assert_all_whole();
}

#[test]
fn a_signal_between_two_databases_that_are_verified_is_no_success() {
    if !strace_works() {
        return;
    }
    let cluster = Cluster::start();
    let names = ["first", "second"];
    for name in names {
        cluster.create_database(name);
    }
    let mut operator = Operator::of(&cluster, "first");
    operator.unset("database");
    operator.set_value("databases", names.to_vec());
    operator.back_up();
    // What was found of the first is being noted, and that is done to the end.
    let delayed = Delayed::at("rename", &operator, &["verify"]);
    let output = delayed.end(Signal::TERM);
    assert_eq!(output.code, 143, "{output}");
    assert_eq!(
        output.stderr,
        "pgbackupd: interrupted by SIGTERM with 1 database left: second\n"
    );
    assert_eq!(output.stdout.lines().count(), 1, "{output}");
    assert!(output.stdout.contains(": intact, "), "{output}");
}

#[test]
fn a_run_that_is_killed_while_dumping_takes_its_programs_with_it() {
    let (cluster, mut operator) = with_a_backup();
    operator.set("limits.lock_wait", "1 hour");
    let before = operator.standing();
    // A program that waits for the server does not notice that nobody reads what it says.
    let lock = HeldLock::on(&cluster, "postgres", "t");
    let running = operator.spawn(&["backup"]);
    lock.wait_for_another();
    running.signal(Signal::KILL);
    assert_eq!(running.wait().code, 137);
    operator.assert_no_processes();
    drop(lock);
    assert_eq!(operator.standing(), before);
    assert_eq!(operator.last_record()["event"], "started");
    assert_next_run_puts_things_right(&operator);
}

#[test]
fn a_run_that_is_killed_takes_with_it_what_its_programs_have_started() {
    let (_cluster, mut operator) = with_a_backup();
    // As a busy worker of pg_dump does, it hears nothing of the end of whoever has started it.
    operator.stand_in(
        "pg_dump",
        "sleep 1000 >&- 2>&- & > \"$directory/reached\"; exec sleep 1000",
    );
    let running = operator.spawn(&["backup"]);
    wait_for(&operator.path("reached"));
    running.signal(Signal::KILL);
    assert_eq!(running.wait().code, 137);
    operator.assert_no_processes();
    operator.send_stand_ins_home();
    assert_next_run_puts_things_right(&operator);
}

/// The process that ends a run's programs after it; none where it has none.
fn watcher_of(running: &Running) -> Option<Pid> {
    let parent = format!("PPid:\t{}\n", running.pid().as_raw_nonzero());
    let mut processes = fs::read_dir("/proc").unwrap().flatten();
    processes.find_map(|entry| {
        let number = entry.file_name().to_str()?.parse().ok()?;
        let read = |name| fs::read_to_string(entry.path().join(name)).unwrap_or_default();
        let is_it =
            read("status").contains(&parent) && read("cmdline").starts_with("pgbackupd-watch");
        is_it.then(|| Pid::from_raw(number)).flatten()
    })
}

#[test]
fn a_watcher_that_dies_is_started_again_with_the_next_program() {
    let (_cluster, mut operator) = with_a_backup();
    // A watcher learns of a program just after its start, and on a loaded machine later than its first steps.
    let script = "if mkdir \"$directory/first\" 2>/dev/null; then > \"$directory/one\"; \
        while [ ! -e \"$directory/go\" ]; do sleep 0.05; done; exec \"$real\" \"$@\"; fi\n\
        sleep 1000 >&- 2>&- & sleep 1; > \"$directory/reached\"; exec sleep 1000";
    operator.stand_in("pg_dump", script);
    operator.stand_in("pg_dumpall", script);
    let running = operator.spawn(&["backup"]);
    wait_for(&operator.path("one"));
    wait_until("it is watched", || watcher_of(&running).is_some());
    let first = watcher_of(&running).expect("a watcher");
    kill_process(first, Signal::KILL).unwrap();
    // Dead, and not buried: nobody has waited for it.
    wait_until("it is dead", || watcher_of(&running).is_none());
    fs::write(operator.path("go"), "").unwrap();
    wait_for(&operator.path("reached"));
    wait_until("it is watched again", || watcher_of(&running).is_some());
    let second = watcher_of(&running).expect("another watcher");
    assert_ne!(first, second);
    running.signal(Signal::KILL);
    assert_eq!(running.wait().code, 137);
    operator.assert_no_processes();
    operator.send_stand_ins_home();
    assert_next_run_puts_things_right(&operator);
}

/// After a kill, at whatever point: what `list` shows is whole, the next run succeeds, and then
/// nothing is left over on the disk or open in the ledger.
#[track_caller]
fn assert_next_run_puts_things_right(operator: &Operator) {
    operator.assert_no_processes();
    assert_listed_are_whole(operator);
    operator.assert_next_run_succeeds();
    assert_no_run_is_open(operator);
    let listed = operator.list();
    for file in operator.artifacts() {
        let (stem, _) = file.split_once('.').unwrap();
        assert!(
            listed.iter().any(|name| name == stem),
            "{file} is in no backup"
        );
    }
}

/// What `list` shows is whole, whatever else lies about.
#[track_caller]
fn assert_listed_are_whole(operator: &Operator) {
    let listed = operator.list();
    let verified = operator.json(&["verify", "--all"]);
    let backups = verified[0]["backups"].as_array().unwrap();
    assert_eq!(backups.len(), listed.len(), "{verified}");
    for backup in backups {
        assert_eq!(backup["outcome"], "whole", "{verified}");
    }
}

/// Kills runs at the first, second, third … time that a thread of theirs does one of these calls,
/// until one comes through. With `heal`, a whole run follows each kill; else they pile up. Gives
/// the number of kills.
fn kill_at_each(calls: &str, operator: &Operator, heal: bool) -> usize {
    for count in 1..100 {
        let kill = format!("inject={calls}:signal=SIGKILL:when={count}");
        let trace = format!("trace={calls}");
        let strace = [
            "strace",
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            &trace,
            "-e",
            &kill,
        ];
        let output = operator.run_under(&strace, &["backup"]);
        if output.code == 0 {
            assert_next_run_puts_things_right(operator);
            return count - 1;
        }
        assert_eq!(output.code, 137, "{calls} {count}: {output}");
        if heal {
            println!("killed at {calls} {count}");
            assert_next_run_puts_things_right(operator);
        }
    }
    panic!("a run does not come through");
}

#[test]
fn a_run_that_is_killed_at_any_rename_is_put_right_by_the_next() {
    if !strace_works() {
        return;
    }
    let (_cluster, operator) = with_a_backup();
    // Of globals, census, artifact and manifest.
    assert_eq!(kill_at_each("renameat2", &operator, true), 4);
}

#[test]
fn runs_that_are_killed_again_and_again_while_putting_things_right_are_put_right_at_last() {
    if !strace_works() {
        return;
    }
    let (_cluster, operator) = with_a_backup();
    assert!(kill_at_each("renameat2", &operator, false) > 4);
}

#[test]
fn a_run_that_is_killed_at_any_sync_is_put_right_by_the_next() {
    if !strace_works() {
        return;
    }
    let (_cluster, operator) = with_a_backup();
    // Of three files by whoever writes them, of all again and the manifest before any has its
    // name, and of the directory at each step; the thread that comes first counts.
    assert_eq!(kill_at_each("fsync", &operator, true), 8);
    // Of the ledger.
    assert_eq!(kill_at_each("fdatasync", &operator, true), 2);
}

#[test]
fn a_run_that_is_killed_while_retention_removes_a_backup_is_put_right_by_the_next() {
    if !strace_works() {
        return;
    }
    let (_cluster, mut operator) = with_a_backup();
    operator.set_value("retention.floor", 1);
    operator.set_value("series.daily.keep", false);
    operator.set_value("series.daily.keep_last", 1);
    let calls = "unlink,unlinkat";
    for count in 1..20 {
        let kill = format!("inject={calls}:signal=SIGKILL:when={count}");
        let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &kill];
        let output = operator.run_under(&strace, &["backup"]);
        assert_listed_are_whole(&operator);
        if output.code == 0 {
            assert!(count > 4, "{count}");
            assert_eq!(operator.list().len(), 1);
            return;
        }
        assert_eq!(output.code, 137, "{output}");
        operator.back_up();
        assert_eq!(operator.list().len(), 1);
        operator.assert_all_whole();
        assert_eq!(operator.temporaries(), BTreeSet::new());
        assert_no_run_is_open(&operator);
    }
    panic!("a run does not come through");
}

#[test]
fn a_run_that_is_killed_where_it_opens_any_file_to_write_is_put_right_by_the_next() {
    if !strace_works() {
        return;
    }
    let (_cluster, operator) = with_a_backup();
    let log = operator.path("strace");
    let log_name = log.to_str().unwrap();
    // Of the main thread alone: it does all that changes what there is.
    let strace = ["strace", "-qq", "-o", log_name, "-e", "trace=openat"];
    let output = operator.run_under(&strace, &["backup"]);
    assert_eq!(output.code, 0, "{output}");
    let text = fs::read_to_string(&log).unwrap();
    let directory = operator.backups().display().to_string();
    let openings = text.lines().filter(|line| line.starts_with("openat("));
    let ours: Vec<usize> = openings
        .enumerate()
        .filter(|(_, line)| line.contains(&directory))
        .filter(|(_, line)| line.contains("O_CREAT") || line.contains("O_APPEND"))
        .map(|(index, _)| index + 1)
        .collect();
    // Lock, ledger, globals, artifact, census, manifest, and the ledger again.
    assert_eq!(ours.len(), 7, "{text}");
    for count in ours {
        let kill = format!("inject=openat:signal=SIGKILL:when={count}");
        let strace = ["strace", "-qq", "-o", "/dev/null", "-e", &kill];
        let output = operator.run_under(&strace, &["backup"]);
        assert_eq!(output.code, 137, "{output}");
        assert_next_run_puts_things_right(&operator);
    }
}

#[test]
fn a_run_that_is_killed_at_any_time_is_put_right_by_the_next() {
    let (_cluster, operator) = with_a_backup();
    let began = Instant::now();
    operator.back_up();
    let whole = began.elapsed();
    for part in 1..8 {
        let running = operator.spawn(&["backup"]);
        // No event to wait for: any moment will do, and each run of the test tries others.
        sleep(whole * part / 8);
        running.signal(Signal::KILL);
        running.wait();
        assert_next_run_puts_things_right(&operator);
    }
}

/// Whether runs can be traced here.
fn strace_works() -> bool {
    let probe = ["-f", "-qq", "-o", "/dev/null", "true"];
    let works = Command::new("strace")
        .args(probe)
        .status()
        .is_ok_and(|status| status.success());
    if !works {
        println!("skipped: strace is not installed, or may not trace");
    }
    works
}

/// A run that stands still for two seconds before it does a call for the first time.
struct Delayed {
    running: Running,
    /// The program itself, which is not the one that was started.
    program: Pid,
}

impl Delayed {
    /// Starts it, and waits until it stands still.
    fn at(call: &str, operator: &Operator, arguments: &[&str]) -> Self {
        let log = operator.path("strace");
        let trace = format!("trace={call}");
        let delay = format!("inject={call}:delay_enter=2000000:when=1");
        let log_name = log.to_str().unwrap();
        let strace = [
            "strace", "-f", "-qq", "-o", log_name, "-e", &trace, "-e", &delay,
        ];
        let running = Running::start(operator.command_under(&strace, arguments));
        wait_until(&format!("the run comes to {call}"), || {
            fs::read_to_string(&log).is_ok_and(|text| text.contains(&format!("{call}(")))
        });
        let program = &operator.last_record()["requested_by"]["pid"];
        let program = program.as_i64().unwrap().try_into().unwrap();
        let program = Pid::from_raw(program).unwrap();
        Self { running, program }
    }

    /// Sends a signal to the program, and waits for its end.
    fn end(self, signal: Signal) -> Output {
        kill_process(self.program, signal).unwrap();
        self.running.wait()
    }
}
