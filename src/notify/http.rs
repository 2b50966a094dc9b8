//! Requests to services on the network. Redirects are not followed: headers and body are for the service
//! that the configuration names.

use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, Response, StatusCode, Url};
use secrecy::{ExposeSecret as _, SecretString};

use super::Answer;
use super::error::{Again, SendError, excerpt, with_causes};
use crate::config::{self, check_address, shown_address};
use crate::tls;

/// So much of an answer is read, in bytes.
const ANSWER: usize = 2048;

/// What is as long as this and part of an address may be a secret.
const SECRET: usize = 8;

/// A service that takes requests.
pub(super) struct Service {
    pub(super) url: SecretString,
    pub(super) headers: Vec<(String, SecretString)>,
    pub(super) client: Client,
}

/// What is asked of a service.
pub(super) struct Request {
    method: Method,
    /// The media type and the text, if there is one.
    content: Option<(String, String)>,
}

impl Request {
    pub(super) fn post(content_type: &str, text: String) -> Self {
        Self {
            method: Method::POST,
            content: Some((content_type.to_owned(), text)),
        }
    }

    pub(super) fn get() -> Self {
        Self {
            method: Method::GET,
            content: None,
        }
    }

    /// Method, address and text.
    #[cfg(test)]
    pub(super) fn shown(&self, url: &Url) -> String {
        let text = self.content.as_ref().map_or("", |(_, text)| text);
        format!("{} {url} {text}", self.method)
    }
}

/// A client that trusts the system's authorities, or those of a file. The proxy is that of the environment
/// (`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`).
pub(super) fn client(ca_file: Option<&Path>) -> Result<Client, SendError> {
    let authorities = ca_file.map(config::file).transpose()?;
    let config = tls::client_config(authorities.as_deref()).map_err(|why| match ca_file {
        Some(path) => SendError::later(format!("cannot use {}: {why}", path.display())),
        None => SendError::never(why),
    })?;
    Client::builder()
        .tls_backend_preconfigured(config)
        .redirect(Policy::none())
        .user_agent(concat!("pgbackupd/", env!("CARGO_PKG_VERSION")))
        .pool_max_idle_per_host(1)
        .build()
        .map_err(|error| SendError::never(with_causes(&error.without_url())))
}

impl Service {
    /// The value of a header that goes with every request.
    pub(super) fn header(&self, name: &str) -> Option<String> {
        let mut headers = self.headers.iter();
        let (_, value) = headers.find(|(one, _)| one.eq_ignore_ascii_case(name))?;
        Some(value.expose_secret().to_owned())
    }

    /// Its address.
    pub(super) fn url(&self) -> Result<Url, SendError> {
        check_address(self.url.expose_secret()).map_err(SendError::later)
    }

    /// Sends a request to the address as it is.
    pub(super) async fn post(&self, request: Request) -> Result<Answer, SendError> {
        let url = self.url()?;
        self.ask(url, request).await
    }

    /// Sends a request to an address of this service.
    pub(super) async fn ask(&self, url: Url, request: Request) -> Result<Answer, SendError> {
        let origin = url.origin().ascii_serialization();
        let mut headers = HeaderMap::new();
        let mut sent = self.client.request(request.method, url);
        if let Some((content_type, text)) = request.content {
            sent = sent.header("content-type", content_type).body(text);
        }
        for (name, value) in &self.headers {
            let value = HeaderValue::from_str(value.expose_secret());
            let (Ok(name), Ok(mut value)) = (name.parse::<HeaderName>(), value) else {
                return Err(SendError::later(format!("invalid header {name:?}")));
            };
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let answer = sent.headers(headers).send().await.map_err(|error| {
            let why = with_causes(&error.without_url());
            SendError::later(self.without_secrets(&format!("cannot reach {origin}: {why}")))
        })?;
        self.judge(&origin, answer).await
    }

    async fn judge(&self, origin: &str, mut answer: Response) -> Result<Answer, SendError> {
        let status = answer.status();
        let location = answer.headers().get(LOCATION).cloned();
        let retry_after = answer.headers().get(RETRY_AFTER).cloned();
        let mut text = Vec::new();
        // What cannot be read is not reported.
        while let Ok(Some(chunk)) = answer.chunk().await {
            text.extend_from_slice(&chunk);
            if text.len() >= ANSWER {
                break;
            }
        }
        let text = String::from_utf8_lossy(&text[..text.len().min(ANSWER)]).into_owned();
        let said = match excerpt(&self.without_secrets(&text)) {
            text if text.is_empty() => format!("HTTP {status}"),
            text => format!("HTTP {status}: {text}"),
        };
        if status.is_success() {
            return Ok(Answer::of(said));
        }
        if status.is_redirection() {
            let location = location.as_ref().and_then(|value| value.to_str().ok());
            let to = location.map(|to| self.without_secrets(&shown_address(to)));
            let to = to.map_or_else(String::new, |to| format!(" to {to}"));
            return Err(SendError::never(format!(
                "{origin} answered with a redirect{to} (HTTP {status}), which is not followed\nhint: set \
                 url to the address that it leads to, if that is the service's"
            )));
        }
        Err(SendError {
            sentence: format!("{origin} refused it: {said}"),
            again: again(status, retry_after.as_ref(), Utc::now()),
        })
    }

    /// A text in which an answer may have quoted what it was sent.
    fn without_secrets(&self, text: &str) -> String {
        let mut secrets: Vec<String> = Vec::new();
        if let Ok(url) = self.url() {
            secrets.extend(url.path_segments().into_iter().flatten().map(str::to_owned));
            secrets.extend(url.password().map(str::to_owned));
            secrets.extend(url.query_pairs().map(|(_, value)| value.into_owned()));
        }
        let values = self.headers.iter().map(|(_, value)| value.expose_secret());
        let words = values.flat_map(|value| std::iter::once(value).chain(value.split(' ')));
        secrets.extend(words.map(str::to_owned));
        secrets.retain(|secret| secret.len() >= SECRET);
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.iter().fold(text.to_owned(), |text, secret| {
            text.replace(secret.as_str(), "****")
        })
    }
}

/// Whether a refused request is worth sending again.
fn again(status: StatusCode, retry_after: Option<&HeaderValue>, now: DateTime<Utc>) -> Again {
    let may_pass = status.is_server_error()
        || matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY
        );
    match retry_after.and_then(|value| pause(value.to_str().ok()?, now)) {
        Some(pause) if may_pass => Again::After(pause),
        None if may_pass => Again::Later,
        _ => Again::Never,
    }
}

/// A pause of seconds, or until a moment.
fn pause(text: &str, now: DateTime<Utc>) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = DateTime::parse_from_rfc2822(text.trim()).ok()?;
    Some((until.to_utc() - now).to_std().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_sent_again_when_the_reason_may_pass() {
        let now = "2026-11-28T02:00:00Z".parse().unwrap();
        for (status, retry_after, expected) in [
            (429, None, Again::Later),
            (429, Some("120"), Again::After(Duration::from_secs(120))),
            (
                503,
                Some("Sat, 28 Nov 2026 02:01:30 GMT"),
                Again::After(Duration::from_secs(90)),
            ),
            (
                503,
                Some("Sat, 28 Nov 2026 01:00:00 GMT"),
                Again::After(Duration::ZERO),
            ),
            (503, Some("soon"), Again::Later),
            (500, None, Again::Later),
            (408, None, Again::Later),
            (404, Some("120"), Again::Never),
            (401, None, Again::Never),
            (413, None, Again::Never),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let retry_after = retry_after.map(|text| HeaderValue::from_str(text).unwrap());
            assert_eq!(
                again(status, retry_after.as_ref(), now),
                expected,
                "{status}"
            );
        }
    }
}
