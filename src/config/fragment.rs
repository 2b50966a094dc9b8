//! The configuration as written: what one file or one variable may say, all of it optional.
//!
//! The comments on the fields are the descriptions of the JSON schema.

mod alerts;
mod connection;
mod databases;
mod destinations;
mod jobs;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::plan::{Compression, EncryptionScope, Format};
use super::scalar::{
    AbsolutePath, AgeLimit, Count, CredentialName, DatabaseName, Delay, Factor, HostName, Keep,
    LibraryName, ListenAddress, Pattern, Percentage, Share, Size, Sizes, TimeSpan, Word, Zone,
};
use crate::telemetry::Level;

pub(super) use alerts::{AlertFragment, ChannelType, Template};
pub(super) use connection::ConnectionFragment;
pub(super) use databases::{DatabaseFragment, DatabaseList};
pub(super) use destinations::{CopyRetentionFragment, CredentialsFrom, DestinationFragment};
pub(super) use jobs::{BlackoutList, JobFragment, Kind};

/// Threads and connections beyond which more only do harm.
pub(super) const MOST_THREADS: u32 = 64;

/// Runs at the same time beyond which a server has no connections left.
pub(super) const MOST_RUNS: u32 = 1000;

/// Days of a log beyond which nobody reads it.
pub(super) const MOST_LOG_FILES: u32 = 3660;

/// The configuration of pgbackupd.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[schemars(title = "pgbackupd.toml")]
#[serde(deny_unknown_fields)]
pub(crate) struct Fragment {
    /// This host's name at the destinations.
    pub(super) name: Option<HostName>,
    /// The database to back up, when there is one.
    pub(super) database: Option<DatabaseName>,
    /// The databases to back up: a list of names, or of tables with a name and settings of its own,
    /// or "all" for every database of the server.
    pub(super) databases: Option<DatabaseList>,
    /// With databases = "all": only databases whose whole name matches one of these patterns.
    pub(super) include: Option<Vec<String>>,
    /// With databases = "all": no database whose whole name matches one of these patterns.
    pub(super) exclude: Option<Vec<String>>,
    /// The zone of the schedules and of the time stamps in file names.
    pub(super) timezone: Option<Zone>,
    /// Under this directory every database has one of its own.
    pub(super) directory: Option<AbsolutePath>,
    /// Where `pg_dump` and its kin are looked for first.
    pub(super) programs: Option<AbsolutePath>,
    /// Windows of the week in which no run starts.
    pub(super) blackout: Option<BlackoutList>,
    /// How the server is reached.
    #[serde(default)]
    pub(super) connection: ConnectionFragment,
    /// Further servers, by a name of your own.
    #[serde(default)]
    pub(super) servers: BTreeMap<String, ServerFragment>,
    /// How a dump is made.
    #[serde(default)]
    pub(super) dump: DumpFragment,
    /// How long anything may take.
    #[serde(default)]
    pub(super) limits: LimitsFragment,
    /// Where and how test restores are made.
    #[serde(default)]
    pub(super) drill: DrillFragment,
    /// How the daemon runs.
    #[serde(default)]
    pub(super) daemon: DaemonFragment,
    /// When a run that failed for a reason that may pass is tried again.
    #[serde(default)]
    pub(super) retry: RetryFragment,
    /// What the backups are measured against.
    #[serde(default)]
    pub(super) objectives: ObjectivesFragment,
    /// What counts as odd in a backup, measured against those before it.
    #[serde(default)]
    pub(super) anomaly: AnomalyFragment,
    /// What surrounds a restore.
    #[serde(default)]
    pub(super) restore: RestoreFragment,
    /// What the daemon's log tells.
    #[serde(default)]
    pub(super) logs: LogsFragment,
    /// Where metrics go.
    #[serde(default)]
    pub(super) metrics: MetricsFragment,
    /// The page for the browser.
    #[serde(default)]
    pub(super) web: WebFragment,
    /// What is kept whatever the rules of the series say.
    #[serde(default)]
    pub(super) retention: RetentionFragment,
    /// What each series of backups keeps. A series without any rule keeps everything.
    #[serde(default)]
    pub(super) series: BTreeMap<String, SeriesFragment>,
    /// What runs, and when, by a name of your own.
    #[serde(default)]
    pub(super) jobs: BTreeMap<String, JobFragment>,
    /// Where alerts go, by a name of your own.
    #[serde(default)]
    pub(super) alerts: BTreeMap<String, AlertFragment>,
    /// To whom copies and backups are encrypted.
    #[serde(default)]
    pub(super) encryption: EncryptionFragment,
    /// Places off this machine where copies go, by a name of your own.
    #[serde(default)]
    pub(super) destinations: BTreeMap<String, DestinationFragment>,
    /// Reports that are sent: daily, weekly, monthly.
    #[serde(default)]
    pub(super) reports: BTreeMap<String, ReportFragment>,
}

/// To whom copies and backups are encrypted, and whose signatures on copies count.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EncryptionFragment {
    /// Public keys, as "age1…" or "ssh-ed25519 AAAA…": who has one of their secret halves can read what is
    /// encrypted.
    pub(super) recipients: Option<Vec<String>>,
    /// What is encrypted: "copies", or "all", the backups on this host too.
    pub(super) scope: Option<Word<EncryptionScope>>,
    /// Whose copies count besides this host's own: lines as in OpenSSH's `allowed_signers`. `pgbackupd key show`
    /// prints the line of a host.
    pub(super) trusted_signers: Option<Vec<String>>,
    /// A file with the key that signs this host's copies: an OpenSSH private key of type ed25519 without a
    /// passphrase. By default a key is made in the state directory.
    pub(super) signer_file: Option<AbsolutePath>,
    /// The same as a credential that systemd hands to the service: its name.
    pub(super) signer_credential: Option<CredentialName>,
}

/// A further server.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ServerFragment {
    /// The database to back up, when there is one.
    pub(super) database: Option<DatabaseName>,
    /// The databases to back up: a list, or "all".
    pub(super) databases: Option<DatabaseList>,
    /// With databases = "all": only databases whose whole name matches one of these patterns.
    pub(super) include: Option<Vec<String>>,
    /// With databases = "all": no database whose whole name matches one of these patterns.
    pub(super) exclude: Option<Vec<String>>,
    /// Under this directory each of the server's databases has one of its own; by default the
    /// server's name under the main directory.
    pub(super) directory: Option<AbsolutePath>,
    /// How the server is reached.
    #[serde(default)]
    pub(super) connection: ConnectionFragment,
    /// How dumps of this server differ from `[dump]`.
    #[serde(default)]
    pub(super) dump: DumpFragment,
}

/// How a dump is made.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DumpFragment {
    /// The shape of the dump.
    pub(super) format: Option<Word<Format>>,
    /// How it is compressed.
    pub(super) compression: Option<Word<Compression>>,
    /// The compressor's level: 1 to 12 for gzip, 1 to 19 for zstd.
    pub(super) level: Option<Count<255>>,
    /// Threads that compress; by default one per core, four at most.
    pub(super) threads: Option<Count<MOST_THREADS>>,
    /// Connections that dump at the same time, in directory format, and that restore, in every
    /// format.
    pub(super) jobs: Option<Count<MOST_THREADS>>,
    /// Whether roles and tablespaces of the cluster are part of the backup.
    pub(super) globals: Option<bool>,
}

/// How long anything may take.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitsFragment {
    /// For a connection to be made.
    pub(super) connect: Option<TimeSpan>,
    /// For a lock that another session holds.
    pub(super) lock_wait: Option<TimeSpan>,
    /// For `pg_dump`, from its start to its end.
    pub(super) dump: Option<TimeSpan>,
    /// For one run: a backup with its reading back, a verify run, a drill or a restore.
    pub(super) total: Option<TimeSpan>,
    /// Free space in the backup directory below which a run warns.
    pub(super) free_space: Option<Size>,
}

/// Where and how test restores are made.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DrillFragment {
    /// The directory in which temporary clusters get theirs; its file system needs room for the
    /// largest database.
    pub(super) directory: Option<AbsolutePath>,
    /// Connections that load at the same time; of SQL text, it is the indexes that several make.
    pub(super) jobs: Option<Count<MOST_THREADS>>,
    /// Whether no dump is loaded where the kernel cannot keep what it carries out from the user's
    /// files and from the network. Else it is, and the report says so.
    pub(super) require_confinement: Option<bool>,
    /// Libraries that a temporary cluster loads when it starts, besides those that the manifest of a
    /// backup tells of. They get no background worker.
    pub(super) preload: Option<Vec<LibraryName>>,
    /// Whether the daemon loads the definitions of a backup, without its rows, the night they change.
    pub(super) definitions: Option<bool>,
    /// A file with the identity that opens encrypted backups for drills, of age or OpenSSH, without a passphrase.
    /// Whoever holds this host can then read the backups.
    pub(super) identity_file: Option<AbsolutePath>,
    /// The same as a credential that systemd hands to the service, by its name.
    pub(super) credential: Option<CredentialName>,
}

/// How the daemon runs.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DaemonFragment {
    /// Runs at the same time, in all.
    pub(super) concurrency: Option<Count<MOST_RUNS>>,
    /// Runs at the same time on the databases of one server.
    pub(super) concurrency_per_server: Option<Count<MOST_RUNS>>,
    /// What was missed while it was off is caught up after a random delay of so much at most.
    pub(super) catch_up_delay: Option<Delay>,
    /// Where it tells what it does now.
    pub(super) runtime_directory: Option<AbsolutePath>,
    /// Where it remembers what it must know after a restart.
    pub(super) state_directory: Option<AbsolutePath>,
}

/// When a run that failed for a reason that may pass is tried again.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RetryFragment {
    /// The pause after the first try; every further one is twice as long.
    pub(super) first: Option<TimeSpan>,
    /// No pause is longer.
    pub(super) longest: Option<TimeSpan>,
}

/// What the backups are measured against.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ObjectivesFragment {
    /// The newest sound backup of a database is no older than this.
    pub(super) recovery_point: Option<TimeSpan>,
    /// So much later than its slot, or than the recovery point, a backup may be there.
    pub(super) grace: Option<Delay>,
    /// A backup is done within this, or within what is usual for it.
    pub(super) backup_time: Option<TimeSpan>,
    /// A restore is done within this.
    pub(super) recovery_time: Option<TimeSpan>,
    /// The newest test restore of a database that came to a result is no older than this; "off" for
    /// no limit.
    pub(super) drill_age: Option<AgeLimit>,
    /// How old the newest backup may be that has no copy at a destination that takes it.
    pub(super) copy_age: Option<TimeSpan>,
    /// How long ago the newest copy of a series may have been proved; "off" for no limit.
    pub(super) copy_proof_age: Option<AgeLimit>,
    /// The newest rehearsal at a destination with encrypted copies is no older than this; "off" for no limit.
    pub(super) rehearsal_age: Option<AgeLimit>,
    /// So many of the slots have a backup, over 30 and over 90 days. A report has it.
    pub(super) success_rate: Option<Percentage>,
    /// A backup's size is within this range. A report has it.
    pub(super) size: Option<Sizes>,
}

/// What counts as odd in a backup, measured against those before it.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AnomalyFragment {
    /// A backup this many times as large as usual is odd; one that has shrunk is at half of the way.
    pub(super) factor: Option<Factor>,
    /// A table that has lost more than this share of its rows is odd.
    pub(super) share: Option<Share>,
    /// Tables whose rows are not watched: patterns of `schema.table`, or of `database.schema.table`.
    pub(super) ignore: Option<Vec<String>>,
}

/// When a report is sent, and where to.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReportFragment {
    /// When, as a crontab pattern; by default at 08:00, on Sundays, or on the first of the month.
    pub(super) schedule: Option<Pattern>,
    /// The channels that it is sent to, as `[alerts.NAME]` names them.
    pub(super) channels: Option<Vec<String>>,
}

/// What surrounds a restore.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RestoreFragment {
    /// The command that stops the application before a database is replaced: the program and its
    /// arguments. No shell reads it.
    pub(super) stop: Option<Vec<String>>,
    /// The command that starts the application again, run however the restore has ended.
    pub(super) start: Option<Vec<String>>,
    /// So long may either take.
    pub(super) timeout: Option<TimeSpan>,
}

/// What the daemon's log tells.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LogsFragment {
    /// The least weighty entries that are logged: error, warn, info, debug or trace.
    pub(super) level: Option<Word<Level>>,
    /// A file for the log besides journald, one JSON object a line; each day has its own.
    pub(super) file: Option<AbsolutePath>,
    /// So many days of it are kept.
    pub(super) files: Option<Count<MOST_LOG_FILES>>,
}

/// Where metrics go.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MetricsFragment {
    /// A file for the textfile collector of Prometheus's node exporter, such as
    /// /var/lib/prometheus/node-exporter/pgbackupd.prom; every user can read it.
    pub(super) file: Option<AbsolutePath>,
}

/// The page for the browser; off by default.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WebFragment {
    /// A loopback address with its port, such as 127.0.0.1:8432, or the path of a Unix socket, such as
    /// /run/pgbackupd/web.sock.
    pub(super) listen: Option<ListenAddress>,
}

/// What is kept whatever the rules say.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RetentionFragment {
    /// So many verified backups of each database and series are never removed.
    pub(super) floor: Option<Count<{ u32::MAX }>>,
    /// No backup is removed before these destinations have a copy of it.
    pub(super) require_copies: Option<Vec<String>>,
}

/// What a series keeps: whatever any of its rules keeps.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SeriesFragment {
    /// Backups younger than this; false takes a rule by age away.
    pub(super) keep: Option<Keep>,
    /// The newest so many.
    pub(super) keep_last: Option<Count<{ u32::MAX }>>,
    /// The newest of each of the last so many days that have one.
    pub(super) keep_daily: Option<Count<{ u32::MAX }>>,
    /// The newest of each of the last so many weeks that have one.
    pub(super) keep_weekly: Option<Count<{ u32::MAX }>>,
    /// The newest of each of the last so many months that have one.
    pub(super) keep_monthly: Option<Count<{ u32::MAX }>>,
    /// The newest of each of the last so many years that have one.
    pub(super) keep_yearly: Option<Count<{ u32::MAX }>>,
}
