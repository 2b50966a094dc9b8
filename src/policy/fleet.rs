//! When a host puts its state at a destination, and what a reader of many hosts' states makes of them. Pure.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::display::{counted, one_line, rough_span};

/// A state is put so often at least.
pub const STATUS_EVERY: TimeDelta = TimeDelta::hours(24);

/// A state is put so often at most, whatever changes.
const STATUS_PAUSE: TimeDelta = TimeDelta::hours(1);

/// After a failure, the next attempt is made so much later.
const STATUS_RETRY: TimeDelta = TimeDelta::minutes(15);

/// A host that is restarted or out of reach for a while is not late yet.
const LATE_AFTER: TimeDelta = TimeDelta::hours(2);

/// A host that is late by so much is silent.
const SILENT_AFTER: TimeDelta = TimeDelta::hours(24);

/// A backup takes its time, and so does its copy: so much later than it was due, the copy is late.
const COPY_LATE_AFTER: TimeDelta = TimeDelta::hours(24);

/// The state that was put last at a destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastStatus {
    /// When.
    pub at: DateTime<Utc>,
    /// What was wrong: the ids of all concerns, sorted.
    pub concerns: Vec<String>,
}

/// Whether a state is to be put now. `tried` is when it was tried last and failed.
pub fn is_status_due(
    last: Option<&LastStatus>,
    tried: Option<DateTime<Utc>>,
    (concerns, now): (&[String], DateTime<Utc>),
) -> bool {
    // A moment to come is of a clock that was set back.
    let passed = |since: DateTime<Utc>, pause: TimeDelta| since > now || now - since >= pause;
    if tried.is_some_and(|tried| !passed(tried, STATUS_RETRY)) {
        return false;
    }
    let Some(last) = last else {
        return true;
    };
    passed(last.at, STATUS_EVERY) || (last.concerns != concerns && passed(last.at, STATUS_PAUSE))
}

/// What is known of a host at a destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FleetHost {
    /// The host.
    pub host: String,
    /// Its newest state that counts: when the store got it, and when the next one is due.
    pub heard: Option<(DateTime<Utc>, DateTime<Utc>)>,
    /// Why a newer state does not count, if there is one.
    pub refused: Option<String>,
    /// How many concerns of each severity it has, critical ones first, where that is known.
    pub concerns: Option<(u64, u64)>,
    /// The newest copy of each series of each database.
    pub copies: Vec<FleetCopy>,
}

/// The newest copy of a series of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetCopy {
    /// The database and the series, as they are shown.
    pub label: String,
    /// When the backup started and when the next one of the series was due; none where no copy counts.
    pub newest: Option<(DateTime<Utc>, Option<DateTime<Utc>>)>,
    /// Whether some of its volumes are not there.
    pub is_incomplete: bool,
    /// Why a newer one does not count, if there is one.
    pub refused: Option<String>,
}

/// How a host stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetVerdict {
    /// In a word or two: `ok`, `late`, `silent for 3 days`, …
    pub word: String,
    /// What needs attention, one sentence each; nothing if all is well.
    pub attention: Vec<String>,
}

/// Judges a host, at a time by the store's clock.
pub fn judge_host(host: &FleetHost, now: DateTime<Utc>) -> FleetVerdict {
    let mut attention = Vec::new();
    let mut word = judge_status(host, now, &mut attention);
    if let Some((critical, warning)) = host.concerns
        && critical + warning > 0
    {
        attention.push(format!("the host reports {}", count(critical, warning)));
        word.get_or_insert_with(|| "needs attention".to_owned());
    }
    let before = attention.len();
    let sentences = host.copies.iter().filter_map(|copy| judge_copy(copy, now));
    attention.extend(sentences);
    if attention.len() > before {
        word.get_or_insert_with(|| "copies need attention".to_owned());
    }
    let has_copy = host.copies.iter().any(|copy| copy.newest.is_some());
    if host.heard.is_none() && attention.is_empty() && !has_copy {
        attention.push("neither a state nor a copy of the host counts".to_owned());
        word = Some("never heard".to_owned());
    }
    let word = word.unwrap_or_else(|| match host.heard {
        Some(_) => "ok".to_owned(),
        None => "never heard".to_owned(),
    });
    FleetVerdict { word, attention }
}

fn judge_status(
    host: &FleetHost,
    now: DateTime<Utc>,
    attention: &mut Vec<String>,
) -> Option<String> {
    let refused = host.refused.as_ref().map(|why| one_line(why));
    let Some((stored, due)) = host.heard else {
        // One that has never put a state may be of an older version.
        let why = refused?;
        attention.push(format!("no state of the host counts: {why}"));
        return Some("not heard".to_owned());
    };
    if let Some(why) = refused {
        attention.push(format!("a newer state does not count: {why}"));
    }
    let late = now - due;
    if late <= LATE_AFTER {
        return None;
    }
    let ago = rough_span(length(now - stored));
    attention.push(format!(
        "the host was last heard {ago} ago, and its next state was due {} ago",
        rough_span(length(late))
    ));
    Some(if late > SILENT_AFTER {
        format!("silent for {ago}")
    } else {
        "late".to_owned()
    })
}

fn judge_copy(copy: &FleetCopy, now: DateTime<Utc>) -> Option<String> {
    let label = one_line(&copy.label);
    let refused = copy.refused.as_ref().map(|why| one_line(why));
    let Some((started, due)) = copy.newest else {
        let why = refused.unwrap_or_else(|| "there is none".to_owned());
        return Some(format!("{label}: none of the newest copies counts: {why}"));
    };
    if copy.is_incomplete {
        return Some(format!("{label}: volumes of the newest copy are missing"));
    }
    if let Some(due) = due.filter(|due| now - *due > COPY_LATE_AFTER) {
        return Some(format!(
            "{label}: the newest copy is {} old; the next one was due {} ago",
            rough_span(length(now - started)),
            rough_span(length(now - due))
        ));
    }
    refused.map(|why| format!("{label}: a newer copy does not count: {why}"))
}

/// "1 critical problem and 2 warnings"
fn count(critical: u64, warning: u64) -> String {
    let parts = [
        (critical, "critical problem", "critical problems"),
        (warning, "warning", "warnings"),
    ];
    let parts = parts.into_iter().filter(|(count, ..)| *count > 0);
    let parts: Vec<String> = parts
        .map(|(count, one, many)| counted(count, one, many))
        .collect();
    parts.join(" and ")
}

fn length(delta: TimeDelta) -> Duration {
    delta.to_std().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_752_000_000 + hour * 3600, 0).unwrap()
    }

    #[test]
    fn a_state_is_put_daily_and_on_a_change_at_most_hourly_and_not_at_once_after_a_failure() {
        let last = |hour, concerns: &str| {
            let concerns = concerns.split_whitespace().map(str::to_owned).collect();
            Some(LastStatus {
                at: at(hour),
                concerns,
            })
        };
        for (name, last, tried, concerns, is_due) in [
            ("never put", None, None, "", true),
            ("never put, failed an hour ago", None, Some(99), "", true),
            ("never put, failed just now", None, Some(100), "", false),
            ("nothing new", last(77, "a"), None, "a", false),
            ("a day later", last(76, "a"), None, "a", true),
            ("something new", last(98, "a"), None, "a b", true),
            ("something is over", last(99, "a b"), None, "a", true),
            ("something new so soon", last(100, "a"), None, "a b", false),
            (
                "a day later, failed just now",
                last(50, "a"),
                Some(100),
                "a",
                false,
            ),
            ("the clock was set back", last(500, "a"), None, "a", true),
            ("failed in the future", last(50, "a"), Some(500), "a", true),
        ] {
            let concerns: Vec<String> = concerns.split_whitespace().map(str::to_owned).collect();
            let due = is_status_due(last.as_ref(), tried.map(at), (&concerns, at(100)));
            assert_eq!(due, is_due, "{name}");
        }
    }

    fn copy(newest: Option<(i64, Option<i64>)>) -> FleetCopy {
        FleetCopy {
            label: "main/app daily".to_owned(),
            newest: newest.map(|(started, due)| (at(started), due.map(at))),
            is_incomplete: false,
            refused: None,
        }
    }

    fn host(heard: Option<(i64, i64)>, copies: Vec<FleetCopy>) -> FleetHost {
        FleetHost {
            host: "db1".to_owned(),
            heard: heard.map(|(stored, due)| (at(stored), at(due))),
            copies,
            ..FleetHost::default()
        }
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table of cases")]
    fn silence_concerns_and_late_copies_need_attention_and_nothing_else_does() {
        let fresh = || vec![copy(Some((90, Some(114))))];
        let refused = |reason: &str| Some(reason.to_owned());
        for (host, word, attention) in [
            (host(Some((99, 123)), fresh()), "ok", &[][..]),
            // Restarted, or out of reach for a while.
            (host(Some((75, 99)), fresh()), "ok", &[]),
            (
                host(Some((70, 94)), fresh()),
                "late",
                &["the host was last heard 30 hours ago, and its next state was due 6 hours ago"],
            ),
            (
                host(Some((28, 52)), fresh()),
                "silent for 3 days",
                &["the host was last heard 3 days ago, and its next state was due 2 days ago"],
            ),
            // An older version puts none.
            (host(None, fresh()), "never heard", &[]),
            (
                FleetHost {
                    refused: refused("it is signed by SHA256:x, which is not trusted"),
                    ..host(None, fresh())
                },
                "not heard",
                &["no state of the host counts: it is signed by SHA256:x, which is not trusted"],
            ),
            (
                FleetHost {
                    refused: refused("dated later"),
                    ..host(Some((99, 123)), fresh())
                },
                "ok",
                &["a newer state does not count: dated later"],
            ),
            (
                FleetHost {
                    concerns: Some((1, 2)),
                    ..host(Some((99, 123)), fresh())
                },
                "needs attention",
                &["the host reports 1 critical problem and 2 warnings"],
            ),
            (
                FleetHost {
                    concerns: Some((0, 0)),
                    ..host(Some((99, 123)), fresh())
                },
                "ok",
                &[],
            ),
            // A backup and its copy take their time; a manual one has no successor.
            (
                host(Some((99, 123)), vec![copy(Some((52, Some(76))))]),
                "ok",
                &[],
            ),
            (
                host(Some((99, 123)), vec![copy(Some((0, None)))]),
                "ok",
                &[],
            ),
            (
                host(Some((99, 123)), vec![copy(Some((4, Some(28))))]),
                "copies need attention",
                &["main/app daily: the newest copy is 4 days old; the next one was due 3 days ago"],
            ),
            (
                host(
                    Some((99, 123)),
                    vec![FleetCopy {
                        is_incomplete: true,
                        ..copy(Some((90, None)))
                    }],
                ),
                "copies need attention",
                &["main/app daily: volumes of the newest copy are missing"],
            ),
            (
                host(
                    None,
                    vec![FleetCopy {
                        refused: refused("forged"),
                        ..copy(None)
                    }],
                ),
                "copies need attention",
                &["main/app daily: none of the newest copies counts: forged"],
            ),
            (
                host(
                    Some((99, 123)),
                    vec![FleetCopy {
                        refused: refused("forged"),
                        ..copy(Some((90, None)))
                    }],
                ),
                "copies need attention",
                &["main/app daily: a newer copy does not count: forged"],
            ),
            (host(Some((99, 123)), Vec::new()), "ok", &[]),
        ] {
            let verdict = judge_host(&host, at(100));
            assert_eq!(verdict.attention, attention, "{host:?}");
            assert_eq!(verdict.word, word, "{host:?}");
        }
    }
}
