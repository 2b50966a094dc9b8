//! What `pg_dump --clean` writes before the first object, as `--if-exists` would have it
//! (`RestoreArchive` in `pg_backup_archiver.c`): a new database has nothing to be cleared away. Pure.

use memchr::memmem::find;

/// What is dropped by name. Where one kind begins with the words of another, the longer one comes first.
const KINDS: [&str; 37] = [
    "ACCESS METHOD",
    "AGGREGATE",
    "CAST",
    "COLLATION",
    "CONVERSION",
    "DOMAIN",
    "EVENT TRIGGER",
    "EXTENSION",
    "FOREIGN DATA WRAPPER",
    "FOREIGN TABLE",
    "FUNCTION",
    "INDEX",
    "LANGUAGE",
    "MATERIALIZED VIEW",
    "OPERATOR CLASS",
    "OPERATOR FAMILY",
    "OPERATOR",
    "POLICY",
    "PROCEDURAL LANGUAGE",
    "PROCEDURE",
    "PUBLICATION",
    "RULE",
    "SCHEMA",
    "SEQUENCE",
    "SERVER",
    "STATISTICS",
    "SUBSCRIPTION",
    "TABLE",
    "TEXT SEARCH CONFIGURATION",
    "TEXT SEARCH DICTIONARY",
    "TEXT SEARCH PARSER",
    "TEXT SEARCH TEMPLATE",
    "TRANSFORM",
    "TRIGGER",
    "TYPE",
    "USER MAPPING",
    "VIEW",
];

/// The same statement where what it clears away need not be there; none if it is no such statement, or
/// says so already.
pub(super) fn if_exists(text: &[u8]) -> Option<Vec<u8>> {
    if let Some(rest) = text.strip_prefix(b"DROP ") {
        let kind = KINDS.iter().find(|kind| {
            rest.strip_prefix(kind.as_bytes())
                .is_some_and(|rest| rest.starts_with(b" "))
        })?;
        let name = &rest[kind.len() + 1..];
        // An operator may be called by any signs.
        return (!name.starts_with(b"IF EXISTS "))
            .then(|| [b"DROP ", kind.as_bytes(), b" IF EXISTS ", name].concat());
    }
    if let Some(rest) = text.strip_prefix(b"ALTER TABLE ") {
        return of_table(rest);
    }
    if text.starts_with(b"ALTER DOMAIN ") {
        let dropped = drop_constraint(text)?;
        return (dropped != text).then_some(dropped);
    }
    let oid = text
        .strip_prefix(b"SELECT pg_catalog.lo_unlink(")?
        .strip_suffix(b");")?;
    (oid.starts_with(b"'") && oid.ends_with(b"'")).then(|| {
        [
            b"SELECT pg_catalog.lo_unlink(oid) FROM pg_catalog.pg_largeobject_metadata WHERE oid = ",
            oid,
            b";",
        ]
        .concat()
    })
}

/// A constraint, or the default of a column, that goes before its table does.
fn of_table(rest: &[u8]) -> Option<Vec<u8>> {
    if rest.starts_with(b"IF EXISTS ") {
        return None;
    }
    let dropped = drop_constraint(rest);
    let goes = dropped.is_some()
        || (find(rest, b" ALTER COLUMN ").is_some() && rest.ends_with(b" DROP DEFAULT;"));
    let rest = dropped.unwrap_or_else(|| rest.to_vec());
    goes.then(|| [b"ALTER TABLE IF EXISTS ", rest.as_slice()].concat())
}

/// `… DROP CONSTRAINT IF EXISTS c;`
fn drop_constraint(text: &[u8]) -> Option<Vec<u8>> {
    const WORDS: &[u8] = b" DROP CONSTRAINT ";
    let at = find(text, WORDS)?;
    let (head, name) = (&text[..at], &text[at + WORDS.len()..]);
    Some(if name.starts_with(b"IF EXISTS ") {
        text.to_vec()
    } else {
        [head, WORDS, b"IF EXISTS ", name].concat()
    })
}

#[cfg(test)]
mod tests {
    use super::if_exists;

    #[test]
    fn what_is_cleared_away_need_not_be_there() {
        for (text, expected) in [
            ("DROP TABLE public.t;", "DROP TABLE IF EXISTS public.t;"),
            ("DROP SCHEMA public;", "DROP SCHEMA IF EXISTS public;"),
            (
                "DROP OPERATOR CLASS s.o USING am;",
                "DROP OPERATOR CLASS IF EXISTS s.o USING am;",
            ),
            (
                "DROP OPERATOR s.= (integer, integer);",
                "DROP OPERATOR IF EXISTS s.= (integer, integer);",
            ),
            (
                "DROP USER MAPPING FOR o SERVER s;",
                "DROP USER MAPPING IF EXISTS FOR o SERVER s;",
            ),
            ("DROP CAST (a AS b);", "DROP CAST IF EXISTS (a AS b);"),
            (
                "ALTER TABLE ONLY public.t DROP CONSTRAINT t_pkey;",
                "ALTER TABLE IF EXISTS ONLY public.t DROP CONSTRAINT IF EXISTS t_pkey;",
            ),
            (
                "ALTER TABLE public.t ALTER COLUMN id DROP DEFAULT;",
                "ALTER TABLE IF EXISTS public.t ALTER COLUMN id DROP DEFAULT;",
            ),
            (
                "ALTER DOMAIN s.d DROP CONSTRAINT k;",
                "ALTER DOMAIN s.d DROP CONSTRAINT IF EXISTS k;",
            ),
            (
                "SELECT pg_catalog.lo_unlink('7');",
                "SELECT pg_catalog.lo_unlink(oid) FROM pg_catalog.pg_largeobject_metadata WHERE oid = '7';",
            ),
        ] {
            let found = if_exists(text.as_bytes()).map(|it| String::from_utf8(it).unwrap());
            assert_eq!(found.as_deref(), Some(expected));
            assert_eq!(if_exists(expected.as_bytes()), None, "{expected}");
        }
        for text in [
            "DROP DATABASE app;",
            "DROP ROLE r;",
            "DROP OWNED BY r;",
            "DROP TABLESPACE s;",
            "ALTER TABLE public.t OWNER TO o;",
            "SELECT pg_catalog.lo_unlink(f());",
            "CREATE TABLE t (a int);",
        ] {
            assert_eq!(if_exists(text.as_bytes()), None, "{text}");
        }
    }
}
