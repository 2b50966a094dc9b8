use std::collections::BTreeMap;

use super::*;
use crate::postgres::{Extension, Standing};

static NO_ROLES: RolesToRestore = RolesToRestore {
    missing: Vec::new(),
    statements: Vec::new(),
    memberships: Vec::new(),
    privileges: Vec::new(),
};

static NOTHING: Dependents = Dependents {
    prepared: Vec::new(),
    slots: Vec::new(),
    subscriptions: Vec::new(),
};

fn facts() -> ServerFacts {
    ServerFacts {
        major: 15,
        user: "me".to_owned(),
        is_superuser: true,
        may_create_databases: true,
        may_create_roles: true,
        roles: BTreeMap::from([("me".to_owned(), true), ("o".to_owned(), true)]),
        tablespaces: BTreeMap::from([("pg_default".to_owned(), true)]),
        extensions: BTreeMap::from([("hstore".to_owned(), vec!["1.8".to_owned()])]),
        databases: BTreeMap::from([(
            "app".to_owned(),
            Standing {
                owner: "me".to_owned(),
                ..Standing::default()
            },
        )]),
        ..ServerFacts::default()
    }
}

pub(in crate::jobs::restore) fn properties() -> DatabaseProperties {
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
        labels: Vec::new(),
        privileges: None,
        comment: None,
        settings: Vec::new(),
        extensions: Vec::new(),
        libraries: Vec::new(),
        size_bytes: 1,
    }
}

/// All that such a server has to offer.
fn wanted<'a>(properties: &'a DatabaseProperties, roles: &'a BTreeSet<String>) -> Wanted<'a> {
    Wanted {
        name: "app",
        may_replace: true,
        drops_old: false,
        properties: Some(properties),
        source_major: Some(15),
        roles,
        roles_to_restore: &NO_ROLES,
        overwrites_roles: false,
        dependencies: None,
        dependents: &NOTHING,
        missing_locales: &[],
        missing_providers: &[],
        forecast: Some(10),
        free: Some(10),
    }
}

#[test]
fn a_server_that_has_everything_is_fine() {
    let (properties, roles) = (properties(), BTreeSet::new());
    let known = wanted(&properties, &roles);
    assert_eq!(judge_restore(&facts(), &known), Judgement::default());
    let unknown = Wanted {
        properties: None,
        source_major: None,
        free: None,
        ..known
    };
    assert_eq!(judge_restore(&facts(), &unknown), Judgement::default());
}

#[test]
fn everything_that_is_missing_is_named_at_once() {
    let mut facts = facts();
    facts.is_superuser = false;
    facts.may_create_databases = false;
    facts.may_create_roles = false;
    facts.in_recovery = true;
    facts.major = 14;
    let (mut properties, roles) = (properties(), BTreeSet::from(["brought".to_owned()]));
    properties.owner = "gone".to_owned();
    properties.tablespace = Some("fast".to_owned());
    properties.extensions.push(Extension {
        name: "postgis".to_owned(),
        version: "3.3".to_owned(),
        schema: "public".to_owned(),
        owner: None,
    });
    let wanted = Wanted {
        may_replace: false,
        free: Some(9),
        ..wanted(&properties, &roles)
    };
    let judgement = judge_restore(&facts, &wanted);
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
fn an_extension_of_one_database_alone_is_not_restored_into_another() {
    let roles = BTreeSet::new();
    let mut facts = facts();
    facts
        .extensions
        .insert(PG_CRON.to_owned(), vec!["1.4".to_owned()]);
    let mut with = properties();
    with.extensions.push(Extension {
        name: PG_CRON.to_owned(),
        schema: "pg_catalog".to_owned(),
        version: "1.4".to_owned(),
        owner: None,
    });
    let without = properties();
    let made = Dependencies {
        extensions: BTreeSet::from([PG_CRON.as_bytes().to_vec()]),
        ..Dependencies::default()
    };
    for (properties, dependencies, is_refused) in [
        (&without, None, false),
        (&with, None, true),
        (&without, Some(&made), true),
    ] {
        let wanted = Wanted {
            dependencies,
            ..wanted(properties, &roles)
        };
        let found = judge_restore(&facts, &wanted);
        let is_told = found.problems.iter().any(|one| one.contains("by hand"));
        assert_eq!(is_told, is_refused, "{found:#?}");
    }
}

#[test]
fn what_the_dump_names_must_be_there() {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let bytes = |names: &[&str]| names.iter().map(|name| name.as_bytes().to_vec()).collect();
    let dependencies = Dependencies {
        roles: bytes(&["o", "brought", "gone", "away"]),
        grantors: bytes(&["o"]),
        owners: bytes(&["o", "brought", "gone"]),
        tablespaces: bytes(&["fast"]),
        extensions: bytes(&["postgis", "hstore"]),
        label_providers: bytes(&["selinux"]),
        of_superusers: BTreeMap::from([("event triggers", "CREATE EVENT".to_owned())]),
        ..Dependencies::default()
    };
    let (properties, roles) = (properties(), names(&["brought"]));
    let missing_locales = ["xx_YY".to_owned()];
    let missing_providers = ["selinux".to_owned()];
    let wanted = Wanted {
        dependencies: Some(&dependencies),
        missing_locales: &missing_locales,
        missing_providers: &missing_providers,
        ..wanted(&properties, &roles)
    };
    let check = |facts: &ServerFacts, expected: &[&str]| {
        let judgement = judge_restore(facts, &wanted);
        assert_eq!(judgement.problems.len(), expected.len(), "{judgement:#?}");
        for (problem, expected) in judgement.problems.iter().zip(expected) {
            assert!(problem.contains(expected), "{problem}");
        }
    };
    let for_all = [
        "lacks the locale \"xx_YY\"",
        "lacks the roles \"away\", \"gone\", to whom",
        "tablespace \"fast\"",
        "extension postgis\nhint: ",
    ];
    let of_labels = ["of the label provider \"selinux\", which the server has not loaded"];
    check(&facts(), &[&for_all[..], &of_labels].concat());
    let mut weak = facts();
    weak.is_superuser = false;
    weak.untrusted = names(&["hstore"]);
    let for_the_weak = [
        "belong to the roles \"brought\", \"gone\", and user me",
        "extension hstore is not trusted",
        "granted by the role \"o\", in whose name",
        "event triggers, which only a superuser can make (CREATE EVENT …)",
    ];
    check(&weak, &[&for_all[..], &for_the_weak, &of_labels].concat());
}

#[test]
fn a_right_to_a_tablespace_is_wanted_where_the_database_does_not_stand_in_it() {
    let (mut properties, roles) = (properties(), BTreeSet::new());
    let mut facts = facts();
    facts.is_superuser = false;
    let tablespaces = [("pg_default", false), ("fast", false), ("mine", true)];
    facts.tablespaces = tablespaces.map(|(name, may)| (name.to_owned(), may)).into();
    for (database, relations, denied) in [
        (Some("pg_default"), &["mine"][..], &[][..]),
        (Some("pg_default"), &["fast", "mine"], &["fast"]),
        (Some("fast"), &["fast"], &["fast"]),
        (Some("mine"), &["pg_default"], &["pg_default"]),
        (None, &["pg_default"], &[]),
    ] {
        properties.tablespace = database.map(str::to_owned);
        let dependencies = Dependencies {
            tablespaces: relations.iter().map(|one| one.as_bytes().into()).collect(),
            ..Dependencies::default()
        };
        let wanted = Wanted {
            dependencies: Some(&dependencies),
            ..wanted(&properties, &roles)
        };
        let problems = judge_restore(&facts, &wanted).problems;
        let expected: Vec<String> = denied
            .iter()
            .map(|one| format!("user me may not create anything in the tablespace \"{one}\""))
            .collect();
        assert_eq!(problems.len(), expected.len(), "{database:?} {problems:#?}");
        for (problem, expected) in problems.iter().zip(expected) {
            assert!(problem.starts_with(&expected), "{problem}");
        }
    }
}

#[test]
fn what_is_bound_to_the_replaced_database_is_reported() {
    let (properties, roles) = (properties(), BTreeSet::new());
    let dependents = Dependents {
        prepared: vec!["left".to_owned()],
        slots: vec!["slot".to_owned()],
        subscriptions: vec!["sub".to_owned()],
    };
    let wanted = Wanted {
        dependents: &dependents,
        ..wanted(&properties, &roles)
    };
    let mut facts = facts();
    let judgement = judge_restore(&facts, &wanted);
    assert_eq!(judgement.problems.len(), 1, "{judgement:#?}");
    assert_eq!(judgement.warnings.len(), 2, "{judgement:#?}");
    facts.is_superuser = false;
    let standing = facts.databases.get_mut("app").unwrap();
    standing.owner = "somebody".to_owned();
    let judgement = judge_restore(&facts, &wanted);
    let expected = "belongs to \"somebody\"";
    assert!(judgement.problems[0].contains(expected), "{judgement:#?}");
    assert!(
        judgement.warnings[0].contains("pg_signal_backend"),
        "{judgement:#?}"
    );
    let dropping = Wanted {
        drops_old: true,
        ..wanted
    };
    let judgement = judge_restore(&facts, &dropping);
    let expected = "slots are dropped with the database that is replaced: \"slot\"";
    assert!(judgement.warnings[1].contains(expected), "{judgement:#?}");
    // Beside it, it is of no interest.
    let beside = Wanted {
        name: "new",
        ..wanted
    };
    assert_eq!(judge_restore(&facts, &beside), Judgement::default());
}

#[test]
fn what_is_only_odd_is_a_warning() {
    let mut facts = facts();
    facts.major = 17;
    let (mut properties, roles) = (properties(), BTreeSet::new());
    properties.extensions.push(Extension {
        name: "hstore".to_owned(),
        version: "1.4".to_owned(),
        schema: "public".to_owned(),
        owner: None,
    });
    let judgement = judge_restore(&facts, &wanted(&properties, &roles));
    assert_eq!(judgement.problems, [""; 0]);
    assert_eq!(judgement.warnings.len(), 2, "{judgement:#?}");
}

#[test]
fn a_role_that_the_backup_brings_is_not_missing() {
    let (mut properties, roles) = (properties(), BTreeSet::from(["brought".to_owned()]));
    properties.owner = "brought".to_owned();
    let judgement = judge_restore(&facts(), &wanted(&properties, &roles));
    assert_eq!(judgement, Judgement::default());
}
