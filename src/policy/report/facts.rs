//! What a report is made from: what the ledgers have of its time, and what is known only now.

use std::time::Duration;

use chrono::{DateTime, FixedOffset};

use super::period::ReportSpan;
use crate::policy::attention::{Expectation, Severity, SpaceFacts};
use crate::policy::copying::CopyFacts;
use crate::policy::series::Series;
use crate::policy::slots::{Slot, SlotTally};

/// All that a report is made from.
#[derive(Clone, Debug)]
pub struct ReportFacts {
    /// The host.
    pub host: String,
    /// When the report is made.
    pub at: DateTime<FixedOffset>,
    /// The time that it is about.
    pub span: ReportSpan,
    /// What the backups are measured against.
    pub objectives: Expectation,
    /// What the ledgers have of each database.
    pub databases: Vec<DatabaseRecord>,
    /// What could not be read, one sentence each.
    pub unread: Vec<String>,
    /// Which kinds of jobs are enabled.
    pub jobs: EnabledJobs,
    /// What is known only now; none for a time in the past.
    pub present: Option<PresentFacts>,
}

/// Which kinds of jobs are enabled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EnabledJobs {
    /// Jobs that verify.
    pub verify: bool,
    /// Jobs that make drills.
    pub drill: bool,
}

/// What is known only now.
#[derive(Clone, Debug)]
pub struct PresentFacts {
    /// The file systems with backups.
    pub spaces: Vec<SpaceFacts>,
    /// The service.
    pub service: ServiceFacts,
    /// What needs attention: how urgent, and the sentence with what it is about.
    pub concerns: Vec<(Severity, String)>,
    /// The configuration.
    pub configuration: ConfigurationFacts,
    /// What is wrong with the files; none where they were not looked at.
    pub audit: Option<AuditFacts>,
    /// Directories with backups that the configuration does not have any more, one sentence each.
    pub unconfigured: Vec<String>,
    /// The copies of each database at each destination.
    pub copies: Vec<ReportedCopies>,
}

/// The copies of a database at a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportedCopies {
    /// The database, as it is shown.
    pub database: String,
    /// What is known of them.
    pub copies: CopyFacts,
    /// Whether something about them needs attention.
    pub needs_attention: bool,
}

/// Whether the service runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceFacts {
    /// Since this moment, as this process.
    Up(DateTime<FixedOffset>, u32),
    /// It does not.
    Down,
    /// That cannot be seen, for this reason.
    Hidden(String),
}

/// What there is to know of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigurationFacts {
    /// Its files.
    pub files: Vec<String>,
    /// When one of them was changed last.
    pub changed: Option<DateTime<FixedOffset>>,
    /// A digest of their texts.
    pub digest: String,
    /// Warnings of `config check`.
    pub warnings: u64,
    /// Whether the service runs with other files than those on the disk; none where that is not known.
    pub is_changed_on_disk: Option<bool>,
}

/// What a look at the owners and modes of all files has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFacts {
    /// So many files and directories were looked at.
    pub looked_at: u64,
    /// What is wrong, one sentence each; the first ones.
    pub wrong: Vec<String>,
    /// How many more are wrong.
    pub more: u64,
    /// Files that look like backups and have no manifest.
    pub untracked: u64,
}

/// What the ledgers have of one database.
#[derive(Clone, Debug, Default)]
pub struct DatabaseRecord {
    /// How it is shown, with its server where there are several.
    pub label: String,
    /// Each series that a job makes, or that has runs in the time of the report.
    pub series: Vec<SeriesRecord>,
    /// Runs that ended in the time of the report, of every kind.
    pub ended: u64,
    /// Those that failed or were interrupted.
    pub failures: Items<Failure>,
    /// Verify runs.
    pub verified: Ran,
    /// Backups that verify runs found damaged.
    pub damaged: u64,
    /// Runs after which retention removed what it no longer keeps: backups and prune runs.
    pub pruned: Ran,
    /// What retention removed here and at destinations: the backup, and why.
    pub removed: Items<Entry>,
    /// Copies that were made: the backup, where to, and how far the copy was proved.
    pub copied: Items<Entry>,
    /// Drills.
    pub drills: Items<Drill>,
    /// What somebody asked for, rather than a schedule.
    pub requests: Items<Entry>,
    /// What has changed: definitions, pins, quarantine.
    pub changes: Items<Entry>,
    /// When the first record was written, where the ledger was read to its beginning.
    pub first: Option<DateTime<FixedOffset>>,
    /// When the run of the newest backup up to the end of the time started.
    pub newest: Option<DateTime<FixedOffset>>,
    /// How long it took to have the data back in the newest drill that measured it.
    pub recovery_time: Option<Duration>,
}

/// What the ledger has of one series.
#[derive(Clone, Debug)]
pub struct SeriesRecord {
    /// The series.
    pub series: Series,
    /// Its slots in the time of the report, oldest first.
    pub slots: Vec<Slot>,
    /// Its slots in the 30 days before the end of the time.
    pub month: SlotTally,
    /// Its slots in the 90 days before the end of the time.
    pub quarter: SlotTally,
    /// The newest run in the time that ended.
    pub last: Option<BackupRecord>,
    /// Bytes of the backups before that one, oldest first.
    pub before: Vec<u64>,
}

/// A run that was to make a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupRecord {
    /// When it started, or when its end was recorded.
    pub started: DateTime<FixedOffset>,
    /// The backup; none where none was made.
    pub backup: Option<String>,
    /// Its bytes, where they are on record.
    pub bytes: Option<u64>,
    /// How long it took, where that is on record.
    pub took: Option<Duration>,
    /// What failed.
    pub message: Option<String>,
}

/// Runs of one kind in the time of a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ran {
    /// How many succeeded.
    pub succeeded: u64,
    /// How many did not.
    pub failed: u64,
    /// When the newest ended.
    pub last: Option<DateTime<FixedOffset>>,
}

/// A run that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// When.
    pub at: DateTime<FixedOffset>,
    /// What failed, and why.
    pub what: String,
}

/// A drill that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drill {
    /// When.
    pub at: DateTime<FixedOffset>,
    /// The backup, where one was chosen.
    pub backup: Option<String>,
    /// Whether the backup restores; none where the drill came to no result.
    pub passed: Option<bool>,
    /// How long it took.
    pub took: Option<Duration>,
    /// What there is to know of it.
    pub message: Option<String>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When.
    pub at: DateTime<FixedOffset>,
    /// What.
    pub what: String,
}

/// The newest of many, and how many there are besides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Items<T> {
    /// Those that are kept, oldest first.
    pub kept: Vec<T>,
    /// How many older ones are not.
    pub more: u64,
}

/// So many of each are kept for one database.
const KEPT: usize = 50;

impl<T> Default for Items<T> {
    fn default() -> Self {
        Self {
            kept: Vec::new(),
            more: 0,
        }
    }
}

impl<T> Items<T> {
    /// Takes in one that is older than those before.
    pub fn add_older(&mut self, item: T) {
        if self.kept.len() < KEPT {
            self.kept.insert(0, item);
        } else {
            self.more += 1;
        }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.kept.len() as u64 + self.more
    }
}

impl Ran {
    /// Takes in a run that ended, older than those before.
    pub fn add_older(&mut self, at: DateTime<FixedOffset>, succeeded: bool) {
        self.last.get_or_insert(at);
        if succeeded {
            self.succeeded += 1;
        } else {
            self.failed += 1;
        }
    }
}
