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

    /// Whether a run reads the copies at this destination.
    pub(super) fn verifies_copies_at(&self, destination: &str) -> bool {
        let running = self.goes_on(Operation::VerifyCopies);
        running.is_some_and(|start| match &start.details {
            Details::VerifyCopies(details) => details.destination == destination,
            _ => false,
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
        let job = running_job(self.inspection.running, directory, holds_the_lock);
        let mut running = Vec::new();
        if let Some(work) = &self.at_work {
            let holder = work.holder.as_ref();
            let line = self.series_at_work().and_then(|series| backups.get(series));
            let is_backup = holder.is_none_or(|holder| holder.operation == "backup");
            running.push(RunningNow {
                operation: holder.map(|holder| holder.operation.clone()),
                job: job.map(|job| job.job.clone()),
                backup: holder.and_then(|holder| self.restored_by(holder)),
                since: holder.map(|holder| self.local(holder.since)),
                requested_by: holder.map(|holder| holder.requested_by.to_string()),
                written: is_backup.then_some(work.written),
                expected: line
                    .and_then(|line| line.sizes.last().copied())
                    .filter(|_| is_backup),
                publishing: work.publishing,
                destination: None,
            });
        }
        for (operation, words) in [
            (Operation::Verify, "verification"),
            (Operation::VerifyCopies, "verification of copies"),
            (Operation::Drill, "test restore"),
        ] {
            let Some(open) = self.goes_on(operation) else {
                continue;
            };
            running.push(self.by_record(words, open));
        }
        running.extend(self.copies_in_progress());
        running
    }

    /// The copies that go on, the one that began first before others.
    fn copies_in_progress(&self) -> Vec<RunningNow> {
        let mut copies: Vec<RunningNow> = self
            .history
            .open
            .iter()
            .filter(|open| {
                let alive = open.requested_by.as_ref().map(Requester::may_be_alive);
                alive == Some(true)
            })
            .filter_map(|open| {
                let Details::Copy(details) = &open.details else {
                    return None;
                };
                Some(RunningNow {
                    destination: details.destination.clone(),
                    ..self.by_record("copy", open)
                })
            })
            .collect();
        copies.sort_by_key(|copy| copy.since);
        copies
    }

    /// What goes on, by the record of its start.
    fn by_record(&self, operation: &str, open: &Record) -> RunningNow {
        RunningNow {
            operation: Some(operation.to_owned()),
            job: open.job.clone(),
            backup: open.backup().map(str::to_owned),
            since: Some(self.local(open.at)),
            requested_by: open.requested_by.as_ref().map(ToString::to_string),
            written: None,
            expected: None,
            publishing: false,
            destination: None,
        }
    }
}

/// Whether a job of this kind holds the lock of the directory that it works on.
fn holds_the_lock(kind: &str) -> bool {
    !matches!(kind, "verify" | "verify_copies" | "drill" | "copy")
}
