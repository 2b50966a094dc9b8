//! What the service says in its log of itself, and moments as its log has them.

use std::path::Path;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use signal_hook::consts::{SIGINT, SIGTERM};

use super::changes::kind;
use super::task::Task;
use crate::display::one_line;
use crate::emit;

/// The service is asked to end; `what` it was doing.
pub(super) fn stopping(signal: i32, what: &str) {
    let by = match signal {
        SIGINT => "SIGINT",
        SIGTERM => "SIGTERM",
        _ => "request",
    };
    emit!(DaemonStopping, {}, "stopping on {by}: {what}");
}

/// A job came due.
pub(super) fn due(task: &Task, slot: DateTime<Utc>) {
    emit!(
        JobDue,
        { job = %task.job.name },
        "job {} ({}) is due: {}",
        task.job.name,
        kind(&task.job.kind),
        clock(slot, task.job.schedule.zone())
    );
}

/// A moment on a zone's wall clock, to the minute, as schedules have it.
pub(super) fn clock(moment: DateTime<Utc>, zone: Tz) -> String {
    moment
        .with_timezone(&zone)
        .format("%a %Y-%m-%d %H:%M %Z")
        .to_string()
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
