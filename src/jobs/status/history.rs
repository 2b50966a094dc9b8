//! What a ledger tells of a database's runs, read from its newest record backwards. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::Duration;

use chrono::{DateTime, FixedOffset, TimeDelta};
use uuid::Uuid;

use crate::jobs::anomaly::accepted_contents;
use crate::jobs::slots::SlotRuns;
use crate::jobs::{CutShort, LastDrill};
use crate::policy::{DefinitionsResult, Failing, Series, WINDOW};
use crate::repository::{Details, Event, Operation, Record};

/// The rate of success is taken over so many days.
const DAYS: i64 = 30;

/// Records older than so many days tell nothing of today: a job that runs once a month has one in
/// them, and slots are shown for 90 days.
const HORIZON_DAYS: i64 = 92;

/// A clock that jumped may have dated some records wrong, so one old record is not the end.
const OLD_RECORDS: u32 = 100;

/// How the backups of the last 30 days ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// Made and checked.
    pub succeeded: u64,
    /// Failed.
    pub failed: u64,
    /// Ended from outside, by a signal or by the end of the process.
    pub interrupted: u64,
    /// Not started, since another run was at work or for another reason of the schedule's.
    pub skipped: u64,
}

/// A run that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// When.
    pub at: DateTime<FixedOffset>,
    /// Whether it ended well.
    pub succeeded: bool,
    /// What deserves a word, or what failed.
    pub message: Option<String>,
    /// Backups that it did not reach in time; of a verification.
    pub left: u64,
}

/// The newest trial of definitions, and what was proven after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LastDefinitions {
    /// The backup whose definitions they are.
    pub(super) backup: String,
    /// When.
    pub(super) at: DateTime<FixedOffset>,
    /// What came of it.
    pub(super) result: DefinitionsResult,
    /// That in words.
    pub(super) message: String,
    /// Backups that test restores after it have proven.
    pub(super) proven_since: Vec<String>,
}

/// The runs of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    /// The newest that came to an end of its own.
    pub(super) last: Option<Ended>,
    /// Those that failed since the newest that succeeded.
    pub(super) failing: Option<Failing>,
    /// Why the newest did not start, if that was later than all others.
    pub(super) skipped: Option<String>,
    /// How long the last ones that succeeded took, newest first.
    took: Vec<Duration>,
    settled: bool,
}

/// What the ledger tells.
#[derive(Clone, Debug)]
pub(super) struct History {
    now: DateTime<FixedOffset>,
    pub(super) month: Outcomes,
    pub(super) backups: BTreeMap<Series, Line>,
    pub(super) verify: Line,
    pub(super) drill: Line,
    /// When the newest test restore ended that came to a result.
    pub(super) drill_result: Option<DateTime<FixedOffset>>,
    pub(super) prune: Line,
    /// The newest trial of definitions.
    pub(super) definitions: Option<LastDefinitions>,
    /// Backups that test restores have proven since.
    proven: Vec<String>,
    /// The newest restore, if it was cut short.
    pub(super) restore: Option<Record>,
    /// The newest test restore that came through, with the time of its parts.
    pub(super) recovery: Option<LastDrill>,
    /// The start records of runs that have no end, newest first.
    pub(super) open: Vec<Record>,
    /// The database that the newest record names.
    pub(super) database: Option<String>,
    /// Backups since which the contents of the database were accepted as they are.
    pub(super) accepted_contents: BTreeSet<String>,
    /// The runs of backups, for the slots that they were for.
    pub(super) slot_runs: SlotRuns,
    /// When the oldest record was written that was read.
    pub(super) oldest: Option<DateTime<FixedOffset>>,
    restore_is_judged: bool,
    ended: BTreeSet<Uuid>,
    old: u32,
}

impl Outcomes {
    /// The share of runs that succeeded among those that succeeded or failed, from 0 to 1; none
    /// where there are none.
    #[allow(
        clippy::cast_precision_loss,
        reason = "a rate is shown in whole percents"
    )]
    pub fn rate(self) -> Option<f64> {
        let ended = self.succeeded + self.failed;
        (ended > 0).then(|| self.succeeded as f64 / ended as f64)
    }
}

impl History {
    pub(super) fn until(now: DateTime<FixedOffset>) -> Self {
        Self {
            now,
            month: Outcomes::default(),
            backups: BTreeMap::new(),
            verify: Line::default(),
            drill: Line::default(),
            drill_result: None,
            prune: Line::default(),
            definitions: None,
            proven: Vec::new(),
            restore: None,
            recovery: None,
            open: Vec::new(),
            database: None,
            accepted_contents: BTreeSet::new(),
            slot_runs: SlotRuns::default(),
            oldest: None,
            restore_is_judged: false,
            ended: BTreeSet::new(),
            old: 0,
        }
    }

    /// Adds what the ledger of restores and test restores tells.
    pub(super) fn add_restores(&mut self, of_restores: Self) {
        self.drill = of_restores.drill;
        self.drill_result = of_restores.drill_result;
        self.restore = of_restores.restore;
        self.recovery = of_restores.recovery;
        self.definitions = of_restores.definitions;
        self.open.extend(of_restores.open);
    }

    /// As [`take`](Self::take), of the ledger of restores: however old it is, the newest test restore
    /// with a result is wanted.
    pub(super) fn take_restore(&mut self, record: Record) -> ControlFlow<()> {
        if record.is_drill_result() {
            self.drill_result.get_or_insert(record.at);
        }
        let flow = self.add_record(record);
        if self.drill_result.is_some() {
            flow
        } else {
            ControlFlow::Continue(())
        }
    }

    /// Takes the record before those taken so far, and says whether older ones are wanted.
    pub(super) fn add_record(&mut self, record: Record) -> ControlFlow<()> {
        if record.at < self.now - TimeDelta::days(HORIZON_DAYS) {
            self.old += 1;
            if self.old >= OLD_RECORDS {
                return ControlFlow::Break(());
            }
        } else {
            self.old = 0;
        }
        self.oldest = Some(record.at);
        self.database.get_or_insert_with(|| record.database.clone());
        let accepted = accepted_contents(&record).map(str::to_owned);
        self.accepted_contents.extend(accepted);
        // What is in quarantine, the disk tells.
        if matches!(
            record.details,
            Details::Quarantine(_) | Details::Release { .. } | Details::Accept { .. }
        ) {
            return ControlFlow::Continue(());
        }
        if !self.restore_is_judged
            && let Some(cut_short) = CutShort::judged_by(&record)
        {
            self.restore_is_judged = true;
            self.restore = cut_short.then(|| record.clone());
        }
        match record.event {
            Event::Started => {
                if !self.ended.remove(&record.run) {
                    self.open.push(record);
                }
                return ControlFlow::Continue(());
            }
            // It has no start.
            Event::Skipped => {}
            // Pins have only an end.
            _ if matches!(record.details, Details::Pin(_) | Details::Unpin(_)) => {}
            _ => {
                self.ended.insert(record.run);
            }
        }
        // As if it had not been made.
        if is_of_a_partial_backup(&record) {
            return ControlFlow::Continue(());
        }
        self.slot_runs.add(&record);
        if record.operation() == Operation::Backup && record.at > self.now - TimeDelta::days(DAYS) {
            self.month.count(record.event);
        }
        self.add_definitions(&record);
        if record.operation() == Operation::Drill && self.recovery.is_none() {
            self.recovery = LastDrill::of(record.clone());
        }
        if let Some(line) = self.line_of(&record.details) {
            line.add_record(record);
        }
        ControlFlow::Continue(())
    }

    /// The runs that one belongs to, by what is on record of it.
    fn line_of(&mut self, details: &Details) -> Option<&mut Line> {
        Some(match details {
            Details::Backup(details) => {
                let series = details.series.clone()?;
                self.backups.entry(series).or_default()
            }
            Details::Verify(_) => &mut self.verify,
            Details::Drill(_) => &mut self.drill,
            Details::Prune { .. } => &mut self.prune,
            Details::Definitions(_)
            | Details::Copy(_)
            | Details::VerifyCopies(_)
            | Details::Rehearse(_)
            | Details::Pin(_)
            | Details::Unpin(_)
            | Details::Quarantine(_)
            | Details::Release { .. }
            | Details::Accept { .. }
            | Details::Restore(_)
            | Details::UndoRestore { .. } => return None,
        })
    }

    /// Takes in what a trial of definitions has shown, and which backups were proven after it.
    fn add_definitions(&mut self, record: &Record) {
        if self.definitions.is_some() {
            return;
        }
        let Some(backup) = record.backup().map(str::to_owned) else {
            return;
        };
        if let Some(trial) = record.definitions_trial() {
            self.definitions = Some(LastDefinitions {
                backup,
                at: record.at,
                result: trial.result,
                message: record.message.clone().unwrap_or_default(),
                proven_since: std::mem::take(&mut self.proven),
            });
        } else if record.event == Event::Succeeded && record.operation() == Operation::Drill {
            self.proven.push(backup);
        }
    }
}

fn is_of_a_partial_backup(record: &Record) -> bool {
    match &record.details {
        Details::Backup(details) => details.partial,
        Details::Drill(details) => details.partial,
        _ => false,
    }
}

impl Outcomes {
    fn count(&mut self, event: Event) {
        match event {
            Event::Succeeded => self.succeeded += 1,
            Event::Failed => self.failed += 1,
            Event::Interrupted => self.interrupted += 1,
            Event::Skipped => self.skipped += 1,
            Event::Started => {}
        }
    }
}

impl Line {
    /// How long the last ones that succeeded took, oldest first.
    pub(super) fn took(&self) -> Vec<Duration> {
        self.took.iter().rev().copied().collect()
    }

    fn add_record(&mut self, record: Record) {
        // A check or a test restore that finds a bad backup has done its work; what it found is noted
        // with the backup.
        let found = record.event == Event::Failed && !record.damaged().is_empty();
        match record.event {
            Event::Succeeded | Event::Failed => {
                self.last.get_or_insert_with(|| Ended {
                    at: record.at,
                    succeeded: record.event == Event::Succeeded,
                    message: record.message.clone(),
                    left: match &record.details {
                        Details::Verify(details) => details.left.unwrap_or_default(),
                        _ => 0,
                    },
                });
                let took = record.seconds.map(Duration::try_from_secs_f64);
                if let Some(Ok(took)) = took.filter(|_| record.event == Event::Succeeded)
                    && self.took.len() < WINDOW
                {
                    self.took.push(took);
                }
                if record.event == Event::Succeeded || found {
                    self.settled = true;
                } else if !self.settled {
                    let failing = self.failing.get_or_insert_with(|| Failing {
                        at: record.at,
                        runs: 0,
                        message: record.message.unwrap_or_default(),
                    });
                    failing.runs += 1;
                }
            }
            Event::Skipped if self.last.is_none() && self.skipped.is_none() => {
                self.skipped = record.message;
            }
            Event::Skipped | Event::Interrupted | Event::Started => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use chrono::{DateTime, FixedOffset, TimeDelta};
    use uuid::Uuid;

    use super::{History, Outcomes};
    use crate::policy::{DefinitionsResult, Series};
    use crate::repository::{
        BackupDetails, Damage, DefinitionsDetails, Details, DrillDetails, Event, Operation, Record,
        Subject, TriedDefinitions, VerifyDetails,
    };

    fn now() -> DateTime<FixedOffset> {
        DateTime::parse_from_rfc3339("2025-07-09T12:00:00+03:00").unwrap()
    }

    fn record(run: u128, hours_ago: i64, operation: Operation, event: Event) -> Record {
        let at = now() - TimeDelta::hours(hours_ago);
        let details = match operation {
            Backup => Details::from(BackupDetails {
                series: Some(Series::daily()),
                ..BackupDetails::default()
            }),
            other => Details::of(other),
        };
        let mut record = Record::new(at, Uuid::from_u128(run), event, "sales", details);
        record.message = (event != Started).then(|| format!("message of {run}"));
        record
    }

    fn damage(what: &str) -> Damage {
        Damage {
            backup: "backup_20250709_020000".to_owned(),
            what: what.to_owned(),
            quarantine: None,
        }
    }

    fn unrestorable_details() -> Details {
        Details::from(DrillDetails {
            damaged: vec![damage("it does not restore")],
            ..DrillDetails::default()
        })
    }

    fn history(records: &[Record]) -> History {
        let mut history = History::until(now());
        for record in records {
            assert_eq!(
                history.add_record(record.clone()),
                ControlFlow::Continue(())
            );
        }
        history
    }

    use Event::{Failed, Interrupted, Skipped, Started, Succeeded};
    use Operation::{Backup, Drill, Verify};

    #[test]
    fn what_was_proven_after_the_newest_trial_of_definitions_is_known() {
        let about = |run, hours_ago, event, backup: &str, tried| {
            let subject = Subject {
                series: Some(Series::daily()),
                backup: Some(backup.to_owned()),
            };
            let details = match tried {
                None => Details::from(DrillDetails {
                    subject,
                    ..DrillDetails::default()
                }),
                Some(result) => Details::from(DefinitionsDetails {
                    subject,
                    tried: Some(TriedDefinitions {
                        digest: "0a".to_owned(),
                        result,
                    }),
                }),
            };
            let mut record = record(run, hours_ago, Drill, event);
            record.details = details;
            record
        };
        let (refused, loads) = (
            Some(DefinitionsResult::Refused),
            Some(DefinitionsResult::Load),
        );
        let history = history(&[
            about(5, 1, Succeeded, "backup_20250709_020000", None),
            about(4, 2, Failed, "backup_20250708_020000", None),
            about(3, 3, Failed, "backup_20250707_020000", refused),
            about(2, 4, Succeeded, "backup_20250706_020000", None),
            about(1, 5, Succeeded, "backup_20250705_020000", loads),
        ]);
        let last = history.definitions.unwrap();
        assert_eq!(last.backup, "backup_20250707_020000");
        assert_eq!(last.result, DefinitionsResult::Refused);
        assert_eq!(last.proven_since, ["backup_20250709_020000"]);
        assert!(history.drill.failing.is_none(), "a trial is no drill");
    }

    #[test]
    fn failures_count_from_the_newest_success() {
        let history = history(&[
            record(7, 1, Backup, Skipped),
            record(6, 2, Backup, Interrupted),
            record(5, 3, Backup, Failed),
            record(4, 27, Backup, Failed),
            record(3, 51, Backup, Succeeded),
            record(2, 75, Backup, Failed),
            record(1, 24 * 31, Backup, Failed),
        ]);
        let daily = &history.backups[&Series::daily()];
        let failing = daily.failing.clone().unwrap();
        assert_eq!(failing.runs, 2);
        assert_eq!(failing.message, "message of 5");
        assert_eq!(daily.skipped.as_deref(), Some("message of 7"));
        assert_eq!(
            history.month,
            Outcomes {
                succeeded: 1,
                failed: 3,
                interrupted: 1,
                skipped: 1,
            }
        );
        assert_eq!(history.month.rate(), Some(0.25));
    }

    #[test]
    fn after_a_success_nothing_fails() {
        let history = history(&[
            record(2, 1, Backup, Succeeded),
            record(1, 2, Backup, Failed),
        ]);
        let daily = &history.backups[&Series::daily()];
        assert_eq!(daily.failing, None);
        assert_eq!(Outcomes::default().rate(), None);
    }

    #[test]
    fn what_is_about_a_partial_backup_counts_as_if_it_were_not_there() {
        let mut backup = record(3, 1, Backup, Succeeded);
        let mut drill = record(4, 1, Drill, Succeeded);
        for one in [&mut backup, &mut drill] {
            match &mut one.details {
                Details::Backup(details) => details.partial = true,
                Details::Drill(details) => details.partial = true,
                _ => {}
            }
        }
        let failed = record(2, 2, Backup, Failed);
        let ended = history(&[drill, backup.clone(), failed, record(3, 1, Backup, Started)]);
        assert_eq!(
            ended.backups[&Series::daily()]
                .failing
                .as_ref()
                .unwrap()
                .runs,
            1
        );
        assert_eq!((ended.month.succeeded, ended.drill.last), (0, None));
        assert_eq!(ended.open, [record(3, 1, Backup, Started)][..0]);
        // The ledger keeps it.
        let line = serde_json::to_string(&backup).unwrap();
        assert!(line.contains("\"partial\":true"), "{line}");
        let read: Record = serde_json::from_str(&line).unwrap();
        assert_eq!(read.details, backup.details);
    }

    #[test]
    fn a_check_or_test_restore_that_finds_a_bad_backup_has_not_failed_itself() {
        let mut found = record(1, 1, Verify, Failed);
        found.details = Details::from(VerifyDetails {
            damaged: vec![damage("it is short")],
            ..VerifyDetails::default()
        });
        let found = history(&[found]);
        assert_eq!(found.verify.failing, None);
        assert!(!found.verify.last.unwrap().succeeded);
        let unchecked = history(&[record(1, 1, Verify, Failed)]);
        assert_eq!(unchecked.verify.failing.unwrap().runs, 1);
        let mut unrestorable = record(1, 1, Drill, Failed);
        unrestorable.details = unrestorable_details();
        assert_eq!(history(&[unrestorable]).drill.failing, None);
        let impossible = history(&[record(1, 1, Drill, Failed)]);
        assert_eq!(impossible.drill.failing.unwrap().runs, 1);
    }

    #[test]
    fn the_newest_test_restore_with_a_result_is_found_however_many_could_not_be_made_since() {
        let restores = |records: Vec<Record>| {
            let mut history = History::until(now());
            for record in records {
                if history.take_restore(record).is_break() {
                    break;
                }
            }
            history.drill_result
        };
        let not_made = |hours_ago| record(1, hours_ago, Drill, Failed);
        let mut bad = not_made(24 * 300);
        bad.details = unrestorable_details();
        let older = record(2, 24 * 301, Drill, Succeeded);
        let many = (1..24 * 300).map(not_made);
        let found = restores(many.clone().chain([bad.clone(), older]).collect());
        assert_eq!(found, Some(bad.at));
        assert_eq!(restores(many.collect()), None);
    }

    #[test]
    fn only_the_process_that_ends_a_restore_says_how_long_it_took() {
        let ended = |run, hours_ago, event| {
            let mut ended = record(run, hours_ago, Operation::Restore, event);
            ended.seconds = Some(1.0);
            ended
        };
        let restore = |run, hours_ago, event| record(run, hours_ago, Operation::Restore, event);
        for (records, expected) in [
            (vec![restore(1, 1, Started)], Some(1)),
            // Found by a later one, which was not even begun.
            (
                vec![
                    restore(2, 1, Failed),
                    restore(1, 1, Interrupted),
                    restore(1, 2, Started),
                ],
                Some(1),
            ),
            (vec![ended(1, 1, Interrupted), restore(1, 2, Started)], None),
            (
                vec![
                    ended(2, 1, Succeeded),
                    restore(2, 2, Started),
                    restore(1, 2, Interrupted),
                    restore(1, 3, Started),
                ],
                None,
            ),
        ] {
            let found = history(&records).restore;
            assert_eq!(
                found.map(|found| found.run.as_u128()),
                expected,
                "{records:?}"
            );
        }
    }

    #[test]
    fn what_has_started_and_not_ended_is_open() {
        let history = history(&[
            record(3, 1, Verify, Started),
            record(2, 1, Backup, Succeeded),
            record(2, 2, Backup, Started),
            record(1, 3, Backup, Started),
        ]);
        let open: Vec<u128> = history.open.iter().map(|r| r.run.as_u128()).collect();
        assert_eq!(open, [3, 1]);
    }

    #[test]
    fn only_so_much_of_a_long_ledger_is_wanted() {
        let mut history = History::until(now());
        let mut taken = 0;
        // Now and then one that a wrong clock has dated new.
        for index in 0..100_000_u32 {
            let hours_ago = if index % 50 == 0 && index < 1000 {
                1
            } else {
                24 * 100
            };
            taken += 1;
            let record = record(index.into(), hours_ago, Backup, Succeeded);
            if history.add_record(record).is_break() {
                break;
            }
        }
        // The last that is dated new has the index 950.
        assert_eq!(taken, 951 + 100);
    }
}
