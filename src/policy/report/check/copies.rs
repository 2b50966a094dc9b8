//! Whether the backups are also elsewhere (P4), and how far that is proved.

use super::{Answer, Check};
use crate::policy::copying::CopyFacts;
use crate::policy::report::facts::{ReportFacts, ReportedCopies};

/// A line for each database and destination, of what is known now.
pub(super) fn copies(facts: &ReportFacts) -> Vec<Check> {
    let present = facts.present.iter();
    let copies = present.flat_map(|present| &present.copies);
    copies.map(|one| check(facts, one)).collect()
}

fn check(facts: &ReportFacts, one: &ReportedCopies) -> Check {
    let (answer, evidence) = answer(facts, one);
    Check {
        id: "copies",
        database: Some(one.database.clone()),
        series: None,
        answer,
        evidence,
    }
}

fn answer(facts: &ReportFacts, one: &ReportedCopies) -> (Answer, String) {
    let copies = &one.copies;
    let destination = &copies.destination;
    let there = newest(facts, copies);
    if one.needs_attention {
        return (
            Answer::No,
            format!("{destination} {there}{}", trouble(copies)),
        );
    }
    if copies.newest.is_none() {
        let why = copies.failure.as_ref();
        let why = why.map_or("", |_| ", and copying fails");
        return (
            Answer::Unknown,
            format!("{destination} has no copy yet{why}"),
        );
    }
    (Answer::Yes, format!("{destination} {there}"))
}

/// "has `backup_20261129_020000`, opened at 2026-11-29 02:20"
fn newest(facts: &ReportFacts, copies: &CopyFacts) -> String {
    let Some(newest) = &copies.newest else {
        return "has no copy".to_owned();
    };
    let proved = newest.proved.with_timezone(facts.at.offset());
    format!(
        "has {}, {} at {}",
        newest.backup,
        newest.state.word(),
        proved.format("%Y-%m-%d %H:%M")
    )
}

/// What is wrong, as far as the facts say; a line under `attention` has the rest.
fn trouble(copies: &CopyFacts) -> String {
    match (&copies.missing, &copies.failure) {
        (Some(missing), Some(_)) => format!(", none of {}: copying fails", missing.backup),
        (Some(missing), None) => format!(", none of {}", missing.backup),
        (None, Some(_)) => ", and copying fails".to_owned(),
        (None, None) => match (copies.damaged.first(), copies.lost.first()) {
            (Some(damaged), _) => format!("; the copy of {} is damaged", damaged.backup),
            (None, Some(lost)) => format!("; the copy of {} is gone", lost.backup),
            (None, None) => String::new(),
        },
    }
}
