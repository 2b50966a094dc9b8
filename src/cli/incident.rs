//! `pgbackupd incident`: the report of a restore, made from what is on record.

use std::io::Write;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use super::env::CommandEnv;
use super::failure::{Failure, FailureKind, together};
use super::session::Session;
use super::table::{Column, Table};
use super::{report, select};
use crate::jobs::{Incident, JobContext, JobError, incidents, write_incident};
use crate::repository::{Event, Operation, Repository};

/// The end of its help.
const EXAMPLES: &str = "\
Examples:
  pgbackupd incident --list
      List all recorded restores
  pgbackupd incident > report.md
      Save the report of the newest restore";

/// Print the incident report of a restore, as Markdown.
///
/// Every restore and undo-restore writes a report next to restore.log when it ends. This command
/// creates the report again from restore.log, without what people have added to the first one. By
/// default, reports the newest restore.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    /// Run, as --list shows it, or the beginning of its id
    #[arg(value_name = "RUN")]
    run: Option<String>,
    /// Only this database, as NAME or SERVER/NAME
    #[arg(long, short, value_name = "NAME", value_parser = select::database_name)]
    database: Option<String>,
    /// List all recorded restores, oldest first
    #[arg(long, conflicts_with_all = ["run", "write"])]
    list: bool,
    /// Write to a new file next to restore.log instead, and print its path
    #[arg(long)]
    write: bool,
}

/// What `incident --list --json` prints for each restore, in a list.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct ListedIncident {
    /// The server's name in the configuration.
    pub server: String,
    /// The database.
    pub database: String,
    /// The run.
    pub run: String,
    /// `restore` or `undo-restore`.
    pub operation: &'static str,
    /// The backup's name, or the file's path; null of an undoing.
    pub backup: Option<String>,
    /// When it was asked for, RFC 3339.
    pub asked: Option<String>,
    /// `succeeded`, `failed` or `interrupted`; null while it goes on, or if it was killed.
    pub outcome: Option<&'static str>,
}

/// What `incident --json` prints.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct IncidentReport {
    /// The server's name in the configuration.
    pub server: String,
    /// The database.
    pub database: String,
    /// The run.
    pub run: String,
    /// The file that was written; null without `--write`.
    pub path: Option<String>,
    /// The report, in Markdown.
    pub text: String,
}

/// A restore on record, and where.
struct Found {
    incident: Incident,
    server: String,
    label: String,
    repository: Repository,
}

pub(super) fn run(args: &Args, env: &CommandEnv<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let session = Session::new(env, env.load()?);
    let (found, unseen) = find(args, &session)?;
    if args.list {
        list(&found, env.json, out)?;
        out.flush()?;
        return together(&unseen);
    }
    let chosen = choose_incident(&found, args).map_err(select::unless(&unseen))?;
    let mut path = None;
    if args.write {
        let written = write_incident(
            &session.context,
            &chosen.repository,
            chosen.incident.run(),
            None,
        );
        path = Some(written.map_err(|error| session.failure(&error))?);
    }
    if env.json {
        let document = IncidentReport {
            database: chosen.incident.database().to_owned(),
            run: chosen.incident.run().to_string(),
            server: chosen.server.clone(),
            path: path.map(|path| path.display().to_string()),
            text: chosen.incident.report(None),
        };
        report::json(&document, out)?;
    } else if let Some(path) = path {
        writeln!(out, "{}", report::one_line(&path.display().to_string()))?;
    } else {
        out.write_all(chosen.incident.report(None).as_bytes())?;
    }
    out.flush()?;
    if args.run.is_none() {
        // A newer one may be on record there.
        together(&unseen)?;
    }
    Ok(())
}

/// Writes the report of a run that has just ended, with the error that ended it. If it cannot be
/// written, that is a warning, and nothing fails for it.
pub(super) fn write(
    context: &JobContext,
    repository: &Repository,
    run: Uuid,
    error: Option<&JobError>,
) -> Option<PathBuf> {
    let written = write_incident(context, repository, run, error.and_then(JobError::detail));
    if let Err(error) = &written {
        tracing::warn!(
            "the incident report could not be written: {error}\nhint: `pgbackupd incident {run} --write` makes \
             it from restore.log"
        );
    }
    written.ok()
}

/// Prints a report's path as the last line of what a restore has come to.
pub(super) fn print(path: Option<&Path>, out: &mut dyn Write) -> Result<(), Failure> {
    if let Some(path) = path {
        let path = report::one_line(&path.display().to_string());
        writeln!(out, "  incident report, for you to complete: {path}")?;
    }
    Ok(())
}

/// A failure with the path of its report; `document` is what programs get, if they want one.
pub(super) fn failed(
    mut failure: Failure,
    path: Option<&Path>,
    document: Option<&impl Serialize>,
    out: &mut dyn Write,
) -> Failure {
    let printed = document.map_or(Ok(()), |document| {
        report::json(document, out)?;
        Ok(out.flush()?)
    });
    if let Err(failure) = printed {
        return failure;
    }
    if let Some(path) = path {
        let path = report::one_line(&path.display().to_string());
        let line = format!("\nthe incident report, for you to complete: {path}");
        failure.message.push_str(&line);
    }
    failure
}

/// The restores on record of all databases, or of the one that is named, oldest first; and what could
/// not be looked at.
fn find(args: &Args, session: &Session<'_>) -> Result<(Vec<Found>, Vec<Failure>), Failure> {
    let plan = session.plan();
    let name = args.database.as_deref();
    let of_server = name.and_then(|name| name.split_once('/'));
    let mut repositories: Vec<(&str, Repository)> = Vec::new();
    let mut unseen = Vec::new();
    for server in &plan.servers {
        match session.directories_on(server) {
            Ok(directories) => {
                let found = directories.found.into_iter();
                repositories.extend(found.map(|one| (server.name.as_str(), one.repository)));
                unseen.extend(directories.unseen);
            }
            Err(failure) => unseen.push(failure),
        }
        // What was restored need not be what is backed up.
        let here = of_server.filter(|(called, _)| *called == server.name);
        for name in name.into_iter().chain(here.map(|(_, name)| name)) {
            repositories.push((&server.name, Repository::at(server.directory_for(name))));
        }
    }
    repositories.sort_by(|(_, one), (_, other)| one.directory().cmp(other.directory()));
    repositories.dedup_by(|(_, one), (_, other)| one.directory() == other.directory());
    let mut found = Vec::new();
    for (server, repository) in repositories {
        let is_meant = |incident: &Incident| {
            name.is_none_or(|name| {
                incident.database() == name
                    || of_server.is_some_and(|of| of == (server, incident.database()))
            })
        };
        for incident in incidents(&repository).map_err(|error| session.failure(&error))? {
            if is_meant(&incident) {
                found.push(Found {
                    server: server.to_owned(),
                    label: plan.label(server, incident.database()),
                    incident,
                    repository: repository.clone(),
                });
            }
        }
    }
    found.sort_by_key(|one| one.incident.asked());
    Ok((found, unseen))
}

/// The one that is meant.
fn choose_incident<'a>(found: &'a [Found], args: &Args) -> Result<&'a Found, Failure> {
    let none = || {
        let of = args.database.as_ref().map_or_else(String::new, |name| {
            format!(" of database {}", report::one_line(name))
        });
        Failure::new(
            FailureKind::Unavailable,
            format!("no restore{of} is on record"),
        )
    };
    let Some(wanted) = &args.run else {
        return found.last().ok_or_else(none);
    };
    let wanted = wanted.to_ascii_lowercase();
    let mut fitting = found
        .iter()
        .filter(|one| one.incident.run().to_string().starts_with(&wanted));
    match (fitting.next(), fitting.next()) {
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => Err(Failure::usage(format!(
            "several restores have a run that begins with {wanted}\nhint: give more of it"
        ))),
        (None, _) => Err(Failure::usage(format!(
            "no restore has a run that begins with {}\nhint: `pgbackupd incident --list` shows them",
            report::one_line(&wanted)
        ))),
    }
}

fn list(found: &[Found], json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let listed: Vec<ListedIncident> = found.iter().map(listed).collect();
    if json {
        return report::json(&listed, out);
    }
    if listed.is_empty() {
        writeln!(out, "no restore is on record")?;
        return Ok(());
    }
    let mut table = Table::new([
        Column::left("ASKED FOR"),
        Column::left("DATABASE"),
        Column::left("WHAT"),
        Column::left("OUTCOME"),
        Column::left("BACKUP"),
        Column::note("RUN"),
    ]);
    for (one, shown) in found.iter().zip(listed) {
        let asked = one.incident.asked().map(report::moment);
        table.row([
            asked.unwrap_or_default(),
            report::one_line(&one.label),
            shown.operation.to_owned(),
            shown.outcome.unwrap_or("not on record").to_owned(),
            report::one_line(shown.backup.as_deref().unwrap_or_default()),
            shown.run,
        ]);
    }
    table.print("", out)?;
    Ok(())
}

fn listed(found: &Found) -> ListedIncident {
    let incident = &found.incident;
    ListedIncident {
        server: found.server.clone(),
        database: incident.database().to_owned(),
        run: incident.run().to_string(),
        operation: if incident.operation() == Operation::UndoRestore {
            "undo-restore"
        } else {
            "restore"
        },
        backup: incident.backup().map(str::to_owned),
        asked: incident.asked().map(|asked| asked.to_rfc3339()),
        outcome: incident.event().map(|event| match event {
            Event::Succeeded => "succeeded",
            Event::Interrupted => "interrupted",
            _ => "failed",
        }),
    }
}
