//! Swapping a salvaged database in for the one that serves.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::config::{Connection, RestoreSettings};
use crate::jobs::record::append;
use crate::jobs::restore::application::Application;
use crate::jobs::restore::begin::{NOTHING_RESTORED, lock};
use crate::jobs::restore::maintenance::connect_to_another;
use crate::jobs::restore::side_names::SideName;
use crate::jobs::restore::swap::Swap;
use crate::jobs::restore::work::not_started;
use crate::jobs::run::Run;
use crate::jobs::{JobContext, JobError};
use crate::postgres::{
    Conninfo, DatabaseProperties, Standing, TakePlace, database_properties, databases,
};
use crate::repository::{Event, Lock, Replaced, Repository, RestoreDetails, SideNames};

/// A salvaged database that is to take another one's place.
#[derive(Clone, Copy, Debug)]
pub struct SwapRequest<'a> {
    /// The server.
    pub connection: &'a Connection,
    /// The database whose name it gets.
    pub database: &'a str,
    /// The salvaged database.
    pub from: &'a str,
    /// The directory whose lock is taken and whose `restore.log` is written.
    pub repository: &'a Repository,
    /// What surrounds it.
    pub settings: &'a RestoreSettings,
}

/// A swap that can be done. Holds the database's lock.
pub struct PreparedSwap<'a> {
    /// What bears the name now; none if nothing does.
    pub standing: Option<Standing>,
    /// The name that this gets.
    pub keeps_as: Option<String>,
    /// The server, as host and port.
    pub server: String,
    /// The backup that was salvaged.
    pub backup: String,
    /// Whether that is recorded to be of this database; a dump file need not say of which it is.
    pub is_of_database: bool,
    request: SwapRequest<'a>,
    maintenance: Conninfo,
    like: DatabaseProperties,
    _lock: Lock,
}

/// A swap that was done.
#[derive(Clone, Debug)]
pub struct SwapReport {
    /// What the database is called now that was replaced.
    pub kept_as: Option<String>,
    /// Sessions that were ended.
    pub sessions_ended: u64,
    /// How long it took.
    pub took: Duration,
    /// Why the application could not be started again.
    pub start_failed: Option<String>,
}

/// With what the comment on a database begins that a salvage has made, and in it whose it is; the database's
/// own comment follows on the next line.
pub(super) fn mark(host: &str, database: Option<&str>, backup: &str) -> String {
    let what = match database {
        Some(database) => format!("database {database:?}"),
        None => "a database".to_owned(),
    };
    format!("pgbackupd on {host} salvaged {what} here from {backup}")
}

/// What such a comment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark<'c> {
    backup: &'c str,
    /// Whether it names the database.
    is_of_database: bool,
    /// The database's own comment.
    own: Option<&'c str>,
}

/// What such a comment says. None if it is none, or another host's or another database's.
fn read_mark<'c>(comment: &'c str, host: &str, database: &str) -> Option<Mark<'c>> {
    let (first, own) = match comment.split_once('\n') {
        Some((first, own)) => (first, Some(own)),
        None => (comment, None),
    };
    [Some(database), None].iter().find_map(|of| {
        Some(Mark {
            backup: first.strip_prefix(&mark(host, *of, ""))?,
            is_of_database: of.is_some(),
            own,
        })
    })
}

/// The salvaged database among all that the server has, and what its comment says.
///
/// # Errors
/// When there is none, or no salvage of this database has made it.
fn salvaged<'d>(
    all: &'d BTreeMap<String, Standing>,
    request: SwapRequest<'_>,
    [host, server]: [&str; 2],
) -> Result<Mark<'d>, JobError> {
    let SwapRequest { database, from, .. } = request;
    let Some(standing) = all.get(from) else {
        return Err(JobError::NoSuchDatabase(format!(
            "there is no database {from:?} on {server}"
        )));
    };
    let comment = standing.comment.as_deref().unwrap_or_default();
    read_mark(comment, host, database).ok_or_else(|| {
        let first = comment.lines().next().unwrap_or_default();
        let says = if first.is_empty() {
            "it has none".to_owned()
        } else {
            format!("it is {first:?}")
        };
        JobError::NoSuchDatabase(format!(
            "{from:?} is no database that a salvage of {database:?} has made on this host, by its comment: {says}\n\
             hint: ALTER DATABASE … RENAME swaps names by hand"
        ))
    })
}

/// Takes the lock, and makes sure that a salvage of this database has made what is to be swapped in.
///
/// # Errors
/// When it has not, or the server does not answer.
pub async fn prepare_swap<'a>(
    context: &JobContext,
    request: SwapRequest<'a>,
) -> Result<PreparedSwap<'a>, JobError> {
    let SwapRequest {
        connection,
        database,
        from,
        repository,
        ..
    } = request;
    let client = connect_to_another(context, connection, database).await?;
    let maintenance = client.conninfo().clone();
    let (host, server) = (&context.requester.host, maintenance.server());
    // Nothing is made here for a swap that is refused.
    salvaged(&databases(&client).await?, request, [host, &server])?;
    repository.create()?;
    let (lock, _) = lock(context, repository, "swap of a salvaged database")?;
    let all = databases(&client).await?;
    let mark = salvaged(&all, request, [host, &server])?;
    let inside =
        crate::postgres::Client::connect(&maintenance.to_database(from), context.limits.connect)
            .await?;
    let mut like = database_properties(&inside).await?;
    like.comment = mark.own.map(str::to_owned);
    drop(inside);
    let standing = all.get(database).cloned();
    Ok(PreparedSwap {
        keeps_as: standing
            .as_ref()
            .map(|_| SideName::Before.name(database, context.now(), &all)),
        standing,
        backup: mark.backup.to_owned(),
        is_of_database: mark.is_of_database,
        server,
        request,
        maintenance,
        like,
        _lock: lock,
    })
}

/// Swaps the names, in one transaction.
///
/// # Errors
/// The names are then as they were.
pub async fn swap_salvaged(
    run: &Run<'_>,
    prepared: PreparedSwap<'_>,
) -> Result<SwapReport, JobError> {
    let began = Instant::now();
    let request = prepared.request;
    run.step_log.update(|facts| {
        facts.salvages = true;
        facts.server = Some(prepared.server.clone());
        facts.loaded_into = Some(request.from.to_owned());
        facts.replaces = prepared.standing.as_ref().map(|standing| Replaced {
            bytes: standing.size_bytes,
            sessions: standing.sessions,
        });
    });
    let details = |side_names| RestoreDetails {
        backup: Some(prepared.backup.clone()),
        side_names,
        restoration: Some(Box::new(run.step_log.so_far())),
    };
    let ledger = request.repository.restore_ledger();
    let names = SideNames {
        loads_into: request.from.to_owned(),
        keeps_as: prepared.keeps_as.clone(),
        compares_with: None,
    };
    let start = run.record_with_requester(Event::Started, request.database, details(Some(names)));
    append(&ledger, &start, NOTHING_RESTORED)?;
    let outcome = prepared.carry_out(run).await;
    // However the swap has ended.
    let start_failed = match prepared.application() {
        Some(application) => application.start(run).await,
        None => None,
    };
    run.step_log.pause();
    let took = began.elapsed();
    prepared.log_to(run, outcome.as_ref().ok(), start_failed.as_deref());
    let (event, message) = match &outcome {
        Ok(_) => (Event::Succeeded, format!("{} was swapped in", request.from)),
        Err(error) => (error.event(), error.to_string()),
    };
    let mut end = run.record(event, request.database, details(None));
    end.seconds = Some(took.as_secs_f64());
    end.message = Some(message);
    if let Err(unwritten) = ledger.append(&end) {
        let path = ledger.path().display();
        tracing::warn!("the end could not be written to {path}: {unwritten}");
    }
    match outcome {
        Ok(sessions_ended) => Ok(SwapReport {
            kept_as: prepared.keeps_as.clone(),
            sessions_ended,
            took,
            start_failed,
        }),
        Err(source) => Err(JobError::Restore {
            standing: format!("{:?} was not swapped in", request.from),
            source: Box::new(source),
            left: start_failed
                .map_or_else(String::new, |error| format!("\n{}", not_started(&error))),
        }),
    }
}

impl PreparedSwap<'_> {
    async fn carry_out(&self, run: &Run<'_>) -> Result<u64, JobError> {
        let SwapRequest { database, from, .. } = self.request;
        if let Some(application) = self.application() {
            application.stop(run).await?;
        }
        run.step(&match &self.keeps_as {
            Some(aside) => {
                format!("swapping names: {database} becomes {aside}, {from} becomes {database}")
            }
            None => format!("renaming {from} to {database}"),
        });
        let swap = Swap {
            maintenance: &self.maintenance,
            connect: run.connect_limit(),
            names: TakePlace {
                from,
                name: database,
                aside: self.keeps_as.as_deref(),
                is_new: true,
                like: Some(&self.like),
            },
        };
        swap.carry_out().await
    }

    /// Logs what the incident report says of it.
    fn log_to(&self, run: &Run<'_>, sessions_ended: Option<&u64>, start_failed: Option<&str>) {
        run.step_log.update(|facts| {
            facts.left.extend(start_failed.map(not_started));
            if let Some(sessions_ended) = sessions_ended {
                facts.sessions_ended = Some(*sessions_ended);
                facts.kept_as.clone_from(&self.keeps_as);
            }
        });
    }

    /// The application, if there is a database that it can use.
    fn application(&self) -> Option<Application<'_>> {
        self.standing.as_ref().map(|_| Application {
            settings: self.request.settings,
            database: self.request.database,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Mark, mark, read_mark};

    #[test]
    fn only_a_salvage_of_this_database_on_this_host_is_swapped_in() {
        let ours = mark("db1", Some("a \"b"), "backup_20250709_020000");
        let commented = format!("{ours}\nsales\nof all");
        let read = |backup, is_of_database, own| {
            Some(Mark {
                backup,
                is_of_database,
                own,
            })
        };
        for (comment, expected) in [
            (ours.clone(), read("backup_20250709_020000", true, None)),
            (
                commented,
                read("backup_20250709_020000", true, Some("sales\nof all")),
            ),
            (
                mark("db1", None, "/tmp/x.sql"),
                read("/tmp/x.sql", false, None),
            ),
            (mark("db2", Some("a \"b"), "x"), None),
            (mark("db1", Some("other"), "x"), None),
            (
                "pgbackupd on db1 restores \"a \\\"b\" here".to_owned(),
                None,
            ),
            (String::new(), None),
        ] {
            assert_eq!(read_mark(&comment, "db1", "a \"b"), expected, "{comment}");
        }
    }
}
