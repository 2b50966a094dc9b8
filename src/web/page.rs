//! What all pages share: the frame, the sentence on top, and how names, times and sentences are shown.
//!
//! Names and errors may hold anything. Markup is escaped by maud, what a terminal would obey is made
//! visible as everywhere else, and names are isolated from the direction of what surrounds them.

use chrono::{DateTime, FixedOffset, Utc};
use maud::{DOCTYPE, Markup, html};

use super::feed::Snapshot;
use super::health::Health;
use crate::display::{joined_lines, moment, one_line, rough_span};
use crate::jobs::DaemonView;
use crate::policy::{Severity, age};

/// A page that is being made.
pub(super) struct Page<'a> {
    /// What there is to see.
    pub(super) snapshot: &'a Snapshot,
    /// The machine's name.
    host: &'a str,
}

impl<'a> Page<'a> {
    /// A page of what there is to see.
    pub(super) fn of(snapshot: &'a Snapshot, host: &'a str) -> Self {
        Self { snapshot, host }
    }

    /// The frame.
    pub(super) fn frame(&self, title: &str, body: &Markup) -> Markup {
        let host = one_line(self.host);
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (title) " · pgbackupd on " (host) }
                    link rel="stylesheet" href="/style.css";
                }
                body {
                    nav { a href="/" { "pgbackupd" } " on " bdi { (host) } }
                    main { (body) }
                    footer {
                        "pgbackupd " (env!("CARGO_PKG_VERSION")) ", read-only. For programs: "
                        a href="/metrics" { "/metrics" } ", "
                        a href="/api/status" { "/api/status" } ", "
                        a href="/healthz" { "/healthz" }
                    }
                }
            }
        }
    }

    /// The sentence on top of the first page, and when it was true.
    pub(super) fn health(&self) -> Markup {
        let health = Health::of(self.snapshot);
        html! {
            header.health.(health.class()) {
                h1 { (health.sentence()) }
                @if let Some(judged) = &self.snapshot.judged {
                    p {
                        "Judged " (self.ago(judged.status.at))
                        @if let Some(daemon) = self.daemon() { "; " (daemon) }
                    }
                }
            }
        }
    }

    /// Since when the daemon runs.
    fn daemon(&self) -> Option<String> {
        let live = self.snapshot.live.as_ref().map(|live| live.state.as_ref());
        let judged = self.snapshot.judged.as_ref()?;
        let state = live.or(match &judged.status.daemon {
            DaemonView::Alive(state) => Some(state.as_ref()),
            _ => None,
        })?;
        if state.stopping {
            return Some("the daemon is stopping".to_owned());
        }
        let since = age(state.started, self.now(state.started));
        Some(format!("the daemon has run for {}", rough_span(since)))
    }

    /// The page before anything was judged.
    pub(super) fn not_judged_yet(&self) -> Markup {
        let body = html! {
            (self.health())
            p { "The daemon looks at every backup directory first. Load this page again in a moment." }
        };
        self.frame("Not judged yet", &body)
    }

    /// What is shown at an address that is none.
    pub(super) fn no_such_page(&self) -> Markup {
        let body = html! {
            h1 { "No such page" }
            p { "No database of that name is backed up here. " a href="/" { "See all databases" } }
        };
        self.frame("No such page", &body)
    }

    /// Now, on the wall clock of another moment.
    pub(super) fn now(&self, like: DateTime<FixedOffset>) -> DateTime<FixedOffset> {
        self.snapshot.now.with_timezone(like.offset())
    }

    /// "10 hours ago", with the moment itself for whoever points at it.
    pub(super) fn ago(&self, at: DateTime<FixedOffset>) -> Markup {
        let text = rough_span(age(at, self.now(at)));
        html! { time datetime=(at.to_rfc3339()) title=(moment(at)) { (text) " ago" } }
    }

    /// "in 3 hours", with the moment itself.
    pub(super) fn ahead(&self, at: DateTime<FixedOffset>) -> Markup {
        let now = self.now(at);
        if at.with_timezone(&Utc) <= self.snapshot.now {
            return html! { time datetime=(at.to_rfc3339()) { "now" } };
        }
        let text = rough_span(age(now, at));
        html! { time datetime=(at.to_rfc3339()) title=(moment(at)) { "in " (text) } }
    }
}

/// A moment as it is.
pub(super) fn at(at: DateTime<FixedOffset>) -> Markup {
    html! { time datetime=(at.to_rfc3339()) { (moment(at)) } }
}

/// A name.
pub(super) fn name(text: &str) -> Markup {
    html! { bdi { (one_line(text)) } }
}

/// A sentence, with its commands set apart.
pub(super) fn sentence(text: &str) -> Markup {
    let text = joined_lines(text);
    let parts: Vec<&str> = text.split('`').collect();
    // One that has no partner is a character like others.
    if parts.len().is_multiple_of(2) {
        return html! { bdi { (text) } };
    }
    html! {
        bdi {
            @for (index, part) in parts.iter().enumerate() {
                @if index % 2 == 1 { code { (part) } } @else { (part) }
            }
        }
    }
}

/// How urgent something is, in a word.
pub(super) fn severity(severity: Severity) -> Markup {
    let word = severity.word();
    html! { strong.badge.(word) { (word) } }
}

/// A part of a page under its heading.
pub(super) fn section(id: &str, title: &str, body: &Markup) -> Markup {
    html! { section aria-labelledby=(id) { h2 id=(id) { (title) } (body) } }
}
