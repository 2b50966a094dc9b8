//! Whether directories answer. A call into a file system that hangs, such as one over a network whose
//! server is gone, never comes back; whoever asks here is not held up by it.
//!
//! A directory is asked one question at a time, so that one that hangs keeps one thread, however often it
//! is asked. Nothing is looked up in a file system before its root has answered, see [`approach`].

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use crate::threads;

/// A directory that has not answered for so long hangs. A disk that sleeps needs some seconds to turn.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Once one directory hangs, others of the same round are waited for no longer than this.
pub(crate) const HASTE: Duration = Duration::from_secs(1);

/// So many questions are left without an answer at most, since each keeps a thread and the service may have
/// 512. A further directory counts as one that does not answer, and is not asked.
const MOST_UNANSWERED: usize = 48;

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

/// The turn of a question to a directory; the next one comes when this is answered, however that ended.
pub(crate) struct Turn<'a>(&'a Questions, &'a Path);

impl Turn<'_> {
    /// Asks the directory on this thread.
    pub(crate) fn ask<T>(self, question: impl FnOnce(&Path) -> T) -> T {
        // What is wrong with the way there, the question itself finds out.
        let _ = approach(self.1);
        question(self.1)
    }
}

impl Drop for Turn<'_> {
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

    /// Waits on this thread for the turn to ask a directory, after the question that is before this one;
    /// none if that one has waited for too long, or too many others have. The question counts as put.
    pub(crate) fn turn<'a>(&'a self, directory: &'a Path, patience: Duration) -> Option<Turn<'a>> {
        let mut since = self.since();
        while let Some((before, _)) = since.get(directory) {
            let left = patience.checked_sub(before.elapsed())?;
            let waited = self.answered.wait_timeout(since, left.max(SHORTEST));
            since = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let slow = since.values();
        let slow = slow.filter(|(since, _)| since.elapsed() >= patience.min(HASTE));
        if slow.count() >= MOST_UNANSWERED {
            return None;
        }
        since.insert(directory.to_owned(), (Instant::now(), Utc::now()));
        Some(Turn(self, directory))
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
        let turn = questions.turn(&asked, patience);
        // Whoever asks may have given up.
        let _ = answer.send(turn.map(|turn| turn.ask(question)));
    });
    thread.map_err(|error| error.0)?;
    match answered.recv_timeout(patience) {
        Ok(Some(answer)) => Ok(answer),
        Ok(None) | Err(RecvTimeoutError::Timeout) => Err(no_answer()),
        Err(RecvTimeoutError::Disconnected) => Err(panicked()),
    }
}

/// Asks one directory on the thread that calls, after other questions to it. Which directories hang is known
/// of all questions.
///
/// # Errors
/// The answer is one, or a question before this one has none.
pub(crate) fn ask_here<T>(
    directory: &Path,
    question: impl FnOnce(&Path) -> io::Result<T>,
) -> io::Result<T> {
    let questions = Questions::of_this_process();
    match questions.turn(directory, PATIENCE) {
        Some(turn) => turn.ask(question),
        None => Err(no_answer()),
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

/// A path with more symbolic links than this does not end; the kernel has the same limit.
const LINKS: u32 = 40;

/// Asks each file system on the way to a directory whether it answers, at its root.
///
/// That wait can be killed. A lookup may wait for another process's lookup of the same name, or for its lock
/// on the directory above, and the kernel lets no signal end such a wait. So a file system that hangs is not
/// entered: the process that asks could not end before the other one does.
///
/// # Errors
/// Something on the way cannot be looked at.
fn approach(directory: &Path) -> io::Result<()> {
    let mut here = PathBuf::from("/");
    let mut rest = names(&std::path::absolute(directory)?);
    let (mut device, mut links) = (None, 0);
    loop {
        let found = here.symlink_metadata()?;
        if found.is_symlink() {
            links += 1;
            if links > LINKS {
                return Err(rustix::io::Errno::LOOP.into());
            }
            let target = here.read_link()?;
            here.pop();
            if target.is_absolute() {
                here = PathBuf::from("/");
            }
            rest.extend(names(&target));
            device = None;
        } else if device != Some(found.dev()) {
            // Not from a cache: a network file system asks its server for this.
            rustix::fs::statvfs(&here)?;
            device = Some(found.dev());
        }
        match rest.pop() {
            None => return Ok(()),
            // Nothing in `here` is a link any more.
            Some(name) if name == ".." => {
                here.pop();
                device = None;
            }
            Some(name) => here.push(name),
        }
    }
}

/// The names in a path, the last one first.
fn names(path: &Path) -> Vec<OsString> {
    let components = path.components().rev();
    let names = components.filter_map(|component| match component {
        Component::Normal(_) | Component::ParentDir => Some(component.as_os_str().to_owned()),
        Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
    });
    names.collect()
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

    use super::{MOST_UNANSWERED, Questions, approach, ask, outlast};

    #[test]
    fn many_directories_that_hang_keep_a_limited_number_of_threads() {
        let questions = Questions::default();
        let patience = Duration::from_millis(20);
        let hang = std::sync::Barrier::new(MOST_UNANSWERED + 1);
        std::thread::scope(|scope| {
            for number in 0..MOST_UNANSWERED {
                let (questions, hang) = (&questions, &hang);
                scope.spawn(move || {
                    let directory = format!("/answers/many/{number}");
                    let turn = questions.turn(directory.as_ref(), patience);
                    turn.map(|turn| turn.ask(|_| hang.wait()))
                });
            }
            while questions.hanging(patience).len() < MOST_UNANSWERED {
                std::thread::sleep(Duration::from_millis(1));
            }
            let further = Path::new("/answers/many/further");
            let is_asked = questions.turn(further, patience).is_some();
            hang.wait();
            assert!(!is_asked);
        });
        assert!(
            questions
                .turn(Path::new("/answers/many"), patience)
                .is_some()
        );
    }

    #[test]
    fn a_directory_is_approached_over_links_and_from_wherever() {
        use std::os::unix::fs::symlink;
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        std::fs::create_dir_all(at("a/b")).unwrap();
        symlink("../a/./b", at("a/relative")).unwrap();
        symlink(at("a/relative/.."), at("absolute")).unwrap();
        symlink("endless", at("endless")).unwrap();
        for there in ["a/b", "a/relative", "absolute/b/../relative", "a/b/"] {
            approach(&at(there)).unwrap();
        }
        for one in [
            Path::new("/"),
            Path::new("src"),
            Path::new(".."),
            Path::new("."),
        ] {
            approach(one).unwrap();
        }
        assert_eq!(
            approach(&at("a/c")).unwrap_err().kind(),
            ErrorKind::NotFound
        );
        let error = approach(&at("endless")).unwrap_err();
        assert_eq!(
            error.raw_os_error(),
            Some(rustix::io::Errno::LOOP.raw_os_error())
        );
    }

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
