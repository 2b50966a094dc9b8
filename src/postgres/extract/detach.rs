//! What ties tables to those that stay behind, cutting it, and moving them into another schema.

use std::time::Duration;

use tokio_postgres::types::Type;

use super::partition_tree::Table;
use super::raw;
use crate::postgres::client::Client;
use crate::postgres::query_error::QueryError;
use crate::postgres::quote::identifier;
use crate::postgres::system_catalog_text::{as_bytes, required, value};

/// For a statement in a scratch database, whose tables are empty.
const STATEMENT: Duration = Duration::from_secs(300);

/// Where what is in the way is put.
const ASIDE: &str = "pgbackupd_in_the_way";

/// A foreign key between a table that is taken and one that is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignKey {
    /// Its name, as SQL writes it.
    pub name: String,
    /// The table that it belongs to, as SQL writes it.
    pub table: String,
    /// The table that it points to, as SQL writes it.
    pub references: String,
    /// What follows `ADD CONSTRAINT name`.
    pub definition: String,
    /// Whether the table that it belongs to is taken.
    pub is_ours: bool,
}

/// What a table was a partition or child table of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// The table, as SQL writes it.
    pub child: String,
    /// What it was a part of, as SQL writes it.
    pub of: String,
    /// The statement that makes it that again.
    pub again: String,
}

/// What was cut.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detached {
    /// Tables that were partitions or child tables of others.
    pub parents: Vec<Parent>,
    /// Partitions and child tables that are foreign tables, as SQL writes them.
    pub foreign_tables: Vec<String>,
    /// Foreign keys from and to tables that are not taken.
    pub foreign_keys: Vec<ForeignKey>,
}

/// What the statements do that cut the tables loose.
const SEPARATE: &str = "separate the tables from the others";

/// Makes these tables stand alone: no parent and no foreign key to a table that is not among them.
/// Gives what was cut.
///
/// # Errors
/// The server does not answer, or refuses.
pub async fn detach(client: &Client, tables: &[Table]) -> Result<Detached, QueryError> {
    let oids: Vec<u32> = tables.iter().map(|table| table.oid).collect();
    Ok(Detached {
        parents: cut_from_parents(client, &oids).await?,
        foreign_tables: foreign_children(client, &oids).await?,
        foreign_keys: cut_foreign_keys(client, &oids).await?,
    })
}

/// The name of a table, as SQL writes it, by the expression that has its OID.
fn name_of(client: &Client, table: &str) -> String {
    as_bytes(
        client,
        &format!(
            "(SELECT quote_ident(n.nspname) || '.' || quote_ident(t.relname) FROM pg_class t \
              JOIN pg_namespace n ON n.oid = t.relnamespace WHERE t.oid = {table})"
        ),
    )
}

async fn cut_from_parents(client: &Client, oids: &[u32]) -> Result<Vec<Parent>, QueryError> {
    let sql = format!(
        "SELECT {child}, {parent}, c.relispartition, {bound} FROM pg_inherits i \
           JOIN pg_class c ON c.oid = i.inhrelid \
          WHERE i.inhrelid = ANY ($1) AND i.inhparent <> ALL ($1) ORDER BY 1, i.inhseqno",
        child = name_of(client, "i.inhrelid"),
        parent = name_of(client, "i.inhparent"),
        bound = as_bytes(client, "coalesce(pg_get_expr(c.relpartbound, c.oid), '')"),
    );
    let mut parents = Vec::new();
    for row in &client
        .query(SEPARATE, &sql, &[(&oids as _, Type::OID_ARRAY)])
        .await?
    {
        let child = required(client, SEPARATE, row, 0)?;
        let parent = required(client, SEPARATE, row, 1)?;
        let bound = required(client, SEPARATE, row, 3)?;
        let (cut, again) = if value(client, SEPARATE, row, 2)? {
            (
                format!("ALTER TABLE {parent} DETACH PARTITION {child}"),
                format!("ALTER TABLE {parent} ATTACH PARTITION {child} {bound}"),
            )
        } else {
            (
                format!("ALTER TABLE {child} NO INHERIT {parent}"),
                format!("ALTER TABLE {child} INHERIT {parent}"),
            )
        };
        client.execute(SEPARATE, &cut, STATEMENT).await?;
        parents.push(Parent {
            child,
            of: parent,
            again,
        });
    }
    Ok(parents)
}

async fn foreign_children(client: &Client, oids: &[u32]) -> Result<Vec<String>, QueryError> {
    let sql = format!(
        "SELECT {child} FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
          WHERE i.inhparent = ANY ($1) AND c.relkind = 'f' ORDER BY 1",
        child = name_of(client, "i.inhrelid"),
    );
    let rows = client
        .query(SEPARATE, &sql, &[(&oids as _, Type::OID_ARRAY)])
        .await?;
    rows.iter()
        .map(|row| required(client, SEPARATE, row, 0))
        .collect()
}

async fn cut_foreign_keys(client: &Client, oids: &[u32]) -> Result<Vec<ForeignKey>, QueryError> {
    // Those of partitions go with their root's.
    let sql = format!(
        "SELECT {constraint}, {table}, {references}, {definition}, k.conrelid = ANY ($1) \
           FROM pg_constraint k \
          WHERE k.contype = 'f' AND k.conparentid = 0 \
            AND (k.conrelid = ANY ($1)) <> (k.confrelid = ANY ($1)) ORDER BY 5 DESC, 2, 1",
        constraint = as_bytes(client, "quote_ident(k.conname)"),
        table = name_of(client, "k.conrelid"),
        references = name_of(client, "k.confrelid"),
        definition = as_bytes(client, "pg_get_constraintdef(k.oid)"),
    );
    let mut keys = Vec::new();
    for row in &client
        .query(SEPARATE, &sql, &[(&oids as _, Type::OID_ARRAY)])
        .await?
    {
        let key = ForeignKey {
            name: required(client, SEPARATE, row, 0)?,
            table: required(client, SEPARATE, row, 1)?,
            references: required(client, SEPARATE, row, 2)?,
            definition: required(client, SEPARATE, row, 3)?,
            is_ours: value(client, SEPARATE, row, 4)?,
        };
        let cut = format!("ALTER TABLE {} DROP CONSTRAINT {}", key.table, key.name);
        client.execute(SEPARATE, &cut, STATEMENT).await?;
        keys.push(key);
    }
    Ok(keys)
}

/// Moves tables into a schema, with their indexes, sequences and statistics objects; what bears one
/// of their names there is put aside.
///
/// # Errors
/// The server does not answer, or refuses: two of the tables have one name.
pub async fn move_into(client: &Client, tables: &[Table], schema: &str) -> Result<(), QueryError> {
    const WHAT: &str = "move the tables into their schema";
    let run = |sql: String| async move { client.execute(WHAT, &sql, STATEMENT).await };
    let target = identifier(schema);
    if !super::has_schema(client, schema).await? {
        run(format!("CREATE SCHEMA {target}")).await?;
    }
    let moving: Vec<u32> = tables
        .iter()
        .filter(|table| table.schema != schema)
        .map(|table| table.oid)
        .collect();
    let names = raw_names(client, &moving).await?;
    let in_the_way = format!(
        "SELECT DISTINCT {quoted} FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
           LEFT JOIN pg_index i ON i.indexrelid = c.oid \
           JOIN pg_class t ON t.oid = coalesce(i.indrelid, c.oid) \
          WHERE n.nspname::text = $1 AND {name} = ANY ($2) AND t.oid <> ALL ($3) \
            AND t.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')",
        quoted = as_bytes(
            client,
            "quote_ident(n.nspname) || '.' || quote_ident(t.relname)"
        ),
        name = raw("c.relname"),
    );
    let oids: Vec<u32> = tables.iter().map(|table| table.oid).collect();
    let parameters: &[_] = &[
        (&schema as _, Type::TEXT),
        (&names as _, Type::BYTEA_ARRAY),
        (&oids as _, Type::OID_ARRAY),
    ];
    let rows = client.query(WHAT, &in_the_way, parameters).await?;
    if !rows.is_empty() {
        run(format!("CREATE SCHEMA {ASIDE}")).await?;
    }
    for row in &rows {
        let other = required(client, WHAT, row, 0)?;
        run(format!("ALTER TABLE {other} SET SCHEMA {ASIDE}")).await?;
    }
    for table in tables.iter().filter(|table| table.schema != schema) {
        run(format!("ALTER TABLE {} SET SCHEMA {target}", table.quoted)).await?;
    }
    let sql = format!(
        "SELECT {quoted} FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace \
          WHERE s.stxrelid = ANY ($1) AND n.nspname::text <> $2",
        quoted = as_bytes(
            client,
            "quote_ident(n.nspname) || '.' || quote_ident(s.stxname)"
        ),
    );
    let parameters: &[_] = &[(&oids as _, Type::OID_ARRAY), (&schema as _, Type::TEXT)];
    for row in &client.query(WHAT, &sql, parameters).await? {
        let object = required(client, WHAT, row, 0)?;
        run(format!("ALTER STATISTICS {object} SET SCHEMA {target}")).await?;
    }
    Ok(())
}

/// The names of tables, of their indexes and of the sequences that they own, as the database holds
/// them.
async fn raw_names(client: &Client, oids: &[u32]) -> Result<Vec<Vec<u8>>, QueryError> {
    const WHAT: &str = "list what comes with the tables";
    let sql = format!("SELECT {} FROM ({OF_TABLES}) c", raw("c.relname"));
    let rows = client
        .query(WHAT, &sql, &[(&oids, Type::OID_ARRAY)])
        .await?;
    rows.iter().map(|row| value(client, WHAT, row, 0)).collect()
}

/// Tables with their indexes and own sequences.
const OF_TABLES: &str = "SELECT c.relname FROM pg_class c WHERE c.oid = ANY ($1) \
     UNION SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
            WHERE i.indrelid = ANY ($1) \
     UNION SELECT c.relname FROM pg_depend d JOIN pg_class c ON c.oid = d.objid \
            WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass \
              AND d.refobjid = ANY ($1) AND d.deptype IN ('a', 'i') AND c.relkind = 'S'";

/// Which of the names that come with these tables of a scratch database are taken in a schema of
/// another database: each as SQL writes it.
///
/// # Errors
/// A server does not answer, or refuses.
pub async fn taken(
    scratch: &Client,
    oids: &[u32],
    target: &Client,
    schema: &str,
) -> Result<Vec<String>, QueryError> {
    const WHAT: &str = "look at what is in the schema";
    let sql = format!(
        "SELECT {} FROM ({OF_TABLES}) c",
        as_bytes(scratch, "c.relname")
    );
    let rows = scratch
        .query(WHAT, &sql, &[(&oids, Type::OID_ARRAY)])
        .await?;
    let names: Result<Vec<String>, _> = rows
        .iter()
        .map(|row| required(scratch, WHAT, row, 0))
        .collect();
    let names = names?;
    let sql = format!(
        "SELECT {quoted} FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
          WHERE n.nspname::text = $1 AND c.relname::text = ANY ($2) ORDER BY c.relname",
        quoted = as_bytes(
            target,
            "quote_ident(n.nspname) || '.' || quote_ident(c.relname)"
        ),
    );
    let parameters: &[_] = &[(&schema as _, Type::TEXT), (&names as _, Type::TEXT_ARRAY)];
    let rows = target.query(WHAT, &sql, parameters).await?;
    rows.iter()
        .map(|row| required(target, WHAT, row, 0))
        .collect()
}

/// The statements that make the statistics objects of these tables, which `pg_dump` leaves out when
/// single tables are dumped.
///
/// # Errors
/// The server does not answer, or refuses.
pub async fn statistics(client: &Client, oids: &[u32]) -> Result<Vec<String>, QueryError> {
    const WHAT: &str = "read the statistics objects of the tables";
    let target = if client.server_major() >= 17 {
        "coalesce(s.stxstattarget, -1)::int4"
    } else {
        "s.stxstattarget::int4"
    };
    let sql = format!(
        "SELECT {definition}, {quoted}, {target}, {owner}, {comment} \
           FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace \
          WHERE s.stxrelid = ANY ($1) ORDER BY 1",
        definition = as_bytes(client, "pg_get_statisticsobjdef(s.oid)"),
        quoted = as_bytes(
            client,
            "quote_ident(n.nspname) || '.' || quote_ident(s.stxname)"
        ),
        owner = as_bytes(client, "quote_ident(pg_get_userbyid(s.stxowner))"),
        comment = as_bytes(
            client,
            "coalesce(quote_literal(obj_description(s.oid, 'pg_statistic_ext')), '')"
        ),
    );
    let rows = client
        .query(WHAT, &sql, &[(&oids, Type::OID_ARRAY)])
        .await?;
    let mut statements = Vec::new();
    for row in &rows {
        let name = required(client, WHAT, row, 1)?;
        let target: i32 = value(client, WHAT, row, 2)?;
        let owner = required(client, WHAT, row, 3)?;
        let comment = required(client, WHAT, row, 4)?;
        statements.push(required(client, WHAT, row, 0)?);
        if target >= 0 {
            statements.push(format!("ALTER STATISTICS {name} SET STATISTICS {target}"));
        }
        if !comment.is_empty() {
            statements.push(format!("COMMENT ON STATISTICS {name} IS {comment}"));
        }
        statements.push(format!("ALTER STATISTICS {name} OWNER TO {owner}"));
    }
    Ok(statements)
}
