//! What a run knows of the copies of a database's backups at the destination.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::recipients::Encrypted;
use crate::copies::{Catalogue, Copy, CopyName, Object, Place, Sha256Sum, SignedManifest};
use crate::jobs::copy_listing::{Doubt, Listing, take_listing};
use crate::repository::{CopyFailure, KnownCopies, KnownCopy, Stem};

/// What is there, and the manifest that was put last.
pub(super) struct Memory {
    pub(super) known: KnownCopies,
    /// The copies that are there, by the runs that made their backups; also those that are not complete.
    pub(super) there: BTreeMap<Uuid, Present>,
    /// The number of the newest manifest; 0 before the first.
    pub(super) sequence: u64,
    /// Its SHA-256.
    pub(super) previous: Option<Sha256Sum>,
    /// The encrypted copies that were there before.
    pub(super) encrypted: Encrypted,
}

/// A copy that is there.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, and any may hold with any other"
)]
#[derive(Clone, Debug)]
pub(super) struct Present {
    /// The backup; without the reason's slug if the copy is encrypted.
    pub(super) stem: Stem,
    /// When the backup was started.
    pub(super) started: DateTime<Utc>,
    pub(super) is_complete: bool,
    pub(super) is_partial: bool,
    /// Whether the backup was pinned when it was copied.
    pub(super) was_pinned: bool,
    /// Whether the facts at the destination pin it; none without such a fact.
    pub(super) pinned_by_fact: Option<bool>,
    /// Whether a manifest lies under its name whose signature is not trusted.
    pub(super) is_contested: bool,
    /// The numbers of its manifests.
    pub(super) sequences: Vec<u64>,
}

impl Present {
    pub(super) fn new(copy: &Copy, is_contested: bool) -> Self {
        let manifest = &copy.manifest.manifest;
        let has_facts = !copy.superseded_by_next().is_empty();
        Self {
            stem: copy.name.stem().clone(),
            started: manifest.started.to_utc(),
            is_complete: copy.is_complete(),
            is_partial: manifest.is_partial,
            was_pinned: if has_facts {
                manifest.is_pinned
            } else {
                // By any of its manifests.
                copy.is_pinned
            },
            pinned_by_fact: has_facts.then_some(copy.is_pinned),
            is_contested,
            sequences: signed(copy).map(|one| one.manifest.sequence).collect(),
        }
    }
}

/// All manifests of a copy.
fn signed(copy: &Copy) -> impl Iterator<Item = &SignedManifest> {
    copy.others.iter().chain([&copy.manifest])
}

impl Memory {
    pub(super) fn new(known: KnownCopies) -> Self {
        Self {
            known,
            there: BTreeMap::new(),
            sequence: 0,
            previous: None,
            encrypted: Encrypted::default(),
        }
    }

    /// Takes in what the destination has, as it has answered now; gives what it is to be asked for by its key.
    /// `of` is what the manifests are numbered in, by the key with this fingerprint.
    pub(super) fn take_in(
        &mut self,
        listing: &Listing<'_>,
        (of, signer): (&str, &str),
    ) -> Vec<Doubt> {
        let (place, there) = (listing.place, listing.there);
        let doubts = take_listing(&mut self.known, listing);
        self.there.clear();
        self.encrypted = Encrypted::of(there);
        for copy in &there.copies {
            for signed in signed(copy) {
                if signed.manifest.sequence > self.sequence {
                    self.sequence = signed.manifest.sequence;
                    self.previous = Some(signed.sha256);
                }
            }
            let run = copy.name.run();
            let is_contested = is_contested(place, there, &copy.name);
            self.there.insert(run, Present::new(copy, is_contested));
        }
        // Another key has numbers of its own, which may go with the trust in it.
        let sequences = there.copies.iter().flat_map(signed);
        let sequences = sequences.filter(|one| one.signature.fingerprint == signer);
        let sequences: BTreeSet<u64> = sequences.map(|one| one.manifest.sequence).collect();
        self.known.look_for_gaps(of, (&sequences, listing.at));
        doubts
    }

    /// Takes down a copy that was made.
    pub(super) fn add(&mut self, run: Uuid, known: KnownCopy, there: Present) {
        for sequence in &there.sequences {
            self.known.numbers.put(*sequence);
        }
        self.known.copies.insert(run, known);
        self.known.absent.remove(&run);
        self.there.insert(run, there);
    }

    /// A copy is there no longer.
    pub(super) fn forget(&mut self, run: Uuid) {
        self.known.copies.remove(&run);
        if let Some(there) = self.there.remove(&run) {
            self.known.numbers.removed(&there.sequences);
        }
    }

    /// A run has failed.
    pub(super) fn fail(&mut self, now: DateTime<Utc>, why: String) {
        let since = self
            .known
            .failure
            .as_ref()
            .map_or(now, |failure| failure.since);
        self.known.failure = Some(CopyFailure { since, why });
    }
}

/// Whether a manifest that is not trusted lies under the name of a copy.
pub(in crate::jobs) fn is_contested(place: &Place, there: &Catalogue, copy: &CopyName) -> bool {
    there.unexpected.iter().any(|unexpected| {
        matches!(
            place.parse(&unexpected.key),
            Some((name, Object::Manifest { .. })) if name == *copy
        )
    })
}
