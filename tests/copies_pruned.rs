//! `prune --from`: copies of a host that is gone go by rules that are given, after its name was typed.

#![expect(
    clippy::case_sensitive_file_extension_comparisons,
    reason = "the keys of objects have one spelling"
)]

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::cluster::Cluster;
use crate::support::destination::{files, plain_destination};
use crate::support::operator::{Operator, Output, wait_for_the_next_second};
use crate::support::restored::small;

/// A destination with copies by two hosts of a database of the same name: `db1`, which is gone, and `db2`.
struct TwoHosts {
    operator: Operator,
    far: PathBuf,
    /// The fingerprint of the key of `db1`.
    signer: String,
    /// The backups of which both have a copy.
    backups: Vec<String>,
}

impl TwoHosts {
    fn new(cluster: &Cluster, count: usize) -> Self {
        let mut operator = small(cluster, "app");
        let far = plain_destination(&mut operator);
        operator.set_value("retention.floor", 1);
        let state = operator.path("state-of-db1");
        operator.set("daemon.state_directory", state.display());
        for _ in 1..count {
            wait_for_the_next_second();
            operator.back_up();
        }
        operator.json(&["copy"]);
        let shown = operator.json(&["key", "show"]);
        let signer = shown["signer"]["fingerprint"].as_str().unwrap().to_owned();
        operator.set("name", "db2");
        let state = operator.path("state-of-db2");
        operator.set("daemon.state_directory", state.display());
        operator.json(&["copy"]);
        let backups = operator.list();
        Self {
            operator,
            far,
            signer,
            backups,
        }
    }

    fn arguments<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let of_db1 = [
            "prune",
            "--from",
            "far",
            "--host",
            "db1",
            "--signer",
            &self.signer,
        ];
        [&of_db1, more].concat()
    }

    /// What would go, as backup and reasons.
    fn going(&self, rules: &[&str]) -> Vec<String> {
        let arguments = self.arguments(&[rules, &["--dry-run"]].concat());
        let result = self.operator.json(&arguments);
        let removed = result[0]["removed"].as_array().unwrap().iter();
        let name = |one: &Value| one["backup"].as_str().unwrap().to_owned();
        removed.map(name).collect()
    }

    /// The files of a host's copies of a backup, or of all.
    fn files(&self, host: &str, backup: &str) -> Vec<String> {
        let mut all = files(&self.far);
        all.retain(|file| file.starts_with(&format!("v1/{host}/")) && file.contains(backup));
        all
    }
}

#[track_caller]
fn assert_refused(output: &Output, code: i32, sentence: &str) {
    assert_eq!(output.code, code, "{output}");
    assert!(output.stderr.contains(sentence), "{output}");
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story, step by step")]
fn p3_copies_of_a_host_that_is_gone_go_only_once_its_name_was_typed() {
    let cluster = Cluster::start();
    let there = TwoHosts::new(&cluster, 3);
    let (operator, backups) = (&there.operator, &there.backups);
    let before = files(&there.far);
    let rules = ["--keep-last", "1"];
    let pruned = there.arguments(&rules);
    assert_refused(&operator.run(&pruned), 64, "has to be typed");
    assert_refused(
        &operator.run(&there.arguments(&[])),
        64,
        "no rules say what is kept",
    );
    let yes = there.arguments(&["--keep-last", "1", "--yes"]);
    assert_refused(&operator.run(&yes), 64, "--yes");
    let anybody = [
        "prune",
        "--from",
        "far",
        "--host",
        "db1",
        "--any-signer",
        "--keep-last",
        "1",
    ];
    assert_refused(&operator.run(&anybody), 64, "by the word of just anybody");
    // Its key is not trusted by itself.
    let nobody = [
        "prune",
        "--from",
        "far",
        "--host",
        "db1",
        "--keep-last",
        "1",
    ];
    assert_refused(&operator.run(&nobody), 65, &there.signer);
    let own = [
        "prune",
        "--from",
        "far",
        "--host",
        "db2",
        "--keep-last",
        "1",
    ];
    assert_refused(&operator.run(&own), 64, "db2 is this host");
    let other = operator.run_at_a_terminal(&pruned, "db2");
    assert_eq!(other.code, 64, "{other}");
    assert!(other.stdout.contains("likely alive"), "{other}");
    assert!(other.stdout.contains("not the newest"), "{other}");
    assert_eq!(there.going(&rules), [&*backups[1], &*backups[0]]);
    assert_eq!(there.going(&["--keep", "90 days"]), [""; 0]);
    assert_eq!(files(&there.far), before);

    let of_db2 = there.files("db2", "");
    let typed = operator.run_at_a_terminal(&pruned, "db1");
    assert_eq!(typed.code, 0, "{typed}");
    for gone in &backups[..2] {
        assert_eq!(there.files("db1", gone), [""; 0]);
    }
    assert!(there.files("db1", &backups[2]).len() > 2);
    assert_eq!(there.files("db2", ""), of_db2);
    let log = operator.path("state-of-db2/copying/removals.log");
    let log = fs::read_to_string(log).unwrap();
    let last: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    assert_eq!(last["removed"][0]["backup"], *backups[1], "{last}");
    assert_eq!(last["event"], "succeeded", "{last}");
}

#[test]
fn p3_the_floor_and_pins_of_a_host_that_is_gone_stay() {
    let cluster = Cluster::start();
    let mut there = TwoHosts::new(&cluster, 3);
    let backups = there.backups.clone();
    there.operator.set_value("retention.floor", 2);
    assert_eq!(there.going(&["--keep-last", "1"]), [&*backups[0]]);
    // The host had pinned it before it was gone.
    let db2 = there.operator.path("state-of-db2");
    let db1 = there.operator.path("state-of-db1");
    there.operator.set("name", "db1");
    there.operator.set("daemon.state_directory", db1.display());
    there.operator.json(&["pin", &backups[0]]);
    there.operator.json(&["copy"]);
    there.operator.set("name", "db2");
    there.operator.set("daemon.state_directory", db2.display());
    assert_eq!(there.going(&["--keep-last", "1"]), [""; 0]);
}

/// Whoever holds the store's key overwrites the newest copies, puts forged ones, and an old manifest once more.
#[test]
fn p3_nothing_that_somebody_puts_there_makes_a_good_copy_of_a_host_that_is_gone_go() {
    let cluster = Cluster::start();
    let there = TwoHosts::new(&cluster, 4);
    let backups = &there.backups;
    let rules = ["--keep-last", "2"];
    assert_eq!(there.going(&rules), [&*backups[1], &*backups[0]]);
    // The same length, other bytes: the listing shows nothing.
    let volume = there.files("db1", &backups[3]);
    let volume = volume
        .iter()
        .find(|file| file.contains(".sql.gz.1-"))
        .unwrap();
    let path = there.far.join(volume);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert_eq!(there.going(&rules), [&*backups[0]]);

    // Forged ones, newer than all.
    let manifest = |backup: &str| {
        let files = there.files("db1", backup);
        let manifest = files.iter().find(|file| file.ends_with(".json"));
        there.far.join(manifest.unwrap())
    };
    let real = manifest(&backups[2]);
    let text = fs::read_to_string(&real).unwrap();
    let signature = fs::read(format!("{}.sig", real.display())).unwrap();
    for number in 0..4 {
        let year = if number % 2 == 0 { 2024 } else { 2099 };
        let name = format!("backup_{year}0101_0000{number:02}");
        let path = real.display().to_string().replace(&backups[2], &name);
        fs::write(&path, text.replace(&backups[2], &name)).unwrap();
        fs::write(format!("{path}.sig"), &signature).unwrap();
    }
    assert_eq!(there.going(&rules), [&*backups[0]]);
    // An old one, with a new time of the store's.
    for path in [manifest(&backups[0])] {
        let sig = PathBuf::from(format!("{}.sig", path.display()));
        for path in [sig, path] {
            let bytes = fs::read(&path).unwrap();
            fs::remove_file(&path).unwrap();
            fs::write(&path, bytes).unwrap();
        }
    }
    assert_eq!(there.going(&rules), [&*backups[0]]);
    // And one that lacks a volume.
    fs::remove_file(&path).unwrap();
    assert_eq!(there.going(&rules), [&*backups[0]]);
}

#[test]
fn a_removal_that_is_killed_is_gone_on_with() {
    let cluster = Cluster::start();
    let there = TwoHosts::new(&cluster, 2);
    let operator = &there.operator;
    let trace = operator.path("trace");
    let trace = trace.to_str().unwrap();
    let pruned = there.arguments(&["--keep-last", "1"]);
    let mut kills = 0;
    for round in 0..6 {
        let inject = format!("inject=unlinkat:signal=SIGKILL:when={}", 1 + round % 2);
        let starter = ["strace", "-f", "-o", trace, "-e", "unlinkat", "-e", &inject];
        let killed = operator.run_under_at_a_terminal(&starter, &pruned, "db1");
        if killed.code != 137 {
            assert_eq!(killed.code, 0, "{killed}");
            break;
        }
        kills += 1;
        if there.files("db1", &there.backups[0]).is_empty() {
            break;
        }
    }
    assert!(kills > 2, "{kills}");
    let last = operator.run_at_a_terminal(&pruned, "db1");
    assert_eq!(last.code, 0, "{last}");
    assert_eq!(there.files("db1", &there.backups[0]), [""; 0]);
    assert!(!there.files("db1", &there.backups[1]).is_empty());
    let state = operator.path("state-of-db2/copying/removals.json");
    let state: Value = serde_json::from_slice(&fs::read(state).unwrap()).unwrap();
    assert_eq!(state["removals"], json!([]));
}

#[test]
fn copies_of_this_host_go_by_the_configured_rules_without_a_copy_run() {
    let cluster = Cluster::start();
    let mut there = TwoHosts::new(&cluster, 3);
    let backups = there.backups.clone();
    let operator = &mut there.operator;
    operator.set_value("destinations.far.retention.daily.keep_last", 1);
    let dry = operator.json(&["prune", "--from", "far", "--dry-run"]);
    let names = |result: &Value| -> Vec<String> {
        let removed = result[0]["removed"].as_array().unwrap().iter();
        let name = |one: &Value| one["backup"].as_str().unwrap().to_owned();
        removed.map(name).collect()
    };
    assert_eq!(names(&dry), [&*backups[1], &*backups[0]]);
    assert!(dry[0]["host"].is_null(), "{dry}");
    let with_rules = operator.run(&["prune", "--from", "far", "--keep-last", "1"]);
    assert_refused(&with_rules, 64, "--host");
    let pruned = operator.json(&["prune", "--from", "far"]);
    assert_eq!(names(&pruned), [&*backups[0], &*backups[1]]);
    let record = operator.last_record();
    assert_eq!(record["removed"][0]["backup"], *backups[0], "{record}");
    assert_eq!(there.files("db2", &backups[0]), [""; 0]);
    assert!(!there.files("db1", &backups[0]).is_empty());
}
