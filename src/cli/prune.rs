//! `pgbackupd prune`: remove what retention no longer keeps, or say what that would be.

mod copies;

use std::io::Write;

use schemars::JsonSchema;
use serde::Serialize;

use super::env::CommandEnv;
use super::failure::Failure;
use super::from::FromArgs;
use super::session::Session;
use super::several::Turns;
use super::wrap::item;
use super::{report, select};
use crate::jobs::{BackupDirectory, PruneMode, PruneReport, Run, prune};
use crate::policy::{ClockTrust, Reason};

/// The end of its help.
const EXAMPLES: &str = "\
Examples:
  pgbackupd prune --dry-run
      Show what retention would remove, and why
  pgbackupd prune --from offsite --dry-run
      The same for the copies of this host at a destination
  pgbackupd prune --from offsite --host db0 --signer $SIGNER --keep '90 days' --keep-monthly 12
      Remove old copies of a host that is gone, after its name was typed";

/// Remove expired backups.
///
/// Every successful backup does the same for its own series. Pinned backups and the newest verified
/// backups of each series (retention.floor) are never removed.
///
/// With --from, the same for copies at a destination: of this host by the configured rules, as every copy run does; of
/// a host that is gone, with --host, by rules that are given here.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = EXAMPLES, mut_arg("any_signer", |arg| arg.hide(true)), mut_arg("as_of", |arg| arg.hide(true)))]
pub(super) struct Args {
    /// Remove nothing; print for every backup whether it would be kept, and why
    #[arg(long)]
    dry_run: bool,
    /// Trust the clock even if it looks wrong
    #[arg(long)]
    trust_clock: bool,
    /// Only this database, as NAME or SERVER/NAME; can be repeated
    #[arg(long = "database", short, value_name = "NAME", value_parser = select::database_name)]
    databases: Vec<String>,
    #[command(flatten)]
    from: FromArgs,
    #[command(flatten)]
    rules: copies::RuleArgs,
}

impl Args {
    /// Whether root leaves it to the service's user: what it changes in the state directory has to be that user's.
    pub(super) fn is_the_service_users(&self) -> bool {
        self.from.from.is_some()
    }
}

/// What `prune --json` prints for each database, in a list.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct PrunedDatabase {
    /// The server's name in the configuration; null for a directory that is not configured.
    pub server: Option<String>,
    /// The database.
    pub database: String,
    /// Whether nothing was removed, only said.
    pub dry_run: bool,
    /// Every backup, series by series, newest first.
    pub backups: Vec<PrunedBackup>,
    /// Why nothing was removed from a series although its rules would: the clock looks wrong.
    pub clock_doubts: Vec<String>,
    /// Bytes that this freed, or would free.
    pub freed_bytes: u64,
}

/// What becomes of one backup.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct PrunedBackup {
    /// Its name.
    pub name: String,
    /// Its series.
    pub series: String,
    /// Whether it stays.
    pub keep: bool,
    /// Every reason, in words.
    pub reasons: Vec<String>,
}

pub(super) async fn run(
    args: &Args,
    env: &CommandEnv<'_>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    if args.from.from.is_some() {
        return Box::pin(copies::run(args, env, out)).await;
    }
    let session = Session::new(env, env.load()?);
    let mode = PruneMode {
        dry_run: args.dry_run,
        trust: if args.trust_clock {
            ClockTrust::Always
        } else {
            ClockTrust::IfPlausible
        },
    };
    let directories = session.directories(&args.databases)?;
    let mut directories = directories.all_seen("nothing was removed")?;
    // One that cannot be looked at is no missing one.
    directories.retain(|one| !matches!(one.repository.directory().try_exists(), Ok(false)));
    let mut turns = Turns::new(&session, Vec::new(), out);
    let turn = async |turns: &mut Turns<'_, PrunedDatabase>, one: &BackupDirectory| {
        match prune(&Run::alone(&session.context), one, mode) {
            Ok(report) => {
                let result = pruned_database(one, args.dry_run, &report);
                turns.add(result, |result, out| print(result, &one.label, out))?;
            }
            Err(error) => turns.fail(&error),
        }
        Ok(())
    };
    turns.each(&directories, |one| &one.label, turn).await?;
    turns.conclude()
}

fn pruned_database(
    backup_directory: &BackupDirectory,
    dry_run: bool,
    report: &PruneReport,
) -> PrunedDatabase {
    let mut backups = Vec::new();
    let mut clock_doubts = Vec::new();
    for series in &report.series {
        for (stem, keep, reasons) in &series.verdicts {
            backups.push(PrunedBackup {
                name: stem.to_string(),
                series: series.series.to_string(),
                keep: *keep,
                reasons: reasons.iter().map(Reason::to_string).collect(),
            });
        }
        if let Some(doubt) = &series.clock_doubt {
            clock_doubts.push(format!("series {}: {doubt}", series.series));
        }
    }
    PrunedDatabase {
        server: backup_directory.server.clone(),
        database: backup_directory.database.clone(),
        dry_run,
        backups,
        clock_doubts,
        freed_bytes: report.freed,
    }
}

fn print(database: &PrunedDatabase, label: &str, out: &mut dyn Write) -> Result<(), Failure> {
    for doubt in &database.clock_doubts {
        tracing::warn!("{doubt}");
    }
    let removed = database
        .backups
        .iter()
        .filter(|backup| !backup.keep)
        .count() as u64;
    writeln!(
        out,
        "database {}: {} {}, {}",
        report::one_line(label),
        report::counted(removed, "backup", "backups"),
        if database.dry_run {
            "would be removed"
        } else {
            "removed"
        },
        report::size(database.freed_bytes),
    )?;
    for backup in &database.backups {
        let word = match (backup.keep, database.dry_run) {
            (true, true) => "keep",
            // What stays is only of interest to whoever asked what would go.
            (true, false) => continue,
            (false, true) => "remove",
            (false, false) => "removed",
        };
        let reasons = backup.reasons.join("; ");
        item(out, "  ", &format!("{word} {}: {reasons}", backup.name))?;
    }
    Ok(())
}
