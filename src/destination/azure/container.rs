//! A container, one request at a time: what is sent, and what is read from the answer.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use md5::{Digest as _, Md5};
use object_store::azure::AzureAuthorizer;
use object_store::client::HttpResponse;
use reqwest::Method;

use super::account::{Account, Validity, account, account_url};
use crate::config::AzureSettings;
use crate::destination::bucket::{
    Bucket, Content, Courier, Dialect, Fault, Headers, Prefix, Taken, all_removed, facts_of,
    folders, header, list, object_in, range_header, request,
};
use crate::destination::error::DestinationErrorKind;
use crate::destination::key::Key;
use crate::destination::{Listed, ObjectFacts};
use crate::policy::protection::ProbedPlace;

/// A container of Azure's Blob Storage.
pub(in crate::destination) struct Container {
    settings: AzureSettings,
    url: String,
    prefix: Prefix,
    account: Account,
    courier: Courier,
}

impl Container {
    /// The container of these settings.
    ///
    /// # Errors
    /// In words: a secret or a file with certificates cannot be read, a variable is not set.
    pub(super) fn new(
        settings: &AzureSettings,
        timeout: Duration,
        environment: &BTreeMap<String, String>,
    ) -> Result<Self, String> {
        let url = account_url(settings);
        let way = (settings.ca_file.as_deref(), settings.proxy.as_deref());
        let courier = Courier::new((Dialect::Azure, &url), way, timeout)?;
        Ok(Self {
            account: account(settings, &courier, environment)?,
            url: format!("{url}/{}", settings.container),
            prefix: Prefix(settings.prefix.clone()),
            settings: settings.clone(),
            courier,
        })
    }

    /// Signs a request to a blob and sends it.
    async fn ask(
        &self,
        (method, key): (Method, &Key),
        headers: Headers<'_>,
        body: Option<&Bytes>,
    ) -> Result<HttpResponse, Fault> {
        let address = format!("{}/{}", self.url, self.prefix.in_bucket(key));
        let mut request = request((method, &address), headers, body)?;
        let credential = self.account.library.credentials().get_credential().await;
        let credential = credential.map_err(|error| Fault::of(&error))?;
        AzureAuthorizer::new(&credential, &self.settings.account)
            .try_authorize(&mut request)
            .map_err(|error| Fault::of(&error))?;
        let answer = self.courier.carry(request).await;
        answer.map_err(|fault| self.explained(fault))
    }

    /// A denial of a SAS token that is not valid now says nothing of that; what the token says does.
    fn explained(&self, fault: Fault) -> Fault {
        if fault.kind() == DestinationErrorKind::Denied {
            outside_validity(fault, self.account.validity, Utc::now())
        } else {
            fault
        }
    }
}

fn outside_validity(fault: Fault, validity: Validity, now: DateTime<Utc>) -> Fault {
    let shown = |time: DateTime<Utc>| time.format("%Y-%m-%d %H:%M UTC");
    let message = match validity {
        Validity { end: Some(end), .. } if end <= now => format!(
            "the SAS token expired at {} ({fault})\nhint: get a new token",
            shown(end)
        ),
        Validity {
            start: Some(start), ..
        } if start > now => format!(
            "the SAS token is not valid before {} ({fault})\n\
             hint: wait until then, get a token without a start, or check the clock of this machine",
            shown(start)
        ),
        _ => return fault,
    };
    Fault::Judged(DestinationErrorKind::Denied, message)
}

#[async_trait]
impl Bucket for Container {
    /// MD5 is what Azure compares; nothing rests on it but that the bytes arrived as they were sent.
    fn digest(body: &[u8]) -> Vec<u8> {
        Md5::digest(body).to_vec()
    }

    fn url(&self) -> String {
        format!("az://{}", self.settings.container)
    }

    fn shown(&self, key: &Key) -> String {
        format!("{}/{}", self.url(), self.prefix.in_bucket(key))
    }

    fn ahead(&self) -> Option<TimeDelta> {
        self.courier.ahead()
    }

    async fn look(&self, key: &Key) -> Result<Option<ObjectFacts>, Fault> {
        match self.ask((Method::HEAD, key), &[], None).await {
            Ok(answer) => Ok(Some(ObjectFacts {
                version: header(&answer, "x-ms-version-id").map(str::to_owned),
                ..facts_of(&answer)?
            })),
            Err(Fault::Refused(refusal)) if refusal.is_missing_object() => Ok(None),
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
            ("x-ms-blob-type", "BlockBlob".to_owned()),
            ("content-type", "application/octet-stream".to_owned()),
            // Signed, and so set before it is sent.
            ("content-length", content.body.len().to_string()),
            ("content-md5", digest.clone()),
        ];
        if !replaces {
            headers.push(("if-none-match", "*".to_owned()));
        }
        if let Some(tier) = &self.settings.tier {
            headers.push(("x-ms-access-tier", tier.clone()));
        }
        let answer = self
            .ask((Method::PUT, key), &headers, Some(content.body))
            .await?;
        Ok(Taken {
            is_checked: match header(&answer, "content-md5") {
                Some(said) if said == digest => true,
                Some(_) => {
                    return Err(Fault::damaged(
                        "the store took other bytes: its MD5 is not ours",
                    ));
                }
                None => false,
            },
            version: header(&answer, "x-ms-version-id").map(str::to_owned),
        })
    }

    async fn list(&self, under: &Key) -> Result<Vec<Listed>, Fault> {
        let listed = list(&self.account.library, &self.prefix, under).await;
        listed.map_err(|fault| self.explained(fault))
    }

    async fn folders(&self, under: &Key) -> Result<Vec<Key>, Fault> {
        let found = folders(&self.account.library, &self.prefix, under).await;
        found.map_err(|fault| self.explained(fault))
    }

    async fn delete(&self, keys: &[Key]) -> Result<(), Fault> {
        let remove = |key| self.ask((Method::DELETE, key), &[], None);
        all_removed(keys.iter().map(remove).collect()).await
    }

    fn credentials_end(&self) -> Option<DateTime<Utc>> {
        self.account.validity.end
    }

    fn place(&self) -> ProbedPlace {
        ProbedPlace::Azure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_of_a_token_that_is_not_valid_now_says_so() {
        let now: DateTime<Utc> = "2026-11-30T02:00:00Z".parse().unwrap();
        let denied = || Fault::Judged(DestinationErrorKind::Denied, "HTTP 403".to_owned());
        let hour = |hours| Some(now + TimeDelta::hours(hours));
        for (start, end, expected) in [
            (None, None, "HTTP 403"),
            (hour(-2), hour(1), "HTTP 403"),
            (
                hour(-2),
                hour(-1),
                "the SAS token expired at 2026-11-30 01:00 UTC (HTTP 403)\nhint: get a new token",
            ),
            (
                hour(1),
                hour(2),
                "the SAS token is not valid before 2026-11-30 03:00 UTC (HTTP 403)\n\
                 hint: wait until then, get a token without a start, or check the clock of this machine",
            ),
        ] {
            let fault = outside_validity(denied(), Validity { start, end }, now);
            let text = fault.while_doing("put az://c/k".to_owned()).to_string();
            assert_eq!(text, format!("cannot put az://c/k: {expected}"));
        }
    }
}
