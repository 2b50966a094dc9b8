//! Naming what two censuses do not share.

use std::collections::BTreeMap;
use std::fmt;

use super::{Census, Object, ObjectId, Table, printable};

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
    /// What is no definition differs: privileges, a comment, a sequence's value, a large object.
    Changed(String),
    /// An object belongs to another role.
    Owner(String),
    /// The text differs that makes an object.
    Definition(String),
}

/// What a copy of a backup does not share with it, and whether that is the server's doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compared {
    /// What the two do not share.
    pub difference: Difference,
    /// Whether the reference, which the same server has made of the backup's own definitions, has this
    /// object and is like the copy in it; none if there is no reference, or it cannot say.
    pub as_in_reference: Option<bool>,
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
            Self::Changed(object) | Self::Definition(object) => write!(f, "{object} differs"),
            Self::Owner(object) => write!(f, "the owner of {object} differs"),
        }
    }
}

impl Census {
    /// Everything that differs from the census expected, tables first, in the order of names.
    pub fn differences(&self, expected: &Self) -> Vec<Difference> {
        let compared = self.compare(expected, None).into_iter();
        compared.map(|one| one.difference).collect()
    }

    /// The same of a copy and the backup expected, held against a reference: what the server of the copy
    /// makes of the backup's own definitions, without any rows. Of rows, sequences and large objects it
    /// can say nothing.
    pub fn compare(&self, expected: &Self, reference: Option<&Self>) -> Vec<Compared> {
        let mut differences = Vec::new();
        compare(&expected.tables, &self.tables, |name, expected, found| {
            let table = printable(name);
            let rows = |table: Option<&Table>| table.map(|table| table.rows);
            let (expected, found) = (rows(expected), rows(found));
            // Of a table whose rows a dump leaves out there is nothing to come back.
            if expected.is_none() && found == Some(0) {
                return;
            }
            differences.push(exact(if expected == found {
                Difference::Content { table }
            } else {
                Difference::Rows {
                    table,
                    expected,
                    found,
                }
            }));
        });
        compare(
            &expected.inserted,
            &self.inserted,
            |name, expected, found| {
                differences.push(exact(Difference::Rows {
                    table: printable(name),
                    expected: expected.copied(),
                    found: found.copied(),
                }));
            },
        );
        let all = &expected.objects;
        compare(all, &self.objects, |id, expected, found| {
            // The same goes for the value of a sequence.
            if expected.is_none() && id.is_value_of_sequence() && all.contains_key(&id.sequence()) {
                return;
            }
            let reference = reference.filter(|_| !id.is_content());
            differences.push(Compared {
                difference: of_object(id, expected, found),
                as_in_reference: reference.map(|reference| found == reference.objects.get(id)),
            });
        });
        let (expected, found) = (&expected.large_objects, &self.large_objects);
        if expected.too_many || found.too_many {
            if expected.together != found.together {
                let all = "the set of large objects".to_owned();
                differences.push(exact(Difference::Changed(all)));
            }
        } else {
            compare(&expected.apart, &found.apart, |oid, expected, found| {
                let name = format!("large object {oid}");
                differences.push(exact(
                    there_or_not(&name, expected, found).unwrap_or(Difference::Changed(name)),
                ));
            });
        }
        differences
    }
}

fn exact(difference: Difference) -> Compared {
    Compared {
        difference,
        as_in_reference: None,
    }
}

fn of_object(id: &ObjectId, expected: Option<&Object>, found: Option<&Object>) -> Difference {
    let name = id.to_string();
    if let Some(difference) = there_or_not(&name, expected, found) {
        return difference;
    }
    let owners = |object: Option<&Object>| object.and_then(|object| object.owners);
    if let (Some(expected), Some(found)) = (owners(expected), owners(found))
        && expected != found
    {
        Difference::Owner(name)
    } else if id.is_definition() {
        Difference::Definition(name)
    } else {
        Difference::Changed(name)
    }
}

fn there_or_not(
    name: &str,
    expected: Option<&Object>,
    found: Option<&Object>,
) -> Option<Difference> {
    match (expected, found) {
        (Some(_), None) => Some(Difference::Missing(name.to_owned())),
        (None, Some(_)) => Some(Difference::Unexpected(name.to_owned())),
        _ => None,
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
