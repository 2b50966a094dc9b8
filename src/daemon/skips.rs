//! Records of skipped runs go to the ledgers on threads of their own, one at a time in each directory.
//! They are never merged: what does not fit into a queue is counted, and the count is recorded.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use super::snapshot::PATIENCE;
use tracing::Span;

use crate::emit;
use crate::jobs::{JobContext, Skip, record_skip};
use crate::policy::Series;
use crate::repository::{Operation, Repository};
use crate::responsiveness::Hanging;
use crate::threads;

/// So many records wait for one directory.
const ROOM: usize = 256;

/// So many directories that hang are written to at most: each keeps a thread. Records of others wait then.
const MOST_HANGING: usize = 16;

/// A run that was skipped, as its ledger is to have it.
pub(super) struct SkippedRun {
    /// The job and its slot.
    pub context: JobContext,
    /// The database.
    pub database: String,
    /// What was skipped.
    pub operation: Operation,
    /// The series, if it was a backup.
    pub series: Option<Series>,
    /// The destination, if it was about copies.
    pub destination: Option<String>,
    /// The span of the run that was skipped.
    pub(super) span: Span,
}

/// A record that waits.
struct Entry<T> {
    run: T,
    reason: String,
}

/// Hands records to the threads that write them.
pub(super) struct SkipWriter<T = SkippedRun> {
    shared: Arc<Mutex<Queues<T>>>,
    write: Arc<Write<T>>,
}

/// Writes one record, with its reason, into the ledger of a directory.
type Write<T> = dyn Fn(&Path, T, &str) + Send + Sync;

struct Queues<T> {
    /// By directory, what no thread has taken yet.
    waiting: BTreeMap<PathBuf, Queue<T>>,
    /// Directories that a thread writes to, each since when, on both clocks.
    writing: BTreeMap<PathBuf, (Instant, DateTime<Utc>)>,
    /// Directories of which it was reported that they do not answer.
    reported: BTreeSet<PathBuf>,
    /// Whether a thread has been started that has not taken anything yet.
    is_starting: bool,
}

struct Queue<T> {
    records: VecDeque<Entry<T>>,
    /// How many came when there was no room, and the last of them.
    lost: Option<(u64, Entry<T>)>,
}

impl<T> Queue<T> {
    fn new() -> Self {
        Self {
            records: VecDeque::new(),
            lost: None,
        }
    }

    fn add(&mut self, record: Entry<T>) {
        // Once some are only counted, so are the next: the ledger has them in their order.
        match &mut self.lost {
            Some((count, last)) => (*count, *last) = (*count + 1, record),
            None if self.records.len() >= ROOM => self.lost = Some((1, record)),
            None => self.records.push_back(record),
        }
    }

    fn take(&mut self) -> Option<Entry<T>> {
        self.records.pop_front().or_else(|| {
            let (count, last) = self.lost.take()?;
            let others = count - 1;
            Some(match others {
                0 => last,
                _ => Entry {
                    reason: format!(
                        "{}; {others} more runs were skipped before it while the directory did \
                         not answer",
                        last.reason
                    ),
                    run: last.run,
                },
            })
        })
    }

    fn count(&self) -> u64 {
        let lost = self.lost.as_ref().map_or(0, |(count, _)| *count);
        lost + u64::try_from(self.records.len()).unwrap_or(u64::MAX)
    }
}

impl<T> Queues<T> {
    /// The next record of a directory that no thread writes to; the caller writes it now.
    fn next(&mut self) -> Option<(PathBuf, Entry<T>)> {
        let free = |directory: &&PathBuf| !self.writing.contains_key(*directory);
        let directory = self.waiting.keys().find(free)?.clone();
        let queue = self.waiting.get_mut(&directory)?;
        let record = queue.take();
        if queue.count() == 0 {
            self.waiting.remove(&directory);
        }
        self.writing
            .insert(directory.clone(), (Instant::now(), Utc::now()));
        Some((directory, record?))
    }

    /// Whether a further thread is needed: there is something to do, and all others hang, which are not too
    /// many.
    fn needs_thread(&self) -> bool {
        let can_write = |directory| !self.writing.contains_key(directory);
        !self.is_starting
            && self.writing.len() < MOST_HANGING
            && self.waiting.keys().any(can_write)
            && self.writing.values().all(hangs)
    }
}

fn hangs((since, _): &(Instant, DateTime<Utc>)) -> bool {
    since.elapsed() >= PATIENCE
}

impl SkipWriter {
    /// One for the ledgers.
    pub(super) fn new() -> Self {
        Self::with(|directory, run: SkippedRun, reason| {
            let SkippedRun {
                context,
                database,
                operation,
                series,
                destination,
                span,
            } = run;
            let _entered = span.enter();
            let repository = Repository::at(directory);
            let skip = Skip {
                database: &database,
                operation,
                series: series.as_ref(),
                destination: destination.as_deref(),
                reason,
            };
            if let Err(error) = record_skip(&context, &repository, skip) {
                emit!(RunWarning, {}, "{error}");
            }
        })
    }
}

impl<T: Send + 'static> SkipWriter<T> {
    fn with(write: impl Fn(&Path, T, &str) + Send + Sync + 'static) -> Self {
        let queues = Queues {
            waiting: BTreeMap::new(),
            writing: BTreeMap::new(),
            reported: BTreeSet::new(),
            is_starting: false,
        };
        Self {
            shared: Arc::new(Mutex::new(queues)),
            write: Arc::new(write),
        }
    }

    /// Has a skipped run recorded in the ledger of a directory as soon as possible.
    pub(super) fn give(&self, directory: PathBuf, run: T, reason: String) {
        lock(&self.shared)
            .waiting
            .entry(directory)
            .or_insert_with(Queue::new)
            .add(Entry { run, reason });
        self.tend();
    }

    /// Whether records are not on the disk yet.
    pub(super) fn is_writing(&self) -> bool {
        let queues = lock(&self.shared);
        !queues.waiting.is_empty() || !queues.writing.is_empty()
    }

    /// The directories whose ledgers do not take a record.
    pub(super) fn hanging(&self) -> Vec<Hanging> {
        let queues = lock(&self.shared);
        let writing = queues.writing.iter().filter(|(_, since)| hangs(since));
        writing
            .map(|(directory, (_, since))| Hanging {
                directory: directory.clone(),
                since: *since,
            })
            .collect()
    }

    /// Reports directories that hang, and has the others written to by another thread.
    pub(super) fn tend(&self) {
        let mut queues = lock(&self.shared);
        let hung = queues.writing.iter().filter(|(_, since)| hangs(since));
        let hung: BTreeSet<PathBuf> = hung.map(|(directory, _)| directory.clone()).collect();
        for directory in hung.difference(&queues.reported) {
            emit!(
                DirectoryUnusable,
                {},
                "the directory {} does not answer: skipped runs are recorded in its ledger as \
                 soon as it does",
                directory.display()
            );
        }
        queues.reported = hung;
        if !queues.needs_thread() {
            return;
        }
        let (shared, write) = (Arc::clone(&self.shared), Arc::clone(&self.write));
        let started = threads::start("skips", move || {
            loop {
                let mut queues = lock(&shared);
                queues.is_starting = false;
                let next = queues.next();
                drop(queues);
                let Some((directory, Entry { run, reason })) = next else {
                    return;
                };
                let _written = Written(&shared, &directory);
                write(&directory, run, &reason);
            }
        });
        // Without a thread they wait: this is tried again.
        queues.is_starting = started.is_ok();
    }

    /// Waits until everything is on the disk, for [`PATIENCE`] at most; what hangs is left behind.
    pub(super) async fn end(self) {
        let began = tokio::time::Instant::now();
        while self.is_writing() && began.elapsed() < PATIENCE {
            self.tend();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let queues = lock(&self.shared);
        for directory in queues.writing.keys() {
            let waiting = queues.waiting.get(directory).map_or(0, Queue::count);
            emit!(
                RunWarning,
                {},
                "the directory {} does not answer: skipped runs missing in its ledger: {}",
                directory.display(),
                waiting + 1
            );
        }
    }
}

/// The directory can be written to again, however the write ended.
struct Written<'a, T>(&'a Mutex<Queues<T>>, &'a Path);

impl<T> Drop for Written<'_, T> {
    fn drop(&mut self) {
        lock(self.0).writing.remove(self.1);
    }
}

fn lock<T>(queues: &Mutex<Queues<T>>) -> MutexGuard<'_, Queues<T>> {
    queues.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::mpsc::channel;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use super::{Entry, PATIENCE, Queue, ROOM, SkipWriter};

    #[test]
    fn what_a_full_queue_could_not_take_is_counted_and_comes_last() {
        for (given, written, last) in [
            (ROOM, ROOM, "255"),
            (ROOM + 1, ROOM + 1, "256"),
            (
                ROOM + 3,
                ROOM + 1,
                "258; 2 more runs were skipped before it while the directory did not answer",
            ),
        ] {
            let mut queue = Queue::new();
            for number in 0..given {
                let reason = number.to_string();
                queue.add(Entry { run: (), reason });
            }
            assert_eq!(queue.count(), u64::try_from(given).unwrap());
            let reasons: Vec<_> = std::iter::from_fn(|| queue.take())
                .map(|record| record.reason)
                .collect();
            assert_eq!(reasons.len(), written);
            assert_eq!(reasons[0], "0");
            assert_eq!(reasons.last().unwrap(), last);
        }
    }

    #[tokio::test]
    async fn a_directory_that_hangs_delays_no_other_and_not_the_end() {
        let (release, hang) = channel::<()>();
        let (hang, written) = (Mutex::new(hang), Arc::new(Mutex::new(Vec::new())));
        let seen = Arc::clone(&written);
        let writer = SkipWriter::with(move |directory, (), reason| {
            if directory == Path::new("/a") {
                hang.lock().unwrap().recv().ok();
            }
            seen.lock().unwrap().push(reason.to_owned());
        });
        for (directory, reason) in [("/a", "1"), ("/a", "2"), ("/b", "3"), ("/c", "4")] {
            writer.give(directory.into(), (), reason.to_owned());
        }
        for _ in 0..500 {
            writer.tend();
            if written.lock().unwrap().len() == 2 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(*written.lock().unwrap(), ["3", "4"]);
        assert!(writer.is_writing());
        let began = std::time::Instant::now();
        let shared = Arc::clone(&writer.shared);
        writer.end().await;
        assert!(began.elapsed() < PATIENCE * 2);
        // The directory answers: what waited is written, in order.
        drop(release);
        while !super::lock(&shared).waiting.is_empty() || !super::lock(&shared).writing.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(*written.lock().unwrap(), ["3", "4", "1", "2"]);
    }
}
