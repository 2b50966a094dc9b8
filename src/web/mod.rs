//! The page for the browser, with `/metrics`, `/healthz` and `/api/status`: the state of the backups, for
//! whoever reaches a loopback port or a Unix socket.
//!
//! It is read-only, and shows what the daemon hands over through its [`Feed`]; a request never looks at
//! a disk or asks a server. Without `[web]` there is no task, and nothing is kept.

mod activity;
mod chart;
mod copies;
mod database;
mod feed;
mod guard;
mod health;
mod links;
mod listen;
mod overview;
mod page;
mod routes;
mod sections;
mod serve;
mod strip;
#[cfg(test)]
mod tests;

use tokio::task::JoinHandle;
use tokio::time::{Duration, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::Listen;
pub use feed::{Feed, Progress};

/// So long the end of the service waits for answers that are being sent.
const PATIENCE: Duration = Duration::from_secs(3);

/// The page, where it is switched on.
#[derive(Debug)]
pub struct Web {
    feed: Feed,
    running: Option<Running>,
}

/// The task that listens.
#[derive(Debug)]
struct Running {
    listen: Listen,
    /// Ends it in good order.
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl Web {
    /// Starts the page where it is configured.
    pub fn start(listen: Option<&Listen>, feed: Feed) -> Self {
        let mut web = Self {
            feed,
            running: None,
        };
        web.follow(listen);
        web
    }

    /// Follows another configuration: it listens elsewhere, or no longer, or as before.
    pub fn follow(&mut self, listen: Option<&Listen>) {
        if self.running.as_ref().map(|running| &running.listen) == listen {
            return;
        }
        let before = self.running.take().map(|running| {
            running.cancel.cancel();
            running.task
        });
        let Some(listen) = listen.cloned() else {
            self.feed.clear();
            return;
        };
        let cancel = CancellationToken::new();
        let (shown, ended) = (self.feed.subscribe(), cancel.clone());
        let address = listen.clone();
        let task = tokio::spawn(async move {
            // The old one may hold the same port.
            if let Some(before) = before {
                let _ = before.await;
            }
            serve::run(&address, shown, ended).await;
        });
        self.running = Some(Running {
            listen,
            cancel,
            task,
        });
    }

    /// Ends the page. Answers that are being sent are waited for a moment.
    pub async fn end(self) {
        let Some(running) = self.running else {
            return;
        };
        running.cancel.cancel();
        let abort = running.task.abort_handle();
        if timeout(PATIENCE, running.task).await.is_err() {
            abort.abort();
        }
    }
}
