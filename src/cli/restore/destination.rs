//! As which database a backup is restored, on which server, and whose directory is locked meanwhile.

use std::path::Path;

use super::super::failure::Failure;
use super::super::select;
use super::Picked;
use super::RestoreCommand;
use super::fetched::Fetched;
use super::records::{OwnDirectory, is_configured, records};
use crate::config::{Databases, Plan, Server};
use crate::jobs::{BackupDirectory, RestoreSource};
use crate::repository::Repository;

/// What is restored, as what, and where.
pub(super) struct Chosen<'a> {
    pub(super) picked: Picked,
    /// The database that the backup is of.
    pub(super) original: String,
    /// The database that it becomes.
    pub(super) database: String,
    /// How that is shown: with its server where there are several.
    pub(super) label: String,
    pub(super) server: &'a Server,
    pub(super) repository: Repository,
}

impl Chosen<'_> {
    /// The backup's name, or the file's path.
    pub(super) fn backup(&self) -> String {
        match &self.picked.source {
            RestoreSource::Backup(_, stem) => stem.to_string(),
            RestoreSource::DumpFile { path, .. } => path.display().to_string(),
        }
    }
}

/// What `--database` says: the database, and perhaps its server.
pub(super) struct Wanted<'a> {
    pub(super) server: Option<&'a Server>,
    pub(super) database: Option<&'a str>,
}

impl Wanted<'_> {
    /// Whether a place is one of these.
    pub(super) fn admits(&self, backup_directory: &BackupDirectory) -> bool {
        self.database
            .is_none_or(|name| backup_directory.database == name)
            && self
                .server
                .is_none_or(|server| backup_directory.server.as_ref() == Some(&server.name))
    }
}

/// Reads `--database`. It need not be one that is configured: a file is restored as any.
pub(super) fn wanted<'a>(
    command: &RestoreCommand<'a>,
    backup_directories: &[BackupDirectory],
) -> Result<Wanted<'a>, Failure> {
    let plan = command.plan();
    let Some(text) = &command.args.database else {
        return Ok(Wanted {
            server: None,
            database: None,
        });
    };
    let servers: Vec<&Server> = plan.servers.iter().collect();
    let has = |server: &Server, name: &str| {
        let is_here = |backup_directory: &BackupDirectory| is_of(backup_directory, server, name);
        names(server, name) || backup_directories.iter().any(is_here)
    };
    let (server, database) = select::split(&servers, text, has).map_err(Failure::usage)?;
    Ok(Wanted {
        server,
        database: Some(database),
    })
}

fn is_of(backup_directory: &BackupDirectory, server: &Server, database: &str) -> bool {
    backup_directory.database == database && backup_directory.server.as_ref() == Some(&server.name)
}

/// Which database it becomes, on which server, and whose directory is locked meanwhile.
pub(super) fn resolve_destination<'a>(
    command: &RestoreCommand<'a>,
    picked: Picked,
) -> Result<Chosen<'a>, Failure> {
    let (args, plan) = (command.args, command.plan());
    // What cannot be looked at was judged when the backup was chosen; a file needs none of it.
    let backup_directories = command.session.directories(&[])?.found;
    let wanted = wanted(command, &backup_directories)?;
    let original = original(command, &wanted, &picked.source)?;
    let server = match named_server(command, &wanted, &picked.source, &original)? {
        Some(server) => server,
        None => server_with(plan, &original, &backup_directories)?,
    };
    let own = match &server.databases {
        Databases::Named(databases) => databases.iter().find(|one| one.name == original),
        Databases::All(_) | Databases::FromEnvironment => None,
    };
    let own = OwnDirectory {
        path: own.map_or_else(
            || server.directory_for(&original),
            |database| database.directory.clone(),
        ),
        is_configured: is_configured(server),
    };
    let database = args.into.clone().unwrap_or_else(|| original.clone());
    let beside = match &picked.source {
        _ if command.fetched.is_some() => command
            .fetched
            .and_then(Fetched::records)
            .map(Path::to_owned),
        RestoreSource::Backup(backup_directory, _) => {
            Some(backup_directory.repository.directory().to_owned())
        }
        RestoreSource::DumpFile { path, .. } => path.parent().map(Path::to_owned),
    };
    let repository = records(&original, own, beside.as_deref(), &plan.daemon);
    Ok(Chosen {
        picked,
        label: plan.label(&server.name, &database),
        database,
        original,
        server,
        repository,
    })
}

/// The database that the backup is of: its manifest says, and of a file the command line.
fn original(
    command: &RestoreCommand<'_>,
    wanted: &Wanted<'_>,
    source: &RestoreSource,
) -> Result<String, Failure> {
    match source {
        RestoreSource::Backup(backup_directory, stem) => {
            let manifest = backup_directory.repository.manifest(stem);
            let name = manifest
                .map_err(|error| command.failure(&error.into()))?
                .database;
            match wanted.database.filter(|other| *other != name) {
                None => Ok(name),
                Some(other) => Err(Failure::usage(format!(
                    "{stem} is a backup of database {name:?}, not of {other:?}\nhint: --into restores it \
                     under another name"
                ))),
            }
        }
        RestoreSource::DumpFile { path, .. } => {
            match wanted.database.or(command.args.into.as_deref()) {
                Some(name) => Ok(name.to_owned()),
                None => Err(Failure::usage(format!(
                    "there is no manifest that names the database of {}\nhint: name it with --database, \
                 or with --into",
                    path.display()
                ))),
            }
        }
    }
}

/// The server to restore on, where one is named, or the backup is of one.
fn named_server<'a>(
    command: &RestoreCommand<'a>,
    wanted: &Wanted<'a>,
    source: &RestoreSource,
    original: &str,
) -> Result<Option<&'a Server>, Failure> {
    let plan = command.plan();
    let called = |name: &str| plan.servers.iter().find(|server| server.name == name);
    let of_backup = match source {
        RestoreSource::Backup(backup_directory, _) => {
            backup_directory.server.as_deref().and_then(called)
        }
        RestoreSource::DumpFile { .. } => None,
    };
    if let (Some(meant), Some(other)) = (wanted.server, of_backup)
        && meant.name != other.name
    {
        return Err(Failure::usage(format!(
            "the backup is of {:?}, not of {:?}\nhint: --server {} restores it there",
            plan.label(&other.name, original),
            plan.label(&meant.name, original),
            meant.name
        )));
    }
    match &command.args.server {
        None => Ok(wanted.server.or(of_backup)),
        Some(name) => match called(name) {
            Some(server) => Ok(Some(server)),
            None => Err(Failure::usage(format!(
                "there is no server {name:?}\nhint: --server takes {}",
                server_names(plan)
            ))),
        },
    }
}

/// The only server that has a database of that name, or the only one there is.
fn server_with<'a>(
    plan: &'a Plan,
    database: &str,
    backup_directories: &[BackupDirectory],
) -> Result<&'a Server, Failure> {
    let having: Vec<&Server> = plan
        .servers
        .iter()
        .filter(|server| {
            let is_here =
                |backup_directory: &BackupDirectory| is_of(backup_directory, server, database);
            names(server, database) || backup_directories.iter().any(is_here)
        })
        .collect();
    match (having.as_slice(), plan.servers.as_slice()) {
        ([only], _) => Ok(only),
        ([], [only]) => Ok(only),
        ([], _) => Err(Failure::usage(format!(
            "no server is known to have database {database:?}\nhint: name one with --server: {}",
            server_names(plan)
        ))),
        (several, _) => {
            let labels: Vec<String> = several
                .iter()
                .map(|server| plan.label(&server.name, database))
                .collect();
            let what = format!("several servers have a database {database:?}");
            Err(select::several(&what, &labels))
        }
    }
}

fn server_names(plan: &Plan) -> String {
    let names: Vec<&str> = plan.servers.iter().map(|one| one.name.as_str()).collect();
    names.join(", ")
}

fn names(server: &Server, database: &str) -> bool {
    match &server.databases {
        Databases::Named(databases) => databases.iter().any(|one| one.name == database),
        Databases::All(_) | Databases::FromEnvironment => false,
    }
}
