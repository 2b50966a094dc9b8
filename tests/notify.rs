//! The channels of alerts, against servers of HTTP and of mail: what arrives, and what is said of what
//! does not.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use chrono::DateTime;
use pgbackupd::config::{AlertChannel, Source, load};
use pgbackupd::notify::{Again, Answer, Ping, PingEvent, SendError, ping, send};
use pgbackupd::policy::{Alert, Change, ConcernKind, Notice, NoticeItem, OpenCounts, Severity};
use serde_json::Value;
use tempfile::TempDir;
use uuid::Uuid;

use crate::daemon::{BEFORE, every_night};
use crate::support::clock::WallClock;
use crate::support::cluster::{Cluster, wait_until};
use crate::support::daemon::Daemon;
use crate::support::operator::Operator;
use crate::support::receivers::Receivers;

/// No secret of these tests is without this.
const SECRET: &str = "hunter2";

/// Somebody who configures channels.
struct Desk {
    receivers: Receivers,
    directory: TempDir,
}

impl Desk {
    fn open() -> Self {
        Self {
            receivers: Receivers::start(),
            directory: tempfile::tempdir().unwrap(),
        }
    }

    /// A file that nobody else reads.
    fn secret(&self, name: &str, text: &str) -> String {
        let path = self.directory.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path.display().to_string()
    }

    /// A channel with these settings, in which `PORT(server)` and `CA` stand for what they say.
    fn channel(&self, settings: &str) -> AlertChannel {
        let mut settings =
            settings.replace("CA", &self.receivers.authority().display().to_string());
        for server in ["https", "http", "starttls", "smtps", "smtp", "silent"] {
            let port = self.receivers.port(server).to_string();
            settings = settings.replace(&format!("PORT({server})"), &port);
        }
        let text = format!("database = \"a\"\n[alerts.c]\n{settings}\n");
        let source = Source {
            file: Some(self.secret("pgbackupd.toml", &text).into()),
            environment: BTreeMap::new(),
            ..Source::of_process(None)
        };
        let loaded = load(&source).unwrap_or_else(|error| panic!("{text}\n{error}"));
        loaded.plan.alerts[0].clone()
    }

    async fn send(&self, settings: &str) -> Result<Answer, SendError> {
        let environment = BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]);
        let outcome = send(&self.channel(settings), &notice(), &environment).await;
        let shown = format!("{outcome:?}");
        assert!(!shown.contains(SECRET), "{shown}");
        outcome
    }

    async fn failure(&self, settings: &str) -> SendError {
        match self.send(settings).await {
            Ok(answer) => panic!("{settings}: {answer:?}"),
            Err(error) => error,
        }
    }

    fn last_request(&self) -> Value {
        self.receivers.requests().pop().expect("a request")
    }
}

fn notice() -> Notice {
    let at = DateTime::parse_from_rfc3339("2026-11-28T05:10:00+03:00").unwrap();
    let alert = Alert {
        id: "overdue-7f3a91c2".to_owned(),
        kind: ConcernKind::Overdue,
        severity: Severity::Critical,
        server: Some("main".to_owned()),
        database: Some("app".to_owned()),
        series: Some("daily".to_owned()),
        object: None,
        since: at,
        incident: Uuid::from_u128(7),
        sentence: "the daily backup has not been made; run `pgbackupd backup`".to_owned(),
    };
    Notice {
        id: Uuid::now_v7(),
        host: "db1".to_owned(),
        at,
        is_test: false,
        items: vec![NoticeItem {
            change: Change::Opened,
            alert,
        }],
        open: OpenCounts {
            critical: 1,
            warning: 0,
        },
        dropped: 0,
    }
}

#[tokio::test]
async fn a_mail_arrives_under_tls_of_an_authority_of_our_own_with_a_login() {
    let desk = Desk::open();
    let password = desk.secret("password", "hunter2\n");
    for (server, tls) in [("starttls", "starttls"), ("smtps", "tls")] {
        let answer = desk
            .send(&format!(
                "type = \"email\"\nto = [\"a@example.org\", \"B <b@example.org>\"]\n\
                 from = \"pgbackupd@example.org\"\nsmtp = \"localhost:PORT({server})\"\n\
                 tls = \"{tls}\"\nuser = \"alerts\"\npassword_file = {password:?}\nca_file = \"CA\""
            ))
            .await
            .unwrap();
        assert_eq!(answer.said, "250 2.0.0 queued as 4711");
        let mail = desk.receivers.mails().pop().unwrap();
        assert_eq!(
            mail["to"],
            serde_json::json!(["a@example.org", "b@example.org"])
        );
        assert_eq!(mail["tls"], true);
        assert_eq!(mail["login"], "alerts");
        assert_eq!(mail["headers"]["subject"], "[CRITICAL] app on db1: overdue");
        assert_eq!(mail["headers"]["auto-submitted"], "auto-generated");
        let text = mail["text"].as_str().unwrap();
        assert!(
            text.contains("The daily backup has not been made"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_mail_that_the_server_does_not_take_is_reported_with_its_words() {
    let desk = Desk::open();
    let wrong = desk.secret("wrong", "hunter2-wrong\n");
    let to = |to: &str| {
        format!(
            "type = \"email\"\nto = [{to}]\nfrom = \"p@example.org\"\nsmtp = \"localhost:PORT(smtp)\"\n\
             tls = \"none\""
        )
    };
    let later = desk.failure(&to("\"later@example.org\"")).await;
    assert_eq!(later.again, Again::Later);
    assert!(later.sentence.contains("try again later"), "{later}");

    let gone = desk.failure(&to("\"gone@example.org\"")).await;
    assert_eq!(gone.again, Again::Never);
    assert!(gone.sentence.contains("no such user"), "{gone}");

    let answer = desk
        .send(&to("\"gone@example.org\", \"there@example.org\""))
        .await
        .unwrap();
    let complaint = answer.complaint.unwrap();
    assert!(complaint.contains("gone@example.org: ") && complaint.contains("no such user"));
    assert_eq!(desk.receivers.mails().len(), 1);

    let login = format!(
        "type = \"email\"\nto = [\"a@example.org\"]\nfrom = \"p@example.org\"\n\
         smtp = \"localhost:PORT(starttls)\"\nuser = \"alerts\"\npassword_file = {wrong:?}\n"
    );
    let refused = desk.failure(&format!("{login}ca_file = \"CA\"")).await;
    assert!(refused.sentence.contains("535"), "{refused}");
    let unknown = desk.failure(&login).await;
    assert!(unknown.sentence.contains("certificate"), "{unknown}");
    let plain = desk.failure(&login.replace("starttls", "smtp")).await;
    assert!(plain.sentence.contains("STARTTLS"), "{plain}");
    let way_out = "\nhint: set tls = \"none\" for a mail server on this machine";
    assert!(plain.sentence.contains(way_out), "{plain}");
    let closed = to("\"a@example.org\"").replace("PORT(smtp)", "1");
    let closed = desk.failure(&closed).await;
    assert!(closed.sentence.contains("\nhint: check smtp; "), "{closed}");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let desk = Desk::open();
    let begin = Instant::now();
    for settings in [
        "type = \"email\"\nto = [\"a@example.org\"]\nfrom = \"p@example.org\"\n\
         smtp = \"localhost:PORT(silent)\"\ntls = \"none\"",
        "type = \"webhook\"\nurl = \"http://localhost:PORT(silent)/\"",
        "type = \"webhook\"\nurl = \"https://localhost:PORT(https)/hang\"\nca_file = \"CA\"",
        "type = \"command\"\nargv = [\"sh\", \"-c\", \"sleep 60 & sleep 60\"]",
        "type = \"ping\"\nurl = \"http://localhost:PORT(silent)/\"",
    ] {
        let error = desk
            .failure(&format!("{settings}\ntimeout = \"500 ms\""))
            .await;
        assert_eq!(error.again, Again::Later);
        let expected = "no answer within 500 ms (alerts.c.timeout)";
        assert_eq!(error.sentence, expected);
    }
    assert!(begin.elapsed() < Duration::from_secs(30));
}

#[tokio::test]
async fn a_webhook_gets_the_document_with_its_headers() {
    let desk = Desk::open();
    let url = desk.secret("url", "https://localhost:PORT/ok/hunter2-hunter2\n");
    let port = desk.receivers.port("https").to_string();
    fs::write(
        &url,
        fs::read_to_string(&url).unwrap().replace("PORT", &port),
    )
    .unwrap();
    let headers = desk.secret(
        "headers",
        "Authorization: Bearer hunter2-hunter2\n\nX-Other: 1\n",
    );
    let answer = desk
        .send(&format!(
            "type = \"webhook\"\nurl_file = {url:?}\nheaders_file = {headers:?}\nca_file = \"CA\"\n\
             headers = {{ X-Title = \"Backups\" }}"
        ))
        .await
        .unwrap();
    assert_eq!(answer.said, "HTTP 200 OK: taken");
    let request = desk.last_request();
    assert_eq!(request["path"], "/ok/hunter2-hunter2");
    assert_eq!(
        request["headers"]["authorization"],
        "Bearer hunter2-hunter2"
    );
    assert_eq!(request["headers"]["x-title"], "Backups");
    assert_eq!(request["headers"]["content-type"], "application/json");
    let document: Value = serde_json::from_str(request["body"].as_str().unwrap()).unwrap();
    assert_eq!(document["items"][0]["kind"], "overdue");

    let unknown = desk
        .failure(&format!("type = \"webhook\"\nurl_file = {url:?}"))
        .await;
    assert!(unknown.sentence.contains("certificate"), "{unknown}");
}

#[tokio::test]
async fn the_status_of_an_answer_says_whether_to_try_again() {
    let desk = Desk::open();
    let url = |path: &str| {
        format!(
            "type = \"webhook\"\nurl = \"http://localhost:PORT(http)/{path}\"\nheaders = {{ Authorization = \"Bearer hunter2-hunter2\" }}"
        )
    };
    for (path, again, said) in [
        (
            "busy",
            Again::After(Duration::from_secs(120)),
            "HTTP 429 Too Many Requests: slow down",
        ),
        (
            "broken",
            Again::Later,
            "HTTP 500 Internal Server Error: <h1>no database</h1>",
        ),
        (
            "echo/hunter2-hunter2",
            Again::Never,
            "HTTP 403 Forbidden: /echo/**** ****",
        ),
        ("redirect", Again::Never, "redirect to http://localhost:"),
    ] {
        let error = desk.failure(&url(path)).await;
        assert_eq!(error.again, again, "{error}");
        assert!(error.sentence.contains(said), "{error}");
    }
    let paths: Vec<Value> = desk
        .receivers
        .requests()
        .into_iter()
        .map(|request| request["path"].clone())
        .collect();
    assert_eq!(paths.len(), 4, "no redirect was followed: {paths:?}");
    // Nobody is there.
    let refused = desk
        .failure("type = \"webhook\"\nurl = \"http://127.0.0.1:1/hunter2-hunter2-hunter2\"")
        .await;
    assert_eq!(refused.again, Again::Later);
    let expected = "cannot reach http://127.0.0.1:1: ";
    assert!(refused.sentence.starts_with(expected), "{refused}");
    assert!(refused.sentence.contains("Connection refused"), "{refused}");
}

#[tokio::test]
async fn what_the_documentation_shows_of_other_services_is_what_they_read() {
    let desk = Desk::open();
    let page = include_str!("../docs/alerts.md");
    let mut found = 0;
    for block in page.split("```toml\n").skip(1) {
        let block = block.split("```").next().unwrap();
        let Some((_, settings)) = block.split_once("type = \"webhook\"") else {
            continue;
        };
        let kept = |line: &&str| !line.starts_with("url") && !line.starts_with("credential");
        let settings: Vec<&str> = settings.lines().filter(kept).collect();
        let settings = settings.join("\n");
        if !settings.contains("body = ") {
            continue;
        }
        found += 1;
        desk.send(&format!(
            "type = \"webhook\"\nurl = \"http://localhost:PORT(http)/ok\"\n{settings}"
        ))
        .await
        .unwrap();
        let request = desk.last_request();
        let body = request["body"].as_str().unwrap();
        let read: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{body}"));
        let texts = ["message", "content", "text", "body"];
        let text = texts.iter().find_map(|key| read[*key].as_str());
        let text = text.unwrap_or_else(|| panic!("no text in {body}"));
        assert!(
            text.contains("The daily backup has not been made"),
            "{text}"
        );
        assert_eq!(request["headers"]["content-type"], "application/json");
    }
    assert_eq!(found, 5, "ntfy, Telegram, Discord, Gotify, Apprise");
}

#[tokio::test]
async fn a_command_reads_the_document_and_its_end_counts() {
    let desk = Desk::open();
    let out = desk.directory.path().join("out");
    let answer = desk
        .send(&format!(
            "type = \"command\"\nargv = [\"sh\", \"-c\", \"cat >$1; env >>$1\", \"sh\", {out:?}]"
        ))
        .await
        .unwrap();
    assert_eq!(answer.said, "exit status: 0");
    let text = fs::read_to_string(out).unwrap();
    let (document, environment) = text.split_once('\n').unwrap();
    let document: Value = serde_json::from_str(document).unwrap();
    assert_eq!(document["state"], "critical");
    assert!(!environment.contains("CARGO"), "{environment}");

    let failed = desk
        .failure("type = \"command\"\nargv = [\"sh\", \"-c\", \"echo no modem >&2; exit 5\"]")
        .await;
    assert_eq!(failed.sentence, "`sh` ended with exit status: 5: no modem");
    // It need not read what it gets.
    desk.send("type = \"command\"\nargv = [\"true\"]")
        .await
        .unwrap();
    let missing = desk
        .failure("type = \"command\"\nargv = [\"/no/such/program\"]")
        .await;
    assert!(missing.sentence.contains("cannot be started"), "{missing}");
}

#[tokio::test]
async fn a_service_hears_of_runs_and_of_their_errors() {
    let desk = Desk::open();
    let channel = desk.channel("type = \"ping\"\nurl = \"http://localhost:PORT(http)/u\"");
    let run = Uuid::from_u128(5);
    for event in [
        PingEvent::Start,
        PingEvent::Failure("no space\nleft".to_owned()),
        PingEvent::Success,
    ] {
        let event = Ping {
            event,
            run: Some(run),
        };
        ping(&channel, &event, &BTreeMap::new()).await.unwrap();
    }
    let heard: Vec<String> = desk
        .receivers
        .requests()
        .iter()
        .map(|request| format!("{} {}", request["path"], request["body"]))
        .collect();
    assert_eq!(
        heard,
        [
            format!("\"/u/start?rid={run}\" \"\""),
            format!("\"/u/fail?rid={run}\" \"no space\\nleft\""),
            format!("\"/u?rid={run}\" \"\""),
        ]
    );
}

/// Somebody with three channels, of which one is out of order.
fn with_channels(receivers: &Receivers) -> Operator {
    let mut operator = Operator::without_server("app");
    let (http, smtp) = (receivers.port("http"), receivers.port("smtp"));
    operator.set("alerts.chat.type", "webhook");
    operator.set("alerts.chat.template", "slack");
    let chat = format!("http://localhost:{http}/ok/hunter2-hunter2-hunter2");
    operator.set("alerts.chat.url", chat);
    operator.set("alerts.gone.type", "webhook");
    let gone = format!("http://localhost:{http}/echo/hunter2-hunter2-hunter2");
    operator.set("alerts.gone.url", gone);
    operator.set("alerts.mail.type", "email");
    operator.set_value("alerts.mail.to", vec!["dba@example.org"]);
    operator.set("alerts.mail.from", "pgbackupd@example.org");
    operator.set("alerts.mail.smtp", format!("localhost:{smtp}"));
    operator.set("alerts.mail.tls", "none");
    operator
}

#[test]
fn a_test_is_sent_to_every_channel_and_each_answer_is_printed() {
    let receivers = Receivers::start();
    let mut operator = with_channels(&receivers);
    let output = operator.run(&["alerts", "test", "--as-me"]);
    assert_eq!(output.code, 69, "{output}");
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(
        lines,
        [
            "chat (webhook): sent: HTTP 200 OK: taken",
            "gone (webhook): NOT SENT",
            "mail (email): sent: 250 2.0.0 queued as 4711",
        ]
    );
    let expected = "gone: http://localhost:";
    assert!(output.stderr.contains(expected), "{output}");
    let all = format!("{output}");
    assert!(!all.contains(SECRET), "{all}");
    let mail = receivers.mails().pop().unwrap();
    let subject = mail["headers"]["subject"].as_str().unwrap();
    assert!(subject.starts_with("[TEST] pgbackupd on "), "{subject}");

    let one = operator.run(&["alerts", "test", "--as-me", "mail"]);
    assert_eq!(one.code, 0, "{one}");
    let unknown = operator.run(&["alerts", "test", "--as-me", "mial"]);
    assert_eq!(unknown.code, 64, "{unknown}");
    assert!(unknown.stderr.contains("did you mean mail?"), "{unknown}");
    for setting in ["type", "template", "url"] {
        operator.unset(&format!("alerts.chat.{setting}"));
    }
    for setting in ["type", "url"] {
        operator.unset(&format!("alerts.gone.{setting}"));
    }
    for setting in ["type", "to", "from", "smtp", "tls"] {
        operator.unset(&format!("alerts.mail.{setting}"));
    }
    let none = operator.run(&["alerts", "test", "--as-me"]);
    assert_eq!(none.code, 78, "{none}");
}

#[test]
fn a_configuration_is_shown_without_the_secrets_of_its_channels() {
    let receivers = Receivers::start();
    let mut operator = with_channels(&receivers);
    operator.set("alerts.chat.headers.Authorization", "Bearer hunter2");
    let shown = operator.run(&["config", "show"]);
    assert_eq!(shown.code, 0, "{shown}");
    assert!(!format!("{shown}").contains(SECRET), "{shown}");
    assert!(shown.stdout.contains("/****\""), "{shown}");
}

#[test]
fn the_daemon_reports_its_runs_and_that_it_is_alive() {
    let (receivers, cluster) = (Receivers::start(), Cluster::start());
    let port = receivers.port("http");
    for (database, end) in [("postgres", "u"), ("missing", "u/fail")] {
        let mut operator = Operator::of(&cluster, database);
        every_night(&mut operator);
        operator.set("alerts.runs.type", "ping");
        operator.set("alerts.runs.url", format!("http://localhost:{port}/u"));
        operator.set_value("alerts.runs.jobs", vec!["daily"]);
        operator.set("alerts.alive.type", "ping");
        operator.set("alerts.alive.url", format!("http://localhost:{port}/alive"));
        operator.set("alerts.alive.heartbeat", "10 seconds");
        let before = receivers.requests().len();
        let clock = WallClock::at(&operator, BEFORE);
        let daemon = Daemon::under(&operator, &clock);
        let heard = || -> Vec<(String, String)> {
            let requests = receivers.requests().into_iter().skip(before);
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            requests
                .map(|request| (text(&request["path"]), text(&request["body"])))
                .collect()
        };
        let of_run = |kind: &str| {
            let start = format!("/{kind}?rid=");
            heard()
                .into_iter()
                .find_map(|(path, body)| Some((path.strip_prefix(&start)?.to_owned(), body)))
        };
        wait_until("the end of the run is reported", || of_run(end).is_some());
        let (run, body) = of_run(end).unwrap();
        assert_eq!(of_run("u/start").unwrap().0, run);
        assert_eq!(
            body.contains("daily of main/missing: "),
            database == "missing"
        );
        wait_until("the daemon is alive", || {
            heard().iter().filter(|(path, _)| path == "/alive").count() > 1
        });
        assert_eq!(daemon.end().code, 0);
    }
}
