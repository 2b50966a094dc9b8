//! `pgbackupd daemon`: the service.

use super::failure::{Failure, FailureKind};
use super::report;
use crate::config::{Source, load};
use crate::daemon::{DaemonError, run as run_daemon};

/// Run the jobs of the configuration on their schedules: the service.
///
/// systemd starts this; by hand it runs in the foreground and logs to the terminal. SIGHUP reads
/// the configuration again, SIGUSR1 logs the state, SIGTERM and SIGINT end it: what runs is ended,
/// and recorded as interrupted.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct Args {}

pub(super) async fn run(_: &Args, source: Source) -> Result<(), Failure> {
    let loaded = load(&source)?;
    crate::telemetry::to_terminal(2);
    run_daemon(source, loaded).await.map_err(|error| {
        let kind = match &error {
            DaemonError::Configuration(_) => FailureKind::Configuration,
            DaemonError::Runtime(error) if error.is_taken() => FailureKind::Busy,
            DaemonError::Runtime(_) | DaemonError::Directory { .. } => FailureKind::CannotCreate,
            DaemonError::Job(error) => report::kind(error),
            _ => FailureKind::Internal,
        };
        Failure::new(kind, error.to_string())
    })
}
