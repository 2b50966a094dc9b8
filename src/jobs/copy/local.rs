//! What this host knows of the backups whose copies are at a destination: whether they are pinned here, or made
//! before a loss.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::memory::{Memory, Present};
use crate::jobs::JobContext;
use crate::jobs::error::JobError;
use crate::jobs::prune::Held;
use crate::jobs::required_copies::copyable;
use crate::policy::{CopyCandidate, CopyPin, CopyState, Copyable};
use crate::repository::{
    AbsentCopy, Catalogue, CopyDetails, Details, Entry, Event, Repository, Stem,
};

/// What is known here.
pub(super) struct Local<'a> {
    context: &'a JobContext,
    /// Whether the backups that are here are pinned, by their runs.
    pinned: BTreeMap<Uuid, bool>,
    /// What the operator did last, pin or unpin, with backups on record; their slugs are left out, as they
    /// are in the names of copies.
    on_record: BTreeMap<Stem, PinRecord>,
    /// The runs that made backups, by the ledger.
    runs: BTreeSet<Uuid>,
    /// The destinations that have copies by the ledger, with the backups; their slugs are left out.
    copied: BTreeSet<(String, Stem)>,
    held: Held,
}

/// A pin or unpin on record.
#[derive(Clone, Copy, Debug)]
pub(super) struct PinRecord {
    pub(super) is_pin: bool,
    pub(super) run: Uuid,
    pub(super) at: DateTime<Utc>,
}

impl<'a> Local<'a> {
    /// Reads it.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub(super) fn look(
        context: &'a JobContext,
        repository: &Repository,
        catalogue: &Catalogue,
    ) -> Result<Self, JobError> {
        let mut on_record = BTreeMap::new();
        let (mut runs, mut copied) = (BTreeSet::new(), BTreeSet::new());
        let ledger = repository.ledger();
        let read = ledger.read(|record| {
            let (subject, is_pin) = match &record.details {
                Details::Backup(_) => {
                    runs.insert(record.run);
                    return;
                }
                Details::Copy(copy) if record.event == Event::Succeeded => {
                    take_down(copy, &mut copied);
                    return;
                }
                Details::Pin(subject) => (subject, true),
                Details::Unpin(subject) => (subject, false),
                _ => return,
            };
            let stem = subject.backup.as_deref().map(str::parse::<Stem>);
            if record.event == Event::Succeeded
                && let Some(Ok(stem)) = stem
            {
                let word = PinRecord {
                    is_pin,
                    run: record.run,
                    at: record.at.to_utc(),
                };
                on_record.insert(stem.without_slug(), word);
            }
        });
        read.map_err(|error| {
            JobError::failed(format!("cannot read {}: {error}", ledger.path().display()))
        })?;
        let backups = catalogue.backups.iter();
        Ok(Self {
            context,
            pinned: backups
                .map(|entry| (entry.run, entry.state.is_pinned()))
                .collect(),
            on_record,
            runs,
            copied,
            held: Held::look(context, repository, catalogue, None),
        })
    }

    /// A backup that may be copied.
    pub(super) fn copyable<'n>(&self, entry: &'n Entry, name: &'n str) -> Copyable<'n> {
        let held = self.held.holds(entry.started.to_utc(), self.context);
        copyable(self.context, (entry, name), held)
    }

    /// The copies that are at the destination.
    pub(super) fn candidates(&self, memory: &Memory) -> Vec<CopyCandidate> {
        let there = memory.there.iter();
        let candidate = |(&run, there): (&Uuid, &Present)| {
            let known = memory.known.copies.get(&run);
            CopyCandidate {
                run,
                backup: known.map_or_else(|| there.stem.to_string(), |one| one.backup.clone()),
                series: there.stem.series.clone(),
                started: there.started,
                local: self.context.local(there.started).naive_local(),
                // What is damaged is copied again.
                complete: there.is_complete && known.is_none_or(|known| known.damage.is_none()),
                proved: known.is_some_and(|known| known.state >= CopyState::ReadBack),
                partial: there.is_partial,
                pinned: self.pin(run, there).holds(),
                held: there.is_contested || self.held.holds(there.started, self.context),
            }
        };
        there.map(candidate).collect()
    }

    /// The copies that were at the destination and are no longer listed. Pins hold for them as well.
    pub(super) fn absent(&self, memory: &Memory) -> Vec<CopyCandidate> {
        let candidate = |(&run, absent): (&Uuid, &AbsentCopy)| {
            let copy = &absent.copy;
            let stem: Option<Stem> = copy.backup.parse().ok();
            let last = stem.and_then(|stem| self.on_record(&stem));
            let pin = CopyPin {
                here: self.pinned.get(&run).copied(),
                on_record: last.map(|record| record.is_pin),
                ..CopyPin::default()
            };
            CopyCandidate {
                run,
                backup: copy.backup.clone(),
                series: copy.series.clone(),
                started: copy.started,
                local: self.context.local(copy.started).naive_local(),
                complete: false,
                proved: false,
                partial: false,
                pinned: pin.holds(),
                held: self.held.holds(copy.started, self.context),
            }
        };
        memory.known.absent.iter().map(candidate).collect()
    }

    /// What is known of the pin of a copy.
    pub(super) fn pin(&self, run: Uuid, there: &Present) -> CopyPin {
        CopyPin {
            here: self.pinned.get(&run).copied(),
            on_record: self.on_record(&there.stem).map(|record| record.is_pin),
            by_fact: there.pinned_by_fact,
            when_copied: there.was_pinned,
        }
    }

    /// Whether the ledger knows the run that made a backup.
    pub(super) fn knows_run(&self, run: Uuid) -> bool {
        self.runs.contains(&run)
    }

    /// Whether a destination has a copy of a backup, by the ledger.
    pub(super) fn was_copied(&self, destination: &str, stem: &Stem) -> bool {
        let copy = (destination.to_owned(), stem.without_slug());
        self.copied.contains(&copy)
    }

    /// What the operator did last with a backup.
    pub(super) fn on_record(&self, stem: &Stem) -> Option<PinRecord> {
        self.on_record.get(&stem.without_slug()).copied()
    }
}

/// Takes down what a copy run has done, by its record.
fn take_down(copy: &CopyDetails, copied: &mut BTreeSet<(String, Stem)>) {
    let Some(destination) = &copy.destination else {
        return;
    };
    let stem = |name: &str| Some(name.parse::<Stem>().ok()?.without_slug());
    for removal in &copy.removed {
        if let Some(stem) = stem(&removal.backup) {
            copied.remove(&(destination.clone(), stem));
        }
    }
    if let Some(stem) = copy.subject.backup.as_deref().and_then(stem) {
        copied.insert((destination.clone(), stem));
    }
}
