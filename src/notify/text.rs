//! A message in words: its subject, and plain text that reads well on a telephone.
//!
//! Names and errors in it come from servers and files. Nothing in it ends a line of a header, moves a
//! terminal's cursor, or calls everybody of a chat.

use std::fmt::Write as _;

use chrono::{DateTime, FixedOffset};

use crate::display::{counted, joined_lines, label, one_line, rough_span};
use crate::policy::{Alert, Change, ConcernKind, Notice, NoticeItem, ReportMessage, Severity, age};

/// The longest subject, in characters.
const SUBJECT: usize = 120;

/// The longest sentence about one alert, in characters.
const SENTENCE: usize = 1200;

/// So many names a subject has.
const NAMES: usize = 3;

/// What a message is about, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing: it tries the channel.
    Test,
    /// At least one critical alert.
    Critical,
    /// Warnings.
    Warning,
    /// Nothing but what is over.
    Resolved,
}

impl State {
    pub(super) fn of(notice: &Notice) -> Self {
        let open = notice
            .items
            .iter()
            .filter(|item| item.change != Change::Resolved);
        match open.map(|item| item.alert.severity).max() {
            _ if notice.is_test => Self::Test,
            Some(Severity::Critical) => Self::Critical,
            Some(Severity::Warning) => Self::Warning,
            None => Self::Resolved,
        }
    }

    /// As a word of programs.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Test => "test",
            Self::Critical => "critical",
            Self::Warning => "warning",
            Self::Resolved => "resolved",
        }
    }
}

/// The line above a message. The state is in brackets, so that mail programs take the subjects of an
/// incident's messages for one.
pub(super) fn subject(notice: &Notice) -> String {
    let state = State::of(notice).word().to_uppercase();
    let host = one_line(&notice.host);
    let about = match notice.items.as_slice() {
        [] => format!("pgbackupd on {host}"),
        [item] => match of_database(&item.alert) {
            Some(database) => format!("{database} on {host}: {}", kind(item.alert.kind)),
            None => format!("{host}: {}", kind(item.alert.kind)),
        },
        items => {
            let resolved = items
                .iter()
                .filter(|item| item.change == Change::Resolved)
                .count();
            let count = match (items.len() - resolved, resolved) {
                (open, 0) => counted(open as u64, "alert", "alerts"),
                (0, resolved) => counted(resolved as u64, "alert", "alerts"),
                (open, resolved) => {
                    format!(
                        "{} and {resolved} resolved",
                        counted(open as u64, "alert", "alerts")
                    )
                }
            };
            format!("{count} on {host}{}", names(items))
        }
    };
    cut(&format!("[{state}] {about}"), SUBJECT)
}

/// ": app, audit and 4 more" where alerts are of databases.
fn names(items: &[NoticeItem]) -> String {
    let mut names: Vec<String> = Vec::new();
    for name in items.iter().filter_map(|item| of_database(&item.alert)) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if names.is_empty() {
        return String::new();
    }
    let more = names.len().saturating_sub(NAMES);
    names.truncate(NAMES);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    format!(": {}{more}", names.join(", "))
}

/// The message in plain text, of at most so many characters: what does not fit is counted.
pub(super) fn text(notice: &Notice, longest: usize) -> String {
    let host = one_line(&notice.host);
    if notice.is_test {
        return format!(
            "This is a test of pgbackupd on {host}, sent by `pgbackupd alerts test`. Nothing is wrong. \
             Alerts will look like this, with what is wrong and the way out.\n"
        );
    }
    let end = end(notice, &host);
    let reserved = end.chars().count() + "… and 1,000,000 more\n\n".len();
    let mut text = String::new();
    let mut left = longest.saturating_sub(reserved);
    for (index, item) in notice.items.iter().enumerate() {
        let mut block = block(item, notice.at);
        if index == 0 {
            // The first is shown, shortened if need be.
            block = cut(&block, left);
        }
        let length = block.chars().count() + 2;
        if index > 0 && length > left {
            let more = (notice.items.len() - index) as u64;
            // Writing to a string cannot fail.
            let _ = write!(text, "… and {} more\n\n", crate::display::count(more));
            break;
        }
        left = left.saturating_sub(length);
        text.push_str(&block);
        text.push_str("\n\n");
    }
    text.push_str(&end);
    text
}

/// The message for a chat: as [`text`], but `@` calls nobody.
pub(super) fn chat(notice: &Notice, longest: usize) -> String {
    // At most every character becomes two.
    let text = text(notice, longest);
    let marks = text.matches('@').count();
    let text = if text.chars().count() + marks > longest {
        self::text(notice, longest.saturating_sub(marks))
    } else {
        text
    };
    calling_nobody(&text)
}

/// A report for a chat, of at most so many characters: `@` calls nobody.
pub(super) fn report_for_chat(message: &ReportMessage, longest: usize) -> String {
    let marks = message.text.matches('@').count();
    calling_nobody(&cut(&message.text, longest.saturating_sub(marks)))
}

/// Text in which `@` is followed by a character that is not shown, so that no service reads the name of
/// a person or of a group there.
pub(super) fn calling_nobody(text: &str) -> String {
    text.replace('@', "@\u{200b}")
}

/// What is said of one alert, in lines.
fn block(item: &NoticeItem, now: DateTime<FixedOffset>) -> String {
    let alert = &item.alert;
    let title = title(item);
    let for_long = rough_span(age(alert.since, now));
    let sentence = cut(&capitalised(&joined_lines(&alert.sentence)), SENTENCE);
    match item.change {
        Change::Resolved => format!("{title}\nIt was open for {for_long}."),
        Change::Reminded => format!("{title}\n{sentence}\nOpen for {for_long} ({})", alert.id),
        Change::Opened | Change::Worsened => {
            let since = alert.since.format("%Y-%m-%d %H:%M %:z");
            format!("{title}\n{sentence}\nSince {since} ({})", alert.id)
        }
    }
}

/// "CRITICAL app: overdue, was a warning".
pub(super) fn title(item: &NoticeItem) -> String {
    let alert = &item.alert;
    let severity = match alert.severity {
        Severity::Critical => "CRITICAL",
        Severity::Warning => "WARNING",
    };
    let (word, how) = match item.change {
        Change::Opened => (severity, ""),
        Change::Worsened => (severity, ", was a warning"),
        Change::Reminded => (severity, ", still open"),
        Change::Resolved => ("RESOLVED", ""),
    };
    let of = of_database(alert).map_or_else(String::new, |database| format!(" {database}:"));
    format!("{word}{of} {}{how}", kind(alert.kind))
}

/// What is open after the message, and where to look.
fn end(notice: &Notice, host: &str) -> String {
    let open = [
        (notice.open.critical, "critical", "critical"),
        (notice.open.warning, "warning", "warnings"),
    ];
    let open: Vec<String> = open
        .into_iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, one, many)| counted(count, one, many))
        .collect();
    let dropped = match notice.dropped {
        0 => String::new(),
        dropped => format!(
            "While this channel failed, {} came and went.\n",
            counted(dropped, "other alert", "other alerts")
        ),
    };
    if open.is_empty() {
        format!("{dropped}Nothing else is open on {host}.\n")
    } else {
        format!(
            "{dropped}Open on {host}: {}. `pgbackupd status` shows all.\n",
            open.join(", ")
        )
    }
}

/// The database that an alert is of, as the command line takes it.
pub(super) fn of_database(alert: &Alert) -> Option<String> {
    let database = alert.database.as_deref()?;
    let server = alert.server.as_deref().unwrap_or("main");
    Some(one_line(&label(server != "main", server, database)))
}

/// A kind in words: "no backup".
pub(super) fn kind(kind: ConcernKind) -> String {
    kind.word().replace('_', " ")
}

/// A text of at most so many characters.
pub(super) fn cut(text: &str, longest: usize) -> String {
    if text.chars().count() <= longest {
        return text.to_owned();
    }
    let front: String = text.chars().take(longest.saturating_sub(1)).collect();
    format!("{front}…")
}

fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => first.to_uppercase().chain(characters).collect(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests;
