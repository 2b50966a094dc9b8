//! `pgbackupd pin` and `unpin`: keep a backup whatever retention says.

use std::io::Write;

use schemars::JsonSchema;
use serde::Serialize;

use super::env::CommandEnv;
use super::failure::Failure;
use super::session::Session;
use super::{report, select};
use crate::jobs::set_pin;

/// What `pin` and `unpin` are given.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// Backup, by name or file
    #[arg(value_name = "BACKUP")]
    backup: String,
    /// Database of the backup, as NAME or SERVER/NAME, if several have one of this name
    #[arg(long, short, value_name = "NAME", value_parser = select::database_name)]
    database: Option<String>,
}

/// What `pin --json` and `unpin --json` print.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct PinResult {
    /// The server's name in the configuration; null for a directory that is not configured.
    pub server: Option<String>,
    /// The database.
    pub database: String,
    /// The backup.
    pub backup: String,
    /// Whether it is pinned now.
    pub pinned: bool,
    /// Whether that is new.
    pub changed: bool,
}

pub(super) fn run(
    args: &Args,
    pinned: bool,
    env: &CommandEnv<'_>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let session = Session::new(env, env.load()?);
    let backup_directories = session.directories_to_change(args.database.as_ref(), &args.backup)?;
    let (stem, holding) = select::holding(&backup_directories, &args.backup)?;
    let backup_directory = match holding.as_slice() {
        [backup_directory] => backup_directory,
        several => {
            let what = format!("several databases have a backup {stem}");
            return Err(select::several(&what, several.iter().map(|one| &one.label)));
        }
    };
    let changed = set_pin(
        &session.context,
        &backup_directory.repository,
        &stem,
        pinned,
    )
    .map_err(|error| session.failure(&error))?;
    if env.json {
        let result = PinResult {
            server: backup_directory.server.clone(),
            database: backup_directory.database.clone(),
            backup: stem.to_string(),
            pinned,
            changed,
        };
        return report::json(&result, out);
    }
    let state = match (pinned, changed) {
        (true, true) => "pinned: retention keeps it until it is unpinned",
        (true, false) => "pinned already",
        (false, true) => "no longer pinned: retention may remove it",
        (false, false) => "not pinned",
    };
    let prefix = session.prefix(&backup_directory.label);
    writeln!(out, "{prefix}{stem}: {state}")?;
    Ok(())
}
