//! A destination as it was at a time: past all that was removed, replaced or put since, by the versions that
//! the store has kept and by the store's own clock.
//!
//! A document is there in the version that was the newest then. A volume is there in its first version, whatever
//! was done to it: no program of ours replaces one, and what it has to be is signed.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt as _;
use tokio::sync::OnceCell;

use super::layout::Place;
use super::object::{CopyName, Object};
use super::sha256::Sha256Sum;
use crate::destination::{
    DestinationError, DestinationErrorKind, Expected, Key, Listed, ObjectFacts, ObjectVersion,
    Store, Stored, Versions,
};
use crate::threads;

/// So many versions of a volume are read in search of the one that was signed.
const MOST_READ: usize = 8;

/// A page of a listing has so many entries at most.
const PAGE: usize = 1000;

/// So many listings are made at once.
const AT_ONCE: usize = 4;

/// Why a bucket cannot be read as it was.
const UNVERSIONED: &str = "\
    the bucket keeps no versions\n\
    hint: leave out --as-of. For the next time, turn versioning on: \
    `aws s3api put-bucket-versioning --bucket BUCKET --versioning-configuration Status=Enabled`";

/// A part of a place that is listed by itself.
enum Part {
    /// What lies below a key.
    Below(Key),
    /// What begins like a key.
    Beginning(Key),
}

/// A destination as it was at a time. It can only be read.
#[derive(Debug)]
pub struct StoreAsOf {
    store: Arc<dyn Store>,
    at: DateTime<Utc>,
    /// The versions that the listings have shown.
    shown: Mutex<BTreeMap<Key, ObjectVersion>>,
    /// Whether the store was found to keep versions.
    keeps_versions: OnceCell<()>,
}

impl StoreAsOf {
    /// The state of a store at a time of its clock.
    pub fn new(store: Arc<dyn Store>, at: DateTime<Utc>) -> Self {
        Self {
            store,
            at,
            shown: Mutex::default(),
            keeps_versions: OnceCell::new(),
        }
    }

    /// The store's versions.
    ///
    /// # Errors
    /// When it keeps none, or cannot be asked.
    async fn versions(&self) -> Result<&dyn Versions, DestinationError> {
        let Some(versions) = self.store.versions() else {
            return Err(self.refused("it keeps no versions that can be read; those of s3:// can\nhint: leave out --as-of"));
        };
        let ask = async || match versions.are_kept().await? {
            Some(false) => Err(self.refused(UNVERSIONED)),
            // A listing shows what there is to see.
            Some(true) | None => Ok(()),
        };
        self.keeps_versions.get_or_try_init(ask).await?;
        Ok(versions)
    }

    fn refused(&self, cause: &str) -> DestinationError {
        DestinationError {
            doing: format!("read the destination as of {}", shown(self.at)),
            kind: DestinationErrorKind::Settings,
            cause: cause.to_owned(),
        }
    }

    fn is_read_only(&self) -> DestinationError {
        DestinationError {
            doing: format!("change the destination as of {}", shown(self.at)),
            kind: DestinationErrorKind::Settings,
            cause: "what lay there at an earlier time can only be read".to_owned(),
        }
    }

    fn remember(&self, version: &ObjectVersion) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.insert(version.key.clone(), version.clone());
    }

    /// The version of an object that was there.
    async fn version(&self, key: &Key) -> Result<Option<ObjectVersion>, DestinationError> {
        let known = {
            let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
            shown.get(key).cloned()
        };
        if known.is_some() {
            return Ok(known);
        }
        let mut versions = self.versions().await?.versions_of(key).await?;
        newest_first(&mut versions);
        Ok(present(&versions, self.at).cloned())
    }

    /// Lists a place once more, each copy by itself, where the listing had several pages: that of `SeaweedFS` 4.48
    /// loses versions of manifests between two pages, since it sorts each page by itself.
    async fn listed_by_copy(
        &self,
        under: &Key,
        listed: Vec<ObjectVersion>,
    ) -> Result<Vec<ObjectVersion>, DestinationError> {
        let Some(place) = Place::of(under) else {
            return Ok(listed);
        };
        let versions = self.versions().await?;
        let (mut found, mut copies) = (Vec::new(), BTreeSet::new());
        for one in listed {
            match place.parse(&one.key) {
                Some((copy, _)) => {
                    copies.insert(copy);
                }
                None => found.push(one),
            }
        }
        let mut parts = Vec::new();
        for copy in copies {
            parts.extend(under.below(&copy.to_string()).map(Part::Below));
            parts.extend(under.below(&format!("{copy}.")).map(Part::Beginning));
        }
        let list = |part| async move {
            match part {
                Part::Below(key) => versions.versions_below(&key).await,
                Part::Beginning(start) => versions.versions_beginning(&start).await,
            }
        };
        let mut listing = futures::stream::iter(parts).map(list).buffered(AT_ONCE);
        while let Some(part) = listing.next().await {
            found.extend(part?);
        }
        Ok(found)
    }

    /// Reads a version, if it is what is expected; none if it is not, or not there.
    async fn matching(
        &self,
        (key, version): (&Key, &str),
        expected: Expected<'_>,
    ) -> Result<Option<Bytes>, DestinationError> {
        let range = Some(0..expected.bytes);
        let versions = self.versions().await?;
        let bytes = match versions.get_version((key, version), range).await {
            Ok(bytes) => bytes,
            Err(error) => match error.kind {
                DestinationErrorKind::Missing
                | DestinationErrorKind::Damaged
                | DestinationErrorKind::Settings => return Ok(None),
                _ => return Err(error),
            },
        };
        let hashed = bytes.clone();
        let sum = threads::io("digest", move || Ok(Sha256Sum::of(&hashed).to_string())).await;
        let sum = sum.map_err(|error| DestinationError {
            doing: format!("read {key}"),
            kind: DestinationErrorKind::Unavailable,
            cause: error.to_string(),
        })?;
        Ok((sum == expected.sha256).then_some(bytes))
    }
}

/// A time as it is shown in messages.
fn shown(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// Sorts the versions of one object. Those of one moment stay as the store lists them, which knows better.
fn newest_first(versions: &mut [ObjectVersion]) {
    versions.sort_by_key(|one| std::cmp::Reverse(one.modified));
}

/// The version that was there at a time, of versions from newest to oldest; none where the object was not there
/// yet, or had been removed.
fn present(versions: &[ObjectVersion], at: DateTime<Utc>) -> Option<&ObjectVersion> {
    let newest = versions.iter().find(|one| one.modified <= at)?;
    newest.bytes.is_some().then_some(newest)
}

/// The first version, if it was put by then, of versions from newest to oldest.
fn first(versions: &[ObjectVersion], at: DateTime<Utc>) -> Option<&ObjectVersion> {
    let with_content = versions.iter().rev().find(|one| one.bytes.is_some())?;
    (with_content.modified <= at).then_some(with_content)
}

/// The objects of a listing as it was at a time.
fn as_it_was(
    under: &Key,
    versions: Vec<ObjectVersion>,
    at: DateTime<Utc>,
) -> BTreeMap<Key, ObjectVersion> {
    let mut by_key: BTreeMap<Key, Vec<ObjectVersion>> = BTreeMap::new();
    for one in versions {
        by_key.entry(one.key.clone()).or_default().push(one);
    }
    let place = Place::of(under);
    let parsed = |key: &Key| place.as_ref()?.parse(key);
    let mut found = BTreeMap::new();
    let mut with_manifest: HashSet<CopyName> = HashSet::new();
    for (key, versions) in &mut by_key {
        newest_first(versions);
        if let Some(version) = present(versions, at) {
            if let Some((copy, Object::Manifest { .. })) = parsed(key) {
                with_manifest.insert(copy);
            }
            found.insert(key.clone(), version.clone());
        }
    }
    // Those of a copy whose manifests had been removed are left out: it was no copy any more.
    for (key, versions) in &by_key {
        if let Some((copy, Object::Volume(_))) = parsed(key)
            && with_manifest.contains(&copy)
            && let Some(version) = first(versions, at)
        {
            found.insert(key.clone(), version.clone());
        }
    }
    found
}

#[async_trait]
impl Store for StoreAsOf {
    async fn put_new(&self, _: &Key, _: Bytes) -> Result<Stored, DestinationError> {
        Err(self.is_read_only())
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Bytes, DestinationError> {
        let Some(version) = self.version(key).await? else {
            return Err(DestinationError {
                doing: format!("read {key} as of {}", shown(self.at)),
                kind: DestinationErrorKind::Missing,
                cause: "it was not there".to_owned(),
            });
        };
        let versions = self.versions().await?;
        versions.get_version((key, &version.version), range).await
    }

    async fn head(&self, key: &Key) -> Result<Option<ObjectFacts>, DestinationError> {
        let version = self.version(key).await?;
        Ok(version.and_then(|version| {
            Some(ObjectFacts {
                bytes: version.bytes?,
                sha256: None,
                modified: version.modified,
                version: Some(version.version),
            })
        }))
    }

    async fn list(&self, under: &Key) -> Result<Vec<Listed>, DestinationError> {
        let mut versions = self.versions().await?.versions_below(under).await?;
        if versions.len() >= PAGE {
            versions = self.listed_by_copy(under, versions).await?;
        }
        let found = as_it_was(under, versions, self.at);
        let listed = found.into_values().filter_map(|version| {
            self.remember(&version);
            Some(Listed {
                bytes: version.bytes?,
                key: version.key,
                modified: version.modified,
            })
        });
        Ok(listed.collect())
    }

    async fn folders(&self, under: &Key) -> Result<Vec<Key>, DestinationError> {
        // What has nothing from that time in it is empty when it is listed.
        self.versions().await?.folders_ever(under).await
    }

    async fn delete(&self, _: &[Key]) -> Result<(), DestinationError> {
        Err(self.is_read_only())
    }

    async fn get_expected(
        &self,
        key: &Key,
        expected: Expected<'_>,
    ) -> Result<Bytes, DestinationError> {
        if let Some(version) = expected.version
            && let Some(bytes) = self.matching((key, version), expected).await?
        {
            return Ok(bytes);
        }
        let mut versions = self.versions().await?.versions_of(key).await?;
        newest_first(&mut versions);
        // The oldest first: only before it was there could nobody know its name.
        let candidates = versions.iter().rev().filter(|one| {
            one.bytes == Some(expected.bytes) && Some(&*one.version) != expected.version
        });
        for one in candidates.take(MOST_READ) {
            if let Some(bytes) = self.matching((key, &one.version), expected).await? {
                return Ok(bytes);
            }
        }
        Err(DestinationError {
            doing: format!("read {key} as of {}", shown(self.at)),
            kind: DestinationErrorKind::Damaged,
            cause: "the store has kept no version of it that is what was signed".to_owned(),
        })
    }

    async fn clock_offset(&self) -> Result<Option<TimeDelta>, DestinationError> {
        self.store.clock_offset().await
    }

    fn as_of(&self) -> Option<DateTime<Utc>> {
        Some(self.at)
    }
}

#[cfg(test)]
mod tests;
