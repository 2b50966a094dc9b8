//! A backup that holds less than those before it is a concern the same night, with numbers, and what
//! happens on every good day is none.

use std::fs;

use serde_json::Value;

use crate::support::cluster::{Cluster, wait_until};
use crate::support::operator::{HeldLock, Operator};

/// Somebody who backs up one database, and whose service has a state directory.
fn operator(cluster: &Cluster) -> Operator {
    let mut operator = Operator::of(cluster, "postgres");
    operator.set_value("dump.globals", false);
    fs::create_dir(operator.path("state")).unwrap();
    operator.set("daemon.runtime_directory", operator.path("run").display());
    operator
}

/// What needs attention: kind and sentence of each.
#[track_caller]
fn concerns(operator: &Operator) -> Vec<(String, String)> {
    let output = operator.run(&["status", "--json"]);
    let status: Value = serde_json::from_str(&output.stdout).unwrap();
    let attention = status["attention"].as_array().unwrap();
    let text = |one: &Value, key: &str| one[key].as_str().unwrap().to_owned();
    let all = attention.iter();
    all.map(|one| (text(one, "kind"), text(one, "message")))
        .collect()
}

/// Makes the backup of the next night.
#[track_caller]
fn next_night(cluster: &Cluster, operator: &Operator, sql: &str) {
    cluster.psql(sql);
    operator.back_up();
}

#[test]
fn p12_a_table_that_is_emptied_is_reported_the_same_night_until_it_is_accepted_or_back() {
    let cluster = Cluster::start();
    let operator = operator(&cluster);
    next_night(
        &cluster,
        &operator,
        "CREATE TABLE orders AS SELECT i FROM generate_series(1, 1204) AS i; \
         CREATE TABLE customers AS SELECT i FROM generate_series(1, 9000) AS i; \
         CREATE TABLE rates AS SELECT i FROM generate_series(1, 40) AS i",
    );
    assert_eq!(concerns(&operator), []);
    let full = operator.list().remove(0);

    next_night(&cluster, &operator, "TRUNCATE orders; DROP TABLE rates");
    let expected = format!(
        "database postgres has lost rows since the backup {full}: public.orders had 1,204 rows and has 0 \
         rows, public.rates had 40 rows and is gone; "
    );
    let reported = |expected: &str| {
        let found = concerns(&operator);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].0, "contents");
        assert!(found[0].1.starts_with(expected), "{found:?}");
    };
    reported(&expected);
    // What repeats it does not end it, nor does the loss of what is remembered.
    for entry in fs::read_dir(operator.path("state")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("rows-") {
            fs::remove_file(path).unwrap();
        }
    }
    operator.back_up();
    reported(&expected);
    // One of them is back.
    next_night(
        &cluster,
        &operator,
        "CREATE TABLE rates AS SELECT i FROM generate_series(1, 41) AS i",
    );
    reported(&format!(
        "database postgres has lost rows since the backup {full}: public.orders had 1,204 rows and has 0 \
         rows; "
    ));
    // And the other one.
    next_night(
        &cluster,
        &operator,
        "INSERT INTO orders SELECT generate_series(1, 1300)",
    );
    assert_eq!(concerns(&operator), []);

    // Again, and this time it is meant.
    next_night(&cluster, &operator, "DELETE FROM orders WHERE i > 100");
    assert_eq!(concerns(&operator)[0].0, "contents");
    operator.json(&["accept", "contents"]);
    assert_eq!(concerns(&operator), []);
    operator.back_up();
    assert_eq!(concerns(&operator), []);
}

#[test]
fn p12_what_happens_on_good_nights_is_no_concern() {
    let cluster = Cluster::start();
    let mut operator = operator(&cluster);
    operator.set_value("anomaly.ignore", vec!["public.queue"]);
    next_night(
        &cluster,
        &operator,
        "CREATE TABLE base AS SELECT i FROM generate_series(1, 5000) AS i; \
         CREATE TABLE staging AS SELECT i FROM generate_series(1, 700) AS i; \
         CREATE TABLE queue AS SELECT i FROM generate_series(1, 80) AS i; \
         CREATE TABLE old_name AS SELECT i FROM generate_series(1, 90) AS i; \
         CREATE TABLE log_2025_06 AS SELECT i FROM generate_series(1, 300) AS i; \
         CREATE TABLE log_2025_07 AS SELECT i FROM generate_series(1, 310) AS i; \
         CREATE TABLE log_2025_08 AS SELECT i FROM generate_series(1, 290) AS i",
    );
    let fill = "INSERT INTO staging SELECT generate_series(1, 700)";
    let empty = "TRUNCATE staging";
    next_night(
        &cluster,
        &operator,
        "DROP TABLE log_2025_06; CREATE TABLE log_2025_09 (i int); TRUNCATE queue; \
         ALTER TABLE old_name RENAME TO new_name; DELETE FROM base WHERE i <= 2000",
    );
    assert_eq!(concerns(&operator), []);
    // A staging table is known by its habit.
    for sql in [empty, fill, empty] {
        next_night(&cluster, &operator, sql);
    }
    operator.json(&["accept", "contents"]);
    next_night(&cluster, &operator, fill);
    next_night(&cluster, &operator, empty);
    assert_eq!(concerns(&operator), []);
}

#[test]
fn p12_a_backup_that_is_smaller_than_usual_is_reported_until_it_is_accepted() {
    let cluster = Cluster::start();
    let operator = operator(&cluster);
    cluster.psql("CREATE TABLE t AS SELECT md5(i::text) AS d FROM generate_series(1, 3000) AS i");
    for _ in 0..5 {
        operator.back_up();
    }
    assert_eq!(concerns(&operator), []);
    // Not one row is lost.
    next_night(&cluster, &operator, "UPDATE t SET d = ''");
    let found = concerns(&operator);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, "size");
    let newest = operator.list().pop().unwrap();
    let expected = format!("the daily backup {newest} is smaller than usual: ");
    assert!(found[0].1.starts_with(&expected), "{found:?}");
    let accepted = operator.json(&["accept", "contents"]);
    assert_eq!(accepted["backups"], serde_json::json!([newest]));
    assert_eq!(concerns(&operator), []);
    operator.back_up();
    assert_eq!(concerns(&operator), []);
}

#[test]
fn p13_a_backup_that_takes_longer_than_expected_is_reported_while_it_runs() {
    let cluster = Cluster::start();
    let mut operator = operator(&cluster);
    operator.set("objectives.backup_time", "1 second");
    cluster.psql("CREATE TABLE t AS SELECT 1 AS i");
    let lock = HeldLock::on(&cluster, "postgres", "t");
    let running = operator.spawn(&["backup"]);
    lock.wait_for_another();
    wait_until("it is slow", || {
        let found = concerns(&operator);
        let slow = found.iter().find(|(kind, _)| kind == "slow");
        slow.is_some_and(|(_, said)| said.starts_with("the daily backup has been running for "))
    });
    drop(lock);
    assert_eq!(running.wait().code, 0);
    assert_eq!(concerns(&operator), []);
}
