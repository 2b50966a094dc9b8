//! Why a query failed.

use super::connect_error::passes;

/// A question to the server has failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} (database {database:?}, {server}): {reason}")]
pub struct QueryError {
    pub(super) what: &'static str,
    pub(super) database: Box<str>,
    pub(super) server: Box<str>,
    pub(super) reason: String,
    /// What the server said in full, where the reason leaves something out that may show rows.
    pub(super) detail: Option<Box<str>>,
    /// The server's error code, when it was the server that refused.
    pub sqlstate: Option<String>,
}

impl QueryError {
    /// What the server said in full, where the text leaves out what may show rows.
    pub fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }

    /// What the server said, or why there is no answer, alone.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Whether somebody else has the name that a database was to get: it was there ("duplicate
    /// database"), or came at the same moment ("unique violation", of `pg_database`).
    pub fn is_taken_database_name(&self) -> bool {
        matches!(self.sqlstate.as_deref(), Some("42P04" | "23505"))
    }

    /// Whether trying again later may help without anybody doing anything: the connection broke or
    /// timed out, or the server refuses for what passes.
    pub fn is_transient(&self) -> bool {
        self.sqlstate.as_deref().is_none_or(passes)
    }
}
