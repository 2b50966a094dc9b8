use super::*;
use crate::jobs::copy_listing::manifest_of;
use crate::jobs::fetch::sample;
use crate::repository::{AbsentCopy, KnownManifest};

fn copy() -> Copy {
    sample::copy("backup_20261101_020000", 1, false)
}

fn note(known: &mut KnownCopies, copy: &Copy, result: Result<CopyState, String>) {
    CopyProven::now(copy, result).note(known);
}

#[test]
fn what_is_found_out_before_the_first_listing_is_known() {
    let copy = copy();
    let run = copy.name.run();
    let mut known = KnownCopies::default();
    note(&mut known, &copy, Ok(CopyState::ReadBack));
    let one = &known.copies[&run];
    assert_eq!(one.state, CopyState::ReadBack);
    assert_eq!(one.manifest, Some(manifest_of(&copy)));
    note(&mut known, &copy, Err("a flipped bit".to_owned()));
    assert!(known.is_damaged(&run));

    // One that a listing lacked is there, since it was read.
    let absent = AbsentCopy {
        copy: known.copies.remove(&run).unwrap(),
        since: Utc::now(),
        missing: None,
    };
    known.absent.insert(run, absent);
    note(&mut known, &copy, Ok(CopyState::Opened));
    assert_eq!(known.copies[&run].state, CopyState::Opened);
    assert!(known.absent.is_empty() && !known.is_damaged(&run));
}

#[test]
fn another_manifest_or_a_key_that_was_named_for_once_proves_nothing() {
    let copy = copy();
    let run = copy.name.run();
    for by in [TrustedBy::Fingerprint, TrustedBy::Any] {
        let mut known = KnownCopies::default();
        let mut copy = copy.clone();
        copy.manifest.signature.by = by;
        note(&mut known, &copy, Ok(CopyState::ReadBack));
        assert!(known.copies.is_empty(), "{by:?}");
    }
    let mut known = KnownCopies::default();
    note(&mut known, &copy, Ok(CopyState::Uploaded));
    let other = KnownManifest {
        sha256: "0".repeat(64),
        ..manifest_of(&copy)
    };
    known.copies.get_mut(&run).unwrap().manifest = Some(other);
    note(&mut known, &copy, Ok(CopyState::Opened));
    assert_eq!(known.copies[&run].state, CopyState::Uploaded);
}
