//! Snapshots (the state for `pgbackupd status`, the schedules in force, the directories that root is
//! asked for) are written on threads of their own: a directory that does not answer delays nothing.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use futures::executor::block_on;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::emit;
use crate::repository::{DaemonLock, DaemonState, RuntimeDirectory, SchedulesInForce};

/// So long the start, a reload and the end wait for the directory.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// Hands snapshots of one kind to the thread that writes them.
pub(super) struct SnapshotWriter<T> {
    /// The newest snapshot and its number. One that the thread has not taken yet is replaced: only the
    /// newest counts.
    given: watch::Sender<(u64, Option<Arc<T>>)>,
    /// The number of the last snapshot that was written, or that could not be. Closed when the thread
    /// has ended.
    done: watch::Receiver<u64>,
    /// When the oldest snapshot was given that is not done yet, on both clocks; none if all are.
    waits_since: Option<(Instant, DateTime<Utc>)>,
}

impl<T: Send + Sync + 'static> SnapshotWriter<T> {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub(super) fn start(
        name: &str,
        disk: impl WriteSnapshot<T> + Send + 'static,
    ) -> io::Result<Self> {
        let (given, snapshots) = watch::channel((0, None));
        let (progress, done) = watch::channel(0);
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || write_all(&disk, snapshots, &progress))?;
        Ok(Self {
            given,
            done,
            waits_since: None,
        })
    }

    /// Has a snapshot written as soon as possible.
    pub(super) fn give(&mut self, snapshot: Arc<T>) {
        let now = || Some((Instant::now(), Utc::now()));
        self.waits_since = self.waiting_since().or_else(now);
        self.given
            .send_modify(|(number, newest)| (*number, *newest) = (*number + 1, Some(snapshot)));
    }

    /// Waits until the last snapshot that was given is on the disk, for [`PATIENCE`] at most.
    pub(super) async fn settle(&mut self) {
        let number = self.given.borrow().0;
        // Neither the time nor the thread's end matter here: `stuck_since` tells.
        let _ = timeout(PATIENCE, self.done.wait_for(|done| *done >= number)).await;
    }

    /// Since when a snapshot waits that the directory has not taken for [`PATIENCE`]; none if it takes
    /// them.
    pub(super) fn stuck_since(&self) -> Option<DateTime<Utc>> {
        let (since, moment) = self.waiting_since()?;
        (since.elapsed() >= PATIENCE).then_some(moment)
    }

    /// Whether a snapshot is not on the disk yet.
    pub(super) fn is_writing(&self) -> bool {
        self.waiting_since().is_some()
    }

    fn waiting_since(&self) -> Option<(Instant, DateTime<Utc>)> {
        let is_done = *self.done.borrow() >= self.given.borrow().0;
        self.waits_since.filter(|_| !is_done)
    }

    /// Ends the thread when it has written the last snapshot; it is left behind after [`PATIENCE`].
    pub(super) async fn end(self) {
        let Self {
            given, mut done, ..
        } = self;
        drop(given);
        let ended = async { while done.changed().await.is_ok() {} };
        let _ = timeout(PATIENCE, ended).await;
    }
}

/// Where snapshots go.
pub(super) trait WriteSnapshot<T> {
    /// Writes one, and reports if that is not possible.
    fn write(&self, snapshot: &T);

    /// The service ends in good order.
    fn clear(&self) {}
}

/// The state in the runtime directory, for `pgbackupd status`.
pub(super) struct StateFile {
    /// The runtime directory.
    pub runtime: RuntimeDirectory,
    /// The daemon's lock, which the thread holds until it ends.
    pub lock: DaemonLock,
}

impl WriteSnapshot<DaemonState> for StateFile {
    fn write(&self, state: &DaemonState) {
        if let Err(error) = self.runtime.write(&self.lock, state) {
            emit!(
                DirectoryUnusable,
                {},
                "cannot write to the runtime directory {}: {error}; `pgbackupd status` does not \
                 see what runs",
                self.runtime.path().display()
            );
        }
    }

    fn clear(&self) {
        self.runtime.clear(&self.lock);
    }
}

/// The schedules in force, in this state directory.
pub(super) struct SchedulesFile(pub PathBuf);

impl WriteSnapshot<SchedulesInForce> for SchedulesFile {
    fn write(&self, schedules: &SchedulesInForce) {
        if let Err(error) = schedules.write(&self.0) {
            emit!(
                DirectoryUnusable,
                {},
                "cannot write to the state directory {}: {error}; jobs that are missed while the \
                 service is off may not be caught up",
                self.0.display()
            );
        }
    }
}

/// Databases, each with its server, whose directories root is asked for.
pub(super) type Wishes = BTreeSet<(String, String)>;

/// The file in this runtime directory that asks for directories.
pub(super) struct WishesFile(pub RuntimeDirectory);

impl WriteSnapshot<Wishes> for WishesFile {
    fn write(&self, wishes: &Wishes) {
        let wishes = wishes.iter();
        let wishes = wishes.map(|(server, database)| (server.as_str(), database.as_str()));
        if let Err(error) = self.0.want_directories(wishes) {
            emit!(
                DirectoryUnusable,
                {},
                "directories of databases that were found cannot be asked for in {}: {error}",
                self.0.path().display()
            );
        }
    }
}

fn write_all<T>(
    disk: &impl WriteSnapshot<T>,
    mut snapshots: watch::Receiver<(u64, Option<Arc<T>>)>,
    progress: &watch::Sender<u64>,
) {
    while block_on(snapshots.changed()).is_ok() {
        let (number, snapshot) = snapshots.borrow_and_update().clone();
        if let Some(snapshot) = snapshot {
            disk.write(&snapshot);
        }
        progress.send_replace(number);
    }
    disk.clear();
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::sync::{Arc, Mutex};

    use super::{PATIENCE, SnapshotWriter, WriteSnapshot};

    /// A disk that takes a snapshot when the test lets it.
    struct SlowDisk {
        taken: Sender<Option<u32>>,
        may: Mutex<Receiver<()>>,
    }

    impl WriteSnapshot<u32> for SlowDisk {
        fn write(&self, snapshot: &u32) {
            self.taken.send(Some(*snapshot)).unwrap();
            self.may.lock().unwrap().recv().ok();
        }

        fn clear(&self) {
            self.taken.send(None).ok();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_directory_that_does_not_answer_is_waited_for_two_seconds() {
        let ((taken, seen), (let_it, may)) = (channel(), channel());
        let may = Mutex::new(may);
        let mut writer = SnapshotWriter::start("test", SlowDisk { taken, may }).unwrap();
        assert!(!writer.is_writing());
        writer.give(Arc::new(1));
        assert_eq!(seen.recv().unwrap(), Some(1));
        let began = tokio::time::Instant::now();
        writer.settle().await;
        assert_eq!(began.elapsed(), PATIENCE);
        assert!(writer.is_writing());

        writer.give(Arc::new(2));
        writer.give(Arc::new(3));
        let_it.send(()).unwrap();
        assert_eq!(seen.recv().unwrap(), Some(3), "only the newest counts");
        let_it.send(()).unwrap();
        writer.end().await;
        assert_eq!(seen.recv().unwrap(), None, "it is taken away at the end");
    }

    #[tokio::test]
    async fn what_was_given_is_on_the_disk_after_settling() {
        let ((taken, seen), (let_it, may)) = (channel(), channel());
        let may = Mutex::new(may);
        let mut writer = SnapshotWriter::start("test", SlowDisk { taken, may }).unwrap();
        for number in 1..=20 {
            let_it.send(()).unwrap();
            writer.give(Arc::new(number));
            writer.settle().await;
            assert!(!writer.is_writing() && writer.stuck_since().is_none());
            assert_eq!(seen.try_recv().unwrap(), Some(number));
        }
    }
}
