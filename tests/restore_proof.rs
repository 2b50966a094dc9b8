//! What was loaded is compared with the backup, and gets its statistics, before it gets its name.

use std::fs;

use serde_json::Value;

use crate::support::cluster::{Cluster, SUPERUSER};
use crate::support::operator::{Operator, wait_for_the_next_second};
use crate::support::restored::{assert_untouched, seal, small};

/// An index that is in the way of ANALYZE, as a setting of the server's says, and of nothing else: our
/// own session is known by its name.
fn small_with_an_odd_index(cluster: &Cluster) -> Operator {
    let operator = small(cluster, "app");
    cluster.psql_in(
        "app",
        "CREATE FUNCTION odd(v text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN \
           IF pg_catalog.current_setting('application_name') <> 'pgbackupd' THEN RETURN v; END IF; \
           CASE pg_catalog.current_setting('test.odd', true) \
             WHEN 'fails' THEN RAISE 'no statistics today'; \
             WHEN 'ends' THEN PERFORM pg_catalog.pg_terminate_backend(pg_catalog.pg_backend_pid()); \
             WHEN 'hangs' THEN PERFORM pg_catalog.pg_sleep(600); \
             ELSE RETURN v; \
           END CASE; RETURN v; END $$; \
         CREATE INDEX odd ON t (odd(v)); \
         CREATE TABLE parted (id int) PARTITION BY RANGE (id); \
         CREATE TABLE part PARTITION OF parted FOR VALUES FROM (0) TO (100); \
         INSERT INTO parted SELECT i % 5 FROM generate_series(1, 50) AS i; \
         CREATE MATERIALIZED VIEW seen AS SELECT id FROM parted; \
         CREATE STATISTICS of_parted ON id, (id + 1) FROM part; \
         UPDATE t SET v = 'as backed up'",
    );
    operator.back_up();
    cluster.psql_in("app", "UPDATE t SET v = 'as it stands'");
    operator
}

#[test]
fn a_copy_is_compared_while_its_statistics_are_made_and_whichever_fails_ends_the_other() {
    let cluster = Cluster::start();
    let mut operator = small_with_an_odd_index(&cluster);
    let odd = |how: &str| cluster.psql(&format!("ALTER ROLE {SUPERUSER} SET test.odd TO '{how}'"));
    let restore = ["restore", "--latest", "--yes"];

    // The comparison would take ten minutes.
    odd("ends");
    operator.stand_in("pg_dump", "exec sleep 600");
    let output = operator.run(&restore);
    assert_eq!(output.code, 69, "{output}");
    let told = "cannot refresh the planner's statistics";
    assert!(output.stderr.contains(told), "{output}");
    assert!(output.stderr.contains("terminating connection"), "{output}");
    assert_untouched(&cluster, &operator, "app");

    // The statistics would.
    odd("hangs");
    operator.stand_in(
        "pg_dump",
        "echo 'pg_dump: error: no dump today' >&2; exit 1",
    );
    let output = operator.run(&restore);
    assert_eq!(output.code, 69, "{output}");
    assert!(output.stderr.contains("no dump today"), "{output}");
    assert_untouched(&cluster, &operator, "app");

    odd("does nothing");
    operator.send_stand_ins_home();
    let output = operator.run(&restore);
    assert_eq!(output.code, 0, "{output}");
    // Of a partitioned table autovacuum never makes any.
    let known = cluster.psql_in(
        "app",
        "SELECT DISTINCT tablename, inherited FROM pg_stats WHERE schemaname = 'public' ORDER BY 1, 2",
    );
    assert_eq!(known, "odd|f\npart|f\nparted|t\nseen|f\nt|f");
    let extended = cluster.psql_in("app", "SELECT count(*) > 0 FROM pg_stats_ext");
    assert_eq!(extended, "t");
}

/// A function that fails, and another server that is not there, take the statistics of single tables.
#[test]
fn a_table_whose_statistics_cannot_be_had_keeps_no_database_from_coming_back() {
    let cluster = Cluster::start();
    let operator = small_with_an_odd_index(&cluster);
    cluster.psql(&format!("ALTER ROLE {SUPERUSER} SET test.odd TO 'fails'"));
    let restore = |operator: &Operator| {
        let output = operator.run(&["restore", "--latest", "--into", "beside"]);
        assert_eq!(output.code, 0, "{output}");
        let known = cluster.psql_in(
            "beside",
            "SELECT DISTINCT tablename, inherited FROM pg_stats WHERE schemaname = 'public' ORDER BY 1, 2",
        );
        cluster.psql("DROP DATABASE beside");
        (output.stderr, known)
    };
    let (told, known) = restore(&operator);
    assert!(
        told.contains("no statistics for the planner of some tables"),
        "{told}"
    );
    assert!(
        told.contains("  public.t: ") && told.contains("(SQLSTATE P0001)"),
        "{told}"
    );
    assert_eq!(known, "part|f\nparted|t\nseen|f");

    cluster.psql_in(
        "app",
        "DROP TABLE t; \
         CREATE EXTENSION postgres_fdw; \
         CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '/nowhere'); \
         CREATE USER MAPPING FOR postgres SERVER far; \
         CREATE TABLE above (id int) PARTITION BY RANGE (id); \
         ALTER TABLE above ATTACH PARTITION parted FOR VALUES FROM (0) TO (100); \
         CREATE FOREIGN TABLE distant PARTITION OF above FOR VALUES FROM (100) TO (200) SERVER far; \
         CREATE TABLE \"Heir\" (id int); INSERT INTO \"Heir\" VALUES (1), (1); \
         CREATE FOREIGN TABLE away () INHERITS (\"Heir\") SERVER far",
    );
    wait_for_the_next_second();
    let output = operator.run(&["backup"]);
    assert_eq!(output.code, 0, "{output}");
    let (told, known) = restore(&operator);
    let expected = "when those servers can be reached:\n";
    let told = told.split_once(expected).unwrap_or_default().1;
    let lines: Vec<&str> = told.lines().take(2).map(str::trim).collect();
    assert_eq!(
        lines,
        ["ANALYZE public.\"Heir\";", "ANALYZE public.above;"],
        "{told}"
    );
    assert_eq!(known, "part|f\nparted|t\nseen|f");
}

/// The backup says that it comes from another version, and `pg_dump` shows the copy by way of a filter.
#[test]
fn in_another_version_every_object_must_be_there_however_it_is_written() {
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    cluster.psql_in(
        "app",
        "CREATE INDEX mine ON t (v); CREATE VIEW seen AS SELECT id FROM t; CREATE SEQUENCE s",
    );
    operator.back_up();
    let name = operator.list().pop().unwrap();
    let path = operator.backups().join(format!("{name}.json"));
    let mut manifest: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    manifest["server"]["version_number"] = 140_005.into();
    seal(&path, &manifest);
    // What the dump of the copy alone shows, or that of the reference too, which is made in a second database.
    let mut restore = |filter: &str, of_the_copy: bool| {
        let as_it_is = if of_the_copy { "*_2" } else { "none" };
        operator.stand_in(
            "pg_dump",
            &format!(
                "case \"$PGDATABASE\" in {as_it_is}) exec \"$real\" \"$@\";; esac\n\
                 \"$real\" \"$@\" | sed '{filter}'"
            ),
        );
        let output = operator.run(&["restore", "--latest", "--into", "beside"]);
        if output.code == 0 {
            cluster.psql("DROP DATABASE beside");
        }
        output
    };
    let view = "s/^CREATE VIEW public.seen/CREATE SEQUENCE public.more;\\n&/";
    let default = "s/^    v text$/    v text DEFAULT 1/";
    let owner = "s/^\\(ALTER TABLE public.seen OWNER TO\\) .*/\\1 somebody;/";
    for (filter, told) in [
        ("/^CREATE INDEX mine/d", "index public.mine is missing"),
        (view, "view public.seen differs"),
        (default, "table public.t differs"),
        (owner, "the owner of view public.seen differs"),
        (
            "s/setval(.public.s., 1, false)/setval(\\x27public.s\\x27, 2, true)/",
            "the value of sequence",
        ),
    ] {
        let output = restore(filter, true);
        let failed = "what was loaded is not what the backup holds";
        assert_eq!(output.code, 69, "{filter}: {output}");
        assert!(output.stderr.contains(failed), "{filter}: {output}");
        assert!(output.stderr.contains(told), "{filter}: {output}");
        // A reference excuses nothing but how a definition is written.
        let output = restore(filter, false);
        if told.ends_with("differs") && !told.contains("owner") {
            assert_eq!(output.code, 0, "{filter}: {output}");
            let remark = "1 definition is written differently by this server";
            assert!(output.stderr.contains(remark), "{output}");
        } else {
            assert_eq!(output.code, 69, "{filter}: {output}");
            assert!(output.stderr.contains(told), "{filter}: {output}");
        }
    }
}

#[test]
fn a_table_comes_back_alone_also_when_its_statistics_cannot_be_had() {
    let cluster = Cluster::start();
    let operator = small_with_an_odd_index(&cluster);
    // The same session makes the index, and may; only what ANALYZE carries out fails.
    cluster.psql_in(
        "app",
        "CREATE OR REPLACE FUNCTION odd(v text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN \
           IF EXISTS (SELECT FROM pg_catalog.pg_stat_progress_analyze) THEN RAISE 'no statistics today'; END IF; \
           RETURN v; END $$",
    );
    let output = operator.run(&[
        "restore", "--latest", "--table", "t", "--schema", "back", "--yes",
    ]);
    assert_eq!(output.code, 0, "{output}");
    assert!(
        output.stderr.contains("  back.t: ") && output.stderr.contains("(SQLSTATE P0001)"),
        "{output}"
    );
    assert_eq!(
        cluster.psql_in(
            "app",
            "SELECT count(*) > 0, bool_and(v = 'as backed up') FROM back.t"
        ),
        "t|t"
    );
}
