//! Which schedules are in force since when, and what was missed while the service was off or the
//! machine asleep.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::Service;
use crate::config::Job;
use crate::daemon::task::missed_slot;
use crate::daemon::tell;
use crate::jobs::Context;
use crate::repository::{InForce, SchedulesInForce};
use crate::tell;
use crate::words::span;

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
        let plan = Arc::clone(&self.plan);
        for job in plan.jobs.iter().filter(|job| job.catch_up) {
            // A schedule that has changed meanwhile is in force since now.
            let known = before.of(&job.name).and(self.schedules.of(&job.name));
            self.make_up(job, known.cloned(), now);
        }
    }

    /// A slot was passed over while the service ran: the machine slept, or the clock was set. As at
    /// a start, it counts as missed only if it is not on record, and its window does not matter:
    /// that may be long over.
    pub(super) fn make_up_after_a_gap(
        &mut self,
        job: &Job,
        slot: DateTime<Utc>,
        now: DateTime<Utc>,
    ) {
        if job.catch_up {
            let known = self.schedules.of(&job.name).cloned();
            self.make_up(job, known, now);
        } else {
            tell!(
                JobMissed,
                { job = %job.name },
                "job {} was missed at {} and is not made up for: its catch_up is off",
                job.name,
                tell::clock(slot, job.schedule.zone())
            );
        }
    }

    /// Makes up for the newest slot of a job, if it was missed since what is known of its schedule.
    fn make_up(&mut self, job: &Job, known: Option<InForce>, now: DateTime<Utc>) {
        let context = Context::new(&self.plan, &self.environment);
        let plan = Arc::clone(&self.plan);
        // What a clock that was ahead has left counts for nothing.
        let past = |moment: Option<DateTime<Utc>>| moment.filter(|moment| *moment <= now);
        let known = known.map_or((None, None), |known| {
            (past(Some(known.since)), past(known.handled))
        });
        let mut servers = Vec::new();
        let mut newest = None;
        for server in &plan.servers {
            match missed_slot(&context, &plan, server, job, known, now) {
                Ok(None) => {}
                Ok(Some(slot)) => {
                    servers.push(server.name.clone());
                    newest = newest.max(Some(slot));
                }
                Err(error) => tell!(
                    DirectoryUnusable,
                    { job = %job.name },
                    "whether job {} was missed cannot be found out: {error}",
                    job.name
                ),
            }
        }
        if let Some(slot) = newest {
            tell!(
                JobMissed,
                { job = %job.name },
                "job {} was missed at {} and is made up for, within {}",
                job.name,
                tell::clock(slot, job.schedule.zone()),
                span(plan.daemon.catch_up_delay)
            );
            self.put_up(&Arc::new(job.clone()), slot, Some(&servers), now);
        }
    }
}
