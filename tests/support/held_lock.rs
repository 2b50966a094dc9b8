//! Runs that are caught in the middle of a table.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{self, Stdio};

use super::cluster::{Cluster, wait_until};

/// Makes a table whose dump fills every pipe and buffer on its way: about 6 MB.
pub(crate) fn make_big_table(cluster: &Cluster, database: &str, table: &str) {
    cluster.psql_in(
        database,
        &format!(
            "CREATE TABLE {table} AS SELECT i, repeat(md5(i::text), 32) AS t \
               FROM generate_series(1, 6000) AS i"
        ),
    );
}

/// A session that holds a table against everybody until it is dropped.
pub(crate) struct HeldLock<'a> {
    cluster: &'a Cluster,
    psql: process::Child,
    /// The session's process on the server.
    pub(crate) pid: String,
}

impl<'a> HeldLock<'a> {
    /// Locks the table in ACCESS EXCLUSIVE mode.
    pub(crate) fn on(cluster: &'a Cluster, database: &str, table: &str) -> Self {
        let mut psql = cluster
            .command("psql")
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"])
            .env("PGDATABASE", database)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("psql");
        let stdin = psql.stdin.as_mut().expect("a pipe");
        writeln!(
            stdin,
            "BEGIN; SELECT pg_backend_pid(); LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE; \
             SELECT 'held' AS lock;"
        )
        .expect("a listening psql");
        let mut lines = BufReader::new(psql.stdout.take().expect("a pipe")).lines();
        let pid = lines.next().expect("an answer").expect("a line");
        let held = lines.next().expect("an answer").expect("a line");
        assert_eq!(held, "held");
        Self { cluster, psql, pid }
    }

    /// Drops the table that it holds, and ends.
    pub(crate) fn drop_the_table(mut self, table: &str) {
        let stdin = self.psql.stdin.as_mut().expect("a pipe");
        writeln!(stdin, "DROP TABLE {table}; COMMIT;").expect("a listening psql");
    }

    /// Waits until somebody waits for the lock.
    pub(crate) fn wait_for_another(&self) {
        let sql = format!(
            "SELECT count(*) > 0 FROM pg_stat_activity WHERE {} = ANY (pg_blocking_pids(pid))",
            self.pid
        );
        wait_until("somebody waits for the lock", || {
            self.cluster.psql(&sql) == "t"
        });
    }
}

impl Drop for HeldLock<'_> {
    fn drop(&mut self) {
        // The end of its input ends psql, and with it the transaction.
        drop(self.psql.stdin.take());
        self.psql.wait().expect("psql");
    }
}
