//! What becomes of volumes at a destination that belong to no copy: of an upload that was broken off. Pure.
//!
//! Nothing goes because something is missing from one listing: an orphan is seen twice, an hour apart, and is a week
//! old by the store's clock. Nor does anything go that this host cannot account for.

use chrono::{DateTime, TimeDelta, Utc};

/// Between the two listings that show no manifest.
const APART: TimeDelta = TimeDelta::hours(1);

/// So old, by the store's clock, is the newest of its objects.
const OLD: TimeDelta = TimeDelta::days(7);

/// What lies under the name of a copy without a trusted manifest.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, and any may hold with any other"
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// Whether a manifest of any kind is listed under the name: what is there may be its own, even if nobody can read
    /// it.
    pub has_manifest: bool,
    /// Whether the local ledger knows the run that made the backup.
    pub is_known: bool,
    /// Whether its upload goes on, or will.
    pub is_pending: bool,
    /// Whether it was a complete copy once, by the ledger, that this host did not remove: then its manifest is lost.
    pub was_copied: bool,
    /// When a listing first showed it without a manifest, by the local clock.
    pub first_seen: Option<DateTime<Utc>>,
    /// When the store got the newest of its objects, by the store's clock.
    pub newest: DateTime<Utc>,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrphanVerdict {
    /// It stays, and is only shown.
    Stays,
    /// It goes if a later listing shows it again.
    Watched,
    /// It goes.
    Goes,
}

/// Decides, at a moment by the local clock and by the store's.
pub fn judge_orphan(orphan: Orphan, now: DateTime<Utc>, store: DateTime<Utc>) -> OrphanVerdict {
    let is_ours = orphan.is_known && !orphan.is_pending && !orphan.was_copied;
    if orphan.has_manifest || !is_ours {
        return OrphanVerdict::Stays;
    }
    let is_seen_twice = orphan.first_seen.is_some_and(|first| now - first >= APART);
    if is_seen_twice && store - orphan.newest > OLD {
        OrphanVerdict::Goes
    } else {
        OrphanVerdict::Watched
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_seen_twice_is_old_and_is_accounted_for_goes() {
        let now: DateTime<Utc> = "2025-07-09T12:00:00Z".parse().unwrap();
        // The store's clock is another one.
        let store = now - TimeDelta::minutes(3);
        let orphan = Orphan {
            has_manifest: false,
            is_known: true,
            is_pending: false,
            was_copied: false,
            first_seen: Some(now - TimeDelta::hours(1)),
            newest: store - TimeDelta::days(8),
        };
        let with = |change: fn(&mut Orphan)| {
            let mut changed = orphan;
            change(&mut changed);
            judge_orphan(changed, now, store)
        };
        assert_eq!(with(|_| {}), OrphanVerdict::Goes);
        for (change, expected) in [
            (
                (|one| one.has_manifest = true) as fn(&mut Orphan),
                OrphanVerdict::Stays,
            ),
            (|one| one.is_known = false, OrphanVerdict::Stays),
            (|one| one.is_pending = true, OrphanVerdict::Stays),
            (|one| one.was_copied = true, OrphanVerdict::Stays),
            (|one| one.first_seen = None, OrphanVerdict::Watched),
            (
                |one| one.first_seen = one.first_seen.map(|at| at + TimeDelta::seconds(1)),
                OrphanVerdict::Watched,
            ),
            // The clock was set back since.
            (
                |one| one.first_seen = one.first_seen.map(|at| at + TimeDelta::days(9)),
                OrphanVerdict::Watched,
            ),
            (
                |one| one.newest += TimeDelta::days(1),
                OrphanVerdict::Watched,
            ),
            // Dated after now by the store.
            (
                |one| one.newest += TimeDelta::days(20),
                OrphanVerdict::Watched,
            ),
        ] {
            assert_eq!(with(change), expected);
        }
    }
}
