//! A report as text of 80 columns.

use crate::display::wrap::wrapped;
use crate::display::{count, counted, one_line};
use crate::policy::{Answer, Check, Report, ReportPeriod, Section, SectionEntry, Target};

/// So many databases have a line each; of more, those where something is wrong.
const DATABASES: usize = 30;

/// A report as text: a line for what it comes to, one for each item, and what happened. A good day has
/// few lines: what is met and what is over anyway is left out.
pub fn text(report: &Report) -> String {
    let mut lines = wrapped("", &report.title);
    for (answer, sentence) in shown_checks(report) {
        lines.extend(wrapped(head(answer), &sentence));
    }
    if !report.targets.is_empty() {
        lines.extend(wrapped("", "Targets:"));
        for line in targets(&report.targets) {
            lines.extend(wrapped("  ", &line));
        }
    }
    for section in &report.sections {
        lines.extend(section_lines(section, report.period == ReportPeriod::Daily));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn head(answer: Answer) -> &'static str {
    match answer {
        Answer::Yes => "  yes  ",
        Answer::No => "  NO   ",
        Answer::Unknown => "  ?    ",
    }
}

/// The checks as they are shown: the size of a backup with the backup, and on a good day no line that
/// nothing needs attention. Of many databases, those where all is well share a line.
pub(super) fn shown_checks(report: &Report) -> Vec<(Answer, String)> {
    let mut of_databases: Vec<(Answer, String)> = Vec::new();
    let (mut of_copies, mut others) = (Vec::new(), Vec::new());
    let is_daily = report.period == ReportPeriod::Daily;
    for check in &report.checks {
        match (check.id, of_databases.last_mut()) {
            ("size", Some((answer, sentence))) => {
                if check.answer == Answer::No {
                    *answer = Answer::No;
                }
                sentence.push_str(", ");
                sentence.push_str(&check.evidence);
            }
            ("copies", _) => of_copies.push((check.answer, sentence(check))),
            ("attention", _) if is_daily && check.answer == Answer::Yes => {}
            _ if check.database.is_some() => of_databases.push((check.answer, sentence(check))),
            _ => others.push((check.answer, sentence(check))),
        }
    }
    let mut shown = fewer(of_databases, |more| {
        let backups = counted(more, "backup was", "backups were");
        format!("{backups} made, none of an odd size")
    });
    shown.extend(fewer(of_copies, |more| {
        let databases = counted(more, "database has", "databases have");
        format!("copies: {databases} one of the newest backup")
    }));
    shown.append(&mut others);
    shown
}

/// The lines of databases, or, where they are too many, the worst ones and how many more there are.
fn fewer(
    lines: Vec<(Answer, String)>,
    all_is_well: impl Fn(u64) -> String,
) -> Vec<(Answer, String)> {
    if lines.len() <= DATABASES {
        return lines;
    }
    let mut fewer = Vec::new();
    for answer in [Answer::No, Answer::Unknown, Answer::Yes] {
        let mut of_answer: Vec<_> = lines.iter().filter(|line| line.0 == answer).collect();
        let most = if answer == Answer::Yes { 0 } else { DATABASES };
        let more = of_answer.len().saturating_sub(most) as u64;
        of_answer.truncate(most);
        fewer.extend(of_answer.into_iter().cloned());
        match (answer, more) {
            (_, 0) => {}
            (Answer::Yes, more) => fewer.push((answer, all_is_well(more))),
            (_, more) => fewer.push((answer, format!("and {} more", count(more)))),
        }
    }
    fewer
}

/// "app weekly: `weekly_backup_20261129_030000` at 03:00:09, 61.2 MiB".
fn sentence(check: &Check) -> String {
    let series = check.series.as_deref().filter(|series| *series != "daily");
    match (&check.database, series) {
        (Some(database), Some(series)) => {
            format!("{} {series}: {}", one_line(database), check.evidence)
        }
        (Some(database), None) => format!("{}: {}", one_line(database), check.evidence),
        (None, _) => format!("{}: {}", label(check.id), check.evidence),
    }
}

/// What an item is called.
fn label(id: &str) -> &str {
    match id {
        "verified" => "verify",
        other => other,
    }
}

/// The targets of each database in one sentence, and whether all are met; those that are not are marked.
fn by_database(targets: &[Target]) -> Vec<(String, bool)> {
    let mut lines: Vec<(String, bool)> = Vec::new();
    let mut last = None;
    for target in targets {
        let mark = if target.met { "" } else { "NO: " };
        let text = format!("{mark}{}", target.text);
        match lines.last_mut() {
            Some((line, is_met)) if last == Some(&target.database) => {
                line.push_str("; ");
                line.push_str(&text);
                *is_met &= target.met;
            }
            _ => lines.push((
                format!("{}: {text}", one_line(&target.database)),
                target.met,
            )),
        }
        last = Some(&target.database);
    }
    lines
}

/// A line for the targets of each database; where they are too many, for those that are not met, and how
/// many more there are.
pub(super) fn targets(targets: &[Target]) -> Vec<String> {
    let mut lines = by_database(targets);
    if lines.len() <= DATABASES {
        return lines.into_iter().map(|(line, _)| line).collect();
    }
    lines.sort_by_key(|(_, is_met)| *is_met);
    let more = (lines.len() - DATABASES) as u64;
    lines.truncate(DATABASES);
    let more = format!("and {} more", count(more));
    lines
        .into_iter()
        .map(|(line, _)| line)
        .chain([more])
        .collect()
}

fn section_lines(section: &Section, is_daily: bool) -> Vec<String> {
    let heading = format!("{}:", section.heading);
    let mut entries: Vec<String> = section
        .entries
        .iter()
        .map(|one| entry(one, is_daily))
        .collect();
    if section.more > 0 {
        entries.push(format!("and {} more", section.more));
    }
    // One alone needs no line for its heading.
    if let [entry] = entries.as_slice() {
        let line = wrapped(&format!("{heading} "), entry);
        if line.len() == 1 {
            return line;
        }
    }
    let mut lines = vec![heading];
    for entry in entries {
        lines.extend(wrapped("  ", &entry));
    }
    lines
}

/// "2026-11-29 02:00 app: …", of a day without the date.
pub(super) fn entry(entry: &SectionEntry, is_daily: bool) -> String {
    let form = if is_daily { "%H:%M" } else { "%Y-%m-%d %H:%M" };
    let at = entry.at.map(|at| format!("{} ", at.format(form)));
    let database = entry.database.as_ref();
    let database = database.map(|database| format!("{}: ", one_line(database)));
    format!(
        "{}{}{}",
        at.unwrap_or_default(),
        database.unwrap_or_default(),
        entry.text
    )
}
