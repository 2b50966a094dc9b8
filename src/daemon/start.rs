//! Bringing the daemon up: everything that has to be right before it says that it is ready.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;

use chrono::Utc;
use futures::StreamExt;
use rustix::io::Errno;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook_tokio::Signals;
use tokio_cron_scheduler::JobSchedulerError;

use super::directories::Directories;
use super::service::{Prepared, Service, Writers};
use super::systemd::Systemd;
use super::ticker::Ticker;
use super::{run_log, snapshot, task};
use crate::answers::{self, PATIENCE};
use crate::config::{ConfigError, Databases, JobKind, Loaded, Plan, Source};
use crate::display::one_line;
use crate::emit;
use crate::jobs::{
    BackupDirectories, BackupDirectory, JobContext, JobError, Recovery, backup_directories_on,
    recover, sweep_drills,
};
use crate::postgres::Enforcement;
use crate::repository::{
    DaemonLock, Event, Repository, RepositoryError, RuntimeDirectory, RuntimeError,
};
use crate::threads::{self, NoThread, Thread};

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
    run_log::stopping(signal, "it was still starting");
    let cleared = answers::ask(runtime.path(), snapshot::PATIENCE, move |path| {
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
    let taken = answers::ask(runtime.path(), PATIENCE, |path| {
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
    if plan
        .jobs
        .iter()
        .any(|job| matches!(job.kind, JobKind::Drill(_)))
    {
        // Where that cannot be told now, the drill itself says it.
        if let Ok(enforcement) = Enforcement::of_this_machine() {
            let sentence = enforcement.sentence();
            emit!(DrillsConfined, {}, "test restores are confined: {sentence}");
        }
    }
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

/// The configuration's files in words.
pub(super) fn files(files: &[&Path]) -> String {
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
/// server whose databases are found out later, the directory above them is looked at. Nothing is made
/// before all of it has been found possible, and nothing stays when it is not possible after all. A
/// directory that does not answer is no reason not to start.
pub(super) async fn usable(
    plan: &Plan,
    context: &JobContext,
    directories: &Directories,
) -> Result<(), DaemonError> {
    let (mut backup_directories, mut above) = (Vec::new(), Vec::new());
    for server in &plan.servers {
        match &server.databases {
            Databases::Named(_) | Databases::FromEnvironment => {
                backup_directories.extend(backup_directories_on(context, plan, server)?.found);
            }
            Databases::All(_) => above.push(server),
        }
    }
    let missing = ask_directories(directories, &mut backup_directories, can_be_used).await?;
    if let Err(error) = ask_directories(directories, &mut backup_directories, make).await {
        unmake(directories, missing.concat()).await;
        return Err(error);
    }
    let asked = above
        .iter()
        .map(|server| server.directory.clone())
        .collect();
    let made = directories.ask(asked, make).await.map_err(JobError::from)?;
    for (server, made) in above.into_iter().zip(made) {
        if let Some(Err(error)) = made {
            tracing::info!(
                "databases that are found on server {} cannot be given directories by the service \
                 itself ({}: {error}); pgbackupd-directories.service makes them as they are found",
                server.name,
                server.directory.display()
            );
        }
    }
    Ok(())
}

/// Asks all places the same, and gives the answers; places that do not answer are left out from then on.
async fn ask_directories<T: Send + 'static>(
    directories: &Directories,
    backup_directories: &mut Vec<BackupDirectory>,
    question: fn(&Path) -> io::Result<T>,
) -> Result<Vec<T>, DaemonError> {
    let asked = backup_directories
        .iter()
        .map(|backup_directory| backup_directory.repository.directory().to_owned());
    let asked = directories.ask(asked.collect(), question);
    let answers = asked.await.map_err(JobError::from)?;
    let mut given = Vec::new();
    for (backup_directory, answer) in std::mem::take(backup_directories).into_iter().zip(answers) {
        match answer {
            Some(Ok(answer)) => {
                given.push(answer);
                backup_directories.push(backup_directory);
            }
            Some(Err(source)) => return Err(unusable(&backup_directory, source)),
            None => {}
        }
    }
    Ok(given)
}

/// Removes directories that were not there before, as far as they are empty.
async fn unmake(directories: &Directories, mut made: Vec<PathBuf>) {
    // What is below comes first.
    made.sort_unstable_by(|one, other| other.cmp(one));
    made.dedup();
    let removing = directories.ask(made, |directory| std::fs::remove_dir(directory).is_ok());
    if let Err(error) = removing.await {
        tracing::debug!("empty directories stay: {error}");
    }
}

/// Makes a directory, and sees that it can be written.
fn make(directory: &Path) -> io::Result<()> {
    match Repository::at(directory).create() {
        Ok(()) => writable(directory),
        Err(RepositoryError::Io { source, .. }) => Err(source),
        Err(error) => Err(io::Error::other(error)),
    }
}

fn unusable(backup_directory: &BackupDirectory, source: io::Error) -> DaemonError {
    DaemonError::Directory {
        directory: backup_directory.repository.directory().to_owned(),
        of: format!("database {}", one_line(&backup_directory.label)),
        source,
    }
}

/// Whether a directory can be written, or made: gives what is missing of it.
fn can_be_used(directory: &Path) -> io::Result<Vec<PathBuf>> {
    use rustix::fs::Access;
    let mut missing = Vec::new();
    for one in directory.ancestors() {
        // A relative path ends with the working directory.
        let one = if one.as_os_str().is_empty() {
            Path::new(".")
        } else {
            one
        };
        match one.metadata() {
            Ok(found) if !found.is_dir() => return Err(Errno::NOTDIR.into()),
            Ok(_) if missing.is_empty() => writable(one)?,
            Ok(_) => rustix::fs::access(one, Access::WRITE_OK | Access::EXEC_OK)?,
            // A symbolic link to nothing is in the way.
            Err(error)
                if error.kind() != io::ErrorKind::NotFound || one.symlink_metadata().is_ok() =>
            {
                return Err(error);
            }
            Err(_) => {
                missing.push(one.to_owned());
                continue;
            }
        }
        break;
    }
    Ok(missing)
}

fn writable(directory: &Path) -> io::Result<()> {
    use rustix::fs::Access;
    let wanted = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    rustix::fs::access(directory, wanted).map_err(io::Error::from)
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
                    "removed the temporary cluster {} of a test restore that was cut short",
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
            "completed backup {backup} of {database}: whole and checked, its run \
             had been cut short at the very end"
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::can_be_used;

    #[test]
    fn whether_a_directory_can_be_made_is_found_out_without_making_it() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        fs::write(at("file"), "").unwrap();
        fs::create_dir(at("there")).unwrap();
        symlink(at("nothing"), at("dangling")).unwrap();
        symlink(at("there"), at("link")).unwrap();
        let entries = || fs::read_dir(home.path()).unwrap().count();
        let before = entries();
        for (name, expected) in [
            ("there", None),
            ("link", None),
            ("new", None),
            ("new/below", None),
            ("link/new", None),
            ("file", Some("Not a directory (os error 20)")),
            ("file/new", Some("Not a directory (os error 20)")),
            ("dangling", Some("No such file or directory (os error 2)")),
            (
                "dangling/new",
                Some("No such file or directory (os error 2)"),
            ),
        ] {
            let found = can_be_used(&at(name)).err().map(|error| error.to_string());
            assert_eq!(found.as_deref(), expected, "{name}");
        }
        assert_eq!(entries(), before);
        assert!(!at("there/new").exists());
    }
}
