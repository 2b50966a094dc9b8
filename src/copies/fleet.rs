//! What a host has put at a destination last: its state, and the newest copy of each series. Few documents are
//! read, however many there are: the newest ones, until one counts.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use super::catalogue::{CLOCK_TOLERANCE, Copy, Wanted, assemble, wanted};
use super::host_status::{HostStatus, LONGEST_STATUS};
use super::layout::{self, Place};
use super::object::Object;
use super::reading::{Reader, get};
use super::signature::LONGEST_SIGNATURE;
use super::trust::{TrustedSignature, TrustedSigners, Untrusted};
use crate::destination::{DestinationError, Key, Listed, Store};
use crate::policy::Series;

/// So many documents that do not count are passed over before one that does: whoever can put there cannot make
/// a reader read without end.
const PASSED_OVER: usize = 10;

/// A state is put again after a lost answer. More than that between its own time and the store's is a wrong
/// clock, or an old state that somebody has put again.
const PUT_WITHIN: TimeDelta = TimeDelta::minutes(30);

/// What lies at a destination of the state of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostStatusThere {
    /// The newest that counts.
    pub newest: Option<HeardStatus>,
    /// Why the newest of all does not count, if it does not.
    pub refused: Option<RefusedStatus>,
}

/// A state that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeardStatus {
    /// What it says.
    pub status: HostStatus,
    /// When the store got it.
    pub stored: DateTime<Utc>,
    /// Who signed it.
    pub signature: TrustedSignature,
}

/// A state that does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedStatus {
    /// When the store got it.
    pub stored: DateTime<Utc>,
    /// Why it does not count.
    pub reason: String,
    /// Whose signature it has, if that is a valid one that nobody trusts.
    pub unknown_signer: Option<String>,
}

/// The newest copy of a series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewestThere {
    /// The copy; none where none of the newest ones counts.
    pub copy: Option<Copy>,
    /// Why the newest of all does not count, if it does not.
    pub refused: Option<String>,
}

/// Reads the newest state of a host that counts.
///
/// # Errors
/// When the store cannot be reached, or refuses.
pub async fn read_host_status(
    store: &dyn Store,
    host: &str,
    trusted: &TrustedSigners,
) -> Result<HostStatusThere, DestinationError> {
    let Ok(folder) = layout::status(host) else {
        return Ok(HostStatusThere::default());
    };
    let listing = store.list(&folder).await?;
    let mut there = HostStatusThere::default();
    for (document, signature) in newest_first(&listing).into_iter().take(PASSED_OVER) {
        match read_status(store, (host, trusted), (document, signature)).await? {
            Ok(heard) => {
                there.newest = Some(heard);
                break;
            }
            Err(refused) => {
                there.refused.get_or_insert(refused);
            }
        }
    }
    Ok(there)
}

/// The states in a listing, with their signatures, by the time in their keys, the newest first.
fn newest_first(listing: &[Listed]) -> Vec<(&Listed, Option<&Listed>)> {
    let by_key: BTreeMap<&Key, &Listed> = listing.iter().map(|one| (&one.key, one)).collect();
    let states = listing.iter().rev();
    let states = states.filter(|one| layout::status_time(&one.key).is_some());
    states
        .map(|one| {
            let signature = layout::status_signature(&one.key);
            (one, signature.and_then(|key| by_key.get(&key).copied()))
        })
        .collect()
}

/// Reads a state and verifies it. Only what the store does not answer is an error.
async fn read_status(
    store: &dyn Store,
    (host, trusted): (&str, &TrustedSigners),
    (document, signature): (&Listed, Option<&Listed>),
) -> Result<Result<HeardStatus, RefusedStatus>, DestinationError> {
    let refused = |reason: String, unknown_signer| {
        Ok(Err(RefusedStatus {
            stored: document.modified,
            reason,
            unknown_signer,
        }))
    };
    let Some(signature) = signature else {
        return refused("it has no signature".to_owned(), None);
    };
    if document.bytes > LONGEST_STATUS || signature.bytes > LONGEST_SIGNATURE {
        return refused(format!("it has {} bytes: too many", document.bytes), None);
    }
    let signature = match get(store, signature).await? {
        Ok(signature) => signature,
        Err(reason) => return refused(format!("its signature cannot be read: {reason}"), None),
    };
    let bytes = match get(store, document).await? {
        Ok(bytes) => bytes,
        Err(reason) => return refused(reason, None),
    };
    match verify_status((host, trusted), document, (&bytes, &signature)) {
        Ok(heard) => Ok(Ok(heard)),
        Err((reason, unknown_signer)) => refused(reason, unknown_signer),
    }
}

/// Verifies a state: first its signature, then its names, then its date.
///
/// # Errors
/// The reason why it does not count, and whose signature it has if that is all that is wrong.
fn verify_status(
    (host, trusted): (&str, &TrustedSigners),
    listed: &Listed,
    (document, signature): (&[u8], &[u8]),
) -> Result<HeardStatus, (String, Option<String>)> {
    let Listed { key, modified, .. } = listed;
    let signature = trusted
        .verify(host, document, (signature, *modified))
        .map_err(|reason| {
            let unknown = match &reason {
                Untrusted::Unknown(fingerprint) => Some(fingerprint.clone()),
                _ => None,
            };
            (reason.to_string(), unknown)
        })?;
    let refuse = |reason: String| Err((reason, None));
    let status = match HostStatus::read(document, key) {
        Ok(status) => status,
        Err(reason) => return refuse(reason.to_string()),
    };
    if status.signer != signature.fingerprint {
        return refuse(format!(
            "it names the signer {:?}, and is signed by {}",
            status.signer, signature.fingerprint
        ));
    }
    let late = *modified - status.made;
    if late < -CLOCK_TOLERANCE || late > PUT_WITHIN {
        return refuse(format!(
            "it is dated {}, and the store got it at {}: the host's clock is wrong, or somebody has put an old one \
             again",
            status.made.format("%Y-%m-%d %H:%M UTC"),
            modified.format("%Y-%m-%d %H:%M UTC")
        ));
    }
    Ok(HeardStatus {
        status,
        stored: *modified,
        signature,
    })
}

/// Reads the newest copy of each series that a place has.
///
/// # Errors
/// When the store cannot be reached, or refuses.
pub async fn read_newest_copies(
    store: &dyn Store,
    place: &Place,
    trusted: &TrustedSigners,
) -> Result<BTreeMap<Series, NewestThere>, DestinationError> {
    let listing = store.list(&place.key()).await?;
    let (documents, _) = wanted(place, &listing);
    let mut by_series: BTreeMap<Series, Vec<Wanted>> = BTreeMap::new();
    for document in documents {
        if matches!(document.object, Object::Manifest { .. }) {
            let series = document.copy.stem().series.clone();
            by_series.entry(series).or_default().push(document);
        }
    }
    let reader = Reader {
        store,
        place,
        trusted,
        cache: None,
    };
    let mut all = BTreeMap::new();
    for (series, mut manifests) in by_series {
        // By the time in the name, and of one backup the manifest that was put last.
        manifests.sort_by_key(|one| {
            let stem = one.copy.stem();
            std::cmp::Reverse((stem.local, one.document.modified))
        });
        let mut newest = NewestThere {
            copy: None,
            refused: None,
        };
        for wanted in manifests.into_iter().take(PASSED_OVER) {
            match reader.read(wanted).await? {
                (_, Err(refusal)) => {
                    newest.refused.get_or_insert(refusal.reason);
                }
                document => {
                    newest.copy = assemble(place, &listing, vec![document]).copies.pop();
                    break;
                }
            }
        }
        all.insert(series, newest);
    }
    Ok(all)
}

/// Removes the states of a host that its own key has signed and the store got before a time, the oldest first, and
/// so many at most. The newest stays. Gives how many were removed.
///
/// # Errors
/// When the store cannot be reached, or refuses.
pub async fn remove_old_statuses(
    store: &dyn Store,
    (host, own): (&str, &TrustedSigners),
    (before, most): (DateTime<Utc>, usize),
) -> Result<usize, DestinationError> {
    let Ok(folder) = layout::status(host) else {
        return Ok(0);
    };
    let listing = store.list(&folder).await?;
    let mut old: Vec<(&Listed, &Listed)> = newest_first(&listing)
        .into_iter()
        .skip(1)
        .filter(|(document, _)| document.modified < before)
        .filter_map(|(document, signature)| Some((document, signature?)))
        .collect();
    old.reverse();
    let mut removed = 0;
    for (document, signature) in old.into_iter().take(most) {
        // One that another key has signed, or whose date is wrong, is not this host's to remove.
        if read_status(store, (host, own), (document, Some(signature)))
            .await?
            .is_err()
        {
            continue;
        }
        let keys = [document.key.clone(), signature.key.clone()];
        store.delete(&keys).await?;
        removed += 1;
    }
    Ok(removed)
}

#[cfg(test)]
mod tests;
