//! Which backups are to be copied to a destination, and how far a copy is proved. Pure.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::copy_retention::{CopyCandidate, Keeping, decide_copies};
use super::manifest_numbers::{Gap, describe_gaps};
use super::series::Series;
use crate::display::joined_lines;

/// How far a copy is proved, the least first. DESIGN 2, "copy".
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum CopyState {
    /// It was sent, and has its length.
    Sent,
    /// The store's own SHA-256 of each object is ours.
    Uploaded,
    /// It was downloaded as a whole, and each object is the one that was sent.
    ReadBack,
    /// It was decrypted as well, and is the backup byte for byte.
    Opened,
    /// It was restored in a drill.
    Restored,
}

impl CopyState {
    /// All of them, the least first.
    pub const ALL: [Self; 5] = [
        Self::Sent,
        Self::Uploaded,
        Self::ReadBack,
        Self::Opened,
        Self::Restored,
    ];

    /// As people read it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Uploaded => "uploaded",
            Self::ReadBack => "read back",
            Self::Opened => "opened",
            Self::Restored => "restored",
        }
    }

    /// Whether it rests on a download of the whole copy.
    pub fn reads_all(self) -> bool {
        self >= Self::ReadBack
    }
}

/// A local backup, as far as copies care.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, and any may hold with any other"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copyable<'a> {
    /// Its stem.
    pub name: &'a str,
    /// The run that made it: what its copies are known by.
    pub run: Uuid,
    /// Its series.
    pub series: &'a Series,
    /// When it was started.
    pub started: DateTime<Utc>,
    /// The same moment on the wall clock of the schedule's zone.
    pub local: NaiveDateTime,
    /// Whether its last check found it intact.
    pub intact: bool,
    /// Whether it lacks rows that it should have.
    pub partial: bool,
    /// Whether the operator pinned it.
    pub pinned: bool,
    /// Whether it was made before a loss that nobody has accepted.
    pub held: bool,
}

impl Copyable<'_> {
    /// Its copy, once it is made.
    fn copy(&self) -> CopyCandidate {
        CopyCandidate {
            run: self.run,
            backup: self.name.to_owned(),
            series: self.series.clone(),
            started: self.started,
            local: self.local,
            complete: true,
            proved: true,
            partial: self.partial,
            pinned: self.pinned,
            held: self.held,
        }
    }
}

/// What of a database's backups goes to a destination.
#[derive(Clone, Copy, Debug)]
pub struct CopyRules<'a> {
    /// Only these series; all if there are none.
    pub series: &'a [Series],
    /// Of each series the newest so many, and no older ones: what a new destination, or one that was out of
    /// reach, begins with. Pinned backups come on top.
    pub backfill: NonZeroU32,
    /// What is kept there: no backup is copied of which the copy would be removed again.
    pub keeping: Keeping<'a>,
}

/// What a run knows of the copies of a database's backups.
#[derive(Clone, Copy, Debug)]
pub struct Copies<'a> {
    /// Those that the destination has.
    pub there: &'a [CopyCandidate],
    /// The runs whose backups could not be copied just now.
    pub passed_over: &'a BTreeSet<Uuid>,
}

/// The backups that are to be copied, in the order in which they are: the newest first, whatever its series.
///
/// A damaged backup is not copied: there is nothing that a copy of it proves. Nor is one that is dated after now,
/// since its copy would count for nothing. Nor is one whose copy the rules
/// would remove, once all that is due has been copied.
pub fn due_copies<'a>(
    backups: &[Copyable<'a>],
    rules: CopyRules<'_>,
    copies: Copies<'_>,
) -> Vec<&'a str> {
    let complete = copies.there.iter().filter(|copy| copy.complete);
    let there: BTreeSet<Uuid> = complete.map(|copy| copy.run).collect();
    let mut newest_first: Vec<&Copyable<'a>> = backups
        .iter()
        .filter(|backup| backup.intact && backup.started <= rules.keeping.now)
        .filter(|backup| rules.series.is_empty() || rules.series.contains(backup.series))
        .collect();
    newest_first.sort_by_key(|backup| Reverse((backup.started, backup.name)));
    let mut seen: Vec<(&Series, u32)> = Vec::new();
    newest_first.retain(|backup| {
        let index = seen.iter().position(|(series, _)| *series == backup.series);
        let index = index.unwrap_or_else(|| {
            seen.push((backup.series, 0));
            seen.len() - 1
        });
        seen[index].1 += 1;
        let is_among_the_newest = seen[index].1 <= rules.backfill.get();
        let is_over = there.contains(&backup.run) || copies.passed_over.contains(&backup.run);
        (is_among_the_newest || backup.pinned) && !is_over
    });
    let due: BTreeSet<Uuid> = newest_first.iter().map(|backup| backup.run).collect();
    let mut later: Vec<CopyCandidate> = newest_first.iter().map(|backup| backup.copy()).collect();
    let others = copies.there.iter().filter(|copy| !due.contains(&copy.run));
    later.extend(others.cloned());
    let removed = decide_copies(&later, rules.keeping).removed;
    newest_first.retain(|backup| removed.iter().all(|(run, _)| *run != backup.run));
    newest_first.into_iter().map(|backup| backup.name).collect()
}

/// What is known of the copies of a database's backups at one destination, as of the last time that it was
/// asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopyFacts {
    /// The destination.
    pub destination: String,
    /// How many copies there are.
    pub count: u64,
    /// The newest backup of which there is a copy.
    pub newest: Option<NewestCopy>,
    /// The oldest of the backups that are newer than that copy and have none.
    pub missing: Option<MissingCopy>,
    /// Since when copying fails, and why it did last.
    pub failure: Option<(DateTime<Utc>, String)>,
    /// Bytes of all copies.
    pub bytes: u64,
    /// How many copies are proved how far; damaged ones are not counted.
    pub states: BTreeMap<CopyState, u64>,
    /// The newest copy of each series that the destination takes.
    pub newest_of_series: Vec<SeriesCopy>,
    /// Of all copies but damaged ones, the one whose last proof is the oldest.
    pub oldest_proof: Option<CopyProof>,
    /// The copies that are damaged, newest first.
    pub damaged: Vec<DamagedCopy>,
    /// The copies that were there and are not any more, without retention having removed them; newest first.
    pub lost: Vec<LostCopy>,
    /// Whether a run is reading them back.
    pub is_being_verified: bool,
    /// How this machine's clock differed from the store's when they were compared last.
    pub clock: Option<ClockDifference>,
    /// When a copy was last downloaded as a whole and was what was signed.
    pub last_read: Option<DateTime<Utc>>,
    /// Since when the destination refuses to remove what retention no longer keeps, and in which words.
    pub refusal: Option<(DateTime<Utc>, String)>,
    /// The manifests that are there no longer and that nobody here has removed.
    pub gaps: Vec<Gap>,
}

/// What it means that a destination ignores the condition of a put, in a sentence without its end.
pub fn ignores_conditions(destination: &str) -> String {
    format!(
        "{destination} puts an object under a key that has one, although it was asked not to: whoever has the key \
         to it can replace copies; protect them there, by versioning or Object Lock"
    )
}

impl CopyFacts {
    /// Copies that were opened when they were made, right after the newest backup.
    #[cfg(test)]
    pub(crate) fn opened(destination: &str, count: u64, started: DateTime<Utc>) -> Self {
        let copied = started + TimeDelta::minutes(20);
        let backup = format!("backup_{}", started.format("%Y%m%d_%H%M%S"));
        let identity = CopyIdentity {
            run: Uuid::from_u128(7),
            copied,
            manifest: Some("0123456789abcdef".repeat(4)),
        };
        let bytes = 61 << 20;
        Self {
            destination: destination.to_owned(),
            count,
            newest: Some(NewestCopy {
                backup: backup.clone(),
                started,
                state: CopyState::Opened,
                proved: copied,
                identity: identity.clone(),
            }),
            states: [(CopyState::Opened, count)].into(),
            bytes: count * bytes,
            last_read: Some(copied),
            newest_of_series: vec![SeriesCopy {
                series: Series::daily(),
                started,
                bytes,
                is_damaged: false,
                proof: CopyProof {
                    backup,
                    state: CopyState::Opened,
                    at: copied,
                },
                identity,
            }],
            ..Self::default()
        }
    }

    /// What is good to know of the destination and needs no attention, one sentence each.
    pub fn remarks(&self) -> Vec<String> {
        let destination = &self.destination;
        let gaps = describe_gaps(&self.gaps, destination);
        let refusal = self.refusal.as_ref().map(|(since, why)| {
            format!(
                "{destination} has refused to remove old copies since {} UTC: {}",
                since.format("%Y-%m-%d %H:%M"),
                joined_lines(why)
            )
        });
        gaps.into_iter().chain(refusal).collect()
    }
}

/// What tells a copy from any other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopyIdentity {
    /// The run that made the backup.
    pub run: Uuid,
    /// When the copy was complete.
    pub copied: DateTime<Utc>,
    /// The SHA-256 of the copy's manifest, in hexadecimal digits, where it is known.
    pub manifest: Option<String>,
}

/// The newest backup of which there is a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewestCopy {
    /// The backup.
    pub backup: String,
    /// When it was started.
    pub started: DateTime<Utc>,
    /// How far its copy is proved.
    pub state: CopyState,
    /// When anything was proved of it last.
    pub proved: DateTime<Utc>,
    /// What tells it from any other.
    pub identity: CopyIdentity,
}

/// How far a copy is proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyProof {
    /// The backup.
    pub backup: String,
    /// How far it is proved.
    pub state: CopyState,
    /// When it was downloaded as a whole for the last time and was what was signed; without that, when it was
    /// copied.
    pub at: DateTime<Utc>,
}

/// The newest copy of a series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesCopy {
    /// The series.
    pub series: Series,
    /// When the backup was started.
    pub started: DateTime<Utc>,
    /// Bytes of its copy.
    pub bytes: u64,
    /// Whether it is damaged.
    pub is_damaged: bool,
    /// How far it is proved.
    pub proof: CopyProof,
    /// What tells it from any other.
    pub identity: CopyIdentity,
}

/// A copy that is damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedCopy {
    /// The backup.
    pub backup: String,
    /// Since when that is known.
    pub since: DateTime<Utc>,
    /// What is wrong with it.
    pub why: String,
    /// Whether the backup is here, and intact, so that it can be copied again.
    pub is_here: bool,
}

/// A copy that was there and is not any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostCopy {
    /// The backup.
    pub backup: String,
    /// Since when it is no longer listed.
    pub since: DateTime<Utc>,
    /// Whether the backup is here, and intact, so that it can be copied again.
    pub is_here: bool,
}

/// How this machine's clock differs from a store's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockDifference {
    /// When they were compared.
    pub at: DateTime<Utc>,
    /// So far this machine's clock is ahead; below zero, behind.
    pub ahead: TimeDelta,
}

/// A backup that should have a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingCopy {
    /// The backup.
    pub backup: String,
    /// When it could have been copied.
    pub since: DateTime<Utc>,
}

impl MissingCopy {
    /// Of the backups that a destination takes, as name, start and the moment from which on they could be
    /// copied: the oldest one that is newer than the newest copy. Where there is no copy yet, the newest one
    /// stands for all, from the moment at which copying began to fail: what is older was not asked for.
    pub fn of(
        wanted: impl Iterator<Item = (String, DateTime<Utc>, DateTime<Utc>)>,
        newest_copy: Option<DateTime<Utc>>,
        failing_since: Option<DateTime<Utc>>,
    ) -> Option<Self> {
        let Some(copied) = newest_copy else {
            let (backup, _, ready) = wanted.max_by_key(|(_, started, _)| *started)?;
            let since = failing_since.map_or(ready, |failing| failing.min(ready));
            return Some(Self { backup, since });
        };
        let (backup, _, since) = wanted
            .filter(|(_, started, _)| *started > copied)
            .min_by_key(|(_, started, _)| *started)?;
        Some(Self { backup, since })
    }
}

#[cfg(test)]
mod tests {
    use chrono::Datelike as _;

    use super::*;

    fn series(name: &str) -> Series {
        name.parse().unwrap()
    }

    fn at(day: u32) -> DateTime<Utc> {
        format!("2025-07-{day:02}T02:00:00Z").parse().unwrap()
    }

    #[test]
    fn the_newest_are_copied_first_up_to_a_number_and_pinned_ones_on_top() {
        let (daily, weekly) = (series("daily"), series("weekly"));
        let backup = |name, series, day, pinned| Copyable {
            name,
            run: Uuid::from_u128(u128::from(day)),
            series,
            started: at(day),
            local: at(day).naive_utc(),
            intact: day != 6,
            partial: false,
            pinned,
            held: false,
        };
        let backups = [
            backup("d1", &daily, 1, true),
            backup("d2", &daily, 2, false),
            backup("d3", &daily, 3, false),
            backup("w4", &weekly, 4, false),
            backup("d5", &daily, 5, false),
            backup("damaged", &daily, 6, false),
            backup("ahead", &daily, 8, true),
        ];
        let there = |days: &[u32]| -> Vec<CopyCandidate> {
            let is_there = |backup: &&Copyable<'_>| days.contains(&backup.started.day());
            let copies = backups.iter().filter(is_there);
            copies.map(Copyable::copy).collect()
        };
        for (only, backfill, days, expected) in [
            (None, 9, &[][..], &["d5", "w4", "d3", "d2", "d1"][..]),
            (None, 2, &[], &["d5", "w4", "d3", "d1"]),
            (None, 1, &[], &["d5", "w4", "d1"]),
            (None, 2, &[5], &["w4", "d3", "d1"]),
            (None, 2, &[1, 3, 4, 5], &[]),
            (Some("weekly"), 2, &[], &["w4"]),
            (Some("monthly"), 2, &[], &[]),
        ] {
            let only: Vec<Series> = only.into_iter().map(series).collect();
            let rules = CopyRules {
                series: &only,
                backfill: NonZeroU32::new(backfill).unwrap(),
                keeping: Keeping {
                    rules: None,
                    floor: NonZeroU32::MIN,
                    now: at(7),
                },
            };
            let there = there(days);
            let copies = Copies {
                there: &there,
                passed_over: &BTreeSet::new(),
            };
            let due = due_copies(&backups, rules, copies);
            assert_eq!(due, expected, "{only:?} {backfill} {days:?}");
        }
    }

    #[test]
    fn each_state_proves_more_than_the_one_before() {
        let states = [
            CopyState::Sent,
            CopyState::Uploaded,
            CopyState::ReadBack,
            CopyState::Opened,
            CopyState::Restored,
        ];
        assert!(states.is_sorted());
        let words = states.map(CopyState::word);
        assert_eq!(
            words,
            ["sent", "uploaded", "read back", "opened", "restored"]
        );
    }

    fn moment(hour: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_752_000_000 + hour * 3600, 0).unwrap()
    }

    #[test]
    fn the_oldest_backup_since_the_newest_copy_is_what_is_missing() {
        let wanted = [("a", 0), ("c", 48), ("b", 24)];
        let missing = |copied: Option<i64>, failing: Option<i64>| {
            let wanted = wanted.map(|(name, at)| (name.to_owned(), moment(at), moment(at + 1)));
            let (copied, failing) = (copied.map(moment), failing.map(moment));
            let missing = MissingCopy::of(wanted.into_iter(), copied, failing);
            missing.map(|missing| (missing.backup, missing.since))
        };
        let is = |name: &str, at| Some((name.to_owned(), moment(at)));
        for (copied, failing, expected) in [
            (Some(48), None, None),
            (Some(24), None, is("c", 49)),
            (Some(0), None, is("b", 25)),
            (Some(0), Some(30), is("b", 25)),
            // Before the first copy.
            (None, None, is("c", 49)),
            (None, Some(10), is("c", 10)),
            (None, Some(50), is("c", 49)),
        ] {
            assert_eq!(missing(copied, failing), expected, "{copied:?} {failing:?}");
        }
        assert_eq!(MissingCopy::of(std::iter::empty(), None, None), None);
    }
}
