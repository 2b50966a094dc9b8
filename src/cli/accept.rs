//! `pgbackupd accept`: take as it is what `status` has a concern about because it was there before.

use std::io::Write;

use clap::ValueEnum;
use schemars::JsonSchema;
use serde::Serialize;

use super::env::CommandEnv;
use super::failure::Failure;
use super::session::Session;
use super::{report, select};
use crate::jobs::{accept, accept_recipients};
use crate::policy::{Accepted, ChangeOfRecipients};

/// The end of its help.
const EXAMPLES: &str = "\
Examples:
  pgbackupd accept contents --database sales
      Accept that sales is empty, or much smaller than before
  pgbackupd accept recipients
      Accept that backups or copies are encrypted to other keys than before";

/// Accept the loss of data or backups, or the change of recipients, that status reports.
///
/// `status` names the loss and which of these it is. The acceptance is recorded in `backup.log`,
/// and retention may again remove the backups that were kept because of the loss.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    /// What to accept
    #[arg(value_name = "WHAT")]
    what: What,
    /// Database, if there are several
    #[arg(long, short, value_name = "NAME", value_parser = select::database_name)]
    database: Option<String>,
}

/// What can be accepted.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum What {
    /// The database lost tables or rows, or a backup has an odd size
    Contents,
    /// Another server now has this database
    Server,
    /// The newest backup is gone
    Vanished,
    /// The manifest of a backup is lost
    Manifest,
    /// Backups or copies are encrypted to recipients that are not known
    Recipients,
}

/// What `accept --json` prints.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct AcceptResult {
    /// The server's name in the configuration; null for a directory that is not configured.
    pub server: Option<String>,
    /// The database.
    pub database: String,
    /// What was accepted: `contents`, `server`, `vanished` or `manifest`.
    pub accepted: Accepted,
    /// The backups of which: the first one with these contents, or of this server; or those that are
    /// gone or have lost their manifests.
    pub backups: Vec<String>,
}

/// What `accept recipients --json` prints.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct AcceptedRecipients {
    /// `recipients`.
    pub accepted: &'static str,
    /// The fingerprints of the recipients that are known now and were not before.
    pub recipients: Vec<String>,
    /// Whether backups on this host were encrypted before, and are not any more.
    pub backups_not_encrypted: bool,
    /// The destinations whose copies were encrypted before, and are not any more.
    pub not_encrypted: Vec<String>,
}

impl From<ChangeOfRecipients> for AcceptedRecipients {
    fn from(change: ChangeOfRecipients) -> Self {
        Self {
            accepted: "recipients",
            recipients: change.unknown,
            backups_not_encrypted: change.backups_not_encrypted,
            not_encrypted: change.not_encrypted,
        }
    }
}

pub(super) fn run(args: &Args, env: &CommandEnv<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let session = Session::new(env, env.load()?);
    let (what, loss) = match args.what {
        What::Contents => (Accepted::Contents, "loss of contents or odd size"),
        What::Server => (Accepted::Server, "change of server"),
        What::Vanished => (Accepted::Vanished, "vanished backup"),
        What::Manifest => (Accepted::Manifest, "lost manifest"),
        What::Recipients => return recipients(args, &session, out),
    };
    let directories = session.directories(args.database.as_slice())?;
    let backup_directories = directories.all_seen("nothing was accepted")?;
    let [backup_directory] = backup_directories.as_slice() else {
        return Err(select::not_one(
            &backup_directories,
            "name one with --database",
        ));
    };
    let backups = accept(&session.context, backup_directory, what)
        .map_err(|error| session.failure(&error))?;
    if backups.is_empty() {
        return Err(Failure::usage(format!(
            "database {}: there is no {loss} to accept\nhint: `pgbackupd status` shows what was lost",
            report::one_line(&backup_directory.label)
        )));
    }
    if env.json {
        let result = AcceptResult {
            server: backup_directory.server.clone(),
            database: backup_directory.database.clone(),
            accepted: what,
            backups,
        };
        return report::json(&result, out);
    }
    let meaning = match what {
        Accepted::Contents => "the contents of the database since then",
        Accepted::Server => "the server since then",
        Accepted::Vanished => "that it is gone",
        Accepted::Manifest => "that its manifest is lost",
    };
    for backup in backups {
        writeln!(out, "{backup}: accepted, and on record: {meaning}")?;
    }
    Ok(())
}

fn recipients(args: &Args, session: &Session<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    if args.database.is_some() {
        let message = "recipients are those of all databases\nhint: leave out --database";
        return Err(Failure::usage(message));
    }
    let accepted = accept_all_recipients(session)?;
    if session.env.json {
        return report::json(&AcceptedRecipients::from(accepted), out);
    }
    for recipient in accepted.unknown {
        writeln!(out, "{recipient}: accepted, and on record")?;
    }
    if accepted.backups_not_encrypted {
        writeln!(
            out,
            "backups that are not encrypted are accepted, and on record"
        )?;
    }
    for destination in accepted.not_encrypted {
        writeln!(
            out,
            "{destination}: copies that are not encrypted are accepted, and on record"
        )?;
    }
    Ok(())
}

/// Accepts to whom copies are encrypted by the configuration; gives what was not known.
pub(super) fn accept_all_recipients(session: &Session<'_>) -> Result<ChangeOfRecipients, Failure> {
    let directories = session.directories(&[])?;
    let directories = directories.all_seen("nothing was accepted")?;
    let accepted = accept_recipients(&session.context, session.plan(), &directories)
        .map_err(|error| session.failure(&error))?;
    if accepted.is_none() {
        let message = "there is no change of recipients to accept\nhint: `pgbackupd key show` shows to whom they \
                       are encrypted";
        return Err(Failure::usage(message));
    }
    Ok(accepted)
}
