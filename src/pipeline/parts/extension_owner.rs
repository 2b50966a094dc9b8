//! Making an extension as the role that owns it.
//!
//! No statement gives an extension to another role: it belongs to whoever makes it, and so do the objects of
//! one that needs no superuser. So directly before the dump's CREATE EXTENSION IF NOT EXISTS, the same
//! statement is tried as the owner. If the server refuses that, it undoes it, and the dump's own statement
//! makes the extension as ever.

use crate::pipeline::sql::identifier;

/// How `pg_dump` begins the statement.
const HEAD: &[u8] = b"CREATE EXTENSION IF NOT EXISTS ";

/// The extension that a statement of a dump makes.
pub fn made_extension(statement: &[u8]) -> Option<Vec<u8>> {
    let rest = statement.strip_prefix(HEAD)?;
    identifier(rest, 0).map(|(name, _)| name)
}

/// What makes an extension as its owner, before the statement that does so without; none where the two do
/// not fit into one text. On one line if the statement is: lines are counted as the dump has them.
pub fn make_as_owner(statement: &[u8], owner: &str) -> Option<Vec<u8>> {
    const QUOTE: &[u8] = b"$pgbackupd$";
    // The text is in the dump's encoding, and the name would not be.
    let fits = owner.is_ascii() && !owner.contains(char::is_control);
    let role = owner.replace('"', "\"\"");
    let literal = owner.replace('\\', r"\\").replace('\'', "''");
    let begin = format!(
        "DO $pgbackupd$ DECLARE me text := pg_catalog.current_setting('role'); BEGIN \
         IF CURRENT_USER OPERATOR(pg_catalog.<>) E'{literal}' THEN SET LOCAL ROLE \"{role}\"; "
    );
    let end = " PERFORM pg_catalog.set_config('role', me, true); END IF; \
               EXCEPTION WHEN OTHERS THEN NULL; END $pgbackupd$; ";
    let holds_quote = |text: &[u8]| memchr::memmem::find(text, QUOTE).is_some();
    let fits = fits && !holds_quote(statement) && !holds_quote(owner.as_bytes());
    let statement = statement.trim_ascii_end();
    (fits && statement.ends_with(b";"))
        .then(|| [begin.as_bytes(), statement, end.as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_extension_is_made_as_somebody() {
        for (statement, expected) in [
            (
                "CREATE EXTENSION IF NOT EXISTS citext WITH SCHEMA public;",
                Some("citext"),
            ),
            (
                "CREATE EXTENSION IF NOT EXISTS \"uuid-ossp\" WITH SCHEMA \"a b\";",
                Some("uuid-ossp"),
            ),
            ("CREATE EXTENSION citext;", None),
            ("COMMENT ON EXTENSION citext IS 'x';", None),
        ] {
            let found = made_extension(statement.as_bytes());
            assert_eq!(found.as_deref(), expected.map(str::as_bytes));
        }
    }

    #[test]
    fn the_owner_is_a_name_and_no_more() {
        let statement = b"CREATE EXTENSION IF NOT EXISTS citext WITH SCHEMA public;\n";
        let text = make_as_owner(statement, "it's \"me\" \\").unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(!text.contains('\n'));
        for part in [
            "<>) E'it''s \"me\" \\\\' THEN SET LOCAL ROLE \"it's \"\"me\"\" \\\"; CREATE EXTENSION ",
            "SCHEMA public; PERFORM ",
        ] {
            assert!(text.contains(part), "{text}");
        }
        for owner in ["$pgbackupd$", "é", "a\nb"] {
            assert_eq!(make_as_owner(statement, owner), None, "{owner}");
        }
        assert_eq!(
            make_as_owner(b"CREATE EXTENSION IF NOT EXISTS x", "o"),
            None
        );
    }
}
