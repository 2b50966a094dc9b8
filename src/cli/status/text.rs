//! What `status` prints for people: the verdict first, then how everything stands, within 80
//! columns.

use std::io::Write;
use std::time::Duration;

use chrono::{DateTime, FixedOffset};
use clap::builder::styling::{AnsiColor, Style};

use super::spark::Letters;
use crate::cli::failure::Failure;
use crate::cli::report::{count, counted, duration, moment, one_line, size, span};
use crate::cli::table::{Column, Table};
use crate::jobs::{DaemonView, Ended, Line, RunningNow, Survey, Surveyed};
use crate::policy::{SeriesFacts, SpaceFacts, age, in_words};

/// Lines are no longer, if that can be helped.
const WIDTH: usize = 80;

/// More databases than these get a row each instead of a paragraph.
const PARAGRAPHS: usize = 4;

/// A name in a table is no longer.
const LONGEST_NAME: usize = 20;

const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();

/// Prints all of it.
///
/// # Errors
/// When the output cannot be written.
pub(super) fn print(survey: &Survey, letters: Letters, out: &mut dyn Write) -> Result<(), Failure> {
    verdict(survey, out)?;
    for remark in &survey.remarks {
        wrapped(out, "- ", remark)?;
    }
    if survey.databases.len() > PARAGRAPHS {
        writeln!(out)?;
        table(survey, letters, out)?;
    } else {
        for database in &survey.databases {
            writeln!(out)?;
            paragraph(survey, database, letters, out)?;
        }
    }
    running(survey, out)?;
    waiting(survey, out)?;
    next(survey, out)?;
    space(survey, out)?;
    Ok(())
}

fn verdict(survey: &Survey, out: &mut dyn Write) -> Result<(), Failure> {
    let seen = moment(survey.at);
    let many = survey.databases.len() as u64;
    let databases = counted(many, "database", "databases");
    if survey.concerns.is_empty() {
        writeln!(
            out,
            "{GOOD}all is well{GOOD:#} with {databases}, seen at {seen}"
        )?;
        return Ok(());
    }
    let concerns = survey.concerns.len() as u64;
    writeln!(
        out,
        "{BAD}{}{BAD:#}, seen at {seen}",
        counted(concerns, "thing needs attention", "things need attention")
    )?;
    for concern in &survey.concerns {
        let about = survey
            .databases
            .iter()
            .find(|database| concern.directory.as_deref() == Some(&database.facts.directory));
        let sentence = match (about, &concern.database) {
            (Some(about), _) => format!("{}: {}", label(survey, about), concern.sentence),
            (None, Some(database)) => format!("{}: {}", one_line(database), concern.sentence),
            (None, None) => concern.sentence.clone(),
        };
        wrapped(out, "! ", &sentence)?;
    }
    Ok(())
}

fn paragraph(
    survey: &Survey,
    database: &Surveyed,
    letters: Letters,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let facts = &database.facts;
    writeln!(
        out,
        "database {}, in {}",
        label(survey, database),
        one_line(&facts.directory.display().to_string())
    )?;
    let point = in_words(survey.expectation.recovery_point);
    match database.newest {
        Some(newest) => wrapped(
            out,
            "  ",
            &format!(
                "newest backup {} old, begun at {}; the recovery point is {point}",
                in_words(age(newest, survey.at)),
                moment(newest)
            ),
        )?,
        None => writeln!(out, "  no sound backup; the recovery point is {point}")?,
    }
    let (left, right) = (Column::left(""), Column::right(""));
    let mut table = Table::untitled([left, left, right, left, right, right]);
    for series in &facts.series {
        let line = database.backups.get(&series.series);
        table.row([
            format!("  {}", series.series),
            series.newest.map_or_else(
                || "no backup".to_owned(),
                |newest| format!("{} ago", in_words(age(newest, survey.at))),
            ),
            line.and_then(last_size).map(size).unwrap_or_default(),
            line.map(|line| letters.spark(&line.sizes))
                .unwrap_or_default(),
            line.and_then(change).unwrap_or_default(),
            line.map(|line| format!("{} kept", count(line.count)))
                .unwrap_or_default(),
        ]);
    }
    table.print("", out)?;
    wrapped(
        out,
        "  ",
        &format!(
            "{}; {}; {}",
            verified(database.verified.as_ref(), survey.at),
            drilled(survey, database),
            in_30_days(database)
        ),
    )?;
    Ok(())
}

fn table(survey: &Survey, letters: Letters, out: &mut dyn Write) -> Result<(), Failure> {
    let mut table = Table::new([
        Column::left(""),
        Column::left("DATABASE"),
        Column::left("SERIES"),
        Column::right("AGE"),
        Column::right("SIZE"),
        Column::left("TREND"),
        Column::right("30 DAYS"),
        Column::right("VERIFIED"),
    ]);
    for database in &survey.databases {
        let is_bad = survey
            .concerns
            .iter()
            .any(|concern| concern.directory.as_deref() == Some(&database.facts.directory));
        for (index, series) in rows(database).into_iter().enumerate() {
            let line = database.backups.get(&series.series);
            let sizes = line.map(|line| line.sizes.as_slice()).unwrap_or_default();
            let of_database = |text: String| if index == 0 { text } else { String::new() };
            table.row([
                of_database(if is_bad { "!" } else { "" }.to_owned()),
                of_database(shortened(&label(survey, database))),
                series.series.to_string(),
                series
                    .newest
                    .map_or_else(|| "none".to_owned(), |at| short(age(at, survey.at))),
                line.and_then(last_size).map(size).unwrap_or_default(),
                letters.spark(&sizes[sizes.len().saturating_sub(8)..]),
                of_database(ratio(database)),
                of_database(
                    database
                        .verified
                        .as_ref()
                        .map_or_else(|| "never".to_owned(), |last| short(age(last.at, survey.at))),
                ),
            ]);
        }
    }
    table.print("", out)?;
    Ok(())
}

/// The series that a row is worth.
fn rows(database: &Surveyed) -> Vec<&SeriesFacts> {
    let all = &database.facts.series;
    let telling: Vec<&SeriesFacts> = all
        .iter()
        .filter(|series| series.scheduled || series.newest.is_some())
        .collect();
    if telling.is_empty() {
        all.iter().collect()
    } else {
        telling
    }
}

fn running(survey: &Survey, out: &mut dyn Write) -> Result<(), Failure> {
    let mut is_first = true;
    for database in &survey.databases {
        for running in &database.running {
            heading(&mut is_first, "running now", out)?;
            let text = running_in_words(running, survey.at);
            wrapped(out, "  ", &format!("{}: {text}", label(survey, database)))?;
        }
    }
    Ok(())
}

fn running_in_words(running: &RunningNow, now: DateTime<FixedOffset>) -> String {
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
        text = format!("{text} for {}", in_words(age(since, now)));
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

fn waiting(survey: &Survey, out: &mut dyn Write) -> Result<(), Failure> {
    let DaemonView::Alive(state) = &survey.daemon else {
        return Ok(());
    };
    let mut is_first = true;
    for waiting in &state.waiting {
        heading(&mut is_first, "due and waiting", out)?;
        let until = waiting
            .until
            .map(|until| format!(", until {}", moment(until)))
            .unwrap_or_default();
        wrapped(
            out,
            "  ",
            &format!(
                "{}: job {}, due at {}{until}: {}",
                one_line(&waiting.database),
                waiting.job,
                moment(waiting.due),
                one_line(&waiting.reason)
            ),
        )?;
    }
    Ok(())
}

fn next(survey: &Survey, out: &mut dyn Write) -> Result<(), Failure> {
    writeln!(out)?;
    let who = match &survey.daemon {
        DaemonView::Alive(state) if state.stopping => {
            format!("the daemon (process {}) is stopping", state.pid)
        }
        DaemonView::Alive(state) => format!(
            "the daemon (process {}) has run for {}",
            state.pid,
            in_words(age(state.started, survey.at))
        ),
        DaemonView::Absent => {
            "no daemon runs: only cron, timers or people start what is due".to_owned()
        }
        DaemonView::Hidden(_) => "whether a daemon runs cannot be seen".to_owned(),
    };
    writeln!(out, "next runs; {who}")?;
    if survey.next.is_empty() {
        writeln!(out, "  none: no job is switched on")?;
    }
    let mut table = Table::untitled([Column::left(""); 4]);
    for next in &survey.next {
        table.row([
            format!("  {}", next.job),
            next.kind.clone(),
            next.at.map_or_else(
                || "never".to_owned(),
                |at| at.format("%a %Y-%m-%d %H:%M %:z").to_string(),
            ),
            next.at
                .map(|at| format!("in {}", in_words(age(survey.at, at))))
                .unwrap_or_default(),
        ]);
    }
    table.print("", out)?;
    Ok(())
}

fn space(survey: &Survey, out: &mut dyn Write) -> Result<(), Failure> {
    let mut is_first = true;
    for space in &survey.spaces {
        heading(&mut is_first, "free space", out)?;
        wrapped(out, "  ", &space_in_words(space))?;
    }
    Ok(())
}

fn space_in_words(space: &SpaceFacts) -> String {
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
        "{directory}: {free}, which lasts for {} {of_which} ({} each time)",
        counted(rounds, "more backup", "more backups"),
        size(space.round)
    )
}

/// The database, with its server where there are several.
fn label(survey: &Survey, database: &Surveyed) -> String {
    let name = one_line(&database.facts.database);
    let first = survey.databases.first().map(|first| &first.server);
    if survey
        .databases
        .iter()
        .all(|other| Some(&other.server) == first)
    {
        name
    } else {
        format!("{}/{name}", database.server)
    }
}

fn last_size(line: &Line) -> Option<u64> {
    line.sizes.last().copied()
}

/// "+12 %": the newest size against the oldest of the trend.
fn change(line: &Line) -> Option<String> {
    let (first, last) = (*line.sizes.first()?, *line.sizes.last()?);
    if line.sizes.len() < 2 || first == 0 {
        return None;
    }
    let (first, last) = (i128::from(first), i128::from(last));
    let percent = (last - first) * 100 / first;
    Some(format!("{percent:+} %"))
}

fn verified(last: Option<&Ended>, now: DateTime<FixedOffset>) -> String {
    match last {
        None => "no verification yet".to_owned(),
        Some(last) => {
            let found = if last.succeeded { "sound" } else { "FAILED" };
            format!(
                "last verification {} ago: {found}",
                in_words(age(last.at, now))
            )
        }
    }
}

/// "last test restore 9 days ago (35 days at most): good, with the data back in 41.3 s (of 30
/// minutes)"
fn drilled(survey: &Survey, database: &Surveyed) -> String {
    let ago = |moment| format!("{} ago", in_words(age(moment, survey.at)));
    let limit = survey.expectation.drill_age;
    let at_most = limit.map_or_else(String::new, |limit| format!(" ({} at most)", span(limit)));
    let Some(last) = &database.drilled else {
        return format!("no test restore yet{at_most}");
    };
    let back = database.recovery.as_ref().map(|recovery| {
        let took = duration(recovery.recovery_time());
        let allowed = span(survey.expectation.recovery_time);
        (
            recovery.at,
            format!("with the data back in {took} (of {allowed})"),
        )
    });
    let mut text = format!("last test restore {}", ago(last.at));
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
fn in_30_days(database: &Surveyed) -> String {
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

fn ratio(database: &Surveyed) -> String {
    let outcomes = database.outcomes;
    match outcomes.succeeded + outcomes.failed {
        0 => "none".to_owned(),
        ended => format!("{}/{ended}", outcomes.succeeded),
    }
}

/// "47h", "2d": [`in_words`] for a table.
fn short(duration: Duration) -> String {
    let words = in_words(duration);
    let (count, unit) = words.split_once(' ').unwrap_or((&words, ""));
    format!("{count}{}", unit.chars().next().unwrap_or_default())
}

fn shortened(name: &str) -> String {
    if name.chars().count() <= LONGEST_NAME {
        return name.to_owned();
    }
    let front: String = name.chars().take(LONGEST_NAME - 1).collect();
    format!("{front}~")
}

fn heading(is_first: &mut bool, text: &str, out: &mut dyn Write) -> Result<(), Failure> {
    if std::mem::take(is_first) {
        writeln!(out, "\n{text}")?;
    }
    Ok(())
}

/// Prints a text behind a head, broken between words, its further lines indented as deep. What
/// stands between backquotes is not broken: it is for copying.
fn wrapped(out: &mut dyn Write, head: &str, text: &str) -> Result<(), Failure> {
    let indent = " ".repeat(head.chars().count());
    let mut line = head.to_owned();
    let mut is_empty = true;
    for word in words(text) {
        let length = line.chars().count() + usize::from(!is_empty) + word.chars().count();
        if !is_empty && length > WIDTH {
            writeln!(out, "{}", line.trim_end())?;
            line.clone_from(&indent);
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(&word);
        is_empty = false;
    }
    writeln!(out, "{}", line.trim_end())?;
    Ok(())
}

/// The words of a text; what stands between backquotes is one.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut is_quoted = false;
    for c in text.chars() {
        is_quoted ^= c == '`';
        if c == ' ' && !is_quoted {
            words.push(String::new());
        } else if let Some(word) = words.last_mut() {
            word.push(c);
        }
    }
    words.retain(|word| !word.is_empty());
    words
}
