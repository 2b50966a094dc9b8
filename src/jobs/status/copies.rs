//! How the copies of a database's backups stand, by what the last runs have learned. No destination is asked:
//! a look waits for no network.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::Path;

use chrono::{TimeDelta, Utc};
use uuid::Uuid;

use crate::config::Plan;
use crate::policy::{
    ClockDifference, CopyFacts, CopyIdentity, CopyProof, CopyState, DamagedCopy, LostCopy,
    MissingCopy, NewestCopy, Series, SeriesCopy,
};
use crate::repository::{Catalogue, KnownCopies, KnownCopy};

/// Of each destination that takes backups of this database.
pub(super) fn copy_facts(
    (plan, state): (&Plan, &Path),
    (server, database): (&str, &str),
    (directory, catalogue): (&Path, &Catalogue),
    is_being_verified: impl Fn(&str) -> bool,
) -> Vec<CopyFacts> {
    let now = Utc::now();
    let taking = plan.destinations.iter();
    let taking = taking.filter(|destination| destination.takes(server, database));
    taking
        .map(|destination| {
            let known = KnownCopies::read(state, &destination.name, directory);
            let newest = known.newest(|series| destination.takes_series(series));
            let failure = known.failure.as_ref();
            let backups = catalogue.backups.iter();
            let wanted = backups
                .filter(|entry| entry.is_sound() && destination.takes_series(&entry.stem.series))
                // What is dated after now is not copied.
                .filter(|entry| entry.started.to_utc() <= now)
                .map(|entry| {
                    let (started, ready) = (entry.started.to_utc(), entry.verified.to_utc());
                    (entry.stem.to_string(), started, ready)
                });
            let here = |run: &Uuid| {
                let mut backups = catalogue.backups.iter();
                backups.any(|entry| entry.run == *run && entry.is_sound())
            };
            CopyFacts {
                destination: destination.name.clone(),
                count: known.copies.len() as u64,
                newest: newest.map(|(run, copy)| NewestCopy {
                    backup: copy.backup.clone(),
                    started: copy.started,
                    state: copy.state,
                    proved: copy.last_proved(),
                    identity: identity(run, copy),
                }),
                last_read: known.copies.values().filter_map(KnownCopy::last_read).max(),
                refusal: known
                    .refusal
                    .as_ref()
                    .map(|refusal| (refusal.since, refusal.why.clone())),
                gaps: known.numbers.gaps().to_vec(),
                bytes: known.copies.values().map(|copy| copy.bytes).sum(),
                states: states(&known),
                newest_of_series: newest_of_series(&known, |series| {
                    destination.takes_series(series)
                }),
                oldest_proof: intact(&known)
                    .min_by_key(|copy| copy.last_proved())
                    .map(proof),
                damaged: damaged(&known, here),
                lost: lost(&known, here),
                is_being_verified: is_being_verified(&destination.name),
                clock: known.clock.map(|clock| ClockDifference {
                    at: clock.at,
                    ahead: TimeDelta::seconds(clock.ahead_seconds),
                }),
                missing: MissingCopy::of(
                    wanted,
                    newest.map(|(_, copy)| copy.started),
                    failure.map(|failure| failure.since),
                ),
                failure: failure.map(|failure| (failure.since, failure.why.clone())),
            }
        })
        .collect()
}

/// The copies that are not known to be damaged.
fn intact(known: &KnownCopies) -> impl Iterator<Item = &KnownCopy> {
    known.copies.values().filter(|copy| copy.damage.is_none())
}

fn states(known: &KnownCopies) -> BTreeMap<CopyState, u64> {
    let mut states = BTreeMap::new();
    for copy in intact(known) {
        *states.entry(copy.state).or_default() += 1;
    }
    states
}

fn proof(copy: &KnownCopy) -> CopyProof {
    CopyProof {
        backup: copy.backup.clone(),
        state: copy.state,
        at: copy.last_proved(),
    }
}

fn newest_of_series(known: &KnownCopies, takes: impl Fn(&Series) -> bool) -> Vec<SeriesCopy> {
    let newest = known.newest_of_series();
    newest
        .filter(|(_, copy)| takes(&copy.series))
        .map(|(run, copy)| SeriesCopy {
            series: copy.series.clone(),
            started: copy.started,
            bytes: copy.bytes,
            is_damaged: copy.damage.is_some(),
            proof: proof(copy),
            identity: identity(run, copy),
        })
        .collect()
}

/// What tells a copy from any other.
fn identity(run: Uuid, copy: &KnownCopy) -> CopyIdentity {
    let manifest = copy.manifest.as_ref();
    CopyIdentity {
        run,
        copied: copy.copied,
        manifest: manifest.map(|manifest| manifest.sha256.clone()),
    }
}

fn damaged(known: &KnownCopies, is_here: impl Fn(&Uuid) -> bool) -> Vec<DamagedCopy> {
    let mut damaged: Vec<_> = known.copies.iter().collect();
    damaged.sort_by_key(|(_, copy)| Reverse(copy.started));
    let damaged = damaged.into_iter().filter_map(|(run, copy)| {
        let damage = copy.damage.as_ref()?;
        Some(DamagedCopy {
            backup: copy.backup.clone(),
            since: damage.since,
            why: damage.why.clone(),
            is_here: is_here(run),
        })
    });
    damaged.collect()
}

fn lost(known: &KnownCopies, is_here: impl Fn(&Uuid) -> bool) -> Vec<LostCopy> {
    let absent = known.absent.iter();
    let mut lost: Vec<_> = absent
        .filter(|(_, absent)| absent.missing.is_some())
        .collect();
    lost.sort_by_key(|(_, absent)| Reverse(absent.copy.started));
    let lost = lost.into_iter().map(|(run, absent)| LostCopy {
        backup: absent.copy.backup.clone(),
        since: absent.since,
        is_here: is_here(run),
    });
    lost.collect()
}
