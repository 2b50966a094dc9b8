//! The first page: whether all is well, a line for each database, and what happens next.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::feed::Judgement;
use super::page::{Page, name, section, severity};
use super::{activity, chart, links, sections};
use crate::display::{counted, rough_span, size};
use crate::jobs::{DatabaseStatus, Line};
use crate::policy::{Concern, Severity, SizeRange, SlotTally, SuccessRate, slot_share};

/// The page.
pub(super) fn markup(page: &Page<'_>, judged: &Judgement) -> Markup {
    let all: Vec<&Concern> = judged.status.concerns.iter().collect();
    let body = html! {
        (page.health())
        (sections::concerns(judged, &all))
        (activity::running(page, judged, None))
        (activity::waiting(page, judged))
        (databases(page, judged))
        (sections::days(judged, &judged.status.databases))
        (sections::space(judged))
        (activity::next_runs(page, judged))
        (sections::drills(page, judged))
        (sections::alerts(page, judged, None))
        (sections::channels(judged))
        (sections::remarks(judged))
    };
    page.frame("Backups", &body)
}

/// What is judged of one database, in a word.
#[derive(Clone, Copy, Default)]
struct Verdict {
    severity: Option<Severity>,
    misses_recovery_point: bool,
}

/// The verdicts by directory and by name: with hundreds of databases nobody searches the list for each.
fn verdicts(judged: &Judgement) -> BTreeMap<(&str, &str), Verdict> {
    let databases = &judged.status.databases;
    let by_directory: BTreeMap<_, _> = databases
        .iter()
        .map(|one| (one.facts.directory.as_path(), one))
        .collect();
    let mut verdicts: BTreeMap<(&str, &str), Verdict> = BTreeMap::new();
    for concern in &judged.status.concerns {
        let directory = concern.directory.as_deref();
        let found = directory.and_then(|directory| by_directory.get(directory));
        let key = match (found, &concern.server, &concern.database) {
            (Some(one), ..) => (one.facts.server.as_str(), one.facts.database.as_str()),
            (None, Some(server), Some(database)) => (server.as_str(), database.as_str()),
            _ => continue,
        };
        let verdict = verdicts.entry(key).or_default();
        verdict.severity = verdict.severity.max(Some(concern.severity));
        verdict.misses_recovery_point |= sections::is_about_the_recovery_point(concern);
    }
    verdicts
}

/// A line for each database.
fn databases(page: &Page<'_>, judged: &Judgement) -> Markup {
    let databases = &judged.status.databases;
    if databases.is_empty() {
        let text = html! { p { "No database is backed up here yet." } };
        return section("databases", "Databases", &text);
    }
    let verdicts = verdicts(judged);
    let table = html! {
        table.stack {
            thead {
                tr {
                    th scope="col" { "Database" } th scope="col" { "State" }
                    th scope="col" { "Newest backup" } th scope="col" { "Size" }
                    th scope="col" { "Last proof" } th scope="col" { "30 days" }
                }
            }
            tbody {
                @for database in databases {
                    @let facts = &database.facts;
                    @let key = (facts.server.as_str(), facts.database.as_str());
                    (row(page, judged, (database, verdicts.get(&key).copied().unwrap_or_default())))
                }
            }
        }
    };
    section("databases", "Databases", &table)
}

fn row(
    page: &Page<'_>,
    judged: &Judgement,
    (database, verdict): (&DatabaseStatus, Verdict),
) -> Markup {
    let facts = &database.facts;
    let href = links::of_database(&facts.server, &facts.database);
    let expectation = &judged.status.expectation;
    html! {
        tr {
            th scope="row" { a href=(href) { (name(&facts.label)) } }
            td data-label="State" {
                @match verdict.severity {
                    Some(worst) => (severity(worst)),
                    None if database.newest.is_none() => span.badge.none { "no backup yet" },
                    None => span.badge.good { "good" },
                }
            }
            td data-label="Newest backup" {
                (newest(page, judged, (database, verdict.misses_recovery_point)))
            }
            td data-label="Size" {
                @if let Some(line) = line_of_the_newest(database) {
                    @if let Some(last) = line.sizes.last() { (size(*last)) " " }
                    (chart::line(&line.sizes))
                    @if let Some(change) = chart::change(&line.sizes) { " " (change) }
                    @if let Some(wanted) = size_missed(expectation.size, line) {
                        ", " strong.late { "not within " (wanted) }
                    }
                }
            }
            td data-label="Last proof" { (last_proof(page, database)) }
            td data-label="30 days" { (success_rate(expectation.success_rate, database)) }
        }
    }
}

/// The age of the newest backup against the recovery point.
pub(super) fn newest(
    page: &Page<'_>,
    judged: &Judgement,
    (database, misses): (&DatabaseStatus, bool),
) -> Markup {
    let point = rough_span(judged.status.expectation.recovery_point);
    html! {
        @match database.newest {
            Some(newest) => { (page.ago(newest)) ", of " (point) " at most" }
            None => { "no intact backup" }
        }
        @if misses { ", " strong.late { "too old" } }
    }
}

/// The newest test restore that came through, and that a later one did not.
pub(super) fn last_proof(page: &Page<'_>, database: &DatabaseStatus) -> Markup {
    html! {
        @if let Some(last) = database.drilled.as_ref().filter(|last| !last.succeeded) {
            strong.late { "drill failed " (page.ago(last.at)) } " "
        }
        @match sections::proof(database) {
            Some(proof) => (proof),
            None if database.drilled.is_none() => "never drilled",
            None => "",
        }
    }
}

/// "29 of 30 slots, 96.6 %": the slots of the last 30 days for which there is a backup.
fn success_rate(wanted: SuccessRate, database: &DatabaseStatus) -> Markup {
    let months = database.slots.values().map(|slots| slots.month);
    let month = months.fold(SlotTally::default(), SlotTally::plus);
    let counted_slots = counted(month.counted(), "slot", "slots");
    html! {
        @match slot_share(month.done, month.counted()) {
            None => { "no slot yet" }
            Some(share) => { (month.done) " of " (counted_slots) ", " (share) }
        }
        @if month.failed > 0 { ", " strong.late { (month.failed) " failed" } }
        @if month.missed > 0 { ", " strong.late { (month.missed) " missed" } }
        @if month.meets(wanted) == Some(false) { ", less than " (wanted) }
    }
}

/// The sizes that a backup may have, where the newest one is of another size.
fn size_missed(wanted: Option<SizeRange>, line: &Line) -> Option<SizeRange> {
    let wanted = wanted?;
    let last = *line.sizes.last()?;
    (!wanted.contains(last)).then_some(wanted)
}

/// The series that the newest intact backup is of.
fn line_of_the_newest(database: &DatabaseStatus) -> Option<&Line> {
    let mut series = database.facts.series.iter();
    let newest = series.find(|one| one.newest.is_some() && one.newest == database.newest);
    match newest {
        Some(newest) => database.backups.get(&newest.series),
        None => database.backups.values().next(),
    }
}
