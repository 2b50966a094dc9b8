//! The definitions in a dump, for a scratch database: everything that tables are made of or need,
//! and no row.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::held::Held;
use crate::pipeline::census::{ObjectId, Tap};
use crate::pipeline::sql::{clears_in_vain, identifier};

/// Kinds of objects that no table needs, and that reach beyond the database or would act in it: an
/// event trigger would fire, a subscription connect, default privileges change what comes next.
const LEFT_OUT: [&[u8]; 17] = [
    b"BLOB",
    b"BLOB DATA",
    b"BLOB METADATA",
    b"BLOBS",
    b"DATABASE",
    b"DATABASE PROPERTIES",
    b"DEFAULT ACL",
    b"EVENT TRIGGER",
    b"MATERIALIZED VIEW DATA",
    b"PUBLICATION",
    b"PUBLICATION TABLE",
    b"PUBLICATION TABLES IN SCHEMA",
    b"STATISTICS DATA",
    b"SUBSCRIPTION",
    b"SUBSCRIPTION TABLE",
    b"TABLE DATA",
    b"USER MAPPING",
];

/// What comments, access lists and labels are of that are left out with their object.
const LEFT_OUT_WITH: [&[u8]; 6] = [
    b"DATABASE ",
    b"EVENT TRIGGER ",
    b"LARGE OBJECT ",
    b"LARGE OBJECTS ",
    b"PUBLICATION ",
    b"SUBSCRIPTION ",
];

/// A statement that was left out because of the role that it names: the server lacks it, or we may
/// not act for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Left {
    /// The role.
    pub role: String,
    /// The statement, in the dump's encoding.
    pub statement: Vec<u8>,
}

/// A statement that the server has refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusable {
    /// The object that it belongs to.
    pub object: ObjectId,
    /// Its text, in the dump's encoding.
    pub text: Vec<u8>,
}

/// Passes the definitions in a dump on as SQL text, each statement followed by a line break.
///
/// Owners and grants that name a role which the server lacks are left out and kept on record: a
/// table should not stay lost because somebody else's role is gone. So are other owners, and what
/// others granted, where only a superuser could bring them back.
#[derive(Debug)]
pub struct Definitions {
    roles: BTreeSet<Vec<u8>>,
    /// Who alone can own and grant; none where everybody can.
    only: Option<Vec<u8>>,
    /// Extensions that are left out.
    without: BTreeSet<Vec<u8>>,
    held: Held,
    /// A role that is not there grants what follows.
    absent_grantor: Option<Vec<u8>>,
    left: Vec<Left>,
    databases: usize,
    looked_for: LookedFor,
}

/// Statements that are looked for by the line of the text in which they end.
#[derive(Debug, Default)]
struct LookedFor {
    lines: BTreeSet<u64>,
    found: BTreeMap<u64, Refusable>,
    /// So many lines have been passed on before what was taken last, and so many bytes since are counted.
    line: u64,
    counted: usize,
}

impl Definitions {
    /// For a server that has these roles. Without a superuser's rights, `only` is who loads them.
    pub fn new<'a>(roles: impl IntoIterator<Item = &'a str>, only: Option<&str>) -> Self {
        Self {
            only: only.map(|role| role.as_bytes().to_vec()),
            roles: roles
                .into_iter()
                .map(|role| role.as_bytes().to_vec())
                .collect(),
            without: BTreeSet::new(),
            held: Held::new(),
            absent_grantor: None,
            left: Vec::new(),
            databases: 0,
            looked_for: LookedFor::default(),
        }
    }

    /// The same, which remembers the statements that end in these lines of the text that it passes on.
    #[must_use]
    pub fn looking_for(mut self, lines: BTreeSet<u64>) -> Self {
        self.looked_for.lines = lines;
        self
    }

    /// Those of them that have passed.
    pub fn found(&self) -> &BTreeMap<u64, Refusable> {
        &self.looked_for.found
    }

    /// The same without these extensions. Whatever needs one of them cannot be made then.
    #[must_use]
    pub fn without(mut self, extensions: BTreeSet<Vec<u8>>) -> Self {
        self.without = extensions;
        self
    }

    /// What has been passed on since the last time.
    pub fn take(&mut self) -> Vec<u8> {
        self.looked_for.count(&self.held.out);
        self.looked_for.counted = 0;
        self.held.take()
    }

    /// What was left out for lack of a role.
    pub fn left(&self) -> &[Left] {
        &self.left
    }

    /// How many databases the text has connected to, besides the one it is loaded into.
    pub fn databases(&self) -> usize {
        self.databases
    }

    fn complete(&mut self, object: &ObjectId, text: &[u8]) {
        if text.starts_with(b"COPY ") || text.starts_with(b"SET transaction_timeout ") {
            // A server before 17 does not know the second, which a newer pg_dump writes.
            return;
        }
        if extension_of(text).is_some_and(|extension| self.without.contains(&extension)) {
            return;
        }
        if let Some(rest) = text.strip_prefix(b"SET SESSION AUTHORIZATION ") {
            let role = last_identifier(rest);
            self.absent_grantor = role.filter(|role| role != b"DEFAULT" && !self.may_act(role));
        } else if text.starts_with(b"RESET SESSION AUTHORIZATION") {
            self.absent_grantor = None;
        }
        let absent = self.absent_grantor.clone().or_else(|| {
            let role = role_named_last(text)?;
            let will_do = if text.starts_with(b"ALTER ") {
                self.may_act(&role)
            } else {
                self.has(&role)
            };
            (!will_do).then_some(role)
        });
        match absent {
            None => {
                // A dump holds the values of an extension's own sequences too.
                let guarded = (!self.without.is_empty()).then(|| if_it_is_there(text));
                let text = guarded.flatten().map_or(Cow::Borrowed(text), Cow::Owned);
                self.held.out.extend_from_slice(&text);
                self.looked_for.count(&self.held.out);
                self.looked_for.take(object, &text);
                self.held.out.push(b'\n');
            }
            Some(role) => self.left.push(Left {
                role: String::from_utf8_lossy(&role).into_owned(),
                statement: text.to_vec(),
            }),
        }
    }

    /// Whether something can be made to belong to a role, or be granted by it.
    fn may_act(&self, role: &[u8]) -> bool {
        self.has(role) && self.only.as_ref().is_none_or(|only| only == role)
    }

    fn has(&self, role: &[u8]) -> bool {
        role == b"PUBLIC" || self.roles.contains(role)
    }
}

impl LookedFor {
    /// Counts the lines in what is passed on since the last time.
    fn count(&mut self, out: &[u8]) {
        if self.lines.is_empty() {
            return;
        }
        let new = out.get(self.counted..).unwrap_or_default();
        self.line += memchr::memchr_iter(b'\n', new).count() as u64;
        self.counted = out.len();
    }

    /// A statement whose last line is the one that is passed on.
    fn take(&mut self, object: &ObjectId, text: &[u8]) {
        let line = self.line + 1;
        if self.lines.contains(&line) {
            let refusable = Refusable {
                object: object.clone(),
                text: text.to_vec(),
            };
            self.found.insert(line, refusable);
        }
    }
}

impl Tap for Definitions {
    fn statement(&mut self, object: &ObjectId, bytes: &[u8], ends: bool) {
        if is_left_out(object) {
            self.held.leave_out();
        }
        if let Some(text) = self.held.push(bytes, ends)
            && !(object.is_none() && clears_in_vain(&text))
        {
            self.complete(object, &text);
        }
    }

    fn rows_begin(&mut self, _: &[u8], _: &[Vec<u8>]) {}

    fn rows(&mut self, _: &[u8], _: bool) {}

    fn command(&mut self, line: &[u8]) {
        // None is passed on: the dump's own restricted mode ends with its own token.
        if line.starts_with(b"\\connect ") {
            self.databases += 1;
        }
    }
}

fn is_left_out(object: &ObjectId) -> bool {
    let kind = object.kind();
    LEFT_OUT.contains(&kind)
        || (matches!(kind, b"ACL" | b"COMMENT" | b"SECURITY LABEL")
            && LEFT_OUT_WITH
                .iter()
                .any(|word| object.name().starts_with(word)))
}

/// The extension that a statement makes, or comments on.
fn extension_of(text: &[u8]) -> Option<Vec<u8>> {
    let rest = text
        .strip_prefix(b"CREATE EXTENSION IF NOT EXISTS ")
        .or_else(|| text.strip_prefix(b"COMMENT ON EXTENSION "))?;
    identifier(rest, 0).map(|(name, _)| name)
}

/// `SELECT pg_catalog.setval('s', 7, true);` for a sequence that may not be there.
fn if_it_is_there(text: &[u8]) -> Option<Vec<u8>> {
    let arguments = text.strip_prefix(b"SELECT pg_catalog.setval(")?;
    if !arguments.starts_with(b"'") {
        return None;
    }
    // Behind the name are a number and a word.
    let end = arguments.iter().rposition(|byte| *byte == b'\'')? + 1;
    let (name, values) = arguments.split_at(end);
    let text = [
        b"SELECT pg_catalog.setval(it",
        values.strip_suffix(b";")?,
        b" FROM pg_catalog.to_regclass(",
        name,
        b") AS it WHERE it IS NOT NULL;",
    ];
    Some(text.concat())
}

/// The role that a statement gives something to, or takes it from, as `pg_dump` writes it: at its
/// very end.
fn role_named_last(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.strip_suffix(b";")?;
    let text = text.strip_suffix(b" WITH GRANT OPTION").unwrap_or(text);
    let start = last_identifier_start(text)?;
    let words: &[&[u8]] = if text.starts_with(b"ALTER ") {
        &[b" OWNER TO "]
    } else if text.starts_with(b"GRANT ") {
        &[b" TO "]
    } else if text.starts_with(b"REVOKE ") {
        &[b" FROM "]
    } else {
        return None;
    };
    words
        .iter()
        .any(|word| text[..start].ends_with(word))
        .then(|| unquoted(&text[start..]))
}

fn last_identifier(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.strip_suffix(b";").unwrap_or(text);
    last_identifier_start(text).map(|start| unquoted(&text[start..]))
}

/// Where the identifier starts that a text ends with.
fn last_identifier_start(text: &[u8]) -> Option<usize> {
    let Some(inner) = text.strip_suffix(b"\"") else {
        let space = text.iter().rposition(|byte| *byte == b' ');
        return Some(space.map_or(0, |space| space + 1)).filter(|start| *start < text.len());
    };
    // Backwards, a doubled quote belongs to the name and a single one begins it.
    let mut end = inner.len();
    loop {
        let quote = memchr::memrchr(b'"', &inner[..end])?;
        if quote > 0 && inner[quote - 1] == b'"' {
            end = quote - 1;
        } else {
            return Some(quote);
        }
    }
}

fn unquoted(identifier: &[u8]) -> Vec<u8> {
    let Some(inner) = identifier
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""))
    else {
        return identifier.to_vec();
    };
    let mut name = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        name.push(byte);
        if byte == b'"' {
            bytes.next_if_eq(&b'"');
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::super::{Text, take_parts};
    use super::*;
    use crate::pipeline::{Progress, StreamError};

    const DUMP: &str = "--\n-- PostgreSQL database dump\n--\n\n\\restrict x\n\
        SET client_encoding = 'UTF8';\nSET transaction_timeout = 0;\n\
        -- Name: mood; Type: TYPE; Schema: public; Owner: postgres\nCREATE TYPE public.mood AS ENUM ('a; b');\n\
        ALTER TYPE public.mood OWNER TO \"the \"\"boss\";\n\
        -- Name: t; Type: TABLE; Schema: public; Owner: gone\nCREATE TABLE public.t (a int);\n\
        ALTER TABLE public.t OWNER TO gone;\n\
        -- Name: e; Type: EVENT TRIGGER; Schema: -; Owner: postgres\nCREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION public.f();\n\
        -- Name: EVENT TRIGGER e; Type: COMMENT; Schema: -; Owner: \nCOMMENT ON EVENT TRIGGER e IS 'x';\n\
        -- Data for Name: t; Type: TABLE DATA; Schema: public; Owner: gone\nCOPY public.t (a) FROM stdin;\n1\n2\n\\.\n\n\
        -- Name: t_seq; Type: SEQUENCE SET; Schema: public; Owner: postgres\nSELECT pg_catalog.setval('public.t_seq', 7, true);\n\
        -- Name: TABLE t; Type: ACL; Schema: public; Owner: gone\n\
        SET SESSION AUTHORIZATION gone;\nGRANT SELECT ON TABLE public.t TO reader;\nRESET SESSION AUTHORIZATION;\n\
        GRANT SELECT ON TABLE public.t TO PUBLIC;\nGRANT ALL ON TABLE public.t TO \"left \"\"us\" WITH GRANT OPTION;\n\
        --\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict x\n";

    fn definitions(dump: &str) -> Result<(String, Vec<Left>), StreamError> {
        definitions_for(dump, None)
    }

    fn definitions_for(dump: &str, only: Option<&str>) -> Result<(String, Vec<Left>), StreamError> {
        let tap = Definitions::new(["the \"boss", "reader", "postgres"], only);
        let mut text = Vec::new();
        let tap = take_parts(
            Text::of_program(dump.as_bytes()),
            tap,
            false,
            &Progress::default(),
            |tap| {
                text.append(&mut tap.take());
                Ok(())
            },
        )?;
        Ok((String::from_utf8(text).unwrap(), tap.left().to_vec()))
    }

    #[test]
    fn definitions_come_without_rows_and_without_what_acts_by_itself() {
        let (text, left) = definitions(DUMP).unwrap();
        assert_eq!(
            text,
            "SET client_encoding = 'UTF8';\nCREATE TYPE public.mood AS ENUM ('a; b');\n\
             ALTER TYPE public.mood OWNER TO \"the \"\"boss\";\nCREATE TABLE public.t (a int);\n\
             SELECT pg_catalog.setval('public.t_seq', 7, true);\n\
             RESET SESSION AUTHORIZATION;\nGRANT SELECT ON TABLE public.t TO PUBLIC;\n"
        );
        let roles: Vec<&str> = left.iter().map(|left| left.role.as_str()).collect();
        assert_eq!(roles, ["gone", "gone", "gone", "left \"us"]);
    }

    #[test]
    fn without_a_superuser_s_rights_other_owners_are_left_out() {
        let (text, left) = definitions_for(DUMP, Some("reader")).unwrap();
        assert!(!text.contains("OWNER TO"), "{text}");
        assert!(text.contains("TO PUBLIC;"), "{text}");
        assert_eq!(left[0].role, "the \"boss");
        let (text, _) = definitions_for(DUMP, Some("the \"boss")).unwrap();
        assert!(text.contains("OWNER TO \"the \"\"boss\";"), "{text}");
    }

    #[test]
    fn a_statement_is_found_by_the_line_in_which_it_ends() {
        let dump = DUMP.replace("(a int)", "(\n    a int\n)");
        for piece in [1, 50, 10_000] {
            let tap = Definitions::new(["the \"boss", "reader", "postgres"], None);
            let mut scanner =
                crate::pipeline::census::Scanner::with(tap.looking_for([3, 6].into()));
            let mut text = Vec::new();
            for block in dump.as_bytes().chunks(piece) {
                scanner.push(block).unwrap();
                text.append(&mut scanner.tap().take());
            }
            let text = String::from_utf8(text).unwrap();
            let found: Vec<_> = scanner.tap().found().iter().collect();
            assert_eq!(found.len(), 2, "by {piece}: {text}");
            for (line, refusable) in found {
                let last = text
                    .lines()
                    .nth(usize::try_from(*line).unwrap() - 1)
                    .unwrap();
                assert!(refusable.text.ends_with(last.as_bytes()), "{line}: {text}");
            }
        }
    }

    #[test]
    fn an_extension_is_left_out_with_its_comment() {
        let dump = DUMP.replace(
            "CREATE TYPE public.mood",
            "CREATE EXTENSION IF NOT EXISTS \"a b\" WITH SCHEMA x;\n\
             COMMENT ON EXTENSION \"a b\" IS 'x';\n\
             CREATE EXTENSION IF NOT EXISTS c WITH SCHEMA x;\nCREATE TYPE public.mood",
        );
        let tap = Definitions::new([], None).without(BTreeSet::from([b"a b".to_vec()]));
        let mut text = Vec::new();
        let text_of = Text::of_program(dump.as_bytes());
        take_parts(text_of, tap, false, &Progress::default(), |tap| {
            text.append(&mut tap.take());
            Ok(())
        })
        .unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(!text.contains("a b"), "{text}");
        assert!(text.contains("CREATE EXTENSION IF NOT EXISTS c "), "{text}");
        // Whether the sequence is its, nobody can tell.
        let guarded = "SELECT pg_catalog.setval(it, 7, true) \
             FROM pg_catalog.to_regclass('public.t_seq') AS it WHERE it IS NOT NULL;\n";
        assert!(text.contains(guarded), "{text}");
    }

    #[test]
    fn a_sequence_that_is_not_there_has_no_value() {
        for (name, values) in [
            ("'public.s'", ", 7, true)"),
            ("'public.\"a '', b\"'", ", -1, false)"),
        ] {
            let text = format!("SELECT pg_catalog.setval({name}{values};");
            let expected = format!(
                "SELECT pg_catalog.setval(it{values} FROM pg_catalog.to_regclass({name}) AS it \
                 WHERE it IS NOT NULL;"
            );
            let found = if_it_is_there(text.as_bytes());
            assert_eq!(found, Some(expected.into_bytes()), "{text}");
        }
        for text in [
            "SELECT pg_catalog.setval(E'a', 1, true);",
            "SELECT pg_catalog.lo_create('7');",
        ] {
            assert_eq!(if_it_is_there(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn what_pg_dump_does_not_write_is_refused() {
        let hostile = DUMP.replace("\\restrict x", "\\! touch /tmp/x");
        let refused = definitions(&hostile).unwrap_err().to_string();
        assert!(refused.contains("a command of psql's own"), "{refused}");
        let cut = &DUMP[..DUMP.len() - 60];
        assert!(definitions(cut).is_err());
    }

    #[test]
    fn the_role_at_the_end_of_a_statement_is_found_whatever_it_is_called() {
        for (text, role) in [
            ("ALTER TABLE public.t OWNER TO bob;", Some("bob")),
            ("ALTER TABLE public.\"x OWNER TO y\" RENAME TO z;", None),
            (
                "GRANT SELECT ON TABLE public.t TO \"a TO b\";",
                Some("a TO b"),
            ),
            ("REVOKE ALL ON SCHEMA public FROM PUBLIC;", Some("PUBLIC")),
            (
                "GRANT USAGE ON SCHEMA s TO \"\"\"\" WITH GRANT OPTION;",
                Some("\""),
            ),
            ("CREATE TABLE public.t (a int);", None),
            ("COMMENT ON TABLE t IS 'OWNER TO bob';", None),
        ] {
            let found = role_named_last(text.as_bytes());
            assert_eq!(found.as_deref(), role.map(str::as_bytes), "{text}");
        }
    }
}
