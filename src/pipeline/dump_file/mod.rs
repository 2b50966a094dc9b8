//! A dump that is a file without a manifest: what its first bytes say, which databases are in it, and its
//! text as `pg_dump` writes that of one database by itself.
//!
//! Whatever is changed is changed before anybody judges, counts or sends the text: all see the same one.
//! The lines stay where they are, so that a line's number is that of the file.

mod clearing;
mod databases;
mod form;
mod keywords;
mod line_ends;
mod names;
mod options;
mod pieces;
mod survey;

use self::databases::{Line, Sections, about};
use self::line_ends::LineEnds;
use self::names::Spelling;
use self::pieces::{Piece, Pieces};
use super::census::ObjectId;

pub use form::{FIRST, Form, Unread, form_of};
pub use options::DatabaseOptions;
pub(in crate::pipeline) use survey::Surveyor;
pub use survey::{DatabaseInside, Inside};

/// How the text of a dump without a manifest is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adaptation {
    /// Which database of it, where it makes its databases itself.
    pub database: Option<Vec<u8>>,
    /// The server that is to read it.
    pub server_major: u32,
}

/// What every new database says of its schema public.
const COMMENT_ON_PUBLIC: &[u8] = b"COMMENT ON SCHEMA public IS 'standard public schema';";

/// Kinds of objects whose names are written as in SQL in the comment before them.
const NAMED_AS_IN_SQL: [&[u8]; 8] = [
    b"ACL",
    b"AGGREGATE",
    b"CAST",
    b"COMMENT",
    b"FUNCTION",
    b"PROCEDURE",
    b"SECURITY LABEL",
    b"TRANSFORM",
];

/// Takes the text of a dump, and gives it as `pg_dump` writes that of one database by itself.
#[derive(Debug)]
pub(in crate::pipeline) struct Adapter {
    ends: LineEnds,
    pieces: Pieces,
    rewriter: Rewriter,
    /// With the usual ends of lines.
    text: Vec<u8>,
}

impl Adapter {
    pub(in crate::pipeline) fn new(adaptation: &Adaptation) -> Self {
        Self {
            ends: LineEnds::default(),
            pieces: Pieces::new(),
            rewriter: Rewriter {
                adaptation: adaptation.clone(),
                sections: Sections::default(),
                is_before_objects: true,
                makes_public: false,
            },
            text: Vec::new(),
        }
    }

    /// Takes the next bytes, or the end of the text where there are none; what `out` gets may lag behind.
    pub(in crate::pipeline) fn push(&mut self, block: &[u8], out: &mut Vec<u8>) {
        if block.is_empty() {
            self.ends.finish(&mut self.text);
        } else {
            self.ends.push(block, &mut self.text);
        }
        let mut rest = self.text.as_slice();
        while !rest.is_empty() {
            let escapes = self.pieces.backslash_escapes();
            let (used, piece) = self.pieces.step(rest);
            if let Some(piece) = piece {
                self.rewriter.take(piece, escapes, out);
            }
            rest = &rest[used..];
        }
        self.text.clear();
        if block.is_empty()
            && let Some(piece) = self.pieces.finish()
        {
            self.rewriter.take(piece, false, out);
        }
    }
}

#[derive(Debug)]
struct Rewriter {
    adaptation: Adaptation,
    sections: Sections,
    /// Whether no object of the database has come yet.
    is_before_objects: bool,
    /// Whether the text makes the schema public, which every new database has.
    makes_public: bool,
}

impl Rewriter {
    fn take(&mut self, piece: Piece<'_>, backslash_escapes: bool, out: &mut Vec<u8>) {
        match piece {
            Piece::Blank(text) => out.extend_from_slice(text),
            Piece::Line(text) => self.line(text, out),
            Piece::Statement(text) if self.is_wanted(text) => {
                self.statement(text, backslash_escapes, out);
            }
            Piece::Part(text) | Piece::Rows(text) if self.is_inside() => {
                out.extend_from_slice(text);
            }
            Piece::Statement(text) | Piece::Part(text) | Piece::Rows(text) => blank(text, out),
        }
    }

    fn statement(&mut self, text: &[u8], backslash_escapes: bool, out: &mut Vec<u8>) {
        let start = out.len();
        let spelling = self.spelling(backslash_escapes);
        let cleared = self.is_before_objects.then(|| clearing::if_exists(text));
        spelling.statement(cleared.flatten().as_deref().unwrap_or(text), out);
        match &out[start..] {
            b"CREATE SCHEMA public;" => self.makes_public = true,
            // With all names in quotes pg_dump does not see that nobody has changed it.
            COMMENT_ON_PUBLIC if !self.makes_public => out.truncate(start),
            _ => {}
        }
    }

    fn spelling(&self, backslash_escapes: bool) -> Spelling {
        Spelling {
            server_major: self.adaptation.server_major,
            backslash_escapes,
        }
    }

    /// Whether what comes is of the database that is wanted.
    fn is_inside(&self) -> bool {
        let wanted = &self.adaptation.database;
        wanted.is_none() || self.sections.current() == wanted.as_deref()
    }

    /// Whether a statement is of the content of that database.
    fn is_wanted(&self, text: &[u8]) -> bool {
        let wanted = &self.adaptation.database;
        self.is_inside() && (wanted.is_none() || about(text) != *wanted)
    }

    fn line(&mut self, text: &[u8], out: &mut Vec<u8>) {
        if self.adaptation.database.is_none() {
            let line = text.strip_suffix(b"\n").unwrap_or(text);
            let object = ObjectId::from_comment(line);
            return self.content(text, object.as_ref(), out);
        }
        let is_restriction = text.starts_with(b"\\restrict ") || text.starts_with(b"\\unrestrict ");
        let was_inside = self.is_inside();
        let line = self.sections.line(text);
        match &line {
            Line::Connect => blank(text, out),
            Line::Completed(_) if was_inside => out.extend_from_slice(text),
            _ if !was_inside || is_restriction => blank(text, out),
            Line::Object(id) => self.content(text, Some(id), out),
            Line::Completed(_) | Line::Other => self.content(text, None, out),
        }
    }

    /// A line in the content of a database.
    fn content(&mut self, text: &[u8], object: Option<&ObjectId>, out: &mut Vec<u8>) {
        self.is_before_objects &= object.is_none();
        let is_named_so = object.is_some_and(|id| NAMED_AS_IN_SQL.contains(&id.kind()));
        match memchr::memmem::rfind(text, b"; Type: ").filter(|_| is_named_so) {
            Some(end) => {
                self.spelling(false).tag(&text[..end], out);
                out.extend_from_slice(&text[end..]);
            }
            None => out.extend_from_slice(text),
        }
    }
}

/// The breaks of something that is left out.
fn blank(text: &[u8], out: &mut Vec<u8>) {
    out.extend(memchr::memchr_iter(b'\n', text).map(|_| b'\n'));
}

#[cfg(test)]
mod tests;
