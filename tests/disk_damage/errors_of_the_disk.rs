//! A disk that cannot write, or cannot read: nothing half is left, and no backup is blamed.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use super::{DATABASE, cluster_with_a_small_database, flip};
use crate::support::filesystem::can_trace;
use crate::support::operator::{Operator, Output};

#[test]
fn an_error_of_the_disk_at_any_sync_or_rename_leaves_nothing() {
    if !can_trace() {
        return;
    }
    let cluster = cluster_with_a_small_database();
    let operator = Operator::of(&cluster, DATABASE);
    operator.assert_next_run_succeeds();
    let directory = operator.backups().display().to_string();
    let trace = operator.path("trace");
    let mut sentences = Vec::new();
    for call in ["fsync", "renameat2"] {
        for nth in 1.. {
            assert!(nth < 30, "so many calls of {call}?");
            let before = operator.standing();
            let inject = format!("inject={call}:error=EIO:when={nth}");
            let starter = ["strace", "-f", "-o", trace.to_str().unwrap(), "-e", &inject];
            let output = operator.run_under(&starter, &["backup"]);
            if output.code == 0 {
                let traced = fs::read_to_string(&trace).unwrap();
                assert!(
                    !traced.contains("(INJECTED)"),
                    "an error was passed over: {traced}"
                );
                break;
            }
            assert_eq!(output.code, 73, "{call} {nth}: {output}");
            operator.assert_nothing_new(&before);
            let sentence = output
                .stderr
                .strip_prefix(&format!(
                    "pgbackupd: no backup of database {DATABASE}: cannot "
                ))
                .and_then(|rest| rest.strip_suffix(": Input/output error (os error 5)\n"))
                .unwrap_or_else(|| panic!("{call} {nth}: {output}"));
            sentences.push(sentence.replace(&directory, "…"));
            assert_eq!(operator.last_record()["event"], "failed");
        }
    }
    for (told, times) in [("sync the directory …", 3), ("publish …/backup_", 4)] {
        let found = sentences
            .iter()
            .filter(|sentence| sentence.starts_with(told));
        assert_eq!(found.count(), times, "{told}: {sentences:#?}");
    }
    operator.assert_next_run_succeeds();
}

#[test]
fn an_error_of_the_disk_under_the_ledger_is_reported_with_what_stands() {
    if !can_trace() {
        return;
    }
    let cluster = cluster_with_a_small_database();
    let operator = Operator::of(&cluster, DATABASE);
    operator.assert_next_run_succeeds();
    let ledger = operator.backups().join("backup.log");
    let why = format!("{}: Input/output error (os error 5)\n", ledger.display());
    let with_error = |nth: usize| {
        let inject = format!("inject=fdatasync:error=EIO:when={nth}");
        let starter = ["strace", "-f", "-o", "/dev/null", "-e", &inject];
        operator.run_under(&starter, &["backup"])
    };

    let before = operator.standing();
    let text = fs::read_to_string(&ledger).unwrap();
    let output = with_error(1);
    assert_eq!(output.code, 73, "{output}");
    assert_eq!(
        output.stderr,
        format!(
            "pgbackupd: no backup of database {DATABASE}: nothing was done because the run could \
             not be recorded in {why}"
        )
    );
    operator.assert_nothing_new(&before);
    assert_eq!(fs::read_to_string(&ledger).unwrap(), text);

    let before = operator.list();
    let output = with_error(2);
    assert_eq!(output.code, 73, "{output}");
    let after = operator.list();
    assert_eq!(after.len(), before.len() + 1);
    let made = after.last().unwrap();
    assert_eq!(
        output.stderr,
        format!(
            "pgbackupd: database {DATABASE}: the backup {made} is complete, but that could \
             not be recorded in {why}"
        )
    );
    assert_eq!(operator.last_record()["event"], "started");
    operator.assert_next_run_succeeds();
}

#[test]
fn a_sync_that_fails_after_something_was_done_says_what_stands() {
    if !can_trace() {
        return;
    }
    let cluster = cluster_with_a_small_database();
    let mut operator = Operator::of(&cluster, DATABASE);
    let names: Vec<String> = (0..4).map(|_| operator.back_up()).collect();
    operator.set_value("series.daily.keep", false);
    operator.set_value("series.daily.keep_last", 1);
    operator.set_value("retention.floor", 1);
    let with_error = |nth: usize, arguments: &[&str]| {
        let inject = format!("inject=fsync:error=EIO:when={nth}");
        let directory = operator.backups().display().to_string();
        let starter = [
            "strace",
            "-f",
            "-o",
            "/dev/null",
            "-P",
            &directory,
            "-e",
            &inject,
        ];
        operator.run_under(&starter, arguments)
    };

    // Its note has its name when the directory cannot be synced.
    let output = with_error(1, &["pin", &names[3]]);
    assert_eq!(output.code, 73, "{output}");
    let sentence = format!(
        "the new state of {} is written, unless the power fails",
        names[3]
    );
    assert!(output.stderr.contains(&sentence), "{output}");
    let listed = operator.json(&["list"]);
    assert_eq!(listed[0]["backups"][3]["pinned"], true, "{listed}");

    // A backup that is being removed, at both of its syncs: said of the very one.
    let mut told = Vec::new();
    for nth in 1..8 {
        let output = with_error(nth, &["prune"]);
        told.extend(
            output
                .stderr
                .lines()
                .filter(|line| line.contains("unless the power"))
                .map(str::to_owned),
        );
        if operator.list().len() == 1 {
            break;
        }
    }
    let all = told.join("\n");
    for part in [
        "is no backup any more, and the next run removes its files",
        "is removed, unless",
    ] {
        assert!(all.contains(part), "{part}: {all}");
    }
    assert!(names[..3].iter().any(|name| all.contains(name)), "{all}");
    let output = operator.run(&["prune"]);
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(operator.list(), names[3..]);
    let left = operator.temporaries();
    assert!(left.is_empty(), "{left:?}");
}

/// What the verification of all says, by the names of the backups: outcome and message.
fn verified(operator: &Operator, output: &Output) -> BTreeMap<String, (String, String)> {
    let verified: Value = serde_json::from_str(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let backups = verified[0]["backups"].as_array().unwrap();
    assert_eq!(backups.len(), operator.list().len(), "{output}");
    backups
        .iter()
        .map(|one| {
            let found = (text(&one["outcome"]), text(&one["message"]));
            (text(&one["name"]), found)
        })
        .collect()
}

#[test]
fn what_the_machine_cannot_read_is_not_held_against_a_backup() {
    if !can_trace() {
        return;
    }
    let cluster = cluster_with_a_small_database();
    let mut operator = Operator::of(&cluster, DATABASE);
    let names: Vec<String> = (0..2).map(|_| operator.back_up()).collect();
    let directory = operator.backups();
    let all = ["verify", "--all", "--json"];
    let assert_nothing_is_held = |operator: &Operator, output: &Output, why: &str| {
        assert_eq!(output.code, 69, "{output}");
        let found = verified(operator, output);
        assert_eq!(found[&names[0]].0, "whole", "{output}");
        assert_eq!(found[&names[1]].0, "unchecked", "{output}");
        assert!(found[&names[1]].1.contains(why), "{output}");
        let state = directory.join(format!("{}.state", names[1]));
        let state: Value = serde_json::from_slice(&fs::read(state).unwrap()).unwrap();
        assert_eq!(state["checked"], Value::Null);
        assert!(state["unchecked"]["why"].as_str().unwrap().contains(why));
        let listed = operator.json(&["list"]);
        assert!(listed[0]["backups"][1]["verified"].is_string(), "{listed}");
    };
    // An error of the disk, in each of its files.
    for suffix in [".globals.gz", ".census.gz", ".sql.gz"] {
        let file = directory.join(format!("{}{suffix}", names[1]));
        let file = file.to_str().unwrap();
        let inject = "inject=read:error=EIO";
        let starter = ["strace", "-f", "-o", "/dev/null", "-P", file, "-e", inject];
        let output = operator.run_under(&starter, &all);
        assert_nothing_is_held(&operator, &output, "Input/output error (os error 5)");
    }
    // Time that is up; the next one is read all the same.
    operator.set("limits.total", "1 second");
    let file = directory.join(format!("{}.sql.gz", names[1]));
    let file = file.to_str().unwrap();
    let inject = "inject=fadvise64:delay_enter=2000000:when=1";
    let starter = ["strace", "-f", "-o", "/dev/null", "-P", file, "-e", inject];
    let output = operator.run_under(&starter, &all);
    assert_nothing_is_held(&operator, &output, "took longer than limits.total allows");

    operator.unset("limits.total");
    operator.assert_all_whole();
    let state = fs::read_to_string(directory.join(format!("{}.state", names[1]))).unwrap();
    assert!(!state.contains("unchecked"), "{state}");
}

#[test]
fn an_archive_that_pg_restore_cannot_read_is_only_damaged_if_its_bytes_are() {
    let cluster = cluster_with_a_small_database();
    let mut operator = Operator::of(&cluster, DATABASE);
    operator.set("dump.format", "custom");
    let name = operator.back_up();
    operator.stand_in(
        "pg_restore",
        "echo 'pg_restore: error: unsupported version (1.16) in file header' >&2; exit 1",
    );
    let output = operator.run(&["verify"]);
    assert_eq!(output.code, 69, "{output}");
    assert!(
        output.words().contains("unsupported version (1.16)")
            && output
                .words()
                .contains("but its files are those that were written"),
        "{output}"
    );
    flip(&operator.backups().join(format!("{name}.dump")), 300);
    let output = operator.run(&["verify"]);
    assert_eq!(output.code, 65, "{output}");
}
