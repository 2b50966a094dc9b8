//! `pgbackupd pin` and `unpin`: keep a backup whatever retention says.

use std::io::Write;

use schemars::JsonSchema;
use serde::Serialize;

use super::env::CommandEnv;
use super::failure::{Failure, FailureKind};
use super::{report, select};
use crate::jobs::{backup_directories, set_pin};

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
    let loaded = env.load()?;
    let context = env.context(&loaded);
    let to_failure = |error| report::failure(&error, env.interrupt);
    let wanted: Vec<String> = args.database.iter().cloned().collect();
    let backup_directories =
        backup_directories(&context, &loaded.plan, &wanted).map_err(to_failure)?;
    let backup_directories = if select::is_path(&args.backup) {
        backup_directories.found
    } else {
        select::all_seen(backup_directories, "nothing was changed", env.interrupt)?
    };
    let (stem, holding) = select::holding(&backup_directories, &args.backup)?;
    let backup_directory = match holding.as_slice() {
        [backup_directory] => backup_directory,
        several => {
            let names: Vec<String> = several
                .iter()
                .map(|backup_directory| format!("{:?}", backup_directory.label))
                .collect();
            return Err(Failure::new(
                FailureKind::Usage,
                format!(
                    "several databases have a backup {stem}: name one with --database \
                     ({})",
                    names.join(" or ")
                ),
            ));
        }
    };
    let changed =
        set_pin(&context, &backup_directory.repository, &stem, pinned).map_err(to_failure)?;
    if env.json {
        let (server, database) = (
            backup_directory.server.clone(),
            backup_directory.database.clone(),
        );
        let backup = stem.to_string();
        return report::json(
            &PinResult {
                server,
                database,
                backup,
                pinned,
                changed,
            },
            out,
        );
    }
    let state = match (pinned, changed) {
        (true, true) => "pinned: retention keeps it until it is unpinned",
        (true, false) => "pinned already",
        (false, true) => "no longer pinned: retention may remove it",
        (false, false) => "not pinned",
    };
    let prefix = report::prefix(&loaded.plan, &backup_directory.label);
    writeln!(out, "{prefix}{stem}: {state}")?;
    Ok(())
}
