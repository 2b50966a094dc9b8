//! Which schedules are in force since when, and what was missed while the service was off.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::Service;
use crate::daemon::task::missed_slot;
use crate::daemon::tell;
use crate::jobs::Context;
use crate::repository::SchedulesInForce;
use crate::tell;

impl Service {
    pub(super) fn handled(&mut self, job: &str, slot: DateTime<Utc>) {
        self.schedules.handle(job, slot);
        self.write_schedules();
    }

    pub(super) fn write_schedules(&self) {
        let directory = &self.state_directory;
        if let Err(error) = self.schedules.write(directory) {
            tell!(
                DirectoryUnusable,
                {},
                "cannot write to the state directory {}: {error}; jobs that are missed while the \
                 service is off may not be made up for",
                directory.display()
            );
        }
    }

    pub(super) fn bring_schedules_into_force(&mut self, now: DateTime<Utc>) {
        let jobs: Vec<_> = self
            .plan
            .jobs
            .iter()
            .map(|job| {
                (
                    job.name.clone(),
                    job.schedule.text().to_owned(),
                    job.schedule.zone(),
                )
            })
            .collect();
        let wanted = jobs
            .iter()
            .map(|(name, schedule, zone)| (name.as_str(), schedule.as_str(), zone.name()));
        self.schedules.replace(wanted, now);
        self.write_schedules();
    }

    /// At the start: what was missed while the service was off is made up for, once.
    pub(super) fn look_back(&mut self, now: DateTime<Utc>) {
        let directory = &self.state_directory;
        self.schedules = SchedulesInForce::read(directory).unwrap_or_else(|error| {
            tell!(
                DirectoryUnusable,
                {},
                "cannot read the state directory {}: {error}; what was missed while the service \
                 was off is known from the ledgers only",
                directory.display()
            );
            SchedulesInForce::default()
        });
        let before = self.schedules.clone();
        self.bring_schedules_into_force(now);
        let context = Context::new(&self.plan, &self.environment);
        let plan = Arc::clone(&self.plan);
        for job in plan.jobs.iter().filter(|job| job.catch_up) {
            // A schedule that has changed meanwhile is in force since now.
            let known = before.of(&job.name).and(self.schedules.of(&job.name));
            // What a clock that was ahead has left counts for nothing.
            let past = |moment: Option<DateTime<Utc>>| moment.filter(|moment| *moment <= now);
            let known = known.map_or((None, None), |known| {
                (past(Some(known.since)), past(known.handled))
            });
            let mut servers = Vec::new();
            let mut newest = None;
            for server in &plan.servers {
                match missed_slot(&context, server, job, known, now) {
                    Ok(None) => {}
                    Ok(Some(slot)) => {
                        servers.push(server.name.clone());
                        newest = newest.max(Some(slot));
                    }
                    Err(error) => {
                        tell!(
                            DirectoryUnusable,
                            { job = %job.name },
                            "whether job {} was missed cannot be found out: {error}",
                            job.name
                        );
                    }
                }
            }
            if let Some(slot) = newest {
                tell!(
                    JobMissed,
                    { job = %job.name },
                    "job {} was missed at {} and is made up for, within {}",
                    job.name,
                    tell::clock(slot, job.schedule.zone()),
                    humantime::format_duration(self.plan.daemon.catch_up_delay)
                );
                self.put_up(&Arc::new(job.clone()), slot, Some(&servers), now);
            }
        }
    }
}
