//! `restore --from`: fetch a copy, restore it by its path as any other backup, and remove what was fetched.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::super::env::CommandEnv;
use super::super::failure::Failure;
use super::super::fetch::Copies;
use super::super::session::Session;
use super::records::can_be_made;
use super::{Args, moment, restore_local};
use crate::display::shell_word;
use crate::jobs::{ChosenCopy, Fetched as FetchedBackup, WhichCopy};
use crate::repository::{Repository, Role};

/// Where copies are fetched to below the state directory.
const FETCHED: &str = "fetched";

/// The same for a user who cannot write there, below that user's own directory for state.
const OF_USER: &str = "pgbackupd/fetched";

/// Where a backup is that was fetched for one restore.
pub(super) struct Fetched {
    /// The directory of all that is fetched.
    above: PathBuf,
    /// The directory of this backup: the same each time, so that an interrupted fetch goes on.
    directory: PathBuf,
    /// Whether it is in the service's state directory, which has a place for records.
    is_in_state: bool,
}

impl Fetched {
    /// Where the copy of this run is fetched to.
    fn of(args: &Args, session: &Session<'_>, chosen: &ChosenCopy) -> Self {
        let state = session.context.state_directory.join(FETCHED);
        let variable = |name: &str| {
            let value = session.env.source.environment.get(name);
            value
                .filter(|value| value.starts_with('/'))
                .map(PathBuf::from)
        };
        let of_user = || {
            let home = variable("HOME").map(|home| home.join(".local/state"));
            let above = variable("XDG_STATE_HOME").or(home)?.join(OF_USER);
            can_be_made(&above).then_some(above)
        };
        let (above, is_in_state) = match &args.via {
            Some(via) => (via.clone(), false),
            None if can_be_made(&state) => (state, true),
            None => of_user().map_or((state, true), |above| (above, false)),
        };
        Self {
            directory: above.join(format!("pgbackupd-{}", chosen.copy.name.run())),
            above,
            is_in_state,
        }
    }

    /// The directory that the restore may be put on record in, if the database has none of its own: the backup's
    /// own is removed.
    pub(super) fn records(&self) -> Option<&Path> {
        (!self.is_in_state).then_some(&*self.above)
    }
}

pub(super) async fn run(
    args: &Args,
    env: &CommandEnv<'_>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let session = Session::new(env, load(args, env)?);
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
    let mut place = None;
    let fetching = copies.fetch(&session, &which, |chosen| {
        let found = Fetched::of(args, &session, chosen);
        let directory = found.directory.clone();
        place = Some(found);
        Ok(directory)
    });
    let (chosen, fetched) = fetching.await?;
    let place = place.unwrap_or_else(|| Fetched::of(args, &session, &chosen));
    let local = local(args, &session, (&chosen, &fetched, &place.directory));
    let restored = Box::pin(restore_local(&local, env, Some(&place), out)).await;
    clean_up(args, &place.directory, restored)
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

/// The command line that restores what was fetched.
fn local(
    args: &Args,
    session: &Session<'_>,
    (chosen, fetched, directory): (&ChosenCopy, &FetchedBackup, &Path),
) -> Args {
    let artifact = &fetched.manifest.artifact;
    let dump = Role::Artifact(artifact.format, artifact.compression);
    let dump = Repository::at(directory).path(&fetched.stem, dump);
    // On another machine the server may have another name.
    let servers = &session.plan().servers;
    let is_here = servers.iter().any(|one| one.name == chosen.place.server);
    let server = is_here.then(|| chosen.place.server.clone());
    Args {
        from: super::FromArgs::default(),
        backup: Some(dump.display().to_string()),
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
