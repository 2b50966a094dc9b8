//! Reports (P17): what the ledgers have of a time, and how things stand now, for `policy::report` to
//! judge; and the report as text and as Markdown. No server is asked, and no lock is taken.

mod audit;
mod ledger;
mod markdown;
mod sending;
mod text;

use chrono::{DateTime, TimeDelta, Utc};

use super::JobContext;
use super::error::JobError;
use super::slots::{MONTH_DAYS, SLOT_DAYS, SlotGrids, backed_up_since};
use super::status::{DaemonView, DatabaseStatus, StatusReport};
use super::target::{BackupDirectory, backup_directories};
use crate::config::{JobKind, Plan, Settings};
use crate::display::one_line;
use crate::identity::host_name;
use crate::policy::{
    Concern, ConfigurationFacts, DatabaseRecord, EnabledJobs, PresentFacts, Report, ReportFacts,
    ReportPeriod, ReportSpan, ReportedCopies, SeriesRecord, ServiceFacts, SlotTally, report,
};
use crate::responsiveness::{PATIENCE, outlast};
use ledger::Reading;

pub use markdown::markdown;
pub use sending::{ReportAttempt, deliver_reports, is_report_due, next_report, take_in_reports};
pub use text::text;

/// Which report, and from what.
#[derive(Clone, Copy, Debug)]
pub struct ReportOrder<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// What it follows from.
    pub settings: &'a Settings,
    /// The time that it is about.
    pub span: ReportSpan,
    /// How things stand now; none for a time in the past, which the ledgers alone know.
    pub status: Option<&'a StatusReport>,
}

/// Makes a report.
///
/// # Errors
/// When the directory below which databases are found cannot be read.
pub fn make_report(context: &JobContext, order: &ReportOrder<'_>) -> Result<Report, JobError> {
    let ReportOrder { plan, span, .. } = *order;
    let now = Utc::now();
    let directories = backup_directories(context, plan, &[])?;
    let from = span.until.to_utc() - TimeDelta::days(SLOT_DAYS);
    let grids = SlotGrids::noted(plan, Some(&plan.daemon.state_directory), (from, now));
    let mut unread: Vec<String> = directories
        .failures
        .iter()
        .map(ToString::to_string)
        .collect();
    let mut databases = Vec::new();
    for directory in &directories.found {
        let read = outlast(directory.repository.directory(), PATIENCE, move |path| {
            Reading::of(path, span)
        });
        match read.flatten() {
            Ok(reading) => databases.push(record(reading, directory, (&grids, order))),
            Err(error) => {
                let label = one_line(&directory.label);
                unread.push(format!("the ledgers of {label} cannot be read: {error}"));
            }
        }
    }
    let is_enabled = |kind: fn(&JobKind) -> bool| plan.jobs.iter().any(|job| kind(&job.kind));
    let facts = ReportFacts {
        host: host_name(),
        at: context.now(),
        span,
        objectives: plan.objectives,
        databases,
        unread,
        jobs: EnabledJobs {
            verify: is_enabled(|kind| matches!(kind, JobKind::Verify(_))),
            drill: is_enabled(|kind| matches!(kind, JobKind::Drill(_))),
        },
        present: order
            .status
            .filter(|_| !span.is_past)
            .map(|status| present(context, order, status, &directories.found)),
    };
    Ok(report(&facts))
}

/// What the ledgers of a database have come to, with its slots.
fn record(
    reading: Reading,
    directory: &BackupDirectory,
    (grids, order): (&SlotGrids<'_>, &ReportOrder<'_>),
) -> DatabaseRecord {
    let ReportOrder { plan, span, .. } = *order;
    let until = span.until.to_utc();
    let since = backed_up_since(directory.repository.made_at(), reading.oldest);
    let Reading {
        mut record,
        slot_runs,
        mut last,
        ..
    } = reading;
    record.label.clone_from(&directory.label);
    let made = plan.jobs.iter().filter_map(|job| match &job.kind {
        JobKind::Backup(series) => Some(series),
        _ => None,
    });
    let mut all: Vec<_> = made.chain(slot_runs.series()).cloned().collect();
    all.sort();
    all.dedup();
    for series in all {
        let runs = slot_runs.of(&series);
        let mut slots = grids.slots(&series, runs, (since, plan.objectives.grace));
        slots.retain(|slot| slot.at <= until);
        let tally_since = |moment: DateTime<Utc>| {
            let tallied = slots.iter().filter(|slot| slot.at > moment);
            SlotTally::of(tallied)
        };
        let (month, quarter) = (
            tally_since(until - TimeDelta::days(MONTH_DAYS)),
            tally_since(until - TimeDelta::days(SLOT_DAYS)),
        );
        slots.retain(|slot| span.contains(&slot.at));
        let (last, before) = last.remove(&series).unwrap_or_default();
        if last.is_some() || quarter.counted() > 0 || !slots.is_empty() {
            record.series.push(SeriesRecord {
                series,
                slots,
                month,
                quarter,
                last,
                before,
            });
        }
    }
    record
}

/// What is known only now.
fn present(
    context: &JobContext,
    order: &ReportOrder<'_>,
    status: &StatusReport,
    directories: &[BackupDirectory],
) -> PresentFacts {
    let settings = order.settings;
    let concerns = status.concerns.iter().map(|concern| {
        let about = status.about(concern);
        let about = about.map_or_else(String::new, |about| format!("{about}: "));
        (concern.severity, format!("{about}{}", concern.sentence))
    });
    let untracked = status.databases.iter().map(|one| one.strangers).sum();
    let changed = super::status::last_change(settings);
    PresentFacts {
        spaces: status.spaces.clone(),
        service: match &status.daemon {
            DaemonView::Alive(state) => ServiceFacts::Up(state.started, state.pid),
            DaemonView::Absent => ServiceFacts::Down,
            DaemonView::Hidden(why) => ServiceFacts::Hidden(why.clone()),
        },
        concerns: concerns.collect(),
        configuration: ConfigurationFacts {
            files: settings
                .files()
                .iter()
                .map(|file| file.display().to_string())
                .collect(),
            changed: changed.map(|at| context.local(at)),
            digest: settings.files_digest(),
            warnings: order.plan.warnings.len() as u64,
            is_changed_on_disk: status.is_changed_on_disk,
        },
        audit: (order.span.period == ReportPeriod::Monthly)
            .then(|| audit::audit(directories, untracked)),
        unconfigured: status.unconfigured(),
        copies: status
            .databases
            .iter()
            .flat_map(|one| copies(status, one))
            .collect(),
    }
}

/// The copies of a database, each with whether something about them needs attention.
fn copies<'a>(
    status: &'a StatusReport,
    database: &'a DatabaseStatus,
) -> impl Iterator<Item = ReportedCopies> + 'a {
    let facts = &database.facts;
    facts.copies.iter().map(move |copies| {
        let is_about = |concern: &&Concern| {
            concern.kind.is_about_copies()
                && concern.directory.as_deref() == Some(&*facts.directory)
                && concern.object.as_ref() == Some(&copies.destination)
        };
        ReportedCopies {
            database: facts.label.clone(),
            copies: copies.clone(),
            needs_attention: status.concerns.iter().any(|concern| is_about(&concern)),
        }
    })
}

#[cfg(test)]
mod tests;
