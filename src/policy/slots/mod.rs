//! What became of each slot of a series: done, failed, missed or skipped. The success rate (P18) counts
//! slots and not runs. Pure.
//!
//! A slot is done once a backup for it has succeeded, at whatever attempt: a retry, a catch-up run and a
//! backup that somebody makes by hand before the next slot all count. A slot in a blackout counts
//! neither way, and neither does one from before the schedule was in force.

mod rate;

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::{Admission, Blackouts, Schedule, SkipReason, admit, window_end};

pub use rate::{SlotTally, SuccessRate, share};

/// What became of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SlotOutcome {
    /// A backup was made for it.
    Done,
    /// Every run for it failed or was interrupted.
    Failed,
    /// No run started for it although one was due.
    Missed,
    /// The configuration did not want a run: a blackout, or a reload that removed the job. It does not
    /// count.
    Skipped,
    /// A run is in progress or may still start. It does not count yet.
    Pending,
}

/// A slot, and what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// When it was due.
    pub at: DateTime<Utc>,
    /// What became of it.
    pub outcome: SlotOutcome,
}

/// What a job promises: a backup for each of its slots.
#[derive(Clone, Copy, Debug)]
pub struct SlotPromise<'a> {
    /// Its slots up to now, oldest first, as [`slots_between`] gives them.
    pub grid: &'a [DateTime<Utc>],
    /// Its schedule.
    pub schedule: &'a Schedule,
    /// When it does not start.
    pub blackouts: &'a Blackouts,
    /// So long after its slot a run may start.
    pub window: Duration,
    /// So long after its slot a backup may be there before the slot counts as missed.
    pub allowed: Duration,
    /// Since when the schedule is known to be in force; none where that is not known. Then only slots
    /// with a run on record are known.
    pub since: Option<DateTime<Utc>>,
}

/// A run of a series, as far as slots depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotRun {
    /// The slot that it was for; without one, when it started.
    pub at: DateTime<Utc>,
    /// Whether a schedule started it.
    pub is_scheduled: bool,
    /// How it ended.
    pub end: RunEnd,
}

/// How a run ended. What decides over a slot comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RunEnd {
    /// It did not start, since the configuration did not want it.
    Excused,
    /// It did not start for another reason.
    Omitted,
    /// It failed or was interrupted.
    Failed,
    /// It has not ended.
    Running,
    /// It succeeded.
    Succeeded,
}

impl RunEnd {
    /// How a run ended that did not start, by the reason on record.
    pub fn of_skipped(reason: &str) -> Self {
        if SkipReason::is_wanted(reason) {
            Self::Excused
        } else {
            Self::Omitted
        }
    }

    fn outcome(self) -> SlotOutcome {
        match self {
            Self::Excused => SlotOutcome::Skipped,
            Self::Omitted => SlotOutcome::Missed,
            Self::Failed => SlotOutcome::Failed,
            Self::Running => SlotOutcome::Pending,
            Self::Succeeded => SlotOutcome::Done,
        }
    }
}

/// The slots of a schedule after one moment and up to another, oldest first.
pub fn slots_between(
    schedule: &Schedule,
    after: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Vec<DateTime<Utc>> {
    let next = |slot: &DateTime<Utc>| schedule.next_after(*slot).map(|next| next.to_utc());
    std::iter::successors(next(&after), next)
        .take_while(|slot| *slot <= until)
        .collect()
}

/// Since when a schedule is in force, as far as the runs on record show: the first run for one of its
/// slots after the last one for a moment that is none of its slots.
pub fn in_force_by_record(grid: &[DateTime<Utc>], runs: &[SlotRun]) -> Option<DateTime<Utc>> {
    let first = *grid.first()?;
    let is_slot = |at: &DateTime<Utc>| grid.binary_search(at).is_ok();
    let scheduled = runs.iter().filter(|run| run.is_scheduled);
    let (on, off): (Vec<_>, Vec<_>) = scheduled
        .map(|run| run.at)
        .filter(|at| *at >= first)
        .partition(is_slot);
    let last_off = off.into_iter().max();
    let since = on.into_iter().filter(|at| Some(*at) > last_off).min()?;
    Some(since - TimeDelta::seconds(1))
}

/// The slots of a series after one moment and up to `now`, oldest first: those that its jobs promise,
/// and those that have a run on record.
pub fn series_slots(
    promises: &[SlotPromise<'_>],
    runs: &[SlotRun],
    (after, now): (DateTime<Utc>, DateTime<Utc>),
) -> Vec<Slot> {
    let mut slots: BTreeMap<DateTime<Utc>, SlotOutcome> = BTreeMap::new();
    for promise in promises {
        let Some(since) = promise.since else {
            continue;
        };
        let is_due = |at: &&DateTime<Utc>| **at > after && **at > since && **at <= now;
        for at in promise.grid.iter().filter(is_due) {
            let outcome = promise.without_a_run(*at, now);
            let worst = slots.entry(*at).or_insert(outcome);
            *worst = (*worst).min(outcome);
        }
    }
    let mut decided: BTreeMap<DateTime<Utc>, RunEnd> = BTreeMap::new();
    let within = |run: &&SlotRun| run.at > after && run.at <= now;
    for run in runs.iter().filter(within).filter(|run| run.is_scheduled) {
        let end = decided.entry(run.at).or_insert(run.end);
        *end = (*end).max(run.end);
    }
    slots.extend(decided.into_iter().map(|(at, end)| (at, end.outcome())));
    let by_hand = runs.iter().filter(within).filter(|run| !run.is_scheduled);
    for run in by_hand.filter(|run| run.end == RunEnd::Succeeded) {
        if let Some((_, outcome)) = slots.range_mut(..=run.at).next_back() {
            *outcome = SlotOutcome::Done;
        }
    }
    slots
        .into_iter()
        .map(|(at, outcome)| Slot { at, outcome })
        .collect()
}

impl SlotPromise<'_> {
    /// What became of a slot for which no run is on record.
    fn without_a_run(&self, at: DateTime<Utc>, now: DateTime<Utc>) -> SlotOutcome {
        let window_ends = window_end(self.schedule, at, self.window);
        let admission = admit(at, window_ends, self.blackouts);
        if matches!(admission, Admission::Skip(SkipReason::Blackout { .. })) {
            return SlotOutcome::Skipped;
        }
        let starts = match admission {
            Admission::Wait(until) => until,
            Admission::Start | Admission::Skip(_) => at,
        };
        let allowed = TimeDelta::from_std(self.allowed).unwrap_or(TimeDelta::MAX);
        let is_over = starts
            .checked_add_signed(allowed)
            .is_some_and(|end| end <= now);
        if is_over {
            SlotOutcome::Missed
        } else {
            SlotOutcome::Pending
        }
    }
}

impl SlotOutcome {
    /// The outcome in a word, for programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Missed => "missed",
            Self::Skipped => "skipped",
            Self::Pending => "pending",
        }
    }
}

#[cfg(test)]
mod tests;
