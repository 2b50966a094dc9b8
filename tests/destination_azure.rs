//! A container of Azure's as a destination, on Microsoft's own emulator and behind a proxy that lies: nothing in it
//! is replaced, whatever fails, and each refusal has its kind and its sentence.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{TimeDelta, Utc};
use pgbackupd::config::DestinationSettings;
use pgbackupd::destination::{DestinationErrorKind, Store, open};

use crate::support::azurite::{ACCOUNT, Azurite, CONTAINER, KEY, sas_token};
use crate::support::bare_machine::Journey;
use crate::support::contract::{self, key};
use crate::support::stores::{Lie, LyingProxy};

/// The store at a port, by the usual environment.
fn store_with(port: u16, timeout: u64, more: &[(&str, &str)]) -> Arc<dyn Store> {
    let endpoint = format!("http://127.0.0.1:{port}");
    let usual = [
        ("AZURE_STORAGE_SERVICE_ENDPOINT", endpoint.as_str()),
        ("AZURE_STORAGE_ACCOUNT", ACCOUNT),
    ];
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let variables: BTreeMap<_, _> = usual.iter().chain(more).map(owned).collect();
    let url = format!("az://{CONTAINER}/some/prefix");
    let mut settings = DestinationSettings::of_url(&url, &variables).unwrap();
    settings.timeout = Duration::from_secs(timeout);
    open(&settings, &variables).unwrap()
}

fn store(port: u16) -> Arc<dyn Store> {
    store_with(port, 30, &[("AZURE_STORAGE_KEY", KEY)])
}

/// What a proxy can do to one request.
const LIES: [Lie; 9] = [
    Lie::Refuse(503, "ServerBusy"),
    Lie::Refuse(409, "BlobAlreadyExists"),
    Lie::RefuseAfter(500, "InternalError"),
    Lie::Drop,
    Lie::Lose,
    Lie::Truncate,
    Lie::Corrupt,
    Lie::CorruptRequest,
    Lie::Unconditional,
];

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_is_put_once_whatever_fails() {
    let Some(server) = Azurite::start() else {
        return;
    };
    let direct = store(server.port());
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
    let offset = direct.clock_offset().await.unwrap().unwrap();
    assert!(offset.num_seconds().abs() < 5, "{offset}");

    let proxy = LyingProxy::before(server.port());
    // Its signature does not cover the headers that a proxy changes.
    let adding = sas_token("rcwdl", Utc::now() + TimeDelta::hours(1));
    let behind = store_with(proxy.port(), 3, &[("AZURE_STORAGE_SAS_TOKEN", &adding)]);
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
            if number == 1 && matches!(lie, Lie::Refuse(409, _)) {
                assert!(put.is_err(), "{put:?}");
                continue;
            }
            // Azurite has a code of its own for what Azure calls Md5Mismatch.
            if let Err(error) = &put
                && lie == Lie::CorruptRequest
            {
                assert!(error.to_string().contains("contentMD5"), "{error}");
                assert_eq!(direct.head(&ours).await.unwrap(), None);
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
#[expect(clippy::too_many_lines, reason = "a table")]
async fn each_refusal_of_azure_has_its_kind_and_its_sentence_without_a_secret() {
    let Some(server) = Azurite::start() else {
        return;
    };
    let (denied, missing) = (DestinationErrorKind::Denied, DestinationErrorKind::Missing);
    let hour = TimeDelta::hours(1);
    let (reading, over) = (
        sas_token("rl", Utc::now() + hour),
        sas_token("rcl", Utc::now() - hour),
    );
    let wrong = "d3JvbmctaHVudGVyMg==";
    let one = key("v1/x");
    let put = async |store: &dyn Store| store.put_new(&one, Bytes::from_static(b"x")).await;
    for (variable, secret, hint) in [
        ("AZURE_STORAGE_KEY", wrong, "check account"),
        (
            "AZURE_STORAGE_SAS_TOKEN",
            &over,
            "the SAS token expired at ",
        ),
        (
            "AZURE_STORAGE_SAS_TOKEN",
            &reading,
            "the permissions r, c and l",
        ),
    ] {
        let store = store_with(server.port(), 10, &[(variable, secret)]);
        let mut errors = vec![put(&*store).await.unwrap_err()];
        errors.push(store.delete(std::slice::from_ref(&one)).await.unwrap_err());
        if secret == reading {
            assert_eq!(store.head(&one).await.unwrap(), None);
            assert_eq!(store.list(&one).await.unwrap(), []);
        } else {
            errors.push(store.head(&one).await.unwrap_err());
            errors.push(store.get(&one, None).await.unwrap_err());
            errors.push(store.list(&one).await.unwrap_err());
            errors.push(store.folders(&one).await.unwrap_err());
        }
        for error in errors {
            assert_eq!(error.kind, denied, "{error}");
            let text = format!("{error} {error:?} {store:?}");
            assert!(text.contains(hint), "{text}");
            assert!(!text.contains("sig=") && !text.contains(secret), "{text}");
        }
    }
    // What a token may that can only add.
    let adding = sas_token("rcl", Utc::now() + hour);
    let adding = store_with(server.port(), 10, &[("AZURE_STORAGE_SAS_TOKEN", &adding)]);
    put(&*adding).await.unwrap();
    assert!(adding.delete(std::slice::from_ref(&one)).await.is_err());

    server.remove_container();
    let store = store(server.port());
    for error in [
        put(&*store).await.unwrap_err(),
        store.head(&one).await.unwrap_err(),
        store.list(&one).await.unwrap_err(),
    ] {
        assert_eq!(error.kind, missing, "{error}");
        assert!(error.to_string().contains("make the container"), "{error}");
    }
    let nobody = store_with(1, 1, &[("AZURE_STORAGE_KEY", KEY)]);
    let error = nobody.list(&one).await.unwrap_err();
    assert_eq!(error.kind, DestinationErrorKind::Unavailable, "{error}");
    assert!(
        error.to_string().contains("no answer from 127.0.0.1"),
        "{error}"
    );
}

#[test]
fn a_backup_goes_to_azure_and_comes_back_on_a_bare_machine() {
    let Some(server) = Azurite::start() else {
        return;
    };
    let endpoint = format!("http://127.0.0.1:{}", server.port());
    let url = format!("az://{CONTAINER}/db");
    let settings = [("endpoint", endpoint.as_str()), ("account", ACCOUNT)];
    let token = sas_token("rcl", Utc::now() + TimeDelta::days(30));
    let journey = Journey::to(&url, &settings, token.as_bytes());
    journey.there_and_back(&[
        ("AZURE_STORAGE_SERVICE_ENDPOINT", &endpoint),
        ("AZURE_STORAGE_ACCOUNT", ACCOUNT),
        ("AZURE_STORAGE_KEY", KEY),
    ]);
    let checked = journey.operator.run(&["check", "destination", "far"]);
    assert_eq!(checked.code, 0, "{checked}");
    assert!(
        checked
            .stdout
            .contains("this key can neither replace nor remove"),
        "{checked}"
    );
    let as_of = ["list", "--from", "far", "--as-of", "2026-01-01"];
    let as_of = journey.operator.run(&as_of);
    assert_eq!(as_of.code, 78, "{as_of}");
    assert!(as_of.stderr.contains("s3://"), "{as_of}");
}
