//! What is known, in words: one phrase each. Pure.

use chrono::{DateTime, FixedOffset};

use crate::cli::report::{counted, duration, one_line, size, span};
use crate::display::rough_span;
use crate::jobs::{DatabaseStatus, Ended, RunningNow, StatusReport};
use crate::policy::{SpaceFacts, age};

pub(super) fn verified(last: Option<&Ended>, now: DateTime<FixedOffset>) -> String {
    match last {
        None => "no verify run yet".to_owned(),
        Some(last) => {
            let found = if last.succeeded { "intact" } else { "FAILED" };
            format!(
                "last verify run {} ago: {found}",
                rough_span(age(last.at, now))
            )
        }
    }
}

/// "last test restore 9 days ago (35 days at most): good, with the data back in 41.3 s (of 30
/// minutes)"
pub(super) fn drilled(status: &StatusReport, database: &DatabaseStatus) -> String {
    let ago = |moment| format!("{} ago", rough_span(age(moment, status.at)));
    let limit = status.expectation.drill_age;
    let at_most = limit.map_or_else(String::new, |limit| format!(" ({} at most)", span(limit)));
    let Some(last) = &database.drilled else {
        return format!("no drill yet{at_most}");
    };
    let back = database.recovery.as_ref().map(|recovery| {
        let took = duration(recovery.recovery_time());
        let allowed = span(status.expectation.recovery_time);
        (
            recovery.at,
            format!("with the data back in {took} (of {allowed})"),
        )
    });
    let mut text = format!("last drill {}", ago(last.at));
    if last.succeeded {
        text = format!("{text}{at_most}: good");
        if let Some((_, back)) = back {
            text = format!("{text}, {back}");
        }
        return text;
    }
    text = match database.facts.drill.result {
        Some(result) if result == last.at => format!("{text}{at_most}: FAILED"),
        // One that could not be made shows nothing.
        Some(result) => format!(
            "{text}: FAILED, the last with a result {}{at_most}",
            ago(result)
        ),
        None => format!("{text}: FAILED, none yet with a result{at_most}"),
    };
    if let Some((at, back)) = back {
        text = format!("{text}, the last good one {} {back}", ago(at));
    }
    text
}

/// "29 of 30 runs of the last 30 days succeeded"
pub(super) fn in_30_days(database: &DatabaseStatus) -> String {
    let outcomes = database.outcomes;
    let ended = outcomes.succeeded + outcomes.failed;
    let mut text = match ended {
        0 => "no run has ended in 30 days".to_owned(),
        ended => format!(
            "{} of {} of the last 30 days succeeded",
            outcomes.succeeded,
            counted(ended, "run", "runs")
        ),
    };
    for (count, word) in [
        (outcomes.interrupted, "interrupted"),
        (outcomes.skipped, "skipped"),
    ] {
        if count > 0 {
            text = format!("{text}, {count} {word}");
        }
    }
    text
}

pub(super) fn display_running(running: &RunningNow, now: DateTime<FixedOffset>) -> String {
    let mut text = running
        .operation
        .clone()
        .unwrap_or_else(|| "a run".to_owned());
    if let Some(backup) = &running.backup {
        text = format!("{text} of {}", one_line(backup));
    }
    if let Some(job) = &running.job {
        text = format!(
            "{text} {} the job {job}",
            if running.backup.is_some() { "by" } else { "of" }
        );
    }
    if let Some(since) = running.since {
        text = format!("{text} for {}", rough_span(age(since, now)));
    }
    if let Some(by) = &running.requested_by {
        text = format!("{text}, by {}", one_line(by));
    }
    let Some(written) = running.written else {
        return text;
    };
    if running.publishing {
        return format!("{text}: {} written and checked", size(written));
    }
    text = format!("{text}: {} written", size(written));
    if let Some(rate) = running.bytes_per_second(now).filter(|_| written > 0) {
        text = format!("{text}, {}/s on average", size(rate));
    }
    match running.expected {
        Some(expected) if written > 0 => {
            let percent = u128::from(written) * 100 / u128::from(expected.max(1));
            format!("{text}, {percent} % of the size of the last")
        }
        _ => text,
    }
}

pub(super) fn display_space(space: &SpaceFacts) -> String {
    let directory = one_line(&space.directory.display().to_string());
    let free = size(space.free);
    let Some(rounds) = space.rounds() else {
        return format!("{directory}: {free}");
    };
    let of_which = match space.databases {
        1 => "of the database there".to_owned(),
        many => format!("of each of the {many} databases there"),
    };
    format!(
        "{directory}: {free} free, room for {} {of_which} ({} each)",
        counted(rounds, "more backup", "more backups"),
        size(space.round)
    )
}
