//! Of what kind a statement is, for those who load it over several sessions.

use crate::pipeline::sql::{Meaning, meaning};
use crate::pipeline::sql::{after, identifier, qualified, starts_with_any};

/// What a statement is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    /// Rows follow.
    Rows,
    /// A setting of the session: what, and its value with its quotes.
    Setting { name: &'a [u8], value: &'a [u8] },
    /// Makes an index, and nothing else; with what a comment on that begins.
    Definition { comment: Vec<u8> },
    /// Opens a transaction, which `pg_dump` does for large objects.
    Begin,
    /// Closes it.
    Commit,
    /// Something else that `pg_dump` writes.
    Other,
    /// Something that `pg_dump` does not write. It may change what the rest means.
    Foreign,
}

/// With what the statements begin that `pg_dump` writes, besides those with a kind of their own.
const OTHERS: [&[u8]; 12] = [
    b"ALTER ",
    b"COMMENT ON ",
    b"CREATE ",
    b"DROP ",
    b"GRANT ",
    b"INSERT INTO ",
    b"REFRESH MATERIALIZED VIEW ",
    b"REVOKE ",
    b"SECURITY LABEL ",
    b"SELECT pg_catalog.lo",
    b"SELECT pg_catalog.setval(",
    b"SELECT * FROM pg_catalog.pg_restore_",
];

/// These belong to the session that makes them.
const OF_THE_SESSION: [&[u8]; 6] = [
    b"CREATE TEMP",
    b"CREATE LOCAL TEMP",
    b"CREATE GLOBAL TEMP",
    b"CREATE OR REPLACE TEMP",
    b"CREATE OR REPLACE LOCAL TEMP",
    b"CREATE OR REPLACE GLOBAL TEMP",
];

/// With what the names of encodings begin that a server can have. In others, which a dump can have all
/// the same (`pg_dump --encoding`), a byte of a character may be that of a quote or a backslash: psql
/// knows the characters, and we look at bytes.
const PLAIN_ENCODINGS: [&[u8]; 9] = [
    b"'UTF8'",
    b"'SQL_ASCII'",
    b"'LATIN",
    b"'ISO_8859_",
    b"'WIN1",
    b"'WIN8",
    b"'KOI8",
    b"'EUC_",
    b"'MULE_INTERNAL'",
];

/// Of what kind a complete statement is; `has_list` says whether a comma stands in it outside of all
/// parentheses.
pub(super) fn kind(text: &[u8], has_list: bool) -> Kind<'_> {
    match meaning(text) {
        Meaning::Copy { .. } => return Kind::Rows,
        Meaning::Setting { name, value } => return setting(text, name, value),
        Meaning::Grantor(_) => {
            return Kind::Setting {
                name: b"session_authorization",
                value: b"",
            };
        }
        _ => {}
    }
    if text == b"BEGIN;" {
        return Kind::Begin;
    }
    if text == b"COMMIT;" {
        return Kind::Commit;
    }
    if !is_other(text) {
        return Kind::Foreign;
    }
    match index(text).or_else(|| constraint(text)) {
        Some(comment) if !has_list => Kind::Definition { comment },
        _ => Kind::Other,
    }
}

/// Whether a statement that begins so is one of `pg_dump`'s, and none with a kind of its own but a
/// definition.
pub(super) fn is_other(text: &[u8]) -> bool {
    starts_with_any(text, &OTHERS) && !starts_with_any(text, &OF_THE_SESSION)
}

fn setting<'a>(text: &[u8], name: &'a [u8], value: &'a [u8]) -> Kind<'a> {
    let is_a_name = |byte: &u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'.')
    };
    let is_foreign = match name {
        b"search_path" if text.starts_with(b"SELECT ") => !text.ends_with(b", false);"),
        b"client_encoding" => !starts_with_any(value, &PLAIN_ENCODINGS),
        // A word before the name, such as LOCAL, changes for how long it holds.
        _ => !name.iter().all(is_a_name),
    };
    if is_foreign {
        return Kind::Foreign;
    }
    Kind::Setting { name, value }
}

/// `CREATE UNIQUE INDEX i ON ONLY s.t USING …`, as `pg_get_indexdef` writes it: with what a comment on
/// it begins.
fn index(text: &[u8]) -> Option<Vec<u8>> {
    let heads = [b"CREATE INDEX ".as_slice(), b"CREATE UNIQUE INDEX "];
    let head = heads.iter().find(|head| text.starts_with(head))?;
    let (_, end) = identifier(text, head.len())?;
    let name = &text[head.len()..end];
    let at = after(text, end, b" ON ONLY ").or_else(|| after(text, end, b" ON "))?;
    let (table, end) = qualified(text, at)?;
    after(text, end, b" USING ")?;
    let (_, dot) = identifier(table, 0)?;
    let schema = table.get(..=dot).filter(|it| it.ends_with(b"."))?;
    Some([b"COMMENT ON INDEX ", schema, name, b" IS "].concat())
}

/// `ALTER TABLE ONLY s.t ADD CONSTRAINT c …`, of a constraint that has an index of its own: with what
/// a comment on it begins.
fn constraint(text: &[u8]) -> Option<Vec<u8>> {
    const HEAD: &[u8] = b"ALTER TABLE ONLY ";
    let kinds = [
        b" PRIMARY KEY (".as_slice(),
        b" UNIQUE (",
        b" UNIQUE NULLS NOT DISTINCT (",
        b" EXCLUDE USING ",
    ];
    let (table, end) = qualified(text, after(text, 0, HEAD)?)?;
    let at = after(text, end, b"\n    ADD CONSTRAINT ")?;
    let (_, end) = identifier(text, at)?;
    let name = &text[at..end];
    starts_with_any(&text[end..], &kinds)
        .then(|| [b"COMMENT ON CONSTRAINT ", name, b" ON ", table, b" IS "].concat())
}

#[cfg(test)]
mod tests {
    use super::{Kind, kind};
    use crate::pipeline::sql::Lexer;

    fn kind_of(text: &str) -> Kind<'_> {
        let mut lexer = Lexer::new(false);
        assert_eq!(lexer.push(text.as_bytes()), Some(text.len()), "{text}");
        kind(text.as_bytes(), lexer.has_list())
    }

    #[test]
    fn what_makes_an_index_of_one_table_is_a_definition() {
        for (text, comment) in [
            (
                "CREATE INDEX i ON public.t USING btree (a, lower(b)) INCLUDE (c) WITH (fillfactor='70') WHERE (a > 0);",
                "COMMENT ON INDEX public.i IS ",
            ),
            (
                "CREATE UNIQUE INDEX \"i \"\"x\" ON ONLY \"a.b\".\"t, u\" USING btree (a) NULLS NOT DISTINCT;",
                "COMMENT ON INDEX \"a.b\".\"i \"\"x\" IS ",
            ),
            (
                "ALTER TABLE ONLY public.t\n    ADD CONSTRAINT t_pkey PRIMARY KEY (a, b) INCLUDE (c);",
                "COMMENT ON CONSTRAINT t_pkey ON public.t IS ",
            ),
            (
                "ALTER TABLE ONLY \"x y\".t\n    ADD CONSTRAINT \"u v\" UNIQUE (a) DEFERRABLE INITIALLY DEFERRED;",
                "COMMENT ON CONSTRAINT \"u v\" ON \"x y\".t IS ",
            ),
            (
                "ALTER TABLE ONLY public.t\n    ADD CONSTRAINT u UNIQUE NULLS NOT DISTINCT (a);",
                "COMMENT ON CONSTRAINT u ON public.t IS ",
            ),
            (
                "ALTER TABLE ONLY public.t\n    ADD CONSTRAINT e EXCLUDE USING gist (a WITH =, b WITH &&) WHERE ((NOT c));",
                "COMMENT ON CONSTRAINT e ON public.t IS ",
            ),
            (
                "ALTER TABLE ONLY public.t\n    ADD CONSTRAINT p PRIMARY KEY (a, during WITHOUT OVERLAPS);",
                "COMMENT ON CONSTRAINT p ON public.t IS ",
            ),
        ] {
            let comment = comment.as_bytes().to_vec();
            assert_eq!(kind_of(text), Kind::Definition { comment }, "{text}");
        }
    }

    #[test]
    fn what_reaches_further_has_its_place() {
        for text in [
            "ALTER TABLE ONLY public.t\n    ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES public.u(a);",
            "ALTER TABLE public.t\n    ADD CONSTRAINT c CHECK ((a > 0)) NOT VALID;",
            "ALTER TABLE public.t\n    ADD CONSTRAINT n NOT NULL a NOT VALID;",
            "ALTER TABLE public.t\n    ADD CONSTRAINT p PRIMARY KEY (a);",
            "ALTER TABLE ONLY public.t\n    ADD CONSTRAINT u UNIQUE USING INDEX i;",
            "ALTER TABLE ONLY public.t\n    ADD CONSTRAINT p PRIMARY KEY (a), ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES public.u(a);",
            "ALTER TABLE ONLY public.t REPLICA IDENTITY USING INDEX i;",
            "ALTER TABLE public.t CLUSTER ON i;",
            "ALTER INDEX public.i ATTACH PARTITION public.j;",
            "ALTER INDEX public.i ALTER COLUMN 1 SET STATISTICS 100;",
            "CREATE INDEX CONCURRENTLY i ON public.t USING btree (a);",
            "CREATE INDEX IF NOT EXISTS i ON public.t USING btree (a);",
            "CREATE INDEX i ON t USING btree (a);",
            "CREATE INDEX ON public.t USING btree (a);",
            "CREATE STATISTICS public.s ON a, b FROM public.t;",
            "CREATE TRIGGER g AFTER INSERT ON public.t FOR EACH ROW EXECUTE FUNCTION public.f();",
            "COMMENT ON INDEX public.i IS 'x';",
            "REFRESH MATERIALIZED VIEW public.m;",
            "INSERT INTO public.t VALUES (1, 'CREATE INDEX i ON public.t USING btree (a);');",
            "SELECT pg_catalog.setval('public.s', 7, true);",
            "SELECT pg_catalog.lo_open('7', 131072);",
        ] {
            assert_eq!(kind_of(text), Kind::Other, "{text}");
        }
    }

    #[test]
    fn settings_are_those_that_hold_for_the_session() {
        for (text, name, value) in [
            (
                "SET default_tablespace = fast;",
                "default_tablespace",
                "fast",
            ),
            ("SET a.b = 'x';", "a.b", "'x'"),
            (
                "SET client_encoding = 'LATIN1';",
                "client_encoding",
                "'LATIN1'",
            ),
            (
                "SET SESSION AUTHORIZATION reader;",
                "session_authorization",
                "",
            ),
            ("RESET SESSION AUTHORIZATION;", "session_authorization", ""),
        ] {
            let (name, value) = (name.as_bytes(), value.as_bytes());
            assert_eq!(kind_of(text), Kind::Setting { name, value }, "{text}");
        }
        let text = "SELECT pg_catalog.set_config('search_path', '', false);";
        assert!(matches!(
            kind_of(text),
            Kind::Setting {
                name: b"search_path",
                ..
            }
        ));
    }

    #[test]
    fn what_pg_dump_does_not_write_is_foreign() {
        for text in [
            "SET LOCAL lock_timeout = 1;",
            "SET ROLE somebody;",
            "SET SESSION lock_timeout = 1;",
            "SET client_encoding = 'SJIS';",
            "SET client_encoding = 'WIN949';",
            "RESET ALL;",
            "SELECT pg_catalog.set_config('search_path', '', true);",
            "SELECT pg_catalog.set_config('role', 'x', false);",
            "SELECT public.f();",
            "COPY public.t (a) FROM STDIN;",
            "COPY public.t FROM '/etc/passwd';",
            "CREATE TEMP TABLE t (a int);",
            "CREATE OR REPLACE TEMPORARY VIEW v AS SELECT 1;",
            "BEGIN ISOLATION LEVEL SERIALIZABLE;",
            "ROLLBACK;",
            "LOCK TABLE public.t;",
            "DO $$ BEGIN END $$;",
            "PREPARE x AS SELECT 1;",
            "/* hidden */ ALTER TABLE t ADD a int;",
            ";",
        ] {
            assert_eq!(kind_of(text), Kind::Foreign, "{text}");
        }
    }

    #[test]
    fn large_objects_are_written_in_a_transaction() {
        assert_eq!(kind_of("BEGIN;"), Kind::Begin);
        assert_eq!(kind_of("COMMIT;"), Kind::Commit);
    }
}
