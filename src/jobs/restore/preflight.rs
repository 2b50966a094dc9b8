//! What keeps a backup from being restored on a server, judged before anything is touched. Pure.

use std::collections::BTreeSet;

use super::rights;
use super::roles::RolesToRestore;
use crate::pipeline::census::Needs;
use crate::postgres::{
    Attached, DatabaseProperties, Premises, Standing, USUAL_TABLESPACE, roles_of,
};
use crate::words::size;

/// What the judgement is made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    /// The name that the restored database is to get.
    pub(super) name: &'a str,
    /// Whether it may take the place of a database of that name.
    pub(super) may_replace: bool,
    /// Whether that database is dropped in the end.
    pub(super) drops_old: bool,
    /// What was recorded of the database, if anything was.
    pub(super) properties: Option<&'a DatabaseProperties>,
    /// The major version of the server that the backup comes from, if it was recorded.
    pub(super) source_major: Option<u32>,
    /// The roles that the backup brings with it.
    pub(super) roles: &'a BTreeSet<String>,
    /// What of them is restored.
    pub(super) roles_to_restore: &'a RolesToRestore,
    /// Whether roles that are there are made as they were.
    pub(super) overwrites_roles: bool,
    /// What the dump itself names, if it was read.
    pub(super) needs: Option<&'a Needs>,
    /// What is bound to the database that is replaced.
    pub(super) attached: &'a Attached,
    /// Locales of the database that the server does not know.
    pub(super) missing_locales: &'a [String],
    /// Providers of security labels, of the dump or of roles, that the server has not loaded.
    pub(super) missing_providers: &'a [String],
    /// Bytes that the database is likely to take.
    pub(super) forecast: Option<u64>,
    /// Bytes that are free where the server keeps its data, if that can be seen.
    pub(super) free: Option<u64>,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Judgement {
    /// What keeps it from being restored: one sentence each, with the way out.
    pub(super) problems: Vec<String>,
    /// What the operator should know.
    pub(super) warnings: Vec<String>,
}

/// Judges whether a server has what a backup needs.
pub(super) fn judge(premises: &Premises, wanted: &Wanted<'_>) -> Judgement {
    let mut found = Judgement::default();
    about_the_server(premises, wanted, &mut found);
    about_rights(premises, wanted, &mut found);
    if let Some(properties) = wanted.properties {
        about_the_database(premises, wanted, properties, &mut found);
    }
    if let Some(needs) = wanted.needs {
        about_the_dump(premises, wanted, needs, &mut found);
    }
    about_pg_cron(premises, wanted, &mut found);
    for provider in wanted.missing_providers {
        found.problems.push(lacks_label_provider(provider));
    }
    if wanted.may_replace
        && let Some(standing) = premises.databases.get(wanted.name)
    {
        about_the_replaced(premises, wanted, standing, &mut found);
    }
    if let (Some(forecast), Some(free)) = (wanted.forecast, wanted.free)
        && free < forecast
    {
        found.problems.push(format!(
            "the server's disk has {} free, and the database needs about {} beside the one that \
             stands: free some space there, or move the tablespace",
            size(free),
            size(forecast)
        ));
    }
    found
}

fn about_the_server(premises: &Premises, wanted: &Wanted<'_>, found: &mut Judgement) {
    if premises.in_recovery {
        found.problems.push(
            "the server is a standby, which takes no writes: restore on its primary".to_owned(),
        );
    }
    match wanted.source_major {
        Some(source) if source > premises.major => found.problems.push(format!(
            "the backup comes from PostgreSQL {source}, and the server is {}: restore on a server \
             of version {source} or newer",
            premises.major
        )),
        Some(source) if source < premises.major => found.warnings.push(format!(
            "the backup comes from PostgreSQL {source}, the server is {}: every row is compared, \
             and that every other object is there; how that is written may differ",
            premises.major
        )),
        _ => {}
    }
    if !wanted.may_replace && premises.databases.contains_key(wanted.name) {
        found.problems.push(format!(
            "there is a database {:?} already: give another name with --into",
            wanted.name
        ));
    }
}

fn about_rights(premises: &Premises, wanted: &Wanted<'_>, found: &mut Judgement) {
    let user = &premises.user;
    if !premises.may_create_databases {
        found.problems.push(format!(
            "user {user} may not create databases: ALTER ROLE \"{user}\" CREATEDB, or restore as \
             a superuser"
        ));
    }
    let missing = wanted
        .roles
        .iter()
        .filter(|role| !premises.roles.contains_key(*role));
    let missing: Vec<&str> = missing.map(String::as_str).collect();
    if !premises.may_create_roles && !missing.is_empty() {
        found.problems.push(format!(
            "the server lacks {}, and user {user} may not create roles: ALTER ROLE \"{user}\" \
             CREATEROLE, create them by hand, or restore as a superuser",
            named("the role", "the roles", &missing)
        ));
    }
    if !premises.is_superuser && premises.may_create_roles {
        let (roles, overwrites) = (wanted.roles_to_restore, wanted.overwrites_roles);
        let problems = rights::to_make_roles(premises, roles, overwrites);
        found.problems.extend(problems);
    }
}

fn about_the_database(
    premises: &Premises,
    wanted: &Wanted<'_>,
    properties: &DatabaseProperties,
    found: &mut Judgement,
) {
    let needed = roles_of(properties);
    let missing: Vec<&str> = needed
        .iter()
        .filter(|role| !premises.roles.contains_key(*role) && !wanted.roles.contains(*role))
        .map(String::as_str)
        .collect();
    if !missing.is_empty() {
        found.problems.push(format!(
            "the server lacks {}, and the backup does not hold roles: CREATE ROLE, then run it \
             again",
            named("the role", "the roles", &missing)
        ));
    }
    if premises.roles.get(&properties.owner) == Some(&false) && !premises.is_superuser {
        found.problems.push(format!(
            "the database belongs to {owner:?}, and user {user} is no member of it: GRANT \
             \"{owner}\" TO \"{user}\", or restore as a superuser",
            owner = properties.owner,
            user = premises.user
        ));
    }
    if !premises.is_superuser {
        let problems = rights::to_give_properties(premises, properties, wanted.roles);
        found.problems.extend(problems);
    }
    // The usual one is not named, and so nobody asks for a right to it.
    if let Some(tablespace) = &properties.tablespace
        && tablespace != USUAL_TABLESPACE
    {
        about_tablespace(premises, tablespace, found);
    }
    if !wanted.missing_locales.is_empty() {
        let locales: Vec<&str> = wanted.missing_locales.iter().map(String::as_str).collect();
        found.problems.push(format!(
            "the server lacks {}: make it on the server's machine (on Debian `dpkg-reconfigure \
             locales`, or the package locales-all), and restart the server; `locale -a` shows the \
             locales there are",
            named("the locale", "the locales", &locales)
        ));
    }
    for extension in &properties.extensions {
        match premises.extensions.get(&extension.name) {
            None => {
                let what = format!("{} {}", extension.name, extension.version);
                found.problems.push(lacks_extension(&what, premises));
            }
            Some(versions) if !versions.contains(&extension.version) => {
                found.warnings.push(format!(
                    "the extension {} had version {}; the server installs its own: {}",
                    extension.name,
                    extension.version,
                    versions.join(", ")
                ));
            }
            Some(_) => {}
        }
    }
}

/// What the dump's own statements want, beyond what was recorded of the database.
fn about_the_dump(premises: &Premises, wanted: &Wanted<'_>, needs: &Needs, found: &mut Judgement) {
    let recorded = wanted.properties.map_or_else(Vec::new, roles_of);
    let roles = names(&needs.roles);
    let missing: Vec<&str> = roles
        .iter()
        .filter(|role| {
            !premises.roles.contains_key(*role)
                && !wanted.roles.contains(*role)
                && !recorded.contains(role)
        })
        .map(String::as_str)
        .collect();
    if !missing.is_empty() {
        found.problems.push(format!(
            "the server lacks {}, to whom objects in the dump belong or who may use them, and the \
             backup does not hold roles: CREATE ROLE, then run it again",
            named("the role", "the roles", &missing)
        ));
    }
    let database = wanted.properties.and_then(|one| one.tablespace.as_deref());
    for tablespace in names(&needs.tablespaces) {
        if database.unwrap_or(USUAL_TABLESPACE) != tablespace {
            about_tablespace(premises, &tablespace, found);
        }
    }
    let known = |name: &String| {
        let recorded = wanted.properties.map(|one| one.extensions.as_slice());
        recorded
            .unwrap_or_default()
            .iter()
            .any(|one| one.name == *name)
    };
    for extension in names(&needs.extensions) {
        if !premises.extensions.contains_key(&extension) && !known(&extension) {
            found.problems.push(lacks_extension(&extension, premises));
        }
    }
    if !premises.is_superuser {
        let problems = rights::to_load(premises, needs, wanted.properties);
        found.problems.extend(problems);
    }
}

/// This extension's script refuses every database but the one that `cron.database_name` named when the
/// server was started.
pub(super) const PG_CRON: &str = "pg_cron";

/// A restore loads under another name first.
fn about_pg_cron(premises: &Premises, wanted: &Wanted<'_>, found: &mut Judgement) {
    let recorded = wanted.properties.map(|one| one.extensions.as_slice());
    let is_recorded = recorded
        .unwrap_or_default()
        .iter()
        .any(|one| one.name == PG_CRON);
    let is_made = wanted
        .needs
        .is_some_and(|needs| names(&needs.extensions).contains(PG_CRON));
    // Where it is not installed, that is what is missing first.
    if (is_recorded || is_made) && premises.extensions.contains_key(PG_CRON) {
        found.problems.push(
            "the backup has the extension pg_cron, which can be made only in the database that \
             cron.database_name names, and a restore loads under another name before it changes \
             them: bring it back by hand, as \"pg_cron by hand\" in docs/operations.md says, or \
             single tables of it with --table"
                .to_owned(),
        );
    }
}

/// What stands in the way of taking a database's name from it.
fn about_the_replaced(
    premises: &Premises,
    wanted: &Wanted<'_>,
    standing: &Standing,
    found: &mut Judgement,
) {
    let (name, user, attached) = (wanted.name, &premises.user, wanted.attached);
    let owns = premises.is_superuser || premises.roles.get(&standing.owner) == Some(&true);
    if !owns {
        found.problems.push(format!(
            "the database {name:?} that stands belongs to {owner:?}, and only who has its rights \
             can rename it: GRANT \"{owner}\" TO \"{user}\", or restore as a superuser",
            owner = standing.owner
        ));
    }
    let ends_sessions = premises.roles.get("pg_signal_backend") == Some(&true);
    if !premises.is_superuser && !ends_sessions {
        found.warnings.push(format!(
            "user {user} can end sessions of its own roles alone: see that nobody else is connected \
             to {name} in the end, or GRANT pg_signal_backend TO \"{user}\""
        ));
    }
    let list = |names: &[String]| {
        let names: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
        names.join(", ")
    };
    if !attached.prepared.is_empty() {
        found.problems.push(format!(
            "prepared transactions keep the database {name:?} from being renamed: {}; COMMIT \
             PREPARED or ROLLBACK PREPARED each of them in it",
            list(&attached.prepared)
        ));
    }
    if !attached.slots.is_empty() {
        let become_of = if wanted.drops_old {
            "are dropped with the database that is replaced"
        } else {
            "stay with the database that is replaced, under its new name, and keep write-ahead log"
        };
        found.warnings.push(format!(
            "logical replication slots {become_of}: {}; whoever reads from them has to be set up \
             anew",
            list(&attached.slots)
        ));
    }
    if !attached.subscriptions.is_empty() {
        found.warnings.push(format!(
            "subscriptions of the database that is replaced go on receiving into it, under its new \
             name: {}; ALTER SUBSCRIPTION … DISABLE them there, and SET (slot_name = NONE) before any is \
             dropped, or its slot goes with it; those of the restored one come disabled, and need a \
             slot",
            list(&attached.subscriptions)
        ));
    }
}

/// Names as a server tells them: what of them is not UTF-8 bears U+FFFD there, too.
pub(super) fn names(found: &BTreeSet<Vec<u8>>) -> BTreeSet<String> {
    let names = found.iter();
    names
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect()
}

/// Whether something can be created in a tablespace: what the database stands in, or what a relation
/// stands in that is not there. Either is created as our user, whoever gets it then.
fn about_tablespace(premises: &Premises, tablespace: &str, found: &mut Judgement) {
    match premises.tablespaces.get(tablespace) {
        None => found.problems.push(format!(
            "the server lacks the tablespace {tablespace:?}: make a directory that is the server's \
             own and CREATE TABLESPACE \"{tablespace}\" LOCATION 'that directory'"
        )),
        Some(false) => found.problems.push(format!(
            "user {user} may not create anything in the tablespace {tablespace:?}: GRANT CREATE ON \
             TABLESPACE \"{tablespace}\" TO \"{user}\", or restore as a superuser",
            user = premises.user
        )),
        Some(true) => {}
    }
}

/// What of a dump with security labels cannot be loaded.
pub(super) fn lacks_label_provider(provider: &str) -> String {
    format!(
        "the backup has security labels of the label provider {provider:?}, which the server has not \
         loaded: install its library on the server's machine, add it to shared_preload_libraries, and \
         restart the server"
    )
}

fn lacks_extension(what: &str, premises: &Premises) -> String {
    format!(
        "the server cannot install the extension {what}: install its package on the server's \
         machine (contrib's are in postgresql-{} on Debian), then run it again",
        premises.major
    )
}

pub(super) fn named(one: &str, many: &str, names: &[&str]) -> String {
    let list: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    let noun = if names.len() == 1 { one } else { many };
    format!("{noun} {}", list.join(", "))
}

#[cfg(test)]
pub(super) mod tests;
