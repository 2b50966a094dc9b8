//! What a check shows: a row for each thing that was checked, with its result and what that means.

use chrono::{DateTime, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use super::facts::{
    Asked, Attempt, BucketProbe, Circumstances, DirectoryProbe, Lifecycle, Probed, ProbedPlace,
    Versioning,
};
use super::reach::{Holds, Reach, of_days, reach};
use crate::display::{size, span};

/// So far the clocks of a host and a store may be apart.
const CLOCK: TimeDelta = TimeDelta::minutes(5);

/// Credentials that end sooner are shown.
const CREDENTIALS: TimeDelta = TimeDelta::days(14);

/// What was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// That an object can be put.
    Put,
    /// That a put never replaces.
    CreateOnly,
    /// That an object can be read.
    Read,
    /// That objects can be listed.
    List,
    /// Whether an object can be replaced.
    Replace,
    /// Whether an object can be removed.
    Delete,
    /// Whether a version can be removed for good.
    DeleteVersions,
    /// Whether the bucket keeps versions.
    Versioning,
    /// Whether new objects are locked.
    ObjectLock,
    /// What the bucket removes by itself.
    Lifecycle,
    /// The store's clock against ours.
    Clock,
    /// When the credentials end.
    Credentials,
    /// Whether something is mounted there.
    Mount,
    /// Whether directories can be synced.
    Sync,
    /// The free space.
    Space,
    /// Whether it is the device of the backups.
    Device,
}

impl Check {
    /// As it is shown.
    pub fn label(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::CreateOnly => "create-only",
            Self::Read => "read",
            Self::List => "list",
            Self::Replace => "replace",
            Self::Delete => "delete",
            Self::DeleteVersions => "delete versions",
            Self::Versioning => "versioning",
            Self::ObjectLock => "Object Lock",
            Self::Lifecycle => "lifecycle",
            Self::Clock => "clock",
            Self::Credentials => "credentials",
            Self::Mount => "mount",
            Self::Sync => "sync",
            Self::Space => "free space",
            Self::Device => "device",
        }
    }
}

/// How bad a result is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be, or neither good nor bad.
    Fine,
    /// Not known.
    Unknown,
    /// It needs attention.
    Attention,
    /// The destination cannot be used.
    Unusable,
}

/// One thing that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedRow {
    /// What.
    pub check: Check,
    /// What was found, in a few words.
    pub result: String,
    /// How bad that is.
    pub level: Level,
    /// What it means; empty where the result says it.
    pub meaning: String,
}

/// How a check of a destination ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It can be used, and nothing is wrong.
    Fine,
    /// It can be used, and something needs attention.
    Attention,
    /// It cannot be used.
    Unusable,
}

/// What a check of a destination has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assessment {
    /// What was checked, in the order in which it is shown.
    pub rows: Vec<CheckedRow>,
    /// What puts the copies out of reach, or could.
    pub reach: Vec<Reach>,
}

impl Assessment {
    /// Whether anything puts the copies out of reach.
    pub fn is_out_of_reach(&self) -> bool {
        self.reach.iter().any(|one| one.holds == Holds::Yes)
    }

    /// How it ends; `accepts_reach` where it is accepted that the copies are within reach.
    pub fn verdict(&self, accepts_reach: bool) -> Verdict {
        let worst = self.rows.iter().map(|row| row.level).max();
        match worst {
            Some(Level::Unusable) => Verdict::Unusable,
            Some(Level::Attention) => Verdict::Attention,
            _ if self.is_out_of_reach() || accepts_reach => Verdict::Fine,
            _ => Verdict::Attention,
        }
    }
}

fn row(check: Check, level: Level, (result, meaning): (&str, impl Into<String>)) -> CheckedRow {
    CheckedRow {
        check,
        result: result.to_owned(),
        level,
        meaning: meaning.into(),
    }
}

/// Judges what a probe has found.
pub fn judge(probed: &Probed, circumstances: &Circumstances) -> Assessment {
    let mut rows = vec![
        needed(Check::Put, &probed.put, "no copy can be made"),
        create_only(probed),
        needed(Check::Read, &probed.read, "no copy can be read back"),
        needed(Check::List, &probed.list, "no copy can be found"),
    ];
    match &probed.place {
        ProbedPlace::Bucket(bucket) => {
            let keeps_versions = bucket.versioning == Asked::Known(Versioning::On);
            rows.push(replace(probed, keeps_versions));
            rows.push(delete(probed));
            rows.extend(of_bucket(bucket, circumstances));
        }
        ProbedPlace::Directory(directory) => {
            rows.push(delete(probed));
            rows.extend(of_directory(directory, circumstances));
        }
        ProbedPlace::Azure | ProbedPlace::Google | ProbedPlace::Other => {
            rows.extend([replace(probed, false), delete(probed)]);
        }
    }
    rows.extend(circumstances.clock_ahead.map(clock));
    Assessment {
        rows,
        reach: reach(probed, circumstances),
    }
}

/// Of credentials that end soon; none where they do not, or have ended.
pub fn ending_credentials(end: DateTime<Utc>, now: DateTime<Utc>) -> Option<CheckedRow> {
    let is_soon = end > now && end - now < CREDENTIALS;
    let until = format!("until {}", end.format("%Y-%m-%d %H:%M UTC"));
    let meaning = "copies fail from then on: get a new token";
    is_soon.then(|| row(Check::Credentials, Level::Attention, (&until, meaning)))
}

/// Something without which the destination cannot be used.
fn needed(check: Check, attempt: &Attempt, without: &str) -> CheckedRow {
    match attempt {
        Attempt::Done => row(check, Level::Fine, ("works", "")),
        Attempt::Refused(why) => {
            let meaning = format!("{without}: {why}");
            row(check, Level::Unusable, ("refused", meaning))
        }
        Attempt::Unknown(why) => row(check, Level::Unknown, ("not known", why)),
    }
}

fn create_only(probed: &Probed) -> CheckedRow {
    let check = Check::CreateOnly;
    match probed.is_create_only {
        Some(true) => row(
            check,
            Level::Fine,
            ("kept", "a put never replaces an object"),
        ),
        Some(false) => {
            let condition = match probed.place {
                ProbedPlace::Bucket(_) => "the store ignores If-None-Match",
                ProbedPlace::Azure | ProbedPlace::Google => {
                    "the store ignores the condition of a put"
                }
                _ => "a file that is there can be made once more",
            };
            let meaning = format!("{condition}; pgbackupd looks before each put");
            row(check, Level::Fine, ("ignored", meaning))
        }
        None => row(check, Level::Unknown, ("not known", "")),
    }
}

fn replace(probed: &Probed, keeps_versions: bool) -> CheckedRow {
    let check = Check::Replace;
    match &probed.replace {
        Attempt::Done => {
            let meaning = if keeps_versions {
                "the replaced object stays as an older version"
            } else {
                "this key can overwrite copies"
            };
            row(check, Level::Fine, ("possible", meaning))
        }
        Attempt::Refused(_) => row(check, Level::Fine, ("refused", "this key cannot overwrite")),
        Attempt::Unknown(why) => row(check, Level::Unknown, ("not known", why)),
    }
}

fn delete(probed: &Probed) -> CheckedRow {
    let check = Check::Delete;
    match &probed.delete {
        Attempt::Done => row(
            check,
            Level::Fine,
            ("possible", "retention can remove copies"),
        ),
        Attempt::Refused(_) => {
            let who = match probed.place {
                ProbedPlace::Bucket(_) | ProbedPlace::Azure | ProbedPlace::Google => {
                    "a lifecycle rule has to"
                }
                ProbedPlace::Directory(_) => "whoever owns the directory has to",
                ProbedPlace::Other => "the server has to",
            };
            let meaning = format!("retention removes no copies there; {who}");
            row(check, Level::Fine, ("refused", meaning))
        }
        Attempt::Unknown(why) => row(check, Level::Unknown, ("not tried", why)),
    }
}

fn of_bucket(bucket: &BucketProbe, circumstances: &Circumstances) -> Vec<CheckedRow> {
    let mut rows = Vec::new();
    let may_not = |check, permission: &str| {
        let meaning = format!("the key may not ask: {permission}");
        row(check, Level::Unknown, ("not known", meaning))
    };
    rows.extend(bucket.delete_version.as_ref().map(|attempt| {
        let check = Check::DeleteVersions;
        match attempt {
            Attempt::Done => row(
                check,
                Level::Fine,
                ("possible", "nothing is safe from this key"),
            ),
            Attempt::Refused(_) => row(check, Level::Fine, ("refused", "")),
            Attempt::Unknown(why) => row(check, Level::Unknown, ("not known", why)),
        }
    }));
    rows.push(match bucket.versioning {
        Asked::Known(Versioning::On) => row(
            Check::Versioning,
            Level::Fine,
            ("on", "--as-of reads what was replaced or removed"),
        ),
        Asked::Known(Versioning::Off) => row(Check::Versioning, Level::Fine, ("off", "")),
        Asked::Known(Versioning::Suspended) => {
            row(Check::Versioning, Level::Fine, ("suspended", ""))
        }
        Asked::Unknown => may_not(Check::Versioning, "s3:GetBucketVersioning"),
    });
    rows.push(match bucket.lock {
        Asked::Known(Some(lock)) => {
            let meaning = format!("{}, from the put of each object", of_days(lock.days));
            row(Check::ObjectLock, Level::Fine, (lock.mode(), meaning))
        }
        Asked::Known(None) => row(Check::ObjectLock, Level::Fine, ("none", "")),
        Asked::Unknown => may_not(Check::ObjectLock, "s3:GetBucketObjectLockConfiguration"),
    });
    rows.push(match bucket.lifecycle {
        Asked::Known(lifecycle) => lifecycle_row(lifecycle, circumstances.longest_days),
        Asked::Unknown => may_not(Check::Lifecycle, "s3:GetLifecycleConfiguration"),
    });
    rows
}

fn lifecycle_row(lifecycle: Lifecycle, longest: Option<u64>) -> CheckedRow {
    let check = Check::Lifecycle;
    let noncurrent = lifecycle.noncurrent_days;
    let of_old = noncurrent.map(|days| format!("old versions go after {}", of_days(days)));
    match (lifecycle.current_days, longest) {
        (Some(days), Some(longest)) if days < longest => {
            let meaning = format!(
                "the bucket removes copies after {}; the longest rule keeps {}",
                of_days(days),
                of_days(longest)
            );
            row(check, Level::Attention, ("too short", meaning))
        }
        (Some(days), _) => {
            let meaning = format!("the bucket removes copies after {}", of_days(days));
            row(check, Level::Fine, ("set", meaning))
        }
        (None, _) => match of_old {
            Some(of_old) => row(check, Level::Fine, ("set", of_old)),
            None => row(
                check,
                Level::Fine,
                ("none", "the bucket removes nothing by itself"),
            ),
        },
    }
}

fn of_directory(directory: &DirectoryProbe, circumstances: &Circumstances) -> Vec<CheckedRow> {
    let file_system = directory.file_system.as_deref().unwrap_or("unknown");
    let where_it_is = match directory.is_remote {
        Some(true) => "of another machine",
        Some(false) => "of this machine: what takes the machine takes the copies",
        None => "",
    };
    let mount = directory.mount_point.as_deref().unwrap_or("not known");
    let sync = match &directory.sync {
        Attempt::Done => row(
            Check::Sync,
            Level::Fine,
            ("works", "copies survive a power cut"),
        ),
        Attempt::Refused(why) => row(Check::Sync, Level::Unusable, ("refused", why)),
        Attempt::Unknown(why) => row(Check::Sync, Level::Unknown, ("not known", why)),
    };
    let free = directory.free;
    let space = row(Check::Space, Level::Fine, (&size(free), ""));
    let device = match circumstances.is_backups_device {
        Some(true) => row(
            Check::Device,
            Level::Attention,
            ("the backups'", "one broken disk takes backups and copies"),
        ),
        Some(false) => row(Check::Device, Level::Fine, ("another", "")),
        None => row(Check::Device, Level::Unknown, ("not known", "")),
    };
    let mount = row(
        Check::Mount,
        Level::Fine,
        (mount, format!("{file_system}, {where_it_is}")),
    );
    vec![mount, sync, space, device]
}

fn clock(ahead: i64) -> CheckedRow {
    let apart = TimeDelta::seconds(ahead).abs();
    let shown = span(apart.to_std().unwrap_or_default());
    let direction = if ahead < 0 { "behind" } else { "ahead" };
    if apart > CLOCK {
        // Copies that are dated after the store has them do not count.
        let meaning = if ahead < 0 {
            format!(
                "this machine's clock is {shown} ahead of the store's: no copy can be made; \
                 `timedatectl` shows whether it is synchronised"
            )
        } else {
            format!("this machine's clock is {shown} behind the store's: set the one that is wrong")
        };
        row(
            Check::Clock,
            Level::Attention,
            (&format!("store {shown} {direction}"), meaning),
        )
    } else {
        row(Check::Clock, Level::Fine, ("agrees", ""))
    }
}
