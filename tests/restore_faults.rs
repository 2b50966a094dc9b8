//! Whatever breaks a restore, in whichever step, leaves the database serving that was there, and the
//! next restore succeeds.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on panics"
)]

mod support;

use support::cluster::Cluster;
use support::restored::{databases, small, value};

/// Restored under a name that nobody bore, from a dump that no manifest speaks for, a database was
/// once left with the mark of one that is being restored, and the next restore dropped it.
#[test]
fn a_restored_database_is_never_taken_for_what_a_restore_left() {
    let cluster = Cluster::start();
    let operator = small(&cluster, "app");
    let dump = operator.path("x.sql");
    let path = dump.to_str().unwrap();
    let status = cluster
        .command("pg_dump")
        .args(["-f", path, "app"])
        .status();
    assert!(status.unwrap().success());
    let output = operator.run(&["restore", path, "--into", "beside"]);
    assert_eq!(output.code, 0, "{output}");
    let comment =
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = 'beside'";
    assert_eq!(cluster.psql(comment), "");
    // Even one that bears the mark is not dropped under the name of somebody who serves.
    cluster.psql(&format!(
        "COMMENT ON DATABASE beside IS 'pgbackupd on {} restores \"beside\" here'",
        rustix::system::uname().nodename().to_str().unwrap()
    ));
    cluster.psql_in("beside", "UPDATE t SET v = 'written since'");
    let output = operator.run(&["restore", path, "--database", "beside", "--yes"]);
    assert_eq!(output.code, 0, "{output}");
    let names = databases(&cluster);
    assert_eq!(names.len(), 3, "{names:?}");
    assert_eq!(value(&cluster, &names[2]), "written since");
}
