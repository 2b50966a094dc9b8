//! How requests get to a store: one client for all of them, with the machine's authorities, a limit of time,
//! and no redirects; and what every answer tells, of a refusal and of the store's clock.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService,
};
use object_store::{ClientOptions, RetryConfig};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Proxy, Url};

use super::dialect::Dialect;
use super::fault::{Fault, Refusal, with_causes};
use super::library::retries;
use super::listing::{self, query_pairs};
use crate::config;
use crate::destination::pauses::Passing;
use crate::mask::mask;
use crate::tls;

/// So much of a refusal is read, in bytes.
const LONGEST_REFUSAL: usize = 64 << 10;

/// What the library reads is not longer than this, in bytes: a page of a listing, a list of what was deleted.
const LONGEST_ANSWER: usize = 16 << 20;

/// A connection is made within so long, or not at all.
const CONNECT: Duration = Duration::from_secs(10);

/// A machine that has a metadata service is answered by it at once.
const METADATA: Duration = Duration::from_secs(2);

/// No offset is known yet.
const UNKNOWN: i64 = i64::MIN;

/// Carries requests.
#[derive(Clone, Debug)]
pub(in crate::destination) struct Courier {
    dialect: Dialect,
    /// The host of the store.
    host: String,
    /// Its port.
    port: Option<u16>,
    store: HttpClient,
    /// For the metadata service of the machine, which no proxy reaches.
    metadata: HttpClient,
    timeout: Duration,
    /// Seconds by which the store's clock was ahead of ours at its last answer.
    ahead: Arc<AtomicI64>,
}

impl Courier {
    /// Makes the clients for the store at an address.
    pub(in crate::destination) fn new(
        (dialect, address): (Dialect, &str),
        (ca_file, proxy): (Option<&Path>, Option<&str>),
        timeout: Duration,
    ) -> Result<Self, String> {
        let url = address.parse::<Url>().ok();
        let host = url.as_ref().and_then(Url::host_str).map(str::to_owned);
        let authorities = ca_file.map(config::file).transpose();
        let authorities = authorities.map_err(|error| error.to_string())?;
        let tls = tls::client_config(authorities.as_deref()).map_err(|why| match ca_file {
            Some(path) => format!("cannot use {}: {why}", path.display()),
            None => why,
        })?;
        let common = || {
            Client::builder()
                .tls_backend_preconfigured(tls.clone())
                .redirect(Policy::none())
                .user_agent(concat!("pgbackupd/", env!("CARGO_PKG_VERSION")))
        };
        let built = |builder: ClientBuilder| {
            let client = builder.build();
            client
                .map(HttpClient::new)
                .map_err(|error| with_causes(&error.without_url()))
        };
        let mut store = common()
            .timeout(timeout)
            .connect_timeout(CONNECT.min(timeout));
        if let Some(proxy) = proxy {
            let proxy = Proxy::all(proxy).map_err(|error| with_causes(&error.without_url()))?;
            store = store.proxy(proxy);
        }
        let metadata = common().no_proxy().timeout(METADATA);
        Ok(Self {
            dialect,
            host: host.unwrap_or_default(),
            port: url.and_then(|url| url.port_or_known_default()),
            store: built(store)?,
            metadata: built(metadata)?,
            timeout,
            ahead: Arc::new(AtomicI64::new(UNKNOWN)),
        })
    }

    /// How often the library asks again.
    pub(in crate::destination) fn retries(&self) -> RetryConfig {
        retries(self.timeout)
    }

    /// Carries a request; what is no success is a fault.
    pub(in crate::destination) async fn carry(
        &self,
        request: HttpRequest,
    ) -> Result<HttpResponse, Fault> {
        let host = request.uri().host().unwrap_or_default().to_owned();
        let is_of_metadata = host.starts_with("169.254.")
            || host.starts_with("[fd00:ec2:")
            || host == "metadata.google.internal";
        let client = if is_of_metadata {
            &self.metadata
        } else {
            &self.store
        };
        // Also others are asked, for credentials.
        let port = request.uri().port_u16();
        let port = port.or(match request.uri().scheme_str() {
            Some("http") => Some(80),
            _ => Some(443),
        });
        let is_store = host == self.host && port == self.port;
        let dialect = is_store.then_some(self.dialect);
        let secrets = secrets_of(&request);
        let answer = client.execute(request).await;
        let answer = answer.map_err(|error| unreachable((&host, dialect), &error))?;
        if is_store {
            self.note_clock(&answer);
        }
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status().as_u16();
        let code = header(&answer, "x-ms-error-code").map(str::to_owned);
        let location = header(&answer, "location").map(str::to_owned);
        // What of it cannot be read is not reported.
        let body = read(answer.into_body(), LONGEST_REFUSAL).await;
        let body = String::from_utf8_lossy(&body.unwrap_or_default()).into_owned();
        // A store can repeat what it was sent.
        let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
        let body = mask(&body, &secrets);
        let refusal = Refusal::read((self.dialect, status), code.as_deref(), &body)
            .redirecting(location.as_deref());
        Err(Fault::Refused(if is_store {
            refusal
        } else {
            refusal.of_issuer(host, &body)
        }))
    }

    fn note_clock(&self, answer: &HttpResponse) {
        let date = header(answer, "date");
        let date = date.and_then(|date| DateTime::parse_from_rfc2822(date).ok());
        if let Some(date) = date {
            let ahead = date.signed_duration_since(Utc::now()).num_seconds();
            self.ahead.store(ahead, Ordering::Relaxed);
        }
    }

    /// How far the store's clock was ahead at its last answer; none where no answer had a time.
    pub(in crate::destination) fn ahead(&self) -> Option<TimeDelta> {
        let ahead = self.ahead.load(Ordering::Relaxed);
        (ahead != UNKNOWN).then(|| TimeDelta::seconds(ahead))
    }
}

/// What of a request lets its bearer in: tokens, and the signature of an address that is signed for long.
fn secrets_of(request: &HttpRequest) -> Vec<String> {
    let header = |name: &str| request.headers().get(name)?.to_str().ok();
    let bearer = header("authorization").and_then(|text| text.strip_prefix("Bearer "));
    let mut secrets: Vec<String> = bearer
        .into_iter()
        .chain(header("x-amz-security-token"))
        .map(str::to_owned)
        .collect();
    let pairs = request.uri().query().unwrap_or_default().split('&');
    for signature in pairs.filter_map(|pair| pair.strip_prefix("sig=")) {
        secrets.push(signature.to_owned());
        let decoded = query_pairs(&format!("sig={signature}"));
        secrets.extend(decoded.into_iter().map(|(_, value)| value));
    }
    secrets
}

/// A header of an answer.
pub(in crate::destination) fn header<'a>(answer: &'a HttpResponse, name: &str) -> Option<&'a str> {
    answer.headers().get(name)?.to_str().ok()
}

/// All bytes of an answer; those beyond the limit and a little more are not waited for.
pub(in crate::destination) async fn read(
    body: HttpResponseBody,
    limit: usize,
) -> Result<Vec<u8>, Fault> {
    use futures::StreamExt as _;
    let (mut bytes, mut chunks) = (Vec::new(), body.bytes_stream());
    while let Some(chunk) = chunks.next().await {
        bytes.extend_from_slice(&chunk.map_err(|error| unreachable(("the store", None), &error))?);
        if bytes.len() > limit {
            break;
        }
    }
    Ok(bytes)
}

/// Of a host that gave no answer; `dialect` is that of the store, where the host is the store's.
fn unreachable((host, dialect): (&str, Option<Dialect>), error: &HttpError) -> Fault {
    if error.kind() == HttpErrorKind::Timeout {
        return Fault::silence(host);
    }
    let why = innermost(error);
    let way = dialect.map_or("", |dialect| dialect.way_to_reach(&why));
    Fault::Unreachable(format!("no answer from {host}: {why}"), way)
}

/// The last cause of an error: the client's own words begin with the address, which the sentence has already.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut one = error;
    while let Some(cause) = one.source() {
        one = cause;
    }
    one.to_string()
}

#[async_trait]
impl HttpService for Courier {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let query = request.uri().query().map(str::to_owned);
        let carried = async {
            let (parts, body) = self.carry(request).await?.into_parts();
            // Read here, so that an answer that is cut off is a fault like others, and asked for again.
            let mut body = read(body, LONGEST_ANSWER).await?;
            if let Some(query) = query.filter(|query| listing::is_listing(query)) {
                let page = String::from_utf8_lossy(&body);
                if listing::leads_to_itself(&query, &page) {
                    return Err(Fault::damaged("the store's listing does not go on"));
                }
                body = listing::without_strange_names(&page).into_bytes();
            }
            Ok(HttpResponse::from_parts(parts, Bytes::from(body).into()))
        };
        carried.await.map_err(|fault: Fault| {
            // object_store tries a request that changes nothing again after an interruption.
            let kind = if fault.passing() == Passing::Never {
                HttpErrorKind::Unknown
            } else {
                HttpErrorKind::Interrupted
            };
            HttpError::new(kind, fault)
        })
    }
}

impl HttpConnector for Courier {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}
