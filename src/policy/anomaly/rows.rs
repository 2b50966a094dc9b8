//! Which tables have lost rows that somebody should have meant to lose.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::history::{RowHistory, Rows, TableHistory, Tables};
use super::{Sensitivity, Usual};

/// A table with fewer rows than these must be emptied before it counts as fallen.
const FEWEST: u64 = 10;

/// A table with fewer rows than these has not grown by much, whatever the factor.
const FEWEST_GROWN: u64 = 1000;

/// Who falls so often in the last backups, is meant to.
const HABIT: usize = 2;

/// A table that has lost rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableLoss {
    /// `schema.table`.
    pub table: String,
    /// Its rows in the last backup before.
    pub before: u64,
    /// Its rows since; none where there is no such table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<u64>,
}

impl TableLoss {
    /// How many rows are gone.
    pub fn lost(&self) -> u64 {
        self.before.saturating_sub(self.now.unwrap_or_default())
    }
}

/// A table that has grown: no loss, but good to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableGrowth {
    /// `schema.table`.
    pub table: String,
    /// The median of its rows in the last backups.
    pub usual: u64,
    /// Its rows in the new one.
    pub now: u64,
}

/// A new backup, and what those before it had.
pub struct RowCheck<'a> {
    /// Those before it, at least one.
    pub history: &'a RowHistory,
    /// Its tables.
    pub new: &'a Tables,
    /// From where on a loss is odd.
    pub sensitivity: Sensitivity,
    /// Whether nobody watches a table.
    pub ignores: &'a dyn Fn(&str) -> bool,
}

/// How a table has fallen, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fall {
    Shrunk,
    Emptied,
    Vanished,
}

impl RowCheck<'_> {
    /// The tables that have lost rows since the backup before, those with the most first. Quiet ones
    /// are left out: who falls alike in two of the last backups, or to what is usual; a partition among
    /// others; a table that has another name now; what nobody watches.
    pub fn fallen(&self) -> Vec<TableLoss> {
        let around = Around {
            groups: self.groups(),
            elsewhere: Elsewhere::of(self),
        };
        let tables = self.history.tables();
        let mut fallen: Vec<TableLoss> = tables
            .filter(|(name, history)| self.has_fallen(name, history, &around))
            .map(|(name, history)| TableLoss {
                table: name.to_owned(),
                before: history.newest().unwrap_or_default(),
                now: self.count(name),
            })
            .collect();
        fallen.sort_by_key(|loss| std::cmp::Reverse(loss.lost()));
        fallen
    }

    /// The tables that have grown since the backup before by the factor from which on a size is odd,
    /// above that backup and above what is usual; the largest growth first.
    pub fn grown(&self) -> Vec<TableGrowth> {
        let tables = self.history.tables();
        let mut grown: Vec<TableGrowth> = tables
            .filter(|(name, _)| !(self.ignores)(name))
            .filter_map(|(name, history)| {
                let now = self.count(name).filter(|now| *now >= FEWEST_GROWN)?;
                let counts: Vec<u64> = history.counts.iter().filter_map(|count| *count).collect();
                let usual = Usual::of(&counts)?.median;
                let before = history.newest()?.max(usual);
                let limit = u128::from(before) * u128::from(self.sensitivity.factor);
                (u128::from(now) * 100 > limit).then(|| TableGrowth {
                    table: name.to_owned(),
                    usual,
                    now,
                })
            })
            .collect();
        grown.sort_by_key(|growth| std::cmp::Reverse(growth.now - growth.usual));
        grown
    }

    /// Whether the rows of a table are back, or nobody watches it any more.
    pub fn is_back(&self, loss: &TableLoss) -> bool {
        let now = self.count(&loss.table);
        (self.ignores)(&loss.table) || self.fall(Some(loss.before), now).is_none()
    }

    /// The rows of a table in the new backup; none where it does not have it.
    pub fn count(&self, table: &str) -> Option<u64> {
        self.new.get(table).map(|rows| rows.count)
    }

    fn has_fallen(&self, name: &str, history: &TableHistory, around: &Around<'_>) -> bool {
        let Some(fall) = self.fall(history.newest(), self.count(name)) else {
            return false;
        };
        let counts: Vec<_> = history.counts.iter().copied().collect();
        let is_quiet = self.is_habit(&counts, fall)
            || self.is_usual(&counts, self.count(name))
            || around.elsewhere.has(name, history)
            || around
                .groups
                .get(&*without_digits(name))
                .is_some_and(|group| self.is_quiet_group(group))
            || (self.ignores)(name);
        !is_quiet
    }

    /// How a table falls from one backup to the next, if it does.
    fn fall(&self, before: Option<u64>, after: Option<u64>) -> Option<Fall> {
        let before = before.filter(|before| *before > 0)?;
        match after {
            None => Some(Fall::Vanished),
            Some(0) => Some(Fall::Emptied),
            Some(after) => {
                let lost = u128::from(before.saturating_sub(after));
                let limit = u128::from(before) * u128::from(self.sensitivity.share);
                (before >= FEWEST && lost * 100 > limit).then_some(Fall::Shrunk)
            }
        }
    }

    /// Whether a table has fallen so, or further, before.
    fn is_habit(&self, counts: &[Option<u64>], fall: Fall) -> bool {
        let falls = counts.windows(2).filter(|pair| {
            let earlier = self.fall(pair[0], pair[1]);
            earlier.is_some_and(|earlier| earlier >= fall)
        });
        falls.count() >= HABIT
    }

    /// Whether so few rows are usual, as after a peak.
    fn is_usual(&self, counts: &[Option<u64>], now: Option<u64>) -> bool {
        // A table that was emptied is not usually empty; that it was, has been reported.
        let was_filled = counts.iter().scan(false, |was_filled, count| {
            *was_filled |= count.is_some_and(|count| count > 0);
            Some(*was_filled)
        });
        let present: Vec<u64> = counts
            .iter()
            .zip(was_filled)
            .filter_map(|(count, was_filled)| count.filter(|count| *count > 0 || !was_filled))
            .collect();
        Usual::of(&present).is_some_and(|usual| self.fall(Some(usual.median), now).is_none())
    }

    /// Tables whose names differ only in digits, such as partitions by date, by their common name; only
    /// where there are several.
    fn groups(&self) -> BTreeMap<String, Group> {
        let mut groups: BTreeMap<String, Group> = BTreeMap::new();
        for (name, history) in self.history.tables() {
            if let Cow::Owned(common) = without_digits(name) {
                groups.entry(common).or_default().add(history);
            }
        }
        for (name, rows) in self.new {
            if let Cow::Owned(common) = without_digits(name) {
                let group = groups.entry(common).or_default();
                group.members += usize::from(self.history.table(name).is_none());
                group.now += rows.count;
            }
        }
        groups.retain(|_, group| group.members > 1);
        groups
    }

    /// Whether others of a group remain, so that the fall of one of them is none: all of them together
    /// have not fallen, or do so often.
    fn is_quiet_group(&self, group: &Group) -> bool {
        if group.now == 0 {
            return false;
        }
        let before = group.counts.last().copied();
        let fall = self.fall(before, Some(group.now));
        let counts: Vec<_> = group.counts.iter().copied().map(Some).collect();
        fall.is_none_or(|fall| {
            self.is_habit(&counts, fall) || self.is_usual(&counts, Some(group.now))
        })
    }
}

/// What is known of the other tables.
struct Around<'a> {
    groups: BTreeMap<String, Group>,
    elsewhere: Elsewhere<'a>,
}

/// Tables whose names differ only in digits.
#[derive(Default)]
struct Group {
    members: usize,
    /// Their rows in each backup, oldest first.
    counts: Vec<u64>,
    /// Their rows in the new one.
    now: u64,
}

impl Group {
    fn add(&mut self, history: &TableHistory) {
        self.members += 1;
        self.counts.resize(history.counts.len(), 0);
        for (sum, count) in self.counts.iter_mut().zip(&history.counts) {
            *sum += count.unwrap_or_default();
        }
    }
}

/// A name with `#` for each number in it; borrowed where it has none.
fn without_digits(name: &str) -> Cow<'_, str> {
    if !name.contains(|c: char| c.is_ascii_digit()) {
        return Cow::Borrowed(name);
    }
    let mut common = String::with_capacity(name.len());
    for c in name.chars() {
        if !c.is_ascii_digit() {
            common.push(c);
        } else if !common.ends_with('#') {
            common.push('#');
        }
    }
    Cow::Owned(common)
}

/// What the new backup has under names that did not hold it before.
struct Elsewhere<'a> {
    contents: BTreeSet<u128>,
    /// The rows of new tables by their names without the schema, the most of each.
    names: BTreeMap<&'a str, u64>,
}

impl<'a> Elsewhere<'a> {
    fn of(check: &RowCheck<'a>) -> Self {
        let mut found = Self {
            contents: BTreeSet::new(),
            names: BTreeMap::new(),
        };
        for (name, Rows { count, content }) in check.new {
            let before = check.history.table(name);
            let before = before.filter(|before| before.newest().is_some());
            if before.is_none_or(|before| before.content != *content) {
                found.contents.insert(*content);
            }
            if before.is_none() {
                let most = found.names.entry(without_schema(name)).or_default();
                *most = (*most).max(*count);
            }
        }
        found
    }

    /// Whether the rows of a table are under another name now, or it has moved to another schema.
    fn has(&self, name: &str, history: &TableHistory) -> bool {
        let moved = self.names.get(without_schema(name));
        self.contents.contains(&history.content)
            || moved.is_some_and(|rows| Some(*rows) >= history.newest())
    }
}

fn without_schema(name: &str) -> &str {
    name.split_once('.').map_or(name, |(_, table)| table)
}

#[cfg(test)]
mod tests;
