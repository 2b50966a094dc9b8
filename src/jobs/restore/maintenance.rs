//! The database from which another one is made, renamed and dropped: nobody can do that to the one that
//! he is connected to.

use crate::config::Connection;
use crate::jobs::{JobContext, JobError};
use crate::postgres::{Client, ConnectError, ConnectErrorKind, Conninfo, advice_to_root};

/// The databases to connect to instead of one, the best first. `configured` is the one that the
/// connection leads to when nobody names one, and that is often the user's own. `template1` comes last,
/// although PostgreSQL's own programs try it before: while somebody is connected to it, nobody on the
/// server can make a database like it, and a restore takes its time.
fn other_databases<'a>(database: &str, configured: &'a str, user: &'a str) -> Vec<&'a str> {
    let mut all = vec!["postgres"];
    for other in [configured, user, "template1"] {
        if !all.contains(&other) {
            all.push(other);
        }
    }
    all.retain(|one| *one != database);
    all
}

/// Whether it may be different with another database: this one is not there, closed or full, or does
/// not admit our user. A wrong password is wrong everywhere, and is not tried twice.
fn depends_on_the_database(kind: ConnectErrorKind, sqlstate: Option<&str>) -> bool {
    // No CONNECT right; no line of pg_hba.conf; ALLOW_CONNECTIONS false; a limit of connections.
    kind == ConnectErrorKind::NoSuchDatabase
        || matches!(sqlstate, Some("42501" | "28000" | "55000" | "53300"))
}

/// Connects to a database that is not this one.
pub(in crate::jobs) async fn connect_to_another(
    context: &JobContext,
    connection: &Connection,
    database: &str,
) -> Result<Client, JobError> {
    // The password file is asked for the database itself.
    let conninfo = Conninfo::resolve(connection, &context.environment, Some(database))?;
    let usual = Conninfo::resolve(connection, &context.environment, None)?;
    let mut refusals: Vec<(&str, ConnectError)> = Vec::new();
    for other in other_databases(database, usual.database(), conninfo.user()) {
        let there = conninfo.to_database(other);
        match Client::connect(&there, context.limits.connect).await {
            Ok(client) => return Ok(client),
            Err(error) if depends_on_the_database(error.kind, error.sqlstate.as_deref()) => {
                tracing::debug!("{error}");
                refusals.push((other, error));
            }
            Err(error) => return Err(error.into()),
        }
    }
    // A server that is full is full for all of them.
    let full = refusals
        .iter()
        .position(|(_, error)| error.kind == ConnectErrorKind::TooManyConnections);
    if let Some(at) = full {
        return Err(refusals.swap_remove(at).1.into());
    }
    let reasons: Vec<String> = refusals
        .iter()
        .map(|(name, error)| format!("{name:?}: {}", error.reason()))
        .collect();
    let user = conninfo.user();
    let advice = advice_to_root(user).unwrap_or_else(|| {
        format!(
            "GRANT CONNECT ON DATABASE postgres TO \"{user}\", or make a database of the user's own \
             name: CREATE DATABASE \"{user}\""
        )
        .into()
    });
    Err(JobError::failed(format!(
        "creating and renaming databases needs a connection to another one than {database:?}, and \
         user {user} can connect to none ({}): {advice}",
        reasons.join("; "),
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_database_is_connected_to_and_template1_at_last() {
        for (database, configured, user, expected) in [
            ("app", "me", "me", &["postgres", "me", "template1"][..]),
            (
                "app",
                "home",
                "me",
                &["postgres", "home", "me", "template1"],
            ),
            ("app", "app", "app", &["postgres", "template1"]),
            ("postgres", "postgres", "postgres", &["template1"]),
            ("template1", "me", "me", &["postgres", "me"]),
            ("me", "template1", "me", &["postgres", "template1"]),
        ] {
            assert_eq!(
                other_databases(database, configured, user),
                expected,
                "{database}"
            );
        }
    }

    #[test]
    fn only_what_another_database_may_fix_is_tried_again() {
        use ConnectErrorKind::{AuthenticationFailed, NoSuchDatabase, Other, ServerDown};
        for (kind, sqlstate, expected) in [
            (NoSuchDatabase, Some("3D000"), true),
            (Other, Some("42501"), true),
            (AuthenticationFailed, Some("28000"), true),
            (AuthenticationFailed, Some("28P01"), false),
            (Other, Some("55000"), true),
            (ConnectErrorKind::TooManyConnections, Some("53300"), true),
            (ServerDown, None, false),
            (ServerDown, Some("57P03"), false),
        ] {
            let found = depends_on_the_database(kind, sqlstate);
            assert_eq!(found, expected, "{kind:?} {sqlstate:?}");
        }
    }
}
