//! What a salvage brings back of backups and files that do not restore.

mod damage;
mod faults;
mod kinds;
mod swap;

use crate::support::cluster::Cluster;
use crate::support::operator::{Operator, Output};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;

/// A database with `fine`, and what a kind makes.
fn hard(cluster: &Cluster, sql: &str) {
    cluster.psql("DROP DATABASE IF EXISTS hard");
    cluster.create_database("hard");
    cluster.psql_in(
        "hard",
        "CREATE TABLE fine (id int PRIMARY KEY); INSERT INTO fine SELECT generate_series(1, 1000)",
    );
    cluster.psql_in("hard", sql);
}

/// Dumps the database into a file, changed so.
fn dump(cluster: &Cluster, operator: &Operator, edit: (&str, &str)) -> PathBuf {
    let path = operator.path("hard.sql");
    let output = cluster.command("pg_dump").arg("hard").output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(edit.0), "{text}");
    // What stands for a byte that is in no UTF-8.
    let text = text.replace(edit.0, edit.1).into_bytes();
    let text = text
        .into_iter()
        .map(|byte| if byte == 1 { 0xff } else { byte });
    fs::write(&path, text.collect::<Vec<u8>>()).unwrap();
    path
}

/// Salvages into a database of this name; what was printed as JSON.
fn salvage(operator: &Operator, backup: &str, code: i32) -> (Value, Output) {
    let output = operator.run(&["--json", "restore", backup, "--salvage", "--into", "copy"]);
    assert_eq!(output.code, code, "{output}");
    (serde_json::from_str(&output.stdout).unwrap(), output)
}

fn pairs(found: &Value) -> Vec<(String, String)> {
    let text = |one: &Value, key: &str| one[key].as_str().unwrap().to_owned();
    let found = found
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
        .iter();
    let mut pairs: Vec<_> = found
        .map(|one| (text(one, "state"), text(one, "object")))
        .collect();
    pairs.sort();
    pairs
}

fn drop_copy(cluster: &Cluster) {
    cluster.psql("DROP DATABASE IF EXISTS copy");
}
