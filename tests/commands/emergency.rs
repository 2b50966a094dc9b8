//! `emergency`: a backup without a configuration.

use std::fs;
use std::process::{Command, Stdio};

use crate::support::cluster::Cluster;
use crate::support::operator::{Operator, Output, PROGRAM, Running};

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one server, and ever less of a configuration"
)]
fn an_emergency_backup_needs_a_connection_and_a_directory_and_no_more() {
    let cluster = Cluster::start();
    cluster.psql(
        "CREATE TABLE t AS SELECT 1 AS a; CREATE ROLE reader LOGIN; GRANT SELECT ON t TO reader",
    );
    let operator = Operator::of(&cluster, "postgres");
    let environment = cluster.environment();
    let to = operator.path("somewhere/else");
    let emergency = |arguments: &[&str], user: &str| {
        let mut command = Command::new(PROGRAM);
        command
            .args(arguments)
            .env_clear()
            .envs(environment.clone())
            .env("PGUSER", user)
            .current_dir(operator.path(""))
            .stdin(Stdio::null());
        Running::start(command).wait()
    };
    let to_argument = format!("--to={}", to.display());
    let made = |output: &Output| {
        assert_eq!(output.code, 0, "{output}");
        assert!(output.stdout.starts_with("manual_"), "{output}");
        let path = output.stdout.lines().nth(1).unwrap().trim();
        assert!(path.starts_with(to.to_str().unwrap()), "{output}");
        let verified = operator.run(&["verify", path]);
        assert_eq!(verified.code, 0, "{verified}");
    };

    // Without any configuration.
    let output = emergency(&["emergency", &to_argument], "postgres");
    made(&output);
    assert_eq!(output.stderr, "");
    assert!(
        output
            .stdout
            .contains("database postgres, 1 row in 1 table"),
        "{output}"
    );

    // With a broken one.
    fs::write(operator.path("broken.toml"), "databse = \"x\"\n").unwrap();
    let output = emergency(
        &["--config=broken.toml", "emergency", &to_argument],
        "postgres",
    );
    made(&output);
    assert!(
        output
            .stderr
            .starts_with(" WARN the configuration cannot be used: "),
        "{output}"
    );
    assert!(
        output.stderr.ends_with(
            " WARN going on with libpq's environment alone\n \
             WARN without the configuration, the backup is not encrypted\n"
        ),
        "{output}"
    );
    let output = emergency(&["--config=broken.toml", "emergency"], "postgres");
    assert_eq!(output.code, 78, "{output}");
    let last = output.stderr.lines().last();
    assert_eq!(last, Some("without it, --to DIRECTORY is needed"));

    // By a user who cannot read roles: their passwords at least are left out.
    let output = emergency(
        &["emergency", &to_argument, "--reason=disk fails"],
        "reader",
    );
    made(&output);
    assert!(output.stdout.starts_with("manual_disk-fails_"), "{output}");
    assert_eq!(
        output.stderr,
        " WARN the roles' passwords are not in the backup: user reader may not read them, which \
         takes a superuser or a member of pg_read_all_data\n"
    );

    // With a sound configuration: where that says, unless asked otherwise.
    let output = operator.run(&["emergency"]);
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(operator.list().len(), 1);
    made(&operator.run(&["emergency", &to_argument, "--database=postgres"]));
}

#[test]
fn an_emergency_backup_does_without_roles_where_a_usual_one_fails() {
    let cluster = Cluster::start();
    let mut operator = Operator::of(&cluster, "postgres");
    operator.stand_in(
        "pg_dumpall",
        "echo 'pg_dumpall: error: no roles today' >&2; exit 1",
    );
    let usual = operator.run(&["backup"]);
    assert_eq!(usual.code, 69, "{usual}");
    assert!(usual.stderr.contains("no roles today"), "{usual}");
    operator.assert_nothing_left();

    let emergency = operator.run(&["emergency"]);
    assert_eq!(emergency.code, 0, "{emergency}");
    assert!(emergency.stderr.starts_with(" WARN "), "{emergency}");
    assert!(emergency.stderr.contains("no roles today"), "{emergency}");
    let artifacts = operator.artifacts();
    assert!(
        !artifacts.iter().any(|name| name.contains("globals")),
        "{artifacts:?}"
    );
    operator.assert_all_whole();
}

#[test]
fn an_emergency_backup_removes_nothing() {
    let cluster = Cluster::start();
    let mut operator = Operator::of(&cluster, "postgres");
    operator.set_value("dump.globals", false);
    operator.set_value("series.manual.keep_last", 1);
    operator.set_value("retention.floor", 1);
    for _ in 0..3 {
        let output = operator.run(&["emergency"]);
        assert_eq!(output.code, 0, "{output}");
    }
    assert_eq!(operator.list().len(), 3);
    // A usual one of that series does what the rules ask for.
    let output = operator.run(&["backup", "--reason=before the move"]);
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(operator.list().len(), 1);
}
