//! Where to look: the directories of the databases that are configured, and those that are found.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::responsiveness::Answers;
use crate::config::{Databases, Plan, Server};
use crate::jobs::error::JobError;
use crate::jobs::{JobContext, target};
use crate::policy::{Concern, ConcernKind};
use crate::repository::Repository;

/// A directory to look at.
pub(super) struct Spot<'a> {
    pub(super) server: &'a Server,
    /// The database that is configured for it; none where what is in it tells.
    pub(super) database: Option<String>,
    pub(super) repository: Repository,
}

/// The directories to look at.
pub(super) struct Spots<'a> {
    pub(super) found: Vec<Spot<'a>>,
    /// Servers whose databases are found at each run and that have none yet.
    pub(super) empty: Vec<Concern>,
    /// Servers whose directories cannot be read, and why.
    pub(super) unseen: Vec<(&'a Server, JobError)>,
}

/// The directories to look at.
pub(super) fn spots<'a>(
    context: &JobContext,
    plan: &'a Plan,
    answers: &Answers,
) -> Result<Spots<'a>, JobError> {
    let mut spots = Vec::new();
    let (mut empty, mut unseen) = (Vec::new(), Vec::new());
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
            Databases::All(_) => match directories_of(plan, server, answers) {
                Ok(found) if found.is_empty() => empty.push(nothing_found(server)),
                Ok(found) => spots.extend(found.into_iter().map(|path| Spot {
                    server,
                    database: None,
                    repository: Repository::at(path),
                })),
                Err(error) => unseen.push((server, error)),
            },
        }
    }
    Ok(Spots {
        found: spots,
        empty,
        unseen,
    })
}

/// The directories of a server's databases, unless the one above them hangs.
fn directories_of(
    plan: &Plan,
    server: &Server,
    answers: &Answers,
) -> Result<Vec<PathBuf>, JobError> {
    match answers.trouble(&server.directory) {
        Some(why) => Err(JobError::failed(why)),
        None => target::directories_of(plan, server),
    }
}

fn nothing_found(server: &Server) -> Concern {
    Concern {
        kind: ConcernKind::NoBackup,
        server: Some(server.name.clone()),
        database: None,
        directory: None,
        sentence: format!(
            "there is no backup of any database of server {} in {}; run `pgbackupd backup`",
            server.name,
            server.directory.display()
        ),
    }
}

/// The file system of a directory, or of the nearest one above it that is there: its device, the
/// bytes that are free on it, and that directory.
pub(super) fn file_system(directory: &Path) -> Option<(u64, u64, PathBuf)> {
    let standing = directory.ancestors().find(|path| path.is_dir())?;
    let device = standing.metadata().ok()?.dev();
    let free = Repository::at(standing).free_space().ok()?;
    Some((device, free, standing.to_owned()))
}
