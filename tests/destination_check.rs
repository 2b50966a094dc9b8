//! `check destination` against real stores: what a key may do there, and what keeps copies out of its reach.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use chrono::{SecondsFormat, Utc};
use serde_json::{Value, json};

use crate::support::cluster::Cluster;
use crate::support::destination::{files, plain_destination};
use crate::support::operator::{Operator, Output};
use crate::support::restored::small;
use crate::support::sftp::SftpServer;
use crate::support::stores::{BUCKET, ID, Lie, LyingProxy, SECRET, SeaweedFs};

/// Configures a bucket behind a port as `far`.
fn configure(operator: &mut Operator, port: u16, bucket: &str, (id, secret): (&str, &str)) {
    let file = operator.path("secret");
    fs::write(&file, secret).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    operator.set("name", "db1");
    operator.set("destinations.far.url", format!("s3://{bucket}/pg"));
    operator.set(
        "destinations.far.endpoint",
        format!("http://127.0.0.1:{port}"),
    );
    operator.set("destinations.far.access_key_id", id);
    operator.set("destinations.far.secret_key_file", file.display());
    operator.set_value("destinations.far.plain", true);
}

fn check(operator: &Operator) -> Output {
    operator.run(&["check", "destination", "far"])
}

/// The document of a check, with the results by what was checked, and what holds.
fn document(operator: &Operator, code: i32) -> (Value, BTreeMap<String, String>) {
    let output = operator.run(&["check", "destination", "far", "--json"]);
    assert_eq!(output.code, code, "{output}");
    let document: Value = serde_json::from_str(&output.stdout).unwrap();
    let checks = document["checks"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut found: BTreeMap<String, String> = checks
        .map(|one| (text(&one["check"]), text(&one["result"])))
        .collect();
    let reach = document["reach"].as_array().unwrap().iter();
    found.extend(reach.map(|one| (format!("by {}", text(&one["kind"])), text(&one["holds"]))));
    (document, found)
}

#[track_caller]
fn assert_found(found: &BTreeMap<String, String>, expected: &[(&str, &str)]) {
    for (name, result) in expected {
        assert_eq!(
            found.get(*name).map(String::as_str),
            Some(*result),
            "{name}: {found:?}"
        );
    }
}

/// No line is wider than a terminal.
#[track_caller]
fn assert_narrow(output: &Output) {
    let widest = output.stdout.lines().map(|line| line.chars().count()).max();
    assert!(widest.unwrap() <= 80, "{output}");
}

#[test]
fn a_key_that_may_do_everything_is_within_reach_and_leaves_nothing() {
    let Some(store) = SeaweedFs::start(true) else {
        return;
    };
    let mut operator = Operator::without_server("app");
    configure(&mut operator, store.port(), BUCKET, (ID, SECRET));
    for _ in 0..2 {
        let (document, found) = document(&operator, 1);
        assert_found(
            &found,
            &[
                ("put", "works"),
                ("create_only", "kept"),
                ("read", "works"),
                ("list", "works"),
                ("replace", "possible"),
                ("delete", "possible"),
                ("versioning", "off"),
                ("object_lock", "none"),
                ("lifecycle", "none"),
                ("clock", "agrees"),
                ("by object_lock", "no"),
                ("by versions", "no"),
                ("by create_only_policy", "no"),
            ],
        );
        assert_eq!(document["verdict"], "attention");
        assert_eq!(document["probes_left"], 0);
        assert_eq!(store.versions(BUCKET, "pg/"), []);
    }
    let output = check(&operator);
    assert_eq!(output.code, 1, "{output}");
    assert_narrow(&output);
    assert!(output.stdout.contains("s3:if-none-match"), "{output}");
    let accepted = ["check", "destination", "far", "--accept-within-reach"];
    assert_eq!(operator.run(&accepted).code, 0);
    // A host that has only been checked has nothing there.
    let listed = operator.run(&["list", "--from", "far"]);
    assert!(listed.stderr.contains("no copies"), "{listed}");
}

#[test]
fn versions_count_only_if_the_key_cannot_remove_them_and_none_is_left() {
    let Some(store) = SeaweedFs::start(true) else {
        return;
    };
    store.make_versioned_bucket("versioned");
    let rule = "<LifecycleConfiguration><Rule><ID>a</ID><Status>Enabled</Status><Filter><Prefix>pg/</Prefix>\
                </Filter><NoncurrentVersionExpiration><NoncurrentDays>5</NoncurrentDays>\
                </NoncurrentVersionExpiration></Rule></LifecycleConfiguration>";
    let set = store.ask(("PUT", "/versioned?lifecycle="), &[], rule.as_bytes());
    assert_eq!(set.status, 200, "{}", set.body);
    let mut operator = Operator::without_server("app");
    configure(&mut operator, store.port(), "versioned", (ID, SECRET));
    let (document, found) = document(&operator, 1);
    assert_found(
        &found,
        &[
            ("versioning", "on"),
            ("replace", "possible"),
            ("delete", "possible"),
            ("delete_versions", "possible"),
            ("lifecycle", "set"),
            ("by versions", "no"),
        ],
    );
    assert_eq!(document["probes_left"], 0);
    assert_eq!(store.versions("versioned", "pg/"), []);
}

#[test]
fn with_the_policy_of_the_package_copies_are_out_of_reach_and_are_still_made() {
    let policy = include_str!("../packaging/destinations/seaweedfs-identities.json")
        .replace("READER_ACCESS_KEY", "READER")
        .replace("READER_SECRET_KEY", "readerreader")
        .replace("ACCESS_KEY", "HOST")
        .replace("SECRET_KEY", "hosthost")
        .replace("pgbackupd-HOST", "pgbackupd-db1")
        .replace("v1/HOST/", "v1/db1/")
        .replace("BUCKET", "locked")
        .replace("PREFIX", "pg");
    let policy: Value = serde_json::from_str(&policy).unwrap();
    let Some(store) = SeaweedFs::start_with(true, &policy) else {
        return;
    };
    store.make_locked_bucket("locked");
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    configure(&mut operator, store.port(), "locked", ("HOST", "hosthost"));
    // The lock of a day is shorter than any rule of weeks.
    operator.set_value("destinations.far.retention.daily.keep", "1 day");
    operator.set_value("destinations.far.series", vec!["daily"]);
    let mut left = None;
    for _ in 0..3 {
        let (document, found) = document(&operator, 0);
        assert_found(
            &found,
            &[
                ("put", "works"),
                ("create_only", "kept"),
                // SeaweedFS has no condition that forbids it.
                ("replace", "possible"),
                ("delete", "refused"),
                ("delete_versions", "refused"),
                ("versioning", "on"),
                ("object_lock", "COMPLIANCE"),
                ("by object_lock", "yes"),
                ("by versions", "yes"),
                ("by create_only_policy", "no"),
            ],
        );
        assert_eq!(document["probes_left"], 1);
        let versions = store.versions("locked", "pg/");
        assert_eq!(versions.len(), 1, "{versions:?}");
        assert_eq!(left.get_or_insert(versions.clone()), &versions);
    }
    assert_narrow(&check(&operator));
    operator.unset("destinations.far.series");
    let copied = operator.run(&["copy"]);
    assert_eq!(copied.code, 0, "{copied}");
    // Stores count in seconds.
    std::thread::sleep(Duration::from_millis(1100));
    let before = Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true);
    std::thread::sleep(Duration::from_millis(1100));

    destroys_nothing(&store, ("HOST", "hosthost"));
    read_with_another_key(&mut operator, store.port(), &before);
}

/// With the host's key nothing can be destroyed.
#[track_caller]
fn destroys_nothing(store: &SeaweedFs, host: (&str, &str)) {
    for (key, version, _) in store.versions("locked", "pg/v1/db1/") {
        let path = format!("/locked/{}", key.replace('=', "%3D"));
        let removed = store.ask_as(host, (("DELETE", &path), &[]), b"");
        assert_eq!(removed.status, 403, "{key}: {}", removed.body);
        let of_version = format!("{path}?versionId={version}");
        let removed = store.ask_as(host, (("DELETE", &of_version), &[]), b"");
        assert_eq!(removed.status, 403, "{key}: {}", removed.body);
        // What is put over it leaves it there.
        let put = store.ask_as(host, (("PUT", &path), &[]), b"other");
        assert_eq!(put.status, 200, "{key}: {}", put.body);
        let old = store.ask(("GET", &of_version), &[], b"");
        assert_eq!(old.status, 200, "{key}");
        assert_ne!(old.body, "other", "{key}");
    }
    for settings in ["versioning=", "lifecycle=", "object-lock=", "policy="] {
        let path = format!("/locked?{settings}");
        let put = store.ask_as(host, (("PUT", &path), &[]), b"<x/>");
        assert_eq!(put.status, 403, "{settings}: {}", put.body);
    }
    let elsewhere = store.ask_as(host, (("PUT", "/locked/pg/v1/db2/x"), &[]), b"x");
    assert_eq!(elsewhere.status, 403, "{}", elsewhere.body);
}

/// The host's key cannot read what was overwritten, and the permission that it lacks is named; the reader's can.
fn read_with_another_key(operator: &mut Operator, port: u16, before: &str) {
    let words = ["list", "--from", "far", "--as-of", before];
    let refused = operator.run(&words);
    assert_eq!(refused.code, 69, "{refused}");
    for permission in ["s3:ListBucketVersions", "s3:GetObjectVersion"] {
        assert!(refused.stderr.contains(permission), "{refused}");
    }
    configure(operator, port, "locked", ("READER", "readerreader"));
    let copies = |words: &[&str]| operator.json(words)[0]["copies"].as_array().unwrap().len();
    assert_eq!(copies(&words[..3]), 0);
    assert_eq!(copies(&words), 1);
}

#[test]
fn a_destination_that_cannot_be_used_is_reported_with_its_cause() {
    let Some(store) = SeaweedFs::start(true) else {
        return;
    };
    let mut operator = Operator::without_server("app");
    configure(&mut operator, store.port(), BUCKET, (ID, "another secret"));
    let output = check(&operator);
    assert_eq!(output.code, 69, "{output}");
    assert!(output.stderr.contains("hint: "), "{output}");

    configure(&mut operator, store.port(), "nowhere", (ID, SECRET));
    let output = check(&operator);
    assert_eq!(output.code, 69, "{output}");
    assert!(output.stderr.contains("NoSuchBucket"), "{output}");

    let proxy = LyingProxy::before(store.port());
    configure(&mut operator, proxy.port(), BUCKET, (ID, SECRET));
    proxy.always(Some(Lie::Refuse(403, "AccessDenied")));
    let output = check(&operator);
    assert_eq!(output.code, 69, "{output}");
    assert!(output.stdout.contains("REFUSED"), "{output}");

    let unknown = operator.run(&["check", "destination", "near"]);
    assert_eq!(unknown.code, 64, "{unknown}");
    assert!(unknown.stderr.contains("configured are far"), "{unknown}");
    let wrong = operator.run(&["check", "destination", "ftp://host/x"]);
    assert_eq!(wrong.code, 64, "{wrong}");
}

#[test]
fn a_store_that_ignores_conditions_or_has_another_time_is_found_out() {
    let Some(store) = SeaweedFs::start(false) else {
        return;
    };
    let proxy = LyingProxy::before(store.port());
    let mut operator = Operator::without_server("app");
    configure(&mut operator, proxy.port(), BUCKET, (ID, SECRET));
    proxy.always(Some(Lie::Unconditional));
    let (_, found) = document(&operator, 1);
    assert_found(&found, &[("create_only", "ignored"), ("put", "works")]);
    proxy.always(None);
    let late = Utc::now() - chrono::TimeDelta::hours(1);
    proxy.say_date(late.to_rfc2822().replace("+0000", "GMT"));
    let output = check(&operator);
    assert_eq!(output.code, 1, "{output}");
    assert!(output.stdout.contains("BEHIND"), "{output}");
    assert_narrow(&output);
}

#[test]
fn a_clock_that_is_off_is_a_problem_that_status_reports() {
    let Some(store) = SeaweedFs::start(false) else {
        return;
    };
    let proxy = LyingProxy::before(store.port());
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    configure(&mut operator, proxy.port(), BUCKET, (ID, SECRET));
    assert_eq!(operator.run(&["copy"]).code, 0);
    let kinds = |operator: &Operator| {
        let output = operator.run(&["status", "--json"]);
        let status: Value = serde_json::from_str(&output.stdout).unwrap();
        let all = status["attention"].as_array().unwrap().iter();
        all.map(|one| one["kind"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert!(!kinds(&operator).contains(&"clock_off".to_owned()));
    let late = Utc::now() - chrono::TimeDelta::hours(1);
    proxy.say_date(late.to_rfc2822().replace("+0000", "GMT"));
    assert_eq!(operator.run(&["copy"]).code, 69);
    let kinds = kinds(&operator);
    assert!(kinds.contains(&"clock_off".to_owned()), "{kinds:?}");
}

#[test]
fn a_directory_on_the_disk_of_the_backups_needs_attention_whatever_is_accepted() {
    let mut operator = Operator::without_server("app");
    let far = plain_destination(&mut operator);
    let (document, found) = document(&operator, 1);
    assert_found(
        &found,
        &[
            ("put", "works"),
            ("create_only", "kept"),
            ("read", "works"),
            ("list", "works"),
            ("delete", "possible"),
            ("sync", "works"),
            ("device", "the backups'"),
        ],
    );
    assert_eq!(document["out_of_reach"], false);
    assert_eq!(files(&far), [""; 0]);
    let output = operator.run(&["check", "destination", "far", "--accept-within-reach"]);
    assert_eq!(output.code, 1, "{output}");
    assert_narrow(&output);

    // One that is not mounted is refused before anything is written.
    operator.set_value("destinations.far.mounted", true);
    let output = check(&operator);
    assert_eq!(output.code, 69, "{output}");
    assert_eq!(files(&far), [""; 0]);
}

/// Configures an SFTP server as `far`.
fn configure_sftp(operator: &mut Operator, server: &SftpServer) {
    let url = server.url(&server.root().display().to_string());
    operator.set("name", "db1");
    operator.set("destinations.far.url", url);
    operator.set(
        "destinations.far.identity_file",
        server.file("client").display(),
    );
    operator.set(
        "destinations.far.known_hosts_file",
        server.file("known_hosts").display(),
    );
    operator.set_value("destinations.far.plain", true);
}

#[test]
fn what_an_sftp_server_refuses_is_said_in_its_own_words_with_the_way_out() {
    for (refused, code, said) in [
        ("remove", 1, "the server has to"),
        ("opendir", 69, "no copy can be found: the server says"),
        (
            "stat",
            69,
            "cannot be looked at: the server says \"Permission denied\"",
        ),
        (
            "lstat",
            69,
            "no copy can be made: each put begins with a look",
        ),
        (
            "mkdir",
            69,
            "no copy can be made: the directory v1 cannot be made",
        ),
    ] {
        let lines = format!("Subsystem sftp internal-sftp -P {refused}");
        let Some(server) = SftpServer::with(&lines) else {
            return;
        };
        let mut operator = Operator::without_server("app");
        configure_sftp(&mut operator, &server);
        let output = check(&operator);
        assert_eq!(output.code, code, "{refused}: {output}");
        let printed = format!("{} {}", output.words(), output.stderr);
        assert!(printed.contains(said), "{refused}: {output}");
        assert!(!printed.contains("lifecycle"), "{refused}: {output}");
        assert!(!printed.contains("earlier checks"), "{refused}: {output}");
        if code == 69 {
            assert!(printed.contains("hint: let the account own"), "{output}");
        }
    }
}

#[test]
fn a_server_that_refuses_to_list_is_reported_by_the_first_copy_already() {
    let lines = "Subsystem sftp internal-sftp -P opendir";
    let Some(server) = SftpServer::with(lines) else {
        return;
    };
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    configure_sftp(&mut operator, &server);
    let first = operator.run(&["copy"]);
    assert_eq!(first.code, 0, "{first}");
    let said = "the copies at far cannot be found again, and further runs fail: cannot list ";
    assert!(first.stderr.contains(said), "{first}");
    assert_eq!(operator.run(&["copy"]).code, 69);
}

#[test]
fn every_policy_of_the_package_is_json_with_the_words_that_have_to_be_replaced() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/destinations");
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "json") {
            let text = fs::read_to_string(&path).unwrap();
            let value: Value = serde_json::from_str(&text).unwrap();
            assert!(value.is_object(), "{}", path.display());
            names.push(path.file_name().unwrap().to_str().unwrap().to_owned());
        }
    }
    names.sort();
    let expected = json!([
        "aws-bucket-policy.json",
        "aws-host-policy.json",
        "aws-lifecycle.json",
        "aws-object-lock.json",
        "aws-reader-policy.json",
        "seaweedfs-identities.json"
    ]);
    assert_eq!(json!(names), expected);
    for name in ["aws-host-policy.json", "seaweedfs-identities.json"] {
        let path = format!("packaging/destinations/{name}");
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
        for power in [
            "Delete",
            "Bypass",
            "PutBucket",
            "PutLifecycle",
            "Tagging",
            "s3:*",
        ] {
            assert!(!text.contains(power), "{name} allows {power}");
        }
    }
}
