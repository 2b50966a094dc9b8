//! A temporary `PostgreSQL` server: one temporary directory that holds its data, its unix socket
//! and its log, and that goes away with the value.
//!
//! `PostgreSQL` refuses to run as root, so a test that runs as root gives the server the user
//! `postgres` (or `nobody`). A server costs about a third of a second: `initdb` runs once for each
//! target directory, later servers copy what it made. All of them therefore share one system
//! identifier.
//!
//! Under `cargo test` the tests of one binary can share a server with [`Cluster::shared`]; nextest
//! runs every test in a process of its own, and then each starts one.

use std::fmt::Write as _;
use std::fs;
use std::io::{ErrorKind, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use tempfile::TempDir;

/// The superuser of every temporary cluster. No password is asked for on the unix socket.
pub(crate) const SUPERUSER: &str = "postgres";

/// How long a server may take to start or to stop before the test fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// Directories of clusters are named `<PREFIX><process id>-<random>`.
const PREFIX: &str = "pgbackupd-test-";

/// How a server differs from the usual one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// Listen on 127.0.0.1 too, on a free port, where every user needs a SCRAM password.
    pub(crate) tcp: bool,
    /// Settings for `postgresql.conf`, values as they would be written between the quotes.
    pub(crate) settings: Vec<(&'static str, String)>,
    /// Files to put into the data directory, owned by the server and closed to others (keys,
    /// certificates): name and content.
    pub(crate) files: Vec<(&'static str, String)>,
    /// Where its directory is made, such as a file system of the test's own; `/tmp` without one. A
    /// socket's path has at most 107 bytes.
    pub(crate) below: Option<PathBuf>,
    /// A system identifier of its own, for which `initdb` runs once more.
    pub(crate) own_identifier: bool,
}

/// A running server. Dropping it kills the server and removes its directory.
pub(crate) struct Cluster {
    directory: TempDir,
    port: u16,
    tcp: bool,
    postmaster: Option<Postmaster>,
}

/// The server's process, and the thread that stays its parent: the kernel kills the server when
/// that thread ends (PDEATHSIG counts threads), which covers a test that is killed with SIGKILL.
struct Postmaster {
    pid: Pid,
    parent: JoinHandle<()>,
}

static SHARED: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());

impl Cluster {
    /// A server that can be reached by its unix socket only.
    pub(crate) fn start() -> Self {
        Self::with(&Options::default())
    }

    /// The server that the tests of this process share. It stops when nobody holds it any more.
    pub(crate) fn shared() -> Arc<Self> {
        let mut slot = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        slot.upgrade().unwrap_or_else(|| {
            let cluster = Arc::new(Self::start());
            *slot = Arc::downgrade(&cluster);
            cluster
        })
    }

    /// A server of this kind.
    pub(crate) fn with(options: &Options) -> Self {
        sweep_leftovers();
        let directory = tempfile::Builder::new()
            .prefix(&format!("{PREFIX}{}-", std::process::id()))
            .tempdir_in(options.below.clone().unwrap_or_else(short_temp_dir))
            .expect("a temporary directory");
        give_to_server(directory.path());
        let mut cluster = Self {
            directory,
            port: 5432,
            tcp: options.tcp,
            postmaster: None,
        };
        cluster.make_data_directory(options.own_identifier);
        cluster.write_configuration(options);
        if !options.tcp {
            cluster
                .launch()
                .unwrap_or_else(|log| panic!("the server does not start:\n{log}"));
            return cluster;
        }
        // Somebody else may take the free port before the server does.
        for _ in 0..5 {
            cluster.port = free_port();
            if cluster.launch().is_ok() {
                return cluster;
            }
        }
        panic!("the server does not start:\n{}", cluster.log());
    }

    /// A standby of a server, which ends at once what keeps it from following.
    pub(crate) fn standby_of(primary: &Self) -> Self {
        let directory = tempfile::Builder::new()
            .prefix(&format!("{PREFIX}{}-", std::process::id()))
            .tempdir_in(short_temp_dir())
            .expect("a temporary directory");
        give_to_server(directory.path());
        let mut standby = Self {
            directory,
            port: primary.port,
            tcp: false,
            postmaster: None,
        };
        let output = as_server_user(&binary("pg_basebackup"))
            .env_clear()
            .envs(primary.environment())
            .args(["-X", "stream", "-R", "-c", "fast", "--no-sync", "-D"])
            .arg(standby.data_directory())
            .output()
            .expect("pg_basebackup");
        assert!(output.status.success(), "{output:?}");
        standby.write_configuration(&Options {
            settings: vec![("max_standby_streaming_delay", "0".to_owned())],
            ..Options::default()
        });
        standby
            .launch()
            .unwrap_or_else(|log| panic!("the standby does not start:\n{log}"));
        standby
    }

    /// Waits until a standby has everything that its primary has.
    pub(crate) fn wait_for_replay(&self, primary: &Self) {
        let at = primary.psql("SELECT pg_switch_wal()");
        let sql = format!("SELECT pg_last_wal_replay_lsn() >= '{at}'");
        wait_until("the standby follows", || self.psql(&sql) == "t");
    }

    /// The directory of the unix socket: what goes into PGHOST.
    pub(crate) fn socket_directory(&self) -> &Path {
        self.directory.path()
    }

    /// The port, of the socket as of TCP.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The data directory.
    pub(crate) fn data_directory(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// The process id of the server.
    pub(crate) fn pid(&self) -> Pid {
        self.postmaster.as_ref().expect("the server is stopped").pid
    }

    /// What the server has written to its log.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// The whole environment with which a client program reaches the server as its superuser: give
    /// it to a command after `env_clear`, or let it replace what the test inherited.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let home = self.directory.path().join("home");
        [
            ("PGHOST", self.socket_directory().display().to_string()),
            ("PGPORT", self.port.to_string()),
            ("PGUSER", SUPERUSER.to_owned()),
            ("PGDATABASE", "postgres".to_owned()),
            (
                "PATH",
                format!("{}:/usr/local/bin:/usr/bin:/bin", binaries().display()),
            ),
            ("HOME", home.display().to_string()), // without a ~/.pgpass, whoever runs the test
            ("LC_ALL", "C.UTF-8".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }

    /// One of `PostgreSQL`'s own programs, with the environment that reaches this server.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(binary(program));
        command
            .env_clear()
            .envs(self.environment())
            .stdin(Stdio::null());
        command
    }

    /// Runs SQL in the database `postgres`; see [`psql_in`](Self::psql_in).
    pub(crate) fn psql(&self, sql: &str) -> String {
        self.psql_in("postgres", sql)
    }

    /// Runs SQL as the superuser and returns what it selects: columns separated by `|`, rows by
    /// newlines, none at the end. The text goes and comes as UTF-8, whatever the database's
    /// encoding. The first error of the server fails the test.
    pub(crate) fn psql_in(&self, database: &str, sql: &str) -> String {
        let mut child = self
            .command("psql")
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f", "-"])
            .env("PGDATABASE", database)
            .env("PGCLIENTENCODING", "UTF8")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("psql");
        let mut stdin = child.stdin.take().expect("a pipe");
        let sql = sql.to_owned();
        // In a thread of its own, because psql may answer before it has read everything.
        let writer = thread::spawn(move || {
            // psql that stopped at an error closes the pipe; its exit status tells.
            drop(stdin.write_all(sql.as_bytes()));
        });
        let output = child.wait_with_output().expect("psql's output");
        writer.join().expect("the writer");
        assert!(
            output.status.success(),
            "psql failed in {database:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        if text.ends_with('\n') {
            text.pop();
        }
        text
    }

    /// Whether the server can speak German; where it cannot, the test says that it is skipped.
    pub(crate) fn speaks_german(&self) -> bool {
        let mut asking = self.command("psql");
        let asking = asking.args(["-X", "-c", "SET lc_messages = 'de_DE.UTF-8'; SELECT 1/0"]);
        let answer = asking.output().expect("psql");
        let speaks = String::from_utf8_lossy(&answer.stderr).contains("FEHLER:");
        if !speaks {
            println!("skipped: the locale de_DE.UTF-8 is not installed");
        }
        speaks
    }

    /// Creates a database, whatever its name.
    pub(crate) fn create_database(&self, name: &str) {
        self.psql(&format!(
            "CREATE DATABASE \"{}\"",
            name.replace('"', "\"\"")
        ));
    }

    /// Replaces the rules of who may log in (`pg_hba.conf`).
    pub(crate) fn set_hba(&self, rules: &str) {
        fs::write(self.data_directory().join("pg_hba.conf"), rules).expect("pg_hba.conf");
        if let Some(postmaster) = &self.postmaster {
            let log_before = self.log().len();
            rustix::process::kill_process(postmaster.pid, Signal::HUP).expect("SIGHUP");
            wait_until("the server reloads", || {
                self.log()[log_before..].contains("reloading configuration files")
            });
        }
    }

    /// Stops the server at once; every connection to it breaks. The data stays.
    pub(crate) fn stop(&mut self) {
        if let Some(postmaster) = self.postmaster.take() {
            // A server that has died already cannot be signalled; its parent has seen it end.
            rustix::process::kill_process(postmaster.pid, Signal::QUIT).ok();
            postmaster
                .parent
                .join()
                .expect("the server's parent thread");
        }
    }

    /// Starts the server again after [`stop`](Self::stop).
    pub(crate) fn restart(&mut self) {
        self.stop();
        self.launch()
            .unwrap_or_else(|log| panic!("the server does not start again:\n{log}"));
    }

    fn make_data_directory(&self, own_identifier: bool) {
        let data = self.data_directory();
        let template = template_directory();
        if !own_identifier && template.join("PG_VERSION").exists() {
            copy_tree(&template, &data);
            return;
        }
        let output = as_server_user(&binary("initdb"))
            .args([
                "--username",
                SUPERUSER,
                "--encoding=UTF8",
                "--locale=C.UTF-8",
            ])
            .args(["--auth-local=trust", "--auth-host=scram-sha-256"])
            .args(["--no-sync", "--wal-segsize=1", "--pgdata"])
            .arg(&data)
            .output()
            .expect("initdb");
        assert!(
            output.status.success(),
            "initdb failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        if own_identifier {
            return;
        }
        let own_name = self.directory.path().file_name().expect("a name");
        let unfinished = template.with_file_name(own_name);
        copy_tree(&data, &unfinished);
        if fs::rename(&unfinished, &template).is_err() {
            // Another test was faster.
            fs::remove_dir_all(&unfinished).expect("the surplus template");
        }
    }

    fn write_configuration(&self, options: &Options) {
        let data = self.data_directory();
        for (name, content) in &options.files {
            let path = data.join(name);
            fs::write(&path, content).expect("a file in the data directory");
            rustix::fs::chmod(&path, 0o600.into()).expect("chmod");
            give_to_server(&path);
        }
        let mut lines = String::from(
            "fsync = off\nsynchronous_commit = off\nfull_page_writes = off\n\
             max_wal_size = 64MB\nshared_buffers = 16MB\nmax_connections = 40\n\
             autovacuum = off\nlog_line_prefix = '%m [%p] %q%u@%d '\n",
        );
        for (name, value) in &options.settings {
            writeln!(lines, "{name} = '{}'", value.replace('\'', "''")).expect("a line");
        }
        let mut file = fs::OpenOptions::new()
            .append(true)
            .open(data.join("postgresql.conf"))
            .expect("postgresql.conf");
        file.write_all(lines.as_bytes()).expect("postgresql.conf");
    }

    /// Starts the server and waits until it accepts connections; the log when it does not.
    fn launch(&mut self) -> Result<(), String> {
        let data = self.data_directory();
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.directory.path().join("log"))
            .expect("the server's log");
        let mut command = as_server_user(&binary("postgres"));
        command
            .arg("-D")
            .arg(&data)
            .args(["-p", &self.port.to_string(), "-c"])
            .arg(format!(
                "unix_socket_directories={}",
                self.socket_directory().display()
            ))
            .arg("-c")
            .arg(format!(
                "listen_addresses={}",
                if self.tcp { "127.0.0.1" } else { "" }
            ))
            .stdout(log.try_clone().expect("the server's log"))
            .stderr(log);
        let (started, pid) = mpsc::channel();
        let parent = thread::spawn(move || {
            let mut child = command.spawn().expect("postgres");
            started
                .send(Pid::from_child(&child))
                .expect("a waiting test");
            child.wait().expect("postgres");
        });
        let pid = pid.recv().expect("postgres was not spawned");
        let status_file = data.join("postmaster.pid");
        let deadline = Instant::now() + PATIENCE;
        loop {
            // The eighth line of postmaster.pid is what pg_ctl waits for as well.
            let ready = fs::read_to_string(&status_file).is_ok_and(|text| {
                text.lines()
                    .nth(7)
                    .is_some_and(|word| word.trim() == "ready")
            });
            if ready {
                self.postmaster = Some(Postmaster { pid, parent });
                return Ok(());
            }
            if parent.is_finished() || Instant::now() > deadline {
                rustix::process::kill_process(pid, Signal::KILL).ok();
                parent.join().ok();
                return Err(self.log());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Waits until the server has ended what it still did for programs of ours that were killed: a session
/// notices only between two statements that nobody is there any more.
pub(crate) fn wait_until_no_session_is_left(cluster: &Cluster) {
    wait_until("no session is left", || {
        cluster
            .psql("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'pgbackupd%'")
            == "0"
    });
}

/// Waits for a condition, and fails the test when it does not come true within two minutes.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "gave up waiting until {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The directory of `PostgreSQL`'s own programs: `PGBACKUPD_TEST_POSTGRES`, or the newest version
/// that is installed.
pub(crate) fn binaries() -> PathBuf {
    if let Some(directory) = std::env::var_os("PGBACKUPD_TEST_POSTGRES") {
        return directory.into();
    }
    let version = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    fs::read_dir("/usr/lib/postgresql")
        .expect("PostgreSQL's server programs: set PGBACKUPD_TEST_POSTGRES to their directory")
        .map(|entry| entry.expect("/usr/lib/postgresql").path())
        .filter(|path| path.join("bin/initdb").exists())
        .max_by_key(|path| version(path))
        .expect("a server in /usr/lib/postgresql: set PGBACKUPD_TEST_POSTGRES")
        .join("bin")
}

/// One of `PostgreSQL`'s own programs.
pub(crate) fn binary(name: &str) -> PathBuf {
    binaries().join(name)
}

/// A port of 127.0.0.1 that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// The user that the server runs as, when it cannot run as the one who runs the test.
fn server_user() -> Option<&'static uzers::User> {
    static USER: std::sync::OnceLock<Option<uzers::User>> = std::sync::OnceLock::new();
    USER.get_or_init(|| {
        rustix::process::geteuid().is_root().then(|| {
            uzers::get_user_by_name("postgres")
                .or_else(|| uzers::get_user_by_name("nobody"))
                .expect("a user `postgres` or `nobody` to run the server")
        })
    })
    .as_ref()
}

/// A server program, run by the server's user, killed when the thread that spawned it ends.
fn as_server_user(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    if let Some(user) = server_user() {
        command.arg(format!("--reuid={}", user.uid()));
        command.arg(format!("--regid={}", user.primary_group_id()));
        command.arg("--clear-groups");
    }
    command.args(["--pdeathsig", "QUIT", "--"]).arg(program);
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("LC_ALL", "C.UTF-8")
        .env("TZ", "UTC");
    command.stdin(Stdio::null()).current_dir("/");
    command
}

fn give_to_server(path: &Path) {
    if let Some(user) = server_user() {
        chown(path, Some(user.uid()), Some(user.primary_group_id())).expect("chown");
    }
}

/// Where the data directory that `initdb` made is kept for the servers to come: one for each
/// installation and user.
fn template_directory() -> PathBuf {
    let installed = fs::metadata(binary("postgres")).expect("postgres");
    let user = rustix::process::geteuid().as_raw();
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!(
        "cluster-{}-{}-{user}",
        installed.ino(),
        installed.mtime()
    ))
}

/// Copies a directory with owners and modes; sparse and shared blocks where the disk can.
fn copy_tree(from: &Path, to: &Path) {
    let status = Command::new("cp")
        .args(["--archive", "--reflink=auto", "--no-target-directory", "--"])
        .args([from, to])
        .status()
        .expect("cp");
    assert!(status.success(), "cp of {} failed", from.display());
}

/// The directory for temporary files, or `/tmp` where the socket of a server below it might have a longer
/// address than there can be.
pub(crate) fn short_temp_dir() -> PathBuf {
    let directory = std::env::temp_dir();
    if directory.as_os_str().len() <= "/dev/shm".len() {
        directory
    } else {
        PathBuf::from("/tmp")
    }
}

/// Removes what tests that were killed have left behind.
fn sweep_leftovers() {
    for entry in fs::read_dir(short_temp_dir())
        .expect("the temporary directory")
        .flatten()
    {
        let name = entry.file_name();
        let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else {
            continue;
        };
        let owner = rest
            .split('-')
            .next()
            .and_then(|pid| pid.parse().ok())
            .and_then(Pid::from_raw);
        let alive = owner.is_none_or(|pid| {
            // A process of another user exists, but may not be signalled.
            !matches!(
                rustix::process::test_kill_process(pid),
                Err(rustix::io::Errno::SRCH)
            )
        });
        if alive {
            continue;
        }
        if let Err(error) = fs::remove_dir_all(entry.path()) {
            // Another test may sweep it at the same time, or it belongs to another user.
            assert!(
                matches!(
                    error.kind(),
                    ErrorKind::NotFound | ErrorKind::PermissionDenied
                ),
                "cannot remove {}: {error}",
                entry.path().display()
            );
        }
    }
}
