//! How long ago a test restore of a database came to a result.

use std::ops::ControlFlow;

use chrono::{DateTime, Utc};

use crate::jobs::error::JobError;
use crate::policy::{DrillMissed, Expectation};
use crate::repository::{Catalogue, Entry, Repository, RepositoryError};

/// Why the newest test restore of the database whose backups stand here is not new enough; none
/// where it is.
///
/// # Errors
/// When the ledger or the directory cannot be read.
pub fn missed_drill(
    repository: &Repository,
    expectation: Expectation,
    now: DateTime<Utc>,
) -> Result<Option<DrillMissed>, JobError> {
    if expectation.drill_age.is_none() {
        return Ok(None);
    }
    let mut newest = None;
    let ledger = repository.restore_ledger();
    ledger
        .read_backwards(|record| {
            if record.is_drill_result() {
                newest = Some(record.at.to_utc());
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })
        .map_err(RepositoryError::io("read", ledger.path()))?;
    // Only where there is none: every manifest is read for it.
    let since = match newest {
        Some(_) => None,
        None => backups_since(repository, &repository.catalogue()?),
    };
    Ok(expectation.missed_drill(newest, since, now))
}

/// Since when a database is known to have backups: the oldest that is there, or the making of its
/// directory, if that was earlier, since retention removes the oldest. None where none that is
/// sound is there to be restored.
pub(in crate::jobs) fn backups_since(
    repository: &Repository,
    catalogue: &Catalogue,
) -> Option<DateTime<Utc>> {
    let backups = &catalogue.backups;
    let oldest = backups.iter().find(|entry| !entry.is_partial())?;
    let oldest = oldest.started.to_utc();
    backups
        .iter()
        .any(Entry::counts)
        .then(|| repository.made_at().map_or(oldest, |made| made.min(oldest)))
}
