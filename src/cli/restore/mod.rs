//! `pgbackupd restore`: bring a database back from a backup.

mod destination;
mod fetched;
mod from;
pub(super) mod known;
mod listing;
mod plan;
mod question;
pub(super) mod records;
mod result;
mod salvage;
mod swap;
mod tables;
mod which;

use std::io::Write;
use std::path::PathBuf;

use super::env::CommandEnv;
use super::failure::{Failure, FailureKind};
use super::from::{FromArgs, HEADING, IdentityArgs};
use super::session::Session;
use super::{incident, report, select};
use crate::config::{Loaded, Plan, Runs, name_fault};
use crate::jobs::{
    Ahead, JobError, RestoreOrder, RestorePlan, RestoreReport, RestoreRequest, RestoreSource, Run,
    look_ahead, look_at_restore, prepare_restore, restore,
};
use crate::policy::Series;
use destination::Chosen;
use question::Question;
pub(super) use result::RestoreResult;

/// The end of its help.
const EXAMPLES: &str = "\
Examples:
  pgbackupd restore
      List the backups, and offer the newest
  pgbackupd restore --latest --plan
      Show every step, and change nothing
  pgbackupd restore --latest --into sales_copy
      Restore the newest backup into a new database
  pgbackupd restore --before '2026-11-22 09:00' --table orders
      Restore one table as it was before 09:00
  pgbackupd restore backup_20261122_020000 --salvage --into sales_salvaged
      Bring back what can be brought back of a backup that does not restore
  pgbackupd restore --swap sales_salvaged --database sales
      Put that in the place of the database
  pgbackupd restore --latest --identity /media/usb/key.txt
      Restore a backup that is encrypted on this host too
  pgbackupd restore --latest --from s3://backups/db --signer $SIGNER
      Fetch the newest copy from a destination, and restore it
  pgbackupd restore /mnt/old/all.sql.gz --of-database sales --into sales_look
      Restore one database out of the output of pg_dumpall";

/// Restore a database, or tables of it, from a backup.
///
/// Reads the backup in full, loads it into a new database next to the existing one, dumps that
/// again and compares it row by row. Only then swaps the names, in one transaction. The replaced
/// database is kept under another name, and undo-restore swaps it back. If anything fails before
/// the swap, the existing database stays in use. Without a backup, lists what can be restored,
/// newest first; at a terminal it offers the newest, and does nothing until you type the database's
/// name. With --table, restores single tables next to the existing ones, which are not touched.
/// With --salvage, goes on after errors, and reports what is missing in the end.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an option that may be given or not"
)]
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    /// Backup, by name or file; also any dump of `pg_dump` or `pg_dumpall`
    #[arg(value_name = "BACKUP", conflicts_with_all = ["latest", "before", "series"])]
    backup: Option<String>,
    /// Newest backup that is not known to be damaged
    #[arg(long)]
    latest: bool,
    /// Newest backup that began before this: 2025-07-09, "2025-07-09 14:30" in the schedule's time
    /// zone, "2025-07-09 11:30 UTC" or RFC 3339
    #[arg(long, value_name = "TIME")]
    before: Option<String>,
    /// Newest backup of this series
    #[arg(long, value_name = "NAME")]
    series: Option<Series>,
    /// Database, as NAME or SERVER/NAME; for a dump file without a manifest, the database to create
    #[arg(long, short, value_name = "NAME", value_parser = select::database_name)]
    database: Option<String>,
    /// Database to take out of a dump file that holds several (`pg_dumpall`)
    #[arg(
        long,
        value_name = "NAME",
        requires = "backup",
        conflicts_with = "from",
        value_parser = name_of("a database")
    )]
    of_database: Option<String>,
    /// Restore into a new database of this name, and replace nothing; with --table, it can exist
    #[arg(
        long,
        value_name = "NAME",
        conflicts_with = "drop_old",
        value_parser = name_of("a database")
    )]
    into: Option<String>,
    /// Restore only matching tables, into a new schema or, with --into, into another database. As
    /// in psql, * and ? are wildcards, and names with capitals or dots are in double quotes. Can be
    /// repeated
    #[arg(
        long = "table",
        value_name = "PATTERN",
        conflicts_with_all = ["drop_old", "overwrite_roles"]
    )]
    tables: Vec<String>,
    /// Schema for these tables, new or existing [default: `restored_TIME`; in a new database, their
    /// own]
    #[arg(
        long,
        value_name = "NAME",
        requires = "tables",
        value_parser = name_of("a schema")
    )]
    schema: Option<String>,
    /// Server to restore on, by its name in the configuration
    #[arg(long, value_name = "NAME", value_parser = select::database_name)]
    server: Option<String>,
    /// Reset existing roles to what they were at the backup, with their passwords
    #[arg(long)]
    overwrite_roles: bool,
    /// Execute statements of unknown kinds, such as a newer `pg_dump` may write; they are shown
    /// first
    #[arg(long)]
    accept_unexpected: bool,
    /// Drop the replaced database after the swap
    #[arg(long)]
    drop_old: bool,
    /// Load whatever can be loaded into the new database of --into, leave out what the server refuses,
    /// and report it; for a backup that cannot be restored, or is damaged
    #[arg(
        long,
        requires = "into",
        conflicts_with_all = ["tables", "schema", "overwrite_roles"]
    )]
    salvage: bool,
    /// Swap in the database of this name, which --salvage has made, for the one of --database
    #[arg(
        long,
        value_name = "NAME",
        conflicts_with_all = [
            "backup", "latest", "before", "series", "into", "tables", "schema", "overwrite_roles",
            "accept_unexpected", "drop_old", "accept_older", "salvage", "plan", "from"
        ]
    )]
    swap: Option<String>,
    /// Restore an older backup although newer ones exist that cannot be used: damaged, failed a
    /// drill, in quarantine, or without a manifest; --yes does not imply this
    #[arg(long)]
    accept_older: bool,
    /// Print every step with the real names, and change nothing
    #[arg(long)]
    plan: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    from: FromArgs,
    #[command(flatten)]
    identity: IdentityArgs,
    /// Directory to fetch the copy into, for as long as the restore takes [default: in the state directory]
    #[arg(long, value_name = "DIRECTORY", requires = "from", help_heading = HEADING)]
    via: Option<PathBuf>,
    /// Keep what was fetched
    #[arg(long, requires = "from", help_heading = HEADING)]
    keep: bool,
}

impl Args {
    /// The configuration, which what is named by a path can do without.
    fn load(&self, env: &CommandEnv<'_>) -> Result<Loaded, Failure> {
        match self.named_file() {
            Some(_) if self.into.is_some() || self.plan => env.load_to_restore(),
            Some(_) => env.load_to_replace(),
            None => env.load_to_run(Runs::ProgramsAndApplication),
        }
    }

    /// The backup, where it is named by a path.
    pub(super) fn named_file(&self) -> Option<PathBuf> {
        let text = self.backup.as_ref().filter(|_| self.from.from.is_none())?;
        let is_path = text.contains('/') || !select::is_name(text);
        is_path.then(|| PathBuf::from(text))
    }
}

/// Reads a name that `PostgreSQL` is to give to something new.
fn name_of(
    what: &'static str,
) -> impl Fn(&str) -> Result<String, String> + Clone + Send + Sync + 'static {
    move |name| name_fault(what, name).map_or_else(|| Ok(name.to_owned()), Err)
}

/// What is to be restored.
struct Picked {
    source: RestoreSource,
    /// Newer backups that are passed over, one sentence each.
    passed_over: Vec<String>,
    /// Whether nobody chose it: the newest was offered.
    is_offered: bool,
}

/// One `restore` of the command line: what was asked for, and by which configuration.
#[derive(Clone, Copy)]
struct RestoreCommand<'a> {
    args: &'a Args,
    session: &'a Session<'a>,
    /// Where the backup was fetched to, if it was for this restore alone.
    fetched: Option<&'a fetched::Fetched>,
}

impl<'a> RestoreCommand<'a> {
    fn plan(&self) -> &'a Plan {
        self.session.plan()
    }

    /// A job's error as the command's failure.
    fn failure(&self, error: &JobError) -> Failure {
        self.session.failure(error)
    }
}

/// What is known of a restore once it was begun.
struct Begun {
    server: String,
    /// The file with the incident report, if it could be written.
    incident: Option<PathBuf>,
}

pub(super) async fn run(
    args: &Args,
    env: &CommandEnv<'_>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    if let Some(from) = &args.swap {
        return swap::run(args, from, env, out).await;
    }
    if args.from.from.is_some() {
        return from::run(args, env, out).await;
    }
    let mut session = Session::new(env, args.load(env)?);
    session.context.opener = args.identity.opener(env.interrupt).await?;
    restore_local(args, &session, None, out).await
}

/// Restores a backup that is on this machine.
async fn restore_local(
    args: &Args,
    session: &Session<'_>,
    fetched: Option<&fetched::Fetched>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let command = RestoreCommand {
        args,
        session,
        fetched,
    };
    let Some(picked) = which::source(&command, out)? else {
        return Ok(());
    };
    let chosen = destination::resolve_destination(&command, picked)?;
    which::confirm_older(&command, &chosen).await?;
    if !args.tables.is_empty() {
        return Box::pin(tables::run(&command, &chosen, out)).await;
    }
    let restoring = Restoring::new(&command, &chosen);
    if args.plan {
        restoring.print_plan(out).await
    } else if args.salvage {
        restoring.salvage(out).await
    } else {
        restoring.run(out).await
    }
}

/// The restore of a whole database.
struct Restoring<'a> {
    command: &'a RestoreCommand<'a>,
    chosen: &'a Chosen<'a>,
    request: RestoreRequest<'a>,
    /// The database as lines of text name it.
    label: String,
    run: Run<'a>,
}

/// What is settled before the backup is read in full.
#[derive(Clone)]
struct Consent {
    /// Whether nothing is left to be asked.
    is_given: bool,
    /// The warnings that were reported.
    warnings: Vec<String>,
}

impl<'a> Restoring<'a> {
    fn new(command: &'a RestoreCommand<'a>, chosen: &'a Chosen<'a>) -> Self {
        Self {
            run: command.session.begin(),
            request: request(command, chosen),
            label: report::one_line(&chosen.label),
            command,
            chosen,
        }
    }
}

impl Restoring<'_> {
    /// Prints what the restore would do.
    async fn print_plan(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let command = self.command;
        let looked = Box::pin(look_at_restore(&self.run, &self.request)).await;
        let looked = looked.map_err(|error| command.failure(&error))?;
        plan::print(command, self.chosen, looked, out)
    }

    /// Restores it, and reports how that went.
    async fn run(&self, out: &mut dyn Write) -> Result<(), Failure> {
        let (command, request) = (self.command, &self.request);
        let consent = self.ask_ahead(out).await?;
        let (session, label) = (command.session, &self.label);
        let preparing = async |run: &Run<'_>| prepare_restore(run, request).await;
        let prepared = match Box::pin(session.part(&self.run, label, preparing)).await {
            Ok(prepared) => prepared,
            // Nothing was done yet that is worth a report.
            Err(error) => return self.failed(&error, None, out),
        };
        warn(&prepared.plan.warnings, &consent.warnings);
        if !consent.is_given {
            // It was made meanwhile.
            let question = self.question(&prepared.plan, None, false);
            question.confirm(command).await?;
        }
        let server = prepared.plan.server.clone();
        let restoring = async |run: &Run<'_>| restore(run, request, prepared).await;
        let restored = Box::pin(session.part(&self.run, label, restoring)).await;
        let (context, records) = (&session.context, &self.chosen.repository);
        let incident = incident::write(context, records, self.run.id, restored.as_ref().err());
        let begun = Begun { server, incident };
        match restored {
            Ok(restored) => self.succeeded(restored, begun, out),
            Err(error) => self.failed(&error, Some(begun), out),
        }
    }

    /// Asks, before the backup is read in full, which may take hours.
    async fn ask_ahead(&self, out: &mut dyn Write) -> Result<Consent, Failure> {
        let fetched = self.command.fetched;
        if let Some(consent) = fetched.and_then(|fetched| fetched.consent.clone()) {
            return Ok(consent);
        }
        let picked = &self.chosen.picked;
        let is_given = self.command.args.yes;
        if is_given || !(self.request.replace || picked.is_offered) {
            return Ok(Consent {
                is_given,
                warnings: picked.passed_over.clone(),
            });
        }
        let ahead = match Box::pin(self.ahead()).await {
            Ok(ahead) => ahead,
            Err(error) => return self.failed(&error, None, out),
        };
        warn(&ahead.plan.warnings, &picked.passed_over);
        let question = self.question(&ahead.plan, ahead.bytes, picked.is_offered);
        question.confirm(self.command).await?;
        Ok(Consent {
            is_given: ahead.plan.replaces.is_some(),
            warnings: ahead.plan.warnings,
        })
    }

    /// What the question is about, where nothing keeps the backup from being restored.
    async fn ahead(&self) -> Result<Ahead, JobError> {
        let ahead = look_ahead(&self.run, &self.request).await?;
        if ahead.problems.is_empty() {
            return Ok(ahead);
        }
        Err(JobError::Failed {
            message: format!("nothing was restored: {}", ahead.problems.join("\n")),
            detail: None,
            may_pass: false,
        })
    }

    fn question<'b>(
        &'b self,
        plan: &'b RestorePlan,
        bytes: Option<u64>,
        is_offered: bool,
    ) -> Question<'b> {
        Question {
            plan,
            label: &self.label,
            passed_over: &self.chosen.picked.passed_over,
            bytes,
            is_offered,
        }
    }

    /// Reports a restore that succeeded; an application that does not start again is a failure still.
    fn succeeded(
        &self,
        restored: RestoreReport,
        begun: Begun,
        out: &mut dyn Write,
    ) -> Result<(), Failure> {
        warn(&restored.warnings, &[]);
        if self.command.session.env.json {
            report::json(&self.result(&restored, begun), out)?;
        } else {
            self.print(&restored, begun.incident.as_deref(), out)?;
        }
        out.flush()?;
        match restored.start_failed {
            None => Ok(()),
            Some(failed) => Err(Failure::new(
                FailureKind::Unavailable,
                format!(
                    "database {} is restored, but the application could not be started: {failed}",
                    self.label
                ),
            )),
        }
    }

    /// Reports a restore that failed.
    fn failed<T>(
        &self,
        error: &JobError,
        begun: Option<Begun>,
        out: &mut dyn Write,
    ) -> Result<T, Failure> {
        let failure = self.command.failure(error);
        let (server, incident) =
            begun.map_or((None, None), |begun| (Some(begun.server), begun.incident));
        let document = RestoreResult {
            server_name: self.chosen.server.name.clone(),
            database: self.request.order.database.to_owned(),
            backup: self.chosen.backup(),
            server,
            incident: incident.as_ref().map(|path| path.display().to_string()),
            error: Some(failure.message.clone()),
            ..RestoreResult::default()
        };
        let document = self.command.session.env.json.then_some(&document);
        Err(incident::failed(
            failure,
            incident.as_deref(),
            document,
            out,
        ))
    }
}

fn request<'a>(command: &'a RestoreCommand<'_>, chosen: &'a Chosen<'_>) -> RestoreRequest<'a> {
    let (args, plan) = (command.args, command.plan());
    RestoreRequest {
        order: order(command, chosen, &chosen.database),
        replace: args.into.is_none(),
        overwrite_roles: args.overwrite_roles,
        drop_old: args.drop_old,
        jobs: chosen.server.dump.jobs,
        settings: &plan.restore,
    }
}

/// What every restore is given; `database` is whose record it is.
fn order<'a>(
    command: &RestoreCommand<'a>,
    chosen: &'a Chosen<'_>,
    database: &'a str,
) -> RestoreOrder<'a> {
    let objectives = &command.plan().objectives;
    RestoreOrder {
        source: &chosen.picked.source,
        connection: &chosen.server.connection,
        database,
        into: &chosen.database,
        repository: &chosen.repository,
        passed_over: &chosen.picked.passed_over,
        accept_unexpected: command.args.accept_unexpected,
        salvages: command.args.salvage,
        objective: objectives.recovery_time,
        recovery_point: objectives.recovery_point,
    }
}

/// Reports warnings that were not reported before.
fn warn(warnings: &[String], told_before: &[String]) {
    for warning in warnings.iter().filter(|one| !told_before.contains(one)) {
        tracing::warn!("{warning}");
    }
}
