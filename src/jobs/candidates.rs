//! Which backup is meant when none is named, and which newer ones are passed over for it, and why: whoever
//! goes back in time must know it.

use std::fmt;
use std::path::Path;

use chrono::{DateTime, FixedOffset, NaiveDateTime, TimeZone, Utc};
use chrono_tz::Tz;

use crate::display::{command, is_encrypted_by_name, salvage_command, shell_word, with_identity};
use crate::jobs::{BackupDirectory, JobContext, JobError, continuity};
use crate::policy::{Accepted, Loss, Series};
use crate::repository::{Catalogue, Entry, Fault, Quarantined, Stem};

/// A backup that could be restored.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The directory that it stands in.
    pub backup_directory: BackupDirectory,
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

/// The backups that fit, newest first; those that were found bad or are partial come last.
pub fn choose_candidates(mut candidates: Vec<Candidate>, criteria: &Criteria) -> Vec<Candidate> {
    candidates.retain(|candidate| criteria.admits(&candidate.entry));
    candidates.sort_by(|one, other| {
        let class = |candidate: &Candidate| {
            let entry = &candidate.entry;
            (!entry.counts(), !entry.is_sound())
        };
        class(one)
            .cmp(&class(other))
            .then(other.entry.started.cmp(&one.entry.started))
            .then(other.entry.stem.cmp(&one.entry.stem))
    });
    candidates
}

/// A backup that is newer than the one that is chosen, or one of those that cannot be where none can.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedOver {
    /// Its name.
    pub backup: String,
    /// Whether an older one is chosen instead.
    pub is_newer: bool,
    /// Why it is not chosen, and how it can be had, in a clause.
    pub why: String,
}

impl fmt::Display for PassedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let newer = if self.is_newer { "newer and " } else { "" };
        write!(f, "{} is {newer}skipped: {}", self.backup, self.why)
    }
}

/// The backups of a place that fit and are newer than the one that is chosen, newest first; all that
/// fit where none is.
///
/// # Errors
/// When the directory cannot be read.
pub fn passed_over(
    context: &JobContext,
    backup_directory: &BackupDirectory,
    chosen: Option<&Stem>,
    criteria: &Criteria,
) -> Result<Vec<PassedOver>, JobError> {
    let catalogue = backup_directory.repository.catalogue()?;
    let found = Found {
        database: &backup_directory.label,
        directory: backup_directory.repository.directory(),
        catalogue: &catalogue,
        aside: &backup_directory.repository.quarantined()?,
        losses: &continuity::look(
            Some(&context.state_directory),
            &backup_directory.repository,
            &catalogue,
        ),
        zone: context.zone,
    };
    let backups = catalogue.backups.iter();
    let chosen = chosen.and_then(|stem| backups.rev().find(|entry| entry.stem == *stem));
    Ok(found.passed_over(chosen, criteria))
}

/// All that is known of a place's backups, whole or not.
struct Found<'a> {
    database: &'a str,
    directory: &'a Path,
    catalogue: &'a Catalogue,
    aside: &'a [Quarantined],
    losses: &'a [Loss],
    zone: Tz,
}

impl Found<'_> {
    fn passed_over(&self, chosen: Option<&Entry>, criteria: &Criteria) -> Vec<PassedOver> {
        let mut found: Vec<(NaiveDateTime, PassedOver)> = self
            .all()
            .filter(|one| {
                let is_newer = chosen.is_none_or(|chosen| one.is_newer_than(chosen));
                is_newer && self.fits(one, criteria)
            })
            .map(|Other { at, stem, why, .. }| {
                let backup = stem.to_string();
                let passed = PassedOver {
                    backup,
                    is_newer: chosen.is_some(),
                    why,
                };
                (at, passed)
            })
            .collect();
        found.sort_by(|(one, a), (other, b)| (other, &b.backup).cmp(&(one, &a.backup)));
        found.dedup_by(|(_, a), (_, b)| a.backup == b.backup);
        found.into_iter().map(|(_, passed)| passed).collect()
    }

    fn fits(&self, one: &Other, criteria: &Criteria) -> bool {
        let series = criteria.series.as_ref();
        let before = criteria.before.map(|before| self.local(&before));
        series.is_none_or(|series| one.stem.series == *series)
            && before.is_none_or(|before| one.at < before)
    }

    /// Everything that cannot be chosen, with its time and the reason.
    fn all(&self) -> impl Iterator<Item = Other> {
        let bad = self.catalogue.backups.iter().filter_map(|entry| {
            let stem = entry.stem.to_string();
            let what = match entry.state.fault()? {
                Fault::Damaged(what) => format!(
                    "it is damaged: {what}; `{}` reads it again",
                    command("verify", self.database, &stem)
                ),
                Fault::Unrestorable(what) => {
                    format!("it did not come back intact in a drill: {what}")
                }
            };
            let salvage = salvage_command(self.database, &stem, entry.is_encrypted());
            let why = format!("{what}; `{salvage}` salvages what it holds");
            Some(self.other(Some(entry.started.to_utc()), &entry.stem, why))
        });
        let partial = self.catalogue.backups.iter().filter_map(|entry| {
            let is_named = entry.is_sound() && entry.is_partial();
            let why = format!(
                "it is partial, without the rows of {}; `{}` restores what it holds",
                entry.skipped_tables.join(", "),
                self.restore(&entry.stem.to_string(), entry.is_encrypted())
            );
            is_named.then(|| self.other(Some(entry.started.to_utc()), &entry.stem, why))
        });
        let problems = self.catalogue.problems.iter().filter_map(|problem| {
            let stem = problem.manifest_of.as_ref().or(problem.lost.as_ref())?;
            let what = if problem.lost.is_some() {
                problem.what.clone()
            } else {
                format!("its manifest cannot be used: {}", problem.what)
            };
            let dump = self.dump_of(stem);
            let way = format!(
                "; its dump can be restored by its path: `{}`",
                self.restore(&shell_word(&dump), is_encrypted_by_name(Path::new(&dump)))
            );
            Some(self.other(None, stem, what + &way))
        });
        let aside = self.aside.iter().map(|one| {
            let started = one.started.map(|started| started.to_utc());
            let damage = match one.state.fault() {
                Some(Fault::Damaged(what) | Fault::Unrestorable(what)) => what,
                None => "its state is lost",
            };
            let why = format!(
                "it was damaged and is in quarantine: {damage}; `{}` moves it back once it is \
                 intact",
                command("release", self.database, &one.name)
            );
            self.other(started, &one.stem, why)
        });
        let vanished = self.losses.iter();
        let vanished = vanished.filter(|loss| loss.what == Accepted::Vanished);
        let gone = vanished.filter_map(|Loss { before: gone, .. }| {
            let why = "it is gone from the directory, and nothing on record has removed it";
            let stem: Stem = gone.name.parse().ok()?;
            Some(self.other(Some(gone.started), &stem, why.to_owned()))
        });
        bad.chain(partial).chain(problems).chain(aside).chain(gone)
    }

    /// The command that restores this.
    fn restore(&self, what: &str, is_encrypted: bool) -> String {
        with_identity(command("restore", self.database, what), is_encrypted)
    }

    /// The path of a backup's dump, whatever its kind is.
    fn dump_of(&self, stem: &Stem) -> String {
        let dump = crate::repository::dumps_of(self.directory, stem)
            .into_iter()
            .next();
        let path = dump.unwrap_or_else(|| self.directory.join(format!("{stem}.sql.gz")));
        path.display().to_string()
    }

    fn other(&self, started: Option<DateTime<Utc>>, stem: &Stem, why: String) -> Other {
        Other {
            started,
            at: started.map_or(stem.local, |started| self.local(&started)),
            stem: stem.clone(),
            why,
        }
    }

    fn local<Z: TimeZone>(&self, moment: &DateTime<Z>) -> NaiveDateTime {
        moment.with_timezone(&self.zone).naive_local()
    }
}

/// A backup that cannot be chosen.
struct Other {
    /// When its run started; none where only its name is left.
    started: Option<DateTime<Utc>>,
    /// The same on the wall clock, to the second where only the name tells.
    at: NaiveDateTime,
    stem: Stem,
    why: String,
}

impl Other {
    fn is_newer_than(&self, chosen: &Entry) -> bool {
        if let Some(started) = self.started {
            return started > chosen.started;
        }
        let order = |stem: &Stem| (stem.local, stem.count);
        order(&self.stem) > order(&chosen.stem)
    }
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
            backup_directory: BackupDirectory {
                server: Some("main".to_owned()),
                label: "app".to_owned(),
                database: "app".to_owned(),
                repository: Repository::at("/x"),
            },
            entry: entry(
                name.parse().unwrap(),
                started,
                State {
                    checked,
                    ..State::default()
                },
            ),
        }
    }

    /// A small backup of the database `app`.
    pub(super) fn entry(stem: Stem, started: DateTime<FixedOffset>, state: State) -> Entry {
        Entry {
            stem,
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
            skipped_tables: Vec::new(),
            encrypted_to: Vec::new(),
            system_identifier: None,
            state,
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
        let chosen = choose_candidates(all, criteria);
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
    fn a_partial_backup_comes_after_those_that_are_not() {
        let partial = |name: &str, started: &str, damaged: bool| {
            let mut candidate = candidate(name, started, damaged);
            candidate.entry.skipped_tables = vec!["public.t".to_owned()];
            candidate
        };
        let all = vec![
            partial(
                "manual_x_20250712_020000",
                "2025-07-12T02:00:00+03:00",
                false,
            ),
            partial(
                "manual_x_20250713_020000",
                "2025-07-13T02:00:00+03:00",
                true,
            ),
            candidate("backup_20250710_020000", "2025-07-10T02:00:00+03:00", false),
            candidate("backup_20250711_020000", "2025-07-11T02:00:00+03:00", true),
        ];
        let chosen = choose_candidates(all, &Criteria::default());
        let names = chosen.iter().map(|one| one.entry.stem.to_string());
        assert_eq!(
            names.collect::<Vec<_>>(),
            [
                "backup_20250710_020000",
                "manual_x_20250712_020000",
                "manual_x_20250713_020000",
                "backup_20250711_020000",
            ]
        );
    }

    proptest::proptest! {
        #[test]
        fn the_first_counts_if_any_does_and_is_the_newest_of_those(
            backups in proptest::collection::vec(proptest::prelude::any::<(u8, bool, bool)>(), 0..12),
        ) {
            let started = |hours: u8| {
                moment("2025-07-01T00:00:00+03:00") + chrono::TimeDelta::hours(hours.into())
            };
            let all: Vec<Candidate> = backups
                .iter()
                .map(|(hours, damaged, partial)| {
                    let started = started(*hours).to_rfc3339();
                    let mut candidate = candidate("backup_20250701_020000", &started, *damaged);
                    if *partial {
                        candidate.entry.skipped_tables.push("public.t".to_owned());
                    }
                    candidate
                })
                .collect();
            let newest = backups.iter().filter(|(_, damaged, partial)| !damaged && !partial);
            let newest = newest.map(|(hours, ..)| started(*hours)).max();
            let chosen = choose_candidates(all, &Criteria::default());
            let first = chosen.first().filter(|first| first.entry.counts());
            proptest::prop_assert_eq!(first.map(|first| first.entry.started), newest);
        }
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

#[cfg(test)]
mod passed_over_tests {
    use super::*;
    use crate::policy::Seen;
    use crate::repository::{Check, Drilled, Problem, State};

    /// A backup of a day of July at 02:00 in Riyadh, with a fault or without.
    fn entry(name: &str, fault: Option<&str>) -> Entry {
        let stem: Stem = name.parse().unwrap();
        let local = stem.local;
        let started = chrono_tz::Asia::Riyadh.from_local_datetime(&local).unwrap();
        // A run starts within a second, and not at its beginning.
        let started = started.fixed_offset() + chrono::TimeDelta::milliseconds(300);
        let mut state = State::default();
        match fault {
            Some("damaged") => {
                let damage = Some("it is torn".to_owned());
                state.checked = Some(Check {
                    at: started,
                    damage,
                });
            }
            Some(failure) => {
                let failure = Some(failure.to_owned());
                state.drilled = Some(Drilled {
                    at: started,
                    failure,
                });
            }
            None => {}
        }
        tests::entry(stem, started, state)
    }

    fn problem(name: &str, is_lost: bool) -> Problem {
        let stem: Stem = name.parse().unwrap();
        Problem {
            file: String::new(),
            what: "it is bad".to_owned(),
            manifest_of: (!is_lost).then(|| stem.clone()),
            lost: is_lost.then_some(stem),
        }
    }

    fn quarantined(name: &str) -> Quarantined {
        Quarantined {
            name: name.to_owned(),
            stem: name.parse().unwrap(),
            directory: "/x".into(),
            started: None,
            bytes: None,
            state: State::default(),
        }
    }

    fn vanished(entry: &Entry) -> Loss {
        let gone = Seen {
            name: entry.stem.to_string(),
            started: entry.started.to_utc(),
            rows: 1,
            tables: 1,
            system_identifier: None,
        };
        Loss::of(Accepted::Vanished, &gone)
    }

    #[test]
    #[expect(
        clippy::too_many_lines,
        reason = "one directory, and all that is in it"
    )]
    fn whatever_is_newer_and_cannot_be_chosen_is_named_newest_first() {
        let catalogue = Catalogue {
            backups: vec![
                entry("backup_20250705_020000", Some("damaged")),
                entry("backup_20250707_020000", None),
                entry("backup_20250708_020000", Some("damaged")),
                entry("weekly_backup_20250709_020000", Some("row 7 differs")),
                Entry {
                    skipped_tables: vec!["public.t".to_owned()],
                    ..entry("manual_x_20250709_120000", None)
                },
            ],
            problems: vec![
                problem("backup_20250706_020000", false),
                // The same second as the chosen one's, but another run.
                problem("backup_20250707_020000_2", false),
                problem("backup_20250710_020000", true),
            ],
        };
        let aside = [
            quarantined("backup_20250701_020000"),
            quarantined("backup_20250711_020000"),
        ];
        let losses = [vanished(&entry("backup_20250712_020000", None))];
        let found = Found {
            database: "app",
            directory: Path::new("/nowhere"),
            catalogue: &catalogue,
            aside: &aside,
            losses: &losses,
            zone: chrono_tz::Asia::Riyadh,
        };
        let names = |criteria: &Criteria, chosen: Option<&Entry>| -> Vec<String> {
            let passed = found.passed_over(chosen, criteria).into_iter();
            passed.map(|passed| passed.backup).collect()
        };
        let chosen = &catalogue.backups[1];
        let all = [
            "backup_20250712_020000",
            "backup_20250711_020000",
            "backup_20250710_020000",
            "manual_x_20250709_120000",
            "weekly_backup_20250709_020000",
            "backup_20250708_020000",
            "backup_20250707_020000_2",
        ];
        assert_eq!(names(&Criteria::default(), Some(chosen)), all);
        let before = Criteria {
            series: Some(Series::daily()),
            before: DateTime::parse_from_rfc3339("2025-07-10T02:00:00+03:00").ok(),
        };
        assert_eq!(
            names(&before, Some(chosen)),
            ["backup_20250708_020000", "backup_20250707_020000_2"]
        );
        // Where there is nothing to choose, all of it is.
        assert_eq!(names(&Criteria::default(), None).len(), all.len() + 3);
        let alone = &found.passed_over(None, &Criteria::default())[0];
        assert!(
            alone.to_string().contains(" is skipped: it is gone "),
            "{alone}"
        );
        let said = found.passed_over(Some(chosen), &Criteria::default());
        assert_eq!(
            said[3].to_string(),
            "manual_x_20250709_120000 is newer and skipped: it is partial, without the rows of public.t; \
             `pgbackupd restore --database app manual_x_20250709_120000` restores what it holds"
        );
        assert_eq!(
            said[4].to_string(),
            "weekly_backup_20250709_020000 is newer and skipped: it did not come back intact \
             in a drill: row 7 differs; `pgbackupd restore --database app \
             weekly_backup_20250709_020000 --salvage --into app_salvaged` salvages what it holds"
        );
    }
}
