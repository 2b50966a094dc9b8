//! Carrying one piece of work out: the daemon's side of a job.

mod databases;

use std::borrow::Cow;
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

use super::board::Lane;
use super::definitions::{trial, untried};
use super::directories::Directories;
use crate::config::{Database, Databases, DrillChoice, Job, JobKind, Plan, Server, Verification};
use crate::display::span;
use crate::jobs::{
    BackupDirectory, BackupReport, BackupRequest, CopyReport, CopyRequest, DefinitionsReport,
    DrillReport, JobContext, JobError, JobErrorKind, PruneMode, PruneReport, Run, Selection, Stop,
    Strictness, Tick, VerifyCopiesReport, VerifyCopiesRequest, VerifyReport, VerifyRequest,
    WhichBackup, back_up, backups_to_drill, copy, drill, missed_drill, passed_over_by_drill, prune,
    verify, verify_copies,
};
use crate::pipeline::Progress;
use crate::policy::{ClockTrust, CopyBudget, DrillMissed, Series};
use crate::repository::{Operation, Repository, Stem};
use crate::threads;

pub(super) use databases::{Found, FoundDatabase};

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
    /// Check the copies of a database's backups at this destination.
    VerifyCopies(BackupDirectory, String, CopyBudget),
    /// Restore a backup of a database for a test.
    Drill(BackupDirectory, DrillChoice),
    /// Load the definitions of this backup, without its rows.
    TryDefinitions(BackupDirectory, Stem),
    /// Remove what retention no longer keeps of a database.
    Prune(BackupDirectory),
    /// Copy the backups of a database that this destination lacks.
    Copy(BackupDirectory, String),
}

/// What became of it.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The databases of the server that the job is for.
    Found(Found),
    /// A backup was made.
    BackedUp(Box<BackedUp>),
    /// Backups were checked.
    Verified(VerifyReport),
    /// Copies were checked.
    VerifiedCopies(VerifyCopiesReport),
    /// A backup was restored for a test; none when there is no sound one.
    Drilled(Option<Box<DrillReport>>),
    /// Definitions were loaded; none where they had been tried meanwhile.
    TriedDefinitions(Option<Box<DefinitionsReport>>),
    /// Retention was carried out.
    Pruned(PruneReport),
    /// Backups were copied.
    Copied(CopyReport),
    /// It did not begin, because its directory does not answer.
    NotBegun(JobError),
    /// It failed, or was ended from outside; and whether the database has no directory and cannot be
    /// given one by the service.
    Failed(JobError, bool),
    /// A fault of our own.
    Panicked(String),
}

/// A backup that was made, and what it gives cause for.
#[derive(Debug)]
pub(super) struct BackedUp {
    /// The backup.
    pub report: BackupReport,
    /// Why the newest test restore of the database is not new enough.
    pub missed: Option<DrillMissed>,
    /// The work of trying its definitions, where they are other ones than those tried last.
    pub untried: Option<Action>,
    /// The work of copying it, for each destination that it goes to right away.
    pub copies: Vec<Action>,
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
            | Action::TryDefinitions(backup_directory, _)
            | Action::Prune(backup_directory)
            | Action::VerifyCopies(backup_directory, ..)
            | Action::Copy(backup_directory, _) => {
                Some(backup_directory.repository.directory().to_owned())
            }
        }
    }

    /// Its kind in one word: the job's, but for what comes of a job's backup.
    pub(super) fn kind(&self) -> &'static str {
        match self.action {
            Action::TryDefinitions(..) => "definitions",
            Action::Copy(..) => "copy",
            Action::VerifyCopies(..) => "verify_copies",
            _ => self.job.kind.word(),
        }
    }

    /// What it shares its turns with.
    pub(super) fn lane(&self) -> Lane {
        match &self.action {
            Action::TryDefinitions(..) => Lane::Spare,
            Action::Copy(_, destination) | Action::VerifyCopies(_, destination, _) => {
                Lane::Copies(destination.clone())
            }
            _ => Lane::Runs,
        }
    }

    /// What it does, for a sentence: "verify run of app".
    pub(super) fn noun(&self) -> Cow<'static, str> {
        match &self.action {
            Action::TryDefinitions(..) => "trial of the definitions".into(),
            Action::Copy(_, destination) => format!("copy to {destination}").into(),
            Action::VerifyCopies(_, destination, _) => {
                format!("verify run of copies at {destination}").into()
            }
            _ => self.job.kind.noun().into(),
        }
    }

    /// The destination that it is about.
    pub(super) fn destination(&self) -> Option<&str> {
        match &self.action {
            Action::Copy(_, destination) | Action::VerifyCopies(_, destination, _) => {
                Some(destination)
            }
            _ => None,
        }
    }

    /// How the ledger names what the job does, and for which series.
    pub(super) fn operation(&self) -> (Operation, Option<&Series>) {
        match self.action {
            Action::TryDefinitions(..) => return (Operation::Definitions, None),
            Action::Copy(..) => return (Operation::Copy, None),
            _ => {}
        }
        match &self.job.kind {
            JobKind::Backup(series) => (Operation::Backup, Some(series)),
            JobKind::Verify(_) => (Operation::Verify, None),
            JobKind::VerifyCopies(_) => (Operation::VerifyCopies, None),
            JobKind::Drill(_) => (Operation::Drill, None),
            JobKind::Prune => (Operation::Prune, None),
            JobKind::Copy(_) => (Operation::Copy, None),
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
                self.back_up(&run, server, (database, series)).await
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
            Action::VerifyCopies(directory, destination, budget) => {
                let what = (destination.as_str(), *budget);
                let request = VerifyCopiesRequest::new(&self.plan, directory, what)?;
                verify_copies(&run, request)
                    .await
                    .map(Outcome::VerifiedCopies)
            }
            Action::TryDefinitions(directory, stem) => trial(&run, directory, stem)
                .await
                .map(Outcome::TriedDefinitions),
            Action::Drill(directory, choice) => restore_for_a_test(&run, directory, *choice).await,
            Action::Prune(directory) => clean_up(context, given.run, directory).await,
            Action::Copy(directory, destination) => {
                let request = CopyRequest::new(&self.plan, directory, destination)?;
                copy(&run, request).await.map(Outcome::Copied)
            }
        }
    }

    /// Backs a database up, and finds out what that gives cause for.
    async fn back_up(
        &self,
        run: &Run<'_>,
        server: &Server,
        (database, series): (&Database, &Series),
    ) -> Result<Outcome, JobError> {
        let request = BackupRequest {
            server: &server.name,
            connection: &server.connection,
            database,
            series,
            reason: None,
            strictness: Strictness::Usual,
        };
        let report = back_up(run, request).await?;
        let missed = self.missed_drill(database).await;
        let known = (&*self.plan, run.context);
        let untried = untried(known, &server.name, &report).await;
        let untried = untried.map(|(place, stem)| Action::TryDefinitions(place, stem));
        let copies = self.copies(&server.name, &report);
        Ok(Outcome::BackedUp(Box::new(BackedUp {
            report,
            missed,
            untried,
            copies,
        })))
    }

    /// What to copy of a backup that was made: to each destination that takes its series and has no job of
    /// its own.
    fn copies(&self, server: &str, report: &BackupReport) -> Vec<Action> {
        let manifest = &report.manifest;
        let backup_directory = BackupDirectory {
            server: Some(server.to_owned()),
            database: manifest.database.clone(),
            label: self.plan.label(server, &manifest.database),
            repository: report.repository.clone(),
        };
        self.plan
            .destinations
            .iter()
            .filter(|destination| self.plan.is_copied_to_at_once(destination))
            .filter(|destination| destination.wants(&manifest.series, (server, &manifest.database)))
            .map(|destination| Action::Copy(backup_directory.clone(), destination.name.clone()))
            .collect()
    }

    /// Why the newest test restore of a database is not new enough. That it cannot be known is no
    /// reason for a backup to fail; `status` says why.
    async fn missed_drill(&self, database: &Database) -> Option<DrillMissed> {
        let (repository, expectation) = (Repository::at(&database.directory), self.plan.objectives);
        let looking = threads::start("look", move || {
            missed_drill(&repository, expectation, Utc::now())
        });
        looking.ok()?.await.ok()?.ok()?
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
        detail: None,
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
        detail: None,
        may_pass: false,
    }
}

/// Removes what retention no longer keeps.
async fn clean_up(
    context: JobContext,
    id: Uuid,
    directory: &BackupDirectory,
) -> Result<Outcome, JobError> {
    let directory = directory.clone();
    let mode = PruneMode {
        dry_run: false,
        trust: ClockTrust::IfPlausible,
    };
    let pruning = threads::start("prune", move || {
        let run = Run::alone(&context).with_id(id);
        prune(&run, &directory, mode)
    })?;
    pruning.await?.map(Outcome::Pruned)
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
