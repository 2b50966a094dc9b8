//! Why `pg_dump` failed, read from what it said on stderr. Pure.
//!
//! `pg_dump` passes on no SQLSTATE, so the words have to do. Its own and libpq's are English under
//! `LC_ALL=C`; so are the server's where our user may choose their language, and else they follow the
//! server's `lc_messages`. What is not recognised is [`DumpFailure::Other`] or
//! [`DumpFailure::NotConnected`]: then it takes a look of our own session, and the operator reads the text.

/// A recognised cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DumpFailure {
    /// Another session held a lock for longer than we wait.
    LockTimeout {
        /// The table as `pg_dump` names it, quoted where needed.
        table: Option<String>,
    },
    /// The user may not read something.
    PermissionDenied {
        /// What, in the server's words: `table secret`.
        object: String,
    },
    /// Policies would hide rows from the user, and half a table is no backup of it.
    RowSecurity {
        /// The table, without its schema, as the server quotes it.
        table: String,
    },
    /// The database does not exist.
    NoSuchDatabase,
    /// The login was refused.
    AuthenticationFailed,
    /// The server has no connection left for us.
    TooManyConnections,
    /// Nobody listens, or the host cannot be found or reached.
    ServerDown,
    /// The server is starting, stopping or recovering from a crash.
    NotReady,
    /// No connection was made, in words that are not known or without any.
    NotConnected,
    /// A standby ended it for changes of its primary that could not wait.
    RecoveryConflict,
    /// Two sessions waited for each other, and the server ended this one's statement.
    Deadlock,
    /// Something was dropped between the look at the system catalogs and its lock.
    Vanished,
    /// The connection broke while the dump ran: the server stopped, or the network failed.
    ConnectionLost,
    /// `pg_dump` is older than the server.
    VersionMismatch {
        /// `server version: 17.2; pg_dump version: 15.10`
        versions: Option<String>,
    },
    /// Our disk is full, or a quota on it is used up.
    NoSpace,
    /// The server's disk is.
    NoSpaceOnServer,
    /// None of these.
    Other,
}

impl DumpFailure {
    /// Whether trying again later may help without anybody doing anything. What is not recognised may
    /// be of that kind: a backup too many does no harm, and one too few does.
    pub fn may_pass(&self) -> bool {
        !matches!(
            self,
            Self::PermissionDenied { .. }
                | Self::RowSecurity { .. }
                | Self::NoSuchDatabase
                | Self::AuthenticationFailed
                | Self::VersionMismatch { .. }
                | Self::NoSpace
                | Self::NoSpaceOnServer
        )
    }
}

/// Whether it was a lock on tables that a program asked for when it failed. It says so itself, so the
/// language of the server does not matter.
pub fn failed_at_a_lock(stderr: &str) -> bool {
    stderr.contains("was: LOCK TABLE ")
}

/// Recognises the cause in `pg_dump`'s stderr. The first message that is recognised counts: those
/// that follow are its consequences.
pub fn explain_failure(stderr: &str) -> DumpFailure {
    stderr
        .lines()
        .find_map(|line| in_line(line, stderr))
        .unwrap_or(DumpFailure::Other)
}

/// Removes the lines that follow the server's message (DETAIL, CONTEXT and the like in whatever
/// language): they show rows. What the program prints in lines of its own stays.
pub fn without_details(stderr: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut is_of_the_server = false;
    for line in stderr.lines() {
        if OWN_LINES.iter().any(|start| line.starts_with(start)) {
            is_of_the_server = QUOTES.iter().any(|quote| line.contains(quote));
        } else if is_of_the_server {
            continue;
        }
        kept.push(line);
    }
    kept.join("\n")
}

/// How the programs begin each line of their own.
const OWN_LINES: [&str; 3] = ["pg_dump: ", "pg_dumpall: ", "pg_restore: "];

/// What stands before an answer of the server.
const QUOTES: [&str; 2] = ["from server: ", "query failed: "];

#[expect(
    clippy::too_many_lines,
    reason = "one list of the messages of PostgreSQL"
)]
fn in_line(line: &str, stderr: &str) -> Option<DumpFailure> {
    let any = |phrases: &[&str]| phrases.iter().any(|phrase| line.contains(phrase));
    // A query is quoted after the message, and its text may hold anything.
    if line.contains("Query was:") || line.contains("The command was:") {
        return None;
    }
    // --lock-wait-timeout works by a statement_timeout around LOCK TABLE; the workers of a parallel
    // dump ask for their locks without waiting.
    let gave_up_locking = any(&["due to statement timeout"]) && failed_at_a_lock(stderr);
    if gave_up_locking || any(&["due to lock timeout", "could not obtain lock on relation"]) {
        return Some(DumpFailure::LockTimeout {
            table: locked_table(stderr),
        });
    }
    if any(&["due to conflict with recovery"]) {
        return Some(DumpFailure::RecoveryConflict);
    }
    if any(&["deadlock detected"]) {
        return Some(DumpFailure::Deadlock);
    }
    if any(&["aborting because of server version mismatch"]) {
        let versions = stderr.lines().find_map(|line| {
            let start = line.find("server version: ")?;
            Some(line[start..].trim().to_owned())
        });
        return Some(DumpFailure::VersionMismatch { versions });
    }
    if any(&["No space left on device", "Disk quota exceeded"]) {
        // What the server reports bears its word for how bad it is.
        return Some(if any(&["ERROR:", "FATAL:", "PANIC:"]) {
            DumpFailure::NoSpaceOnServer
        } else {
            DumpFailure::NoSpace
        });
    }
    let connecting = any(&["connection to server", "could not translate host name"]);
    if connecting {
        let refusals = [
            "password authentication failed",
            "no password supplied",
            "no pg_hba.conf entry",
            "authentication failed for user",
            "pg_hba.conf rejects",
            "is not permitted to log in",
        ];
        if any(&[
            "too many clients",
            "remaining connection slots",
            "too many connections",
        ]) {
            return Some(DumpFailure::TooManyConnections);
        }
        if any(&refusals) || (any(&["role \""]) && any(&["does not exist"])) {
            return Some(DumpFailure::AuthenticationFailed);
        }
        if any(&["database \""]) && any(&["does not exist"]) {
            return Some(DumpFailure::NoSuchDatabase);
        }
        if any(&["permission denied for database"]) {
            return denied(line);
        }
        if any(&["the database system is "]) {
            return Some(DumpFailure::NotReady);
        }
        let of_libpq = [
            "could not translate host name",
            "Connection refused",
            "No such file or directory",
            "timeout expired",
            "Connection timed out",
            "No route to host",
            "Network is unreachable",
            "server closed the connection unexpectedly",
        ];
        return Some(if any(&of_libpq) {
            DumpFailure::ServerDown
        } else {
            DumpFailure::NotConnected
        });
    }
    // pg_dumpall keeps the reason to itself.
    if any(&["could not connect to database"]) {
        return Some(DumpFailure::NotConnected);
    }
    if any(&[
        "server closed the connection unexpectedly",
        "terminating connection",
        "could not receive data from server",
        "could not send data to server",
        "SSL connection has been closed unexpectedly",
        "no connection to the server",
    ]) {
        return Some(DumpFailure::ConnectionLost);
    }
    if let Some((_, table)) = line.split_once("affected by row-level security policy for table ") {
        let table = table.trim().to_owned();
        return Some(DumpFailure::RowSecurity { table });
    }
    if has_vanished(line) {
        return Some(DumpFailure::Vanished);
    }
    denied(line)
}

/// Whether something was not there any more that the system catalogs had listed a moment before. `pg_dump`
/// asks for nothing that it has not found there.
fn has_vanished(line: &str) -> bool {
    let is_gone = line.contains("does not exist") || line.contains(" not found");
    let is_object = ["relation ", "schema ", "constraint ", " with OID "]
        .iter()
        .any(|kind| line.contains(kind));
    (is_gone && is_object)
        || [
            "could not open relation with OID ",
            "cache lookup failed for ",
        ]
        .iter()
        .any(|words| line.contains(words))
}

/// `… permission denied for table secret`
fn denied(line: &str) -> Option<DumpFailure> {
    let (_, object) = line.split_once("permission denied for ")?;
    Some(DumpFailure::PermissionDenied {
        object: object.trim().to_owned(),
    })
}

/// The table in `LOCK TABLE public.t IN ACCESS SHARE MODE`. Since version 15 `pg_dump` locks many
/// tables at once, and then nobody knows which one it was.
fn locked_table(stderr: &str) -> Option<String> {
    let (_, statement) = stderr.split_once("LOCK TABLE ")?;
    let (tables, _) = statement.split_once(" IN ACCESS SHARE MODE")?;
    let table = tables.strip_prefix("ONLY ").unwrap_or(tables);
    let mut quoted = false;
    let several = table.chars().any(|c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    });
    (!several).then(|| table.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn the_cause_is_recognised_in_what_pg_dump_says() {
        let on_socket =
            "pg_dump: error: connection to server on socket \"/x/.s.PGSQL.5432\" failed: ";
        let lock = |table: Option<&str>| DumpFailure::LockTimeout {
            table: table.map(str::to_owned),
        };
        let denied = |object: &str| DumpFailure::PermissionDenied {
            object: object.to_owned(),
        };
        let table = [
            (
                "pg_dump: error: query failed: ERROR:  canceling statement due to statement timeout\n\
                 pg_dump: detail: Query was: LOCK TABLE public.\"a,b\" IN ACCESS SHARE MODE"
                    .to_owned(),
                lock(Some("public.\"a,b\"")),
            ),
            (
                "pg_dump: error: query failed: ERROR:  canceling statement due to lock timeout\n\
                 pg_dump: detail: Query was: LOCK TABLE public.a, public.b IN ACCESS SHARE MODE"
                    .to_owned(),
                lock(None),
            ),
            (
                "pg_dump: error: query failed: ERROR:  permission denied for table lock timeout\n\
                 pg_dump: detail: Query was: LOCK TABLE x IN ACCESS SHARE MODE"
                    .to_owned(),
                denied("table lock timeout"),
            ),
            (
                "pg_dump: error: query failed: ERROR:  canceling statement due to statement timeout\n\
                 pg_dump: detail: Query was: SELECT 1"
                    .to_owned(),
                DumpFailure::Other,
            ),
            (
                "pg_dump: detail: Query was: SELECT 'No space left on device'".to_owned(),
                DumpFailure::Other,
            ),
            (
                "pg_dump: error: Dumping the contents of table \"t\" failed: PQgetCopyData() failed.\n\
                 pg_dump: detail: Error message from server: server closed the connection unexpectedly"
                    .to_owned(),
                DumpFailure::ConnectionLost,
            ),
            (
                "pg_dump: error: query failed: ERROR:  query would be affected by row-level \
                 security policy for table \"task\"\n\
                 pg_dump: detail: Query was: COPY app.task (id) TO stdout;"
                    .to_owned(),
                DumpFailure::RowSecurity {
                    table: "\"task\"".to_owned(),
                },
            ),
            (
                "pg_dump: error: aborting because of server version mismatch\n\
                 pg_dump: detail: server version: 17.2; pg_dump version: 15.10"
                    .to_owned(),
                DumpFailure::VersionMismatch {
                    versions: Some("server version: 17.2; pg_dump version: 15.10".to_owned()),
                },
            ),
            (
                "pg_dump: error: could not write to output file: No space left on device".to_owned(),
                DumpFailure::NoSpace,
            ),
            (
                "pg_dump: error: Dumping the contents of table \"t\" failed: PQgetResult() failed.\n\
                 pg_dump: detail: Error message from server: ERROR:  could not write to file \
                 \"base/pgsql_tmp/pgsql_tmp7.0\": No space left on device"
                    .to_owned(),
                DumpFailure::NoSpaceOnServer,
            ),
            (
                format!("{on_socket}FATAL:  database \"x\" does not exist"),
                DumpFailure::NoSuchDatabase,
            ),
            (
                format!("{on_socket}FATAL:  role \"x\" does not exist"),
                DumpFailure::AuthenticationFailed,
            ),
            (
                format!("{on_socket}FATAL:  Peer authentication failed for user \"x\""),
                DumpFailure::AuthenticationFailed,
            ),
            (
                format!("{on_socket}FATAL:  sorry, too many clients already"),
                DumpFailure::TooManyConnections,
            ),
            (
                format!("{on_socket}No such file or directory\n\tIs the server running locally?"),
                DumpFailure::ServerDown,
            ),
            (
                format!("{on_socket}FATAL:  permission denied for database \"x\""),
                denied("database \"x\""),
            ),
            (
                format!("{on_socket}FATAL:  the database system is starting up"),
                DumpFailure::NotReady,
            ),
            (
                format!("{on_socket}FATAL:  tut mir leid, schon zu viele Verbindungen"),
                DumpFailure::NotConnected,
            ),
            (
                "pg_dumpall: error: could not connect to database \"app\"".to_owned(),
                DumpFailure::NotConnected,
            ),
            (
                "pg_dump: error: Dumping the contents of table \"big\" failed: PQgetResult() failed.\n\
                 pg_dump: detail: Error message from server: ERROR:  canceling statement due to \
                 conflict with recovery\nDETAIL:  User was holding a relation lock for too long."
                    .to_owned(),
                DumpFailure::RecoveryConflict,
            ),
            (
                "pg_dump: error: query failed: FATAL:  terminating connection due to conflict with \
                 recovery"
                    .to_owned(),
                DumpFailure::RecoveryConflict,
            ),
            (
                "pg_dump: error: query failed: ERROR:  deadlock detected\n\
                 pg_dump: detail: Query was: LOCK TABLE a IN ACCESS SHARE MODE"
                    .to_owned(),
                DumpFailure::Deadlock,
            ),
            (
                "pg_dump: error: query failed: ERROR:  relation \"public.stage7\" does not exist\n\
                 pg_dump: detail: Query was: LOCK TABLE public.stage7 IN ACCESS SHARE MODE"
                    .to_owned(),
                DumpFailure::Vanished,
            ),
            (
                "pg_dump: error: query failed: ERROR:  could not open relation with OID 16411"
                    .to_owned(),
                DumpFailure::Vanished,
            ),
            (
                "pg_dump: error: query failed: ERROR:  cache lookup failed for index 16411"
                    .to_owned(),
                DumpFailure::Vanished,
            ),
            (
                "pg_dump: error: schema with OID 16411 does not exist".to_owned(),
                DumpFailure::Vanished,
            ),
            ("pg_dump: error: something new".to_owned(), DumpFailure::Other),
            (String::new(), DumpFailure::Other),
        ];
        for (stderr, expected) in table {
            assert_eq!(explain_failure(&stderr), expected, "{stderr}");
        }
    }

    #[test]
    fn details_of_the_server_are_removed_and_nothing_else_is() {
        let server = "pg_dump: error: Dumping the contents of table \"t\" failed: PQgetResult() failed.\n\
             pg_dump: detail: Error message from server: FEHLER:  ungültige Eingabe";
        let command = "pg_dump: detail: Command was: COPY public.t (id) TO stdout;";
        let unchanged = [
            "",
            "pg_dump: error: connection to server at \"h\" failed: refused\n\tIs the server running?",
            "/usr/bin/pg_dump: error while loading shared libraries: libpq.so.5",
            "pg_dump: error: query failed: ERROR:  deadlock detected\n\
             pg_dump: detail: Query was: LOCK TABLE a IN ACCESS SHARE MODE",
        ];
        for text in unchanged {
            assert_eq!(without_details(text), text);
        }
        for details in [
            "DETAIL:  secret",
            "KONTEXT:  secret\nsecret",
            "\tsecret\n\nsecret",
        ] {
            assert_eq!(
                without_details(&format!("{server}\n{details}\n{command}")),
                format!("{server}\n{command}")
            );
        }
    }

    #[test]
    fn what_nothing_decides_is_tried_again() {
        let may_pass = |stderr: &str| explain_failure(stderr).may_pass();
        for (stderr, expected) in [
            ("", true),
            (
                "pg_dump: error: query failed: FEHLER:  storniere Anfrage",
                true,
            ),
            (
                "pg_dump: error: query failed: ERROR:  deadlock detected",
                true,
            ),
            (
                "pg_dump: error: query failed: ERROR:  permission denied for table t",
                false,
            ),
            (
                "pg_dump: error: could not write to output file: No space left on device",
                false,
            ),
        ] {
            assert_eq!(may_pass(stderr), expected, "{stderr}");
        }
        assert!(failed_at_a_lock(
            "pg_dump: error: query failed: FEHLER:  storniere Anfrage\n\
             pg_dump: detail: Query was: LOCK TABLE public.t IN ACCESS SHARE MODE"
        ));
    }
}
