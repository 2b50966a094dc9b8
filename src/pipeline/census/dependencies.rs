//! What a dump takes for granted: the roles and tablespaces that its statements name and that it does
//! not make itself. `pg_dump` writes each grantee into a statement of its own, so the names stand at
//! fixed places.

use std::collections::{BTreeMap, BTreeSet};

use memchr::memmem::{find, rfind_iter};

use super::mentions;
use super::unordered::roles_of_a_policy;
use crate::pipeline::sql::{after, identifier, qualified, starts_with_any};

/// Names as the dump's bytes have them, without quotes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dependencies {
    /// Roles that own something, or that something is granted to or applies to.
    pub roles: BTreeSet<Vec<u8>>,
    /// Roles that grant something that is not theirs; they are among the roles.
    pub grantors: BTreeSet<Vec<u8>>,
    /// Roles that own something; they are among the roles.
    pub owners: BTreeSet<Vec<u8>>,
    /// Tablespaces, other than the usual one.
    pub tablespaces: BTreeSet<Vec<u8>>,
    /// Providers of security labels.
    pub label_providers: BTreeSet<Vec<u8>>,
    /// Extensions.
    pub extensions: BTreeSet<Vec<u8>>,
    /// What only a superuser may make, in words, each with the first words of a statement.
    pub of_superusers: BTreeMap<&'static str, String>,
    /// Roles whose default privileges are changed; they are among the roles.
    pub default_privileges: BTreeSet<Vec<u8>>,
    /// A table that shows even its owner what its policies say, and no more: as SQL writes it.
    pub forces_row_security: Option<String>,
    /// Schemas that the dump makes, and who owns them.
    pub schemas: BTreeMap<Vec<u8>, Vec<u8>>,
    /// In which schemas roles own something.
    pub owned_in: BTreeSet<(Vec<u8>, Vec<u8>)>,
    /// Names that could be those of settings with a dot in them; most are of something else.
    pub settings: BTreeSet<String>,
    /// What the server computes again, in words.
    pub recomputed: BTreeSet<String>,
    /// The encoding in which the dump says that it is written (`client_encoding`).
    pub encoding: Option<String>,
    /// The major versions of the server that it is of and of the `pg_dump` that has written it, as its head
    /// says; 0 where it says nothing.
    pub written_by: [u32; 2],
}

/// So many names of each kind are kept.
const MOST_MENTIONED: usize = 10_000;

/// How statements begin that only a superuser may carry out, and what that is called
/// (`superuser()` in `PostgreSQL`'s `src/backend/commands`). Others may make a subscription from version
/// 16 on, but `pg_dump` sees it for none but a superuser, and so nobody could compare it.
const OF_SUPERUSERS: [(&[u8], &str); 8] = [
    (b"CREATE EVENT TRIGGER ", "event triggers"),
    (b"CREATE FOREIGN DATA WRAPPER ", "foreign-data wrappers"),
    (b"CREATE ACCESS METHOD ", "access methods"),
    (b"CREATE OPERATOR CLASS ", "operator classes"),
    (b"CREATE OPERATOR FAMILY ", "operator families"),
    (b"CREATE SUBSCRIPTION ", "subscriptions"),
    (b"CREATE TEXT SEARCH PARSER ", "text search parsers"),
    (b"CREATE TEXT SEARCH TEMPLATE ", "text search templates"),
];

/// What stands in a schema in which its owner must have the right to create (`AlterObjectOwner_internal`,
/// `ATExecChangeOwner` in `PostgreSQL`'s `src/backend/commands`).
const IN_SCHEMAS: [&[u8]; 18] = [
    b"ALTER AGGREGATE ",
    b"ALTER COLLATION ",
    b"ALTER CONVERSION ",
    b"ALTER DOMAIN ",
    b"ALTER FOREIGN TABLE ",
    b"ALTER FUNCTION ",
    b"ALTER MATERIALIZED VIEW ",
    b"ALTER OPERATOR CLASS ",
    b"ALTER OPERATOR FAMILY ",
    b"ALTER OPERATOR ",
    b"ALTER PROCEDURE ",
    b"ALTER SEQUENCE ",
    b"ALTER STATISTICS ",
    b"ALTER TABLE ",
    b"ALTER TEXT SEARCH CONFIGURATION ",
    b"ALTER TEXT SEARCH DICTIONARY ",
    b"ALTER TYPE ",
    b"ALTER VIEW ",
];

/// What belongs to the server itself, whoever owns the database.
const OF_THE_SERVER: [&[u8]; 8] = [
    b"FUNCTION pg_catalog.",
    b"LANGUAGE internal ",
    b"LANGUAGE c ",
    b"LANGUAGE sql ",
    b"LANGUAGE plpgsql ",
    b"SCHEMA pg_catalog ",
    b"TABLE pg_catalog.",
    b"TYPE pg_catalog.",
];

/// So much of a statement is shown.
const SHOWN: usize = 60;

impl Dependencies {
    /// Notes the version that a comment at the head of a dump gives.
    pub(super) fn of_comment(&mut self, line: &[u8]) {
        const HEADS: [&[u8]; 2] = [
            b"-- Dumped from database version ",
            b"-- Dumped by pg_dump version ",
        ];
        for (head, version) in HEADS.iter().zip(&mut self.written_by) {
            let Some(rest) = line.strip_prefix(*head).filter(|_| *version == 0) else {
                continue;
            };
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit());
            *version = digits.fold(0, |value: u32, digit| {
                value
                    .saturating_mul(10)
                    .saturating_add(u32::from(digit - b'0'))
            });
        }
    }

    /// Notes what a statement names.
    pub(super) fn of_statement(&mut self, text: &[u8]) {
        if self.settings.len() < MOST_MENTIONED {
            let names = mentions::dotted_names(text);
            self.settings.extend(names.map(str::to_owned));
        }
        if self.recomputed.len() < MOST_MENTIONED {
            self.recomputed.extend(mentions::recomputed(text));
        }
        match text.first() {
            Some(b'A') => {
                if let Some(rest) = text.strip_prefix(b"ALTER DEFAULT PRIVILEGES FOR ROLE ") {
                    let whose = identifier(rest, 0).map(|(role, _)| role);
                    self.default_privileges.extend(whose.clone());
                    self.role(whose);
                    self.role(last(text, b" TO ").or_else(|| last(text, b" FROM ")));
                } else if text.starts_with(b"ALTER ") {
                    self.of_alteration(text);
                }
            }
            Some(b'G') if text.starts_with(b"GRANT ") => {
                self.of_right(text);
                self.role(last(text, b" TO "));
            }
            Some(b'R') if text.starts_with(b"REVOKE ") => {
                self.of_right(text);
                self.role(last(text, b" FROM "));
            }
            Some(b'C') if text.starts_with(b"CREATE POLICY ") => {
                let roles = roles_of_a_policy(text).map(|(_, roles)| roles);
                for role in roles.into_iter().flatten() {
                    self.role(identifier(role, 0).map(|(role, _)| role));
                }
            }
            Some(b'C') => self.of_creation(text),
            Some(b'S') => {
                let label = text.strip_prefix(b"SECURITY LABEL FOR ");
                let provider = label.and_then(|rest| identifier(rest, 0));
                self.label_providers.extend(provider.map(|(name, _)| name));
            }
            _ => {}
        }
    }

    fn of_creation(&mut self, text: &[u8]) {
        if let Some(rest) = text.strip_prefix(b"CREATE USER MAPPING FOR ") {
            self.role(identifier(rest, 0).map(|(role, _)| role));
        } else if let Some(rest) = text.strip_prefix(b"CREATE EXTENSION IF NOT EXISTS ") {
            self.extensions
                .extend(identifier(rest, 0).map(|(name, _)| name));
        } else if text.starts_with(b"CREATE PUBLICATION ") {
            if find(text, b" FOR ALL TABLES").is_some() {
                self.of_superusers("publications of all tables", text);
            }
        } else if starts_with_any(text, &[b"CREATE FUNCTION ", b"CREATE PROCEDURE "]) {
            if let Some(what) = superusers_routine(text) {
                self.of_superusers(what, text);
            }
        } else if text.starts_with(b"CREATE AGGREGATE ") {
            if starts_with_any(text_of(text, b"STYPE = "), &[b"internal,", b"internal\n"]) {
                self.of_superusers("aggregates over internal values", text);
            }
        } else if text.starts_with(b"CREATE TYPE ") {
            if is_base_type(text) {
                self.of_superusers("base types", text);
            }
        } else if text.starts_with(b"CREATE CAST (") {
            let ends = [
                b" WITHOUT FUNCTION;".as_slice(),
                b" WITHOUT FUNCTION AS ASSIGNMENT;",
                b" WITHOUT FUNCTION AS IMPLICIT;",
            ];
            if ends.iter().any(|end| text.ends_with(end)) {
                self.of_superusers("casts without a function", text);
            }
        } else if let Some((_, what)) = OF_SUPERUSERS
            .iter()
            .find(|(words, _)| text.starts_with(words))
        {
            self.of_superusers(what, text);
        }
    }

    /// An owner, a publication's schemas, a table's row security.
    fn of_alteration(&mut self, text: &[u8]) {
        if text.starts_with(b"ALTER PUBLICATION ")
            && find(text, b" ADD TABLES IN SCHEMA ").is_some()
        {
            self.of_superusers("publications of schemas", text);
        }
        if let Some(table) = text.strip_prefix(b"ALTER TABLE ONLY ")
            && self.forces_row_security.is_none()
            && let Some(table) = table.strip_suffix(b" FORCE ROW LEVEL SECURITY;")
        {
            self.forces_row_security = Some(super::printable(table));
        }
        let Some(owner) = owner_given_by(text) else {
            return;
        };
        if let Some((schema, _)) =
            after(text, 0, b"ALTER SCHEMA ").and_then(|at| identifier(text, at))
        {
            self.schemas.insert(schema, owner.clone());
        } else if let Some(schema) = schema_of(text) {
            let place = (schema, owner.clone());
            if !self.owned_in.contains(&place) {
                self.owned_in.insert(place);
            }
        }
        if !self.owners.contains(&owner) {
            self.owners.insert(owner.clone());
        }
        self.role(Some(owner));
    }

    /// A right on what comes with the server, which the owner of a database cannot give.
    fn of_right(&mut self, text: &[u8]) {
        let Some(at) = find(text, b" ON ") else {
            return;
        };
        if starts_with_any(&text[at + b" ON ".len()..], &OF_THE_SERVER) {
            self.of_superusers("privileges on objects of the server's own", text);
        }
    }

    fn of_superusers(&mut self, what: &'static str, text: &[u8]) {
        self.of_superusers.entry(what).or_insert_with(|| {
            let shown = super::printable(&text[..text.len().min(SHOWN)]);
            let words: Vec<&str> = shown.split_whitespace().collect();
            words.join(" ")
        });
    }

    /// Notes the role that grants from here on, as written.
    pub(super) fn of_grantor(&mut self, role: &[u8]) {
        if let Some((role, _)) = identifier(role, 0) {
            self.grantors.insert(role.clone());
            self.role(Some(role));
        }
    }

    /// Notes the encoding in which the dump says that it is written.
    pub(super) fn of_encoding(&mut self, value: &[u8]) {
        let name = value
            .strip_prefix(b"'")
            .and_then(|it| it.strip_suffix(b"'"));
        if let Some(name) = name.and_then(|name| std::str::from_utf8(name).ok()) {
            self.encoding.get_or_insert_with(|| name.to_owned());
        }
    }

    /// Notes the tablespace that the next relations stand in, as written.
    pub(super) fn of_tablespace(&mut self, value: &[u8]) {
        if !value.starts_with(b"'")
            && let Some((name, _)) = identifier(value, 0)
        {
            self.tablespaces.insert(name);
        }
    }

    fn role(&mut self, role: Option<Vec<u8>>) {
        // No role can be called so.
        if let Some(role) = role.filter(|role| !role.eq_ignore_ascii_case(b"public"))
            && !self.roles.contains(&role)
        {
            self.roles.insert(role);
        }
    }
}

/// The role that a statement makes an owner.
pub(super) fn owner_given_by(text: &[u8]) -> Option<Vec<u8>> {
    if text.starts_with(b"ALTER ") {
        last(text, b" OWNER TO ")
    } else {
        None
    }
}

/// The schema of what a statement gives an owner.
fn schema_of(text: &[u8]) -> Option<Vec<u8>> {
    let head = IN_SCHEMAS.iter().find(|head| text.starts_with(head))?;
    let at = after(text, head.len(), b"ONLY ").unwrap_or(head.len());
    let (schema, end) = identifier(text, at)?;
    (text.get(end) == Some(&b'.')).then_some(schema)
}

/// What makes a routine one of superusers: its language, or what the planner takes its word for. Both
/// stand behind the first `LANGUAGE` on a line of its own, before the body.
fn superusers_routine(text: &[u8]) -> Option<&'static str> {
    let line = text_of(text, b"\n    LANGUAGE ");
    let end = memchr::memchr(b'\n', line).unwrap_or(line.len());
    let (language, rest) = identifier(&line[..end], 0)?;
    let words = &line[rest..end];
    match language.as_slice() {
        b"c" => Some("functions in C"),
        b"internal" => Some("functions of the server's own code"),
        _ if find(words, b" LEAKPROOF").is_some() => Some("leakproof functions"),
        _ if find(words, b" SUPPORT ").is_some() => Some("functions with a support function"),
        _ => None,
    }
}

/// Whether a type is one of C functions, or is to become one.
fn is_base_type(text: &[u8]) -> bool {
    qualified(text, b"CREATE TYPE ".len())
        .is_some_and(|(_, end)| starts_with_any(&text[end..], &[b";", b" ("]))
}

/// What stands behind the first of these words; nothing if they do not come.
fn text_of<'a>(text: &'a [u8], words: &[u8]) -> &'a [u8] {
    find(text, words).map_or(b"", |at| &text[at + words.len()..])
}

/// The identifier behind the last of these words with which a statement ends, but for the right to
/// grant. The words can stand in a quoted name too.
fn last(text: &[u8], words: &[u8]) -> Option<Vec<u8>> {
    rfind_iter(text, words).find_map(|at| {
        let (name, end) = identifier(text, at + words.len())?;
        matches!(&text[end..], b";" | b" WITH GRANT OPTION;").then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_providers_of_labels_are_known() {
        let mut dependencies = Dependencies::default();
        for text in [
            "SECURITY LABEL FOR selinux ON TABLE public.t IS 'x FOR y';",
            "SECURITY LABEL FOR \"two \"\"words\" ON COLUMN public.t.a IS 'x';",
            "SELECT pg_catalog.setval('public.s', 1, true);",
        ] {
            dependencies.of_statement(text.as_bytes());
        }
        let expected = [&b"selinux"[..], b"two \"words"].map(<[u8]>::to_vec);
        assert_eq!(dependencies.label_providers, BTreeSet::from(expected));
    }

    #[test]
    #[expect(
        clippy::too_many_lines,
        reason = "a list of statements, and what each names"
    )]
    fn the_roles_that_a_dump_takes_for_granted_are_known() {
        let mut dependencies = Dependencies::default();
        for text in [
            "ALTER TABLE s.t OWNER TO \"o \"\"w; OWNER TO x\";",
            "ALTER FUNCTION s.f(a integer) OWNER TO b;",
            "ALTER TABLE t ALTER COLUMN c SET DEFAULT ' OWNER TO nobody ';",
            "GRANT SELECT(a),UPDATE(b) ON TABLE s.\" TO y\" TO c WITH GRANT OPTION;",
            "GRANT ALL ON SCHEMA s TO PUBLIC;",
            "REVOKE ALL ON TABLE s.t FROM d;",
            "ALTER DEFAULT PRIVILEGES FOR ROLE e IN SCHEMA s REVOKE ALL ON TABLES FROM f;",
            "ALTER DEFAULT PRIVILEGES FOR ROLE e GRANT SELECT ON TABLES TO g WITH GRANT OPTION;",
            "CREATE POLICY p ON s.t FOR SELECT TO h, \"i, j\" USING (true);",
            "CREATE POLICY q ON s.t USING (' TO nobody');",
            "CREATE USER MAPPING FOR k SERVER s OPTIONS (\n    password ' TO l'\n);",
            "CREATE USER MAPPING FOR public SERVER s;",
            "COMMENT ON TABLE t IS 'x OWNER TO nobody;';",
            "CREATE EXTENSION IF NOT EXISTS \"uuid-ossp\" WITH SCHEMA public;",
            "CREATE EVENT TRIGGER e ON ddl_command_end\n   EXECUTE FUNCTION f();",
            "CREATE PUBLICATION p FOR ALL TABLES WITH (publish = 'insert');",
            "CREATE PUBLICATION q WITH (publish = 'insert');",
            "CREATE FUNCTION f() RETURNS integer\n    LANGUAGE c\n    AS 'x', 'y';",
            "CREATE FUNCTION g() RETURNS integer\n    LANGUAGE cobol\n    AS 'x';",
            "ALTER SCHEMA s OWNER TO b;",
        ] {
            dependencies.of_statement(text.as_bytes());
        }
        dependencies.of_grantor(b"\"m n\"");
        for value in ["''", "pg_default", "\"a b\"", "c"] {
            dependencies.of_tablespace(value.as_bytes());
        }
        let names = |set: &BTreeSet<Vec<u8>>| -> Vec<String> {
            let texts = set.iter();
            texts
                .map(|name| String::from_utf8_lossy(name).into_owned())
                .collect()
        };
        assert_eq!(
            names(&dependencies.roles),
            [
                "b",
                "c",
                "d",
                "e",
                "f",
                "g",
                "h",
                "i, j",
                "k",
                "m n",
                "o \"w; OWNER TO x"
            ]
        );
        assert_eq!(names(&dependencies.grantors), ["m n"]);
        assert_eq!(names(&dependencies.owners), ["b", "o \"w; OWNER TO x"]);
        assert_eq!(names(&dependencies.extensions), ["uuid-ossp"]);
        assert_eq!(names(&dependencies.default_privileges), ["e"]);
        let of = |schema: &[u8], role: &[u8]| (schema.to_vec(), role.to_vec());
        assert_eq!(dependencies.schemas, BTreeMap::from([of(b"s", b"b")]));
        let owned = [of(b"s", b"b"), of(b"s", b"o \"w; OWNER TO x")];
        assert_eq!(dependencies.owned_in, BTreeSet::from(owned));
        let of_superusers: Vec<&str> = dependencies.of_superusers.keys().copied().collect();
        assert_eq!(
            of_superusers,
            [
                "event triggers",
                "functions in C",
                "publications of all tables"
            ]
        );
        assert_eq!(names(&dependencies.tablespaces), ["a b", "c", "pg_default"]);
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn what_only_a_superuser_may_make_is_known_by_its_statement() {
        for (text, expected) in [
            ("CREATE TYPE public.shell;", Some("base types")),
            (
                "CREATE TYPE public.\"b (x\" (\n    INTERNALLENGTH = variable\n);",
                Some("base types"),
            ),
            ("CREATE TYPE public.c AS (\n\ta integer\n);", None),
            ("CREATE TYPE public.e AS ENUM (\n    ' ('\n);", None),
            (
                "CREATE CAST (public.b AS text) WITHOUT FUNCTION AS ASSIGNMENT;",
                Some("casts without a function"),
            ),
            ("CREATE CAST (public.b AS text) WITH INOUT;", None),
            (
                "CREATE FUNCTION public.f(a text DEFAULT 'x\n    LANG') RETURNS integer\n    LANGUAGE sql IMMUTABLE LEAKPROOF\n    AS 'x';",
                Some("leakproof functions"),
            ),
            (
                "CREATE FUNCTION public.f() RETURNS integer\n    LANGUAGE sql SUPPORT pg_catalog.g\n    AS 'x';",
                Some("functions with a support function"),
            ),
            (
                "CREATE FUNCTION public.f() RETURNS integer\n    LANGUAGE internal\n    AS 'x';",
                Some("functions of the server's own code"),
            ),
            (
                "CREATE FUNCTION public.f() RETURNS text\n    LANGUAGE sql\n    AS $$SELECT '\n    LANGUAGE c LEAKPROOF\n'$$;",
                None,
            ),
            (
                "CREATE PROCEDURE public.p()\n    LANGUAGE sql\n    AS 'x';",
                None,
            ),
            (
                "CREATE AGGREGATE public.a(numeric) (\n    SFUNC = numeric_avg_accum,\n    STYPE = internal,\n    FINALFUNC = numeric_avg\n);",
                Some("aggregates over internal values"),
            ),
            (
                "CREATE AGGREGATE public.a(integer) (\n    SFUNC = int4pl,\n    STYPE = integer\n);",
                None,
            ),
            (
                "ALTER PUBLICATION p ADD TABLES IN SCHEMA s;",
                Some("publications of schemas"),
            ),
            ("ALTER PUBLICATION p ADD TABLE ONLY s.t;", None),
            (
                "CREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION p WITH (connect = false);",
                Some("subscriptions"),
            ),
            (
                "GRANT ALL ON FUNCTION pg_catalog.pg_read_file(text) TO bob;",
                Some("privileges on objects of the server's own"),
            ),
            (
                "REVOKE ALL ON LANGUAGE sql FROM PUBLIC;",
                Some("privileges on objects of the server's own"),
            ),
            ("GRANT ALL ON FUNCTION public.f(text) TO bob;", None),
        ] {
            let mut dependencies = Dependencies::default();
            dependencies.of_statement(text.as_bytes());
            assert_eq!(
                dependencies.of_superusers.keys().next().copied(),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn row_security_that_holds_for_owners_too_is_known() {
        let mut dependencies = Dependencies::default();
        dependencies.of_statement(b"ALTER TABLE ONLY public.t ENABLE ROW LEVEL SECURITY;");
        dependencies.of_statement(b"ALTER TABLE public.t ENABLE ROW LEVEL SECURITY;");
        assert_eq!(dependencies.forces_row_security, None);
        dependencies.of_statement(b"ALTER TABLE ONLY public.t FORCE ROW LEVEL SECURITY;");
        assert_eq!(
            dependencies.forces_row_security.as_deref(),
            Some("public.t")
        );
    }
}
