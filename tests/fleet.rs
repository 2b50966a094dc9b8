//! The states of hosts at a destination: who was heard last when is seen from anywhere, and nobody else can make a
//! host heard.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use age::secrecy::ExposeSecret as _;
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use pgbackupd::config::DestinationSettings;
use pgbackupd::copies::{ConcernCounts, HostStatus, Signer, layout};
use pgbackupd::destination::{Key, Store, open};
use serde_json::Value;

use crate::support::cluster::{Cluster, wait_until};
use crate::support::daemon::{Daemon, only_daily};
use crate::support::destination::files;
use crate::support::json::keys;
use crate::support::operator::{Operator, Output};
use crate::support::restored::small;
use crate::support::stores::{BUCKET, ID, SECRET, SeaweedFs};

/// A host with a database of its own and one copy of it at the destination.
struct Host {
    operator: Operator,
    signer: Signer,
}

/// Configures a destination for an operator.
type Configure<'a> = &'a dyn Fn(&mut Operator);

impl Host {
    fn new(cluster: &Cluster, name: &str, configure: Configure<'_>) -> Self {
        let mut operator = small(cluster, name);
        operator.set("name", name);
        configure(&mut operator);
        let copied = operator.run(&["copy"]);
        assert_eq!(copied.code, 0, "{copied}");
        let signer = Signer::open(&operator.path("state/signer")).unwrap();
        Self { operator, signer }
    }

    /// The key and the bytes of a state of a host that was made at this time and that this one signs.
    fn state(&self, host: &str, made: DateTime<Utc>) -> [(Key, Bytes); 2] {
        let due = made + TimeDelta::days(1);
        let status = HostStatus {
            concerns: Some(ConcernCounts::default()),
            ..HostStatus::new(host, self.signer.fingerprint(), (made, due))
        };
        let bytes = status.to_bytes().unwrap();
        let key = layout::status_at(host, made).unwrap();
        let signature = layout::status_signature(&key).unwrap();
        let signed = self.signer.sign(&bytes).unwrap();
        [(signature, signed.into()), (key, bytes.into())]
    }
}

/// Puts a state as the store of a directory that got it when it was made.
fn put_in_time(far: &Path, objects: [(Key, Bytes); 2], made: DateTime<Utc>) {
    for (key, bytes) in objects {
        let path = far.join(key.as_str());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::from(made)).unwrap();
    }
}

async fn put(store: &dyn Store, objects: [(Key, Bytes); 2]) {
    for (key, bytes) in objects {
        store.put_new(&key, bytes).await.unwrap();
    }
}

/// Runs the service of a host until its state is at the destination.
fn run_service(host: &mut Host, is_there: impl Fn() -> bool) {
    only_daily(&mut host.operator, "UTC", "0 2 * * *");
    let daemon = Daemon::start(&host.operator);
    wait_until("the state of the host", is_there);
    let end = daemon.end();
    assert_eq!(end.code, 0, "{}", end.log);
}

/// A machine with neither configuration nor state.
fn elsewhere() -> Operator {
    let mut operator = Operator::without_server("none");
    operator.unset("database");
    operator
}

/// The hosts in a document, by name.
#[track_caller]
fn hosts(output: &Output, names: &[&str]) -> Vec<Value> {
    let document: Value =
        serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{output}"));
    let hosts = document["hosts"].as_array().unwrap().clone();
    let found: Vec<&str> = hosts
        .iter()
        .map(|host| host["host"].as_str().unwrap())
        .collect();
    assert_eq!(found, names, "{output}");
    hosts
}

/// Each key of these documents is in docs/json.md, and each that is there is in one of them, but for what only a
/// host in trouble reports.
#[track_caller]
fn assert_documented(outputs: &[&Output]) {
    let mut found = BTreeSet::new();
    for output in outputs {
        keys(
            &serde_json::from_str(&output.stdout).unwrap(),
            "",
            &mut found,
        );
    }
    let text = include_str!("../docs/json.md");
    let (_, section) = text.split_once("\n## status with a destination\n").unwrap();
    let lines = section.split("\n## ").next().unwrap().lines();
    let documented: BTreeSet<String> = lines
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(key, _)| key.to_owned())
        .filter(|key| !key.starts_with("hosts[].reported.concerns[]"))
        .collect();
    found.retain(|key| !key.starts_with("hosts[].reported.concerns[]"));
    assert_eq!(found, documented);
}

#[track_caller]
fn assert_fits(output: &Output) {
    for line in output.stdout.lines() {
        assert!(line.chars().count() <= 80, "{line}\n{output}");
    }
}

fn states(far: &Path) -> Vec<String> {
    let files = files(far).into_iter();
    // One that is still being put has another name.
    let is_state = |file: &String| file.contains("/status/") && !file.contains('~');
    files.filter(is_state).collect()
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story, step by step")]
fn of_three_hosts_one_is_silent_and_one_is_forged_and_both_are_seen_from_anywhere() {
    let cluster = Cluster::start();
    let directory = tempfile::tempdir().unwrap();
    let far = directory.path().to_owned();
    let url = format!("file://{}", far.display());
    let identity = age::x25519::Identity::generate();
    let recipient = identity.to_public().to_string();
    let configure = |operator: &mut Operator| {
        operator.set("destinations.far.url", &url);
        operator.set_value("encryption.recipients", vec![recipient.clone()]);
    };
    let mut db1 = Host::new(&cluster, "db1", &configure);
    let db2 = Host::new(&cluster, "db2", &configure);
    let db3 = Host::new(&cluster, "db3", &configure);

    // What the service puts is heard, and what its own key has signed long ago goes.
    let now = Utc::now();
    let long_ago = now - TimeDelta::days(40);
    put_in_time(&far, db1.state("db1", long_ago), long_ago);
    let strange = now - TimeDelta::days(41);
    put_in_time(&far, db3.state("db1", strange), strange);
    let is_tidy = || {
        let key = layout::status_at("db1", long_ago).unwrap();
        let left = states(&far);
        left.len() == 4 && !left.iter().any(|file| file.starts_with(key.as_str()))
    };
    run_service(&mut db1, is_tidy);
    let left = states(&far);
    let is_of = |at: DateTime<Utc>| {
        let key = layout::status_at("db1", at).unwrap();
        left.iter()
            .filter(|file| file.starts_with(key.as_str()))
            .count()
    };
    assert_eq!((is_of(long_ago), is_of(strange)), (0, 2), "{left:?}");
    // One was heard three days ago, and one never: somebody else has signed for it.
    let silent = now - TimeDelta::days(3);
    put_in_time(&far, db2.state("db2", silent), silent);
    put_in_time(&far, db2.state("db3", now), now);

    let elsewhere = elsewhere();
    let signers = [&db1, &db2, &db3].map(|host| host.signer.fingerprint());
    let [one, two, three] = &signers;
    let trusting = ["--signer", one, "--signer", three];
    let look = |more: &[&str]| elsewhere.run(&[&["status", "--from", &url], more].concat());
    let output = look(&[&trusting[..], &["--json"]].concat());
    assert_eq!(output.code, 1, "{output}");
    let found = hosts(&output, &["db1", "db2", "db3"]);
    assert_eq!(
        (&found[0]["ok"], &found[0]["state"]),
        (&true.into(), &"ok".into()),
        "{output}"
    );
    assert!(
        found[0]["heard"].is_string() && found[0]["reported"].is_null(),
        "{output}"
    );
    assert_eq!(found[0]["copies"][0]["database"], "db1", "{output}");
    // The second one is not trusted, and so what it has signed is not heard.
    assert_eq!(found[1]["state"], "not heard", "{output}");
    assert_eq!(
        found[1]["refused"]["unknown_signer"],
        two.as_str(),
        "{output}"
    );
    assert_eq!(found[2]["heard"], Value::Null, "{output}");
    assert_eq!(
        found[2]["refused"]["unknown_signer"],
        two.as_str(),
        "{output}"
    );
    assert!(found[2]["copies"][0]["backup"].is_string(), "{output}");

    let all = [&trusting[..], &["--signer", two]].concat();
    let output = look(&all);
    assert_eq!(output.code, 1, "{output}");
    assert_fits(&output);
    assert!(output.stdout.contains("silent for 3 days"), "{output}");
    assert!(
        output
            .stdout
            .contains("encrypted: --identity FILE opens it"),
        "{output}"
    );

    // The address alone: everybody is shown, and nobody is heard.
    let output = look(&[]);
    assert_eq!(output.code, 1, "{output}");
    assert_fits(&output);
    assert!(output.stdout.contains("3 hosts at file://"), "{output}");
    assert!(output.stdout.contains("unknown signers"), "{output}");
    for host in hosts(&look(&["--json"]), &["db1", "db2", "db3"]) {
        assert_eq!(
            (&host["heard"], &host["ok"]),
            (&Value::Null, &false.into()),
            "{host}"
        );
    }

    // With the identity, what the host has reported is read.
    let key = elsewhere.path("key.txt");
    fs::write(&key, identity.to_string().expose_secret()).unwrap();
    let opened = [
        "--host",
        "db1",
        "--identity",
        key.to_str().unwrap(),
        "--json",
    ];
    let output = look(&[&all[..], &opened].concat());
    let reported = hosts(&output, &["db1"])[0]["reported"].clone();
    assert_eq!(reported["version"], env!("CARGO_PKG_VERSION"), "{output}");
    assert_eq!(reported["databases"][0]["database"], "db1", "{output}");

    let everything = look(
        &[
            &trusting[..],
            &["--identity", key.to_str().unwrap(), "--json"],
        ]
        .concat(),
    );
    assert_documented(&[&everything]);

    // By its name in the configuration, the host trusts itself.
    let output = db1.operator.run(&["status", "--from", "far", "--json"]);
    let found = hosts(&output, &["db1", "db2", "db3"]);
    assert!(
        found[0]["ok"] == true && found[1]["ok"] == false,
        "{output}"
    );

    // A state of tomorrow, and an old one that is put again, are not heard.
    let tomorrow = now + TimeDelta::days(1);
    put_in_time(&far, db2.state("db2", tomorrow), now);
    let output = look(&[&all[..], &["--host", "db2", "--json"]].concat());
    let found = hosts(&output, &["db2"]);
    assert_eq!(found[0]["state"], "silent for 3 days", "{output}");
    let refused = found[0]["refused"]["reason"].as_str().unwrap();
    assert!(refused.contains("clock is wrong"), "{output}");
    let none = look(&[&all[..], &["--host", "db9"]].concat());
    assert_eq!(none.code, 69, "{none}");
    assert!(none.stderr.contains("hint: "), "{none}");
}

/// Nothing but numbers is in the clear where copies are.
#[test]
fn a_plain_destination_gets_no_names_and_no_messages() {
    let cluster = Cluster::start();
    let directory = tempfile::tempdir().unwrap();
    let far = directory.path().to_owned();
    let url = format!("file://{}", far.display());
    let configure = |operator: &mut Operator| {
        operator.set("destinations.far.url", &url);
        operator.set_value("destinations.far.plain", true);
    };
    let mut db1 = Host::new(&cluster, "db1", &configure);
    // Something needs attention.
    db1.operator.set("limits.free_space", "900 TB");
    run_service(&mut db1, || states(&far).len() == 2);
    let state = states(&far).remove(0);
    let text = fs::read_to_string(far.join(state)).unwrap();
    let state: Value = serde_json::from_str(&text).unwrap();
    let keys: Vec<&String> = state.as_object().unwrap().keys().collect();
    let expected = [
        "concerns", "document", "format", "host", "made", "next_due", "signer",
    ];
    assert_eq!(keys, expected, "{text}");
    assert!(
        state["concerns"]["warning"].as_u64().unwrap() >= 1,
        "{text}"
    );
    let output = db1.operator.run(&["status", "--from", "far", "--json"]);
    assert_eq!(output.code, 1, "{output}");
    let host = &hosts(&output, &["db1"])[0];
    assert_eq!(host["state"], "needs attention", "{output}");
    assert_eq!(host["warnings"], state["concerns"]["warning"], "{output}");
}

#[test]
fn a_destination_that_takes_no_state_delays_nothing_and_is_shown() {
    let cluster = Cluster::start();
    let directory = tempfile::tempdir().unwrap();
    let far = directory.path().to_owned();
    let url = format!("file://{}", far.display());
    let configure = |operator: &mut Operator| {
        operator.set("destinations.far.url", &url);
        operator.set_value("destinations.far.plain", true);
    };
    let mut db1 = Host::new(&cluster, "db1", &configure);
    // A file is where the states should go.
    fs::write(far.join("v1/db1/status"), "").unwrap();
    only_daily(&mut db1.operator, "UTC", "0 2 * * *");
    let daemon = Daemon::start(&db1.operator);
    daemon.wait_for("the state of this host could not be put at far");
    let status = db1.operator.run(&["status"]);
    assert!(
        status
            .stdout
            .contains("the state of this host could not be put"),
        "{status}"
    );
    db1.operator.back_up();
    assert_eq!(db1.operator.run(&["copy"]).code, 0);
    let end = daemon.end();
    assert_eq!(end.code, 0, "{}", end.log);
}

/// The store of the bucket, as the hosts reach it.
fn bucket(port: u16) -> Arc<dyn Store> {
    let variables = [
        ("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{port}")),
        ("AWS_ACCESS_KEY_ID", ID.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
    ];
    let variables = variables
        .map(|(name, value)| (name.to_owned(), value))
        .into();
    let url = format!("s3://{BUCKET}/fleet");
    let settings = DestinationSettings::of_url(&url, &variables).unwrap();
    open(&settings, &variables).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_put_their_states_to_a_bucket_and_an_old_one_put_again_is_not_heard() {
    let Some(server) = SeaweedFs::start(true) else {
        return;
    };
    let cluster = Cluster::start();
    let endpoint = format!("http://127.0.0.1:{}", server.port());
    let url = format!("s3://{BUCKET}/fleet");
    let configure = |operator: &mut Operator| {
        let secret: PathBuf = operator.path("secret");
        fs::write(&secret, SECRET).unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        operator.set("destinations.far.url", &url);
        operator.set("destinations.far.endpoint", &endpoint);
        operator.set("destinations.far.access_key_id", ID);
        operator.set("destinations.far.secret_key_file", secret.display());
        operator.set_value("destinations.far.plain", true);
    };
    let mut db1 = Host::new(&cluster, "db1", &configure);
    let db2 = Host::new(&cluster, "db2", &configure);
    let db3 = Host::new(&cluster, "db3", &configure);
    let store = bucket(server.port());
    only_daily(&mut db1.operator, "UTC", "0 2 * * *");
    let daemon = Daemon::start(&db1.operator);
    let folder = layout::status("db1").unwrap();
    while store.list(&folder).await.unwrap().len() < 2 {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    assert_eq!(daemon.end().code, 0);
    let now = Utc::now();
    put(&*store, db2.state("db2", now - TimeDelta::days(3))).await;
    put(&*store, db2.state("db3", now)).await;

    let mut elsewhere = elsewhere();
    elsewhere.set_variable("AWS_ENDPOINT_URL", &endpoint);
    elsewhere.set_variable("AWS_ACCESS_KEY_ID", ID);
    elsewhere.set_variable("AWS_SECRET_ACCESS_KEY", SECRET);
    let signers = [&db1, &db2, &db3].map(|host| host.signer.fingerprint());
    let [one, two, three] = &signers;
    let options = [
        "--signer", one, "--signer", three, "--signer", two, "--json",
    ];
    let output = elsewhere.run(&[&["status", "--from", &url], &options[..]].concat());
    assert_eq!(output.code, 1, "{output}");
    let found = hosts(&output, &["db1", "db2", "db3"]);
    assert_eq!(found[0]["ok"], true, "{output}");
    assert_eq!(found[1]["heard"], Value::Null, "{output}");
    let refused = found[1]["refused"]["reason"].as_str().unwrap();
    assert!(refused.contains("put an old one again"), "{output}");
    // A key that is trusted signs for any host: by fingerprint, no host is named.
    assert_eq!(found[2]["ok"], true, "{output}");
    let only = ["--signer", one, "--signer", three, "--json"];
    let output = elsewhere.run(&[&["status", "--from", &url], &only[..]].concat());
    let found = hosts(&output, &["db1", "db2", "db3"]);
    assert_eq!(found[2]["state"], "not heard", "{output}");
}
