//! `pgbackupd daemon`: the service.

use super::failure::{Failure, FailureKind};
use super::report;
use crate::config::{Plan, Runs, Source, load};
use crate::credential;
use crate::daemon::{DaemonError, run as run_daemon};
use crate::telemetry::{self, JsonFile};

/// Run the scheduled jobs (the service).
///
/// systemd starts this command. By hand, it runs in the foreground and logs to the terminal. SIGHUP
/// reloads the configuration, SIGUSR1 logs the state, and SIGTERM or SIGINT stops: running jobs are
/// ended and recorded as interrupted.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct Args {}

pub(super) async fn run(_: &Args, source: Source) -> Result<(), Failure> {
    credential::note_daemon();
    let loaded = load(&source)?;
    loaded.refuse_commands_of_others(Runs::Programs)?;
    loaded.refuse_commands_of_others(Runs::Alerts)?;
    // Kept to the end: it sees to it that the last lines are written.
    let _log = telemetry::for_daemon(&log_settings(&loaded.plan))
        .map_err(|error| Failure::new(FailureKind::CannotCreate, error.to_string()))?;
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

fn log_settings(plan: &Plan) -> telemetry::Settings {
    let logs = &plan.logs;
    telemetry::Settings {
        level: logs.level,
        file: logs.file.as_ref().map(|path| JsonFile {
            path: path.clone(),
            keep: usize::try_from(logs.files.get()).unwrap_or(usize::MAX),
        }),
        zone: plan.zone,
    }
}
