//! `restore --from`: fetch a copy, restore it by its path as any other backup, and remove what was fetched.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::super::env::CommandEnv;
use super::super::failure::Failure;
use super::super::fetch::{ChosenSource, Copies};
use super::super::moment;
use super::super::session::Session;
use super::destination::resolve_destination;
use super::fetched::Fetched;
use super::{Args, Consent, Picked, RestoreCommand, Restoring, restore_local};
use crate::display::shell_word;
use crate::jobs::{BackupDirectory, ChosenCopy, RestoreSource, WhichCopy};
use crate::repository::Repository;

pub(super) async fn run(
    args: &Args,
    env: &CommandEnv<'_>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut session = Session::new(env, load(args, env)?);
    let before = args.before.as_deref();
    let before = before.map(|text| moment::moment(text, session.plan().zone));
    let which = match &args.backup {
        Some(name) => WhichCopy::Named(name),
        None if args.latest || args.before.is_some() || args.series.is_some() => {
            WhichCopy::Newest {
                before: before.transpose()?.map(|moment| moment.to_utc()),
                series: args.series.as_ref(),
            }
        }
        None => {
            let from = shell_word(args.from.from.as_deref().unwrap_or_default());
            return Err(Failure::usage(format!(
                "no backup is named\n\
                 hint: give --latest, or a name that `pgbackupd list --from {from}` shows"
            )));
        }
    };
    let copies = Copies {
        from: &args.from,
        identity: &args.identity,
        databases: args.database.as_slice(),
    };
    let source = copies.choose(&session, &which).await?;
    session.context.opener = source.opener();
    let session = session;
    let mut place = Fetched::of(args, &session, &source.chosen);
    let local = local(args, &session, &source.chosen);
    place.consent = ask_ahead(&local, &session, (&source, &place), out).await?;
    let fetched = source.fetch(&session, &place.directory).await?;
    let dump = fetched.manifest.artifact_role();
    let dump = Repository::at(&place.directory).path(&fetched.stem, dump);
    let local = Args {
        backup: Some(dump.display().to_string()),
        ..local
    };
    let restored = Box::pin(restore_local(&local, &session, Some(&place), out)).await;
    clean_up(args, &place.directory, restored)
}

/// Asks before the dump is fetched, which may take hours, where a database may be replaced: the backup's manifest
/// and roles say all that the question needs. What only the whole backup shows is reported later.
async fn ask_ahead(
    local: &Args,
    session: &Session<'_>,
    (source, place): (&ChosenSource, &Fetched),
    out: &mut dyn Write,
) -> Result<Option<Consent>, Failure> {
    if local.yes || local.plan || local.salvage || local.into.is_some() || !local.tables.is_empty()
    {
        return Ok(None);
    }
    let mut ahead = place.directory.clone().into_os_string();
    ahead.push("-ahead");
    let ahead = PathBuf::from(ahead);
    let asking = async {
        let repository = Repository::at(&ahead);
        let stem = source.fetch_head(session, &repository).await?;
        let database = &source.chosen.place.database;
        let directory = BackupDirectory {
            server: None,
            database: database.clone(),
            label: database.clone(),
            repository,
        };
        let command = RestoreCommand {
            args: local,
            session,
            fetched: Some(place),
        };
        let picked = Picked {
            source: RestoreSource::Backup(directory, stem),
            passed_over: Vec::new(),
            is_offered: false,
        };
        let chosen = resolve_destination(&command, picked)?;
        Restoring::new(&command, &chosen).ask_ahead(out).await
    };
    let asked = Box::pin(asking).await;
    if let Err(error) = fs::remove_dir_all(&ahead)
        && ahead.exists()
    {
        let word = shell_word(&ahead.to_string_lossy());
        tracing::warn!(
            "{} could not be removed: {error}\nhint: rm -r {word}",
            ahead.display()
        );
    }
    asked.map(Some)
}

/// The configuration, by the same rules as of a restore of a path where there is an address.
fn load(args: &Args, env: &CommandEnv<'_>) -> Result<crate::config::Loaded, Failure> {
    if !args.from.is_address() {
        return env.load_to_run(crate::config::Runs::ProgramsAndApplication);
    }
    if args.into.is_some() || args.plan {
        env.load_to_restore()
    } else {
        env.load_to_replace()
    }
}

/// The command line that restores what is fetched, but for its path.
fn local(args: &Args, session: &Session<'_>, chosen: &ChosenCopy) -> Args {
    // On another machine the server may have another name.
    let servers = &session.plan().servers;
    let is_here = servers.iter().any(|one| one.name == chosen.place.server);
    let server = is_here.then(|| chosen.place.server.clone());
    Args {
        from: super::FromArgs::default(),
        backup: None,
        latest: false,
        before: None,
        series: None,
        database: None,
        server: args.server.clone().or(server),
        ..args.clone()
    }
}

/// Removes what was fetched, unless it is to be kept, or is worth another attempt.
fn clean_up(args: &Args, directory: &Path, restored: Result<(), Failure>) -> Result<(), Failure> {
    let word = shell_word(&directory.to_string_lossy());
    if args.keep {
        tracing::info!("the fetched backup is kept in {}", directory.display());
        return restored;
    }
    if restored.is_err() {
        tracing::warn!(
            "the fetched backup is kept in {}; the same command does not fetch it again\n\
             hint: if nobody needs it any more, rm -r {word}",
            directory.display()
        );
        return restored;
    }
    if let Err(error) = fs::remove_dir_all(directory) {
        tracing::warn!("the fetched backup could not be removed: {error}\nhint: rm -r {word}");
    }
    restored
}
