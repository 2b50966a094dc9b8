//! What a server lacks, and what a role may not do, is said before anything is touched.

use std::fs;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::cluster::{Cluster, wait_until};
use crate::support::drill::open_directory;
use crate::support::operator::Operator;
use crate::support::restored::{assert_refused, assert_untouched, seal, small, value};

#[test]
fn what_needs_no_reading_is_named_before_the_backup_is_read() {
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    operator.back_up();
    cluster.create_database("copy");
    cluster.psql("CREATE ROLE weak LOGIN");
    // Whoever reads it finds that it is damaged.
    let name = operator.list().pop().unwrap();
    let artifact = operator.backups().join(format!("{name}.sql.gz"));
    fs::write(&artifact, "no dump at all").unwrap();
    let refused = |operator: &Operator, arguments: &[&str], code: i32, phrases: &[&str]| {
        let output = operator.run(&[&["restore", name.as_str(), "--yes"], arguments].concat());
        assert_eq!(output.code, code, "{output}");
        for phrase in phrases {
            assert!(output.stderr.contains(phrase), "{phrase}: {output}");
        }
        assert!(!output.stderr.contains("reading "), "{output}");
        assert!(!output.stderr.contains("damaged"), "{output}");
    };
    let there = "there is a database \"copy\" already\nhint: give another name with --into";
    refused(&operator, &["--into", "copy"], 69, &[there]);
    refused(&operator, &["--table", "no_such"], 64, &["no_such"]);
    // All of it together.
    operator.set("connection.user", "weak");
    let weak = "user weak may not create databases\nhint: ";
    refused(&operator, &["--into", "copy"], 69, &[there, weak]);
    operator.set("connection.user", "postgres");
    let read = operator.run(&["restore", &name, "--into", "other", "--yes"]);
    assert_eq!(read.code, 65, "{read}");
    assert!(read.stderr.contains("reading "), "{read}");
}

#[test]
fn everything_that_is_missing_is_named_before_anything_is_touched() {
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    operator.set_value("dump.globals", false);
    create_tablespace_fast(&cluster);
    cluster.psql("CREATE ROLE bob; CREATE ROLE carol; CREATE ROLE dora");
    cluster.psql_in(
        "app",
        "CREATE TABLE u (a int) TABLESPACE fast; ALTER TABLE u OWNER TO bob; \
         GRANT SELECT ON u TO carol; CREATE POLICY p ON u TO dora USING (true)",
    );
    operator.back_up();
    cluster.psql_in(
        "app",
        "DROP TABLE u; DROP ROLE bob; DROP ROLE carol; DROP ROLE dora",
    );
    cluster.psql("DROP TABLESPACE fast");
    assert_refused(
        &cluster,
        &operator,
        &[
            "lacks the roles \"bob\", \"carol\", \"dora\", to whom",
            "lacks the tablespace \"fast\"",
        ],
    );

    // As if it came from another machine.
    let name = operator.list().pop().unwrap();
    let path = operator.backups().join(format!("{name}.json"));
    let mut manifest: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let properties = &mut manifest["properties"];
    properties["lc_collate"] = json!("xx_YY.UTF-8");
    properties["tablespace"] = json!("away");
    properties["owner"] = json!("nobody at all");
    properties["size_bytes"] = json!(1_u64 << 60);
    properties["extensions"] = json!([{"name": "no_such", "version": "1", "schema": "public"}]);
    manifest["server"]["version_number"] = json!(990_001);
    seal(&path, &manifest);
    let expected = [
        "comes from PostgreSQL 99",
        "lacks the role \"nobody at all\"",
        "lacks the tablespace \"away\"",
        "lacks the locale \"xx_YY.UTF-8\"",
        "cannot install the extension no_such 1",
        "the server's disk has",
        "to whom objects in the dump belong",
    ];
    // The space is not known: it is in a tablespace.
    assert_refused(
        &cluster,
        &operator,
        &[&expected[..5], &expected[6..]].concat(),
    );
    manifest["properties"]["tablespace"] = json!("pg_default");
    seal(&path, &manifest);
    assert_refused(&cluster, &operator, &expected[5..6]);
}

fn create_tablespace_fast(cluster: &Cluster) {
    let directory = cluster.socket_directory().join("data/pg_wal/fast");
    fs::create_dir(&directory).unwrap();
    std::os::unix::fs::chown(&directory, Some(server_user(cluster)), None).unwrap();
    let directory = directory.display();
    cluster.psql(&format!("CREATE TABLESPACE fast LOCATION '{directory}'"));
}

fn server_user(cluster: &Cluster) -> u32 {
    use std::os::unix::fs::MetadataExt as _;
    cluster.data_directory().metadata().unwrap().uid()
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one scenario, each step on what the one before has left"
)]
fn a_role_that_is_no_superuser_is_reported_what_it_may_not_and_does_the_rest() {
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    cluster.psql("CREATE ROLE keeper LOGIN CREATEDB; CREATE ROLE other LOGIN");
    operator.set("connection.user", "keeper");
    operator.set_value("dump.globals", false);
    assert_refused(
        &cluster,
        &operator,
        &[
            "belongs to \"postgres\", and user keeper is no member of it",
            "objects in the dump belong to the role \"postgres\"",
            "belongs to \"postgres\"",
        ],
    );

    cluster.psql("ALTER DATABASE app OWNER TO keeper");
    cluster.psql_in(
        "app",
        "ALTER TABLE t OWNER TO keeper; UPDATE t SET v = 'as backed up'; \
         CREATE EXTENSION hstore; CREATE EXTENSION pg_stat_statements; \
         CREATE FUNCTION f() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; \
         ALTER FUNCTION f() OWNER TO keeper; \
         CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION f()",
    );
    operator.set("connection.user", "postgres");
    operator.back_up();
    operator.set("connection.user", "keeper");
    cluster.psql_in("app", "UPDATE t SET v = 'as it stands'");
    assert_refused(
        &cluster,
        &operator,
        &[
            "the extension pg_stat_statements is not trusted",
            "event triggers, which only a superuser can make (CREATE EVENT TRIGGER e",
        ],
    );

    create_tablespace_fast(&cluster);
    cluster.psql_in(
        "app",
        "DROP EVENT TRIGGER e; DROP EXTENSION pg_stat_statements; UPDATE t SET v = 'as backed up'; \
         CREATE INDEX ON t (v) TABLESPACE fast",
    );
    operator.set("connection.user", "postgres");
    operator.back_up();
    operator.set("connection.user", "keeper");
    cluster.psql_in("app", "UPDATE t SET v = 'as it stands'");
    let denied =
        "user keeper may not create anything in the tablespace \"fast\"\nhint: GRANT CREATE";
    assert_refused(&cluster, &operator, &[denied]);
    cluster.psql("GRANT CREATE ON TABLESPACE fast TO keeper");
    let session = |user: &str| {
        let child = cluster
            .command("psql")
            .args(["-Xqc", "SELECT pg_sleep(600)"])
            .env("PGDATABASE", "app")
            .env("PGUSER", user)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_until("the session is there", || {
            let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'app' \
                         AND wait_event = 'PgSleep'";
            cluster.psql(sql) == "1"
        });
        child
    };
    // A session that it may not end is named, and all stays as it is.
    let mut others = session("other");
    let output = operator.run(&["restore", "--latest", "--yes"]);
    assert_eq!(output.code, 69, "{output}");
    assert!(
        output
            .stderr
            .contains("could not be ended by our user: other (process "),
        "{output}"
    );
    assert!(
        output
            .stderr
            .contains("can end sessions of its own roles alone"),
        "{output}"
    );
    assert_untouched(&cluster, &operator, "app");
    cluster.psql("GRANT pg_signal_backend TO keeper");
    let restored = operator.json(&["restore", "--latest", "--yes"]);
    assert_eq!(restored["sessions_ended"], 1);
    assert!(!others.wait().unwrap().success());
    assert_eq!(value(&cluster, "app"), "as backed up");
    let output = operator.run(&["undo-restore", "--yes"]);
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(value(&cluster, "app"), "as it stands");
}

/// Whatever only a superuser may do would fail at the end of a long load, or after it.
#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one scenario, each step on what the one before has left"
)]
fn what_only_a_superuser_may_bring_back_is_named_before_anything_is_touched() {
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    cluster.psql(
        "CREATE ROLE keeper LOGIN CREATEDB CREATEROLE; ALTER DATABASE app OWNER TO keeper; \
         CREATE ROLE guest; GRANT guest TO keeper; CREATE ROLE boss SUPERUSER; \
         CREATE ROLE streamer REPLICATION BYPASSRLS; CREATE ROLE quiet; GRANT boss TO quiet; \
         ALTER ROLE quiet SET log_statement = 'none'; ALTER DATABASE app SET log_statement = 'none'; \
         ALTER DATABASE app SET app.tenant = 'x'; ALTER ROLE boss IN DATABASE app SET work_mem = '1MB'",
    );
    cluster.psql_in(
        "app",
        "UPDATE t SET v = 'as backed up'; ALTER TABLE t OWNER TO keeper; \
         CREATE TYPE shell; ALTER TYPE shell OWNER TO keeper; \
         CREATE FUNCTION f(int) RETURNS int LANGUAGE sql IMMUTABLE LEAKPROOF AS 'SELECT 1'; \
         ALTER FUNCTION f OWNER TO keeper; \
         CREATE TABLE hidden (a int); ALTER TABLE hidden OWNER TO guest; \
         ALTER TABLE hidden FORCE ROW LEVEL SECURITY; \
         GRANT EXECUTE ON FUNCTION pg_read_file(text) TO guest; \
         ALTER DEFAULT PRIVILEGES FOR ROLE boss GRANT SELECT ON TABLES TO guest",
    );
    operator.back_up();
    cluster.psql_in("app", "UPDATE t SET v = 'as it stands'");
    cluster.psql("DROP ROLE streamer, quiet");
    operator.set("connection.user", "keeper");
    assert_refused(
        &cluster,
        &operator,
        &[
            "lacks the role \"streamer\" of the backup, which had REPLICATION, and user keeper may not",
            "lacks the role \"streamer\" of the backup, which had BYPASSRLS",
            "lacks the role \"quiet\" of the backup, which had the setting log_statement",
            "were members of the role \"boss\", and user keeper may not make others that",
            "the database has the setting log_statement, which user keeper may not give: GRANT SET",
            "the database has the setting app.tenant, which user keeper may not give",
            "the database has settings of the role \"boss\", which user keeper may not alter: restore",
            "changes the default privileges of the role \"boss\"",
            "objects of the role \"guest\" are in the schema \"public\" of \"keeper\"",
            "holds base types",
            "holds leakproof functions",
            "holds privileges on objects of the server's own",
            "the table public.hidden has row security",
        ],
    );
    let output = operator.run(&["restore", "--latest", "--yes", "--overwrite-roles"]);
    let told = "--overwrite-roles says of every role whether it is a superuser";
    assert!(output.stderr.contains(told), "{output}");

    // Each way out is one.
    cluster.psql_in(
        "app",
        "DROP TYPE shell CASCADE; DROP FUNCTION f; ALTER TABLE hidden OWNER TO keeper; UPDATE t SET v = 'as backed up'; \
         REVOKE EXECUTE ON FUNCTION pg_read_file(text) FROM guest; \
         ALTER DEFAULT PRIVILEGES FOR ROLE boss REVOKE SELECT ON TABLES FROM guest",
    );
    cluster.psql("ALTER ROLE boss IN DATABASE app RESET work_mem");
    operator.set("connection.user", "postgres");
    operator.back_up();
    operator.set("connection.user", "keeper");
    cluster.psql_in("app", "UPDATE t SET v = 'as it stands'");
    cluster.psql(
        "GRANT SET ON PARAMETER log_statement TO keeper; GRANT SET ON PARAMETER app.tenant TO keeper; \
         ALTER ROLE keeper BYPASSRLS",
    );
    let output = operator.run(&["restore", "--latest", "--yes"]);
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(value(&cluster, "app"), "as backed up");
    assert_eq!(
        cluster.psql_in("app", "SHOW app.tenant; SHOW log_statement"),
        "x\nnone"
    );
}

/// A label can be there although no provider is loaded; that of a table, and that of a role.
#[test]
fn a_label_provider_that_the_server_has_not_loaded_is_named() {
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    let place = open_directory();
    operator.set("drill.directory", place.path().display());
    let label = "SET allow_system_table_mods = on; INSERT INTO pg_seclabel VALUES \
                   ('t'::regclass, 'pg_class'::regclass, 0, 'my \"own\"', 'secret')";
    cluster.psql_in("app", label);
    cluster.psql(
        "CREATE ROLE labelled; SET allow_system_table_mods = on; INSERT INTO pg_shseclabel VALUES \
           ('labelled'::regrole, 'pg_authid'::regclass, 'of_roles', 'secret'), \
           ((SELECT oid FROM pg_database WHERE datname = 'app'), 'pg_database'::regclass, \
            'of_databases', 'it''s secret')",
    );
    operator.back_up();
    let unlabel = "DELETE FROM pg_shseclabel; DELETE FROM pg_seclabel";
    cluster.psql_in(
        "app",
        &format!("SET allow_system_table_mods = on; {unlabel}"),
    );

    let own = "label provider \"my \\\"own\\\"\", which the server has not loaded";
    let of_databases = "label provider \"of_databases\", which the server has not loaded";
    assert_refused(&cluster, &operator, &[own, of_databases]);
    // Its label comes only with the role.
    let of_roles = "label provider \"of_roles\", which the server has not loaded";
    let output = operator.run(&["restore", "--latest", "--yes"]);
    assert!(!output.stderr.contains(of_roles), "{output}");
    cluster.psql("DROP ROLE labelled");
    assert_refused(&cluster, &operator, &[own, of_roles]);
    let output = operator.run(&["restore", "--latest", "--table", "t", "--yes"]);
    assert_eq!(output.code, 69, "{output}");
    assert!(output.stderr.contains(own), "{output}");
    assert_untouched(&cluster, &operator, "app");

    // It says nothing about the backup.
    let output = operator.run(&["drill"]);
    let told = "it could not be drilled: it has security labels of the label provider \
                \"my \\\"own\\\"\", \"of_databases\", \"of_roles\"";
    assert!(
        output.code != 0 && format!("{output}").contains(told),
        "{output}"
    );
    let state = operator.json(&["list"]);
    assert!(!state.to_string().contains("damage\":\""), "{state}");
}

/// Whoever may create roles may do less than whoever had made them: nobody but a superuser grants in
/// another's name.
#[test]
fn a_role_that_may_create_roles_brings_back_what_is_missing() {
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    cluster.psql(
        "CREATE ROLE keeper LOGIN CREATEDB CREATEROLE; CREATE ROLE team; \
         CREATE ROLE member LOGIN PASSWORD 'x' CONNECTION LIMIT 7; GRANT team TO member; \
         ALTER DATABASE app OWNER TO keeper",
    );
    cluster.psql_in(
        "app",
        "ALTER TABLE t OWNER TO keeper; GRANT SELECT ON t TO team; UPDATE t SET v = 'as backed up'",
    );
    operator.back_up();
    cluster.psql_in(
        "app",
        "UPDATE t SET v = 'as it stands'; REVOKE ALL ON t FROM team; DROP ROLE member, team",
    );
    operator.set("connection.user", "keeper");
    let output = operator.run(&["restore", "--latest", "--yes"]);
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(value(&cluster, "app"), "as backed up");
    let member = "SELECT rolcanlogin, rolpassword IS NOT NULL, rolconnlimit, \
                    pg_has_role('member', 'team', 'USAGE') FROM pg_authid WHERE rolname = 'member'";
    assert_eq!(cluster.psql(member), "t|t|7|t");
    let grantor = "SELECT grantor::regrole FROM pg_auth_members WHERE member = 'member'::regrole";
    assert_eq!(cluster.psql(grantor), "keeper");
}
