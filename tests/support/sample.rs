//! The database in most of the tests that restore something, and scripts of any bytes.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::cluster::Cluster;

/// The sample database, and one of almost everything else in it.
pub(crate) const SAMPLE: &str = "productivity_tracker";

/// A server that has the tablespace of the odd corners.
pub(crate) fn server() -> Cluster {
    let cluster = Cluster::start();
    let place = cluster.socket_directory().join("tablespace");
    // The server makes the directory, so that it is its own.
    cluster.psql(&format!(
        "COPY (SELECT 1) TO PROGRAM 'cat >/dev/null; mkdir -m 0700 {0}';\nCREATE TABLESPACE \"سريع\" LOCATION '{0}';",
        place.display()
    ));
    cluster
}

/// A server with the sample database.
pub(crate) fn server_with_the_sample() -> Cluster {
    let cluster = server();
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/sample");
    run(Command::new(sample.join("make"))
        .arg(SAMPLE)
        .env_clear()
        .envs(cluster.environment()));
    let mut odd_corners = cluster.command("psql");
    odd_corners
        .args(["-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-f"])
        .arg(sample.join("odd_corners.sql"))
        .env("PGDATABASE", SAMPLE);
    run(&mut odd_corners);
    cluster
}

/// Gives psql a script of any bytes, which the server takes as they are.
pub(crate) fn feed(cluster: &Cluster, database: &str, sql: &[u8]) {
    let script = tempfile::NamedTempFile::new().unwrap();
    fs::write(script.path(), sql).unwrap();
    let mut psql = cluster.command("psql");
    psql.args(["-X", "-q", "-o", "/dev/null", "-v", "ON_ERROR_STOP=1", "-f"])
        .arg(script.path())
        .env("PGDATABASE", database);
    run(&mut psql);
}

/// Runs a command that has to succeed, and gives what it said on stderr.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {stderr}");
    stderr
}
