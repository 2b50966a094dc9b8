//! Who holds the locks that a dump waits for. The answer is gone once the wait is over, so it is
//! looked for while the dump waits.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::postgres::{Blocker, Client, blockers};

/// `pg_dump` takes all its locks at its start; a look a second is cheap and misses no limit.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// Looks at who blocks a session as long as it is not dropped.
#[derive(Debug, Default)]
pub(super) struct Watch {
    seen: Arc<Mutex<Seen>>,
    /// How long the session may wait.
    lock_wait: Duration,
    task: Option<JoinHandle<()>>,
}

/// What the looks have seen.
#[derive(Debug, Default)]
struct Seen {
    /// Who was in the way when last anybody was.
    blockers: Vec<Blocker>,
    /// Since when every look has seen somebody.
    since: Option<Instant>,
}

impl Seen {
    /// What one more look has found.
    fn update(&mut self, found: Vec<Blocker>) {
        if found.is_empty() {
            self.since = None;
        } else {
            self.since.get_or_insert_with(Instant::now);
            self.blockers = found;
        }
    }
}

impl Watch {
    /// Looks on this connection for whoever blocks the session of that application name, which waits no
    /// longer than `lock_wait`.
    pub(super) fn start(client: Arc<Client>, application: String, lock_wait: Duration) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let shared = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            // An error here costs a name in an error text, never the backup.
            while let Ok(found) = blockers(&client, &application).await {
                shared
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .update(found);
                sleep(BETWEEN_LOOKS).await;
            }
        });
        Self {
            seen,
            lock_wait,
            task: Some(task),
        }
    }

    /// Whether the session waited for as long as it may: a lock that it then did not get took too long.
    pub(super) fn has_waited(&self) -> bool {
        let since = self.seen().since;
        // It began up to a look before somebody was seen.
        since.is_some_and(|since| since.elapsed() + BETWEEN_LOOKS >= self.lock_wait)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who was last seen in the way, and the way out.
    pub(super) fn blame(&self) -> String {
        let seen = self.seen();
        let Some(first) = seen.blockers.first() else {
            return "the blocking session was gone before it could be identified\nhint: raise \
                    limits.lock_wait, or run it again at a quieter time"
                .to_owned();
        };
        let list: Vec<String> = seen.blockers.iter().map(ToString::to_string).collect();
        let end = match first.pid {
            Some(pid) => format!("end that session with SELECT pg_terminate_backend({pid})"),
            None => "commit or roll back that transaction".to_owned(),
        };
        format!(
            "blocked by {}\nhint: {end}, wait for it, or raise limits.lock_wait",
            list.join(", and ")
        )
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}
