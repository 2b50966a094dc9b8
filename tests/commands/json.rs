//! `--json`: every key is documented.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::cluster::Cluster;
use crate::support::destination::files;
use crate::support::json::keys;
use crate::support::operator::{Operator, wait_for_the_next_second};
use crate::support::stores::{BUCKET, ID, SECRET, SeaweedFs};

/// A test restore on record.
fn record_a_drill_of(operator: &Operator, name: &str) {
    let record = serde_json::json!({
        "at": "2025-07-09T02:00:00+03:00",
        "run": "01a203cf-b867-70ab-999d-12597912332f",
        "operation": "drill",
        "event": "succeeded",
        "database": "postgres",
        "backup": name,
        "bytes": 7,
        "phases": [{"phase": "load", "seconds": 1.5}],
    });
    fs::write(
        operator.backups().join("restore.log"),
        format!("{record}\n"),
    )
    .unwrap();
}

/// What a program gets of a restore that is undone.
fn undo_of(cluster: &Cluster) -> Value {
    cluster.create_database("undone");
    let operator = Operator::of(cluster, "undone");
    operator.json(&["backup"]);
    operator.json(&["restore", "--latest", "--yes"]);
    operator.json(&["undo-restore", "--yes"])
}

/// The keys that docs/json.md lists under a heading.
fn documented(heading: &str) -> BTreeSet<String> {
    let text = include_str!("../../docs/json.md");
    let (_, section) = text
        .split_once(&format!("\n## {heading}\n"))
        .unwrap_or_else(|| panic!("docs/json.md has no heading {heading}"));
    let section = section.split("\n## ").next().unwrap();
    section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(key, _)| key.to_owned())
        .collect()
}

/// The documents have the keys that docs/json.md lists under a heading, and no others.
#[track_caller]
fn assert_documented(heading: &str, documents: &[Value]) {
    let mut found = BTreeSet::new();
    for document in documents {
        keys(document, "", &mut found);
    }
    assert_eq!(found, documented(heading), "{heading}");
}

#[test]
fn every_key_of_what_is_read_at_a_destination_is_documented() {
    let cluster = Cluster::start();
    let mut operator = Operator::of(&cluster, "postgres");
    operator.json(&["backup"]);
    let far = operator.path("far");
    fs::create_dir(&far).unwrap();
    operator.set("name", "db1");
    operator.set("destinations.far.url", format!("file://{}", far.display()));
    operator.set_value("destinations.far.plain", true);
    operator.json(&["copy"]);
    // One that is gone, of a series that is no longer copied.
    wait_for_the_next_second();
    let gone = operator.back_up();
    operator.json(&["copy"]);
    for key in files(&far).into_iter().filter(|key| key.contains(&gone)) {
        fs::remove_file(far.join(key)).unwrap();
    }
    operator.set_value("destinations.far.series", vec!["weekly"]);
    operator.json(&["copy"]);
    // Something that counts for nothing.
    fs::write(far.join("v1/db1/main/postgres/stray"), "").unwrap();
    let read = |words: &[&str]| operator.json(&[words, &["--from", "far"]].concat());
    assert_documented("list with a destination", &[read(&["list"])]);
    assert_documented("verify with a destination", &[read(&["verify"])]);
    let to = operator.path("to").display().to_string();
    assert_documented("fetch", &[read(&["fetch", "--latest", "--to", &to])]);
}

#[test]
fn every_key_of_a_check_of_a_bucket_is_documented() {
    let Some(store) = SeaweedFs::start(false) else {
        return;
    };
    let mut operator = Operator::without_server("app");
    operator.set_variable(
        "AWS_ENDPOINT_URL",
        format!("http://127.0.0.1:{}", store.port()),
    );
    operator.set_variable("AWS_ACCESS_KEY_ID", ID);
    operator.set_variable("AWS_SECRET_ACCESS_KEY", SECRET);
    let url = format!("s3://{BUCKET}/pg");
    let words = ["check", "destination", &url, "--accept-within-reach"];
    assert_documented("check destination", &[operator.json(&words)]);
}

#[test]
fn every_key_of_what_changes_a_destination_is_documented() {
    let cluster = Cluster::start();
    let mut operator = Operator::of(&cluster, "postgres");
    let far = operator.path("far");
    fs::create_dir(&far).unwrap();
    operator.set("name", "db1");
    operator.set("destinations.far.url", format!("file://{}", far.display()));
    operator.set_value("destinations.far.plain", true);
    let state = operator.path("old");
    operator.set("daemon.state_directory", state.display());
    let backup = operator.json(&["backup"])[0]["backup"].clone();
    let copied = operator.json(&["copy"]);
    operator.json(&["pin", backup.as_str().unwrap()]);
    let pinned = operator.json(&["copy"]);
    operator.json(&["unpin", backup.as_str().unwrap()]);
    wait_for_the_next_second();
    operator.json(&["backup"]);
    let again = operator.json(&["copy"]);
    operator.set_value("destinations.far.retention.daily.keep_last", 1);
    operator.set_value("retention.floor", 1);
    let pruned = operator.json(&["prune", "--from", "far", "--dry-run"]);
    assert_documented("prune with a destination", &[pruned]);
    let removed = operator.json(&["copy"]);
    assert_eq!(removed[0]["removed"][0]["backup"], backup, "{removed}");
    // The list of what failed has members only after a failure.
    let mut keys_of_copy = BTreeSet::new();
    for document in [copied, pinned, again, removed] {
        keys(&document, "", &mut keys_of_copy);
    }
    let undocumented: Vec<_> = keys_of_copy
        .difference(&documented("copy"))
        .cloned()
        .collect();
    assert_eq!(undocumented, [""; 0]);
    assert!(keys_of_copy.contains("[].pins[].pinned"));

    let shown = operator.json(&["key", "show"]);
    let old = shown["signer"]["fingerprint"].as_str().unwrap().to_owned();
    let state = operator.path("new");
    operator.set("daemon.state_directory", state.display());
    let adopted = operator.json(&["adopt", "--from", "far", "--signer", &old, "--yes"]);
    assert_documented("adopt", &[adopted]);
    let shown = operator.json(&["key", "show"]);
    let mut keys_of_show = BTreeSet::new();
    keys(&shown, "", &mut keys_of_show);
    assert!(keys_of_show.contains("adopted[].by"));
    let undocumented: Vec<_> = keys_of_show
        .difference(&documented("key show"))
        .cloned()
        .collect();
    assert_eq!(undocumented, [""; 0]);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a list of all documents")]
fn every_key_that_a_program_gets_is_documented_and_every_documented_one_is_there() {
    let cluster = Cluster::start();
    let mut operator = Operator::of(&cluster, "postgres");
    let made = operator.json(&["backup"]);
    let name = made[0]["backup"].as_str().unwrap().to_owned();
    // Something for the lists of problems.
    let stray = operator.backups().join("backup_20200101_000000.sql.gz");
    fs::write(stray, "").unwrap();
    // And for what is in quarantine.
    let bad = operator.json(&["backup"])[0]["backup"].clone();
    let bad = bad.as_str().unwrap();
    let damage = |directory: PathBuf| {
        let path = directory.join(format!("{bad}.sql.gz"));
        let mut bytes = fs::read(&path).unwrap();
        bytes[300] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    damage(operator.backups());
    assert_eq!(operator.run(&["verify", bad, "--quarantine"]).code, 65);
    let check = assert_documented;
    check(
        "backup and emergency",
        &[made, operator.json(&["emergency"])],
    );
    check("list", &[operator.json(&["list"])]);
    let output = operator.run(&["verify", "--all", "--json"]);
    check("verify", &[serde_json::from_str(&output.stdout).unwrap()]);
    damage(operator.backups().join("quarantine").join(bad));
    check("release", &[operator.json(&["release", bad])]);
    check("prune", &[operator.json(&["prune", "--dry-run"])]);
    operator.set("alerts.program.type", "command");
    operator.set_value("alerts.program.argv", vec!["true"]);
    check(
        "alerts test",
        &[operator.json(&["alerts", "test", "--as-me"])],
    );
    check("report", &[operator.json(&["report", "weekly"])]);
    check("restore without a backup", &[operator.json(&["restore"])]);
    let beside = ["restore", &name, "--into", "beside"];
    let plan = [beside.as_slice(), &["--plan"]].concat();
    record_a_drill_of(&operator, &name);
    check("restore with a plan", &[operator.json(&plan)]);
    let nowhere = ["restore", &name, "--into", "postgres", "--json"];
    let failed = operator.run(&nowhere).stdout;
    let failed = serde_json::from_str(&failed).unwrap();
    check("restore", &[operator.json(&beside), failed]);
    check("undo-restore", &[undo_of(&cluster)]);
    check("incident", &[operator.json(&["incident"])]);
    check(
        "incident with a list",
        &[operator.json(&["incident", "--list"])],
    );
    check(
        "pin and unpin",
        &[
            operator.json(&["pin", &name]),
            operator.json(&["unpin", &name]),
        ],
    );
    cluster.psql("CREATE TABLE t ()");
    operator.back_up();
    cluster.psql("DROP TABLE t");
    operator.back_up();
    check("accept", &[operator.json(&["accept", "contents"])]);
    check("schedule", &[operator.json(&["schedule"])]);
    check("directories", &[operator.json(&["directories"])]);
    operator.set_variable("PGBACKUPD_DUMP__LEVEL", "1");
    check("config show", &[operator.json(&["config", "show"])]);
    let sound = operator.json(&["config", "check"]);
    operator.set("timezone", "Asia/Riad");
    operator.set_variable("PGBACKUPD_DUMP__LEVEL", "many");
    let refused = operator.run(&["config", "check", "--json"]);
    assert_eq!(refused.code, 78, "{refused}");
    let refused = serde_json::from_str(&refused.stdout).unwrap();
    let mut unknown = Operator::of(&cluster, "unknown");
    unknown.set_value("dump.globals", false);
    let unknown = unknown.run(&["config", "check", "--connect", "--json"]);
    assert_eq!(unknown.code, 78, "{unknown}");
    let unknown = serde_json::from_str(&unknown.stdout).unwrap();
    check("config check", &[sound, refused, unknown]);
}
