//! A look at one database's directory.

use std::path::PathBuf;

use chrono::{DateTime, TimeDelta, Utc};

use super::DatabaseStatus;
use super::directories::Spot;
use super::gathered::Gathered;
use super::history::History;
use super::inspection::Inspection;
use crate::display::counted;
use crate::policy::{Concern, ConcernKind};
use crate::repository::{
    Catalogue, Details, Entry, Operation, Problem, Quarantined, Repository, RepositoryError,
};

/// What a look found.
pub(super) struct Look {
    pub(super) server: String,
    pub(super) database: String,
    /// None where the directory cannot be looked at.
    pub(super) status: Option<DatabaseStatus>,
    /// What kept the look from being a whole one.
    pub(super) trouble: Option<Concern>,
    pub(super) remarks: Vec<String>,
}

impl Inspection<'_> {
    /// Looks at a directory; none if it is one that was found and nothing in it is of ours.
    pub(super) fn look_at(&self, spot: &Spot<'_>) -> Option<Look> {
        let directory = spot.repository.directory();
        let unseen = |why: String| {
            let database = name_of(spot);
            Some(Look {
                trouble: Some(trouble(spot, &database, why)),
                status: None,
                remarks: Vec::new(),
                server: spot.server.name.clone(),
                database,
            })
        };
        if let Some(why) = self.answers.trouble(directory) {
            return unseen(why);
        }
        let catalogue = match spot.repository.catalogue() {
            Ok(catalogue) => catalogue,
            Err(error) => return unseen(error.to_string()),
        };
        let ledgers = self.ledgers(&spot.repository);
        let is_ours = ledgers.history.database.is_some()
            || !catalogue.backups.is_empty()
            || catalogue.problems.iter().any(Problem::is_of_a_backup);
        if spot.database.is_none() && !is_ours && ledgers.is_read {
            return None;
        }
        Some(self.look_inside(spot, catalogue, ledgers))
    }

    /// Looks at what is in a directory of ours.
    fn look_inside(&self, spot: &Spot<'_>, catalogue: Catalogue, ledgers: Ledgers) -> Look {
        let Ledgers {
            history,
            mut troubles,
            ..
        } = ledgers;
        let found = catalogue.backups.last().map(|newest| &newest.database);
        let database = spot
            .database
            .as_ref()
            .or(found)
            .or(history.database.as_ref())
            .map_or_else(|| name_of(spot), Clone::clone);
        troubles.extend(spot.repository.written_by_others());
        if let Some(found) = found.filter(|found| **found != database) {
            let error = RepositoryError::OtherDatabase {
                directory: spot.repository.directory().to_owned(),
                found: found.clone(),
                wanted: database.clone(),
            };
            troubles.push(error.to_string());
        }
        let at_work = spot.repository.at_work(&self.locks);
        let at_work = at_work.unwrap_or_else(|error| {
            troubles.push(error.to_string());
            None
        });
        let aside = in_quarantine(&spot.repository).unwrap_or_else(|error| {
            troubles.push(error.to_string());
            Vec::new()
        });
        let nobody_is_at_work = at_work.is_none();
        let cut_short = nobody_is_at_work
            .then(|| cut_short(&history, self.now))
            .flatten();
        let mut remarks: Vec<String> = cut_short.into_iter().collect();
        remarks.extend(catalogue.backups.iter().filter_map(about_a_partial_backup));
        remarks.extend(about_what_is_left_out(&spot.repository, &catalogue));
        let status = Gathered {
            inspection: self,
            spot,
            database: database.clone(),
            catalogue,
            history,
            at_work,
            aside,
        }
        .status();
        if status.strangers > 0 {
            remarks.push(format!(
                "files that look like backups and have no manifest: {}; `pgbackupd list` names them",
                status.strangers
            ));
        }
        Look {
            trouble: (!troubles.is_empty()).then(|| trouble(spot, &database, troubles.join("; "))),
            status: Some(status),
            remarks,
            server: spot.server.name.clone(),
            database,
        }
    }

    /// Reads both ledgers of a database.
    fn ledgers(&self, repository: &Repository) -> Ledgers {
        let now = self.context.local(self.now);
        let mut history = History::until(now);
        let ledger = repository.ledger();
        let read = ledger.read_backwards(|record| history.add_record(record));
        // Test restores have a ledger of their own.
        let mut drills = History::until(now);
        let restores = repository.restore_ledger();
        let read_drills = restores.read_backwards(|record| drills.take_restore(record));
        history.add_restores(drills);
        let is_read = read.is_ok();
        let outcomes = [(read, ledger.path()), (read_drills, restores.path())];
        let troubles = outcomes.into_iter().filter_map(|(read, path)| match read {
            Ok(0) => None,
            Ok(lines) => Some(format!(
                "{} in {} cannot be read: nobody wrote them here, and what they replaced is lost",
                counted(lines, "line", "lines"),
                path.display()
            )),
            Err(error) => Some(RepositoryError::io("read", path)(error).to_string()),
        });
        Ledgers {
            history,
            is_read,
            troubles: troubles.collect(),
        }
    }
}

/// What the ledgers of a database say.
struct Ledgers {
    history: History,
    /// Whether the one of its backups could be read.
    is_read: bool,
    /// What could not be read, one sentence each.
    troubles: Vec<String>,
}

/// The database as it is configured; else what its directory is called.
fn name_of(spot: &Spot<'_>) -> String {
    spot.database.clone().unwrap_or_else(|| {
        let directory = spot.repository.directory();
        let name = directory.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    })
}

/// What is in quarantine: where, and why.
fn in_quarantine(repository: &Repository) -> Result<Vec<(PathBuf, String)>, RepositoryError> {
    let described = |one: Quarantined| {
        let damage = one.state.checked.and_then(|check| check.damage);
        let damage = damage.unwrap_or_else(|| "its state is lost".to_owned());
        (one.directory, damage)
    };
    Ok(repository
        .quarantined()?
        .into_iter()
        .map(described)
        .collect())
}

/// A remark on a run that has no end, in a directory where nobody is at work; one that has begun since the
/// locks were looked at is at work.
fn cut_short(history: &History, seen: DateTime<Utc>) -> Option<String> {
    let open = history.open.iter().find(|open| {
        matches!(open.details, Details::Backup(_) | Details::Prune { .. })
            && open.at + TimeDelta::seconds(1) <= seen
    })?;
    Some(format!(
        "the {} of {} was cut short; the next run sweeps up what it left",
        if open.operation() == Operation::Backup {
            "backup"
        } else {
            "prune run"
        },
        open.at.format("%a %Y-%m-%d %H:%M:%S %:z")
    ))
}

/// That a backup is there which counts as none.
fn about_a_partial_backup(entry: &Entry) -> Option<String> {
    entry.is_partial().then(|| {
        format!(
            "{} is partial and counts as no backup: it lacks the rows of {}",
            entry.stem,
            entry.skipped_tables.join(", ")
        )
    })
}

/// What the newest backup does not have, by `pg_dump`'s rules: a job warns of it only when it changes.
fn about_what_is_left_out(repository: &Repository, catalogue: &Catalogue) -> Vec<String> {
    let newest = catalogue.backups.last();
    let Some(manifest) = newest.and_then(|newest| repository.manifest(&newest.stem).ok()) else {
        return Vec::new();
    };
    let left_out = manifest.left_out.iter();
    left_out
        .map(|one| format!("{}: {}", manifest.name, one.sentence()))
        .collect()
}

fn trouble(spot: &Spot<'_>, database: &str, sentence: String) -> Concern {
    Concern::new(ConcernKind::Directory, sentence)
        .of_server(&spot.server.name)
        .of_database(database)
        .in_directory(spot.repository.directory())
}
