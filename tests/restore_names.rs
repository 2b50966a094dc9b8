//! Whoever takes the name that a restore was to give a database keeps it: the restore takes the next one.

use std::io::Write as _;
use std::process::{Child, Stdio};

use crate::support::cluster::{Cluster, wait_until};
use crate::support::restored::{beginning_with, databases, small, value};

/// A session that keeps others from copying or renaming a database, until it is dropped.
struct Held(Child);

impl Held {
    fn on(cluster: &Cluster, database: &str) -> Self {
        let mut psql = cluster.command("psql");
        psql.args(["-X", "-q"]).stdin(Stdio::piped());
        let mut held = Self(psql.spawn().unwrap());
        held.again(cluster, database);
        held
    }

    /// Lets those who wait go on, and holds the next ones up, of this database.
    fn again(&mut self, cluster: &Cluster, database: &str) {
        let mut stdin = self.0.stdin.as_ref().unwrap();
        let held = "held_by_a_test";
        write!(
            stdin,
            "ROLLBACK;\nSET application_name = '{held}'; BEGIN;\n\
             ALTER DATABASE {database} RENAME TO another; SELECT 1;\n"
        )
        .unwrap();
        let state = format!(
            "SELECT count(*) FROM pg_stat_activity \
              WHERE application_name = '{held}' AND state = 'idle in transaction' \
                AND query LIKE '%SELECT 1%'"
        );
        wait_until("the database is held", || cluster.psql(&state) == "1");
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

/// The name that a statement which waits for the database gives, which comes behind this text.
fn wanted(cluster: &Cluster, before: &str) -> String {
    let sql = format!(
        "SELECT substring(query FROM '{before} \"?([^\"; ]+)') FROM pg_stat_activity \
          WHERE wait_event_type = 'Lock' AND query LIKE '%{before}%' \
            AND pid <> pg_backend_pid() AND application_name <> 'held_by_a_test'"
    );
    // What waits now may run a moment later.
    let mut found = String::new();
    wait_until("it waits", || {
        found = cluster.psql(&sql);
        !found.is_empty()
    });
    found
}

/// Takes a name, as a restore from elsewhere does that is not as far yet.
fn take(cluster: &Cluster, name: &str) {
    cluster.psql(&format!("CREATE DATABASE \"{name}\" TEMPLATE template1"));
    cluster.psql_in(
        name,
        "CREATE TABLE t (v text); INSERT INTO t VALUES ('not yours')",
    );
}

#[test]
fn a_restore_and_its_undoing_take_the_next_name_of_a_second() {
    let cluster = Cluster::start();
    let operator = small(&cluster, "shop");
    let mut held = Held::on(&cluster, "template0");
    let restoring = operator.spawn(&["restore", "--latest", "--yes"]);
    let loads_into = wanted(&cluster, "CREATE DATABASE");
    let keeps_as = loads_into.replace("_restoring_", "_before_restore_");
    take(&cluster, &loads_into);
    take(&cluster, &keeps_as);
    // The one that is taken second is taken, too.
    held.again(&cluster, "template0");
    let second = wanted(&cluster, "CREATE DATABASE");
    assert_ne!(second, loads_into);
    take(&cluster, &second);
    drop(held);
    let output = restoring.wait();
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(value(&cluster, "shop"), "as backed up");
    for name in [&loads_into, &keeps_as, &second] {
        assert_eq!(value(&cluster, name), "not yours", "{name}");
        cluster.psql(&format!("DROP DATABASE \"{name}\""));
    }
    let aside = beginning_with(&cluster, "shop_before_restore_");
    assert_eq!(value(&cluster, &aside), "as it stands");
    let end = operator.restore_log().pop().unwrap();
    assert_eq!(end["event"], "succeeded", "{end}");
    assert_eq!(databases(&cluster), ["shop".to_owned(), aside]);

    let held = Held::on(&cluster, "shop");
    let undoing = operator.spawn(&["undo-restore", "--yes"]);
    let undone = wanted(&cluster, "RENAME TO");
    take(&cluster, &undone);
    drop(held);
    let output = undoing.wait();
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(value(&cluster, "shop"), "as it stands");
    assert_eq!(value(&cluster, &undone), "not yours");
    cluster.psql(&format!("DROP DATABASE \"{undone}\""));
    let other = beginning_with(&cluster, "shop_undone_");
    assert!(output.stdout.contains(&other), "{output}");
    assert_eq!(value(&cluster, &other), "as backed up");
}

#[test]
fn a_restore_of_tables_takes_the_next_name_and_drops_nobody_else_s() {
    let cluster = Cluster::start();
    let operator = small(&cluster, "shop");
    let mut held = Held::on(&cluster, "template0");
    let arguments = [
        "restore", "--latest", "--table", "t", "--into", "other", "--yes",
    ];
    let restoring = operator.spawn(&arguments);
    let scratch = wanted(&cluster, "CREATE DATABASE");
    take(&cluster, &scratch);
    held.again(&cluster, "template0");
    let second = wanted(&cluster, "CREATE DATABASE");
    assert_ne!(second, scratch);
    held.again(&cluster, "template0");
    let unfinished = wanted(&cluster, "CREATE DATABASE");
    take(&cluster, &unfinished);
    drop(held);
    let output = restoring.wait();
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(value(&cluster, "other"), "as backed up");
    let mut expected = ["other", "shop", &scratch, &unfinished].map(str::to_owned);
    expected.sort();
    assert_eq!(databases(&cluster), expected);
    for name in [&scratch, &unfinished] {
        assert_eq!(value(&cluster, name), "not yours", "{name}");
    }
}

#[test]
fn two_restores_that_begin_at_the_same_moment_both_succeed() {
    let cluster = Cluster::start();
    let one = small(&cluster, "shop");
    let other = crate::support::operator::Operator::of(&cluster, "shop");
    other.back_up();
    let held = Held::on(&cluster, "template0");
    let arguments = ["restore", "--latest", "--into", "copy", "--yes"];
    let restoring = [one.spawn(&arguments), other.spawn(&arguments)];
    let waiting = "SELECT count(*) FROM pg_stat_activity \
        WHERE wait_event_type = 'Lock' AND query LIKE '%CREATE DATABASE%'";
    wait_until("both wait", || cluster.psql(waiting) == "2");
    drop(held);
    let outputs = restoring.map(crate::support::operator::Running::wait);
    // Of two that give the same database the same name, one is late; neither is in the other's way before.
    let codes = outputs.each_ref().map(|output| output.code);
    assert!(codes.contains(&0), "{} {}", outputs[0], outputs[1]);
    assert_eq!(databases(&cluster), ["copy", "shop"]);
    for output in outputs.iter().filter(|output| output.code != 0) {
        assert!(
            output.stderr.contains("\"copy\" already exists"),
            "{output}"
        );
    }
}
