//! Which backups are restored for a test.

use std::collections::BTreeSet;

use crate::config::DrillChoice;
use crate::jobs::target::BackupDirectory;
use crate::jobs::{Criteria, JobContext, JobError, passed_over};
use crate::policy::Series;
use crate::repository::{Catalogue, Entry, Fault, Stem};

/// Which backups of a place are restored for a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhichBackup {
    /// One, as the job chooses; by chance with this seed.
    One(DrillChoice, u64),
    /// The newest sound one of each series.
    NewestOfSeries,
    /// The newest one whose files are not known to be damaged.
    NewestUndamaged,
    /// This one.
    Named(Stem),
}

/// The backups of a place that are to be restored for a test, newest first.
///
/// # Errors
/// When the directory cannot be read.
pub fn backups_to_drill(
    backup_directory: &BackupDirectory,
    which: &WhichBackup,
) -> Result<Vec<Stem>, JobError> {
    if let WhichBackup::Named(stem) = which {
        return Ok(vec![stem.clone()]);
    }
    let catalogue = backup_directory.repository.catalogue()?;
    Ok(choose_backups(&catalogue, which)
        .into_iter()
        .map(|entry| entry.stem.clone())
        .collect())
}

/// What is newer than the backups that are to be restored for a test, and cannot be restored, one
/// sentence each. Nothing where a backup is named or taken by chance.
///
/// # Errors
/// When the directory cannot be read.
pub fn passed_over_by_drill(
    context: &JobContext,
    backup_directory: &BackupDirectory,
    which: &WhichBackup,
    chosen: &[Stem],
) -> Result<Vec<String>, JobError> {
    let of_series = |series: Option<Series>| Criteria {
        series,
        before: None,
    };
    let passed = match which {
        WhichBackup::Named(_) | WhichBackup::One(DrillChoice::Random, _) => return Ok(Vec::new()),
        WhichBackup::One(DrillChoice::Newest, _) | WhichBackup::NewestUndamaged => {
            passed_over(context, backup_directory, chosen.first(), &of_series(None))?
        }
        WhichBackup::NewestOfSeries => {
            let catalogue = backup_directory.repository.catalogue()?;
            let known = catalogue.backups.iter().map(|entry| &entry.stem.series);
            let all: BTreeSet<&Series> = known.collect();
            let mut passed = Vec::new();
            for series in all {
                let newest = chosen.iter().find(|stem| stem.series == *series);
                let criteria = of_series(Some(series.clone()));
                passed.extend(passed_over(context, backup_directory, newest, &criteria)?);
            }
            passed
        }
    };
    Ok(passed.iter().map(ToString::to_string).collect())
}

/// Chooses among the backups that neither a check nor a test restore has found bad. Pure.
fn choose_backups<'a>(catalogue: &'a Catalogue, which: &WhichBackup) -> Vec<&'a Entry> {
    let sound: Vec<&Entry> = catalogue
        .backups
        .iter()
        .rev()
        .filter(|entry| entry.counts())
        .collect();
    match which {
        WhichBackup::One(DrillChoice::Newest, _) => sound.into_iter().take(1).collect(),
        WhichBackup::One(DrillChoice::Random, seed) => by_chance(sound.len(), *seed)
            .and_then(|chosen| sound.get(chosen).copied())
            .into_iter()
            .collect(),
        WhichBackup::NewestOfSeries => {
            let mut seen = Vec::new();
            sound
                .into_iter()
                .filter(|entry| {
                    let series = &entry.stem.series;
                    let is_first = !seen.contains(&series);
                    seen.push(series);
                    is_first
                })
                .collect()
        }
        WhichBackup::NewestUndamaged => {
            let is_damaged =
                |entry: &&Entry| matches!(entry.state.fault(), Some(Fault::Damaged(_)));
            let newest = catalogue.backups.iter().rev();
            newest.filter(|entry| !is_damaged(entry)).take(1).collect()
        }
        WhichBackup::Named(_) => Vec::new(),
    }
}

/// Which of so many, all with the same chance; none of none.
fn by_chance(length: usize, seed: u64) -> Option<usize> {
    usize::try_from(seed.checked_rem(length as u64)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_chance_every_backup_is_tried() {
        assert_eq!(by_chance(0, 7), None);
        for length in [1, 2, 30] {
            let chosen: BTreeSet<_> = (0..100).map(|seed| by_chance(length, seed)).collect();
            assert_eq!(chosen, (0..length).map(Some).collect());
        }
    }
}
