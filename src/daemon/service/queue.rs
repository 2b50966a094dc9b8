//! All work that is due, and the runs that carry it out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, Utc};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};
use uuid::Uuid;

use super::configuration::Configuration;
use crate::config::Plan;
use crate::daemon::board::{Board, Concurrency, Skipped, Step, Ticket, Work};
use crate::daemon::directories::Directories;
use crate::daemon::run_log::{self, Run};
use crate::daemon::task::{Action, Outcome, Task, TaskRun};
use crate::daemon::view::Rates;
use crate::pipeline::Progress;
use crate::web;

/// The work and its runs.
pub(super) struct Queue {
    /// What may start, what waits, what is given up.
    pub(super) board: Board<Task>,
    /// What the board lets run: what is known of it besides the board's entry.
    running: BTreeMap<Ticket, Running>,
    /// Reports of runs come back through this.
    ended: mpsc::UnboundedSender<(Ticket, Outcome)>,
    /// Ends all runs.
    cancel: CancellationToken,
    /// How fast runs are, from one look to the next.
    rates: Rates,
}

/// What is known of a run besides the board's entry.
pub(super) struct Running {
    /// Its id, in the ledger and in the log.
    pub(super) id: Uuid,
    /// What is said of it, and by it.
    pub(super) span: Span,
    /// When it began, on the clock that nobody sets: how long it took is reported at its end.
    pub(super) began: Instant,
    /// How far it is, for the status.
    progress: Arc<Progress>,
    /// What is being done.
    pub(super) work: Work<Task>,
}

impl Queue {
    pub(super) fn new(
        plan: &Plan,
        ended: mpsc::UnboundedSender<(Ticket, Outcome)>,
        cancel: CancellationToken,
    ) -> Self {
        Self {
            board: Board::new(concurrency(plan)),
            running: BTreeMap::new(),
            ended,
            cancel,
            rates: Rates::default(),
        }
    }

    /// Lets as much run at once as this plan allows.
    pub(super) fn follow(&mut self, plan: &Plan) {
        self.board.set_concurrency(concurrency(plan));
    }

    /// Starts what may start now, and gives what is given up.
    pub(super) fn step(
        &mut self,
        configuration: &Configuration,
        directories: &Directories,
        now: DateTime<Utc>,
    ) -> Vec<Skipped<Task>> {
        let mut skipped = Vec::new();
        for step in self.board.steps(now) {
            match step {
                Step::Start(ticket, work) => {
                    let id = Uuid::now_v7();
                    let running = Running {
                        id,
                        span: run_log::span(&work, Some(id)),
                        began: Instant::now(),
                        progress: Arc::default(),
                        work,
                    };
                    let given = TaskRun {
                        environment: Arc::clone(&configuration.environment),
                        run: id,
                        slot: running.work.slot,
                        directories: directories.clone(),
                        progress: Arc::clone(&running.progress),
                        cancel: self.cancel.child_token(),
                        has_begun: Arc::default(),
                    };
                    self.start(ticket, running, given);
                }
                Step::Skip(one) => skipped.push(one),
            }
        }
        skipped
    }

    fn start(&mut self, ticket: Ticket, running: Running, given: TaskRun) {
        if !matches!(running.work.task.action, Action::Find) {
            running.as_run().started();
        }
        let task = running.work.task.clone();
        let server = running.work.subject.server.clone();
        let ended = self.ended.clone();
        let work = async move {
            let outcome = task.carry_out(server, given).await;
            // Nobody listens any more only when the daemon has given up waiting.
            let _ = ended.send((ticket, outcome));
        };
        tokio::spawn(work.instrument(running.span.clone()));
        self.running.insert(ticket, running);
    }

    /// Takes a run that has ended out of those that run.
    pub(super) fn take(&mut self, ticket: Ticket) -> Option<Running> {
        self.rates.forget(ticket);
        self.running.remove(&ticket)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.running.is_empty()
    }

    /// The runs, in the order in which they began.
    pub(super) fn running(&self) -> impl ExactSizeIterator<Item = &Running> {
        self.running.values()
    }

    /// How far the runs on databases are, for the page.
    pub(super) fn progress(&self) -> Vec<web::Progress> {
        let progress = self.running.values().filter_map(|running| {
            let subject = &running.work.subject;
            Some(web::Progress {
                server: subject.server.clone(),
                database: subject.database.clone()?,
                job: subject.job.clone(),
                kind: running.work.task.kind().to_owned(),
                bytes: running.progress.stored_bytes(),
            })
        });
        progress.collect()
    }

    /// Bytes and rates of the runs on databases, in the order of their tickets.
    pub(super) fn rates(&mut self) -> Vec<(u64, f64)> {
        let now = Instant::now();
        let rates = &mut self.rates;
        self.running
            .iter()
            .filter(|(_, running)| running.work.subject.database.is_some())
            .map(|(ticket, running)| rates.look(*ticket, &running.progress, now))
            .collect()
    }
}

impl Running {
    pub(super) fn as_run(&self) -> Run<'_> {
        Run {
            subject: &self.work.subject,
            task: &self.work.task,
            slot: self.work.slot,
            attempt: self.work.attempt,
            span: &self.span,
        }
    }
}

fn concurrency(plan: &Plan) -> Concurrency {
    let count = |count: std::num::NonZeroU32| usize::try_from(count.get()).unwrap_or(usize::MAX);
    Concurrency {
        total: count(plan.daemon.concurrency),
        per_server: count(plan.daemon.concurrency_per_server),
    }
}
