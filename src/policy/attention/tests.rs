use std::time::Duration;

use chrono::{DateTime, FixedOffset, TimeDelta};

use super::{
    Concern, ConcernKind, DatabaseFacts, DrillFacts, Expectation, Failing, SeriesFacts, SpaceFacts,
    VerificationFacts, excerpt, judge_database, judge_space,
};
use crate::policy::{Accepted, Loss, Seen, Series};

const EXPECTATION: Expectation = Expectation {
    recovery_point: Duration::from_secs(24 * 3600),
    grace: Duration::from_secs(3600),
    recovery_time: Duration::from_secs(30 * 60),
    drill_age: Some(Duration::from_secs(35 * 24 * 3600)),
};

fn now() -> DateTime<FixedOffset> {
    DateTime::parse_from_rfc3339("2025-07-09T12:00:00+03:00").unwrap()
}

fn ago(hours: i64) -> DateTime<FixedOffset> {
    now() - TimeDelta::hours(hours)
}

fn series(name: &str, newest: Option<i64>) -> SeriesFacts {
    SeriesFacts {
        series: name.parse().unwrap(),
        scheduled: name != Series::MANUAL,
        newest: newest.map(ago),
        overdue: None,
        running: false,
        failing: None,
        skipped: None,
    }
}

/// A database with a daily backup of this morning.
fn well() -> DatabaseFacts {
    DatabaseFacts {
        restore: None,
        server: "main".to_owned(),
        database: "sales".to_owned(),
        label: "sales".to_owned(),
        directory: "/var/backups/sales".into(),
        discovered: false,
        series: vec![series("daily", Some(10)), series("weekly", Some(80))],
        verification: VerificationFacts {
            last: Some(ago(80)),
            ..VerificationFacts::default()
        },
        prune: None,
        drill: DrillFacts::default(),
        damaged: Vec::new(),
        unrestorable: Vec::new(),
        quarantined: Vec::new(),
        unreadable: Vec::new(),
        lost_manifests: Vec::new(),
        lost_states: Vec::new(),
        losses: Vec::new(),
    }
}

fn failing(hours_ago: i64, runs: u64) -> Failing {
    Failing {
        at: ago(hours_ago),
        runs,
        message: "cannot connect:\nno route to host.".to_owned(),
    }
}

/// What becomes of a healthy database after a change.
fn concerns(change: impl FnOnce(&mut DatabaseFacts)) -> Vec<(ConcernKind, String)> {
    let mut facts = well();
    change(&mut facts);
    let reported = judge_database(&facts, EXPECTATION, now())
        .concerns
        .into_iter();
    reported
        .map(|Concern { kind, sentence, .. }| (kind, sentence))
        .collect()
}

fn sentence(change: impl FnOnce(&mut DatabaseFacts)) -> (ConcernKind, String) {
    let mut found = concerns(change);
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

#[test]
fn what_is_well_needs_no_attention() {
    assert_eq!(concerns(|_| {}), []);
    let judgement = judge_database(&well(), EXPECTATION, now());
    assert_eq!(judgement.remarks, Vec::<String>::new());
}

#[test]
fn a_backup_within_recovery_point_and_grace_is_new_enough() {
    assert_eq!(concerns(|facts| facts.series[0].newest = Some(ago(25))), []);
    let (kind, said) = sentence(|facts| {
        facts.series[0].newest = Some(ago(25) - TimeDelta::seconds(1));
    });
    assert_eq!(kind, ConcernKind::RecoveryPoint);
    assert_eq!(
        said,
        "the newest intact backup is 25 hours old, and the recovery point is 24 hours; run \
         `pgbackupd backup --database sales`"
    );
    // Any series counts.
    assert_eq!(
        concerns(|facts| {
            facts.series[0].newest = Some(ago(70));
            facts.series[1].newest = Some(ago(20));
        }),
        []
    );
}

#[test]
fn without_a_backup_it_depends_on_whether_one_can_be_expected() {
    let none = |facts: &mut DatabaseFacts| {
        for series in &mut facts.series {
            series.newest = None;
        }
    };
    let not_due = {
        let mut facts = well();
        none(&mut facts);
        judge_database(&facts, EXPECTATION, now())
    };
    assert_eq!(not_due.concerns, []);
    assert_eq!(
        not_due.remarks,
        ["there is no backup yet: the first is not due"]
    );
    let due = sentence(|facts| {
        none(facts);
        facts.series[0].overdue = Some(ago(10));
        facts.series[1].overdue = Some(ago(50));
    });
    assert_eq!(
        due.1,
        "there is no backup, although one was due; run `pgbackupd backup --database sales`"
    );
    assert_eq!(
        concerns(|facts| {
            none(facts);
            facts.series[0].overdue = Some(ago(10));
            facts.series[0].running = true;
        }),
        [],
        "the first is being made"
    );
    let nobody = sentence(|facts| {
        none(facts);
        for series in &mut facts.series {
            series.scheduled = false;
        }
    });
    assert!(
        nobody
            .1
            .starts_with("there is no backup, and no job makes one;")
    );
    let (kind, _) = sentence(|facts| {
        none(facts);
        facts.series[0].overdue = Some(ago(10));
        facts.series[0].failing = Some(failing(9, 1));
    });
    assert_eq!(kind, ConcernKind::Failed, "that says it");
    let damaged = concerns(|facts| {
        none(facts);
        facts.damaged = vec![(
            "backup_20250709_020000".to_owned(),
            "it is short".to_owned(),
        )];
    });
    let kinds: Vec<ConcernKind> = damaged.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [ConcernKind::Damaged, ConcernKind::NoBackup]);
}

#[test]
fn an_overdue_backup_is_told_with_its_slot_and_the_command_that_makes_it() {
    let (kind, said) = sentence(|facts| {
        facts.series[1].overdue = Some(ago(57));
        facts.series[1].skipped = Some("another run was in progress.".to_owned());
    });
    assert_eq!(kind, ConcernKind::Overdue);
    assert_eq!(
        said,
        "the weekly backup that was due at Mon 2025-07-07 03:00 +03:00 has not been made \
         (skipped: another run was in progress); run `pgbackupd backup --database sales --series weekly`"
    );
    assert_eq!(
        concerns(|facts| {
            facts.series[0].overdue = Some(ago(10));
            facts.series[0].running = true;
        }),
        [],
        "it is being made"
    );
}

#[test]
fn a_failure_counts_until_a_success() {
    let (kind, said) = sentence(|facts| {
        facts.series[0].failing = Some(failing(2, 1));
        facts.series[0].overdue = Some(ago(3));
    });
    assert_eq!(kind, ConcernKind::Failed, "why it is overdue");
    assert_eq!(
        said,
        "the last daily backup failed 2 hours ago: cannot connect: no route to host; run \
         `pgbackupd backup --database sales`"
    );
    let (_, said) = sentence(|facts| facts.series[0].failing = Some(failing(2, 3)));
    assert!(
        said.starts_with("the last 3 runs of the daily backup failed, the newest 2 hours ago: "),
        "{said}"
    );
    // Nobody makes a manual backup again by itself: a later one of any series is as good.
    let manual = |hours| {
        let mut manual = series("manual", None);
        manual.failing = Some(failing(hours, 1));
        concerns(|facts| facts.series.push(manual)).len()
    };
    assert_eq!(manual(11), 0);
    assert_eq!(manual(9), 1);
}

#[test]
fn damage_names_the_backup_and_the_file() {
    let (kind, said) = sentence(|facts| {
        facts.damaged = vec![(
            "backup_20250709_020000".to_owned(),
            "it is short".to_owned(),
        )];
    });
    assert_eq!(kind, ConcernKind::Damaged);
    assert!(
        said.starts_with("the backup backup_20250709_020000 is damaged: it is short; run "),
        "{said}"
    );
    let (kind, said) = sentence(|facts| {
        facts.unreadable = vec![("backup_20250709_020000.json".to_owned(), "cut".to_owned())];
    });
    assert_eq!(kind, ConcernKind::Unreadable);
    assert!(
        said.starts_with("/var/backups/sales/backup_20250709_020000.json counts for no backup: "),
        "{said}"
    );
}

#[test]
fn a_verification_that_fails_or_does_not_come_is_told() {
    let (kind, said) = sentence(|facts| facts.verification.overdue = Some(ago(57)));
    assert_eq!(kind, ConcernKind::VerificationOverdue);
    assert_eq!(
        said,
        "the verify run that was due at Mon 2025-07-07 03:00 +03:00 has not happened, and the \
         last was 3 days ago; run `pgbackupd verify --all --database sales`"
    );
    assert_eq!(
        concerns(|facts| {
            facts.verification.overdue = Some(ago(57));
            facts.verification.running = true;
        }),
        []
    );
    let (kind, _) = sentence(|facts| {
        facts.verification.failing = Some(failing(2, 1));
        facts.verification.overdue = Some(ago(57));
    });
    assert_eq!(kind, ConcernKind::VerificationFailed);
    let (kind, said) = sentence(|facts| facts.prune = Some(failing(2, 1)));
    assert_eq!(kind, ConcernKind::Failed);
    assert!(
        said.starts_with("the last prune failed 2 hours ago: "),
        "{said}"
    );
    let (_, said) = sentence(|facts| facts.drill.failing = Some(failing(2, 1)));
    assert!(said.starts_with("the last drill failed "), "{said}");
}

#[test]
fn a_test_restore_that_does_not_come_is_told() {
    let (kind, said) = sentence(|facts| facts.drill.overdue = Some(ago(57)));
    assert_eq!(kind, ConcernKind::DrillOverdue);
    assert_eq!(
        said,
        "the drill that was due at Mon 2025-07-07 03:00 +03:00 has not happened, and there \
         never was one; run `pgbackupd drill --database sales`"
    );
    assert_eq!(
        concerns(|facts| {
            facts.drill.overdue = Some(ago(57));
            facts.drill.running = true;
        }),
        []
    );
}

#[test]
fn a_test_restore_that_is_too_old_is_told_whatever_became_of_later_ones() {
    let days = |days: i64| Some(ago(24 * days));
    let (kind, said) = sentence(|facts| {
        facts.drill.result = days(40);
        facts.drill.backups_since = days(100);
    });
    assert_eq!(kind, ConcernKind::DrillAge);
    assert_eq!(
        said,
        "the last drill that came to a result was 40 days ago; objectives.drill_age allows \
         35 days; run `pgbackupd drill --database sales`"
    );
    // One that could not be made shows nothing.
    let reported = concerns(|facts| {
        facts.drill.failing = Some(failing(2, 1));
        facts.drill.last = Some(ago(2));
        facts.drill.result = days(40);
        facts.drill.backups_since = days(100);
    });
    let kinds: Vec<ConcernKind> = reported.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [ConcernKind::Failed, ConcernKind::DrillAge]);
    for changed in [
        |facts: &mut DatabaseFacts| facts.drill.running = true,
        |facts: &mut DatabaseFacts| facts.drill.result = Some(ago(24 * 34)),
        |facts: &mut DatabaseFacts| {
            facts.drill.result = None;
            facts.drill.backups_since = Some(ago(24 * 34));
        },
    ] {
        let reported = concerns(|facts| {
            facts.drill.result = days(40);
            facts.drill.backups_since = days(100);
            changed(facts);
        });
        assert_eq!(reported, []);
    }
}

#[test]
fn a_database_that_was_found_may_be_gone() {
    let (_, said) = sentence(|facts| {
        facts.discovered = true;
        facts.series[0].newest = Some(ago(200));
        facts.series[1].newest = Some(ago(180));
    });
    assert!(
        said.ends_with(", or, if the database is gone, move /var/backups/sales away"),
        "{said}"
    );
}

#[test]
fn free_space_is_measured_by_the_limit_and_by_the_backups() {
    const GIB: u64 = 1 << 30;
    let table = [
        (20, 10, 1, 2, None),
        (20, 10, 0, 0, None),
        (
            9,
            10,
            1,
            2,
            Some("less than limits.free_space asks for (10.0 GiB); "),
        ),
        (
            20,
            10,
            1,
            7,
            Some("enough for 2 more backups of the database there; "),
        ),
        (
            20,
            10,
            3,
            20,
            Some("enough for one more backup of each of the 3 databases there; "),
        ),
        (
            5,
            10,
            1,
            6,
            Some(
                "less than limits.free_space asks for (10.0 GiB), and enough for not even one \
                 more backup of the database there; ",
            ),
        ),
        (21, 10, 1, 7, None),
    ];
    for (free, wanted, databases, round, expected) in table {
        let facts = SpaceFacts {
            directory: "/var/backups".into(),
            free: free * GIB,
            wanted: wanted * GIB,
            databases,
            round: round * GIB,
        };
        let found = judge_space(&facts).map(|concern| concern.sentence);
        match expected {
            None => assert_eq!(found, None, "{facts:?}"),
            Some(part) => {
                let found = found.unwrap();
                let start = format!("only {free}.0 GiB are free in /var/backups, {part}make room");
                assert!(found.starts_with(&start), "{found}");
            }
        }
    }
}

#[test]
fn late_is_what_is_overdue_and_nobody_has_tried() {
    let is_late = |change: fn(&mut DatabaseFacts)| {
        let mut facts = well();
        change(&mut facts);
        facts.is_late()
    };
    assert!(!is_late(|_| {}));
    assert!(is_late(|facts| facts.series[0].overdue = Some(ago(10))));
    assert!(is_late(|facts| facts.verification.overdue = Some(ago(10))));
    assert!(!is_late(|facts| {
        facts.series[0].overdue = Some(ago(10));
        facts.series[0].failing = Some(failing(9, 1));
    }));
    assert!(!is_late(|facts| {
        facts.series[0].overdue = Some(ago(10));
        facts.series[0].running = true;
    }));
}

#[test]
fn a_recovery_time_is_held_against_its_target() {
    let minutes = |count: u64| Duration::from_secs(60 * count);
    for (recovery, reported) in [
        (None, None),
        (Some(minutes(30)), None),
        (
            Some(minutes(45)),
            Some(
                "the data was back after 45 minutes in the last drill, and a restore is to take 30 minutes at most ",
            ),
        ),
    ] {
        let found = concerns(|facts| facts.drill.recovery = recovery);
        let reported: Vec<_> = reported
            .map(|reported| (ConcernKind::RecoveryTime, reported))
            .into_iter()
            .collect();
        assert_eq!(found.len(), reported.len(), "{found:?}");
        for ((kind, sentence), (expected, reported)) in found.iter().zip(reported) {
            assert_eq!(*kind, expected);
            assert!(sentence.starts_with(reported), "{sentence}");
        }
    }
}

#[test]
fn what_is_in_quarantine_or_does_not_restore_is_told_until_somebody_deals_with_it() {
    let found = concerns(|facts| {
        facts.series[0].newest = None;
        facts.unrestorable = vec![("backup_20250708_020000".to_owned(), "refused".to_owned())];
        facts.quarantined = vec![(
            "/var/backups/sales/quarantine/backup_20250709_020000.2".into(),
            "its dump has been changed".to_owned(),
        )];
    });
    let kinds: Vec<ConcernKind> = found.iter().map(|(kind, _)| *kind).collect();
    let expected = [ConcernKind::Unrestorable, ConcernKind::Quarantined];
    assert_eq!(kinds[..2], expected);
    assert!(
        found[0]
            .1
            .starts_with("the backup backup_20250708_020000 does not restore: refused; run ")
    );
    assert!(
        found[1].1.contains(
            "into /var/backups/sales/quarantine/backup_20250709_020000.2 and run \
         `pgbackupd release backup_20250709_020000.2`"
        ),
        "{}",
        found[1].1
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_is_gone_is_a_concern_with_a_way_back_and_a_word_to_accept_it() {
    let seen = |name: &str, rows, tables, system| Seen {
        name: name.to_owned(),
        started: ago(10).to_utc(),
        rows,
        tables,
        system_identifier: system,
    };
    let loss = |what, first| Loss {
        what,
        before: seen("backup_20250708_020000", 100_000, 2, Some(7)),
        first: Some(first),
    };
    let empty = seen("backup_20250709_020000", 0, 0, Some(8));
    let few = seen("backup_20250709_020000", 10, 1, Some(7));
    for (what, first, kind, expected) in [
        (
            Accepted::Contents,
            empty.clone(),
            ConcernKind::Contents,
            "database sales has no table left: the backup backup_20250708_020000 holds 100,000 rows in \
             2 tables, backup_20250709_020000 0 rows in 0 tables; no backup made before \
             backup_20250709_020000 is removed; if this is intended, run `pgbackupd accept contents \
             --database sales`",
        ),
        (
            Accepted::Contents,
            few,
            ConcernKind::Contents,
            "database sales has lost more than half of its rows: the backup backup_20250708_020000 holds \
             100,000 rows in 2 tables, backup_20250709_020000 10 rows in 1 table; no backup made before \
             backup_20250709_020000 is removed; if this is intended, run `pgbackupd accept contents \
             --database sales`",
        ),
        (
            Accepted::Server,
            empty.clone(),
            ConcernKind::OtherServer,
            "another server answers for database sales since the backup backup_20250709_020000: its \
             system identifier is 8, that of backup_20250708_020000 before it 7; no backup made before \
             backup_20250709_020000 is removed; if it is the right server, run `pgbackupd accept server \
             --database sales`",
        ),
        (
            Accepted::Vanished,
            empty,
            ConcernKind::Vanished,
            "the backup backup_20250708_020000 was the newest in /var/backups/sales and is gone, and \
             nothing on record has removed it: is the disk mounted? No older backup is removed; if it is \
             permanently gone, run `pgbackupd accept vanished --database sales`",
        ),
    ] {
        let (found, said) = sentence(|facts| facts.losses = vec![loss(what, first)]);
        assert_eq!((found, said.as_str()), (kind, expected));
    }
    let backup = "backup_20250709_020000".to_owned();
    let (kind, said) = sentence(|facts| {
        facts.lost_manifests = vec![(backup.clone(), format!("{backup}.sql.gz"))];
    });
    assert_eq!(kind, ConcernKind::LostManifest);
    assert_eq!(
        said,
        "the manifest of the backup backup_20250709_020000 is lost, so that it counts for none, and no \
         backup made before it is removed; bring backup_20250709_020000.json back from a copy of the \
         directory, restore the dump by its path (`pgbackupd restore --database sales \
         /var/backups/sales/backup_20250709_020000.sql.gz`), or give it up by `pgbackupd accept \
         manifest --database sales`"
    );
    let (kind, said) = sentence(|facts| {
        facts.lost_states = vec![(backup, "it has been changed".to_owned())];
    });
    assert_eq!(kind, ConcernKind::LostState);
    assert_eq!(
        said,
        "the state of the backup backup_20250709_020000 cannot be used: it has been changed; it counts \
         as pinned and as not checked; run `pgbackupd verify --database sales backup_20250709_020000`, \
         which writes it again, and then `pgbackupd unpin --database sales backup_20250709_020000` if it \
         need not stay"
    );
}

#[test]
fn an_excerpt_of_an_error_ends_before_half_a_command() {
    let message = format!("{} `pgbackupd backup --database app`", "x".repeat(280));
    assert_eq!(
        excerpt(&message),
        format!("{} … (backup.log has all of it)", "x".repeat(280))
    );
    let complete = format!("`a` {}", "x".repeat(400));
    assert!(excerpt(&complete).starts_with("`a` xxx"));
}
