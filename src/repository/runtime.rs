//! What the daemon tells of itself while it runs: one file in its runtime directory, rewritten
//! with every change, and a lock next to it that says whether the daemon still lives.
//!
//! ```text
//! /run/pgbackupd/daemon.lock     held for as long as the daemon lives
//! /run/pgbackupd/daemon.json     what it does now
//! /run/pgbackupd/directories-wanted    databases were found that have no directory yet
//! ```

use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use chrono::{DateTime, FixedOffset};
use serde::{Deserialize, Serialize};

use super::durable;

/// The version of the file's format.
pub const DAEMON_STATE_FORMAT: u32 = 1;

const STATE_FILE: &str = "daemon.json";
const WANTED_FILE: &str = "directories-wanted";
const LOCK_FILE: &str = "daemon.lock";

/// A daemon that starts looks so often, and so long apart, whether the lock is free.
const LOOKS: u32 = 5;
const LOOK: Duration = Duration::from_millis(100);

/// The daemon's runtime directory.
#[derive(Clone, Debug)]
pub struct RuntimeDirectory {
    path: PathBuf,
}

/// Held by the daemon for as long as it lives; the kernel lets go of it however it ends.
#[derive(Debug)]
pub struct DaemonLock {
    _file: File,
}

/// What the daemon does now. All times are on the wall clock of the plan's zone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DaemonState {
    /// [`DAEMON_STATE_FORMAT`].
    pub format: u32,
    /// The daemon's process.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// Since when it runs.
    pub started: DateTime<FixedOffset>,
    /// When the configuration in force was read.
    pub loaded: DateTime<FixedOffset>,
    /// Why the newest configuration is not in force; none when it is.
    pub refused: Option<String>,
    /// The digest of the configuration's files that are in force; none from an older version.
    #[serde(default)]
    pub configuration: Option<String>,
    /// Settings and tables that have changed and take effect when the service is restarted.
    #[serde(default)]
    pub after_restart: Vec<String>,
    /// Servers and databases that it cannot connect to as they are configured.
    #[serde(default)]
    pub cannot_connect: Vec<CannotConnect>,
    /// Directories that do not answer.
    #[serde(default)]
    pub hanging: Vec<HangingDirectory>,
    /// Whether it is on its way to stop.
    pub stopping: bool,
    /// The jobs in force, in the order of their next run.
    pub jobs: Vec<ScheduledJob>,
    /// What runs now.
    pub running: Vec<RunningJob>,
    /// What is due but waits: for its turn, for the end of a blackout window, or to be tried again.
    pub waiting: Vec<WaitingJob>,
}

/// A server or a database that the daemon cannot connect to as it is configured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CannotConnect {
    /// The server's name in the configuration.
    pub server: String,
    /// The database; none where it is the whole server.
    pub database: Option<String>,
    /// Whether the server answers and does not have the database.
    pub is_missing: bool,
    /// Since when that is known.
    pub since: DateTime<FixedOffset>,
    /// What failed, why, and the way out, in a sentence.
    pub message: String,
}

/// A directory that does not answer: its file system hangs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HangingDirectory {
    /// The directory.
    pub directory: PathBuf,
    /// Since when the daemon waits for it.
    pub since: DateTime<FixedOffset>,
}

/// A job in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScheduledJob {
    /// Its name.
    pub job: String,
    /// Its kind: `backup`, `verify`, `drill`, `prune`.
    pub kind: String,
    /// Its schedule as written.
    pub schedule: String,
    /// When it is due next.
    pub next: Option<DateTime<FixedOffset>>,
}

/// What runs now: one job on one database.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunningJob {
    /// The job's name.
    pub job: String,
    /// Its kind.
    pub kind: String,
    /// The slot of the schedule that it runs for.
    pub due: DateTime<FixedOffset>,
    /// The server's name in the configuration.
    pub server: String,
    /// The database.
    pub database: String,
    /// Where its backups stand.
    pub directory: PathBuf,
    /// Since when it runs.
    pub since: DateTime<FixedOffset>,
    /// Which try it is, counted from 1.
    pub attempt: u32,
}

/// What is due but waits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WaitingJob {
    /// The job's name.
    pub job: String,
    /// Its kind.
    pub kind: String,
    /// The slot of the schedule that it waits for.
    pub due: DateTime<FixedOffset>,
    /// The server's name in the configuration.
    pub server: String,
    /// The database.
    pub database: String,
    /// Until when; none when it waits for its turn.
    pub until: Option<DateTime<FixedOffset>>,
    /// Why, in words.
    pub reason: String,
}

/// What every version of the state has.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

/// Why a daemon cannot have its runtime directory.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// Another daemon has it.
    #[error(
        "another pgbackupd daemon runs with this configuration{}\nhint: `systemctl status pgbackupd` \
         shows it, and `pgbackupd status` what it does",
        .pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    Taken {
        /// Its process, if that could be read.
        pid: Option<u32>,
    },
    /// It cannot be made or written.
    #[error(
        "cannot use the runtime directory {}: {source}; systemd makes it for the service, and \
         daemon.runtime_directory names another one", .path.display()
    )]
    Io {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl RuntimeError {
    /// Whether another daemon has it.
    pub fn is_taken(&self) -> bool {
        matches!(self, Self::Taken { .. })
    }
}

impl RuntimeDirectory {
    /// The runtime directory at a path.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the directory for this process, which is the daemon from now on.
    ///
    /// # Errors
    /// When another daemon has it, or it cannot be written.
    pub fn take(&self) -> Result<DaemonLock, RuntimeError> {
        let failed = |source| RuntimeError::Io {
            path: self.path.clone(),
            source,
        };
        durable::create_directory(&self.path).map_err(failed)?;
        let file = durable::open_to_append(&self.path.join(LOCK_FILE)).map_err(failed)?;
        // Whoever only looks whether a daemon lives holds the lock for a blink.
        for _ in 0..LOOKS {
            match file.try_lock() {
                Ok(()) => return Ok(DaemonLock { _file: file }),
                Err(TryLockError::WouldBlock) => sleep(LOOK),
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
        }
        Err(RuntimeError::Taken {
            pid: self.read_state().ok().flatten().map(|state| state.pid),
        })
    }

    /// What the daemon does now; none when no daemon lives.
    ///
    /// # Errors
    /// When the directory cannot be read, or what is in it is no state that this program knows.
    pub fn daemon(&self) -> io::Result<Option<DaemonState>> {
        let lock = match crate::regular_file::open(self.path.join(LOCK_FILE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        // Shared: two that look at the same moment do not take each other for the daemon.
        match lock.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => self.read_state(),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Replaces the state at once: whoever reads finds the old one or the new one, whole.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, _lock: &DaemonLock, state: &DaemonState) -> io::Result<()> {
        self.replace(STATE_FILE, &serde_json::to_vec(state)?)
    }

    fn replace(&self, name: &str, text: &[u8]) -> io::Result<()> {
        let temporary = self.path.join(format!(".{name}"));
        // What a crash left of an earlier attempt.
        durable::remove(&temporary)?;
        let mut file = durable::create_new(&temporary)?;
        file.write_all(text)?;
        // No sync: what the daemon does now is of no interest after a power cut.
        std::fs::rename(&temporary, self.path.join(name))
    }

    /// Asks for the directories of databases that were found on their servers, each given by its
    /// server's name and its own: whoever may make them watches for this file
    /// (`pgbackupd-directories.path`).
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn want_directories<'a>(
        &self,
        databases: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> io::Result<()> {
        let databases: Vec<_> = databases.collect();
        self.replace(WANTED_FILE, &serde_json::to_vec(&databases)?)
    }

    /// Takes the state away: the daemon ends in good order.
    pub fn clear(&self, _lock: &DaemonLock) {
        // A state without a lock counts for nothing, so that a failure here is harmless.
        let _ = std::fs::remove_file(self.path.join(STATE_FILE));
    }

    fn read_state(&self) -> io::Result<Option<DaemonState>> {
        let text = match crate::regular_file::read(&self.path.join(STATE_FILE)) {
            // The daemon has only just started, or is about to end.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        let Format { format } = serde_json::from_slice(&text)?;
        if format > DAEMON_STATE_FORMAT {
            return Err(io::Error::other(format!(
                "the daemon is newer than this program: its state has format {format}, known is \
                 {DAEMON_STATE_FORMAT}"
            )));
        }
        Ok(Some(serde_json::from_slice(&text)?))
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::{DAEMON_STATE_FORMAT, DaemonState, RuntimeDirectory, RuntimeError};

    fn state() -> DaemonState {
        let at = DateTime::parse_from_rfc3339("2025-07-09T02:00:00+03:00").unwrap();
        DaemonState {
            format: DAEMON_STATE_FORMAT,
            pid: std::process::id(),
            version: "1".to_owned(),
            started: at,
            loaded: at,
            refused: None,
            configuration: None,
            after_restart: Vec::new(),
            cannot_connect: Vec::new(),
            hanging: Vec::new(),
            stopping: false,
            jobs: Vec::new(),
            running: Vec::new(),
            waiting: Vec::new(),
        }
    }

    #[test]
    fn a_state_counts_only_while_its_daemon_lives() {
        let directory = tempfile::tempdir().unwrap();
        let runtime = RuntimeDirectory::at(directory.path().join("pgbackupd"));
        assert_eq!(runtime.daemon().unwrap(), None, "nothing is there yet");
        let lock = runtime.take().unwrap();
        assert_eq!(runtime.daemon().unwrap(), None, "it has not said anything");
        runtime.write(&lock, &state()).unwrap();
        assert_eq!(runtime.daemon().unwrap(), Some(state()));
        assert!(matches!(
            runtime.take(),
            Err(RuntimeError::Taken { pid: Some(pid) }) if pid == std::process::id()
        ));
        drop(lock);
        assert_eq!(runtime.daemon().unwrap(), None, "it died without a word");
        let lock = runtime.take().unwrap();
        runtime.clear(&lock);
        assert_eq!(runtime.daemon().unwrap(), None);
    }

    #[test]
    fn the_state_of_a_newer_daemon_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let runtime = RuntimeDirectory::at(directory.path());
        let lock = runtime.take().unwrap();
        let mut newer = state();
        newer.format += 1;
        runtime.write(&lock, &newer).unwrap();
        let error = runtime.daemon().unwrap_err().to_string();
        assert!(error.contains("newer"), "{error}");
    }
}
