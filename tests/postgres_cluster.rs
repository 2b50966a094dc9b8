//! The temporary cluster that the other tests stand on.

use crate::support::cluster::{Cluster, Options};

#[test]
fn a_cluster_answers_and_leaves_nothing_behind() {
    let cluster = Cluster::start();
    assert_eq!(cluster.psql("SELECT 1, 'two'; SELECT 3"), "1|two\n3");
    let directory = cluster.socket_directory().to_owned();
    let pid = cluster.pid();
    drop(cluster);
    assert!(!directory.exists());
    assert!(
        rustix::process::test_kill_process(pid).is_err(),
        "the server still runs"
    );
}

#[test]
fn a_cluster_keeps_its_data_over_a_restart() {
    let mut cluster = Cluster::start();
    cluster.create_database("od\"d / name");
    cluster.psql_in(
        "od\"d / name",
        "CREATE TABLE kept AS SELECT 42 AS answer; CHECKPOINT",
    );
    cluster.restart();
    assert_eq!(
        cluster.psql_in("od\"d / name", "SELECT answer FROM kept"),
        "42"
    );
}

#[test]
fn a_cluster_with_tcp_asks_for_a_password() {
    let cluster = Cluster::with(&Options {
        tcp: true,
        ..Options::default()
    });
    cluster.psql("ALTER ROLE postgres PASSWORD 'sesame'");
    let log_in = |password: &str| {
        cluster
            .command("psql")
            .args(["-X", "-w", "-c", "SELECT 1"])
            .env("PGHOST", "127.0.0.1")
            .env("PGPASSWORD", password)
            .output()
            .unwrap()
            .status
            .success()
    };
    assert!(log_in("sesame"));
    assert!(!log_in("wrong"));
}
