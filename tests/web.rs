//! The page: what the service serves on a loopback port and on a Unix socket, and what it refuses.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use chrono::{Timelike as _, Utc};
use rustix::process::Signal;
use serde_json::Value;

use crate::support::clock::WallClock;
use crate::support::cluster::{Cluster, wait_until};
use crate::support::daemon::{Daemon, only_daily};
use crate::support::operator::Operator;

/// Longer than anything that the service does to a connection.
const PATIENCE: Duration = Duration::from_secs(90);

/// An answer.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn of(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        Self {
            status: status.unwrap_or_else(|| panic!("no answer: {text:?}")),
            head: head.to_lowercase(),
            body: body.to_owned(),
        }
    }
}

/// A port that nobody listens on.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Sends bytes and reads until the other end closes.
fn exchange(stream: &mut (impl Read + Write), request: &[u8]) -> Answer {
    // A server that refuses may close before it has read everything.
    let _ = stream.write_all(request);
    let mut text = Vec::new();
    match stream.read_to_end(&mut text) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("{error}"),
    }
    Answer::of(&String::from_utf8_lossy(&text))
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn send(port: u16, request: &str) -> Answer {
    exchange(&mut connect(port), request.as_bytes())
}

fn get(port: u16, path: &str) -> Answer {
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n");
    send(port, &request)
}

fn get_from_socket(socket: &Path, path: &str) -> Answer {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    exchange(&mut stream, request.as_bytes())
}

/// An operator of a daemon whose page is on this port, and whose job is due half a day from now.
fn with_page(cluster: &Cluster, database: &str) -> (Operator, u16) {
    let mut operator = Operator::of(cluster, database);
    let hour = (Utc::now().hour() + 12) % 24;
    only_daily(&mut operator, "UTC", &format!("30 {hour} * * *"));
    let port = free_port();
    operator.set("web.listen", format!("127.0.0.1:{port}"));
    (operator, port)
}

/// Waits until the backups are judged.
fn wait_for_judgement(port: u16) {
    wait_until("the judgement", || get(port, "/api/status").status == 200);
}

/// What does not depend on the moment.
fn scrubbed(mut value: Value) -> Value {
    fn scrub(value: &mut Value) {
        match value {
            Value::Object(members) => {
                for key in ["at", "age_seconds", "free_bytes", "backups_left"] {
                    members.remove(key);
                }
                members.values_mut().for_each(scrub);
            }
            Value::Array(items) => items.iter_mut().for_each(scrub),
            _ => {}
        }
    }
    scrub(&mut value);
    value
}

#[test]
fn the_page_shows_how_the_backups_stand() {
    let cluster = Cluster::start();
    let hostile = "<b>a/b</b>\n&\"";
    cluster.create_database(hostile);
    let (mut operator, port) = with_page(&cluster, hostile);
    assert_eq!(operator.run(&["backup"]).code, 0);
    let daemon = Daemon::start(&operator);
    daemon.wait_for("the page listens on");
    wait_for_judgement(port);

    let page = get(port, "/");
    assert_eq!(page.status, 200, "{page:?}");
    assert!(
        page.head.contains("content-type: text/html; charset=utf-8"),
        "{page:?}"
    );
    for header in [
        "content-security-policy: default-src 'none'; style-src 'self'",
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
        "x-frame-options: deny",
        "cache-control: no-store",
    ] {
        assert!(page.head.contains(header), "{header}: {page:?}");
    }
    assert!(!page.head.contains("set-cookie"), "{page:?}");
    assert!(
        page.body.contains("All is well with 1 database"),
        "{page:?}"
    );
    assert!(!page.body.contains("<b>"), "{page:?}");
    let link = "/database/main/%3Cb%3Ea%2Fb%3C%2Fb%3E%0A%26%22";
    assert!(page.body.contains(link), "{page:?}");

    let of_database = get(port, link);
    assert_eq!(of_database.status, 200, "{of_database:?}");
    assert!(of_database.body.contains("backup_"), "{of_database:?}");
    assert_eq!(get(port, "/database/main/other").status, 404);
    assert_eq!(get(port, "/database/main/%FF").status, 400);
    assert_eq!(get(port, "/nothing").status, 404);
    let style = get(port, "/style.css");
    assert!(
        style.head.contains("text/css") && style.status == 200,
        "{style:?}"
    );

    let health = get(port, "/healthz");
    assert_eq!((health.status, health.body.as_str()), (200, "ok\n"));
    let served: Value = serde_json::from_str(&get(port, "/api/status").body).unwrap();
    assert_eq!(scrubbed(served), scrubbed(operator.json(&["status"])));

    operator.set("objectives.recovery_point", "1 second");
    operator.set("objectives.grace", "0 seconds");
    daemon.signal(Signal::HUP);
    wait_until("the judgement", || get(port, "/healthz").status == 503);
    let health = get(port, "/healthz");
    assert_eq!(health.body, "critical: 1\n");
    assert!(get(port, "/").body.contains("1 critical"));
    assert_eq!(daemon.end().code, 0);
}

#[test]
fn metrics_are_served_as_promtool_wants_them() {
    let cluster = Cluster::start();
    let (mut operator, port) = with_page(&cluster, "postgres");
    let file = operator.path("pgbackupd.prom");
    operator.set("metrics.file", file.display());
    assert_eq!(operator.run(&["backup"]).code, 0);
    let daemon = Daemon::start(&operator);
    daemon.wait_for("the page listens on");
    wait_for_judgement(port);
    let metrics = get(port, "/metrics");
    assert_eq!(metrics.status, 200, "{metrics:?}");
    assert!(
        metrics.head.contains("text/plain; version=0.0.4"),
        "{metrics:?}"
    );
    let names = |text: &str| -> Vec<String> {
        let help = text.lines().filter(|line| line.starts_with("# HELP "));
        help.map(str::to_owned).collect()
    };
    let written = fs::read_to_string(&file).unwrap();
    assert_eq!(names(&metrics.body), names(&written));

    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool");
    let mut stdin = promtool.stdin.take().unwrap();
    stdin.write_all(metrics.body.as_bytes()).unwrap();
    drop(stdin);
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
    assert_eq!(daemon.end().code, 0);
}

#[test]
fn what_is_no_request_for_the_page_is_refused() {
    let cluster = Cluster::start();
    let (operator, port) = with_page(&cluster, "postgres");
    let daemon = Daemon::start(&operator);
    daemon.wait_for("the page listens on");
    let long = "x".repeat(64 * 1024);
    let many = "A: b\r\n".repeat(200);
    let host = format!("Host: 127.0.0.1:{port}\r\n");
    for (request, status) in [
        (
            format!("GET /healthz HTTP/1.1\r\nHost: evil.example:{port}\r\n"),
            421,
        ),
        ("GET /healthz HTTP/1.1\r\n".to_owned(), 421),
        (format!("GET http://evil.example/ HTTP/1.1\r\n{host}"), 421),
        (
            format!("POST / HTTP/1.1\r\n{host}Content-Length: 0\r\n"),
            405,
        ),
        (format!("DELETE /database/main/a HTTP/1.1\r\n{host}"), 405),
        (
            format!("GET / HTTP/1.1\r\n{host}Content-Length: 9999\r\n"),
            413,
        ),
        (
            format!("GET / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n"),
            413,
        ),
        (format!("GET / HTTP/1.1\r\n{host}X: {long}\r\n"), 431),
        (format!("GET / HTTP/1.1\r\n{host}{many}"), 431),
        (format!("GET /{long} HTTP/1.1\r\n{host}"), 431),
        ("nonsense\r\n".to_owned(), 400),
    ] {
        let answer = send(port, &format!("{request}\r\n"));
        let start: String = request.chars().take(60).collect();
        assert_eq!(answer.status, status, "{start}: {answer:?}");
        if status == 405 {
            assert!(answer.head.contains("allow: get, head"), "{answer:?}");
        }
    }
    let head = send(
        port,
        &format!("HEAD /style.css HTTP/1.1\r\n{host}Connection: close\r\n\r\n"),
    );
    assert_eq!((head.status, head.body.as_str()), (200, ""), "{head:?}");
    // Backups and the next request do not care.
    assert_ne!(get(port, "/healthz").status, 421);
    assert_eq!(daemon.end().code, 0);
}

#[test]
fn clients_that_do_nothing_are_cut_off_and_keep_no_backup_from_running() {
    let cluster = Cluster::start();
    let (mut operator, port) = with_page(&cluster, "postgres");
    operator.set("jobs.daily.schedule", "0 2 * * *");
    let clock = WallClock::at(&operator, "2025-07-09T01:59:30Z");
    let daemon = Daemon::under(&operator, &clock);
    daemon.wait_for("the page listens on");
    // More than are taken at a time: some of them send nothing, some half a request.
    let mut idle: Vec<TcpStream> = (0..100).map(|_| connect(port)).collect();
    for stream in idle.iter_mut().step_by(2) {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: local").unwrap();
    }
    clock.set("2025-07-09T02:00:00Z");
    daemon.wait_for("succeeded");
    let began = Instant::now();
    for stream in idle.iter_mut().take(2) {
        let mut text = Vec::new();
        // It is closed, with an answer or without.
        let _ = stream.read_to_end(&mut text);
    }
    assert!(
        began.elapsed() < Duration::from_secs(60),
        "{:?}",
        began.elapsed()
    );
    wait_until("an answer", || get(port, "/healthz").status != 0);
    drop(idle);
    assert_eq!(daemon.end().code, 0);
}

#[test]
fn a_socket_is_for_user_and_group_and_a_reload_moves_the_page_or_ends_it() {
    let cluster = Cluster::start();
    let (mut operator, port) = with_page(&cluster, "postgres");
    let socket = operator.path("web.sock");
    operator.set("web.listen", socket.display());
    assert_eq!(operator.run(&["backup"]).code, 0);
    let killed = Daemon::start(&operator);
    killed.wait_for("the page listens on");
    killed.end_by(Signal::KILL);
    assert!(socket.exists(), "nobody has removed it");

    let daemon = Daemon::start(&operator);
    daemon.wait_for("the page listens on");
    let mode = fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o660);
    wait_until("the judgement", || {
        get_from_socket(&socket, "/healthz").status == 200
    });

    operator.unset("web.listen");
    daemon.signal(Signal::HUP);
    let line = daemon.wait_for("web.listen: ");
    assert!(line.contains("not set"), "{line}");
    wait_until("its end", || !socket.exists());

    operator.set("web.listen", format!("127.0.0.1:{port}"));
    daemon.signal(Signal::HUP);
    daemon.wait_for_nth("the page listens on", 2);
    wait_for_judgement(port);

    operator.set("web.listen", socket.display());
    daemon.signal(Signal::HUP);
    daemon.wait_for_nth("the page listens on", 3);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    assert_eq!(daemon.end().code, 0);
    assert!(!socket.exists());
}

#[test]
fn an_address_in_use_is_taken_as_soon_as_it_is_free() {
    let cluster = Cluster::start();
    let (operator, port) = with_page(&cluster, "postgres");
    let taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let daemon = Daemon::start(&operator);
    let line = daemon.wait_for("the page cannot listen on");
    assert!(
        line.contains("(web.listen)") && line.contains("backups go on"),
        "{line}"
    );
    drop(taken);
    daemon.wait_for("the page listens on");
    assert_eq!(daemon.count("the page cannot listen on"), 1);
    assert_eq!(daemon.end().code, 0);
}

#[test]
fn an_address_that_others_reach_is_refused_with_the_way_out() {
    let mut operator = Operator::without_server("sales");
    operator.set("web.listen", "0.0.0.0:8432");
    let output = operator.run(&["config", "check"]);
    assert_eq!(output.code, 78, "{output}");
    let text = output.to_string();
    for part in [
        "can be reached from other machines",
        "SSH tunnel",
        "a proxy",
        "metrics.file",
    ] {
        assert!(text.contains(part), "{text}");
    }
}
