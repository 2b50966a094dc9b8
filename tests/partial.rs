//! A backup without the rows of tables that cannot be read: made on request, named as what it is, and taken
//! for nothing more.

use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};

use serde_json::{Value, json};

use crate::support::cluster::{Cluster, binary};
use crate::support::drill::operator;
use crate::support::operator::{Operator, wait_for_the_next_second};

/// Every character that means something in a pattern of `pg_dump`'s or in SQL.
const ODD: &str = r#""A.b"."it's ""x"" *?$ T.t""#;

/// A database with good tables, of which two get a page that is none.
fn damaged() -> (Cluster, Operator, tempfile::TempDir) {
    let mut cluster = Cluster::start();
    cluster.create_database("app");
    cluster.psql_in(
        "app",
        &format!(
            "CREATE TABLE fine AS SELECT generate_series(1, 100) AS i; CREATE SCHEMA \"A.b\"; \
             CREATE TABLE {ODD} AS SELECT g AS i, repeat('x', 500) AS t FROM generate_series(1, 200) g; \
             CREATE TABLE \"A.b\".\"it's \"\"x\"\" *?$ T.t2\" AS SELECT 7 AS seven; \
             CREATE TABLE child (p int); INSERT INTO child VALUES (7); \
             ALTER TABLE {ODD} ADD UNIQUE (i); \
             ALTER TABLE child ADD CONSTRAINT to_odd FOREIGN KEY (p) REFERENCES {ODD} (i); \
             CREATE TABLE parted (i int, t text) PARTITION BY RANGE (i); \
             CREATE TABLE p1 PARTITION OF parted FOR VALUES FROM (0) TO (100); \
             CREATE TABLE p2 PARTITION OF parted FOR VALUES FROM (100) TO (200); \
             INSERT INTO parted SELECT g, repeat('y', 500) FROM generate_series(0, 199) g"
        ),
    );
    let (operator, place) = operator(&cluster, "app");
    // What is good is backed up before.
    operator.back_up();
    wait_for_the_next_second();
    for table in [ODD, "p2"] {
        damage(&mut cluster, table);
    }
    (cluster, operator, place)
}

/// Writes over the page after the first, which no longer looks like one.
fn damage(cluster: &mut Cluster, table: &str) {
    let sql = format!(
        "SELECT pg_relation_filepath('{}'::regclass)",
        table.replace('\'', "''")
    );
    let path = cluster.data_directory().join(cluster.psql_in("app", &sql));
    cluster.psql("CHECKPOINT");
    cluster.stop();
    let mut file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(8192)).unwrap();
    file.write_all(&[0x5a; 8192]).unwrap();
    drop(file);
    cluster.restart();
}

fn manifest(operator: &Operator, name: &str) -> Value {
    let path = operator.backups().join(format!("{name}.json"));
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one server, and all that looks at its backups"
)]
fn a_backup_without_the_rows_that_cannot_be_read_counts_for_nothing_but_itself() {
    let (cluster, mut operator, _place) = damaged();
    let [whole] = operator.list().try_into().unwrap();

    // The failure names the table, and the way out.
    let failed = operator.run(&["backup"]);
    assert_eq!(failed.code, 69, "{failed}");
    for expected in [ODD, "emergency --database app --skip-damaged"] {
        assert!(failed.stderr.contains(expected), "{failed}");
    }
    for format in ["plain", "custom", "directory"] {
        operator.set("dump.format", format);
        operator.set_value("dump.jobs", 2);
        wait_for_the_next_second();
        let output = operator.run(&["emergency", "--skip-damaged", "--json"]);
        assert_eq!(output.code, 65, "{output}");
        let [result] = serde_json::from_str::<[Value; 1]>(&output.stdout).unwrap();
        let tables = result["skipped_tables"].as_array().unwrap();
        assert_eq!(tables.len(), 2, "{result}");
        for (one, table, all) in [(&tables[0], ODD, 200), (&tables[1], "public.p2", 100)] {
            assert_eq!(one["table"], table);
            let read = one["rows_read"].as_u64().unwrap();
            assert!(0 < read && read < all, "{one}");
            assert!(one["reason"].to_string().contains("invalid page"), "{one}");
        }
        // The one whose name begins alike, and the other partition.
        assert_eq!(result["rows"], json!(100 + 1 + 1 + 100));
        let name = result["backup"].as_str().unwrap();
        assert_eq!(manifest(&operator, name)["format"], 2);
        assert_eq!(
            manifest(&operator, name)["skipped_tables"],
            result["skipped_tables"]
        );
        let verified = operator.run(&["verify", name]);
        assert_eq!(verified.code, 0, "{verified}");
    }
    operator.assert_all_whole();
    let partial = operator.list().pop().unwrap();
    let listed = operator.run(&["list"]);
    assert!(listed.stdout.contains("[partial]"), "{listed}");
    let [listed] = serde_json::from_value::<[Value; 1]>(operator.json(&["list"])).unwrap();
    let backups = listed["backups"].as_array().unwrap();
    assert_eq!(
        backups.last().unwrap()["skipped_tables"],
        json!([ODD, "public.p2"])
    );
    assert_eq!(backups[0]["skipped_tables"], json!([]));

    // It is no backup of the database for whoever counts.
    let status = operator.run(&["status", "--json"]);
    let status: Value = serde_json::from_str(&status.stdout).unwrap();
    assert!(status["remarks"].to_string().contains(&partial), "{status}");
    let database = &status["databases"][0];
    let newest = database["recovery_point"]["newest"].as_str().unwrap();
    assert_eq!(
        newest,
        manifest(&operator, &whole)["started"].as_str().unwrap()
    );
    let series = database["series"].as_array().unwrap();
    let manual = series.iter().find(|one| one["series"] == "manual");
    assert!(manual.is_none_or(|one| one["backups"] == 0), "{series:?}");
    operator.set_value("retention.floor", 1);
    operator.set_value("series.manual.keep_last", 1);
    let pruned = operator.run(&["prune"]);
    assert_eq!(pruned.code, 0, "{pruned}");
    assert_eq!(operator.list().len(), 4);

    // The newest that is complete is taken where that is meant; the partial one by its name.
    let latest = operator.run(&["restore", "--latest", "--into", "older", "--yes"]);
    assert_eq!(latest.code, 65, "{latest}");
    for expected in ["it is partial, without the rows of", "--accept-older"] {
        assert!(latest.stderr.contains(expected), "{latest}");
    }
    let latest = ["restore", "--latest", "--into", "older", "--accept-older"];
    let latest = operator.run(&latest);
    assert_eq!(latest.code, 0, "{latest}");
    let count = format!(
        "SELECT (SELECT count(*) FROM fine), (SELECT count(*) FROM {ODD}), (SELECT count(*) FROM parted)"
    );
    assert_eq!(cluster.psql_in("older", &count), "100|200|200");
    let named = operator.run(&["restore", &partial, "--into", "partly", "--json"]);
    assert_eq!(named.code, 0, "{named}");
    let named: Value = serde_json::from_str(&named.stdout).unwrap();
    let warnings = named["warnings"].to_string();
    assert!(
        warnings.contains("the backup is partial, without the rows of public.p2"),
        "{warnings}"
    );
    assert_eq!(cluster.psql_in("partly", &count), "100|0|100");
    let valid = "SELECT convalidated FROM pg_constraint WHERE conname = 'to_odd'";
    assert_eq!(cluster.psql_in("partly", valid), "f");
    assert!(
        warnings.contains("fk constraint public.child to_odd"),
        "{warnings}"
    );

    // A drill of it says what it is worth, and does not count.
    let drill = operator.run(&["drill", &partial]);
    assert_eq!(drill.code, 0, "{drill}");
    assert!(drill.words().contains("the backup is partial"), "{drill}");
    let status = operator.run(&["status", "--json"]);
    let status: Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!(status["databases"][0]["drill_age"]["newest"], Value::Null);
    let chosen = operator.run(&["drill", "--json"]);
    assert_eq!(chosen.code, 0, "{chosen}");
    assert!(chosen.stdout.contains(&whole), "{chosen}");
    let tables = operator.run(&[
        "restore", &partial, "--table", "p2", "--into", "partly", "--plan",
    ]);
    assert!(
        tables.words().contains("without the rows of public.p2"),
        "{tables}"
    );
}

#[test]
fn a_library_that_is_gone_costs_the_rows_of_its_type_alone() {
    let cluster = Cluster::start();
    let library = cluster.socket_directory().join("types.so");
    let installed = binary("pg_config");
    let installed = std::process::Command::new(installed)
        .arg("--pkglibdir")
        .output();
    let Ok(installed) = installed else {
        println!("skipped: there is no pg_config");
        return;
    };
    let installed = String::from_utf8(installed.stdout).unwrap();
    fs::copy(format!("{}/hstore.so", installed.trim()), &library).unwrap();
    cluster.create_database("app");
    let functions = [
        ("in(cstring) RETURNS kept", "hstore_in"),
        ("out(kept) RETURNS cstring", "hstore_out"),
    ];
    let functions = functions.map(|(signature, symbol)| {
        format!(
            "CREATE FUNCTION kept_{signature} AS '{}', '{symbol}' LANGUAGE c STRICT IMMUTABLE;",
            library.display()
        )
    });
    cluster.psql_in(
        "app",
        &format!(
            "CREATE TYPE kept; {} CREATE TYPE kept (INPUT = kept_in, OUTPUT = kept_out, STORAGE = extended); \
             CREATE TABLE fine AS SELECT 1 AS i; CREATE TABLE lost (v kept); \
             INSERT INTO lost VALUES ('a=>1')",
            functions.join(" ")
        ),
    );
    fs::remove_file(&library).unwrap();
    let operator = Operator::of(&cluster, "app");
    let failed = operator.run(&["backup"]);
    assert!(failed.stderr.contains("--skip-damaged"), "{failed}");
    let output = operator.run(&["emergency", "--skip-damaged"]);
    assert_eq!(output.code, 65, "{output}");
    assert!(output.stderr.contains("could not access file"), "{output}");
    let name = operator.list().pop().unwrap();
    let skipped = &manifest(&operator, &name)["skipped_tables"];
    assert_eq!(skipped[0]["table"], "public.lost");
    assert_eq!(skipped[0]["rows_read"], 0);
}

/// What ends a dump for another reason than a table's rows makes no partial backup, and neither does damage
/// everywhere.
#[test]
fn only_what_cannot_be_read_is_left_out_and_not_too_much_of_it() {
    let mut cluster = Cluster::start();
    cluster.create_database("app");
    for i in 1..=6 {
        let sql = format!(
            "CREATE TABLE t{i} AS SELECT g, repeat('x', 500) FROM generate_series(1, 100) g"
        );
        cluster.psql_in("app", &sql);
    }
    cluster.psql_in("app", "CREATE TABLE secret (i int)");
    cluster.psql("CREATE ROLE reader LOGIN");
    cluster.psql_in("app", "GRANT SELECT ON t1 TO reader");
    let mut operator = Operator::of(&cluster, "app");
    operator.set("connection.user", "reader");
    let output = operator.run(&["emergency", "--skip-damaged"]);
    assert_eq!(output.code, 69, "{output}");
    assert!(output.stderr.contains("may not read table"), "{output}");
    operator.set("connection.user", "postgres");
    let whole = operator.run(&["emergency", "--skip-damaged"]);
    assert_eq!(whole.code, 0, "{whole}");
    assert_eq!(manifest(&operator, &operator.list()[0])["format"], 1);

    for i in 1..=6 {
        damage(&mut cluster, &format!("t{i}"));
    }
    let before = operator.standing();
    let output = operator.run(&["emergency", "--skip-damaged"]);
    assert_eq!(output.code, 69, "{output}");
    assert!(
        output.stderr.contains("no more than 5 tables are left out"),
        "{output}"
    );
    assert!(!output.stderr.contains("--skip-damaged`"), "{output}");
    operator.assert_nothing_new(&before);
}
