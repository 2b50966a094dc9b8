//! `pgbackupd schedule`: each job in words, and its next runs in its zone and in UTC.

use std::cmp::Reverse;
use std::io::Write;

use chrono::{DateTime, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use super::env::CommandEnv;
use super::failure::Failure;
use super::report;
use crate::config::{Job, JobKind};
use crate::repository::{KnownCopies, KnownCopy};

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
    /// The destinations that a copy job copies to, or whose copies a verify job reads; none where it is all of
    /// them, or the job is about no copies.
    pub destinations: Vec<String>,
    /// About how many bytes a verify job of copies downloads in a month, by the copies that are known; null for any
    /// other job.
    pub download_bytes_a_month: Option<u64>,
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
    let plan = env.load()?.plan;
    let state = &plan.daemon.state_directory;
    let known = |destination: &str| KnownCopies::all(state, destination);
    let shown = Shown {
        now: Utc::now(),
        count: usize::from(args.count),
        known: &known,
    };
    if env.json {
        let jobs = plan.jobs.iter().map(|job| shown.job(job));
        report::json(&jobs.collect::<Vec<_>>(), out)
    } else {
        shown.print(&plan.jobs, out)
    }
}

/// What is shown of jobs.
struct Shown<'a> {
    now: DateTime<Utc>,
    /// So many runs of each.
    count: usize,
    /// What is known of the copies at a destination.
    known: &'a dyn Fn(&str) -> Vec<KnownCopies>,
}

impl Shown<'_> {
    /// Prints the jobs with as many of their runs after `now`.
    fn print(&self, jobs: &[Job], out: &mut dyn Write) -> Result<(), Failure> {
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
                JobKind::VerifyCopies(verification) => {
                    format!(
                        "a check of the copies at {}",
                        verification.destinations.join(", ")
                    )
                }
                JobKind::Drill(_) => "a test restore".to_owned(),
                JobKind::Prune => "a removal of expired backups".to_owned(),
                JobKind::Copy(_) => "a copy of the backups to other places".to_owned(),
            };
            let schedule = &job.schedule;
            let zone = schedule.zone();
            writeln!(out, "{}: {what} {} ({zone})", job.name, schedule.describe())?;
            match self.download_a_month(job) {
                None => {}
                Some(0) => writeln!(out, "    downloads nothing yet: no copy is known there")?,
                Some(bytes) => {
                    writeln!(out, "    downloads about {} a month", report::size(bytes))?;
                }
            }
            for local in runs(job, self.now, self.count) {
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
    fn job(&self, job: &Job) -> ShownJob {
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
            destinations: match &job.kind {
                JobKind::Copy(to) => to.clone(),
                JobKind::VerifyCopies(verification) => verification.destinations.clone(),
                _ => Vec::new(),
            },
            download_bytes_a_month: self.download_a_month(job),
            next: runs(job, self.now, self.count)
                .map(|local| Run {
                    local: local.to_rfc3339(),
                    utc: local.to_utc().to_rfc3339(),
                })
                .collect(),
        }
    }

    /// About how many bytes a verify job of copies downloads in a month: what one run reads by what is known, as
    /// often as it runs in the next 90 days, divided by three.
    fn download_a_month(&self, job: &Job) -> Option<u64> {
        let JobKind::VerifyCopies(verification) = &job.kind else {
            return None;
        };
        let destinations = verification.destinations.iter();
        let known = destinations.flat_map(|destination| (self.known)(destination));
        let a_run: u64 = known
            .map(|known| {
                let newest = known.newest_of_series();
                let mut newest: Vec<&KnownCopy> = newest.map(|(_, copy)| copy).collect();
                newest.sort_by_key(|copy| Reverse(copy.started));
                let lengths = newest.into_iter().map(|copy| copy.bytes);
                verification.budget.downloads(lengths)
            })
            .sum();
        let quarter = self.now + TimeDelta::days(90);
        let in_it = runs(job, self.now, MOST_RUNS).take_while(|run| run.to_utc() <= quarter);
        Some(a_run.saturating_mul(in_it.count() as u64) / 3)
    }
}

/// No job reads copies more often than this in 90 days.
const MOST_RUNS: usize = 10_000;

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
    use uuid::Uuid;

    use super::{KnownCopies, KnownCopy, Shown};
    use crate::config::{Job, Source, load};
    use crate::policy::CopyState;

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

    fn shown(known: &dyn Fn(&str) -> Vec<KnownCopies>) -> Shown<'_> {
        Shown {
            now: now(),
            count: 2,
            known,
        }
    }

    /// Copies of a daily and a weekly series: the newest have 4 and 6 GB.
    fn known() -> KnownCopies {
        let copy = |series: &str, day: u32, bytes: u64| KnownCopy {
            backup: format!("{series}_{day}"),
            series: series.parse().unwrap(),
            started: format!("2025-10-{day:02}T02:00:00Z").parse().unwrap(),
            bytes,
            copied: now(),
            state: CopyState::Opened,
            proved: now(),
            read: None,
            damage: None,
            replaced: None,
            manifest: None,
        };
        let copies = [
            copy("daily", 24, 4_000_000_000),
            copy("daily", 23, 9_000_000_000),
            copy("weekly", 19, 6_000_000_000),
        ];
        KnownCopies {
            copies: copies.map(|copy| (Uuid::now_v7(), copy)).into(),
            ..KnownCopies::default()
        }
    }

    #[test]
    fn a_check_of_copies_shows_what_it_downloads_in_a_month() {
        let text = |settings: &str| {
            let far = tempfile::tempdir().unwrap();
            let file = far.path().join("pgbackupd.toml");
            let url = far.path().join("far");
            let text = format!(
                "database = \"a\"\n{settings}\n[destinations.far]\nurl = \"file://{}\"\nplain = true",
                url.display()
            );
            std::fs::write(&file, text).unwrap();
            let source = Source {
                file: Some(file),
                environment: BTreeMap::new(),
                ..Source::of_process(None)
            };
            let jobs = load(&source).unwrap().plan.jobs;
            let job: Vec<Job> = jobs
                .into_iter()
                .filter(|job| job.name == "verify_copies")
                .collect();
            let mut out = Vec::new();
            shown(&|_| vec![known(), known()])
                .print(&job, &mut out)
                .unwrap();
            let bytes = job
                .first()
                .and_then(|job| shown(&|_| vec![known()]).job(job).download_bytes_a_month);
            (String::from_utf8(out).unwrap(), bytes)
        };
        // 13 Sundays in 90 days, 10 GB each.
        let (shown, bytes) = text("");
        assert_eq!(bytes, Some(130_000_000_000 / 3));
        assert!(
            shown.starts_with("verify_copies: a check of the copies at far "),
            "{shown}"
        );
        assert!(
            shown.contains("    downloads about 80.7 GiB a month\n"),
            "{shown}"
        );
        // What does not fit is left for the next run; the first is read whatever its size.
        let (_, bytes) = text("jobs.verify_copies.budget_bytes = \"9 GB\"");
        assert_eq!(bytes, Some(13 * 4_000_000_000 / 3));
        let (_, bytes) = text("jobs.verify_copies.budget_bytes = \"1 GB\"");
        assert_eq!(bytes, Some(13 * 4_000_000_000 / 3));
        assert_eq!(text("jobs.verify_copies.enabled = false").1, None);
    }

    #[test]
    fn each_job_is_reported_in_words_with_its_next_runs_in_its_zone_and_in_utc() {
        let mut out = Vec::new();
        shown(&|_| Vec::new()).print(&jobs(), &mut out).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap());
    }

    #[test]
    fn programs_get_the_same_as_json() {
        let shown = shown(&|_| Vec::new());
        let jobs: Vec<_> = jobs().iter().map(|job| shown.job(job)).collect();
        let jobs: serde_json::Value = serde_json::to_value(jobs).unwrap();
        assert_eq!(jobs[0]["series"], "daily");
        assert_eq!(jobs[0]["next"][0]["local"], "2025-10-26T02:00:00+03:00");
        assert_eq!(jobs[0]["next"][0]["utc"], "2025-10-25T23:00:00+00:00");
        assert_eq!(jobs[0]["next"].as_array().unwrap().len(), 2);
        assert_eq!(jobs[1]["kind"], "drill");
        assert_eq!(jobs[1]["next"][1]["local"], "2025-12-01T05:00:00-05:00");
    }
}
