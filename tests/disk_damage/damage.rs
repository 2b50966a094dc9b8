//! A backup that is no longer what it was: wherever it is damaged, it is found.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use super::{DATABASE, cluster_with_a_small_database, flip};
use crate::support::operator::Operator;

#[test]
fn a_damaged_backup_is_noted_and_does_not_count_as_verified() {
    let cluster = cluster_with_a_small_database();
    let mut operator = Operator::of(&cluster, DATABASE);
    let names: Vec<String> = (0..3).map(|_| operator.back_up()).collect();
    let directory = operator.backups();
    flip(&directory.join(format!("{}.sql.gz", names[2])), 300);
    let output = operator.run(&["verify", "--all"]);
    assert_eq!(output.code, 65, "{output}");
    assert_eq!(
        output.stderr,
        format!("pgbackupd: database {DATABASE}: 1 backup is damaged\n")
    );
    let state = fs::read_to_string(directory.join(format!("{}.state", names[2]))).unwrap();
    let state: Value = serde_json::from_str(&state).unwrap();
    let damage = state["checked"]["damage"].as_str().unwrap();
    let damage = damage.strip_prefix("its dump: ").unwrap();
    let start = format!("{}: DAMAGED: its dump: {damage}", names[2]);
    assert!(output.words().starts_with(&start), "{output}");
    let record = operator.last_record();
    assert_eq!(record["event"], "failed");
    assert_eq!(
        record["damaged"],
        json!([{ "backup": names[2], "what": format!("its dump: {damage}") }])
    );
    let listed = operator.run(&["list"]);
    let mut rows = listed.stdout.lines();
    let row = rows.find(|row| row.trim_start().starts_with(&names[2]));
    assert!(row.unwrap().contains("DAMAGED"), "{listed}");
    let sentence = format!("{} is damaged: its dump: {damage}", names[2]);
    assert!(listed.words().contains(&sentence), "{listed}");

    // The newest is damaged: the floor of one is met by the newest that is whole.
    operator.set_value("series.daily.keep_last", 1);
    operator.set_value("series.daily.keep", false);
    operator.set_value("retention.floor", 1);
    let output = operator.run(&["prune"]);
    assert_eq!(output.code, 0, "{output}");
    let left = operator.list();
    assert!(left.contains(&names[1]), "{left:?}");
    assert!(!left.contains(&names[0]), "{left:?}");

    // A backup that was repaired is whole again.
    flip(&directory.join(format!("{}.sql.gz", names[2])), 300);
    operator.assert_all_whole();
    let listed = operator.run(&["list"]);
    assert!(
        !listed.stdout.to_lowercase().contains("damaged"),
        "{listed}"
    );
}

/// What is done to a file.
#[derive(Clone, Copy, Debug)]
enum Damage {
    /// The bit of this number, from the start, is turned.
    Flipped(u64),
    /// Only so many bytes are left.
    Cut(u64),
}

/// Damage of a file of so many bytes, anywhere in it.
fn damage(bytes: u64) -> impl Strategy<Value = Damage> {
    prop_oneof![
        3 => (0..bytes * 8).prop_map(Damage::Flipped),
        1 => (0..bytes).prop_map(Damage::Cut),
    ]
}

impl Damage {
    fn inflict(self, path: &Path) {
        match self {
            Self::Flipped(bit) => flip(path, bit),
            Self::Cut(bytes) => fs::OpenOptions::new()
                .write(true)
                .open(path)
                .and_then(|file| file.set_len(bytes))
                .unwrap(),
        }
    }
}

/// Verifies copies of a backup, each in a directory of its own with one file damaged its own way;
/// gives the damages that were not found.
fn undiscovered(
    operator: &mut Operator,
    backup: &Path,
    file: &Path,
    damages: &[Damage],
) -> Vec<Damage> {
    let copies = operator.path("copies");
    fs::remove_dir_all(&copies).ok();
    fs::create_dir(&copies).unwrap();
    let mut databases = Vec::new();
    for (number, damage) in damages.iter().enumerate() {
        let copy = copies.join(number.to_string());
        let status = Command::new("cp").arg("-a").args([backup, &copy]).status();
        assert!(status.unwrap().success());
        damage.inflict(&copy.join(file));
        databases.push(number.to_string());
    }
    operator.set("directory", copies.display());
    operator.set_value("databases", databases);
    let output = operator.run(&["verify", "--all", "--json"]);
    assert_eq!(output.code, 65, "{output}");
    let verified: Vec<Value> = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(verified.len(), damages.len(), "{output}");
    let found = |verified: &Value| verified["backups"][0]["outcome"] == "damaged";
    let both = damages.iter().zip(&verified);
    both.filter(|(_, verified)| !found(verified))
        .map(|(damage, _)| *damage)
        .collect()
}

/// Wherever one bit of a file is turned, or the file is cut short, the verification finds it.
fn find_every_damage(format: &str, compression: &str, suffixes: &[&str], cases: usize) {
    const BATCH: usize = 20;
    let cluster = cluster_with_a_small_database();
    let mut operator = Operator::of(&cluster, DATABASE);
    operator.set("dump.format", format);
    operator.set("dump.compression", compression);
    let name = operator.back_up();
    let backup = operator.backups();
    operator.unset("database");
    let operator = RefCell::new(operator);
    for suffix in suffixes {
        let file = PathBuf::from(format!("{name}{suffix}"));
        let files = if backup.join(&file).is_dir() {
            let entries = fs::read_dir(backup.join(&file)).unwrap();
            entries
                .map(|entry| file.join(entry.unwrap().file_name()))
                .collect()
        } else {
            vec![file]
        };
        let cases = cases / files.len();
        for file in files {
            let bytes = fs::metadata(backup.join(&file)).unwrap().len();
            // The program costs more to start than a small backup to verify.
            let batch = proptest::collection::vec(damage(bytes), BATCH.min(cases));
            let mut runner = TestRunner::new(Config {
                cases: u32::try_from(cases.div_ceil(BATCH)).unwrap(),
                failure_persistence: None,
                max_shrink_iters: 0,
                ..Config::default()
            });
            let outcome = runner.run(&batch, |damages| {
                let missed = undiscovered(&mut operator.borrow_mut(), &backup, &file, &damages);
                prop_assert!(missed.is_empty(), "{}: {:?}", file.display(), missed);
                Ok(())
            });
            outcome.unwrap_or_else(|error| panic!("{error}"));
        }
    }
}

#[test]
fn every_damage_of_a_gzip_dump_its_census_and_its_globals_is_found() {
    find_every_damage(
        "plain",
        "gzip",
        &[".sql.gz", ".census.gz", ".globals.gz"],
        100,
    );
}

#[test]
fn every_damage_of_a_zstd_dump_is_found() {
    find_every_damage("plain", "zstd", &[".sql.zst"], 100);
}

#[test]
fn every_damage_of_an_uncompressed_dump_is_found() {
    find_every_damage("plain", "none", &[".sql"], 100);
}

#[test]
fn every_damage_of_a_custom_archive_is_found() {
    find_every_damage("custom", "gzip", &[".dump"], 100);
}

#[test]
fn every_damage_of_a_directory_archive_is_found() {
    find_every_damage("directory", "gzip", &[".dir"], 100);
}
