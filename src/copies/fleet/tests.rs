use futures::executor::block_on;

use super::*;
use crate::copies::Signer;
use crate::copies::sample::{Host, signature_of};

/// Puts a state of `db1` that was made so long before the store's time.
fn put(host: &Host, (age, signer): (TimeDelta, &Signer)) -> Key {
    let made = host.store.now() - age;
    let status = HostStatus::new(
        "db1",
        signer.fingerprint(),
        (made, made + TimeDelta::days(1)),
    );
    let key = layout::status_at("db1", made).unwrap();
    host.put_signed(&key, &status.to_bytes().unwrap(), signer);
    key
}

fn read(host: &Host) -> HostStatusThere {
    block_on(read_host_status(&host.store, "db1", &host.trusted())).unwrap()
}

/// When the newest state that counts was stored, in minutes before the store's time, and why a newer one does
/// not count.
fn heard(host: &Host) -> (Option<i64>, String) {
    let there = read(host);
    let ago = |stored: DateTime<Utc>| (host.store.now() - stored).num_minutes();
    let heard = there.newest.map(|heard| ago(heard.stored));
    (
        heard,
        there
            .refused
            .map(|refused| refused.reason)
            .unwrap_or_default(),
    )
}

#[test]
fn only_a_state_of_the_host_that_the_store_got_when_it_was_made_is_heard() {
    let host = Host::new();
    assert_eq!(heard(&host), (None, String::new()));
    let minutes = TimeDelta::minutes;
    let old = put(&host, (minutes(1), &host.signer));
    host.store.wait(minutes(60));
    assert_eq!(heard(&host), (Some(60), String::new()));

    // Each of these comes later, and none is heard.
    let stranger = host.stranger();
    let refused = |word: &str, host: &Host| {
        let (heard, reason) = heard(host);
        assert_eq!(heard, Some(60), "{word}");
        assert!(reason.contains(word), "{reason}");
    };
    let forged = put(&host, (minutes(0), &stranger));
    refused("which is not trusted", &host);
    let there = read(&host).refused.unwrap();
    assert_eq!(there.unknown_signer, Some(stranger.fingerprint()));
    host.store.remove(&signature_of(&forged));
    refused("no signature", &host);
    host.store.remove(&forged);
    let ahead = put(&host, (minutes(-6), &host.signer));
    refused("clock is wrong", &host);
    host.store.remove(&ahead);
    let ahead = put(&host, (minutes(-4), &host.signer));
    assert_eq!(heard(&host), (Some(0), String::new()));
    host.store.remove(&ahead);
    put(&host, (minutes(31), &host.signer));
    refused("put an old one again", &host);

    // The old one itself, put again under its own key.
    let (document, signature) = (
        host.store.bytes(&old),
        host.store.bytes(&signature_of(&old)),
    );
    host.store.put(&old, document.clone());
    host.store.put(&signature_of(&old), signature.clone());
    assert_eq!(heard(&host).0, None);
    // And under the key of another time.
    let now = layout::status_at("db1", host.store.now()).unwrap();
    host.store.put(&now, document);
    host.store.put(&signature_of(&now), signature);
    let (heard_at, reason) = heard(&host);
    assert_eq!(heard_at, None);
    assert!(reason.contains("belongs under"), "{reason}");
}

#[test]
fn no_number_of_forged_states_makes_a_reader_read_for_ever() {
    let host = Host::new();
    put(&host, (TimeDelta::minutes(29), &host.signer));
    let stranger = host.stranger();
    for second in 0..30 {
        put(&host, (TimeDelta::seconds(second), &stranger));
    }
    let before = host.store.reads.load(std::sync::atomic::Ordering::Relaxed);
    let there = read(&host);
    let reads = host.store.reads.load(std::sync::atomic::Ordering::Relaxed) - before;
    assert_eq!(reads, 2 * PASSED_OVER);
    assert!(there.newest.is_none() && there.refused.is_some());
}

#[test]
fn the_newest_copy_of_each_series_is_read_and_forged_ones_are_passed_over() {
    let host = Host::new();
    let newest = |host: &Host| {
        let trusted = host.trusted();
        let reading = read_newest_copies(&host.store, &host.place, &trusted);
        let found = block_on(reading).unwrap();
        let daily = found.get(&"daily".parse().unwrap()).cloned();
        (found.len(), daily)
    };
    assert_eq!(newest(&host), (0, None));
    let good = host.small();
    host.put(&good, &host.signer);
    let (series, daily) = newest(&host);
    let daily = daily.unwrap();
    assert_eq!((series, daily.refused), (1, None));
    assert_eq!(daily.copy.unwrap().name, good.copy);

    // A newer one that nobody trusts has signed.
    host.store.wait(TimeDelta::minutes(1));
    let forged = host.small();
    host.put(&forged, &host.stranger());
    let daily = newest(&host).1.unwrap();
    let copy = daily.copy.unwrap();
    assert_eq!(copy.name, good.copy);
    assert!(copy.is_complete());
    let reason = daily.refused.unwrap();
    assert!(reason.contains("not trusted"), "{reason}");

    let volume = good.files[1].volumes[0].key.clone();
    host.store.remove(&Key::new(&volume).unwrap());
    assert_eq!(newest(&host).1.unwrap().copy.unwrap().lacking.len(), 1);
}

#[test]
fn only_the_hosts_own_old_states_are_removed_and_never_the_newest() {
    let host = Host::new();
    let stranger = host.stranger();
    let own = put(&host, (TimeDelta::minutes(3), &host.signer));
    let second = put(&host, (TimeDelta::minutes(2), &host.signer));
    let forged = put(&host, (TimeDelta::minutes(1), &stranger));
    let last = put(&host, (TimeDelta::minutes(0), &host.signer));
    let trusted = host.trusted();
    let remove = |before, most| {
        let removing = remove_old_statuses(&host.store, ("db1", &trusted), (before, most));
        block_on(removing).unwrap()
    };
    assert_eq!(remove(host.store.now(), 9), 0);
    host.store.wait(TimeDelta::days(30));
    assert_eq!(remove(host.store.now(), 1), 1);
    let gone = |key: &Key| {
        !host.store.keys().contains(key) && !host.store.keys().contains(&signature_of(key))
    };
    assert!(gone(&own) && !gone(&second));
    assert_eq!(remove(host.store.now(), 9), 1);
    assert!(gone(&second) && !gone(&forged) && !gone(&last));
    assert_eq!(remove(host.store.now(), 9), 0);
}
