//! Why a server cannot be reached, sorted by what the operator can do about it.

use std::borrow::Cow;
use std::error::Error as _;
use std::io;

use tokio_postgres::error::SqlState;

use super::conninfo::Conninfo;
use super::server_error::quotes_values;
use super::tls::TlsError;
use crate::display;
use crate::identity;

/// What kind of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectErrorKind {
    /// Nobody listens or answers, or the server is starting or stopping.
    ServerDown,
    /// The login was refused, or a password is missing.
    AuthenticationFailed,
    /// The database does not exist.
    NoSuchDatabase,
    /// The database lets nobody connect, as `template0`.
    ClosedDatabase,
    /// The server has no connection left for us.
    TooManyConnections,
    /// TLS cannot be agreed on, or the server's certificate is not trusted.
    Tls,
    /// The server is not what `target_session_attrs` asks for.
    WrongSession,
    /// It is a connection pooler that answers, and does not pass on what a session asks for.
    Pooler,
    /// This machine refuses a thread or a file descriptor.
    Exhausted,
    /// Something else.
    Other,
}

/// A connection could not be made. Its text says to which database, as which user, at which place,
/// why, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("cannot connect to {target}: {reason}\nhint: {}", self.advice())]
pub struct ConnectError {
    /// What kind of failure it is.
    pub kind: ConnectErrorKind,
    /// The server's error code, when it was the server that refused.
    pub sqlstate: Option<String>,
    target: Box<str>,
    user: Box<str>,
    reason: Box<str>,
    /// Whether it went by a socket of this machine.
    is_local: bool,
    /// Why there is no password, where a password file was asked.
    lack: Option<Box<str>>,
}

impl ConnectError {
    /// Whether trying again later may help without anybody doing anything.
    pub fn is_transient(&self) -> bool {
        matches!(
            self.kind,
            ConnectErrorKind::ServerDown
                | ConnectErrorKind::Exhausted
                | ConnectErrorKind::TooManyConnections
                | ConnectErrorKind::WrongSession
        ) || self.kind == ConnectErrorKind::Other && self.sqlstate.as_deref().is_some_and(passes)
    }

    /// What the server said, or why there is no answer, alone.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    fn advice(&self) -> Cow<'static, str> {
        if self.kind == ConnectErrorKind::AuthenticationFailed {
            // By a socket it is most often the system's user who is let in or not (`peer`), and another
            // role's is not root's. A rule of pg_hba.conf that is lacking or rejects is named so in every
            // language.
            let may_be_peer = self.is_local
                && self.sqlstate.as_deref() == Some("28000")
                && !self.reason.contains("pg_hba.conf");
            let user = if may_be_peer { "root" } else { &self.user };
            if let Some(advice) = advice_to_root(user) {
                return advice;
            }
        }
        let advice = match self.kind {
            ConnectErrorKind::ServerDown => {
                "check that the server runs and that host and port are right"
            }
            ConnectErrorKind::Exhausted => {
                "check how many processes, threads and files the user and the service may have \
                 (`ulimit -u -n`, TasksMax=, LimitNOFILE=), and what else runs here"
            }
            ConnectErrorKind::AuthenticationFailed => match self.sqlstate.as_deref() {
                Some("28P01") => {
                    "correct the password where it is configured (`pgbackupd config show`) or in \
                     libpq's password file; on the server, psql's \\password sets it"
                }
                None if self.reason.contains(NO_PASSWORD) => {
                    let lack = self.lack.as_deref().unwrap_or("none is configured: ");
                    return format!(
                        "the server asks for a password and {lack}in [connection], name a file that \
                         holds it with password_file (configuration.md has the other ways)"
                    )
                    .into();
                }
                _ => {
                    "check that the user exists on the server, and that the server's pg_hba.conf admits it"
                }
            },
            ConnectErrorKind::NoSuchDatabase => "correct the database's name, or remove it",
            ConnectErrorKind::ClosedDatabase => {
                "the database does not allow connections, so it cannot be backed up: remove it from the \
                 configuration, or allow them: ALTER DATABASE … ALLOW_CONNECTIONS true"
            }
            ConnectErrorKind::TooManyConnections => {
                "try again later, or raise max_connections or the role's or database's limit"
            }
            ConnectErrorKind::Tls => {
                "check that sslmode suits the server and that sslrootcert holds the certificate of \
                 its authority; a certificate that is verified must be of X.509 version 3 with the \
                 server's name in its subjectAltName"
            }
            ConnectErrorKind::WrongSession => "correct target_session_attrs, or name more hosts",
            ConnectErrorKind::Pooler => {
                "this is a connection pooler such as PgBouncer, and a backup needs sessions of the \
                 PostgreSQL server itself: set host and port of the connection to the server's own"
            }
            ConnectErrorKind::Other => "the server's log may have more",
        };
        advice.into()
    }
}

/// What is reported to root, whom a server does not let in as `root`: to be somebody else, not to make such a
/// role. None for everybody else.
pub fn advice_to_root(user: &str) -> Option<Cow<'static, str>> {
    let is_root = user == "root" && rustix::process::geteuid().is_root();
    is_root.then(|| match identity::stays_root() {
        Some(true) => "leave out --as-me, and the command runs as the service's user".into(),
        Some(false) | None => format!(
            "run it as a user who can log in, such as `{}`, or configure connection.user \
             and its password",
            identity::runuser("postgres")
        )
        .into(),
    })
}

/// The library's words for a server that asks for a password where it was given none.
const NO_PASSWORD: &str = "password missing";

/// Why one attempt failed.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) kind: ConnectErrorKind,
    pub(super) reason: String,
    pub(super) sqlstate: Option<SqlState>,
}

impl Refusal {
    pub(super) fn new(kind: ConnectErrorKind, reason: impl Into<String>) -> Self {
        Self {
            kind,
            reason: reason.into(),
            sqlstate: None,
        }
    }

    /// The error of a connection, with why there is no password where a password file was asked.
    pub(super) fn about(self, conninfo: &Conninfo, lack: Option<&str>) -> ConnectError {
        ConnectError {
            kind: self.kind,
            sqlstate: self.sqlstate.map(|state| state.code().to_owned()),
            target: conninfo.to_string().into(),
            user: conninfo.user().into(),
            reason: self.reason.into(),
            is_local: conninfo.is_on_this_machine(),
            lack: lack.map(Into::into),
        }
    }

    /// Whether the server ended the session for the time that a transaction took.
    pub(super) fn is_transaction_timeout(&self) -> bool {
        matches!(&self.sqlstate, Some(state) if state.code() == "25P04")
    }

    /// Whether the server may have ended the session because it was idle for a moment, before the first
    /// question: it says so, unless the connection is closed before that is read.
    pub(super) fn may_be_idle_timeout(&self) -> bool {
        match &self.sqlstate {
            Some(state) => state.code() == "57P05",
            None => self.reason.contains("connection closed"),
        }
    }

    /// Whether another way of using TLS may be admitted: the handshake failed, or no line of
    /// `pg_hba.conf` fits this one. A wrong password is not tried twice, as it could lock the user.
    pub(super) fn may_depend_on_tls(&self) -> bool {
        match &self.sqlstate {
            Some(state) => *state == SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
            None => self.kind == ConnectErrorKind::Tls,
        }
    }

    /// Both reasons of two attempts, of which the second was made with or without TLS. The kind is
    /// that of the attempt that got as far as the server's own verdict.
    pub(super) fn followed_by(self, second: Self, with_tls: bool) -> Self {
        let (one, other) = if with_tls {
            ("with TLS", "without TLS")
        } else {
            ("without TLS", "with TLS")
        };
        let reason = format!("{one}: {}; {other}: {}", second.reason, self.reason);
        let verdict = if second.sqlstate.is_some() || self.sqlstate.is_none() {
            second
        } else {
            self
        };
        Self { reason, ..verdict }
    }

    /// Whether another host may do better: libpq asks the next one only when it could not talk to
    /// this one, or when this one is not of the kind wanted.
    pub(super) fn leaves_other_hosts(&self) -> bool {
        matches!(
            self.kind,
            ConnectErrorKind::ServerDown | ConnectErrorKind::WrongSession
        )
    }
}

impl From<TlsError> for Refusal {
    fn from(error: TlsError) -> Self {
        Self::new(ConnectErrorKind::Tls, error.to_string())
    }
}

impl From<tokio_postgres::Error> for Refusal {
    fn from(error: tokio_postgres::Error) -> Self {
        Self {
            kind: kind(&error),
            reason: display_with_causes(&error),
            sqlstate: error.code().cloned(),
        }
    }
}

fn kind(error: &tokio_postgres::Error) -> ConnectErrorKind {
    if let Some(server) = error.as_db_error() {
        let state = server.code().code();
        if is_of_a_pooler(state, server.message()) {
            return ConnectErrorKind::Pooler;
        }
        return by_sqlstate(state);
    }
    // The library keeps its kinds to itself; these are its words for them.
    match error.to_string().as_str() {
        // Of ours, "invalid configuration" can only mean that the password is missing.
        "authentication error" | "invalid configuration" => ConnectErrorKind::AuthenticationFailed,
        "error performing TLS handshake" => ConnectErrorKind::Tls,
        "connection closed" => ConnectErrorKind::ServerDown,
        _ if has_source::<io::Error>(error) => ConnectErrorKind::ServerDown,
        _ => ConnectErrorKind::Other,
    }
}

/// Whether a pooler refuses what a session asks for at its start: `PgBouncer`, unless it is asked to ignore
/// it (`ignore_startup_parameters`), and Amazon's RDS Proxy. Both speak English alone.
fn is_of_a_pooler(code: &str, message: &str) -> bool {
    match code {
        "08P01" => message.contains("unsupported startup parameter"),
        "0A000" => message.contains("command-line options"),
        _ => false,
    }
}

/// Whether what an error code of the server stands for passes without anybody doing anything: a broken
/// connection, a conflict with another transaction or with recovery, a shortage, a lock that was not
/// granted, an end from outside, or an object that was dropped while it was read (classes 08, 40, 53, 57,
/// codes 55P03 and XX000 of the manual's appendix "Error Codes").
pub(super) fn passes(code: &str) -> bool {
    matches!(code, "55P03" | "XX000")
        || ["08", "40", "53", "57"]
            .iter()
            .any(|class| code.starts_with(class))
}

/// The kinds of the server's codes (`PostgreSQL`'s manual, appendix "Error Codes").
fn by_sqlstate(code: &str) -> ConnectErrorKind {
    match code {
        "28000" | "28P01" => ConnectErrorKind::AuthenticationFailed,
        "3D000" => ConnectErrorKind::NoSuchDatabase,
        // Of a login, it is always the database that is not in the state for it.
        "55000" => ConnectErrorKind::ClosedDatabase,
        "53300" => ConnectErrorKind::TooManyConnections,
        "57P01" | "57P02" | "57P03" => ConnectErrorKind::ServerDown,
        code if code.starts_with("08") => ConnectErrorKind::ServerDown,
        _ => ConnectErrorKind::Other,
    }
}

fn has_source<T: std::error::Error + 'static>(error: &tokio_postgres::Error) -> bool {
    let mut source = error.source();
    while let Some(cause) = source {
        if cause.is::<T>() {
            return true;
        }
        source = cause.source();
    }
    false
}

/// Whether an error may show rows: in its details and its context, or in the message itself.
pub(super) fn shows_rows(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|server| {
        let code = server.code().code();
        quotes_values(code) || code.starts_with("23") || code.starts_with("44")
    })
}

/// An error as records get it: of one that may show rows what it is about, and its code.
pub(super) fn in_short(error: &tokio_postgres::Error) -> String {
    match error.as_db_error().filter(|_| shows_rows(error)) {
        None => display_with_causes(error),
        Some(server) => {
            let code = server.code().code();
            let message = if quotes_values(code) {
                "it refuses a value or a statement"
            } else {
                server.message()
            };
            let objects = [
                ("schema", server.schema()),
                ("table", server.table()),
                ("column", server.column()),
                ("constraint", server.constraint()),
            ];
            let objects = objects
                .iter()
                .filter_map(|(word, name)| Some(format!(", {word} {}", (*name)?)));
            format!(
                "the server reports: {}: {message} (SQLSTATE {code}{})",
                server.severity(),
                objects.collect::<String>()
            )
        }
    }
}

/// An error of the library with all its causes: its own text is hardly more than "db error".
pub(super) fn display_with_causes(error: &tokio_postgres::Error) -> String {
    if let Some(server) = error.as_db_error() {
        let mut text = format!(
            "the server reports: {}: {} (SQLSTATE {})",
            server.severity(),
            server.message(),
            server.code().code()
        );
        for more in [server.detail(), server.hint()].into_iter().flatten() {
            text.push_str("; ");
            text.push_str(more.trim_end_matches('.'));
        }
        return text;
    }
    display::with_causes(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_attempts_the_servers_own_verdict_counts_and_both_are_reported() {
        let verdict = |state: SqlState| Refusal {
            sqlstate: Some(state),
            ..Refusal::new(ConnectErrorKind::AuthenticationFailed, "verdict")
        };
        let handshake = || Refusal::new(ConnectErrorKind::Tls, "handshake");
        let password = verdict(SqlState::INVALID_PASSWORD);
        assert!(!password.may_depend_on_tls());
        let both = handshake().followed_by(password, false);
        assert_eq!(both.kind, ConnectErrorKind::AuthenticationFailed);
        assert_eq!(both.reason, "without TLS: verdict; with TLS: handshake");
        let unlisted = verdict(SqlState::INVALID_AUTHORIZATION_SPECIFICATION);
        assert!(unlisted.may_depend_on_tls());
        let both = unlisted.followed_by(handshake(), true);
        assert_eq!(both.kind, ConnectErrorKind::AuthenticationFailed);
        assert_eq!(both.reason, "with TLS: handshake; without TLS: verdict");
    }

    #[test]
    fn the_servers_codes_are_sorted_by_what_can_be_done() {
        let table = [
            ("28P01", ConnectErrorKind::AuthenticationFailed, false),
            ("28000", ConnectErrorKind::AuthenticationFailed, false),
            ("3D000", ConnectErrorKind::NoSuchDatabase, false),
            ("55000", ConnectErrorKind::ClosedDatabase, false),
            ("53300", ConnectErrorKind::TooManyConnections, true),
            ("57P03", ConnectErrorKind::ServerDown, true),
            ("08006", ConnectErrorKind::ServerDown, true),
            ("42501", ConnectErrorKind::Other, false),
            ("40001", ConnectErrorKind::Other, true),
            ("53200", ConnectErrorKind::Other, true),
        ];
        for (code, expected, transient) in table {
            let kind = by_sqlstate(code);
            assert_eq!(kind, expected, "{code}");
            let refusal = Refusal {
                sqlstate: Some(SqlState::from_code(code)),
                ..Refusal::new(kind, "why")
            };
            let error = refusal.about(&there(""), None);
            assert_eq!(error.is_transient(), transient, "{code}");
            let said =
                "cannot connect to database \"d\" as user \"me\" at h port 5432: why\nhint: ";
            assert!(error.to_string().starts_with(said), "{error}");
        }
    }

    fn there(more: &str) -> Conninfo {
        let connection =
            crate::config::Connection::from_string(&format!("host=h dbname=d user=me {more}"))
                .unwrap();
        Conninfo::resolve(&connection, &std::collections::BTreeMap::new(), None).unwrap()
    }

    #[test]
    fn who_is_let_in_is_known_by_the_code_and_the_socket_in_any_language() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let german = "the server reports: FATAL: Peer-Authentifizierung für Benutzer »postgres« fehlgeschlagen";
        let no_rule = "the server reports: FATAL: kein pg_hba.conf-Eintrag für Host »[local]«";
        for (code, more, reason, is_by_user) in [
            ("28000", "host=/run/postgresql user=postgres", german, true),
            ("28P01", "host=/run/postgresql user=postgres", german, false),
            (
                "28000",
                "host=/run/postgresql user=postgres",
                no_rule,
                false,
            ),
            ("28000", "user=postgres", german, false),
            ("28000", "user=root", german, true),
        ] {
            let refusal = Refusal {
                sqlstate: Some(SqlState::from_code(code)),
                ..Refusal::new(ConnectErrorKind::AuthenticationFailed, reason)
            };
            let error = refusal.about(&there(more), None).to_string();
            assert_eq!(
                error.contains("runuser -u postgres -- "),
                is_by_user,
                "{error}"
            );
        }
    }

    #[test]
    fn a_missing_password_is_explained_by_the_password_file_that_was_asked() {
        let refusal = || {
            let reason = format!("invalid configuration: {NO_PASSWORD}");
            Refusal::new(ConnectErrorKind::AuthenticationFailed, reason)
        };
        let lack = "no line of the password file /x fits h:5432:d:me: add it, or ";
        let text = refusal().about(&there(""), Some(lack)).to_string();
        assert!(text.contains(lack), "{text}");
        let text = refusal().about(&there(""), None).to_string();
        assert!(
            text.contains("asks for a password and none is configured: in [connection]"),
            "{text}"
        );
    }

    #[test]
    fn a_pooler_is_known_by_what_it_refuses() {
        for (code, message, is_pooler) in [
            ("08P01", "unsupported startup parameter: options", true),
            (
                "08P01",
                "unsupported startup parameter in options: role",
                true,
            ),
            (
                "0A000",
                "Feature not supported: RDS Proxy currently doesn't support command-line options.",
                true,
            ),
            (
                "08P01",
                "no more connections allowed (max_client_conn)",
                false,
            ),
            ("28000", "no pg_hba.conf entry for host", false),
        ] {
            assert_eq!(is_of_a_pooler(code, message), is_pooler, "{message}");
        }
    }
}
