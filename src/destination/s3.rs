//! A destination that is a bucket of a store that speaks S3.
//!
//! `object_store` signs, has the credentials, lists and deletes. Puts, reads and looks are requests of our
//! own, since it shows neither the checksum that a store has nor what a store said. Before each attempt of a
//! put the store is asked what lies there: so a lost answer is settled, and also a store that ignores
//! `If-None-Match` replaces nothing but what was put in between.

mod account;
mod bucket;
mod courier;
mod fault;
mod probe;
mod settings;
mod versions;
mod xml;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::TimeDelta;
use sha2::{Digest as _, Sha256};

use self::bucket::{Bucket, Content};
use self::fault::Fault;
use super::error::{DestinationError, DestinationErrorKind};
use super::key::Key;
use super::pauses::{Passing, Pauses};
use super::{Listed, ObjectFacts, Store, Stored, Versions};
use crate::config::S3Settings;
use crate::policy::protection::Probed;
use crate::threads;

/// A put of so many bytes at most is made a second time to find out whether the store keeps its conditions.
const PROBE: usize = 64 << 10;

/// What is known of a store's conditions.
const UNKNOWN: u8 = 0;
const KEPT: u8 = 1;
const IGNORED: u8 = 2;

/// A store that speaks S3.
pub struct S3Store {
    bucket: Bucket,
    /// As it is shown.
    url: String,
    timeout: Duration,
    /// Whether the store keeps `If-None-Match`.
    conditions: AtomicU8,
}

impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Store")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

impl S3Store {
    /// The store of these settings. No request takes longer than `timeout`, and all attempts at it no longer than
    /// twice that. Nothing is asked yet.
    ///
    /// # Errors
    /// In words: a secret or a file with certificates cannot be read, a variable is not set.
    pub fn new(
        settings: &S3Settings,
        timeout: Duration,
        environment: &BTreeMap<String, String>,
    ) -> Result<Self, String> {
        Ok(Self {
            bucket: Bucket::new(settings, timeout, environment)?,
            url: format!("s3://{}", settings.bucket),
            timeout,
            conditions: AtomicU8::new(UNKNOWN),
        })
    }

    /// Asks again, after growing pauses, for as long as the reason may pass.
    async fn patiently<T, F: Future<Output = Result<T, Fault>>>(
        &self,
        mut ask: impl FnMut() -> F,
    ) -> Result<T, Fault> {
        let mut pauses = Pauses::new(self.timeout);
        loop {
            match within(pauses.limit(), ask()).await {
                Ok(answer) => return Ok(answer),
                Err(fault) => {
                    let passing = fault.passing();
                    pauses.wait((fault, passing)).await?;
                }
            }
        }
    }

    /// What lies under a key: ours, which is then what was stored, or nothing.
    async fn settle(&self, key: &Key, content: &Content<'_>) -> Result<Option<Stored>, Fault> {
        let found = match self.patiently(|| self.bucket.look(key)).await {
            Ok(None) => return Ok(None),
            Ok(Some(found)) => found,
            // For a key that may put and not look, the answer is the put's own condition.
            Err(Fault::Refused(refusal)) if refusal.status == 403 && refusal.code.is_none() => {
                return Ok(None);
            }
            Err(fault) => return Err(fault),
        };
        let taken = || {
            Fault::Judged(
                DestinationErrorKind::Exists,
                "another object has this key, and it is not replaced".to_owned(),
            )
        };
        if found.bytes != content.body.len() as u64 {
            return Err(taken());
        }
        let is_ours = match &found.sha256 {
            Some(sha256) => *sha256 == content.digits(),
            // The store does not say: what it has is read.
            None if content.body.is_empty() => true,
            None => {
                let found = self.patiently(|| self.bucket.get((key, &[]), None));
                found.await? == *content.body
            }
        };
        if is_ours {
            Ok(Some(Stored {
                is_checked: found.sha256.is_some(),
                version: found.version,
            }))
        } else {
            Err(taken())
        }
    }

    /// Puts, and asks what the store has where it does not say so itself.
    async fn put_and_confirm(&self, key: &Key, content: &Content<'_>) -> Result<Stored, Fault> {
        let taken = self.bucket.put(key, content).await?;
        if taken.is_checked {
            return Ok(Stored {
                is_checked: true,
                version: taken.version,
            });
        }
        let found = self.patiently(|| self.bucket.look(key)).await?;
        let Some(found) = found else {
            return Err(Fault::damaged(
                "the store took the object and does not have it",
            ));
        };
        let is_other = found
            .sha256
            .as_ref()
            .is_some_and(|sha256| *sha256 != content.digits());
        if found.bytes != content.body.len() as u64 || is_other {
            return Err(Fault::damaged("the store took other bytes than were sent"));
        }
        Ok(Stored {
            is_checked: found.sha256.is_some(),
            version: taken.version.or(found.version),
        })
    }

    /// Puts, and settles what is uncertain.
    async fn put(&self, key: &Key, content: &Content<'_>) -> Result<Stored, Fault> {
        let mut pauses = Pauses::new(self.timeout);
        loop {
            let settling = self.settle(key, content);
            if let Some(stored) = within(pauses.limit(), settling).await? {
                return Ok(stored);
            }
            let putting = self.put_and_confirm(key, content);
            let fault = match within(pauses.limit(), putting).await {
                Ok(stored) => {
                    self.find_out_conditions(key, content).await;
                    return Ok(stored);
                }
                Err(fault) => fault,
            };
            let passing = match fault.passing() {
                Passing::Never if is_condition(&fault) => Passing::Soon,
                Passing::Never => return Err(fault),
                passing => passing,
            };
            if let Err(fault) = pauses.wait((fault, passing)).await {
                // The last attempt may have arrived.
                let settling = self.settle(key, content);
                let settled = within(pauses.limit(), settling).await;
                return settled.ok().flatten().ok_or(fault);
            }
        }
    }

    /// Puts the same bytes again: a store that takes them does not keep the condition. Once, with something
    /// small; nothing is lost, since they are the same.
    async fn find_out_conditions(&self, key: &Key, content: &Content<'_>) {
        if content.body.len() > PROBE || self.conditions.load(Ordering::Relaxed) != UNKNOWN {
            return;
        }
        let found = match self.bucket.put(key, content).await {
            Ok(_) => IGNORED,
            Err(fault) if is_condition(&fault) => KEPT,
            // Another put finds it out.
            Err(_) => return,
        };
        self.conditions.store(found, Ordering::Relaxed);
    }
}

/// What a request gives within so long.
async fn within<T>(
    limit: Duration,
    request: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    let answered = tokio::time::timeout(limit, request).await;
    answered.unwrap_or_else(|_| Err(Fault::silence("the store")))
}

/// Whether a put was refused for what lies under the key, or for another put at the same moment.
fn is_condition(fault: &Fault) -> bool {
    matches!(fault, Fault::Refused(refusal) if matches!(refusal.status, 409 | 412))
}

#[async_trait]
impl Store for S3Store {
    async fn put_new(&self, key: &Key, body: Bytes) -> Result<Stored, DestinationError> {
        let hashed = body.clone();
        let sha256 = threads::io("digest", move || Ok(Sha256::digest(&hashed).to_vec())).await;
        let stored = match sha256 {
            Ok(sha256) => {
                let content = Content {
                    body: &body,
                    sha256,
                };
                self.put(key, &content).await
            }
            Err(error) => Err(Fault::Unreachable(error.to_string())),
        };
        stored.map_err(|fault| fault.while_doing(format!("put {}", self.bucket.shown(key))))
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Bytes, DestinationError> {
        if range.as_ref().is_some_and(Range::is_empty) {
            return Ok(Bytes::new());
        }
        let read = self
            .patiently(|| self.bucket.get((key, &[]), range.as_ref()))
            .await;
        read.map_err(|fault| fault.while_doing(format!("read {}", self.bucket.shown(key))))
    }

    async fn head(&self, key: &Key) -> Result<Option<ObjectFacts>, DestinationError> {
        let found = self.patiently(|| self.bucket.look(key)).await;
        found.map_err(|fault| fault.while_doing(format!("look at {}", self.bucket.shown(key))))
    }

    async fn list(&self, under: &Key) -> Result<Vec<Listed>, DestinationError> {
        let limit = Pauses::new(self.timeout).limit();
        let listed = within(limit, self.bucket.list(under)).await;
        let doing = || format!("list {}", self.bucket.shown(under));
        let mut listed = listed.map_err(|fault| fault.while_doing(doing()))?;
        listed.sort_unstable_by(|one, other| one.key.cmp(&other.key));
        Ok(listed)
    }

    async fn folders(&self, under: &Key) -> Result<Vec<Key>, DestinationError> {
        let limit = Pauses::new(self.timeout).limit();
        let folders = within(limit, self.bucket.folders(under)).await;
        let doing = || format!("list {}", self.bucket.shown(under));
        let mut folders = folders.map_err(|fault| fault.while_doing(doing()))?;
        folders.sort_unstable();
        Ok(folders)
    }

    async fn delete(&self, keys: &[Key]) -> Result<(), DestinationError> {
        let Some(first) = keys.first() else {
            return Ok(());
        };
        let removed = self.patiently(|| self.bucket.delete(keys)).await;
        removed.map_err(|fault| {
            let more = match keys.len() {
                1 => String::new(),
                many => format!(" and {} more", many - 1),
            };
            fault.while_doing(format!("remove {}{more}", self.bucket.shown(first)))
        })
    }

    async fn probe(&self, folder: &Key) -> Result<Probed, DestinationError> {
        let probed = self.probe_bucket(folder).await;
        probed.map_err(|fault| fault.while_doing(format!("probe {}", self.bucket.shown(folder))))
    }

    fn versions(&self) -> Option<&dyn Versions> {
        Some(self)
    }

    async fn clock_offset(&self) -> Result<Option<TimeDelta>, DestinationError> {
        let doing = || format!("ask {} for its time", self.url);
        let key = Key::new("v1").map_err(|error| Fault::of(&error).while_doing(doing()))?;
        match self.patiently(|| self.bucket.look(&key)).await {
            // A refusal has a time as well.
            Ok(_) | Err(Fault::Refused(_)) => Ok(self.bucket.ahead()),
            Err(fault) => Err(fault.while_doing(doing())),
        }
    }

    fn keeps_conditions(&self) -> Option<bool> {
        match self.conditions.load(Ordering::Relaxed) {
            KEPT => Some(true),
            IGNORED => Some(false),
            _ => None,
        }
    }
}
