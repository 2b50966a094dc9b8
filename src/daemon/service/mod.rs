//! The loop that everything happens in: ticks, signals, ends of runs, the watchdog.

mod connections;
mod due;
mod look_back;
mod reload;

use std::collections::BTreeMap;
use std::io;
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
use super::directories::Directories;
use super::hanging::HangingDirectories;
use super::skips::SkipWriter;
use super::snapshot::{SchedulesFile, SnapshotWriter, StateFile, Wishes, WishesFile};
use super::start::{DaemonError, HANG};
use super::systemd::Systemd;
use super::task::{Outcome, Task};
use super::tell::{self, Run};
use super::ticker::{LOOK, Ticker};
use super::view::{Rates, View};
use super::watchdog::{Beat, Watchdog};
use crate::answers::Hanging;
use crate::config::{Plan, Settings, Source};
use crate::jobs::ServerConnections;
use crate::pipeline::Progress;
use crate::postgres::kill_all_children;
use crate::repository::{DaemonLock, DaemonState, RuntimeDirectory, SchedulesInForce};
use crate::tell;
use crate::words::{one_line, span};
use connections::Connections;
use due::DueJob;
use look_back::LookedBack;
use reload::Reading;

/// How often the state shown to systemd is renewed while something runs.
const REFRESH: Duration = Duration::from_secs(5);

/// The state in the runtime directory is written no more often than this.
const WRITING: Duration = Duration::from_millis(500);

/// Runs that are to end have so long before their children are killed.
const STOPPING: Duration = Duration::from_secs(20);

/// The running daemon.
pub(super) struct Service {
    /// Where the configuration is read again at a reload.
    source: Source,
    /// The process's environment, which every job gets.
    environment: Arc<BTreeMap<String, String>>,
    /// The plan in force.
    plan: Arc<Plan>,
    /// What the plan follows from.
    settings: Settings,
    /// The digest of its files.
    files_digest: String,
    /// The plan that the process started with: some of it stays in force until it ends.
    started_with: Arc<Plan>,
    /// Why the newest configuration is not in force.
    refused: Option<String>,
    /// Since when the process runs, for `status`.
    started: DateTime<Utc>,
    /// When the plan in force was read, for `status`.
    loaded: DateTime<Utc>,
    /// Where the state is shown: its name, for when it does not take the state.
    runtime: RuntimeDirectory,
    /// What writes to the disk.
    writers: Writers,
    /// By which directories of backups are asked.
    directories: Directories,
    /// As configured at the start; a reload does not move it.
    state_directory: PathBuf,
    /// Which schedules are in force since when: by that, a slot that was missed is known.
    schedules: SchedulesInForce,
    /// Whether those that were in force before this start are among them: none is written before.
    is_schedules_read: bool,
    /// What looking back has found comes back through this.
    looked: mpsc::UnboundedSender<LookedBack>,
    /// The other end, until the loop takes it.
    looks: Option<mpsc::UnboundedReceiver<LookedBack>>,
    /// How many questions of looking back have no answer yet.
    looking: usize,
    /// Says which jobs are due, and when the next ones are.
    ticker: Ticker,
    /// All work that is due: what may start, what waits, what is given up.
    board: Board<Task>,
    /// What the board lets run: what is known of it besides the board's entry.
    runs: BTreeMap<Ticket, Running>,
    /// Of what is done by a job that is no backup, the slots that have work left.
    open_slots: Vec<(String, DateTime<Utc>)>,
    /// Databases, each with its server, whose directories root was asked for.
    wished: Wishes,
    /// By their directories, the databases whose test restore is too old, and the day on which that
    /// was told.
    drills_told: BTreeMap<PathBuf, NaiveDate>,
    /// By their directories, the databases of which something was lost, how many things, and the day on
    /// which that was told.
    losses_told: BTreeMap<PathBuf, (NaiveDate, usize)>,
    /// Reports of runs come back through this.
    ended: mpsc::UnboundedSender<(Ticket, Outcome)>,
    /// The other end, until the loop takes it.
    ends: Option<mpsc::UnboundedReceiver<(Ticket, Outcome)>>,
    /// What keeps databases from being connected to.
    connections: Connections,
    /// What looking at servers finds comes back through this, until the loop takes it.
    checks: Option<mpsc::UnboundedReceiver<(u64, ServerConnections)>>,
    /// Ends all runs.
    cancel: CancellationToken,
    /// Whether the end was asked for: what fails then is not tried again.
    is_stopping: bool,
    /// The service manager.
    systemd: Systemd,
    /// How fast runs are, from one look to the next.
    rates: Rates,
    /// The newest state that the writer has, and since when.
    written: Option<(Instant, Arc<DaemonState>)>,
    /// Whether something may have happened that is not in what was written.
    is_unwritten: bool,
    /// The directories that are known not to answer.
    hanging: HangingDirectories,
    /// When the service manager's watchdog is fed.
    watchdog: Watchdog,
}

/// Everything that the loop has written to the disk, each on threads of its own.
pub(super) struct Writers {
    /// The state for `pgbackupd status`.
    state: SnapshotWriter<DaemonState>,
    /// Which schedules are in force.
    schedules: SnapshotWriter<SchedulesInForce>,
    /// For which databases root is asked to make directories.
    wishes: SnapshotWriter<Wishes>,
    /// Skipped runs, in the ledgers.
    skips: SkipWriter,
}

impl Writers {
    /// Starts the threads; the daemon's lock is held until the end.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub(super) fn start(
        runtime: RuntimeDirectory,
        lock: DaemonLock,
        state_directory: PathBuf,
    ) -> io::Result<Self> {
        let wishes = WishesFile(runtime.clone());
        Ok(Self {
            state: SnapshotWriter::start("state", StateFile { runtime, lock })?,
            schedules: SnapshotWriter::start("schedules", SchedulesFile(state_directory))?,
            wishes: SnapshotWriter::start("wishes", wishes)?,
            skips: SkipWriter::new(),
        })
    }

    /// Whether something is not on the disk yet.
    fn is_writing(&self) -> bool {
        self.state.is_writing() || self.skips.is_writing()
    }

    /// Waits for all of it at once; what hangs is left behind.
    async fn end(self) {
        tokio::join!(
            self.state.end(),
            self.schedules.end(),
            self.wishes.end(),
            self.skips.end()
        );
    }
}

/// What is known of a run besides the board's entry.
struct Running {
    /// The run's identity, in log and ledger.
    id: Uuid,
    /// When it began, on the clock that nobody sets: how long it took is reported at its end.
    began: Instant,
    /// How far it is, for the status.
    progress: Arc<Progress>,
    /// What is being done.
    work: Work<Task>,
}

/// What the start has made ready for the service.
pub(super) struct Prepared {
    pub(super) source: Source,
    pub(super) plan: Arc<Plan>,
    pub(super) settings: Settings,
    pub(super) environment: Arc<BTreeMap<String, String>>,
    pub(super) runtime: RuntimeDirectory,
    pub(super) writers: Writers,
    pub(super) directories: Directories,
    pub(super) ticker: Ticker,
    pub(super) systemd: Systemd,
}

impl Service {
    pub(super) fn new(prepared: Prepared, now: DateTime<Utc>) -> Self {
        let Prepared {
            source,
            plan,
            settings,
            environment,
            runtime,
            writers,
            directories,
            ticker,
            systemd,
        } = prepared;
        let (ended, ends) = mpsc::unbounded_channel();
        let (looked, looks) = mpsc::unbounded_channel();
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
            writers,
            directories,
            state_directory,
            schedules: SchedulesInForce::default(),
            is_schedules_read: false,
            looked,
            looks: Some(looks),
            looking: 0,
            ticker,
            runs: BTreeMap::new(),
            open_slots: Vec::new(),
            wished: Wishes::new(),
            drills_told: BTreeMap::new(),
            losses_told: BTreeMap::new(),
            ended,
            ends: Some(ends),
            connections: Connections::new(checked),
            checks: Some(checks),
            cancel: CancellationToken::new(),
            is_stopping: false,
            watchdog: Watchdog::new(systemd.watchdog(), Instant::now()),
            systemd,
            rates: Rates::default(),
            written: None,
            is_unwritten: false,
            hanging: HangingDirectories::default(),
        }
    }

    /// Runs until a signal asks for the end. `reload`: one has asked for that before.
    pub(super) async fn run(
        mut self,
        mut signals: Signals,
        mut called: mpsc::UnboundedReceiver<Option<Uuid>>,
        reload: bool,
    ) -> Result<(), DaemonError> {
        let (Some(mut ends), Some(mut checks), Some(mut looks)) =
            (self.ends.take(), self.checks.take(), self.looks.take())
        else {
            return Ok(());
        };
        self.look_back(Utc::now());
        self.wait_for_looks(&mut looks).await;
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
            self.writers.skips.tend();
            self.look_for_hanging_directories();
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
                Some(found) = looks.recv() => self.take_look(found),
                Some((round, found)) = checks.recv() => self.take_connections(round, found),
                () = tokio::time::sleep(self.rest()) => {}
            }
        }
    }

    /// For how long nothing has to be done unless something happens.
    fn rest(&self) -> Duration {
        let now = Utc::now();
        let mut rest = Duration::from_secs(3600);
        if let Some(beat) = self.watchdog.rest(Instant::now()) {
            rest = rest.min(beat);
        }
        if let Some(moment) = self.board.wake_at(now) {
            // What waits goes by the wall clock, which may be set meanwhile.
            rest = rest.min(until(moment, now)).min(LOOK);
        }
        if !self.runs.is_empty() || !self.hanging.is_empty() || self.looking > 0 {
            rest = rest.min(REFRESH);
        }
        if self.is_unwritten || self.writers.is_writing() {
            rest = rest.min(WRITING);
        }
        // Never busy, whatever the clocks say.
        rest.max(Duration::from_millis(10))
    }

    /// Tells the watchdog that the loop turns, and that the scheduler's does.
    fn beat(&mut self) {
        match self.watchdog.turn(Instant::now(), self.ticker.silence()) {
            Beat::None => {}
            Beat::Alive => self.systemd.alive(),
            Beat::Silent(silence) => tracing::error!(
                "the scheduler has not looked at the clock for {} s; the watchdog will end this \
                 process, and systemd starts it again",
                silence.as_secs()
            ),
        }
    }

    /// Takes in which directories do not answer, and reports what is new.
    fn look_for_hanging_directories(&mut self) {
        let schedules = self.writers.schedules.stuck_since();
        let schedules = schedules.map(|since| Hanging {
            directory: self.state_directory.clone(),
            since,
        });
        let now = self.directories.hanging().into_iter();
        let now = now.chain(self.writers.skips.hanging()).chain(schedules);
        let news = self.hanging.take(now);
        for Hanging { directory, since } in &news.new {
            tell!(
                DirectoryUnusable,
                {},
                "the directory {} has not answered since {}: its file system hangs; see that the disk or \
                 the server behind it is there",
                directory.display(),
                tell::clock(*since, self.plan.zone)
            );
        }
        for directory in &news.answering {
            tracing::info!("the directory {} answers again", directory.display());
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
                    let due = DueJob {
                        job,
                        slot: due.slot,
                        catch_up: None,
                    };
                    self.put_up(due, now);
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
                .writers
                .state
                .stuck_since()
                .map(|_| self.runtime.path().to_owned()),
            hanging: self.hanging.all(),
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
        self.writers.state.give(Arc::clone(&state));
        self.written = Some((Instant::now(), state));
    }

    /// Shows the state at once, and comes back when it is on the disk: whoever hears READY and then
    /// asks for the state gets this one. If the disk does not take it in time, the status says so.
    async fn show_and_wait(&mut self) {
        self.written = None;
        self.show();
        self.writers.state.settle().await;
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
        self.writers.end().await;
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
    tracing::warn!("the loop hangs from now on");
    std::thread::sleep(Duration::from_secs(3600));
}
