//! Swapping back the database that a restore replaced.

use std::time::{Duration, Instant};

use uuid::Uuid;

use super::account::Account;
use super::begin::lock;
use super::beside::Beside;
use super::cut_short;
use super::maintenance::connect_beside;
use super::swap::swap;
use super::{Tell, application};
use crate::config::{Connection, RestoreSettings};
use crate::jobs::record::unrecorded;
use crate::jobs::{JobContext, JobError};
use crate::postgres::{Client, Conninfo, Standing, TakePlace, databases, drop_database};
use crate::repository::{Details, Event, Lock, Replaced, Repository};
use crate::words::one_line;

/// An undoing that can be done. Holds the database's lock.
pub struct PreparedUndo<'a> {
    /// The database.
    pub database: String,
    /// What bears its name now; none if nothing does.
    pub standing: Option<Standing>,
    /// The database that gets the name back.
    pub brings_back: String,
    /// The name that the restored database gets.
    pub keeps_as: Option<String>,
    /// The server, as host and port.
    pub server: String,
    /// What the operator should know.
    pub warnings: Vec<String>,
    maintenance: Conninfo,
    repository: &'a Repository,
    _lock: Lock,
}

/// An undoing that was done.
#[derive(Clone, Debug)]
pub struct UndoReport {
    /// The database.
    pub database: String,
    /// What it was called since the restore.
    pub brought_back: String,
    /// What the restored one is called now.
    pub kept_as: Option<String>,
    /// Sessions that were ended.
    pub sessions_ended: u64,
    /// How long it took.
    pub took: Duration,
    /// Why the application could not be started again.
    pub start_failed: Option<String>,
}

/// Takes the lock, and finds the newest database that a restore has replaced.
///
/// # Errors
/// When there is none, or the server does not answer.
pub async fn prepare_undo<'a>(
    context: &JobContext,
    connection: &Connection,
    database: &str,
    repository: &'a Repository,
    settings: &RestoreSettings,
) -> Result<PreparedUndo<'a>, JobError> {
    repository.create()?;
    let (lock, found) = lock(context, repository, "undoing of a restore")?;
    let client = connect_beside(context, connection, database).await?;
    let all = databases(&client).await?;
    let Some(brings_back) = Beside::Before.newest(database, &all) else {
        return Err(JobError::failed(format!(
            "there is no database that a restore of {database:?} has replaced: none is called {}…",
            one_line(&format!("{database}_before_restore_"))
        )));
    };
    if all.get(&brings_back).is_some_and(|old| old.is_broken) {
        return Err(JobError::failed(format!(
            "a DROP DATABASE of {brings_back} was cut short, and nobody can connect to it any more: \
             {} finishes that",
            drop_database(&brings_back)
        )));
    }
    let warnings = cut_short::sentences(&found, database, &all, settings.start.as_deref());
    let standing = all.get(database).cloned();
    Ok(PreparedUndo {
        database: database.to_owned(),
        keeps_as: standing
            .as_ref()
            .map(|_| Beside::Undone.name(database, context.now(), &all)),
        standing,
        brings_back,
        warnings,
        server: client.conninfo().server(),
        maintenance: client.conninfo().clone(),
        repository,
        _lock: lock,
    })
}

/// Swaps the names back, in one transaction.
///
/// # Errors
/// The names are then as they were.
pub async fn undo(
    context: &JobContext,
    run: Uuid,
    prepared: PreparedUndo<'_>,
    settings: &RestoreSettings,
    tell: Tell<'_>,
) -> Result<UndoReport, JobError> {
    let began = Instant::now();
    let database = &prepared.database.clone();
    let account = Account::default();
    account.note(|facts| {
        facts.server = Some(prepared.server.clone());
        facts.brought_back = Some(prepared.brings_back.clone());
        facts.replaces = prepared.standing.as_ref().map(|standing| Replaced {
            bytes: standing.size_bytes,
            sessions: standing.sessions,
        });
    });
    let say = |step: &str| {
        account.begin(context.now(), step);
        tell(step);
    };
    let tell: Tell<'_> = &say;
    let ledger = prepared.repository.restore_ledger();
    let record = |event| {
        let restoration = Some(Box::new(account.so_far()));
        context.record(run, event, database, Details::UndoRestore { restoration })
    };
    let mut start = record(Event::Started);
    start.requested_by = Some(context.requester.clone());
    ledger
        .append(&start)
        .map_err(unrecorded(&ledger, "nothing was undone because"))?;
    let mut prepared = prepared;
    let outcome = swap_back(context, &mut prepared, settings, tell).await;
    let start_failed = match &settings.start {
        Some(words) => {
            tell(&format!("starting the application: {}", words.join(" ")));
            let environment = &context.environment;
            let started = application::run(words, database, environment, settings.timeout);
            started.await.err()
        }
        None => None,
    };
    account.pause();
    let took = began.elapsed();
    account.note(|facts| {
        let not_started = |error| format!("the application could not be started: {error}");
        facts.left.extend(start_failed.as_ref().map(not_started));
        if let Ok(sessions_ended) = &outcome {
            facts.sessions_ended = Some(*sessions_ended);
            facts.kept_as.clone_from(&prepared.keeps_as);
        }
    });
    let mut end = record(Event::Succeeded);
    end.seconds = Some(took.as_secs_f64());
    let outcome = match outcome {
        Ok(sessions_ended) => {
            end.message = Some(format!("{} bears its name again", prepared.brings_back));
            Ok(UndoReport {
                database: prepared.database.clone(),
                brought_back: prepared.brings_back.clone(),
                kept_as: prepared.keeps_as.clone(),
                sessions_ended,
                took,
                start_failed,
            })
        }
        Err(source) => {
            end.event = Event::Failed;
            let left = start_failed
                .map(|error| format!("\nthe application could not be started: {error}"));
            let error = JobError::Restore {
                standing: format!("the restore of {database:?} was not undone"),
                source: Box::new(source),
                left: left.unwrap_or_default(),
            };
            end.message = Some(error.to_string());
            Err(error)
        }
    };
    if let Err(unwritten) = ledger.append(&end) {
        tracing::warn!(
            "the end could not be written to {}: {unwritten}",
            ledger.path().display()
        );
    }
    outcome
}

async fn swap_back(
    context: &JobContext,
    prepared: &mut PreparedUndo<'_>,
    settings: &RestoreSettings,
    tell: Tell<'_>,
) -> Result<u64, JobError> {
    if let Some(words) = &settings.stop {
        tell(&format!("stopping the application: {}", words.join(" ")));
        let environment = &context.environment;
        application::run(words, &prepared.database, environment, settings.timeout)
            .await
            .map_err(|error| JobError::failed(format!("the application does not stop: {error}")))?;
    }
    loop {
        tell("swapping the names back");
        let names = TakePlace {
            from: &prepared.brings_back,
            name: &prepared.database,
            aside: prepared.keeps_as.as_deref(),
            is_new: false,
            like: None,
        };
        let swapped = swap(&prepared.maintenance, context.limits.connect, &names).await;
        // Somebody else may have taken the name that was meant for what is put aside.
        match (swapped, &prepared.keeps_as) {
            (Err(JobError::Query(error)), Some(aside)) if error.is_taken_database_name() => {
                let client = Client::connect(&prepared.maintenance, context.limits.connect).await?;
                let all = databases(&client).await?;
                if !all.contains_key(aside) {
                    return Err(error.into());
                }
                let other = Beside::Undone.name(&prepared.database, context.now(), &all);
                prepared.keeps_as = Some(other);
            }
            (swapped, _) => return swapped,
        }
    }
}
