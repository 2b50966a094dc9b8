//! Which backups a verification reads, and in which order, when its time may not suffice for all.
//!
//! The newest come first: they are the ones that are restored. By itself that would never reach the
//! oldest where the time is always too short, so backups are checked in *rounds*. A round begins with a
//! run; whatever was due then and has not been looked at since is a member of it, and the members come
//! before everything else, newest first, until none is left. What was made or checked since the round
//! began waits for the next one, which begins with the newest again. So every backup is reached, after
//! no more runs than its round takes.

use std::cmp::Reverse;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

/// A backup, as far as its next check cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkable {
    /// When it was started: of two, the newer comes first.
    pub started: DateTime<Utc>,
    /// When it was last read in full and found whole; none while that is not known of it.
    pub whole: Option<DateTime<Utc>>,
    /// When somebody last tried to read it in full.
    pub tried: DateTime<Utc>,
}

/// What a run is to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turns {
    /// Places in the list of backups, in the order of reading.
    pub order: Vec<usize>,
    /// So many of the first are members of the round that is open.
    members: usize,
    /// When that round began, or the one that begins now.
    round: DateTime<Utc>,
    now: DateTime<Utc>,
}

impl Turns {
    /// When the round began that the run is in, for the record of its start.
    pub fn round(&self) -> DateTime<Utc> {
        self.round
    }

    /// When the round began that is left open by a run that has come to so many; none when nothing
    /// is left.
    pub fn left_open(&self, reached: usize) -> Option<DateTime<Utc>> {
        let left = reached < self.order.len();
        left.then_some(if reached < self.members {
            self.round
        } else {
            self.now
        })
    }
}

/// Which backups are due, and in which order: those whose last full check is at least `older_than` ago
/// or did not find them whole. `open` is when the round began that the last run left open.
///
/// A moment ahead of `now` tells nothing of an age, since the clock was set back: such a check is due,
/// and such a round is over.
pub fn turns(
    backups: &[Checkable],
    older_than: Duration,
    open: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Turns {
    let open = open.filter(|open| *open <= now);
    let older_than = TimeDelta::from_std(older_than).unwrap_or(TimeDelta::MAX);
    let is_due = |backup: &Checkable| {
        backup
            .whole
            .is_none_or(|whole| whole > now || now - whole >= older_than)
    };
    let is_member = |index: &usize| {
        let tried = backups[*index].tried;
        open.is_some_and(|open| tried < open || tried > now)
    };
    let mut order: Vec<usize> = (0..backups.len())
        .filter(|index| is_due(&backups[*index]))
        .collect();
    order.sort_by_key(|index| (!is_member(index), Reverse(backups[*index].started)));
    let members = order.iter().filter(|index| is_member(index)).count();
    Turns {
        members,
        round: open.filter(|_| members > 0).unwrap_or(now),
        order,
        now,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn day(number: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::days(20_000 + number)
    }

    /// Made on a day, and not looked at since.
    fn made(number: i64) -> Checkable {
        checked(number, number)
    }

    fn checked(made: i64, checked: i64) -> Checkable {
        Checkable {
            started: day(made),
            whole: Some(day(checked)),
            tried: day(checked),
        }
    }

    #[test]
    fn what_is_due_is_read_newest_first() {
        let bad = Checkable {
            whole: None,
            ..checked(2, 9)
        };
        let backups = [
            made(0),
            checked(1, 8),
            bad,
            made(6),
            checked(3, 12),
            made(9),
        ];
        let table: [(u32, &[usize]); 4] = [
            (0, &[5, 3, 4, 2, 1, 0]),
            // The check that is ahead of the clock, and the one that found it bad, are due always.
            (2, &[3, 4, 2, 1, 0]),
            (4, &[3, 4, 2, 0]),
            (365, &[4, 2]),
        ];
        for (days, order) in table {
            let turns = turns(&backups, DAY * days, None, day(10));
            assert_eq!(turns.order, order, "older than {days} days");
            assert_eq!(turns.round(), day(10));
        }
        assert!(turns(&[], DAY, None, day(10)).order.is_empty());
    }

    #[test]
    fn what_a_run_has_left_comes_first_in_the_next() {
        let mut backups: Vec<Checkable> = (0..5).map(made).collect();
        let first = turns(&backups, Duration::ZERO, None, day(10));
        assert_eq!(first.order, [4, 3, 2, 1, 0]);
        assert_eq!(first.left_open(5), None);
        assert_eq!(first.left_open(2), Some(day(10)));
        for index in [4, 3] {
            backups[index] = checked(index.try_into().unwrap(), 10);
        }
        // One more was made meanwhile.
        backups.push(made(15));
        let second = turns(&backups, Duration::ZERO, first.left_open(2), day(17));
        assert_eq!(second.order, [2, 1, 0, 5, 4, 3]);
        assert_eq!(second.round(), day(10));
        assert_eq!(second.left_open(1), Some(day(10)), "the round goes on");
        assert_eq!(second.left_open(4), Some(day(17)), "the next has begun");
        // One that was looked at while the clock was ahead may be the one that was left.
        backups[4] = checked(4, 30);
        let ahead = turns(&backups, Duration::ZERO, first.left_open(2), day(17));
        assert_eq!(ahead.order, [4, 2, 1, 0, 5, 3]);
        // A round from after now is none.
        let back = turns(&backups, Duration::ZERO, Some(day(20)), day(17));
        assert_eq!((back.order[0], back.round()), (5, day(17)));
    }

    proptest! {
        /// However little one run comes to, whatever cannot be read, and however much is made
        /// meanwhile.
        #[test]
        fn a_round_reaches_every_backup_that_was_there_and_none_twice(
            already in 1..40_usize, each in 1..8_usize, added in 0..4_i64, older in 0..20_u32,
            readable in prop::collection::vec(prop::bool::weighted(0.8), 300),
        ) {
            let mut backups: Vec<Checkable> =
                (0..already).map(|index| made(-100 + i64::try_from(index).unwrap())).collect();
            let (mut open, mut round) = (None, day(0));
            let (mut runs, mut members, mut there) = (0, Vec::new(), already);
            for run in 0..60 {
                let now = day(7 * run);
                let turns = turns(&backups, DAY * older, open, now);
                if turns.round() != round {
                    (round, runs, there) = (turns.round(), 0, backups.len());
                    members.clear();
                }
                runs += 1;
                prop_assert!(runs <= there.div_ceil(each), "the round of {round} never ends");
                let reached = turns.order.len().min(each);
                for index in &turns.order[..reached] {
                    if backups[*index].tried < round {
                        prop_assert!(!members.contains(index));
                        members.push(*index);
                    }
                    backups[*index].tried = now;
                    if readable[*index] {
                        backups[*index].whole = Some(now);
                    }
                }
                open = turns.left_open(reached);
                if usize::try_from(run).unwrap() + 1 == already.div_ceil(each) {
                    let was_reached = |one: &Checkable| one.tried > one.started;
                    prop_assert!(backups[..already].iter().all(was_reached));
                }
                backups.extend((0..added).map(|_| made(7 * run + 1)));
            }
        }
    }
}
