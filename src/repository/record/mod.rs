//! One line of the ledger: what every run has on record, and what each operation has besides.
//!
//! `line.rs` has the form on disk: keys, their order, and which are left out.

mod fields;
mod line;

use chrono::{DateTime, FixedOffset};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::names::Stem;
use super::requester::Requester;
use super::restoration::Restoration;
use crate::policy::{Accepted, CopyState, DefinitionsResult, DefinitionsTrial, Loss, Series};
use fields::Fields;

/// One line of the ledger.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// When it was written, on the wall clock of the schedule's zone.
    pub at: DateTime<FixedOffset>,
    /// The run it belongs to.
    pub run: Uuid,
    /// Its start, or how it ended.
    pub event: Event,
    /// The database.
    pub database: String,
    /// The job whose schedule started it, if one did.
    pub job: Option<String>,
    /// The slot of that schedule: when the run was due.
    pub due: Option<DateTime<FixedOffset>>,
    /// Who asked for it; at the start.
    pub requested_by: Option<Requester>,
    /// How long the run took, in seconds; at the end.
    pub seconds: Option<f64>,
    /// What failed, or what deserves a word.
    pub message: Option<String>,
    /// What is being done, with all that is on record of such an operation only.
    pub details: Details,
    /// What programs of other versions have written of it, which this one does not know.
    unknown: Fields,
}

/// What a run does, with what is on record of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Details {
    /// Makes a backup.
    Backup(BackupDetails),
    /// Reads backups back and checks them.
    Verify(VerifyDetails),
    /// Reads copies at a destination back and checks them.
    VerifyCopies(VerifyCopiesDetails),
    /// Restores a backup into a temporary cluster and compares.
    Drill(DrillDetails),
    /// Loads the definitions of a backup into a temporary cluster, without its rows.
    Definitions(DefinitionsDetails),
    /// Copies a backup to a destination.
    Copy(CopyDetails),
    /// Opens a copy where it lies with an identity, and compares what is in it.
    Rehearse(RehearsalDetails),
    /// Removes what retention no longer keeps.
    Prune {
        /// Backups removed, each with the reasons (P3).
        removed: Vec<Removal>,
    },
    /// Pins a backup.
    Pin(Subject),
    /// Takes the pin off.
    Unpin(Subject),
    /// Moves a damaged backup into the quarantine.
    Quarantine(Subject),
    /// Moves a backup in quarantine back to its place.
    Release {
        /// The backup.
        subject: Subject,
        /// Bytes of all its files but its manifest.
        bytes: Option<u64>,
    },
    /// Accepts, as the operator's word, what was a matter of concern.
    Accept {
        /// The backup.
        backup: Option<String>,
        /// What was accepted of it as it is.
        accepted: Option<Accepted>,
    },
    /// Brings a database back from a backup.
    Restore(RestoreDetails),
    /// Swaps the database that a restore replaced back.
    UndoRestore {
        /// What was to be done and what came of it.
        restoration: Option<Box<Restoration>>,
    },
}

/// What is on record of the making of a backup.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BackupDetails {
    /// The series.
    pub series: Option<Series>,
    /// Why it was asked for.
    pub reason: Option<String>,
    /// The backup that was made.
    pub backup: Option<String>,
    /// Bytes of all its files but its manifest.
    pub bytes: Option<u64>,
    /// Backups removed after it, each with the reasons (P3).
    pub removed: Vec<Removal>,
    /// What the backup has found lost since those before it, or still lost; empty where nothing was. Of
    /// a backup that succeeded, by programs that compare.
    pub lost: Option<Vec<Loss>>,
    /// Whether the backup lacks rows that the server did not give, and so stands for none.
    pub partial: bool,
}

/// What is on record of a verification.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VerifyDetails {
    /// Bytes of all files that were checked.
    pub bytes: Option<u64>,
    /// Backups found damaged, each with what is wrong.
    pub damaged: Vec<Damage>,
    /// How many backups were due and not reached in time; of one that has a budget.
    pub left: Option<u64>,
    /// When the round of checks began that the run is in, and at its end, that it leaves open; of one
    /// that reads what is due.
    pub round: Option<DateTime<FixedOffset>>,
}

/// What is on record of a verification of copies. On a line it is one of a verification with a destination.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VerifyCopiesDetails {
    /// The destination.
    pub destination: String,
    /// Bytes that were downloaded.
    pub bytes: Option<u64>,
    /// Backups whose copies were found damaged, each with what is wrong. Of the backups themselves it says
    /// nothing.
    pub damaged: Vec<Damage>,
    /// How many copies were due and not reached within the budget.
    pub left: Option<u64>,
}

/// What is on record of a test restore.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DrillDetails {
    /// The backup, once one was chosen.
    pub subject: Subject,
    /// Bytes of all its files but its manifest.
    pub bytes: Option<u64>,
    /// The backup, if it was found damaged, with what is wrong.
    pub damaged: Vec<Damage>,
    /// How long the parts of the run took, in their order.
    pub phases: Vec<PhaseTime>,
    /// Whether the backup is partial, and so proves nothing about the others.
    pub partial: bool,
    /// The copy that was fetched for it; none of a backup that is here.
    pub of_copy: CopyOpened,
}

/// What is on record of a rehearsal.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RehearsalDetails {
    /// The backup that the copy is of.
    pub subject: Subject,
    /// Bytes that were read.
    pub bytes: Option<u64>,
    /// The copy.
    pub of_copy: CopyOpened,
}

/// A copy at a destination that was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopyOpened {
    /// The destination.
    pub destination: Option<String>,
    /// How far the copy is proved; at the end.
    pub copy: Option<CopyState>,
    /// The fingerprints of the recipients whose identities opened it; never an identity.
    pub recipients: Vec<String>,
}

/// What is on record of a trial of definitions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DefinitionsDetails {
    /// The backup whose definitions they are.
    pub subject: Subject,
    /// What was tried and what came of it; at the end.
    pub tried: Option<TriedDefinitions>,
}

/// What is on record of a copy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CopyDetails {
    /// The backup, once one was chosen.
    pub subject: Subject,
    /// The destination.
    pub destination: Option<String>,
    /// Bytes that were sent.
    pub bytes: Option<u64>,
    /// How far the copy is proved.
    pub copy: Option<CopyState>,
    /// Copies that retention removed at the destination, by their backups, each with the reasons (P3). Of the
    /// backups themselves it says nothing.
    pub removed: Vec<Removal>,
}

/// Definitions that were tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TriedDefinitions {
    /// Their digest, by which they are known again.
    pub digest: String,
    /// What came of it.
    pub result: DefinitionsResult,
}

/// What is on record of a restore.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RestoreDetails {
    /// The backup, or the dump's file.
    pub backup: Option<String>,
    /// The names of the databases next to the one that is restored; at the start.
    pub side_names: Option<SideNames>,
    /// What was to be done and what came of it.
    pub restoration: Option<Box<Restoration>>,
}

/// The one backup that a run is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// Its series.
    pub series: Option<Series>,
    /// Its name.
    pub backup: Option<String>,
}

/// Under which names a restore makes databases: what may be left of one that was killed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SideNames {
    /// The database that is loaded, until it takes the name.
    pub loads_into: String,
    /// What the database that is replaced is called then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keeps_as: Option<String>,
    /// The database in which the definitions are loaded once more, if any are written differently, until
    /// they are compared; none in records of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compares_with: Option<String>,
}

/// How long a part of a run took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PhaseTime {
    /// Which part: `verify`, `server`, `globals`, `load`, `dump` or `compare`.
    pub phase: String,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// One backup that a clean-up removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// The backup.
    pub backup: String,
    /// Why, in words.
    pub reasons: Vec<String>,
}

/// One backup that was found damaged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    /// The backup.
    pub backup: String,
    /// What is wrong with it.
    pub what: String,
    /// Where it is in quarantine, below the database's directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<String>,
}

/// What a run does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// Makes a backup.
    Backup,
    /// Reads a backup back and checks it.
    Verify,
    /// Reads copies at a destination back and checks them: a verification as well, with a destination.
    #[serde(rename = "verify", skip_deserializing)]
    VerifyCopies,
    /// Restores a backup into a temporary cluster and compares.
    Drill,
    /// Loads the definitions of a backup into a temporary cluster, without its rows.
    Definitions,
    /// Copies a backup to a destination.
    Copy,
    /// Opens a copy with an identity, and compares what is in it.
    Rehearse,
    /// Removes what retention no longer keeps.
    Prune,
    /// Pins a backup.
    Pin,
    /// Takes the pin off.
    Unpin,
    /// Moves a damaged backup into the quarantine.
    Quarantine,
    /// Moves a backup in quarantine back to its place.
    Release,
    /// Accepts, as the operator's word, what was a matter of concern.
    Accept,
    /// Brings a database back from a backup.
    Restore,
    /// Swaps the database that a restore replaced back.
    #[serde(rename = "undo-restore")]
    UndoRestore,
}

/// The start of a run, or how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    /// It starts.
    Started,
    /// It ended well.
    Succeeded,
    /// It failed.
    Failed,
    /// It was ended from outside: by a signal, or by the end of the process.
    Interrupted,
    /// It did not start, for the reason in the message.
    Skipped,
}

impl Record {
    /// A record with nothing but what every one has.
    #[expect(clippy::too_many_arguments, reason = "what every record has")]
    pub fn new(
        at: DateTime<FixedOffset>,
        run: Uuid,
        event: Event,
        database: impl Into<String>,
        details: impl Into<Details>,
    ) -> Self {
        Self {
            at,
            run,
            event,
            database: database.into(),
            job: None,
            due: None,
            requested_by: None,
            seconds: None,
            message: None,
            details: details.into(),
            unknown: Fields::default(),
        }
    }

    /// The end of the run that this is the start of, for whoever finds that it has none.
    #[must_use]
    pub fn closed(self, at: DateTime<FixedOffset>, event: Event, message: &str) -> Self {
        Self {
            at,
            event,
            requested_by: None,
            message: Some(message.to_owned()),
            // What they say of the start, they need not say of the end.
            unknown: Fields::default(),
            ..self
        }
    }

    /// What is being done.
    pub fn operation(&self) -> Operation {
        match self.details {
            Details::Backup(_) => Operation::Backup,
            Details::Verify(_) => Operation::Verify,
            Details::VerifyCopies(_) => Operation::VerifyCopies,
            Details::Drill(_) => Operation::Drill,
            Details::Definitions(_) => Operation::Definitions,
            Details::Copy(_) => Operation::Copy,
            Details::Rehearse(_) => Operation::Rehearse,
            Details::Prune { .. } => Operation::Prune,
            Details::Pin(_) => Operation::Pin,
            Details::Unpin(_) => Operation::Unpin,
            Details::Quarantine(_) => Operation::Quarantine,
            Details::Release { .. } => Operation::Release,
            Details::Accept { .. } => Operation::Accept,
            Details::Restore(_) => Operation::Restore,
            Details::UndoRestore { .. } => Operation::UndoRestore,
        }
    }

    /// The one backup that it is about: that was made, restored, pinned, ….
    pub fn backup(&self) -> Option<&str> {
        let backup = match &self.details {
            Details::Backup(BackupDetails { backup, .. })
            | Details::Restore(RestoreDetails { backup, .. })
            | Details::Accept { backup, .. } => backup,
            Details::Drill(DrillDetails { subject, .. })
            | Details::Definitions(DefinitionsDetails { subject, .. })
            | Details::Copy(CopyDetails { subject, .. })
            | Details::Rehearse(RehearsalDetails { subject, .. })
            | Details::Pin(subject)
            | Details::Unpin(subject)
            | Details::Quarantine(subject)
            | Details::Release { subject, .. } => &subject.backup,
            Details::Verify(_)
            | Details::VerifyCopies(_)
            | Details::Prune { .. }
            | Details::UndoRestore { .. } => &None,
        };
        backup.as_deref()
    }

    /// Backups that were removed here. A copy that was removed elsewhere explains no backup's absence.
    pub fn removed(&self) -> &[Removal] {
        match &self.details {
            Details::Backup(BackupDetails { removed, .. }) | Details::Prune { removed } => removed,
            _ => &[],
        }
    }

    /// Copies that were removed at a destination, by their backups.
    pub fn removed_copies(&self) -> &[Removal] {
        match &self.details {
            Details::Copy(CopyDetails { removed, .. }) => removed,
            _ => &[],
        }
    }

    /// Copies that were found damaged, by their backups.
    pub fn damaged_copies(&self) -> &[Damage] {
        match &self.details {
            Details::VerifyCopies(VerifyCopiesDetails { damaged, .. }) => damaged,
            _ => &[],
        }
    }

    /// Backups that were found damaged here. A copy that was found damaged elsewhere says nothing of them.
    pub fn damaged(&self) -> &[Damage] {
        match &self.details {
            Details::Verify(VerifyDetails { damaged, .. })
            | Details::Drill(DrillDetails { damaged, .. }) => damaged,
            _ => &[],
        }
    }

    /// What a restore, or the undoing of one, was to do and what came of it.
    pub fn restoration(&self) -> Option<&Restoration> {
        match &self.details {
            Details::Restore(RestoreDetails { restoration, .. })
            | Details::UndoRestore { restoration } => restoration.as_deref(),
            _ => None,
        }
    }

    /// Whether it is of a restore or of the undoing of one.
    pub fn is_of_restore(&self) -> bool {
        matches!(
            self.details,
            Details::Restore(_) | Details::UndoRestore { .. }
        )
    }

    /// The trial of definitions that ended with it.
    pub fn definitions_trial(&self) -> Option<DefinitionsTrial> {
        let Details::Definitions(details) = &self.details else {
            return None;
        };
        let tried = details.tried.clone()?;
        Some(DefinitionsTrial {
            digest: tried.digest,
            result: tried.result,
            at: self.at.to_utc(),
        })
    }

    /// Whether it is the end of a test restore that came to a result: the backup restores, or it
    /// does not. One that could not be made came to none.
    pub fn is_drill_result(&self) -> bool {
        let Details::Drill(drill) = &self.details else {
            return false;
        };
        match self.event {
            _ if drill.partial => false,
            Event::Succeeded => true,
            Event::Failed => !drill.damaged.is_empty(),
            Event::Started | Event::Interrupted | Event::Skipped => false,
        }
    }
}

impl Details {
    /// Of an operation of which nothing is known yet.
    pub fn of(operation: Operation) -> Self {
        match operation {
            Operation::Backup => Self::Backup(BackupDetails::default()),
            Operation::Verify => Self::Verify(VerifyDetails::default()),
            Operation::VerifyCopies => Self::VerifyCopies(VerifyCopiesDetails::default()),
            Operation::Drill => Self::Drill(DrillDetails::default()),
            Operation::Definitions => Self::Definitions(DefinitionsDetails::default()),
            Operation::Copy => Self::Copy(CopyDetails::default()),
            Operation::Rehearse => Self::Rehearse(RehearsalDetails::default()),
            Operation::Prune => Self::Prune {
                removed: Vec::new(),
            },
            Operation::Pin => Self::Pin(Subject::default()),
            Operation::Unpin => Self::Unpin(Subject::default()),
            Operation::Quarantine => Self::Quarantine(Subject::default()),
            Operation::Release => Self::Release {
                subject: Subject::default(),
                bytes: None,
            },
            Operation::Accept => Self::Accept {
                backup: None,
                accepted: None,
            },
            Operation::Restore => Self::Restore(RestoreDetails::default()),
            Operation::UndoRestore => Self::UndoRestore { restoration: None },
        }
    }
}

impl From<&Stem> for Subject {
    fn from(stem: &Stem) -> Self {
        Self {
            series: Some(stem.series.clone()),
            backup: Some(stem.to_string()),
        }
    }
}

impl From<BackupDetails> for Details {
    fn from(details: BackupDetails) -> Self {
        Self::Backup(details)
    }
}

impl From<VerifyCopiesDetails> for Details {
    fn from(details: VerifyCopiesDetails) -> Self {
        Self::VerifyCopies(details)
    }
}

impl From<VerifyDetails> for Details {
    fn from(details: VerifyDetails) -> Self {
        Self::Verify(details)
    }
}

impl From<DrillDetails> for Details {
    fn from(details: DrillDetails) -> Self {
        Self::Drill(details)
    }
}

impl From<DefinitionsDetails> for Details {
    fn from(details: DefinitionsDetails) -> Self {
        Self::Definitions(details)
    }
}

impl From<CopyDetails> for Details {
    fn from(details: CopyDetails) -> Self {
        Self::Copy(details)
    }
}

impl From<RehearsalDetails> for Details {
    fn from(details: RehearsalDetails) -> Self {
        Self::Rehearse(details)
    }
}

impl From<RestoreDetails> for Details {
    fn from(details: RestoreDetails) -> Self {
        Self::Restore(details)
    }
}

#[cfg(test)]
mod tests;
