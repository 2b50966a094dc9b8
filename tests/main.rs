//! Tests of the real program against real servers: one binary, since each would link everything again.
//! A module is a subject; nextest runs each test in a process of its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test that cannot go on panics, and one that is skipped says so"
)]

mod alerts;
mod as_of;
mod backup_interrupted;
mod backup_program_faults;
mod backup_server_faults;
mod clock;
mod commands;
mod copies;
mod copies_adopted;
mod copies_pins;
mod copies_proof;
mod copies_pruned;
mod copies_reading;
mod copies_retention;
mod daemon;
mod definitions;
mod definitions_tried;
mod destination_azure;
mod destination_check;
mod destination_directory;
mod destination_google;
mod destination_s3;
mod destination_s3_ways;
mod destination_sftp;
mod directories;
mod disk_damage;
mod disk_full;
mod documentation;
mod drill;
mod drill_preload;
mod encrypted_backups;
mod fleet;
mod hanging;
mod hostile_dump;
mod hostile_restore;
mod journal;
mod keys;
mod layers;
mod left_out;
mod machine_faults;
mod many_databases;
mod messages;
mod metrics;
mod names;
mod notify;
mod objects;
mod odd;
mod other_dumps;
mod partial;
mod postgres_catalogs;
mod postgres_cluster;
mod postgres_connect;
mod postgres_programs;
mod power_cut;
mod quarantine;
mod rehearsal;
mod report;
mod restore;
mod restore_faults;
mod restore_names;
mod restore_preflight;
mod restore_proof;
mod restore_salvage;
mod restore_sessions;
mod restore_table;
mod restore_unlike_databases;
mod root;
mod round_trip;
mod settings;
mod standby;
mod status;
mod support;
mod web;
mod what_errors_show;
