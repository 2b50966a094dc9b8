//! What a statement of a dump is about, by its text.

use memchr::{memchr, memmem};

use super::identifier::{identifier, qualified, starts_with_any};

/// A longer statement is hashed without being held, and is taken for an ordinary one. The longest
/// that must be understood is the head of a COPY block: 1,600 columns with quoted names of 63
/// bytes are a fifth of this.
pub(in crate::pipeline) const LONGEST_HELD: usize = 1 << 20;

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

/// The table that an INSERT puts rows into, as it is written.
pub(in crate::pipeline) fn inserted_into(text: &[u8]) -> Option<&[u8]> {
    let rest = text.strip_prefix(b"INSERT INTO ")?;
    qualified(rest, 0).map(|(table, _)| table)
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

/// Whether a statement that stands before the first object of a dump clears something away
/// (`pg_dump --clean --if-exists`), and brings nothing.
pub(in crate::pipeline) fn clears_away(text: &[u8]) -> bool {
    let heads: [&[u8]; 3] = [
        b"DROP ",
        b"ALTER TABLE IF EXISTS ",
        b"SELECT pg_catalog.lo_unlink(",
    ];
    starts_with_any(text, &heads) || clears_in_vain(text)
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
    use super::{Meaning, meaning};

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
    fn statements_about_large_objects_are_reported_from_the_others() {
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
}
