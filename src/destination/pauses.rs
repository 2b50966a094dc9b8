//! What all attempts at one request may take together: the pauses between them, and when there is no further one.

use std::time::{Duration, Instant};

/// So often a request is made that fails for a reason that may pass.
const ATTEMPTS: u32 = 7;

/// So often one is made that nobody answers: a connection can be dead without anybody having noticed.
const SILENCES: u32 = 2;

/// The pause before the second attempt; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// All attempts together take no longer than so many times the limit of one.
const TOTAL: u32 = 2;

/// Whether a request that failed may succeed when it is made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passing {
    /// A lost connection, a busy store: it may.
    Soon,
    /// Nobody has answered in time: whoever asks again waits as long again.
    Silence,
    /// A refusal.
    Never,
}

/// The attempts at one request.
pub(super) struct Pauses {
    attempts: u32,
    silences: u32,
    timeout: Duration,
    deadline: Instant,
}

impl Pauses {
    /// Of a request of which one attempt takes no longer than this.
    pub(super) fn new(timeout: Duration) -> Self {
        Self {
            attempts: 1,
            silences: 0,
            timeout,
            deadline: Instant::now() + timeout * TOTAL,
        }
    }

    /// So long the next attempt may take.
    pub(super) fn limit(&self) -> Duration {
        let left = self.deadline.saturating_duration_since(Instant::now());
        left.min(self.timeout)
    }

    /// Waits before the next attempt, or gives back why there is none.
    pub(super) async fn wait<F>(&mut self, (fault, passing): (F, Passing)) -> Result<(), F> {
        match self.pause(passing) {
            Some(pause) if pause < self.limit() => {
                tokio::time::sleep(pause).await;
                Ok(())
            }
            _ => Err(fault),
        }
    }

    /// The pause before the next attempt; none where there is none.
    fn pause(&mut self, passing: Passing) -> Option<Duration> {
        self.silences += u32::from(passing == Passing::Silence);
        let is_last = self.attempts >= ATTEMPTS || self.silences >= SILENCES;
        if is_last || passing == Passing::Never {
            return None;
        }
        self.attempts += 1;
        Some(FIRST_PAUSE * 2_u32.pow(self.attempts - 2))
    }
}

#[cfg(test)]
mod tests {
    use super::Passing::{Never, Silence, Soon};
    use super::*;

    #[test]
    fn what_may_pass_is_tried_again_and_what_nobody_answers_only_once() {
        for (faults, attempts) in [
            (&[Never][..], 1),
            (&[Soon; 9], 7),
            (&[Silence; 9], 2),
            (&[Soon, Soon, Never], 3),
            (&[Soon, Silence, Soon, Silence, Soon], 4),
        ] {
            let mut pauses = Pauses::new(Duration::from_secs(60));
            let followed = faults.iter().map_while(|fault| pauses.pause(*fault));
            assert_eq!(followed.count() + 1, attempts, "{faults:?}");
        }
    }

    #[tokio::test]
    async fn all_attempts_together_end_at_twice_the_limit_of_one() {
        let timeout = Duration::from_secs(60);
        let mut pauses = Pauses::new(timeout);
        assert_eq!(pauses.limit(), timeout);
        pauses.deadline = Instant::now() + Duration::from_secs(10);
        assert!(pauses.limit() <= Duration::from_secs(10));
        pauses.deadline = Instant::now();
        assert_eq!(pauses.limit(), Duration::ZERO);
        assert_eq!(pauses.wait(("why", Soon)).await, Err("why"));
    }
}
