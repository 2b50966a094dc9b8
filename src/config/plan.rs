//! The checked plan: what the configuration means once every value in it has been proved sound.

mod alerts;
mod destinations;

use std::collections::BTreeMap;
use std::num::{NonZeroU8, NonZeroU32};
use std::path::PathBuf;
use std::time::Duration;

use chrono_tz::Tz;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::conninfo::{self, ParseError};
use super::listen::Listen;
use crate::allowed_signer::AllowedSigner;
use crate::display::label;
use crate::policy::{
    Blackouts, CopyBudget, Expectation, ReportPeriod, Retry, Rules, Schedule, Sensitivity, Series,
};
use crate::recipient::Recipient;
use crate::telemetry::Level;

pub use alerts::{
    AlertChannel, BodyPart, ChannelWay, EmailChannel, HeaderValue, Payload, PingAbout, PingChannel,
    PingService, Placeholder, SmtpTls, WebhookChannel,
};
pub use destinations::{
    AzureCredentials, AzureSettings, CopyRetention, Destination, DestinationAddress,
    DestinationSettings, GoogleCredentials, GoogleSettings, S3Credentials, S3Settings,
    ServerSideEncryption, SftpSettings,
};

/// Everything the program does, checked. Made only by [`load`](super::load).
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// This host's name at the destinations, where one is configured.
    pub name: Option<String>,
    /// The zone of schedules and of the time stamps in file names (P1: Asia/Riyadh).
    pub zone: Tz,
    /// Under this directory every database has one of its own (P4: `/var/backups`).
    pub directory: PathBuf,
    /// The servers, in the order of their names; `main` is the one that needs no name.
    pub servers: Vec<Server>,
    /// The jobs that are switched on, in the order of their names.
    pub jobs: Vec<Job>,
    /// What is kept, per series.
    pub retention: Retention,
    /// How long anything may take.
    pub limits: Limits,
    /// Where and how test restores are made.
    pub drill: DrillSettings,
    /// How the daemon runs.
    pub daemon: DaemonSettings,
    /// What the daemon's log tells.
    pub logs: Logs,
    /// The file for metrics in the text format of Prometheus, where one is wanted.
    pub metrics: Option<PathBuf>,
    /// Where the page for the browser listens, where one is wanted.
    pub web: Option<Listen>,
    /// What is measured against.
    pub objectives: Expectation,
    /// What counts as odd in a backup.
    pub anomaly: AnomalySettings,
    /// What surrounds a restore.
    pub restore: RestoreSettings,
    /// Where alerts go, in the order of the channels' names.
    pub alerts: Vec<AlertChannel>,
    /// Where copies go, in the order of the destinations' names.
    pub destinations: Vec<Destination>,
    /// To whom copies are encrypted, and backups too if the scope says so.
    pub recipients: Vec<Recipient>,
    /// What is encrypted.
    pub scope: EncryptionScope,
    /// Whose copies count besides this host's own.
    pub trusted_signers: Vec<AllowedSigner>,
    /// Where the key comes from that signs this host's copies, when not from the state directory.
    pub signer: Option<PasswordSource>,
    /// Which reports are sent, the one about the shortest time first.
    pub reports: Vec<ReportPlan>,
    /// Where `pg_dump` and its kin are looked for first, when configured.
    pub programs: Option<PathBuf>,
    /// What is sound but deserves a word, one sentence each.
    pub warnings: Vec<String>,
}

impl Plan {
    /// A database as it is shown, and named on the command line: `server/database` where there are
    /// several servers.
    pub fn label(&self, server: &str, database: &str) -> String {
        label(self.servers.len() > 1, server, database)
    }

    /// Whether the backups on this host are encrypted.
    pub fn encrypts_backups(&self) -> bool {
        self.scope == EncryptionScope::All
    }

    /// Whether a destination gets copies right after each backup: it has no job of its own.
    pub fn is_copied_to_at_once(&self, destination: &Destination) -> bool {
        !self.jobs.iter().any(|job| match &job.kind {
            JobKind::Copy(to) => to.is_empty() || to.contains(&destination.name),
            _ => false,
        })
    }
}

/// One `PostgreSQL` server and the databases on it that are backed up.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// The name in the configuration: `[servers.NAME]`, or `main` for the one without a name.
    pub name: String,
    /// How it is reached.
    pub connection: Connection,
    /// Which databases.
    pub databases: Databases,
    /// Under this directory each of its databases has one of its own.
    pub directory: PathBuf,
    /// How a dump is made, unless the database says otherwise.
    pub dump: DumpSettings,
}

/// How a server is reached: libpq's parameters as configured, not yet completed from libpq's
/// environment, service file and password file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Connection {
    /// By libpq's keyword: `host`, `port`, `user`, `sslmode`, `service`, …. The setting `service_file` is
    /// `servicefile`, as libpq 18 names it. Single settings win over those of a connection string.
    pub parameters: BTreeMap<String, String>,
    /// Where the password comes from, when not from libpq's own places.
    pub password: Option<PasswordSource>,
}

impl Connection {
    /// What a libpq URI or keyword string says.
    ///
    /// # Errors
    /// It is none; the error does not show it, for it may hold a password.
    pub fn from_string(text: &str) -> Result<Self, ParseError> {
        let read = conninfo::parse(text)?;
        Ok(Self {
            parameters: read.parameters,
            password: read
                .password
                .map(|password| PasswordSource::Inline(SecretString::from(password))),
        })
    }
}

/// Where a password comes from.
#[derive(Clone, Debug)]
pub enum PasswordSource {
    /// It stands in the configuration.
    Inline(SecretString),
    /// The first line of a file.
    File(PathBuf),
    /// A credential that systemd hands to the service, by its name.
    Credential(String),
}

impl PartialEq for PasswordSource {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Inline(one), Self::Inline(other)) => {
                one.expose_secret() == other.expose_secret()
            }
            (Self::File(one), Self::File(other)) => one == other,
            (Self::Credential(one), Self::Credential(other)) => one == other,
            _ => false,
        }
    }
}

/// Which databases of a server are backed up.
#[derive(Clone, Debug, PartialEq)]
pub enum Databases {
    /// These.
    Named(Vec<Database>),
    /// Every database that accepts connections and is no template, as found at the time of a run.
    All(Selection),
    /// The one that libpq names (P7): by `PGDATABASE`, by `PGSERVICE`, or by the service that the
    /// server's connection sets.
    FromEnvironment,
}

/// Patterns that choose among a server's databases; each matches a whole name.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    /// At least one matches, if there are any.
    pub include: Patterns,
    /// None matches.
    pub exclude: Patterns,
}

/// Patterns of names, as written and ready to match. Two are equal if they are written alike.
#[derive(Clone, Debug, Default)]
pub struct Patterns {
    written: Vec<String>,
    set: globset::GlobSet,
}

impl Patterns {
    /// Patterns as written, and the set that was made of them.
    pub(super) fn new(written: Vec<String>, set: globset::GlobSet) -> Self {
        Self { written, set }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.written.is_empty()
    }

    /// Whether one of them matches the whole name.
    pub fn is_match(&self, name: &str) -> bool {
        self.set.is_match(name)
    }

    /// Those that match one name alone, the name itself.
    pub fn literal(&self) -> impl Iterator<Item = &str> {
        let has_meaning = |c: char| matches!(c, '*' | '?' | '[' | ']' | '{' | '}' | '\\');
        let written = self.written.iter().map(String::as_str);
        written.filter(move |pattern| !pattern.contains(has_meaning))
    }

    /// The patterns as written.
    pub fn written(&self) -> &[String] {
        &self.written
    }
}

impl PartialEq for Patterns {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

impl Selection {
    /// Whether a database of this name is chosen.
    pub fn matches(&self, database: &str) -> bool {
        (self.include.is_empty() || self.include.is_match(database))
            && !self.exclude.is_match(database)
    }
}

/// What counts as odd in a backup, measured against those before it.
#[derive(Clone, Debug, PartialEq)]
pub struct AnomalySettings {
    /// From where on a change is odd.
    pub sensitivity: Sensitivity,
    /// Tables whose rows are not watched, as `schema.table` or `database.schema.table`.
    pub ignore: Patterns,
}

impl AnomalySettings {
    /// Whether the rows of a table, `schema.table`, are not watched.
    pub fn ignores(&self, database: &str, table: &str) -> bool {
        !self.ignore.is_empty()
            && (self.ignore.is_match(table) || self.ignore.is_match(&format!("{database}.{table}")))
    }
}

/// One database to back up.
#[derive(Clone, Debug, PartialEq)]
pub struct Database {
    /// Its name on the server, exactly.
    pub name: String,
    /// Where its backups stand.
    pub directory: PathBuf,
    /// How its dump is made.
    pub dump: DumpSettings,
}

/// How a dump is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DumpSettings {
    /// The shape of the dump.
    pub format: Format,
    /// How it is compressed.
    pub compression: Compression,
    /// The compressor's level, in its own scale; none for the measured default.
    pub level: Option<u8>,
    /// Threads that compress; none for one per core, four at most.
    pub threads: Option<NonZeroU8>,
    /// Connections that dump at the same time, in directory format, and that restore, in every
    /// format.
    pub jobs: NonZeroU8,
    /// Whether roles and tablespaces of the cluster are part of the backup.
    pub globals: bool,
}

/// The shape of a dump, as `pg_dump --format` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// SQL text, restored with psql (P5).
    Plain,
    /// One archive, restored with `pg_restore`, in parallel if wanted.
    Custom,
    /// A directory of one file a table, dumped and restored in parallel.
    Directory,
}

/// How a dump is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// RFC 1952, readable by zcat (P5).
    Gzip,
    /// RFC 8878, readable by zstd.
    Zstd,
    /// Not at all.
    None,
}

/// What a schedule starts.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Its name in the configuration: `[jobs.NAME]`.
    pub name: String,
    /// What it does.
    pub kind: JobKind,
    /// When.
    pub schedule: Schedule,
    /// So long after its slot a run may still start or be tried again, but never beyond the next
    /// slot.
    pub window: Duration,
    /// A run starts after its slot by a random delay of so much at most.
    pub jitter: Duration,
    /// Whether the newest slot that was missed while the daemon was off is caught up.
    pub catch_up: bool,
    /// When a run that failed for a reason that may pass is tried again.
    pub retry: Retry,
    /// When none of its runs start.
    pub blackouts: Blackouts,
}

/// What a job does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobKind {
    /// Backs up into this series.
    Backup(Series),
    /// Reads backups back and checks them (P8).
    Verify(Verification),
    /// Downloads copies and checks them where they lie (P4).
    VerifyCopies(CopyVerification),
    /// Restores a backup into a temporary cluster and compares (P9).
    Drill(DrillChoice),
    /// Removes what retention no longer keeps (P3).
    Prune,
    /// Copies backups to these destinations, by their names; to all where there are none (P4).
    Copy(Vec<String>),
}

/// Which backups a verification reads, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verification {
    /// Those whose last full check is at least so long ago.
    pub older_than: Duration,
    /// Of each database, it begins no check so long after the first.
    pub budget: Duration,
}

/// Which copies a verification reads, and how much of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyVerification {
    /// The destinations, by their names.
    pub destinations: Vec<String>,
    /// What it may use, of each database and destination.
    pub budget: CopyBudget,
}

impl CopyVerification {
    /// So many bytes it downloads at a destination unless the configuration says otherwise: what a store asks for
    /// that is a few euros.
    pub const USUAL_BYTES: u64 = 100_000_000_000;
}

impl Default for Verification {
    /// Every backup (P8), within a time that leaves the day's other runs theirs.
    fn default() -> Self {
        Self {
            older_than: Duration::ZERO,
            budget: Duration::from_secs(4 * 60 * 60),
        }
    }
}

/// Which backup of a database a test restore takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DrillChoice {
    /// The newest sound one.
    #[default]
    Newest,
    /// Any sound one, by chance, so that all ages are tried over time.
    Random,
}

impl JobKind {
    /// The kind as the configuration writes it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Backup(_) => "backup",
            Self::Verify(_) | Self::VerifyCopies(_) => "verify",
            Self::Drill(_) => "drill",
            Self::Prune => "prune",
            Self::Copy(_) => "copy",
        }
    }

    /// What it does, for a sentence: "verify run of app".
    pub fn noun(&self) -> &'static str {
        match self {
            Self::Backup(_) => "backup",
            Self::Verify(_) => "verify run",
            Self::VerifyCopies(_) => "verify run of copies",
            Self::Drill(_) => "drill",
            Self::Prune => "prune run",
            Self::Copy(_) => "copy",
        }
    }
}

/// What is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Retention {
    /// So many verified backups per database and series stay whatever the rules say.
    pub floor: NonZeroU32,
    /// The rules of each series; a series without any keeps everything.
    pub series: BTreeMap<Series, Rules>,
    /// The destinations that must have a copy of a backup before it may go.
    pub require_copies: Vec<Destination>,
}

impl Retention {
    /// Of each series so many of the newest backups are copied to a destination; to one that must have copies,
    /// all that it takes.
    pub fn backfill(&self, destination: &Destination) -> NonZeroU32 {
        let is_required = self
            .require_copies
            .iter()
            .any(|one| one.name == destination.name);
        if is_required {
            NonZeroU32::MAX
        } else {
            destination.backfill
        }
    }
}

/// What is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EncryptionScope {
    /// Copies at destinations.
    Copies,
    /// The backups on this host too.
    All,
}

/// Where and how test restores are made.
#[derive(Clone, Debug, PartialEq)]
pub struct DrillSettings {
    /// The directory in which temporary clusters get theirs. Its file system needs room for the
    /// largest database.
    pub directory: PathBuf,
    /// Connections that load at the same time; of SQL text, it is the indexes that several make.
    pub jobs: NonZeroU8,
    /// Whether no dump is loaded where the kernel cannot confine what it carries out.
    pub require_confinement: bool,
    /// Libraries that a temporary cluster loads when it starts, besides those that the manifest of a
    /// backup tells of.
    pub preload: Vec<String>,
    /// Whether the daemon loads the definitions of a backup, without its rows, when they have changed.
    pub definitions: bool,
    /// Where the identity comes from that opens encrypted backups for test restores, if there is one.
    pub identity: Option<PasswordSource>,
}

/// How the daemon runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonSettings {
    /// Runs at the same time, in all.
    pub concurrency: NonZeroU32,
    /// Runs at the same time on the databases of one server.
    pub concurrency_per_server: NonZeroU32,
    /// What was missed is caught up after a random delay of so much at most.
    pub catch_up_delay: Duration,
    /// Where it tells what it does, for as long as it runs (tmpfs).
    pub runtime_directory: PathBuf,
    /// Where it remembers what it must know after a restart.
    pub state_directory: PathBuf,
}

/// What the daemon's log tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logs {
    /// The least weighty entries that are logged.
    pub level: Level,
    /// A file for the log besides journald, one JSON object a line; its name without the day.
    pub file: Option<PathBuf>,
    /// So many days of it are kept.
    pub files: NonZeroU32,
}

/// A report that is sent.
#[derive(Clone, Debug, PartialEq)]
pub struct ReportPlan {
    /// Which one.
    pub period: ReportPeriod,
    /// When.
    pub schedule: Schedule,
    /// The names of the channels that it is sent to.
    pub channels: Vec<String>,
}

/// What surrounds a restore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreSettings {
    /// Stops the application, as the words of a command; run before a database is replaced.
    pub stop: Option<Vec<String>>,
    /// Starts it again; run after that, however the restore has ended.
    pub start: Option<Vec<String>>,
    /// So long may either take.
    pub timeout: Duration,
}

/// How long anything may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For a connection to be made.
    pub connect: Duration,
    /// For a lock that another session holds.
    pub lock_wait: Duration,
    /// For `pg_dump`, from its start to its end.
    pub dump: Duration,
    /// For one run: a backup with its reading back, a verify run, a drill or a restore.
    pub total: Duration,
    /// Free space in the backup directory below which a run warns (P14: 10 GB).
    pub free_space: bytesize::ByteSize,
}
