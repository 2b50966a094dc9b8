//! Reads what lies at a destination: the hosts, their databases, and the copies of one. All decisions are the
//! catalogue's; here are the requests.

use bytes::Bytes;
use futures::StreamExt as _;

use super::cache::ManifestCache;
use super::catalogue::{Catalogue, Refusal, Verified, Wanted, assemble, verify, wanted};
use super::layout::{self, Place};
use super::trust::TrustedSigners;
use crate::destination::{DestinationError, DestinationErrorKind, Listed, Store};

/// So many documents are read at once.
const AT_ONCE: usize = 4;

/// The hosts that have something at a destination, by name. What no host can be called is left out.
///
/// # Errors
/// When the store cannot be reached, or refuses.
pub async fn hosts(store: &dyn Store) -> Result<Vec<String>, DestinationError> {
    let folders = store.folders(&layout::root()).await?;
    let mut hosts: Vec<String> = folders.iter().filter_map(layout::host_of).collect();
    hosts.sort();
    Ok(hosts)
}

/// The databases of which a host has something at a destination, by server and name.
///
/// # Errors
/// When the store cannot be reached, or refuses.
pub async fn places(store: &dyn Store, host: &str) -> Result<Vec<Place>, DestinationError> {
    // A host whose name makes no key has nothing there.
    let Ok(host) = layout::host(host) else {
        return Ok(Vec::new());
    };
    let mut places = Vec::new();
    for server in store.folders(&host).await? {
        let folders = store.folders(&server).await?;
        places.extend(folders.iter().filter_map(Place::of));
    }
    places.sort();
    Ok(places)
}

/// Reads the catalogue of a place: lists it, and reads and verifies the manifests and facts that are not in
/// the cache.
///
/// # Errors
/// When the store cannot be reached, or refuses. What is merely wrong at the place is in the catalogue.
pub async fn read_catalogue(
    store: &dyn Store,
    place: &Place,
    trusted: &TrustedSigners,
    cache: Option<&ManifestCache>,
) -> Result<Catalogue, DestinationError> {
    let listing = store.list(&place.key()).await?;
    let (all, _) = wanted(place, &listing);
    if let Some(Err(error)) = cache.map(|cache| cache.keep_only(&all)) {
        tracing::debug!("cannot tidy the cache of manifests: {error}");
    }
    let reader = Reader {
        store,
        place,
        trusted,
        cache,
    };
    let mut reading = futures::stream::iter(all)
        .map(|wanted| reader.read(wanted))
        .buffered(AT_ONCE);
    let mut documents = Vec::new();
    while let Some(document) = reading.next().await {
        documents.push(document?);
    }
    Ok(assemble(place, &listing, documents))
}

/// What reading one document needs.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) store: &'a dyn Store,
    pub(super) place: &'a Place,
    pub(super) trusted: &'a TrustedSigners,
    pub(super) cache: Option<&'a ManifestCache>,
}

impl Reader<'_> {
    /// Reads a document and verifies it. Only what the store does not answer is an error.
    pub(super) async fn read(
        self,
        wanted: Wanted,
    ) -> Result<(Wanted, Result<Verified, Refusal>), DestinationError> {
        if let Some((document, signature)) = self.cache.and_then(|cache| cache.get(&wanted)) {
            let pair = (&document[..], &signature[..]);
            if let Ok(verified) = verify(self.place, self.trusted, &wanted, pair) {
                return Ok((wanted, Ok(verified)));
            }
        }
        let signature = match get(self.store, &wanted.signature).await? {
            Ok(signature) => signature,
            Err(reason) => {
                let reason = format!("its signature cannot be read: {reason}");
                return Ok((wanted, Err(reason.into())));
            }
        };
        let document = match get(self.store, &wanted.document).await? {
            Ok(document) => document,
            Err(reason) => return Ok((wanted, Err(reason.into()))),
        };
        let pair = (&document[..], &signature[..]);
        let verified = verify(self.place, self.trusted, &wanted, pair);
        if let (Ok(_), Some(cache)) = (&verified, self.cache)
            && let Err(error) = cache.put(&wanted, pair)
        {
            tracing::debug!("cannot keep a manifest in the cache: {error}");
        }
        Ok((wanted, verified))
    }
}

/// The bytes of an object, as many as the listing has; the reason where it is not as listed.
///
/// # Errors
/// When the store cannot be reached, or refuses.
pub(super) async fn get(
    store: &dyn Store,
    listed: &Listed,
) -> Result<Result<Bytes, String>, DestinationError> {
    // No range has no bytes.
    if listed.bytes == 0 {
        return Ok(Err("it is empty".to_owned()));
    }
    match store.get(&listed.key, Some(0..listed.bytes)).await {
        Ok(bytes) if bytes.len() as u64 == listed.bytes => Ok(Ok(bytes)),
        Ok(bytes) => Ok(Err(format!(
            "the store gave {} bytes of {}",
            bytes.len(),
            listed.bytes
        ))),
        Err(error) => match error.kind {
            DestinationErrorKind::Missing => Ok(Err("it is gone since it was listed".to_owned())),
            DestinationErrorKind::Damaged => Ok(Err(error.to_string())),
            _ => Err(error),
        },
    }
}

#[cfg(test)]
mod tests;
