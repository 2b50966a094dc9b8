use proptest::prelude::*;

use super::{Adaptation, Adapter};

fn adapted(text: &[u8], database: Option<&str>, piece: usize) -> String {
    let adaptation = Adaptation {
        database: database.map(|name| name.as_bytes().to_vec()),
        server_major: 15,
    };
    let mut adapter = Adapter::new(&adaptation);
    let mut out = Vec::new();
    for block in text.chunks(piece) {
        adapter.push(block, &mut out);
    }
    adapter.push(&[], &mut out);
    String::from_utf8(out).unwrap()
}

const DUMP: &str = "--\n-- PostgreSQL database dump\n--\n\n\\restrict abc\n\n\
    SET statement_timeout = 0;\n\
    SELECT pg_catalog.set_config('search_path', '', false);\n\
    ALTER TABLE IF EXISTS ONLY public.t DROP CONSTRAINT IF EXISTS p;\n\
    --\n-- Name: t; Type: TABLE; Schema: public; Owner: o\n--\n\n\
    CREATE TABLE public.t (\n    a text DEFAULT 'x;\ty'::text,\n    \"user\" integer\n);\n\n\
    ALTER TABLE public.t OWNER TO o;\n\
    -- Name: TABLE t; Type: COMMENT; Schema: public; Owner: o\n\
    COMMENT ON TABLE public.t IS 'a \"name\"';\n\
    COPY public.t (a, \"user\") FROM stdin;\n\"a\"\t1\nDROP TABLE \"x\";\t2\n\\.\n\n\
    --\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict abc\n";

#[test]
fn what_pg_dump_writes_by_itself_stays_as_it_is_however_it_is_cut() {
    for piece in 1..=DUMP.len() {
        assert_eq!(adapted(DUMP.as_bytes(), None, piece), DUMP, "by {piece}");
    }
}

#[test]
fn other_ways_of_writing_become_the_usual_one_however_they_are_cut() {
    let quoted = DUMP
        .replace("public.t", "\"public\".\"t\"")
        .replace("::text", "::\"text\"")
        .replace(" a text", " \"a\" \"text\"")
        .replace("(a,", "(\"a\",")
        .replace("OWNER TO o", "OWNER TO \"o\"")
        .replace("-- Name: TABLE t;", "-- Name: TABLE \"t\";")
        .replace("EXISTS p;", "EXISTS \"p\";");
    assert_ne!(quoted, DUMP);
    let clean = DUMP.replace("IF EXISTS ", "");
    for text in [&quoted, &clean] {
        let of_windows = text.replace('\n', "\r\n");
        let marked = format!("\u{feff}{of_windows}");
        for text in [text, &of_windows, &marked] {
            for piece in [1, 2, 3, 7, 64, 1000, 10_000] {
                assert_eq!(adapted(text.as_bytes(), None, piece), DUMP, "by {piece}");
            }
        }
    }
}

/// A cluster with two databases; the second has a name that wants quotes.
fn cluster() -> String {
    format!(
        "--\n-- PostgreSQL database cluster dump\n--\n\n\\restrict abc\n\nSET default_transaction_read_only = off;\n\
         CREATE ROLE o;\nDROP ROLE x;\n\\unrestrict abc\n\n--\n-- Databases\n--\n\n\
         -- Database \"app\" dump\n--\n\n--\n-- PostgreSQL database dump\n--\n\n\\restrict abc\n\n\
         SET statement_timeout = 0;\n\
         -- Name: app; Type: DATABASE; Schema: -; Owner: o\nCREATE DATABASE app WITH TEMPLATE = template0 ENCODING = 'UTF8';\n\
         ALTER DATABASE app OWNER TO o;\n\n\\unrestrict abc\n\\connect app\n\\restrict abc\n\n{DUMP}\
         -- Name: DATABASE app; Type: ACL; Schema: -; Owner: o\n\
         -- Database \"b c\" dump\n--\n\n\
         CREATE DATABASE \"b c\" WITH TEMPLATE = template0;\n\\connect -reuse-previous=on \"dbname='b c'\"\n\n\
         -- Name: DATABASE \"b c\"; Type: ACL; Schema: -; Owner: o\n\
         GRANT ALL ON DATABASE \"b c\" TO o;\n\
         -- Name: u; Type: TABLE; Schema: public; Owner: o\nCREATE TABLE public.u (a int);\n\
         COPY public.u (a) FROM stdin;\n1\n\\.\n\
         -- PostgreSQL database dump complete\n\
         -- PostgreSQL database cluster dump complete\n"
    )
}

#[test]
fn of_several_databases_one_comes_with_nothing_of_the_others() {
    let text = cluster();
    let lines = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.is_empty());
        lines.map(str::to_owned).collect()
    };
    for piece in [1, 5, 100, 100_000] {
        let app = adapted(text.as_bytes(), Some("app"), piece);
        let expected: Vec<String> = lines(DUMP)
            .into_iter()
            .filter(|line| !line.contains("restrict abc"))
            .collect();
        let mut found = lines(&app);
        // What closes the frame of the last comment belongs to nobody.
        found.retain(|line| line != "--");
        let expected: Vec<String> = expected.into_iter().filter(|line| line != "--").collect();
        assert_eq!(found, expected, "by {piece}");
        assert_eq!(app.lines().count(), text.lines().count(), "lines stay");

        let other = adapted(text.as_bytes(), Some("b c"), piece);
        let expected = [
            "-- Name: DATABASE \"b c\"; Type: ACL; Schema: -; Owner: o",
            "-- Name: u; Type: TABLE; Schema: public; Owner: o",
            "CREATE TABLE public.u (a int);",
            "COPY public.u (a) FROM stdin;",
            "1",
            "\\.",
            "-- PostgreSQL database dump complete",
        ];
        assert_eq!(lines(&other), expected, "by {piece}");
        let none = adapted(text.as_bytes(), Some("live"), piece);
        assert_eq!(lines(&none), [""; 0]);
    }
}

proptest! {
    #[test]
    fn it_is_the_same_however_it_is_cut(
        parts in proptest::collection::vec(prop_oneof![
            Just("CREATE TABLE \"a\" (\"b\" int);"),
            Just("COPY \"a\" (\"b\") FROM stdin;\n\"1\"\n\\.\n"),
            Just("DROP TABLE \"a\";"),
            Just("-- Name: TABLE \"a\"; Type: ACL; Schema: x; Owner: o\n"),
            Just("\\connect x\n"),
            Just("-- PostgreSQL database dump complete\n"),
            Just("\r\n"),
            Just("\n"),
            Just("'"),
            Just("$$"),
            Just("\""),
            Just("/*"),
            Just(" "),
            Just("E'\\"),
        ], 0..20),
        piece in 1..30_usize,
        has_mark: bool,
        is_chosen: bool,
    ) {
        let mut text = parts.concat();
        if has_mark {
            text.insert(0, '\u{feff}');
        }
        let database = is_chosen.then_some("x");
        let whole = adapted(text.as_bytes(), database, text.len().max(1));
        prop_assert_eq!(&adapted(text.as_bytes(), database, piece), &whole);
        // Once is enough, and no line is lost.
        if !is_chosen {
            prop_assert_eq!(&adapted(whole.as_bytes(), None, piece), &whole);
        }
        prop_assert_eq!(whole.matches('\n').count(), text.matches('\n').count());
    }
}
