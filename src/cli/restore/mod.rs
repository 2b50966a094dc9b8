//! `pgbackupd restore`: bring a database back from a backup.

mod destination;
mod listing;
mod moment;
mod plan;
mod question;
pub(super) mod records;
mod tables;
mod which;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::CommandEnv;
use super::failure::{Failure, FailureKind};
use super::progress::Display;
use super::{incident, report, select};
use crate::config::{Loaded, Plan, Runs, Server, name_fault};
use crate::jobs::{
    Ahead, JobError, RestoreOrder, RestoreReport, RestoreRequest, RestoreSource, Run, look_ahead,
    look_at_restore, prepare_restore, restore,
};
use crate::pipeline::Progress;
use crate::policy::Series;
use crate::words::command;
use destination::Chosen;
use question::Question;

/// The end of its help.
const EXAMPLES: &str = "\
Examples:
  pgbackupd restore
      List the backups, and offer the newest
  pgbackupd restore --latest --plan
      Show every step, and change nothing
  pgbackupd restore --latest --into sales_copy
      Restore the newest backup into a new database
  pgbackupd restore --before '2026-11-22 09:00' --table orders
      Restore one table as it was before 09:00";

/// Restore a database, or tables of it, from a backup.
///
/// Reads the backup in full, loads it into a new database next to the existing one, dumps that
/// again and compares it row by row. Only then swaps the names, in one transaction. The replaced
/// database is kept under another name, and undo-restore swaps it back. If anything fails before
/// the swap, the existing database stays in use. Without a backup, lists what can be restored,
/// newest first; at a terminal it offers the newest, and does nothing until you type the database's
/// name. With --table, restores single tables next to the existing ones, which are not touched.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an option that may be given or not"
)]
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    /// Backup, by name or file; also any dump of `pg_dump`
    #[arg(value_name = "BACKUP", conflicts_with_all = ["latest", "before", "series"])]
    backup: Option<String>,
    /// Newest backup that is not known to be damaged
    #[arg(long)]
    latest: bool,
    /// Newest backup that began before this: 2025-07-09, "2025-07-09 14:30" in the schedule's time
    /// zone, "2025-07-09 11:30 UTC" or RFC 3339
    #[arg(long, value_name = "TIME")]
    before: Option<String>,
    /// Newest backup of this series
    #[arg(long, value_name = "NAME")]
    series: Option<Series>,
    /// Database, as NAME or SERVER/NAME; for a dump file without a manifest, the database to create
    #[arg(long, short, value_name = "NAME", value_parser = select::database_name)]
    database: Option<String>,
    /// Restore into a new database of this name, and replace nothing; with --table, it can exist
    #[arg(
        long,
        value_name = "NAME",
        conflicts_with = "drop_old",
        value_parser = name_of("a database")
    )]
    into: Option<String>,
    /// Restore only matching tables, into a new schema or, with --into, into another database. As
    /// in psql, * and ? are wildcards, and names with capitals or dots are in double quotes. Can be
    /// repeated
    #[arg(
        long = "table",
        value_name = "PATTERN",
        conflicts_with_all = ["drop_old", "overwrite_roles"]
    )]
    tables: Vec<String>,
    /// Schema for these tables, new or existing [default: `restored_TIME`; in a new database, their
    /// own]
    #[arg(
        long,
        value_name = "NAME",
        requires = "tables",
        value_parser = name_of("a schema")
    )]
    schema: Option<String>,
    /// Server to restore on, by its name in the configuration
    #[arg(long, value_name = "NAME", value_parser = select::database_name)]
    server: Option<String>,
    /// Reset existing roles to what they were at the backup, with their passwords
    #[arg(long)]
    overwrite_roles: bool,
    /// Execute statements of unknown kinds, such as a newer `pg_dump` may write; they are shown
    /// first
    #[arg(long)]
    accept_unexpected: bool,
    /// Drop the replaced database after the swap
    #[arg(long)]
    drop_old: bool,
    /// Restore an older backup although newer ones exist that cannot be used: damaged, failed a
    /// drill, in quarantine, or without a manifest; --yes does not imply this
    #[arg(long)]
    accept_older: bool,
    /// Print every step with the real names, and change nothing
    #[arg(long)]
    plan: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

impl Args {
    /// The configuration, which what is named by a path can do without.
    fn load(&self, env: &CommandEnv<'_>) -> Result<Loaded, Failure> {
        match self.named_file() {
            Some(_) if self.into.is_some() || self.plan => env.load_to_restore(),
            Some(_) => env.load_to_replace(),
            None => env.load_to_run(Runs::ProgramsAndApplication),
        }
    }

    /// The backup, where it is named by a path.
    pub(super) fn named_file(&self) -> Option<PathBuf> {
        let text = self.backup.as_ref()?;
        let is_path = text.contains('/') || !select::is_name(text);
        is_path.then(|| PathBuf::from(text))
    }
}

/// Reads a name that `PostgreSQL` is to give to something new.
fn name_of(
    what: &'static str,
) -> impl Fn(&str) -> Result<String, String> + Clone + Send + Sync + 'static {
    move |name| name_fault(what, name).map_or_else(|| Ok(name.to_owned()), Err)
}

/// What `restore --json` prints, whether it succeeded or not.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct RestoreResult {
    /// Whether the database is restored.
    pub ok: bool,
    /// The server's name in the configuration.
    pub server_name: String,
    /// The database that was restored.
    pub database: String,
    /// The backup's name, or the file's path.
    pub backup: String,
    /// The server, as host and port; null if it was not reached.
    pub server: Option<String>,
    /// Rows that were compared with the backup; null if it is not restored, as are the next two.
    pub rows: Option<u64>,
    /// Tables that were compared.
    pub tables: Option<u64>,
    /// Where the database stands that was replaced; null if there was none, or it was dropped.
    pub kept_as: Option<String>,
    /// Roles that were created.
    pub roles: Vec<String>,
    /// Sessions that were ended for the swap of names; null if it is not restored, as are the next
    /// two.
    pub sessions_ended: Option<u64>,
    /// How long it took, in seconds, from the confirmation to the end.
    pub seconds: Option<f64>,
    /// Whether that is within `objectives.recovery_time`.
    pub in_time: Option<bool>,
    /// Why the application could not be started again.
    pub start_error: Option<String>,
    /// What the operator should know.
    pub warnings: Vec<String>,
    /// The file with the incident report; null if it could not be written.
    pub incident: Option<String>,
    /// Why it is not restored, and what remains to be done; null if it is.
    pub error: Option<String>,
}

pub(super) async fn run(
    args: &Args,
    env: &CommandEnv<'_>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let loaded = args.load(env)?;
    let context = env.context(&loaded);
    let plan = &loaded.plan;
    let Some(picked) = which::source(&context, plan, args, env, out)? else {
        return Ok(());
    };
    let source = picked.source.clone();
    let chosen = destination::place(&context, plan, args, source, env)?;
    let named = (chosen.database.as_str(), chosen.label.as_str());
    which::confirm_older(&picked, named, args, env).await?;
    let passed_over = picked.passed_over.as_slice();
    if !args.tables.is_empty() {
        return Box::pin(tables::run(
            args,
            &context,
            plan,
            (&chosen, passed_over),
            env,
            out,
        ))
        .await;
    }
    let request = request(args, plan, &chosen, passed_over);
    let progress = Arc::new(Progress::default());
    let run = Run::begin(&context, &progress, env.interrupt.token());
    if args.plan {
        return print_plan(&run, plan, &chosen, &request, env, out).await;
    }
    let label = report::one_line(&chosen.label);
    // Asked before the backup is read in full, which may take hours.
    let mut told_before = passed_over.to_vec();
    let mut is_confirmed = args.yes;
    if !args.yes && (request.replace || picked.is_offered) {
        let ahead = match Box::pin(ahead(&run, &request)).await {
            Ok(ahead) => ahead,
            Err(error) => {
                return failed(&chosen, &request, None, (&error, None), env, out);
            }
        };
        warn(&ahead.plan.warnings, passed_over);
        let question = Question {
            plan: &ahead.plan,
            label: &label,
            passed_over,
            bytes: ahead.bytes,
            is_offered: picked.is_offered,
        };
        question.confirm(&context, env).await?;
        is_confirmed = ahead.plan.replaces.is_some();
        told_before = ahead.plan.warnings;
    }
    let display = Display::start(&label, &progress, env.json);
    let say = |step: &str| display.note(step);
    let telling = run.clone().telling(&say);
    let prepared = Box::pin(prepare_restore(&telling, &request)).await;
    drop(display);
    let prepared = match prepared {
        Ok(prepared) => prepared,
        // Nothing was done yet that is worth a report.
        Err(error) => return failed(&chosen, &request, None, (&error, None), env, out),
    };
    warn(&prepared.plan.warnings, &told_before);
    let server = prepared.plan.server.clone();
    if !is_confirmed {
        // It was made meanwhile.
        let question = Question {
            plan: &prepared.plan,
            label: &label,
            passed_over,
            bytes: None,
            is_offered: false,
        };
        question.confirm(&context, env).await?;
    }
    let display = Display::start(&label, &progress, env.json);
    let say = |step: &str| display.note(step);
    let telling = run.clone().telling(&say);
    let restored = Box::pin(restore(&telling, &request, prepared)).await;
    drop(display);
    let restored = match restored {
        Ok(restored) => restored,
        Err(error) => {
            let path = incident::write(&context, &chosen.repository, run.id, Some(&error));
            let failure = (&error, path);
            return failed(&chosen, &request, Some(server), failure, env, out);
        }
    };
    let report = incident::write(&context, &chosen.repository, run.id, None);
    warn(&restored.warnings, &[]);
    if env.json {
        let result = result(&restored, (&chosen, passed_over), server, report);
        report::json(&result, out)?;
    } else {
        let what = (&*label, chosen.server, plan.objectives.recovery_time);
        print(&restored, what, args, report, out)?;
    }
    out.flush()?;
    is_started(restored, &label)
}

/// Prints what the restore would do.
async fn print_plan(
    run: &Run<'_>,
    plan: &Plan,
    chosen: &Chosen<'_>,
    request: &RestoreRequest<'_>,
    env: &CommandEnv<'_>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let looked = Box::pin(look_at_restore(run, request)).await;
    let looked = looked.map_err(|error| report::failure(&error, env.interrupt))?;
    plan::print(
        looked,
        chosen,
        (run.context, plan.objectives.recovery_time),
        "as",
        env.json,
        out,
    )
}

/// An application that does not start again is a failure still.
fn is_started(restored: RestoreReport, label: &str) -> Result<(), Failure> {
    match restored.start_failed {
        None => Ok(()),
        Some(failed) => Err(Failure::new(
            FailureKind::Unavailable,
            format!(
                "database {label} is restored, but the application could not be started: {failed}"
            ),
        )),
    }
}

fn request<'a>(
    args: &Args,
    plan: &'a Plan,
    chosen: &'a Chosen<'_>,
    passed_over: &'a [String],
) -> RestoreRequest<'a> {
    RestoreRequest {
        order: RestoreOrder {
            source: &chosen.source,
            connection: &chosen.server.connection,
            database: &chosen.database,
            into: &chosen.database,
            repository: &chosen.repository,
            passed_over,
            accept_unexpected: args.accept_unexpected,
            objective: plan.objectives.recovery_time,
            recovery_point: plan.objectives.recovery_point,
        },
        replace: args.into.is_none(),
        overwrite_roles: args.overwrite_roles,
        drop_old: args.drop_old,
        jobs: chosen.server.dump.jobs,
        settings: &plan.restore,
    }
}

/// What the question is about, where nothing keeps the backup from being restored.
async fn ahead(run: &Run<'_>, request: &RestoreRequest<'_>) -> Result<Ahead, JobError> {
    let ahead = look_ahead(run, request).await?;
    if ahead.problems.is_empty() {
        return Ok(ahead);
    }
    Err(JobError::Failed {
        message: format!("nothing was restored: {}", ahead.problems.join("\n")),
        said: None,
        may_pass: false,
    })
}

/// Tells warnings that were not told before.
fn warn(warnings: &[String], told_before: &[String]) {
    for warning in warnings.iter().filter(|one| !told_before.contains(one)) {
        tracing::warn!("{warning}");
    }
}

/// Tells a restore that failed, with its incident report if it has one.
fn failed(
    chosen: &Chosen<'_>,
    request: &RestoreRequest<'_>,
    server: Option<String>,
    (error, path): (&JobError, Option<PathBuf>),
    env: &CommandEnv<'_>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut failure = report::failure(error, env.interrupt);
    if env.json {
        let document = RestoreResult {
            ok: false,
            server_name: chosen.server.name.clone(),
            database: request.order.database.to_owned(),
            backup: match request.order.source {
                RestoreSource::Backup(_, stem) => stem.to_string(),
                RestoreSource::Bare(path) => path.display().to_string(),
            },
            server,
            rows: None,
            tables: None,
            kept_as: None,
            roles: Vec::new(),
            sessions_ended: None,
            seconds: None,
            in_time: None,
            start_error: None,
            warnings: Vec::new(),
            incident: path.as_ref().map(|path| path.display().to_string()),
            error: Some(failure.message.clone()),
        };
        report::json(&document, out)?;
        out.flush()?;
    }
    failure.message.push_str(&incident::in_a_failure(path));
    Err(failure)
}

fn result(
    restored: &RestoreReport,
    (chosen, passed_over): (&Chosen<'_>, &[String]),
    server: String,
    report: Option<PathBuf>,
) -> RestoreResult {
    RestoreResult {
        ok: true,
        server_name: chosen.server.name.clone(),
        database: restored.database.clone(),
        backup: restored.backup.clone(),
        server: Some(server),
        rows: Some(restored.rows),
        tables: Some(restored.tables),
        kept_as: restored.kept_as.clone(),
        roles: restored.roles.clone(),
        sessions_ended: Some(restored.sessions_ended),
        seconds: Some(restored.took.as_secs_f64()),
        in_time: Some(restored.in_time),
        start_error: restored.start_failed.clone(),
        warnings: [passed_over, &restored.warnings].concat(),
        incident: report.map(|path| path.display().to_string()),
        error: None,
    }
}

fn print(
    restored: &RestoreReport,
    (label, server, objective): (&str, &Server, Duration),
    args: &Args,
    incident: Option<PathBuf>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    writeln!(
        out,
        "{label}: restored from {}, {} in {} compared, in {} ({} objectives.recovery_time, {})",
        report::one_line(&restored.backup),
        report::counted(restored.rows, "row", "rows"),
        report::counted(restored.tables, "table", "tables"),
        report::duration(restored.took),
        if restored.in_time {
            "within"
        } else {
            "LONGER THAN"
        },
        report::span(objective),
    )?;
    if let Some(kept) = &restored.kept_as {
        let name = if records::is_configured(server) {
            label
        } else {
            restored.database.as_str()
        };
        writeln!(
            out,
            "  the old database is kept as {}; `{}` swaps it back",
            report::one_line(kept),
            command("undo-restore", name, "")
        )?;
    } else if args.drop_old {
        writeln!(out, "  the old database was dropped")?;
    }
    if !restored.roles.is_empty() {
        writeln!(out, "  roles created: {}", restored.roles.join(", "))?;
    }
    if let Some(path) = incident {
        let path = report::one_line(&path.display().to_string());
        writeln!(out, "  incident report, for you to complete: {path}")?;
    }
    Ok(())
}
