//! Reading a dump as it passes: statements, rows, large objects, and the line that completes it.

use memchr::{memchr, memchr_iter};
use xxhash_rust::xxh3::{Xxh3, xxh3_128_with_seed};

use super::byte_order_mark::ByteOrderMark;
use super::dependencies::{Dependencies, owner_given_by};
use super::lenient_rows::{LenientRows, Passed};
use super::rows::{Progress, Rows};
use super::session::Session;
use super::statement::Statement;
use super::tap::{NoTap, Tap};
use super::{Census, Flaw, ObjectId};
use crate::pipeline::allow::{Findings, Judge, Passing};
use crate::pipeline::sql::{Lexer, Meaning, clears_away, inserted_into};

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
    /// Whether what does not fit is passed over.
    is_lenient: bool,
    /// The first table whose rows have no end; only for a lenient scanner.
    lost_end: Option<String>,
    dependencies: Dependencies,
    census: Census,
    tap: T,
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
    /// The same for a lenient scanner.
    LenientRows {
        table: Vec<u8>,
        rows: LenientRows,
    },
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
            session: Session::default(),
            object: ObjectId::default(),
            large_object: None,
            completed: false,
            judge: Judge::default(),
            mark: ByteOrderMark::default(),
            line: 1,
            began: 1,
            is_judged: false,
            is_lenient: false,
            lost_end: None,
            dependencies: Dependencies::default(),
            census: Census::default(),
            tap,
        }
    }

    /// The same for a dump that may be damaged or changed: rows that do not fit their table and statements
    /// behind the end are passed on like others, and the tap hears of each statement that is not to be sent.
    pub fn lenient(tap: T) -> Self {
        let mut scanner = Self::with(tap);
        scanner.is_lenient = true;
        scanner.judge.keep_latest();
        scanner
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
        self.end()?;
        Ok((self.census, self.tap))
    }

    /// The census of what was there, with who saw it; and what is wrong with its end, if anything is.
    pub fn finish_leniently(mut self) -> (Census, T, Option<Flaw>) {
        match &self.state {
            ScannerState::LenientRows { table, rows } => {
                if let Some(rows) = rows.counted() {
                    self.census.add_rows(table, rows.count(), rows.hash());
                }
            }
            ScannerState::CopyHead { table, rows } => {
                self.census.add_rows(table, rows.count(), rows.hash());
            }
            _ => {}
        }
        let flaw = self.end().err();
        (self.census, self.tap, flaw)
    }

    /// Whether the dump is at its end.
    fn end(&self) -> Result<(), Flaw> {
        if let Some(table) = &self.lost_end {
            return Err(Flaw::BrokenOffInRows(table.clone()));
        }
        match &self.state {
            ScannerState::CopyHead { table, .. }
            | ScannerState::CopyRows { table, .. }
            | ScannerState::LenientRows { table, .. } => {
                Err(Flaw::BrokenOffInRows(super::printable(table)))
            }
            ScannerState::Statement(_) => Err(Flaw::BrokenOff(self.object.to_string())),
            ScannerState::Between | ScannerState::Line(_) if !self.completed => {
                Err(Flaw::NotCompleted)
            }
            ScannerState::Between | ScannerState::Line(_) => Ok(()),
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
                _ if self.completed && !self.is_lenient => Err(Flaw::AfterCompletion),
                _ => {
                    self.judge.take_latest();
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
                if let Some(finding) = self.judge.take_latest() {
                    self.tap.refused(finding);
                }
                self.tap
                    .statement(&self.object, &block[..used], end.is_some());
                if end.is_some() {
                    self.is_judged = false;
                    let values = lexer.values();
                    self.state = ScannerState::Between;
                    match values.zip(inserted_into(self.statement.beginning())) {
                        // DEFAULT VALUES are those of one.
                        Some((values, table)) => {
                            self.census.add_inserted(table, values.rows.max(1));
                        }
                        None => self.complete_statement()?,
                    }
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
                self.state = if self.is_lenient {
                    let rows = LenientRows::new(rows);
                    ScannerState::LenientRows { table, rows }
                } else {
                    ScannerState::CopyRows { table, rows }
                };
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
            ScannerState::LenientRows { table, rows } => {
                let (passed, counted) = rows.push(block);
                if let Some(done) = counted {
                    self.census.add_rows(table, done.count(), done.hash());
                }
                let (part, used) = match &passed {
                    Passed::More => (block, block.len()),
                    Passed::Ended(used) => (&block[..*used], *used),
                    Passed::Lost { rows, used, .. } => (&block[..*rows], *used),
                };
                self.judge.rows(part, self.line);
                self.tap.rows(part, matches!(passed, Passed::Ended(_)));
                match passed {
                    Passed::More => {}
                    Passed::Ended(_) => self.state = ScannerState::Between,
                    Passed::Lost { comment, .. } => {
                        self.tap.rows(b"\\.\n", true);
                        self.lost_end.get_or_insert(super::printable(table));
                        self.state = ScannerState::Line(comment.to_vec());
                    }
                }
                Ok(used)
            }
        }
    }

    /// Reads a comment or backslash line between statements.
    fn line(&mut self, line: &[u8]) -> Result<(), Flaw> {
        self.judge.take_latest();
        self.judge.line(line, self.line);
        if line.starts_with(b"\\")
            && let Some(finding) = self.judge.take_latest()
        {
            self.tap.refused(finding);
        }
        if line.starts_with(b"\\") {
            self.tap.command(line);
            // `pg_dump` puts its own dump in restricted mode (CVE-2025-8714), and the cluster's
            // dump names the database to connect to. Nothing else belongs here; what does is
            // counted, so that it cannot come or go unseen.
            let of_the_dump = [b"\\restrict ".as_slice(), b"\\unrestrict ", b"\\connect "];
            if !of_the_dump.iter().any(|word| line.starts_with(word)) {
                if self.completed && !self.is_lenient {
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
        } else {
            self.dependencies.of_comment(line);
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
            Meaning::Object if self.object.is_none() && clears_away(beginning) => {}
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
