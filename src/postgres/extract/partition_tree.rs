//! Which tables belong together, and what they look like.

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::raw;
use crate::postgres::client::Client;
use crate::postgres::query_error::QueryError;
use crate::postgres::system_catalog_text::{as_bytes, required, value};

/// A table of a scratch database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its number.
    pub oid: u32,
    /// Its schema, as text.
    pub schema: String,
    /// Its name, as text.
    pub name: String,
    /// Both as SQL writes them, with quotes where they need some.
    pub quoted: String,
    /// Schema and name in the bytes of the database's encoding.
    pub raw: (Vec<u8>, Vec<u8>),
    /// Both as SQL writes them, in those bytes.
    pub written: Vec<u8>,
    /// Whether it holds no rows but those of its partitions.
    pub is_partitioned: bool,
    /// Whether it was asked for itself; else it is a partition or child table of one that was.
    pub is_named: bool,
    /// The tables that it is a partition of, or inherits from.
    pub parents: Vec<u32>,
}

/// What of a table matters to whoever compares it or copies rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Its number.
    pub oid: u32,
    /// Schema and name as SQL writes them, where it stands now.
    pub quoted: String,
    /// Its columns but the generated ones, as SQL writes them, separated by commas.
    pub columns: String,
    /// The same in a form that can be compared: what has no equality is text.
    pub comparable: String,
    /// Whether a column is an identity whose values are always the server's.
    pub has_identity_always: bool,
    /// Whether two rows can be the same by a unique index.
    pub has_key: bool,
    /// The tables that its foreign keys refer to.
    pub references: Vec<u32>,
}

/// The tables of these names with all their partitions and child tables, in the order of their names.
/// Names are given as `pg_dump` writes them in comments: in the database's encoding, line breaks
/// replaced by spaces.
///
/// # Errors
/// The server does not answer, or refuses.
pub async fn partition_tree(
    client: &Client,
    names: &[(Vec<u8>, Vec<u8>)],
) -> Result<Vec<Table>, QueryError> {
    const WHAT: &str = "look for the tables";
    let flat = |name: &str| raw(&format!("translate({name}::text, E'\\n\\r', '  ')"));
    let sql = format!(
        "WITH RECURSIVE named AS ( \
            SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
              JOIN unnest($1::bytea[], $2::bytea[]) AS w (schema, name) \
                ON {flat_schema} = w.schema AND {flat_name} = w.name \
             WHERE c.relkind IN ('r', 'p')), \
         family AS ( \
            SELECT oid FROM named \
            UNION SELECT i.inhrelid FROM family f JOIN pg_inherits i ON i.inhparent = f.oid \
              JOIN pg_class c ON c.oid = i.inhrelid AND c.relkind IN ('r', 'p')) \
         SELECT c.oid, {schema}, {name}, {raw_schema}, {raw_name}, c.relkind = 'p', \
                c.oid IN (SELECT oid FROM named), \
                ARRAY(SELECT inhparent FROM pg_inherits WHERE inhrelid = c.oid), {quoted}, {written} \
           FROM family f JOIN pg_class c ON c.oid = f.oid \
           JOIN pg_namespace n ON n.oid = c.relnamespace \
          ORDER BY n.nspname, c.relname",
        flat_schema = flat("n.nspname"),
        flat_name = flat("c.relname"),
        schema = as_bytes(client, "n.nspname"),
        name = as_bytes(client, "c.relname"),
        raw_schema = raw("n.nspname"),
        raw_name = raw("c.relname"),
        written = raw("quote_ident(n.nspname) || '.' || quote_ident(c.relname)"),
        quoted = as_bytes(
            client,
            "quote_ident(n.nspname) || '.' || quote_ident(c.relname)"
        ),
    );
    let schemas: Vec<&[u8]> = names.iter().map(|(schema, _)| schema.as_slice()).collect();
    let tables: Vec<&[u8]> = names.iter().map(|(_, name)| name.as_slice()).collect();
    let parameters: &[_] = &[
        (&schemas as _, Type::BYTEA_ARRAY),
        (&tables as _, Type::BYTEA_ARRAY),
    ];
    let rows = client.query(WHAT, &sql, parameters).await?;
    let table = |row: &Row| {
        Ok(Table {
            oid: value(client, WHAT, row, 0)?,
            schema: required(client, WHAT, row, 1)?,
            name: required(client, WHAT, row, 2)?,
            raw: (value(client, WHAT, row, 3)?, value(client, WHAT, row, 4)?),
            is_partitioned: value(client, WHAT, row, 5)?,
            is_named: value(client, WHAT, row, 6)?,
            parents: value(client, WHAT, row, 7)?,
            quoted: required(client, WHAT, row, 8)?,
            written: value(client, WHAT, row, 9)?,
        })
    };
    rows.iter().map(table).collect()
}

/// What these tables look like, in the order of their names.
///
/// # Errors
/// The server does not answer, or refuses.
pub async fn shapes(client: &Client, oids: &[u32]) -> Result<Vec<Shape>, QueryError> {
    const WHAT: &str = "look at the tables";
    // These have neither a B-tree nor a hash class by default (pg_opclass).
    const NO_EQUALITY: &str = "'json', 'xml', 'point', 'line', 'lseg', 'box', 'path', 'polygon', \
         'circle', 'refcursor', 'txid_snapshot', 'pg_snapshot'";
    let columns = |form: &str| {
        as_bytes(
            client,
            &format!(
                "coalesce((SELECT string_agg({form}, ', ' ORDER BY a.attnum) FROM pg_attribute a \
                   JOIN pg_type t ON t.oid = a.atttypid \
                   LEFT JOIN pg_type b ON b.oid = nullif(t.typbasetype, 0) \
                   LEFT JOIN pg_type e ON e.oid = nullif(coalesce(b.typelem, t.typelem), 0) \
                  WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
                    AND a.attgenerated = ''), '')"
            ),
        )
    };
    let comparable = format!(
        "quote_ident(a.attname) || CASE WHEN t.typname IN ({NO_EQUALITY}) \
            OR b.typname IN ({NO_EQUALITY}) OR e.typname IN ({NO_EQUALITY}) \
           THEN '::text' ELSE '' END"
    );
    let sql = format!(
        "SELECT c.oid, {quoted}, {columns}, {comparable}, \
                EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 \
                         AND NOT a.attisdropped AND a.attidentity = 'a'), \
                EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique), \
                ARRAY(SELECT confrelid FROM pg_constraint WHERE conrelid = c.oid AND contype = 'f') \
           FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
          WHERE c.oid = ANY ($1) ORDER BY n.nspname, c.relname",
        quoted = as_bytes(
            client,
            "quote_ident(n.nspname) || '.' || quote_ident(c.relname)"
        ),
        columns = columns("quote_ident(a.attname)"),
        comparable = columns(&comparable),
    );
    let rows = client
        .query(WHAT, &sql, &[(&oids, Type::OID_ARRAY)])
        .await?;
    let shape = |row: &Row| {
        Ok(Shape {
            oid: value(client, WHAT, row, 0)?,
            quoted: required(client, WHAT, row, 1)?,
            columns: required(client, WHAT, row, 2)?,
            comparable: required(client, WHAT, row, 3)?,
            has_identity_always: value(client, WHAT, row, 4)?,
            has_key: value(client, WHAT, row, 5)?,
            references: value(client, WHAT, row, 6)?,
        })
    };
    rows.iter().map(shape).collect()
}
