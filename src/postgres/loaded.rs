//! How many rows a restore has loaded by now.

use super::client::Client;
use super::query_error::QueryError;

/// Rows that were loaded into the database, as far as the server has counted them: those of tables
/// that are done, and those of the tables that are being filled (`pg_stat_progress_copy`, since
/// version 14).
///
/// # Errors
/// The server does not answer, or refuses.
pub async fn loaded_rows(client: &Client) -> Result<u64, QueryError> {
    const WHAT: &str = "ask how many rows are loaded";
    const SQL: &str = "SELECT ( \
        (SELECT coalesce(sum(n_tup_ins), 0) FROM pg_catalog.pg_stat_user_tables) \
        + (SELECT coalesce(sum(tuples_processed), 0) FROM pg_catalog.pg_stat_progress_copy \
            WHERE datname = pg_catalog.current_database() AND command = 'COPY FROM') \
        )::bigint";
    let rows = client.query(WHAT, SQL, &[]).await?;
    let row = rows
        .first()
        .ok_or_else(|| client.odd_answer(WHAT, &"no row"))?;
    let number: i64 = row
        .try_get(0)
        .map_err(|error| client.odd_answer(WHAT, &error))?;
    Ok(u64::try_from(number).unwrap_or_default())
}
