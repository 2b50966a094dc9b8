//! Which schedules are in force since when, and what was missed while the service was off or the
//! machine asleep.

use std::io;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::Service;
use super::due::DueJob;
use crate::config::Job;
use crate::daemon::missed::{Missed, Question};
use crate::daemon::service_log;
use crate::daemon::snapshot::PATIENCE;
use crate::display::span;
use crate::emit;
use crate::repository::{InForce, SchedulesInForce};
use crate::responsiveness;
use crate::threads::{self, NoThread};

/// What looking back has found.
pub(super) enum LookedBack {
    /// The schedules that were in force before this start.
    Schedules(io::Result<SchedulesInForce>),
    /// Whether a job was missed.
    Missed(Missed),
}

impl Service {
    pub(super) fn write_schedules(&mut self) {
        if let Some(schedules) = self.schedules.to_write() {
            self.writers.schedules.give(schedules);
        }
    }

    pub(super) fn bring_schedules_into_force(&mut self, now: DateTime<Utc>) {
        let jobs = &self.configuration.plan.jobs;
        self.schedules.bring_into_force(jobs, now);
        self.write_schedules();
    }

    /// At the start: what was missed while the service was off is caught up, once. What was in force
    /// before is read on a thread.
    pub(super) fn look_back(&mut self, now: DateTime<Utc>) {
        self.bring_schedules_into_force(now);
        let (directory, looked) = (self.state_directory.clone(), self.looked.clone());
        let reading = threads::start("schedules", move || {
            let read = responsiveness::ask_here(&directory, SchedulesInForce::read);
            // Nobody listens any more once the service stops.
            let _ = looked.send(LookedBack::Schedules(read));
        });
        self.looking += 1;
        if let Err(NoThread(error)) = reading {
            self.take_look(LookedBack::Schedules(Err(error)));
        }
    }

    /// Waits for what looking back finds, for [`PATIENCE`] at most: what comes later is caught up then.
    pub(super) async fn wait_for_looks(&mut self, looks: &mut mpsc::UnboundedReceiver<LookedBack>) {
        let all = async {
            while self.looking > 0
                && let Some(found) = looks.recv().await
            {
                self.take_look(found);
            }
        };
        let _ = timeout(PATIENCE, all).await;
    }

    /// Takes in what looking back has found.
    pub(super) fn take_look(&mut self, found: LookedBack) {
        let now = Utc::now();
        self.looking = self.looking.saturating_sub(1);
        match found {
            LookedBack::Schedules(read) => self.take_schedules(read, now),
            LookedBack::Missed(missed) => self.catch_up(&missed, now),
        }
    }

    fn take_schedules(&mut self, read: io::Result<SchedulesInForce>, now: DateTime<Utc>) {
        let before = read.unwrap_or_else(|error| {
            emit!(
                DirectoryUnusable,
                {},
                "cannot read the state directory {}: {error}; what was missed while the service \
                 was off is known from the ledgers only",
                self.state_directory.display()
            );
            SchedulesInForce::default()
        });
        let jobs = &self.configuration.plan.jobs;
        self.schedules.take_earlier(before.clone(), jobs, now);
        self.write_schedules();
        let plan = Arc::clone(&self.configuration.plan);
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
            emit!(
                JobMissed,
                { job = %job.name },
                "job {} missed its run at {}; it is not caught up, because catch_up is off",
                job.name,
                service_log::clock(slot, job.schedule.zone())
            );
        }
    }

    /// Asks whether the newest slot of a job was missed since what is known of its schedule.
    fn make_up(&mut self, job: &Job, known: Option<InForce>, now: DateTime<Utc>) {
        // What a clock that was ahead has left counts for nothing.
        let past = |moment: Option<DateTime<Utc>>| moment.filter(|moment| *moment <= now);
        let question = Question {
            context: self.configuration.context(),
            plan: Arc::clone(&self.configuration.plan),
            job: job.clone(),
            since: past(known.as_ref().map(|known| known.since)),
            handled: past(known.and_then(|known| known.handled)),
            now,
            directories: self.directories.clone(),
        };
        self.looking += 1;
        let (looked, cancel) = (self.looked.clone(), self.cancel.clone());
        tokio::spawn(async move {
            let asking = question.ask(|missed| {
                // Nobody listens any more once the service stops.
                let _ = looked.send(LookedBack::Missed(missed));
            });
            cancel.run_until_cancelled(asking).await;
        });
    }

    /// Catches up a slot, if one was missed.
    fn catch_up(&mut self, missed: &Missed, now: DateTime<Utc>) {
        let job = self
            .configuration
            .plan
            .jobs
            .iter()
            .find(|job| job.name == missed.job);
        // A reload may have taken it away in between.
        let (Some(slot), Some(job)) = (missed.slot, job.cloned()) else {
            return;
        };
        emit!(
            JobMissed,
            { job = %job.name },
            "job {} missed its run at {}; catching up within {}",
            job.name,
            service_log::clock(slot, job.schedule.zone()),
            span(self.configuration.plan.daemon.catch_up_delay)
        );
        let due = DueJob {
            job,
            slot,
            catch_up: Some(&missed.servers),
        };
        self.put_up(due, now);
    }
}
