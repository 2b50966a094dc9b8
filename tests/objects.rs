//! Whatever a database can hold is proven by a test restore, without a false alarm.
//!
//! The themes stand in `fixtures/`, one file each, and share a server and a database. If that is not
//! proven, each is tried by itself, so that the one is named that fails.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test that cannot go on panics, and one that is skipped says so"
)]

mod support;

use std::fmt::Write as _;

use serde_json::Value;

use support::cluster::Cluster;
use support::drill::{back_up, operator};
use support::sample::feed;

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
    let (operator, _place) = operator(source, database);
    back_up(&operator);
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
    if text.is_empty() && report["outcome"] != "proven" {
        text = output.to_string();
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
}
