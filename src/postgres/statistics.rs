//! The planner's statistics.

use std::time::Duration;

use tokio_postgres::types::Oid;

use super::client::Client;
use super::query_error::QueryError;
use super::system_catalog_text::{as_bytes, required, value};

/// What completes the sentence "cannot …".
const WHAT: &str = "refresh the planner's statistics";

/// A table whose statistics are as they were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotRefreshed {
    /// Schema and name, quoted where SQL wants them so.
    pub table: String,
    /// What the server said; none if it was not asked, because it would have read foreign tables.
    pub reason: Option<String>,
}

/// A table that a command of its own refreshes, with all its partitions.
struct Table {
    oid: Oid,
    name: String,
    /// Whether some of its rows are those of a foreign table.
    reaches_out: bool,
}

/// Refreshes the statistics of the whole database that the client is connected to, of the tables that
/// it can; gives the others.
///
/// A table of which some partition, or some table that inherits from it, is a foreign one is left
/// alone: ANALYZE would read that from a server that may not be there, or at length. A table whose
/// statistics the server refuses to make, perhaps because a function of an index fails, keeps no other
/// from having them.
///
/// # Errors
/// The server does not answer within the limit, or ends the session.
pub async fn analyze(client: &Client, limit: Duration) -> Result<Vec<NotRefreshed>, QueryError> {
    let tables = tables(client).await?;
    if tables.iter().all(|table| !table.reaches_out) {
        match client.execute(WHAT, "ANALYZE", limit).await {
            Ok(()) => return Ok(Vec::new()),
            Err(error) if is_about_a_table(&error) => {}
            Err(error) => return Err(error),
        }
    }
    let mut others = Vec::new();
    for table in tables {
        let reason = if table.reaches_out {
            None
        } else {
            // By its number, since its name may be no text that could be sent.
            let sql = format!(
                "DO $$ BEGIN EXECUTE pg_catalog.format('ANALYZE %s', {}::pg_catalog.regclass); END $$",
                table.oid
            );
            match client.execute(WHAT, &sql, limit).await {
                Ok(()) => continue,
                Err(error) if is_about_a_table(&error) => Some(error.reason().to_owned()),
                Err(error) => return Err(error),
            }
        };
        let table = table.name;
        others.push(NotRefreshed { table, reason });
    }
    Ok(others)
}

/// Refreshes the statistics of some tables of the database that the client is connected to, whose names
/// are quoted where SQL wants them so; gives those for which the server refuses.
///
/// # Errors
/// The server does not answer within the limit, or ends the session.
pub async fn analyze_tables(
    client: &Client,
    tables: &[&str],
    limit: Duration,
) -> Result<Vec<NotRefreshed>, QueryError> {
    let mut others = Vec::new();
    for table in tables {
        match client
            .execute(WHAT, &format!("ANALYZE {table}"), limit)
            .await
        {
            Ok(()) => {}
            Err(error) if is_about_a_table(&error) => others.push(NotRefreshed {
                table: (*table).to_owned(),
                reason: Some(error.reason().to_owned()),
            }),
            Err(error) => return Err(error),
        }
    }
    Ok(others)
}

/// Whether the server has refused, and goes on: what it says when it ends a session or a statement is
/// in class 57 of the manual's appendix A.
fn is_about_a_table(error: &QueryError) -> bool {
    error
        .sqlstate
        .as_deref()
        .is_some_and(|state| !state.starts_with("57"))
}

/// The tables that together are all of the database, the system's among them. ANALYZE of a partitioned
/// table counts its partitions in; those of one that reaches out stand for themselves.
async fn tables(client: &Client) -> Result<Vec<Table>, QueryError> {
    let name = as_bytes(client, "pg_catalog.format('%I.%I', n.nspname, c.relname)");
    let sql = format!(
        "WITH RECURSIVE reaching(oid) AS ( \
           SELECT i.inhparent FROM pg_catalog.pg_inherits i \
             JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid WHERE c.relkind = 'f' \
           UNION \
           SELECT i.inhparent FROM reaching r JOIN pg_catalog.pg_inherits i ON i.inhrelid = r.oid) \
         SELECT c.oid, {name}, c.oid IN (SELECT oid FROM reaching) \
           FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
          WHERE c.relkind IN ('r', 'm', 'p') AND c.relpersistence <> 't' \
            AND (NOT c.relispartition OR c.oid IN (SELECT oid FROM reaching) \
                 OR EXISTS (SELECT 1 FROM pg_catalog.pg_inherits i JOIN reaching r ON r.oid = i.inhparent \
                             WHERE i.inhrelid = c.oid)) \
          ORDER BY n.nspname, c.relname"
    );
    let rows = client.query(WHAT, &sql, &[]).await?;
    rows.iter()
        .map(|row| {
            Ok(Table {
                oid: value(client, WHAT, row, 0)?,
                name: required(client, WHAT, row, 1)?,
                reaches_out: value(client, WHAT, row, 2)?,
            })
        })
        .collect()
}
