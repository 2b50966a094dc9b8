use std::fmt::Write as _;

use proptest::prelude::*;

use super::{Segment, Segmenter};

use crate::pipeline::{Reason, StreamError};

type Found = Vec<(&'static str, Vec<u8>)>;

/// The segments of a dump that is cut into blocks of so many bytes, those of a kind that are cut
/// anywhere put together; and why no more of them came.
fn segments(dump: &[u8], block: usize, accepts: bool) -> (Found, Option<Reason>) {
    let mut found: Vec<(&'static str, Vec<u8>)> = Vec::new();
    let mut each = |segment: Segment<'_>| {
        let (name, whole) = match segment {
            Segment::Ordered(_) => ("ordered", false),
            Segment::Between(_) => ("between", false),
            Segment::Setting { .. } => ("setting", true),
            Segment::Definition(_) => ("definition", true),
            Segment::Remark(_) => ("remark", true),
        };
        match found.last_mut() {
            Some((last, text)) if *last == name && !whole => {
                text.extend_from_slice(segment.text());
            }
            _ => found.push((name, segment.text().to_vec())),
        }
        Ok(())
    };
    let mut segmenter = Segmenter::new(accepts);
    let passed = dump
        .chunks(block)
        .try_for_each(|block| segmenter.push(block, &mut each))
        .and_then(|()| segmenter.finish(&mut each));
    let reason = passed.err().map(|error| match error {
        StreamError::Refused(finding) => finding.reason,
        error => panic!("{error}"),
    });
    (found, reason)
}

/// The same as text, without what stands between.
fn segments_of(dump: &str, block: usize) -> String {
    let (found, refused) = segments(dump.as_bytes(), block, true);
    assert_eq!(refused, None);
    let joined: Vec<u8> = found.iter().flat_map(|(_, text)| text.clone()).collect();
    // Lines of restricted mode leave their break.
    let expected = dump
        .replace("\\restrict abc", "")
        .replace("\\unrestrict abc", "");
    assert!(
        joined == expected.as_bytes(),
        "blocks of {block} lose something"
    );
    let mut segments = String::new();
    for (name, text) in found {
        if name != "between" {
            writeln!(segments, "{name}: {}", String::from_utf8(text).unwrap()).unwrap();
        }
    }
    segments
}

const DUMP: &str = "--\n-- PostgreSQL database dump\n--\n\n\\restrict abc\n\n\
    SET statement_timeout = 0;\n\
    SELECT pg_catalog.set_config('search_path', '', false);\n\n\
    CREATE FUNCTION public.f() RETURNS int LANGUAGE sql AS $_$ SELECT 1; CREATE INDEX i ON public.t USING btree (a); $_$;\n\
    SET default_tablespace = '';\n\
    CREATE TABLE public.t (a text);\n\n\
    COPY public.t (a) FROM stdin;\n\
    CREATE INDEX i ON public.t USING btree (a);\n\
    \\\\.\n\
    \\.\n\n\n\
    --\n-- Name: t p; Type: CONSTRAINT; Schema: public; Owner: o\n--\n\n\
    ALTER TABLE ONLY public.t\n    ADD CONSTRAINT p PRIMARY KEY (a);\n\n\
    CREATE INDEX i ON public.t USING btree (a) WHERE (a <> ';'::text);\n\n\
    --\n-- Name: INDEX i; Type: COMMENT\n--\n\n\
    COMMENT ON INDEX public.i IS 'a; comment';\n\n\
    SET default_tablespace = fast;\n\
    CREATE INDEX j ON public.t USING btree (a);\n\
    COMMENT ON INDEX public.i IS 'not its own';\n\
    ALTER TABLE ONLY public.t\n    ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES public.u(a);\n\
    --\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict abc\n\n";

#[test]
fn a_dump_is_cut_where_order_matters_however_it_arrives() {
    let expected = "setting: SET statement_timeout = 0;\n\
        setting: SELECT pg_catalog.set_config('search_path', '', false);\n\
        ordered: CREATE FUNCTION public.f() RETURNS int LANGUAGE sql AS $_$ SELECT 1; CREATE INDEX i ON public.t USING btree (a); $_$;\n\
        setting: SET default_tablespace = '';\n\
        ordered: CREATE TABLE public.t (a text);\n\
        ordered: COPY public.t (a) FROM stdin;\nCREATE INDEX i ON public.t USING btree (a);\n\\\\.\n\\.\n\n\
        definition: ALTER TABLE ONLY public.t\n    ADD CONSTRAINT p PRIMARY KEY (a);\n\
        definition: CREATE INDEX i ON public.t USING btree (a) WHERE (a <> ';'::text);\n\
        remark: COMMENT ON INDEX public.i IS 'a; comment';\n\
        setting: SET default_tablespace = fast;\n\
        definition: CREATE INDEX j ON public.t USING btree (a);\n\
        ordered: COMMENT ON INDEX public.i IS 'not its own';\n\
        ordered: ALTER TABLE ONLY public.t\n    ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES public.u(a);\n";
    for block in (1..200).chain([DUMP.len()]) {
        assert_eq!(segments_of(DUMP, block), expected, "blocks of {block}");
    }
}

#[test]
fn behind_what_is_not_known_everything_has_its_place() {
    let index = "CREATE INDEX i ON public.t USING btree (a);\n";
    for unknown in ["CREATE TEMPORARY TABLE t (a int);\n", ";\n", "VACUUM;\n"] {
        let segments = segments_of(&format!("{index}{unknown}{index}"), 7);
        let definitions = segments.matches("definition: ").count();
        assert_eq!(definitions, 1, "{unknown}: {segments}");
    }
}

#[test]
fn what_is_refused_is_not_handed_out_nor_anything_behind_it() {
    let index = "CREATE INDEX i ON public.t USING btree (a);\n";
    let long = "x".repeat(3 << 20);
    for (refused, accepts, reason) in [
        ("\\connect other\n".to_owned(), true, Reason::Connect),
        ("\\! id\n".to_owned(), true, Reason::Command),
        (
            "SELECT public.f() \\gexec\n;".to_owned(),
            true,
            Reason::Command,
        ),
        ("DROP DATABASE live;\n".to_owned(), true, Reason::Database),
        (
            "COPY public.t (a) FROM STDIN;\n".to_owned(),
            true,
            Reason::Copy,
        ),
        (
            "SET client_encoding = 'GBK';\n".to_owned(),
            true,
            Reason::Encoding,
        ),
        ("-1;\n".to_owned(), true, Reason::Ambiguous),
        (
            "-- a\rDROP DATABASE live;\n".to_owned(),
            true,
            Reason::LineEnds,
        ),
        ("SET lock_timeout = 0;\0\n".to_owned(), true, Reason::Zero),
        ("VACUUM;\n".to_owned(), false, Reason::Unexpected),
        (format!("CREATE ROLE \"{long}\";\n"), true, Reason::Role),
        // psql would carry it out at the end of its input.
        (
            "DROP TABLE IF EXISTS public.t".to_owned(),
            true,
            Reason::Ambiguous,
        ),
        ("\\! id".to_owned(), true, Reason::Command),
    ] {
        for block in [7, 1 << 20] {
            let dump = format!("{index}{refused}");
            let (found, why) = segments(dump.as_bytes(), block, accepts);
            assert_eq!(why, Some(reason), "{}", &refused[..refused.len().min(60)]);
            let sent: Vec<u8> = found.iter().flat_map(|(_, text)| text.clone()).collect();
            assert!(
                index.as_bytes().starts_with(&sent),
                "{}",
                sent.escape_ascii()
            );
        }
    }
    // Of rows, those before have been sent.
    let rows = "COPY public.t (a) FROM stdin;\n1\n\\.\r\nDROP DATABASE live;\n\\.\n";
    let (found, why) = segments(rows.as_bytes(), 1 << 20, true);
    assert_eq!((found.len(), why), (1, Some(Reason::LineEnds)));
    let behind = "COPY public.t (a) FROM stdin; SELECT 1;\n1\n\\.\n";
    let (_, why) = segments(behind.as_bytes(), 7, true);
    assert_eq!(why, Some(Reason::Ambiguous));
}

#[test]
fn what_is_in_a_transaction_stays_together() {
    let index = "CREATE INDEX i ON public.t USING btree (a);\n";
    let segments = segments_of(
        &format!("BEGIN;\nSELECT pg_catalog.lo_close(0);\nCOMMIT;\n{index}"),
        9,
    );
    assert_eq!(segments.matches("definition: ").count(), 1, "{segments}");
    assert_eq!(segments.matches("ordered: BEGIN").count(), 1, "{segments}");
}

#[test]
fn strings_end_where_the_dump_s_own_setting_says() {
    let dump = "SET standard_conforming_strings = off;\n\
        COMMENT ON TABLE public.t IS '\\'; CREATE INDEX i ON public.t USING btree (a);';\n\
        CREATE INDEX j ON public.t USING btree (a);\n";
    let segments = segments_of(dump, 11);
    assert_eq!(segments.matches("definition: ").count(), 1, "{segments}");
    assert!(
        segments.contains("definition: CREATE INDEX j"),
        "{segments}"
    );
}

#[test]
fn a_statement_of_any_length_passes_in_pieces() {
    let long = "x".repeat(3 << 20);
    let dump = format!(
        "COMMENT ON TABLE public.t IS '{long};';\n-- {long}\nCREATE INDEX i ON public.t USING btree (a);\n"
    );
    let mut segmenter = Segmenter::new(false);
    let (mut longest, mut definitions) = (0, 0);
    let mut each = |segment: Segment<'_>| {
        longest = longest.max(segment.text().len());
        definitions += usize::from(matches!(segment, Segment::Definition(_)));
        Ok(())
    };
    for block in dump.as_bytes().chunks(1000) {
        segmenter.push(block, &mut each).unwrap();
    }
    assert!(longest < (1 << 20) + 1001, "{longest}");
    assert_eq!(definitions, 1);
}

#[test]
fn bytes_of_no_encoding_are_let_through() {
    let dump = b"SET client_encoding = 'SQL_ASCII';\n\
        CREATE INDEX \"caf\xe9\" ON public.\"\xff\xfe\" USING btree (a);\n\
        COMMENT ON INDEX public.\"caf\xe9\" IS '\xe9';\n";
    let (found, _) = segments(dump, 5, false);
    let names: Vec<_> = found
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| *name != "between")
        .collect();
    assert_eq!(names, ["setting", "definition", "remark"]);
}

/// Pieces of which dumps are made, and of what is none.
fn fragment() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(b"CREATE INDEX i ON public.t USING btree (a);".to_vec()),
        Just(b"COMMENT ON INDEX public.i IS 'x';".to_vec()),
        Just(b"ALTER TABLE ONLY public.t\n    ADD CONSTRAINT c UNIQUE (a);\n".to_vec()),
        Just(b"COPY public.t (a) FROM stdin;\n1\n\\.\n".to_vec()),
        Just(b"SET lock_timeout = '0';\n".to_vec()),
        Just(b"COMMENT ON TABLE t IS '".to_vec()),
        Just(b"$$".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"-- x\n".to_vec()),
        Just(b"\\.".to_vec()),
        Just(b"'".to_vec()),
        Just(b"BEGIN;".to_vec()),
        Just(b"COMMIT;".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..6),
    ]
}

/// The beginning of a byte order mark that is none belongs to the text, however it is cut.
#[test]
fn half_a_byte_order_mark_is_text() {
    for (dump, text, passes) in [
        (b"\xef\xbb\xbf-- x\n".as_slice(), b"-- x\n".as_slice(), true),
        // A statement of an unknown kind, which is accepted here.
        (b"\xefSET a = 1;\n", b"\xefSET a = 1;\n", true),
        (b"\xef\xbb-- x\n", b"", false),
        (b"\xef", b"", false),
    ] {
        for block in 1..=dump.len() {
            let (cut, why) = segments(dump, block, true);
            let joined: Vec<u8> = cut.iter().flat_map(|(_, text)| text.clone()).collect();
            assert_eq!(
                (joined.as_slice(), why.is_none()),
                (text, passes),
                "{dump:?} by {block}"
            );
        }
    }
}

proptest! {
    #[test]
    fn whatever_passes_comes_out_in_order_and_the_same_however_it_is_cut(
        fragments in proptest::collection::vec(fragment(), 0..30),
        block in 1..40_usize,
    ) {
        let dump = fragments.concat();
        let (cut, why) = segments(&dump, block, true);
        let joined: Vec<u8> = cut.iter().flat_map(|(_, text)| text.clone()).collect();
        let text = dump.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&dump);
        prop_assert!(text.starts_with(&joined));
        let (whole, as_a_whole) = segments(&dump, dump.len().max(1), true);
        if why.is_none() || as_a_whole.is_none() {
            prop_assert!(joined == text);
            prop_assert_eq!(cut, whole);
        }
        prop_assert_eq!(why.is_some(), as_a_whole.is_some());
    }
}
