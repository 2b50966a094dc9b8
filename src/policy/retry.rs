//! When a run that failed for a reason that may pass is tried again.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

/// Growing pauses between the tries of one run: each is twice the one before, up to a longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The pause after the first try.
    pub first: Duration,
    /// No pause is longer.
    pub longest: Duration,
}

impl Retry {
    /// The pause after a failed try; tries are counted from 1.
    pub fn pause(&self, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(1);
        2u32.checked_pow(doublings)
            .and_then(|factor| self.first.checked_mul(factor))
            // Beyond 2^31 only a pause of nothing is still short.
            .unwrap_or(if self.first.is_zero() {
                Duration::ZERO
            } else {
                self.longest
            })
            .min(self.longest)
    }

    /// When a run is tried again whose try number `attempt`, counted from 1, failed at `failed_at`;
    /// none when the next try would begin at `ends`, the end of the job's window, or later.
    pub fn again(
        &self,
        attempt: u32,
        failed_at: DateTime<Utc>,
        ends: DateTime<Utc>,
    ) -> Option<DateTime<Utc>> {
        let pause = TimeDelta::from_std(self.pause(attempt)).ok()?;
        failed_at
            .checked_add_signed(pause)
            .filter(|next| *next < ends)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::{DateTime, TimeDelta, Utc};
    use proptest::prelude::*;

    use super::Retry;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    const USUAL: Retry = Retry {
        first: seconds(30),
        longest: seconds(15 * 60),
    };

    #[test]
    fn each_pause_is_twice_the_last_up_to_the_longest() {
        let pauses: Vec<u64> = (1..=7).map(|n| USUAL.pause(n).as_secs()).collect();
        assert_eq!(pauses, [30, 60, 120, 240, 480, 900, 900]);
        assert_eq!(USUAL.pause(u32::MAX), USUAL.longest);
    }

    #[test]
    fn a_try_that_would_begin_when_the_window_has_ended_is_not_made() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let failed = at("2025-07-09T02:00:00Z");
        let again = |ends: &str| USUAL.again(1, failed, at(ends));
        assert_eq!(
            again("2025-07-09T02:00:31Z"),
            Some(at("2025-07-09T02:00:30Z"))
        );
        assert_eq!(again("2025-07-09T02:00:30Z"), None);
        assert_eq!(again("2025-07-09T01:00:00Z"), None);
        assert_eq!(USUAL.again(1, DateTime::<Utc>::MAX_UTC, failed), None);
    }

    proptest! {
        #[test]
        fn pauses_never_shrink_never_vanish_and_never_pass_the_longest(
            first in 1u64..1 << 40, longest in 1u64..1 << 40, attempt in any::<u32>(),
        ) {
            let retry = Retry { first: seconds(first), longest: seconds(longest) };
            let pause = retry.pause(attempt);
            prop_assert!(pause <= retry.longest);
            prop_assert!(pause >= retry.first.min(retry.longest));
            prop_assert!(retry.pause(attempt.saturating_add(1)) >= pause);
        }

        #[test]
        fn tries_within_a_window_come_to_an_end_within_it(
            first in 1u64..10_000, longest in 1u64..100_000, window in 1i64..100_000,
        ) {
            let retry = Retry { first: seconds(first), longest: seconds(longest) };
            let slot = DateTime::<Utc>::UNIX_EPOCH;
            let ends = slot + TimeDelta::seconds(window);
            let (mut now, mut attempt) = (slot, 1);
            while let Some(next) = retry.again(attempt, now, ends) {
                prop_assert!(now < next && next < ends);
                now = next;
                attempt += 1;
            }
            prop_assert!(now + TimeDelta::from_std(retry.pause(attempt)).unwrap() >= ends);
        }
    }
}
