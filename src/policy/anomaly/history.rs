//! How many rows each table had in the last backups.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::WINDOW;

/// The last [`WINDOW`] backups, and the one that the first of them is compared with.
const KEPT: usize = WINDOW + 1;

/// The rows of one table in one backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// How many.
    pub count: u64,
    /// A hash of their content; equal for two tables with the same rows.
    pub content: u128,
}

/// The tables of one backup, by `schema.table`.
pub type Tables = BTreeMap<String, Rows>;

/// How many rows each table had in the last backups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowHistory {
    /// Those backups, oldest first: name and start.
    backups: VecDeque<(String, DateTime<Utc>)>,
    tables: BTreeMap<String, TableHistory>,
}

/// How many rows one table had in those backups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct TableHistory {
    /// Of each backup, oldest first; none where it did not have the table.
    pub(super) counts: VecDeque<Option<u64>>,
    /// The content in the newest one.
    pub(super) content: u128,
}

impl RowHistory {
    /// Whether this backup is the newest in it.
    pub fn ends_with(&self, name: &str, started: DateTime<Utc>) -> bool {
        let newest = self.backups.back();
        newest.is_some_and(|(newest, at)| newest == name && *at == started)
    }

    /// Adds the next backup. The oldest one goes, and tables that are in none any more.
    pub fn push(&mut self, backup: &str, started: DateTime<Utc>, tables: &Tables) {
        let earlier = self.backups.len();
        self.backups.push_back((backup.to_owned(), started));
        for name in tables.keys() {
            if !self.tables.contains_key(name) {
                let unknown = TableHistory {
                    counts: std::iter::repeat_n(None, earlier).collect(),
                    content: 0,
                };
                self.tables.insert(name.clone(), unknown);
            }
        }
        let is_full = self.backups.len() > KEPT;
        if is_full {
            self.backups.pop_front();
        }
        for (name, history) in &mut self.tables {
            let rows = tables.get(name);
            history.counts.push_back(rows.map(|rows| rows.count));
            history.content = rows.map_or(0, |rows| rows.content);
            if is_full {
                history.counts.pop_front();
            }
        }
        let is_known = |history: &TableHistory| history.counts.iter().any(Option::is_some);
        self.tables.retain(|_, history| is_known(history));
    }

    /// Every table that one of the backups has.
    pub(super) fn tables(&self) -> impl Iterator<Item = (&str, &TableHistory)> {
        let tables = self.tables.iter();
        tables.map(|(name, history)| (name.as_str(), history))
    }

    pub(super) fn table(&self, name: &str) -> Option<&TableHistory> {
        self.tables.get(name)
    }
}

impl TableHistory {
    /// The rows in the newest backup; none where it did not have the table.
    pub(super) fn newest(&self) -> Option<u64> {
        self.counts.back().copied().flatten()
    }
}

/// `content count count - count`, to keep the file small.
impl From<TableHistory> for String {
    fn from(history: TableHistory) -> Self {
        let mut text = format!("{:x}", history.content);
        for count in &history.counts {
            // Writing to a string cannot fail.
            let _ = match count {
                Some(count) => write!(text, " {count}"),
                None => write!(text, " -"),
            };
        }
        text
    }
}

impl TryFrom<String> for TableHistory {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let invalid = || format!("{text:?} is no history of a table");
        let mut words = text.split(' ');
        let content = words.next().unwrap_or_default();
        let content = u128::from_str_radix(content, 16).map_err(|_| invalid())?;
        let count = |word: &str| match word {
            "-" => Ok(None),
            count => count.parse().map(Some).map_err(|_| invalid()),
        };
        let counts = words.map(count).collect::<Result<_, _>>()?;
        Ok(Self { counts, content })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_backups_are_kept_and_read_as_they_were_written() {
        let mut history = RowHistory::default();
        let at = |day: i64| DateTime::from_timestamp(1_752_000_000 + day * 86_400, 0).unwrap();
        for day in 0..20 {
            let mut tables = Tables::new();
            let count = u64::try_from(day).unwrap();
            let rows = Rows {
                count,
                content: u128::from(count) << 70,
            };
            tables.insert("public.a".to_owned(), rows);
            if day % 2 == 0 {
                tables.insert("public.b c".to_owned(), rows);
            }
            if day < 3 {
                tables.insert("public.gone".to_owned(), rows);
            }
            history.push(&format!("b{day}"), at(day), &tables);
        }
        assert!(history.ends_with("b19", at(19)));
        assert!(!history.ends_with("b19", at(18)) && !history.ends_with("b18", at(18)));
        let a: Vec<_> = history.table("public.a").unwrap().counts.iter().collect();
        let expected: Vec<_> = (5..20).map(Some).collect();
        assert_eq!(a, expected.iter().collect::<Vec<_>>());
        assert_eq!(history.table("public.b c").unwrap().newest(), None);
        assert!(history.table("public.gone").is_none());
        let text = serde_json::to_string(&history).unwrap();
        assert_eq!(serde_json::from_str::<RowHistory>(&text).unwrap(), history);
        assert!(serde_json::from_str::<TableHistory>("\"0 1 x\"").is_err());
    }
}
