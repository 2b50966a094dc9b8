//! What commands share in telling: jobs' errors as failures, sizes, times, JSON.

use std::fmt::{self, Write as _};
use std::io::Write;
use std::path::Path;

use serde::Serialize;
use uuid::Uuid;

use super::failure::{Failure, FailureKind};
use super::interrupt::Interrupt;
use crate::jobs::{JobError, JobErrorKind};
use crate::repository::{Entry, Fault, Stem};
pub(super) use crate::words::{
    count, counted, duration, moment, one_line, size, span, write_moment,
};

/// A job's error as a command's failure.
pub(super) fn failure(error: &JobError, interrupt: &Interrupt) -> Failure {
    let kind = match (error.kind(), interrupt.signal()) {
        (JobErrorKind::Interrupted, Some(signal)) => FailureKind::Interrupted(signal),
        _ => kind(error),
    };
    let message = match kind {
        FailureKind::Interrupted(signal) => format!("{error} by {}", signal_name(signal)),
        _ => error.to_string(),
    };
    Failure::new(kind, message)
}

/// The kind of a job's error that no signal has caused.
pub(super) fn kind(error: &JobError) -> FailureKind {
    match error.kind() {
        JobErrorKind::Unavailable => FailureKind::Unavailable,
        JobErrorKind::CannotCreate => FailureKind::CannotCreate,
        JobErrorKind::Busy => FailureKind::Busy,
        JobErrorKind::Configuration => FailureKind::Configuration,
        JobErrorKind::Damaged => FailureKind::Damaged,
        JobErrorKind::Usage => FailureKind::Usage,
        JobErrorKind::Internal | JobErrorKind::Interrupted => FailureKind::Internal,
    }
}

/// The name of a signal that a command listens for.
pub(super) fn signal_name(signal: i32) -> String {
    match signal {
        1 => "SIGHUP".to_owned(),
        2 => "SIGINT".to_owned(),
        15 => "SIGTERM".to_owned(),
        other => format!("signal {other}"),
    }
}

/// Writes when a backup was last found whole, or in a word why it does not count as verified.
pub(super) fn write_found_whole(cell: &mut String, backup: &Entry) -> fmt::Result {
    match backup.state.fault() {
        None => write_moment(cell, backup.last_check()),
        Some(Fault::Damaged(_)) => cell.write_str("DAMAGED"),
        Some(Fault::Unrestorable(_)) => cell.write_str("DOES NOT RESTORE"),
    }
}

/// Tells the journal of a backup that a command found bad, as the daemon would.
pub(super) fn alarm(
    run: Uuid,
    database: &str,
    backup: &Stem,
    quarantine: Option<&Path>,
    said: &str,
) {
    crate::tell!(
        BackupDamaged,
        {
            database = database,
            run_id = %run,
            backup = %backup,
            quarantine = quarantine.map(|path| path.display().to_string()),
        },
        "backup {backup} of {} {said}",
        one_line(database)
    );
}

/// Prints a JSON document.
pub(super) fn json(value: &impl Serialize, out: &mut dyn Write) -> Result<(), Failure> {
    serde_json::to_writer_pretty(&mut *out, value).map_err(std::io::Error::from)?;
    writeln!(out)?;
    Ok(())
}
