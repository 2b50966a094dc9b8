//! Carrying one piece of work out: the daemon's side of a job.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::directories::Directories;
use crate::config::{Database, Databases, DrillChoice, Job, JobKind, Plan, Server, Verification};
use crate::display::span;
use crate::jobs::{
    BackupDirectory, BackupReport, BackupRequest, DrillReport, JobContext, JobError, JobErrorKind,
    PruneMode, PruneReport, Run, Selection, Stop, Strictness, Tick, VerifyReport, VerifyRequest,
    WhichBackup, back_up, backup_directories_on, backups_to_drill, drill, missed_drill,
    newest_success, passed_over_by_drill, prune, targets_on, verify,
};
use crate::pipeline::Progress;
use crate::policy::{ClockTrust, DrillMissed, Series};
use crate::repository::{Operation, Repository, Stem};
use crate::threads;

/// A run is given up when its directory has not answered for so long. Builds for tests wait less.
const STALL: Duration = Duration::from_secs(if cfg!(debug_assertions) { 10 } else { 60 });

/// A run that its limits do not end is given up so long after `limits.total`: its disk hangs although its
/// directory answers.
const OVERTIME: Duration = Duration::from_secs(300);

/// What is to be done, under the plan that it was due under.
#[derive(Clone, Debug)]
pub(super) struct Task {
    /// The plan.
    pub plan: Arc<Plan>,
    /// The job.
    pub job: Arc<Job>,
    /// What to do.
    pub action: Action,
    /// Whether it is a catch-up run.
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
    Verify(BackupDirectory, Verification),
    /// Restore a backup of a database for a test.
    Drill(BackupDirectory, DrillChoice),
    /// Remove what retention no longer keeps of a database.
    Prune(BackupDirectory),
}

/// What became of it.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The databases of the server that the job is for.
    Found(Found),
    /// A backup was made; and why the newest test restore of the database is not new enough.
    BackedUp(Box<BackupReport>, Option<DrillMissed>),
    /// Backups were checked.
    Verified(VerifyReport),
    /// A backup was restored for a test; none when there is no sound one.
    Drilled(Option<Box<DrillReport>>),
    /// Retention was carried out.
    Pruned(PruneReport),
    /// It did not begin, because its directory does not answer.
    NotBegun(JobError),
    /// It failed, or was ended from outside; and whether the database has no directory and cannot be
    /// given one by the service.
    Failed(JobError, bool),
    /// A fault of our own.
    Panicked(String),
}

/// The databases of a server that a job is for.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The databases, each with what to do.
    pub databases: Vec<FoundDatabase>,
    /// What cannot be done at all.
    pub failures: Vec<JobError>,
    /// Those of the databases that have no directory and cannot be given one by the service.
    pub lacking: Vec<String>,
}

/// A database that a job is for.
#[derive(Debug)]
pub(super) struct FoundDatabase {
    /// Its name.
    pub name: String,
    /// What to do with it.
    pub action: Action,
}

/// The circumstances of one run.
#[derive(Clone, Debug)]
pub(super) struct TaskRun {
    /// The process's environment.
    pub environment: Arc<BTreeMap<String, String>>,
    /// The run's identity.
    pub run: Uuid,
    /// The slot that it is for.
    pub slot: DateTime<Utc>,
    /// By which directories are asked.
    pub directories: Directories,
    /// How far it has come.
    pub progress: Arc<Progress>,
    /// Ends it.
    pub cancel: CancellationToken,
    /// Whether its directory has answered, so that the run records its own end.
    pub has_begun: Arc<AtomicBool>,
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
    ) -> JobContext {
        JobContext {
            tick: Some(Tick {
                job: self.job.name.clone(),
                due: slot,
            }),
            ..JobContext::new(&self.plan, environment)
        }
    }

    /// Where the backups stand that the task is about.
    pub(super) fn directory(&self) -> Option<PathBuf> {
        match &self.action {
            Action::Find => None,
            Action::BackUp(database, _) => Some(database.directory.clone()),
            Action::Verify(backup_directory, _)
            | Action::Drill(backup_directory, _)
            | Action::Prune(backup_directory) => {
                Some(backup_directory.repository.directory().to_owned())
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

    /// Carries it out, on a thread of its own. If a disk hangs, the run is given up and that thread left
    /// behind; it ends as interrupted when the disk answers. A panic of the job's is an outcome too: it
    /// must not take the daemon along.
    pub(super) async fn carry_out(self, server: String, given: TaskRun) -> Outcome {
        let watched = self.watched(&server);
        let longest = self.plan.limits.total.saturating_add(OVERTIME);
        let (directories, cancel) = (given.directories.clone(), given.cancel.clone());
        let has_begun = Arc::clone(&given.has_begun);
        let outcome = self.on_a_thread(server, given);
        let Some(directory) = watched else {
            return outcome.await;
        };
        let outcome = timeout(longest, directories.outlast(&directory, STALL, outcome));
        let error = match outcome.await {
            Ok(Some(outcome)) => return outcome,
            Ok(None) => unanswered(&directory, Some(STALL)),
            Err(_) => endless(&directory),
        };
        cancel.cancel();
        if has_begun.load(Ordering::Relaxed) {
            Outcome::Failed(error, false)
        } else {
            Outcome::NotBegun(error)
        }
    }

    /// The directory without which a run cannot go on.
    fn watched(&self, server: &str) -> Option<PathBuf> {
        let above = || Some(self.server(server)?.directory.clone());
        self.directory().or_else(above)
    }

    async fn on_a_thread(self, server: String, given: TaskRun) -> Outcome {
        let runtime = Handle::current();
        let run = threads::start("run", move || {
            runtime.block_on(async {
                match self.run(&server, &given).await {
                    Ok(outcome) => outcome,
                    Err(error) => {
                        let lacks = self.lacks_directory(&error, &given).await;
                        Outcome::Failed(error, lacks)
                    }
                }
            })
        });
        match run {
            Ok(run) => run
                .await
                .unwrap_or_else(|panic| Outcome::Panicked(panic.to_string())),
            Err(error) => Outcome::Failed(error.into(), false),
        }
    }

    /// Whether a run has failed because the directory is not there.
    async fn lacks_directory(&self, error: &JobError, given: &TaskRun) -> bool {
        let directory = self.directory();
        let Some(directory) = directory.filter(|_| error.kind() == JobErrorKind::CannotCreate)
        else {
            return false;
        };
        let exists = given.directories.ask_one(directory, Path::exists).await;
        matches!(exists, Ok(Some(false)))
    }

    async fn run(&self, server: &str, given: &TaskRun) -> Result<Outcome, JobError> {
        let context = self.context(given.slot, &given.environment);
        let Some(server) = self.server(server) else {
            return Ok(Outcome::Found(Found::default()));
        };
        // Where it hangs, the run would only keep a thread.
        let above = self
            .is_discovered(&server.name)
            .then(|| server.directory.clone());
        if let Some(directory) = self.directory().or(above) {
            let asking = given.directories.ask_one(directory.clone(), Path::is_dir);
            match given.cancel.run_until_cancelled(asking).await {
                None => return Err(Stop::Interrupted.into()),
                Some(answer) => {
                    if answer?.is_none() {
                        return Ok(Outcome::NotBegun(unanswered(&directory, None)));
                    }
                }
            }
        }
        given.has_begun.store(true, Ordering::Relaxed);
        let run = Run::begin(&context, &given.progress, &given.cancel).with_id(given.run);
        match &self.action {
            Action::Find => self.find(server, &context, given).await,
            Action::BackUp(database, series) => {
                let request = BackupRequest {
                    connection: &server.connection,
                    database,
                    series,
                    reason: None,
                    strictness: Strictness::Usual,
                };
                let report = back_up(&run, request).await?;
                let missed = self.missed_drill(database).await;
                Ok(Outcome::BackedUp(Box::new(report), missed))
            }
            Action::Verify(directory, verification) => {
                let request = VerifyRequest {
                    backup_directory: directory,
                    selection: &Selection::Due(verification.older_than),
                    budget: Some(verification.budget),
                    quarantine: true,
                };
                verify(&run, request).await.map(Outcome::Verified)
            }
            Action::Drill(directory, choice) => restore_for_a_test(&run, directory, *choice).await,
            Action::Prune(directory) => {
                let (id, directory) = (given.run, directory.clone());
                let mode = PruneMode {
                    dry_run: false,
                    trust: ClockTrust::IfPlausible,
                };
                let pruning = threads::start("prune", move || {
                    let run = Run::alone(&context).with_id(id);
                    prune(&run, &directory.repository, &directory.database, mode)
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
        context: &JobContext,
        given: &TaskRun,
    ) -> Result<Outcome, JobError> {
        if let JobKind::Backup(series) = &self.job.kind {
            let mut found = Found::default();
            let targets = tokio::select! {
                targets = targets_on(context, &self.plan, server) => targets?,
                () = given.cancel.cancelled() => return Ok(Outcome::Found(found)),
            };
            found.failures = targets.failures;
            let mut databases: Vec<_> = targets.found.into_iter().map(|one| one.database).collect();
            if self.is_catch_up {
                databases = missed_only(databases, series, given).await?;
            }
            if self.is_discovered(&server.name) {
                found.lacking = lacking(&databases, given).await?;
            }
            let to_back_up = |database: Database| FoundDatabase {
                name: database.name.clone(),
                action: Action::BackUp(database, series.clone()),
            };
            found.databases = databases.into_iter().map(to_back_up).collect();
            return Ok(Outcome::Found(found));
        }
        let found = self.find_places(server, context, given).await?;
        Ok(Outcome::Found(found))
    }

    /// The databases of the server that have a directory.
    async fn find_places(
        &self,
        server: &Server,
        context: &JobContext,
        given: &TaskRun,
    ) -> Result<Found, JobError> {
        let (context, plan, server) = (context.clone(), Arc::clone(&self.plan), server.clone());
        let looking = threads::start("look", move || {
            backup_directories_on(&context, &plan, &server)
        })?;
        let backup_directories = looking.await??;
        let mut found = Found {
            failures: backup_directories.failures,
            ..Found::default()
        };
        let directories = backup_directories.found.iter();
        let directories =
            directories.map(|backup_directory| backup_directory.repository.directory().to_owned());
        let is_there = given.directories.ask(directories.collect(), Path::is_dir);
        for (backup_directory, is_there) in
            backup_directories.found.into_iter().zip(is_there.await?)
        {
            match is_there {
                Some(true) => {
                    let action = match self.job.kind {
                        JobKind::Verify(verification) => {
                            Action::Verify(backup_directory.clone(), verification)
                        }
                        JobKind::Drill(choice) => Action::Drill(backup_directory.clone(), choice),
                        _ => Action::Prune(backup_directory.clone()),
                    };
                    found.databases.push(FoundDatabase {
                        name: backup_directory.database,
                        action,
                    });
                }
                // What was never backed up has nothing to check or to remove.
                Some(false) => {}
                None => found
                    .failures
                    .push(unanswered(backup_directory.repository.directory(), None)),
            }
        }
        Ok(found)
    }
}

/// A directory hangs, and has for so long while a run went on. Trying again may help.
pub(super) fn unanswered(directory: &Path, during_the_run: Option<Duration>) -> JobError {
    let directory = directory.display();
    let message = match during_the_run {
        None => format!("the directory {directory} does not answer: its file system hangs"),
        Some(stall) => format!(
            "the directory {directory} has not answered for {}: its file system hangs, and the run is \
             given up",
            span(stall)
        ),
    };
    JobError::Failed {
        message,
        said: None,
        may_pass: true,
    }
}

/// A run does not end although it may not go on, and is given up.
fn endless(directory: &Path) -> JobError {
    JobError::Failed {
        message: format!(
            "the run has not ended {} after limits.total, and is given up: a disk that it uses does not \
             answer; its directory is {}",
            span(OVERTIME),
            directory.display()
        ),
        said: None,
        may_pass: false,
    }
}

/// Restores a backup for a test.
async fn restore_for_a_test(
    run: &Run<'_>,
    backup_directory: &BackupDirectory,
    choice: DrillChoice,
) -> Result<Outcome, JobError> {
    // Of a version 7 UUID these bits are random.
    let (_, seed) = run.id.as_u64_pair();
    let (chosen, passed) = chosen(
        run.context,
        backup_directory,
        WhichBackup::One(choice, seed),
    )
    .await?;
    let Some(stem) = chosen.into_iter().next() else {
        return Ok(Outcome::Drilled(None));
    };
    let mut report = drill(run, backup_directory, &stem).await?;
    report.remarks.extend(passed);
    Ok(Outcome::Drilled(Some(Box::new(report))))
}

/// The backups to restore for a test, and what is to be said of those that are passed over.
async fn chosen(
    context: &JobContext,
    backup_directory: &BackupDirectory,
    which: WhichBackup,
) -> Result<(Vec<Stem>, Vec<String>), JobError> {
    let (context, backup_directory) = (context.clone(), backup_directory.clone());
    let choosing = threads::start("choose", move || {
        let chosen = backups_to_drill(&backup_directory, &which)?;
        let passed = passed_over_by_drill(&context, &backup_directory, &which, &chosen)?;
        Ok::<_, JobError>((chosen, passed))
    });
    choosing?.await?
}

/// Those of the databases that have no directory, now that the service has tried to make it.
async fn lacking(databases: &[Database], given: &TaskRun) -> Result<Vec<String>, JobError> {
    let directories = databases.iter().map(|database| database.directory.clone());
    let lacks = given.directories.ask(directories.collect(), |directory| {
        !directory.is_dir() && Repository::at(directory).create().is_err()
    });
    let lacks = databases.iter().zip(lacks.await?);
    let lacking = lacks.filter(|(_, lacks)| *lacks == Some(true));
    Ok(lacking.map(|(database, _)| database.name.clone()).collect())
}

/// Those of the databases by whose ledgers a slot was missed. One whose directory hangs is caught up
/// when that answers.
async fn missed_only(
    databases: Vec<Database>,
    series: &Series,
    given: &TaskRun,
) -> Result<Vec<Database>, JobError> {
    let directories = databases.iter().map(|database| database.directory.clone());
    let series = series.clone();
    let newest = given
        .directories
        .ask(directories.collect(), move |directory| {
            newest_success(&Repository::at(directory), &series, Utc::now())
        });
    let newest = newest.await?;
    let is_missed = |newest: Option<Result<Option<DateTime<Utc>>, JobError>>| match newest {
        Some(Ok(newest)) => newest.is_none_or(|newest| newest < given.slot),
        // The run itself will say what is wrong with the ledger.
        Some(Err(_)) => true,
        None => false,
    };
    let databases = databases.into_iter().zip(newest);
    let missed = databases.filter_map(|(database, newest)| is_missed(newest).then_some(database));
    Ok(missed.collect())
}
