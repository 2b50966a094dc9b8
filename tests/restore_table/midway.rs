//! Whatever ends it midway.

use super::{back_up, databases, shop, taking};
use crate::support::cluster::{Cluster, wait_until};
use crate::support::operator::Operator;
use rustix::process::Signal;
use std::fs;

#[test]
fn whatever_ends_it_midway_leaves_every_database_as_it_was() {
    let cluster = Cluster::start();
    let mut operator = shop(&cluster);
    back_up(&mut operator, "plain", "gzip");
    cluster.psql_in("shop", "DROP EVENT TRIGGER watch");
    let schemas = || {
        cluster.psql_in(
            "shop",
            "SELECT count(*) FROM pg_namespace WHERE nspname IN ('back', 'other')",
        )
    };

    // Somebody else's code changes a row while the table is made: the comparison sees it.
    cluster.psql_in("shop", "CREATE FUNCTION meddle() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN DELETE FROM back.orders WHERE id = 7; END $$; CREATE EVENT TRIGGER meddle ON ddl_command_end WHEN TAG IN ('CREATE INDEX') EXECUTE FUNCTION meddle()");
    let output = operator.run(&taking(&["--table", "orders", "--schema", "back"]));
    assert_eq!(output.code, 69, "{output}");
    assert!(
        output
            .stderr
            .contains("back.orders: 499 rows, 500 in the backup"),
        "{output}"
    );
    assert_eq!(schemas(), "0");
    assert_eq!(databases(&cluster), "shop");

    // Ended while its transaction is in the middle of something long.
    cluster.psql_in("shop", "CREATE OR REPLACE FUNCTION meddle() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(600); END $$");
    let sleeping = || {
        cluster.psql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "1"
    };
    let running = operator.spawn(&taking(&["--table", "orders", "--schema", "back"]));
    wait_until("it is in the middle", sleeping);
    running.signal(Signal::TERM);
    let output = running.wait();
    assert_eq!(output.code, 143, "{output}");
    assert!(
        output.stderr.contains("every database is as it was"),
        "{output}"
    );
    wait_until("the session is gone", || !sleeping());
    assert_eq!(schemas(), "0");
    assert_eq!(databases(&cluster), "shop");

    // Killed: the next one drops what was left.
    let running = operator.spawn(&taking(&["--table", "orders", "--schema", "back"]));
    wait_until("it is in the middle again", sleeping);
    running.signal(Signal::KILL);
    running.wait();
    cluster.psql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'",
    );
    assert_eq!(schemas(), "0");
    assert!(databases(&cluster).contains("shop_restoring_"));
    cluster.psql_in("shop", "DROP EVENT TRIGGER meddle");
    let output = operator.run(&taking(&["--table", "orders", "--schema", "back"]));
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(databases(&cluster), "shop");
    let log = operator.restore_log();
    let events: Vec<&str> = log
        .iter()
        .filter_map(|record| record["event"].as_str())
        .collect();
    assert!(
        events.contains(&"interrupted") && events.last() == Some(&"succeeded"),
        "{events:?}"
    );
}

#[test]
fn a_row_of_any_length_takes_no_memory_for_its_length() {
    /// The most that the program may have in memory, in KiB: less than two thirds of the row.
    const MOST: u64 = 96 * 1024;
    let cluster = Cluster::start();
    cluster.create_database("shop");
    // A tab, a backslash and a newline each take two bytes in a dump, and a byte of a bytea two.
    cluster.psql_in(
        "shop",
        r"CREATE TABLE files (id int, content bytea, note text);
          INSERT INTO files VALUES (1, 'short', 'a'),
            (2, decode(repeat('00ff5c', 14000000), 'hex'), repeat(E'\t\\\n', 11000000)),
            (3, NULL, '')",
    );
    let mut operator = Operator::of(&cluster, "shop");
    back_up(&mut operator, "plain", "none");
    let arguments = ["--table", "files", "--schema", "back"];

    let running = operator.spawn(&taking(&arguments));
    let status = format!("/proc/{}/status", running.pid().as_raw_nonzero());
    let mut peak = 0;
    while let Ok(status) = fs::read_to_string(&status) {
        let Some(line) = status.lines().find(|line| line.starts_with("VmHWM:")) else {
            break;
        };
        let number = line.split_whitespace().nth(1).unwrap();
        peak = peak.max(number.parse().unwrap());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let output = running.wait();
    assert_eq!(output.code, 0, "{output}");
    assert!((1..MOST).contains(&peak), "{peak} KiB");
    let compared = "SELECT count(*) FROM files AS a JOIN back.files AS b USING (id) \
        WHERE a.content IS NOT DISTINCT FROM b.content AND a.note = b.note";
    assert_eq!(cluster.psql_in("shop", compared), "3");
}
