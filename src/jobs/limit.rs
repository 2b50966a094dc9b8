//! The two things that end a job from outside: its time is up, or somebody asks it to stop.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::display::span;

/// Ends a job that takes too long or is no longer wanted.
#[derive(Clone, Debug)]
pub struct Limit {
    cancel: CancellationToken,
    deadline: Instant,
    allowed: Duration,
    what: &'static str,
}

/// Why a job was ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// It was asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// Its time was up.
    #[error(
        "{} took longer than limits.{what} allows ({}) and was ended\nhint: check that the server and the \
         disk still answer, and raise limits.{what} if it needs more time",
        if *.what == "dump" { "the dump" } else { "the run" },
        span(*.allowed)
    )]
    TimedOut {
        /// The limit's name in the configuration.
        what: &'static str,
        /// What it allows.
        allowed: Duration,
    },
}

impl Limit {
    /// A limit that starts now. `what` is its name in the configuration.
    pub fn new(cancel: CancellationToken, what: &'static str, allowed: Duration) -> Self {
        // A limit beyond what the clock can count is none.
        let far = Duration::from_secs(100 * 365 * 24 * 3600);
        Self {
            cancel,
            deadline: Instant::now() + allowed.min(far),
            allowed,
            what,
        }
    }

    /// A limit that starts now, and is ended by the same token.
    pub(super) fn renewed(&self, what: &'static str, allowed: Duration) -> Self {
        Self::new(self.cancel.clone(), what, allowed)
    }

    /// A further limit inside this one; whichever comes first counts.
    #[must_use]
    pub fn within(&self, what: &'static str, allowed: Duration) -> Self {
        let inner = Self::new(self.cancel.clone(), what, allowed);
        if inner.deadline < self.deadline {
            inner
        } else {
            self.clone()
        }
    }

    /// The same limit for a part of the job, which can also be ended by itself: by cancelling what is
    /// given with it.
    pub(super) fn of_a_part(&self) -> (Self, CancellationToken) {
        let cancel = self.cancel.child_token();
        let part = Self {
            cancel: cancel.clone(),
            ..self.clone()
        };
        (part, cancel)
    }

    /// Whether somebody asked the job to stop.
    pub(super) fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Waits until the job is to end.
    pub async fn stopped(&self) -> Stop {
        tokio::select! {
            () = self.cancel.cancelled() => Stop::Interrupted,
            () = sleep_until(self.deadline) => Stop::TimedOut {
                what: self.what,
                allowed: self.allowed,
            },
        }
    }

    /// Waits for something, but not beyond the limit.
    ///
    /// # Errors
    /// When the job is to end first.
    pub async fn wait_for<T>(&self, future: impl Future<Output = T>) -> Result<T, Stop> {
        tokio::select! {
            value = future => Ok(value),
            stop = self.stopped() => Err(stop),
        }
    }
}
