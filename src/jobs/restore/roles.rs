//! Which of the recorded roles and memberships a restore brings back. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::pipeline::census::statements;

/// What is to be carried out, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RolesToRestore {
    /// Roles that the server does not have.
    pub(super) missing: Vec<String>,
    /// Statements. They may hold password verifiers and are never shown.
    pub(super) statements: Vec<String>,
    /// Memberships that are only wanted if they are not there: role, member, statement.
    pub(super) memberships: Vec<(String, String, String)>,
}

/// Every role that recorded globals make.
pub(super) fn recorded(globals: &[u8]) -> BTreeSet<String> {
    statements(globals)
        .into_iter()
        .filter_map(|range| match Statement::parse(&globals[range]) {
            Statement::Create(role) => Some(role),
            _ => None,
        })
        .collect()
}

/// Chooses among recorded globals (`pg_dumpall --globals-only`) what the server does not have. A
/// role that it has stays as it is, and so do the memberships between two such roles, unless
/// `overwrite` is said: somebody may have taken a right away since. Tablespaces are not made:
/// where they would stand is for the operator to say.
pub(super) fn to_restore(
    globals: &[u8],
    there: &BTreeMap<String, bool>,
    overwrite: bool,
) -> RolesToRestore {
    let mut chosen = RolesToRestore::default();
    let missing = |role: &String| !there.contains_key(role);
    for range in statements(globals) {
        let bytes = &globals[range];
        let text = || String::from_utf8_lossy(bytes).into_owned();
        match Statement::parse(bytes) {
            Statement::Create(role) if missing(&role) => {
                chosen.missing.push(role);
                chosen.statements.push(text());
            }
            Statement::Of(role) if missing(&role) || overwrite => chosen.statements.push(text()),
            Statement::Membership { role, member }
                if missing(&role) || missing(&member) || overwrite =>
            {
                chosen.memberships.push((role, member, text()));
            }
            _ => {}
        }
    }
    chosen
}

/// A membership without its grantor, who may not have the right any more.
pub(super) fn without_grantor(grant: &str) -> Option<String> {
    let at = grant.rfind(" GRANTED BY ")?;
    Some(format!("{};", &grant[..at]))
}

/// A statement of `pg_dumpall`'s, as far as it is about roles.
enum Statement {
    Create(String),
    /// Changes or comments a role.
    Of(String),
    Membership {
        role: String,
        member: String,
    },
    Other,
}

impl Statement {
    fn parse(text: &[u8]) -> Self {
        let role = |word: &[u8]| {
            let (name, _) = identifier(text.strip_prefix(word)?)?;
            Some(name)
        };
        if let Some(role) = role(b"CREATE ROLE ") {
            return Self::Create(role);
        }
        if let Some(role) = role(b"ALTER ROLE ").or_else(|| role(b"COMMENT ON ROLE ")) {
            return Self::Of(role);
        }
        if let Some(rest) = text.strip_prefix(b"GRANT ")
            && let Some((role, rest)) = identifier(rest)
            && let Some(rest) = rest.strip_prefix(b" TO ")
            && let Some((member, _)) = identifier(rest)
        {
            return Self::Membership { role, member };
        }
        Self::Other
    }
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

    const GLOBALS: &[u8] = b"\\restrict x\nSET a = b;\nCREATE ROLE postgres;\nALTER ROLE postgres \
        WITH SUPERUSER;\nCREATE ROLE \"a \"\"b\";\nALTER ROLE \"a \"\"b\" WITH LOGIN PASSWORD \
        'SCRAM-SHA-256$x;y';\nALTER ROLE \"a \"\"b\" SET search_path TO 'x';\nCOMMENT ON ROLE \"a \
        \"\"b\" IS 'c';\nCREATE ROLE reader;\nALTER ROLE reader WITH NOLOGIN;\nGRANT reader TO \"a \
        \"\"b\" GRANTED BY postgres;\nGRANT reader TO postgres WITH ADMIN OPTION;\nCREATE \
        TABLESPACE t OWNER reader LOCATION '/t';\nGRANT ALL ON TABLESPACE t TO PUBLIC;\n\\unrestrict x\n";

    fn there(names: &[&str]) -> BTreeMap<String, bool> {
        names
            .iter()
            .map(|name| ((*name).to_owned(), true))
            .collect()
    }

    #[test]
    fn what_the_server_has_stays_as_it_is() {
        let chosen = to_restore(GLOBALS, &there(&["postgres", "reader"]), false);
        assert_eq!(chosen.missing, ["a \"b"]);
        assert_eq!(chosen.statements.len(), 4, "{chosen:?}");
        assert!(
            chosen
                .statements
                .iter()
                .all(|one| one.contains("\"a \"\"b\""))
        );
        assert_eq!(chosen.memberships.len(), 1);
        assert_eq!(chosen.memberships[0].1, "a \"b");

        let all = there(&["postgres", "reader", "a \"b"]);
        assert_eq!(to_restore(GLOBALS, &all, false), RolesToRestore::default());
    }

    #[test]
    fn overwriting_changes_what_is_there_and_makes_no_role_twice() {
        let all = there(&["postgres", "reader", "a \"b"]);
        let chosen = to_restore(GLOBALS, &all, true);
        assert!(chosen.missing.is_empty());
        assert_eq!(chosen.memberships.len(), 2);
        assert!(chosen.statements.iter().all(|one| !one.contains("CREATE")));
        assert_eq!(chosen.statements.len(), 5, "{chosen:?}");
    }

    #[test]
    fn the_roles_that_are_recorded_are_known() {
        let expected = ["a \"b", "postgres", "reader"].map(str::to_owned);
        assert_eq!(recorded(GLOBALS), BTreeSet::from(expected));
        assert_eq!(
            without_grantor("GRANT a TO b GRANTED BY c;").as_deref(),
            Some("GRANT a TO b;")
        );
        assert_eq!(without_grantor("GRANT a TO b;"), None);
    }
}
