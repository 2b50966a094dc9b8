//! What was found out about a copy: how far it is proved, or that it is damaged. One home for it: `status` knows it
//! from the state directory, and the ledger remembers damage when that is lost.

use std::collections::BTreeMap;
use std::path::Path;

use chrono::{DateTime, Utc};

use super::copy_listing::{known_copy, manifest_of};
use super::error::JobError;
use crate::copies::{Copy, TrustedBy};
use crate::policy::CopyState;
use crate::repository::{CopyFailure, Details, Event, KnownCopies, Ledger, Stem};

/// What was found out about a copy of this host's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyProven<'a> {
    copy: &'a Copy,
    at: DateTime<Utc>,
    /// How far the copy is proved, or what is wrong with it.
    result: Result<CopyState, String>,
}

impl<'a> CopyProven<'a> {
    /// What was found out about a copy now.
    pub fn now(copy: &'a Copy, result: Result<CopyState, String>) -> Self {
        Self {
            copy,
            at: Utc::now(),
            result,
        }
    }

    /// Records it among what is known of a directory's copies at a destination.
    ///
    /// # Errors
    /// When the state directory cannot be written.
    pub fn record(
        &self,
        state: &Path,
        (destination, directory): (&str, &Path),
    ) -> std::io::Result<()> {
        KnownCopies::update(state, destination, directory, |known| self.note(known))
    }

    /// Notes it, also of a copy that no listing was taken in with.
    pub(super) fn note(&self, known: &mut KnownCopies) {
        let run = self.copy.name.run();
        let manifest = manifest_of(self.copy);
        if !known.copies.contains_key(&run) {
            // A key that was named for this command alone makes nothing this host's own.
            let by = self.copy.manifest.signature.by;
            if !matches!(by, TrustedBy::Own | TrustedBy::AllowedSigner) {
                return;
            }
            let absent = known.absent.remove(&run);
            let found = absent.map_or_else(|| known_copy(self.copy), |absent| absent.copy);
            known.copies.insert(run, found);
        }
        let Some(one) = known.copies.get_mut(&run) else {
            return;
        };
        // Of another manifest, which somebody has put since or instead, it says nothing.
        if *one.manifest.get_or_insert_with(|| manifest.clone()) != manifest {
            return;
        }
        match &self.result {
            Ok(state) => one.prove(*state, self.at),
            Err(what) => one.find_damaged(self.at, what.clone()),
        }
    }
}

/// The copies that the ledger says are damaged, where nothing is known of those at a destination: before the first
/// listing, and after a loss of the state directory.
///
/// # Errors
/// When the ledger cannot be read.
pub(super) fn damage_unless_known(
    known: &KnownCopies,
    ledger: &Ledger,
    destination: &str,
) -> Result<BTreeMap<Stem, CopyFailure>, JobError> {
    match known.asked {
        Some(_) => Ok(BTreeMap::new()),
        None => damage_on_record(ledger, destination),
    }
}

/// The copies at a destination that the ledger says are damaged, by their backups without slugs. One that was found
/// intact since without being made again is among them: it is read before that is believed.
fn damage_on_record(
    ledger: &Ledger,
    destination: &str,
) -> Result<BTreeMap<Stem, CopyFailure>, JobError> {
    let mut damaged: BTreeMap<Stem, CopyFailure> = BTreeMap::new();
    let stem = |name: &str| Some(name.parse::<Stem>().ok()?.without_slug());
    let read = ledger.read(|record| match &record.details {
        Details::VerifyCopies(found) if found.destination == destination => {
            for one in &found.damaged {
                let Some(stem) = stem(&one.backup) else {
                    continue;
                };
                let since = record.at.to_utc();
                let failure = damaged.entry(stem).or_insert_with(|| CopyFailure {
                    since,
                    why: String::new(),
                });
                failure.why.clone_from(&one.what);
            }
        }
        Details::Copy(copy)
            if record.event == Event::Succeeded
                && copy.destination.as_deref() == Some(destination) =>
        {
            let removed = copy.removed.iter().map(|removal| &removal.backup);
            for gone in removed.chain(&copy.subject.backup) {
                stem(gone).map(|stem| damaged.remove(&stem));
            }
        }
        _ => {}
    });
    read.map_err(|error| {
        JobError::failed(format!("cannot read {}: {error}", ledger.path().display()))
    })?;
    Ok(damaged)
}

#[cfg(test)]
mod tests;
