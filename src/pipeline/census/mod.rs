//! The census: what a dump contains, table by table and object by object, in a form that two
//! dumps of the same content share.
//!
//! It is taken from the text of a dump in plain format as it passes, and costs the database
//! nothing. It depends neither on the order of rows, of columns or of objects, nor on comments,
//! session settings and the random tokens of `\restrict`; every value, statement and large object
//! counts.

mod byte_order_mark;
mod delimiters;
mod dependencies;
mod difference;
mod lenient_rows;
mod mentions;
mod multiset;
mod object_id;
mod rows;
mod scanner;
mod session;
mod statement;
mod stored;
mod tables;
mod tap;
mod unordered;

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

pub(super) use byte_order_mark::ByteOrderMark;
pub use dependencies::Dependencies;
pub use difference::{Compared, Difference};
pub use multiset::MultisetHash;
pub use object_id::ObjectId;
pub use scanner::Scanner;
pub use stored::{StoredCensusError, read, write};
pub use tables::{Counted, RowCounter, TableName};
pub use tap::{NoTap, Tap};

/// Up to so many large objects are counted one by one, so that a difference can be named; beyond,
/// only all of them together, or memory would grow with their number.
const LARGE_OBJECTS_APART: usize = 65_536;

/// What a dump contains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    tables: BTreeMap<Box<[u8]>, Table>,
    /// Rows of tables that came as INSERT statements, which are only counted.
    inserted: BTreeMap<Box<[u8]>, u64>,
    objects: BTreeMap<ObjectId, Object>,
    large_objects: LargeObjects,
}

/// The rows of one table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Table {
    rows: u64,
    hash: MultisetHash,
}

/// The statements that make one object.
#[derive(Clone, Copy, Debug, Default)]
struct Object {
    statements: u64,
    hash: MultisetHash,
    /// Those that say whose it is, by the role alone; unknown in a census that was stored.
    owners: Option<MultisetHash>,
}

/// Whose it is stands in its statements too.
impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        (self.statements, self.hash) == (other.statements, other.hash)
    }
}

impl Eq for Object {}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct LargeObjects {
    /// By OID; emptied for good when there are too many.
    apart: BTreeMap<u64, Object>,
    too_many: bool,
    together: Object,
}

/// The census in a few numbers, as the manifest records it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Tables with a data section, empty ones included.
    pub tables: u64,
    /// Rows of all tables.
    pub rows: u64,
    /// Objects other than rows and large objects: tables, indexes, functions, grants, comments, ….
    pub objects: u64,
    /// Large objects.
    pub large_objects: u64,
    /// The hash of the whole census: equal for two dumps of the same content. None in the manifest of an
    /// encrypted backup, where nothing in the clear fingerprints the content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<MultisetHash>,
}

/// Why a text is no complete dump.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// It ends before the line that `pg_dump` writes last.
    #[error("the dump is incomplete: the line that pg_dump writes last is missing")]
    NotCompleted,
    /// It ends within a statement.
    #[error("the dump breaks off within a statement of {0}")]
    BrokenOff(String),
    /// It ends within the rows of a table.
    #[error("the dump breaks off within the rows of table {0}")]
    BrokenOffInRows(String),
    /// A row does not have as many values as its table has columns.
    #[error("row {row} of table {table} does not have as many values as the table has columns")]
    MalformedRow {
        /// The table as the dump writes it.
        table: String,
        /// Counted from 1 in the dump's order.
        row: u64,
    },
    /// Statements follow the line that completes the dump.
    #[error("statements follow the line that should be the dump's last")]
    AfterCompletion,
    /// The head of a COPY block has more than a mebibyte.
    #[error("the column list of {0} is too long to be a table's")]
    HeadTooLong(String),
}

impl Census {
    /// The census in a few numbers.
    pub fn summary(&self) -> Summary {
        let mut hash = MultisetHash::default();
        for (name, table) in &self.tables {
            hash.add(entry_hash(b"table", name, table.rows, table.hash));
        }
        for (id, object) in &self.objects {
            hash.add(entry_hash(
                b"object",
                &id.key(),
                object.statements,
                object.hash,
            ));
        }
        let large = self.large_objects.together;
        hash.add(entry_hash(
            b"large objects",
            b"",
            large.statements,
            large.hash,
        ));
        Summary {
            tables: (self.tables.len() + self.inserted.len()) as u64,
            rows: self.tables.values().map(|table| table.rows).sum::<u64>()
                + self.inserted.values().sum::<u64>(),
            objects: self.objects.len() as u64,
            large_objects: self.large_objects.count(),
            hash: Some(hash),
        }
    }

    /// Adds what another part of the same dump holds.
    pub fn merge(&mut self, other: &Self) {
        for (name, table) in &other.tables {
            self.add_rows(name, table.rows, table.hash);
        }
        for (name, rows) in &other.inserted {
            self.add_inserted(name, *rows);
        }
        for (id, object) in &other.objects {
            self.objects.entry(id.clone()).or_insert(*object);
        }
        let (large, more) = (&mut self.large_objects, &other.large_objects);
        large.together.statements += more.together.statements;
        large.together.hash.merge(more.together.hash);
        large.too_many |= more.too_many;
        for (oid, object) in &more.apart {
            large.apart.entry(*oid).or_insert(*object);
        }
        if large.too_many {
            large.apart = BTreeMap::new();
        }
    }

    /// The hash of the definitions: of every object but rows, large objects, values of sequences and
    /// statistics. Equal for two dumps of the same schema, whatever rows they hold.
    pub fn definitions(&self) -> MultisetHash {
        let mut hash = MultisetHash::default();
        for (id, object) in &self.objects {
            if !id.is_content() && !id.is_of_a_large_object() {
                hash.add(entry_hash(
                    b"object",
                    &id.key(),
                    object.statements,
                    object.hash,
                ));
            }
        }
        hash
    }

    fn add_rows(&mut self, name: &[u8], rows: u64, hash: MultisetHash) {
        // Partitions that are loaded through their root share its name, hence a sum.
        let table = self.tables.entry(name.into()).or_default();
        table.rows += rows;
        table.hash.merge(hash);
    }

    fn add_inserted(&mut self, name: &[u8], rows: u64) {
        *self.inserted.entry(name.into()).or_default() += rows;
    }

    /// How many tables have rows that came as INSERT statements.
    pub fn inserted_tables(&self) -> u64 {
        self.inserted.len() as u64
    }

    /// The census of a copy, without what a dump without a manifest need not say of it: rows that the dump
    /// has as INSERT statements are counted, and tables that hold none, and what comes of rows, may be left
    /// out.
    #[must_use]
    pub fn fit_to(mut self, dump: &Self) -> Self {
        for name in dump.inserted.keys() {
            if let Some(table) = self.tables.remove(name) {
                self.inserted.insert(name.clone(), table.rows);
            }
        }
        self.tables
            .retain(|name, table| table.rows > 0 || dump.tables.contains_key(name));
        self.objects
            .retain(|id, _| !id.is_content() || dump.objects.contains_key(id));
        self
    }

    fn add_object(&mut self, id: &ObjectId, statement: u128, owner: Option<&[u8]>) {
        if !self.objects.contains_key(id) {
            self.objects.insert(id.clone(), Object::default());
        }
        if let Some(object) = self.objects.get_mut(id) {
            object.statements += 1;
            object.hash.add(statement);
            let owners = object.owners.get_or_insert_default();
            if let Some(role) = owner {
                owners.add(xxh3_128(role));
            }
        }
    }

    /// How many large objects there are; none where they are too many to be counted apart.
    pub fn large_objects(&self) -> Option<u64> {
        let large = &self.large_objects;
        (!large.too_many).then_some(large.apart.len() as u64)
    }

    fn add_large_object(&mut self, oid: u64, part: u128) {
        let part = keyed(&oid.to_le_bytes(), part);
        let large = &mut self.large_objects;
        large.together.statements += 1;
        large.together.hash.add(part);
        if large.too_many {
            return;
        }
        let object = large.apart.entry(oid).or_default();
        object.statements += 1;
        object.hash.add(part);
        if large.apart.len() > LARGE_OBJECTS_APART {
            large.too_many = true;
            large.apart = BTreeMap::new();
        }
    }
}

impl LargeObjects {
    /// How many there are; with too many to be counted apart, how many parts they are made of.
    fn count(&self) -> u64 {
        if self.too_many {
            self.together.statements
        } else {
            self.apart.len() as u64
        }
    }
}

fn keyed(key: &[u8], part: u128) -> u128 {
    let mut hasher = Xxh3::new();
    hasher.update(&part.to_le_bytes());
    hasher.update(key);
    hasher.digest128()
}

fn entry_hash(kind: &[u8], name: &[u8], count: u64, hash: MultisetHash) -> u128 {
    let mut hasher = Xxh3::new();
    hasher.update(&xxh3_128(kind).to_le_bytes());
    hasher.update(&xxh3_128(name).to_le_bytes());
    hasher.update(&count.to_le_bytes());
    hasher.update(hash.to_string().as_bytes());
    hasher.digest128()
}

/// Bytes of any encoding as text, one to one: what is not UTF-8 becomes `\xNN`, a backslash is
/// doubled.
pub fn printable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c == '\\' {
                text.push('\\');
            }
            text.push(c);
        }
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// The way back from [`printable`].
fn from_printable(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, tail @ ..] = rest {
        rest = match (byte, tail) {
            (b'\\', [b'\\', tail @ ..]) => {
                bytes.push(b'\\');
                tail
            }
            (b'\\', [b'x', high, low, tail @ ..]) => {
                let digits = [*high, *low];
                let digits = std::str::from_utf8(&digits).ok()?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
                tail
            }
            (b'\\', _) => return None,
            (byte, tail) => {
                bytes.push(*byte);
                tail
            }
        };
    }
    Some(bytes)
}

#[cfg(test)]
mod tests;
