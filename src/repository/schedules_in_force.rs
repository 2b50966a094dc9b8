//! Which schedules the daemon has had in force, and since when: one file in its state directory.
//!
//! Without it nobody could tell a slot that was missed from one that was not asked for yet. It is
//! not needed for anything else: when it is lost, the ledgers still know what was done.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::durable;

const FILE: &str = "schedules.json";

/// The schedules in force, by the jobs' names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchedulesInForce {
    jobs: BTreeMap<String, InForce>,
}

/// One job's schedule in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InForce {
    /// The schedule as written.
    pub schedule: String,
    /// Its zone.
    pub zone: String,
    /// Since when it is in force.
    pub since: DateTime<Utc>,
    /// The newest slot for which everything was done that was to be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handled: Option<DateTime<Utc>>,
}

impl SchedulesInForce {
    /// Reads them; none were in force when there is no such file.
    ///
    /// # Errors
    /// When the file cannot be read or is none of ours.
    pub fn read(directory: &Path) -> io::Result<Self> {
        match crate::regular_file::read(&directory.join(FILE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            text => Ok(serde_json::from_slice(&text?)?),
        }
    }

    /// Writes them, wholly or not at all, and waits until they are on the disk.
    ///
    /// # Errors
    /// When the file cannot be written; the old one then stands.
    pub fn write(&self, directory: &Path) -> io::Result<()> {
        if !directory.is_dir() {
            durable::create_directory(directory)?;
        }
        durable::replace(&directory.join(FILE), &serde_json::to_vec_pretty(self)?)
    }

    /// Puts schedules in force from now on. One that is in force already goes on being so, with
    /// what is known of it; those that are no longer wanted are forgotten.
    pub fn replace<'a>(
        &mut self,
        wanted: impl Iterator<Item = (&'a str, &'a str, &'a str)>,
        now: DateTime<Utc>,
    ) {
        let mut old = std::mem::take(&mut self.jobs);
        for (job, schedule, zone) in wanted {
            let kept = old
                .remove(job)
                .filter(|old| old.schedule == schedule && old.zone == zone);
            let in_force = kept.unwrap_or_else(|| InForce {
                schedule: schedule.to_owned(),
                zone: zone.to_owned(),
                since: now,
                handled: None,
            });
            self.jobs.insert(job.to_owned(), in_force);
        }
    }

    /// Notes that everything was done for a slot.
    pub fn handle(&mut self, job: &str, slot: DateTime<Utc>) {
        if let Some(in_force) = self.jobs.get_mut(job) {
            in_force.handled = in_force.handled.max(Some(slot));
        }
    }

    /// The jobs of which a slot is known for which everything was done, each with the newest.
    pub fn handled(&self) -> impl Iterator<Item = (&str, DateTime<Utc>)> {
        let jobs = self.jobs.iter();
        jobs.filter_map(|(job, in_force)| Some((job.as_str(), in_force.handled?)))
    }

    /// What is known of a job.
    pub fn of(&self, job: &str) -> Option<&InForce> {
        self.jobs.get(job)
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};

    use super::SchedulesInForce;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn a_schedule_is_in_force_since_it_was_first_wanted_as_it_is() {
        let mut schedules = SchedulesInForce::default();
        let (monday, tuesday) = (at("2025-07-07T00:00:00Z"), at("2025-07-08T00:00:00Z"));
        let daily = ("daily", "0 2 * * *", "Asia/Riyadh");
        let weekly = ("weekly", "0 3 * * 0", "Asia/Riyadh");
        schedules.replace([daily, weekly].into_iter(), monday);
        schedules.handle("daily", monday);
        schedules.replace(
            [daily, ("weekly", "0 4 * * 0", "Asia/Riyadh")].into_iter(),
            tuesday,
        );
        let known = |job: &str| schedules.of(job).map(|known| (known.since, known.handled));
        assert_eq!(known("daily"), Some((monday, Some(monday))));
        assert_eq!(known("weekly"), Some((tuesday, None)));
        schedules.replace([weekly].into_iter(), tuesday);
        assert_eq!(schedules.of("daily"), None);
    }

    #[test]
    fn what_was_written_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        assert_eq!(
            SchedulesInForce::read(&path).unwrap(),
            SchedulesInForce::default()
        );
        let mut schedules = SchedulesInForce::default();
        schedules.replace(
            [("a", "@daily", "UTC")].into_iter(),
            at("2025-07-07T00:00:00Z"),
        );
        for _ in 0..2 {
            schedules.write(&path).unwrap();
        }
        assert_eq!(SchedulesInForce::read(&path).unwrap(), schedules);
        std::fs::write(path.join("schedules.json"), "{").unwrap();
        assert!(SchedulesInForce::read(&path).is_err());
    }
}
