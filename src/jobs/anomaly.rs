//! What is odd in the backups of a database, by what its directory holds, for `policy::anomaly` to
//! judge.

use std::collections::{BTreeMap, BTreeSet};

use crate::policy::{self, Accepted, OddSize, Sensitivity, Series};
use crate::repository::{Catalogue, Details, Entry, Record, Repository};

/// The series whose newest backups have odd sizes.
pub(super) fn odd_sizes(
    repository: &Repository,
    catalogue: &Catalogue,
    sensitivity: Sensitivity,
) -> Vec<(Series, OddSize)> {
    let mut by_series: BTreeMap<&Series, Vec<&Entry>> = BTreeMap::new();
    for entry in &catalogue.backups {
        by_series.entry(&entry.stem.series).or_default().push(entry);
    }
    let mut accepted = BTreeSet::new();
    // A ledger that cannot be read says nothing, and `status` says that it cannot.
    let _ = repository
        .ledger()
        .read(|record| accepted.extend(accepted_contents(&record).map(str::to_owned)));
    let odd = by_series.into_iter().filter_map(|(series, entries)| {
        let odd = odd_size(&entries, &accepted, sensitivity)?;
        Some((series.clone(), odd))
    });
    odd.collect()
}

/// The backup as of which a record accepts the contents of the database.
pub(super) fn accepted_contents(record: &Record) -> Option<&str> {
    match &record.details {
        Details::Accept {
            backup,
            accepted: Some(Accepted::Contents),
        } => backup.as_deref(),
        _ => None,
    }
}

/// Whether the newest intact one of these backups of one series, oldest first, has an odd size.
///
/// It is measured against those of its format and compression, and since the newest one as of which
/// somebody has accepted the contents.
pub(super) fn odd_size(
    of_series: &[&Entry],
    accepted: &BTreeSet<String>,
    sensitivity: Sensitivity,
) -> Option<OddSize> {
    let mut newest_first = of_series.iter().rev().filter(|entry| entry.counts());
    let newest = newest_first.next()?;
    let name = newest.stem.to_string();
    if accepted.contains(&name) {
        return None;
    }
    let mut before = Vec::new();
    for entry in newest_first {
        if (entry.format, entry.compression) == (newest.format, newest.compression) {
            before.push(entry.bytes);
        }
        if before.len() == policy::WINDOW || accepted.contains(&entry.stem.to_string()) {
            break;
        }
    }
    before.reverse();
    policy::odd_size((&name, newest.bytes), &before, sensitivity)
}
