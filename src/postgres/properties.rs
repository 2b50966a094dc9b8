//! What a manifest records of a database and its server: all that a plain dump does not carry, and
//! that whoever creates the database again has to know.

use std::fmt;

use serde::{Deserialize, Serialize};
use tokio_postgres::types::Type;

use super::client::Client;
use super::preload::library_list;
use super::query_error::QueryError;
use super::quote::identifier;
use super::system_catalog_text::{as_bytes, optional, required, value};

/// The properties of a database. Text that is not UTF-8 on the server has U+FFFD in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseProperties {
    /// Its name.
    pub name: String,
    /// Its encoding, as the server calls it: `UTF8`.
    pub encoding: String,
    /// What sorts and classifies text: `libc`, `icu` or `builtin`. Before version 15 always `libc`.
    pub locale_provider: String,
    /// `LC_COLLATE`.
    pub lc_collate: String,
    /// `LC_CTYPE`.
    pub lc_ctype: String,
    /// The locale of the provider `icu` or `builtin`.
    pub locale: Option<String>,
    /// Rules that change ICU's order.
    pub icu_rules: Option<String>,
    /// The version of the collation when the database was made; indexes on text depend on it.
    pub collation_version: Option<String>,
    /// The role that owns it.
    pub owner: String,
    /// Its default tablespace.
    pub tablespace: Option<String>,
    /// How many connections it admits at a time; -1 means any number.
    pub connection_limit: i32,
    /// Whether it is a template.
    pub is_template: bool,
    /// Whether it accepts connections.
    pub allow_connections: bool,
    /// Its privileges, one `grantee=rights/grantor` each; null when they were never changed.
    pub privileges: Option<Vec<String>>,
    /// Its comment.
    pub comment: Option<String>,
    /// Its security labels; none in manifests of programs that did not ask.
    #[serde(default)]
    pub labels: Vec<SecurityLabel>,
    /// What `ALTER DATABASE … SET` and `ALTER ROLE … IN DATABASE … SET` have set.
    pub settings: Vec<Setting>,
    /// Its extensions.
    pub extensions: Vec<Extension>,
    /// The libraries that its functions in C are in, but for `PostgreSQL`'s own, as they were declared:
    /// `$libdir/pg_cron`. None in manifests of programs that did not ask.
    #[serde(default)]
    pub libraries: Vec<String>,
    /// Its size on the server's disk.
    pub size_bytes: u64,
}

/// A setting that takes effect when somebody connects to the database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// For this role only; null for everybody.
    pub role: Option<String>,
    /// `name=value`
    pub setting: String,
}

/// A setting of a server. Its value may be a secret of an application's, and is shown nowhere.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerSetting {
    /// Its name.
    pub name: String,
    /// Its value, as the server shows it.
    pub value: String,
}

impl fmt::Debug for ServerSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerSetting")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A security label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SecurityLabel {
    /// Who makes something of it.
    pub provider: String,
    /// What it says.
    pub label: String,
}

/// An extension that the database has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extension {
    /// Its name.
    pub name: String,
    /// Its version; restoring may install another one.
    pub version: String,
    /// The schema of its objects.
    pub schema: String,
    /// The role that owns it, which no dump names; null in manifests of programs that did not ask.
    #[serde(default)]
    pub owner: Option<String>,
}

/// The properties of a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerProperties {
    /// What `version()` says.
    pub version: String,
    /// The same as a number: 150018 for 15.18.
    pub version_number: u32,
    /// The identity of its data directory and of all standbys of it; null when we may not ask.
    /// Text, because it does not fit into the numbers of JSON.
    pub system_identifier: Option<String>,
    /// Whether it is a standby, or is recovering from a crash.
    pub in_recovery: bool,
    /// Whether its pages bear checksums.
    pub data_checksums: bool,
    /// The time zone of a session of the database that says nothing else; null in manifests of
    /// programs that did not ask.
    #[serde(default)]
    pub timezone: Option<String>,
    /// The libraries that it loads when it starts (`shared_preload_libraries`), as they were written;
    /// null when we may not ask, and in manifests of programs that did not.
    #[serde(default)]
    pub preload: Option<Vec<String>>,
    /// Settings that decide how a dump is read, or what the functions in it do; none in manifests of
    /// programs that did not ask.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<ServerSetting>,
}

impl ServerProperties {
    /// The major version: 15 for 15.18.
    pub fn major(&self) -> u32 {
        self.version_number / 10_000
    }
}

/// The locales of the operating system that a database like this one needs, but for those that every
/// server has.
pub fn locales(properties: &DatabaseProperties) -> Vec<&str> {
    let mut locales = vec![&*properties.lc_collate, &*properties.lc_ctype];
    locales.dedup();
    locales.retain(|locale| !["C", "POSIX"].contains(locale));
    locales
}

/// Reads the properties of the database that the client is connected to.
///
/// # Errors
/// The server does not answer, or refuses.
#[expect(
    clippy::too_many_lines,
    reason = "one query and its columns, in their order"
)]
pub async fn database_properties(client: &Client) -> Result<DatabaseProperties, QueryError> {
    const WHAT: &str = "read the database's properties";
    let bytes = |expression: &str| as_bytes(client, expression);
    let version = client.server_version_number();
    // The columns of the system catalog (pg_database in the manuals of 14, 15, 16 and 17).
    let (provider, collation_version) = if version >= 150_000 {
        (
            "CASE d.datlocprovider WHEN 'c' THEN 'libc' WHEN 'i' THEN 'icu' \
             WHEN 'b' THEN 'builtin' ELSE d.datlocprovider::text END",
            "d.datcollversion",
        )
    } else {
        ("'libc'", "NULL")
    };
    let locale = match version {
        170_000.. => "d.datlocale",
        150_000.. => "d.daticulocale",
        _ => "NULL",
    };
    let icu_rules = if version >= 160_000 {
        "d.daticurules"
    } else {
        "NULL"
    };
    let sql = format!(
        "SELECT {name}, pg_catalog.pg_encoding_to_char(d.encoding)::text, {provider}, \
                {collate}, {ctype}, {locale}, {icu_rules}, {collation_version}, {owner}, \
                {tablespace}, d.datconnlimit, d.datistemplate, d.datallowconn, \
                d.datacl IS NOT NULL, \
                ARRAY(SELECT {acl} FROM pg_catalog.unnest(d.datacl) WITH ORDINALITY AS a (item, n) \
                       ORDER BY n), \
                {comment}, pg_catalog.pg_database_size(d.oid) \
           FROM pg_catalog.pg_database d \
           LEFT JOIN pg_catalog.pg_tablespace t ON t.oid = d.dattablespace \
          WHERE d.datname = pg_catalog.current_database()",
        name = bytes("d.datname"),
        collate = bytes("d.datcollate"),
        ctype = bytes("d.datctype"),
        locale = bytes(locale),
        icu_rules = bytes(icu_rules),
        collation_version = bytes(collation_version),
        owner = bytes("pg_catalog.pg_get_userbyid(d.datdba)"),
        tablespace = bytes("t.spcname"),
        acl = bytes("a.item"),
        comment = bytes("pg_catalog.shobj_description(d.oid, 'pg_database')"),
    );
    let rows = client.query(WHAT, &sql, &[]).await?;
    let [row] = rows.as_slice() else {
        return Err(client.odd_answer(WHAT, &"the server does not list it any more"));
    };
    let text = |column| required(client, WHAT, row, column);
    let maybe_text = |column| optional(client, WHAT, row, column);
    let has_privileges: bool = value(client, WHAT, row, 13)?;
    let privileges: Vec<Vec<u8>> = value(client, WHAT, row, 14)?;
    Ok(DatabaseProperties {
        name: text(0)?,
        encoding: value(client, WHAT, row, 1)?,
        locale_provider: value(client, WHAT, row, 2)?,
        lc_collate: text(3)?,
        lc_ctype: text(4)?,
        locale: maybe_text(5)?,
        icu_rules: maybe_text(6)?,
        collation_version: maybe_text(7)?,
        owner: text(8)?,
        tablespace: maybe_text(9)?,
        connection_limit: value(client, WHAT, row, 10)?,
        is_template: value(client, WHAT, row, 11)?,
        allow_connections: value(client, WHAT, row, 12)?,
        privileges: has_privileges.then(|| {
            privileges
                .iter()
                .map(|item| String::from_utf8_lossy(item).into_owned())
                .collect()
        }),
        comment: maybe_text(15)?,
        // A size is not negative.
        size_bytes: u64::try_from(value::<i64>(client, WHAT, row, 16)?).unwrap_or_default(),
        labels: security_labels(client).await?,
        settings: settings(client).await?,
        extensions: extensions(client).await?,
        libraries: libraries(client).await?,
    })
}

async fn security_labels(client: &Client) -> Result<Vec<SecurityLabel>, QueryError> {
    const WHAT: &str = "read the database's security labels";
    let sql = format!(
        "SELECT {provider}, {label} \
           FROM pg_catalog.pg_shseclabel l \
           JOIN pg_catalog.pg_database d \
             ON l.classoid = 'pg_catalog.pg_database'::pg_catalog.regclass AND l.objoid = d.oid \
          WHERE d.datname = pg_catalog.current_database() \
          ORDER BY l.provider",
        provider = as_bytes(client, "l.provider"),
        label = as_bytes(client, "l.label"),
    );
    let rows = client.query(WHAT, &sql, &[]).await?;
    rows.iter()
        .map(|row| {
            Ok(SecurityLabel {
                provider: required(client, WHAT, row, 0)?,
                label: required(client, WHAT, row, 1)?,
            })
        })
        .collect()
}

async fn settings(client: &Client) -> Result<Vec<Setting>, QueryError> {
    const WHAT: &str = "read the database's settings";
    let sql = format!(
        "SELECT {role}, {setting} \
           FROM pg_catalog.pg_db_role_setting s \
           JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase \
           LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole \
          CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) AS c (item) \
          WHERE d.datname = pg_catalog.current_database() \
          ORDER BY s.setrole <> 0, r.rolname, c.item",
        role = as_bytes(client, "r.rolname"),
        setting = as_bytes(client, "c.item"),
    );
    let rows = client.query(WHAT, &sql, &[]).await?;
    rows.iter()
        .map(|row| {
            Ok(Setting {
                role: optional(client, WHAT, row, 0)?,
                setting: required(client, WHAT, row, 1)?,
            })
        })
        .collect()
}

async fn extensions(client: &Client) -> Result<Vec<Extension>, QueryError> {
    const WHAT: &str = "read the database's extensions";
    let sql = format!(
        "SELECT {name}, {version}, {schema}, {owner} \
           FROM pg_catalog.pg_extension e \
           JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace \
          ORDER BY e.extname",
        name = as_bytes(client, "e.extname"),
        version = as_bytes(client, "e.extversion"),
        schema = as_bytes(client, "n.nspname"),
        owner = as_bytes(client, "pg_catalog.pg_get_userbyid(e.extowner)"),
    );
    let rows = client.query(WHAT, &sql, &[]).await?;
    rows.iter()
        .map(|row| {
            Ok(Extension {
                name: required(client, WHAT, row, 0)?,
                version: required(client, WHAT, row, 1)?,
                schema: required(client, WHAT, row, 2)?,
                owner: optional(client, WHAT, row, 3)?,
            })
        })
        .collect()
}

/// What has a smaller number was made by initdb (`FirstNormalObjectId` in `PostgreSQL`'s `transam.h`).
const FIRST_OF_USERS: u32 = 16384;

async fn libraries(client: &Client) -> Result<Vec<String>, QueryError> {
    const WHAT: &str = "read the libraries of the database's functions";
    let sql = format!(
        "SELECT {library} FROM (SELECT DISTINCT p.probin FROM pg_catalog.pg_proc p \
          WHERE p.probin IS NOT NULL AND p.oid >= {FIRST_OF_USERS}) AS l (library) \
          ORDER BY l.library",
        library = as_bytes(client, "l.library"),
    );
    let rows = client.query(WHAT, &sql, &[]).await?;
    rows.iter()
        .map(|row| required(client, WHAT, row, 0))
        .collect()
}

/// Reads the properties of the server.
///
/// # Errors
/// The server does not answer, or refuses.
pub async fn server_properties(client: &Client) -> Result<ServerProperties, QueryError> {
    const WHAT: &str = "read the server's properties";
    let rows = client
        .query(
            WHAT,
            "SELECT pg_catalog.version(), pg_catalog.pg_is_in_recovery(), \
                    pg_catalog.current_setting('data_checksums') = 'on', \
                    pg_catalog.current_setting('TimeZone')",
            &[],
        )
        .await?;
    let [row] = rows.as_slice() else {
        return Err(client.odd_answer(WHAT, &"the server's answer is empty"));
    };
    Ok(ServerProperties {
        version: value(client, WHAT, row, 0)?,
        version_number: client.server_version_number(),
        system_identifier: system_identifier(client).await?,
        in_recovery: value(client, WHAT, row, 1)?,
        data_checksums: value(client, WHAT, row, 2)?,
        timezone: value(client, WHAT, row, 3)?,
        preload: preload(client).await?,
        // Which ones is known when the dump was read.
        settings: Vec::new(),
    })
}

/// What the server loads when it starts. A view leaves it out for whoever may not know
/// (`pg_read_all_settings`), where asking for it would be an error.
async fn preload(client: &Client) -> Result<Option<Vec<String>>, QueryError> {
    const WHAT: &str = "read what the server loads when it starts";
    let sql = format!(
        "SELECT {} FROM pg_catalog.pg_settings WHERE name = 'shared_preload_libraries'",
        as_bytes(client, "setting")
    );
    let rows = client.query(WHAT, &sql, &[]).await?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    Ok(Some(library_list(&required(client, WHAT, row, 0)?)))
}

/// Some providers let nobody ask.
async fn system_identifier(client: &Client) -> Result<Option<String>, QueryError> {
    const WHAT: &str = "read the server's identity";
    let sql = "SELECT system_identifier::text FROM pg_catalog.pg_control_system()";
    match client.query(WHAT, sql, &[]).await {
        Ok(rows) => rows
            .first()
            .map(|row| value(client, WHAT, row, 0))
            .transpose(),
        Err(error) if matches!(error.sqlstate.as_deref(), Some("42501" | "42883")) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The databases of the server that accept connections and are no templates, sorted by the bytes of
/// their names. Of a name that is not UTF-8 the server will say that it does not exist.
///
/// # Errors
/// The server does not answer, or refuses.
pub async fn discover(client: &Client) -> Result<Vec<String>, QueryError> {
    const WHAT: &str = "list the server's databases";
    // A connection limit of -2 marks what a DROP DATABASE has left half done.
    let sql = format!(
        "SELECT {} FROM pg_catalog.pg_database d \
          WHERE d.datallowconn AND NOT d.datistemplate AND d.datconnlimit <> -2",
        as_bytes(client, "d.datname")
    );
    let rows = client.query(WHAT, &sql, &[]).await?;
    let names: Result<Vec<_>, _> = rows
        .iter()
        .map(|row| required(client, WHAT, row, 0))
        .collect();
    let mut names = names?;
    names.sort();
    Ok(names)
}

/// Why a database that the server has is not among those that are discovered, as the end of a sentence
/// with the way out; none where there is no such database.
///
/// # Errors
/// The server does not answer, or refuses.
pub async fn why_undiscovered(client: &Client, name: &str) -> Result<Option<String>, QueryError> {
    const WHAT: &str = "look for a database";
    let sql = "SELECT d.datallowconn, d.datconnlimit = -2 FROM pg_catalog.pg_database d \
                WHERE d.datname = $1";
    let rows = client.query(WHAT, sql, &[(&name, Type::TEXT)]).await?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    let word = identifier(name);
    let why = match (value(client, WHAT, row, 0)?, value(client, WHAT, row, 1)?) {
        (_, true) => format!("is half dropped\nhint: finish it with DROP DATABASE {word}"),
        (false, _) => format!(
            "does not allow connections, so it cannot be backed up\nhint: remove it from include, or run ALTER \
             DATABASE {word} ALLOW_CONNECTIONS true"
        ),
        (true, _) => {
            "is a template, which databases = \"all\" leaves out\nhint: remove it from include, or \
                      name it in databases"
                .to_owned()
        }
    };
    Ok(Some(why))
}

/// Whether our user may read the hashes of passwords, which `pg_dumpall` needs unless it is asked to
/// leave them out.
///
/// # Errors
/// The server does not answer, or refuses.
pub async fn may_read_role_passwords(client: &Client) -> Result<bool, QueryError> {
    const WHAT: &str = "ask what our user may read";
    let sql = "SELECT pg_catalog.has_table_privilege('pg_catalog.pg_authid', 'SELECT')";
    let rows = client.query(WHAT, sql, &[]).await?;
    match rows.first() {
        Some(row) => value(client, WHAT, row, 0),
        None => Err(client.odd_answer(WHAT, &"the server's answer is empty")),
    }
}
