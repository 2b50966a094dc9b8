//! The loop that everything happens in: ticks, signals, ends of runs, the watchdog.

mod connections;
mod due;
mod look_back;
mod reload;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use futures::StreamExt;
use signal_hook::consts::{SIGHUP, SIGUSR1};
use signal_hook_tokio::Signals;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::board::{Board, Concurrency, Ticket, Work};
use super::clock::until;
use super::start::{DaemonError, HANG};
use super::state_writer::StateWriter;
use super::systemd::Systemd;
use super::task::{Outcome, Task};
use super::tell::{self, Run};
use super::ticker::{LOOK, Ticker};
use super::view::{Rates, View};
use crate::config::{Plan, Settings, Source};
use crate::jobs::ServerConnections;
use crate::pipeline::Progress;
use crate::postgres::kill_all_children;
use crate::repository::{DaemonState, RuntimeDirectory, SchedulesInForce};
use crate::tell;
use crate::words::{one_line, span};
use connections::Connections;
use reload::Reading;

/// How often the state shown to systemd is renewed while something runs.
const REFRESH: Duration = Duration::from_secs(5);

/// The state in the runtime directory is written no more often than this.
const WRITING: Duration = Duration::from_millis(500);

/// Without a word from the scheduler for so long, the watchdog is not told that all is well.
const SILENCE: Duration = Duration::from_secs(45);

/// Runs that are to end have so long before their children are killed.
const STOPPING: Duration = Duration::from_secs(20);

/// The running daemon.
pub(super) struct Service {
    source: Source,
    environment: Arc<BTreeMap<String, String>>,
    plan: Arc<Plan>,
    /// What the plan follows from.
    settings: Settings,
    /// The digest of its files.
    files_digest: String,
    /// The plan that the process started with: some of it stays in force until it ends.
    started_with: Arc<Plan>,
    /// Why the newest configuration is not in force.
    refused: Option<String>,
    started: DateTime<Utc>,
    loaded: DateTime<Utc>,
    runtime: RuntimeDirectory,
    writer: StateWriter,
    /// As configured at the start; a reload does not move it.
    state_directory: PathBuf,
    schedules: SchedulesInForce,
    ticker: Ticker,
    board: Board<Task>,
    runs: BTreeMap<Ticket, Running>,
    /// Of what is done by a job that is no backup, the slots that have work left.
    open_slots: Vec<(String, DateTime<Utc>)>,
    /// Databases, each with its server, whose directories root was asked for.
    wished: BTreeSet<(String, String)>,
    /// By their directories, the databases whose test restore is too old, and the day on which that
    /// was told.
    drills_told: BTreeMap<PathBuf, NaiveDate>,
    /// By their directories, the databases of which something was lost, how many things, and the day on
    /// which that was told.
    losses_told: BTreeMap<PathBuf, (NaiveDate, usize)>,
    /// Reports of runs come back through this.
    ended: mpsc::UnboundedSender<(Ticket, Outcome)>,
    ends: Option<mpsc::UnboundedReceiver<(Ticket, Outcome)>>,
    /// What keeps databases from being connected to.
    connections: Connections,
    checks: Option<mpsc::UnboundedReceiver<(u64, ServerConnections)>>,
    /// Ends all runs.
    cancel: CancellationToken,
    is_stopping: bool,
    systemd: Systemd,
    rates: Rates,
    /// The newest state that the writer has, and since when.
    written: Option<(Instant, Arc<DaemonState>)>,
    /// Whether something may have happened that is not in what was written.
    is_unwritten: bool,
    beaten: Instant,
    /// Whether the watchdog is not told, because the scheduler is silent.
    is_silent: bool,
}

/// What is known of a run besides the board's entry.
struct Running {
    id: Uuid,
    began: Instant,
    progress: Arc<Progress>,
    work: Work<Task>,
}

impl Service {
    pub(super) fn new(
        source: Source,
        (plan, settings): (Arc<Plan>, Settings),
        environment: Arc<BTreeMap<String, String>>,
        (runtime, writer): (RuntimeDirectory, StateWriter),
        ticker: Ticker,
        systemd: Systemd,
        now: DateTime<Utc>,
    ) -> Self {
        let (ended, ends) = mpsc::unbounded_channel();
        let (checked, checks) = mpsc::unbounded_channel();
        let state_directory = plan.daemon.state_directory.clone();
        Self {
            board: Board::new(concurrency(&plan)),
            source,
            environment,
            started_with: Arc::clone(&plan),
            plan,
            files_digest: settings.files_digest(),
            settings,
            refused: None,
            started: now,
            loaded: now,
            runtime,
            writer,
            state_directory,
            schedules: SchedulesInForce::default(),
            ticker,
            runs: BTreeMap::new(),
            open_slots: Vec::new(),
            wished: BTreeSet::new(),
            drills_told: BTreeMap::new(),
            losses_told: BTreeMap::new(),
            ended,
            ends: Some(ends),
            connections: Connections::new(checked),
            checks: Some(checks),
            cancel: CancellationToken::new(),
            is_stopping: false,
            systemd,
            rates: Rates::default(),
            written: None,
            is_unwritten: false,
            beaten: Instant::now(),
            is_silent: false,
        }
    }

    /// Runs until a signal asks for the end. `reload`: one has asked for that before.
    pub(super) async fn run(
        mut self,
        mut signals: Signals,
        mut called: mpsc::UnboundedReceiver<Option<Uuid>>,
        reload: bool,
    ) -> Result<(), DaemonError> {
        let (Some(mut ends), Some(mut checks)) = (self.ends.take(), self.checks.take()) else {
            return Ok(());
        };
        self.look_back(Utc::now());
        self.show_and_wait().await;
        Systemd::ready();
        tell!(DaemonReady, {}, "ready: {}", self.view().line(&[]));
        self.check_connections();
        let mut reading = Reading::default();
        if reload {
            self.begin_reload(&mut reading);
        }
        loop {
            self.catch_up_with_the_clock();
            self.step();
            self.beat();
            self.show();
            tokio::select! {
                signal = signals.next() => match signal {
                    Some(SIGHUP) => self.begin_reload(&mut reading),
                    Some(SIGUSR1) => self.snapshot(),
                    Some(signal) if Some(signal) == HANG => hang(),
                    Some(signal) => {
                        return self.stop(signal, signals, ends).await;
                    }
                    None => return self.stop(0, signals, ends).await,
                },
                read = reading.end() => self.end_reload(read?, &mut reading).await?,
                _ = called.recv() => {}
                Some((ticket, outcome)) = ends.recv() => self.end(ticket, outcome),
                Some((round, found)) = checks.recv() => self.take_connections(round, found),
                () = tokio::time::sleep(self.rest()) => {}
            }
        }
    }

    /// For how long nothing has to be done unless something happens.
    fn rest(&self) -> Duration {
        let now = Utc::now();
        let mut rest = Duration::from_secs(3600);
        if let Some(period) = self.systemd.watchdog() {
            // As sd_watchdog_enabled(3) recommends.
            let beat = (period / 2).saturating_sub(self.beaten.elapsed());
            // A beat that is held back is not tried again at every turn.
            rest = rest.min(if self.is_silent { REFRESH } else { beat });
        }
        if let Some(moment) = self.board.wake_at(now) {
            // What waits goes by the wall clock, which may be set meanwhile.
            rest = rest.min(until(moment, now)).min(LOOK);
        }
        if !self.runs.is_empty() {
            rest = rest.min(REFRESH);
        }
        if self.is_unwritten || self.writer.is_writing() {
            rest = rest.min(WRITING);
        }
        // Never busy, whatever the clocks say.
        rest.max(Duration::from_millis(10))
    }

    /// Tells the watchdog that the loop turns, and that the scheduler's does.
    fn beat(&mut self) {
        let Some(period) = self.systemd.watchdog() else {
            return;
        };
        if self.beaten.elapsed() + Duration::from_millis(20) < period / 2 {
            return;
        }
        let silence = self.ticker.silence();
        if silence <= SILENCE {
            self.systemd.alive();
            self.beaten = Instant::now();
            self.is_silent = false;
        } else if !self.is_silent {
            self.is_silent = true;
            tracing::error!(
                "the scheduler has not looked at the clock for {} s; the watchdog will end this \
                 process, and systemd starts it again",
                silence.as_secs()
            );
        }
    }

    /// Takes in that the clock was set, and what has come due.
    fn catch_up_with_the_clock(&mut self) {
        let now = Utc::now();
        if let Some(jump) = self.ticker.take_jump() {
            self.board.shift(jump);
            let direction = if jump < TimeDelta::zero() {
                "back"
            } else {
                "forward (or the machine slept)"
            };
            // To the nearest: a clock set by a day is seen some microseconds short of it.
            let seconds = (jump.num_milliseconds().unsigned_abs() + 500) / 1000;
            tell!(
                ClockJumped,
                { seconds = jump.num_seconds() },
                "the clock was set {direction} by {}; {}",
                span(Duration::from_secs(seconds)),
                self.view().line(&[])
            );
        }
        for due in self.ticker.take_due() {
            let job = self.plan.jobs.iter().find(|job| job.name == due.job);
            // A reload may have taken it away in between.
            if let Some(job) = job.cloned() {
                if due.was_missed {
                    self.make_up_after_a_gap(&job, due.slot, now);
                } else {
                    self.put_up(&Arc::new(job), due.slot, None, now);
                }
            }
        }
    }

    fn snapshot(&mut self) {
        let state = self.view().state();
        let lines: Vec<String> = state
            .running
            .iter()
            .map(|run| {
                format!(
                    "running: {} of {} since {}",
                    run.kind,
                    one_line(&self.plan.label(&run.server, &run.database)),
                    run.since
                )
            })
            .chain(state.waiting.iter().map(|work| {
                format!(
                    "waiting: {} of {} ({})",
                    work.kind,
                    one_line(&self.plan.label(&work.server, &work.database)),
                    work.reason
                )
            }))
            .chain(state.jobs.iter().map(|job| {
                let next = job
                    .next
                    .map_or_else(|| "never".to_owned(), |next| next.to_rfc3339());
                format!(
                    "job {} ({}, {}): next {next}",
                    job.job, job.kind, job.schedule
                )
            }))
            .collect();
        let looks = self.looks();
        tell!(
            StateSnapshot,
            { state = serde_json::to_string(&state).unwrap_or_default() },
            "state: {}\n{}",
            self.view().line(&looks),
            lines.join("\n")
        );
    }

    fn view(&self) -> View<'_> {
        View {
            plan: &self.plan,
            started: self.started,
            loaded: self.loaded,
            refused: self.refused.as_deref(),
            configuration: &self.files_digest,
            started_with: &self.started_with,
            cannot_connect: self.connections.refused().collect(),
            is_stopping: self.is_stopping,
            unwritable: self
                .writer
                .is_stuck()
                .then(|| self.runtime.path().to_owned()),
            upcoming: self.ticker.upcoming(),
            board: &self.board,
        }
    }

    /// Bytes and rates of the runs on databases, in the order of their tickets.
    fn looks(&mut self) -> Vec<(u64, f64)> {
        let now = Instant::now();
        let rates = &mut self.rates;
        self.runs
            .iter()
            .filter(|(_, running)| running.work.subject.database.is_some())
            .map(|(ticket, running)| rates.look(*ticket, &running.progress, now))
            .collect()
    }

    /// Shows the state to systemd, and to `pgbackupd status`.
    fn show(&mut self) {
        let looks = self.looks();
        let line = self.view().line(&looks);
        self.systemd.status(line);
        // With a thousand databases waiting the state is large: it is not made for every turn of
        // the loop.
        self.is_unwritten = self
            .written
            .as_ref()
            .is_some_and(|(then, _)| then.elapsed() < WRITING);
        if self.is_unwritten {
            return;
        }
        let state = self.view().state();
        if self
            .written
            .as_ref()
            .is_some_and(|(_, written)| **written == state)
        {
            return;
        }
        let state = Arc::new(state);
        self.writer.give(Arc::clone(&state));
        self.written = Some((Instant::now(), state));
    }

    /// Shows the state at once, and comes back when it is on the disk: whoever hears READY and then
    /// asks for the state gets this one. If the disk does not take it in time, the status says so.
    async fn show_and_wait(&mut self) {
        self.written = None;
        self.show();
        self.writer.settle().await;
        self.show();
    }

    /// Ends in good order: runs are cancelled and waited for, and each records its end.
    async fn stop(
        mut self,
        signal: i32,
        mut signals: Signals,
        mut ends: mpsc::UnboundedReceiver<(Ticket, Outcome)>,
    ) -> Result<(), DaemonError> {
        self.is_stopping = true;
        Systemd::stopping();
        self.ticker.stop().await;
        let runs = match self.runs.len() {
            0 => "nothing runs".to_owned(),
            1 => "1 run is ended".to_owned(),
            many => format!("{many} runs are ended"),
        };
        tell::stopping(signal, &runs);
        self.cancel.cancel();
        self.written = None;
        self.show();
        let deadline = Instant::now() + STOPPING;
        while !self.runs.is_empty() && Instant::now() < deadline {
            Systemd::extend();
            tokio::select! {
                Some((ticket, outcome)) = ends.recv() => self.end(ticket, outcome),
                // A second signal means: now.
                signal = signals.next() => if !matches!(signal, Some(SIGHUP | SIGUSR1)) { break },
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
        }
        self.writer.end().await;
        if !self.runs.is_empty() {
            kill_all_children();
            let left: Vec<String> = self
                .runs
                .values()
                .map(|running| running.told().title())
                .collect();
            return Err(DaemonError::Killed(left.join(", ")));
        }
        tell!(DaemonStopped, {}, "stopped");
        Ok(())
    }
}

impl Running {
    fn told(&self) -> Run<'_> {
        Run {
            subject: &self.work.subject,
            task: &self.work.task,
            id: self.id,
            slot: self.work.slot,
            attempt: self.work.attempt,
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

/// Hangs the loop for the watchdog to find.
fn hang() {
    std::thread::sleep(Duration::from_secs(3600));
}
