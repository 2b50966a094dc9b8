//! The roles and tablespaces of a backup that was made without the cluster's: placeholders, so that the
//! dump can be loaded. Pure.

use std::collections::BTreeSet;
use std::path::Path;

use super::roles::{Prepared, USUAL_SUPERUSER};
use crate::display::counted;
use crate::pipeline::census::Dependencies;
use crate::postgres::{DatabaseProperties, foreign_grantors, roles_of};

/// The superuser that a server for such a backup is best made with: the usual one where the dump or
/// the database knows it, else the database's owner.
pub(super) fn superuser(dependencies: &Dependencies, properties: &DatabaseProperties) -> String {
    let owner = &properties.owner;
    let knows_the_usual = dependencies.roles.contains(USUAL_SUPERUSER.as_bytes())
        || roles_of(properties)
            .iter()
            .any(|role| role == USUAL_SUPERUSER);
    let grants = dependencies.grantors.contains(owner.as_bytes())
        || foreign_grantors(properties).contains(owner);
    if knows_the_usual || grants || owner.starts_with("pg_") {
        USUAL_SUPERUSER.to_owned()
    } else {
        owner.clone()
    }
}

/// Every role and tablespace that the dump and the database name, as a script.
///
/// What a role may do is not known, and nothing must fail for that: the owner of an event trigger
/// has to be a superuser, and a materialized view is filled with its owner's rights. But whoever grants
/// what is not theirs must be none, because a superuser grants in the owner's name.
pub(super) fn prepare(
    dependencies: &Dependencies,
    properties: &DatabaseProperties,
    superuser: &str,
    below: &Path,
) -> Prepared {
    let grantors: BTreeSet<Vec<u8>> = foreign_grantors(properties)
        .into_iter()
        .map(String::into_bytes)
        .chain(dependencies.grantors.iter().cloned())
        .collect();
    let mut roles = dependencies.roles.clone();
    roles.extend(roles_of(properties).into_iter().map(String::into_bytes));
    // Those of the system are there, and so is the superuser.
    roles.retain(|role| !role.starts_with(b"pg_") && role != superuser.as_bytes());
    let mut script = Vec::new();
    for role in &roles {
        script.extend_from_slice(b"CREATE ROLE ");
        script.extend_from_slice(&quoted(role));
        if !grantors.contains(role) {
            script.extend_from_slice(b" SUPERUSER");
        }
        script.extend_from_slice(b";\n");
    }
    let mut tablespaces = dependencies.tablespaces.clone();
    tablespaces.extend(properties.tablespace.clone().map(String::into_bytes));
    tablespaces.retain(|tablespace| !tablespace.starts_with(b"pg_"));
    for (number, tablespace) in tablespaces.iter().enumerate() {
        let path = below.join(number.to_string()).display().to_string();
        script.extend_from_slice(b"CREATE TABLESPACE ");
        script.extend_from_slice(&quoted(tablespace));
        let location = format!(" LOCATION '{}';\n", path.replace('\'', "''"));
        script.extend_from_slice(location.as_bytes());
    }
    Prepared {
        script,
        expected: Vec::new(),
        tablespaces: tablespaces.len(),
        placeholders: named("role", &roles)
            .into_iter()
            .chain(named("tablespace", &tablespaces))
            .collect(),
    }
}

/// A few of the names, and how many there are; none for no name.
fn named(what: &str, names: &BTreeSet<Vec<u8>>) -> Option<String> {
    const NAMED: usize = 10;
    if names.is_empty() {
        return None;
    }
    let mut list: Vec<String> = names
        .iter()
        .take(NAMED)
        .map(|name| format!("{:?}", String::from_utf8_lossy(name)))
        .collect();
    if names.len() > NAMED {
        list.push("…".to_owned());
    }
    let number = counted(names.len() as u64, what, &format!("{what}s"));
    Some(format!("{number} ({})", list.join(", ")))
}

fn quoted(name: &[u8]) -> Vec<u8> {
    let mut quoted = vec![b'"'];
    for byte in name {
        if *byte == b'"' {
            quoted.push(b'"');
        }
        quoted.push(*byte);
    }
    quoted.push(b'"');
    quoted
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::postgres::Setting;

    pub(in crate::jobs::drill) fn properties(owner: &str) -> DatabaseProperties {
        DatabaseProperties {
            name: "app".to_owned(),
            encoding: "UTF8".to_owned(),
            locale_provider: "libc".to_owned(),
            lc_collate: "C".to_owned(),
            lc_ctype: "C".to_owned(),
            locale: None,
            icu_rules: None,
            collation_version: None,
            owner: owner.to_owned(),
            tablespace: Some("fast".to_owned()),
            connection_limit: -1,
            is_template: false,
            allow_connections: true,
            labels: Vec::new(),
            privileges: Some(vec![format!("a=c/{owner}"), "b=c/a".to_owned()]),
            comment: None,
            settings: vec![Setting {
                role: Some("s".to_owned()),
                setting: "work_mem=1MB".to_owned(),
            }],
            extensions: Vec::new(),
            libraries: Vec::new(),
            size_bytes: 0,
        }
    }

    fn dependencies(roles: &[&str], grantors: &[&str]) -> Dependencies {
        let set = |names: &[&str]| names.iter().map(|name| name.as_bytes().to_vec()).collect();
        Dependencies {
            roles: set(roles),
            grantors: set(grantors),
            tablespaces: set(&["slow"]),
            ..Dependencies::default()
        }
    }

    #[test]
    fn whatever_is_named_is_made_and_nobody_grants_in_anothers_name() {
        let dependencies = dependencies(&["o", "g", "it's \"x\"", "pg_monitor"], &["g"]);
        let prepared = prepare(&dependencies, &properties("o"), "o", Path::new("/t"));
        assert_eq!(
            String::from_utf8_lossy(&prepared.script),
            "CREATE ROLE \"a\";\nCREATE ROLE \"b\" SUPERUSER;\nCREATE ROLE \"g\";\n\
             CREATE ROLE \"it's \"\"x\"\"\" SUPERUSER;\nCREATE ROLE \"s\" SUPERUSER;\n\
             CREATE TABLESPACE \"fast\" LOCATION '/t/0';\n\
             CREATE TABLESPACE \"slow\" LOCATION '/t/1';\n"
        );
        assert_eq!(prepared.tablespaces, 2);
        assert_eq!(
            prepared.placeholders,
            [
                "5 roles (\"a\", \"b\", \"g\", \"it's \\\"x\\\"\", \"s\")",
                "2 tablespaces (\"fast\", \"slow\")"
            ]
        );
    }

    #[test]
    fn the_superuser_is_the_usual_one_where_it_is_known() {
        for (roles, grantors, owner, expected) in [
            (&["x"] as &[&str], &[] as &[&str], "o", "o"),
            (&["x", "postgres"], &[], "o", "postgres"),
            (&["o"], &["o"], "o", "postgres"),
            (&[], &[], "pg_database_owner", "postgres"),
        ] {
            assert_eq!(
                superuser(&dependencies(roles, grantors), &properties(owner)),
                expected,
                "{roles:?} {grantors:?} {owner}"
            );
        }
    }
}
