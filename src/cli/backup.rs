//! `pgbackupd backup`: make a backup of one, some or all configured databases.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::env::CommandEnv;
use super::failure::{Failure, FailureKind};
use super::progress::Display;
use super::several::{ends_before, together};
use super::{report, select};
use crate::config::{JobKind, Plan, Runs};
use crate::jobs::{
    BackupReport, BackupRequest, JobContext, Run, Stop, Strictness, Target, Targets, back_up,
    missing_credential, targets,
};
use crate::pipeline::Progress;
use crate::policy::Series;
use crate::repository::{Repository, Role};

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
#[derive(Clone, Debug, Serialize, JsonSchema)]
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
    /// What the operator should know.
    pub warnings: Vec<String>,
    /// Why it failed.
    pub error: Option<String>,
    /// How it is shown to people.
    #[serde(skip)]
    label: String,
}

pub(super) async fn run(
    args: &Args,
    env: &CommandEnv<'_>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let loaded = env.load_to_run(Runs::Programs)?;
    let context = env.context(&loaded);
    let series = match (&args.series, &args.reason) {
        (Some(series), _) => series.clone(),
        (None, Some(_)) => Series::manual(),
        (None, None) => Series::daily(),
    };
    let Targets { found, failures } = tokio::select! {
        found = targets(&context, &loaded.plan, &args.databases) => found,
        () = env.interrupt.token().cancelled() => Err(Stop::Interrupted.into()),
    }
    .map_err(|error| report::failure(&error, env.interrupt))?;
    if found.is_empty() && failures.is_empty() {
        return Err(nothing_to_back_up());
    }
    if !args.new_series && !is_known(&series, &loaded.plan, &found) {
        return Err(unknown_series(&series, &loaded.plan));
    }
    let unavailable = failures
        .iter()
        .map(|error| report::failure(error, env.interrupt))
        .collect();
    let backups = Backups {
        targets: &found,
        series: &series,
        reason: args.reason.as_deref(),
        strictness: Strictness::Usual,
    };
    let made = backups.make(&context, env, out).await?;
    together(&[unavailable, made].concat())
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
    let likeness = |known: &&Series| strsim::jaro_winkler(known.as_str(), series.as_str());
    let nearest = configured_series(plan)
        .max_by(|one, other| likeness(one).total_cmp(&likeness(other)))
        .map_or_else(String::new, |known| format!("; did you mean {known}?"));
    Failure::new(
        FailureKind::Usage,
        format!(
            "no job makes the series {series}, no retention rule names it, and there is no backup of \
             it{nearest}\nhint: --new-series makes it; without a retention rule all of its backups stay"
        ),
    )
}

/// Backups to make, one of each target.
pub(super) struct Backups<'a> {
    pub(super) targets: &'a [Target<'a>],
    pub(super) series: &'a Series,
    pub(super) reason: Option<&'a str>,
    pub(super) strictness: Strictness,
}

impl Backups<'_> {
    /// Makes them, one after the other; the failure of one does not stop the others. Gives the
    /// failures.
    pub(super) async fn make(
        &self,
        context: &JobContext,
        env: &CommandEnv<'_>,
        out: &mut dyn Write,
    ) -> Result<Vec<Failure>, Failure> {
        let mut results = Vec::new();
        let mut failures: Vec<Failure> = Vec::new();
        for (index, target) in self.targets.iter().enumerate() {
            let name = report::one_line(&target.label);
            let request = BackupRequest {
                connection: &target.server.connection,
                database: &target.database,
                series: self.series,
                reason: self.reason,
                strictness: self.strictness,
            };
            let progress = Arc::new(Progress::default());
            let display = Display::start(&name, &progress, env.json);
            let run = Run::begin(context, &progress, env.interrupt.token());
            let outcome = match missing_credential(context, &target.server.connection) {
                // It is no failure of the job's.
                Some(error) => Err(error),
                None => back_up(&run, request).await,
            };
            drop(display);
            let result = match &outcome {
                Ok(made) => backup_result(target, made),
                Err(error) => {
                    let failure = report::failure(error, env.interrupt);
                    let mut result = BackupResult::failed(target, &failure);
                    let standing = error.standing_backup();
                    result.backup = standing.map(str::to_owned);
                    let subject = standing.map_or("no backup of database", |_| "database");
                    failures.push(Failure::new(
                        failure.kind,
                        format!("{subject} {name}: {}", failure.message),
                    ));
                    result
                }
            };
            if !env.json {
                print(&result, out)?;
            }
            results.push(result);
            let left = self.targets[index + 1..].iter().map(|left| &left.label);
            if ends_before(left, env.interrupt, &mut failures) {
                break;
            }
        }
        if env.json {
            report::json(&results, out)?;
        }
        out.flush()?;
        Ok(failures)
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

impl BackupResult {
    fn failed(target: &Target<'_>, failure: &Failure) -> Self {
        Self {
            server: target.server.name.clone(),
            label: target.label.clone(),
            database: target.database.name.clone(),
            ok: false,
            backup: None,
            path: None,
            bytes: None,
            rows: None,
            tables: None,
            seconds: None,
            removed: Vec::new(),
            warnings: Vec::new(),
            error: Some(failure.message.clone()),
        }
    }
}

fn backup_result(target: &Target<'_>, made: &BackupReport) -> BackupResult {
    let manifest = &made.manifest;
    let role = Role::Artifact(manifest.artifact.format, manifest.artifact.compression);
    let path = manifest
        .name
        .parse()
        .map(|stem| made.repository.path(&stem, role));
    let removed = made.pruned.iter().flat_map(|pruned| &pruned.removed);
    BackupResult {
        server: target.server.name.clone(),
        label: target.label.clone(),
        database: manifest.database.clone(),
        ok: true,
        backup: Some(manifest.name.clone()),
        path: path.ok().map(|path| path.display().to_string()),
        bytes: Some(manifest.bytes()),
        rows: Some(manifest.census.summary.rows),
        tables: Some(manifest.census.summary.tables),
        seconds: Some(manifest.seconds.total),
        removed: removed.map(|removal| removal.backup.clone()).collect(),
        warnings: made.losses.iter().chain(&made.warnings).cloned().collect(),
        error: None,
    }
}

fn print(result: &BackupResult, out: &mut dyn Write) -> Result<(), Failure> {
    for warning in &result.warnings {
        tracing::warn!("{warning}");
    }
    let (Some(backup), Some(path)) = (&result.backup, &result.path) else {
        return Ok(());
    };
    writeln!(
        out,
        "{backup}: database {}, {} in {}, {}, read back and intact, in {}\n  {}",
        report::one_line(&result.label),
        report::counted(result.rows.unwrap_or_default(), "row", "rows"),
        report::counted(result.tables.unwrap_or_default(), "table", "tables"),
        report::size(result.bytes.unwrap_or_default()),
        report::duration(Duration::from_secs_f64(result.seconds.unwrap_or_default())),
        report::one_line(path),
    )?;
    for removed in &result.removed {
        writeln!(out, "  {removed} removed by retention")?;
    }
    Ok(())
}
