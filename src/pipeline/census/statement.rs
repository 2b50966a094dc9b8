//! The text of a statement of a dump, as far as it is held, and its hash.

use memchr::memmem;
use xxhash_rust::xxh3::{Xxh3, xxh3_128_with_seed};

use super::unordered;
use crate::pipeline::sql::{LONGEST_HELD, Meaning, identifier, meaning, starts_with_any};

/// The text of one statement as it arrives, held up to a limit.
#[derive(Default)]
pub(super) struct Statement {
    held: Vec<u8>,
    /// Takes over when the text grows beyond what is held.
    overflow: Option<Box<Xxh3>>,
}

impl Statement {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if let Some(hasher) = &mut self.overflow {
            hasher.update(bytes);
        } else if self.held.len() + bytes.len() <= LONGEST_HELD {
            self.held.extend_from_slice(bytes);
        } else {
            let mut hasher = Box::new(Xxh3::new());
            hasher.update(&self.held);
            hasher.update(bytes);
            let room = LONGEST_HELD - self.held.len();
            self.held.extend_from_slice(&bytes[..room]);
            self.overflow = Some(hasher);
        }
    }

    pub(super) fn clear(&mut self) {
        self.held.clear();
        self.held.shrink_to(64 * 1024);
        self.overflow = None;
    }

    /// Its first bytes, a mebibyte at most.
    pub(super) fn beginning(&self) -> &[u8] {
        &self.held
    }

    /// Whether that is all of it.
    pub(super) fn is_held(&self) -> bool {
        self.overflow.is_none()
    }

    /// What the complete statement is about; none for the head of a COPY block that is too long
    /// to be understood.
    pub(super) fn meaning(&self) -> Option<Meaning<'_>> {
        if self.overflow.is_some() {
            let is_copy = self.held.starts_with(b"COPY ");
            return (!is_copy).then_some(Meaning::Object);
        }
        Some(meaning(&self.held))
    }

    /// The hash of the complete statement. `tablespace` and `access_method` are the settings in
    /// force, which decide where the relation that the statement makes will stand although its
    /// text does not say so.
    pub(super) fn hash(&self, tablespace: &[u8], access_method: &[u8]) -> u128 {
        if let Some(hasher) = &self.overflow {
            return hasher.digest128();
        }
        let text = self.held.as_slice();
        let mut hash = unordered::hash(text);
        if stands_in_a_tablespace(text) {
            hash = hash.wrapping_add(xxh3_128_with_seed(tablespace, 1));
        }
        if has_an_access_method(text) {
            hash = hash.wrapping_add(xxh3_128_with_seed(access_method, 2));
        }
        hash
    }
}

/// `pg_dump` sets `default_tablespace` before it makes one of these.
fn stands_in_a_tablespace(text: &[u8]) -> bool {
    starts_with_any(
        text,
        &[
            b"CREATE TABLE ",
            b"CREATE UNLOGGED TABLE ",
            b"CREATE MATERIALIZED VIEW ",
            b"CREATE INDEX ",
            b"CREATE UNIQUE INDEX ",
        ],
    ) || makes_an_index_by_constraint(text)
}

/// Foreign keys and checks are constraints too, but stand in no tablespace.
fn makes_an_index_by_constraint(text: &[u8]) -> bool {
    const WORDS: &[u8] = b" ADD CONSTRAINT ";
    text.starts_with(b"ALTER TABLE ")
        && memmem::find(text, WORDS)
            .and_then(|at| identifier(text, at + WORDS.len()))
            .is_some_and(|(_, end)| {
                starts_with_any(&text[end..], &[b" PRIMARY KEY ", b" UNIQUE ", b" EXCLUDE "])
            })
}

/// `pg_dump` sets `default_table_access_method` before it makes one of these, but not for a
/// partitioned table, which then stands under whatever was set last.
fn has_an_access_method(text: &[u8]) -> bool {
    text.starts_with(b"CREATE MATERIALIZED VIEW ")
        || (starts_with_any(text, &[b"CREATE TABLE ", b"CREATE UNLOGGED TABLE "])
            && memmem::find(text, b"\nPARTITION BY ").is_none())
}

#[cfg(test)]
mod tests {
    use super::{Meaning, Statement};

    fn hash(text: &str) -> u128 {
        let mut statement = Statement::default();
        statement.push(text.as_bytes());
        statement.hash(b"''", b"heap")
    }

    #[test]
    fn the_order_of_columns_does_not_count_in_a_table_but_everything_else_does() {
        let table = "CREATE TABLE t (\n    a numeric(1,2) DEFAULT ','::text,\n    \"b,c\" int\n)\nINHERITS (p);";
        let moved = "CREATE TABLE t (\n    \"b,c\" int,\n    a numeric(1,2) DEFAULT ','::text\n)\nINHERITS (p);";
        assert_eq!(hash(table), hash(moved));
        for other in [
            "CREATE TABLE t (\n    a numeric(1,2) DEFAULT ','::text\n)\nINHERITS (p);",
            "CREATE TABLE t (\n    a numeric(2,1) DEFAULT ','::text,\n    \"b,c\" int\n)\nINHERITS (p);",
            "CREATE TABLE t (\n    a numeric(1,2) DEFAULT ','::text,\n    \"b,c\" int\n)\nINHERITS (q);",
            "CREATE TABLE u (\n    a numeric(1,2) DEFAULT ','::text,\n    \"b,c\" int\n)\nINHERITS (p);",
        ] {
            assert_ne!(hash(table), hash(other), "{other}");
        }
        assert_ne!(
            hash("CREATE TYPE t AS (\n a int,\n b int\n);"),
            hash("CREATE TYPE t AS (\n b int,\n a int\n);"),
            "the order counts in a composite type"
        );
    }

    #[test]
    fn the_tablespace_and_the_access_method_in_force_count_where_they_decide() {
        let hash_under = |text: &str, tablespace: &[u8], method: &[u8]| {
            let mut statement = Statement::default();
            statement.push(text.as_bytes());
            statement.hash(tablespace, method)
        };
        for (text, tablespace_counts, method_counts) in [
            ("CREATE TABLE t (a int);", true, true),
            (
                "CREATE TABLE t (a int)\nPARTITION BY LIST (a);",
                true,
                false,
            ),
            ("CREATE INDEX i ON t (a);", true, false),
            (
                "ALTER TABLE ONLY t\n    ADD CONSTRAINT p PRIMARY KEY (a);",
                true,
                false,
            ),
            (
                "ALTER TABLE ONLY t\n    ADD CONSTRAINT \"f g\" FOREIGN KEY (a) REFERENCES u(a);",
                false,
                false,
            ),
            ("CREATE VIEW v AS SELECT 1;", false, false),
        ] {
            let base = hash_under(text, b"''", b"heap");
            assert_eq!(
                base != hash_under(text, b"fast", b"heap"),
                tablespace_counts,
                "{text}"
            );
            assert_eq!(
                base != hash_under(text, b"''", b"columnar"),
                method_counts,
                "{text}"
            );
        }
    }

    #[test]
    fn a_statement_too_long_to_hold_is_hashed_all_the_same() {
        let long = format!("SELECT '{}';", "x".repeat(3 << 20));
        let mut whole = Statement::default();
        whole.push(long.as_bytes());
        let mut pieces = Statement::default();
        for piece in long.as_bytes().chunks(1000) {
            pieces.push(piece);
        }
        assert_eq!(whole.hash(b"", b""), pieces.hash(b"", b""));
        assert_eq!(pieces.meaning(), Some(Meaning::Object));
        assert_ne!(whole.hash(b"", b""), hash("SELECT '';"));
    }
}
