//! What tables need that is not part of them: types, functions, collations, sequences, whatever the
//! dependencies in `pg_depend` name.

use std::time::Duration;

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::postgres::client::Client;
use crate::postgres::query_error::QueryError;
use crate::postgres::system_catalog_text::{as_bytes, optional, required, value};

/// For a statement in a scratch database, whose tables are empty.
const STATEMENT: Duration = Duration::from_secs(300);

/// Something that tables need: an address that other databases know too
/// (`pg_identify_object_as_address` in the manual).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    kind: String,
    names: Vec<String>,
    arguments: Vec<String>,
    /// What it is, in the server's words.
    pub what: String,
    /// The extension that it belongs to.
    pub extension: Option<String>,
}

/// Tables with all their parts: indexes, defaults, constraints, triggers, policies, sequences, row
/// types, and what those are made of (`pg_depend` in the manual). The closing parenthesis is missing.
const PARTS: &str = "WITH RECURSIVE part (classid, objid) AS ( \
       SELECT 'pg_class'::regclass::oid, u.oid FROM unnest($1::oid[]) AS u (oid) \
       UNION SELECT d.classid, d.objid FROM part p \
         JOIN pg_depend d ON d.refclassid = p.classid AND d.refobjid = p.objid \
        WHERE d.deptype IN ('a', 'i', 'P', 'S')";

/// What these tables need (of an array, the type of its elements) that is neither part of them nor of the server.
///
/// # Errors
/// The server does not answer, or refuses.
pub async fn dependencies(client: &Client, oids: &[u32]) -> Result<Vec<Dependency>, QueryError> {
    const WHAT: &str = "look for what the tables need";
    let sql = format!(
        "{PARTS}), \
         need AS ( \
            SELECT DISTINCT d.refclassid, coalesce(t.typelem, d.refobjid) AS refobjid FROM part p \
              JOIN pg_depend d ON d.classid = p.classid AND d.objid = p.objid \
              LEFT JOIN pg_type t ON d.refclassid = 'pg_type'::regclass AND t.oid = d.refobjid \
                AND t.typcategory = 'A' AND t.typelem <> 0 \
             WHERE d.deptype = 'n' AND d.refclassid <> 'pg_namespace'::regclass \
               AND (d.refclassid, d.refobjid) NOT IN (SELECT classid, objid FROM part)) \
         SELECT a.type, a.object_names, a.object_args, {what}, {extension} \
           FROM need n, LATERAL pg_identify_object_as_address(n.refclassid, n.refobjid, 0) a \
           LEFT JOIN LATERAL (SELECT e.extname FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid \
                WHERE d.classid = n.refclassid AND d.objid = n.refobjid \
                  AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e') x ON true \
          ORDER BY 4",
        what = as_bytes(client, "pg_describe_object(n.refclassid, n.refobjid, 0)"),
        extension = as_bytes(client, "x.extname"),
    );
    let rows = client
        .query(WHAT, &sql, &[(&oids, Type::OID_ARRAY)])
        .await?;
    let dependency = |row: &Row| {
        Ok(Dependency {
            kind: value(client, WHAT, row, 0)?,
            names: value(client, WHAT, row, 1)?,
            arguments: value(client, WHAT, row, 2)?,
            what: required(client, WHAT, row, 3)?,
            extension: optional(client, WHAT, row, 4)?,
        })
    };
    rows.iter().map(dependency).collect()
}

/// Whether a database has something that tables need.
///
/// # Errors
/// The server does not answer.
pub async fn has(client: &Client, dependency: &Dependency) -> Result<bool, QueryError> {
    const WHAT: &str = "look for what the tables need";
    let sql = "SELECT FROM pg_get_object_address($1, $2, $3)";
    let parameters: &[_] = &[
        (&dependency.kind as _, Type::TEXT),
        (&dependency.names as _, Type::TEXT_ARRAY),
        (&dependency.arguments as _, Type::TEXT_ARRAY),
    ];
    match client.query(WHAT, sql, parameters).await {
        Ok(_) => Ok(true),
        // A class of its own for every kind of thing that is not there: undefined_object and its
        // kin, and the schema.
        Err(error)
            if error
                .sqlstate
                .as_deref()
                .is_some_and(|state| state.starts_with("42") || state == "3F000") =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Drops every table and view of a scratch database that these tables do not need. Types, functions
/// and whatever else is no relation stays. Gives the tables that stay besides them, as SQL writes
/// them.
///
/// # Errors
/// The server does not answer, or refuses.
pub async fn drop_all_but(client: &Client, oids: &[u32]) -> Result<Vec<String>, QueryError> {
    const WHAT: &str = "drop the other tables of the scratch database";
    // Whatever is kept keeps what it needs, so that no CASCADE can reach it.
    let sql = format!(
        "WITH RECURSIVE part (classid, objid) AS ( \
            SELECT 'pg_class'::regclass::oid, u.oid FROM unnest($1::oid[]) AS u (oid) \
            UNION SELECT x.classid, x.objid FROM part p, LATERAL ( \
               SELECT d.classid, d.objid FROM pg_depend d \
                WHERE d.refclassid = p.classid AND d.refobjid = p.objid \
                  AND d.deptype IN ('a', 'i', 'P', 'S') \
               UNION ALL SELECT d.refclassid, d.refobjid FROM pg_depend d \
                WHERE d.classid = p.classid AND d.objid = p.objid AND d.refclassid \
                      NOT IN ('pg_namespace'::regclass, 'pg_extension'::regclass)) x) \
         SELECT c.relkind::text, {quoted}, EXISTS (SELECT FROM part \
                  WHERE classid = 'pg_class'::regclass AND objid = c.oid), c.oid = ANY ($1) \
           FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
          WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition \
            AND n.nspname NOT IN ('pg_catalog', 'information_schema') \
            AND n.nspname NOT LIKE 'pg\\_toast%' \
            AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass \
                  AND d.objid = c.oid AND d.deptype = 'e') \
          ORDER BY 2",
        quoted = as_bytes(
            client,
            "quote_ident(n.nspname) || '.' || quote_ident(c.relname)"
        ),
    );
    let rows = client
        .query(WHAT, &sql, &[(&oids, Type::OID_ARRAY)])
        .await?;
    let mut staying = Vec::new();
    for row in &rows {
        let kind: String = value(client, WHAT, row, 0)?;
        let name = required(client, WHAT, row, 1)?;
        let (needed, taken): (bool, bool) =
            (value(client, WHAT, row, 2)?, value(client, WHAT, row, 3)?);
        if needed {
            staying.extend((!taken).then_some(name));
            continue;
        }
        let word = match kind.as_str() {
            "v" => "VIEW",
            "m" => "MATERIALIZED VIEW",
            "f" => "FOREIGN TABLE",
            _ => "TABLE",
        };
        let sql = format!("DROP {word} IF EXISTS {name} CASCADE");
        client.execute(WHAT, &sql, STATEMENT).await?;
    }
    Ok(staying)
}
