//! What a user who is no superuser may not do of a restore, as far as that can be known before anything is
//! touched. Pure. The rules are those of the manual's "Role Attributes", "Role Membership" and "Privileges";
//! what of them came with version 16 is said where it counts.

use std::collections::BTreeSet;

use super::roles::{RolesToRestore, names};
use crate::display::named;
use crate::jobs::globals;
use crate::pipeline::census::Dependencies;
use crate::postgres::{DatabaseProperties, ServerFacts};

/// Since when the right to create roles is not one to alter those of others, and an attribute can be given
/// by who has it.
const OWN_ATTRIBUTES_SINCE: u32 = 16;

/// The schema of which every database has one: the owner of the database owns it from version 15 on, and
/// before everybody may create something in it.
const PUBLIC: &[u8] = b"public";

/// What to add to what a program said when it was refused a right.
pub(super) fn way_out(is_about_privileges: bool, facts: &ServerFacts) -> Option<String> {
    (is_about_privileges && !facts.is_superuser).then(|| {
        format!(
            "user {user} is no superuser, and lacks a privilege that this needs: GRANT it to \
             \"{user}\" and run it again, or restore as a superuser",
            user = facts.user
        )
    })
}

/// Roles that are made, or made as they were.
pub(super) fn to_make_roles(
    facts: &ServerFacts,
    wanted: &RolesToRestore,
    overwrites: bool,
) -> Vec<String> {
    let user = &facts.user;
    let mut problems = Vec::new();
    if overwrites && wanted.statements.len() > wanted.missing.len() {
        problems.push(format!(
            "--overwrite-roles says of every role whether it is a superuser, and user {user} may not: \
             restore as a superuser, or without it"
        ));
    }
    problems.extend(attributes_beyond(facts, wanted));
    problems.extend(settings_beyond(facts, wanted));
    // What is there stays as it is, whoever may not grant it.
    if !overwrites {
        problems.extend(memberships_beyond(facts, wanted));
    }
    problems
}

/// What to do about a role that our user may not make.
const BY_HAND: &str = "CREATE ROLE by hand, as it is to be, and run it again (a role that is there stays \
    as it is), or restore as a superuser";

/// The attributes of missing roles that our user may not give.
fn attributes_beyond(facts: &ServerFacts, wanted: &RolesToRestore) -> Vec<String> {
    let user = &facts.user;
    let mut problems = Vec::new();
    let owns_attributes = facts.major >= OWN_ATTRIBUTES_SINCE;
    for (attribute, has) in [
        ("SUPERUSER", false),
        ("REPLICATION", owns_attributes && facts.replicates),
        ("BYPASSRLS", owns_attributes && facts.bypasses_row_security),
        ("CREATEDB", !owns_attributes || facts.may_create_databases),
    ] {
        let roles: Vec<String> = wanted
            .statements
            .iter()
            .filter_map(|text| globals::attributes(text.as_bytes()))
            .filter(|(role, attributes)| {
                wanted.missing.contains(role) && attributes.contains(&attribute)
            })
            .map(|(role, _)| role)
            .collect();
        if !has && !roles.is_empty() {
            let roles: Vec<&str> = roles.iter().map(String::as_str).collect();
            problems.push(format!(
                "the server lacks {} of the backup, which had {attribute}, and user {user} may not \
                 give that: {BY_HAND}",
                named("the role", "the roles", &roles)
            ));
        }
    }
    problems
}

/// The settings of missing roles that our user may not give.
fn settings_beyond(facts: &ServerFacts, wanted: &RolesToRestore) -> Vec<String> {
    let settings = wanted.statements.iter();
    let settings = settings.filter_map(|text| globals::setting_of_role(text.as_bytes()));
    let beyond = settings.filter(|it| wanted.missing.contains(&it.0) && !facts.may_give(&it.1));
    let sentence = |(role, setting): (String, String)| {
        format!(
            "the server lacks the role {role:?} of the backup, which had the setting {setting}, and \
             user {} may not give that: {BY_HAND}",
            facts.user
        )
    };
    beyond.map(sentence).collect()
}

/// The roles that our user may not make others members of.
fn memberships_beyond(facts: &ServerFacts, wanted: &RolesToRestore) -> Option<String> {
    let user = &facts.user;
    let closed: BTreeSet<&str> = wanted
        .memberships
        .iter()
        .map(|(role, ..)| role.as_str())
        .filter(|role| facts.roles.contains_key(*role) && !facts.administered.contains(*role))
        .collect();
    if closed.is_empty() {
        return None;
    }
    let closed: Vec<&str> = closed.into_iter().collect();
    Some(format!(
        "roles of the backup that the server lacks were members of {}, and user {user} may not make \
         others that: {}CREATE ROLE and GRANT by hand, and run it again, or restore as a superuser",
        named("the role", "the roles", &closed),
        if facts.major >= OWN_ATTRIBUTES_SINCE {
            format!("GRANT that TO \"{user}\" WITH ADMIN OPTION, ")
        } else {
            String::new()
        }
    ))
}

/// What a database gets after its content: settings, of everybody and of roles. `brought` are the roles
/// that come with the backup.
pub(super) fn to_give_properties(
    facts: &ServerFacts,
    properties: &DatabaseProperties,
    brought: &BTreeSet<String>,
) -> Vec<String> {
    let user = &facts.user;
    let mut problems = Vec::new();
    let owner = &properties.owner;
    if !facts.roles.contains_key(owner) && brought.contains(owner) {
        problems.push(format!(
            "the database belongs to {owner:?}, which the server lacks, and user {user} may not act for a \
             role that it creates: CREATE ROLE \"{owner}\", {}, and run it again, or restore as a superuser",
            grant_to_act(facts, owner)
        ));
    }
    let names = properties.settings.iter().filter_map(|one| {
        let (name, _) = one.setting.split_once('=')?;
        (!facts.may_give(name)).then_some(name)
    });
    for name in names.collect::<BTreeSet<&str>>() {
        problems.push(format!(
            "the database has the setting {name}, which user {user} may not give: {}restore as a superuser",
            if facts.major >= 15 {
                format!("GRANT SET ON PARAMETER {name} TO \"{user}\", or ")
            } else {
                String::new()
            }
        ));
    }
    let roles = properties.settings.iter().filter_map(|one| {
        let role = one.role.as_ref()?;
        let may =
            role == user || facts.administered.contains(role) || !facts.roles.contains_key(role);
        (!may).then_some(role.as_str())
    });
    let roles: Vec<&str> = roles.collect::<BTreeSet<&str>>().into_iter().collect();
    if !roles.is_empty() {
        problems.push(format!(
            "the database has settings of {}, which user {user} may not alter: {}restore as a superuser",
            named("the role", "the roles", &roles),
            way_to_alter(facts, &roles)
        ));
    }
    problems
}

/// How a user comes to alter these roles, if there is a way.
fn way_to_alter(facts: &ServerFacts, roles: &[&str]) -> String {
    let user = &facts.user;
    if roles.iter().any(|role| facts.superusers.contains(*role)) {
        String::new()
    } else if facts.major < OWN_ATTRIBUTES_SINCE {
        format!("ALTER ROLE \"{user}\" CREATEROLE, or ")
    } else {
        format!("ALTER ROLE \"{user}\" CREATEROLE and GRANT them TO it WITH ADMIN OPTION, or ")
    }
}

/// The statement by which our user may act for a role.
fn grant_to_act(facts: &ServerFacts, role: &str) -> String {
    let user = &facts.user;
    // A membership may lack either from version 16 on, and before follow what the member inherits.
    let options = if facts.major >= OWN_ATTRIBUTES_SINCE {
        " WITH INHERIT TRUE, SET TRUE"
    } else {
        ""
    };
    format!("GRANT \"{role}\" TO \"{user}\"{options}")
}

/// What only a superuser can load, or somebody with the rights of the objects' owners.
pub(super) fn to_load(
    facts: &ServerFacts,
    dependencies: &Dependencies,
    properties: Option<&DatabaseProperties>,
) -> Vec<String> {
    let user = &facts.user;
    let mut problems = Vec::new();
    let mut about_roles = |roles: BTreeSet<String>, what: &str| {
        let others: Vec<&str> = roles
            .iter()
            .filter(|role| !may_act_for(facts, role))
            .map(String::as_str)
            .collect();
        let Some(first) = others.first() else { return };
        let are_there = others.iter().all(|role| facts.roles.contains_key(*role));
        let way = if are_there { "" } else { "CREATE ROLE, " };
        let whose = if others.len() == 1 {
            format!("it: {way}{}", grant_to_act(facts, first))
        } else {
            format!("all of them: {way}{} and so on", grant_to_act(facts, first))
        };
        problems.push(format!(
            "{what} {}, and user {user} is not a member of {whose}, or restore as a superuser",
            named("the role", "the roles", &others),
        ));
    };
    about_roles(names(&dependencies.owners), "objects in the dump belong to");
    about_roles(
        names(&dependencies.default_privileges),
        "the dump changes the default privileges of",
    );
    problems.extend(owners_without_a_place(facts, dependencies, properties));
    for extension in names(&dependencies.extensions).intersection(&facts.untrusted) {
        problems.push(format!(
            "the extension {extension} is not trusted: only a superuser can install it\nhint: restore as \
             a superuser"
        ));
    }
    if !dependencies.grantors.is_empty() {
        let grantors = names(&dependencies.grantors);
        let grantors: Vec<&str> = grantors.iter().map(String::as_str).collect();
        problems.push(format!(
            "privileges in the dump were granted by {}, in whose name only a superuser can grant\nhint: restore as a superuser",
            named("the role", "the roles", &grantors)
        ));
    }
    for (what, statement) in &dependencies.of_superusers {
        problems.push(format!(
            "the dump holds {what}, which only a superuser can make ({statement} …)\nhint: restore as a \
             superuser"
        ));
    }
    if let Some(table) = &dependencies.forces_row_security
        && !facts.bypasses_row_security
    {
        problems.push(format!(
            "the table {table} has row security that holds for its owner too, so that user {user} could \
             not compare its rows\nhint: ALTER ROLE \"{user}\" BYPASSRLS, or restore as a superuser"
        ));
    }
    problems
}

/// Whether something can be made to belong to a role. The owner of the new database is one by himself.
fn may_act_for(facts: &ServerFacts, role: &str) -> bool {
    role == "pg_database_owner" || facts.roles.get(role) == Some(&true)
}

/// Owners who could not create what is theirs: the rights on a schema come at the end of a dump, and
/// before that only its owner has any.
fn owners_without_a_place(
    facts: &ServerFacts,
    dependencies: &Dependencies,
    properties: Option<&DatabaseProperties>,
) -> Vec<String> {
    let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
    let owner_of = |schema: &[u8]| match dependencies.schemas.get(schema) {
        Some(owner) => Some(text(owner)),
        None if schema == PUBLIC && facts.major >= 15 => {
            Some(properties.map_or_else(|| facts.user.clone(), |one| one.owner.clone()))
        }
        None => None,
    };
    let mut problems = Vec::new();
    for (schema, role) in &dependencies.owned_in {
        let role = text(role);
        // What a role may do that is not there yet, nobody knows.
        if !facts.roles.contains_key(&role) || role == "pg_database_owner" {
            continue;
        }
        let Some(owner) = owner_of(schema) else {
            continue;
        };
        if !facts.roles.contains_key(&owner) || facts.has_rights_of(&role, &owner) {
            continue;
        }
        // Nobody is a member of his own member.
        let way = if facts.has_rights_of(&owner, &role) {
            String::new()
        } else {
            format!("GRANT \"{owner}\" TO \"{role}\" until the restore is done, or ")
        };
        problems.push(format!(
            "objects of the role {role:?} are in the schema {:?} of {owner:?}, in which it may create \
             nothing before the dump's last statements: {way}restore as a superuser",
            text(schema)
        ));
    }
    problems
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::super::preflight::tests::properties;
    use super::super::roles::{RolesToRestore, to_restore};
    use super::*;
    use crate::postgres::Setting;

    /// A user who may create databases and roles, on a server of this version.
    fn facts(major: u32) -> ServerFacts {
        let roles = [
            ("me", true),
            ("mine", true),
            ("theirs", false),
            ("boss", false),
        ];
        ServerFacts {
            major,
            user: "me".to_owned(),
            may_create_databases: true,
            may_create_roles: true,
            roles: roles.map(|(role, mine)| (role.to_owned(), mine)).into(),
            superusers: ["boss".to_owned()].into(),
            administered: ["mine".to_owned()].into(),
            settings: [("work_mem", true), ("log_statement", false)]
                .map(|(name, may)| (name.to_owned(), may))
                .into(),
            ..ServerFacts::default()
        }
    }

    #[track_caller]
    fn assert_problems(problems: &[String], expected: &[&str]) {
        assert_eq!(problems.len(), expected.len(), "{problems:#?}");
        for (problem, expected) in problems.iter().zip(expected) {
            assert!(problem.contains(expected), "{expected}: {problem}");
        }
    }

    fn wanted(globals: &str, facts: &ServerFacts, overwrite: bool) -> RolesToRestore {
        to_restore(globals.as_bytes(), &facts.roles, overwrite)
    }

    const GLOBALS: &str = "CREATE ROLE s;\nALTER ROLE s WITH SUPERUSER LOGIN REPLICATION BYPASSRLS;\n\
        CREATE ROLE r;\nALTER ROLE r WITH NOSUPERUSER LOGIN REPLICATION NOBYPASSRLS;\n\
        CREATE ROLE d;\nALTER ROLE d WITH NOSUPERUSER CREATEDB CREATEROLE;\n\
        ALTER ROLE d SET log_statement TO 'all';\nALTER ROLE d SET work_mem TO '1MB';\n\
        ALTER ROLE d SET app.tenant TO 'x';\n\
        CREATE ROLE mine;\nALTER ROLE mine WITH SUPERUSER;\n\
        GRANT theirs TO d GRANTED BY boss;\nGRANT mine TO d GRANTED BY boss;\nGRANT r TO d;\n";

    #[test]
    fn a_role_is_not_made_what_our_user_may_not_make_it() {
        let facts = facts(15);
        let roles = wanted(GLOBALS, &facts, false);
        assert_problems(
            &to_make_roles(&facts, &roles, false),
            &[
                "lacks the role \"s\" of the backup, which had SUPERUSER, and user me may not",
                "the roles \"s\", \"r\" of the backup, which had REPLICATION",
                "the role \"s\" of the backup, which had BYPASSRLS",
                "the role \"d\" of the backup, which had the setting log_statement",
                "which had the setting app.tenant",
                "were members of the role \"theirs\", and user me may not make others that: CREATE ROLE",
            ],
        );
        assert_problems(
            &to_make_roles(&facts, &wanted(GLOBALS, &facts, true), true)[..1],
            &["--overwrite-roles says of every role"],
        );
    }

    #[test]
    fn from_version_16_on_who_has_an_attribute_may_give_it() {
        let mut facts = facts(16);
        facts.replicates = true;
        facts.bypasses_row_security = true;
        facts.may_create_databases = false;
        let roles = wanted(GLOBALS, &facts, false);
        assert_problems(
            &to_make_roles(&facts, &roles, false),
            &[
                "which had SUPERUSER",
                "the role \"d\" of the backup, which had CREATEDB",
                "log_statement",
                "app.tenant",
                "GRANT that TO \"me\" WITH ADMIN OPTION, CREATE ROLE",
            ],
        );
    }

    #[test]
    fn roles_that_anybody_could_make_are_no_problem() {
        let facts = facts(15);
        let globals = "CREATE ROLE a;\nALTER ROLE a WITH NOSUPERUSER CREATEDB LOGIN;\nGRANT mine TO a;\n\
                       CREATE ROLE theirs;\nALTER ROLE theirs WITH SUPERUSER;\nGRANT theirs TO boss;\n";
        let roles = wanted(globals, &facts, false);
        assert_problems(&to_make_roles(&facts, &roles, false), &[]);
    }

    #[test]
    fn settings_that_our_user_may_not_give_to_the_database_are_named() {
        let facts = facts(15);
        let setting = |role: Option<&str>, setting: &str| Setting {
            role: role.map(str::to_owned),
            setting: setting.to_owned(),
        };
        let properties = DatabaseProperties {
            owner: "brought".to_owned(),
            settings: vec![
                setting(None, "Work_Mem=1MB"),
                setting(None, "log_statement=all"),
                setting(Some("me"), "app.tenant=x"),
                setting(Some("mine"), "work_mem=1MB"),
                setting(Some("theirs"), "work_mem=1MB"),
                setting(Some("brought"), "work_mem=1MB"),
            ],
            ..properties()
        };
        let brought = BTreeSet::from(["brought".to_owned()]);
        assert_problems(
            &to_give_properties(&facts, &properties, &brought),
            &[
                "CREATE ROLE \"brought\", GRANT \"brought\" TO \"me\", and run it again",
                "the setting app.tenant, which user me may not give: GRANT SET ON PARAMETER app.tenant",
                "the setting log_statement",
                "settings of the role \"theirs\", which user me may not alter: ALTER ROLE \"me\" CREATEROLE",
            ],
        );
    }

    #[test]
    fn what_the_dump_makes_for_others_is_named() {
        let names = |names: &[&str]| names.iter().map(|name| name.as_bytes().to_vec()).collect();
        let pair =
            |schema: &str, role: &str| (schema.as_bytes().to_vec(), role.as_bytes().to_vec());
        let dependencies = Dependencies {
            owners: names(&["mine", "theirs", "gone", "pg_database_owner"]),
            default_privileges: names(&["theirs"]),
            forces_row_security: Some("public.t".to_owned()),
            schemas: BTreeMap::from([pair("s", "mine"), pair("of me", "me")]),
            owned_in: [
                pair("s", "mine"),
                pair("s", "theirs"),
                pair("s", "boss"),
                pair("s", "gone"),
                pair("of an extension", "theirs"),
                pair("of me", "mine"),
                pair("public", "theirs"),
            ]
            .into(),
            ..Dependencies::default()
        };
        let mut facts = facts(17);
        let member = |member: &str, role: &str| (member.to_owned(), role.to_owned());
        facts.inherited = [member("mine", "between"), member("between", "me")].into();
        let properties = DatabaseProperties {
            owner: "me".to_owned(),
            ..properties()
        };
        let expected = [
            "the roles \"gone\", \"theirs\", and user me is not a member of all of them: CREATE ROLE, \
             GRANT \"gone\" TO \"me\" WITH INHERIT TRUE, SET TRUE and so on",
            "default privileges of the role \"theirs\", and user me is not a member of it: GRANT",
            "objects of the role \"theirs\" are in the schema \"public\" of \"me\"",
            "objects of the role \"theirs\" are in the schema \"s\" of \"mine\"",
            "the table public.t has row security",
        ];
        assert_problems(
            &to_load(&facts, &dependencies, Some(&properties)),
            &expected,
        );
        // Everybody may create in it, and one membership is like the other.
        facts.major = 14;
        facts.bypasses_row_security = true;
        let problems = to_load(&facts, &dependencies, Some(&properties));
        assert_problems(
            &problems,
            &[
                "GRANT \"gone\" TO \"me\" and so on",
                "default privileges",
                "in the schema \"s\"",
            ],
        );
    }

    #[test]
    fn a_refusal_is_reported_with_its_way_out_to_whoever_is_no_superuser() {
        let mut facts = facts(15);
        let sentence = way_out(true, &facts).unwrap();
        assert!(
            sentence.starts_with("user me is no superuser"),
            "{sentence}"
        );
        assert_eq!(way_out(false, &facts), None);
        facts.is_superuser = true;
        assert_eq!(way_out(true, &facts), None);
    }
}
