//! What keeps a backup from being restored on a server, judged before anything is touched. Pure.

use std::collections::BTreeSet;

use crate::postgres::{DatabaseProperties, Premises, roles_of};
use crate::words::size;

/// What the judgement is made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    /// The name that the restored database is to get.
    pub(super) name: &'a str,
    /// Whether it may take the place of a database of that name.
    pub(super) may_replace: bool,
    /// What was recorded of the database, if anything was.
    pub(super) properties: Option<&'a DatabaseProperties>,
    /// The major version of the server that the backup comes from, if it was recorded.
    pub(super) source_major: Option<u32>,
    /// The roles that the backup brings with it.
    pub(super) roles: &'a BTreeSet<String>,
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
            "the backup comes from PostgreSQL {source}, the server is {}: the rows are compared, \
             the text of other objects may differ",
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
    if !missing.is_empty() && !premises.may_create_roles {
        found.problems.push(format!(
            "the server lacks {}, and user {user} may not create roles: ALTER ROLE \"{user}\" \
             CREATEROLE, create them by hand, or restore as a superuser",
            named("the role", "the roles", &missing)
        ));
    }
    if !premises.is_superuser && found.problems.is_empty() {
        found.warnings.push(format!(
            "user {user} is no superuser: objects of other owners, and some extensions, cannot be \
             restored by it"
        ));
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
    if let Some(tablespace) = &properties.tablespace
        && !premises.tablespaces.contains(tablespace)
    {
        found.problems.push(format!(
            "the server lacks the tablespace {tablespace:?}: make a directory that is the server's \
             own and CREATE TABLESPACE \"{tablespace}\" LOCATION 'that directory'"
        ));
    }
    for extension in &properties.extensions {
        match premises.extensions.get(&extension.name) {
            None => found.problems.push(format!(
                "the server cannot install the extension {} {}: install its package on the \
                 server's machine (contrib's are in postgresql-{} on Debian), then run it again",
                extension.name, extension.version, premises.major
            )),
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

fn named(one: &str, many: &str, names: &[&str]) -> String {
    let list: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    let noun = if names.len() == 1 { one } else { many };
    format!("{noun} {}", list.join(", "))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::postgres::{Extension, Standing};

    fn premises() -> Premises {
        Premises {
            major: 15,
            user: "me".to_owned(),
            is_superuser: true,
            may_create_databases: true,
            may_create_roles: true,
            roles: BTreeMap::from([("me".to_owned(), true), ("o".to_owned(), true)]),
            tablespaces: vec!["pg_default".to_owned()],
            extensions: BTreeMap::from([("hstore".to_owned(), vec!["1.8".to_owned()])]),
            databases: BTreeMap::from([("app".to_owned(), Standing::default())]),
            ..Premises::default()
        }
    }

    fn properties() -> DatabaseProperties {
        DatabaseProperties {
            name: "app".to_owned(),
            encoding: "UTF8".to_owned(),
            locale_provider: "libc".to_owned(),
            lc_collate: "C".to_owned(),
            lc_ctype: "C".to_owned(),
            locale: None,
            icu_rules: None,
            collation_version: None,
            owner: "o".to_owned(),
            tablespace: Some("pg_default".to_owned()),
            connection_limit: -1,
            is_template: false,
            allow_connections: true,
            privileges: None,
            comment: None,
            settings: Vec::new(),
            extensions: Vec::new(),
            size_bytes: 1,
        }
    }

    /// All that a server of these premises has to offer.
    fn wanted<'a>(properties: &'a DatabaseProperties, roles: &'a BTreeSet<String>) -> Wanted<'a> {
        Wanted {
            name: "app",
            may_replace: true,
            properties: Some(properties),
            source_major: Some(15),
            roles,
            forecast: Some(10),
            free: Some(10),
        }
    }

    #[test]
    fn a_server_that_has_everything_is_fine() {
        let (properties, roles) = (properties(), BTreeSet::new());
        let known = wanted(&properties, &roles);
        assert_eq!(judge(&premises(), &known), Judgement::default());
        let unknown = Wanted {
            properties: None,
            source_major: None,
            free: None,
            ..known
        };
        assert_eq!(judge(&premises(), &unknown), Judgement::default());
    }

    #[test]
    fn everything_that_is_missing_is_named_at_once() {
        let mut premises = premises();
        premises.is_superuser = false;
        premises.may_create_databases = false;
        premises.may_create_roles = false;
        premises.in_recovery = true;
        premises.major = 14;
        let (mut properties, roles) = (properties(), BTreeSet::from(["brought".to_owned()]));
        properties.owner = "gone".to_owned();
        properties.tablespace = Some("fast".to_owned());
        properties.extensions.push(Extension {
            name: "postgis".to_owned(),
            version: "3.3".to_owned(),
            schema: "public".to_owned(),
        });
        let wanted = Wanted {
            may_replace: false,
            free: Some(9),
            ..wanted(&properties, &roles)
        };
        let judgement = judge(&premises, &wanted);
        let expected = [
            "standby",
            "comes from PostgreSQL 15, and the server is 14",
            "there is a database \"app\" already",
            "may not create databases",
            "the role \"brought\", and user me may not create roles",
            "lacks the role \"gone\", and the backup does not hold roles",
            "tablespace \"fast\"",
            "extension postgis 3.3",
            "has 9 B free",
        ];
        assert_eq!(judgement.problems.len(), expected.len(), "{judgement:#?}");
        for (problem, expected) in judgement.problems.iter().zip(expected) {
            assert!(problem.contains(expected), "{problem}");
        }
    }

    #[test]
    fn what_is_only_odd_is_a_warning() {
        let mut premises = premises();
        premises.major = 17;
        let (mut properties, roles) = (properties(), BTreeSet::new());
        properties.extensions.push(Extension {
            name: "hstore".to_owned(),
            version: "1.4".to_owned(),
            schema: "public".to_owned(),
        });
        let judgement = judge(&premises, &wanted(&properties, &roles));
        assert_eq!(judgement.problems, [""; 0]);
        assert_eq!(judgement.warnings.len(), 2, "{judgement:#?}");
    }

    #[test]
    fn a_role_that_the_backup_brings_is_not_missing() {
        let (mut properties, roles) = (properties(), BTreeSet::from(["brought".to_owned()]));
        properties.owner = "brought".to_owned();
        let judgement = judge(&premises(), &wanted(&properties, &roles));
        assert_eq!(judgement, Judgement::default());
    }
}
