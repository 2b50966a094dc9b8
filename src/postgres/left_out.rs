//! What `pg_dump` leaves out of a dump although the database has it.
//!
//! Each kind is `pg_dump`'s own rule (`pg_dump.c`): on a standby it reads no unlogged table
//! (`makeTableDataInfo`); of a table that an extension owns it writes rows only where the extension marks
//! them (`processExtensionTables`); options of user mappings come from a view that hides them
//! (`dumpUserMappings`); subscriptions need a superuser (`getSubscriptions`); and of the system's own
//! schemas it writes privileges alone (`selectDumpableNamespace`). There is no statement that gives an
//! extension to another role.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::client::Client;
use super::query_error::QueryError;
use super::system_catalog_text::{as_bytes, required, value};

/// So many objects of a kind are named; the rest is counted.
const NAMED: usize = 20;

/// So many tables of extensions are looked into.
const LOOKED_INTO: usize = 100;

/// For a look into one of them.
const LOOK: Duration = Duration::from_secs(3);

/// What has a smaller number was made by initdb (`FirstNormalObjectId` in `PostgreSQL`'s `transam.h`).
const FIRST_OF_USERS: u32 = 16384;

/// Something that the database has and its dump does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// What it is.
    pub what: LeftOutKind,
    /// Of so many objects.
    pub count: u64,
    /// The first of them, in the order of their names, as SQL writes them.
    pub objects: Vec<String>,
}

/// What a dump leaves out. A new kind is documented in `docs/files.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeftOutKind {
    /// Rows of unlogged tables, and values of unlogged sequences, on a standby.
    UnloggedRows,
    /// Rows of tables that an extension owns and does not mark.
    ExtensionRows,
    /// Options of user mappings that the role of the backup may not read.
    UserMappingOptions,
    /// Subscriptions, for whoever is no superuser.
    Subscriptions,
    /// What users have made in `pg_catalog` or `information_schema`.
    SystemSchemaObjects,
    /// Owners that cannot make their extension themselves.
    ExtensionOwners,
    /// A kind of a newer program.
    #[serde(other)]
    Other,
}

impl LeftOut {
    /// What is not there, why, and what helps, in one sentence.
    pub fn sentence(&self) -> String {
        let (what, way) = match self.what {
            LeftOutKind::UnloggedRows => (
                "a standby does not have the rows of unlogged tables, so they are not in the backup",
                "; a backup of the primary has them",
            ),
            LeftOutKind::ExtensionRows => (
                "pg_dump leaves out tables that an extension owns, so their rows are not in the backup",
                "; ALTER EXTENSION … DROP TABLE … takes out a table that the extension does not need",
            ),
            LeftOutKind::UserMappingOptions => (
                "the role of the backup may not read the options of user mappings, so they are not in \
                 the backup",
                "; a backup by a superuser has them",
            ),
            LeftOutKind::Subscriptions => (
                "only a superuser can dump subscriptions, so they are not in the backup",
                "; a backup by a superuser has them",
            ),
            LeftOutKind::SystemSchemaObjects => (
                "pg_dump leaves out what users have made in schemas of the system, so it is not in the \
                 backup",
                "; keep the statements that make it",
            ),
            LeftOutKind::ExtensionOwners => (
                "a restore cannot give these extensions to their owners, who may not create them",
                "; they will belong to the restoring user",
            ),
            LeftOutKind::Other => ("something is not in the backup", ""),
        };
        let objects = self.objects.join(", ");
        let named = self.objects.len() as u64;
        if self.count > named {
            format!("{what}: {objects} and {} more{way}", self.count - named)
        } else {
            format!("{what}: {objects}{way}")
        }
    }
}

/// Asks the server what a dump of this database by this role leaves out. Nothing is asked of the database's
/// own code, and every answer has a limit.
///
/// # Errors
/// The server does not answer, or refuses.
pub async fn left_out(client: &Client) -> Result<Vec<LeftOut>, QueryError> {
    let mut found = Vec::new();
    if client.is_on_standby() {
        found.extend(unlogged_rows(client).await?);
    }
    found.extend(extension_rows(client).await?);
    found.extend(user_mapping_options(client).await?);
    found.extend(subscriptions(client).await?);
    found.extend(system_schema_objects(client).await?);
    found.extend(extension_owners(client).await?);
    Ok(found)
}

/// The first objects of a kind, by an expression for their names, and how many there are.
async fn listed(
    client: &Client,
    what: LeftOutKind,
    name: &str,
    from: &str,
) -> Result<Option<LeftOut>, QueryError> {
    const WHAT: &str = "ask what pg_dump leaves out";
    let sql = format!(
        "SELECT {}, pg_catalog.count(*) OVER () FROM {from} ORDER BY 1 LIMIT {NAMED}",
        as_bytes(client, name)
    );
    let rows = client.query(WHAT, &sql, &[]).await?;
    let Some(first) = rows.first() else {
        return Ok(None);
    };
    let count: i64 = value(client, WHAT, first, 1)?;
    let names = rows.iter().map(|row| required(client, WHAT, row, 0));
    Ok(Some(LeftOut {
        what,
        count: u64::try_from(count).unwrap_or_default(),
        objects: names.collect::<Result<_, _>>()?,
    }))
}

/// Sequences of such a table's columns go with the table.
async fn unlogged_rows(client: &Client) -> Result<Option<LeftOut>, QueryError> {
    let from = "pg_catalog.pg_class c \
          JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relpersistence = 'u' AND c.relkind IN ('r', 'S') \
           AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d \
                            WHERE c.relkind = 'S' AND d.deptype IN ('a', 'i') AND d.objid = c.oid \
                              AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass \
                              AND d.refclassid = d.classid)";
    let name = "pg_catalog.format('%I.%I', n.nspname, c.relname)";
    listed(client, LeftOutKind::UnloggedRows, name, from).await
}

/// A table that an extension owns without marking it.
struct Unmarked {
    /// As SQL writes it.
    table: String,
    extension: String,
    /// The transaction and the command in it that made the table a member.
    transaction: String,
    command: String,
    /// Whether that was the extension's script.
    by_script: bool,
}

async fn extension_rows(client: &Client) -> Result<Option<LeftOut>, QueryError> {
    let mut objects = Vec::new();
    for one in unmarked_tables(client).await? {
        if one.has_rows_of_its_own(client).await? {
            objects.push(format!("{} ({})", one.table, one.extension));
        }
    }
    let count = objects.len() as u64;
    objects.truncate(NAMED);
    Ok((count > 0).then_some(LeftOut {
        what: LeftOutKind::ExtensionRows,
        count,
        objects,
    }))
}

async fn unmarked_tables(client: &Client) -> Result<Vec<Unmarked>, QueryError> {
    const WHAT: &str = "ask which tables extensions own";
    let sql = format!(
        "SELECT {table}, {extension}, d.xmin::text, d.cmin::text, \
                e.xmin = d.xmin OR EXISTS (SELECT FROM pg_catalog.pg_depend o \
                  WHERE o.refclassid = d.refclassid AND o.refobjid = d.refobjid AND o.deptype = 'e' \
                    AND o.classid NOT IN ('pg_catalog.pg_class'::pg_catalog.regclass, \
                                          'pg_catalog.pg_type'::pg_catalog.regclass) \
                    AND o.xmin = d.xmin) \
           FROM pg_catalog.pg_depend d \
           JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid \
           JOIN pg_catalog.pg_class c ON c.oid = d.objid \
           JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
          WHERE d.deptype = 'e' \
            AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass \
            AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass \
            AND c.relkind = 'r' AND (e.extconfig IS NULL OR c.oid <> ALL (e.extconfig)) \
            AND (c.relpersistence = 'p' \
                 OR c.relpersistence = 'u' AND NOT pg_catalog.pg_is_in_recovery()) \
            AND pg_catalog.pg_relation_size(c.oid) > 0 \
          ORDER BY 1 LIMIT {LOOKED_INTO}",
        table = as_bytes(client, "pg_catalog.format('%I.%I', n.nspname, c.relname)"),
        extension = as_bytes(client, "e.extname"),
    );
    let rows = client.query(WHAT, &sql, &[]).await?;
    rows.iter()
        .map(|row| {
            Ok(Unmarked {
                table: required(client, WHAT, row, 0)?,
                extension: required(client, WHAT, row, 1)?,
                transaction: value(client, WHAT, row, 2)?,
                command: value(client, WHAT, row, 3)?,
                by_script: value(client, WHAT, row, 4)?,
            })
        })
        .collect()
}

impl Unmarked {
    /// Whether it has rows that CREATE EXTENSION does not bring back: any that the script which made the
    /// table did not put there. A table that cannot be read counts as one that has.
    async fn has_rows_of_its_own(&self, client: &Client) -> Result<bool, QueryError> {
        const WHAT: &str = "look into a table of an extension";
        let Self {
            table,
            transaction,
            command,
            ..
        } = self;
        // Rows keep their transaction when they are frozen, and a script fills what it has made before.
        let but_the_scripts = if self.by_script {
            format!(
                " WHERE NOT (t.xmin::text = '{transaction}' \
                   AND t.cmin::text::pg_catalog.int8 > {command})"
            )
        } else {
            String::new()
        };
        let sql = format!("SELECT EXISTS (SELECT FROM ONLY {table} AS t{but_the_scripts})");
        // It may be locked, or large.
        client.execute(WHAT, "SELECT 1", LOOK).await?;
        let asked = client.query(WHAT, &sql, &[]).await;
        client
            .execute(WHAT, "RESET statement_timeout", LOOK)
            .await?;
        match asked {
            Ok(rows) => match rows.first() {
                Some(row) => value(client, WHAT, row, 0),
                None => Ok(true),
            },
            Err(error) if error.sqlstate.is_some() => Ok(true),
            Err(error) => Err(error),
        }
    }
}

async fn user_mapping_options(client: &Client) -> Result<Option<LeftOut>, QueryError> {
    const WHAT: &str = "ask what our user may read";
    let sql = "SELECT pg_catalog.has_table_privilege('pg_catalog.pg_user_mapping', 'SELECT')";
    let rows = client.query(WHAT, sql, &[]).await?;
    let may_read = match rows.first() {
        Some(row) => value(client, WHAT, row, 0)?,
        None => false,
    };
    // Who may not read the options themselves does not know whether there are any: it is the view's own
    // condition that hides them (pg_user_mappings in `PostgreSQL`'s `system_views.sql`).
    let hidden = if may_read {
        "EXISTS (SELECT FROM pg_catalog.pg_user_mapping m \
                  WHERE m.oid = v.umid AND m.umoptions IS NOT NULL)"
    } else {
        "NOT (CASE WHEN v.umuser = 0 THEN pg_catalog.pg_has_role(s.srvowner, 'USAGE') \
              ELSE v.usename = CURRENT_USER AND (pg_catalog.pg_has_role(s.srvowner, 'USAGE') \
                   OR pg_catalog.has_server_privilege(s.oid, 'USAGE')) END)"
    };
    let from = format!(
        "pg_catalog.pg_user_mappings v JOIN pg_catalog.pg_foreign_server s ON s.oid = v.srvid \
          WHERE v.umoptions IS NULL AND {hidden}"
    );
    let name = "pg_catalog.format('%I on %I', v.usename, v.srvname)";
    listed(client, LeftOutKind::UserMappingOptions, name, &from).await
}

async fn subscriptions(client: &Client) -> Result<Option<LeftOut>, QueryError> {
    let from = "pg_catalog.pg_subscription s \
          JOIN pg_catalog.pg_database d ON d.oid = s.subdbid \
         WHERE d.datname = pg_catalog.current_database() \
           AND pg_catalog.current_setting('is_superuser') <> 'on'";
    let name = "pg_catalog.format('%I', s.subname)";
    listed(client, LeftOutKind::Subscriptions, name, from).await
}

/// Relations, functions and types; what else there is needs one of them.
async fn system_schema_objects(client: &Client) -> Result<Option<LeftOut>, QueryError> {
    let from = format!(
        "(SELECT 'pg_catalog.pg_class'::pg_catalog.regclass AS class, c.oid, c.relnamespace AS schema, \
                 pg_catalog.format('%I', c.relname) AS name \
            FROM pg_catalog.pg_class c WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') \
          UNION ALL \
          SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass, p.oid, p.pronamespace, \
                 pg_catalog.format('%I(%s)', p.proname, \
                   pg_catalog.pg_get_function_identity_arguments(p.oid)) \
            FROM pg_catalog.pg_proc p \
          UNION ALL \
          SELECT 'pg_catalog.pg_type'::pg_catalog.regclass, t.oid, t.typnamespace, \
                 pg_catalog.format('%I', t.typname) \
            FROM pg_catalog.pg_type t \
           WHERE t.typtype IN ('b', 'd', 'e', 'r') AND t.typcategory <> 'A') AS o \
          JOIN pg_catalog.pg_namespace n ON n.oid = o.schema \
         WHERE o.oid >= {FIRST_OF_USERS} AND n.nspname IN ('pg_catalog', 'information_schema') \
           AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d \
                            WHERE d.classid = o.class AND d.objid = o.oid AND d.objsubid = 0 \
                              AND d.deptype IN ('e', 'i'))"
    );
    let name = "n.nspname || '.' || o.name";
    listed(client, LeftOutKind::SystemSchemaObjects, name, &from).await
}

/// Whether an extension needs a superuser is in its control file, which need not be there any more.
async fn extension_owners(client: &Client) -> Result<Option<LeftOut>, QueryError> {
    let from = "pg_catalog.pg_extension e \
          JOIN pg_catalog.pg_roles r ON r.oid = e.extowner \
          JOIN pg_catalog.pg_available_extension_versions v \
            ON v.name = e.extname AND v.version = e.extversion \
         WHERE NOT r.rolsuper AND v.superuser AND NOT v.trusted";
    let name = "pg_catalog.format('%I (%I)', e.extname, r.rolname)";
    match listed(client, LeftOutKind::ExtensionOwners, name, from).await {
        // A control file that cannot be read keeps nobody from dumping.
        Err(error) if error.sqlstate.is_some() => Ok(None),
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_named_and_the_rest_counted() {
        for (what, count, objects, expected) in [
            (
                LeftOutKind::UnloggedRows,
                1,
                vec!["public.cache"],
                "a standby does not have the rows of unlogged tables, so they are not in the backup: \
                 public.cache; a backup of the primary has them",
            ),
            (
                LeftOutKind::Subscriptions,
                7,
                vec!["a", "b"],
                "only a superuser can dump subscriptions, so they are not in the backup: a, b and 5 \
                 more; a backup by a superuser has them",
            ),
        ] {
            let objects = objects.into_iter().map(str::to_owned).collect();
            let one = LeftOut {
                what,
                count,
                objects,
            };
            assert_eq!(one.sentence(), expected);
        }
    }

    #[test]
    fn a_kind_of_a_newer_program_can_be_read() {
        let text = r#"{"what": "moon_phases", "count": 1, "objects": ["x"]}"#;
        let one: LeftOut = serde_json::from_str(text).unwrap();
        assert_eq!(one.what, LeftOutKind::Other);
        assert_eq!(one.sentence(), "something is not in the backup: x");
        let text = serde_json::to_string(&LeftOutKind::UserMappingOptions).unwrap();
        assert_eq!(text, "\"user_mapping_options\"");
    }
}
