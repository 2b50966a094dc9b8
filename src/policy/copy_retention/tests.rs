use std::collections::BTreeSet;
use std::time::Duration;

use chrono::TimeDelta;
use proptest::prelude::*;

use super::*;
use crate::policy::{Copies, CopyRules, Copyable, due_copies};

fn series(name: &str) -> Series {
    name.parse().unwrap()
}

fn now() -> DateTime<Utc> {
    "2026-03-20T12:00:00Z".parse().unwrap()
}

fn count(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

/// A copy of a backup that was started so many hours ago, which is also the number of its run.
fn copy(name: &str, hours: i64) -> CopyCandidate {
    let started = now() - TimeDelta::hours(hours);
    CopyCandidate {
        run: run(hours),
        backup: format!("{hours} hours ago"),
        series: series(name),
        started,
        local: started.naive_utc(),
        complete: true,
        proved: true,
        partial: false,
        pinned: false,
        held: false,
    }
}

fn run(hours: i64) -> Uuid {
    Uuid::from_u128(u128::try_from(hours + 1_000_000).unwrap())
}

fn last(number: u32) -> Rules {
    Rules {
        last: Some(count(number)),
        ..Rules::default()
    }
}

fn rules(of: &[(&str, Rules)]) -> BTreeMap<Series, Rules> {
    let of = of.iter();
    of.map(|(name, rules)| (series(name), rules.clone()))
        .collect()
}

fn decided(copies: &[CopyCandidate], rules: &BTreeMap<Series, Rules>, floor: u32) -> CopyDecision {
    let keeping = Keeping {
        rules: Some(rules),
        floor: count(floor),
        now: now(),
    };
    decide_copies(copies, keeping)
}

fn removed(copies: &[CopyCandidate], rules: &BTreeMap<Series, Rules>, floor: u32) -> Vec<i64> {
    let decision = decided(copies, rules, floor);
    let removed = decision.removed.into_iter();
    removed
        .map(|(run, _)| i64::try_from(run.as_u128()).unwrap() - 1_000_000)
        .collect()
}

/// What is damaged or gone is given up when an intact copy in its place would go, and never takes one along.
#[test]
fn a_copy_that_is_of_no_use_is_outlived_by_the_rules() {
    let rules = rules(&[("daily", last(2))]);
    let intact = [1, 25, 49].map(|hours| copy("daily", hours));
    let useless = |hours, pinned| CopyCandidate {
        complete: false,
        pinned,
        ..copy("daily", hours)
    };
    let pinned = CopyCandidate {
        pinned: true,
        ..useless(97, true)
    };
    let all = [useless(13, false), useless(73, false), pinned];
    for (rules, floor, expected) in [
        (Some(&rules), 1, &[73][..]),
        (Some(&rules), 4, &[]),
        (None, 1, &[]),
    ] {
        let keeping = Keeping {
            rules,
            floor: count(floor),
            now: now(),
        };
        let gone = outlived(&all, &intact, keeping);
        let gone: Vec<Uuid> = gone.into_iter().map(|(run, _)| run).collect();
        let expected: Vec<Uuid> = expected.iter().map(|hours| run(*hours)).collect();
        assert_eq!(gone, expected, "floor {floor}");
    }
    // What is intact is decided as if there were none of them.
    let mut with = intact.to_vec();
    with.extend(all);
    assert_eq!(
        decided(&with, &rules, 1).removed,
        decided(&intact, &rules, 1).removed
    );
}

#[test]
fn each_series_is_kept_by_its_rules_above_the_floor() {
    let daily = [1, 25, 49, 73].map(|hours| copy("daily", hours));
    let weekly = [2, 170].map(|hours| copy("weekly", hours));
    let all = [&daily[..], &weekly].concat();
    let two = rules(&[("daily", last(2))]);
    let both = rules(&[("daily", last(2)), ("weekly", last(1))]);
    for (rules, floor, expected) in [
        (&two, 1, &[49, 73][..]),
        (&two, 3, &[73]),
        (&two, 9, &[]),
        (&both, 1, &[49, 73, 170]),
        (&rules(&[("daily", Rules::default())]), 1, &[]),
        (&rules(&[]), 1, &[]),
    ] {
        assert_eq!(removed(&all, rules, floor), expected, "{rules:?} {floor}");
    }
    let nothing = Keeping {
        rules: None,
        floor: count(1),
        now: now(),
    };
    assert_eq!(decide_copies(&all, nothing), CopyDecision::default());
    let reasons: Vec<String> = decided(&all, &two, 1).removed[0]
        .1
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(reasons, ["not one of the newest 2"]);
}

/// Three copies, of which a rule keeps one; what is changed of the first or the last, and what goes then.
#[test]
fn what_does_not_count_stays_and_takes_nobodys_place() {
    type Change = fn(&mut CopyCandidate);
    let one = rules(&[("daily", last(1))]);
    let changes: [(&str, Change); 6] = [
        ("incomplete", |copy| copy.complete = false),
        ("not read back", |copy| copy.proved = false),
        ("partial", |copy| copy.partial = true),
        ("dated after now", |copy| {
            copy.started = now() + TimeDelta::hours(1);
        }),
        ("pinned", |copy| copy.pinned = true),
        ("held", |copy| copy.held = true),
    ];
    for (what, change) in changes {
        let mut copies = [1, 25, 49].map(|hours| copy("daily", hours));
        assert_eq!(removed(&copies, &one, 1), [25, 49]);
        change(&mut copies[0]);
        let takes_a_place = ["pinned", "held"].contains(&what);
        let expected: &[i64] = if takes_a_place { &[25, 49] } else { &[49] };
        assert_eq!(removed(&copies, &one, 1), expected, "the newest is {what}");

        let mut copies = [1, 25, 49].map(|hours| copy("daily", hours));
        change(&mut copies[2]);
        assert_eq!(removed(&copies, &one, 1), [25], "the oldest is {what}");
    }
}

#[test]
fn a_clock_that_looks_wrong_removes_nothing_and_only_good_copies_settle_a_doubt() {
    let thirty_days = Rules {
        within: Some(Duration::from_secs(30 * 24 * 3600)),
        ..Rules::default()
    };
    let rules = rules(&[("daily", thirty_days)]);
    let year_ago = 24 * 500;
    let old = [0, 24, 48].map(|hours| copy("daily", year_ago + hours));
    assert_eq!(removed(&old, &rules, 1), [0_i64; 0]);
    assert_eq!(decided(&old, &rules, 1).doubts.len(), 1);
    // Neither a broken copy of yesterday nor one of the next hour.
    for (hours, complete) in [(24, false), (-1, true), (-1, false)] {
        let mut copies = old.to_vec();
        copies.push(CopyCandidate {
            complete,
            ..copy("daily", hours)
        });
        assert_eq!(decided(&copies, &rules, 1).doubts.len(), 1, "{hours}");
        assert_eq!(removed(&copies, &rules, 1), [0_i64; 0], "{hours}");
    }
    // A date far ahead raises one, whatever its copy is like.
    let mut copies = [1, 24 * 40, 24 * 41]
        .map(|hours| copy("daily", hours))
        .to_vec();
    assert_eq!(removed(&copies, &rules, 1), [24 * 40, 24 * 41]);
    copies.push(CopyCandidate {
        complete: false,
        ..copy("daily", -48)
    });
    assert_eq!(removed(&copies, &rules, 1), [0_i64; 0]);
}

fn due(backups: &[CopyCandidate], there: &[CopyCandidate], rules: Rules) -> Vec<String> {
    let names: Vec<String> = backups.iter().map(|one| one.run.to_string()).collect();
    let copyable = backups.iter().zip(&names);
    let copyable: Vec<Copyable<'_>> = copyable
        .map(|(one, name)| Copyable {
            name,
            run: one.run,
            series: &one.series,
            started: one.started,
            local: one.local,
            intact: true,
            partial: one.partial,
            pinned: one.pinned,
            held: one.held,
        })
        .collect();
    let rules = [(series("daily"), rules)].into();
    let copy_rules = CopyRules {
        series: &[],
        backfill: count(100),
        keeping: Keeping {
            rules: Some(&rules),
            floor: count(1),
            now: now(),
        },
    };
    let copies = Copies {
        there,
        passed_over: &BTreeSet::new(),
    };
    let due = due_copies(&copyable, copy_rules, copies);
    due.into_iter().map(str::to_owned).collect()
}

#[test]
fn a_backup_is_not_copied_whose_copy_would_be_removed() {
    let backups = [1, 25, 49, 73].map(|hours| copy("daily", hours));
    let names = |hours: &[i64]| -> Vec<String> {
        hours.iter().map(|hours| run(*hours).to_string()).collect()
    };
    assert_eq!(due(&backups, &[], last(2)), names(&[1, 25]));
    assert_eq!(due(&backups, &backups[..1], last(2)), names(&[25]));
    assert_eq!(due(&backups, &backups[..2], last(2)), names(&[]));
    // What is there counts although its backup is gone from here.
    assert_eq!(due(&backups[2..], &backups[..2], last(2)), names(&[]));
    assert_eq!(due(&backups[2..], &backups[..1], last(2)), names(&[49]));
    // A copy that is not complete is made again.
    let mut broken = backups[..1].to_vec();
    broken[0].complete = false;
    assert_eq!(due(&backups, &broken, last(2)), names(&[1, 25]));
    let mut pinned = backups.to_vec();
    pinned[3].pinned = true;
    assert_eq!(due(&pinned, &[], last(2)), names(&[1, 25, 73]));
    assert_eq!(due(&backups, &[], Rules::default()).len(), 4);
}

prop_compose! {
    fn any_copy()(
        hours in prop_oneof![0..24 * 60_i64, 0..24 * 900_i64],
        pinned in prop::bool::weighted(0.1),
        held in prop::bool::weighted(0.1),
    ) -> CopyCandidate {
        CopyCandidate { pinned, held, ..copy("daily", hours) }
    }
}

prop_compose! {
    /// A copy that is incomplete, was not read back, is partial or dated after now.
    fn noise()(
        kind in 0..4, hours in 0..24 * 900_i64, ahead in 1..24 * 900_i64, number in any::<u128>(),
        pinned in any::<bool>(),
    ) -> CopyCandidate {
        let hours = if kind == 3 { -ahead } else { hours };
        CopyCandidate {
            run: Uuid::from_u128(number),
            complete: kind != 0,
            proved: kind != 1,
            partial: kind == 2,
            pinned,
            ..copy("daily", hours)
        }
    }
}

fn any_rules() -> impl Strategy<Value = Rules> {
    let number = || prop::option::of((1..9_u32).prop_map(count));
    (prop::option::of(1..90_u64), number(), number(), number()).prop_map(
        |(days, last, daily, weekly)| Rules {
            within: days.map(|days| Duration::from_secs(days * 24 * 3600)),
            last,
            daily,
            weekly,
            ..Rules::default()
        },
    )
}

/// Of several copies with one number, one.
fn distinct(copies: Vec<CopyCandidate>) -> Vec<CopyCandidate> {
    let by_run = copies.into_iter().map(|copy| (copy.run, copy));
    by_run.collect::<BTreeMap<_, _>>().into_values().collect()
}

proptest! {
    /// Whatever lies next to the good copies, and however much of it: none of them goes because of it.
    #[test]
    fn no_number_of_copies_that_do_not_count_makes_a_good_one_go(
        good in prop::collection::vec(any_copy(), 0..40),
        noise in prop::collection::vec(noise(), 0..80),
        rules_of_daily in any_rules(),
        floor in 1..4_u32,
    ) {
        let good = distinct(good);
        let rules = rules(&[("daily", rules_of_daily)]);
        let before: BTreeSet<i64> = removed(&good, &rules, floor).into_iter().collect();
        let all = [&good[..], &noise].concat();
        let after: BTreeSet<Uuid> =
            decided(&all, &rules, floor).removed.into_iter().map(|(run, _)| run).collect();
        for one in &noise {
            prop_assert!(!after.contains(&one.run), "{one:?}");
        }
        for run_of_one in after {
            let hours = i64::try_from(run_of_one.as_u128()).unwrap() - 1_000_000;
            prop_assert!(before.contains(&hours), "{hours}");
        }
    }

    /// What was copied because it was due stays, and nothing more is due.
    #[test]
    fn what_is_copied_is_not_removed_by_the_same_run(
        backups in prop::collection::vec(any_copy(), 0..30),
        there in prop::collection::vec(any_copy(), 0..30),
        rules_of_daily in any_rules(),
    ) {
        // Where there is both, they agree.
        let backups = distinct(backups);
        let there: Vec<CopyCandidate> = there
            .into_iter()
            .filter(|copy| backups.iter().all(|backup| backup.run != copy.run))
            .chain(backups.iter().step_by(3).cloned())
            .collect();
        let there = distinct(there);
        let due_now = due(&backups, &there, rules_of_daily.clone());
        let is_new = |one: &&CopyCandidate| due_now.contains(&one.run.to_string());
        let mut then = there;
        then.extend(backups.iter().filter(is_new).cloned());
        let rules = rules(&[("daily", rules_of_daily.clone())]);
        let removed = decided(&then, &rules, 1).removed;
        for (run, reasons) in &removed {
            prop_assert!(!due_now.contains(&run.to_string()), "{run} {reasons:?}");
        }
        then.retain(|one| removed.iter().all(|(run, _)| *run != one.run));
        // A doubt about the clock keeps everything, whatever was decided before.
        let all = distinct([&then[..], &backups].concat());
        prop_assume!(decided(&all, &rules, 1).doubts.is_empty());
        prop_assert_eq!(due(&backups, &then, rules_of_daily), Vec::<String>::new());
    }
}
