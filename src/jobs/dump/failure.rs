//! What to tell the operator when a program of `PostgreSQL`'s has failed: why, and what to do.

use std::time::Duration;

use super::Dumper;
use crate::display::{HINT, command};
use crate::jobs::blocked::Watch;
use crate::jobs::error::JobError;
use crate::postgres::{
    Client, ConnectError, Conninfo, DumpFailure, Exit, FailedTable, explain_failure,
    failed_at_a_lock, failed_table, without_details,
};

/// What to do where a standby ends what reads from it.
const ON_A_STANDBY: &str = "run it again, or set hot_standby_feedback = on or a longer \
    max_standby_streaming_delay on the standby, or make the backup from the primary";

/// What a session of our own sees after a program has failed for a reason that its words do not decide.
enum Seen {
    /// It is not let in either, with an error code.
    Refused(ConnectError),
    /// The server is a standby.
    Standby,
    /// Nothing that would explain it.
    Nothing,
}

/// Turns a failed program into a sentence.
pub(super) async fn explain(dumper: &Dumper<'_>, exit: &Exit) -> JobError {
    let (program, conninfo, watch) = (&*dumper.name(), dumper.conninfo, &dumper.overheard.watch);
    let detail = exit.stderr.trim();
    let mut cause = explain_failure(detail);
    if cause == DumpFailure::Other && failed_at_a_lock(detail) && watch.has_waited() {
        cause = DumpFailure::LockTimeout { table: None };
    }
    // What reads archives asks no server.
    let asks_a_server = program != "pg_restore";
    let is_open = matches!(cause, DumpFailure::Other | DumpFailure::NotConnected);
    let seen = if is_open && asks_a_server {
        look(conninfo, dumper.run.connect_limit()).await
    } else {
        Seen::Nothing
    };
    let (advice, may_pass) = match &seen {
        Seen::Refused(error) => (error.to_string(), error.is_transient()),
        Seen::Standby => (
            format!(
                "the server is a standby, which may have ended it for changes of its primary\nhint: {ON_A_STANDBY}"
            ),
            true,
        ),
        Seen::Nothing => (
            advice(&cause, program, conninfo, watch),
            cause.may_pass() && asks_a_server,
        ),
    };
    let table = match cause {
        DumpFailure::Other if program == "pg_dump" => failed_table(detail),
        _ => None,
    };
    let mut sentence = format!("{program} {exit}");
    let mut hints = String::new();
    let way_around = table.as_ref().filter(|_| dumper.overheard.names_way_around);
    let way_around = way_around.map(|table| without(table, conninfo.database()));
    for words in [advice].into_iter().chain(way_around) {
        let at = words.find(HINT).unwrap_or(words.len());
        let (why, hint) = words.split_at(at);
        if !why.is_empty() {
            sentence.push_str(": ");
            sentence.push_str(why);
        }
        hints.push_str(hint);
    }
    dumper.overheard.fail_at(table);
    let recorded = without_details(detail);
    if !recorded.is_empty() {
        sentence.push_str("; its output:\n");
        sentence.push_str(recorded.trim_end());
    }
    sentence.push_str(&hints);
    match cause {
        DumpFailure::NoSpace => JobError::NoSpace(sentence),
        _ => JobError::Failed {
            message: sentence,
            detail: (recorded.len() < detail.len()).then(|| detail.to_owned()),
            may_pass,
        },
    }
}

/// How a backup goes without the table at which a dump has failed. Pure.
fn without(table: &FailedTable, database: &str) -> String {
    format!(
        "it could not read {table}\nhint: where that fails again, `{}` backs up all but the rows of such tables",
        command("emergency", database, "--skip-damaged")
    )
}

async fn look(conninfo: &Conninfo, connect: Duration) -> Seen {
    match Client::connect(conninfo, connect).await {
        Err(error) => Seen::Refused(error),
        Ok(client) if client.is_on_standby() => Seen::Standby,
        Ok(_) => Seen::Nothing,
    }
}

/// Why a program failed and what to do about it, if that is known. Pure.
fn advice(cause: &DumpFailure, program: &str, conninfo: &Conninfo, watch: &Watch) -> String {
    match cause {
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
                 without them would be no backup\nhint: ALTER ROLE {user} BYPASSRLS, or let a superuser \
                 make the backup",
            user = conninfo.user()
        ),
        DumpFailure::NoSuchDatabase
        | DumpFailure::AuthenticationFailed
        | DumpFailure::TooManyConnections
        | DumpFailure::ServerDown
        | DumpFailure::NotReady
        | DumpFailure::NotConnected => not_connected(cause, conninfo),
        DumpFailure::RecoveryConflict => format!(
            "the server is a standby, and changes of its primary could not wait for it\nhint: {ON_A_STANDBY}"
        ),
        DumpFailure::Deadlock => {
            "it ran into a deadlock with another session, and the server ended it\nhint: run it again"
                .to_owned()
        }
        DumpFailure::Vanished => {
            "an object that it was about to read was dropped\nhint: run it again, at a \
             time when nobody drops tables if it happens often"
                .to_owned()
        }
        DumpFailure::ConnectionLost => {
            "the connection broke: the server was stopped or restarted, or the network \
                 failed\nhint: run it again"
                .to_owned()
        }
        DumpFailure::VersionMismatch { versions } => format!(
            "{program} is older than the server ({})\nhint: install the server's own version",
            versions.as_deref().unwrap_or("versions unknown")
        ),
        DumpFailure::NoSpace => {
            "the disk is full\nhint: free some space or inodes there (df -h, df -i), then run it \
                 again"
                .to_owned()
        }
        DumpFailure::NoSpaceOnServer => {
            "the server's disk is full\nhint: free some space there, then run it again".to_owned()
        }
        DumpFailure::Other => String::new(),
    }
}

/// Why a program got no connection, and what to do about it. Pure.
fn not_connected(cause: &DumpFailure, conninfo: &Conninfo) -> String {
    match cause {
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
            "the server has no connection left for user {}\nhint: run it again later, or raise \
                 max_connections or the role's or database's limit (a backup takes two connections \
                 at least)",
            conninfo.user()
        ),
        DumpFailure::ServerDown => {
            format!("the server at {} cannot be reached", conninfo.server())
        }
        DumpFailure::NotReady => format!(
            "the server at {} is starting, stopping or recovering from a crash\nhint: run it again",
            conninfo.server()
        ),
        DumpFailure::NotConnected => {
            "it got no connection, and a moment later there was one\nhint: run it again".to_owned()
        }
        _ => String::new(),
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
    format!("user {user} may not read {object}{HINT}{way_out}")
}

#[cfg(test)]
mod tests {
    use super::may_not_read;

    #[test]
    fn the_way_out_of_a_missing_privilege_is_one_that_works() {
        assert_eq!(
            may_not_read("backup", "table secret"),
            "user backup may not read table secret\nhint: grant it pg_read_all_data (from version 14 \
             on), or let the owner make the backup"
        );
        assert_eq!(
            may_not_read("backup", "large object 16421"),
            "user backup may not read large object 16421\nhint: pg_read_all_data does not reach large \
             objects, so GRANT SELECT ON LARGE OBJECT 16421 TO backup and on every other one, or \
             let a superuser make the backup"
        );
    }
}
