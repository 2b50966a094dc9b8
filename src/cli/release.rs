//! `pgbackupd release`: give a backup in quarantine its place back.

use std::io::Write;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Serialize;

use super::env::CommandEnv;
use super::failure::Failure;
use super::session::Session;
use super::wrap::item;
use super::{report, select};
use crate::config::Runs;
use crate::jobs::{BackupDirectory, Run, release};
use crate::repository::Quarantined;

/// The end of its help.
const EXAMPLES: &str = "\
Examples:
  pgbackupd release backup_20261122_153034
      Verify a backup in quarantine, and put it back";

/// Take a repaired backup out of quarantine.
///
/// Reads the backup in full first. A backup that is still damaged stays in quarantine, and the exit
/// code is 65. `list` shows what is in quarantine.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    /// Backup, by its name in quarantine or its directory there
    #[arg(value_name = "BACKUP")]
    backup: String,
    /// Database of the backup, as NAME or SERVER/NAME, if several have one of this name
    #[arg(long, short, value_name = "NAME", value_parser = select::database_name)]
    database: Option<String>,
}

/// What `release --json` prints after a success.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct ReleaseResult {
    /// The server's name in the configuration; null for a directory that is not configured.
    pub server: Option<String>,
    /// The database.
    pub database: String,
    /// The backup.
    pub backup: String,
}

/// A backup in quarantine.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct QuarantinedBackup {
    /// Its name there.
    pub name: String,
    /// Where its files are.
    pub directory: PathBuf,
    /// When its run started, RFC 3339.
    pub started: Option<String>,
    /// Bytes of all its files but the manifest, as they were written.
    pub bytes: Option<u64>,
    /// When it was found damaged, RFC 3339.
    pub found: Option<String>,
    /// What is wrong with it.
    pub damage: Option<String>,
}

/// A backup in quarantine, for programs.
pub(super) fn quarantined(one: Quarantined) -> QuarantinedBackup {
    let check = one.state.checked;
    QuarantinedBackup {
        name: one.name,
        directory: one.directory,
        started: one.started.map(|started| started.to_rfc3339()),
        bytes: one.bytes,
        found: check.as_ref().map(|check| check.at.to_rfc3339()),
        damage: check.and_then(|check| check.damage),
    }
}

impl QuarantinedBackup {
    /// Prints it in a line.
    pub(super) fn print(&self, prefix: &str, out: &mut dyn Write) -> Result<(), Failure> {
        let damage = self.damage.as_deref().unwrap_or("its state is lost");
        let text = format!("{prefix}{} is in quarantine: {damage}", self.name);
        item(out, "", &text)?;
        Ok(())
    }
}

pub(super) async fn run(
    args: &Args,
    env: &CommandEnv<'_>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let session = Session::new(env, env.load_to_run(Runs::Programs)?);
    let (backup_directory, quarantined) = find(args, &session)?;
    let job = async |run: &Run<'_>| release(run, &backup_directory, &quarantined).await;
    let released = session.job(&backup_directory.label, job).await;
    released.map_err(|error| session.failure(&error))?;
    let backup = quarantined.stem.to_string();
    if env.json {
        let result = ReleaseResult {
            server: backup_directory.server,
            database: backup_directory.database,
            backup,
        };
        return report::json(&result, out);
    }
    let prefix = session.prefix(&backup_directory.label);
    writeln!(
        out,
        "{prefix}{backup}: intact, and moved back out of quarantine"
    )?;
    Ok(())
}

/// The one backup in quarantine that is meant, and where that is.
fn find(args: &Args, session: &Session<'_>) -> Result<(BackupDirectory, Quarantined), Failure> {
    let backup_directories = session.directories_to_change(args.database.as_ref(), &args.backup)?;
    let mut found: Vec<(BackupDirectory, Quarantined)> = Vec::new();
    for backup_directory in backup_directories {
        let there = backup_directory.repository.quarantined();
        let there = there.map_err(|error| session.failure(&error.into()))?;
        let meant = there.into_iter().filter(|one| is_meant(one, &args.backup));
        found.extend(meant.map(|one| (backup_directory.clone(), one)));
    }
    match found.as_slice() {
        [_] => Ok(found.remove(0)),
        [] => Err(Failure::usage(format!(
            "there is no backup {:?} in quarantine\nhint: `pgbackupd list` shows the backups",
            args.backup
        ))),
        several => {
            let what = format!(
                "several databases have a backup {} in quarantine",
                args.backup
            );
            let labels = several.iter().map(|(one, _)| &one.label);
            Err(select::several(&what, labels))
        }
    }
}

/// Whether this is what the operator named: by its name, its directory, or a file in that.
fn is_meant(one: &Quarantined, text: &str) -> bool {
    let path = Path::new(text);
    let is_there = |path: &Path| path.canonicalize().ok() == one.directory.canonicalize().ok();
    one.name == text
        || path.components().count() > 1 && (is_there(path) || path.parent().is_some_and(is_there))
}
