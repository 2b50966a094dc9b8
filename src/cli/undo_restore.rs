//! `pgbackupd undo-restore`: swap back the database that a restore replaced.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use super::confirm::{self, Confirmation, Named};
use super::env::CommandEnv;
use super::failure::{Failure, FailureKind};
use super::progress::Display;
use super::restore::records::{OwnDirectory, is_configured, records};
use super::{incident, report, select};
use crate::config::{Plan, Runs, Server};
use crate::jobs::{
    BackupDirectories, JobContext, JobError, PreparedUndo, Run, UndoReport, UndoRequest,
    backup_directories_on, prepare_undo, undo,
};
use crate::pipeline::Progress;
use crate::repository::Repository;

/// The end of its help.
const EXAMPLES: &str = "\
Examples:
  pgbackupd undo-restore --database sales
      Swap back the database that the last restore of sales replaced";

/// Undo the last restore.
///
/// Swaps the names back in one transaction: the newest database that a restore kept gets its name
/// back, and the restored one is kept under another name. Nothing is dropped.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    /// Database, as NAME or SERVER/NAME [default: the only one configured]
    #[arg(long, short, value_name = "NAME", value_parser = select::database_name)]
    database: Option<String>,
    /// Server of the database, by its name in the configuration
    #[arg(long, value_name = "NAME", value_parser = select::database_name)]
    server: Option<String>,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// What `undo-restore --json` prints, whether it succeeded or not.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub(super) struct UndoResult {
    /// Whether the names are swapped back.
    pub ok: bool,
    /// The server's name in the configuration.
    pub server: String,
    /// The database.
    pub database: String,
    /// What it was called since the restore; null if none was found.
    pub brought_back: Option<String>,
    /// What the restored database is called now; null if there was none, or nothing was done.
    pub kept_as: Option<String>,
    /// Sessions that were ended for the swap of names; null if nothing was done, as is the next.
    pub sessions_ended: Option<u64>,
    /// How long it took, in seconds.
    pub seconds: Option<f64>,
    /// Why the application could not be started again.
    pub start_error: Option<String>,
    /// The file with the incident report; null if there is none.
    pub incident: Option<String>,
    /// Why nothing was undone, and what remains to be done; null if it was.
    pub error: Option<String>,
    /// How the database is shown to people.
    #[serde(skip)]
    label: String,
}

pub(super) async fn run(
    args: &Args,
    env: &CommandEnv<'_>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let loaded = match &args.database {
        Some(_) => env.load_to_replace()?,
        None => env.load_to_run(Runs::ProgramsAndApplication)?,
    };
    let context = env.context(&loaded);
    let to_failure = |error: JobError| report::failure(&error, env.interrupt);
    let Known {
        server,
        database,
        repository,
    } = which(&context, &loaded.plan, args, env)?;
    let request = UndoRequest {
        connection: &server.connection,
        database: &database,
        repository: &repository,
        settings: &loaded.plan.restore,
    };
    let prepared = prepare_undo(&context, request).await;
    let label = report::one_line(&loaded.plan.label(&server.name, &database));
    let mut document = UndoResult {
        label: label.clone(),
        server: server.name.clone(),
        database: database.clone(),
        ..UndoResult::default()
    };
    let prepared = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return failed(document, to_failure(error), env, out),
    };
    document.brought_back = Some(prepared.brings_back.clone());
    for warning in &prepared.warnings {
        tracing::warn!("{warning}");
    }
    if !args.yes {
        let named = Named {
            database: &database,
            label: &label,
        };
        confirm(&prepared, named, env).await?;
    }
    let progress = Arc::new(Progress::default());
    let display = Display::start(&label, &progress, env.json);
    let say = |step: &str| display.print_step(step);
    let run = Run::begin(&context, &progress, env.interrupt.token()).reporting_steps(&say);
    let undone = undo(&run, prepared).await;
    let id = run.id;
    drop(display);
    let path = incident::write(&context, &repository, id, undone.as_ref().err());
    document.incident = path.as_ref().map(|path| path.display().to_string());
    let undone = match undone {
        Ok(undone) => undone,
        Err(error) => return failed(document, to_failure(error), env, out),
    };
    succeeded(document, undone, env, out)
}

/// Asks for the database's name, unless that cannot be asked for.
async fn confirm(
    prepared: &PreparedUndo<'_>,
    named: Named<'_>,
    env: &CommandEnv<'_>,
) -> Result<(), Failure> {
    let Named { database, label } = named;
    let kept = prepared.keeps_as.as_ref().map_or_else(String::new, |kept| {
        format!(
            "  {} becomes {}\n",
            report::one_line(database),
            report::one_line(kept)
        )
    });
    let text = format!(
        "This swaps names of {label} at {}:\n  {} becomes {}\n{kept}",
        prepared.server,
        report::one_line(&prepared.brings_back),
        report::one_line(database)
    );
    match confirm::ask(&text, named, env.interrupt).await? {
        Confirmation::Given => Ok(()),
        Confirmation::Refused => Err(confirm::refused(database)),
        Confirmation::NoTerminal => Err(Failure::new(
            FailureKind::Usage,
            format!("{text}there is no terminal for the question: give --yes to go on"),
        )),
    }
}

/// Tells an undoing that was done; an application that does not start again is a failure still.
fn succeeded(
    document: UndoResult,
    undone: UndoReport,
    env: &CommandEnv<'_>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let start_failed = undone.start_failed.clone();
    if env.json {
        report::json(
            &UndoResult {
                ok: true,
                kept_as: undone.kept_as,
                sessions_ended: Some(undone.sessions_ended),
                seconds: Some(undone.took.as_secs_f64()),
                start_error: undone.start_failed,
                ..document
            },
            out,
        )?;
    } else {
        writeln!(
            out,
            "{}: {} has its name back{}, in {}",
            document.label,
            report::one_line(&undone.brought_back),
            undone.kept_as.map_or_else(String::new, |kept| format!(
                ", the restored one is called {}",
                report::one_line(&kept)
            )),
            report::duration(undone.took)
        )?;
        if let Some(path) = &document.incident {
            let path = report::one_line(path);
            writeln!(out, "  incident report, for you to complete: {path}")?;
        }
    }
    out.flush()?;
    match start_failed {
        None => Ok(()),
        Some(failed) => Err(Failure::new(
            FailureKind::Unavailable,
            format!(
                "the names are swapped back, but the application could not be started: {failed}"
            ),
        )),
    }
}

/// Tells an undoing that failed.
fn failed(
    mut document: UndoResult,
    mut failure: Failure,
    env: &CommandEnv<'_>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let path = document.incident.clone().map(PathBuf::from);
    if env.json {
        document.error = Some(failure.message.clone());
        report::json(&document, out)?;
        out.flush()?;
    }
    failure.message.push_str(&incident::in_a_failure(path));
    Err(failure)
}

/// A database whose restore may be undone, its server, and its directory.
struct Known<'a> {
    server: &'a Server,
    database: String,
    repository: Repository,
}

/// Finds the databases of these servers; and what could not be looked at, with its server.
fn known_on<'a>(
    context: &JobContext,
    plan: &Plan,
    servers: &[&'a Server],
    env: &CommandEnv<'_>,
) -> (Vec<Known<'a>>, Vec<(&'a Server, Failure)>) {
    let to_failure = |error: JobError| report::failure(&error, env.interrupt);
    let (mut known, mut unseen) = (Vec::new(), Vec::new());
    for server in servers.iter().copied() {
        match backup_directories_on(context, plan, server) {
            Ok(BackupDirectories { found, failures }) => {
                known.extend(found.into_iter().map(|backup_directory| Known {
                    server,
                    database: backup_directory.database,
                    repository: backup_directory.repository,
                }));
                unseen.extend(
                    failures
                        .into_iter()
                        .map(|error| (server, to_failure(error))),
                );
            }
            Err(error) => unseen.push((server, to_failure(error))),
        }
    }
    (known, unseen)
}

/// The database that is meant.
fn which<'a>(
    context: &JobContext,
    plan: &'a Plan,
    args: &Args,
    env: &CommandEnv<'_>,
) -> Result<Known<'a>, Failure> {
    let usage = |message: String| Failure::new(FailureKind::Usage, message);
    let is_asked = |server: &&Server| args.server.as_ref().is_none_or(|name| server.name == *name);
    let servers: Vec<&Server> = plan.servers.iter().filter(is_asked).collect();
    let (mut known, mut unseen) = known_on(context, plan, &servers, env);
    let (server, name) = match args.database.as_deref() {
        None => (None, None),
        Some(text) => {
            let (server, name) =
                select::split(&servers, text, |server, name| has(&known, server, name))
                    .map_err(usage)?;
            (server, Some(name))
        }
    };
    let servers: Vec<&Server> = match server {
        Some(server) => vec![server],
        None => servers,
    };
    unseen.retain(|(one, _)| servers.iter().any(|server| server.name == one.name));
    if !unseen.is_empty() {
        let unseen: Vec<Failure> = unseen.into_iter().map(|(_, failure)| failure).collect();
        return Err(select::refused(&unseen, "nothing was undone"));
    }
    known.retain(|one| {
        servers.iter().any(|server| server.name == one.server.name)
            && name.is_none_or(|name| one.database == name)
    });
    if let Some(name) = name {
        // What was restored need not be what is backed up.
        for server in &servers {
            let repository = Repository::at(server.directory_for(name));
            let is_new = !has(&known, server, name);
            if is_new && (servers.len() == 1 || repository.restore_ledger().path().exists()) {
                known.push(Known {
                    server,
                    database: name.to_owned(),
                    repository,
                });
            }
        }
    }
    if known.len() == 1 {
        let mut known = known.remove(0);
        let own = OwnDirectory {
            path: known.repository.directory().to_owned(),
            is_configured: is_configured(known.server),
        };
        known.repository = records(&known.database, own, None, &plan.daemon);
        return Ok(known);
    }
    let names: Vec<String> = known
        .iter()
        .map(|one| format!("{:?}", plan.label(&one.server.name, &one.database)))
        .collect();
    Err(usage(format!(
        "name one with --database{}{}",
        if names.is_empty() { "" } else { ": " },
        names.join(" or ")
    )))
}

fn has(known: &[Known<'_>], server: &Server, name: &str) -> bool {
    known
        .iter()
        .any(|one| one.server.name == server.name && one.database == name)
}
