//! A random delay, so that what is due at once does not begin at once.

use std::time::Duration;

/// A delay from nothing to `longest`, every one as likely as any other, to the nanosecond.
///
/// `seed` decides, and must be spread evenly over all numbers: from a random source, or a hash.
/// The same seed gives the same delay. Beyond 584 years the delay is no longer.
pub fn delay(seed: u64, longest: Duration) -> Duration {
    let longest = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX);
    // The product's upper half is the seed's share of the bound: Lemire, "Fast Random Integer
    // Generation in an Interval", 2019, without its correction, whose bias is below 2^-20 here.
    let share = (u128::from(seed) * (u128::from(longest) + 1)) >> u64::BITS;
    u64::try_from(share).map_or(Duration::ZERO, Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::delay;

    #[test]
    fn the_least_seed_waits_for_nothing_and_the_greatest_for_the_longest() {
        let minutes = Duration::from_secs(300);
        assert_eq!(delay(0, minutes), Duration::ZERO);
        assert_eq!(delay(u64::MAX, minutes), minutes);
        assert_eq!(delay(u64::MAX, Duration::ZERO), Duration::ZERO);
        assert_eq!(
            delay(u64::MAX, Duration::MAX),
            Duration::from_nanos(u64::MAX)
        );
    }

    #[test]
    fn evenly_spread_seeds_give_evenly_spread_delays() {
        let longest = Duration::from_secs(10);
        let mut tenths = [0u32; 10];
        for step in 0..10_000u64 {
            let delay = delay(step * (u64::MAX / 10_000), longest);
            tenths[usize::try_from(delay.as_millis() / 1000).unwrap().min(9)] += 1;
        }
        assert!(
            tenths.iter().all(|count| (999..=1001).contains(count)),
            "{tenths:?}"
        );
    }

    proptest! {
        #[test]
        fn no_delay_is_longer_than_the_longest(seed in any::<u64>(), nanos in any::<u64>()) {
            let longest = Duration::from_nanos(nanos);
            prop_assert!(delay(seed, longest) <= longest);
        }
    }
}
