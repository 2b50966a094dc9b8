//! What a restore of tables would do, found out without a lock and without making anything.

use std::path::PathBuf;

use chrono::{DateTime, FixedOffset};

use super::TablesRequest;
use super::choose::flat;
use super::choose::{Name, choose_tables};
use super::judge::{free, in_the_way, judge_tables, room_for};
use super::prepare::two_names;
use super::stored_census::stored_census;
use crate::display::counted;
use crate::jobs::restore::begin::{Depth, RestoreStart};
use crate::jobs::restore::send_check::about_functions;
use crate::jobs::restore::source::read_for_the_plan;
use crate::jobs::restore::steps::{LastDrill, PlannedStep, Preview};
use crate::jobs::run::Run;
use crate::jobs::{DrillPhase, JobError};
use crate::pipeline::census::Census;
use crate::postgres::{Conninfo, partition_tree};
use crate::repository::Manifest;

/// So many tables are named; the rest is counted.
const NAMED: usize = 20;

/// What is known of a restore of tables before the backup is read and anything is made.
#[derive(Clone, Debug)]
pub struct TablesAhead {
    /// The backup's name, or the file's path.
    pub backup: String,
    /// When its contents were those of the database, if that is recorded.
    pub started: Option<DateTime<FixedOffset>>,
    /// Bytes of the backup's files, if a manifest speaks for it.
    pub bytes: Option<u64>,
    /// The server, as host and port.
    pub server: String,
    /// The database that they are restored into.
    pub database: String,
    /// Whether that is made for it.
    pub makes_database: bool,
    /// The tables that the patterns name, each with its rows, in words.
    pub tables: String,
    /// The role that loads them.
    pub user: String,
    /// What keeps them from being restored.
    pub problems: Vec<String>,
    /// What the operator should know.
    pub warnings: Vec<String>,
    schema: Option<String>,
    scratch: String,
    path: PathBuf,
    last_drill: Option<LastDrill>,
}

/// Looks what a restore of tables would do, and what keeps it from being done, without reading the dump.
/// What belongs to the tables, only a scratch database would tell; what a file without a manifest holds,
/// only reading it.
///
/// # Errors
/// When a pattern means no table, or the backup or the server cannot be asked.
pub async fn look_ahead_at_tables(
    run: &Run<'_>,
    request: &TablesRequest<'_>,
) -> Result<TablesAhead, JobError> {
    look(&run.for_a_look(), request, false).await
}

/// The same, where `reads` says whether a file without a manifest is read in full.
async fn look(
    run: &Run<'_>,
    request: &TablesRequest<'_>,
    reads: bool,
) -> Result<TablesAhead, JobError> {
    let order = &request.order;
    let begun = order.begin(run, Depth::Look).await?;
    let (contents, mut remarks) = known_contents(run, request, &begun, reads).await?;
    let RestoreStart {
        source,
        maintenance,
        server_facts,
        ..
    } = begun;
    let tables = match &contents {
        Some((census, _)) => {
            choose_tables(census, request.patterns).map_err(JobError::NoSuchTable)?
        }
        None => Vec::new(),
    };
    let source_major = source.manifest.as_ref().map(|one| one.server.major());
    let room = contents.as_ref().and_then(|(census, text_bytes)| {
        let room = room_for(&tables, census, *text_bytes);
        Some((room, free(&maintenance, &server_facts)?))
    });
    let mut judgement = judge_tables(&server_facts, source_major, room);
    judgement.warnings.append(&mut remarks);
    let now = run.now();
    let makes_database = !server_facts.databases.contains_key(order.into);
    let schema = request.schema_for(makes_database, now);
    if let Some(schema) = &schema
        && !makes_database
    {
        let target = maintenance.to_database(order.into);
        let standing = standing_in(run, &target, schema, &tables).await?;
        if !standing.is_empty() {
            judgement.problems.push(in_the_way(order.into, &standing));
        }
    }
    let (scratch, _) = two_names(order.database, now, server_facts.databases.clone());
    Ok(TablesAhead {
        backup: source.label.clone(),
        started: source.started(),
        bytes: source.manifest.as_ref().map(Manifest::bytes),
        server: maintenance.server(),
        database: order.into.to_owned(),
        makes_database,
        tables: match &contents {
            Some((census, _)) => display_names(&tables, census),
            None => request.patterns.join(", "),
        },
        user: server_facts.user.clone(),
        problems: judgement.problems,
        warnings: [order.passed_over, &judgement.warnings].concat(),
        schema,
        scratch,
        path: source.path().to_owned(),
        last_drill: LastDrill::newest(order)?,
    })
}

/// What the backup holds, with the bytes of its text, as far as that is known; and what there is to say of it.
async fn known_contents(
    run: &Run<'_>,
    request: &TablesRequest<'_>,
    begun: &RestoreStart,
    reads: bool,
) -> Result<(Option<(Census, u64)>, Vec<String>), JobError> {
    let (order, source) = (&request.order, &begun.source);
    if let Some(manifest) = &source.manifest {
        let census = stored_census(order, source)?;
        let remarks = manifest.rows_not_in_the_backup();
        return Ok((Some((census, manifest.artifact.text_bytes)), remarks));
    }
    if !reads {
        return Ok((None, Vec::new()));
    }
    let reading = order.read_in_full(run, source, begun.server_facts.major);
    let (stream_summary, unexpected) = reading.await?;
    let mut remarks: Vec<String> = unexpected.into_iter().collect();
    remarks.push(read_for_the_plan(source));
    Ok((
        Some((stream_summary.census, stream_summary.text_bytes)),
        remarks,
    ))
}

/// Those of the tables whose names are taken in a schema.
async fn standing_in(
    run: &Run<'_>,
    database: &Conninfo,
    schema: &str,
    tables: &[Name],
) -> Result<Vec<String>, JobError> {
    let target = run.connect(database).await?;
    let theirs: Vec<Name> = tables
        .iter()
        .map(|(_, name)| (schema.as_bytes().to_vec(), name.clone()))
        .collect();
    let standing = run.wait_for(partition_tree(&target, &theirs)).await??;
    let standing = standing.iter().filter(|table| table.is_named);
    Ok(standing.map(|table| table.quoted.clone()).collect())
}

/// Says what a restore of tables would do, step by step, for `--plan`. A file without a manifest is read
/// in full.
///
/// # Errors
/// As [`look_ahead_at_tables`].
pub async fn look_at_tables(
    run: &Run<'_>,
    request: &TablesRequest<'_>,
) -> Result<Preview, JobError> {
    let ahead = look(&run.for_a_look(), request, true).await?;
    Ok(Preview {
        steps: ahead.steps(),
        last_drill: ahead.last_drill,
        bytes: ahead.bytes,
        backup: ahead.backup,
        database: ahead.database,
        server: ahead.server,
        problems: ahead.problems,
        warnings: ahead.warnings,
    })
}

impl TablesAhead {
    fn steps(&self) -> Vec<PlannedStep> {
        let Self {
            server,
            scratch,
            database: into,
            tables,
            ..
        } = self;
        let functions = about_functions(&self.user);
        let destination = match (self.makes_database, &self.schema) {
            (true, None) => format!("a new database {into}, each in its own schema"),
            (true, Some(schema)) => format!("schema {schema} of a new database {into}"),
            (false, Some(schema)) => format!("schema {schema} of database {into}"),
            (false, None) => format!("database {into}"),
        };
        let mut steps = Vec::new();
        if !self.makes_database {
            steps.push(PlannedStep::new("ask for your confirmation", &[]));
        }
        steps.extend([
            PlannedStep::new(
                format!(
                    "read {} in full, with its roles and census: it must be what was written",
                    self.path.display()
                ),
                &[DrillPhase::Verify],
            ),
            PlannedStep::new(
                format!(
                    "make a scratch database {scratch} on {server} of the definitions in it, and no \
                     row, {functions}; find there what belongs to {tables}, partitions and child tables included"
                ),
                &[],
            ),
        ]);
        if !self.makes_database {
            steps.push(PlannedStep::new(
                format!(
                    "check that database {into} has what they need, and that their names are free"
                ),
                &[],
            ));
        }
        steps.push(PlannedStep::new(
            format!(
                "in one transaction bring them into {destination}: make them, load their rows, make \
                 indexes, constraints and triggers, refresh their statistics, and compare every row \
                 with the backup"
            ),
            &[],
        ));
        steps.push(PlannedStep::new(format!("drop {scratch}"), &[]));
        steps
    }
}

/// The tables and their rows.
fn display_names(names: &[Name], census: &Census) -> String {
    let rows: Vec<(Name, u64)> = census
        .tables()
        .map(|(table, counted)| (flat(&(table.schema, table.name)), counted.rows))
        .collect();
    let word = |name: &Name| {
        let (schema, table) = name;
        let rows: Vec<u64> = rows
            .iter()
            .filter(|(one, _)| one == name)
            .map(|(_, rows)| *rows)
            .collect();
        let text = format!(
            "{}.{}",
            String::from_utf8_lossy(schema),
            String::from_utf8_lossy(table)
        );
        // A partitioned table has none of its own.
        match rows.iter().sum() {
            _ if rows.is_empty() => text,
            sum => format!("{text} ({})", counted(sum, "row", "rows")),
        }
    };
    let mut words: Vec<String> = names.iter().take(NAMED).map(word).collect();
    if names.len() > NAMED {
        words.push(format!("{} more", names.len() - NAMED));
    }
    words.join(", ")
}
