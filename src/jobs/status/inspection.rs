//! What every look at a directory needs: the plan, the time, and what was asked once for all of them.

use std::path::Path;

use chrono::{DateTime, FixedOffset, Utc};

use super::responsiveness::Answers;
use crate::config::{Job, Plan};
use crate::jobs::JobContext;
use crate::jobs::slots::SlotGrids;
use crate::policy::Promise;
use crate::repository::{HeldLocks, RunningJob};

/// What every look needs.
pub(super) struct Inspection<'a> {
    pub(super) context: &'a JobContext,
    pub(super) plan: &'a Plan,
    pub(super) now: DateTime<Utc>,
    /// The slots of backup jobs up to now.
    pub(super) grids: SlotGrids<'a>,
    /// Which directories hang.
    pub(super) answers: Answers,
    /// The daemon's state directory; none where it does not answer.
    pub(super) state_directory: Option<&'a Path>,
    pub(super) locks: HeldLocks,
    /// When the configuration was changed last.
    pub(super) changed: Option<DateTime<Utc>>,
    /// What the daemon says that it runs.
    pub(super) running: &'a [RunningJob],
}

impl Inspection<'_> {
    /// The newest slot of these jobs whose success is overdue.
    pub(super) fn overdue<'a>(
        &self,
        jobs: impl Iterator<Item = &'a Job>,
        newest: Option<DateTime<FixedOffset>>,
        known_since: Option<DateTime<Utc>>,
    ) -> Option<DateTime<FixedOffset>> {
        jobs.filter_map(|job| {
            let promise = Promise {
                schedule: &job.schedule,
                blackouts: &job.blackouts,
                allowed: job.jitter.saturating_add(self.plan.objectives.grace),
                // What has never happened was not promised before it can have been known.
                since: known_since.filter(|_| newest.is_none()),
            };
            let newest = newest.map(|newest| newest.to_utc());
            let overdue = promise.overdue(newest, self.now)?;
            Some(overdue.slot.fixed_offset())
        })
        .max()
    }
}
