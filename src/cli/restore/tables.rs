//! `pgbackupd restore --table`: single tables come back beside those that stand.

use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use super::super::CommandEnv;
use super::super::confirm::{self, Confirmation, Named};
use super::super::failure::{Failure, FailureKind};
use super::super::progress::Display;
use super::super::{incident, report};
use super::Args;
use super::destination::Chosen;
use crate::config::Plan;
use crate::jobs::{
    JobContext, JobError, RestoreOrder, RestoreSource, Run, TablesAhead, TablesReport,
    TablesRequest, about_functions, look_ahead_at_tables, look_at_tables, prepare_tables,
    restore_tables,
};
use crate::pipeline::Progress;
use crate::policy::{age, in_words};

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
    args: &Args,
    context: &JobContext,
    plan: &Plan,
    (chosen, passed_over): (&Chosen<'_>, &[String]),
    env: &CommandEnv<'_>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let request = TablesRequest {
        order: RestoreOrder {
            source: &chosen.source,
            connection: &chosen.server.connection,
            database: &chosen.original,
            into: &chosen.database,
            repository: &chosen.repository,
            passed_over,
            accept_unexpected: args.accept_unexpected,
            objective: plan.objectives.recovery_time,
            recovery_point: plan.objectives.recovery_point,
        },
        schema: args.schema.as_deref(),
        patterns: &args.tables,
    };
    let progress = Arc::new(Progress::default());
    let run = Run::begin(context, &progress, env.interrupt.token());
    if args.plan {
        let looked = Box::pin(look_at_tables(&run, &request)).await;
        let looked = looked.map_err(|error| report::failure(&error, env.interrupt))?;
        let objective = (context, plan.objectives.recovery_time);
        return super::plan::print(looked, chosen, objective, "into", env.json, out);
    }
    let failing = Failing {
        request: &request,
        chosen,
        env,
    };
    let label = report::one_line(&chosen.label);
    // Asked before the backup is read in full, which may take hours.
    let mut told_before = passed_over.to_vec();
    if !args.yes {
        let looking = Box::pin(look_ahead_at_tables(&run, &request));
        let ahead = match looking.await {
            Ok(ahead) => ahead,
            Err(error) => return failing.tell(&error, (None, None), out),
        };
        for warning in ahead.warnings.iter().skip(passed_over.len()) {
            tracing::warn!("{warning}");
        }
        if !ahead.problems.is_empty() {
            let error = JobError::Failed {
                message: format!("no table was restored: {}", ahead.problems.join("\n")),
                said: None,
                may_pass: false,
            };
            return failing.tell(&error, (None, None), out);
        }
        if !ahead.makes_database {
            ask(&ahead, args, (&label, passed_over), context, env).await?;
        }
        told_before = ahead.warnings;
    }
    let display = Display::start(&label, &progress, env.json);
    let say = |step: &str| display.note(step);
    let prepared = prepare_tables(&run.clone().telling(&say), &request).await;
    drop(display);
    let prepared = match prepared {
        Ok(prepared) => prepared,
        // Nothing was done yet that is worth a report.
        Err(error) => return failing.tell(&error, (None, None), out),
    };
    for warning in &prepared.plan.warnings {
        if !told_before.contains(warning) {
            tracing::warn!("{warning}");
        }
    }
    let (server, told) = (prepared.plan.server.clone(), prepared.plan.warnings.len());
    let display = Display::start(&label, &progress, env.json);
    let say = |step: &str| display.note(step);
    let telling = run.clone().telling(&say);
    let restored = Box::pin(restore_tables(&telling, &request, prepared)).await;
    drop(display);
    let restored = match restored {
        Ok(restored) => restored,
        Err(error) => {
            let path = incident::write(context, &chosen.repository, run.id, Some(&error));
            return failing.tell(&error, (Some(server), path), out);
        }
    };
    // What came up meanwhile.
    for warning in restored.plan.warnings.iter().skip(told) {
        tracing::warn!("{warning}");
    }
    let path = incident::write(context, &chosen.repository, run.id, None);
    if env.json {
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
    request: &'a TablesRequest<'a>,
    chosen: &'a Chosen<'a>,
    env: &'a CommandEnv<'a>,
}

impl Failing<'_> {
    /// Reports a restore that failed, with the server and the incident report if there are any.
    fn tell(
        &self,
        error: &JobError,
        (server, path): (Option<String>, Option<PathBuf>),
        out: &mut dyn Write,
    ) -> Result<(), Failure> {
        let mut failure = report::failure(error, self.env.interrupt);
        if self.env.json {
            let document = RestoredTables {
                server_name: self.chosen.server.name.clone(),
                database: self.request.order.into.to_owned(),
                backup: match self.request.order.source {
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
    ahead: &TablesAhead,
    args: &Args,
    (label, passed_over): (&str, &[String]),
    context: &JobContext,
    env: &CommandEnv<'_>,
) -> Result<(), Failure> {
    let text = about(ahead, args.schema.as_deref(), (label, passed_over), context);
    let named = Named {
        database: &ahead.database,
        label,
    };
    match confirm::ask(&text, named, env.interrupt).await? {
        Confirmation::Given => Ok(()),
        Confirmation::Refused => Err(confirm::refused(&ahead.database)),
        Confirmation::NoTerminal => Err(Failure::new(
            FailureKind::Usage,
            format!("{text}there is no terminal to ask at: say --yes to restore them"),
        )),
    }
}

/// What is printed before the question.
fn about(
    ahead: &TablesAhead,
    schema: Option<&str>,
    (label, passed_over): (&str, &[String]),
    context: &JobContext,
) -> String {
    let mut text = format!(
        "This brings tables into the database {label} at {}; no table that is there is changed:\n",
        ahead.server
    );
    let mut line = |title: &str, what: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {title:<9} {what}");
    };
    let started = ahead.started.map_or_else(String::new, |started| {
        format!(
            ", begun {} ({} ago)",
            report::moment(started),
            in_words(age(started, context.now()))
        )
    });
    line(
        "backup",
        format!("{}{started}", report::one_line(&ahead.backup)),
    );
    line(
        "tables",
        format!(
            "{}, with their partitions and child tables",
            report::one_line(&ahead.tables)
        ),
    );
    line(
        "schema",
        schema.map_or_else(
            || "a new one, named restored_ and the time".to_owned(),
            report::one_line,
        ),
    );
    line("loaded", about_functions(&ahead.user));
    for sentence in passed_over {
        line("newer", report::one_line(sentence));
    }
    if let Some(bytes) = ahead.bytes {
        line(
            "first",
            format!("{} of backup are read in full", report::size(bytes)),
        );
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
