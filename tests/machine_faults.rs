//! Faults of the machine: no more threads or descriptors, pipes that somebody else holds open, links to
//! nothing, files of a dump that are gone, a restore that is killed. Each ends in time, with a sentence and
//! an exit code, and the next run succeeds.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::support::cluster::{Cluster, wait_until};
use crate::support::filesystem::can_trace;
use crate::support::operator::{Operator, Output, with_a_backup};
use rustix::process::Signal;

/// Runs it, which is to end in time.
#[track_caller]
fn in_time(operator: &Operator, limit: u64, starter: &[&str], arguments: &[&str]) -> Output {
    let began = Instant::now();
    let output = operator.run_under(starter, arguments);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(limit), "{took:?}: {output}");
    assert!(!output.stderr.contains("panicked"), "{output}");
    output
}

/// An error of looking whether something is there does not mean that it is not.
#[test]
fn what_cannot_be_looked_at_is_not_taken_for_missing() {
    if !can_trace() {
        return;
    }
    let (_cluster, operator) = with_a_backup();
    let newest = operator.list()[0].clone();
    let directory = operator.backups();
    let manifest = directory.join(format!("{newest}.json"));
    for (path, arguments) in [
        (&directory, ["prune"].as_slice()),
        (&manifest, &["pin", &newest]),
        (&manifest, &["verify", &newest]),
    ] {
        let path = path.display().to_string();
        let inject = "inject=statx:error=EIO";
        let starter = [
            "strace",
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-P",
            &path,
            "-e",
            inject,
        ];
        let output = in_time(&operator, 20, &starter, arguments);
        // Done all the same, or a failure; and never a fault of the backup's.
        let is_done = output.code == 0 && !output.stdout.is_empty();
        let has_failed = ![0, 65].contains(&output.code) && !output.stderr.is_empty();
        assert!(is_done || has_failed, "{arguments:?}: {output}");
    }
    operator.assert_all_whole();
    for arguments in [
        ["prune"].as_slice(),
        &["pin", &newest],
        &["verify", &newest],
    ] {
        let output = operator.run(arguments);
        assert_eq!(output.code, 0, "{arguments:?}: {output}");
    }
}

#[test]
fn what_a_program_leaves_behind_with_its_pipes_holds_nothing_up() {
    let (_cluster, mut operator) = with_a_backup();
    // As ssh with ControlPersist does: in another session, with its stdin and stdout open. Its stderr,
    // which is waited for for a while, stays open with the first of them.
    let outlived = "\"$real\" \"$@\"; code=$?; exec 3>&2; [ -e $directory/held ] && exec 3>/dev/null; \
                    touch $directory/held; setsid sleep 60 2>&3 3>&- & exit $code";
    for program in ["pg_dump", "pg_dumpall", "pg_restore", "psql"] {
        operator.stand_in(program, outlived);
    }
    let output = in_time(&operator, 20, &[], &["backup"]);
    assert_eq!(output.code, 0, "{output}");
    let into = ["restore", "--latest", "--into", "copy", "--yes"];
    let output = in_time(&operator, 40, &[], &into);
    assert_eq!(output.code, 0, "{output}");

    // What the program itself has said is what counts.
    let before = operator.standing();
    operator.stand_in(
        "pg_dump",
        "\"$real\" \"$@\" | head -c 300; setsid sleep 60 2>/dev/null & exit 0",
    );
    let output = in_time(&operator, 20, &[], &["backup"]);
    assert_eq!(output.code, 69, "{output}");
    operator.assert_nothing_new(&before);

    // Limits hold, whoever is still there.
    operator.set("limits.dump", "2 seconds");
    operator.stand_in("pg_dump", "setsid sleep 60 & sleep 60");
    let output = in_time(&operator, 20, &[], &["backup"]);
    assert_eq!(output.code, 69, "{output}");
    assert!(output.stderr.contains("limits.dump"), "{output}");
    operator.unset("limits.dump");
    // One that is only asked for its version is not waited for either.
    operator.stand_in(
        "pg_dump",
        "#version\nif [ \"$1\" = --version ]; then \"$real\" --version; setsid sleep 60 & exit 0; fi\n\
         exec \"$real\" \"$@\"",
    );
    let output = in_time(&operator, 15, &[], &["backup"]);
    assert_eq!(output.code, 0, "{output}");
}

#[test]
fn a_link_to_nothing_is_said_and_waited_for_by_nobody() {
    let operator = Operator::without_server("postgres");
    let directory = operator.path("backups/postgres");
    fs::create_dir_all(&directory).unwrap();
    for name in ["backup.log", ".lock"] {
        let link = directory.join(name);
        fs::remove_file(&link).ok();
        symlink(operator.path("gone/target"), &link).unwrap();
        let output = in_time(&operator, 10, &[], &["backup"]);
        assert_eq!(output.code, 73, "{name}: {output}");
        assert!(
            output.stderr.contains("it is a link to") && output.stderr.contains("does not exist"),
            "{name}: {output}"
        );
        fs::remove_file(&link).unwrap();
        symlink(&link, &link).unwrap();
        let output = in_time(&operator, 10, &[], &["backup"]);
        assert_eq!(output.code, 73, "{name}: {output}");
        fs::remove_file(&link).unwrap();
    }
    fs::remove_dir_all(&directory).unwrap();
    symlink("gone", &directory).unwrap();
    let output = in_time(&operator, 10, &[], &["backup"]);
    assert_eq!(output.code, 73, "{output}");
    assert!(output.stderr.contains("it is a link to gone"), "{output}");
}

/// A thread or process that is refused at any point of any thread.
#[test]
fn a_refused_thread_or_process_is_a_sentence_and_an_exit_code() {
    if !can_trace() {
        return;
    }
    let (_cluster, operator) = with_a_backup();
    let trace = operator.path("trace");
    for nth in 1.. {
        assert!(nth < 60, "so many threads?");
        let inject = format!("inject=clone,clone3,vfork,fork:error=EAGAIN:when={nth}");
        let log = trace.to_str().unwrap();
        let starter = ["strace", "-f", "-o", log, "-e", &inject];
        let before = operator.standing();
        let output = in_time(&operator, 60, &starter, &["backup"]);
        if !fs::read_to_string(&trace).unwrap().contains("(INJECTED)") {
            assert_eq!(output.code, 0, "{output}");
            break;
        }
        assert!([0, 69].contains(&output.code), "{nth}: {output}");
        if output.code != 0 {
            assert!(output.stderr.contains("pgbackupd: "), "{nth}: {output}");
            operator.assert_nothing_new(&before);
        }
    }
    operator.assert_next_run_succeeds();
}

#[test]
fn a_refused_thread_for_the_name_of_the_server_is_no_server_that_is_down() {
    if !can_trace() {
        return;
    }
    let mut operator = Operator::without_server("postgres");
    operator.set("connection.host", "localhost");
    operator.set_value("connection.port", 1);
    // Of the first thread alone, which starts the one that looks the name up.
    let mut refused = 0;
    for nth in 1..4 {
        let inject = format!("inject=clone,clone3,vfork,fork:error=EAGAIN:when={nth}");
        let starter = ["strace", "-o", "/dev/null", "-e", &inject];
        let output = in_time(&operator, 60, &starter, &["backup"]);
        assert_eq!(output.code, 69, "{nth}: {output}");
        let is_refused = output
            .stderr
            .contains("at localhost port 1: cannot start a thread: ");
        let is_down = output.stderr.contains("check that the server runs");
        assert!(!(is_refused && is_down), "{nth}: {output}");
        assert!(
            !is_refused || output.stderr.contains("TasksMax="),
            "{nth}: {output}"
        );
        refused += usize::from(is_refused);
    }
    assert_eq!(refused, 1, "one thread looks one name up");
}

#[test]
fn too_few_descriptors_are_reported_as_what_they_are() {
    let (_cluster, operator) = with_a_backup();
    let mut succeeded = false;
    for most in (8..41).step_by(3) {
        let limit = format!("ulimit -n {most}; exec \"$@\"");
        let starter = ["sh", "-c", &limit, "sh"];
        let output = in_time(&operator, 30, &starter, &["backup"]);
        let told = &output.stderr;
        assert!(
            !told.contains("install the package") && !told.contains("please report"),
            "{most}: {output}"
        );
        assert!(
            [0, 69, 70, 73, 78].contains(&output.code),
            "{most}: {output}"
        );
        assert!(
            output.code == 0
                || told.contains("os error 24")
                || told.contains("Too many open files"),
            "{most}: {output}"
        );
        succeeded |= output.code == 0;
    }
    assert!(succeeded, "even with 38 descriptors there is no backup");
    operator.assert_next_run_succeeds();
}

/// A dump in directory format as an operator makes it by hand, with a table and a large object.
fn by_hand(cluster: &Cluster, path: &Path, more: &[&str]) {
    let status = cluster
        .command("pg_dump")
        .args(["--format=directory", "--file"])
        .arg(path)
        .args(more)
        .arg("things")
        .status();
    assert!(status.unwrap().success());
}

/// The file of this directory whose name has this in it.
fn file_of(directory: &Path, part: &str) -> PathBuf {
    let entries = fs::read_dir(directory).unwrap();
    entries
        .map(|entry| entry.unwrap().path())
        .find(|path| path.file_name().unwrap().to_str().unwrap().contains(part))
        .unwrap_or_else(|| panic!("no {part} in {}", directory.display()))
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn every_file_that_the_list_of_a_directory_dump_names_has_to_be_there() {
    let cluster = Cluster::start();
    cluster.create_database("things");
    cluster.psql_in(
        "things",
        "CREATE TABLE t AS SELECT i FROM generate_series(1, 100) AS i; CREATE TABLE empty (i int); \
         SELECT lo_from_bytea(4711, 'abc'), lo_create(4712)",
    );
    let mut operator = Operator::of(&cluster, "things");
    operator.set("dump.format", "directory");
    operator.assert_next_run_succeeds();
    let verified = operator.run(&["verify"]);
    assert_eq!(verified.code, 0, "{verified}");

    let restored = |path: &Path, name: &str| {
        let path = path.to_str().unwrap();
        operator.run(&["restore", path, "--into", name, "--yes"])
    };
    let whole = operator.path("whole");
    by_hand(&cluster, &whole, &[]);
    fs::write(whole.join("README"), "ours").unwrap();
    let output = restored(&whole, "first");
    assert_eq!(output.code, 0, "{output}");
    assert!(
        output.stderr.contains("no restore reads: README"),
        "{output}"
    );

    let spoil: [(&str, &str, Option<&[u8]>); 7] = [
        // An empty file of gzip.
        (
            "6",
            ".dat.gz",
            Some(b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x03\0\0\0\0\0\0\0\0\0"),
        ),
        ("6", ".dat.gz", None),
        ("0", ".dat", Some(b"")),
        ("6", "blob_4711", None),
        ("6", "blob_4711", Some(b"")),
        ("6", "blobs", None),
        ("6", "blobs", Some(b"")),
    ];
    for (number, (level, part, content)) in spoil.into_iter().enumerate() {
        let path = operator.path(&format!("spoilt-{number}"));
        by_hand(&cluster, &path, &["--compress", level]);
        // The list of contents and the blobs' files end in the same way.
        let victim = if part.starts_with(".dat") {
            let tables = fs::read_dir(&path).unwrap();
            tables
                .map(|entry| entry.unwrap().path())
                .find(|path| {
                    let name = path.file_name().unwrap().to_str().unwrap();
                    name.ends_with(part) && name != "toc.dat" && !name.starts_with("blob")
                })
                .unwrap()
        } else {
            file_of(&path, part)
        };
        match content {
            Some(bytes) => fs::write(&victim, bytes).unwrap(),
            None => fs::remove_file(&victim).unwrap(),
        }
        let output = restored(&path, "spoilt");
        assert_eq!(output.code, 65, "{part} {content:?}: {output}");
        let there = cluster.psql("SELECT count(*) FROM pg_database WHERE datname LIKE 'spoilt%'");
        assert_eq!(there.trim(), "0", "{part} {content:?}");
    }
}

#[test]
fn a_restore_of_tables_that_is_killed_leaves_no_database_for_good() {
    let (cluster, operator) = with_a_backup();
    let pending = "SELECT count(*) FROM pg_database WHERE datname LIKE 'postgres_restoring_%'";
    // Somebody's own, which is only called like one of ours.
    cluster.psql("CREATE DATABASE postgres_restoring_20250101_000000");
    // The server cannot enter the new database before this is let go of.
    let mut session = cluster
        .command("psql")
        .args([
            "-qXc",
            "BEGIN; LOCK pg_database IN SHARE MODE; SELECT pg_sleep(600)",
            "postgres",
        ])
        .spawn()
        .unwrap();
    wait_until("the lock", || {
        let held = "SELECT count(*) FROM pg_locks WHERE mode = 'ShareLock' \
                    AND relation = 'pg_database'::regclass";
        cluster.psql(held).trim() == "1"
    });
    let tables = ["restore", "--latest", "--table", "t", "--schema"];
    let running = operator.spawn(&[&tables[..], &["first", "--yes"]].concat());
    wait_until("the making of the database", || {
        let making = "SELECT count(*) FROM pg_stat_activity \
                      WHERE query LIKE 'CREATE DATABASE %restoring%' AND wait_event_type = 'Lock'";
        cluster.psql(making).trim() == "1"
    });
    running.signal(Signal::KILL);
    drop(running);
    cluster.psql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' \
         AND pid <> pg_backend_pid()",
    );
    session.wait().unwrap();
    wait_until("what nobody wanted any more", || {
        cluster.psql(pending).trim() == "2"
    });

    let output = operator.run(&[&tables[..], &["second", "--yes"]].concat());
    assert_eq!(output.code, 0, "{output}");
    let left = cluster.psql("SELECT datname FROM pg_database WHERE datname LIKE '%restoring%'");
    assert_eq!(left.trim(), "postgres_restoring_20250101_000000");
    let output = operator.run(&["backup"]);
    assert_eq!(output.code, 0, "{output}");
}

#[test]
fn what_an_earlier_run_left_and_cannot_be_put_right_stops_no_backup() {
    let (_cluster, operator) = with_a_backup();
    let directory = operator.path("backups/postgres");
    let manifest = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .unwrap();
    // A damaged backup on its way into the quarantine, in whose place somebody has put a file.
    let stem = "backup_20200101_000000";
    let aside = format!(".pgbackupd-0197f3a0-0000-7000-8000-000000000000.quarantined-{stem}");
    let aside = directory.join(aside);
    fs::create_dir(&aside).unwrap();
    fs::copy(manifest, aside.join(format!("{stem}.json"))).unwrap();
    fs::write(directory.join("quarantine"), "").unwrap();
    let output = operator.run(&["backup"]);
    assert_eq!(output.code, 0, "{output}");
    let told = "what an earlier run left remains: cannot ";
    assert!(output.stderr.contains(told), "{output}");
    fs::remove_file(directory.join("quarantine")).unwrap();
    let output = operator.run(&["backup"]);
    assert_eq!(output.code, 0, "{output}");
    assert!(!output.stderr.contains(told), "{output}");
    assert!(directory.join("quarantine").join(stem).is_dir());
}
