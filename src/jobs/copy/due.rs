//! The backups of a database that a destination lacks, one after the other.

use std::collections::{BTreeMap, BTreeSet};

use chrono::Utc;
use uuid::Uuid;

use super::local::Local;
use super::memory::Memory;
use super::{CopyReport, CopyRequest, Copying, OpenDestination};
use crate::copies::{CopyName, Place, Signer};
use crate::jobs::error::JobError;
use crate::jobs::run::Run;
use crate::policy::{Copies, CopyRules, Copyable, Keeping, Rules, Series, due_copies};
use crate::repository::{Entry, Repository};

/// A destination that was looked at.
pub(super) struct Visit<'a> {
    pub(super) run: &'a Run<'a>,
    pub(super) request: CopyRequest<'a>,
    pub(super) destination: &'a OpenDestination,
    pub(super) signer: &'a Signer,
    pub(super) place: &'a Place,
    /// What is kept there; none where nothing is removed.
    pub(super) rules: Option<&'a BTreeMap<Series, Rules>>,
}

impl Visit<'_> {
    /// Copies what is due until nothing is.
    ///
    /// # Errors
    /// As [`copy`](super::copy).
    pub(super) async fn copy_all(
        &self,
        local: &Local<'_>,
        (memory, report): (&mut Memory, &mut CopyReport),
    ) -> Result<(), JobError> {
        let (run, request) = (self.run, self.request);
        let repository = &request.backup_directory.repository;
        let mut passed_over: BTreeSet<Uuid> = BTreeSet::new();
        report.warnings.extend(self.dated_ahead(repository)?);
        loop {
            let catalogue = repository.catalogue()?;
            let there = local.candidates(memory);
            let known = Copies {
                there: &there,
                passed_over: &passed_over,
            };
            let Some(entry) = self.next_due(&catalogue.backups, local, known) else {
                return Ok(());
            };
            // Each copy is a run of its own on record.
            let is_first = report.copied.is_empty() && report.failed.is_empty();
            let id = if is_first { run.id } else { Uuid::now_v7() };
            let copying = Copying {
                run: run.clone().with_id(id),
                request,
                destination: self.destination,
                signer: self.signer,
                place: self.place,
                copy: CopyName::new(&entry.stem, entry.run, request.recipients.is_some()),
                entry,
            };
            match copying.carry_out(memory).await? {
                Ok(copied) => report.copied.push(copied),
                // The next one may well be intact.
                Err(error) => {
                    passed_over.insert(entry.run);
                    report.failed.push((entry.stem.clone(), error.to_string()));
                }
            }
        }
    }

    /// The backups that are not copied because of their dates, one sentence each.
    fn dated_ahead(&self, repository: &Repository) -> Result<Vec<String>, JobError> {
        let now = Utc::now();
        let backups = repository.catalogue()?.backups;
        let ahead = backups.iter().filter(|entry| {
            entry.started.to_utc() > now
                && self.request.destination.takes_series(&entry.stem.series)
        });
        let sentence = |entry: &Entry| {
            format!(
                "{} is not copied: it is dated after now, and its copy would count for nothing\n\
                 hint: if the clock was wrong when it was made, remove it once there is a newer backup",
                entry.stem
            )
        };
        Ok(ahead.map(sentence).collect())
    }

    /// The backup that is copied next, if any is due.
    fn next_due<'a>(
        &self,
        backups: &'a [Entry],
        local: &Local<'_>,
        copies: Copies<'_>,
    ) -> Option<&'a Entry> {
        let names: Vec<String> = backups.iter().map(|entry| entry.stem.to_string()).collect();
        let copyable = backups.iter().zip(&names);
        let copyable: Vec<Copyable<'_>> = copyable
            .map(|(entry, name)| local.copyable(entry, name))
            .collect();
        let rules = CopyRules {
            series: &self.request.destination.series,
            backfill: self
                .run
                .context
                .retention
                .backfill(self.request.destination),
            keeping: self.keeping(),
        };
        let next = *due_copies(&copyable, rules, copies).first()?;
        let index = names.iter().position(|name| name == next)?;
        backups.get(index)
    }

    /// What is kept there, as of now.
    pub(super) fn keeping(&self) -> Keeping<'_> {
        Keeping {
            rules: self.rules,
            floor: self.run.context.retention.floor,
            now: Utc::now(),
        }
    }
}
