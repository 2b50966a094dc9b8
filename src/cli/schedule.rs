//! `pgbackupd schedule`: each job in words, and its next runs in its zone and in UTC.

use std::io::Write;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use super::env::CommandEnv;
use super::failure::Failure;
use super::report;
use crate::config::{Job, JobKind};

/// The end of its help.
const EXAMPLES: &str = "\
Examples:
  pgbackupd schedule --count 10
      Show the next ten runs of each job";

/// Show the configured jobs and their next runs.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Args {
    /// Number of runs to show for each job
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=1000))]
    count: u16,
}

/// What `schedule --json` prints for each job that is switched on, in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(super) struct ShownJob {
    /// Its name in the configuration.
    pub name: String,
    /// `backup`, `verify`, `drill` or `prune`.
    pub kind: &'static str,
    /// The series that a backup job makes.
    pub series: Option<String>,
    /// Its crontab pattern.
    pub schedule: String,
    /// The zone of its schedule.
    pub timezone: String,
    /// The schedule in English.
    pub description: String,
    /// The next runs, the first one first.
    pub next: Vec<Run>,
}

/// One run to come: the same moment twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(super) struct Run {
    /// On the wall clock of the schedule's zone, RFC 3339.
    pub local: String,
    /// In UTC, RFC 3339.
    pub utc: String,
}

pub(super) fn run(args: &Args, env: &CommandEnv<'_>, out: &mut dyn Write) -> Result<(), Failure> {
    let jobs = env.load()?.plan.jobs;
    let (now, count) = (Utc::now(), usize::from(args.count));
    if env.json {
        report::json(&shown(&jobs, now, count), out)
    } else {
        print(&jobs, now, count, out)
    }
}

/// Prints the jobs with as many of their runs after `now`.
fn print(
    jobs: &[Job],
    now: DateTime<Utc>,
    count: usize,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    if jobs.is_empty() {
        writeln!(out, "no job is enabled: nothing will run by itself")?;
    }
    for (index, job) in jobs.iter().enumerate() {
        if index > 0 {
            writeln!(out)?;
        }
        let what = match &job.kind {
            JobKind::Backup(series) => format!("a backup of the series {series}"),
            JobKind::Verify(_) => "a check of the backups".to_owned(),
            JobKind::Drill(_) => "a test restore".to_owned(),
            JobKind::Prune => "a removal of expired backups".to_owned(),
            JobKind::Copy(_) => "a copy of the backups to other places".to_owned(),
        };
        let schedule = &job.schedule;
        let zone = schedule.zone();
        writeln!(out, "{}: {what} {} ({zone})", job.name, schedule.describe())?;
        for local in runs(job, now, count) {
            let utc = local.to_utc();
            writeln!(
                out,
                "    {}   {} UTC",
                local.format("%a %Y-%m-%d %H:%M %:z"),
                utc.format("%a %Y-%m-%d %H:%M")
            )?;
        }
    }
    Ok(())
}

/// The same for programs.
fn shown(jobs: &[Job], now: DateTime<Utc>, count: usize) -> Vec<ShownJob> {
    jobs.iter().map(|job| shown_job(job, now, count)).collect()
}

fn shown_job(job: &Job, now: DateTime<Utc>, count: usize) -> ShownJob {
    let series = match &job.kind {
        JobKind::Backup(series) => Some(series.as_str().to_owned()),
        _ => None,
    };
    ShownJob {
        name: job.name.clone(),
        kind: job.kind.word(),
        series,
        schedule: job.schedule.text().to_owned(),
        timezone: job.schedule.zone().name().to_owned(),
        description: job.schedule.describe(),
        next: runs(job, now, count)
            .map(|local| Run {
                local: local.to_rfc3339(),
                utc: local.to_utc().to_rfc3339(),
            })
            .collect(),
    }
}

fn runs(
    job: &Job,
    now: DateTime<Utc>,
    count: usize,
) -> impl Iterator<Item = DateTime<chrono_tz::Tz>> {
    let first = job.schedule.next_after(now);
    std::iter::successors(first, |run| job.schedule.next_after(run.to_utc())).take(count)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use chrono::{DateTime, Utc};

    use super::{print, shown};
    use crate::config::{Job, Source, load};

    fn jobs() -> Vec<Job> {
        let environment = BTreeMap::from([
            ("PGDATABASE".to_owned(), "a".to_owned()),
            (
                "PGBACKUPD_JOBS__DRILL__TIMEZONE".to_owned(),
                "America/New_York".to_owned(),
            ),
        ]);
        let source = Source {
            file: None,
            default_file: "/nonexistent/x".into(),
            environment,
            ..Source::of_process(None)
        };
        load(&source).unwrap().plan.jobs
    }

    fn now() -> DateTime<Utc> {
        "2025-10-25T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn each_job_is_reported_in_words_with_its_next_runs_in_its_zone_and_in_utc() {
        let mut out = Vec::new();
        print(&jobs(), now(), 2, &mut out).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap());
    }

    #[test]
    fn programs_get_the_same_as_json() {
        let jobs: serde_json::Value = serde_json::to_value(shown(&jobs(), now(), 2)).unwrap();
        assert_eq!(jobs[0]["series"], "daily");
        assert_eq!(jobs[0]["next"][0]["local"], "2025-10-26T02:00:00+03:00");
        assert_eq!(jobs[0]["next"][0]["utc"], "2025-10-25T23:00:00+00:00");
        assert_eq!(jobs[0]["next"].as_array().unwrap().len(), 2);
        assert_eq!(jobs[1]["kind"], "drill");
        assert_eq!(jobs[1]["next"][1]["local"], "2025-12-01T05:00:00-05:00");
    }
}
