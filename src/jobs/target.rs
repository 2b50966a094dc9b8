//! Which databases a job works on.

use std::io;
use std::path::PathBuf;

use super::Context;
use super::error::JobError;
use crate::config::{Database, Databases, Plan, Server};
use crate::postgres::{Client, Conninfo, discover};
use crate::repository::Repository;

/// A database to back up.
#[derive(Clone, Debug)]
pub struct Target<'a> {
    /// Its server.
    pub server: &'a Server,
    /// The database, its directory, and how it is dumped.
    pub database: Database,
}

/// A directory of backups to look at, for which no server is needed.
#[derive(Clone, Debug)]
pub struct Place {
    /// The database whose backups they are.
    pub database: String,
    /// Where they are.
    pub repository: Repository,
}

/// The databases to back up, and why there are not more of them.
#[derive(Debug)]
pub struct Targets<'a> {
    /// The databases.
    pub found: Vec<Target<'a>>,
    /// Servers that could not be asked for their databases, and databases that cannot be backed up
    /// as things are configured: one error each. They keep nobody else from being backed up.
    pub failures: Vec<JobError>,
}

/// The databases to back up: all that are configured, or those of them that are named.
///
/// # Errors
/// When a named one is not configured, or the only server must be asked for its databases and does
/// not answer.
pub async fn targets<'a>(
    context: &Context,
    plan: &'a Plan,
    wanted: &[String],
) -> Result<Targets<'a>, JobError> {
    let mut found = Vec::new();
    let mut failures = Vec::new();
    for server in &plan.servers {
        match targets_on(context, plan, server).await {
            Ok(mut targets) => {
                found.append(&mut targets.found);
                failures.append(&mut targets.failures);
            }
            Err(error) if plan.servers.len() == 1 => return Err(error),
            Err(error) => failures.push(JobError::Undiscovered {
                server: server.name.clone(),
                source: Box::new(error),
            }),
        }
    }
    let is_found = |wanted: &String| found.iter().any(|target| target.database.name == *wanted);
    if !wanted.is_empty() {
        if wanted.iter().all(is_found) {
            // What is wrong elsewhere is of no interest.
            failures.clear();
        } else if !failures.is_empty() {
            return Err(failures.remove(0));
        }
    }
    Ok(Targets {
        found: choose(found, wanted, |target| &target.database.name)?,
        failures,
    })
}

/// The databases of one server to back up.
///
/// # Errors
/// When the server must be asked for its databases and does not answer.
pub async fn targets_on<'a>(
    context: &Context,
    plan: &Plan,
    server: &'a Server,
) -> Result<Targets<'a>, JobError> {
    let mut targets = Targets {
        found: Vec::new(),
        failures: Vec::new(),
    };
    let is_discovered = matches!(server.databases, Databases::All(_));
    for database in databases_of(context, server).await? {
        let taken = plan.directory_taken_by(server, &database.name);
        match taken.filter(|_| is_discovered) {
            None => targets.found.push(Target { server, database }),
            Some(owner) => targets.failures.push(JobError::DirectoryTaken {
                database: database.name,
                server: server.name.clone(),
                directory: database.directory.display().to_string(),
                owner,
            }),
        }
    }
    Ok(targets)
}

/// The databases of a server, which is asked for them where the configuration says so.
pub(super) async fn databases_of(
    context: &Context,
    server: &Server,
) -> Result<Vec<Database>, JobError> {
    match &server.databases {
        Databases::Named(databases) => Ok(databases.clone()),
        Databases::All(selection) => {
            let conninfo = Conninfo::resolve(
                &server.connection,
                &context.environment,
                // Any database can be asked for the others; this one is always there.
                Some("postgres"),
            )?;
            let client = Client::connect(&conninfo, context.limits.connect).await?;
            let mut found = discover(&client).await?;
            found.retain(|name| selection.matches(name));
            Ok(found.into_iter().map(|name| on(server, name)).collect())
        }
        Databases::FromEnvironment => Ok(vec![on(server, from_environment(context, server)?)]),
    }
}

/// The directories of backups: of all databases that are configured, or of those that are named.
/// Of a server whose databases are discovered, every directory that holds backups counts, also
/// that of a database that is gone.
///
/// # Errors
/// When a named one is not configured, or a directory cannot be read.
pub fn places(context: &Context, plan: &Plan, wanted: &[String]) -> Result<Vec<Place>, JobError> {
    let mut places = Vec::new();
    for server in &plan.servers {
        places.append(&mut places_on(context, server)?);
    }
    choose(places, wanted, |place| &place.database)
}

/// The directories of one server's backups.
///
/// # Errors
/// When a directory cannot be read.
pub fn places_on(context: &Context, server: &Server) -> Result<Vec<Place>, JobError> {
    match &server.databases {
        Databases::Named(databases) => Ok(databases
            .iter()
            .map(|database| Place {
                database: database.name.clone(),
                repository: Repository::at(&database.directory),
            })
            .collect()),
        Databases::All(_) => below(&server.directory),
        Databases::FromEnvironment => {
            let database = from_environment(context, server)?;
            let repository = Repository::at(server.directory_for(&database));
            Ok(vec![Place {
                database,
                repository,
            }])
        }
    }
}

fn on(server: &Server, name: String) -> Database {
    Database {
        directory: server.directory_for(&name),
        name,
        dump: server.dump.clone(),
    }
}

pub(super) fn from_environment(context: &Context, server: &Server) -> Result<String, JobError> {
    let conninfo = Conninfo::resolve(&server.connection, &context.environment, None)?;
    Ok(conninfo.database().to_owned())
}

/// The directories right below one that hold backups, each with the database that its newest
/// manifest names.
fn below(directory: &PathBuf) -> Result<Vec<Place>, JobError> {
    let failed = |source: io::Error| {
        JobError::failed(format!(
            "cannot read the directory {}: {source}",
            directory.display()
        ))
    };
    let mut paths: Vec<PathBuf> = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        entries => entries
            .map_err(failed)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()
            .map_err(failed)?,
    };
    paths.sort();
    let mut places = Vec::new();
    for path in paths.into_iter().filter(|path| path.is_dir()) {
        let repository = Repository::at(path);
        let mut catalogue = repository.catalogue()?;
        let database = match catalogue.backups.pop() {
            Some(newest) => newest.database,
            // Where no manifest can be read, backups may be lost: that must be heard of.
            None if catalogue.problems.iter().any(|p| p.manifest_of.is_some()) => {
                let name = repository.directory().file_name().unwrap_or_default();
                name.to_string_lossy().into_owned()
            }
            None => continue,
        };
        places.push(Place {
            database,
            repository,
        });
    }
    Ok(places)
}

/// Keeps what is named; everything if nothing is.
pub(super) fn choose<T>(
    all: Vec<T>,
    wanted: &[String],
    name: impl Fn(&T) -> &String,
) -> Result<Vec<T>, JobError> {
    let known: Vec<String> = all.iter().map(|one| name(one).clone()).collect();
    if let Some(missing) = wanted.iter().find(|wanted| !known.contains(wanted)) {
        let nearest = known
            .iter()
            .max_by(|a, b| {
                let likeness = |name: &str| strsim::jaro_winkler(name, missing);
                likeness(a).total_cmp(&likeness(b))
            })
            .map(|name| format!("; did you mean {name:?}?"))
            .unwrap_or_default();
        return Err(JobError::NoSuchDatabase(format!(
            "database {missing:?} is not configured{nearest}"
        )));
    }
    let mut all = all;
    if !wanted.is_empty() {
        all.retain(|one| wanted.contains(name(one)));
    }
    Ok(all)
}
