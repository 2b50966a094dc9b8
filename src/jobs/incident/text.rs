//! The report in words, made of what the ledger has. Pure.

use std::fmt::Write as _;
use std::time::Duration;

use chrono::{DateTime, FixedOffset, Utc};

use super::Incident;
use super::markdown::{block, code, text};
use crate::display::{count, counted, duration, moment, size, span};
use crate::repository::{Content, Event, Operation, Record, Requester, Restoration};

/// Where people have to write; one word to search for.
const FILL_IN: &str = "**[TO FILL IN]**";

/// What only people know, each with what is asked.
const OF_PEOPLE: &[(&str, &str)] = &[
    ("Noticed", "when, by whom, how"),
    ("Decided", "who decided to restore, and why this backup"),
    ("Cause", "what made the restore necessary"),
    ("Impact", "who could not work, from when to when"),
    (
        "Lost data",
        "what was written after the backup, and how it was recovered",
    ),
    (
        "Application",
        "who looked whether it works again, when, and how",
    ),
];

/// The report.
pub(super) fn report(incident: &Incident, detail: Option<&str>) -> String {
    let nothing = Restoration::default();
    let last = incident.last();
    let facts = last.and_then(Record::restoration).unwrap_or(&nothing);
    let report = Report {
        incident,
        facts,
        detail,
    };
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = report.write(&mut out);
    out
}

struct Report<'a> {
    incident: &'a Incident,
    facts: &'a Restoration,
    /// The full output of the program that failed.
    detail: Option<&'a str>,
}

impl Report<'_> {
    fn write(&self, out: &mut String) -> std::fmt::Result {
        let database = code(self.incident.database());
        let what = if self.undoes() {
            "undone restore"
        } else if self.facts.restored_tables.is_empty() {
            "restore"
        } else {
            "restore of tables"
        };
        writeln!(out, "# Incident report: {what} of database {database}\n")?;
        writeln!(
            out,
            "Written by pgbackupd from `restore.log`. What it cannot know is marked {FILL_IN}.\n"
        )?;
        self.summary(out)?;
        if !self.undoes() {
            self.objectives(out)?;
        }
        self.steps(out)?;
        if !self.undoes() {
            self.verified(out)?;
        }
        self.left(out)?;
        of_people(out)
    }

    fn undoes(&self) -> bool {
        self.incident.operation() == Operation::UndoRestore
    }

    /// Whether a salvage has brought back what it could.
    fn is_salvaged(&self) -> bool {
        self.facts.salvages && self.facts.found.is_some()
    }

    fn succeeded(&self) -> bool {
        self.incident.event() == Some(Event::Succeeded)
    }

    fn summary(&self, out: &mut String) -> std::fmt::Result {
        let facts = self.facts;
        writeln!(out, "## What was done\n")?;
        let outcome = match (self.incident.event(), self.undoes()) {
            (Some(Event::Succeeded), false) => "**restored**",
            (Some(Event::Succeeded), true) => "**undone**",
            (Some(Event::Interrupted), _) => "**interrupted**",
            (Some(_), _) if self.is_salvaged() => "**salvaged in part**",
            (Some(_), _) => "**FAILED**",
            (None, _) => "**not on record**: it goes on, or was killed",
        };
        writeln!(out, "- Outcome: {outcome}")?;
        if let Some(server) = &facts.server {
            writeln!(out, "- Server: {}", code(server))?;
        }
        if let Some(backup) = self.incident.backup() {
            writeln!(out, "- Backup: {}", code(backup))?;
        }
        if let Some(file) = &facts.file {
            writeln!(out, "- File: {}", code(file))?;
        }
        if let Some(asked) = self.incident.asked() {
            writeln!(out, "- Asked for: {}", both(asked))?;
        }
        if let Some(end) = &self.incident.end {
            writeln!(out, "- Ended: {}", both(end.at))?;
        }
        self.who(out)?;
        writeln!(out, "- Run: `{}`", self.incident.run())?;
        for table in &facts.restored_tables {
            writeln!(out, "- Table: {}", code(table))?;
        }
        self.replaced(out)?;
        if let Some(kept) = &facts.kept_as {
            writeln!(out, "- Kept as: {}", code(kept))?;
        }
        if let Some(ended) = facts.sessions_ended {
            writeln!(out, "- Sessions ended for it: {}", count(ended))?;
        }
        let end = self.incident.end.as_ref();
        if let Some(message) = end.and_then(|end| end.message.as_ref()) {
            write!(out, "\nOutput of the program:\n\n{}", block(message, ""))?;
        }
        if let Some(detail) = self.detail {
            write!(
                out,
                "\nFull output, which may show rows of the database:\n\n{}",
                block(detail, "")
            )?;
        }
        writeln!(out)
    }

    /// Which database bore the name before, or bears it again.
    fn replaced(&self, out: &mut String) -> std::fmt::Result {
        match (&self.facts.replaces, &self.facts.brought_back) {
            (Some(replaced), None) => {
                let bytes = replaced
                    .bytes
                    .map_or_else(String::new, |bytes| format!("{}, ", size(bytes)));
                writeln!(
                    out,
                    "- Replaced: the database of that name, {bytes}{}",
                    counted(replaced.sessions, "session", "sessions")
                )
            }
            (None, None) => writeln!(out, "- Replaced: nothing, as far as is on record"),
            (_, Some(brought_back)) => {
                writeln!(out, "- Got its name back: {}", code(brought_back))
            }
        }
    }

    fn who(&self, out: &mut String) -> std::fmt::Result {
        let Incident { start, end } = self.incident;
        let mut records = [start, end].into_iter().flatten();
        match records.find_map(|one| one.requested_by.as_ref()) {
            Some(requester) => writeln!(out, "- Asked by: {}", asked_by(requester)),
            None => writeln!(out, "- Asked by: not on record"),
        }
    }

    /// The recovery point and the recovery time against what is asked of them (P18).
    fn objectives(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "## Data loss and time to recovery\n")?;
        self.recovery_point(out)?;
        self.recovery_time(out)?;
        writeln!(out)
    }

    fn recovery_point(&self, out: &mut String) -> std::fmt::Result {
        let facts = self.facts;
        match (facts.backup_started, self.incident.asked()) {
            (Some(started), Some(asked)) => {
                let age = (asked - started).to_std().unwrap_or_default();
                writeln!(
                    out,
                    "- The backup holds the database as it was at {}. When the restore was asked \
                     for, that was {} ago: what was written in between is not in the backup{}.",
                    both(started),
                    duration(age),
                    match &facts.kept_as {
                        Some(kept) => format!(", but in {}, if it was not destroyed", code(kept)),
                        None => String::new(),
                    }
                )?;
                let Some(point) = facts.recovery_point else {
                    return Ok(());
                };
                let point = Duration::from_secs_f64(point);
                writeln!(
                    out,
                    "- Recovery point (`objectives.recovery_point`): {} allowed, **{}**",
                    span(point),
                    if age <= point { "met" } else { "NOT MET" }
                )
            }
            _ => writeln!(
                out,
                "- How old the backup was is not on record: it has no manifest, or could not \
                 be read."
            ),
        }
    }

    fn recovery_time(&self, out: &mut String) -> std::fmt::Result {
        let took = self.incident.end.as_ref().and_then(|end| end.seconds);
        match (took, self.facts.recovery_time) {
            (Some(took), Some(allowed)) if self.succeeded() => {
                writeln!(
                    out,
                    "- Recovery time (`objectives.recovery_time`): {} allowed, {} taken, **{}**",
                    span(Duration::from_secs_f64(allowed)),
                    duration(Duration::from_secs_f64(took)),
                    if took <= allowed { "met" } else { "NOT MET" }
                )?;
            }
            (Some(took), _) if self.is_salvaged() => writeln!(
                out,
                "- Time until what could be salvaged was there: {}",
                duration(Duration::from_secs_f64(took))
            )?,
            (Some(took), _) => writeln!(
                out,
                "- Recovery time: nothing was recovered; it went on for {}",
                duration(Duration::from_secs_f64(took))
            )?,
            (None, _) => writeln!(out, "- Recovery time: nothing was recovered")?,
        }
        let (asked, end) = (self.incident.asked(), &self.incident.end);
        if let (Some(asked), Some(end), true) = (asked, end, took.is_some()) {
            let all = (end.at - asked).to_std().unwrap_or_default();
            writeln!(
                out,
                "- From the command to the end, with the reading of the backup and the waiting for \
                 an answer: {}",
                duration(all)
            )?;
        }
        Ok(())
    }

    fn steps(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "## Steps\n")?;
        let steps = &self.facts.steps;
        let Some(first) = steps.first() else {
            return writeln!(out, "None is on record.\n");
        };
        writeln!(
            out,
            "| began ({}) | began (UTC) | took | what |\n|---|---|---:|---|",
            first.at.offset()
        )?;
        for step in steps {
            writeln!(
                out,
                "| {} | {} | {} | {} |",
                step.at.format("%Y-%m-%d %H:%M:%S"),
                step.at.with_timezone(&Utc).format("%Y-%m-%d %H:%M:%S"),
                duration(Duration::from_secs_f64(step.seconds)),
                text(&step.step)
            )?;
        }
        writeln!(out)
    }

    fn verified(&self, out: &mut String) -> std::fmt::Result {
        let facts = self.facts;
        writeln!(out, "## What was verified\n")?;
        match facts.expected {
            _ if facts.salvages => writeln!(
                out,
                "- The backup was salvaged: it was not read before it was loaded, and what the server refuses \
                 is left out."
            )?,
            Some(expected) => writeln!(
                out,
                "- The backup was read in full before anything was done: {}.{}",
                amount(expected),
                if facts.backup_started.is_some() {
                    " Its files are what was written, by their SHA-256, and its content is what \
                     was dumped, by its census."
                } else {
                    " It has no manifest, so whether it is all that was in the database \
                     is not known."
                }
            )?,
            None => writeln!(out, "- The backup was not read to its end.")?,
        }
        match facts.found {
            Some(found) => {
                let counts_agree = facts.expected == Some(found) || facts.salvages;
                let agrees = counts_agree && facts.differences.is_empty();
                writeln!(
                    out,
                    "- What was loaded was dumped again and compared, table by table, by rows and \
                     content: {}, **{}**.",
                    amount(found),
                    if agrees { "no difference" } else { "DIFFERENT" }
                )?;
                for difference in &facts.differences {
                    writeln!(out, "  - {}", text(difference))?;
                }
            }
            None if facts.salvages && self.succeeded() => writeln!(
                out,
                "- What was salvaged was compared with the backup when it was salvaged."
            )?,
            None => writeln!(out, "- What was loaded was not compared with it.")?,
        }
        if !facts.roles.is_empty() {
            let roles: Vec<String> = facts.roles.iter().map(|role| code(role)).collect();
            writeln!(out, "- Roles created: {}", roles.join(", "))?;
        }
        for warning in &facts.warnings {
            write!(out, "- Warning:\n\n{}", block(warning, "  "))?;
        }
        writeln!(out)
    }

    fn left(&self, out: &mut String) -> std::fmt::Result {
        let facts = self.facts;
        writeln!(out, "## What remains to be done\n")?;
        for left in &facts.left {
            write!(out, "- [ ] Clean up:\n\n{}", block(left, "  "))?;
        }
        if self.incident.end.is_none()
            && let Some(loaded) = &facts.loaded_into
        {
            writeln!(
                out,
                "- [ ] If it was killed, {} may remain; the next restore of the database drops it",
                code(loaded)
            )?;
        }
        if self.is_salvaged() && !self.succeeded() {
            writeln!(out, "- [ ] Bring back what is missing")?;
            return writeln!(out);
        }
        if !self.succeeded() {
            writeln!(out, "- [ ] Restore, from this backup or another one")?;
            return writeln!(out);
        }
        if let Some(kept) = &facts.kept_as {
            writeln!(
                out,
                "- [ ] Fetch from {} what is needed, and drop it once nobody needs it: {}",
                code(kept),
                code(&format!("DROP DATABASE \"{}\"", kept.replace('"', "\"\"")))
            )?;
        }
        writeln!(out, "- [ ] Make a backup of the database as it is now")?;
        writeln!(out)
    }
}

fn of_people(out: &mut String) -> std::fmt::Result {
    writeln!(out, "## For people to fill in\n")?;
    for (title, question) in OF_PEOPLE {
        writeln!(out, "- {title} ({question}): {FILL_IN}")?;
    }
    writeln!(
        out,
        "\nFollow-up:\n\n| what | who | until |\n|---|---|---|\n| {FILL_IN} | | |"
    )
}

/// A moment in its zone, and in UTC.
fn both(at: DateTime<FixedOffset>) -> String {
    format!(
        "{} ({} UTC)",
        moment(at),
        at.with_timezone(&Utc).format("%Y-%m-%d %H:%M:%S")
    )
}

fn amount(content: Content) -> String {
    format!(
        "{} in {}",
        counted(content.rows, "row", "rows"),
        counted(content.tables, "table", "tables")
    )
}

fn asked_by(requester: &Requester) -> String {
    let mut who = format!("user {}", code(&requester.user));
    let others = [
        ("who ran it as", &requester.ran_as),
        ("logged in as", &requester.login_user),
        ("by sudo from", &requester.sudo_user),
        ("at the terminal", &requester.terminal),
    ];
    for (word, name) in others {
        if let Some(name) = name {
            // Writing to a string cannot fail.
            let _ = write!(who, ", {word} {}", code(name));
        }
    }
    let _ = write!(
        who,
        ", on the machine {}, process {}",
        code(&requester.host),
        requester.pid
    );
    who
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use uuid::Uuid;

    use super::*;
    use crate::repository::{Replaced, RestoreDetails, StepTime};

    fn at(text: &str) -> DateTime<FixedOffset> {
        DateTime::parse_from_rfc3339(text).unwrap()
    }

    fn record(event: Event, time: &str, database: &str, details: RestoreDetails) -> Record {
        Record::new(at(time), Uuid::from_u128(7), event, database, details)
    }

    fn details(backup: Option<&str>, restoration: Restoration) -> RestoreDetails {
        RestoreDetails {
            backup: backup.map(str::to_owned),
            restoration: Some(Box::new(restoration)),
            ..RestoreDetails::default()
        }
    }

    fn step(what: &str, time: &str, seconds: f64) -> StepTime {
        StepTime {
            step: what.to_owned(),
            at: at(time),
            seconds,
        }
    }

    fn content(rows: u64) -> Content {
        Content { rows, tables: 2 }
    }

    #[test]
    fn a_restore_that_succeeded_tells_all_that_is_known_and_asks_for_the_rest() {
        let database = "متتبع الإنتاجية";
        let begun = RestoreDetails::default();
        let mut start = record(Event::Started, "2025-07-09T14:31:00+03:00", database, begun);
        start.requested_by = Some(Requester {
            user: "root".to_owned(),
            ran_as: Some("postgres".to_owned()),
            login_user: Some("noura".to_owned()),
            sudo_user: Some("noura".to_owned()),
            terminal: Some("/dev/pts/1".to_owned()),
            host: "db1".to_owned(),
            pid: 4711,
        });
        let facts = Restoration {
            server: Some("db1:5432".to_owned()),
            file: Some("/var/backups/x/backup_20250708_020000.sql.gz".to_owned()),
            backup_started: Some(at("2025-07-08T02:00:00+03:00")),
            recovery_point: Some(86_400.0),
            recovery_time: Some(1800.0),
            expected: Some(content(1_204_338)),
            found: Some(content(1_204_338)),
            replaces: Some(Replaced {
                bytes: Some(3 << 30),
                sessions: 12,
            }),
            loaded_into: Some("x_restoring".to_owned()),
            kept_as: Some("a \"b\" before".to_owned()),
            roles: vec!["reader".to_owned()],
            sessions_ended: Some(13),
            left: vec!["the application could not be started:\n`run` ended".to_owned()],
            warnings: vec!["the backup holds no passwords of roles".to_owned()],
            steps: vec![
                step(
                    "reading backup_20250708_020000 in full",
                    "2025-07-09T14:30:00+03:00",
                    31.26,
                ),
                step("loading into a | `b`", "2025-07-09T14:31:02+03:00", 2100.0),
            ],
            ..Restoration::default()
        };
        let done = details(Some("backup_20250708_020000"), facts);
        let mut end = record(
            Event::Succeeded,
            "2025-07-09T15:11:00+03:00",
            database,
            done,
        );
        end.seconds = Some(2400.0);
        end.message = Some("1,204,338 rows in 2 tables restored and compared".to_owned());
        let incident = Incident {
            start: Some(start),
            end: Some(end),
        };
        assert_snapshot!(report(&incident, None));
    }

    #[test]
    fn a_restore_that_failed_says_what_differs_and_what_remains() {
        let facts = Restoration {
            expected: Some(content(10)),
            found: Some(content(9)),
            differences: vec!["public.*: 10 rows in the dump, 9 found".to_owned()],
            left: vec!["the new role r remains: DROP ROLE \"r\"".to_owned()],
            ..Restoration::default()
        };
        let done = details(None, facts);
        let mut end = record(
            Event::Failed,
            "2025-07-09T14:35:00+03:00",
            "a`b|c\n# d",
            done,
        );
        end.seconds = Some(12.5);
        end.message = Some("it was not restored:\n```\nERROR: no".to_owned());
        let incident = Incident {
            start: None,
            end: Some(end),
        };
        assert_snapshot!(report(&incident, None));
    }

    #[test]
    fn of_one_that_was_killed_it_is_said_that_its_end_is_not_on_record() {
        let facts = Restoration {
            loaded_into: Some("app_restoring_1".to_owned()),
            ..Restoration::default()
        };
        let begun = details(None, facts);
        let start = record(Event::Started, "2025-07-09T14:31:00+03:00", "app", begun);
        let incident = Incident {
            start: Some(start),
            end: None,
        };
        let text = report(
            &incident,
            Some("ERROR:  no\nDETAIL:  Key (a)=(1) is duplicated."),
        );
        for part in [
            "- Outcome: **not on record**",
            "`app_restoring_1` may remain",
            "- [ ] Restore, from this backup or another one",
            "```text\nERROR:  no\nDETAIL:  Key (a)=(1) is duplicated.\n```",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
