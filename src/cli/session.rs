//! One command that works on databases: the configuration in force, what jobs need, and the
//! directories of backups that the command is about.

use std::sync::Arc;

use super::env::CommandEnv;
use super::failure::Failure;
use super::progress::Display;
use super::{report, select};
use crate::config::{Loaded, Plan, Server};
use crate::jobs::{
    BackupDirectories, BackupDirectory, JobContext, JobError, Run, backup_directories,
    backup_directories_on,
};
use crate::pipeline::Progress;

/// A command and the configuration that it has loaded.
pub(super) struct Session<'a> {
    pub(super) env: &'a CommandEnv<'a>,
    pub(super) loaded: Loaded,
    pub(super) context: JobContext,
}

/// Directories of backups, and why there may be more.
pub(super) struct Directories {
    pub(super) found: Vec<BackupDirectory>,
    /// What could not be looked at.
    pub(super) unseen: Vec<Failure>,
}

impl Directories {
    /// Those that were found, for a command that must not go on while there may be others: what is
    /// meant could be there. `undone` is what it did not do.
    pub(super) fn all_seen(self, undone: &str) -> Result<Vec<BackupDirectory>, Failure> {
        if self.unseen.is_empty() {
            Ok(self.found)
        } else {
            Err(select::refused(&self.unseen, undone))
        }
    }
}

impl<'a> Session<'a> {
    pub(super) fn new(env: &'a CommandEnv<'a>, loaded: Loaded) -> Self {
        Self {
            context: JobContext::new(&loaded.plan, &env.source.environment),
            env,
            loaded,
        }
    }

    pub(super) fn plan(&self) -> &Plan {
        &self.loaded.plan
    }

    /// A job's error as the command's failure.
    pub(super) fn failure(&self, error: &JobError) -> Failure {
        report::failure(error, self.env.interrupt)
    }

    /// Several of them.
    pub(super) fn failures(&self, errors: &[JobError]) -> Vec<Failure> {
        errors.iter().map(|error| self.failure(error)).collect()
    }

    /// The directories of all databases, or of those that are named.
    ///
    /// # Errors
    /// When a named database is not configured, or the only directory cannot be read.
    pub(super) fn directories(&self, wanted: &[String]) -> Result<Directories, Failure> {
        self.seen(backup_directories(&self.context, self.plan(), wanted))
    }

    /// The directories of one server's databases.
    ///
    /// # Errors
    /// When the directory that holds them cannot be read.
    pub(super) fn directories_on(&self, server: &Server) -> Result<Directories, Failure> {
        self.seen(backup_directories_on(&self.context, self.plan(), server))
    }

    fn seen(&self, looked: Result<BackupDirectories, JobError>) -> Result<Directories, Failure> {
        let BackupDirectories { found, failures } = looked.map_err(|error| self.failure(&error))?;
        let unseen = self.failures(&failures);
        Ok(Directories { found, unseen })
    }

    /// The same for a command whose backups may be named by their paths: then what is configured only
    /// says whose they are, and may be unreadable.
    pub(super) fn directories_or_paths(
        &self,
        wanted: &[String],
        are_paths: bool,
    ) -> Result<Directories, Failure> {
        match self.directories(wanted) {
            Ok(Directories { found, .. }) if are_paths => Ok(Directories {
                found,
                unseen: Vec::new(),
            }),
            Err(_) if are_paths && wanted.is_empty() => Ok(Directories {
                found: Vec::new(),
                unseen: Vec::new(),
            }),
            looked => looked,
        }
    }

    /// The directories in which one backup may be that is going to be changed: all, unless a path
    /// names it.
    pub(super) fn directories_to_change(
        &self,
        wanted: Option<&String>,
        backup: &str,
    ) -> Result<Vec<BackupDirectory>, Failure> {
        let directories = self.directories(wanted.map_or(&[], std::slice::from_ref))?;
        if select::is_path(backup) {
            Ok(directories.found)
        } else {
            directories.all_seen("nothing was changed")
        }
    }

    /// What stands before the name of a backup in a line: its database, where there may be several.
    pub(super) fn prefix(&self, label: &str) -> String {
        report::prefix(self.plan(), label)
    }

    /// A run that begins now.
    pub(super) fn begin(&self) -> Run<'_> {
        let progress = Arc::new(Progress::default());
        Run::begin(&self.context, &progress, self.env.interrupt.token())
    }

    /// Carries out a job of a database as a run of its own, whose progress is shown meanwhile.
    pub(super) async fn job<T>(&self, label: &str, job: impl AsyncFnOnce(&Run<'_>) -> T) -> T {
        self.part(&self.begin(), label, job).await
    }

    /// Carries out a part of a run, whose steps and progress are shown meanwhile.
    pub(super) async fn part<T>(
        &self,
        run: &Run<'_>,
        label: &str,
        part: impl AsyncFnOnce(&Run<'_>) -> T,
    ) -> T {
        let display = Display::start(&report::one_line(label), run.progress(), self.env.json);
        let print = |step: &str| display.print_step(step);
        part(&run.clone().reporting_steps(&print)).await
    }
}
