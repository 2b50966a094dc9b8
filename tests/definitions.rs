//! A definition that the server writes differently is compared with what the same server makes of the
//! backup's own statement: no false alarm, and nothing that differs in the copy alone passes.

use rustix::process::Signal;
use serde_json::Value;

use crate::support::cluster::{Cluster, wait_until};
use crate::support::drill::{assert_empty, back_up, drill, operator, psql_that_changes};
use crate::support::operator::{Operator, Output, wait_for_the_next_second};
use crate::support::restored::databases;
use crate::support::sample::feed;

const REMARK: &str = "definitions are written differently by this server";

/// A server with a database of such definitions.
fn rewritten() -> Cluster {
    let cluster = Cluster::start();
    cluster.create_database("app");
    feed(&cluster, "app", include_bytes!("fixtures/rewritten.sql"));
    cluster
}

fn list<'a>(report: &'a Value, key: &str) -> Vec<&'a str> {
    let lines = report[key].as_array().unwrap();
    lines.iter().map(|line| line.as_str().unwrap()).collect()
}

/// Restores the newest backup next to the database; nothing else is left of it.
fn restore(cluster: &Cluster, operator: &Operator, expected: i32) -> Output {
    let newest = operator.list().into_iter().max().unwrap();
    let output = operator.run(&["restore", &newest, "--into", "copy"]);
    assert_eq!(output.code, expected, "{output}");
    cluster.psql("DROP DATABASE IF EXISTS copy");
    assert_eq!(databases(cluster), ["app"], "{output}");
    output
}

#[test]
fn definitions_that_the_server_writes_differently_are_one_remark_in_drill_and_restore() {
    let cluster = rewritten();
    let (mut operator, place) = operator(&cluster, "app");
    for (format, jobs) in [("plain", 4), ("directory", 2)] {
        operator.set("dump.format", format);
        operator.set_value("drill.jobs", jobs);
        back_up(&operator);
        let (report, output) = drill(&operator, 0);
        assert_eq!(report["outcome"], "proven", "{output}");
        let remarks = list(&report, "remarks");
        assert_eq!(remarks.len(), 1, "{output}");
        assert!(remarks[0].ends_with(REMARK), "{output}");
        // The kinds of objects of the fixture: most of them are written differently.
        let number: u32 = remarks[0].split(' ').next().unwrap().parse().unwrap();
        assert!(number >= 10, "{output}");
        assert_empty(place.path());
        let output = restore(&cluster, &operator, 0);
        assert!(output.stderr.contains(remarks[0]), "{output}");
        wait_for_the_next_second();
    }
    let output = operator.run(&["drill"]);
    assert!(output.words().contains(REMARK), "{output}");
}

/// Changes to the copy, which the reference does not have, and what names each.
const CHANGES: &[(&str, &str)] = &[
    (
        "ALTER TABLE t DROP CONSTRAINT t_s_check, ADD CONSTRAINT t_s_check CHECK (s IN ('a', 'b', 'c'))",
        "table public.t differs after the restore",
    ),
    (
        "ALTER TABLE part DROP CONSTRAINT part_check, ADD CONSTRAINT part_check CHECK (a IS NOT NULL)",
        "table public.part differs after the restore",
    ),
    (
        "CREATE OR REPLACE FUNCTION is_known(word varchar) RETURNS boolean LANGUAGE sql IMMUTABLE \
         BEGIN ATOMIC SELECT word IN ('a', 'b') AND -1::int <= 0; END",
        "function public.is_known(character varying) differs after the restore",
    ),
    (
        "ALTER VIEW v OWNER TO reader",
        "the owner of view public.v differs after the restore",
    ),
    (
        "GRANT UPDATE ON t TO reader",
        "the access list of TABLE t in schema public differs after the restore",
    ),
    (
        "DROP INDEX partial",
        "index public.partial is missing after the restore",
    ),
    (
        "ALTER POLICY p ON t USING (s IN ('a', 'c'))",
        "policy public.t p differs after the restore",
    ),
    (
        "ALTER DOMAIN state DROP CONSTRAINT state_check",
        "domain public.state differs after the restore",
    ),
    (
        "SELECT nextval('counted')",
        "the value of sequence public.counted differs after the restore",
    ),
    (
        "SELECT lo_put(4711, 0, 'x')",
        "large object 4711 differs after the restore",
    ),
    (
        "COMMENT ON CONSTRAINT ordered ON t IS 'IN (''a'')'",
        "the comment on CONSTRAINT ordered ON t in schema public differs after the restore",
    ),
    (
        "REFRESH MATERIALIZED VIEW m WITH NO DATA",
        "materialized view data public.m is missing after the restore",
    ),
    (
        "UPDATE parted SET a = 4",
        "public.part: the number of rows agrees, their content does not",
    ),
];

#[test]
fn what_differs_in_the_copy_alone_is_found_among_what_is_written_differently() {
    let cluster = rewritten();
    let changes: Vec<&str> = CHANGES.iter().map(|(sql, _)| *sql).collect();
    let (mut operator, _place) = operator(&cluster, "app");
    operator.set_value("drill.jobs", 1);
    back_up(&operator);
    let programs = psql_that_changes(&changes);
    operator.set("programs", programs.path().display());
    let (report, output) = drill(&operator, 65);
    assert_eq!(report["outcome"], "differs", "{output}");
    let mut found = list(&report, "differences");
    let mut expected: Vec<&str> = CHANGES.iter().map(|(_, sentence)| *sentence).collect();
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected, "{output}");
}

#[test]
fn a_dropped_default_alone_is_found() {
    let cluster = rewritten();
    let (mut operator, _place) = operator(&cluster, "app");
    operator.set_value("drill.jobs", 1);
    back_up(&operator);
    let programs = psql_that_changes(&["ALTER TABLE t ALTER COLUMN s DROP DEFAULT"]);
    operator.set("programs", programs.path().display());
    let (report, output) = drill(&operator, 65);
    let found = list(&report, "differences");
    assert_eq!(
        found,
        ["table public.t differs after the restore"],
        "{output}"
    );
}

/// The copy is changed while it is compared; what the reference shows is not.
#[test]
fn a_restore_refuses_a_copy_that_differs_and_leaves_nothing() {
    let cluster = rewritten();
    let mut operator = Operator::of(&cluster, "app");
    back_up(&operator);
    for (change, told) in [
        (
            "ALTER TABLE t DROP CONSTRAINT t_a_check, ADD CONSTRAINT t_a_check CHECK (a > 0)",
            "table public.t differs",
        ),
        (
            "ALTER TABLE t OWNER TO CURRENT_USER",
            "the owner of table public.t differs",
        ),
    ] {
        // Only what was loaded with rows is the copy.
        operator.stand_in(
            "pg_dump",
            &format!(
                "\"${{real%/*}}/psql\" -X -q -c \"DO \\$do\\$ BEGIN IF EXISTS (SELECT FROM t) THEN {change}; END IF; END \\$do\\$\" >&2\n\
                 exec \"$real\" \"$@\""
            ),
        );
        let output = restore(&cluster, &operator, 69);
        let failed = "what was loaded is not what the backup holds:\n  ";
        assert!(
            output.stderr.contains(&format!("{failed}{told}\n")),
            "{output}"
        );
    }
}

/// What needs rows to be made cannot be made without them: then the text decides, and the reason is known.
#[test]
fn definitions_that_cannot_be_loaded_without_rows_are_held_against_the_text() {
    let cluster = Cluster::start();
    cluster.create_database("app");
    cluster.psql_in(
        "app",
        "CREATE TABLE known (s varchar CHECK (s IN ('a', 'b'))); INSERT INTO known VALUES ('a'); \
         CREATE FUNCTION first_known() RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ DECLARE s text; BEGIN \
           SELECT k.s INTO STRICT s FROM public.known AS k; RETURN 1; END $$; \
         CREATE TABLE t (a int); CREATE INDEX i ON t (a) WHERE a > first_known()",
    );
    let (operator, _place) = operator(&cluster, "app");
    back_up(&operator);
    let (report, output) = drill(&operator, 65);
    let found = list(&report, "differences");
    assert_eq!(
        found,
        ["table public.known differs after the restore"],
        "{output}"
    );
    let remarks = list(&report, "remarks");
    let why = "what this server makes of the backup's own definitions is not known: ";
    assert!(remarks[0].starts_with(why), "{output}");
    assert!(remarks[0].contains("(SQLSTATE P0002"), "{output}");
    let output = restore(&cluster, &operator, 69);
    assert!(output.stderr.contains(why), "{output}");
}

/// The database for the reference goes with the next run, whatever it bears.
#[test]
fn what_a_killed_restore_left_of_a_reference_is_dropped_by_the_next() {
    let cluster = rewritten();
    let mut operator = Operator::of(&cluster, "app");
    back_up(&operator);
    // The second dump is that of the reference.
    operator.stand_in(
        "pg_dump",
        "if [ -e \"$directory/dumped\" ]; then : >\"$directory/reached\"; exec sleep 60; fi\n\
         : >\"$directory/dumped\"; exec \"$real\" \"$@\"",
    );
    let running = operator.spawn(&["restore", "--latest", "--into", "copy"]);
    let reached = operator.path("reached");
    wait_until("the reference is dumped", || reached.exists());
    running.signal(Signal::KILL);
    assert_eq!(running.wait().code, 137);
    let left = databases(&cluster);
    assert_eq!(left.len(), 3, "{left:?}");
    // The server may have been killed before the mark was written.
    for name in left.iter().filter(|name| *name != "app") {
        cluster.psql(&format!("COMMENT ON DATABASE \"{name}\" IS NULL"));
    }
    operator.send_stand_ins_home();
    wait_for_the_next_second();
    restore(&cluster, &operator, 0);
}

/// The text of a dump that somebody made by hand.
fn dump_by_hand(cluster: &Cluster, arguments: &[&str]) -> Vec<u8> {
    let mut pg_dump = cluster.command("pg_dump");
    let output = pg_dump.args(arguments).arg("app").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

#[test]
fn a_dump_is_in_the_encoding_of_its_database_whatever_is_set_and_a_copy_in_that_of_the_dump() {
    let cluster = Cluster::start();
    cluster.create_database("app");
    cluster.psql_in(
        "app",
        "CREATE TABLE \"café\" (s text); INSERT INTO \"café\" VALUES ('ü')",
    );
    let (mut operator, _place) = operator(&cluster, "app");
    // One that was made in another encoding.
    let file = operator.path("latin1.sql");
    std::fs::write(&file, dump_by_hand(&cluster, &["--encoding=LATIN1"])).unwrap();
    let output = operator.run(&["restore", file.to_str().unwrap(), "--into", "copy"]);
    assert_eq!(output.code, 0, "{output}");
    assert!(!output.stderr.contains("differs"), "{output}");
    cluster.psql("DROP DATABASE copy");

    // What LATIN1 lacks.
    cluster.psql_in("app", "INSERT INTO \"café\" VALUES (U&'\\20AC')");
    cluster.psql("ALTER DATABASE app SET client_encoding = 'LATIN1'");
    operator.set_variable("PGCLIENTENCODING", "LATIN2");
    back_up(&operator);
    let (report, output) = drill(&operator, 0);
    assert!(list(&report, "remarks").is_empty(), "{output}");
    restore(&cluster, &operator, 0);
}

/// `pg_dump` of version 17 and newer makes a setting that no older server knows.
#[test]
fn a_setting_that_the_server_does_not_know_keeps_no_dump_from_loading() {
    let cluster = Cluster::start();
    cluster.create_database("app");
    cluster.psql_in("app", "CREATE TABLE t (s text PRIMARY KEY); INSERT INTO t VALUES ('SET transaction_timeout = 0; x')");
    let mut operator = Operator::of(&cluster, "app");
    let text = String::from_utf8(dump_by_hand(&cluster, &[])).unwrap();
    let known = "SET lock_timeout = 0;\n";
    assert!(text.contains(known), "{text}");
    let text = text.replacen("SET transaction_timeout = 0;\n", "", 1);
    let text = text.replacen(known, &format!("{known}SET transaction_timeout = 0;\n"), 1);
    let file = operator.path("newer.sql");
    std::fs::write(&file, text).unwrap();
    for jobs in [1, 3] {
        operator.set_value("dump.jobs", jobs);
        let output = operator.run(&["restore", file.to_str().unwrap(), "--into", "copy"]);
        assert_eq!(output.code, 0, "{output}");
        let rows = cluster.psql_in("copy", "SELECT s FROM t");
        assert_eq!(rows, "SET transaction_timeout = 0; x");
        cluster.psql("DROP DATABASE copy");
    }
    // One that no `pg_dump` makes is still refused.
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(
        &file,
        text.replacen("transaction_timeout", "no_such_timeout", 1),
    )
    .unwrap();
    let output = operator.run(&["restore", file.to_str().unwrap(), "--into", "copy"]);
    assert_eq!(output.code, 65, "{output}");
    assert!(output.stderr.contains("no_such_timeout"), "{output}");
}
