//! `pgbackupd verify`: read backups back in full and say whether they are whole.

mod copies;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use super::env::CommandEnv;
use super::failure::{Failure, FailureKind};
use super::from::{FromArgs, IdentityArgs};
use super::length_of_time::length_of_time;
use super::release::{QuarantinedBackup, quarantined};
use super::session::{Directories, Session};
use super::several::Turns;
use super::wrap::item;
use super::{report, select};
use crate::config::Runs;
use crate::jobs::{BackupDirectory, Run, Selection, VerifyReport, VerifyRequest, verify};
use crate::repository::Problem;

/// The end of its help.
const EXAMPLES: &str = "\
Examples:
  pgbackupd verify --all
      Verify every backup
  pgbackupd verify /mnt/copies/sales
      Verify all backups in a directory, on any machine
  pgbackupd verify --from offsite --identity key.txt
      Download the newest copies, open them and compare them";

/// Read backups back in full, and compare them with their manifests.
///
/// Reads and decodes each backup to its end; its digests and its census must be those of the
/// manifest. Of an encrypted backup, only the digests are compared without --identity. By default, verifies the newest backup of each series. The exit code is 65 if a backup
/// is damaged. It is then marked as damaged and stays in place, unless you give --quarantine, as
/// the service's job does. With --from, downloads copies as a whole and compares every volume with the signed
/// manifest; with --identity, what is in them with the backup's own manifest as well. Nothing is written there; what
/// was found out about the own copies is noted for `status`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    /// Backups to verify, by name or file; a directory means all backups in it
    #[arg(value_name = "BACKUP")]
    backups: Vec<String>,
    /// Verify every backup
    #[arg(long, conflicts_with_all = ["backups", "latest"])]
    all: bool,
    /// Verify the newest backup of each series (the default)
    #[arg(long, conflicts_with = "backups")]
    latest: bool,
    /// Verify backups that were last verified at least this long ago, such as "6 days"
    #[arg(
        long,
        value_name = "TIME",
        value_parser = length_of_time,
        conflicts_with_all = ["backups", "latest", "from"]
    )]
    older_than: Option<Duration>,
    /// Start no further backup of a database after this time; the rest comes first in the next such
    /// run
    #[arg(
        long,
        value_name = "TIME",
        value_parser = length_of_time,
        conflicts_with_all = ["backups", "latest", "from"]
    )]
    budget: Option<Duration>,
    /// Move damaged backups into the directory quarantine next to them
    #[arg(long, conflicts_with = "from")]
    quarantine: bool,
    /// Only this database, as NAME or SERVER/NAME; can be repeated
    #[arg(long = "database", short, value_name = "NAME", value_parser = select::database_name)]
    databases: Vec<String>,
    #[command(flatten)]
    from: FromArgs,
    #[command(flatten)]
    identity: IdentityArgs,
}

/// What `verify --json` prints for each database, in a list.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct VerifiedDatabase {
    /// The server's name in the configuration; null for a directory that is not configured.
    pub server: Option<String>,
    /// The database.
    pub database: String,
    /// The backups that were looked at, in the order of looking: newest first, after what earlier
    /// runs have left.
    pub backups: Vec<VerifiedBackup>,
    /// Backups that were due and not reached within the budget.
    pub left: u64,
    /// Backups that were in quarantine already.
    pub quarantined: Vec<QuarantinedBackup>,
    /// Dumps under a backup's name that there is no manifest for, each with what is wrong.
    pub problems: Vec<VerifiedProblem>,
}

/// One backup that was looked at.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct VerifiedBackup {
    /// Its name.
    pub name: String,
    /// `whole`, `damaged`, or `unchecked` where the check itself was not possible.
    pub outcome: &'static str,
    /// What is wrong, or why it could not be checked.
    pub message: Option<String>,
    /// Rows in it.
    pub rows: Option<u64>,
    /// The directory that it was put aside into.
    pub quarantine: Option<PathBuf>,
    /// That its state was lost, and what was done about it.
    pub remark: Option<String>,
}

/// A dump under a backup's name that there is no manifest for.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct VerifiedProblem {
    /// The file's name.
    pub file: String,
    /// What is wrong.
    pub what: String,
}

pub(super) async fn run(
    args: &Args,
    env: &CommandEnv<'_>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    if args.from.from.is_some() {
        return copies::run(args, env, out).await;
    }
    // Where they are is known, then.
    let are_paths =
        !args.backups.is_empty() && args.backups.iter().all(|text| select::is_path(text));
    let loaded = if are_paths {
        env.load_for_path()?
    } else {
        env.load_to_run(Runs::Programs)?
    };
    let mut session = Session::new(env, loaded);
    session.context.opener = args.identity.opener(env.interrupt).await?;
    let session = session;
    let Directories { found, unseen } = session.directories_or_paths(&args.databases, are_paths)?;
    let chosen = choose_selections(args, found, &unseen)?;
    let mut turns = Turns::new(&session, unseen, out);
    let turn = async |turns: &mut Turns<'_, VerifiedDatabase>, chosen: &Chosen| {
        verify_in(args, turns, chosen).await
    };
    turns.each(&chosen, |(one, _)| &one.label, turn).await?;
    turns.conclude()
}

/// Backups to verify, and where they are.
type Chosen = (BackupDirectory, Selection);

async fn verify_in(
    args: &Args,
    turns: &mut Turns<'_, VerifiedDatabase>,
    (backup_directory, selection): &Chosen,
) -> Result<(), Failure> {
    // Whoever names a database expects that it has backups.
    let is_named = (!args.databases.is_empty() || !args.backups.is_empty())
        && args.older_than.is_none()
        && args.budget.is_none();
    let request = VerifyRequest {
        backup_directory,
        selection,
        budget: args.budget,
        quarantine: args.quarantine,
    };
    let session = turns.session;
    let job = async |run: &Run<'_>| (run.id, verify(run, request).await);
    match session.job(&backup_directory.label, job).await {
        (run, Ok(report)) => {
            alarm(run, &backup_directory.database, &report);
            turns
                .failures
                .extend(failure(&backup_directory.label, &report));
            if is_named && report.is_empty() {
                turns.failures.push(nothing_in(backup_directory));
            }
            let prefix = session.prefix(&backup_directory.label);
            let result = verified_database(backup_directory, report);
            turns.add(result, |result, out| {
                if result.backups.is_empty() && result.problems.is_empty() {
                    let label = report::one_line(&backup_directory.label);
                    writeln!(out, "database {label}: no backup to check")?;
                }
                print(result, &prefix, out)
            })
        }
        (_, Err(error)) => {
            turns.fail(&error);
            Ok(())
        }
    }
}

/// That there was nothing to check where backups were expected.
fn nothing_in(backup_directory: &BackupDirectory) -> Failure {
    Failure::new(
        FailureKind::Unavailable,
        format!(
            "database {}: there is no backup to check in {}",
            report::one_line(&backup_directory.label),
            report::one_line(
                &backup_directory
                    .repository
                    .directory()
                    .display()
                    .to_string()
            )
        ),
    )
}

fn choose_selections(
    args: &Args,
    backup_directories: Vec<BackupDirectory>,
    unseen: &[Failure],
) -> Result<Vec<Chosen>, Failure> {
    if args.backups.is_empty() {
        let selection = if args.older_than.is_some() || args.budget.is_some() {
            Selection::Due(args.older_than.unwrap_or_default())
        } else if args.all {
            Selection::All
        } else {
            Selection::Latest
        };
        return Ok(backup_directories
            .into_iter()
            .map(|backup_directory| (backup_directory, selection.clone()))
            .collect());
    }
    let mut chosen: Vec<Chosen> = Vec::new();
    for text in &args.backups {
        if let Some(backup_directory) = select::directory(&backup_directories, text) {
            chosen.push((backup_directory, Selection::All));
            continue;
        }
        let (stem, holding) =
            select::holding(&backup_directories, text).map_err(select::unless(unseen))?;
        for backup_directory in holding {
            let same = |other: &&mut Chosen| {
                other.0.repository.directory() == backup_directory.repository.directory()
            };
            match chosen.iter_mut().find(same) {
                Some((_, Selection::Named(stems))) => stems.push(stem.clone()),
                _ => chosen.push((backup_directory, Selection::Named(vec![stem.clone()]))),
            }
        }
    }
    Ok(chosen)
}

fn alarm(run: Uuid, database: &str, report: &VerifyReport) {
    for finding in &report.findings {
        if let Some(alarm) = finding.alarm() {
            report::alarm(
                run,
                database,
                &finding.stem,
                finding.quarantine.as_deref(),
                &alarm,
            );
        }
    }
}

fn failure(label: &str, report: &VerifyReport) -> Option<Failure> {
    let database = report::one_line(label);
    if report.damaged() > 0 {
        let damaged = report::counted(report.damaged() as u64, "backup is", "backups are");
        return Some(Failure::new(
            FailureKind::Damaged,
            format!("database {database}: {damaged} damaged"),
        ));
    }
    if report.lost() > 0 {
        return Some(Failure::new(
            FailureKind::Damaged,
            format!(
                "database {database}: {} lost\nhint: see `pgbackupd status`",
                report::counted(report.lost() as u64, "manifest is", "manifests are")
            ),
        ));
    }
    if report.unchecked.is_empty() {
        return None;
    }
    Some(Failure::new(
        FailureKind::Unavailable,
        format!(
            "database {database}: {} could not be checked",
            report::counted(report.unchecked.len() as u64, "backup", "backups")
        ),
    ))
}

fn verified_database(backup_directory: &BackupDirectory, report: VerifyReport) -> VerifiedDatabase {
    let checked = report.findings.into_iter().map(|finding| VerifiedBackup {
        name: finding.stem.to_string(),
        outcome: if finding.damage.is_some() {
            "damaged"
        } else {
            "whole"
        },
        message: finding.damage.as_ref().map(|damage| {
            let stays = finding.stays.as_ref().map(|_| finding.became());
            format!("{damage}{}", stays.unwrap_or_default())
        }),
        rows: Some(finding.rows),
        quarantine: finding.quarantine,
        remark: finding.remark,
    });
    let unchecked = report
        .unchecked
        .into_iter()
        .map(|(stem, why)| VerifiedBackup {
            name: stem.to_string(),
            outcome: "unchecked",
            message: Some(why),
            rows: None,
            quarantine: None,
            remark: None,
        });
    let problems = report.problems.into_iter();
    VerifiedDatabase {
        server: backup_directory.server.clone(),
        database: backup_directory.database.clone(),
        backups: checked.chain(unchecked).collect(),
        left: report.left,
        quarantined: report.quarantined.into_iter().map(quarantined).collect(),
        problems: problems
            .map(|Problem { file, what, .. }| VerifiedProblem { file, what })
            .collect(),
    }
}

fn print(database: &VerifiedDatabase, prefix: &str, out: &mut dyn Write) -> Result<(), Failure> {
    for backup in &database.backups {
        match (&backup.message, backup.rows) {
            (None, Some(rows)) => {
                writeln!(
                    out,
                    "{prefix}{}: intact, {}",
                    backup.name,
                    report::counted(rows, "row", "rows")
                )?;
            }
            (message, _) => {
                let message = message.as_deref().unwrap_or_default();
                let aside = backup.quarantine.as_ref().map(|path| {
                    let path = report::one_line(&path.display().to_string());
                    format!("; it was moved into {path}")
                });
                let text = format!(
                    "{prefix}{}: {}: {message}{}",
                    backup.name,
                    backup.outcome.to_uppercase(),
                    aside.unwrap_or_default()
                );
                item(out, "", &text)?;
            }
        }
        if let Some(remark) = &backup.remark {
            item(out, "  ", &format!("note: {remark}"))?;
        }
    }
    if database.left > 0 {
        let left = report::counted(database.left, "backup was", "backups were");
        let text = format!(
            "{prefix}{left} not reached within the budget, and will come first in the next run"
        );
        item(out, "", &text)?;
    }
    for problem in &database.problems {
        let file = report::one_line(&problem.file);
        item(out, "", &format!("{prefix}{file}: {}", problem.what))?;
    }
    for quarantined in &database.quarantined {
        quarantined.print(prefix, out)?;
    }
    Ok(())
}
