//! `restore` by path on a machine that has a server, and neither a configuration nor a directory for
//! backups.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::cluster::Cluster;
use crate::support::operator::{Operator, Output, PROGRAM, Running};

/// Whoever has nothing but a server, reported by libpq's variables, and a copy of backups.
struct NewMachine<'a> {
    cluster: &'a Cluster,
    operator: &'a Operator,
}

impl NewMachine<'_> {
    fn run(&self, arguments: &[&str]) -> Output {
        let path = |name: &str| self.operator.path(name);
        let mut command = Command::new(PROGRAM);
        command
            .args(arguments)
            .env_clear()
            .envs(self.cluster.environment())
            .env_remove("PGDATABASE")
            .env("PGBACKUPD_DIRECTORY", path("nowhere"))
            .env("PGBACKUPD_DAEMON__RUNTIME_DIRECTORY", path("run"))
            .env("PGBACKUPD_DAEMON__STATE_DIRECTORY", path("state"))
            .stdin(Stdio::null());
        Running::start(command).wait()
    }

    #[track_caller]
    fn succeeds(&self, arguments: &[&str]) -> Output {
        let output = self.run(arguments);
        assert_eq!(output.code, 0, "{arguments:?}: {output}");
        assert!(!self.operator.path("nowhere").exists(), "{output}");
        output
    }
}

/// The operations that a directory's `restore.log` has, each once.
fn on_record(directory: &Path) -> Vec<String> {
    let text = fs::read_to_string(directory.join("restore.log")).unwrap();
    let records = text.lines().map(|line| {
        let record: Value = serde_json::from_str(line).unwrap();
        record["operation"].as_str().unwrap().to_owned()
    });
    let mut operations: Vec<String> = records.collect();
    operations.dedup();
    operations
}

#[test]
fn a_new_machine_restores_by_path_without_configuration_and_directory() {
    let cluster = Cluster::start();
    cluster.psql("CREATE DATABASE shop");
    cluster.psql_in(
        "shop",
        "CREATE TABLE t AS SELECT i FROM generate_series(1, 9) AS i",
    );
    let operator = Operator::of(&cluster, "shop");
    let stem = operator.back_up();
    let copy = operator.path("copy");
    fs::rename(operator.backups(), &copy).unwrap();
    fs::remove_file(copy.join(".lock")).unwrap();
    let machine = NewMachine {
        cluster: &cluster,
        operator: &operator,
    };

    // One of our backups, onto a database of that name.
    cluster.psql_in("shop", "DELETE FROM t");
    let named = copy.join(format!("{stem}.sql.gz")).display().to_string();
    let planned = machine.succeeds(&["restore", &named, "--plan"]);
    assert!(planned.stdout.contains("shop"), "{planned}");
    assert!(!operator.path("run").exists(), "a plan makes nothing");
    let output = machine.succeeds(&["restore", &named, "--yes"]);
    let count = || cluster.psql_in("shop", "SELECT count(*) FROM t");
    assert_eq!(count(), "9");
    assert_eq!(on_record(&copy), ["restore"]);
    let locks = fs::read_dir(operator.path("run/restores")).unwrap();
    let locks: Vec<_> = locks.map(|entry| entry.unwrap().path()).collect();
    assert!(
        matches!(&locks[..], [one] if one.join(".lock").is_file()),
        "{locks:?}"
    );
    assert!(!copy.join(".lock").exists(), "{output}");
    let report = output.stdout.lines().last().unwrap().rsplit(' ').next();
    assert!(Path::new(report.unwrap()).starts_with(&copy), "{output}");

    // The way back, as it is printed.
    let (_, hint) = output.stdout.split_once("`pgbackupd ").unwrap();
    let (hint, _) = hint.split_once('`').unwrap();
    assert_eq!(hint, "undo-restore --database shop");
    let words: Vec<&str> = hint.split(' ').chain(["--yes"]).collect();
    machine.succeeds(&words);
    assert_eq!(count(), "0");
    let state = operator.path("state/restores");
    assert_eq!(on_record(&state.join("shop")), ["undo-restore"]);

    // A file of pg_dump's where anybody may have put a restore.log.
    let open = operator.path("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, Permissions::from_mode(0o1777)).unwrap();
    let dump = cluster.command("pg_dump").arg("postgres").output().unwrap();
    let file = open.join("x.sql");
    fs::write(&file, dump.stdout).unwrap();
    machine.succeeds(&["restore", file.to_str().unwrap(), "--database", "other"]);
    assert_eq!(on_record(&state.join("other")), ["restore"]);
    assert_eq!(cluster.psql_in("other", "SELECT 1"), "1");

    // What is not named by a path is where a configuration says.
    let output = machine.run(&["restore", "--latest"]);
    assert_eq!(output.code, 78, "{output}");
    assert!(output.stderr.contains("no database is named"), "{output}");
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one mistake after the other, on one server"
)]
fn a_mistake_in_the_configuration_leaves_what_is_named_by_its_path() {
    let cluster = Cluster::start();
    cluster.psql("CREATE DATABASE shop");
    cluster.psql_in("shop", "CREATE TABLE t AS SELECT 1 AS i");
    let mut operator = Operator::of(&cluster, "shop");
    let stem = operator.back_up();
    let copy = operator.path("copy");
    let copied = Command::new("cp")
        .arg("-a")
        .args([&operator.backups(), &copy])
        .status();
    assert!(copied.unwrap().success());
    let file = copy.join(format!("{stem}.sql.gz")).display().to_string();
    let directory = copy.display().to_string();
    for (name, value) in cluster.environment() {
        if name.starts_with("PG") {
            operator.set_variable(&name, value);
        }
    }
    let mut into = 0;
    let mut goes_on = |operator: &Operator, said: &str| {
        into += 1;
        let into = format!("shop{into}");
        let restore = ["restore", &file, "--into", &into];
        for command in [&["verify", &file][..], &["verify", &directory], &restore] {
            let output = operator.run(command);
            assert_eq!(output.code, 0, "{output}");
            let warnings = output.stderr.matches("WARN").count();
            assert_eq!(warnings, 1, "{output}");
            assert!(output.stderr.contains(said), "{said}: {output}");
            assert!(!output.stderr.contains("chmod"), "{output}");
        }
        assert_eq!(cluster.psql_in(&into, "SELECT count(*) FROM t"), "1");
    };
    // What replaces a database must not do it on another server.
    let stops = |operator: &Operator| {
        for command in [
            &["restore", &file, "--database", "shop", "--yes"][..],
            &["undo-restore", "--database", "shop", "--yes"],
        ] {
            let output = operator.run(command);
            assert_eq!(output.code, 78, "{output}");
            let hint = "hint: fix it; with --config /dev/null the command does without";
            assert!(output.stderr.contains(hint), "{output}");
        }
    };

    // Of a setting that says nothing about the place, the rest of the configuration stands.
    operator.set("jobs.daily.shedule", "0 2 * * *");
    goes_on(&operator, "without that setting: ");
    let listed = operator.run(&["list"]);
    assert_eq!(listed.code, 0, "{listed}");
    assert!(listed.stdout.contains(&stem), "{listed}");
    assert!(listed.stderr.contains("jobs.daily.shedule: "), "{listed}");
    assert_eq!(operator.run(&["backup"]).code, 78);
    operator.unset("jobs.daily.shedule");

    // Else it is left alone.
    operator.set("directroy", "/srv");
    goes_on(&operator, "goes on without it");
    assert_eq!(operator.run(&["list"]).code, 78);
    operator.unset("directroy");
    operator.set("connection.hots", "elsewhere");
    goes_on(&operator, "goes on without it");
    stops(&operator);
    operator.unset("connection.hots");
    fs::write(operator.configuration(), "database = \"shop\n").unwrap();
    goes_on(&operator, ":1: ");
    stops(&operator);
    // As the hint says.
    let machine = NewMachine {
        cluster: &cluster,
        operator: &operator,
    };
    for command in [
        &["restore", &file, "--database", "shop", "--yes"][..],
        &["undo-restore", "--database", "shop", "--yes"],
    ] {
        machine.succeeds(&[&["--config", "/dev/null"], command].concat());
    }
    fs::remove_file(operator.configuration()).unwrap();
    goes_on(&operator, "cannot be read: No such file");
    std::os::unix::fs::symlink("/dev/null", operator.configuration()).unwrap();
    goes_on(&operator, "a pipe or a device, and no file");
}
