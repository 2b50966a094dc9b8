use chrono::TimeDelta;
use futures::executor::block_on;
use uuid::Uuid;

use super::{Catalogue, Copy};
use crate::copies::sample::{Host, signature_of};
use crate::copies::{CopyManifest, FactKind, Object, RunSecret, read_catalogue};
use crate::destination::Key;

fn read(host: &Host) -> Catalogue {
    block_on(read_catalogue(
        &host.store,
        &host.place,
        &host.trusted(),
        None,
    ))
    .unwrap()
}

/// The only copy.
fn only(host: &Host) -> Copy {
    let mut catalogue = read(host);
    assert_eq!(catalogue.copies.len(), 1, "{:?}", catalogue.unexpected);
    catalogue.copies.remove(0)
}

/// Whether nothing is a copy and the first unexpected object has this reason.
fn assert_refused(host: &Host, reason: &str) {
    let catalogue = read(host);
    assert_eq!(catalogue.copies, [], "{reason}");
    let found = &catalogue.unexpected[0].reason;
    assert!(found.contains(reason), "{found:?} is not {reason:?}");
}

#[test]
fn a_signed_manifest_with_its_volumes_is_a_copy() {
    let host = Host::new();
    let manifest = host.small();
    let key = host.put(&manifest, &host.signer);
    let catalogue = read(&host);
    assert_eq!(
        (catalogue.unexpected, catalogue.unclaimed),
        (Vec::new(), Vec::new())
    );
    let copy = only(&host);
    assert_eq!(
        (&copy.manifest.manifest, &copy.manifest.key),
        (&manifest, &key)
    );
    assert!(copy.is_complete() && !copy.is_pinned && copy.keys().is_empty());
}

/// What a signer who is trusted, or one who is not, put there, and why it does not count.
#[test]
fn a_manifest_that_is_not_what_it_says_counts_for_nothing() {
    type Change = fn(&mut CopyManifest, &Host);
    let table: [(Change, &str); 13] = [
        (
            |one, _| one.host = "db2".to_owned(),
            "and belongs under \"v1/db2/main/app=2f2/",
        ),
        (
            |one, _| one.database = "app".to_owned(),
            "and belongs under \"v1/db1/main/app/",
        ),
        (|one, _| one.attempt = Uuid::now_v7(), "and belongs under"),
        (|one, _| one.format = 2, "it has format 2, which is newer"),
        (
            |one, _| one.series = "weekly".parse().unwrap(),
            "the stem is of another series",
        ),
        (
            |one, _| one.signer = "SHA256:x".to_owned(),
            "it names the signer \"SHA256:x\"",
        ),
        (
            |one, _| one.key = Some("x".to_owned()),
            "only one of key and recipients",
        ),
        (
            |one, _| one.files.truncate(1),
            "it has not one dump and one manifest",
        ),
        (
            |one, _| one.files[1].volumes.swap(0, 1),
            "is not volume 1 of",
        ),
        (
            |one, _| one.files[1].volumes[0].bytes = 1 << 40,
            "is not volume 1 of",
        ),
        (
            |one, _| one.files[1].volumes[0].key = "v1/db2/x".to_owned(),
            "is not volume 1 of",
        ),
        (
            |one, _| one.files[1].name = "../../etc/passwd".to_owned(),
            "is not the copy's",
        ),
        (|one, _| one.files[1].volumes.clear(), "has no volumes"),
    ];
    for (change, reason) in table {
        let host = Host::new();
        let mut manifest = host.small();
        let key = host.put(&manifest, &host.signer);
        change(&mut manifest, &host);
        host.put_signed(&key, &manifest.to_bytes().unwrap(), &host.signer);
        assert_refused(&host, reason);
    }
}

#[test]
fn a_manifest_of_a_stranger_or_of_the_future_counts_for_nothing() {
    let host = Host::new();
    let mut manifest = host.small();
    manifest.made = host.store.now() + TimeDelta::minutes(6);
    host.put(&manifest, &host.signer);
    assert_refused(&host, "when the store got it");
    host.store.wait(TimeDelta::minutes(1));
    host.put(&manifest, &host.signer);
    assert_eq!(read(&host).copies.len(), 1, "within the tolerance");
    host.put(&manifest, &host.stranger());
    assert_refused(&host, "which is not trusted");
}

/// What somebody did who has the store's key alone.
#[test]
fn nothing_that_is_put_moved_or_cut_at_the_store_becomes_a_copy() {
    type Attack = fn(&Host, &Key);
    let table: [(Attack, &str); 6] = [
        (
            |host, key| host.store.remove(&signature_of(key)),
            "it has no signature",
        ),
        (
            |host, key| host.store.put(&signature_of(key), "x"),
            "the signature is damaged",
        ),
        (
            |host, key| host.store.put(&signature_of(key), vec![b'x'; 5000]),
            "too many",
        ),
        (
            |host, key| host.store.put(key, "{}"),
            "the signature does not match",
        ),
        (|host, key| host.store.put(key, ""), "it is empty"),
        (
            |host, key| {
                // Somewhere else, and under another database.
                let (bytes, signature) =
                    (host.store.bytes(key), host.store.bytes(&signature_of(key)));
                host.store.remove(key);
                host.store.remove(&signature_of(key));
                let (start, _) = key.as_str().split_at(key.as_str().len() - 41);
                let moved = format!("{start}{}.json", Uuid::now_v7());
                let moved = Key::new(&moved).unwrap();
                host.store.put(&moved, bytes);
                host.store.put(&signature_of(&moved), signature);
            },
            "and belongs under",
        ),
    ];
    for (attack, reason) in table {
        let host = Host::new();
        let key = host.put(&host.small(), &host.signer);
        attack(&host, &key);
        assert_refused(&host, reason);
        let catalogue = read(&host);
        assert!(
            catalogue.unclaimed.iter().all(|one| one.has_manifest),
            "volumes are protected"
        );
        assert!(!catalogue.unclaimed.is_empty());
    }
    let host = Host::new();
    let stray = Key::new(&format!("{}/a/b/c", host.place)).unwrap();
    host.store.put(&stray, "x");
    assert_refused(&host, "no object of a copy has such a name");
}

#[test]
fn every_flipped_bit_of_a_manifest_or_its_signature_is_refused() {
    let host = Host::new();
    let key = host.put(&host.small(), &host.signer);
    for key in [key.clone(), signature_of(&key)] {
        let bytes = host.store.bytes(&key);
        // The last byte of a signature is the end of its line, which says nothing.
        for index in (0..bytes.len() - 1).step_by(3) {
            let mut changed = bytes.to_vec();
            changed[index] ^= 1 << (index % 8);
            host.store.put(&key, changed);
            let catalogue = read(&host);
            assert_eq!(catalogue.copies, [], "byte {index} of {key}");
        }
        host.store.put(&key, bytes);
        assert_eq!(read(&host).copies.len(), 1);
    }
}

#[test]
fn several_manifests_of_a_run_are_one_copy_and_a_whole_one_serves() {
    let host = Host::new();
    let whole = host.small();
    host.put(&whole, &host.signer);
    host.store.wait(TimeDelta::minutes(1));
    let mut torn = host.small();
    torn.copy = whole.copy.clone();
    let file = torn.files[1].clone();
    torn.files = whole.files.clone();
    let volume = host
        .place
        .object(&whole.copy, &Object::Volume(fresh_of(&file.name)));
    torn.files[1].volumes[0].key = volume.to_string();
    host.put(&torn, &host.signer);
    let copy = only(&host);
    assert_eq!(copy.manifest.manifest.attempt, whole.attempt);
    assert_eq!(copy.others.len(), 1);
    assert!(copy.is_complete());

    let lost = Key::new(&whole.files[1].volumes[1].key).unwrap();
    host.store.put(&lost, "short");
    let lacking = only(&host).lacking;
    assert!(
        lacking
            .iter()
            .any(|one| one.key == lost.as_str() && one.listed == Some(5))
    );
    host.store.remove(&lost);
    let lacking = only(&host).lacking;
    assert!(
        lacking
            .iter()
            .any(|one| one.key == lost.as_str() && one.listed.is_none())
    );
}

/// At a store whose puts are not atomic, a kill leaves an empty file under the name of a manifest.
#[test]
fn an_empty_manifest_is_in_nobodys_way_once_there_is_a_whole_one_of_its_run() {
    let host = Host::new();
    let mut manifest = host.small();
    let torn = host.put(&manifest, &host.signer);
    host.store.put(&torn, "");
    let catalogue = read(&host);
    assert_eq!(
        catalogue.unexpected.len(),
        1,
        "it is shown while it is alone"
    );
    assert!(catalogue.unclaimed.iter().all(|one| one.has_manifest));
    manifest.attempt = Uuid::now_v7();
    host.put(&manifest, &host.signer);
    let catalogue = read(&host);
    assert_eq!(catalogue.copies.len(), 1);
    assert_eq!(catalogue.unexpected, []);
    let unclaimed = catalogue.unclaimed.iter();
    let unclaimed: Vec<&Key> = unclaimed.map(|one| &one.listed.key).collect();
    assert!(unclaimed.contains(&&torn), "{unclaimed:?}");
    assert!(unclaimed.contains(&&signature_of(&torn)), "{unclaimed:?}");
}

fn fresh_of(file: &str) -> crate::copies::VolumeName {
    crate::copies::VolumeName::fresh(file, 1, false)
}

#[test]
fn the_newest_of_pins_and_unpins_counts_and_an_old_one_that_is_put_again_does_not() {
    let host = Host::new();
    let manifest = host.small();
    host.put(&manifest, &host.signer);
    let put = |kind| {
        host.store.wait(TimeDelta::minutes(1));
        let mut fact = host.fact(&manifest.copy, kind);
        fact.supersedes = only(&host).superseded_by_next();
        (host.put_fact(&fact, &host.signer), fact)
    };
    put(FactKind::Pin);
    assert!(only(&host).is_pinned);
    let (_, unpin) = put(FactKind::Unpin);
    assert!(!only(&host).is_pinned);
    put(FactKind::Pin);
    assert!(only(&host).is_pinned);
    host.store.wait(TimeDelta::minutes(1));
    host.put_fact(&unpin, &host.signer);
    assert!(only(&host).is_pinned, "the unpin is put again");
    let forged = host.fact(&manifest.copy, FactKind::Unpin);
    host.put_fact(&forged, &host.stranger());
    assert!(only(&host).is_pinned, "a stranger's");
    // Without knowledge of each other, the newest by the store's time.
    host.store.wait(TimeDelta::minutes(1));
    host.put_fact(&host.fact(&manifest.copy, FactKind::Unpin), &host.signer);
    assert!(!only(&host).is_pinned);
}

#[test]
fn keys_of_facts_add_up_and_a_fact_without_a_copy_counts_for_nothing() {
    let host = Host::new();
    let manifest = host.small();
    let mut fact = host.fact(&manifest.copy, FactKind::Key);
    fact.key = Some(RunSecret::fresh().public().to_string());
    fact.recipients = vec!["SHA256:x".to_owned()];
    host.put_fact(&fact, &host.signer);
    assert_refused(&host, "there is no copy that it is about");
    host.put(&manifest, &host.signer);
    let copy = only(&host);
    assert_eq!(copy.keys().len(), 1);
    assert_eq!(copy.keys()[0].recipients, fact.recipients);
    assert!(!copy.is_pinned);
}
