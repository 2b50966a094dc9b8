//! Questions to directories of backups, each on a thread that is left behind where a directory does
//! not answer.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::snapshot::PATIENCE;
use crate::threads::{self, NoThread};

/// The directories that are being asked something: one question at a time each, so that one that hangs
/// keeps one thread, however often it is asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Directories {
    asked: Arc<Asked>,
}

#[derive(Debug, Default)]
struct Asked {
    /// By directory, since when its question waits for an answer.
    since: Mutex<BTreeMap<PathBuf, Instant>>,
    answered: Condvar,
}

impl Asked {
    fn since(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Instant>> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks one directory, after the question that is before this one; none if that one has waited for
    /// too long.
    fn ask<T>(&self, directory: &Path, question: impl Fn(&Path) -> T) -> Option<T> {
        let mut since = self.since();
        while let Some(before) = since.get(directory) {
            let left = PATIENCE.checked_sub(before.elapsed())?;
            let waited = self.answered.wait_timeout(since, left.max(SHORTEST));
            since = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        since.insert(directory.to_owned(), Instant::now());
        drop(since);
        // However the question ends, the directory can be asked again.
        let _answered = Answered(self, directory);
        Some(question(directory))
    }
}

/// A wait of nothing at all would not let the other question end.
const SHORTEST: Duration = Duration::from_millis(1);

struct Answered<'a>(&'a Asked, &'a Path);

impl Drop for Answered<'_> {
    fn drop(&mut self) {
        self.0.since().remove(self.1);
        self.0.answered.notify_all();
    }
}

impl Directories {
    /// Asks each of the directories the same question, one after the other. The answers come in the
    /// order of the directories; none from one that does not answer in time.
    ///
    /// # Errors
    /// The machine refuses a thread.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        directories: Vec<PathBuf>,
        question: impl Fn(&Path) -> T + Send + Sync + 'static,
    ) -> Result<Vec<Option<T>>, NoThread> {
        let (count, question) = (directories.len(), Arc::new(question));
        let directories = Arc::new(directories);
        let mut answers = Vec::with_capacity(count);
        while answers.len() < count {
            let (answer, mut answered) = mpsc::unbounded_channel();
            let first = answers.len();
            let (asked, question) = (Arc::clone(&self.asked), Arc::clone(&question));
            let directories = Arc::clone(&directories);
            threads::start("look", move || {
                for directory in &directories[first..] {
                    if answer.send(asked.ask(directory, &*question)).is_err() {
                        // It took too long, and another thread has gone on.
                        return;
                    }
                }
            })?;
            while answers.len() < count {
                // Of this, half may go to the question before.
                match timeout(PATIENCE * 2, answered.recv()).await {
                    Ok(Some(given)) => answers.push(given),
                    // This thread is lost; the next one goes on behind the directory.
                    Ok(None) | Err(_) => {
                        answers.push(None);
                        break;
                    }
                }
            }
        }
        Ok(answers)
    }

    /// Asks one directory; none if it does not answer in time.
    ///
    /// # Errors
    /// The machine refuses a thread.
    pub(super) async fn ask_one<T: Send + 'static>(
        &self,
        directory: PathBuf,
        question: impl Fn(&Path) -> T + Send + Sync + 'static,
    ) -> Result<Option<T>, NoThread> {
        Ok(self.ask(vec![directory], question).await?.pop().flatten())
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc::channel;
    use std::sync::{Arc, Mutex};
    use std::time::Instant;

    use super::{Directories, PATIENCE};

    #[tokio::test]
    async fn one_that_hangs_costs_one_thread_and_the_others_answer() {
        let directories = Directories::default();
        let (release, hang) = channel::<()>();
        let (hang, calls) = (Arc::new(Mutex::new(hang)), Arc::new(AtomicU32::new(0)));
        let all: Vec<PathBuf> = ["/a", "/hangs", "/b"].map(PathBuf::from).to_vec();
        let question = {
            let calls = Arc::clone(&calls);
            move |directory: &Path| {
                if directory.ends_with("hangs") {
                    calls.fetch_add(1, Ordering::SeqCst);
                    hang.lock().unwrap().recv().ok();
                }
                directory.to_owned()
            }
        };
        let question = Arc::new(question);
        let ask = |question: Arc<_>| {
            let question: Arc<dyn Fn(&Path) -> PathBuf + Send + Sync> = question;
            directories.ask(all.clone(), move |path| question(path))
        };
        let expected = [Some(all[0].clone()), None, Some(all[2].clone())];
        assert_eq!(ask(question.clone()).await.unwrap(), expected);
        let again = Instant::now();
        assert_eq!(ask(question.clone()).await.unwrap(), expected);
        assert!(again.elapsed() < PATIENCE, "it is known to hang");
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        drop(release);
        // It answers again: the first question ends, and the next one is put.
        while ask(question.clone()).await.unwrap()[1].is_none() {}
        assert_eq!(calls.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn two_questions_at_once_are_both_answered() {
        let directories = Directories::default();
        let slow = |_: &Path| std::thread::sleep(std::time::Duration::from_millis(50));
        let ask = || directories.ask_one("/a".into(), slow);
        let (one, other) = tokio::join!(ask(), ask());
        assert!(one.unwrap().is_some() && other.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_question_that_panics_leaves_the_others() {
        let directories = Directories::default();
        let all = ["/a", "/b"].map(PathBuf::from).to_vec();
        let answers = directories.ask(all, |path| {
            if path.ends_with("a") {
                std::panic::resume_unwind(Box::new(()));
            }
        });
        assert_eq!(answers.await.unwrap(), [None, Some(())]);
    }
}
