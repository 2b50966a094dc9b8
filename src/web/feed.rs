//! What the page shows: the newest judgement and the newest state, as the daemon hands them over.

use std::sync::Arc;

use chrono::{DateTime, FixedOffset, Utc};
use tokio::sync::watch;

use crate::jobs::StatusReport;
use crate::policy::AlertBook;
use crate::repository::DaemonState;

/// How the daemon hands things over. Where nobody shows them, nothing is kept.
#[derive(Clone, Debug)]
pub struct Feed {
    judged: watch::Sender<Option<Arc<Judgement>>>,
    live: watch::Sender<Option<Arc<Live>>>,
}

/// One judgement of all databases.
#[derive(Debug)]
pub(super) struct Judgement {
    /// The state of all backups.
    pub(super) status: Arc<StatusReport>,
    /// What is known of the alerts.
    pub(super) alerts: AlertBook,
}

/// What the daemon does now.
#[derive(Debug, PartialEq)]
pub(super) struct Live {
    /// Its state, which is as new as its last change.
    pub(super) state: Arc<DaemonState>,
    /// How far its runs are.
    pub(super) progress: Vec<Progress>,
}

/// How far a run of the daemon is.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// The server's name in the configuration.
    pub server: String,
    /// The database.
    pub database: String,
    /// The job.
    pub job: String,
    /// What is done: `backup`, `copy` or another kind.
    pub kind: String,
    /// Bytes that it has written or read.
    pub bytes: u64,
}

/// What a request sees.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    /// The newest judgement; none before the first.
    pub(super) judged: Option<Arc<Judgement>>,
    /// What the daemon does now; none before it is ready.
    pub(super) live: Option<Arc<Live>>,
    /// When the request came.
    pub(super) now: DateTime<Utc>,
}

/// Where requests see it.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    judged: watch::Receiver<Option<Arc<Judgement>>>,
    live: watch::Receiver<Option<Arc<Live>>>,
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            judged: watch::Sender::new(None),
            live: watch::Sender::new(None),
        }
    }
}

impl Feed {
    /// Whether anybody shows what is handed over.
    pub fn is_wanted(&self) -> bool {
        self.judged.receiver_count() > 0
    }

    /// Hands over a judgement.
    pub fn give_judgement(&self, status: &Arc<StatusReport>, alerts: AlertBook) {
        if self.is_wanted() {
            let status = Arc::clone(status);
            let judgement = Arc::new(Judgement { status, alerts });
            self.judged.send_replace(Some(judgement));
        }
    }

    /// Hands over the daemon's state, and how far its runs are.
    pub fn give_state(&self, state: &Arc<DaemonState>, progress: Vec<Progress>) {
        if self.is_wanted() {
            let state = Arc::clone(state);
            self.live
                .send_replace(Some(Arc::new(Live { state, progress })));
        }
    }

    /// Forgets what was handed over.
    pub(super) fn clear(&self) {
        self.judged.send_replace(None);
        self.live.send_replace(None);
    }

    /// Where requests see it.
    pub(super) fn subscribe(&self) -> Shown {
        Shown {
            judged: self.judged.subscribe(),
            live: self.live.subscribe(),
        }
    }
}

impl Shown {
    /// What there is to see now.
    pub(super) fn snapshot(&self, now: DateTime<Utc>) -> Snapshot {
        Snapshot {
            judged: self.judged.borrow().clone(),
            live: self.live.borrow().clone(),
            now,
        }
    }
}

impl Judgement {
    /// A moment on the wall clock of the configured zone.
    pub(super) fn local(&self, moment: DateTime<Utc>) -> DateTime<FixedOffset> {
        moment.with_timezone(self.status.at.offset())
    }
}
