use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use proptest::prelude::*;

use super::{Board, Concurrency, Ending, Lane, Step, Subject, Ticket, Work};
use crate::policy::{Blackouts, Retry};

const TWO_OF_EACH: Concurrency = Concurrency {
    total: 2,
    per_server: 2,
};

pub(super) fn at(minute: i64) -> DateTime<Utc> {
    let start: DateTime<Utc> = "2025-07-09T00:00:00Z".parse().unwrap();
    start + TimeDelta::minutes(minute)
}

pub(super) fn blackouts(windows: &[&str]) -> Blackouts {
    let windows = windows.iter().map(|window| window.parse().unwrap());
    Blackouts::new(windows.collect(), Tz::UTC).unwrap()
}

/// Due at a minute, with an hour to start in.
pub(super) fn work(job: &str, server: &str, database: &str, minute: i64) -> Work<()> {
    Work {
        subject: Subject {
            job: job.to_owned(),
            server: server.to_owned(),
            database: Some(database.to_owned()),
        },
        slot: at(minute),
        ends: at(minute + 60),
        not_before: at(minute),
        reason: None,
        attempt: 1,
        lane: Lane::Runs,
        is_follow_up: false,
        blackouts: blackouts(&[]),
        retry: Retry {
            first: Duration::from_secs(60),
            longest: Duration::from_secs(240),
        },
        task: (),
    }
}

/// What was started: ticket and database.
pub(super) fn started(steps: &[Step<()>]) -> Vec<(Ticket, String)> {
    steps
        .iter()
        .filter_map(|step| match step {
            Step::Start(ticket, work) => Some((*ticket, work.subject.database.clone()?)),
            Step::Skip(_) => None,
        })
        .collect()
}

pub(super) fn names(steps: &[Step<()>]) -> Vec<String> {
    started(steps).into_iter().map(|(_, name)| name).collect()
}

pub(super) fn skipped(steps: &[Step<()>]) -> Vec<String> {
    steps
        .iter()
        .filter_map(|step| match step {
            Step::Skip(skipped) => Some(skipped.reason.clone()),
            Step::Start(..) => None,
        })
        .collect()
}

pub(super) fn board(concurrency: Concurrency, works: Vec<Work<()>>) -> Board<()> {
    let mut board = Board::new(concurrency);
    for work in works {
        assert_eq!(board.add(work), None);
    }
    board
}

fn copy(destination: &str, database: &str, minute: i64) -> Work<()> {
    Work {
        lane: Lane::Copies(destination.to_owned()),
        is_follow_up: true,
        ..work("daily", "a", database, minute)
    }
}

#[test]
fn copies_go_one_after_the_other_to_each_destination_and_take_nobodys_turn() {
    let limits = Concurrency {
        total: 1,
        per_server: 1,
    };
    let works = vec![
        copy("near", "x", 0),
        copy("near", "y", 0),
        copy("far", "x", 0),
        work("daily", "a", "x", 0),
    ];
    let mut board = board(limits, works);
    let steps = board.steps(at(0));
    assert_eq!(names(&steps), ["x", "x", "x"], "near, far, and the backup");
    let first = started(&steps)[0].0;
    let again = board.finish(first, Ending::MayPass("it is away".to_owned()), at(1));
    assert_eq!(again, Some(at(2)), "it is tried again");
    assert_eq!(names(&board.steps(at(1))), ["y"]);
    assert!(names(&board.steps(at(2))).is_empty(), "y goes on");
    // What follows a run is no part of its slot.
    board.finish(started(&steps)[2].0, Ending::Over, at(3));
    assert!(!board.has_left("daily", at(0)));
    // A new run of the job and its copies are no matter of each other's.
    assert_eq!(board.add(work("daily", "a", "x", 60)), None);
    assert_eq!(names(&board.steps(at(60))), ["x"]);
}

#[test]
fn no_more_runs_start_than_allowed_in_all_and_on_a_server() {
    let limits = Concurrency {
        total: 3,
        per_server: 2,
    };
    let works = [("a", "1"), ("a", "2"), ("a", "3"), ("b", "4"), ("b", "5")];
    let works = works.map(|(server, database)| work("daily", server, database, 0));
    let mut board = board(limits, works.into());
    let steps = board.steps(at(0));
    assert_eq!(names(&steps), ["1", "2", "4"]);
    assert!(board.steps(at(0)).is_empty());
    board.finish(started(&steps)[0].0, Ending::Over, at(1));
    assert_eq!(names(&board.steps(at(1))), ["3"]);
}

#[test]
fn finding_out_which_databases_there_are_takes_no_turn_and_keeps_to_no_blackout() {
    let find = |job, minute| {
        let mut find = work(job, "a", "", minute);
        find.subject.database = None;
        find.blackouts = blackouts(&["00:00-12:00"]);
        find
    };
    let one = Concurrency {
        total: 1,
        per_server: 1,
    };
    let mut board = board(one, vec![find("daily", 0), find("weekly", 0)]);
    let steps = board.steps(at(0));
    assert!(
        matches!(steps.as_slice(), [Step::Start(..), Step::Start(..)]),
        "{steps:?}"
    );
    assert_eq!(board.add(work("daily", "a", "1", 0)), None);
    assert_eq!(names(&board.steps(at(0))), ["1"]);
    assert_eq!(board.add(work("weekly", "a", "2", 0)), None);
    assert!(board.steps(at(0)).is_empty());
}

#[test]
fn two_jobs_on_one_database_run_one_after_the_other() {
    let works = vec![work("daily", "a", "1", 0), work("weekly", "a", "1", 0)];
    let mut board = board(TWO_OF_EACH, works);
    let steps = board.steps(at(0));
    assert_eq!(started(&steps).len(), 1);
    board.finish(started(&steps)[0].0, Ending::Over, at(5));
    assert_eq!(started(&board.steps(at(5))).len(), 1);
}

#[test]
fn a_job_that_is_still_at_work_is_not_started_twice() {
    let mut board = board(TWO_OF_EACH, vec![work("daily", "a", "1", 0)]);
    board.steps(at(3));
    let skipped = board.add(work("daily", "a", "1", 60)).unwrap();
    assert_eq!(skipped.work.slot, at(60));
    assert_eq!(
        skipped.reason,
        "the run that was due at 2025-07-09 00:00:00 +00:00 is still in progress, since 2025-07-09 \
         00:03:00 +00:00"
    );
    assert_eq!(
        board.add(work("weekly", "a", "1", 60)),
        None,
        "another job may wait"
    );
}

#[test]
fn the_next_slot_takes_the_place_of_what_has_not_started() {
    let mut board = board(TWO_OF_EACH, vec![work("daily", "a", "1", 0)]);
    let skipped = board.add(work("daily", "a", "1", 30)).unwrap();
    assert_eq!(skipped.work.slot, at(0));
    assert!(
        skipped.reason.contains("window ended"),
        "{}",
        skipped.reason
    );
    assert_eq!(board.waiting().len(), 1);
}

#[test]
fn what_may_pass_is_tried_again_with_growing_pauses_until_its_window_ends() {
    let mut board = board(TWO_OF_EACH, vec![work("daily", "a", "1", 0)]);
    let mut now = at(0);
    let mut pauses = Vec::new();
    loop {
        let steps = board.steps(now);
        let [(ticket, _)] = started(&steps)[..] else {
            panic!("{steps:?}")
        };
        let refused = Ending::MayPass("refused".to_owned());
        let Some(again) = board.finish(ticket, refused, now) else {
            break;
        };
        assert_eq!(board.wake_at(now), Some(again));
        assert!(board.steps(again - TimeDelta::seconds(1)).is_empty());
        pauses.push((again - now).num_seconds());
        now = again;
    }
    assert_eq!(&pauses[..5], [60, 120, 240, 240, 240]);
    assert!(now < at(60) && now + TimeDelta::seconds(240) >= at(60));
    assert!(board.waiting().is_empty());
}

#[test]
fn what_did_not_get_its_turn_is_given_up_with_what_kept_it() {
    let limits = Concurrency {
        total: 1,
        per_server: 1,
    };
    let works = vec![work("daily", "a", "1", 0), work("daily", "a", "2", 0)];
    let mut board = board(limits, works);
    board.steps(at(0));
    assert_eq!(board.wake_at(at(0)), Some(at(60)));
    let reasons = skipped(&board.steps(at(60)));
    assert_eq!(reasons.len(), 1);
    assert!(reasons[0].contains("window ended"), "{reasons:?}");
    let retried = work("daily", "a", "3", 70);
    board.add(Work {
        reason: Some("refused".to_owned()),
        ..retried
    });
    let reasons = skipped(&board.steps(at(200)));
    assert!(reasons[0].ends_with("refused"), "{reasons:?}");
}

#[test]
fn a_blackout_is_waited_for_if_the_window_lasts_so_long() {
    let dark = |database: &str, windows: &[&str]| Work {
        blackouts: blackouts(windows),
        ..work("daily", "a", database, 0)
    };
    let mut board = board(
        TWO_OF_EACH,
        vec![dark("1", &["00:00-00:20"]), dark("2", &["00:00-02:00"])],
    );
    let steps = board.steps(at(1));
    assert!(started(&steps).is_empty());
    assert!(skipped(&steps)[0].contains("blackout"), "{steps:?}");
    assert_eq!(board.wake_at(at(1)), Some(at(20)));
    // A clock that is set goes on to the same end of the window on the wall.
    board.shift(TimeDelta::minutes(10));
    assert_eq!(board.wake_at(at(11)), Some(at(20)));
    assert_eq!(names(&board.steps(at(20))), ["1"]);
}

#[test]
fn a_clock_that_is_set_changes_no_waiting() {
    let mut board = board(TWO_OF_EACH, vec![work("daily", "a", "1", 0)]);
    let [(ticket, _)] = started(&board.steps(at(0)))[..] else {
        panic!()
    };
    board.finish(ticket, Ending::MayPass(String::new()), at(0));
    for days in [1, -400, 27_000] {
        board.shift(TimeDelta::days(days));
        let now = at(0) + TimeDelta::days(days);
        assert_eq!(board.wake_at(now), Some(now + TimeDelta::seconds(60)));
        board.shift(TimeDelta::days(-days));
    }
}

#[test]
fn what_waits_follows_a_reload_and_what_is_gone_is_given_back() {
    let works = vec![work("daily", "a", "1", 0), work("daily", "a", "2", 0)];
    let mut board = board(TWO_OF_EACH, works);
    let gone = board.rebase(|work| {
        work.attempt = 7;
        work.subject.database.as_deref() == Some("1")
    });
    assert_eq!(gone.len(), 1);
    assert_eq!(board.waiting()[0].attempt, 7);
    assert!(board.has_left("daily", at(0)));
    assert!(!board.has_left("daily", at(1)));
}

/// What happens to the board.
#[derive(Clone, Debug)]
enum Happening {
    Due(usize, usize, usize),
    Ends(usize, bool),
    Passes(i64),
    Jumps(i64),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        3 => (0..3usize, 0..2usize, 0..4usize).prop_map(|(j, s, d)| Happening::Due(j, s, d)),
        3 => (0..8usize, any::<bool>()).prop_map(|(n, passing)| Happening::Ends(n, passing)),
        2 => (0..40i64).prop_map(Happening::Passes),
        1 => (-500..500i64).prop_map(Happening::Jumps),
    ]
}

proptest! {
    /// Whatever happens in whatever order: the limits hold, no database has two runs, and of
    /// all that was due everything was started, given up with a reason, or still stands.
    #[test]
    fn nothing_is_lost_and_no_limit_broken(
        happenings in prop::collection::vec(happening(), 1..120),
        total in 1..4usize,
        per_server in 1..3usize,
    ) {
        let mut board = Board::new(Concurrency { total, per_server });
        let mut now = at(0);
        let mut due = 0;
        let (mut over, mut given_up) = (0, 0);
        for happening in happenings {
            match happening {
                Happening::Due(job, server, database) => {
                    let mut work = work(
                        &job.to_string(),
                        &server.to_string(),
                        &database.to_string(),
                        0,
                    );
                    (work.slot, work.not_before, work.ends) =
                        (now, now, now + TimeDelta::minutes(60));
                    due += 1;
                    given_up += usize::from(board.add(work).is_some());
                }
                Happening::Ends(which, passing) => {
                    let running: Vec<Ticket> = board.running().map(|(ticket, _)| ticket).collect();
                    if let Some(ticket) = running.get(which) {
                        let ending = if passing {
                            Ending::MayPass("later".to_owned())
                        } else {
                            Ending::Over
                        };
                        over += usize::from(board.finish(*ticket, ending, now).is_none());
                    }
                }
                Happening::Passes(minutes) => now += TimeDelta::minutes(minutes),
                Happening::Jumps(minutes) => {
                    now += TimeDelta::minutes(minutes);
                    board.shift(TimeDelta::minutes(minutes));
                }
            }
            given_up += skipped(&board.steps(now)).len();
            let running: Vec<_> = board.running().map(|(_, r)| r.work.subject.clone()).collect();
            prop_assert!(running.len() <= total);
            let mut by_server: BTreeMap<&str, usize> = BTreeMap::new();
            for subject in &running {
                *by_server.entry(&subject.server).or_default() += 1;
            }
            prop_assert!(by_server.values().all(|count| *count <= per_server));
            let databases: BTreeSet<_> =
                running.iter().map(|subject| (&subject.server, &subject.database)).collect();
            prop_assert_eq!(databases.len(), running.len());
            prop_assert_eq!(due, over + given_up + running.len() + board.waiting().len());
            if let Some(wake) = board.wake_at(now) {
                prop_assert!(wake > now, "{wake} is not after {now}");
            }
            if board.running().next().is_none() {
                let ready = board.waiting().iter().find(|work| work.not_before <= now);
                prop_assert!(ready.is_none(), "idle although {ready:?} is due");
            }
        }
    }
}
