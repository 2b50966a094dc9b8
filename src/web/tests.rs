//! The pages of made-up states: what is on them, and that no name or error becomes markup.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, FixedOffset, TimeDelta, Utc};

use super::feed::{Feed, Judgement, Progress, Snapshot};
use super::health::Health;
use super::page::Page;
use super::{database as database_page, overview};
use crate::jobs::{
    DaemonView, DatabaseStatus, Ended, Line, NextRun, Outcomes, RunningNow, SeriesSlots,
    StatusReport,
};
use crate::policy::{
    Alert, AlertBook, Concern, ConcernKind, CopyFacts, DatabaseFacts, DrillFacts, Expectation,
    Failing, MissingCopy, Sensitivity, Series, SeriesFacts, SizeRange, Slot, SlotOutcome,
    SlotTally, SpaceFacts, SuccessRate, Tracked, VerificationFacts,
};
use crate::repository::{DAEMON_STATE_FORMAT, DaemonState, RunningJob, ScheduledJob, WaitingJob};

const GIB: u64 = 1 << 30;

/// What tries to become markup, to leave its attribute, and to turn the direction of what follows.
const HOSTILE: &str = "<script>alert(1)</script>\"'&\u{202e}\n`x`";

fn now() -> DateTime<FixedOffset> {
    DateTime::parse_from_rfc3339("2025-07-09T12:00:00+03:00").unwrap()
}

fn ago(hours: i64) -> DateTime<FixedOffset> {
    now() - TimeDelta::hours(hours)
}

fn series(name: &str, newest: Option<i64>) -> SeriesFacts {
    SeriesFacts::on_schedule(name, newest.map(ago))
}

fn facts(name: &str) -> DatabaseFacts {
    DatabaseFacts {
        restore: None,
        server: "main".to_owned(),
        label: name.to_owned(),
        database: name.to_owned(),
        directory: format!("/var/backups/{name}").into(),
        discovered: false,
        series: vec![series("daily", Some(10)), series("weekly", Some(81))],
        verification: VerificationFacts::default(),
        prune: None,
        definitions: None,
        drill: DrillFacts::default(),
        damaged: Vec::new(),
        unrestorable: Vec::new(),
        encrypted: BTreeSet::new(),
        has_drill_identity: false,
        quarantined: Vec::new(),
        unreadable: Vec::new(),
        lost_manifests: Vec::new(),
        lost_states: Vec::new(),
        losses: Vec::new(),
        copies: vec![CopyFacts::opened("offsite", 9, ago(34).to_utc())],
    }
}

fn line(stem: &str, sizes: Vec<u64>) -> Line {
    let days = i64::try_from(sizes.len()).unwrap();
    let history = sizes.iter().zip((0..days).rev());
    Line {
        rows: Some(20_000),
        verified: Some(ago(9)),
        count: sizes.len() as u64,
        newest: Some(stem.to_owned()),
        history: history
            .map(|(bytes, day)| (ago(10 + 24 * day), *bytes))
            .collect(),
        sizes,
    }
}

/// Ninety days: two without a backup, one that the configuration did not want.
fn slots() -> BTreeMap<Series, SeriesSlots> {
    let newest: Vec<Slot> = (0..90)
        .rev()
        .map(|day| Slot {
            at: ago(10 + 24 * day).to_utc(),
            outcome: match day {
                40 => SlotOutcome::Failed,
                12 => SlotOutcome::Missed,
                5 => SlotOutcome::Skipped,
                _ => SlotOutcome::Done,
            },
        })
        .collect();
    let daily = SeriesSlots {
        month: SlotTally::of(&newest[60..]),
        quarter: SlotTally::of(&newest),
        newest,
    };
    BTreeMap::from([("daily".parse().unwrap(), daily)])
}

fn database(name: &str) -> DatabaseStatus {
    let sizes = (0..20).map(|day| GIB + day * GIB / 40).collect();
    DatabaseStatus {
        newest: Some(ago(10)),
        facts: facts(name),
        backups: BTreeMap::from([
            (
                "daily".parse().unwrap(),
                line("backup_20250709_020000", sizes),
            ),
            (
                "weekly".parse().unwrap(),
                line("weekly_backup_20250706_030000", vec![GIB]),
            ),
        ]),
        slots: slots(),
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
            message: None,
        }),
        drilled: None,
        recovery: None,
        proof: None,
        running: Vec::new(),
        strangers: 0,
        space_days: crate::policy::SpaceDays::default(),
    }
}

fn status(databases: Vec<DatabaseStatus>) -> StatusReport {
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
            success_rate: SuccessRate::from_thousandths(99_900).unwrap(),
            size: SizeRange::new(50_000_000, 200_000_000),
        },
        daemon: DaemonView::Absent,
        is_changed_on_disk: None,
        databases,
        next: vec![NextRun {
            job: "daily".to_owned(),
            kind: "backup".to_owned(),
            at: Some(ago(-14)),
        }],
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
        rehearsals: Vec::new(),
    }
}

/// A database with everything in it that can hold any text, and what is wrong with it.
fn troubled() -> StatusReport {
    let mut one = database(HOSTILE);
    one.facts.series[0].failing = Some(Failing {
        at: ago(3),
        runs: 2,
        message: format!("cannot connect: {HOSTILE}"),
    });
    one.facts.series[1].overdue = Some(ago(4));
    one.drilled = Some(Ended {
        left: 0,
        at: ago(500),
        succeeded: false,
        message: Some(HOSTILE.to_owned()),
    });
    one.facts.copies[0].missing = Some(MissingCopy {
        backup: HOSTILE.to_owned(),
        since: ago(9).to_utc(),
    });
    one.facts.copies[0].failure = Some((ago(9).to_utc(), HOSTILE.to_owned()));
    one.running = vec![RunningNow {
        operation: Some("backup".to_owned()),
        job: Some("daily".to_owned()),
        backup: Some(HOSTILE.to_owned()),
        since: Some(now() - TimeDelta::minutes(8)),
        requested_by: Some(HOSTILE.to_owned()),
        written: Some(GIB / 2),
        expected: Some(GIB),
        publishing: false,
        destination: None,
    }];
    let about = |kind, sentence: &str| {
        Concern::new(kind, sentence)
            .of_server("main")
            .of_database(HOSTILE)
            .in_directory(&one.facts.directory)
    };
    let concerns = vec![
        about(
            ConcernKind::RecoveryPoint,
            "the newest intact backup is 30 hours old; run `pgbackupd backup`",
        ),
        about(ConcernKind::Failed, HOSTILE),
    ];
    let mut status = status(vec![one]);
    status.concerns = concerns;
    status.remarks = vec![HOSTILE.to_owned()];
    status.spaces[0].directory = HOSTILE.into();
    status
}

fn alerts(status: &StatusReport) -> AlertBook {
    let mut book = AlertBook::default();
    for concern in &status.concerns {
        let alert = Alert::opening(concern, ago(2), uuid::Uuid::nil());
        let tracked = Tracked {
            alert,
            resolved: None,
            sent: BTreeMap::new(),
            missed: BTreeSet::new(),
        };
        book.alerts.insert(concern.id(), tracked);
    }
    book
}

fn state() -> DaemonState {
    DaemonState {
        format: DAEMON_STATE_FORMAT,
        pid: 812,
        version: "0.1.0".to_owned(),
        started: ago(200),
        loaded: ago(100),
        refused: None,
        configuration: None,
        after_restart: Vec::new(),
        cannot_connect: Vec::new(),
        hanging: Vec::new(),
        stopping: false,
        jobs: vec![ScheduledJob {
            job: "daily".to_owned(),
            kind: "backup".to_owned(),
            schedule: "0 2 * * *".to_owned(),
            next: Some(ago(-14)),
        }],
        running: vec![RunningJob {
            job: "daily".to_owned(),
            kind: "backup".to_owned(),
            due: ago(10),
            server: "main".to_owned(),
            database: HOSTILE.to_owned(),
            directory: "/var/backups/x".into(),
            since: now() - TimeDelta::minutes(8),
            attempt: 1,
        }],
        waiting: vec![WaitingJob {
            job: "weekly".to_owned(),
            kind: "backup".to_owned(),
            due: ago(1),
            server: "main".to_owned(),
            database: HOSTILE.to_owned(),
            until: Some(ago(-2)),
            reason: HOSTILE.to_owned(),
        }],
    }
}

fn snapshot(status: StatusReport, seconds_later: i64) -> Snapshot {
    let feed = Feed::default();
    let shown = feed.subscribe();
    let alerts = alerts(&status);
    feed.give_judgement(&Arc::new(status), alerts);
    shown.snapshot(now().with_timezone(&Utc) + TimeDelta::seconds(seconds_later))
}

fn judged(snapshot: &Snapshot) -> &Judgement {
    snapshot.judged.as_deref().unwrap()
}

/// The page as a reader sees it: a line for each block.
fn text(markup: &str) -> String {
    let mut text = String::new();
    let mut rest = markup;
    while let Some((before, tag)) = rest.split_once('<') {
        let (tag, after) = tag.split_once('>').unwrap();
        text.push_str(before);
        let is_of_block = [
            "/title",
            "/nav",
            "/h1",
            "/h2",
            "/p",
            "/li",
            "/tr",
            "/figcaption",
            "/footer",
        ];
        if tag.starts_with("svg") {
            rest = after.split_once("</svg>").unwrap().1;
            continue;
        }
        if is_of_block.contains(&tag) {
            text.push('\n');
        } else if tag == "/td" || tag == "/th" {
            text.push_str(" | ");
        }
        rest = after;
    }
    let text = text
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&amp;", "&")
        .replace(env!("CARGO_PKG_VERSION"), "VERSION");
    let mut lines = String::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        writeln!(lines, "{}", line.trim_end_matches([' ', '|'])).unwrap();
    }
    lines
}

fn overview_of(snapshot: &Snapshot) -> String {
    let page = Page::of(snapshot, "db1");
    overview::markup(&page, judged(snapshot)).into_string()
}

fn database_of(snapshot: &Snapshot) -> String {
    let page = Page::of(snapshot, "db1");
    let judged = judged(snapshot);
    database_page::markup(&page, judged, &judged.status.databases[0]).into_string()
}

#[test]
fn the_page_of_no_database_says_so() {
    insta::assert_snapshot!(text(&overview_of(&snapshot(status(Vec::new()), 12))));
}

#[test]
fn the_page_has_a_line_for_each_database() {
    let databases = vec![database("sales"), database("مبيعات")];
    insta::assert_snapshot!(text(&overview_of(&snapshot(status(databases), 12))));
}

#[test]
fn a_database_without_a_backup_and_without_a_concern_is_not_called_good() {
    let mut new = database("new");
    (new.newest, new.backups) = (None, BTreeMap::new());
    let page = text(&overview_of(&snapshot(status(vec![new]), 12)));
    assert!(page.contains("no backup yet"), "{page}");
    assert!(!page.lines().any(|line| line.trim() == "good"), "{page}");
}

#[test]
fn what_needs_attention_comes_first_on_the_page() {
    insta::assert_snapshot!(text(&overview_of(&snapshot(troubled(), 12))));
}

#[test]
fn the_page_of_a_database_has_its_series_sizes_and_proofs() {
    insta::assert_snapshot!(text(&database_of(&snapshot(troubled(), 12))));
}

#[test]
fn no_name_and_no_error_becomes_markup() {
    let mut hostile = snapshot(troubled(), 12);
    let feed = Feed::default();
    let shown = feed.subscribe();
    feed.give_state(&Arc::new(state()), Vec::new());
    hostile.live = shown.snapshot(Utc::now()).live;
    for page in [overview_of(&hostile), database_of(&hostile)] {
        assert!(!page.contains("<script"), "{page}");
        assert!(!page.contains(['\u{202e}', '\0']), "{page}");
        assert!(
            page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"),
            "{page}"
        );
        assert!(page.contains("\\u{202e}"), "{page}");
        // Attributes end where they should.
        for attribute in page.split("=\"").skip(1) {
            let value = attribute.split('"').next().unwrap();
            assert!(!value.contains(['<', '>', '\n']), "{value}");
        }
        assert!(!page.contains(" style="), "the policy forbids it: {page}");
        assert!(
            !page.contains("://"),
            "nothing is loaded from elsewhere: {page}"
        );
    }
}

#[test]
fn what_runs_is_as_new_as_the_daemons_state() {
    let mut seen = snapshot(troubled(), 60);
    let feed = Feed::default();
    let shown = feed.subscribe();
    let show = |seen: &mut Snapshot, state: DaemonState, progress: Vec<Progress>| {
        feed.give_state(&Arc::new(state), progress);
        seen.live = shown.snapshot(Utc::now()).live;
        text(&overview_of(seen))
    };
    let progress = Progress {
        server: "main".to_owned(),
        database: HOSTILE.to_owned(),
        job: "daily".to_owned(),
        kind: "backup".to_owned(),
        bytes: GIB * 3 / 4,
    };
    let page = show(&mut seen, state(), vec![progress]);
    assert!(page.contains("768.0 MiB written"), "{page}");
    assert!(page.contains("75 % of the size of the last"), "{page}");

    // It has ended since, and another has begun.
    let mut later = state();
    "another".clone_into(&mut later.running[0].database);
    let page = show(&mut seen, later, Vec::new());
    assert!(
        page.contains("another: backup of the job daily for 9 minutes"),
        "{page}"
    );
    assert!(!page.contains("MiB written"), "{page}");

    let page = show(
        &mut seen,
        DaemonState {
            running: Vec::new(),
            ..state()
        },
        Vec::new(),
    );
    assert!(!page.contains("Running now"), "{page}");
}

#[test]
fn a_page_stays_small_whatever_goes_wrong() {
    let mut status = troubled();
    let one = status.concerns[1].clone();
    let more = (0..20_000).map(|index| one.clone().about(format!("backup {index}")));
    status.concerns.extend(more);
    let snapshot = snapshot(status, 12);
    for page in [overview_of(&snapshot), database_of(&snapshot)] {
        assert!(page.len() < 200_000, "{} bytes", page.len());
        let page = text(&page);
        assert!(
            page.contains("And 19,902 more: see pgbackupd status."),
            "{page}"
        );
        assert!(
            page.contains("And 19,902 more: see pgbackupd alerts list."),
            "{page}"
        );
        assert!(
            page.contains("critical recovery-point-"),
            "the worst is listed: {page}"
        );
    }
}

#[test]
fn health_is_critical_only_where_something_critical_is_known_or_nothing_is() {
    let unknown = Snapshot {
        judged: None,
        live: None,
        now: Utc::now(),
    };
    let mut warned = troubled();
    warned.concerns.remove(0);
    for (snapshot, is_ok, line, sentence) in [
        (
            unknown,
            false,
            "not judged yet\n",
            "The backups have not been judged yet",
        ),
        (
            snapshot(status(vec![database("a")]), 0),
            true,
            "ok\n",
            "All is well with 1 database",
        ),
        (
            snapshot(status(Vec::new()), 0),
            true,
            "ok\n",
            "No database is backed up here yet",
        ),
        (snapshot(warned, 0), true, "ok\n", "1 thing needs attention"),
        (
            snapshot(troubled(), 0),
            false,
            "critical: 1\n",
            "2 things need attention, 1 critical",
        ),
        (
            snapshot(status(vec![database("a")]), 3600),
            false,
            "last judged 60 minutes ago\n",
            "The backups were last judged 60 minutes ago: what follows is old",
        ),
    ] {
        let health = Health::of(&snapshot);
        assert_eq!(
            (
                health.is_ok(),
                health.line().as_str(),
                health.sentence().as_str()
            ),
            (is_ok, line, sentence)
        );
    }
}

#[test]
fn nothing_is_kept_where_nobody_looks() {
    let feed = Feed::default();
    let status = Arc::new(status(Vec::new()));
    feed.give_judgement(&status, AlertBook::default());
    assert_eq!(Arc::strong_count(&status), 1);
    let shown = feed.subscribe();
    feed.give_judgement(&status, AlertBook::default());
    assert_eq!(Arc::strong_count(&status), 2);
    drop(shown);
    feed.clear();
    assert_eq!(Arc::strong_count(&status), 1);
}

/// Printed for whoever measures: `cargo nextest run hundreds_of_databases --no-capture`.
#[test]
fn a_page_of_hundreds_of_databases_is_made_quickly() {
    let databases: Vec<DatabaseStatus> = (0..200)
        .map(|index| {
            let mut one = database(&format!("database_{index}"));
            one.backups.insert(
                "daily".parse().unwrap(),
                Line {
                    count: 90,
                    ..line(
                        "backup_20250709_020000",
                        (0..90).map(|day| GIB + day).collect(),
                    )
                },
            );
            one
        })
        .collect();
    let snapshot = snapshot(status(databases), 12);
    let began = std::time::Instant::now();
    let mut page = String::new();
    for _ in 0..10 {
        page = overview_of(&snapshot);
    }
    println!("{:?} a page, {} bytes", began.elapsed() / 10, page.len());
    assert!(page.len() < 1 << 20, "{} bytes", page.len());
}
