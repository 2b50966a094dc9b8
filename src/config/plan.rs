//! The checked plan: what the configuration means once every value in it has been proved sound.

use std::collections::BTreeMap;
use std::num::{NonZeroU8, NonZeroU32};
use std::path::PathBuf;
use std::time::Duration;

use chrono_tz::Tz;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::policy::{Rules, Schedule, Series};

/// Everything the program does, checked. Made only by [`load`](super::load).
#[derive(Clone, Debug)]
pub struct Plan {
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
    /// Where `pg_dump` and its kin are looked for first, when configured.
    pub programs: Option<PathBuf>,
    /// What is sound but deserves a word, one sentence each.
    pub warnings: Vec<String>,
}

/// One `PostgreSQL` server and the databases on it that are backed up.
#[derive(Clone, Debug)]
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
#[derive(Clone, Debug, Default)]
pub struct Connection {
    /// A libpq URI or keyword string, its password cut out (it is in `password` below) and every
    /// keyword known; the single parameters below win over it.
    pub conninfo: Option<String>,
    /// Single parameters by libpq's keyword: `host`, `port`, `user`, `sslmode`, `service`, ….
    /// The setting `service_file` is `servicefile`, as libpq 18 names it.
    pub parameters: BTreeMap<String, String>,
    /// Where the password comes from, when not from libpq's own places.
    pub password: Option<PasswordSource>,
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

/// Which databases of a server are backed up.
#[derive(Clone, Debug)]
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
#[derive(Clone, Debug)]
pub struct Selection {
    /// At least one matches, if there are any.
    pub include: globset::GlobSet,
    /// None matches.
    pub exclude: globset::GlobSet,
}

impl Selection {
    /// Whether a database of this name is chosen.
    pub fn matches(&self, database: &str) -> bool {
        (self.include.is_empty() || self.include.is_match(database))
            && !self.exclude.is_match(database)
    }
}

/// One database to back up.
#[derive(Clone, Debug)]
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
    /// Connections that dump at the same time, in directory format.
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
#[derive(Clone, Debug)]
pub struct Job {
    /// Its name in the configuration: `[jobs.NAME]`.
    pub name: String,
    /// What it does.
    pub kind: JobKind,
    /// When.
    pub schedule: Schedule,
}

/// What a job does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobKind {
    /// Backs up into this series.
    Backup(Series),
    /// Reads backups back and checks them (P8).
    Verify,
    /// Restores a backup into a throw-away server and compares (P9).
    Drill,
    /// Removes what retention no longer keeps (P3).
    Prune,
}

/// What is kept.
#[derive(Clone, Debug)]
pub struct Retention {
    /// So many verified backups per database and series stay whatever the rules say.
    pub floor: NonZeroU32,
    /// The rules of each series; a series without any keeps everything.
    pub series: BTreeMap<Series, Rules>,
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
    /// For a whole backup, reading back included.
    pub total: Duration,
    /// Free space in the backup directory below which a run warns (P14: 10 GB).
    pub free_space: bytesize::ByteSize,
}
