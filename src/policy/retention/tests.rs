//! Retention by example.

use std::num::NonZeroU32;
use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use insta::assert_snapshot;

use super::{Candidate, ClockTrust, Decision, Reason, Rules, decide};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A backup as a test writes it: its name is its moment, `2026-01-15 02:00`, of UTC.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, and any may hold with any other"
)]
#[derive(Clone)]
struct Made {
    name: String,
    at: DateTime<Utc>,
    verified: bool,
    read: bool,
    partial: bool,
    pinned: bool,
    held: bool,
    being_copied: bool,
    awaits_copy: bool,
}

fn at(moment: &str) -> DateTime<Utc> {
    NaiveDateTime::parse_from_str(moment, "%Y-%m-%d %H:%M")
        .unwrap()
        .and_utc()
}

fn made(moment: &str) -> Made {
    Made {
        name: moment.to_owned(),
        at: at(moment),
        verified: true,
        read: true,
        partial: false,
        pinned: false,
        held: false,
        being_copied: false,
        awaits_copy: false,
    }
}

fn bad(moment: &str) -> Made {
    Made {
        verified: false,
        ..made(moment)
    }
}

fn unread(moment: &str) -> Made {
    Made {
        read: false,
        ..made(moment)
    }
}

fn partial(moment: &str) -> Made {
    Made {
        partial: true,
        ..made(moment)
    }
}

fn pinned(moment: &str) -> Made {
    Made {
        pinned: true,
        ..made(moment)
    }
}

/// One verified backup a day at 02:00, the last on this day.
fn daily(count: i64, last_day: &str) -> Vec<Made> {
    let last = at(&format!("{last_day} 02:00"));
    (0..count)
        .map(|days| {
            made(
                &(last - TimeDelta::days(days))
                    .format("%Y-%m-%d %H:%M")
                    .to_string(),
            )
        })
        .collect()
}

fn count(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

fn within(days: u32) -> Rules {
    Rules {
        within: Some(DAY * days),
        ..Rules::default()
    }
}

#[expect(clippy::too_many_arguments, reason = "all that the decision rests on")]
fn decide_with<'a>(
    backups: &'a [Made],
    rules: &Rules,
    floor: u32,
    now: &str,
    trust: ClockTrust,
) -> Decision<'a> {
    let candidates: Vec<_> = backups
        .iter()
        .map(|backup| Candidate {
            name: &backup.name,
            started: backup.at,
            local: backup.at.naive_utc(),
            verified: backup.verified,
            read: backup.read,
            partial: backup.partial,
            pinned: backup.pinned,
            held: backup.held,
            being_copied: backup.being_copied,
            awaits_copy: backup.awaits_copy,
        })
        .collect();
    decide(&candidates, rules, count(floor), at(now), trust)
}

fn decide_at<'a>(backups: &'a [Made], rules: &Rules, floor: u32, now: &str) -> Decision<'a> {
    decide_with(backups, rules, floor, now, ClockTrust::IfPlausible)
}

/// The decision as people read it: a line a backup, and the doubt if there is one.
fn shown(decision: &Decision<'_>) -> String {
    let mut lines: Vec<_> = decision
        .verdicts
        .iter()
        .map(|verdict| {
            let reasons: Vec<_> = verdict.reasons.iter().map(ToString::to_string).collect();
            let outcome = if verdict.keep { "keep  " } else { "remove" };
            format!("{outcome} {}: {}", verdict.name, reasons.join("; "))
        })
        .collect();
    lines.extend(
        decision
            .clock_doubt
            .iter()
            .map(|doubt| format!("doubt: {doubt}")),
    );
    lines.join("\n")
}

fn kept(decision: &Decision<'_>) -> Vec<String> {
    let kept = decision.verdicts.iter().filter(|verdict| verdict.keep);
    kept.map(|verdict| verdict.name.to_owned()).collect()
}

#[test]
fn the_policy_keeps_daily_backups_for_thirty_days() {
    let backups = daily(33, "2026-01-31");
    let decision = decide_at(&backups, &within(30), 3, "2026-01-31 02:05");
    assert_eq!(decision.removed().count(), 3);
    let last_lines = shown(&decision)
        .lines()
        .skip(28)
        .collect::<Vec<_>>()
        .join("\n");
    assert_snapshot!(last_lines, @"
    keep   2026-01-03 02:00: no older than 30 days
    keep   2026-01-02 02:00: no older than 30 days
    remove 2026-01-01 02:00: older than 30 days
    remove 2025-12-31 02:00: older than 30 days
    remove 2025-12-30 02:00: older than 30 days
    ");
}

#[test]
fn an_age_is_too_old_only_when_it_exceeds_the_limit() {
    let mut backups = daily(3, "2026-01-31");
    backups.push(made("2026-01-01 02:00"));
    for (now, removed) in [("2026-01-31 02:00", 0), ("2026-01-31 02:01", 1)] {
        let decision = decide_at(&backups, &within(30), 3, now);
        assert_eq!(decision.removed().count(), removed, "at {now}");
    }
}

#[test]
fn a_series_without_rules_keeps_everything() {
    let backups = [
        made("2026-01-31 02:00"),
        made("2019-05-01 02:00"),
        bad("2018-05-01 02:00"),
    ];
    let decision = decide_at(&backups, &Rules::default(), 1, "2026-01-31 02:05");
    assert_snapshot!(shown(&decision), @"
    keep   2026-01-31 02:00: the one verified backup that always stays; its series keeps everything
    keep   2019-05-01 02:00: its series keeps everything
    keep   2018-05-01 02:00: found bad: kept as evidence
    ");
}

#[test]
fn a_year_of_daily_backups_thins_out_towards_the_past() {
    let rules = Rules {
        daily: Some(count(7)),
        weekly: Some(count(4)),
        monthly: Some(count(12)),
        yearly: Some(count(3)),
        ..Rules::default()
    };
    let backups = daily(365, "2026-02-18");
    let decision = decide_at(&backups, &rules, 3, "2026-02-18 02:05");
    let all = shown(&decision);
    let keeps: Vec<_> = all
        .lines()
        .filter(|line| line.starts_with("keep"))
        .collect();
    assert_snapshot!(keeps.join("\n"), @"
    keep   2026-02-18 02:00: one of the 3 verified backups that always stay; newest of the day 2026-02-18; newest of the week 2026-W08; newest of the month 2026-02; newest of the year 2026
    keep   2026-02-17 02:00: one of the 3 verified backups that always stay; newest of the day 2026-02-17
    keep   2026-02-16 02:00: one of the 3 verified backups that always stay; newest of the day 2026-02-16
    keep   2026-02-15 02:00: newest of the day 2026-02-15; newest of the week 2026-W07
    keep   2026-02-14 02:00: newest of the day 2026-02-14
    keep   2026-02-13 02:00: newest of the day 2026-02-13
    keep   2026-02-12 02:00: newest of the day 2026-02-12
    keep   2026-02-08 02:00: newest of the week 2026-W06
    keep   2026-02-01 02:00: newest of the week 2026-W05
    keep   2026-01-31 02:00: newest of the month 2026-01
    keep   2025-12-31 02:00: newest of the month 2025-12; newest of the year 2025
    keep   2025-11-30 02:00: newest of the month 2025-11
    keep   2025-10-31 02:00: newest of the month 2025-10
    keep   2025-09-30 02:00: newest of the month 2025-09
    keep   2025-08-31 02:00: newest of the month 2025-08
    keep   2025-07-31 02:00: newest of the month 2025-07
    keep   2025-06-30 02:00: newest of the month 2025-06
    keep   2025-05-31 02:00: newest of the month 2025-05
    keep   2025-04-30 02:00: newest of the month 2025-04
    keep   2025-03-31 02:00: newest of the month 2025-03
    keep   2025-02-19 02:00: the oldest, while there is room for another year
    ");
}

#[test]
fn a_removed_backup_tells_why_each_rule_let_it_go() {
    let rules = Rules {
        within: Some(DAY),
        last: Some(count(1)),
        daily: Some(count(2)),
        monthly: Some(count(1)),
        ..Rules::default()
    };
    let backups = [
        made("2026-02-18 14:00"),
        made("2026-02-18 02:00"),
        made("2026-02-17 02:00"),
        made("2026-02-17 01:00"),
        made("2026-01-15 02:00"),
    ];
    let decision = decide_at(&backups, &rules, 1, "2026-02-18 14:05");
    assert_snapshot!(shown(&decision), @"
    keep   2026-02-18 14:00: the one verified backup that always stays; no older than 1 day; the newest; newest of the day 2026-02-18; newest of the month 2026-02
    keep   2026-02-18 02:00: no older than 1 day
    keep   2026-02-17 02:00: newest of the day 2026-02-17
    remove 2026-02-17 01:00: older than 1 day; not the newest; not the newest of the day 2026-02-17; not the newest of the month 2026-02
    remove 2026-01-15 02:00: older than 1 day; not the newest; before the last 2 days that have a backup; before the last month that has a backup
    ");
}

#[test]
fn periods_without_a_backup_are_not_counted() {
    let rules = Rules {
        daily: Some(count(3)),
        ..Rules::default()
    };
    let backups = [
        made("2026-02-18 02:00"),
        made("2026-02-11 02:00"),
        made("2026-01-02 02:00"),
        made("2026-01-01 02:00"),
    ];
    let decision = decide_at(&backups, &rules, 1, "2026-02-18 02:05");
    assert_eq!(
        kept(&decision),
        ["2026-02-18 02:00", "2026-02-11 02:00", "2026-01-02 02:00"]
    );
}

#[test]
fn the_oldest_backup_stays_only_while_its_rule_has_room() {
    let backups = [
        made("2026-02-18 02:00"),
        made("2026-02-17 02:00"),
        made("2026-01-02 02:00"),
        made("2026-01-01 02:00"),
    ];
    for (months, oldest_stays) in [(2, false), (3, true)] {
        let rules = Rules {
            monthly: Some(count(months)),
            ..Rules::default()
        };
        let decision = decide_at(&backups, &rules, 1, "2026-02-18 02:05");
        let oldest = decision.verdicts.last().unwrap();
        assert_eq!(oldest.keep, oldest_stays, "{months} months: {oldest:?}");
    }
}

#[test]
fn the_floor_stays_although_every_backup_is_too_old() {
    let backups = daily(5, "2026-01-05");
    let decision = decide_at(&backups, &within(30), 3, "2026-06-01 00:00");
    assert_snapshot!(shown(&decision), @"
    keep   2026-01-05 02:00: one of the 3 verified backups that always stay
    keep   2026-01-04 02:00: one of the 3 verified backups that always stay
    keep   2026-01-03 02:00: one of the 3 verified backups that always stay
    remove 2026-01-02 02:00: older than 30 days
    remove 2026-01-01 02:00: older than 30 days
    ");
}

#[test]
fn a_bad_backup_takes_no_place_of_a_good_one() {
    let rules = Rules {
        last: Some(count(2)),
        daily: Some(count(2)),
        ..Rules::default()
    };
    let backups = [
        bad("2026-02-18 02:00"),
        made("2026-02-17 02:00"),
        bad("2026-02-16 14:00"),
        made("2026-02-16 02:00"),
        made("2026-02-15 02:00"),
    ];
    let decision = decide_at(&backups, &rules, 2, "2026-02-18 02:05");
    assert_snapshot!(shown(&decision), @"
    keep   2026-02-18 02:00: found bad: kept as evidence
    keep   2026-02-17 02:00: one of the 2 verified backups that always stay; one of the newest 2; newest of the day 2026-02-17
    keep   2026-02-16 14:00: found bad: kept as evidence
    keep   2026-02-16 02:00: one of the 2 verified backups that always stay; one of the newest 2; newest of the day 2026-02-16
    remove 2026-02-15 02:00: not one of the newest 2; before the last 2 days that have a backup
    ");
}

#[test]
fn a_bad_backup_is_not_removed_however_old_it_is() {
    let monthly_for_years = Rules {
        monthly: Some(count(50)),
        ..within(30)
    };
    let mut backups = daily(3, "2026-02-18");
    backups.push(bad("2026-02-01 02:00"));
    backups.push(bad("2019-01-01 02:00"));
    let decision = decide_at(&backups, &monthly_for_years, 3, "2026-02-18 02:05");
    assert_snapshot!(shown(&decision), @"
    keep   2026-02-18 02:00: one of the 3 verified backups that always stay; no older than 30 days; newest of the month 2026-02
    keep   2026-02-17 02:00: one of the 3 verified backups that always stay; no older than 30 days
    keep   2026-02-16 02:00: one of the 3 verified backups that always stay; no older than 30 days; the oldest, while there is room for another month
    keep   2026-02-01 02:00: found bad: kept as evidence
    keep   2019-01-01 02:00: found bad: kept as evidence
    ");
}

#[test]
fn a_backup_that_could_not_be_read_takes_no_place_and_stays() {
    // Both are newer than all that was read intact, one of them is old.
    let backups = [
        unread("2026-02-18 02:00"),
        made("2026-02-17 02:00"),
        unread("2026-02-16 02:00"),
        made("2026-02-15 02:00"),
        made("2026-02-14 02:00"),
        unread("2025-02-14 02:00"),
    ];
    let rules = Rules {
        last: Some(count(1)),
        daily: Some(count(2)),
        ..Rules::default()
    };
    let decision = decide_at(&backups, &rules, 1, "2026-02-18 02:05");
    assert_snapshot!(shown(&decision), @"
    keep   2026-02-18 02:00: could not be read at its last check
    keep   2026-02-17 02:00: the one verified backup that always stays; the newest; newest of the day 2026-02-17
    keep   2026-02-16 02:00: could not be read at its last check
    keep   2026-02-15 02:00: newest of the day 2026-02-15
    remove 2026-02-14 02:00: not the newest; before the last 2 days that have a backup
    keep   2025-02-14 02:00: could not be read at its last check
    ");
}

#[test]
fn what_is_being_copied_stays_until_the_copy_is_complete() {
    let mut backups = daily(3, "2026-02-18");
    backups[1].being_copied = true;
    let decision = decide_at(&backups, &within(1), 1, "2026-02-18 02:05");
    assert_snapshot!(shown(&decision), @"
    keep   2026-02-18 02:00: the one verified backup that always stays; no older than 1 day
    keep   2026-02-17 02:00: its copy is not complete
    remove 2026-02-16 02:00: older than 1 day
    ");
}

#[test]
fn what_lacks_a_required_copy_stays_and_may_go_for_room_oldest_first() {
    let mut backups = daily(6, "2026-02-18");
    for backup in &mut backups {
        backup.awaits_copy = true;
    }
    backups[4].being_copied = true;
    backups[3].pinned = true;
    let decision = decide_at(&backups, &within(1), 1, "2026-02-18 02:05");
    assert_snapshot!(shown(&decision), @"
    keep   2026-02-18 02:00: it lacks a copy that retention.require_copies asks for; the one verified backup that always stays; no older than 1 day
    keep   2026-02-17 02:00: it lacks a copy that retention.require_copies asks for
    keep   2026-02-16 02:00: it lacks a copy that retention.require_copies asks for
    keep   2026-02-15 02:00: pinned; it lacks a copy that retention.require_copies asks for
    keep   2026-02-14 02:00: its copy is not complete; it lacks a copy that retention.require_copies asks for
    keep   2026-02-13 02:00: it lacks a copy that retention.require_copies asks for
    ");
    let without_copy: Vec<&str> = decision.without_copy().collect();
    assert_eq!(
        without_copy,
        ["2026-02-13 02:00", "2026-02-16 02:00", "2026-02-17 02:00"]
    );

    let doubtful = decide_at(&backups, &within(1), 1, "2036-02-18 02:05");
    assert!(doubtful.clock_doubt.is_some());
    assert_eq!(doubtful.without_copy().count(), 0);
}

#[test]
fn what_was_made_before_a_loss_stays_until_that_is_accepted() {
    let mut backups = daily(5, "2026-02-18");
    for backup in &mut backups[2..] {
        backup.held = true;
    }
    let decision = decide_at(&backups, &within(1), 1, "2026-02-18 02:05");
    assert_snapshot!(shown(&decision), @"
    keep   2026-02-18 02:00: the one verified backup that always stays; no older than 1 day
    remove 2026-02-17 02:00: older than 1 day
    keep   2026-02-16 02:00: made before a loss that nobody has accepted
    keep   2026-02-15 02:00: made before a loss that nobody has accepted
    keep   2026-02-14 02:00: made before a loss that nobody has accepted
    ");
}

#[test]
fn a_pinned_backup_stays_whatever_its_age_and_state() {
    let mut backups = daily(4, "2026-02-18");
    backups.push(pinned("2025-03-01 02:00"));
    backups.push(Made {
        verified: false,
        ..pinned("2025-02-01 02:00")
    });
    let decision = decide_at(&backups, &within(2), 1, "2026-02-18 02:05");
    assert_snapshot!(shown(&decision), @"
    keep   2026-02-18 02:00: the one verified backup that always stays; no older than 2 days
    keep   2026-02-17 02:00: no older than 2 days
    remove 2026-02-16 02:00: older than 2 days
    remove 2026-02-15 02:00: older than 2 days
    keep   2025-03-01 02:00: pinned
    keep   2025-02-01 02:00: pinned; found bad: kept as evidence
    ");
}

#[test]
fn days_are_those_of_the_wall_clock() {
    // 23:30 in Riyadh and 00:30 the next day there, both on one day of UTC.
    let candidates = ["2026-02-17 20:30", "2026-02-17 21:30"].map(|moment| Candidate {
        name: moment,
        started: at(moment),
        local: at(moment).naive_utc() + TimeDelta::hours(3),
        verified: true,
        read: true,
        partial: false,
        pinned: false,
        held: false,
        being_copied: false,
        awaits_copy: false,
    });
    let rules = Rules {
        daily: Some(count(2)),
        ..Rules::default()
    };
    let now = at("2026-02-18 02:05");
    let decision = decide(&candidates, &rules, count(1), now, ClockTrust::IfPlausible);
    let second = &decision.verdicts[1];
    assert_eq!(
        second.reasons[0].to_string(),
        "newest of the day 2026-02-17"
    );
}

#[test]
fn a_day_that_the_wall_clock_visits_twice_is_counted_once() {
    // Set back over midnight: 00:30, then 23:45 of the day before, then 00:45 again.
    let moments = [
        ("2026-11-01 02:30", "2026-11-01 00:30"),
        ("2026-11-01 02:45", "2026-10-31 23:45"),
        ("2026-11-01 03:45", "2026-11-01 00:45"),
    ];
    let candidates = moments.map(|(name, local)| Candidate {
        name,
        started: at(name),
        local: at(local).naive_utc(),
        verified: true,
        read: true,
        partial: false,
        pinned: false,
        held: false,
        being_copied: false,
        awaits_copy: false,
    });
    let rules = Rules {
        daily: Some(count(2)),
        ..Rules::default()
    };
    let now = at("2026-11-01 04:00");
    let decision = decide(&candidates, &rules, count(1), now, ClockTrust::IfPlausible);
    assert_eq!(kept(&decision), ["2026-11-01 03:45", "2026-11-01 02:45"]);
}

#[test]
fn a_clock_set_to_1970_removes_nothing_and_says_so() {
    let rules = Rules {
        last: Some(count(2)),
        ..Rules::default()
    };
    let backups = daily(4, "2026-02-18");
    let decision = decide_at(&backups, &rules, 1, "1970-01-01 00:00");
    assert_snapshot!(shown(&decision), @"
    keep   2026-02-18 02:00: dated after now
    keep   2026-02-17 02:00: dated after now
    keep   2026-02-16 02:00: dated after now
    keep   2026-02-15 02:00: dated after now
    doubt: the clock says 1970-01-01 00:00 UTC, but backup 2026-02-18 02:00 is dated 2026-02-18 02:00 UTC, which is later, so the clock looks wrong and nothing is removed: set it right, or, if it is right, run `pgbackupd prune --trust-clock`
    ");
}

#[test]
fn a_clock_set_to_2099_removes_nothing_and_says_so() {
    let backups = daily(4, "2026-02-18");
    let decision = decide_at(&backups, &within(2), 1, "2099-01-01 00:00");
    assert_snapshot!(shown(&decision), @"
    keep   2026-02-18 02:00: the one verified backup that always stays
    keep   2026-02-17 02:00: the clock looks wrong
    keep   2026-02-16 02:00: the clock looks wrong
    keep   2026-02-15 02:00: the clock looks wrong
    doubt: the clock says 2099-01-01 00:00 UTC, but the newest backup, 2026-02-18 02:00, is dated 2026-02-18 02:00 UTC, 26614 days earlier, so the clock looks wrong and nothing is removed: set it right, or, if it is right, run `pgbackupd prune --trust-clock`
    ");
}

#[test]
fn a_backup_made_while_the_clock_stood_at_2099_costs_none_of_the_others() {
    let mut backups = daily(4, "2026-02-18");
    backups.push(made("2099-01-01 02:00"));
    let decision = decide_at(&backups, &within(2), 1, "2099-01-01 02:05");
    assert_snapshot!(shown(&decision), @"
    keep   2099-01-01 02:00: the one verified backup that always stays; no older than 2 days
    keep   2026-02-18 02:00: the clock looks wrong
    keep   2026-02-17 02:00: the clock looks wrong
    keep   2026-02-16 02:00: the clock looks wrong
    keep   2026-02-15 02:00: the clock looks wrong
    doubt: 26615 days lie between backup 2026-02-18 02:00 and the next one, 2099-01-01 02:00, so the clock looks wrong and nothing is removed: set it right, or, if it is right, run `pgbackupd prune --trust-clock`
    ");
}

#[test]
fn a_vouched_for_clock_is_believed_but_floor_and_pins_hold() {
    let mut backups = daily(4, "2026-02-18");
    backups.push(pinned("2026-02-01 02:00"));
    let trust = ClockTrust::Always;
    let decision = decide_with(&backups, &within(2), 3, "2099-01-01 00:00", trust);
    assert_snapshot!(shown(&decision), @"
    keep   2026-02-18 02:00: one of the 3 verified backups that always stay
    keep   2026-02-17 02:00: one of the 3 verified backups that always stay
    keep   2026-02-16 02:00: one of the 3 verified backups that always stay
    remove 2026-02-15 02:00: older than 2 days
    keep   2026-02-01 02:00: pinned
    ");
}

#[test]
fn a_backup_made_after_the_clock_was_set_back_by_hours_is_not_removed_by_its_own_run() {
    let rules = Rules {
        monthly: Some(count(1)),
        ..Rules::default()
    };
    let backups = [
        made("2026-02-18 09:00"),
        made("2026-02-18 08:00"),
        made("2026-02-18 02:00"),
    ];
    assert_snapshot!(shown(&decide_at(&backups, &rules, 1, "2026-02-18 02:05")), @"
    keep   2026-02-18 09:00: dated after now
    keep   2026-02-18 08:00: dated after now
    keep   2026-02-18 02:00: the one verified backup that always stays; newest of the month 2026-02
    ");
}

#[test]
fn a_backup_dated_after_a_vouched_for_now_stays_and_takes_no_place() {
    let rules = Rules {
        last: Some(count(2)),
        ..Rules::default()
    };
    let mut backups = daily(3, "2026-02-18");
    backups.push(made("2099-01-01 02:00"));
    let trust = ClockTrust::Always;
    let decision = decide_with(&backups, &rules, 1, "2026-02-18 02:05", trust);
    assert_snapshot!(shown(&decision), @"
    keep   2099-01-01 02:00: dated after now
    keep   2026-02-18 02:00: the one verified backup that always stays; one of the newest 2
    keep   2026-02-17 02:00: one of the newest 2
    remove 2026-02-16 02:00: not one of the newest 2
    ");
}

#[test]
fn pinning_the_backup_that_a_doubt_names_settles_the_doubt() {
    let rules = Rules {
        last: Some(count(2)),
        ..Rules::default()
    };
    let mut backups = daily(3, "2026-02-18");
    backups.push(made("2099-01-01 02:00"));
    assert!(
        decide_at(&backups, &rules, 1, "2026-02-18 02:05")
            .clock_doubt
            .is_some()
    );
    backups[3].pinned = true;
    let settled = decide_at(&backups, &rules, 1, "2026-02-18 02:05");
    assert_eq!(
        (settled.clock_doubt.is_none(), settled.removed().count()),
        (true, 1)
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn a_doubt_is_raised_exactly_when_the_dates_contradict_the_clock() {
    let day = |date: &str| made(&format!("{date} 02:00"));
    let cases = [
        (
            "a backup dated a few hours after now",
            vec![day("2026-01-10")],
            "2026-01-09 12:00",
            false,
        ),
        (
            "a backup dated a day after now, and not a moment more",
            vec![day("2026-01-10")],
            "2026-01-09 02:00",
            false,
        ),
        (
            "a backup dated days after now",
            vec![day("2026-01-10")],
            "2026-01-08 12:00",
            true,
        ),
        (
            "a year and a month of silence",
            vec![day("2026-01-10")],
            "2027-02-10 02:00",
            false,
        ),
        (
            "a year and a half of silence",
            vec![day("2026-01-10")],
            "2027-07-10 02:00",
            true,
        ),
        (
            "a yearly backup",
            vec![day("2024-01-01"), day("2025-01-01"), day("2026-01-10")],
            "2026-01-10 02:05",
            false,
        ),
        (
            "a gap of years before the newest",
            vec![day("2026-01-10"), day("2021-01-01")],
            "2026-01-10 02:05",
            true,
        ),
        (
            "a gap of years with a few backups since",
            vec![day("2026-01-10"), day("2026-01-03"), day("2021-01-01")],
            "2026-01-10 02:05",
            true,
        ),
        (
            "a gap of years with months of backups since",
            vec![day("2026-01-10"), day("2025-10-01"), day("2021-01-01")],
            "2026-01-10 02:05",
            false,
        ),
        (
            "a gap of years with 90 days of backups since",
            vec![day("2026-01-10"), day("2025-10-12"), day("2021-01-01")],
            "2026-01-10 02:05",
            false,
        ),
        (
            "a gap of years with 89 days of backups since",
            vec![day("2026-01-10"), day("2025-10-13"), day("2021-01-01")],
            "2026-01-10 02:05",
            true,
        ),
    ];
    for (case, backups, now, expected) in cases {
        let doubt = decide_at(&backups, &within(1), 1, now).clock_doubt;
        assert_eq!(doubt.is_some(), expected, "{case}: {doubt:?}");
    }
}

#[test]
fn a_doubt_is_reported_even_when_there_is_nothing_to_remove_unless_nothing_ever_is() {
    let backups = daily(3, "2026-02-18");
    for (rules, is_told) in [(within(2), true), (Rules::default(), false)] {
        let decision = decide_at(&backups, &rules, 3, "2099-01-01 00:00");
        assert_eq!(decision.removed().count(), 0);
        assert_eq!(decision.clock_doubt.is_some(), is_told, "{rules:?}");
    }
}

#[test]
fn no_backups_give_no_verdicts() {
    let decision = decide_at(&[], &within(30), 3, "2026-02-18 02:05");
    assert_eq!(
        decision,
        Decision {
            verdicts: vec![],
            clock_doubt: None
        }
    );
}

#[test]
fn limits_are_reported_in_their_largest_whole_unit() {
    let cases = [
        (30 * DAY, "older than 30 days"),
        (84 * DAY, "older than 12 weeks"),
        (DAY, "older than 1 day"),
        (DAY * 3 / 2, "older than 36 hours"),
        (Duration::from_secs(90 * 60), "older than 90 minutes"),
        (Duration::from_secs(61), "older than 61 seconds"),
    ];
    for (limit, expected) in cases {
        assert_eq!(Reason::TooOld { limit }.to_string(), expected);
    }
}

#[test]
fn the_serialised_form_of_a_decision_is_stable() {
    let rules = Rules {
        last: Some(count(1)),
        weekly: Some(count(1)),
        ..within(1)
    };
    let mut backups = daily(3, "2026-02-18");
    backups.push(pinned("2026-02-01 02:00"));
    let decision = decide_at(&backups, &rules, 1, "2026-02-18 02:05");
    let lines: Vec<_> = decision
        .verdicts
        .iter()
        .map(|verdict| serde_json::to_string(verdict).unwrap())
        .collect();
    assert_snapshot!(lines.join("\n"), @r#"
    {"name":"2026-02-18 02:00","keep":true,"reasons":[{"rule":"floor","count":1},{"rule":"age","limit_seconds":86400},{"rule":"last","count":1},{"rule":"newest","every":"week","period":"2026-W08"}]}
    {"name":"2026-02-17 02:00","keep":false,"reasons":[{"rule":"too_old","limit_seconds":86400},{"rule":"beyond_last","count":1},{"rule":"not_newest","every":"week","period":"2026-W08"}]}
    {"name":"2026-02-16 02:00","keep":false,"reasons":[{"rule":"too_old","limit_seconds":86400},{"rule":"beyond_last","count":1},{"rule":"not_newest","every":"week","period":"2026-W08"}]}
    {"name":"2026-02-01 02:00","keep":true,"reasons":[{"rule":"pinned"}]}
    "#);
    let doubted = decide_at(&backups, &rules, 1, "2099-01-01 00:00")
        .clock_doubt
        .unwrap();
    assert_eq!(serde_json::to_value(&doubted).unwrap(), doubted.to_string());
}

#[test]
fn a_partial_backup_takes_nobodys_place_and_stays() {
    let mut backups = daily(4, "2026-02-17");
    backups.push(partial("2026-02-18 01:00"));
    backups.push(partial("2025-02-01 02:00"));
    backups.push(Made {
        verified: false,
        ..partial("2026-02-16 03:00")
    });
    let rules = Rules {
        last: Some(count(2)),
        ..Rules::default()
    };
    let decision = decide_at(&backups, &rules, 1, "2026-02-18 02:05");
    assert_snapshot!(shown(&decision), @"
    keep   2026-02-18 01:00: partial: yours to remove
    keep   2026-02-17 02:00: the one verified backup that always stays; one of the newest 2
    keep   2026-02-16 03:00: found bad: kept as evidence
    keep   2026-02-16 02:00: one of the newest 2
    remove 2026-02-15 02:00: not one of the newest 2
    remove 2026-02-14 02:00: not one of the newest 2
    keep   2025-02-01 02:00: partial: yours to remove
    ");
}
