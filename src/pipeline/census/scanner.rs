//! Reading a dump as it passes: statements, rows, large objects, and the line that completes it.

use memchr::{memchr, memchr_iter};
use xxhash_rust::xxh3::{Xxh3, xxh3_128_with_seed};

use super::dependencies::{Dependencies, owner_given_by};
use super::rows::{Progress, Rows};
use super::statement::Statement;
use super::{Census, Flaw, ObjectId};
use crate::pipeline::allow::{Findings, Judge, Passing};
use crate::pipeline::sql::Lexer;
use crate::pipeline::sql::Meaning;

/// A longer comment line is cut; an object's name and schema, 63 bytes each, fit many times.
const LONGEST_COMMENT: usize = 4096;

/// Takes a census of a dump in plain format while it passes, block by block.
///
/// Memory is bounded by the number of tables and objects, never by their content.
pub struct Scanner<T = NoTap> {
    state: ScannerState,
    statement: Statement,
    session: Session,
    /// What the statements that come next belong to.
    object: ObjectId,
    large_object: Option<OpenLargeObject>,
    /// Whether the line that `pg_dump` writes last has been seen.
    completed: bool,
    /// Says what of it a restore may send.
    judge: Judge,
    mark: ByteOrderMark,
    /// The line that comes next, counted from 1, and the one in which the statement began.
    line: u64,
    began: u64,
    /// Whether the statement has been judged, which is too long to be held.
    is_judged: bool,
    dependencies: Dependencies,
    census: Census,
    tap: T,
}

/// Sees what passes a [`Scanner`], piece by piece, for whoever wants a part of the dump.
pub trait Tap {
    /// The next bytes of a statement, and the object whose comment stands before it; `ends` with
    /// its semicolon. The head of a COPY block is a statement too.
    fn statement(&mut self, object: &ObjectId, bytes: &[u8], ends: bool);

    /// Rows follow, of a table as the dump writes it, with these columns (without quotes).
    fn rows_begin(&mut self, table: &[u8], columns: &[Vec<u8>]);

    /// The next bytes of the rows; `ends` with the line that ends the block.
    fn rows(&mut self, bytes: &[u8], ends: bool);

    /// A line that is meant for psql itself.
    fn command(&mut self, line: &[u8]);
}

/// Nobody wants anything but the census.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTap;

impl Tap for NoTap {
    fn statement(&mut self, _: &ObjectId, _: &[u8], _: bool) {}
    fn rows_begin(&mut self, _: &[u8], _: &[Vec<u8>]) {}
    fn rows(&mut self, _: &[u8], _: bool) {}
    fn command(&mut self, _: &[u8]) {}
}

/// The bytes that some editors put before a text in UTF-8, and that psql passes over.
#[derive(Debug, Default)]
pub(in crate::pipeline) struct ByteOrderMark {
    seen: usize,
    is_past: bool,
}

impl ByteOrderMark {
    const BYTES: &'static [u8] = b"\xef\xbb\xbf";

    /// How many of the next bytes belong to it; and what belonged to it so far, where these show that it
    /// was none, and a part of the text.
    pub(in crate::pipeline) fn take(&mut self, block: &[u8]) -> (&'static [u8], usize) {
        if self.is_past {
            return (&[], 0);
        }
        let before = self.seen;
        let pairs = Self::BYTES[before..].iter().zip(block);
        let length = pairs.take_while(|(one, other)| one == other).count();
        self.seen += length;
        self.is_past = self.seen == Self::BYTES.len() || length < block.len();
        if self.seen < Self::BYTES.len() && self.is_past {
            return (&Self::BYTES[..before], 0);
        }
        (&[], length)
    }

    /// Its first bytes, if the text has had no others.
    pub(in crate::pipeline) fn beginning(&self) -> &'static [u8] {
        if self.is_past {
            &[]
        } else {
            &Self::BYTES[..self.seen]
        }
    }
}

enum ScannerState {
    /// Before a statement, a comment or a backslash line.
    Between,
    /// In a comment, or after a backslash, up to the end of the line.
    Line(Vec<u8>),
    Statement(Lexer),
    /// Behind the semicolon of a COPY, up to the end of its line.
    CopyHead {
        table: Vec<u8>,
        rows: Rows,
    },
    CopyRows {
        table: Vec<u8>,
        rows: Rows,
    },
}

/// The settings that the dump makes for its own loading and that bear on how it reads.
struct Session {
    backslash_escapes: bool,
    tablespace: Vec<u8>,
    access_method: Vec<u8>,
    /// Who grants, where that is not the owner.
    grantor: Option<Vec<u8>>,
}

struct OpenLargeObject {
    oid: u64,
    content: Box<Xxh3>,
}

/// Keeps the content of a large object apart from statements about it.
const CONTENT_SEED: u64 = 0x6c6f;

impl Default for Scanner {
    fn default() -> Self {
        Self::with(NoTap)
    }
}

impl Scanner {
    /// A census that has seen nothing yet.
    pub fn new() -> Self {
        Self::default()
    }
}

impl<T: Tap> Scanner<T> {
    /// A census that has seen nothing yet, and somebody who sees what it sees.
    pub fn with(tap: T) -> Self {
        Self {
            state: ScannerState::Between,
            statement: Statement::default(),
            session: Session {
                backslash_escapes: false,
                tablespace: b"''".to_vec(),
                access_method: b"heap".to_vec(),
                grantor: None,
            },
            object: ObjectId::default(),
            large_object: None,
            completed: false,
            judge: Judge::default(),
            mark: ByteOrderMark::default(),
            line: 1,
            began: 1,
            is_judged: false,
            dependencies: Dependencies::default(),
            census: Census::default(),
            tap,
        }
    }

    /// Who sees what it sees.
    pub fn tap(&mut self) -> &mut T {
        &mut self.tap
    }

    /// Takes the next bytes of the dump, in blocks of any size.
    ///
    /// # Errors
    /// When the text cannot be a dump: rows that do not fit their table's columns, or statements
    /// behind the line that completes it.
    pub fn push(&mut self, block: &[u8]) -> Result<(), Flaw> {
        let (none, used) = self.mark.take(block);
        for mut part in [none, &block[used..]] {
            self.judge.bytes(part, self.line);
            while !part.is_empty() {
                let used = self.step(part)?;
                self.line += memchr_iter(b'\n', &part[..used]).count() as u64;
                part = &part[used..];
            }
        }
        Ok(())
    }

    /// What of it is not simply sent by a restore, as far as it has been seen.
    pub fn findings(&self) -> &Findings {
        self.judge.findings()
    }

    /// The same; to be asked once, when all of it has been seen.
    pub fn take_findings(&mut self) -> Findings {
        if let ScannerState::Line(line) = &self.state {
            self.judge.line(line, self.line);
        }
        self.judge.end(self.line);
        self.judge.take_findings()
    }

    /// What it takes for granted, as far as it has been seen; to be asked once.
    pub fn take_dependencies(&mut self) -> Dependencies {
        std::mem::take(&mut self.dependencies)
    }

    /// The census of the whole dump.
    ///
    /// # Errors
    /// When the dump breaks off: within a statement or a table's rows, or before the line that
    /// `pg_dump` writes last.
    pub fn finish(self) -> Result<Census, Flaw> {
        self.finish_with_tap().map(|(census, _)| census)
    }

    /// The same, with who saw what it saw.
    ///
    /// # Errors
    /// As there.
    pub fn finish_with_tap(self) -> Result<(Census, T), Flaw> {
        match self.state {
            ScannerState::CopyHead { table, .. } | ScannerState::CopyRows { table, .. } => {
                Err(Flaw::BrokenOffInRows(super::printable(&table)))
            }
            ScannerState::Statement(_) => Err(Flaw::BrokenOff(self.object.to_string())),
            ScannerState::Between | ScannerState::Line(_) if !self.completed => {
                Err(Flaw::NotCompleted)
            }
            ScannerState::Between | ScannerState::Line(_) => Ok((self.census, self.tap)),
        }
    }

    /// Takes some bytes from the front of a block that is not empty; gives how many.
    #[expect(
        clippy::too_many_lines,
        reason = "one arm for each place that a block can begin in"
    )]
    fn step(&mut self, block: &[u8]) -> Result<usize, Flaw> {
        match &mut self.state {
            ScannerState::Between => match block[0] {
                byte if byte.is_ascii_whitespace() => {
                    self.judge.between(&[byte], self.line);
                    Ok(1)
                }
                byte @ (b'-' | b'\\') => {
                    self.state = ScannerState::Line(vec![byte]);
                    Ok(1)
                }
                _ if self.completed => Err(Flaw::AfterCompletion),
                _ => {
                    self.statement.clear();
                    self.began = self.line;
                    self.state =
                        ScannerState::Statement(Lexer::new(self.session.backslash_escapes));
                    Ok(0)
                }
            },
            ScannerState::Line(line) => {
                let end = memchr(b'\n', block);
                let part = &block[..end.unwrap_or(block.len())];
                self.judge.between(part, self.line);
                let room = LONGEST_COMMENT.saturating_sub(line.len());
                line.extend_from_slice(&part[..part.len().min(room)]);
                let Some(end) = end else {
                    return Ok(block.len());
                };
                let line = std::mem::take(line);
                self.state = ScannerState::Between;
                self.line(&line)?;
                Ok(end + 1)
            }
            ScannerState::Statement(lexer) => {
                let end = lexer.push(block);
                let used = end.unwrap_or(block.len());
                self.statement.push(&block[..used]);
                self.tap
                    .statement(&self.object, &block[..used], end.is_some());
                let is_complete = self.statement.is_held();
                if self.is_judged || (end.is_none() && is_complete) {
                    self.judge
                        .more(self.statement.beginning(), lexer, self.began);
                } else {
                    let breaks = memchr_iter(b'\n', &block[..used]).count() as u64;
                    self.judge.statement(Passing {
                        text: self.statement.beginning(),
                        lexer,
                        is_complete,
                        line: self.began,
                        last_line: self.line + breaks,
                    });
                    self.is_judged = true;
                }
                if end.is_some() {
                    self.is_judged = false;
                    self.state = ScannerState::Between;
                    self.complete_statement()?;
                }
                Ok(used)
            }
            ScannerState::CopyHead { table, rows } => {
                self.judge.behind_copy(block[0], self.line);
                let Some(end) = memchr(b'\n', block) else {
                    return Ok(block.len());
                };
                let table = std::mem::take(table);
                let rows = std::mem::replace(rows, Rows::new(&[]));
                self.state = ScannerState::CopyRows { table, rows };
                Ok(end + 1)
            }
            ScannerState::CopyRows { table, rows } => match rows.push(block) {
                Progress::More => {
                    self.judge.rows(block, self.line);
                    self.tap.rows(block, false);
                    Ok(block.len())
                }
                Progress::Malformed => {
                    self.judge.rows(block, self.line);
                    Err(Flaw::MalformedRow {
                        table: super::printable(table),
                        row: rows.count() + 1,
                    })
                }
                Progress::Done(used) => {
                    self.judge.rows(&block[..used], self.line);
                    self.tap.rows(&block[..used], true);
                    self.census.add_rows(table, rows.count(), rows.hash());
                    self.state = ScannerState::Between;
                    Ok(used)
                }
            },
        }
    }

    /// Reads a comment or backslash line between statements.
    fn line(&mut self, line: &[u8]) -> Result<(), Flaw> {
        self.judge.line(line, self.line);
        if line.starts_with(b"\\") {
            self.tap.command(line);
            // `pg_dump` puts its own dump in restricted mode (CVE-2025-8714), and the cluster's
            // dump names the database to connect to. Nothing else belongs here; what does is
            // counted, so that it cannot come or go unseen.
            let of_the_dump = [b"\\restrict ".as_slice(), b"\\unrestrict ", b"\\connect "];
            if !of_the_dump.iter().any(|word| line.starts_with(word)) {
                if self.completed {
                    return Err(Flaw::AfterCompletion);
                }
                self.census
                    .add_object(&self.object, xxh3_128_with_seed(line, 0), None);
            }
            return Ok(());
        }
        if line.starts_with(b"-- PostgreSQL database dump complete")
            || line.starts_with(b"-- PostgreSQL database cluster dump complete")
        {
            self.completed = true;
        } else if let Some(object) = ObjectId::from_comment(line) {
            self.object = object;
        }
        Ok(())
    }

    fn complete_statement(&mut self) -> Result<(), Flaw> {
        let Some(meaning) = self.statement.meaning() else {
            return Err(Flaw::HeadTooLong(self.object.to_string()));
        };
        let beginning = self.statement.beginning();
        match meaning {
            Meaning::Copy { table, columns } => {
                self.tap.rows_begin(table, &columns);
                let rows = Rows::new(&columns);
                let table = table.to_vec();
                self.state = ScannerState::CopyHead { table, rows };
            }
            Meaning::Setting { name, value } => {
                self.session.set(name, value);
                match name {
                    b"default_tablespace" => self.dependencies.of_tablespace(value),
                    b"client_encoding" => self.dependencies.of_encoding(value),
                    _ => {}
                }
            }
            Meaning::OpenLargeObject(oid) => {
                self.large_object = Some(OpenLargeObject {
                    oid,
                    content: Box::new(Xxh3::with_seed(CONTENT_SEED)),
                });
            }
            Meaning::WriteLargeObject(digits) => {
                if let Some(open) = &mut self.large_object {
                    open.content.update(digits);
                }
            }
            Meaning::CloseLargeObject => {
                if let Some(open) = self.large_object.take() {
                    let content = open.content.digest128();
                    self.census.add_large_object(open.oid, content);
                }
            }
            Meaning::AboutLargeObject(oid) => {
                self.dependencies.of_statement(beginning);
                let hash = self.hash_statement();
                self.census.add_large_object(oid, hash);
            }
            Meaning::Grantor(role) => {
                if let Some(role) = role {
                    self.dependencies.of_grantor(role);
                }
                self.session.grantor = role.map(<[u8]>::to_vec);
            }
            // They are no content, and differ after every ANALYZE.
            Meaning::PlannerStatistics => {}
            Meaning::Object => {
                self.dependencies.of_statement(beginning);
                let owner = owner_given_by(beginning);
                let hash = self.hash_statement();
                self.census.add_object(&self.object, hash, owner.as_deref());
            }
        }
        Ok(())
    }

    fn hash_statement(&self) -> u128 {
        let Session {
            tablespace,
            access_method,
            grantor,
            ..
        } = &self.session;
        let hash = self.statement.hash(tablespace, access_method);
        match grantor {
            None => hash,
            Some(role) => super::keyed(role, hash),
        }
    }
}

impl Session {
    fn set(&mut self, name: &[u8], value: &[u8]) {
        match name {
            b"standard_conforming_strings" => self.backslash_escapes = value == b"off",
            b"default_tablespace" => self.tablespace = value.to_vec(),
            b"default_table_access_method" => self.access_method = value.to_vec(),
            _ => {}
        }
    }
}
