//! What was read of one database's directory, and the facts that it comes to.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use chrono::{DateTime, FixedOffset, Utc};

use super::copies::copy_facts;
use super::directories::Spot;
use super::history::{self, History};
use super::inspection::Inspection;
use super::{DatabaseStatus, Line, Proof, running_job};
use crate::config::{Job, JobKind};
use crate::jobs::LastDrill;
use crate::jobs::anomaly::odd_size;
use crate::jobs::continuity;
use crate::jobs::drill::backups_since;
use crate::jobs::forecast::Growth;
use crate::jobs::slots::{SeriesSlots, backed_up_since};
use crate::policy::{
    CopyFacts, DatabaseFacts, DefinitionsFacts, DrillFacts, Loss, Series, SeriesFacts, SpaceDays,
    VerificationFacts,
};
use crate::repository::{AtWork, Catalogue, Entry, Fault, Operation, Problem, Stem};

/// All that was read of one directory.
pub(super) struct Gathered<'a> {
    pub(super) inspection: &'a Inspection<'a>,
    pub(super) spot: &'a Spot<'a>,
    pub(super) database: String,
    pub(super) catalogue: Catalogue,
    pub(super) history: History,
    pub(super) at_work: Option<AtWork>,
    /// What is in quarantine, and why.
    pub(super) aside: Vec<(PathBuf, String)>,
}

/// What is wrong with backups, each with its name.
#[derive(Default)]
struct Faults {
    damaged: Vec<(String, String)>,
    unrestorable: Vec<(String, String)>,
    lost_states: Vec<(String, String)>,
}

impl Faults {
    fn of(catalogue: &Catalogue) -> Self {
        let mut faults = Self::default();
        for entry in &catalogue.backups {
            let described = |what: &str| (entry.stem.to_string(), what.to_owned());
            if let Some(unreadable) = &entry.state.unreadable {
                faults.lost_states.push(described(&unreadable.what));
            }
            match entry.state.fault() {
                Some(Fault::Damaged(what)) => faults.damaged.push(described(what)),
                Some(Fault::Unrestorable(what)) => faults.unrestorable.push(described(what)),
                None => {}
            }
        }
        faults
    }
}

fn lines(by_series: &BTreeMap<&Series, Vec<&Entry>>) -> BTreeMap<Series, Line> {
    let lines = by_series.iter();
    let lines = lines.map(|(series, entries)| ((*series).clone(), Line::of(entries)));
    lines.collect()
}

/// The backups that have lost their manifest, each with its dump's file.
fn lost_manifests(problems: &[&Problem]) -> Vec<(String, String)> {
    let lost =
        |problem: &&Problem| Some((problem.lost.as_ref()?.to_string(), problem.file.clone()));
    problems.iter().filter_map(lost).collect()
}

/// The file of a problem, and what is wrong with it.
fn file_and_fault(problem: &Problem) -> (String, String) {
    (problem.file.clone(), problem.what.clone())
}

impl Gathered<'_> {
    /// How the database stands.
    pub(super) fn status(mut self) -> DatabaseStatus {
        let known_since = self.known_since();
        let by_series = self.by_series();
        let series = self.series(&by_series, known_since);
        let backups = lines(&by_series);
        let running = self.running(&backups);
        let (slots, proof, copies) = (self.slots(), self.proof(), self.copies());
        let Faults {
            damaged,
            unrestorable,
            lost_states,
        } = Faults::of(&self.catalogue);
        let (spoilt, without): (Vec<_>, Vec<_>) = self
            .catalogue
            .problems
            .iter()
            .partition(|problem| problem.manifest_of.is_some());
        let lost_manifests = lost_manifests(&without);
        let strangers = without.len() - lost_manifests.len();
        let (server, repository) = (&self.spot.server.name, &self.spot.repository);
        let state_directory = self.inspection.state_directory;
        let losses = continuity::look(state_directory, repository, &self.catalogue);
        let space_days = self.space_days(&series, &losses);
        let facts = DatabaseFacts {
            server: server.clone(),
            label: self.inspection.plan.label(server, &self.database),
            directory: repository.directory().to_owned(),
            discovered: self.spot.database.is_none(),
            series,
            verification: self.verification(known_since),
            prune: self.history.prune.failing.take(),
            definitions: self.definitions(),
            drill: self.drill(known_since),
            damaged,
            unrestorable,
            encrypted: self.encrypted(),
            has_drill_identity: self.inspection.plan.drill.identity.is_some(),
            restore: self.restore_cut_short(),
            quarantined: self.aside,
            lost_manifests,
            lost_states,
            losses,
            copies,
            unreadable: spoilt.into_iter().map(file_and_fault).collect(),
            database: self.database,
        };
        DatabaseStatus {
            newest: facts.series.iter().filter_map(|series| series.newest).max(),
            facts,
            backups,
            outcomes: self.history.month,
            slots,
            verified: self.history.verify.last,
            drilled: self.history.drill.last,
            recovery: self.history.recovery,
            proof,
            running,
            strangers: strangers as u64,
            space_days,
        }
    }

    /// The backups that are encrypted.
    fn encrypted(&self) -> BTreeSet<String> {
        let backups = self.catalogue.backups.iter();
        let encrypted = backups.filter(|entry| entry.is_encrypted());
        encrypted.map(|entry| entry.stem.to_string()).collect()
    }

    /// How the copies of the backups stand.
    fn copies(&self) -> Vec<CopyFacts> {
        let (server, repository) = (&self.spot.server.name, &self.spot.repository);
        let facts = self.inspection.state_directory.map(|state| {
            copy_facts(
                (self.inspection.plan, state),
                (server, &self.database),
                (repository.directory(), &self.catalogue),
                |destination| self.verifies_copies_at(destination),
            )
        });
        facts.unwrap_or_default()
    }

    /// What the backups to come do to the free space; a series that gets none although it should is
    /// not expected to go on.
    fn space_days(&self, series: &[SeriesFacts], losses: &[Loss]) -> SpaceDays {
        let made_by = |series: &Series| {
            let jobs = self.inspection.plan.jobs.iter();
            let schedules =
                jobs.filter(|job| matches!(&job.kind, JobKind::Backup(made) if made == series));
            schedules.map(|job| &job.schedule).collect::<Vec<_>>()
        };
        let goes_on = series
            .iter()
            .filter(|facts| facts.scheduled && facts.overdue.is_none());
        let goes_on: Vec<_> = goes_on
            .map(|facts| (&facts.series, made_by(&facts.series)))
            .collect();
        let growth = Growth {
            context: self.inspection.context,
            catalogue: &self.catalogue,
            losses,
        };
        growth.days(&goes_on, self.inspection.now)
    }

    /// What the newest test restore that came through has shown to be equal.
    fn proof(&self) -> Option<Proof> {
        let drilled = self.history.recovery.as_ref()?;
        let mut backups = self.catalogue.backups.iter();
        let entry = backups.find(|entry| entry.stem.to_string() == drilled.backup)?;
        Some(Proof {
            tables: entry.tables,
            rows: entry.rows,
        })
    }

    /// Since when the database can have been known to be backed up: its directory is made by the
    /// daemon's start or by the first run.
    fn known_since(&self) -> Option<DateTime<Utc>> {
        self.spot.repository.made_at().max(self.inspection.changed)
    }

    /// What became of the slots of each series.
    fn slots(&mut self) -> BTreeMap<Series, SeriesSlots> {
        let running = self.backup_at_work().map(|start| start.run);
        for start in &self.history.open {
            let is_running = Some(start.run) == running;
            self.history.slot_runs.add_open(start, is_running);
        }
        let made = self.spot.repository.made_at();
        let since = backed_up_since(made, self.history.oldest);
        let Inspection {
            grids, plan, now, ..
        } = self.inspection;
        let runs = &self.history.slot_runs;
        let scheduled = plan.jobs.iter().filter_map(|job| match &job.kind {
            JobKind::Backup(series) => Some(series),
            _ => None,
        });
        let all: BTreeSet<&Series> = scheduled.chain(runs.series()).collect();
        all.into_iter()
            .filter_map(|series| {
                let slots = grids.slots(series, runs.of(series), (since, plan.objectives.grace));
                let known = !slots.is_empty();
                known.then(|| (series.clone(), SeriesSlots::of(&slots, *now)))
            })
            .collect()
    }

    fn by_series(&self) -> BTreeMap<&Series, Vec<&Entry>> {
        let mut by_series: BTreeMap<&Series, Vec<&Entry>> = BTreeMap::new();
        let full = self.catalogue.backups.iter();
        for entry in full.filter(|entry| !entry.is_partial()) {
            by_series.entry(&entry.stem.series).or_default().push(entry);
        }
        by_series
    }

    fn series(
        &self,
        by_series: &BTreeMap<&Series, Vec<&Entry>>,
        known_since: Option<DateTime<Utc>>,
    ) -> Vec<SeriesFacts> {
        let jobs = &self.inspection.plan.jobs;
        let made_by = |job: &Job, series: &Series| matches!(&job.kind, JobKind::Backup(made) if made == series);
        let scheduled = jobs.iter().filter_map(|job| match &job.kind {
            JobKind::Backup(series) => Some(series),
            _ => None,
        });
        let all: BTreeSet<&Series> = scheduled
            .chain(by_series.keys().copied())
            .chain(self.history.backups.keys())
            .collect();
        let running = self.series_at_work();
        let since = self.backup_at_work().map(|start| self.local(start.at));
        all.into_iter()
            .map(|series| {
                let entries = by_series.get(series).map_or(&[][..], Vec::as_slice);
                let newest = entries.last().map(|entry| self.local(entry.started));
                let sound = entries.iter().rev().find(|entry| entry.is_sound());
                let line = self.history.backups.get(series);
                SeriesFacts {
                    series: series.clone(),
                    scheduled: jobs.iter().any(|job| made_by(job, series)),
                    newest: sound.map(|entry| self.local(entry.started)),
                    overdue: self.inspection.overdue(
                        jobs.iter().filter(|job| made_by(job, series)),
                        newest,
                        known_since,
                    ),
                    running: running == Some(series),
                    running_since: since.filter(|_| running == Some(series)),
                    took: line.map_or_else(Vec::new, history::Line::took),
                    failing: line.and_then(|line| line.failing.clone()),
                    odd_size: odd_size(
                        entries,
                        &self.history.accepted_contents,
                        self.inspection.plan.anomaly.sensitivity,
                    ),
                    skipped: line.and_then(|line| line.skipped.clone()),
                }
            })
            .collect()
    }

    fn verification(&self, known_since: Option<DateTime<Utc>>) -> VerificationFacts {
        let verify = &self.history.verify;
        let last = verify.last.as_ref().map(|last| last.at);
        let jobs = self.inspection.plan.jobs.iter();
        let overdue = self.inspection.overdue(
            jobs.filter(|job| matches!(job.kind, JobKind::Verify(_))),
            last,
            known_since,
        );
        let oldest = self.catalogue.backups.first().map(|entry| entry.started);
        VerificationFacts {
            // Where there was nothing to verify, nothing was missed.
            overdue: overdue.filter(|slot| oldest.is_some_and(|oldest| oldest < *slot)),
            last: last.map(|last| self.local(last)),
            running: self.goes_on(Operation::Verify).is_some(),
            failing: verify.failing.clone(),
            left: verify.last.as_ref().map_or(0, |last| last.left),
        }
    }

    fn drill(&self, known_since: Option<DateTime<Utc>>) -> DrillFacts {
        let drill = &self.history.drill;
        let last = drill.last.as_ref().map(|last| last.at);
        let jobs = self.inspection.plan.jobs.iter();
        let overdue = self.inspection.overdue(
            jobs.filter(|job| matches!(job.kind, JobKind::Drill(_))),
            last,
            known_since,
        );
        let mut backups = self.catalogue.backups.iter();
        let oldest = backups.find(|entry| !entry.is_partial());
        let oldest = oldest.map(|entry| entry.started);
        let directory = self.spot.repository.directory();
        DrillFacts {
            // Where there was nothing to restore, nothing was missed.
            overdue: overdue.filter(|slot| oldest.is_some_and(|oldest| oldest < *slot)),
            last: last.map(|last| self.local(last)),
            result: self.history.drill_result.map(|at| self.local(at)),
            backups_since: backups_since(&self.spot.repository, &self.catalogue)
                .map(|since| self.inspection.context.local(since)),
            running: self.goes_on(Operation::Drill).is_some()
                || running_job(self.inspection.running, directory, |kind| kind == "drill")
                    .is_some(),
            running_since: self
                .goes_on(Operation::Drill)
                .map(|start| self.local(start.at)),
            took: drill.took(),
            recovery: self.history.recovery.as_ref().map(LastDrill::recovery_time),
            failing: drill.failing.clone(),
        }
    }

    /// The newest trial of definitions, unless a test restore of that backup or a newer one has come
    /// through since.
    fn definitions(&self) -> Option<DefinitionsFacts> {
        let last = self.history.definitions.as_ref()?;
        let began = |name: &String| Some(name.parse::<Stem>().ok()?.local);
        let tried = began(&last.backup);
        let is_proven = last
            .proven_since
            .iter()
            .any(|name| *name == last.backup || began(name).is_some_and(|one| Some(one) > tried));
        (self.inspection.plan.drill.definitions && !is_proven).then(|| DefinitionsFacts {
            backup: last.backup.clone(),
            at: self.local(last.at),
            result: last.result,
            message: last.message.clone(),
        })
    }

    pub(super) fn local(&self, moment: DateTime<FixedOffset>) -> DateTime<FixedOffset> {
        self.inspection.context.local(moment.to_utc())
    }
}
