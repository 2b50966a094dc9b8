//! `pgbackupd undo-restore`: swap back the database that a restore replaced.

use std::io::Write;
use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

use super::confirm::{self, Named};
use super::env::CommandEnv;
use super::failure::{Failure, FailureKind};
use super::restore::known::{Known, which};
use super::session::Session;
use super::{incident, report, select};
use crate::config::Runs;
use crate::jobs::{PreparedUndo, Run, UndoReport, UndoRequest, prepare_undo, undo};

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
    let session = Session::new(env, loaded);
    let Known {
        server,
        database,
        repository,
    } = {
        let (name, on) = (args.database.as_deref(), args.server.as_deref());
        which(name, on, &session, "nothing was undone")?
    };
    let request = UndoRequest {
        connection: &server.connection,
        database: &database,
        repository: &repository,
        settings: &session.plan().restore,
    };
    let prepared = prepare_undo(&session.context, request).await;
    let label = report::one_line(&session.plan().label(&server.name, &database));
    let mut document = UndoResult {
        label: label.clone(),
        server: server.name.clone(),
        database: database.clone(),
        ..UndoResult::default()
    };
    let prepared = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return Err(failed(document, session.failure(&error), env, out)),
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
    let run = session.begin();
    let undoing = async |run: &Run<'_>| undo(run, prepared).await;
    let undone = session.part(&run, &label, undoing).await;
    let error = undone.as_ref().err();
    let path = incident::write(&session.context, &repository, run.id, error);
    document.incident = path.as_ref().map(|path| path.display().to_string());
    let undone = match undone {
        Ok(undone) => undone,
        Err(error) => return Err(failed(document, session.failure(&error), env, out)),
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
    let unasked = Failure::usage(format!(
        "{text}there is no terminal for the question\nhint: give --yes to go on"
    ));
    confirm::confirm(&text, named, env.interrupt, unasked).await
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
        incident::print(document.incident.as_deref().map(Path::new), out)?;
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

/// Reports an undoing that failed.
fn failed(
    mut document: UndoResult,
    failure: Failure,
    env: &CommandEnv<'_>,
    out: &mut dyn Write,
) -> Failure {
    document.error = Some(failure.message.clone());
    let path = document.incident.as_deref().map(Path::new);
    incident::failed(failure, path, env.json.then_some(&document), out)
}
