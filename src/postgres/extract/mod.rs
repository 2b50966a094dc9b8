//! Single tables in a scratch database, on their way into another one: which belong together, what
//! ties them to the others, what they need, and how their rows pass.
//!
//! Whatever is renamed is renamed by the server. All questions are asked in a session whose
//! `search_path` is `pg_catalog`, so that every name that the server writes has its schema.

mod copy;
mod dependencies;
mod detach;
mod partition_tree;

use super::client::Client;
use super::query_error::QueryError;
use super::quote::identifier;

pub use copy::CopyOut;
pub use dependencies::{Dependency, dependencies, drop_all_but, has};
pub use detach::{Detached, ForeignKey, detach, move_into, statistics, taken};
pub use partition_tree::{Shape, Table, partition_tree, shapes};

/// A name as SQL writes it, in quotes.
pub fn quoted(name: &str) -> String {
    identifier(name)
}

/// The SQL for the bytes of a name as the database holds them, in its own encoding.
pub(super) fn raw(expression: &str) -> String {
    format!(
        r"pg_catalog.decode(pg_catalog.replace(({expression})::text, E'\\', E'\\\\'), 'escape')"
    )
}

/// The number of the session's process, by which it can be ended.
///
/// # Errors
/// The server does not answer.
pub async fn process_of(client: &Client) -> Result<i32, QueryError> {
    const WHAT: &str = "ask for the number of the session";
    let rows = client.query(WHAT, "SELECT pg_backend_pid()", &[]).await?;
    let row = rows.first();
    row.and_then(|row| row.try_get(0).ok())
        .ok_or_else(|| client.odd_answer(WHAT, &"no number"))
}

/// Ends a session by the number of its process. One that is gone is no error.
///
/// # Errors
/// The server does not answer, or refuses.
pub async fn end_process(client: &Client, process: i32) -> Result<(), QueryError> {
    use tokio_postgres::types::Type;
    const WHAT: &str = "end the session";
    let sql = "SELECT pg_terminate_backend($1)";
    client
        .query(WHAT, sql, &[(&process, Type::INT4)])
        .await
        .map(drop)
}

/// The schemas of a database.
///
/// # Errors
/// The server does not answer, or refuses.
pub async fn has_schema(client: &Client, schema: &str) -> Result<bool, QueryError> {
    use tokio_postgres::types::Type;
    const WHAT: &str = "look for the schema";
    let sql = "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname::text = $1)";
    let rows = client.query(WHAT, sql, &[(&schema, Type::TEXT)]).await?;
    let row = rows.first();
    row.and_then(|row| row.try_get(0).ok())
        .ok_or_else(|| client.odd_answer(WHAT, &"no answer"))
}

/// Text out of bytes in one of the server's encodings.
///
/// # Errors
/// The bytes are no text in it.
pub async fn text_from(
    client: &Client,
    bytes: &[u8],
    encoding: &str,
) -> Result<String, QueryError> {
    use tokio_postgres::types::Type;
    const WHAT: &str = "convert a column's name";
    if let Ok(text) = std::str::from_utf8(bytes)
        && (text.is_ascii() || matches!(encoding, "UTF8" | "SQL_ASCII"))
    {
        return Ok(text.to_owned());
    }
    let sql = "SELECT convert_from($1, $2::name)";
    let parameters: &[_] = &[(&bytes as _, Type::BYTEA), (&encoding as _, Type::TEXT)];
    let rows = client.query(WHAT, sql, parameters).await?;
    let row = rows.first();
    row.and_then(|row| row.try_get(0).ok())
        .ok_or_else(|| client.odd_answer(WHAT, &"no text"))
}
