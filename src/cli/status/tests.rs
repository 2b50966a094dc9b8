use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, FixedOffset, TimeDelta};
use serde_json::Value;

use super::spark::Letters;
use super::text;
use crate::jobs::{
    DaemonView, DatabaseStatus, Ended, Line, NextRun, Outcomes, RehearsalStatus, RunningNow,
    StatusDocument, StatusReport,
};
use crate::policy::{
    Concern, ConcernKind, CopyFacts, CopyProof, CopyState, DamagedCopy, DatabaseFacts,
    DefinitionsFacts, DefinitionsResult, Expectation, Failing, LostCopy, MissingCopy, Rehearsed,
    Sensitivity, SeriesFacts, SpaceDays, SpaceFacts, SuccessRate, VerificationFacts,
};
use crate::repository::{DAEMON_STATE_FORMAT, DaemonState, WaitingJob};

const GIB: u64 = 1 << 30;

fn now() -> DateTime<FixedOffset> {
    DateTime::parse_from_rfc3339("2025-07-09T12:00:00+03:00").unwrap()
}

fn ago(hours: i64) -> DateTime<FixedOffset> {
    now() - TimeDelta::hours(hours)
}

fn series(name: &str, newest: Option<i64>) -> SeriesFacts {
    SeriesFacts::on_schedule(name, newest.map(ago))
}

fn line(stem: &str, sizes: Vec<u64>) -> Line {
    Line {
        rows: Some(20_000),
        verified: Some(ago(9)),
        count: sizes.len() as u64 + 5,
        newest: Some(stem.to_owned()),
        history: sizes.iter().map(|size| (ago(10), *size)).collect(),
        sizes,
    }
}

fn copies() -> CopyFacts {
    CopyFacts {
        // Its keys are states.
        states: BTreeMap::new(),
        ..CopyFacts::opened("offsite", 9, ago(34).to_utc())
    }
}

fn database(name: &str, server: &str) -> DatabaseStatus {
    let facts = DatabaseFacts {
        restore: None,
        server: server.to_owned(),
        label: name.to_owned(),
        database: name.to_owned(),
        directory: format!("/var/backups/{name}").into(),
        discovered: false,
        series: vec![series("daily", Some(10)), series("weekly", Some(81))],
        verification: VerificationFacts::default(),
        prune: None,
        definitions: None,
        drill: crate::policy::DrillFacts::default(),
        damaged: Vec::new(),
        unrestorable: Vec::new(),
        encrypted: BTreeSet::new(),
        has_drill_identity: false,
        quarantined: Vec::new(),
        unreadable: Vec::new(),
        lost_manifests: Vec::new(),
        lost_states: Vec::new(),
        losses: Vec::new(),
        copies: vec![copies()],
    };
    let growing = (0..20).map(|day| GIB + day * GIB / 40).collect();
    DatabaseStatus {
        newest: Some(ago(10)),
        facts,
        backups: BTreeMap::from([
            (
                "daily".parse().unwrap(),
                line("backup_20250709_020000", growing),
            ),
            (
                "weekly".parse().unwrap(),
                line("weekly_backup_20250706_030000", vec![GIB, GIB, GIB / 2]),
            ),
        ]),
        slots: BTreeMap::new(),
        outcomes: Outcomes {
            succeeded: 29,
            failed: 1,
            interrupted: 0,
            skipped: 2,
        },
        verified: Some(Ended {
            left: 0,
            at: ago(81),
            succeeded: true,
            message: Some("34 checked, 0 damaged, 0 could not be checked".to_owned()),
        }),
        drilled: None,
        recovery: None,
        proof: None,
        running: Vec::new(),
        strangers: 0,
        space_days: SpaceDays::default(),
    }
}

fn next(job: &str, kind: &str, hours: i64) -> NextRun {
    NextRun {
        job: job.to_owned(),
        kind: kind.to_owned(),
        at: Some(ago(-hours)),
    }
}

fn healthy() -> StatusReport {
    StatusReport {
        at: now(),
        several_servers: false,
        channels: vec!["mail".to_owned()],
        expectation: Expectation {
            recovery_point: Duration::from_secs(24 * 3600),
            grace: Duration::from_secs(3600),
            backup_time: Duration::from_secs(5 * 60),
            recovery_time: Duration::from_secs(30 * 60),
            sensitivity: Sensitivity {
                factor: 200,
                share: 50,
            },
            drill_age: Some(Duration::from_secs(35 * 24 * 3600)),
            copy_age: Duration::from_secs(24 * 3600),
            copy_proof_age: Some(Duration::from_secs(15 * 24 * 3600)),
            rehearsal_age: Some(Duration::from_secs(92 * 24 * 3600)),
            success_rate: SuccessRate::ALL,
            size: None,
        },
        daemon: DaemonView::Absent,
        is_changed_on_disk: None,
        databases: vec![database("sales", "main")],
        next: vec![next("daily", "backup", 14), next("weekly", "backup", 87)],
        spaces: vec![SpaceFacts {
            directory: "/var/backups".into(),
            free: 80 * GIB,
            wanted: 10 * GIB,
            databases: 1,
            round: 3 * GIB / 2,
            full_in_days: None,
        }],
        concerns: Vec::new(),
        remarks: Vec::new(),
        rehearsals: vec![RehearsalStatus {
            destination: "offsite".to_owned(),
            since: ago(40 * 24).to_utc(),
            last: Some(Rehearsed {
                at: ago(12 * 24).to_utc(),
                recipients: vec!["age1q".to_owned()],
            }),
        }],
    }
}

/// Everything that there can be, at once.
#[expect(clippy::too_many_lines, reason = "one report with everything in it")]
fn troubled() -> StatusReport {
    let mut status = healthy();
    status.rehearsals[0].last = None;
    status.databases[0].facts.copies[0] = CopyFacts {
        missing: Some(MissingCopy {
            backup: "backup_20250709_020000".to_owned(),
            since: ago(9).to_utc(),
        }),
        failure: Some((ago(9).to_utc(), "cannot reach it\nhint: try".to_owned())),
        damaged: vec![DamagedCopy {
            backup: "backup_20250707_020000".to_owned(),
            since: ago(5).to_utc(),
            why: "volume 1 of 2 is damaged".to_owned(),
            is_here: true,
        }],
        lost: vec![LostCopy {
            backup: "backup_20250706_020000".to_owned(),
            since: ago(3).to_utc(),
            is_here: false,
        }],
        oldest_proof: Some(CopyProof {
            backup: "backup_20250705_020000".to_owned(),
            state: CopyState::ReadBack,
            at: ago(99).to_utc(),
        }),
        gaps: vec![crate::policy::Gap {
            first: 14,
            last: 16,
            since: ago(9).to_utc(),
        }],
        ..copies()
    };
    status.daemon = DaemonView::Alive(Box::new(DaemonState {
        format: DAEMON_STATE_FORMAT,
        pid: 812,
        version: "0.1.0".to_owned(),
        started: ago(200),
        loaded: ago(100),
        refused: Some("line 3".to_owned()),
        configuration: None,
        after_restart: Vec::new(),
        cannot_connect: Vec::new(),
        hanging: Vec::new(),
        stopping: false,
        jobs: Vec::new(),
        running: Vec::new(),
        waiting: vec![WaitingJob {
            job: "weekly".to_owned(),
            kind: "backup".to_owned(),
            due: ago(1),
            server: "main".to_owned(),
            database: "hr".to_owned(),
            until: Some(ago(-2)),
            reason: "no run starts in the blackout Mon-Fri 08:00-14:00".to_owned(),
        }],
    }));
    let mut hr = database("hr", "reports");
    hr.facts.series[0].failing = Some(Failing {
        at: ago(3),
        runs: 2,
        message: "cannot connect".to_owned(),
    });
    hr.facts.series[1].overdue = Some(ago(4));
    hr.facts.series.push(series("manual", None));
    hr.facts.definitions = Some(DefinitionsFacts {
        backup: "backup_20250709_020000".to_owned(),
        at: ago(9),
        result: DefinitionsResult::Load,
        message: "definitions load; rows not tried".to_owned(),
    });
    hr.drilled = Some(Ended {
        left: 0,
        at: ago(500),
        succeeded: false,
        message: None,
    });
    hr.running = vec![
        RunningNow {
            operation: Some("backup".to_owned()),
            job: Some("daily".to_owned()),
            backup: None,
            since: Some(now() - TimeDelta::minutes(8)),
            requested_by: Some("postgres (process 812)".to_owned()),
            written: Some(GIB / 2),
            expected: Some(GIB),
            publishing: false,
            destination: None,
        },
        RunningNow {
            operation: Some("test restore".to_owned()),
            job: Some("drill".to_owned()),
            backup: Some("backup_20250708_020000".to_owned()),
            since: Some(ago(1)),
            requested_by: None,
            written: None,
            expected: None,
            publishing: false,
            destination: None,
        },
    ];
    let concern = |kind, database: Option<&str>, sentence: &str| Concern {
        server: database.map(|_| "main".to_owned()),
        database: database.map(str::to_owned),
        directory: database.map(|name| format!("/var/backups/{name}").into()),
        ..Concern::new(kind, sentence)
    };
    status.concerns = vec![
        concern(
            ConcernKind::Failed,
            Some("hr"),
            "the last 2 runs of the daily backup failed, the newest 3 hours ago: cannot connect; \
             run `pgbackupd backup --database hr`",
        ),
        concern(
            ConcernKind::ConfigurationRefused,
            None,
            "the daemon runs with the configuration of yesterday",
        ),
    ];
    status.remarks = vec!["database hr: there is no manual backup yet".to_owned()];
    status.databases.push(hr);
    shown_with_servers(status)
}

fn shown_with_servers(mut status: StatusReport) -> StatusReport {
    status.several_servers = true;
    for database in &mut status.databases {
        let facts = &mut database.facts;
        facts.label = format!("{}/{}", facts.server, facts.database);
    }
    status
}

fn printed(status: &StatusReport, letters: Letters) -> String {
    let mut out = Vec::new();
    text::print(status, letters, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    let text = anstream::adapter::strip_str(&text).to_string();
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "too long: {line}");
        assert_eq!(line.trim_end(), line);
    }
    text
}

#[test]
fn all_that_is_well_is_reported_in_a_few_lines() {
    insta::assert_snapshot!(printed(&healthy(), Letters::Blocks));
}

#[test]
fn what_needs_attention_comes_first() {
    insta::assert_snapshot!(printed(&troubled(), Letters::Ascii));
}

#[test]
fn many_databases_get_a_row_each() {
    let mut status = troubled();
    for index in 0..4 {
        let mut another = database(&format!("a_rather_long_name_{index}"), "main");
        another.verified = None;
        status.databases.push(another);
    }
    let status = shown_with_servers(status);
    insta::assert_snapshot!(printed(&status, Letters::Blocks));
}

/// The paths of all keys in a document: `databases[].series[].sizes`.
fn keys(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => {
            for item in items {
                keys(item, &format!("{path}[]"), found);
            }
        }
        Value::Object(members) => {
            for (key, value) in members {
                let dot = if path.is_empty() { "" } else { "." };
                let path = format!("{path}{dot}{key}");
                found.insert(path.clone());
                keys(value, &path, found);
            }
        }
        _ => {}
    }
}

#[test]
fn every_key_for_programs_is_documented_and_every_documented_one_is_there() {
    let mut found = BTreeSet::new();
    let document = serde_json::to_value(StatusDocument::of(&troubled())).unwrap();
    keys(&document, "", &mut found);
    let text = include_str!("../../../docs/json.md");
    let (_, section) = text.split_once("\n## status\n").unwrap();
    let documented: BTreeSet<String> = section
        .split("\n## ")
        .next()
        .unwrap()
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(key, _)| key.to_owned())
        .collect();
    assert_eq!(found, documented);
    assert_eq!(document["ok"], false);
    assert_eq!(document["databases"][0]["runs"]["rate"], 29.0 / 30.0);
    assert_eq!(
        document["databases"][1]["running"][0]["bytes_per_second"],
        GIB / 2 / 480
    );
    assert_eq!(document["space"][0]["backups_left"], 53);
}
