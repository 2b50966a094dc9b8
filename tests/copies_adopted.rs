//! Copies that an earlier signing key of this host signed, before and after they are adopted.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::cluster::Cluster;
use crate::support::destination::{files, plain_destination};
use crate::support::operator::{Operator, Output, wait_for_the_next_second};
use crate::support::restored::small;

/// A database with a backup that was copied by a key that the host has no longer, with its fingerprint.
fn with_an_old_key(cluster: &Cluster) -> (Operator, PathBuf, String) {
    let mut operator = small(cluster, "app");
    let far = plain_destination(&mut operator);
    let state = operator.path("old");
    operator.set("daemon.state_directory", state.display());
    assert_eq!(copied(&operator).len(), 1);
    let shown = operator.json(&["key", "show"]);
    let old = shown["signer"]["fingerprint"].as_str().unwrap().to_owned();
    let state = operator.path("new");
    operator.set("daemon.state_directory", state.display());
    (operator, far, old)
}

fn copied(operator: &Operator) -> Vec<String> {
    let report = operator.json(&["copy"]);
    let copies = report[0]["copies"].as_array().unwrap().iter();
    copies
        .map(|one| one["backup"].as_str().unwrap().to_owned())
        .collect()
}

/// The signers of the copies that `list --from far` counts.
fn signers(operator: &Operator) -> Vec<String> {
    let there = operator.json(&["list", "--from", "far"]);
    let copies = there[0]["copies"].as_array().unwrap().iter();
    copies
        .map(|one| one["signer"].as_str().unwrap().to_owned())
        .collect()
}

#[track_caller]
fn assert_refused(output: &Output, code: i32, sentence: &str) {
    assert_eq!(output.code, code, "{output}");
    assert!(output.stderr.contains(sentence), "{output}");
}

#[test]
fn copies_by_an_old_key_count_once_it_is_adopted_and_what_it_signs_later_does_not() {
    let cluster = Cluster::start();
    let (mut operator, far, old) = with_an_old_key(&cluster);
    let first = operator.list().remove(0);
    let adopt = ["adopt", "--from", "far", "--signer", &old];
    // There is nobody to be asked.
    assert_refused(&operator.run(&adopt), 64, "nothing was adopted");
    let asked = operator.run_at_a_terminal(&adopt, "yes\n");
    assert_eq!(asked.code, 64, "{asked}");
    let asked = operator.run_at_a_terminal(&adopt, "db1\n");
    assert_eq!(asked.code, 0, "{asked}");
    assert!(asked.stdout.contains("1 copy of main/app"), "{asked}");
    assert_eq!(signers(&operator), [&*old]);
    // It is a copy of this host's: nothing is copied again.
    assert_eq!(copied(&operator), [""; 0]);

    let shown = operator.json(&["key", "show"]);
    let adopted = &shown["adopted"][0];
    assert_eq!(adopted["fingerprint"], *old, "{shown}");
    assert_eq!(adopted["destination"], "far", "{shown}");
    assert!(!adopted["by"].as_str().unwrap().is_empty(), "{shown}");
    let text = operator.run(&["key", "show"]);
    assert!(text.stdout.contains("adopted at far"), "{text}");

    // Whoever has the old key signs with it, and puts that there.
    let new_state = operator.path("new");
    let old_state = operator.path("old");
    wait_for_the_next_second();
    wait_for_the_next_second();
    let second = operator.back_up();
    operator.set("daemon.state_directory", old_state.display());
    assert_eq!(copied(&operator), [&*second]);
    operator.set("daemon.state_directory", new_state.display());
    assert_eq!(signers(&operator), [&*old]);
    assert_eq!(copied(&operator), [&*second]);
    assert_eq!(signers(&operator).len(), 2);

    // It stays until it was read back by this host, like any that was not.
    operator.set_value("retention.floor", 1);
    operator.set_value("destinations.far.retention.daily.keep_last", 1);
    assert_eq!(operator.json(&["copy"])[0]["removed"], json!([]));
    let is_there = |backup: &str| files(&far).iter().any(|file| file.contains(backup));
    assert!(is_there(&first) && is_there(&second));

    let revoke = [&adopt[..], &["--revoke"]].concat();
    let revoked = operator.run(&revoke);
    assert_eq!(revoked.code, 0, "{revoked}");
    assert!(!signers(&operator).contains(&old));
    assert_refused(&operator.run(&revoke), 64, "was not adopted at far");
}

#[test]
fn nothing_is_adopted_by_mistake() {
    let cluster = Cluster::start();
    let (operator, _, old) = with_an_old_key(&cluster);
    let adopt = |arguments: &[&str]| {
        operator.run(&[&["adopt", "--from", "far"], arguments, &["--yes"]].concat())
    };
    assert_eq!(adopt(&["--any-signer"]).code, 64);
    assert_eq!(adopt(&["--signer", &old, "--any-signer"]).code, 64);
    let other = "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    assert_refused(&adopt(&["--signer", other]), 69, "there is no copy at far");
    assert_refused(&adopt(&["--signer", "no"]), 64, "invalid fingerprint");
    let shown = operator.json(&["key", "show"]);
    let own = shown["signer"]["fingerprint"].as_str().unwrap();
    assert_refused(&adopt(&["--signer", own]), 64, "the host's own key");
    let unknown = operator.run(&["adopt", "--from", "near", "--signer", &old, "--yes"]);
    assert_refused(&unknown, 64, "no destination \"near\" is configured");
    assert_eq!(operator.json(&["key", "show"])["adopted"], json!([]));
}

#[test]
fn a_list_of_adopted_keys_that_was_changed_is_reported_and_trusts_nobody() {
    let cluster = Cluster::start();
    let (operator, _, old) = with_an_old_key(&cluster);
    let adopted = operator.json(&["adopt", "--from", "far", "--signer", &old, "--yes"]);
    assert_eq!(
        (&adopted["adopted"], &adopted["copies"]),
        (&json!(true), &json!(1))
    );
    let path = operator.path("new").join("copying/far/adopted.json");
    let text = fs::read_to_string(&path).unwrap();
    let until: &Value = &adopted["until"];
    let year = &until.as_str().unwrap()[..4];
    let changed = text.replace(&format!("valid-before=\\\"{year}"), "valid-before=\\\"2999");
    assert_ne!(changed, text);
    fs::write(&path, changed).unwrap();
    let output = operator.run(&["copy"]);
    assert_eq!(output.code, 0, "{output}");
    assert!(output.stderr.contains("adopted.json"), "{output}");
    assert!(!signers(&operator).contains(&old));
}
