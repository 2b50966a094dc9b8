//! `pgbackupd restore --table`: single tables come back next to those that stand.

use std::io::Write;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;

use super::super::confirm::{self, Named};
use super::super::failure::Failure;
use super::super::{incident, report};
use super::destination::Chosen;
use super::question::Lines;
use super::{Begun, RestoreCommand, warn};
use crate::jobs::{
    JobError, Run, TablesAhead, TablesReport, TablesRequest, look_ahead_at_tables, look_at_tables,
    prepare_tables, restore_tables,
};

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
    /// The tables, partitions and child tables included.
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
    command: &RestoreCommand<'_>,
    chosen: &Chosen<'_>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let args = command.args;
    let request = TablesRequest {
        order: super::order(command, chosen, &chosen.original),
        schema: args.schema.as_deref(),
        patterns: &args.tables,
    };
    let run = command.session.begin();
    if args.plan {
        let looked = Box::pin(look_at_tables(&run, &request)).await;
        let looked = looked.map_err(|error| command.failure(&error))?;
        return super::plan::print(command, chosen, looked, out);
    }
    let restoring = RestoringTables {
        command,
        chosen,
        run,
        request,
        label: report::one_line(&chosen.label),
    };
    restoring.run(out).await
}

/// The restore of single tables.
struct RestoringTables<'a> {
    command: &'a RestoreCommand<'a>,
    chosen: &'a Chosen<'a>,
    request: TablesRequest<'a>,
    /// The database as lines of text name it.
    label: String,
    run: Run<'a>,
}

impl RestoringTables<'_> {
    /// Restores them, and reports how that went.
    async fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let (command, request) = (self.command, &self.request);
        let told_before = self.ask_ahead(out).await?;
        let (session, label) = (command.session, &self.label);
        let preparing = async |run: &Run<'_>| prepare_tables(run, request).await;
        let prepared = match Box::pin(session.part(&self.run, label, preparing)).await {
            Ok(prepared) => prepared,
            // Nothing was done yet that is worth a report.
            Err(error) => return self.failed(&error, None, out),
        };
        warn(&prepared.plan.warnings, &told_before);
        let (server, reported) = (prepared.plan.server.clone(), prepared.plan.warnings.len());
        let restoring = async |run: &Run<'_>| restore_tables(run, request, prepared).await;
        let restored = Box::pin(session.part(&self.run, label, restoring)).await;
        let (context, id) = (&session.context, self.run.id);
        let record = |error| incident::write(context, &self.chosen.repository, id, error);
        let restored = match restored {
            Ok(restored) => restored,
            Err(error) => {
                let incident = record(Some(&error));
                return self.failed(&error, Some(Begun { server, incident }), out);
            }
        };
        // What came up meanwhile.
        for warning in restored.plan.warnings.iter().skip(reported) {
            tracing::warn!("{warning}");
        }
        self.succeeded(restored, record(None), out)
    }

    /// Asks, before the backup is read in full, which may take hours. Gives the warnings that were
    /// reported.
    async fn ask_ahead(&self, out: &mut dyn Write) -> Result<Vec<String>, Failure> {
        let (command, passed_over) = (self.command, &self.chosen.picked.passed_over);
        if command.args.yes {
            return Ok(passed_over.clone());
        }
        let looking = look_ahead_at_tables(&self.run, &self.request);
        let ahead = match Box::pin(looking).await {
            Ok(ahead) => ahead,
            Err(error) => return self.failed(&error, None, out),
        };
        for warning in ahead.warnings.iter().skip(passed_over.len()) {
            tracing::warn!("{warning}");
        }
        if !ahead.problems.is_empty() {
            let error = JobError::Failed {
                message: format!("no table was restored: {}", ahead.problems.join("\n")),
                detail: None,
                may_pass: false,
            };
            return self.failed(&error, None, out);
        }
        if !ahead.makes_database {
            self.ask(&ahead).await?;
        }
        Ok(ahead.warnings)
    }

    /// Asks for the name of the database that the tables come into.
    async fn ask(&self, ahead: &TablesAhead) -> Result<(), Failure> {
        let text = self.question(ahead);
        let named = Named {
            database: &ahead.database,
            label: &self.label,
        };
        let unasked = Failure::usage(format!(
            "{text}there is no terminal for the question\nhint: give --yes to restore them"
        ));
        confirm::confirm(&text, named, self.command.session.env.interrupt, unasked).await
    }

    /// Reports a restore that succeeded.
    fn succeeded(
        &self,
        restored: TablesReport,
        incident: Option<PathBuf>,
        out: &mut dyn Write,
    ) -> Result<(), Failure> {
        if self.command.session.env.json {
            report::json(&result(restored, self.chosen, incident), out)?;
        } else {
            print(&restored, &self.label, out)?;
            incident::print(incident.as_deref(), out)?;
        }
        out.flush()?;
        Ok(())
    }

    /// Reports a restore that failed.
    fn failed<T>(
        &self,
        error: &JobError,
        begun: Option<Begun>,
        out: &mut dyn Write,
    ) -> Result<T, Failure> {
        let failure = self.command.failure(error);
        let (server, incident) =
            begun.map_or((None, None), |begun| (Some(begun.server), begun.incident));
        let document = RestoredTables {
            server_name: self.chosen.server.name.clone(),
            database: self.request.order.into.to_owned(),
            backup: self.chosen.backup(),
            server,
            incident: incident.as_ref().map(|path| path.display().to_string()),
            error: Some(failure.message.clone()),
            ..RestoredTables::default()
        };
        let document = self.command.session.env.json.then_some(&document);
        Err(incident::failed(
            failure,
            incident.as_deref(),
            document,
            out,
        ))
    }

    /// What is printed before the question.
    fn question(&self, ahead: &TablesAhead) -> String {
        let label = &self.label;
        let mut text = Lines::new(format!(
            "This brings tables into the database {label} at {}; no table that is there is changed:",
            ahead.server
        ));
        let backup = report::one_line(&ahead.backup);
        text.backup(&backup, ahead.started, &self.command.session.context);
        let tables = report::one_line(&ahead.tables);
        text.line(
            "tables",
            &format!("{tables}, with their partitions and child tables"),
        );
        let schema = self.request.schema.map_or_else(
            || "a new one, named restored_ and the time".to_owned(),
            report::one_line,
        );
        text.line("schema", &schema);
        text.end(&ahead.user, &self.chosen.picked.passed_over);
        if let Some(bytes) = ahead.bytes {
            let size = report::size(bytes);
            text.line("first", &format!("{size} of backup are read in full"));
        }
        text.text
    }
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
