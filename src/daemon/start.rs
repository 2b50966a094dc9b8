//! Bringing the daemon up: everything that has to be right before it says that it is ready.

use std::ops::ControlFlow;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;

use chrono::Utc;
use futures::StreamExt;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook_tokio::Signals;

use super::directories::Directories;
use super::error::DaemonError;
use super::fleet::note_signer;
use super::service::{HANG, Prepared, Service, Writers};
use super::service_log::files;
use super::systemd::Systemd;
use super::ticker::Ticker;
use super::usable::usable;
use super::{service_log, snapshot, task};
use crate::config::{Job, JobKind, Loaded, Plan, Source};
use crate::display::one_line;
use crate::emit;
use crate::jobs::{
    BackupDirectories, BackupDirectory, JobContext, JobError, Recovery, backup_directories_on,
    recover, sweep_drills,
};
use crate::postgres::Enforcement;
use crate::repository::{DaemonLock, Event, RuntimeDirectory, RuntimeError};
use crate::responsiveness::{self, PATIENCE};
use crate::threads::{self, NoThread, Thread};

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
    emit!(
        DaemonStarting,
        {},
        "pgbackupd {} starts, with {}",
        env!("CARGO_PKG_VERSION"),
        files(&loaded.settings.files())
    );
    for warning in &plan.warnings {
        emit!(ConfigurationWarning, {}, "{warning}");
    }
    let (runtime, lock) = take_runtime_directory(&plan)?;

    let environment = Arc::new(source.environment.clone());
    let context = JobContext::new(&plan, &environment);
    let directories = Directories::default();
    let preparing = prepare(&plan, &context, &directories);
    let reload = match outlast(preparing, &mut signals).await? {
        ControlFlow::Continue(reload) => reload,
        // What is being put right may be cut short anywhere: the next start goes on with it.
        ControlFlow::Break(signal) => {
            stop_before_the_start(signal, &runtime, lock);
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
    let state_directory = plan.daemon.state_directory.clone();
    let writers = Writers::start(runtime.clone(), lock, state_directory);
    let writers = writers.map_err(DaemonError::NoThread)?;
    let prepared = Prepared {
        source,
        plan,
        settings: loaded.settings,
        environment,
        runtime,
        writers,
        directories,
        ticker,
        called,
        systemd,
    };
    let (service, reports) = Service::new(prepared, now);
    service.run(signals, reports, reload).await
}

/// Ends a service that a signal has ended while it was starting.
fn stop_before_the_start(signal: i32, runtime: &RuntimeDirectory, lock: DaemonLock) {
    Systemd::stopping();
    service_log::stopping(signal, "it was still starting");
    let cleared = responsiveness::ask(runtime.path(), snapshot::PATIENCE, move |path| {
        RuntimeDirectory::at(path).clear(&lock);
    });
    if let Err(error) = cleared {
        tracing::debug!("the runtime directory is left as it is: {error}");
    }
    emit!(DaemonStopped, {}, "stopped");
}

/// Takes the runtime directory: a second daemon ends here, and so does one whose directory hangs.
fn take_runtime_directory(plan: &Plan) -> Result<(RuntimeDirectory, DaemonLock), RuntimeError> {
    let runtime = RuntimeDirectory::at(&plan.daemon.runtime_directory);
    let taken = responsiveness::ask(runtime.path(), PATIENCE, |path| {
        RuntimeDirectory::at(path).take()
    });
    let failed = |source| RuntimeError::Io {
        path: runtime.path().to_owned(),
        source,
    };
    let lock = taken.map_err(failed)??;
    Ok((runtime, lock))
}

/// What has to be right before anything may run: directories that can be used, and nothing left over
/// from a crash. A directory that does not answer is left out: its runs say so when they are due.
async fn prepare(
    plan: &Arc<Plan>,
    context: &JobContext,
    directories: &Directories,
) -> Result<(), DaemonError> {
    usable(plan, context, directories).await?;
    let is_drill = |job: &Job| matches!(job.kind, JobKind::Drill(_));
    if plan.drill.definitions || plan.jobs.iter().any(is_drill) {
        // Where that cannot be known now, the drill itself says it.
        if let Ok(enforcement) = Enforcement::of_this_machine() {
            let sentence = enforcement.sentence();
            emit!(DrillsConfined, {}, "drills are confined: {sentence}");
        }
    }
    note_signer(plan, context, directories).await;
    put_in_order(plan, context, directories).await;
    Ok(())
}

/// Waits for what is done before the service is ready; a signal that asks for the end breaks it off.
/// Otherwise gives whether one asked for a reload.
async fn outlast(
    work: impl Future<Output = Result<(), DaemonError>>,
    signals: &mut Signals,
) -> Result<ControlFlow<i32, bool>, DaemonError> {
    let mut work = pin!(work);
    let mut reload = false;
    loop {
        tokio::select! {
            done = &mut work => {
                done?;
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

/// Puts right what a crash left: nobody else may do so before the next run, which may be a week
/// away. What cannot be put right now will be by that run, or fail it.
async fn put_in_order(plan: &Arc<Plan>, context: &JobContext, directories: &Directories) {
    sweep_up_drills(context, directories).await;
    for server in &plan.servers {
        let (of, whole, about) = (context.clone(), Arc::clone(plan), server.clone());
        let looking = threads::start("look", move || backup_directories_on(&of, &whole, &about));
        let found = match outcome(directories, &server.directory, looking).await {
            Ok(BackupDirectories { found, failures }) => {
                for error in failures {
                    emit!(DirectoryUnusable, { server = server.name }, "{error}");
                }
                found
            }
            Err(error) => {
                emit!(DirectoryUnusable, { server = server.name }, "{error}");
                continue;
            }
        };
        let asked = found
            .iter()
            .map(|backup_directory| backup_directory.repository.directory().to_owned());
        // Those that are waited for already are left out.
        let answers = directories.ask(asked.collect(), |_| ()).await;
        let answers = answers.unwrap_or_default();
        for (backup_directory, answers) in found.into_iter().zip(answers) {
            if answers.is_some() {
                recover_directory(plan, context, directories, &backup_directory).await;
            }
        }
    }
}

/// Waits for work in a directory while that answers.
async fn outcome<T>(
    directories: &Directories,
    directory: &Path,
    work: Result<Thread<Result<T, JobError>>, NoThread>,
) -> Result<T, JobError> {
    match directories.outlast(directory, PATIENCE, work?).await {
        Some(outcome) => outcome?,
        None => Err(task::unanswered(directory, None)),
    }
}

async fn sweep_up_drills(context: &JobContext, directories: &Directories) {
    let of = context.clone();
    let sweeping = threads::start("sweep", move || sweep_drills(&of));
    match outcome(directories, &context.drill.directory, sweeping).await {
        Ok(swept) => {
            for directory in swept {
                tracing::info!(
                    "removed the temporary cluster {} of a drill that was cut short",
                    directory.display()
                );
            }
        }
        // It takes up room, and that is all.
        Err(error) => tracing::warn!("{error}"),
    }
}

/// Puts one directory right.
async fn recover_directory(
    plan: &Plan,
    context: &JobContext,
    directories: &Directories,
    backup_directory: &BackupDirectory,
) {
    let (of, repository) = (context.clone(), backup_directory.repository.clone());
    let recovering = threads::start("recover", move || recover(&of, &repository));
    match outcome(
        directories,
        backup_directory.repository.directory(),
        recovering,
    )
    .await
    {
        Ok(None) => {}
        Ok(Some(recovery)) => report_recovery(plan, backup_directory, &recovery),
        Err(error) => {
            emit!(DirectoryUnusable, { database = %backup_directory.database }, "{error}");
        }
    }
}

fn report_recovery(plan: &Plan, backup_directory: &BackupDirectory, recovery: &Recovery) {
    let database = one_line(&backup_directory.label);
    for run in &recovery.swept {
        emit!(
            InterruptedRunFound,
            { database = %backup_directory.database, run_id = %run },
            "removed the temporary files of a run on {database} that was cut short"
        );
    }
    for what in &recovery.remaining {
        emit!(
            InterruptedRunFound,
            { database = %backup_directory.database },
            "what an earlier run on {database} left remains: {what}"
        );
    }
    for backup in &recovery.completed {
        emit!(
            InterruptedRunFound,
            { database = %backup_directory.database, backup },
            "completed backup {backup} of {database}: its run had \
             been cut short at the end"
        );
    }
    for record in &recovery.closed {
        emit!(
            InterruptedRunFound,
            { database = %backup_directory.database, run_id = %record.run },
            "a run on {database} that began before this start had not ended; it is \
             on record as {} now",
            if record.event == Event::Succeeded { "succeeded" } else { "interrupted" }
        );
    }
    for (record, cut_short) in &recovery.restores {
        let start = plan.restore.start.as_deref();
        let what = cut_short.display(&backup_directory.database, None, start);
        emit!(
            InterruptedRunFound,
            { database = %backup_directory.database, run_id = %record.run },
            "database {database}: {what}"
        );
    }
}
