//! A bucket of Google's as a destination, on a double of our own and behind a proxy that lies.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pgbackupd::config::DestinationSettings;
use pgbackupd::destination::{DestinationErrorKind, Store, open};

use crate::support::bare_machine::Journey;
use crate::support::contract::{self, key};
use crate::support::google::{ACCOUNT, BUCKET, GoogleDouble, Role, write_key};
use crate::support::stores::{Lie, LyingProxy};

/// A bucket behind a port, by the usual environment.
fn store_of(bucket: &str, port: u16, key: &Path) -> Arc<dyn Store> {
    let variables = BTreeMap::from([
        (
            "STORAGE_EMULATOR_HOST".to_owned(),
            format!("http://127.0.0.1:{port}"),
        ),
        (
            "GOOGLE_APPLICATION_CREDENTIALS".to_owned(),
            key.display().to_string(),
        ),
    ]);
    let url = format!("gs://{bucket}/some/prefix");
    let mut settings = DestinationSettings::of_url(&url, &variables).unwrap();
    settings.timeout = Duration::from_secs(3);
    open(&settings, &variables).unwrap()
}

/// What a proxy can do to one request.
const LIES: [Lie; 8] = [
    Lie::Refuse(503, "ServiceUnavailable"),
    Lie::Refuse(412, "PreconditionFailed"),
    Lie::RefuseAfter(500, "InternalError"),
    Lie::Drop,
    Lie::Lose,
    Lie::Truncate,
    Lie::Corrupt,
    Lie::CorruptRequest,
];

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_put_once_at_googles_double_whatever_fails() {
    let server = GoogleDouble::start();
    let home = tempfile::tempdir().unwrap();
    let account = home.path().join("key.json");
    write_key(&account, ACCOUNT);
    let direct = store_of(BUCKET, server.port(), &account);
    contract::puts_once_and_reads(&*direct).await;
    assert_eq!(direct.keeps_conditions(), Some(true));
    direct
        .delete(&[key("v1/db1/main/app=2f/backup.0-a")])
        .await
        .unwrap();
    contract::lists_and_removes(&*direct, 60).await;
    contract::replaces_nothing(&*direct).await;
    contract::lets_one_writer_win(&*direct, (2, 100_000)).await;
    let checked = key("v1/checked");
    let stored = direct.put_new(&checked, Bytes::from_static(b"x")).await;
    assert!(stored.unwrap().is_checked);

    let proxy = LyingProxy::before(server.port());
    let behind = store_of(BUCKET, proxy.port(), &account);
    let taken = key("v1/taken");
    let theirs = Bytes::from_static(b"theirs");
    direct.put_new(&taken, theirs.clone()).await.unwrap();
    for lie in LIES {
        for number in 1..=3 {
            let ours = key(&format!("v1/{lie:?}-{number}").replace(['(', ')', ',', '"', ' '], "."));
            let body = Bytes::from(format!("ours, {lie:?} {number}"));
            proxy.lie_at(number, lie);
            let put = behind.put_new(&ours, body.clone()).await;
            // At the look before a put, that is no answer; nothing is put then.
            if number == 1 && matches!(lie, Lie::Refuse(412, _)) {
                assert!(put.is_err(), "{put:?}");
                continue;
            }
            assert!(put.is_ok(), "{lie:?} {number}: {put:?} {:?}", proxy.seen());
            assert_eq!(
                direct.get(&ours, None).await.unwrap(),
                body,
                "{lie:?} {number}"
            );
            proxy.lie_at(number, lie);
            let put = behind.put_new(&taken, Bytes::from_static(b"ours!!")).await;
            assert!(put.is_err(), "{lie:?} {number} {:?}", proxy.seen());
            assert_eq!(
                direct.get(&taken, None).await.unwrap(),
                theirs,
                "{lie:?} {number}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_of_google_has_its_kind_and_its_sentence() {
    let server = GoogleDouble::start();
    let home = tempfile::tempdir().unwrap();
    let (account, other) = (home.path().join("key.json"), home.path().join("other.json"));
    write_key(&account, ACCOUNT);
    write_key(&other, "other@project.iam.gserviceaccount.com");
    let (denied, missing) = (DestinationErrorKind::Denied, DestinationErrorKind::Missing);
    let one = key("v1/x");
    for (store, role, kind, hint) in [
        (
            store_of(BUCKET, server.port(), &other),
            Role::Admin,
            denied,
            "key was not removed",
        ),
        (
            store_of(BUCKET, server.port(), &account),
            Role::Viewer,
            denied,
            "Storage Object Creator",
        ),
        (
            store_of("other", server.port(), &account),
            Role::Admin,
            missing,
            "make the bucket",
        ),
    ] {
        server.give(role);
        let error = store.put_new(&one, Bytes::from_static(b"x")).await;
        let error = error.unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        let text = format!("{error} {error:?} {store:?}");
        assert!(text.contains(hint), "{text}");
        assert!(
            !text.contains("Bearer") && !text.contains("PRIVATE"),
            "{text}"
        );
    }
}

#[test]
fn a_backup_goes_to_googles_double_and_comes_back_on_a_bare_machine() {
    let server = GoogleDouble::start();
    let home = tempfile::tempdir().unwrap();
    let account = home.path().join("key.json");
    write_key(&account, ACCOUNT);
    let endpoint = format!("http://127.0.0.1:{}", server.port());
    let url = format!("gs://{BUCKET}/db");
    let secret = std::fs::read(&account).unwrap();
    let journey = Journey::to(&url, &[("endpoint", &endpoint)], &secret);
    server.give(Role::Creator);
    journey.there_and_back(&[
        ("STORAGE_EMULATOR_HOST", &endpoint),
        (
            "GOOGLE_APPLICATION_CREDENTIALS",
            &account.display().to_string(),
        ),
    ]);
    let checked = journey.operator.run(&["check", "destination", "far"]);
    assert_eq!(checked.code, 0, "{checked}");
    assert!(checked.stdout.contains("objectCreator"), "{checked}");
}
