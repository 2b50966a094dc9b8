//! The threads that write for the service.

use std::io;
use std::path::PathBuf;

use crate::daemon::skips::SkipWriter;
use crate::daemon::snapshot::{SchedulesFile, SnapshotWriter, StateFile, Wishes, WishesFile};
use crate::repository::{DaemonLock, DaemonState, RuntimeDirectory, SchedulesInForce};

/// Everything that the loop has written to the disk, each on threads of its own.
pub(in crate::daemon) struct Writers {
    /// The state for `pgbackupd status`.
    pub(super) state: SnapshotWriter<DaemonState>,
    /// Which schedules are in force.
    pub(super) schedules: SnapshotWriter<SchedulesInForce>,
    /// For which databases root is asked to make directories.
    pub(super) wishes: SnapshotWriter<Wishes>,
    /// Skipped runs, in the ledgers.
    pub(super) skips: SkipWriter,
}

impl Writers {
    /// Starts the threads; the daemon's lock is held until the end.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub(in crate::daemon) fn start(
        runtime: RuntimeDirectory,
        lock: DaemonLock,
        state_directory: PathBuf,
    ) -> io::Result<Self> {
        let wishes = WishesFile(runtime.clone());
        Ok(Self {
            state: SnapshotWriter::start("state", StateFile { runtime, lock })?,
            schedules: SnapshotWriter::start("schedules", SchedulesFile(state_directory))?,
            wishes: SnapshotWriter::start("wishes", wishes)?,
            skips: SkipWriter::new(),
        })
    }

    /// Whether something is not on the disk yet.
    pub(super) fn is_writing(&self) -> bool {
        self.state.is_writing() || self.skips.is_writing()
    }

    /// Waits for all of it at once; what hangs is left behind.
    pub(super) async fn end(self) {
        tokio::join!(
            self.state.end(),
            self.schedules.end(),
            self.wishes.end(),
            self.skips.end()
        );
    }
}
