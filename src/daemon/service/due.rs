//! From a tick to the ends of its runs.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::{Running, Service};
use crate::config::{Job, JobKind};
use crate::daemon::board::{Ending, Skipped, Step, Subject, Ticket, Work};
use crate::daemon::skips::SkippedRun;
use crate::daemon::task::{Action, Circumstances, FoundDatabase, Outcome, Task};
use crate::daemon::tell;
use crate::jobs::JobErrorKind;
use crate::policy::{delay, window_end};

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
            .plan
            .servers
            .iter()
            .map(|server| server.name.clone())
            .filter(|name| catch_up.is_none_or(|only| only.contains(name)))
            .collect();
        let longest = catch_up.map_or(Duration::ZERO, |_| self.plan.daemon.catch_up_delay);
        if !matches!(job.kind, JobKind::Backup(_)) {
            self.open_slots.push((job.name.clone(), slot));
        }
        for server in servers {
            let task = Task {
                plan: Arc::clone(&self.plan),
                job: Arc::clone(&job),
                action: Action::Find,
                is_catch_up: catch_up.is_some(),
            };
            tell::due(&task, slot);
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
                blackouts: job.blackouts.clone(),
                retry: job.retry,
                task,
            });
        }
    }

    pub(super) fn put(&mut self, work: Work<Task>) {
        if let Some(skipped) = self.board.add(work) {
            self.skip(&skipped);
        }
    }

    /// Does what the board says.
    pub(super) fn step(&mut self) {
        for step in self.board.steps(Utc::now()) {
            match step {
                Step::Start(ticket, work) => self.start(ticket, work),
                Step::Skip(skipped) => self.skip(&skipped),
            }
        }
        self.settle();
    }

    pub(super) fn start(&mut self, ticket: Ticket, work: Work<Task>) {
        let running = Running {
            id: Uuid::now_v7(),
            began: Instant::now(),
            progress: Arc::default(),
            work,
        };
        if !matches!(running.work.task.action, Action::Find) {
            running.told().started();
        }
        let given = Circumstances {
            environment: Arc::clone(&self.environment),
            run: running.id,
            slot: running.work.slot,
            directories: self.directories.clone(),
            progress: Arc::clone(&running.progress),
            cancel: self.cancel.child_token(),
        };
        let (task, server) = (
            running.work.task.clone(),
            running.work.subject.server.clone(),
        );
        let ended = self.ended.clone();
        tokio::spawn(async move {
            let outcome = task.carry_out(server, given).await;
            // Nobody listens any more only when the daemon has given up waiting.
            let _ = ended.send((ticket, outcome));
        });
        self.runs.insert(ticket, running);
    }

    /// Takes in how a run has ended.
    pub(super) fn end(&mut self, ticket: Ticket, outcome: Outcome) {
        let Some(running) = self.runs.remove(&ticket) else {
            return;
        };
        self.rates.forget(ticket);
        let now = Utc::now();
        let took = running.began.elapsed();
        let told = running.told();
        let mut ending = Ending::Over;
        match outcome {
            Outcome::Found(found) => {
                for failure in &found.failures {
                    told.impossible(failure);
                }
                self.board.finish(ticket, Ending::Over, now);
                self.want_directories(&running.work, &found.lacking);
                for database in found.databases {
                    self.put_found(&running.work, database, now);
                }
                return;
            }
            Outcome::BackedUp(report, missed) => {
                told.backed_up(&report, took);
                let subject = &running.work.subject;
                self.connections
                    .succeeded(&subject.server, subject.database.as_deref());
                if let (Some(missed), Some(directory)) = (missed, running.work.task.directory()) {
                    // Once a day, however many backups there are.
                    let today = now.with_timezone(&self.plan.zone).date_naive();
                    if self.drills_told.insert(directory, today) != Some(today) {
                        told.drill_overdue(missed);
                    }
                }
                if let Some(directory) = running.work.task.directory() {
                    // Once a day too, and again when there are more.
                    let today = now.with_timezone(&self.plan.zone).date_naive();
                    let now_lost = (today, report.losses.len());
                    let before = self.losses_told.insert(directory, now_lost);
                    if before.is_none_or(|(day, count)| day != today || count < now_lost.1) {
                        told.losses(&report.losses);
                    }
                }
            }
            Outcome::Verified(report) => told.verified(&report, took),
            Outcome::Drilled(report) => told.drilled(report.as_deref(), took),
            Outcome::Pruned(report) => told.pruned(&report, took),
            Outcome::Panicked(panic) => told.panicked(&panic, took),
            Outcome::Failed(error, lacks_directory) => {
                let is_wanted = lacks_directory && self.want_directory(&running.work);
                if !self.is_stopping
                    && error.kind() != JobErrorKind::Interrupted
                    && (error.may_pass() || is_wanted)
                {
                    let text = error.to_string();
                    let first = text.lines().next().unwrap_or_default().to_owned();
                    ending = Ending::MayPass(first);
                }
                let again = self.board.finish(ticket, ending, now);
                told.failed(&error, again, took);
                return;
            }
        }
        self.board.finish(ticket, ending, now);
    }

    /// Puts the work on one database on the board, as found by the job's first step.
    pub(super) fn put_found(
        &mut self,
        from: &Work<Task>,
        found: FoundDatabase,
        now: DateTime<Utc>,
    ) {
        let wish = (from.subject.server.clone(), found.name.clone());
        let (delay, reason) = if self.wished.contains(&wish) {
            (MAKING, "its directory is being made")
        } else {
            (random_delay(from.task.job.jitter), "the job's jitter")
        };
        let not_before = now + delay;
        self.put(Work {
            subject: Subject {
                database: Some(found.name),
                ..from.subject.clone()
            },
            not_before,
            reason: (not_before > now).then(|| reason.to_owned()),
            attempt: 1,
            task: Task {
                action: found.action,
                ..from.task.clone()
            },
            ..from.clone()
        });
    }

    /// Asks root for the directories of databases that were found on their server, where the service
    /// itself may not make them.
    fn want_directories(&mut self, from: &Work<Task>, lacking: &[String]) {
        let server = &from.subject.server;
        // Those that were wished for before have been made, or not; only what is missing counts.
        self.wished.retain(|(other, _)| other != server);
        if lacking.is_empty() {
            return;
        }
        let lacking = lacking.iter().map(|name| (server.clone(), name.clone()));
        self.wished.extend(lacking);
        self.wish();
    }

    /// Writes down for which databases directories are wished for.
    fn wish(&mut self) {
        self.writers.wishes.give(Arc::new(self.wished.clone()));
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
        self.wished.insert((server.clone(), database.clone()));
        self.wish();
        true
    }

    /// Records that something due was not done.
    pub(super) fn skip(&mut self, skipped: &Skipped<Task>) {
        tell::skipped(skipped);
        let work = &skipped.work;
        let (Some(directory), Some(database)) = (work.task.directory(), &work.subject.database)
        else {
            return;
        };
        let (operation, series) = work.task.operation();
        let run = SkippedRun {
            context: work.task.context(work.slot, &self.environment),
            database: database.clone(),
            operation,
            series: series.cloned(),
        };
        let reason = skipped.reason.clone();
        self.writers.skips.give(directory, run, reason);
    }

    /// Notes the slots for which nothing is left to be done.
    pub(super) fn settle(&mut self) {
        let board = &self.board;
        let (open, settled): (Vec<_>, Vec<_>) = std::mem::take(&mut self.open_slots)
            .into_iter()
            .partition(|(job, slot)| board.has_left(job, *slot));
        self.open_slots = open;
        for (job, slot) in settled {
            self.handled(&job, slot);
        }
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
