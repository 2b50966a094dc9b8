//! Copies that an earlier signing key of this host signed, before and after they are adopted.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

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
    // They are this host's no longer, and not missing: the next run knows that, too.
    operator.json(&["copy"]);
    let there = &operator.json(&["list", "--from", "far"])[0];
    assert_eq!(there["absent"], json!([]), "{there}");
    assert_eq!(there["missing_manifests"], json!([]), "{there}");
}

#[test]
fn a_key_that_the_configuration_names_signs_and_what_the_one_before_signed_stays_the_hosts_own() {
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    let far = plain_destination(&mut operator);
    let state = operator.path("state");
    operator.set("daemon.state_directory", state.display());
    assert_eq!(copied(&operator).len(), 1);
    let before = signers(&operator).remove(0);

    // As a credential: it is there inside the service alone.
    let credentials = operator.path("credentials");
    fs::create_dir(&credentials).unwrap();
    let key = new_key(credentials.join("copies-signer"));
    operator.set("encryption.signer_credential", "copies-signer");
    let outside = operator.run(&["key", "show"]);
    assert_refused(&outside, 78, "exists only inside the service");
    assert!(outside.stdout.contains("host:    db1"), "{outside}");
    operator.set_variable("CREDENTIALS_DIRECTORY", credentials.display());
    assert_eq!(copied(&operator), [""; 0]);
    wait_for_the_next_second();
    let second = operator.back_up();
    assert_eq!(copied(&operator), [&*second]);
    operator.unset_variable("CREDENTIALS_DIRECTORY");

    // Outside of it, the host's own copies are known all the same, and nothing is signed.
    let now = operator.json(&["key", "show"])["signer"]["fingerprint"].clone();
    let now = now.as_str().unwrap().to_owned();
    assert_ne!(now, before);
    assert_eq!(signers(&operator), [&*before, &*now]);
    let kit = operator.json(&["key", "kit"]);
    assert_eq!(kit["signer"], *now, "{kit}");
    let verified = operator.run(&["verify", "--from", "far", "--all"]);
    assert_eq!(verified.code, 0, "{verified}");
    assert_refused(&operator.run(&["copy"]), 78, "LoadCredential=copies-signer");

    // By a file, and without the earlier key: its copies count once they are adopted.
    operator.unset("encryption.signer_credential");
    operator.set("encryption.signer_file", key.display());
    fs::remove_file(operator.path("state/signer")).unwrap();
    assert_eq!(signers(&operator), [&*now]);
    operator.json(&["adopt", "--from", "far", "--signer", &before, "--yes"]);
    assert_eq!(signers(&operator), [&*before, &*now]);
    assert_eq!(copied(&operator), [""; 0]);
    assert!(!operator.path("state/signer").exists());
    let manifests = files(&far).into_iter().filter(|key| {
        std::path::Path::new(key)
            .extension()
            .is_some_and(|ending| ending == "sig")
    });
    assert_eq!(manifests.count(), 2);

    // Another key: whose copies count no longer is reported once.
    fs::remove_file(&key).unwrap();
    fs::rename(new_key(operator.path("other")), &key).unwrap();
    let reported = operator.run(&["key", "show"]);
    let sentence = format!("adopt --from NAME --signer {now}");
    assert!(reported.stderr.contains(&sentence), "{reported}");
    let again = operator.run(&["key", "show"]);
    assert_eq!((again.code, &*again.stderr), (0, ""), "{again}");
}

/// A new private key in a file.
fn new_key(path: PathBuf) -> PathBuf {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&path)
        .status();
    assert!(made.unwrap().success());
    path
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
    // What is found out before the first copy run counts as well.
    let verified = operator.run(&["verify", "--from", "far"]);
    assert_eq!(verified.code, 0, "{verified}");
    let status = operator.run(&["status", "--json"]).stdout;
    let status: Value = serde_json::from_str(&status).unwrap();
    let newest = &status["databases"][0]["copies"][0]["newest"];
    assert_eq!(newest["state"], "opened", "{status}");
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
