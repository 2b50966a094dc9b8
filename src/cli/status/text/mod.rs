//! What `status` prints for people: the verdict first, then how everything stands, within 80
//! columns.

mod databases;

use std::io::Write;

use clap::builder::styling::{AnsiColor, Style};

use super::spark::Letters;
use crate::cli::failure::Failure;
use crate::cli::report::{counted, moment, one_line};
use crate::cli::table::{Column, Table};
use crate::cli::wrap::wrapped;
use crate::display::{joined_lines, rough_span};
use crate::jobs::phrases::{display_running, display_space, rehearsed};
use crate::jobs::{DaemonView, DatabaseStatus, StatusReport};
use crate::policy::{Severity, age};
use databases::{paragraph, table};

/// More databases than these get a row each instead of a paragraph.
const PARAGRAPHS: usize = 4;

const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();

/// Prints all of it.
///
/// # Errors
/// When the output cannot be written.
pub(super) fn print(
    status: &StatusReport,
    letters: Letters,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    verdict(status, out)?;
    for remark in &status.remarks {
        wrapped(out, "- ", remark)?;
    }
    if status.databases.len() > PARAGRAPHS {
        writeln!(out)?;
        table(status, letters, out)?;
    } else {
        for database in &status.databases {
            writeln!(out)?;
            paragraph(status, database, letters, out)?;
        }
    }
    running(status, out)?;
    waiting(status, out)?;
    next(status, out)?;
    space(status, out)?;
    rehearsals(status, out)?;
    channels(status, out)?;
    Ok(())
}

/// When the key that is kept offline was last tried.
fn rehearsals(status: &StatusReport, out: &mut dyn Write) -> Result<(), Failure> {
    let mut is_first = true;
    for one in &status.rehearsals {
        heading(
            &mut is_first,
            "rehearsals with the key that is kept offline",
            out,
        )?;
        let text = rehearsed(one, status.expectation.rehearsal_age, status.at);
        wrapped(out, "  ", &text)?;
    }
    Ok(())
}

/// Who is sent alerts, of a service; without one, cron's mails are usual.
fn channels(status: &StatusReport, out: &mut dyn Write) -> Result<(), Failure> {
    if !matches!(status.daemon, DaemonView::Alive(_)) && status.channels.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    if status.channels.is_empty() {
        let text = "no channel is configured, so nobody is notified: see \
                    /usr/share/doc/pgbackupd/alerts.md";
        wrapped(out, "alerts: ", text)?;
        return Ok(());
    }
    wrapped(out, "alerts go to ", &status.channels.join(", "))?;
    Ok(())
}

fn verdict(status: &StatusReport, out: &mut dyn Write) -> Result<(), Failure> {
    let seen = moment(status.at);
    let many = status.databases.len() as u64;
    let databases = counted(many, "database", "databases");
    if status.concerns.is_empty() && many == 0 {
        writeln!(out, "no database is backed up here yet, seen at {seen}")?;
        return Ok(());
    }
    if status.concerns.is_empty() {
        writeln!(
            out,
            "{GOOD}all is well{GOOD:#} with {databases}, seen at {seen}"
        )?;
        return Ok(());
    }
    let concerns = status.concerns.len() as u64;
    writeln!(
        out,
        "{BAD}{}{BAD:#}, seen at {seen}",
        counted(concerns, "thing needs attention", "things need attention")
    )?;
    for concern in &status.concerns {
        let sentence = match status.about(concern) {
            Some(about) => format!("{about}: {}", concern.sentence),
            None => concern.sentence.clone(),
        };
        wrapped(out, mark(concern.severity), &sentence)?;
    }
    Ok(())
}

/// What stands before a concern.
fn mark(severity: Severity) -> &'static str {
    match severity {
        Severity::Warning => "! ",
        Severity::Critical => "!! ",
    }
}

fn running(status: &StatusReport, out: &mut dyn Write) -> Result<(), Failure> {
    let mut is_first = true;
    for database in &status.databases {
        for running in &database.running {
            heading(&mut is_first, "running now", out)?;
            let text = display_running(running, status.at);
            wrapped(out, "  ", &format!("{}: {text}", label(database)))?;
        }
    }
    Ok(())
}

fn waiting(status: &StatusReport, out: &mut dyn Write) -> Result<(), Failure> {
    let DaemonView::Alive(state) = &status.daemon else {
        return Ok(());
    };
    let mut is_first = true;
    for waiting in &state.waiting {
        heading(&mut is_first, "due and waiting", out)?;
        let until = waiting
            .until
            .map(|until| format!(", until {}", moment(until)))
            .unwrap_or_default();
        wrapped(
            out,
            "  ",
            &format!(
                "{}: job {}, due at {}{until}: {}",
                status.label(&waiting.server, &waiting.database),
                waiting.job,
                moment(waiting.due),
                joined_lines(&waiting.reason)
            ),
        )?;
    }
    Ok(())
}

fn next(status: &StatusReport, out: &mut dyn Write) -> Result<(), Failure> {
    writeln!(out)?;
    let who = match &status.daemon {
        DaemonView::Alive(state) if state.stopping => {
            format!("the daemon (process {}) is stopping", state.pid)
        }
        DaemonView::Alive(state) => format!(
            "the daemon (process {}) has run for {}",
            state.pid,
            rough_span(age(state.started, status.at))
        ),
        DaemonView::Absent => {
            "no daemon runs: only cron, timers or people start what is due".to_owned()
        }
        DaemonView::Hidden(_) => "whether a daemon runs cannot be seen".to_owned(),
    };
    writeln!(out, "next runs; {who}")?;
    if status.next.is_empty() {
        writeln!(out, "  none: no job is enabled")?;
    }
    let mut table = Table::untitled([Column::left(""); 4]);
    for next in &status.next {
        table.row([
            format!("  {}", next.job),
            next.kind.clone(),
            next.at.map_or_else(
                || "never".to_owned(),
                |at| at.format("%a %Y-%m-%d %H:%M %:z").to_string(),
            ),
            next.at
                .map(|at| format!("in {}", rough_span(age(status.at, at))))
                .unwrap_or_default(),
        ]);
    }
    table.print("", out)?;
    Ok(())
}

fn space(status: &StatusReport, out: &mut dyn Write) -> Result<(), Failure> {
    let mut is_first = true;
    for space in &status.spaces {
        heading(&mut is_first, "free space", out)?;
        wrapped(out, "  ", &display_space(space))?;
    }
    Ok(())
}

/// The database, with its server where there are several.
fn label(database: &DatabaseStatus) -> String {
    one_line(&database.facts.label)
}

fn heading(is_first: &mut bool, text: &str, out: &mut dyn Write) -> Result<(), Failure> {
    if std::mem::take(is_first) {
        writeln!(out, "\n{text}")?;
    }
    Ok(())
}
