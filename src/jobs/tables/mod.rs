//! Bringing single tables back (P10): into another schema of the database, or into another database,
//! in one transaction. The tables that stand are never touched.
//!
//! The definitions of the backup are loaded into a scratch database, where the server says what
//! belongs to the tables, separates them from the others and moves them into their schema. From
//! there `pg_dump` writes their definitions; the rows come straight out of the backup.

mod choose;
mod definitions;
mod judge;
mod list;
mod look;
mod next;
mod pattern;
mod prepare;
mod preview;
mod refused;
mod rows;
mod scratch;
mod session;
mod stored_census;
mod transfer;

use std::time::Duration;

use chrono::{DateTime, FixedOffset};

use crate::display::counted;
use crate::jobs::JobError;
use crate::jobs::restore::RestoreOrder;
use crate::jobs::restore::source::Source;
use crate::pipeline::StreamSummary;
use crate::postgres::{Conninfo, DatabaseProperties, Programs, Table};
use crate::repository::Lock;

pub use prepare::prepare_tables;
pub use preview::{TablesAhead, look_ahead_at_tables, look_at_tables};
pub(super) use scratch::to_read;
pub use transfer::restore_tables;

/// A restore of single tables that is asked for.
#[derive(Clone, Copy, Debug)]
pub struct TablesRequest<'a> {
    /// What every restore is asked for. Its database is the one that the backup is of; one to restore into
    /// that is not there is made.
    pub order: RestoreOrder<'a>,
    /// The schema that they are restored into; without, a new one, or in a new database those
    /// that they stood in.
    pub schema: Option<&'a str>,
    /// Which tables, as patterns of psql's.
    pub patterns: &'a [String],
}

/// What a restore of tables is going to do.
#[derive(Clone, Debug)]
pub struct TablesPlan {
    /// The backup's name, or the file's path.
    pub backup: String,
    /// When its contents were those of the database, if that is recorded.
    pub started: Option<DateTime<FixedOffset>>,
    /// The server, as host and port.
    pub server: String,
    /// The database that they are restored into.
    pub database: String,
    /// Whether that is made for it.
    pub makes_database: bool,
    /// The schema that they are restored into; none where each stands in its own.
    pub schema: Option<String>,
    /// Whether that is made for it.
    pub makes_schema: bool,
    /// Every table, partitions and child tables included.
    pub tables: Vec<PlannedTable>,
    /// The role that loads them.
    pub user: String,
    /// What does not come with them, one sentence each.
    pub left_out: Vec<String>,
    /// What the operator should know.
    pub warnings: Vec<String>,
}

/// A table that is going to be restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedTable {
    /// The table in the backup, as SQL writes it.
    pub table: String,
    /// What it becomes, as SQL writes it.
    pub becomes: String,
    /// Its rows in the backup; none where they are those of its partitions.
    pub rows: Option<u64>,
}

/// A restore of tables that has succeeded.
#[derive(Clone, Debug)]
pub struct TablesReport {
    /// What was done, as it was planned.
    pub plan: TablesPlan,
    /// Rows of all tables, each compared with the backup.
    pub rows: u64,
    /// What is likely to be run next, as SQL with comments.
    pub next: Vec<String>,
    /// From the confirmation to the end.
    pub took: Duration,
}

/// A restore of tables for which everything is there. Holds the database's lock, and a scratch
/// database that [`restore_tables`] drops.
pub struct PreparedTables {
    /// What can be reported of it.
    pub plan: TablesPlan,
    _lock: Option<Lock>,
    source: Source,
    stream_summary: StreamSummary,
    programs: Programs,
    maintenance: Conninfo,
    scratch: String,
    /// The name that a new database bears until it is complete.
    unfinished: String,
    like: Option<DatabaseProperties>,
    tables: Vec<Table>,
    /// Whether the tables that they were stand in the database, in the same order.
    originals_stand: Vec<bool>,
}

impl TablesRequest<'_> {
    /// The schema that the tables go into; none where each goes into its own.
    fn schema_for(&self, makes_database: bool, now: DateTime<FixedOffset>) -> Option<String> {
        let new = || format!("restored_{}", now.format("%Y%m%d_%H%M%S"));
        let asked = self.schema.map(str::to_owned);
        asked.or_else(|| (!makes_database).then(new))
    }
}

impl PlannedTable {
    fn display(&self) -> String {
        let rows = self.rows.map_or_else(String::new, |rows| {
            format!(" ({})", counted(rows, "row", "rows"))
        });
        format!("{} as {}{rows}", self.table, self.becomes)
    }
}

/// A failure with what it means.
fn restore_failed(error: JobError, left: String) -> JobError {
    JobError::Restore {
        standing: "no table was restored, and every database is as it was".to_owned(),
        source: Box::new(error),
        left,
    }
}
