//! What keeps a backup from being restored on a server, judged before anything is touched. Pure.

use std::collections::BTreeSet;

use super::rights;
use super::roles::{RolesToRestore, names};
use crate::display::{named, size};
use crate::pipeline::census::Dependencies;
use crate::postgres::{
    DatabaseProperties, Dependents, ServerFacts, Standing, USUAL_TABLESPACE, roles_of,
};

/// What the judgement is made from.
#[derive(Clone, Copy, Debug)]
pub(in crate::jobs) struct Wanted<'a> {
    /// The name that the restored database is to get.
    pub(in crate::jobs) name: &'a str,
    /// Whether it may take the place of a database of that name.
    pub(in crate::jobs) may_replace: bool,
    /// Whether that database is dropped in the end.
    pub(in crate::jobs) drops_old: bool,
    /// What was recorded of the database, if anything was.
    pub(in crate::jobs) properties: Option<&'a DatabaseProperties>,
    /// The major version of the server that the backup comes from, if it was recorded.
    pub(in crate::jobs) source_major: Option<u32>,
    /// The roles that the backup brings with it.
    pub(in crate::jobs) roles: &'a BTreeSet<String>,
    /// What of them is restored.
    pub(in crate::jobs) roles_to_restore: &'a RolesToRestore,
    /// Whether roles that are there are made as they were.
    pub(in crate::jobs) overwrites_roles: bool,
    /// What the dump itself names, if it was read.
    pub(in crate::jobs) dependencies: Option<&'a Dependencies>,
    /// What is bound to the database that is replaced.
    pub(in crate::jobs) dependents: &'a Dependents,
    /// Locales of the database that the server does not know.
    pub(in crate::jobs) missing_locales: &'a [String],
    /// Providers of security labels, of the dump or of roles, that the server has not loaded.
    pub(in crate::jobs) missing_providers: &'a [String],
    /// Bytes that the database is likely to take.
    pub(in crate::jobs) forecast: Option<u64>,
    /// Bytes that are free where the server keeps its data, if that can be seen.
    pub(in crate::jobs) free: Option<u64>,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::jobs) struct Judgement {
    /// What keeps it from being restored: one sentence each, with the way out.
    pub(in crate::jobs) problems: Vec<String>,
    /// What the operator should know.
    pub(in crate::jobs) warnings: Vec<String>,
}

/// Judges whether a server takes a new database at all; what it lacks of this one, a salvage leaves out.
pub(in crate::jobs) fn judge_salvage(facts: &ServerFacts, wanted: &Wanted<'_>) -> Judgement {
    let Judgement {
        problems,
        mut warnings,
    } = judge_restore(facts, wanted);
    let of_the_server = [
        is_a_standby(facts),
        has_the_name(facts, wanted),
        may_create_no_database(facts),
        has_no_space(wanted),
    ];
    let is_of_the_server = |one: &String| of_the_server.iter().flatten().any(|it| it == one);
    let (problems, left_out): (Vec<_>, Vec<_>) = problems.into_iter().partition(is_of_the_server);
    warnings.extend(left_out);
    Judgement { problems, warnings }
}

/// Judges whether a server has what a backup needs.
pub(in crate::jobs) fn judge_restore(facts: &ServerFacts, wanted: &Wanted<'_>) -> Judgement {
    let mut found = Judgement::default();
    about_the_server(facts, wanted, &mut found);
    about_rights(facts, wanted, &mut found);
    if let Some(properties) = wanted.properties {
        about_the_database(facts, wanted, properties, &mut found);
    }
    if let Some(dependencies) = wanted.dependencies {
        about_the_dump(facts, wanted, dependencies, &mut found);
    }
    about_pg_cron(facts, wanted, &mut found);
    for provider in wanted.missing_providers {
        found.problems.push(lacks_label_provider(provider));
    }
    if wanted.may_replace
        && let Some(standing) = facts.databases.get(wanted.name)
    {
        about_the_replaced(facts, wanted, standing, &mut found);
    }
    found.problems.extend(has_no_space(wanted));
    found
}

fn has_no_space(wanted: &Wanted<'_>) -> Option<String> {
    let (forecast, free) = (wanted.forecast?, wanted.free?);
    (free < forecast).then(|| {
        format!(
            "the server's disk has {} free, and the database needs about {} next to the existing \
             one\nhint: free some space there, or move the tablespace",
            size(free),
            size(forecast)
        )
    })
}

fn is_a_standby(facts: &ServerFacts) -> Option<String> {
    facts.in_recovery.then(|| {
        "the server is a standby, which takes no writes\nhint: restore on its primary".to_owned()
    })
}

fn has_the_name(facts: &ServerFacts, wanted: &Wanted<'_>) -> Option<String> {
    let is_taken = !wanted.may_replace && facts.databases.contains_key(wanted.name);
    is_taken.then(|| {
        format!(
            "there is a database {:?} already\nhint: give another name with --into",
            wanted.name
        )
    })
}

fn may_create_no_database(facts: &ServerFacts) -> Option<String> {
    let user = &facts.user;
    (!facts.may_create_databases).then(|| {
        format!(
            "user {user} may not create databases\nhint: ALTER ROLE \"{user}\" CREATEDB, or restore as \
             a superuser"
        )
    })
}

fn about_the_server(facts: &ServerFacts, wanted: &Wanted<'_>, found: &mut Judgement) {
    found.problems.extend(is_a_standby(facts));
    match wanted.source_major {
        Some(source) if source > facts.major => found.problems.push(format!(
            "the backup comes from PostgreSQL {source}, and the server is {}\nhint: restore on a server \
             of version {source} or newer",
            facts.major
        )),
        Some(source) if source < facts.major => found.warnings.push(format!(
            "the backup comes from PostgreSQL {source}, the server is {}: every row is compared, \
             and that every other object is there; how that is written may differ",
            facts.major
        )),
        _ => {}
    }
    found.problems.extend(has_the_name(facts, wanted));
}

fn about_rights(facts: &ServerFacts, wanted: &Wanted<'_>, found: &mut Judgement) {
    let user = &facts.user;
    found.problems.extend(may_create_no_database(facts));
    let missing = wanted
        .roles
        .iter()
        .filter(|role| !facts.roles.contains_key(*role));
    let missing: Vec<&str> = missing.map(String::as_str).collect();
    if !facts.may_create_roles && !missing.is_empty() {
        found.problems.push(format!(
            "the server lacks {}, and user {user} may not create roles\nhint: ALTER ROLE \"{user}\" \
             CREATEROLE, create them by hand, or restore as a superuser",
            named("the role", "the roles", &missing)
        ));
    }
    if !facts.is_superuser && facts.may_create_roles {
        let (roles, overwrites) = (wanted.roles_to_restore, wanted.overwrites_roles);
        let problems = rights::to_make_roles(facts, roles, overwrites);
        found.problems.extend(problems);
    }
}

fn about_the_database(
    facts: &ServerFacts,
    wanted: &Wanted<'_>,
    properties: &DatabaseProperties,
    found: &mut Judgement,
) {
    let needed = roles_of(properties);
    let missing: Vec<&str> = needed
        .iter()
        .filter(|role| !facts.roles.contains_key(*role) && !wanted.roles.contains(*role))
        .map(String::as_str)
        .collect();
    if !missing.is_empty() {
        found.problems.push(format!(
            "the server lacks {}, and the backup does not hold roles: CREATE ROLE, then run it \
             again",
            named("the role", "the roles", &missing)
        ));
    }
    if facts.roles.get(&properties.owner) == Some(&false) && !facts.is_superuser {
        found.problems.push(format!(
            "the database belongs to {owner:?}, and user {user} is no member of it: GRANT \
             \"{owner}\" TO \"{user}\", or restore as a superuser",
            owner = properties.owner,
            user = facts.user
        ));
    }
    if !facts.is_superuser {
        let problems = rights::to_give_properties(facts, properties, wanted.roles);
        found.problems.extend(problems);
    }
    // The usual one is not named, and so nobody asks for a right to it.
    if let Some(tablespace) = &properties.tablespace
        && tablespace != USUAL_TABLESPACE
    {
        about_tablespace(facts, tablespace, found);
    }
    if !wanted.missing_locales.is_empty() {
        let locales: Vec<&str> = wanted.missing_locales.iter().map(String::as_str).collect();
        found.problems.push(format!(
            "the server lacks {}\nhint: make it on the server's machine (on Debian `dpkg-reconfigure \
             locales`, or the package locales-all), and restart the server; `locale -a` lists the \
             available ones",
            named("the locale", "the locales", &locales)
        ));
    }
    for extension in &properties.extensions {
        match facts.extensions.get(&extension.name) {
            None => {
                let what = format!("{} {}", extension.name, extension.version);
                found.problems.push(lacks_extension(&what, facts));
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
fn about_the_dump(
    facts: &ServerFacts,
    wanted: &Wanted<'_>,
    dependencies: &Dependencies,
    found: &mut Judgement,
) {
    let recorded = wanted.properties.map_or_else(Vec::new, roles_of);
    let roles = names(&dependencies.roles);
    let missing: Vec<&str> = roles
        .iter()
        .filter(|role| {
            !facts.roles.contains_key(*role)
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
    for tablespace in names(&dependencies.tablespaces) {
        if database.unwrap_or(USUAL_TABLESPACE) != tablespace {
            about_tablespace(facts, &tablespace, found);
        }
    }
    let known = |name: &String| {
        let recorded = wanted.properties.map(|one| one.extensions.as_slice());
        recorded
            .unwrap_or_default()
            .iter()
            .any(|one| one.name == *name)
    };
    for extension in names(&dependencies.extensions) {
        if !facts.extensions.contains_key(&extension) && !known(&extension) {
            found.problems.push(lacks_extension(&extension, facts));
        }
    }
    if !facts.is_superuser {
        let problems = rights::to_load(facts, dependencies, wanted.properties);
        found.problems.extend(problems);
    }
}

/// This extension's script refuses every database but the one that `cron.database_name` named when the
/// server was started.
pub(in crate::jobs) const PG_CRON: &str = "pg_cron";

/// A restore loads under another name first.
fn about_pg_cron(facts: &ServerFacts, wanted: &Wanted<'_>, found: &mut Judgement) {
    let recorded = wanted.properties.map(|one| one.extensions.as_slice());
    let is_recorded = recorded
        .unwrap_or_default()
        .iter()
        .any(|one| one.name == PG_CRON);
    let is_made = wanted
        .dependencies
        .is_some_and(|dependencies| names(&dependencies.extensions).contains(PG_CRON));
    // Where it is not installed, that is what is missing first.
    if (is_recorded || is_made) && facts.extensions.contains_key(PG_CRON) {
        found.problems.push(
            "the backup has the extension pg_cron, which can be made only in the database that \
             cron.database_name names, and a restore loads under another name before it changes \
             them: bring it back by hand, as \"pg_cron by hand\" in \
             /usr/share/doc/pgbackupd/operations.md says, or single tables of it with --table"
                .to_owned(),
        );
    }
}

/// What stands in the way of taking a database's name from it.
fn about_the_replaced(
    facts: &ServerFacts,
    wanted: &Wanted<'_>,
    standing: &Standing,
    found: &mut Judgement,
) {
    let (name, user, dependents) = (wanted.name, &facts.user, wanted.dependents);
    let owns = facts.is_superuser || facts.roles.get(&standing.owner) == Some(&true);
    if !owns {
        found.problems.push(format!(
            "the existing database {name:?} belongs to {owner:?}, and only members of that role \
             can rename it: GRANT \"{owner}\" TO \"{user}\", or restore as a superuser",
            owner = standing.owner
        ));
    }
    let ends_sessions = facts.roles.get("pg_signal_backend") == Some(&true);
    if !facts.is_superuser && !ends_sessions {
        found.warnings.push(format!(
            "user {user} can end sessions of its own roles alone: check that nobody else is connected \
             to {name} in the end, or GRANT pg_signal_backend TO \"{user}\""
        ));
    }
    let list = |names: &[String]| {
        let names: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
        names.join(", ")
    };
    if !dependents.prepared.is_empty() {
        found.problems.push(format!(
            "prepared transactions keep the database {name:?} from being renamed: {}\nhint: COMMIT \
             PREPARED or ROLLBACK PREPARED each of them in it",
            list(&dependents.prepared)
        ));
    }
    if !dependents.slots.is_empty() {
        let become_of = if wanted.drops_old {
            "are dropped with the database that is replaced"
        } else {
            "stay with the database that is replaced, under its new name, and keep write-ahead log"
        };
        found.warnings.push(format!(
            "logical replication slots {become_of}: {}; whoever reads from them has to be set up \
             again",
            list(&dependents.slots)
        ));
    }
    if !dependents.subscriptions.is_empty() {
        found.warnings.push(format!(
            "subscriptions of the database that is replaced go on receiving into it, under its new \
             name: {}; ALTER SUBSCRIPTION … DISABLE them there, and SET (slot_name = NONE) before any is \
             dropped, or its slot goes with it; those of the restored one come disabled, and need a \
             slot",
            list(&dependents.subscriptions)
        ));
    }
}

/// Whether something can be created in a tablespace: what the database stands in, or what a relation
/// stands in that is not there. Either is created as our user, whoever gets it then.
fn about_tablespace(facts: &ServerFacts, tablespace: &str, found: &mut Judgement) {
    match facts.tablespaces.get(tablespace) {
        None => found.problems.push(format!(
            "the server lacks the tablespace {tablespace:?}\nhint: make a directory that is the server's \
             own and CREATE TABLESPACE \"{tablespace}\" LOCATION 'that directory'"
        )),
        Some(false) => found.problems.push(format!(
            "user {user} may not create anything in the tablespace {tablespace:?}\nhint: GRANT CREATE ON \
             TABLESPACE \"{tablespace}\" TO \"{user}\", or restore as a superuser",
            user = facts.user
        )),
        Some(true) => {}
    }
}

/// What of a dump with security labels cannot be loaded.
pub(in crate::jobs) fn lacks_label_provider(provider: &str) -> String {
    format!(
        "the backup has security labels of the label provider {provider:?}, which the server has not \
         loaded\nhint: install its library on the server's machine, add it to shared_preload_libraries, and \
         restart the server"
    )
}

fn lacks_extension(what: &str, facts: &ServerFacts) -> String {
    format!(
        "the server cannot install the extension {what}\nhint: install its package on the server's \
         machine (contrib's are in postgresql-{} on Debian), then run it again",
        facts.major
    )
}

#[cfg(test)]
pub(super) mod tests;
