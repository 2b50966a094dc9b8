//! How each database stands: a paragraph each for a few, a row each for many.

use std::io::Write;

use super::label;
use crate::cli::failure::Failure;
use crate::cli::report::{self, count, moment, one_line, size};
use crate::cli::status::spark::Letters;
use crate::cli::table::{Column, Table};
use crate::cli::wrap::wrapped;
use crate::display::rough_span;
use crate::jobs::phrases::{copied, copied_in_all, drilled, in_30_days, verified};
use crate::jobs::{DatabaseStatus, Line, StatusReport};
use crate::policy::{SeriesFacts, age};

pub(super) fn paragraph(
    status: &StatusReport,
    database: &DatabaseStatus,
    letters: Letters,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let facts = &database.facts;
    writeln!(
        out,
        "database {}, in {}",
        label(database),
        one_line(&facts.directory.display().to_string())
    )?;
    let point = rough_span(status.expectation.recovery_point);
    match database.newest {
        Some(newest) => wrapped(
            out,
            "  ",
            &format!(
                "newest backup {} old, begun at {}, {}; the recovery point is {point}",
                rough_span(age(newest, status.at)),
                moment(newest),
                match database.newest_verified() {
                    Some(at) => format!("verified {} ago", rough_span(age(at, status.at))),
                    None => "not verified".to_owned(),
                }
            ),
        )?,
        None => writeln!(out, "  no intact backup; the recovery point is {point}")?,
    }
    let (left, right) = (Column::left(""), Column::right(""));
    let mut table = Table::untitled([left, left, right, left, right, right]);
    for series in &facts.series {
        let line = database.backups.get(&series.series);
        table.row([
            format!("  {}", series.series),
            series.newest.map_or_else(
                || "no backup".to_owned(),
                |newest| format!("{} ago", rough_span(age(newest, status.at))),
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
            verified(database.verified.as_ref(), status.at),
            drilled(&status.expectation, database, status.at),
            in_30_days(database)
        ),
    )?;
    for copies in &facts.copies {
        wrapped(out, "  ", &copied(copies, status.at))?;
    }
    Ok(())
}

pub(super) fn table(
    status: &StatusReport,
    letters: Letters,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut table = Table::new([
        Column::left(""),
        Column::name("DATABASE"),
        Column::left("SERIES"),
        Column::right("AGE"),
        Column::right("SIZE"),
        Column::left("TREND"),
        Column::right("30 DAYS"),
        Column::right("VERIFIED"),
    ]);
    for database in &status.databases {
        let is_bad = status
            .concerns
            .iter()
            .any(|concern| concern.directory.as_deref() == Some(&database.facts.directory));
        for (index, series) in rows(database).into_iter().enumerate() {
            let line = database.backups.get(&series.series);
            let sizes = line.map(|line| line.sizes.as_slice()).unwrap_or_default();
            let of_database = |text: String| if index == 0 { text } else { String::new() };
            table.row([
                of_database(if is_bad { "!" } else { "" }.to_owned()),
                of_database(label(database)),
                series.series.to_string(),
                series.newest.map_or_else(
                    || "none".to_owned(),
                    |at| report::short_span(age(at, status.at)),
                ),
                line.and_then(last_size).map(size).unwrap_or_default(),
                letters.spark(&sizes[sizes.len().saturating_sub(8)..]),
                of_database(ratio(database)),
                line.and_then(|line| line.verified).map_or_else(
                    || "never".to_owned(),
                    |at| report::short_span(age(at, status.at)),
                ),
            ]);
        }
    }
    table.print("", out)?;
    for copies in copied_in_all(&status.databases) {
        wrapped(out, "  ", &copies)?;
    }
    Ok(())
}

/// The series that a row is worth.
fn rows(database: &DatabaseStatus) -> Vec<&SeriesFacts> {
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

fn ratio(database: &DatabaseStatus) -> String {
    let outcomes = database.outcomes;
    match outcomes.succeeded + outcomes.failed {
        0 => "none".to_owned(),
        ended => format!("{}/{ended}", outcomes.succeeded),
    }
}
