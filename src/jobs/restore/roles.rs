//! Which of the recorded roles and memberships a restore brings back. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::jobs::globals::{self, Statement};

/// What is to be carried out, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::jobs) struct RolesToRestore {
    /// Roles that the server does not have.
    pub(super) missing: Vec<String>,
    /// Statements. They may hold password verifiers and are never shown.
    pub(super) statements: Vec<String>,
    /// Memberships: role, member, statement. A role may have been made a member by several others,
    /// each with options of its own.
    pub(super) memberships: Vec<(String, String, String)>,
    /// Rights on parameters and tablespaces: in whose name they are granted, unless it is our own, and
    /// the statement.
    pub(super) privileges: Vec<(Option<String>, String)>,
}

/// Names as a server tells them: what of them is not UTF-8 bears U+FFFD there, too.
pub(super) fn names(found: &BTreeSet<Vec<u8>>) -> BTreeSet<String> {
    let names = found.iter();
    names
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect()
}

/// Every role that recorded globals make.
pub(super) fn recorded(globals: &[u8]) -> BTreeSet<String> {
    globals::read(globals)
        .filter_map(|(_, statement)| match statement {
            Statement::CreateRole(role) => Some(role),
            _ => None,
        })
        .collect()
}

/// Chooses among recorded globals (`pg_dumpall --globals-only`) what the server does not have. A
/// role that it has stays as it is, and so do the memberships between two such roles, unless
/// `overwrite` is said: somebody may have taken a right away since. The same goes for its rights on
/// tablespaces and parameters. Tablespaces are not made: where they would stand is for the operator
/// to say.
pub(super) fn to_restore(
    globals: &[u8],
    there: &BTreeMap<String, bool>,
    overwrite: bool,
) -> RolesToRestore {
    let mut chosen = RolesToRestore::default();
    let missing = |role: &String| !there.contains_key(role);
    let mut grantor = None;
    for (range, statement) in globals::read(globals) {
        let text = || as_text(&globals[range.clone()]);
        match statement {
            Statement::CreateRole(role) if missing(&role) => {
                chosen.missing.push(role);
                chosen.statements.push(text());
            }
            Statement::OfRole { role, .. } if missing(&role) => {
                let statement = globals::for_new_role(&globals[range.clone()]);
                chosen.statements.push(as_text(&statement));
            }
            Statement::OfRole { .. } if overwrite => {
                chosen.statements.push(text());
            }
            Statement::Membership { role, member, .. }
                if missing(&role) || missing(&member) || overwrite =>
            {
                chosen.memberships.push((role, member, text()));
            }
            Statement::InTheNameOf(role) => grantor = role,
            Statement::Privilege { grantee } if missing(&grantee) || overwrite => {
                chosen.privileges.push((grantor.clone(), text()));
            }
            _ => {}
        }
    }
    chosen
}

impl RolesToRestore {
    /// The providers of labels that some of them bear.
    pub(super) fn label_providers(&self) -> BTreeSet<String> {
        globals::label_providers(self.statements.join("\n").as_bytes())
    }
}

fn as_text(statement: &[u8]) -> String {
    String::from_utf8_lossy(statement).into_owned()
}

/// A membership without its grantor, who may not have the right any more.
pub(super) fn without_grantor(grant: &str) -> Option<String> {
    let at = grant.rfind(" GRANTED BY ")?;
    Some(format!("{};", &grant[..at]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GLOBALS: &[u8] = b"\\restrict x\nSET a = b;\nCREATE ROLE postgres;\nALTER ROLE postgres \
        WITH SUPERUSER;\nCREATE ROLE \"a \"\"b\";\nALTER ROLE \"a \"\"b\" WITH LOGIN PASSWORD \
        'SCRAM-SHA-256$x;y';\nALTER ROLE \"a \"\"b\" SET search_path TO 'x';\nCOMMENT ON ROLE \"a \
        \"\"b\" IS 'c';\nCREATE ROLE reader;\nALTER ROLE reader WITH NOLOGIN;\nGRANT reader TO \"a \
        \"\"b\" GRANTED BY postgres;\nGRANT reader TO postgres WITH ADMIN OPTION;\nCREATE \
        TABLESPACE t OWNER reader LOCATION '/t';\nGRANT ALL ON TABLESPACE t TO PUBLIC;\nSET SESSION \
        AUTHORIZATION reader;\nGRANT ALL ON TABLESPACE t TO \"a \"\"b\";\nRESET SESSION \
        AUTHORIZATION;\nGRANT SET ON PARAMETER work_mem TO reader;\n\\unrestrict x\n";

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
        let grant = "GRANT ALL ON TABLESPACE t TO \"a \"\"b\";";
        let expected = (Some("reader".to_owned()), grant.to_owned());
        assert_eq!(chosen.privileges, [expected]);

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
        let grantors: Vec<_> = chosen
            .privileges
            .iter()
            .map(|one| one.0.as_deref())
            .collect();
        assert_eq!(grantors, [Some("reader"), None]);
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
