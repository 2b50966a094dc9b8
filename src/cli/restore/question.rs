//! The question before a database is replaced, or created from a backup that nobody chose.

use std::fmt::Write as _;

use chrono::{DateTime, FixedOffset};

use super::super::confirm::{self, Named};
use super::super::failure::Failure;
use super::super::report;
use super::RestoreCommand;
use crate::display::rough_span;
use crate::jobs::{JobContext, RestorePlan, about_functions};
use crate::policy::age;

/// What the operator is asked about.
pub(super) struct Question<'a> {
    pub(super) plan: &'a RestorePlan,
    pub(super) label: &'a str,
    /// Newer backups that are passed over, one sentence each.
    pub(super) passed_over: &'a [String],
    /// The size of the backup, if it is still to be read.
    pub(super) bytes: Option<u64>,
    /// Whether nobody chose the backup.
    pub(super) is_offered: bool,
}

impl Question<'_> {
    /// Asks, if a database is replaced or nobody chose the backup.
    pub(super) async fn confirm(&self, command: &RestoreCommand<'_>) -> Result<(), Failure> {
        let plan = self.plan;
        if plan.replaces.is_none() && !self.is_offered {
            return Ok(());
        }
        let text = self.text(&command.session.context);
        let named = Named {
            database: &plan.database,
            label: self.label,
        };
        let unasked = Failure::usage(format!(
            "{text}there is no terminal for the question\nhint: give --yes to replace the database, or \
                 --into NAME to restore into another database"
        ));
        confirm::confirm(&text, named, command.session.env.interrupt, unasked).await
    }

    /// What is printed before the question.
    fn text(&self, context: &JobContext) -> String {
        let plan = self.plan;
        let database = report::one_line(&plan.database);
        let does = match plan.replaces {
            Some(_) => "replaces",
            None => "creates",
        };
        let mut text = Lines::new(format!(
            "This {does} the database {} at {}:",
            self.label, plan.server
        ));
        let rows = plan.rows.map_or_else(String::new, |rows| {
            format!(", {}", report::counted(rows, "row", "rows"))
        });
        text.backup(&format!("{}{rows}", plan.backup), plan.started, context);
        if let Some(replaced) = &plan.replaces {
            let bytes = replaced
                .size_bytes
                .map_or_else(String::new, |bytes| format!("{}, ", report::size(bytes)));
            text.line(
                "replaced",
                &format!(
                    "{database}, {bytes}{}; what was written since the backup is in it alone",
                    report::counted(replaced.sessions, "session", "sessions")
                ),
            );
        }
        if let Some(aside) = &plan.keeps_as {
            text.line("kept as", &report::one_line(aside));
        }
        text.end(&plan.user, self.passed_over);
        if let Some(bytes) = self.bytes {
            let size = report::size(bytes);
            text.line(
                "first",
                &format!("{size} of backup are read in full and loaded into a new database"),
            );
        }
        text.text
    }
}

/// What is printed before a question: a sentence, and a line for each thing to know.
pub(super) struct Lines {
    pub(super) text: String,
}

impl Lines {
    pub(super) fn new(sentence: String) -> Self {
        Self {
            text: sentence + "\n",
        }
    }

    pub(super) fn line(&mut self, title: &str, what: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "  {title:<9} {what}");
    }

    /// The backup, and how old it is.
    pub(super) fn backup(
        &mut self,
        backup: &str,
        started: Option<DateTime<FixedOffset>>,
        context: &JobContext,
    ) {
        let started = started.map_or_else(String::new, |started| {
            format!(
                ", begun {} ({} ago)",
                report::moment(started),
                rough_span(age(started, context.now()))
            )
        });
        self.line("backup", &format!("{backup}{started}"));
    }

    /// As whom it is loaded, and the newer backups that are passed over.
    pub(super) fn end(&mut self, user: &str, passed_over: &[String]) {
        self.line("loaded", &about_functions(user));
        for sentence in passed_over {
            self.line("newer", &report::one_line(sentence));
        }
    }
}
