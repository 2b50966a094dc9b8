//! Which databases a text holds that makes its databases itself, and what it says of each and of the roles
//! of its cluster.

use std::io;

use super::databases::{Line, Sections, about};
use super::line_ends::LineEnds;
use super::options::DatabaseOptions;
use super::pieces::{Piece, Pieces};
use crate::pipeline::allow::tokens::Tokens;
use crate::pipeline::census::ObjectId;

/// What is said of databases and roles is not longer than this.
const LONGEST: usize = 64 << 20;

/// What a text holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inside {
    /// Its databases, in its order; none where it is the text of one alone.
    pub databases: Vec<DatabaseInside>,
    /// The roles and tablespaces of its cluster, as `pg_dumpall` writes them.
    pub globals: Vec<u8>,
    /// Whether it is of a cluster, and breaks off before its end.
    pub breaks_off: bool,
}

/// A database in a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatabaseInside {
    /// Its name, without quotes.
    pub name: Vec<u8>,
    /// How many objects are in it.
    pub objects: u64,
    /// Whether the text connects to it.
    pub is_connected_to: bool,
    /// Whether its content is there to its end.
    pub is_complete: bool,
    /// The statements about it, one after the other.
    pub statements: Vec<u8>,
}

impl DatabaseInside {
    /// What the text says of it.
    pub fn options(&self) -> DatabaseOptions {
        DatabaseOptions::read(&self.statements)
    }
}

/// Reads a text block by block, as far as it can hold several databases.
#[derive(Debug)]
pub(in crate::pipeline) struct Surveyor {
    ends: LineEnds,
    pieces: Pieces,
    survey: Survey,
    text: Vec<u8>,
}

impl Surveyor {
    pub(in crate::pipeline) fn new() -> Self {
        Self {
            ends: LineEnds::default(),
            pieces: Pieces::new(),
            survey: Survey::default(),
            text: Vec::new(),
        }
    }

    /// Takes the next bytes, or the end of the text where there are none; gives what it holds, once that is
    /// known: of a text that neither makes nor connects to any database at its first object.
    ///
    /// # Errors
    /// When what it says of databases and roles is too long.
    pub(in crate::pipeline) fn push(&mut self, block: &[u8]) -> io::Result<Option<Inside>> {
        if block.is_empty() {
            self.ends.finish(&mut self.text);
        } else {
            self.ends.push(block, &mut self.text);
        }
        let mut rest = self.text.as_slice();
        while !rest.is_empty() {
            let (used, piece) = self.pieces.step(rest);
            if let Some(piece) = piece {
                self.survey.take(piece)?;
            }
            rest = &rest[used..];
        }
        self.text.clear();
        if self.survey.is_of_one_database() {
            return Ok(Some(Inside::default()));
        }
        if !block.is_empty() {
            return Ok(None);
        }
        if let Some(piece) = self.pieces.finish() {
            self.survey.take(piece)?;
        }
        Ok(Some(std::mem::take(&mut self.survey).finish()))
    }
}

#[derive(Debug, Default)]
struct Survey {
    sections: Sections,
    inside: Inside,
    /// Whether an object has come that is in no database of the text's.
    has_content: bool,
}

impl Survey {
    /// Whether nothing but the content of one database can follow.
    fn is_of_one_database(&self) -> bool {
        self.has_content && self.inside.databases.is_empty() && !self.sections.is_cluster()
    }

    fn take(&mut self, piece: Piece<'_>) -> io::Result<()> {
        match piece {
            Piece::Blank(_) | Piece::Rows(_) => {}
            Piece::Part(_) => self.has_content |= self.sections.current().is_none(),
            Piece::Line(line) => match self.sections.line(line) {
                Line::Connect => {
                    let name = self.sections.current().unwrap_or_default().to_vec();
                    // A server has some that pg_dumpall does not make.
                    if self.sections.is_cluster() || self.has(&name) {
                        self.database(&name).is_connected_to = true;
                    }
                }
                Line::Completed(name) if self.has(&name) => {
                    self.database(&name).is_complete = true;
                }
                Line::Object(id) if is_about_a_database(&id) => {}
                Line::Object(id) => match self.sections.current().map(<[u8]>::to_vec) {
                    Some(name) if self.has(&name) => {
                        self.database(&name).objects += u64::from(!id.is_content());
                    }
                    _ => self.has_content = true,
                },
                Line::Completed(_) | Line::Other => {}
            },
            Piece::Statement(text) => self.statement(text)?,
        }
        Ok(())
    }

    fn statement(&mut self, text: &[u8]) -> io::Result<()> {
        if let Some(name) = about(text) {
            if !(text.starts_with(b"CREATE DATABASE ") || self.has(&name)) {
                return Ok(());
            }
            let about = &mut self.database(&name).statements;
            about.extend_from_slice(text);
            about.push(b'\n');
            return is_short(about);
        }
        if self.sections.is_in_globals() && !clears_away(text) {
            let globals = &mut self.inside.globals;
            globals.extend_from_slice(text);
            globals.push(b'\n');
            return is_short(globals);
        }
        Ok(())
    }

    fn has(&self, name: &[u8]) -> bool {
        self.inside.databases.iter().any(|one| one.name == name)
    }

    fn database(&mut self, name: &[u8]) -> &mut DatabaseInside {
        let all = &mut self.inside.databases;
        let at = all.iter().position(|one| one.name == name);
        let at = at.unwrap_or_else(|| {
            all.push(DatabaseInside {
                name: name.to_vec(),
                ..DatabaseInside::default()
            });
            all.len() - 1
        });
        &mut all[at]
    }

    fn finish(mut self) -> Inside {
        let is_cluster = self.sections.is_cluster();
        self.inside.databases.retain(|one| one.is_connected_to);
        // What belongs to none of them would be left out in silence.
        if self.inside.databases.is_empty() || (self.has_content && !is_cluster) {
            return Inside::default();
        }
        self.inside.breaks_off = is_cluster && !self.sections.is_complete();
        self.inside
    }
}

fn is_short(text: &[u8]) -> io::Result<()> {
    if text.len() <= LONGEST {
        return Ok(());
    }
    let reason = "what it says of databases and roles is longer than 64 MiB";
    Err(io::Error::other(reason))
}

/// Whether an object is a database, or something that one has; or the comment on the schema public, which
/// `pg_dump` writes with all names in quotes although nobody has changed it.
fn is_about_a_database(id: &ObjectId) -> bool {
    let is_about_public = id.kind() == b"COMMENT" && id.name() == b"SCHEMA \"public\"";
    is_about_public || id.kind().starts_with(b"DATABASE") || id.name().starts_with(b"DATABASE ")
}

/// `pg_dumpall --clean`, which has nothing to do in a place of ours.
fn clears_away(text: &[u8]) -> bool {
    let mut tokens = Tokens::of(text, false);
    tokens.accept("drop") && (tokens.accept("role") || tokens.accept("tablespace"))
}
