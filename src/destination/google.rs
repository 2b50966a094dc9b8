//! A destination that is a bucket of Google Cloud Storage, by its XML interface.

mod account;
mod bucket;

use std::collections::BTreeMap;
use std::time::Duration;

use self::bucket::GoogleBucket;
use super::bucket::BucketStore;
use crate::config::GoogleSettings;

/// A store in a bucket of Google's.
pub(super) type GoogleStore = BucketStore<GoogleBucket>;

impl GoogleStore {
    /// The store of these settings. No request takes longer than `timeout`, and all attempts at it no longer than
    /// twice that. Nothing is asked yet.
    ///
    /// # Errors
    /// In words: a secret or a file with certificates cannot be read, a variable is not set.
    pub(super) fn new(
        settings: &GoogleSettings,
        timeout: Duration,
        environment: &BTreeMap<String, String>,
    ) -> Result<Self, String> {
        let bucket = GoogleBucket::new(settings, timeout, environment)?;
        Ok(Self::of(bucket, timeout))
    }
}
