//! What a listing of a destination tells of the copies that were known there: which are there, which may have been
//! replaced, and which are gone.
//!
//! A copy that is there as it was, and whose signer is trusted no longer, is no copy any more, and is forgotten.
//!
//! Nothing follows from one listing. A copy that it lacks is missing once another listing has lacked it as well, an
//! hour later, and the store says itself that it has no such object, or has another one under its key. Nothing is
//! removed or forgotten for it.

use std::collections::BTreeMap;
use std::path::Path;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::config::Destination;
use crate::copies::{Catalogue, Copy, Place, Unexpected};
use crate::destination::{Key, Store};
use crate::policy::{Absence, CopyState, absence};
use crate::repository::{
    AbsentCopy, ClockReading, CopyFailure, KnownCopies, KnownCopy, KnownManifest, Stem,
};

/// A listing of one place, and when it was begun.
pub(super) struct Listing<'a> {
    /// The destination's address.
    pub(super) url: &'a str,
    pub(super) place: &'a Place,
    pub(super) there: &'a Catalogue,
    pub(super) at: DateTime<Utc>,
    /// The copies that were found damaged, by the ledger: what is known of them otherwise may be lost.
    pub(super) damaged: &'a BTreeMap<Stem, CopyFailure>,
}

impl Listing<'_> {
    /// What the ledger says of a copy that is not known otherwise.
    fn damage_on_record(&self, copy: &Copy) -> Option<CopyFailure> {
        self.damaged.get(&copy.name.stem().without_slug()).cloned()
    }
}

/// An object that the store is to be asked for: without it, the copy is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Doubt {
    run: Uuid,
    key: String,
}

/// Takes a listing in. How far a copy was proved is remembered; of one that was not known, only that it is there.
/// Gives the objects to ask for.
pub(super) fn take_listing(known: &mut KnownCopies, listing: &Listing<'_>) -> Vec<Doubt> {
    look_at_place(known, name_of(listing.url, listing.place));
    known.asked = Some(listing.at);
    let mut before = std::mem::take(&mut known.copies);
    let mut absent = std::mem::take(&mut known.absent);
    let mut lacking = take_present(known, listing, (&mut before, &mut absent));
    let gone = before.into_iter().map(|(run, copy)| (run, copy, None));
    let gone_before = absent
        .into_iter()
        .map(|(run, absent)| (run, absent.copy, Some((absent.since, absent.missing))));
    let mut doubts = Vec::new();
    for (run, copy, earlier) in gone.chain(gone_before) {
        // Retention removes it.
        if known.removing.contains_key(&run) {
            continue;
        }
        let unexpected = unexpected(listing.there, &copy);
        if unexpected.is_some_and(|there| is_distrusted(there, &copy)) {
            continue;
        }
        // It was made meanwhile.
        if earlier.is_none() && copy.copied >= listing.at {
            known.copies.insert(run, copy);
            continue;
        }
        let doubt = doubt(run, &copy, (earlier, listing.at), lacking.remove(&run));
        let (since, mut missing) = earlier.unwrap_or((listing.at, None));
        match doubt {
            // Something else is under its key: asking for that says nothing.
            Some(_) if unexpected.is_some() => missing = Some(listing.at),
            doubt => doubts.extend(doubt),
        }
        // A moment that is still to come is of a clock that was set back.
        let since = since.min(listing.at);
        let absent = AbsentCopy {
            copy,
            since,
            missing,
        };
        known.absent.insert(run, absent);
    }
    doubts
}

/// Takes in the copies that are listed, from those that were known before or were absent. Gives of those that were
/// known and lack volumes one that is not listed.
fn take_present(
    known: &mut KnownCopies,
    listing: &Listing<'_>,
    (before, absent): (
        &mut BTreeMap<Uuid, KnownCopy>,
        &mut BTreeMap<Uuid, AbsentCopy>,
    ),
) -> BTreeMap<Uuid, String> {
    let mut lacking = BTreeMap::new();
    for copy in &listing.there.copies {
        let run = copy.name.run();
        let other_length = copy.lacking.iter().find_map(|one| Some((one, one.listed?)));
        let was_known = before.contains_key(&run) || absent.contains_key(&run);
        if let (Some(lack), None, true) = (copy.lacking.first(), other_length, was_known) {
            lacking.insert(run, lack.key.clone());
            continue;
        }
        if !copy.is_complete() && !was_known {
            continue;
        }
        let earlier = before.remove(&run);
        let earlier = earlier.or_else(|| absent.remove(&run).map(|one| one.copy));
        let mut one = earlier.unwrap_or_else(|| {
            let mut one = known_copy(copy);
            one.damage = listing.damage_on_record(copy);
            one
        });
        one.manifest = Some(manifest_of(copy));
        let replaced = listing.there.replaced.get(&copy.name).copied();
        one.replaced = replaced.filter(|replaced| Some(*replaced) > one.last_read());
        if let Some((lack, listed)) = other_length {
            let why = format!(
                "the volume {} has {listed} bytes, and {} were signed",
                lack.key, lack.bytes
            );
            one.find_damaged(listing.at, why);
        }
        known.copies.insert(run, one);
    }
    lacking
}

/// What lies under the key of a copy's manifest and counts for nothing.
fn unexpected<'a>(there: &'a Catalogue, copy: &KnownCopy) -> Option<&'a Unexpected> {
    let manifest = copy.manifest.as_ref()?;
    let mut unexpected = there.unexpected.iter();
    unexpected.find(|one| one.key.as_str() == manifest.key)
}

/// Whether that is the manifest as it was known, by the same signer: what has changed is whom this host trusts.
fn is_distrusted(there: &Unexpected, copy: &KnownCopy) -> bool {
    let known = copy.manifest.as_ref().zip(there.signed.as_ref());
    known.is_some_and(|(manifest, signed)| {
        signed.sha256.to_string() == manifest.sha256 && signed.fingerprint == manifest.signer
    })
}

/// Since when a copy is absent, and when it was found to be missing.
type Since = (DateTime<Utc>, Option<DateTime<Utc>>);

/// What to ask for of a copy that a listing lacks: a volume that is not there, or its manifest. Nothing while another
/// listing has to lack it first, or once it is missing.
fn doubt(
    run: Uuid,
    copy: &KnownCopy,
    (earlier, now): (Option<Since>, DateTime<Utc>),
    volume: Option<String>,
) -> Option<Doubt> {
    let (since, missing) = earlier.unzip();
    if missing.flatten().is_some() || absence(since, now) != Absence::ToBeConfirmed {
        return None;
    }
    let manifest = copy.manifest.as_ref().map(|manifest| manifest.key.clone());
    let key = volume.or(manifest)?;
    Some(Doubt { run, key })
}

/// Forgets what was known of another place: of that, a listing tells nothing.
fn look_at_place(known: &mut KnownCopies, place: String) {
    if known.place.as_ref().is_some_and(|before| *before != place) {
        known.copies.clear();
        known.absent.clear();
        known.tried.clear();
    }
    known.place = Some(place);
}

/// What a place at a destination is known by.
fn name_of(url: &str, place: &Place) -> String {
    format!("{url}/{place}")
}

/// What this host knows of the copies at a place of a destination; none where that is nothing.
pub fn known_at(state: &Path, destination: &Destination, place: &Place) -> Option<KnownCopies> {
    let name = name_of(&destination.settings.url(), place);
    let mut all = KnownCopies::all(state, &destination.name).into_iter();
    all.find(|known| known.place.as_ref() == Some(&name))
}

/// Asks the store for what two listings have lacked. What cannot be asked for now stays in doubt.
pub(super) async fn settle_doubts(
    store: &dyn Store,
    known: &mut KnownCopies,
    (doubts, now): (Vec<Doubt>, DateTime<Utc>),
) {
    for Doubt { run, key } in doubts {
        let Ok(key) = Key::new(&key) else { continue };
        match store.head(&key).await {
            Ok(found) => {
                if let Some(absent) = known.absent.get_mut(&run) {
                    if found.is_none() {
                        absent.missing = Some(now);
                    } else {
                        // It is there, whatever the listings have.
                        absent.since = now;
                    }
                }
            }
            Err(error) => tracing::debug!("whether a copy is missing is not known: {error}"),
        }
    }
}

/// How the clocks differ, for the record; `offset` is how far the store's is ahead.
pub(super) fn clock_reading(
    offset: Option<chrono::TimeDelta>,
    now: DateTime<Utc>,
) -> Option<ClockReading> {
    offset.map(|offset| ClockReading {
        at: now,
        ahead_seconds: -offset.num_seconds(),
    })
}

/// The manifest of a copy, as it is known again.
pub(super) fn manifest_of(copy: &Copy) -> KnownManifest {
    KnownManifest {
        key: copy.manifest.key.to_string(),
        sha256: copy.manifest.sha256.to_string(),
        signer: copy.manifest.signature.fingerprint.clone(),
    }
}

/// What a listing tells of a copy that was not known.
pub(super) fn known_copy(copy: &Copy) -> KnownCopy {
    let (manifest, stored) = (&copy.manifest.manifest, copy.manifest.stored);
    KnownCopy {
        backup: copy.name.stem().to_string(),
        series: manifest.series.clone(),
        started: manifest.started.to_utc(),
        bytes: manifest.bytes(),
        copied: stored,
        state: CopyState::Sent,
        proved: stored,
        read: None,
        damage: None,
        replaced: None,
        manifest: None,
    }
}

#[cfg(test)]
mod tests;
