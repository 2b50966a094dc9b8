//! `pgbackupd restore --swap`: put a salvaged database in the place of the one that serves.

use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::super::confirm::{self, Named};
use super::super::env::CommandEnv;
use super::super::failure::{Failure, FailureKind};
use super::super::session::Session;
use super::super::{incident, report};
use super::Args;
use super::known::{Known, which};
use crate::config::{Loaded, Runs};
use crate::display::{command, size};
use crate::jobs::{PreparedSwap, Run, SwapRequest, prepare_swap, swap_salvaged};

/// What `restore --swap --json` prints.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct SwapResult {
    /// The server's name in the configuration.
    pub server_name: String,
    /// The database.
    pub database: String,
    /// The salvaged database that has its name now.
    pub swapped_in: String,
    /// The backup that was salvaged.
    pub backup: String,
    /// What the database is called now that was replaced; null if there was none.
    pub kept_as: Option<String>,
    /// Sessions that were ended for the swap of names.
    pub sessions_ended: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Why the application could not be started again.
    pub start_error: Option<String>,
}

pub(super) async fn run(
    args: &Args,
    from: &str,
    env: &CommandEnv<'_>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let session = Session::new(env, load(args, env)?);
    let Known {
        server,
        database,
        repository,
    } = {
        let (name, on) = (args.database.as_deref(), args.server.as_deref());
        which(name, on, &session, "nothing was swapped")?
    };
    let request = SwapRequest {
        connection: &server.connection,
        database: &database,
        from,
        repository: &repository,
        settings: &session.plan().restore,
    };
    let prepared = prepare_swap(&session.context, request).await;
    let prepared = prepared.map_err(|error| session.failure(&error))?;
    let label = report::one_line(&session.plan().label(&server.name, &database));
    let named = Named {
        database: &database,
        label: &label,
    };
    if !args.yes {
        ask(&prepared, from, named, env).await?;
    }
    let backup = prepared.backup.clone();
    let run = session.begin();
    let swapping = async |run: &Run<'_>| swap_salvaged(run, prepared).await;
    let swapped = Box::pin(session.part(&run, &label, swapping)).await;
    let path = incident::write(
        &session.context,
        &repository,
        run.id,
        swapped.as_ref().err(),
    );
    let swapped = match swapped {
        Ok(swapped) => swapped,
        Err(error) => {
            let (failure, none) = (session.failure(&error), None::<&SwapResult>);
            return Err(incident::failed(failure, path.as_deref(), none, out));
        }
    };
    let swapped = Swapped {
        document: SwapResult {
            server_name: server.name.clone(),
            database,
            swapped_in: from.to_owned(),
            backup,
            kept_as: swapped.kept_as,
            sessions_ended: swapped.sessions_ended,
            seconds: swapped.took.as_secs_f64(),
            start_error: swapped.start_failed,
        },
        label,
        incident: path,
    };
    swapped.report(env.json, out)
}

/// The configuration, which a named database can do without.
fn load(args: &Args, env: &CommandEnv<'_>) -> Result<Loaded, Failure> {
    match &args.database {
        Some(_) => env.load_to_replace(),
        None => env.load_to_run(Runs::ProgramsAndApplication),
    }
}

/// A swap that was done.
struct Swapped {
    document: SwapResult,
    /// The database as lines of text name it.
    label: String,
    incident: Option<PathBuf>,
}

impl Swapped {
    /// Reports it; an application that does not start again is a failure still.
    fn report(&self, json: bool, out: &mut dyn Write) -> Result<(), Failure> {
        let label = &self.label;
        if json {
            report::json(&self.document, out)?;
        } else {
            print_swapped(&self.document, label, out)?;
            incident::print(self.incident.as_deref(), out)?;
        }
        out.flush()?;
        match &self.document.start_error {
            None => Ok(()),
            Some(failed) => Err(Failure::new(
                FailureKind::Unavailable,
                format!(
                    "{label} is swapped in, but the application could not be started: {failed}"
                ),
            )),
        }
    }
}

/// Prints a swap that was done.
fn print_swapped(swapped: &SwapResult, label: &str, out: &mut dyn Write) -> Result<(), Failure> {
    writeln!(
        out,
        "{label}: {} is swapped in, in {}",
        report::one_line(&swapped.swapped_in),
        report::duration(Duration::from_secs_f64(swapped.seconds))
    )?;
    if let Some(kept) = &swapped.kept_as {
        writeln!(
            out,
            "  the old database is kept as {}; `{}` swaps it back",
            report::one_line(kept),
            command("undo-restore", label, "")
        )?;
    }
    Ok(())
}

/// Asks for the database's name.
async fn ask(
    prepared: &PreparedSwap<'_>,
    from: &str,
    named: Named<'_>,
    env: &CommandEnv<'_>,
) -> Result<(), Failure> {
    let text = question(prepared, from, named);
    let unasked = Failure::new(
        FailureKind::Usage,
        format!("{text}there is no terminal for the question: give --yes to go on"),
    );
    confirm::confirm(&text, named, env.interrupt, unasked).await
}

/// What is printed before the question.
fn question(prepared: &PreparedSwap<'_>, from: &str, named: Named<'_>) -> String {
    let (database, from) = (report::one_line(named.database), report::one_line(from));
    let mut text = format!(
        "This puts what was salvaged from {} in the place of {} at {}:\n",
        report::one_line(&prepared.backup),
        named.label,
        prepared.server
    );
    if let (Some(standing), Some(kept)) = (&prepared.standing, &prepared.keeps_as) {
        let bytes = standing.size_bytes.map(size);
        let bytes = bytes.map_or_else(String::new, |bytes| format!(" ({bytes})"));
        let kept = report::one_line(kept);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {database}{bytes} becomes {kept}");
    }
    let _ = writeln!(text, "  {from} becomes {database}");
    if !prepared.is_of_database {
        let _ = writeln!(
            text,
            "  the dump file does not name its database: make sure that it is of {database}"
        );
    }
    text
}
