//! `pgbackupd undo-restore`: swap back the database that a restore replaced.

use std::io::Write;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use super::Surroundings;
use super::confirm::{self, Confirmation};
use super::failure::{Failure, FailureKind};
use super::progress::Display;
use super::report;
use crate::config::{Plan, Server};
use crate::jobs::{Context, places_on, prepare_undo, undo};
use crate::pipeline::Progress;
use crate::repository::Repository;

/// Swap back the database that a restore replaced.
///
/// The newest database that a restore has kept gets its name back, in one transaction; the restored
/// one is kept under another name. Nothing is dropped.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// The database [default: the only one configured]
    #[arg(long, short, value_name = "NAME")]
    database: Option<String>,
    /// The server it is on, by its name in the configuration
    #[arg(long, value_name = "NAME")]
    server: Option<String>,
    /// Ask nothing
    #[arg(long, short)]
    yes: bool,
}

/// What `undo-restore --json` prints after a success.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct UndoResult {
    /// The database.
    pub database: String,
    /// What it was called since the restore.
    pub brought_back: String,
    /// What the restored database is called now; null if there was none.
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
    surroundings: &Surroundings<'_>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let loaded = surroundings.load()?;
    let context = surroundings.context(&loaded);
    let told = |error| report::failure(&error, surroundings.interrupt);
    let (server, database, repository) = which(&context, &loaded.plan, args, surroundings)?;
    let prepared = prepare_undo(&context, &server.connection, &database, &repository)
        .await
        .map_err(told)?;
    if !args.yes {
        let text = format!(
            "This swaps names at {}:\n  {} becomes {}\n{}",
            prepared.server,
            report::one_line(&prepared.brings_back),
            report::one_line(&database),
            match &prepared.keeps_as {
                Some(kept) => format!(
                    "  {} becomes {}\n",
                    report::one_line(&database),
                    report::one_line(kept)
                ),
                None => String::new(),
            }
        );
        match confirm::ask(&text, &database, surroundings.interrupt).await? {
            Confirmation::Given => {}
            Confirmation::Refused => return Err(confirm::refused(&database)),
            Confirmation::NoTerminal => {
                return Err(Failure::new(
                    FailureKind::Usage,
                    format!("{text}there is no terminal to ask at: say --yes to go on"),
                ));
            }
        }
    }
    let progress = Arc::new(Progress::default());
    let display = Display::start(&report::one_line(&database), &progress, surroundings.json);
    let say = |step: &str| display.note(step);
    let undone = undo(
        &context,
        Uuid::now_v7(),
        prepared,
        &loaded.plan.restore,
        &say,
    )
    .await;
    drop(display);
    let undone = undone.map_err(told)?;
    let start_failed = undone.start_failed.clone();
    if surroundings.json {
        report::json(
            &UndoResult {
                database: undone.database,
                brought_back: undone.brought_back,
                kept_as: undone.kept_as,
                sessions_ended: undone.sessions_ended,
                seconds: undone.took.as_secs_f64(),
                start_error: undone.start_failed,
            },
            out,
        )?;
    } else {
        writeln!(
            out,
            "{}: {} bears its name again{}, in {}",
            report::one_line(&undone.database),
            report::one_line(&undone.brought_back),
            undone.kept_as.map_or_else(String::new, |kept| format!(
                ", the restored one is called {}",
                report::one_line(&kept)
            )),
            report::duration(undone.took)
        )?;
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

/// The database that is meant, its server, and its directory.
fn which<'a>(
    context: &Context,
    plan: &'a Plan,
    args: &Args,
    surroundings: &Surroundings<'_>,
) -> Result<(&'a Server, String, Repository), Failure> {
    let told = |error| report::failure(&error, surroundings.interrupt);
    let servers = plan
        .servers
        .iter()
        .filter(|server| args.server.as_ref().is_none_or(|name| server.name == *name));
    let mut known = Vec::new();
    for server in servers.clone() {
        for place in places_on(context, server).map_err(told)? {
            if args
                .database
                .as_ref()
                .is_none_or(|name| place.database == *name)
            {
                known.push((server, place.database, place.repository));
            }
        }
    }
    let servers: Vec<&Server> = servers.collect();
    match (known.len(), &args.database, servers.as_slice()) {
        (1, ..) => Ok(known.remove(0)),
        // What was restored need not be what is backed up.
        (0, Some(name), [server]) => {
            let repository = Repository::at(server.directory_for(name));
            Ok((server, name.clone(), repository))
        }
        _ => {
            let names: Vec<String> = known
                .iter()
                .map(|(server, database, _)| format!("{database:?} on {}", server.name))
                .collect();
            Err(Failure::new(
                FailureKind::Usage,
                format!(
                    "--database (and --server) must say which one is meant{}{}",
                    if names.is_empty() { "" } else { ": " },
                    names.join(", ")
                ),
            ))
        }
    }
}
