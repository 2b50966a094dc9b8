//! The question before a database is replaced, or created from a backup that nobody chose.

use std::fmt::Write as _;

use super::super::confirm::{self, Confirmation, Named};
use super::super::failure::{Failure, FailureKind};
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
        let text = self.text(&command.context);
        let named = Named {
            database: &plan.database,
            label: self.label,
        };
        match confirm::ask(&text, named, command.env.interrupt).await? {
            Confirmation::Given => Ok(()),
            Confirmation::Refused => Err(confirm::refused(&plan.database)),
            Confirmation::NoTerminal => Err(Failure::new(
                FailureKind::Usage,
                format!(
                    "{text}there is no terminal for the question: give --yes to replace the database, or \
                     --into NAME to restore into another database"
                ),
            )),
        }
    }

    /// What is printed before the question.
    fn text(&self, context: &JobContext) -> String {
        let plan = self.plan;
        let database = report::one_line(&plan.database);
        let does = match plan.replaces {
            Some(_) => "replaces",
            None => "creates",
        };
        let mut text = format!(
            "This {does} the database {} at {}:\n",
            self.label, plan.server
        );
        let mut line = |title: &str, what: String| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {title:<9} {what}");
        };
        let rows = plan.rows.map_or_else(String::new, |rows| {
            format!(", {}", report::counted(rows, "row", "rows"))
        });
        let started = plan.started.map_or_else(String::new, |started| {
            format!(
                ", begun {} ({} ago)",
                report::moment(started),
                rough_span(age(started, context.now()))
            )
        });
        line("backup", format!("{}{rows}{started}", plan.backup));
        if let Some(replaced) = &plan.replaces {
            let bytes = replaced
                .size_bytes
                .map_or_else(String::new, |bytes| format!("{}, ", report::size(bytes)));
            line(
                "replaced",
                format!(
                    "{database}, {bytes}{}; what was written since the backup is in it alone",
                    report::counted(replaced.sessions, "session", "sessions")
                ),
            );
        }
        if let Some(aside) = &plan.keeps_as {
            line("kept as", report::one_line(aside));
        }
        line("loaded", about_functions(&plan.user));
        for sentence in self.passed_over {
            line("newer", report::one_line(sentence));
        }
        if let Some(bytes) = self.bytes {
            let size = report::size(bytes);
            line(
                "first",
                format!("{size} of backup are read in full and loaded into a new database"),
            );
        }
        text
    }
}
