//! Which backups stay for the sake of their copies: a copy is under way, or is required
//! (`retention.require_copies`) and not there yet.

use std::collections::BTreeSet;

use chrono::Utc;
use uuid::Uuid;

use super::JobContext;
use crate::config::Destination;
use crate::policy::{Copies, CopyCandidate, CopyRules, CopyState, Copyable, Keeping, due_copies};
use crate::repository::{
    Catalogue, Entry, KnownCopies, KnownCopy, Repository, backups_being_copied,
};
use crate::responsiveness::{self, PATIENCE};

/// The backups of one database.
#[derive(Clone, Copy)]
pub(super) struct Backups<'a> {
    pub(super) context: &'a JobContext,
    pub(super) repository: &'a Repository,
    /// The names of the server, in the configuration, and of the database.
    pub(super) names: (&'a str, &'a str),
    pub(super) catalogue: &'a Catalogue,
}

/// The backups that stay for their copies, by the runs that made them.
pub(super) struct CopyHolds {
    /// A copy is under way.
    pub(super) under_way: BTreeSet<Uuid>,
    /// A copy is required, and still to be made. What a destination does not take, or would not keep, needs
    /// none there.
    pub(super) lacking: BTreeSet<Uuid>,
}

impl Backups<'_> {
    /// Looks at what is known in the state directory.
    pub(super) fn holds(&self) -> CopyHolds {
        let (server, database) = self.names;
        let required = self.context.retention.require_copies.iter();
        CopyHolds {
            under_way: self.under_way(),
            lacking: required
                .filter(|destination| destination.takes(server, database))
                .flat_map(|destination| self.lacking_at(destination))
                .collect(),
        }
    }

    /// Where the state directory does not answer that is not known, and a copy may fail for it; a backup waits
    /// for no copies.
    fn under_way(&self) -> BTreeSet<Uuid> {
        let directory = self.repository.directory().to_owned();
        let asked = responsiveness::ask(&self.context.state_directory, PATIENCE, move |state| {
            backups_being_copied(state, &directory)
        });
        asked.unwrap_or_else(|error| {
            tracing::warn!("which backups are being copied is not known: {error}");
            BTreeSet::new()
        })
    }

    fn lacking_at(&self, destination: &Destination) -> BTreeSet<Uuid> {
        let backups = &self.catalogue.backups;
        let names: Vec<String> = backups.iter().map(|entry| entry.stem.to_string()).collect();
        let copyable: Vec<Copyable<'_>> = backups
            .iter()
            .zip(&names)
            .map(|(entry, name)| copyable(self.context, (entry, name), false))
            .collect();
        let there = self.there(destination);
        let rules = destination.retention.rules(&self.context.retention);
        let rules = CopyRules {
            series: &destination.series,
            backfill: self.context.retention.backfill(destination),
            keeping: Keeping {
                rules: rules.as_ref(),
                floor: self.context.retention.floor,
                now: Utc::now(),
            },
        };
        let copies = Copies {
            there: &there,
            passed_over: &BTreeSet::new(),
        };
        let due = due_copies(&copyable, rules, copies);
        let is_due = |one: &&Copyable<'_>| due.contains(&one.name);
        copyable.iter().filter(is_due).map(|one| one.run).collect()
    }

    /// The copies that the destination is known to have. While the state directory does not answer, none is
    /// known, and the backups stay.
    fn there(&self, destination: &Destination) -> Vec<CopyCandidate> {
        let (name, directory) = (
            destination.name.clone(),
            self.repository.directory().to_owned(),
        );
        let asked = responsiveness::ask(&self.context.state_directory, PATIENCE, move |state| {
            KnownCopies::read(state, &name, &directory)
        });
        let known = match asked {
            Ok(known) => known,
            Err(error) => {
                tracing::warn!(
                    "which copies are at {} is not known, and the backups stay: {error}",
                    destination.name
                );
                return Vec::new();
            }
        };
        let copies = known.copies.into_iter();
        let candidate = |(run, copy): (Uuid, KnownCopy)| {
            let mut backups = self.catalogue.backups.iter();
            let here = backups.find(|entry| entry.run == run);
            CopyCandidate {
                run,
                backup: copy.backup,
                series: copy.series,
                started: copy.started,
                local: self.context.local(copy.started).naive_local(),
                // Only what this host has read back there has arrived.
                complete: copy.damage.is_none() && copy.state >= CopyState::ReadBack,
                proved: copy.state >= CopyState::ReadBack,
                partial: here.is_some_and(Entry::is_partial),
                pinned: here.is_some_and(|entry| entry.state.is_pinned()),
                held: false,
            }
        };
        copies.map(candidate).collect()
    }
}

/// A backup that may be copied; `held` says that it was made before a loss that nobody has accepted.
pub(super) fn copyable<'n>(
    context: &JobContext,
    (entry, name): (&'n Entry, &'n str),
    held: bool,
) -> Copyable<'n> {
    let started = entry.started.to_utc();
    Copyable {
        name,
        run: entry.run,
        series: &entry.stem.series,
        started,
        local: context.local(started).naive_local(),
        intact: entry.is_sound(),
        partial: entry.is_partial(),
        pinned: entry.state.is_pinned(),
        held,
    }
}
