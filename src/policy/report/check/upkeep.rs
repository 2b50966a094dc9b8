//! Whether what keeps backups usable was done: verification, retention, test restores, and what a review
//! needs of the service, the configuration and the files.

use super::{Answer, Check, NAMES};
use crate::display::{counted, minute, one_line};
use crate::policy::report::facts::{
    AuditFacts, ConfigurationFacts, DatabaseRecord, Drill, Ran, ReportFacts, ServiceFacts,
};
use crate::policy::slots::SlotOutcome;

/// Whether every database had a run of one kind: the evidence names those without one.
fn ran_everywhere(
    facts: &ReportFacts,
    none: &str,
    ran: impl Fn(&DatabaseRecord) -> Ran,
) -> (Answer, String) {
    // Where there was no backup, there was nothing to do.
    let databases = facts.databases.iter();
    let runs: Vec<(&str, Ran)> = databases
        .filter(|one| one.newest.is_some())
        .map(|one| (one.label.as_str(), ran(one)))
        .collect();
    if runs.is_empty() {
        return (Answer::Unknown, "no backup is on record".to_owned());
    }
    let without: Vec<&str> = runs
        .iter()
        .filter(|(_, ran)| ran.succeeded == 0)
        .map(|(label, _)| *label)
        .collect();
    let last = runs.iter().filter_map(|(_, ran)| ran.last).max();
    let last = last.map_or_else(String::new, |at| format!(", last {}", minute(at)));
    let succeeded: u64 = runs.iter().map(|(_, ran)| ran.succeeded).sum();
    if without.is_empty() {
        let all = counted(runs.len() as u64, "database", "databases");
        let evidence = format!("{all}, {}{last}", counted(succeeded, "run", "runs"));
        return (Answer::Yes, evidence);
    }
    (Answer::No, format!("{none} {}{last}", names(&without)))
}

/// "a, b and 4 more".
fn names(names: &[&str]) -> String {
    let shown: Vec<String> = names
        .iter()
        .take(NAMES)
        .map(|name| one_line(name))
        .collect();
    match names.len().saturating_sub(NAMES) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Whether verification ran.
pub(super) fn verified(facts: &ReportFacts) -> Check {
    let damaged: u64 = facts.databases.iter().map(|one| one.damaged).sum();
    // One that finds damage has run.
    let ran = |one: &DatabaseRecord| Ran {
        succeeded: one.verified.succeeded + u64::from(one.damaged > 0),
        ..one.verified
    };
    let none = "no verify run has succeeded for";
    let (mut answer, mut evidence) = ran_everywhere(facts, none, ran);
    if damaged > 0 {
        answer = Answer::No;
        let found = counted(damaged, "damaged backup", "damaged backups");
        evidence = format!("{evidence}; found {found}");
    }
    if answer == Answer::No && !facts.jobs.verify {
        evidence.push_str("; no job of the kind verify is enabled");
    }
    Check::of_all("verified", answer, evidence)
}

/// Whether retention ran.
pub(super) fn retention(facts: &ReportFacts) -> Check {
    let none = "no backup or prune run has succeeded for";
    let (answer, evidence) = ran_everywhere(facts, none, |one| one.pruned);
    let removed: u64 = facts.databases.iter().map(|one| one.removed.count()).sum();
    let removed = match removed {
        0 => "nothing to remove".to_owned(),
        removed => format!("removed {}", counted(removed, "backup", "backups")),
    };
    Check::of_all("retention", answer, format!("{evidence}; {removed}"))
}

/// Whether the service is up.
pub(super) fn service(facts: &ReportFacts) -> Check {
    let tallies = facts.databases.iter().flat_map(|one| &one.series);
    let slots: Vec<_> = tallies.flat_map(|one| &one.slots).collect();
    let missed = slots
        .iter()
        .filter(|one| one.outcome == SlotOutcome::Missed);
    let missed = match missed.count() as u64 {
        0 => "no slot missed".to_owned(),
        missed => format!("missed {}", counted(missed, "slot", "slots")),
    };
    let (answer, evidence) = match facts.present.as_ref().map(|present| &present.service) {
        Some(ServiceFacts::Up(since, pid)) => {
            let since = minute(*since);
            (
                Answer::Yes,
                format!("running since {since}, process {pid}; {missed}"),
            )
        }
        Some(ServiceFacts::Down) => (
            Answer::No,
            "the service does not run; `systemctl status pgbackupd` shows why".to_owned(),
        ),
        Some(ServiceFacts::Hidden(why)) => (Answer::Unknown, one_line(why)),
        None if slots.is_empty() => (
            Answer::Unknown,
            "whether the service ran then is not on record".to_owned(),
        ),
        None => (
            Answer::Unknown,
            format!("whether the service ran then is not on record; {missed}"),
        ),
    };
    Check::of_all("service", answer, evidence)
}

/// Whether the test restore passed.
pub(super) fn drilled(facts: &ReportFacts) -> Check {
    let passed = |drill: &&Drill| drill.passed == Some(true);
    let bad: Vec<&str> = facts
        .databases
        .iter()
        .filter(|one| {
            one.drills
                .kept
                .iter()
                .any(|drill| drill.passed == Some(false))
        })
        .map(|one| one.label.as_str())
        .collect();
    if !bad.is_empty() {
        let evidence = format!("a backup does not restore, of {}", names(&bad));
        return Check::of_all("drill", Answer::No, evidence);
    }
    let ran = |one: &DatabaseRecord| {
        let good = one.drills.kept.iter().filter(passed);
        Ran {
            succeeded: good.clone().count() as u64,
            failed: 0,
            last: good.map(|drill| drill.at).max(),
        }
    };
    let none = "none has passed for";
    let (answer, mut evidence) = ran_everywhere(facts, none, ran);
    if answer == Answer::No && !facts.jobs.drill {
        evidence.push_str("; no job of the kind drill is enabled");
    }
    Check::of_all("drill", answer, evidence)
}

/// What a review of the configuration needs. Nobody's review is on record.
pub(super) fn configuration(facts: &ReportFacts) -> Check {
    let Some(present) = &facts.present else {
        let evidence = "the configuration of that time is not on record".to_owned();
        return Check::of_all("configuration", Answer::Unknown, evidence);
    };
    let ConfigurationFacts {
        files,
        changed,
        digest,
        warnings,
        is_changed_on_disk,
    } = &present.configuration;
    let changed = match changed {
        Some(at) if facts.span.contains(at) => format!("changed in this time, {}", minute(*at)),
        Some(at) => format!("not changed since {}", minute(*at)),
        None => "no file".to_owned(),
    };
    let files = counted(files.len() as u64, "file", "files");
    let warnings = counted(*warnings, "warning", "warnings");
    let evidence = format!(
        "{files}, {changed}; digest {}; {warnings}",
        &digest[..digest.len().min(12)]
    );
    if *is_changed_on_disk == Some(true) {
        let evidence = format!("{evidence}; the service runs with older files");
        return Check::of_all("configuration", Answer::No, evidence);
    }
    let evidence = format!("{evidence}; no review is on record");
    Check::of_all("configuration", Answer::Unknown, evidence)
}

/// Whether owners and modes of all files are right.
pub(super) fn files(facts: &ReportFacts) -> Check {
    let Some(audit) = facts
        .present
        .as_ref()
        .and_then(|present| present.audit.as_ref())
    else {
        let evidence = "owners and modes of that time are not on record".to_owned();
        return Check::of_all("files", Answer::Unknown, evidence);
    };
    let AuditFacts {
        looked_at,
        wrong,
        more,
        untracked,
    } = audit;
    let looked = counted(*looked_at, "file", "files");
    let untracked = match untracked {
        0 => String::new(),
        count => format!("; {} without a manifest", counted(*count, "file", "files")),
    };
    let more = if *more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    let (answer, evidence) = if wrong.is_empty() {
        let modes = "owned by the owner of their directory, closed to others";
        (Answer::Yes, format!("{looked}, {modes}{untracked}"))
    } else {
        (Answer::No, format!("{}{more}{untracked}", wrong.join("; ")))
    };
    Check::of_all("files", answer, evidence)
}
