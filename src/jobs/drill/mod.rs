//! The proof that a backup restores: it is loaded into a temporary cluster, dumped again, and the
//! two censuses are compared (P9).

mod age;
mod attempt;
mod choose;
mod copies;
mod database;
mod definitions;
mod judge;
mod load;
mod placeholders;
mod preload;
mod reference;
mod refused;
mod report;
mod restored;
mod roles;
mod space;
mod subject;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::JobContext;
use super::error::{JobError, JobErrorKind};
use super::record::{append, close_dead_runs};
use super::run::Run;
use super::target::BackupDirectory;
use crate::pipeline::Opener;
use crate::postgres::sweep_sandboxes;
use crate::repository::{
    Damage, DrillDetails, Event, Manifest, Operation, PhaseTime, Repository, Role, Stem,
};

pub(super) use age::backups_since;
pub use age::missed_drill;
pub use choose::{WhichBackup, backups_to_drill, passed_over_by_drill};
pub use copies::{CopyDrillReport, drill_copy};
pub use definitions::{DefinitionsReport, are_definitions_due, try_definitions};
pub use report::{DrillOutcome, DrillPhase, DrillReport};

/// How much of a backup is restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    /// All of it, and what comes back is compared.
    Everything,
    /// The definitions, without rows. It changes nothing that is on record of the backup.
    Definitions,
}

/// One test restore on its way.
struct Drill<'a> {
    run: &'a Run<'a>,
    repository: &'a Repository,
    stem: &'a Stem,
    extent: Extent,
    /// What opens an encrypted backup, once its manifest has been read.
    opener: Option<Opener>,
    phases: Vec<(DrillPhase, Duration)>,
    remarks: Vec<String>,
}

/// What it means when the ledger cannot be used at the start.
const NOTHING_DONE: &str = "nothing was restored because";

/// Removes what test restores left that were killed.
///
/// # Errors
/// When something cannot be removed.
pub fn sweep_drills(context: &JobContext) -> Result<Vec<PathBuf>, JobError> {
    let directory = &context.drill.directory;
    sweep_sandboxes(directory).map_err(|error| {
        JobError::failed(format!(
            "cannot sweep up what earlier drills left in {}: {error}",
            directory.display()
        ))
    })
}

/// Restores a backup into a temporary cluster, compares, and records what was found: in
/// `restore.log`, and in the backup's state, by which retention counts it as verified or not.
///
/// No lock is needed: a backup that retention removes meanwhile could not be tried.
///
/// # Errors
/// When no identity opens the backup, the run was interrupted, or its outcome cannot be recorded in either place. A backup that is bad, or that
/// could not be tried, is a report and no error.
pub async fn drill(
    run: &Run<'_>,
    backup_directory: &BackupDirectory,
    stem: &Stem,
) -> Result<DrillReport, JobError> {
    let repository = &backup_directory.repository;
    // Whoever gives no identity, or the wrong one, has made no drill that fails. One that is due has.
    if run.context.tick.is_none()
        && let Ok(mut manifest) = repository.manifest(stem)
        && let Err(error @ JobError::Encrypted(_)) = run.context.open_to_drill(&mut manifest)
    {
        return Err(error);
    }
    let began = Instant::now();
    let mut details = begin_details(repository, stem);
    let ledger = repository.restore_ledger();
    close_dead_runs(run.context, &ledger, Operation::Drill, NOTHING_DONE)?;
    let start =
        run.record_with_requester(Event::Started, &backup_directory.database, details.clone());
    append(&ledger, &start, NOTHING_DONE)?;
    if let Err(error) = sweep_drills(run.context) {
        tracing::warn!("{stem}: {error}");
    }

    let mut drill = Drill::new(run, repository, stem);
    let outcome = Box::pin(drill.carry_out()).await;
    let recorded = match &outcome {
        Ok(shown) if shown.is_about_contents() => {
            drill.change_state(|state| state.record_drill(run.now(), shown.failure()))
        }
        _ => Ok(()),
    };
    let (at, took) = (run.now(), began.elapsed());
    let end = |event, message, details| {
        let mut end = run.record(event, &backup_directory.database, details);
        end.at = at;
        end.seconds = Some(took.as_secs_f64());
        end.message = message;
        end
    };
    details.phases = drill.phases.iter().map(phase_time).collect();
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) if error.kind() == JobErrorKind::Interrupted => {
            let end = end(Event::Interrupted, None, details);
            append(&ledger, &end, "the drill was interrupted, and")?;
            return Err(error);
        }
        Err(error) => drill.impossible(&error),
    };
    let kept = refused::keep(run, repository, (&outcome, drill.opener.is_some()));
    let mut report = drill.report(outcome, began);
    let recovery_time = run.context.recovery_time;
    let too_slow = report.missed(recovery_time);
    report.remarks.extend(too_slow);
    report.remarks.extend(kept);
    details.bytes = Some(report.bytes);
    details.damaged = report.damaged();
    let (event, message) = report.outcome_and_message(recovery_time);
    let end = end(event, Some(message), details);
    append(&ledger, &end, "the drill is done, but")?;
    // What retention counts on must not be lost in silence.
    recorded.map(|()| report)
}

/// What is known before anything is done.
fn begin_details(repository: &Repository, stem: &Stem) -> DrillDetails {
    let manifest = repository.manifest(stem);
    DrillDetails {
        subject: stem.into(),
        partial: manifest.is_ok_and(|manifest| manifest.is_partial()),
        ..DrillDetails::default()
    }
}

impl<'a> Drill<'a> {
    fn new(run: &'a Run<'a>, repository: &'a Repository, stem: &'a Stem) -> Self {
        Self {
            run,
            repository,
            stem,
            extent: Extent::Everything,
            opener: None,
            phases: Vec::new(),
            remarks: Vec::new(),
        }
    }

    fn of(self, extent: Extent) -> Self {
        Self { extent, ..self }
    }
}

impl Drill<'_> {
    /// What an error means that says nothing about the backup.
    fn impossible(&self, error: &JobError) -> DrillOutcome {
        let manifest = self.repository.path(self.stem, Role::Manifest);
        let is_gone = manifest.symlink_metadata().is_err();
        DrillOutcome::Impossible(if is_gone {
            "it was removed meanwhile".to_owned()
        } else {
            error.to_string()
        })
    }

    fn report(self, outcome: DrillOutcome, began: Instant) -> DrillReport {
        let manifest = self.repository.manifest(self.stem).ok();
        let summary = manifest.as_ref().map(|manifest| &manifest.census.summary);
        DrillReport {
            stem: self.stem.clone(),
            phases: self.phases,
            took: began.elapsed(),
            rows: summary.map_or(0, |summary| summary.rows),
            tables: summary.map_or(0, |summary| summary.tables),
            bytes: manifest.as_ref().map_or(0, Manifest::bytes),
            recomputed: manifest.map_or_else(Vec::new, |manifest| manifest.recomputed),
            remarks: self.remarks,
            outcome,
        }
    }
}

impl DrillReport {
    /// What was found damaged, for the ledger.
    fn damaged(&self) -> Vec<Damage> {
        let bad = self.outcome.sentence().filter(|_| self.outcome.is_bad());
        let damage = bad.map(|what| Damage {
            backup: self.stem.to_string(),
            what,
            quarantine: None,
        });
        damage.into_iter().collect()
    }

    /// How it ended, for the ledger.
    fn outcome_and_message(&self, target: Duration) -> (Event, String) {
        if let Some(sentence) = self.outcome.sentence() {
            return (Event::Failed, format!("{}: {sentence}", self.stem));
        }
        let mut said = vec![self.against(target)];
        said.extend(self.remarks.iter().cloned());
        (Event::Succeeded, said.join("; "))
    }
}

fn phase_time((phase, took): &(DrillPhase, Duration)) -> PhaseTime {
    PhaseTime {
        phase: phase.word().to_owned(),
        seconds: took.as_secs_f64(),
    }
}
