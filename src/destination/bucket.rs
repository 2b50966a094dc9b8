//! What the buckets of all stores behind HTTP have in common.
//!
//! `object_store` has the credentials, and lists. Puts, reads, looks and most removals are requests of our own,
//! since it shows neither the checksum that a store has nor what a store said. Before each attempt of a put the
//! store is asked what lies there: so a lost answer is settled, and also a store that ignores its condition
//! replaces nothing but what was put in between.

mod courier;
mod dialect;
mod exchange;
mod fault;
mod library;
mod listing;
mod prefix;

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt as _;
use object_store::client::HttpResponse;

pub(super) use self::courier::{Courier, header, read};
pub(super) use self::dialect::Dialect;
pub(super) use self::exchange::{Headers, facts_of, object_in, range_header, request};
pub(super) use self::fault::{Fault, Refusal, with_causes};
pub(super) use self::library::{check_token_file, folders, in_a_header, list};
pub(super) use self::prefix::Prefix;
use super::error::{DestinationError, DestinationErrorKind};
use super::key::Key;
use super::pauses::{Passing, Pauses};
use super::{Listed, ObjectFacts, Store, Stored, Versions, probe};
use crate::policy::protection::{Attempt, Probed, ProbedPlace};
use crate::threads;

/// A put of so many bytes at most is made a second time to find out whether the store keeps its conditions.
const PROBE: usize = 64 << 10;

/// So many objects are removed at a time, where each takes a request.
const REMOVALS: usize = 8;

/// What is known of a store's conditions.
const UNKNOWN: u8 = 0;
const KEPT: u8 = 1;
const IGNORED: u8 = 2;

/// What is to be put.
pub(super) struct Content<'b> {
    /// The bytes.
    pub(super) body: &'b Bytes,
    /// Their [digest](Bucket::digest).
    pub(super) digest: Vec<u8>,
}

/// A put that the store took.
pub(super) struct Taken {
    /// Whether the store said that its checksum is ours; one that is another is a fault.
    pub(super) is_checked: bool,
    /// The version, where the store keeps versions.
    pub(super) version: Option<String>,
}

/// What lies under a key that something is put under.
enum Settled {
    /// What is put: it was stored.
    Ours(Stored),
    /// Nothing.
    Nothing,
    /// The key may not look.
    Unknown,
}

/// A bucket, one request at a time.
#[async_trait]
pub(super) trait Bucket: Send + Sync + Sized + 'static {
    /// The digest that the store compares when it takes an object. That of [`ObjectFacts`] is SHA-256: a store
    /// whose facts have one has to use it here as well.
    fn digest(body: &[u8]) -> Vec<u8>;

    /// The bucket as it is shown.
    fn url(&self) -> String;

    /// The address of an object as it is shown.
    fn shown(&self, key: &Key) -> String;

    /// How far the store's clock was ahead at its last answer.
    fn ahead(&self) -> Option<TimeDelta>;

    /// What is known of an object; none where there is no such.
    async fn look(&self, key: &Key) -> Result<Option<ObjectFacts>, Fault>;

    /// Reads an object, or a range of it, which is not empty.
    async fn get(&self, key: &Key, range: Option<&Range<u64>>) -> Result<Bytes, Fault>;

    /// Puts an object; under a key that has one only if that `replaces`.
    async fn put(&self, key: &Key, content: &Content<'_>, replaces: bool) -> Result<Taken, Fault>;

    /// The objects below a key, in any order.
    async fn list(&self, under: &Key) -> Result<Vec<Listed>, Fault>;

    /// What is one level below a key and has further levels, in any order.
    async fn folders(&self, under: &Key) -> Result<Vec<Key>, Fault>;

    /// Removes objects; what is not there counts as removed.
    async fn delete(&self, keys: &[Key]) -> Result<(), Fault>;

    /// When the credentials end, where they say so.
    fn credentials_end(&self) -> Option<DateTime<Utc>> {
        None
    }

    /// What kind of place a probe shows it as.
    fn place(&self) -> ProbedPlace {
        ProbedPlace::Other
    }

    /// A probe that finds more than the one that all stores have in common.
    async fn probe(_: &BucketStore<Self>, _: &Key) -> Option<Result<Probed, Fault>> {
        None
    }

    /// The versions of its objects; none where they cannot be asked for.
    fn versions(_: &BucketStore<Self>) -> Option<&dyn Versions> {
        None
    }
}

/// A destination that is a bucket.
pub(super) struct BucketStore<B> {
    pub(super) bucket: B,
    timeout: Duration,
    /// Whether the store keeps the condition of a put.
    conditions: AtomicU8,
}

impl<B: Bucket> fmt::Debug for BucketStore<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BucketStore")
            .field("url", &self.bucket.url())
            .finish_non_exhaustive()
    }
}

impl<B: Bucket> BucketStore<B> {
    /// The store with this bucket. No request takes longer than `timeout`, and all attempts at it no longer than
    /// twice that.
    pub(super) fn of(bucket: B, timeout: Duration) -> Self {
        Self {
            bucket,
            timeout,
            conditions: AtomicU8::new(UNKNOWN),
        }
    }

    /// Asks again, after growing pauses, for as long as the reason may pass.
    pub(super) async fn patiently<T, F: Future<Output = Result<T, Fault>>>(
        &self,
        mut ask: impl FnMut() -> F,
    ) -> Result<T, Fault> {
        let mut pauses = Pauses::new(self.timeout);
        loop {
            match ask().await {
                Ok(answer) => return Ok(answer),
                Err(fault) => {
                    let passing = fault.passing();
                    pauses.wait((fault, passing)).await?;
                }
            }
        }
    }

    /// What lies under a key; what is another object's is a fault.
    async fn settle(&self, key: &Key, content: &Content<'_>) -> Result<Settled, Fault> {
        let found = match self.patiently(|| self.bucket.look(key)).await {
            Ok(None) => return Ok(Settled::Nothing),
            Ok(Some(found)) => found,
            // For a key that may put and not look, the answer is the put's own condition.
            Err(Fault::Refused(refusal)) if refusal.status == 403 && refusal.code.is_none() => {
                return Ok(Settled::Unknown);
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
            Some(sha256) => *sha256 == hexadecimal(&content.digest),
            // The store does not say: what it has is read.
            None if content.body.is_empty() => true,
            None => {
                let found = self.patiently(|| self.bucket.get(key, None));
                found.await? == *content.body
            }
        };
        if is_ours {
            Ok(Settled::Ours(Stored {
                is_checked: found.sha256.is_some(),
                version: found.version,
            }))
        } else {
            Err(taken())
        }
    }

    /// Puts, and asks what the store has where it does not say so itself.
    async fn put_and_confirm(&self, key: &Key, content: &Content<'_>) -> Result<Stored, Fault> {
        let taken = self.bucket.put(key, content, false).await?;
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
            .is_some_and(|sha256| *sha256 != hexadecimal(&content.digest));
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
            if let Settled::Ours(stored) = self.settle(key, content).await? {
                return Ok(stored);
            }
            let fault = match self.put_and_confirm(key, content).await {
                Ok(stored) => {
                    self.find_out_conditions(key, content).await;
                    return Ok(stored);
                }
                Err(fault) => fault,
            };
            let passing = match fault.passing() {
                Passing::Never if fault.is_conflict() => Passing::Soon,
                Passing::Never => return Err(fault),
                passing => passing,
            };
            if let Err(fault) = pauses.wait((fault, passing)).await {
                // The last attempt may have arrived.
                return match self.settle(key, content).await {
                    Ok(Settled::Ours(stored)) => Ok(stored),
                    Ok(Settled::Nothing) => Err(fault.without_object()),
                    // Only what lies there is more than the put's own answer.
                    Err(settled) if settled.kind() == DestinationErrorKind::Exists => Err(settled),
                    Ok(Settled::Unknown) | Err(_) => Err(fault),
                };
            }
        }
    }

    /// Puts the same bytes again: a store that takes them does not keep the condition. Once, with something
    /// small; nothing is lost, since they are the same.
    async fn find_out_conditions(&self, key: &Key, content: &Content<'_>) {
        if content.body.len() > PROBE || self.conditions.load(Ordering::Relaxed) != UNKNOWN {
            return;
        }
        let found = match self.bucket.put(key, content, false).await {
            Ok(_) => IGNORED,
            Err(fault) if fault.is_condition() => KEPT,
            // Another put finds it out.
            Err(_) => return,
        };
        self.conditions.store(found, Ordering::Relaxed);
    }

    /// The probe that all stores have in common, with a put that replaces.
    async fn probe_in_common(&self, folder: &Key) -> Result<Probed, DestinationError> {
        let mut is_retained = false;
        let mut probed = probe::probe_with(self, folder, async |key: &Key| {
            let body = Bytes::from_static(probe::OTHER);
            let content = Content {
                digest: B::digest(&body),
                body: &body,
            };
            let put = self
                .patiently(|| self.bucket.put(key, &content, true))
                .await;
            is_retained = matches!(&put, Err(Fault::Refused(refusal)) if refusal.is_retention());
            let put = put.map(drop);
            put.map_err(|fault| fault.while_doing(format!("replace {}", self.bucket.shown(key))))
        })
        .await?;
        if is_retained {
            let why = "a retention keeps the object now: compare its length with your longest rule";
            probed.replace = Attempt::Unknown(why.to_owned());
            probed.delete = Attempt::Unknown(why.to_owned());
        }
        probed.place = self.bucket.place();
        Ok(probed)
    }
}

/// Waits for removals, each a request, some at a time; what is not there counts as removed.
pub(super) async fn all_removed<F>(removals: Vec<F>) -> Result<(), Fault>
where
    F: Future<Output = Result<HttpResponse, Fault>> + Send,
{
    let mut outcomes = futures::stream::iter(removals).buffer_unordered(REMOVALS);
    while let Some(outcome) = outcomes.next().await {
        match outcome {
            Err(Fault::Refused(refusal)) if refusal.is_missing_object() => {}
            outcome => drop(outcome?),
        }
    }
    Ok(())
}

/// Bytes in hexadecimal digits.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[async_trait]
impl<B: Bucket> Store for BucketStore<B> {
    async fn put_new(&self, key: &Key, body: Bytes) -> Result<Stored, DestinationError> {
        let hashed = body.clone();
        let digest = threads::io("digest", move || Ok(B::digest(&hashed))).await;
        let stored = match digest {
            Ok(digest) => {
                let content = Content {
                    body: &body,
                    digest,
                };
                self.put(key, &content).await
            }
            Err(error) => Err(Fault::Unreachable(error.to_string(), "")),
        };
        stored.map_err(|fault| fault.while_doing(format!("put {}", self.bucket.shown(key))))
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Bytes, DestinationError> {
        if range.as_ref().is_some_and(Range::is_empty) {
            return Ok(Bytes::new());
        }
        let read = self
            .patiently(|| self.bucket.get(key, range.as_ref()))
            .await;
        read.map_err(|fault| fault.while_doing(format!("read {}", self.bucket.shown(key))))
    }

    async fn head(&self, key: &Key) -> Result<Option<ObjectFacts>, DestinationError> {
        let found = self.patiently(|| self.bucket.look(key)).await;
        found.map_err(|fault| {
            fault.while_doing(format!("read the attributes of {}", self.bucket.shown(key)))
        })
    }

    async fn list(&self, under: &Key) -> Result<Vec<Listed>, DestinationError> {
        let listed = self.bucket.list(under).await;
        let doing = || format!("list {}", self.bucket.shown(under));
        let mut listed = listed.map_err(|fault| fault.while_doing(doing()))?;
        listed.sort_unstable_by(|one, other| one.key.cmp(&other.key));
        Ok(listed)
    }

    async fn folders(&self, under: &Key) -> Result<Vec<Key>, DestinationError> {
        let folders = self.bucket.folders(under).await;
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
        let doing = || format!("probe {}", self.bucket.shown(folder));
        match B::probe(self, folder).await {
            Some(probed) => probed.map_err(|fault| fault.while_doing(doing())),
            None => self.probe_in_common(folder).await,
        }
    }

    fn versions(&self) -> Option<&dyn Versions> {
        B::versions(self)
    }

    fn credentials_end(&self) -> Option<DateTime<Utc>> {
        self.bucket.credentials_end()
    }

    async fn clock_offset(&self) -> Result<Option<TimeDelta>, DestinationError> {
        let doing = || format!("ask {} for its time", self.bucket.url());
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
