//! Copies of backups at a destination (P4): what it lacks is sent, read back there, and then listed by a signed
//! manifest, the newest backup first.
//!
//! A copy takes no lock of the database's directory: backups are made meanwhile. What is under way is in a
//! journal (`repository/copy_journal.rs`), by which retention leaves the backup alone and the next run goes on.

mod due;
mod local;
mod memory;
mod one;
mod pace;
mod read_back;
mod retention;
mod seal;
mod source;
mod upload;

use std::path::Path;
use std::sync::Arc;

use chrono::{TimeDelta, Utc};

use super::error::JobError;
use super::record::close_dead_runs;
use super::run::Run;
use super::target::BackupDirectory;
use crate::config::{Destination, Job, Plan};
use crate::copies::{
    CLOCK_TOLERANCE, Catalogue, CopyName, ManifestCache, Place, RESTORE_TEXT, Signer,
    TrustedSigners, layout, read_catalogue,
};
use crate::destination::{self, DestinationErrorKind, Store};
use crate::display::{counted, rough_span, size};
use crate::policy::CopyState;
use crate::recipient::Recipient;
use crate::repository::{
    Entry, Event, KnownCopies, Lock, Operation, Removal, Stem, host_name, lock_destination,
    manifest_cache,
};
use due::Visit;
use local::Local;
use memory::Memory;
use pace::Pace;
use retention::Retention;

/// What is to be copied, and where to.
#[derive(Clone, Copy, Debug)]
pub struct CopyRequest<'a> {
    /// The backups.
    pub backup_directory: &'a BackupDirectory,
    /// Where copies go.
    pub destination: &'a Destination,
    /// To whom they are encrypted; none for a destination that takes plain copies.
    pub recipients: Option<&'a [Recipient]>,
    /// This host's name, where one is configured.
    pub host: Option<&'a str>,
    /// By which it is known when the next backup of a series is due.
    pub jobs: &'a [Job],
}

impl<'a> CopyRequest<'a> {
    /// By the plan, to the destination of this name.
    ///
    /// # Errors
    /// When the plan has no such destination, or nobody to encrypt for.
    pub fn new(
        plan: &'a Plan,
        backup_directory: &'a BackupDirectory,
        destination: &str,
    ) -> Result<Self, JobError> {
        let mut destinations = plan.destinations.iter();
        let Some(destination) = destinations.find(|one| one.name == destination) else {
            let message = format!("no destination {destination:?} is configured");
            return Err(JobError::failed(message));
        };
        // The configuration is refused before; nothing is ever sent in the clear by mistake.
        if !destination.plain && plan.recipients.is_empty() {
            return Err(JobError::failed(format!(
                "nothing is copied to {}: copies there are encrypted, and there is no recipient",
                destination.name
            )));
        }
        Ok(Self {
            backup_directory,
            destination,
            recipients: (!destination.plain).then_some(&*plan.recipients),
            host: plan.name.as_deref(),
            jobs: &plan.jobs,
        })
    }
}

/// What became of the copies of a database's backups.
#[derive(Debug, Default)]
pub struct CopyReport {
    /// The destination.
    pub destination: String,
    /// Those that were made.
    pub copied: Vec<Copied>,
    /// Backups that could not be copied although the destination takes copies, with the reasons.
    pub failed: Vec<(Stem, String)>,
    /// Copies that retention removed there, by their backups.
    pub removed: Vec<Removal>,
    /// What the operator should know, one sentence each.
    pub warnings: Vec<String>,
}

/// A copy that was made.
#[derive(Clone, Debug)]
pub struct Copied {
    /// The backup.
    pub stem: Stem,
    /// Bytes of all its volumes.
    pub bytes: u64,
    /// How far it is proved.
    pub state: CopyState,
}

impl CopyReport {
    /// Bytes of the copies that were made.
    pub fn bytes(&self) -> u64 {
        self.copied.iter().map(|copied| copied.bytes).sum()
    }

    /// What was done, in a sentence without its end.
    pub fn sentence(&self) -> String {
        match &*self.copied {
            [] => format!("{} has all copies", self.destination),
            [one] => format!(
                "{} is at {} and was {} there, {}",
                one.stem,
                self.destination,
                one.state.word(),
                size(one.bytes)
            ),
            many => format!(
                "{} are at {}, {}",
                counted(many.len() as u64, "copy", "copies"),
                self.destination,
                size(self.bytes())
            ),
        }
    }

    /// What failed, if anything did.
    pub fn failure(&self) -> Option<String> {
        let failed = self.failed.iter();
        let failed: Vec<String> = failed
            .map(|(stem, why)| format!("{stem} was not copied: {why}"))
            .collect();
        (!failed.is_empty()).then(|| failed.join("; "))
    }
}

/// A destination that can be asked.
struct OpenDestination {
    /// Its name in the configuration.
    name: String,
    store: Arc<dyn Store>,
    pace: Pace,
    /// Nobody else copies to it meanwhile.
    _lock: Lock,
}

/// The copying of one backup.
struct Copying<'a> {
    run: Run<'a>,
    request: CopyRequest<'a>,
    destination: &'a OpenDestination,
    signer: &'a Signer,
    place: &'a Place,
    copy: CopyName,
    entry: &'a Entry,
}

/// Copies those backups of a database that a destination lacks, the newest first, until it lacks none. If no copy
/// failed, those that the rules no longer keep are removed then.
///
/// # Errors
/// When the destination cannot be used or reached, or the run is to end. What was sent by then is not sent
/// again.
pub async fn copy(run: &Run<'_>, request: CopyRequest<'_>) -> Result<CopyReport, JobError> {
    let state = &run.context.state_directory;
    let directory = request.backup_directory.repository.directory();
    let destination = &request.destination.name;
    let holder = run.context.holder("copy");
    let lock = lock_destination(state, destination, &holder)?;
    let mut memory = Memory::new(KnownCopies::read(state, destination, directory));
    let mut report = CopyReport {
        destination: destination.clone(),
        ..CopyReport::default()
    };
    let outcome = copy_what_is_due(run, request, lock, (&mut memory, &mut report)).await;
    let now = Utc::now();
    match &outcome {
        Ok(()) if report.failed.is_empty() => memory.known.failure = None,
        Ok(()) => memory.fail(now, report.failure().unwrap_or_default()),
        Err(error) if error.event() == Event::Interrupted => {}
        Err(error) => memory.fail(now, error.to_string()),
    }
    if let Err(error) = memory.known.write(state, destination) {
        report.warnings.push(format!(
            "what is known of the copies at {destination} could not be written to {}: {error}",
            state.display()
        ));
    }
    outcome.map(|()| report)
}

async fn copy_what_is_due(
    run: &Run<'_>,
    request: CopyRequest<'_>,
    lock: Lock,
    (memory, report): (&mut Memory, &mut CopyReport),
) -> Result<(), JobError> {
    let backup_directory = request.backup_directory;
    let repository = &backup_directory.repository;
    let server = backup_directory.server.as_deref().unwrap_or("main");
    let state = &run.context.state_directory;
    let host = match request.host {
        Some(host) => host.to_owned(),
        None => host_name(state)?,
    };
    let place = Place::new(&host, server, &backup_directory.database)?;
    let signer = state.join(SIGNER);
    let signer = Signer::open_or_create(&signer).map_err(|source| JobError::Signer {
        path: signer.clone(),
        source,
    })?;
    let destination = OpenDestination {
        name: request.destination.name.clone(),
        store: destination::open(&request.destination.settings, &run.context.environment)?,
        pace: Pace::new(request.destination.rate.map(|rate| rate.as_u64())),
        _lock: lock,
    };
    let cache = manifest_cache(state, &destination.name, repository.directory());
    let looking = look(&destination, &place, &signer, &cache);
    let there = run.wait_for(looking).await??;
    report
        .warnings
        .extend(unexpected(&there, &destination.name));
    memory.take_in((&place, &there), Utc::now());
    let ledger = repository.ledger();
    close_dead_runs(run.context, &ledger, Operation::Copy, NOTHING_COPIED)?;
    let rules = request.destination.retention.rules(&run.context.retention);
    let visit = Visit {
        run,
        request,
        destination: &destination,
        signer: &signer,
        place: &place,
        rules: rules.as_ref(),
    };
    visit.copy_all((memory, report)).await?;
    if !report.failed.is_empty() {
        return Ok(());
    }
    let retention = Retention {
        run,
        backup_directory,
        destination: &destination,
        place: &place,
        there: &there,
    };
    let local = Local::look(run.context, repository, &repository.catalogue()?)?;
    let keeping = (&local, visit.keeping());
    retention.carry_out(keeping, (memory, report)).await?;
    retention.give_up_what_is_not_due((memory, report)).await
}

/// The file of this host's signing key, in the state directory.
pub const SIGNER: &str = "signer";

/// Completes the sentence that the run could not be recorded.
const NOTHING_COPIED: &str = "nothing was copied because";

/// What the destination has, by this host's own signature, once it is sure that what is put now will count.
async fn look(
    destination: &OpenDestination,
    place: &Place,
    signer: &Signer,
    cache: &Path,
) -> Result<Catalogue, JobError> {
    let store = &*destination.store;
    check_clock(destination).await?;
    let text = layout::restore_text();
    if store.head(&text).await?.is_none() {
        match store.put_new(&text, RESTORE_TEXT.into()).await {
            // Another host was faster.
            Err(error) if error.kind == DestinationErrorKind::Exists => {}
            put => drop(put?),
        }
    }
    let trusted = TrustedSigners::default().with_own(&place.host, signer);
    let cache = ManifestCache::new(cache);
    Ok(read_catalogue(store, place, &trusted, Some(&cache)).await?)
}

/// What lies under this host's name and counts for nothing: somebody else put it, or the key that signs was
/// lost.
fn unexpected(there: &Catalogue, destination: &str) -> Option<String> {
    let first = there.unexpected.first()?;
    let count = there.unexpected.len() as u64;
    let objects = counted(count, "object", "objects");
    Some(format!(
        "{objects} at {destination} under this host's name {} for nothing: {}: {}",
        if count == 1 { "counts" } else { "count" },
        first.key,
        first.reason
    ))
}

/// Refuses to copy while this host's clock is ahead of the store's: a copy that is dated after the store has it
/// counts for nothing.
async fn check_clock(destination: &OpenDestination) -> Result<(), JobError> {
    let ahead = destination
        .store
        .clock_offset()
        .await?
        .map(|offset| -offset);
    match ahead.filter(|ahead| *ahead > CLOCK_TOLERANCE) {
        None => Ok(()),
        Some(ahead) => Err(clock_is_ahead(destination, ahead)),
    }
}

fn clock_is_ahead(destination: &OpenDestination, ahead: TimeDelta) -> JobError {
    JobError::Failed {
        message: format!(
            "a copy at {} would not count: this machine's clock is {} ahead of the store's\n\
             hint: set the clock; `timedatectl` shows whether it is synchronised",
            destination.name,
            rough_span(ahead.to_std().unwrap_or_default())
        ),
        detail: None,
        may_pass: true,
    }
}
