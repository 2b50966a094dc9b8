//! Metrics: how things stand as Prometheus reads it.
//!
//! Times are moments, never ages, so that they are right whenever they are read; what is unknown is
//! absent, never 0. Labels are server, database and series: names of the configuration, nothing that
//! grows with every backup. Sizes are bytes, durations and moments seconds.

mod copies;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::atomic::AtomicU64;

use chrono::{DateTime, FixedOffset};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{DatabaseStatus, StatusReport};
use crate::policy::{AlertBook, Severity};
use crate::repository::replace_public;

/// A series of a database.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfSeries {
    server: String,
    database: String,
    series: String,
}

/// A database.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfDatabase {
    server: String,
    database: String,
}

/// What a database is busy with.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRun {
    server: String,
    database: String,
    operation: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfObjective {
    objective: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfSeverity {
    severity: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfJob {
    job: String,
    kind: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfDirectory {
    directory: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfChannel {
    channel: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfBuild {
    version: &'static str,
}

type Gauges<L> = Family<L, Gauge<f64, AtomicU64>>;

/// All metrics, in the text format.
///
/// # Errors
/// Only by a fault of the program's own.
pub fn metrics(status: &StatusReport, alerts: &AlertBook) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("pgbackupd");
    about_itself(&mut registry, status, alerts);
    about_series(&mut registry, status);
    about_databases(&mut registry, status);
    copies::about_copies(&mut registry, status);
    about_the_machine(&mut registry, status);
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

/// Writes metrics to a file for the textfile collector of Prometheus's node exporter, which never sees half of it.
///
/// # Errors
/// When the file cannot be written.
pub fn write_metrics(path: &Path, text: &str) -> io::Result<()> {
    replace_public(path, text.as_bytes())
}

fn gauges<L>(registry: &mut Registry, name: &str, help: &str) -> Gauges<L>
where
    L: Clone + Eq + std::hash::Hash + EncodeLabelSet + fmt::Debug + Send + Sync + 'static,
{
    let gauges = Gauges::default();
    registry.register(name, help, gauges.clone());
    gauges
}

fn set<L: Clone + Eq + std::hash::Hash>(gauges: &Gauges<L>, labels: &L, value: f64) {
    gauges.get_or_create(labels).set(value);
}

#[expect(clippy::cast_precision_loss, reason = "a number of Prometheus")]
fn number(value: u64) -> f64 {
    value as f64
}

#[expect(clippy::cast_precision_loss, reason = "a number of Prometheus")]
fn seconds(moment: DateTime<FixedOffset>) -> f64 {
    moment.timestamp_millis() as f64 / 1000.0
}

fn about_itself(registry: &mut Registry, status: &StatusReport, alerts: &AlertBook) {
    let build = gauges(registry, "build_info", "The version of pgbackupd, always 1");
    let version = env!("CARGO_PKG_VERSION");
    set(&build, &OfBuild { version }, 1.0);
    let judged: Gauge<f64, AtomicU64> = Gauge::default();
    judged.set(seconds(status.at));
    let help = "When the state of all backups was last judged";
    registry.register("status_timestamp_seconds", help, judged);
    let help = "Problems that need attention, as pgbackupd status lists them";
    let concerns = gauges(registry, "concerns", help);
    for severity in [Severity::Warning, Severity::Critical] {
        let of = status.concerns.iter();
        let count = of.filter(|concern| concern.severity == severity).count();
        let severity = severity.word();
        set(&concerns, &OfSeverity { severity }, number(count as u64));
    }
    let help = "When an alert channel last took a message";
    let name = "alert_channel_last_success_timestamp_seconds";
    let succeeded = gauges(registry, name, help);
    let help = "Since when an alert channel fails; absent while it does not";
    let name = "alert_channel_failing_since_timestamp_seconds";
    let failing = gauges(registry, name, help);
    for (channel, state) in &alerts.channels {
        let labels = OfChannel {
            channel: channel.clone(),
        };
        if let Some(at) = state.succeeded {
            set(&succeeded, &labels, seconds(at));
        }
        if let Some(failure) = &state.failing {
            set(&failing, &labels, seconds(failure.since));
        }
    }
}

fn about_series(registry: &mut Registry, status: &StatusReport) {
    let mut new = |name: &str, help: &str| gauges::<OfSeries>(registry, name, help);
    let succeeded = new(
        "backup_last_success_timestamp_seconds",
        "When the run of the newest intact backup started",
    );
    let failed = new(
        "backup_last_failure_timestamp_seconds",
        "When the newest run ended, if it failed; absent if it succeeded",
    );
    let overdue = new(
        "backup_overdue_since_timestamp_seconds",
        "The time for which a backup is overdue; absent if none is",
    );
    let bytes = new("backup_bytes", "Size of the newest backup's files");
    let rows = new("backup_rows", "Rows in the newest backup");
    let kept = new("backups", "Backups that are kept");
    for_each_database(status, |database, labels| {
        for facts in &database.facts.series {
            let labels = OfSeries {
                server: labels.server.clone(),
                database: labels.database.clone(),
                series: facts.series.to_string(),
            };
            if let Some(at) = facts.newest {
                set(&succeeded, &labels, seconds(at));
            }
            if let Some(failing) = &facts.failing {
                set(&failed, &labels, seconds(failing.at));
            }
            if let Some(slot) = facts.overdue {
                set(&overdue, &labels, seconds(slot));
            }
            if let Some(line) = database.backups.get(&facts.series) {
                if let Some(size) = line.sizes.last() {
                    set(&bytes, &labels, number(*size));
                }
                if let Some(newest) = line.rows {
                    set(&rows, &labels, number(newest));
                }
                set(&kept, &labels, number(line.count));
            }
        }
    });
}

fn about_databases(registry: &mut Registry, status: &StatusReport) {
    let mut new = |name: &str, help: &str| gauges::<OfDatabase>(registry, name, help);
    let verified = new(
        "verify_last_success_timestamp_seconds",
        "When the newest verify run ended, if it found all backups intact",
    );
    let drilled = new(
        "drill_last_success_timestamp_seconds",
        "When the newest drill that came through ended",
    );
    let recovery = new(
        "drill_recovery_seconds",
        "How long it took to have the data back in that drill",
    );
    let running = gauges::<OfRun>(
        registry,
        "run_started_timestamp_seconds",
        "Since when a run is in progress; absent if none is",
    );
    for_each_database(status, |database, labels| {
        if let Some(last) = database.verified.as_ref().filter(|last| last.succeeded) {
            set(&verified, labels, seconds(last.at));
        }
        if let Some(last) = &database.recovery {
            set(&drilled, labels, seconds(last.at));
            set(&recovery, labels, last.recovery_time().as_secs_f64());
        }
        for run in &database.running {
            let (Some(operation), Some(since)) = (&run.operation, run.since) else {
                continue;
            };
            let labels = OfRun {
                server: labels.server.clone(),
                database: labels.database.clone(),
                operation: operation.clone(),
            };
            set(&running, &labels, seconds(since));
        }
    });
}

fn about_the_machine(registry: &mut Registry, status: &StatusReport) {
    let help = "Free space on the file system of a directory of backups";
    let free = gauges(registry, "free_bytes", help);
    let help = "Free space that limits.free_space asks for";
    let wanted = gauges(registry, "free_wanted_bytes", help);
    for space in &status.spaces {
        let directory = space.directory.display().to_string();
        let labels = OfDirectory { directory };
        set(&free, &labels, number(space.free));
        set(&wanted, &labels, number(space.wanted));
    }
    let help = "When a job is due next";
    let next = gauges(registry, "job_next_timestamp_seconds", help);
    for run in &status.next {
        if let Some(at) = run.at {
            let labels = OfJob {
                job: run.job.clone(),
                kind: run.kind.clone(),
            };
            set(&next, &labels, seconds(at));
        }
    }
    let help = "The configured objectives; absent where there is none";
    let objectives = gauges(registry, "objective_seconds", help);
    let expectation = &status.expectation;
    for (objective, limit) in [
        ("recovery_point", Some(expectation.recovery_point)),
        ("recovery_time", Some(expectation.recovery_time)),
        ("drill_age", expectation.drill_age),
        ("copy_age", Some(expectation.copy_age)),
        ("rehearsal_age", expectation.rehearsal_age),
        ("grace", Some(expectation.grace)),
    ] {
        if let Some(limit) = limit {
            set(&objectives, &OfObjective { objective }, limit.as_secs_f64());
        }
    }
}

fn for_each_database(status: &StatusReport, mut call: impl FnMut(&DatabaseStatus, &OfDatabase)) {
    for database in &status.databases {
        let labels = OfDatabase {
            server: database.facts.server.clone(),
            database: database.facts.database.clone(),
        };
        call(database, &labels);
    }
}
