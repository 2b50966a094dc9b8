//! `pgbackupd emergency`: a backup now, with as little as possible that could stand in its way.

use std::io::Write;
use std::path::PathBuf;

use super::backup::{Backups, nothing_to_back_up};
use super::env::CommandEnv;
use super::failure::{Failure, FailureKind};
use super::select;
use super::session::Session;
use super::several::Turns;
use crate::config::{Loaded, Runs, Source, load};
use crate::identity;
use crate::jobs::{Strictness, Targets, targets};
use crate::policy::Series;

/// The end of its help.
const EXAMPLES: &str = "\
Examples:
  pgbackupd emergency
      Back up the configured database to its directory
  pgbackupd emergency --database sales --to /mnt/rescue
      Back up sales to another disk
  pgbackupd emergency --database sales --skip-damaged
      Back up all of sales but the rows of tables that cannot be read";

/// Back up one database at once, even without a configuration.
///
/// Needs only a connection and a directory. Without a usable configuration, the connection comes
/// from libpq's environment (PGHOST, PGUSER, PGSERVICE, PGPASSFILE and so on). The backup succeeds
/// even if roles, ledger or retention fail, but not if the dump or its verification does.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    /// Directory to write to, created if needed [default: the configured one]
    #[arg(long, value_name = "DIRECTORY")]
    pub(super) to: Option<PathBuf>,
    /// Database, as NAME or SERVER/NAME [default: the only one configured, or PGDATABASE]
    #[arg(long, short, value_name = "NAME", value_parser = select::database_name)]
    database: Option<String>,
    /// Leave out the rows of tables that cannot be read, five at most; the backup is partial then
    ///
    /// For a damaged page, a value that is too long, or a library that is gone. Each takes one more
    /// pass. A partial backup counts for nothing but itself: exit code 65.
    #[arg(long)]
    skip_damaged: bool,
    /// Reason for the record
    #[arg(long, value_name = "TEXT", default_value = "emergency")]
    reason: String,
}

pub(super) async fn run(
    args: &Args,
    env: &CommandEnv<'_>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let session = Session::new(env, load_or_do_without(args, &env.source)?);
    let wanted: &[String] = args.database.as_slice();
    let Targets {
        found: mut targets,
        failures,
    } = targets(&session.context, session.plan(), wanted)
        .await
        .map_err(|error| session.failure(&error))?;
    let mut unavailable = session.failures(&failures);
    if args.database.is_none() && !unavailable.is_empty() {
        // Which one is meant cannot be known before it is known which there are.
        return Err(unavailable.remove(0));
    }
    if targets.is_empty() && unavailable.is_empty() {
        return Err(nothing_to_back_up());
    }
    if targets.len() > 1 {
        let labels = targets.iter().map(|target| &target.label);
        return Err(select::several("there are several databases", labels));
    }
    if let (Some(directory), Some(target)) = (&args.to, targets.first_mut()) {
        target.database.directory.clone_from(directory);
    }
    let backups = Backups {
        targets: &targets,
        series: &Series::manual(),
        reason: Some(&args.reason),
        strictness: if args.skip_damaged {
            Strictness::SkippingDamaged
        } else {
            Strictness::Emergency
        },
    };
    let mut turns = Turns::new(&session, Vec::new(), out);
    backups.make(&mut turns).await?;
    turns.failures.extend(unavailable);
    turns.conclude()
}

/// The configuration where it is sound and knows the database; else only libpq's environment.
fn load_or_do_without(args: &Args, source: &Source) -> Result<Loaded, Failure> {
    let configured = load(source).and_then(|loaded| {
        loaded.refuse_commands_of_others(Runs::Programs)?;
        Ok(loaded)
    });
    let is_of_no_use = configured.is_err();
    let wanted = args.database.as_deref();
    let (reason, encryption) = match configured {
        Ok(loaded) if knows(&loaded, wanted) => return Ok(loaded),
        Ok(loaded) => (
            format!(
                "the configuration has no database {:?}",
                wanted.unwrap_or_default()
            ),
            Some((loaded.plan.scope, loaded.plan.recipients)),
        ),
        Err(error) => (format!("the configuration cannot be used: {error}"), None),
    };
    if args.to.is_none() {
        return Err(Failure::new(
            FailureKind::Configuration,
            format!("{reason}\nwithout it, --to DIRECTORY is needed"),
        ));
    }
    tracing::warn!("{reason}");
    if is_of_no_use && identity::stays_root() == Some(false) {
        tracing::warn!("running as root, because the service's user is not known");
    }
    tracing::warn!("going on with libpq's environment alone");
    if encryption.is_none() {
        tracing::warn!("without the configuration, the backup is not encrypted");
    }
    let mut environment = source.environment.clone();
    environment.retain(|name, _| !name.starts_with("PGBACKUPD_"));
    if let Some(database) = wanted {
        environment.insert("PGBACKUPD_DATABASE".to_owned(), database.to_owned());
    }
    let mut loaded = load(&Source {
        file: None,
        default_file: PathBuf::from("/nonexistent"),
        environment,
        trusted: source.trusted.clone(),
    })?;
    if let Some((scope, recipients)) = encryption {
        loaded.plan.scope = scope;
        loaded.plan.recipients = recipients;
    }
    Ok(loaded)
}

fn knows(loaded: &Loaded, wanted: Option<&str>) -> bool {
    use crate::config::{Databases, Server};
    let Some(wanted) = wanted else {
        return true;
    };
    let has = |server: &Server, name: &str| match &server.databases {
        Databases::Named(databases) => databases.iter().any(|database| database.name == name),
        Databases::All(selection) => selection.matches(name),
        Databases::FromEnvironment => false,
    };
    let of_server = wanted.split_once('/');
    loaded.plan.servers.iter().any(|server| {
        has(server, wanted)
            || of_server
                .is_some_and(|(name, database)| name == server.name && has(server, database))
    })
}
