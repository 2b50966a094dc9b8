//! What to tell the operator when a program of `PostgreSQL`'s has failed: why, and what to do.

use super::blocked::Watch;
use super::error::JobError;
use crate::postgres::{Conninfo, DumpFailure, Exit, explain_failure};

/// Turns a failed program into a sentence.
pub(super) fn explain(program: &str, exit: &Exit, conninfo: &Conninfo, watch: &Watch) -> JobError {
    let said = exit.stderr.trim();
    let cause = explain_failure(said);
    let advice = match &cause {
        DumpFailure::LockTimeout { table } => {
            let table = table
                .as_ref()
                .map_or_else(|| "a table".to_owned(), |table| format!("table {table}"));
            format!(
                "it waited too long for a lock on {table}; {}",
                watch.blame()
            )
        }
        DumpFailure::PermissionDenied { object } => may_not_read(conninfo.user(), object),
        DumpFailure::RowSecurity { table } => format!(
            "row-level security hides rows of table {table} from user {user}, and a dump \
                 without them would be no backup: ALTER ROLE {user} BYPASSRLS, or let a superuser \
                 make the backup",
            user = conninfo.user()
        ),
        DumpFailure::NoSuchDatabase => {
            format!(
                "there is no database {:?} on the server",
                conninfo.database()
            )
        }
        DumpFailure::AuthenticationFailed => {
            format!("the server refuses user {}", conninfo.user())
        }
        DumpFailure::TooManyConnections => format!(
            "the server has no connection left for user {}: run it again later, or raise \
                 max_connections or the role's or database's limit",
            conninfo.user()
        ),
        DumpFailure::ServerDown => {
            format!("the server at {} cannot be reached", conninfo.server())
        }
        DumpFailure::ConnectionLost => {
            "the connection broke: the server was stopped or restarted, or the network \
                 failed; run it again"
                .to_owned()
        }
        DumpFailure::VersionMismatch { versions } => format!(
            "{program} is older than the server ({}): install the server's own version",
            versions.as_deref().unwrap_or("it did not say")
        ),
        DumpFailure::NoSpace => {
            "the disk is full: free some space or inodes there (df -h, df -i), then run it \
                 again"
                .to_owned()
        }
        DumpFailure::NoSpaceOnServer => {
            "the server's disk is full: free some space there, then run it again".to_owned()
        }
        DumpFailure::Other => String::new(),
    };
    let mut sentence = format!("{program} {exit}");
    if !advice.is_empty() {
        sentence.push_str(": ");
        sentence.push_str(&advice);
    }
    if !said.is_empty() {
        sentence.push_str("; it said:\n");
        sentence.push_str(said);
    }
    match cause {
        DumpFailure::NoSpace => JobError::NoSpace(sentence),
        _ => JobError::Failed {
            message: sentence,
            may_pass: cause.is_transient(),
        },
    }
}

/// What to do about a missing privilege. Pure.
fn may_not_read(user: &str, object: &str) -> String {
    let way_out = if object.starts_with("large object ") {
        // Predefined Roles in the manual: "all data (tables, views, sequences)".
        format!(
            "pg_read_all_data does not reach large objects, so GRANT SELECT ON {} TO {user} and on \
             every other one, or let a superuser make the backup",
            object.replace("large object", "LARGE OBJECT")
        )
    } else {
        "grant it pg_read_all_data (from version 14 on), or let the owner make the backup"
            .to_owned()
    };
    format!("user {user} may not read {object}: {way_out}")
}

#[cfg(test)]
mod tests {
    use super::may_not_read;

    #[test]
    fn the_way_out_of_a_missing_privilege_is_one_that_works() {
        assert_eq!(
            may_not_read("backup", "table secret"),
            "user backup may not read table secret: grant it pg_read_all_data (from version 14 \
             on), or let the owner make the backup"
        );
        assert_eq!(
            may_not_read("backup", "large object 16421"),
            "user backup may not read large object 16421: pg_read_all_data does not reach large \
             objects, so GRANT SELECT ON LARGE OBJECT 16421 TO backup and on every other one, or \
             let a superuser make the backup"
        );
    }
}
