//! Reading backups back in full and checking them against their manifests (P8), as many as the time
//! allows.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use chrono::{DateTime, FixedOffset, Utc};

use super::error::JobError;
use super::examine::damage;
use super::limit::Stop;
use super::pin::record_lost_state;
use super::quarantine::{below, put_aside};
use super::record::{append, close_dead_runs, unrecorded};
use super::run::Run;
use super::target::BackupDirectory;
use super::{JobContext, JobErrorKind};
use crate::pipeline::Phase;
use crate::policy::{Checkable, Turns, turns};
use crate::repository::{
    Catalogue, Damage, Details, Entry, Event, Fault, Operation, Problem, Quarantined, Repository,
    Role, Stem, VerifyDetails,
};

/// What it means when the ledger cannot be used at the start.
const NOTHING_DONE: &str = "nothing was verified because";

/// Which backups of a place are checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Every one.
    All,
    /// The newest of each series.
    Latest,
    /// These.
    Named(Vec<Stem>),
    /// Every one whose last full check is at least so long ago, or did not find it whole; those first
    /// that the last runs did not come to.
    Due(Duration),
}

/// What is to be checked, and what is done with what is bad.
#[derive(Clone, Debug)]
pub struct VerifyRequest<'a> {
    /// Whose backups.
    pub backup_directory: &'a BackupDirectory,
    /// Which of them.
    pub selection: &'a Selection,
    /// No check begins so long after the first; none for no end.
    pub budget: Option<Duration>,
    /// Whether a damaged backup is put aside.
    pub quarantine: bool,
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
    /// Where it was put aside.
    pub quarantine: Option<PathBuf>,
    /// Why it was not put aside although it should have been.
    pub stays: Option<String>,
    /// That its state was lost, and what was done about it.
    pub remark: Option<String>,
}

/// What the check of a database's backups found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VerifyReport {
    /// In the order of checking.
    pub findings: Vec<Finding>,
    /// Backups that could not be checked, and why; that says nothing about them.
    pub unchecked: Vec<(Stem, String)>,
    /// Dumps under a backup's name that there is no manifest for, each with a sentence.
    pub problems: Vec<Problem>,
    /// Backups that were due and not reached in time.
    pub left: u64,
    /// Backups that were in quarantine before.
    pub quarantined: Vec<Quarantined>,
}

impl VerifyReport {
    /// Whether there was nothing to check.
    pub fn is_empty(&self) -> bool {
        self.findings.is_empty() && self.unchecked.is_empty() && self.problems.is_empty()
    }
}

impl Finding {
    /// What is wrong with the backup, to follow its name; none if it is intact.
    pub fn alarm(&self) -> Option<String> {
        let damage = self.damage.as_ref()?;
        Some(format!("is DAMAGED: {damage}{}", self.became()))
    }

    /// What became of a damaged backup, to follow the sentence that says what is wrong with it.
    pub fn became(&self) -> String {
        match (&self.quarantine, &self.stays) {
            (Some(path), _) => format!("; it was moved into {}", path.display()),
            (None, Some(why)) => format!(
                "; it could not be moved into quarantine, and the next verify run tries again: {why}"
            ),
            (None, None) => String::new(),
        }
    }
}

impl VerifyReport {
    /// How many dumps have lost their manifests.
    pub fn lost(&self) -> usize {
        let lost = self.problems.iter();
        lost.filter(|problem| problem.lost.is_some()).count()
    }

    /// What was checked, for the ledger.
    fn display(&self) -> String {
        let left = match self.left {
            0 => String::new(),
            left => format!(", {left} not reached in time"),
        };
        format!(
            "{} checked, {} damaged, {} could not be checked{left}",
            self.findings.len(),
            self.damaged(),
            self.unchecked.len()
        )
    }

    /// How many backups are damaged.
    pub fn damaged(&self) -> usize {
        self.findings
            .iter()
            .filter(|finding| finding.damage.is_some())
            .count()
    }
}

/// Checks backups of one database and records what was found, in the ledger and next to each backup.
///
/// Reading takes no lock: a backup that retention removes meanwhile is passed over. One is taken to
/// put a damaged backup aside; if another run has it, the backup stays, known to be damaged, for the
/// next verification.
///
/// # Errors
/// When the directory cannot be read, the check was interrupted, or its outcome cannot be recorded.
/// A damaged backup is a finding, not an error.
pub async fn verify(run: &Run<'_>, request: VerifyRequest<'_>) -> Result<VerifyReport, JobError> {
    let backup_directory = request.backup_directory;
    let repository = &backup_directory.repository;
    let catalogue = repository.catalogue()?;
    let mut report = before_any_check(&catalogue, &request);
    let (chosen, round) = choose_backups(&catalogue, request.selection, repository)?;
    if chosen.is_empty() {
        return Ok(report);
    }
    let began = Instant::now();
    let ledger = repository.ledger();
    close_dead_runs(run.context, &ledger, Operation::Verify, NOTHING_DONE)?;
    let details = VerifyDetails {
        round: round.as_ref().map(|round| run.context.local(round.round())),
        ..VerifyDetails::default()
    };
    let start = run.record_with_requester(Event::Started, &backup_directory.database, details);
    append(&ledger, &start, NOTHING_DONE)?;

    let Checks { reached, outcome } = check_all(run, &request, &chosen, &mut report).await;
    let all = chosen.iter().filter(|choice| choice.entry.is_some());
    let left = (all.count() - reached) as u64;
    if outcome.is_ok() {
        report.left = left;
    }

    let left_open = round.as_ref().and_then(|round| round.left_open(reached));
    let details = VerifyDetails {
        bytes: Some(report.findings.iter().map(|finding| finding.bytes).sum()),
        damaged: damaged(&report, repository),
        left: round.is_some().then_some(left),
        round: left_open.map(|open| run.context.local(open)),
    };
    let event = match &outcome {
        Err(_) => Event::Interrupted,
        Ok(()) if details.damaged.is_empty() && report.unchecked.is_empty() => Event::Succeeded,
        Ok(()) => Event::Failed,
    };
    let mut end = run.record(event, &backup_directory.database, details);
    end.seconds = Some(began.elapsed().as_secs_f64());
    end.message = Some(report.display());
    append(&ledger, &end, "the verify run is done, but")?;
    outcome.map(|()| report)
}

/// What is known before anything is read: dumps without a manifest, and what is in quarantine.
fn before_any_check(catalogue: &Catalogue, request: &VerifyRequest<'_>) -> VerifyReport {
    // Whoever names backups has not asked for what else is there.
    let is_asked = |problem: &&Problem| {
        problem.lost.is_none() || !matches!(request.selection, Selection::Named(_))
    };
    let orphans = catalogue.problems.iter();
    let orphans = orphans
        .filter(|problem| problem.manifest_of.is_none())
        .filter(is_asked);
    let quarantined = request.backup_directory.repository.quarantined();
    VerifyReport {
        problems: orphans.cloned().collect(),
        quarantined: quarantined.unwrap_or_else(|error| {
            tracing::warn!("{error}");
            Vec::new()
        }),
        ..VerifyReport::default()
    }
}

/// How far a verification came.
struct Checks {
    /// So many backups that the catalogue can read were checked.
    reached: usize,
    /// Whether it was interrupted.
    outcome: Result<(), JobError>,
}

/// Checks one backup after the other, as many as there is time for.
async fn check_all(
    run: &Run<'_>,
    request: &VerifyRequest<'_>,
    chosen: &[Choice<'_>],
    report: &mut VerifyReport,
) -> Checks {
    let began = Instant::now();
    let mut reached = 0;
    for choice in chosen {
        // The first is always checked, so that however little time there is, all are in the end.
        let time_is_up = request
            .budget
            .is_some_and(|budget| began.elapsed() >= budget);
        if time_is_up && reached > 0 && choice.entry.is_some() {
            continue;
        }
        // The one before may have been ended by its limit.
        run.progress.renew();
        let checked = check(&run.renewed(), &request.backup_directory.repository, choice).await;
        if let Err(JobError::Stop(Stop::Interrupted)) = checked {
            let outcome = Err(JobError::Stop(Stop::Interrupted));
            return Checks { reached, outcome };
        }
        reached += usize::from(choice.entry.is_some());
        match checked {
            Ok(Some(mut finding)) => {
                if request.quarantine {
                    quarantine(run.context, request.backup_directory, choice, &mut finding);
                }
                report.findings.push(finding);
            }
            Ok(None) => {}
            Err(error) => report
                .unchecked
                .push((choice.stem.clone(), error.to_string())),
        }
    }
    Checks {
        reached,
        outcome: Ok(()),
    }
}

/// What was found damaged or has lost its manifest, for the ledger.
fn damaged(report: &VerifyReport, repository: &Repository) -> Vec<Damage> {
    let damaged = report.findings.iter().filter_map(|finding| {
        let aside = finding.quarantine.as_ref();
        Some(Damage {
            backup: finding.stem.to_string(),
            what: finding.damage.clone()?,
            quarantine: aside.map(|path| below(repository, path)),
        })
    });
    let lost = report.problems.iter().filter_map(|problem| {
        Some(Damage {
            backup: problem.lost.as_ref()?.to_string(),
            what: problem.what.clone(),
            quarantine: None,
        })
    });
    damaged.chain(lost).collect()
}

/// Puts a damaged backup aside, if it is one. Where only a manifest is of no use, nothing is moved:
/// it counts for no backup already, and what it spoke for may be somebody else's.
fn quarantine(
    context: &JobContext,
    backup_directory: &BackupDirectory,
    choice: &Choice<'_>,
    finding: &mut Finding,
) {
    let Some(damage) = finding
        .damage
        .as_ref()
        .filter(|_| choice.is_ours(backup_directory))
    else {
        return;
    };
    match put_aside(context, backup_directory, &finding.stem, damage) {
        Ok(put) => finding.quarantine = put,
        Err(error) => finding.stays = Some(error.to_string()),
    }
}

/// A backup to check.
struct Choice<'a> {
    stem: &'a Stem,
    /// None when its manifest is of no use, or something that it needs is gone.
    entry: Option<&'a Entry>,
}

impl Choice<'_> {
    fn is_ours(&self, backup_directory: &BackupDirectory) -> bool {
        self.entry.is_some() || backup_directory.repository.manifest(self.stem).is_ok()
    }
}

/// The chosen backups in the order of checking, and after them whatever was one: a backup that the
/// catalogue cannot read must not pass for one that is not there. With them the rounds that they are
/// checked in, if they are.
fn choose_backups<'a>(
    catalogue: &'a Catalogue,
    selection: &Selection,
    repository: &Repository,
) -> Result<(Vec<Choice<'a>>, Option<Turns>), JobError> {
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
    if let Selection::Due(older_than) = selection {
        let entries: Vec<&Entry> = catalogue.backups.iter().collect();
        let backups: Vec<Checkable> = entries.iter().map(|entry| checkable(entry)).collect();
        let turns = turns(&backups, *older_than, open_round(repository)?, Utc::now());
        let due = turns.order.iter().map(|index| Choice {
            stem: &entries[*index].stem,
            entry: Some(entries[*index]),
        });
        return Ok((due.chain(spoilt).collect(), Some(turns)));
    }
    let mut chosen: Vec<Choice> = sound.chain(spoilt).collect();
    chosen.retain(|choice| match selection {
        Selection::All | Selection::Due(_) => true,
        Selection::Latest => {
            let series = &choice.stem.series;
            let is_first = !seen.contains(&series);
            seen.push(series);
            is_first || choice.entry.is_none()
        }
        Selection::Named(stems) => stems.contains(choice.stem),
    });
    Ok((chosen, None))
}

fn checkable(entry: &Entry) -> Checkable {
    let is_damaged = matches!(entry.state.fault(), Some(Fault::Damaged(_)));
    let last = entry.last_check();
    let tried = entry.state.unchecked.as_ref().map(|tried| tried.at);
    Checkable {
        started: entry.started.to_utc(),
        // Of a state that is lost nobody knows what it said.
        whole: (!is_damaged && entry.state.unreadable.is_none()).then_some(last.to_utc()),
        tried: tried.map_or(last, |tried| tried.max(last)).to_utc(),
    }
}

/// When the round of checks began that the last run left open. One without an end, which was killed,
/// has left it open too.
fn open_round(repository: &Repository) -> Result<Option<DateTime<Utc>>, JobError> {
    let ledger = repository.ledger();
    let mut round: Option<DateTime<FixedOffset>> = None;
    let read = ledger.read_backwards(|record| match record.details {
        Details::Verify(details) if details.left.is_some() || details.round.is_some() => {
            round = details.round;
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    });
    read.map_err(unrecorded(&ledger, NOTHING_DONE))?;
    Ok(round.map(|round| round.to_utc()))
}

/// Checks one backup and notes the outcome next to it; none if it is gone meanwhile.
async fn check(
    run: &Run<'_>,
    repository: &Repository,
    Choice { stem, entry }: &Choice<'_>,
) -> Result<Option<Finding>, JobError> {
    let finding = |damage, (rows, bytes)| Finding {
        stem: (*stem).clone(),
        damage,
        rows,
        bytes,
        quarantine: None,
        stays: None,
        remark: None,
    };
    run.progress.enter(Phase::Checking);
    let path = repository.path(stem, Role::Manifest);
    let manifest = match repository.manifest(stem) {
        Ok(manifest) => manifest,
        Err(_) if path.symlink_metadata().is_err() => return Ok(None),
        Err(error) => {
            let error = JobError::from(error);
            // Nothing is noted next to what may be somebody else's.
            return match error.kind() {
                JobErrorKind::Damaged => {
                    let known = entry.map_or((0, 0), |entry| (entry.rows, entry.bytes));
                    Ok(Some(finding(Some(error.to_string()), known)))
                }
                _ => Err(error),
            };
        }
    };
    let recorded = (manifest.census.summary.rows, manifest.bytes());
    let damage = match damage(run, repository, (stem, manifest)).await {
        Ok(damage) => damage,
        // Of an identity that does not open it, nothing is noted next to the backup.
        Err(error @ JobError::Encrypted(_)) => return Err(error),
        Err(error) if error.kind() == JobErrorKind::Interrupted => return Err(error),
        Err(error) => {
            let (now, why) = (run.now(), error.to_string());
            repository.change_state(run.id, stem, |state| state.record_unchecked(now, why))?;
            return Err(error);
        }
    };
    let now = run.now();
    let noted = repository.change_state(run.id, stem, |state| {
        state.record_check(now, damage.clone());
    })?;
    let Some(before) = noted else {
        return Ok(None);
    };
    let remark = record_lost_state(run, repository, stem, &before)?;
    Ok(Some(Finding {
        remark,
        ..finding(damage, recorded)
    }))
}
