//! Root is who is logged in: a command of root's that connects runs as the user of the service, in a
//! process that has no terminal. Becoming somebody takes root; for anybody else these tests have
//! nothing to do and say so.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;

use crate::support::cluster::{Cluster, wait_until_no_session_is_left};
use crate::support::operator::{HeldLock, Operator, Output, server_user};
use rustix::process::Signal;
use serde_json::{Value, json};

const SAYS: &str = "the service's user (--as-me keeps root)\n";

/// Root with a configuration that the service's user can read, and a directory for backups that is
/// that user's. None when we are not root.
fn root_next_to_a_service(cluster: &Cluster, database: &str) -> Option<Operator> {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can give a directory away");
        return None;
    }
    let mut operator = Operator::of(cluster, database);
    operator.set("limits.lock_wait", "1 minute");
    fs::set_permissions(operator.path("."), Permissions::from_mode(0o755)).unwrap();
    make_for(&operator.path("backups"), server_user().uid());
    readable_for_the_service(&operator);
    Some(operator)
}

fn make_for(directory: &Path, user: u32) {
    fs::create_dir(directory).unwrap();
    fs::set_permissions(directory, Permissions::from_mode(0o700)).unwrap();
    chown(directory, Some(user), None).unwrap();
}

fn readable_for_the_service(operator: &Operator) {
    let group = server_user().primary_group_id();
    chown(operator.configuration(), Some(0), Some(group)).unwrap();
    fs::set_permissions(operator.configuration(), Permissions::from_mode(0o640)).unwrap();
}

fn service() -> String {
    server_user().name().to_str().unwrap().to_owned()
}

/// Who asked for the last run that was started, as the ledger has it.
fn asked(operator: &Operator) -> Value {
    let mut started = operator.ledger();
    started.retain(|record| record["event"] == "started");
    started.pop().unwrap()["requested_by"].take()
}

#[track_caller]
fn assert_refused(output: &Output, said: &[&str]) {
    assert_eq!(output.code, 78, "{output}");
    for words in said.iter().chain(&["--as-me"]) {
        assert!(output.stderr.contains(words), "{words:?}: {output}");
    }
}

#[test]
fn roots_command_runs_as_the_owner_of_the_backups_and_both_are_on_record() {
    let cluster = Cluster::start();
    cluster.psql("CREATE TABLE t AS SELECT i FROM generate_series(1, 10) AS i");
    let Some(mut operator) = root_next_to_a_service(&cluster, "postgres") else {
        return;
    };
    operator.set_variable("SUDO_USER", "noura");
    readable_for_the_service(&operator);

    let output = operator.run(&["backup"]);
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(output.stderr, format!("running as {}, {SAYS}", service()));
    let by_service = asked(&operator);
    assert_eq!(by_service["user"], "root", "{by_service}");
    assert_eq!(by_service["ran_as"], service(), "{by_service}");
    assert_eq!(by_service["sudo_user"], "noura", "{by_service}");
    let ledger = operator.backups().join("backup.log");
    assert_eq!(ledger.metadata().unwrap().uid(), server_user().uid());

    // A program reads no sentences.
    let output = operator.run(&["backup", "--json"]);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{output}");

    let output = operator.run(&["backup", "--as-me"]);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{output}");
    let as_root = asked(&operator);
    assert_eq!(
        (&as_root["user"], &as_root["ran_as"]),
        (&json!("root"), &Value::Null)
    );

    // What needs no server is root's own affair.
    let output = operator.run(&["verify"]);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{output}");

    a_signal_reaches_the_run(&cluster, &operator);
    what_the_service_cannot_use_is_named(&operator);
    owners_that_differ_are_no_answer(&cluster, operator);
}

fn a_signal_reaches_the_run(cluster: &Cluster, operator: &Operator) {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::KILL, 137)] {
        let lock = HeldLock::on(cluster, "postgres", "t");
        let running = operator.spawn(&["backup"]);
        lock.wait_for_another();
        running.signal(signal);
        let output = running.wait();
        assert_eq!(output.code, code, "{output}");
        drop(lock);
        wait_until_no_session_is_left(cluster);
    }
}

fn what_the_service_cannot_use_is_named(operator: &Operator) {
    let dump = operator.path("dump.sql");
    fs::write(&dump, "").unwrap();
    fs::set_permissions(&dump, Permissions::from_mode(0o600)).unwrap();
    let dump = dump.to_str().unwrap();
    let output = operator.run(&["restore", dump, "--into", "new"]);
    assert_refused(&output, &["cannot read", dump, "Permission denied"]);

    let rescue = operator.path("rescue");
    let rescue = rescue.to_str().unwrap();
    let output = operator.run(&["emergency", "--to", rescue]);
    assert_eq!(output.code, 73, "{output}");
    for words in ["cannot write to", "`install -d -o ", "--as-me"] {
        assert!(output.stderr.contains(words), "{words:?}: {output}");
    }

    let configuration = operator.configuration();
    fs::set_permissions(&configuration, Permissions::from_mode(0o600)).unwrap();
    for command in [&["backup"][..], &["config", "check"]] {
        let output = operator.run(command);
        assert_refused(&output, &["cannot read", configuration.to_str().unwrap()]);
    }
    readable_for_the_service(operator);
}

fn owners_that_differ_are_no_answer(cluster: &Cluster, mut operator: Operator) {
    cluster.psql("CREATE DATABASE other");
    let daemon = uzers::get_user_by_name("daemon").unwrap();
    make_for(&operator.path("others"), daemon.uid());
    operator.unset("database");
    operator.unset("directory");
    let database = |name: &str, directory: &str| {
        let directory = operator.path(directory);
        json!({ "name": name, "directory": directory })
    };
    let databases = json!([database("postgres", "backups"), database("other", "others")]);
    operator.set_value("databases", databases);
    readable_for_the_service(&operator);
    let output = operator.run(&["backup"]);
    let names = [
        "backups belongs to",
        "others belongs to daemon",
        "runuser -u",
    ];
    assert_refused(&output, &names);

    let output = operator.run(&["emergency", "--database", "other"]);
    assert_eq!(output.code, 0, "{output}");
    assert!(output.stderr.starts_with("running as root: "), "{output}");
}

/// Carries out what a failed command says between backquotes, until it succeeds.
#[track_caller]
fn followed(run: impl Fn() -> Output, input: &str) {
    let mut before = Vec::new();
    for _ in 0..4 {
        let output = run();
        if output.code == 0 {
            return;
        }
        let mut quoted = output.stderr.split('`').skip(1).step_by(2);
        let command = quoted
            .next()
            .unwrap_or_else(|| panic!("{before:?}: {output}"));
        let script = format!("{command} <<'END'\n{input}\nEND\n");
        let mut shell = Command::new("sh");
        let status = shell.args(["-c", &script]).status().unwrap();
        assert!(status.success(), "{command}: {output}");
        before.push(command.to_owned());
    }
    panic!("no end after {before:?}: {}", run());
}

fn close_to(path: &Path, user: u32, mode: u32) {
    chown(path, Some(user), Some(user)).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_is_said_about_a_secret_is_followed_to_a_backup() {
    let cluster = Cluster::start();
    let Some(mut operator) = root_next_to_a_service(&cluster, "postgres") else {
        return;
    };
    let configuration = operator.configuration();
    close_to(&configuration, 0, 0o600);
    followed(|| operator.run(&["backup"]), "");

    // Whichever command of root's is the first to say it.
    for first in [&["list"][..], &["config", "check"], &["backup", "--as-me"]] {
        operator.set("connection.password", "secret");
        close_to(&configuration, 0, 0o644);
        let output = operator.run(first);
        assert_eq!(output.code, 78, "{output}");
        assert!(output.stderr.contains("`chgrp "), "{output}");
        followed(|| operator.run(first), "");
        assert_eq!(operator.run(&["backup"]).code, 0);
    }
    operator.unset("connection.password");

    let secret = operator.path("of root/secret");
    for (key, content) in [
        ("connection.password_file", "secret"),
        ("connection.passfile", "*:*:*:*:secret"),
    ] {
        operator.set(key, secret.display());
        readable_for_the_service(&operator);
        followed(|| operator.run(&["backup"]), content);
        for mode in [0o600, 0o644, 0o640] {
            close_to(&secret, 0, mode);
            followed(|| operator.run(&["backup"]), "");
        }
        fs::set_permissions(operator.path("of root"), Permissions::from_mode(0o700)).unwrap();
        followed(|| operator.run(&["backup"]), "");
        operator.unset(key);
        fs::remove_dir_all(operator.path("of root")).unwrap();
    }
}

#[test]
fn what_is_said_about_a_directory_is_followed_to_a_backup() {
    let cluster = Cluster::start();
    let Some(mut operator) = root_next_to_a_service(&cluster, "postgres") else {
        return;
    };
    let above = operator.path("made by root");
    let directory = above.join("b/c");
    operator.set("directory", directory.display());
    let backup = |operator: &Operator| operator.run_as_server_user(&["backup"]);
    followed(|| backup(&operator), "");

    // A level that root keeps to itself, empty or not, and the directory itself.
    for made in ["", "b/c", "b/c/postgres"] {
        fs::remove_dir_all(&above).unwrap();
        fs::create_dir_all(above.join(made)).unwrap();
        for level in ["", "b", "b/c", "b/c/postgres"] {
            let level = above.join(level);
            if level.is_dir() {
                close_to(&level, 0, 0o700);
            }
        }
        followed(|| backup(&operator), "");
    }

    // What an emergency is to write to is root's to make.
    let rescue = operator.path("rescue/now");
    let emergency = ["emergency", "--to", rescue.to_str().unwrap()];
    operator.set("directory", operator.path("backups").display());
    readable_for_the_service(&operator);
    let output = operator.run(&emergency);
    assert_eq!(output.code, 73, "{output}");
    followed(|| operator.run(&emergency), "");
}

#[test]
fn the_question_is_asked_and_no_program_has_roots_terminal() {
    let cluster = Cluster::start();
    cluster.psql("CREATE DATABASE shop");
    let Some(mut operator) = root_next_to_a_service(&cluster, "shop") else {
        return;
    };
    // The number of the controlling terminal, 0 for none (proc(5)), and who it is.
    let seen = operator.path("backups/seen");
    let look = "read -r stat </proc/$$/stat; set -- ${stat##*) }; echo $5 $(id -un) $HOME >\"$0\"";
    let start = json!(["sh", "-c", look, seen]);
    operator.set_value("restore.start", start);
    readable_for_the_service(&operator);
    let output = operator.run(&["backup"]);
    assert_eq!(output.code, 0, "{output}");
    let output = operator.run_at_a_terminal(&["restore", "--latest"], "shop");
    assert_eq!(output.code, 0, "{output}");
    assert!(
        output.stdout.contains("Type the name of the database"),
        "{output}"
    );
    let home = uzers::os::unix::UserExt::home_dir(&server_user())
        .display()
        .to_string();
    assert_eq!(
        fs::read_to_string(seen).unwrap(),
        format!("0 {} {home}\n", service())
    );
}
