//! What copies give cause for: a table of states, and what each is called.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::judge_clocks;
use crate::policy::attention::tests::{EXPECTATION, now, well};
use crate::policy::{
    ClockDifference, Concern, ConcernKind, CopyFacts, CopyIdentity, CopyProof, CopyState,
    DamagedCopy, DatabaseFacts, Expectation, LostCopy, SeriesCopy, Severity,
};

const DAY: i64 = 24;

fn ago(hours: i64) -> DateTime<Utc> {
    (now() - TimeDelta::hours(hours)).to_utc()
}

fn of_series(name: &str, hours_ago: i64) -> SeriesCopy {
    SeriesCopy {
        series: name.parse().unwrap(),
        started: ago(hours_ago + 1),
        bytes: 7,
        is_damaged: false,
        proof: CopyProof {
            backup: format!("{name}_backup"),
            state: CopyState::Opened,
            at: ago(hours_ago),
        },
        identity: CopyIdentity::default(),
    }
}

fn damaged(backup: &str, is_here: bool) -> DamagedCopy {
    DamagedCopy {
        backup: backup.to_owned(),
        since: ago(3),
        why: "volume 1 of 2 is damaged\nhint: no".to_owned(),
        is_here,
    }
}

fn lost(backup: &str, is_here: bool) -> LostCopy {
    LostCopy {
        backup: backup.to_owned(),
        since: ago(2),
        is_here,
    }
}

/// Copies that give no cause for anything.
fn fine() -> CopyFacts {
    CopyFacts {
        destination: "offsite".to_owned(),
        count: 2,
        newest_of_series: vec![of_series("daily", 10), of_series("weekly", 7 * DAY)],
        ..CopyFacts::default()
    }
}

fn with(copies: CopyFacts) -> DatabaseFacts {
    DatabaseFacts {
        copies: vec![copies],
        ..well()
    }
}

fn judged_by(copies: CopyFacts, expectation: Expectation) -> Vec<Concern> {
    super::judge_copies(&with(copies), expectation, now().to_utc())
}

fn judged(copies: CopyFacts) -> Vec<(ConcernKind, Severity, String)> {
    let concerns = judged_by(copies, EXPECTATION).into_iter();
    let parts = concerns.map(|one| (one.kind, one.severity, one.sentence));
    parts.collect()
}

#[test]
fn copies_that_are_proved_and_there_are_no_concern() {
    assert_eq!(judged(fine()), []);
    // A destination that was just added.
    let new = CopyFacts {
        destination: "offsite".to_owned(),
        ..CopyFacts::default()
    };
    assert_eq!(judged(new), []);
}

#[test]
fn a_damaged_copy_is_critical_and_its_way_out_depends_on_whether_the_backup_is_here() {
    let copies = CopyFacts {
        damaged: vec![damaged("a", true), damaged("b", false)],
        ..fine()
    };
    let found = judged(copies);
    assert_eq!(
        found,
        [
            (
                ConcernKind::CopyDamaged,
                Severity::Critical,
                "the copy of a at offsite was found damaged 3 hours ago: volume 1 of 2 is damaged; hint: no; the \
                 backup is here, and the next copy run makes the copy again: run `pgbackupd copy --to offsite \
                 --database sales`"
                    .to_owned()
            ),
            (
                ConcernKind::CopyDamaged,
                Severity::Critical,
                "the copy of b at offsite was found damaged 3 hours ago: volume 1 of 2 is damaged; hint: no; the \
                 backup is no longer here; `pgbackupd verify --from offsite --database sales b` reads it again \
                 once it has been brought back there, from another version or another copy of the store"
                    .to_owned()
            ),
        ]
    );
    let both = CopyFacts {
        damaged: vec![damaged("a", true), damaged("b", true)],
        ..fine()
    };
    let concerns = judged_by(both, EXPECTATION);
    assert_ne!(concerns[0].id(), concerns[1].id());
}

#[test]
fn copies_that_are_gone_are_one_critical_concern() {
    let one = CopyFacts {
        lost: vec![lost("a", true)],
        ..fine()
    };
    assert_eq!(
        judged(one),
        [(
            ConcernKind::CopyMissing,
            Severity::Critical,
            "the copy of a at offsite is gone, not listed for 2 hours, and retention here did not remove it; the \
             next copy run makes what is here again: run `pgbackupd copy --to offsite --database sales`"
                .to_owned()
        )]
    );
    let many = CopyFacts {
        lost: vec![lost("a", true), lost("b", false)],
        ..fine()
    };
    let found = judged(many);
    assert_eq!(found.len(), 1);
    assert!(
        found[0]
            .2
            .starts_with("2 copies at offsite are gone, the newest that of a, not listed"),
        "{found:?}"
    );
    assert!(
        found[0]
            .2
            .contains("`pgbackupd list --from offsite --database sales`"),
        "{found:?}"
    );
}

#[test]
fn a_proof_is_too_old_only_of_the_newest_copy_of_a_series() {
    let aged = |hours, change: fn(&mut CopyFacts)| {
        let mut copies = CopyFacts {
            newest_of_series: vec![of_series("daily", 10), of_series("weekly", hours)],
            ..fine()
        };
        change(&mut copies);
        copies
    };
    let nothing: fn(&mut CopyFacts) = |_| {};
    let is_old = |copies: CopyFacts, expectation: Expectation| {
        let concerns = judged_by(copies, expectation);
        concerns
            .iter()
            .any(|one| one.kind == ConcernKind::CopyProofAge)
    };
    let off = Expectation {
        copy_proof_age: None,
        ..EXPECTATION
    };
    let two_days = Expectation {
        copy_proof_age: Some(Duration::from_secs(48 * 3600)),
        ..EXPECTATION
    };
    for (copies, expectation, expected) in [
        (aged(15 * DAY, nothing), EXPECTATION, false),
        (aged(15 * DAY + 1, nothing), EXPECTATION, true),
        (aged(15 * DAY + 1, nothing), off, false),
        (aged(49, nothing), two_days, true),
        // A run reads them now.
        (
            aged(99 * DAY, |one| one.is_being_verified = true),
            EXPECTATION,
            false,
        ),
        // What is damaged is a concern of its own.
        (
            aged(99 * DAY, |one| one.newest_of_series[1].is_damaged = true),
            EXPECTATION,
            false,
        ),
        // The clock was set back.
        (aged(-5, nothing), EXPECTATION, false),
    ] {
        assert_eq!(is_old(copies.clone(), expectation), expected, "{copies:?}");
    }
    let found = judged(aged(16 * DAY, nothing));
    assert_eq!(
        found[0].2,
        "the copy of weekly_backup, the newest of series weekly at offsite, was read back 16 days ago, longer than \
         objectives.copy_proof_age (15 days); run `pgbackupd verify --from offsite --database sales`"
    );
}

#[test]
fn clocks_that_differ_by_five_minutes_are_reported_once_for_each_destination() {
    let clock = |hours_ago, seconds| {
        with(CopyFacts {
            clock: Some(ClockDifference {
                at: ago(hours_ago),
                ahead: TimeDelta::seconds(seconds),
            }),
            ..fine()
        })
    };
    for (readings, expected) in [
        (vec![(1, 0)], None),
        (vec![(1, 299)], None),
        (vec![(1, -299)], None),
        (vec![(1, 300)], Some("5 minutes ahead of that of offsite")),
        (vec![(1, -7200)], Some("2 hours behind that of offsite")),
        // Of several, the newest counts.
        (vec![(5, 900), (1, 3)], None),
        (
            vec![(1, 900), (5, 3), (9, 900)],
            Some("15 minutes ahead of that of offsite"),
        ),
    ] {
        let databases: Vec<DatabaseFacts> = readings
            .iter()
            .map(|(at, ahead)| clock(*at, *ahead))
            .collect();
        let found = judge_clocks(&databases);
        assert_eq!(found.len(), usize::from(expected.is_some()), "{readings:?}");
        if let Some(expected) = expected {
            assert!(
                found[0].sentence.contains(expected),
                "{}",
                found[0].sentence
            );
            assert_eq!(found[0].kind, ConcernKind::ClockOff);
        }
    }
    assert_eq!(judge_clocks(&[with(fine())]), []);
}
