//! The backups that can be restored, as a table and as JSON.

use std::io::Write;

use schemars::JsonSchema;
use serde::Serialize;

use super::super::failure::Failure;
use super::super::report;
use super::super::table::{Column, Table};
use crate::display::rough_span;
use crate::jobs::{Candidate, JobContext};
use crate::policy::age;

/// What `restore --json` prints without a backup: a list of these, newest sound one first.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct Restorable {
    /// The server's name in the configuration.
    pub server: Option<String>,
    /// The database.
    pub database: String,
    /// The backup.
    pub backup: String,
    /// When its run started, RFC 3339.
    pub started: String,
    /// Bytes of all its files but the manifest.
    pub bytes: u64,
    /// Rows of all its tables.
    pub rows: u64,
    /// When it was last found intact, RFC 3339; null while it does not count as verified.
    pub verified: Option<String>,
    /// What its last check found wrong.
    pub damage: Option<String>,
    /// Why it did not come back whole in its last test restore.
    pub unrestorable: Option<String>,
    /// Whether it lacks rows that could not be read.
    pub partial: bool,
}

impl Restorable {
    pub(super) fn of(candidate: &Candidate) -> Self {
        let entry = &candidate.entry;
        let checked = entry.state.checked.as_ref();
        let drilled = entry.state.drilled.as_ref();
        Self {
            server: candidate.backup_directory.server.clone(),
            database: candidate.backup_directory.database.clone(),
            backup: entry.stem.to_string(),
            started: entry.started.to_rfc3339(),
            bytes: entry.bytes,
            rows: entry.rows,
            verified: entry.last_found_whole().map(|moment| moment.to_rfc3339()),
            damage: checked.and_then(|check| check.damage.clone()),
            unrestorable: drilled.and_then(|drilled| drilled.failure.clone()),
            partial: entry.is_partial(),
        }
    }
}

/// Prints the candidates, those of each database together.
pub(super) fn list(
    context: &JobContext,
    candidates: &[Candidate],
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut labels: Vec<&str> = Vec::new();
    for candidate in candidates {
        let label = candidate.backup_directory.label.as_str();
        if !labels.contains(&label) {
            labels.push(label);
        }
    }
    for label in labels {
        writeln!(out, "database {}", report::one_line(label))?;
        let of_it = candidates.iter();
        let of_it = of_it.filter(|candidate| candidate.backup_directory.label == label);
        of_one_database(context, of_it, out)?;
    }
    Ok(out.flush()?)
}

fn of_one_database<'a>(
    context: &JobContext,
    candidates: impl Iterator<Item = &'a Candidate>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let now = context.now();
    let mut table = Table::new([
        Column::left("BACKUP"),
        Column::right("AGE"),
        Column::right("SIZE"),
        Column::right("ROWS"),
        Column::left("VERIFIED"),
    ]);
    for Candidate { entry, .. } in candidates {
        table.row([
            entry.stem.to_string(),
            rough_span(age(entry.started, now)),
            report::size(entry.bytes),
            report::count(entry.rows),
            report::last_check(entry, |at| format!("{} ago", rough_span(age(at, now)))),
        ]);
    }
    Ok(table.print(" ", out)?)
}
