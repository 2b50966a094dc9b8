//! Listings one after the other, with copies that come and go.

use std::time::Duration;

use chrono::TimeDelta;

use super::*;
use crate::copies::Lacking;
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
    let listing = Listing {
        url,
        place: &place(),
        there: &there(copies.to_vec()),
        at: at(minute),
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
        let listing = Listing {
            url: "file:///mnt",
            place: &place(),
            there: &catalogue,
            at: at(minute),
        };
        take_listing(known, &listing);
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
