//! What `pg_dump` leaves out: reported at the backup, recorded, and expected by drill and restore.

use std::fs;

use serde_json::{Value, json};

use crate::support::clock::WallClock;
use crate::support::cluster::Cluster;
use crate::support::daemon::{Daemon, only_daily};
use crate::support::drill::operator;
use crate::support::operator::Operator;

/// What the newest manifest says that is left out: kinds and objects.
fn recorded(operator: &Operator) -> Vec<(String, Value)> {
    let name = operator.list().pop().unwrap();
    let path = operator.backups().join(format!("{name}.json"));
    let manifest: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let all = manifest["left_out"].as_array().cloned().unwrap_or_default();
    all.iter()
        .map(|one| {
            (
                one["what"].as_str().unwrap().to_owned(),
                one["objects"].clone(),
            )
        })
        .collect()
}

/// Backs up, drills and restores; whoever reports a loss fails. Gives what each printed on stderr, and the
/// drill on stdout.
fn there_and_back(operator: &Operator) -> [String; 3] {
    let backup = operator.run(&["backup"]);
    assert_eq!(backup.code, 0, "{backup}");
    let drill = operator.run(&["drill"]);
    assert_eq!(drill.code, 0, "{drill}");
    let restore = operator.run(&["restore", "--latest", "--into", "copy", "--json"]);
    assert_eq!(restore.code, 0, "{restore}");
    let result: Value = serde_json::from_str(&restore.stdout).unwrap();
    [backup.stderr, drill.words(), result["warnings"].to_string()]
}

#[test]
fn a_backup_of_a_standby_restores_without_the_rows_of_unlogged_tables() {
    let primary = Cluster::start();
    primary.create_database("app");
    primary.psql_in(
        "app",
        "CREATE TABLE kept AS SELECT 1 AS i; \
         CREATE UNLOGGED TABLE \"Odd cache\" (id bigserial PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY); \
         INSERT INTO \"Odd cache\" DEFAULT VALUES; CREATE UNLOGGED SEQUENCE loose",
    );
    let standby = Cluster::standby_of(&primary);
    let (mut operator, _place) = operator(&standby, "app");
    let backup = operator.run(&["backup"]);
    assert_eq!(backup.code, 0, "{backup}");
    let names = "public.\"Odd cache\"";
    assert!(backup.stderr.contains(names), "{backup}");
    assert_eq!(
        recorded(&operator),
        [("unlogged_rows".to_owned(), json!([names, "public.loose"]))]
    );
    let drill = operator.run(&["drill"]);
    assert_eq!(drill.code, 0, "{drill}");
    assert!(drill.words().contains(names), "{drill}");
    // A standby takes no restore.
    operator.set("connection.host", primary.socket_directory().display());
    let restore = operator.run(&["restore", "--latest", "--into", "copy", "--json"]);
    assert_eq!(restore.code, 0, "{restore}");
    let result: Value = serde_json::from_str(&restore.stdout).unwrap();
    assert!(
        result["warnings"].to_string().contains("Odd cache"),
        "{result}"
    );
    let count = "SELECT (SELECT count(*) FROM kept), (SELECT count(*) FROM \"Odd cache\")";
    assert_eq!(primary.psql_in("copy", count), "1|0");
    // The primary has them all.
    let [backup, ..] = there_and_back_again(&operator, &primary);
    assert_eq!(backup, "");
    assert_eq!(primary.psql_in("copy", count), "1|1");
}

fn there_and_back_again(operator: &Operator, cluster: &Cluster) -> [String; 3] {
    cluster.psql("DROP DATABASE copy");
    crate::support::operator::wait_for_the_next_second();
    there_and_back(operator)
}

#[test]
fn what_an_extension_owns_is_reported_only_where_its_script_would_not_bring_it_back() {
    let cluster = Cluster::start();
    cluster.create_database("app");
    cluster.psql_in(
        "app",
        "CREATE EXTENSION hstore; CREATE TABLE kv (v hstore); INSERT INTO kv VALUES ('a=>1'); \
         CREATE TABLE none (i int); CREATE TABLE marked (i int)",
    );
    for table in ["kv", "none"] {
        cluster.psql_in("app", &format!("ALTER EXTENSION hstore ADD TABLE {table}"));
    }
    let (operator, _place) = operator(&cluster, "app");
    let [backup, drill, restore] = there_and_back(&operator);
    for text in [backup, drill, restore] {
        assert!(text.contains("public.kv (hstore)"), "{text}");
        assert!(!text.contains("public.none"), "{text}");
    }
    // Nothing is said where nothing is lost.
    cluster.psql_in("app", "DELETE FROM kv");
    let [backup, ..] = there_and_back_again(&operator, &cluster);
    assert_eq!(backup, "");
    assert_eq!(recorded(&operator), []);
}

#[test]
fn what_a_role_may_not_dump_is_reported_and_a_superuser_dumps_it() {
    let cluster = Cluster::start();
    cluster.create_database("app");
    cluster.psql(
        "CREATE ROLE pgbackup LOGIN; GRANT pg_read_all_data TO pgbackup; CREATE ROLE blind LOGIN",
    );
    cluster.psql_in(
        "app",
        "CREATE EXTENSION postgres_fdw; CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw; \
         CREATE USER MAPPING FOR PUBLIC SERVER far OPTIONS (user 'u', password 'sesame'); \
         CREATE USER MAPPING FOR pgbackup SERVER far; \
         CREATE SUBSCRIPTION news CONNECTION 'dbname=x' PUBLICATION p WITH (connect = false)",
    );
    let (mut operator, _place) = operator(&cluster, "app");
    // Who may not even see whether there are options, hears of every mapping that is not his.
    for user in ["pgbackup", "blind"] {
        operator.set("connection.user", user);
        crate::support::operator::wait_for_the_next_second();
        let backup = operator.run(&["backup"]);
        assert_eq!(backup.code, 0, "{backup}");
        assert!(
            !backup.stderr.contains("subscriptions not dumped"),
            "{backup}"
        );
        let mappings = if user == "blind" {
            json!(["pgbackup on far", "public on far"])
        } else {
            json!(["public on far"])
        };
        assert_eq!(
            recorded(&operator),
            [
                ("user_mapping_options".to_owned(), mappings),
                ("subscriptions".to_owned(), json!(["news"])),
            ]
        );
    }
    operator.set("connection.user", "postgres");
    crate::support::operator::wait_for_the_next_second();
    let [backup, drill, restore] = there_and_back(&operator);
    assert_eq!(backup, "");
    assert!(!drill.contains("note:"), "{drill}");
    assert!(
        restore.contains("subscriptions come back disabled: news"),
        "{restore}"
    );
    let options = "SELECT umoptions FROM pg_user_mappings WHERE umuser = 0";
    assert_eq!(cluster.psql_in("copy", options), "{password=sesame,user=u}");
    for database in ["app", "copy"] {
        cluster.psql_in(
            database,
            "ALTER SUBSCRIPTION news SET (slot_name = NONE); DROP SUBSCRIPTION news",
        );
    }
}

#[test]
fn what_users_have_made_in_a_schema_of_the_system_is_reported() {
    let cluster = Cluster::start();
    cluster.create_database("app");
    cluster.psql_in(
        "app",
        "CREATE FUNCTION pg_catalog.later(int) RETURNS int LANGUAGE sql AS 'SELECT $1'; \
         CREATE TABLE information_schema.notes (i int)",
    );
    let (operator, _place) = operator(&cluster, "app");
    let [_, drill, restore] = there_and_back(&operator);
    let names = json!(["information_schema.notes", "pg_catalog.later(integer)"]);
    assert_eq!(
        recorded(&operator),
        [("system_schema_objects".to_owned(), names)]
    );
    for text in [drill, restore] {
        assert!(text.contains("pg_catalog.later(integer)"), "{text}");
    }
}

#[test]
fn the_service_warns_only_when_what_is_left_out_changes_and_status_remarks_on_it() {
    let cluster = Cluster::start();
    cluster.create_database("app");
    cluster.psql_in("app", "CREATE TABLE information_schema.one (i int)");
    let (mut operator, _place) = operator(&cluster, "app");
    only_daily(&mut operator, "UTC", "0 5 * * *");
    let clock = WallClock::at(&operator, "2036-01-01T04:59:58Z");
    let daemon = Daemon::under(&operator, &clock);
    daemon.wait_for("backup of app succeeded");
    daemon.wait_for("schemas of the system");
    clock.set("2036-01-02T04:59:58Z");
    daemon.wait_for_nth("backup of app succeeded", 2);
    assert_eq!(daemon.count("schemas of the system"), 1);
    cluster.psql_in("app", "CREATE TABLE information_schema.two (i int)");
    clock.set("2036-01-03T04:59:58Z");
    daemon.wait_for_nth("backup of app succeeded", 3);
    daemon.wait_for_nth("schemas of the system", 2);
    assert_eq!(daemon.end().code, 0);
    let status: Value = serde_json::from_str(&operator.run(&["status", "--json"]).stdout).unwrap();
    let remarks = status["remarks"].to_string();
    assert!(
        remarks.contains("information_schema.one, information_schema.two"),
        "{remarks}"
    );
    // Who makes one by hand reads it each time.
    let by_hand = operator.run(&["backup"]);
    assert!(
        by_hand.stderr.contains("information_schema.one"),
        "{by_hand}"
    );
}

/// In plain format next to the dump's own statements, in archives before `pg_restore`.
#[test]
fn an_extension_is_made_as_its_owner_and_who_may_not_is_named() {
    let cluster = Cluster::start();
    cluster.psql(
        "CREATE ROLE \"The \"\"app\"\"\" LOGIN; CREATE ROLE other LOGIN; \
         CREATE DATABASE app OWNER \"The \"\"app\"\"\"",
    );
    cluster.psql_in(
        "app",
        "CREATE SCHEMA kept; SET ROLE \"The \"\"app\"\"\"; \
         CREATE EXTENSION cube; CREATE EXTENSION citext; RESET ROLE; \
         CREATE EXTENSION hstore SCHEMA kept",
    );
    let (mut operator, _place) = operator(&cluster, "app");
    let owners = "SELECT string_agg(extname || ' ' || extowner::regrole, ',' ORDER BY extname) \
                  FROM pg_extension WHERE extname <> 'plpgsql'";
    let expected = cluster.psql_in("app", owners);
    assert!(expected.starts_with("citext \"The "), "{expected}");
    for (format, jobs) in [("plain", 1), ("plain", 2), ("custom", 1), ("directory", 2)] {
        operator.set("dump.format", format);
        operator.set_value("dump.jobs", jobs);
        operator.set_value("drill.jobs", jobs);
        crate::support::operator::wait_for_the_next_second();
        let [backup, drill, restore] = there_and_back(&operator);
        assert_eq!(backup, "", "{format}");
        assert!(!drill.contains("note:"), "{format}: {drill}");
        assert_eq!(restore, "[]", "{format}");
        assert_eq!(cluster.psql_in("copy", owners), expected, "{format}");
        cluster.psql("DROP DATABASE copy");
    }
    // A schema that the dump makes comes between in plain format alone.
    cluster.psql_in("app", "ALTER EXTENSION cube SET SCHEMA kept");
    for (format, is_named) in [("plain", false), ("custom", true)] {
        operator.set("dump.format", format);
        crate::support::operator::wait_for_the_next_second();
        let [.., restore] = there_and_back(&operator);
        assert_eq!(
            restore.contains("the extension cube"),
            is_named,
            "{restore}"
        );
        cluster.psql("DROP DATABASE copy");
    }
    // This one may do nothing in the database.
    cluster.psql_in(
        "app",
        "UPDATE pg_extension SET extowner = 'other'::regrole WHERE extname = 'citext'",
    );
    crate::support::operator::wait_for_the_next_second();
    let [_, drill, restore] = there_and_back(&operator);
    for text in [drill, restore] {
        assert!(
            text.contains("the extension citext belongs to postgres, and to other in the original"),
            "{text}"
        );
    }
}
