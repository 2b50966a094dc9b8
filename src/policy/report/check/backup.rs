//! Whether the last backup of each series succeeded, and its size is reasonable.

use super::{Answer, Check};
use crate::display::{joined_lines, minute, one_line, rough_span, size};
use crate::policy::anomaly::{Usual, odd_size};
use crate::policy::attention::age;
use crate::policy::report::facts::{BackupRecord, DatabaseRecord, ReportFacts, SeriesRecord};
use crate::policy::slots::{SlotOutcome, SlotTally};

/// Whether the last backup of each series succeeded, and its size is reasonable.
pub(super) fn add_backups(facts: &ReportFacts, database: &DatabaseRecord, checks: &mut Vec<Check>) {
    let series: Vec<&SeriesRecord> = database
        .series
        .iter()
        .filter(|one| !one.slots.is_empty() || one.last.is_some())
        .collect();
    let check = |id, series: Option<&SeriesRecord>, (answer, evidence)| Check {
        id,
        database: Some(database.label.clone()),
        series: series.map(|one| one.series.to_string()),
        answer,
        evidence,
    };
    if series.is_empty() {
        checks.push(check(
            "last_backup",
            None,
            no_backup_was_due(facts, database),
        ));
    }
    for one in series {
        checks.push(check("last_backup", Some(one), last_backup(one)));
        if let Some(answer) = reasonable_size(facts, one) {
            checks.push(check("size", Some(one), answer));
        }
    }
}

/// What holds where no run was due and none happened.
fn no_backup_was_due(facts: &ReportFacts, database: &DatabaseRecord) -> (Answer, String) {
    let Some(newest) = database.newest else {
        return (Answer::Unknown, "no backup is on record".to_owned());
    };
    let old = age(newest, facts.span.until);
    let limit = facts.objectives.recovery_point + facts.objectives.grace;
    let evidence = format!(
        "no run is on record; the newest backup is of {}, {} old",
        minute(newest),
        rough_span(old)
    );
    let answer = if old > limit { Answer::No } else { Answer::Yes };
    (answer, evidence)
}

/// Whether the last slot that is decided was done; without a slot, whether the last run succeeded.
fn last_backup(series: &SeriesRecord) -> (Answer, String) {
    let decided = series.slots.iter().rev();
    let mut decided = decided.filter(|slot| slot.outcome != SlotOutcome::Pending);
    let made = series.last.as_ref();
    let outcome = match decided.next() {
        Some(slot) => slot.outcome,
        None if made.is_some_and(|last| last.backup.is_some()) => SlotOutcome::Done,
        None if made.is_some() => SlotOutcome::Failed,
        None => SlotOutcome::Pending,
    };
    let of_slots = of_slots(series);
    let why = |last: &BackupRecord| match &last.message {
        Some(message) => format!(": {}", joined_lines(message)),
        None => String::new(),
    };
    match (outcome, made) {
        (SlotOutcome::Done, Some(last)) if last.backup.is_none() => {
            let time = last.started.format("%a %H:%M:%S");
            let why = why(last);
            (
                Answer::No,
                format!("{of_slots}made, but a later run failed, {time}{why}"),
            )
        }
        (SlotOutcome::Done, Some(last)) => {
            (Answer::Yes, format!("{of_slots}{}", made_backup(last)))
        }
        (SlotOutcome::Done, None) => (
            Answer::Yes,
            format!("{of_slots}made; its run is not in this time"),
        ),
        (SlotOutcome::Failed, Some(last)) => {
            let time = last.started.format("%a %H:%M:%S");
            (Answer::No, format!("{of_slots}failed, {time}{}", why(last)))
        }
        (SlotOutcome::Failed, None) => (Answer::No, format!("{of_slots}failed")),
        (SlotOutcome::Missed, _) => (
            Answer::No,
            format!("{of_slots}no run started although one was due"),
        ),
        (SlotOutcome::Skipped, _) => (
            Answer::Yes,
            format!("{of_slots}no run was wanted: a blackout, or the job was removed"),
        ),
        (SlotOutcome::Pending, _) => (Answer::Unknown, format!("{of_slots}the run has not ended")),
    }
}

/// "23 of 24 slots, last: " where there are several.
fn of_slots(series: &SeriesRecord) -> String {
    let tally = SlotTally::of(&series.slots);
    match tally.counted() {
        0 | 1 => String::new(),
        counted => format!("{} of {counted} slots done, last: ", tally.done),
    }
}

/// "`backup_20261129_020000` at 02:00:11, 61.2 MiB".
fn made_backup(last: &BackupRecord) -> String {
    let name = one_line(last.backup.as_deref().unwrap_or("no backup"));
    let time = last.started.format("%H:%M:%S");
    match last.bytes {
        Some(bytes) => format!("{name} at {time}, {}", size(bytes)),
        None => format!("{name} at {time}; its size is not on record"),
    }
}

/// Whether the size of the last backup is usual; none where none was made or its size is unknown.
fn reasonable_size(facts: &ReportFacts, series: &SeriesRecord) -> Option<(Answer, String)> {
    let last = series.last.as_ref()?;
    if series.series.is_manual() {
        return None;
    }
    let (name, bytes) = (last.backup.as_deref()?, last.bytes?);
    let Some(usual) = Usual::of(&series.before) else {
        let evidence = "too few before it to compare with".to_owned();
        return Some((Answer::Unknown, evidence));
    };
    let (low, high) = (
        usual.median.saturating_sub(usual.spread),
        usual.median.saturating_add(usual.spread),
    );
    let usually = format!("usually {}", sizes((low, high), bytes));
    let odd = odd_size((name, bytes), &series.before, facts.objectives.sensitivity);
    Some(match odd {
        None => (Answer::Yes, usually),
        Some(odd) if odd.has_shrunk() => (Answer::No, format!("smaller than usual, {usually}")),
        Some(_) => (Answer::No, format!("larger than usual, {usually}")),
    })
}

/// A range of sizes, next to a size in the same unit: "59 to 65".
fn sizes((from, to): (u64, u64), next_to: u64) -> String {
    let parts = |bytes| {
        let text = size(bytes);
        let (number, unit) = text.split_once(' ')?;
        Some((number.parse::<f64>().ok()?, unit.to_owned()))
    };
    let (Some((least, unit)), Some((most, of_most)), Some((_, of_size))) =
        (parts(from), parts(to), parts(next_to))
    else {
        return format!("{} to {}", size(from), size(to));
    };
    if unit != of_most || unit != of_size {
        return format!("{} to {}", size(from), size(to));
    }
    if least >= 10.0 {
        format!("{:.0} to {:.0}", least.floor(), most.ceil())
    } else {
        format!("{least:.1} to {most:.1}")
    }
}
