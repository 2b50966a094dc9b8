//! The message as a document for programs. docs/alerts.md describes it.

use chrono::{DateTime, FixedOffset};
use serde::Serialize;
use uuid::Uuid;

use super::text::{self, State};
use crate::policy::{Change, ConcernKind, Notice, NoticeItem, OpenCounts, ReportMessage, Severity};

/// So many changes a document has; what is beyond is counted.
const ITEMS: usize = 1000;

/// The longest text in a document, in characters.
const TEXT: usize = 16_000;

/// The version of the document: raised when a key is removed or gets another meaning.
const VERSION: u8 = 1;

#[derive(Serialize)]
struct Document<'a> {
    version: u8,
    id: Uuid,
    host: &'a str,
    at: DateTime<FixedOffset>,
    state: &'static str,
    subject: String,
    text: String,
    items: Vec<Item<'a>>,
    omitted: usize,
    open: Open,
    dropped: u64,
}

#[derive(Serialize)]
struct Item<'a> {
    change: &'static str,
    id: &'a str,
    kind: ConcernKind,
    severity: Severity,
    server: Option<&'a str>,
    database: Option<&'a str>,
    series: Option<&'a str>,
    object: Option<&'a str>,
    since: DateTime<FixedOffset>,
    incident: Uuid,
    message: &'a str,
}

#[derive(Serialize)]
struct Open {
    critical: u64,
    warning: u64,
}

/// The document, as text.
pub(super) fn document(notice: &Notice) -> String {
    let OpenCounts { critical, warning } = notice.open;
    let document = Document {
        version: VERSION,
        id: notice.id,
        host: &notice.host,
        at: notice.at,
        state: State::of(notice).word(),
        subject: text::subject(notice),
        text: text::text(notice, TEXT),
        items: notice.items.iter().take(ITEMS).map(item).collect(),
        omitted: notice.items.len().saturating_sub(ITEMS),
        open: Open { critical, warning },
        dropped: notice.dropped,
    };
    // Nothing in it has a key that is no text.
    serde_json::to_string(&document).unwrap_or_default()
}

/// A report as a document, as text.
pub(super) fn report_document(message: &ReportMessage) -> String {
    let document = serde_json::json!({
        "version": VERSION,
        "kind": "report",
        "id": message.id,
        "host": message.host,
        "at": message.at,
        "state": "report",
        "subject": message.subject,
        "text": text::cut(&message.text, TEXT),
        "report": message.report,
    });
    document.to_string()
}

fn item(item: &NoticeItem) -> Item<'_> {
    let alert = &item.alert;
    Item {
        change: change(item.change),
        id: &alert.id,
        kind: alert.kind,
        severity: alert.severity,
        server: alert.server.as_deref(),
        database: alert.database.as_deref(),
        series: alert.series.as_deref(),
        object: alert.object.as_deref(),
        since: alert.since,
        incident: alert.incident,
        message: &alert.sentence,
    }
}

fn change(change: Change) -> &'static str {
    match change {
        Change::Opened => "opened",
        Change::Worsened => "worsened",
        Change::Reminded => "reminded",
        Change::Resolved => "resolved",
    }
}
