//! What is usual: the median of some numbers, and how far they lie from it.

use super::WINDOW;

/// Fewer numbers do not tell what is usual.
const FEWEST: usize = 5;

/// What is usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usual {
    /// The median.
    pub median: u64,
    /// How far the numbers lie from it: 1.48 times the median of their distances, which for normally
    /// distributed numbers is the standard deviation; at least 5 % of the median.
    pub spread: u64,
    /// How many numbers tell it.
    pub of: usize,
}

impl Usual {
    /// Of the last [`WINDOW`] of these numbers; none where they are too few.
    pub fn of(numbers: &[u64]) -> Option<Self> {
        let numbers = &numbers[numbers.len().saturating_sub(WINDOW)..];
        if numbers.len() < FEWEST {
            return None;
        }
        let median = median(numbers.to_vec());
        let distances = numbers.iter().map(|number| number.abs_diff(median));
        let scattered = u128::from(self::median(distances.collect())) * 148 / 100;
        let scattered = u64::try_from(scattered).unwrap_or(u64::MAX);
        Some(Self {
            median,
            spread: scattered.max(median / 20),
            of: numbers.len(),
        })
    }
}

/// The middle one; of an even number, the middle between the two.
fn median(mut numbers: Vec<u64>) -> u64 {
    numbers.sort_unstable();
    match numbers.len() / 2 {
        0 => numbers.first().copied().unwrap_or_default(),
        half if numbers.len() % 2 == 1 => numbers[half],
        half => numbers[half - 1].midpoint(numbers[half]),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_outlier_moves_neither_the_median_nor_the_spread() {
        for (numbers, expected) in [
            (&[][..], None),
            (&[10, 10, 10, 10], None),
            (&[100, 100, 100, 100, 100], Some((100, 5, 5))),
            (&[100, 100, 100, 100, u64::MAX], Some((100, 5, 5))),
            (&[0, 100, 100, 100, 100], Some((100, 5, 5))),
            (&[80, 90, 100, 110, 120], Some((100, 14, 5))),
            (&[80, 90, 100, 110, 120, 130], Some((105, 22, 6))),
            (&[0; 20], Some((0, 0, 14))),
        ] {
            let found = Usual::of(numbers);
            let found = found.map(|usual| (usual.median, usual.spread, usual.of));
            assert_eq!(found, expected, "{numbers:?}");
        }
    }

    proptest! {
        #[test]
        fn the_median_lies_between_the_numbers(numbers in prop::collection::vec(any::<u64>(), 5..14)) {
            let usual = Usual::of(&numbers).unwrap();
            prop_assert!(numbers.iter().min().unwrap() <= &usual.median);
            prop_assert!(numbers.iter().max().unwrap() >= &usual.median);
        }
    }
}
