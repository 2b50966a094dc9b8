//! A destination that is a bucket of a store that speaks S3.

mod account;
mod bucket;
mod probe;
mod settings;
mod versions;
mod xml;

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use chrono::TimeDelta;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::ObjectStore as _;
use object_store::client::HttpResponse;
use object_store::path::Path;
use reqwest::Method;
use sha2::{Digest as _, Sha256};

use self::bucket::{S3Bucket, version_of};
use super::bucket::{
    Bucket, BucketStore, Content, Fault, Taken, facts_of, folders, header, hexadecimal, list,
};
use super::error::DestinationErrorKind;
use super::key::Key;
use super::{Listed, ObjectFacts, Versions};
use crate::config::S3Settings;
use crate::policy::protection::Probed;

/// A store that speaks S3.
pub(super) type S3Store = BucketStore<S3Bucket>;

impl S3Store {
    /// The store of these settings. No request takes longer than `timeout`, and all attempts at it no longer than
    /// twice that. Nothing is asked yet.
    ///
    /// # Errors
    /// In words: a secret or a file with certificates cannot be read, a variable is not set.
    pub(super) fn new(
        settings: &S3Settings,
        timeout: Duration,
        environment: &BTreeMap<String, String>,
    ) -> Result<Self, String> {
        let bucket = S3Bucket::new(settings, timeout, environment)?;
        Ok(Self::of(bucket, timeout))
    }
}

#[async_trait]
impl Bucket for S3Bucket {
    fn digest(body: &[u8]) -> Vec<u8> {
        Sha256::digest(body).to_vec()
    }

    fn url(&self) -> String {
        self.shown_url()
    }

    fn shown(&self, key: &Key) -> String {
        format!("{}/{}", self.shown_url(), self.prefix.in_bucket(key))
    }

    fn ahead(&self) -> Option<TimeDelta> {
        self.courier.ahead()
    }

    async fn look(&self, key: &Key) -> Result<Option<ObjectFacts>, Fault> {
        let headers = [("x-amz-checksum-mode", "ENABLED".to_owned())];
        match self.ask((Method::HEAD, key), &headers, None).await {
            Ok(answer) => with_checksum(&answer).map(Some),
            Err(Fault::Refused(refusal)) if refusal.status == 404 => Ok(None),
            // An answer to HEAD has no words; the same question by GET has.
            Err(Fault::Refused(refusal)) if matches!(refusal.status, 400 | 401 | 403) => {
                let headers = [("range", "bytes=0-0".to_owned())];
                match self.ask((Method::GET, key), &headers, None).await {
                    Err(Fault::Refused(said)) if said.kind() != DestinationErrorKind::Damaged => {
                        Err(Fault::Refused(said))
                    }
                    _ => Err(Fault::Refused(refusal)),
                }
            }
            Err(fault) => Err(fault),
        }
    }

    async fn get(&self, key: &Key, range: Option<&Range<u64>>) -> Result<Bytes, Fault> {
        self.get_of((key, &[]), range).await
    }

    async fn put(&self, key: &Key, content: &Content<'_>, replaces: bool) -> Result<Taken, Fault> {
        let is_new = ("if-none-match", "*".to_owned());
        self.put_if(key, content, (!replaces).then_some(is_new))
            .await
    }

    async fn list(&self, under: &Key) -> Result<Vec<Listed>, Fault> {
        list(&self.library, &self.prefix, under).await
    }

    async fn folders(&self, under: &Key) -> Result<Vec<Key>, Fault> {
        folders(&self.library, &self.prefix, under).await
    }

    async fn delete(&self, keys: &[Key]) -> Result<(), Fault> {
        let paths: Result<Vec<Path>, Fault> =
            keys.iter().map(|key| self.prefix.path(key)).collect();
        let paths = futures::stream::iter(paths?.into_iter().map(Ok)).boxed();
        let removed = self.library.delete_stream(paths);
        let removed: Result<Vec<Path>, _> = removed.try_collect().await;
        match removed {
            Ok(_) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(Fault::of(&error)),
        }
    }

    async fn probe(store: &BucketStore<Self>, folder: &Key) -> Option<Result<Probed, Fault>> {
        Some(store.probe_bucket(folder).await)
    }

    fn versions(store: &BucketStore<Self>) -> Option<&dyn Versions> {
        Some(store)
    }
}

/// What is known of an object, with its SHA-256 where the store says it.
fn with_checksum(answer: &HttpResponse) -> Result<ObjectFacts, Fault> {
    // That of a multipart upload is one of checksums, and ends in the number of parts.
    let sha256 = header(answer, "x-amz-checksum-sha256").and_then(|text| BASE64.decode(text).ok());
    Ok(ObjectFacts {
        sha256: sha256.map(|sha256| hexadecimal(&sha256)),
        version: version_of(answer),
        ..facts_of(answer)?
    })
}
