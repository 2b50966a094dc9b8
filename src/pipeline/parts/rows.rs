//! The rows of some tables, taken out of a dump byte for byte.

use std::collections::BTreeSet;

use crate::pipeline::census::{ObjectId, TableName, Tap};

/// The line that ends a COPY block.
const END_MARK: &[u8] = b"\\.\n";

/// The statement that says in which encoding the dump's text is.
const ENCODING: &[u8] = b"SET client_encoding = '";

/// What comes out of a dump, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// The encoding of what follows, by the server's name for it.
    Encoding(String),
    /// Rows of a table follow, with these columns (without quotes, in the dump's encoding).
    Begin(TableName, Vec<Vec<u8>>),
    /// Rows in COPY's text format, cut anywhere.
    Rows(Vec<u8>),
    /// The rows that were begun have ended.
    End,
}

/// Rows as they pass, without the line that ends them.
#[derive(Debug, Default)]
pub(super) struct WithoutEndMark {
    /// The last bytes, which may be the beginning of that line.
    back: Vec<u8>,
}

impl WithoutEndMark {
    /// Rows begin.
    pub(super) fn begin(&mut self) {
        self.back.clear();
    }

    /// What was held back, where no such line has come.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.back)
    }

    /// The next bytes; what of them and of those before certainly is rows.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut rows = std::mem::take(&mut self.back);
        rows.extend_from_slice(bytes);
        let kept = rows.len() - rows.len().min(END_MARK.len());
        self.back = rows.split_off(kept);
        rows
    }
}

/// Takes the rows of some tables.
#[derive(Debug)]
pub struct RowsOf {
    wanted: BTreeSet<TableName>,
    taking: bool,
    rows: WithoutEndMark,
    /// The first bytes of a statement; those that are looked at are short.
    head: Vec<u8>,
    pieces: Vec<Piece>,
}

impl RowsOf {
    /// Of these tables.
    pub fn new(wanted: BTreeSet<TableName>) -> Self {
        Self {
            wanted,
            taking: false,
            rows: WithoutEndMark::default(),
            head: Vec::new(),
            pieces: Vec::new(),
        }
    }

    /// What has come out since the last time.
    pub fn take(&mut self) -> Vec<Piece> {
        std::mem::take(&mut self.pieces)
    }
}

impl Tap for RowsOf {
    fn statement(&mut self, _: &ObjectId, bytes: &[u8], ends: bool) {
        let room = 64_usize.saturating_sub(self.head.len());
        self.head.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if !ends {
            return;
        }
        let head = std::mem::take(&mut self.head);
        if let Some(rest) = head.strip_prefix(ENCODING)
            && let Some(end) = memchr::memchr(b'\'', rest)
        {
            let encoding = String::from_utf8_lossy(&rest[..end]).into_owned();
            self.pieces.push(Piece::Encoding(encoding));
        }
    }

    fn rows_begin(&mut self, table: &[u8], columns: &[Vec<u8>]) {
        let table = TableName::parse(table).filter(|table| self.wanted.contains(table));
        self.taking = table.is_some();
        self.rows.begin();
        self.pieces
            .extend(table.map(|table| Piece::Begin(table, columns.to_vec())));
    }

    fn rows(&mut self, bytes: &[u8], ends: bool) {
        if !self.taking {
            return;
        }
        let rows = self.rows.push(bytes);
        if !rows.is_empty() {
            self.pieces.push(Piece::Rows(rows));
        }
        if ends {
            // What was held back is the end mark's line.
            self.taking = false;
            self.pieces.push(Piece::End);
        }
    }

    fn command(&mut self, _: &[u8]) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::census::Scanner;

    /// What comes out of a dump that is cut into blocks of so many bytes, with its rows together.
    fn pieces(dump: &str, block: usize) -> Vec<Piece> {
        let wanted = [("public", "a"), ("x.y", "empty")].map(|(schema, name)| TableName {
            schema: schema.into(),
            name: name.into(),
        });
        let mut scanner = Scanner::with(RowsOf::new(wanted.into()));
        let mut joined: Vec<Piece> = Vec::new();
        for block in dump.as_bytes().chunks(block) {
            scanner.push(block).unwrap();
            for piece in scanner.tap().take() {
                match (joined.last_mut(), piece) {
                    (Some(Piece::Rows(before)), Piece::Rows(more)) => before.extend(more),
                    (_, piece) => joined.push(piece),
                }
            }
        }
        joined
    }

    #[test]
    fn the_rows_of_the_tables_wanted_come_out_byte_for_byte_however_the_dump_is_cut() {
        let dump = "SET client_encoding = 'LATIN1';\n\
            COPY public.b (x) FROM stdin;\n1\n\\.\n\n\
            COPY public.a (x, \"y z\") FROM stdin;\n1\t\\\\.\n\\\\.\tpublic.a\n\\.\n\n\
            COPY \"x.y\".empty (x) FROM stdin;\n\\.\n\n\
            -- PostgreSQL database dump complete\n";
        let table = |schema: &str, name: &str| TableName {
            schema: schema.into(),
            name: name.into(),
        };
        let expected = [
            Piece::Encoding("LATIN1".to_owned()),
            Piece::Begin(table("public", "a"), vec![b"x".to_vec(), b"y z".to_vec()]),
            Piece::Rows(b"1\t\\\\.\n\\\\.\tpublic.a\n".to_vec()),
            Piece::End,
            Piece::Begin(table("x.y", "empty"), vec![b"x".to_vec()]),
            Piece::End,
        ];
        for block in 1..dump.len() {
            assert_eq!(pieces(dump, block), expected, "blocks of {block}");
        }
    }
}
