//! What commands share in telling: jobs' errors as failures, sizes, times, JSON.

use std::io::Write;
use std::path::Path;

use chrono::{DateTime, FixedOffset};
use serde::Serialize;
use uuid::Uuid;

use super::failure::{Failure, FailureKind};
use super::interrupt::Interrupt;
use crate::config::{Databases, Plan, Server};
pub(super) use crate::display::{count, counted, duration, minute, moment, one_line, size, span};
use crate::jobs::{JobError, JobErrorKind};
use crate::json::write_json;
use crate::repository::{Entry, Fault, Stem};

/// "47h", "2d": a rough length of time for a table.
pub(super) fn short_span(duration: std::time::Duration) -> String {
    let words = crate::display::rough_span(duration);
    let (count, unit) = words.split_once(' ').unwrap_or((&words, ""));
    format!("{count}{}", unit.chars().next().unwrap_or_default())
}

/// A job's error as a command's failure.
pub(super) fn failure(error: &JobError, interrupt: &Interrupt) -> Failure {
    let kind = match (error.kind(), interrupt.signal()) {
        (JobErrorKind::Interrupted, Some(signal)) => FailureKind::Interrupted(signal),
        _ => kind(error),
    };
    let message = match kind {
        FailureKind::Interrupted(signal) => format!("{error} by {}", signal_name(signal)),
        _ => match error.detail() {
            Some(detail) => format!("{error}\nfull output:\n{detail}"),
            None => error.to_string(),
        },
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

/// What stands before the name of a backup in a line: its database, where there may be several.
pub(super) fn prefix(plan: &Plan, label: &str) -> String {
    let has_several = |server: &Server| match &server.databases {
        Databases::Named(names) => names.len() > 1,
        Databases::All(_) => true,
        Databases::FromEnvironment => false,
    };
    if plan.servers.len() > 1 || plan.servers.iter().any(has_several) {
        format!("{}: ", one_line(label))
    } else {
        String::new()
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

/// When a backup was last found intact, or in a word why it does not count as verified.
pub(super) fn last_check(
    backup: &Entry,
    display: impl FnOnce(DateTime<FixedOffset>) -> String,
) -> String {
    match backup.state.fault() {
        None if backup.is_partial() => "PARTIAL".to_owned(),
        None if backup.state.unreadable.is_some() => "unknown".to_owned(),
        None => display(backup.last_check()),
        Some(Fault::Damaged(_)) => "DAMAGED".to_owned(),
        Some(Fault::Unrestorable(_)) => "DOES NOT RESTORE".to_owned(),
    }
}

/// Tells the journal of a backup that a command found bad, as the daemon would.
#[expect(
    clippy::too_many_arguments,
    reason = "the fields of the event, and its sentence"
)]
pub(super) fn alarm(
    run: Uuid,
    database: &str,
    backup: &Stem,
    quarantine: Option<&Path>,
    detail: &str,
) {
    crate::emit!(
        BackupDamaged,
        {
            database = database,
            run_id = %run,
            backup = %backup,
            quarantine = quarantine.map(|path| path.display().to_string()),
        },
        "backup {backup} of {} {detail}",
        one_line(database)
    );
}

/// Prints a JSON document, with nothing in it that a terminal would obey.
pub(super) fn json(value: &impl Serialize, out: &mut dyn Write) -> Result<(), Failure> {
    write_json(value, out)?;
    Ok(())
}
