//! SIGHUP: another configuration comes into force, wholly or not at all.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::Utc;
use tokio::runtime::Handle;

use super::Service;
use crate::config::{Databases, Plan, Runs, Settings, Source, load};
use crate::daemon::board::{Lane, Skipped};
use crate::daemon::changes::changes;
use crate::daemon::directories::Directories;
use crate::daemon::error::DaemonError;
use crate::daemon::service_log;
use crate::daemon::systemd::Systemd;
use crate::daemon::task::Action;
use crate::daemon::usable::usable;
use crate::emit;
use crate::jobs::{JobContext, JobError};
use crate::policy::TAKEN_OUT;
use crate::threads::{self, Thread};

/// A configuration that was read and can be used.
pub(super) struct Fresh {
    plan: Arc<Plan>,
    settings: Settings,
    /// The names of its files.
    files: String,
}

/// A configuration that is being read, on a thread of its own: a file system that hangs keeps that
/// thread, and nothing else.
#[derive(Default)]
pub(super) struct Reading {
    task: Option<Thread<Result<Fresh, String>>>,
    /// Why there is no such thread.
    failed: Option<String>,
    /// Whether another reload was asked for meanwhile.
    again: bool,
}

impl Reading {
    /// Waits for its end, for ever if nothing is being read: what was read, or why it is refused.
    pub(super) async fn end(&mut self) -> Result<Result<Fresh, String>, DaemonError> {
        if let Some(error) = self.failed.take() {
            return Ok(Err(error));
        }
        let Some(task) = &mut self.task else {
            return std::future::pending().await;
        };
        let read = task.await;
        self.task = None;
        Ok(read.map_err(JobError::from)?)
    }
}

/// Reads and checks the configuration, and sees that its directories can be used.
fn read(
    source: &Source,
    environment: &BTreeMap<String, String>,
    directories: &Directories,
) -> Result<Fresh, String> {
    let mut loaded = load(source).map_err(|error| error.to_string())?;
    loaded.warn_of_unreadable();
    let refused = loaded
        .refuse_commands_of_others(Runs::Programs)
        .and_then(|()| loaded.refuse_commands_of_others(Runs::Alerts));
    refused.map_err(|error| error.to_string())?;
    let context = JobContext::new(&loaded.plan, environment);
    let usable = usable(&loaded.plan, &context, directories);
    let usable = Handle::current().block_on(usable);
    usable.map_err(|error| error.to_string())?;
    let files = service_log::files(&loaded.settings.files());
    Ok(Fresh {
        plan: Arc::new(loaded.plan),
        settings: loaded.settings,
        files,
    })
}

impl Service {
    /// Begins a reload, which is a transaction: read, check, compare, swap; or nothing at all.
    /// Everything else goes on while it reads.
    pub(super) fn begin_reload(&self, reading: &mut Reading) {
        if reading.task.is_some() || reading.failed.is_some() {
            // What it has read already may have changed.
            reading.again = true;
            return;
        }
        Systemd::reloading();
        let source = self.configuration.source.clone();
        let environment = Arc::clone(&self.configuration.environment);
        let directories = self.directories.clone();
        let work = move || read(&source, &environment, &directories);
        match threads::start("reload", work) {
            Ok(thread) => reading.task = Some(thread),
            Err(error) => reading.failed = Some(error.to_string()),
        }
    }

    /// Ends a reload with what was read.
    pub(super) async fn end_reload(
        &mut self,
        read: Result<Fresh, String>,
        reading: &mut Reading,
    ) -> Result<(), DaemonError> {
        match read {
            Err(error) => self.refuse(error),
            Ok(fresh) => self.adopt(fresh).await?,
        }
        self.show_and_wait().await;
        Systemd::ready();
        if std::mem::take(&mut reading.again) {
            self.begin_reload(reading);
        }
        Ok(())
    }

    fn refuse(&mut self, error: String) {
        emit!(
            ConfigurationRefused,
            {},
            "the configuration was NOT reloaded; the old one stays active:\n{error}"
        );
        self.configuration.refused = Some(error);
    }

    async fn adopt(&mut self, fresh: Fresh) -> Result<(), DaemonError> {
        let Fresh {
            plan: new,
            settings,
            files,
        } = fresh;
        let now = Utc::now();
        let in_force = (&*self.configuration.plan, &self.configuration.settings);
        let changes = changes(in_force, (&new, &settings), now);
        let scheduled: Vec<_> = new
            .jobs
            .iter()
            .filter(|job| changes.scheduled.contains(&job.name))
            .map(|job| (job.name.clone(), job.schedule.clone()))
            .collect();
        self.ticker.change(&changes.unscheduled, &scheduled).await?;
        self.configuration.adopt(new, settings, now);
        self.web.follow(self.configuration.plan.web.as_ref());
        self.watch.adopt(self.configuration.in_force());
        self.queue.follow(&self.configuration.plan);
        let configuration = &self.configuration;
        self.pings
            .follow(&configuration.plan, &configuration.environment);
        self.bring_schedules_into_force(now);
        self.rebase();
        self.check_connections();
        for warning in &self.configuration.plan.warnings {
            emit!(ConfigurationWarning, {}, "{warning}");
        }
        for change in &changes.sentences {
            emit!(JobChanged, {}, "{change}");
        }
        for key in &changes.not_in_force {
            emit!(
                ConfigurationWarning,
                {},
                "{key} has changed; that takes effect when the service is restarted"
            );
        }
        let count = changes.sentences.len();
        emit!(
            ConfigurationReloaded,
            { changes = count },
            "configuration reloaded from {files}: {}",
            match count {
                0 => "nothing has changed".to_owned(),
                1 => "1 change".to_owned(),
                many => format!("{many} changes"),
            }
        );
        Ok(())
    }

    /// What waits follows the new plan; what runs ends under its own.
    fn rebase(&mut self) {
        let plan = &self.configuration.plan;
        let gone = self.queue.board.rebase(|work| {
            let job = plan.jobs.iter().find(|job| job.name == work.subject.job);
            let server = plan
                .servers
                .iter()
                .find(|server| server.name == work.subject.server);
            let (Some(job), Some(server)) = (job, server) else {
                return false;
            };
            if job.kind != work.task.job.kind || work.lane == Lane::Spare && !plan.drill.definitions
            {
                return false;
            }
            if let Action::BackUp(database, _) = &mut work.task.action {
                match &server.databases {
                    Databases::Named(named) => {
                        let Some(new) = named.iter().find(|other| other.name == database.name)
                        else {
                            return false;
                        };
                        *database = new.clone();
                    }
                    Databases::All(_) | Databases::FromEnvironment => {
                        database.directory = server.directory_for(&database.name);
                        database.dump = server.dump.clone();
                    }
                }
            }
            work.task.plan = Arc::clone(plan);
            work.task.job = Arc::new(job.clone());
            work.retry = job.retry;
            work.blackouts = job.blackouts.clone();
            true
        });
        for work in gone {
            self.skip(&Skipped {
                work,
                reason: TAKEN_OUT.to_owned(),
            });
        }
    }
}
