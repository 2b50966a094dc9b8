//! Constraints and computed columns of tables and domains: which there are, and how they are made again.

use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::client::Client;
use super::query_error::QueryError;

/// A constraint, or an expression of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The table or domain that has it, as SQL writes it with its schema.
    pub holder: String,
    /// The constraint's or the column's name, as SQL writes it.
    pub name: String,
    /// What follows its name where it is added.
    pub definition: String,
}

const WHAT: &str = "ask for the constraints of a table";

/// The domain of a schema and a name, and those that it is made of; deeper ones are checked first.
const DOMAINS: &str = "WITH RECURSIVE domains AS ( \
    SELECT t.oid, t.typname, t.typnamespace, t.typbasetype, t.typnotnull, 0 AS depth \
      FROM pg_catalog.pg_type t \
      JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace \
     WHERE t.typtype = 'd' AND n.nspname::text = $1 AND t.typname::text = $2 \
    UNION ALL \
    SELECT t.oid, t.typname, t.typnamespace, t.typbasetype, t.typnotnull, d.depth + 1 \
      FROM domains d \
      JOIN pg_catalog.pg_type t ON t.oid = d.typbasetype AND t.typtype = 'd')";

/// The check constraint of this name, of the table or of the topmost one that it inherits it from; without
/// a name all that the table has.
///
/// # Errors
/// The server does not answer.
pub async fn checks_of_table(
    client: &Client,
    [schema, table]: [&str; 2],
    constraint: Option<&str>,
) -> Result<Vec<Condition>, QueryError> {
    const SQL: &str = "WITH RECURSIVE holders AS ( \
        SELECT k.conrelid, k.oid, k.conname, 0 AS depth \
          FROM pg_catalog.pg_constraint k \
          JOIN pg_catalog.pg_class c ON c.oid = k.conrelid \
          JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE k.contype = 'c' AND n.nspname::text = $1 AND c.relname::text = $2 \
           AND ($3 IS NULL OR k.conname::text = $3) \
        UNION ALL \
        SELECT k.conrelid, k.oid, k.conname, h.depth + 1 \
          FROM holders h \
          JOIN pg_catalog.pg_inherits i ON i.inhrelid = h.conrelid \
          JOIN pg_catalog.pg_constraint k ON k.conrelid = i.inhparent AND k.contype = 'c' \
               AND k.conname = h.conname) \
      SELECT DISTINCT ON (h.conname) \
             pg_catalog.format('%I.%I', n.nspname, c.relname), \
             pg_catalog.quote_ident(h.conname), \
             pg_catalog.pg_get_constraintdef(h.oid) \
        FROM holders h \
        JOIN pg_catalog.pg_class c ON c.oid = h.conrelid \
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
       ORDER BY h.conname, h.depth DESC";
    ask(client, SQL, &[&schema, &table, &constraint]).await
}

/// The check constraint of this name that a domain has, or a domain that it is made of: the one that is
/// checked first, which is that of the innermost.
///
/// # Errors
/// The server does not answer.
pub async fn check_of_domain(
    client: &Client,
    [schema, domain]: [&str; 2],
    constraint: &str,
) -> Result<Vec<Condition>, QueryError> {
    let sql = format!(
        "{DOMAINS} \
         SELECT pg_catalog.format('%I.%I', n.nspname, d.typname), \
                pg_catalog.quote_ident(k.conname), \
                pg_catalog.pg_get_constraintdef(k.oid) \
           FROM domains d \
           JOIN pg_catalog.pg_namespace n ON n.oid = d.typnamespace \
           JOIN pg_catalog.pg_constraint k ON k.contypid = d.oid \
          WHERE k.contype = 'c' AND k.conname::text = $3 \
          ORDER BY d.depth DESC LIMIT 1"
    );
    ask(client, &sql, &[&schema, &domain, &Some(constraint)]).await
}

/// The domain that is NOT NULL, of a domain and those that it is made of: the innermost. As SQL writes it with
/// its schema.
///
/// # Errors
/// The server does not answer.
pub async fn domain_without_nulls(
    client: &Client,
    [schema, domain]: [&str; 2],
) -> Result<Option<String>, QueryError> {
    let sql = format!(
        "{DOMAINS} \
         SELECT pg_catalog.format('%I.%I', n.nspname, d.typname), '', '' \
           FROM domains d \
           JOIN pg_catalog.pg_namespace n ON n.oid = d.typnamespace \
          WHERE d.typnotnull AND $3::text IS NULL \
          ORDER BY d.depth DESC LIMIT 1"
    );
    let found = ask(client, &sql, &[&schema, &domain, &None::<&str>]).await?;
    Ok(found.into_iter().next().map(|one| one.holder))
}

/// The check constraints of all domains that the columns of a table are made of, in arrays, ranges and
/// composite types, too.
///
/// # Errors
/// The server does not answer.
pub async fn checks_of_domains_of(
    client: &Client,
    [schema, table]: [&str; 2],
) -> Result<Vec<Condition>, QueryError> {
    const SQL: &str = "WITH RECURSIVE types AS ( \
        SELECT a.atttypid AS oid \
          FROM pg_catalog.pg_attribute a \
          JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
          JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE a.attnum > 0 AND NOT a.attisdropped \
           AND n.nspname::text = $1 AND c.relname::text = $2 \
        UNION \
        SELECT p.oid \
          FROM types y \
          JOIN pg_catalog.pg_type t ON t.oid = y.oid \
         CROSS JOIN LATERAL ( \
               SELECT t.typbasetype UNION ALL SELECT t.typelem \
               UNION ALL \
               SELECT a.atttypid FROM pg_catalog.pg_attribute a \
                WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped \
               UNION ALL \
               SELECT r.rngsubtype FROM pg_catalog.pg_range r \
                WHERE t.oid IN (r.rngtypid, r.rngmultitypid)) p (oid) \
         WHERE p.oid <> 0) \
      SELECT pg_catalog.format('%I.%I', n.nspname, t.typname), \
             pg_catalog.quote_ident(k.conname), \
             pg_catalog.pg_get_constraintdef(k.oid) \
        FROM types y \
        JOIN pg_catalog.pg_type t ON t.oid = y.oid \
        JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace \
        JOIN pg_catalog.pg_constraint k ON k.contypid = t.oid \
       WHERE k.contype = 'c' AND $3::text IS NULL \
       ORDER BY 1, 2";
    ask(client, SQL, &[&schema, &table, &None::<&str>]).await
}

/// The columns of a table whose values are computed and stored; what follows the name is type and
/// expression.
///
/// # Errors
/// The server does not answer.
pub async fn computed_columns(
    client: &Client,
    [schema, table]: [&str; 2],
) -> Result<Vec<Condition>, QueryError> {
    const SQL: &str = "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), \
             pg_catalog.quote_ident(a.attname), \
             pg_catalog.format('%s%s GENERATED ALWAYS AS (%s) STORED%s', \
               pg_catalog.format_type(a.atttypid, a.atttypmod), \
               (SELECT pg_catalog.format(' COLLATE %I.%I', s.nspname, l.collname) \
                  FROM pg_catalog.pg_collation l \
                  JOIN pg_catalog.pg_namespace s ON s.oid = l.collnamespace \
                  JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
                 WHERE l.oid = a.attcollation AND a.attcollation <> t.typcollation), \
               pg_catalog.pg_get_expr(d.adbin, d.adrelid), \
               CASE WHEN a.attnotnull THEN ' NOT NULL' END) \
        FROM pg_catalog.pg_attribute a \
        JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
        JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
       WHERE a.attgenerated = 's' AND NOT a.attisdropped \
         AND n.nspname::text = $1 AND c.relname::text = $2 AND $3::text IS NULL \
       ORDER BY a.attnum";
    ask(client, SQL, &[&schema, &table, &None::<&str>]).await
}

async fn ask(
    client: &Client,
    sql: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Condition>, QueryError> {
    let typed: Vec<(&(dyn ToSql + Sync), Type)> =
        parameters.iter().map(|one| (*one, Type::TEXT)).collect();
    let rows = client.query(WHAT, sql, &typed).await?;
    let read = |row: &Row| -> Result<Condition, tokio_postgres::Error> {
        Ok(Condition {
            holder: row.try_get(0)?,
            name: row.try_get(1)?,
            definition: row.try_get(2)?,
        })
    };
    let found: Result<Vec<Condition>, _> = rows.iter().map(read).collect();
    found.map_err(|error| client.odd_answer(WHAT, &error))
}
