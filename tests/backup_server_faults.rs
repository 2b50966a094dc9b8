//! Faults of the server: a backup that fails says why, leaves nothing, and the next one succeeds.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::cluster::{Cluster, Options, free_port};
use crate::support::operator::{HeldLock, Operator, Output, make_big_table};
use rustix::process::{Pid, Signal, kill_process};

const PASSWORD: &str = "open-sesame-57";

/// What the operator reads when the connection of `pg_dump` breaks.
const BROKEN: &str = "pgbackupd: no backup of database postgres: pg_dump ended with status 1: \
                      the connection broke: the server was stopped or restarted, \
                      or the network failed\nhint: run it again";

/// An operator whose user `keeper` has a password, on a server with TCP.
fn with_password(cluster: &Cluster, password: &str) -> Operator {
    cluster.psql(&format!(
        "SET password_encryption = 'scram-sha-256';
         CREATE ROLE keeper LOGIN SUPERUSER PASSWORD '{PASSWORD}'"
    ));
    let mut operator = Operator::of(cluster, "postgres");
    operator.set("connection.host", "127.0.0.1");
    operator.set("connection.user", "keeper");
    write_password(&mut operator, password);
    operator
}

fn write_password(operator: &mut Operator, password: &str) {
    let path = operator.path("password");
    fs::write(&path, password).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    operator.set("connection.password_file", path.display());
}

fn with_tcp() -> Cluster {
    Cluster::with(&Options {
        tcp: true,
        ..Options::default()
    })
}

/// The ledger ends with this failure, in the words that the operator read.
#[track_caller]
fn assert_recorded(operator: &Operator, output: &Output) {
    let record = operator.last_record();
    assert_eq!(record["event"], "failed", "{record}");
    let message = record["message"].as_str().unwrap();
    // What the server's details show is for the terminal.
    let told = output.stderr.split("\nfull output:\n").next().unwrap();
    assert!(
        told.trim_end().ends_with(message),
        "{message:?} is recorded, but told was: {output}"
    );
}

#[test]
fn a_server_that_is_down_is_reported_with_its_socket() {
    let mut cluster = Cluster::start();
    cluster.stop();
    let operator = Operator::of(&cluster, "postgres");
    let output = operator.run(&["backup"]);
    let socket = cluster.socket_directory().display();
    output.assert_failed(
        69,
        &format!(
            "pgbackupd: no backup of database postgres: cannot connect to database \"postgres\" \
             as user \"postgres\" at {socket}/.s.PGSQL.5432: error connecting to server: \
             No such file or directory (os error 2)\nhint: \
             check that the server runs and that host and port are right"
        ),
    );
    assert_recorded(&operator, &output);
    operator.assert_nothing_left();
    cluster.restart();
    operator.assert_next_run_succeeds();
}

#[test]
fn a_server_that_is_down_is_reported_with_its_address() {
    let mut operator = Operator::without_server("sales");
    let port = free_port();
    operator.set("connection.host", "127.0.0.1");
    operator.set_value("connection.port", port);
    operator.set("connection.user", "keeper");
    let output = operator.run(&["backup"]);
    output.assert_failed(
        69,
        &format!(
            "pgbackupd: no backup of database sales: cannot connect to database \"sales\" \
             as user \"keeper\" at 127.0.0.1 port {port}: error connecting to server: \
             Connection refused (os error 111)\nhint: \
             check that the server runs and that host and port are right"
        ),
    );
    assert_recorded(&operator, &output);
    operator.assert_nothing_left();
}

#[test]
fn a_wrong_password_is_reported_and_never_shown() {
    let cluster = with_tcp();
    let mut operator = with_password(&cluster, "guessed-in-vain");
    let output = operator.run(&["backup"]);
    output.assert_failed(
        69,
        &format!(
            "pgbackupd: no backup of database postgres: cannot connect to database \"postgres\" \
             as user \"keeper\" at 127.0.0.1 port {}: without TLS: the server reports: \
             FATAL: password authentication failed for user \"keeper\" (SQLSTATE 28P01); \
             with TLS: error performing TLS handshake: server does not support TLS\n\
             hint: correct the password where it is configured (`pgbackupd config show`) or in libpq's \
             password file; on the server, psql's \\password sets it",
            cluster.port()
        ),
    );
    assert_recorded(&operator, &output);
    operator.assert_nothing_left();
    let verbose = operator.run(&["-vv", "backup"]);
    let ledger = fs::read_to_string(operator.backups().join("backup.log")).unwrap();
    for text in [&output.stderr, &verbose.stderr, &verbose.stdout, &ledger] {
        assert!(!text.contains("guessed-in-vain"), "{text}");
    }
    write_password(&mut operator, PASSWORD);
    operator.assert_next_run_succeeds();
}

#[test]
fn a_password_is_in_no_argument_and_in_no_file_of_a_backup() {
    let cluster = with_tcp();
    cluster.psql("CREATE TABLE t (i int)");
    let operator = with_password(&cluster, PASSWORD);
    let lock = HeldLock::on(&cluster, "postgres", "t");
    let running = operator.spawn(&["-vv", "backup"]);
    lock.wait_for_another();
    let pg_dump = operator.wait_for_process("pg_dump");
    for pid in [pg_dump, running.pid()] {
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
        let arguments = String::from_utf8_lossy(&arguments);
        assert!(
            arguments.contains("pg") && !arguments.contains(PASSWORD),
            "{arguments}"
        );
    }
    drop(lock);
    let output = running.wait();
    assert_eq!(output.code, 0, "{output}");
    assert!(!output.to_string().contains(PASSWORD), "{output}");
    for entry in fs::read_dir(operator.backups()).unwrap() {
        let path = entry.unwrap().path();
        let content = fs::read(&path).unwrap();
        let found = content
            .windows(PASSWORD.len())
            .any(|bytes| bytes == PASSWORD.as_bytes());
        assert!(!found, "{}", path.display());
    }
}

#[test]
fn an_unknown_database_is_reported() {
    let cluster = Cluster::start();
    let operator = Operator::of(&cluster, "slaes");
    let output = operator.run(&["backup"]);
    output.assert_failed(
        69,
        &format!(
            "pgbackupd: no backup of database slaes: there is no database \"slaes\" at \
             {}/.s.PGSQL.5432 (it has \"postgres\")\nhint: correct the name in the configuration, or create \
             the database",
            cluster.socket_directory().display()
        ),
    );
    assert_recorded(&operator, &output);
    operator.assert_nothing_left();
    cluster.create_database("slaes");
    operator.assert_next_run_succeeds();
}

#[test]
fn one_table_that_may_not_be_read_fails_the_backup_with_its_name() {
    let cluster = Cluster::start();
    cluster.psql(
        "CREATE TABLE open (i int); CREATE TABLE salaries (i int);
         CREATE ROLE reader LOGIN; GRANT SELECT ON open TO reader",
    );
    let mut operator = Operator::of(&cluster, "postgres");
    operator.set("connection.user", "reader");
    let output = operator.run(&["backup"]);
    output.assert_failed_quoting(
        69,
        "pgbackupd: no backup of database postgres: pg_dump ended with status 1: \
         user reader may not read table salaries\nhint: \
         grant it pg_read_all_data (from version 14 on), or let the owner make the backup",
        "ERROR:  permission denied for table salaries",
    );
    assert_recorded(&operator, &output);
    operator.assert_nothing_left();
    cluster.psql("GRANT pg_read_all_data TO reader");
    operator.assert_next_run_succeeds();
}

#[test]
fn a_lock_that_is_held_too_long_is_reported_with_who_holds_it() {
    let cluster = Cluster::start();
    cluster.psql("CREATE TABLE orders (i int)");
    let mut operator = Operator::of(&cluster, "postgres");
    operator.set("limits.lock_wait", "2 seconds");
    let lock = HeldLock::on(&cluster, "postgres", "orders");
    let output = operator.run(&["backup"]);
    let since = cluster.psql(&format!(
        "SELECT to_char(xact_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')
           FROM pg_stat_activity WHERE pid = {pid}",
        pid = lock.pid
    ));
    output.assert_failed_quoting(
        69,
        &format!(
            "pgbackupd: no backup of database postgres: pg_dump ended with status 1: \
             it waited too long for a lock on table public.orders; blocked by \
             process {pid} of user \"postgres\", application \"psql\", \
             with a lock on public.orders, in a transaction since {since} UTC, \
             idle in transaction, query: SELECT 'held' AS lock\nhint: \
             end that session with SELECT pg_terminate_backend({pid}), wait for it, \
             or raise limits.lock_wait",
            pid = lock.pid
        ),
        "LOCK TABLE public.orders IN ACCESS SHARE MODE",
    );
    assert_recorded(&operator, &output);
    operator.assert_nothing_left();
    drop(lock);
    operator.assert_next_run_succeeds();
}

#[test]
fn a_server_that_has_no_connection_left_for_the_dump_is_reported() {
    let cluster = Cluster::start();
    cluster.psql("CREATE ROLE lone LOGIN CONNECTION LIMIT 1; GRANT pg_read_all_data TO lone");
    let mut operator = Operator::of(&cluster, "postgres");
    operator.set("connection.user", "lone");
    operator.set_value("dump.globals", false);
    let output = operator.run(&["backup"]);
    output.assert_failed_quoting(
        69,
        "pgbackupd: no backup of database postgres: pg_dump ended with status 1: \
         the server has no connection left for user lone\nhint: run it again later, \
         or raise max_connections or the role's or database's limit \
         (a backup takes two connections at least)",
        "FATAL:  too many connections for role \"lone\"",
    );
    assert_recorded(&operator, &output);
    operator.assert_nothing_left();
    // pg_dumpall gives no reason; and it is none to do without roles.
    operator.set_value("dump.globals", true);
    let output = operator.run(&["backup"]);
    assert_eq!(output.code, 69, "{output}");
    let told = "the cluster's roles and tablespaces could not be dumped: pg_dumpall ended with status 1: \
                cannot connect to database \"postgres\" as user \"lone\"";
    assert!(output.stderr.contains(told), "{output}");
    assert!(
        output
            .stderr
            .contains("\nhint: try again later, or raise max_connections"),
        "{output}"
    );
    cluster.psql("ALTER ROLE lone CONNECTION LIMIT 2");
    operator.assert_next_run_succeeds();
}

#[test]
fn a_server_that_is_stopped_midway_leaves_no_backup() {
    let mut cluster = Cluster::start();
    make_big_table(&cluster, "postgres", "big");
    let operator = Operator::of(&cluster, "postgres");
    operator.assert_next_run_succeeds();
    let before = operator.standing();
    let (running, _) = operator.halted_midway(&cluster, "big");
    cluster.stop();
    running.signal(Signal::CONT);
    let output = running.wait();
    output.assert_failed_quoting(69, BROKEN, "server closed the connection unexpectedly");
    assert_recorded(&operator, &output);
    operator.assert_nothing_new(&before);
    cluster.restart();
    operator.assert_next_run_succeeds();
}

#[test]
fn a_session_that_an_administrator_ends_midway_leaves_no_backup() {
    let cluster = Cluster::start();
    make_big_table(&cluster, "postgres", "big");
    let operator = Operator::of(&cluster, "postgres");
    let (running, _) = operator.halted_midway(&cluster, "big");
    cluster.psql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
          WHERE application_name LIKE 'pgbackupd %'",
    );
    running.signal(Signal::CONT);
    let output = running.wait();
    output.assert_failed_quoting(69, BROKEN, "Dumping the contents of table \"big\" failed");
    assert_recorded(&operator, &output);
    operator.assert_nothing_left();
    operator.assert_next_run_succeeds();
}

#[test]
fn a_server_that_stops_answering_midway_is_given_up_when_the_dump_limit_strikes() {
    let cluster = Cluster::start();
    make_big_table(&cluster, "postgres", "big");
    let mut operator = Operator::of(&cluster, "postgres");
    operator.set("limits.dump", "3 seconds");
    let (running, _) = operator.halted_midway(&cluster, "big");
    let backend =
        cluster.psql("SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'pgbackupd %'");
    let backend = Pid::from_raw(backend.parse().unwrap()).unwrap();
    kill_process(backend, Signal::STOP).unwrap();
    running.signal(Signal::CONT);
    let output = running.wait();
    kill_process(backend, Signal::CONT).unwrap();
    output.assert_failed(
        69,
        "pgbackupd: no backup of database postgres: the dump took longer than limits.dump allows \
         (3 seconds) and was ended\nhint: check that the server and the disk still answer, \
         and raise limits.dump if it needs more time",
    );
    assert_recorded(&operator, &output);
    operator.assert_nothing_left();
    operator.unset("limits.dump");
    operator.assert_next_run_succeeds();
}

#[test]
fn a_network_that_goes_silent_midway_is_given_up_when_the_dump_limit_strikes() {
    let cluster = with_tcp();
    make_big_table(&cluster, "postgres", "big");
    let mut operator = with_password(&cluster, PASSWORD);
    let proxy = Proxy::before(cluster.port(), 1 << 20);
    operator.set_value("connection.port", proxy.port);
    operator.set("limits.dump", "3 seconds");
    let began = Instant::now();
    let output = operator.run(&["backup"]);
    assert!(began.elapsed() < Duration::from_secs(20));
    output.assert_failed(
        69,
        "pgbackupd: no backup of database postgres: the dump took longer than limits.dump allows \
         (3 seconds) and was ended\nhint: check that the server and the disk still answer, \
         and raise limits.dump if it needs more time",
    );
    assert_recorded(&operator, &output);
    operator.assert_nothing_left();
    operator.unset("limits.dump");
    operator.set_value("connection.port", cluster.port());
    operator.assert_next_run_succeeds();
}

#[test]
fn a_server_that_does_not_answer_at_all_is_given_up_when_the_connect_limit_strikes() {
    let cluster = with_tcp();
    let mut operator = with_password(&cluster, PASSWORD);
    let proxy = Proxy::before(cluster.port(), 0);
    operator.set_value("connection.port", proxy.port);
    operator.set("limits.connect", "1 second");
    let output = operator.run(&["backup"]);
    output.assert_failed(
        69,
        &format!(
            "pgbackupd: no backup of database postgres: cannot connect to database \"postgres\" \
             as user \"keeper\" at 127.0.0.1 port {}: no answer within 1 second\nhint: \
             check that the server runs and that host and port are right",
            proxy.port
        ),
    );
    assert_recorded(&operator, &output);
    operator.assert_nothing_left();
    operator.set_value("connection.port", cluster.port());
    operator.assert_next_run_succeeds();
}

#[test]
fn a_run_that_takes_longer_than_the_total_limit_is_ended() {
    let cluster = Cluster::start();
    cluster.psql("CREATE TABLE orders (i int)");
    let mut operator = Operator::of(&cluster, "postgres");
    operator.set("limits.total", "1 second");
    let lock = HeldLock::on(&cluster, "postgres", "orders");
    let output = operator.run(&["backup"]);
    output.assert_failed(
        69,
        "pgbackupd: no backup of database postgres: the run took longer than limits.total allows \
         (1 second) and was ended\nhint: check that the server and the disk still answer, \
         and raise limits.total if it needs more time",
    );
    assert_recorded(&operator, &output);
    operator.assert_nothing_left();
    drop(lock);
    operator.unset("limits.total");
    operator.assert_next_run_succeeds();
}

#[test]
fn the_other_databases_are_backed_up_although_one_fails() {
    let cluster = Cluster::start();
    cluster.create_database("a");
    cluster.create_database("z");
    let mut operator = Operator::of(&cluster, "a");
    operator.unset("database");
    operator.set_value("databases", vec!["a", "missing", "z"]);
    let output = operator.run(&["backup"]);
    assert_eq!(output.code, 69, "{output}");
    assert!(
        output
            .stderr
            .starts_with("pgbackupd: no backup of database missing: there is no database")
            && output.stderr.matches("pgbackupd: ").count() == 1,
        "{output}"
    );
    let done: Vec<_> = output.stdout.lines().step_by(2).collect();
    assert!(
        done.len() == 2 && done[0].contains("database a,") && done[1].contains("database z,"),
        "{output}"
    );
    assert_eq!(operator.list().len(), 2);
    operator.assert_all_whole();
}

/// What an owner, a role or an administrator sets for applications, and what stops a dump or changes it.
const FOR_APPLICATIONS: [&str; 13] = [
    "statement_timeout = '1ms'",
    "lock_timeout = '1ms'",
    "idle_in_transaction_session_timeout = '1ms'",
    "idle_session_timeout = '1ms'",
    "role = 'nobody_much'",
    "search_path = 'elsewhere'",
    "default_transaction_isolation = 'serializable'",
    "default_transaction_deferrable = on",
    "default_transaction_read_only = on",
    "client_min_messages = 'debug5'",
    "row_security = off",
    "quote_all_identifiers = on",
    "lc_messages = 'C'",
];

#[test]
fn what_a_database_or_a_role_sets_for_applications_stops_no_backup_and_no_restore() {
    let cluster = Cluster::start();
    cluster.psql(
        "CREATE ROLE nobody_much; CREATE ROLE owner LOGIN; CREATE ROLE keeper LOGIN;
         GRANT pg_read_all_data, nobody_much TO keeper; CREATE DATABASE app OWNER owner",
    );
    cluster.psql_in(
        "app",
        "CREATE TABLE t AS SELECT generate_series(1, 5) AS i;
         CREATE SCHEMA elsewhere; CREATE TABLE elsewhere.pg_database (datname name)",
    );
    for setting in FOR_APPLICATIONS {
        cluster.psql(&format!(
            "ALTER DATABASE app SET {setting}; ALTER ROLE keeper SET {setting};
             ALTER ROLE keeper IN DATABASE app SET {setting}"
        ));
    }
    let mut operator = Operator::of(&cluster, "app");
    for format in ["plain", "directory"] {
        operator.set("dump.format", format);
        operator.set("connection.user", "keeper");
        let output = operator.run(&["backup"]);
        assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{output}");
        operator.set("connection.user", "postgres");
        let into = format!("copy_{format}");
        let output = operator.run(&["restore", "--latest", "--into", &into, "--yes"]);
        assert_eq!(output.code, 0, "{output}");
        let settings = |database: &str| {
            cluster.psql(&format!(
                "SELECT array_agg(c ORDER BY c) FROM pg_db_role_setting, unnest(setconfig) AS c
                  WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = '{database}')"
            ))
        };
        assert_eq!(settings(&into), settings("app"));
    }
}

#[test]
fn who_holds_a_lock_is_reported_whatever_language_the_server_speaks() {
    let cluster = Cluster::start();
    if !cluster.speaks_german() {
        return;
    }
    cluster.psql(
        "CREATE TABLE orders (i int); CREATE ROLE reader LOGIN; GRANT pg_read_all_data TO reader;
         ALTER SYSTEM SET lc_messages = 'de_DE.UTF-8'; SELECT pg_reload_conf()",
    );
    let mut operator = Operator::of(&cluster, "postgres");
    operator.set("limits.lock_wait", "2 seconds");
    // A superuser may ask for English; for anybody else it is seen who is in the way.
    for (user, table, word) in [
        ("postgres", "table public.orders", "ERROR:"),
        ("reader", "a table", "FEHLER:"),
    ] {
        operator.set("connection.user", user);
        let lock = HeldLock::on(&cluster, "postgres", "orders");
        let output = operator.run(&["backup"]);
        assert_eq!(output.code, 69, "{output}");
        let told = format!(
            "it waited too long for a lock on {table}; blocked by process {}",
            lock.pid
        );
        assert!(output.stderr.contains(&told), "{output}");
        assert!(output.stderr.contains(word), "{output}");
    }
}

#[test]
fn a_table_that_is_dropped_before_its_lock_is_no_lock_that_took_too_long() {
    let cluster = Cluster::start();
    if !cluster.speaks_german() {
        return;
    }
    cluster.psql(
        "CREATE ROLE reader LOGIN; GRANT pg_read_all_data TO reader;
         ALTER SYSTEM SET lc_messages = 'de_DE.UTF-8'; SELECT pg_reload_conf()",
    );
    let mut operator = Operator::of(&cluster, "postgres");
    for (user, told) in [
        (
            "postgres",
            "an object that it was about to read was dropped",
        ),
        ("reader", "FEHLER:"),
    ] {
        operator.set("connection.user", user);
        cluster.psql("CREATE TABLE passing (i int)");
        let lock = HeldLock::on(&cluster, "postgres", "passing");
        let running = operator.spawn(&["backup"]);
        lock.wait_for_another();
        // Long enough for a look at who holds the lock.
        thread::sleep(Duration::from_millis(1500));
        lock.drop_the_table("passing");
        let output = running.wait();
        assert_eq!(output.code, 69, "{output}");
        assert!(output.stderr.contains(told), "{output}");
        assert!(!output.stderr.contains("waited too long"), "{output}");
        operator.assert_next_run_succeeds();
    }
}

#[test]
fn a_pooler_is_named_with_the_way_out() {
    let refusing = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = refusing.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in refusing.incoming() {
            let mut client = client.unwrap();
            startup_of(&mut client);
            // As PgBouncer does, unless ignore_startup_parameters has it.
            let fields = b"SFATAL\0VFATAL\0C08P01\0Munsupported startup parameter: options\0\0";
            let length = u32::try_from(4 + fields.len()).unwrap();
            let answer = [b"E", &length.to_be_bytes()[..], fields].concat();
            client.write_all(&answer).unwrap();
        }
    });
    let mut operator = Operator::without_server("postgres");
    operator.set("connection.host", "127.0.0.1");
    operator.set("connection.user", "keeper");
    operator.set("connection.sslmode", "disable");
    operator.set_value("connection.port", port);
    for globals in [true, false] {
        operator.set_value("dump.globals", globals);
        let output = operator.run(&["backup"]);
        assert_eq!(output.code, 69, "{output}");
        let way_out = "this is a connection pooler such as PgBouncer, and a backup needs sessions of the \
                       PostgreSQL server itself: set host and port of the connection to the server's own";
        assert!(output.stderr.trim_end().ends_with(way_out), "{output}");
    }
}

#[test]
fn a_pooler_that_keeps_options_to_itself_is_a_warning() {
    let cluster = with_tcp();
    let ignoring = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, server) = (ignoring.local_addr().unwrap().port(), cluster.port());
    thread::spawn(move || {
        for client in ignoring.incoming() {
            let (mut client, mut server) = (
                client.unwrap(),
                TcpStream::connect(("127.0.0.1", server)).unwrap(),
            );
            server
                .write_all(&without_options(&startup_of(&mut client)))
                .unwrap();
            let back = (server.try_clone().unwrap(), client.try_clone().unwrap());
            for (from, to) in [(client, server), back] {
                thread::spawn(move || pass_on(from, to, &AtomicUsize::new(0), usize::MAX));
            }
        }
    });
    let mut operator = with_password(&cluster, PASSWORD);
    operator.set("connection.sslmode", "disable");
    operator.set_value("connection.port", port);
    let output = operator.run(&["backup"]);
    assert_eq!(output.code, 0, "{output}");
    assert!(
        output.stderr.contains("goes through a connection pooler"),
        "{output}"
    );
    operator.set_value("connection.port", cluster.port());
    let output = operator.run(&["backup"]);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{output}");
}

/// Reads the first message of a client, which has no type (the manual's "Message Formats").
fn startup_of(client: &mut TcpStream) -> Vec<u8> {
    let mut length = [0; 4];
    client.read_exact(&mut length).unwrap();
    let rest = usize::try_from(u32::from_be_bytes(length)).unwrap() - 4;
    let mut message = vec![0; rest];
    client.read_exact(&mut message).unwrap();
    message
}

/// The same first message, without the parameter `options`.
fn without_options(message: &[u8]) -> Vec<u8> {
    let (version, parameters) = message.split_at(4);
    let words: Vec<&[u8]> = parameters.split(|byte| *byte == 0).collect();
    let mut kept = version.to_vec();
    for pair in words
        .chunks_exact(2)
        .filter(|pair| pair[0] != b"options" && !pair[0].is_empty())
    {
        kept.extend([pair[0], b"\0", pair[1], b"\0"].concat());
    }
    kept.push(0);
    let length = u32::try_from(kept.len() + 4).unwrap();
    [&length.to_be_bytes()[..], &kept].concat()
}

/// Something between a client and a server that passes so many bytes on and then falls silent: the
/// connections stay, and nothing comes any more.
struct Proxy {
    port: u16,
}

impl Proxy {
    fn before(server: u16, bytes: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let passed = Arc::new(AtomicUsize::new(0));
        thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                let server = TcpStream::connect(("127.0.0.1", server)).unwrap();
                let back = (server.try_clone().unwrap(), client.try_clone().unwrap());
                for (from, to) in [(client, server), back] {
                    let passed = Arc::clone(&passed);
                    thread::spawn(move || pass_on(from, to, &passed, bytes));
                }
            }
        });
        Self { port }
    }
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, passed: &AtomicUsize, limit: usize) {
    let mut buffer = [0; 8192];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        while passed.fetch_add(count, Ordering::Relaxed) >= limit {
            thread::park();
        }
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    to.shutdown(Shutdown::Both).ok();
}
