//! Reports (P17): the policy's checklists, each item answered by what is on record. Pure.
//!
//! A daily report asks whether the last backup succeeded, its size is reasonable, there is room, and
//! nothing failed. A weekly one asks whether backups were verified, retention ran, and the service is
//! up; a monthly one, whether the test restore passed, and what a review needs of configuration and
//! files. What is not on record is "unknown", with what is missing.

mod check;
mod facts;
mod outbox;
mod period;
mod section;
mod target;

use chrono::{DateTime, FixedOffset};
use schemars::JsonSchema;
use serde::Serialize;

use crate::display::counted;

pub use check::{Answer, Check};
pub use facts::{
    AuditFacts, BackupRecord, ConfigurationFacts, DatabaseRecord, Drill as ReportedDrill,
    EnabledJobs, Entry, Failure as ReportedFailure, Items, PresentFacts, Ran, ReportFacts,
    ReportedCopies, SeriesRecord, ServiceFacts,
};
pub use outbox::{ReportBook, ReportMessage, ReportSlot};
pub use period::{ReportPeriod, ReportSpan};
pub use section::{Section, SectionEntry};
pub use target::Target;

/// The version of the document: raised when a key is removed or gets another meaning.
const VERSION: u8 = 1;

/// A report.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Report {
    /// 1: raised when a key is removed or gets another meaning.
    pub version: u8,
    /// Which report.
    pub period: ReportPeriod,
    /// The host.
    pub host: String,
    /// When it was made.
    #[schemars(with = "String")]
    pub at: DateTime<FixedOffset>,
    /// The beginning of its time.
    #[schemars(with = "String")]
    pub after: DateTime<FixedOffset>,
    /// The end of its time.
    #[schemars(with = "String")]
    pub until: DateTime<FixedOffset>,
    /// Whether no check is answered with no, and a backup is on record.
    pub ok: bool,
    /// The report in a line.
    pub title: String,
    /// The checklist.
    pub checks: Vec<Check>,
    /// What was wanted, and what was reached.
    pub targets: Vec<Target>,
    /// What happened.
    pub sections: Vec<Section>,
}

/// The answers as a reader counts them: the size of a backup is in the line of the backup, and a good day
/// has no line that nothing needs attention.
fn shown_answers(checks: &[Check], period: ReportPeriod) -> Vec<Answer> {
    let mut shown: Vec<Answer> = Vec::new();
    for check in checks {
        match (check.id, shown.last_mut()) {
            ("size", Some(answer)) => {
                if check.answer == Answer::No {
                    *answer = Answer::No;
                }
            }
            ("attention", _) if period == ReportPeriod::Daily && check.answer == Answer::Yes => {}
            _ => shown.push(check.answer),
        }
    }
    shown
}

/// Makes a report from facts.
pub fn report(facts: &ReportFacts) -> Report {
    let checks = check::checks(facts);
    let shown = shown_answers(&checks, facts.span.period);
    let count = |answer| shown.iter().filter(|one| **one == answer).count() as u64;
    let (no, unknown) = (count(Answer::No), count(Answer::Unknown));
    let targets = target::targets(facts);
    let missed = targets.iter().filter(|one| !one.met).count() as u64;
    let has_backup = checks
        .iter()
        .any(|one| one.id == "last_backup" && one.answer == Answer::Yes);
    let all = counted(shown.len() as u64, "check", "checks");
    let verdict = match (no, missed, unknown) {
        (0, 0, 0) => "all is well".to_owned(),
        (0, 0, _) if !has_backup => "no backup is on record".to_owned(),
        (0, 0, unknown) => format!("nothing is wrong, {unknown} of {all} without an answer"),
        (0, missed, _) => format!("{} missed", counted(missed, "target", "targets")),
        (no, ..) => format!("{no} of {all}: NO"),
    };
    let span = &facts.span;
    let kind = match span.period {
        ReportPeriod::Daily => "Daily",
        ReportPeriod::Weekly => "Weekly",
        ReportPeriod::Monthly => "Monthly",
    };
    Report {
        version: VERSION,
        period: span.period,
        host: facts.host.clone(),
        at: facts.at,
        after: span.after,
        until: span.until,
        ok: no == 0 && has_backup,
        title: format!(
            "{kind} report of {}, {span}: {verdict}",
            crate::display::one_line(&facts.host)
        ),
        targets,
        sections: section::sections(facts),
        checks,
    }
}
