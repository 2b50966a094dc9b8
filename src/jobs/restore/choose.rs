//! Which backup is meant when none is named. Pure.

use chrono::{DateTime, FixedOffset};

use crate::jobs::Place;
use crate::policy::Series;
use crate::repository::Entry;

/// A backup that could be restored.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The directory that it stands in.
    pub place: Place,
    /// The backup.
    pub entry: Entry,
}

/// What is asked of it.
#[derive(Clone, Debug, Default)]
pub struct Criteria {
    /// It belongs to this series.
    pub series: Option<Series>,
    /// It began before this moment.
    pub before: Option<DateTime<FixedOffset>>,
}

impl Criteria {
    fn admits(&self, entry: &Entry) -> bool {
        self.series
            .as_ref()
            .is_none_or(|series| entry.stem.series == *series)
            && self.before.is_none_or(|before| entry.started < before)
    }
}

/// The backups that fit, newest first; those that were found bad come last.
pub fn choose(mut candidates: Vec<Candidate>, criteria: &Criteria) -> Vec<Candidate> {
    candidates.retain(|candidate| criteria.admits(&candidate.entry));
    candidates.sort_by(|one, other| {
        let damaged = |candidate: &Candidate| !candidate.entry.is_sound();
        damaged(one)
            .cmp(&damaged(other))
            .then(other.entry.started.cmp(&one.entry.started))
            .then(other.entry.stem.cmp(&one.entry.stem))
    });
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Compression, Format};
    use crate::repository::{Check, Repository, State};

    fn moment(text: &str) -> DateTime<FixedOffset> {
        DateTime::parse_from_rfc3339(text).unwrap()
    }

    fn candidate(name: &str, started: &str, damaged: bool) -> Candidate {
        let started = moment(started);
        let checked = damaged.then(|| Check {
            at: started,
            damage: Some("torn".to_owned()),
        });
        Candidate {
            place: Place {
                server: Some("main".to_owned()),
                label: "app".to_owned(),
                database: "app".to_owned(),
                repository: Repository::at("/x"),
            },
            entry: Entry {
                stem: name.parse().unwrap(),
                run: uuid::Uuid::nil(),
                database: "app".to_owned(),
                reason: None,
                started,
                verified: started,
                format: Format::Plain,
                compression: Compression::Gzip,
                bytes: 1,
                rows: 1,
                tables: 1,
                system_identifier: None,
                state: State {
                    checked,
                    ..State::default()
                },
            },
        }
    }

    fn chosen(criteria: &Criteria) -> Vec<String> {
        let all = vec![
            candidate("backup_20250709_020000", "2025-07-09T02:00:00+03:00", false),
            candidate("backup_20250711_020000", "2025-07-11T02:00:00+03:00", true),
            candidate("backup_20250710_020000", "2025-07-10T02:00:00+03:00", false),
            // Its name is older, but it is not: another zone.
            candidate(
                "weekly_backup_20250709_233000",
                "2025-07-09T23:30:00+00:00",
                false,
            ),
        ];
        let chosen = choose(all, criteria);
        chosen
            .iter()
            .map(|candidate| candidate.entry.stem.to_string())
            .collect()
    }

    #[test]
    fn the_newest_sound_backup_comes_first() {
        assert_eq!(
            chosen(&Criteria::default()),
            [
                "weekly_backup_20250709_233000",
                "backup_20250710_020000",
                "backup_20250709_020000",
                "backup_20250711_020000",
            ]
        );
    }

    #[test]
    fn a_series_and_a_moment_narrow_it() {
        let daily = Criteria {
            series: Some(Series::daily()),
            before: Some(moment("2025-07-10T02:00:00+03:00")),
        };
        assert_eq!(chosen(&daily), ["backup_20250709_020000"]);
        let none = Criteria {
            before: Some(moment("2025-07-01T00:00:00+03:00")),
            ..Criteria::default()
        };
        assert!(chosen(&none).is_empty());
    }
}
