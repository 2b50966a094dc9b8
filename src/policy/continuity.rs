//! Whether what is backed up today goes on from what was backed up before: nothing else would notice a
//! database that is empty since this morning, a server that is another one, or earlier backups that
//! are gone. Pure.
//!
//! While something is lost, each new backup is compared with the last one from before it, and not with
//! the one right before: otherwise a loss would be over as soon as the next backup repeats it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// A backup, as far as this cares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Its name.
    pub name: String,
    /// When its run started.
    pub started: DateTime<Utc>,
    /// Rows of all its tables.
    pub rows: u64,
    /// Its tables.
    pub tables: u64,
    /// The server's `system_identifier`; none where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_identifier: Option<u64>,
}

/// What the operator can accept as it is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Accepted {
    /// The contents of the database since a backup.
    Contents,
    /// The server that a backup was made of.
    Server,
    /// That a backup is gone.
    Vanished,
    /// That a backup's manifest is lost.
    Manifest,
}

/// Something that was there before and is not any more, as a backup has found it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// What it is, by what has to be accepted for it to be over.
    pub what: Accepted,
    /// The last backup before it; of one that has vanished, that backup.
    pub before: Seen,
    /// The first backup since; none where there is none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<Seen>,
}

impl Loss {
    /// The backup by which it is accepted: the first one that is as it should not be, or the one that
    /// has vanished.
    pub fn to_accept(&self) -> &Seen {
        let first = self.first.as_ref();
        match self.what {
            Accepted::Contents | Accepted::Server => first.unwrap_or(&self.before),
            Accepted::Vanished | Accepted::Manifest => &self.before,
        }
    }

    /// Backups that were made before this moment must stay: they may be all that is left of what was
    /// lost.
    pub fn keeps_before(&self) -> DateTime<Utc> {
        self.first.as_ref().unwrap_or(&self.before).started
    }

    /// Whether it is among what was accepted.
    pub fn is_accepted(&self, accepted: &[(Accepted, String)]) -> bool {
        let mut accepted = accepted.iter();
        accepted.any(|(what, name)| *what == self.what && *name == self.to_accept().name)
    }
}

/// What a new backup shows to be lost, or still lost.
///
/// `previous` is the newest backup before it, there or vanished; `open` is what that one showed and
/// nobody has accepted since; `restored` says whether a restore of ours has put other contents into
/// the database since.
pub fn compare(open: &[Loss], previous: Option<&Seen>, new: &Seen, restored: bool) -> Vec<Loss> {
    let differs = |what, is_other: &dyn Fn(&Seen) -> bool| {
        let open = open.iter().find(|loss| loss.what == what);
        let before = open.map(|loss| &loss.before).or(previous)?;
        is_other(before).then(|| Loss {
            what,
            before: before.clone(),
            first: open
                .and_then(|loss| loss.first.clone())
                .or_else(|| Some(new.clone())),
        })
    };
    let contents = differs(Accepted::Contents, &|before| {
        !restored && has_fallen(before, new)
    });
    let server = differs(Accepted::Server, &|before| {
        let known = before.system_identifier.zip(new.system_identifier);
        known.is_some_and(|(before, new)| before != new)
    });
    contents.into_iter().chain(server).collect()
}

/// Whether a database has lost so much that somebody should have meant it: every table, or more than
/// half of the rows.
fn has_fallen(before: &Seen, after: &Seen) -> bool {
    let no_table = before.tables > 0 && after.tables == 0;
    no_table || after.rows.saturating_mul(2) < before.rows
}

/// The backups that were once the newest and that neither the directory nor the records account for.
///
/// `gone` are those that are not there, `here` those that are, oldest first.
pub fn vanished(
    gone: &[Seen],
    here: &[Seen],
    accounted_for: &[String],
    accepted: &[(Accepted, String)],
) -> Vec<Loss> {
    gone.iter()
        .filter(|gone| !accounted_for.contains(&gone.name))
        .map(|gone| Loss {
            what: Accepted::Vanished,
            before: gone.clone(),
            first: here
                .iter()
                .find(|backup| backup.started > gone.started)
                .cloned(),
        })
        .filter(|loss| !loss.is_accepted(accepted))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_752_000_000 + hour * 3600, 0).unwrap()
    }

    /// The backup of an hour: its rows, its tables, and its server.
    fn seen(hour: i64, rows: u64, tables: u64, system: u64) -> Seen {
        Seen {
            name: format!("b{hour}"),
            started: at(hour),
            rows,
            tables,
            system_identifier: (system > 0).then_some(system),
        }
    }

    /// What happens between two backups.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Between {
        Nothing,
        Accepted(Accepted),
        Restored,
    }
    use Between::{Nothing, Restored};

    const CONTENTS: Between = Between::Accepted(Accepted::Contents);
    const SERVER: Between = Between::Accepted(Accepted::Server);

    /// Makes backups one after the other, each after what happened before it: gives what is lost in
    /// the end, by the backup before and the first since.
    fn after(backups: &[(Between, u64, u64, u64)]) -> Vec<String> {
        let mut open: Vec<Loss> = Vec::new();
        let mut previous: Option<Seen> = None;
        for (hour, (between, rows, tables, system)) in (0..).zip(backups) {
            if let Between::Accepted(what) = between {
                let all = open
                    .iter()
                    .map(|loss| (*what, loss.to_accept().name.clone()));
                let accepted: Vec<_> = all.collect();
                open.retain(|loss| !loss.is_accepted(&accepted));
            }
            let new = seen(hour, *rows, *tables, *system);
            open = compare(&open, previous.as_ref(), &new, *between == Restored);
            previous = Some(new);
        }
        let sentences = open.iter().map(|loss| {
            let first = loss.first.as_ref().unwrap();
            assert_eq!(loss.keeps_before(), first.started);
            format!("{:?} {} {}", loss.what, loss.before.name, first.name)
        });
        sentences.collect()
    }

    #[test]
    fn a_database_that_loses_its_tables_or_half_of_its_rows_is_a_loss_until_they_are_back() {
        for (contents, expected) in [
            (&[][..], &[][..]),
            (&[(0, 0)], &[]),
            // It never had any.
            (&[(0, 0), (0, 0)], &[]),
            (&[(0, 3), (0, 3)], &[]),
            (&[(100, 2), (70, 2)], &[]),
            (&[(100, 2), (50, 2)], &[]),
            (&[(100, 2), (49, 2)], &["Contents b0 b1"]),
            (&[(100, 2), (0, 2)], &["Contents b0 b1"]),
            (&[(0, 2), (0, 0)], &["Contents b0 b1"]),
            // Repeating it does not make it right.
            (&[(100, 2), (0, 0), (0, 0), (0, 0)], &["Contents b0 b1"]),
            (&[(100, 2), (40, 2), (30, 2)], &["Contents b0 b1"]),
            // It came back.
            (&[(100, 2), (0, 0), (60, 2)], &[]),
            (&[(100, 2), (0, 0), (60, 2), (10, 2)], &["Contents b2 b3"]),
            // Each is more than half of the one before.
            (&[(100, 2), (60, 2), (36, 2), (22, 2)], &[]),
        ] {
            let backups: Vec<_> = contents
                .iter()
                .map(|(rows, tables)| (Nothing, *rows, *tables, 7))
                .collect();
            assert_eq!(after(&backups), expected, "{contents:?}");
        }
    }

    #[test]
    fn what_was_accepted_or_restored_is_what_the_next_ones_are_compared_with() {
        for (backups, expected) in [
            (
                &[
                    (Nothing, 100, 2, 7),
                    (Nothing, 10, 2, 7),
                    (CONTENTS, 10, 2, 7),
                ][..],
                &[][..],
            ),
            (
                &[
                    (Nothing, 100, 2, 7),
                    (Nothing, 10, 2, 7),
                    (CONTENTS, 10, 2, 7),
                    (Nothing, 4, 2, 7),
                ],
                &["Contents b2 b3"],
            ),
            // Another thing was accepted.
            (
                &[
                    (Nothing, 100, 2, 7),
                    (Nothing, 10, 2, 7),
                    (SERVER, 10, 2, 7),
                ],
                &["Contents b0 b1"],
            ),
            // What nobody has lost cannot be accepted beforehand.
            (
                &[(Nothing, 100, 2, 7), (CONTENTS, 10, 2, 7)],
                &["Contents b0 b1"],
            ),
            (&[(Nothing, 100, 2, 7), (Restored, 10, 2, 7)], &[]),
            (
                &[
                    (Nothing, 100, 2, 7),
                    (Restored, 10, 2, 7),
                    (Nothing, 4, 2, 7),
                ],
                &["Contents b1 b2"],
            ),
            // Whoever restored had seen what there was.
            (
                &[
                    (Nothing, 100, 2, 7),
                    (Nothing, 0, 2, 7),
                    (Restored, 10, 2, 7),
                ],
                &[],
            ),
        ] {
            assert_eq!(after(backups), expected, "{backups:?}");
        }
    }

    #[test]
    fn another_server_is_one_until_it_is_accepted_or_the_first_is_back() {
        for (systems, expected) in [
            (&[(Nothing, 7), (Nothing, 7)][..], &[][..]),
            (&[(Nothing, 7), (Nothing, 8)], &["Server b0 b1"]),
            (
                &[(Nothing, 7), (Nothing, 8), (Nothing, 8)],
                &["Server b0 b1"],
            ),
            (&[(Nothing, 7), (Nothing, 8), (Nothing, 7)], &[]),
            (&[(Nothing, 7), (Nothing, 8), (SERVER, 8)], &[]),
            // A restore brings contents, and no other server.
            (&[(Nothing, 7), (Restored, 8)], &["Server b0 b1"]),
            // What was accepted once is not accepted whenever it changes again.
            (
                &[(Nothing, 7), (Nothing, 8), (SERVER, 8), (Nothing, 7)],
                &["Server b2 b3"],
            ),
            // Not every user may ask.
            (&[(Nothing, 0), (Nothing, 8)], &[]),
            (&[(Nothing, 7), (Nothing, 0)], &[]),
        ] {
            let backups: Vec<_> = systems
                .iter()
                .map(|(between, system)| (*between, 5, 1, *system))
                .collect();
            assert_eq!(after(&backups), expected, "{systems:?}");
        }
    }

    #[test]
    fn a_backup_that_is_gone_is_missed_unless_the_records_say_why() {
        let gone = [seen(3, 100, 2, 7)];
        for (here, first) in [
            (vec![], None),
            (vec![seen(1, 100, 2, 7)], None),
            (vec![seen(4, 90, 2, 7), seen(5, 90, 2, 7)], Some(4)),
        ] {
            let found = vanished(&gone, &here, &[], &[]);
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].to_accept().name, "b3");
            assert_eq!(found[0].keeps_before(), at(first.unwrap_or(3)));
            let b3 = || "b3".to_owned();
            assert_eq!(vanished(&gone, &here, &[b3()], &[]), []);
            assert_eq!(
                vanished(&gone, &here, &[], &[(Accepted::Vanished, b3())]),
                []
            );
            let other = [(Accepted::Contents, b3())];
            assert_eq!(vanished(&gone, &here, &[], &other).len(), 1);
        }
    }
}
