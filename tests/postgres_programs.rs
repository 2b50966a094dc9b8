//! The real `pg_dump` and its kin, started by our rules.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read as _;
use std::num::NonZeroU8;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::cluster::{Cluster, Options, SUPERUSER, binaries, wait_until};
use pgbackupd::config::{Compression, Connection, DumpSettings, Format};
use pgbackupd::postgres::{
    Child, ChildInput, ChildKind, ChildOutput, ChildSpec, Confinement, Conninfo, DumpCommand,
    DumpFailure, Exit, Programs, archive_as_sql_arguments, explain_failure, globals_arguments,
};

const LIMIT: Duration = Duration::from_secs(10);

const HOSTILE_NAMES: [&str; 9] = [
    "plain",
    "a=b",
    "postgresql://localhost/x",
    "--help",
    "it's \"quoted\" \\",
    "line\nbreak",
    "$(touch x) %s `y`",
    " ",
    "قاعدة",
];

fn conninfo(cluster: &Cluster, text: &str, database: Option<&str>) -> Conninfo {
    let connection = Connection::from_string(text).unwrap();
    let environment: BTreeMap<_, _> = cluster.environment().into_iter().collect();
    Conninfo::resolve(&connection, &environment, database).unwrap()
}

async fn programs(cluster: &Cluster) -> Programs {
    let number: u32 = cluster.psql("SHOW server_version_num").parse().unwrap();
    Programs::locate(Some(&binaries()), number / 10_000)
        .await
        .unwrap()
}

async fn run(program: PathBuf, args: Vec<OsString>, conninfo: &Conninfo) -> (Exit, String) {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let reader = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    });
    let masking = conninfo.clone();
    let mut child = Child::spawn(ChildSpec {
        program,
        args,
        environment: conninfo.child_environment("pgbackupd test", LIMIT),
        stdin: ChildInput::Null,
        confinement: Confinement::default(),
        kind: ChildKind::Program,
        stdout: ChildOutput::Pipe(writer, None),
        mask: Box::new(move |text| masking.mask(&text)),
    })
    .await
    .unwrap();
    let exit = child.wait().await.unwrap();
    (exit, reader.await.unwrap())
}

fn settings(format: Format, compression: Compression) -> DumpSettings {
    DumpSettings {
        format,
        compression,
        level: None,
        threads: None,
        jobs: NonZeroU8::new(2).unwrap(),
        globals: true,
    }
}

async fn dump(cluster: &Cluster, conninfo: &Conninfo, lock_wait: Duration) -> (Exit, String) {
    let programs = programs(cluster).await;
    let arguments = DumpCommand::Plain
        .arguments(&programs.version, conninfo, None, lock_wait)
        .unwrap();
    run(programs.pg_dump(), arguments, conninfo).await
}

#[tokio::test]
async fn a_database_of_any_name_is_dumped_and_no_other() {
    let cluster = Cluster::start();
    let programs = programs(&cluster).await;
    for (i, name) in HOSTILE_NAMES.iter().enumerate() {
        cluster.create_database(name);
        cluster.psql_in(name, &format!("CREATE TABLE only_in_{i}_ (a int)"));
    }
    cluster.psql("CREATE ROLE some_role");
    // Keepalives travel by --dbname, next to which PGDATABASE has to count.
    for parameters in ["", "keepalives_idle=30 tcp_user_timeout=9000"] {
        for (i, name) in HOSTILE_NAMES.iter().enumerate() {
            let conninfo = conninfo(&cluster, parameters, Some(name));
            let (exit, text) = dump(&cluster, &conninfo, LIMIT).await;
            assert!(exit.success(), "{name:?}: {exit}: {}", exit.stderr);
            assert!(text.contains(&format!("only_in_{i}_")), "{name:?}");
            assert_eq!(text.matches("CREATE TABLE").count(), 1, "{name:?}");

            let arguments = globals_arguments(&conninfo, "UTF8", true, LIMIT);
            let (exit, text) = run(programs.pg_dumpall(), arguments, &conninfo).await;
            assert!(exit.success(), "{name:?}: {exit}: {}", exit.stderr);
            assert!(text.contains("CREATE ROLE some_role"), "{name:?}");
        }
    }
}

#[tokio::test]
async fn every_format_can_be_read_back_as_sql() {
    let cluster = Cluster::shared();
    cluster.create_database("formats");
    cluster.psql_in(
        "formats",
        "CREATE TABLE t AS SELECT generate_series(1, 1000) AS a",
    );
    let programs = programs(&cluster).await;
    let conninfo = conninfo(&cluster, "", Some("formats"));
    let directory = tempfile::tempdir().unwrap();
    for format in [Format::Custom, Format::Directory] {
        for compression in [Compression::Gzip, Compression::None] {
            let file = directory.path().join(format!("{format:?}{compression:?}"));
            let settings = settings(format, compression);
            let arguments = DumpCommand::new(&settings, &file, false)
                .arguments(&programs.version, &conninfo, None, LIMIT)
                .unwrap();
            let (exit, text) = run(programs.pg_dump(), arguments, &conninfo).await;
            assert!(exit.success() && text.is_empty(), "{exit}: {}", exit.stderr);
            let arguments = archive_as_sql_arguments(&file);
            let (exit, text) = run(programs.pg_restore(), arguments, &conninfo).await;
            assert!(exit.success(), "{exit}: {}", exit.stderr);
            assert!(text.contains("\n1000\n\\.\n"), "{file:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cause_of_a_failure_is_recognised_in_real_messages() {
    let cluster = Cluster::with(&Options {
        tcp: true,
        ..Options::default()
    });
    cluster.psql(
        "CREATE ROLE reader LOGIN; ALTER ROLE postgres PASSWORD 'sesame'; \
         CREATE TABLE secret (a int); CREATE TABLE free (a int); \
         GRANT SELECT ON free TO reader",
    );
    let fail = async |text: &str, database: &str| {
        let conninfo = conninfo(&cluster, text, Some(database));
        let (exit, _) = dump(&cluster, &conninfo, Duration::from_millis(100)).await;
        assert!(!exit.success());
        (explain_failure(&exit.stderr), exit.stderr)
    };
    let tcp = format!("host=127.0.0.1 port={}", cluster.port());
    let denied = DumpFailure::PermissionDenied {
        object: "table secret".to_owned(),
    };
    for (text, database, expected) in [
        ("user=reader", "postgres", denied),
        ("", "absent", DumpFailure::NoSuchDatabase),
        ("user=absent", "postgres", DumpFailure::AuthenticationFailed),
        (
            &format!("{tcp} password=wrong"),
            "postgres",
            DumpFailure::AuthenticationFailed,
        ),
        (&tcp, "postgres", DumpFailure::AuthenticationFailed),
        ("host=/nonexistent", "postgres", DumpFailure::ServerDown),
        (
            "host=no-such-host.invalid",
            "postgres",
            DumpFailure::ServerDown,
        ),
        ("host=127.0.0.1 port=1", "postgres", DumpFailure::ServerDown),
    ] {
        let (found, stderr) = fail(text, database).await;
        assert_eq!(found, expected, "{text}: {stderr}");
    }

    let mut holder = cluster
        .command("psql")
        .args([
            "-X",
            "-q",
            "-c",
            "BEGIN; LOCK TABLE secret; SELECT pg_sleep(600)",
        ])
        .spawn()
        .unwrap();
    wait_until("the lock is held", || {
        cluster.psql("SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted")
            != "0"
    });
    let (found, stderr) = fail("", "postgres").await;
    assert!(matches!(found, DumpFailure::LockTimeout { .. }), "{stderr}");
    holder.kill().unwrap();
    holder.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_under_a_dump_is_recognised() {
    let mut cluster = Cluster::start();
    cluster.psql("CREATE TABLE t AS SELECT repeat('x', 1000) AS a FROM generate_series(1, 100000)");
    let conninfo = conninfo(&cluster, &format!("user={SUPERUSER}"), None);
    let programs = programs(&cluster).await;
    let arguments = DumpCommand::Plain
        .arguments(&programs.version, &conninfo, None, LIMIT)
        .unwrap();
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut child = Child::spawn(ChildSpec {
        program: programs.pg_dump(),
        args: arguments,
        environment: conninfo.child_environment("x", LIMIT),
        stdin: ChildInput::Null,
        confinement: Confinement::default(),
        kind: ChildKind::Program,
        stdout: ChildOutput::Pipe(writer, None),
        mask: Box::new(std::convert::identity),
    })
    .await
    .unwrap();
    // The rest does not fit into the pipe, so the dump is now in the middle of the table.
    let mut piece = [0; 8192];
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("xxxx") {
        let count = reader.read(&mut piece).unwrap();
        assert!(count > 0);
        seen.extend_from_slice(&piece[..count]);
    }
    cluster.stop();
    std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
    let exit = child.wait().await.unwrap();
    assert!(!exit.success());
    assert_eq!(
        explain_failure(&exit.stderr),
        DumpFailure::ConnectionLost,
        "{}",
        exit.stderr
    );
}

fn runs(pid: &str) -> bool {
    std::fs::read_to_string(Path::new("/proc").join(pid).join("stat"))
        .is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn a_program_dies_with_us_even_when_we_are_killed() {
    let mut us = Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "--nocapture",
            "postgres_programs::run_a_program_until_killed",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = us.stdout.take().unwrap();
    let mut text = String::new();
    let pid = loop {
        let mut piece = [0; 256];
        let count = output.read(&mut piece).unwrap();
        assert!(count > 0, "no process was started: {text}");
        text.push_str(&String::from_utf8_lossy(&piece[..count]));
        if let Some((_, rest)) = text.split_once("pid=")
            && let Some((pid, _)) = rest.split_once(';')
        {
            break pid.to_owned();
        }
    };
    assert!(runs(&pid));
    us.kill().unwrap();
    us.wait().unwrap();
    wait_until("the program has died", || !runs(&pid));
}

#[tokio::test]
#[ignore = "the other half of a_program_dies_with_us_even_when_we_are_killed"]
async fn run_a_program_until_killed() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut child = Child::spawn(ChildSpec {
        program: "/bin/sh".into(),
        args: vec!["-c".into(), "echo \"pid=$$;\"; exec sleep 600".into()],
        environment: Vec::new(),
        stdin: ChildInput::Null,
        confinement: Confinement::default(),
        kind: ChildKind::Program,
        stdout: ChildOutput::Pipe(writer, None),
        mask: Box::new(std::convert::identity),
    })
    .await
    .unwrap();
    let mut line = [0; 64];
    let count = reader.read(&mut line).unwrap();
    print!("{}", String::from_utf8_lossy(&line[..count]));
    std::io::Write::flush(&mut std::io::stdout()).unwrap();
    child.wait().await.unwrap();
}
