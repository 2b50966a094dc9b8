//! What every store keeps, whatever is behind it.

use bytes::Bytes;
use pgbackupd::destination::{DestinationErrorKind, Key, Store};

pub(crate) fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

/// Puts, reads whole and in part, and looks.
pub(crate) async fn puts_once_and_reads(store: &dyn Store) {
    let one = key("v1/db1/main/app=2f/backup.0-a");
    assert_eq!(store.head(&one).await.unwrap(), None);
    let body = Bytes::from_static(b"0123456789");
    store.put_new(&one, body).await.unwrap();
    let read = |range| store.get(&one, range);
    assert_eq!(read(None).await.unwrap(), "0123456789");
    assert_eq!(read(Some(3..7)).await.unwrap(), "3456");
    assert_eq!(read(Some(3..3)).await.unwrap(), "");
    let error = read(Some(3..11)).await.unwrap_err();
    assert_eq!(error.kind, DestinationErrorKind::Damaged, "{error}");
    for none in ["v1/db1/main/none", "v1/none/x"] {
        assert_eq!(store.head(&key(none)).await.unwrap(), None);
        let error = store.get(&key(none), None).await.unwrap_err();
        assert_eq!(error.kind, DestinationErrorKind::Missing, "{error}");
    }
    let facts = store.head(&one).await.unwrap().unwrap();
    assert_eq!(facts.bytes, 10);
    assert!((chrono::Utc::now() - facts.modified).num_seconds().abs() < 600);
}

/// Replaces nothing, and knows its own.
pub(crate) async fn replaces_nothing(store: &dyn Store) {
    let one = key("v1/one");
    let first = Bytes::from_static(b"first");
    store.put_new(&one, first.clone()).await.unwrap();
    for other in ["other length", "third", "fir", ""] {
        let put = store.put_new(&one, Bytes::from_static(other.as_bytes()));
        let error = put.await.unwrap_err();
        assert_eq!(error.kind, DestinationErrorKind::Exists, "{error}");
        assert_eq!(store.get(&one, None).await.unwrap(), first);
    }
    // An attempt whose end was not seen is settled by what lies there.
    store.put_new(&one, first).await.unwrap();
}

/// Of eight writers of one key, one wins, and the others get an error.
pub(crate) async fn lets_one_writer_win(store: &dyn Store, (rounds, bytes): (u32, usize)) {
    for round in 0..rounds {
        let at = key(&format!("v1/{round}/x"));
        let bodies = (0..8).map(|writer| Bytes::from(vec![b'a' + writer; bytes]));
        let bodies: Vec<Bytes> = bodies.collect();
        let puts = bodies.iter().map(|body| store.put_new(&at, body.clone()));
        let outcomes = futures::future::join_all(puts).await;
        let winners: Vec<usize> = (0..8).filter(|&one| outcomes[one].is_ok()).collect();
        assert_eq!(winners.len(), 1, "{outcomes:?}");
        assert_eq!(store.get(&at, None).await.unwrap(), bodies[winners[0]]);
        for loser in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
            assert_eq!(loser.kind, DestinationErrorKind::Exists, "{loser}");
        }
    }
}

/// Lists everything below a key, sorted, and removes it.
pub(crate) async fn lists_and_removes(store: &dyn Store, count: u32) {
    let mut wanted: Vec<String> = (0..count)
        .map(|n| format!("v1/db1/{}/{n}", n % 7))
        .collect();
    wanted.sort();
    for some in wanted.chunks(50) {
        let keys: Vec<Key> = some.iter().map(|one| key(one)).collect();
        let puts = keys
            .iter()
            .map(|one| store.put_new(one, Bytes::from_static(b"x")));
        for put in futures::future::join_all(puts).await {
            put.unwrap();
        }
    }
    let beside = key("v1/db10/x");
    store.put_new(&beside, Bytes::new()).await.unwrap();
    let listed = store.list(&key("v1/db1")).await.unwrap();
    let keys: Vec<&str> = listed.iter().map(|one| one.key.as_str()).collect();
    assert_eq!(keys, wanted);
    assert!(listed.iter().all(|one| one.bytes == 1));
    let folders = store.folders(&key("v1")).await.unwrap();
    assert_eq!(folders, [key("v1/db1"), key("v1/db10")]);
    assert_eq!(store.list(&key("v1/none")).await.unwrap(), []);
    assert_eq!(store.folders(&key("v1/none")).await.unwrap(), []);

    let mut gone: Vec<Key> = listed.into_iter().map(|one| one.key).collect();
    gone.extend([key("v1/db1/none"), key("v1/none/x")]);
    store.delete(&gone).await.unwrap();
    assert_eq!(store.list(&key("v1/db1")).await.unwrap(), []);
    assert_eq!(store.list(&key("v1")).await.unwrap().len(), 1);
}
