//! The lock, and everything put in order before anything is begun.

use super::Backup;
use super::remarks::forecast;
use crate::jobs::{JobError, recovery};
use crate::repository::{Holder, Lock, RepositoryError};

impl Backup<'_> {
    /// Takes the database's lock; a run that finds it taken is on record as skipped.
    pub(super) fn lock(&self) -> Result<Lock, JobError> {
        let holder = Holder {
            since: self.started,
            ..self.run.context.holder("backup")
        };
        self.repository.lock(&holder).map_err(|error| {
            if let RepositoryError::Busy { .. } = error {
                self.record_skip(&error);
            }
            error.into()
        })
    }

    /// Puts right what earlier runs left, and looks at what there is before anything is begun.
    pub(super) fn put_in_order(&self, lock: &Lock) -> Result<Vec<String>, JobError> {
        let mut warnings = Vec::new();
        let (recovery, catalogue) = recovery::sweep(self.repository, lock)?;
        for run in &recovery.swept {
            tracing::info!("removed the temporary files of run {run}, which was cut short");
        }
        for name in &recovery.completed {
            warnings.push(format!(
                "{name} was completed: its run had been cut short at the end"
            ));
        }
        for what in &recovery.remaining {
            warnings.push(format!("what an earlier run left remains: {what}"));
        }
        match recovery::close_open_runs(self.run.context, self.repository, &catalogue) {
            Err(error) if !self.is_emergency() => return Err(error),
            _ => {}
        }
        if let Some(newest) = catalogue.backups.last()
            && newest.database != *self.name()
        {
            return Err(RepositoryError::OtherDatabase {
                directory: self.repository.directory().to_owned(),
                found: newest.database.clone(),
                wanted: self.name().to_owned(),
            }
            .into());
        }
        let free = self.repository.free_space()?;
        let last = catalogue
            .backups
            .iter()
            .rev()
            .find(|entry| entry.stem.series == *self.request.series)
            .or(catalogue.backups.last());
        warnings.extend(forecast(
            free,
            self.run.context.limits.free_space.as_u64(),
            last.map(|e| e.bytes),
        ));
        Ok(warnings)
    }
}
