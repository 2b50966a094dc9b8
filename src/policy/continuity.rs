//! Whether what is backed up today goes on from what was backed up before: nothing else would notice a
//! database that is empty since this morning, a server that is another one, or earlier backups that
//! are gone. Pure.
//!
//! While something is lost, each new backup is compared with the last one from before it, and not with
//! the one right before: otherwise a loss would be over as soon as the next backup repeats it. Rows
//! that are lost are what is usual once seven more backups agree, over a week at least.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::anomaly::{RowCheck, TableLoss};

/// So many further backups agree before lost rows are as they should be …
const AGREEING: u32 = 7;

/// … and over so many days, however often a backup is made.
const AGREEING_DAYS: i64 = 7;

/// So many tables are named of a loss, those with the most rows.
const MOST_TABLES: usize = 50;

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
    /// Of contents: the tables that lost rows, those with the most first. None where only all rows
    /// together are known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<TableLoss>,
    /// Of contents: how many tables lost rows, the named ones among them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tables_lost: u64,
    /// Of contents: how many further backups show the same.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub agreed: u32,
}

fn is_zero<T: Default + PartialEq>(number: &T) -> bool {
    *number == T::default()
}

impl Loss {
    /// That something of a backup is not there any more.
    pub fn of(what: Accepted, before: &Seen) -> Self {
        Self {
            what,
            before: before.clone(),
            first: None,
            tables: Vec::new(),
            tables_lost: 0,
            agreed: 0,
        }
    }

    /// Whether, of contents, it is the database rather than some of its tables that has fallen.
    pub fn is_of_the_database(&self) -> bool {
        has_fallen(&self.before, self.to_accept())
    }

    /// Whether it is of some rows only: every table has others.
    pub fn is_of_some_rows(&self) -> bool {
        let mut tables = self.tables.iter();
        let has_rows = |table: &TableLoss| table.now.is_some_and(|now| now > 0);
        !self.tables.is_empty() && !self.is_of_the_database() && tables.all(has_rows)
    }

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

/// What there was before a new backup.
#[derive(Clone, Copy)]
pub struct Earlier<'a> {
    /// What the backup before it showed and nobody has accepted since.
    pub open: &'a [Loss],
    /// The newest backup before it, there or vanished.
    pub previous: Option<&'a Seen>,
    /// Whether a restore of ours has put other contents into the database since.
    pub restored: bool,
    /// The rows of each table; none where only those of all together are known.
    pub rows: Option<&'a RowCheck<'a>>,
}

/// What a new backup shows to be lost, or still lost.
pub fn compare(earlier: Earlier<'_>, new: &Seen) -> Vec<Loss> {
    let mut losses = if earlier.restored {
        Vec::new()
    } else {
        lost_contents(earlier, new)
    };
    losses.extend(other_server(earlier, new));
    losses
}

fn other_server(earlier: Earlier<'_>, new: &Seen) -> Option<Loss> {
    let mut open = earlier.open.iter();
    let open = open.find(|loss| loss.what == Accepted::Server);
    let before = open.map(|loss| &loss.before).or(earlier.previous)?;
    let known = before.system_identifier.zip(new.system_identifier);
    let is_other = known.is_some_and(|(before, new)| before != new);
    is_other.then(|| Loss {
        first: open
            .and_then(|loss| loss.first.clone())
            .or(Some(new.clone())),
        ..Loss::of(Accepted::Server, before)
    })
}

/// The rows that are still lost, and those that are lost now.
fn lost_contents(earlier: Earlier<'_>, new: &Seen) -> Vec<Loss> {
    let open = earlier.open.iter();
    let open = open.filter(|loss| loss.what == Accepted::Contents);
    let known: Vec<&str> = open
        .clone()
        .flat_map(|loss| loss.tables.iter().map(|table| table.table.as_str()))
        .collect();
    let mut losses: Vec<Loss> = open
        .clone()
        .filter_map(|loss| still_lost(loss, earlier.rows, new))
        .collect();
    let Some(before) = earlier.previous else {
        return losses;
    };
    let mut tables = earlier.rows.map_or_else(Vec::new, RowCheck::fallen);
    tables.retain(|table| !known.contains(&table.table.as_str()));
    let is_known = losses.iter().any(|loss| has_fallen(&loss.before, new));
    let by_all_rows = match earlier.rows {
        None => has_fallen(before, new),
        Some(_) => has_no_table_left(before, new),
    };
    if !tables.is_empty() || (by_all_rows && !is_known && open.count() == 0) {
        let tables_lost = tables.len() as u64;
        tables.truncate(MOST_TABLES);
        losses.push(Loss {
            first: Some(new.clone()),
            tables,
            tables_lost,
            ..Loss::of(Accepted::Contents, before)
        });
    }
    losses
}

/// What is left of a loss of rows, if it is not over.
fn still_lost(loss: &Loss, rows: Option<&RowCheck<'_>>, new: &Seen) -> Option<Loss> {
    let mut loss = loss.clone();
    match rows {
        Some(rows) if !loss.tables.is_empty() => {
            let named = loss.tables.len();
            loss.tables.retain(|table| !rows.is_back(table));
            let back = (named - loss.tables.len()) as u64;
            loss.tables_lost = loss.tables_lost.saturating_sub(back);
            for table in &mut loss.tables {
                table.now = rows.count(&table.table);
            }
            if loss.tables.is_empty() {
                return None;
            }
        }
        _ if !has_fallen(&loss.before, new) => return None,
        _ => {}
    }
    loss.agreed = loss.agreed.saturating_add(1);
    let since = loss.first.as_ref().map(|first| new.started - first.started);
    let is_long = since.is_some_and(|since| since >= TimeDelta::days(AGREEING_DAYS));
    (loss.agreed < AGREEING || !is_long).then_some(loss)
}

/// Whether a database has lost so much that somebody should have meant it: every table, or more than
/// half of the rows.
fn has_fallen(before: &Seen, after: &Seen) -> bool {
    has_no_table_left(before, after) || after.rows.saturating_mul(2) < before.rows
}

fn has_no_table_left(before: &Seen, after: &Seen) -> bool {
    before.tables > 0 && after.tables == 0
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
            first: here
                .iter()
                .find(|backup| backup.started > gone.started)
                .cloned(),
            ..Loss::of(Accepted::Vanished, gone)
        })
        .filter(|loss| !loss.is_accepted(accepted))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::anomaly::{RowHistory, Rows, Sensitivity, Tables};

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
            let earlier = Earlier {
                open: &open,
                previous: previous.as_ref(),
                restored: *between == Restored,
                rows: None,
            };
            open = compare(earlier, &new);
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

    /// Makes a backup every so many hours, each with so many rows of `a`, `b` and `c`; gives, after each
    /// of them, the tables that are lost, by the first backup without them.
    fn tables_lost(hours: u32, backups: &[(Between, [u64; 3])]) -> Vec<String> {
        let sensitivity = Sensitivity {
            factor: 200,
            share: 50,
        };
        let mut history = RowHistory::default();
        let (mut open, mut previous): (Vec<Loss>, Option<Seen>) = (Vec::new(), None);
        let mut found = Vec::new();
        for (index, (between, counts)) in (0..).zip(backups) {
            if *between == CONTENTS {
                open.clear();
            }
            let names = ["public.a", "public.b", "public.c"].iter().zip(counts);
            let tables = names.map(|(name, count)| {
                let content = u128::from(*count);
                (
                    (*name).to_owned(),
                    Rows {
                        count: *count,
                        content,
                    },
                )
            });
            let tables: Tables = tables.collect();
            let new = seen(index * i64::from(hours), counts.iter().sum(), 3, 7);
            let check = RowCheck {
                history: &history,
                new: &tables,
                sensitivity,
                ignores: &|_| false,
            };
            let earlier = Earlier {
                open: &open,
                previous: previous.as_ref(),
                restored: *between == Restored,
                rows: Some(&check),
            };
            open = compare(earlier, &new);
            history.push(&new.name, new.started, &tables);
            previous = Some(new);
            let lost = open.iter().map(|loss| {
                assert_eq!(loss.tables_lost, loss.tables.len() as u64);
                let tables = loss.tables.iter();
                let tables: Vec<&str> = tables.map(|one| &one.table["public.".len()..]).collect();
                format!("{} {}", loss.to_accept().name, tables.join(" "))
            });
            found.push(lost.collect::<Vec<_>>().join(", "));
        }
        found
    }

    #[test]
    fn tables_that_lost_rows_are_one_loss_until_they_are_back_or_it_is_accepted() {
        for (backups, expected) in [
            (
                &[
                    (Nothing, [9, 9, 9]),
                    (Nothing, [0, 0, 9]),
                    (Nothing, [0, 9, 9]),
                    (Nothing, [9; 3]),
                ][..],
                &["", "b24 a b", "b24 a", ""][..],
            ),
            // The next one is another loss.
            (
                &[
                    (Nothing, [9, 9, 9]),
                    (Nothing, [0, 9, 9]),
                    (Nothing, [0, 0, 9]),
                ],
                &["", "b24 a", "b24 a, b48 b"],
            ),
            (
                &[
                    (Nothing, [9, 9, 9]),
                    (Nothing, [0, 9, 9]),
                    (CONTENTS, [0, 9, 9]),
                    (Nothing, [0, 9, 0]),
                ],
                &["", "b24 a", "", "b72 c"],
            ),
            (
                &[
                    (Nothing, [9, 9, 9]),
                    (Nothing, [0, 9, 9]),
                    (Restored, [9, 9, 0]),
                    (Nothing, [9, 9, 0]),
                ],
                &["", "b24 a", "", ""],
            ),
            // All of them are one loss.
            (
                &[(Nothing, [9, 9, 9]), (Nothing, [0, 0, 0])],
                &["", "b24 a b c"],
            ),
        ] {
            assert_eq!(tables_lost(24, backups), expected, "{backups:?}");
        }
    }

    #[test]
    fn what_seven_more_backups_over_a_week_agree_with_is_lost_no_more() {
        let emptied = |times: usize| {
            let mut backups = vec![(Nothing, [9, 9, 9])];
            backups.resize(1 + times, (Nothing, [0, 9, 9]));
            backups
        };
        let count = |hours: u32, times: usize| {
            let found = tables_lost(hours, &emptied(times));
            found.iter().filter(|lost| !lost.is_empty()).count()
        };
        // The first one, and six that agree.
        assert_eq!(count(24, 20), 7);
        // Once a week takes seven weeks, and every hour the week.
        assert_eq!(count(7 * 24, 20), 7);
        assert_eq!(count(1, 400), 7 * 24);
    }

    #[test]
    fn what_earlier_programs_have_found_lost_goes_on_by_all_rows() {
        let (before, first) = (seen(0, 100, 2, 7), seen(24, 0, 2, 7));
        let open = [Loss {
            first: Some(first.clone()),
            ..Loss::of(Accepted::Contents, &before)
        }];
        let text = serde_json::to_value(&open[0]).unwrap();
        assert!(
            text["tables"].is_null() && text["agreed"].is_null(),
            "{text}"
        );
        assert_eq!(serde_json::from_value::<Loss>(text).unwrap(), open[0]);
        let history = RowHistory::default();
        for (rows, expected) in [(0, 1), (49, 1), (50, 0)] {
            let new = seen(48, rows, 2, 7);
            let check = RowCheck {
                history: &history,
                new: &Tables::new(),
                sensitivity: Sensitivity {
                    factor: 200,
                    share: 50,
                },
                ignores: &|_| false,
            };
            let earlier = Earlier {
                open: &open,
                previous: Some(&first),
                restored: false,
                rows: Some(&check),
            };
            assert_eq!(compare(earlier, &new).len(), expected, "{rows}");
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
