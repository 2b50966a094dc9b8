//! The operator's side of a test: a configuration, a directory for backups, and the program itself,
//! run as somebody would run it by hand.
//!
//! ```ignore
//! let cluster = Cluster::start();
//! let mut operator = Operator::of(&cluster, "postgres");
//! operator.set("dump.format", "custom");
//! let output = operator.run(&["backup"]);
//! assert_eq!(output.code, 0, "{output}");
//! assert_eq!(operator.list().len(), 1);
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal};
use serde_json::Value;
use tempfile::TempDir;

use super::cluster::{Cluster, SUPERUSER, binary, wait_until};
pub(crate) use super::held_lock::{HeldLock, make_big_table};
pub(crate) use super::running::{Output, Running};

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_pgbackupd");

/// Files in a database's directory that are no part of a backup.
const LEDGERS: [&str; 2] = ["backup.log", "restore.log"];

/// Somebody with a configuration and an empty directory for backups. Everything is below one
/// temporary directory, which goes away with the value.
pub(crate) struct Operator {
    directory: TempDir,
    database: String,
    settings: BTreeMap<String, Value>,
    environment: BTreeMap<String, String>,
}

/// What stands in a database's directory, for comparisons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    list: Vec<String>,
    artifacts: BTreeSet<String>,
}

/// The user who runs the servers of tests that root runs.
pub(crate) fn server_user() -> uzers::User {
    uzers::get_user_by_name("postgres")
        .or_else(|| uzers::get_user_by_name("nobody"))
        .expect("a user for the server")
}

/// A server with a table, and an operator who has made a backup of it.
pub(crate) fn with_a_backup() -> (Cluster, Operator) {
    let cluster = Cluster::start();
    cluster.psql("CREATE TABLE t AS SELECT i FROM generate_series(1, 1000) AS i");
    let operator = Operator::of(&cluster, "postgres");
    operator.assert_next_run_succeeds();
    (cluster, operator)
}

impl Operator {
    /// Somebody who backs up one database of this server, reached by its unix socket as its
    /// superuser.
    pub(crate) fn of(cluster: &Cluster, database: &str) -> Self {
        let mut operator = Self::without_server(database);
        operator.set("connection.host", cluster.socket_directory().display());
        operator.set_value("connection.port", cluster.port());
        operator.set("connection.user", SUPERUSER);
        operator
    }

    /// Somebody whose configuration does not say where the server is.
    pub(crate) fn without_server(database: &str) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("pgbackupd-operator-")
            .tempdir()
            .expect("a temporary directory");
        let home = directory.path().display().to_string();
        let mut operator = Self {
            database: database.to_owned(),
            settings: BTreeMap::new(),
            environment: [
                ("PATH", "/usr/local/bin:/usr/bin:/bin"),
                ("HOME", &home),
                ("LC_ALL", "C.UTF-8"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
            directory,
        };
        // Where the test itself has another date (packaging/test-dates), the program has it too.
        for name in ["LD_PRELOAD", "FAKETIME", "FAKETIME_DONT_FAKE_MONOTONIC"] {
            if let Ok(value) = std::env::var(name) {
                operator.set_variable(name, value);
            }
        }
        operator.set("database", database);
        operator.set("directory", operator.path("backups").display());
        // Not the machine's own, if it has one; it is not made, so that nothing is remembered there.
        operator.set("daemon.state_directory", operator.path("state").display());
        // Directories are as old as the kernel says, and by that date every test restore is missing.
        if std::env::var_os("FAKETIME").is_some() {
            operator.set("objectives.drill_age", "10 years");
        }
        // Tests of the daemon count its runs.
        operator.set_value("drill.definitions", false);
        // A small disk under the tests is no fault of the run.
        operator.set("limits.free_space", "1 B");
        operator
    }

    /// A path in the operator's own directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Configures something, by its key with dots: `limits.dump`. Text, as it would stand between
    /// quotes.
    pub(crate) fn set(&mut self, key: &str, value: impl fmt::Display) {
        self.set_value(key, value.to_string());
    }

    /// Configures something that is no text: a number, a truth, a list.
    pub(crate) fn set_value(&mut self, key: &str, value: impl Into<Value>) {
        self.settings.insert(key.to_owned(), value.into());
        self.write_configuration();
    }

    /// Takes a setting out of the configuration.
    pub(crate) fn unset(&mut self, key: &str) {
        self.settings
            .remove(key)
            .unwrap_or_else(|| panic!("{key} is not set"));
        self.write_configuration();
    }

    /// Sets a variable for the program.
    pub(crate) fn set_variable(&mut self, name: &str, value: impl fmt::Display) {
        self.environment.insert(name.to_owned(), value.to_string());
    }

    /// Takes a variable out of the environment.
    pub(crate) fn unset_variable(&mut self, name: &str) {
        self.environment.remove(name);
    }

    fn write_configuration(&self) {
        let mut text = String::new();
        for (key, value) in &self.settings {
            writeln!(text, "{key} = {}", in_toml(value)).expect("a line");
        }
        fs::write(self.configuration(), text).expect("the configuration");
        // The kernel's clock is another one than a faked one, and nothing is overdue before the
        // configuration asks for it.
        fs::File::open(self.configuration())
            .and_then(|file| file.set_modified(std::time::SystemTime::now()))
            .expect("the time of the configuration");
        rustix::fs::chmod(self.configuration(), 0o600.into()).expect("chmod");
    }

    /// The configuration's file.
    pub(crate) fn configuration(&self) -> PathBuf {
        self.path("pgbackupd.toml")
    }

    /// Lets a program of `PostgreSQL`'s be played by a script, for `bash`; the other programs are
    /// the real ones. In the script `"$real"` is the real program, and `$directory` the operator's
    /// directory. Whoever asks for the version gets the real one's, unless the script begins with
    /// `#version` and answers itself.
    pub(crate) fn stand_in(&mut self, program: &str, script: &str) {
        let programs = self.path("programs");
        fs::create_dir_all(&programs).expect("a directory for programs");
        for name in ["pg_dump", "pg_dumpall", "pg_restore", "psql"] {
            // An earlier stand-in stays.
            if fs::symlink_metadata(programs.join(name)).is_err() {
                symlink(binary(name), programs.join(name)).expect("a link to a program");
            }
        }
        let own_version = script.starts_with("#version");
        let version = if own_version {
            ""
        } else {
            "[ \"$1\" = --version ] && exec \"$real\" --version\n"
        };
        let path = programs.join(program);
        fs::remove_file(&path).expect("the program that is played");
        let real = binary(program);
        let text = format!(
            "#!/bin/bash\nreal='{}'\ndirectory='{}'\n{version}{script}\n",
            real.display(),
            self.directory.path().display(),
        );
        // Written by another process: a script that some thread of ours holds open for writing
        // while another one forks cannot be run ("Text file busy").
        let mut tee = Command::new("tee")
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("tee");
        let mut stdin = tee.stdin.take().expect("a pipe");
        stdin.write_all(text.as_bytes()).expect("the script");
        drop(stdin);
        assert!(tee.wait().expect("tee").success());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod");
        self.set("programs", programs.display());
    }

    /// Ends all stand-ins: the real programs are back.
    pub(crate) fn send_stand_ins_home(&mut self) {
        fs::remove_dir_all(self.path("programs")).expect("the directory for programs");
        self.unset("programs");
    }

    /// The program with this configuration, a clean environment and no stdin.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.command_under(&[], arguments)
    }

    /// The same, started by another program: `["strace", "-f", …]`.
    pub(crate) fn command_under(&self, starter: &[&str], arguments: &[&str]) -> Command {
        let mut words: Vec<&str> = starter.to_vec();
        words.push(PROGRAM);
        words.extend(arguments);
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .env_clear()
            .envs(&self.environment)
            .env("PGBACKUPD_CONFIG", self.configuration())
            .current_dir(self.directory.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs a command at a terminal, and types a line when it asks.
    pub(crate) fn run_at_a_terminal(&self, arguments: &[&str], line: &str) -> Output {
        self.run_under_at_a_terminal(&[], arguments, line)
    }

    /// The same under another program.
    pub(crate) fn run_under_at_a_terminal(
        &self,
        starter: &[&str],
        arguments: &[&str],
        line: &str,
    ) -> Output {
        let configuration = self.configuration().display().to_string();
        let mut words = starter.to_vec();
        words.push(PROGRAM);
        words.extend(arguments);
        let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
        let mut command = Command::new("bash");
        command
            .args([
                "-c",
                "(sleep 0.5; printf '%s\\n' \"$1\"; sleep 3) | script -qec \"$2\" /dev/null",
                "bash",
                line,
            ])
            .arg(quoted.join(" "))
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.path(""))
            .env("PGBACKUPD_CONFIG", &configuration)
            .stdin(Stdio::null());
        Running::start(command).wait()
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.spawn(arguments).wait()
    }

    /// Starts the program.
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Running {
        Running::start(self.command(arguments))
    }

    /// Runs a command that the program has printed, as somebody would who pastes it into a shell.
    pub(crate) fn paste(&self, printed: &str) -> Output {
        let ours = self.command(&[]);
        let mut shell = Command::new("bash");
        let script = format!("pgbackupd() {{ '{PROGRAM}' \"$@\"; }}; {printed}");
        let environment = ours.get_envs();
        shell
            .args(["-c", &script])
            .env_clear()
            .envs(environment.filter_map(|(name, value)| Some((name, value?))))
            .current_dir(self.path("."))
            .stdin(Stdio::null());
        Running::start(shell).wait()
    }

    /// Runs the program as the user who runs the server, which takes root. The operator's directory
    /// is opened to all, and the configuration is that user's from now on.
    pub(crate) fn run_as_server_user(&self, arguments: &[&str]) -> Output {
        let user = server_user();
        // The program may stand where only root comes.
        let program = self.path("pgbackupd");
        if !program.exists() {
            fs::copy(PROGRAM, &program).expect("a copy of the program");
        }
        let everybody = fs::Permissions::from_mode(0o755);
        fs::set_permissions(self.path("."), everybody).expect("chmod");
        chown(self.configuration(), Some(user.uid()), None).expect("chown");
        let ours = self.command(arguments);
        let mut command = Command::new("setpriv");
        command
            .arg(format!("--reuid={}", user.uid()))
            .arg(format!("--regid={}", user.primary_group_id()))
            .args(["--clear-groups", "--"])
            .arg(program)
            .args(ours.get_args())
            .env_clear()
            .envs(
                ours.get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            )
            .current_dir("/");
        Running::start(command).wait()
    }

    /// Runs the program under another one to its end.
    pub(crate) fn run_under(&self, starter: &[&str], arguments: &[&str]) -> Output {
        Running::start(self.command_under(starter, arguments)).wait()
    }

    /// Makes a backup, which has to succeed, and gives its name.
    #[track_caller]
    pub(crate) fn back_up(&self) -> String {
        let made = self.json(&["backup"]);
        made[0]["backup"].as_str().expect("its name").to_owned()
    }

    /// Runs the program with `--json`, expects success, and reads what it printed.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--json"]].concat());
        assert_eq!(output.code, 0, "{arguments:?}: {output}");
        serde_json::from_str(&output.stdout).expect("JSON")
    }

    /// The names of the backups that `list` shows, oldest first.
    pub(crate) fn list(&self) -> Vec<String> {
        let listed = self.json(&["list"]);
        let databases = listed.as_array().expect("a list of databases").iter();
        databases
            .flat_map(|database| database["backups"].as_array().expect("a list of backups"))
            .map(|backup| backup["name"].as_str().expect("a name").to_owned())
            .collect()
    }

    /// The directory of the database's backups; it is made by the first run.
    pub(crate) fn backups(&self) -> PathBuf {
        let listed = self.json(&["list"]);
        let databases = listed.as_array().expect("a list of databases");
        let ours = databases
            .iter()
            .find(|listed| listed["database"] == *self.database);
        let directory = &ours.expect("our database")["directory"];
        directory.as_str().expect("a directory").into()
    }

    /// Every file under a backup's name: all but the hidden ones and the ledgers.
    pub(crate) fn artifacts(&self) -> BTreeSet<String> {
        let mut names = names_in(&self.backups());
        names.retain(|name| !name.starts_with('.') && !LEDGERS.contains(&name.as_str()));
        names
    }

    /// Every temporary file.
    pub(crate) fn temporaries(&self) -> BTreeSet<String> {
        let mut names = names_in(&self.backups());
        names.retain(|name| name.starts_with(".pgbackupd-"));
        names
    }

    /// The ledger's records, oldest first; every line has to be one.
    pub(crate) fn ledger(&self) -> Vec<Value> {
        records(&self.backups().join("backup.log"))
    }

    /// The last record of the ledger: null when there is none.
    pub(crate) fn last_record(&self) -> Value {
        self.ledger().pop().unwrap_or_default()
    }

    /// The records of the ledger of restores, oldest first; every line has to be one.
    pub(crate) fn restore_log(&self) -> Vec<Value> {
        records(&self.backups().join("restore.log"))
    }

    /// What stands now.
    pub(crate) fn standing(&self) -> Standing {
        Standing {
            list: self.list(),
            artifacts: self.artifacts(),
        }
    }

    /// No backup, nothing under a backup's name, nothing temporary, and no process.
    #[track_caller]
    pub(crate) fn assert_nothing_left(&self) {
        self.assert_nothing_new(&Standing {
            list: Vec::new(),
            artifacts: BTreeSet::new(),
        });
    }

    /// No more than stood before, nothing temporary, and no process.
    #[track_caller]
    pub(crate) fn assert_nothing_new(&self, before: &Standing) {
        assert_eq!(self.standing(), *before);
        assert_eq!(self.temporaries(), BTreeSet::new());
        self.assert_no_processes();
    }

    /// No program that a run has started still runs.
    #[track_caller]
    pub(crate) fn assert_no_processes(&self) {
        // A killed orphan is gone only when the kernel and init are done with it.
        wait_until(
            &format!("none of {:?} runs any more", self.processes()),
            || self.processes().is_empty(),
        );
    }

    /// Runs a backup that has to succeed, with nothing temporary left, one backup more than
    /// before, and each of them whole.
    #[track_caller]
    pub(crate) fn assert_next_run_succeeds(&self) {
        let before = self.list();
        self.back_up();
        let after = self.list();
        assert!(
            after.len() > before.len() && before.iter().all(|name| after.contains(name)),
            "{before:?}, then {after:?}"
        );
        assert_eq!(self.temporaries(), BTreeSet::new());
        let record = self.last_record();
        assert_eq!(record["event"], "succeeded");
        let listed = self.json(&["list"]);
        let backups = listed[0]["backups"].as_array().expect("a list of backups");
        let made = backups.iter().find(|made| made["name"] == record["backup"]);
        assert_eq!(made.expect("the backup")["bytes"], record["bytes"]);
        self.assert_all_whole();
        self.assert_no_processes();
    }

    /// Every backup is whole, every file belongs to one.
    #[track_caller]
    pub(crate) fn assert_all_whole(&self) {
        let output = self.run(&["verify", "--all", "--json"]);
        assert_eq!(output.code, 0, "{output}");
        let verified: Value = serde_json::from_str(&output.stdout).expect("JSON");
        for database in verified.as_array().expect("a list of databases") {
            assert_eq!(database["problems"], Value::Array(Vec::new()));
        }
    }

    /// The processes that a run has started, each with its name, whether the run still lives or
    /// not.
    pub(crate) fn processes(&self) -> BTreeMap<i32, String> {
        let home = format!("HOME={}\0", self.directory.path().display());
        let mut found = BTreeMap::new();
        for entry in fs::read_dir("/proc").expect("/proc").flatten() {
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            let read = |file: &str| fs::read(entry.path().join(file)).unwrap_or_default();
            // Only what a run starts has an application's name; all of it has our home.
            let environment = read("environ");
            let environment = String::from_utf8_lossy(&environment);
            if environment.contains("PGAPPNAME=pgbackupd ") && environment.contains(&home) {
                let name = String::from_utf8_lossy(&read("comm")).trim().to_owned();
                found.insert(pid, name);
            }
        }
        found
    }

    /// Waits until a run has started this program, and gives its process.
    pub(crate) fn wait_for_process(&self, name: &str) -> Pid {
        let mut pid = None;
        wait_until(&format!("{name} runs"), || {
            let processes = self.processes();
            pid = processes
                .iter()
                .find(|(_, found)| *found == name)
                .map(|(pid, _)| *pid);
            pid.is_some()
        });
        pid.and_then(Pid::from_raw).expect("a process")
    }

    /// Starts a backup and halts the program itself while `pg_dump` is in the middle of copying
    /// the table: its pipe is full, the end is far. Goes on with SIGCONT.
    pub(crate) fn halted_midway(&self, cluster: &Cluster, table: &str) -> (Running, Pid) {
        self.halted_midway_behind(HeldLock::on(cluster, &self.database, table), cluster)
    }

    /// The same by a lock that somebody holds already, on the server or on its primary.
    pub(crate) fn halted_midway_behind(
        &self,
        lock: HeldLock<'_>,
        cluster: &Cluster,
    ) -> (Running, Pid) {
        let running = self.spawn(&["backup"]);
        // Not before: pg_dumpall asks pg_dump for its version.
        wait_until("pg_dump waits for the lock", || {
            cluster.psql(
                "SELECT count(*) FROM pg_stat_activity \
                 WHERE application_name LIKE 'pgbackupd %' AND wait_event_type = 'Lock'",
            ) == "1"
        });
        let pg_dump = self.wait_for_process("pg_dump");
        running.signal(Signal::STOP);
        drop(lock);
        wait_until("pg_dump waits in the middle of the table", || {
            cluster.psql(
                "SELECT count(*) FROM pg_stat_activity \
                 WHERE application_name LIKE 'pgbackupd %' AND query LIKE 'COPY %' \
                   AND state = 'active' AND wait_event = 'ClientWrite'",
            ) == "1"
        });
        (running, pg_dump)
    }
}

/// Waits until another second is in the names that are made now: of backups, and of databases next to
/// one that is restored.
pub(crate) fn wait_for_the_next_second() {
    std::thread::sleep(std::time::Duration::from_millis(1050));
}

/// A value as TOML has it, on one line. JSON's texts, numbers and lists are TOML's too, but for a
/// character that TOML wants escaped; a table is not.
fn in_toml(value: &Value) -> String {
    match value {
        Value::Array(values) => {
            let values: Vec<String> = values.iter().map(in_toml).collect();
            format!("[{}]", values.join(", "))
        }
        Value::Object(members) => {
            let members: Vec<String> = members
                .iter()
                .map(|(key, value)| format!("{key} = {}", in_toml(value)))
                .collect();
            format!("{{ {} }}", members.join(", "))
        }
        value => value.to_string().replace('\u{7f}', "\\u007f"),
    }
}

/// The records of a ledger; none where it is not there yet.
fn records(ledger: &Path) -> Vec<Value> {
    let text = fs::read_to_string(ledger).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str(line).expect("a record of the ledger"))
        .collect()
}

fn names_in(directory: &Path) -> BTreeSet<String> {
    let Ok(entries) = fs::read_dir(directory) else {
        return BTreeSet::new();
    };
    entries
        .map(|entry| entry.expect("an entry").file_name())
        .map(|name| name.into_string().expect("UTF-8"))
        .collect()
}

/// The exit code of `status` for what its JSON says.
pub(crate) fn code_of_status(status: &Value) -> i32 {
    let attention = status["attention"].as_array().expect("a list");
    let severities = attention.iter().map(|one| match one["severity"].as_str() {
        Some("critical") => 2,
        Some("warning") => 1,
        other => panic!("{other:?}"),
    });
    severities.max().unwrap_or(0)
}
