//! Whether a backup has an odd size (P12).

use super::{Sensitivity, Usual};

/// A difference of so many times the spread is odd.
const SPREADS: u64 = 3;

/// A backup whose size is odd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OddSize {
    /// The backup.
    pub backup: String,
    /// Its bytes.
    pub bytes: u64,
    /// The bytes that are usual.
    pub usual: Usual,
}

impl OddSize {
    /// Whether it is too small.
    pub fn has_shrunk(&self) -> bool {
        self.bytes < self.usual.median
    }
}

/// Whether the size of a backup is odd, measured against those before it in its series, oldest first,
/// all with the same format and compression.
///
/// It must be out of the spread, and larger by the factor; of a backup that has shrunk, which may have
/// lost something, half of the way to the factor is enough.
pub fn odd_size(
    (backup, bytes): (&str, u64),
    before: &[u64],
    sensitivity: Sensitivity,
) -> Option<OddSize> {
    let usual = Usual::of(before)?;
    let factor = u128::from(sensitivity.factor);
    let (small, large) = if bytes < usual.median {
        // Half of the way from 1 to the factor.
        (
            u128::from(bytes) * (factor + 100),
            u128::from(usual.median) * 200,
        )
    } else {
        (u128::from(usual.median) * factor, u128::from(bytes) * 100)
    };
    let is_out = bytes.abs_diff(usual.median) > usual.spread.saturating_mul(SPREADS);
    (is_out && small < large).then(|| OddSize {
        backup: backup.to_owned(),
        bytes,
        usual,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::anomaly::WINDOW;

    const SENSITIVITY: Sensitivity = Sensitivity {
        factor: 200,
        share: 50,
    };

    fn is_odd(before: &[u64], bytes: u64) -> bool {
        odd_size(("b", bytes), before, SENSITIVITY).is_some()
    }

    #[test]
    fn a_size_is_odd_beyond_both_the_factor_and_the_spread() {
        let steady = [1000; 14];
        let scattered = [200, 400, 700, 1000, 1000, 1300, 1800, 2100];
        for (before, bytes, expected) in [
            // Nobody knows yet what is usual.
            (&steady[..4], 1, false),
            (&steady[..5], 1, true),
            (&steady, 1000, false),
            (&steady, 2000, false),
            (&steady, 2001, true),
            // What has shrunk is odd earlier.
            (&steady, 667, false),
            (&steady, 666, true),
            (&steady, 0, true),
            // Out of the factor, and within the spread.
            (&scattered, 2500, false),
            (&scattered, 400, false),
            (&scattered, 4000, true),
            (&[0; 14], 0, false),
            (&[0; 14], 1, true),
            (&[u64::MAX; 14], 1, true),
            (&[1; 14], u64::MAX, true),
        ] {
            assert_eq!(is_odd(before, bytes), expected, "{before:?}, {bytes}");
        }
        let found = odd_size(("b", 10), &steady, SENSITIVITY).unwrap();
        assert!(found.has_shrunk());
        assert_eq!(found.usual.median, 1000);
        let lax = Sensitivity {
            factor: 300,
            ..SENSITIVITY
        };
        assert!(odd_size(("b", 501), &steady, lax).is_none());
        assert!(odd_size(("b", 499), &steady, lax).is_some());
    }

    /// A year of one database: it grows, it is quieter at the end of the week, and busier at the end
    /// of the month.
    fn size_of_day(day: u64) -> u64 {
        let grown = 60_000_000 + day * 150_000;
        let weekend = if day % 7 >= 5 { 95 } else { 100 };
        let month_end = if day % 30 >= 28 { 130 } else { 100 };
        let noise = 100 + (day * 2_654_435_761 % 7);
        grown * weekend / 100 * month_end / 100 * noise / 100
    }

    #[test]
    fn a_year_with_weekends_growth_and_month_ends_is_odd_once_for_the_disaster() {
        const DISASTER: u64 = 200;
        let mut sizes: Vec<u64> = Vec::new();
        let mut odd = Vec::new();
        for day in 0..365 {
            let size = match day {
                DISASTER => size_of_day(day) / 3,
                day => size_of_day(day),
            };
            if is_odd(&sizes, size) {
                odd.push(day);
            }
            sizes.push(size);
        }
        assert_eq!(odd, [DISASTER]);
    }

    #[test]
    fn what_has_changed_for_good_is_usual_after_seven_more() {
        let mut sizes = vec![1000; WINDOW];
        let mut odd = 0;
        while is_odd(&sizes, 5000) {
            sizes.push(5000);
            odd += 1;
        }
        assert_eq!(odd, 7);
    }

    proptest! {
        #[test]
        fn what_lies_between_those_before_it_is_never_odd(
            before in prop::collection::vec(1000_u64..1300, 0..20), bytes in 1000_u64..1300,
        ) {
            prop_assert!(!is_odd(&before, bytes));
        }

        #[test]
        fn the_more_it_differs_the_odder_it_is(
            before in prop::collection::vec(0_u64..1_000_000, 5..20), bytes in 0_u64..1_000_000,
        ) {
            let median = Usual::of(&before).unwrap().median;
            if is_odd(&before, bytes) {
                let further = if bytes < median { bytes / 2 } else { bytes.saturating_mul(2) };
                prop_assert!(is_odd(&before, further));
            }
        }
    }
}
