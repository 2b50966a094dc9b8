//! Which databases a job works on.

pub(super) mod named;

use std::collections::BTreeSet;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::JobContext;
use super::error::JobError;
use crate::config::{Database, Databases, Plan, Server};
use crate::postgres::{Client, Conninfo, discover};
use crate::repository::{Problem, Record, Repository, advice};
use crate::responsiveness::{self, HASTE, PATIENCE};
use named::{Known, meant};

/// A database to back up.
#[derive(Clone, Debug)]
pub struct Target<'a> {
    /// Its server.
    pub server: &'a Server,
    /// The database, its directory, and how it is dumped.
    pub database: Database,
    /// How it is shown: with its server where there are several.
    pub label: String,
}

/// A directory of backups to look at, for which no server is needed.
#[derive(Clone, Debug)]
pub struct BackupDirectory {
    /// Its server's name in the configuration; none for a directory that is not configured.
    pub server: Option<String>,
    /// The database whose backups they are.
    pub database: String,
    /// How it is shown, and named on the command line: with its server where there are several.
    pub label: String,
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

/// Directories of backups, and why there may be more of them.
#[derive(Debug)]
pub struct BackupDirectories {
    /// The directories.
    pub found: Vec<BackupDirectory>,
    /// What could not be looked at, one error each.
    pub failures: Vec<JobError>,
}

/// What is known of one server's databases.
struct Answer<'a, T> {
    server: &'a Server,
    found: Vec<T>,
    /// Databases that cannot be worked on, by name, and why.
    refused: Vec<(String, JobError)>,
    /// Why there may be others.
    silence: Vec<Silence>,
}

impl<'a, T> Answer<'a, T> {
    /// Of a server that was not asked yet.
    fn of(server: &'a Server) -> Self {
        Self {
            server,
            found: Vec::new(),
            refused: Vec::new(),
            silence: Vec::new(),
        }
    }
}

/// What could not be asked or looked at, and why.
enum Silence {
    /// The server, for its databases.
    Server(JobError),
    /// The directory that holds those of its databases.
    Directories(JobError),
    /// One of those.
    Directory(PathBuf, JobError),
}

/// The databases to back up: all that are configured, or those of them that are named. A name may say
/// the server: `reports/audit`.
///
/// # Errors
/// When a named one is not configured, or can mean two; or the only server must be asked for its
/// databases and does not answer.
pub async fn targets<'a>(
    context: &JobContext,
    plan: &'a Plan,
    wanted: &[String],
) -> Result<Targets<'a>, JobError> {
    let mut answers = Vec::new();
    for server in &plan.servers {
        let mut answer = Answer::of(server);
        match ask_server(context, plan, server).await {
            Ok((found, refused)) => (answer.found, answer.refused) = (found, refused),
            Err(error) if plan.servers.len() == 1 => return Err(error),
            Err(why) => answer.silence.push(Silence::Server(why)),
        }
        answers.push(answer);
    }
    let name = |target: &Target<'_>| target.database.name.clone();
    let (found, failures) = keep_wanted(plan, answers, wanted, name)?;
    Ok(Targets { found, failures })
}

/// The databases of one server to back up.
///
/// # Errors
/// When the server must be asked for its databases and does not answer.
pub async fn targets_on<'a>(
    context: &JobContext,
    plan: &Plan,
    server: &'a Server,
) -> Result<Targets<'a>, JobError> {
    let (found, refused) = ask_server(context, plan, server).await?;
    Ok(Targets {
        found,
        failures: refused.into_iter().map(|(_, why)| why).collect(),
    })
}

type AskedServer<'a> = (Vec<Target<'a>>, Vec<(String, JobError)>);

/// Asks a server; gives also what it has and cannot be backed up, by name.
async fn ask_server<'a>(
    context: &JobContext,
    plan: &Plan,
    server: &'a Server,
) -> Result<AskedServer<'a>, JobError> {
    let (mut found, mut refused) = (Vec::new(), Vec::new());
    let is_discovered = matches!(server.databases, Databases::All(_));
    for database in databases_of(context, server).await? {
        let taken = plan.directory_taken_by(server, &database.name);
        match taken.filter(|_| is_discovered) {
            None => found.push(Target {
                server,
                label: plan.label(&server.name, &database.name),
                database,
            }),
            Some(owner) => refused.push((
                database.name.clone(),
                JobError::DirectoryTaken {
                    database: database.name,
                    server: server.name.clone(),
                    directory: database.directory.display().to_string(),
                    owner,
                },
            )),
        }
    }
    Ok((found, refused))
}

/// The databases of a server, which is asked for them where the configuration says so.
pub(super) async fn databases_of(
    context: &JobContext,
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

/// The directories of backups: of all databases that are configured, or of those that are named. A
/// name may say the server: `reports/audit`. Of a server whose databases are discovered, every
/// directory that holds backups counts, also that of a database that is gone; and to whoever names the
/// database, one that held backups once.
///
/// # Errors
/// When a named one is not configured, or can mean two; or the directory of the only server cannot
/// be read.
pub fn backup_directories(
    context: &JobContext,
    plan: &Plan,
    wanted: &[String],
) -> Result<BackupDirectories, JobError> {
    let mut answers = Vec::new();
    for server in &plan.servers {
        let mut answer = Answer::of(server);
        let held = if wanted.is_empty() {
            Held::Now
        } else {
            Held::Ever
        };
        match looked_at(context, (plan, server), held) {
            Ok((found, silence)) => (answer.found, answer.silence) = (found, silence),
            Err(error) if plan.servers.len() == 1 => return Err(error),
            Err(why) => answer.silence.push(Silence::Directories(why)),
        }
        answers.push(answer);
    }
    let name = |backup_directory: &BackupDirectory| backup_directory.database.clone();
    let (found, failures) = keep_wanted(plan, answers, wanted, name)?;
    Ok(BackupDirectories { found, failures })
}

/// The directories of one server's backups.
///
/// # Errors
/// When the directory that holds them cannot be read.
pub fn backup_directories_on(
    context: &JobContext,
    plan: &Plan,
    server: &Server,
) -> Result<BackupDirectories, JobError> {
    let (found, silence) = looked_at(context, (plan, server), Held::Now)?;
    Ok(BackupDirectories {
        found,
        failures: silence.into_iter().map(|one| one.of(server)).collect(),
    })
}

/// When a directory has to have held backups, to be one of a database that is discovered.
#[derive(Clone, Copy)]
enum Held {
    /// Now.
    Now,
    /// At any time, by its ledger.
    Ever,
}

/// Looks for the directories of one server's backups; gives also those that cannot be looked at.
fn looked_at(
    context: &JobContext,
    (plan, server): (&Plan, &Server),
    held: Held,
) -> Result<(Vec<BackupDirectory>, Vec<Silence>), JobError> {
    let backup_directory = |database: String, repository: Repository| BackupDirectory {
        server: Some(server.name.clone()),
        label: plan.label(&server.name, &database),
        database,
        repository,
    };
    match &server.databases {
        Databases::Named(databases) => {
            let named = databases.iter();
            let backup_directories =
                named.map(|one| backup_directory(one.name.clone(), Repository::at(&one.directory)));
            Ok((backup_directories.collect(), Vec::new()))
        }
        Databases::All(_) => {
            let (mut backup_directories, mut silence) = (Vec::new(), Vec::new());
            let mut patience = PATIENCE;
            for path in directories_of(plan, server)? {
                let repository = Repository::at(&path);
                let looking = responsiveness::outlast(&path, patience, move |path| {
                    database_in(&Repository::at(path), held)
                });
                let looked = looking.unwrap_or_else(|error| {
                    // Where one hangs, others may: they are not waited for as long.
                    patience = HASTE;
                    Err(unanswered(&path, &error))
                });
                match looked {
                    Ok(Some(database)) => {
                        backup_directories.push(backup_directory(database, repository));
                    }
                    Ok(None) => {}
                    Err(why) => silence.push(Silence::Directory(path, why)),
                }
            }
            Ok((backup_directories, silence))
        }
        Databases::FromEnvironment => {
            let database = from_environment(context, server)?;
            let repository = Repository::at(server.directory_for(&database));
            Ok((vec![backup_directory(database, repository)], Vec::new()))
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

pub(super) fn from_environment(context: &JobContext, server: &Server) -> Result<String, JobError> {
    let conninfo = Conninfo::resolve(&server.connection, &context.environment, None)?;
    Ok(conninfo.database().to_owned())
}

/// The directories below that of a server whose databases are discovered, without what is another
/// server's by name.
///
/// # Errors
/// When that directory is there and cannot be read.
pub(super) fn directories_of(plan: &Plan, server: &Server) -> Result<Vec<PathBuf>, JobError> {
    let mut found = directories_below(&server.directory)?;
    found.retain(|path| !is_another_server_s(plan, server, path));
    Ok(found)
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
fn directories_below(directory: &Path) -> Result<Vec<PathBuf>, JobError> {
    let failed = |source: io::Error| {
        JobError::failed(format!(
            "cannot read the directory {}: {source}{}",
            directory.display(),
            advice(&source)
        ))
    };
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        // Where another file system is mounted on it, that one is not asked: it may hang.
        let is_directory = match entry.file_type() {
            Ok(kind) if !kind.is_symlink() => kind.is_dir(),
            _ => path.is_dir(),
        };
        if is_directory {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn unanswered(directory: &Path, error: &io::Error) -> JobError {
    JobError::Failed {
        message: format!("cannot look at {}: {error}", directory.display()),
        detail: None,
        may_pass: true,
    }
}

/// The database whose backups a directory holds, as its newest manifest says; else whose it held, as its ledger says.
fn database_in(repository: &Repository, held: Held) -> Result<Option<String>, JobError> {
    let mut catalogue = repository.catalogue()?;
    Ok(match catalogue.backups.pop() {
        Some(newest) => Some(newest.database),
        // Where no manifest can be read, backups may be lost: that must be heard of.
        None if catalogue.problems.iter().any(Problem::is_of_a_backup) => {
            let name = repository.directory().file_name().unwrap_or_default();
            Some(name.to_string_lossy().into_owned())
        }
        None => match held {
            Held::Now => None,
            Held::Ever => newest_record(repository).map(|newest| newest.database),
        },
    })
}

/// The newest record of a ledger that can be read.
fn newest_record(repository: &Repository) -> Option<Record> {
    let mut newest = None;
    let reading = repository.ledger().read_backwards(|record| {
        newest = Some(record);
        ControlFlow::Break(())
    });
    reading.ok().and(newest)
}

/// Keeps what is named, everything if nothing is; and says what may be missing from it.
fn keep_wanted<T>(
    plan: &Plan,
    mut answers: Vec<Answer<'_, T>>,
    wanted: &[String],
    name: impl Fn(&T) -> String,
) -> Result<(Vec<T>, Vec<JobError>), JobError> {
    if wanted.is_empty() {
        return Ok(everything(answers));
    }
    let names: Vec<Vec<String>> = answers
        .iter()
        .map(|answer| {
            let refused = answer.refused.iter().map(|(name, _)| name.clone());
            answer.found.iter().map(&name).chain(refused).collect()
        })
        .collect();
    let mut chosen: BTreeSet<(usize, &str)> = BTreeSet::new();
    let mut failures = Vec::new();
    {
        let known: Vec<Known<'_>> = answers
            .iter()
            .zip(&names)
            .map(|(answer, names)| Known {
                server: &answer.server.name,
                databases: names.iter().map(String::as_str).collect(),
                may_hold: Box::new(|name| {
                    answer
                        .silence
                        .iter()
                        .any(|one| one.may_hide(answer.server, name))
                }),
            })
            .collect();
        for text in wanted {
            let meant = meant(text, &known).map_err(JobError::NoSuchDatabase)?;
            chosen.extend(meant.found.iter().map(|at| (*at, meant.database)));
            let found: Vec<String> = meant
                .found
                .iter()
                .map(|at| plan.label(known[*at].server, meant.database))
                .collect();
            for at in meant.silent {
                let answer = &answers[at];
                let hiding = answer.silence.iter();
                failures.extend(
                    hiding
                        .filter(|one| one.may_hide(answer.server, meant.database))
                        .map(|one| one.about(answer.server, meant.database, &found)),
                );
            }
        }
    }
    let mut found = Vec::new();
    for (at, answer) in answers.iter_mut().enumerate() {
        let is_chosen = |name: &str| chosen.contains(&(at, name));
        found.extend(answer.found.drain(..).filter(|one| is_chosen(&name(one))));
        let refused = answer.refused.drain(..).filter(|(name, _)| is_chosen(name));
        failures.extend(refused.map(|(_, why)| why));
    }
    Ok((found, failures))
}

/// All that was found, and what may be missing from it.
fn everything<T>(answers: Vec<Answer<'_, T>>) -> (Vec<T>, Vec<JobError>) {
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for answer in answers {
        found.extend(answer.found);
        failures.extend(answer.refused.into_iter().map(|(_, why)| why));
        let silence = answer.silence.into_iter();
        failures.extend(silence.map(|one| one.of(answer.server)));
    }
    (found, failures)
}

impl Silence {
    /// What it means for a run on all databases of the server.
    fn of(self, server: &Server) -> JobError {
        let server = server.name.clone();
        match self {
            Self::Server(why) => JobError::Undiscovered {
                server,
                source: Box::new(why),
            },
            Self::Directories(why) => JobError::Unseen {
                server,
                source: Box::new(why),
            },
            Self::Directory(_, why) => why,
        }
    }

    /// Whether a database of this name may be what could not be seen.
    fn may_hide(&self, server: &Server, database: &str) -> bool {
        match (self, &server.databases) {
            (Self::Directory(directory, _), _) => *directory == server.directory_for(database),
            (Self::Server(_), Databases::All(selection)) => selection.matches(database),
            // There may be backups of what is excluded now.
            (Self::Server(_) | Self::Directories(_), _) => true,
        }
    }

    /// That a database which was named may be here too, besides those that were `found`.
    fn about(&self, server: &Server, database: &str, found: &[String]) -> JobError {
        let (what, why) = match self {
            Self::Server(why @ JobError::Connect(error)) if error.is_transient() => {
                ("did not answer", why)
            }
            Self::Server(why) => ("could not be asked for its databases", why),
            Self::Directories(why) => ("has a directory that cannot be read", why),
            Self::Directory(_, why) => ("has a directory of backups that cannot be read", why),
        };
        JobError::MayHold {
            server: server.name.clone(),
            what,
            database: database.to_owned(),
            found: found.to_vec(),
            cause: why.to_string(),
        }
    }
}
