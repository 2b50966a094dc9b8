//! Retention at a destination by itself, without a copy before it.

use chrono::Utc;

use super::local::Local;
use super::memory::Memory;
use super::retention::{Retention, decide, doubts};
use super::{CopyReport, CopyRequest, connect, read, take_in};
use crate::jobs::error::JobError;
use crate::jobs::own_host::OwnHost;
use crate::jobs::run::Run;
use crate::policy::Keeping;
use crate::repository::{KnownCopies, Removal, lock_destination};

/// Removes the copies of a database that the configured rules no longer keep at a destination, or only says which.
///
/// # Errors
/// When another run copies to the destination, it cannot be used or reached, or the run is to end.
pub async fn prune_copies(
    run: &Run<'_>,
    request: CopyRequest<'_>,
    dry_run: bool,
) -> Result<CopyReport, JobError> {
    let state = &run.context.state_directory;
    let repository = &request.backup_directory.repository;
    let destination = &request.destination.name;
    let mut report = CopyReport {
        destination: destination.clone(),
        ..CopyReport::default()
    };
    let lock = if dry_run {
        None
    } else {
        let holder = run.context.holder("prune");
        Some(lock_destination(state, destination, &holder)?)
    };
    let link = connect(run, request, (OwnHost::look(run.context)?, lock))?;
    let began = Utc::now();
    let (there, warning) = read(run, request, &link).await?;
    report.warnings.extend(warning);
    let mut memory = Memory::new(KnownCopies::read(
        state,
        destination,
        repository.directory(),
    ));
    take_in(run, (request, &link), (&there, began), &mut memory).await?;
    let local = Local::look(run.context, repository, &repository.catalogue()?)?;
    let rules = request.destination.retention.rules(&run.context.retention);
    let keeping = Keeping {
        rules: rules.as_ref(),
        floor: run.context.retention.floor,
        now: Utc::now(),
    };
    if dry_run {
        foresee((&local, keeping), (&memory, &mut report));
        return Ok(report);
    }
    let retention = Retention {
        run,
        backup_directory: request.backup_directory,
        destination: &link.destination,
        place: &link.place,
        there: &there,
    };
    let outcome = retention
        .carry_out((&local, keeping), (&mut memory, &mut report))
        .await;
    if let Err(error) = memory.known.write(state, destination) {
        report.warnings.push(format!(
            "what is known of the copies at {destination} could not be written to {}: {error}",
            state.display()
        ));
    }
    outcome.map(|()| report)
}

/// Reports what would be removed.
fn foresee(
    (local, keeping): (&Local<'_>, Keeping<'_>),
    (memory, report): (&Memory, &mut CopyReport),
) {
    let candidates = local.candidates(memory);
    let decision = decide(&candidates, keeping, memory);
    report
        .warnings
        .extend(doubts(&decision, &report.destination));
    let removed = decision.removed.iter().map(|(run, reasons)| Removal {
        backup: candidates
            .iter()
            .find(|candidate| candidate.run == *run)
            .map_or_else(String::new, |candidate| candidate.backup.clone()),
        reasons: reasons.iter().map(ToString::to_string).collect(),
    });
    report.removed = removed.collect();
}
