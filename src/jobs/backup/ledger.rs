//! What a run writes to the ledger, from its start to its end.

use super::Run;
use crate::jobs::record::unrecorded;
use crate::jobs::{JobError, JobErrorKind};
use crate::repository::{Event, Operation, Record, RepositoryError};

impl Run<'_> {
    fn record(&self, event: Event) -> Record {
        let mut record = self
            .context
            .record(self.id, Operation::Backup, event, self.name());
        record.series = Some(self.request.series.clone());
        record.reason = self.request.reason.map(str::to_owned);
        record
    }

    /// The record of the run's end, with how long it took.
    pub(super) fn end_record(&self, event: Event) -> Record {
        let mut record = self.record(event);
        record.seconds = Some(self.began.elapsed().as_secs_f64());
        record
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
        let mut record = self.end_record(event);
        record.message = Some(error.to_string());
        // The failure itself is what the operator must hear of, even with a full disk.
        if let Err(unwritten) = self.repository.ledger().append(&record) {
            tracing::warn!("the failure could not be written to the ledger: {unwritten}");
        }
    }
}
