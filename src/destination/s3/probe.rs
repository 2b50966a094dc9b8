//! Finds out what the key of a bucket may do, by objects of a few bytes.
//!
//! Where a version cannot be removed again, a probe leaves nothing that a later one would add to: its one object
//! stays as it is, and what a put in its place would do is asked with a condition that does not hold.

use bytes::Bytes;
use reqwest::Method;
use sha2::{Digest as _, Sha256};

use super::S3Store;
use super::bucket::version_of;
use crate::destination::bucket::{Bucket as _, Content, Fault, header};
use crate::destination::error::DestinationErrorKind;
use crate::destination::key::Key;
use crate::destination::probe::{BODY, OBJECT, OTHER, found, nothing_there};
use crate::destination::versions::Versions as _;
use crate::display::joined_lines;
use crate::policy::protection::{
    Asked, Attempt, BucketProbe, Lock, Probed, ProbedPlace, Versioning,
};

/// The name of the object that a probe replaces.
const REPLACED: &str = "replaced";

/// The name under which a probe removes what is not there.
const REMOVED: &str = "removed";

/// An object of a probe that is there.
struct Put<'k> {
    key: &'k Key,
    /// Its version, where the store keeps versions.
    version: Option<String>,
}

/// What the key may do to an object that is there.
struct Power {
    replace: Attempt,
    delete: Attempt,
    delete_version: Option<Attempt>,
    left: u64,
}

impl S3Store {
    /// Probes the bucket below a key.
    pub(super) async fn probe_bucket(&self, folder: &Key) -> Result<Probed, Fault> {
        let [first, second, third] = [OBJECT, REPLACED, REMOVED].map(|name| folder.below(name));
        let (first, second, third) = (key(first)?, key(second)?, key(third)?);
        for leftover in [&first, &second] {
            self.clear(leftover).await?;
        }
        let mut bucket = self.settings_of(folder).await?;
        let (put, version) = self.first_put(&first).await?;
        let is_create_only = match self.put_probe(&first, OTHER, Some(is_new())).await {
            _ if put != Attempt::Done => None,
            Ok(_) => Some(false),
            Err(fault) if fault.is_condition() => Some(true),
            Err(fault) => attempt(Err::<(), _>(fault)).map(|_| None)?,
        };
        let read = match self.patiently(|| self.bucket.get(&first, None)).await {
            _ if put != Attempt::Done => nothing_there(),
            Ok(bytes) if bytes == BODY || bytes == OTHER => Attempt::Done,
            Ok(_) => Attempt::Unknown("other bytes came back than were put".to_owned()),
            Err(fault) => attempt(Err::<(), _>(fault))?,
        };
        let list = match self.bucket.list(folder).await {
            Ok(_) if put != Attempt::Done => Attempt::Done,
            Ok(listed) => found(listed.iter().any(|one| one.key == first)),
            Err(fault) => attempt(Err::<(), _>(fault))?,
        };
        if bucket.lock == Asked::Unknown {
            bucket.lock = self.lock_of(&first).await?;
        }
        let put_first = Put {
            key: &first,
            version,
        };
        let power = if put == Attempt::Done {
            self.power(&put_first, (&second, &third)).await?
        } else {
            Power::unknown()
        };
        if bucket.versioning == Asked::Unknown && power.delete_version.is_some() {
            bucket.versioning = Asked::Known(Versioning::On);
        }
        bucket.delete_version = power.delete_version;
        Ok(Probed {
            put,
            is_create_only,
            replace: power.replace,
            read,
            list,
            delete: power.delete,
            left: power.left,
            place: ProbedPlace::Bucket(bucket),
        })
    }

    /// What the bucket is set to.
    async fn settings_of(&self, folder: &Key) -> Result<BucketProbe, Fault> {
        let below = self.bucket.prefix.in_bucket(folder);
        let host = below.rsplit_once('/').map_or("", |(host, _)| host);
        let below = format!("{host}/");
        Ok(BucketProbe {
            versioning: self.patiently(|| self.bucket.versioning()).await?,
            lock: self.patiently(|| self.bucket.lock()).await?,
            lifecycle: self.patiently(|| self.bucket.lifecycle(&below)).await?,
            delete_version: None,
            is_google: self.bucket.is_google(),
        })
    }

    /// Removes what an earlier probe left, if that is possible now: a lock may have ended.
    async fn clear(&self, key: &Key) -> Result<(), Fault> {
        let left = match self.patiently(|| self.bucket.look(key)).await {
            Ok(Some(left)) => left,
            Ok(None) | Err(Fault::Refused(_)) => return Ok(()),
            Err(fault) => return Err(fault),
        };
        if left.version.is_some() {
            let removed = self.remove(key, left.version.as_deref(), false).await;
            attempt(removed).map(drop)
        } else {
            attempt(self.remove(key, None, false).await).map(drop)
        }
    }

    /// Puts the first object, or finds the one that no probe could remove; gives its version.
    async fn first_put(&self, first: &Key) -> Result<(Attempt, Option<String>), Fault> {
        match self.put_probe(first, BODY, Some(is_new())).await {
            Ok(version) => Ok((Attempt::Done, version)),
            // The key may put: it is the object that is in the way.
            Err(fault) if fault.is_condition() => {
                let there = self.patiently(|| self.bucket.look(first)).await;
                let version = there.ok().flatten().and_then(|there| there.version);
                Ok((Attempt::Done, version))
            }
            Err(fault) => Ok((attempt(Err::<(), _>(fault))?, None)),
        }
    }

    /// Puts an object of a probe; gives its version.
    async fn put_probe(
        &self,
        key: &Key,
        body: &'static [u8],
        condition: Option<(&'static str, String)>,
    ) -> Result<Option<String>, Fault> {
        let body = Bytes::from_static(body);
        let content = Content {
            digest: Sha256::digest(&body).to_vec(),
            body: &body,
        };
        let put = || self.bucket.put_if(key, &content, condition.clone());
        Ok(self.patiently(put).await?.version)
    }

    /// Removes an object, or a version of it; gives the version of the mark that it was removed.
    async fn remove(
        &self,
        key: &Key,
        version: Option<&str>,
        bypasses: bool,
    ) -> Result<Option<String>, Fault> {
        let query: Vec<(&str, &str)> = version
            .map(|version| ("versionId", version))
            .into_iter()
            .collect();
        let bypass = ("x-amz-bypass-governance-retention", "true".to_owned());
        let headers: Vec<_> = bypasses.then_some(bypass).into_iter().collect();
        let asked = || {
            self.bucket
                .ask_of((Method::DELETE, key, &query), &headers, None)
        };
        let answer = self.patiently(asked).await?;
        Ok(version_of(&answer))
    }

    /// Removes a version for good; one that a GOVERNANCE lock keeps, by the permission to bypass it.
    async fn remove_version(&self, key: &Key, version: &str) -> Result<Attempt, Fault> {
        let removed = attempt(self.remove(key, Some(version), false).await)?;
        if matches!(removed, Attempt::Refused(_))
            && self.remove(key, Some(version), true).await.is_ok()
        {
            return Ok(Attempt::Done);
        }
        Ok(removed)
    }

    /// Finds out whether the key can replace and remove an object, and leaves as little as can be.
    async fn power(&self, put: &Put<'_>, (second, third): (&Key, &Key)) -> Result<Power, Fault> {
        let Some(version) = &put.version else {
            // Nothing piles up: there is one object under one key.
            let replace = attempt(self.put_probe(put.key, BODY, None).await)?;
            let delete = attempt(self.remove(put.key, None, false).await)?;
            return Ok(Power {
                left: u64::from(delete != Attempt::Done),
                replace,
                delete,
                delete_version: None,
            });
        };
        let removed = self.remove_version(put.key, version).await?;
        if removed == Attempt::Done {
            self.power_over_versions(second).await
        } else {
            Ok(Power {
                replace: self.would_replace(put.key).await?,
                delete: self.would_delete(third).await?,
                delete_version: Some(removed),
                left: 1,
            })
        }
    }

    /// The same where every version can be removed again.
    async fn power_over_versions(&self, second: &Key) -> Result<Power, Fault> {
        let mut versions = Vec::new();
        versions.extend(self.put_probe(second, BODY, Some(is_new())).await?);
        let replaced = self.put_probe(second, OTHER, None).await;
        versions.extend(replaced.as_ref().ok().cloned().flatten());
        let deleted = self.remove(second, None, false).await;
        versions.extend(deleted.as_ref().ok().cloned().flatten());
        let mut left = 0;
        for version in &versions {
            let removed = self.remove_version(second, version).await?;
            left += u64::from(removed != Attempt::Done);
        }
        Ok(Power {
            replace: attempt(replaced)?,
            delete: attempt(deleted)?,
            delete_version: Some(Attempt::Done),
            left,
        })
    }

    /// Whether an object would be replaced, by a condition that does not hold: permissions come before it.
    async fn would_replace(&self, key: &Key) -> Result<Attempt, Fault> {
        let condition = (
            "if-match",
            "\"0123456789abcdef0123456789abcdef\"".to_owned(),
        );
        match self.put_probe(key, OTHER, Some(condition)).await {
            Err(fault) if fault.is_condition() => Ok(Attempt::Done),
            Err(Fault::Refused(refusal)) if !refusal.is_denial() => Ok(Attempt::Unknown(
                "it is not tried, since what it leaves could not be removed".to_owned(),
            )),
            outcome => attempt(outcome),
        }
    }

    /// Whether an object would be removed. That leaves a mark that it was, once.
    async fn would_delete(&self, third: &Key) -> Result<Attempt, Fault> {
        if let Ok(marks) = self.versions_of(third).await
            && !marks.is_empty()
        {
            return Ok(Attempt::Done);
        }
        let removed = self.remove(third, None, false).await;
        if let Ok(Some(mark)) = &removed {
            // If it stays, the next check finds it.
            self.remove_version(third, mark).await?;
        }
        attempt(removed)
    }

    /// The lock of an object that was put a moment before, as a look at it shows.
    async fn lock_of(&self, key: &Key) -> Result<Asked<Option<Lock>>, Fault> {
        let asked = || self.bucket.ask_of((Method::HEAD, key, &[]), &[], None);
        let answer = match self.patiently(asked).await {
            Ok(answer) => answer,
            Err(Fault::Refused(_)) => return Ok(Asked::Unknown),
            Err(fault) => return Err(fault),
        };
        let until = header(&answer, "x-amz-object-lock-retain-until-date");
        let until = until.and_then(|text| chrono::DateTime::parse_from_rfc3339(text).ok());
        let put = header(&answer, "last-modified");
        let put = put.and_then(|text| chrono::DateTime::parse_from_rfc2822(text).ok());
        let (Some(until), Some(put)) = (until, put) else {
            // Who may not see the lock sees none.
            return Ok(Asked::Unknown);
        };
        // The store's answer has whole seconds.
        let days = (until - put + chrono::TimeDelta::minutes(1)).num_days();
        Ok(Asked::Known(Some(Lock {
            is_compliance: header(&answer, "x-amz-object-lock-mode") == Some("COMPLIANCE"),
            days: u64::try_from(days).unwrap_or(0),
        })))
    }
}

impl Power {
    fn unknown() -> Self {
        Self {
            replace: nothing_there(),
            delete: nothing_there(),
            delete_version: None,
            left: 0,
        }
    }
}

/// The condition that nothing lies under the key.
fn is_new() -> (&'static str, String) {
    ("if-none-match", "*".to_owned())
}

fn key(below: Result<Key, crate::destination::InvalidKey>) -> Result<Key, Fault> {
    below.map_err(|error| Fault::Judged(DestinationErrorKind::Settings, error.to_string()))
}

/// What became of a request. What is no refusal is a fault of the probe as a whole.
fn attempt<T>(outcome: Result<T, Fault>) -> Result<Attempt, Fault> {
    let Err(fault) = outcome else {
        return Ok(Attempt::Done);
    };
    let is_denial = matches!(&fault, Fault::Refused(refusal) if refusal.is_denial());
    match fault.kind() {
        // A key that the store does not know, or an expired one, says nothing of the policy.
        DestinationErrorKind::Denied if !is_denial => Err(fault),
        DestinationErrorKind::Denied
        | DestinationErrorKind::Full
        | DestinationErrorKind::Exists => {
            let error = fault.while_doing(String::new());
            Ok(Attempt::Refused(joined_lines(&error.cause)))
        }
        _ => Err(fault),
    }
}
