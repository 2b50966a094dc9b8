use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, FixedOffset, TimeDelta, Utc};
use chrono_tz::Tz;
use insta::assert_snapshot;
use proptest::prelude::*;

use super::{markdown, text};
use crate::policy::{
    Answer, AuditFacts, BackupRecord, ConfigurationFacts, CopyFacts, DatabaseRecord, EnabledJobs,
    Expectation, Items, MissingCopy, PresentFacts, Ran, Report, ReportEntry, ReportFacts,
    ReportPeriod, ReportedCopies, ReportedDrill, ReportedFailure, Sensitivity, SeriesRecord,
    ServiceFacts, Severity, Slot, SlotOutcome, SlotTally, SpaceFacts, SuccessRate, report,
};

const HOUR: Duration = Duration::from_secs(3600);
const MIB: u64 = 1 << 20;

/// On a Sunday at 08:00 in Riyadh.
fn now() -> DateTime<Utc> {
    "2026-11-29T05:00:00Z".parse().unwrap()
}

fn ago(hours: i64) -> DateTime<FixedOffset> {
    let at = now() - TimeDelta::hours(hours);
    at.with_timezone(&Tz::Asia__Riyadh).fixed_offset()
}

fn items<T>(items: Vec<T>) -> Items<T> {
    Items {
        kept: items,
        more: 0,
    }
}

fn entry(hours: i64, what: &str) -> ReportEntry {
    ReportEntry {
        at: ago(hours),
        what: what.to_owned(),
    }
}

/// A series in which all went well, with so many slots in the report's time.
fn series(name: &str, slots: i64) -> SeriesRecord {
    let done = |day: i64| Slot {
        at: ago(6 + 24 * day).to_utc(),
        outcome: SlotOutcome::Done,
    };
    let tally = |done| SlotTally {
        done,
        ..SlotTally::default()
    };
    SeriesRecord {
        series: name.parse().unwrap(),
        slots: (0..slots).rev().map(done).collect(),
        month: tally(30),
        quarter: tally(90),
        last: Some(BackupRecord {
            started: ago(6) + TimeDelta::seconds(11),
            backup: Some("backup_20261129_020000".to_owned()),
            bytes: Some(61 * MIB + MIB / 5),
            took: Some(Duration::from_secs(42)),
            message: None,
        }),
        before: (58..67).map(|size| size * MIB).collect(),
    }
}

fn database(label: &str, slots: i64) -> DatabaseRecord {
    let ran = |succeeded, hours| Ran {
        succeeded,
        failed: 0,
        last: Some(ago(hours)),
    };
    DatabaseRecord {
        label: label.to_owned(),
        series: vec![series("daily", slots)],
        ended: slots.unsigned_abs() + 1,
        verified: ran(1, 5),
        pruned: ran(slots.unsigned_abs(), 6),
        drills: items(vec![ReportedDrill {
            at: ago(99),
            backup: Some("backup_20261125_020000".to_owned()),
            passed: Some(true),
            took: Some(Duration::from_secs(94)),
            message: Some("184 tables".to_owned()),
        }]),
        newest: Some(ago(6)),
        recovery_time: Some(Duration::from_secs(94)),
        first: Some(ago(24 * 400)),
        ..DatabaseRecord::default()
    }
}

fn present() -> PresentFacts {
    PresentFacts {
        spaces: vec![SpaceFacts {
            directory: PathBuf::from("/var/backups"),
            free: 120 << 30,
            wanted: 10_000_000_000,
            databases: 1,
            round: 61 * MIB,
            full_in_days: None,
        }],
        service: ServiceFacts::Up(ago(240), 812),
        concerns: Vec::new(),
        configuration: ConfigurationFacts {
            files: vec!["/etc/pgbackupd/pgbackupd.toml".to_owned()],
            changed: Some(ago(24 * 90)),
            digest: "0123456789abcdef0123456789abcdef".to_owned(),
            warnings: 0,
            is_changed_on_disk: Some(false),
        },
        audit: Some(AuditFacts {
            looked_at: 173,
            ..AuditFacts::default()
        }),
        unconfigured: Vec::new(),
        copies: Vec::new(),
    }
}

fn facts(period: ReportPeriod, databases: Vec<DatabaseRecord>) -> ReportFacts {
    ReportFacts {
        host: "db1".to_owned(),
        at: ago(0),
        span: period.ending_at(now(), Tz::Asia__Riyadh),
        objectives: Expectation {
            recovery_point: HOUR * 24,
            grace: HOUR,
            backup_time: HOUR / 12,
            recovery_time: HOUR / 2,
            sensitivity: Sensitivity {
                factor: 200,
                share: 50,
            },
            drill_age: Some(HOUR * 24 * 35),
            copy_age: Duration::from_secs(24 * 3600),
            copy_proof_age: Some(Duration::from_secs(15 * 24 * 3600)),
            rehearsal_age: Some(Duration::from_secs(92 * 24 * 3600)),
            success_rate: SuccessRate::from_thousandths(99_900).unwrap(),
            size: None,
        },
        databases,
        unread: Vec::new(),
        jobs: EnabledJobs {
            verify: true,
            drill: true,
        },
        present: Some(present()),
    }
}

/// A night on which much went wrong.
fn bad_night() -> ReportFacts {
    let mut app = database("app", 1);
    app.series[0].slots[0].outcome = SlotOutcome::Failed;
    app.series[0].month = SlotTally {
        done: 29,
        failed: 1,
        ..SlotTally::default()
    };
    let last = app.series[0].last.as_mut().unwrap();
    (last.backup, last.bytes) = (None, None);
    last.message = Some("pg_dump: error: connection to server failed".to_owned());
    app.failures = items(vec![ReportedFailure {
        at: ago(6),
        what: "daily backup failed: pg_dump: error: connection to server failed".to_owned(),
    }]);
    app.newest = Some(ago(30));
    let mut audit = database("audit", 1);
    audit.series[0].last.as_mut().unwrap().bytes = Some(3 * MIB);
    audit.removed = items(vec![entry(
        6,
        "backup_20261030_020000 (older than 30 days)",
    )]);
    let mut crm = database("crm", 1);
    crm.series[0].slots[0].outcome = SlotOutcome::Missed;
    crm.series[0].last = None;
    crm.requests = items(vec![entry(
        3,
        "backup of manual_before-upgrade_20261129_050000 by alice (process 7, on /dev/pts/0), \
         reason: before-upgrade",
    )]);
    let mut facts = facts(ReportPeriod::Daily, vec![app, audit, crm]);
    facts.objectives.size = crate::policy::SizeRange::new(50_000_000, 200_000_000);
    facts.unread = vec!["the ledgers of shop cannot be read: Permission denied".to_owned()];
    let present = facts.present.as_mut().unwrap();
    present.spaces[0].free = 2 << 30;
    present.concerns = vec![(
        Severity::Critical,
        "app: the newest intact backup is 30 hours old; run `pgbackupd backup`".to_owned(),
    )];
    facts
}

fn answers(report: &Report) -> String {
    let word = |answer| match answer {
        Answer::Yes => "yes",
        Answer::No => "NO",
        Answer::Unknown => "unknown",
    };
    let checks = report.checks.iter();
    let shown: Vec<String> = checks
        .map(|check| format!("{} {}", check.id, word(check.answer)))
        .collect();
    shown.join(", ")
}

#[test]
fn p17_a_good_day_has_at_most_five_lines() {
    let mut app = database("app", 1);
    app.removed = items(vec![entry(
        6,
        "backup_20261030_020000 (older than 30 days)",
    )]);
    app.drills = Items::default();
    let report = report(&facts(ReportPeriod::Daily, vec![app]));
    let text = text(&report);
    assert!(text.lines().count() <= 5, "{text}");
    assert!(report.ok);
    assert_snapshot!(text);
}

#[test]
fn p17_ten_databases_have_a_line_each_on_a_good_day() {
    let databases = (0..10).map(|index| {
        let mut one = database(&format!("app{index}"), 1);
        one.drills = Items::default();
        one
    });
    let text = text(&report(&facts(ReportPeriod::Daily, databases.collect())));
    assert_eq!(text.lines().count(), 13, "{text}");
}

#[test]
fn p17_of_a_thousand_databases_those_that_failed_are_named() {
    let databases = (0..1000).map(|index| {
        let mut one = database(&format!("app{index}"), 1);
        one.drills = Items::default();
        if index % 10 == 7 {
            one.series[0].slots[0].outcome = SlotOutcome::Missed;
        }
        one
    });
    let report = report(&facts(ReportPeriod::Daily, databases.collect()));
    let text = text(&report);
    assert_eq!(text.lines().count(), 35, "{text}");
    assert!(text.contains("  NO   app297: no run started"), "{text}");
    assert!(text.contains("  NO   and 70 more\n"), "{text}");
    let rest = "  yes  900 backups were made, none of an odd size\n";
    assert!(text.contains(rest), "{text}");
    assert!(text.contains("no run for 100 slots"), "{text}");
}

/// What is known of copies at a destination in three states: up to date, late, and none yet.
fn three_copies() -> Vec<ReportedCopies> {
    let opened = || CopyFacts::opened("offsite", 9, ago(6).to_utc());
    let late = CopyFacts {
        missing: Some(MissingCopy {
            backup: "backup_20261129_020000".to_owned(),
            since: ago(30).to_utc(),
        }),
        failure: Some((ago(30).to_utc(), "it is away".to_owned())),
        ..opened()
    };
    let none = CopyFacts {
        newest: None,
        newest_of_series: Vec::new(),
        ..opened()
    };
    [
        ("app", opened(), false),
        ("crm", late, true),
        ("hr", none, false),
    ]
    .into_iter()
    .map(|(database, copies, needs_attention)| ReportedCopies {
        database: database.to_owned(),
        copies,
        needs_attention,
    })
    .collect()
}

#[test]
fn p4_a_report_says_what_is_elsewhere_and_how_to_tell_the_newest_copy_from_any_other() {
    let mut app = database("app", 1);
    app.drills = Items::default();
    app.copied = items(vec![entry(
        5,
        "backup_20261129_020000 to offsite, 61.0 MiB, opened",
    )]);
    app.removed = items(vec![entry(
        5,
        "backup_20261030_020000 at offsite (older than 30 days)",
    )]);
    for period in [ReportPeriod::Daily, ReportPeriod::Weekly] {
        let mut facts = facts(period, vec![app.clone()]);
        facts.present.as_mut().unwrap().copies = three_copies();
        let report = report(&facts);
        assert!(!report.ok);
        let copies = report.checks.iter().filter(|check| check.id == "copies");
        let answers: Vec<Answer> = copies.map(|check| check.answer).collect();
        assert_eq!(answers, [Answer::Yes, Answer::No, Answer::Unknown]);
        // Each line fits, but for a digest that does not.
        for line in text(&report).lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        assert_snapshot!(format!("copies_{}", period.word()), text(&report));
        // Of the past, nothing is known of that.
        facts.present = None;
        let report = crate::policy::report(&facts);
        assert!(report.checks.iter().all(|check| check.id != "copies"));
    }
}

#[test]
fn p17_a_bad_day_names_what_failed() {
    let report = report(&bad_night());
    assert!(!report.ok);
    let text = text(&report);
    let answers = ["  NO   ", "  yes  ", "  ?    "];
    let lines = text.lines();
    let lines = lines.filter(|line| answers.iter().any(|answer| line.starts_with(answer)));
    assert!(
        report
            .title
            .ends_with(&format!(" of {} checks: NO", lines.count()))
    );
    assert_snapshot!(text);
}

#[test]
fn p17_the_weekly_report_has_verification_retention_service_and_targets() {
    let report = report(&facts(ReportPeriod::Weekly, vec![database("app", 7)]));
    assert_snapshot!(text(&report));
}

#[test]
fn p17_the_monthly_report_has_test_restore_configuration_and_files() {
    let mut app = database("app", 30);
    app.changes = items(vec![entry(
        400,
        "new definitions: those of backup_20261112_020000 load",
    )]);
    let mut new = database("new", 3);
    new.first = Some(ago(24 * 3));
    let mut facts = facts(ReportPeriod::Monthly, vec![app, new]);
    let present = facts.present.as_mut().unwrap();
    present.unconfigured = vec![
        "/var/backups/old holds 30 scheduled backups and is not \
        configured: move or delete the directory"
            .to_owned(),
    ];
    let audit = present.audit.as_mut().unwrap();
    audit.wrong = vec!["/var/backups/app/x.sql is open to others (mode 0644)".to_owned()];
    audit.more = 2;
    audit.untracked = 1;
    assert_snapshot!(text(&report(&facts)));
}

#[test]
fn p17_a_date_in_the_past_is_reported_from_the_ledgers_alone() {
    let date = "2026-11-28".parse().unwrap();
    let mut app = database("app", 1);
    app.series[0].slots[0].at -= TimeDelta::days(1);
    app.series[0].last.as_mut().unwrap().bytes = None;
    let mut facts = facts(ReportPeriod::Daily, vec![app]);
    facts.present = None;
    let span = ReportPeriod::Daily.of_date(date, now(), Tz::Asia__Riyadh);
    facts.span = span.unwrap();
    assert_snapshot!(text(&report(&facts)));
    let mut monthly = facts.clone();
    let span = ReportPeriod::Monthly.of_date(date, now(), Tz::Asia__Riyadh);
    monthly.span = span.unwrap();
    assert_eq!(
        answers(&report(&monthly)),
        "drill yes, configuration unknown, files unknown"
    );
    monthly.span.period = ReportPeriod::Weekly;
    monthly.databases[0].newest = None;
    assert_eq!(
        answers(&report(&monthly)),
        "verified unknown, retention unknown, service unknown"
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn p17_each_item_is_answered_by_its_own_evidence() {
    use ReportPeriod::{Daily, Monthly, Weekly};
    type Change = fn(&mut ReportFacts);
    let table: [(ReportPeriod, Change, &str); 12] = [
        (
            Daily,
            |_| {},
            "last_backup yes, size yes, space yes, errors yes, attention yes",
        ),
        (
            Daily,
            |facts| facts.databases[0].series[0].before.truncate(4),
            "last_backup yes, size unknown, space yes, errors yes, attention yes",
        ),
        (
            Daily,
            |facts| facts.databases[0].series[0].slots[0].outcome = SlotOutcome::Skipped,
            "last_backup yes, size yes, space yes, errors yes, attention yes",
        ),
        (
            Daily,
            |facts| facts.databases[0].series.clear(),
            "last_backup yes, space yes, errors yes, attention yes",
        ),
        (
            Daily,
            |facts| {
                facts.databases[0].series.clear();
                facts.databases[0].newest = Some(ago(26));
            },
            "last_backup NO, space yes, errors yes, attention yes",
        ),
        (
            Weekly,
            |_| {},
            "verified yes, retention yes, service yes, attention yes",
        ),
        (
            Weekly,
            |facts| {
                facts.databases[0].verified = Ran::default();
                facts.databases[0].pruned = Ran::default();
                facts.present.as_mut().unwrap().service = ServiceFacts::Down;
            },
            "verified NO, retention NO, service NO, attention yes",
        ),
        (
            Weekly,
            |facts| facts.databases[0].damaged = 1,
            "verified NO, retention yes, service yes, attention yes",
        ),
        (
            Monthly,
            |_| {},
            "drill yes, configuration unknown, files yes, attention yes",
        ),
        (
            Monthly,
            |facts| facts.databases[0].drills.kept[0].passed = Some(false),
            "drill NO, configuration unknown, files yes, attention yes",
        ),
        (
            Monthly,
            |facts| facts.databases[0].drills = Items::default(),
            "drill NO, configuration unknown, files yes, attention yes",
        ),
        (
            Monthly,
            |facts| {
                let present = facts.present.as_mut().unwrap();
                present.configuration.is_changed_on_disk = Some(true);
            },
            "drill yes, configuration NO, files yes, attention yes",
        ),
    ];
    for (index, (period, change, expected)) in table.into_iter().enumerate() {
        let mut facts = facts(period, vec![database("app", 1)]);
        change(&mut facts);
        assert_eq!(answers(&report(&facts)), expected, "{index}");
    }
}

#[test]
fn p18_targets_say_what_was_reached_and_what_was_wanted() {
    let mut facts = facts(ReportPeriod::Weekly, vec![database("app", 7)]);
    facts.objectives.size = crate::policy::SizeRange::new(100_000_000, 200_000_000);
    let app = &mut facts.databases[0];
    app.series[0].quarter.missed = 2;
    app.series.push(SeriesRecord {
        month: SlotTally::default(),
        quarter: SlotTally {
            done: 12,
            ..SlotTally::default()
        },
        last: None,
        ..series("weekly", 0)
    });
    let report = report(&facts);
    let targets: Vec<String> = report
        .targets
        .iter()
        .map(|one| format!("{} {}: {}", one.target, one.met, one.text))
        .collect();
    assert_eq!(
        targets,
        [
            "success_rate_30_days true: 30 of 30 slots in 30 days, 100 % (wanted 99.9 %)",
            "success_rate_90_days false: 102 of 104 slots in 90 days, 98 % (wanted 99.9 %)",
            "backup_time true: backup in 42.0 s (wanted 5 minutes)",
            "size false: daily backup of 61.2 MiB (wanted 100.0 MB to 200.0 MB)",
            "recovery_time true: data back after 1 minute 34 seconds in the last drill (wanted 30 minutes)",
            "recovery_point true: newest backup 6 hours old (wanted 1 day)",
        ]
    );
    assert_eq!(report.targets[1].value.to_string(), "0.9807692307692307");
}

#[test]
fn nothing_in_a_report_becomes_markup() {
    let mut night = bad_night();
    night.databases[0].label = "<b>*a*</b>\n# b [x](y)".to_owned();
    night.databases[0].failures.kept[0].what = "failed: `rm` <script>\n- item".to_owned();
    assert_snapshot!(markdown(&report(&night)));
}

proptest! {
    #[test]
    fn a_report_is_bounded_and_fits_80_columns(
        databases in 1usize..40, failures in 0usize..120, name in "[a-z]{1,20}",
    ) {
        let databases = (0..databases).map(|index| {
            let mut one = database(&format!("{name}{index}"), 1);
            for failure in 0..failures {
                one.failures.add_older(ReportedFailure {
                    at: ago(i64::try_from(failure).unwrap()),
                    what: "daily backup failed: no route to host".to_owned(),
                });
            }
            one
        });
        let report = report(&facts(ReportPeriod::Weekly, databases.collect()));
        for section in &report.sections {
            prop_assert!(section.entries.len() <= 20);
        }
        for line in text(&report).lines() {
            prop_assert!(line.chars().count() <= 80, "{line}");
        }
        let document = serde_json::to_value(&report).unwrap();
        prop_assert_eq!(&document["version"], 1);
    }
}
