//! How the daemon runs its jobs: limits, directories, log, and what surrounds a job's schedule.

use std::iter::successors;
use std::time::Duration;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use super::dump::small;
use super::findings::{Findings, key, set};
use super::fragment::{
    AnomalyFragment, BlackoutList, DaemonFragment, DrillFragment, Fragment, JobFragment,
    LogsFragment, ObjectivesFragment, RestoreFragment, RetryFragment,
};
use super::plan::{
    AnomalySettings, DaemonSettings, DrillSettings, Job, Logs, PasswordSource, RestoreSettings,
};
use super::scalar::Window;
use super::servers::patterns;
use crate::display::span;
use crate::policy::{Blackouts, Expectation, Retry, Sensitivity, can_ever_start};

/// For how long after its slot a run may start, in a job that says nothing of it.
const WINDOW: Duration = Duration::from_secs(6 * 60 * 60);

/// How the daemon runs.
pub(super) fn daemon(findings: &mut Findings<'_>, written: &DaemonFragment) -> DaemonSettings {
    let settings = DaemonSettings {
        concurrency: set(written.concurrency).0,
        concurrency_per_server: set(written.concurrency_per_server).0,
        catch_up_delay: set(written.catch_up_delay.as_ref()).0,
        runtime_directory: set(written.runtime_directory.clone()).0,
        state_directory: set(written.state_directory.clone()).0,
    };
    if settings.concurrency_per_server > settings.concurrency {
        findings.warn(format!(
            "daemon.concurrency_per_server: {} runs on one server, but daemon.concurrency lets \
             only {} run in all",
            settings.concurrency_per_server, settings.concurrency
        ));
    }
    if settings.runtime_directory == settings.state_directory {
        let name = if findings
            .settings
            .is_written(&key(&["daemon", "state_directory"]))
        {
            "state_directory"
        } else {
            "runtime_directory"
        };
        findings.refuse(
            &key(&["daemon", name]),
            "the runtime and the state directory are one".to_owned(),
            Some(
                "what is in the runtime directory is gone after a restart, what is in \
                 the state directory must stay: use two"
                    .to_owned(),
            ),
        );
    }
    settings
}

/// When a run that failed is tried again.
pub(super) fn retry(findings: &mut Findings<'_>, written: &RetryFragment) -> Retry {
    let retry = Retry {
        first: set(written.first.as_ref()).0,
        longest: set(written.longest.as_ref()).0,
    };
    if retry.first > retry.longest {
        let name = if findings.settings.is_written(&key(&["retry", "first"])) {
            "first"
        } else {
            "longest"
        };
        findings.refuse(
            &key(&["retry", name]),
            format!(
                "the first pause, {}, is longer than the longest, {}",
                span(retry.first),
                span(retry.longest)
            ),
            Some("pauses grow from retry.first to retry.longest".to_owned()),
        );
    }
    retry
}

/// Where and how test restores are made.
pub(super) fn drill(findings: &mut Findings<'_>, written: &DrillFragment) -> DrillSettings {
    let (file, credential) = (&written.identity_file, &written.credential);
    if file.is_some() && credential.is_some() {
        findings.refuse_key(
            &key(&["drill", "credential"]),
            "both identity_file and credential are set".to_owned(),
            Some("leave one of them".to_owned()),
        );
    }
    let file = file
        .as_ref()
        .map(|path| PasswordSource::File(path.0.clone()));
    let credential = credential.as_ref();
    let credential = credential.map(|name| PasswordSource::Credential(name.0.clone()));
    DrillSettings {
        identity: file.or(credential),
        directory: set(written.directory.clone()).0,
        jobs: small(set(written.jobs)),
        require_confinement: set(written.require_confinement),
        definitions: set(written.definitions),
        preload: set(written.preload.clone())
            .into_iter()
            .map(|name| name.0)
            .collect(),
    }
}

/// What the backups are measured against.
pub(super) fn objectives(written: &ObjectivesFragment, sensitivity: Sensitivity) -> Expectation {
    Expectation {
        backup_time: set(written.backup_time.as_ref()).0,
        sensitivity,
        recovery_point: set(written.recovery_point.as_ref()).0,
        grace: set(written.grace.as_ref()).0,
        recovery_time: set(written.recovery_time.as_ref()).0,
        drill_age: set(written.drill_age.as_ref()).0,
        copy_age: set(written.copy_age.as_ref()).0,
        copy_proof_age: set(written.copy_proof_age.as_ref()).0,
        rehearsal_age: set(written.rehearsal_age.as_ref()).0,
        success_rate: set(written.success_rate.as_ref()).0,
        size: written.size.as_ref().map(|range| range.0),
    }
}

/// What counts as odd in a backup.
pub(super) fn anomaly(findings: &mut Findings<'_>, written: &AnomalyFragment) -> AnomalySettings {
    AnomalySettings {
        sensitivity: Sensitivity {
            factor: set(written.factor).0,
            share: set(written.share.as_ref()).0,
        },
        ignore: patterns(
            findings,
            &key(&["anomaly", "ignore"]),
            written.ignore.as_deref(),
        ),
    }
}

/// What surrounds a restore.
pub(super) fn restore(findings: &mut Findings<'_>, written: &RestoreFragment) -> RestoreSettings {
    let settings = RestoreSettings {
        stop: command_of_application(findings, "stop", written.stop.as_ref()),
        start: command_of_application(findings, "start", written.start.as_ref()),
        timeout: set(written.timeout.as_ref()).0,
    };
    if settings.stop.is_some() && settings.start.is_none() {
        findings.warn(
            "restore.stop: a restore stops the application, and no restore.start starts it again"
                .to_owned(),
        );
    }
    settings
}

fn command_of_application(
    findings: &mut Findings<'_>,
    name: &str,
    words: Option<&Vec<String>>,
) -> Option<Vec<String>> {
    let example = format!("{name} = [\"systemctl\", \"{name}\", \"app.service\"]");
    command(findings, &key(&["restore", name]), words, &example)
}

/// The words of a command; an empty list is none.
pub(super) fn command(
    findings: &mut Findings<'_>,
    at: &[String],
    words: Option<&Vec<String>>,
    example: &str,
) -> Option<Vec<String>> {
    let words = words.filter(|words| !words.is_empty())?;
    let problem = if words.iter().any(|word| word.contains('\0')) {
        "it holds a zero byte"
    } else if words[0].is_empty() {
        "the name of the program is empty"
    } else if words.len() == 1 && words[0].contains(char::is_whitespace) {
        "it is one word with spaces in it, and no shell splits it"
    } else {
        return Some(words.clone());
    };
    findings.refuse(
        at,
        problem.to_owned(),
        Some(format!(
            "write the program and each of its arguments separately: {example}"
        )),
    );
    None
}

/// What the daemon's log tells.
pub(super) fn logs(written: &LogsFragment) -> Logs {
    Logs {
        level: set(written.level).0,
        file: written.file.clone().map(|path| path.0),
        files: set(written.files).0,
    }
}

/// What holds for every job that says nothing else.
pub(super) struct Common {
    /// Whose wall clock its schedule is read on.
    pub(super) zone: Tz,
    /// When a run is tried again.
    pub(super) retry: Retry,
    /// When no run starts.
    pub(super) blackouts: Blackouts,
}

impl Common {
    /// The zone of a job.
    pub(super) fn zone_of(&self, job: &JobFragment) -> Tz {
        job.timezone.as_ref().map_or(self.zone, |zone| zone.0)
    }
}

/// What holds for every job that says nothing else.
pub(super) fn common(findings: &mut Findings<'_>, fragment: &Fragment, zone: Tz) -> Common {
    let written = set(fragment.blackout.as_ref());
    Common {
        zone,
        retry: retry(findings, &fragment.retry),
        blackouts: blackouts(findings, &key(&["blackout"]), written, zone),
    }
}

/// What surrounds a job's schedule.
pub(super) struct JobTiming {
    pub(super) window: Duration,
    pub(super) jitter: Duration,
    pub(super) catch_up: bool,
    pub(super) blackouts: Blackouts,
}

/// How many slots of a schedule are looked at for how close they come to each other: those of an
/// hour, if there is one a minute, and of years for most.
const SLOTS: usize = 100;

/// What only shows when a job's schedule is seen together with what surrounds it.
pub(super) fn about_job(
    findings: &mut Findings<'_>,
    table: &[String],
    written: &JobFragment,
    job: &Job,
) {
    if !can_ever_start(&job.schedule, job.window, &job.blackouts) {
        let at = match &written.blackout {
            Some(_) => [table, &key(&["blackout"])].concat(),
            None => key(&["blackout"]),
        };
        findings.refuse(
            &at,
            format!(
                "no run of the job {} would ever start: whenever it is due ({}), a blackout lasts \
                 beyond the job's window of {}",
                job.name,
                job.schedule.describe(),
                span(job.window)
            ),
            Some(format!(
                "change jobs.{}.schedule, let its window be longer, or give it a blackout of its \
                 own",
                job.name
            )),
        );
    }
    if job.jitter.is_zero() {
        return;
    }
    let begin = DateTime::<Utc>::UNIX_EPOCH;
    let next = |slot: &DateTime<Utc>| job.schedule.next_after(*slot).map(|next| next.to_utc());
    let slots: Vec<_> = successors(next(&begin), next).take(SLOTS).collect();
    let closest = slots.windows(2).map(|pair| pair[1] - pair[0]).min();
    if let Some(closest) = closest.and_then(|closest| closest.to_std().ok())
        && job.jitter >= closest
    {
        findings.warn(format!(
            "jobs.{}: its runs are due as little as {} after the one before, and one that is \
             delayed by up to {} gives way to the next",
            job.name,
            span(closest),
            span(job.jitter)
        ));
    }
}

/// What surrounds the schedule of the job of a table.
pub(super) fn job_timing(
    findings: &mut Findings<'_>,
    table: &[String],
    written: &JobFragment,
    common: &Common,
) -> JobTiming {
    let at = |name: &str| [table, &key(&[name])].concat();
    let window = written.window.as_ref().map_or(WINDOW, |window| window.0);
    let jitter = written
        .jitter
        .as_ref()
        .map_or(Duration::ZERO, |jitter| jitter.0);
    if jitter >= window {
        findings.refuse(
            &at("jitter"),
            format!(
                "a delay of up to {} does not fit into the job's window of {}",
                span(jitter),
                span(window)
            ),
            Some("a run starts within its window or not at all: make jitter less".to_owned()),
        );
    }
    JobTiming {
        window,
        jitter,
        catch_up: written.catch_up.unwrap_or(true),
        blackouts: match &written.blackout {
            Some(own) => blackouts(findings, &at("blackout"), own, common.zone_of(written)),
            None => common.blackouts.clone(),
        },
    }
}

fn blackouts(
    findings: &mut Findings<'_>,
    at: &[String],
    written: &BlackoutList,
    zone: Tz,
) -> Blackouts {
    let windows = written.0.iter().map(|Window(window)| window.clone());
    Blackouts::new(windows.collect(), zone).unwrap_or_else(|error| {
        let way = "leave some time in which runs may start".to_owned();
        findings.refuse(at, error.to_string(), Some(way));
        Blackouts::none(zone)
    })
}
