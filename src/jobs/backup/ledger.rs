//! What a run writes to the ledger, from its start to its end.

use super::Run;
use crate::jobs::record::unrecorded;
use crate::jobs::{JobError, JobErrorKind};
use crate::repository::{BackupDetails, Event, Record, RepositoryError};

impl Run<'_> {
    /// What every record of the run has.
    pub(super) fn details(&self) -> BackupDetails {
        BackupDetails {
            series: Some(self.request.series.clone()),
            reason: self.request.reason.map(str::to_owned),
            ..BackupDetails::default()
        }
    }

    fn record(&self, event: Event) -> Record {
        let details = self.details();
        self.context.record(self.id, event, self.name(), details)
    }

    /// Nothing is begun that is not on record, but in an emergency.
    pub(super) fn record_start(&self) -> Result<(), JobError> {
        let mut record = self.record(Event::Started);
        record.requested_by = Some(self.context.requester.clone());
        let ledger = self.repository.ledger();
        match ledger.append(&record) {
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
        record.requested_by = Some(self.context.requester.clone());
        if let Err(unwritten) = self.repository.ledger().append(&record) {
            tracing::warn!("the ledger could not be written: {unwritten}");
        }
    }

    pub(super) fn record_failure(&self, error: &JobError) {
        let event = match error.kind() {
            JobErrorKind::Interrupted => Event::Interrupted,
            _ => Event::Failed,
        };
        let mut record = self.record(event);
        record.seconds = Some(self.began.elapsed().as_secs_f64());
        record.message = Some(error.to_string());
        // The failure itself is what the operator must hear of, even with a full disk.
        if let Err(unwritten) = self.repository.ledger().append(&record) {
            tracing::warn!("the failure could not be written to the ledger: {unwritten}");
        }
    }
}
