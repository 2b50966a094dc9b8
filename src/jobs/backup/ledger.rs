//! What a run writes to the ledger, from its start to its end.

use super::Backup;
use crate::jobs::JobError;
use crate::jobs::record::unrecorded;
use crate::repository::{BackupDetails, Event, Record, RepositoryError};

impl Backup<'_> {
    /// What every record of the run has.
    pub(super) fn details(&self) -> BackupDetails {
        BackupDetails {
            series: Some(self.request.series.clone()),
            reason: self.request.reason.map(str::to_owned),
            ..BackupDetails::default()
        }
    }

    fn record(&self, event: Event) -> Record {
        let (name, details) = (self.name(), self.details());
        self.run.record_with_requester(event, name, details)
    }

    /// Nothing is begun that is not on record, but in an emergency.
    pub(super) fn record_start(&self) -> Result<(), JobError> {
        let ledger = self.repository.ledger();
        match ledger.append(&self.record(Event::Started)) {
            Err(error) if !self.is_emergency() => {
                Err(unrecorded(&ledger, "nothing was done because")(error))
            }
            _ => Ok(()),
        }
    }

    /// That another run was at work on the database.
    pub(super) fn record_skip(&self, busy: &RepositoryError) {
        let mut record = self.record(Event::Skipped);
        record.message = Some(busy.to_string());
        self.append_or_warn(&record);
    }

    pub(super) fn record_failure(&self, error: &JobError) {
        let (name, details) = (self.name(), self.details());
        let mut record = self.run.record(error.event(), name, details);
        record.seconds = Some(self.began.elapsed().as_secs_f64());
        record.message = Some(error.to_string());
        // The failure itself is what the operator must hear of, even with a full disk.
        self.append_or_warn(&record);
    }

    fn append_or_warn(&self, record: &Record) {
        let ledger = self.repository.ledger();
        if let Err(unwritten) = ledger.append(record) {
            let path = ledger.path().display();
            tracing::warn!("the outcome could not be recorded in {path}: {unwritten}");
        }
    }
}
