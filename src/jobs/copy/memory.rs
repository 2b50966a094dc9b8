//! What a run knows of the copies of a database's backups at the destination.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::copies::{Catalogue, Copy, CopyName, Object, Place, Sha256Sum};
use crate::policy::CopyState;
use crate::repository::{CopyFailure, KnownCopies, KnownCopy, KnownManifest, Stem};

/// What is there, and the manifest that was put last.
pub(super) struct Memory {
    pub(super) known: KnownCopies,
    /// The copies that are there, by the runs that made their backups; also those that are not complete.
    pub(super) there: BTreeMap<Uuid, Present>,
    /// The number of the newest manifest; 0 before the first.
    pub(super) sequence: u64,
    /// Its SHA-256.
    pub(super) previous: Option<Sha256Sum>,
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
    /// Whether a fact at the destination pins it.
    pub(super) is_pinned_there: bool,
    /// Whether a manifest lies under its name whose signature is not trusted.
    pub(super) is_contested: bool,
}

impl Present {
    fn new(copy: &Copy, is_contested: bool) -> Self {
        let manifest = &copy.manifest.manifest;
        // The facts settle it, where there are any.
        let has_facts = !copy.superseded_by_next().is_empty();
        Self {
            stem: copy.name.stem().clone(),
            started: manifest.started.to_utc(),
            is_complete: copy.is_complete(),
            is_partial: manifest.is_partial,
            was_pinned: manifest.is_pinned,
            is_pinned_there: has_facts && copy.is_pinned,
            is_contested,
        }
    }
}

impl Memory {
    pub(super) fn new(known: KnownCopies) -> Self {
        Self {
            known,
            there: BTreeMap::new(),
            sequence: 0,
            previous: None,
        }
    }

    /// Takes in what the destination has, as it has answered now. How far a copy was proved is remembered;
    /// of one that was not known, only that it is there.
    pub(super) fn take_in(&mut self, (place, there): (&Place, &Catalogue), now: DateTime<Utc>) {
        let before = std::mem::take(&mut self.known.copies);
        self.there.clear();
        for copy in &there.copies {
            for signed in copy.others.iter().chain([&copy.manifest]) {
                if signed.manifest.sequence > self.sequence {
                    self.sequence = signed.manifest.sequence;
                    self.previous = Some(signed.sha256);
                }
            }
            let run = copy.name.run();
            let is_contested = is_contested(place, there, &copy.name);
            self.there.insert(run, Present::new(copy, is_contested));
            if !copy.is_complete() {
                continue;
            }
            let (manifest, stored) = (&copy.manifest.manifest, copy.manifest.stored);
            let mut known = before.get(&run).cloned().unwrap_or_else(|| KnownCopy {
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
            });
            known.manifest = Some(KnownManifest {
                key: copy.manifest.key.to_string(),
                sha256: copy.manifest.sha256.to_string(),
            });
            self.known.copies.insert(run, known);
        }
        self.known.asked = Some(now);
    }

    /// Takes down a copy that was made.
    pub(super) fn add(&mut self, run: Uuid, known: KnownCopy, there: Present) {
        self.known.copies.insert(run, known);
        self.there.insert(run, there);
    }

    /// A copy is there no longer.
    pub(super) fn forget(&mut self, run: Uuid) {
        self.known.copies.remove(&run);
        self.there.remove(&run);
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
fn is_contested(place: &Place, there: &Catalogue, copy: &CopyName) -> bool {
    there.unexpected.iter().any(|unexpected| {
        matches!(
            place.parse(&unexpected.key),
            Some((name, Object::Manifest { .. })) if name == *copy
        )
    })
}
