//! How the copies of a database's backups stand, by what the last runs have learned. No destination is asked:
//! a look waits for no network.

use std::path::Path;

use crate::config::Plan;
use crate::policy::{CopyFacts, MissingCopy, NewestCopy};
use crate::repository::{Catalogue, KnownCopies};

/// Of each destination that takes backups of this database.
pub(super) fn copy_facts(
    plan: &Plan,
    state: &Path,
    (server, database): (&str, &str),
    (directory, catalogue): (&Path, &Catalogue),
) -> Vec<CopyFacts> {
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
                .map(|entry| {
                    let (started, ready) = (entry.started.to_utc(), entry.verified.to_utc());
                    (entry.stem.to_string(), started, ready)
                });
            CopyFacts {
                destination: destination.name.clone(),
                count: known.copies.len() as u64,
                newest: newest.map(|copy| NewestCopy {
                    backup: copy.backup.clone(),
                    started: copy.started,
                    state: copy.state,
                }),
                missing: MissingCopy::of(
                    wanted,
                    newest.map(|copy| copy.started),
                    failure.map(|failure| failure.since),
                ),
                failure: failure.map(|failure| (failure.since, failure.why.clone())),
            }
        })
        .collect()
}
