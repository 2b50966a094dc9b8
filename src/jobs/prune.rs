//! Removing what retention no longer keeps, and saying why.

use std::collections::BTreeMap;
use std::io;
use std::time::Instant;

use chrono::{DateTime, NaiveDateTime, Utc};

use super::error::JobError;
use super::record::{append, unrecorded};
use super::required_copies;
use super::run::Run;
use super::target::BackupDirectory;
use super::{JobContext, continuity};
use crate::policy::{
    Candidate, ClockDoubt, ClockTrust, Decision, Loss, Reason, Rules, Series, Verdict, decide,
};
use crate::repository::{
    Catalogue, Details, Entry, Event, Lock, Operation, Removal, Repository, Stem,
};

/// What a backup takes besides the bytes of its files: the manifest, and the rest of each file's last block.
pub(super) const OVERHEAD: u64 = 5 * 4096;

/// Whether a clean-up removes anything, and whether it believes the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PruneMode {
    /// Only say what would be removed.
    pub dry_run: bool,
    /// Whether a clock that looks wrong is believed all the same.
    pub trust: ClockTrust,
}

/// What a clean-up decided, series by series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PruneReport {
    /// In the order of the series' names.
    pub series: Vec<SeriesReport>,
    /// Backups that were removed, or would be.
    pub removed: Vec<Removal>,
    /// Bytes that this freed, or would free.
    pub freed: u64,
    /// What was lost and not accepted, which keeps the backups from before it.
    pub losses: Vec<Loss>,
    /// The backups that only the lack of a copy keeps, oldest first.
    without_copy: Vec<Stem>,
}

/// What becomes of each backup of a series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesReport {
    /// The series.
    pub series: Series,
    /// Newest first: the backup, whether it stays, and every reason.
    pub verdicts: Vec<(Stem, bool, Vec<Reason>)>,
    /// Why nothing is removed although the rules would.
    pub clock_doubt: Option<ClockDoubt>,
}

/// Cleans one database's directory up, with its own lock and its own records in the ledger.
///
/// # Errors
/// When the directory is busy, or a file cannot be removed; what was removed by then is on record.
pub fn prune(
    run: &Run<'_>,
    backup_directory: &BackupDirectory,
    mode: PruneMode,
) -> Result<PruneReport, JobError> {
    let repository = &backup_directory.repository;
    let database = &*backup_directory.database;
    let scope = Scope {
        names: (
            backup_directory.server.as_deref().unwrap_or("main"),
            database,
        ),
        only: None,
        next_bytes: 0,
        losses: None,
        trust: mode.trust,
    };
    if mode.dry_run {
        let catalogue = repository.catalogue()?;
        return Ok(plan(run.context, repository, &catalogue, scope));
    }
    let lock = repository.lock(&run.context.holder("clean-up"))?;
    repository.sweep(&lock)?;
    let ledger = repository.ledger();
    let began = Instant::now();
    let details = Details::of(Operation::Prune);
    let start = run.record_with_requester(Event::Started, database, details);
    match ledger.append(&start) {
        // A full disk is what a clean-up can help with, and then its end can be recorded.
        Err(error) if error.kind() == io::ErrorKind::StorageFull => {
            tracing::warn!(
                "the start of the prune run could not be recorded in {}: {error}",
                ledger.path().display()
            );
        }
        Err(error) => return Err(unrecorded(&ledger, "nothing was removed because")(error)),
        Ok(()) => {}
    }

    let mut removed = Vec::new();
    let pruning = Pruning {
        run,
        repository,
        lock: &lock,
    };
    let outcome = pruning.carry_out(scope, &mut removed);
    let details = Details::Prune { removed };
    let mut record = run.record(Event::Succeeded, database, details);
    record.seconds = Some(began.elapsed().as_secs_f64());
    match &outcome {
        Ok(report) => record.message = doubts(report),
        Err(error) => {
            record.event = Event::Failed;
            record.message = Some(error.to_string());
        }
    }
    append(&ledger, &record, "the prune run is done, but")?;
    outcome
}

/// What a clean-up is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope<'a> {
    /// The names of the server, in the configuration, and of the database.
    pub(super) names: (&'a str, &'a str),
    /// The only series that it is about.
    pub(super) only: Option<&'a Series>,
    /// Bytes of the next backup, for which room is made if need be.
    pub(super) next_bytes: u64,
    /// What is lost, where that is known better than by the ledger, which a run has not closed yet.
    pub(super) losses: Option<&'a [Loss]>,
    /// Whether the clock is believed.
    pub(super) trust: ClockTrust,
}

/// A run that holds the lock of the directory that it cleans up.
#[derive(Clone, Copy)]
pub(super) struct Pruning<'a> {
    pub(super) run: &'a Run<'a>,
    pub(super) repository: &'a Repository,
    pub(super) lock: &'a Lock,
}

impl Pruning<'_> {
    /// Decides and removes. What was removed is in `removed` also after a failure.
    pub(super) fn carry_out(
        self,
        scope: Scope<'_>,
        removed: &mut Vec<Removal>,
    ) -> Result<PruneReport, JobError> {
        let catalogue = self.repository.catalogue()?;
        let mut report = plan(self.run.context, self.repository, &catalogue, scope);
        report.removed.clear();
        for series in &report.series {
            for (stem, keep, reasons) in &series.verdicts {
                if !keep && self.repository.remove(self.run.id, stem, self.lock)? {
                    removed.push(removal(stem, reasons));
                }
            }
        }
        self.make_room(scope.next_bytes, &mut report, removed)?;
        report.removed.clone_from(removed);
        Ok(report)
    }

    /// Removes backups that only lack a copy, the oldest first, until the next backup fits: with a destination
    /// out of reach, there would be none else.
    fn make_room(
        self,
        needed: u64,
        report: &mut PruneReport,
        removed: &mut Vec<Removal>,
    ) -> Result<(), JobError> {
        if report.without_copy.is_empty() {
            return Ok(());
        }
        let mut free = self.repository.free_space()?;
        for stem in std::mem::take(&mut report.without_copy) {
            if free >= needed {
                break;
            }
            let catalogue = self.repository.catalogue()?;
            let mut entries = catalogue.backups.iter();
            let Some(entry) = entries.find(|entry| entry.stem == stem) else {
                continue;
            };
            if self.repository.remove(self.run.id, &stem, self.lock)? {
                // What a file system frees may be free only later.
                free += entry.bytes + OVERHEAD;
                removed.push(removal(&stem, &[Reason::NoRoom]));
                report.remove_without_copy(&stem, entry.bytes);
            }
        }
        Ok(())
    }
}

/// What was removed without the copy that it has to have, one sentence each.
pub(super) fn removed_without_copy(report: &PruneReport) -> Vec<String> {
    let verdicts = report.series.iter().flat_map(|series| &series.verdicts);
    verdicts
        .filter(|(_, _, reasons)| reasons.contains(&Reason::NoRoom))
        .map(|(stem, ..)| {
            format!(
                "{stem} was removed although it lacks a copy that retention.require_copies asks for: the next \
                 backup would not have fitted"
            )
        })
        .collect()
}

/// What the clock's oddities have kept from being removed, in one text.
pub(super) fn doubts(report: &PruneReport) -> Option<String> {
    let doubts: Vec<String> = report
        .series
        .iter()
        .filter_map(|series| {
            let doubt = series.clock_doubt.as_ref()?;
            Some(format!("series {}: {doubt}", series.series))
        })
        .collect();
    (!doubts.is_empty()).then(|| doubts.join("; "))
}

/// What must stay because it was made before something was lost.
pub(super) struct Held {
    losses: Vec<Loss>,
    /// The latest of the moments before which backups must stay.
    before: Option<DateTime<Utc>>,
    /// The same on the wall clock, of backups of which only the name is left.
    before_local: Option<NaiveDateTime>,
}

impl Held {
    /// By what is on record.
    pub(super) fn look(
        context: &JobContext,
        repository: &Repository,
        catalogue: &Catalogue,
        losses: Option<&[Loss]>,
    ) -> Self {
        let losses = match losses {
            Some(losses) => losses.to_vec(),
            None => continuity::look(Some(&context.state_directory), repository, catalogue),
        };
        Self::of(losses, catalogue)
    }

    /// Of these losses, and of the manifests that are lost.
    pub(super) fn of(losses: Vec<Loss>, catalogue: &Catalogue) -> Self {
        let lost = catalogue.problems.iter();
        Self {
            before: losses.iter().map(Loss::keeps_before).max(),
            before_local: lost
                .filter_map(|problem| Some(problem.lost.as_ref()?.local))
                .max(),
            losses,
        }
    }

    /// Whether a backup that was started then must stay.
    pub(super) fn holds(&self, started: DateTime<Utc>, context: &JobContext) -> bool {
        let local = started.with_timezone(&context.zone).naive_local();
        self.before.is_some_and(|before| started < before)
            || self.before_local.is_some_and(|before| local < before)
    }
}

fn plan(
    context: &JobContext,
    repository: &Repository,
    catalogue: &Catalogue,
    scope: Scope<'_>,
) -> PruneReport {
    let held = Held::look(context, repository, catalogue, scope.losses);
    let copies = required_copies::Backups {
        context,
        repository,
        names: scope.names,
        catalogue,
    };
    let copies = copies.holds();
    let mut by_series: BTreeMap<&Series, Vec<&Entry>> = BTreeMap::new();
    for entry in &catalogue.backups {
        by_series.entry(&entry.stem.series).or_default().push(entry);
    }
    let mut report = PruneReport {
        series: Vec::new(),
        removed: Vec::new(),
        freed: 0,
        losses: held.losses.clone(),
        without_copy: Vec::new(),
    };
    for (series, entries) in by_series {
        if scope.only.is_some_and(|only| only != series) {
            continue;
        }
        let names: Vec<String> = entries.iter().map(|entry| entry.stem.to_string()).collect();
        let of_series = entries.iter().zip(&names);
        let candidates: Vec<Candidate> = of_series
            .map(|(entry, name)| Candidate {
                being_copied: copies.under_way.contains(&entry.run),
                awaits_copy: copies.lacking.contains(&entry.run),
                ..candidate(context, &held, entry, name)
            })
            .collect();
        let keep_all = Rules::default();
        let rules = context.retention.series.get(series).unwrap_or(&keep_all);
        let floor = context.retention.floor;
        let decision = decide(&candidates, rules, floor, Utc::now(), scope.trust);
        let names = names.iter().map(String::as_str);
        let by_name = names.zip(entries.iter().copied()).collect();
        report.add_decision(series, &by_name, decision);
    }
    report
}

/// A backup as retention sees it, whatever copies there are.
pub(super) fn candidate<'a>(
    context: &JobContext,
    held: &Held,
    entry: &Entry,
    name: &'a str,
) -> Candidate<'a> {
    Candidate {
        name,
        started: entry.started.with_timezone(&Utc),
        local: entry.started.with_timezone(&context.zone).naive_local(),
        verified: entry.is_sound(),
        read: entry.state.was_read(),
        partial: entry.is_partial(),
        pinned: entry.state.is_pinned(),
        held: held.holds(entry.started.to_utc(), context),
        being_copied: false,
        awaits_copy: false,
    }
}

impl PruneReport {
    /// Takes down what was decided on the backups of a series.
    fn add_decision(
        &mut self,
        series: &Series,
        by_name: &BTreeMap<&str, &Entry>,
        decision: Decision<'_>,
    ) {
        let without_copy = decision.without_copy();
        let stem = |name| Some(by_name.get(name)?.stem.clone());
        self.without_copy.extend(without_copy.filter_map(stem));
        let mut verdicts = Vec::new();
        for Verdict {
            name,
            keep,
            reasons,
        } in decision.verdicts
        {
            let Some(entry) = by_name.get(name) else {
                continue;
            };
            if !keep {
                self.freed += entry.bytes;
                self.removed.push(removal(&entry.stem, &reasons));
            }
            verdicts.push((entry.stem.clone(), keep, reasons));
        }
        self.series.push(SeriesReport {
            series: series.clone(),
            verdicts,
            clock_doubt: decision.clock_doubt,
        });
    }

    /// Takes down that a backup was removed without a copy.
    fn remove_without_copy(&mut self, removed: &Stem, bytes: u64) {
        self.freed += bytes;
        let verdicts = self.series.iter_mut().flat_map(|one| &mut one.verdicts);
        for (_, keep, reasons) in verdicts.filter(|(stem, ..)| stem == removed) {
            *keep = false;
            *reasons = vec![Reason::NoRoom];
        }
    }
}

fn removal(stem: &Stem, reasons: &[Reason]) -> Removal {
    Removal {
        backup: stem.to_string(),
        reasons: reasons.iter().map(ToString::to_string).collect(),
    }
}
