//! Definitions that no server takes are reported the night they change, without a drill; what only rows
//! decide, or what this machine lacks, is no alarm.

use serde_json::Value;

use crate::support::clock::WallClock;
use crate::support::cluster::{Cluster, wait_until};
use crate::support::daemon::{Daemon, only_daily};
use crate::support::drill::{assert_empty, back_up, operator, programs_with};
use crate::support::operator::Operator;

/// Makes a trigger whose condition no restore can read: `pg_dump` does not write the schema of its operator.
const TRIGGER: &str = "CREATE EXTENSION ltree; CREATE TABLE n (p ltree); \
    CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'begin return null; end'; \
    CREATE TRIGGER moved AFTER UPDATE ON n FOR EACH ROW WHEN (old.p IS DISTINCT FROM new.p) \
    EXECUTE FUNCTION f()";

fn try_definitions(operator: &Operator, expected: i32) -> (Value, String) {
    let output = operator.run(&["--json", "drill", "--definitions"]);
    assert_eq!(output.code, expected, "{output}");
    let mut reports: Vec<Value> = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(reports.len(), 1, "{output}");
    (reports.remove(0), output.to_string())
}

fn concerns(operator: &Operator) -> Vec<String> {
    let status: Value = serde_json::from_str(&operator.run(&["status", "--json"]).stdout).unwrap();
    let concerns = status["attention"].as_array().unwrap().iter();
    concerns
        .filter(|concern| concern["kind"] == "definitions_do_not_load")
        .map(|concern| concern["message"].as_str().unwrap().to_owned())
        .collect()
}

/// Schemas that do not load, and what the sentence names.
const REFUSED: &[(&str, &str, &[&str])] = &[
    (
        "trigger",
        TRIGGER,
        &[
            "trigger public.n moved: operator does not exist: public.ltree = public.ltree",
            "CREATE TRIGGER moved",
        ],
    ),
    (
        "generated column",
        "CREATE FUNCTION enc(bytea) RETURNS text LANGUAGE sql IMMUTABLE AS 'select encode($1,''hex'')'; \
         CREATE FUNCTION enc(int) RETURNS text LANGUAGE sql IMMUTABLE AS 'select enc(int4send($1))'; \
         CREATE TABLE g (i int, t text GENERATED ALWAYS AS (enc(i)) STORED); INSERT INTO g VALUES (1)",
        &[
            "public.g: function enc(bytea) does not exist",
            "SQL function \"enc\"",
            "CREATE TABLE public.g (",
        ],
    ),
    (
        "grant to a role that is gone",
        "CREATE ROLE gone; CREATE TABLE t (i int); GRANT SELECT ON t TO gone; \
         DELETE FROM pg_shdepend WHERE refobjid = 'gone'::regrole; DROP ROLE gone",
        &[
            "the access list of TABLE t in schema public: role ",
            "GRANT SELECT ON TABLE public.t",
        ],
    ),
    (
        "view with a comparison of an extension's type",
        "CREATE EXTENSION ltree; CREATE TABLE n (p ltree, q ltree); \
         CREATE VIEW v AS SELECT nullif(p, q) FROM n",
        &[
            "view public.v: operator does not exist",
            "CREATE VIEW public.v",
        ],
    ),
    (
        "index on a function with an unqualified call",
        "CREATE FUNCTION low(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'select lower($1)'; \
         CREATE FUNCTION low2(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'select low($1)'; \
         CREATE TABLE i (t text); CREATE INDEX i_low ON i (low2(t))",
        &[
            "index public.i_low: function low(text) does not exist",
            "CREATE INDEX i_low",
        ],
    ),
];

/// Schemas that load, though their rows would not, or would only in the right order.
const TAKEN: &[(&str, &str)] = &[
    (
        "check that reads another table",
        "CREATE TABLE z_kind (k text); INSERT INTO z_kind VALUES ('a'); \
         CREATE FUNCTION known(text) RETURNS boolean LANGUAGE sql STABLE \
         AS 'select exists (select from public.z_kind where k = $1)'; \
         CREATE TABLE a_thing (k text CHECK (known(k))); INSERT INTO a_thing VALUES ('a')",
    ),
    (
        "orphan",
        "CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (p int REFERENCES parent); \
         SET session_replication_role = replica; INSERT INTO child VALUES (99)",
    ),
    (
        "duplicate",
        "CREATE TABLE u (e text); CREATE UNIQUE INDEX u_e ON u (e); INSERT INTO u VALUES ('a'); \
         UPDATE pg_index SET indisready = false WHERE indexrelid = 'u_e'::regclass; \
         INSERT INTO u VALUES ('a'); \
         UPDATE pg_index SET indisready = true WHERE indexrelid = 'u_e'::regclass",
    ),
    (
        "materialized view that fails over no rows",
        "CREATE TABLE s (a int); INSERT INTO s VALUES (2); \
         CREATE MATERIALIZED VIEW m AS SELECT 1 / count(*) AS x FROM s",
    ),
    (
        "large object with a comment and a grant",
        "CREATE ROLE reader; SELECT lo_create(7); COMMENT ON LARGE OBJECT 7 IS 'x'; \
         GRANT SELECT ON LARGE OBJECT 7 TO reader",
    ),
    (
        "search path of the database",
        "CREATE SCHEMA app; CREATE TABLE app.k (i int); \
         DO 'begin execute format(''ALTER DATABASE %I SET search_path = app, public'', current_database()); end'",
    ),
    (
        "event trigger that refuses tables",
        "CREATE FUNCTION no() RETURNS event_trigger LANGUAGE plpgsql AS 'begin raise exception ''no''; end'; \
         CREATE TABLE e (i int); CREATE EVENT TRIGGER never ON ddl_command_end EXECUTE FUNCTION no()",
    ),
];

#[test]
fn a_definition_that_no_server_takes_is_named_with_its_statement() {
    let cluster = Cluster::start();
    for (number, (kind, sql, expected)) in REFUSED.iter().enumerate() {
        let database = format!("refused{number}");
        cluster.create_database(&database);
        cluster.psql_in(&database, sql);
        for format in ["plain", "custom", "directory"] {
            if number > 1 && format != "plain" {
                continue;
            }
            let (mut operator, place) = operator(&cluster, &database);
            operator.set("dump.format", format);
            operator.set_value("drill.definitions", true);
            back_up(&operator);
            let before = operator.json(&["list"]);
            let (report, output) = try_definitions(&operator, 65);
            assert_eq!(report["outcome"], "definitions_refused", "{kind}: {output}");
            let message = report["message"].as_str().unwrap();
            for words in *expected {
                assert!(message.contains(words), "{kind}, {format}: {message}");
            }
            assert_empty(place.path());
            assert_eq!(
                operator.json(&["list"]),
                before,
                "{kind}: it changes no backup"
            );
            let log = operator.restore_log();
            assert_eq!(log.len(), 2);
            assert_eq!(log[1]["operation"], "definitions");
            assert_eq!(log[1]["definitions"]["result"], "refused");
            let concerns = concerns(&operator);
            assert_eq!(concerns.len(), 1, "{kind}");
            assert!(concerns[0].contains(expected[0]), "{}", concerns[0]);
            operator.set_value("drill.definitions", false);
            assert_eq!(self::concerns(&operator), [""; 0]);
        }
    }
}

#[test]
fn what_only_rows_decide_is_no_alarm() {
    let cluster = Cluster::start();
    for (number, (kind, sql)) in TAKEN.iter().enumerate() {
        let database = format!("taken{number}");
        cluster.create_database(&database);
        cluster.psql_in(&database, sql);
        let (operator, place) = operator(&cluster, &database);
        back_up(&operator);
        let (report, output) = try_definitions(&operator, 0);
        assert_eq!(report["outcome"], "definitions_load", "{kind}: {output}");
        if number == 0 {
            let terminal = operator.run(&["drill", "--definitions"]);
            let said = ": definitions load; rows not tried; in ";
            assert!(terminal.stdout.contains(said), "{terminal}");
        }
        assert_empty(place.path());
    }
}

/// With rows it loads: whether it does without is not known, and said so.
#[test]
fn a_function_that_needs_rows_for_an_index_makes_the_trial_impossible() {
    let cluster = Cluster::start();
    cluster.create_database("app");
    cluster.psql_in(
        "app",
        "CREATE TABLE conf (v int); INSERT INTO conf VALUES (3); \
         CREATE FUNCTION limit_of() RETURNS int LANGUAGE plpgsql IMMUTABLE AS \
         'declare r int; begin select v into strict r from public.conf; return r; end'; \
         CREATE TABLE i (a int); CREATE INDEX i_part ON i (a) WHERE a > limit_of()",
    );
    let (mut operator, _place) = operator(&cluster, "app");
    operator.set_value("drill.definitions", true);
    back_up(&operator);
    let drilled = operator.run(&["drill"]);
    assert_eq!(drilled.code, 0, "{drilled}");
    let (report, output) = try_definitions(&operator, 69);
    assert_eq!(report["outcome"], "impossible", "{output}");
    let message = report["message"].as_str().unwrap();
    assert!(
        message.contains("index public.i_part is made after the rows"),
        "{message}"
    );
    assert_eq!(concerns(&operator), [""; 0]);
    let status = operator.run(&["status"]);
    assert!(
        status.stdout.contains("definitions not tried: "),
        "{status}"
    );
}

#[test]
fn without_server_programs_it_is_one_remark_and_no_concern() {
    let cluster = Cluster::start();
    cluster.create_database("app");
    let (mut operator, _place) = operator(&cluster, "app");
    operator.set_value("drill.definitions", true);
    back_up(&operator);
    let programs = programs_with("initdb", "echo 'no such thing' >&2; exit 1");
    operator.set("programs", programs.path().display());
    let (report, output) = try_definitions(&operator, 69);
    assert_eq!(report["outcome"], "impossible", "{output}");
    assert_eq!(concerns(&operator), [""; 0]);
    assert_eq!(
        operator.restore_log()[1]["definitions"]["result"],
        "not_tried"
    );
}

#[test]
fn the_daemon_tries_definitions_after_the_first_backup_and_when_they_have_changed() {
    let cluster = Cluster::start();
    cluster.create_database("app");
    cluster.psql_in("app", TRIGGER);
    let (mut operator, place) = operator(&cluster, "app");
    only_daily(&mut operator, "UTC", "0 5 * * *");
    operator.set_value("drill.definitions", true);
    let clock = WallClock::at(&operator, "2036-01-01T04:59:58Z");
    let daemon = Daemon::under(&operator, &clock);
    daemon.wait_for("the definitions do not load: trigger public.n moved: ");
    assert_eq!(concerns(&operator).len(), 1);

    // Rows change, and nothing else: nothing is tried.
    cluster.psql_in("app", "INSERT INTO n VALUES ('a.b')");
    clock.set("2036-01-02T04:59:58Z");
    daemon.wait_for_nth("backup of app succeeded", 2);
    clock.set("2036-01-03T04:59:58Z");
    cluster.psql_in("app", "DROP TRIGGER moved ON n");
    let said = daemon.wait_for("trial of the definitions of app succeeded (job daily): ");
    assert!(
        said.contains("definitions load; rows not tried, in "),
        "{said}"
    );
    assert_eq!(daemon.count("definitions do not load"), 1);
    assert_eq!(concerns(&operator), [""; 0]);
    assert_eq!(daemon.end().code, 0);
    let log = operator.restore_log();
    let events: Vec<&str> = log
        .iter()
        .map(|record| record["event"].as_str().unwrap())
        .collect();
    assert_eq!(events, ["started", "failed", "started", "succeeded"]);
    assert_empty(place.path());
}

#[test]
fn the_end_of_the_service_ends_a_trial_and_it_is_no_result() {
    let cluster = Cluster::start();
    cluster.create_database("app");
    let (mut operator, place) = operator(&cluster, "app");
    only_daily(&mut operator, "UTC", "0 5 * * *");
    operator.set_value("drill.definitions", true);
    let programs = programs_with("initdb", "sleep 60; exec \"$real\" \"$@\"");
    operator.set("programs", programs.path().display());
    let clock = WallClock::at(&operator, "2036-01-01T04:59:58Z");
    let daemon = Daemon::under(&operator, &clock);
    daemon.wait_for("trial of the definitions of app begins (job daily, due ");
    wait_until("it is on record", || operator.restore_log().len() == 1);
    let end = daemon.end();
    assert_eq!(end.code, 0, "{}", end.log);
    let log = operator.restore_log();
    assert_eq!(log[1]["event"], "interrupted");
    assert_eq!(log[1]["definitions"], Value::Null);
    assert_empty(place.path());
}
