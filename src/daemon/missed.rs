//! Which jobs were missed, by the ledgers: asked on threads, so that a directory that hangs delays
//! nothing but its own catch-up.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::directories::Directories;
use super::task::unanswered;
use crate::config::{Databases, Job, JobKind, Plan, Server};
use crate::emit;
use crate::jobs::{BackupDirectories, JobContext, JobError, backup_directories_on, newest_success};
use crate::policy::{Series, missed};
use crate::repository::Repository;
use crate::responsiveness::PATIENCE;
use crate::threads;

/// The servers of a job are waited for so long, to be reported together.
const TOGETHER: Duration = PATIENCE.saturating_mul(2);

/// A directory that hangs is asked again after this.
const AGAIN: Duration = Duration::from_secs(10);

/// What is asked about a job.
#[derive(Clone)]
pub(super) struct Question {
    pub context: JobContext,
    pub plan: Arc<Plan>,
    pub job: Job,
    /// Since when the job's schedule is in force, if that is known.
    pub since: Option<DateTime<Utc>>,
    /// The newest slot for which everything was done.
    pub handled: Option<DateTime<Utc>>,
    pub now: DateTime<Utc>,
    /// By which directories are asked.
    pub directories: Directories,
}

/// The newest slot that some database of these servers has missed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Missed {
    /// The job's name.
    pub job: String,
    /// The servers' names.
    pub servers: Vec<String>,
    /// The slot; none if nothing was missed.
    pub slot: Option<DateTime<Utc>>,
}

impl Question {
    /// Asks, and reports all servers together; later, again for each directory that hung.
    pub(super) async fn ask(self, report: impl Fn(Missed)) {
        let count = self.plan.servers.len();
        let (found, mut answers) = mpsc::unbounded_channel();
        for index in 0..count {
            let (question, found) = (self.clone(), found.clone());
            tokio::spawn(async move {
                let server = &question.plan.servers[index];
                let answer = |slot| {
                    // Nobody listens any more once the service stops.
                    found.send((server.name.clone(), slot)).is_ok()
                };
                if let Err(error) = question.ask_server(server, &answer).await {
                    question.unknown(&error);
                    answer(None);
                }
            });
        }
        drop(found);
        let mut first = Vec::new();
        let _ = timeout(TOGETHER, async {
            while first.len() < count {
                let Some(answer) = answers.recv().await else {
                    return;
                };
                first.push(answer);
            }
        })
        .await;
        report(together(&self.job.name, first));
        while let Some(answer) = answers.recv().await {
            report(together(&self.job.name, vec![answer]));
        }
    }

    /// A backup counts as done when the ledger has one that succeeded; any other job when everything
    /// was done for its slot.
    async fn ask_server(
        &self,
        server: &Server,
        answer: &impl Fn(Option<DateTime<Utc>>) -> bool,
    ) -> Result<(), JobError> {
        let JobKind::Backup(series) = &self.job.kind else {
            let known = self.since.max(self.handled);
            answer(missed(&self.job.schedule, known, self.now));
            return Ok(());
        };
        let above = &server.directory;
        if matches!(server.databases, Databases::All(_)) {
            // Where it hangs, the look would only keep a thread.
            let asking = self.directories.ask_one(above.clone(), |_| ()).await?;
            asking.ok_or_else(|| unanswered(above, None))?;
        }
        let (context, plan, of) = (self.context.clone(), Arc::clone(&self.plan), server.clone());
        let looking = threads::start("look", move || backup_directories_on(&context, &plan, &of))?;
        let looking = self.directories.outlast(above, PATIENCE, looking).await;
        let Some(looking) = looking else {
            return Err(unanswered(above, None));
        };
        let BackupDirectories { found, failures } = looking??;
        for failure in &failures {
            self.unknown(failure);
        }
        // A database without a directory was never backed up. Where databases are discovered, the
        // directories have been.
        let is_found = matches!(server.databases, Databases::All(_));
        let directories = found.iter();
        let directories =
            directories.map(|backup_directory| backup_directory.repository.directory().to_owned());
        let mut left: Vec<PathBuf> = directories.collect();
        let mut is_first = true;
        loop {
            let slots = self.ask_directories(left.clone(), series, is_found).await?;
            let (mut newest, mut silent) = (None, Vec::new());
            for (directory, slot) in left.into_iter().zip(slots) {
                match slot {
                    Some(Ok(slot)) => newest = newest.max(slot),
                    Some(Err(error)) => self.unknown(&error),
                    None => silent.push(directory),
                }
            }
            // Afterwards only what is new matters.
            if (is_first || newest.is_some()) && !answer(newest) {
                return Ok(());
            }
            if is_first {
                for directory in &silent {
                    self.hangs(directory);
                }
            }
            if silent.is_empty() {
                return Ok(());
            }
            (left, is_first) = (silent, false);
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn ask_directories(
        &self,
        directories: Vec<PathBuf>,
        series: &Series,
        is_found: bool,
    ) -> Result<Vec<Option<Result<Option<DateTime<Utc>>, JobError>>>, JobError> {
        let (series, schedule) = (series.clone(), self.job.schedule.clone());
        let (since, now) = (self.since, self.now);
        let asked = self.directories.ask(directories, move |directory| {
            if !is_found && !directory.is_dir() {
                return Ok(None);
            }
            let newest = newest_success(&Repository::at(directory), &series, now)?;
            Ok(missed(&schedule, since.max(newest), now))
        });
        Ok(asked.await?)
    }

    fn unknown(&self, error: &JobError) {
        emit!(
            DirectoryUnusable,
            { job = %self.job.name },
            "whether job {} was missed cannot be found out: {error}",
            self.job.name
        );
    }

    fn hangs(&self, directory: &Path) {
        emit!(
            DirectoryUnusable,
            { job = %self.job.name },
            "the directory {} does not answer: whether job {} was missed there is found out as soon \
             as it does",
            directory.display(),
            self.job.name
        );
    }
}

/// What several servers have missed: the newest slot counts for all of them.
fn together(job: &str, answers: Vec<(String, Option<DateTime<Utc>>)>) -> Missed {
    let slot = answers.iter().filter_map(|(_, slot)| *slot).max();
    let missed = answers.into_iter().filter(|(_, slot)| slot.is_some());
    Missed {
        job: job.to_owned(),
        servers: missed.map(|(server, _)| server).collect(),
        slot,
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};

    use super::{Missed, together};

    #[test]
    fn the_servers_that_have_missed_a_slot_catch_up_the_newest() {
        let at =
            |day: u32| -> DateTime<Utc> { format!("2025-07-{day:02}T00:00:00Z").parse().unwrap() };
        for (answers, servers, slot) in [
            (&[] as &[(&str, Option<u32>)], &[] as &[&str], None),
            (&[("a", None), ("b", None)], &[], None),
            (&[("a", Some(7)), ("b", None)], &["a"], Some(7)),
            (
                &[("a", Some(7)), ("b", Some(8)), ("c", None)],
                &["a", "b"],
                Some(8),
            ),
        ] {
            let answers = answers
                .iter()
                .map(|(server, day)| ((*server).to_owned(), day.map(at)));
            let expected = Missed {
                job: "daily".to_owned(),
                servers: servers.iter().map(|server| (*server).to_owned()).collect(),
                slot: slot.map(at),
            };
            assert_eq!(together("daily", answers.collect()), expected);
        }
    }
}
