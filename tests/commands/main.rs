//! What every command does and prints: to people, to programs, and when something is wrong.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test that cannot go on panics, and one that is skipped says so"
)]

#[path = "../support/mod.rs"]
mod support;

mod any_command;
mod backup;
mod config_and_schedule;
mod emergency;
mod json;
mod prune_and_pin;
mod verify;

use std::path::PathBuf;

use support::operator::Operator;

/// The artifact of the newest backup of a database.
fn file_of(operator: &Operator, database: &str) -> PathBuf {
    let listed = operator.json(&["list", "--database", database]);
    let directory = PathBuf::from(listed[0]["directory"].as_str().unwrap());
    let newest = listed[0]["backups"].as_array().unwrap().last().unwrap();
    let name = newest["name"].as_str().unwrap();
    directory.join(format!("{name}.sql.gz"))
}
