//! The cluster's globals on their way into a throw-away server: who its superuser is, where its
//! tablespaces stand, and what differs when they are dumped again. Pure.

use std::collections::BTreeMap;
use std::path::Path;

use crate::pipeline::census::statements;

/// How a throw-away server's superuser is called where the globals do not say.
const USUAL_SUPERUSER: &str = "postgres";

/// Globals that can be loaded into a throw-away server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Prepared {
    /// What is loaded: all but the making of the superuser, who is there already.
    pub(super) script: Vec<u8>,
    /// What a dump of the server has to say then.
    pub(super) expected: Vec<u8>,
    /// How many directories of tablespaces have to be made, numbered from 0.
    pub(super) tablespaces: usize,
}

/// The superuser that the cluster was made with. The globals do not name it as such, but from
/// version 16 on it is the one whose grants come first, and nearly always it is `postgres`.
pub(super) fn superuser(globals: &[u8]) -> String {
    let mut superusers = Vec::new();
    let mut first_grantor = None;
    for range in statements(globals) {
        let statement = &globals[range];
        if let Some(rest) = statement.strip_prefix(b"ALTER ROLE ")
            && let Some((role, rest)) = identifier(rest)
            && rest.starts_with(b" WITH SUPERUSER ")
        {
            superusers.push(role);
        } else if statement.starts_with(b"GRANT ")
            && let Some(at) = memchr::memmem::rfind(statement, b" GRANTED BY ")
            && let Some((role, _)) = identifier(&statement[at + b" GRANTED BY ".len()..])
        {
            first_grantor.get_or_insert(role);
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
pub(super) fn prepare(globals: &[u8], superuser: &str, below: &Path) -> Prepared {
    let (mut script, mut expected) = (Vec::new(), Vec::new());
    let mut tablespaces = 0;
    let mut done = 0;
    for range in statements(globals) {
        // What stands between statements: comments and psql's own commands.
        let between = &globals[done..range.start];
        let statement = &globals[range.clone()];
        done = range.end;
        script.extend_from_slice(between);
        expected.extend_from_slice(between);
        if let Some(moved) = with_location(statement, &below.join(tablespaces.to_string())) {
            tablespaces += 1;
            script.extend_from_slice(&moved);
            expected.extend_from_slice(&moved);
            continue;
        }
        expected.extend_from_slice(statement);
        let made = statement
            .strip_prefix(b"CREATE ROLE ")
            .and_then(identifier)
            .map(|(role, _)| role);
        if made.as_deref() != Some(superuser) {
            script.extend_from_slice(statement);
        }
    }
    script.extend_from_slice(&globals[done..]);
    expected.extend_from_slice(&globals[done..]);
    Prepared {
        script,
        expected,
        tablespaces,
    }
}

/// `CREATE TABLESPACE x OWNER y LOCATION '…';` with another location; none for other statements.
fn with_location(statement: &[u8], location: &Path) -> Option<Vec<u8>> {
    const WORD: &[u8] = b" LOCATION ";
    let rest = statement.strip_prefix(b"CREATE TABLESPACE ")?;
    let (_, after_name) = identifier(rest)?;
    let (_, after_owner) = identifier(after_name.strip_prefix(b" OWNER ")?)?;
    after_owner.starts_with(WORD).then_some(())?;
    let head = &statement[..statement.len() - after_owner.len()];
    let location = location.display().to_string().replace('\'', "''");
    Some([head, WORD, b"'", location.as_bytes(), b"';"].concat())
}

/// Reads an identifier as `pg_dumpall` writes it, and gives it with the rest of the text.
fn identifier(text: &[u8]) -> Option<(String, &[u8])> {
    if text.first() != Some(&b'"') {
        let end = text
            .iter()
            .position(|byte| matches!(byte, b' ' | b';' | b',' | b'\n'))
            .unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        return (!name.is_empty()).then(|| (String::from_utf8_lossy(name).into_owned(), rest));
    }
    let mut name = Vec::new();
    let mut at = 1;
    loop {
        match (text.get(at)?, text.get(at + 1)) {
            (b'"', Some(b'"')) => {
                name.push(b'"');
                at += 2;
            }
            (b'"', _) => {
                let name = String::from_utf8_lossy(&name).into_owned();
                return Some((name, &text[at + 1..]));
            }
            (byte, _) => {
                name.push(*byte);
                at += 1;
            }
        }
    }
}

/// What two dumps of globals do not share, one sentence each, without any password.
pub(super) fn differences(expected: &[u8], found: &[u8]) -> Vec<String> {
    let mut counts: BTreeMap<&[u8], i64> = BTreeMap::new();
    for (globals, sign) in [(expected, 1), (found, -1)] {
        for range in statements(globals) {
            let statement = &globals[range];
            // They are about the session that loads the dump.
            if !statement.starts_with(b"SET ") {
                *counts.entry(statement).or_default() += sign;
            }
        }
    }
    counts
        .into_iter()
        .filter(|(_, count)| *count != 0)
        .map(|(statement, count)| {
            let what = without_password(statement);
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
        let found = differences(GLOBALS.as_bytes(), changed.as_bytes());
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(found.iter().all(|sentence| !sentence.contains("md5")));
        assert!(
            found
                .iter()
                .any(|sentence| sentence.contains("GRANT a TO reader")
                    && sentence.ends_with("is missing"))
        );
        assert_eq!(differences(GLOBALS.as_bytes(), GLOBALS.as_bytes()), [""; 0]);
    }
}
