//! What was salvaged takes the place of a database.

use std::fs;

use super::{drop_copy, hard, salvage};
use crate::support::cluster::Cluster;
use crate::support::operator::Operator;
use crate::support::restored::{beginning_with, databases};

/// Only what a salvage of the database has made takes its place, and it can be undone.
#[test]
fn what_was_salvaged_is_swapped_in_and_the_swap_is_undone() {
    let cluster = Cluster::start();
    hard(&cluster, "COMMENT ON DATABASE hard IS 'of ours'");
    let mut operator = Operator::of(&cluster, "hard");
    let calls = operator.path("calls");
    for (key, word) in [("restore.stop", "stop"), ("restore.start", "start")] {
        let script = format!("echo {word} >>{}", calls.display());
        operator.set_value(key, vec!["sh", "-c", &script, "password=hunter2"]);
    }
    let backup = operator.back_up();
    cluster.psql("CREATE DATABASE other");
    for name in ["other", "none"] {
        let arguments = ["restore", "--swap", name, "--database", "hard", "--yes"];
        let output = operator.run(&arguments);
        assert_eq!(output.code, 64, "{output}");
        assert!(output.stderr.contains(name), "{output}");
    }
    salvage(&operator, &backup, 0);
    cluster.psql_in("hard", "CREATE TABLE since (i int)");
    let arguments = ["restore", "--swap", "copy", "--database", "hard", "--yes"];
    let swapped = operator.run(&arguments);
    assert_eq!(swapped.code, 0, "{swapped}");
    let has_since = "SELECT to_regclass('since') IS NOT NULL";
    assert_eq!(cluster.psql_in("hard", has_since), "f");
    let comment =
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = 'hard'";
    assert_eq!(cluster.psql(comment), "of ours");
    let kept = beginning_with(&cluster, "hard_before_restore_");
    assert!(swapped.stdout.contains(&kept), "{swapped}");
    let output = operator.run(&["undo-restore", "--database", "hard", "--yes"]);
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(cluster.psql_in("hard", has_since), "t");
    let calls = fs::read_to_string(calls).unwrap();
    assert_eq!(calls, "stop\nstart\nstop\nstart\n");
    // Neither on the terminal nor on record.
    assert!(!swapped.to_string().contains("hunter2"), "{swapped}");
    let record = fs::read_to_string(operator.backups().join("restore.log")).unwrap();
    assert!(record.contains("stopping the application"), "{record}");
    assert!(!record.contains("hunter2"), "{record}");
}

/// A file that names its database is swapped in for that one alone; of one that does not, the question says so.
#[test]
fn what_was_salvaged_of_a_file_is_swapped_in_for_the_database_that_it_names() {
    let cluster = Cluster::start();
    hard(&cluster, "SELECT 1");
    cluster.psql("CREATE DATABASE sales");
    let operator = Operator::of(&cluster, "hard");
    let path = operator.path("hard.sql");
    let swap = |more: &[&str]| {
        operator.run(&[&["restore", "--swap", "copy", "--database", "hard"], more].concat())
    };
    let output = swap(&["--yes"]);
    assert_eq!(output.code, 64, "{output}");
    assert!(!operator.backups().exists(), "{output}");
    for (database, names_it) in [("sales", true), ("hard", true), ("hard", false)] {
        let create: &[&str] = if names_it { &["--create"] } else { &[] };
        let dumped = cluster
            .command("pg_dump")
            .args(create)
            .arg(database)
            .output()
            .unwrap();
        assert!(dumped.status.success());
        fs::write(&path, dumped.stdout).unwrap();
        salvage(&operator, path.to_str().unwrap(), 0);
        let output = swap(&[]);
        assert_eq!(output.code, 64, "{output}");
        if database == "sales" {
            assert!(
                output.stderr.contains("salvaged database \\\"sales\\\""),
                "{output}"
            );
            let before = databases(&cluster);
            assert_eq!(swap(&["--yes"]).code, 64);
            assert_eq!(databases(&cluster), before);
        } else {
            assert!(output.stderr.contains("copy becomes hard"), "{output}");
            let asks = output.stderr.contains("does not name its database");
            assert_eq!(asks, !names_it, "{output}");
        }
        drop_copy(&cluster);
    }
    salvage(&operator, path.to_str().unwrap(), 0);
    let output = swap(&["--yes"]);
    assert_eq!(output.code, 0, "{output}");
    beginning_with(&cluster, "hard_before_restore_");
}
