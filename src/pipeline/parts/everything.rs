//! All that is in a dump, statement by statement and as far as it can be read: for a restore that goes on
//! after errors.

use std::io::Read;

use super::Text;
use super::rows::WithoutEndMark;
use crate::pipeline::allow::Finding;
use crate::pipeline::census::{Census, ObjectId, Scanner, Tap, printable};
use crate::pipeline::compression;
use crate::pipeline::sql::{Meaning, clears_in_vain, inserted_into, meaning};
use crate::pipeline::stream::{Progress, StreamError};

/// A longer statement is not held, and so not sent. `pg_dump` writes statements of this length for nothing
/// but single values of INSERT.
const LONGEST: usize = 256 << 20;

/// What comes out of a dump, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DumpPart {
    /// A statement that no rows follow.
    Statement(DumpStatement),
    /// Rows follow.
    Begin(DumpRows),
    /// Rows in COPY's text format, cut anywhere.
    Rows(Vec<u8>),
    /// The rows that were begun have ended.
    End,
    /// A command of psql's that is not carried out.
    Command(Finding),
}

/// A complete statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DumpStatement {
    /// The object whose comment stands before it.
    pub object: ObjectId,
    /// Its text with its semicolon; empty if it is too long.
    pub text: Vec<u8>,
    /// What it does.
    pub kind: StatementKind,
    /// Why a restore does not send it, if it does not.
    pub refused: Option<Finding>,
    /// Whether it is too long to be held.
    pub is_too_long: bool,
}

/// What a statement does, as far as it matters to whoever sends one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatementKind {
    /// Sets this for the session; its role is `session_authorization`.
    Setting(String),
    /// Says in which encoding the text is.
    Encoding(String),
    /// Opens a transaction.
    Begin,
    /// Closes it.
    Commit,
    /// Opens a large object.
    OpenLargeObject(u64),
    /// Writes into it.
    WriteLargeObject,
    /// Closes it.
    CloseLargeObject,
    /// Puts rows into a table, which is called so.
    Insert(String),
    /// Makes or changes an event trigger.
    EventTrigger,
    /// Statistics of the planner's, which the server makes again.
    Statistics,
    /// Anything else.
    Other,
}

impl StatementKind {
    fn of(text: &[u8]) -> Self {
        let word = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let event_triggers = [
            b"CREATE EVENT TRIGGER ".as_slice(),
            b"ALTER EVENT TRIGGER ",
            b"COMMENT ON EVENT TRIGGER ",
        ];
        match meaning(text) {
            Meaning::Setting {
                name: b"client_encoding",
                value,
            } => Self::Encoding(word(value).trim_matches('\'').to_owned()),
            Meaning::Setting { name, .. } => Self::Setting(word(name)),
            Meaning::Grantor(_) => Self::Setting("session_authorization".to_owned()),
            Meaning::OpenLargeObject(oid) => Self::OpenLargeObject(oid),
            Meaning::WriteLargeObject(_) => Self::WriteLargeObject,
            Meaning::CloseLargeObject => Self::CloseLargeObject,
            Meaning::PlannerStatistics => Self::Statistics,
            _ if text == b"BEGIN;" => Self::Begin,
            _ if text == b"COMMIT;" => Self::Commit,
            _ if text.starts_with(b"INSERT INTO ") => {
                Self::Insert(printable(inserted_into(text).unwrap_or_default()))
            }
            _ if event_triggers.iter().any(|head| text.starts_with(head)) => Self::EventTrigger,
            _ => Self::Other,
        }
    }
}

/// The head of a COPY block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DumpRows {
    /// The statement.
    pub head: DumpStatement,
    /// The table as the dump writes it.
    pub table: Vec<u8>,
    /// Its columns, without quotes, in the dump's encoding.
    pub columns: Vec<Vec<u8>>,
}

/// What was read of a dump.
#[derive(Debug, Default)]
pub struct ReadSoFar {
    /// What is in it.
    pub census: Census,
    /// The encoding of its text, by the server's name for it.
    pub encoding: Option<String>,
    /// The major versions of the server that it is of and of the `pg_dump` that has written it; 0 where it
    /// does not say.
    pub written_by: [u32; 2],
    /// What is wrong with its end, if anything is.
    pub damage: Option<String>,
}

/// Takes all of it.
#[derive(Debug, Default)]
struct Everything {
    text: Vec<u8>,
    is_too_long: bool,
    refused: Option<Finding>,
    /// The head of a COPY block looks like any statement, until rows begin.
    last: Option<DumpStatement>,
    rows: WithoutEndMark,
    is_in_rows: bool,
    parts: Vec<DumpPart>,
}

impl Everything {
    fn take(&mut self) -> Vec<DumpPart> {
        self.parts.extend(self.last.take().map(DumpPart::Statement));
        std::mem::take(&mut self.parts)
    }

    /// What is left where the dump breaks off.
    fn take_rest(&mut self) -> Vec<DumpPart> {
        let mut parts = self.take();
        if self.is_in_rows {
            parts.push(DumpPart::Rows(self.rows.rest()));
        }
        parts
    }
}

impl Tap for Everything {
    fn statement(&mut self, object: &ObjectId, bytes: &[u8], ends: bool) {
        self.parts.extend(self.last.take().map(DumpPart::Statement));
        if self.text.len() + bytes.len() > LONGEST {
            self.is_too_long = true;
            self.text = Vec::new();
        }
        if !self.is_too_long {
            self.text.extend_from_slice(bytes);
        }
        if ends {
            let text = std::mem::take(&mut self.text);
            if object.is_none() && clears_in_vain(&text) {
                return;
            }
            self.last = Some(DumpStatement {
                object: object.clone(),
                kind: StatementKind::of(&text),
                text,
                refused: self.refused.take(),
                is_too_long: std::mem::take(&mut self.is_too_long),
            });
        }
    }

    fn rows_begin(&mut self, table: &[u8], columns: &[Vec<u8>]) {
        self.rows.begin();
        self.is_in_rows = true;
        self.parts.extend(self.last.take().map(|head| {
            DumpPart::Begin(DumpRows {
                head,
                table: table.to_vec(),
                columns: columns.to_vec(),
            })
        }));
    }

    fn rows(&mut self, bytes: &[u8], ends: bool) {
        let rows = self.rows.push(bytes);
        if !rows.is_empty() {
            self.parts.push(DumpPart::Rows(rows));
        }
        if ends {
            self.is_in_rows = false;
            self.parts.push(DumpPart::End);
        }
    }

    fn command(&mut self, _: &[u8]) {
        self.parts.extend(self.last.take().map(DumpPart::Statement));
        self.parts
            .extend(self.refused.take().map(DumpPart::Command));
    }

    fn refused(&mut self, finding: Finding) {
        self.refused = Some(finding);
    }
}

/// Hands out all that is in a dump, up to where it cannot be read any more.
///
/// # Errors
/// What `each` gives, and when the work is cancelled. Damage is no error.
pub fn take_everything<R: Read + Unpin>(
    mut text: Text<R>,
    progress: &Progress,
    mut each: impl FnMut(DumpPart) -> Result<(), StreamError>,
) -> Result<ReadSoFar, StreamError> {
    let mut scanner = Scanner::lenient(Everything::default());
    let mut block = Vec::with_capacity(compression::BLOCK);
    let damage = loop {
        match text.next(&mut block) {
            Ok(()) if block.is_empty() => break None,
            Ok(()) => {}
            Err(StreamError::Read(error)) => break Some(error.to_string()),
            Err(error) => return Err(error),
        }
        let flaw = scanner.push(&block).err();
        for part in scanner.tap().take() {
            each(part)?;
        }
        progress.found(block.len())?;
        if let Some(flaw) = flaw {
            break Some(flaw.to_string());
        }
    };
    let dependencies = scanner.take_dependencies();
    let (census, mut tap, flaw) = scanner.finish_leniently();
    for part in tap.take_rest() {
        each(part)?;
    }
    Ok(ReadSoFar {
        census,
        encoding: dependencies.encoding,
        written_by: dependencies.written_by,
        damage: damage.or(flaw.map(|flaw| flaw.to_string())),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DUMP: &str = "--\n-- PostgreSQL database dump\n--\n\n\\restrict x\n\
        -- Dumped from database version 15.18 (Debian 15.18-0+deb12u1)\n\
        SET client_encoding = 'UTF8';\n\
        -- Name: t; Type: TABLE; Schema: public; Owner: o\nCREATE TABLE public.t (a int, b text);\n\
        ALTER SYSTEM SET port = 1;\n\\! id\n\
        -- Data for Name: t; Type: TABLE DATA; Schema: public; Owner: o\n\
        COPY public.t (a, b) FROM stdin;\n1\tx\n2\n3\ty\n\\.\n\n\
        -- Name: i; Type: INDEX; Schema: public; Owner: o\nCREATE INDEX i ON public.t USING btree (a);\n\
        --\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict x\n";

    fn read(dump: &[u8], block: usize) -> (Vec<DumpPart>, ReadSoFar) {
        let mut parts: Vec<DumpPart> = Vec::new();
        let source = Text::of_program(Pieces(dump, block));
        let progress = Progress::default();
        let read = take_everything(source, &progress, |part| {
            match (parts.last_mut(), part) {
                (Some(DumpPart::Rows(before)), DumpPart::Rows(more)) => before.extend(more),
                (_, part) => parts.push(part),
            }
            Ok(())
        });
        (parts, read.unwrap())
    }

    /// Gives so many bytes at a time.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let length = self.1.min(self.0.len()).min(buffer.len());
            buffer[..length].copy_from_slice(&self.0[..length]);
            self.0 = &self.0[length..];
            Ok(length)
        }
    }

    fn shown(parts: &[DumpPart]) -> Vec<String> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let show = |part: &DumpPart| match part {
            DumpPart::Statement(one) => match &one.refused {
                None => text(&one.text),
                Some(finding) => format!("refused: {}", finding.statement),
            },
            DumpPart::Begin(rows) => format!("rows of {}", text(&rows.table)),
            DumpPart::Rows(rows) => text(rows),
            DumpPart::End => "end".to_owned(),
            DumpPart::Command(finding) => format!("command: {}", finding.statement),
        };
        parts.iter().map(show).collect()
    }

    #[test]
    fn all_comes_out_and_each_statement_that_is_not_sent_is_marked() {
        for block in [1, 7, 4096] {
            let (parts, read) = read(DUMP.as_bytes(), block);
            assert_eq!(
                shown(&parts),
                [
                    "SET client_encoding = 'UTF8';",
                    "CREATE TABLE public.t (a int, b text);",
                    "refused: ALTER SYSTEM SET port = 1",
                    "command: \\!",
                    "rows of public.t",
                    "1\tx\n2\n3\ty\n",
                    "end",
                    "CREATE INDEX i ON public.t USING btree (a);",
                ]
            );
            assert_eq!(read.damage, None);
            assert_eq!(read.written_by, [15, 0]);
            // Rows are counted up to the one that does not fit.
            assert_eq!(read.census.summary().rows, 1);
        }
    }

    proptest! {
        #[test]
        fn a_dump_that_is_cut_gives_what_comes_before(at in 0..DUMP.len(), block in 1_usize..64) {
            let (whole, _) = read(DUMP.as_bytes(), 4096);
            let (parts, found) = read(&DUMP.as_bytes()[..at], block);
            let is_rows: Vec<bool> = parts.iter().map(|part| matches!(part, DumpPart::Rows(_))).collect();
            let (whole, parts) = (shown(&whole), shown(&parts));
            for (number, part) in parts.iter().enumerate() {
                // What follows the last complete row is nothing that is sent.
                let sent = match part.rfind('\n') {
                    Some(end) if is_rows[number] => &part[..=end],
                    None if is_rows[number] => "",
                    _ => part,
                };
                prop_assert!(whole[number].starts_with(sent), "{parts:?}");
            }
            let end = DUMP.find("-- PostgreSQL database dump complete").unwrap();
            prop_assert_eq!(found.damage.is_some(), at < end + 37, "{:?}", found.damage);
        }
    }
}
