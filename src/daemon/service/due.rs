//! From a tick to the ends of its runs.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tracing::Span;

use super::Service;
use super::queue::Running;
use crate::config::{Job, JobKind};
use crate::daemon::board::{Ending, Lane, Skipped, Subject, Ticket, Work};
use crate::daemon::skips::SkippedRun;
use crate::daemon::task::{Action, Found, FoundDatabase, Outcome, Task};
use crate::daemon::{run_log, service_log};
use crate::jobs::{JobError, JobErrorKind};
use crate::policy::{DrillMissed, delay, window_end};

/// A job that is due.
pub(super) struct DueJob<'a> {
    pub(super) job: Job,
    pub(super) slot: DateTime<Utc>,
    /// The servers for which it is a catch-up run; none where it runs on time, for all.
    pub(super) catch_up: Option<&'a [String]>,
}

impl Service {
    /// Puts a job that is due on the board, for all servers or only for some.
    pub(super) fn put_up(&mut self, due: DueJob<'_>, now: DateTime<Utc>) {
        let DueJob {
            job,
            slot,
            catch_up,
        } = due;
        let job = Arc::new(job);
        let servers: Vec<String> = self
            .configuration
            .plan
            .servers
            .iter()
            .map(|server| server.name.clone())
            .filter(|name| catch_up.is_none_or(|only| only.contains(name)))
            .collect();
        let longest = catch_up.map_or(Duration::ZERO, |_| {
            self.configuration.plan.daemon.catch_up_delay
        });
        if !matches!(job.kind, JobKind::Backup(_)) {
            self.schedules.open(&job.name, slot);
        }
        for server in servers {
            let task = Task {
                plan: Arc::clone(&self.configuration.plan),
                job: Arc::clone(&job),
                action: Action::Find,
                is_catch_up: catch_up.is_some(),
            };
            service_log::due(&task, slot);
            let subject = Subject {
                job: job.name.clone(),
                server,
                database: None,
            };
            let not_before = now + random_delay(longest);
            // What is a catch-up run has its window from now on.
            let ends = if catch_up.is_some() {
                window_end(&job.schedule, slot, Duration::MAX).min(not_before + job.window)
            } else {
                window_end(&job.schedule, slot, job.window)
            };
            let reason = (not_before > now).then(|| "a random delay at start".to_owned());
            self.put(Work {
                subject,
                slot,
                ends,
                not_before,
                reason,
                attempt: 1,
                lane: Lane::Runs,
                is_follow_up: false,
                blackouts: job.blackouts.clone(),
                retry: job.retry,
                task,
            });
        }
    }

    pub(super) fn put(&mut self, work: Work<Task>) {
        if let Some(skipped) = self.queue.board.add(work) {
            self.skip(&skipped);
        }
    }

    /// Does what the board says.
    pub(super) fn step(&mut self) {
        let (configuration, directories) = (&self.configuration, &self.directories);
        for skipped in self.queue.step(configuration, directories, Utc::now()) {
            self.skip(&skipped);
        }
        self.hear_of_beginnings();
        let board = &self.queue.board;
        self.pings.settle(|job, slot| board.has_left(job, slot));
        if self.schedules.settle(|job, slot| board.has_left(job, slot)) {
            self.write_schedules();
        }
    }

    /// Takes in how a run has ended.
    pub(super) fn end(&mut self, ticket: Ticket, outcome: Outcome) {
        let Some(running) = self.queue.take(ticket) else {
            return;
        };
        let now = Utc::now();
        let took = running.began.elapsed();
        self.hear_of_end(&running.work, &outcome);
        let run = running.as_run();
        match outcome {
            Outcome::Found(found) => {
                for failure in &found.failures {
                    run.impossible(failure);
                }
                self.queue.board.finish(ticket, Ending::Over, now);
                self.take_found(&running.work, found, now);
                return;
            }
            Outcome::BackedUp(made) => {
                run.backed_up(&made.report, took);
                let subject = &running.work.subject;
                self.connections
                    .succeeded(&subject.server, subject.database.as_deref());
                self.remind(&running, made.missed, &made.report.losses);
                if let Some(untried) = made.untried {
                    self.put_follow_up(&running.work, untried, now);
                }
                for copy in made.copies {
                    self.put_follow_up(&running.work, copy, now);
                }
            }
            Outcome::TriedDefinitions(report) => run.tried_definitions(report.as_deref(), took),
            Outcome::Verified(report) => run.verified(&report, took),
            Outcome::VerifiedCopies(report) => run.verified_copies(&report, took),
            Outcome::Drilled(report) => run.drilled(report.as_deref(), took),
            Outcome::Pruned(report) => run.pruned(&report, took),
            Outcome::Copied(report) => run.copied(&report, took),
            Outcome::Panicked(panic) => run.panicked(&panic, took),
            Outcome::Failed(error, lacks_directory) => {
                let is_wanted = lacks_directory && self.want_directory(&running.work);
                let ending = self.ending_of(&error, is_wanted);
                let again = self.queue.board.finish(ticket, ending, now);
                run.failed(&error, again, took);
                let subject = &running.work.subject;
                if again.is_none() && subject.database.is_none() && !self.is_stopping {
                    self.take_failed_search(&subject.server, error.to_string());
                }
                return;
            }
            Outcome::NotBegun(error) => {
                let ending = self.ending_of(&error, false);
                let again = self.queue.board.finish(ticket, ending, now);
                run.failed(&error, again, took);
                if again.is_none() && !running.work.is_follow_up {
                    // Its ledger has nothing of it.
                    let reason = error.to_string();
                    self.record_skip(&running.work, reason, running.span.clone());
                }
                return;
            }
        }
        self.queue.board.finish(ticket, Ending::Over, now);
    }

    /// Puts up the work on the databases that a job is for.
    fn take_found(&mut self, work: &Work<Task>, found: Found, now: DateTime<Utc>) {
        self.connections.succeeded(&work.subject.server, None);
        self.want_directories(work, &found.lacking);
        for database in found.databases {
            self.put_found(work, database, now);
        }
    }

    /// Logs, once a day however many backups there are, that the drill of a database is overdue and what of
    /// it is gone.
    fn remind(&mut self, running: &Running, missed: Option<DrillMissed>, losses: &[String]) {
        let Some(directory) = running.work.task.directory() else {
            return;
        };
        let today = Utc::now()
            .with_timezone(&self.configuration.plan.zone)
            .date_naive();
        if let Some(missed) = missed
            && self.reminders.is_drill_due(&directory, today)
        {
            running.as_run().drill_overdue(missed);
        }
        if self.reminders.is_loss_due(&directory, today, losses.len()) {
            running.as_run().losses(losses);
        }
    }

    /// Whether a run that has failed may be tried again.
    fn ending_of(&self, error: &JobError, is_directory_wanted: bool) -> Ending {
        let may_pass = error.may_pass() || is_directory_wanted;
        if self.is_stopping || error.kind() == JobErrorKind::Interrupted || !may_pass {
            return Ending::Over;
        }
        let text = error.to_string();
        Ending::MayPass(text.lines().next().unwrap_or_default().to_owned())
    }

    /// Puts the work on one database on the board, as found by the job's first step.
    pub(super) fn put_found(
        &mut self,
        from: &Work<Task>,
        found: FoundDatabase,
        now: DateTime<Utc>,
    ) {
        let is_asked_for = self.wished.is_asked_for(&from.subject.server, &found.name);
        let (delay, reason) = if is_asked_for {
            (MAKING, "its directory is being made")
        } else {
            (random_delay(from.task.job.jitter), "the job's jitter")
        };
        let not_before = now + delay;
        let task = Task {
            action: found.action,
            ..from.task.clone()
        };
        self.put(Work {
            subject: Subject {
                database: Some(found.name),
                ..from.subject.clone()
            },
            not_before,
            reason: (not_before > now).then(|| reason.to_owned()),
            attempt: 1,
            lane: task.lane(),
            task,
            ..from.clone()
        });
    }

    /// Puts up what comes of a backup: the trial of its definitions, its copies. It may wait until the job is
    /// due again, when the next backup takes its place.
    fn put_follow_up(&mut self, from: &Work<Task>, action: Action, now: DateTime<Utc>) {
        let job = &from.task.job;
        let task = Task {
            action,
            ..from.task.clone()
        };
        self.put(Work {
            ends: window_end(&job.schedule, now, Duration::MAX),
            not_before: now,
            reason: None,
            attempt: 1,
            lane: task.lane(),
            is_follow_up: true,
            task,
            ..from.clone()
        });
    }

    /// Asks root for the directories of databases that were found on their server, where the service
    /// itself may not make them.
    fn want_directories(&mut self, from: &Work<Task>, lacking: &[String]) {
        if let Some(wishes) = self.wished.found(&from.subject.server, lacking) {
            self.writers.wishes.give(Arc::new(wishes));
        }
    }

    /// Asks again for the directory that a run has not found. Whether it is asked for.
    fn want_directory(&mut self, work: &Work<Task>) -> bool {
        let server = &work.subject.server;
        let Some(database) = &work.subject.database else {
            return false;
        };
        if !work.task.is_discovered(server) {
            return false;
        }
        let wishes = self.wished.again(server, database);
        self.writers.wishes.give(Arc::new(wishes));
        true
    }

    /// Records that something due was not done.
    pub(super) fn skip(&mut self, skipped: &Skipped<Task>) {
        if skipped.work.lane == Lane::Spare {
            return;
        }
        let span = run_log::skipped(skipped);
        let Skipped { work, reason } = skipped;
        let reason = format!("skipped: {reason}");
        if !work.is_follow_up {
            self.pings.failed(&work.subject, work.slot, &reason);
        }
        self.record_skip(&skipped.work, skipped.reason.clone(), span);
    }

    fn record_skip(&mut self, work: &Work<Task>, reason: String, span: Span) {
        let (Some(directory), Some(database)) = (work.task.directory(), &work.subject.database)
        else {
            return;
        };
        let (operation, series) = work.task.operation();
        let run = SkippedRun {
            context: work
                .task
                .context(work.slot, &self.configuration.environment),
            database: database.clone(),
            operation,
            series: series.cloned(),
            destination: work.task.destination().map(str::to_owned),
            span,
        };
        self.writers.skips.give(directory, run, reason);
    }
}

/// So long a run waits for a directory that root was asked for.
const MAKING: TimeDelta = TimeDelta::seconds(5);

/// A delay from nothing to the longest, by chance.
fn random_delay(longest: Duration) -> TimeDelta {
    // Every hasher of the standard library is keyed at random.
    let seed = RandomState::new().build_hasher().finish();
    TimeDelta::from_std(delay(seed, longest)).unwrap_or_default()
}
