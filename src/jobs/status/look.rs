//! A look at one database's directory.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use chrono::{DateTime, FixedOffset, Utc};

use super::directories::Spot;
use super::history::History;
use super::responsiveness::Answers;
use super::{DatabaseStatus, Line, running_job};
use crate::config::{Job, JobKind, Plan};
use crate::jobs::continuity;
use crate::jobs::drill::backups_since;
use crate::jobs::{JobContext, LastDrill};
use crate::policy::{
    Concern, ConcernKind, DatabaseFacts, DrillFacts, Promise, Series, SeriesFacts,
    VerificationFacts,
};
use crate::repository::{
    AtWork, Catalogue, Details, Entry, Fault, HeldLocks, Operation, Problem, Quarantined,
    Repository, RepositoryError, RunningJob,
};

/// What every look needs.
pub(super) struct Inspection<'a> {
    pub(super) context: &'a JobContext,
    pub(super) plan: &'a Plan,
    pub(super) now: DateTime<Utc>,
    /// Which directories hang.
    pub(super) answers: Answers,
    /// The daemon's state directory; none where it does not answer.
    pub(super) state_directory: Option<&'a Path>,
    pub(super) locks: HeldLocks,
    /// When the configuration was changed last.
    pub(super) changed: Option<DateTime<Utc>>,
    /// What the daemon says that it runs.
    pub(super) running: &'a [RunningJob],
}

/// What a look found.
pub(super) struct Look {
    pub(super) server: String,
    pub(super) database: String,
    /// None where the directory cannot be looked at.
    pub(super) status: Option<DatabaseStatus>,
    /// What kept the look from being a whole one.
    pub(super) trouble: Option<Concern>,
    pub(super) remarks: Vec<String>,
}

impl Inspection<'_> {
    /// Looks at a directory; none if it is one that was found and nothing in it is of ours.
    pub(super) fn look_at(&self, spot: &Spot<'_>) -> Option<Look> {
        let directory = spot.repository.directory();
        let unseen = |why: String| {
            let database = name_of(spot);
            Some(Look {
                trouble: Some(trouble(spot, &database, why)),
                status: None,
                remarks: Vec::new(),
                server: spot.server.name.clone(),
                database,
            })
        };
        if let Some(why) = self.answers.trouble(directory) {
            return unseen(why);
        }
        let catalogue = match spot.repository.catalogue() {
            Ok(catalogue) => catalogue,
            Err(error) => return unseen(error.to_string()),
        };
        let ledgers = self.ledgers(&spot.repository);
        let is_ours = ledgers.history.database.is_some()
            || !catalogue.backups.is_empty()
            || catalogue.problems.iter().any(Problem::is_of_a_backup);
        if spot.database.is_none() && !is_ours && ledgers.is_read {
            return None;
        }
        Some(self.look_inside(spot, catalogue, ledgers))
    }

    /// Looks at what is in a directory of ours.
    fn look_inside(&self, spot: &Spot<'_>, catalogue: Catalogue, ledgers: Ledgers) -> Look {
        let Ledgers {
            history,
            mut troubles,
            ..
        } = ledgers;
        let found = catalogue.backups.last().map(|newest| &newest.database);
        let database = spot
            .database
            .as_ref()
            .or(found)
            .or(history.database.as_ref())
            .map_or_else(|| name_of(spot), Clone::clone);
        troubles.extend(spot.repository.written_by_others());
        if let Some(found) = found.filter(|found| **found != database) {
            let error = RepositoryError::OtherDatabase {
                directory: spot.repository.directory().to_owned(),
                found: found.clone(),
                wanted: database.clone(),
            };
            troubles.push(error.to_string());
        }
        let at_work = spot.repository.at_work(&self.locks);
        let at_work = at_work.unwrap_or_else(|error| {
            troubles.push(error.to_string());
            None
        });
        let aside = in_quarantine(&spot.repository).unwrap_or_else(|error| {
            troubles.push(error.to_string());
            Vec::new()
        });
        let nobody_is_at_work = at_work.is_none();
        let cut_short = nobody_is_at_work.then(|| cut_short(&history)).flatten();
        let mut remarks: Vec<String> = cut_short.into_iter().collect();
        let status = Gathered {
            inspection: self,
            spot,
            database: database.clone(),
            catalogue,
            history,
            at_work,
            aside,
        }
        .status();
        if status.strangers > 0 {
            remarks.push(format!(
                "files that look like backups and have no manifest: {}; `pgbackupd list` names them",
                status.strangers
            ));
        }
        Look {
            trouble: (!troubles.is_empty()).then(|| trouble(spot, &database, troubles.join("; "))),
            status: Some(status),
            remarks,
            server: spot.server.name.clone(),
            database,
        }
    }

    /// Reads both ledgers of a database.
    fn ledgers(&self, repository: &Repository) -> Ledgers {
        let now = self.context.local(self.now);
        let mut history = History::until(now);
        let ledger = repository.ledger();
        let read = ledger.read_backwards(|record| history.add_record(record));
        // Test restores have a ledger of their own.
        let mut drills = History::until(now);
        let restores = repository.restore_ledger();
        let read_drills = restores.read_backwards(|record| drills.take_restore(record));
        history.add_restores(drills);
        let is_read = read.is_ok();
        let outcomes = [(read, ledger.path()), (read_drills, restores.path())];
        let failed = outcomes.into_iter().filter_map(|(read, path)| {
            let error = RepositoryError::io("read", path)(read.err()?);
            Some(error.to_string())
        });
        Ledgers {
            history,
            is_read,
            troubles: failed.collect(),
        }
    }

    /// The newest slot of these jobs whose success is overdue.
    fn overdue<'a>(
        &self,
        jobs: impl Iterator<Item = &'a Job>,
        newest: Option<DateTime<FixedOffset>>,
        known_since: Option<DateTime<Utc>>,
    ) -> Option<DateTime<FixedOffset>> {
        jobs.filter_map(|job| {
            let promise = Promise {
                schedule: &job.schedule,
                blackouts: &job.blackouts,
                allowed: job.jitter.saturating_add(self.plan.objectives.grace),
                // What has never happened was not promised before it can have been known.
                since: known_since.filter(|_| newest.is_none()),
            };
            let newest = newest.map(|newest| newest.to_utc());
            let overdue = promise.overdue(newest, self.now)?;
            Some(overdue.slot.fixed_offset())
        })
        .max()
    }
}

/// What the ledgers of a database say.
struct Ledgers {
    history: History,
    /// Whether the one of its backups could be read.
    is_read: bool,
    /// What could not be read, one sentence each.
    troubles: Vec<String>,
}

/// The database as it is configured; else what its directory is called.
fn name_of(spot: &Spot<'_>) -> String {
    spot.database.clone().unwrap_or_else(|| {
        let directory = spot.repository.directory();
        let name = directory.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    })
}

/// What is in quarantine: where, and why.
fn in_quarantine(repository: &Repository) -> Result<Vec<(PathBuf, String)>, RepositoryError> {
    let described = |one: Quarantined| {
        let damage = one.state.checked.and_then(|check| check.damage);
        let damage = damage.unwrap_or_else(|| "its state is lost".to_owned());
        (one.directory, damage)
    };
    Ok(repository
        .quarantined()?
        .into_iter()
        .map(described)
        .collect())
}

/// A remark on a run that has no end, in a directory where nobody is at work.
fn cut_short(history: &History) -> Option<String> {
    let open = history
        .open
        .iter()
        .find(|open| matches!(open.details, Details::Backup(_) | Details::Prune { .. }))?;
    Some(format!(
        "the {} of {} was cut short; the next run sweeps up what it left",
        if open.operation() == Operation::Backup {
            "backup"
        } else {
            "prune run"
        },
        open.at.format("%a %Y-%m-%d %H:%M:%S %:z")
    ))
}

fn trouble(spot: &Spot<'_>, database: &str, sentence: String) -> Concern {
    Concern {
        kind: ConcernKind::Directory,
        server: Some(spot.server.name.clone()),
        database: Some(database.to_owned()),
        directory: Some(spot.repository.directory().to_owned()),
        sentence,
    }
}

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

impl Gathered<'_> {
    fn status(mut self) -> DatabaseStatus {
        let known_since = self.known_since();
        let by_series = self.by_series();
        let series = self.series(&by_series, known_since);
        let verification = self.verification(known_since);
        let drill = self.drill(known_since);
        let lines = by_series.iter();
        let lines = lines.map(|(series, entries)| ((*series).clone(), Line::of(entries)));
        let backups: BTreeMap<Series, Line> = lines.collect();
        let running = self.running(&backups);
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
        let lost_manifests: Vec<_> = without
            .iter()
            .filter_map(|problem| Some((problem.lost.as_ref()?.to_string(), problem.file.clone())))
            .collect();
        let strangers = without.len() - lost_manifests.len();
        let (server, repository) = (&self.spot.server.name, &self.spot.repository);
        let state_directory = self.inspection.state_directory;
        let facts = DatabaseFacts {
            server: server.clone(),
            label: self.inspection.plan.label(server, &self.database),
            directory: repository.directory().to_owned(),
            discovered: self.spot.database.is_none(),
            series,
            verification,
            prune: self.history.prune.failing.take(),
            drill,
            damaged,
            unrestorable,
            restore: self.restore_cut_short(),
            quarantined: self.aside,
            lost_manifests,
            lost_states,
            losses: continuity::look(state_directory, repository, &self.catalogue),
            unreadable: spoilt
                .into_iter()
                .map(|problem| (problem.file.clone(), problem.what.clone()))
                .collect(),
            database: self.database,
        };
        DatabaseStatus {
            newest: facts.series.iter().filter_map(|series| series.newest).max(),
            facts,
            backups,
            outcomes: self.history.month,
            verified: self.history.verify.last,
            drilled: self.history.drill.last,
            recovery: self.history.recovery,
            running,
            strangers: strangers as u64,
        }
    }

    /// Since when the database can have been known to be backed up: its directory is made by the
    /// daemon's start or by the first run.
    fn known_since(&self) -> Option<DateTime<Utc>> {
        self.spot.repository.made_at().max(self.inspection.changed)
    }

    fn by_series(&self) -> BTreeMap<&Series, Vec<&Entry>> {
        let mut by_series: BTreeMap<&Series, Vec<&Entry>> = BTreeMap::new();
        for entry in &self.catalogue.backups {
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
                    failing: line.and_then(|line| line.failing.clone()),
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
        let oldest = self.catalogue.backups.first().map(|entry| entry.started);
        let directory = self.spot.repository.directory();
        DrillFacts {
            // Where there was nothing to restore, nothing was missed.
            overdue: overdue.filter(|slot| oldest.is_some_and(|oldest| oldest < *slot)),
            last: last.map(|last| self.local(last)),
            result: self.history.drill_result.map(|at| self.local(at)),
            backups_since: backups_since(&self.spot.repository, &self.catalogue)
                .map(|since| self.inspection.context.local(since)),
            running: self.goes_on(Operation::Drill).is_some()
                || running_job(self.inspection.running, directory)
                    .is_some_and(|job| job.kind == "drill"),
            recovery: self.history.recovery.as_ref().map(LastDrill::recovery_time),
            failing: drill.failing.clone(),
        }
    }

    pub(super) fn local(&self, moment: DateTime<FixedOffset>) -> DateTime<FixedOffset> {
        self.inspection.context.local(moment.to_utc())
    }
}
