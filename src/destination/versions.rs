//! The versions of objects: what a store keeps of those that were replaced or removed.

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::error::DestinationError;
use super::key::Key;

/// A store that can keep versions.
#[async_trait]
pub trait Versions: Send + Sync + fmt::Debug {
    /// Whether it has ever kept any; none where the key may not ask.
    ///
    /// # Errors
    /// When the store cannot be reached.
    async fn are_kept(&self) -> Result<Option<bool>, DestinationError>;

    /// Every version of the objects whose key begins with this one and a slash. Those of one key stand
    /// together, the newest first.
    ///
    /// # Errors
    /// When the store cannot be reached, or refuses.
    async fn versions_below(&self, under: &Key) -> Result<Vec<ObjectVersion>, DestinationError>;

    /// The same of the objects whose key begins with these characters.
    ///
    /// # Errors
    /// When the store cannot be reached, or refuses.
    async fn versions_beginning(&self, start: &Key)
    -> Result<Vec<ObjectVersion>, DestinationError>;

    /// Every version of one object, the newest first.
    ///
    /// # Errors
    /// When the store cannot be reached, or refuses.
    async fn versions_of(&self, key: &Key) -> Result<Vec<ObjectVersion>, DestinationError>;

    /// The keys one level below a key, behind which further levels are or were, sorted.
    ///
    /// # Errors
    /// When the store cannot be reached, or refuses.
    async fn folders_ever(&self, under: &Key) -> Result<Vec<Key>, DestinationError>;

    /// Reads a version of an object, or a range of its bytes.
    ///
    /// # Errors
    /// When there is none, the store cannot be reached or refuses, or gives fewer bytes than asked for.
    async fn get_version(
        &self,
        (key, version): (&Key, &str),
        range: Option<Range<u64>>,
    ) -> Result<Bytes, DestinationError>;
}

/// A version of an object, or the mark that it was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectVersion {
    /// The object's key.
    pub key: Key,
    /// How the store calls the version.
    pub version: String,
    /// When it was put, by the store's clock.
    pub modified: DateTime<Utc>,
    /// Its length; none of a mark that the object was removed.
    pub bytes: Option<u64>,
}
