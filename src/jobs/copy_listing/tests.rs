//! Listings one after the other, with copies that come and go.

use std::time::Duration;

use chrono::TimeDelta;

use super::*;
use crate::copies::{Distrusted, Lacking, Sha256Sum};
use crate::destination::DirectoryStore;
use crate::jobs::fetch::sample;
use crate::repository::{Removal, RemovedCopy};

const TIMEOUT: Duration = Duration::from_secs(60);

fn at(minute: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::days(20_800) + TimeDelta::minutes(minute)
}

fn run(number: u128) -> Uuid {
    format!("01900000-0000-7000-8000-{number:012}")
        .parse()
        .unwrap()
}

fn place() -> Place {
    Place::new("db1", "main", "app").unwrap()
}

fn copy(number: u128) -> Copy {
    sample::copy(
        "backup_20261101_020000",
        u32::try_from(number).unwrap(),
        false,
    )
}

fn there(copies: Vec<Copy>) -> Catalogue {
    Catalogue {
        copies,
        ..Catalogue::default()
    }
}

/// Takes a listing in, and gives the runs that are in doubt.
fn take(known: &mut KnownCopies, copies: &[Copy], minute: i64) -> Vec<Doubt> {
    take_at(known, "file:///mnt", copies, minute)
}

fn take_at(known: &mut KnownCopies, url: &str, copies: &[Copy], minute: i64) -> Vec<Doubt> {
    take_all(known, url, (&there(copies.to_vec()), minute))
}

fn take_all(known: &mut KnownCopies, url: &str, (there, minute): (&Catalogue, i64)) -> Vec<Doubt> {
    let listing = Listing {
        url,
        place: &place(),
        there,
        at: at(minute),
        damaged: &BTreeMap::new(),
    };
    take_listing(known, &listing)
}

async fn settle(known: &mut KnownCopies, doubts: Vec<Doubt>, minute: i64) {
    let empty = tempfile::tempdir().unwrap();
    let store = DirectoryStore::new(empty.path().to_owned(), false, TIMEOUT);
    settle_doubts(&store, known, (doubts, at(minute))).await;
}

#[tokio::test]
async fn a_copy_is_missing_after_two_listings_an_hour_apart_and_an_answer_of_the_store() {
    let mut known = KnownCopies::default();
    assert_eq!(take(&mut known, &[copy(1), copy(2)], 0), []);
    known
        .copies
        .get_mut(&run(2))
        .unwrap()
        .prove(CopyState::Opened, at(1));
    assert_eq!(take(&mut known, &[copy(1)], 10), []);
    assert_eq!(known.absent[&run(2)].since, at(10));
    assert_eq!(take(&mut known, &[copy(1)], 69), []);
    let doubts = take(&mut known, &[copy(1)], 70);
    assert_eq!((doubts.len(), doubts[0].run), (1, run(2)));
    assert_eq!(known.absent[&run(2)].missing, None);
    settle(&mut known, doubts, 70).await;
    let absent = &known.absent[&run(2)];
    assert_eq!((absent.since, absent.missing), (at(10), Some(at(70))));
    // It is not asked for again, and what was proved of it is remembered.
    assert_eq!(take(&mut known, &[copy(1)], 200), []);
    assert_eq!(known.absent[&run(2)].missing, Some(at(70)));
    assert_eq!(take(&mut known, &[copy(1), copy(2)], 300), []);
    assert_eq!(known.copies[&run(2)].state, CopyState::Opened);
    assert!(known.absent.is_empty());
}

#[tokio::test]
async fn a_listing_that_lacks_what_the_store_has_is_no_loss() {
    let mut known = KnownCopies::default();
    take(&mut known, &[copy(1)], 0);
    take(&mut known, &[], 10);
    let doubts = take(&mut known, &[], 100);
    let far = tempfile::tempdir().unwrap();
    let path = far.path().join(&doubts[0].key);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, "manifest").unwrap();
    let store = DirectoryStore::new(far.path().to_owned(), false, TIMEOUT);
    settle_doubts(&store, &mut known, (doubts, at(100))).await;
    let absent = &known.absent[&run(1)];
    assert_eq!((absent.since, absent.missing), (at(100), None));
}

#[test]
fn what_retention_removes_and_what_is_at_another_place_is_not_missing() {
    let mut known = KnownCopies::default();
    take(&mut known, &[copy(1)], 0);
    let removed = RemovedCopy {
        removal: Removal {
            backup: "backup".to_owned(),
            reasons: Vec::new(),
        },
        name: "backup".to_owned(),
        facts: Vec::new(),
        sequences: Vec::new(),
        is_recorded: false,
    };
    known.removing.insert(run(1), removed);
    take(&mut known, &[], 10);
    assert!(known.absent.is_empty() && known.copies.is_empty());
    known.removing.clear();

    take(&mut known, &[copy(1)], 20);
    take_at(&mut known, "file:///elsewhere", &[], 100);
    assert!(known.absent.is_empty() && known.copies.is_empty());
}

#[test]
fn a_copy_that_is_made_during_a_listing_is_not_absent_from_it() {
    let mut known = KnownCopies::default();
    take(&mut known, &[copy(1)], 0);
    known.copies.get_mut(&run(1)).unwrap().copied = at(10);
    take(&mut known, &[], 10);
    assert!(known.copies.contains_key(&run(1)) && known.absent.is_empty());
    take(&mut known, &[], 11);
    assert!(known.absent.contains_key(&run(1)));
}

#[test]
fn volumes_that_are_not_listed_are_asked_for_and_those_of_another_length_are_damage() {
    let lacking = |listed| {
        let mut one = copy(1);
        one.lacking.push(Lacking {
            key: "v1/volume".to_owned(),
            bytes: 7,
            listed,
        });
        one
    };
    let mut known = KnownCopies::default();
    // One that was never complete is of an upload that goes on.
    take(&mut known, &[lacking(None)], 0);
    assert!(known.copies.is_empty() && known.absent.is_empty());

    take(&mut known, &[copy(1)], 10);
    take(&mut known, &[lacking(None)], 20);
    assert!(known.copies.is_empty());
    let doubts = take(&mut known, &[lacking(None)], 90);
    assert_eq!(doubts[0].key, "v1/volume");

    take(&mut known, &[lacking(Some(6))], 100);
    let damage = known.copies[&run(1)].damage.clone().unwrap();
    assert_eq!(damage.since, at(100));
    assert_eq!(
        damage.why,
        "the volume v1/volume has 6 bytes, and 7 were signed"
    );
    // The right length alone is no proof.
    take(&mut known, &[copy(1)], 110);
    assert!(known.copies[&run(1)].damage.is_some());
}

#[test]
fn a_volume_that_is_later_than_the_manifest_is_suspicious_until_all_was_read_after_it() {
    let mut known = KnownCopies::default();
    let one = copy(1);
    let replaced = [(one.name.clone(), at(30))];
    let take = |known: &mut KnownCopies, minute| {
        let catalogue = Catalogue {
            copies: vec![one.clone()],
            replaced: replaced.clone().into(),
            ..Catalogue::default()
        };
        take_all(known, "file:///mnt", (&catalogue, minute));
        known.copies[&run(1)].replaced
    };
    assert_eq!(take(&mut known, 40), Some(at(30)));
    let prove = |known: &mut KnownCopies, minute| {
        known
            .copies
            .get_mut(&run(1))
            .unwrap()
            .prove(CopyState::ReadBack, at(minute));
    };
    prove(&mut known, 20);
    assert_eq!(take(&mut known, 40), Some(at(30)));
    prove(&mut known, 50);
    assert_eq!(take(&mut known, 60), None);
}

/// A listing in which nothing counts, with the manifest of a copy among what is unexpected.
fn unexpected(signed: Option<Distrusted>) -> Catalogue {
    Catalogue {
        unexpected: vec![Unexpected {
            key: copy(1).manifest.key,
            reason: "it does not count".to_owned(),
            signed,
        }],
        ..Catalogue::default()
    }
}

#[test]
fn a_copy_whose_signer_is_trusted_no_longer_is_forgotten_and_one_that_was_overwritten_is_missing() {
    let signed = |fingerprint: &str, content: &[u8]| {
        Some(Distrusted {
            fingerprint: fingerprint.to_owned(),
            sha256: Sha256Sum::of(content),
        })
    };
    // The sample is of no bytes, and signed by nobody.
    for (there, is_forgotten) in [
        (signed("", b""), true),
        (signed("SHA256:somebody", b""), false),
        (signed("", b"other bytes"), false),
        (None, false),
    ] {
        let mut known = KnownCopies::default();
        take(&mut known, &[copy(1)], 0);
        let catalogue = unexpected(there.clone());
        let mut doubts = Vec::new();
        for minute in [10, 100] {
            doubts.extend(take_all(&mut known, "file:///mnt", (&catalogue, minute)));
        }
        // It is not asked for: the store has something under its key.
        assert_eq!(doubts, [], "{there:?}");
        assert_eq!(known.copies.len(), 0, "{there:?}");
        let missing = known.absent.get(&run(1)).map(|absent| absent.missing);
        let expected = (!is_forgotten).then_some(Some(at(100)));
        assert_eq!(missing, expected, "{there:?}");
        // Trusted again, or put right there.
        take(&mut known, &[copy(1)], 200);
        assert!(known.copies.contains_key(&run(1)) && known.absent.is_empty());
    }
}

#[test]
fn damage_that_is_on_record_is_known_again_of_a_copy_that_is_not_known() {
    let damage = CopyFailure {
        since: at(0),
        why: "a flipped bit".to_owned(),
    };
    let stem = copy(1).name.stem().clone();
    let damaged = BTreeMap::from([(stem, damage.clone())]);
    let listing = Listing {
        url: "file:///mnt",
        place: &place(),
        there: &there(vec![copy(1)]),
        at: at(10),
        damaged: &damaged,
    };
    let mut known = KnownCopies::default();
    take_listing(&mut known, &listing);
    assert_eq!(known.copies[&run(1)].damage, Some(damage));
    // What is known otherwise counts more.
    known
        .copies
        .get_mut(&run(1))
        .unwrap()
        .prove(CopyState::ReadBack, at(20));
    take_listing(&mut known, &listing);
    assert_eq!(known.copies[&run(1)].damage, None);
}
