//! `pgbackupd drill --definitions`: load the definitions of a backup without its rows.

use std::io::Write;
use std::time::Duration;

use super::{Args, DrilledBackup, without_outcome};
use crate::cli::failure::{Failure, FailureKind};
use crate::cli::report;
use crate::cli::several::Turns;
use crate::jobs::{BackupDirectory, DefinitionsReport, Run, WhichBackup, try_definitions};
use crate::policy::DefinitionsResult;
use crate::repository::Stem;

/// Which backup of a database, where none is named.
pub(super) fn which(args: &Args) -> WhichBackup {
    if args.definitions {
        WhichBackup::NewestUndamaged
    } else {
        WhichBackup::NewestOfSeries
    }
}

pub(super) async fn try_one(
    turns: &mut Turns<'_, DrilledBackup>,
    backup_directory: &BackupDirectory,
    stem: &Stem,
) -> Result<(), Failure> {
    let session = turns.session;
    let job = async |run: &Run<'_>| try_definitions(run, backup_directory, stem).await;
    let target = session.plan().objectives.recovery_time;
    match session.job(&backup_directory.label, job).await {
        Ok(report) => {
            let database = report::one_line(&backup_directory.label);
            turns.failures.extend(failure(&database, &report));
            let prefix = session.prefix(&backup_directory.label);
            let result = report.result;
            let nothing = Failure::new(FailureKind::Unavailable, report.sentence());
            let tried = DrilledBackup {
                outcome: match result {
                    DefinitionsResult::Load => "definitions_load",
                    DefinitionsResult::Refused => "definitions_refused",
                    DefinitionsResult::NotTried => "impossible",
                },
                message: report.message,
                seconds: report.took.as_secs_f64(),
                remarks: report.remarks,
                ..without_outcome(backup_directory, target, stem, &nothing)
            };
            turns.add(tried, |tried, out| print(tried, &prefix, out))
        }
        Err(error) => {
            let failure = session.failure(&error);
            let tried = without_outcome(backup_directory, target, stem, &failure);
            turns.failures.push(failure);
            turns.add(tried, |_, _| Ok(()))
        }
    }
}

fn failure(database: &str, report: &DefinitionsReport) -> Option<Failure> {
    let kind = match report.result {
        DefinitionsResult::Load => return None,
        DefinitionsResult::Refused => FailureKind::Damaged,
        DefinitionsResult::NotTried => FailureKind::Unavailable,
    };
    let mut message = format!(
        "database {database}: {}: {}",
        report.stem,
        report.sentence()
    );
    if let Some(detail) = &report.detail {
        // A terminal may see a password in a statement.
        message.push_str("\nfull output:\n");
        message.push_str(detail);
    }
    Some(Failure::new(kind, message))
}

fn print(tried: &DrilledBackup, prefix: &str, out: &mut dyn Write) -> Result<(), Failure> {
    let name = format!("{prefix}{}", tried.name);
    let took = report::duration(Duration::from_secs_f64(tried.seconds));
    match tried.outcome {
        "definitions_load" => writeln!(out, "{name}: definitions load; rows not tried; in {took}")?,
        "definitions_refused" => writeln!(out, "{name}: definitions do not load; rows not tried")?,
        _ => writeln!(out, "{name}: definitions not tried")?,
    }
    for remark in &tried.remarks {
        writeln!(out, "  note: {remark}")?;
    }
    Ok(())
}
