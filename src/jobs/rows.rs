//! The rows of each table in a new backup and in those before it, from their censuses and from what
//! the state directory remembers of them.

use std::path::Path;

use super::JobContext;
use crate::pipeline::census::Census;
use crate::pipeline::{InputFile, read_census};
use crate::policy::{RowCheck, RowHistory, Rows, Seen, Tables, WINDOW};
use crate::repository::{AtRest, Catalogue, Entry, Repository, Role, RowMemory};
use crate::responsiveness::{self, PATIENCE};

/// The rows of each table in a new backup and in those before it.
pub(super) struct KnownRows {
    history: RowHistory,
    new: Tables,
}

impl KnownRows {
    /// Of a new backup with these rows, and the one before it.
    ///
    /// What is remembered counts if it ends with that one; else the censuses of those before it are
    /// read, one after the other. Encrypted ones cannot be read, and count for nothing.
    pub(super) fn read(
        context: &JobContext,
        repository: &Repository,
        (catalogue, previous, new): (&Catalogue, Option<&Seen>, &Seen),
        new_rows: Tables,
    ) -> Self {
        let before: Vec<&Entry> = catalogue
            .backups
            .iter()
            .filter(|entry| !entry.is_partial() && entry.stem.to_string() != new.name)
            .collect();
        let remembered = remembered(&context.state_directory, repository);
        let remembered = remembered.filter(|history| {
            previous.is_some_and(|previous| history.ends_with(&previous.name, previous.started))
        });
        let history = remembered.unwrap_or_else(|| {
            let mut history = RowHistory::default();
            for entry in &before[before.len().saturating_sub(WINDOW + 1)..] {
                if let Some(tables) = tables(repository, entry) {
                    let started = entry.started.to_utc();
                    history.push(&entry.stem.to_string(), started, &tables);
                }
            }
            history
        });
        Self {
            history,
            new: new_rows,
        }
    }

    /// To be judged.
    pub(super) fn check<'a>(
        &'a self,
        context: &JobContext,
        ignores: &'a dyn Fn(&str) -> bool,
    ) -> RowCheck<'a> {
        RowCheck {
            history: &self.history,
            new: &self.new,
            sensitivity: context.anomaly.sensitivity,
            ignores,
        }
    }

    /// Remembers them for the next backup.
    pub(super) fn remember(mut self, context: &JobContext, repository: &Repository, new: &Seen) {
        self.history.push(&new.name, new.started, &self.new);
        let memory = RowMemory {
            directory: repository.directory().to_owned(),
            history: self.history,
        };
        let state = &context.state_directory;
        let written = responsiveness::ask(state, PATIENCE, move |state| memory.write(state));
        if let Err(error) = written.flatten() {
            // The next backup reads the censuses.
            tracing::info!(
                "the rows of the newest backup cannot be noted in {}: {error}",
                state.display()
            );
        }
    }
}

fn remembered(state: &Path, repository: &Repository) -> Option<RowHistory> {
    let directory = repository.directory().to_owned();
    let read = responsiveness::ask(state, PATIENCE, move |state| {
        RowMemory::read(state, &directory)
    });
    Some(read.ok()??.history)
}

/// The tables of a backup, by its census; none where that cannot be read.
fn tables(repository: &Repository, entry: &Entry) -> Option<Tables> {
    let role = Role::Census(entry.at_rest());
    if entry.at_rest() == AtRest::Encrypted {
        return None;
    }
    let (census, _) = read_census(&InputFile::new(repository.path(&entry.stem, role), None))
        .inspect_err(|error| tracing::info!("the census of {} cannot be read: {error}", entry.stem))
        .ok()?;
    Some(rows_of(&census))
}

/// The rows of each table, by the census of a dump.
pub(super) fn rows_of(census: &Census) -> Tables {
    let tables = census.tables().map(|(name, counted)| {
        let rows = Rows {
            count: counted.rows,
            content: counted.hash.sealed(0),
        };
        (name.shown(), rows)
    });
    tables.collect()
}
