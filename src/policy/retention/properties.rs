//! What retention promises for every history of backups, whatever its rules.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::time::Duration;

use chrono::{DateTime, Datelike, NaiveDate, TimeDelta, Utc};
use proptest::prelude::*;

use super::{Candidate, ClockTrust, Decision, Reason, Rules, decide};

/// A backup of an invented history.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, and any may hold with any other"
)]
#[derive(Clone, Debug)]
struct Made {
    name: String,
    started: DateTime<Utc>,
    verified: bool,
    read: bool,
    partial: bool,
    pinned: bool,
    held: bool,
}

impl Made {
    fn candidate(&self) -> Candidate<'_> {
        Candidate {
            name: &self.name,
            started: self.started,
            local: self.started.naive_utc() + TimeDelta::hours(3),
            verified: self.verified,
            read: self.read,
            partial: self.partial,
            pinned: self.pinned,
            held: self.held,
            being_copied: false,
            awaits_copy: false,
        }
    }

    fn counts(&self) -> bool {
        self.verified && self.read && !self.partial && self.started <= now()
    }
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_770_000_000, 0).unwrap()
}

fn candidates(history: &[Made]) -> Vec<Candidate<'_>> {
    history.iter().map(Made::candidate).collect()
}

fn removed<'a>(decision: &Decision<'a>) -> BTreeSet<&'a str> {
    decision.removed().map(|verdict| verdict.name).collect()
}

/// Hours before now: dense in the last weeks, sparse over years, now and then in the future.
fn age_in_hours() -> impl Strategy<Value = i64> {
    prop_oneof![
        6 => 0..24 * 40_i64,
        3 => 0..24 * 365 * 4_i64,
        1 => -24 * 400..0_i64,
    ]
}

fn history() -> impl Strategy<Value = Vec<Made>> {
    let backup = (
        age_in_hours(),
        prop::bool::weighted(0.8),
        prop::bool::weighted(0.9),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.1),
    );
    prop::collection::vec(backup, 0..60).prop_map(|backups| {
        let numbered = backups.into_iter().enumerate();
        numbered
            .map(
                |(number, (hours, verified, read, partial, pinned, held))| Made {
                    name: format!("backup_{number:02}"),
                    started: now() - TimeDelta::hours(hours),
                    verified,
                    read,
                    partial,
                    pinned,
                    held,
                },
            )
            .collect()
    })
}

fn number(up_to: u32) -> impl Strategy<Value = NonZeroU32> {
    (1..=up_to).prop_map(|number| NonZeroU32::new(number).unwrap())
}

fn rules() -> impl Strategy<Value = Rules> {
    let age = (1..60_u64).prop_map(|days| Duration::from_secs(days * 24 * 60 * 60));
    let counted = || prop::option::of(number(12));
    (
        prop::option::of(age),
        counted(),
        counted(),
        counted(),
        counted(),
        counted(),
    )
        .prop_map(|(within, last, daily, weekly, monthly, yearly)| Rules {
            within,
            last,
            daily,
            weekly,
            monthly,
            yearly,
        })
}

fn trust() -> impl Strategy<Value = ClockTrust> {
    prop_oneof![Just(ClockTrust::IfPlausible), Just(ClockTrust::Always)]
}

proptest! {
    #[test]
    fn the_newest_verified_backups_of_the_floor_and_all_pinned_or_bad_ones_stay(
        history in history(), rules in rules(), floor in number(5), trust in trust(),
    ) {
        let candidates = candidates(&history);
        let removed = removed(&decide(&candidates, &rules, floor, now(), trust));
        let mut newest: Vec<_> = history.iter().filter(|made| made.counts()).collect();
        newest.sort_by(|a, b| (b.started, &b.name).cmp(&(a.started, &a.name)));
        for made in newest.into_iter().take(floor.get() as usize) {
            prop_assert!(!removed.contains(made.name.as_str()), "{made:?} is of the floor");
        }
        for made in history.iter().filter(|made| made.pinned) {
            prop_assert!(!removed.contains(made.name.as_str()), "{made:?} is pinned");
        }
        for made in history.iter().filter(|made| !made.verified) {
            prop_assert!(!removed.contains(made.name.as_str()), "{made:?} is evidence");
        }
        for made in history.iter().filter(|made| !made.read) {
            prop_assert!(!removed.contains(made.name.as_str()), "{made:?} was not read");
        }
        for made in history.iter().filter(|made| made.held) {
            prop_assert!(!removed.contains(made.name.as_str()), "{made:?} is held");
        }
    }

    #[test]
    fn every_backup_has_one_verdict_with_reasons_that_all_point_the_same_way(
        history in history(), rules in rules(), floor in number(5), trust in trust(),
    ) {
        let candidates = candidates(&history);
        let decision = decide(&candidates, &rules, floor, now(), trust);
        let judged: BTreeSet<_> = decision.verdicts.iter().map(|verdict| verdict.name).collect();
        prop_assert_eq!((judged.len(), decision.verdicts.len()), (history.len(), history.len()));
        for verdict in &decision.verdicts {
            prop_assert!(!verdict.reasons.is_empty(), "{verdict:?}");
            prop_assert!(verdict.reasons.iter().all(|r| r.keeps() == verdict.keep), "{verdict:?}");
        }
    }

    #[test]
    fn the_order_of_the_candidates_makes_no_difference(
        (history, shuffled) in history().prop_flat_map(|h| (Just(h.clone()), Just(h).prop_shuffle())),
        rules in rules(), floor in number(5), trust in trust(),
    ) {
        let (one, other) = (candidates(&history), candidates(&shuffled));
        prop_assert_eq!(
            decide(&one, &rules, floor, now(), trust),
            decide(&other, &rules, floor, now(), trust)
        );
    }

    #[test]
    fn deciding_again_about_what_is_left_removes_nothing_more(
        history in history(), rules in rules(), floor in number(5), trust in trust(),
    ) {
        let all = candidates(&history);
        let removed_first = removed(&decide(&all, &rules, floor, now(), trust));
        let left: Vec<_> =
            all.into_iter().filter(|candidate| !removed_first.contains(candidate.name)).collect();
        let removed_then = removed(&decide(&left, &rules, floor, now(), trust));
        prop_assert!(removed_then.is_empty(), "{removed_then:?}");
    }

    #[test]
    fn a_doubted_clock_removes_nothing_and_a_plausible_one_removes_what_a_trusted_one_does(
        history in history(), rules in rules(), floor in number(5),
    ) {
        let candidates = candidates(&history);
        let plausible = decide(&candidates, &rules, floor, now(), ClockTrust::IfPlausible);
        let trusted = decide(&candidates, &rules, floor, now(), ClockTrust::Always);
        prop_assert_eq!(&trusted.clock_doubt, &None);
        if plausible.clock_doubt.is_some() {
            prop_assert!(removed(&plausible).is_empty());
        } else {
            prop_assert_eq!(plausible, trusted);
        }
    }

    #[test]
    fn a_new_backup_costs_at_most_one_older_verified_one_for_the_floor_and_each_counting_rule(
        history in history(), rules in rules(), floor in number(5),
    ) {
        let before = candidates(&history);
        let removed_before = removed(&decide(&before, &rules, floor, now(), ClockTrust::Always));
        let newest = Made {
            name: "newest".to_owned(), started: now(), verified: true, read: true, partial: false,
            pinned: false, held: false,
        };
        let mut after = candidates(&history);
        after.push(newest.candidate());
        let removed_after = removed(&decide(&after, &rules, floor, now(), ClockTrust::Always));

        let cost = history
            .iter()
            .filter(|made| made.verified)
            .map(|made| made.name.as_str())
            .filter(|name| removed_after.contains(name) && !removed_before.contains(name))
            .count();
        let counting = [rules.last, rules.daily, rules.weekly, rules.monthly, rules.yearly];
        prop_assert!(cost <= 1 + counting.iter().flatten().count(), "{cost}");
        prop_assert!(!removed_after.contains("newest"));
    }

    #[test]
    fn a_rule_of_periods_keeps_what_its_definition_says(
        history in history(), kind in 0..4_usize, count in number(12),
    ) {
        let mut rules = Rules::default();
        let rule = match kind {
            0 => &mut rules.daily,
            1 => &mut rules.weekly,
            2 => &mut rules.monthly,
            _ => &mut rules.yearly,
        };
        *rule = Some(count);
        let key = |day: NaiveDate| match kind {
            0 => (day.year(), day.ordinal()),
            1 => (day.iso_week().year(), day.iso_week().week()),
            2 => (day.year(), day.month()),
            _ => (day.year(), 0),
        };

        let all = candidates(&history);
        let decision = decide(&all, &rules, NonZeroU32::MIN, now(), ClockTrust::Always);
        let kept: BTreeSet<_> = decision
            .verdicts
            .iter()
            .filter(|v| v.reasons.iter().any(|reason| {
                matches!(reason, Reason::Newest { .. } | Reason::Oldest { .. })
            }))
            .map(|verdict| verdict.name)
            .collect();

        let counted = || history.iter().filter(|made| made.counts());
        let mut newest_of_each = BTreeMap::new();
        for made in counted() {
            let moment = (made.started, made.name.as_str());
            let newest = newest_of_each.entry(key(made.candidate().local.date())).or_insert(moment);
            *newest = moment.max(*newest);
        }
        let has_room = newest_of_each.len() < count.get() as usize;
        let mut expected: BTreeSet<_> = newest_of_each
            .into_values()
            .rev()
            .take(count.get() as usize)
            .map(|(_, name)| name)
            .collect();
        let oldest = counted().min_by_key(|made| (made.started, made.name.as_str()));
        expected.extend(oldest.filter(|_| has_room).map(|made| made.name.as_str()));
        prop_assert_eq!(kept, expected);
    }
}
