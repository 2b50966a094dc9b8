//! The daemon's state for `pgbackupd status` goes to the disk on a thread of its own: a runtime
//! directory that does not answer holds up nothing.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::repository::{DaemonLock, DaemonState, RuntimeDirectory};
use crate::tell;

/// So long the start, a reload and the end wait for the directory.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// Hands states to the thread that writes them.
pub(super) struct StateWriter {
    /// The newest state and its number. One that the thread has not taken yet is replaced: only the
    /// newest counts.
    given: watch::Sender<(u64, Option<Arc<DaemonState>>)>,
    /// The number of the last state that was written, or that could not be. Closed when the thread
    /// has ended.
    done: watch::Receiver<u64>,
    /// When the oldest state was given that is not done yet; none if all are.
    waits_since: Option<Instant>,
}

impl StateWriter {
    /// Starts the thread, which holds the daemon's lock from now on.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub(super) fn start(runtime: RuntimeDirectory, lock: DaemonLock) -> io::Result<Self> {
        Self::with(Disk { runtime, lock })
    }

    fn with(disk: impl WriteState + Send + 'static) -> io::Result<Self> {
        let (given, states) = watch::channel((0, None));
        let (progress, done) = watch::channel(0);
        thread::Builder::new()
            .name("state".to_owned())
            .spawn(move || write_all(&disk, states, &progress))?;
        Ok(Self {
            given,
            done,
            waits_since: None,
        })
    }

    /// Has a state written as soon as may be.
    pub(super) fn give(&mut self, state: Arc<DaemonState>) {
        self.waits_since = self.waiting_since().or_else(|| Some(Instant::now()));
        self.given
            .send_modify(|(number, newest)| (*number, *newest) = (*number + 1, Some(state)));
    }

    /// Waits until the last state that was given is on the disk, for [`PATIENCE`] at most.
    pub(super) async fn settle(&mut self) {
        let number = self.given.borrow().0;
        // Neither the time nor the thread's end matter here: `is_stuck` tells.
        let _ = timeout(PATIENCE, self.done.wait_for(|done| *done >= number)).await;
    }

    /// Whether the directory has not taken a state for [`PATIENCE`].
    pub(super) fn is_stuck(&self) -> bool {
        self.waiting_since()
            .is_some_and(|since| since.elapsed() >= PATIENCE)
    }

    /// Whether a state is not on the disk yet.
    pub(super) fn is_writing(&self) -> bool {
        self.waiting_since().is_some()
    }

    fn waiting_since(&self) -> Option<Instant> {
        let is_done = *self.done.borrow() >= self.given.borrow().0;
        self.waits_since.filter(|_| !is_done)
    }

    /// Takes the state away and ends the thread, which is left behind after [`PATIENCE`].
    pub(super) async fn end(self) {
        let Self {
            given, mut done, ..
        } = self;
        drop(given);
        let ended = async { while done.changed().await.is_ok() {} };
        let _ = timeout(PATIENCE, ended).await;
    }
}

/// Where states go.
trait WriteState {
    fn write(&self, state: &DaemonState);
    fn clear(&self);
}

struct Disk {
    runtime: RuntimeDirectory,
    lock: DaemonLock,
}

impl WriteState for Disk {
    fn write(&self, state: &DaemonState) {
        if let Err(error) = self.runtime.write(&self.lock, state) {
            tell!(
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

fn write_all(
    disk: &impl WriteState,
    mut states: watch::Receiver<(u64, Option<Arc<DaemonState>>)>,
    progress: &watch::Sender<u64>,
) {
    while block_on(states.changed()).is_ok() {
        let (number, state) = states.borrow_and_update().clone();
        if let Some(state) = state {
            disk.write(&state);
        }
        progress.send_replace(number);
    }
    disk.clear();
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::sync::{Arc, Mutex};

    use chrono::DateTime;

    use super::{PATIENCE, StateWriter, WriteState};
    use crate::repository::{DAEMON_STATE_FORMAT, DaemonState};

    /// A disk that takes a state when the test lets it.
    struct SlowDisk {
        taken: Sender<Option<u32>>,
        may: Mutex<Receiver<()>>,
    }

    impl WriteState for SlowDisk {
        fn write(&self, state: &DaemonState) {
            self.taken.send(Some(state.pid)).unwrap();
            self.may.lock().unwrap().recv().ok();
        }

        fn clear(&self) {
            self.taken.send(None).ok();
        }
    }

    fn state(pid: u32) -> Arc<DaemonState> {
        let at = DateTime::parse_from_rfc3339("2025-07-09T02:00:00+03:00").unwrap();
        Arc::new(DaemonState {
            format: DAEMON_STATE_FORMAT,
            pid,
            version: "1".to_owned(),
            started: at,
            loaded: at,
            refused: None,
            configuration: None,
            after_restart: Vec::new(),
            cannot_connect: Vec::new(),
            stopping: false,
            jobs: Vec::new(),
            running: Vec::new(),
            waiting: Vec::new(),
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_directory_that_does_not_answer_is_waited_for_two_seconds() {
        let ((taken, seen), (let_it, may)) = (channel(), channel());
        let may = Mutex::new(may);
        let mut writer = StateWriter::with(SlowDisk { taken, may }).unwrap();
        assert!(!writer.is_writing());
        writer.give(state(1));
        assert_eq!(seen.recv().unwrap(), Some(1));
        let began = tokio::time::Instant::now();
        writer.settle().await;
        assert_eq!(began.elapsed(), PATIENCE);
        assert!(writer.is_writing());

        writer.give(state(2));
        writer.give(state(3));
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
        let mut writer = StateWriter::with(SlowDisk { taken, may }).unwrap();
        for number in 1..=20 {
            let_it.send(()).unwrap();
            writer.give(state(number));
            writer.settle().await;
            assert!(!writer.is_writing() && !writer.is_stuck());
            assert_eq!(seen.try_recv().unwrap(), Some(number));
        }
    }
}
