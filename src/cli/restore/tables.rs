//! `pgbackupd restore --table`: single tables come back beside those that stand.

use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use super::super::Surroundings;
use super::super::confirm::{self, Confirmation};
use super::super::failure::{Failure, FailureKind};
use super::super::progress::Display;
use super::super::{incident, report};
use super::Args;
use super::which::Chosen;
use crate::config::Plan;
use crate::jobs::{
    Context, JobError, RestoreSource, TablesPlan, TablesReport, TablesRequest, abandon_tables,
    about_functions, look_at_tables, prepare_tables, restore_tables,
};
use crate::pipeline::Progress;
use crate::policy::{age, in_words};

/// So many tables are listed before the question; the rest is counted.
const LISTED: usize = 40;

/// What `restore --table --json` prints, whether it succeeded or not.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub(super) struct RestoredTables {
    /// Whether the tables are restored.
    pub ok: bool,
    /// The server's name in the configuration.
    pub server_name: String,
    /// The database that they were restored into.
    pub database: String,
    /// Whether it was made for it.
    pub made_database: bool,
    /// The schema that they were restored into; null where each stands in its own.
    pub schema: Option<String>,
    /// The backup's name, or the file's path.
    pub backup: String,
    /// The server, as host and port; null if it failed before anything was begun.
    pub server: Option<String>,
    /// The tables, partitions and heirs included.
    pub tables: Vec<RestoredTable>,
    /// Rows of all of them, compared with the backup; null after a failure.
    pub rows: Option<u64>,
    /// What did not come with them, one phrase each.
    pub left_out: Vec<String>,
    /// What is likely to be run next, as SQL with comments.
    pub next: Vec<String>,
    /// How long it took, in seconds, from the confirmation to the end; null after a failure.
    pub seconds: Option<f64>,
    /// What the operator should know.
    pub warnings: Vec<String>,
    /// The file with the incident report; null if there is none.
    pub incident: Option<String>,
    /// Why they are not restored, and what remains to be done; null if they are.
    pub error: Option<String>,
}

/// One of them.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct RestoredTable {
    /// The table in the backup, as SQL writes it.
    pub table: String,
    /// The table that it has become, as SQL writes it.
    pub restored_as: String,
    /// Its rows, the same as in the backup; null where they are those of its partitions.
    pub rows: Option<u64>,
}

pub(super) async fn run(
    args: &Args,
    context: &Context,
    plan: &Plan,
    (chosen, passed_over): (&Chosen<'_>, &[String]),
    surroundings: &Surroundings<'_>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let request = TablesRequest {
        run: Uuid::now_v7(),
        source: &chosen.source,
        connection: &chosen.server.connection,
        original: &chosen.original,
        into: &chosen.database,
        schema: args.schema.as_deref(),
        patterns: &args.tables,
        accept_unexpected: args.accept_unexpected,
        repository: &chosen.repository,
        passed_over,
        objective: plan.objectives.recovery_time,
        recovery_point: plan.objectives.recovery_point,
    };
    let cancel = surroundings.interrupt.token();
    if args.plan {
        let looked = Box::pin(look_at_tables(context, &request, cancel)).await;
        let looked = looked.map_err(|error| report::failure(&error, surroundings.interrupt))?;
        let objective = (context, plan.objectives.recovery_time);
        return super::plan::print(looked, chosen, objective, "into", surroundings.json, out);
    }
    let failing = Failing {
        context,
        request: &request,
        chosen,
        surroundings,
    };
    let progress = Arc::new(Progress::default());
    let label = report::one_line(&chosen.label);
    let display = Display::start(&label, &progress, surroundings.json);
    let say = |step: &str| display.note(step);
    let prepared = prepare_tables(context, &request, &say, &progress, cancel).await;
    drop(display);
    let prepared = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return failing.tell(&error, None, out),
    };
    // Those that are passed over have been told.
    for warning in prepared.plan.warnings.iter().skip(passed_over.len()) {
        tracing::warn!("{warning}");
    }
    if !args.yes
        && !prepared.plan.makes_database
        && let Err(refused) =
            ask(&prepared.plan, (&label, passed_over), context, surroundings).await
    {
        if let Err(error) = abandon_tables(context, prepared).await {
            tracing::warn!("the scratch database remains until the next restore: {error}");
        }
        return Err(refused);
    }
    let (server, told) = (prepared.plan.server.clone(), prepared.plan.warnings.len());
    let display = Display::start(&label, &progress, surroundings.json);
    let say = |step: &str| display.note(step);
    let restoring = restore_tables(context, &request, prepared, &say, &progress, cancel);
    let restored = Box::pin(restoring).await;
    drop(display);
    let restored = match restored {
        Ok(restored) => restored,
        Err(error) => return failing.tell(&error, Some(server), out),
    };
    // What came up meanwhile.
    for warning in restored.plan.warnings.iter().skip(told) {
        tracing::warn!("{warning}");
    }
    let path = incident::write(context, &chosen.repository, request.run);
    if surroundings.json {
        report::json(&result(restored, chosen, path), out)?;
    } else {
        print(&restored, &label, out)?;
        if let Some(path) = path {
            let path = report::one_line(&path.display().to_string());
            writeln!(out, "  incident report, for you to complete: {path}")?;
        }
    }
    out.flush()?;
    Ok(())
}

/// What is needed to tell a failure.
struct Failing<'a> {
    context: &'a Context,
    request: &'a TablesRequest<'a>,
    chosen: &'a Chosen<'a>,
    surroundings: &'a Surroundings<'a>,
}

impl Failing<'_> {
    /// Tells a restore that failed, with its incident report.
    fn tell(
        &self,
        error: &JobError,
        server: Option<String>,
        out: &mut dyn Write,
    ) -> Result<(), Failure> {
        let mut failure = report::failure(error, self.surroundings.interrupt);
        // Whoever met another run at work, or named no table, has done nothing worth a report.
        let is_worth_it = !matches!(failure.kind, FailureKind::Busy | FailureKind::Usage);
        let path = is_worth_it
            .then(|| incident::write(self.context, self.request.repository, self.request.run))
            .flatten();
        if self.surroundings.json {
            let document = RestoredTables {
                server_name: self.chosen.server.name.clone(),
                database: self.request.into.to_owned(),
                backup: match self.request.source {
                    RestoreSource::Backup(_, stem) => stem.to_string(),
                    RestoreSource::Bare(path) => path.display().to_string(),
                },
                server,
                incident: path.as_ref().map(|path| path.display().to_string()),
                error: Some(failure.message.clone()),
                ..RestoredTables::default()
            };
            report::json(&document, out)?;
            out.flush()?;
        }
        failure.message.push_str(&incident::in_a_failure(path));
        Err(failure)
    }
}

/// Asks for the name of the database that the tables come into.
async fn ask(
    plan: &TablesPlan,
    (label, passed_over): (&str, &[String]),
    context: &Context,
    surroundings: &Surroundings<'_>,
) -> Result<(), Failure> {
    let mut text = about(plan, label, context);
    for sentence in passed_over {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  newer     {}", report::one_line(sentence));
    }
    match confirm::ask(&text, &plan.database, surroundings.interrupt).await? {
        Confirmation::Given => Ok(()),
        Confirmation::Refused => Err(confirm::refused(&plan.database)),
        Confirmation::NoTerminal => Err(Failure::new(
            FailureKind::Usage,
            format!("{text}there is no terminal to ask at: say --yes to restore them"),
        )),
    }
}

/// What is told before the question.
fn about(plan: &TablesPlan, label: &str, context: &Context) -> String {
    let mut text = format!(
        "This brings {} into the database {label} at {}; nothing that stands is touched:\n",
        report::counted(plan.tables.len() as u64, "table", "tables"),
        plan.server
    );
    let started = plan.started.map_or_else(String::new, |started| {
        format!(
            ", begun {} ({} ago)",
            report::moment(started),
            in_words(age(started, context.now()))
        )
    });
    // Writing to a string cannot fail.
    let _ = writeln!(text, "  backup    {}{started}", plan.backup);
    if let Some(schema) = &plan.schema {
        let new = if plan.makes_schema { ", new" } else { "" };
        let _ = writeln!(text, "  schema    {}{new}", report::one_line(schema));
    }
    for table in plan.tables.iter().take(LISTED) {
        let rows = table.rows.map_or_else(
            || "the rows of its partitions".to_owned(),
            |rows| report::counted(rows, "row", "rows"),
        );
        let _ = writeln!(
            text,
            "  table     {} as {}, {rows}",
            report::one_line(&table.table),
            report::one_line(&table.becomes)
        );
    }
    if plan.tables.len() > LISTED {
        let _ = writeln!(text, "            and {} more", plan.tables.len() - LISTED);
    }
    let _ = writeln!(text, "  loaded    {}", about_functions(&plan.user));
    for left_out in &plan.left_out {
        let _ = writeln!(text, "  without   {}", report::one_line(left_out));
    }
    text
}

fn result(restored: TablesReport, chosen: &Chosen<'_>, path: Option<PathBuf>) -> RestoredTables {
    let plan = restored.plan;
    let tables = plan.tables.into_iter().map(|table| RestoredTable {
        table: table.table,
        restored_as: table.becomes,
        rows: table.rows,
    });
    RestoredTables {
        ok: true,
        server_name: chosen.server.name.clone(),
        database: plan.database,
        made_database: plan.makes_database,
        schema: plan.schema,
        backup: plan.backup,
        server: Some(plan.server),
        tables: tables.collect(),
        rows: Some(restored.rows),
        left_out: plan.left_out,
        next: restored.next,
        seconds: Some(restored.took.as_secs_f64()),
        warnings: plan.warnings,
        incident: path.map(|path| path.display().to_string()),
        error: None,
    }
}

fn print(restored: &TablesReport, label: &str, out: &mut dyn Write) -> Result<(), Failure> {
    let plan = &restored.plan;
    writeln!(
        out,
        "{label}: {} restored from {} in {}",
        report::counted(plan.tables.len() as u64, "table", "tables"),
        report::one_line(&plan.backup),
        report::duration(restored.took)
    )?;
    for table in &plan.tables {
        let (table, becomes, rows) = (
            report::one_line(&table.table),
            report::one_line(&table.becomes),
            table.rows,
        );
        match rows {
            Some(rows) => writeln!(
                out,
                "  {table}: {}, the same as in the backup, as {becomes}",
                report::counted(rows, "row", "rows")
            )?,
            None => writeln!(out, "  {table}: with its partitions, as {becomes}")?,
        }
    }
    for left_out in &plan.left_out {
        writeln!(out, "  without {}", report::one_line(left_out))?;
    }
    writeln!(out, "What is likely to be next:")?;
    for line in &restored.next {
        writeln!(out, "  {}", report::one_line(line))?;
    }
    Ok(())
}
