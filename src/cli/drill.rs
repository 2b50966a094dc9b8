//! `pgbackupd drill`: restore backups into a temporary cluster and say whether they came back whole.

mod copies;
mod definitions;

use std::io::Write;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::env::CommandEnv;
use super::failure::{Failure, FailureKind};
use super::from::{FromArgs, HEADING, IdentityArgs};
use super::session::{Directories, Session};
use super::several::Turns;
use super::wrap::{item, wrapped};
use super::{report, select};
use crate::config::Runs;
use crate::display::{joined_lines, recomputed, rough_span};
use crate::jobs::{
    BackupDirectory, DrillOutcome, DrillReport, RestoreSource, Run, WhichBackup, backups_to_drill,
    drill, passed_over_by_drill,
};
use crate::repository::Stem;

/// The end of its help.
const EXAMPLES: &str = "\
Examples:
  pgbackupd drill --database sales
      Drill the newest backup of each series of sales
  pgbackupd drill backup_20261122_153034
      Drill one backup
  pgbackupd drill --definitions --database sales
      Load the newest backup of sales without its rows
  pgbackupd drill --database sales --identity key.txt
      Drill a backup that is encrypted on this host too
  pgbackupd drill --from offsite --latest --database sales --identity key.txt
      Fetch the newest copy of sales, and drill it";

/// Test-restore backups into a temporary cluster, and compare.
///
/// Creates a temporary cluster, loads the roles and the dump, dumps the database again, and
/// compares every row, every object and the database's properties with the backup. Then removes the
/// cluster. Nothing else is touched. By default, drills the newest intact backup of each series.
/// With --from, fetches the newest copy of a backup into drill.directory, drills it and removes it.
/// The exit code is 65 if a backup does not restore, and 69 if it could not be tried.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    /// Backup to drill, by name or file
    #[arg(value_name = "BACKUP")]
    backup: Option<String>,
    /// Only this database, as NAME or SERVER/NAME; can be repeated
    #[arg(long = "database", short, value_name = "NAME", value_parser = select::database_name)]
    databases: Vec<String>,
    /// Every configured database, one after the other
    #[arg(long, conflicts_with_all = ["backup", "databases"])]
    all_databases: bool,
    /// Load only the definitions of the newest backup, without rows; counts as no drill
    #[arg(long, conflicts_with = "from")]
    definitions: bool,
    /// Newest copy that is complete and not partial (the default with --from)
    #[arg(long, requires = "from", conflicts_with = "backup", help_heading = HEADING)]
    latest: bool,
    #[command(flatten)]
    from: FromArgs,
    #[command(flatten)]
    identity: IdentityArgs,
}

/// What `drill --json` prints for each test restore, in a list.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct DrilledBackup {
    /// The server's name in the configuration; null for a directory that is not configured.
    pub server: Option<String>,
    /// The database.
    pub database: String,
    /// The backup.
    pub name: String,
    /// `proven`, `damaged` (its files), `refused` (by the server), `differs` (what came back is
    /// something else), or `impossible` (it could not be tried, which says nothing about it). With
    /// `--definitions`: `definitions_load`, `definitions_refused` or `impossible`.
    pub outcome: &'static str,
    /// What was found, or why it could not be tried; null when it is proven.
    pub message: Option<String>,
    /// Every difference, one sentence each; a hundred at most are named.
    pub differences: Vec<String>,
    /// Rows in the backup.
    pub rows: u64,
    /// Tables in the backup.
    pub tables: u64,
    /// How long it took until the data was back, in seconds; null if it never was.
    pub recovery_seconds: Option<f64>,
    /// How long a restore may take (`objectives.recovery_time`), in seconds.
    pub target_seconds: u64,
    /// How long all of it took, in seconds.
    pub seconds: f64,
    /// How long each part took, in their order.
    pub phases: Vec<DrilledPhase>,
    /// What the server computed while the backup was loaded, and nobody compared: materialized views
    /// and stored generated columns.
    pub recomputed: Vec<String>,
    /// What deserves a word, one sentence each.
    pub remarks: Vec<String>,
    /// The destination that the backup was fetched from, as it was given; null for one that is here.
    pub from: Option<String>,
    /// The fingerprints of the recipients whose identities opened the copy.
    pub recipients: Vec<String>,
}

/// A part of a test restore.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct DrilledPhase {
    /// `verify`, `server`, `globals`, `load`, `dump` or `compare`.
    pub phase: &'static str,
    /// How long it took, in seconds.
    pub seconds: f64,
}

pub(super) async fn run(
    args: &Args,
    env: &CommandEnv<'_>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    if args.from.from.is_some() {
        return copies::run(args, env, out).await;
    }
    // Where it is is known, then.
    let is_path = args.backup.as_deref().is_some_and(select::is_path);
    let loaded = if is_path {
        env.load_for_path()?
    } else {
        env.load_to_run(Runs::Programs)?
    };
    let mut session = Session::new(env, loaded);
    session.context.opener = args.identity.opener(env.interrupt).await?;
    let session = session;
    let Directories { found, unseen } = session.directories_or_paths(&args.databases, is_path)?;
    let chosen = choose_backups(args, found, &unseen)?;
    let mut turns = Turns::new(&session, unseen, out);
    let turn = async |turns: &mut Turns<'_, DrilledBackup>, (one, which): &Chosen| {
        for stem in backups(turns, one, which) {
            if args.definitions {
                definitions::try_one(turns, one, &stem).await?;
            } else {
                drill_one(turns, one, &stem).await?;
            }
            if env.interrupt.signal().is_some() {
                break;
            }
        }
        Ok(())
    };
    turns.each(&chosen, |(one, _)| &one.label, turn).await?;
    turns.conclude()
}

/// Backups to drill, and where they are.
type Chosen = (BackupDirectory, WhichBackup);

/// The backups of a database to drill; none is a failure.
fn backups(
    turns: &mut Turns<'_, DrilledBackup>,
    backup_directory: &BackupDirectory,
    which: &WhichBackup,
) -> Vec<Stem> {
    let stems = match backups_to_drill(backup_directory, which) {
        Ok(stems) => stems,
        Err(error) => {
            turns.fail(&error);
            return Vec::new();
        }
    };
    match passed_over_by_drill(&turns.session.context, backup_directory, which, &stems) {
        Ok(passed) => {
            for sentence in passed {
                tracing::warn!("{}", report::one_line(&sentence));
            }
        }
        Err(error) => turns.fail(&error),
    }
    if stems.is_empty() {
        turns.failures.push(Failure::new(
            FailureKind::Unavailable,
            format!(
                "database {}: there is no intact backup to restore",
                report::one_line(&backup_directory.label)
            ),
        ));
    }
    stems
}

async fn drill_one(
    turns: &mut Turns<'_, DrilledBackup>,
    backup_directory: &BackupDirectory,
    stem: &Stem,
) -> Result<(), Failure> {
    let session = turns.session;
    let job = async |run: &Run<'_>| (run.id, drill(run, backup_directory, stem).await);
    let (run, outcome) = session.job(&backup_directory.label, job).await;
    let target = session.plan().objectives.recovery_time;
    match outcome {
        Ok(report) => {
            if let Some(alarm) = report.outcome.alarm() {
                report::alarm(run, &backup_directory.database, stem, None, &alarm);
            }
            turns.failures.extend(failure(backup_directory, &report));
            let prefix = session.prefix(&backup_directory.label);
            let drilled = drilled_backup(backup_directory, target, report);
            turns.add(drilled, |drilled, out| print(drilled, &prefix, out))
        }
        Err(error) => {
            let failure = session.failure(&error);
            let drilled = without_outcome(backup_directory, target, stem, &failure);
            turns.failures.push(failure);
            // The failure is all that people see of it.
            turns.add(drilled, |_, _| Ok(()))
        }
    }
}

fn choose_backups(
    args: &Args,
    backup_directories: Vec<BackupDirectory>,
    unseen: &[Failure],
) -> Result<Vec<Chosen>, Failure> {
    if let Some(text) = &args.backup {
        let (stem, holding) =
            select::holding(&backup_directories, text).map_err(select::unless(unseen))?;
        return Ok(holding
            .into_iter()
            .map(|backup_directory| (backup_directory, WhichBackup::Named(stem.clone())))
            .collect());
    }
    let is_one_meant = !args.databases.is_empty() || args.all_databases;
    if backup_directories.is_empty() && unseen.is_empty()
        || backup_directories.len() > 1 && !is_one_meant
    {
        let way = "name one with --database, or take all with --all-databases";
        return Err(select::not_one(&backup_directories, way));
    }
    Ok(backup_directories
        .into_iter()
        .map(|backup_directory| (backup_directory, definitions::which(args)))
        .collect())
}

fn failure(backup_directory: &BackupDirectory, report: &DrillReport) -> Option<Failure> {
    let source = RestoreSource::Backup(backup_directory.clone(), report.stem.clone());
    let command = source.salvage_command(&backup_directory.database);
    let hint = format!("\nhint: `{command}` salvages what it holds");
    failure_of(backup_directory, report, &hint)
}

/// The same, with the way out from a backup that is bad.
fn failure_of(
    backup_directory: &BackupDirectory,
    report: &DrillReport,
    hint: &str,
) -> Option<Failure> {
    let database = report::one_line(&backup_directory.label);
    let sentence = report.outcome.sentence()?;
    let kind = if report.outcome.is_bad() {
        FailureKind::Damaged
    } else {
        FailureKind::Unavailable
    };
    let mut message = format!("database {database}: {}: {sentence}", report.stem);
    if report.outcome.is_bad() {
        message.push_str(hint);
    }
    if let DrillOutcome::Refused { detail, .. } = &report.outcome {
        // With rows, and so for the terminal alone.
        message.push_str("\nfull output:\n");
        message.push_str(detail);
    }
    Some(Failure::new(kind, message))
}

/// A test restore that was interrupted, or whose end could not be recorded.
fn without_outcome(
    backup_directory: &BackupDirectory,
    target: Duration,
    stem: &Stem,
    failure: &Failure,
) -> DrilledBackup {
    DrilledBackup {
        server: backup_directory.server.clone(),
        database: backup_directory.database.clone(),
        name: stem.to_string(),
        outcome: "impossible",
        message: Some(failure.message.clone()),
        differences: Vec::new(),
        rows: 0,
        tables: 0,
        recovery_seconds: None,
        target_seconds: target.as_secs(),
        seconds: 0.0,
        phases: Vec::new(),
        recomputed: Vec::new(),
        remarks: Vec::new(),
        from: None,
        recipients: Vec::new(),
    }
}

fn drilled_backup(
    backup_directory: &BackupDirectory,
    target: Duration,
    report: DrillReport,
) -> DrilledBackup {
    DrilledBackup {
        server: backup_directory.server.clone(),
        database: backup_directory.database.clone(),
        name: report.stem.to_string(),
        outcome: match &report.outcome {
            DrillOutcome::Proven => "proven",
            DrillOutcome::Damaged(_) => "damaged",
            DrillOutcome::Refused { .. } => "refused",
            DrillOutcome::Differs(_) => "differs",
            DrillOutcome::Impossible(_) => "impossible",
        },
        message: report.outcome.sentence(),
        recovery_seconds: matches!(
            report.outcome,
            DrillOutcome::Proven | DrillOutcome::Differs(_)
        )
        .then(|| report.recovery_time().as_secs_f64()),
        target_seconds: target.as_secs(),
        seconds: report.took.as_secs_f64(),
        phases: report
            .phases
            .iter()
            .map(|(phase, took)| DrilledPhase {
                phase: phase.word(),
                seconds: took.as_secs_f64(),
            })
            .collect(),
        rows: report.rows,
        tables: report.tables,
        recomputed: report.recomputed,
        remarks: report.remarks,
        from: None,
        recipients: Vec::new(),
        differences: match report.outcome {
            DrillOutcome::Differs(differences) => differences,
            _ => Vec::new(),
        },
    }
}

fn print(drilled: &DrilledBackup, prefix: &str, out: &mut dyn Write) -> Result<(), Failure> {
    let seconds = |seconds: f64| report::duration(Duration::from_secs_f64(seconds));
    let name = format!("{prefix}{}", drilled.name);
    if drilled.outcome == "proven" {
        let text = format!(
            "{name}: restores, {} in {}, every other object and the database's own \
             properties compared; the data was back in {} (of {})",
            report::counted(drilled.rows, "row", "rows"),
            report::counted(drilled.tables, "table", "tables"),
            seconds(drilled.recovery_seconds.unwrap_or_default()),
            rough_span(Duration::from_secs(drilled.target_seconds))
        );
        wrapped(out, "", &text)?;
        let phases: Vec<String> = drilled
            .phases
            .iter()
            .map(|part| format!("{} {}", part.phase, seconds(part.seconds)))
            .collect();
        wrapped(out, "  ", &phases.join(", "))?;
    } else if drilled.differences.is_empty() {
        let message = drilled.message.as_deref().unwrap_or_default();
        let outcome = drilled.outcome.to_uppercase();
        let text = format!("{name}: {outcome}: {}", joined_lines(message));
        wrapped(out, "", &text)?;
    } else {
        writeln!(
            out,
            "{name}: DIFFERS: what was restored is not what was dumped"
        )?;
        for difference in &drilled.differences {
            item(out, "  ", &report::one_line(difference))?;
        }
    }
    if !drilled.recomputed.is_empty() {
        let sentence = recomputed(&drilled.recomputed);
        wrapped(out, "  ", &report::one_line(&sentence))?;
    }
    for remark in &drilled.remarks {
        wrapped(out, "  note: ", &joined_lines(remark))?;
    }
    Ok(())
}
