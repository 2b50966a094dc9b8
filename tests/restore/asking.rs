//! What is asked, listed and refused before anything is touched.

use crate::support::cluster::{Cluster, Options, SUPERUSER};
use crate::support::restored::{assert_untouched, small, value};
use serde_json::Value;
use std::fs;

#[test]
fn without_a_choice_there_is_a_list() {
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    let name = operator.list().remove(0);
    let output = operator.run(&["restore"]);
    assert_eq!(output.code, 64, "{output}");
    assert!(
        output.stdout.contains(&name) && output.stdout.contains("VERIFIED"),
        "{output}"
    );
    assert!(
        output.stderr.contains(&format!(
            "hint: `pgbackupd restore --database app {name}`, or give --latest"
        )),
        "{output}"
    );
    let listed = operator.json(&["restore"]);
    assert_eq!(listed[0]["backup"], name);
    // Nobody is there to be asked.
    let output = operator.run(&["restore", &name]);
    assert_eq!(output.code, 64, "{output}");
    assert!(output.stderr.contains("--yes"), "{output}");
    for (arguments, code) in [
        (["restore", "--before", "2000-01-01"].as_slice(), 69),
        (&["restore", "--series", "weekly"], 69),
        (&["restore", "--latest", "--database", "other"], 64),
        (&["restore", "backup_20000101_000000"], 64),
        (&["restore", "--before", "yesterday"], 64),
    ] {
        let output = operator.run(arguments);
        assert_eq!(output.code, code, "{arguments:?}: {output}");
    }
    // The zone in which a moment is read is repeated back.
    operator.set("timezone", "Europe/Berlin");
    let output = operator.run(&["restore", "--before", "2000-01-01 12:00"]);
    let read = "--before is read as 2000-01-01 12:00:00 +01:00 (Europe/Berlin)\n";
    assert!(output.stderr.starts_with(read), "{output}");
    assert_untouched(&cluster, &operator, "app");
}

#[test]
fn only_the_name_of_the_database_confirms() {
    let cluster = Cluster::start();
    let operator = small(&cluster, "app");
    let refused = operator.run_at_a_terminal(&["restore", "--latest"], "yes");
    assert!(
        refused.stdout.contains("This replaces the database app"),
        "{refused}"
    );
    assert!(refused.stdout.contains("app_before_restore_"), "{refused}");
    assert!(refused.stdout.contains("nothing was changed"), "{refused}");
    assert_eq!(refused.code, 64, "{refused}");
    // The question comes before the backup is read, and says how much that is.
    assert!(
        refused.stdout.contains(" of backup are read in full"),
        "{refused}"
    );
    assert!(!refused.stdout.contains("reading backup_"), "{refused}");
    assert_eq!(
        operator.restore_log(),
        Vec::<Value>::new(),
        "nothing was begun"
    );
    assert_untouched(&cluster, &operator, "app");
    // Without a choice, the newest is offered.
    let given = operator.run_at_a_terminal(&["restore"], "app");
    assert_eq!(given.code, 0, "{given}");
    assert_eq!(value(&cluster, "app"), "as backed up");
    let undone = operator.run_at_a_terminal(&["undo-restore"], "no");
    assert_eq!(undone.code, 64, "{undone}");
    let undone = operator.run_at_a_terminal(&["undo-restore"], "app");
    assert_eq!(undone.code, 0, "{undone}");
    assert_eq!(value(&cluster, "app"), "as it stands");
    // Nor is a database created from a backup that nobody chose, unless somebody agrees.
    let named = "SELECT datname FROM pg_database WHERE datname LIKE 'app%'";
    for database in cluster.psql(named).lines() {
        cluster.psql(&format!("DROP DATABASE {database}"));
    }
    let into = ["restore", "--into", "copy"];
    for (command, name) in [(&["restore"][..], "app"), (&into[..], "copy")] {
        let refused = operator.run_at_a_terminal(command, "no");
        assert_eq!(refused.code, 64, "{refused}");
        let question = format!("This creates the database {name} at ");
        assert!(refused.stdout.contains(&question), "{refused}");
        let made = format!("SELECT count(*) FROM pg_database WHERE datname = '{name}'");
        assert_eq!(cluster.psql(&made).trim(), "0", "{refused}");
        let given = operator.run_at_a_terminal(command, name);
        assert_eq!(given.code, 0, "{given}");
        assert_eq!(value(&cluster, name), "as backed up");
    }
}

#[test]
fn the_steps_can_be_read_before() {
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    operator.set_value(
        "restore.stop",
        serde_json::json!(["systemctl", "stop", "app"]),
    );
    operator.set_value(
        "restore.start",
        serde_json::json!(["systemctl", "start", "app"]),
    );
    let output = operator.run(&["restore", "--latest", "--plan", "--drop-old"]);
    assert_eq!(output.code, 0, "{output}");
    for step in [
        "create the database app_restoring_",
        "stop the application: systemctl stop app",
        "in one transaction rename app (",
        "drop app_before_restore_",
        "start the application, also after any failure: systemctl start app",
    ] {
        assert!(output.words().contains(step.trim()), "{step}: {output}");
    }
    let unmeasured =
        "no drill of the database is on record; `pgbackupd drill --database app` makes one";
    assert!(output.words().contains(unmeasured), "{output}");
    assert!(operator.restore_log().is_empty());
    // Once there is one, its times stand with the steps.
    let record = serde_json::json!({
        "at": "2025-07-09T02:00:00+03:00",
        "run": "01a203cf-b867-70ab-999d-12597912332f",
        "operation": "drill",
        "event": "succeeded",
        "database": "app",
        "backup": "backup_20250708_020000",
        "bytes": 3_221_225_472_u64,
        "phases": [{"phase": "verify", "seconds": 4.25}, {"phase": "load", "seconds": 90.0}],
    });
    let log = operator.backups().join("restore.log");
    fs::write(log, format!("{record}\n")).unwrap();
    let output = operator.run(&["restore", "--latest", "--plan"]);
    for part in [
        "it must be what was written [4.2 s] ",
        "the drill of backup_20250708_020000 at 2025-07-09 02:00:00 +03:00, ",
        "with 3.0 GiB of backup; this one has ",
        "there the data was back in 1 minute 34 seconds (objectives.recovery_time is 30 minutes)",
    ] {
        assert!(output.words().contains(part), "{part}: {output}");
    }
    assert_untouched(&cluster, &operator, "app");
}

#[test]
fn what_is_missing_is_named_before_anything_is_touched() {
    let cluster = Cluster::with(&Options {
        tcp: true,
        ..Options::default()
    });
    let mut operator = small(&cluster, "app");
    let name = operator.list().remove(0);
    let directory = operator.backups();

    // A user who may not create databases.
    cluster.psql("CREATE ROLE weak LOGIN");
    operator.set("connection.user", "weak");
    let output = operator.run(&["restore", "--latest", "--yes"]);
    assert_eq!(output.code, 69, "{output}");
    assert!(
        output
            .stderr
            .contains("may not create databases\nhint: ALTER ROLE \"weak\" CREATEDB"),
        "{output}"
    );

    // A wrong password.
    operator.set("connection.host", "127.0.0.1");
    operator.set("connection.password", "wrong");
    let output = operator.run(&["restore", "--latest", "--yes"]);
    assert_eq!(output.code, 69, "{output}");
    assert!(
        output.stderr.contains("password authentication failed"),
        "{output}"
    );
    operator.unset("connection.password");
    operator.set("connection.host", cluster.socket_directory().display());
    operator.set("connection.user", SUPERUSER);

    // Another run is at work.
    let lock = fs::File::open(directory.join(".lock")).unwrap();
    lock.lock().unwrap();
    let output = operator.run(&["restore", "--latest", "--yes"]);
    assert_eq!(output.code, 75, "{output}");
    assert_untouched(&cluster, &operator, "app");
    drop(lock);

    // A damaged backup.
    let artifact = directory.join(format!("{name}.sql.gz"));
    let mut bytes = fs::read(&artifact).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&artifact, bytes).unwrap();
    let output = operator.run(&["restore", "--latest", "--yes"]);
    assert_eq!(output.code, 65, "{output}");
    assert!(output.stderr.contains("is damaged"), "{output}");
    assert_untouched(&cluster, &operator, "app");
    let last = operator.restore_log().pop().unwrap();
    assert_eq!(last["event"], "failed");
}

#[test]
fn an_extension_that_the_server_lacks_is_named() {
    let cluster = Cluster::start();
    let operator = small(&cluster, "app");
    cluster.psql_in("app", "CREATE EXTENSION hstore; UPDATE pg_extension SET extname = 'no_such' WHERE extname = 'hstore'");
    // pg_dump has no objection; the catalogue says what it says.
    operator.back_up();
    let output = operator.run(&["restore", "--latest", "--yes"]);
    assert_eq!(output.code, 69, "{output}");
    assert!(
        output
            .stderr
            .contains("cannot install the extension no_such 1.8"),
        "{output}"
    );
    assert_untouched(&cluster, &operator, "app");
}
