use std::collections::{BTreeMap, BTreeSet};

use super::super::preflight::tests::properties;
use super::super::roles::{RolesToRestore, to_restore};
use super::*;
use crate::postgres::Setting;

/// A user who may create databases and roles, on a server of this version.
fn premises(major: u32) -> Premises {
    let roles = [
        ("me", true),
        ("mine", true),
        ("theirs", false),
        ("boss", false),
    ];
    Premises {
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
        ..Premises::default()
    }
}

#[track_caller]
fn assert_told(problems: &[String], expected: &[&str]) {
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    for (problem, expected) in problems.iter().zip(expected) {
        assert!(problem.contains(expected), "{expected}: {problem}");
    }
}

fn wanted(globals: &str, premises: &Premises, overwrite: bool) -> RolesToRestore {
    to_restore(globals.as_bytes(), &premises.roles, overwrite)
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
    let premises = premises(15);
    let roles = wanted(GLOBALS, &premises, false);
    assert_told(
        &to_make_roles(&premises, &roles, false),
        &[
            "lacks the role \"s\" of the backup, which had SUPERUSER, and user me may not",
            "the roles \"s\", \"r\" of the backup, which had REPLICATION",
            "the role \"s\" of the backup, which had BYPASSRLS",
            "the role \"d\" of the backup, which had the setting log_statement",
            "which had the setting app.tenant",
            "were members of the role \"theirs\", and user me may not make others that: CREATE ROLE",
        ],
    );
    assert_told(
        &to_make_roles(&premises, &wanted(GLOBALS, &premises, true), true)[..1],
        &["--overwrite-roles says of every role"],
    );
}

#[test]
fn from_version_16_on_who_has_an_attribute_may_give_it() {
    let mut premises = premises(16);
    premises.replicates = true;
    premises.bypasses_row_security = true;
    premises.may_create_databases = false;
    let roles = wanted(GLOBALS, &premises, false);
    assert_told(
        &to_make_roles(&premises, &roles, false),
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
    let premises = premises(15);
    let globals = "CREATE ROLE a;\nALTER ROLE a WITH NOSUPERUSER CREATEDB LOGIN;\nGRANT mine TO a;\n\
                   CREATE ROLE theirs;\nALTER ROLE theirs WITH SUPERUSER;\nGRANT theirs TO boss;\n";
    let roles = wanted(globals, &premises, false);
    assert_told(&to_make_roles(&premises, &roles, false), &[]);
}

#[test]
fn settings_that_our_user_may_not_give_to_the_database_are_named() {
    let premises = premises(15);
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
    assert_told(
        &to_give_properties(&premises, &properties, &brought),
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
    let pair = |schema: &str, role: &str| (schema.as_bytes().to_vec(), role.as_bytes().to_vec());
    let needs = Needs {
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
        ..Needs::default()
    };
    let mut premises = premises(17);
    let member = |member: &str, role: &str| (member.to_owned(), role.to_owned());
    premises.inherited = [member("mine", "between"), member("between", "me")].into();
    let properties = DatabaseProperties {
        owner: "me".to_owned(),
        ..properties()
    };
    let expected = [
        "the roles \"gone\", \"theirs\", and user me has not the rights of all of them: CREATE ROLE, \
         GRANT \"gone\" TO \"me\" WITH INHERIT TRUE, SET TRUE and so on",
        "default privileges of the role \"theirs\", and user me has not the rights of it: GRANT",
        "objects of the role \"theirs\" stand in the schema \"public\" of \"me\"",
        "objects of the role \"theirs\" stand in the schema \"s\" of \"mine\"",
        "the table public.t has row security",
    ];
    assert_told(&to_load(&premises, &needs, Some(&properties)), &expected);
    // Everybody may create in it, and one membership is like the other.
    premises.major = 14;
    premises.bypasses_row_security = true;
    let problems = to_load(&premises, &needs, Some(&properties));
    assert_told(
        &problems,
        &[
            "GRANT \"gone\" TO \"me\" and so on",
            "default privileges",
            "in the schema \"s\"",
        ],
    );
}

#[test]
fn a_refusal_is_told_with_its_way_out_to_whoever_is_no_superuser() {
    let mut premises = premises(15);
    let told = way_out(true, &premises).unwrap();
    assert!(told.starts_with("user me is no superuser"), "{told}");
    assert_eq!(way_out(false, &premises), None);
    premises.is_superuser = true;
    assert_eq!(way_out(true, &premises), None);
}
