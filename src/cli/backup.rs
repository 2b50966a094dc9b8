//! `pgbackupd backup`: make a backup of one, some or all configured databases.

use std::io::Write;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::env::CommandEnv;
use super::failure::{Failure, FailureKind};
use super::session::Session;
use super::several::Turns;
use super::{report, select};
use crate::config::{JobKind, Plan, Runs, nearest};
use crate::jobs::{
    BackupReport, BackupRequest, JobError, Run, Stop, Strictness, Target, Targets, back_up,
    missing_credential, targets,
};
use crate::policy::Series;
use crate::repository::{Repository, SkippedTable};

/// The end of its help.
const EXAMPLES: &str = "\
Examples:
  pgbackupd backup
      Back up every configured database
  pgbackupd backup --database sales --reason pre-deployment
      Back up one database before a deployment";

/// Back up databases now.
///
/// Backs up all configured databases, one after the other; if one fails, the others go on. Every
/// backup is read back in full before it gets its name. After a success, retention removes the
/// expired backups of the same series.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    /// Only this database, as NAME or SERVER/NAME; can be repeated
    #[arg(long = "database", short, value_name = "NAME", value_parser = select::database_name)]
    databases: Vec<String>,
    /// Series of the backup [default: daily]
    #[arg(long, value_name = "NAME", conflicts_with = "reason")]
    series: Option<Series>,
    /// Allow a new series: one that no job makes, no retention rule names and no backup has
    #[arg(long, requires = "series")]
    new_series: bool,
    /// Reason for the record, such as "pre-deployment"; the series is then manual
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    reason: Option<String>,
}

/// What `backup --json` and `emergency --json` print for each database, in a list.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub(super) struct BackupResult {
    /// The server's name in the configuration.
    pub server: String,
    /// The database.
    pub database: String,
    /// Whether the run succeeded.
    pub ok: bool,
    /// The backup's name; after a failure only where it stands all the same.
    pub backup: Option<String>,
    /// The file with the dump, or its directory.
    pub path: Option<String>,
    /// Bytes of all its files but the manifest.
    pub bytes: Option<u64>,
    /// Rows of all tables.
    pub rows: Option<u64>,
    /// Tables.
    pub tables: Option<u64>,
    /// How long the run took, in seconds.
    pub seconds: Option<f64>,
    /// Older backups that retention removed.
    pub removed: Vec<String>,
    /// Tables whose rows could not be read and are not in the backup, which is partial then.
    pub skipped_tables: Vec<SkippedResult>,
    /// What the operator should know.
    pub warnings: Vec<String>,
    /// Why it failed.
    pub error: Option<String>,
}

/// A table whose rows are not in a partial backup.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct SkippedResult {
    /// Its name, as SQL writes it.
    pub table: String,
    /// So many rows could be read before the failure.
    pub rows_read: u64,
    /// Why not all, in the server's words.
    pub reason: String,
}

pub(super) async fn run(
    args: &Args,
    env: &CommandEnv<'_>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let session = Session::new(env, env.load_to_run(Runs::Programs)?);
    let series = match (&args.series, &args.reason) {
        (Some(series), _) => series.clone(),
        (None, Some(_)) => Series::manual(),
        (None, None) => Series::daily(),
    };
    let plan = session.plan();
    let Targets { found, failures } = tokio::select! {
        found = targets(&session.context, plan, &args.databases) => found,
        () = env.interrupt.token().cancelled() => Err(Stop::Interrupted.into()),
    }
    .map_err(|error| session.failure(&error))?;
    if found.is_empty() && failures.is_empty() {
        return Err(nothing_to_back_up());
    }
    if !args.new_series && !is_known(&series, plan, &found) {
        return Err(unknown_series(&series, plan));
    }
    let mut turns = Turns::new(&session, session.failures(&failures), out);
    let backups = Backups {
        targets: &found,
        series: &series,
        reason: args.reason.as_deref(),
        strictness: Strictness::Usual,
    };
    backups.make(&mut turns).await?;
    turns.conclude()
}

/// Whether anything knows the series: a job, a retention rule, or a backup of one of the targets.
fn is_known(series: &Series, plan: &Plan, targets: &[Target<'_>]) -> bool {
    let has = |target: &Target<'_>| {
        // What cannot be looked at fails the run, which says so.
        let catalogue = Repository::at(&target.database.directory).catalogue();
        catalogue.map_or(true, |all| {
            all.backups
                .iter()
                .any(|backup| backup.stem.series == *series)
        })
    };
    series.is_manual()
        || configured_series(plan).any(|known| known == series)
        || targets.iter().any(has)
}

fn configured_series(plan: &Plan) -> impl Iterator<Item = &Series> {
    let by_jobs = plan.jobs.iter().filter_map(|job| match &job.kind {
        JobKind::Backup(series) => Some(series),
        _ => None,
    });
    by_jobs.chain(plan.retention.series.keys())
}

fn unknown_series(series: &Series, plan: &Plan) -> Failure {
    let known = configured_series(plan).map(Series::as_str);
    let nearest = nearest(series.as_str(), known)
        .map_or_else(String::new, |known| format!("; did you mean {known}?"));
    Failure::usage(format!(
        "no job makes the series {series}, no retention rule names it, and there is no backup of \
             it{nearest}\nhint: --new-series makes it; without a retention rule all of its backups stay"
    ))
}

/// Backups to make, one of each target.
pub(super) struct Backups<'a> {
    pub(super) targets: &'a [Target<'a>],
    pub(super) series: &'a Series,
    pub(super) reason: Option<&'a str>,
    pub(super) strictness: Strictness,
}

impl Backups<'_> {
    /// Makes them, one after the other.
    pub(super) async fn make(&self, turns: &mut Turns<'_, BackupResult>) -> Result<(), Failure> {
        let turn = async |turns: &mut Turns<'_, BackupResult>, target: &Target<'_>| {
            match self.back_up(turns.session, target).await {
                Ok(made) => {
                    turns.failures.extend(partial(&target.label, &made));
                    turns.add(backup_result(target, &made), |result, out| {
                        print(result, &made, &target.label, out)
                    })
                }
                Err(error) => {
                    let failure = turns.session.failure(&error);
                    let standing = error.standing_backup();
                    let subject = standing.map_or("no backup of database", |_| "database");
                    let name = report::one_line(&target.label);
                    let sentence = format!("{subject} {name}: {}", failure.message);
                    turns.failures.push(Failure::new(failure.kind, sentence));
                    let result = BackupResult {
                        server: target.server.name.clone(),
                        database: target.database.name.clone(),
                        backup: standing.map(str::to_owned),
                        error: Some(failure.message),
                        ..BackupResult::default()
                    };
                    // The failure is all that people see of it.
                    turns.add(result, |_, _| Ok(()))
                }
            }
        };
        turns.each(self.targets, |one| &one.label, turn).await
    }

    async fn back_up(
        &self,
        session: &Session<'_>,
        target: &Target<'_>,
    ) -> Result<BackupReport, JobError> {
        let connection = &target.server.connection;
        if let Some(error) = missing_credential(&session.context, connection) {
            // It is no failure of the job's.
            return Err(error);
        }
        let request = BackupRequest {
            server: &target.server.name,
            connection,
            database: &target.database,
            series: self.series,
            reason: self.reason,
            strictness: self.strictness,
        };
        let job = async |run: &Run<'_>| back_up(run, request).await;
        session.job(&target.label, job).await
    }
}

/// A run that does nothing is no success.
pub(super) fn nothing_to_back_up() -> Failure {
    Failure::new(
        FailureKind::Unavailable,
        "there is nothing to back up: no database that was found on a server is chosen by include \
         and exclude",
    )
}

/// A partial backup is there, and no success.
fn partial(label: &str, made: &BackupReport) -> Option<Failure> {
    let manifest = &made.manifest;
    let skipped = manifest.skipped_tables.iter();
    let tables: Vec<String> = skipped
        .map(|one| {
            format!(
                "  {} (read before the failure: {}): {}",
                one.table,
                report::counted(one.rows_read, "row", "rows"),
                one.reason
            )
        })
        .collect();
    manifest.is_partial().then(|| {
        Failure::new(
            FailureKind::Damaged,
            format!(
                "{} of database {} is partial; it lacks the rows of:\n{}\nhint: repair or drop these \
                 tables; until then, the newest complete backup has their rows",
                manifest.name,
                report::one_line(label),
                tables.join("\n")
            ),
        )
    })
}

fn skipped(one: &SkippedTable) -> SkippedResult {
    SkippedResult {
        table: one.table.clone(),
        rows_read: one.rows_read,
        reason: one.reason.clone(),
    }
}

fn backup_result(target: &Target<'_>, made: &BackupReport) -> BackupResult {
    let manifest = &made.manifest;
    let path = manifest
        .name
        .parse()
        .map(|stem| made.repository.path(&stem, manifest.artifact_role()));
    let removed = made.pruned.iter().flat_map(|pruned| &pruned.removed);
    BackupResult {
        server: target.server.name.clone(),
        database: manifest.database.clone(),
        ok: true,
        backup: Some(manifest.name.clone()),
        path: path.ok().map(|path| path.display().to_string()),
        bytes: Some(manifest.bytes()),
        rows: Some(manifest.census.summary.rows),
        tables: Some(manifest.census.summary.tables),
        seconds: Some(manifest.seconds.total),
        removed: removed.map(|removal| removal.backup.clone()).collect(),
        skipped_tables: manifest.skipped_tables.iter().map(skipped).collect(),
        warnings: made.losses.iter().chain(&made.warnings).cloned().collect(),
        error: None,
    }
}

fn print(
    result: &BackupResult,
    made: &BackupReport,
    label: &str,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    for warning in &result.warnings {
        tracing::warn!("{warning}");
    }
    let manifest = &made.manifest;
    writeln!(
        out,
        "{}: database {}, {}",
        manifest.name,
        report::one_line(label),
        made.summary(Duration::from_secs_f64(manifest.seconds.total))
    )?;
    if let Some(path) = &result.path {
        writeln!(out, "  {}", report::one_line(path))?;
    }
    for removed in &result.removed {
        writeln!(out, "  {removed} removed by retention")?;
    }
    Ok(())
}
