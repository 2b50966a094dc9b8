//! What runs on a database now, and what has been cut short.

use std::collections::BTreeMap;

use super::gathered::Gathered;
use super::{Line, RunningNow, running_job};
use crate::jobs::CutShort;
use crate::policy::Series;
use crate::repository::{Details, Holder, Operation, Record, Requester};

impl Gathered<'_> {
    /// What there is to know of a restore that was killed, and that nobody has made or undone again
    /// since. A later backup shows that life goes on.
    pub(super) fn restore_cut_short(&self) -> Option<String> {
        let start = self.history.restore.as_ref()?;
        let since = self.catalogue.backups.last();
        if self.at_work.is_some() || since.is_some_and(|backup| backup.started > start.at) {
            return None;
        }
        let application = self.inspection.plan.restore.start.as_deref();
        let cut_short = CutShort::of(start)?;
        Some(cut_short.display(&self.database, None, application))
    }

    /// The series that is being made, by the ledger of a directory whose lock is held.
    pub(super) fn series_at_work(&self) -> Option<&Series> {
        let Details::Backup(details) = &self.backup_at_work()?.details else {
            return None;
        };
        details.series.as_ref()
    }

    /// The start record of the backup that is being made.
    pub(super) fn backup_at_work(&self) -> Option<&Record> {
        self.at_work.as_ref()?;
        let mut open = self.history.open.iter();
        open.find(|open| matches!(open.details, Details::Backup(_)))
    }

    /// The start record of a verification or a test restore that goes on, whoever started it. They
    /// hold no lock; their process tells.
    pub(super) fn goes_on(&self, operation: Operation) -> Option<&Record> {
        self.history.open.iter().find(|open| {
            let alive = open.requested_by.as_ref().map(Requester::may_be_alive);
            open.operation() == operation && alive == Some(true)
        })
    }

    /// What the process that holds the lock restores, once that has begun.
    pub(super) fn restored_by(&self, holder: &Holder) -> Option<String> {
        let mut open = self.history.open.iter();
        let begun = open.find(|open| {
            let process = open.requested_by.as_ref().map(|by| by.pid);
            open.operation() == Operation::Restore && process == Some(holder.requested_by.pid)
        });
        begun?.backup().map(str::to_owned)
    }

    pub(super) fn running(&self, backups: &BTreeMap<Series, Line>) -> Vec<RunningNow> {
        let directory = self.spot.repository.directory();
        let job = running_job(self.inspection.running, directory);
        let mut running = Vec::new();
        if let Some(work) = &self.at_work {
            let holder = work.holder.as_ref();
            let line = self.series_at_work().and_then(|series| backups.get(series));
            let is_backup = holder.is_none_or(|holder| holder.operation == "backup");
            running.push(RunningNow {
                operation: holder.map(|holder| holder.operation.clone()),
                job: job
                    .filter(|job| job.kind != "verify" && job.kind != "drill")
                    .map(|job| job.job.clone()),
                backup: holder.and_then(|holder| self.restored_by(holder)),
                since: holder.map(|holder| self.local(holder.since)),
                requested_by: holder.map(|holder| holder.requested_by.to_string()),
                written: is_backup.then_some(work.written),
                expected: line
                    .and_then(|line| line.sizes.last().copied())
                    .filter(|_| is_backup),
                publishing: work.publishing,
            });
        }
        for (operation, words) in [
            (Operation::Verify, "verification"),
            (Operation::Drill, "test restore"),
        ] {
            let Some(open) = self.goes_on(operation) else {
                continue;
            };
            running.push(RunningNow {
                operation: Some(words.to_owned()),
                job: open.job.clone(),
                backup: open.backup().map(str::to_owned),
                since: Some(self.local(open.at)),
                requested_by: open.requested_by.as_ref().map(ToString::to_string),
                written: None,
                expected: None,
                publishing: false,
            });
        }
        running
    }
}
