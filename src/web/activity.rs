//! What runs, what waits and what comes next: the newest judgement, completed by the daemon's own state.

use maud::{Markup, html};

use super::feed::{Judgement, Live};
use super::page::{Page, at, name, section, sentence};
use super::sections::{MOST_LISTED, others};
use crate::display::{one_line, operation_word};
use crate::jobs::phrases::display_running;
use crate::jobs::{DaemonView, DatabaseStatus, NextRun, RunningNow};
use crate::repository::{RunningJob, WaitingJob};

/// What runs now, on one database or on all.
pub(super) fn running(page: &Page<'_>, judged: &Judgement, one: Option<&DatabaseStatus>) -> Markup {
    let live = page.snapshot.live.as_deref();
    let is_wanted = |server: &str, database: &str| {
        one.is_none_or(|one| one.facts.server == server && one.facts.database == database)
    };
    let mut runs = Vec::new();
    for database in &judged.status.databases {
        let facts = &database.facts;
        if is_wanted(&facts.server, &facts.database) {
            let known = database.running.iter();
            let known = known.filter_map(|run| still_running(run, database, live));
            runs.extend(known.map(|run| (facts.label.clone(), run)));
        }
    }
    let begun = live
        .map(|live| begun_since(judged, live))
        .unwrap_or_default();
    for (job, run) in begun {
        if is_wanted(&job.server, &job.database) {
            let label = judged.status.label(&job.server, &job.database);
            runs.push((label, run));
        }
    }
    if runs.is_empty() {
        return html! {};
    }
    let list = html! {
        ul {
            @for (label, run) in &runs {
                li { (name(label)) ": " (one_run(page, judged, run)) }
            }
        }
    };
    section("running", "Running now", &list)
}

fn one_run(page: &Page<'_>, judged: &Judgement, run: &RunningNow) -> Markup {
    let text = display_running(run, judged.local(page.snapshot.now));
    html! {
        bdi { (one_line(&text)) }
        @if let (Some(written), Some(expected)) = (run.written, run.expected) {
            " "
            progress value=(written.min(expected)) max=(expected.max(1)) aria-label="progress" {}
        }
    }
}

/// A run that the judgement saw, as far as it is now; none if the daemon has ended it since.
fn still_running(
    run: &RunningNow,
    database: &DatabaseStatus,
    live: Option<&Live>,
) -> Option<RunningNow> {
    let mut run = run.clone();
    let (Some(job), Some(live)) = (&run.job, live) else {
        return Some(run);
    };
    let facts = &database.facts;
    let mut running = live.state.running.iter();
    running.find(|one| {
        one.job == *job
            && is_of_kind(&run, &one.kind)
            && one.server == facts.server
            && one.database == facts.database
    })?;
    let mut progress = live.progress.iter();
    let progress = progress.find(|one| {
        one.job == *job
            && is_of_kind(&run, &one.kind)
            && one.server == facts.server
            && one.database == facts.database
    });
    if let (Some(written), Some(progress)) = (&mut run.written, progress) {
        *written = progress.bytes.max(*written);
    }
    Some(run)
}

/// Whether a run is of a kind of the daemon's work: a job makes backups and copies of them at the same time.
fn is_of_kind(run: &RunningNow, kind: &str) -> bool {
    match run.operation.as_deref() {
        None => true,
        Some("verification of copies") => kind == "verify_copies",
        Some(operation) => operation_word(operation) == kind,
    }
}

/// The runs of the daemon that have begun since the judgement.
fn begun_since<'a>(judged: &Judgement, live: &'a Live) -> Vec<(&'a RunningJob, RunningNow)> {
    let is_known = |job: &RunningJob| {
        let mut databases = judged.status.databases.iter();
        databases.any(|database| {
            let facts = &database.facts;
            facts.server == job.server
                && facts.database == job.database
                && database
                    .running
                    .iter()
                    .any(|run| run.job.as_ref() == Some(&job.job) && is_of_kind(run, &job.kind))
        })
    };
    let begun = live.state.running.iter().filter(|job| !is_known(job));
    let begun = begun.map(|job| {
        let mut progress = live.progress.iter();
        let progress = progress.find(|one| {
            one.job == job.job
                && one.kind == job.kind
                && one.server == job.server
                && one.database == job.database
        });
        let is_backup = job.kind == "backup";
        let run = RunningNow {
            operation: Some(job.kind.clone()),
            job: Some(job.job.clone()),
            backup: None,
            since: Some(job.since),
            requested_by: None,
            written: progress.map(|one| one.bytes).filter(|_| is_backup),
            expected: None,
            publishing: false,
            destination: None,
        };
        (job, run)
    });
    begun.collect()
}

/// What is due and waits.
pub(super) fn waiting(page: &Page<'_>, judged: &Judgement) -> Markup {
    let waiting: &[WaitingJob] = match (&page.snapshot.live, &judged.status.daemon) {
        (Some(live), _) => &live.state.waiting,
        (None, DaemonView::Alive(state)) => &state.waiting,
        _ => &[],
    };
    if waiting.is_empty() {
        return html! {};
    }
    let list = html! {
        ul {
            @for one in waiting.iter().take(MOST_LISTED) {
                li {
                    (name(&judged.status.label(&one.server, &one.database)))
                    ": job " (one.job) ", due " (page.ago(one.due))
                    @if let Some(until) = one.until { ", starts " (page.ahead(until)) }
                    ": " (sentence(&one.reason))
                }
            }
        }
        (others(waiting.len(), "pgbackupd status"))
    };
    section("waiting", "Due and waiting", &list)
}

/// When jobs are due next.
pub(super) fn next_runs(page: &Page<'_>, judged: &Judgement) -> Markup {
    let next: Vec<NextRun> = match &page.snapshot.live {
        Some(live) => {
            let jobs = live.state.jobs.iter();
            jobs.map(|job| NextRun {
                job: job.job.clone(),
                kind: job.kind.clone(),
                at: job.next,
            })
            .collect()
        }
        None => judged.status.next.clone(),
    };
    let table = html! {
        @if next.is_empty() { p { "No job is enabled." } } @else {
            table.stack {
                thead { tr { th scope="col" { "Job" } th scope="col" { "Kind" } th scope="col" { "Due" } } }
                tbody {
                    @for run in &next {
                        tr {
                            th scope="row" { (run.job) }
                            td data-label="Kind" { (run.kind) }
                            td data-label="Due" {
                                @match run.at {
                                    Some(moment) => { (page.ahead(moment)) ", " (at(moment)) }
                                    None => { "never" }
                                }
                            }
                        }
                    }
                }
            }
        }
    };
    section("next", "Next runs", &table)
}
