//! Targets (P18): what was wanted, and what was reached.

use chrono::{DateTime, FixedOffset};
use schemars::JsonSchema;
use serde::Serialize;

use super::facts::{DatabaseRecord, ReportFacts};
use super::period::ReportPeriod;
use crate::display::{counted, duration, rough_span, size, span};
use crate::policy::attention::age;
use crate::policy::slots::{SlotTally, share};

/// A target of one database.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Target {
    /// The database, as it is shown.
    pub database: String,
    /// Which target: `success_rate_30_days`, `success_rate_90_days`, `backup_time`, `size`,
    /// `recovery_time` or `recovery_point`.
    pub target: &'static str,
    /// What was reached: a share from 0 to 1, seconds, or bytes.
    pub value: f64,
    /// Whether that is what was wanted.
    pub met: bool,
    /// The same in words.
    pub text: String,
}

/// The targets of all databases. A daily report has only those that are not met.
pub(super) fn targets(facts: &ReportFacts) -> Vec<Target> {
    let all = facts
        .databases
        .iter()
        .flat_map(|one| of_database(facts, one));
    all.filter(|one| !one.met || facts.span.period != ReportPeriod::Daily)
        .collect()
}

fn of_database(facts: &ReportFacts, record: &DatabaseRecord) -> Vec<Target> {
    let wanted = facts.objectives;
    let target = |target, value, met, text| Target {
        database: record.label.clone(),
        target,
        value,
        met,
        text,
    };
    let mut targets = Vec::new();
    let sum = |tally: fn(&super::facts::SeriesRecord) -> SlotTally| {
        let tallies = record.series.iter().map(tally);
        tallies.fold(SlotTally::default(), SlotTally::plus)
    };
    for (name, days, tally) in [
        ("success_rate_30_days", 30, sum(|one| one.month)),
        ("success_rate_90_days", 90, sum(|one| one.quarter)),
    ] {
        let met = tally.meets(wanted.success_rate);
        if let (Some(met), Some(shown)) = (met, share(tally.done, tally.counted())) {
            let text = format!(
                "{} of {} in {days} days, {shown} (wanted {})",
                tally.done,
                counted(tally.counted(), "slot", "slots"),
                wanted.success_rate
            );
            targets.push(target(name, ratio(tally), met, text));
        }
    }
    let last = record.series.iter().filter_map(|one| one.last.as_ref());
    if let Some(took) = last.filter_map(|last| last.took).max() {
        let met = took <= wanted.backup_time;
        let (took_text, limit) = (duration(took), span(wanted.backup_time));
        let text = format!("backup in {took_text} (wanted {limit})");
        targets.push(target("backup_time", took.as_secs_f64(), met, text));
    }
    if let Some(range) = wanted.size {
        for one in record.series.iter().filter(|one| !one.series.is_manual()) {
            if let Some(bytes) = one.last.as_ref().and_then(|last| last.bytes) {
                let (series, size) = (&one.series, size(bytes));
                let text = format!("{series} backup of {size} (wanted {range})");
                targets.push(target(
                    "size",
                    as_number(bytes),
                    range.contains(bytes),
                    text,
                ));
            }
        }
    }
    if let Some(took) = record.recovery_time {
        let met = took <= wanted.recovery_time;
        let (took_text, limit) = (duration(took), span(wanted.recovery_time));
        let text = format!("data back after {took_text} in the last drill (wanted {limit})");
        targets.push(target("recovery_time", took.as_secs_f64(), met, text));
    }
    if let Some(newest) = record.newest {
        targets.push(recovery_point(facts, record, newest));
    }
    targets
}

fn recovery_point(
    facts: &ReportFacts,
    record: &DatabaseRecord,
    newest: DateTime<FixedOffset>,
) -> Target {
    let wanted = facts.objectives;
    let old = age(newest, facts.span.until);
    Target {
        database: record.label.clone(),
        target: "recovery_point",
        value: old.as_secs_f64(),
        met: old <= wanted.recovery_point + wanted.grace,
        text: format!(
            "newest backup {} old (wanted {})",
            rough_span(old),
            span(wanted.recovery_point)
        ),
    }
}

fn ratio(tally: SlotTally) -> f64 {
    as_number(tally.done) / as_number(tally.counted())
}

#[expect(
    clippy::cast_precision_loss,
    reason = "no count and no size here has 53 bits"
)]
fn as_number(number: u64) -> f64 {
    number as f64
}
