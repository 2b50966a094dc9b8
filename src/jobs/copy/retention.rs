//! Retention at the destination: what the rules no longer keep is removed, manifests first, so that a copy is
//! complete or none. What a kill leaves has no manifest, and the next run removes it.

use chrono::Utc;
use uuid::Uuid;

use super::local::Local;
use super::memory::Memory;
use super::objects::{batches, objects};
use super::orphans::Orphans;
use super::{CopyReport, OpenDestination};
use crate::copies::{Catalogue, CopyName, Place};
use crate::destination::{DestinationError, DestinationErrorKind, Key};
use crate::display::counted;
use crate::jobs::error::JobError;
use crate::jobs::record::append;
use crate::jobs::run::Run;
use crate::jobs::target::BackupDirectory;
use crate::policy::{CopyCandidate, CopyDecision, Keeping, decide_copies, outlived};
use crate::repository::{CopyDetails, CopyFailure, Event, Removal, RemovedCopy, copies_under_way};

/// The removal of what is no longer kept.
pub(super) struct Retention<'a> {
    pub(super) run: &'a Run<'a>,
    pub(super) backup_directory: &'a BackupDirectory,
    pub(super) destination: &'a OpenDestination,
    pub(super) place: &'a Place,
    /// What was there when the run began.
    pub(super) there: &'a Catalogue,
}

/// A copy and its objects, in the order in which they are removed.
struct Doomed {
    run: Uuid,
    batches: Vec<Vec<Key>>,
}

impl Retention<'_> {
    /// Decides and removes. What the destination refuses to remove stays, and the run goes on; so it does after
    /// any other failure there, and the next run tries again.
    ///
    /// # Errors
    /// When the run is to end, or the ledger cannot be written.
    pub(super) async fn carry_out(
        &self,
        (local, keeping): (&Local<'_>, Keeping<'_>),
        (memory, report): (&mut Memory, &mut CopyReport),
    ) -> Result<(), JobError> {
        let name = &self.destination.name;
        let candidates = local.candidates(memory);
        let decision = decide(&candidates, keeping, memory);
        let absent = local.absent(memory);
        for (run, _) in outlived(&absent, &candidates, keeping) {
            memory.known.absent.remove(&run);
        }
        report.warnings.extend(doubts(&decision, name));
        self.doom_orphans(local, memory).await?;
        let mut doomed = self.left_over(memory);
        doomed.extend(self.doom(&decision, memory));
        if doomed.is_empty() {
            return Ok(());
        }
        // Before the first manifest goes: without it, nothing says whose the rest is.
        let state = &self.run.context.state_directory;
        if let Err(error) = memory.known.write(state, name) {
            report.warnings.push(format!(
                "no copy was removed from {name}, because that could not be noted in {}: {error}",
                state.display()
            ));
            return Ok(());
        }
        self.run.step(&format!("removing old copies from {name}"));
        let mut finished = Vec::new();
        for (index, copy) in doomed.iter().enumerate() {
            match self.remove(copy, memory).await? {
                Ok(()) => finished.push(copy.run),
                Err(error) => {
                    let warning = self.failed(&error, (doomed.len() - index, memory));
                    report.warnings.extend(warning);
                    break;
                }
            }
        }
        report.removed = self.record(memory, report)?;
        let Memory { known, there, .. } = memory;
        let is_open = |run: &Uuid| !finished.contains(run) && !there.contains_key(run);
        known.removing.retain(|run, _| is_open(run));
        Ok(())
    }

    /// Gives up the copies that were begun and are due no longer, because the rules would remove them or their
    /// backups are gone: what was sent of them is removed, and no journal keeps their backups any more.
    ///
    /// # Errors
    /// When the run is to end, or the state directory cannot be read or written.
    pub(super) async fn give_up_what_is_not_due(
        &self,
        (memory, report): (&mut Memory, &mut CopyReport),
    ) -> Result<(), JobError> {
        let state = &self.run.context.state_directory;
        let directory = self.backup_directory.repository.directory();
        let begun = copies_under_way(state, &self.destination.name, directory)?;
        for (index, journal) in begun.iter().enumerate() {
            let run = journal.start().run;
            // Of one that is complete, everything that was sent is its own.
            if memory.there.contains_key(&run) {
                continue;
            }
            // Also what was put just before a kill, and is not on record.
            let is_its =
                |copy: &CopyName| format!("{}/{copy}", self.place) == journal.start().prefix;
            let unclaimed = self.there.unclaimed.iter();
            let keys: Vec<Key> = unclaimed
                .filter(|one| !one.has_manifest && is_its(&one.copy))
                .map(|one| one.listed.key.clone())
                .collect();
            let copy = Doomed {
                run,
                batches: batches(&keys),
            };
            if let Err(error) = self.remove(&copy, memory).await? {
                let warning = self.failed(&error, (begun.len() - index, memory));
                report.warnings.extend(warning);
                return Ok(());
            }
        }
        for journal in begun {
            journal.end()?;
        }
        Ok(())
    }

    /// Writes to the ledger which copies are there no longer, and gives them.
    fn record(&self, memory: &mut Memory, report: &CopyReport) -> Result<Vec<Removal>, JobError> {
        let Memory { known, there, .. } = memory;
        let removing = known.removing.iter_mut();
        let gone = removing.filter(|(run, one)| !there.contains_key(run) && !one.is_recorded);
        let mut gone: Vec<&mut RemovedCopy> = gone.map(|(_, one)| one).collect();
        let removed: Vec<Removal> = gone.iter().map(|one| one.removal.clone()).collect();
        if removed.is_empty() {
            return Ok(removed);
        }
        let details = CopyDetails {
            destination: Some(self.destination.name.clone()),
            removed: removed.clone(),
            ..CopyDetails::default()
        };
        // The copies that were made are runs of their own.
        let id = if report.copied.is_empty() {
            self.run.id
        } else {
            Uuid::now_v7()
        };
        let run = self.run.clone().with_id(id);
        let database = &self.backup_directory.database;
        let record = run.record_with_requester(Event::Succeeded, database, details);
        let ledger = self.backup_directory.repository.ledger();
        append(&ledger, &record, "old copies were removed, but")?;
        for one in &mut gone {
            one.is_recorded = true;
        }
        Ok(removed)
    }

    /// Takes down which orphans go, as copies whose removal was cut short.
    async fn doom_orphans(&self, local: &Local<'_>, memory: &mut Memory) -> Result<(), JobError> {
        if self.there.unclaimed.is_empty() {
            memory.known.orphans.clear();
            return Ok(());
        }
        let Self {
            run, destination, ..
        } = self;
        // Without the store's clock nothing is old.
        let Ok(offset) = run.wait_for(destination.store.clock_offset()).await? else {
            return Ok(());
        };
        let state = &run.context.state_directory;
        let directory = self.backup_directory.repository.directory();
        let begun = copies_under_way(state, &destination.name, directory)?;
        let pending = begun.iter().map(|journal| journal.start().run).collect();
        let now = Utc::now();
        let orphans = Orphans {
            destination: &destination.name,
            there: self.there,
            pending: &pending,
            store: now + offset.unwrap_or_default(),
        };
        orphans.doom(local, memory, now);
        Ok(())
    }

    /// Copies whose removal was cut short: without a manifest of any kind, what is left of them belongs to
    /// nothing else.
    fn left_over(&self, memory: &mut Memory) -> Vec<Doomed> {
        let Memory { known, there, .. } = memory;
        // Where the manifest is still there, it is decided again.
        known.removing.retain(|run, _| !there.contains_key(run));
        let removing = known.removing.iter();
        removing
            .map(|(&run, removed)| {
                let unclaimed = self.there.unclaimed.iter();
                let rest = unclaimed
                    .filter(|one| !one.has_manifest && one.copy.to_string() == removed.name);
                let listed = self.there.unexpected.iter();
                let facts =
                    listed.filter(|one| removed.facts.iter().any(|key| *key == one.key.as_str()));
                let keys = facts
                    .map(|one| one.key.clone())
                    .chain(rest.map(|one| one.listed.key.clone()));
                let keys: Vec<Key> = keys.collect();
                Doomed {
                    run,
                    batches: batches(&keys),
                }
            })
            .collect()
    }

    /// The copies that the rules no longer keep, which are taken down as such.
    fn doom(&self, decision: &CopyDecision, memory: &mut Memory) -> Vec<Doomed> {
        let mut doomed = Vec::new();
        for (run, reasons) in &decision.removed {
            let mut copies = self.there.copies.iter();
            let Some(copy) = copies.find(|copy| copy.name.run() == *run) else {
                continue;
            };
            let known = memory.known.copies.get(run);
            let backup =
                known.map_or_else(|| copy.name.stem().to_string(), |one| one.backup.clone());
            let removed = RemovedCopy {
                removal: Removal {
                    backup,
                    reasons: reasons.iter().map(ToString::to_string).collect(),
                },
                name: copy.name.to_string(),
                facts: copy.facts.iter().map(|(key, _)| key.to_string()).collect(),
                sequences: (memory.there.get(run))
                    .map_or_else(Vec::new, |there| there.sequences.clone()),
                is_recorded: false,
            };
            memory.known.removing.insert(*run, removed);
            doomed.push(Doomed {
                run: *run,
                batches: objects(self.place, self.there, copy),
            });
        }
        doomed
    }

    /// Removes a copy, or what was sent of one. The inner error is the destination's.
    ///
    /// # Errors
    /// When the run is to end.
    async fn remove(
        &self,
        copy: &Doomed,
        memory: &mut Memory,
    ) -> Result<Result<(), DestinationError>, JobError> {
        for (index, batch) in copy.batches.iter().enumerate() {
            let removing = self.destination.store.delete(batch);
            if let Err(error) = self.run.wait_for(removing).await? {
                return Ok(Err(error));
            }
            memory.known.refusal = None;
            // The first batch has the manifests: with them gone, it is a copy no longer.
            if index == 0 {
                memory.forget(copy.run);
            }
        }
        Ok(Ok(()))
    }

    /// What to report of a removal that has failed, while so many copies are left to be removed.
    fn failed(
        &self,
        error: &DestinationError,
        (left, memory): (usize, &mut Memory),
    ) -> Option<String> {
        let name = &self.destination.name;
        let copies = counted(left as u64, "old copy", "old copies");
        if error.kind != DestinationErrorKind::Denied {
            return Some(format!(
                "{copies} could not be removed from {name}; the next run tries again: {error}"
            ));
        }
        // It may be meant: a store that keeps what it has. It is reported once.
        let before = memory.known.refusal.as_ref().map(|refusal| refusal.since);
        memory.known.refusal = Some(CopyFailure {
            since: before.unwrap_or_else(Utc::now),
            why: error.to_string(),
        });
        before.is_none().then(|| {
            format!(
                "{name} refuses to remove {copies}; copying goes on, and this is not reported again: {error}"
            )
        })
    }
}

/// Decides which copies go, those that are damaged among them.
pub(super) fn decide(
    candidates: &[CopyCandidate],
    keeping: Keeping<'_>,
    memory: &Memory,
) -> CopyDecision {
    let mut decision = decide_copies(candidates, keeping);
    let damaged: Vec<CopyCandidate> = candidates
        .iter()
        .filter(|one| memory.known.is_damaged(&one.run))
        .cloned()
        .collect();
    decision
        .removed
        .extend(outlived(&damaged, candidates, keeping));
    decision
}

/// Why nothing of a series is removed, one sentence each.
pub(super) fn doubts(decision: &CopyDecision, destination: &str) -> Vec<String> {
    let doubts = decision.doubts.iter();
    doubts
        .map(|(series, doubt)| {
            format!(
                "no copy of series {series} was removed from {destination}: {}, so the clock looks wrong\n\
                 hint: set it right; `timedatectl` shows whether it is synchronised",
                doubt.finding()
            )
        })
        .collect()
}
