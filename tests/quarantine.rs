//! The verification of what stands on the disk: a damaged backup is put aside and never lost, given
//! its place back once it is whole, and however little time there is, every backup has its turn.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::clock::WallClock;
use crate::support::cluster::Cluster;
use crate::support::daemon::{Daemon, DaemonOptions, only_daily};
use crate::support::filesystem::can_trace;
use crate::support::operator::{Operator, Output};
use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_128;

/// A server with a table, and an operator with so many backups of it.
fn prepared(backups: usize) -> (Cluster, Operator, Vec<String>) {
    let cluster = Cluster::start();
    cluster.psql("CREATE TABLE t AS SELECT i FROM generate_series(1, 1000) AS i");
    let mut operator = Operator::of(&cluster, "postgres");
    operator.set(
        "daemon.runtime_directory",
        operator.path("runtime").display(),
    );
    for _ in 0..backups {
        operator.back_up();
    }
    let names = operator.list();
    (cluster, operator, names)
}

fn artifact(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.sql.gz"))
}

/// Turns a bit in the middle; done twice, nothing has happened.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

/// The files in a directory, each with a hash of its content.
fn content(directory: &Path) -> BTreeSet<(String, u128)> {
    let files = fs::read_dir(directory).into_iter().flatten();
    files
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_file())
        .map(|entry| {
            (
                entry.file_name().into_string().unwrap(),
                xxh3_128(&fs::read(entry.path()).unwrap()),
            )
        })
        .collect()
}

/// The files of a backup, but the changeable one.
fn files_of(directory: &Path, name: &str) -> BTreeSet<(String, u128)> {
    let mut files = content(directory);
    let state = format!("{name}.state");
    files.retain(|(file, _)| file.starts_with(&format!("{name}.")) && *file != state);
    files
}

fn parsed(output: &Output) -> Value {
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output}"))
}

fn kinds(operator: &Operator) -> Vec<String> {
    let status = parsed(&operator.run(&["status", "--json"]));
    let attention = status["attention"].as_array().unwrap();
    attention
        .iter()
        .map(|concern| concern["kind"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one scenario, each step on what the one before has left"
)]
fn a_damaged_backup_is_quarantined_reported_everywhere_and_released_when_it_is_intact() {
    let (_cluster, mut operator, names) = prepared(3);
    let directory = operator.backups();
    let bad = &names[2];
    let whole = files_of(&directory, bad);
    operator.run(&["pin", bad]);
    damage(&artifact(&directory, bad));

    // The command only tells, unless it is asked for more.
    let output = operator.run(&["verify", "--all"]);
    assert_eq!(output.code, 65, "{output}");
    assert_eq!(operator.list(), names.as_slice());
    let output = operator.run(&["verify", "--all", "--quarantine", "--json"]);
    assert_eq!(output.code, 65, "{output}");
    let aside = directory.join("quarantine").join(bad);
    let told = parsed(&output);
    assert_eq!(told[0]["backups"][0]["quarantine"], json!(aside));
    assert_eq!(files_of(&directory, bad), BTreeSet::new());
    let moved: Vec<String> = files_of(&aside, bad)
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    let before: Vec<String> = whole.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(moved, before);

    // It is a backup no more, and nobody takes it for one.
    assert_eq!(operator.list(), names[..2]);
    let listed = operator.json(&["list"]);
    assert_eq!(listed[0]["problems"], json!([]));
    assert_eq!(listed[0]["quarantined"][0]["name"], json!(bad));
    assert!(
        listed[0]["quarantined"][0]["damage"].is_string(),
        "{listed}"
    );
    let text = operator.run(&["list"]);
    let sentence = format!("{bad} is in quarantine: its dump: ");
    assert!(text.stdout.contains(&sentence), "{text}");
    let candidates = operator.run(&["restore", "--json"]);
    assert!(!candidates.stdout.contains(bad), "{candidates}");
    let missing = operator.run(&["restore", bad]);
    assert_eq!(missing.code, 64, "{missing}");
    assert!(missing.stderr.contains("is in quarantine"), "{missing}");
    assert_eq!(kinds(&operator), ["quarantined"]);
    // A later verification names it, and has nothing against the others.
    let output = operator.run(&["verify", "--all"]);
    assert_eq!(output.code, 0, "{output}");
    assert!(output.stdout.contains(&sentence), "{output}");
    // The greediest retention leaves it alone.
    for (key, value) in [
        ("series.daily.keep", json!(false)),
        ("series.daily.keep_last", json!(1)),
        ("retention.floor", json!(1)),
    ] {
        operator.set_value(key, value);
    }
    assert_eq!(operator.run(&["prune"]).code, 0);
    assert_eq!(operator.list(), names[1..2]);
    assert_eq!(files_of(&aside, bad).len(), whole.len());

    // Not while it is damaged, and not over anything.
    let output = operator.run(&["release", bad]);
    assert_eq!(output.code, 65, "{output}");
    damage(&artifact(&aside, bad));
    fs::write(artifact(&directory, bad), "theirs").unwrap();
    let output = operator.run(&["release", bad]);
    assert_eq!(output.code, 73, "{output}");
    assert!(output.stderr.contains("exists already"), "{output}");
    fs::remove_file(artifact(&directory, bad)).unwrap();
    let output = operator.run(&["release", bad]);
    assert_eq!(
        (output.code, output.stdout.as_str()),
        (
            0,
            &*format!("{bad}: intact, and moved back out of quarantine\n")
        ),
        "{output}"
    );
    assert_eq!(files_of(&directory, bad), whole);
    assert!(!directory.join("quarantine").exists());
    let listed = operator.json(&["list"]);
    let back = &listed[0]["backups"][1];
    assert_eq!(
        (&back["name"], &back["pinned"]),
        (&json!(bad), &json!(true)),
        "{listed}"
    );
    assert!(back["verified"].is_string());
    assert_eq!(kinds(&operator), [""; 0]);
    // All of it is on record.
    let events: Vec<String> = operator
        .ledger()
        .iter()
        .filter(|record| record["operation"] == "quarantine" || record["operation"] == "release")
        .map(|record| {
            assert_eq!(record["backup"], json!(bad));
            format!("{} {}", record["operation"], record["event"]).replace('"', "")
        })
        .collect();
    assert_eq!(
        events,
        [
            "quarantine started",
            "quarantine succeeded",
            "release failed",
            "release failed",
            "release succeeded"
        ]
    );
}

/// Runs the program again and again, killed at the first, second, third … of these calls, until it
/// comes through; gives the number of kills.
#[expect(
    clippy::too_many_arguments,
    reason = "what is run, and what comes before and after"
)]
fn killed_at_each(
    operator: &Operator,
    call: &str,
    arguments: &[&str],
    prepare: &dyn Fn(),
    judge: &dyn Fn(usize),
) -> usize {
    for count in 1..40 {
        prepare();
        let kill = format!("inject={call}:signal=SIGKILL:when={count}");
        let trace = format!("trace={call}");
        let strace = [
            "strace",
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            &trace,
            "-e",
            &kill,
        ];
        let output = operator.run_under(&strace, arguments);
        if output.code != 137 {
            return count - 1;
        }
        judge(count);
    }
    panic!("it does not come through");
}

#[test]
fn a_verification_that_is_killed_while_it_puts_a_backup_aside_loses_nothing() {
    if !can_trace() {
        return;
    }
    let (_cluster, operator, names) = prepared(2);
    let directory = operator.backups();
    let bad = &names[0];
    let verify = ["verify", "--all", "--quarantine"];
    let aside = directory.join("quarantine").join(bad);
    damage(&artifact(&directory, bad));
    let expected = files_of(&directory, bad);
    // Back to where it was, by hand: the manifest last.
    let prepare = || {
        for (name, _) in files_of(&aside, bad) {
            fs::rename(aside.join(&name), directory.join(&name)).unwrap();
        }
        fs::remove_dir_all(directory.join("quarantine")).ok();
        assert_eq!(files_of(&directory, bad), expected);
    };
    let judge = |count: usize| {
        // Wherever it was killed, nothing stands under a backup's name that is none, and nothing is
        // gone.
        let listed = operator.list();
        assert!(listed.contains(&names[1]), "{count}: {listed:?}");
        // The next backup puts things right.
        let output = operator.run(&["backup"]);
        assert_eq!(output.code, 0, "{count}: {output}");
        assert_eq!(operator.temporaries(), BTreeSet::new(), "{count}");
        let output = operator.run(&verify);
        let found = [files_of(&aside, bad), files_of(&directory, bad)];
        assert_eq!(
            found,
            [expected.clone(), BTreeSet::new()],
            "{count}: {output}"
        );
        let mut open = BTreeSet::new();
        for record in operator.ledger() {
            let run = record["run"].as_str().unwrap().to_owned();
            if record["event"] == "started" {
                open.insert(run);
            } else {
                open.remove(&run);
            }
        }
        assert_eq!(open, BTreeSet::new(), "{count}");
    };
    let kills = killed_at_each(&operator, "renameat2", &verify, &prepare, &judge);
    // Of manifest, state, globals, census, artifact, a second look at the manifest, and the
    // directory with all of them.
    assert_eq!(kills, 7);
    prepare();
    let kills = killed_at_each(&operator, "mkdir", &verify, &prepare, &judge);
    assert_eq!(kills, 2);
}

#[test]
fn a_release_that_is_killed_anywhere_is_ended_by_the_next_run() {
    if !can_trace() {
        return;
    }
    let (_cluster, operator, names) = prepared(2);
    let directory = operator.backups();
    let bad = &names[0];
    let whole = files_of(&directory, bad);
    let aside = directory.join("quarantine").join(bad);
    let prepare = || {
        damage(&artifact(&directory, bad));
        assert_eq!(operator.run(&["verify", bad, "--quarantine"]).code, 65);
        damage(&artifact(&aside, bad));
    };
    let judge = |count: usize| {
        let listed = operator.list();
        assert!(listed.contains(&names[1]), "{count}: {listed:?}");
        let output = operator.run(&["backup"]);
        assert_eq!(output.code, 0, "{count}: {output}");
        assert_eq!(operator.temporaries(), BTreeSet::new(), "{count}");
        // One that had not begun is begun again.
        if !operator.list().contains(bad) {
            assert_eq!(files_of(&aside, bad), whole, "{count}");
            assert_eq!(operator.run(&["release", bad]).code, 0, "{count}");
        }
        assert_eq!(files_of(&directory, bad), whole, "{count}");
        operator.assert_all_whole();
    };
    let kills = killed_at_each(&operator, "renameat2", &["release", bad], &prepare, &judge);
    // Out of the quarantine, then state, globals, census, artifact and manifest.
    assert_eq!(kills, 6);
}

#[test]
fn a_damaged_backup_stays_where_it_is_while_another_run_is_at_work() {
    let (_cluster, operator, names) = prepared(1);
    let directory = operator.backups();
    damage(&artifact(&directory, &names[0]));
    let lock = fs::File::options()
        .write(true)
        .open(directory.join(".lock"))
        .unwrap();
    lock.lock().unwrap();
    let output = operator.run(&["verify", "--quarantine"]);
    assert_eq!(output.code, 65, "{output}");
    assert!(
        output
            .stdout
            .contains("it could not be moved into quarantine"),
        "{output}"
    );
    assert_eq!(operator.list(), names);
    assert_eq!(kinds(&operator), ["damaged", "no_backup"]);
    drop(lock);
    let output = operator.run(&["verify", "--quarantine"]);
    assert_eq!(output.code, 65, "{output}");
    assert_eq!(operator.list(), [""; 0]);
    assert_eq!(kinds(&operator), ["no_backup", "quarantined"]);
}

#[test]
fn however_little_time_there_is_every_backup_has_its_turn() {
    let (_cluster, operator, names) = prepared(4);
    let run = |older_than: &str| {
        let told = operator.json(&["verify", "--older-than", older_than, "--budget", "1ms"]);
        let backups = told[0]["backups"].as_array().unwrap().clone();
        let checked: Vec<String> = backups
            .iter()
            .map(|backup| backup["name"].as_str().unwrap().to_owned())
            .collect();
        (checked, told[0]["left"].as_u64().unwrap())
    };
    // One in each run: the newest first, and then those that were left.
    let (mut reached, mut left) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        let (checked, more) = run("0s");
        assert_eq!(checked.len(), 1);
        reached.extend(checked);
        left.push(more);
    }
    let newest_first: Vec<String> = names.iter().rev().cloned().collect();
    assert_eq!(reached[..4], newest_first);
    assert_eq!(
        reached[4], newest_first[0],
        "the next round begins with the newest again"
    );
    assert_eq!(left, [3; 5]);
    let said = operator
        .run(&["status"])
        .stdout
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    assert!(said.contains("did not reach 3 backups in time"), "{said}");
    // What was read today is not due for another week.
    assert_eq!(run("7 days"), (Vec::new(), 0));

    // A manifest that is of no use takes no time to be reported of, and is nobody's to move.
    let manifest = operator.backups().join(format!("{}.json", names[0]));
    fs::write(&manifest, "{").unwrap();
    let output = operator.run(&["verify", "--older-than=0s", "--budget=1ms", "--quarantine"]);
    assert_eq!(output.code, 65, "{output}");
    assert!(output.stdout.contains(&names[0]), "{output}");
    assert_eq!(fs::read_to_string(&manifest).unwrap(), "{");
}

#[test]
fn the_service_puts_a_damaged_backup_aside_at_the_time_of_the_policy_and_raises_an_alarm() {
    let (_cluster, mut operator, names) = prepared(3);
    let directory = operator.backups();
    damage(&artifact(&directory, &names[1]));
    only_daily(&mut operator, "Asia/Riyadh", "0 2 * * *");
    operator.set_value("jobs.daily.enabled", false);
    operator.set_value("jobs.verify.enabled", true);
    // A Sunday.
    let clock = WallClock::at(&operator, "2036-01-05T23:59:58Z");
    let options = DaemonOptions {
        clock: Some(&clock),
        ..DaemonOptions::default()
    };
    let daemon = Daemon::with(&operator, options);
    daemon.wait_for("verify run of postgres FAILED (job verify): 3 backups read in full");
    let end = daemon.end();
    assert_eq!(end.code, 0, "{}", end.log);
    let aside = directory.join("quarantine").join(&names[1]);
    let alarm = end
        .log
        .lines()
        .find(|line| line.contains("is DAMAGED"))
        .unwrap();
    assert!(alarm.contains("ERROR"), "{alarm}");
    let put = format!("it was moved into {}", aside.display());
    assert!(alarm.contains(&put), "{alarm}");
    assert_eq!(operator.list(), [names[0].clone(), names[2].clone()]);
    let record = operator.last_record();
    assert_eq!(record["due"], "2036-01-06T03:00:00+03:00");
    assert_eq!(record["left"], 0);
    assert_eq!(
        record["damaged"][0]["quarantine"],
        json!(format!("quarantine/{}", names[1]))
    );
}
