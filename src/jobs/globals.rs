//! The text of a cluster's globals, as `pg_dumpall --globals-only` writes it, statement by statement.
//! Pure.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::pipeline::sql::statements;

/// A statement of `pg_dumpall`'s, as far as anybody wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Statement<'a> {
    /// Makes a role, without any attribute.
    CreateRole(String),
    /// Gives a role its attributes, a setting, a comment or a label.
    OfRole {
        role: String,
        /// Whether it makes the role a superuser.
        superuser: bool,
    },
    /// Makes a role a member of another one.
    Membership {
        role: String,
        member: String,
        grantor: Option<String>,
    },
    /// Makes a tablespace: the statement up to the place.
    CreateTablespace { head: &'a [u8] },
    /// Gives a role rights on a tablespace or a parameter.
    Privilege { grantee: String },
    /// Says in whose name the next ones are granted; none stands for whoever carries them out.
    InTheNameOf(Option<String>),
    /// Everything else: settings of the session, what everybody may do.
    Other,
}

/// Every statement, and where it stands. Between them stand comments and psql's own commands.
pub(super) fn read(globals: &[u8]) -> impl Iterator<Item = (Range<usize>, Statement<'_>)> {
    statements(globals).into_iter().map(|range| {
        let statement = Statement::parse(&globals[range.clone()]);
        (range, statement)
    })
}

impl<'a> Statement<'a> {
    fn parse(text: &'a [u8]) -> Self {
        if let Some((role, _)) = text.strip_prefix(b"CREATE ROLE ").and_then(identifier) {
            return Self::CreateRole(role);
        }
        if let Some((role, rest)) = text.strip_prefix(b"ALTER ROLE ").and_then(identifier) {
            let superuser = rest.starts_with(b" WITH SUPERUSER ");
            return Self::OfRole { role, superuser };
        }
        if let Some((role, _)) = text.strip_prefix(b"COMMENT ON ROLE ").and_then(identifier) {
            return Self::OfRole {
                role,
                superuser: false,
            };
        }
        if let Some((_, labelled)) = label(text)
            && let Some((role, _)) = labelled.strip_prefix(b" ON ROLE ").and_then(identifier)
        {
            return Self::OfRole {
                role,
                superuser: false,
            };
        }
        membership(text)
            .or_else(|| tablespace(text))
            .or_else(|| privilege(text))
            .or_else(|| in_the_name_of(text))
            .unwrap_or(Self::Other)
    }
}

/// `SECURITY LABEL FOR provider ON …`: the provider, and what follows.
fn label(text: &[u8]) -> Option<(String, &[u8])> {
    text.strip_prefix(b"SECURITY LABEL FOR ")
        .and_then(identifier)
}

/// The providers of security labels that these globals name.
pub(super) fn label_providers(globals: &[u8]) -> BTreeSet<String> {
    statements(globals)
        .into_iter()
        .filter_map(|range| label(&globals[range]).map(|(provider, _)| provider))
        .collect()
}

/// Attributes of a role as `pg_dumpall` writes them, before anything with a value.
const ATTRIBUTES: [&[u8]; 14] = [
    b"SUPERUSER",
    b"NOSUPERUSER",
    b"INHERIT",
    b"NOINHERIT",
    b"CREATEROLE",
    b"NOCREATEROLE",
    b"CREATEDB",
    b"NOCREATEDB",
    b"LOGIN",
    b"NOLOGIN",
    b"REPLICATION",
    b"NOREPLICATION",
    b"BYPASSRLS",
    b"NOBYPASSRLS",
];

/// `ALTER ROLE … WITH …` for a role that was just made, without what it is in any case: these words
/// are for superusers alone. Any other statement stays as it is.
pub(super) fn for_new_role(text: &[u8]) -> Vec<u8> {
    const IN_ANY_CASE: [&[u8]; 3] = [b"NOSUPERUSER", b"NOREPLICATION", b"NOBYPASSRLS"];
    let attributes = text
        .strip_prefix(b"ALTER ROLE ")
        .and_then(identifier)
        .and_then(|(_, rest)| rest.strip_prefix(b" WITH"));
    let Some(mut rest) = attributes else {
        return text.to_vec();
    };
    let mut kept = text[..text.len() - rest.len()].to_vec();
    while let Some(words) = rest.strip_prefix(b" ") {
        let end = words.iter().position(|byte| b" ;".contains(byte));
        let (word, after) = words.split_at(end.unwrap_or(words.len()));
        if !ATTRIBUTES.contains(&word) {
            break;
        }
        if !IN_ANY_CASE.contains(&word) {
            kept.push(b' ');
            kept.extend_from_slice(word);
        }
        rest = after;
    }
    kept.extend_from_slice(rest);
    kept
}

/// `ALTER ROLE … WITH …`: the role, and the attributes that it is given.
pub(super) fn attributes(text: &[u8]) -> Option<(String, Vec<&str>)> {
    let (role, rest) = text.strip_prefix(b"ALTER ROLE ").and_then(identifier)?;
    let words = rest.strip_prefix(b" WITH ")?;
    let words = words.split(|byte| b" ;".contains(byte));
    let attributes = words.take_while(|word| ATTRIBUTES.contains(word));
    let given = attributes.filter(|word| !word.starts_with(b"NO"));
    Some((
        role,
        given.filter_map(|word| str::from_utf8(word).ok()).collect(),
    ))
}

/// `ALTER ROLE … SET name TO …`: the role, and the setting.
pub(super) fn setting_of_role(text: &[u8]) -> Option<(String, String)> {
    let (role, rest) = text.strip_prefix(b"ALTER ROLE ").and_then(identifier)?;
    let (setting, _) = identifier(rest.strip_prefix(b" SET ")?)?;
    Some((role, setting))
}

/// `GRANT role TO member … GRANTED BY grantor;`
fn membership(text: &[u8]) -> Option<Statement<'_>> {
    const BY: &[u8] = b" GRANTED BY ";
    let (role, rest) = identifier(text.strip_prefix(b"GRANT ")?)?;
    let (member, rest) = identifier(rest.strip_prefix(b" TO ")?)?;
    let grantor = memchr::memmem::find(rest, BY)
        .and_then(|at| identifier(&rest[at + BY.len()..]))
        .map(|(grantor, _)| grantor);
    Some(Statement::Membership {
        role,
        member,
        grantor,
    })
}

/// `GRANT right, … ON PARAMETER name TO grantee …;`, and the same on a tablespace.
fn privilege(text: &[u8]) -> Option<Statement<'_>> {
    const ON: &[u8] = b" ON ";
    let rest = text.strip_prefix(b"GRANT ")?;
    let rest = &rest[memchr::memmem::find(rest, ON)? + ON.len()..];
    let name = [b"PARAMETER ".as_slice(), b"TABLESPACE "]
        .iter()
        .find_map(|kind| rest.strip_prefix(*kind))?;
    let grantee = identifier(name)?.1.strip_prefix(b" TO ")?;
    // A role of that name is written in quotes.
    if grantee.starts_with(b"PUBLIC") {
        return None;
    }
    let (grantee, _) = identifier(grantee)?;
    Some(Statement::Privilege { grantee })
}

fn in_the_name_of(text: &[u8]) -> Option<Statement<'_>> {
    if text == b"RESET SESSION AUTHORIZATION;" {
        return Some(Statement::InTheNameOf(None));
    }
    let (grantor, _) = identifier(text.strip_prefix(b"SET SESSION AUTHORIZATION ")?)?;
    Some(Statement::InTheNameOf(Some(grantor)))
}

/// `CREATE TABLESPACE name OWNER owner LOCATION 'place';`
fn tablespace(text: &[u8]) -> Option<Statement<'_>> {
    let rest = text.strip_prefix(b"CREATE TABLESPACE ")?;
    let (_, rest) = identifier(rest)?;
    let (_, rest) = identifier(rest.strip_prefix(b" OWNER ")?)?;
    rest.starts_with(b" LOCATION ")
        .then(|| Statement::CreateTablespace {
            head: &text[..text.len() - rest.len()],
        })
}

/// Reads an identifier as `pg_dumpall` writes it, and gives it with the rest of the text.
fn identifier(text: &[u8]) -> Option<(String, &[u8])> {
    let as_text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let Some(mut rest) = text.strip_prefix(b"\"") else {
        let end = text
            .iter()
            .position(|byte| b" ;,\n".contains(byte))
            .unwrap_or(text.len());
        return (end > 0).then(|| (as_text(&text[..end]), &text[end..]));
    };
    let mut name = Vec::new();
    loop {
        let end = memchr::memchr(b'"', rest)?;
        name.extend_from_slice(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix(b"\"") {
            Some(more) => {
                name.push(b'"');
                rest = more;
            }
            None => return Some((as_text(&name), rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn providers_of_labels_are_named_in_globals_too() {
        let globals = b"CREATE ROLE a;\nSECURITY LABEL FOR \"p q\" ON ROLE a IS 'x';\n\
                        SECURITY LABEL FOR p ON TABLESPACE t IS 'x';\n";
        let providers = ["p", "p q"].map(str::to_owned);
        assert_eq!(label_providers(globals), BTreeSet::from(providers));
    }

    #[test]
    fn a_new_role_is_not_given_what_it_has_in_any_case() {
        for (text, expected) in [
            (
                "ALTER ROLE a WITH NOSUPERUSER INHERIT NOCREATEROLE NOCREATEDB LOGIN NOREPLICATION \
                 NOBYPASSRLS PASSWORD 'NOSUPERUSER x';",
                "ALTER ROLE a WITH INHERIT NOCREATEROLE NOCREATEDB LOGIN PASSWORD 'NOSUPERUSER x';",
            ),
            (
                "ALTER ROLE \" WITH NOSUPERUSER\" WITH SUPERUSER NOINHERIT NOREPLICATION NOBYPASSRLS;",
                "ALTER ROLE \" WITH NOSUPERUSER\" WITH SUPERUSER NOINHERIT;",
            ),
            (
                "ALTER ROLE a SET b TO ' NOSUPERUSER';",
                "ALTER ROLE a SET b TO ' NOSUPERUSER';",
            ),
            ("CREATE ROLE a;", "CREATE ROLE a;"),
        ] {
            let found = for_new_role(text.as_bytes());
            assert_eq!(String::from_utf8(found).unwrap(), expected);
        }
    }

    #[test]
    fn what_a_role_is_given_is_known() {
        let given = |text: &'static str| attributes(text.as_bytes());
        assert_eq!(
            given(
                "ALTER ROLE \"a WITH b\" WITH SUPERUSER INHERIT NOCREATEROLE CREATEDB LOGIN BYPASSRLS \
                 PASSWORD 'x REPLICATION';"
            ),
            Some((
                "a WITH b".to_owned(),
                vec!["SUPERUSER", "INHERIT", "CREATEDB", "LOGIN", "BYPASSRLS"]
            ))
        );
        assert_eq!(given("ALTER ROLE a SET b TO 'c';"), None);
        assert_eq!(
            setting_of_role(b"ALTER ROLE \"a b\" SET \"TimeZone\" TO 'UTC';"),
            Some(("a b".to_owned(), "TimeZone".to_owned()))
        );
        assert_eq!(setting_of_role(b"ALTER ROLE a WITH LOGIN;"), None);
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table of statements")]
    fn a_statement_is_known_by_its_first_words() {
        let of_role = |role: &str, superuser| Statement::OfRole {
            role: role.to_owned(),
            superuser,
        };
        let privilege = |grantee: &str| Statement::Privilege {
            grantee: grantee.to_owned(),
        };
        let membership = |grantor: Option<&str>| Statement::Membership {
            role: "a b".to_owned(),
            member: "c".to_owned(),
            grantor: grantor.map(str::to_owned),
        };
        for (text, expected) in [
            (
                "CREATE ROLE \"the \"\"boss\"\"\";",
                Statement::CreateRole("the \"boss\"".to_owned()),
            ),
            ("ALTER ROLE a WITH SUPERUSER INHERIT;", of_role("a", true)),
            ("ALTER ROLE a WITH NOSUPERUSER;", of_role("a", false)),
            ("ALTER ROLE a SET b TO 'c';", of_role("a", false)),
            ("COMMENT ON ROLE a IS 'x';", of_role("a", false)),
            (
                "SECURITY LABEL FOR \"p q\" ON ROLE a IS ' ON ROLE b';",
                of_role("a", false),
            ),
            (
                "SECURITY LABEL FOR p ON TABLESPACE a IS 'x';",
                Statement::Other,
            ),
            ("GRANT \"a b\" TO c;", membership(None)),
            (
                "GRANT \"a b\" TO c WITH ADMIN OPTION GRANTED BY \" GRANTED BY \";",
                membership(Some(" GRANTED BY ")),
            ),
            ("GRANT ALL ON TABLESPACE t TO PUBLIC;", Statement::Other),
            (
                "GRANT SET,ALTER SYSTEM ON PARAMETER \"my.own\" TO \"a b\" WITH GRANT OPTION;",
                privilege("a b"),
            ),
            (
                "GRANT ALL ON TABLESPACE \"a \"\"b\" TO \"PUBLIC\";",
                privilege("PUBLIC"),
            ),
            (
                "GRANT SET ON PARAMETER work_mem TO PUBLIC;",
                Statement::Other,
            ),
            (
                "SET SESSION AUTHORIZATION \"a b\";",
                Statement::InTheNameOf(Some("a b".to_owned())),
            ),
            ("RESET SESSION AUTHORIZATION;", Statement::InTheNameOf(None)),
            (
                "CREATE TABLESPACE \" LOCATION '/x'\" OWNER o LOCATION '/t';",
                Statement::CreateTablespace {
                    head: b"CREATE TABLESPACE \" LOCATION '/x'\" OWNER o",
                },
            ),
            ("SET client_encoding = 'UTF8';", Statement::Other),
        ] {
            assert_eq!(Statement::parse(text.as_bytes()), expected, "{text}");
        }
    }
}
