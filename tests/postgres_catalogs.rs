//! What is read from a real server's system catalogs.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::cluster::{Cluster, SUPERUSER, wait_until};
use pgbackupd::config::Connection;
use pgbackupd::postgres::{
    Client, Conninfo, Extension, Setting, blockers, database_properties, discover, loaded_rows,
    may_read_role_passwords, server_properties,
};

const LIMIT: Duration = Duration::from_secs(10);

async fn connect(cluster: &Cluster, user: &str, database: &str) -> Client {
    let connection = Connection {
        parameters: [("user".to_owned(), user.to_owned())].into(),
        ..Connection::default()
    };
    let environment = cluster.environment().into_iter().collect();
    let conninfo = Conninfo::resolve(&connection, &environment, Some(database)).unwrap();
    Client::connect(&conninfo, LIMIT).await.unwrap()
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one database, property by property")]
async fn the_properties_of_a_database_are_recorded() {
    let cluster = Cluster::start();
    let name = "it's \"a\" b=c://\\d\nق";
    let quoted = format!("\"{}\"", name.replace('"', "\"\""));
    cluster.psql(&format!(
        "CREATE ROLE owner; CREATE ROLE reader;
         CREATE DATABASE {quoted} OWNER owner CONNECTION LIMIT 7;
         COMMENT ON DATABASE {quoted} IS E'a \\\\ comment';
         REVOKE ALL ON DATABASE {quoted} FROM PUBLIC;
         GRANT CONNECT ON DATABASE {quoted} TO reader;
         ALTER DATABASE {quoted} SET work_mem = '8MB';
         ALTER ROLE reader IN DATABASE {quoted} SET application_name = 'x=y';
         ALTER ROLE reader SET work_mem = '9MB'"
    ));
    cluster.psql_in(name, "CREATE SCHEMA s; CREATE TABLE t AS SELECT 1 AS a");
    let client = connect(&cluster, SUPERUSER, name).await;
    let properties = database_properties(&client).await.unwrap();
    assert_eq!(properties.name, name);
    assert_eq!(properties.encoding, "UTF8");
    assert_eq!(properties.locale_provider, "libc");
    assert_eq!(properties.lc_collate, "C.UTF-8");
    assert_eq!(properties.locale, None);
    assert_eq!(properties.owner, "owner");
    assert_eq!(properties.tablespace.as_deref(), Some("pg_default"));
    assert_eq!(properties.connection_limit, 7);
    assert!(properties.allow_connections && !properties.is_template);
    assert_eq!(properties.comment.as_deref(), Some("a \\ comment"));
    assert_eq!(
        properties.privileges,
        Some(vec![
            "owner=CTc/owner".to_owned(),
            "reader=c/owner".to_owned()
        ])
    );
    let setting = |role: Option<&str>, setting: &str| Setting {
        role: role.map(str::to_owned),
        setting: setting.to_owned(),
    };
    assert_eq!(
        properties.settings,
        [
            setting(None, "work_mem=8MB"),
            setting(Some("reader"), "application_name=x=y")
        ]
    );
    let [
        Extension {
            name,
            version,
            schema,
            owner,
        },
    ] = &properties.extensions[..]
    else {
        panic!("{:?}", properties.extensions);
    };
    assert_eq!((name.as_str(), schema.as_str()), ("plpgsql", "pg_catalog"));
    assert_eq!(owner.as_deref(), Some("postgres"));
    assert!(!version.is_empty());
    assert!(properties.size_bytes > 1_000_000);
    let json = serde_json::to_string(&properties).unwrap();
    assert_eq!(
        serde_json::from_str::<pgbackupd::postgres::DatabaseProperties>(&json).unwrap(),
        properties
    );
}

#[tokio::test]
async fn an_icu_locale_is_recorded() {
    let cluster = Cluster::shared();
    cluster.psql(
        "CREATE DATABASE icu TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'ar-SA' \
         LOCALE 'C.UTF-8'",
    );
    let client = connect(&cluster, SUPERUSER, "icu").await;
    let properties = database_properties(&client).await.unwrap();
    assert_eq!(properties.locale_provider, "icu");
    assert_eq!(properties.locale.as_deref(), Some("ar-SA"));
    assert!(properties.collation_version.is_some());
}

#[tokio::test]
async fn bytes_that_are_no_utf8_do_not_fail_the_run() {
    let cluster = Cluster::shared();
    cluster.psql(
        "CREATE DATABASE ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'; \
         CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'; \
         COMMENT ON DATABASE latin IS 'größe'",
    );
    cluster.psql_in(
        "ascii",
        "DO $$ BEGIN \
            EXECUTE format('COMMENT ON DATABASE ascii IS %L', E'caf\\351\\\\'); \
            EXECUTE format('ALTER DATABASE ascii SET search_path = %I', E'caf\\351'); \
         END $$",
    );
    let client = connect(&cluster, SUPERUSER, "ascii").await;
    let properties = database_properties(&client).await.unwrap();
    assert_eq!(properties.encoding, "SQL_ASCII");
    assert_eq!(properties.comment.as_deref(), Some("caf\u{fffd}\\"));
    assert_eq!(
        properties.settings[0].setting,
        "search_path=\"caf\u{fffd}\""
    );

    cluster.psql_in("latin", "COMMENT ON DATABASE latin IS 'größe'");
    let client = connect(&cluster, SUPERUSER, "latin").await;
    let properties = database_properties(&client).await.unwrap();
    assert_eq!(properties.encoding, "LATIN1");
    assert_eq!(properties.comment.as_deref(), Some("größe"));
}

#[tokio::test]
async fn the_properties_of_the_server_are_recorded() {
    let cluster = Cluster::shared();
    let client = connect(&cluster, SUPERUSER, "postgres").await;
    let properties = server_properties(&client).await.unwrap();
    assert_eq!(properties.version, cluster.psql("SELECT version()"));
    assert_eq!(
        properties.system_identifier,
        Some(cluster.psql("SELECT system_identifier FROM pg_control_system()"))
    );
    assert!(!properties.in_recovery && !properties.data_checksums);
}

#[tokio::test]
async fn a_server_that_hides_its_identity_is_no_failure() {
    let cluster = Cluster::start();
    cluster.psql("CREATE ROLE plain LOGIN; REVOKE ALL ON FUNCTION pg_control_system() FROM PUBLIC");
    let client = connect(&cluster, "plain", "postgres").await;
    let properties = server_properties(&client).await.unwrap();
    assert_eq!(properties.system_identifier, None);
    assert!(!may_read_role_passwords(&client).await.unwrap());
    let client = connect(&cluster, SUPERUSER, "postgres").await;
    assert!(may_read_role_passwords(&client).await.unwrap());
}

#[tokio::test]
async fn the_databases_that_can_be_backed_up_are_found() {
    let cluster = Cluster::start();
    for name in ["b", "a b", "A", "with\nnewline", "template"] {
        cluster.create_database(name);
    }
    cluster.psql(
        "ALTER DATABASE template IS_TEMPLATE true; \
         CREATE DATABASE closed ALLOW_CONNECTIONS false",
    );
    let client = connect(&cluster, SUPERUSER, "postgres").await;
    let names = discover(&client).await.unwrap();
    assert_eq!(names, ["A", "a b", "b", "postgres", "with\nnewline"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_session_that_holds_the_lock_is_named() {
    let cluster = Cluster::start();
    cluster.psql("CREATE SCHEMA \"S\"; CREATE TABLE \"S\".t (a int)");
    let run = "pgbackupd 0199-test";
    let session = |application: &str, sql: &str| {
        cluster
            .command("psql")
            .args(["-X", "-q", "-c", sql])
            .env("PGAPPNAME", application)
            .spawn()
            .unwrap()
    };
    let mut holder = session(
        "holder",
        "BEGIN; LOCK TABLE \"S\".t;\n  SELECT pg_sleep(600)",
    );
    wait_until("the lock is held", || {
        cluster.psql("SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted")
            != "0"
    });
    let client = connect(&cluster, SUPERUSER, "postgres").await;
    assert_eq!(blockers(&client, run).await.unwrap(), []);
    let mut waiter = session(run, "SELECT * FROM \"S\".t");
    wait_until("the dump waits", || {
        cluster.psql("SELECT count(*) FROM pg_locks WHERE NOT granted") != "0"
    });
    let found = blockers(&client, run).await.unwrap();
    let [blocker] = &found[..] else {
        panic!("{found:?}");
    };
    let sleeper =
        cluster.psql("SELECT pid FROM pg_stat_activity WHERE application_name = 'holder'");
    assert_eq!(blocker.pid.map(|pid| pid.to_string()), Some(sleeper));
    assert_eq!(blocker.user.as_deref(), Some(SUPERUSER));
    assert_eq!(blocker.application.as_deref(), Some("holder"));
    assert_eq!(blocker.client, None);
    assert_eq!(blocker.relation.as_deref(), Some("\"S\".t"));
    assert!(blocker.since.is_some());
    assert_eq!(
        blocker.query.as_deref(),
        Some("BEGIN; LOCK TABLE \"S\".t; SELECT pg_sleep(600)")
    );
    for child in [&mut holder, &mut waiter] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[tokio::test]
async fn loaded_rows_are_counted_while_a_table_is_filled_and_afterwards() {
    let cluster = Cluster::start();
    cluster.psql("CREATE DATABASE app");
    cluster.psql_in("app", "CREATE TABLE a (n int); CREATE TABLE b (n int)");
    let client = connect(&cluster, SUPERUSER, "app").await;
    assert_eq!(loaded_rows(&client).await.unwrap(), 0);
    cluster.psql_in(
        "app",
        "COPY a FROM PROGRAM 'seq 5000'; SELECT pg_stat_force_next_flush()",
    );
    // This one is being filled until its program ends; the server reads 64 KiB at a time.
    let mut filling = cluster
        .command("psql")
        .args(["-X", "-q", "-c"])
        .arg("COPY b FROM PROGRAM 'seq 30000; exec sleep 600'")
        .env("PGDATABASE", "app")
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let end = Instant::now() + LIMIT;
    let mut rows = 0;
    while rows <= 5000 && Instant::now() < end {
        rows = loaded_rows(&client).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    cluster.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'app'");
    assert!(!filling.wait().unwrap().success());
    assert!((5001..=35_000).contains(&rows), "{rows}");
}
