//! One daily job over many databases: each of them is backed up once, within the limits of
//! concurrency, whatever becomes of the others. `benches/daemon` does the same with a thousand.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;

use chrono::{DateTime, FixedOffset, TimeDelta, Utc};
use pgbackupd::repository::{
    DaemonState, Event, Operation, Record, RuntimeDirectory, SchedulesInForce,
};
use rustix::process::Signal;

use crate::support::cluster::{Cluster, SUPERUSER, wait_until};
use crate::support::operator::Operator;

/// Databases of each of the two servers, on one machine.
const EACH: usize = 24;
/// The limits: both servers together would take more than they may in all.
const TOTAL: usize = 5;
const PER_SERVER: usize = 3;
/// Runs of the program in a build for tests hold so much at most, in KiB.
const MEMORY: u64 = 96 << 10;

/// A database that is configured and not there.
const GONE: &str = "gone";

/// The databases of a server, the one that is gone in their midst.
fn databases(server: &str) -> Vec<String> {
    let mut names: Vec<String> = (0..EACH).map(|n| format!("{server}_{n:03}")).collect();
    if server == "main" {
        names.insert(EACH / 2, GONE.to_owned());
    }
    names
}

/// Two servers of the configuration, with a daily job that was due an hour ago.
fn configure(cluster: &Cluster) -> (Operator, DateTime<Utc>) {
    let mut operator = Operator::of(cluster, "main_000");
    operator.unset("database");
    operator.set_value("databases", databases("main"));
    operator.set_value("servers.other.databases", databases("other"));
    operator.set(
        "servers.other.connection.host",
        cluster.socket_directory().display(),
    );
    operator.set_value("servers.other.connection.port", cluster.port());
    operator.set("servers.other.connection.user", SUPERUSER);
    operator.set_value("dump.globals", false);
    operator.set_value("daemon.concurrency", TOTAL);
    operator.set_value("daemon.concurrency_per_server", PER_SERVER);
    operator.set("daemon.catch_up_delay", "0 seconds");
    for directory in ["runtime", "state"] {
        let path = operator.path(directory).display().to_string();
        operator.set(&format!("daemon.{directory}_directory"), path);
    }
    operator.set("timezone", "UTC");
    for job in ["weekly", "verify", "drill", "prune"] {
        operator.set_value(&format!("jobs.{job}.enabled"), false);
    }
    // The schedule has been in force for two days: its last slot was missed.
    let due = Utc::now() - TimeDelta::hours(1);
    let schedule = due.format("%-M %-H * * *").to_string();
    operator.set("jobs.daily.schedule", &schedule);
    let mut in_force = SchedulesInForce::default();
    let wanted = [("daily", schedule.as_str(), "UTC")];
    in_force.replace(wanted.into_iter(), Utc::now() - TimeDelta::days(2));
    in_force.write(&operator.path("state")).unwrap();
    (operator, due)
}

/// Every database of the servers, with a little in it.
fn make_databases(cluster: &Cluster) {
    cluster.psql_in(
        "template1",
        "CREATE TABLE thing AS SELECT i, md5(i::text) AS t FROM generate_series(1, 100) AS i",
    );
    let mut sql = String::new();
    for name in ["main", "other"].into_iter().flat_map(databases) {
        if name != GONE {
            writeln!(sql, "CREATE DATABASE {name} STRATEGY FILE_COPY;").unwrap();
        }
    }
    cluster.psql(&sql);
}

/// All records of the ledgers, by server and database.
fn records(operator: &Operator) -> BTreeMap<(String, String), Vec<Record>> {
    let mut all = BTreeMap::new();
    for server in ["main", "other"] {
        let directory = match server {
            "main" => operator.path("backups"),
            other => operator.path("backups").join(other),
        };
        for name in databases(server) {
            let text = fs::read_to_string(directory.join(&name).join("backup.log"));
            let records = text.unwrap_or_default();
            let records = records
                .lines()
                .map(|line| serde_json::from_str(line).unwrap());
            all.insert((server.to_owned(), name), records.collect());
        }
    }
    all
}

/// The most runs that went on at the same time, by their records of start and end.
fn most_at_once<'a>(records: impl Iterator<Item = &'a Record>) -> usize {
    let mut events: Vec<(DateTime<FixedOffset>, i32)> = records
        .map(|record| {
            (
                record.at,
                if record.event == Event::Started {
                    1
                } else {
                    -1
                },
            )
        })
        .collect();
    // Of one moment, ends come first.
    events.sort_unstable();
    let (mut now, mut most) = (0, 0);
    for (_, change) in events {
        now += change;
        most = most.max(now);
    }
    usize::try_from(most).unwrap()
}

/// The peak of the daemon's resident memory, in KiB.
fn peak_memory(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let words = line.unwrap().split_whitespace().nth(1);
    words.unwrap().parse().unwrap()
}

/// No state that the daemon shows has more running than allowed.
fn assert_within_limits(state: &DaemonState) {
    assert!(state.running.len() <= TOTAL, "{state:?}");
    for server in ["main", "other"] {
        let here = state.running.iter().filter(|run| run.server == server);
        assert!(here.count() <= PER_SERVER, "{state:?}");
    }
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one daemon, and all that is known of its runs"
)]
fn every_database_of_a_daily_job_is_backed_up_once_and_within_the_limits() {
    let cluster = Cluster::start();
    make_databases(&cluster);
    let (operator, due) = configure(&cluster);
    let daemon = operator.spawn(&["daemon"]);
    let runtime = RuntimeDirectory::at(operator.path("runtime"));

    let mut seen_waiting = BTreeSet::new();
    let mut seen_running = 0;
    wait_until("nothing runs or waits any more", || {
        let Some(state) = runtime.daemon().unwrap() else {
            return false;
        };
        assert_within_limits(&state);
        seen_running += state.running.len();
        seen_waiting.extend(state.waiting.iter().map(|work| work.database.clone()));
        // The last look at a state, which is written twice a second, may be of the end.
        seen_running > 0 && state.running.is_empty() && state.waiting.is_empty()
    });
    assert!(
        seen_waiting.len() > EACH,
        "only {seen_waiting:?} ever waited"
    );
    let memory = peak_memory(daemon.pid().as_raw_nonzero().get());
    daemon.signal(Signal::TERM);
    let output = daemon.wait();
    assert_eq!(output.code, 0, "{output}");

    let all = records(&operator);
    assert_eq!(all.len(), 2 * EACH + 1);
    for ((server, database), records) in &all {
        let events: Vec<Event> = records.iter().map(|record| record.event).collect();
        let ended = match database.as_str() {
            GONE => Event::Failed,
            _ => Event::Succeeded,
        };
        assert_eq!(
            events,
            [Event::Started, ended],
            "{server} {database}: {records:?}"
        );
        for record in records {
            assert_eq!(record.operation(), Operation::Backup);
            assert_eq!(record.job.as_deref(), Some("daily"));
            let slot = record.due.unwrap().to_utc();
            assert_eq!(slot.timestamp() / 60, due.timestamp() / 60);
        }
    }
    let of = |server: &'static str| all.iter().filter(move |((on, _), _)| on == server);
    for server in ["main", "other"] {
        let most = most_at_once(of(server).flat_map(|(_, records)| records));
        assert_eq!(most, PER_SERVER, "on server {server}");
    }
    assert_eq!(most_at_once(all.values().flatten()), TOTAL);
    assert!(memory < MEMORY, "{memory} KiB");

    // What the ledgers say stands on the disk.
    let listed = operator.json(&["list"]);
    let mut listed_backups = 0;
    for database in listed.as_array().unwrap() {
        let count = database["backups"].as_array().unwrap().len();
        assert_eq!(
            count,
            usize::from(database["database"] != GONE),
            "{database}"
        );
        listed_backups += count;
    }
    assert_eq!(listed_backups, 2 * EACH);
}
