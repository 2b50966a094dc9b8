//! Where to look: the directories of the databases that are configured, and those that are found.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::config::{Databases, Plan, Server};
use crate::jobs::error::JobError;
use crate::jobs::{Context, target};
use crate::policy::{Concern, ConcernKind};
use crate::repository::Repository;

/// A directory to look at.
pub(super) struct Spot<'a> {
    pub(super) server: &'a Server,
    /// The database that is configured for it; none where what is in it tells.
    pub(super) database: Option<String>,
    pub(super) repository: Repository,
}

/// The directories to look at, and the servers whose databases are found at each run and that have
/// none yet.
pub(super) fn spots<'a>(
    context: &Context,
    plan: &'a Plan,
) -> Result<(Vec<Spot<'a>>, Vec<Concern>), JobError> {
    let mut spots = Vec::new();
    let mut empty = Vec::new();
    for server in &plan.servers {
        match &server.databases {
            Databases::Named(databases) => {
                spots.extend(databases.iter().map(|database| Spot {
                    server,
                    database: Some(database.name.clone()),
                    repository: Repository::at(&database.directory),
                }));
            }
            Databases::FromEnvironment => {
                let database = target::from_environment(context, server)?;
                spots.push(Spot {
                    server,
                    repository: Repository::at(server.directory_for(&database)),
                    database: Some(database),
                });
            }
            Databases::All(_) => {
                let before = spots.len();
                // What is another's by name is not found here too.
                let found = below(&server.directory)?;
                spots.extend(
                    found
                        .into_iter()
                        .filter(|path| !is_another_server_s(plan, server, path))
                        .map(|path| Spot {
                            server,
                            database: None,
                            repository: Repository::at(path),
                        }),
                );
                if spots.len() == before {
                    empty.push(nothing_found(server));
                }
            }
        }
    }
    Ok((spots, empty))
}

fn nothing_found(server: &Server) -> Concern {
    Concern {
        kind: ConcernKind::NoBackup,
        database: None,
        directory: None,
        sentence: format!(
            "there is no backup of any database of server {} in {}; run `pgbackupd backup`",
            server.name,
            server.directory.display()
        ),
    }
}

fn is_another_server_s(plan: &Plan, server: &Server, path: &Path) -> bool {
    let others = plan
        .servers
        .iter()
        .filter(|other| other.name != server.name);
    others.into_iter().any(|other| match &other.databases {
        Databases::Named(named) => named.iter().any(|named| named.directory == path),
        Databases::All(_) | Databases::FromEnvironment => other.directory == path,
    })
}

/// The directories right below one, in the order of their names.
fn below(directory: &Path) -> Result<Vec<PathBuf>, JobError> {
    let failed = |source: io::Error| {
        JobError::failed(format!(
            "cannot read the directory {}: {source}{}",
            directory.display(),
            crate::repository::advice(&source)
        ))
    };
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// The file system of a directory, or of the nearest one above it that is there: its device, the
/// bytes that are free on it, and that directory.
pub(super) fn file_system(directory: &Path) -> Option<(u64, u64, PathBuf)> {
    let standing = directory.ancestors().find(|path| path.is_dir())?;
    let device = standing.metadata().ok()?.dev();
    let free = Repository::at(standing).free_space().ok()?;
    Some((device, free, standing.to_owned()))
}
