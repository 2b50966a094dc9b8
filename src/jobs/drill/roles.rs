//! The cluster's globals on their way into a temporary cluster: who its superuser is, where its
//! tablespaces stand, and what differs when they are dumped again. Pure.

use std::collections::BTreeMap;
use std::path::Path;

use crate::jobs::globals::{self, Statement};

/// How a temporary cluster's superuser is called where the globals do not say.
pub(super) const USUAL_SUPERUSER: &str = "postgres";

/// Globals that can be loaded into a temporary cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Prepared {
    /// What is loaded: all but the making of the superuser, who is there already.
    pub(super) script: Vec<u8>,
    /// What a dump of the server has to say then.
    pub(super) expected: Vec<u8>,
    /// How many directories of tablespaces have to be made, numbered from 0.
    pub(super) tablespaces: usize,
    /// Placeholders for what the backup does not hold: one phrase each.
    pub(super) placeholders: Vec<String>,
}

/// The superuser that the cluster was made with. The globals do not name it as such, but from
/// version 16 on it is the one whose grants come first, and nearly always it is `postgres`.
pub(super) fn superuser(text: &[u8]) -> String {
    let mut superusers = Vec::new();
    let mut first_grantor = None;
    for (_, statement) in globals::read(text) {
        match statement {
            Statement::OfRole {
                role,
                superuser: true,
            } => superusers.push(role),
            Statement::Membership {
                grantor: Some(grantor),
                ..
            } => {
                first_grantor.get_or_insert(grantor);
            }
            _ => {}
        }
    }
    let usual = || USUAL_SUPERUSER.to_owned();
    let chosen = first_grantor
        .filter(|grantor| superusers.contains(grantor))
        .or_else(|| superusers.iter().find(|role| **role == usual()).cloned())
        .or_else(|| superusers.into_iter().next());
    // A name of the system's own cannot be given to anybody (initdb's manual).
    chosen
        .filter(|role| !role.starts_with("pg_"))
        .unwrap_or_else(usual)
}

/// Makes globals fit a server whose superuser is there already, and whose tablespaces stand below
/// a directory.
pub(super) fn prepare(text: &[u8], superuser: &str, below: &Path) -> Prepared {
    let (mut script, mut expected) = (Vec::new(), Vec::new());
    let mut tablespaces = 0;
    let mut done = 0;
    for (range, statement) in globals::read(text) {
        // What stands between statements: comments and psql's own commands.
        let between = &text[done..range.start];
        done = range.end;
        script.extend_from_slice(between);
        expected.extend_from_slice(between);
        let written = match statement {
            Statement::CreateTablespace { head } => {
                let location = below.join(tablespaces.to_string());
                tablespaces += 1;
                with_location(head, &location)
            }
            // We could not connect any more.
            Statement::OfRole {
                ref role,
                superuser: true,
            } if role == superuser => able_to_log_in(&text[range]),
            _ => text[range].to_vec(),
        };
        expected.extend_from_slice(&written);
        if !matches!(statement, Statement::CreateRole(role) if role == superuser) {
            script.extend_from_slice(&written);
        }
    }
    script.extend_from_slice(&text[done..]);
    expected.extend_from_slice(&text[done..]);
    Prepared {
        script,
        expected,
        tablespaces,
        placeholders: Vec::new(),
    }
}

/// The statement that gives a superuser its attributes, with the right to log in.
fn able_to_log_in(statement: &[u8]) -> Vec<u8> {
    const NOT: &[u8] = b" NOLOGIN ";
    match memchr::memmem::rfind(statement, NOT) {
        Some(at) => [&statement[..at], b" LOGIN ", &statement[at + NOT.len()..]].concat(),
        None => statement.to_vec(),
    }
}

/// The statement that makes a tablespace, with another place.
fn with_location(head: &[u8], location: &Path) -> Vec<u8> {
    let location = location.display().to_string().replace('\'', "''");
    [head, b" LOCATION '", location.as_bytes(), b"';"].concat()
}

/// What two dumps of globals do not share, one sentence each, without any password. Without the same
/// version, memberships are the same if role and member are: their options have grown.
pub(super) fn differences(expected: &[u8], found: &[u8], same_version: bool) -> Vec<String> {
    let mut counts: BTreeMap<Vec<u8>, i64> = BTreeMap::new();
    for (text, sign) in [(expected, 1), (found, -1)] {
        for (range, statement) in globals::read(text) {
            let written = &text[range];
            // They are about the session that loads the dump.
            if written.starts_with(b"SET ") {
                continue;
            }
            let key = match statement {
                Statement::Membership { role, member, .. } if !same_version => {
                    format!("GRANT {role:?} TO {member:?};").into_bytes()
                }
                _ => written.to_vec(),
            };
            *counts.entry(key).or_default() += sign;
        }
    }
    counts
        .into_iter()
        .filter(|(_, count)| *count != 0)
        .map(|(statement, count)| {
            let what = without_password(&statement);
            if count > 0 {
                format!("of roles and tablespaces, {what:?} is missing")
            } else {
                format!("of roles and tablespaces, {what:?} should not be there")
            }
        })
        .collect()
}

/// A statement without what `PASSWORD` is followed by.
fn without_password(statement: &[u8]) -> String {
    let cut = memchr::memmem::find(statement, b" PASSWORD ").map(|at| &statement[..at]);
    let shown = cut.unwrap_or(statement);
    let text = String::from_utf8_lossy(shown).into_owned();
    if cut.is_some() {
        format!("{text} PASSWORD …;")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GLOBALS: &str = "--\n-- Roles\n--\n\n\\restrict x\nSET client_encoding = 'UTF8';\n\
        CREATE ROLE \"the \"\"boss\"\"\";\n\
        ALTER ROLE \"the \"\"boss\"\"\" WITH SUPERUSER INHERIT;\n\
        CREATE ROLE reader;\n\
        ALTER ROLE reader WITH NOSUPERUSER PASSWORD 'md5abc';\n\
        GRANT a TO reader GRANTED BY \"the \"\"boss\"\"\";\n\
        CREATE TABLESPACE \"fast LOCATION '/no'\" OWNER reader LOCATION '/srv/it''s';\n\
        GRANT ALL ON TABLESPACE \"fast LOCATION '/no'\" TO reader;\n\
        \\unrestrict x\n";

    #[test]
    fn the_superuser_is_known_by_its_grants_else_by_its_usual_name() {
        assert_eq!(superuser(GLOBALS.as_bytes()), "the \"boss\"");
        for (globals, expected) in [
            ("", "postgres"),
            ("ALTER ROLE me WITH SUPERUSER X;", "me"),
            (
                "ALTER ROLE me WITH SUPERUSER X;\nALTER ROLE postgres WITH SUPERUSER X;",
                "postgres",
            ),
            (
                "ALTER ROLE me WITH SUPERUSER X;\nALTER ROLE postgres WITH SUPERUSER X;\n\
                 GRANT a TO b GRANTED BY me;",
                "me",
            ),
            (
                "ALTER ROLE me WITH NOSUPERUSER X;\nGRANT a TO b GRANTED BY me;",
                "postgres",
            ),
        ] {
            assert_eq!(superuser(globals.as_bytes()), expected, "{globals}");
        }
    }

    #[test]
    fn tablespaces_are_moved_and_the_superuser_is_not_made_twice() {
        let prepared = prepare(GLOBALS.as_bytes(), "the \"boss\"", Path::new("/s/t"));
        let expected = GLOBALS.replace("'/srv/it''s'", "'/s/t/0'");
        assert_eq!(String::from_utf8_lossy(&prepared.expected), expected);
        assert_eq!(
            String::from_utf8_lossy(&prepared.script),
            expected.replace("CREATE ROLE \"the \"\"boss\"\"\";", "")
        );
        assert_eq!(prepared.tablespaces, 1);
    }

    #[test]
    fn differences_name_the_statement_and_no_password() {
        let changed = GLOBALS
            .replace("md5abc", "md5def")
            .replace("GRANT a TO reader", "GRANT b TO reader")
            .replace("client_encoding = 'UTF8'", "client_encoding = 'LATIN1'");
        let found = differences(GLOBALS.as_bytes(), changed.as_bytes(), true);
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(found.iter().all(|sentence| !sentence.contains("md5")));
        assert!(
            found
                .iter()
                .any(|sentence| sentence.contains("GRANT a TO reader")
                    && sentence.ends_with("is missing"))
        );
        let none = differences(GLOBALS.as_bytes(), GLOBALS.as_bytes(), true);
        assert_eq!(none, [""; 0]);
    }

    #[test]
    fn options_of_a_membership_count_where_the_version_is_the_same() {
        let newer = GLOBALS.replace(
            "TO reader GRANTED BY",
            "TO reader WITH INHERIT TRUE GRANTED BY",
        );
        let differ = |same| differences(GLOBALS.as_bytes(), newer.as_bytes(), same).len();
        assert_eq!((differ(true), differ(false)), (2, 0));
        let without = GLOBALS.replace("GRANT a TO reader", "GRANT b TO reader");
        let found = differences(GLOBALS.as_bytes(), without.as_bytes(), false);
        assert_eq!(found.len(), 2, "{found:?}");
    }

    #[test]
    fn the_superuser_of_a_throw_away_server_can_always_log_in() {
        let text = b"CREATE ROLE a;\nALTER ROLE a WITH SUPERUSER NOLOGIN NOREPLICATION;\n\
            ALTER ROLE b WITH SUPERUSER NOLOGIN NOREPLICATION;";
        let prepared = prepare(text, "a", Path::new("/s"));
        let script = String::from_utf8_lossy(&prepared.script).into_owned();
        assert!(script.contains("ALTER ROLE a WITH SUPERUSER LOGIN NOREPLICATION;"));
        assert!(script.contains("ALTER ROLE b WITH SUPERUSER NOLOGIN NOREPLICATION;"));
    }
}
