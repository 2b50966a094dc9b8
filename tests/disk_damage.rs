//! What stands in a directory and should not, and what stands there and is no longer what it was:
//! `list` names it, `verify` finds it, retention leaves it alone.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

mod support;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use support::cluster::Cluster;
use support::filesystem::can_trace;
use support::operator::{Operator, Output};

const DATABASE: &str = "shop";

fn cluster_with_a_small_database() -> Cluster {
    let cluster = Cluster::start();
    cluster.create_database(DATABASE);
    cluster.psql_in(
        DATABASE,
        "CREATE TABLE item AS \
           SELECT i AS id, md5(i::text) AS name FROM generate_series(1, 200) AS i",
    );
    cluster
}

/// Makes a backup and gives its name.
fn back_up(operator: &Operator) -> String {
    let made = operator.json(&["backup"]);
    made[0]["backup"].as_str().unwrap().to_owned()
}

/// The files that are no backups, each with what `list` says about it.
fn problems(operator: &Operator) -> BTreeMap<String, String> {
    let listed = operator.json(&["list"]);
    let problems = listed[0]["problems"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    problems
        .iter()
        .map(|problem| (text(&problem["file"]), text(&problem["what"])))
        .collect()
}

/// The content of every file below a directory, and where every symbolic link leads.
fn content(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let kind = path.symlink_metadata().unwrap().file_type();
        if kind.is_symlink() {
            let target = fs::read_link(&path).unwrap();
            found.insert(path, target.into_os_string().into_encoded_bytes());
        } else if kind.is_dir() {
            found.extend(content(&path));
            found.insert(path, b"a directory".to_vec());
        } else {
            found.insert(path.clone(), fs::read(path).unwrap());
        }
    }
    found
}

#[test]
fn foreign_files_are_named_and_never_touched() {
    let cluster = cluster_with_a_small_database();
    let mut operator = Operator::of(&cluster, DATABASE);
    // As greedy as retention can be.
    operator.set_value("series.daily.keep_last", 1);
    operator.set_value("series.daily.keep", false);
    operator.set_value("retention.floor", 1);
    back_up(&operator);
    let directory = operator.backups();
    let outside = operator.path("outside.json");
    fs::write(&outside, "theirs").unwrap();
    for name in [
        "backup_20010101_020000.sql.gz",
        "weekly_backup_20010101_020000.sql.zst",
        "manual_x_20010101_020000.dump",
        "notes.txt",
        "backup_20010101.sql.gz",
        "backup.sql.gz",
        "backup_20010101_020000.sql.gz.part",
        ".pgbackupd-notes",
        ".pgbackupd-01890a5d-ac96-774b-bcce-b302099a8057.notes",
        "strange\nname",
    ] {
        fs::write(directory.join(name), "theirs").unwrap();
    }
    for name in [
        "backup_20010102_020000.json",
        "backup_20010103_020000.dir",
        "old",
    ] {
        fs::create_dir(directory.join(name)).unwrap();
        fs::write(directory.join(name).join("theirs"), "theirs").unwrap();
    }
    symlink(&outside, directory.join("backup_20010104_020000.json")).unwrap();
    symlink(&outside, directory.join("backup_20010105_020000.sql.gz")).unwrap();
    symlink("nowhere", directory.join("backup_20010106_020000.json")).unwrap();
    let ours = operator.list();
    let mut foreign = content(&directory);
    foreign.retain(|path, _| {
        let path = path.to_str().unwrap();
        !path.contains(&ours[0]) && !path.ends_with("/backup.log") && !path.ends_with("/.lock")
    });

    let orphan = "it has no manifest, so it is not a backup of pgbackupd's, and retention never \
                  touches it";
    let no_manifest = "it cannot be understood: expected ident at line 1 column 2";
    let expected = [
        ("backup_20010101_020000.sql.gz", orphan),
        (
            "backup_20010102_020000.json",
            "cannot read it: Is a directory (os error 21)",
        ),
        ("backup_20010103_020000.dir", orphan),
        ("backup_20010104_020000.json", no_manifest),
        ("backup_20010105_020000.sql.gz", orphan),
        (
            "backup_20010106_020000.json",
            "cannot read it: No such file or directory (os error 2)",
        ),
        ("manual_x_20010101_020000.dump", orphan),
        ("weekly_backup_20010101_020000.sql.zst", orphan),
    ];
    let expected: BTreeMap<String, String> = expected
        .map(|(file, what)| (file.to_owned(), what.to_owned()))
        .into();
    assert_eq!(problems(&operator), expected);
    let told = operator.run(&["list"]);
    for (file, what) in &expected {
        let line = format!("{file}: {what}\n");
        assert!(told.stdout.contains(&line), "{told}");
    }

    // The next backup, retention with it, a clean-up and a verification.
    let newest = back_up(&operator);
    let output = operator.run(&["prune"]);
    assert_eq!(output.code, 0, "{output}");
    // What has a manifest's name may have been one.
    let output = operator.run(&["verify", "--all"]);
    assert_eq!(output.code, 65, "{output}");
    let unreadable = "of no use: cannot read it: Is a directory (os error 21)\n";
    let directory_line = format!(
        "backup_20010102_020000: UNCHECKED: the manifest {}/backup_20010102_020000.json is \
         {unreadable}",
        directory.display()
    );
    assert!(output.stdout.contains(&directory_line), "{output}");
    assert_eq!(operator.list(), [newest.as_str()]);
    let mut after = content(&directory);
    after.retain(|path, _| foreign.contains_key(path));
    assert_eq!(after, foreign);
    assert_eq!(fs::read_to_string(outside).unwrap(), "theirs");
    assert_eq!(problems(&operator), expected);
}

#[test]
fn a_manifest_that_is_of_no_use_is_told_and_neither_counted_nor_removed() {
    let cluster = cluster_with_a_small_database();
    let mut operator = Operator::of(&cluster, DATABASE);
    let names: Vec<String> = (0..5).map(|_| back_up(&operator)).collect();
    let directory = operator.backups();
    let manifest = |name: &str| directory.join(format!("{name}.json"));
    let edit = |name: &str, edit: &dyn Fn(String) -> String| {
        let text = fs::read_to_string(manifest(name)).unwrap();
        fs::write(manifest(name), edit(text)).unwrap();
    };
    edit(&names[0], &|_| "no JSON".to_owned());
    edit(&names[1], &|text| text[..text.len() / 2].to_owned());
    edit(&names[2], &|text| {
        let changed = text.replacen("\"rows\": 200", "\"rows\": 201", 1);
        assert_ne!(changed, text);
        changed
    });
    edit(&names[3], &|text| {
        text.replacen("\"format\": 1", "\"format\": 2", 1)
    });
    // The fifth remains; a copy of it under another name is none.
    let renamed = "backup_20010101_020000";
    for entry in fs::read_dir(&directory).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if let Some(end) = name.strip_prefix(names[4].as_str()) {
            fs::copy(
                directory.join(&name),
                directory.join(format!("{renamed}{end}")),
            )
            .unwrap();
        }
    }
    let found = problems(&operator);
    for (name, what) in [
        (
            names[0].as_str(),
            "it cannot be understood: expected ident at line 1 column 2",
        ),
        (&names[1], "it cannot be understood: EOF while parsing"),
        (
            &names[2],
            "it has been changed since it was written: its checksum does not fit",
        ),
        (
            &names[3],
            "it has format 2, which is newer than this program: upgrade pgbackupd",
        ),
        (
            renamed,
            &format!("it is the manifest of {:?}: it has been renamed", names[4]),
        ),
    ] {
        let told = &found[&format!("{name}.json")];
        assert!(told.starts_with(what), "{name}: {told}");
    }
    assert_eq!(found.len(), 5);

    // The other one stays usable, and whoever verifies hears of the rest.
    assert_eq!(operator.list(), [names[4].as_str()]);
    for choice in ["--all", "--latest"] {
        let output = operator.run(&["verify", choice]);
        assert_eq!(output.code, 65, "{output}");
        assert_eq!(
            output.stderr,
            format!("pgbackupd: database {DATABASE}: 4 backups are damaged\n")
        );
        let whole = format!("{}: whole, 200 rows\n", names[4]);
        assert!(output.stdout.starts_with(&whole), "{output}");
        for (file, what) in &found {
            let name = file.strip_suffix(".json").unwrap();
            let outcome = if *name == names[3] {
                "UNCHECKED"
            } else {
                "DAMAGED"
            };
            let line = format!(
                "{name}: {outcome}: the manifest {}/{file} is of no use: {what}\n",
                directory.display()
            );
            assert!(output.stdout.contains(&line), "{line}\n{output}");
        }
    }
    // So does whoever names it.
    for (name, code) in [(&names[2], 65), (&names[3], 69), (&names[4], 0)] {
        let output = operator.run(&["verify", name]);
        assert_eq!(output.code, code, "{output}");
    }

    // With a floor of one the greediest retention keeps exactly one that is of use.
    let before = operator.artifacts();
    operator.set_value("series.daily.keep_last", 1);
    operator.set_value("series.daily.keep", false);
    operator.set_value("retention.floor", 1);
    let newest = back_up(&operator);
    assert_eq!(operator.list(), [newest.as_str()]);
    let after = operator.artifacts();
    for file in before {
        assert_eq!(
            after.contains(&file),
            !file.starts_with(&names[4]),
            "{file} is of no backup that retention knows"
        );
    }
    assert_eq!(problems(&operator), found);
}

#[test]
fn a_damaged_backup_is_noted_and_does_not_count_as_verified() {
    let cluster = cluster_with_a_small_database();
    let mut operator = Operator::of(&cluster, DATABASE);
    let names: Vec<String> = (0..3).map(|_| back_up(&operator)).collect();
    let directory = operator.backups();
    flip(&directory.join(format!("{}.sql.gz", names[2])), 300);
    let output = operator.run(&["verify", "--all"]);
    assert_eq!(output.code, 65, "{output}");
    assert_eq!(
        output.stderr,
        format!("pgbackupd: database {DATABASE}: 1 backup is damaged\n")
    );
    let line = output.stdout.lines().next().unwrap();
    let start = format!("{}: DAMAGED: its dump: ", names[2]);
    let damage = line.strip_prefix(&start).unwrap();
    let state = fs::read_to_string(directory.join(format!("{}.state", names[2]))).unwrap();
    let state: Value = serde_json::from_str(&state).unwrap();
    assert_eq!(state["checked"]["damage"], format!("its dump: {damage}"));
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
    let sentence = format!("{} is damaged: its dump: {damage}\n", names[2]);
    assert!(listed.stdout.contains(&sentence), "{listed}");

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

fn flip(path: &Path, bit: u64) {
    let mut bytes = fs::read(path).unwrap();
    bytes[usize::try_from(bit / 8).unwrap()] ^= 1 << (bit % 8);
    fs::write(path, bytes).unwrap();
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
    let name = back_up(&operator);
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

#[test]
fn a_missing_file_and_one_too_many_are_found() {
    let cluster = cluster_with_a_small_database();
    let mut operator = Operator::of(&cluster, DATABASE);
    operator.set("dump.format", "directory");
    let name = back_up(&operator);
    let directory = operator.backups();
    let verify = |damage: &str| {
        let output = operator.run(&["verify", "--all"]);
        assert_eq!(output.code, 65, "{output}");
        let start = format!("{name}: DAMAGED: {damage}");
        assert!(output.stdout.starts_with(&start), "{output}");
    };
    let extra = directory.join(format!("{name}.dir/extra"));
    fs::write(&extra, "").unwrap();
    verify("its dump has been changed: ");
    fs::remove_file(extra).unwrap();
    operator.assert_all_whole();
    for (suffix, damage) in [
        (
            "globals.gz",
            format!("{name}.globals.gz: cannot read: No such file or directory (os error 2)\n"),
        ),
        (
            "census.gz",
            "its census is of no use: cannot read the census: No such file or directory (os \
             error 2)\n"
                .to_owned(),
        ),
    ] {
        let file = directory.join(format!("{name}.{suffix}"));
        let aside = operator.path("aside");
        fs::rename(&file, &aside).unwrap();
        verify(&damage);
        fs::rename(&aside, &file).unwrap();
        operator.assert_all_whole();
    }
    // Without its dump there is no backup.
    fs::rename(directory.join(format!("{name}.dir")), operator.path("dump")).unwrap();
    assert_eq!(operator.list(), Vec::<String>::new());
    assert_eq!(
        problems(&operator),
        [(
            format!("{name}.json"),
            format!("its dump {name}.dir is gone")
        )]
        .into()
    );
    let output = operator.run(&["verify", &name]);
    assert_eq!(output.code, 65, "{output}");
    assert_eq!(
        output.stdout,
        format!("{name}: DAMAGED: its dump: cannot read: No such file or directory (os error 2)\n")
    );
}

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
fn an_error_of_the_disk_under_the_ledger_is_told_with_what_stands() {
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
            "pgbackupd: database {DATABASE}: the backup {made} is complete and stands, but that \
             could not be recorded in {why}"
        )
    );
    assert_eq!(operator.last_record()["event"], "started");
    operator.assert_next_run_succeeds();
}

#[test]
fn a_directory_whose_only_manifest_is_spoilt_is_not_passed_over_where_all_are_backed_up() {
    let cluster = cluster_with_a_small_database();
    let mut operator = Operator::of(&cluster, DATABASE);
    operator.unset("database");
    operator.set("databases", "all");
    operator.set_value("include", vec![DATABASE]);
    let name = back_up(&operator);
    let manifest = operator.backups().join(format!("{name}.json"));
    fs::write(&manifest, "").unwrap();
    let file = format!("{name}.json");
    assert_eq!(problems(&operator).into_keys().collect::<Vec<_>>(), [file]);
    let output = operator.run(&["verify", "--all"]);
    assert_eq!(output.code, 65, "{output}");
    let line = format!("{name}: DAMAGED: the manifest {}", manifest.display());
    assert!(output.stdout.starts_with(&line), "{output}");
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
    let names: Vec<String> = (0..2).map(|_| back_up(&operator)).collect();
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
    let name = back_up(&operator);
    operator.stand_in(
        "pg_restore",
        "echo 'pg_restore: error: unsupported version (1.16) in file header' >&2; exit 1",
    );
    let output = operator.run(&["verify"]);
    assert_eq!(output.code, 69, "{output}");
    assert!(
        output.stdout.contains("unsupported version (1.16)")
            && output
                .stdout
                .contains("but its files are those that were written"),
        "{output}"
    );
    flip(&operator.backups().join(format!("{name}.dump")), 300);
    let output = operator.run(&["verify"]);
    assert_eq!(output.code, 65, "{output}");
}
