//! The growing pauses between attempts at something that may pass.

use std::time::{Duration, Instant};

/// So often a request is made that fails for a reason that may pass.
const ATTEMPTS: u32 = 7;

/// The pause before the second attempt; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// After so many times the limit of one request, no further attempt begins.
const LONGEST: u32 = 3;

/// The pauses between attempts.
pub(super) struct Pauses {
    attempt: u32,
    began: Instant,
    longest: Duration,
}

impl Pauses {
    /// Of requests that take no longer than this.
    pub(super) fn new(timeout: Duration) -> Self {
        Self {
            attempt: 1,
            began: Instant::now(),
            longest: timeout * LONGEST,
        }
    }

    /// Waits before the next attempt, or gives back why there is none.
    pub(super) async fn wait<F>(&mut self, fault: F) -> Result<(), F> {
        if self.attempt >= ATTEMPTS || self.began.elapsed() > self.longest {
            return Err(fault);
        }
        let pause = FIRST_PAUSE * 2_u32.pow(self.attempt - 1);
        self.attempt += 1;
        tokio::time::sleep(pause).await;
        Ok(())
    }
}
