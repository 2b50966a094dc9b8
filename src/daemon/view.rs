//! What the daemon tells of its present state: to `pgbackupd status`, to `systemctl status`, and to
//! its log on SIGUSR1.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use chrono::{DateTime, FixedOffset, Utc};
use chrono_tz::Tz;

use super::board::{Board, Ticket};
use super::changes::after_restart;
use super::task::Task;
use crate::config::Plan;
use crate::display::{one_line, size};
use crate::jobs::{ConnectionFailure, ConnectionFailureKind};
use crate::pipeline::Progress;
use crate::repository::{
    CannotConnect, DAEMON_STATE_FORMAT, DaemonState, HangingDirectory, RunningJob, ScheduledJob,
    WaitingJob,
};
use crate::responsiveness::Hanging;

/// What the state is made from.
pub(super) struct View<'a> {
    pub plan: &'a Plan,
    pub started: DateTime<Utc>,
    pub loaded: DateTime<Utc>,
    pub refused: Option<&'a str>,
    /// The digest of the configuration's files.
    pub configuration: &'a str,
    /// The plan at the start of the process.
    pub started_with: &'a Plan,
    /// What cannot be connected to as it is configured, and since when that is known.
    pub cannot_connect: Vec<(&'a ConnectionFailure, DateTime<Utc>)>,
    pub is_stopping: bool,
    /// The runtime directory, if it does not take the state.
    pub unwritable: Option<PathBuf>,
    /// Directories that do not answer.
    pub hanging: Vec<Hanging>,
    pub upcoming: Vec<(String, Option<DateTime<Utc>>)>,
    pub board: &'a Board<Task>,
}

/// Bytes that a run has written or read, and how fast.
#[derive(Debug, Default)]
pub(super) struct Rates {
    seen: BTreeMap<Ticket, (u64, Instant, f64)>,
}

impl Rates {
    /// The bytes so far, and bytes a second since the last look.
    pub(super) fn look(&mut self, ticket: Ticket, progress: &Progress, now: Instant) -> (u64, f64) {
        let bytes = progress.stored_bytes().max(progress.checked_bytes());
        let (before, then, rate) = self.seen.get(&ticket).copied().unwrap_or((0, now, 0.0));
        let passed = now.saturating_duration_since(then).as_secs_f64();
        // Too short a time tells nothing.
        if passed < 0.5 && self.seen.contains_key(&ticket) {
            return (bytes, rate);
        }
        #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = if passed > 0.0 {
            bytes.saturating_sub(before) as f64 / passed
        } else {
            0.0
        };
        self.seen.insert(ticket, (bytes, now, rate));
        (bytes, rate)
    }

    /// Forgets a run that has ended.
    pub(super) fn forget(&mut self, ticket: Ticket) {
        self.seen.remove(&ticket);
    }
}

impl View<'_> {
    /// The state for the runtime directory.
    pub(super) fn state(&self) -> DaemonState {
        DaemonState {
            format: DAEMON_STATE_FORMAT,
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: self.local(self.started),
            loaded: self.local(self.loaded),
            refused: self.refused.map(str::to_owned),
            configuration: Some(self.configuration.to_owned()),
            after_restart: after_restart(self.started_with, self.plan),
            cannot_connect: self
                .cannot_connect
                .iter()
                .map(|(failure, since)| CannotConnect {
                    server: failure.server.clone(),
                    database: failure.database.clone(),
                    is_missing: failure.kind == ConnectionFailureKind::NoSuchDatabase,
                    since: self.local(*since),
                    message: failure.message.clone(),
                })
                .collect(),
            hanging: self
                .hanging
                .iter()
                .map(|one| HangingDirectory {
                    directory: one.directory.clone(),
                    since: self.local(one.since),
                })
                .collect(),
            stopping: self.is_stopping,
            jobs: self.jobs(),
            running: self.running(),
            waiting: self.waiting(Utc::now()),
        }
    }

    fn local(&self, moment: DateTime<Utc>) -> DateTime<FixedOffset> {
        moment.with_timezone(&self.plan.zone).fixed_offset()
    }

    /// The jobs, the next one first.
    fn jobs(&self) -> Vec<ScheduledJob> {
        let jobs = self.plan.jobs.iter().map(|job| ScheduledJob {
            job: job.name.clone(),
            kind: job.kind.word().to_owned(),
            schedule: job.schedule.text().to_owned(),
            next: self.next(&job.name).map(|(_, next)| next),
        });
        let mut jobs: Vec<ScheduledJob> = jobs.collect();
        jobs.sort_by_key(|job| (job.next.is_none(), job.next));
        jobs
    }

    /// The runs on databases.
    fn running(&self) -> Vec<RunningJob> {
        let running = self.board.running().filter_map(|(_, running)| {
            let work = &running.work;
            Some(RunningJob {
                job: work.subject.job.clone(),
                kind: work.task.kind().to_owned(),
                due: self.local(work.slot),
                server: work.subject.server.clone(),
                database: work.subject.database.clone()?,
                directory: work.task.directory()?,
                since: self.local(running.since),
                attempt: work.attempt,
            })
        });
        running.collect()
    }

    /// The runs that wait, and for what.
    fn waiting(&self, now: DateTime<Utc>) -> Vec<WaitingJob> {
        let waiting = self.board.waiting().iter().map(|work| WaitingJob {
            job: work.subject.job.clone(),
            kind: work.task.kind().to_owned(),
            due: self.local(work.slot),
            server: work.subject.server.clone(),
            database: work.subject.database.clone().unwrap_or_default(),
            until: work.starts_at(now).map(|moment| self.local(moment)),
            reason: work.waits_for(now).to_owned(),
        });
        waiting.collect()
    }

    fn next(&self, job: &str) -> Option<(String, DateTime<FixedOffset>)> {
        let (_, next) = self.upcoming.iter().find(|(name, _)| name == job)?;
        let zone = self
            .plan
            .jobs
            .iter()
            .find(|other| other.name == job)?
            .schedule
            .zone();
        let next = (*next)?.with_timezone(&zone);
        Some((display_moment(next), next.fixed_offset()))
    }

    /// One line for `systemctl status`: what runs, what comes next, and what is wrong.
    pub(super) fn line(&self, runs: &[(u64, f64)]) -> String {
        let mut parts = self.what_is_wrong();
        parts.extend(self.what_runs(runs));
        let waiting = self.board.waiting().len();
        if waiting > 0 {
            parts.push(format!("{waiting} waiting"));
        }
        let first = self
            .plan
            .jobs
            .iter()
            .filter_map(|job| Some((self.next(&job.name)?, job)))
            .min_by_key(|((_, next), _)| *next);
        parts.push(match first {
            Some(((words, _), job)) => format!("next: {} at {words}", job.name),
            None => "no job is scheduled".to_owned(),
        });
        parts.join("; ")
    }

    /// Whether the service stops, and what keeps it from its work.
    fn what_is_wrong(&self) -> Vec<String> {
        let mut parts = Vec::new();
        if self.is_stopping {
            parts.push("stopping".to_owned());
        }
        if let Some(refused) = self.refused {
            parts.push(format!(
                "the new configuration is REFUSED, the old one is active: {}",
                in_short(refused)
            ));
        }
        if let Some((first, _)) = self.cannot_connect.first() {
            let others = match self.cannot_connect.len() - 1 {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let what = match &first.database {
                Some(database) => self.plan.label(&first.server, database),
                None => format!("server {}", first.server),
            };
            parts.push(format!("CANNOT CONNECT to {}{others}", one_line(&what)));
        }
        if let Some(runtime) = &self.unwritable {
            parts.push(format!(
                "{} does not take the state: `pgbackupd status` shows an older one",
                runtime.display()
            ));
        }
        if let Some(first) = self.hanging.first() {
            let others = match self.hanging.len() - 1 {
                0 => String::new(),
                more => format!(" (and {more} more)"),
            };
            let directory = one_line(&first.directory.display().to_string());
            parts.push(format!("{directory}{others} DOES NOT ANSWER"));
        }
        parts
    }

    /// The first of the runs, with its bytes and how fast they come, and how many others there are.
    fn what_runs(&self, runs: &[(u64, f64)]) -> Option<String> {
        let running: Vec<_> = self
            .board
            .running()
            .filter_map(|(_, running)| Some((running, running.work.subject.database.as_ref()?)))
            .collect();
        let (first, database) = running.first()?;
        let (bytes, rate) = runs.first().copied().unwrap_or_default();
        let others = match running.len() {
            1 => String::new(),
            many => format!(" and {} more", many - 1),
        };
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rate for people, never negative"
        )]
        let rate = size(rate as u64);
        Some(format!(
            "{} of {} ({}): {}, {rate}/s{others}",
            first.work.task.noun(),
            one_line(&self.plan.label(&first.work.subject.server, database)),
            first.work.subject.job,
            size(bytes)
        ))
    }
}

/// The first problem of a configuration: what it is, and where.
fn in_short(refused: &str) -> String {
    let mut lines = refused.lines();
    let what = lines.next().unwrap_or_default();
    let place = lines.find_map(|line| line.trim_start().strip_prefix("--> "));
    match place {
        Some(place) => format!("{place}: {what}"),
        None => what.to_owned(),
    }
}

fn display_moment(moment: DateTime<Tz>) -> String {
    moment.format("%a %Y-%m-%d %H:%M %Z").to_string()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use chrono::{DateTime, TimeDelta, Utc};

    use super::{Hanging, Rates, View};
    use crate::config::{Databases, JobKind, Plan};
    use crate::daemon::board::{Board, Concurrency, Lane, Subject, Work};
    use crate::daemon::changes::tests::loaded;
    use crate::daemon::task::{Action, Task};
    use crate::jobs::{ConnectionFailure, ConnectionFailureKind};
    use crate::pipeline::Progress;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn plan() -> Arc<Plan> {
        Arc::new(loaded("databases = [\"app\", \"b\\nb\", \"c\"]").plan)
    }

    /// A board with the first job's work on every database, two of which run.
    fn board(plan: &Arc<Plan>, now: DateTime<Utc>) -> Board<Task> {
        let mut board = Board::new(Concurrency {
            total: 2,
            per_server: 2,
        });
        let job = plan.jobs.iter().find(|job| job.name == "daily").unwrap();
        let JobKind::Backup(series) = &job.kind else {
            panic!("{job:?}")
        };
        let Databases::Named(databases) = &plan.servers[0].databases else {
            panic!("{plan:?}")
        };
        for database in databases {
            let added = board.add(Work {
                subject: Subject {
                    job: job.name.clone(),
                    server: "main".to_owned(),
                    database: Some(database.name.clone()),
                },
                slot: now,
                ends: now + TimeDelta::hours(6),
                not_before: now,
                reason: None,
                attempt: 1,
                lane: Lane::Runs,
                is_follow_up: false,
                blackouts: job.blackouts.clone(),
                retry: job.retry,
                task: Task {
                    plan: Arc::clone(plan),
                    job: Arc::new(job.clone()),
                    action: Action::BackUp(database.clone(), series.clone()),
                    is_catch_up: false,
                },
            });
            assert!(added.is_none());
        }
        assert_eq!(board.steps(now).len(), 2);
        board
    }

    fn view<'a>(plan: &'a Plan, board: &'a Board<Task>, refused: Option<&'a str>) -> View<'a> {
        let now = at("2025-07-09T00:00:00Z");
        View {
            plan,
            started: now,
            loaded: now,
            refused,
            configuration: "",
            started_with: plan,
            cannot_connect: Vec::new(),
            is_stopping: false,
            unwritable: None,
            hanging: Vec::new(),
            upcoming: vec![
                ("weekly".to_owned(), Some(at("2025-07-13T00:00:00Z"))),
                ("daily".to_owned(), Some(at("2025-07-09T23:00:00Z"))),
            ],
            board,
        }
    }

    #[test]
    fn what_cannot_be_connected_to_is_in_the_line_and_in_the_state() {
        let plan = plan();
        let idle = Board::new(Concurrency {
            total: 1,
            per_server: 1,
        });
        let failure = |database: Option<&str>, kind| ConnectionFailure {
            server: "main".to_owned(),
            database: database.map(str::to_owned),
            kind,
            message: "why".to_owned(),
        };
        let missing = failure(Some("b\nb"), ConnectionFailureKind::NoSuchDatabase);
        let refused = failure(None, ConnectionFailureKind::Refused);
        let now = at("2025-07-09T00:00:00Z");
        let next = "next: daily at Thu 2025-07-10 02:00 +03";
        for (failures, expected) in [
            (vec![&refused], "CANNOT CONNECT to server main; "),
            (
                vec![&missing, &refused],
                "CANNOT CONNECT to b\\nb and 1 more; ",
            ),
        ] {
            let view = View {
                cannot_connect: failures.into_iter().map(|failure| (failure, now)).collect(),
                ..view(&plan, &idle, None)
            };
            assert_eq!(view.line(&[]), format!("{expected}{next}"));
            assert!(!view.state().cannot_connect[0].message.is_empty());
        }
    }

    #[test]
    fn directories_that_hang_are_in_the_line_and_in_the_state() {
        let plan = plan();
        let idle = Board::new(Concurrency {
            total: 1,
            per_server: 1,
        });
        let hanging = |directories: &[&str]| {
            let hanging = directories.iter().map(|directory| Hanging {
                directory: directory.into(),
                since: at("2025-07-09T00:00:00Z"),
            });
            View {
                hanging: hanging.collect(),
                ..view(&plan, &idle, None)
            }
        };
        let next = "next: daily at Thu 2025-07-10 02:00 +03";
        for (directories, expected) in [
            (&["/b/a"] as &[_], "/b/a DOES NOT ANSWER; "),
            (&["/b/a", "/b/b"], "/b/a (and 1 more) DOES NOT ANSWER; "),
        ] {
            let view = hanging(directories);
            assert_eq!(view.line(&[]), format!("{expected}{next}"));
            assert_eq!(view.state().hanging.len(), directories.len());
        }
    }

    #[test]
    fn the_line_says_what_runs_and_what_comes_next() {
        let plan = plan();
        let idle = Board::new(Concurrency {
            total: 1,
            per_server: 1,
        });
        assert_eq!(
            view(&plan, &idle, None).line(&[]),
            "next: daily at Thu 2025-07-10 02:00 +03"
        );
        let busy = board(&plan, at("2025-07-08T23:00:00Z"));
        assert_eq!(
            view(&plan, &busy, None).line(&[(3 << 20, 1_572_864.0), (0, 0.0)]),
            "backup of app (daily): 3.0 MiB, 1.5 MiB/s and 1 more; 1 waiting; next: daily at Thu \
             2025-07-10 02:00 +03"
        );
        assert_eq!(
            view(&plan, &idle, Some("error: x: no\n  --> a.toml:3:9\n   |")).line(&[]),
            "the new configuration is REFUSED, the old one is active: a.toml:3:9: error: x: no; \
             next: daily at Thu 2025-07-10 02:00 +03"
        );
        let stuck = View {
            unwritable: Some("/run/pgbackupd".into()),
            ..view(&plan, &idle, None)
        };
        assert_eq!(
            stuck.line(&[]),
            "/run/pgbackupd does not take the state: `pgbackupd status` shows an older one; next: \
             daily at Thu 2025-07-10 02:00 +03"
        );
    }

    #[test]
    fn the_state_has_every_job_and_all_work() {
        let plan = plan();
        let busy = board(&plan, at("2025-07-08T23:00:00Z"));
        let state = view(&plan, &busy, None).state();
        let jobs: Vec<_> = state.jobs.iter().map(|job| job.job.as_str()).collect();
        assert_eq!(
            &jobs[..2],
            ["daily", "weekly"],
            "in the order of their next run"
        );
        assert_eq!(jobs.len(), plan.jobs.len());
        let running: Vec<_> = state
            .running
            .iter()
            .map(|run| run.database.as_str())
            .collect();
        assert_eq!(running, ["app", "b\nb"]);
        assert_eq!(
            state.running[0].due.to_rfc3339(),
            "2025-07-09T02:00:00+03:00"
        );
        assert_eq!(state.waiting[0].database, "c");
        assert_eq!(state.waiting[0].until, None);
        assert_eq!(state.waiting[0].reason, "it waits for its turn");
    }

    #[test]
    fn a_rate_is_what_was_written_since_the_last_look() {
        let mut rates = Rates::default();
        let progress = Progress::default();
        let start = Instant::now();
        assert_eq!(rates.look(1, &progress, start), (0, 0.0));
        progress.set_stored_bytes(1000);
        assert_eq!(
            rates.look(1, &progress, start + Duration::from_millis(100)),
            (1000, 0.0)
        );
        assert_eq!(
            rates.look(1, &progress, start + Duration::from_secs(2)),
            (1000, 500.0)
        );
        rates.forget(1);
        assert_eq!(rates.look(1, &progress, start), (1000, 0.0));
    }
}
