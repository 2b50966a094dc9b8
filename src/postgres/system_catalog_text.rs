//! Text out of the system catalogs, whatever its bytes are.
//!
//! A `SQL_ASCII` database holds bytes of any encoding, and the catalogs that all databases share
//! hold names in the encoding of whichever database they were made from. The server refuses to send
//! such bytes as UTF-8 text, so they are asked for as bytes, and what is no UTF-8 becomes U+FFFD.

use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use super::client::Client;
use super::query_error::QueryError;

/// The SQL for the bytes of a text expression, in UTF-8 as far as the server knows how.
pub(super) fn as_bytes(client: &Client, expression: &str) -> String {
    bytes_in(client.encoding(), expression)
}

fn bytes_in(encoding: &str, expression: &str) -> String {
    match encoding {
        // The bytes as they are: converting would verify them, and fail.
        "UTF8" | "SQL_ASCII" => format!(
            r"pg_catalog.decode(pg_catalog.replace(({expression})::text, E'\\', E'\\\\'), 'escape')"
        ),
        _ => format!("pg_catalog.convert_to(({expression})::text, 'UTF8')"),
    }
}

/// A column made by [`as_bytes`].
pub(super) fn optional(
    client: &Client,
    what: &'static str,
    row: &Row,
    column: usize,
) -> Result<Option<String>, QueryError> {
    let bytes: Option<Vec<u8>> = value(client, what, row, column)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// A column made by [`as_bytes`] that is never null.
pub(super) fn required(
    client: &Client,
    what: &'static str,
    row: &Row,
    column: usize,
) -> Result<String, QueryError> {
    optional(client, what, row, column)?
        .ok_or_else(|| client.odd_answer(what, &"the server left out a value that is always there"))
}

/// A column of any other type.
pub(super) fn value<'a, T: FromSql<'a>>(
    client: &Client,
    what: &'static str,
    row: &'a Row,
    column: usize,
) -> Result<T, QueryError> {
    row.try_get(column)
        .map_err(|error| client.odd_answer(what, &error))
}
