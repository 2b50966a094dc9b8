//! What `status --json` prints, and the page serves at `/api/status`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use chrono::{DateTime, FixedOffset, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use super::{DaemonView, DatabaseStatus, Ended, RehearsalStatus, RunningNow, StatusReport};
use crate::jobs::LastDrill;
use crate::policy::{
    ConcernKind, CopyFacts, CopyState, DefinitionsResult, Failing, NewestCopy, SeriesCopy,
    SeriesFacts, Severity, SpaceFacts, age,
};

/// The whole document.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct StatusDocument {
    /// Whether nothing needs attention; if not, the exit code is 1, or 2 where something is critical.
    ok: bool,
    /// When this was seen.
    at: String,
    /// What needs attention.
    attention: Vec<Attention>,
    /// What is good to know and needs no attention, sentences.
    remarks: Vec<String>,
    /// The daemon.
    daemon: Daemon,
    /// The databases.
    databases: Vec<Database>,
    /// What is due but waits; known only while the daemon runs.
    waiting: Vec<Waiting>,
    /// When jobs are due next, the first one first.
    next: Vec<Next>,
    /// The file systems with backups.
    space: Vec<Space>,
    /// The names of the configured channels of alerts; empty where nobody is notified.
    channels: Vec<String>,
    /// The rehearsals at each destination with encrypted copies.
    rehearsals: Vec<Rehearsals>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Rehearsals {
    destination: String,
    since: String,
    last: Option<String>,
    recipients: Vec<String>,
    limit_seconds: Option<u64>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Attention {
    id: String,
    kind: ConcernKind,
    severity: Severity,
    server: Option<String>,
    database: Option<String>,
    series: Option<String>,
    object: Option<String>,
    directory: Option<PathBuf>,
    message: String,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Daemon {
    running: Option<bool>,
    pid: Option<u32>,
    version: Option<String>,
    started: Option<String>,
    loaded: Option<String>,
    refused: Option<String>,
    changed_on_disk: Option<bool>,
    after_restart: Option<Vec<String>>,
    stopping: Option<bool>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Database {
    #[serde(rename = "database")]
    name: String,
    server: String,
    directory: String,
    recovery_point: RecoveryPoint,
    series: Vec<Series>,
    runs: Runs,
    verified: Option<Outcome>,
    drilled: Option<Outcome>,
    drill_age: DrillAge,
    definitions: Option<Definitions>,
    recovery_time: RecoveryTime,
    copies: Vec<Copies>,
    running: Vec<Running>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Copies {
    destination: String,
    #[serde(rename = "copies")]
    count: u64,
    newest: Option<NewestCopied>,
    missing: Option<String>,
    missing_since: Option<String>,
    failing_since: Option<String>,
    failure: Option<String>,
    states: BTreeMap<CopyState, u64>,
    damaged: Vec<BadCopy>,
    gone: Vec<BadCopy>,
    oldest_proof: Option<OldestProof>,
    clock_ahead_seconds: Option<i64>,
    bytes: u64,
    proved: Option<String>,
    refusing_since: Option<String>,
    refusal: Option<String>,
    gaps: Vec<MissingManifests>,
    series: Vec<CopiedSeries>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
struct NewestCopied {
    backup: String,
    started: String,
    age_seconds: u64,
    state: CopyState,
    run: String,
    copied: String,
    proved: String,
    manifest: Option<String>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
struct CopiedSeries {
    series: String,
    backup: String,
    started: String,
    age_seconds: u64,
    state: CopyState,
    run: String,
    copied: String,
    proved: String,
    bytes: u64,
    damaged: bool,
    manifest: Option<String>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
struct MissingManifests {
    first: u64,
    last: u64,
    since: String,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
struct BadCopy {
    backup: String,
    since: String,
    message: Option<String>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
struct OldestProof {
    backup: String,
    state: CopyState,
    at: String,
    age_seconds: u64,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Definitions {
    backup: String,
    at: String,
    result: DefinitionsResult,
    message: String,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
struct RecoveryPoint {
    newest: Option<String>,
    age_seconds: Option<u64>,
    target_seconds: u64,
    met: bool,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
struct DrillAge {
    newest: Option<String>,
    age_seconds: Option<u64>,
    limit_seconds: Option<u64>,
    met: Option<bool>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
struct RecoveryTime {
    backup: Option<String>,
    at: Option<String>,
    seconds: Option<f64>,
    target_seconds: u64,
    met: Option<bool>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Series {
    #[serde(rename = "series")]
    name: String,
    scheduled: bool,
    backups: u64,
    newest: Option<String>,
    started: Option<String>,
    age_seconds: Option<u64>,
    verified: Option<String>,
    sizes: Vec<u64>,
    overdue: Option<String>,
    failing: Option<Failed>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Failed {
    at: String,
    runs: u64,
    message: String,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Runs {
    succeeded: u64,
    failed: u64,
    interrupted: u64,
    skipped: u64,
    rate: Option<f64>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Outcome {
    at: String,
    succeeded: bool,
    message: Option<String>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Running {
    operation: Option<String>,
    job: Option<String>,
    backup: Option<String>,
    since: Option<String>,
    requested_by: Option<String>,
    written_bytes: Option<u64>,
    bytes_per_second: Option<u64>,
    expected_bytes: Option<u64>,
    publishing: bool,
    destination: Option<String>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Waiting {
    job: String,
    kind: String,
    server: String,
    database: String,
    due: String,
    until: Option<String>,
    reason: String,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Next {
    job: String,
    kind: String,
    at: Option<String>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Space {
    directory: PathBuf,
    free_bytes: u64,
    wanted_bytes: u64,
    databases: u64,
    backup_bytes: u64,
    backups_left: Option<u64>,
    full_in_days: Option<u64>,
}

impl StatusDocument {
    /// How things stand, for programs.
    pub fn of(status: &StatusReport) -> Self {
        Self {
            ok: status.concerns.is_empty(),
            at: status.at.to_rfc3339(),
            attention: status
                .concerns
                .iter()
                .map(|concern| Attention {
                    id: concern.id(),
                    kind: concern.kind,
                    severity: concern.severity,
                    server: concern.server.clone(),
                    database: concern.database.clone(),
                    series: concern.series.as_ref().map(ToString::to_string),
                    object: concern.object.clone(),
                    directory: concern.directory.clone(),
                    message: concern.sentence.clone(),
                })
                .collect(),
            remarks: status.remarks.clone(),
            daemon: daemon(status),
            databases: status
                .databases
                .iter()
                .map(|database| self::database(status, database))
                .collect(),
            waiting: waiting(&status.daemon),
            next: status
                .next
                .iter()
                .map(|next| Next {
                    job: next.job.clone(),
                    kind: next.kind.clone(),
                    at: next.at.map(moment),
                })
                .collect(),
            space: status.spaces.iter().map(space).collect(),
            channels: status.channels.clone(),
            rehearsals: status
                .rehearsals
                .iter()
                .map(|one| rehearsals(status, one))
                .collect(),
        }
    }
}

fn rehearsals(status: &StatusReport, one: &RehearsalStatus) -> Rehearsals {
    let last = one.last.as_ref();
    let limit = status.expectation.rehearsal_age;
    Rehearsals {
        destination: one.destination.clone(),
        since: one.since.to_rfc3339(),
        last: last.map(|last| last.at.to_rfc3339()),
        recipients: last.map_or_else(Vec::new, |last| last.recipients.clone()),
        limit_seconds: limit.map(|limit| limit.as_secs()),
    }
}

fn daemon(status: &StatusReport) -> Daemon {
    let view = &status.daemon;
    let state = match view {
        DaemonView::Alive(state) => Some(state.as_ref()),
        DaemonView::Absent | DaemonView::Hidden(_) => None,
    };
    Daemon {
        running: match view {
            DaemonView::Alive(_) => Some(true),
            DaemonView::Absent => Some(false),
            DaemonView::Hidden(_) => None,
        },
        pid: state.map(|state| state.pid),
        version: state.map(|state| state.version.clone()),
        started: state.map(|state| moment(state.started)),
        loaded: state.map(|state| moment(state.loaded)),
        refused: state.and_then(|state| state.refused.clone()),
        changed_on_disk: status.is_changed_on_disk,
        after_restart: state.map(|state| state.after_restart.clone()),
        stopping: state.map(|state| state.stopping),
    }
}

fn waiting(view: &DaemonView) -> Vec<Waiting> {
    let DaemonView::Alive(state) = view else {
        return Vec::new();
    };
    let waiting = state.waiting.iter();
    waiting
        .map(|waiting| Waiting {
            job: waiting.job.clone(),
            kind: waiting.kind.clone(),
            server: waiting.server.clone(),
            database: waiting.database.clone(),
            due: moment(waiting.due),
            until: waiting.until.map(moment),
            reason: waiting.reason.clone(),
        })
        .collect()
}

fn copies(copies: &CopyFacts, now: DateTime<FixedOffset>) -> Copies {
    let shown = |at: DateTime<Utc>| moment(at.with_timezone(&now.timezone()));
    Copies {
        destination: copies.destination.clone(),
        count: copies.count,
        newest: copies.newest.as_ref().map(|copy| newest_copied(copy, now)),
        states: copies.states.clone(),
        damaged: copies
            .damaged
            .iter()
            .map(|damaged| BadCopy {
                backup: damaged.backup.clone(),
                since: shown(damaged.since),
                message: Some(damaged.why.clone()),
            })
            .collect(),
        gone: copies
            .lost
            .iter()
            .map(|lost| BadCopy {
                backup: lost.backup.clone(),
                since: shown(lost.since),
                message: None,
            })
            .collect(),
        oldest_proof: copies.oldest_proof.as_ref().map(|proof| OldestProof {
            backup: proof.backup.clone(),
            state: proof.state,
            at: shown(proof.at),
            age_seconds: age(proof.at.fixed_offset(), now).as_secs(),
        }),
        clock_ahead_seconds: copies.clock.map(|clock| clock.ahead.num_seconds()),
        missing: copies
            .missing
            .as_ref()
            .map(|missing| missing.backup.clone()),
        missing_since: copies.missing.as_ref().map(|missing| shown(missing.since)),
        failing_since: copies.failure.as_ref().map(|(since, _)| shown(*since)),
        failure: copies.failure.as_ref().map(|(_, why)| why.clone()),
        bytes: copies.bytes,
        proved: copies.last_read.map(shown),
        refusing_since: copies.refusal.as_ref().map(|(since, _)| shown(*since)),
        refusal: copies.refusal.as_ref().map(|(_, why)| why.clone()),
        gaps: copies
            .gaps
            .iter()
            .map(|gap| MissingManifests {
                first: gap.first,
                last: gap.last,
                since: shown(gap.since),
            })
            .collect(),
        series: copies
            .newest_of_series
            .iter()
            .map(|copy| copied_series(copy, now))
            .collect(),
    }
}

fn copied_series(copy: &SeriesCopy, now: DateTime<FixedOffset>) -> CopiedSeries {
    let shown = |at: DateTime<Utc>| moment(at.with_timezone(&now.timezone()));
    CopiedSeries {
        series: copy.series.to_string(),
        backup: copy.proof.backup.clone(),
        started: shown(copy.started),
        age_seconds: age(copy.started.fixed_offset(), now).as_secs(),
        state: copy.proof.state,
        run: copy.identity.run.to_string(),
        copied: shown(copy.identity.copied),
        proved: shown(copy.proof.at),
        bytes: copy.bytes,
        damaged: copy.is_damaged,
        manifest: copy.identity.manifest.clone(),
    }
}

fn newest_copied(newest: &NewestCopy, now: DateTime<FixedOffset>) -> NewestCopied {
    let shown = |at: DateTime<Utc>| moment(at.with_timezone(&now.timezone()));
    NewestCopied {
        backup: newest.backup.clone(),
        started: shown(newest.started),
        age_seconds: age(newest.started.fixed_offset(), now).as_secs(),
        state: newest.state,
        run: newest.identity.run.to_string(),
        copied: shown(newest.identity.copied),
        proved: shown(newest.proved),
        manifest: newest.identity.manifest.clone(),
    }
}

fn database(status: &StatusReport, database: &DatabaseStatus) -> Database {
    let facts = &database.facts;
    let outcomes = database.outcomes;
    let age_of = |moment| age(moment, status.at).as_secs();
    let missed = |concern: &crate::policy::Concern| {
        matches!(
            concern.kind,
            ConcernKind::RecoveryPoint | ConcernKind::NoBackup
        ) && concern.directory.as_deref() == Some(&facts.directory)
    };
    Database {
        name: facts.database.clone(),
        server: facts.server.clone(),
        directory: facts.directory.display().to_string(),
        recovery_point: RecoveryPoint {
            newest: database.newest.map(moment),
            age_seconds: database.newest.map(age_of),
            target_seconds: status.expectation.recovery_point.as_secs(),
            met: database.newest.is_some() && !status.concerns.iter().any(missed),
        },
        series: facts
            .series
            .iter()
            .map(|series| self::series(status, database, series))
            .collect(),
        runs: Runs {
            succeeded: outcomes.succeeded,
            failed: outcomes.failed,
            interrupted: outcomes.interrupted,
            skipped: outcomes.skipped,
            rate: outcomes.rate(),
        },
        verified: database.verified.as_ref().map(outcome),
        drilled: database.drilled.as_ref().map(outcome),
        drill_age: drill_age(status, database),
        definitions: facts.definitions.as_ref().map(|tried| Definitions {
            backup: tried.backup.clone(),
            at: moment(tried.at),
            result: tried.result,
            message: tried.message.clone(),
        }),
        recovery_time: recovery_time(status, database),
        copies: facts
            .copies
            .iter()
            .map(|copies| self::copies(copies, status.at))
            .collect(),
        running: database
            .running
            .iter()
            .map(|running| self::running(status.at, running))
            .collect(),
    }
}

fn drill_age(status: &StatusReport, database: &DatabaseStatus) -> DrillAge {
    let drill = &database.facts.drill;
    let limit = status.expectation.drill_age;
    let utc = |moment: DateTime<FixedOffset>| moment.to_utc();
    let missed = status.expectation.missed_drill(
        drill.result.map(utc),
        drill.backups_since.map(utc),
        status.at.to_utc(),
    );
    DrillAge {
        newest: drill.result.map(moment),
        age_seconds: drill.result.map(|at| age(at, status.at).as_secs()),
        limit_seconds: limit.map(|limit| limit.as_secs()),
        met: limit.map(|_| missed.is_none()),
    }
}

fn recovery_time(status: &StatusReport, database: &DatabaseStatus) -> RecoveryTime {
    let target = status.expectation.recovery_time;
    let measured = database.recovery.as_ref();
    let took = measured.map(LastDrill::recovery_time);
    RecoveryTime {
        backup: measured.map(|drill| drill.backup.clone()),
        at: measured.map(|drill| moment(drill.at)),
        seconds: took.map(|took| took.as_secs_f64()),
        target_seconds: target.as_secs(),
        met: took.map(|took| took <= target),
    }
}

fn series(status: &StatusReport, database: &DatabaseStatus, facts: &SeriesFacts) -> Series {
    let line = database.backups.get(&facts.series);
    Series {
        name: facts.series.to_string(),
        scheduled: facts.scheduled,
        backups: line.map_or(0, |line| line.count),
        newest: line.and_then(|line| line.newest.clone()),
        started: facts.newest.map(moment),
        age_seconds: facts.newest.map(|newest| age(newest, status.at).as_secs()),
        verified: line.and_then(|line| line.verified).map(moment),
        sizes: line.map(|line| line.sizes.clone()).unwrap_or_default(),
        overdue: facts.overdue.map(moment),
        failing: facts.failing.as_ref().map(|failing| {
            let Failing { at, runs, message } = failing.clone();
            Failed {
                at: moment(at),
                runs,
                message,
            }
        }),
    }
}

fn outcome(ended: &Ended) -> Outcome {
    Outcome {
        at: moment(ended.at),
        succeeded: ended.succeeded,
        message: ended.message.clone(),
    }
}

fn running(now: DateTime<FixedOffset>, running: &RunningNow) -> Running {
    Running {
        operation: running.operation.clone(),
        job: running.job.clone(),
        backup: running.backup.clone(),
        since: running.since.map(moment),
        requested_by: running.requested_by.clone(),
        written_bytes: running.written,
        bytes_per_second: running.bytes_per_second(now),
        expected_bytes: running.expected,
        publishing: running.publishing,
        destination: running.destination.clone(),
    }
}

fn space(facts: &SpaceFacts) -> Space {
    Space {
        directory: facts.directory.clone(),
        free_bytes: facts.free,
        wanted_bytes: facts.wanted,
        databases: facts.databases,
        backup_bytes: facts.round,
        backups_left: facts.rounds(),
        full_in_days: facts.full_in_days,
    }
}

fn moment(moment: DateTime<FixedOffset>) -> String {
    moment.to_rfc3339()
}
