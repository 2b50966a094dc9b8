//! Bringing the daemon up: everything that has to be right before it says that it is ready.

use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use chrono::Utc;
use futures::StreamExt;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook_tokio::Signals;
use tokio_cron_scheduler::JobSchedulerError;

use super::service::Service;
use super::state_writer::StateWriter;
use super::systemd::Systemd;
use super::tell;
use super::ticker::Ticker;
use crate::config::{ConfigError, Databases, JobKind, Loaded, Plan, Server, Source};
use crate::jobs::{Context, JobError, Place, Places, places_on, recover, sweep_drills};
use crate::postgres::Enforcement;
use crate::repository::{Repository, RepositoryError, RuntimeDirectory, RuntimeError};
use crate::tell;
use crate::threads::{self, Thread};
use crate::words::one_line;

/// In builds for tests this signal hangs the loop, so that the watchdog has something to find.
#[cfg(debug_assertions)]
pub(super) const HANG: Option<i32> = Some(signal_hook::consts::SIGUSR2);
#[cfg(not(debug_assertions))]
pub(super) const HANG: Option<i32> = None;

/// Why the daemon did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The configuration is wrong.
    #[error(transparent)]
    Configuration(#[from] ConfigError),
    /// The runtime directory cannot be had.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// A database's directory cannot be used.
    #[error(
        "the directory {} for the backups of {of} cannot be used: {source}; `pgbackupd directories \
         --owner USER`, as root, makes it for the user that the service runs as", .directory.display()
    )]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// Whose it is.
        of: String,
        /// Why.
        source: io::Error,
    },
    /// Something in the way of every job.
    #[error(transparent)]
    Job(#[from] JobError),
    /// The scheduler cannot be started or changed.
    #[error("the scheduler failed: {0}")]
    Scheduler(#[from] JobSchedulerError),
    /// The signals cannot be listened to.
    #[error("cannot listen to signals: {0}")]
    Signals(io::Error),
    /// A thread of our own failed.
    #[error("a thread ended: {0}")]
    Thread(#[from] tokio::task::JoinError),
    /// The system has no thread left.
    #[error("cannot start a thread: {0}; the limit is TasksMax= of the unit, or that of its user")]
    NoThread(io::Error),
    /// Runs did not end in time when the service was to stop.
    #[error("{0} did not end in time and had to be killed; the next start sweeps up")]
    Killed(String),
}

/// Runs the daemon until a signal ends it.
///
/// # Errors
/// When it cannot start. Nothing that happens later ends it, but a signal.
pub async fn run(source: Source, mut loaded: Loaded) -> Result<(), DaemonError> {
    loaded.warn_of_unreadable();
    // First of all: whoever asks for the end from now on gets one in good order, and a SIGHUP that
    // nobody listens to would kill.
    let signals = [SIGHUP, SIGINT, SIGTERM, SIGUSR1].into_iter().chain(HANG);
    let mut signals = Signals::new(signals).map_err(DaemonError::Signals)?;
    let plan = Arc::new(loaded.plan);
    let systemd = Systemd::new();
    tell!(
        DaemonStarting,
        {},
        "pgbackupd {} starts, with {}",
        env!("CARGO_PKG_VERSION"),
        files(&loaded.settings.files())
    );
    for warning in &plan.warnings {
        tell!(ConfigurationWarning, {}, "{warning}");
    }
    let runtime = RuntimeDirectory::at(&plan.daemon.runtime_directory);
    let lock = runtime.take()?;

    let environment = Arc::new(source.environment.clone());
    let context = Context::new(&plan, &environment);
    let checked = Arc::clone(&plan);
    let prepared =
        threads::start("prepare", move || prepare(&checked, &context)).map_err(JobError::from)?;
    let reload = match outlast(prepared, &mut signals).await? {
        ControlFlow::Continue(reload) => reload,
        // What is being put right may be cut short anywhere: the next start goes on with it.
        ControlFlow::Break(signal) => {
            Systemd::stopping();
            tell::stopping(signal, "it was still starting");
            runtime.clear(&lock);
            tell!(DaemonStopped, {}, "stopped");
            return Ok(());
        }
    };

    let (mut ticker, called) = Ticker::start().await?;
    let jobs: Vec<_> = plan
        .jobs
        .iter()
        .map(|job| (job.name.clone(), job.schedule.clone()))
        .collect();
    ticker.change(&[], &jobs).await?;
    let now = Utc::now();
    let writer = StateWriter::start(runtime.clone(), lock).map_err(DaemonError::NoThread)?;
    let service = Service::new(
        source,
        (plan, loaded.settings),
        environment,
        (runtime, writer),
        ticker,
        systemd,
        now,
    );
    service.run(signals, called, reload).await
}

/// What has to be right before anything may run: directories that can be used, and nothing left over
/// from a crash.
fn prepare(plan: &Plan, context: &Context) -> Result<(), DaemonError> {
    usable(plan, context)?;
    if plan
        .jobs
        .iter()
        .any(|job| matches!(job.kind, JobKind::Drill(_)))
    {
        // Where that cannot be told now, the drill itself says it.
        if let Ok(enforcement) = Enforcement::of_this_machine() {
            let sentence = enforcement.sentence();
            tell!(DrillsConfined, {}, "test restores are confined: {sentence}");
        }
    }
    put_in_order(plan, context);
    Ok(())
}

/// Waits for what is done off the runtime's workers, which a disk that hangs may keep for ever: a
/// signal that asks for the end breaks it off. Otherwise gives whether one asked for a reload.
async fn outlast(
    mut work: Thread<Result<(), DaemonError>>,
    signals: &mut Signals,
) -> Result<ControlFlow<i32, bool>, DaemonError> {
    let mut reload = false;
    loop {
        tokio::select! {
            done = &mut work => {
                done.map_err(JobError::from)??;
                return Ok(ControlFlow::Continue(reload));
            }
            Some(signal) = signals.next() => match signal {
                SIGHUP => reload = true,
                SIGINT | SIGTERM => return Ok(ControlFlow::Break(signal)),
                _ => {}
            },
        }
    }
}

/// The configuration's files in words.
pub(super) fn files(files: &[&std::path::Path]) -> String {
    if files.is_empty() {
        return "no configuration file".to_owned();
    }
    let names: Vec<String> = files
        .iter()
        .map(|path| one_line(&path.display().to_string()))
        .collect();
    names.join(", ")
}

/// Makes the directory of every database that is configured, and sees that it can be written. Of a
/// server whose databases are found out later, the directory above them is looked at.
pub(super) fn usable(plan: &Plan, context: &Context) -> Result<(), DaemonError> {
    for server in &plan.servers {
        match &server.databases {
            Databases::Named(_) | Databases::FromEnvironment => {
                for place in places_on(context, plan, server)?.found {
                    place_usable(&place)?;
                }
            }
            Databases::All(_) => server_usable(server),
        }
    }
    Ok(())
}

fn place_usable(place: &Place) -> Result<(), DaemonError> {
    let directory = place.repository.directory();
    let unusable = |source| DaemonError::Directory {
        directory: directory.to_owned(),
        of: format!("database {}", one_line(&place.label)),
        source,
    };
    match place.repository.create() {
        Err(RepositoryError::Io { source, .. }) => return Err(unusable(source)),
        created => created.map_err(JobError::from)?,
    }
    writable(directory).map_err(unusable)
}

/// The databases of such a server get their directories when they are found, and who makes them
/// then may be somebody else.
fn server_usable(server: &Server) {
    let directory = &server.directory;
    let made = Repository::at(directory).create();
    let usable = made.map_err(|error| error.to_string()).and_then(|()| {
        writable(directory).map_err(|error| format!("{}: {error}", directory.display()))
    });
    if let Err(error) = usable {
        tracing::info!(
            "databases that are found on server {} cannot be given directories by the service \
             itself ({error}); pgbackupd-directories.service makes them as they are found",
            server.name
        );
    }
}

fn writable(directory: &std::path::Path) -> io::Result<()> {
    use rustix::fs::Access;
    let wanted = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    rustix::fs::access(directory, wanted).map_err(io::Error::from)
}

/// Puts right what a crash left: nobody else may do so before the next run, which may be a week
/// away. What cannot be put right now will be by that run, or fail it.
fn put_in_order(plan: &Plan, context: &Context) {
    match sweep_drills(context) {
        Ok(swept) => {
            for directory in swept {
                tracing::info!(
                    "removed the throw-away server {} of a test restore that was cut short",
                    directory.display()
                );
            }
        }
        // It takes up room, and that is all.
        Err(error) => tracing::warn!("{error}"),
    }
    for server in &plan.servers {
        let places = match places_on(context, plan, server) {
            Ok(Places { found, failures }) => {
                for error in failures {
                    tell!(DirectoryUnusable, { server = server.name }, "{error}");
                }
                found
            }
            Err(error) => {
                tell!(DirectoryUnusable, { server = server.name }, "{error}");
                continue;
            }
        };
        for place in places {
            match recover(context, &place.repository) {
                Ok(None) => {}
                Ok(Some(recovery)) => {
                    let database = one_line(&place.label);
                    for run in &recovery.swept {
                        tell!(
                            InterruptedRunFound,
                            { database = %place.database, run_id = %run },
                            "removed the temporary files of a run on {database} that was cut short"
                        );
                    }
                    for what in &recovery.remaining {
                        tell!(
                            InterruptedRunFound,
                            { database = %place.database },
                            "what an earlier run on {database} left remains: {what}"
                        );
                    }
                    for backup in &recovery.completed {
                        tell!(
                            InterruptedRunFound,
                            { database = %place.database, backup },
                            "completed backup {backup} of {database}: whole and checked, its run \
                             had been cut short at the very end"
                        );
                    }
                    for record in &recovery.closed {
                        tell!(
                            InterruptedRunFound,
                            { database = %place.database, run_id = %record.run },
                            "a run on {database} that began before this start had not ended; it is \
                             on record as {} now",
                            if record.backup.is_some() { "succeeded" } else { "interrupted" }
                        );
                    }
                    for (record, cut_short) in &recovery.restores {
                        let start = plan.restore.start.as_deref();
                        let what = cut_short.in_words(&place.database, None, start);
                        tell!(
                            InterruptedRunFound,
                            { database = %place.database, run_id = %record.run },
                            "database {database}: {what}"
                        );
                    }
                }
                Err(error) => tell!(DirectoryUnusable, { database = %place.database }, "{error}"),
            }
        }
    }
}
