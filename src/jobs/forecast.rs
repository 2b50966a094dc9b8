//! What a database's backups are going to take of the free space, from what is there and what is scheduled.

use chrono::{DateTime, Utc};

use super::JobContext;
use super::prune::{Held, OVERHEAD, candidate};
use crate::policy::{GrowingSeries, Loss, Rules, Schedule, Series, SpaceDays};
use crate::repository::{Catalogue, Entry};

/// A database's backups, and what is lost of them.
pub(super) struct Growth<'a> {
    pub(super) context: &'a JobContext,
    pub(super) catalogue: &'a Catalogue,
    pub(super) losses: &'a [Loss],
}

impl Growth<'_> {
    /// What the series that these schedules go on with do to the free space in the days to come.
    pub(super) fn days(
        &self,
        series: &[(&Series, Vec<&Schedule>)],
        now: DateTime<Utc>,
    ) -> SpaceDays {
        let held = Held::of(self.losses.to_vec(), self.catalogue);
        let mut all = SpaceDays::default();
        for (series, schedules) in series {
            let of_series = |entry: &&Entry| entry.stem.series == **series;
            let entries: Vec<&Entry> = self.catalogue.backups.iter().filter(of_series).collect();
            let mut newest_first = entries.iter().rev();
            let Some(newest) = newest_first.find(|entry| !entry.is_partial()) else {
                continue;
            };
            let names: Vec<String> = entries.iter().map(|entry| entry.stem.to_string()).collect();
            let retention = &self.context.retention;
            let keep_all = Rules::default();
            let backups = entries.iter().zip(&names).map(|(entry, name)| {
                let candidate = candidate(self.context, &held, entry, name);
                (candidate, entry.bytes + OVERHEAD)
            });
            let growing = GrowingSeries {
                backups: backups.collect(),
                rules: retention.series.get(*series).unwrap_or(&keep_all),
                floor: retention.floor,
                schedules: schedules.clone(),
                next_bytes: newest.bytes + OVERHEAD,
            };
            for (day, more) in all.iter_mut().zip(growing.days(now)) {
                day.add(more);
            }
        }
        all
    }
}
