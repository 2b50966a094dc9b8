//! From the settings of a destination to its store.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Store;
use super::azure::AzureStore;
use super::directory::DirectoryStore;
use super::error::{DestinationError, DestinationErrorKind};
use super::google::GoogleStore;
use super::s3::S3Store;
use super::sftp::SftpStore;
use crate::config::{DestinationAddress, DestinationSettings};

/// The store of a destination. Nothing is asked of it yet; secrets are read now.
///
/// # Errors
/// [`DestinationErrorKind::Settings`] when a secret or another file cannot be read, or a variable
/// is not set.
pub fn open(
    settings: &DestinationSettings,
    environment: &BTreeMap<String, String>,
) -> Result<Arc<dyn Store>, DestinationError> {
    let timeout = settings.timeout;
    let opened: Result<Arc<dyn Store>, String> = match &settings.address {
        DestinationAddress::Directory { path, mounted } => Ok(Arc::new(DirectoryStore::new(
            path.clone(),
            *mounted,
            timeout,
        ))),
        DestinationAddress::S3(s3) => S3Store::new(s3, timeout, environment).map(shared),
        DestinationAddress::Azure(azure) => {
            AzureStore::new(azure, timeout, environment).map(shared)
        }
        DestinationAddress::Google(google) => {
            GoogleStore::new(google, timeout, environment).map(shared)
        }
        DestinationAddress::Sftp(sftp) => {
            SftpStore::new(sftp, (settings.url(), timeout), environment).map(shared)
        }
    };
    opened.map_err(|cause| DestinationError {
        doing: format!("use {}", settings.url()),
        kind: DestinationErrorKind::Settings,
        cause,
    })
}

fn shared(store: impl Store + 'static) -> Arc<dyn Store> {
    Arc::new(store)
}
