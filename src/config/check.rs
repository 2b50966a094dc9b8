//! From the merged settings to the plan: what only shows when they are seen together.

use std::collections::{BTreeMap, BTreeSet};

use super::fragment::{Fragment, JobFragment, Kind, LimitsFragment, SeriesFragment};
use super::layer::What;
use super::nearest::nearest;
use super::plan::{Job, JobKind, Limits, Plan, Retention, Verification};
use super::problem::Problem;
use super::running::{self, Common, Surroundings};
use super::scalar::Keep;
use super::servers;
use super::settings::Settings;
use crate::policy::{Rules, Schedule, Series};

/// The checks' common ground: the settings, to find places in, and what was found so far.
pub(super) struct Check<'s> {
    pub(super) settings: &'s Settings,
    pub(super) problems: Vec<Problem>,
    warnings: Vec<String>,
}

impl Check<'_> {
    /// Notes that a setting's value cannot stand.
    pub(super) fn refuse(&mut self, key: &[String], message: String, help: Option<String>) {
        let problem = self.settings.problem(key, What::Value);
        self.problems.push(Problem {
            message,
            help,
            ..problem
        });
    }

    /// Notes what is sound but deserves a word.
    pub(super) fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    /// Notes that a setting or a table should not be there, or lacks something.
    pub(super) fn refuse_key(&mut self, key: &[String], message: String, help: Option<String>) {
        let problem = self.settings.problem(key, What::Key);
        self.problems.push(Problem {
            message,
            help,
            ..problem
        });
    }
}

/// A key made of its levels.
pub(super) fn key(levels: &[&str]) -> Vec<String> {
    levels.iter().map(|&level| level.to_owned()).collect()
}

/// The value of a setting that has a default.
#[expect(
    clippy::expect_used,
    reason = "defaults.toml sets it, and no layer can unset a setting"
)]
pub(super) fn set<T>(value: Option<T>) -> T {
    value.expect("a setting with a default is always set")
}

/// Checks the whole and makes the plan, or says everything that is wrong.
pub(super) fn plan(
    settings: &Settings,
    fragment: &Fragment,
    environment: &BTreeMap<String, String>,
) -> Result<Plan, Vec<Problem>> {
    let mut check = Check {
        settings,
        problems: Vec::new(),
        warnings: Vec::new(),
    };
    let zone = set(fragment.timezone.as_ref()).0;
    let directory = set(fragment.directory.clone()).0;
    let servers = servers::servers(&mut check, fragment, &directory, environment);
    let series = series(&mut check, &fragment.series);
    let daemon = running::daemon(&mut check, &fragment.daemon);
    let common = running::common(&mut check, fragment, zone);
    let jobs = jobs(&mut check, &fragment.jobs, &common);
    let restore = running::restore(&mut check, &fragment.restore);
    about_series(&mut check, &series, &jobs, fragment);
    if !check.problems.is_empty() {
        return Err(check.problems);
    }
    Ok(Plan {
        zone,
        directory,
        servers,
        jobs,
        retention: Retention {
            floor: set(fragment.retention.floor).0,
            series,
        },
        limits: limits(&fragment.limits),
        drill: running::drill(&fragment.drill),
        daemon,
        logs: running::logs(&fragment.logs),
        objectives: running::objectives(&fragment.objectives),
        restore,
        programs: fragment.programs.clone().map(|path| path.0),
        warnings: check.warnings,
    })
}

fn limits(written: &LimitsFragment) -> Limits {
    Limits {
        connect: set(written.connect.as_ref()).0,
        lock_wait: set(written.lock_wait.as_ref()).0,
        dump: set(written.dump.as_ref()).0,
        total: set(written.total.as_ref()).0,
        free_space: set(written.free_space.as_ref()).0,
    }
}

fn series(
    check: &mut Check<'_>,
    written: &BTreeMap<String, SeriesFragment>,
) -> BTreeMap<Series, Rules> {
    let mut series = BTreeMap::new();
    for (name, written) in written {
        match name.parse::<Series>() {
            Ok(name) => {
                series.insert(name, rules(written));
            }
            Err(error) => check.refuse_key(&key(&["series", name]), error.to_string(), None),
        }
    }
    series
}

fn rules(written: &SeriesFragment) -> Rules {
    Rules {
        within: match written.keep {
            Some(Keep::For(age)) => Some(age),
            Some(Keep::NotByAge) | None => None,
        },
        last: written.keep_last.map(|count| count.0),
        daily: written.keep_daily.map(|count| count.0),
        weekly: written.keep_weekly.map(|count| count.0),
        monthly: written.keep_monthly.map(|count| count.0),
        yearly: written.keep_yearly.map(|count| count.0),
    }
}

/// The jobs that are switched on; those that are not are checked all the same.
fn jobs(
    check: &mut Check<'_>,
    written: &BTreeMap<String, JobFragment>,
    common: &Common,
) -> Vec<Job> {
    let mut jobs = Vec::new();
    for (name, written) in written {
        let table = key(&["jobs", name]);
        if !servers::is_name(name) {
            check.refuse_key(
                &table,
                format!("{name:?} is no name for a job"),
                Some(names_are()),
            );
        }
        let kind = kind(check, &table, written);
        let Some(pattern) = &written.schedule else {
            let way = "write when it runs, for example schedule = \"0 2 * * *\"".to_owned();
            check.refuse_key(&table, "the job has no schedule".to_owned(), Some(way));
            continue;
        };
        let zone = common.zone_of(written);
        let Surroundings {
            window,
            jitter,
            catch_up,
            blackouts,
        } = running::surroundings(check, &table, written, common);
        match (Schedule::parse(&pattern.0, zone), kind) {
            (Ok(schedule), Some(kind)) if written.enabled.unwrap_or(true) => {
                let job = Job {
                    name: name.clone(),
                    kind,
                    schedule,
                    window,
                    jitter,
                    catch_up,
                    retry: common.retry,
                    blackouts,
                };
                running::about_job(check, &table, written, &job);
                jobs.push(job);
            }
            (Ok(_), _) => {}
            (Err(error), _) => {
                let place = [table.as_slice(), &key(&["schedule"])].concat();
                check.refuse(&place, error.to_string(), None);
            }
        }
    }
    jobs
}

/// The form of a name that an operator makes up.
pub(super) fn names_are() -> String {
    "names are made of ASCII letters, digits, - and _, 64 at most".to_owned()
}

/// Refuses the settings that only a job of another kind has.
fn refuse_settings_of_other_kinds(check: &mut Check<'_>, table: &[String], written: &JobFragment) {
    if written.choose.is_some() && written.kind.map(|word| word.0) != Some(Kind::Drill) {
        check.refuse_key(
            &[table, &key(&["choose"])].concat(),
            "only a test restore chooses a backup".to_owned(),
            Some("take it away, or write kind = \"drill\"".to_owned()),
        );
    }
    for (name, is_written) in [
        ("older_than", written.older_than.is_some()),
        ("budget", written.budget.is_some()),
    ] {
        if is_written && written.kind.map(|word| word.0) != Some(Kind::Verify) {
            check.refuse_key(
                &[table, &key(&[name])].concat(),
                "only a verification reads backups by age and within a time".to_owned(),
                Some("take it away, or write kind = \"verify\"".to_owned()),
            );
        }
    }
}

fn kind(check: &mut Check<'_>, table: &[String], written: &JobFragment) -> Option<JobKind> {
    refuse_settings_of_other_kinds(check, table, written);
    let series_key = [table, &key(&["series"])].concat();
    match (written.kind.map(|word| word.0), &written.series) {
        (Some(Kind::Backup) | None, Some(series)) => match series.parse::<Series>() {
            Ok(series) if series.is_manual() => {
                let message = "the series manual is of backups made on demand".to_owned();
                check.refuse(
                    &series_key,
                    message,
                    Some("give the job's series another name".into()),
                );
                None
            }
            Ok(series) => Some(JobKind::Backup(series)),
            Err(error) => {
                check.refuse(&series_key, error.to_string(), None);
                None
            }
        },
        (Some(Kind::Backup), None) => {
            let way = "name the series that it makes, for example series = \"daily\"".to_owned();
            check.refuse_key(table, "the backup job has no series".to_owned(), Some(way));
            None
        }
        (None, None) => {
            let way =
                "write kind = \"backup\" with a series, or \"verify\", \"drill\" or \"prune\"";
            check.refuse_key(
                table,
                "the job has no kind".to_owned(),
                Some(way.to_owned()),
            );
            None
        }
        (Some(_), Some(_)) => {
            let way = "take it away, or write kind = \"backup\"".to_owned();
            check.refuse_key(
                &series_key,
                "only a backup job makes a series".into(),
                Some(way),
            );
            None
        }
        (Some(Kind::Verify), None) => {
            let usual = Verification::default();
            let older_than = written.older_than.as_ref().map(|age| age.0);
            let budget = written.budget.as_ref().map(|time| time.0);
            Some(JobKind::Verify(Verification {
                older_than: older_than.unwrap_or(usual.older_than),
                budget: budget.unwrap_or(usual.budget),
            }))
        }
        (Some(Kind::Drill), None) => Some(JobKind::Drill(
            written.choose.map(|word| word.0).unwrap_or_default(),
        )),
        (Some(Kind::Prune), None) => Some(JobKind::Prune),
    }
}

/// What is odd between series and jobs, though not wrong.
fn about_series(
    check: &mut Check<'_>,
    series: &BTreeMap<Series, Rules>,
    jobs: &[Job],
    fragment: &Fragment,
) {
    let made: BTreeSet<&Series> = jobs
        .iter()
        .filter_map(|job| match &job.kind {
            JobKind::Backup(series) => Some(series),
            _ => None,
        })
        .collect();
    for series in series
        .keys()
        .filter(|series| !series.is_manual() && !made.contains(series))
    {
        if check
            .settings
            .is_written(&key(&["series", series.as_str()]))
        {
            let hint = nearest(series.as_str(), made.iter().map(|made| made.as_str()));
            let hint = hint.map_or_else(String::new, |made| format!(" (did you mean {made}?)"));
            check.warnings.push(format!(
                "series.{series}: says what the series keeps, but no job that is switched on makes \
                 it{hint}"
            ));
        }
    }
    for (name, job) in &fragment.jobs {
        let Some(Ok(made)) = job.series.as_ref().map(|series| series.parse::<Series>()) else {
            continue;
        };
        let kept_for_ever = series
            .get(&made)
            .is_none_or(|rules| *rules == Rules::default());
        if kept_for_ever && job.enabled.unwrap_or(true) {
            check.warnings.push(format!(
                "jobs.{name}: nothing says how long the series {made} is kept, so its backups stay \
                 for ever; write [series.{made}] with keep = \"30 days\" or another rule"
            ));
        }
    }
}
