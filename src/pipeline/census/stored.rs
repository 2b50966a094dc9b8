//! The census as a file: one JSON object a line, the summary first.
//!
//! ```json
//! {"format":1,"tables":2,"rows":3,"objects":9,"large_objects":0,"hash":"…"}
//! {"table":"public.orders","rows":3,"hash":"…"}
//! {"object":"orders_pkey","kind":"CONSTRAINT","schema":"public","statements":1,"hash":"…"}
//! {"large_object":16421,"statements":3,"hash":"…"}
//! {"large_objects":70000,"statements":210000,"hash":"…"}
//! ```
//!
//! The last form stands instead of single large objects where there are too many. Names are
//! written one to one: a byte that is not UTF-8 as `\xNN`, a backslash doubled.

use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

use super::{
    Census, LargeObjects, MultisetHash, Object, ObjectId, Summary, Table, from_printable, printable,
};

/// The format this program writes; a newer one is refused.
const FORMAT: u32 = 1;

/// Why a stored census cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoredCensusError {
    /// The file cannot be read.
    #[error("cannot read the census: {0}")]
    Read(#[from] io::Error),
    /// A newer program wrote it.
    #[error("the census has format {0}, which is newer than this program: upgrade pgbackupd")]
    Newer(u32),
    /// A line is not what it should be.
    #[error("line {line} of the census cannot be understood: {reason}")]
    Malformed {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// The lines do not add up to the summary.
    #[error("the census is incomplete or changed: its lines do not add up to its summary")]
    Inconsistent,
}

#[derive(Serialize, Deserialize)]
struct Head {
    format: u32,
    #[serde(flatten)]
    summary: Summary,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Table {
        table: String,
        rows: u64,
        hash: MultisetHash,
    },
    Object {
        object: String,
        kind: String,
        schema: String,
        statements: u64,
        hash: MultisetHash,
    },
    LargeObject {
        large_object: u64,
        statements: u64,
        hash: MultisetHash,
    },
    LargeObjects {
        large_objects: u64,
        statements: u64,
        hash: MultisetHash,
    },
}

/// Writes a census.
///
/// # Errors
/// When the output cannot be written.
pub fn write(census: &Census, mut out: impl Write) -> io::Result<()> {
    let out = &mut out;
    let summary = census.summary();
    write_line(
        out,
        &Head {
            format: FORMAT,
            summary,
        },
    )?;
    for (name, table) in &census.tables {
        write_line(
            out,
            &Line::Table {
                table: printable(name),
                rows: table.rows,
                hash: table.hash,
            },
        )?;
    }
    for (id, object) in &census.objects {
        write_line(
            out,
            &Line::Object {
                object: printable(&id.name),
                kind: printable(&id.kind),
                schema: printable(&id.schema),
                statements: object.statements,
                hash: object.hash,
            },
        )?;
    }
    for (oid, object) in &census.large_objects.apart {
        write_line(
            out,
            &Line::LargeObject {
                large_object: *oid,
                statements: object.statements,
                hash: object.hash,
            },
        )?;
    }
    if census.large_objects.too_many {
        let together = census.large_objects.together;
        write_line(
            out,
            &Line::LargeObjects {
                large_objects: census.large_objects.count(),
                statements: together.statements,
                hash: together.hash,
            },
        )?;
    }
    Ok(())
}

fn write_line(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

/// Reads a census and checks that it is whole.
///
/// # Errors
/// When the file cannot be read, is of a newer format, or does not add up to its own summary.
pub fn read(input: impl BufRead) -> Result<Census, StoredCensusError> {
    let mut census = Census::default();
    let mut head: Option<Head> = None;
    for (index, line) in input.lines().enumerate() {
        let line = line?;
        let malformed = |reason: String| StoredCensusError::Malformed {
            line: index + 1,
            reason,
        };
        if head.is_none() {
            let read: Head = serde_json::from_str(&line).map_err(|e| malformed(e.to_string()))?;
            if read.format > FORMAT {
                return Err(StoredCensusError::Newer(read.format));
            }
            head = Some(read);
        } else {
            let line = serde_json::from_str(&line).map_err(|e| malformed(e.to_string()))?;
            add(&mut census, line)
                .ok_or_else(|| malformed("a backslash that starts no escape".to_owned()))?;
        }
    }
    match head {
        Some(head) if head.summary == census.summary() => Ok(census),
        _ => Err(StoredCensusError::Inconsistent),
    }
}

fn stored(statements: u64, hash: MultisetHash) -> Object {
    Object {
        statements,
        hash,
        owners: None,
    }
}

/// Adds what a line says; none if a name in it is not written as it should be.
fn add(census: &mut Census, line: Line) -> Option<()> {
    let name = |text: &str| Some(from_printable(text)?.into_boxed_slice());
    match line {
        Line::Table { table, rows, hash } => {
            census.tables.insert(name(&table)?, Table { rows, hash });
        }
        Line::Object {
            object,
            kind,
            schema,
            statements,
            hash,
        } => {
            let id = ObjectId {
                kind: name(&kind)?,
                schema: name(&schema)?,
                name: name(&object)?,
            };
            census.objects.insert(id, stored(statements, hash));
        }
        Line::LargeObject {
            large_object,
            statements,
            hash,
        } => {
            let large: &mut LargeObjects = &mut census.large_objects;
            large.apart.insert(large_object, stored(statements, hash));
            large.together.statements += statements;
            large.together.hash.merge(hash);
        }
        Line::LargeObjects {
            statements, hash, ..
        } => {
            census.large_objects = LargeObjects {
                too_many: true,
                together: stored(statements, hash),
                ..LargeObjects::default()
            };
        }
    }
    Some(())
}
