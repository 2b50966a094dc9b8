//! What a temporary cluster is started with, and the bounds that it and the programs that work on it
//! are kept within. What is loaded is code of whoever could write into the database that was dumped.

use std::path::Path;

use crate::postgres::confine::{Bounds, Files, Reach, Running};

/// Settings of the server: no network, no durability, and bounded. It is thrown away, so that a
/// crash costs nothing.
pub(super) const SETTINGS: &[(&str, &str)] = &[
    ("listen_addresses", ""),
    ("port", "5432"),
    ("unix_socket_permissions", "0700"),
    ("fsync", "off"),
    ("synchronous_commit", "off"),
    ("full_page_writes", "off"),
    ("wal_level", "minimal"),
    ("max_wal_senders", "0"),
    ("max_wal_size", "256MB"),
    ("checkpoint_timeout", "1h"),
    ("autovacuum", "off"),
    // Nothing may make memory executable under the unit's MemoryDenyWriteExecute.
    ("jit", "off"),
    ("shared_buffers", "64MB"),
    ("work_mem", "16MB"),
    ("maintenance_work_mem", "128MB"),
    ("max_connections", "20"),
    ("max_worker_processes", "4"),
    ("max_parallel_workers", "2"),
    ("max_parallel_maintenance_workers", "1"),
    // A dump locks every table at once.
    ("max_locks_per_transaction", "4096"),
    // Files of its own, and not /dev/shm: there, the segments of every other server of the same user
    // are within reach.
    ("dynamic_shared_memory_type", "mmap"),
    ("logging_collector", "off"),
    ("log_destination", "stderr"),
    ("log_min_messages", "warning"),
    ("log_statement", "none"),
    ("log_min_error_statement", "panic"),
    ("lc_messages", "C"),
    ("timezone", "UTC"),
];

/// Libraries that start no background worker.
const WITHOUT_WORKERS: &[&str] = &["auto_explain", "pg_stat_statements", "pgaudit"];

/// Further settings of a server that loads these libraries for a database of this name.
///
/// A library can have workers started with the server: `pg_cron`'s would carry out the jobs of the dump,
/// and `pg_partman`'s would change its partitions before they are compared. Where there is no place for a
/// worker, none is started, whichever library asks for one ("Background Worker Processes" in
/// `PostgreSQL`'s manual). That takes the workers of parallel queries away too.
pub(super) fn settings_to_preload(
    libraries: &[String],
    database: &str,
) -> Vec<(&'static str, String)> {
    let mut settings = vec![("shared_preload_libraries", libraries.join(","))];
    let starts_none = |library: &String| WITHOUT_WORKERS.contains(&library.as_str());
    if !libraries.iter().all(starts_none) {
        settings.extend([
            ("max_worker_processes", "0".to_owned()),
            ("max_logical_replication_workers", "0".to_owned()),
        ]);
    }
    if libraries.iter().any(|library| library == "pg_cron") {
        settings.extend([
            // It can be made in no other database ("Setting up pg_cron" in its README).
            ("cron.database_name", database.to_owned()),
            // Should its launcher be there in spite of all: since 1.6 it then starts no job, and
            // before, it looks for a worker.
            ("cron.launch_active_jobs", "off".to_owned()),
            ("cron.use_background_workers", "on".to_owned()),
        ]);
    }
    settings
}

/// What `initdb` needs. It has nothing to do with what is loaded, and runs `postgres` by a shell.
pub(super) fn bounds_of_initdb(home: &Path) -> Bounds {
    Bounds {
        running: Running::Programs,
        // Somewhere out there may be who knows the name of the own user (nsswitch.conf(5)).
        reach: Reach::Sockets,
        files: Some(Files {
            writable: vec![home.join("data"), home.join("home")],
            ..Files::default()
        }),
    }
}

/// What the server needs. It carries out what is loaded.
pub(super) fn bounds_of_the_server(home: &Path) -> Bounds {
    let own = ["data", "socket", "home", "tablespaces"];
    Bounds {
        running: Running::Itself,
        reach: Reach::Nobody,
        files: Some(Files {
            writable: own.map(|name| home.join(name)).into(),
            ..Files::default()
        }),
    }
}

/// What psql, `pg_dump` and `pg_restore` need to work on the server.
pub(super) fn bounds_of_programs(home: &Path) -> Bounds {
    Bounds {
        running: Running::Itself,
        reach: Reach::Sockets,
        files: Some(Files {
            readable: vec![home.join("home")],
            callable: vec![home.join("socket")],
            ..Files::default()
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::settings_to_preload;

    #[test]
    fn a_library_that_may_start_workers_gets_no_place_for_one() {
        for (libraries, workers, cron) in [
            (&["pgaudit", "pg_stat_statements"] as &[&str], None, None),
            (&["pg_stat_statements", "unheard_of"], Some("0"), None),
            (&["pg_cron"], Some("0"), Some("the shop")),
        ] {
            let libraries: Vec<String> = libraries.iter().map(ToString::to_string).collect();
            let settings = settings_to_preload(&libraries, "the shop");
            let value = |name| {
                let found = settings.iter().find(|(one, _)| *one == name);
                found.map(|(_, value)| value.as_str())
            };
            assert_eq!(
                value("shared_preload_libraries"),
                Some(&*libraries.join(","))
            );
            assert_eq!(value("max_worker_processes"), workers, "{libraries:?}");
            assert_eq!(value("cron.database_name"), cron, "{libraries:?}");
        }
    }
}
