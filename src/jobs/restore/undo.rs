//! Swapping back the database that a restore replaced.

use std::time::{Duration, Instant};

use super::application::Application;
use super::begin::lock;
use super::cut_short;
use super::maintenance::connect_to_another;
use super::replaced;
use super::side_names::SideName;
use super::swap::Swap;
use super::work::not_started;
use crate::config::{Connection, RestoreSettings};
use crate::display::one_line;
use crate::jobs::record::append;
use crate::jobs::run::Run;
use crate::jobs::{JobContext, JobError};
use crate::postgres::{Client, Conninfo, Standing, TakePlace, databases, drop_database};
use crate::repository::{Details, Event, Lock, Repository};

/// A restore that is to be undone.
#[derive(Clone, Copy, Debug)]
pub struct UndoRequest<'a> {
    /// The server.
    pub connection: &'a Connection,
    /// The database that was restored.
    pub database: &'a str,
    /// The directory whose lock is taken and whose `restore.log` is written.
    pub repository: &'a Repository,
    /// What surrounds it.
    pub settings: &'a RestoreSettings,
}

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
    request: UndoRequest<'a>,
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
    request: UndoRequest<'a>,
) -> Result<PreparedUndo<'a>, JobError> {
    let UndoRequest {
        connection,
        database,
        repository,
        settings,
    } = request;
    repository.create()?;
    let (lock, found) = lock(context, repository, "undoing of a restore")?;
    let client = connect_to_another(context, connection, database).await?;
    let all = databases(&client).await?;
    let Some(brings_back) = SideName::Before.newest(database, &all) else {
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
            .map(|_| SideName::Undone.name(database, context.now(), &all)),
        standing,
        brings_back,
        warnings,
        server: client.conninfo().server(),
        maintenance: client.conninfo().clone(),
        request,
        _lock: lock,
    })
}

/// Swaps the names back, in one transaction.
///
/// # Errors
/// The names are then as they were.
pub async fn undo(run: &Run<'_>, mut prepared: PreparedUndo<'_>) -> Result<UndoReport, JobError> {
    let began = Instant::now();
    let step_log = &run.step_log;
    step_log.update(|facts| {
        facts.server = Some(prepared.server.clone());
        facts.brought_back = Some(prepared.brings_back.clone());
        facts.replaces = prepared.standing.as_ref().map(replaced);
    });
    let ledger = prepared.request.repository.restore_ledger();
    let details = || Details::UndoRestore {
        restoration: Some(Box::new(step_log.so_far())),
    };
    let start = run.record_with_requester(Event::Started, &prepared.database, details());
    append(&ledger, &start, "nothing was undone because")?;
    let outcome = prepared.swap_back(run).await;
    // However the swap has ended.
    let start_failed = prepared.application().start(run).await;
    step_log.pause();
    let took = began.elapsed();
    step_log.update(|facts| {
        facts.left.extend(start_failed.as_deref().map(not_started));
        if let Ok(sessions_ended) = &outcome {
            facts.sessions_ended = Some(*sessions_ended);
            facts.kept_as.clone_from(&prepared.keeps_as);
        }
    });
    let outcome = prepared.report(outcome, took, start_failed);
    let (event, message) = match &outcome {
        Ok(report) => {
            let message = format!("{} has its name back", report.brought_back);
            (Event::Succeeded, message)
        }
        Err(error) => (Event::Failed, error.to_string()),
    };
    let mut end = run.record(event, &prepared.database, details());
    end.seconds = Some(took.as_secs_f64());
    end.message = Some(message);
    if let Err(unwritten) = ledger.append(&end) {
        tracing::warn!(
            "the end could not be written to {}: {unwritten}",
            ledger.path().display()
        );
    }
    outcome
}

impl PreparedUndo<'_> {
    async fn swap_back(&mut self, run: &Run<'_>) -> Result<u64, JobError> {
        self.application().stop(run).await?;
        let connect = run.connect_limit();
        loop {
            run.step("swapping the names back");
            let swap = Swap {
                maintenance: &self.maintenance,
                connect,
                names: TakePlace {
                    from: &self.brings_back,
                    name: &self.database,
                    aside: self.keeps_as.as_deref(),
                    is_new: false,
                    like: None,
                },
            };
            // Somebody else may have taken the name that was meant for what is put aside.
            match (swap.carry_out().await, &self.keeps_as) {
                (Err(JobError::Query(error)), Some(aside)) if error.is_taken_database_name() => {
                    let client = Client::connect(&self.maintenance, connect).await?;
                    let all = databases(&client).await?;
                    if !all.contains_key(aside) {
                        return Err(error.into());
                    }
                    let other = SideName::Undone.name(&self.database, run.now(), &all);
                    self.keeps_as = Some(other);
                }
                (swapped, _) => return swapped,
            }
        }
    }

    fn application(&self) -> Application<'_> {
        Application {
            settings: self.request.settings,
            database: self.request.database,
        }
    }

    fn report(
        &self,
        outcome: Result<u64, JobError>,
        took: Duration,
        start_failed: Option<String>,
    ) -> Result<UndoReport, JobError> {
        match outcome {
            Ok(sessions_ended) => Ok(UndoReport {
                database: self.database.clone(),
                brought_back: self.brings_back.clone(),
                kept_as: self.keeps_as.clone(),
                sessions_ended,
                took,
                start_failed,
            }),
            Err(source) => {
                let left = start_failed.map(|error| format!("\n{}", not_started(&error)));
                Err(JobError::Restore {
                    standing: format!("the restore of {:?} was not undone", self.database),
                    source: Box::new(source),
                    left: left.unwrap_or_default(),
                })
            }
        }
    }
}
