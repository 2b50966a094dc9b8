//! A bucket, one request at a time: what is sent, and what is read from the answer.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::aws::{AmazonS3, AwsAuthorizer};
use object_store::client::{HttpRequest, HttpRequestBody, HttpResponse};
use object_store::path::Path;
use object_store::{HeaderValue, ObjectStore as _};
use reqwest::Method;
use reqwest::header::HeaderName;

use super::account;
use super::courier::{Courier, read};
use super::fault::Fault;
use crate::config::S3Settings;
use crate::destination::error::DestinationErrorKind;
use crate::destination::key::Key;
use crate::destination::{Listed, ObjectFacts};

/// Whole objects are not longer than this, in bytes: a volume has 16 MiB.
const LARGEST: usize = 64 << 20;

/// No document that a store answers with is longer than this, in bytes: a page has 1,000 entries.
const LARGEST_DOCUMENT: usize = 16 << 20;

/// A bucket.
pub(super) struct Bucket {
    settings: S3Settings,
    url: String,
    library: AmazonS3,
    courier: Courier,
}

/// The headers of a request.
type Headers<'h> = &'h [(&'static str, String)];

/// The query of a request: names and values.
pub(super) type Query<'q> = &'q [(&'q str, &'q str)];

/// What is to be put, and its SHA-256.
pub(super) struct Content<'b> {
    pub(super) body: &'b Bytes,
    pub(super) sha256: Vec<u8>,
}

impl Content<'_> {
    /// The digest in hexadecimal digits.
    pub(super) fn digits(&self) -> String {
        hexadecimal(&self.sha256)
    }
}

/// A put that the store took.
pub(super) struct Taken {
    /// Whether the store said that its SHA-256 is ours; one that is another is a fault.
    pub(super) is_checked: bool,
    /// The version, where the store keeps versions.
    pub(super) version: Option<String>,
}

impl Bucket {
    /// The bucket of these settings.
    ///
    /// # Errors
    /// In words: a secret or a file with certificates cannot be read, a variable is not set.
    pub(super) fn new(
        settings: &S3Settings,
        timeout: Duration,
        environment: &BTreeMap<String, String>,
    ) -> Result<Self, String> {
        let courier = Courier::new(settings, timeout)?;
        Ok(Self {
            library: account::store(settings, &courier, environment)?,
            url: account::bucket_url(settings),
            settings: settings.clone(),
            courier,
        })
    }

    /// A key of ours in the bucket.
    pub(super) fn in_bucket(&self, key: &Key) -> String {
        match &self.settings.prefix {
            Some(prefix) => format!("{prefix}/{key}"),
            None => key.to_string(),
        }
    }

    fn path(&self, key: &Key) -> Result<Path, Fault> {
        let path = Path::parse(self.in_bucket(key));
        path.map_err(|error| Fault::Judged(DestinationErrorKind::Settings, error.to_string()))
    }

    /// A key in the bucket as a key of ours; none for what is not ours.
    pub(super) fn own_key(&self, whole: &str) -> Option<Key> {
        let rest = match &self.settings.prefix {
            Some(prefix) => whole.strip_prefix(prefix.as_str())?.strip_prefix('/')?,
            None => whole,
        };
        Key::new(rest).ok()
    }

    pub(super) fn shown(&self, key: &Key) -> String {
        format!("s3://{}/{}", self.settings.bucket, self.in_bucket(key))
    }

    /// Signs a request to an object and sends it.
    async fn ask(
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
        let path = self.in_bucket(key).replace('=', "%3D");
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
        let body = content.map_or_else(HttpRequestBody::empty, |one| one.body.clone().into());
        let mut request = HttpRequest::new(body);
        let invalid =
            |what: &str| Fault::Judged(DestinationErrorKind::Settings, format!("invalid {what}"));
        *request.method_mut() = method;
        *request.uri_mut() = address.parse().map_err(|_| invalid("address"))?;
        for (name, value) in headers {
            let value = HeaderValue::from_str(value).map_err(|_| invalid(name))?;
            request
                .headers_mut()
                .insert(HeaderName::from_static(name), value);
        }
        let credential = self.library.credentials().get_credential().await;
        let credential = credential.map_err(|error| Fault::of(&error))?;
        AwsAuthorizer::new(&credential, "s3", &self.settings.region)
            .try_authorize(&mut request, content.map(|one| one.sha256.as_slice()))
            .map_err(|error| Fault::of(&error))?;
        self.courier.carry(request).await
    }

    /// What is known of an object; none where there is no such.
    pub(super) async fn look(&self, key: &Key) -> Result<Option<ObjectFacts>, Fault> {
        let headers = [("x-amz-checksum-mode", "ENABLED".to_owned())];
        match self.ask((Method::HEAD, key), &headers, None).await {
            Ok(answer) => facts_of(&answer).map(Some),
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

    /// Reads an object, or a range of it, which is not empty. The query can name a version.
    pub(super) async fn get(
        &self,
        (key, query): (&Key, Query<'_>),
        range: Option<&Range<u64>>,
    ) -> Result<Bytes, Fault> {
        let range_header = range.map(|range| format!("bytes={}-{}", range.start, range.end - 1));
        let headers: Vec<_> = range_header
            .map(|text| ("range", text))
            .into_iter()
            .collect();
        let asked = (Method::GET, key, query);
        let answer = self.ask_of(asked, &headers, None).await?;
        if range.is_some() && answer.status().as_u16() != 206 {
            return Err(Fault::damaged(
                "the store gave the whole object in place of a part",
            ));
        }
        let said = header(&answer, "content-length").and_then(|length| length.parse().ok());
        let expected = match range {
            Some(range) => usize::try_from(range.end - range.start).ok(),
            None => said,
        };
        let limit = expected.unwrap_or(LARGEST).min(LARGEST);
        let bytes = read(answer.into_body(), limit).await?;
        let is_whole = expected.map_or(bytes.len() <= limit, |expected| bytes.len() == expected);
        if !is_whole {
            let wanted = expected.unwrap_or(limit);
            return Err(Fault::damaged(format!(
                "the store gave {} bytes, and {wanted} were expected",
                bytes.len()
            )));
        }
        Ok(bytes.into())
    }

    /// Puts an object under a key that has none.
    pub(super) async fn put(&self, key: &Key, content: &Content<'_>) -> Result<Taken, Fault> {
        let is_new = ("if-none-match", "*".to_owned());
        self.put_if(key, content, Some(is_new)).await
    }

    /// Puts an object on a condition, or on none.
    pub(super) async fn put_if(
        &self,
        key: &Key,
        content: &Content<'_>,
        condition: Option<(&'static str, String)>,
    ) -> Result<Taken, Fault> {
        let sha256 = BASE64.encode(&content.sha256);
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

    /// Removes objects.
    pub(super) async fn delete(&self, keys: &[Key]) -> Result<(), Fault> {
        let paths: Result<Vec<Path>, Fault> = keys.iter().map(|key| self.path(key)).collect();
        let paths = futures::stream::iter(paths?.into_iter().map(Ok)).boxed();
        let removed = self.library.delete_stream(paths);
        let removed: Result<Vec<Path>, _> = removed.try_collect().await;
        match removed {
            Ok(_) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(Fault::of(&error)),
        }
    }

    /// The objects below a key.
    pub(super) async fn list(&self, under: &Key) -> Result<Vec<Listed>, Fault> {
        let mut found = self.library.list(Some(&self.path(under)?));
        let mut listed = Vec::new();
        while let Some(one) = found.next().await {
            let one = one.map_err(|error| Fault::of(&error))?;
            listed.extend(self.own_key(one.location.as_ref()).map(|key| Listed {
                key,
                bytes: one.size,
                modified: one.last_modified,
            }));
        }
        Ok(listed)
    }

    /// What is one level below a key and has further levels.
    pub(super) async fn folders(&self, under: &Key) -> Result<Vec<Key>, Fault> {
        let found = self
            .library
            .list_with_delimiter(Some(&self.path(under)?))
            .await;
        let found = found.map_err(|error| Fault::of(&error))?;
        let folders = found.common_prefixes.iter();
        Ok(folders
            .filter_map(|path| self.own_key(path.as_ref()))
            .collect())
    }

    /// Whether it is Google's.
    pub(super) fn is_google(&self) -> bool {
        let endpoint = self.settings.endpoint.as_deref().unwrap_or_default();
        endpoint.ends_with("storage.googleapis.com")
    }

    /// How far the store's clock was ahead at its last answer.
    pub(super) fn ahead(&self) -> Option<TimeDelta> {
        self.courier.ahead()
    }
}

pub(super) fn header<'a>(answer: &'a HttpResponse, name: &str) -> Option<&'a str> {
    answer.headers().get(name)?.to_str().ok()
}

/// The version; buckets without versions say `null`, or nothing.
pub(super) fn version_of(answer: &HttpResponse) -> Option<String> {
    let version = header(answer, "x-amz-version-id")?;
    (version != "null").then(|| version.to_owned())
}

fn facts_of(answer: &HttpResponse) -> Result<ObjectFacts, Fault> {
    let bytes = header(answer, "content-length").and_then(|length| length.parse().ok());
    let modified = header(answer, "last-modified");
    let modified = modified.and_then(|text| DateTime::parse_from_rfc2822(text).ok());
    let (Some(bytes), Some(modified)) = (bytes, modified) else {
        return Err(Fault::damaged(
            "the store says neither length nor time of the object",
        ));
    };
    // That of a multipart upload is one of checksums, and ends in the number of parts.
    let sha256 = header(answer, "x-amz-checksum-sha256").and_then(|text| BASE64.decode(text).ok());
    Ok(ObjectFacts {
        bytes,
        sha256: sha256.map(|sha256| hexadecimal(&sha256)),
        modified: modified.with_timezone(&Utc),
        version: version_of(answer),
    })
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

fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
