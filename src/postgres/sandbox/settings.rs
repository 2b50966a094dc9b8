//! What a throw-away server is started with.

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
    ("logging_collector", "off"),
    ("log_destination", "stderr"),
    ("log_min_messages", "warning"),
    ("log_statement", "none"),
    ("log_min_error_statement", "panic"),
    ("lc_messages", "C"),
    ("timezone", "UTC"),
];
