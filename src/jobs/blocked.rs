//! Who holds the locks that a dump waits for. The answer is gone once the wait is over, so it is
//! looked for while the dump waits.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::postgres::{Blocker, Client, blockers};

/// `pg_dump` takes all its locks at its start; a look a second is cheap and misses no limit.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// Looks at who blocks a session as long as it is not dropped.
#[derive(Debug, Default)]
pub(super) struct Watch {
    last_seen: Arc<Mutex<Vec<Blocker>>>,
    task: Option<JoinHandle<()>>,
}

impl Watch {
    /// Looks on this connection for whoever blocks the session of that application name.
    pub(super) fn start(client: Arc<Client>, application: String) -> Self {
        let last_seen = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&last_seen);
        let task = tokio::spawn(async move {
            // An error here costs a name in an error text, never the backup.
            while let Ok(found) = blockers(&client, &application).await {
                if !found.is_empty() {
                    *seen.lock().unwrap_or_else(PoisonError::into_inner) = found;
                }
                sleep(BETWEEN_LOOKS).await;
            }
        });
        Self {
            last_seen,
            task: Some(task),
        }
    }

    /// Whether anybody was seen in the way.
    pub(super) fn has_seen_any(&self) -> bool {
        let seen = self.last_seen.lock();
        !seen.unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Who was last seen in the way, and the way out.
    pub(super) fn blame(&self) -> String {
        let seen = self
            .last_seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(first) = seen.first() else {
            return "who held it was gone before that could be seen; raise limits.lock_wait, or run \
                    it again at a quieter time"
                .to_owned();
        };
        let list: Vec<String> = seen.iter().map(ToString::to_string).collect();
        let end = match first.pid {
            Some(pid) => format!("end that session with SELECT pg_terminate_backend({pid})"),
            None => "commit or roll back that transaction".to_owned(),
        };
        format!(
            "in the way was {}; {end}, wait for it, or raise limits.lock_wait",
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
