//! How fast a destination is sent to and read from: `rate` of the configuration.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Keeps what passes to a rate, whoever sends it.
#[derive(Debug)]
pub(super) struct Pace {
    /// Bytes in a second; none for as fast as can be.
    rate: Option<u64>,
    /// When the next bytes may go.
    next: Mutex<Option<Instant>>,
}

impl Pace {
    /// At so many bytes in a second.
    pub(super) fn new(rate: Option<u64>) -> Self {
        Self {
            rate: rate.filter(|rate| *rate > 0),
            next: Mutex::default(),
        }
    }

    /// Waits until so many bytes may go.
    pub(super) async fn wait(&self, bytes: u64) {
        let Some(rate) = self.rate else {
            return;
        };
        let took = Duration::from_secs_f64(length_of_time(bytes, rate));
        let turn = {
            // A panic while it was held has changed nothing that matters.
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let turn = next.map_or_else(Instant::now, |next| next.max(Instant::now()));
            *next = Some(turn + took);
            turn
        };
        sleep_until(turn).await;
    }
}

/// How long so many bytes take at a rate, in seconds; at most a day, for a rate that nobody means.
#[expect(clippy::cast_precision_loss, reason = "a length of time to be waited")]
fn length_of_time(bytes: u64, rate: u64) -> f64 {
    (bytes as f64 / rate as f64).min(86_400.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_sent_by_several_keeps_to_one_rate_together() {
        let pace = Pace::new(Some(1000));
        let began = Instant::now();
        let send = async |bytes| {
            pace.wait(bytes).await;
            began.elapsed().as_secs()
        };
        let (one, two, three) = futures::join!(send(2000), send(3000), send(1000));
        let mut turns = [one, two, three];
        turns.sort_unstable();
        assert_eq!(turns, [0, 2, 5]);
        // Time that was not used is not caught up.
        tokio::time::sleep(Duration::from_secs(100)).await;
        let before = began.elapsed().as_secs();
        assert_eq!(send(1).await, before);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_rate_nothing_waits() {
        for rate in [None, Some(0)] {
            let pace = Pace::new(rate);
            let began = Instant::now();
            pace.wait(u64::MAX).await;
            pace.wait(u64::MAX).await;
            assert_eq!(began.elapsed(), Duration::ZERO, "{rate:?}");
        }
    }
}
