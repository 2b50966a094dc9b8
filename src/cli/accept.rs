//! `pgbackupd accept`: take as it is what `status` has a concern about because it was there before.

use std::io::Write;

use clap::ValueEnum;
use schemars::JsonSchema;
use serde::Serialize;

use super::env::CommandEnv;
use super::failure::{Failure, FailureKind};
use super::{report, select};
use crate::jobs::{accept, backup_directories};
use crate::policy::Accepted;

/// The end of its help.
const EXAMPLES: &str = "\
Examples:
  pgbackupd accept contents --database sales
      Accept that sales is empty, or much smaller than before";

/// Accept the loss of data or backups that status reports.
///
/// `status` names the loss and which of these it is. The acceptance is recorded in `backup.log`,
/// and retention may again remove the backups that were kept because of the loss.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    /// What to accept
    #[arg(value_name = "WHAT")]
    what: What,
    /// Database, if there are several
    #[arg(long, short, value_name = "NAME", value_parser = select::database_name)]
    database: Option<String>,
}

/// What can be accepted.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum What {
    /// The database lost its tables or most of its rows
    Contents,
    /// Another server now has this database
    Server,
    /// The newest backup is gone
    Vanished,
    /// The manifest of a backup is lost
    Manifest,
}

/// What `accept --json` prints.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct AcceptResult {
    /// The server's name in the configuration; null for a directory that is not configured.
    pub server: Option<String>,
    /// The database.
    pub database: String,
    /// What was accepted: `contents`, `server`, `vanished` or `manifest`.
    pub accepted: Accepted,
    /// The backups of which: the first one with these contents, or of this server; or those that are
    /// gone or have lost their manifests.
    pub backups: Vec<String>,
}

pub(super) fn run(args: &Args, env: &CommandEnv<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let loaded = env.load()?;
    let context = env.context(&loaded);
    let to_failure = |error| report::failure(&error, env.interrupt);
    let wanted: Vec<String> = args.database.iter().cloned().collect();
    let backup_directories =
        backup_directories(&context, &loaded.plan, &wanted).map_err(to_failure)?;
    let backup_directories =
        select::all_seen(backup_directories, "nothing was accepted", env.interrupt)?;
    let usage = |message: String| Failure::new(FailureKind::Usage, message);
    let [backup_directory] = backup_directories.as_slice() else {
        return Err(select::not_one(
            &backup_directories,
            "name one with --database",
        ));
    };
    let (what, word) = match args.what {
        What::Contents => (Accepted::Contents, "contents"),
        What::Server => (Accepted::Server, "server"),
        What::Vanished => (Accepted::Vanished, "vanished"),
        What::Manifest => (Accepted::Manifest, "manifest"),
    };
    let backups = accept(&context, backup_directory, what).map_err(to_failure)?;
    if backups.is_empty() {
        return Err(usage(format!(
            "database {}: there is nothing to accept as {word}; `pgbackupd status` shows what was lost",
            report::one_line(&backup_directory.label)
        )));
    }
    if env.json {
        let (server, database) = (
            backup_directory.server.clone(),
            backup_directory.database.clone(),
        );
        return report::json(
            &AcceptResult {
                server,
                database,
                accepted: what,
                backups,
            },
            out,
        );
    }
    let meaning = match what {
        Accepted::Contents => "the contents of the database since then",
        Accepted::Server => "the server since then",
        Accepted::Vanished => "that it is gone",
        Accepted::Manifest => "that its manifest is lost",
    };
    for backup in backups {
        writeln!(out, "{backup}: accepted, and on record: {meaning}")?;
    }
    Ok(())
}
