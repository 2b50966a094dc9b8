//! What is refused, and what is shown before.

use super::{back_up, databases, dump, shop, taking};
use crate::support::cluster::{Cluster, Options, wait_until};
use crate::support::filesystem::Filesystem;
use crate::support::operator::Operator;
use std::fs;

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one scenario, each step on what the one before has left"
)]
fn what_cannot_be_done_is_reported_and_nothing_is_left() {
    let cluster = Cluster::start();
    let mut operator = shop(&cluster);
    back_up(&mut operator, "plain", "gzip");
    cluster.psql_in("shop", "DROP EVENT TRIGGER watch");
    let before = dump(&cluster, "shop", &[]);
    for (arguments, code, told) in [
        (
            ["--table", "ordes"].as_slice(),
            64,
            "there is public.orders",
        ),
        (&["--table", "orders", "--table", "nobody"], 64, "it holds"),
        (
            &["--table", "totals"],
            64,
            "public.totals is a view, which holds no rows",
        ),
        (&["--table", "a.b.c"], 64, "more than one dot"),
        (
            &["--table", "orders", "--drop-old"],
            64,
            "cannot be used with",
        ),
        (&["--schema", "x"], 64, "--table"),
        // A table that stands is not touched, not even an empty one's place.
        (
            &["--table", "orders", "--schema", "public"],
            69,
            "has public.orders, ",
        ),
    ] {
        let output = operator.run(&taking(arguments));
        assert_eq!(output.code, code, "{arguments:?}: {output}");
        assert!(output.stderr.contains(told), "{arguments:?}: {output}");
    }
    // Nobody is there to be asked.
    let output = operator.run(&["restore", "--latest", "--table", "orders"]);
    assert_eq!(output.code, 64, "{output}");
    for told in [
        "public.orders (500 rows), with",
        "are read in full",
        "give --yes",
    ] {
        assert!(output.stderr.contains(told), "{told}: {output}");
    }
    // Nothing was read or made before the question, and no report speaks of it.
    let records = operator.restore_log().len();
    let refused = operator.run_at_a_terminal(&["restore", "--latest", "--table", "orders"], "no");
    assert_eq!(refused.code, 64, "{refused}");
    assert!(refused.stdout.contains("nothing was changed"), "{refused}");
    assert_eq!(dump(&cluster, "shop", &[]), before);
    assert_eq!(operator.restore_log().len(), records);

    // Somebody has cleaned up too much.
    cluster.psql_in(
        "shop",
        "DROP TABLE public.orders CASCADE; DROP TYPE public.mood; DROP FUNCTION public.touch()",
    );
    let before = dump(&cluster, "shop", &[]);
    let output = operator.run(&taking(&["--table", "orders"]));
    assert_eq!(output.code, 69, "{output}");
    for told in [
        "type public.mood\nhint: make it there first",
        "function public.touch()",
        "--into NAME",
        "every database is as it was",
    ] {
        assert!(output.stderr.contains(told), "{told}: {output}");
    }
    assert_eq!(dump(&cluster, "shop", &[]), before);
    assert_eq!(databases(&cluster), "shop");

    // The way out: a new database has all that they need, and no other table.
    let restored = operator.json(&taking(&["--table", "orders", "--into", "found again"]));
    assert_eq!(restored["made_database"], true);
    assert_eq!(restored["tables"][0]["restored_as"], "public.orders");
    assert_eq!(databases(&cluster), "found again shop");
    assert_eq!(
        cluster.psql_in("found again", "SELECT count(*), sum(doubled), (SELECT count(*) FROM pg_class WHERE relkind IN ('r', 'v') AND relnamespace = 'public'::regnamespace) FROM orders"),
        "500|250500.00|1"
    );
    assert_eq!(
        cluster.psql_in("found again", "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()"),
        ""
    );
    assert_eq!(dump(&cluster, "shop", &[]), before);
    operator.assert_no_processes();
}

#[test]
fn what_would_be_done_can_be_read_before() {
    let cluster = Cluster::start();
    let mut operator = shop(&cluster);
    back_up(&mut operator, "custom", "gzip");
    let bare = operator.path("shop.sql");
    let mut pg_dump = cluster.command("pg_dump");
    pg_dump.args(["-f", bare.to_str().unwrap(), "shop"]);
    assert!(pg_dump.status().unwrap().success());
    cluster.psql("CREATE ROLE weak LOGIN; GRANT pg_read_all_data TO weak");
    let before = dump(&cluster, "shop", &[]);
    let plan = |arguments: &[&str]| {
        let arguments = [&["restore", "--plan", "--table", "orders"], arguments].concat();
        operator.run(&arguments)
    };
    for (arguments, told) in [
        (
            &["--latest"][..],
            &[
                " into database shop at ",
                "scratch database shop_restoring_",
                "public.orders (500 rows), partitions and child tables included",
                "into schema restored_2",
                "drop shop_restoring_",
            ][..],
        ),
        (
            &["--latest", "--into", "beside"],
            &["a new database beside, each in its own schema"],
        ),
        (
            &[bare.to_str().unwrap(), "--database", "shop"],
            &["public.orders (500 rows)"],
        ),
    ] {
        let output = plan(arguments);
        assert_eq!(output.code, 0, "{arguments:?}: {output}");
        for told in told {
            assert!(output.words().contains(told.trim()), "{told}: {output}");
        }
    }
    let output = plan(&["--latest", "--schema", "public"]);
    assert_eq!(output.code, 69, "{output}");
    let told = "it cannot be restored now:\ndatabase \"shop\" has public.orders already";
    assert!(output.stderr.contains(told), "{output}");
    let output = operator.run(&["restore", "--plan", "--latest", "--table", "ordes"]);
    assert_eq!(output.code, 64, "{output}");
    assert!(output.stderr.contains("there is public.orders"), "{output}");
    let steps = operator.json(&["restore", "--plan", "--latest", "--table", "orders"]);
    assert_eq!(steps["steps"].as_array().unwrap().len(), 6, "{steps}");
    operator.set("connection.user", "weak");
    let arguments = ["restore", "--plan", "--latest", "--table", "orders"];
    let output = operator.run(&arguments);
    let told = "user weak may not create databases, and a scratch database is needed";
    assert!(output.stderr.contains(told), "{output}");
    // Nothing was made for it, and nothing is on record.
    assert_eq!(dump(&cluster, "shop", &[]), before);
    assert_eq!(databases(&cluster), "shop");
    assert!(!operator.backups().join("restore.log").exists());
}

#[test]
fn without_a_superuser_s_rights_a_table_comes_back_as_one_s_own() {
    let cluster = Cluster::start();
    cluster.psql("CREATE ROLE keeper LOGIN CREATEDB; CREATE ROLE other");
    cluster.psql("CREATE DATABASE kept OWNER keeper");
    cluster.psql_in(
        "kept",
        "SET ROLE keeper; CREATE TABLE of_rows (a int); INSERT INTO of_rows VALUES (1); \
         CREATE TABLE t (a of_rows); INSERT INTO t VALUES (ROW(7)); GRANT SELECT ON t TO other; \
         RESET ROLE; ALTER TABLE t OWNER TO other; GRANT SELECT ON t TO keeper",
    );
    let mut operator = Operator::of(&cluster, "kept");
    back_up(&mut operator, "plain", "gzip");
    operator.set("connection.user", "keeper");
    let restored = operator.json(&taking(&["--table", "t", "--schema", "mine"]));
    assert_eq!(
        cluster.psql_in(
            "kept",
            "SELECT tableowner, (SELECT (a).a FROM mine.t) FROM pg_tables WHERE schemaname = 'mine'"
        ),
        "keeper|7"
    );
    let told = restored["warnings"].to_string();
    assert!(
        told.contains("cannot act for the role \\\"other\\\""),
        "{told}"
    );

    // Into a database of its own comes what a column has the type of, without its rows.
    let restored = operator.json(&taking(&["--table", "t", "--into", "apart"]));
    assert!(
        restored["left_out"][0]
            .as_str()
            .unwrap()
            .contains("public.of_rows"),
        "{restored}"
    );
    assert_eq!(
        cluster.psql_in(
            "apart",
            "SELECT (a).a, (SELECT count(*) FROM of_rows) FROM t"
        ),
        "7|0"
    );
}

#[test]
fn rows_for_which_the_server_has_no_room_are_refused_before_anything_is_made() {
    let Some(disk) = Filesystem::in_memory("size=200m") else {
        return;
    };
    let cluster = Cluster::with(&Options {
        below: Some(disk.path()),
        ..Options::default()
    });
    cluster.create_database("shop");
    cluster.psql_in(
        "shop",
        "CREATE TABLE numbers AS SELECT i FROM generate_series(1, 200000) AS i",
    );
    let operator = Operator::of(&cluster, "shop");
    operator.back_up();
    // A mebibyte, where each of the rows takes 28 bytes at least. What the server has to write, it writes
    // before that is measured.
    let ballast = disk.path().join("ballast");
    wait_until("the disk takes the ballast", || {
        cluster.psql("CHECKPOINT");
        let space = disk.space();
        let length = (space.f_bfree - 256) * space.f_frsize;
        let written = fs::write(&ballast, vec![0; length.try_into().unwrap()]);
        if written.is_err() {
            fs::remove_file(&ballast).unwrap();
        }
        written.is_ok()
    });
    let numbers = taking(&["--table", "numbers"]);
    let output = operator.run(&numbers);
    assert_eq!(output.code, 69, "{output}");
    let sentence =
        "free, and the rows of the tables need 5.3 MiB at least\nhint: free some space there";
    assert!(output.stderr.contains(sentence), "{output}");
    assert_eq!(databases(&cluster), "shop");
    let log = operator.restore_log();
    assert!(
        log.iter().all(|record| record["event"] != "started"),
        "{log:?}"
    );
    fs::remove_file(&ballast).unwrap();
    let output = operator.run(&numbers);
    assert_eq!(output.code, 0, "{output}");
}
