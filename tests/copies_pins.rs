//! Pins of copies: put at the destination once, held here from the start, and not to be undone by whoever holds the
//! store's key.

#![expect(
    clippy::case_sensitive_file_extension_comparisons,
    reason = "the keys of objects have one spelling"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::cluster::Cluster;
use crate::support::destination::{Immutable, files, plain_destination};
use crate::support::operator::{Operator, wait_for_the_next_second};
use crate::support::restored::small;

/// A database with one backup that was copied to a destination in a directory, configured as `far`.
fn with_a_copy(cluster: &Cluster) -> (Operator, PathBuf, String) {
    let mut operator = small(cluster, "app");
    let far = plain_destination(&mut operator);
    operator.set_value("retention.floor", 1);
    let backup = operator.list().remove(0);
    assert_eq!(pins(&operator), []);
    (operator, far, backup)
}

/// What a run of `copy` pinned at the destination and what not any more, as backup and state.
#[track_caller]
fn pins(operator: &Operator) -> Vec<(String, bool)> {
    let report = operator.json(&["copy"]);
    let pins = report[0]["pins"].as_array().unwrap().iter();
    pins.map(|one| {
        let backup = one["backup"].as_str().unwrap().to_owned();
        (backup, one["pinned"].as_bool().unwrap())
    })
    .collect()
}

/// The facts that are there, by their keys.
fn facts(far: &Path) -> BTreeMap<String, Value> {
    let is_fact =
        |key: &String| key.ends_with(".json") && (key.contains(".pin.") || key.contains(".unpin."));
    let keys = files(far).into_iter().filter(is_fact);
    keys.map(|key| {
        let text = fs::read(far.join(&key)).unwrap();
        (key, serde_json::from_slice(&text).unwrap())
    })
    .collect()
}

/// The backups that `list --from far` has, with whether they are pinned.
fn listed(operator: &Operator) -> Vec<(String, bool)> {
    let there = operator.json(&["list", "--from", "far"]);
    let copies = there[0]["copies"].as_array().unwrap().iter();
    copies
        .map(|one| {
            let backup = one["backup"].as_str().unwrap().to_owned();
            (backup, one["pinned"].as_bool().unwrap())
        })
        .collect()
}

#[test]
fn a_pin_is_put_once_and_an_unpin_supersedes_it() {
    let cluster = Cluster::start();
    let (mut operator, far, first) = with_a_copy(&cluster);
    assert_eq!(listed(&operator), [(first.clone(), false)]);
    operator.json(&["pin", &first]);
    assert_eq!(pins(&operator), [(first.clone(), true)]);
    assert_eq!(pins(&operator), []);
    assert_eq!(listed(&operator), [(first.clone(), true)]);
    let pin = facts(&far);
    assert_eq!(pin.len(), 1, "{pin:?}");
    let (_, pin) = pin.first_key_value().unwrap();
    assert_eq!(pin["fact"], "pin");
    assert_eq!(pin["supersedes"], Value::Null);
    // Neither who pinned it nor why is there.
    assert!(!pin.to_string().contains("root"), "{pin}");

    operator.json(&["unpin", &first]);
    assert_eq!(pins(&operator), [(first.clone(), false)]);
    assert_eq!(pins(&operator), []);
    assert_eq!(listed(&operator), [(first.clone(), false)]);
    let unpin = facts(&far);
    let unpin = unpin.values().find(|fact| fact["fact"] == "unpin").unwrap();
    assert_eq!(unpin["supersedes"], json!([pin["id"]]));

    // What was pinned before its copy was made needs no fact.
    wait_for_the_next_second();
    let second = operator.back_up();
    operator.json(&["pin", &second]);
    assert_eq!(pins(&operator), []);
    assert_eq!(
        listed(&operator),
        [(first.clone(), false), (second.clone(), true)]
    );

    // Unpinned, it goes by the rules, and so do its facts: also those of the same run.
    operator.set_value("destinations.far.retention.daily.keep_last", 1);
    operator.json(&["pin", &first]);
    assert_eq!(pins(&operator), [(first.clone(), true)]);
    assert_eq!(listed(&operator).len(), 2);
    operator.json(&["unpin", &first]);
    assert_eq!(pins(&operator), [(first.clone(), false)]);
    let left = files(&far);
    assert!(!left.iter().any(|file| file.contains(&first)), "{left:?}");
}

#[test]
fn a_pin_holds_here_while_the_destination_is_out_of_reach() {
    let cluster = Cluster::start();
    let (mut operator, far, first) = with_a_copy(&cluster);
    wait_for_the_next_second();
    operator.back_up();
    let away = operator.path("away");
    fs::rename(&far, &away).unwrap();
    operator.json(&["pin", &first]);
    assert_ne!(operator.run(&["copy"]).code, 0);
    fs::rename(&away, &far).unwrap();
    operator.set_value("destinations.far.retention.daily.keep_last", 1);
    assert_eq!(pins(&operator), [(first.clone(), true)]);
    assert_eq!(listed(&operator)[0], (first, true));
}

#[test]
fn a_copy_is_pinned_by_its_destination_when_the_backup_is_gone_here() {
    let cluster = Cluster::start();
    let (mut operator, far, first) = with_a_copy(&cluster);
    let here = operator.run(&["pin", "--from", "far", &first]);
    assert_eq!(here.code, 64, "{here}");
    assert!(here.stderr.contains("is here as well"), "{here}");
    let unknown = operator.run(&["pin", "--from", "far", "backup_20200101_000000"]);
    assert_eq!(unknown.code, 64, "{unknown}");
    assert!(
        unknown.stderr.contains("has no copy of backup_2020"),
        "{unknown}"
    );
    wait_for_the_next_second();
    let second = operator.back_up();
    operator.set_value("series.daily.keep", false);
    operator.set_value("series.daily.keep_last", 1);
    operator.set_value("destinations.far.retention", false);
    assert_eq!(operator.run(&["prune"]).code, 0);
    assert_eq!(operator.list(), [&*second]);
    assert_eq!(pins(&operator), []);

    let pinned = operator.json(&["pin", "--from", "far", &first]);
    assert_eq!(
        (&pinned["pinned"], &pinned["changed"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(facts(&far).len(), 1);
    let pinned = operator.json(&["pin", "--from", "far", &first]);
    assert_eq!(pinned["changed"], false);
    assert_eq!(listed(&operator)[0], (first.clone(), true));
    operator.unset("destinations.far.retention");
    operator.set_value("destinations.far.retention.daily.keep_last", 1);
    assert_eq!(pins(&operator), []);
    assert_eq!(listed(&operator).len(), 2);

    let pinned = operator.json(&["unpin", "--from", "far", &first]);
    assert_eq!(
        (&pinned["pinned"], &pinned["changed"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(pins(&operator), []);
    assert_eq!(listed(&operator), [(second, false)]);
}

/// Whoever holds the store's key removes the pin, and puts an old unpin again.
#[test]
fn p3_a_replayed_unpin_does_not_make_a_copy_go() {
    let cluster = Cluster::start();
    let (mut operator, far, first) = with_a_copy(&cluster);
    operator.json(&["pin", &first]);
    pins(&operator);
    operator.json(&["unpin", &first]);
    assert_eq!(pins(&operator), [(first.clone(), false)]);
    let (key, _) = facts(&far)
        .into_iter()
        .find(|(_, fact)| fact["fact"] == "unpin")
        .unwrap();
    let old: Vec<(PathBuf, Vec<u8>)> = [key.clone(), format!("{key}.sig")]
        .map(|key| (far.join(&key), fs::read(far.join(&key)).unwrap()))
        .into();
    operator.json(&["pin", &first]);
    assert_eq!(pins(&operator), [(first.clone(), true)]);
    wait_for_the_next_second();
    let second = operator.back_up();
    operator.set_value("series.daily.keep", false);
    operator.set_value("series.daily.keep_last", 1);
    assert_eq!(pins(&operator), []);
    operator.set_value("destinations.far.retention.daily.keep_last", 1);

    // First only an old unpin, with a new time of the store's: the pin supersedes it.
    for (path, bytes) in &old {
        fs::remove_file(path).unwrap();
        fs::write(path, bytes).unwrap();
    }
    assert_eq!(pins(&operator), []);
    assert_eq!(
        listed(&operator),
        [(first.clone(), true), (second.clone(), false)]
    );
    // Then without the pin: what is on record here holds, and it is put again.
    for key in facts(&far).keys().filter(|key| key.contains(".pin.")) {
        fs::remove_file(far.join(key)).unwrap();
        fs::remove_file(far.join(format!("{key}.sig"))).unwrap();
    }
    assert_eq!(listed(&operator)[0], (first.clone(), false));
    assert_eq!(pins(&operator), [(first.clone(), true)]);
    assert_eq!(listed(&operator), [(first, true), (second, false)]);
}

/// Wherever the putting of a pin is killed, it is there once in the end.
#[test]
fn a_pin_whose_put_is_killed_is_put_by_the_next_run_and_only_once() {
    let cluster = Cluster::start();
    let (operator, far, first) = with_a_copy(&cluster);
    let trace = operator.path("trace");
    let trace = trace.to_str().unwrap();
    let mut kills = 0;
    // Before an object has its name, and after that; each is put by a thread of its own.
    for (round, (call, number)) in [("renameat2", 1), ("fsync", 1), ("fsync", 2)]
        .into_iter()
        .enumerate()
    {
        operator.json(&["pin", &first]);
        let inject = format!("inject={call}:signal=SIGKILL:when={number}");
        let starter = ["strace", "-f", "-o", trace, "-e", call, "-e", &inject];
        for _ in 0..3 {
            let killed = operator.run_under(&starter, &["copy"]).code == 137;
            kills += u32::from(killed);
        }
        pins(&operator);
        assert_eq!(listed(&operator), [(first.clone(), true)]);
        let count = |kind: &str| {
            let facts = facts(&far);
            facts.values().filter(|fact| fact["fact"] == *kind).count()
        };
        assert_eq!((count("pin"), count("unpin")), (round + 1, round));
        operator.json(&["unpin", &first]);
        assert_eq!(pins(&operator), [(first.clone(), false)]);
    }
    assert!(kills > 5, "{kills}");
}

#[test]
fn a_destination_that_refuses_a_pin_is_reported_once_and_is_no_failure() {
    let cluster = Cluster::start();
    let (operator, far, first) = with_a_copy(&cluster);
    let manifest = files(&far)
        .into_iter()
        .find(|file| file.ends_with(".json"))
        .unwrap();
    let place = far.join(manifest).parent().unwrap().to_owned();
    let Some(immutable) = Immutable::new(vec![place]) else {
        println!("skipped: no file here can be made immutable");
        return;
    };
    operator.json(&["pin", &first]);
    let output = operator.run(&["copy"]);
    assert_eq!(output.code, 0, "{output}");
    let said = "far refuses to take down what is pinned";
    assert!(output.stderr.contains(said), "{output}");
    let output = operator.run(&["copy"]);
    assert_eq!(output.code, 0, "{output}");
    assert!(!output.stderr.contains("refuses"), "{output}");
    drop(immutable);
    assert_eq!(pins(&operator), [(first, true)]);
}
