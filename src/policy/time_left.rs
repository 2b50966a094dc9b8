//! How long something will still take, judged by how fast it has gone. Pure: given the time.

use std::time::Duration;

/// Before this, what was seen says little.
const FIRST: Duration = Duration::from_secs(5);

/// The pace of this much time counts; of what was before, ever less.
const MEMORY: Duration = Duration::from_secs(30);

/// Beyond this nobody can say.
const LONGEST: Duration = Duration::from_secs(48 * 3600);

/// So much of the end is not reported: what comes last (indexes, constraints) is no longer counted by
/// its amount.
const LAST: f64 = 0.005;

/// The pace of something that has an end, as it was seen.
#[derive(Clone, Debug, Default)]
pub struct TimeLeft {
    seen: Option<(Duration, u64)>,
    /// Per second; weighed down as long as little was seen, and weighed up again by `weight`.
    pace: f64,
    weight: f64,
}

impl TimeLeft {
    /// So much of it was done after so long; gives how long the rest takes, and nothing while that
    /// cannot be said: in the first seconds, at the very end, and where it hardly moves.
    pub fn observe(&mut self, after: Duration, done: u64, of: u64) -> Option<Duration> {
        let (last, before) = self.seen.unwrap_or_default();
        if after < last || done < before {
            // It has begun again.
            *self = Self::default();
            self.seen = Some((after, done));
            return None;
        }
        let passed = after.saturating_sub(last).as_secs_f64();
        if passed > 0.0 {
            self.seen = Some((after, done));
            let fresh = 1.0 - (-passed / MEMORY.as_secs_f64()).exp();
            self.pace += fresh * (amount(done - before) / passed - self.pace);
            self.weight += fresh * (1.0 - self.weight);
        }
        let left = amount(of.saturating_sub(done));
        if after < FIRST || left <= amount(of) * LAST || self.weight <= 0.0 {
            return None;
        }
        let seconds = left * self.weight / self.pace;
        (seconds <= LONGEST.as_secs_f64()).then(|| Duration::from_secs_f64(seconds))
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "an estimate does not need the last of 53 bits"
)]
fn amount(number: u64) -> f64 {
    number as f64
}

/// An estimate as people say it, no more exact than it is.
pub fn about(left: Duration) -> String {
    let minutes = left.as_secs().div_ceil(60);
    match minutes {
        0 | 1 => "less than a minute".to_owned(),
        2..60 => format!("about {minutes} minutes"),
        _ => {
            let tens = minutes.div_ceil(10);
            match (tens / 6, tens % 6 * 10) {
                (hours, 0) => format!("about {hours} h"),
                (hours, minutes) => format!("about {hours} h {minutes} min"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    /// What is said at the end of these moments, each with what was done by then.
    fn estimate(of: u64, seen: impl IntoIterator<Item = (u64, u64)>) -> Option<u64> {
        let mut left = TimeLeft::default();
        let mut estimated = None;
        for (after, done) in seen {
            estimated = left.observe(seconds(after), done, of);
        }
        estimated.map(|estimated| estimated.as_secs())
    }

    #[test]
    fn an_even_pace_is_reported_exactly_and_not_too_early() {
        let even = |until: u64| (0..=until).map(|second| (second, second * 100));
        assert_eq!(estimate(10_000, even(4)), None);
        assert_eq!(estimate(10_000, even(5)), Some(95));
        assert_eq!(estimate(10_000, even(50)), Some(50));
        // Of the end nothing is said, nor of more than there was to be.
        assert_eq!(estimate(10_000, even(100)), None);
        assert_eq!(estimate(10_000, even(120)), None);
    }

    #[test]
    fn a_pause_makes_it_longer_and_in_the_end_unknown() {
        let then_still = |still: u64| {
            let moving = (0..=60).map(|second| (second, second * 100));
            moving.chain((61..=60 + still).map(|second| (second, 6000)))
        };
        assert_eq!(estimate(12_000, then_still(0)), Some(60));
        let short = estimate(12_000, then_still(10)).unwrap();
        assert!((70..100).contains(&short), "{short}");
        assert_eq!(estimate(12_000, then_still(600)), None);
        // Nothing was ever done.
        assert_eq!(estimate(12_000, (0..100).map(|second| (second, 0))), None);
    }

    #[test]
    fn a_pace_that_changes_is_followed() {
        let slower = (0..=60)
            .map(|second| (second, second * 1000))
            .chain((61..=240).map(|second| (second, 60_000 + (second - 60) * 10)));
        // At ten a second there are 3,820 seconds left.
        let left = estimate(100_000, slower).unwrap();
        assert!((3000..3900).contains(&left), "{left}");
    }

    #[test]
    fn what_begins_again_is_judged_again() {
        let mut left = TimeLeft::default();
        left.observe(seconds(10), 500, 1000);
        assert_eq!(left.observe(seconds(11), 0, 1000), None);
    }

    #[test]
    fn an_estimate_is_no_more_exact_than_it_is() {
        for (left, text) in [
            (0, "less than a minute"),
            (60, "less than a minute"),
            (61, "about 2 minutes"),
            (3540, "about 59 minutes"),
            (3600, "about 1 h"),
            (3601, "about 1 h 10 min"),
            (7 * 3600 + 1250, "about 7 h 30 min"),
        ] {
            assert_eq!(about(seconds(left)), text);
        }
    }

    proptest! {
        #[test]
        fn nothing_absurd_is_ever_reported(
            steps in prop::collection::vec((0_u64..200_000, 0_u64..u64::MAX / 64), 0..60),
            of in 0_u64..u64::MAX,
        ) {
            let (mut left, mut after, mut done) = (TimeLeft::default(), 0, 0_u64);
            for (milliseconds, more) in steps {
                after += milliseconds;
                done += more;
                if let Some(estimated) = left.observe(Duration::from_millis(after), done, of) {
                    prop_assert!(estimated <= LONGEST);
                    prop_assert!(done < of);
                }
            }
        }
    }
}
