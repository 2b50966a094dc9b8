//! `pgbackupd directories`: make the directories that the configuration asks for.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;

use super::env::CommandEnv;
use super::failure::{Failure, FailureKind, together};
use super::report;
use super::session::Session;
use crate::jobs::{
    Discovery, JobContext, Stop, WantedDirectory, discover_as, discover_databases, needs_discovery,
    wanted_directories, wished_databases,
};
use crate::repository::{Owner, Provided, Repository, provide};

/// The end of its help.
const EXAMPLES: &str = "\
Examples:
  pgbackupd directories --owner postgres
      Create the directories for the user postgres, as root";

/// Create the backup directories of all configured databases.
///
/// As root, creates them for the service's user, who then owns them (mode 0700). A directory that
/// another user owns is not touched, and is an error. The service's unit runs this at every start
/// and reload. Without --owner, the directories are yours.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    /// Owner of the directories; only root can name another user
    #[arg(long, value_name = "USER")]
    owner: Option<String>,
    /// File in which the service names databases without a directory; if it does not, the servers
    /// are asked
    #[arg(long, value_name = "FILE", hide = true)]
    wanted: Option<PathBuf>,
    /// Create nothing; print the databases of the servers as JSON
    #[arg(long, hide = true, conflicts_with = "owner")]
    discover: bool,
}

/// What `directories --json` prints for each directory, in a list.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct ShownDirectory {
    /// The server's name in the configuration.
    pub server: String,
    /// The database; none for the level that holds a server's databases.
    pub database: Option<String>,
    /// The directory.
    pub directory: PathBuf,
    /// What was done: `none`, `made`, `given` to its owner, or `closed` to others; none after an
    /// error.
    pub change: Option<&'static str>,
    /// Why it cannot be used.
    pub error: Option<String>,
}

pub(super) async fn run(
    args: &Args,
    env: &CommandEnv<'_>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let owner = args.owner.as_deref().map(owner).transpose()?.flatten();
    let session = Session::new(env, env.load_for(owner.as_ref())?);
    let (plan, context) = (session.plan(), &session.context);
    let wished = args.wanted.as_deref().and_then(wished_databases);
    let discovery = tokio::select! {
        discovery = async {
            match (wished, &owner) {
                (Some(wished), _) => wished,
                _ if !needs_discovery(plan) => Discovery::default(),
                (None, Some(owner)) => discover_for(owner, env, context).await,
                (None, None) => discover_databases(context, plan).await,
            }
        } => discovery,
        () = env.interrupt.token().cancelled() => {
            return Err(session.failure(&Stop::Interrupted.into()));
        }
    };
    if args.discover {
        return report::json(&discovery, out);
    }
    let (wanted, refused) = wanted_directories(plan, &discovery);
    for warning in discovery.failures.iter().chain(&refused) {
        tracing::warn!("{warning}");
    }
    let shown: Vec<(ShownDirectory, Option<Provided>)> = wanted
        .into_iter()
        .map(|wanted| {
            let provided = provided(&wanted, owner.as_ref());
            (shown(wanted, &provided), provided.ok())
        })
        .collect();
    let failures: Vec<Failure> = shown
        .iter()
        .filter_map(|(one, _)| one.error.clone())
        .map(|error| Failure::new(FailureKind::CannotCreate, error))
        .collect();
    if env.json {
        let shown: Vec<&ShownDirectory> = shown.iter().map(|(one, _)| one).collect();
        report::json(&shown, out)?;
    } else {
        print_directories(&shown, owner.as_ref(), out)?;
    }
    together(&failures)
}

/// For whom directories are made; none for whoever runs this.
fn owner(name: &str) -> Result<Option<Owner>, Failure> {
    let owner = Owner::named(name).ok_or_else(|| {
        Failure::usage(format!(
            "there is no user {name:?}\nhint: name the user of the service with --owner"
        ))
    })?;
    let me = rustix::process::geteuid();
    if me.is_root() {
        Ok(Some(owner))
    } else if me.as_raw() == owner.uid {
        Ok(None)
    } else {
        Err(Failure::usage(format!(
            "only root can make directories for {name}\nhint: run it as root, or as {name} without \
             --owner"
        )))
    }
}

/// Root is often nobody to the server; the owner is whom it lets in.
async fn discover_for(owner: &Owner, env: &CommandEnv<'_>, context: &JobContext) -> Discovery {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => {
            return Discovery {
                databases: Vec::new(),
                failures: vec![format!("the program's own path is not known: {error}")],
            };
        }
    };
    let mut arguments: Vec<OsString> = vec!["directories".into(), "--discover".into()];
    if let Some(file) = &env.source.file {
        arguments.extend(["--config".into(), file.into()]);
    }
    discover_as(owner, &program, arguments, context).await
}

fn provided(wanted: &WantedDirectory, owner: Option<&Owner>) -> Result<Provided, String> {
    if let Some(owner) = owner {
        return provide(&wanted.path, wanted.level(), owner).map_err(|error| error.to_string());
    }
    let stood = wanted.path.is_dir();
    Repository::at(&wanted.path)
        .create()
        .map(|()| {
            if stood {
                Provided::Stood
            } else {
                Provided::Made
            }
        })
        .map_err(|error| error.to_string())
}

fn shown(wanted: WantedDirectory, provided: &Result<Provided, String>) -> ShownDirectory {
    ShownDirectory {
        server: wanted.server,
        database: wanted.database,
        directory: wanted.path,
        change: provided.as_ref().ok().map(|provided| match provided {
            Provided::Stood => "none",
            Provided::Made => "made",
            Provided::Given => "given",
            Provided::Closed(_) => "closed",
        }),
        error: provided.as_ref().err().cloned(),
    }
}

fn print_directories(
    shown: &[(ShownDirectory, Option<Provided>)],
    owner: Option<&Owner>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let for_whom = owner.map_or_else(String::new, |owner| format!(" for {}", owner.name));
    let to_whom = owner.map_or("its owner", |owner| &owner.name);
    let mut sound = 0_u64;
    for (one, provided) in shown {
        let directory = report::one_line(&one.directory.display().to_string());
        match provided {
            None => continue,
            Some(Provided::Stood) => {}
            Some(Provided::Made) => writeln!(out, "made {directory}{for_whom}")?,
            Some(Provided::Given) => {
                writeln!(out, "gave {directory}, which was empty, to {to_whom}")?;
            }
            Some(Provided::Closed(mode)) => writeln!(
                out,
                "closed {directory} to others: its mode was {mode:04o} and is 0700"
            )?,
        }
        sound += 1;
    }
    let directories = report::counted(sound, "directory is", "directories are");
    writeln!(out, "{directories} ready")?;
    Ok(())
}
