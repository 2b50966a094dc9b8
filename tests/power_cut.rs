//! The power goes at each step of a backup, on ext4 and on xfs: whatever has a manifest is whole
//! when the machine is up again, the next run clears the rest away, and what was reported done is
//! still done.
//!
//! strace kills the program right before one system call, and the file system forgets at once
//! whatever is not on the disk. strace counts calls for each thread, so a call's number names a
//! step of the thread that gets there first; later numbers reach all of the main thread's steps.

use std::collections::BTreeMap;
use std::fs;

use crate::support::cluster::Cluster;
use crate::support::filesystem::{Filesystem, Kind, can_cut_power, can_trace};
use crate::support::operator::Operator;
use serde_json::Value;

const DATABASE: &str = "shop";

/// The calls that put something on the disk or give it its name, each with how often a backup makes
/// it at the least: less would mean that the test has lost sight of it.
const STEPS: [(&str, usize); 3] = [("fdatasync", 2), ("fsync", 7), ("renameat2", 4)];

/// What SIGKILL makes of an exit code.
const KILLED: i32 = 128 + 9;

fn cut_the_power_at_each_step(kind: Kind, format: &str, compression: &str) {
    if !can_trace() || !can_cut_power() {
        return;
    }
    let Some(filesystem) = Filesystem::on_image(kind) else {
        return;
    };
    let cluster = Cluster::start();
    cluster.create_database(DATABASE);
    cluster.psql_in(
        DATABASE,
        "CREATE TABLE item AS \
           SELECT i AS id, md5(i::text) AS name FROM generate_series(1, 200) AS i",
    );
    let mut operator = Operator::of(&cluster, DATABASE);
    operator.set("directory", filesystem.path().join("backups").display());
    operator.set("dump.format", format);
    operator.set("dump.compression", compression);
    // Nothing is removed: what is gone was lost.
    operator.set_value("series.daily.keep_last", 10_000);
    for (call, least) in STEPS {
        let mut times = 0;
        for nth in 1.. {
            // Now and then it is the very first run: no directory, no lock, no ledger before.
            if operator.list().len() > 2 {
                fs::remove_dir_all(operator.backups()).unwrap();
            }
            let before = operator.list();
            let code = run_until(&operator, "backup", call, nth);
            filesystem.cut_power();
            if code == 0 {
                assert_success_is_lasting(&operator, &before);
                break;
            }
            // pg_dump, which syncs an archive itself, may have been the one that was killed.
            let pg_dump_failed = format != "plain" && code == 69;
            assert!(code == KILLED || pg_dump_failed, "{call} {nth}: {code}");
            times += 1;
            assert!(times < 40, "so many calls of {call}?");
            assert_nothing_is_lost(&operator, &before, &format!("{call} {nth}"));
            run_again(&operator, &before, &format!("{call} {nth}"));
        }
        assert!(times >= least, "{call} was seen {times} times only");
    }
}

/// Runs a command, killed right before the call of this number, if it comes to that.
fn run_until(operator: &Operator, command: &str, call: &str, nth: usize) -> i32 {
    let trace = operator.path("trace");
    let inject = format!("inject={call}:signal=SIGKILL:when={nth}");
    let starter = ["strace", "-f", "-o", trace.to_str().unwrap(), "-e", &inject];
    operator.run_under(&starter, &[command]).code
}

/// A backup that returned 0 is there and whole after a power cut right behind it, and so is its
/// record.
fn assert_success_is_lasting(operator: &Operator, before: &[String]) {
    let after = operator.list();
    assert_eq!(after.len(), before.len() + 1);
    assert_eq!(after[..before.len()], *before);
    let record = operator.last_record();
    assert_eq!(record["event"], "succeeded");
    assert_eq!(record["backup"], *after[before.len()]);
    operator.assert_all_whole();
}

/// Every backup from before is listed, and every one that is listed is whole.
fn assert_nothing_is_lost(operator: &Operator, before: &[String], step: &str) {
    let listed = operator.list();
    assert!(
        listed.starts_with(before) && listed.len() <= before.len() + 1,
        "{step}: {before:?}, then {listed:?}"
    );
    let output = operator.run(&["verify", "--all"]);
    let nothing_yet = format!("database {DATABASE}: no backup to check\n");
    assert!(output.code == 0, "{step}: {output}");
    assert!(
        !listed.is_empty() || output.stdout.starts_with(&nothing_yet),
        "{step}: {output}"
    );
}

/// The next run succeeds, completes or clears away what was left, and closes the ledger's entry.
fn run_again(operator: &Operator, before: &[String], step: &str) {
    let cut_short = operator.list();
    operator.assert_next_run_succeeds();
    let after = operator.list();
    // Its own, and perhaps the one that only lacked its names.
    let made = after.len() - before.len();
    assert!(
        (1..=2).contains(&made),
        "{step}: {before:?}, then {after:?}"
    );
    assert!(
        after.starts_with(&cut_short),
        "{step}: {cut_short:?}, then {after:?}"
    );
    assert_every_file_has_its_backup(operator, step);
    let mut open = BTreeMap::new();
    for record in operator.ledger() {
        let run = record["run"].as_str().unwrap().to_owned();
        match record["event"].as_str() {
            Some("started") => drop(open.insert(run, record)),
            _ => drop(open.remove(&run)),
        }
    }
    let open: Vec<Value> = open.into_values().collect();
    assert!(open.is_empty(), "{step}: {open:?}");
}

fn assert_every_file_has_its_backup(operator: &Operator, step: &str) {
    let listed = operator.list();
    for file in operator.artifacts() {
        let has_one = listed.iter().any(|name| {
            let rest = file.strip_prefix(name.as_str());
            rest.is_some_and(|rest| rest.starts_with('.'))
        });
        assert!(has_one, "{step}: {file} belongs to no backup");
    }
}

#[test]
fn a_power_cut_at_any_step_of_a_removal_leaves_whole_backups_and_the_next_one_ends_it() {
    if !can_trace() || !can_cut_power() {
        return;
    }
    let Some(filesystem) = Filesystem::on_image(Kind::Ext4) else {
        return;
    };
    let cluster = Cluster::start();
    let mut operator = Operator::of(&cluster, "postgres");
    operator.set("directory", filesystem.path().join("backups").display());
    operator.set_value("retention.floor", 1);
    operator.set_value("series.daily.keep", false);
    for (call, least) in [("renameat2", 1), ("unlink", 5), ("fsync", 2)] {
        let mut times = 0;
        for nth in 1.. {
            operator.set_value("series.daily.keep_last", 3);
            while operator.list().len() < 3 {
                operator.assert_next_run_succeeds();
            }
            let before = operator.list();
            operator.set_value("series.daily.keep_last", 1);
            let code = run_until(&operator, "prune", call, nth);
            filesystem.cut_power();
            let step = format!("{call} {nth}");
            let left = operator.list();
            assert!(
                left.ends_with(&before[2..]),
                "{step}: {before:?}, then {left:?}"
            );
            let output = operator.run(&["verify", "--all"]);
            assert_eq!(output.code, 0, "{step}: {output}");
            if code == 0 {
                assert_eq!(
                    left,
                    before[2..],
                    "a removal that was reported did not last"
                );
                break;
            }
            assert_eq!(code, KILLED, "{step}");
            times += 1;
            let output = operator.run(&["prune"]);
            assert_eq!(output.code, 0, "{step}: {output}");
            assert_eq!(operator.list(), before[2..], "{step}");
            assert_every_file_has_its_backup(&operator, &step);
        }
        assert!(times >= least, "{call} was seen {times} times only");
    }
}

#[test]
fn a_power_cut_at_any_step_loses_no_backup_on_ext4() {
    cut_the_power_at_each_step(Kind::Ext4, "plain", "gzip");
}

#[test]
fn a_power_cut_at_any_step_loses_no_backup_on_xfs() {
    cut_the_power_at_each_step(Kind::Xfs, "plain", "zstd");
}

#[test]
fn a_power_cut_at_any_step_loses_no_backup_in_directory_format() {
    cut_the_power_at_each_step(Kind::Ext4, "directory", "none");
}

#[test]
fn a_power_cut_at_any_step_loses_no_backup_in_custom_format() {
    cut_the_power_at_each_step(Kind::Xfs, "custom", "gzip");
}

/// A cut that forgot nothing would prove nothing.
#[test]
fn a_power_cut_forgets_what_was_not_synced() {
    for kind in [Kind::Ext4, Kind::Xfs] {
        let Some(filesystem) = can_cut_power()
            .then(|| Filesystem::on_image(kind))
            .flatten()
        else {
            return;
        };
        let kept = filesystem.path().join("kept");
        fs::write(&kept, "kept").unwrap();
        fs::File::open(&kept).unwrap().sync_all().unwrap();
        fs::rename(&kept, filesystem.path().join("renamed")).unwrap();
        fs::write(filesystem.path().join("forgotten"), "forgotten").unwrap();
        filesystem.cut_power();
        assert_eq!(fs::read_to_string(&kept).unwrap(), "kept", "{kind:?}");
        assert!(!filesystem.path().join("renamed").exists(), "{kind:?}");
        assert!(!filesystem.path().join("forgotten").exists(), "{kind:?}");
    }
}
