//! A bucket, one request at a time: what is sent, and what is read from the answer.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use object_store::aws::{AmazonS3, AwsAuthorizer};
use object_store::client::HttpResponse;
use reqwest::Method;

use super::account;
use crate::config::S3Settings;
use crate::destination::bucket::{
    Content, Courier, Dialect, Fault, Headers, Prefix, Taken, header, object_in, range_header,
    read, request,
};
use crate::destination::key::Key;

/// No document that a store answers with is longer than this, in bytes: a page has 1,000 entries.
const LARGEST_DOCUMENT: usize = 16 << 20;

/// A bucket of a store that speaks S3.
pub(in crate::destination) struct S3Bucket {
    settings: S3Settings,
    url: String,
    pub(super) prefix: Prefix,
    pub(super) library: AmazonS3,
    pub(super) courier: Courier,
}

/// The query of a request: names and values.
pub(super) type Query<'q> = &'q [(&'q str, &'q str)];

impl S3Bucket {
    /// The bucket of these settings.
    ///
    /// # Errors
    /// In words: a secret or a file with certificates cannot be read, a variable is not set.
    pub(super) fn new(
        settings: &S3Settings,
        timeout: Duration,
        environment: &BTreeMap<String, String>,
    ) -> Result<Self, String> {
        let url = account::bucket_url(settings);
        let way = (settings.ca_file.as_deref(), settings.proxy.as_deref());
        let courier = Courier::new((Dialect::S3, &url), way, timeout)?;
        Ok(Self {
            library: account::store(settings, &courier, environment)?,
            url,
            prefix: Prefix(settings.prefix.clone()),
            settings: settings.clone(),
            courier,
        })
    }

    /// The bucket as it is shown.
    pub(super) fn shown_url(&self) -> String {
        format!("s3://{}", self.settings.bucket)
    }

    /// Signs a request to an object and sends it.
    pub(super) async fn ask(
        &self,
        (method, key): (Method, &Key),
        headers: Headers<'_>,
        content: Option<&Content<'_>>,
    ) -> Result<HttpResponse, Fault> {
        self.ask_of((method, key, &[]), headers, content).await
    }

    /// The same with a query, such as of a version.
    pub(super) async fn ask_of(
        &self,
        (method, key, query): (Method, &Key, Query<'_>),
        headers: Headers<'_>,
        content: Option<&Content<'_>>,
    ) -> Result<HttpResponse, Fault> {
        // Of the characters of a key, the signature wants this one alone escaped.
        let path = self.prefix.in_bucket(key).replace('=', "%3D");
        let address = format!("{}/{path}{}", self.url, query_text(query));
        self.send((method, &address), headers, content).await
    }

    /// Asks the bucket itself, and reads the answer's document.
    pub(super) async fn ask_bucket(&self, query: Query<'_>) -> Result<Vec<u8>, Fault> {
        // The bucket's own address ends in a slash where its name is in that of the host.
        let slash = if self.settings.path_style { "" } else { "/" };
        let address = format!("{}{slash}{}", self.url, query_text(query));
        let answer = self.send((Method::GET, &address), &[], None).await?;
        let document = read(answer.into_body(), LARGEST_DOCUMENT).await?;
        if document.len() > LARGEST_DOCUMENT {
            return Err(Fault::damaged("the store's answer is too long"));
        }
        Ok(document)
    }

    /// Signs a request and sends it.
    async fn send(
        &self,
        (method, address): (Method, &str),
        headers: Headers<'_>,
        content: Option<&Content<'_>>,
    ) -> Result<HttpResponse, Fault> {
        let body = content.map(|one| one.body);
        let mut request = request((method, address), headers, body)?;
        let credential = self.library.credentials().get_credential().await;
        let credential = credential.map_err(|error| Fault::of(&error))?;
        AwsAuthorizer::new(&credential, "s3", &self.settings.region)
            .try_authorize(&mut request, content.map(|one| one.digest.as_slice()))
            .map_err(|error| Fault::of(&error))?;
        self.courier.carry(request).await
    }

    /// Reads an object, or a range of it, which is not empty. The query can name a version.
    pub(super) async fn get_of(
        &self,
        (key, query): (&Key, Query<'_>),
        range: Option<&Range<u64>>,
    ) -> Result<Bytes, Fault> {
        let asked = (Method::GET, key, query);
        let answer = self.ask_of(asked, &range_header(range), None).await?;
        object_in(answer, range).await
    }

    /// Puts an object on a condition, or on none.
    pub(super) async fn put_if(
        &self,
        key: &Key,
        content: &Content<'_>,
        condition: Option<(&'static str, String)>,
    ) -> Result<Taken, Fault> {
        let sha256 = BASE64.encode(&content.digest);
        let mut headers = vec![
            ("x-amz-checksum-sha256", sha256.clone()),
            ("x-amz-sdk-checksum-algorithm", "SHA256".to_owned()),
        ];
        headers.extend(condition);
        if let Some(class) = &self.settings.storage_class {
            headers.push(("x-amz-storage-class", class.clone()));
        }
        if let Some(sse) = self.settings.sse {
            headers.push(("x-amz-server-side-encryption", sse.word().to_owned()));
        }
        if let Some(key) = &self.settings.sse_key {
            headers.push(("x-amz-server-side-encryption-aws-kms-key-id", key.clone()));
        }
        let answer = self
            .ask((Method::PUT, key), &headers, Some(content))
            .await?;
        let version = version_of(&answer);
        match header(&answer, "x-amz-checksum-sha256") {
            Some(said) if said == sha256 => Ok(Taken {
                is_checked: true,
                version,
            }),
            Some(_) => Err(Fault::damaged(
                "the store took other bytes: its SHA-256 is not ours",
            )),
            None => Ok(Taken {
                is_checked: false,
                version,
            }),
        }
    }

    /// Whether it is Google's.
    pub(super) fn is_google(&self) -> bool {
        let endpoint = self.settings.endpoint.as_deref().unwrap_or_default();
        endpoint.ends_with("storage.googleapis.com")
    }
}

/// The version; buckets without versions say `null`, or nothing.
pub(super) fn version_of(answer: &HttpResponse) -> Option<String> {
    let version = header(answer, "x-amz-version-id")?;
    (version != "null").then(|| version.to_owned())
}

/// A query as it is sent and signed: everything escaped that the signature wants escaped.
fn query_text(query: Query<'_>) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for (name, value) in query {
        let sign = if text.is_empty() { '?' } else { '&' };
        text.push(sign);
        text.push_str(name);
        text.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
                text.push(byte.into());
            } else {
                // Writing to a string does not fail.
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
    text
}
