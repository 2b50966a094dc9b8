use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, FixedOffset, TimeDelta};

use super::{
    Concern, ConcernKind, DatabaseFacts, DrillFacts, Expectation, Failing, SeriesFacts, SpaceFacts,
    VerificationFacts, excerpt, judge_database, judge_space,
};
use crate::policy::{
    Accepted, Blackouts, Loss, Promise, Schedule, Seen, Sensitivity, SuccessRate, TableLoss,
    odd_size,
};

pub(super) const EXPECTATION: Expectation = Expectation {
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
};

pub(super) fn now() -> DateTime<FixedOffset> {
    DateTime::parse_from_rfc3339("2025-07-09T12:00:00+03:00").unwrap()
}

fn ago(hours: i64) -> DateTime<FixedOffset> {
    now() - TimeDelta::hours(hours)
}

fn series(name: &str, newest: Option<i64>) -> SeriesFacts {
    SeriesFacts::on_schedule(name, newest.map(ago))
}

/// A database with a daily backup of this morning.
pub(super) fn well() -> DatabaseFacts {
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
        copies: Vec::new(),
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

/// The schedules of the policy for a year, looked at every three hours, at every minute of these in turn.
#[test]
fn in_a_quiet_year_nothing_needs_attention() {
    let schedule = |text| Schedule::parse(text, chrono_tz::Asia::Riyadh).unwrap();
    let (daily, weekly) = (schedule("0 2 * * *"), schedule("0 3 * * SUN"));
    let drill = schedule("0 5 1 * *");
    let blackouts = Blackouts::new(Vec::new(), chrono_tz::Asia::Riyadh).unwrap();
    for look in 0..365 * 8 {
        let at = now() + TimeDelta::minutes(look * 180 + look % 180);
        // Every run takes four minutes.
        let done = |schedule: &Schedule| {
            let slot = schedule.latest_at_or_before(at.to_utc() - TimeDelta::minutes(4));
            Some(slot?.fixed_offset())
        };
        let overdue = |schedule: &Schedule| {
            let promise = Promise {
                schedule,
                blackouts: &blackouts,
                allowed: EXPECTATION.grace,
                since: None,
            };
            let newest = done(schedule).map(|newest| newest.to_utc());
            Some(promise.overdue(newest, at.to_utc())?.slot.fixed_offset())
        };
        let mut facts = well();
        for (series, schedule) in facts.series.iter_mut().zip([&daily, &weekly]) {
            (series.newest, series.overdue) = (done(schedule), overdue(schedule));
        }
        facts.verification.last = done(&weekly);
        facts.verification.overdue = overdue(&weekly);
        (facts.drill.last, facts.drill.result) = (done(&drill), done(&drill));
        facts.drill.overdue = overdue(&drill);
        let judgement = judge_database(&facts, EXPECTATION, at);
        assert_eq!(judgement.concerns, [], "{at}");
    }
}

#[test]
fn a_definition_that_does_not_load_needs_attention_and_one_not_tried_a_word() {
    use crate::policy::{DefinitionsFacts, DefinitionsResult};
    let tried = |result, message: &str| {
        Some(DefinitionsFacts {
            backup: "backup_20250709_020000".to_owned(),
            at: ago(9),
            result,
            message: message.to_owned(),
        })
    };
    let refused = "trigger public.n moved: operator does not exist: \
        public.ltree = public.ltree (SQLSTATE 42883); the statement is CREATE TRIGGER moved …";
    let (kind, said) = sentence(|facts| {
        facts.definitions = tried(
            DefinitionsResult::Refused,
            &format!("definitions do not load: {refused}"),
        );
    });
    assert_eq!(kind, ConcernKind::DefinitionsDoNotLoad);
    assert_eq!(
        said,
        format!(
            "the definitions of backup_20250709_020000 do not load: {refused}; rows not tried. Fix it \
             in the database, then run `pgbackupd backup --database sales` and `pgbackupd drill \
             --definitions --database sales`"
        )
    );
    let judge = |result, message: &str| {
        let mut facts = well();
        facts.definitions = tried(result, message);
        judge_database(&facts, EXPECTATION, now())
    };
    let loads = judge(DefinitionsResult::Load, "definitions load; rows not tried");
    assert_eq!((loads.concerns, loads.remarks), (vec![], vec![]));
    let not_tried = judge(
        DefinitionsResult::NotTried,
        "definitions not tried: no programs",
    );
    assert_eq!(not_tried.concerns, []);
    assert_eq!(
        not_tried.remarks,
        ["definitions not tried: no programs (backup_20250709_020000)"]
    );
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
fn an_overdue_backup_is_reported_with_its_slot_and_the_command_that_makes_it() {
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
fn a_verification_that_fails_or_does_not_come_is_reported() {
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
fn a_test_restore_that_does_not_come_is_reported() {
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
fn a_test_restore_that_is_too_old_is_reported_whatever_became_of_later_ones() {
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
            full_in_days: None,
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
fn p14_a_file_system_that_is_going_to_be_full_is_reported_days_before() {
    const GIB: u64 = 1 << 30;
    let facts = |full_in_days| SpaceFacts {
        directory: "/var/backups".into(),
        free: 100 * GIB,
        wanted: 10 * GIB,
        databases: 1,
        round: 20 * GIB,
        full_in_days,
    };
    assert_eq!(judge_space(&facts(None)), None);
    for (days, expected) in [
        (1, "full within a day by the schedule"),
        (5, "full in 5 days"),
    ] {
        let found = judge_space(&facts(Some(days))).unwrap();
        assert!(found.sentence.contains(expected), "{}", found.sentence);
        assert_eq!(found.severity, crate::policy::Severity::Warning);
        assert_eq!(found.kind, ConcernKind::Space);
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
fn commands_on_encrypted_backups_have_the_option_for_the_identity() {
    const BACKUP: &str = "backup_20250708_020000";
    const SALVAGE: &str = "`pgbackupd restore --database sales backup_20250708_020000 --salvage --into \
                           sales_salvaged";
    for (encrypted, has_drill_identity, drill, salvage) in [
        (&[][..], false, "drill --database sales`", "`"),
        (
            &[BACKUP],
            false,
            "drill --database sales --identity FILE`",
            " --identity FILE`",
        ),
        (
            &[BACKUP],
            true,
            "drill --database sales`",
            " --identity FILE`",
        ),
        (
            &["backup_20250707_020000"],
            false,
            "drill --database sales --identity FILE`",
            "`",
        ),
    ] {
        let found = concerns(|facts| {
            facts.unrestorable = vec![(BACKUP.to_owned(), "refused".to_owned())];
            facts.encrypted = encrypted.iter().map(|&one| one.to_owned()).collect();
            facts.has_drill_identity = has_drill_identity;
        });
        let sentence = &found[0].1;
        assert!(sentence.contains(drill), "{drill}: {sentence}");
        let salvage = format!("{SALVAGE}{salvage} salvages");
        assert!(sentence.contains(&salvage), "{salvage}: {sentence}");
    }
}

#[test]
fn what_is_in_quarantine_or_does_not_restore_is_reported_until_somebody_deals_with_it() {
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
            .starts_with("the backup backup_20250708_020000 does not restore: refused; once ")
    );
    assert!(!found[0].1.contains("--identity"), "{}", found[0].1);
    assert!(
        found[1].1.contains(
            "into /var/backups/sales/quarantine/backup_20250709_020000.2 and run \
         `pgbackupd release --database sales backup_20250709_020000.2`"
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
    let before = seen("backup_20250708_020000", 100_000, 2, Some(7));
    let loss = |what, first| Loss {
        first: Some(first),
        ..Loss::of(what, &before)
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
    let with_hint = format!("{}; hint: run `x`", "x".repeat(400));
    assert_eq!(
        excerpt(&with_hint),
        format!(
            "{}… (backup.log has all of it); hint: run `x`",
            "x".repeat(300)
        )
    );
    let complete = format!("`a` {}", "x".repeat(400));
    assert!(excerpt(&complete).starts_with("`a` xxx"));
}

#[test]
#[expect(clippy::too_many_lines, reason = "a loss of many fields")]
fn p12_a_size_that_is_odd_is_a_warning_unless_lost_rows_explain_it() {
    let odd = |bytes| {
        let before = [60_000_000; 14];
        odd_size(
            ("backup_20250709_020000", bytes),
            &before,
            EXPECTATION.sensitivity,
        )
    };
    let (kind, said) = sentence(|facts| facts.series[0].odd_size = odd(20_000_000));
    assert_eq!(kind, ConcernKind::Size);
    assert_eq!(
        said,
        "the daily backup backup_20250709_020000 is smaller than usual: 19.1 MiB, and the median of the \
         14 before it is 57.2 MiB; if this is intended, run `pgbackupd accept contents --database sales`"
    );
    let (_, said) = sentence(|facts| facts.series[0].odd_size = odd(200_000_000));
    assert!(said.contains(" is larger than usual: 190.7 MiB"), "{said}");
    let lost = |bytes| {
        concerns(|facts| {
            let before = Seen {
                name: "backup_20250708_020000".to_owned(),
                started: ago(34).to_utc(),
                rows: 1000,
                tables: 2,
                system_identifier: None,
            };
            let first = Seen {
                name: "backup_20250709_020000".to_owned(),
                rows: 900,
                ..before.clone()
            };
            facts.losses = vec![Loss {
                first: Some(first),
                tables: vec![
                    TableLoss {
                        table: "public.orders".to_owned(),
                        before: 1_204_338,
                        now: Some(0),
                    },
                    TableLoss {
                        table: "public.rates".to_owned(),
                        before: 1,
                        now: None,
                    },
                ],
                tables_lost: 14,
                ..Loss::of(Accepted::Contents, &before)
            }];
            facts.series[0].odd_size = odd(bytes);
        })
    };
    let found = lost(20_000_000);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        found[0].1,
        "database sales has lost rows since the backup backup_20250708_020000: public.orders had \
         1,204,338 rows and has 0 rows, public.rates had 1 row and is gone, and 12 more tables; no backup \
         made before backup_20250709_020000 is removed; if this is intended, run `pgbackupd accept \
         contents --database sales`"
    );
    assert_eq!(lost(200_000_000).len(), 2);
}

#[test]
fn p13_a_run_that_takes_longer_than_expected_is_reported_while_it_runs() {
    let minutes = |minutes: i64| Some(now() - TimeDelta::minutes(minutes));
    let took = |minutes: u64| vec![Duration::from_secs(minutes * 60); 5];
    for (running, usual, expected) in [
        (4, vec![], None),
        (
            6,
            vec![],
            Some("6 minutes, longer than objectives.backup_time allows (5 minutes)"),
        ),
        (
            6,
            took(1),
            Some("6 minutes, longer than objectives.backup_time allows (5 minutes)"),
        ),
        (100, took(60), None),
        (
            130,
            took(60),
            Some("2 hours, longer than expected from those before it (2 hours)"),
        ),
    ] {
        let found = concerns(|facts| {
            facts.series[0].running = true;
            facts.series[0].running_since = minutes(running);
            facts.series[0].took = usual.clone();
        });
        let found: Vec<&str> = found.iter().map(|(_, said)| said.as_str()).collect();
        let expected: Vec<String> = expected
            .iter()
            .map(|expected| {
                format!(
                    "the daily backup has been running for {expected}; `pgbackupd status` shows how far \
                     it is"
                )
            })
            .collect();
        assert_eq!(found, expected);
    }
    for (running, usual, expected) in [(29, vec![], 0), (31, vec![], 1), (31, took(20), 0)] {
        let found = concerns(|facts| {
            facts.drill.running = true;
            facts.drill.running_since = minutes(running);
            facts.drill.took = usual.clone();
        });
        assert_eq!(found.len(), expected, "{found:?}");
        assert!(found.iter().all(|(kind, _)| *kind == ConcernKind::Slow));
    }
}
