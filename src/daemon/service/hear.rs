//! What services of pings hear of runs.

use super::Service;
use crate::daemon::board::Work;
use crate::daemon::task::{Action, Outcome, Task};
use crate::jobs::VerifyReport;

impl Service {
    /// Reports runs that have begun since the last time.
    pub(super) fn hear_of_beginnings(&mut self) {
        for running in self.queue.running() {
            let work = &running.work;
            if !work.is_follow_up && !matches!(work.task.action, Action::Find) {
                self.pings.began(&work.subject, work.slot, running.id);
            }
        }
    }

    /// Takes in how a run has ended.
    pub(super) fn hear_of_end(&mut self, work: &Work<Task>, outcome: &Outcome) {
        if work.is_follow_up {
            return;
        }
        match failure(outcome) {
            Some(why) => self.pings.failed(&work.subject, work.slot, &why),
            None => self.pings.succeeded(&work.subject, work.slot),
        }
    }
}

/// Why a run does not count as a success, if so.
fn failure(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Found(found) => {
            let why: Vec<String> = found.failures.iter().map(ToString::to_string).collect();
            (!why.is_empty()).then(|| why.join("; "))
        }
        Outcome::Failed(error, _) | Outcome::NotBegun(error) => Some(error.to_string()),
        Outcome::Panicked(panic) => Some(format!("internal error (please report): {panic}")),
        Outcome::Verified(report) => bad(report),
        Outcome::Drilled(None) => Some("there is no intact backup to restore".to_owned()),
        Outcome::Drilled(Some(report)) => report.outcome.sentence(),
        Outcome::Copied(report) => report.failure(),
        Outcome::VerifiedCopies(report) => report.failure(),
        Outcome::BackedUp(_) | Outcome::TriedDefinitions(_) | Outcome::Pruned(_) => None,
    }
}

/// What a verification has found.
fn bad(report: &VerifyReport) -> Option<String> {
    let damaged = report.findings.iter().filter_map(|finding| {
        let alarm = finding.alarm()?;
        Some(format!("backup {} {alarm}", finding.stem))
    });
    let problems = report
        .problems
        .iter()
        .map(|problem| format!("{}: {}", problem.file, problem.what));
    let unchecked = report
        .unchecked
        .iter()
        .map(|(stem, why)| format!("backup {stem} could not be checked: {why}"));
    let all: Vec<String> = damaged.chain(problems).chain(unchecked).collect();
    (!all.is_empty()).then(|| all.join("; "))
}
