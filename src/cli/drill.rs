//! `pgbackupd drill`: restore backups into a temporary cluster and say whether they came back whole.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::env::CommandEnv;
use super::failure::{Failure, FailureKind};
use super::progress::Display;
use super::several::{conclude, ends_before};
use super::{report, select};
use crate::config::{Plan, Runs};
use crate::display::{recomputed, rough_span};
use crate::jobs::{
    BackupDirectory, DrillOutcome, DrillReport, JobContext, JobError, Run, WhichBackup,
    backups_to_drill, drill, passed_over_by_drill,
};
use crate::pipeline::Progress;
use crate::repository::Stem;

/// The end of its help.
const EXAMPLES: &str = "\
Examples:
  pgbackupd drill --database sales
      Drill the newest backup of each series of sales
  pgbackupd drill backup_20261122_153034
      Drill one backup";

/// Test-restore backups into a temporary cluster, and compare.
///
/// Creates a temporary cluster, loads the roles and the dump, dumps the database again, and
/// compares every row, every object and the database's properties with the backup. Then removes the
/// cluster. Nothing else is touched. By default, drills the newest intact backup of each series.
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
    /// something else), or `impossible` (it could not be tried, which says nothing about it).
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
    // Where it is is known, then.
    let is_path = args.backup.as_deref().is_some_and(select::is_path);
    let loaded = if is_path {
        env.load_for_path()?
    } else {
        env.load_to_run(Runs::Programs)?
    };
    let context = env.context(&loaded);
    let to_failure = |error: JobError| report::failure(&error, env.interrupt);
    let (found, failures) =
        select::places_for(&context, &loaded.plan, &args.databases, is_path).map_err(to_failure)?;
    let unseen: Vec<Failure> = failures.into_iter().map(to_failure).collect();
    let chosen = choose_backups(args, found, &unseen)?;
    let mut drills = Drills {
        plan: &loaded.plan,
        context,
        env,
        drilled: Vec::new(),
        failures: unseen,
    };
    for (index, (backup_directory, which)) in chosen.iter().enumerate() {
        let stems = match drills.backups(backup_directory, which) {
            Ok(stems) => stems,
            Err(error) => {
                drills.failures.push(to_failure(error));
                continue;
            }
        };
        for stem in stems {
            drills.drill(backup_directory, &stem, out).await?;
            if env.interrupt.signal().is_some() {
                break;
            }
        }
        let left = chosen[index + 1..].iter().map(|(left, _)| &left.label);
        if ends_before(left, env.interrupt, &mut drills.failures) {
            break;
        }
    }
    conclude(&drills.drilled, &drills.failures, env, out)
}

/// Test restores, one after the other, and what came of them.
struct Drills<'a> {
    plan: &'a Plan,
    context: JobContext,
    env: &'a CommandEnv<'a>,
    drilled: Vec<DrilledBackup>,
    failures: Vec<Failure>,
}

impl Drills<'_> {
    /// The backups of a database to drill; none is a failure.
    fn backups(
        &mut self,
        backup_directory: &BackupDirectory,
        which: &WhichBackup,
    ) -> Result<Vec<Stem>, JobError> {
        let stems = backups_to_drill(backup_directory, which)?;
        match passed_over_by_drill(&self.context, backup_directory, which, &stems) {
            Ok(passed) => {
                for sentence in passed {
                    tracing::warn!("{}", report::one_line(&sentence));
                }
            }
            Err(error) => {
                let failure = report::failure(&error, self.env.interrupt);
                self.failures.push(failure);
            }
        }
        if stems.is_empty() {
            self.failures.push(Failure::new(
                FailureKind::Unavailable,
                format!(
                    "database {}: there is no intact backup to restore",
                    report::one_line(&backup_directory.label)
                ),
            ));
        }
        Ok(stems)
    }

    async fn drill(
        &mut self,
        backup_directory: &BackupDirectory,
        stem: &Stem,
        out: &mut dyn Write,
    ) -> Result<(), Failure> {
        let database = report::one_line(&backup_directory.label);
        let progress = Arc::new(Progress::default());
        let display = Display::start(&database, &progress, self.env.json);
        let run = Run::begin(&self.context, &progress, self.env.interrupt.token());
        let outcome = drill(&run, backup_directory, stem).await;
        drop(display);
        let target = self.plan.objectives.recovery_time;
        match outcome {
            Ok(report) => {
                if report.outcome.is_bad()
                    && let Some(sentence) = report.outcome.sentence()
                {
                    let said = format!("does NOT RESTORE: {sentence}");
                    report::alarm(run.id, &backup_directory.database, stem, None, &said);
                }
                self.failures.extend(failure(&database, &report));
                let drilled = drilled_backup(backup_directory, target, report);
                if !self.env.json {
                    print(
                        &drilled,
                        &report::prefix(self.plan, &backup_directory.label),
                        out,
                    )?;
                }
                self.drilled.push(drilled);
            }
            Err(error) => {
                let failure = report::failure(&error, self.env.interrupt);
                self.drilled
                    .push(without_outcome(backup_directory, target, stem, &failure));
                self.failures.push(failure);
            }
        }
        Ok(())
    }
}

fn choose_backups(
    args: &Args,
    backup_directories: Vec<BackupDirectory>,
    unseen: &[Failure],
) -> Result<Vec<(BackupDirectory, WhichBackup)>, Failure> {
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
        .map(|backup_directory| (backup_directory, WhichBackup::NewestOfSeries))
        .collect())
}

fn failure(database: &str, report: &DrillReport) -> Option<Failure> {
    let sentence = report.outcome.sentence()?;
    let kind = if report.outcome.is_bad() {
        FailureKind::Damaged
    } else {
        FailureKind::Unavailable
    };
    let mut message = format!("database {database}: {}: {sentence}", report.stem);
    if let DrillOutcome::Refused { said, .. } = &report.outcome {
        // With rows, and so for the terminal alone.
        message.push_str("\nfull output:\n");
        message.push_str(said);
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
        writeln!(
            out,
            "{name}: restores, {} in {}, every other object and the database's own \
             properties compared; the data was back in {} (of {})",
            report::counted(drilled.rows, "row", "rows"),
            report::counted(drilled.tables, "table", "tables"),
            seconds(drilled.recovery_seconds.unwrap_or_default()),
            rough_span(Duration::from_secs(drilled.target_seconds))
        )?;
        let phases: Vec<String> = drilled
            .phases
            .iter()
            .map(|part| format!("{} {}", part.phase, seconds(part.seconds)))
            .collect();
        writeln!(out, "  {}", phases.join(", "))?;
    } else if drilled.differences.is_empty() {
        let message = drilled.message.as_deref().unwrap_or_default();
        writeln!(out, "{name}: {}: {message}", drilled.outcome.to_uppercase())?;
    } else {
        writeln!(
            out,
            "{name}: DIFFERS: what was restored is not what was dumped"
        )?;
        for difference in &drilled.differences {
            writeln!(out, "  {}", report::one_line(difference))?;
        }
    }
    if !drilled.recomputed.is_empty() {
        let sentence = recomputed(&drilled.recomputed);
        writeln!(out, "  {}", report::one_line(&sentence))?;
    }
    for remark in &drilled.remarks {
        writeln!(out, "  note: {remark}")?;
    }
    Ok(())
}
