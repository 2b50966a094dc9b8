//! Which copies a verify run downloads, in which order, and how many fit into its budget; and when a copy that a
//! listing lacks counts as missing. Pure.
//!
//! Of each series the newest copy is read, and every copy of which the store has a volume that is later than its
//! manifest. Series take turns: the one whose last turn is the longest ago comes first. So whatever a budget
//! leaves is the first in the next run, and no series waits for longer than it takes all others to have theirs.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::series::Series;

/// Two listings that lack a copy have to be so far apart.
const BETWEEN_LISTINGS: TimeDelta = TimeDelta::hours(1);

/// A copy that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadableCopy<'a> {
    /// The series of its backup.
    pub series: &'a Series,
    /// When the backup was started: of two, the newer comes first.
    pub started: DateTime<Utc>,
    /// Bytes of its volumes.
    pub bytes: u64,
    /// Whether the store's times show that a volume may have been replaced.
    pub is_suspicious: bool,
}

/// The copies to read, as places in the list, in the order of reading. `tried` is when a run last tried to read
/// a copy of each series.
///
/// A moment ahead of `now` tells nothing, since the clock was set back.
pub fn copies_to_read(
    copies: &[ReadableCopy<'_>],
    tried: &BTreeMap<Series, DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Vec<usize> {
    let is_newest = |copy: &ReadableCopy<'_>| {
        let mut others = copies.iter().filter(|other| other.series == copy.series);
        others.all(|other| other.started <= copy.started)
    };
    let mut chosen: Vec<usize> = (0..copies.len())
        .filter(|index| copies[*index].is_suspicious || is_newest(&copies[*index]))
        .collect();
    let turn = |copy: &ReadableCopy<'_>| tried.get(copy.series).filter(|tried| **tried <= now);
    chosen.sort_by_key(|index| {
        let copy = &copies[*index];
        (
            !copy.is_suspicious,
            // Without a turn yet, before all that have had one.
            turn(copy),
            Reverse(copy.started),
        )
    });
    chosen
}

/// What a verify run of copies may use, of each database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyBudget {
    /// It begins no further copy so long after the first.
    pub time: Duration,
    /// It downloads so many bytes at most; none for no limit.
    pub bytes: Option<u64>,
}

impl CopyBudget {
    /// Whether a copy of so many bytes is begun after so long and so many bytes. The first one always is: what
    /// is larger than the budget has its turn as well.
    pub fn admits(&self, bytes: u64, (copies, elapsed, read): (usize, Duration, u64)) -> bool {
        let fits = |limit: u64| read.saturating_add(bytes) <= limit;
        copies == 0 || (elapsed < self.time && self.bytes.is_none_or(fits))
    }

    /// So many bytes a run downloads at most of copies of these lengths, in the order of reading, if the time
    /// suffices.
    pub fn downloads(&self, lengths: impl IntoIterator<Item = u64>) -> u64 {
        let (mut copies, mut read) = (0, 0_u64);
        for bytes in lengths {
            if self.admits(bytes, (copies, Duration::ZERO, read)) {
                copies += 1;
                read = read.saturating_add(bytes);
            }
        }
        read
    }
}

/// What a copy that is absent from a listing is, at the time of that listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// Another listing has to lack it as well, an hour later.
    Noticed,
    /// The store is to be asked for it by its key: if it has no such object, the copy is missing.
    ToBeConfirmed,
}

/// What it means that a listing lacks a copy, of which an earlier one has lacked it `since` then, if one has.
pub fn absence(since: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Absence {
    match since {
        Some(since) if now - since >= BETWEEN_LISTINGS => Absence::ToBeConfirmed,
        _ => Absence::Noticed,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(hour: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::hours(480_000 + hour)
    }

    fn copy(series: &Series, hour: i64, bytes: u64) -> ReadableCopy<'_> {
        ReadableCopy {
            series,
            started: at(hour),
            bytes,
            is_suspicious: false,
        }
    }

    #[test]
    fn the_newest_of_each_series_is_read_and_whatever_may_have_been_replaced_before_it() {
        type Case<'a> = (&'a [(&'a Series, i64)], &'a [usize]);
        let [daily, weekly, monthly] =
            ["daily", "weekly", "monthly"].map(|name| name.parse::<Series>().unwrap());
        let copies = [
            copy(&daily, 1, 0),
            ReadableCopy {
                is_suspicious: true,
                ..copy(&daily, 2, 0)
            },
            copy(&daily, 3, 0),
            copy(&weekly, 2, 0),
            copy(&weekly, 1, 0),
            copy(&monthly, 0, 0),
        ];
        let table: [Case<'_>; 6] = [
            (&[], &[1, 2, 3, 5]),
            (&[(&daily, 10)], &[1, 3, 5, 2]),
            (&[(&daily, 10), (&weekly, 11)], &[1, 5, 2, 3]),
            (&[(&daily, 10), (&weekly, 9), (&monthly, 8)], &[1, 5, 3, 2]),
            // One turn for all: the newest first.
            (
                &[(&daily, 10), (&weekly, 10), (&monthly, 10)],
                &[1, 2, 3, 5],
            ),
            // From before the clock was set back.
            (&[(&daily, 30), (&weekly, 9), (&monthly, 8)], &[1, 2, 5, 3]),
        ];
        for (tried, expected) in table {
            let tried = tried
                .iter()
                .map(|(series, hour)| ((*series).clone(), at(*hour)));
            let tried: BTreeMap<Series, DateTime<Utc>> = tried.collect();
            assert_eq!(
                copies_to_read(&copies, &tried, at(20)),
                expected,
                "{tried:?}"
            );
        }
        assert!(copies_to_read(&[], &BTreeMap::new(), at(20)).is_empty());
    }

    #[test]
    fn the_first_copy_is_always_read_and_others_as_far_as_they_fit() {
        let hour = Duration::from_secs(3600);
        let budget = CopyBudget {
            time: hour,
            bytes: Some(100),
        };
        for (bytes, copies, elapsed, read, expected) in [
            (500, 0, Duration::ZERO, 0, true),
            (500, 0, hour * 2, 0, true),
            (50, 1, Duration::ZERO, 50, true),
            (51, 1, Duration::ZERO, 50, false),
            (1, 1, hour, 50, false),
            (1, 1, Duration::ZERO, u64::MAX, false),
        ] {
            assert_eq!(
                budget.admits(bytes, (copies, elapsed, read)),
                expected,
                "{bytes} {copies}"
            );
        }
        assert!(
            CopyBudget {
                bytes: None,
                ..budget
            }
            .admits(u64::MAX, (1, Duration::ZERO, 1))
        );
        assert_eq!(budget.downloads([60, 50, 40, 1]), 100);
        assert_eq!(budget.downloads([600, 1]), 600);
        assert_eq!(budget.downloads([]), 0);
    }

    #[test]
    fn a_copy_is_missing_only_after_two_listings_an_hour_apart() {
        for (since, now, expected) in [
            (None, 5, Absence::Noticed),
            (Some(5), 5, Absence::Noticed),
            (Some(4), 5, Absence::ToBeConfirmed),
            (Some(1), 5, Absence::ToBeConfirmed),
            // The clock was set back.
            (Some(9), 5, Absence::Noticed),
        ] {
            assert_eq!(absence(since.map(at), at(now)), expected, "{since:?}");
        }
        let almost = at(5) - TimeDelta::seconds(1);
        assert_eq!(absence(Some(at(4)), almost), Absence::Noticed);
    }

    proptest! {
        /// However little a run comes to, and whatever retention removes and backups add meanwhile.
        #[test]
        fn every_series_has_its_turn(each in 1..4_usize, count in 1..8_usize) {
            let names: Vec<Series> = (0..count).map(|n| format!("s{n}").parse().unwrap()).collect();
            let mut tried = BTreeMap::new();
            let mut last = vec![0_i64; count];
            for run in 1..40_i64 {
                // New backups of all series have been made since.
                let copies: Vec<_> = names.iter().map(|series| copy(series, run, 1)).collect();
                for index in copies_to_read(&copies, &tried, at(run)).into_iter().take(each) {
                    tried.insert(names[index].clone(), at(run));
                    last[index] = run;
                }
                let longest = i64::try_from(count.div_ceil(each)).unwrap();
                for (index, last) in last.iter().enumerate() {
                    prop_assert!(run - last <= longest, "series {index} waits");
                }
            }
        }
    }
}
