//! The only place that knows the disk: a database's directory, and everything in it.
//!
//! ```text
//! backup_20250709_020000.sql.gz       the dump
//! backup_20250709_020000.globals.gz   roles and tablespaces of the cluster
//! backup_20250709_020000.census.gz    what the dump contains
//! backup_20250709_020000.json         the manifest, written last: without it there is no backup
//! backup_20250709_020000.state        pins, later checks and test restores, if any
//! backup_20250710_020000.sql.gz.age   the same three of an encrypted backup end in .age
//! quarantine/backup_20250708_020000/   the files of a damaged backup that was put aside
//! backup.log                          the ledger
//! restore.log                         the ledger of restores and test restores
//! incident_20250709_143000.md         the report of a restore, for people to complete
//! salvage_20250709_143000.todo.sql    what a salvage could not bring back
//! salvage_20250709_143000.rows.sql    rows that the server refused
//! .lock                               held by whoever is at work
//! .pgbackupd-<run>.<role>             temporary; swept by the next run if its own was cut short
//! .pgbackupd-<id>.fetch/              parts of a backup that is being fetched; kept for the next fetch of it
//! ```

mod activity;
mod adopted_signers;
mod alert_file;
mod arrival;
mod catalogue;
mod copy_journal;
mod destination_file;
mod durable;
mod error;
mod host_name;
mod incident;
mod known_copies;
mod known_store;
mod last_seen;
mod last_signer;
mod ledger;
mod lock;
mod make_directory;
mod manifest;
mod names;
mod pending_removals;
mod quarantine;
mod record;
mod refused;
mod rehearsal_file;
mod report_file;
mod requester;
mod restoration;
mod row_memory;
mod runtime;
mod schedules_in_force;
mod scratch;
mod seal;
mod staging;
mod state;
mod state_file;
mod status_put;
mod sweep;
mod temporary;

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use chrono::{DateTime, FixedOffset, Utc};
use uuid::Uuid;

/// Writes a file for other programs to read, wholly or not at all.
///
/// # Errors
/// When it cannot be written; the old one then stays.
pub fn replace_public(path: &Path, text: &[u8]) -> io::Result<()> {
    durable::replace_public(path, text)
}

use crate::writers::{Writable, trusted_here, written_by_others};

pub use activity::{AtWork, HeldLocks};
pub use adopted_signers::{AdoptedSigner, AdoptedSigners};
pub use alert_file::AlertFile;
pub use arrival::{Arrival, Kept};
pub use catalogue::{Catalogue, Entry, Problem};
pub use copy_journal::{
    CopyJournal, CopyStart, PutVolume, backups_being_copied, copies_under_way, lock_destination,
};
pub use destination_file::DestinationFile;
pub(crate) use error::making_command;
pub use error::{RepositoryError, advice};
pub use host_name::host_name;
pub use known_copies::{
    AbsentCopy, ClockReading, CopyFailure, KnownCopies, KnownCopy, KnownManifest, RemovedCopy,
    manifest_cache,
};
pub use known_store::KnownStore;
pub use last_seen::LastSeen;
pub use last_signer::LastSigner;
pub use ledger::Ledger;
pub use lock::{Holder, Lock, LockError};
pub use make_directory::{Level, Owner, ProvideError, Provided, provide};
pub use manifest::{
    Artifact, CensusFile, ENCRYPTED_FORMAT, Globals, MANIFEST_FORMAT, Manifest, ManifestError,
    PARTIAL_FORMAT, SealedContent, Seconds, SkippedTable,
};
pub use names::{AtRest, InvalidStem, Role, Slug, Stem};
pub use pending_removals::{
    PendingRemoval, begin_removal, end_removal, pending_removals, removals_ledger,
};
pub use quarantine::Quarantined;
pub use record::{
    BackupDetails, CopyDetails, CopyOpened, Damage, DefinitionsDetails, Details, DrillDetails,
    Event, Operation, PhaseTime, Record, RehearsalDetails, Removal, RestoreDetails, SideNames,
    Subject, TriedDefinitions, VerifyCopiesDetails, VerifyDetails,
};
pub use refused::{forget_refused, keep_refused};
pub use rehearsal_file::RehearsalFile;
pub use report_file::ReportFile;
pub use requester::Requester;
pub use restoration::{Content, Replaced, Restoration, StepTime};
pub use row_memory::RowMemory;
pub use runtime::{
    CannotConnect, DAEMON_STATE_FORMAT, DaemonLock, DaemonState, HangingDirectory, RunningJob,
    RuntimeDirectory, RuntimeError, ScheduledJob, WaitingJob,
};
pub use schedules_in_force::{InForce, SchedulesInForce};
pub use scratch::ScratchNote;
pub use staging::{Checked, Staging};
pub use state::{Check, Drilled, Fault, Pin, State, Unchecked, Unreadable};
pub use state_file::{StateContent, StateFile};
pub use status_put::StatusPut;
pub use sweep::Swept;

/// The dumps that stand under a backup's name in a directory, whatever manifest speaks for them.
pub fn dumps_of(directory: &Path, stem: &Stem) -> Vec<PathBuf> {
    let paths = Role::ARTIFACTS
        .into_iter()
        .map(|role| stem.file(directory, role));
    paths.filter(|path| path.exists()).collect()
}

/// The directory of one database's backups.
#[derive(Clone, Debug)]
pub struct Repository {
    directory: PathBuf,
    /// Where its lock is, if not in the directory itself.
    locks: Option<PathBuf>,
}

impl Repository {
    /// The repository at a directory, which need not be there to be read from.
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            locks: None,
        }
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The same, with its lock in another directory: where one is on record that holds no backups, and
    /// that others use as well.
    #[must_use]
    pub fn locked_in(mut self, locks: impl Into<PathBuf>) -> Self {
        self.locks = Some(locks.into());
        self
    }

    /// The directory that its lock is in.
    pub fn lock_directory(&self) -> &Path {
        self.locks.as_ref().unwrap_or(&self.directory)
    }

    /// Makes the directory, and that of the lock, for its owner alone, if it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(&self) -> Result<(), RepositoryError> {
        for directory in [&*self.directory, self.lock_directory()] {
            if !directory.is_dir() {
                durable::create_directory(directory)
                    .map_err(RepositoryError::io(error::MAKE, directory))?;
            }
        }
        Ok(())
    }

    /// Takes the lock that a run holds from its start to its end.
    ///
    /// # Errors
    /// When another run holds it, or its file cannot be made.
    pub fn lock(&self, holder: &Holder) -> Result<Lock, RepositoryError> {
        let directory = self.lock_directory();
        Lock::acquire(directory, holder).map_err(|error| match error {
            LockError::Io(source) => {
                RepositoryError::io("lock", &directory.join(lock::LOCK_FILE))(source)
            }
            busy @ LockError::Busy(_) => RepositoryError::Busy {
                directory: directory.to_owned(),
                source: busy,
            },
        })
    }

    /// The ledger of backups, verifications and clean-ups.
    pub fn ledger(&self) -> Ledger {
        Ledger::at(self.directory.join(ledger::BACKUP_LOG))
    }

    /// The ledger of restores and test restores.
    pub fn restore_ledger(&self) -> Ledger {
        Ledger::at(self.directory.join(ledger::RESTORE_LOG))
    }

    /// The ledger in which an operation is recorded.
    pub fn ledger_of(&self, operation: Operation) -> Ledger {
        match operation {
            Operation::Drill
            | Operation::Rehearse
            | Operation::Definitions
            | Operation::Restore
            | Operation::UndoRestore => self.restore_ledger(),
            _ => self.ledger(),
        }
    }

    /// Writes an incident report under the name of this moment, for its owner alone, and gives its
    /// path. Never writes over one: people have added to it.
    ///
    /// # Errors
    /// When it cannot be written; there is none then.
    pub fn write_incident(
        &self,
        at: DateTime<FixedOffset>,
        text: &str,
    ) -> Result<PathBuf, RepositoryError> {
        incident::write(&self.directory, at, text).map_err(RepositoryError::io(
            "write an incident report in",
            &self.directory,
        ))
    }

    /// Makes a file for what a salvage could not bring back, `todo.sql` or `rows.sql`, under the name of this
    /// moment, for its owner alone.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create_salvage_file(
        &self,
        at: DateTime<FixedOffset>,
        what: &str,
    ) -> Result<(PathBuf, File), RepositoryError> {
        incident::create(&self.directory, at, ["salvage", what])
            .map_err(RepositoryError::io("write a file in", &self.directory))
    }

    /// Where others than root, the caller and the directory's owner can replace backups, with the way
    /// out, one sentence each.
    pub fn written_by_others(&self) -> Vec<String> {
        let owner = self.directory.metadata().map(|found| found.uid());
        let mut trusted = trusted_here();
        trusted.extend(owner);
        let found = written_by_others(&self.directory, &trusted).unwrap_or_default();
        let sentence_and_advice = |one: &Writable| format!("{}: {}", one.sentence(), one.advice());
        found.iter().map(sentence_and_advice).collect()
    }

    /// What stands in the directory.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn catalogue(&self) -> Result<Catalogue, RepositoryError> {
        Catalogue::scan(&self.directory, &self.ledger())
    }

    /// Bytes that an unprivileged user can still write on the directory's file system.
    ///
    /// # Errors
    /// When the file system does not say.
    pub fn free_space(&self) -> Result<u64, RepositoryError> {
        rustix::fs::statvfs(&self.directory)
            .map(|space| space.f_bavail.saturating_mul(space.f_frsize))
            .map_err(io::Error::from)
            .map_err(RepositoryError::io(
                "ask for the free space of",
                &self.directory,
            ))
    }

    /// Who is at work in the directory, among those who hold one of these locks; none when nobody
    /// is. Nothing is locked for that.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn at_work(&self, locks: &HeldLocks) -> Result<Option<AtWork>, RepositoryError> {
        activity::at_work(&self.directory, locks)
            .map_err(RepositoryError::io("read the directory", &self.directory))
    }

    /// When the directory was made; none if it is not there, or its file system does not say.
    pub fn made_at(&self) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp(activity::made_at(&self.directory)?, 0)
    }

    /// Puts right what earlier runs left that were cut short.
    ///
    /// # Errors
    /// When a file cannot be renamed or removed.
    pub fn sweep(&self, _lock: &Lock) -> Result<Swept, RepositoryError> {
        sweep::sweep(&self.directory)
    }

    /// Notes the databases that a restore of tables is about to make, so that they are found if it is
    /// killed.
    ///
    /// # Errors
    /// When the note cannot be written.
    pub fn record_scratch(&self, run: Uuid, names: &[&str]) -> Result<(), RepositoryError> {
        scratch::write(&self.directory, run, names).map_err(RepositoryError::io(
            "write a note in the directory",
            &self.directory,
        ))
    }

    /// Removes that note: they are gone. Where it stays, a later restore removes it.
    pub fn forget_scratch(&self, run: Uuid) {
        let _ = scratch::remove(&self.directory, run);
    }

    /// The notes that restores have left. Whoever holds the lock knows that these are over.
    ///
    /// # Errors
    /// When the directory or a note cannot be read.
    pub fn scratch_notes(&self) -> Result<Vec<ScratchNote>, RepositoryError> {
        scratch::read_all(&self.directory)
            .map_err(RepositoryError::io("read the directory", &self.directory))
    }

    /// Starts a backup: its files are temporary until they are published.
    pub fn stage<'a>(&'a self, run: Uuid, lock: &'a Lock) -> Staging<'a> {
        Staging::new(&self.directory, run, lock)
    }

    /// Where a file of a backup stands.
    pub fn path(&self, stem: &Stem, role: Role) -> PathBuf {
        stem.file(&self.directory, role)
    }

    /// The manifest of a backup, proved to be as it was written.
    ///
    /// # Errors
    /// When it is not there, or of no use.
    pub fn manifest(&self, stem: &Stem) -> Result<Manifest, RepositoryError> {
        let path = self.path(stem, Role::Manifest);
        Manifest::read(&path).map_err(|source| RepositoryError::Manifest { path, source })
    }

    /// What is known of a backup beyond its manifest.
    pub fn state(&self, stem: &Stem) -> State {
        State::read(&self.path(stem, Role::State))
    }

    /// Changes what is known of a backup beyond its manifest, wholly or not at all, and gives what
    /// was known before; none, and no change, when the backup is no longer there. A state that was
    /// lost becomes one of a pinned backup, and is changed then.
    ///
    /// # Errors
    /// When the file cannot be read or written; the old state then stands.
    pub fn change_state(
        &self,
        run: Uuid,
        stem: &Stem,
        change: impl FnOnce(&mut State),
    ) -> Result<Option<State>, RepositoryError> {
        let _guard = self.guard_states()?;
        let manifest = self.path(stem, Role::Manifest);
        let is_there = manifest.try_exists();
        if !is_there.map_err(RepositoryError::io("read", &manifest))? {
            return Ok(None);
        }
        let before = self.state(stem);
        let mut after = before.clone();
        let path = self.path(stem, Role::State);
        after
            .begin_again()
            .map_err(RepositoryError::io("use", &path))?;
        change(&mut after);
        if after != before {
            self.write_state(run, stem, &after)?;
        }
        Ok(Some(before))
    }

    /// Puts a backup aside, into the quarantine, with all its files; gives where they are then, or
    /// none if it is no longer there. What a crash cuts short, the next run finishes.
    ///
    /// # Errors
    /// When a file cannot be renamed.
    pub fn quarantine(
        &self,
        run: Uuid,
        stem: &Stem,
        _lock: &Lock,
    ) -> Result<Option<PathBuf>, RepositoryError> {
        // A pin or a check that comes meanwhile is noted before, or finds no backup.
        let guard = self.guard_states()?;
        if self.path(stem, Role::Manifest).symlink_metadata().is_err() {
            return Ok(None);
        }
        quarantine::begin(&self.directory, run, stem)?;
        drop(guard);
        quarantine::finish(&self.directory, run, stem)
    }

    /// Gives a backup in quarantine its place back. Whether it is whole is for the caller to know.
    ///
    /// # Errors
    /// When its place is taken, its manifest is of no use, or a file cannot be renamed.
    pub fn release(
        &self,
        run: Uuid,
        quarantined: &Quarantined,
        _lock: &Lock,
    ) -> Result<(), RepositoryError> {
        quarantine::begin_release(&self.directory, run, quarantined)?;
        quarantine::finish_release(&self.directory, run, &quarantined.name).map(|_| ())
    }

    /// The backups in quarantine, in the order of their names.
    ///
    /// # Errors
    /// When the quarantine cannot be read.
    pub fn quarantined(&self) -> Result<Vec<Quarantined>, RepositoryError> {
        quarantine::list(&self.directory).map_err(RepositoryError::io(
            "read the quarantine in",
            &self.directory,
        ))
    }

    fn guard_states(&self) -> Result<File, RepositoryError> {
        lock::guard_states(&self.directory).map_err(RepositoryError::io("lock", &self.directory))
    }

    fn write_state(&self, run: Uuid, stem: &Stem, state: &State) -> Result<(), RepositoryError> {
        let path = self.path(stem, Role::State);
        let temporary = temporary::path(&self.directory, run, Role::State.word());
        let write = || {
            let mut file = durable::create_new(&temporary)?;
            file.write_all(state.to_text()?.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&temporary, &path)
        };
        write().map_err(|source| {
            let _ = durable::remove(&temporary);
            RepositoryError::io("write", &path)(source)
        })?;
        let stands = || format!("the new state of {stem} is written");
        durable::sync_directory(&self.directory)
            .map_err(RepositoryError::unsynced(&self.directory, stands))
    }

    /// Removes a backup: its manifest first, under a name by which the next run can finish what a
    /// crash cuts short. A pin that has come meanwhile is respected: gives whether it was removed.
    ///
    /// # Errors
    /// When its manifest is of no use, or a file cannot be removed.
    pub fn remove(&self, run: Uuid, stem: &Stem, _lock: &Lock) -> Result<bool, RepositoryError> {
        let guard = self.guard_states()?;
        if self.state(stem).is_pinned() {
            return Ok(false);
        }
        let manifest = self.manifest(stem)?;
        let from = self.path(stem, Role::Manifest);
        // One run removes several backups, so the name says which.
        let word = format!("{}-{stem}", temporary::REMOVED);
        let aside = temporary::path(&self.directory, run, &word);
        durable::rename_new(&from, &aside).map_err(RepositoryError::io("remove", &from))?;
        drop(guard);
        let begun = || format!("{stem} is no backup any more, and the next run removes its files");
        durable::sync_directory(&self.directory)
            .map_err(RepositoryError::unsynced(&self.directory, begun))?;
        sweep::remove_files(&self.directory, &manifest)?;
        durable::remove(&aside).map_err(RepositoryError::io("remove", &aside))?;
        let removed = || format!("{stem} is removed");
        durable::sync_directory(&self.directory)
            .map_err(RepositoryError::unsynced(&self.directory, removed))?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
