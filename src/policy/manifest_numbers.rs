//! Which numbers of copies' manifests are gone although nobody here has removed them. Each manifest that a host
//! puts for a database has the next number, so that a store that withholds some shows a gap. Pure.
//!
//! Only what this host has seen there can be missed: after a lost state directory, another address or another
//! signing key nothing is, and a number that a killed run never used was never there.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::display::counted;

/// So long a gap is shown. Nothing else ends it: what is gone does not come back.
const SHOWN_FOR: TimeDelta = TimeDelta::days(30);

/// The numbers that should be there, and those that are not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestNumbers {
    /// What they are of: the address, the host and the key that signs. Of anything else, they say nothing.
    of: String,
    /// The numbers that were there at the last look, or have been put since, without those that were removed
    /// here, as ranges.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    expected: Vec<(u64, u64)>,
    /// The gaps, by their first numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    gaps: Vec<Gap>,
}

/// Numbers that are not there, and that nobody here has removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The first one.
    pub first: u64,
    /// The last one.
    pub last: u64,
    /// When that was seen first.
    pub since: DateTime<Utc>,
}

impl Gap {
    /// "manifests 14 to 16"
    fn numbers(&self) -> String {
        if self.first == self.last {
            return format!("manifest {}", self.first);
        }
        format!("manifests {} to {}", self.first, self.last)
    }

    /// How many they are.
    pub fn count(&self) -> u64 {
        self.last.saturating_sub(self.first).saturating_add(1)
    }
}

/// So many gaps are named in a sentence.
const NAMED: usize = 3;

/// The gaps in a sentence without its beginning and its end; none where there is none.
pub fn describe_gaps(gaps: &[Gap], destination: &str) -> Option<String> {
    let last = gaps.last()?;
    let mut named: Vec<String> = gaps.iter().take(NAMED).map(Gap::numbers).collect();
    let others: u64 = gaps.iter().skip(NAMED).map(Gap::count).sum();
    if others > 0 {
        named.push(counted(others, "other", "others"));
    }
    let is_one = gaps.len() == 1 && last.first == last.last;
    let (are, them) = if is_one {
        ("is", "it")
    } else {
        ("are", "them")
    };
    Some(format!(
        "{} {are} not at {destination}, and retention here did not remove {them}: somebody else did, or the \
         store withholds {them}",
        named.join(", ")
    ))
}

impl ManifestNumbers {
    /// Takes in which numbers are there now. `excused` are those whose removal was begun here.
    pub fn look(
        &mut self,
        of: &str,
        (there, excused): (&BTreeSet<u64>, &BTreeSet<u64>),
        now: DateTime<Utc>,
    ) {
        if self.of != of {
            *self = Self {
                of: of.to_owned(),
                ..Self::default()
            };
        }
        let mut missing: Vec<(u64, u64)> = self.expected.clone();
        for number in there.iter().chain(excused) {
            cut(&mut missing, *number);
        }
        let before = std::mem::take(&mut self.gaps);
        let since = |(first, last): (u64, u64)| {
            let known = before.iter();
            let known = known.filter(|gap| gap.first <= last && first <= gap.last);
            // A clock that was set back dates none later.
            known.map(|gap| gap.since.min(now)).min().unwrap_or(now)
        };
        let gaps = missing.iter().map(|&(first, last)| Gap {
            first,
            last,
            since: since((first, last)),
        });
        self.gaps = gaps.filter(|gap| now - gap.since < SHOWN_FOR).collect();
        let gaps = self.gaps.iter().map(|gap| (gap.first, gap.last));
        self.expected = joined(gaps.chain(there.iter().map(|&number| (number, number))));
    }

    /// A manifest with this number was put.
    pub fn put(&mut self, number: u64) {
        let before = std::mem::take(&mut self.expected);
        self.expected = joined(before.into_iter().chain([(number, number)]));
    }

    /// The manifests with these numbers were removed here.
    pub fn removed(&mut self, numbers: &[u64]) {
        for number in numbers {
            cut(&mut self.expected, *number);
        }
    }

    /// The gaps that a look finds now, without taking them down.
    pub fn gaps_in(&self, there: (&BTreeSet<u64>, &BTreeSet<u64>), now: DateTime<Utc>) -> Vec<Gap> {
        let mut numbers = self.clone();
        numbers.look(&self.of, there, now);
        numbers.gaps
    }

    /// The gaps, by number.
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }
}

/// Takes a number out of ranges.
fn cut(ranges: &mut Vec<(u64, u64)>, number: u64) {
    let Some(at) = ranges
        .iter()
        .position(|(first, last)| (*first..=*last).contains(&number))
    else {
        return;
    };
    let (first, last) = ranges[at];
    let below = (first < number).then(|| (first, number - 1));
    let above = (number < last).then(|| (number + 1, last));
    ranges.splice(at..=at, below.into_iter().chain(above));
}

/// The ranges in order, those that touch as one.
fn joined(ranges: impl Iterator<Item = (u64, u64)>) -> Vec<(u64, u64)> {
    let mut sorted: Vec<(u64, u64)> = ranges.collect();
    sorted.sort_unstable();
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for (first, last) in sorted {
        match joined.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => joined.push((first, last)),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_752_000_000 + hour * 3600, 0).unwrap()
    }

    fn numbers(text: &str) -> BTreeSet<u64> {
        let numbers = text.split_whitespace();
        numbers
            .flat_map(|part| match part.split_once('-') {
                Some((first, last)) => first.parse().unwrap()..=last.parse().unwrap(),
                None => part.parse::<u64>().unwrap()..=part.parse().unwrap(),
            })
            .collect()
    }

    /// What happens at a destination, an hour after the other.
    enum Step {
        /// A look: what is there, and the removals that were begun.
        Look(&'static str, &'static str),
        /// Another address, or key.
        LookAt(&'static str, &'static str),
        Put(u64),
        Removed(&'static [u64]),
        Lost,
    }

    fn gaps(steps: &[Step]) -> Vec<(u64, u64, i64)> {
        let mut all = ManifestNumbers::default();
        for (step, hour) in steps.iter().zip(0..) {
            match step {
                Step::Look(there, excused) => {
                    all.look("a", (&numbers(there), &numbers(excused)), at(hour));
                }
                Step::LookAt(of, there) => all.look(of, (&numbers(there), &numbers("")), at(hour)),
                Step::Put(number) => all.put(*number),
                Step::Removed(numbers) => all.removed(numbers),
                Step::Lost => all = ManifestNumbers::default(),
            }
        }
        let gaps = all.gaps().iter();
        gaps.map(|gap| (gap.first, gap.last, (gap.since - at(0)).num_hours()))
            .collect()
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table of cases")]
    fn only_what_was_there_and_was_not_removed_here_is_missed() {
        use Step::{Look, LookAt, Lost, Put, Removed};
        for (name, steps, expected) in [
            (
                "all are there",
                &[Look("1-9", ""), Look("1-9", "")][..],
                &[][..],
            ),
            (
                "some are withheld in the middle",
                &[Look("1-20", ""), Look("1-13 17-20", "")],
                &[(14, 16, 1)],
            ),
            (
                "the newest are withheld",
                &[Look("1-3", ""), Put(4), Put(5), Look("1-3", "")],
                &[(4, 5, 3)],
            ),
            (
                "a gap that grows keeps its beginning",
                &[Look("1-9", ""), Look("1-4 6-9", ""), Look("1-4 8-9", "")],
                &[(5, 7, 1)],
            ),
            (
                "they are back",
                &[Look("1-9", ""), Look("1-4 6-9", ""), Look("1-9", "")],
                &[],
            ),
            (
                "retention removed some",
                &[Look("1-9", ""), Removed(&[2, 3, 5]), Look("1 4 6-9", "")],
                &[],
            ),
            (
                "retention was killed after a manifest was removed and before that was noted",
                &[Look("1-9", ""), Look("1 4-9", "2 3"), Look("1 4-9", "")],
                &[],
            ),
            (
                "retention was killed before any was removed",
                &[Look("1-9", ""), Look("1-9", "2 3"), Look("1 4-9", "")],
                &[(2, 3, 2)],
            ),
            // What this state directory has never seen is nothing to it.
            (
                "retention has made gaps before",
                &[Look("1 5 9", ""), Look("1 5 9", "")],
                &[],
            ),
            (
                "the state was lost",
                &[Look("1-9", ""), Lost, Look("1 9", "")],
                &[],
            ),
            (
                "another address or key",
                &[Look("1-9", ""), LookAt("b", "1-2"), LookAt("b", "1-2")],
                &[],
            ),
            // Old copies under another key have numbers of their own.
            (
                "old copies are adopted and removed by the rules",
                &[
                    Look("1-2", ""),
                    Look("1-30", ""),
                    Removed(&[2, 4]),
                    Look("1-3 5-30", ""),
                ],
                &[],
            ),
            // The number is used by the next run.
            (
                "a killed run put no manifest",
                &[Look("1-3", ""), Look("1-3", ""), Put(4)],
                &[],
            ),
            ("there was nothing", &[Look("", ""), Look("", "")], &[]),
        ] {
            assert_eq!(gaps(steps), expected, "{name}");
        }
    }

    #[test]
    fn a_gap_is_shown_for_thirty_days() {
        let mut all = ManifestNumbers::default();
        let look = |all: &mut ManifestNumbers, there: &str, day: i64| {
            all.look("a", (&numbers(there), &numbers("")), at(day * 24));
            all.gaps().len()
        };
        assert_eq!(look(&mut all, "1-9", 0), 0);
        assert_eq!(look(&mut all, "1-4 6-9", 1), 1);
        assert_eq!(look(&mut all, "1-4 6-9", 30), 1);
        assert_eq!(look(&mut all, "1-4 6-9", 31), 0);
        assert_eq!(look(&mut all, "1-4 6-9", 32), 0);
    }

    #[test]
    fn gaps_are_named_and_many_are_counted() {
        let gap = |first, last| Gap {
            first,
            last,
            since: at(0),
        };
        assert_eq!(describe_gaps(&[], "far"), None);
        assert_eq!(
            describe_gaps(&[gap(14, 16)], "far").unwrap(),
            "manifests 14 to 16 are not at far, and retention here did not remove them: somebody else did, or \
             the store withholds them"
        );
        assert!(
            describe_gaps(&[gap(3, 3)], "far")
                .unwrap()
                .starts_with("manifest 3 is not at far, and retention here did not remove it:")
        );
        let many: Vec<Gap> = (0..5).map(|n| gap(n * 10, n * 10 + 1)).collect();
        assert!(describe_gaps(&many, "far").unwrap().starts_with(
            "manifests 0 to 1, manifests 10 to 11, manifests 20 to 21, 4 others are not at far"
        ));
    }
}
