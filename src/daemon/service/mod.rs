//! The loop that everything happens in: ticks, signals, ends of runs, the watchdog.

mod configuration;
mod connections;
mod due;
mod hear;
mod look_back;
mod published;
mod queue;
mod reload;
mod reminders;
mod requested_directories;
mod schedules;
mod writers;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;
use signal_hook::consts::{SIGHUP, SIGUSR1};
use signal_hook_tokio::Signals;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::board::Ticket;
use super::clock::until;
use super::directories::Directories;
use super::error::DaemonError;
use super::hanging::HangingDirectories;
use super::pings::Pings;
use super::service_log;
use super::systemd::Systemd;
use super::task::Outcome;
use super::ticker::{LOOK, Ticker};
use super::view::View;
use super::watch::Watch;
use super::watchdog::{Beat, Watchdog};
use crate::config::{Plan, Settings, Source};
use crate::display::{one_line, span};
use crate::emit;
use crate::jobs::ServerConnections;
use crate::postgres::kill_all_children;
use crate::repository::{DaemonState, RuntimeDirectory};
use crate::responsiveness::Hanging;
use crate::web::{Feed, Web};
use configuration::Configuration;
use connections::Connections;
use due::DueJob;
use look_back::LookedBack;
use published::Published;
use queue::Queue;
use reload::Reading;
use reminders::Reminders;
use requested_directories::Wished;
use schedules::Schedules;
pub(super) use writers::Writers;

/// How often the state shown to systemd is renewed while something runs.
const REFRESH: Duration = Duration::from_secs(5);

/// Runs that are to end have so long before their children are killed.
const STOPPING: Duration = Duration::from_secs(20);

/// The running daemon: what ties its parts together.
pub(super) struct Service {
    /// What is configured.
    configuration: Configuration,
    /// Since when the process runs, for `status`.
    started: DateTime<Utc>,
    /// Where the state is shown: its name, for when it does not take the state.
    runtime: RuntimeDirectory,
    /// As configured at the start; a reload does not move it.
    state_directory: PathBuf,
    /// What writes to the disk.
    writers: Writers,
    /// By which directories of backups are asked.
    directories: Directories,
    /// The directories that are known not to answer.
    hanging: HangingDirectories,
    /// Says which jobs are due, and when the next ones are.
    ticker: Ticker,
    /// Since when schedules are in force, and which slots have work left.
    schedules: Schedules,
    /// What looking back has found comes back through this.
    looked: mpsc::UnboundedSender<LookedBack>,
    /// How many questions of looking back have no answer yet.
    looking: usize,
    /// The work that is due, and the runs.
    queue: Queue,
    /// Whose directories root was asked for.
    wished: Wished,
    /// Services that hear of runs.
    pings: Pings,
    /// What was reported today already.
    reminders: Reminders,
    /// What keeps databases from being connected to.
    connections: Connections,
    /// Ends all runs and questions.
    cancel: CancellationToken,
    /// Whether the end was asked for: what fails then is not tried again.
    is_stopping: bool,
    /// The service manager.
    systemd: Systemd,
    /// When the service manager's watchdog is fed.
    watchdog: Watchdog,
    /// The state that `pgbackupd status` sees.
    published: Published<DaemonState>,
    /// What judges how things stand, and alerts.
    watch: Watch,
    /// What the page shows.
    feed: Feed,
    /// The page, where it is switched on.
    web: Web,
}

/// What comes back to the loop from threads and tasks.
pub(super) struct Reports {
    /// How runs have ended.
    ends: mpsc::UnboundedReceiver<(Ticket, Outcome)>,
    /// What looking at servers has found, each with the number of its round.
    checks: mpsc::UnboundedReceiver<(u64, ServerConnections)>,
    /// What looking back has found.
    looks: mpsc::UnboundedReceiver<LookedBack>,
    /// That the scheduler has called.
    called: mpsc::UnboundedReceiver<Option<Uuid>>,
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
    pub(super) called: mpsc::UnboundedReceiver<Option<Uuid>>,
    pub(super) systemd: Systemd,
}

impl Service {
    /// The service, and what its loop listens to.
    pub(super) fn new(prepared: Prepared, now: DateTime<Utc>) -> (Self, Reports) {
        let Prepared {
            source,
            plan,
            settings,
            environment,
            runtime,
            writers,
            directories,
            ticker,
            called,
            systemd,
        } = prepared;
        let (ended, ends) = mpsc::unbounded_channel();
        let (looked, looks) = mpsc::unbounded_channel();
        let (checked, checks) = mpsc::unbounded_channel();
        let cancel = CancellationToken::new();
        let configuration = Configuration::of_start(source, environment, (plan, settings), now);
        let plan = Arc::clone(&configuration.plan);
        let feed = Feed::default();
        let service = Self {
            state_directory: plan.daemon.state_directory.clone(),
            queue: Queue::new(&plan, ended, cancel.clone()),
            pings: Pings::new(&configuration.plan, &configuration.environment),
            watch: Watch::start(configuration.in_force(), feed.clone()),
            web: Web::start(plan.web.as_ref(), feed.clone()),
            feed,
            configuration,
            started: now,
            runtime,
            writers,
            directories,
            hanging: HangingDirectories::default(),
            ticker,
            schedules: Schedules::default(),
            looked,
            looking: 0,
            wished: Wished::default(),
            reminders: Reminders::default(),
            connections: Connections::new(checked),
            cancel,
            is_stopping: false,
            watchdog: Watchdog::new(systemd.watchdog(), Instant::now()),
            systemd,
            published: Published::default(),
        };
        let reports = Reports {
            ends,
            checks,
            looks,
            called,
        };
        (service, reports)
    }

    /// Runs until a signal asks for the end. `reload`: one has asked for that before.
    pub(super) async fn run(
        mut self,
        mut signals: Signals,
        mut reports: Reports,
        reload: bool,
    ) -> Result<(), DaemonError> {
        self.look_back(Utc::now());
        self.wait_for_looks(&mut reports.looks).await;
        self.show_and_wait().await;
        Systemd::ready();
        emit!(DaemonReady, {}, "ready: {}", self.view().line(&[]));
        self.check_connections();
        let mut reading = Reading::default();
        if reload {
            self.begin_reload(&mut reading);
        }
        loop {
            self.catch_up_with_the_clock();
            self.step();
            self.pings.beat(Instant::now());
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
                        return self.stop(signal, signals, reports.ends).await;
                    }
                    None => return self.stop(0, signals, reports.ends).await,
                },
                read = reading.end() => self.end_reload(read?, &mut reading).await?,
                _ = reports.called.recv() => {}
                Some((ticket, outcome)) = reports.ends.recv() => self.end(ticket, outcome),
                Some(found) = reports.looks.recv() => self.take_look(found),
                Some((round, found)) = reports.checks.recv() => self.take_connections(round, found),
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
        if let Some(beat) = self.pings.rest(Instant::now()) {
            rest = rest.min(beat);
        }
        if let Some(moment) = self.queue.board.wake_at(now) {
            // What waits goes by the wall clock, which may be set meanwhile.
            rest = rest.min(until(moment, now)).min(LOOK);
        }
        if !self.queue.is_idle() || !self.hanging.is_empty() || self.looking > 0 {
            rest = rest.min(REFRESH);
        }
        if self.published.is_behind() || self.writers.is_writing() {
            rest = rest.min(published::PAUSE);
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
        let news = self.hanging.update(now);
        for Hanging { directory, since } in &news.new {
            emit!(
                DirectoryUnusable,
                {},
                "the directory {} has not answered since {}: its file system hangs; check that the disk or \
                 the server behind it is there",
                directory.display(),
                service_log::clock(*since, self.configuration.plan.zone)
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
            self.queue.board.shift(jump);
            let direction = if jump < TimeDelta::zero() {
                "back"
            } else {
                "forward (or the machine slept)"
            };
            // To the nearest: a clock set by a day is seen some microseconds short of it.
            let seconds = (jump.num_milliseconds().unsigned_abs() + 500) / 1000;
            emit!(
                ClockJumped,
                { seconds = jump.num_seconds() },
                "the clock was set {direction} by {}; {}",
                span(Duration::from_secs(seconds)),
                self.view().line(&[])
            );
        }
        for due in self.ticker.take_due() {
            let job = self
                .configuration
                .plan
                .jobs
                .iter()
                .find(|job| job.name == due.job);
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
                    one_line(&self.configuration.plan.label(&run.server, &run.database)),
                    run.since
                )
            })
            .chain(state.waiting.iter().map(|work| {
                format!(
                    "waiting: {} of {} ({})",
                    work.kind,
                    one_line(&self.configuration.plan.label(&work.server, &work.database)),
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
        let looks = self.queue.rates();
        emit!(
            StateSnapshot,
            { state = serde_json::to_string(&state).unwrap_or_default() },
            "state: {}\n{}",
            self.view().line(&looks),
            lines.join("\n")
        );
    }

    fn view(&self) -> View<'_> {
        View {
            plan: &self.configuration.plan,
            started: self.started,
            loaded: self.configuration.loaded,
            refused: self.configuration.refused.as_deref(),
            configuration: &self.configuration.files_digest,
            started_with: &self.configuration.started_with,
            cannot_connect: self.connections.refused().collect(),
            is_stopping: self.is_stopping,
            unwritable: self
                .writers
                .state
                .stuck_since()
                .map(|_| self.runtime.path().to_owned()),
            hanging: self.hanging.all(),
            upcoming: self.ticker.upcoming(),
            board: &self.queue.board,
        }
    }

    /// Shows the state to systemd, to `pgbackupd status` and on the page.
    fn show(&mut self) {
        let looks = self.queue.rates();
        let line = self.view().line(&looks);
        self.systemd.status(line);
        let mut published = std::mem::take(&mut self.published);
        if let Some(state) = published.next(Instant::now(), || self.view().state()) {
            self.writers.state.give(state);
            // Whatever is shown there may change a verdict; a run that the end cuts short changes none.
            if !self.is_stopping {
                self.watch.wake();
            }
        }
        self.published = published;
        if self.feed.is_wanted()
            && let Some(state) = self.published.newest()
        {
            self.feed.give_state(state, self.queue.progress());
        }
    }

    /// Shows the state at once, and comes back when it is on the disk: whoever hears READY and then
    /// asks for the state gets this one. If the disk does not take it in time, the status says so.
    async fn show_and_wait(&mut self) {
        self.published.forget();
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
        let runs = match self.queue.running().len() {
            0 => "nothing runs".to_owned(),
            1 => "1 run is ended".to_owned(),
            many => format!("{many} runs are ended"),
        };
        service_log::stopping(signal, &runs);
        self.cancel.cancel();
        self.published.forget();
        self.show();
        let deadline = Instant::now() + STOPPING;
        while !self.queue.is_idle() && Instant::now() < deadline {
            Systemd::extend();
            tokio::select! {
                Some((ticket, outcome)) = ends.recv() => self.end(ticket, outcome),
                // A second signal means: now.
                signal = signals.next() => if !matches!(signal, Some(SIGHUP | SIGUSR1)) { break },
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
        }
        tokio::join!(self.writers.end(), self.watch.end(), self.web.end());
        if !self.queue.is_idle() {
            kill_all_children();
            let left: Vec<String> = self
                .queue
                .running()
                .map(|running| running.as_run().title())
                .collect();
            return Err(DaemonError::Killed(left.join(", ")));
        }
        emit!(DaemonStopped, {}, "stopped");
        Ok(())
    }
}

/// In builds for tests this signal hangs the loop, so that the watchdog has something to find.
#[cfg(debug_assertions)]
pub(in crate::daemon) const HANG: Option<i32> = Some(signal_hook::consts::SIGUSR2);
#[cfg(not(debug_assertions))]
pub(in crate::daemon) const HANG: Option<i32> = None;

/// Hangs the loop for the watchdog to find.
fn hang() {
    tracing::warn!("the loop hangs from now on");
    std::thread::sleep(Duration::from_secs(3600));
}
