//! What a probe of a destination finds, and what else its judgement needs.

use std::collections::BTreeMap;

use crate::policy::retention::Rules;
use crate::policy::series::Series;

/// What became of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// It was carried out.
    Done,
    /// It was refused, in the words of the store or the system.
    Refused(String),
    /// It was not made, or its answer says nothing: why.
    Unknown(String),
}

/// What a store says of one of its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked<T> {
    /// It is this.
    Known(T),
    /// The key may not ask, or the store does not know the question.
    Unknown,
}

/// Whether a bucket keeps versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versioning {
    /// It never did.
    Off,
    /// It does.
    On,
    /// It did once.
    Suspended,
}

/// How a bucket keeps new objects from being removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock {
    /// Whether nobody can shorten it (COMPLIANCE); else a permission can (GOVERNANCE).
    pub is_compliance: bool,
    /// So long, in days.
    pub days: u64,
}

impl Lock {
    /// The store's word for its mode.
    pub(super) fn mode(self) -> &'static str {
        if self.is_compliance {
            "COMPLIANCE"
        } else {
            "GOVERNANCE"
        }
    }
}

/// When a bucket removes copies by itself, by the rules that apply to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lifecycle {
    /// Objects, so many days after they were put; none for never.
    pub current_days: Option<u64>,
    /// Versions, so many days after they were replaced or removed; none for never.
    pub noncurrent_days: Option<u64>,
}

/// What a probe of a bucket has found besides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketProbe {
    /// Whether it keeps versions.
    pub versioning: Asked<Versioning>,
    /// Its Object Lock for new objects; none where new objects have none.
    pub lock: Asked<Option<Lock>>,
    /// What it removes by itself.
    pub lifecycle: Asked<Lifecycle>,
    /// The removal of a version for good, also against a GOVERNANCE lock; none where there are no versions.
    pub delete_version: Option<Attempt>,
    /// Whether it is Google's.
    pub is_google: bool,
}

/// What a probe of a directory has found besides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryProbe {
    /// Where its file system is mounted; none where that is not known.
    pub mount_point: Option<String>,
    /// What kind of file system it is, as the system calls it.
    pub file_system: Option<String>,
    /// Whether the file system is of another machine; none where that is not known.
    pub is_remote: Option<bool>,
    /// Bytes that are free to the user.
    pub free: u64,
    /// The sync of a directory.
    pub sync: Attempt,
}

/// What kind of place it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbedPlace {
    /// A bucket.
    Bucket(BucketProbe),
    /// A directory.
    Directory(DirectoryProbe),
    /// A container of Azure's.
    Azure,
    /// A bucket of Google's, by its own interface.
    Google,
    /// Something of which no more is known.
    Other,
}

/// What a probe of a destination has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probed {
    /// The putting of an object.
    pub put: Attempt,
    /// Whether a second put under the same key was refused for the first; none where that is not known.
    pub is_create_only: Option<bool>,
    /// The replacing of an object.
    pub replace: Attempt,
    /// The reading of an object.
    pub read: Attempt,
    /// A listing.
    pub list: Attempt,
    /// The removal of an object.
    pub delete: Attempt,
    /// So many objects of the probe are left there.
    pub left: u64,
    /// What kind of place it is.
    pub place: ProbedPlace,
}

/// What else the judgement needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Circumstances {
    /// The longest rule of retention there, in days; none where no rule has a length.
    pub longest_days: Option<u64>,
    /// So many seconds is the store's clock ahead of ours; none where it has none.
    pub clock_ahead: Option<i64>,
    /// Whether backups lie on the same device; none where that is not known.
    pub is_backups_device: Option<bool>,
}

/// The longest rule, in days. Rules that only count backups have no length.
pub fn longest_days(rules: &BTreeMap<Series, Rules>) -> Option<u64> {
    let of_one = |rules: &Rules| {
        let within = rules.within.map(|within| within.as_secs().div_ceil(86_400));
        let periods = [
            (rules.daily, 1),
            (rules.weekly, 7),
            (rules.monthly, 31),
            (rules.yearly, 366),
        ];
        let periods = periods
            .into_iter()
            .filter_map(|(many, days)| many.map(|many| u64::from(many.get()) * days));
        periods.chain(within).max()
    };
    rules.values().filter_map(of_one).max()
}
