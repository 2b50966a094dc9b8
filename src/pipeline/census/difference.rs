//! Naming what two censuses do not share.

use std::collections::BTreeMap;
use std::fmt;

use super::{Census, Object, Table, printable};

/// One thing that two censuses do not share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// A table has another number of rows.
    Rows {
        /// The table as the dump writes it.
        table: String,
        /// Rows in the census compared with; none if it has no such table.
        expected: Option<u64>,
        /// Rows in this census; none if it has no such table.
        found: Option<u64>,
    },
    /// A table has as many rows, but not the same.
    Content {
        /// The table as the dump writes it.
        table: String,
    },
    /// An object or a large object is missing.
    Missing(String),
    /// An object or a large object is there that should not be.
    Unexpected(String),
    /// An object or a large object differs.
    Changed(String),
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rows {
                table,
                expected,
                found,
            } => {
                let rows = |count: &Option<u64>| match count {
                    None => "no such table".to_owned(),
                    Some(1) => "1 row".to_owned(),
                    Some(count) => format!("{count} rows"),
                };
                write!(
                    f,
                    "{table}: {} expected, {} found",
                    rows(expected),
                    rows(found)
                )
            }
            Self::Content { table } => {
                write!(
                    f,
                    "{table}: the number of rows agrees, their content does not"
                )
            }
            Self::Missing(object) => write!(f, "{object} is missing"),
            Self::Unexpected(object) => write!(f, "{object} should not be there"),
            Self::Changed(object) => write!(f, "{object} differs"),
        }
    }
}

impl Census {
    /// Everything that differs from the census expected, tables first, in the order of names.
    pub fn differences(&self, expected: &Self) -> Vec<Difference> {
        let mut differences = Vec::new();
        compare(&expected.tables, &self.tables, |name, expected, found| {
            let table = printable(name);
            let rows = |table: Option<&Table>| table.map(|table| table.rows);
            let (expected, found) = (rows(expected), rows(found));
            differences.push(if expected == found {
                Difference::Content { table }
            } else {
                Difference::Rows {
                    table,
                    expected,
                    found,
                }
            });
        });
        compare(&expected.objects, &self.objects, |id, expected, found| {
            differences.push(of_object(id.to_string(), expected, found));
        });
        let (expected, found) = (&expected.large_objects, &self.large_objects);
        if expected.too_many || found.too_many {
            if expected.together != found.together {
                differences.push(Difference::Changed("the set of large objects".to_owned()));
            }
        } else {
            compare(&expected.apart, &found.apart, |oid, expected, found| {
                differences.push(of_object(format!("large object {oid}"), expected, found));
            });
        }
        differences
    }
}

fn of_object(name: String, expected: Option<&Object>, found: Option<&Object>) -> Difference {
    match (expected, found) {
        (Some(_), None) => Difference::Missing(name),
        (None, Some(_)) => Difference::Unexpected(name),
        _ => Difference::Changed(name),
    }
}

/// Calls back for every key whose values are not the same on both sides.
fn compare<K: Ord, V: PartialEq>(
    expected: &BTreeMap<K, V>,
    found: &BTreeMap<K, V>,
    mut differs: impl FnMut(&K, Option<&V>, Option<&V>),
) {
    for (key, value) in expected {
        let other = found.get(key);
        if other != Some(value) {
            differs(key, Some(value), other);
        }
    }
    for (key, value) in found {
        if !expected.contains_key(key) {
            differs(key, None, Some(value));
        }
    }
}
