//! The slots of a database's series, from the schedules in force and the ledger.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, FixedOffset, TimeDelta, Utc};

use crate::config::{Job, JobKind, Plan};
use crate::policy::{
    RunEnd, Series, Slot, SlotPromise, SlotRun, SlotTally, in_force_by_record, series_slots,
    slots_between,
};
use crate::repository::{Details, Event, Record, SchedulesInForce};
use crate::responsiveness::{PATIENCE, ask};

/// Slots are looked at for so many days.
pub(super) const SLOT_DAYS: i64 = 90;

/// The shorter of the two times for which slots are counted, in days.
pub(super) const MONTH_DAYS: i64 = 30;

/// So many slots of a series are shown, the newest ones.
pub const MOST_SLOTS: usize = 400;

/// The slots of a series, in the 90 days before now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeriesSlots {
    /// The newest ones, oldest first, [`MOST_SLOTS`] at most.
    pub newest: Vec<Slot>,
    /// How those of the last 30 days ended, all of them.
    pub month: SlotTally,
    /// How those of the last 90 days ended, all of them.
    pub quarter: SlotTally,
}

/// The runs of backups on record, by series.
#[derive(Clone, Debug, Default)]
pub(super) struct SlotRuns {
    by_series: BTreeMap<Series, Vec<SlotRun>>,
}

/// The slots of all backup jobs up to now, found once for all databases.
pub(super) struct SlotGrids<'a> {
    jobs: Vec<JobGrid<'a>>,
    after: DateTime<Utc>,
    now: DateTime<Utc>,
}

/// The slots of a job.
struct JobGrid<'a> {
    job: &'a Job,
    series: &'a Series,
    /// Since when the schedule is in force, if that is noted.
    since: Option<DateTime<Utc>>,
    grid: Vec<DateTime<Utc>>,
}

impl SlotRuns {
    /// Takes in the end of a run, or that it did not start. Other records are ignored.
    pub(super) fn add(&mut self, record: &Record) {
        let end = match record.event {
            Event::Started => return,
            Event::Succeeded => RunEnd::Succeeded,
            Event::Failed | Event::Interrupted => RunEnd::Failed,
            Event::Skipped => RunEnd::of_skipped(record.message.as_deref().unwrap_or_default()),
        };
        self.note(record, end);
    }

    /// Takes in the start of a run without an end: it runs, or was cut short.
    pub(super) fn add_open(&mut self, start: &Record, is_running: bool) {
        let end = if is_running {
            RunEnd::Running
        } else {
            RunEnd::Failed
        };
        self.note(start, end);
    }

    fn note(&mut self, record: &Record, end: RunEnd) {
        let Details::Backup(details) = &record.details else {
            return;
        };
        let Some(series) = details.series.clone() else {
            return;
        };
        let took = record.seconds.map(Duration::try_from_secs_f64);
        let took = took.and_then(|took| TimeDelta::from_std(took.ok()?).ok());
        let run = SlotRun {
            at: record
                .due
                .unwrap_or(record.at - took.unwrap_or_default())
                .to_utc(),
            is_scheduled: record.due.is_some(),
            end,
        };
        self.by_series.entry(series).or_default().push(run);
    }

    /// The runs of a series.
    pub(super) fn of(&self, series: &Series) -> &[SlotRun] {
        self.by_series.get(series).map_or(&[], Vec::as_slice)
    }

    /// The series that have runs on record.
    pub(super) fn series(&self) -> impl Iterator<Item = &Series> {
        self.by_series.keys()
    }
}

impl<'a> SlotGrids<'a> {
    /// The slots in the 90 days up to `now`; `answers` says whether the state directory does.
    pub(super) fn of_quarter(plan: &'a Plan, answers: bool, now: DateTime<Utc>) -> Self {
        let state_directory = answers.then_some(plan.daemon.state_directory.as_path());
        Self::noted(
            plan,
            state_directory,
            (now - TimeDelta::days(SLOT_DAYS), now),
        )
    }

    /// The same, by the note in the state directory of since when schedules are in force. Not everybody may read it, and without it the ledgers have to do.
    pub(super) fn noted(
        plan: &'a Plan,
        state_directory: Option<&Path>,
        (after, now): (DateTime<Utc>, DateTime<Utc>),
    ) -> Self {
        let schedules = state_directory.and_then(|directory| {
            let read = ask(directory, PATIENCE, SchedulesInForce::read);
            read.flatten().ok()
        });
        Self::new(plan, schedules.as_ref(), (after, now))
    }

    /// The slots of a plan's backup jobs after one moment and up to `now`. `schedules` has since when
    /// they are in force, where that can be read.
    fn new(
        plan: &'a Plan,
        schedules: Option<&SchedulesInForce>,
        (after, now): (DateTime<Utc>, DateTime<Utc>),
    ) -> Self {
        let jobs = plan.jobs.iter().filter_map(|job| {
            let JobKind::Backup(series) = &job.kind else {
                return None;
            };
            let known = schedules.and_then(|schedules| schedules.of(&job.name));
            let known = known.filter(|known| {
                known.schedule == job.schedule.text() && known.zone == job.schedule.zone().name()
            });
            let since = known.map(|known| known.since);
            let from = since.map_or(after, |since| since.max(after));
            Some(JobGrid {
                job,
                series,
                since,
                grid: slots_between(&job.schedule, from, now),
            })
        });
        Self {
            jobs: jobs.collect(),
            after,
            now,
        }
    }

    /// The slots of a series of a database that is backed up since `known_since`, as far as that is
    /// known. `grace` is how much later than its slot a backup may be there.
    pub(super) fn slots(
        &self,
        series: &Series,
        runs: &[SlotRun],
        (known_since, grace): (Option<DateTime<Utc>>, Duration),
    ) -> Vec<Slot> {
        let jobs = self.jobs.iter().filter(|one| one.series == series);
        let promises: Vec<SlotPromise<'_>> = jobs
            .map(|one| SlotPromise {
                grid: &one.grid,
                schedule: &one.job.schedule,
                blackouts: &one.job.blackouts,
                window: one.job.window,
                allowed: one.job.jitter.saturating_add(grace),
                since: one
                    .since
                    .or_else(|| in_force_by_record(&one.grid, runs))
                    .map(|since| known_since.map_or(since, |known| known.max(since))),
            })
            .collect();
        series_slots(&promises, runs, (self.after, self.now))
    }
}

impl SeriesSlots {
    /// Of slots, oldest first.
    pub(super) fn of(slots: &[Slot], now: DateTime<Utc>) -> Self {
        let month = now - TimeDelta::days(MONTH_DAYS);
        Self {
            newest: slots[slots.len().saturating_sub(MOST_SLOTS)..].to_vec(),
            month: SlotTally::of(slots.iter().filter(|slot| slot.at > month)),
            quarter: SlotTally::of(slots),
        }
    }
}

/// Since when a database is known to be backed up: its directory was made then, or the oldest record
/// that was read is of then.
pub(super) fn backed_up_since(
    made: Option<DateTime<Utc>>,
    oldest_record: Option<DateTime<FixedOffset>>,
) -> Option<DateTime<Utc>> {
    let of_records = oldest_record.map(|at| at.to_utc());
    [made, of_records].into_iter().flatten().min()
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, FixedOffset, TimeDelta};
    use uuid::Uuid;

    use super::{SeriesSlots, SlotRuns, backed_up_since};
    use crate::policy::{RunEnd, Series, Slot, SlotOutcome, TAKEN_OUT};
    use crate::repository::{BackupDetails, Details, Event, Operation, Record};

    fn at(time: &str) -> DateTime<FixedOffset> {
        format!("2026-11-28T{time}:00+03:00").parse().unwrap()
    }

    /// A record of the daily backup that was due at 02:00.
    fn record(time: &str, event: Event, message: &str) -> Record {
        let details = BackupDetails {
            series: Some(Series::daily()),
            ..BackupDetails::default()
        };
        let mut record = Record::new(at(time), Uuid::nil(), event, "app", details);
        record.due = Some(at("02:00"));
        record.message = Some(message.to_owned());
        record
    }

    #[test]
    fn a_run_is_for_its_slot_and_one_by_hand_for_the_moment_of_its_start() {
        let mut runs = SlotRuns::default();
        runs.add(&record("02:00", Event::Started, ""));
        runs.add(&record("02:10", Event::Failed, "no route"));
        runs.add(&record("02:20", Event::Interrupted, ""));
        runs.add(&record("08:00", Event::Skipped, "the job's window ended"));
        runs.add(&record("08:00", Event::Skipped, TAKEN_OUT));
        runs.add(&record("02:40", Event::Succeeded, ""));
        let mut by_hand = record("09:30", Event::Succeeded, "");
        (by_hand.due, by_hand.seconds) = (None, Some(1800.0));
        runs.add(&by_hand);
        runs.add_open(&record("02:50", Event::Started, ""), true);
        runs.add_open(&record("02:55", Event::Started, ""), false);
        let other = Details::of(Operation::Verify);
        runs.add(&Record::new(
            at("02:00"),
            Uuid::nil(),
            Event::Failed,
            "app",
            other,
        ));
        let (slot, hand) = (at("02:00").to_utc(), at("09:00").to_utc());
        let found: Vec<_> = runs
            .of(&Series::daily())
            .iter()
            .map(|run| (run.at, run.is_scheduled, run.end))
            .collect();
        assert_eq!(
            found,
            [
                (slot, true, RunEnd::Failed),
                (slot, true, RunEnd::Failed),
                (slot, true, RunEnd::Omitted),
                (slot, true, RunEnd::Excused),
                (slot, true, RunEnd::Succeeded),
                (hand, false, RunEnd::Succeeded),
                (slot, true, RunEnd::Running),
                (slot, true, RunEnd::Failed),
            ]
        );
        assert_eq!(runs.series().count(), 1);
    }

    #[test]
    fn what_is_shown_is_bounded_and_all_is_counted() {
        let now = at("12:00").to_utc();
        let slots: Vec<Slot> = (0..2000)
            .rev()
            .map(|hour| Slot {
                at: now - TimeDelta::hours(hour),
                outcome: SlotOutcome::Done,
            })
            .collect();
        let of = SeriesSlots::of(&slots, now);
        assert_eq!(of.newest.len(), super::MOST_SLOTS);
        assert_eq!(of.newest.last(), slots.last());
        assert_eq!((of.month.done, of.quarter.done), (720, 2000));
        let (early, late) = (at("01:00"), at("02:00"));
        for (made, record, expected) in [
            (None, None, None),
            (Some(early), Some(late), Some(early)),
            (Some(late), Some(early), Some(early)),
            (None, Some(late), Some(late)),
        ] {
            let made = made.map(|at| at.to_utc());
            let since = backed_up_since(made, record);
            assert_eq!(since, expected.map(|at| at.to_utc()));
        }
    }
}
