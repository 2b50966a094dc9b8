//! The only place that knows object stores and SFTP: it moves bytes by key, and nothing that is there is ever
//! overwritten. What the bytes are is for [`copies`](crate::copies) to know.

mod azure;
mod bucket;
mod directory;
mod error;
mod google;
mod judgement;
mod key;
mod open;
mod pauses;
mod probe;
mod s3;
mod sftp;
mod versions;

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};

use crate::policy::protection::Probed;

pub use directory::{DirectoryStore, Mount};
pub use error::{DestinationError, DestinationErrorKind};
pub use key::{InvalidKey, Key};
pub use open::open;
pub use sftp::SftpStore;
pub use versions::{ObjectVersion, Versions};

/// A place where objects lie under keys.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// Puts an object under a key that has none; never replaces one. A lost answer is settled by asking
    /// for what is there: the same length and checksum mean that it was ours.
    ///
    /// # Errors
    /// [`DestinationErrorKind::Exists`] when something else lies under the key; else when the store
    /// cannot be reached, refuses, or took other bytes.
    async fn put_new(&self, key: &Key, body: Bytes) -> Result<Stored, DestinationError>;

    /// Reads an object, or a range of its bytes.
    ///
    /// # Errors
    /// When there is none, the store cannot be reached or refuses, or gives fewer bytes than asked for.
    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Bytes, DestinationError>;

    /// What is known of an object; none where there is no such.
    ///
    /// # Errors
    /// When the store cannot be reached, or refuses.
    async fn head(&self, key: &Key) -> Result<Option<ObjectFacts>, DestinationError>;

    /// The objects whose key begins with this one and a slash, sorted by key.
    ///
    /// # Errors
    /// When the store cannot be reached, or refuses.
    async fn list(&self, under: &Key) -> Result<Vec<Listed>, DestinationError>;

    /// The keys one level below a key, behind which further levels are, sorted: what a directory's folders
    /// are. Each is whole: [`Key::name`] is the folder's own name.
    ///
    /// # Errors
    /// When the store cannot be reached, or refuses.
    async fn folders(&self, under: &Key) -> Result<Vec<Key>, DestinationError>;

    /// Removes objects. What is not there counts as removed.
    ///
    /// # Errors
    /// When the store cannot be reached, or refuses one of them.
    async fn delete(&self, keys: &[Key]) -> Result<(), DestinationError>;

    /// Reads an object of which is known what it has to be. Where several versions lie under the key, a view of
    /// an earlier time gives the one that is it.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    async fn get_expected(
        &self,
        key: &Key,
        expected: Expected<'_>,
    ) -> Result<Bytes, DestinationError> {
        self.get(key, Some(0..expected.bytes)).await
    }

    /// Finds out what can be done there, by objects of a few bytes below a key that nothing else uses. They are
    /// removed again where that is allowed; where it is not, they are the same ones each time.
    ///
    /// # Errors
    /// When the store cannot be reached. What it refuses is what was found out.
    async fn probe(&self, folder: &Key) -> Result<Probed, DestinationError> {
        probe::probe(self, folder).await
    }

    /// The versions of its objects; none where it keeps none.
    fn versions(&self) -> Option<&dyn Versions> {
        None
    }

    /// When the credentials end, where they say so: no request succeeds from then on.
    fn credentials_end(&self) -> Option<DateTime<Utc>> {
        None
    }

    /// The time whose state it shows, by the store's clock; none where that is now.
    fn as_of(&self) -> Option<DateTime<Utc>> {
        None
    }

    /// How far the store's clock is ahead of ours, to some seconds; none where it has no clock of its own.
    ///
    /// # Errors
    /// When the store cannot be reached.
    async fn clock_offset(&self) -> Result<Option<TimeDelta>, DestinationError> {
        Ok(None)
    }

    /// Whether the store refuses a put under a key that is taken; none where that is not known. Where it does
    /// not, nothing is replaced all the same, but for what was put a moment before.
    fn keeps_conditions(&self) -> Option<bool> {
        None
    }
}

/// An object that was put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Whether the store said itself that its checksum is ours, so that it was not only the length that it
    /// compared.
    pub is_checked: bool,
    /// The version, where the store keeps versions.
    pub version: Option<String>,
}

/// What an object has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected<'a> {
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256, in 64 hexadecimal digits.
    pub sha256: &'a str,
    /// The version that the store gave it when it was put, where the store keeps versions.
    pub version: Option<&'a str>,
}

/// What is known of an object without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectFacts {
    /// Its length.
    pub bytes: u64,
    /// The SHA-256 that the store computed, in 64 hexadecimal digits; none where it does not say.
    pub sha256: Option<String>,
    /// When it was put, by the store's clock.
    pub modified: DateTime<Utc>,
    /// The version, where the store keeps versions.
    pub version: Option<String>,
}

/// An object in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its key.
    pub key: Key,
    /// Its length.
    pub bytes: u64,
    /// When it was put, by the store's clock.
    pub modified: DateTime<Utc>,
}
