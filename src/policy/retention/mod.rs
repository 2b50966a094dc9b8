//! Which backups of one database and series are kept, and why.
//!
//! [`decide`] is the whole of retention: dates in, verdicts out. Whatever it does not know of is
//! not removed, so only catalogued backups ever are.
//!
//! - A backup stays when any one reason keeps it, and every reason that does is reported. A backup
//!   that goes gets the reason of each rule that let it go.
//! - The rules that count periods are restic's (`--keep-daily` and so on): a period is one of the
//!   calendar, the newest backup in it is kept, periods without a backup are not counted, and the
//!   oldest backup of all is kept while a rule has room for more periods than there are
//!   (`ApplyPolicy` in restic's `internal/data/snapshot_policy.go`; "Removing snapshots according
//!   to a policy" in its manual).
//! - Unlike restic, age is counted from now: the policy promises 30 days of backups, not 30 days
//!   before the newest.
//! - A backup that was found bad, by a check of its files or by a test restore, never stands for a
//!   good one: it takes no place in the floor or in a rule that counts. Nor is it removed: it shows
//!   what happened, and may be all that is left of that day. It is the operator's to remove.
//! - A backup that could not be read at its last check takes no place either: nobody knows whether it
//!   is still good, so it must not push out one that is. It stays until a check has read it.
//! - A partial backup takes no place either. It may have rows that no other one has, and stays until the
//!   operator removes it.
//! - A backup dated after now stays, and takes no place either: neither its age nor its period means
//!   anything, and the one that is made after a clock was set back must not be removed by its own
//!   run.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::num::NonZeroU32;
use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, Utc};
use serde::Serialize;

mod clock;
mod period;
#[cfg(test)]
mod properties;
mod reason;
#[cfg(test)]
mod tests;

pub(super) use clock::TOLERATED_LEAD;
pub use clock::{ClockDoubt, ClockTrust};
pub use period::{Every, Period};
pub use reason::Reason;

/// What a series keeps. A backup that any one rule keeps is kept; without any rule everything is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rules {
    /// Backups no older than this, by the time they were started (P3: 30 days, 12 weeks).
    pub within: Option<Duration>,
    /// The newest so many.
    pub last: Option<NonZeroU32>,
    /// The newest of each of the last so many days that have one (restic's `--keep-daily`).
    pub daily: Option<NonZeroU32>,
    /// The same by ISO 8601 weeks.
    pub weekly: Option<NonZeroU32>,
    /// The same by calendar months.
    pub monthly: Option<NonZeroU32>,
    /// The same by calendar years.
    pub yearly: Option<NonZeroU32>,
}

impl Rules {
    /// Whether there is no rule, so that everything is kept.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A catalogued backup, as far as retention cares.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, and any may hold with any other"
)]
#[derive(Clone, Debug)]
pub struct Candidate<'a> {
    /// Its stem: the name that the operator knows it by.
    pub name: &'a str,
    /// When it was started.
    pub started: DateTime<Utc>,
    /// The same moment on the wall clock of the schedule's zone; days, weeks, months and years are
    /// counted on it.
    pub local: NaiveDateTime,
    /// Whether its last full check found it whole, and its last test restore, if there was one, came
    /// through. If not, it was found bad.
    pub verified: bool,
    /// Whether all of it could be read at the last attempt. If not, nothing is known of it since.
    pub read: bool,
    /// Whether it lacks rows that it should have. It never stands for a good one.
    pub partial: bool,
    /// Whether the operator pinned it.
    pub pinned: bool,
    /// Whether it was made before something was lost that nobody has accepted: it may be what brings
    /// that back.
    pub held: bool,
    /// Whether a copy of it is under way.
    pub being_copied: bool,
    /// Whether it has to have a copy before it may go, and has none.
    pub awaits_copy: bool,
}

impl Candidate<'_> {
    /// Whether it may take a place in the floor or in a rule that counts.
    fn counts(&self) -> bool {
        self.verified && self.read && !self.partial
    }
}

/// What becomes of one backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict<'a> {
    /// The backup's stem.
    pub name: &'a str,
    /// Whether it stays.
    pub keep: bool,
    /// Every reason that applies, the strongest first; never empty. All of them are reasons to
    /// keep it if it stays, and reasons to remove it if it goes.
    pub reasons: Vec<Reason>,
}

/// What becomes of all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Decision<'a> {
    /// One verdict per candidate, newest first.
    pub verdicts: Vec<Verdict<'a>>,
    /// What makes the clock look wrong, in which case nothing is removed. Told even when the rules
    /// would have removed nothing, because a wrong clock names backups wrongly too.
    pub clock_doubt: Option<ClockDoubt>,
}

impl<'a> Decision<'a> {
    /// The backups that go, newest first.
    pub fn removed(&self) -> impl Iterator<Item = &Verdict<'a>> {
        self.verdicts.iter().filter(|verdict| !verdict.keep)
    }

    /// The backups that would go if they had a copy, oldest first: what may go all the same where the next
    /// backup does not fit. None while the clock looks wrong.
    pub fn without_copy(&self) -> impl Iterator<Item = &'a str> {
        let waiting = self.verdicts.iter().rev();
        waiting
            .filter(|verdict| self.clock_doubt.is_none() && verdict.reasons == [Reason::NoCopy])
            .map(|verdict| verdict.name)
    }
}

/// Decides which backups of one database and series stay and which go.
///
/// `floor` is the number of newest verified backups that stay whatever the rules say. The order
/// of the candidates makes no difference; of two that were started in the same moment, the one
/// whose name sorts last counts as the newer.
///
/// When the dates contradict the clock nothing is removed, and the decision says so, unless the
/// operator vouches for the clock; the floor and the pins hold even then.
#[expect(clippy::too_many_arguments, reason = "all that the decision rests on")]
pub fn decide<'a>(
    candidates: &[Candidate<'a>],
    rules: &Rules,
    floor: NonZeroU32,
    now: DateTime<Utc>,
    trust: ClockTrust,
) -> Decision<'a> {
    let mut newest_first: Vec<_> = candidates.iter().collect();
    newest_first.sort_unstable_by_key(|candidate| Reverse((candidate.started, candidate.name)));

    let mut evaluation = Evaluation::new(&newest_first, rules, floor, now);
    let mut verdicts: Vec<_> = newest_first
        .iter()
        .map(|candidate| evaluation.judge(candidate))
        .collect();

    // A series that keeps everything has nothing to fear, and may well have gaps of years.
    let clock_doubt = if trust == ClockTrust::Always || rules.is_empty() {
        None
    } else {
        clock::doubt(&newest_first, now)
    };
    if clock_doubt.is_some() {
        for verdict in verdicts.iter_mut().filter(|verdict| !verdict.keep) {
            verdict.keep = true;
            verdict.reasons = vec![Reason::ClockDoubt];
        }
    }
    Decision {
        verdicts,
        clock_doubt,
    }
}

/// A walk over the backups of a series, newest first, and what each rule has left to give.
struct Evaluation<'r> {
    rules: &'r Rules,
    floor: NonZeroU32,
    now: DateTime<Utc>,
    /// How many verified backups are still to come, the present one included.
    verified_to_come: usize,
    /// How many verified backups have been seen.
    verified_seen: u32,
    periods: Vec<PeriodRule>,
}

impl<'r> Evaluation<'r> {
    fn new(
        newest_first: &[&Candidate<'_>],
        rules: &'r Rules,
        floor: NonZeroU32,
        now: DateTime<Utc>,
    ) -> Self {
        let verified = newest_first
            .iter()
            .filter(|candidate| candidate.counts() && candidate.started <= now)
            .count();
        let periods = [
            (Every::Day, rules.daily),
            (Every::Week, rules.weekly),
            (Every::Month, rules.monthly),
            (Every::Year, rules.yearly),
        ];
        Self {
            rules,
            floor,
            now,
            verified_to_come: verified,
            verified_seen: 0,
            periods: periods
                .into_iter()
                .filter_map(|(every, count)| Some(PeriodRule::new(every, count?)))
                .collect(),
        }
    }

    fn judge<'a>(&mut self, candidate: &Candidate<'a>) -> Verdict<'a> {
        let mut reasons = Vec::new();
        if candidate.pinned {
            reasons.push(Reason::Pinned);
        }
        if candidate.held {
            reasons.push(Reason::Loss);
        }
        if candidate.being_copied {
            reasons.push(Reason::Copy);
        }
        if candidate.awaits_copy {
            reasons.push(Reason::NoCopy);
        }
        if candidate.started > self.now {
            reasons.push(Reason::Ahead);
        } else if candidate.counts() {
            self.weigh_verified(candidate, &mut reasons);
        } else if !candidate.verified {
            reasons.push(Reason::Evidence);
        } else if !candidate.read {
            reasons.push(Reason::Unchecked);
        } else {
            reasons.push(Reason::Partial);
        }

        let keep = reasons.iter().any(Reason::keeps);
        reasons.retain(|reason| reason.keeps() == keep);
        Verdict {
            name: candidate.name,
            keep,
            reasons,
        }
    }

    fn weigh_verified(&mut self, candidate: &Candidate<'_>, reasons: &mut Vec<Reason>) {
        let newer = self.verified_seen;
        let is_oldest = self.verified_to_come == 1;
        self.verified_seen += 1;
        self.verified_to_come -= 1;

        if newer < self.floor.get() {
            reasons.push(Reason::Floor { count: self.floor });
        }
        if self.rules.is_empty() {
            reasons.push(Reason::NoRules);
        }
        reasons.extend(
            self.rules
                .within
                .map(|limit| self.weigh_age(candidate, limit)),
        );
        reasons.extend(self.rules.last.map(|count| {
            if newer < count.get() {
                Reason::Last { count }
            } else {
                Reason::BeyondLast { count }
            }
        }));
        for rule in &mut self.periods {
            reasons.push(rule.weigh(candidate, is_oldest));
        }
    }

    fn weigh_age(&self, candidate: &Candidate<'_>, limit: Duration) -> Reason {
        // One dated after now has no age, and is not too old.
        let too_old = (self.now - candidate.started)
            .to_std()
            .is_ok_and(|age| age > limit);
        if too_old {
            Reason::TooOld { limit }
        } else {
            Reason::Age { limit }
        }
    }
}

/// A rule that keeps the newest backup of each of the last so many periods that have one.
struct PeriodRule {
    every: Every,
    count: NonZeroU32,
    /// For how many more periods there is room.
    room: u32,
    /// The periods whose newest backup has been kept. A set, not only the last one: a wall clock
    /// that is set back over midnight visits the same day twice.
    kept: HashSet<Period>,
}

impl PeriodRule {
    fn new(every: Every, count: NonZeroU32) -> Self {
        Self {
            every,
            count,
            room: count.get(),
            kept: HashSet::new(),
        }
    }

    fn weigh(&mut self, candidate: &Candidate<'_>, is_oldest: bool) -> Reason {
        let Self { every, count, .. } = *self;
        let period = every.containing(candidate.local.date());
        let is_newest = !self.kept.contains(&period);
        match (is_newest, self.room) {
            (true, 0) => Reason::BeyondPeriods { every, count },
            (true, _) => {
                self.room -= 1;
                self.kept.insert(period);
                Reason::Newest { every, period }
            }
            (false, room) if is_oldest && room > 0 => Reason::Oldest { every },
            (false, _) => Reason::NotNewest { every, period },
        }
    }
}
