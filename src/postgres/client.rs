//! Our own connection to a server: made as libpq would make it, with a limit on every wait.

use std::pin::pin;
use std::time::Duration;

use futures::FutureExt as _;
use secrecy::ExposeSecret as _;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_postgres::config::SslNegotiation;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Config, NoTls, Row};

use super::connect_error::{
    ConnectError, ConnectErrorKind, Refusal, display_with_causes, in_short, shows_rows,
};
use super::conninfo::{
    ChannelBinding, Conninfo, Endpoint, Host, LoginFacts, SessionAttributes, SslMode, has_options,
};
use super::query_error::QueryError;
use super::short_rows::{ShortRows, WithShortRows};
use super::socket::{self, Address, Socket};
use super::tls::{self, Tls};
use crate::display::span;

/// How our own connections are called in `pg_stat_activity`. A dump has a longer name.
const APPLICATION_NAME: &str = "pgbackupd";

/// How long a connection that is no longer needed may take to say good-bye.
const FAREWELL: Duration = Duration::from_secs(5);

/// A connection to one database.
pub struct Client {
    inner: tokio_postgres::Client,
    conninfo: Conninfo,
    limit: Duration,
    version: u32,
    encoding: String,
    keeps_options: bool,
    is_on_standby: bool,
    /// Dropped after `inner`: tells the connection's task that nobody is left.
    _alive: oneshot::Sender<()>,
}

impl Client {
    /// Connects. Several hosts are tried in their order; at each of them the whole attempt, from
    /// looking up its name to the first answers, has to be done within `limit` or the operator's
    /// shorter `connect_timeout`. Every later question has to be answered within `limit` too.
    ///
    /// Random order of hosts (`load_balance_hosts`) is not followed by our own connection.
    ///
    /// # Errors
    /// Of several hosts, the last one's reason.
    pub async fn connect(conninfo: &Conninfo, limit: Duration) -> Result<Self, ConnectError> {
        let wanted: &[SessionAttributes] = match conninfo.session {
            SessionAttributes::PreferStandby => {
                &[SessionAttributes::Standby, SessionAttributes::Any]
            }
            ref other => std::slice::from_ref(other),
        };
        let mut last = None;
        for &wanted in wanted {
            for endpoint in &conninfo.endpoints {
                let here = conninfo.only(endpoint);
                let within = conninfo.connect_timeout.map_or(limit, |own| own.min(limit));
                // It is large, and a part of whatever connects.
                let attempt = Box::pin(attempt_in_spite_of_limits(&here, endpoint, wanted, limit));
                let attempt = timeout(within, attempt).await;
                let refusal = match attempt {
                    Ok(Ok(client)) => return Ok(client),
                    Ok(Err(refusal)) => refusal,
                    Err(_) => Refusal::new(
                        ConnectErrorKind::ServerDown,
                        format!("no answer within {}", span(within)),
                    ),
                };
                let go_on = refusal.leaves_other_hosts();
                let error = refusal.about(&here, endpoint.lack.as_deref());
                if !go_on {
                    return Err(error);
                }
                last = Some(error);
            }
        }
        Err(last.unwrap_or_else(|| {
            // A resolved connection has at least one place.
            Refusal::new(ConnectErrorKind::Other, "no host is configured").about(conninfo, None)
        }))
    }

    /// The connection as it was made: only the place that answered is left, so that a program
    /// started with it talks to the same server, and what is known of it is in there.
    pub fn conninfo(&self) -> &Conninfo {
        &self.conninfo
    }

    /// The server's version as a number: 150018 for 15.18.
    pub fn server_version_number(&self) -> u32 {
        self.version
    }

    /// The server's major version: 15 for 15.18.
    pub fn server_major(&self) -> u32 {
        self.version / 10_000
    }

    /// Whether the server got what the session asked for at its start. Otherwise a connection pooler
    /// is in between, and kept it to itself.
    pub fn keeps_options(&self) -> bool {
        self.keeps_options
    }

    /// Whether the server is a standby.
    pub fn is_on_standby(&self) -> bool {
        self.is_on_standby
    }

    /// The driver's own connection, for what passes in a stream.
    pub(super) fn inner(&self) -> &tokio_postgres::Client {
        &self.inner
    }

    /// The encoding of the database, as the server calls it: `UTF8`, `SQL_ASCII`, ….
    pub(super) fn encoding(&self) -> &str {
        &self.encoding
    }

    /// Asks the server. `what` completes the sentence "cannot …".
    pub(super) async fn query(
        &self,
        what: &'static str,
        sql: &str,
        parameters: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Vec<Row>, QueryError> {
        match timeout(self.limit, self.inner.query_typed(sql, parameters)).await {
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(error)) => Err(self.refused(what, &error)),
            Err(_) => {
                let limit = span(self.limit);
                Err(self.odd_answer(what, &format!("no answer within {limit}")))
            }
        }
    }

    /// Carries statements out that answer nothing, within a limit of their own. Several of them are
    /// one transaction, unless they say otherwise themselves. `what` completes the sentence
    /// "cannot …".
    ///
    /// # Errors
    /// The server refuses or does not answer.
    pub async fn execute(
        &self,
        what: &'static str,
        sql: &str,
        limit: Duration,
    ) -> Result<(), QueryError> {
        let milliseconds = limit.as_millis().clamp(1, i32::MAX as u128);
        // Apart, since some statements stand no other next to them. A role, or a server, may only read
        // unless it says otherwise.
        let set = format!(
            "SET statement_timeout = {milliseconds}; SET default_transaction_read_only = off"
        );
        self.carry_out(what, &[&set, sql], limit).await
    }

    /// Takes a transaction that has failed back to a savepoint, within a limit. `what` completes
    /// the sentence "cannot …".
    ///
    /// # Errors
    /// The server refuses or does not answer.
    pub async fn roll_back_to(
        &self,
        what: &'static str,
        savepoint: &str,
        limit: Duration,
    ) -> Result<(), QueryError> {
        // Nothing else is carried out in such a transaction, not even a setting.
        let sql = format!("ROLLBACK TO SAVEPOINT {savepoint}");
        self.carry_out(what, &[&sql], limit).await
    }

    async fn carry_out(
        &self,
        what: &'static str,
        statements: &[&str],
        limit: Duration,
    ) -> Result<(), QueryError> {
        let work = async {
            for statement in statements {
                self.inner.batch_execute(statement).await?;
            }
            Ok::<_, tokio_postgres::Error>(())
        };
        // The server's own limit comes first, and says more.
        match timeout(limit.saturating_add(Duration::from_secs(2)), work).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.refused(what, &error)),
            Err(_) => {
                let limit = span(limit);
                Err(self.odd_answer(what, &format!("no answer within {limit}")))
            }
        }
    }

    /// A statement that was refused, or whose connection broke.
    pub(super) fn refused(&self, what: &'static str, error: &tokio_postgres::Error) -> QueryError {
        QueryError {
            what,
            database: self.conninfo.database().into(),
            server: self.conninfo.server().into(),
            reason: in_short(error),
            detail: shows_rows(error).then(|| display_with_causes(error).into()),
            sqlstate: error.code().map(|state| state.code().to_owned()),
        }
    }

    /// An answer that does not have the shape that was asked for.
    pub(super) fn odd_answer(&self, what: &'static str, reason: &impl ToString) -> QueryError {
        QueryError {
            what,
            database: self.conninfo.database().into(),
            server: self.conninfo.server().into(),
            reason: reason.to_string(),
            detail: None,
            sqlstate: None,
        }
    }
}

/// One attempt at one place. Limits on transactions and on idle sessions are set aside where the server
/// has such a thing, which is known by running into it.
async fn attempt_in_spite_of_limits(
    conninfo: &Conninfo,
    endpoint: &Endpoint,
    wanted: SessionAttributes,
    limit: Duration,
) -> Result<Client, Refusal> {
    match attempt(conninfo, endpoint, wanted, limit).await {
        Err(refusal) if refusal.is_transaction_timeout() => {
            let conninfo = conninfo.known(LoginFacts::WITH_TRANSACTION_TIMEOUT);
            attempt(&conninfo, endpoint, wanted, limit).await
        }
        Err(refusal) if refusal.may_be_idle_timeout() => {
            let conninfo = conninfo.known(LoginFacts::WITH_IDLE_TIMEOUT);
            let again = attempt(&conninfo, endpoint, wanted, limit).await;
            again.map_err(|_| refusal)
        }
        outcome => outcome,
    }
}

/// One attempt at one place, with all ways of using TLS that the mode allows.
async fn attempt(
    conninfo: &Conninfo,
    endpoint: &Endpoint,
    wanted: SessionAttributes,
    limit: Duration,
) -> Result<Client, Refusal> {
    // libpq ignores sslmode on a unix socket.
    let ways: &[bool] = match (&endpoint.host, conninfo.ssl_mode) {
        (Host::Socket(_), _) | (_, SslMode::Disable) => &[false],
        (_, SslMode::Allow) => &[false, true],
        (_, SslMode::Prefer) => &[true, false],
        (_, SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull) => &[true],
    };
    let addresses = socket::addresses(endpoint).await?;
    let mut before: Option<Refusal> = None;
    for &with_tls in ways {
        let tls = with_tls.then(|| tls::prepare(conninfo)).transpose()?;
        if tls.as_ref().is_some_and(|tls| tls.direct) && ways.len() > 1 {
            let reason = "sslnegotiation=direct needs sslmode=require or stronger";
            return Err(Refusal::new(ConnectErrorKind::Tls, reason));
        }
        let refusal = match open(conninfo, endpoint, &addresses, tls).await {
            Ok(opened) => return greet(opened, conninfo, wanted, limit).await,
            Err(refusal) => refusal,
        };
        let worth_another = refusal.may_depend_on_tls();
        let refusal = match before {
            None => refusal,
            Some(before) => before.followed_by(refusal, with_tls),
        };
        if !worth_another {
            return Err(refusal);
        }
        before = Some(refusal);
    }
    // There is at least one way, and each has ended in success or refusal.
    Err(before.unwrap_or_else(|| Refusal::new(ConnectErrorKind::Other, "no way to connect")))
}

type Opened = (tokio_postgres::Client, oneshot::Sender<()>);

/// Opens a connection to the first address that admits us.
async fn open(
    conninfo: &Conninfo,
    endpoint: &Endpoint,
    addresses: &[Address],
    tls: Option<Tls>,
) -> Result<Opened, Refusal> {
    let mut config = config(conninfo, endpoint);
    let mut last = None;
    for address in addresses {
        let opened = match address.connect(endpoint.port, &conninfo.keepalive).await {
            Ok(socket) => match tls.clone() {
                Some(tls) => log_in_with_tls(&mut config, socket, tls, &endpoint.host).await,
                None => log_in_plainly(&mut config, socket).await,
            },
            Err(refusal) => Err(refusal),
        };
        match opened {
            Ok(opened) => return Ok(opened),
            Err(refusal) => last = Some(refusal),
        }
    }
    // A name that is found has an address.
    Err(last.unwrap_or_else(|| Refusal::new(ConnectErrorKind::ServerDown, "it has no address")))
}

async fn log_in_plainly(config: &mut Config, socket: Socket) -> Result<Opened, Refusal> {
    config.ssl_mode(tokio_postgres::config::SslMode::Disable);
    let connecting = config.connect_raw(ShortRows::new(socket), NoTls).boxed();
    let (client, connection) = connecting.await?;
    Ok((client, carry(connection)))
}

async fn log_in_with_tls(
    config: &mut Config,
    socket: Socket,
    tls: Tls,
    host: &Host,
) -> Result<Opened, Refusal> {
    let Tls {
        mut connect,
        direct,
    } = tls;
    config.ssl_mode(tokio_postgres::config::SslMode::Require);
    if direct {
        config.ssl_negotiation(SslNegotiation::Direct);
    }
    let name = match host {
        Host::Tcp(name) => name.as_str(),
        Host::Socket(_) => "",
    };
    let Ok(connect) = MakeTlsConnect::<Socket>::make_tls_connect(&mut connect, name);
    let connecting = config.connect_raw(socket, WithShortRows(connect)).boxed();
    let (client, connection) = connecting.await?;
    Ok((client, carry(connection)))
}

/// Who we are and what we ask for.
fn config(conninfo: &Conninfo, endpoint: &Endpoint) -> Config {
    let mut config = Config::new();
    config
        .user(&conninfo.user)
        .dbname(&conninfo.database)
        .application_name(APPLICATION_NAME)
        .channel_binding(match conninfo.channel_binding {
            ChannelBinding::Disable => tokio_postgres::config::ChannelBinding::Disable,
            ChannelBinding::Prefer => tokio_postgres::config::ChannelBinding::Prefer,
            ChannelBinding::Require => tokio_postgres::config::ChannelBinding::Require,
        })
        .options(conninfo.options_of_session());
    if let Some(password) = &endpoint.password {
        config.password(password.expose_secret());
    }
    config
}

/// Lets a task carry a connection until whoever holds what this gives is gone.
fn carry(connection: impl Future<Output: Send> + Send + 'static) -> oneshot::Sender<()> {
    let (alive, dropped) = oneshot::channel::<()>();
    tokio::spawn(async move {
        let mut connection = pin!(connection);
        tokio::select! {
            // Whoever asks next learns that the connection is closed.
            _ = &mut connection => {}
            _ = dropped => {
                timeout(FAREWELL, connection).await.ok();
            }
        }
    });
    alive
}

/// The first questions: what session this is, and who answers.
async fn greet(
    opened: Opened,
    conninfo: &Conninfo,
    wanted: SessionAttributes,
    limit: Duration,
) -> Result<Client, Refusal> {
    let (inner, alive) = opened;
    // statement_timeout is a 32-bit number of milliseconds, and zero means for ever.
    let milliseconds = limit.as_millis().clamp(1, i32::MAX as u128);
    inner
        .batch_execute(&format!(
            "SET search_path = pg_catalog; \
             SET statement_timeout = {milliseconds}; \
             SET lock_timeout = {milliseconds}; \
             SET idle_in_transaction_session_timeout = 0"
        ))
        .await?;
    // Our connection may be idle while a dump runs, and in a transaction while tables are restored. These
    // settings came with versions 14 and 17.
    let row = inner
        .query_typed_one(
            &format!(
                "SELECT pg_catalog.current_setting('server_version_num')::int4, \
                        pg_catalog.current_setting('server_encoding'), \
                        pg_catalog.pg_is_in_recovery(), \
                        pg_catalog.current_setting('transaction_read_only') = 'on', \
                        (SELECT r.rolsuper FROM pg_catalog.pg_roles r \
                          WHERE r.rolname = session_user), \
                        {}, \
                        (SELECT pg_catalog.count(pg_catalog.set_config(name, '0', false)) \
                           FROM pg_catalog.pg_settings \
                          WHERE name IN ('idle_session_timeout', 'transaction_timeout'))",
                has_options()
            ),
            &[],
        )
        .await?;
    let (in_recovery, read_only): (bool, bool) = (row.try_get(2)?, row.try_get(3)?);
    refuse_wrong_session(wanted, in_recovery, read_only)?;
    let version = u32::try_from(row.try_get::<_, i32>(0)?).unwrap_or_default();
    let is_superuser: bool = row.try_get(4)?;
    let login = LoginFacts {
        major: version / 10_000,
        is_superuser,
        sets_messages: is_superuser || sets_messages(&inner, version).await?,
    };
    Ok(Client {
        version,
        encoding: row.try_get(1)?,
        keeps_options: row.try_get(5)?,
        is_on_standby: in_recovery,
        inner,
        conninfo: conninfo.known(login),
        limit,
        _alive: alive,
    })
}

/// Whether a user who is no superuser may choose the language of messages.
async fn sets_messages(inner: &tokio_postgres::Client, version: u32) -> Result<bool, Refusal> {
    // Since then such a right can be granted (release notes of 15).
    if version < 150_000 {
        return Ok(false);
    }
    let sql = "SELECT pg_catalog.has_parameter_privilege(session_user, 'lc_messages', 'SET')";
    Ok(inner.query_typed_one(sql, &[]).await?.try_get(0)?)
}

fn refuse_wrong_session(
    wanted: SessionAttributes,
    in_recovery: bool,
    read_only: bool,
) -> Result<(), Refusal> {
    let problem = match wanted {
        SessionAttributes::ReadWrite if read_only => "the session is read-only",
        SessionAttributes::ReadOnly if !read_only => "the session is not read-only",
        SessionAttributes::Primary if in_recovery => "the server is a standby",
        SessionAttributes::Standby if !in_recovery => "the server is not a standby",
        _ => return Ok(()),
    };
    Err(Refusal::new(ConnectErrorKind::WrongSession, problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_session_of_the_kind_wanted_is_accepted() {
        use SessionAttributes::{Any, Primary, ReadOnly, ReadWrite, Standby};
        // wanted, in recovery, read-only, accepted
        let table = [
            (Any, true, true, true),
            (ReadWrite, false, false, true),
            (ReadWrite, false, true, false),
            (ReadOnly, false, true, true),
            (ReadOnly, false, false, false),
            (Primary, false, true, true),
            (Primary, true, true, false),
            (Standby, true, true, true),
            (Standby, false, true, false),
        ];
        for (wanted, in_recovery, read_only, accepted) in table {
            let verdict = refuse_wrong_session(wanted, in_recovery, read_only);
            assert_eq!(
                verdict.is_ok(),
                accepted,
                "{wanted:?} {in_recovery} {read_only}"
            );
        }
    }
}
