//! Alerts, from a failure to the message about it, through `alerts deliver` and through the daemon. The
//! channel is a command that keeps what it is sent.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Instant;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::clock::WallClock;
use crate::support::cluster::{Cluster, wait_until};
use crate::support::daemon::{Daemon, only_daily};
use crate::support::operator::Operator;
use crate::support::receivers::json_lines;

/// An operator with a channel that appends every message to a file.
fn operator(cluster: &Cluster) -> Operator {
    let mut operator = Operator::of(cluster, "postgres");
    operator.set("daemon.runtime_directory", operator.path("run").display());
    operator.set("daemon.state_directory", operator.path("state").display());
    fs::create_dir(operator.path("state")).unwrap();
    let inbox = inbox(&operator);
    add_channel(&mut operator, "hook", &format!("cat >>{}", inbox.display()));
    operator
}

fn inbox(operator: &Operator) -> PathBuf {
    operator.path("inbox")
}

/// A channel that runs this script.
fn add_channel(operator: &mut Operator, name: &str, script: &str) {
    let path = operator.path(&format!("{name}.sh"));
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    operator.set(&format!("alerts.{name}.type"), "command");
    let argv = vec![path.to_str().unwrap().to_owned()];
    operator.set_value(&format!("alerts.{name}.argv"), argv);
}

/// All messages so far.
fn messages(operator: &Operator) -> Vec<Value> {
    json_lines(&inbox(operator))
}

/// The messages, each as the changes in it: `opened failed`.
fn changes(operator: &Operator) -> Vec<Vec<String>> {
    let of = |message: &Value| {
        let items = message["items"].as_array().unwrap().iter();
        items
            .map(|item| {
                let word = |key: &str| item[key].as_str().unwrap().to_owned();
                format!("{} {}", word("change"), word("kind"))
            })
            .collect()
    };
    messages(operator).iter().map(of).collect()
}

#[track_caller]
fn deliver(operator: &Operator, code: i32) {
    let output = operator.run(&["alerts", "deliver"]);
    assert_eq!(output.code, code, "{output}");
}

fn fail_to_back_up(operator: &mut Operator) {
    operator.stand_in(
        "pg_dump",
        "echo 'pg_dump: error: the moon is full' >&2; exit 1",
    );
    assert_ne!(operator.run(&["backup"]).code, 0);
}

#[test]
fn p15_a_backup_that_fails_alerts_once_and_the_next_good_one_resolves_it() {
    let cluster = Cluster::start();
    let mut operator = operator(&cluster);
    operator.back_up();
    deliver(&operator, 0);
    assert_eq!(changes(&operator), Vec::<Vec<String>>::new(), "all is well");

    fail_to_back_up(&mut operator);
    deliver(&operator, 0);
    assert_eq!(changes(&operator), [["opened failed"]]);
    let message = &messages(&operator)[0];
    let item = &message["items"][0];
    assert_eq!(item["severity"], "warning");
    assert_eq!(item["database"], "postgres");
    assert!(
        item["message"]
            .as_str()
            .unwrap()
            .contains("the moon is full"),
        "{item}"
    );
    assert_eq!(message["open"], json!({"critical": 0, "warning": 1}));

    assert_ne!(operator.run(&["backup"]).code, 0);
    deliver(&operator, 0);
    assert_eq!(changes(&operator).len(), 1, "it is known");
    let list = operator.json(&["alerts", "list"]);
    assert_eq!(list["alerts"][0]["id"], item["id"]);
    assert_eq!(list["alerts"][0]["sent"][0]["channel"], "hook");
    let status = operator.run(&["status", "--json"]);
    let status: Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!(status["attention"][0]["id"], item["id"]);

    operator.send_stand_ins_home();
    operator.back_up();
    deliver(&operator, 0);
    deliver(&operator, 0);
    assert_eq!(changes(&operator)[1..], [["resolved failed"]]);
    assert_eq!(
        messages(&operator)[1]["items"][0]["incident"],
        item["incident"]
    );
    assert_eq!(operator.json(&["alerts", "list"])["alerts"], json!([]));
}

#[test]
fn a_channel_that_fails_is_tried_again_is_reported_and_is_sent_the_truth_in_the_end() {
    let cluster = Cluster::start();
    let mut operator = operator(&cluster);
    operator.back_up();
    add_channel(&mut operator, "broken", "echo 'no route' >&2; exit 1");
    fail_to_back_up(&mut operator);
    deliver(&operator, 69);
    assert_eq!(
        changes(&operator),
        [["opened failed"]],
        "the other one has it"
    );
    // It is left alone for a while.
    deliver(&operator, 0);
    let channel = operator.json(&["alerts", "list"])["channels"][0].clone();
    assert_eq!(channel["name"], "broken");
    assert!(
        channel["error"].as_str().unwrap().contains("no route"),
        "{channel}"
    );
    let listed = operator.run(&["alerts", "list"]);
    assert!(
        listed.stdout.contains("channel broken: FAILS: "),
        "{listed}"
    );
    assert!(
        listed.stdout.contains("channel hook: the last message"),
        "{listed}"
    );

    let second = operator.path("second");
    let script = format!("cat >>{}", second.display());
    add_channel(&mut operator, "broken", &script);
    operator.send_stand_ins_home();
    operator.back_up();
    // Resolved meanwhile, and still the operator hears that it was.
    wait_until("the pause is over", || {
        operator.run(&["alerts", "deliver"]);
        second.exists()
    });
    let message: Value = serde_json::from_str(fs::read_to_string(second).unwrap().trim()).unwrap();
    assert_eq!(message["items"].as_array().unwrap().len(), 1);
    assert_eq!(message["items"][0]["change"], "resolved");
}

#[test]
fn a_message_is_sent_again_under_its_id_when_the_sender_was_killed() {
    let cluster = Cluster::start();
    let mut operator = operator(&cluster);
    operator.back_up();
    fail_to_back_up(&mut operator);
    let started = operator.path("started");
    let slow = format!(
        "cat >>{0}; touch {1}; sleep 60",
        inbox(&operator).display(),
        started.display()
    );
    add_channel(&mut operator, "hook", &slow);
    let running = operator.spawn(&["alerts", "deliver"]);
    wait_until("the message is being sent", || started.exists());
    running.signal(Signal::KILL);
    running.wait();
    let quick = format!("cat >>{}", inbox(&operator).display());
    add_channel(&mut operator, "hook", &quick);
    deliver(&operator, 0);
    deliver(&operator, 0);
    let messages = messages(&operator);
    assert_eq!(messages.len(), 2, "nobody knows whether the first arrived");
    assert_eq!(messages[0]["id"], messages[1]["id"]);
}

#[test]
fn a_silenced_alert_is_not_sent_and_the_silence_is_on_record() {
    let cluster = Cluster::start();
    let mut operator = operator(&cluster);
    operator.back_up();
    operator.set("alerts.hook.remind", "1ms");
    fail_to_back_up(&mut operator);
    deliver(&operator, 0);
    let id = messages(&operator)[0]["items"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    deliver(&operator, 0);
    assert_eq!(changes(&operator)[1..], [["reminded failed"]]);
    let silence = [
        "alerts",
        "silence",
        &id,
        "--for",
        "1 hour",
        "--reason",
        "known to be",
    ];
    let output = operator.run(&silence);
    assert_eq!(output.code, 0, "{output}");
    deliver(&operator, 0);
    assert_eq!(changes(&operator).len(), 2);
    let listed = operator.run(&["alerts", "list"]);
    assert!(listed.stdout.contains("silenced until "), "{listed}");
    assert!(listed.stdout.contains(": known to be"), "{listed}");

    for (arguments, words) in [
        (
            [
                "alerts",
                "silence",
                "failed-0000000000",
                "--for",
                "1h",
                "--reason",
                "x",
            ],
            "there is no open alert failed-0000000000",
        ),
        (
            ["alerts", "silence", &id, "--for", "0s", "--reason", "x"],
            "invalid --for",
        ),
    ] {
        let output = operator.run(&arguments);
        assert_eq!(output.code, 64, "{output}");
        assert!(output.stderr.contains(words), "{output}");
    }
}

#[test]
fn the_daemon_alerts_by_itself_and_resolves() {
    let cluster = Cluster::start();
    let mut operator = operator(&cluster);
    operator.back_up();
    operator.stand_in(
        "pg_dump",
        "echo 'pg_dump: error: the moon is full' >&2; exit 1",
    );
    let (daemon, clock) = daemon_before_a_run(&mut operator);
    // The backup of today is ten years old by that clock, which is one message; then the run fails.
    daemon.wait_for("alert failed-");
    wait_until("the failure is sent", || {
        changes(&operator)
            .iter()
            .flatten()
            .any(|change| change == "opened failed")
    });
    operator.send_stand_ins_home();
    clock.set("2036-03-06T01:59:58Z");
    wait_until("its end is sent", || {
        changes(&operator)
            .iter()
            .flatten()
            .any(|change| change == "resolved failed")
    });
    let log = daemon.end().log;
    assert!(log.contains("alert failed-"), "{log}");
    assert!(log.contains(" is over: "), "{log}");
}

/// A daemon whose job is due a moment after it is ready, on a clock of its own, however long its start takes.
fn daemon_before_a_run(operator: &mut Operator) -> (Daemon, WallClock) {
    only_daily(operator, "UTC", "0 2 * * *");
    // Until its next attempt a run that failed is no alert: there is none within the window. That is long
    // enough for a thousand runs to begin on a loaded machine.
    operator.set("jobs.daily.window", "10 minutes");
    operator.set("retry.first", "20 minutes");
    operator.set("retry.longest", "20 minutes");
    operator.set("daemon.state_directory", operator.path("state").display());
    let clock = WallClock::at(operator, "2036-03-05T01:00:00Z");
    let daemon = Daemon::under(operator, &clock);
    clock.set("2036-03-05T01:59:58Z");
    (daemon, clock)
}

fn is_sent(operator: &Operator, change: &str) -> bool {
    changes(operator).iter().flatten().any(|one| one == change)
}

/// A reload takes the channel away for which messages wait, and brings another one: what is open goes there.
#[test]
fn a_reload_that_changes_channels_while_messages_wait_loses_none() {
    let cluster = Cluster::start();
    let mut operator = operator(&cluster);
    operator.back_up();
    operator.stand_in("pg_dump", "echo 'pg_dump: error: no' >&2; exit 1");
    operator.unset("alerts.hook.type");
    operator.unset("alerts.hook.argv");
    add_channel(&mut operator, "broken", "exit 1");
    let (daemon, _clock) = daemon_before_a_run(&mut operator);
    daemon.wait_for("alert failed-");
    daemon.wait_for("channel broken: a message with ");
    operator.unset("alerts.broken.type");
    operator.unset("alerts.broken.argv");
    let inbox = inbox(&operator);
    add_channel(&mut operator, "new", &format!("cat >>{}", inbox.display()));
    daemon.signal(Signal::HUP);
    wait_until("the new channel has what is open", || {
        is_sent(&operator, "opened failed")
    });
    let log = daemon.end().log;
    let of_failure = changes(&operator).into_iter().flatten();
    let opened = of_failure.filter(|one| one == "opened failed").count();
    assert_eq!(opened, 1, "{log}");
}

/// The clock is set back by hours and ahead by days: what is open is not sent twice, and its end is sent.
#[test]
fn a_clock_that_jumps_sends_nothing_twice_and_holds_nothing_back() {
    let cluster = Cluster::start();
    let mut operator = operator(&cluster);
    operator.back_up();
    operator.stand_in("pg_dump", "echo 'pg_dump: error: no' >&2; exit 1");
    let (daemon, clock) = daemon_before_a_run(&mut operator);
    wait_until("the failure is sent", || {
        is_sent(&operator, "opened failed")
    });
    clock.set("2036-03-04T20:00:00Z");
    daemon.signal(Signal::HUP);
    daemon.wait_for_nth("configuration reloaded", 1);
    operator.send_stand_ins_home();
    clock.set("2036-03-09T01:59:58Z");
    wait_until("its end is sent", || is_sent(&operator, "resolved failed"));
    let log = daemon.end().log;
    let changes: Vec<String> = changes(&operator).into_iter().flatten().collect();
    for change in ["opened failed", "resolved failed"] {
        let count = changes.iter().filter(|one| *one == change).count();
        assert_eq!(count, 1, "{changes:?}\n{log}");
    }
}

/// However far a sender got, the next one sends what is missing, and a message that was sent twice has its id.
#[test]
fn a_sender_that_is_killed_at_any_moment_loses_nothing_and_doubles_nothing_knowingly() {
    let cluster = Cluster::start();
    let mut operator = operator(&cluster);
    operator.back_up();
    fail_to_back_up(&mut operator);
    let began = Instant::now();
    deliver(&operator, 0);
    let usual = began.elapsed();
    for share in 0..20 {
        // Opened and over in turns.
        if share % 2 == 0 {
            operator.send_stand_ins_home();
            operator.back_up();
        } else {
            fail_to_back_up(&mut operator);
        }
        let running = operator.spawn(&["alerts", "deliver"]);
        sleep(usual * share / 16);
        running.signal(Signal::KILL);
        running.wait();
        // The program of the channel may go on without its sender.
        wait_until("the alert is sent", || {
            operator.run(&["alerts", "deliver"]);
            let expected = if share % 2 == 0 {
                "resolved failed"
            } else {
                "opened failed"
            };
            changes(&operator)
                .last()
                .is_some_and(|last| *last == [expected])
        });
    }
    let mut by_id: BTreeMap<String, Value> = BTreeMap::new();
    for message in messages(&operator) {
        let id = message["id"].as_str().unwrap().to_owned();
        let items = message["items"].clone();
        assert_eq!(*by_id.entry(id).or_insert_with(|| items.clone()), items);
    }
    assert_eq!(by_id.len(), 21, "one message for each change");
}

/// What fails within two minutes is one message, however many databases fail.
#[test]
fn p15_a_thousand_databases_that_fail_together_are_one_message() {
    let cluster = Cluster::start();
    let mut operator = operator(&cluster);
    let names: Vec<String> = (0..1000).map(|number| format!("db_{number:04}")).collect();
    operator.unset("database");
    operator.set_value("databases", names);
    operator.set_value("dump.globals", false);
    drop(cluster);
    let (daemon, _clock) = daemon_before_a_run(&mut operator);
    wait_until("the failures are sent", || {
        is_sent(&operator, "opened failed")
    });
    daemon.end();
    let sent: Vec<usize> = changes(&operator)
        .iter()
        .map(|items| items.iter().filter(|one| *one == "opened failed").count())
        .filter(|failures| *failures > 0)
        .collect();
    assert_eq!(sent, [1000]);
}

/// A server whose databases cannot be found has no ledger that could tell of it.
#[test]
fn p15_a_server_that_does_not_answer_when_its_databases_are_looked_for_alerts() {
    let cluster = Cluster::start();
    let mut operator = operator(&cluster);
    operator.unset("database");
    operator.set("databases", "all");
    operator.back_up();
    drop(cluster);
    let (daemon, _clock) = daemon_before_a_run(&mut operator);
    daemon.wait_for("alert cannot-connect-");
    wait_until("the failure is sent", || {
        is_sent(&operator, "opened cannot_connect")
    });
    let log = daemon.end().log;
    assert!(log.contains("backup on server main FAILED"), "{log}");
}
