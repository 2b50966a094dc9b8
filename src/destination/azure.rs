//! A destination that is a container of Azure's Blob Storage.

mod account;
mod container;

use std::collections::BTreeMap;
use std::time::Duration;

use self::container::Container;
use super::bucket::BucketStore;
use crate::config::AzureSettings;

/// A store in a container of Azure's.
pub(super) type AzureStore = BucketStore<Container>;

impl AzureStore {
    /// The store of these settings. No request takes longer than `timeout`, and all attempts at it no longer than
    /// twice that. Nothing is asked yet.
    ///
    /// # Errors
    /// In words: a secret or a file with certificates cannot be read, a variable is not set.
    pub(super) fn new(
        settings: &AzureSettings,
        timeout: Duration,
        environment: &BTreeMap<String, String>,
    ) -> Result<Self, String> {
        let container = Container::new(settings, timeout, environment)?;
        Ok(Self::of(container, timeout))
    }
}
