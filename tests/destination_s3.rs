//! A bucket as a destination, on a real store and behind a proxy that lies: nothing in it is replaced,
//! whatever fails, and each fault has its kind and its sentence.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pgbackupd::config::{DestinationAddress, DestinationSettings, S3Credentials};
use pgbackupd::destination::{DestinationErrorKind, Store, open};

use crate::support::contract::{self, key};
use crate::support::stores::{BUCKET, ID, Lie, LyingProxy, SECRET, SeaweedFs};

fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

/// The store at a port, by the usual environment.
fn store_with(port: u16, timeout: Duration, more: &[(&str, &str)]) -> Arc<dyn Store> {
    let endpoint = format!("http://127.0.0.1:{port}");
    let mut variables = environment(&[
        ("AWS_ENDPOINT_URL", &endpoint),
        ("AWS_ACCESS_KEY_ID", ID),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
    ]);
    variables.extend(environment(more));
    let url = format!("s3://{BUCKET}/some/prefix");
    let mut settings = DestinationSettings::of_url(&url, &variables).unwrap();
    settings.timeout = timeout;
    open(&settings, &variables).unwrap()
}

fn store(port: u16) -> Arc<dyn Store> {
    store_with(port, Duration::from_secs(30), &[])
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_put_once_and_read_whole_or_in_part() {
    let Some(server) = SeaweedFs::start(true) else {
        return;
    };
    let store = store(server.port());
    let one = key("v1/db1/main/app=2f/backup.0-a");
    let body = Bytes::from_static(b"0123456789");
    assert_eq!(store.head(&one).await.unwrap(), None);
    store.put_new(&one, body.clone()).await.unwrap();
    assert_eq!(store.keeps_conditions(), Some(true), "{}", server.log());
    assert_eq!(store.get(&one, None).await.unwrap(), "0123456789");
    assert_eq!(store.get(&one, Some(3..7)).await.unwrap(), "3456");
    assert_eq!(store.get(&one, Some(3..3)).await.unwrap(), "");
    let error = store.get(&one, Some(3..11)).await.unwrap_err();
    assert_eq!(error.kind, DestinationErrorKind::Damaged, "{error}");
    let error = store.get(&key("v1/none"), None).await.unwrap_err();
    assert_eq!(error.kind, DestinationErrorKind::Missing, "{error}");

    let facts = store.head(&one).await.unwrap().unwrap();
    assert_eq!(facts.bytes, 10);
    assert!((chrono::Utc::now() - facts.modified).num_seconds().abs() < 600);
    let digits = "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882";
    assert!(facts.sha256.is_none_or(|sha256| sha256 == digits));

    store.put_new(&one, body).await.unwrap();
    for other in ["9876543210", "other length"] {
        let put = store.put_new(&one, Bytes::from_static(other.as_bytes()));
        let error = put.await.unwrap_err();
        assert_eq!(error.kind, DestinationErrorKind::Exists, "{error}");
    }
    assert_eq!(store.get(&one, None).await.unwrap(), "0123456789");
    let offset = store.clock_offset().await.unwrap().unwrap();
    assert!(offset.num_seconds().abs() < 5, "{offset}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_eight_writers_of_one_key_one_wins() {
    let Some(server) = SeaweedFs::start(true) else {
        return;
    };
    let store = store(server.port());
    contract::replaces_nothing(&*store).await;
    contract::lets_one_writer_win(&*store, (5, 100_000)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_has_all_of_its_pages_and_what_is_removed_is_gone() {
    let Some(server) = SeaweedFs::start(true) else {
        return;
    };
    let store = store(server.port());
    contract::puts_once_and_reads(&*store).await;
    store
        .delete(&[key("v1/db1/main/app=2f/backup.0-a")])
        .await
        .unwrap();
    contract::lists_and_removes(&*store, 1050).await;
}

/// What a proxy can do to one request.
const LIES: [Lie; 14] = [
    Lie::Refuse(500, "InternalError"),
    Lie::Refuse(503, "SlowDown"),
    Lie::Refuse(409, "ConditionalRequestConflict"),
    Lie::Refuse(412, "PreconditionFailed"),
    Lie::RefuseAfter(500, "InternalError"),
    Lie::RefuseAfter(409, "ConditionalRequestConflict"),
    Lie::Drop,
    Lie::Lose,
    Lie::Hang,
    Lie::HangAfter,
    Lie::Truncate,
    Lie::Corrupt,
    Lie::CorruptRequest,
    Lie::Unconditional,
];

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_at_each_request_replaces_nothing_and_leaves_nothing_wrong() {
    let Some(server) = SeaweedFs::start(false) else {
        return;
    };
    let proxy = LyingProxy::before(server.port());
    let behind = store_with(proxy.port(), Duration::from_secs(3), &[]);
    let direct = store(server.port());
    let taken = key("v1/taken");
    direct
        .put_new(&taken, Bytes::from_static(b"theirs"))
        .await
        .unwrap();
    for lie in LIES {
        // A hang takes its time; the look before a put and the put itself are what there is.
        let numbers = if matches!(lie, Lie::Hang | Lie::HangAfter) {
            1..=2
        } else {
            1..=4
        };
        for number in numbers {
            let ours = key(&format!("v1/{lie:?}-{number}").replace(['(', ')', ',', '"', ' '], "."));
            let body = Bytes::from(format!("ours, {lie:?} {number}"));
            proxy.lie_at(number, lie);
            let put = behind.put_new(&ours, body.clone()).await;
            let seen = proxy.seen();
            let found = direct.get(&ours, None).await;
            // A store without checksums takes what was damaged on its way; nothing but that is wrong.
            let is_damaged = matches!(&found, Ok(found) if *found != body);
            assert!(
                !is_damaged || lie == Lie::CorruptRequest,
                "{lie:?} {number} {seen:?}"
            );
            if let Err(error) = &put {
                let is_sure = matches!(
                    lie,
                    Lie::Refuse(409 | 412, _) | Lie::RefuseAfter(409, _) | Lie::CorruptRequest
                );
                assert!(is_sure, "{lie:?} {number}: {error} {seen:?}");
            } else {
                assert!(found.is_ok(), "{lie:?} {number} {seen:?}");
            }
            proxy.lie_at(number, lie);
            let put = behind.put_new(&taken, Bytes::from_static(b"ours!!")).await;
            assert!(put.is_err(), "{lie:?} {number} {:?}", proxy.seen());
            assert_eq!(
                direct.get(&taken, None).await.unwrap(),
                "theirs",
                "{lie:?} {number}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_ignores_conditions_is_found_out_and_replaces_nothing() {
    let Some(server) = SeaweedFs::start(false) else {
        return;
    };
    let proxy = LyingProxy::before(server.port());
    let behind = store(proxy.port());
    proxy.always(Some(Lie::Unconditional));
    assert_eq!(behind.keeps_conditions(), None);
    behind
        .put_new(&key("v1/x"), Bytes::from_static(b"first"))
        .await
        .unwrap();
    assert_eq!(behind.keeps_conditions(), Some(false), "{:?}", proxy.seen());
    let error = behind
        .put_new(&key("v1/x"), Bytes::from_static(b"other"))
        .await;
    assert_eq!(error.unwrap_err().kind, DestinationErrorKind::Exists);
    assert_eq!(behind.get(&key("v1/x"), None).await.unwrap(), "first");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_is_cut_off_is_made_again_and_the_clock_is_compared() {
    let Some(server) = SeaweedFs::start(false) else {
        return;
    };
    let proxy = LyingProxy::before(server.port());
    let behind = store_with(proxy.port(), Duration::from_secs(2), &[]);
    let body = Bytes::from(vec![7; 1 << 20]);
    behind.put_new(&key("v1/x"), body.clone()).await.unwrap();
    for lie in [
        Lie::Truncate,
        Lie::Lose,
        Lie::Hang,
        Lie::Refuse(503, "SlowDown"),
    ] {
        proxy.lie_at(1, lie);
        let read = behind.get(&key("v1/x"), Some(1..500_000)).await.unwrap();
        assert_eq!(read, body.slice(1..500_000), "{lie:?}");
        assert_eq!(proxy.seen().len(), 2, "{lie:?}");
        proxy.lie_at(1, lie);
        assert_eq!(behind.list(&key("v1")).await.unwrap().len(), 1, "{lie:?}");
    }
    proxy.always(Some(Lie::Refuse(503, "SlowDown")));
    let error = behind.get(&key("v1/x"), None).await.unwrap_err();
    assert_eq!(error.kind, DestinationErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("SlowDown: It lies."), "{error}");
    let attempts = proxy.seen().len();
    assert!((4..=7).contains(&attempts), "{attempts}");

    proxy.always(None);
    let later = chrono::Utc::now() + chrono::TimeDelta::hours(1);
    proxy.say_date(later.format("%a, %d %b %Y %H:%M:%S GMT").to_string());
    let offset = behind.clock_offset().await.unwrap().unwrap();
    assert!((offset.num_seconds() - 3600).abs() < 30, "{offset}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_has_its_kind_and_its_sentence_without_a_secret() {
    let Some(server) = SeaweedFs::start(true) else {
        return;
    };
    let wrong = "wrong-hunter2-secret";
    let with = |name: &str, value: &str| {
        store_with(server.port(), Duration::from_secs(10), &[(name, value)])
    };
    let denied = DestinationErrorKind::Denied;
    for (store, hint) in [
        (with("AWS_SECRET_ACCESS_KEY", wrong), "check the secret key"),
        (
            with("AWS_ACCESS_KEY_ID", "AKIAOTHER"),
            "check access_key_id",
        ),
    ] {
        let one = key("v1/x");
        let errors = [
            store
                .put_new(&one, Bytes::from_static(b"x"))
                .await
                .unwrap_err(),
            store.head(&one).await.unwrap_err(),
            store.get(&one, None).await.unwrap_err(),
            store.list(&one).await.unwrap_err(),
            store.folders(&one).await.unwrap_err(),
            store.delete(std::slice::from_ref(&one)).await.unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind, denied, "{error}");
            let text = format!("{error} {error:?} {store:?}");
            assert!(text.contains(hint), "{text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_code_of_a_store_has_its_kind_and_its_way_out() {
    let Some(server) = SeaweedFs::start(false) else {
        return;
    };
    let (denied, missing) = (DestinationErrorKind::Denied, DestinationErrorKind::Missing);
    let proxy = LyingProxy::before(server.port());
    let behind = store_with(
        proxy.port(),
        Duration::from_secs(5),
        &[("AWS_SESSION_TOKEN", "t0ken")],
    );
    for (status, code, kind, hint) in [
        (400, "ExpiredToken", denied, "new credentials"),
        (403, "RequestTimeTooSkewed", denied, "clock"),
        (403, "QuotaExceeded", DestinationErrorKind::Full, "quota"),
        (507, "StorageFull", DestinationErrorKind::Full, "free space"),
        (
            301,
            "PermanentRedirect",
            DestinationErrorKind::Settings,
            "region",
        ),
    ] {
        proxy.always(Some(Lie::Refuse(status, code)));
        let error = behind.put_new(&key("v1/x"), Bytes::from_static(b"x")).await;
        let error = error.unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.to_string().contains(hint), "{error}");
        assert!(!error.to_string().contains("t0ken"), "{error}");
    }
    proxy.always(Some(Lie::Refuse(404, "NoSuchBucket")));
    let error = behind
        .put_new(&key("v1/x"), Bytes::from_static(b"x"))
        .await
        .unwrap_err();
    assert_eq!(error.kind, missing, "{error}");
    assert!(error.to_string().contains("make the bucket"), "{error}");
}

#[tokio::test]
async fn a_store_that_is_not_there_is_unreachable_and_settings_that_miss_something_say_it() {
    let store = store_with(1, Duration::from_secs(1), &[]);
    let error = store.head(&key("v1/x")).await.unwrap_err();
    assert_eq!(error.kind, DestinationErrorKind::Unavailable, "{error}");
    assert!(
        error.to_string().contains("no answer from 127.0.0.1"),
        "{error}"
    );

    let none = BTreeMap::new();
    let mut settings = DestinationSettings::of_url("s3://bucket", &none).unwrap();
    let DestinationAddress::S3(s3) = &mut settings.address else {
        panic!("a bucket")
    };
    s3.credentials = S3Credentials::Environment;
    let error = open(&settings, &none).unwrap_err();
    assert_eq!(error.kind, DestinationErrorKind::Settings, "{error}");
    assert!(
        error.to_string().contains("AWS_ACCESS_KEY_ID is not set"),
        "{error}"
    );
}
