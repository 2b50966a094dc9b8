//! Removing old copies of a host that is gone, by rules that the operator gives.
//!
//! Of its copies, this machine knows no more than what lies there. What has no trusted signature is no copy. One that
//! has a signature can still be without its content: whoever holds the store's key can overwrite a volume. So the
//! copies that stay are checked first, those that the floor and the rules count: each volume by the SHA-256 that the
//! store computed, or by reading it where the store computes none. One that fails takes no place.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use futures::{StreamExt as _, TryStreamExt as _};
use uuid::Uuid;

use super::copy::{batches, is_contested, objects};
use super::error::JobError;
use super::fetch::CopySource;
use super::record::append;
use super::run::Run;
use crate::copies::{Catalogue, CopiedVolume, Copy, Object, Place, Sha256Sum, read_catalogue};
use crate::destination::{DestinationError, DestinationErrorKind, Key, Store};
use crate::policy::{
    ClockTrust, CopyCandidate, CopyDecision, Keeping, Rules, decide_copies_by, next_to_check,
};
use crate::repository::{
    CopyDetails, Event, PendingRemoval, Removal, begin_removal, end_removal, pending_removals,
    removals_ledger,
};

/// So many volumes are checked at once.
const AT_ONCE: usize = 4;

/// What is removed of the copies of a host that is gone.
#[derive(Clone, Copy, Debug)]
pub struct HostPruneRequest<'a> {
    /// Where they are, and whose signatures count.
    pub source: &'a CopySource,
    /// Whose copies they are.
    pub place: &'a Place,
    /// What is kept of each series.
    pub rules: &'a Rules,
    /// Whether a clock that looks wrong is believed.
    pub trust: ClockTrust,
}

/// What would be removed, or was.
#[derive(Clone, Debug)]
pub struct HostPrunePlan {
    /// Whose copies they are.
    pub place: Place,
    /// The copies that go, with the reasons; newest first in each series.
    pub going: Vec<(Copy, Vec<String>)>,
    /// How many stay.
    pub staying: u64,
    /// What an operator should know, one sentence each.
    pub warnings: Vec<String>,
    /// When the destination got the newest copy, by its clock.
    pub newest: Option<DateTime<Utc>>,
    /// What is there.
    there: Catalogue,
    /// What is left of removals that were cut short.
    left_over: Vec<PendingRemoval>,
}

impl HostPrunePlan {
    /// Bytes of the copies that go.
    pub fn bytes(&self) -> u64 {
        let going = self.going.iter();
        going.map(|(copy, _)| copy.manifest.manifest.bytes()).sum()
    }

    /// Whether there is nothing to remove.
    pub fn is_empty(&self) -> bool {
        self.going.is_empty() && self.left_over.is_empty()
    }
}

/// Decides what goes, once the copies that stay were checked. Nothing is removed.
///
/// # Errors
/// When the destination cannot be reached, or the run is to end.
pub async fn plan_host_prune(
    run: &Run<'_>,
    request: HostPruneRequest<'_>,
) -> Result<HostPrunePlan, JobError> {
    let HostPruneRequest { source, place, .. } = request;
    let store = &*source.store;
    let reading = read_catalogue(store, place, &source.trusted, None);
    let there = run.wait_for(reading).await??;
    let mut candidates: Vec<CopyCandidate> = there
        .copies
        .iter()
        .map(|copy| candidate(copy, is_contested(place, &there, &copy.name)))
        .collect();
    let all = candidates.iter().map(|one| one.series.clone());
    let rules: BTreeMap<_, _> = all.map(|series| (series, request.rules.clone())).collect();
    let keeping = Keeping {
        rules: Some(&rules),
        floor: run.context.retention.floor,
        now: Utc::now(),
    };
    let mut warnings = Vec::new();
    let mut checked: BTreeSet<Uuid> = BTreeSet::new();
    let decision = loop {
        let decision = decide_copies_by(&candidates, keeping, request.trust);
        let Some(next) = next_to_check(&candidates, &decision, (&checked, keeping.now)) else {
            break decision;
        };
        checked.insert(next);
        let Some(copy) = there.copies.iter().find(|copy| copy.name.run() == next) else {
            continue;
        };
        run.step(&format!("checking {}, which stays", copy.name.stem()));
        if let Some(fault) = run.wait_for(fault_of(store, copy)).await?? {
            warnings.push(format!(
                "{} takes nobody's place: {fault}",
                copy.name.stem()
            ));
            let failed = candidates.iter_mut().filter(|one| one.run == next);
            failed.for_each(|one| one.proved = false);
        }
    };
    warnings.extend(decision.doubts.iter().map(|(series, doubt)| {
        format!(
            "no copy of series {series} goes: {}, so the clock looks wrong\n\
             hint: set it right, or add --trust-clock if it is right",
            doubt.finding()
        )
    }));
    let state = &run.context.state_directory;
    let left_over = pending_removals(state, (&source.label, &place.to_string()))?;
    let going = going(&there, &decision);
    Ok(HostPrunePlan {
        place: place.clone(),
        staying: (there.copies.len() - going.len()) as u64,
        going,
        warnings,
        newest: there.copies.iter().map(|copy| copy.manifest.stored).max(),
        there,
        left_over,
    })
}

/// A copy, taken for one that was read back until it is known that it is not.
fn candidate(copy: &Copy, is_contested: bool) -> CopyCandidate {
    let manifest = &copy.manifest.manifest;
    CopyCandidate {
        run: copy.name.run(),
        backup: copy.name.stem().to_string(),
        series: manifest.series.clone(),
        started: manifest.started.to_utc(),
        // By the host's own wall clock.
        local: manifest.started.naive_local(),
        complete: copy.is_complete(),
        proved: true,
        partial: manifest.is_partial,
        pinned: copy.is_pinned,
        held: is_contested,
    }
}

fn going(there: &Catalogue, decision: &CopyDecision) -> Vec<(Copy, Vec<String>)> {
    let removed = decision.removed.iter();
    removed
        .filter_map(|(run, reasons)| {
            let copy = there.copies.iter().find(|copy| copy.name.run() == *run)?;
            let reasons = reasons.iter().map(ToString::to_string).collect();
            Some((copy.clone(), reasons))
        })
        .collect()
}

/// What is wrong with the volumes of a copy; nothing if each is the one that was signed.
async fn fault_of(store: &dyn Store, copy: &Copy) -> Result<Option<String>, DestinationError> {
    let volumes = copy.manifest.manifest.volumes();
    let faults = futures::stream::iter(volumes)
        .map(|volume| fault_of_volume(store, volume))
        .buffered(AT_ONCE);
    let mut faults = std::pin::pin!(faults);
    while let Some(fault) = faults.try_next().await? {
        if fault.is_some() {
            return Ok(fault);
        }
    }
    Ok(None)
}

async fn fault_of_volume(
    store: &dyn Store,
    volume: &CopiedVolume,
) -> Result<Option<String>, DestinationError> {
    let fault = |what: &str| Ok(Some(format!("its volume {} {what}", volume.key)));
    let Ok(key) = Key::new(&volume.key) else {
        return fault("has an invalid key");
    };
    let Some(found) = store.head(&key).await? else {
        return fault("is missing");
    };
    if found.bytes != volume.bytes {
        return fault("has another length");
    }
    let sum = match found.sha256 {
        Some(sum) => sum.parse().ok(),
        None if found.bytes == 0 => Some(Sha256Sum::of(b"")),
        None => match store.get(&key, None).await {
            Ok(bytes) => Some(Sha256Sum::of(&bytes)),
            Err(error) if error.kind == DestinationErrorKind::Missing => None,
            Err(error) => return Err(error),
        },
    };
    if sum == Some(volume.sha256) {
        Ok(None)
    } else {
        fault("is not the one that was signed")
    }
}

/// Removes what was planned, manifests first, and gives what is gone; each is on record. Then removes what is left of
/// removals that were cut short.
///
/// # Errors
/// When the state directory cannot be written, the destination does not remove something, or the run is to end. What
/// is gone by then is on record, and the next attempt goes on.
pub async fn prune_host(
    run: &Run<'_>,
    source: &CopySource,
    plan: &HostPrunePlan,
) -> Result<Vec<Removal>, JobError> {
    let removing = Removing {
        run,
        source,
        place: &plan.place,
    };
    // Nothing goes that could not be recorded.
    removing.record(Event::Started, Vec::new(), None)?;
    let mut removed = Vec::new();
    let outcome = removing.all(plan, &mut removed).await;
    let message = outcome.as_ref().err().map(ToString::to_string);
    let event = outcome
        .as_ref()
        .err()
        .map_or(Event::Succeeded, JobError::event);
    removing.record(event, removed.clone(), message)?;
    outcome.map(|()| removed)
}

struct Removing<'a> {
    run: &'a Run<'a>,
    source: &'a CopySource,
    place: &'a Place,
}

impl Removing<'_> {
    async fn all(&self, plan: &HostPrunePlan, removed: &mut Vec<Removal>) -> Result<(), JobError> {
        let state = &self.run.context.state_directory;
        for (copy, reasons) in &plan.going {
            let keys = objects(self.place, &plan.there, copy);
            let pending = PendingRemoval {
                destination: self.source.label.clone(),
                place: self.place.to_string(),
                copy: copy.name.to_string(),
                keys: keys.iter().flatten().map(ToString::to_string).collect(),
            };
            begin_removal(state, pending.clone())?;
            self.run.step(&format!("removing {}", copy.name.stem()));
            for (index, batch) in keys.iter().enumerate() {
                self.delete(batch).await?;
                // With the manifests gone, it is a copy no longer.
                if index == 0 {
                    removed.push(Removal {
                        backup: copy.name.stem().to_string(),
                        reasons: reasons.clone(),
                    });
                }
            }
            end_removal(state, &pending)?;
        }
        for pending in &plan.left_over {
            if !self.has_manifest(plan, &pending.copy) {
                for batch in batches(&self.own_keys(pending)) {
                    self.delete(&batch).await?;
                }
                end_removal(state, pending)?;
            }
        }
        Ok(())
    }

    async fn delete(&self, keys: &[Key]) -> Result<(), JobError> {
        let deleting = self.source.store.delete(keys);
        Ok(self.run.wait_for(deleting).await??)
    }

    /// Whether a manifest of any kind was listed under the name of a copy: then what else is there may be its own.
    fn has_manifest(&self, plan: &HostPrunePlan, copy: &str) -> bool {
        let there = &plan.there;
        there.copies.iter().any(|one| one.name.to_string() == copy)
            || there.unexpected.iter().any(|one| {
                self.place.parse(&one.key).is_some_and(|(name, object)| {
                    matches!(object, Object::Manifest { .. }) && name.to_string() == copy
                })
            })
    }

    /// The objects of a copy that was begun to be removed: no others than its own, whatever is in the file.
    fn own_keys(&self, pending: &PendingRemoval) -> Vec<Key> {
        let keys = pending.keys.iter().filter_map(|key| Key::new(key).ok());
        keys.filter(|key| {
            let parsed = self.place.parse(key);
            parsed.is_some_and(|(name, _)| name.to_string() == pending.copy)
        })
        .collect()
    }

    fn record(
        &self,
        event: Event,
        removed: Vec<Removal>,
        message: Option<String>,
    ) -> Result<(), JobError> {
        let ledger = removals_ledger(&self.run.context.state_directory)?;
        let details = CopyDetails {
            destination: Some(self.source.label.clone()),
            removed,
            ..CopyDetails::default()
        };
        let Place {
            host,
            server,
            database,
        } = self.place;
        let of_whom = format!("copies of {server}/{database} of host {host}");
        let mut record = self.run.record_with_requester(event, database, details);
        record.message = Some(match message {
            None => of_whom,
            Some(message) => format!("{of_whom}: {message}"),
        });
        let done = match event {
            Event::Started => "nothing was removed because",
            _ => "old copies were removed, but",
        };
        append(&ledger, &record, done)
    }
}
