//! What this host knows of the backups whose copies are at a destination: whether they are pinned here, or made
//! before a loss.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::memory::{Memory, Present};
use crate::jobs::JobContext;
use crate::jobs::error::JobError;
use crate::jobs::prune::Held;
use crate::jobs::required_copies::copyable;
use crate::policy::{CopyCandidate, CopyState, Copyable};
use crate::repository::{Catalogue, Details, Entry, Event, Repository, Stem};

/// What is known here.
pub(super) struct Local<'a> {
    context: &'a JobContext,
    /// Whether the backups that are here are pinned, by their runs.
    pinned: BTreeMap<Uuid, bool>,
    /// What the operator did last, pin or unpin, with backups on record; their slugs are left out, as they
    /// are in the names of copies.
    on_record: BTreeMap<Stem, bool>,
    held: Held,
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
        let ledger = repository.ledger();
        let read = ledger.read(|record| {
            let (subject, is_pin) = match &record.details {
                Details::Pin(subject) => (subject, true),
                Details::Unpin(subject) => (subject, false),
                _ => return,
            };
            let stem = subject.backup.as_deref().map(str::parse::<Stem>);
            if record.event == Event::Succeeded
                && let Some(Ok(stem)) = stem
            {
                on_record.insert(without_slug(&stem), is_pin);
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
                complete: there.is_complete,
                proved: known.is_some_and(|known| known.state >= CopyState::ReadBack),
                partial: there.is_partial,
                pinned: there.is_pinned_there || self.is_pinned(run, there),
                held: there.is_contested || self.held.holds(there.started, self.context),
            }
        };
        there.map(candidate).collect()
    }

    /// Whether the backup is pinned here; of one that is gone, whether it was at last.
    fn is_pinned(&self, run: Uuid, there: &Present) -> bool {
        let here = self.pinned.get(&run);
        let last = here.or_else(|| self.on_record.get(&without_slug(&there.stem)));
        last.copied().unwrap_or(there.was_pinned)
    }
}

fn without_slug(stem: &Stem) -> Stem {
    Stem {
        slug: None,
        ..stem.clone()
    }
}
