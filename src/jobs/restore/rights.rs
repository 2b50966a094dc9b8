//! What a user who is no superuser may not do of a restore, as far as that can be known before anything is
//! touched. Pure. The rules are those of the manual's "Role Attributes", "Role Membership" and "Privileges";
//! what of them came with version 16 is said where it counts.

use std::collections::BTreeSet;

use super::preflight::{named, names};
use super::roles::RolesToRestore;
use crate::jobs::globals;
use crate::pipeline::census::Needs;
use crate::postgres::{DatabaseProperties, Premises};

/// Since when the right to create roles is not one to alter those of others, and an attribute can be given
/// by who has it.
const OWN_ATTRIBUTES_SINCE: u32 = 16;

/// The schema of which every database has one: the owner of the database owns it from version 15 on, and
/// before everybody may create something in it.
const PUBLIC: &[u8] = b"public";

/// What to add to what a program said when it was refused a right.
pub(super) fn way_out(is_about_privileges: bool, premises: &Premises) -> Option<String> {
    (is_about_privileges && !premises.is_superuser).then(|| {
        format!(
            "user {user} is no superuser, and lacks a right that this takes: GRANT it to \
             \"{user}\" and run it again, or restore as a superuser",
            user = premises.user
        )
    })
}

/// Roles that are made, or made as they were.
pub(super) fn to_make_roles(
    premises: &Premises,
    wanted: &RolesToRestore,
    overwrites: bool,
) -> Vec<String> {
    let user = &premises.user;
    let mut problems = Vec::new();
    let missing: BTreeSet<&str> = wanted.missing.iter().map(String::as_str).collect();
    if overwrites && wanted.statements.len() > missing.len() {
        problems.push(format!(
            "--overwrite-roles says of every role whether it is a superuser, and user {user} may not: \
             restore as a superuser, or without it"
        ));
    }
    let by_hand = "CREATE ROLE by hand, as it is to be, and run it again (a role that is there stays \
                   as it is), or restore as a superuser";
    let owns_attributes = premises.major >= OWN_ATTRIBUTES_SINCE;
    for (attribute, has) in [
        ("SUPERUSER", false),
        ("REPLICATION", owns_attributes && premises.replicates),
        (
            "BYPASSRLS",
            owns_attributes && premises.bypasses_row_security,
        ),
        (
            "CREATEDB",
            !owns_attributes || premises.may_create_databases,
        ),
    ] {
        let roles: Vec<String> = wanted
            .statements
            .iter()
            .filter_map(|text| globals::attributes(text.as_bytes()))
            .filter(|(role, attributes)| {
                missing.contains(role.as_str()) && attributes.contains(&attribute)
            })
            .map(|(role, _)| role)
            .collect();
        if !has && !roles.is_empty() {
            let roles: Vec<&str> = roles.iter().map(String::as_str).collect();
            problems.push(format!(
                "the server lacks {} of the backup, which had {attribute}, and user {user} may not \
                 give that: {by_hand}",
                named("the role", "the roles", &roles)
            ));
        }
    }
    let settings = wanted.statements.iter();
    for (role, setting) in settings.filter_map(|text| globals::setting_of_role(text.as_bytes())) {
        if missing.contains(role.as_str()) && !premises.may_give(&setting) {
            problems.push(format!(
                "the server lacks the role {role:?} of the backup, which had the setting {setting}, and \
                 user {user} may not give that: {by_hand}"
            ));
        }
    }
    let closed: BTreeSet<&str> = wanted
        .memberships
        .iter()
        .map(|(role, ..)| role.as_str())
        .filter(|role| premises.roles.contains_key(*role) && !premises.administered.contains(*role))
        .collect();
    // What is there stays as it is, whoever may not grant it.
    if !closed.is_empty() && !overwrites {
        let closed: Vec<&str> = closed.into_iter().collect();
        problems.push(format!(
            "roles of the backup that the server lacks were members of {}, and user {user} may not make \
             others that: {}CREATE ROLE and GRANT by hand, and run it again, or restore as a superuser",
            named("the role", "the roles", &closed),
            if owns_attributes {
                format!("GRANT that TO \"{user}\" WITH ADMIN OPTION, ")
            } else {
                String::new()
            }
        ));
    }
    problems
}

/// What a database gets after its content: settings, of everybody and of roles. `brought` are the roles
/// that come with the backup.
pub(super) fn to_give_properties(
    premises: &Premises,
    properties: &DatabaseProperties,
    brought: &BTreeSet<String>,
) -> Vec<String> {
    let user = &premises.user;
    let mut problems = Vec::new();
    let owner = &properties.owner;
    if !premises.roles.contains_key(owner) && brought.contains(owner) {
        problems.push(format!(
            "the database belongs to {owner:?}, which the server lacks, and user {user} may not act for a \
             role that it creates: CREATE ROLE \"{owner}\", {}, and run it again, or restore as a superuser",
            grant_to_act(premises, owner)
        ));
    }
    let names = properties.settings.iter().filter_map(|one| {
        let (name, _) = one.setting.split_once('=')?;
        (!premises.may_give(name)).then_some(name)
    });
    for name in names.collect::<BTreeSet<&str>>() {
        problems.push(format!(
            "the database has the setting {name}, which user {user} may not give: {}restore as a superuser",
            if premises.major >= 15 {
                format!("GRANT SET ON PARAMETER {name} TO \"{user}\", or ")
            } else {
                String::new()
            }
        ));
    }
    let roles = properties.settings.iter().filter_map(|one| {
        let role = one.role.as_ref()?;
        let may = role == user
            || premises.administered.contains(role)
            || !premises.roles.contains_key(role);
        (!may).then_some(role.as_str())
    });
    let roles: Vec<&str> = roles.collect::<BTreeSet<&str>>().into_iter().collect();
    if !roles.is_empty() {
        problems.push(format!(
            "the database has settings of {}, which user {user} may not alter: {}restore as a superuser",
            named("the role", "the roles", &roles),
            way_to_alter(premises, &roles)
        ));
    }
    problems
}

/// How a user comes to alter these roles, if there is a way.
fn way_to_alter(premises: &Premises, roles: &[&str]) -> String {
    let user = &premises.user;
    if roles.iter().any(|role| premises.superusers.contains(*role)) {
        String::new()
    } else if premises.major < OWN_ATTRIBUTES_SINCE {
        format!("ALTER ROLE \"{user}\" CREATEROLE, or ")
    } else {
        format!("ALTER ROLE \"{user}\" CREATEROLE and GRANT them TO it WITH ADMIN OPTION, or ")
    }
}

/// The statement by which our user may act for a role.
fn grant_to_act(premises: &Premises, role: &str) -> String {
    let user = &premises.user;
    // A membership may lack either from version 16 on, and before follow what the member inherits.
    let options = if premises.major >= OWN_ATTRIBUTES_SINCE {
        " WITH INHERIT TRUE, SET TRUE"
    } else {
        ""
    };
    format!("GRANT \"{role}\" TO \"{user}\"{options}")
}

/// What only a superuser can load, or somebody with the rights of the objects' owners.
pub(super) fn to_load(
    premises: &Premises,
    needs: &Needs,
    properties: Option<&DatabaseProperties>,
) -> Vec<String> {
    let user = &premises.user;
    let mut problems = Vec::new();
    let mut about_roles = |roles: BTreeSet<String>, what: &str| {
        let others: Vec<&str> = roles
            .iter()
            .filter(|role| !may_act_for(premises, role))
            .map(String::as_str)
            .collect();
        let Some(first) = others.first() else { return };
        let are_there = others.iter().all(|role| premises.roles.contains_key(*role));
        let way = if are_there { "" } else { "CREATE ROLE, " };
        let whose = if others.len() == 1 {
            format!("it: {way}{}", grant_to_act(premises, first))
        } else {
            format!(
                "all of them: {way}{} and so on",
                grant_to_act(premises, first)
            )
        };
        problems.push(format!(
            "{what} {}, and user {user} has not the rights of {whose}, or restore as a superuser",
            named("the role", "the roles", &others),
        ));
    };
    about_roles(names(&needs.owners), "objects in the dump belong to");
    about_roles(
        names(&needs.default_privileges),
        "the dump changes the default privileges of",
    );
    problems.extend(owners_without_a_place(premises, needs, properties));
    for extension in names(&needs.extensions).intersection(&premises.untrusted) {
        problems.push(format!(
            "the extension {extension} is not trusted: only a superuser can install it; restore as \
             a superuser"
        ));
    }
    if !needs.grantors.is_empty() {
        let grantors = names(&needs.grantors);
        let grantors: Vec<&str> = grantors.iter().map(String::as_str).collect();
        problems.push(format!(
            "privileges in the dump were granted by {}, in whose name only a superuser can grant: \
             restore as a superuser",
            named("the role", "the roles", &grantors)
        ));
    }
    for (what, statement) in &needs.of_superusers {
        problems.push(format!(
            "the dump holds {what}, which only a superuser can make ({statement} …): restore as a \
             superuser"
        ));
    }
    if let Some(table) = &needs.forces_row_security
        && !premises.bypasses_row_security
    {
        problems.push(format!(
            "the table {table} has row security that holds for its owner too, so that user {user} could \
             not compare its rows: ALTER ROLE \"{user}\" BYPASSRLS, or restore as a superuser"
        ));
    }
    problems
}

/// Whether something can be made to belong to a role. The owner of the new database is one by himself.
fn may_act_for(premises: &Premises, role: &str) -> bool {
    role == "pg_database_owner" || premises.roles.get(role) == Some(&true)
}

/// Owners who could not create what is theirs: the rights on a schema come at the end of a dump, and
/// before that only its owner has any.
fn owners_without_a_place(
    premises: &Premises,
    needs: &Needs,
    properties: Option<&DatabaseProperties>,
) -> Vec<String> {
    let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
    let owner_of = |schema: &[u8]| match needs.schemas.get(schema) {
        Some(owner) => Some(text(owner)),
        None if schema == PUBLIC && premises.major >= 15 => {
            Some(properties.map_or_else(|| premises.user.clone(), |one| one.owner.clone()))
        }
        None => None,
    };
    let mut problems = Vec::new();
    for (schema, role) in &needs.owned_in {
        let role = text(role);
        // What a role may do that is not there yet, nobody knows.
        if !premises.roles.contains_key(&role) || role == "pg_database_owner" {
            continue;
        }
        let Some(owner) = owner_of(schema) else {
            continue;
        };
        if !premises.roles.contains_key(&owner) || premises.has_rights_of(&role, &owner) {
            continue;
        }
        // Nobody is a member of his own member.
        let way = if premises.has_rights_of(&owner, &role) {
            String::new()
        } else {
            format!("GRANT \"{owner}\" TO \"{role}\" until the restore is done, or ")
        };
        problems.push(format!(
            "objects of the role {role:?} stand in the schema {:?} of {owner:?}, in which it may create \
             nothing before the dump's last statements: {way}restore as a superuser",
            text(schema)
        ));
    }
    problems
}

#[cfg(test)]
mod tests;
