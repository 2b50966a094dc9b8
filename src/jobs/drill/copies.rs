//! The test restore of a copy: it is fetched from its destination, restored like a backup that is here, and removed.
//! It is on record where the database's own test restores are.

use std::time::Instant;

use super::report::{DrillOutcome, DrillReport};
use super::space::shortage_with_fetch;
use super::{NOTHING_DONE, drill, phase_time, sweep_drills};
use crate::config::Format;
use crate::copies::{FileRole, Identities};
use crate::jobs::JobContext;
use crate::jobs::error::JobError;
use crate::jobs::fetch::{FetchRequest, check_identities, fetch, opened_by, own_manifest};
use crate::jobs::readable::open_with;
use crate::jobs::record::{append, close_dead_runs};
use crate::jobs::rehearse::{Proof, RehearsalRequest};
use crate::jobs::run::Run;
use crate::jobs::target::BackupDirectory;
use crate::policy::CopyState;
use crate::postgres::FetchDirectory;
use crate::repository::{
    CopyOpened, DrillDetails, Event, Manifest, Operation, Record, Repository, Stem, Subject,
};

/// A test restore of a copy that was made, or tried.
#[derive(Clone, Debug)]
pub struct CopyDrillReport {
    /// What was shown.
    pub drill: DrillReport,
    /// The fingerprints of the recipients whose identities opened the copy.
    pub recipients: Vec<String>,
    /// Bytes that were read from the destination.
    pub read: u64,
    /// What the operator should know, one sentence each.
    pub warnings: Vec<String>,
}

/// Fetches a copy, restores it into a temporary cluster, compares, and removes it; records what was found, as far as
/// it is a copy of this host.
///
/// # Errors
/// When the copy is damaged or cannot be read, no identity opens it, the run is to end, or it cannot be recorded. A
/// backup that does not restore, or could not be tried, is a report and no error.
pub async fn drill_copy(
    run: &Run<'_>,
    request: &RehearsalRequest<'_>,
) -> Result<CopyDrillReport, JobError> {
    let began = Instant::now();
    // Whoever gives the wrong identity has made no drill that fails.
    check_identities(request.copy, request.identities)?;
    let mut details = begin_details(request);
    if let Some(own) = request.own {
        let ledger = own.directory.repository.restore_ledger();
        close_dead_runs(run.context, &ledger, Operation::Drill, NOTHING_DONE)?;
        let database = &own.directory.database;
        let start = run.record_with_requester(Event::Started, database, details.clone());
        append(&ledger, &start, NOTHING_DONE)?;
    }
    let outcome = Box::pin(fetch_and_drill(run, request)).await;
    let Some(own) = request.own else {
        return outcome;
    };
    let end = |event, message, details: DrillDetails| {
        let mut end: Record = run.record(event, &own.directory.database, details);
        end.seconds = Some(began.elapsed().as_secs_f64());
        end.message = message;
        let ledger = own.directory.repository.restore_ledger();
        append(&ledger, &end, "the drill is done, but")
    };
    let proof = Proof {
        run,
        own,
        copy: request.copy,
    };
    let mut report = match outcome {
        Ok(report) => report,
        Err(error) => {
            end(error.event(), Some(error.to_string()), details)?;
            proof.take_down_if_damage(&error);
            return Err(error);
        }
    };
    let shown = &report.drill;
    let reached = reached(&report);
    details.subject = Subject::from(&shown.stem);
    details.phases = shown.phases.iter().map(phase_time).collect();
    details.bytes = Some(shown.bytes);
    details.damaged = shown.damaged();
    details.of_copy.copy = reached;
    details.of_copy.recipients.clone_from(&report.recipients);
    let (event, message) = shown.outcome_and_message(run.context.recovery_time);
    end(event, Some(message), details)?;
    if let Some(reached) = reached {
        report
            .warnings
            .extend(proof.take_down(reached, &report.recipients));
    }
    Ok(report)
}

/// How far a copy is proved by its test restore; none where it was not fetched.
fn reached(report: &CopyDrillReport) -> Option<CopyState> {
    match report.drill.outcome {
        DrillOutcome::Proven => Some(CopyState::Restored),
        // Each file was compared with the backup's own manifest.
        _ => (report.read > 0).then_some(CopyState::Opened),
    }
}

fn begin_details(request: &RehearsalRequest<'_>) -> DrillDetails {
    DrillDetails {
        subject: Subject::from(request.copy.name.stem()),
        partial: request.copy.manifest.manifest.is_partial,
        of_copy: CopyOpened {
            destination: request.own.map(|own| own.destination.to_owned()),
            ..CopyOpened::default()
        },
        ..DrillDetails::default()
    }
}

async fn fetch_and_drill(
    run: &Run<'_>,
    request: &RehearsalRequest<'_>,
) -> Result<CopyDrillReport, JobError> {
    let RehearsalRequest {
        source,
        copy,
        identities,
        ..
    } = *request;
    if let Err(error) = sweep_drills(run.context) {
        tracing::warn!("{}: {error}", copy.name.stem());
    }
    let recipients = identities.map(|identities| opened_by(copy, identities));
    let recipients = recipients.unwrap_or_default();
    let directory = run.context.drill.directory.as_path();
    let mut own = own_manifest(run, source, copy, identities).await?;
    let opener = identities.map(Identities::opener);
    open_with(&mut own, opener.as_ref())?;
    if let Some(shortage) = shortage_with_fetch(directory, &own, fetched_bytes(request))? {
        return Ok(CopyDrillReport {
            drill: not_tried(request, &own, shortage),
            recipients: Vec::new(),
            read: 0,
            warnings: Vec::new(),
        });
    }
    let place = FetchDirectory::make(directory)?;
    let to = Repository::at(place.backup());
    let fetching = FetchRequest {
        source,
        copy,
        identities,
        to: &to,
    };
    let fetched = fetch(run, &fetching).await?;
    run.step("restoring it into a temporary cluster");
    let fetched_directory = BackupDirectory {
        server: None,
        database: fetched.manifest.database.clone(),
        label: fetched.manifest.database.clone(),
        repository: to,
    };
    // The files of the backup can be encrypted themselves.
    let context = JobContext {
        opener,
        ..run.context.clone()
    };
    let run = run.renewed().in_context(&context);
    let drill = drill(&run, &fetched_directory, &fetched.stem).await?;
    Ok(CopyDrillReport {
        drill,
        recipients,
        read: fetched.read,
        warnings: Vec::new(),
    })
}

/// Bytes that a copy takes once it is fetched; an archive is there until its files are.
fn fetched_bytes(request: &RehearsalRequest<'_>) -> u64 {
    let copy = &request.copy.manifest.manifest;
    let bytes = copy.files.iter().map(|file| {
        let is_archive = file.role == FileRole::Artifact && copy.dump == Format::Directory;
        file.bytes.saturating_mul(if is_archive { 2 } else { 1 })
    });
    bytes.fold(0, u64::saturating_add)
}

/// The report of one that there is no room for.
fn not_tried(request: &RehearsalRequest<'_>, manifest: &Manifest, why: String) -> DrillReport {
    let stem: Option<Stem> = manifest.name.parse().ok();
    let summary = &manifest.census.summary;
    DrillReport {
        stem: stem.unwrap_or_else(|| request.copy.name.stem().clone()),
        outcome: DrillOutcome::Impossible(why),
        phases: Vec::new(),
        took: std::time::Duration::ZERO,
        rows: summary.rows,
        tables: summary.tables,
        bytes: manifest.bytes(),
        recomputed: Vec::new(),
        remarks: Vec::new(),
    }
}
