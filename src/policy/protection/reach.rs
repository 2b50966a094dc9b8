//! Which of the four kinds of "out of reach" hold, and what each one lacks.

use schemars::JsonSchema;
use serde::Serialize;

use super::facts::{
    Asked, Attempt, BucketProbe, Circumstances, Lock, Probed, ProbedPlace, Versioning,
};
use crate::display::counted;

/// What can put copies out of reach of their host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReachKind {
    /// Object Lock with a default retention.
    ObjectLock,
    /// Versions that the key cannot remove.
    Versions,
    /// A policy by which the key can add and nothing else.
    CreateOnlyPolicy,
    /// Google's role Storage Object Creator.
    ObjectCreator,
}

impl ReachKind {
    /// As it is shown.
    pub fn label(self) -> &'static str {
        match self {
            Self::ObjectLock => "Object Lock",
            Self::Versions => "versions",
            Self::CreateOnlyPolicy => "create-only policy",
            Self::ObjectCreator => "objectCreator",
        }
    }
}

/// Whether something holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Holds {
    /// It does.
    Yes,
    /// It does not.
    No,
    /// The key may not ask, or nothing says so.
    Unknown,
}

/// Whether one kind holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Which.
    pub kind: ReachKind,
    /// Whether it does.
    pub holds: Holds,
    /// Why, in a clause.
    pub why: String,
    /// The setting that is missing; none where it holds.
    pub missing: Option<String>,
}

impl Reach {
    fn yes(kind: ReachKind, why: impl Into<String>) -> Self {
        Self {
            kind,
            holds: Holds::Yes,
            why: why.into(),
            missing: None,
        }
    }

    fn no(kind: ReachKind, why: impl Into<String>, missing: impl Into<String>) -> Self {
        Self {
            kind,
            holds: Holds::No,
            why: why.into(),
            missing: Some(missing.into()),
        }
    }

    fn unknown(kind: ReachKind, why: impl Into<String>, missing: impl Into<String>) -> Self {
        Self {
            holds: Holds::Unknown,
            ..Self::no(kind, why, missing)
        }
    }
}

/// The kinds that a destination can have, each with whether it holds.
pub(super) fn reach(probed: &Probed, circumstances: &Circumstances) -> Vec<Reach> {
    let bucket = match &probed.place {
        ProbedPlace::Bucket(bucket) => bucket,
        // Whoever can write to a directory can do anything to it.
        ProbedPlace::Directory(_) => return Vec::new(),
        ProbedPlace::Azure => return vec![create_only(probed, AZURE)],
        ProbedPlace::Google => return vec![create_only(probed, GOOGLE)],
        ProbedPlace::Other => return vec![create_only(probed, CREATE_ONLY_SERVER)],
    };
    let longest = circumstances.longest_days;
    vec![
        object_lock(bucket, longest),
        versions(probed, bucket, longest),
        create_only(probed, if bucket.is_google { GOOGLE } else { POLICY }),
    ]
}

fn object_lock(bucket: &BucketProbe, longest: Option<u64>) -> Reach {
    let kind = ReachKind::ObjectLock;
    let lock = match bucket.lock {
        Asked::Known(Some(lock)) => lock,
        Asked::Known(None) => {
            return Reach::no(
                kind,
                "new objects get no retention",
                format!(
                    "Object Lock, with a default retention of {}",
                    wanted(longest)
                ),
            );
        }
        Asked::Unknown => {
            return Reach::unknown(
                kind,
                "the key may not ask",
                "s3:GetBucketObjectLockConfiguration for this key",
            );
        }
    };
    if bucket.delete_version == Some(Attempt::Done) {
        let missing = "a policy without s3:BypassGovernanceRetention, or the mode COMPLIANCE";
        return Reach::no(kind, "this key removed an object that was locked", missing);
    }
    let Lock { days, .. } = lock;
    match longest.filter(|longest| days < *longest) {
        None => Reach::yes(kind, format!("{}, {}", lock.mode(), of_days(days))),
        Some(longest) => Reach::no(
            kind,
            format!(
                "{}, shorter than the longest rule: {}",
                of_days(days),
                of_days(longest)
            ),
            format!("a default retention of {}", wanted(Some(longest))),
        ),
    }
}

fn versions(probed: &Probed, bucket: &BucketProbe, longest: Option<u64>) -> Reach {
    let kind = ReachKind::Versions;
    let no = |why: &str, missing: &str| Reach::no(kind, why, missing);
    match bucket.versioning {
        Asked::Known(Versioning::On) => {}
        Asked::Known(Versioning::Off) => return no("the bucket keeps none", "versioning"),
        Asked::Known(Versioning::Suspended) => {
            return no("versioning is suspended", "versioning, enabled");
        }
        Asked::Unknown => {
            return Reach::unknown(
                kind,
                "the key may not ask",
                "s3:GetBucketVersioning for this key",
            );
        }
    }
    match &bucket.delete_version {
        Some(Attempt::Refused(_)) => {}
        Some(Attempt::Done) => {
            let missing = "a policy that denies this key s3:DeleteObjectVersion";
            return no("this key can remove them for good", missing);
        }
        Some(Attempt::Unknown(why)) => {
            let missing = "a policy that denies this key s3:DeleteObjectVersion";
            return Reach::unknown(kind, why, missing);
        }
        None if probed.put != Attempt::Done => {
            return Reach::unknown(kind, "nothing could be put", "s3:PutObject for this key");
        }
        None => {
            let why = "the store gave an object no version";
            return Reach::unknown(kind, why, "versions of its objects");
        }
    }
    let lifecycle = match bucket.lifecycle {
        Asked::Known(lifecycle) => lifecycle,
        Asked::Unknown => {
            return Reach::unknown(
                kind,
                "the key may not ask when old ones are removed",
                "s3:GetLifecycleConfiguration for this key",
            );
        }
    };
    match (lifecycle.noncurrent_days, longest) {
        (Some(days), Some(longest)) if days < longest => Reach::no(
            kind,
            format!(
                "old ones are removed after {}; the longest rule: {}",
                of_days(days),
                of_days(longest)
            ),
            format!("NoncurrentVersionExpiration of {}", wanted(Some(longest))),
        ),
        (Some(days), _) => Reach::yes(kind, format!("old ones stay for {}", of_days(days))),
        (None, _) => Reach::yes(kind, "old ones stay for good"),
    }
}

/// A kind of key that can only add, and what is missing where it can replace, or remove.
type CreateOnly = (ReachKind, &'static str, &'static str);

const POLICY: CreateOnly = (
    ReachKind::CreateOnlyPolicy,
    "a policy that demands s3:if-none-match of s3:PutObject",
    "a policy that denies this key s3:DeleteObject",
);

const GOOGLE: CreateOnly = (ReachKind::ObjectCreator, ROLE, ROLE);

const AZURE: CreateOnly = (
    ReachKind::CreateOnlyPolicy,
    "a SAS token with the permissions r, c and l alone",
    "a SAS token without the permission d",
);

const ROLE: &str = "the role Storage Object Creator, and no other that deletes";

const CREATE_ONLY_SERVER: CreateOnly = (
    ReachKind::CreateOnlyPolicy,
    "a server that forbids this key to replace",
    "a server that forbids this key to remove",
);

fn create_only(probed: &Probed, (kind, replaces, deletes): CreateOnly) -> Reach {
    match (&probed.replace, &probed.delete) {
        (Attempt::Done, _) => Reach::no(kind, "this key can replace objects", replaces),
        (_, Attempt::Done) => Reach::no(kind, "this key can remove objects", deletes),
        (Attempt::Refused(_), Attempt::Refused(_)) => {
            Reach::yes(kind, "this key can neither replace nor remove")
        }
        (Attempt::Unknown(why), _) => Reach::unknown(kind, why, replaces),
        (_, Attempt::Unknown(why)) => Reach::unknown(kind, why, deletes),
    }
}

/// A number of days.
pub(super) fn of_days(days: u64) -> String {
    counted(days, "day", "days")
}

fn wanted(longest: Option<u64>) -> String {
    match longest {
        Some(longest) => format!("{} or more", of_days(longest)),
        None => "as long as copies are to be safe".to_owned(),
    }
}
