//! What a statement of a dump is about, and its hash.

use memchr::{memchr, memmem};
use xxhash_rust::xxh3::{Xxh3, xxh3_128_with_seed};

use super::unordered::{self, identifier, qualified, starts_with_any};

/// A longer statement is hashed without being held, and is taken for an ordinary one. The longest
/// that must be understood is the head of a COPY block: 1,600 columns with quoted names of 63
/// bytes are a fifth of this.
pub(in crate::pipeline) const LONGEST_HELD: usize = 1 << 20;

/// The text of one statement as it arrives, held up to a limit.
#[derive(Default)]
pub(super) struct Statement {
    held: Vec<u8>,
    /// Takes over when the text grows beyond what is held.
    overflow: Option<Box<Xxh3>>,
}

/// What a statement is about.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::pipeline) enum Meaning<'a> {
    /// Rows follow, of this table with these columns (without quotes).
    Copy {
        table: &'a [u8],
        columns: Vec<Vec<u8>>,
    },
    /// A setting of the session that loads the dump: name and value, quotes and all.
    Setting { name: &'a [u8], value: &'a [u8] },
    /// A large object is opened, its data follow.
    OpenLargeObject(u64),
    /// The next piece of the open large object, in hexadecimal.
    WriteLargeObject(&'a [u8]),
    /// The open large object is complete.
    CloseLargeObject,
    /// Something else about a large object: its making, owner, grants, comment.
    AboutLargeObject(u64),
    /// The role that grants from here on, as written; none for the one who restores.
    Grantor(Option<&'a [u8]>),
    /// Statistics for the planner.
    PlannerStatistics,
    /// Everything else.
    Object,
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

/// What a statement of this text is about.
#[expect(clippy::too_many_lines, reason = "one list of the forms of statements")]
pub(in crate::pipeline) fn meaning(text: &[u8]) -> Meaning<'_> {
    if let Some(rest) = text.strip_prefix(b"COPY ")
        && let Some(head) = rest.strip_suffix(b" FROM stdin;")
        && let Some((table, columns)) = copy_head(head)
    {
        return Meaning::Copy { table, columns };
    }
    if let Some(rest) = text.strip_prefix(b"SET SESSION AUTHORIZATION ") {
        let role = rest.strip_suffix(b";").unwrap_or(rest);
        return Meaning::Grantor((role != b"DEFAULT").then_some(role));
    }
    if text == b"RESET SESSION AUTHORIZATION;" {
        return Meaning::Grantor(None);
    }
    if text.starts_with(b"SELECT * FROM pg_catalog.pg_restore_") {
        return Meaning::PlannerStatistics;
    }
    if let Some(rest) = text.strip_prefix(b"SET ")
        && let Some(equals) = memchr(b'=', rest)
    {
        return Meaning::Setting {
            name: rest[..equals].trim_ascii(),
            value: rest[equals + 1..rest.len() - 1].trim_ascii(),
        };
    }
    if let Some(rest) = text.strip_prefix(b"SELECT pg_catalog.") {
        if rest.starts_with(b"set_config('search_path'") {
            return Meaning::Setting {
                name: b"search_path",
                value: rest,
            };
        }
        if let Some(oid) = rest.strip_prefix(b"lo_open('").and_then(leading_number) {
            return Meaning::OpenLargeObject(oid);
        }
        if let Some(oid) = rest.strip_prefix(b"lo_create('").and_then(leading_number) {
            return Meaning::AboutLargeObject(oid);
        }
        if let Some(literal) = rest.strip_prefix(b"lowrite(0, '")
            && let Some(digits) = literal.strip_suffix(b"');")
            && let Some(x) = memchr(b'x', &digits[..digits.len().min(3)])
        {
            return Meaning::WriteLargeObject(&digits[x + 1..]);
        }
        if rest.starts_with(b"lo_close(0)") {
            return Meaning::CloseLargeObject;
        }
    }
    if starts_with_any(
        text,
        &[
            b"ALTER ",
            b"GRANT ",
            b"REVOKE ",
            b"COMMENT ON ",
            b"SECURITY LABEL ",
        ],
    ) && let Some(oid) = large_object_named_in(text)
    {
        return Meaning::AboutLargeObject(oid);
    }
    Meaning::Object
}

/// The number behind ` LARGE OBJECT ` where that stands before any quote.
fn large_object_named_in(text: &[u8]) -> Option<u64> {
    const WORDS: &[u8] = b" LARGE OBJECT ";
    let quoted = memchr::memchr2(b'\'', b'"', text).unwrap_or(text.len());
    let at = memmem::find(&text[..quoted], WORDS)?;
    leading_number(&text[at + WORDS.len()..])
}

fn leading_number(text: &[u8]) -> Option<u64> {
    let end = text
        .iter()
        .position(|b| !b.is_ascii_digit())
        .unwrap_or(text.len());
    std::str::from_utf8(&text[..end]).ok()?.parse().ok()
}

/// Splits `public."a b" (c, "d")` into the table's name as written and its columns' names without
/// quotes. A table without columns has no list.
fn copy_head(head: &[u8]) -> Option<(&[u8], Vec<Vec<u8>>)> {
    let (table, at) = qualified(head, 0)?;
    let mut columns = Vec::new();
    let list = head[at..].trim_ascii();
    if list.is_empty() {
        return Some((table, columns));
    }
    let list = list.strip_prefix(b"(")?.strip_suffix(b")")?;
    let mut at = 0;
    loop {
        let (name, end) = identifier(list, at)?;
        columns.push(name);
        match list.get(end) {
            None => return Some((table, columns)),
            Some(b',') => at = end + 1 + usize::from(list.get(end + 1) == Some(&b' ')),
            Some(_) => return None,
        }
    }
}

/// Whether a statement that stands before the first object of a dump clears something away that is not
/// there, and fails. `pg_dump --clean --if-exists` writes most of them so that they pass, and three kinds
/// so that they do not where schema, type or access method are missing: ALTER DOMAIN knows no IF EXISTS, a
/// view that others depend on in a circle is first made one of nulls, and DROP OPERATOR looks the access
/// method up.
pub(in crate::pipeline) fn clears_in_vain(text: &[u8]) -> bool {
    let has = |part: &[u8]| memmem::find(text, part).is_some();
    text.starts_with(b"ALTER DOMAIN ") && has(b" DROP CONSTRAINT ")
        || text.starts_with(b"CREATE OR REPLACE VIEW ") && has(b" AS\nSELECT\n    NULL::")
        || text.starts_with(b"DROP OPERATOR CLASS IF EXISTS ")
        || text.starts_with(b"DROP OPERATOR FAMILY IF EXISTS ")
}

#[cfg(test)]
mod tests {
    use super::{Meaning, Statement, meaning};

    fn hash(text: &str) -> u128 {
        let mut statement = Statement::default();
        statement.push(text.as_bytes());
        statement.hash(b"''", b"heap")
    }

    #[test]
    fn the_head_of_a_copy_block_gives_table_and_columns() {
        for (text, table, columns) in [
            (
                "COPY public.t (a, b) FROM stdin;",
                "public.t",
                vec!["a", "b"],
            ),
            ("COPY public.t  FROM stdin;", "public.t", vec![]),
            (
                r#"COPY "a.b"."t ""(x" ("c,d", "e"")", f) FROM stdin;"#,
                r#""a.b"."t ""(x""#,
                vec!["c,d", "e\")", "f"],
            ),
            ("COPY \"a\nb\".t (a) FROM stdin;", "\"a\nb\".t", vec!["a"]),
        ] {
            let columns = columns.into_iter().map(|c| c.as_bytes().to_vec()).collect();
            let expected = Meaning::Copy {
                table: table.as_bytes(),
                columns,
            };
            assert_eq!(meaning(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn statements_about_large_objects_are_told_from_the_others() {
        let about = [
            "SELECT pg_catalog.lo_create('16400');",
            "ALTER LARGE OBJECT 16400 OWNER TO o;",
            "COMMENT ON LARGE OBJECT 16400 IS 'x';",
            "GRANT SELECT ON LARGE OBJECT 16400 TO r;",
            "REVOKE ALL ON LARGE OBJECT 16400 FROM r;",
        ];
        for text in about {
            assert_eq!(
                meaning(text.as_bytes()),
                Meaning::AboutLargeObject(16400),
                "{text}"
            );
        }
        assert_eq!(
            meaning(b"SELECT pg_catalog.lo_open('7', 131072);"),
            Meaning::OpenLargeObject(7)
        );
        assert_eq!(
            meaning(br"SELECT pg_catalog.lowrite(0, '\xdead');"),
            Meaning::WriteLargeObject(b"dead")
        );
        assert_eq!(
            meaning(br"SELECT pg_catalog.lowrite(0, '\\xdead');"),
            Meaning::WriteLargeObject(b"dead")
        );
        assert_eq!(
            meaning(b"SELECT pg_catalog.lo_close(0);"),
            Meaning::CloseLargeObject
        );
        assert_eq!(
            meaning(b"COMMENT ON TABLE t IS ' LARGE OBJECT 5 ';"),
            Meaning::Object
        );
    }

    #[test]
    fn settings_are_read() {
        assert_eq!(
            meaning(b"SET default_tablespace = '';"),
            Meaning::Setting {
                name: b"default_tablespace",
                value: b"''"
            }
        );
        assert!(matches!(
            meaning(b"SELECT pg_catalog.set_config('search_path', '', false);"),
            Meaning::Setting {
                name: b"search_path",
                ..
            }
        ));
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
