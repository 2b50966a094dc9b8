//! What every command does and prints: to people, to programs, and when something is wrong.

mod any_command;
mod backup;
mod config_and_schedule;
mod connections;
mod emergency;
mod gone;
mod hints;
mod json;
mod new_machine;
mod older;
mod prune_and_pin;
mod servers;
mod verify;
