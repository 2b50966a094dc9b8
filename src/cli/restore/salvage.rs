//! `pgbackupd restore --salvage`: what came back, and what did not.

use std::io::Write;
use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

use super::super::failure::{Failure, FailureKind};
use super::super::table::{Column, Table};
use super::super::{incident, report};
use super::{Restoring, warn};
use crate::display::command;
use crate::jobs::{Missing, Run, SalvageReport, prepare_restore, salvage};

/// So many missing things are printed; the rest is in a file.
const PRINTED: usize = 20;

/// What `restore --salvage --json` prints.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct SalvageResult {
    /// Whether all that the backup holds is there.
    pub ok: bool,
    /// The server's name in the configuration.
    pub server_name: String,
    /// The new database.
    pub database: String,
    /// The backup's name, or the file's path.
    pub backup: String,
    /// Rows that are in the new database.
    pub rows: u64,
    /// Rows that the backup holds.
    pub expected_rows: u64,
    /// Tables whose rows are all there.
    pub complete_tables: u64,
    /// Tables that the backup holds.
    pub expected_tables: u64,
    /// What is missing, or came back in another form, in the dump's order.
    pub missing: Vec<MissingObject>,
    /// How the backup is damaged; null if it is not.
    pub damage: Option<String>,
    /// What the server took only under the database's own `search_path`; where the backup comes from, it
    /// should be changed.
    pub needs_own_search_path: Vec<MissingObject>,
    /// The file with the statements that are still to be run, in their order; null if there are none.
    pub todo: Option<String>,
    /// The file with the rows that the server refused; null if there are none.
    pub refused_rows: Option<String>,
    /// Roles that were created.
    pub roles: Vec<String>,
    /// What the operator should know.
    pub warnings: Vec<String>,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// The file with the incident report; null if it could not be written.
    pub incident: Option<String>,
}

/// One thing that is missing.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct MissingObject {
    /// What it is, as `pg_dump` calls it.
    pub object: String,
    /// `missing`, `rows_missing`, `not_validated`, `not_sent` or `differs`.
    pub state: &'static str,
    /// So many of its rows are missing; null if it has none.
    pub rows: Option<u64>,
    /// The server's code; null where the server refused nothing, as is the next.
    pub sqlstate: Option<String>,
    /// The server's message, or another reason.
    pub message: Option<String>,
    /// The server's detail, which may show rows.
    pub detail: Option<String>,
    /// Where it happened.
    pub context: Option<String>,
    /// What to do about it, for kinds that are known.
    pub fix: Option<String>,
}

impl MissingObject {
    fn of(missing: &Missing) -> Self {
        let refusal = missing.refusal.as_ref();
        let message = refusal.map(|refusal| refusal.message.clone());
        Self {
            object: missing.object.clone(),
            state: missing.state.word(),
            rows: missing.rows,
            sqlstate: refusal.map(|refusal| refusal.sqlstate.clone()),
            message: message.or_else(|| missing.why.clone()),
            detail: refusal.and_then(|refusal| refusal.detail.clone()),
            context: refusal.and_then(|refusal| refusal.context.clone()),
            fix: missing.fix.clone(),
        }
    }
}

impl Restoring<'_> {
    /// Salvages the backup, and reports what is there and what is not.
    pub(super) async fn salvage(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let (session, label) = (self.command.session, &self.label);
        let request = &self.request;
        let preparing = async |run: &Run<'_>| prepare_restore(run, request).await;
        let prepared = match Box::pin(session.part(&self.run, label, preparing)).await {
            Ok(prepared) => prepared,
            Err(error) => return self.failed(&error, None, out),
        };
        warn(&prepared.plan.warnings, &self.chosen.picked.passed_over);
        let salvaging = async |run: &Run<'_>| salvage(run, request, prepared).await;
        let salvaged = Box::pin(session.part(&self.run, label, salvaging)).await;
        let (context, records) = (&session.context, &self.chosen.repository);
        let path = incident::write(context, records, self.run.id, salvaged.as_ref().err());
        let salvaged = match salvaged {
            Ok(salvaged) => salvaged,
            Err(error) => {
                let failure = session.failure(&error);
                let document: Option<&SalvageResult> = None;
                return Err(incident::failed(failure, path.as_deref(), document, out));
            }
        };
        warn(&salvaged.warnings, &[]);
        if session.env.json {
            report::json(&self.document(&salvaged, path.as_deref()), out)?;
        } else {
            self.print_salvaged(&salvaged, path.as_deref(), out)?;
        }
        out.flush()?;
        if salvaged.is_complete() {
            return Ok(());
        }
        Err(Failure::new(
            FailureKind::Damaged,
            format!(
                "{label} holds what could be salvaged, which is not all: {} of {}, and {} missing or changed{}",
                report::counted(salvaged.rows, "row", "rows"),
                report::count(salvaged.expected_rows),
                report::counted(salvaged.missing.len() as u64, "object is", "objects are"),
                match salvaged.damage {
                    Some(_) => "; the backup is damaged",
                    None => "",
                }
            ),
        ))
    }

    fn document(&self, salvaged: &SalvageReport, incident: Option<&Path>) -> SalvageResult {
        let path = |path: Option<&Path>| path.map(|path| path.display().to_string());
        SalvageResult {
            ok: salvaged.is_complete(),
            server_name: self.chosen.server.name.clone(),
            database: salvaged.into.clone(),
            backup: salvaged.backup.clone(),
            rows: salvaged.rows,
            expected_rows: salvaged.expected_rows,
            complete_tables: salvaged.complete_tables,
            expected_tables: salvaged.expected_tables,
            missing: salvaged.missing.iter().map(MissingObject::of).collect(),
            damage: salvaged.damage.clone(),
            needs_own_search_path: salvaged.by_own_path.iter().map(MissingObject::of).collect(),
            todo: path(salvaged.todo.as_deref()),
            refused_rows: path(salvaged.refused_rows.as_deref()),
            roles: salvaged.roles.clone(),
            warnings: [&*self.chosen.picked.passed_over, &*salvaged.warnings].concat(),
            seconds: salvaged.took.as_secs_f64(),
            incident: path(incident),
        }
    }

    fn print_salvaged(
        &self,
        salvaged: &SalvageReport,
        incident: Option<&Path>,
        out: &mut dyn Write,
    ) -> Result<(), Failure> {
        writeln!(
            out,
            "{}: salvaged from {}, in {}",
            self.label,
            report::one_line(&salvaged.backup),
            report::duration(salvaged.took)
        )?;
        let mut table = Table::new([
            Column::left(""),
            Column::right("THERE"),
            Column::right(if salvaged.expects_what_was_read {
                "READ OF THE BACKUP"
            } else {
                "IN THE BACKUP"
            }),
        ]);
        for (what, there, all) in [
            ("rows", salvaged.rows, salvaged.expected_rows),
            (
                "tables with all rows",
                salvaged.complete_tables,
                salvaged.expected_tables,
            ),
        ] {
            table.row([what.to_owned(), report::count(there), report::count(all)]);
        }
        table.print("  ", out)?;
        if let Some(damage) = &salvaged.damage {
            writeln!(out, "  the backup is damaged: {}", report::one_line(damage))?;
        }
        for missing in salvaged.missing.iter().take(PRINTED) {
            print_missing(missing, out)?;
        }
        let more = salvaged.missing.len().saturating_sub(PRINTED);
        if more > 0 {
            writeln!(out, "and {} more", report::count(more as u64))?;
        }
        print_by_own_path(&salvaged.by_own_path, out)?;
        for (what, path) in [
            ("left to be run, in this order", &salvaged.todo),
            ("rows that the server refused", &salvaged.refused_rows),
        ] {
            if let Some(path) = path {
                let path = report::one_line(&path.display().to_string());
                writeln!(out, "{what}: {path}")?;
            }
        }
        let original = salvaged.original.as_deref().unwrap_or("NAME");
        let swap =
            command("restore", original, "--swap ") + &crate::display::shell_word(&salvaged.into);
        writeln!(out, "to put it in the place of a database: `{swap}`")?;
        incident::print(incident, out)?;
        Ok(())
    }
}

/// Prints what the server took only under the database's own `search_path`.
fn print_by_own_path(found: &[Missing], out: &mut dyn Write) -> Result<(), Failure> {
    if found.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "loaded only with the database's own search_path; until it is changed where the backup comes\n\
         from, no backup of it restores without --salvage:"
    )?;
    for one in found.iter().take(PRINTED) {
        writeln!(out, "  {}", report::one_line(&one.object))?;
        if let Some(fix) = &one.fix {
            writeln!(out, "    fix: {}", report::one_line(fix))?;
        }
    }
    let more = found.len().saturating_sub(PRINTED);
    if more > 0 {
        writeln!(out, "  and {} more", report::count(more as u64))?;
    }
    Ok(())
}

/// Prints one thing that is missing, as the server reports it.
fn print_missing(missing: &Missing, out: &mut dyn Write) -> Result<(), Failure> {
    let rows = missing
        .rows
        .map(|rows| report::counted(rows, "row", "rows"));
    let rows = rows.map_or_else(String::new, |rows| format!(" ({rows})"));
    let object = report::one_line(&missing.object);
    writeln!(out, "{}: {object}{rows}", missing.state.display())?;
    for (label, text) in missing.reasons() {
        for (number, line) in text.lines().enumerate() {
            let label = if number == 0 {
                format!("{label}: ")
            } else {
                "    ".to_owned()
            };
            writeln!(out, "    {label}{}", report::one_line(line))?;
        }
    }
    Ok(())
}
