//! The checklists, and their answers.

mod backup;
mod copies;
mod upkeep;

use schemars::JsonSchema;
use serde::Serialize;

use super::facts::ReportFacts;
use super::period::ReportPeriod;
use crate::display::{counted, joined_lines, one_line, size};
use crate::policy::attention::judge_space;
use crate::policy::slots::SlotOutcome;

/// So many names stand in a sentence.
const NAMES: usize = 5;

/// An answer to a question of a checklist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// It is so.
    Yes,
    /// Nothing on record answers it.
    Unknown,
    /// It is not so.
    No,
}

/// An item of a checklist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Check {
    /// Which item: `last_backup`, `size`, `copies`, `space`, `errors`, `attention`, `records`, `verified`,
    /// `retention`, `service`, `drill`, `configuration` or `files`.
    pub id: &'static str,
    /// The database, as it is shown; null where it is about all of them.
    pub database: Option<String>,
    /// The series; null where it is about all of them.
    pub series: Option<String>,
    /// The answer.
    pub answer: Answer,
    /// What it rests on.
    pub evidence: String,
}

impl Check {
    fn of_all(id: &'static str, answer: Answer, evidence: String) -> Self {
        Self {
            id,
            database: None,
            series: None,
            answer,
            evidence,
        }
    }
}

/// The checklist of a report.
pub(super) fn checks(facts: &ReportFacts) -> Vec<Check> {
    let mut checks = Vec::new();
    match facts.span.period {
        ReportPeriod::Daily => {
            for database in &facts.databases {
                backup::add_backups(facts, database, &mut checks);
            }
            add_spaces(facts, &mut checks);
            checks.push(errors(facts));
        }
        ReportPeriod::Weekly => {
            checks.push(upkeep::verified(facts));
            checks.push(upkeep::retention(facts));
            checks.push(upkeep::service(facts));
        }
        ReportPeriod::Monthly => {
            checks.push(upkeep::drilled(facts));
            checks.push(upkeep::configuration(facts));
            checks.push(upkeep::files(facts));
        }
    }
    // Right after the backups, or before what is about all of them.
    let at = match facts.span.period {
        ReportPeriod::Daily => checks
            .iter()
            .take_while(|one| one.database.is_some())
            .count(),
        ReportPeriod::Weekly | ReportPeriod::Monthly => 0,
    };
    checks.splice(at..at, copies::copies(facts));
    checks.extend(attention(facts));
    if !facts.unread.is_empty() {
        let evidence = joined_lines(&facts.unread.join("; "));
        checks.push(Check::of_all("records", Answer::Unknown, evidence));
    }
    checks
}

/// Whether there is room.
fn add_spaces(facts: &ReportFacts, checks: &mut Vec<Check>) {
    let Some(present) = &facts.present else {
        let evidence = "free space of that time is not on record".to_owned();
        checks.push(Check::of_all("space", Answer::Unknown, evidence));
        return;
    };
    for space in &present.spaces {
        let directory = one_line(&space.directory.display().to_string());
        let free = format!("{} free in {directory}", size(space.free));
        let room = space.rounds().map_or_else(String::new, |rounds| {
            let rounds = counted(rounds, "more backup", "more backups");
            format!(", room for {rounds}")
        });
        let is_enough = judge_space(space).is_none();
        let (answer, evidence) = if space.free < space.wanted {
            let wanted = size(space.wanted);
            (Answer::No, format!("only {free} (wanted {wanted}){room}"))
        } else if is_enough {
            (Answer::Yes, format!("{free}{room}"))
        } else {
            (Answer::No, format!("only {free}{room}"))
        };
        checks.push(Check::of_all("space", answer, evidence));
    }
}

/// Whether nothing failed.
fn errors(facts: &ReportFacts) -> Check {
    let databases = facts.databases.iter();
    let failed: u64 = databases.clone().map(|one| one.failures.count()).sum();
    let ended: u64 = databases.clone().map(|one| one.ended).sum();
    let slots = databases
        .flat_map(|one| &one.series)
        .flat_map(|one| &one.slots);
    let missed = slots
        .filter(|slot| slot.outcome == SlotOutcome::Missed)
        .count() as u64;
    let runs = counted(ended, "run", "runs");
    let (answer, evidence) = match (failed, missed) {
        (0, 0) if ended == 0 => (Answer::Unknown, "no run is on record".to_owned()),
        (0, 0) => (Answer::Yes, format!("no error in {runs} on record")),
        (0, missed) => (
            Answer::No,
            format!("no run for {}", counted(missed, "slot", "slots")),
        ),
        (failed, 0) => (Answer::No, format!("{failed} of {runs} failed")),
        (failed, missed) => (
            Answer::No,
            format!(
                "{failed} of {runs} failed, and no run for {}",
                counted(missed, "slot", "slots")
            ),
        ),
    };
    Check::of_all("errors", answer, evidence)
}

/// What needs attention now, one item each; one in all where nothing does.
fn attention(facts: &ReportFacts) -> Vec<Check> {
    let Some(present) = &facts.present else {
        return Vec::new();
    };
    if present.concerns.is_empty() {
        let evidence = "nothing needs attention".to_owned();
        return vec![Check::of_all("attention", Answer::Yes, evidence)];
    }
    let mut checks: Vec<Check> = present
        .concerns
        .iter()
        .take(NAMES)
        .map(|(_, sentence)| Check::of_all("attention", Answer::No, joined_lines(sentence)))
        .collect();
    let more = present.concerns.len().saturating_sub(NAMES);
    if more > 0 {
        let evidence = format!("{more} more; `pgbackupd status` shows all");
        checks.push(Check::of_all("attention", Answer::No, evidence));
    }
    checks
}
