//! The only place that knows `PostgreSQL`: connections, programs and their output, credentials.

mod blocking;
mod child;
mod client;
mod confine;
mod connect_error;
mod conninfo;
mod constraints;
mod dependents;
mod dump;
mod dump_failure;
mod excerpt;
mod exit;
mod extract;
mod lasting_thread;
mod left_out;
mod load_session;
mod loaded;
mod memory;
mod preload;
mod programs;
mod properties;
mod property_differences;
mod query_error;
mod quote;
mod readable;
mod recreate;
mod sandbox;
mod security_labels;
mod server_error;
mod server_facts;
mod server_settings;
mod short_rows;
mod socket;
mod statistics;
mod stdio;
mod system_catalog_text;
mod tls;
mod unread_table;
mod watch;

pub use blocking::{Blocker, blockers};
pub use child::{
    Account, Child, ChildError, ChildInput, ChildKind, ChildOutput, ChildSpec, Confinement, Mask,
    kill_all_children,
};
pub use client::Client;
pub use confine::{Bounds, Enforcement, Files, LAUNCHER, LaunchError, Reach, Running, launch};
pub use connect_error::{ConnectError, ConnectErrorKind, advice_to_root};
pub use conninfo::{
    Conninfo, ConninfoError, ParameterSource, PasswordError, ServiceError, without_passwords,
    without_passwords_of_uris,
};
pub use constraints::{
    Condition, check_of_domain, checks_of_domains_of, checks_of_table, computed_columns,
    domain_without_nulls,
};
pub use dependents::{
    Dependents, bring_what_always_fires, dependents, knows_time_zone, missing_locales,
    subscriptions,
};
pub use dump::{
    DumpCommand, DumpError, archive_as_sql_arguments, archive_definitions_arguments,
    archive_entries_arguments, archive_list_arguments, archive_on_stdin_arguments,
    definitions_arguments, globals_arguments, load_archive_arguments,
    load_text_and_answer_arguments, load_text_arguments, load_text_through_arguments,
};
pub use dump_failure::{DumpFailure, explain_failure, failed_at_a_lock, without_details};
pub use exit::Exit;
pub use extract::{
    CopyOut, Dependency, Detached, ForeignKey, Shape, Table, dependencies, detach, drop_all_but,
    end_process, has, has_schema, move_into, partition_tree, process_of, quoted, shapes,
    statistics, taken, text_from,
};
pub use left_out::{LeftOut, LeftOutKind, left_out};
pub use load_session::{CopyRows, LoadError, LoadSession, StatementRefusal};
pub use loaded::loaded_rows;
pub use preload::{library_name, package_of};
pub use programs::{ProgramError, ProgramUse, ProgramVersion, Programs};
pub use properties::{
    DatabaseProperties, Extension, SecurityLabel, ServerProperties, ServerSetting, Setting,
    database_properties, discover, locales, may_read_role_passwords, server_properties,
    why_undiscovered,
};
pub use property_differences::{differences_with_its_name, property_differences};
pub use query_error::QueryError;
pub use readable::unreadable;
pub use recreate::{
    SettingForLoading, TakePlace, comes_with_its_name, comment_on_database, create_database,
    create_throw_away, drop_database, drop_role, finish_database, foreign_grantors,
    forget_subscription, give_setting, in_the_name_of, no_template, reset_settings, roles_of,
    settings_and_privileges, settings_for_loading, take_place,
};
pub use sandbox::{
    FetchDirectory, Sandbox, SandboxError, SandboxSpec, database_name, sweep_sandboxes,
};
pub use security_labels::missing_label_providers;
pub use server_error::{ServerError, read_all_errors, read_errors};
pub use server_facts::{
    ServerFacts, Standing, USUAL_TABLESPACE, databases, end_sessions, is_member, server_facts,
};
pub use server_settings::{differing_settings, server_settings, session_statements};
pub use statistics::{NotRefreshed, analyze, analyze_tables};
pub use stdio::{EndMark, ProgramInput, ProgramOutput, input_pipe, output_pipe};
pub use tls::TlsError;
pub use unread_table::{
    FailedTable, FoundTable, TableRead, failed_table, find_table, is_of_the_rows, read_table,
};
pub use watch::{WATCHER, dismiss_watcher, watch};
