//! `backup`: of which databases, into which directories, and who asked.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::support::cluster::Cluster;
use crate::support::operator::Operator;

#[test]
fn a_server_that_does_not_answer_keeps_no_other_from_its_backups() {
    let cluster = Cluster::start();
    let mut operator = Operator::of(&cluster, "postgres");
    operator.set("servers.reports.databases", "all");
    operator.set("servers.reports.connection.host", "/nonexistent");
    let sentence = "pgbackupd: no backup of any database of server reports: ";

    let output = operator.run(&["backup"]);
    assert_eq!(output.code, 69, "{output}");
    assert!(output.stderr.starts_with(sentence), "{output}");
    assert_eq!(operator.list().len(), 1);

    let output = operator.run(&["emergency"]);
    assert_eq!(output.code, 69, "{output}");
    assert!(output.stderr.starts_with(sentence), "{output}");
    assert_eq!(operator.list().len(), 1);
    operator.assert_all_whole();
}

#[test]
fn a_database_that_is_found_never_gets_the_directory_of_another() {
    let cluster = Cluster::start();
    cluster.create_database("reports");
    let mut operator = Operator::of(&cluster, "postgres");
    operator.unset("database");
    operator.set("databases", "all");
    operator.set("servers.reports.databases", "all");
    operator.set_value("servers.reports.include", vec!["postgres"]);
    operator.set(
        "servers.reports.connection.host",
        cluster.socket_directory().display(),
    );
    operator.set("servers.reports.connection.user", "postgres");
    let output = operator.run(&["backup"]);
    assert_eq!(output.code, 78, "{output}");
    let directory = operator.path("backups/reports");
    assert_eq!(
        output.stderr,
        format!(
            "pgbackupd: no backup of database \"reports\" of server main: its directory {} belongs \
             to the databases of server reports\nhint: give one of the two servers another directory\n",
            directory.display()
        )
    );
    assert_eq!(operator.list().len(), 2, "the others were backed up");
}

#[test]
fn a_run_that_finds_no_database_is_no_success() {
    let cluster = Cluster::start();
    let mut operator = Operator::of(&cluster, "postgres");
    operator.unset("database");
    operator.set("databases", "all");
    operator.set_value("include", vec!["sales_*"]);
    for command in ["backup", "emergency"] {
        let output = operator.run(&[command]);
        assert_eq!(output.code, 69, "{output}");
        assert_eq!(
            output.stderr,
            "pgbackupd: there is nothing to back up: no database that was found on a server is \
             chosen by include and exclude\n"
        );
    }
}

#[test]
fn who_asked_is_on_record() {
    let cluster = Cluster::start();
    let mut operator = Operator::of(&cluster, "postgres");
    operator.set_variable("SUDO_USER", "noura");
    assert_eq!(
        operator
            .run(&["backup", "--reason=before the upgrade"])
            .code,
        0
    );
    let name = operator.list().pop().unwrap();
    let manifest = fs::read_to_string(operator.backups().join(format!("{name}.json"))).unwrap();
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    let started = operator
        .ledger()
        .into_iter()
        .find(|record| record["event"] == "started");
    let started = started.unwrap();
    let me = Command::new("id").arg("-un").output().unwrap().stdout;
    let me = String::from_utf8(me).unwrap();
    for record in [&manifest, &started] {
        assert_eq!(record["requested_by"]["user"], me.trim());
        assert_eq!(record["requested_by"]["sudo_user"], "noura");
        assert_eq!(record["reason"], "before the upgrade");
    }
}

#[test]
fn a_series_that_nothing_knows_is_refused_unless_it_is_wanted() {
    let cluster = Cluster::start();
    let operator = Operator::of(&cluster, "postgres");
    let output = operator.run(&["backup", "--series=wekly"]);
    assert_eq!(output.code, 64, "{output}");
    assert_eq!(
        output.stderr,
        "pgbackupd: no job makes the series wekly, no retention rule names it, and there is no backup \
         of it; did you mean weekly?\nhint: --new-series makes it; without a retention rule all of its \
         backups stay\n"
    );
    assert!(operator.list().is_empty());
    for arguments in [
        ["backup", "--series=release", "--new-series"].as_slice(),
        &["backup", "--series=release"],
        &["backup", "--series=manual"],
    ] {
        let output = operator.run(arguments);
        assert_eq!(output.code, 0, "{output}");
    }
    assert_eq!(operator.list().len(), 3);
}
