//! What is bound to a database and does not follow when another one takes its name.

use tokio_postgres::types::Type;

use super::client::Client;
use super::query_error::QueryError;
use super::system_catalog_text::{as_bytes, required};

/// "invalid parameter value"
const INVALID: &str = "22023";

const SUBSCRIPTIONS: &str = "FROM pg_catalog.pg_subscription s \
    JOIN pg_catalog.pg_database d ON d.oid = s.subdbid WHERE d.datname::text = $1";

/// What is bound to a database by the server, whatever its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dependents {
    /// Prepared transactions; they keep it from being renamed.
    pub prepared: Vec<String>,
    /// Logical replication slots.
    pub slots: Vec<String>,
    /// Subscriptions that are enabled.
    pub subscriptions: Vec<String>,
}

/// Asks what is bound to a database. The client may be connected to any of the server's.
///
/// # Errors
/// The server does not answer, or refuses.
pub async fn dependents(client: &Client, database: &str) -> Result<Dependents, QueryError> {
    let names = async |expression, from| names(client, database, expression, from).await;
    Ok(Dependents {
        prepared: names(
            "gid",
            "FROM pg_catalog.pg_prepared_xacts WHERE database::text = $1",
        )
        .await?,
        slots: names(
            "slot_name",
            "FROM pg_catalog.pg_replication_slots WHERE database::text = $1",
        )
        .await?,
        subscriptions: names("s.subname", &format!("{SUBSCRIPTIONS} AND s.subenabled")).await?,
    })
}

/// The subscriptions of a database, enabled or not: they keep it from being dropped. The client may be
/// connected to any of the server's.
///
/// # Errors
/// The server does not answer, or refuses.
pub async fn subscriptions(client: &Client, database: &str) -> Result<Vec<String>, QueryError> {
    names(client, database, "s.subname", SUBSCRIPTIONS).await
}

async fn names(
    client: &Client,
    database: &str,
    expression: &str,
    from: &str,
) -> Result<Vec<String>, QueryError> {
    const WHAT: &str = "ask what is bound to the database";
    let sql = format!("SELECT {} {from} ORDER BY 1", as_bytes(client, expression));
    let rows = client
        .query(WHAT, &sql, &[(&database as _, Type::TEXT)])
        .await?;
    rows.iter()
        .map(|row| required(client, WHAT, row, 0))
        .collect()
}

/// Whether the server knows a time zone.
///
/// # Errors
/// The server does not answer.
pub async fn knows_time_zone(client: &Client, zone: &str) -> Result<bool, QueryError> {
    let set = "SELECT pg_catalog.set_config('TimeZone', $1, true)";
    let asked = client
        .query("ask for a time zone", set, &[(&zone as _, Type::TEXT)])
        .await;
    match asked {
        Ok(_) => Ok(true),
        Err(error) if error.sqlstate.as_deref() == Some(INVALID) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Which of these locales the server does not know. None is made for it: the server checks the value
/// of a setting (`lc_time`) as it checks a database's locale.
///
/// # Errors
/// The server does not answer.
pub async fn missing_locales(client: &Client, locales: &[&str]) -> Result<Vec<String>, QueryError> {
    const WHAT: &str = "ask for a locale";
    let mut missing = Vec::new();
    for locale in locales {
        let sql = "SELECT pg_catalog.set_config('lc_time', $1, true)";
        match client.query(WHAT, sql, &[(locale as _, Type::TEXT)]).await {
            Ok(_) => {}
            Err(error) if error.sqlstate.as_deref() == Some(INVALID) => {
                missing.push((*locale).to_owned());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(missing)
}

/// Whether the scripts of one of these extensions, as they are installed on the server, declare something
/// to fire whatever the role of the session. Only a superuser, or who may read the server's files, can ask.
///
/// # Errors
/// The server refuses, or does not answer.
pub async fn bring_what_always_fires(
    client: &Client,
    extensions: &[String],
) -> Result<bool, QueryError> {
    const WHAT: &str = "read the scripts of extensions";
    // A file of another one may be of any encoding, and is not read.
    let sql = r"SELECT EXISTS (SELECT FROM pg_catalog.pg_config AS c
        CROSS JOIN LATERAL pg_catalog.pg_ls_dir(c.setting || '/extension') AS file
        WHERE c.name = 'SHAREDIR' AND CASE WHEN file LIKE '%--%.sql'
                    AND pg_catalog.split_part(file, '--', 1) = ANY ($1)
              THEN pg_catalog.pg_read_file(c.setting || '/extension/' || file)
                   ~* 'enable\s+(always|replica)'
              ELSE false END)";
    let rows = client
        .query(WHAT, sql, &[(&extensions, Type::TEXT_ARRAY)])
        .await?;
    let row = rows
        .first()
        .ok_or_else(|| client.odd_answer(WHAT, &"no row"))?;
    row.try_get(0)
        .map_err(|error| client.odd_answer(WHAT, &error))
}
