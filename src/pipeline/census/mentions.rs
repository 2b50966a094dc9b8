//! What a dump's definitions mention that no dump holds: settings of the server that functions and
//! conditions ask for by their name; and what the server computes again when it is loaded.

use memchr::memmem::find;
use memchr::{memchr, memchr_iter};

use crate::pipeline::sql::{identifier, qualified};

/// Names in quotes that could be those of settings with a dot in them, as `current_setting` takes them:
/// `'app.tenant'`. What is a sequence or a table by the words around it is none.
pub(super) fn dotted_names(text: &[u8]) -> impl Iterator<Item = &str> {
    memchr_iter(b'\'', text).filter_map(|at| {
        let rest = &text[at + 1..];
        let end = memchr(b'\'', &rest[..rest.len().min(LONGEST)])?;
        let (name, after) = (&rest[..end], &rest[end + 1..]);
        let is_relation = after.starts_with(b"::regclass") || text[..at].ends_with(b"val(");
        let is_name = name.contains(&b'.') && name.split(|byte| *byte == b'.').all(is_word);
        if is_relation || !is_name {
            return None;
        }
        str::from_utf8(name).ok()
    })
}

/// Two names of 63 bytes, the dot, and the quote behind them.
const LONGEST: usize = 128;

/// `valid_custom_variable_name` in `PostgreSQL`'s `guc.c`, in ASCII.
fn is_word(word: &[u8]) -> bool {
    let is_first = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_';
    word.first().is_some_and(is_first)
        && word
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_$".contains(byte))
}

/// What a statement makes that the server computes when a dump is loaded, in words: a materialized view,
/// or the stored generated columns of a table.
pub(super) fn recomputed(text: &[u8]) -> Vec<String> {
    if text.starts_with(VIEW) {
        let name = qualified(text, VIEW.len()).map(|(_, end)| &text[VIEW.len()..end]);
        return Vec::from_iter(
            name.map(|name| format!("materialized view {}", super::printable(name))),
        );
    }
    let Some(head) = TABLES.iter().find(|head| text.starts_with(head)) else {
        return Vec::new();
    };
    if find(text, GENERATED).is_none() {
        return Vec::new();
    }
    let Some((_, end)) = qualified(text, head.len()) else {
        return Vec::new();
    };
    let table = super::printable(&text[head.len()..end]);
    text.split(|byte| *byte == b'\n')
        .filter(|line| find(line, GENERATED).is_some() && find(line, b") STORED").is_some())
        .filter_map(|line| {
            let start = line.iter().position(|byte| *byte != b' ')?;
            let (_, end) = identifier(line, start)?;
            let column = super::printable(&line[start..end]);
            Some(format!("generated column {table}.{column}"))
        })
        .collect()
}

const VIEW: &[u8] = b"CREATE MATERIALIZED VIEW ";
const TABLES: [&[u8]; 2] = [b"CREATE TABLE ", b"CREATE UNLOGGED TABLE "];
const GENERATED: &[u8] = b" GENERATED ALWAYS AS (";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_found_by_their_names_in_quotes() {
        for (text, expected) in [
            (
                "CREATE TABLE t (r text CHECK ((r = current_setting('app.region'::text))));",
                &["app.region"][..],
            ),
            (
                "CREATE FUNCTION f() AS $$ SELECT current_setting('App.a_1', true) || ''x.y'' $$;",
                &["App.a_1", "x.y"],
            ),
            (
                "ALTER TABLE t ALTER i SET DEFAULT nextval('public.s'::regclass);",
                &[],
            ),
            ("SELECT pg_catalog.setval('public.s', 1, true);", &[]),
            ("COMMENT ON TABLE t IS 'see example.org, or 1.5';", &[]),
            ("SELECT '.', 'a.', 'a..b', 'a', 'é.b', 'a.b", &[]),
        ] {
            assert_eq!(
                dotted_names(text.as_bytes()).collect::<Vec<_>>(),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn what_the_server_computes_is_named() {
        for (text, expected) in [
            (
                "CREATE MATERIALIZED VIEW public.\"a b\" AS\n SELECT 1;",
                &["materialized view public.\"a b\""][..],
            ),
            (
                "CREATE TABLE public.inv (\n    net numeric,\n    vat numeric GENERATED ALWAYS AS \
                 (public.tax(net)) STORED,\n    \"g r\" int GENERATED ALWAYS AS (1) STORED NOT NULL\n);",
                &[
                    "generated column public.inv.\"g r\"",
                    "generated column public.inv.vat",
                ],
            ),
            (
                "CREATE TABLE public.t (\n    i integer GENERATED ALWAYS AS IDENTITY\n);",
                &[],
            ),
            ("CREATE VIEW public.v AS SELECT 1;", &[]),
        ] {
            let mut found = recomputed(text.as_bytes());
            found.sort();
            assert_eq!(found, expected, "{text}");
        }
    }
}
