//! SIGHUP: another configuration comes into force, wholly or not at all.

use std::sync::Arc;

use chrono::Utc;

use super::{Service, concurrency};
use crate::config::{Databases, Plan};
use crate::daemon::board::Skipped;
use crate::daemon::changes::changes;
use crate::daemon::start::{self, DaemonError};
use crate::daemon::systemd::Systemd;
use crate::daemon::task::Action;
use crate::jobs::Context;
use crate::tell;

impl Service {
    /// A reload is a transaction: read, check, compare, swap; or nothing at all.
    pub(super) async fn reload(&mut self) -> Result<(), DaemonError> {
        Systemd::reloading();
        match start::read_again(&self.source).await? {
            Err(error) => self.refuse(error.to_string()),
            Ok(loaded) => {
                let files = start::files(&loaded.settings.files());
                let new = Arc::new(loaded.plan);
                let (plan, context) = (Arc::clone(&new), Context::new(&new, &self.environment));
                let usable = tokio::task::spawn_blocking(move || start::usable(&plan, &context));
                match usable.await? {
                    Err(error) => self.refuse(error.to_string()),
                    Ok(()) => self.adopt(new, &files).await?,
                }
            }
        }
        self.show();
        Systemd::ready();
        Ok(())
    }

    pub(super) fn refuse(&mut self, error: String) {
        tell!(
            ConfigurationRefused,
            {},
            "the configuration was NOT reloaded, the one before it stays in force:\n{error}"
        );
        self.refused = Some(error);
    }

    pub(super) async fn adopt(&mut self, new: Arc<Plan>, files: &str) -> Result<(), DaemonError> {
        let now = Utc::now();
        let changes = changes(&self.plan, &new, now);
        let scheduled: Vec<_> = new
            .jobs
            .iter()
            .filter(|job| changes.scheduled.contains(&job.name))
            .map(|job| (job.name.clone(), job.schedule.clone()))
            .collect();
        self.ticker.change(&changes.unscheduled, &scheduled).await?;
        self.plan = new;
        self.loaded = now;
        self.refused = None;
        self.board.set_concurrency(concurrency(&self.plan));
        self.bring_schedules_into_force(now);
        self.rebase();
        for warning in &self.plan.warnings {
            tell!(ConfigurationWarning, {}, "{warning}");
        }
        for change in &changes.told {
            tell!(JobChanged, {}, "{change}");
        }
        for key in &changes.not_in_force {
            tell!(
                ConfigurationWarning,
                {},
                "{key} has changed; that takes effect when the service is started anew"
            );
        }
        let count = changes.told.len();
        tell!(
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
    pub(super) fn rebase(&mut self) {
        let plan = &self.plan;
        let gone = self.board.rebase(|work| {
            let job = plan.jobs.iter().find(|job| job.name == work.subject.job);
            let server = plan
                .servers
                .iter()
                .find(|server| server.name == work.subject.server);
            let (Some(job), Some(server)) = (job, server) else {
                return false;
            };
            if job.kind != work.task.job.kind {
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
                reason: "a reload has taken it out of the configuration".to_owned(),
            });
        }
    }
}
