//! Reading backups back in full and checking them against their manifests (P8).

mod examine;

use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::error::JobError;
use super::limit::{Limit, Stop};
use super::target::Place;
use super::{Context, JobErrorKind};
use crate::pipeline::{Phase, Progress};
use crate::repository::{
    Catalogue, Damage, Entry, Event, Operation, Problem, Repository, Role, Stem,
};

pub(super) use examine::{Examined, examine};

/// Which backups of a place are checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Every one.
    All,
    /// The newest of each series.
    Latest,
    /// These.
    Named(Vec<Stem>),
}

/// What the check of one backup found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The backup.
    pub stem: Stem,
    /// What is wrong with it; none when it is whole.
    pub damage: Option<String>,
    /// Rows in it.
    pub rows: u64,
    /// Bytes of its files.
    pub bytes: u64,
}

/// What the check of a database's backups found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// In the order of checking: newest first.
    pub findings: Vec<Finding>,
    /// Backups that could not be checked, and why; that says nothing about them.
    pub unchecked: Vec<(Stem, String)>,
    /// Dumps under a backup's name that no manifest speaks for, each with a sentence.
    pub problems: Vec<Problem>,
}

impl VerifyReport {
    /// How many backups are damaged.
    pub fn damaged(&self) -> usize {
        self.findings
            .iter()
            .filter(|finding| finding.damage.is_some())
            .count()
    }
}

/// Checks backups of one database, newest first, and records what was found.
///
/// No lock is needed: a backup that retention removes meanwhile is passed over.
///
/// # Errors
/// When the directory cannot be read, the check was interrupted, or its outcome cannot be recorded.
/// A damaged backup is a finding, not an error.
pub async fn verify(
    context: &Context,
    run: Uuid,
    place: &Place,
    selection: &Selection,
    progress: &Arc<Progress>,
    cancel: &CancellationToken,
) -> Result<VerifyReport, JobError> {
    let repository = &place.repository;
    let catalogue = repository.catalogue()?;
    let mut report = VerifyReport::default();
    let orphans = catalogue.problems.iter();
    report.problems.extend(
        orphans
            .filter(|problem| problem.manifest_of.is_none())
            .cloned(),
    );
    let chosen = choose(&catalogue, selection);
    if chosen.is_empty() {
        return Ok(report);
    }
    let ledger = repository.ledger();
    let began = Instant::now();
    let unrecorded = |done: &str| {
        let done = done.to_owned();
        let ledger = ledger.path().display().to_string();
        move |source| JobError::Unrecorded {
            done,
            ledger,
            source,
        }
    };
    let mut record = context.record(run, Operation::Verify, Event::Started, &place.database);
    record.requested_by = Some(context.requester.clone());
    ledger
        .append(&record)
        .map_err(unrecorded("nothing was verified because"))?;

    let mut outcome = Ok(());
    for Choice { stem, entry } in chosen {
        let limit = Limit::new(cancel.clone(), "total", context.limits.total);
        // The one before may have been ended by its limit.
        progress.renew();
        match check(context, repository, run, (stem, entry), &limit, progress).await {
            Ok(Some(finding)) => report.findings.push(finding),
            Ok(None) => {}
            Err(JobError::Stop(Stop::Interrupted)) => {
                outcome = Err(JobError::Stop(Stop::Interrupted));
                break;
            }
            Err(error) => report.unchecked.push((stem.clone(), error.to_string())),
        }
    }

    let mut record = context.record(run, Operation::Verify, Event::Succeeded, &place.database);
    record.seconds = Some(began.elapsed().as_secs_f64());
    record.bytes = Some(report.findings.iter().map(|finding| finding.bytes).sum());
    record.message = Some(format!(
        "{} checked, {} damaged, {} could not be checked",
        report.findings.len(),
        report.damaged(),
        report.unchecked.len()
    ));
    record.damaged = report
        .findings
        .iter()
        .filter_map(|finding| {
            Some(Damage {
                backup: finding.stem.to_string(),
                what: finding.damage.clone()?,
            })
        })
        .collect();
    record.event = match &outcome {
        Err(_) => Event::Interrupted,
        Ok(()) if record.damaged.is_empty() && report.unchecked.is_empty() => Event::Succeeded,
        Ok(()) => Event::Failed,
    };
    ledger
        .append(&record)
        .map_err(unrecorded("the verification is done, but"))?;
    outcome.map(|()| report)
}

/// A backup to check.
struct Choice<'a> {
    stem: &'a Stem,
    /// None when its manifest is of no use, or something that it needs is gone.
    entry: Option<&'a Entry>,
}

/// The chosen backups, newest first, and after them whatever was one: a backup that the catalogue
/// cannot read must not pass for one that is not there.
fn choose<'a>(catalogue: &'a Catalogue, selection: &Selection) -> Vec<Choice<'a>> {
    let mut seen = Vec::new();
    let sound = catalogue.backups.iter().rev().map(|entry| Choice {
        stem: &entry.stem,
        entry: Some(entry),
    });
    let spoilt = catalogue.problems.iter().filter_map(|problem| {
        Some(Choice {
            stem: problem.manifest_of.as_ref()?,
            entry: None,
        })
    });
    let mut chosen: Vec<Choice> = sound.chain(spoilt).collect();
    chosen.retain(|choice| match selection {
        Selection::All => true,
        Selection::Latest => {
            let series = &choice.stem.series;
            let is_first = !seen.contains(&series);
            seen.push(series);
            is_first || choice.entry.is_none()
        }
        Selection::Named(stems) => stems.contains(choice.stem),
    });
    chosen
}

/// Checks one backup and notes the outcome beside it; none if it is gone meanwhile.
async fn check(
    context: &Context,
    repository: &Repository,
    run: Uuid,
    (stem, entry): (&Stem, Option<&Entry>),
    limit: &Limit,
    progress: &Arc<Progress>,
) -> Result<Option<Finding>, JobError> {
    let finding = |damage| Finding {
        stem: stem.clone(),
        damage,
        rows: entry.map_or(0, |entry| entry.rows),
        bytes: entry.map_or(0, |entry| entry.bytes),
    };
    progress.enter(Phase::Checking);
    let path = repository.path(stem, Role::Manifest);
    let manifest = match repository.manifest(stem) {
        Ok(manifest) => manifest,
        Err(_) if path.symlink_metadata().is_err() => return Ok(None),
        Err(error) => {
            let error = JobError::from(error);
            // Nothing is noted beside what may be somebody else's.
            return match error.kind() {
                JobErrorKind::Damaged => Ok(Some(finding(Some(error.to_string())))),
                _ => Err(error),
            };
        }
    };
    let damage = match examine(context, repository, stem, &manifest, limit, progress).await {
        Ok(Examined::Whole(_)) => None,
        Ok(Examined::Damaged(damage)) => Some(damage),
        Err(error) if error.kind() == JobErrorKind::Interrupted => return Err(error),
        Err(error) => {
            let (now, why) = (context.now(), error.to_string());
            repository.change_state(run, stem, |state| state.note_unchecked(now, why))?;
            return Err(error);
        }
    };
    let now = context.now();
    let noted =
        repository.change_state(run, stem, |state| state.note_check(now, damage.clone()))?;
    Ok(noted.map(|_| finding(damage)))
}
