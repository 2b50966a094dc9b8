//! A bucket, one request at a time: what is sent, and what is read from the answer.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use chrono::TimeDelta;
use md5::{Digest as _, Md5};
use object_store::client::HttpResponse;
use object_store::gcp::GoogleCloudStorage;
use reqwest::Method;

use super::account;
use crate::config::GoogleSettings;
use crate::destination::bucket::{
    Bucket, Content, Courier, Dialect, Fault, Headers, Prefix, Taken, all_removed, facts_of,
    folders, list, object_in, range_header, request,
};
use crate::destination::key::Key;
use crate::destination::{Listed, ObjectFacts};
use crate::policy::protection::ProbedPlace;

/// A bucket of Google Cloud Storage.
pub(in crate::destination) struct GoogleBucket {
    settings: GoogleSettings,
    url: String,
    prefix: Prefix,
    library: GoogleCloudStorage,
    courier: Courier,
}

impl GoogleBucket {
    /// The bucket of these settings.
    ///
    /// # Errors
    /// In words: a secret or a file with certificates cannot be read, a variable is not set.
    pub(super) fn new(
        settings: &GoogleSettings,
        timeout: Duration,
        environment: &BTreeMap<String, String>,
    ) -> Result<Self, String> {
        let endpoint = account::endpoint(settings);
        let way = (settings.ca_file.as_deref(), settings.proxy.as_deref());
        let courier = Courier::new((Dialect::Google, endpoint), way, timeout)?;
        Ok(Self {
            library: account::store(settings, &courier, environment)?,
            url: format!("{endpoint}/{}", settings.bucket),
            prefix: Prefix(settings.prefix.clone()),
            settings: settings.clone(),
            courier,
        })
    }

    /// Sends a request to an object, with the token of who asks.
    async fn ask(
        &self,
        (method, key): (Method, &Key),
        headers: Headers<'_>,
        body: Option<&Bytes>,
    ) -> Result<HttpResponse, Fault> {
        let address = format!("{}/{}", self.url, self.prefix.in_bucket(key));
        let credential = self.library.credentials().get_credential().await;
        let credential = credential.map_err(|error| Fault::of(&error))?;
        let mut all = headers.to_vec();
        all.push(("authorization", format!("Bearer {}", credential.bearer)));
        let request = request((method, &address), &all, body)?;
        self.courier.carry(request).await
    }
}

#[async_trait]
impl Bucket for GoogleBucket {
    /// Google compares MD5 or CRC32C; nothing rests on it but that the bytes arrived as they were sent.
    fn digest(body: &[u8]) -> Vec<u8> {
        Md5::digest(body).to_vec()
    }

    fn url(&self) -> String {
        format!("gs://{}", self.settings.bucket)
    }

    fn shown(&self, key: &Key) -> String {
        format!("{}/{}", self.url(), self.prefix.in_bucket(key))
    }

    fn ahead(&self) -> Option<TimeDelta> {
        self.courier.ahead()
    }

    async fn look(&self, key: &Key) -> Result<Option<ObjectFacts>, Fault> {
        match self.ask((Method::HEAD, key), &[], None).await {
            Ok(answer) => facts_of(&answer).map(Some),
            Err(Fault::Refused(refusal)) if refusal.status == 404 => Ok(None),
            // An answer to HEAD has no words; the same question by GET has.
            Err(Fault::Refused(refusal)) if matches!(refusal.status, 400 | 401 | 403) => {
                match self.get(key, Some(&(0..1))).await {
                    Err(Fault::Refused(said)) => Err(Fault::Refused(said)),
                    _ => Err(Fault::Refused(refusal)),
                }
            }
            Err(fault) => Err(fault),
        }
    }

    async fn get(&self, key: &Key, range: Option<&Range<u64>>) -> Result<Bytes, Fault> {
        let headers = range_header(range);
        let answer = self.ask((Method::GET, key), &headers, None).await?;
        object_in(answer, range).await
    }

    async fn put(&self, key: &Key, content: &Content<'_>, replaces: bool) -> Result<Taken, Fault> {
        let digest = BASE64.encode(&content.digest);
        let mut headers = vec![
            ("content-type", "application/octet-stream".to_owned()),
            ("content-md5", digest.clone()),
        ];
        if !replaces {
            headers.push(("x-goog-if-generation-match", "0".to_owned()));
        }
        if let Some(class) = &self.settings.storage_class {
            headers.push(("x-goog-storage-class", class.clone()));
        }
        let answer = self
            .ask((Method::PUT, key), &headers, Some(content.body))
            .await?;
        Ok(Taken {
            is_checked: match md5_of(&answer) {
                Some(said) if said == digest => true,
                Some(_) => {
                    return Err(Fault::damaged(
                        "the store took other bytes: its MD5 is not ours",
                    ));
                }
                None => false,
            },
            version: None,
        })
    }

    async fn list(&self, under: &Key) -> Result<Vec<Listed>, Fault> {
        list(&self.library, &self.prefix, under).await
    }

    async fn folders(&self, under: &Key) -> Result<Vec<Key>, Fault> {
        folders(&self.library, &self.prefix, under).await
    }

    async fn delete(&self, keys: &[Key]) -> Result<(), Fault> {
        let remove = |key| self.ask((Method::DELETE, key), &[], None);
        all_removed(keys.iter().map(remove).collect()).await
    }

    fn place(&self) -> ProbedPlace {
        ProbedPlace::Google
    }
}

/// The MD5 that an answer has among its hashes, which are in one header or in several: `crc32c=…,md5=…`.
fn md5_of(answer: &HttpResponse) -> Option<String> {
    let hashes = answer.headers().get_all("x-goog-hash").into_iter();
    let hashes = hashes.filter_map(|hash| hash.to_str().ok());
    let mut each = hashes.flat_map(|hash| hash.split(','));
    each.find_map(|hash| hash.trim().strip_prefix("md5=").map(str::to_owned))
}
