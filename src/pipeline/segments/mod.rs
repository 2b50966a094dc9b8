//! Cutting the text of a dump into segments, so that several sessions can load it: what has its place
//! in the order of things, and the definitions that may change places with each other.
//!
//! Nothing is added, lost or moved: the segments, one after the other, are the text.

mod end_mark;
mod kind;

use std::io::Read;

use memchr::memchr;

use self::end_mark::EndMark;
use self::kind::{Kind, is_other, kind};
use super::census::lexer::Lexer;
use super::census::statement::LONGEST_HELD;
use super::parts::Text;
use super::stream::{Progress, StreamError};
use crate::pipeline::compression;

/// The line that opens restricted mode, in which psql takes no other command of its own.
const RESTRICT: &[u8] = b"\\restrict ";
const UNRESTRICT: &[u8] = b"\\unrestrict ";

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
    /// The line by which psql takes no commands of its own from here on. It has its place too.
    Restriction(&'a [u8]),
    /// The line that ends that. It has its place too.
    Release(&'a [u8]),
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
            | Self::Restriction(text)
            | Self::Release(text)
            | Self::Between(text)
            | Self::Setting { text, .. }
            | Self::Definition(text)
            | Self::Remark(text) => text,
        }
    }
}

/// Cuts a dump into segments while it passes, block by block.
///
/// What `pg_dump` does not write (a command of psql's, a kind of statement) may change what the rest
/// means for a session. From there on all of it is ordered.
#[derive(Debug)]
pub(super) struct Segmenter {
    place: Place,
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
enum Place {
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
    /// Where nothing is told apart any more.
    Foreign,
}

impl Default for Segmenter {
    fn default() -> Self {
        Self {
            place: Place::Between,
            held: Vec::new(),
            backslash_escapes: false,
            in_transaction: false,
            comment: None,
        }
    }
}

impl Segmenter {
    /// Takes the next bytes, and hands out what can be told of them.
    pub(super) fn push<E>(
        &mut self,
        mut block: &[u8],
        each: &mut impl FnMut(Segment<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        while !block.is_empty() {
            let used = self.step(block, each)?;
            block = &block[used..];
        }
        Ok(())
    }

    /// Hands out what is left at the end of the text.
    pub(super) fn finish<E>(
        mut self,
        each: &mut impl FnMut(Segment<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.release(each)
    }

    /// Takes some bytes from the front of a block that is not empty; gives how many.
    fn step<E>(
        &mut self,
        block: &[u8],
        each: &mut impl FnMut(Segment<'_>) -> Result<(), E>,
    ) -> Result<usize, E> {
        match &mut self.place {
            Place::Between => match block[0] {
                byte if byte.is_ascii_whitespace() => {
                    let end = block.iter().position(|byte| !byte.is_ascii_whitespace());
                    let end = end.unwrap_or(block.len());
                    each(Segment::Between(&block[..end]))?;
                    Ok(end)
                }
                b'-' | b'\\' => {
                    self.place = Place::Line;
                    Ok(0)
                }
                _ => {
                    self.place = Place::Statement(Lexer::new(self.backslash_escapes));
                    Ok(0)
                }
            },
            Place::Line => {
                let end = memchr(b'\n', block).map(|end| end + 1);
                let used = end.unwrap_or(block.len());
                self.held.extend_from_slice(&block[..used]);
                if end.is_some() {
                    self.place = Place::Between;
                    self.complete_line(each)?;
                } else if self.held.len() > LONGEST_HELD {
                    self.place = if self.held.starts_with(b"--") {
                        Place::LongComment
                    } else {
                        Place::Foreign
                    };
                    self.release(each)?;
                }
                Ok(used)
            }
            Place::LongComment => {
                let end = memchr(b'\n', block).map(|end| end + 1);
                let used = end.unwrap_or(block.len());
                if end.is_some() {
                    self.place = Place::Between;
                }
                each(Segment::Between(&block[..used]))?;
                Ok(used)
            }
            Place::Statement(lexer) => {
                let end = lexer.push(block);
                let used = end.unwrap_or(block.len());
                self.held.extend_from_slice(&block[..used]);
                if end.is_some() {
                    self.complete_statement(each)?;
                } else if self.held.len() > LONGEST_HELD {
                    self.let_pass(each)?;
                }
                Ok(used)
            }
            Place::LongStatement(lexer) => {
                let end = lexer.push(block);
                if end.is_some() {
                    self.place = if lexer.has_command() {
                        Place::Foreign
                    } else {
                        Place::Between
                    };
                }
                let used = end.unwrap_or(block.len());
                each(Segment::Ordered(&block[..used]))?;
                Ok(used)
            }
            Place::Head => {
                // psql would go on with what else stands there behind the rows.
                self.place = match block[0] {
                    b'\n' => Place::Rows(EndMark::default()),
                    _ => Place::Foreign,
                };
                each(Segment::Ordered(&block[..1]))?;
                Ok(1)
            }
            Place::Rows(mark) => {
                let end = mark.push(block);
                if end.is_some() {
                    self.place = Place::Between;
                }
                let used = end.unwrap_or(block.len());
                each(Segment::Ordered(&block[..used]))?;
                Ok(used)
            }
            Place::Foreign => {
                each(Segment::Ordered(block))?;
                Ok(block.len())
            }
        }
    }

    /// Hands out what is held, without looking further at it.
    fn release<E>(&mut self, each: &mut impl FnMut(Segment<'_>) -> Result<(), E>) -> Result<(), E> {
        let text = std::mem::take(&mut self.held);
        if text.is_empty() {
            return Ok(());
        }
        each(match self.place {
            Place::Line | Place::LongComment if text.starts_with(b"--") => Segment::Between(&text),
            _ => Segment::Ordered(&text),
        })
    }

    fn complete_line<E>(
        &mut self,
        each: &mut impl FnMut(Segment<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let line = self.held.as_slice();
        let segment = if line.starts_with(b"--") {
            Segment::Between(line)
        } else if line.starts_with(RESTRICT) {
            Segment::Restriction(line)
        } else if line.starts_with(UNRESTRICT) {
            Segment::Release(line)
        } else {
            self.place = Place::Foreign;
            Segment::Ordered(line)
        };
        each(segment)?;
        self.held.clear();
        Ok(())
    }

    fn complete_statement<E>(
        &mut self,
        each: &mut impl FnMut(Segment<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Place::Statement(lexer) = std::mem::replace(&mut self.place, Place::Between) else {
            return Ok(());
        };
        let text = std::mem::take(&mut self.held);
        let remarks_on = self.comment.take();
        let kind = if lexer.has_command() {
            Kind::Foreign
        } else {
            kind(&text, lexer.has_list())
        };
        let segment = match kind {
            Kind::Rows => {
                self.place = Place::Head;
                Segment::Ordered(&text)
            }
            Kind::Setting { name, value } if !self.in_transaction => {
                if name == b"standard_conforming_strings" {
                    self.backslash_escapes = value == b"off";
                }
                Segment::Setting { name, text: &text }
            }
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
                self.place = Place::Foreign;
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
    /// is none of `pg_dump`'s, and then nobody knows where its rows end.
    fn let_pass<E>(
        &mut self,
        each: &mut impl FnMut(Segment<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.comment = None;
        let is_ordinary = is_other(&self.held);
        self.place = match std::mem::replace(&mut self.place, Place::Foreign) {
            Place::Statement(lexer) if is_ordinary => Place::LongStatement(lexer),
            _ => Place::Foreign,
        };
        self.release(each)
    }
}

/// Cuts the text of a dump into segments, and hands them out one by one. A block counts as passed
/// when it has been read.
///
/// # Errors
/// When the text cannot be read; and what `each` gives.
pub fn take_segments<R: Read + Unpin>(
    mut text: Text<R>,
    progress: &Progress,
    mut each: impl FnMut(Segment<'_>) -> Result<(), StreamError>,
) -> Result<(), StreamError> {
    let mut segmenter = Segmenter::default();
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
