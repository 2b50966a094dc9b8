use super::*;
use crate::postgres::Setting;

pub(crate) fn properties() -> DatabaseProperties {
    DatabaseProperties {
        name: "a\"b".to_owned(),
        encoding: "UTF8".to_owned(),
        locale_provider: "libc".to_owned(),
        lc_collate: "C".to_owned(),
        lc_ctype: "it's".to_owned(),
        locale: None,
        icu_rules: None,
        collation_version: None,
        owner: "own er".to_owned(),
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
        size_bytes: 0,
    }
}

#[test]
fn a_database_is_made_like_the_one_that_was_dumped() {
    let common = "CREATE DATABASE \"a\"\"b\" TEMPLATE template0 OWNER \"own er\" ENCODING E'UTF8' \
                  LC_COLLATE E'C' LC_CTYPE E'it''s'";
    for (provider, locale, rules, major, rest) in [
        ("libc", None, None, 14, ""),
        ("libc", None, None, 15, " LOCALE_PROVIDER \"libc\""),
        (
            "icu",
            Some("ar"),
            None,
            15,
            " LOCALE_PROVIDER \"icu\" ICU_LOCALE E'ar'",
        ),
        (
            "icu",
            Some("ar"),
            Some("&a < b"),
            16,
            " LOCALE_PROVIDER \"icu\" ICU_LOCALE E'ar' ICU_RULES E'&a < b'",
        ),
        (
            "builtin",
            Some("C.UTF-8"),
            None,
            17,
            " LOCALE_PROVIDER \"builtin\" BUILTIN_LOCALE E'C.UTF-8'",
        ),
    ] {
        let like = DatabaseProperties {
            locale_provider: provider.to_owned(),
            locale: locale.map(str::to_owned),
            icu_rules: rules.map(str::to_owned),
            ..properties()
        };
        assert_eq!(
            create_database("a\"b", Some(&like), major),
            format!("{common}{rest}")
        );
    }
    assert_eq!(
        create_database("x", None, 15),
        "CREATE DATABASE \"x\" TEMPLATE template0"
    );
    let elsewhere = DatabaseProperties {
        tablespace: Some("fast".to_owned()),
        ..properties()
    };
    assert!(create_database("a", Some(&elsewhere), 14).ends_with(" TABLESPACE \"fast\""));
}

#[test]
fn settings_come_back_as_they_were() {
    for (role, setting, statement) in [
        (
            None,
            "work_mem=64MB",
            "ALTER DATABASE \"d\" SET \"work_mem\" TO E'64MB'",
        ),
        (
            Some("a\"b"),
            "my.own=it's = 1",
            "ALTER ROLE \"a\"\"b\" IN DATABASE \"d\" SET \"my.own\" TO E'it''s = 1'",
        ),
        (
            None,
            "search_path=\"$user\", public, \"a, \"\"b\"",
            "ALTER DATABASE \"d\" SET \"search_path\" TO E'$user', E'public', E'a, \"b'",
        ),
        (
            None,
            "search_path=\"\"",
            "ALTER DATABASE \"d\" SET \"search_path\" TO E''",
        ),
    ] {
        let like = DatabaseProperties {
            settings: vec![Setting {
                role: role.map(str::to_owned),
                setting: setting.to_owned(),
            }],
            ..properties()
        };
        assert_eq!(settings_and_privileges("d", &like), [statement]);
    }
}

#[test]
fn security_labels_come_back() {
    let like = DatabaseProperties {
        labels: vec![crate::postgres::SecurityLabel {
            provider: "my \"own\"".to_owned(),
            label: r"it's a \ secret".to_owned(),
        }],
        privileges: None,
        settings: Vec::new(),
        ..properties()
    };
    let expected = r#"SECURITY LABEL FOR "my ""own""" ON DATABASE "d" IS E'it''s a \\ secret'"#;
    assert_eq!(settings_and_privileges("d", &like), [expected]);
}

#[test]
fn privileges_come_back_as_they_were() {
    let with = |items: &[&str]| {
        let like = DatabaseProperties {
            owner: "o".to_owned(),
            privileges: Some(items.iter().map(|item| (*item).to_owned()).collect()),
            ..properties()
        };
        settings_and_privileges("d", &like)
    };
    let taken = [
        "REVOKE ALL ON DATABASE \"d\" FROM PUBLIC",
        "REVOKE ALL ON DATABASE \"d\" FROM \"o\"",
    ];
    assert_eq!(with(&[]), taken);
    assert_eq!(
        with(&["=Tc/o", "o=CTc/o", "\"a \"\"=/b\"=c*T/o", "x=c/\"a b\""])[2..],
        [
            "GRANT TEMPORARY, CONNECT ON DATABASE \"d\" TO PUBLIC",
            "GRANT CREATE, TEMPORARY, CONNECT ON DATABASE \"d\" TO \"o\"",
            "GRANT TEMPORARY ON DATABASE \"d\" TO \"a \"\"=/b\"",
            "GRANT CONNECT ON DATABASE \"d\" TO \"a \"\"=/b\" WITH GRANT OPTION",
            "SET LOCAL ROLE \"a b\"; GRANT CONNECT ON DATABASE \"d\" TO \"x\"; RESET ROLE",
        ]
    );
}

#[test]
fn every_role_that_is_needed_is_named_once() {
    let like = DatabaseProperties {
        owner: "o".to_owned(),
        privileges: Some(vec!["=Tc/o".to_owned(), "\"r w\"=c/g".to_owned()]),
        settings: vec![Setting {
            role: Some("s".to_owned()),
            setting: "a=b".to_owned(),
        }],
        ..properties()
    };
    assert_eq!(roles_of(&like), ["g", "o", "r w", "s"]);
}

#[test]
fn names_change_hands_in_one_transaction() {
    let like = DatabaseProperties {
        comment: Some("it's ours".to_owned()),
        connection_limit: 7,
        is_template: true,
        ..properties()
    };
    let swap = TakePlace {
        from: "new",
        name: "a\"b",
        aside: Some("old"),
        is_new: true,
        like: Some(&like),
    };
    assert_eq!(
        take_place(&swap),
        "BEGIN; ALTER DATABASE \"a\"\"b\" RENAME TO \"old\"; ALTER DATABASE \"new\" RENAME TO \
         \"a\"\"b\"; COMMENT ON DATABASE \"a\"\"b\" IS E'it''s ours'; ALTER DATABASE \"a\"\"b\" \
         CONNECTION LIMIT 7; ALTER DATABASE \"a\"\"b\" IS_TEMPLATE true; COMMIT"
    );
    let swap = TakePlace {
        aside: None,
        is_new: false,
        like: None,
        ..swap
    };
    assert_eq!(
        take_place(&swap),
        "BEGIN; ALTER DATABASE \"new\" RENAME TO \"a\"\"b\"; COMMIT"
    );
    // What was made for this loses the comment that says so.
    let swap = TakePlace {
        is_new: true,
        ..swap
    };
    assert_eq!(
        take_place(&swap),
        "BEGIN; ALTER DATABASE \"new\" RENAME TO \"a\"\"b\"; COMMENT ON DATABASE \"a\"\"b\" IS \
         NULL; COMMIT"
    );
}

#[test]
fn before_a_load_a_database_gets_the_servers_settings_and_then_its_own() {
    let server = [ServerSetting {
        name: "app.region".to_owned(),
        value: "eu".to_owned(),
    }];
    let own = |role: Option<&str>, setting: &str| Setting {
        role: role.map(str::to_owned),
        setting: setting.to_owned(),
    };
    let like = DatabaseProperties {
        settings: vec![
            own(None, "DateStyle=ISO, DMY"),
            own(None, "lock_timeout=1s"),
            own(None, "role=grp"),
            own(Some("r"), "app.region=us"),
        ],
        ..properties()
    };
    let given = settings_for_loading("d", &server, &like);
    let given: Vec<_> = given
        .iter()
        .map(|one| (&*one.name, one.is_of_server, &*one.sql))
        .collect();
    assert_eq!(
        given,
        [
            (
                "app.region",
                true,
                "ALTER DATABASE \"d\" SET \"app.region\" TO E'eu'"
            ),
            (
                "DateStyle",
                false,
                "ALTER DATABASE \"d\" SET \"DateStyle\" TO E'ISO, DMY'"
            ),
            (
                "app.region",
                false,
                "ALTER ROLE \"r\" IN DATABASE \"d\" SET \"app.region\" TO E'us'"
            ),
        ]
    );
}
