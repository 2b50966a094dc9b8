//! Carrying one piece of work out: the daemon's side of a job.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::config::{Database, Databases, DrillChoice, Job, JobKind, Plan, Server, Verification};
use crate::jobs::{
    BackupReport, BackupRequest, Context, DrillReport, JobError, Place, Places, PruneMode,
    PruneReport, Selection, Strictness, Tick, VerifyReport, VerifyRequest, WhichBackup, back_up,
    backups_to_drill, drill, missed_drill, newest_success, passed_over_by_drill, places_on, prune,
    targets_on, verify,
};
use crate::pipeline::Progress;
use crate::policy::{ClockTrust, DrillMissed, Series, missed};
use crate::repository::{Operation, Repository};
use crate::threads;

/// What is to be done, under the plan that it was due under.
#[derive(Clone, Debug)]
pub(super) struct Task {
    /// The plan.
    pub plan: Arc<Plan>,
    /// The job.
    pub job: Arc<Job>,
    /// What to do.
    pub action: Action,
    /// Whether it is made up for, late.
    pub is_catch_up: bool,
}

/// What to do.
#[derive(Clone, Debug)]
pub(super) enum Action {
    /// Find out which databases of the server the job is for.
    Find,
    /// Back a database up.
    BackUp(Database, Series),
    /// Check the backups of a database.
    Verify(Place, Verification),
    /// Restore a backup of a database for a test.
    Drill(Place, DrillChoice),
    /// Remove what retention no longer keeps of a database.
    Prune(Place),
}

/// What became of it.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The databases, each with what to do, and what cannot be done at all.
    Found(Vec<(String, Action)>, Vec<JobError>),
    /// A backup was made; and why the newest test restore of the database is not new enough.
    BackedUp(Box<BackupReport>, Option<DrillMissed>),
    /// Backups were checked.
    Verified(VerifyReport),
    /// A backup was restored for a test; none when there is no sound one.
    Drilled(Option<Box<DrillReport>>),
    /// Retention was carried out.
    Pruned(PruneReport),
    /// It failed, or was ended from outside.
    Failed(JobError),
    /// A fault of our own.
    Panicked(String),
}

/// The circumstances of one run.
#[derive(Clone, Debug)]
pub(super) struct Circumstances {
    /// The process's environment.
    pub environment: Arc<BTreeMap<String, String>>,
    /// The run's identity.
    pub run: Uuid,
    /// The slot that it is for.
    pub slot: DateTime<Utc>,
    /// How far it has come.
    pub progress: Arc<Progress>,
    /// Ends it.
    pub cancel: CancellationToken,
}

impl Task {
    /// The server of this name in the plan.
    pub(super) fn server(&self, name: &str) -> Option<&Server> {
        self.plan.servers.iter().find(|server| server.name == name)
    }

    /// Whether the databases of this server are found out from it.
    pub(super) fn is_discovered(&self, server: &str) -> bool {
        self.server(server)
            .is_some_and(|server| matches!(server.databases, Databases::All(_)))
    }

    /// What jobs need to know of the world.
    pub(super) fn context(
        &self,
        slot: DateTime<Utc>,
        environment: &BTreeMap<String, String>,
    ) -> Context {
        Context {
            tick: Some(Tick {
                job: self.job.name.clone(),
                due: slot,
            }),
            ..Context::new(&self.plan, environment)
        }
    }

    /// Where the backups stand that the task is about.
    pub(super) fn directory(&self) -> Option<PathBuf> {
        match &self.action {
            Action::Find => None,
            Action::BackUp(database, _) => Some(database.directory.clone()),
            Action::Verify(place, _) | Action::Drill(place, _) | Action::Prune(place) => {
                Some(place.repository.directory().to_owned())
            }
        }
    }

    /// How the ledger names what the job does, and for which series.
    pub(super) fn operation(&self) -> (Operation, Option<&Series>) {
        match &self.job.kind {
            JobKind::Backup(series) => (Operation::Backup, Some(series)),
            JobKind::Verify(_) => (Operation::Verify, None),
            JobKind::Drill(_) => (Operation::Drill, None),
            JobKind::Prune => (Operation::Prune, None),
        }
    }

    /// Carries it out. A panic of the job's is an outcome too: it must not take the daemon along.
    pub(super) async fn carry_out(self, server: String, given: Circumstances) -> Outcome {
        let run = tokio::spawn(async move { self.run(&server, &given).await });
        match run.await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => Outcome::Failed(error),
            Err(panic) => Outcome::Panicked(panic.to_string()),
        }
    }

    async fn run(&self, server: &str, given: &Circumstances) -> Result<Outcome, JobError> {
        let context = self.context(given.slot, &given.environment);
        let Some(server) = self.server(server) else {
            return Ok(Outcome::Found(Vec::new(), Vec::new()));
        };
        match &self.action {
            Action::Find => self.find(server, &context, given).await,
            Action::BackUp(database, series) => {
                let request = BackupRequest {
                    run: given.run,
                    connection: &server.connection,
                    database,
                    series,
                    reason: None,
                    strictness: Strictness::Usual,
                };
                let report = back_up(&context, request, &given.progress, &given.cancel).await?;
                let missed = self.missed_drill(database).await;
                Ok(Outcome::BackedUp(Box::new(report), missed))
            }
            Action::Verify(place, verification) => {
                let Circumstances {
                    run,
                    progress,
                    cancel,
                    ..
                } = given;
                let request = VerifyRequest {
                    run: *run,
                    place,
                    selection: &Selection::Due(verification.older_than),
                    budget: Some(verification.budget),
                    quarantine: true,
                };
                verify(&context, request, progress, cancel)
                    .await
                    .map(Outcome::Verified)
            }
            Action::Drill(place, choice) => {
                let Circumstances {
                    run,
                    progress,
                    cancel,
                    ..
                } = given;
                // Of a version 7 UUID these bits are random.
                let (_, seed) = run.as_u64_pair();
                let which = WhichBackup::One(*choice, seed);
                let chosen = backups_to_drill(place, &which)?;
                let passed = passed_over_by_drill(&context, place, &which, &chosen)?;
                let Some(stem) = chosen.into_iter().next() else {
                    return Ok(Outcome::Drilled(None));
                };
                let mut report = drill(&context, *run, place, &stem, progress, cancel).await?;
                report.remarks.extend(passed);
                Ok(Outcome::Drilled(Some(Box::new(report))))
            }
            Action::Prune(place) => {
                let (run, place) = (given.run, place.clone());
                let mode = PruneMode {
                    dry_run: false,
                    trust: ClockTrust::IfPlausible,
                };
                let pruning = threads::start("prune", move || {
                    prune(&context, run, &place.repository, &place.database, mode)
                })?;
                pruning.await?.map(Outcome::Pruned)
            }
        }
    }

    /// Why the newest test restore of a database is not new enough. That it cannot be told is no
    /// reason for a backup to fail; `status` says why.
    async fn missed_drill(&self, database: &Database) -> Option<DrillMissed> {
        let (repository, expectation) = (Repository::at(&database.directory), self.plan.objectives);
        let looking = threads::start("look", move || {
            missed_drill(&repository, expectation, Utc::now())
        });
        looking.ok()?.await.ok()?.ok()?
    }

    /// Which databases of the server the job is for: those that are configured or found there for a
    /// backup; those that have a directory for everything else.
    async fn find(
        &self,
        server: &Server,
        context: &Context,
        given: &Circumstances,
    ) -> Result<Outcome, JobError> {
        let mut failures = Vec::new();
        let mut found: Vec<(String, Action)> = Vec::new();
        if let JobKind::Backup(series) = &self.job.kind {
            let targets = tokio::select! {
                targets = targets_on(context, &self.plan, server) => targets?,
                () = given.cancel.cancelled() => return Ok(Outcome::Found(found, failures)),
            };
            failures = targets.failures;
            found.extend(targets.found.into_iter().map(|target| {
                let database = target.database;
                (
                    database.name.clone(),
                    Action::BackUp(database, series.clone()),
                )
            }));
        } else {
            let (context, plan, server) = (context.clone(), Arc::clone(&self.plan), server.clone());
            let looking = threads::start("look", move || places_on(&context, &plan, &server))?;
            let places = looking.await??;
            failures = places.failures;
            for place in places.found {
                // What was never backed up has nothing to check or to remove.
                if place.repository.directory().is_dir() {
                    let action = match self.job.kind {
                        JobKind::Verify(verification) => {
                            Action::Verify(place.clone(), verification)
                        }
                        JobKind::Drill(choice) => Action::Drill(place.clone(), choice),
                        _ => Action::Prune(place.clone()),
                    };
                    found.push((place.database, action));
                }
            }
        }
        if self.is_catch_up {
            found.retain(|(_, action)| is_missed(action, given.slot));
        }
        Ok(Outcome::Found(found, failures))
    }
}

/// Whether a slot that was missed by some database of the server was missed by this one.
fn is_missed(action: &Action, slot: DateTime<Utc>) -> bool {
    let Action::BackUp(database, series) = action else {
        return true;
    };
    match newest_success(&Repository::at(&database.directory), series, Utc::now()) {
        Ok(newest) => newest.is_none_or(|newest| newest < slot),
        // The run itself will say what is wrong with the ledger.
        Err(_) => true,
    }
}

/// The slot of a job that some database of a server has missed; none when nothing was missed.
///
/// `since` and `handled` are what is known of the job's schedule in force. A backup counts as done
/// when the ledger has one that succeeded; any other job when everything was done for its slot.
///
/// # Errors
/// When a ledger or a directory cannot be read.
pub(super) fn missed_slot(
    context: &Context,
    plan: &Plan,
    server: &Server,
    job: &Job,
    (since, handled): (Option<DateTime<Utc>>, Option<DateTime<Utc>>),
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, JobError> {
    let JobKind::Backup(series) = &job.kind else {
        return Ok(missed(&job.schedule, since.max(handled), now));
    };
    // A database without a directory was never backed up, and is known only to its server.
    let Places {
        mut found,
        failures,
    } = places_on(context, plan, server)?;
    if let Some(failure) = failures.into_iter().next() {
        return Err(failure);
    }
    if !matches!(server.databases, Databases::All(_)) {
        found.retain(|place| place.repository.directory().is_dir());
    }
    let mut newest = None;
    for place in &found {
        let known = since.max(newest_success(&place.repository, series, now)?);
        newest = newest.max(missed(&job.schedule, known, now));
    }
    Ok(newest)
}
