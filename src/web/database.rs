//! The page of one database: its series, sizes over time, checks and drills.

use maud::{Markup, html};

use super::copies::Copies;
use super::feed::Judgement;
use super::overview::{last_proof, newest};
use super::page::{Page, at, name, section, sentence};
use super::{activity, chart, sections};
use crate::display::{counted, one_line, size};
use crate::jobs::phrases::{in_30_days, verified};
use crate::jobs::{DatabaseStatus, Line};
use crate::policy::{Concern, Series, SeriesFacts, Slot, SlotOutcome, Usual};

/// So many slots without a backup are listed.
const MOST_LISTED: usize = 20;

/// The page.
pub(super) fn markup(page: &Page<'_>, judged: &Judgement, database: &DatabaseStatus) -> Markup {
    let facts = &database.facts;
    let concerns: Vec<&Concern> = judged
        .status
        .concerns
        .iter()
        .filter(|concern| sections::is_about(concern, database))
        .collect();
    let is_late = |concern: &&Concern| sections::is_about_the_recovery_point(concern);
    let misses = concerns.iter().any(is_late);
    let worst = concerns.iter().map(|concern| concern.severity).max();
    let class = worst.map_or("good", |worst| worst.word());
    let body = html! {
        header.health.(class) {
            h1 { "Database " (name(&facts.label)) }
            p { "Newest backup: " (newest(page, judged, (database, misses))) }
        }
        (sections::concerns(judged, &concerns))
        (activity::running(page, judged, Some(database)))
        (series(page, database))
        (sections::days(judged, std::slice::from_ref(database)))
        (without_backup(judged, database))
        (Copies { page, judged, all: &facts.copies }.markup())
        (sizes(database))
        (proofs(page, judged, database))
        (sections::alerts(page, judged, Some(database)))
        p { "Backups are in " code { (one_line(&facts.directory.display().to_string())) } "." }
    };
    page.frame(&one_line(&facts.label), &body)
}

/// A line for each series.
fn series(page: &Page<'_>, database: &DatabaseStatus) -> Markup {
    let table = html! {
        table.stack {
            thead {
                tr {
                    th scope="col" { "Series" } th scope="col" { "Newest backup" }
                    th scope="col" { "Size" } th scope="col" { "Kept" }
                    th scope="col" { "Verified" } th scope="col" { "State" }
                }
            }
            tbody {
                @for facts in &database.facts.series {
                    (one_series(page, facts, database.backups.get(&facts.series)))
                }
            }
        }
    };
    section("series", "Series", &table)
}

fn one_series(page: &Page<'_>, facts: &SeriesFacts, line: Option<&Line>) -> Markup {
    html! {
        tr {
            th scope="row" { (facts.series.as_str()) }
            td data-label="Newest backup" {
                @match facts.newest {
                    Some(newest) => {
                        (page.ago(newest))
                        @if let Some(backup) = line.and_then(|line| line.newest.as_ref()) {
                            ", " code { (one_line(backup)) }
                        }
                    }
                    None => { "none" }
                }
            }
            td data-label="Size" {
                @if let Some(last) = line.and_then(|line| line.sizes.last()) { (size(*last)) }
            }
            td data-label="Kept" {
                (counted(line.map_or(0, |line| line.count), "backup", "backups"))
            }
            td data-label="Verified" {
                @match line.and_then(|line| line.verified) {
                    Some(verified) => (page.ago(verified)),
                    None => "never",
                }
            }
            td data-label="State" { (state(page, facts)) }
        }
    }
}

/// What is up with a series.
fn state(page: &Page<'_>, facts: &SeriesFacts) -> Markup {
    html! {
        @if facts.running { "running " }
        @if let Some(slot) = facts.overdue {
            strong.late { "overdue" } " since " (page.ago(slot)) " "
        }
        @if let Some(failing) = &facts.failing {
            strong.late { (counted(failing.runs, "failed run", "failed runs")) }
            ", the newest " (page.ago(failing.at)) ": " (sentence(&failing.message))
        }
        @if facts.overdue.is_none() && facts.failing.is_none() && !facts.running {
            @if facts.scheduled { "on schedule" } @else { "no schedule" }
        }
    }
}

/// The slots without a backup, the newest first.
fn without_backup(judged: &Judgement, database: &DatabaseStatus) -> Markup {
    let mut found: Vec<(&Series, &Slot)> = Vec::new();
    for (series, slots) in &database.slots {
        let newest = slots.newest.iter();
        let bad =
            newest.filter(|slot| matches!(slot.outcome, SlotOutcome::Failed | SlotOutcome::Missed));
        found.extend(bad.map(|slot| (series, slot)));
    }
    if found.is_empty() {
        return html! {};
    }
    found.sort_by_key(|(_, slot)| std::cmp::Reverse(slot.at));
    let others = found.len().saturating_sub(MOST_LISTED);
    html! {
        p {
            "Without a backup: "
            @for (index, (series, slot)) in found.iter().take(MOST_LISTED).enumerate() {
                @if index > 0 { ", " }
                (series.as_str()) " " (at(judged.local(slot.at))) " " (slot.outcome.word())
            }
            @if others > 0 { ", and " (others) " more" }
            "."
        }
    }
}

/// The sizes of each series that has several backups.
fn sizes(database: &DatabaseStatus) -> Markup {
    let charts: Vec<Markup> = database
        .backups
        .iter()
        .filter(|(_, line)| line.history.len() > 1)
        .map(|(series, line)| {
            // The newest is measured against those before it.
            let before = line
                .history
                .split_last()
                .map_or(&[][..], |(_, before)| before);
            let bytes: Vec<u64> = before.iter().map(|(_, bytes)| *bytes).collect();
            chart::sizes(series.as_str(), &line.history, Usual::of(&bytes))
        })
        .collect();
    if charts.is_empty() {
        return html! {};
    }
    let all = html! {
        @for chart in &charts { (chart) }
        p.legend { span.usual-sample {} " what was usual before the newest: the median of 14 backups, and their spread" }
    };
    section("sizes", "Sizes", &all)
}

/// What was checked, and what was restored.
fn proofs(page: &Page<'_>, judged: &Judgement, database: &DatabaseStatus) -> Markup {
    let now = judged.local(page.snapshot.now);
    let facts = &database.facts;
    let list = html! {
        ul {
            li { "Proof: " (last_proof(page, database)) }
            li { (one_line(&sections::drilled_now(page, judged, database))) }
            @if let Some(drill) = &database.recovery {
                li {
                    "backup " code { (one_line(&drill.backup)) } ", restored " (at(drill.at))
                    @if let Some(bytes) = drill.bytes { ", " (size(bytes)) }
                }
            }
            @if let Some(tried) = &facts.definitions {
                li { (sentence(&tried.message)) ", " (page.ago(tried.at)) }
            }
            li { (verified(database.verified.as_ref(), now)) }
            li { (in_30_days(database)) }
        }
    };
    section("proofs", "Proofs", &list)
}
