//! Copies at a destination: what is sent, proved where it lies, and gone on with.

#![expect(
    clippy::case_sensitive_file_extension_comparisons,
    reason = "the keys of objects have one spelling"
)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::clock::WallClock;
use crate::support::cluster::{Cluster, wait_until};
use crate::support::daemon::{Daemon, only_daily};
use crate::support::destination::{files, plain_destination};
use crate::support::operator::{Operator, wait_for_the_next_second};
use crate::support::restored::{small, small_without_backup};
use crate::support::stores::{BUCKET, ID, SECRET, SeaweedFs};

/// A destination in a directory without encryption, and a state directory that can be removed.
fn plain(operator: &mut Operator) -> PathBuf {
    let state = operator.path("state");
    operator.set("daemon.state_directory", state.display());
    plain_destination(operator)
}

/// The same with encryption, to a key whose identity is in a file.
fn encrypted(operator: &mut Operator) -> (PathBuf, PathBuf) {
    let far = plain(operator);
    let identity = operator.path("identity");
    let public = new_identity(&identity);
    operator.unset("destinations.far.plain");
    operator.set_value("encryption.recipients", vec![public]);
    (far, identity)
}

/// Makes an identity, and gives its public half.
fn new_identity(file: &Path) -> String {
    let made = Command::new("age-keygen").arg("-o").arg(file).output();
    assert!(made.unwrap().status.success());
    let public = Command::new("age-keygen").arg("-y").arg(file).output();
    let public = String::from_utf8(public.unwrap().stdout).unwrap();
    public.trim().to_owned()
}

/// The manifests of copies below a directory.
fn manifests(far: &Path) -> Vec<Value> {
    let files = files(far).into_iter();
    let manifests = files.filter(|file| file.ends_with(".json") && !file.contains("/status/"));
    manifests
        .map(|file| serde_json::from_slice(&fs::read(far.join(file)).unwrap()).unwrap())
        .collect()
}

/// What `copy` has copied, as backup and state.
fn copied(operator: &Operator) -> Vec<(String, String)> {
    let report = operator.json(&["copy"]);
    let copies = report[0]["copies"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    copies
        .map(|copy| (text(&copy["backup"]), text(&copy["state"])))
        .collect()
}

fn concerns(operator: &Operator) -> Vec<String> {
    let status = operator.run(&["status", "--json"]);
    let status: Value = serde_json::from_str(&status.stdout).unwrap();
    let attention = status["attention"].as_array().unwrap().iter();
    let kinds = attention.map(|one| one["kind"].as_str().unwrap().to_owned());
    kinds.filter(|kind| kind.starts_with("copy")).collect()
}

#[test]
fn p4_a_backup_is_copied_once_and_opened_where_it_lies() {
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    let (far, _) = encrypted(&mut operator);
    let backup = operator.list().remove(0);
    assert_eq!(copied(&operator), [(backup.clone(), "opened".to_owned())]);
    let found = files(&far);
    assert!(found.contains(&"v1/RESTORE.txt".to_owned()), "{found:?}");
    assert_eq!(copied(&operator), []);
    assert_eq!(files(&far), found);

    // The next one is copied as well, and names the one before.
    wait_for_the_next_second();
    let second = operator.back_up();
    assert!(copied(&operator).len() == 1, "{second}");
    let mut manifests = manifests(&far);
    manifests.sort_by_key(|one| one["sequence"].as_u64());
    let [first, second] = &manifests[..] else {
        panic!("{manifests:?}")
    };
    assert_eq!(
        (&first["sequence"], &second["sequence"]),
        (&json!(1), &json!(2))
    );
    assert_eq!(first["previous"], Value::Null);
    assert!(second["previous"].is_string());
    let record = operator.last_record();
    assert_eq!(record["operation"], "copy", "{record}");
    assert_eq!(record["destination"], "far", "{record}");
    assert_eq!(record["copy"], "opened", "{record}");

    let status = operator.json(&["status"]);
    let copies = &status["databases"][0]["copies"][0];
    assert_eq!(copies["copies"], 2, "{copies}");
    assert_eq!(copies["newest"]["state"], "opened", "{copies}");
    assert_eq!(copies["missing"], Value::Null, "{copies}");
    let text = operator.run(&["status"]).stdout;
    assert!(text.contains("far: 2 copies, the newest"), "{text}");
    // Nobody else can read what lies there.
    for file in found {
        let mode = fs::metadata(far.join(&file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{file}");
    }
}

/// By hand: a manifest's key opens with the operator's identity, each volume with that key.
#[test]
fn p4_every_format_is_at_the_destination_as_it_was_written() {
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    let (far, identity) = encrypted(&mut operator);
    for (format, compression) in [
        ("plain", "zstd"),
        ("plain", "none"),
        ("custom", "none"),
        ("directory", "none"),
    ] {
        wait_for_the_next_second();
        operator.set("dump.format", format);
        operator.set("dump.compression", compression);
        operator.back_up();
    }
    assert_eq!(copied(&operator).len(), 5);
    let manifests = manifests(&far);
    assert_eq!(manifests.len(), 5);
    for manifest in manifests {
        let run_key = operator.path("run.key");
        let key = operator.path("key.age");
        fs::write(&key, manifest["key"].as_str().unwrap()).unwrap();
        age(&identity, &key, &run_key);
        for file in manifest["files"].as_array().unwrap() {
            let name = file["name"].as_str().unwrap();
            let opened = operator.path("opened");
            let mut whole = Vec::new();
            for volume in file["volumes"].as_array().unwrap() {
                let volume = far.join(volume["key"].as_str().unwrap());
                age(&run_key, &volume, &opened);
                whole.extend(fs::read(&opened).unwrap());
            }
            assert_eq!(file["bytes"], whole.len(), "{name}");
            match name.strip_suffix(".tar") {
                None => {
                    let local = fs::read(operator.backups().join(name)).unwrap();
                    assert!(local == whole, "{name}");
                }
                Some(directory) => {
                    fs::write(&opened, whole).unwrap();
                    let unpacked = operator.path("unpacked");
                    fs::create_dir(&unpacked).unwrap();
                    let mut tar = Command::new("tar");
                    tar.arg("-xf").arg(&opened).arg("-C").arg(&unpacked);
                    assert!(tar.status().unwrap().success());
                    let local = operator.backups().join(directory);
                    let same = Command::new("diff")
                        .arg("-r")
                        .arg(&local)
                        .arg(&unpacked)
                        .status();
                    assert!(same.unwrap().success(), "{name}");
                }
            }
        }
    }
}

/// Decrypts a file as the operator would.
fn age(identity: &Path, file: &Path, to: &Path) {
    let mut age = Command::new("age");
    age.arg("-d")
        .arg("-i")
        .arg(identity)
        .arg("-o")
        .arg(to)
        .arg(file);
    let output = age.output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Starts a copy at a slow rate, and kills it as soon as so many objects are there.
fn kill_at(operator: &mut Operator, far: &Path, objects: usize) -> Vec<String> {
    operator.set("destinations.far.rate", "2 KB/s");
    let running = operator.spawn(&["copy"]);
    wait_until("so many objects are there", || files(far).len() >= objects);
    running.signal(Signal::KILL);
    assert_eq!(running.wait().code, 137);
    operator.unset("destinations.far.rate");
    files(far)
}

/// Wherever a copy is killed, there is never a manifest without its volumes, nothing is overwritten, and the
/// next run completes it.
#[test]
fn a_copy_that_is_killed_at_any_moment_is_completed_by_the_next() {
    let cluster = Cluster::start();
    cluster.create_database("app");
    // More than three volumes.
    cluster.psql_in(
        "app",
        "CREATE TABLE t (b text); ALTER TABLE t ALTER b SET STORAGE EXTERNAL; \
         INSERT INTO t SELECT string_agg(md5(i::text || j::text), '') \
           FROM generate_series(1, 40) i, generate_series(1, 40000) j GROUP BY i",
    );
    let mut operator = Operator::of(&cluster, "app");
    operator.set("dump.compression", "none");
    let (far, _) = encrypted(&mut operator);
    operator.back_up();
    let mut kills = 0;
    let mut pause = Duration::from_millis(3);
    while kills < 30 {
        let before = contents(&far);
        let running = operator.spawn(&["copy"]);
        thread::sleep(pause);
        running.signal(Signal::KILL);
        let output = running.wait();
        assert_complete(&far);
        let after = contents(&far);
        for (file, content) in before {
            assert!(after.get(&file) == Some(&content), "{file} was changed");
        }
        if output.code == 0 {
            start_over(&operator, &far);
            pause = Duration::from_millis(3);
        } else {
            kills += 1;
            pause = pause * 5 / 4;
        }
    }
    assert_eq!(operator.run(&["copy"]).code, 0);
    assert_complete(&far);
    assert_eq!(manifests(&far).len(), 1);
}

/// The objects, but for what a put has not completed.
fn contents(far: &Path) -> BTreeMap<String, Sha> {
    let objects = files(far).into_iter();
    let objects = objects.filter(|file| !file.rsplit('/').next().unwrap().starts_with('.'));
    objects
        .map(|file| {
            let bytes = fs::read(far.join(&file)).unwrap();
            let sum = Sha256::digest(bytes).into();
            (file, sum)
        })
        .collect()
}

type Sha = [u8; 32];

/// Every manifest is a complete one.
fn assert_complete(far: &Path) {
    for manifest in manifests(far) {
        for file in manifest["files"].as_array().unwrap() {
            for volume in file["volumes"].as_array().unwrap() {
                let path = far.join(volume["key"].as_str().unwrap());
                let length = fs::metadata(&path).unwrap().len();
                assert_eq!(volume["bytes"], length, "{}", path.display());
            }
        }
    }
}

/// As if nothing had ever been copied.
fn start_over(operator: &Operator, far: &Path) {
    fs::remove_dir_all(far).unwrap();
    fs::create_dir(far).unwrap();
    fs::remove_dir_all(operator.path("state")).unwrap();
}

/// What was sent before a kill is not sent again, under the same key; for other recipients, all of it is.
#[test]
fn a_copy_is_gone_on_with_under_its_key_and_begun_again_for_other_recipients() {
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    let (far, identity) = encrypted(&mut operator);
    // The text for people, and two volumes.
    let sent = kill_at(&mut operator, &far, 3);
    let report = operator.json(&["copy"]);
    // The key was in the memory of the one that was killed, so that nothing can be opened.
    assert_eq!(report[0]["copies"][0]["state"], "read_back", "{report}");
    let now = files(&far);
    let volumes = |files: &[String]| {
        let volumes = files.iter().filter(|file| file.ends_with(".age"));
        volumes.count()
    };
    assert!(volumes(&sent) > 0, "{sent:?}");
    assert!(
        sent.iter()
            .filter(|file| file.ends_with(".age"))
            .all(|file| now.contains(file))
    );
    // What was in flight is sent again, at most.
    assert!(volumes(&now) <= 6, "{now:?}");
    assert_eq!(manifests(&far).len(), 1);

    start_over(&operator, &far);
    let sent = kill_at(&mut operator, &far, 3);
    fs::remove_file(&identity).unwrap();
    let public = new_identity(&identity);
    operator.set_value("encryption.recipients", vec![public]);
    let report = operator.json(&["copy"]);
    assert_eq!(report[0]["copies"][0]["state"], "opened", "{report}");
    let manifest = manifests(&far).remove(0).to_string();
    let volumes = sent.iter().filter(|file| file.ends_with(".age"));
    for volume in volumes {
        assert!(!manifest.contains(volume), "{volume} is under another key");
    }
}

#[test]
fn a_damaged_backup_is_not_copied_and_those_before_it_are() {
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    let far = plain(&mut operator);
    wait_for_the_next_second();
    let damaged = operator.back_up();
    let path = operator.backups().join(format!("{damaged}.sql.gz"));
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    let output = operator.run(&["copy", "--json"]);
    assert_eq!(output.code, 65, "{output}");
    assert!(output.stderr.contains(&damaged), "{output}");
    assert!(output.stderr.contains("is damaged"), "{output}");
    let report: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(report[0]["failed"][0]["backup"], damaged, "{report}");
    assert_eq!(report[0]["copies"].as_array().unwrap().len(), 1, "{report}");
    assert_eq!(manifests(&far).len(), 1);
}

/// What the destination gives back is what counts, not what it said when it was sent.
#[test]
fn a_destination_that_gives_other_bytes_back_gets_no_manifest() {
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    let far = plain(&mut operator);
    let sent = kill_at(&mut operator, &far, 3);
    let volume = sent.iter().find(|file| file.contains(".json.1-")).unwrap();
    let mut bytes = fs::read(far.join(volume)).unwrap();
    bytes[3] ^= 1;
    fs::write(far.join(volume), bytes).unwrap();
    let output = operator.run(&["copy"]);
    assert_eq!(output.code, 65, "{output}");
    assert!(
        output.stderr.contains("read") && output.stderr.contains("back"),
        "{output}"
    );
    assert_eq!(manifests(&far).len(), 0);
    // The next run begins again, under other names.
    assert_eq!(operator.run(&["copy"]).code, 0);
    assert_complete(&far);
    assert_eq!(manifests(&far).len(), 1);
}

#[test]
fn what_was_sent_and_is_gone_there_is_sent_again() {
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    let far = plain(&mut operator);
    let sent = kill_at(&mut operator, &far, 3);
    let volume = sent.iter().find(|file| file.contains(".json.1-")).unwrap();
    fs::remove_file(far.join(volume)).unwrap();
    // It is missed when it is read back.
    assert_eq!(operator.run(&["copy"]).code, 69);
    assert_eq!(manifests(&far).len(), 0);
    assert_eq!(operator.run(&["copy"]).code, 0);
    assert_complete(&far);
    assert_eq!(manifests(&far).len(), 1);
}

/// A machine whose clock was wrong for a day has such a backup.
#[test]
fn a_backup_that_is_dated_after_now_keeps_no_other_from_being_copied() {
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    let far = plain(&mut operator);
    let ahead = [
        "env",
        "FAKETIME_DONT_FAKE_MONOTONIC=1",
        "faketime",
        "-f",
        "+400d",
    ];
    assert_eq!(operator.run_under(&ahead, &["backup"]).code, 0);
    let output = operator.run(&["copy"]);
    assert_eq!(output.code, 0, "{output}");
    let words = "is not copied: it is dated after now";
    assert!(output.stderr.contains(words), "{output}");
    assert_eq!(manifests(&far).len(), 1);
    assert_eq!(concerns(&operator).len(), 0);
}

#[test]
fn a_destination_that_is_away_or_takes_nothing_is_named_and_nothing_is_lost() {
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    let far = plain(&mut operator);
    operator.set_value("destinations.far.mounted", true);
    let output = operator.run(&["copy"]);
    assert_eq!(output.code, 69, "{output}");
    assert!(output.stderr.contains("mounted"), "{output}");
    operator.unset("destinations.far.mounted");
    fs::remove_dir(&far).unwrap();
    fs::write(&far, "").unwrap();
    let output = operator.run(&["copy"]);
    assert_eq!(output.code, 78, "{output}");
    assert!(output.stderr.contains("far is not a directory"), "{output}");
    let status = operator.json(&["status"]);
    assert!(
        status["databases"][0]["copies"][0]["failure"].is_string(),
        "{status}"
    );
    // It may pass.
    assert_eq!(concerns(&operator), Vec::<String>::new());
    fs::remove_file(&far).unwrap();
    fs::create_dir(&far).unwrap();
    assert_eq!(copied(&operator).len(), 1);
    let status = operator.json(&["status"]);
    assert_eq!(status["databases"][0]["copies"][0]["failure"], Value::Null);
    let output = operator.run(&["copy", "--to", "fra"]);
    assert_eq!(output.code, 64, "{output}");
    assert!(output.stderr.contains("configured are far"), "{output}");
}

/// Encryption fails closed.
#[test]
fn without_a_recipient_nothing_is_ever_sent() {
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    let far = plain(&mut operator);
    operator.unset("destinations.far.plain");
    for recipients in [
        vec![],
        vec!["age1nonsense"],
        vec!["AGE-SECRET-KEY-1QQPQQPQ"],
    ] {
        operator.set_value("encryption.recipients", recipients.clone());
        let output = operator.run(&["copy"]);
        assert_eq!(output.code, 78, "{recipients:?}: {output}");
        assert!(!output.stderr.contains("1QQPQQPQ"), "{output}");
        assert_eq!(files(&far), Vec::<String>::new());
    }
}

/// Retention leaves alone what is being copied, and only that.
#[test]
fn what_is_being_copied_is_not_removed() {
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    let far = plain(&mut operator);
    let first = operator.list().remove(0);
    kill_at(&mut operator, &far, 2);
    operator.set_value("retention.floor", 1);
    operator.set("series.daily.keep", "1 second");
    operator.set_value("destinations.far.retention", false);
    for _ in 0..2 {
        wait_for_the_next_second();
        operator.back_up();
    }
    let output = operator.run(&["prune", "--trust-clock"]);
    assert_eq!(output.code, 0, "{output}");
    let left = operator.list();
    assert!(left.contains(&first), "{left:?}");
    assert_eq!(left.len(), 2, "{left:?}");
    assert_eq!(operator.run(&["copy"]).code, 0);
    assert_eq!(manifests(&far).len(), 2);
    assert_eq!(operator.run(&["prune", "--trust-clock"]).code, 0);
    assert!(!operator.list().contains(&first));
}

/// The daemon copies right after a backup, and a job that copies does so when it is due.
#[test]
fn p4_the_daemon_copies_after_each_backup_or_when_a_job_says_so() {
    let cluster = Cluster::start();
    let mut operator = small_without_backup(&cluster, "app");
    let far = plain(&mut operator);
    only_daily(&mut operator, "UTC", "0 2 * * *");
    // In the past: what lies there is not dated before the store had it.
    let clock = WallClock::at(&operator, "2025-03-05T01:00:00Z");
    let daemon = Daemon::under(&operator, &clock);
    clock.set("2025-03-05T01:59:58Z");
    daemon.wait_for("copy to far of app succeeded (job daily)");
    daemon.end();
    assert_eq!(manifests(&far).len(), operator.list().len());

    operator.set("jobs.offsite.kind", "copy");
    operator.set("jobs.offsite.schedule", "30 2 * * *");
    let daemon = Daemon::under(&operator, &clock);
    clock.set("2025-03-06T01:59:58Z");
    daemon.wait_for("backup of app succeeded (job daily)");
    clock.set("2025-03-06T02:29:58Z");
    daemon.wait_for("copy to far of app succeeded (job offsite)");
    let log = daemon.end().log;
    assert!(
        !log.contains("copy to far of app succeeded (job daily)"),
        "{log}"
    );
    assert_eq!(manifests(&far).len(), operator.list().len());
}

/// A command right after the start of the service knows the key that signs.
#[test]
fn the_key_that_signs_is_noted_before_the_service_is_ready() {
    let mut operator = Operator::without_server("app");
    plain(&mut operator);
    fs::create_dir(operator.path("state")).unwrap();
    let daemon = Daemon::start(&operator);
    assert!(operator.path("state/last-signer.json").exists());
    daemon.end();
}

/// A backup that has no copy for longer than it may is reported, with the reason, and no longer once it has.
#[test]
fn p15_a_copy_that_is_overdue_is_reported_until_it_is_made() {
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    let far = plain(&mut operator);
    operator.set("objectives.copy_age", "1 second");
    wait_for_the_next_second();
    wait_until("it is overdue", || concerns(&operator) == ["copy_overdue"]);
    fs::remove_dir(&far).unwrap();
    fs::write(&far, "").unwrap();
    assert_ne!(operator.run(&["copy"]).code, 0);
    let text = operator.run(&["status"]).stdout;
    assert!(text.contains("no copy at far"), "{text}");
    fs::remove_file(&far).unwrap();
    fs::create_dir(&far).unwrap();
    assert_eq!(copied(&operator).len(), 1);
    assert_eq!(concerns(&operator), Vec::<String>::new());
}

/// Two that copy at once: one does, the other says who it is.
#[test]
fn one_run_copies_to_a_destination_at_a_time() {
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    let far = plain(&mut operator);
    operator.set("destinations.far.rate", "1 KB/s");
    let running = operator.spawn(&["copy"]);
    wait_until("a volume is there", || !files(&far).is_empty());
    let output = operator.run(&["copy"]);
    assert_eq!(output.code, 75, "{output}");
    assert!(output.stderr.contains("a copy by"), "{output}");
    running.signal(Signal::INT);
    let output = running.wait();
    assert!([0, 130].contains(&output.code), "{output}");
}

/// A bucket, with keys and encryption: what arrives is opened there, and the credentials are shown nowhere.
#[test]
fn p4_a_backup_is_copied_to_a_bucket_and_opened_there() {
    let Some(store) = SeaweedFs::start(true) else {
        return;
    };
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    encrypted(&mut operator);
    let secret = operator.path("secret");
    fs::write(&secret, SECRET).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    operator.set("destinations.far.url", format!("s3://{BUCKET}/pg"));
    let endpoint = format!("http://127.0.0.1:{}", store.port());
    operator.set("destinations.far.endpoint", endpoint);
    operator.set("destinations.far.access_key_id", ID);
    operator.set("destinations.far.secret_key_file", secret.display());
    let backup = operator.list().remove(0);
    assert_eq!(copied(&operator), [(backup, "opened".to_owned())]);
    assert_eq!(copied(&operator), []);

    // A key that is no longer valid is named, and nothing is lost.
    wait_for_the_next_second();
    operator.back_up();
    fs::write(&secret, "another").unwrap();
    let output = operator.run(&["-v", "copy"]);
    assert_eq!(output.code, 69, "{output}");
    assert!(!output.stderr.contains(SECRET), "{output}");
    assert!(output.stderr.contains("hint: "), "{output}");
    fs::write(&secret, SECRET).unwrap();
    assert_eq!(copied(&operator).len(), 1);
    let shown = format!(
        "{}{}",
        operator.run(&["config", "show"]),
        operator.run(&["status"])
    );
    assert!(!shown.contains(SECRET), "{shown}");
}
