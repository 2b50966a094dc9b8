//! How long copies at a destination are kept: by which rules they go, and what never does.

#![expect(
    clippy::case_sensitive_file_extension_comparisons,
    reason = "the keys of objects have one spelling"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::cluster::{Cluster, wait_until};
use crate::support::destination::{Immutable, files, plain_destination};
use crate::support::filesystem::Filesystem;
use crate::support::operator::{Operator, wait_for_the_next_second};
use crate::support::restored::small;

/// A database with one backup, and a destination in a directory that is configured as `far`.
fn with_destination(cluster: &Cluster) -> (Operator, PathBuf) {
    let mut operator = small(cluster, "app");
    let far = plain_destination(&mut operator);
    operator.set_value("retention.floor", 1);
    (operator, far)
}

/// The manifests of a host's copies.
fn manifests(far: &Path, host: &str) -> Vec<PathBuf> {
    let of_host = format!("v1/{host}/");
    let files = files(far).into_iter();
    files
        .filter(|file| file.starts_with(&of_host) && file.ends_with(".json"))
        .map(|file| far.join(file))
        .collect()
}

/// The backups of which a host has a copy that is complete, oldest first.
fn copies(far: &Path, host: &str) -> Vec<String> {
    let mut backups = BTreeSet::new();
    for path in manifests(far, host) {
        let manifest: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        for file in manifest["files"].as_array().unwrap() {
            for volume in file["volumes"].as_array().unwrap() {
                let path = far.join(volume["key"].as_str().unwrap());
                let length = fs::metadata(&path).unwrap().len();
                assert_eq!(volume["bytes"], length, "{}", path.display());
            }
        }
        let copy = manifest["copy"].as_str().unwrap();
        backups.insert(copy.split_once('.').unwrap().0.to_owned());
    }
    backups.into_iter().collect()
}

/// Another backup, in another second.
fn another(operator: &Operator) -> String {
    wait_for_the_next_second();
    operator.back_up()
}

/// What a run of `copy` copied, and what it removed with the reasons.
#[track_caller]
fn copy(operator: &Operator) -> (Vec<String>, Vec<(String, String)>) {
    let result = &operator.json(&["copy"])[0];
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let copied = result["copies"].as_array().unwrap().iter();
    let removed = result["removed"].as_array().unwrap().iter();
    let reason = |one: &Value| {
        let reasons = one["reasons"].as_array().unwrap().iter();
        reasons.map(text).collect::<Vec<_>>().join("; ")
    };
    (
        copied.map(|one| text(&one["backup"])).collect(),
        removed
            .map(|one| (text(&one["backup"]), reason(one)))
            .collect(),
    )
}

const NOTHING: (Vec<String>, Vec<(String, String)>) = (Vec::new(), Vec::new());

#[test]
fn p3_copies_are_kept_by_the_rules_of_their_series_or_by_the_destinations_own() {
    let cluster = Cluster::start();
    let (mut operator, far) = with_destination(&cluster);
    let own = "destinations.far.retention.daily.keep_last";
    operator.set_value(own, 2);
    let first = operator.list().remove(0);
    assert_eq!(copy(&operator), (vec![first.clone()], vec![]));
    let second = another(&operator);
    assert_eq!(copy(&operator), (vec![second.clone()], vec![]));
    let third = another(&operator);
    let reason = "not one of the newest 2".to_owned();
    let expected = (vec![third.clone()], vec![(first.clone(), reason.clone())]);
    assert_eq!(copy(&operator), expected);
    assert_eq!(copies(&far, "db1"), [&*second, &*third]);
    let left = files(&far);
    assert!(!left.iter().any(|file| file.contains(&first)), "{left:?}");
    // It is on record, and says nothing of the backup itself.
    let record = operator.last_record();
    assert_eq!(record["operation"], "copy", "{record}");
    assert_eq!(record["destination"], "far", "{record}");
    let removed = json!([{ "backup": first, "reasons": [reason] }]);
    assert_eq!(record["removed"], removed, "{record}");
    assert_eq!(operator.list(), [&*first, &*second, &*third]);
    let status = operator.json(&["status"]);
    assert_eq!(status["databases"][0]["copies"][0]["copies"], 2, "{status}");
    // What the rules would remove is not copied again.
    assert_eq!(copy(&operator), NOTHING);

    // Without rules of its own, those of the series hold.
    operator.unset(own);
    operator.set_value("series.daily.keep", false);
    operator.set_value("series.daily.keep_last", 1);
    let (copied, removed) = copy(&operator);
    assert_eq!((copied.len(), &*removed[0].0), (0, &*second), "{removed:?}");
    assert_eq!(copies(&far, "db1"), [&*third]);
    operator.set_value("destinations.far.retention", false);
    let fourth = another(&operator);
    let (_, removed) = copy(&operator);
    assert_eq!(removed, []);
    let found = copies(&far, "db1");
    assert!(
        found.contains(&third) && found.contains(&fourth),
        "{found:?}"
    );
}

/// An operator whose backups all but the newest may go once they have a copy.
fn with_required_copies(operator: &mut Operator) {
    plain_destination(operator);
    operator.set_value("destinations.far.retention.daily.keep_last", 9);
    operator.set_value("retention.floor", 1);
    operator.set_value("retention.require_copies", json!(["far"]));
    operator.set_value("series.daily.keep", false);
    operator.set_value("series.daily.keep_last", 1);
}

#[test]
fn p4_a_backup_that_has_to_have_a_copy_stays_until_it_has_one() {
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    with_required_copies(&mut operator);
    let first = operator.list().remove(0);
    let second = another(&operator);
    assert_eq!(operator.list(), [&*first, &*second]);
    let planned = operator.run(&["prune", "--dry-run"]);
    let kept = format!("keep {first}: it lacks a copy that retention.require_copies asks for");
    assert!(planned.words().contains(&kept), "{planned}");

    assert_eq!(copy(&operator).0.len(), 2);
    let third = another(&operator);
    // The third one is still to be copied, and stays as the newest anyway.
    assert_eq!(operator.list(), [&*third]);
    let record = operator.last_record();
    assert_eq!(record["removed"].as_array().unwrap().len(), 2, "{record}");

    // What the destination does not take, or would not keep, needs no copy there.
    let fourth = another(&operator);
    assert_eq!(operator.list(), [&*third, &*fourth]);
    operator.unset("destinations.far.retention.daily.keep_last");
    operator.set_value("destinations.far.series", json!(["weekly"]));
    operator.set_value(
        "destinations.far.retention",
        json!({"weekly": {"keep_last": 1}}),
    );
    let fifth = another(&operator);
    assert_eq!(operator.list(), [&*fifth]);
    operator.unset("destinations.far.series");
    operator.set_value(
        "destinations.far.retention",
        json!({"daily": {"keep_last": 1}}),
    );
    let sixth = another(&operator);
    assert_eq!(operator.list(), [&*sixth]);
}

#[test]
fn without_room_for_the_next_backup_what_only_lacks_a_copy_goes_and_nothing_else() {
    let Some(filesystem) = Filesystem::in_memory("size=1m") else {
        return;
    };
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    with_required_copies(&mut operator);
    operator.set("directory", filesystem.path().join("backups").display());
    let pinned = operator.back_up();
    operator.json(&["pin", &pinned]);
    let first = another(&operator);
    let second = another(&operator);
    let third = another(&operator);
    assert_eq!(operator.list(), [&*pinned, &*first, &*second, &*third]);

    // Room for one more, and for little besides.
    filesystem.leave_blocks(9);
    wait_for_the_next_second();
    let output = operator.run(&["backup"]);
    assert_eq!(output.code, 0, "{output}");
    let sentence = format!(
        "{first} was removed although it lacks a copy that retention.require_copies asks for: the next \
         backup would not have fitted"
    );
    assert!(output.stderr.contains(&sentence), "{output}");
    let record = operator.last_record();
    let reasons = json!(["WITHOUT A COPY: the next backup would not fit"]);
    assert_eq!(
        record["removed"][0],
        json!({"backup": first, "reasons": reasons})
    );
    let left = operator.list();
    assert!(left.contains(&pinned) && !left.contains(&first), "{left:?}");
    // No more went than had to.
    assert!(left.contains(&third), "{left:?}");
}

#[test]
fn p3_the_floor_stays_and_so_does_what_is_pinned() {
    let cluster = Cluster::start();
    let (mut operator, far) = with_destination(&cluster);
    let first = operator.list().remove(0);
    let second = another(&operator);
    let third = another(&operator);
    operator.json(&["pin", &first]);
    assert_eq!(copy(&operator).0.len(), 3);
    operator.set_value("destinations.far.retention.daily.keep_last", 1);
    operator.set_value("retention.floor", 3);
    assert_eq!(copy(&operator), NOTHING);
    operator.set_value("retention.floor", 1);
    let (_, removed) = copy(&operator);
    let names: Vec<&str> = removed.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, [&*second]);
    // The copy was pinned when it was made. The operator's last word counts, also once the backup is gone.
    operator.json(&["unpin", &first]);
    operator.set_value("series.daily.keep", false);
    operator.set_value("series.daily.keep_last", 1);
    assert_eq!(operator.run(&["prune"]).code, 0);
    assert_eq!(operator.list(), [&*third]);
    let (_, removed) = copy(&operator);
    let names: Vec<&str> = removed.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, [&*first]);
    assert_eq!(copies(&far, "db1"), [&*third]);
}

/// Two hosts with a database of the same name, and a host whose key was lost.
#[test]
fn p3_only_what_this_host_signed_is_removed() {
    let cluster = Cluster::start();
    let (mut operator, far) = with_destination(&cluster);
    let first = operator.list().remove(0);
    let second = another(&operator);
    assert_eq!(copy(&operator).0.len(), 2);
    let of_other = |host: &str| -> Vec<String> {
        let mut all = files(&far);
        all.retain(|file| file.starts_with(&format!("v1/{host}/")));
        all
    };
    let before = of_other("db1");
    operator.set("name", "db2");
    operator.set(
        "daemon.state_directory",
        operator.path("state-of-db2").display(),
    );
    operator.set_value("destinations.far.retention.daily.keep_last", 1);
    assert_eq!(copy(&operator).0, [&*second]);
    let third = another(&operator);
    let (copied, removed) = copy(&operator);
    assert_eq!((&*copied[0], &*removed[0].0), (&*third, &*second));
    assert_eq!(copies(&far, "db2"), [&*third]);
    assert_eq!(of_other("db1"), before);

    // Under its own name, but by another key.
    operator.set("name", "db1");
    assert_eq!(copy(&operator).0, [&*third]);
    another(&operator);
    assert_eq!(copy(&operator).1.len(), 1);
    let after = of_other("db1");
    for file in &before {
        assert!(after.contains(file), "{file}");
    }
    assert!(copies(&far, "db1").contains(&first));
}

#[test]
fn p3_forged_manifests_count_for_nothing_and_are_not_removed() {
    let cluster = Cluster::start();
    let (mut operator, far) = with_destination(&cluster);
    let first = operator.list().remove(0);
    let second = another(&operator);
    let third = another(&operator);
    assert_eq!(copy(&operator).0.len(), 3);
    let real = manifests(&far, "db1").remove(0);
    let text = fs::read_to_string(&real).unwrap();
    let signature = fs::read(format!("{}.sig", real.display())).unwrap();
    let copy_name = real.file_name().unwrap().to_str().unwrap();
    let mut forged = Vec::new();
    for number in 0..12 {
        // Some are newer than all others, some are dated after now.
        let year = if number % 2 == 0 { 2020 } else { 2099 };
        let name = format!("backup_{year}0101_0000{number:02}");
        let stem = copy_name.split_once('.').unwrap().0;
        let path = real.with_file_name(copy_name.replacen(stem, &name, 1));
        fs::write(&path, text.replace(stem, &name)).unwrap();
        fs::write(format!("{}.sig", path.display()), &signature).unwrap();
        forged.push(path);
    }
    operator.set_value("destinations.far.retention.daily.keep_last", 2);
    let (_, removed) = copy(&operator);
    let names: Vec<&str> = removed.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, [&*first]);
    for path in forged {
        assert!(path.exists(), "{}", path.display());
        fs::remove_file(path).unwrap();
    }
    assert_eq!(copies(&far, "db1"), [&*second, &*third]);
}

/// An untrusted manifest under a copy's own name protects what it may name.
#[test]
fn a_copy_with_a_manifest_that_is_not_trusted_under_its_name_stays() {
    let cluster = Cluster::start();
    let (mut operator, far) = with_destination(&cluster);
    let first = operator.list().remove(0);
    another(&operator);
    assert_eq!(copy(&operator).0.len(), 2);
    let real = manifests(&far, "db1").remove(0);
    let name = real.file_name().unwrap().to_str().unwrap();
    let other = name.replacen(&name[name.len() - 9..name.len() - 5], "0000", 1);
    let other = real.with_file_name(other);
    fs::copy(&real, &other).unwrap();
    operator.set_value("destinations.far.retention.daily.keep_last", 1);
    assert_eq!(copy(&operator), NOTHING);
    fs::remove_file(&other).unwrap();
    let (_, removed) = copy(&operator);
    assert_eq!(removed.len(), 1);
    assert_eq!(removed[0].0, first);
}

/// Wherever a removal is killed, what is left is no copy, and later runs complete it.
#[test]
fn a_removal_that_is_killed_at_any_object_is_completed_by_the_next_run() {
    let cluster = Cluster::start();
    let (mut operator, far) = with_destination(&cluster);
    let first = operator.list().remove(0);
    let second = another(&operator);
    assert_eq!(copy(&operator).0.len(), 2);
    operator.set_value("destinations.far.retention.daily.keep_last", 1);
    let trace = operator.path("trace");
    let trace = trace.to_str().unwrap();
    let (mut kills, mut without_manifest) = (0, 0);
    for round in 0..60 {
        // Each object is removed by a thread of its own, with a second call for its directory.
        let inject = format!("inject=unlinkat:signal=SIGKILL:when={}", 1 + round % 2);
        let starter = ["strace", "-f", "-o", trace, "-e", "unlinkat", "-e", &inject];
        let killed = operator.run_under(&starter, &["copy"]);
        let left = copies(&far, "db1");
        assert!(left.contains(&second), "{left:?}");
        if killed.code != 137 {
            assert_eq!(killed.code, 0, "{killed}");
            break;
        }
        kills += 1;
        let rest = files(&far).iter().any(|file| file.contains(&first));
        without_manifest += u32::from(rest && !left.contains(&first));
    }
    assert!(
        kills > 5 && without_manifest > 2,
        "{kills} {without_manifest}"
    );
    assert_eq!(copy(&operator), NOTHING);
    let left = files(&far);
    assert!(!left.iter().any(|file| file.contains(&first)), "{left:?}");
    let records = operator.ledger();
    let removals: Vec<&Value> = records
        .iter()
        .filter(|record| record["operation"] == "copy" && record["removed"].is_array())
        .collect();
    let [one] = &removals[..] else {
        panic!("{removals:?}")
    };
    assert_eq!(one["removed"][0]["backup"], first, "{one}");
}

#[test]
fn a_destination_that_refuses_to_remove_is_reported_once_and_is_no_failure() {
    let cluster = Cluster::start();
    let (mut operator, far) = with_destination(&cluster);
    let first = operator.list().remove(0);
    let second = another(&operator);
    assert_eq!(copy(&operator).0.len(), 2);
    operator.set_value("destinations.far.retention.daily.keep_last", 1);
    let place = manifests(&far, "db1").remove(0);
    let Some(immutable) = Immutable::new(vec![place.parent().unwrap().to_owned()]) else {
        println!("skipped: no file here can be made immutable");
        return;
    };
    let output = operator.run(&["copy"]);
    assert_eq!(output.code, 0, "{output}");
    let said = "far refuses to remove 1 old copy";
    assert!(output.stderr.contains(said), "{output}");
    let output = operator.run(&["copy"]);
    assert_eq!(output.code, 0, "{output}");
    assert!(!output.stderr.contains("refuses"), "{output}");
    assert_eq!(copies(&far, "db1"), [&*first, &*second]);
    drop(immutable);
    let (_, removed) = copy(&operator);
    assert_eq!(removed.len(), 1);
    assert_eq!(copies(&far, "db1"), [&*second]);
}

/// Its backup would be kept here for its sake, and nothing would ever complete it.
#[test]
fn a_copy_that_was_begun_and_is_due_no_longer_is_given_up() {
    let cluster = Cluster::start();
    let (mut operator, far) = with_destination(&cluster);
    let first = operator.list().remove(0);
    operator.set("destinations.far.rate", "1 KB/s");
    let running = operator.spawn(&["copy"]);
    // What a put that is killed leaves is not listed, and goes by itself.
    let is_volume = |file: &&String| file.contains(&first) && !file.contains('~');
    let is_there = || files(&far).iter().any(|file| is_volume(&file));
    wait_until("a volume is there", &is_there);
    running.signal(Signal::KILL);
    assert_eq!(running.wait().code, 137);
    assert_eq!(copies(&far, "db1"), [""; 0]);
    operator.unset("destinations.far.rate");
    operator.set_value("series.daily.keep", false);
    operator.set_value("series.daily.keep_last", 1);
    let second = another(&operator);
    assert!(operator.list().contains(&first));
    assert_eq!(copy(&operator), (vec![second.clone()], vec![]));
    assert_eq!(copies(&far, "db1"), [&*second]);
    assert!(!is_there(), "{:?}", files(&far));
    assert_eq!(operator.run(&["prune"]).code, 0);
    assert_eq!(operator.list(), [&*second]);
}

#[test]
fn nothing_is_removed_by_a_run_that_could_not_copy_everything() {
    let cluster = Cluster::start();
    let (mut operator, far) = with_destination(&cluster);
    another(&operator);
    assert_eq!(copy(&operator).0.len(), 2);
    operator.set_value("destinations.far.retention.daily.keep_last", 1);
    let damaged = another(&operator);
    let path = operator.backups().join(format!("{damaged}.sql.gz"));
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    let output = operator.run(&["copy"]);
    assert_eq!(output.code, 65, "{output}");
    assert_eq!(copies(&far, "db1").len(), 2);
}

#[test]
fn a_manifest_that_somebody_else_removed_is_missed_and_those_that_retention_removed_are_not() {
    let cluster = Cluster::start();
    let (mut operator, far) = with_destination(&cluster);
    operator.set_value("destinations.far.retention.daily.keep_last", 2);
    copy(&operator);
    for _ in 0..2 {
        another(&operator);
        copy(&operator);
    }
    let gaps = |operator: &Operator| -> (Value, Value) {
        let status = operator.run(&["status", "--json"]).stdout;
        let status: Value = serde_json::from_str(&status).unwrap();
        let known = status["databases"][0]["copies"][0]["gaps"].clone();
        let listed = operator.json(&["list", "--from", "far"]);
        (known, listed[0]["missing_manifests"].clone())
    };
    // The first one went by the rules.
    assert_eq!(copies(&far, "db1").len(), 2);
    assert_eq!(gaps(&operator), (json!([]), json!([])));

    let second = manifests(&far, "db1").into_iter().find(|path| {
        let manifest: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        manifest["sequence"] == 2
    });
    fs::remove_file(second.unwrap()).unwrap();
    // Whoever looks sees it at once, and a copy run takes it down.
    assert_eq!(gaps(&operator), (json!([]), json!([[2, 2]])));
    copy(&operator);
    let (known, listed) = gaps(&operator);
    assert_eq!(
        (&known[0]["first"], &known[0]["last"]),
        (&json!(2), &json!(2)),
        "{known}"
    );
    assert_eq!(listed, json!([[2, 2]]));
    let sentence = "manifest 2 is not at far, and retention here did not remove it";
    for words in [&["status"][..], &["list", "--from", "far"]] {
        let shown = operator
            .run(words)
            .stdout
            .replace("\n  ", " ")
            .replace('\n', " ");
        assert!(shown.contains(sentence), "{shown}");
    }
    // Without the memory of it, nothing is missed.
    fs::remove_dir_all(operator.path("state/copying")).unwrap();
    copy(&operator);
    assert_eq!(gaps(&operator), (json!([]), json!([])));
}

/// Volumes without a manifest, of a backup that nobody copies any more and no journal remembers.
#[test]
#[expect(clippy::too_many_lines, reason = "one story, step by step")]
fn what_a_broken_off_upload_left_goes_after_a_week_and_two_listings() {
    let cluster = Cluster::start();
    let (mut operator, far) = with_destination(&cluster);
    let first = operator.list().remove(0);
    assert_eq!(copy(&operator).0, [&*first]);
    // Of one that was never a copy: all that was sent of it, and no record that it was complete.
    let of_first = |file: &String| file.contains(&first);
    let mut volumes = Vec::new();
    for file in files(&far).into_iter().filter(of_first) {
        let path = far.join(&file);
        if file.ends_with(".json") || file.ends_with(".sig") {
            fs::remove_file(path).unwrap();
        } else {
            volumes.push(path);
        }
    }
    assert!(volumes.len() > 1, "{volumes:?}");
    let ledger = operator.backups().join("backup.log");
    let records = fs::read_to_string(&ledger).unwrap();
    let kept = records
        .lines()
        .filter(|line| !line.contains("\"operation\":\"copy\""));
    let without_copy = kept.fold(String::new(), |all, line| all + line + "\n");
    let second = another(&operator);
    let last = operator.last_record();
    operator.set_value("destinations.far.backfill", 1);
    // The same of a run that this host knows nothing of.
    let place = volumes[0].parent().unwrap();
    let name = place.file_name().unwrap().to_str().unwrap();
    let other = format!(
        "{}-8888-{}",
        &name[..name.len() - 18],
        &name[name.len() - 12..]
    );
    let other = place.with_file_name(other);
    fs::create_dir(&other).unwrap();
    for volume in &volumes {
        fs::copy(volume, other.join(volume.file_name().unwrap())).unwrap();
    }
    let there = |directory: &Path| fs::read_dir(directory).map_or(0, Iterator::count);
    let count = volumes.len();
    let in_the_past = [
        "env",
        "FAKETIME_DONT_FAKE_MONOTONIC=1",
        "faketime",
        "-f",
        "-2h",
    ];

    // By the ledger it was a copy, so its manifest is lost, and nothing goes for that.
    age(&[place, &other]);
    assert_eq!(copy(&operator).0, [&*second]);
    assert_eq!(operator.run_under(&in_the_past, &["copy"]).code, 0);
    assert_eq!(copy(&operator), NOTHING);
    assert_eq!((there(place), there(&other)), (count, count));

    // Without that record it is seen once, and again too soon.
    fs::write(&ledger, format!("{without_copy}{last}\n")).unwrap();
    assert_eq!(copy(&operator), NOTHING);
    assert_eq!(copy(&operator), NOTHING);
    assert_eq!((there(place), there(&other)), (count, count));
    // And then an hour later.
    assert_eq!(operator.run_under(&in_the_past, &["copy"]).code, 0);
    let (copied, removed) = copy(&operator);
    assert_eq!(copied, [""; 0]);
    let reason = "left by an upload that was broken off; it never was a copy";
    assert_eq!(removed, [(first.clone(), reason.to_owned())]);
    assert_eq!((there(place), there(&other)), (0, count));
    assert_eq!(copies(&far, "db1"), [&*second]);
    let record = operator.last_record();
    assert_eq!(record["removed"][0]["backup"], first, "{record}");
}

/// Gives the files in these directories a time of eight days ago.
fn age(directories: &[&Path]) {
    for directory in directories {
        for file in files(directory) {
            let mut touch = Command::new("touch");
            touch.args(["-d", "8 days ago"]).arg(directory.join(file));
            assert!(touch.status().unwrap().success());
        }
    }
}
