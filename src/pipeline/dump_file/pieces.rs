//! The text of a dump, piece by piece: statements, lines between them, and rows.

use memchr::memchr;

use crate::pipeline::sql::{EndMark, LONGEST_HELD, Lexer, Meaning, meaning};

/// A piece of a dump's text. The pieces, one after the other, are the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// White space between the others.
    Blank(&'a [u8]),
    /// A comment, or a command of psql's, with its line break if it has one.
    Line(&'a [u8]),
    /// A statement with its semicolon.
    Statement(&'a [u8]),
    /// A part of something that is too long to be held, or that the text breaks off in.
    Part(&'a [u8]),
    /// Rows, cut anywhere, from the line break behind the head of a COPY to the line that ends them.
    Rows(&'a [u8]),
}

/// Takes a dump's text apart while it passes, block by block.
#[derive(Debug)]
pub(super) struct Pieces {
    state: Cursor,
    held: Vec<u8>,
    backslash_escapes: bool,
}

#[derive(Debug)]
enum Cursor {
    Between,
    Line,
    LongLine,
    Statement(Box<Lexer>),
    LongStatement(Box<Lexer>),
    /// Behind the semicolon of a COPY, up to the end of its line.
    Head,
    Rows(EndMark),
}

impl Pieces {
    pub(super) fn new() -> Self {
        Self {
            state: Cursor::Between,
            held: Vec::new(),
            backslash_escapes: false,
        }
    }

    /// Whether a backslash escapes in plain strings of the statement that was handed out last.
    pub(super) fn backslash_escapes(&self) -> bool {
        self.backslash_escapes
    }

    /// Takes some bytes from the front of a block that is not empty; gives how many, and the piece that they
    /// complete or are.
    pub(super) fn step<'a>(&'a mut self, block: &'a [u8]) -> (usize, Option<Piece<'a>>) {
        match &mut self.state {
            Cursor::Between => self.begin(block),
            Cursor::Line | Cursor::LongLine => self.line(block),
            Cursor::Statement(lexer) => {
                let end = lexer.push(block);
                let used = end.unwrap_or(block.len());
                self.held.extend_from_slice(&block[..used]);
                if end.is_some() {
                    return (used, Some(self.complete()));
                }
                if self.held.len() <= LONGEST_HELD {
                    return (used, None);
                }
                if let Cursor::Statement(lexer) =
                    std::mem::replace(&mut self.state, Cursor::Between)
                {
                    self.state = Cursor::LongStatement(lexer);
                }
                (used, Some(Piece::Part(self.hand_out())))
            }
            Cursor::LongStatement(lexer) => {
                let end = lexer.push(block);
                if end.is_some() {
                    self.state = Cursor::Between;
                }
                let used = end.unwrap_or(block.len());
                (used, Some(Piece::Part(&block[..used])))
            }
            Cursor::Head => {
                let end = memchr(b'\n', block).map(|end| end + 1);
                if end.is_some() {
                    self.state = Cursor::Rows(EndMark::default());
                }
                let used = end.unwrap_or(block.len());
                (used, Some(Piece::Rows(&block[..used])))
            }
            Cursor::Rows(mark) => {
                let end = mark.push(block);
                if end.is_some() {
                    self.state = Cursor::Between;
                }
                let used = end.unwrap_or(block.len());
                (used, Some(Piece::Rows(&block[..used])))
            }
        }
    }

    /// What is left at the end of the text.
    pub(super) fn finish(&mut self) -> Option<Piece<'_>> {
        match std::mem::replace(&mut self.state, Cursor::Between) {
            Cursor::Line => Some(Piece::Line(self.hand_out())),
            Cursor::Statement(_) => Some(Piece::Part(self.hand_out())),
            _ => None,
        }
    }

    fn begin<'a>(&mut self, block: &'a [u8]) -> (usize, Option<Piece<'a>>) {
        match block[0] {
            byte if byte.is_ascii_whitespace() => {
                let end = block.iter().position(|byte| !byte.is_ascii_whitespace());
                let blank = &block[..end.unwrap_or(block.len())];
                return (blank.len(), Some(Piece::Blank(blank)));
            }
            b'-' | b'\\' => self.state = Cursor::Line,
            _ => self.state = Cursor::Statement(Box::new(Lexer::new(self.backslash_escapes))),
        }
        self.held.clear();
        self.held.shrink_to(64 * 1024);
        (0, None)
    }

    fn line<'a>(&'a mut self, block: &'a [u8]) -> (usize, Option<Piece<'a>>) {
        let end = memchr(b'\n', block).map(|end| end + 1);
        let part = &block[..end.unwrap_or(block.len())];
        let is_long = matches!(self.state, Cursor::LongLine);
        if end.is_some() {
            self.state = Cursor::Between;
        }
        if is_long {
            return (part.len(), Some(Piece::Part(part)));
        }
        self.held.extend_from_slice(part);
        if end.is_some() {
            return (part.len(), Some(Piece::Line(self.hand_out())));
        }
        if self.held.len() <= LONGEST_HELD {
            return (part.len(), None);
        }
        self.state = Cursor::LongLine;
        (part.len(), Some(Piece::Part(self.hand_out())))
    }

    fn complete(&mut self) -> Piece<'_> {
        self.state = Cursor::Between;
        match meaning(&self.held) {
            Meaning::Copy { .. } => self.state = Cursor::Head,
            Meaning::Setting {
                name: b"standard_conforming_strings",
                value,
            } => self.backslash_escapes = value == b"off",
            _ => {}
        }
        Piece::Statement(self.hand_out())
    }

    /// What is held; it stays until the next piece begins.
    fn hand_out(&self) -> &[u8] {
        &self.held
    }
}

#[cfg(test)]
mod tests {
    use super::{Piece, Pieces};

    #[test]
    fn the_pieces_are_the_text_however_it_is_cut() {
        let dump = "--\n-- x;\n\\restrict a\n\nSET a = ';';  CREATE TABLE t (\n a int);\n\
            COPY t (a) FROM stdin;\n1;\n\\\\.\n\\.\n\nSELECT 'x";
        for piece in 1..=dump.len() {
            let mut pieces = Pieces::new();
            let (mut joined, mut statements, mut rows) = (Vec::new(), Vec::new(), Vec::new());
            let mut take = |piece: Piece<'_>| {
                let text = match piece {
                    Piece::Statement(text) => {
                        statements.push(String::from_utf8_lossy(text).into_owned());
                        text
                    }
                    Piece::Rows(text) => {
                        rows.extend_from_slice(text);
                        text
                    }
                    Piece::Blank(text) | Piece::Line(text) | Piece::Part(text) => text,
                };
                joined.extend_from_slice(text);
            };
            for mut block in dump.as_bytes().chunks(piece) {
                while !block.is_empty() {
                    let (used, found) = pieces.step(block);
                    if let Some(found) = found {
                        take(found);
                    }
                    block = &block[used..];
                }
            }
            if let Some(found) = pieces.finish() {
                take(found);
            }
            assert_eq!(joined, dump.as_bytes(), "by {piece}");
            let expected = [
                "SET a = ';';",
                "CREATE TABLE t (\n a int);",
                "COPY t (a) FROM stdin;",
            ];
            assert_eq!(statements, expected, "by {piece}");
            assert_eq!(rows, b"\n1;\n\\\\.\n\\.\n", "by {piece}");
        }
    }
}
