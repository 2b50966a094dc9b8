//! Where to look: the directories of the databases that are configured, and those that are found.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::DaemonView;
use super::inspection::Inspection;
use super::responsiveness::Answers;
use crate::config::{Databases, JobKind, Plan, Server};
use crate::display::with_hint_in_line;
use crate::jobs::error::JobError;
use crate::jobs::{JobContext, target};
use crate::policy::{Concern, ConcernKind, Severity};
use crate::repository::{Repository, advice};

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
    pub(super) empty: Vec<&'a Server>,
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
                Ok(found) if found.is_empty() => empty.push(server),
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

/// What it means that a server whose databases are found at each run has no backup: a problem once one was
/// due, unless it is known why there is none.
pub(super) fn nothing_found(
    inspection: &Inspection<'_>,
    server: &Server,
    daemon: &DaemonView,
) -> Result<Concern, Option<String>> {
    if let DaemonView::Alive(state) = daemon
        && state
            .cannot_connect
            .iter()
            .any(|one| one.server == server.name && one.database.is_none())
    {
        return Err(None);
    }
    let jobs = inspection.plan.jobs.iter();
    let backups = jobs.filter(|job| matches!(job.kind, JobKind::Backup(_)));
    let made = Repository::at(&server.directory).made_at();
    let due = inspection.overdue(backups, None, made.max(inspection.changed));
    let place = format!(
        "of any database of server {} in {}",
        server.name,
        server.directory.display()
    );
    match due {
        Some(_) => {
            let sentence = format!(
                "there is no backup {place}, although one was due; run `pgbackupd backup`, which shows why"
            );
            Ok(Concern::new(ConcernKind::NoBackup, sentence).of_server(&server.name))
        }
        None => Err(Some(format!(
            "there is no backup {place} yet: the first is not due"
        ))),
    }
}

/// That the service cannot write to its state directory: then no alert and no report is sent. Only its owner
/// and root can tell; one that is not there is made by the service.
pub(super) fn unwritable_state(directory: &Path) -> Option<Concern> {
    let owner = directory.metadata().ok()?.uid();
    let user = rustix::process::geteuid();
    if !user.is_root() && user.as_raw() != owner {
        return None;
    }
    let may_write = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    let why = match rustix::fs::access(directory, may_write) {
        Err(error) => io::Error::from(error),
        Ok(()) if Repository::at(directory).free_space().ok()? == 0 => {
            rustix::io::Errno::NOSPC.into()
        }
        Ok(()) => return None,
    };
    let sentence = with_hint_in_line(&format!(
        "cannot write to the state directory {}: {why}; no alert and no report is sent until that works{}",
        directory.display(),
        advice(&why)
    ));
    let mut concern = Concern::new(ConcernKind::Directory, sentence).in_directory(directory);
    concern.severity = Severity::Critical;
    Some(concern)
}

/// The file system of a directory, or of the nearest one above it that is there: its device, the
/// bytes that are free on it, and that directory.
pub(super) fn file_system(directory: &Path) -> Option<(u64, u64, PathBuf)> {
    let standing = directory.ancestors().find(|path| path.is_dir())?;
    let device = standing.metadata().ok()?.dev();
    let free = Repository::at(standing).free_space().ok()?;
    Some((device, free, standing.to_owned()))
}
