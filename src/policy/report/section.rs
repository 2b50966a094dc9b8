//! What happened in the time of a report.

use chrono::{DateTime, FixedOffset};
use schemars::JsonSchema;
use serde::Serialize;

use super::facts::{DatabaseRecord, Drill, Items, ReportFacts};
use super::period::ReportPeriod;
use crate::display::{duration, joined_lines, size};

/// So many entries of a section are in a report.
const ENTRIES: usize = 20;

/// So many newest copies are in a report.
const COPIES: usize = 100;

/// Entries of one kind, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Section {
    /// Which kind: `failures`, `changes`, `copied`, `newest_copies`, `removed`, `drills` or
    /// `requests`.
    pub id: &'static str,
    /// The kind in words.
    pub heading: &'static str,
    /// The newest entries.
    pub entries: Vec<SectionEntry>,
    /// How many more there are.
    pub more: u64,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SectionEntry {
    /// When; null where that is not known.
    #[schemars(with = "Option<String>")]
    pub at: Option<DateTime<FixedOffset>>,
    /// The database, as it is shown; null where it is about none.
    pub database: Option<String>,
    /// What.
    pub text: String,
}

/// The sections that have entries.
pub(super) fn sections(facts: &ReportFacts) -> Vec<Section> {
    let mut changes = gathered(facts, ("changes", "Changed"), |one| {
        (&one.changes, |entry| (entry.at, entry.what.clone()))
    });
    for database in &facts.databases {
        if let Some(first) = database.first.filter(|first| facts.span.contains(first)) {
            changes.entries.push(SectionEntry {
                at: Some(first),
                database: Some(database.label.clone()),
                text: "a new database: its first run is on record".to_owned(),
            });
        }
    }
    changes.entries.sort_by_key(|entry| entry.at);
    let present = facts.present.iter();
    let unconfigured = present.flat_map(|present| &present.unconfigured);
    changes
        .entries
        .extend(unconfigured.map(|sentence| SectionEntry {
            at: None,
            database: None,
            text: joined_lines(sentence),
        }));
    let sections = [
        gathered(facts, ("failures", "Failed"), |one| {
            (&one.failures, |failure| (failure.at, failure.what.clone()))
        }),
        changes,
        copied(facts),
        newest_copies(facts),
        gathered(facts, ("removed", "Removed by retention"), |one| {
            (&one.removed, |entry| (entry.at, entry.what.clone()))
        }),
        gathered(facts, ("drills", "Drills"), |one| {
            (&one.drills, |drill| (drill.at, described(drill)))
        }),
        gathered(facts, ("requests", "On request"), |one| {
            (&one.requests, |entry| (entry.at, entry.what.clone()))
        }),
    ];
    let filled = sections.into_iter().filter(|one| !one.entries.is_empty());
    filled.collect()
}

/// The copies that were made; of a day, the checklist has what came of it.
fn copied(facts: &ReportFacts) -> Section {
    let mut section = gathered(facts, ("copied", "Copied"), |one| {
        (&one.copied, |entry| (entry.at, entry.what.clone()))
    });
    if facts.span.period == ReportPeriod::Daily {
        section.entries.clear();
    }
    section
}

/// The newest copy of each series at each destination, with what tells it from any other: a store that
/// withholds it later is found out by whoever has kept the report.
fn newest_copies(facts: &ReportFacts) -> Section {
    let mut entries = Vec::new();
    let present = facts.present.iter();
    for one in present.flat_map(|present| &present.copies) {
        for copy in &one.copies.newest_of_series {
            let manifest = copy.identity.manifest.as_ref();
            let manifest = manifest.map(|sum| format!(", manifest SHA-256 {sum}"));
            entries.push(SectionEntry {
                at: None,
                database: Some(one.database.clone()),
                text: format!(
                    "{} at {}: {} of run {}, {}{}",
                    copy.series,
                    one.copies.destination,
                    copy.proof.backup,
                    copy.identity.run,
                    size(copy.bytes),
                    manifest.unwrap_or_default()
                ),
            });
        }
    }
    let more = entries.len().saturating_sub(COPIES);
    entries.truncate(COPIES);
    Section {
        id: "newest_copies",
        heading: "Newest copies",
        entries,
        more: more as u64,
    }
}

/// What there is of one kind, of all databases.
fn gathered<T>(
    facts: &ReportFacts,
    (id, heading): (&'static str, &'static str),
    of: impl Fn(&DatabaseRecord) -> (&Items<T>, fn(&T) -> (DateTime<FixedOffset>, String)),
) -> Section {
    let (mut entries, mut more) = (Vec::new(), 0);
    for database in &facts.databases {
        let (items, entry) = of(database);
        more += items.more;
        entries.extend(items.kept.iter().map(|item| {
            let (at, text) = entry(item);
            SectionEntry {
                at: Some(at),
                database: Some(database.label.clone()),
                text: joined_lines(&text),
            }
        }));
    }
    entries.sort_by_key(|entry| entry.at);
    let too_many = entries.len().saturating_sub(ENTRIES);
    entries.drain(..too_many);
    Section {
        id,
        heading,
        entries,
        more: more + too_many as u64,
    }
}

fn described(drill: &Drill) -> String {
    let backup = drill.backup.as_deref().unwrap_or("no backup");
    let result = match drill.passed {
        Some(true) => "restored and compared",
        Some(false) => "does not restore",
        None => "could not be tried",
    };
    let took = drill.took.map(|took| format!(" in {}", duration(took)));
    // What is good needs no further word.
    let message = drill
        .message
        .as_ref()
        .filter(|_| drill.passed != Some(true));
    let message = message.map(|message| format!(": {message}"));
    format!(
        "{backup} {result}{}{}",
        took.unwrap_or_default(),
        message.unwrap_or_default()
    )
}
