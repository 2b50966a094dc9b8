//! Loading the definitions of a backup without its rows, the night they change and not first in a drill:
//! what a server refuses of them stands between the operator and all rows. It goes the way of a drill, and is
//! none: it says nothing of rows, and nothing that is on record of the backup changes.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use chrono::Utc;

use super::restored::Restored;
use super::{Drill, DrillOutcome, Extent, NOTHING_DONE, sweep_drills};
use crate::jobs::JobContext;
use crate::jobs::error::{JobError, JobErrorKind};
use crate::jobs::limit::Stop;
use crate::jobs::load::{Loaded, Refusal};
use crate::jobs::proof::Material;
use crate::jobs::readable::ReadableBackup;
use crate::jobs::record::{append, close_dead_runs};
use crate::jobs::run::Run;
use crate::jobs::target::BackupDirectory;
use crate::pipeline::{FoundStatement, read_census};
use crate::policy::{DefinitionsResult, DefinitionsTrial, is_trial_due};
use crate::postgres::ServerError;
use crate::repository::{
    DefinitionsDetails, Event, Manifest, Operation, Repository, RepositoryError, Stem,
    TriedDefinitions,
};
use crate::threads;

/// How long it may take. Reading a dump takes most of it.
const LONGEST: Duration = Duration::from_secs(3600);

/// The name of that limit.
const LIMIT: &str = "definitions";

/// So many characters of a statement are shown.
const SHOWN: usize = 160;

/// Kinds of objects whose statements may hold passwords.
const SECRETIVE: [&[u8]; 5] = [
    b"FOREIGN DATA WRAPPER",
    b"FOREIGN TABLE",
    b"SERVER",
    b"SUBSCRIPTION",
    b"USER MAPPING",
];

/// What loading definitions has shown.
#[derive(Clone, Debug)]
pub struct DefinitionsReport {
    /// The backup whose definitions they are.
    pub stem: Stem,
    /// What came of it.
    pub result: DefinitionsResult,
    /// Which statement was refused and why, or why they were not tried; none where they load.
    pub message: Option<String>,
    /// All that the program said of a statement that was refused: for a terminal.
    pub detail: Option<String>,
    /// What deserves a word, one sentence each.
    pub remarks: Vec<String>,
    /// How long it took.
    pub took: Duration,
    /// Whether the trial before came to another result, or was none.
    pub is_news: bool,
}

/// Whether the definitions of a backup are other ones than those that were tried last in its place.
///
/// # Errors
/// When its census or the ledger cannot be read.
pub fn are_definitions_due(
    context: &JobContext,
    repository: &Repository,
    stem: &Stem,
) -> Result<bool, JobError> {
    let last = last_trial(repository)?;
    Ok(is_trial_due(
        last.as_ref(),
        &digest(context, repository, stem)?,
        Utc::now(),
    ))
}

/// Loads the definitions of a backup into a temporary cluster, and records in `restore.log` what came of
/// it.
///
/// # Errors
/// When the run was interrupted, its outcome cannot be recorded, or the backup's census cannot be read. What
/// is refused, or could not be tried, is a report and no error.
pub async fn try_definitions(
    run: &Run<'_>,
    backup_directory: &BackupDirectory,
    stem: &Stem,
) -> Result<DefinitionsReport, JobError> {
    let run = &run.within(LIMIT, LONGEST);
    let repository = &backup_directory.repository;
    let began = Instant::now();
    let (digest, last) = {
        let (repository, stem) = (repository.clone(), stem.clone());
        let context = run.context.clone();
        threads::start("look", move || {
            Ok::<_, JobError>((
                digest(&context, &repository, &stem)?,
                last_trial(&repository)?,
            ))
        })?
        .await??
    };
    let mut details = DefinitionsDetails {
        subject: stem.into(),
        tried: None,
    };
    let database = &backup_directory.database;
    let ledger = repository.restore_ledger();
    close_dead_runs(run.context, &ledger, Operation::Definitions, NOTHING_DONE)?;
    let start = run.record_with_requester(Event::Started, database, details.clone());
    append(&ledger, &start, NOTHING_DONE)?;
    if let Err(error) = sweep_drills(run.context) {
        tracing::warn!("{stem}: {error}");
    }

    let mut drill = Drill::new(run, repository, stem).of(Extent::Definitions);
    let outcome = match Box::pin(drill.carry_out()).await {
        Ok(outcome) => outcome,
        Err(error) if error.kind() == JobErrorKind::Interrupted => {
            let mut end = run.record(Event::Interrupted, database, details);
            end.seconds = Some(began.elapsed().as_secs_f64());
            append(&ledger, &end, "the trial was interrupted, and")?;
            return Err(error);
        }
        Err(JobError::Stop(Stop::TimedOut { what: LIMIT, .. })) => {
            DrillOutcome::Impossible("loading them takes longer than an hour".to_owned())
        }
        Err(error) => drill.impossible(&error),
    };
    let report = drill.definitions_report(outcome, began, last.as_ref());
    details.tried = Some(TriedDefinitions {
        digest,
        result: report.result,
    });
    let event = match report.result {
        DefinitionsResult::Load => Event::Succeeded,
        DefinitionsResult::Refused | DefinitionsResult::NotTried => Event::Failed,
    };
    let mut end = run.record(event, database, details);
    end.seconds = Some(report.took.as_secs_f64());
    end.message = Some(report.sentence());
    append(&ledger, &end, "the definitions were tried, but")?;
    Ok(report)
}

impl DefinitionsReport {
    /// What was shown, in a sentence's part.
    pub fn sentence(&self) -> String {
        match (&self.result, &self.message) {
            (DefinitionsResult::Load, _) => "definitions load; rows not tried".to_owned(),
            (DefinitionsResult::Refused, Some(what)) => format!("definitions do not load: {what}"),
            (DefinitionsResult::NotTried, Some(why)) => format!("definitions not tried: {why}"),
            (result, None) => format!("{result:?}"),
        }
    }
}

impl Drill<'_> {
    /// Loads the definitions alone; gives why that failed, and at which statement.
    pub(super) async fn load_definitions(
        &self,
        restored: &mut Restored<'_>,
        manifest: &Manifest,
    ) -> Result<Option<DrillOutcome>, JobError> {
        let material = Material::of_backup(&self.readable(manifest));
        let loaded = material.load_definitions(&restored.loader()).await?;
        let judged = Self::judge(restored, manifest, "the definitions", loaded.clone()).await;
        let (Some(DrillOutcome::Refused { .. }), Loaded::Refused(refusal)) = (&judged, &loaded)
        else {
            return Ok(judged);
        };
        let statement = match refusal.error().and_then(|error| error.line) {
            Some(line) => material.definition_at(&restored.loader(), line).await?,
            None => None,
        };
        Ok(Some(outcome(statement.as_ref(), refusal)))
    }

    fn definitions_report(
        self,
        outcome: DrillOutcome,
        began: Instant,
        last: Option<&DefinitionsTrial>,
    ) -> DefinitionsReport {
        let (result, message, detail) = match outcome {
            DrillOutcome::Proven => (DefinitionsResult::Load, None, None),
            DrillOutcome::Refused { what, detail } => {
                (DefinitionsResult::Refused, Some(what), Some(detail))
            }
            DrillOutcome::Impossible(why) => (DefinitionsResult::NotTried, Some(why), None),
            other @ (DrillOutcome::Damaged(_) | DrillOutcome::Differs(_)) => {
                (DefinitionsResult::NotTried, other.sentence(), None)
            }
        };
        DefinitionsReport {
            stem: self.stem.clone(),
            result,
            message,
            detail,
            remarks: self.remarks,
            took: began.elapsed(),
            is_news: last.is_none_or(|last| last.result != result),
        }
    }
}

/// What it means that a statement was refused where there are no rows. Pure.
fn outcome(statement: Option<&FoundStatement>, refusal: &Refusal) -> DrillOutcome {
    let error = refusal.error();
    let object = statement.map(|statement| statement.object.to_string());
    let place = object.as_deref().unwrap_or("the end of the dump");
    let is_about_names = error.is_some_and(ServerError::is_about_names);
    let may_need_rows = statement.is_none_or(|statement| statement.object.follows_rows());
    if may_need_rows && !is_about_names {
        return DrillOutcome::Impossible(format!(
            "{place} is made after the rows, and what it calls may need them: {}; a drill tries it",
            refusal.in_short()
        ));
    }
    let is_secretive =
        statement.is_some_and(|statement| SECRETIVE.contains(&statement.object.kind()));
    let mut what = match error {
        Some(error) if !is_secretive => format!("{place}: {}", error.in_full()),
        _ => format!("{place}: {}", refusal.in_short()),
    };
    if let Some(shown) = statement.and_then(|statement| shown(&statement.head))
        && !is_secretive
    {
        what.push_str("; the statement is ");
        what.push_str(&shown);
    }
    DrillOutcome::Refused {
        what,
        detail: refusal.detail.clone(),
    }
}

/// The beginning of a statement on one line; none where it may hold a password.
fn shown(head: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(head);
    if text.to_ascii_lowercase().contains("password") {
        return None;
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    let end = line.char_indices().nth(SHOWN).map(|(end, _)| end);
    Some(match end {
        Some(end) => format!("{}…", &line[..end]),
        None => line.trim_end_matches(';').to_owned(),
    })
}

/// The newest trial of a place that came to its end.
fn last_trial(repository: &Repository) -> Result<Option<DefinitionsTrial>, JobError> {
    let mut newest = None;
    let ledger = repository.restore_ledger();
    ledger
        .read_backwards(|record| {
            newest = record.definitions_trial();
            match newest {
                Some(_) => ControlFlow::Break(()),
                None => ControlFlow::Continue(()),
            }
        })
        .map_err(RepositoryError::io("read", ledger.path()))?;
    Ok(newest)
}

/// The digest of a backup's definitions, by its census.
fn digest(context: &JobContext, repository: &Repository, stem: &Stem) -> Result<String, JobError> {
    let mut manifest = repository.manifest(stem)?;
    let opener = context.open_to_drill(&mut manifest)?;
    let backup = ReadableBackup {
        repository,
        stem,
        manifest: &manifest,
        opener: opener.as_ref(),
    };
    let file = backup.census();
    let (census, _) = read_census(&file).map_err(|error| {
        JobError::failed(format!("cannot read {}: {error}", file.path().display()))
    })?;
    Ok(census.definitions().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_shown_on_one_line_and_never_with_a_password() {
        for (head, expected) in [
            (
                "CREATE TABLE t (\n    a int\n);",
                Some("CREATE TABLE t ( a int )"),
            ),
            ("ALTER ROLE x PASSWORD 'geheim';", None),
        ] {
            assert_eq!(shown(head.as_bytes()).as_deref(), expected);
        }
        let long = shown("x".repeat(400).as_bytes()).unwrap();
        assert_eq!(long.chars().count(), SHOWN + 1);
    }
}
