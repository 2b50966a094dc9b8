//! Pins at a destination: what the operator said of a backup here is put as a signed fact about its copy.
//!
//! A fact has the id and the time of the operator's record, so that it is the same object however often it is put.

use chrono::Utc;
use uuid::Uuid;

use super::local::{Local, PinRecord};
use super::memory::{Memory, Present};
use super::{CopyReport, Link, clock_is_ahead};
use crate::copies::{
    CLOCK_TOLERANCE, COPY_FORMAT, Catalogue, Copy, CopyFact, Document, FactKind, Signer,
};
use crate::destination::{DestinationError, DestinationErrorKind};
use crate::display::command;
use crate::jobs::error::JobError;
use crate::jobs::record::append;
use crate::jobs::run::Run;
use crate::jobs::target::BackupDirectory;
use crate::repository::{CopyFailure, Details, Event, Stem};

/// A pin or unpin that was put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutPin {
    /// The backup.
    pub stem: Stem,
    /// Whether its copy is pinned now.
    pub pinned: bool,
}

/// The putting of what a destination does not know yet.
pub(super) struct Pins<'a> {
    pub(super) run: &'a Run<'a>,
    pub(super) link: &'a Link,
    /// What signs for this host.
    pub(super) signer: &'a Signer,
}

impl Pins<'_> {
    /// Puts every pin and unpin that the destination lacks. A refusal is reported once, and what the operator said
    /// holds here all the same.
    ///
    /// # Errors
    /// When the destination cannot be reached, or the run is to end.
    pub(super) async fn put_all(
        &self,
        (local, there): (&Local<'_>, &mut Catalogue),
        (memory, report): (&mut Memory, &mut CopyReport),
    ) -> Result<(), JobError> {
        for copy in &mut there.copies {
            let Some(present) = memory.there.get_mut(&copy.name.run()) else {
                continue;
            };
            match self.put(local, copy, present).await? {
                Ok(None) => {}
                Ok(Some(pinned)) => {
                    memory.known.pin_refusal = None;
                    let stem = copy.name.stem().clone();
                    report.pins.push(PutPin { stem, pinned });
                }
                Err(error) => {
                    report.warnings.extend(self.refused(&error, memory));
                    break;
                }
            }
        }
        Ok(())
    }

    /// Puts what the destination lacks of a copy, and gives it. The inner error is a refusal.
    async fn put(
        &self,
        local: &Local<'_>,
        copy: &mut Copy,
        present: &mut Present,
    ) -> Result<Result<Option<bool>, DestinationError>, JobError> {
        let Some(pinned) = local.pin(copy.name.run(), present).lacking_there() else {
            return Ok(Ok(None));
        };
        let record = local.on_record(copy.name.stem());
        let record = record.filter(|record| record.is_pin == pinned);
        let recorded = self.fact(copy, pinned, record);
        let id = recorded.id;
        let mut put = self.put_fact(recorded, copy).await?;
        let is_taken = put
            .as_ref()
            .is_err_and(|error| error.kind == DestinationErrorKind::Exists);
        if is_taken && record.is_some_and(|record| record.run == id) {
            // An attempt that was cut short knew of fewer facts: its signature is of other bytes.
            put = self.put_fact(self.fact(copy, pinned, None), copy).await?;
        }
        match put {
            Ok(()) => {
                present.pinned_by_fact = Some(pinned);
                Ok(Ok(Some(pinned)))
            }
            Err(error) if error.kind == DestinationErrorKind::Denied => Ok(Err(error)),
            Err(error) => Err(error.into()),
        }
    }

    /// The fact, by the operator's record where there is one.
    fn fact(&self, copy: &Copy, pinned: bool, record: Option<PinRecord>) -> CopyFact {
        let supersedes = copy.superseded_by_next();
        // One that was superseded counts no longer, and is not put again.
        let record = record.filter(|record| !supersedes.contains(&record.run));
        let place = &self.link.place;
        let now = Utc::now();
        CopyFact {
            format: COPY_FORMAT,
            document: Document::Fact,
            host: place.host.clone(),
            server: place.server.clone(),
            database: place.database.clone(),
            copy: copy.name.clone(),
            fact: if pinned {
                FactKind::Pin
            } else {
                FactKind::Unpin
            },
            id: record.map_or_else(Uuid::now_v7, |record| record.run),
            made: record.map_or(now, |record| record.at.min(now)),
            supersedes,
            recipients: Vec::new(),
            key: None,
        }
    }

    /// Puts a fact, and takes it down as one of the copy's.
    async fn put_fact(
        &self,
        fact: CopyFact,
        copy: &mut Copy,
    ) -> Result<Result<(), DestinationError>, JobError> {
        let Link {
            place, destination, ..
        } = self.link;
        let objects = fact.objects(place, self.signer);
        let [signature, document] =
            objects.map_err(|error| JobError::Internal(error.to_string()))?;
        let (key, bytes) = signature;
        let putting = destination.store.put_new(&key, bytes);
        if let Err(error) = self.run.wait_for(putting).await? {
            return Ok(Err(error));
        }
        // A fact that is dated after the store has it would count for nothing, and be put again by each run.
        let looking = destination.store.head(&key);
        if let Some(found) = self.run.wait_for(looking).await?? {
            let ahead = fact.made - found.modified;
            if ahead > CLOCK_TOLERANCE {
                return Err(clock_is_ahead(destination, ahead));
            }
        }
        let (key, bytes) = document;
        let putting = destination.store.put_new(&key, bytes);
        if let Err(error) = self.run.wait_for(putting).await? {
            return Ok(Err(error));
        }
        copy.is_pinned = fact.fact == FactKind::Pin;
        copy.facts.push((key, fact));
        Ok(Ok(()))
    }

    /// What to report of a refusal: once, since it may be meant.
    fn refused(&self, error: &DestinationError, memory: &mut Memory) -> Option<String> {
        let before = memory.known.pin_refusal.as_ref().map(|one| one.since);
        memory.known.pin_refusal = Some(CopyFailure {
            since: before.unwrap_or_else(Utc::now),
            why: error.to_string(),
        });
        let name = &self.link.destination.name;
        before.is_none().then(|| {
            format!(
                "{name} refuses to take down what is pinned; pins hold for this host's own retention, and this \
                 is not reported again: {error}"
            )
        })
    }
}

/// Pins a copy whose backup is gone here, or takes its pin off. Gives whether that changed anything. It is on
/// record before the destination is asked, so that it holds here from the start.
///
/// # Errors
/// When the backup is here, the ledger cannot be written, or the destination does not take the fact; the next copy
/// run then puts it.
pub(super) async fn pin_copy(
    pins: &Pins<'_>,
    directory: &BackupDirectory,
    (copy, pinned): (&mut Copy, bool),
) -> Result<bool, JobError> {
    let run = pins.run;
    let repository = &directory.repository;
    let catalogue = repository.catalogue()?;
    let local = Local::look(run.context, repository, &catalogue)?;
    let stem = copy.name.stem().clone();
    let mut present = Present::new(copy, false);
    // A backup that is here and not pinned does not speak for its copy: it may have been brought back.
    let here = local.pin(copy.name.run(), &present).here;
    if here.is_some_and(|here| pinned || here) {
        let mut entries = catalogue.backups.iter();
        let here = entries.find(|entry| entry.run == copy.name.run());
        let here = here.map_or_else(|| stem.to_string(), |entry| entry.stem.to_string());
        let verb = if pinned { "pin" } else { "unpin" };
        return Err(JobError::NoSuchBackup(format!(
            "backup {here} is here as well, in {}\n\
             hint: `{}` is for the backup and all its copies",
            repository.directory().display(),
            command(verb, &directory.label, &here)
        )));
    }
    let said = local.on_record(&stem).map(|record| record.is_pin);
    let is_said = said.unwrap_or(copy.is_pinned) == pinned;
    if is_said && copy.is_pinned == pinned {
        return Ok(false);
    }
    if !is_said {
        let details = if pinned {
            Details::Pin((&stem).into())
        } else {
            Details::Unpin((&stem).into())
        };
        let record = run.record_with_requester(Event::Succeeded, &directory.database, details);
        let is_now = if pinned { "pinned" } else { "not pinned" };
        append(
            &repository.ledger(),
            &record,
            &format!("the copy of {stem} is {is_now} as before because"),
        )?;
    }
    let local = Local::look(run.context, repository, &catalogue)?;
    match pins.put(&local, copy, &mut present).await? {
        Ok(_) => Ok(true),
        Err(error) => Err(error.into()),
    }
}
