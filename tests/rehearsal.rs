//! Rehearsals and test restores of copies: that the key that is kept offline works, and what is reported when nobody
//! has tried it, or when copies are encrypted to another one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::cluster::{Cluster, wait_until};
use crate::support::destination::{encrypted_destination, files, new_identity, plain_destination};
use crate::support::drill::{assert_empty, open_directory};
use crate::support::operator::{Operator, Running, wait_for_the_next_second};
use crate::support::restored::{assert_untouched, seal, small};

/// A small database with a copy, the destination, and the file of the identity that opens it.
fn with_a_copy(cluster: &Cluster) -> (Operator, PathBuf, PathBuf) {
    let mut operator = small(cluster, "app");
    let (far, identity) = encrypted_destination(&mut operator);
    copy(&operator);
    (operator, far, identity)
}

#[track_caller]
fn copy(operator: &Operator) {
    let output = operator.run(&["copy"]);
    assert_eq!(output.code, 0, "{output}");
}

fn words(identity: &Path) -> [&str; 5] {
    let identity = identity.to_str().unwrap();
    ["rehearse", "--from", "far", "--identity", identity]
}

/// The volumes of a destination.
fn volumes(far: &Path) -> Vec<PathBuf> {
    let all = files(far).into_iter();
    all.filter(|key| key.split('/').count() == 6)
        .map(|key| far.join(key))
        .collect()
}

/// How far the newest copy is proved, by `status`.
fn state(operator: &Operator) -> Value {
    let output = operator.run(&["status", "--json"]);
    let status: Value = serde_json::from_str(&output.stdout).unwrap();
    status["databases"][0]["copies"][0]["newest"]["state"].clone()
}

/// The concerns of these kinds: kind and sentence.
fn concerns(operator: &Operator) -> Vec<(String, String)> {
    let output = operator.run(&["status", "--json"]);
    let status: Value = serde_json::from_str(&output.stdout).unwrap();
    let all = status["attention"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    all.map(|one| (text(&one["kind"]), text(&one["message"])))
        .filter(|(kind, _)| kind.starts_with("rehearsal") || kind.starts_with("recipients"))
        .collect()
}

/// The sentence of the only concern, which is of this kind.
#[track_caller]
fn concern(operator: &Operator, kind: &str) -> String {
    let mut found = concerns(operator);
    assert_eq!(found.len(), 1, "{found:?}");
    let (found, sentence) = found.remove(0);
    assert_eq!(found, kind, "{sentence}");
    sentence
}

#[test]
fn p20_a_rehearsal_opens_the_newest_copy_of_every_format_and_keeps_nothing_of_it() {
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    let (_, identity) = encrypted_destination(&mut operator);
    let secret = fs::read_to_string(&identity).unwrap();
    let fingerprint = operator.json(&["key", "show"])["recipients"][0]["fingerprint"].clone();
    for (format, compression, compared) in [
        ("plain", "gzip", "census"),
        ("plain", "zstd", "census"),
        ("plain", "none", "census"),
        ("custom", "gzip", "census"),
        ("directory", "gzip", "rows"),
        ("directory", "none", "rows"),
    ] {
        operator.set("dump.format", format);
        operator.set("dump.compression", compression);
        wait_for_the_next_second();
        let backup = operator.back_up();
        copy(&operator);
        let before = (files(&operator.backups()), files(&operator.path("state")));
        let rehearsed = operator.json(&words(&identity));
        let one = &rehearsed[0];
        assert_eq!(one["outcome"], "opened", "{one}");
        assert_eq!(one["backup"], backup, "{one}");
        assert_eq!(one["compared"], compared, "{format} {compression}");
        assert_eq!(
            (&one["rows"], &one["tables"]),
            (&json!(1), &json!(1)),
            "{one}"
        );
        assert_eq!(one["recipients"], json!([fingerprint]), "{one}");

        let record = operator.restore_log().pop().unwrap();
        let expected = json!({
            "operation": "rehearse", "event": "succeeded", "backup": backup, "series": "daily",
            "destination": "far", "copy": "opened", "recipients": [fingerprint],
        });
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(record[key], *value, "{record}");
        }
        assert_eq!(state(&operator), "opened");
        let after = (files(&operator.backups()), files(&operator.path("state")));
        let is_new = |file: &&String| !before.0.contains(file) && !before.1.contains(file);
        let new: Vec<&String> = after.0.iter().chain(&after.1).filter(is_new).collect();
        let records = ["restore.log", "rehearsals.json", ".rehearsals.lock"];
        assert!(
            new.iter().all(|file| records.contains(&file.as_str())),
            "{new:?}"
        );
    }
    let log = fs::read_to_string(operator.backups().join("restore.log")).unwrap();
    assert!(!log.contains(secret.trim()), "the identity is on record");
}

#[test]
fn p20_the_identity_may_come_by_stdin_and_a_machine_without_anything_can_rehearse() {
    let cluster = Cluster::start();
    let (operator, far, identity) = with_a_copy(&cluster);
    let signer = operator.json(&["key", "show"])["signer"]["fingerprint"].clone();
    let elsewhere = Operator::without_server("app");
    let nothing = elsewhere.path("nothing.toml");
    fs::write(&nothing, "").unwrap();
    let url = format!("file://{}", far.display());
    let mut command = elsewhere.command(&[
        "rehearse",
        "--from",
        &url,
        "--signer",
        signer.as_str().unwrap(),
        "--identity",
        "-",
    ]);
    command.env("PGBACKUPD_CONFIG", &nothing);
    command.stdin(Stdio::from(fs::File::open(&identity).unwrap()));
    let output = Running::start(command).wait();
    assert_eq!(output.code, 0, "{output}");
    assert!(
        output.stdout.contains("opened, 1 row in 1 table"),
        "{output}"
    );
    assert!(
        output.stdout.contains("by the identity of SHA256:"),
        "{output}"
    );
    assert!(!output.stdout.contains("on record"), "{output}");
    assert!(!elsewhere.path("state").exists());
}

#[test]
fn p20_another_identity_opens_nothing_and_those_that_do_are_named() {
    let cluster = Cluster::start();
    let (operator, _, identity) = with_a_copy(&cluster);
    let (other, _) = new_identity(&operator, "other.txt");
    let fingerprint = operator.json(&["key", "show"])["recipients"][0]["fingerprint"].clone();
    let wanted = format!(
        "wanted is the identity of {}",
        fingerprint.as_str().unwrap()
    );
    let refused = operator.run(&words(&other));
    assert_eq!(refused.code, 64, "{refused}");
    assert!(refused.stderr.contains(&wanted), "{refused}");
    let record = operator.restore_log().pop().unwrap();
    assert_eq!(record["operation"], "rehearse", "{record}");
    assert_eq!(record["event"], "failed", "{record}");
    // None is no try, and a test restore that cannot begin does not fail.
    let records = operator.restore_log().len();
    let other = other.to_str().unwrap();
    for arguments in [
        &["rehearse", "--from", "far"][..],
        &["drill", "--from", "far"],
        &["drill", "--from", "far", "--identity", other],
    ] {
        let refused = operator.run(arguments);
        assert_eq!(refused.code, 64, "{refused}");
        assert!(refused.stderr.contains("hint: "), "{refused}");
    }
    assert_eq!(operator.restore_log().len(), records);
    let output = operator.run(&words(&identity));
    assert_eq!(output.code, 0, "{output}");
}

#[test]
fn p21_a_copy_that_was_changed_is_not_opened() {
    let cluster = Cluster::start();
    let (operator, far, identity) = with_a_copy(&cluster);
    let all = volumes(&far);
    assert!(all.len() >= 4, "{all:?}");
    for volume in all {
        let intact = fs::read(&volume).unwrap();
        let mut changed = intact.clone();
        let middle = changed.len() / 2;
        changed[middle] ^= 1;
        fs::write(&volume, changed).unwrap();
        let output = operator.run(&words(&identity));
        assert_eq!(output.code, 65, "{}: {output}", volume.display());
        assert!(output.stdout.contains("DAMAGED"), "{output}");
        fs::write(&volume, intact).unwrap();
    }
    let output = operator.run(&words(&identity));
    assert_eq!(output.code, 0, "{output}");
}

/// Who has written a false census or dump before the copy was made has signed it, too.
#[test]
fn a_dump_that_does_not_hold_what_its_census_says_is_reported_although_every_byte_is_as_signed() {
    let cluster = Cluster::start();
    for format in ["plain", "custom", "directory"] {
        let mut operator = small(&cluster, &format!("app_{format}"));
        operator.set("dump.format", format);
        if format != "plain" {
            operator.set("dump.compression", "none");
        }
        let (_, identity) = encrypted_destination(&mut operator);
        let first = operator.back_up();
        cluster.psql_in(
            &format!("app_{format}"),
            "INSERT INTO t SELECT i, 'more' FROM generate_series(2, 5) AS i",
        );
        wait_for_the_next_second();
        let second = operator.back_up();
        // The second backup gets the census of the first.
        let file = |stem: &str, end: &str| operator.backups().join(format!("{stem}{end}"));
        let (of_first, of_second) = (file(&first, ".json"), file(&second, ".json"));
        let read =
            |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
        let mut manifest = read(&of_second);
        for key in ["sha256", "bytes"] {
            manifest["census"][key] = read(&of_first)["census"][key].clone();
        }
        fs::copy(file(&first, ".census.gz"), file(&second, ".census.gz")).unwrap();
        seal(&of_second, &manifest);
        copy(&operator);
        let verified = operator.run(&[
            "verify",
            &second,
            "--from",
            "far",
            "--identity",
            identity.to_str().unwrap(),
        ]);
        assert_eq!(verified.code, 0, "{format}: {verified}");
        let output = operator.run(&words(&identity));
        assert_eq!(output.code, 65, "{format}: {output}");
        assert!(output.stdout.contains("do not agree"), "{format}: {output}");
    }
}

#[test]
fn a_rehearsal_is_due_from_the_first_encrypted_copy_on_and_over_with_one() {
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    operator.set("objectives.rehearsal_age", "1 second");
    // Plain copies need no key.
    let far = plain_destination(&mut operator);
    copy(&operator);
    std::thread::sleep(std::time::Duration::from_millis(1200));
    assert_eq!(concerns(&operator), []);
    fs::remove_dir_all(&far).unwrap();
    fs::create_dir(&far).unwrap();

    let (identity, recipient) = new_identity(&operator, "identity.txt");
    operator.unset("destinations.far.plain");
    operator.set_value("encryption.recipients", vec![recipient]);
    assert_eq!(concerns(&operator), []);
    copy(&operator);
    std::thread::sleep(std::time::Duration::from_millis(1200));
    let sentence = concern(&operator, "rehearsal_overdue");
    let command = "run `pgbackupd rehearse --from far --identity -`";
    assert!(sentence.contains("has ever been opened"), "{sentence}");
    assert!(sentence.ends_with(command), "{sentence}");

    let output = operator.run(&words(&identity));
    assert_eq!(output.code, 0, "{output}");
    std::thread::sleep(std::time::Duration::from_millis(1200));
    let sentence = concern(&operator, "rehearsal_overdue");
    assert!(
        sentence.starts_with("the last rehearsal at far was"),
        "{sentence}"
    );
    operator.set("objectives.rehearsal_age", "1 hour");
    assert_eq!(concerns(&operator), []);
    operator.set("objectives.rehearsal_age", "off");
    assert_eq!(concerns(&operator), []);
}

#[test]
fn p20_recipients_that_nobody_knows_are_reported_until_their_key_is_tried_or_they_are_accepted() {
    let cluster = Cluster::start();
    let (mut operator, _, identity) = with_a_copy(&cluster);
    assert_eq!(concerns(&operator), []);
    let (new_key, new_recipient) = new_identity(&operator, "new.txt");
    operator.set_value("encryption.recipients", vec![new_recipient.clone()]);
    let sentence = concern(&operator, "recipients_changed");
    assert!(
        sentence.starts_with("new copies are encrypted to SHA256:"),
        "{sentence}"
    );
    let status = operator.run(&["status"]);
    assert_eq!(status.code, 2, "{status}");

    // Copies, and a rehearsal that is refused, change nothing of it.
    wait_for_the_next_second();
    operator.back_up();
    copy(&operator);
    let output = operator.run(&words(&identity));
    assert_eq!(output.code, 64, "{output}");
    assert_eq!(concern(&operator, "recipients_changed"), sentence);
    let output = operator.run(&words(&new_key));
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(concerns(&operator), []);

    // Another one is added, and the operator answers for it.
    let (_, third) = new_identity(&operator, "third.txt");
    operator.set_value("encryption.recipients", vec![new_recipient, third]);
    let sentence = concern(&operator, "recipients_changed");
    assert!(
        sentence.contains("`pgbackupd accept recipients`"),
        "{sentence}"
    );
    // The key that was known says nothing of the one that was added.
    let output = operator.run(&words(&new_key));
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(concern(&operator, "recipients_changed"), sentence);
    let accepted = operator.json(&["accept", "recipients"]);
    assert_eq!(accepted["accepted"], "recipients", "{accepted}");
    assert_eq!(accepted["recipients"].as_array().unwrap().len(), 1);
    assert_eq!(concerns(&operator), []);
    let record = operator.last_record();
    assert_eq!(record["operation"], "accept", "{record}");
    let again = operator.run(&["accept", "recipients"]);
    assert_eq!(again.code, 64, "{again}");

    // Nobody needs a key for what is not encrypted any more.
    operator.set_value("destinations.far.plain", true);
    let sentence = concern(&operator, "recipients_changed");
    assert!(
        sentence.starts_with("new copies at far are not encrypted"),
        "{sentence}"
    );
    let accepted = operator.json(&["accept", "recipients"]);
    assert_eq!(accepted["not_encrypted"], json!(["far"]), "{accepted}");
    assert_eq!(concerns(&operator), []);
}

#[test]
fn p20_a_lost_state_directory_hides_no_change_of_recipients() {
    let cluster = Cluster::start();
    let (mut operator, _, _) = with_a_copy(&cluster);
    fs::remove_file(operator.path("state/rehearsals.json")).unwrap();
    let (_, other) = new_identity(&operator, "other.txt");
    operator.set_value("encryption.recipients", vec![other]);
    wait_for_the_next_second();
    operator.back_up();
    copy(&operator);
    concern(&operator, "recipients_changed");
}

#[test]
fn a_copy_is_test_restored_and_removed_and_that_counts_as_a_rehearsal() {
    let cluster = Cluster::start();
    let (mut operator, _, identity) = with_a_copy(&cluster);
    let place = open_directory();
    operator.set("drill.directory", place.path().display());
    operator.set("objectives.rehearsal_age", "1 second");
    std::thread::sleep(std::time::Duration::from_millis(1200));
    concern(&operator, "rehearsal_overdue");
    let identity = identity.to_str().unwrap();
    let drilled = operator.json(&["drill", "--from", "far", "--identity", identity]);
    let one = &drilled[0];
    assert_eq!(one["outcome"], "proven", "{one}");
    assert_eq!(one["from"], "far", "{one}");
    assert_eq!(one["recipients"].as_array().unwrap().len(), 1, "{one}");
    assert_empty(place.path());
    let record = operator.restore_log().pop().unwrap();
    for (key, value) in [
        ("operation", "drill"),
        ("event", "succeeded"),
        ("destination", "far"),
        ("copy", "restored"),
    ] {
        assert_eq!(record[key], value, "{record}");
    }
    assert_eq!(record["recipients"], one["recipients"], "{record}");
    assert_eq!(state(&operator), "restored");
    operator.set("objectives.rehearsal_age", "1 hour");
    assert_eq!(concerns(&operator), []);
    // No rehearsal takes the further proof back.
    let output = operator.run(&words(Path::new(identity)));
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(state(&operator), "restored");
    assert_untouched(&cluster, &operator, "app");
}

#[test]
fn what_a_killed_test_restore_of_a_copy_has_fetched_is_removed_by_the_next_one() {
    let cluster = Cluster::start();
    let (mut operator, _, identity) = with_a_copy(&cluster);
    let place = open_directory();
    operator.set("drill.directory", place.path().display());
    let identity = identity.to_str().unwrap();
    let arguments = ["drill", "--from", "far", "--identity", identity, "--latest"];
    let running = operator.spawn(&arguments);
    let fetched = || {
        let found = files(place.path());
        found.iter().any(|file| file.contains("/backup/"))
    };
    wait_until("the copy is fetched", fetched);
    running.signal(Signal::KILL);
    running.wait();
    assert!(fetched(), "nothing is left to be removed");
    let output = operator.run(&arguments);
    assert_eq!(output.code, 0, "{output}");
    assert_empty(place.path());
    let events: Vec<Value> = operator
        .restore_log()
        .iter()
        .map(|record| record["event"].clone())
        .collect();
    assert_eq!(events, ["started", "interrupted", "started", "succeeded"]);
}

#[test]
fn a_copy_for_which_there_is_no_room_is_not_fetched() {
    let cluster = Cluster::start();
    let (mut operator, far, identity) = with_a_copy(&cluster);
    let place = open_directory();
    operator.set("drill.directory", place.path().join("gone").display());
    let identity = identity.to_str().unwrap();
    let arguments = ["drill", "--from", "far", "--identity", identity];
    let output = operator.run(&arguments);
    assert_eq!(output.code, 69, "{output}");
    assert!(output.stderr.contains("drill.directory"), "{output}");
    assert!(!volumes(&far).is_empty());
}

#[test]
fn a_restore_from_a_destination_asks_before_the_dump_is_fetched_and_warns_once() {
    let cluster = Cluster::start();
    let (operator, far, identity) = with_a_copy(&cluster);
    let identity = identity.to_str().unwrap();
    let arguments = [
        "restore",
        "--latest",
        "--from",
        "far",
        "--identity",
        identity,
    ];
    // The dump cannot be fetched: whoever says no never learns of it.
    let dump = volumes(&far);
    let dump: Vec<_> = dump
        .iter()
        .filter(|path| path.display().to_string().contains(".sql"))
        .collect();
    assert_eq!(dump.len(), 1, "{dump:?}");
    let intact = fs::read(dump[0]).unwrap();
    fs::write(dump[0], vec![0; intact.len()]).unwrap();
    let refused = operator.run_at_a_terminal(&arguments, "no");
    assert!(
        refused.stdout.contains("This replaces the database app"),
        "{refused}"
    );
    assert!(refused.stdout.contains("nothing was changed"), "{refused}");
    assert_eq!(refused.code, 64, "{refused}");
    assert_eq!(
        refused.stdout.matches("only one: when").count(),
        1,
        "{refused}"
    );
    let fetched = operator.path("state/fetched");
    assert!(!fetched.exists() || fs::read_dir(&fetched).unwrap().next().is_none());
    fs::write(dump[0], intact).unwrap();

    let restored = operator.run_at_a_terminal(&arguments, "app");
    assert_eq!(restored.code, 0, "{restored}");
    assert_eq!(
        restored.stdout.matches("This replaces").count(),
        1,
        "{restored}"
    );
    assert_eq!(
        restored.stdout.matches("only one: when").count(),
        1,
        "{restored}"
    );
    assert!(fs::read_dir(&fetched).unwrap().next().is_none());
}

#[test]
fn a_verification_with_another_identity_exits_with_64_whatever_it_is() {
    let cluster = Cluster::start();
    let (operator, _, identity) = with_a_copy(&cluster);
    for attempt in 0..8 {
        let (other, _) = new_identity(&operator, &format!("other{attempt}.txt"));
        let other = other.to_str().unwrap();
        let output = operator.run(&["verify", "--from", "far", "--identity", other]);
        assert_eq!(output.code, 64, "{output}");
    }
    let identity = identity.to_str().unwrap();
    let output = operator.run(&["verify", "--from", "far", "--identity", identity]);
    assert_eq!(output.code, 0, "{output}");
}
