//! A bucket read as it was at a time: whatever an attacker with the store's key does afterwards, the backups of
//! before come back, and nothing that was put since counts.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use pgbackupd::copies::Signer;
use serde_json::Value;

use crate::support::cluster::Cluster;
use crate::support::destination::plain_destination;
use crate::support::operator::Operator;
use crate::support::restored::{small, value};
use crate::support::stores::{BUCKET, ID, SECRET, SeaweedFs};

/// The bucket of these tests.
const LOCKED: &str = "locked";

/// A database whose backup is at a bucket, without encryption.
fn with_a_copy(cluster: &Cluster, store: &SeaweedFs, bucket: &str) -> Operator {
    let mut operator = small(cluster, bucket);
    let secret = operator.path("secret");
    fs::write(&secret, SECRET).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    operator.set("name", "db1");
    operator.set("destinations.far.url", format!("s3://{bucket}/pg"));
    let endpoint = format!("http://127.0.0.1:{}", store.port());
    operator.set("destinations.far.endpoint", endpoint);
    operator.set("destinations.far.access_key_id", ID);
    operator.set("destinations.far.secret_key_file", secret.display());
    operator.set_value("destinations.far.plain", true);
    let output = operator.run(&["copy"]);
    assert_eq!(output.code, 0, "{output}");
    operator
}

/// A moment after all that was put, and before all that is put from now on: stores count in seconds.
fn between() -> String {
    std::thread::sleep(Duration::from_millis(1100));
    let now = Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true);
    std::thread::sleep(Duration::from_millis(1100));
    now
}

fn copies(listed: &Value) -> Vec<&Value> {
    listed[0]["copies"].as_array().unwrap().iter().collect()
}

fn is_manifest(key: &str) -> bool {
    key.rsplit_once('.').is_some_and(|(_, end)| end == "json")
}

/// What an attacker does who has the store's key, and another signing key.
struct Attacker<'a> {
    store: &'a SeaweedFs,
    bucket: &'a str,
    signer: Signer,
}

impl Attacker<'_> {
    fn path(&self, key: &str) -> String {
        format!("/{}/{}", self.bucket, key.replace('=', "%3D"))
    }

    fn put(&self, key: &str, body: &[u8]) {
        let answer = self.store.ask(("PUT", &self.path(key)), &[], body);
        assert_eq!(answer.status, 200, "{}", answer.body);
    }

    fn get(&self, key: &str) -> Vec<u8> {
        let answer = self.store.ask(("GET", &self.path(key)), &[], b"");
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.bytes
    }

    fn delete(&self, key: &str) {
        let answer = self.store.ask(("DELETE", &self.path(key)), &[], b"");
        assert_eq!(answer.status, 204, "{}", answer.body);
    }

    /// Puts a manifest with the attacker's signature, under a name of its own.
    fn forge(&self, key: &str, manifest: &Value) {
        let attempt = manifest["try"].as_str().unwrap();
        let (stem, _) = key.strip_suffix(".json").unwrap().rsplit_once('.').unwrap();
        let key = format!("{stem}.{attempt}.json");
        let bytes = serde_json::to_vec(manifest).unwrap();
        let signature = self.signer.sign(&bytes).unwrap();
        self.put(&format!("{key}.sig"), signature.as_bytes());
        self.put(&key, &bytes);
    }

    /// The lock is what keeps the versions; marks that something was removed are not locked.
    #[track_caller]
    fn cannot_remove_versions(&self) {
        for (key, version, is_mark) in self.store.versions(self.bucket, "pg/v1/db1/main/") {
            let path = format!("{}?versionId={version}", self.path(&key));
            let removed = self.store.ask(("DELETE", &path), &[], b"");
            assert_eq!(
                removed.status,
                if is_mark { 204 } else { 403 },
                "{key} {version}"
            );
        }
    }

    /// Overwrites, deletes, forges and replays.
    fn attack(&self) {
        let keys: BTreeMap<String, Vec<u8>> = self
            .store
            .versions(self.bucket, "pg/v1/db1/")
            .into_iter()
            .map(|(key, _, _)| (key.clone(), self.get(&key)))
            .collect();
        let manifest_key = keys.keys().find(|key| is_manifest(key)).unwrap();
        let manifest = keys[manifest_key].clone();
        for (number, (key, body)) in keys.iter().enumerate() {
            if number % 2 == 0 {
                // Of the same length, so that a listing shows nothing.
                self.put(key, &vec![b'x'; body.len()]);
            } else {
                self.delete(key);
            }
        }
        self.delete(manifest_key);
        let mut forged: Value = serde_json::from_slice(&manifest).unwrap();
        forged["signer"] = self.signer.fingerprint().into();
        forged["try"] = "01900000-0000-7000-8000-00000000000f".into();
        self.forge(manifest_key, &forged);
        let tomorrow = Utc::now() + TimeDelta::days(1);
        forged["made"] = tomorrow.to_rfc3339_opts(SecondsFormat::Secs, true).into();
        forged["try"] = "01900000-0000-7000-8000-00000000000e".into();
        self.forge(manifest_key, &forged);
        // Replayed, so that it is the newest version; its volumes are others now.
        self.put(manifest_key, &manifest);
    }
}

#[test]
fn p4_after_an_attack_with_the_store_s_key_the_backup_of_before_comes_back() {
    let Some(store) = SeaweedFs::start(true) else {
        return;
    };
    store.make_locked_bucket(LOCKED);
    let cluster = Cluster::start();
    let before_all = between();
    let operator = with_a_copy(&cluster, &store, LOCKED);
    let before = between();
    let signer = Signer::open_or_create(&operator.path("attacker")).unwrap();
    let attacker = Attacker {
        store: &store,
        bucket: LOCKED,
        signer,
    };
    attacker.attack();

    // What lies there now is of no use.
    let now = operator.run(&["fetch", "--latest", "--from", "far", "--to", "/nowhere"]);
    assert_ne!(now.code, 0, "{now}");

    let as_of = |words: &[&str], at: &str| operator.run(&[words, &["--as-of", at]].concat());
    let listed = operator.json(&["list", "--from", "far", "--as-of", &before]);
    assert_eq!(copies(&listed).len(), 1, "{listed}");
    assert_eq!(copies(&listed)[0]["missing_volumes"], 0, "{listed}");
    assert_eq!(
        listed[0]["unexpected"].as_array().unwrap().len(),
        0,
        "{listed}"
    );
    let shown = as_of(&["list", "--from", "far"], &before);
    assert!(shown.stdout.contains("at far as of 20"), "{shown}");
    let verified = as_of(&["verify", "--from", "far"], &before);
    assert_eq!(verified.code, 0, "{verified}");
    assert!(verified.stderr.contains("--as-of is read as"), "{verified}");

    let to = operator.path("to");
    let there = to.to_str().unwrap();
    let fetch = ["fetch", "--latest", "--from", "far", "--to", there];
    let fetched = as_of(&fetch, &before);
    assert_eq!(fetched.code, 0, "{fetched}");
    assert!(fetched.stderr.contains("as of 20"), "{fetched}");
    for artifact in operator.artifacts() {
        let here = fs::read(operator.backups().join(&artifact)).unwrap();
        assert_eq!(fs::read(to.join(&artifact)).unwrap(), here, "{artifact}");
    }
    let restore = ["restore", "--latest", "--from", "far", "--into", "again"];
    let restored = as_of(&restore, &before);
    assert_eq!(restored.code, 0, "{restored}");
    assert_eq!(value(&cluster, "again"), "as backed up");

    // Before it was made there is nothing, and nothing is known of the future.
    let early = as_of(&fetch, &before_all);
    assert_eq!(early.code, 69, "{early}");
    assert!(
        early.stderr.contains("give another time by --as-of"),
        "{early}"
    );
    let late = as_of(&fetch, "2999-01-01");
    assert_eq!(late.code, 64, "{late}");
    assert!(late.stderr.contains("in the future"), "{late}");

    attacker.cannot_remove_versions();
}

#[test]
fn a_version_behind_a_thousand_others_is_found() {
    let Some(store) = SeaweedFs::start(true) else {
        return;
    };
    store.make_versioned_bucket("versioned");
    let cluster = Cluster::start();
    let operator = with_a_copy(&cluster, &store, "versioned");
    let before = between();
    let all = store.versions("versioned", "pg/v1/db1/main/");
    let (manifest, ..) = all.iter().find(|(key, ..)| is_manifest(key)).unwrap();
    let (volume, ..) = all.iter().find(|(key, ..)| !key.contains(".json")).unwrap();
    for number in 0..550 {
        for key in [manifest, volume] {
            let body = format!("{number}");
            let path = format!("/versioned/{}", key.replace('=', "%3D"));
            let answer = store.ask(("PUT", &path), &[], body.as_bytes());
            assert_eq!(answer.status, 200, "{}", answer.body);
        }
    }
    let to = operator.path("to");
    let to = to.to_str().unwrap();
    let words = ["fetch", "--latest", "--from", "far", "--to", to];
    assert_ne!(operator.run(&words).code, 0);
    let fetched = operator.run(&[&words[..], &["--as-of", &before]].concat());
    assert_eq!(fetched.code, 0, "{fetched}");
    // A time without a zone is one of the schedule's.
    operator_in_another_zone(operator, &before, to);
}

/// The same time, written in the zone of a schedule.
fn operator_in_another_zone(mut operator: Operator, before: &str, to: &str) {
    operator.set("timezone", "Asia/Riyadh");
    let at: DateTime<Utc> = before.parse().unwrap();
    let local = (at + TimeDelta::hours(3))
        .format("%Y-%m-%d %H:%M:%S")
        .to_string();
    let words = [
        "fetch", "--latest", "--from", "far", "--to", to, "--as-of", &local,
    ];
    let output = operator.run(&words);
    assert_eq!(output.code, 0, "{output}");
    assert!(output.stderr.contains("(Asia/Riyadh)"), "{output}");
}

#[test]
fn what_keeps_no_versions_cannot_be_read_as_it_was() {
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    plain_destination(&mut operator);
    let words = ["list", "--from", "far", "--as-of", "2020-01-01"];
    let directory = operator.run(&words);
    assert_eq!(directory.code, 78, "{directory}");
    assert!(
        directory.stderr.contains("keeps no versions"),
        "{directory}"
    );

    let Some(store) = SeaweedFs::start(true) else {
        return;
    };
    let operator = with_a_copy(&cluster, &store, BUCKET);
    let bucket = operator.run(&words);
    assert_eq!(bucket.code, 78, "{bucket}");
    assert!(bucket.stderr.contains("put-bucket-versioning"), "{bucket}");
}
