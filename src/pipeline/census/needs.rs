//! What a dump takes for granted: the roles and tablespaces that its statements name and that it does
//! not make itself. `pg_dump` writes each grantee into a statement of its own, so the names stand at
//! fixed places.

use std::collections::{BTreeMap, BTreeSet};

use memchr::memmem::{find, rfind_iter};

use super::unordered::{identifier, roles_of_a_policy};

/// Names as the dump's bytes have them, without quotes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
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
}

/// How statements begin that only a superuser may carry out, and what that is called
/// (`superuser()` in `PostgreSQL`'s `src/backend/commands`).
const OF_SUPERUSERS: [(&[u8], &str); 7] = [
    (b"CREATE EVENT TRIGGER ", "event triggers"),
    (b"CREATE FOREIGN DATA WRAPPER ", "foreign-data wrappers"),
    (b"CREATE ACCESS METHOD ", "access methods"),
    (b"CREATE OPERATOR CLASS ", "operator classes"),
    (b"CREATE OPERATOR FAMILY ", "operator families"),
    (b"CREATE TEXT SEARCH PARSER ", "text search parsers"),
    (b"CREATE TEXT SEARCH TEMPLATE ", "text search templates"),
];

/// So much of a statement is shown.
const SHOWN: usize = 60;

impl Needs {
    /// Notes what a statement names.
    pub(super) fn of_statement(&mut self, text: &[u8]) {
        match text.first() {
            Some(b'A') => {
                if let Some(rest) = text.strip_prefix(b"ALTER DEFAULT PRIVILEGES FOR ROLE ") {
                    self.role(identifier(rest, 0).map(|(role, _)| role));
                    self.role(last(text, b" TO ").or_else(|| last(text, b" FROM ")));
                } else if text.starts_with(b"ALTER ") {
                    let owner = last(text, b" OWNER TO ");
                    if let Some(owner) = owner.as_ref().filter(|one| !self.owners.contains(*one)) {
                        self.owners.insert(owner.clone());
                    }
                    self.role(owner);
                }
            }
            Some(b'G') if text.starts_with(b"GRANT ") => self.role(last(text, b" TO ")),
            Some(b'R') if text.starts_with(b"REVOKE ") => self.role(last(text, b" FROM ")),
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
        } else if text.starts_with(b"CREATE FUNCTION ") {
            if find(text, b"\n    LANGUAGE c ").is_some()
                || find(text, b"\n    LANGUAGE c\n").is_some()
            {
                self.of_superusers("functions in C", text);
            }
        } else if let Some((_, what)) = OF_SUPERUSERS
            .iter()
            .find(|(words, _)| text.starts_with(words))
        {
            self.of_superusers(what, text);
        }
    }

    fn of_superusers(&mut self, what: &'static str, text: &[u8]) {
        self.of_superusers
            .entry(what)
            .or_insert_with(|| super::printable(&text[..text.len().min(SHOWN)]));
    }

    /// Notes the role that grants from here on, as written.
    pub(super) fn of_grantor(&mut self, role: &[u8]) {
        if let Some((role, _)) = identifier(role, 0) {
            self.grantors.insert(role.clone());
            self.role(Some(role));
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
        let mut needs = Needs::default();
        for text in [
            "SECURITY LABEL FOR selinux ON TABLE public.t IS 'x FOR y';",
            "SECURITY LABEL FOR \"two \"\"words\" ON COLUMN public.t.a IS 'x';",
            "SELECT pg_catalog.setval('public.s', 1, true);",
        ] {
            needs.of_statement(text.as_bytes());
        }
        let expected = [&b"selinux"[..], b"two \"words"].map(<[u8]>::to_vec);
        assert_eq!(needs.label_providers, BTreeSet::from(expected));
    }

    #[test]
    fn the_roles_that_a_dump_takes_for_granted_are_known() {
        let mut needs = Needs::default();
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
        ] {
            needs.of_statement(text.as_bytes());
        }
        needs.of_grantor(b"\"m n\"");
        for value in ["''", "pg_default", "\"a b\"", "c"] {
            needs.of_tablespace(value.as_bytes());
        }
        let names = |set: &BTreeSet<Vec<u8>>| -> Vec<String> {
            let texts = set.iter();
            texts
                .map(|name| String::from_utf8_lossy(name).into_owned())
                .collect()
        };
        assert_eq!(
            names(&needs.roles),
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
        assert_eq!(names(&needs.grantors), ["m n"]);
        assert_eq!(names(&needs.owners), ["b", "o \"w; OWNER TO x"]);
        assert_eq!(names(&needs.extensions), ["uuid-ossp"]);
        let of_superusers: Vec<&str> = needs.of_superusers.keys().copied().collect();
        assert_eq!(
            of_superusers,
            [
                "event triggers",
                "functions in C",
                "publications of all tables"
            ]
        );
        assert_eq!(names(&needs.tablespaces), ["a b", "c", "pg_default"]);
    }
}
