use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, FixedOffset, TimeDelta};

use super::{Alert, AlertBook, Change, ChannelRules, Judged, Notice, Refusal, Silence};
use crate::policy::{Concern, ConcernKind, Severity};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn at(minutes: i64) -> DateTime<FixedOffset> {
    DateTime::parse_from_rfc3339("2026-11-01T12:00:00+03:00").unwrap() + TimeDelta::minutes(minutes)
}

fn failed(database: &str) -> Concern {
    let concern = Concern::new(ConcernKind::Failed, format!("{database} failed"));
    concern.of_server("main").of_database(database)
}

fn critical(database: &str) -> Concern {
    Concern {
        severity: Severity::Critical,
        ..failed(database)
    }
}

/// A channel for everything, and what it has received.
struct Channel {
    book: AlertBook,
    min_age: Duration,
    takes_warnings_now: bool,
    critical_only: bool,
    retried: BTreeSet<String>,
    unseen: Option<String>,
    is_down: bool,
}

impl Channel {
    fn new() -> Self {
        Self {
            book: AlertBook::default(),
            min_age: Duration::ZERO,
            takes_warnings_now: true,
            critical_only: false,
            retried: BTreeSet::new(),
            unseen: None,
            is_down: false,
        }
    }

    /// Judges, and sends what is owed; gives the message, as one line for each alert.
    fn turn(&mut self, minutes: i64, concerns: &[Concern]) -> Vec<String> {
        let now = at(minutes);
        let critical_only = self.critical_only;
        let admits = |alert: &Alert| !critical_only || alert.severity == Severity::Critical;
        let rules = ChannelRules {
            name: "mail",
            admits: &admits,
            takes_warnings_now: self.takes_warnings_now,
            remind: Some(DAY),
            min_age: self.min_age,
        };
        let unseen = self.unseen.clone();
        let judged = Judged {
            concerns,
            retried: &self.retried,
            is_unseen: &|alert| alert.database == unseen,
            now,
        };
        self.book.update(&judged, &[rules]);
        let state = self.book.channels.get("mail");
        if state.is_some_and(|state| !state.is_due(now)) {
            return vec!["waits".to_owned()];
        }
        let Some(notice) = self.book.owed(&rules, "db1", now) else {
            return Vec::new();
        };
        self.book.begin("mail", &notice);
        if self.is_down {
            let refusal = Refusal {
                error: "connection refused",
                retry_after: None,
            };
            self.book.failed("mail", &refusal, now);
            return vec!["failed".to_owned()];
        }
        self.book.arrived("mail", &notice, now);
        lines(&notice)
    }
}

fn lines(notice: &Notice) -> Vec<String> {
    let line = |item: &super::NoticeItem| {
        let database = item.alert.database.clone().unwrap_or_default();
        format!("{:?} {database}", item.change)
    };
    let mut lines: Vec<String> = notice.items.iter().map(line).collect();
    if notice.dropped > 0 {
        lines.push(format!("{} dropped", notice.dropped));
    }
    lines
}

#[test]
fn an_alert_is_sent_once_again_when_it_worsens_once_a_day_and_when_it_is_over() {
    let mut channel = Channel::new();
    for (minutes, concerns, expected) in [
        (0, vec![], vec![]),
        (1, vec![failed("a")], vec!["Opened a"]),
        (6, vec![failed("a")], vec![]),
        (
            11,
            vec![failed("a"), failed("b"), critical("c")],
            vec!["Opened c", "Opened b"],
        ),
        (
            16,
            vec![critical("a"), failed("b"), critical("c")],
            vec!["Worsened a"],
        ),
        // Less urgent again is no news.
        (17, vec![failed("a"), failed("b")], vec!["Resolved c"]),
        (
            20 + 24 * 60,
            vec![failed("a"), failed("b")],
            vec!["Reminded a", "Reminded b"],
        ),
        (21 + 24 * 60, vec![failed("b")], vec!["Resolved a"]),
        (
            22 + 24 * 60,
            vec![failed("a")],
            vec!["Opened a", "Resolved b"],
        ),
        (23 + 24 * 60, vec![], vec!["Resolved a"]),
        (24 + 24 * 60, vec![], vec![]),
    ] {
        assert_eq!(channel.turn(minutes, &concerns), expected, "{minutes}");
    }
    assert!(channel.book.alerts.is_empty());
}

#[test]
fn the_sentence_and_the_count_may_change_and_the_alert_stays_the_same() {
    let mut channel = Channel::new();
    channel.turn(0, &[failed("a")]);
    let later = Concern {
        sentence: "the last 7 runs failed".to_owned(),
        ..failed("a")
    };
    assert_eq!(channel.turn(5, &[later]), Vec::<String>::new());
    let tracked = channel.book.alerts.values().next().unwrap();
    assert_eq!(tracked.alert.sentence, "the last 7 runs failed");
    assert_eq!(tracked.alert.since, at(0));
}

#[test]
fn what_arrives_after_an_outage_is_the_truth_in_one_message() {
    let mut channel = Channel::new();
    channel.turn(0, &[failed("a"), failed("old")]);
    channel.is_down = true;
    let all = ["a", "b", "c", "d", "e"].map(failed);
    assert_eq!(channel.turn(1, &all), ["failed"]);
    // Three recover, one of them was sent before the outage; one comes and goes meanwhile.
    assert_eq!(
        channel.turn(10, &[failed("b"), failed("c"), failed("f")]),
        ["failed"]
    );
    assert_eq!(channel.turn(60, &[failed("b"), failed("c")]), ["failed"]);
    channel.is_down = false;
    assert_eq!(
        channel.turn(120, &[failed("b"), failed("c")]),
        [
            "Opened b",
            "Opened c",
            "Resolved a",
            "Resolved old",
            "Resolved d",
            "Resolved e",
            "Resolved f"
        ]
    );
    assert_eq!(
        channel.turn(121, &[failed("b"), failed("c")]),
        Vec::<String>::new()
    );
}

#[test]
fn attempts_have_growing_pauses_and_a_clock_that_is_set_back_ends_them() {
    let mut channel = Channel::new();
    channel.is_down = true;
    assert_eq!(channel.turn(0, &[failed("a")]), ["failed"]);
    assert_eq!(channel.turn(0, &[failed("a")]), ["waits"]);
    let mut attempts = Vec::new();
    for minute in 1..=24 * 60 {
        if channel.turn(minute, &[failed("a")]) == ["failed"] {
            attempts.push(minute);
        }
    }
    assert_eq!(attempts[..8], [1, 2, 4, 8, 16, 31, 61, 121]);
    assert_eq!(attempts.len(), 8 + 21, "hourly then");
    // Years back.
    assert_eq!(channel.turn(-1_000_000, &[failed("a")]), ["failed"]);
}

#[test]
fn what_a_channel_missed_is_bounded_in_time_and_number() {
    let mut channel = Channel::new();
    channel.is_down = true;
    channel.turn(0, &[failed("a")]);
    let many: Vec<Concern> = (0..600)
        .map(|number| failed(&format!("d{number}")))
        .collect();
    channel.turn(1, &many);
    channel.turn(2, &[]);
    assert_eq!(channel.book.alerts.len(), 500);
    channel.is_down = false;
    let received = channel.turn(10, &[]);
    assert_eq!(received.len(), 501);
    assert_eq!(received[500], "101 dropped");

    let mut channel = Channel::new();
    channel.is_down = true;
    channel.turn(0, &[failed("a")]);
    channel.turn(1, &[]);
    channel.turn(2 * 24 * 60, &[failed("b")]);
    channel.is_down = false;
    assert_eq!(
        channel.turn(3 * 24 * 60, &[failed("b")]),
        ["Opened b", "1 dropped"]
    );
}

#[test]
fn a_short_flap_is_not_sent() {
    let mut channel = Channel::new();
    channel.min_age = Duration::from_secs(600);
    assert_eq!(channel.turn(0, &[failed("a")]), Vec::<String>::new());
    assert_eq!(channel.turn(5, &[]), Vec::<String>::new());
    assert_eq!(channel.turn(6, &[failed("a")]), Vec::<String>::new());
    assert_eq!(channel.turn(15, &[failed("a")]), Vec::<String>::new());
    assert_eq!(channel.turn(16, &[failed("a")]), ["Opened a"]);
    assert_eq!(channel.turn(17, &[]), ["Resolved a"]);
}

#[test]
fn outside_its_hours_a_channel_takes_what_is_critical() {
    let mut channel = Channel::new();
    channel.takes_warnings_now = false;
    assert_eq!(channel.turn(0, &[failed("a"), critical("b")]), ["Opened b"]);
    assert_eq!(channel.turn(1, &[failed("a")]), ["Resolved b"]);
    channel.takes_warnings_now = true;
    assert_eq!(channel.turn(2, &[failed("a")]), ["Opened a"]);
}

#[test]
fn a_channel_for_critical_alerts_gets_one_when_it_becomes_critical() {
    let mut channel = Channel::new();
    channel.critical_only = true;
    assert_eq!(channel.turn(0, &[failed("a")]), Vec::<String>::new());
    assert_eq!(channel.turn(1, &[critical("a")]), ["Opened a"]);
    // What it was sent is over, however urgent it was in the end.
    assert_eq!(channel.turn(2, &[failed("a")]), Vec::<String>::new());
    assert_eq!(channel.turn(3, &[]), ["Resolved a"]);
}

#[test]
fn a_silenced_alert_is_not_sent_until_the_silence_ends_or_it_worsens() {
    for (worsens, expected) in [(false, vec![]), (true, vec!["Worsened a".to_owned()])] {
        let mut channel = Channel::new();
        channel.turn(0, &[failed("a")]);
        channel.book.silences.push(Silence {
            id: failed("a").id(),
            severity: Severity::Warning,
            at: at(1),
            until: at(3 * 24 * 60),
            reason: "known".to_owned(),
            requested_by: None,
        });
        let now = if worsens { critical("a") } else { failed("a") };
        assert_eq!(channel.turn(2 * 24 * 60, &[now]), expected);
    }
    let mut channel = Channel::new();
    channel.turn(0, &[failed("a")]);
    channel.book.silences.push(Silence {
        id: failed("a").id(),
        severity: Severity::Warning,
        at: at(1),
        until: at(36 * 60),
        reason: "known".to_owned(),
        requested_by: None,
    });
    assert_eq!(channel.turn(30 * 60, &[failed("a")]), Vec::<String>::new());
    assert_eq!(channel.turn(36 * 60, &[failed("a")]), ["Reminded a"]);
    assert!(channel.book.silences.is_empty());
}

#[test]
fn a_failed_run_that_is_tried_again_opens_nothing() {
    let mut channel = Channel::new();
    channel.retried = BTreeSet::from([failed("a").id()]);
    assert_eq!(channel.turn(0, &[failed("a")]), Vec::<String>::new());
    channel.retried.clear();
    assert_eq!(channel.turn(5, &[failed("a")]), ["Opened a"]);
    // The next night's first attempt fails as well: it has never been over.
    channel.retried = BTreeSet::from([failed("a").id()]);
    assert_eq!(channel.turn(10, &[failed("a")]), Vec::<String>::new());
}

#[test]
fn what_nobody_can_see_stays_open() {
    let mut channel = Channel::new();
    channel.turn(0, &[failed("a")]);
    channel.unseen = Some("a".to_owned());
    assert_eq!(channel.turn(5, &[]), Vec::<String>::new());
    channel.unseen = None;
    assert_eq!(channel.turn(10, &[]), ["Resolved a"]);
}

#[test]
fn a_message_that_may_have_arrived_before_a_crash_is_sent_again_under_its_id() {
    let mut channel = Channel::new();
    let admits = |_: &Alert| true;
    let rules = ChannelRules {
        name: "mail",
        admits: &admits,
        takes_warnings_now: true,
        remind: None,
        min_age: Duration::ZERO,
    };
    let judged = Judged {
        concerns: &[failed("a")],
        retried: &BTreeSet::new(),
        is_unseen: &|_| false,
        now: at(0),
    };
    channel.book.update(&judged, &[rules]);
    let notice = channel.book.owed(&rules, "db1", at(0)).unwrap();
    channel.book.begin("mail", &notice);
    let text = serde_json::to_string(&channel.book).unwrap();
    let mut after: AlertBook = serde_json::from_str(&text).unwrap();
    assert_eq!(after, channel.book);
    let again = after.owed(&rules, "db1", at(60)).unwrap();
    assert_eq!(again, notice);
    after.arrived("mail", &again, at(60));
    assert_eq!(after.owed(&rules, "db1", at(61)), None);
}

#[test]
fn a_thousand_databases_that_fail_at_once_are_one_message() {
    let mut channel = Channel::new();
    let many: Vec<Concern> = (0..1000)
        .map(|number| failed(&format!("d{number}")))
        .collect();
    assert_eq!(channel.turn(0, &many).len(), 1000);
    assert_eq!(channel.turn(1, &many), Vec::<String>::new());
    assert_eq!(channel.book.open().warning, 1000);
}

#[test]
fn a_channel_that_is_removed_from_the_configuration_is_forgotten() {
    let mut channel = Channel::new();
    channel.turn(0, &[failed("a")]);
    let judged = Judged {
        concerns: &[],
        retried: &BTreeSet::new(),
        is_unseen: &|_| false,
        now: at(1),
    };
    let news = channel.book.update(&judged, &[]);
    assert_eq!(news.len(), 1);
    assert_eq!(news[0].change, Change::Resolved);
    assert_eq!(channel.book, AlertBook::default());
}
