//! Signals, sessions and dropped databases while a restore runs.

use crate::support::cluster::{Cluster, Options, SUPERUSER, binary, wait_until};
use crate::support::restored::{assert_untouched, beginning_with, databases, small, value};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::process::{Command, Stdio};

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
