//! From the merged settings to the plan: what only shows when they are seen together.

use std::collections::{BTreeMap, BTreeSet};

use super::alerts;
use super::copy_jobs;
use super::destinations;
use super::encryption;
use super::findings::{Findings, is_name, key, names_are, set};
use super::fragment::{Fragment, JobFragment, Kind, LimitsFragment, SeriesFragment};
use super::keeping;
use super::nearest::nearest;
use super::plan::{CopyVerification, Job, JobKind, Limits, Plan, Retention, Verification};
use super::problem::Problem;
use super::reports;
use super::running::{self, Common, JobTiming};
use super::servers;
use super::settings::Settings;
use crate::policy::{CopyBudget, Rules, Schedule, Series};

/// Checks the whole and makes the plan, or says everything that is wrong.
pub(super) fn plan(
    settings: &Settings,
    fragment: &Fragment,
    environment: &BTreeMap<String, String>,
) -> Result<Plan, Vec<Problem>> {
    let mut findings = Findings {
        settings,
        problems: Vec::new(),
        warnings: Vec::new(),
    };
    let zone = set(fragment.timezone.as_ref()).0;
    let directory = set(fragment.directory.clone()).0;
    let servers = servers::servers(&mut findings, fragment, &directory, environment);
    let series = series(&mut findings, &fragment.series);
    let daemon = running::daemon(&mut findings, &fragment.daemon);
    let common = running::common(&mut findings, fragment, zone);
    let mut jobs = jobs(&mut findings, &fragment.jobs, &common);
    let restore = running::restore(&mut findings, &fragment.restore);
    let alerts = alerts::channels(&mut findings, fragment, zone);
    let destinations = destinations::destinations(&mut findings, fragment);
    destinations::refuse_directories_of_backups(&mut findings, &destinations, &servers);
    let require_copies = destinations::required_copies(&mut findings, fragment, &destinations);
    let recipients = encryption::recipients(&mut findings, fragment, &destinations);
    let drill = running::drill(&mut findings, &fragment.drill);
    let scope = encryption::scope(&mut findings, fragment, (&jobs, &drill));
    let trusted_signers = encryption::trusted_signers(&mut findings, fragment);
    let signer = encryption::signer(&mut findings, fragment);
    copy_jobs::check(&mut findings, &mut jobs, fragment);
    let reports = reports::reports(&mut findings, fragment, (zone, &alerts));
    let anomaly = running::anomaly(&mut findings, &fragment.anomaly);
    about_series(&mut findings, &series, &jobs, fragment);
    if !findings.problems.is_empty() {
        return Err(findings.problems);
    }
    Ok(Plan {
        name: fragment.name.clone().map(|name| name.0),
        zone,
        directory,
        servers,
        jobs,
        retention: Retention {
            floor: set(fragment.retention.floor).0,
            series,
            require_copies,
        },
        limits: limits(&fragment.limits),
        drill,
        daemon,
        logs: running::logs(&fragment.logs),
        metrics: fragment.metrics.file.clone().map(|path| path.0),
        web: fragment.web.listen.clone().map(|listen| listen.0),
        objectives: running::objectives(&fragment.objectives, anomaly.sensitivity),
        anomaly,
        restore,
        alerts,
        destinations,
        recipients,
        scope,
        trusted_signers,
        signer,
        reports,
        programs: fragment.programs.clone().map(|path| path.0),
        warnings: findings.warnings,
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
    findings: &mut Findings<'_>,
    written: &BTreeMap<String, SeriesFragment>,
) -> BTreeMap<Series, Rules> {
    let mut series = BTreeMap::new();
    for (name, written) in written {
        match name.parse::<Series>() {
            Ok(name) => {
                series.insert(name, keeping::rules(written));
            }
            Err(error) => findings.refuse_key(&key(&["series", name]), error.to_string(), None),
        }
    }
    series
}

/// The jobs that are switched on; those that are not are checked all the same.
fn jobs(
    findings: &mut Findings<'_>,
    written: &BTreeMap<String, JobFragment>,
    common: &Common,
) -> Vec<Job> {
    let mut jobs = Vec::new();
    for (name, written) in written {
        let table = key(&["jobs", name]);
        if !is_name(name) {
            findings.refuse_key(
                &table,
                format!("invalid job name {name:?}"),
                Some(names_are()),
            );
        }
        let kind = kind(findings, &table, written);
        let Some(pattern) = &written.schedule else {
            let way = "write when it runs, for example schedule = \"0 2 * * *\"".to_owned();
            findings.refuse_key(&table, "the job has no schedule".to_owned(), Some(way));
            continue;
        };
        let zone = common.zone_of(written);
        let JobTiming {
            window,
            jitter,
            catch_up,
            blackouts,
        } = running::job_timing(findings, &table, written, common);
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
                running::about_job(findings, &table, written, &job);
                jobs.push(job);
            }
            (Ok(_), _) => {}
            (Err(error), _) => {
                let place = [table.as_slice(), &key(&["schedule"])].concat();
                findings.refuse(&place, error.to_string(), None);
            }
        }
    }
    jobs
}

/// Refuses the settings that only a job of another kind has.
fn refuse_settings_of_other_kinds(
    findings: &mut Findings<'_>,
    table: &[String],
    written: &JobFragment,
) {
    // The defaults of a job may be of another kind.
    let is_written = |findings: &Findings<'_>, key: &[String]| findings.settings.is_written(key);
    let choose = [table, &key(&["choose"])].concat();
    if is_written(findings, &choose) && written.kind.map(|word| word.0) != Some(Kind::Drill) {
        findings.refuse_key(
            &choose,
            "only a drill chooses a backup".to_owned(),
            Some("remove it, or write kind = \"drill\"".to_owned()),
        );
    }
    let destinations = [table, &key(&["destinations"])].concat();
    let is_of_copies = matches!(
        written.kind.map(|word| word.0),
        Some(Kind::Copy | Kind::Verify)
    );
    if is_written(findings, &destinations) && !is_of_copies {
        findings.refuse_key(
            &destinations,
            "only a copy or verify job has destinations".to_owned(),
            Some("remove it, or write kind = \"copy\" or \"verify\"".to_owned()),
        );
    }
    let reads_copies = written.destinations.is_some();
    let older_than = [table, &key(&["older_than"])].concat();
    if is_written(findings, &older_than) && reads_copies {
        let message = "a verify job of copies reads the newest of each series, whatever their age";
        let way = "remove it; without destinations, the job verifies the backups here".to_owned();
        findings.refuse_key(&older_than, message.to_owned(), Some(way));
    }
    let budget_bytes = [table, &key(&["budget_bytes"])].concat();
    if is_written(findings, &budget_bytes) && !reads_copies {
        let message = "only a verify job of copies downloads, and has a budget of bytes".to_owned();
        let way = "remove it, or name the copies' destinations = [\"NAME\"]".to_owned();
        findings.refuse_key(&budget_bytes, message, Some(way));
    }
    for name in ["older_than", "budget", "budget_bytes"] {
        let setting = [table, &key(&[name])].concat();
        if is_written(findings, &setting) && written.kind.map(|word| word.0) != Some(Kind::Verify) {
            findings.refuse_key(
                &setting,
                "only a verify job reads backups by age and within a time".to_owned(),
                Some("remove it, or write kind = \"verify\"".to_owned()),
            );
        }
    }
}

fn kind(findings: &mut Findings<'_>, table: &[String], written: &JobFragment) -> Option<JobKind> {
    refuse_settings_of_other_kinds(findings, table, written);
    let series_key = [table, &key(&["series"])].concat();
    match (written.kind.map(|word| word.0), &written.series) {
        (Some(Kind::Backup) | None, Some(series)) => match series.parse::<Series>() {
            Ok(series) if series.is_manual() => {
                let message = "the series manual is of backups made on demand".to_owned();
                findings.refuse(
                    &series_key,
                    message,
                    Some("give the job's series another name".into()),
                );
                None
            }
            Ok(series) => Some(JobKind::Backup(series)),
            Err(error) => {
                findings.refuse(&series_key, error.to_string(), None);
                None
            }
        },
        (Some(Kind::Backup), None) => {
            let way = "name the series that it makes, for example series = \"daily\"".to_owned();
            findings.refuse_key(table, "the backup job has no series".to_owned(), Some(way));
            None
        }
        (None, None) => {
            let way = "write kind = \"backup\" with a series, or \"verify\", \"drill\", \"prune\" or \"copy\"";
            findings.refuse_key(
                table,
                "the job has no kind".to_owned(),
                Some(way.to_owned()),
            );
            None
        }
        (Some(_), Some(_)) => {
            let way = "remove it, or write kind = \"backup\"".to_owned();
            findings.refuse_key(
                &series_key,
                "only a backup job makes a series".into(),
                Some(way),
            );
            None
        }
        (Some(Kind::Verify), None) => Some(verify(written)),
        (Some(Kind::Drill), None) => Some(JobKind::Drill(
            written.choose.map(|word| word.0).unwrap_or_default(),
        )),
        (Some(Kind::Prune), None) => Some(JobKind::Prune),
        (Some(Kind::Copy), None) => Some(JobKind::Copy(
            written.destinations.clone().unwrap_or_default(),
        )),
    }
}

/// A verification: of the copies at its destinations if it has any, else of the backups here.
fn verify(written: &JobFragment) -> JobKind {
    let usual = Verification::default();
    let budget = written.budget.as_ref().map_or(usual.budget, |time| time.0);
    let Some(destinations) = &written.destinations else {
        let older_than = written.older_than.as_ref().map(|age| age.0);
        return JobKind::Verify(Verification {
            older_than: older_than.unwrap_or(usual.older_than),
            budget,
        });
    };
    let bytes = written.budget_bytes.as_ref();
    let bytes = bytes.map_or(CopyVerification::USUAL_BYTES, |size| size.0.as_u64());
    JobKind::VerifyCopies(CopyVerification {
        destinations: destinations.clone(),
        budget: CopyBudget {
            time: budget,
            bytes: Some(bytes),
        },
    })
}

/// What is odd between series and jobs, though not wrong.
fn about_series(
    findings: &mut Findings<'_>,
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
        if findings
            .settings
            .is_written(&key(&["series", series.as_str()]))
        {
            let hint = nearest(series.as_str(), made.iter().map(|made| made.as_str()));
            let hint = hint.map_or_else(String::new, |made| format!(" (did you mean {made}?)"));
            findings.warnings.push(format!(
                "series.{series}: sets what the series keeps, but no enabled job makes \
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
            findings.warnings.push(format!(
                "jobs.{name}: no rule says how long the series {made} is kept, so its backups stay \
                 permanently; write [series.{made}] with keep = \"30 days\" or another rule"
            ));
        }
    }
}
