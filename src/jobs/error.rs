//! How a job fails.

use std::io;
use std::path::PathBuf;

use super::limit::Stop;
use crate::copies::{LayoutError, SignerError};
use crate::destination::{DestinationError, DestinationErrorKind};
use crate::display::{one_line, option};
use crate::pipeline::StreamError;
use crate::pipeline::census::StoredCensusError;
use crate::postgres::{
    ChildError, ConnectError, ConninfoError, DumpError, ProgramError, QueryError,
};
use crate::repository::{Event, ManifestError, RepositoryError, advice};
use crate::threads::{NoThread, Panicked, is_exhaustion};

/// Why there is no key that signs for this host.
#[derive(Debug, thiserror::Error)]
pub enum NoSigner {
    /// That in the state directory cannot be used or made.
    #[error("{source}\nhint: the file is {}; put it back from a copy of the state directory, or move it away: \
             then a new key is made, and copies by the old one count only once they are adopted",
            path.display())]
    InState {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: SignerError,
    },
    /// That of the configuration cannot be used.
    #[error("the signing key of [encryption] cannot be used: {0}")]
    Configured(String),
}

/// Why a job failed, in a sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The disk.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The connection is not described well.
    #[error(transparent)]
    Conninfo(#[from] ConninfoError),
    /// The server cannot be reached, or refuses.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The server does not answer a question about the database.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// No program of `PostgreSQL`'s fits the server.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// `pg_dump` cannot make what is wanted.
    #[error(transparent)]
    Dump(#[from] DumpError),
    /// A program cannot be started or ended.
    #[error(transparent)]
    Child(#[from] ChildError),
    /// A program of `PostgreSQL`'s failed.
    #[error("{message}")]
    Failed {
        /// The sentence, without rows.
        message: String,
        /// The program's full output, which may show rows: for a terminal. None where it is in the
        /// sentence.
        detail: Option<String>,
        /// Whether trying again later may help without anybody doing anything.
        may_pass: bool,
    },
    /// The server refused what the backup holds, and would refuse it again.
    #[error("{message}")]
    NotLoaded {
        /// The sentence, without rows.
        message: String,
        /// The program's full output, which may show rows: for a terminal.
        detail: String,
    },
    /// A program of `PostgreSQL`'s found the disk full.
    #[error("{0}")]
    NoSpace(String),
    /// The machine has no more threads or file descriptors for us.
    #[error(
        "{0}\nhint: check how many processes, threads and open files the user and the service may have \
         (`ulimit -u -n`, TasksMax=, LimitNOFILE=), and what else runs here"
    )]
    Exhausted(String),
    /// The stream from a program to the disk, or back.
    #[error("{doing}: {source}")]
    Stream {
        /// What was being done, to which thing.
        doing: String,
        /// Why it failed.
        source: StreamError,
    },
    /// A destination of copies.
    #[error(transparent)]
    Destination(#[from] DestinationError),
    /// The names of a copy make no key.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The key that signs copies.
    #[error(transparent)]
    Signer(#[from] NoSigner),
    /// The job was ended from outside.
    #[error(transparent)]
    Stop(#[from] Stop),
    /// The run could not be recorded; what was done before stands.
    #[error("{done} the run could not be recorded in {ledger}: {source}{}", advice(.source))]
    Unrecorded {
        /// What was done, and a word that leads on.
        done: String,
        /// The ledger's file.
        ledger: String,
        /// Why it could not be written.
        source: io::Error,
    },
    /// A backup is complete and stands, but the ledger does not say so.
    #[error(
        "the backup {backup} is complete, but that could not be recorded in {ledger}: \
         {source}{}",
        advice(.source)
    )]
    UnrecordedBackup {
        /// The backup.
        backup: String,
        /// The ledger's file.
        ledger: String,
        /// Why it could not be written.
        source: io::Error,
    },
    /// A backup that was named is not there.
    #[error("{0}")]
    NoSuchBackup(String),
    /// A backup is encrypted, and no identity was given that opens it.
    #[error("{0}")]
    Encrypted(String),
    /// A database that was named is not configured.
    #[error("{0}")]
    NoSuchDatabase(String),
    /// A pattern that was given means no table of the backup.
    #[error("{0}")]
    NoSuchTable(String),
    /// A server of several could not be asked for its databases.
    #[error("no backup of any database of server {server}: {source}")]
    Undiscovered {
        /// The server's name in the configuration.
        server: String,
        /// Why.
        source: Box<JobError>,
    },
    /// The directory with the backups of one server of several cannot be read.
    #[error("the backups of server {server} cannot be read: {source}")]
    Unseen {
        /// The server's name in the configuration.
        server: String,
        /// Why.
        source: Box<JobError>,
    },
    /// A server that could not be asked, or whose backups could not be looked at, may have a database
    /// that was named.
    #[error(
        "server {server} {what}; it may {}hold {}: {cause}{}",
        if .found.is_empty() { "" } else { "also " },
        one_line(.database),
        one_of(.found)
    )]
    MayHold {
        /// The server's name in the configuration.
        server: String,
        /// What it did not do, as the end of a sentence.
        what: &'static str,
        /// The database, as servers call it.
        database: String,
        /// Where it was found, as `server/database`.
        found: Vec<String>,
        /// Why the server could not be asked.
        cause: String,
    },
    /// A database that was found on a server would get a directory that is not its own.
    #[error(
        "no backup of database {database:?} of server {server}: its directory {directory} belongs \
         to {owner}\nhint: give one of the two servers another directory"
    )]
    DirectoryTaken {
        /// The database.
        database: String,
        /// Its server.
        server: String,
        /// The directory that it would get.
        directory: String,
        /// Whose it is.
        owner: String,
    },
    /// A backup is damaged.
    #[error("{0}")]
    Damaged(String),
    /// A backup holds what a restore does not send.
    #[error("{0}")]
    Refused(String),
    /// A restore failed; what stands then, and why.
    #[error("{standing}: {source}{left}")]
    Restore {
        /// What became of the database that was to be replaced.
        standing: String,
        /// Why it failed.
        source: Box<JobError>,
        /// What is left to be done, if anything is; begins with a line break.
        left: String,
    },
    /// A fault of the program's own.
    #[error("{0}; this is an internal error, please report it")]
    Internal(String),
}

/// The kind of a failure, from which the exit code is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobErrorKind {
    /// A server, a program or a backup that is needed is not there, or failed.
    Unavailable,
    /// A file cannot be written or read.
    CannotCreate,
    /// Another run is at work.
    Busy,
    /// The configuration does not fit what was found.
    Configuration,
    /// A backup is damaged, or holds what a restore does not send.
    Damaged,
    /// Asked to stop.
    Interrupted,
    /// The command names what is not there.
    Usage,
    /// A fault of the program's own.
    Internal,
}

impl JobError {
    /// What kind of failure it is.
    pub fn kind(&self) -> JobErrorKind {
        match self {
            Self::Repository(error) => kind_on_disk(error),
            // The configuration is right, and the password is elsewhere.
            Self::Conninfo(error) if error.is_elsewhere() => JobErrorKind::Unavailable,
            Self::Conninfo(_) | Self::Dump(_) | Self::DirectoryTaken { .. } => {
                JobErrorKind::Configuration
            }
            Self::Undiscovered { source, .. }
            | Self::Unseen { source, .. }
            | Self::Restore { source, .. } => source.kind(),
            Self::Damaged(_) | Self::Refused(_) | Self::NotLoaded { .. } => JobErrorKind::Damaged,
            Self::NoSpace(_) | Self::Unrecorded { .. } | Self::UnrecordedBackup { .. } => {
                JobErrorKind::CannotCreate
            }
            Self::Stream { source, .. } => match source {
                StreamError::Write(_) => JobErrorKind::CannotCreate,
                StreamError::Cancelled => JobErrorKind::Interrupted,
                StreamError::Refused(_) => JobErrorKind::Damaged,
                StreamError::Read(_) | StreamError::Flaw(_) => JobErrorKind::Unavailable,
            },
            Self::Destination(error) => kind_at_destination(error.kind),
            Self::Layout(_) | Self::Signer(NoSigner::Configured(_)) => JobErrorKind::Configuration,
            Self::Signer(NoSigner::InState { .. }) => JobErrorKind::CannotCreate,
            Self::MayHold { .. }
            | Self::Connect(_)
            | Self::Query(_)
            | Self::Program(_)
            | Self::Child(_)
            | Self::Exhausted(_)
            | Self::Failed { .. }
            | Self::Stop(Stop::TimedOut { .. }) => JobErrorKind::Unavailable,
            Self::Stop(Stop::Interrupted) => JobErrorKind::Interrupted,
            Self::NoSuchBackup(_)
            | Self::Encrypted(_)
            | Self::NoSuchDatabase(_)
            | Self::NoSuchTable(_) => JobErrorKind::Usage,
            Self::Internal(_) => JobErrorKind::Internal,
        }
    }

    /// Whether trying again later may help without anybody doing anything: the server is starting
    /// or cannot be reached, a lock is held, another run is at work.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Connect(error) => error.is_transient(),
            Self::Query(error) => error.is_transient(),
            Self::Undiscovered { source, .. } | Self::Restore { source, .. } => source.may_pass(),
            Self::Repository(RepositoryError::Busy { .. })
            | Self::Exhausted(_)
            | Self::Program(ProgramError::Lookup { .. }) => true,
            Self::Child(ChildError::Start { cause: source, .. })
            | Self::Repository(RepositoryError::Io { source, .. }) => is_exhaustion(source),
            Self::Failed { may_pass, .. } => *may_pass,
            Self::Destination(error) => error.kind == DestinationErrorKind::Unavailable,
            _ => false,
        }
    }

    /// What records do not get because it may show rows, for the terminal of whoever is there: the
    /// server's details and context.
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::Failed { detail, .. } => detail.as_deref(),
            Self::NotLoaded { detail, .. } => Some(detail),
            Self::Query(error) => error.detail(),
            Self::Undiscovered { source, .. }
            | Self::Unseen { source, .. }
            | Self::Restore { source, .. } => source.detail(),
            _ => None,
        }
    }

    /// How the ledger calls a run that ended so.
    pub(super) fn event(&self) -> Event {
        match self.kind() {
            JobErrorKind::Interrupted => Event::Interrupted,
            _ => Event::Failed,
        }
    }

    /// A failure that somebody has to do something about.
    pub(super) fn failed(message: impl Into<String>) -> Self {
        Self::Failed {
            message: message.into(),
            detail: None,
            may_pass: false,
        }
    }

    /// The backup that stands although the run failed.
    pub fn standing_backup(&self) -> Option<&str> {
        match self {
            Self::UnrecordedBackup { backup, .. } => Some(backup),
            _ => None,
        }
    }

    /// Of a pipe that cannot be made.
    #[expect(clippy::needless_pass_by_value, reason = "map_err hands it over")]
    pub(super) fn no_pipe(error: io::Error) -> Self {
        Self::Exhausted(format!("cannot make a pipe: {error}"))
    }

    pub(super) fn stream(doing: impl Into<String>) -> impl FnOnce(StreamError) -> Self {
        let doing = doing.into();
        move |source| match source {
            StreamError::Read(error) | StreamError::Write(error) if is_exhaustion(&error) => {
                Self::Exhausted(format!("{doing}: {error}"))
            }
            source => Self::Stream { doing, source },
        }
    }
}

fn kind_at_destination(kind: DestinationErrorKind) -> JobErrorKind {
    match kind {
        DestinationErrorKind::Missing
        | DestinationErrorKind::Denied
        | DestinationErrorKind::Unavailable => JobErrorKind::Unavailable,
        DestinationErrorKind::Full => JobErrorKind::CannotCreate,
        DestinationErrorKind::Exists | DestinationErrorKind::Damaged => JobErrorKind::Damaged,
        DestinationErrorKind::Settings => JobErrorKind::Configuration,
    }
}

fn kind_on_disk(error: &RepositoryError) -> JobErrorKind {
    match error {
        RepositoryError::Busy { .. } => JobErrorKind::Busy,
        RepositoryError::OtherDatabase { .. } => JobErrorKind::Configuration,
        RepositoryError::Io { source, .. } if is_exhaustion(source) => JobErrorKind::Unavailable,
        RepositoryError::Io { .. }
        | RepositoryError::Unsynced { .. }
        | RepositoryError::Taken { .. }
        | RepositoryError::Exists { .. } => JobErrorKind::CannotCreate,
        RepositoryError::Manifest { source, .. } => match source {
            ManifestError::Read(_) => JobErrorKind::CannotCreate,
            // Nothing is known of what it vouches for.
            ManifestError::Newer(_) => JobErrorKind::Unavailable,
            _ => JobErrorKind::Damaged,
        },
        RepositoryError::ReadBack { .. } | RepositoryError::NotTheManifests { .. } => {
            JobErrorKind::Damaged
        }
        RepositoryError::NotItsCheck { .. } => JobErrorKind::Internal,
    }
}

/// How to name one of the databases that were found; nothing if none was.
fn one_of(found: &[String]) -> String {
    if found.is_empty() {
        return String::new();
    }
    let named: Vec<String> = found.iter().map(|name| option("-d", name)).collect();
    let which = if named.len() == 1 { "the one" } else { "one" };
    format!(
        "\nhint: {} names {which} that was found",
        named.join(" or ")
    )
}

impl From<NoThread> for JobError {
    fn from(NoThread(error): NoThread) -> Self {
        Self::Exhausted(format!("cannot start a thread: {error}"))
    }
}

impl From<Panicked> for JobError {
    fn from(error: Panicked) -> Self {
        Self::Internal(format!("a thread of the stream ended: {error}"))
    }
}

/// A task that panicked or was never run.
impl From<tokio::task::JoinError> for JobError {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::Internal(format!("a thread of the stream ended: {error}"))
    }
}

/// In reading the census that stands next to a backup.
pub(super) fn census_damage(error: &StoredCensusError) -> String {
    format!("its census cannot be used: {error}")
}
