//! Whole dumps: what counts and what does not.

use std::fmt::Write;

use proptest::prelude::*;

use super::{Census, Difference, Flaw, Scanner, from_printable, printable, read, write};

#[test]
fn the_hash_of_the_definitions_follows_the_schema_and_no_content() {
    let definitions = |dump: &str| census(dump).definitions();
    let known = definitions(DUMP);
    for (was, is) in [
        ("1\tone", "2\ttwo"),
        ("'public.s', 42, true", "'public.s', 8, true"),
        ("lo_create('16400')", "lo_create('16401')"),
        ("LARGE OBJECT 16400 TO", "LARGE OBJECT 16400 TO PUBLIC,"),
    ] {
        assert_eq!(definitions(&DUMP.replace(was, is)), known, "{was}");
    }
    for (was, is) in [
        ("    b text\n", "    b bytea\n"),
        (
            "ALTER TABLE public.t OWNER TO o;",
            "ALTER TABLE public.t OWNER TO p;",
        ),
        (
            "FUNCTION public.f() RETURNS text",
            "FUNCTION public.f() RETURNS int",
        ),
    ] {
        let changed = DUMP.replace(was, is);
        assert_ne!(changed, DUMP, "{was}");
        assert_ne!(definitions(&changed), known, "{was}");
    }
}

const DUMP: &str = r#"--
-- PostgreSQL database dump
--

\restrict e8vWYk

-- Dumped from database version 15.18
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);

--
-- Name: f(); Type: FUNCTION; Schema: public; Owner: o
--

CREATE FUNCTION public.f() RETURNS text LANGUAGE sql AS $$
-- Name: spoof; Type: TABLE; Schema: public; Owner: o
SELECT ';' $$;


ALTER FUNCTION public.f() OWNER TO o;

SET default_tablespace = '';
SET default_table_access_method = heap;

--
-- Name: t; Type: TABLE; Schema: public; Owner: o
--

CREATE TABLE public.t (
    a integer NOT NULL,
    b text
);


ALTER TABLE public.t OWNER TO o;

--
-- Name: 16400; Type: BLOB; Schema: -; Owner: o
--

SELECT pg_catalog.lo_create('16400');


ALTER LARGE OBJECT 16400 OWNER TO o;

--
-- Data for Name: t; Type: TABLE DATA; Schema: public; Owner: o
--

COPY public.t (a, b) FROM stdin;
1	one
2	-- PostgreSQL database dump complete
\.


--
-- Data for Name: BLOBS; Type: BLOBS; Schema: -; Owner: -
--

BEGIN;

SELECT pg_catalog.lo_open('16400', 131072);
SELECT pg_catalog.lowrite(0, '\xdeadbeef');
SELECT pg_catalog.lo_close(0);

COMMIT;

--
-- Name: s; Type: SEQUENCE SET; Schema: public; Owner: o
--

SELECT pg_catalog.setval('public.s', 42, true);


--
-- Name: TABLE t; Type: ACL; Schema: public; Owner: o
--

SET SESSION AUTHORIZATION a;
GRANT SELECT ON TABLE public.t TO c;
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION "b = ;";
GRANT SELECT ON TABLE public.t TO d;
RESET SESSION AUTHORIZATION;


--
-- Name: LANGUAGE x; Type: COMMENT; Schema: -; Owner: o
--

COMMENT ON LANGUAGE x IS 'x';


--
-- Statistics for Name: t; Type: STATISTICS DATA; Schema: public; Owner: -
--

SELECT * FROM pg_catalog.pg_restore_relation_stats(
	'version', '180006'::integer,
	'relpages', '1'::integer
);


--
-- PostgreSQL database dump complete
--

\unrestrict e8vWYk

"#;

fn scan(text: &[u8], piece: usize) -> Result<Census, Flaw> {
    let mut scanner = Scanner::new();
    for part in text.chunks(piece) {
        scanner.push(part)?;
    }
    scanner.finish()
}

fn census(text: &str) -> Census {
    scan(text.as_bytes(), 4096).unwrap()
}

#[test]
fn a_dump_is_counted_the_same_however_it_is_cut() {
    let whole = census(DUMP);
    let summary = whole.summary();
    assert_eq!(
        (summary.tables, summary.rows, summary.large_objects),
        (1, 2, 1)
    );
    for piece in 1..200 {
        assert_eq!(
            scan(DUMP.as_bytes(), piece).unwrap(),
            whole,
            "pieces of {piece}"
        );
    }
}

#[test]
fn tokens_comments_and_settings_do_not_count() {
    let other = DUMP
        .replace("e8vWYk", "Xq0")
        .replace(
            "-- Dumped from database version 15.18",
            "-- Dumped from database version 16.2",
        )
        .replace(
            "SET client_encoding",
            "SET statement_timeout = 0;\nSET client_encoding",
        )
        .replace("'relpages', '1'", "'relpages', '2'")
        .replace("2\t-- PostgreSQL database dump complete\n", "")
        .replace(
            "1\tone\n",
            "2\t-- PostgreSQL database dump complete\n1\tone\n",
        )
        .replace(
            "    a integer NOT NULL,\n    b text\n",
            "    b text,\n    a integer NOT NULL\n",
        );
    assert_ne!(other, DUMP);
    assert_eq!(census(&other).differences(&census(DUMP)), []);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn every_other_change_is_named() {
    for (from, to, named) in [
        (
            "1\tone",
            "1\tOne",
            "public.t: the number of rows agrees, their content does not",
        ),
        ("1\tone\n", "", "public.t: 2 rows expected, 1 row found"),
        (
            "1\tone\n",
            "1\tone\n1\tone\n",
            "public.t: 2 rows expected, 3 rows found",
        ),
        (
            "COPY public.t (a, b)",
            "COPY public.t (b, a)",
            "public.t: the number of rows agrees, their content does not",
        ),
        (
            "SELECT ';' $$",
            "SELECT ':' $$",
            "function public.f() differs",
        ),
        (
            "ALTER FUNCTION public.f() OWNER TO o;",
            "",
            "the owner of function public.f() differs",
        ),
        ("b text", "b varchar", "table public.t differs"),
        (
            "SET default_tablespace = '';",
            "SET default_tablespace = fast;",
            "table public.t differs",
        ),
        (
            "'public.s', 42",
            "'public.s', 43",
            "the value of sequence public.s differs",
        ),
        ("deadbeef", "deadbeee", "large object 16400 differs"),
        (
            "ALTER LARGE OBJECT 16400 OWNER TO o;",
            "",
            "large object 16400 differs",
        ),
        (
            "TO c;\nRESET SESSION AUTHORIZATION;\nSET SESSION AUTHORIZATION \"b = ;\";\nGRANT SELECT ON TABLE public.t TO d;",
            "TO d;\nRESET SESSION AUTHORIZATION;\nSET SESSION AUTHORIZATION \"b = ;\";\nGRANT SELECT ON TABLE public.t TO c;",
            "the access list of TABLE t in schema public differs",
        ),
        ("IS 'x'", "IS 'y'", "the comment on LANGUAGE x differs"),
        ("\\restrict", "\\!", "the dump's head should not be there"),
    ] {
        assert!(DUMP.contains(from), "{from} is not in the dump");
        let differences = census(&DUMP.replacen(from, to, 1)).differences(&census(DUMP));
        let sentences: Vec<String> = differences.iter().map(Difference::to_string).collect();
        assert_eq!(sentences, [named], "{from} → {to}");
        let hash = |text: &str| census(text).summary().hash;
        assert_ne!(
            hash(&DUMP.replacen(from, to, 1)),
            hash(DUMP),
            "{from} → {to}"
        );
    }
}

#[test]
fn a_missing_and_an_added_object_are_reported_apart() {
    let without = DUMP
        .replace(
            "-- Name: s; Type: SEQUENCE SET; Schema: public; Owner: o\n",
            "",
        )
        .replace("SELECT pg_catalog.setval('public.s', 42, true);\n", "");
    let text = |found: &str, expected: &str| {
        let differences = census(found).differences(&census(expected));
        differences
            .iter()
            .map(Difference::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        text(&without, DUMP),
        ["the value of sequence public.s is missing"]
    );
    assert_eq!(
        text(DUMP, &without),
        ["the value of sequence public.s should not be there"]
    );
}

#[test]
fn a_dump_that_breaks_off_anywhere_is_incomplete() {
    let end = DUMP.rfind("-- PostgreSQL database dump complete").unwrap();
    for length in 0..=end {
        assert!(
            scan(&DUMP.as_bytes()[..length], 4096).is_err(),
            "cut at {length}"
        );
    }
    assert_eq!(scan(b"", 1), Err(Flaw::NotCompleted));
    let in_rows = DUMP.find("\\.\n").unwrap();
    assert_eq!(
        scan(&DUMP.as_bytes()[..in_rows], 4096),
        Err(Flaw::BrokenOffInRows("public.t".to_owned()))
    );
}

#[test]
fn nothing_may_follow_the_last_line() {
    for more in ["DROP TABLE public.t;", "\\! true\n"] {
        let text = format!("{DUMP}{more}");
        assert_eq!(
            scan(text.as_bytes(), 4096),
            Err(Flaw::AfterCompletion),
            "{more}"
        );
    }
}

#[test]
fn names_of_any_encoding_are_reported_apart() {
    let dump = |name: &[u8]| {
        let mut text = b"COPY public.".to_vec();
        text.extend_from_slice(name);
        text.extend_from_slice(b" (a) FROM stdin;\n1\n\\.\n-- PostgreSQL database dump complete\n");
        scan(&text, 4096).unwrap()
    };
    let names: [&[u8]; 8] = [
        b"t",
        b"\"T\"",
        b"\"t \"",
        b"\"a\nb\"",
        b"\"a b\"",
        b"\"caf\xe9\"",
        "\"café\"".as_bytes(),
        b"\"caf\\xe9\"",
    ];
    for (i, first) in names.iter().enumerate() {
        for (j, second) in names.iter().enumerate() {
            assert_eq!(dump(first) == dump(second), i == j);
        }
    }
}

#[test]
fn a_row_far_larger_than_a_block_is_counted() {
    let head = "COPY t (a, b) FROM stdin;\n";
    let tail = "\tx\n\\.\n-- PostgreSQL database dump complete\n";
    let row = vec![b'v'; 20 << 20];
    let take = |value: &[u8]| {
        let mut scanner = Scanner::new();
        scanner.push(head.as_bytes()).unwrap();
        for part in value.chunks(1 << 16) {
            scanner.push(part).unwrap();
        }
        scanner.push(tail.as_bytes()).unwrap();
        scanner.finish().unwrap()
    };
    let mut other = row.clone();
    other[10 << 20] ^= 1;
    assert_eq!(take(&row).summary().rows, 1);
    assert_ne!(take(&row), take(&other));
}

#[test]
fn a_stored_census_reads_back_and_a_changed_one_does_not() {
    let census = census(DUMP);
    let mut stored = Vec::new();
    write(&census, &mut stored).unwrap();
    assert_eq!(read(stored.as_slice()).unwrap(), census);
    let text = String::from_utf8(stored).unwrap();
    assert!(read(text.replace("\"rows\":2", "\"rows\":3").as_bytes()).is_err());
    let lines: Vec<&str> = text.lines().collect();
    for left_out in 0..lines.len() {
        let mut fewer = lines.clone();
        fewer.remove(left_out);
        assert!(
            read(fewer.join("\n").as_bytes()).is_err(),
            "without line {left_out}"
        );
    }
    let newer = text.replacen("\"format\":1", "\"format\":2", 1);
    assert_eq!(
        read(newer.as_bytes()).unwrap_err().to_string(),
        "the census has format 2, which is newer than this program: upgrade pgbackupd"
    );
}

#[test]
fn too_many_large_objects_are_counted_together() {
    let dump = |changed: u64| {
        let mut scanner = Scanner::new();
        for oid in 1..=super::LARGE_OBJECTS_APART as u64 + 1 {
            let digit = u8::from(oid == changed);
            let text = format!(
                "SELECT pg_catalog.lo_open('{oid}', 1);\nSELECT pg_catalog.lowrite(0, '\\x{digit:02}');\nSELECT pg_catalog.lo_close(0);\n"
            );
            scanner.push(text.as_bytes()).unwrap();
        }
        scanner
            .push(b"-- PostgreSQL database dump complete\n")
            .unwrap();
        scanner.finish().unwrap()
    };
    let whole = dump(0);
    let mut stored = Vec::new();
    write(&whole, &mut stored).unwrap();
    assert_eq!(read(stored.as_slice()).unwrap(), whole);
    assert_eq!(
        dump(5).differences(&whole),
        [Difference::Changed("the set of large objects".to_owned())]
    );
}

proptest! {
    #[test]
    fn printable_names_go_both_ways(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        prop_assert_eq!(from_printable(&printable(&bytes)), Some(bytes));
    }

    #[test]
    fn no_text_makes_the_scanner_panic(
        text in "(COPY|SELECT|CREATE|[ a-z'\"$;()\\\\\n\t/*-]){0,60}",
        piece in 1_usize..20,
    ) {
        let _ = scan(text.as_bytes(), piece);
    }

    #[test]
    fn one_changed_byte_of_a_value_is_seen(
        rows in prop::collection::vec(("[a-z]{0,20}", "[a-z]{0,20}"), 1..20),
        pick in any::<prop::sample::Index>(),
    ) {
        let dump = |rows: &[(String, String)]| {
            let mut text = String::from("COPY t (a, b) FROM stdin;\n");
            for (a, b) in rows {
                writeln!(text, "{a}\t{b}").unwrap();
            }
            text.push_str("\\.\n-- PostgreSQL database dump complete\n");
            census(&text)
        };
        let mut changed = rows.clone();
        changed[pick.index(rows.len())].1.push('z');
        prop_assert_ne!(dump(&rows), dump(&changed));
        let mut turned = rows.clone();
        turned.reverse();
        prop_assert_eq!(dump(&rows), dump(&turned));
    }
}
