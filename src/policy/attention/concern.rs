//! What can need attention: the kinds of it, how bad each is, and by what it is known while it lasts.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::policy::continuity::Accepted;
use crate::policy::series::Series;

/// How urgent something is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It can wait for working hours.
    Warning,
    /// Data is lost or unprotected, or will be before long.
    Critical,
}

impl Severity {
    /// Its name in output for people and programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// Something that needs attention.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concern {
    /// What it is.
    pub kind: ConcernKind,
    /// How urgent it is.
    pub severity: Severity,
    /// The server's name in the configuration, where it is about one.
    pub server: Option<String>,
    /// The database, where it is about one.
    pub database: Option<String>,
    /// The series of backups, where it is about one.
    pub series: Option<Series>,
    /// What else it is about: a backup, a file, a directory, a table or an operation.
    pub object: Option<String>,
    /// Where the backups of that database are: two servers may each have one of its name.
    pub directory: Option<PathBuf>,
    /// What is wrong with which thing, and the way out, in a sentence.
    pub sentence: String,
}

impl Concern {
    /// A concern about no particular server, as urgent as its kind.
    pub fn new(kind: ConcernKind, sentence: impl Into<String>) -> Self {
        Self {
            kind,
            severity: kind.severity(),
            server: None,
            database: None,
            series: None,
            object: None,
            directory: None,
            sentence: sentence.into(),
        }
    }

    /// The same, about a server.
    #[must_use]
    pub fn of_server(mut self, server: &str) -> Self {
        self.server = Some(server.to_owned());
        self
    }

    /// The same, about a database of that server.
    #[must_use]
    pub fn of_database(mut self, database: &str) -> Self {
        self.database = Some(database.to_owned());
        self
    }

    /// The same, about a series.
    #[must_use]
    pub fn of_series(mut self, series: &Series) -> Self {
        self.series = Some(series.clone());
        self
    }

    /// The same, about a backup, a file, a directory, a table or an operation.
    #[must_use]
    pub fn about(mut self, object: impl Into<String>) -> Self {
        self.object = Some(object.into());
        self
    }

    /// The same, in a directory.
    #[must_use]
    pub fn in_directory(mut self, directory: &Path) -> Self {
        self.directory = Some(directory.to_owned());
        self
    }

    /// The name by which it is known for as long as it lasts, such as `overdue-7f3a91c2b0`: it depends
    /// on the kind, the server, the database, the series and the object, never on the sentence.
    pub fn id(&self) -> String {
        let mut hash = Sha256::new();
        let series = self.series.as_ref().map(Series::as_str);
        let parts = [&self.server, &self.database, &self.object].map(Option::as_deref);
        for part in parts.into_iter().chain([series]) {
            // The lengths keep two neighbours from being taken for two others.
            let length = part.map_or(u64::MAX, |part| part.len() as u64);
            hash.update(length.to_be_bytes());
            hash.update(part.unwrap_or_default());
        }
        let mut id = format!("{}-", self.kind.word().replace('_', "-"));
        for byte in &hash.finalize()[..5] {
            let _ = write!(id, "{byte:02x}");
        }
        id
    }
}

impl From<Accepted> for ConcernKind {
    /// The kind of what can be accepted.
    fn from(what: Accepted) -> Self {
        match what {
            Accepted::Contents => Self::Contents,
            Accepted::Server => Self::OtherServer,
            Accepted::Vanished => Self::Vanished,
            Accepted::Manifest => Self::LostManifest,
        }
    }
}

/// The kinds of what needs attention. Their names are part of the JSON output.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum ConcernKind {
    /// There is no sound backup.
    NoBackup,
    /// The newest sound backup is older than the recovery point allows.
    RecoveryPoint,
    /// A run that its schedule promises has not happened.
    Overdue,
    /// The newest run failed.
    Failed,
    /// A backup is damaged.
    Damaged,
    /// A backup does not restore.
    Unrestorable,
    /// The definitions of the newest backup that was tried do not load.
    DefinitionsDoNotLoad,
    /// A damaged backup was put aside.
    Quarantined,
    /// A manifest speaks for no backup.
    Unreadable,
    /// The manifest of a backup is lost.
    LostManifest,
    /// The state of a backup, its pin and what its last check found, is lost.
    LostState,
    /// The newest backup that was known is gone.
    Vanished,
    /// The newest backups were made of another server than those before.
    OtherServer,
    /// Tables of the database have lost rows, or all of them are gone.
    Contents,
    /// The newest backup of a series has an odd size.
    Size,
    /// A run takes longer than expected.
    Slow,
    /// The newest verification failed.
    VerificationFailed,
    /// A verification that its schedule promises has not happened.
    VerificationOverdue,
    /// A test restore that its schedule promises has not happened.
    DrillOverdue,
    /// The newest test restore with a result is older than it may be.
    DrillAge,
    /// A restore was killed, and nobody has made it again.
    RestoreCutShort,
    /// A test restore took longer than a restore may.
    RecoveryTime,
    /// The free space is small.
    Space,
    /// A directory cannot be looked at.
    Directory,
    /// The server does not have the database.
    NoSuchDatabase,
    /// The server refuses the daemon's connection.
    CannotConnect,
    /// The daemon's newest configuration is not in force.
    ConfigurationRefused,
    /// Something is overdue, and there is no daemon that would start it.
    NoDaemon,
    /// A channel of alerts takes no message.
    ChannelFails,
    /// Backups have had no copy at a destination for too long.
    CopyOverdue,
    /// Copying to a destination fails.
    CopyFailed,
    /// A copy at a destination is damaged.
    CopyDamaged,
    /// Copies at a destination are gone.
    CopyMissing,
    /// The newest copy of a series was read back too long ago.
    CopyProofAge,
    /// This machine's clock differs from that of a destination.
    ClockOff,
    /// No copy at a destination was opened with an identity for too long.
    RehearsalOverdue,
    /// New backups or copies are encrypted to recipients whose identities have opened none, or not at all.
    RecipientsChanged,
}

impl ConcernKind {
    /// Whether it is about copies at a destination, which is then what the concern is about.
    pub fn is_about_copies(self) -> bool {
        self.word().starts_with("copy_")
    }

    /// All kinds.
    pub const ALL: [Self; 37] = [
        Self::NoBackup,
        Self::RecoveryPoint,
        Self::Overdue,
        Self::Failed,
        Self::Damaged,
        Self::Unrestorable,
        Self::DefinitionsDoNotLoad,
        Self::Quarantined,
        Self::Unreadable,
        Self::LostManifest,
        Self::LostState,
        Self::Vanished,
        Self::OtherServer,
        Self::Contents,
        Self::Size,
        Self::Slow,
        Self::VerificationFailed,
        Self::VerificationOverdue,
        Self::DrillOverdue,
        Self::DrillAge,
        Self::RestoreCutShort,
        Self::RecoveryTime,
        Self::Space,
        Self::Directory,
        Self::NoSuchDatabase,
        Self::CannotConnect,
        Self::ConfigurationRefused,
        Self::NoDaemon,
        Self::ChannelFails,
        Self::CopyOverdue,
        Self::CopyFailed,
        Self::CopyDamaged,
        Self::CopyMissing,
        Self::CopyProofAge,
        Self::ClockOff,
        Self::RehearsalOverdue,
        Self::RecipientsChanged,
    ];

    /// Its name in the configuration and in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::NoBackup => "no_backup",
            Self::RecoveryPoint => "recovery_point",
            Self::Overdue => "overdue",
            Self::Failed => "failed",
            Self::Damaged => "damaged",
            Self::Unrestorable => "unrestorable",
            Self::DefinitionsDoNotLoad => "definitions_do_not_load",
            Self::Quarantined => "quarantined",
            Self::Unreadable => "unreadable",
            Self::LostManifest => "lost_manifest",
            Self::LostState => "lost_state",
            Self::Vanished => "vanished",
            Self::OtherServer => "other_server",
            Self::Contents => "contents",
            Self::Size => "size",
            Self::Slow => "slow",
            Self::VerificationFailed => "verification_failed",
            Self::VerificationOverdue => "verification_overdue",
            Self::DrillOverdue => "drill_overdue",
            Self::DrillAge => "drill_age",
            Self::RestoreCutShort => "restore_cut_short",
            Self::RecoveryTime => "recovery_time",
            Self::Space => "space",
            Self::Directory => "directory",
            Self::NoSuchDatabase => "no_such_database",
            Self::CannotConnect => "cannot_connect",
            Self::ConfigurationRefused => "configuration_refused",
            Self::NoDaemon => "no_daemon",
            Self::ChannelFails => "channel_fails",
            Self::CopyOverdue => "copy_overdue",
            Self::CopyFailed => "copy_failed",
            Self::CopyDamaged => "copy_damaged",
            Self::CopyMissing => "copy_missing",
            Self::CopyProofAge => "copy_proof_age",
            Self::ClockOff => "clock_off",
            Self::RehearsalOverdue => "rehearsal_overdue",
            Self::RecipientsChanged => "recipients_changed",
        }
    }

    /// How urgent it is, where nothing makes it more or less so.
    fn severity(self) -> Severity {
        match self {
            Self::NoBackup
            | Self::RecoveryPoint
            | Self::Damaged
            | Self::Unrestorable
            | Self::DefinitionsDoNotLoad
            | Self::Vanished
            | Self::Contents
            | Self::RestoreCutShort
            | Self::CopyDamaged
            | Self::CopyMissing
            | Self::Directory => Severity::Critical,
            Self::Overdue
            | Self::Failed
            | Self::Quarantined
            | Self::Unreadable
            | Self::LostManifest
            | Self::LostState
            | Self::OtherServer
            | Self::Size
            | Self::Slow
            | Self::VerificationFailed
            | Self::VerificationOverdue
            | Self::DrillOverdue
            | Self::DrillAge
            | Self::RecoveryTime
            | Self::Space
            | Self::NoSuchDatabase
            | Self::CannotConnect
            | Self::ConfigurationRefused
            | Self::NoDaemon
            | Self::ChannelFails
            | Self::CopyOverdue
            | Self::CopyFailed
            | Self::CopyProofAge
            | Self::ClockOff
            | Self::RehearsalOverdue
            | Self::RecipientsChanged => Severity::Warning,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Concern, ConcernKind};

    #[test]
    fn the_id_depends_on_what_it_is_about_and_not_on_the_sentence() {
        let failed = |sentence: &str| Concern::new(ConcernKind::Failed, sentence).of_server("main");
        let daily = "daily".parse().unwrap();
        let all = [
            failed("x"),
            failed("x").of_database("sales"),
            failed("x").of_database("sales").of_series(&daily),
            failed("x").of_database("sales").about("daily"),
            failed("x").of_database("").about("sales"),
            failed("x").about("sales"),
            Concern::new(ConcernKind::Overdue, "x").of_server("main"),
            Concern::new(ConcernKind::Failed, "x")
                .of_server("mai")
                .about("n"),
        ];
        let ids: BTreeSet<String> = all.iter().map(Concern::id).collect();
        assert_eq!(ids.len(), all.len(), "{ids:?}");
        // It is in messages that were sent: it may not change with a release.
        assert_eq!(failed("x").id(), failed("the last 2 runs failed").id());
        assert_eq!(failed("x").id(), "failed-946cf204a0");
    }

    #[test]
    fn the_name_of_a_kind_is_that_of_its_json() {
        for kind in ConcernKind::ALL {
            let json = serde_json::to_value(kind).unwrap();
            assert_eq!(json, kind.word());
        }
        let words: BTreeSet<&str> = ConcernKind::ALL.map(ConcernKind::word).into();
        assert_eq!(words.len(), ConcernKind::ALL.len());
    }
}
