//! What is known of a database and of the room for its backups, and what is asked of them: all that a
//! judgement rests on.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, FixedOffset, Utc};

use crate::display::{database_option, with_identity};
use crate::policy::anomaly::{OddSize, Sensitivity};
use crate::policy::continuity::Loss;
use crate::policy::copying::CopyFacts;
use crate::policy::definitions::DefinitionsResult;
use crate::policy::overdue::{DrillMissed, drill_age};
use crate::policy::series::Series;
use crate::policy::size_range::SizeRange;
use crate::policy::slots::SuccessRate;

/// What is asked of every database (P18).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// How old the newest sound backup of a database may be.
    pub recovery_point: Duration,
    /// How much later than its slot, or than these ages, anything may be before it is a matter of
    /// concern.
    pub grace: Duration,
    /// How long a backup may take, where longer is not usual.
    pub backup_time: Duration,
    /// How long a restore may take.
    pub recovery_time: Duration,
    /// From where on a change is odd.
    pub sensitivity: Sensitivity,
    /// How old the newest test restore with a result may be; none for no limit.
    pub drill_age: Option<Duration>,
    /// How old the newest backup may be that has no copy at a destination that takes it.
    pub copy_age: Duration,
    /// How long ago the newest copy of a series may have been proved; none for no limit.
    pub copy_proof_age: Option<Duration>,
    /// How old the newest rehearsal at a destination with encrypted copies may be; none for no limit.
    pub rehearsal_age: Option<Duration>,
    /// How many slots have to be done; a line of reports.
    pub success_rate: SuccessRate,
    /// Which sizes a backup may have; a line of reports, where it is wanted.
    pub size: Option<SizeRange>,
}

impl Expectation {
    /// Why a database's newest test restore is not new enough, or none where it is; see
    /// [`drill_age`].
    pub fn missed_drill(
        self,
        newest_result: Option<DateTime<Utc>>,
        backups_since: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Option<DrillMissed> {
        let limit = self.drill_age?;
        drill_age(newest_result, backups_since, now, limit, self.grace)
    }
}

/// What is known of one database. All moments are on the wall clock of the plan's zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseFacts {
    /// Its server's name in the configuration.
    pub server: String,
    /// The database.
    pub database: String,
    /// How it is shown, and named on the command line: with its server where there are several.
    pub label: String,
    /// Where its backups stand.
    pub directory: PathBuf,
    /// Whether it was found by its directory, rather than named by the configuration.
    pub discovered: bool,
    /// Every series that a job makes, that has backups, or that the ledger knows of.
    pub series: Vec<SeriesFacts>,
    /// The newest verification.
    pub verification: VerificationFacts,
    /// How the newest clean-up failed, if it did.
    pub prune: Option<Failing>,
    /// The newest test restore.
    pub drill: DrillFacts,
    /// The newest trial of definitions; none where that is off, or a test restore has shown more since.
    pub definitions: Option<DefinitionsFacts>,
    /// Backups whose last check found them damaged: name, and what is wrong.
    pub damaged: Vec<(String, String)>,
    /// Backups whose last test restore failed although their files are whole: name, and why.
    pub unrestorable: Vec<(String, String)>,
    /// Encrypted backups, which an identity opens.
    pub encrypted: BTreeSet<String>,
    /// Whether an identity for drills is configured.
    pub has_drill_identity: bool,
    /// Damaged backups that were put aside: directory, and what is wrong.
    pub quarantined: Vec<(PathBuf, String)>,
    /// A restore that was cut short, and what there is to know of it.
    pub restore: Option<String>,
    /// Manifests that speak for no backup: file, and what is wrong.
    pub unreadable: Vec<(String, String)>,
    /// Backups whose manifest is lost although their dump stands: name, and the dump's file.
    pub lost_manifests: Vec<(String, String)>,
    /// Backups whose state cannot be used: name, and what is wrong.
    pub lost_states: Vec<(String, String)>,
    /// What was there before and is not any more.
    pub losses: Vec<Loss>,
    /// The copies, by destination.
    pub copies: Vec<CopyFacts>,
}

impl DatabaseFacts {
    /// The command that makes a drill by hand, with these options first.
    pub(super) fn drill_command(&self, options: &str) -> String {
        let command = format!("pgbackupd drill {options}{}", database_option(&self.label));
        with_identity(
            command,
            !self.encrypted.is_empty() && !self.has_drill_identity,
        )
    }

    /// Whether something is overdue that nobody has tried or is trying.
    pub fn is_late(&self) -> bool {
        let verification = &self.verification;
        let is_late = |series: &SeriesFacts| {
            series.overdue.is_some() && !series.running && series.failing.is_none()
        };
        self.series.iter().any(is_late)
            || (verification.overdue.is_some()
                && !verification.running
                && verification.failing.is_none())
            || (self.drill.overdue.is_some() && !self.drill.running && self.drill.failing.is_none())
    }
}

/// What is known of one series of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesFacts {
    /// The series.
    pub series: Series,
    /// Whether a job makes it.
    pub scheduled: bool,
    /// When the run of its newest sound backup started.
    pub newest: Option<DateTime<FixedOffset>>,
    /// The slot of its schedule whose backup is overdue.
    pub overdue: Option<DateTime<FixedOffset>>,
    /// Whether it is being made now.
    pub running: bool,
    /// Since when, where that is known.
    pub running_since: Option<DateTime<FixedOffset>>,
    /// How long the last ones took, oldest first.
    pub took: Vec<Duration>,
    /// How its newest runs failed, if they did.
    pub failing: Option<Failing>,
    /// That the newest intact backup has an odd size, if it has.
    pub odd_size: Option<OddSize>,
    /// Why its newest run did not start, if that was later than all others.
    pub skipped: Option<String>,
}

#[cfg(test)]
impl SeriesFacts {
    /// One with nothing wrong; every series but `manual` has a schedule.
    pub(crate) fn on_schedule(name: &str, newest: Option<DateTime<FixedOffset>>) -> Self {
        Self {
            series: name.parse().unwrap(),
            scheduled: name != Series::MANUAL,
            newest,
            overdue: None,
            running: false,
            failing: None,
            running_since: None,
            took: Vec::new(),
            odd_size: None,
            skipped: None,
        }
    }
}

/// What is known of a database's verification.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerificationFacts {
    /// The slot of its schedule whose verification is overdue.
    pub overdue: Option<DateTime<FixedOffset>>,
    /// When the newest one ended.
    pub last: Option<DateTime<FixedOffset>>,
    /// Whether one is going on now.
    pub running: bool,
    /// How the newest one failed for another reason than damage, if it did.
    pub failing: Option<Failing>,
    /// Backups that the newest one did not reach in time.
    pub left: u64,
}

/// What is known of a database's test restores.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DrillFacts {
    /// The slot of its schedule whose test restore is overdue.
    pub overdue: Option<DateTime<FixedOffset>>,
    /// When the newest one ended.
    pub last: Option<DateTime<FixedOffset>>,
    /// When the newest one ended that came to a result: it restores, or it does not. One that could
    /// not be made has none.
    pub result: Option<DateTime<FixedOffset>>,
    /// Since when the database is known to have backups; none where there is none to restore.
    pub backups_since: Option<DateTime<FixedOffset>>,
    /// Whether one is going on now.
    pub running: bool,
    /// Since when, where that is known.
    pub running_since: Option<DateTime<FixedOffset>>,
    /// How long the last ones took as a whole, oldest first.
    pub took: Vec<Duration>,
    /// How the newest one failed, if it did.
    pub failing: Option<Failing>,
    /// How long it took to have the data back in the newest one that came through.
    pub recovery: Option<Duration>,
}

/// What is known of the definitions of a database's backups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefinitionsFacts {
    /// The backup whose definitions were tried last.
    pub backup: String,
    /// When.
    pub at: DateTime<FixedOffset>,
    /// What came of it.
    pub result: DefinitionsResult,
    /// That in words.
    pub message: String,
}

/// Runs that failed since the last one that succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failing {
    /// When the newest of them ended.
    pub at: DateTime<FixedOffset>,
    /// How many they are.
    pub runs: u64,
    /// What the newest of them said.
    pub message: String,
}

/// A file system with backups on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpaceFacts {
    /// A directory on it.
    pub directory: PathBuf,
    /// Bytes free for an unprivileged user.
    pub free: u64,
    /// Bytes that `limits.free_space` asks for.
    pub wanted: u64,
    /// Databases that have backups there.
    pub databases: u64,
    /// Bytes of one more backup of each of them, as large as its newest.
    pub round: u64,
    /// In how many days it is full, by what is scheduled and what retention removes; none if it lasts for
    /// all days that are looked at.
    pub full_in_days: Option<u64>,
}

impl SpaceFacts {
    /// For how many more backups of each database the free space lasts, if nothing is removed; none
    /// where there is no backup to measure by.
    pub fn rounds(&self) -> Option<u64> {
        self.free.checked_div(self.round)
    }
}
