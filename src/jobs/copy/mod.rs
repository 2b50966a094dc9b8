//! Copies of backups at a destination (P4): what it lacks is sent, read back there, and then listed by a signed
//! manifest, the newest backup first.
//!
//! A copy takes no lock of the database's directory: backups are made meanwhile. What is under way is in a
//! journal (`repository/copy_journal.rs`), by which retention leaves the backup alone and the next run goes on.

mod due;
mod ending;
mod local;
mod memory;
mod objects;
mod one;
mod orphans;
mod pins;
mod prune_own;
mod read_back;
mod recipients;
mod restore_text;
mod retention;
mod seal;
mod source;
mod upload;

use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use super::copy_listing::{Listing, clock_reading, settle_doubts};
use super::copy_proof::damage_unless_known;
use super::error::JobError;
use super::own_host::OwnHost;
use super::pace::Pace;
use super::record::close_dead_runs;
use super::run::Run;
use super::target::BackupDirectory;
use crate::config::{Destination, DestinationSettings, Job, Plan};
use crate::copies::{
    CLOCK_TOLERANCE, Catalogue, Copy, CopyName, ManifestCache, Place, Signer, read_catalogue,
};
use crate::destination::{self, DestinationError, DestinationErrorKind, Store};
use crate::display::{counted, rough_span, size};
use crate::policy::{CopyState, ignores_conditions};
use crate::recipient::Recipient;
use crate::repository::{
    AdoptedSigners, DestinationFile as _, Entry, Event, KnownCopies, KnownStore, Lock, Operation,
    Removal, Stem, lock_destination, manifest_cache,
};
use due::Visit;
use local::Local;
use memory::Memory;
use pins::Pins;
use restore_text::{RESTORE_TEXT_NAME, put_restore_text};
use retention::Retention;

pub(super) use memory::is_contested;
pub(super) use objects::{batches, objects};
pub use pins::PutPin;
pub use prune_own::prune_copies;
pub(super) use seal::fingerprints;

/// What is to be copied, and where to.
#[derive(Clone, Copy, Debug)]
pub struct CopyRequest<'a> {
    /// The backups.
    pub backup_directory: &'a BackupDirectory,
    /// Where copies go.
    pub destination: &'a Destination,
    /// To whom they are encrypted; none for a destination that takes plain copies.
    pub recipients: Option<&'a [Recipient]>,
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
    /// Pins and unpins that were put there.
    pub pins: Vec<PutPin>,
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
    /// Held by whoever copies to it or removes from it: nobody else does meanwhile.
    _lock: Option<Lock>,
}

/// A database's copies at a destination.
struct Link {
    place: Place,
    /// This host there.
    own: OwnHost,
    destination: OpenDestination,
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
    if let Some(recipients) = request.recipients {
        let made = !report.copied.is_empty();
        let noted = memory
            .encrypted
            .take_down((state, destination), recipients, made);
        report.warnings.extend(noted);
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
    let (own, signer) = OwnHost::to_sign(run.context)?;
    let link = connect(run, request, (own, Some(lock)))?;
    let destination = &link.destination;
    let offset = run.wait_for(destination.store.clock_offset()).await??;
    memory.known.clock = clock_reading(offset, Utc::now());
    check_clock(destination, offset)?;
    let now = Utc::now();
    let mut there = look(run, request, &link, report).await?;
    take_in(run, (request, &link), (&there, now), memory).await?;
    let ledger = repository.ledger();
    close_dead_runs(run.context, &ledger, Operation::Copy, NOTHING_COPIED)?;
    let rules = request.destination.retention.rules(&run.context.retention);
    let visit = Visit {
        run,
        request,
        destination: &link.destination,
        signer: &signer,
        place: &link.place,
        rules: rules.as_ref(),
    };
    let local = Local::look(run.context, repository, &repository.catalogue()?)?;
    // They are small, and need not wait for copies.
    let pins = Pins {
        run,
        link: &link,
        signer: &signer,
    };
    let (known, reported) = (&mut *memory, &mut *report);
    pins.put_all((&local, &mut there), (known, reported))
        .await?;
    let copied = visit.copy_all(&local, (memory, report)).await;
    let state = &run.context.state_directory;
    let warning = take_in_conditions(state, (destination, &request.destination.settings));
    report.warnings.extend(warning);
    copied?;
    // Until then there was no directory to list.
    if there == Catalogue::default() && !report.copied.is_empty() {
        let key = link.place.key();
        let listed = run.wait_for(destination.store.list(&key)).await?;
        let warning = unlisted(&destination.name, listed.err());
        report.warnings.extend(warning);
    }
    if !report.failed.is_empty() {
        return Ok(());
    }
    let retention = Retention {
        run,
        backup_directory,
        destination: &link.destination,
        place: &link.place,
        there: &there,
    };
    let local = Local::look(run.context, repository, &repository.catalogue()?)?;
    let keeping = (&local, visit.keeping());
    retention.carry_out(keeping, (memory, report)).await?;
    retention.give_up_what_is_not_due((memory, report)).await
}

/// Takes in what the destination had when a listing of it was begun.
async fn take_in(
    run: &Run<'_>,
    (request, link): (CopyRequest<'_>, &Link),
    (there, at): (&Catalogue, DateTime<Utc>),
    memory: &mut Memory,
) -> Result<(), JobError> {
    let of = numbered(request.destination, link);
    let ledger = request.backup_directory.repository.ledger();
    let listing = Listing {
        url: &request.destination.settings.url(),
        place: &link.place,
        there,
        at,
        damaged: &damage_unless_known(&memory.known, &ledger, &request.destination.name)?,
    };
    let doubts = memory.take_in(&listing, (&of, &link.own.fingerprint()));
    let store = &*link.destination.store;
    let settling = settle_doubts(store, &mut memory.known, (doubts, at));
    Ok(run.wait_for(settling).await?)
}

/// What it takes to do something at a destination in this host's name.
fn connect(
    run: &Run<'_>,
    request: CopyRequest<'_>,
    (own, lock): (OwnHost, Option<Lock>),
) -> Result<Link, JobError> {
    let backup_directory = request.backup_directory;
    let server = backup_directory.server.as_deref().unwrap_or("main");
    let destination = request.destination;
    Ok(Link {
        place: Place::new(&own.name, server, &backup_directory.database)?,
        own,
        destination: OpenDestination {
            name: destination.name.clone(),
            store: destination::open(&destination.settings, &run.context.environment)?,
            pace: Pace::new(destination.rate.map(|rate| rate.as_u64())),
            _lock: lock,
        },
    })
}

/// The copy of this name, of a backup of this database; none if the destination has none.
///
/// # Errors
/// When the destination cannot be used or reached.
pub async fn find_copy(
    run: &Run<'_>,
    request: CopyRequest<'_>,
    name: &str,
) -> Result<Option<Copy>, JobError> {
    let link = connect(run, request, (OwnHost::look(run.context)?, None))?;
    let there = read(run, request, &link).await?.0;
    let mut copies = there.copies.into_iter();
    Ok(copies.find(|copy| copy.is_called(name)))
}

/// Pins a copy of a backup that is gone here, or takes its pin off; gives whether that changed anything. It is on
/// record before the destination has it, so that it holds here from the start.
///
/// # Errors
/// When the backup is here, the ledger cannot be written, or the destination does not take it; the next copy run
/// then puts it.
pub async fn pin_copy(
    run: &Run<'_>,
    request: CopyRequest<'_>,
    (copy, pinned): (&mut Copy, bool),
) -> Result<bool, JobError> {
    let (own, signer) = OwnHost::to_sign(run.context)?;
    let link = connect(run, request, (own, None))?;
    let pins = Pins {
        run,
        link: &link,
        signer: &signer,
    };
    pins::pin_copy(&pins, request.backup_directory, (copy, pinned)).await
}

/// What the numbers of manifests are of: those at another address or by another key are other ones.
fn numbered(destination: &Destination, link: &Link) -> String {
    let address = destination.settings.full_address();
    format!("{address} {} {}", link.place, link.own.fingerprint())
}

/// Completes the sentence that the run could not be recorded.
const NOTHING_COPIED: &str = "nothing was copied because";

/// What the destination has, by this host's own signature, once it is sure that what is put now will count.
async fn look(
    run: &Run<'_>,
    request: CopyRequest<'_>,
    link: &Link,
    report: &mut CopyReport,
) -> Result<Catalogue, JobError> {
    let name = &link.destination.name;
    let store = &*link.destination.store;
    let end = store.credentials_end();
    let ending = end.and_then(|end| ending::warning(name, end, Utc::now()));
    report.warnings.extend(ending);
    let denial = run.wait_for(put_restore_text(store)).await??;
    report.warnings.extend(denial.map(|error| {
        format!("{RESTORE_TEXT_NAME}, by which others can restore, is not at {name}: {error}")
    }));
    let (there, warning) = read(run, request, link).await?;
    report.warnings.extend(warning);
    report.warnings.extend(unexpected(&there, name));
    Ok(there)
}

/// What the destination has by the signatures of this host, and of those that the operator has adopted; with a
/// warning where these are not known.
async fn read(
    run: &Run<'_>,
    request: CopyRequest<'_>,
    link: &Link,
) -> Result<(Catalogue, Option<String>), JobError> {
    let state = &run.context.state_directory;
    let name = &link.destination.name;
    let trusted = link.own.trusted();
    let (trusted, warning) = match AdoptedSigners::read(state, name) {
        Ok(adopted) => (trusted.with_allowed(&adopted.lines()), None),
        Err(error) => (trusted, Some(error.to_string())),
    };
    let directory = request.backup_directory.repository.directory();
    let cache = ManifestCache::new(&manifest_cache(state, name, directory));
    let store = &*link.destination.store;
    let reading = read_catalogue(store, &link.place, &trusted, Some(&cache));
    Ok((run.wait_for(reading).await??, warning))
}

/// What to report of a destination that takes copies and refuses to list them.
fn unlisted(destination: &str, error: Option<DestinationError>) -> Option<String> {
    let error = error.filter(|error| error.kind == DestinationErrorKind::Denied)?;
    Some(format!(
        "the copies at {destination} cannot be found again, and further runs fail: {error}"
    ))
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

/// Takes down whether the store keeps the conditions of puts, where that has shown. What to report of it, once.
fn take_in_conditions(
    state: &Path,
    (destination, settings): (&OpenDestination, &DestinationSettings),
) -> Option<String> {
    let name = &destination.name;
    let before = KnownStore::read(state, name, &settings.full_address());
    let mut known = before.clone();
    let is_news = known.take_in_conditions(destination.store.keeps_conditions(), Utc::now());
    if known != before
        && let Err(error) = known.write(state, name)
    {
        tracing::debug!("what is known of the store of {name} cannot be written: {error}");
    }
    is_news.then(|| ignores_conditions(name))
}

/// Refuses to copy while this host's clock is ahead of the store's: a copy that is dated after the store has it
/// counts for nothing.
fn check_clock(destination: &OpenDestination, offset: Option<TimeDelta>) -> Result<(), JobError> {
    let ahead = offset.map(|offset| -offset);
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
