//! A database comes back from its backup whole, and whatever fails on the way leaves the one serving
//! that was there.

use std::fs;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::cluster::{Cluster, Options, SUPERUSER, binary, wait_until};
use crate::support::operator::Operator;
use crate::support::restored::{assert_untouched, beginning_with, databases, small, value};

/// Everything about a database that `pg_dump` leaves to `pg_dumpall`, and who may do what in it.
fn around(cluster: &Cluster, name: &str) -> String {
    cluster.psql(&format!(
        "SELECT pg_get_userbyid(datdba), datcollate, datconnlimit, datistemplate, \
                (SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest(datacl) AS a), \
                shobj_description(oid, 'pg_database'), \
                (SELECT string_agg(concat(setrole::regrole, c), '; ' ORDER BY setrole, c) \
                   FROM pg_db_role_setting, unnest(setconfig) AS c WHERE setdatabase = oid) \
           FROM pg_database WHERE datname = '{name}'"
    ))
}

/// A database with privileges, settings, partitions and a large object.
fn make_surrounded(cluster: &Cluster) {
    cluster.psql(
        "CREATE ROLE \"the owner\"; CREATE ROLE reader; CREATE ROLE granter; \
         CREATE DATABASE app OWNER \"the owner\" TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'; \
         REVOKE ALL ON DATABASE app FROM PUBLIC; \
         GRANT CONNECT ON DATABASE app TO granter WITH GRANT OPTION; \
         SET ROLE granter; GRANT CONNECT ON DATABASE app TO reader; RESET ROLE; \
         COMMENT ON DATABASE app IS 'it''s \\ ours'; \
         ALTER DATABASE app SET search_path TO \"$user\", 'a, \"b', public; \
         ALTER DATABASE app SET \"my.own\" TO 'x = ''y'''; \
         ALTER DATABASE app SET default_transaction_read_only TO on; \
         ALTER ROLE reader IN DATABASE app SET work_mem TO '7MB'; \
         ALTER DATABASE app CONNECTION LIMIT 17",
    );
    cluster.psql_in(
        "app",
        "SET default_transaction_read_only = off; CREATE SCHEMA \"a, \"\"b\"; SET search_path = public; \
         CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, i::text FROM generate_series(1, 1000) AS i; \
         CREATE TABLE parts (a int, b text) PARTITION BY RANGE (a); \
         CREATE TABLE p1 PARTITION OF parts FOR VALUES FROM (0) TO (10); \
         INSERT INTO parts VALUES (1, 'x'); \
         GRANT SELECT ON t TO reader; ALTER TABLE t OWNER TO \"the owner\"; \
         SELECT lo_from_bytea(4711, 'a large object'); GRANT SELECT ON LARGE OBJECT 4711 TO reader",
    );
}

#[test]
fn a_database_comes_back_with_all_that_surrounds_it() {
    let cluster = Cluster::start();
    make_surrounded(&cluster);
    let before = around(&cluster, "app");
    let operator = Operator::of(&cluster, "app");
    operator.back_up();
    cluster.psql_in(
        "app",
        "SET default_transaction_read_only = off; DROP TABLE t; SELECT lo_unlink(4711)",
    );

    let restored = operator.json(&["restore", "--latest", "--yes"]);
    assert_eq!(restored["database"], "app");
    assert_eq!(restored["rows"], 1001);
    assert_eq!(restored["in_time"], true);
    assert_eq!(around(&cluster, "app"), before);
    assert_eq!(
        cluster.psql_in("app", "SELECT count(*), sum(id) FROM t"),
        "1000|500500"
    );
    assert_eq!(
        cluster.psql_in("app", "SELECT convert_from(lo_get(4711), 'UTF8')"),
        "a large object"
    );
    assert_eq!(
        cluster.psql_in("app", "SELECT has_table_privilege('reader', 't', 'SELECT'), tableowner FROM pg_tables WHERE tablename = 't'"),
        "t|the owner"
    );
    // What was replaced is there.
    let kept = beginning_with(&cluster, "app_before_restore_");
    assert_eq!(restored["kept_as"], kept);
    assert_eq!(cluster.psql_in(&kept, "SELECT to_regclass('t')"), "");
    // And who asked for it is on record.
    let log = operator.restore_log();
    let events: Vec<_> = log.iter().map(|record| &record["event"]).collect();
    assert_eq!(events, ["started", "succeeded"]);
    assert_eq!(log[0]["operation"], "restore");
    assert!(log[0]["requested_by"]["user"].is_string(), "{log:?}");
    // In words too, for people to add what they know.
    let report = fs::read_to_string(restored["incident"].as_str().unwrap()).unwrap();
    for part in [
        "# Incident report: restore of database `app`\n",
        "- Outcome: **restored**\n",
        "**no difference**",
        &format!("- Kept as: `{kept}`\n"),
        "| loading into app_restoring_",
        "(`objectives.recovery_point`): 1 day allowed, **met**",
        "[TO FILL IN]",
    ] {
        assert!(report.contains(part), "{part}: {report}");
    }

    // The way back.
    let undone = operator.json(&["undo-restore", "--yes"]);
    assert_eq!(undone["brought_back"], kept);
    // Nothing is written over, whatever the names are.
    assert_ne!(undone["incident"], restored["incident"]);
    let again = operator.run(&["incident", log[0]["run"].as_str().unwrap()]);
    assert_eq!(again.stdout, report, "{again}");
    assert_eq!(cluster.psql_in("app", "SELECT to_regclass('t')"), "");
    assert_eq!(around(&cluster, "app"), before);
    beginning_with(&cluster, "app_undone_");
    assert_eq!(operator.restore_log()[3]["operation"], "undo-restore");
    // There is nothing more to undo.
    let output = operator.run(&["undo-restore", "--yes"]);
    assert_eq!(output.code, 69, "{output}");
}

#[test]
fn what_stands_serves_until_the_end_and_sessions_are_sent_on() {
    let cluster = Cluster::start();
    let operator = small(&cluster, "app");
    // A session that is there, and one that keeps coming back.
    let stop = operator.path("stop");
    let seen = operator.path("seen");
    let mut idle = cluster
        .command("psql")
        .args(["-X", "-q", "-c", "SELECT pg_sleep(600)"])
        .env("PGDATABASE", "app")
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let again = "while ! test -e \"$1\"; do psql -XqAt -c 'SELECT v, pg_sleep(0.05) FROM t'; done";
    let mut coming_back = Command::new("bash")
        .args(["-c", again, "bash", stop.to_str().unwrap()])
        .env_clear()
        .envs(cluster.environment())
        .env("PGDATABASE", "app")
        .stdout(fs::File::create(&seen).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("both are connected", || {
        cluster.psql("SELECT count(*) FROM pg_stat_activity WHERE datname = 'app'") == "2"
    });
    let restored = operator.json(&["restore", "--latest", "--yes"]);
    assert!(
        restored["sessions_ended"].as_u64().unwrap() >= 1,
        "{restored}"
    );
    wait_until("it has come back to the restored one", || {
        fs::read_to_string(&seen).unwrap().contains("as backed up")
    });
    fs::write(&stop, "").unwrap();
    assert!(!idle.wait().unwrap().success());
    coming_back.wait().unwrap();
    let said = fs::read_to_string(&seen).unwrap();
    // First the old one, then the new one, and never anything else.
    let seen: Vec<&str> = said.lines().collect();
    let change = seen
        .iter()
        .position(|line| line.starts_with("as backed up"));
    let change = change.unwrap_or_else(|| panic!("{seen:?}"));
    assert!(change > 0, "{seen:?}");
    for (index, line) in seen.iter().enumerate() {
        let expected = if index < change {
            "as it stands|"
        } else {
            "as backed up|"
        };
        assert_eq!(*line, expected);
    }
}

#[test]
fn a_lost_database_is_created_again_with_its_roles() {
    let cluster = Cluster::start();
    cluster.psql(
        "CREATE ROLE keeper LOGIN PASSWORD 'x'; CREATE ROLE members; GRANT members TO keeper",
    );
    let operator = small(&cluster, "app");
    cluster.psql_in("app", "ALTER TABLE t OWNER TO keeper; UPDATE t SET v = 'as backed up'; ALTER DATABASE app OWNER TO keeper");
    operator.back_up();
    cluster.psql("DROP DATABASE app");
    cluster.psql("DROP ROLE keeper");

    // Nothing is replaced, so nothing is asked.
    let restored = operator.json(&["restore", "--latest"]);
    assert_eq!(restored["kept_as"], Value::Null);
    assert_eq!(restored["roles"], serde_json::json!(["keeper"]));
    assert_eq!(value(&cluster, "app"), "as backed up");
    assert_eq!(databases(&cluster), ["app"]);
    assert_eq!(
        cluster.psql("SELECT rolcanlogin, rolpassword LIKE 'SCRAM%', pg_has_role('keeper', 'members', 'MEMBER') FROM pg_authid WHERE rolname = 'keeper'"),
        "t|t|t"
    );
}

#[test]
fn a_role_that_the_server_has_stays_as_it_is() {
    let cluster = Cluster::start();
    cluster.psql("CREATE ROLE keeper LOGIN; CREATE ROLE members; GRANT members TO keeper");
    let operator = small(&cluster, "app");
    cluster.psql("ALTER ROLE keeper NOLOGIN; REVOKE members FROM keeper");
    let state = "SELECT rolcanlogin, pg_has_role('keeper', 'members', 'MEMBER') FROM pg_roles WHERE rolname = 'keeper'";
    let output = operator.run(&["restore", "--latest", "--into", "beside"]);
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(cluster.psql(state), "f|f");
    let output = operator.run(&[
        "restore",
        "--latest",
        "--into",
        "other",
        "--overwrite-roles",
    ]);
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(cluster.psql(state), "t|t");
}

#[test]
fn beside_it_nothing_is_replaced() {
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    operator.set_value("restore.stop", serde_json::json!(["false"]));
    let output = operator.run(&["restore", "--latest", "--into", "beside"]);
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(databases(&cluster), ["app", "beside"]);
    assert_eq!(value(&cluster, "app"), "as it stands");
    assert_eq!(value(&cluster, "beside"), "as backed up");
    // A failure has its document as well; a report only where something was done.
    let output = operator.run(&["restore", "--latest", "--into", "beside", "--json"]);
    assert_eq!(output.code, 69, "{output}");
    let taken = "there is a database \"beside\" already";
    assert!(output.stderr.contains(taken), "{output}");
    let told: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(told["ok"], false);
    assert_eq!(told["rows"], Value::Null);
    assert!(told["error"].as_str().unwrap().contains(taken), "{told}");
    assert_eq!(told["incident"], Value::Null);
    let report = operator.run(&["incident"]).stdout;
    assert!(report.contains("- Outcome: **FAILED**"), "{report}");
    assert!(report.contains(taken), "{report}");
}

#[test]
fn while_it_runs_status_says_so() {
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    let name = operator.list().remove(0);
    let go_on = operator.path("go on");
    let wait = "while ! test -e \"$1\"; do sleep 0.05; done";
    operator.set_value(
        "restore.stop",
        serde_json::json!(["sh", "-c", wait, "sh", go_on]),
    );
    let running = operator.spawn(&["restore", "--latest", "--yes"]);
    let mut seen = Value::Null;
    wait_until("the restore is seen", || {
        let status = operator.run(&["status", "--json"]).stdout;
        let status: Value = serde_json::from_str(&status).unwrap();
        seen = status["databases"][0]["running"][0].clone();
        seen["backup"].is_string()
    });
    assert_eq!(seen["operation"], "restore");
    assert_eq!(seen["backup"], name);
    assert!(seen["since"].is_string() && seen["requested_by"].is_string());
    fs::write(&go_on, "").unwrap();
    let output = running.wait();
    assert_eq!(output.code, 0, "{output}");
}

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
            "pgbackupd restore --database app {name}, or give --latest"
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
        assert!(output.stdout.contains(step), "{step}: {output}");
    }
    let unmeasured =
        "no drill of the database is on record; `pgbackupd drill --database app` makes one";
    assert!(output.stdout.contains(unmeasured), "{output}");
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
        "it must be what was written [4.2 s]\n",
        "the drill of backup_20250708_020000 at 2025-07-09 02:00:00 +03:00, ",
        "with 3.0 GiB of backup; this one has ",
        "there the data was back in 1 minute 34 seconds (objectives.recovery_time is 30 minutes)",
    ] {
        assert!(output.stdout.contains(part), "{part}: {output}");
    }
    assert_untouched(&cluster, &operator, "app");
}

#[test]
fn a_start_command_runs_however_it_ends() {
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    let told = operator.path("told");
    let tell = |word: &str, code: i32| {
        serde_json::json!([
            "sh",
            "-c",
            format!("echo {word} $PGBACKUPD_DATABASE >> \"$1\"; exit {code}"),
            "sh",
            told.to_str().unwrap()
        ])
    };
    let heard = || {
        let text = fs::read_to_string(&told).unwrap_or_default();
        fs::remove_file(&told).ok();
        text
    };
    operator.set_value("restore.stop", tell("stop", 0));
    operator.set_value("restore.start", tell("start", 0));
    operator.stand_in("psql", "echo broken >&2; exit 3");
    let output = operator.run(&["restore", "--latest", "--yes"]);
    assert_eq!(output.code, 69, "{output}");
    assert!(output.stderr.contains("is in use as before"), "{output}");
    assert!(output.stderr.contains("broken"), "{output}");
    assert_eq!(heard(), "stop app\nstart app\n");
    assert_untouched(&cluster, &operator, "app");
    operator.send_stand_ins_home();

    operator.set_value("restore.stop", tell("stop", 7));
    let output = operator.run(&["restore", "--latest", "--yes"]);
    assert_eq!(output.code, 69, "{output}");
    assert!(
        output.stderr.contains("the application does not stop"),
        "{output}"
    );
    assert_eq!(heard(), "stop app\nstart app\n");
    assert_untouched(&cluster, &operator, "app");

    operator.set_value("restore.stop", tell("stop", 0));
    operator.set_value("restore.start", tell("start", 9));
    let output = operator.run(&["restore", "--latest", "--yes", "--drop-old"]);
    assert_eq!(output.code, 69, "{output}");
    assert!(
        output
            .stderr
            .contains("is restored, but the application could not be started"),
        "{output}"
    );
    assert_eq!(heard(), "stop app\nstart app\n");
    assert_eq!(databases(&cluster), ["app"]);
    assert_eq!(value(&cluster, "app"), "as backed up");
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
            .contains("may not create databases: ALTER ROLE \"weak\" CREATEDB"),
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

#[test]
fn whatever_is_loaded_is_compared() {
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    // A psql that loads something else.
    operator.stand_in(
        "psql",
        "sed --unbuffered 's/as backed up/as baked up/' | exec \"$real\" \"$@\"",
    );
    let output = operator.run(&["restore", "--latest", "--yes"]);
    assert_eq!(output.code, 69, "{output}");
    assert!(
        output
            .stderr
            .contains("what was loaded is not what the backup holds"),
        "{output}"
    );
    assert!(
        output
            .stderr
            .contains("public.t: the number of rows agrees, their content does not"),
        "{output}"
    );
    assert_untouched(&cluster, &operator, "app");
}

#[test]
fn a_signal_in_any_step_leaves_the_database_serving() {
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    let reached = operator.path("reached");
    let wait = "case \" $* \" in *\" --globals-only \"*) exec \"$real\" \"$@\";; esac; : > \"$directory/reached\"; sleep 600";
    for (step, program) in [("loading", "psql"), ("comparing", "pg_dump")] {
        operator.stand_in(program, wait);
        let running = operator.spawn(&["restore", "--latest", "--yes"]);
        wait_until(step, || reached.exists());
        running.signal(Signal::TERM);
        let output = running.wait();
        assert_eq!(output.code, 143, "{step}: {output}");
        assert!(
            output
                .stderr
                .contains("is in use as before: interrupted by SIGTERM"),
            "{output}"
        );
        assert_untouched(&cluster, &operator, "app");
        assert_eq!(
            operator.restore_log().pop().unwrap()["event"],
            "interrupted"
        );
        operator.send_stand_ins_home();
        fs::remove_file(&reached).unwrap();
    }
    let stop = ": > \"$1\"; exec sleep 600";
    let stop = ["sh", "-c", stop, "sh", reached.to_str().unwrap()];
    operator.set_value("restore.stop", serde_json::json!(stop));
    let running = operator.spawn(&["restore", "--latest", "--yes"]);
    wait_until("stopping", || reached.exists());
    running.signal(Signal::TERM);
    let output = running.wait();
    assert_eq!(output.code, 143, "{output}");
    assert_untouched(&cluster, &operator, "app");
    operator.unset("restore.stop");

    // Killed, it leaves what the next one sweeps up.
    operator.stand_in("psql", wait);
    fs::remove_file(&reached).ok();
    let running = operator.spawn(&["restore", "--latest", "--yes"]);
    wait_until("loading", || reached.exists());
    running.signal(Signal::KILL);
    running.wait();
    beginning_with(&cluster, "app_restoring_");
    assert_eq!(value(&cluster, "app"), "as it stands");
    operator.send_stand_ins_home();
    let output = operator.run(&["restore", "--latest", "--yes", "--drop-old"]);
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(databases(&cluster), ["app"]);
    assert_eq!(value(&cluster, "app"), "as backed up");
    let events: Vec<_> = operator
        .restore_log()
        .into_iter()
        .map(|record| record["event"].clone())
        .collect();
    assert_eq!(
        &events[events.len() - 4..],
        ["started", "interrupted", "started", "succeeded"]
    );
}

#[test]
fn any_name_is_restored_and_undone() {
    let cluster = Cluster::start();
    for name in [
        "a\"b",
        "it's",
        "-d postgres",
        "postgresql://x",
        "new\nline",
        "$(touch pwned)",
        // 63 bytes: as long as a name can be.
        "قاعدة_بيانات_المبيعات_والمشتريات_1",
    ] {
        let operator = small(&cluster, name);
        let output = operator.run(&["restore", "--latest", "--yes"]);
        assert_eq!(output.code, 0, "{name:?}: {output}");
        assert_eq!(value(&cluster, name), "as backed up", "{name:?}");
        let output = operator.run(&["undo-restore", "--yes"]);
        assert_eq!(output.code, 0, "{name:?}: {output}");
        assert_eq!(value(&cluster, name), "as it stands", "{name:?}");
        assert!(!operator.path("pwned").exists());
    }
}

#[test]
fn every_format_comes_back_and_so_does_a_bare_dump() {
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    for format in ["custom", "directory"] {
        operator.set("dump.format", format);
        cluster.psql_in("app", "UPDATE t SET v = 'as backed up'");
        operator.back_up();
        cluster.psql_in("app", "UPDATE t SET v = 'as it stands'");
        let output = operator.run(&["restore", "--latest", "--yes", "--drop-old"]);
        assert_eq!(output.code, 0, "{format}: {output}");
        assert_eq!(value(&cluster, "app"), "as backed up");
    }
    for (arguments, file) in [
        (["-Fp"].as_slice(), "x.sql"),
        (&["-Fp", "-Z6"], "x.sql.gz"),
        (&["-Fc"], "x.dump"),
        (&["-Fd"], "x.dir"),
    ] {
        cluster.psql_in("app", "UPDATE t SET v = 'as backed up'");
        let path = operator.path(file);
        let status = cluster
            .command("pg_dump")
            .args(arguments)
            .arg("-f")
            .arg(&path)
            .arg("app")
            .status()
            .unwrap();
        assert!(status.success());
        cluster.psql_in("app", "UPDATE t SET v = 'as it stands'");
        let path = path.to_str().unwrap();
        let output = operator.run(&["restore", path, "--yes"]);
        assert_eq!(output.code, 64, "{file}: {output}");
        let output = operator.run(&["restore", path, "--database", "app", "--yes", "--drop-old"]);
        assert_eq!(output.code, 0, "{file}: {output}");
        assert!(
            output.stderr.contains("there is no manifest for"),
            "{output}"
        );
        assert_eq!(value(&cluster, "app"), "as backed up");
    }
    // One that is cut short is none.
    let whole = fs::read(operator.path("x.sql")).unwrap();
    fs::write(operator.path("cut.sql"), &whole[..whole.len() / 2]).unwrap();
    let cut = operator.path("cut.sql");
    let output = operator.run(&[
        "restore",
        cut.to_str().unwrap(),
        "--database",
        "app",
        "--yes",
    ]);
    assert_eq!(output.code, 65, "{output}");
    assert_eq!(databases(&cluster), ["app"]);
}

#[test]
fn a_backup_is_restored_on_another_machine() {
    let source = Cluster::start();
    let operator = small(&source, "app");
    let elsewhere = Cluster::start();
    let other = Operator::of(&elsewhere, "unrelated");
    let copied = other.path("copied");
    fs::create_dir(&copied).unwrap();
    for name in operator.artifacts() {
        fs::copy(operator.backups().join(&name), copied.join(&name)).unwrap();
    }
    let name = operator.list().remove(0);
    let path = copied.join(format!("{name}.sql.gz"));
    let output = other.run(&["restore", path.to_str().unwrap()]);
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(value(&elsewhere, "app"), "as backed up");
}

#[test]
fn what_cannot_be_sent_away_keeps_the_database_where_it_is() {
    let settings = vec![("max_prepared_transactions", "2".to_owned())];
    let cluster = Cluster::with(&Options {
        settings,
        ..Options::default()
    });
    let operator = small(&cluster, "app");
    cluster.psql_in(
        "app",
        "BEGIN; INSERT INTO t VALUES (2, 'two'); PREPARE TRANSACTION 'left'",
    );
    let output = operator.run(&["restore", "--latest", "--yes"]);
    assert_eq!(output.code, 69, "{output}");
    assert!(output.stderr.contains("prepared transaction"), "{output}");
    assert_untouched(&cluster, &operator, "app");
    cluster.psql_in("app", "ROLLBACK PREPARED 'left'");
    let output = operator.run(&["restore", "--latest", "--yes"]);
    assert_eq!(output.code, 0, "{output}");
}

#[test]
fn a_database_that_is_dropped_while_it_is_restored_comes_back_all_the_same() {
    let cluster = Cluster::start();
    let mut operator = small(&cluster, "app");
    let psql = |sql: &str| {
        let socket = cluster.socket_directory();
        let port = cluster.port().to_string();
        serde_json::json!([
            binary("psql"),
            "-X",
            "-h",
            socket,
            "-p",
            port,
            "-U",
            SUPERUSER,
            "-d",
            "postgres",
            "-c",
            sql
        ])
    };
    for (sql, standing) in [
        ("DROP DATABASE app", &["app"][..]),
        (
            "ALTER DATABASE app RENAME TO elsewhere",
            &["app", "elsewhere"],
        ),
    ] {
        operator.set_value("restore.stop", psql(sql));
        let output = operator.run(&["restore", "--latest", "--yes", "--drop-old"]);
        assert_eq!(output.code, 0, "{output}");
        assert_eq!(value(&cluster, "app"), "as backed up");
        assert_eq!(databases(&cluster), standing);
        let expected = "before the names were swapped, so none is kept";
        assert!(output.stderr.contains(expected), "{output}");
    }
}

#[test]
fn a_database_that_is_half_dropped_is_replaced_and_not_brought_back() {
    let cluster = Cluster::start();
    let operator = small(&cluster, "app");
    // As a DROP DATABASE leaves it that was cut short.
    cluster.psql("UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'app'");
    let output = operator.run(&["restore", "--latest", "--yes"]);
    assert_eq!(output.code, 0, "{output}");
    assert_eq!(value(&cluster, "app"), "as backed up");
    let old = beginning_with(&cluster, "app_before_restore_");
    let output = operator.run(&["undo-restore", "--yes"]);
    assert_eq!(output.code, 69, "{output}");
    let expected = format!("a DROP DATABASE of {old} was cut short");
    assert!(output.stderr.contains(&expected), "{output}");
    assert_eq!(value(&cluster, "app"), "as backed up");
}
