//! Which copies at a destination are kept, by the rules that local backups are kept by. Pure.
//!
//! Only copies of the own host with a trusted signature come here. Of these, one takes a place in the floor or in
//! a rule only if all of it is listed and it was read back. Any other one stays, and neither takes a place
//! nor settles a doubt about the clock, so that no number of them makes a good copy go.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use chrono::{DateTime, NaiveDateTime, Utc};
use uuid::Uuid;

use super::retention::{
    Candidate, ClockDoubt, ClockTrust, Reason, Rules, TOLERATED_LEAD, Verdict, decide,
};
use super::series::Series;

/// A copy at a destination, as far as retention cares.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, and any may hold with any other"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyCandidate {
    /// The run that made the backup.
    pub run: Uuid,
    /// The backup's stem.
    pub backup: String,
    /// The backup's series.
    pub series: Series,
    /// When the backup was started.
    pub started: DateTime<Utc>,
    /// The same moment on the wall clock of the schedule's zone.
    pub local: NaiveDateTime,
    /// Whether everything that its manifest names is listed.
    pub complete: bool,
    /// Whether it was read back at the destination.
    pub proved: bool,
    /// Whether the backup is partial.
    pub partial: bool,
    /// Whether the operator pinned the backup or the copy.
    pub pinned: bool,
    /// Whether it has to stay for another reason: it was made before a loss that nobody has accepted, or some
    /// of it may belong to a manifest that is not trusted.
    pub held: bool,
}

impl CopyCandidate {
    /// Whether it may take a place in the floor or in a rule.
    fn counts(&self, now: DateTime<Utc>) -> bool {
        self.complete && self.proved && !self.partial && self.started <= now
    }

    /// Whether its date alone shows that the clock is wrong.
    fn contradicts(&self, now: DateTime<Utc>) -> bool {
        self.started - now > TOLERATED_LEAD
    }
}

/// What is kept at a destination.
#[derive(Clone, Copy, Debug)]
pub struct Keeping<'a> {
    /// The rules of each series; none where nothing is ever removed.
    pub rules: Option<&'a BTreeMap<Series, Rules>>,
    /// So many of the newest copies of each series always stay.
    pub floor: NonZeroU32,
    /// What the clock says.
    pub now: DateTime<Utc>,
}

/// What becomes of the copies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopyDecision {
    /// The copies that go, by the runs that made their backups, with the reasons; by series, newest first.
    pub removed: Vec<(Uuid, Vec<Reason>)>,
    /// The series of which nothing is removed because the clock looks wrong.
    pub doubts: Vec<(Series, ClockDoubt)>,
}

/// Decides which copies of one database go.
pub fn decide_copies(copies: &[CopyCandidate], keeping: Keeping<'_>) -> CopyDecision {
    decide_copies_by(copies, keeping, ClockTrust::IfPlausible)
}

/// The same with a clock that may have to be believed.
pub fn decide_copies_by(
    copies: &[CopyCandidate],
    keeping: Keeping<'_>,
    trust: ClockTrust,
) -> CopyDecision {
    let mut decision = CopyDecision::default();
    let Some(all_rules) = keeping.rules else {
        return decision;
    };
    let mut by_series: BTreeMap<&Series, Vec<(String, &CopyCandidate)>> = BTreeMap::new();
    for copy in copies {
        if copy.counts(keeping.now) || copy.contradicts(keeping.now) {
            let of_series = by_series.entry(&copy.series).or_default();
            // Another run may have given its backup the same name.
            let is_taken = of_series.iter().any(|(name, _)| *name == copy.backup);
            let name = if is_taken {
                format!("{}.{}", copy.backup, copy.run)
            } else {
                copy.backup.clone()
            };
            of_series.push((name, copy));
        }
    }
    for (series, copies) in by_series {
        let Some(rules) = all_rules.get(series) else {
            continue;
        };
        let candidates: Vec<Candidate<'_>> = copies.iter().map(candidate).collect();
        let Keeping { floor, now, .. } = keeping;
        let decided = decide(&candidates, rules, floor, now, trust);
        for Verdict { name, reasons, .. } in decided.verdicts.iter().filter(|one| !one.keep) {
            let copy = copies.iter().find(|(candidate, _)| candidate == name);
            let removed = copy.map(|(_, copy)| (copy.run, reasons.clone()));
            decision.removed.extend(removed);
        }
        let doubt = decided.clock_doubt.map(|doubt| (series.clone(), doubt));
        decision.doubts.extend(doubt);
    }
    decision
}

/// Of copies that are of no use, because they are damaged or gone, those that the rules would remove if they were
/// intact: nobody waits for them any more. None of them takes a place, or makes another copy go.
pub fn outlived(
    useless: &[CopyCandidate],
    copies: &[CopyCandidate],
    keeping: Keeping<'_>,
) -> Vec<(Uuid, Vec<Reason>)> {
    let would_go = |one: &CopyCandidate| {
        let others = copies.iter().filter(|other| other.run != one.run);
        let intact = CopyCandidate {
            complete: true,
            proved: true,
            ..one.clone()
        };
        let all: Vec<CopyCandidate> = others.cloned().chain([intact]).collect();
        let mut removed = decide_copies(&all, keeping).removed.into_iter();
        removed.find(|(run, _)| *run == one.run)
    };
    useless.iter().filter_map(would_go).collect()
}

/// The copy that has to be read next before anything goes by a decision that took every complete copy for one that was
/// read back: the newest that takes a place, in a series of which something goes. None once all were read.
pub fn next_to_check(
    copies: &[CopyCandidate],
    decision: &CopyDecision,
    (checked, now): (&BTreeSet<Uuid>, DateTime<Utc>),
) -> Option<Uuid> {
    let goes = |copy: &CopyCandidate| decision.removed.iter().any(|(run, _)| *run == copy.run);
    let shrinking: BTreeSet<&Series> = copies
        .iter()
        .filter(|copy| goes(copy))
        .map(|copy| &copy.series)
        .collect();
    copies
        .iter()
        .filter(|copy| shrinking.contains(&copy.series) && copy.counts(now) && !goes(copy))
        .filter(|copy| !checked.contains(&copy.run))
        .max_by_key(|copy| copy.started)
        .map(|copy| copy.run)
}

fn candidate<'a>((name, copy): &'a (String, &CopyCandidate)) -> Candidate<'a> {
    Candidate {
        name,
        started: copy.started,
        local: copy.local,
        verified: copy.complete,
        read: copy.proved,
        partial: copy.partial,
        pinned: copy.pinned,
        held: copy.held,
        being_copied: false,
        awaits_copy: false,
    }
}

#[cfg(test)]
mod tests;
