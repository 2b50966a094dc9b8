//! Who holds the lock that a dump waits for.

use std::fmt;

use chrono::{DateTime, Utc};
use tokio_postgres::types::{ToSql, Type};

use super::client::Client;
use super::query_error::QueryError;
use super::system_catalog_text::{as_bytes, optional, value};

/// So many characters of a blocking query are kept.
const QUERY_LENGTH: usize = 500;

/// A session that keeps one of ours waiting. What our user may not see of others (without the role
/// `pg_read_all_stats`) is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocker {
    /// Its process id on the server; none when the lock is held by a prepared transaction, which
    /// has no process (`pg_prepared_xacts` lists them).
    pub pid: Option<i32>,
    /// Its user.
    pub user: Option<String>,
    /// The name that its application gave.
    pub application: Option<String>,
    /// The address it comes from; none for a unix socket.
    pub client: Option<String>,
    /// What it does: `active`, `idle in transaction`, ….
    pub state: Option<String>,
    /// When its transaction began.
    pub since: Option<DateTime<Utc>>,
    /// Its current or last query, shortened.
    pub query: Option<String>,
    /// The table that we wait for, with its schema.
    pub relation: Option<String>,
}

impl fmt::Display for Blocker {
    /// One phrase: who it is, what it holds and since when, and what it runs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "process {pid}")?,
            None => f.write_str("a prepared transaction (see pg_prepared_xacts)")?,
        }
        if let Some(user) = &self.user {
            write!(f, " of user {user:?}")?;
        }
        if let Some(application) = self.application.as_deref().filter(|name| !name.is_empty()) {
            write!(f, ", application {application:?}")?;
        }
        if let Some(client) = &self.client {
            write!(f, ", from {client}")?;
        }
        if let Some(relation) = &self.relation {
            write!(f, ", with a lock on {relation}")?;
        }
        if let Some(since) = self.since {
            write!(
                f,
                ", in a transaction since {}",
                since.format("%Y-%m-%d %H:%M:%S UTC")
            )?;
        }
        if let Some(state) = &self.state {
            write!(f, ", {state}")?;
        }
        // A query is written over many lines; here it is a part of a sentence.
        let words: Vec<&str> = self
            .query
            .as_deref()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        let query = words.join(" ");
        let query = query.trim_end_matches([';', ' ']);
        // Of what may set a password, nothing is shown.
        if query.to_ascii_lowercase().contains("password") {
            write!(f, ", query: not shown, since it mentions a password")?;
        } else if !query.is_empty() {
            write!(f, ", query: {query}")?;
        }
        Ok(())
    }
}

/// Asks who blocks the sessions with this application name that are waiting for a lock right now.
/// Once the dump has given up, nobody is found any more: ask while it waits.
///
/// The server cuts a name after 63 bytes and keeps ASCII only, so ours must be within that.
///
/// # Errors
/// The server does not answer, or refuses.
pub async fn blockers(client: &Client, application_name: &str) -> Result<Vec<Blocker>, QueryError> {
    const WHAT: &str = "ask which session holds the lock";
    // pg_blocking_pids gives 0 for a prepared transaction.
    let sql = format!(
        "SELECT DISTINCT NULLIF(p.pid, 0), {user}, {application}, \
                {client}, {state}, \
                EXTRACT(EPOCH FROM b.xact_start)::float8, {query}, {relation} \
           FROM pg_catalog.pg_stat_activity w \
          CROSS JOIN LATERAL pg_catalog.unnest(pg_catalog.pg_blocking_pids(w.pid)) AS p (pid) \
           LEFT JOIN pg_catalog.pg_stat_activity b ON b.pid = p.pid \
           LEFT JOIN pg_catalog.pg_locks l \
             ON l.pid = w.pid AND NOT l.granted AND l.locktype = 'relation' \
            AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d \
                               WHERE d.datname = pg_catalog.current_database()) \
           LEFT JOIN pg_catalog.pg_class c ON c.oid = l.relation \
           LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
          WHERE w.application_name = $1 AND w.wait_event_type = 'Lock' \
          ORDER BY 1",
        user = as_bytes(client, "b.usename"),
        application = as_bytes(client, "b.application_name"),
        client = as_bytes(client, "pg_catalog.host(b.client_addr)"),
        state = as_bytes(client, "b.state"),
        query = as_bytes(client, &format!("pg_catalog.left(b.query, {QUERY_LENGTH})")),
        relation = as_bytes(
            client,
            "pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname)"
        ),
    );
    let parameter = (&application_name as &(dyn ToSql + Sync), Type::TEXT);
    let rows = client.query(WHAT, &sql, &[parameter]).await?;
    rows.iter()
        .map(|row| {
            let text = |column| optional(client, WHAT, row, column);
            let since: Option<f64> = value(client, WHAT, row, 5)?;
            Ok(Blocker {
                pid: value(client, WHAT, row, 0)?,
                user: text(1)?,
                application: text(2)?,
                client: text(3)?,
                state: text(4)?,
                since: since.and_then(from_epoch),
                query: text(6)?.map(|query| query.split_whitespace().collect::<Vec<_>>().join(" ")),
                relation: text(7)?,
            })
        })
        .collect()
}

fn from_epoch(seconds: f64) -> Option<DateTime<Utc>> {
    // A float that is out of range becomes the nearest integer, and that is no valid time.
    #[expect(clippy::cast_possible_truncation, reason = "saturates, see above")]
    DateTime::from_timestamp_micros((seconds * 1e6) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocker_is_reported_in_one_phrase() {
        let blocker = Blocker {
            pid: Some(42),
            user: Some("app".to_owned()),
            application: Some("psql".to_owned()),
            client: Some("10.0.0.1".to_owned()),
            state: Some("idle in transaction".to_owned()),
            since: from_epoch(1_752_019_200.5),
            query: Some("LOCK TABLE t".to_owned()),
            relation: Some("public.t".to_owned()),
        };
        assert_eq!(
            blocker.to_string(),
            "process 42 of user \"app\", application \"psql\", from 10.0.0.1, with a lock on \
             public.t, in a transaction since 2025-07-09 00:00:00 UTC, idle in transaction, \
             query: LOCK TABLE t"
        );
        let secret = Blocker {
            query: Some("ALTER ROLE app\n  Password $$sesame$$".to_owned()),
            ..blocker
        };
        assert!(!secret.to_string().contains("sesame"), "{secret}");
        let unseen = Blocker {
            pid: None,
            user: None,
            application: None,
            client: None,
            state: None,
            since: None,
            query: None,
            relation: None,
        };
        assert_eq!(
            unseen.to_string(),
            "a prepared transaction (see pg_prepared_xacts)"
        );
    }
}
