//! `pgbackupd copy`: copy to the destinations what they lack.

use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

use super::env::CommandEnv;
use super::failure::{Failure, FailureKind};
use super::session::Session;
use super::several::Turns;
use super::wrap::item;
use super::{report, select};
use crate::config::Destination;
use crate::jobs::{BackupDirectory, CopyReport, CopyRequest, copy};
use crate::policy::CopyState;

/// The end of its help.
const EXAMPLES: &str = "\
Examples:
  pgbackupd copy
      Copy the backups of all databases to all destinations
  pgbackupd copy --to offsite --database shop
      Only those of one database, to one destination";

/// Copy backups to the destinations that lack them.
///
/// The newest is copied first. Each copy is read back at the destination before it counts. What was sent
/// before an interruption is not sent again. Then retention removes the copies that the rules no longer keep.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    /// Only to this destination; can be repeated
    #[arg(long, value_name = "NAME")]
    to: Vec<String>,
    /// Only this database, as NAME or SERVER/NAME; can be repeated
    #[arg(long = "database", short, value_name = "NAME", value_parser = select::database_name)]
    databases: Vec<String>,
}

/// What `copy --json` prints for each database and destination, in a list.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct CopiedDatabase {
    /// The server's name in the configuration; null for a directory that is not configured.
    pub server: Option<String>,
    /// The database.
    pub database: String,
    /// The destination.
    pub destination: String,
    /// The copies that were made, the newest backup first.
    pub copies: Vec<MadeCopy>,
    /// Backups that were not copied.
    pub failed: Vec<FailedCopy>,
    /// Why nothing more could be copied; null where all went well.
    pub error: Option<String>,
    /// Copies that retention removed.
    pub removed: Vec<RemovedCopy>,
    /// Copies that were pinned there or no longer are, as their backups were here before.
    pub pins: Vec<CopyPinned>,
}

/// A copy that was pinned, or unpinned.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct CopyPinned {
    /// The backup.
    pub backup: String,
    /// Whether it is pinned now.
    pub pinned: bool,
}

/// A copy that was made.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct MadeCopy {
    /// The backup.
    pub backup: String,
    /// Bytes of the copy.
    pub bytes: u64,
    /// How far it is proved.
    pub state: CopyState,
}

/// A backup that was not copied.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct FailedCopy {
    /// The backup.
    pub backup: String,
    /// Why.
    pub message: String,
}

/// A copy that retention removed.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct RemovedCopy {
    /// The backup.
    pub backup: String,
    /// Why, in words.
    pub reasons: Vec<String>,
}

pub(super) async fn run(
    args: &Args,
    env: &CommandEnv<'_>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let session = Session::new(env, env.load()?);
    refuse_for_another_user(&session.context.state_directory)?;
    let destinations = destinations(&session, &args.to)?;
    let directories = session.directories(&args.databases)?;
    let mut turns = Turns::new(&session, directories.unseen, out);
    let mut pairs = Vec::new();
    for directory in directories.found {
        // What was never backed up has nothing to copy.
        if matches!(directory.repository.directory().try_exists(), Ok(false)) {
            continue;
        }
        let server = directory.server.clone().unwrap_or_default();
        let wanted = destinations.iter();
        let wanted = wanted.filter(|one| one.takes(&server, &directory.database));
        pairs.extend(wanted.map(|&one| (directory.clone(), one)));
    }
    let turn = async |turns: &mut Turns<'_, CopiedDatabase>,
                      one: &(BackupDirectory, &Destination)| {
        let (directory, destination) = one;
        let session = turns.session;
        let request = match CopyRequest::new(session.plan(), directory, &destination.name) {
            Ok(request) => request,
            Err(error) => {
                turns.fail(&error);
                return Ok(());
            }
        };
        let label = format!("{} to {}", directory.label, destination.name);
        let copied = session.job(&label, async |run| copy(run, request).await);
        match copied.await {
            Ok(report) => {
                let result = copied_database(directory, &report);
                turns.add(result, |_, out| print(&directory.label, &report, out))?;
                turns.failures.extend(failure(&directory.label, &report));
            }
            Err(error) => {
                let result = CopiedDatabase {
                    server: directory.server.clone(),
                    database: directory.database.clone(),
                    destination: destination.name.clone(),
                    copies: Vec::new(),
                    failed: Vec::new(),
                    removed: Vec::new(),
                    pins: Vec::new(),
                    error: Some(error.to_string()),
                };
                turns.add(result, |_, _| Ok(()))?;
                turns.fail(&error);
            }
        }
        Ok(())
    };
    turns.each(&pairs, |(one, _)| &one.label, turn).await?;
    turns.conclude()
}

/// Refuses to copy as root what the service's user copies: it could not go on with what root leaves.
fn refuse_for_another_user(state: &Path) -> Result<(), Failure> {
    let owner = state.metadata().map_or(0, |found| found.uid());
    if owner == 0 || !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let message = format!(
        "nothing is copied as root: {} is another user's, and the service could not use what root leaves there \
         and at the destinations\nhint: leave out --as-me, and the command runs as the service's user",
        state.display()
    );
    Err(Failure::new(FailureKind::Usage, message))
}

/// The destinations that are named, or all.
fn destinations<'a>(
    session: &'a Session<'_>,
    named: &[String],
) -> Result<Vec<&'a Destination>, Failure> {
    let all = &session.plan().destinations;
    if all.is_empty() {
        let message = "no destination is configured\nhint: describe one in the configuration, as \
                       [destinations.NAME] with url = \"s3://BUCKET/PREFIX\", \"az://CONTAINER/PREFIX\", \
                       \"gs://BUCKET/PREFIX\", \"sftp://USER@HOST/PATH\" or \
                       \"file:///PATH\"";
        return Err(Failure::new(FailureKind::Configuration, message));
    }
    if named.is_empty() {
        return Ok(all.iter().collect());
    }
    let find = |name: &String| {
        all.iter().find(|one| one.name == *name).ok_or_else(|| {
            let known: Vec<&str> = all.iter().map(|one| one.name.as_str()).collect();
            let message = format!(
                "no destination {name:?} is configured\nhint: configured are {}",
                known.join(", ")
            );
            Failure::new(FailureKind::Usage, message)
        })
    };
    let named: BTreeSet<&String> = named.iter().collect();
    named.into_iter().map(find).collect()
}

fn copied_database(directory: &BackupDirectory, report: &CopyReport) -> CopiedDatabase {
    CopiedDatabase {
        server: directory.server.clone(),
        database: directory.database.clone(),
        destination: report.destination.clone(),
        copies: report
            .copied
            .iter()
            .map(|copied| MadeCopy {
                backup: copied.stem.to_string(),
                bytes: copied.bytes,
                state: copied.state,
            })
            .collect(),
        failed: report
            .failed
            .iter()
            .map(|(stem, why)| FailedCopy {
                backup: stem.to_string(),
                message: why.clone(),
            })
            .collect(),
        error: None,
        removed: report
            .removed
            .iter()
            .map(|removal| RemovedCopy {
                backup: removal.backup.clone(),
                reasons: removal.reasons.clone(),
            })
            .collect(),
        pins: report
            .pins
            .iter()
            .map(|pin| CopyPinned {
                backup: pin.stem.to_string(),
                pinned: pin.pinned,
            })
            .collect(),
    }
}

fn print(label: &str, report: &CopyReport, out: &mut dyn Write) -> Result<(), Failure> {
    let label = report::one_line(label);
    for warning in &report.warnings {
        tracing::warn!("{label}: {warning}");
    }
    if report.copied.is_empty() && report.failed.is_empty() {
        item(out, "", &format!("{label}: {}", report.sentence()))?;
    }
    for copied in &report.copied {
        writeln!(
            out,
            "{label}: {} is at {}, {}, {}",
            copied.stem,
            report.destination,
            report::size(copied.bytes),
            copied.state.word()
        )?;
    }
    for pin in &report.pins {
        let (stem, name) = (&pin.stem, &report.destination);
        let now = if pin.pinned {
            "pinned"
        } else {
            "no longer pinned"
        };
        writeln!(out, "{label}: {stem} is {now} at {name}")?;
    }
    for removed in &report.removed {
        let text = format!(
            "{label}: removed {} from {}: {}",
            removed.backup,
            report.destination,
            removed.reasons.join("; ")
        );
        item(out, "", &text)?;
    }
    Ok(())
}

/// What failed, as the command's failure.
fn failure(label: &str, report: &CopyReport) -> Option<Failure> {
    let why = report.failure()?;
    let message = format!("{}: {why}", report::one_line(label));
    Some(Failure::new(FailureKind::Damaged, message))
}
