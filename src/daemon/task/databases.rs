//! Which databases of a server a job is for, and what there is to do with each.

use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::{Action, Outcome, Task, TaskRun, unanswered};
use crate::config::{Database, JobKind, Server};
use crate::jobs::{
    BackupDirectory, JobContext, JobError, backup_directories_on, newest_success, targets_on,
};
use crate::policy::Series;
use crate::repository::Repository;
use crate::threads;

/// The databases of a server that a job is for.
#[derive(Debug, Default)]
pub(in crate::daemon) struct Found {
    /// The databases, each with what to do.
    pub databases: Vec<FoundDatabase>,
    /// What cannot be done at all.
    pub failures: Vec<JobError>,
    /// Those of the databases that have no directory and cannot be given one by the service.
    pub lacking: Vec<String>,
}

/// A database that a job is for.
#[derive(Debug)]
pub(in crate::daemon) struct FoundDatabase {
    /// Its name.
    pub name: String,
    /// What to do with it.
    pub action: Action,
}

impl Task {
    /// Which databases of the server the job is for: those that are configured or found there for a
    /// backup; those that have a directory for everything else.
    pub(super) async fn find(
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
        let server_name = server.name.clone();
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
                    for action in self.actions_on(&server_name, &backup_directory) {
                        found.databases.push(FoundDatabase {
                            name: backup_directory.database.clone(),
                            action,
                        });
                    }
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

    /// What the job does with the backups of a database.
    fn actions_on(&self, server: &str, backup_directory: &BackupDirectory) -> Vec<Action> {
        let backup_directory = backup_directory.clone();
        match &self.job.kind {
            JobKind::Verify(verification) => vec![Action::Verify(backup_directory, *verification)],
            JobKind::VerifyCopies(verification) => self
                .plan
                .destinations
                .iter()
                .filter(|destination| verification.destinations.contains(&destination.name))
                .filter(|destination| destination.takes(server, &backup_directory.database))
                .map(|destination| {
                    let name = destination.name.clone();
                    Action::VerifyCopies(backup_directory.clone(), name, verification.budget)
                })
                .collect(),
            JobKind::Drill(choice) => vec![Action::Drill(backup_directory, *choice)],
            JobKind::Copy(to) => self
                .plan
                .destinations
                .iter()
                .filter(|destination| to.is_empty() || to.contains(&destination.name))
                .filter(|destination| destination.takes(server, &backup_directory.database))
                .map(|destination| Action::Copy(backup_directory.clone(), destination.name.clone()))
                .collect(),
            JobKind::Backup(_) | JobKind::Prune => vec![Action::Prune(backup_directory)],
        }
    }
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
