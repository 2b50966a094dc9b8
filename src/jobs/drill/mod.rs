//! The proof that a backup restores: it is loaded into a temporary cluster, dumped again, and the
//! two censuses are compared (P9).

mod age;
mod attempt;
mod bare;
mod choose;
mod database;
mod judge;
mod load;
mod preload;
mod reference;
mod refused;
mod report;
mod restored;
mod roles;
mod space;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::JobContext;
use super::error::{JobError, JobErrorKind};
use super::limit::Limit;
use super::record::{append, close_dead_runs};
use super::target::Place;
use crate::pipeline::Progress;
use crate::postgres::sweep_sandboxes;
use crate::repository::{Damage, DrillDetails, Event, Manifest, Operation, PhaseTime, Role, Stem};

pub(super) use age::backups_since;
pub use age::missed_drill;
pub use choose::{WhichBackup, backups_to_drill, passed_over_by_drill};
pub use report::{DrillOutcome, DrillPhase, DrillReport};

use attempt::Drill;

/// Removes what test restores left that were killed.
///
/// # Errors
/// When something cannot be removed.
pub fn sweep_drills(context: &JobContext) -> Result<Vec<PathBuf>, JobError> {
    let directory = &context.drill.directory;
    sweep_sandboxes(directory).map_err(|error| {
        JobError::failed(format!(
            "cannot sweep up what earlier test restores left in {}: {error}",
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
/// When the run was interrupted, or its outcome cannot be recorded in either place. A backup that is bad, or that
/// could not be tried, is a report and no error.
pub async fn drill(
    context: &JobContext,
    run: Uuid,
    place: &Place,
    stem: &Stem,
    progress: &Arc<Progress>,
    cancel: &CancellationToken,
) -> Result<DrillReport, JobError> {
    let repository = &place.repository;
    let began = Instant::now();
    let mut details = DrillDetails {
        subject: stem.into(),
        ..DrillDetails::default()
    };
    let ledger = repository.restore_ledger();
    close_dead_runs(
        context,
        &ledger,
        Operation::Drill,
        "nothing was restored because",
    )?;
    let mut start = context.record(run, Event::Started, &place.database, details.clone());
    start.requested_by = Some(context.requester.clone());
    append(&ledger, &start, "nothing was restored because")?;
    if let Err(error) = sweep_drills(context) {
        tracing::warn!("{error}");
    }

    let mut drill = Drill {
        context,
        repository,
        run,
        stem,
        progress,
        limit: Limit::new(cancel.clone(), "total", context.limits.total),
        phases: Vec::new(),
        remarks: Vec::new(),
    };
    let outcome = Box::pin(drill.carry_out()).await;
    let noted = match &outcome {
        Ok(shown) if shown.is_about_contents() => {
            drill.note(|state| state.note_drill(context.now(), shown.failure()))
        }
        _ => Ok(()),
    };
    let (phases, remarks) = (drill.phases, drill.remarks);
    let (at, took) = (context.now(), began.elapsed());
    let end = |event, message, details| {
        let mut end = context.record(run, event, &place.database, details);
        end.at = at;
        end.seconds = Some(took.as_secs_f64());
        end.message = message;
        end
    };
    details.phases = phases.iter().map(phase_time).collect();
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) if error.kind() == JobErrorKind::Interrupted => {
            let end = end(Event::Interrupted, None, details);
            append(&ledger, &end, "the test restore was interrupted, and")?;
            return Err(error);
        }
        Err(_)
            if repository
                .path(stem, Role::Manifest)
                .symlink_metadata()
                .is_err() =>
        {
            DrillOutcome::Impossible("it was removed meanwhile".to_owned())
        }
        Err(error) => DrillOutcome::Impossible(error.to_string()),
    };
    let kept = refused::keep(&context.state_directory, repository.directory(), &outcome);
    let manifest = repository.manifest(stem).ok();
    let summary = manifest.as_ref().map(|manifest| &manifest.census.summary);
    let mut report = DrillReport {
        stem: stem.clone(),
        phases,
        took: began.elapsed(),
        rows: summary.map_or(0, |summary| summary.rows),
        tables: summary.map_or(0, |summary| summary.tables),
        bytes: manifest.as_ref().map_or(0, Manifest::bytes),
        recomputed: manifest.map_or_else(Vec::new, |manifest| manifest.recomputed),
        remarks,
        outcome,
    };
    let too_slow = report.missed(context.recovery_time);
    report.remarks.extend(too_slow);
    report.remarks.extend(kept);
    details.bytes = Some(report.bytes);
    let (event, message) = if let Some(sentence) = report.outcome.sentence() {
        if report.outcome.is_bad() {
            details.damaged = vec![Damage {
                backup: stem.to_string(),
                what: sentence.clone(),
                quarantine: None,
            }];
        }
        (Event::Failed, format!("{stem}: {sentence}"))
    } else {
        let mut said = vec![report.against(context.recovery_time)];
        said.extend(report.remarks.iter().cloned());
        (Event::Succeeded, said.join("; "))
    };
    let end = end(event, Some(message), details);
    append(&ledger, &end, "the test restore is done, but")?;
    // What retention counts on must not be lost in silence.
    noted.map(|()| report)
}

fn phase_time((phase, took): &(DrillPhase, Duration)) -> PhaseTime {
    PhaseTime {
        phase: phase.word().to_owned(),
        seconds: took.as_secs_f64(),
    }
}
