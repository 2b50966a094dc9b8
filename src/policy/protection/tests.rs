use std::num::NonZeroU32;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::*;
use crate::policy::retention::Rules;

fn refused() -> Attempt {
    Attempt::Refused("AccessDenied".to_owned())
}

/// A bucket whose key may do everything, and that keeps nothing.
fn bucket() -> BucketProbe {
    BucketProbe {
        versioning: Asked::Known(Versioning::Off),
        lock: Asked::Known(None),
        lifecycle: Asked::Known(Lifecycle::default()),
        delete_version: None,
        is_google: false,
    }
}

fn probed(bucket: BucketProbe) -> Probed {
    Probed {
        put: Attempt::Done,
        is_create_only: Some(true),
        replace: Attempt::Done,
        read: Attempt::Done,
        list: Attempt::Done,
        delete: Attempt::Done,
        left: 0,
        place: ProbedPlace::Bucket(bucket),
    }
}

fn lock(is_compliance: bool, days: u64) -> Asked<Option<Lock>> {
    Asked::Known(Some(Lock {
        is_compliance,
        days,
    }))
}

fn noncurrent(days: u64) -> Asked<Lifecycle> {
    Asked::Known(Lifecycle {
        noncurrent_days: Some(days),
        ..Lifecycle::default()
    })
}

/// Whether the lock, the versions and the policy hold, with the settings that are missing.
fn judged(probed: &Probed, longest_days: u64) -> Vec<(Holds, Option<String>)> {
    let circumstances = Circumstances {
        longest_days: Some(longest_days),
        ..Circumstances::default()
    };
    let reach = judge(probed, &circumstances).reach;
    reach
        .into_iter()
        .map(|one| (one.holds, one.missing))
        .collect()
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn each_kind_holds_only_for_as_long_as_the_longest_rule() {
    use Holds::{No, Unknown, Yes};
    let versioned = |lifecycle| BucketProbe {
        versioning: Asked::Known(Versioning::On),
        delete_version: Some(refused()),
        lifecycle,
        ..bucket()
    };
    let none = Asked::Known(Lifecycle::default());
    let locked = |lock, delete_version| BucketProbe {
        lock,
        delete_version: Some(delete_version),
        ..versioned(none)
    };
    for (what, bucket, [lock_holds, versions_hold], missing) in [
        ("nothing", bucket(), [No, No], "versioning"),
        (
            "versions for good",
            versioned(none),
            [No, Yes],
            "Object Lock",
        ),
        (
            "versions, long",
            versioned(noncurrent(84)),
            [No, Yes],
            "Object Lock",
        ),
        (
            "versions, short",
            versioned(noncurrent(83)),
            [No, No],
            "NoncurrentVersionExpiration of 84",
        ),
        (
            "versions, not asked",
            versioned(Asked::Unknown),
            [No, Unknown],
            "s3:GetLifecycleConfiguration",
        ),
        (
            "versions that the key removes",
            BucketProbe {
                delete_version: Some(Attempt::Done),
                ..versioned(none)
            },
            [No, No],
            "s3:DeleteObjectVersion",
        ),
        (
            "suspended",
            BucketProbe {
                versioning: Asked::Known(Versioning::Suspended),
                ..versioned(none)
            },
            [No, No],
            "enabled",
        ),
        (
            "versioning, not asked",
            BucketProbe {
                versioning: Asked::Unknown,
                ..versioned(none)
            },
            [No, Unknown],
            "s3:GetBucketVersioning",
        ),
        (
            "lock, long",
            locked(lock(true, 84), refused()),
            [Yes, Yes],
            "",
        ),
        (
            "lock, short",
            locked(lock(true, 83), refused()),
            [No, Yes],
            "retention of 84 days",
        ),
        (
            "lock, GOVERNANCE",
            locked(lock(false, 90), refused()),
            [Yes, Yes],
            "",
        ),
        (
            "lock that the key bypasses",
            locked(lock(false, 90), Attempt::Done),
            [No, No],
            "s3:BypassGovernanceRetention",
        ),
        (
            "lock, not asked",
            locked(Asked::Unknown, refused()),
            [Unknown, Yes],
            "s3:GetBucketObjectLockConfiguration",
        ),
    ] {
        let found = judged(&probed(bucket), 84);
        let holds: Vec<Holds> = found.iter().map(|(holds, _)| *holds).collect();
        assert_eq!(holds[..2], [lock_holds, versions_hold], "{what}");
        let all: Vec<&str> = found
            .iter()
            .filter_map(|(_, missing)| missing.as_deref())
            .collect();
        assert!(all.join("; ").contains(missing), "{what}: {all:?}");
        for (holds, missing) in &found {
            assert_eq!(*holds == Yes, missing.is_none(), "{what}");
        }
    }
}

#[test]
fn a_key_that_can_only_add_is_out_of_reach_by_itself() {
    use Holds::{No, Unknown, Yes};
    let not_tried = || Attempt::Unknown("it is not tried".to_owned());
    for (replace, delete, expected, missing) in [
        (refused(), refused(), Yes, None),
        (Attempt::Done, refused(), No, Some("s3:if-none-match")),
        (refused(), Attempt::Done, No, Some("s3:DeleteObject")),
        (not_tried(), refused(), Unknown, Some("s3:if-none-match")),
        (refused(), not_tried(), Unknown, Some("s3:DeleteObject")),
    ] {
        let probed = Probed {
            replace,
            delete,
            ..probed(bucket())
        };
        let (holds, found) = judged(&probed, 84)[2].clone();
        assert_eq!(holds, expected);
        match missing {
            None => assert_eq!(found, None),
            Some(missing) => assert!(found.unwrap().contains(missing)),
        }
    }
    let server = Probed {
        replace: refused(),
        delete: refused(),
        place: ProbedPlace::Other,
        ..probed(bucket())
    };
    assert_eq!(judged(&server, 84), [(Yes, None)]);
    let google = probed(BucketProbe {
        is_google: true,
        ..bucket()
    });
    let reach = &judge(&google, &Circumstances::default()).reach[2];
    assert_eq!(reach.kind, ReachKind::ObjectCreator);
    assert!(
        reach
            .missing
            .as_ref()
            .unwrap()
            .contains("Storage Object Creator")
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn a_destination_that_cannot_be_used_is_worse_than_one_within_reach() {
    let safe = || Probed {
        replace: refused(),
        delete: refused(),
        ..probed(bucket())
    };
    let directory = || Probed {
        place: ProbedPlace::Directory(DirectoryProbe {
            mount_point: Some("/mnt/nas".to_owned()),
            file_system: Some("nfs4".to_owned()),
            is_remote: Some(true),
            free: 1 << 40,
            sync: Attempt::Done,
        }),
        ..probed(bucket())
    };
    let plain = Circumstances {
        longest_days: Some(84),
        ..Circumstances::default()
    };
    let same_device = Circumstances {
        is_backups_device: Some(true),
        ..plain
    };
    let late = Circumstances {
        clock_ahead: Some(-301),
        ..plain
    };
    let short = Asked::Known(Lifecycle {
        current_days: Some(83),
        noncurrent_days: None,
    });
    let expiring = Probed {
        place: ProbedPlace::Bucket(BucketProbe {
            lifecycle: short,
            ..bucket()
        }),
        ..safe()
    };
    for (what, probed, circumstances, expected, accepted) in [
        ("safe", safe(), plain, Verdict::Fine, Verdict::Fine),
        (
            "within reach",
            probed(bucket()),
            plain,
            Verdict::Attention,
            Verdict::Fine,
        ),
        (
            "a NAS",
            directory(),
            plain,
            Verdict::Attention,
            Verdict::Fine,
        ),
        (
            "the backups' disk",
            directory(),
            same_device,
            Verdict::Attention,
            Verdict::Attention,
        ),
        (
            "a clock",
            safe(),
            late,
            Verdict::Attention,
            Verdict::Attention,
        ),
        (
            "removed too early",
            expiring,
            plain,
            Verdict::Attention,
            Verdict::Attention,
        ),
        (
            "no put",
            Probed {
                put: refused(),
                ..safe()
            },
            plain,
            Verdict::Unusable,
            Verdict::Unusable,
        ),
        (
            "no list",
            Probed {
                list: refused(),
                ..safe()
            },
            late,
            Verdict::Unusable,
            Verdict::Unusable,
        ),
        (
            "conditions are ignored",
            Probed {
                is_create_only: Some(false),
                ..safe()
            },
            plain,
            Verdict::Fine,
            Verdict::Fine,
        ),
    ] {
        let assessment = judge(&probed, &circumstances);
        assert_eq!(assessment.verdict(false), expected, "{what}");
        assert_eq!(assessment.verdict(true), accepted, "{what}");
    }
}

#[test]
fn each_kind_of_store_has_its_own_words() {
    let directory = DirectoryProbe {
        mount_point: None,
        file_system: None,
        is_remote: None,
        free: 0,
        sync: Attempt::Done,
    };
    for (place, who, condition) in [
        (
            ProbedPlace::Bucket(bucket()),
            "lifecycle rule",
            "If-None-Match",
        ),
        (
            ProbedPlace::Directory(directory),
            "owns the directory",
            "a file",
        ),
        (ProbedPlace::Other, "the server has to", "a file"),
    ] {
        let probed = Probed {
            is_create_only: Some(false),
            delete: refused(),
            list: Attempt::Refused("no; hint: ask".to_owned()),
            place,
            ..probed(bucket())
        };
        let rows = judge(&probed, &Circumstances::default()).rows;
        let meaning = |check| {
            let mut rows = rows.iter();
            let row = rows.find(|row| row.check == check);
            row.map_or("", |row| &row.meaning)
        };
        let delete = meaning(Check::Delete);
        assert!(delete.contains(who), "{delete}");
        let create_only = meaning(Check::CreateOnly);
        assert!(create_only.contains(condition), "{create_only}");
        assert_eq!(meaning(Check::List), "no copy can be found: no; hint: ask");
    }
}

#[test]
fn the_longest_rule_is_in_days() {
    let many = |number| NonZeroU32::new(number);
    let rules = |rules: Rules| [("daily".parse().unwrap(), rules)].into();
    for (one, expected) in [
        (Rules::default(), None),
        (
            Rules {
                last: many(5),
                ..Rules::default()
            },
            None,
        ),
        (
            Rules {
                within: Some(Duration::from_secs(30 * 86_400)),
                weekly: many(12),
                ..Rules::default()
            },
            Some(84),
        ),
        (
            Rules {
                within: Some(Duration::from_secs(1)),
                ..Rules::default()
            },
            Some(1),
        ),
        (
            Rules {
                monthly: many(12),
                daily: many(7),
                ..Rules::default()
            },
            Some(372),
        ),
        (
            Rules {
                yearly: many(2),
                ..Rules::default()
            },
            Some(732),
        ),
    ] {
        assert_eq!(longest_days(&rules(one)), expected);
    }
}

#[test]
fn it_is_said_whose_clock_is_ahead() {
    for (ahead, result, meaning) in [
        (Some(300), "agrees", ""),
        (
            Some(3600),
            "store 1 hour ahead",
            "this machine's clock is 1 hour behind the store's",
        ),
        (
            Some(-3600),
            "store 1 hour behind",
            "this machine's clock is 1 hour ahead of the store's: no copy can be made",
        ),
    ] {
        let circumstances = Circumstances {
            clock_ahead: ahead,
            ..Circumstances::default()
        };
        let rows = judge(&probed(bucket()), &circumstances).rows;
        let clock = rows.iter().find(|row| row.check == Check::Clock).unwrap();
        assert_eq!(clock.result, result);
        assert!(clock.meaning.contains(meaning), "{}", clock.meaning);
    }
}

#[test]
fn credentials_that_end_within_two_weeks_are_shown() {
    let now: DateTime<Utc> = "2026-11-30T02:00:00Z".parse().unwrap();
    for (days, expected) in [
        (-1, None),
        (0, None),
        (1, Some("until 2026-12-01 02:00 UTC")),
        (14, None),
    ] {
        let row = ending_credentials(now + TimeDelta::days(days), now);
        let result = row.as_ref().map(|row| row.result.as_str());
        assert_eq!(result, expected, "{days}");
    }
}
