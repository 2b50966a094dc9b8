//! Faults of `PostgreSQL`'s programs: whatever they do, what is not a complete dump becomes no backup.

use std::fs;

use crate::support::operator::{HeldLock, Operator, make_big_table, with_a_backup};
use rustix::process::{Signal, kill_process};

/// A backup with this stand-in fails like this, leaves everything as it was, and without the
/// stand-in the next one succeeds.
#[track_caller]
fn assert_fails(operator: &mut Operator, stand_in: (&str, &str), stderr: &str) {
    let (program, script) = stand_in;
    let before = operator.standing();
    operator.stand_in(program, script);
    let output = operator.run(&["backup"]);
    output.assert_failed(69, stderr);
    let record = operator.last_record();
    assert_eq!(record["event"], "failed");
    assert!(stderr.ends_with(record["message"].as_str().unwrap()));
    operator.assert_nothing_new(&before);
    operator.send_stand_ins_home();
    operator.assert_next_run_succeeds();
}

const KILLED: &str = "pgbackupd: no backup of database postgres: pg_dump was killed by SIGKILL \
                      (by the operator, or by the kernel for lack of memory)";

const FORMATS: [&str; 3] = ["plain", "custom", "directory"];

#[test]
fn a_dump_killed_at_its_start_leaves_no_backup() {
    let (cluster, mut operator) = with_a_backup();
    for format in FORMATS {
        operator.set("dump.format", format);
        let before = operator.standing();
        let lock = HeldLock::on(&cluster, "postgres", "t");
        let running = operator.spawn(&["backup"]);
        lock.wait_for_another();
        let pg_dump = operator.wait_for_process("pg_dump");
        kill_process(pg_dump, Signal::KILL).unwrap();
        running.wait().assert_failed(69, KILLED);
        drop(lock);
        operator.assert_nothing_new(&before);
        operator.assert_next_run_succeeds();
    }
}

#[test]
fn a_dump_killed_midway_leaves_no_backup() {
    let (cluster, mut operator) = with_a_backup();
    make_big_table(&cluster, "postgres", "big");
    let before = operator.standing();
    let (running, pg_dump) = operator.halted_midway(&cluster, "big");
    kill_process(pg_dump, Signal::KILL).unwrap();
    running.signal(Signal::CONT);
    running.wait().assert_failed(69, KILLED);
    operator.assert_nothing_new(&before);
    operator.assert_next_run_succeeds();
    // An archive pg_dump writes by itself: it comes no further than 64 KiB.
    for format in ["custom", "directory"] {
        operator.set("dump.format", format);
        let script = "{ (ulimit -f 64; \"$real\" \"$@\"); } 2>/dev/null; kill -KILL $$";
        assert_fails(&mut operator, ("pg_dump", script), KILLED);
    }
}

#[test]
fn a_dump_killed_after_its_end_leaves_no_backup() {
    let (_cluster, mut operator) = with_a_backup();
    for format in FORMATS {
        operator.set("dump.format", format);
        let script = "\"$real\" \"$@\"; kill -KILL $$";
        assert_fails(&mut operator, ("pg_dump", script), KILLED);
    }
}

#[test]
fn a_dump_that_is_complete_but_reports_failure_is_no_backup() {
    let (_cluster, mut operator) = with_a_backup();
    for format in FORMATS {
        operator.set("dump.format", format);
        assert_fails(
            &mut operator,
            (
                "pg_dump",
                "\"$real\" \"$@\"; echo 'pg_dump: all is lost' >&2; exit 1",
            ),
            "pgbackupd: no backup of database postgres: pg_dump ended with status 1; its output:\n\
             pg_dump: all is lost",
        );
    }
}

/// What the operator reads when a plain dump is not what it should be, although the stand-in for
/// `pg_dump` is content.
fn flawed(operator: &Operator, flaw: &str) -> String {
    format!(
        "pgbackupd: no backup of database postgres: pg_dump reported success, yet {flaw}\n\
         hint: run it again, and check that {} is PostgreSQL's own program",
        operator.path("programs/pg_dump").display()
    )
}

#[test]
fn a_dump_that_is_truncated_but_reports_success_is_no_backup() {
    let (_cluster, mut operator) = with_a_backup();
    let no_last_line = "the dump is incomplete: the line that pg_dump writes last is missing";
    for (script, flaw) in [
        ("exit 0", no_last_line),
        (
            "\"$real\" \"$@\" | sed '/^500$/,$d'",
            "the dump breaks off within the rows of table public.t",
        ),
        (
            "\"$real\" \"$@\" | sed '/PostgreSQL database dump complete/,$d'",
            no_last_line,
        ),
        (
            "\"$real\" \"$@\" | sed 's/\\(database dump comp\\)lete/\\1/; /database dump comp$/q'",
            no_last_line,
        ),
    ] {
        let expected = flawed(&operator, flaw);
        assert_fails(&mut operator, ("pg_dump", script), &expected);
    }
}

#[test]
fn text_after_the_end_of_a_dump_makes_it_no_backup() {
    let (_cluster, mut operator) = with_a_backup();
    for rubbish in ["DROP TABLE t;", "garbage"] {
        let flaw = "statements follow the line that should be the dump's last";
        let expected = flawed(&operator, flaw);
        let script = format!("\"$real\" \"$@\"; echo '{rubbish}'");
        assert_fails(&mut operator, ("pg_dump", &script), &expected);
    }
}

#[test]
fn an_archive_that_is_truncated_but_reported_as_success_is_no_backup() {
    let (_cluster, mut operator) = with_a_backup();
    for (format, cut, quoted) in [
        (
            "custom",
            "truncate -s -100 \"$file\"",
            "could not read from input file: end of file",
        ),
        (
            "custom",
            "truncate -s 0 \"$file\"",
            "input file is too short",
        ),
        (
            "directory",
            "truncate -s -100 \"$file\"/*.dat.gz",
            "could not",
        ),
        (
            "directory",
            "rm \"$file\"/*.dat.gz",
            "could not open input file",
        ),
        (
            "directory",
            "rm \"$file\"/toc.dat",
            "does not appear to be a valid archive",
        ),
    ] {
        let before = operator.standing();
        operator.set("dump.format", format);
        let find = "for word; do case $word in --file=*) file=${word#--file=};; esac; done";
        operator.stand_in(
            "pg_dump",
            &format!("\"$real\" \"$@\" || exit\n{find}\n{cut}"),
        );
        let output = operator.run(&["backup"]);
        output.assert_failed_quoting(
            69,
            "pgbackupd: no backup of database postgres: what pg_dump has just written cannot be \
             read back: pg_restore ended with status 1",
            quoted,
        );
        operator.assert_nothing_new(&before);
        operator.send_stand_ins_home();
        operator.assert_next_run_succeeds();
    }
}

#[test]
fn a_dump_that_hangs_after_its_end_is_ended_when_the_limit_strikes() {
    let (_cluster, mut operator) = with_a_backup();
    operator.set("limits.dump", "1 second");
    assert_fails(
        &mut operator,
        ("pg_dump", "\"$real\" \"$@\"; exec >&-; sleep 1000"),
        "pgbackupd: no backup of database postgres: the dump took longer than limits.dump allows \
         (1 second) and was ended\nhint: check that the server and the disk still answer, \
         and raise limits.dump if it needs more time",
    );
}

#[test]
fn a_dump_that_does_not_want_to_end_is_killed_when_the_limit_strikes() {
    let (_cluster, mut operator) = with_a_backup();
    operator.set("limits.dump", "1 second");
    assert_fails(
        &mut operator,
        (
            "pg_dump",
            "trap '' TERM; sleep 1000 & sleep 1000; sleep 1000",
        ),
        "pgbackupd: no backup of database postgres: the dump took longer than limits.dump allows \
         (1 second) and was ended\nhint: check that the server and the disk still answer, \
         and raise limits.dump if it needs more time",
    );
}

#[test]
fn roles_that_cannot_be_dumped_fail_the_backup_with_the_way_out() {
    let (_cluster, mut operator) = with_a_backup();
    assert_fails(
        &mut operator,
        (
            "pg_dumpall",
            "echo 'pg_dumpall: error: permission denied for table pg_authid' >&2; exit 1",
        ),
        "pgbackupd: no backup of database postgres: the cluster's roles and tablespaces could not \
         be dumped (globals = false leaves them out): pg_dumpall ended with status 1: \
         user postgres may not read table pg_authid; its output:\n\
         pg_dumpall: error: permission denied for table pg_authid\n\
         hint: grant it pg_read_all_data (from version 14 on), or let the owner make the backup",
    );
    // What nothing decides may pass, and is no reason to do without them.
    assert_fails(
        &mut operator,
        ("pg_dumpall", "echo 'pg_dumpall: no luck' >&2; exit 1"),
        "pgbackupd: no backup of database postgres: the cluster's roles and tablespaces could not \
         be dumped: pg_dumpall ended with status 1; its output:\n\
         pg_dumpall: no luck",
    );
}

#[test]
fn an_archive_that_pg_restore_refuses_is_no_backup() {
    let (_cluster, mut operator) = with_a_backup();
    operator.set("dump.format", "custom");
    assert_fails(
        &mut operator,
        ("pg_restore", "echo 'pg_restore: cannot' >&2; exit 1"),
        "pgbackupd: no backup of database postgres: what pg_dump has just written cannot be read \
         back: pg_restore ended with status 1; its output:\n\
         pg_restore: cannot",
    );
}

#[test]
fn a_pg_dump_that_vanishes_after_it_was_chosen_is_reported() {
    let (_cluster, mut operator) = with_a_backup();
    let expected = format!(
        "pgbackupd: no backup of database postgres: cannot start {}: \
         No such file or directory (os error 2)",
        operator.path("programs/pg_dump").display()
    );
    let script = "#version\n\"$real\" --version; rm \"$0\"";
    assert_fails(&mut operator, ("pg_dump", script), &expected);
}

#[test]
fn a_pg_dump_older_than_the_server_is_passed_over_for_one_that_fits() {
    let (cluster, mut operator) = with_a_backup();
    operator.stand_in("pg_dump", AN_OLD_ONE);
    operator.assert_next_run_succeeds();
    let newest = operator.list().pop().unwrap();
    let manifest = fs::read_to_string(operator.backups().join(format!("{newest}.json"))).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let major = cluster.psql("SELECT current_setting('server_version_num')::int / 10000");
    let used = manifest["pg_dump"].as_str().unwrap();
    assert!(used.starts_with(&major), "{used}");
}

/// Tells an old version, and fails if it is used.
const AN_OLD_ONE: &str =
    "#version\n[ \"$1\" = --version ] || exit 9; echo 'pg_dump (PostgreSQL) 9.6.24'";

/// Runs a command that does not find the programs of the packages: a mount that only it sees hides
/// them.
const HIDDEN: [&str; 5] = [
    "unshare",
    "--mount",
    "sh",
    "-c",
    "mount -t tmpfs none /usr/lib/postgresql && exec \"$0\" \"$@\"",
];

#[test]
fn without_a_pg_dump_that_fits_the_package_to_install_is_reported() {
    let (cluster, mut operator) = with_a_backup();
    let probe = operator.run_under(&HIDDEN, &["--version"]);
    if probe.code != 0 {
        println!(
            "skipped: no mount of one's own here: {}",
            probe.stderr.trim()
        );
        return;
    }
    let major = cluster.psql("SELECT current_setting('server_version_num')::int / 10000");
    let expected = |found: &str| {
        format!(
            "pgbackupd: no backup of database postgres: the server is PostgreSQL {major}, and no \
             pg_dump of version {major} or newer is installed ({found})\nhint: install the package \
             postgresql-client-{major}, or set `programs` to the directory that has it"
        )
    };
    let before = operator.standing();
    let output = operator.run_under(&HIDDEN, &["backup"]);
    output.assert_failed(69, &expected("there is none"));

    operator.stand_in("pg_dump", AN_OLD_ONE);
    let programs = operator.path("programs");
    for name in ["pg_dumpall", "pg_restore", "psql"] {
        // The links lead to what is hidden.
        fs::remove_file(programs.join(name)).unwrap();
        fs::copy(programs.join("pg_dump"), programs.join(name)).unwrap();
    }
    let output = operator.run_under(&HIDDEN, &["backup"]);
    output.assert_failed(
        69,
        &expected(&format!("found: 9.6.24 in {}", programs.display())),
    );

    fs::remove_file(programs.join("pg_dump")).unwrap();
    let output = operator.run_under(&HIDDEN, &["backup"]);
    output.assert_failed(
        69,
        &expected(&format!("found: no pg_dump in {}", programs.display())),
    );

    operator.assert_nothing_new(&before);
    operator.send_stand_ins_home();
    operator.assert_next_run_succeeds();
}
