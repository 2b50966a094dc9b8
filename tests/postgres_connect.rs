//! Our own connection, against a real server: what it accepts, and what it says when it cannot.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::certificates::Certificates;
use crate::support::cluster::{Cluster, Options, SUPERUSER, free_port};
use pgbackupd::config::Connection;
use pgbackupd::postgres::{Client, ConnectError, ConnectErrorKind, Conninfo};

const LIMIT: Duration = Duration::from_secs(10);

fn conninfo(text: &str) -> Conninfo {
    let connection = Connection::from_string(text).unwrap();
    Conninfo::resolve(&connection, &BTreeMap::new(), None).unwrap()
}

async fn failure(text: &str) -> ConnectError {
    match Client::connect(&conninfo(text), LIMIT).await {
        Ok(_) => panic!("{text} connects"),
        Err(error) => error,
    }
}

fn with_tcp() -> (Cluster, String) {
    let cluster = Cluster::with(&Options {
        tcp: true,
        ..Options::default()
    });
    cluster.psql("ALTER ROLE postgres PASSWORD 'sesame'");
    let text = format!("host=127.0.0.1 port={} user={SUPERUSER}", cluster.port());
    (cluster, text)
}

#[tokio::test]
async fn the_environment_of_the_cluster_is_enough() {
    let cluster = Cluster::shared();
    let environment = cluster.environment().into_iter().collect();
    let conninfo = Conninfo::resolve(&Connection::default(), &environment, None).unwrap();
    let client = Client::connect(&conninfo, LIMIT).await.unwrap();
    let number: u32 = cluster.psql("SHOW server_version_num").parse().unwrap();
    assert_eq!(client.server_version_number(), number);
    assert_eq!(client.server_major(), number / 10_000);
}

#[tokio::test]
async fn a_password_opens_and_its_lack_or_a_wrong_one_is_reported() {
    let (_cluster, text) = with_tcp();
    Client::connect(&conninfo(&format!("{text} password=sesame")), LIMIT)
        .await
        .unwrap();
    for (password, expected) in [
        ("password=wrong", "28P01"),
        ("", "password missing"),
        ("password=sesame user=nobody-here", "28P01"),
    ] {
        let error = failure(&format!("{text} {password}")).await;
        assert_eq!(
            error.kind,
            ConnectErrorKind::AuthenticationFailed,
            "{error}"
        );
        assert!(!error.is_transient());
        let text = error.to_string();
        assert!(text.contains(expected), "{text}");
        assert!(
            text.contains("127.0.0.1 port ") && text.contains("password"),
            "{text}"
        );
        assert!(
            !text.contains("wrong") && !text.contains("sesame"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_database_that_does_not_exist_is_reported() {
    let cluster = Cluster::shared();
    let socket = cluster.socket_directory().display();
    let error = failure(&format!("host={socket} user={SUPERUSER} dbname=absent")).await;
    assert_eq!(error.kind, ConnectErrorKind::NoSuchDatabase);
    assert_eq!(error.sqlstate.as_deref(), Some("3D000"));
    let text = error.to_string();
    assert!(
        text.contains(r#"database "absent" does not exist"#),
        "{text}"
    );
    assert!(text.contains(&format!("{socket}/.s.PGSQL.5432")), "{text}");
}

#[tokio::test]
async fn a_server_that_is_down_is_reported_and_may_come_back() {
    let port = free_port();
    for text in [
        format!("host=127.0.0.1 port={port} user=u"),
        "host=/nonexistent user=u".to_owned(),
        "host=no-such-host.invalid user=u".to_owned(),
    ] {
        let error = failure(&text).await;
        assert_eq!(error.kind, ConnectErrorKind::ServerDown, "{error}");
        assert!(error.is_transient());
    }
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    for mode in ["disable", "prefer", "require"] {
        let text = format!("host=127.0.0.1 port={port} user=u sslmode={mode} connect_timeout=1");
        let started = Instant::now();
        let error = failure(&text).await;
        assert_eq!(error.kind, ConnectErrorKind::ServerDown, "{error}");
        assert!(
            error.to_string().contains("no answer within 1 second"),
            "{error}"
        );
        assert!(started.elapsed() < Duration::from_secs(5));
    }
}

#[tokio::test]
async fn a_server_without_a_free_connection_is_reported() {
    let cluster = Cluster::shared();
    cluster.create_database("crowded");
    cluster.psql("CREATE ROLE crowd LOGIN CONNECTION LIMIT 1");
    let text = format!(
        "host={} user=crowd dbname=crowded",
        cluster.socket_directory().display()
    );
    let _first = Client::connect(&conninfo(&text), LIMIT).await.unwrap();
    let error = failure(&text).await;
    assert_eq!(error.kind, ConnectErrorKind::TooManyConnections, "{error}");
    assert!(error.is_transient());
}

#[tokio::test]
async fn of_several_hosts_the_first_that_will_do_is_taken_and_kept() {
    let cluster = Cluster::shared();
    let socket = cluster.socket_directory().display().to_string();
    let text = format!("host=/nonexistent,{socket},/never-asked user={SUPERUSER}");
    let client = Client::connect(&conninfo(&text), LIMIT).await.unwrap();
    assert!(
        client
            .conninfo()
            .to_string()
            .ends_with(&format!("at {socket}/.s.PGSQL.5432"))
    );
    let environment = client.conninfo().child_environment("x", LIMIT);
    assert!(environment.contains(&("PGHOST".to_owned(), socket.clone())));

    for (wanted, works) in [
        ("any", true),
        ("read-write", true),
        ("primary", true),
        ("prefer-standby", true),
        ("read-only", false),
        ("standby", false),
    ] {
        let text = format!("{text} target_session_attrs={wanted}");
        let outcome = Client::connect(&conninfo(&text), LIMIT).await;
        assert_eq!(outcome.is_ok(), works, "{wanted}");
    }
    // A refused login is an answer: the other hosts are not asked.
    let text = format!("host={socket},/nonexistent user={SUPERUSER} dbname=absent");
    assert_eq!(failure(&text).await.kind, ConnectErrorKind::NoSuchDatabase);
}

/// A server with these certificates.
fn cluster_with(certificates: &Certificates) -> Cluster {
    let cluster = Cluster::with(&Options {
        tcp: true,
        settings: vec![
            ("ssl", "on".to_owned()),
            ("ssl_cert_file", "server.crt".to_owned()),
            ("ssl_key_file", "server.key".to_owned()),
            ("ssl_ca_file", "ca.crt".to_owned()),
        ],
        files: vec![
            ("server.crt", certificates.text("server.crt")),
            ("server.key", certificates.text("server.key")),
            ("ca.crt", certificates.text("ca.crt")),
        ],
        ..Options::default()
    });
    cluster.psql("ALTER ROLE postgres PASSWORD 'sesame'");
    cluster
}

/// Whether the connection of these parameters is encrypted; none if there is none.
async fn encrypted(cluster: &Cluster, text: &str) -> Option<bool> {
    let client = Client::connect(&conninfo(text), LIMIT).await.ok()?;
    let sql = "SELECT bool_or(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
               WHERE application_name = 'pgbackupd'";
    let answer = cluster.psql(sql) == "t";
    drop(client);
    crate::support::cluster::wait_until("the connection is gone", || {
        cluster.psql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgbackupd'")
            == "0"
    });
    Some(answer)
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
async fn tls_is_used_and_verified_as_the_mode_says() {
    let certificates = Certificates::make("db.example");
    let strangers = Certificates::make("db.example");
    let cluster = cluster_with(&certificates);
    let base = format!(
        "hostaddr=127.0.0.1 port={} user={SUPERUSER} password=sesame",
        cluster.port()
    );
    let root = |path: &Path| format!("sslrootcert={}", path.display());
    let (own, strange) = (
        root(&certificates.path("ca.crt")),
        root(&strangers.path("ca.crt")),
    );
    let self_signed = root(&certificates.path("server.crt"));
    let table = [
        ("sslmode=disable".to_owned(), Some(false)),
        ("sslmode=allow".to_owned(), Some(false)),
        ("sslmode=prefer".to_owned(), Some(true)),
        (String::new(), Some(true)),
        ("sslmode=require".to_owned(), Some(true)),
        (
            "sslmode=require channel_binding=require".to_owned(),
            Some(true),
        ),
        ("sslmode=disable channel_binding=require".to_owned(), None),
        (format!("sslmode=require {own}"), Some(true)),
        (format!("sslmode=require {strange}"), None),
        (format!("sslmode=prefer {strange}"), Some(false)),
        ("sslmode=verify-ca".to_owned(), None),
        (format!("sslmode=verify-ca {own}"), Some(true)),
        (
            format!("sslmode=verify-ca {own} host=another.example"),
            Some(true),
        ),
        (format!("sslmode=verify-ca {strange}"), None),
        (
            format!("sslmode=verify-full {own} host=db.example"),
            Some(true),
        ),
        (
            format!("sslmode=verify-full {own} host=another.example"),
            None,
        ),
        (format!("sslmode=verify-full {own}"), None),
        (
            format!("sslmode=verify-full {strange} host=db.example"),
            None,
        ),
        (
            format!("sslmode=verify-full {self_signed} host=db.example"),
            Some(true),
        ),
        (
            format!("sslmode=verify-full {self_signed} host=another.example"),
            None,
        ),
        ("sslrootcert=system host=db.example".to_owned(), None),
    ];
    for (parameters, expected) in table {
        let outcome = encrypted(&cluster, &format!("{base} {parameters}")).await;
        assert_eq!(outcome, expected, "{parameters}");
    }
    let error = failure(&format!(
        "{base} sslmode=verify-full {own} host=another.example"
    ))
    .await;
    assert_eq!(error.kind, ConnectErrorKind::Tls);
    assert!(error.to_string().contains("another.example"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn allow_and_prefer_change_their_way_when_the_server_admits_only_the_other() {
    let certificates = Certificates::make("db.example");
    let cluster = cluster_with(&certificates);
    let base = format!(
        "host=127.0.0.1 port={} user={SUPERUSER} password=sesame",
        cluster.port()
    );
    for (admitted, mode, expected) in [
        ("hostssl", "allow", Some(true)),
        ("hostssl", "prefer", Some(true)),
        ("hostssl", "disable", None),
        ("hostnossl", "prefer", Some(false)),
        ("hostnossl", "require", None),
    ] {
        cluster.set_hba(&format!(
            "local all all trust\n{admitted} all all 127.0.0.1/32 scram-sha-256\n"
        ));
        let outcome = encrypted(&cluster, &format!("{base} sslmode={mode}")).await;
        assert_eq!(outcome, expected, "{admitted} {mode}");
    }
    cluster.set_hba("local all all trust\n");
    let error = failure(&format!("{base} sslmode=prefer")).await;
    assert_eq!(error.kind, ConnectErrorKind::AuthenticationFailed);
    let text = error.to_string();
    assert!(
        text.contains("with TLS") && text.contains("without TLS"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_logs_in() {
    let certificates = Certificates::make("db.example");
    let cluster = cluster_with(&certificates);
    cluster.set_hba("local all all trust\nhostssl all all 127.0.0.1/32 cert\n");
    let base = format!(
        "host=127.0.0.1 port={} user={SUPERUSER} sslmode=require",
        cluster.port()
    );
    let shown = format!(
        "{base} sslcert={} sslkey={}",
        certificates.path("client.crt").display(),
        certificates.path("client.key").display()
    );
    assert_eq!(encrypted(&cluster, &shown).await, Some(true));
    assert_eq!(encrypted(&cluster, &base).await, None);
    rustix::fs::chmod(certificates.path("client.key"), 0o644.into()).unwrap();
    let error = failure(&shown).await;
    assert!(
        error.to_string().contains("can be read by others"),
        "{error}"
    );
}
