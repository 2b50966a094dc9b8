//! As which database a backup is restored, on which server, and whose directory is locked meanwhile.

use std::path::Path;

use super::super::CommandEnv;
use super::super::failure::{Failure, FailureKind};
use super::super::{report, select};
use super::Args;
use super::records::{is_configured, records};
use crate::config::{Databases, Plan, Server};
use crate::jobs::{JobContext, JobError, Place, RestoreSource, places};
use crate::repository::{Manifest, Repository, Stem};

/// What is restored, as what, and where.
pub(super) struct Chosen<'a> {
    pub(super) source: RestoreSource,
    /// The database that the backup is of.
    pub(super) original: String,
    /// The database that it becomes.
    pub(super) database: String,
    /// How that is shown: with its server where there are several.
    pub(super) label: String,
    pub(super) server: &'a Server,
    pub(super) repository: Repository,
}

/// What `--database` says: the database, and perhaps its server.
pub(super) struct Wanted<'a> {
    pub(super) server: Option<&'a Server>,
    pub(super) database: Option<&'a str>,
}

impl Wanted<'_> {
    /// Whether a place is one of these.
    pub(super) fn admits(&self, place: &Place) -> bool {
        self.database.is_none_or(|name| place.database == name)
            && self
                .server
                .is_none_or(|server| place.server.as_ref() == Some(&server.name))
    }
}

/// Reads `--database`. It need not be one that is configured: a file is restored as any.
pub(super) fn wanted<'a>(
    plan: &'a Plan,
    places: &[Place],
    args: &'a Args,
) -> Result<Wanted<'a>, Failure> {
    let Some(text) = &args.database else {
        return Ok(Wanted {
            server: None,
            database: None,
        });
    };
    let servers: Vec<&Server> = plan.servers.iter().collect();
    let has = |server: &Server, name: &str| {
        let is_here = |place: &Place| is_of(place, server, name);
        names(server, name) || places.iter().any(is_here)
    };
    let (server, database) = select::split(&servers, text, has)
        .map_err(|message| Failure::new(FailureKind::Usage, message))?;
    Ok(Wanted {
        server,
        database: Some(database),
    })
}

fn is_of(place: &Place, server: &Server, database: &str) -> bool {
    place.database == database && place.server.as_ref() == Some(&server.name)
}

/// Which database it becomes, on which server, and whose directory is locked meanwhile.
pub(super) fn place<'a>(
    context: &JobContext,
    plan: &'a Plan,
    args: &'a Args,
    source: RestoreSource,
    env: &CommandEnv<'_>,
) -> Result<Chosen<'a>, Failure> {
    let told = |error: JobError| report::failure(&error, env.interrupt);
    let usage = |message: String| Failure::new(FailureKind::Usage, message);
    // What cannot be looked at was judged when the backup was chosen; a file needs none of it.
    let places = places(context, plan, &[]).map_err(told)?.found;
    let wanted = wanted(plan, &places, args)?;
    let original = match &source {
        RestoreSource::Backup(place, stem) => {
            let name = recorded_name(place, stem, env)?;
            if let Some(other) = wanted.database.filter(|other| *other != name) {
                return Err(usage(format!(
                    "{stem} is a backup of database {name:?}, not of {other:?}; --into restores it \
                     under another name"
                )));
            }
            name
        }
        RestoreSource::Bare(path) => match wanted.database.or(args.into.as_deref()) {
            Some(name) => name.to_owned(),
            None => {
                return Err(usage(format!(
                    "no manifest says which database {} is of: --database must say which one it \
                     becomes, or --into",
                    path.display()
                )));
            }
        },
    };
    let server = server(plan, args, &wanted, &source, &original, &places)?;
    let own = match &server.databases {
        Databases::Named(databases) => databases.iter().find(|one| one.name == original),
        Databases::All(_) | Databases::FromEnvironment => None,
    };
    let own = own.map_or_else(
        || server.directory_for(&original),
        |database| database.directory.clone(),
    );
    let database = args.into.clone().unwrap_or_else(|| original.clone());
    let beside = match &source {
        RestoreSource::Backup(place, _) => Some(place.repository.directory().to_owned()),
        RestoreSource::Bare(path) => path.parent().map(Path::to_owned),
    };
    let repository = records(
        &original,
        (own, is_configured(server)),
        beside.as_deref(),
        &plan.daemon,
    );
    Ok(Chosen {
        source,
        label: plan.label(&server.name, &database),
        database,
        original,
        server,
        repository,
    })
}

/// The server to restore on: the one that is named, that of the backup, or the only one that has a
/// database of that name.
fn server<'a>(
    plan: &'a Plan,
    args: &Args,
    wanted: &Wanted<'a>,
    source: &RestoreSource,
    original: &str,
    places: &[Place],
) -> Result<&'a Server, Failure> {
    let usage = |message: String| Err(Failure::new(FailureKind::Usage, message));
    let called = |name: &str| plan.servers.iter().find(|server| server.name == name);
    let of_backup = match source {
        RestoreSource::Backup(place, _) => place.server.as_deref().and_then(called),
        RestoreSource::Bare(_) => None,
    };
    if let (Some(meant), Some(other)) = (wanted.server, of_backup)
        && meant.name != other.name
    {
        return usage(format!(
            "the backup is of {:?}, not of {:?}; --server {} restores it there",
            plan.label(&other.name, original),
            plan.label(&meant.name, original),
            meant.name
        ));
    }
    let all = || {
        let names: Vec<&str> = plan.servers.iter().map(|one| one.name.as_str()).collect();
        names.join(", ")
    };
    if let Some(name) = &args.server {
        return match called(name) {
            Some(server) => Ok(server),
            None => usage(format!(
                "there is no server {name:?}: --server takes {}",
                all()
            )),
        };
    }
    if let Some(server) = wanted.server.or(of_backup) {
        return Ok(server);
    }
    let having: Vec<&Server> = plan
        .servers
        .iter()
        .filter(|server| {
            let is_here = |place: &Place| is_of(place, server, original);
            names(server, original) || places.iter().any(is_here)
        })
        .collect();
    match (having.as_slice(), plan.servers.as_slice()) {
        ([only], _) => Ok(only),
        ([], [only]) => Ok(only),
        ([], _) => usage(format!(
            "--server must say on which one to restore: {}",
            all()
        )),
        (several, _) => {
            let labels: Vec<String> = several
                .iter()
                .map(|server| format!("{:?}", plan.label(&server.name, original)))
                .collect();
            usage(format!(
                "--database must say which one is meant: {}",
                labels.join(" or ")
            ))
        }
    }
}

fn names(server: &Server, database: &str) -> bool {
    match &server.databases {
        Databases::Named(databases) => databases.iter().any(|one| one.name == database),
        Databases::All(_) | Databases::FromEnvironment => false,
    }
}

/// The database that a backup is of: its manifest says.
fn recorded_name(place: &Place, stem: &Stem, env: &CommandEnv<'_>) -> Result<String, Failure> {
    place
        .repository
        .manifest(stem)
        .map(|manifest: Manifest| manifest.database)
        .map_err(|error| report::failure(&error.into(), env.interrupt))
}
