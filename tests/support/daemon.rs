//! `pgbackupd daemon` as a test runs it: what it logs and what it tells the service manager are
//! kept, and its wall clock can be set while it runs.
//!
//! ```ignore
//! let clock = WallClock::at(&operator, "2025-03-30T00:59:57Z");
//! let daemon = Daemon::with(&operator, &Circumstances { clock: Some(&clock), ..usual() });
//! daemon.wait_for("succeeded");
//! clock.set("2025-04-01T00:00:00Z");
//! assert_eq!(daemon.end().code, 0);
//! ```

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde_json::Value;

use super::clock::WallClock;
use super::cluster::Cluster;
use super::operator::Operator;

/// How long anything may take before the test fails: the clock is looked at every ten seconds, and
/// the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// The jobs of the default configuration.
const JOBS: [&str; 6] = [
    "daily",
    "weekly",
    "verify",
    "verify_copies",
    "drill",
    "prune",
];

/// How a daemon is started.
#[derive(Clone, Copy, Default)]
pub(crate) struct DaemonOptions<'a> {
    /// Its wall clock; the machine's without one.
    pub(crate) clock: Option<&'a WallClock>,
    /// Whether a service manager listens.
    pub(crate) is_service: bool,
    /// How often the service manager's watchdog wants to hear from it.
    pub(crate) watchdog: Option<Duration>,
}

/// A running daemon. Dropping it kills it.
pub(crate) struct Daemon {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
    service_manager: Option<ServiceManager>,
}

/// How a daemon ended, and all that it logged.
#[derive(Debug)]
pub(crate) struct End {
    /// The exit code, or 128 and the number of the signal that killed it.
    pub(crate) code: i32,
    /// All lines.
    pub(crate) log: String,
}

/// The receiving end of `sd_notify(3)`.
struct ServiceManager {
    notifications: Arc<Mutex<Vec<String>>>,
}

/// Configures a daemon of one job `daily` on this schedule, in this zone, that makes up for missed
/// runs at once. All other jobs are off.
pub(crate) fn only_daily(operator: &mut Operator, zone: &str, schedule: &str) {
    operator.set("timezone", zone);
    operator.set(
        "daemon.runtime_directory",
        operator.path("runtime").display(),
    );
    operator.set("daemon.state_directory", operator.path("state").display());
    operator.set("daemon.catch_up_delay", "0 seconds");
    for job in JOBS {
        operator.set_value(&format!("jobs.{job}.enabled"), job == "daily");
    }
    operator.set("jobs.daily.schedule", schedule);
}

impl Daemon {
    /// Starts it, and waits until it is ready.
    pub(crate) fn start(operator: &Operator) -> Self {
        Self::with(operator, DaemonOptions::default())
    }

    /// Starts it under this wall clock, and waits until it is ready.
    #[track_caller]
    pub(crate) fn under(operator: &Operator, clock: &WallClock) -> Self {
        Self::with(
            operator,
            DaemonOptions {
                clock: Some(clock),
                ..DaemonOptions::default()
            },
        )
    }

    /// Starts it in these circumstances, and waits until it is ready.
    #[track_caller]
    pub(crate) fn with(operator: &Operator, options: DaemonOptions<'_>) -> Self {
        let daemon = Self::launch(operator, options);
        daemon.wait_for(" ready: ");
        daemon
    }

    /// Starts it in these circumstances.
    pub(crate) fn launch(operator: &Operator, options: DaemonOptions<'_>) -> Self {
        let mut command = operator.command(&["daemon"]);
        if let Some(clock) = options.clock {
            clock.give_to(&mut command);
        }
        if let Some(period) = options.watchdog {
            command.env("WATCHDOG_USEC", period.as_micros().to_string());
        }
        let service_manager = options.is_service.then(|| {
            let socket = operator.path("notify");
            fs::remove_file(&socket).ok();
            command.env("NOTIFY_SOCKET", &socket);
            ServiceManager::at(&socket)
        });
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the daemon");
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let kept = Arc::clone(&log);
        let reader = thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                lock(&kept).push(line);
            }
        });
        Self {
            child,
            log,
            reader: Some(reader),
            service_manager,
        }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Sends a signal to it.
    pub(crate) fn signal(&self, signal: Signal) {
        rustix::process::kill_process(self.pid(), signal).expect("a running daemon");
    }

    /// All that it has logged so far.
    pub(crate) fn log(&self) -> String {
        lock(&self.log).join("\n")
    }

    /// How many lines have this text.
    pub(crate) fn count(&self, text: &str) -> usize {
        let log = lock(&self.log);
        log.iter().filter(|line| line.contains(text)).count()
    }

    /// Waits for a line with this text, and gives it.
    #[track_caller]
    pub(crate) fn wait_for(&self, text: &str) -> String {
        self.wait_for_nth(text, 1)
    }

    /// Waits for so many lines with this text, and gives the last of them.
    #[track_caller]
    pub(crate) fn wait_for_nth(&self, text: &str, nth: usize) -> String {
        let found = wait(|| {
            let log = lock(&self.log);
            let mut lines = log.iter().filter(|line| line.contains(text));
            lines.nth(nth - 1).cloned()
        });
        found.unwrap_or_else(|| {
            panic!(
                "gave up waiting for {nth} × {text:?} in the log:\n{}",
                self.log()
            )
        })
    }

    /// All messages to the service manager so far, one line each.
    pub(crate) fn notifications(&self) -> Vec<String> {
        let manager = self.service_manager.as_ref().expect("a service manager");
        lock(&manager.notifications).clone()
    }

    /// Waits for so many messages to the service manager that begin with this, and gives the last
    /// of them.
    #[track_caller]
    pub(crate) fn wait_for_notification(&self, start: &str, nth: usize) -> String {
        let found = wait(|| {
            let told = self.notifications();
            let mut found = told.iter().filter(|message| message.starts_with(start));
            found.nth(nth - 1).cloned()
        });
        found.unwrap_or_else(|| {
            panic!(
                "gave up waiting for {nth} × {start:?} in {:#?}\n{}",
                self.notifications(),
                self.log()
            )
        })
    }

    /// Ends it with SIGTERM, as systemd does.
    pub(crate) fn end(self) -> End {
        self.end_by(Signal::TERM)
    }

    /// Ends it with this signal.
    pub(crate) fn end_by(self, signal: Signal) -> End {
        self.signal(signal);
        self.wait()
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait(mut self) -> End {
        let status = wait(|| self.child.try_wait().expect("the daemon"));
        let status = status.unwrap_or_else(|| panic!("it does not end:\n{}", self.log()));
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the reader of the log");
        }
        End {
            code: status
                .code()
                .unwrap_or_else(|| 128 + status.signal().expect("a signal")),
            log: self.log(),
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        // What libfaketime shares with children is left behind by a process that is killed.
        let pid = self.child.id();
        for name in [
            format!("faketime_shm_{pid}"),
            format!("sem.faketime_sem_{pid}"),
        ] {
            fs::remove_file(Path::new("/dev/shm").join(name)).ok();
        }
    }
}

impl ServiceManager {
    fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).expect("the socket");
        let told = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&told);
        // It listens until the test ends; the daemon's end is not heard on a datagram socket.
        thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(length) = socket.recv(&mut buffer) {
                let message = String::from_utf8_lossy(&buffer[..length]);
                lock(&kept).push(message.trim_end().replace('\n', " "));
            }
        });
        Self {
            notifications: told,
        }
    }
}

/// The state that the daemon shows in its runtime directory; null when there is none.
pub(crate) fn state(operator: &Operator) -> Value {
    match fs::read(operator.path("runtime/daemon.json")) {
        Ok(state) => serde_json::from_slice(&state).expect("JSON"),
        Err(_) => Value::Null,
    }
}

/// When the daemon's job is due next, as its state has it.
pub(crate) fn next(operator: &Operator, job: &str) -> Value {
    let state = state(operator);
    let jobs = state["jobs"].as_array().expect("jobs");
    let job = jobs.iter().find(|found| found["job"] == job);
    job.expect("the job")["next"].clone()
}

/// The slots of the ledger's records with this event, as they are written. Runs that were started by
/// hand have none.
pub(crate) fn slots(operator: &Operator, event: &str) -> Vec<String> {
    let ledger = operator.ledger();
    let records = ledger.iter().filter(|record| record["event"] == event);
    records
        .filter_map(|record| Some(record["due"].as_str()?.to_owned()))
        .collect()
}

/// One of several cases: given the server, and an operator who backs up a database of the case's
/// name.
pub(crate) type Case<'a> = &'a (dyn Fn(&Cluster, Operator) + Sync);

/// Runs cases side by side, each in a thread of its own with an operator for a database of its own
/// on one server: most of their time is waiting. All run to their end; then the test fails if any
/// of them has failed.
pub(crate) fn side_by_side(cases: &[(&str, Case<'_>)]) {
    let cluster = Cluster::start();
    let names: BTreeSet<&str> = cases.iter().map(|(name, _)| *name).collect();
    assert_eq!(names.len(), cases.len(), "each case has a database");
    for name in names {
        cluster.create_database(name);
        cluster.psql_in(
            name,
            "CREATE TABLE t AS SELECT i FROM generate_series(1, 1000) AS i",
        );
    }
    let mut failures = String::new();
    thread::scope(|scope| {
        let cluster = &cluster;
        let running = cases.iter().map(|&(name, case)| {
            let run = move || case(cluster, Operator::of(cluster, name));
            let thread = thread::Builder::new().name(name.to_owned());
            (name, thread.spawn_scoped(scope, run).expect("a thread"))
        });
        for (name, running) in running.collect::<Vec<_>>() {
            if running.join().is_err() {
                writeln!(failures, "{name}").expect("a line");
            }
        }
    });
    assert!(failures.is_empty(), "failed, see above:\n{failures}");
}

/// Waits for something to be there.
fn wait<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() > deadline {
            return None;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
