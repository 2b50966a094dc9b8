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
mod connections;
mod emergency;
mod gone;
mod json;
mod new_machine;
mod older;
mod prune_and_pin;
mod servers;
mod verify;
