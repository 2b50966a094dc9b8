//! Whatever a database can hold is proven by a test restore, without a false alarm.
//!
//! The themes stand in `fixtures/`, one file each, and share a server and a database. If that is not
//! proven, each is tried by itself, so that the one is named that fails.

use std::fmt::Write as _;

use serde_json::Value;

use crate::support::cluster::{Cluster, Options};
use crate::support::drill::{back_up, operator};
use crate::support::operator::Operator;
use crate::support::sample::feed;

/// A theme's name and its SQL.
type Theme = (&'static str, &'static str);

/// Themes of a UTF8 database.
const THEMES: &[Theme] = &[
    ("collations", include_str!("fixtures/collations.sql")),
    ("constraints", include_str!("fixtures/constraints.sql")),
    ("elsewhere", include_str!("fixtures/elsewhere.sql")),
    ("names", include_str!("fixtures/names.sql")),
    ("privileges", include_str!("fixtures/privileges.sql")),
    ("routines", include_str!("fixtures/routines.sql")),
    ("tables", include_str!("fixtures/tables.sql")),
    ("types", include_str!("fixtures/types.sql")),
    ("values", include_str!("fixtures/values.sql")),
    ("views", include_str!("fixtures/views.sql")),
];

/// What a test restore of a database says against it; nothing when it is proven without a remark.
fn faults(source: &Cluster, database: &str) -> String {
    let (mut operator, _place) = operator(source, database);
    operator.set_value("drill.jobs", 4);
    faults_of(&operator)
}

fn faults_of(operator: &Operator) -> String {
    back_up(operator);
    let output = operator.run(&["--json", "drill"]);
    let reports: Vec<Value> = serde_json::from_str(&output.stdout).unwrap_or_default();
    let [report] = reports.as_slice() else {
        return output.to_string();
    };
    let mut text = String::new();
    for list in ["differences", "remarks"] {
        for line in report[list].as_array().into_iter().flatten() {
            writeln!(text, "  {}", line.as_str().unwrap_or_default()).unwrap();
        }
    }
    if report["outcome"] != "proven" {
        write!(text, "{output}").unwrap();
    }
    text
}

/// Tries every theme by itself.
fn faults_by_theme() -> String {
    THEMES.iter().fold(String::new(), |mut text, (name, sql)| {
        let source = Cluster::start();
        source.create_database("theme");
        feed(&source, "theme", sql.as_bytes());
        let faults = faults(&source, "theme");
        if !faults.is_empty() {
            writeln!(text, "{name}:\n{faults}").unwrap();
        }
        text
    })
}

#[test]
fn whatever_a_database_can_hold_is_proven_without_a_false_alarm() {
    let source = Cluster::start();
    source.create_database("everything");
    for (_, sql) in THEMES {
        feed(&source, "everything", sql.as_bytes());
    }
    let together = faults(&source, "everything");
    assert!(together.is_empty(), "{together}\n{}", faults_by_theme());

    // Over several connections, and with nothing known of the roles but their names.
    let (mut operator, _place) = operator(&source, "everything");
    operator.set("dump.format", "directory");
    operator.set_value("dump.globals", false);
    let faults = faults_of(&operator);
    let remarks: Vec<&str> = faults.trim().lines().collect();
    assert_eq!(remarks.len(), 1, "{faults}");
    assert!(
        remarks[0].starts_with("the backup holds no roles and tablespaces (globals = false)"),
        "{faults}"
    );
    assert!(
        remarks[0].contains(r#": 6 roles ("elsewhere_user", "#),
        "{faults}"
    );
}

/// Databases that differ in themselves: name, how they are made, and what is in them.
const DATABASES: &[(&str, &str, &[u8])] = &[
    ("settings", "", include_bytes!("fixtures/settings.sql")),
    (
        "caf=e 'x'",
        "ENCODING 'SQL_ASCII' LOCALE 'C'",
        b"CREATE TABLE \"caf\xe9\" (\"\xff\xfe\" text);\n\
          INSERT INTO \"caf\xe9\" VALUES (E'\\xe9\\xff'), ('\xe9');",
    ),
    (
        "latin",
        "ENCODING 'LATIN1' LOCALE 'C' TABLESPACE aside",
        b"SET client_encoding = 'LATIN1';\n\
          CREATE TABLE \"caf\xe9\" (a text, b money);\n\
          INSERT INTO \"caf\xe9\" VALUES ('na\xefve \xa7', 12.34);",
    ),
    (
        "order of icu",
        "LOCALE_PROVIDER icu ICU_LOCALE 'de-u-co-phonebk' LOCALE 'C.UTF-8'",
        b"CREATE TABLE t (a text PRIMARY KEY);\nINSERT INTO t VALUES ('\xc3\x84'), ('z'), ('Az');",
    ),
    ("empty", "", b""),
    ("without any schema", "", b"DROP SCHEMA public;"),
];

#[test]
fn tables_of_1600_columns_are_proven() {
    let source = Cluster::start();
    let columns = |kind: &str| {
        (0..1600).fold(String::new(), |mut text, i| {
            let comma = if i == 0 { "" } else { ", " };
            write!(text, "{comma}\"column {i} {}\" {kind}", "x".repeat(45)).unwrap();
            text
        })
    };
    source.psql(&format!(
        "CREATE TABLE wide ({});\nINSERT INTO wide (\"column 7 {2}\") VALUES (1);\n\
         CREATE TABLE wide_parent ({}) PARTITION BY LIST (\"column 0 {2}\");\n\
         CREATE TABLE wide_part PARTITION OF wide_parent DEFAULT;\n\
         INSERT INTO wide_parent (\"column 1599 {2}\") VALUES (true);",
        columns("smallint"),
        columns("boolean"),
        "x".repeat(45),
    ));
    let faults = faults(&source, "postgres");
    assert!(faults.is_empty(), "{faults}");
}

#[test]
#[ignore = "takes minutes, most of them PostgreSQL's; packaging/test runs it beside another step"]
fn twenty_thousand_tables_are_proven() {
    let source = Cluster::with(&Options {
        settings: vec![("max_locks_per_transaction", "1024".to_owned())],
        ..Options::default()
    });
    for thousand in 0..20 {
        source.psql(&format!(
            "DO $$ BEGIN FOR i IN {thousand}000..{thousand}999 LOOP\n\
             EXECUTE format('CREATE TABLE t%s (id integer PRIMARY KEY, t text)', i);\n\
             EXECUTE format('INSERT INTO t%s VALUES (1, %L)', i, i);\n\
             END LOOP; END $$"
        ));
    }
    let faults = faults(&source, "postgres");
    assert!(faults.is_empty(), "{faults}");
}

#[test]
fn databases_of_every_kind_are_proven_with_their_own_properties() {
    let source = Cluster::start();
    let place = source.socket_directory().join("tablespace");
    source.psql(&format!(
        "COPY (SELECT 1) TO PROGRAM 'cat >/dev/null; mkdir -m 0700 {0}';\n\
         CREATE TABLESPACE aside LOCATION '{0}';",
        place.display()
    ));
    let mut all = String::new();
    for (name, options, sql) in DATABASES.iter().rev() {
        source.psql(&format!(
            "CREATE DATABASE \"{name}\" TEMPLATE template0 {options}"
        ));
        feed(&source, name, sql);
        let faults = faults(&source, name);
        if !faults.is_empty() {
            writeln!(all, "{name}:\n{faults}").unwrap();
        }
    }
    assert!(all.is_empty(), "{all}");
}
