//! What of the concerns opens no alert, and which alerts nobody can judge at present.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::{JobKind, Plan};
use crate::jobs::{DaemonView, StatusReport};
use crate::policy::{
    Alert, Concern, ConcernKind, DatabaseFacts, Expectation, Series, judge_database,
};

/// The ids of failed runs that the daemon is about to try again, or is trying.
pub(super) fn retried(plan: &Plan, status: &StatusReport) -> BTreeSet<String> {
    let DaemonView::Alive(state) = &status.daemon else {
        return BTreeSet::new();
    };
    // What waited is no longer shown then; the next start goes on with it.
    if state.stopping {
        return status.concerns.iter().map(Concern::id).collect();
    }
    let waiting = state.waiting.iter().map(|one| Pending {
        server: &one.server,
        database: &one.database,
        job: &one.job,
        kind: &one.kind,
    });
    let running = state.running.iter().map(|one| Pending {
        server: &one.server,
        database: &one.database,
        job: &one.job,
        kind: &one.kind,
    });
    let pending: Vec<Pending<'_>> = waiting.chain(running).collect();
    status
        .concerns
        .iter()
        .filter(|concern| {
            pending
                .iter()
                .any(|pending| pending.is_of(concern, series_of(plan, pending.job)))
        })
        .map(Concern::id)
        .collect()
}

/// A run that waits or runs.
struct Pending<'a> {
    server: &'a str,
    database: &'a str,
    job: &'a str,
    kind: &'a str,
}

impl Pending<'_> {
    /// Whether a concern is that a run of this kind failed.
    fn is_of(&self, concern: &Concern, series: Option<&Series>) -> bool {
        let is_of_kind = match concern.kind {
            ConcernKind::Failed if concern.series.is_some() => {
                self.kind == "backup" && concern.series.as_ref() == series
            }
            ConcernKind::Failed => concern.object.as_deref() == Some(self.kind),
            ConcernKind::VerificationFailed => self.kind == "verify",
            _ => false,
        };
        is_of_kind
            && concern.server.as_deref() == Some(self.server)
            && concern.database.as_deref() == Some(self.database)
    }
}

/// The series that a job makes.
fn series_of<'a>(plan: &'a Plan, job: &str) -> Option<&'a Series> {
    let job = plan.jobs.iter().find(|other| other.name == job)?;
    match &job.kind {
        JobKind::Backup(series) => Some(series),
        _ => None,
    }
}

/// Whether nobody can see now if an alert is still true: its directory cannot be looked at.
pub(super) fn is_unseen(status: &StatusReport, alert: &Alert) -> bool {
    let mut unseen = status
        .concerns
        .iter()
        .filter(|concern| concern.kind == ConcernKind::Directory);
    match (&alert.server, &alert.database) {
        // The room on a disk is asked for in the directories.
        _ if alert.kind == ConcernKind::Space => unseen.next().is_some(),
        (Some(server), Some(database)) if alert.kind != ConcernKind::Directory => {
            let is_judged = status
                .databases
                .iter()
                .any(|one| one.facts.server == *server && one.facts.database == *database);
            !is_judged
                && unseen.any(|concern| {
                    concern.server.as_ref() == Some(server)
                        && concern
                            .database
                            .as_ref()
                            .is_none_or(|other| other == database)
                })
        }
        _ => false,
    }
}

/// What was last seen of every database: while its directory does not answer, its age goes on counting.
#[derive(Debug, Default)]
pub struct LastFacts(BTreeMap<(String, String), DatabaseFacts>);

impl LastFacts {
    /// Remembers what is seen, and adds what the passing of time makes of what is not.
    pub fn complete(&mut self, status: &mut StatusReport) {
        let mut missing = std::mem::take(&mut self.0);
        for database in &status.databases {
            let facts = &database.facts;
            let key = (facts.server.clone(), facts.database.clone());
            missing.remove(&key);
            self.0.insert(key, facts.clone());
        }
        for ((server, database), facts) in missing {
            let is_hanging = status.concerns.iter().any(|concern| {
                concern.kind == ConcernKind::Directory
                    && concern.server.as_ref() == Some(&server)
                    && concern.database.as_ref().is_none_or(|one| *one == database)
            });
            // Else it is configured no more.
            if is_hanging {
                let aged = aged(&facts, status.expectation, status);
                status.concerns.extend(aged);
                self.0.insert((server, database), facts);
            }
        }
    }
}

/// What time alone makes of what was seen.
fn aged(facts: &DatabaseFacts, expectation: Expectation, status: &StatusReport) -> Vec<Concern> {
    let judged = judge_database(facts, expectation, status.at).concerns;
    let by_time = judged.into_iter().filter(|concern| {
        matches!(
            concern.kind,
            ConcernKind::RecoveryPoint | ConcernKind::DrillAge
        )
    });
    by_time.collect()
}
