//! A restore whose process was killed: what it may have left, in a sentence for whoever comes next.
//! Pure.

use std::collections::BTreeMap;

use chrono::{DateTime, FixedOffset};

use super::application;
use crate::postgres::Standing;
use crate::repository::{Details, Event, Operation, Record, SideNames};

/// A restore, or the undoing of one, that came to no end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutShort {
    operation: Operation,
    /// When it began.
    began: DateTime<FixedOffset>,
    requested_by: Option<String>,
    side_names: Option<SideNames>,
}

impl CutShort {
    /// The run that this record is the start of; none if it is none of a restore's.
    pub fn of(start: &Record) -> Option<Self> {
        let side_names = match &start.details {
            Details::Restore(details) => details.side_names.clone(),
            Details::UndoRestore { .. } => None,
            _ => return None,
        };
        Some(Self {
            operation: start.operation(),
            began: start.at,
            requested_by: start.requested_by.as_ref().map(ToString::to_string),
            side_names,
        })
    }

    /// Whether a record of `restore.log`, newest first, says that the newest restore was cut short,
    /// or that it was not; none if it says neither.
    ///
    /// The process that ends a restore writes how long it took; whoever finds one later does not
    /// know.
    pub fn judged_by(record: &Record) -> Option<bool> {
        if !record.is_of_restore() {
            return None;
        }
        match record.event {
            Event::Succeeded | Event::Failed | Event::Interrupted if record.seconds.is_some() => {
                Some(false)
            }
            Event::Started => Some(true),
            // Of one that did not even begin, or was found: its start comes next.
            _ => None,
        }
    }

    /// What to know of it, and what to do.
    ///
    /// With the server's databases it is known what became of it. `start` is the command that
    /// starts the application.
    pub fn display(
        &self,
        database: &str,
        databases: Option<&BTreeMap<String, Standing>>,
        start: Option<&[String]>,
    ) -> String {
        let what = match self.operation {
            Operation::UndoRestore => "undoing of a restore",
            _ => "restore",
        };
        let whom = self
            .requested_by
            .as_ref()
            .map_or_else(String::new, |by| format!(" by {by}"));
        let mut text = format!(
            "the {what} of {}{whom} was cut short",
            self.began.format("%a %Y-%m-%d %H:%M:%S %:z")
        );
        if let Some(names) = &self.side_names {
            text.push_str(": ");
            text.push_str(&became(database, names, databases));
        }
        // A restore stops the application only of what it replaces, and single tables never do.
        let stops = match &self.side_names {
            Some(names) => names.keeps_as.is_some(),
            None => self.operation == Operation::UndoRestore,
        };
        if let Some(start) = start.filter(|_| stops) {
            text.push_str("; the application may still be stopped: ");
            text.push_str(&application::shown(start));
        }
        text
    }
}

/// What to know of each of them.
pub(in crate::jobs) fn sentences(
    found: &[CutShort],
    database: &str,
    databases: &BTreeMap<String, Standing>,
    start: Option<&[String]>,
) -> Vec<String> {
    let sentences = found
        .iter()
        .map(|cut| cut.display(database, Some(databases), start));
    sentences.collect()
}

fn became(
    database: &str,
    names: &SideNames,
    databases: Option<&BTreeMap<String, Standing>>,
) -> String {
    let SideNames {
        loads_into,
        keeps_as,
        ..
    } = names;
    let swapped = |aside: &String| {
        format!(
            "{database} is the restored database, and {aside} the one before; `pgbackupd \
             undo-restore` swaps them back"
        )
    };
    let Some(databases) = databases else {
        let after = keeps_as
            .as_ref()
            .map_or_else(|| format!("{database} is the restored database"), swapped);
        return format!(
            "while there is a database {loads_into}, which the next restore drops, {database} is \
             what it was before; once there is none, {after}"
        );
    };
    match keeps_as {
        _ if databases.contains_key(loads_into) => {
            format!("{database} is what it was before; {loads_into} is what had been loaded")
        }
        Some(aside) if databases.contains_key(aside) => swapped(aside),
        Some(_) => format!("{database} is what it was before, and nothing of it is left"),
        None if databases.contains_key(database) => {
            format!("{database} had got its name, and may be the restored database")
        }
        None => "nothing of it is left".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut_short(keeps_as: Option<&str>) -> CutShort {
        CutShort {
            operation: Operation::Restore,
            began: DateTime::parse_from_rfc3339("2025-07-09T14:30:00+03:00").unwrap(),
            requested_by: Some("root@db1".to_owned()),
            side_names: Some(SideNames {
                loads_into: "new".to_owned(),
                keeps_as: keeps_as.map(str::to_owned),
                compares_with: None,
            }),
        }
    }

    #[test]
    fn what_stands_tells_what_became_of_it() {
        for (keeps_as, standing, expected) in [
            (
                Some("old"),
                &["app", "new"][..],
                "new is what had been loaded",
            ),
            (
                Some("old"),
                &["app", "old"],
                "app is the restored database, and old the one before",
            ),
            (
                Some("old"),
                &["app"],
                "app is what it was before, and nothing",
            ),
            (None, &["new"], "new is what had been loaded"),
            (None, &["app"], "app had got its name"),
            (None, &[], "nothing of it is left"),
        ] {
            let databases: BTreeMap<String, Standing> = standing
                .iter()
                .map(|name| ((*name).to_owned(), Standing::default()))
                .collect();
            let text = cut_short(keeps_as).display("app", Some(&databases), None);
            assert!(text.contains(expected), "{standing:?}: {text}");
        }
        let start = [
            "systemctl".to_owned(),
            "start".to_owned(),
            "shop".to_owned(),
        ];
        assert_eq!(
            cut_short(Some("old")).display("app", None, Some(&start)),
            "the restore of Wed 2025-07-09 14:30:00 +03:00 by root@db1 was cut short: while there \
             is a database new, which the next restore drops, app is what it was before; once \
             there is none, app is the restored database, and old the one before; `pgbackupd \
             undo-restore` swaps them back; the application may still be stopped: systemctl start \
             shop"
        );
    }
}
