//! A session that loads a dump one statement at a time, and reports in full what the server refuses.
//!
//! Each statement is sent by itself and as one: the server refuses a text with several of them (the manual's
//! "Extended Query"), so that what was judged is what is executed.

use std::fmt::Write as _;
use std::io::Cursor;
use std::pin::Pin;
use std::sync::Arc;

use futures::SinkExt as _;
use tokio_postgres::CopyInSink;
use tokio_postgres::types::Type;

use super::client::Client;
use super::query_error::QueryError;
use super::server_error::quotes_values;

/// Such a session.
pub struct LoadSession {
    client: Client,
}

/// What the server refused, and why. The detail and the context may show rows, and so may the message of
/// some kinds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatementRefusal {
    /// The code (appendix "`PostgreSQL` Error Codes" of the manual).
    pub sqlstate: String,
    /// The message.
    pub message: String,
    /// `DETAIL:`
    pub detail: Option<String>,
    /// `HINT:`
    pub hint: Option<String>,
    /// `CONTEXT:`
    pub context: Option<String>,
    /// The schema of the object that it is about.
    pub schema: Option<String>,
    /// The table.
    pub table: Option<String>,
    /// The column.
    pub column: Option<String>,
    /// The data type.
    pub data_type: Option<String>,
    /// The constraint.
    pub constraint: Option<String>,
}

/// Why a statement was not executed.
#[derive(Debug)]
pub enum LoadError {
    /// The server refused it.
    Refused(Box<StatementRefusal>),
    /// The session has ended, or did not answer.
    Lost(QueryError),
}

const WHAT: &str = "execute a statement of the dump";

impl LoadSession {
    /// A session that nobody else uses.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// The connection, for questions.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Executes one statement.
    ///
    /// # Errors
    /// The server refuses it, or the session ends.
    pub async fn execute(&self, sql: &str) -> Result<(), LoadError> {
        let outcome = self.client.inner().query_typed(sql, &[]).await;
        outcome.map(drop).map_err(|error| self.error(&error))
    }

    /// The value of a setting, if the session has it.
    ///
    /// # Errors
    /// The session ends.
    pub async fn setting(&self, name: &str) -> Result<Option<String>, QueryError> {
        const ASK: &str = "ask for a setting";
        let sql = "SELECT pg_catalog.current_setting($1, true)";
        let rows = self.client.query(ASK, sql, &[(&name, Type::TEXT)]).await?;
        let row = rows.first();
        Ok(row.and_then(|row| row.try_get(0).ok()).flatten())
    }

    /// Begins a COPY, by a `COPY … FROM stdin`.
    ///
    /// # Errors
    /// The server refuses it, or the session ends.
    pub async fn begin_copy(&self, sql: &str) -> Result<CopyRows<'_>, LoadError> {
        let sink = self.client.inner().copy_in(sql).await;
        Ok(CopyRows {
            session: self,
            sink: Box::pin(sink.map_err(|error| self.error(&error))?),
        })
    }

    fn error(&self, error: &tokio_postgres::Error) -> LoadError {
        let Some(server) = error.as_db_error() else {
            return LoadError::Lost(self.client.refused(WHAT, error));
        };
        let owned = |text: Option<&str>| text.map(str::to_owned);
        LoadError::Refused(Box::new(StatementRefusal {
            sqlstate: server.code().code().to_owned(),
            message: server.message().to_owned(),
            detail: owned(server.detail()),
            hint: owned(server.hint()),
            context: owned(server.where_()),
            schema: owned(server.schema()),
            table: owned(server.table()),
            column: owned(server.column()),
            data_type: owned(server.datatype()),
            constraint: owned(server.constraint()),
        }))
    }
}

/// Takes rows that others hold as well.
type Sink = Pin<Box<CopyInSink<Cursor<Arc<[u8]>>>>>;

/// Rows on their way into a table.
pub struct CopyRows<'a> {
    session: &'a LoadSession,
    sink: Sink,
}

impl CopyRows<'_> {
    /// Sends all of these rows, and ends the COPY: either all of them are in the table then, or none. Gives
    /// how many there are.
    ///
    /// # Errors
    /// The server refuses a row, or the session ends.
    pub async fn finish_with(mut self, rows: Arc<[u8]>) -> Result<u64, LoadError> {
        let sent = self.sink.send(Cursor::new(rows)).await;
        let finished = match sent {
            Ok(()) => self.sink.as_mut().finish().await,
            Err(error) => Err(error),
        };
        finished.map_err(|error| self.session.error(&error))
    }
}

impl StatementRefusal {
    /// Whether the server, and not the statement, is to blame, so that no other statement fares better: its
    /// disk is full or fails, or it shuts down.
    pub fn is_of_the_server(&self) -> bool {
        matches!(self.sqlstate.as_str(), "53100" | "58030") || self.sqlstate.starts_with("57")
    }

    /// What records get: no row.
    pub fn in_short(&self) -> String {
        let message = if quotes_values(&self.sqlstate) {
            "the server refuses a value or a statement"
        } else {
            &self.message
        };
        let mut text = format!("{message} (SQLSTATE {}", self.sqlstate);
        for (word, name) in [
            ("schema", &self.schema),
            ("table", &self.table),
            ("column", &self.column),
            ("data type", &self.data_type),
            ("constraint", &self.constraint),
        ] {
            if let Some(name) = name {
                // Writing to a string cannot fail.
                let _ = write!(text, ", {word} {name}");
            }
        }
        text.push(')');
        text
    }
}
