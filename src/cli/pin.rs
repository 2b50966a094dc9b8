//! `pgbackupd pin` and `unpin`: keep a backup whatever retention says.

use std::io::Write;

use schemars::JsonSchema;
use serde::Serialize;

use super::env::CommandEnv;
use super::failure::Failure;
use super::from::{self, HEADING};
use super::session::Session;
use super::{report, select};
use crate::config::Destination;
use crate::copies::Copy;
use crate::display::shell_word;
use crate::jobs::{BackupDirectory, CopyRequest, find_copy, pin_copy, set_pin};

/// What `pin` and `unpin` are given.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// Backup, by name or file
    #[arg(value_name = "BACKUP")]
    backup: String,
    /// Database of the backup, as NAME or SERVER/NAME, if several have one of this name
    #[arg(long, short, value_name = "NAME", value_parser = select::database_name)]
    database: Option<String>,
    /// The copy at this destination, of a backup that is gone here
    #[arg(long, value_name = "NAME", help_heading = HEADING)]
    from: Option<String>,
}

impl Args {
    /// Whether root leaves it to the service's user: what it puts at a destination has to be that user's.
    pub(super) fn is_the_service_users(&self) -> bool {
        self.from.is_some()
    }
}

/// What `pin --json` and `unpin --json` print.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct PinResult {
    /// The server's name in the configuration; null for a directory that is not configured.
    pub server: Option<String>,
    /// The database.
    pub database: String,
    /// The backup.
    pub backup: String,
    /// Whether it is pinned now.
    pub pinned: bool,
    /// Whether that is new.
    pub changed: bool,
}

pub(super) async fn run(
    args: &Args,
    pinned: bool,
    env: &CommandEnv<'_>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let session = Session::new(env, env.load()?);
    if let Some(from) = &args.from {
        let destination = from::configured(&session, from)?;
        return at_destination(args, pinned, (&session, destination), out).await;
    }
    let backup_directories = session.directories_to_change(args.database.as_ref(), &args.backup)?;
    let (stem, holding) = select::holding(&backup_directories, &args.backup)?;
    let backup_directory = match holding.as_slice() {
        [backup_directory] => backup_directory,
        several => {
            let what = format!("several databases have a backup {stem}");
            return Err(select::several(&what, several.iter().map(|one| &one.label)));
        }
    };
    let changed = set_pin(
        &session.context,
        &backup_directory.repository,
        &stem,
        pinned,
    )
    .map_err(|error| session.failure(&error))?;
    let pinned = PinOutcome {
        directory: backup_directory,
        backup: stem.to_string(),
        is_pinned: pinned,
        changed,
    };
    print(&session, &pinned, out)?;
    if changed {
        print_copies(&session, out)?;
    }
    Ok(())
}

/// What was done.
struct PinOutcome<'a> {
    directory: &'a BackupDirectory,
    backup: String,
    is_pinned: bool,
    changed: bool,
}

fn print(session: &Session<'_>, done: &PinOutcome<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let PinOutcome {
        directory,
        backup,
        is_pinned,
        changed,
    } = done;
    if session.env.json {
        let result = PinResult {
            server: directory.server.clone(),
            database: directory.database.clone(),
            backup: backup.clone(),
            pinned: *is_pinned,
            changed: *changed,
        };
        return report::json(&result, out);
    }
    let state = match (is_pinned, changed) {
        (true, true) => "pinned: retention keeps it until it is unpinned",
        (true, false) => "pinned already",
        (false, true) => "no longer pinned: retention may remove it",
        (false, false) => "not pinned",
    };
    let prefix = session.prefix(&directory.label);
    writeln!(out, "{prefix}{backup}: {state}")?;
    Ok(())
}

/// Prints how its copies learn of it.
fn print_copies(session: &Session<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    if !session.env.json && !session.plan().destinations.is_empty() {
        writeln!(
            out,
            "The next copy run does the same with its copies; `pgbackupd copy` does it now."
        )?;
    }
    Ok(())
}

/// Pins the copy of a backup that is gone here, or takes its pin off.
async fn at_destination(
    args: &Args,
    pinned: bool,
    (session, destination): (&Session<'_>, &Destination),
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let wanted = args.database.as_ref();
    let directories = session.directories(wanted.map_or(&[], std::slice::from_ref))?;
    let directories = directories.all_seen("nothing was changed")?;
    let run = session.begin();
    let request = |directory| {
        CopyRequest::new(session.plan(), directory, &destination.name)
            .map_err(|error| session.failure(&error))
    };
    let mut found: Vec<(&BackupDirectory, Copy)> = Vec::new();
    for directory in &directories {
        let copy = find_copy(&run, request(directory)?, &args.backup).await;
        let copy = copy.map_err(|error| session.failure(&error))?;
        found.extend(copy.map(|copy| (directory, copy)));
    }
    let (directory, copy) = match &mut *found {
        [(directory, copy)] => (*directory, copy),
        [] => {
            return Err(Failure::usage(format!(
                "{} has no copy of {} that counts\nhint: `pgbackupd list --from {}` shows the copies",
                destination.name,
                report::one_line(&args.backup),
                shell_word(&destination.name)
            )));
        }
        several => {
            let what = format!("several databases have a copy of {}", args.backup);
            let labels = several.iter().map(|(directory, _)| &directory.label);
            return Err(select::several(&what, labels));
        }
    };
    let changed = pin_copy(&run, request(directory)?, (copy, pinned)).await;
    let changed = changed.map_err(|error| session.failure(&error))?;
    let done = PinOutcome {
        directory,
        backup: copy.name.stem().to_string(),
        is_pinned: pinned,
        changed,
    };
    print(session, &done, out)
}
