//! Keeping event triggers still while a dump is loaded into a server before version 17.
//!
//! Such a session has the role of a replica, in which an ordinary event trigger does not fire. One that was
//! declared ENABLE ALWAYS or REPLICA does, and there is no setting against it: an extension's own from
//! CREATE EXTENSION on, the dump's from its ALTER EVENT TRIGGER on. So directly behind these statements such
//! triggers are disabled, and at the end of the dump they become what they were. Statements about event
//! triggers fire none themselves (the manual's chapter "Event Triggers").

/// The first version with a setting for it (`event_triggers`).
const WITH_A_SETTING: u32 = 17;

/// Disables those that would fire. On one line: lines are counted as the dump has them.
const HOLD: &str = " DO $pgbackupd$ DECLARE one record; BEGIN \
    IF pg_catalog.current_setting('session_replication_role') OPERATOR(pg_catalog.=) 'replica' THEN \
    FOR one IN SELECT e.evtname, CASE WHEN e.evtenabled OPERATOR(pg_catalog.=) 'A' THEN 'ALWAYS' \
    ELSE 'REPLICA' END AS state FROM pg_catalog.pg_event_trigger AS e \
    WHERE e.evtenabled OPERATOR(pg_catalog.=) ANY ('{A,R}'::pg_catalog.\"char\"[]) LOOP \
    EXECUTE pg_catalog.format('ALTER EVENT TRIGGER %I DISABLE', one.evtname); \
    PERFORM pg_catalog.set_config('pgbackupd.held', pg_catalog.concat(\
    pg_catalog.current_setting('pgbackupd.held', true), \
    pg_catalog.format('ALTER EVENT TRIGGER %I ENABLE %s; ', one.evtname, one.state)), false); \
    END LOOP; END IF; END $pgbackupd$;";

/// Makes those that were disabled what they were.
const RELEASE: &str = " DO $pgbackupd$ BEGIN \
    EXECUTE pg_catalog.concat(pg_catalog.current_setting('pgbackupd.held', true)); \
    PERFORM pg_catalog.set_config('pgbackupd.held', '', false); END $pgbackupd$;\n";

/// What keeps event triggers still, behind a statement that may have brought some; none where nothing is
/// needed.
pub fn hold_event_triggers(statement: &[u8], server_major: u32) -> Option<&'static [u8]> {
    let brings_some = [b"CREATE EXTENSION ".as_slice(), b"ALTER EVENT TRIGGER "]
        .iter()
        .any(|head| statement.starts_with(head));
    (brings_some && server_major < WITH_A_SETTING).then_some(HOLD.as_bytes())
}

/// What ends that, behind the dump.
pub fn release_event_triggers(server_major: u32) -> Option<&'static [u8]> {
    (server_major < WITH_A_SETTING).then_some(RELEASE.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_bring_one_is_followed_and_on_the_same_line() {
        for (statement, major, is_held) in [
            ("CREATE EXTENSION IF NOT EXISTS x WITH SCHEMA s;", 16, true),
            ("ALTER EVENT TRIGGER e ENABLE ALWAYS;", 14, true),
            ("CREATE EXTENSION IF NOT EXISTS x WITH SCHEMA s;", 17, false),
            ("CREATE EVENT TRIGGER e ON ddl_command_end;", 15, false),
            ("CREATE TABLE t (a int);", 15, false),
        ] {
            let found = hold_event_triggers(statement.as_bytes(), major);
            assert_eq!(found.is_some(), is_held, "{statement} {major}");
            assert!(found.is_none_or(|text| !text.contains(&b'\n')));
        }
        assert!(release_event_triggers(16).is_some() && release_event_triggers(17).is_none());
    }
}
