//! Cutting the text of a dump into segments, so that several sessions can load it: what has its place
//! in the order of things, and the definitions that may change places with each other.
//!
//! Nothing is added or moved, and nothing lost but what is meant for another psql than ours (the lines
//! that put it in restricted mode) and what clears away in vain: the segments, one after the other, are the text. All of it is judged
//! once more before it is handed out, since the file may have changed since it was read.

mod kind;

use std::io::Read;

use memchr::{memchr, memchr_iter};

use self::kind::{Kind, is_other, kind};
use super::allow::{Judge, Passing, Reason};
use super::census::{ByteOrderMark, ObjectId};
use super::parts::Text;
use super::sql::{EndMark, Lexer};
use super::sql::{LONGEST_HELD, clears_in_vain};
use super::stream::{Progress, StreamError};
use crate::pipeline::compression;

/// A part of a dump's text.
///
/// Definitions between which no [`Ordered`](Segment::Ordered) text stands are independent of each
/// other, and may be carried out side by side and in any order:
///
/// - Each makes an index, or a constraint that is one (`PRIMARY KEY`, `UNIQUE`, `EXCLUDE`), of one
///   table, and `pg_dump` writes a definition behind everything that it depends on. If one needed
///   another, what it needs that other for (a view, a function, a foreign key) would stand between
///   them, and is ordered.
/// - Each locks its own table: `SHARE` for an index, `ACCESS EXCLUSIVE` for a constraint. Two of one
///   table wait for each other and hold nothing meanwhile. `ON ONLY` and `ALTER TABLE ONLY` keep away
///   from partitions and children. Where a server looks at them all the same (whether all have a
///   primary key's column as NOT NULL, from 18 on), it goes from parent to child, and no definition
///   of a child looks at its parent: there is no circle. Partitions are tied to the parent's index
///   by `ALTER INDEX … ATTACH PARTITION`, which is ordered.
/// - What they carry out themselves, functions in the expression of an index, is declared to depend
///   on its arguments alone. Two exclusion constraints whose functions read each other's table all
///   the same wait in a circle, which the server ends with an error for one of them; that one has to
///   be made again when nothing else is.
///
/// `pg_restore --jobs` takes the same liberties with more kinds of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment<'a> {
    /// Has its place: behind all that comes before, and before all that follows. Cut anywhere.
    Ordered(&'a [u8]),
    /// Comments and blank lines between statements. Cut anywhere.
    Between(&'a [u8]),
    /// A statement that sets something for the session; the last of a name counts.
    Setting {
        /// What it sets.
        name: &'a [u8],
        /// The statement.
        text: &'a [u8],
    },
    /// A statement that makes an index.
    Definition(&'a [u8]),
    /// The comment on what the definition directly before it has made.
    Remark(&'a [u8]),
}

impl<'a> Segment<'a> {
    /// Its text.
    pub fn text(self) -> &'a [u8] {
        match self {
            Self::Ordered(text)
            | Self::Between(text)
            | Self::Setting { text, .. }
            | Self::Definition(text)
            | Self::Remark(text) => text,
        }
    }
}

/// Cuts a dump into segments while it passes, block by block.
///
/// A statement of a kind that is not known may change what the rest means for a session. From there on
/// all of it is ordered.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact about the text so far"
)]
pub(super) struct Segmenter {
    state: Cursor,
    judge: Judge,
    /// Whether statements of unknown kinds pass.
    accepts_unexpected: bool,
    mark: ByteOrderMark,
    /// The line that comes next, counted from 1, and the one in which the statement began.
    line: u64,
    began: u64,
    /// Whether no object of the dump has come yet.
    is_before_objects: bool,
    /// Whether nothing is distinguished any more.
    is_all_ordered: bool,
    /// The statement or line so far.
    held: Vec<u8>,
    /// Whether a backslash escapes in plain strings.
    backslash_escapes: bool,
    /// What is in a transaction belongs to one session.
    in_transaction: bool,
    /// With what a comment begins on what was defined last, while nothing has come since.
    comment: Option<Vec<u8>>,
}

#[derive(Debug)]
enum Cursor {
    /// Before a statement, a comment or a backslash line.
    Between,
    /// In a comment or a backslash line.
    Line,
    /// In a comment that is too long to be held.
    LongComment,
    Statement(Lexer),
    /// In a statement that is too long to be held.
    LongStatement(Lexer),
    /// Behind the semicolon of a COPY, before the end of its line.
    Head,
    Rows(EndMark),
}

impl Segmenter {
    /// `accepts_unexpected` lets statements of unknown kinds pass.
    pub(super) fn new(accepts_unexpected: bool) -> Self {
        Self {
            state: Cursor::Between,
            judge: Judge::default(),
            accepts_unexpected,
            mark: ByteOrderMark::default(),
            line: 1,
            began: 1,
            is_before_objects: true,
            is_all_ordered: false,
            held: Vec::new(),
            backslash_escapes: false,
            in_transaction: false,
            comment: None,
        }
    }
}

impl Segmenter {
    /// Takes the next bytes, and hands out what is known of them.
    ///
    /// # Errors
    /// When something is refused, which is not handed out then; and what `each` gives.
    pub(super) fn push(
        &mut self,
        block: &[u8],
        each: &mut impl FnMut(Segment<'_>) -> Result<(), StreamError>,
    ) -> Result<(), StreamError> {
        let (none, used) = self.mark.take(block);
        for mut part in [none, &block[used..]] {
            self.judge.bytes(part, self.line);
            self.go_on()?;
            while !part.is_empty() {
                let used = self.step(part, each)?;
                self.line += breaks(&part[..used]);
                part = &part[used..];
            }
        }
        Ok(())
    }

    /// Hands out what is left at the end of the text.
    ///
    /// # Errors
    /// As above.
    pub(super) fn finish(
        mut self,
        each: &mut impl FnMut(Segment<'_>) -> Result<(), StreamError>,
    ) -> Result<(), StreamError> {
        let beginning = self.mark.beginning();
        if !beginning.is_empty() {
            self.judge.refuse(self.line, beginning, Reason::Ambiguous);
        }
        match std::mem::replace(&mut self.state, Cursor::Between) {
            Cursor::Line => {
                let line = std::mem::take(&mut self.held);
                self.judge.line(&line, self.line);
                self.judge.end(self.line);
                self.go_on()?;
                if line.starts_with(b"--") {
                    each(Segment::Between(&line))?;
                }
            }
            // psql would carry out what it has of it, at the end of its input.
            Cursor::Statement(_) | Cursor::LongStatement(_) => {
                let text = std::mem::take(&mut self.held);
                self.judge.refuse(self.began, &text, Reason::Ambiguous);
            }
            Cursor::Between | Cursor::LongComment | Cursor::Head | Cursor::Rows(_) => {}
        }
        self.judge.end(self.line);
        self.go_on()
    }

    /// Whether nothing was refused so far.
    fn go_on(&self) -> Result<(), StreamError> {
        match self.judge.findings().refusal(self.accepts_unexpected) {
            Some(finding) => Err(StreamError::Refused(Box::new(finding.clone()))),
            None => Ok(()),
        }
    }

    /// Takes some bytes from the front of a block that is not empty; gives how many.
    #[expect(
        clippy::too_many_lines,
        reason = "one arm for each place that a block can begin in"
    )]
    fn step(
        &mut self,
        block: &[u8],
        each: &mut impl FnMut(Segment<'_>) -> Result<(), StreamError>,
    ) -> Result<usize, StreamError> {
        match &mut self.state {
            Cursor::Between => match block[0] {
                byte if byte.is_ascii_whitespace() => {
                    let end = block.iter().position(|byte| !byte.is_ascii_whitespace());
                    let blank = &block[..end.unwrap_or(block.len())];
                    self.judge.between(blank, self.line);
                    self.go_on()?;
                    each(Segment::Between(blank))?;
                    Ok(blank.len())
                }
                b'-' | b'\\' => {
                    self.state = Cursor::Line;
                    Ok(0)
                }
                _ => {
                    self.began = self.line;
                    self.state = Cursor::Statement(Lexer::new(self.backslash_escapes));
                    Ok(0)
                }
            },
            Cursor::Line | Cursor::LongComment => self.step_line(block, each),
            Cursor::Statement(lexer) => {
                let end = lexer.push(block);
                let used = end.unwrap_or(block.len());
                self.held.extend_from_slice(&block[..used]);
                if end.is_some() {
                    self.complete_statement(self.line + breaks(&block[..used]), each)?;
                } else if self.held.len() > LONGEST_HELD {
                    self.let_pass(each)?;
                }
                Ok(used)
            }
            Cursor::LongStatement(lexer) => {
                let end = lexer.push(block);
                self.judge.more(b";", lexer, self.began);
                if end.is_some() {
                    self.state = Cursor::Between;
                }
                self.go_on()?;
                let used = end.unwrap_or(block.len());
                each(Segment::Ordered(&block[..used]))?;
                Ok(used)
            }
            Cursor::Head => {
                self.judge.behind_copy(block[0], self.line);
                self.go_on()?;
                self.state = Cursor::Rows(EndMark::default());
                each(Segment::Ordered(&block[..1]))?;
                Ok(1)
            }
            Cursor::Rows(mark) => {
                let end = mark.push(block);
                let used = end.unwrap_or(block.len());
                self.judge.rows(&block[..used], self.line);
                self.go_on()?;
                if end.is_some() {
                    self.state = Cursor::Between;
                }
                each(Segment::Ordered(&block[..used]))?;
                Ok(used)
            }
        }
    }

    /// Takes some bytes of a comment or a backslash line.
    fn step_line(
        &mut self,
        block: &[u8],
        each: &mut impl FnMut(Segment<'_>) -> Result<(), StreamError>,
    ) -> Result<usize, StreamError> {
        let end = memchr(b'\n', block).map(|end| end + 1);
        let part = &block[..end.unwrap_or(block.len())];
        self.judge.between(part, self.line);
        self.go_on()?;
        if matches!(self.state, Cursor::LongComment) {
            if end.is_some() {
                self.state = Cursor::Between;
            }
            each(Segment::Between(part))?;
            return Ok(part.len());
        }
        self.held.extend_from_slice(part);
        if end.is_none() && self.held.len() <= LONGEST_HELD {
            return Ok(part.len());
        }
        let line = std::mem::take(&mut self.held);
        self.judge.line(&line, self.line);
        self.go_on()?;
        self.is_before_objects &= ObjectId::from_comment(line.trim_ascii_end()).is_none();
        self.state = match end {
            Some(_) => Cursor::Between,
            None => Cursor::LongComment,
        };
        // The lines of restricted mode are not passed on, but the break, which is counted.
        let text = if line.starts_with(b"--") {
            &line
        } else {
            b"\n".as_slice()
        };
        each(Segment::Between(text))?;
        Ok(part.len())
    }

    fn complete_statement(
        &mut self,
        last_line: u64,
        each: &mut impl FnMut(Segment<'_>) -> Result<(), StreamError>,
    ) -> Result<(), StreamError> {
        let Cursor::Statement(lexer) = std::mem::replace(&mut self.state, Cursor::Between) else {
            return Ok(());
        };
        let text = std::mem::take(&mut self.held);
        self.judge.statement(Passing {
            text: &text,
            lexer: &lexer,
            is_complete: true,
            line: self.began,
            last_line,
        });
        self.go_on()?;
        if self.is_before_objects && clears_in_vain(&text) {
            // It is not passed on, but its breaks, which are counted.
            let blank = vec![b'\n'; memchr_iter(b'\n', &text).count()];
            return each(Segment::Between(&blank));
        }
        let remarks_on = self.comment.take();
        let segment = match kind(&text, lexer.has_list()) {
            Kind::Rows => {
                self.state = Cursor::Head;
                Segment::Ordered(&text)
            }
            Kind::Setting { name, value } if !self.in_transaction => {
                if name == b"standard_conforming_strings" {
                    self.backslash_escapes = value == b"off";
                }
                if self.is_all_ordered {
                    Segment::Ordered(&text)
                } else {
                    Segment::Setting { name, text: &text }
                }
            }
            _ if self.is_all_ordered => Segment::Ordered(&text),
            Kind::Definition { comment } if !self.in_transaction => {
                self.comment = Some(comment);
                Segment::Definition(&text)
            }
            Kind::Begin => {
                self.in_transaction = true;
                Segment::Ordered(&text)
            }
            Kind::Commit => {
                self.in_transaction = false;
                Segment::Ordered(&text)
            }
            // What is set in a transaction may not outlive it.
            Kind::Foreign | Kind::Setting { .. } => {
                self.is_all_ordered = true;
                Segment::Ordered(&text)
            }
            Kind::Other if remarks_on.is_some_and(|comment| text.starts_with(&comment)) => {
                Segment::Remark(&text)
            }
            Kind::Other | Kind::Definition { .. } => Segment::Ordered(&text),
        };
        each(segment)?;
        self.held = text;
        self.held.clear();
        self.held.shrink_to(64 * 1024);
        Ok(())
    }

    /// Goes on with a statement that is too long to be held. The head of a COPY never is, unless it
    /// is none of `pg_dump`'s.
    fn let_pass(
        &mut self,
        each: &mut impl FnMut(Segment<'_>) -> Result<(), StreamError>,
    ) -> Result<(), StreamError> {
        self.comment = None;
        let text = std::mem::take(&mut self.held);
        if let Cursor::Statement(lexer) = std::mem::replace(&mut self.state, Cursor::Between) {
            self.judge.statement(Passing {
                text: &text,
                lexer: &lexer,
                is_complete: false,
                line: self.began,
                last_line: self.line,
            });
            self.go_on()?;
            self.is_all_ordered |= !is_other(&text);
            self.state = Cursor::LongStatement(lexer);
        }
        each(Segment::Ordered(&text))
    }
}

fn breaks(text: &[u8]) -> u64 {
    memchr_iter(b'\n', text).count() as u64
}

/// Cuts the text of a dump into segments, and hands them out one by one. A block counts as passed
/// when it has been read.
///
/// # Errors
/// When the text cannot be read, or something in it is refused; and what `each` gives. What is refused,
/// and all that follows it, is not handed out.
pub fn take_segments<R: Read + Unpin>(
    mut text: Text<R>,
    accepts_unexpected: bool,
    progress: &Progress,
    mut each: impl FnMut(Segment<'_>) -> Result<(), StreamError>,
) -> Result<(), StreamError> {
    let mut segmenter = Segmenter::new(accepts_unexpected);
    let mut block = Vec::with_capacity(compression::BLOCK);
    loop {
        text.next(&mut block)?;
        if block.is_empty() {
            return segmenter.finish(&mut each);
        }
        progress.found(block.len())?;
        segmenter.push(&block, &mut each)?;
    }
}

#[cfg(test)]
mod tests;
