//! Questions to directories of backups, each on a thread that is left behind where a directory does
//! not answer; and which directories do not.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::responsiveness::{HASTE, Hanging, PATIENCE, Questions};
use crate::threads::{self, NoThread};

/// How often a directory is asked while work in it goes on.
const LOOK: Duration = Duration::from_secs(5);

/// The directories that are being asked something.
#[derive(Clone, Debug)]
pub(super) struct Directories {
    /// So that each is asked one question at a time.
    questions: Arc<Questions>,
    /// [`PATIENCE`], but in tests.
    patience: Duration,
}

/// What the thread that asks reports.
enum Word<T> {
    /// The next directory is asked from now on.
    Asks,
    /// Its answer; none if the question before has none yet.
    Answered(Option<T>),
}

impl Default for Directories {
    fn default() -> Self {
        Self {
            questions: Questions::of_this_process(),
            patience: PATIENCE,
        }
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
        let question = Arc::new(question);
        let mut answers = Vec::with_capacity(directories.len());
        let mut patience = self.patience;
        while answers.len() < directories.len() {
            let rest = directories[answers.len()..].to_vec();
            let mut words = self.begin(rest, patience, &question)?;
            while answers.len() < directories.len() {
                match timeout(patience + HASTE, words.recv()).await {
                    Ok(Some(Word::Asks)) => {}
                    Ok(Some(Word::Answered(answer))) => answers.push(answer),
                    // This thread is lost; the next one goes on behind the directory.
                    Ok(None) | Err(_) => {
                        answers.push(None);
                        patience = patience.min(HASTE);
                        break;
                    }
                }
            }
        }
        Ok(answers)
    }

    /// Starts a thread that asks these directories.
    fn begin<T: Send + 'static>(
        &self,
        directories: Vec<PathBuf>,
        patience: Duration,
        question: &Arc<impl Fn(&Path) -> T + Send + Sync + 'static>,
    ) -> Result<mpsc::UnboundedReceiver<Word<T>>, NoThread> {
        let (word, words) = mpsc::unbounded_channel();
        let (questions, question) = (Arc::clone(&self.questions), Arc::clone(question));
        threads::start("look", move || {
            for directory in &directories {
                let answer = questions.turn(directory, patience).map(|turn| {
                    let _ = word.send(Word::Asks);
                    turn.ask(&*question)
                });
                if word.send(Word::Answered(answer)).is_err() {
                    // It took too long, and another thread has gone on.
                    return;
                }
            }
        })?;
        Ok(words)
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

    /// Waits for work in a directory for as long as the directory answers; none once it has not for
    /// `limit`.
    pub(super) async fn outlast<T>(
        &self,
        directory: &Path,
        limit: Duration,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let mut work = pin!(work);
        loop {
            let looking = async {
                sleep(LOOK.min(limit)).await;
                // Not from a cache: a network file system asks its server for this.
                let asked = self.ask_one(directory.to_owned(), |directory| {
                    let _ = rustix::fs::statvfs(directory);
                });
                // Where there is no thread to ask with, nothing is known of the directory.
                match asked.await {
                    Ok(None) => self.questions.silence(directory).unwrap_or_default(),
                    Ok(Some(())) | Err(_) => Duration::ZERO,
                }
            };
            tokio::select! {
                biased;
                outcome = &mut work => return Some(outcome),
                silence = looking => {
                    if silence >= limit {
                        return None;
                    }
                }
            }
        }
    }

    /// The directories that do not answer.
    pub(super) fn hanging(&self) -> Vec<Hanging> {
        self.questions.hanging(self.patience)
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc::channel;
    use std::sync::{Arc, Mutex};
    use std::time::{Duration, Instant};

    use super::Directories;

    const PATIENCE: Duration = Duration::from_millis(300);

    fn directories() -> Directories {
        Directories {
            questions: Arc::default(),
            patience: PATIENCE,
        }
    }

    #[tokio::test]
    async fn one_that_hangs_costs_one_thread_and_the_others_answer() {
        let directories = directories();
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
        let hanging = directories.hanging();
        assert_eq!(hanging.len(), 1);
        assert_eq!(hanging[0].directory, all[1]);
        let again = Instant::now();
        assert_eq!(ask(question.clone()).await.unwrap(), expected);
        assert!(again.elapsed() < PATIENCE, "it is known to hang");
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        drop(release);
        // It answers again: the first question ends, and the next one is put.
        while ask(question.clone()).await.unwrap()[1].is_none() {}
        assert_eq!(calls.load(Ordering::SeqCst), 2);
        assert_eq!(directories.hanging(), []);
    }

    #[tokio::test]
    async fn two_questions_at_once_are_both_answered() {
        let directories = directories();
        let slow = |_: &Path| std::thread::sleep(Duration::from_millis(50));
        let ask = || directories.ask_one("/a".into(), slow);
        let (one, other) = tokio::join!(ask(), ask());
        assert!(one.unwrap().is_some() && other.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_question_that_panics_leaves_the_others() {
        let directories = directories();
        let all = ["/a", "/b"].map(PathBuf::from).to_vec();
        let answers = directories.ask(all, |path| {
            if path.ends_with("a") {
                std::panic::resume_unwind(Box::new(()));
            }
        });
        assert_eq!(answers.await.unwrap(), [None, Some(())]);
    }

    #[tokio::test]
    async fn work_is_waited_for_while_its_directory_answers() {
        let directories = directories();
        let home = tempfile::tempdir().unwrap();
        let limit = Duration::from_millis(50);
        let work = async {
            tokio::time::sleep(limit * 10).await;
            "done"
        };
        assert_eq!(
            directories.outlast(home.path(), limit, work).await,
            Some("done")
        );
    }

    #[tokio::test]
    async fn work_in_a_directory_that_hangs_is_given_up() {
        let directories = directories();
        let (release, hang) = channel::<()>();
        let hang = Mutex::new(hang);
        let asking = directories.ask_one("/hangs".into(), move |_| {
            hang.lock().unwrap().recv().ok();
        });
        assert_eq!(asking.await.unwrap(), None);
        let work = std::future::pending::<()>();
        let limit = Duration::from_millis(200);
        let outcome = directories.outlast(Path::new("/hangs"), limit, work);
        assert_eq!(outcome.await, None);
        drop(release);
    }
}
