//! Why the daemon does not start, or ends.

use std::io;
use std::path::PathBuf;

use tokio_cron_scheduler::JobSchedulerError;

use crate::config::ConfigError;
use crate::jobs::JobError;
use crate::repository::RuntimeError;

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
        "the directory {} for the backups of {of} cannot be used: {source}\nhint: `pgbackupd directories \
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
