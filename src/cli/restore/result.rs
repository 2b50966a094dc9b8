//! What a restore of a whole database has come to, for programs and for people.

use std::io::Write;
use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

use super::super::failure::Failure;
use super::super::{incident, report};
use super::{Begun, Restoring, records};
use crate::display::command;
use crate::jobs::{RestoreReport, Shown};

/// What `restore --json` prints, whether it succeeded or not.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub(in crate::cli) struct RestoreResult {
    /// Whether the database is restored.
    pub ok: bool,
    /// The server's name in the configuration.
    pub server_name: String,
    /// The database that was restored.
    pub database: String,
    /// The backup's name, or the file's path.
    pub backup: String,
    /// The server, as host and port; null if it was not reached.
    pub server: Option<String>,
    /// Rows that were compared with the backup; null if it is not restored, as are the next two.
    pub rows: Option<u64>,
    /// Tables that were compared.
    pub tables: Option<u64>,
    /// Whether the rows were compared; false where a dump file holds them as INSERT statements, and they
    /// were only counted, or holds none; null if it is not restored.
    pub rows_compared: Option<bool>,
    /// Where the database stands that was replaced; null if there was none, or it was dropped.
    pub kept_as: Option<String>,
    /// Roles that were created.
    pub roles: Vec<String>,
    /// Sessions that were ended for the swap of names; null if it is not restored, as are the next
    /// two.
    pub sessions_ended: Option<u64>,
    /// How long it took, in seconds, from the confirmation to the end.
    pub seconds: Option<f64>,
    /// Whether that is within `objectives.recovery_time`.
    pub in_time: Option<bool>,
    /// Why the application could not be started again.
    pub start_error: Option<String>,
    /// What the operator should know.
    pub warnings: Vec<String>,
    /// The file with the incident report; null if it could not be written.
    pub incident: Option<String>,
    /// Why it is not restored, and what remains to be done; null if it is.
    pub error: Option<String>,
}

impl Restoring<'_> {
    pub(super) fn result(&self, restored: &RestoreReport, begun: Begun) -> RestoreResult {
        RestoreResult {
            ok: true,
            server_name: self.chosen.server.name.clone(),
            database: restored.database.clone(),
            backup: restored.backup.clone(),
            server: Some(begun.server),
            rows: Some(restored.rows),
            tables: Some(restored.tables),
            rows_compared: Some(restored.shown == Shown::Compared),
            kept_as: restored.kept_as.clone(),
            roles: restored.roles.clone(),
            sessions_ended: Some(restored.sessions_ended),
            seconds: Some(restored.took.as_secs_f64()),
            in_time: Some(restored.in_time),
            start_error: restored.start_failed.clone(),
            warnings: [&*self.chosen.picked.passed_over, &*restored.warnings].concat(),
            incident: begun.incident.map(|path| path.display().to_string()),
            error: None,
        }
    }

    pub(super) fn print(
        &self,
        restored: &RestoreReport,
        incident: Option<&Path>,
        out: &mut dyn Write,
    ) -> Result<(), Failure> {
        let label = self.label.as_str();
        writeln!(
            out,
            "{label}: restored from {}, {}, in {} ({} objectives.recovery_time, {})",
            report::one_line(&restored.backup),
            restored.content(),
            report::duration(restored.took),
            if restored.in_time {
                "within"
            } else {
                "LONGER THAN"
            },
            report::span(self.request.order.objective),
        )?;
        if let Some(kept) = &restored.kept_as {
            let name = if records::is_configured(self.chosen.server) {
                self.chosen.label.as_str()
            } else {
                restored.database.as_str()
            };
            writeln!(
                out,
                "  the old database is kept as {}; `{}` swaps it back",
                report::one_line(kept),
                command("undo-restore", name, "")
            )?;
        } else if self.command.args.drop_old {
            writeln!(out, "  the old database was dropped")?;
        }
        if !restored.roles.is_empty() {
            writeln!(out, "  roles created: {}", restored.roles.join(", "))?;
        }
        incident::print(incident, out)
    }
}
