//! Copies that are proved where they lie, again and again: by a job, by hand, and what is said when one is damaged
//! or gone.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::clock::WallClock;
use crate::support::cluster::Cluster;
use crate::support::daemon::{Daemon, only_daily};
use crate::support::destination::{files, plain_destination};
use crate::support::operator::{Operator, wait_for_the_next_second};
use crate::support::restored::{small, small_without_backup};

/// The objects below a directory of which the key has this text.
fn objects(far: &Path, text: &str) -> Vec<PathBuf> {
    let found = files(far).into_iter().filter(|key| key.contains(text));
    found.map(|key| far.join(key)).collect()
}

/// Changes one byte in the middle of a file, and nothing of its length and its time.
fn flip(path: &Path) {
    let modified = fs::metadata(path).unwrap().modified().unwrap();
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(modified).unwrap();
}

/// The kinds of what needs attention, and how `status` exits.
fn concerns(operator: &Operator) -> (Vec<String>, i32) {
    let status = operator.run(&["status", "--json"]);
    let code = status.code;
    let status: Value = serde_json::from_str(&status.stdout).unwrap();
    let attention = status["attention"].as_array().unwrap().iter();
    let kinds = attention.map(|one| one["kind"].as_str().unwrap().to_owned());
    let of_copies = |kind: &String| kind.starts_with("copy") || kind == "clock_off";
    (kinds.filter(of_copies).collect(), code)
}

/// What `status` shows of the copies at the only destination.
fn shown(operator: &Operator) -> Value {
    let status = operator.run(&["status", "--json"]);
    let status: Value = serde_json::from_str(&status.stdout).unwrap();
    status["databases"][0]["copies"][0].clone()
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story")]
fn p4_a_job_reads_copies_back_where_they_lie_and_a_damaged_one_is_made_again() {
    let cluster = Cluster::start();
    let mut operator = small_without_backup(&cluster, "app");
    let far = plain_destination(&mut operator);
    only_daily(&mut operator, "UTC", "0 2 * * *");
    operator.set_value("jobs.verify_copies.enabled", true);
    operator.set("jobs.verify_copies.schedule", "30 2 * * *");
    // In the past: what lies there is not dated before the store had it.
    let clock = WallClock::at(&operator, "2025-03-05T01:00:00Z");
    let daemon = Daemon::under(&operator, &clock);
    clock.set("2025-03-05T01:59:58Z");
    daemon.wait_for("copy to far of app succeeded (job daily)");
    let before = shown(&operator)["newest"]["proved"].clone();
    clock.set("2025-03-05T02:29:58Z");
    daemon.wait_for("verify run of copies at far of app succeeded (job verify_copies)");
    let record = operator.last_record();
    assert_eq!(
        (
            &record["operation"],
            &record["destination"],
            &record["event"]
        ),
        (&json!("verify"), &json!("far"), &json!("succeeded")),
        "{record}"
    );
    assert!(record["bytes"].as_u64().unwrap() > 0, "{record}");
    let copies = shown(&operator);
    assert_eq!(
        copies["states"]["opened"],
        json!(operator.list().len()),
        "{copies}"
    );
    assert!(
        copies["newest"]["proved"].as_str() > before.as_str(),
        "{before} {copies}"
    );
    // Of the backups here, nothing was verified.
    let status: Value = serde_json::from_str(&operator.run(&["status", "--json"]).stdout).unwrap();
    assert_eq!(status["databases"][0]["verified"], Value::Null, "{status}");

    clock.set("2025-03-06T01:59:58Z");
    daemon.wait_for_nth("copy to far of app succeeded (job daily)", 2);
    let backup = operator.list().pop().unwrap();
    flip(&objects(&far, &format!("{backup}.sql.gz.1-"))[0]);
    clock.set("2025-03-06T02:29:58Z");
    let line = daemon.wait_for("is DAMAGED");
    assert!(line.contains(&backup) && line.contains("at far"), "{line}");
    daemon.wait_for("verify run of copies at far of app FAILED (job verify_copies)");
    daemon.end();
    let record = operator.last_record();
    assert_eq!(record["event"], "failed", "{record}");
    assert_eq!(record["damaged"][0]["backup"], json!(backup), "{record}");
    let (kinds, code) = concerns(&operator);
    assert!(kinds.contains(&"copy_damaged".to_owned()), "{kinds:?}");
    assert_eq!(code, 2);
    let listed = operator.run(&["list", "--from", "far"]).stdout;
    assert!(listed.contains("DAMAGED"), "{listed}");
    let text = operator.run(&["status"]).stdout.replace('\n', " ");
    assert!(text.contains("1 DAMAGED"), "{text}");
    // What the service knows is lost, and the ledger remembers it: the copy is made again.
    for known in objects(&operator.path("state/copying/far"), "known-") {
        fs::remove_file(known).unwrap();
    }
    let made = operator.json(&["copy"]);
    assert_eq!(made[0]["copies"][0]["backup"], *backup, "{made}");
    let (kinds, _) = concerns(&operator);
    assert!(!kinds.contains(&"copy_damaged".to_owned()), "{kinds:?}");
    let output = operator.run(&["verify", "--from", "far", &backup]);
    assert_eq!(output.code, 0, "{output}");
}

/// What somebody does by hand counts as well.
#[test]
fn p4_a_verification_by_hand_is_noted() {
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    let far = plain_destination(&mut operator);
    let state = operator.path("state");
    operator.set("daemon.state_directory", state.display());
    assert_eq!(operator.run(&["copy"]).code, 0);
    let proved = |operator: &Operator| {
        shown(operator)["newest"]["proved"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let before = proved(&operator);
    wait_for_the_next_second();
    assert_eq!(operator.run(&["verify", "--from", "far"]).code, 0);
    assert!(proved(&operator) > before);
    let listed = operator.json(&["list", "--from", "far"]);
    assert_eq!(listed[0]["copies"][0]["state"], "opened", "{listed}");
    let text = operator.run(&["list", "--from", "far"]).stdout;
    assert!(text.contains("STATE") && text.contains("opened"), "{text}");
    // By its address nothing is known of them.
    let address = format!("file://{}", far.display());
    let listed = operator.json(&["list", "--from", &address, "--host", "db1", "--any-signer"]);
    assert_eq!(listed[0]["copies"][0]["state"], Value::Null, "{listed}");

    let backup = operator.list().remove(0);
    flip(&objects(&far, ".sql.gz.1-")[0]);
    assert_eq!(operator.run(&["verify", "--from", "far"]).code, 65);
    let (kinds, code) = concerns(&operator);
    assert_eq!((kinds, code), (vec!["copy_damaged".to_owned()], 2));
    // It was put right there: only a reading of all of it shows that.
    flip(&objects(&far, ".sql.gz.1-")[0]);
    assert_eq!(concerns(&operator).0, ["copy_damaged"]);
    assert_eq!(operator.run(&["verify", "--from", "far", &backup]).code, 0);
    assert_eq!(concerns(&operator).0, Vec::<String>::new());
}

/// One listing proves no loss, and retention takes none away.
#[test]
fn p4_a_copy_that_is_gone_is_missing_after_two_listings_an_hour_apart() {
    let cluster = Cluster::start();
    let mut operator = small_without_backup(&cluster, "app");
    let far = plain_destination(&mut operator);
    let state = operator.path("state");
    operator.set("daemon.state_directory", state.display());
    operator.set_value("destinations.far.retention", false);
    operator.set_value("retention.floor", 1);
    // Made in the past, so that the copy was not read for long.
    operator.set("objectives.copy_proof_age", "off");
    let clock = WallClock::at(&operator, "2025-03-04T01:00:00Z");
    for hour in 1..4 {
        clock.set(&format!("2025-03-04T0{hour}:00:00Z"));
        clock.run(&operator, &["backup"]);
    }
    let first = operator.list().remove(0);
    clock.set("2025-03-05T01:00:00Z");
    clock.run(&operator, &["copy"]);
    operator.set("series.daily.keep", "1 second");
    let pruned = operator.run(&["prune", "--trust-clock"]);
    assert!(!operator.list().contains(&first), "{pruned}");
    let gone = objects(&far, &first);
    let kept: Vec<(PathBuf, Vec<u8>)> = gone
        .iter()
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    for path in &gone {
        fs::remove_file(path).unwrap();
    }

    clock.set("2025-03-05T02:00:00Z");
    clock.run(&operator, &["copy"]);
    assert_eq!(concerns(&operator).0, Vec::<String>::new());
    let listed = operator.json(&["list", "--from", "far"]);
    assert_eq!(listed[0]["absent"][0]["missing"], false, "{listed}");
    clock.set("2025-03-05T02:59:00Z");
    clock.run(&operator, &["copy"]);
    assert_eq!(concerns(&operator).0, Vec::<String>::new());
    clock.set("2025-03-05T03:01:00Z");
    clock.run(&operator, &["copy"]);
    let (kinds, code) = concerns(&operator);
    assert_eq!((kinds, code), (vec!["copy_missing".to_owned()], 2));
    let listed = operator.run(&["list", "--from", "far"]).stdout;
    assert!(
        listed.contains(&format!("MISSING: the copy of {first}")),
        "{listed}"
    );

    // Somebody has brought it back.
    for (path, bytes) in kept {
        fs::write(path, bytes).unwrap();
    }
    clock.run(&operator, &["copy"]);
    assert_eq!(concerns(&operator).0, Vec::<String>::new());
}
