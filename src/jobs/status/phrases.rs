//! What is known, in words, as `status` prints it and the page shows it: one phrase each. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, FixedOffset, Utc};

use super::{DatabaseStatus, Ended, RehearsalStatus, RunningNow};
use crate::display::{counted, duration, one_line, operation_word, rough_span, size, span};
use crate::policy::{CopyFacts, CopyState, Expectation, SpaceFacts, age};

/// "last verify run 3 days ago: intact"
pub(crate) fn verified(last: Option<&Ended>, now: DateTime<FixedOffset>) -> String {
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

/// "last drill 9 days ago (35 days at most): good, with the data back in 41.3 s (of 30
/// minutes)"
pub(crate) fn drilled(
    expectation: &Expectation,
    database: &DatabaseStatus,
    now: DateTime<FixedOffset>,
) -> String {
    let ago = |moment| format!("{} ago", rough_span(age(moment, now)));
    let limit = expectation.drill_age;
    let at_most = limit.map_or_else(String::new, |limit| format!(" ({} at most)", span(limit)));
    let Some(last) = &database.drilled else {
        return format!("no drill yet{at_most}");
    };
    let back = database.recovery.as_ref().map(|recovery| {
        let took = duration(recovery.recovery_time());
        let allowed = span(expectation.recovery_time);
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

/// "offsite: 10 copies, the newest of a backup 3 hours old, opened, read back 2 hours ago"
pub(crate) fn copied(copies: &CopyFacts, now: DateTime<FixedOffset>) -> String {
    let destination = &copies.destination;
    let failed = match &copies.failure {
        Some((_, why)) => {
            let first = why.lines().next().unwrap_or_default();
            format!("; the last attempt failed: {}", one_line(first))
        }
        None => String::new(),
    };
    let Some(newest) = &copies.newest else {
        return format!("{destination}: no copy yet{failed}");
    };
    let bad = [
        (copies.damaged.len(), "DAMAGED"),
        (copies.lost.len(), "GONE"),
    ];
    let bad = bad.iter().filter(|(count, _)| *count > 0);
    let bad: Vec<String> = bad
        .map(|(count, word)| format!(", {count} {word}"))
        .collect();
    let bad = bad.concat();
    format!(
        "{destination}: {}{bad}, the newest of a backup {} old, {}{failed}",
        counted(copies.count, "copy", "copies"),
        rough_span(age(newest.started.fixed_offset(), now)),
        proved((newest.state, newest.proved), now)
    )
}

/// "opened, read back 3 days ago": how far a copy is proved, and when anything of it was proved last.
pub(crate) fn proved(
    (state, at): (CopyState, DateTime<Utc>),
    now: DateTime<FixedOffset>,
) -> String {
    let ago = rough_span(age(at.fixed_offset(), now));
    let (word, read_back) = (state.word(), CopyState::ReadBack.word());
    if state > CopyState::ReadBack {
        format!("{word}, {read_back} {ago} ago")
    } else {
        format!("{word} {ago} ago")
    }
}

/// "offsite: 8 of 9 databases have a copy of their newest backup", for each destination
pub(crate) fn copied_in_all(databases: &[DatabaseStatus]) -> Vec<String> {
    let all = || databases.iter().flat_map(|database| &database.facts.copies);
    let destinations: BTreeSet<&str> = all().map(|one| one.destination.as_str()).collect();
    let shown = destinations.into_iter().map(|destination| {
        let there = all().filter(|one| one.destination == destination);
        let complete = there
            .clone()
            .filter(|one| one.newest.is_some() && one.missing.is_none())
            .count();
        let databases = counted(there.count() as u64, "database", "databases");
        format!("{destination}: {complete} of {databases} with a copy of the newest backup")
    });
    shown.collect()
}

/// "offsite: last rehearsal 40 days ago (92 days at most)"
pub(crate) fn rehearsed(
    rehearsals: &RehearsalStatus,
    limit: Option<Duration>,
    now: DateTime<FixedOffset>,
) -> String {
    let destination = &rehearsals.destination;
    let ago = |moment: DateTime<Utc>| rough_span(age(moment.fixed_offset(), now));
    let at_most = limit.map_or_else(String::new, |limit| format!(" ({} at most)", span(limit)));
    match &rehearsals.last {
        Some(last) => format!(
            "{destination}: last rehearsal {} ago{at_most}",
            ago(last.at)
        ),
        None => format!(
            "{destination}: no rehearsal yet{at_most}, first copy {} ago",
            ago(rehearsals.since)
        ),
    }
}

/// "29 of 30 runs of the last 30 days succeeded"
pub(crate) fn in_30_days(database: &DatabaseStatus) -> String {
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

/// "backup of the job daily for 8 minutes: 512.0 MiB written"
pub(crate) fn display_running(running: &RunningNow, now: DateTime<FixedOffset>) -> String {
    let operation = running.operation.as_deref().map(operation_word);
    let mut text = operation.unwrap_or("a run").to_owned();
    if let Some(backup) = &running.backup {
        text = format!("{text} of {}", one_line(backup));
    }
    if let Some(destination) = &running.destination {
        text = format!("{text} to {destination}");
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

/// "/var/backups: 80.0 GiB free, room for 53 more backups of the database there (1.5 GiB each)"; of several
/// databases, the size is that of one backup of each.
pub(crate) fn display_space(space: &SpaceFacts) -> String {
    let directory = one_line(&space.directory.display().to_string());
    let free = size(space.free);
    let Some(rounds) = space.rounds() else {
        return format!("{directory}: {free}");
    };
    let full = match space.full_in_days {
        None => String::new(),
        Some(1) => ", full within a day".to_owned(),
        Some(days) => format!(", full in {days} days"),
    };
    let (of_which, each) = match space.databases {
        1 => ("of the database there".to_owned(), "each"),
        many => (format!("of each of the {many} databases there"), "together"),
    };
    format!(
        "{directory}: {free} free, room for {} {of_which} ({} {each}){full}",
        counted(rounds, "more backup", "more backups"),
        size(space.round)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_a_round_is_that_of_all_databases_together() {
        let mut space = SpaceFacts {
            directory: "/var/backups".into(),
            free: 80 << 30,
            wanted: 0,
            databases: 1,
            round: 1 << 30,
            full_in_days: None,
        };
        assert_eq!(
            display_space(&space),
            "/var/backups: 80.0 GiB free, room for 80 more backups of the database there (1.0 GiB each)"
        );
        space.databases = 39;
        assert_eq!(
            display_space(&space),
            "/var/backups: 80.0 GiB free, room for 80 more backups of each of the 39 databases there (1.0 \
             GiB together)"
        );
    }

    #[test]
    fn what_runs_is_named_by_its_command() {
        for (operation, word) in [
            (Some("verification"), "verify"),
            (Some("test restore"), "drill"),
            (Some("clean-up"), "prune"),
            (Some("backup"), "backup"),
            (None, "a run"),
        ] {
            let running = RunningNow {
                operation: operation.map(str::to_owned),
                job: None,
                backup: None,
                since: None,
                requested_by: None,
                written: None,
                expected: None,
                publishing: false,
                destination: None,
            };
            assert_eq!(display_running(&running, DateTime::default()), word);
        }
    }
}
