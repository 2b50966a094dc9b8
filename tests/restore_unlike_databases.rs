//! Databases that are not like others are restored all the same.

use std::fs;

use serde_json::json;

use crate::support::cluster::{Cluster, Options, binaries};
use crate::support::drill::{open_directory, psql_that_changes};
use crate::support::operator::Operator;
use crate::support::restored::{
    assert_refused, assert_untouched, beginning_with, databases, small, value,
};

#[test]
fn a_template_and_a_closed_database_are_replaced_and_the_old_one_can_be_dropped() {
    let cluster = Cluster::start();
    let operator = small(&cluster, "app");
    cluster.psql("ALTER DATABASE app IS_TEMPLATE true CONNECTION LIMIT 3");
    cluster.psql_in("app", "UPDATE t SET v = 'as backed up'");
    operator.back_up();
    cluster.psql("ALTER DATABASE app CONNECTION LIMIT 0");
    cluster.psql("ALTER DATABASE app ALLOW_CONNECTIONS false");
    let output = operator.run(&["restore", "--latest", "--yes", "--drop-old"]);
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(databases(&cluster), ["app"]);
    assert_eq!(value(&cluster, "app"), "as backed up");
    let sql = "SELECT datistemplate, datallowconn, datconnlimit FROM pg_database \
                WHERE datname = 'app'";
    assert_eq!(cluster.psql(sql), "t|t|3");
}

#[test]
fn the_database_that_everybody_connects_to_is_restored_like_any_other() {
    let cluster = Cluster::start();
    let operator = Operator::of(&cluster, "postgres");
    cluster.psql("CREATE TABLE t (v text); INSERT INTO t VALUES ('as backed up')");
    operator.back_up();
    cluster.psql("UPDATE t SET v = 'as it stands'");
    let output = operator.run(&["restore", "--latest", "--yes", "--drop-old"]);
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(cluster.psql("SELECT v FROM t"), "as backed up");

    // Where nobody has it, another one is connected to.
    let app = small(&cluster, "app");
    cluster.psql_in("app", "ALTER DATABASE postgres RENAME TO away");
    let output = app.run(&["restore", "--latest", "--yes"]);
    cluster.psql_in("template1", "ALTER DATABASE away RENAME TO postgres");
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(value(&cluster, "app"), "as backed up");
    beginning_with(&cluster, "app_before_restore_");
}

#[test]
fn where_our_user_may_not_connect_to_the_usual_database_another_one_serves() {
    let cluster = Cluster::start();
    let mut app = small(&cluster, "app");
    cluster.psql(
        "CREATE ROLE keeper LOGIN CREATEDB; ALTER DATABASE app OWNER TO keeper; \
         REVOKE CONNECT ON DATABASE postgres FROM PUBLIC; \
         REVOKE CONNECT ON DATABASE template1 FROM PUBLIC",
    );
    cluster.psql_in(
        "app",
        "ALTER TABLE t OWNER TO keeper; UPDATE t SET v = 'as backed up'",
    );
    app.back_up();
    cluster.psql_in("app", "UPDATE t SET v = 'as it stands'");
    app.set("connection.user", "keeper");
    assert_refused(
        &cluster,
        &app,
        &[
            "user keeper can connect to none (\"postgres\": the server reports: FATAL: permission denied",
            "\"keeper\": the server reports: FATAL: database \"keeper\" does not exist",
            "\"template1\": the server reports: FATAL: permission denied",
            "GRANT CONNECT ON DATABASE postgres TO \"keeper\"",
        ],
    );
    cluster.create_database("keeper");
    let output = app.run(&["restore", "--latest", "--yes"]);
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(value(&cluster, "app"), "as backed up");
    cluster.psql("DROP DATABASE keeper; GRANT CONNECT ON DATABASE template1 TO keeper");
    let output = app.run(&["undo-restore", "--yes"]);
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(value(&cluster, "app"), "as it stands");
}

#[test]
fn what_is_bound_to_the_replaced_database_is_reported() {
    let settings = vec![
        ("wal_level", "logical".to_owned()),
        ("max_prepared_transactions", "2".to_owned()),
    ];
    let cluster = Cluster::with(&Options {
        settings,
        ..Options::default()
    });
    let operator = small(&cluster, "app");
    cluster.psql_in(
        "app",
        "SELECT pg_create_logical_replication_slot('reader', 'pgoutput'); \
         CREATE SUBSCRIPTION receiver CONNECTION 'dbname=nowhere' PUBLICATION p \
           WITH (connect = false, slot_name = 'x'); ALTER SUBSCRIPTION receiver ENABLE; \
         BEGIN; INSERT INTO t VALUES (2, 'two'); PREPARE TRANSACTION 'left'",
    );
    let output = operator.run(&["restore", "--latest", "--yes"]);
    assert_eq!(output.code, 69, "{output}");
    let expected = "prepared transactions keep the database \"app\" from being renamed: \"left\"";
    assert!(output.stderr.contains(expected), "{output}");
    cluster.psql_in("app", "ROLLBACK PREPARED 'left'");
    let output = operator.run(&["restore", "--latest", "--yes"]);
    assert_eq!(output.code, 0, "{output}");
    for expected in [
        "slots stay with the database that is replaced, under its new name, and keep write-ahead \
         log: \"reader\"",
        "go on receiving into it, under its new name: \"receiver\"",
    ] {
        assert!(output.stderr.contains(expected), "{output}");
    }
}

#[test]
fn subscriptions_keep_nothing_that_a_restore_has_made_from_being_dropped() {
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    cluster.psql_in(
        "app",
        "CREATE SUBSCRIPTION receiver CONNECTION 'host=/nonexistent' PUBLICATION p \
           WITH (connect = false, slot_name = 'x'); UPDATE t SET v = 'as backed up'",
    );
    operator.back_up();
    cluster.psql_in("app", "UPDATE t SET v = 'as it stands'");

    let wrong = psql_that_changes(&["UPDATE t SET v = 'as it never was'"]);
    operator.set("programs", wrong.path().display());
    let output = operator.run(&["restore", "--latest", "--yes"]);
    assert_eq!(output.code, 69, "{output}");
    assert!(!output.stderr.contains("remains"), "{output}");
    assert_untouched(&cluster, &operator, "app");

    operator.set("programs", binaries().display());
    let output = operator.run(&["restore", "--latest", "--yes", "--drop-old"]);
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(value(&cluster, "app"), "as backed up");
    let old = beginning_with(&cluster, "app_before_restore_");
    for expected in [
        &format!(
            "the old database {old} could not be dropped: its subscriptions keep it: \"receiver\""
        ),
        "SET (slot_name = NONE) where the restored database goes on with the slot",
    ] {
        assert!(output.stderr.contains(expected), "{output}");
    }
}

#[test]
fn roles_come_back_with_their_rights_on_parameters_and_tablespaces() {
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    let place = cluster.socket_directory().join("aside");
    cluster.psql(&format!(
        "COPY (SELECT 1) TO PROGRAM 'cat >/dev/null; mkdir -m 0700 {0}'; \
         CREATE TABLESPACE aside LOCATION '{0}'",
        place.display()
    ));
    cluster.psql(
        "CREATE ROLE tuner; CREATE ROLE \"his friend\"; \
         GRANT CREATE ON TABLESPACE aside TO tuner; \
         GRANT SET ON PARAMETER log_min_duration_statement TO tuner WITH GRANT OPTION; \
         SET ROLE tuner; \
         GRANT SET ON PARAMETER log_min_duration_statement TO \"his friend\"; RESET ROLE",
    );
    let rights = || {
        cluster.psql(
            "SELECT paracl::text FROM pg_parameter_acl UNION ALL \
             SELECT spcacl::text FROM pg_tablespace WHERE spcname = 'aside'",
        )
    };
    let before = rights();
    operator.back_up();
    cluster.psql("DROP OWNED BY tuner, \"his friend\" CASCADE; DROP ROLE tuner, \"his friend\"");
    assert_ne!(rights(), before);

    // Rights would keep a role from being dropped: they come when nothing can fail any more.
    let wrong = psql_that_changes(&["UPDATE t SET v = 'as it never was'"]);
    operator.set("programs", wrong.path().display());
    let output = operator.run(&["restore", "--latest", "--yes"]);
    assert_eq!(output.code, 69, "{output}");
    assert!(!output.stderr.contains("remains"), "{output}");
    assert_untouched(&cluster, &operator, "app");

    operator.set("programs", binaries().display());
    let output = operator.run(&["restore", "--latest", "--yes"]);
    assert_eq!(output.code, 0, "{output}");
    assert!(!output.stderr.contains("WARN"), "{output}");
    assert_eq!(rights(), before);
}

#[test]
fn a_server_that_admits_nobody_to_the_new_database_is_found_out_before_the_application_is_stopped()
{
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    operator.set_value("restore.stop", json!(["touch", operator.path("stopped")]));
    operator.set_value("restore.start", json!(["true"]));
    cluster.set_hba("local app,postgres all trust\n");
    let output = operator.run(&["restore", "--latest", "--yes"]);
    assert_eq!(output.code, 69, "{output}");
    assert!(output.stderr.contains("pg_hba.conf admits it"), "{output}");
    assert!(!operator.path("stopped").exists(), "{output}");
    assert_untouched(&cluster, &operator, "app");
}

#[test]
fn settings_of_the_role_that_restores_change_nothing() {
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    cluster.psql(
        "CREATE ROLE restorer SUPERUSER LOGIN; \
         CREATE ROLE guest VALID UNTIL '2030-02-01 00:00+00'; \
         ALTER ROLE restorer SET default_transaction_read_only = on; \
         ALTER ROLE restorer SET datestyle = 'SQL, DMY'; \
         ALTER ROLE restorer SET intervalstyle = 'sql_standard'; \
         ALTER ROLE restorer SET search_path = 'nowhere'; \
         ALTER ROLE restorer SET row_security = off; \
         ALTER ROLE restorer SET statement_timeout = '1s'; \
         ALTER ROLE restorer SET idle_session_timeout = '1s'; \
         ALTER ROLE restorer SET default_transaction_isolation = 'serializable'",
    );
    cluster.psql_in(
        "app",
        "ALTER TABLE t ADD i interval DEFAULT '-1 year -2 mons +3 days -04:05:06', \
           ADD d timestamptz DEFAULT '2030-02-01 00:00+00'",
    );
    let valid = "SELECT rolvaliduntil AT TIME ZONE 'UTC' FROM pg_roles WHERE rolname = 'guest'";
    operator.set("connection.user", "restorer");
    operator.back_up();
    let place = open_directory();
    operator.set("drill.directory", place.path().display());
    let output = operator.run(&["drill"]);
    assert_eq!(output.code, 0, "{output}");
    cluster.psql("DROP ROLE guest");
    let output = operator.run(&["restore", "--latest", "--yes"]);
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(cluster.psql(valid), "2030-02-01 00:00:00");
}

#[test]
fn what_depends_on_the_time_zone_of_the_server_is_loaded_in_that_zone() {
    let cluster = Cluster::with(&Options {
        settings: vec![("timezone", "Pacific/Auckland".to_owned())],
        ..Options::default()
    });
    let operator = small(&cluster, "app");
    cluster.psql_in(
        "app",
        "CREATE TABLE days (day date, at timestamptz, CHECK (at::date = day)); \
         INSERT INTO days VALUES ('2025-07-09', '2025-07-09 01:00+12')",
    );
    operator.back_up();
    let output = operator.run(&["restore", "--latest", "--yes"]);
    assert_eq!(output.code, 0, "{output}");
    let days = "SELECT day FROM days";
    assert_eq!(cluster.psql_in("app", days), "2025-07-09");
    let output = operator.run(&[
        "restore", "--latest", "--into", "beside", "--table", "days", "--yes",
    ]);
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(cluster.psql_in("beside", days), "2025-07-09");
}

/// The first bytes of an archive tell which `pg_restore` reads it: one that is too old is no damage.
#[test]
fn an_archive_of_a_newer_pg_dump_is_not_called_damaged() {
    let cluster = Cluster::start();
    let operator = small(&cluster, "app");
    for (format, name) in [("custom", "app.dump"), ("directory", "app.dir")] {
        let path = operator.path(name);
        let mut command = cluster.command("pg_dump");
        let dumping = command
            .args(["--format", format, "--file"])
            .arg(&path)
            .arg("app");
        assert!(dumping.status().unwrap().success());
        let contents = if format == "directory" {
            path.join("toc.dat")
        } else {
            path.clone()
        };
        let mut bytes = fs::read(&contents).unwrap();
        // As none is installed yet.
        bytes[6] = 99;
        fs::write(&contents, bytes).unwrap();
        let path = path.to_str().unwrap();
        for more in [
            &["--into", "beside"][..],
            &["-d", "app", "--table", "t", "--yes"],
        ] {
            let output = operator.run(&[&["restore", path][..], more].concat());
            assert_eq!(output.code, 69, "{output}");
            let told =
                "the archive was made by pg_dump 19 or newer, and no pg_restore of version 19";
            assert!(output.stderr.contains(told), "{output}");
        }
    }
}
