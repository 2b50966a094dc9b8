use std::fs;
use std::sync::atomic::Ordering;

use futures::executor::block_on;

use super::{hosts, places, read_catalogue};
use crate::copies::sample::Host;
use crate::copies::{Catalogue, ManifestCache, Place};
use crate::destination::Key;

fn read(host: &Host, cache: &ManifestCache) -> (Catalogue, usize) {
    let before = host.store.reads.load(Ordering::Relaxed);
    let trusted = host.trusted();
    let catalogue = block_on(read_catalogue(
        &host.store,
        &host.place,
        &trusted,
        Some(cache),
    ));
    let reads = host.store.reads.load(Ordering::Relaxed) - before;
    (catalogue.unwrap(), reads)
}

#[test]
fn a_manifest_is_read_once_and_again_only_when_it_changes() {
    let host = Host::new();
    let directory = tempfile::tempdir().unwrap();
    let cache = ManifestCache::new(&directory.path().join("cache"));
    let files = || fs::read_dir(directory.path().join("cache")).unwrap();
    let key = host.put(&host.small(), &host.signer);
    host.put(&host.small(), &host.signer);
    let (first, reads) = read(&host, &cache);
    assert_eq!((first.copies.len(), reads), (2, 4));
    assert_eq!(read(&host, &cache), (first, 0));

    // Overwritten at the store, in the same length and by nobody whom one trusts.
    host.store.wait(chrono::TimeDelta::minutes(1));
    let genuine = host.store.bytes(&key);
    host.store.put(&key, vec![b' '; genuine.len()]);
    let (catalogue, reads) = read(&host, &cache);
    assert_eq!(
        (catalogue.copies.len(), catalogue.unexpected.len(), reads),
        (1, 1, 2)
    );
    assert_eq!(files().count(), 1, "what is gone is not kept");
}

#[test]
fn a_changed_file_of_the_cache_is_not_believed() {
    let host = Host::new();
    let directory = tempfile::tempdir().unwrap();
    let cache = ManifestCache::new(directory.path());
    host.put(&host.small(), &host.signer);
    let (first, _) = read(&host, &cache);
    let file = fs::read_dir(directory.path())
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let genuine = fs::read(&file).unwrap();
    for spot in [0, 7, 8, 100, genuine.len() - 100] {
        let mut changed = genuine.clone();
        changed[spot] ^= 1;
        fs::write(&file, changed).unwrap();
        assert_eq!(read(&host, &cache), (first.clone(), 2), "byte {spot}");
        assert_eq!(fs::read(&file).unwrap(), genuine, "and it is written again");
    }
    fs::write(&file, "short").unwrap();
    assert_eq!(read(&host, &cache), (first.clone(), 2));
    assert_eq!(read(&host, &cache), (first, 0));
}

#[test]
fn who_has_copies_is_found_from_the_folders() {
    let host = Host::new();
    host.put(&host.small(), &host.signer);
    for key in [
        "v1/RESTORE.txt",
        "v1/db=202/main/app/x",
        "v1/db1/status/20261130T000000Z.json",
        "v1/db1/probe/object",
        "v1/db1/second/app/x",
        "v1/=zz/main/app/x",
    ] {
        host.store.put(&Key::new(key).unwrap(), "x");
    }
    assert_eq!(block_on(hosts(&host.store)).unwrap(), ["db 2", "db1"]);
    let found = block_on(places(&host.store, "db1")).unwrap();
    let expected = Place::new("db1", "second", "app").unwrap();
    assert_eq!(found, [host.place.clone(), expected]);
    assert_eq!(block_on(places(&host.store, "")).unwrap(), []);
}
