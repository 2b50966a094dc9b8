//! The parts that the first page and those of databases are made of.

use maud::{Markup, html};

use super::feed::Judgement;
use super::page::{Page, at, name, section, sentence, severity};
use super::strip;
use crate::display::{count, counted, duration, one_line};
use crate::jobs::DatabaseStatus;
use crate::jobs::phrases::{display_space, drilled};
use crate::policy::{Alert, Concern, ConcernKind, SpaceFacts, Tracked};

/// So many concerns, alerts and waiting runs are listed: a page stays small whatever happens.
pub(super) const MOST_LISTED: usize = 100;

/// How many are not listed, and the command that lists them.
pub(super) fn others(all: usize, command: &str) -> Markup {
    let more = all.saturating_sub(MOST_LISTED);
    html! {
        @if more > 0 {
            p { "And " (count(more as u64)) " more: see " code { (command) } "." }
        }
    }
}

/// What needs attention, with its way out; what is worst first.
pub(super) fn concerns(judged: &Judgement, concerns: &[&Concern]) -> Markup {
    if concerns.is_empty() {
        return html! {};
    }
    let list = html! {
        ul.concerns {
            @for concern in concerns.iter().take(MOST_LISTED) {
                li.(concern.severity.word()) {
                    (severity(concern.severity)) " "
                    @if let Some(about) = judged.status.about(concern) {
                        (name(&about)) ": "
                    }
                    (sentence(&concern.sentence))
                }
            }
        }
        (others(concerns.len(), "pgbackupd status"))
    };
    section("attention", "Needs attention", &list)
}

/// The last 90 days of each series of some databases, a day each.
pub(super) fn days(judged: &Judgement, databases: &[DatabaseStatus]) -> Markup {
    if databases.iter().all(|database| database.slots.is_empty()) {
        return html! {};
    }
    let today = judged.status.at.date_naive();
    let local = |at| judged.local(at).date_naive();
    let body = html! {
        ul.days {
            @for database in databases {
                @for (series, slots) in &database.slots {
                    li {
                        span.of { (name(&database.facts.label)) " " (series.as_str()) }
                        (strip::strip(slots, today, local))
                        span.tally { (strip::tally(slots.quarter)) }
                    }
                }
            }
        }
        (strip::legend())
    };
    section("days", "90 days", &body)
}

/// The file systems with backups, and how long they last.
pub(super) fn space(judged: &Judgement) -> Markup {
    let spaces = &judged.status.spaces;
    if spaces.is_empty() {
        return html! {};
    }
    let list = html! { ul { @for space in spaces { li { (one_space(space)) } } } };
    section("space", "Free space", &list)
}

/// One file system: what is free, and for how long.
fn one_space(facts: &SpaceFacts) -> Markup {
    html! { bdi { (display_space(facts)) } }
}

/// The newest drill of each database.
pub(super) fn drills(page: &Page<'_>, judged: &Judgement) -> Markup {
    if judged.status.databases.is_empty() {
        return html! {};
    }
    let list = html! {
        ul {
            @for database in &judged.status.databases {
                li {
                    (name(&database.facts.label)) ": "
                    (one_line(&drilled_now(page, judged, database)))
                }
            }
        }
    };
    section("drills", "Drills", &list)
}

/// "last drill 9 days ago (35 days at most): good, with the data back in 41.3 s (of 30 minutes)"
pub(super) fn drilled_now(
    page: &Page<'_>,
    judged: &Judgement,
    database: &DatabaseStatus,
) -> String {
    let now = judged.local(page.snapshot.now);
    drilled(&judged.status.expectation, database, now)
}

/// "restored 2026-11-28: 184 tables, 9,214,311 rows equal, in 94 s"
pub(super) fn proof(database: &DatabaseStatus) -> Option<String> {
    let drill = database.recovery.as_ref()?;
    let day = drill.at.format("%Y-%m-%d");
    let took = duration(drill.recovery_time());
    Some(match database.proof {
        Some(proof) => format!(
            "restored {day}: {}, {} equal, in {took}",
            counted(proof.tables, "table", "tables"),
            counted(proof.rows, "row", "rows")
        ),
        None => format!("restored {day}, all equal, in {took}"),
    })
}

/// The alerts that are open, about one database or all.
pub(super) fn alerts(page: &Page<'_>, judged: &Judgement, one: Option<&DatabaseStatus>) -> Markup {
    let is_about = |alert: &Alert| {
        one.is_none_or(|one| {
            alert.server.as_ref() == Some(&one.facts.server)
                && alert.database.as_ref() == Some(&one.facts.database)
        })
    };
    let mut open: Vec<&Tracked> = judged
        .alerts
        .alerts
        .values()
        .filter(|tracked| tracked.resolved.is_none() && is_about(&tracked.alert))
        .collect();
    if open.is_empty() {
        return html! {};
    }
    open.sort_by_key(|tracked| {
        (
            std::cmp::Reverse(tracked.alert.severity),
            tracked.alert.since,
        )
    });
    let table = html! {
        table.stack {
            thead {
                tr {
                    th scope="col" { "Alert" } th scope="col" { "About" }
                    th scope="col" { "Open since" } th scope="col" { "Notified" }
                }
            }
            tbody {
                @for tracked in open.iter().take(MOST_LISTED) { (one_alert(page, judged, tracked)) }
            }
        }
        (others(open.len(), "pgbackupd alerts list"))
    };
    section("alerts", "Open alerts", &table)
}

fn one_alert(page: &Page<'_>, judged: &Judgement, tracked: &Tracked) -> Markup {
    let alert = &tracked.alert;
    let now = judged.local(page.snapshot.now);
    let channels: Vec<&str> = tracked.sent.keys().map(String::as_str).collect();
    let about = match (&alert.server, &alert.database) {
        (Some(server), Some(database)) => judged.status.label(server, database),
        (Some(server), None) => format!("server {server}"),
        _ => String::new(),
    };
    html! {
        tr {
            th scope="row" { (severity(alert.severity)) " " code { (alert.id) } }
            td data-label="About" { @if about.is_empty() { "this machine" } @else { (name(&about)) } }
            td data-label="Open since" { (page.ago(alert.since)) }
            td data-label="Notified" {
                @if channels.is_empty() { "nobody" } @else { (channels.join(", ")) }
                @if let Some(silence) = judged.alerts.silence(alert, now) {
                    "; silenced until " (at(silence.until)) ": " (sentence(&silence.reason))
                }
            }
        }
    }
}

/// Who is notified.
pub(super) fn channels(judged: &Judgement) -> Markup {
    let channels = &judged.status.channels;
    html! {
        p {
            @if channels.is_empty() {
                "No alert channel is configured, so nobody is notified."
            } @else {
                "Alerts go to " (channels.join(", ")) "."
            }
        }
    }
}

/// What is good to know and needs no attention.
pub(super) fn remarks(judged: &Judgement) -> Markup {
    let remarks = &judged.status.remarks;
    if remarks.is_empty() {
        return html! {};
    }
    let list = html! { ul { @for remark in remarks { li { (sentence(remark)) } } } };
    section("remarks", "Good to know", &list)
}

/// Whether a concern is that a database has no backup that is new enough.
pub(super) fn is_about_the_recovery_point(concern: &Concern) -> bool {
    matches!(
        concern.kind,
        ConcernKind::RecoveryPoint | ConcernKind::NoBackup
    )
}

/// Whether a concern is about a database.
pub(super) fn is_about(concern: &Concern, database: &DatabaseStatus) -> bool {
    let facts = &database.facts;
    concern.directory.as_deref() == Some(&facts.directory)
        || (concern.server.as_ref() == Some(&facts.server)
            && concern.database.as_ref() == Some(&facts.database))
}
