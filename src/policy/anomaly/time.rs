//! For how long a run may go on before it is slow (P13).

use std::time::Duration;

use super::{Sensitivity, Usual, WINDOW};

/// How long a run may take: the objective, or the factor times what is usual, whichever is longer.
///
/// `earlier` are the durations of those before it, oldest first. Fewer than tell what is usual count by
/// the longest of them; without any, only the objective is known.
pub fn time_limit(objective: Duration, earlier: &[Duration], sensitivity: Sensitivity) -> Duration {
    let last = &earlier[earlier.len().saturating_sub(WINDOW)..];
    let seconds: Vec<u64> = last.iter().map(Duration::as_secs).collect();
    let usual = match Usual::of(&seconds) {
        Some(usual) => usual.median.saturating_add(usual.spread),
        None => seconds.iter().copied().max().unwrap_or_default(),
    };
    let times = u128::from(usual) * u128::from(sensitivity.factor) / 100;
    let times = u64::try_from(times).unwrap_or(u64::MAX);
    objective.max(Duration::from_secs(times))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SENSITIVITY: Sensitivity = Sensitivity {
        factor: 200,
        share: 50,
    };

    fn limit(objective: u64, earlier: &[u64]) -> u64 {
        let earlier: Vec<Duration> = earlier.iter().map(|s| Duration::from_secs(*s)).collect();
        time_limit(Duration::from_secs(objective), &earlier, SENSITIVITY).as_secs()
    }

    #[test]
    fn p13_a_run_may_take_the_objective_or_a_multiple_of_what_is_usual() {
        for (objective, earlier, expected) in [
            (300, &[][..], 300),
            (300, &[10, 11, 12, 10, 11], 300),
            // A large database takes longer every night.
            (300, &[7000], 14_000),
            (300, &[7000, 7200, 6900, 7100, 7000], 14_700),
            // One night that was slow does not make the next one usual.
            (300, &[200, 200, 200, 200, 200, 9000], 420),
            (300, &[u64::MAX; 5], u64::MAX),
        ] {
            assert_eq!(limit(objective, earlier), expected, "{earlier:?}");
        }
    }

    #[test]
    fn p13_a_year_of_growth_and_month_ends_is_slow_once_for_the_disaster() {
        const DISASTER: u64 = 250;
        let mut earlier: Vec<u64> = Vec::new();
        let mut slow = Vec::new();
        for day in 0..365 {
            let usual = 600 + day * 2 + if day % 30 >= 28 { 200 } else { 0 } + day % 17;
            let took = if day == DISASTER { usual * 5 } else { usual };
            // The first night only the objective is known, and it says ten minutes.
            if took > limit(620, &earlier) {
                slow.push(day);
            }
            earlier.push(took);
        }
        assert_eq!(slow, [DISASTER]);
    }

    proptest! {
        #[test]
        fn no_run_is_slow_within_the_objective_or_within_what_the_longest_took(
            objective in 1_u64..10_000, earlier in prop::collection::vec(1_u64..10_000, 0..4),
        ) {
            let limit = limit(objective, &earlier);
            prop_assert!(limit >= objective);
            prop_assert!(earlier.iter().all(|took| limit >= *took));
        }
    }
}
