//! Reports of a real database: by the command, by `alerts deliver`, and by the daemon as a mail.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::clock::{WallClock, run_at, spawn_at};
use crate::support::cluster::{Cluster, wait_until};
use crate::support::daemon::{Daemon, only_daily};
use crate::support::operator::Operator;
use crate::support::receivers::{Receivers, json_lines};

/// An operator of one daily job, in UTC.
fn operator(cluster: &Cluster) -> Operator {
    let mut operator = Operator::of(cluster, "postgres");
    only_daily(&mut operator, "UTC", "0 2 * * *");
    // The directory of backups is as old as the machine's clock makes it.
    operator.set("objectives.drill_age", "off");
    fs::create_dir(operator.path("state")).unwrap();
    operator
}

#[track_caller]
fn run(operator: &Operator, time: &str, arguments: &[&str]) -> String {
    let output = run_at(operator, &format!("2036-03-{time}"), arguments);
    assert_eq!(output.code, 0, "{output}");
    output.stdout
}

/// A channel that runs this script.
fn set_channel(operator: &mut Operator, script: &str) {
    let path = operator.path("hook.sh");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    operator.set("alerts.hook.type", "command");
    // No alert, only reports.
    operator.set_value("alerts.hook.kinds", vec!["damaged"]);
    operator.set_value("alerts.hook.argv", vec![path.to_str().unwrap().to_owned()]);
}

/// The reports that the channel was sent.
fn reports(operator: &Operator) -> Vec<Value> {
    let documents = json_lines(&operator.path("inbox")).into_iter();
    documents
        .filter(|document: &Value| document["kind"] == "report")
        .collect()
}

#[test]
fn p17_a_report_has_the_backup_its_usual_size_and_what_failed() {
    let cluster = Cluster::start();
    let mut operator = operator(&cluster);
    for day in 2..8 {
        run(&operator, &format!("{day:02} 02:00:11"), &["backup"]);
    }
    let good = run(&operator, "07 08:00:00", &["report"]);
    let first: Vec<&str> = good.lines().take(2).collect();
    assert!(first[0].starts_with("Daily report of "), "{good}");
    assert!(first[0].contains("Fri 2036-03-07 08:00 +00:00"), "{good}");
    let line = "  yes  postgres: backup_20360307_020011 at ";
    assert!(first[1].starts_with(line), "{good}");
    assert!(first[1].contains(", usually "), "{good}");
    assert!(good.contains("  yes  errors: no error in 1 run"), "{good}");

    operator.stand_in(
        "pg_dump",
        "echo 'pg_dump: error: the moon is full' >&2; exit 1",
    );
    let failed = run_at(&operator, "2036-03-08 02:00:11", &["backup"]);
    assert_ne!(failed.code, 0, "{failed}");
    let bad = run(&operator, "08 08:00:00", &["report", "daily"]);
    assert!(bad.contains("  NO   postgres: failed, Sat "), "{bad}");
    assert!(bad.contains("the moon is full"), "{bad}");
    assert!(bad.contains("  NO   errors: 1 of 1 run failed"), "{bad}");
    assert!(bad.contains("\nFailed:"), "{bad}");

    // The day before is as it was.
    let past = run(&operator, "08 09:00:00", &["report", "--for", "2036-03-07"]);
    assert!(past.contains(", Fri 2036-03-07: "), "{past}");
    assert!(past.contains(line), "{past}");
    assert!(
        past.contains("  ?    space: free space of that time is not on record"),
        "{past}"
    );
    let earlier = ["report", "--for", "2036-02-01"];
    let empty = run(&operator, "08 09:00:00", &earlier);
    assert!(
        empty.contains("  ?    postgres: no backup is on record"),
        "{empty}"
    );
    let yesterday = run(&operator, "08 09:00:00", &["report", "--for", "yesterday"]);
    assert_eq!(yesterday, past);
}

#[test]
fn p17_a_report_comes_as_text_markdown_and_json_and_says_who_asked() {
    let cluster = Cluster::start();
    let operator = operator(&cluster);
    run(
        &operator,
        "02 12:00:00",
        &["backup", "--reason", "pre deployment"],
    );
    let text = run(&operator, "02 13:00:00", &["report"]);
    assert!(text.contains("On request:"), "{text}");
    assert!(text.contains("reason: pre deployment"), "{text}");
    let markdown = ["report", "weekly", "--format", "markdown"];
    let markdown = run(&operator, "02 13:00:00", &markdown);
    assert!(markdown.starts_with("# Weekly report of "), "{markdown}");
    assert!(markdown.contains("\n## Targets\n"), "{markdown}");
    let json = ["report", "monthly", "--format", "json"];
    let json = run(&operator, "02 13:00:00", &json);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["period"], "monthly");
    let files = json["checks"].as_array().unwrap().iter();
    let files: Vec<&Value> = files.filter(|check| check["id"] == "files").collect();
    assert_eq!(files[0]["answer"], "yes", "{json}");
    assert_eq!(json["targets"], operator_json(&operator)["targets"]);
    // Somebody has opened a file to all.
    let manifest = operator.backups().join("backup.log");
    fs::set_permissions(&manifest, fs::Permissions::from_mode(0o644)).unwrap();
    let audited = operator_json(&operator).to_string();
    assert!(
        audited.contains("backup.log is open to others"),
        "{audited}"
    );
}

fn operator_json(operator: &Operator) -> Value {
    let text = run(operator, "02 13:00:00", &["report", "monthly", "--json"]);
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_date_that_is_none_or_lies_ahead_is_refused_in_a_sentence() {
    let cluster = Cluster::start();
    let operator = operator(&cluster);
    for (arguments, words) in [
        (
            &["report", "--for", "2036-02-30"][..],
            "invalid date 2036-02-30",
        ),
        (&["report", "--for", "2036-02"], "invalid date 2036-02"),
        (
            &["report", "--for", "2036-03-03"],
            "2036-03-03 is in the future",
        ),
        (
            &["report", "monthly", "--for", "2036-04"],
            "is in the future",
        ),
        (&["report", "yearly"], "invalid value 'yearly'"),
    ] {
        let output = run_at(&operator, "2036-03-02 12:00:00", arguments);
        assert_eq!(output.code, 64, "{output}");
        assert!(output.stderr.contains(words), "{output}");
    }
}

#[test]
fn p17_a_report_is_sent_once_for_its_slot_and_again_under_its_id_to_a_channel_that_failed() {
    let cluster = Cluster::start();
    let mut operator = operator(&cluster);
    let inbox = operator.path("inbox").display().to_string();
    set_channel(&mut operator, &format!("cat >>{inbox}"));
    operator.set_value("reports.daily.channels", vec!["hook"]);
    run(&operator, "04 02:00:00", &["backup"]);
    let deliver = ["alerts", "deliver"];
    run(&operator, "04 12:00:00", &deliver);
    assert_eq!(reports(&operator).len(), 0, "the schedule is new");
    run(&operator, "05 02:00:00", &["backup"]);
    run(&operator, "05 07:59:59", &deliver);
    assert_eq!(reports(&operator).len(), 0);
    let sent = run(&operator, "05 08:00:00", &deliver);
    assert!(sent.contains("hook: sent the daily report"), "{sent}");
    run(&operator, "05 08:05:00", &deliver);
    let documents = reports(&operator);
    assert_eq!(documents.len(), 1);
    assert_eq!(documents[0]["report"]["period"], "daily");
    let text = documents[0]["text"].as_str().unwrap();
    assert!(text.contains("backup_20360305_0200"), "{text}");

    // It fails after it has read the report.
    run(&operator, "06 02:00:00", &["backup"]);
    set_channel(
        &mut operator,
        &format!("cat >>{inbox}; echo 'no route' >&2; exit 1"),
    );
    let failed = run_at(&operator, "2036-03-06 08:01:00", &deliver);
    assert_eq!(failed.code, 69, "{failed}");
    assert!(failed.stderr.contains("no route"), "{failed}");
    set_channel(&mut operator, &format!("cat >>{inbox}"));
    run(&operator, "06 09:00:00", &deliver);
    let documents = reports(&operator);
    assert_eq!(documents.len(), 3);
    assert_eq!(documents[1]["id"], documents[2]["id"]);

    // What could not be sent for a day is dropped, and what was due long ago is not made.
    set_channel(&mut operator, "cat >/dev/null; exit 1");
    assert_eq!(run_at(&operator, "2036-03-07 08:00:00", &deliver).code, 69);
    set_channel(&mut operator, &format!("cat >>{inbox}"));
    run(&operator, "10 12:00:00", &deliver);
    let documents = reports(&operator);
    assert_eq!(documents.len(), 4);
    let made = documents[3]["at"].as_str().unwrap();
    assert!(made.starts_with("2036-03-10T12:00:00"), "{made}");
}

#[test]
fn a_report_is_sent_again_under_its_id_when_the_sender_was_killed() {
    let cluster = Cluster::start();
    let mut operator = operator(&cluster);
    let (inbox, started) = (operator.path("inbox"), operator.path("started"));
    let take = format!("cat >>{}", inbox.display());
    set_channel(&mut operator, &take);
    operator.set_value("reports.daily.channels", vec!["hook"]);
    run(&operator, "05 02:00:00", &["backup"]);
    run(&operator, "05 07:00:00", &["alerts", "deliver"]);
    set_channel(
        &mut operator,
        &format!("{take}; touch {}; sleep 60", started.display()),
    );
    let sending = spawn_at(&operator, "2036-03-05 08:00:00", &["alerts", "deliver"]);
    wait_until("the report is being sent", || started.exists());
    sending.signal(Signal::KILL);
    sending.wait();
    set_channel(&mut operator, &take);
    for _ in 0..2 {
        run(&operator, "05 08:10:00", &["alerts", "deliver"]);
    }
    let documents = reports(&operator);
    assert_eq!(documents.len(), 2, "nobody knows whether the first arrived");
    assert_eq!(documents[0]["id"], documents[1]["id"]);
    assert_eq!(documents[0]["text"], documents[1]["text"]);
}

#[test]
fn p17_the_daemon_mails_the_report_and_a_restart_sends_it_no_second_time() {
    let cluster = Cluster::start();
    let mut operator = operator(&cluster);
    let receivers = Receivers::start();
    operator.set("alerts.mail.type", "email");
    operator.set_value("alerts.mail.to", vec!["dba@example.org"]);
    operator.set("alerts.mail.from", "pgbackupd@example.org");
    let smtp = format!("localhost:{}", receivers.port("smtp"));
    operator.set("alerts.mail.smtp", smtp);
    operator.set("alerts.mail.tls", "none");
    operator.set_value("reports.daily.channels", vec!["mail"]);
    let mails = || {
        let mails = receivers.mails().into_iter();
        mails
            .map(|mail| mail.to_string())
            .filter(|mail| mail.contains("Daily report of "))
            .collect::<Vec<_>>()
    };
    let clock = WallClock::at(&operator, "2036-03-05T01:59:57Z");
    let daemon = Daemon::under(&operator, &clock);
    daemon.wait_for("succeeded");
    let noted = operator.path("state").join("reports.json");
    wait_until("the schedule is noted", || noted.exists());
    clock.set("2036-03-05T07:59:58Z");
    wait_until("the report is sent", || mails().len() == 1);
    daemon.wait_for("channel mail: the daily report has been sent");
    let mail = &mails()[0];
    assert!(mail.contains("yes  postgres: backup_20360305_0"), "{mail}");
    daemon.end();

    // The slot of the schedule is known, and done.
    let weekly = run(&operator, "05 08:30:00", &["report", "weekly", "--json"]);
    let weekly: Value = serde_json::from_str(&weekly).unwrap();
    let rate = &weekly["targets"][0];
    assert_eq!(rate["target"], "success_rate_30_days", "{weekly}");
    assert_eq!((&rate["value"], &rate["met"]), (&1.0.into(), &true.into()));

    let daemon = Daemon::under(&operator, &clock);
    clock.set("2036-03-06T01:59:58Z");
    daemon.wait_for("succeeded");
    clock.set("2036-03-06T07:59:58Z");
    wait_until("the next report is sent", || mails().len() > 1);
    daemon.end();
    assert_eq!(mails().len(), 2);
}
