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
}

impl Restorable {
    pub(super) fn of(candidate: &Candidate) -> Self {
        let entry = &candidate.entry;
        Self {
            server: candidate.backup_directory.server.clone(),
            database: candidate.backup_directory.database.clone(),
            backup: entry.stem.to_string(),
            started: entry.started.to_rfc3339(),
            bytes: entry.bytes,
            rows: entry.rows,
            verified: entry.last_found_whole().map(|moment| moment.to_rfc3339()),
        }
    }
}

/// Prints the candidates.
pub(super) fn list(
    context: &JobContext,
    candidates: &[Candidate],
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let now = context.now();
    let mut table = Table::new([
        Column::left("DATABASE"),
        Column::left("BACKUP"),
        Column::right("AGE"),
        Column::right("SIZE"),
        Column::right("ROWS"),
        Column::left("VERIFIED"),
    ]);
    for candidate in candidates {
        let entry = &candidate.entry;
        table.row([
            report::one_line(&candidate.backup_directory.label),
            entry.stem.to_string(),
            rough_span(age(entry.started, now)),
            report::size(entry.bytes),
            report::count(entry.rows),
            report::last_check(entry),
        ]);
    }
    table.print("", out)?;
    Ok(out.flush()?)
}
