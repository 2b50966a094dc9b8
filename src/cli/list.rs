//! `pgbackupd list`: the backups there are.

use std::io::Write;

use comfy_table::{CellAlignment, Table, presets};
use schemars::JsonSchema;
use serde::Serialize;

use super::Surroundings;
use super::failure::Failure;
use super::report;
use crate::jobs::places;
use crate::policy::Series;
use crate::repository::{Entry, Problem};

/// List the backups there are, oldest first.
///
/// Only manifests are read, and no server is asked. FOUND WHOLE is when the backup was last read
/// back in full without a fault.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// Only of this database; may be given several times
    #[arg(long = "database", short, value_name = "NAME")]
    databases: Vec<String>,
    /// Only of this series
    #[arg(long, value_name = "NAME")]
    series: Option<Series>,
}

/// What `list --json` prints for each database, in a list.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct ListedDatabase {
    /// The database.
    pub database: String,
    /// Where its backups stand.
    pub directory: String,
    /// Its backups, oldest first.
    pub backups: Vec<ListedBackup>,
    /// Files that look like part of a backup and are none.
    pub problems: Vec<ListedProblem>,
}

/// One backup.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct ListedBackup {
    /// Its name.
    pub name: String,
    /// Its series.
    pub series: String,
    /// Why it was made.
    pub reason: Option<String>,
    /// When its run started, RFC 3339 in the schedule's zone.
    pub started: String,
    /// The shape of its dump.
    pub format: crate::config::Format,
    /// How its dump is compressed.
    pub compression: crate::config::Compression,
    /// Bytes of all its files but the manifest.
    pub bytes: u64,
    /// Rows of all its tables.
    pub rows: u64,
    /// When it was last found whole, RFC 3339; null when its last check found it damaged.
    pub verified: Option<String>,
    /// What its last check found wrong.
    pub damage: Option<String>,
    /// Whether it is pinned.
    pub pinned: bool,
}

/// A file that looks like part of a backup and is none.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct ListedProblem {
    /// The file's name.
    pub file: String,
    /// What is wrong.
    pub what: String,
}

pub(super) fn run(
    args: &Args,
    surroundings: &Surroundings<'_>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let loaded = surroundings.load()?;
    let context = surroundings.context(&loaded);
    let told = |error| report::failure(&error, surroundings.interrupt);
    let mut listed = Vec::new();
    for place in places(&context, &loaded.plan, &args.databases).map_err(told)? {
        let mut catalogue = place
            .repository
            .catalogue()
            .map_err(|error| told(error.into()))?;
        if let Some(series) = &args.series {
            catalogue
                .backups
                .retain(|entry| entry.stem.series == *series);
        }
        listed.push(ListedDatabase {
            database: place.database,
            directory: place.repository.directory().display().to_string(),
            backups: catalogue.backups.iter().map(backup).collect(),
            problems: catalogue.problems.into_iter().map(problem).collect(),
        });
    }
    if surroundings.json {
        return report::json(&listed, out);
    }
    for (index, database) in listed.iter().enumerate() {
        if index > 0 {
            writeln!(out)?;
        }
        print(database, out)?;
    }
    Ok(())
}

fn backup(entry: &Entry) -> ListedBackup {
    let damage = entry
        .state
        .checked
        .as_ref()
        .and_then(|check| check.damage.clone());
    ListedBackup {
        name: entry.stem.to_string(),
        series: entry.stem.series.to_string(),
        reason: entry.reason.clone(),
        started: entry.started.to_rfc3339(),
        format: entry.format,
        compression: entry.compression,
        bytes: entry.bytes,
        rows: entry.rows,
        verified: entry.last_found_whole().map(|moment| moment.to_rfc3339()),
        damage,
        pinned: entry.state.pinned.is_some(),
    }
}

fn problem(problem: Problem) -> ListedProblem {
    let Problem { file, what, .. } = problem;
    ListedProblem { file, what }
}

fn print(database: &ListedDatabase, out: &mut dyn Write) -> Result<(), Failure> {
    let total: u64 = database.backups.iter().map(|backup| backup.bytes).sum();
    writeln!(
        out,
        "database {}: {}, {} in {}",
        report::one_line(&database.database),
        report::counted(database.backups.len() as u64, "backup", "backups"),
        report::size(total),
        report::one_line(&database.directory),
    )?;
    if !database.backups.is_empty() {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["BACKUP", "STARTED", "SIZE", "ROWS", "FOUND WHOLE", "REASON"]);
        for backup in &database.backups {
            let reason = backup
                .reason
                .as_deref()
                .map(report::one_line)
                .unwrap_or_default();
            let pinned = if backup.pinned { "[pinned] " } else { "" };
            table.add_row([
                backup.name.clone(),
                wall_clock(&backup.started),
                report::size(backup.bytes),
                report::count(backup.rows),
                backup
                    .verified
                    .as_deref()
                    .map_or_else(|| "DAMAGED".to_owned(), wall_clock),
                format!("{pinned}{reason}"),
            ]);
        }
        for column in [2, 3] {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        // Cells are padded to the right; a line's end need not be.
        for line in table.lines() {
            writeln!(out, "{}", line.trim_end())?;
        }
    }
    for backup in &database.backups {
        if let Some(damage) = &backup.damage {
            writeln!(out, "{} is damaged: {damage}", backup.name)?;
        }
    }
    for problem in &database.problems {
        writeln!(out, "{}: {}", report::one_line(&problem.file), problem.what)?;
    }
    Ok(())
}

fn wall_clock(rfc3339: &str) -> String {
    chrono::DateTime::parse_from_rfc3339(rfc3339)
        .map_or_else(|_| rfc3339.to_owned(), report::moment)
}
