//! What a server has, for whoever wants to restore a database on it.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::types::Type;

use super::client::Client;
use super::query_error::QueryError;
use super::quote::literal;
use super::system_catalog_text::{as_bytes, optional, required, value};

/// What a server has, and what our user may do on it.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact that the server tells by itself"
)]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerFacts {
    /// The server's major version.
    pub major: u32,
    /// Whether it is a standby, which takes no writes.
    pub in_recovery: bool,
    /// Our user.
    pub user: String,
    /// Whether that is a superuser.
    pub is_superuser: bool,
    /// Whether it may create databases.
    pub may_create_databases: bool,
    /// Whether it may create roles.
    pub may_create_roles: bool,
    /// Whether row security does not hold for it.
    pub bypasses_row_security: bool,
    /// Whether it may replicate.
    pub replicates: bool,
    /// All roles, each with whether our user has its rights and may make something belong to it.
    pub roles: BTreeMap<String, bool>,
    /// Those of them that are superusers.
    pub superusers: BTreeSet<String>,
    /// Those of them that our user may alter, and make others members of.
    pub administered: BTreeSet<String>,
    /// Whose rights a role has by being a member: the member, and the role.
    pub inherited: BTreeSet<(String, String)>,
    /// Every setting that the server knows, in small letters, and whether our user may give it to a
    /// database or a role.
    pub settings: BTreeMap<String, bool>,
    /// All tablespaces, each with whether our user may create something in it. In the one that is its
    /// database's own everybody may.
    pub tablespaces: BTreeMap<String, bool>,
    /// The versions of each extension that can be installed.
    pub extensions: BTreeMap<String, Vec<String>>,
    /// Those of them that none but a superuser can install, in any version.
    pub untrusted: BTreeSet<String>,
    /// All databases.
    pub databases: BTreeMap<String, Standing>,
    /// Where its data stands, if we may know.
    pub data_directory: Option<String>,
}

/// The tablespace of whatever nobody has said otherwise of.
pub const USUAL_TABLESPACE: &str = "pg_default";

/// A database that stands on a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Its size on the server's disk, if we may know.
    pub size_bytes: Option<u64>,
    /// Its comment.
    pub comment: Option<String>,
    /// The sessions that are connected to it.
    pub sessions: u64,
    /// The role that owns it.
    pub owner: String,
    /// Whether a DROP DATABASE of it was cut short: nothing but dropping is possible any more.
    pub is_broken: bool,
}

/// Looks at what a server has.
///
/// # Errors
/// The server does not answer, or refuses.
pub async fn server_facts(client: &Client) -> Result<ServerFacts, QueryError> {
    const WHAT: &str = "ask what the server has";
    let name = |column: &str| as_bytes(client, column);
    let sql = format!(
        "SELECT {}, rolsuper, rolcreatedb, rolcreaterole, pg_catalog.pg_is_in_recovery(), \
                rolsuper OR rolbypassrls, rolsuper OR rolreplication \
           FROM pg_catalog.pg_roles WHERE rolname = current_user",
        name("rolname")
    );
    let rows = client.query(WHAT, &sql, &[]).await?;
    let [row] = rows.as_slice() else {
        return Err(client.odd_answer(WHAT, &"the server does not list our user"));
    };
    let mut found = ServerFacts {
        major: client.server_major(),
        user: required(client, WHAT, row, 0)?,
        is_superuser: value(client, WHAT, row, 1)?,
        may_create_databases: value(client, WHAT, row, 2)?,
        may_create_roles: value(client, WHAT, row, 3)?,
        in_recovery: value(client, WHAT, row, 4)?,
        bypasses_row_security: value(client, WHAT, row, 5)?,
        replicates: value(client, WHAT, row, 6)?,
        data_directory: data_directory(client).await,
        databases: databases(client).await?,
        ..ServerFacts::default()
    };
    found.may_create_databases |= found.is_superuser;
    found.may_create_roles |= found.is_superuser;

    add_roles(client, &mut found).await?;
    add_settings(client, &mut found).await?;
    let sql = format!(
        "SELECT {}, pg_catalog.has_tablespace_privilege(oid, 'CREATE') FROM pg_catalog.pg_tablespace",
        name("spcname")
    );
    for row in &client.query(WHAT, &sql, &[]).await? {
        let tablespace = required(client, WHAT, row, 0)?;
        let may_create = value(client, WHAT, row, 1)?;
        found.tablespaces.insert(tablespace, may_create);
    }
    let sql = format!(
        "SELECT {}, {}, superuser AND NOT trusted \
           FROM pg_catalog.pg_available_extension_versions",
        name("name"),
        name("version")
    );
    for row in &client.query(WHAT, &sql, &[]).await? {
        let extension = required(client, WHAT, row, 0)?;
        if value(client, WHAT, row, 2)? {
            found.untrusted.insert(extension.clone());
        }
        let versions = found.extensions.entry(extension).or_default();
        versions.push(required(client, WHAT, row, 1)?);
    }
    Ok(found)
}

/// All roles, and what our user may do with each. From version 16 on, being a member does not say that one
/// may act as the role, and creating roles not that one may alter those of others ("Role Membership" and
/// "Role Attributes" in the manual).
async fn add_roles(client: &Client, found: &mut ServerFacts) -> Result<(), QueryError> {
    const WHAT: &str = "ask for the server's roles";
    let (acts, alters, inherits) = if client.server_major() >= 16 {
        (
            "pg_catalog.pg_has_role(r.oid, 'USAGE') AND pg_catalog.pg_has_role(r.oid, 'SET')",
            "me.rolcreaterole AND pg_catalog.pg_has_role(r.oid, 'MEMBER WITH ADMIN OPTION')",
            "m.inherit_option",
        )
    } else {
        (
            "pg_catalog.pg_has_role(r.oid, 'USAGE')",
            "me.rolcreaterole",
            "u.rolinherit",
        )
    };
    let sql = format!(
        "SELECT {}, {acts}, r.rolsuper, me.rolsuper OR (NOT r.rolsuper AND {alters}) \
           FROM pg_catalog.pg_roles r \
          CROSS JOIN (SELECT rolsuper, rolcreaterole FROM pg_catalog.pg_roles \
                       WHERE rolname = current_user) me",
        as_bytes(client, "r.rolname")
    );
    for row in &client.query(WHAT, &sql, &[]).await? {
        let role = required(client, WHAT, row, 0)?;
        if value(client, WHAT, row, 2)? {
            found.superusers.insert(role.clone());
        }
        if value(client, WHAT, row, 3)? {
            found.administered.insert(role.clone());
        }
        found.roles.insert(role, value(client, WHAT, row, 1)?);
    }
    let sql = format!(
        "SELECT {member}, {role} FROM pg_catalog.pg_auth_members m \
           JOIN pg_catalog.pg_roles r ON r.oid = m.roleid \
           JOIN pg_catalog.pg_roles u ON u.oid = m.member \
          WHERE {inherits}",
        member = as_bytes(client, "u.rolname"),
        role = as_bytes(client, "r.rolname"),
    );
    for row in &client.query(WHAT, &sql, &[]).await? {
        let pair = (
            required(client, WHAT, row, 0)?,
            required(client, WHAT, row, 1)?,
        );
        found.inherited.insert(pair);
    }
    Ok(())
}

/// Which settings our user may give.
async fn add_settings(client: &Client, found: &mut ServerFacts) -> Result<(), QueryError> {
    const WHAT: &str = "ask for the server's settings";
    // Rights on a setting came with version 15; also on one that the server does not know.
    let (right, others) = if client.server_major() >= 15 {
        (
            "pg_catalog.has_parameter_privilege(s.name, 'SET')",
            "UNION ALL SELECT a.parname, NULL FROM pg_catalog.pg_parameter_acl a \
              WHERE a.parname NOT IN (SELECT pg_catalog.lower(p.name) FROM pg_catalog.pg_settings p)",
        )
    } else {
        ("false", "")
    };
    let sql = format!(
        "SELECT {}, coalesce(s.context NOT IN ('superuser', 'superuser-backend'), false) OR {right} \
           FROM (SELECT p.name, p.context FROM pg_catalog.pg_settings p {others}) s",
        as_bytes(client, "s.name")
    );
    for row in &client.query(WHAT, &sql, &[]).await? {
        let name: String = required(client, WHAT, row, 0)?;
        let may = value(client, WHAT, row, 1)?;
        found.settings.insert(name.to_ascii_lowercase(), may);
    }
    Ok(())
}

impl ServerFacts {
    /// Whether our user may give a setting to a database or a role. One that the server does not know
    /// is a superuser's (`validate_option_array_item` in `PostgreSQL`'s `guc.c`).
    pub fn may_give(&self, setting: &str) -> bool {
        let known = self.settings.get(&setting.to_ascii_lowercase());
        self.is_superuser || known.copied().unwrap_or_default()
    }

    /// Whether a role has the rights of another one.
    pub fn has_rights_of(&self, member: &str, role: &str) -> bool {
        if member == role || self.superusers.contains(member) {
            return true;
        }
        let mut seen = BTreeSet::from([member]);
        let mut next = vec![member];
        while let Some(one) = next.pop() {
            let from = (one.to_owned(), String::new());
            let roles = self.inherited.range(from..);
            for (_, above) in roles.take_while(|(member, _)| member == one) {
                if above == role {
                    return true;
                }
                if seen.insert(above) {
                    next.push(above);
                }
            }
        }
        false
    }
}

/// All databases of the server.
///
/// # Errors
/// The server does not answer, or refuses.
pub async fn databases(client: &Client) -> Result<BTreeMap<String, Standing>, QueryError> {
    const WHAT: &str = "list the server's databases";
    let sql = format!(
        "SELECT {name}, \
                CASE WHEN pg_catalog.has_database_privilege(d.oid, 'CONNECT') \
                     THEN pg_catalog.pg_database_size(d.oid) END, \
                {comment}, \
                (SELECT count(*) FROM pg_catalog.pg_stat_activity a WHERE a.datid = d.oid), \
                {owner}, d.datconnlimit = -2 \
           FROM pg_catalog.pg_database d",
        name = as_bytes(client, "d.datname"),
        comment = as_bytes(client, "pg_catalog.shobj_description(d.oid, 'pg_database')"),
        owner = as_bytes(client, "pg_catalog.pg_get_userbyid(d.datdba)"),
    );
    let mut found = BTreeMap::new();
    for row in &client.query(WHAT, &sql, &[]).await? {
        let size: Option<i64> = value(client, WHAT, row, 1)?;
        let sessions: i64 = value(client, WHAT, row, 3)?;
        found.insert(
            required(client, WHAT, row, 0)?,
            Standing {
                size_bytes: size.and_then(|size| u64::try_from(size).ok()),
                comment: optional(client, WHAT, row, 2)?,
                sessions: u64::try_from(sessions).unwrap_or_default(),
                owner: required(client, WHAT, row, 4)?,
                // DATCONNLIMIT_INVALID_DB in PostgreSQL's pg_database.h.
                is_broken: value(client, WHAT, row, 5)?,
            },
        );
    }
    Ok(found)
}

/// Not everybody may know.
async fn data_directory(client: &Client) -> Option<String> {
    let sql = "SELECT pg_catalog.current_setting('data_directory')";
    let rows = client.query("ask where its data is", sql, &[]).await.ok()?;
    rows.first()?.try_get(0).ok()
}

/// What came of ending sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionsEnded {
    /// How many were ended.
    pub ended: u64,
    /// Those that our user may not end, as user and process.
    pub spared: Vec<String>,
}

/// Ends every session of these databases but our own, background processes of extensions among
/// them, as far as our user may.
///
/// # Errors
/// The server does not answer, or refuses.
pub async fn end_sessions(
    client: &Client,
    databases: &[&str],
) -> Result<SessionsEnded, QueryError> {
    const WHAT: &str = "end the sessions of the database";
    let list: Vec<String> = databases.iter().map(|name| literal(name)).collect();
    // Who may, is said in the manual's "Server Signaling Functions". An autovacuum worker has no
    // user; it gives way to whoever wants to rename the database, without our help. Of others'
    // sessions nobody but a superuser sees what kind they are.
    let sql = format!(
        "WITH others AS ( \
           SELECT a.pid, a.usename, \
                  me.rolsuper OR (NOT r.rolsuper \
                    AND (pg_catalog.pg_has_role(r.oid, 'USAGE') \
                      OR pg_catalog.pg_has_role('pg_signal_backend', 'USAGE'))) AS allowed \
             FROM pg_catalog.pg_stat_activity a \
             LEFT JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid \
            CROSS JOIN (SELECT rolsuper FROM pg_catalog.pg_roles \
                         WHERE rolname = current_user) me \
            WHERE a.datname IN ({list}) AND a.pid <> pg_catalog.pg_backend_pid() \
              AND (me.rolsuper OR r.oid IS NOT NULL)) \
         SELECT {user}, o.pid, CASE WHEN o.allowed THEN pg_catalog.pg_terminate_backend(o.pid) END \
           FROM others o",
        list = list.join(", "),
        user = as_bytes(client, "o.usename"),
    );
    let mut found = SessionsEnded::default();
    for row in &client.query(WHAT, &sql, &[]).await? {
        let pid: i32 = value(client, WHAT, row, 1)?;
        let ended: Option<bool> = value(client, WHAT, row, 2)?;
        if ended.is_some() {
            found.ended += 1;
        } else {
            let user = optional(client, WHAT, row, 0)?.unwrap_or_default();
            found.spared.push(format!("{user} (process {pid})"));
        }
    }
    Ok(found)
}

/// Which of these memberships there are: each a role and its member.
///
/// # Errors
/// The server does not answer, or refuses.
pub async fn is_member(client: &Client, role: &str, member: &str) -> Result<bool, QueryError> {
    const WHAT: &str = "ask for the members of a role";
    let sql = "SELECT EXISTS (SELECT FROM pg_catalog.pg_auth_members m \
                 JOIN pg_catalog.pg_roles r ON r.oid = m.roleid \
                 JOIN pg_catalog.pg_roles u ON u.oid = m.member \
                WHERE r.rolname::text = $1 AND u.rolname::text = $2)";
    let parameters: &[_] = &[(&role as _, Type::TEXT), (&member as _, Type::TEXT)];
    let rows = client.query(WHAT, sql, parameters).await?;
    match rows.first() {
        Some(row) => value(client, WHAT, row, 0),
        None => Ok(false),
    }
}
