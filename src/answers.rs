//! Whether directories answer. A call into a file system that hangs, such as one over a network whose
//! server is gone, never comes back; whoever asks here is not held up by it.
//!
//! A directory is asked one question at a time, so that one that hangs keeps one thread, however often it
//! is asked.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use crate::threads;

/// A directory that has not answered for so long hangs. A disk that sleeps needs some seconds to turn.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Once one directory hangs, others of the same round are waited for no longer than this.
pub(crate) const HASTE: Duration = Duration::from_secs(1);

/// A wait of nothing at all would not let the other question end.
const SHORTEST: Duration = Duration::from_millis(1);

/// A directory that does not answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Hanging {
    /// The directory.
    pub(crate) directory: PathBuf,
    /// Since when it is waited for.
    pub(crate) since: DateTime<Utc>,
}

/// The questions that have no answer yet.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    /// By directory, since when its question waits for an answer, on both clocks.
    since: Mutex<BTreeMap<PathBuf, (Instant, DateTime<Utc>)>>,
    answered: Condvar,
}

/// Those of this process.
static OF_THIS_PROCESS: LazyLock<Arc<Questions>> = LazyLock::new(Arc::default);

/// The question of a directory is answered, however it ended.
struct Answered<'a>(&'a Questions, &'a Path);

impl Drop for Answered<'_> {
    fn drop(&mut self) {
        self.0.since().remove(self.1);
        self.0.answered.notify_all();
    }
}

impl Questions {
    /// The questions that this process asks.
    pub(crate) fn of_this_process() -> Arc<Self> {
        Arc::clone(&OF_THIS_PROCESS)
    }

    fn since(&self) -> MutexGuard<'_, BTreeMap<PathBuf, (Instant, DateTime<Utc>)>> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks one directory on this thread, after the question that is before this one; none if that one has
    /// waited for too long. `begins` is called right before the question is put.
    pub(crate) fn ask<T>(
        &self,
        directory: &Path,
        patience: Duration,
        begins: impl FnOnce(),
        question: impl FnOnce(&Path) -> T,
    ) -> Option<T> {
        let mut since = self.since();
        while let Some((before, _)) = since.get(directory) {
            let left = patience.checked_sub(before.elapsed())?;
            let waited = self.answered.wait_timeout(since, left.max(SHORTEST));
            since = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        since.insert(directory.to_owned(), (Instant::now(), Utc::now()));
        drop(since);
        let _answered = Answered(self, directory);
        begins();
        Some(question(directory))
    }

    /// For how long a directory has not answered the question that is put to it; none if none is.
    pub(crate) fn silence(&self, directory: &Path) -> Option<Duration> {
        let since = self.since();
        since.get(directory).map(|(since, _)| since.elapsed())
    }

    /// The directories that have not answered for so long.
    pub(crate) fn hanging(&self, patience: Duration) -> Vec<Hanging> {
        let since = self.since();
        since
            .iter()
            .filter(|(_, (since, _))| since.elapsed() >= patience)
            .map(|(directory, (_, since))| Hanging {
                directory: directory.clone(),
                since: *since,
            })
            .collect()
    }
}

/// Asks one directory on a thread of its own, which is left behind if there is no answer in time.
///
/// # Errors
/// It does not answer, or the machine refuses a thread.
pub(crate) fn ask<T: Send + 'static>(
    directory: &Path,
    patience: Duration,
    question: impl FnOnce(&Path) -> T + Send + 'static,
) -> io::Result<T> {
    let (answer, answered) = mpsc::channel();
    let asked = directory.to_owned();
    let thread = threads::start("look", move || {
        let questions = Questions::of_this_process();
        // Whoever asks may have given up.
        let _ = answer.send(questions.ask(&asked, patience, || {}, question));
    });
    thread.map_err(|error| error.0)?;
    match answered.recv_timeout(patience) {
        Ok(Some(answer)) => Ok(answer),
        Ok(None) | Err(RecvTimeoutError::Timeout) => Err(no_answer()),
        Err(RecvTimeoutError::Disconnected) => Err(panicked()),
    }
}

/// Works in a directory on a thread of its own, for as long as the directory answers; then that thread is
/// left behind.
///
/// # Errors
/// The directory does not answer, or the machine refuses a thread.
pub(crate) fn outlast<T: Send + 'static>(
    directory: &Path,
    patience: Duration,
    work: impl FnOnce(&Path) -> T + Send + 'static,
) -> io::Result<T> {
    let (done, outcome) = mpsc::channel();
    let place = directory.to_owned();
    let thread = threads::start("look", move || {
        // Whoever wanted to know may have given up.
        let _ = done.send(work(&place));
    });
    thread.map_err(|error| error.0)?;
    loop {
        match outcome.recv_timeout(patience) {
            Ok(outcome) => return Ok(outcome),
            Err(RecvTimeoutError::Timeout) => ask(directory, patience, |directory| {
                // Not from a cache: a network file system asks its server for this.
                let _ = rustix::fs::statvfs(directory);
            })?,
            Err(RecvTimeoutError::Disconnected) => return Err(panicked()),
        }
    }
}

fn no_answer() -> io::Error {
    io::Error::new(
        io::ErrorKind::TimedOut,
        "the directory does not answer: its file system hangs",
    )
}

fn panicked() -> io::Error {
    io::Error::other("a thread has panicked")
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::path::Path;
    use std::sync::mpsc::channel;
    use std::time::{Duration, Instant};

    use super::{Questions, ask, outlast};

    #[test]
    fn work_goes_on_while_its_directory_answers() {
        let patience = Duration::from_millis(20);
        let home = tempfile::tempdir().unwrap();
        let slow = move |_: &Path| std::thread::sleep(patience * 5);
        outlast(home.path(), patience, slow).unwrap();

        let hangs = Path::new("/answers/hangs/at/work");
        let (release, hang) = channel::<()>();
        ask(hangs, patience, move |_| hang.recv().ok()).unwrap_err();
        let (end, work) = channel::<()>();
        let error = outlast(hangs, patience, move |_| work.recv().ok()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        drop((release, end));
    }

    #[test]
    fn a_directory_that_hangs_is_waited_for_once() {
        let patience = Duration::from_millis(200);
        let directory = Path::new("/answers/hangs");
        let (release, hang) = channel::<()>();
        let error = ask(directory, patience, move |_| hang.recv().ok()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        let questions = Questions::of_this_process();
        let is_hanging = || {
            let hanging = questions.hanging(patience);
            hanging.iter().any(|one| one.directory == directory)
        };
        while !is_hanging() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let began = Instant::now();
        let error = ask(directory, patience, |_| unreachable!()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(began.elapsed() < patience, "it is known to hang");
        assert_eq!(ask(Path::new("/answers"), patience, |_| 1).unwrap(), 1);
        drop(release);
        while is_hanging() {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(ask(directory, patience, |_| 2).unwrap(), 2);
    }
}
