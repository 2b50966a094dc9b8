//! Salvages that are killed, and disks that are full.

use super::{drop_copy, dump, hard, salvage};
use crate::support::cluster::{Cluster, wait_until, wait_until_no_session_is_left};
use crate::support::filesystem::Filesystem;
use crate::support::operator::{Operator, Output};
use crate::support::restored::{beginning_with, databases};
use rustix::process::Signal;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{MetadataExt as _, chown};
use std::process::Stdio;

/// A salvage that is killed leaves a database that the next one drops, and nothing else.
#[test]
fn a_salvage_that_is_killed_is_swept_by_the_next() {
    let cluster = Cluster::start();
    hard(
        &cluster,
        "CREATE FUNCTION slow() RETURNS bigint LANGUAGE plpgsql STABLE AS 'begin perform pg_sleep(600); return 1; end'; \
         CREATE MATERIALIZED VIEW m AS SELECT slow() AS n WITH NO DATA",
    );
    let operator = Operator::of(&cluster, "hard");
    let refresh =
        "\nREFRESH MATERIALIZED VIEW public.m;\n\n--\n-- PostgreSQL database dump complete";
    let path = dump(
        &cluster,
        &operator,
        ("\n\n--\n-- PostgreSQL database dump complete", refresh),
    );
    let path = path.to_str().unwrap();
    let running = operator.spawn(&["restore", path, "--salvage", "--into", "copy"]);
    wait_until("the view is refreshed", || {
        cluster.psql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'REFRESH%' AND state = 'active'") == "1"
    });
    running.signal(Signal::KILL);
    running.wait();
    beginning_with(&cluster, "copy_restoring_");
    fs::write(
        operator.path("hard.sql"),
        fs::read_to_string(path)
            .unwrap()
            .replace("pg_sleep(600)", "pg_sleep(0)"),
    )
    .unwrap();
    salvage(&operator, path, 0);
    assert_eq!(databases(&cluster), ["copy", "hard"]);
}

/// Wherever a salvage is killed, the database that serves stays as it is, and nothing is in the next one's way
/// that it does not name.
#[test]
fn a_salvage_that_is_killed_at_any_of_its_steps_blocks_nothing() {
    let cluster = Cluster::start();
    hard(
        &cluster,
        "CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (p int REFERENCES parent); \
         SET session_replication_role = replica; INSERT INTO child VALUES (99)",
    );
    let operator = Operator::of(&cluster, "hard");
    let backup = operator.back_up();
    let steps = [
        "creating the database copy_restoring_",
        "loading into copy_restoring_",
        "bringing back what was refused",
        "dumping it again",
        "renaming copy_restoring_",
    ];
    for step in steps {
        let mut killed = operator
            .command(&["-v", "restore", &backup, "--salvage", "--into", "copy"])
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(killed.stderr.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().starts_with(step)), "{step}");
        killed.kill().unwrap();
        killed.wait().unwrap();
        wait_until_no_session_is_left(&cluster);
        let fine = cluster.psql_in("hard", "SELECT count(*) FROM fine");
        assert_eq!(fine, "1000", "{step}");
        let status = operator.run(&["status", "--json"]);
        assert!(status.stdout.contains("was cut short"), "{step}: {status}");
        if databases(&cluster).contains(&"copy".to_owned()) {
            // It was killed behind the last step.
            let arguments = ["restore", &backup, "--salvage", "--into", "copy"];
            let output = operator.run(&arguments);
            assert_ne!(output.code, 0, "{step}: {output}");
            assert!(output.stderr.contains("copy"), "{step}: {output}");
            drop_copy(&cluster);
        }
        salvage(&operator, &backup, 65);
        assert_eq!(databases(&cluster), ["copy", "hard"], "{step}");
        let status = operator.run(&["status", "--json"]);
        assert!(!status.stdout.contains("was cut short"), "{step}: {status}");
        drop_copy(&cluster);
    }
}

/// A full disk ends a salvage: its database is dropped, and the one that serves stays as it is.
#[test]
fn a_full_disk_of_the_server_or_of_the_backups_ends_a_salvage() {
    let (Some(servers), Some(ours)) = (
        Filesystem::in_memory("size=3m"),
        Filesystem::in_memory("size=256k"),
    ) else {
        return;
    };
    let cluster = Cluster::start();
    let owner = cluster.data_directory().metadata().unwrap();
    let small = servers.path().join("tablespace");
    fs::create_dir(&small).unwrap();
    chown(&small, Some(owner.uid()), Some(owner.gid())).unwrap();
    let place = small.display();
    cluster.psql(&format!("CREATE TABLESPACE small LOCATION '{place}'"));
    hard(
        &cluster,
        "CREATE TABLE filler TABLESPACE small AS SELECT repeat(md5(i::text), 60) AS text \
           FROM generate_series(1, 900) AS i",
    );
    let mut operator = Operator::of(&cluster, "hard");
    let is_as_before = |output: &Output| {
        assert_eq!(databases(&cluster), ["hard"], "{output}");
        let rows = cluster.psql_in("hard", "SELECT count(*) FROM fine");
        assert_eq!(rows, "1000", "{output}");
    };
    let backup = operator.back_up();
    let into = |backup: &str| ["restore", backup, "--salvage", "--into", "copy"].map(str::to_owned);
    let run = |operator: &Operator, backup: &str| {
        let arguments = into(backup);
        operator.run(&arguments.each_ref().map(String::as_str))
    };
    let output = run(&operator, &backup);
    assert_eq!(output.code, 69, "{output}");
    let full = "No space left on device";
    assert!(output.stderr.contains(full), "{output}");
    is_as_before(&output);

    // Rows that the server refuses have no place.
    cluster.psql_in(
        "hard",
        "DROP TABLE filler; CREATE TABLE v (i int, t text); \
         INSERT INTO v SELECT i, repeat('x', 200) FROM generate_series(1, 3000) i",
    );
    let path = dump(&cluster, &operator, ("x\n", "x\tno column\n"));
    let directory = ours.path().join("backups");
    operator.set("directory", directory.display());
    let output = run(&operator, path.to_str().unwrap());
    assert_eq!(output.code, 73, "{output}");
    assert!(output.stderr.contains(full), "{output}");
    assert!(output.stderr.contains(".rows.sql"), "{output}");
    is_as_before(&output);
}
