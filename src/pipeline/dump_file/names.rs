//! Names as `pg_dump` writes them by itself: in quotes only where they need some. With
//! `--quote-all-identifiers` it writes all of them in quotes, and so do servers of which the setting
//! `quote_all_identifiers` is asked for. Pure.

use memchr::{memchr, memmem};

use super::keywords::needs_quotes;

/// Types whose values are names, by the words behind a string.
const NAMES_OF: [&[u8]; 4] = [
    b"::\"regclass\"",
    b"::regclass",
    b"::\"pg_catalog\".\"regclass\"",
    b"::pg_catalog.regclass",
];

/// How the text of a statement is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spelling {
    /// The server that is to read it.
    pub(super) server_major: u32,
    /// Whether a backslash escapes in plain strings.
    pub(super) backslash_escapes: bool,
}

impl Spelling {
    /// A complete statement without the quotes that it does not need; the same line breaks stay in it.
    pub(super) fn statement(self, text: &[u8], out: &mut Vec<u8>) {
        let mut at = 0;
        while at < text.len() {
            let rest = &text[at..];
            let length = match rest[0] {
                b'"' => {
                    let length = quoted_length(rest, b'"');
                    self.name(text, at..at + length, out);
                    at += length;
                    continue;
                }
                b'\'' => {
                    let escapes = self.backslash_escapes || has_prefix_e(&text[..at]);
                    let length = string_length(rest, escapes);
                    if !escapes && names_something(text, at, at + length) {
                        out.push(b'\'');
                        self.path(&rest[1..length - 1], out);
                        out.push(b'\'');
                        at += length;
                        continue;
                    }
                    length
                }
                b'$' if !before(text, at).is_some_and(is_word_byte) => dollar_length(rest),
                b'-' if rest.starts_with(b"--") => {
                    memchr(b'\n', rest).map_or(rest.len(), |end| end + 1)
                }
                b'/' if rest.starts_with(b"/*") => comment_length(rest),
                _ => {
                    let end = rest[1..].iter().position(|byte| b"\"'$-/".contains(byte));
                    end.map_or(rest.len(), |end| end + 1)
                }
            };
            out.extend_from_slice(&rest[..length]);
            at += length;
        }
    }

    /// The name of an object in the comment before it, of a kind whose names are written as in SQL:
    /// `TABLE "t"`, `f("text")`.
    pub(super) fn tag(self, text: &[u8], out: &mut Vec<u8>) {
        let plain = Self {
            backslash_escapes: false,
            ..self
        };
        let mut at = 0;
        while at < text.len() {
            let rest = &text[at..];
            if rest[0] == b'"' {
                let length = quoted_length(rest, b'"');
                plain.name(text, at..at + length, out);
                at += length;
            } else {
                let length = memchr(b'"', rest).unwrap_or(rest.len());
                out.extend_from_slice(&rest[..length]);
                at += length;
            }
        }
    }

    /// `"public"."t"` in a string.
    fn path(self, text: &[u8], out: &mut Vec<u8>) {
        if memchr(b'\'', text).is_some() {
            return out.extend_from_slice(text);
        }
        self.tag(text, out);
    }

    /// One name in quotes, that stands there in a text.
    fn name(self, text: &[u8], range: std::ops::Range<usize>, out: &mut Vec<u8>) {
        let quoted = &text[range.clone()];
        let inner = quoted
            .strip_prefix(b"\"")
            .and_then(|rest| rest.strip_suffix(b"\""))
            .unwrap_or_default();
        // What is next to it must not become a part of the word, nor the word that of a string.
        let joins = |byte: u8| is_word_byte(byte) || b"\"'&$".contains(&byte);
        let is_apart = !before(text, range.start).is_some_and(joins)
            && !text.get(range.end).copied().is_some_and(joins);
        if is_apart && !needs_quotes(inner, self.server_major) {
            out.extend_from_slice(inner);
        } else {
            out.extend_from_slice(quoted);
        }
    }
}

fn before(text: &[u8], at: usize) -> Option<u8> {
    at.checked_sub(1).map(|before| text[before])
}

fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// Whether an `E` stands before a string, and by itself.
fn has_prefix_e(text: &[u8]) -> bool {
    matches!(text.last(), Some(b'e' | b'E'))
        && !before(text, text.len() - 1).is_some_and(is_word_byte)
}

/// Whether a string is a name of something: what a sequence's value is set by, or a value of a type of
/// names.
fn names_something(text: &[u8], start: usize, end: usize) -> bool {
    let is_set = [b"setval(".as_slice(), b"\"setval\"("]
        .iter()
        .any(|word| text[..start].ends_with(word));
    is_set || NAMES_OF.iter().any(|word| text[end..].starts_with(word))
}

/// How long something in quotes is with which a text begins; a doubled quote belongs to it.
fn quoted_length(text: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while let Some(end) = memchr(quote, &text[at..]) {
        at += end + 1;
        if text.get(at) != Some(&quote) {
            return at;
        }
        at += 1;
    }
    text.len()
}

fn string_length(text: &[u8], escapes: bool) -> usize {
    if !escapes {
        return quoted_length(text, b'\'');
    }
    let mut at = 1;
    while let Some(byte) = text.get(at) {
        match byte {
            b'\\' => at += 2,
            b'\'' if text.get(at + 1) == Some(&b'\'') => at += 2,
            b'\'' => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

/// How long the string in dollars is with which a text begins; one byte where it is none.
fn dollar_length(text: &[u8]) -> usize {
    let Some(end) = memchr(b'$', &text[1..]) else {
        return 1;
    };
    let tag = &text[..end + 2];
    if !tag[1..=end].iter().copied().all(is_word_byte) {
        return 1;
    }
    memmem::find(&text[tag.len()..], tag).map_or(text.len(), |at| at + 2 * tag.len())
}

fn comment_length(text: &[u8]) -> usize {
    let (mut depth, mut at) = (1_u32, 2);
    while depth > 0 {
        match text.get(at..at + 2) {
            None => return text.len(),
            Some(b"/*") => depth += 1,
            Some(b"*/") => depth -= 1,
            Some(_) => {
                at += 1;
                continue;
            }
        }
        at += 2;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::Spelling;

    fn statement(text: &str, backslash_escapes: bool) -> String {
        let spelling = Spelling {
            server_major: 15,
            backslash_escapes,
        };
        let mut out = Vec::new();
        spelling.statement(text.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn quotes_go_where_a_name_does_not_need_them_and_nowhere_else() {
        for (text, expected) in [
            (
                "COPY \"public\".\"Orders\" (\"id\", \"user\", \"a b\") FROM stdin;",
                "COPY public.\"Orders\" (id, \"user\", \"a b\") FROM stdin;",
            ),
            (
                "CREATE TABLE \"s\".\"t\" (\n    \"a\" \"text\" DEFAULT '\"x\"'::\"text\" -- \"c\"\n);",
                "CREATE TABLE s.t (\n    a text DEFAULT '\"x\"'::text -- \"c\"\n);",
            ),
            (
                "ALTER TABLE ONLY \"s\".\"t\" ALTER COLUMN \"i\" SET DEFAULT \"nextval\"('\"s\".\"t_i_seq\"'::\"regclass\");",
                "ALTER TABLE ONLY s.t ALTER COLUMN i SET DEFAULT nextval('s.t_i_seq'::regclass);",
            ),
            (
                "SELECT pg_catalog.setval('\"s\".\"T_seq\"', 7, true);",
                "SELECT pg_catalog.setval('s.\"T_seq\"', 7, true);",
            ),
            (
                "CREATE FUNCTION \"s\".\"f\"() RETURNS \"text\"\n    LANGUAGE \"sql\"\n    AS $_$ SELECT \"a\" $_$;",
                "CREATE FUNCTION s.f() RETURNS text\n    LANGUAGE sql\n    AS $_$ SELECT \"a\" $_$;",
            ),
            (
                "SELECT \"a\"\"b\", \"\", \"a\"/* \"b\" /* */ */;",
                "SELECT \"a\"\"b\", \"\", a/* \"b\" /* */ */;",
            ),
            // What would become another word, a string, or a name in another way of writing.
            (
                "SELECT a\"b\", \"e\"'x', U&\"x\", \"u\"&\"x\", \"a\"$1;",
                "SELECT a\"b\", \"e\"'x', U&\"x\", \"u\"&\"x\", \"a\"$1;",
            ),
            (
                "SELECT E'\\'\"a\"', 'it''s \"b\"', \"c\";",
                "SELECT E'\\'\"a\"', 'it''s \"b\"', c;",
            ),
            (
                "SELECT '\"it''s\"'::\"regclass\";",
                "SELECT '\"it''s\"'::regclass;",
            ),
        ] {
            assert_eq!(statement(text, false), expected);
            assert_eq!(statement(expected, false), expected, "once is enough");
        }
        assert_eq!(
            statement("SELECT '\\'\"a\"', \"b\";", true),
            "SELECT '\\'\"a\"', b;"
        );
        // Broken off.
        for text in ["\"a", "'a", "$a$ b", "/* a", "E'\\", "$", "\"", "'"] {
            assert_eq!(statement(text, false), text);
        }
    }

    #[test]
    fn the_name_in_a_comment_is_read_as_sql() {
        let mut out = Vec::new();
        let spelling = Spelling {
            server_major: 15,
            backslash_escapes: false,
        };
        spelling.tag(b"FUNCTION \"f\"(\"a\" \"text\", \"B\" it's)", &mut out);
        assert_eq!(out, b"FUNCTION f(a text, \"B\" it's)");
    }
}
