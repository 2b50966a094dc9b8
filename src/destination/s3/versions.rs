//! The versions of a bucket's objects: requests that the library does not have.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::S3Store;
use super::bucket::{Query, S3Bucket};
use super::xml::Element;
use crate::destination::bucket::{Bucket as _, Fault};
use crate::destination::error::DestinationError;
use crate::destination::key::Key;
use crate::destination::versions::{ObjectVersion, Versions};
use crate::policy::protection::{Asked, Versioning};

/// What a key needs that reads versions.
const NEEDED: &str =
    "let the key's policy allow s3:ListBucketVersions and s3:GetObjectVersion there";

/// A page of a listing of versions.
#[derive(Debug, PartialEq, Eq)]
struct Page {
    /// The versions, with their keys in the bucket, in the store's order.
    versions: Vec<Listed>,
    /// What is one level below the prefix and goes on.
    folders: Vec<String>,
    /// Where the next page begins: a key and a version; none at the end.
    next: Option<(String, Option<String>)>,
}

#[derive(Debug, PartialEq, Eq)]
struct Listed {
    key: String,
    version: String,
    modified: DateTime<Utc>,
    bytes: Option<u64>,
}

impl Page {
    fn read(document: &[u8]) -> Result<Self, Fault> {
        let root = Element::parse(document)?;
        let is_encoded = root.text_of("EncodingType") == Some("url");
        let key = |text: &str| {
            if is_encoded {
                decoded(text)
            } else {
                text.to_owned()
            }
        };
        let incomplete =
            || Fault::damaged("a version in the store's listing lacks its key or time");
        let mut versions = Vec::new();
        for one in &root.children {
            let is_removal = one.name == "DeleteMarker";
            if !is_removal && one.name != "Version" {
                continue;
            }
            let modified = one.text_of("LastModified");
            let modified = modified.and_then(|text| DateTime::parse_from_rfc3339(text).ok());
            versions.push(Listed {
                key: one.text_of("Key").map(key).ok_or_else(incomplete)?,
                version: one.text_of("VersionId").unwrap_or("null").to_owned(),
                modified: modified.ok_or_else(incomplete)?.to_utc(),
                bytes: if is_removal {
                    None
                } else {
                    Some(one.number_of("Size").ok_or_else(incomplete)?)
                },
            });
        }
        let folders = root.all("CommonPrefixes");
        let folders = folders.filter_map(|one| one.text_of("Prefix").map(key));
        let is_truncated = root.text_of("IsTruncated") == Some("true");
        let marker = root.text_of("NextKeyMarker").map(key);
        let version = root.text_of("NextVersionIdMarker").map(str::to_owned);
        let next = match (is_truncated, marker) {
            (false, _) => None,
            (true, Some(marker)) => Some((marker, version)),
            (true, None) => {
                return Err(Fault::damaged(
                    "the store's listing goes on, and does not say where",
                ));
            }
        };
        Ok(Self {
            folders: folders.collect(),
            versions,
            next,
        })
    }
}

/// What `encoding-type=url` made of a key. What is not UTF-8 is no key of ours.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        let digits = behind
            .get(..2)
            .and_then(|two| std::str::from_utf8(two).ok());
        let escaped = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (first, escaped) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &behind[2..];
            }
            (b'+', _) => {
                bytes.push(b' ');
                rest = behind;
            }
            _ => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl S3Bucket {
    /// A page of the versions whose keys in the bucket begin so.
    async fn page(
        &self,
        prefix: &str,
        delimiter: Option<&str>,
        from: Option<&(String, Option<String>)>,
    ) -> Result<Page, Fault> {
        let mut query: Vec<(&str, &str)> = vec![
            ("versions", ""),
            ("encoding-type", "url"),
            ("prefix", prefix),
        ];
        query.extend(delimiter.map(|delimiter| ("delimiter", delimiter)));
        if let Some((key, version)) = from {
            query.push(("key-marker", key));
            query.extend(version.as_ref().map(|one| ("version-id-marker", &**one)));
        }
        let document = self.ask_bucket(&query).await?;
        Page::read(&document)
    }
}

impl S3Store {
    /// The versions and folders below a prefix, page by page, until `is_enough` says so of a page.
    async fn pages(
        &self,
        prefix: &str,
        delimiter: Option<&str>,
        is_enough: impl Fn(&Page) -> bool,
    ) -> Result<(Vec<ObjectVersion>, Vec<Key>), Fault> {
        let (mut versions, mut folders, mut next) = (Vec::new(), Vec::new(), None);
        loop {
            let page = self
                .patiently(|| self.bucket.page(prefix, delimiter, next.as_ref()))
                .await?;
            let is_enough = is_enough(&page);
            versions.extend(page.versions.into_iter().filter_map(|one| {
                Some(ObjectVersion {
                    key: self.bucket.prefix.own_key(&one.key)?,
                    version: one.version,
                    modified: one.modified,
                    bytes: one.bytes,
                })
            }));
            let found = page.folders.iter();
            let found = found.map(|folder| folder.trim_end_matches('/'));
            folders.extend(found.filter_map(|folder| self.bucket.prefix.own_key(folder)));
            if is_enough || page.next.is_none() {
                return Ok((versions, folders));
            }
            if page.next == next {
                return Err(Fault::damaged("the store's listing does not go on"));
            }
            next = page.next;
        }
    }

    /// The versions of all keys with a prefix, which is that of a key of ours.
    async fn versions_with(
        &self,
        prefix: &str,
        of: &Key,
    ) -> Result<Vec<ObjectVersion>, DestinationError> {
        let found = self.pages(prefix, None, |_| false).await;
        let (versions, _) = found.map_err(|fault| fault.while_needing(self.listing(of), NEEDED))?;
        Ok(versions)
    }

    fn listing(&self, under: &Key) -> String {
        format!("list the versions of {}", self.bucket.shown(under))
    }
}

#[async_trait]
impl Versions for S3Store {
    async fn are_kept(&self) -> Result<Option<bool>, DestinationError> {
        let setting = self.patiently(|| self.bucket.versioning()).await;
        let are_kept = |setting| match setting {
            Asked::Known(versioning) => Some(versioning != Versioning::Off),
            Asked::Unknown => None,
        };
        let setting = setting.map(are_kept);
        setting.map_err(|fault| {
            fault.while_doing(format!("ask {} for its versions", self.bucket.url()))
        })
    }

    async fn versions_below(&self, under: &Key) -> Result<Vec<ObjectVersion>, DestinationError> {
        let prefix = format!("{}/", self.bucket.prefix.in_bucket(under));
        self.versions_with(&prefix, under).await
    }

    async fn versions_beginning(
        &self,
        start: &Key,
    ) -> Result<Vec<ObjectVersion>, DestinationError> {
        self.versions_with(&self.bucket.prefix.in_bucket(start), start)
            .await
    }

    async fn versions_of(&self, key: &Key) -> Result<Vec<ObjectVersion>, DestinationError> {
        let prefix = self.bucket.prefix.in_bucket(key);
        // Keys are sorted: what only begins like this one comes behind it.
        let is_past = |page: &Page| page.versions.last().is_some_and(|one| one.key != prefix);
        let found = self.pages(&prefix, None, is_past).await;
        let found = found.map_err(|fault| fault.while_needing(self.listing(key), NEEDED));
        let (mut versions, _) = found?;
        versions.retain(|one| one.key == *key);
        Ok(versions)
    }

    async fn folders_ever(&self, under: &Key) -> Result<Vec<Key>, DestinationError> {
        let prefix = format!("{}/", self.bucket.prefix.in_bucket(under));
        let found = self.pages(&prefix, Some("/"), |_| false).await;
        let found = found.map_err(|fault| fault.while_needing(self.listing(under), NEEDED));
        let (_, mut folders) = found?;
        folders.sort_unstable();
        folders.dedup();
        Ok(folders)
    }

    async fn get_version(
        &self,
        (key, version): (&Key, &str),
        range: Option<Range<u64>>,
    ) -> Result<Bytes, DestinationError> {
        if range.as_ref().is_some_and(Range::is_empty) {
            return Ok(Bytes::new());
        }
        let query: Query<'_> = &[("versionId", version)];
        let read = self
            .patiently(|| self.bucket.get_of((key, query), range.as_ref()))
            .await;
        let doing = || format!("read version {version} of {}", self.bucket.shown(key));
        read.map_err(|fault| fault.while_needing(doing(), NEEDED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_versions_and_removals_in_the_order_of_the_store() {
        let document = "<ListVersionsResult><Name>b</Name><EncodingType>url</EncodingType>\
             <IsTruncated>true</IsTruncated><NextKeyMarker>p%2Fa+b%3D</NextKeyMarker>\
             <NextVersionIdMarker>v0</NextVersionIdMarker>\
             <DeleteMarker><Key>p%2Fa</Key><VersionId>v2</VersionId>\
             <LastModified>2026-11-30T14:00:53Z</LastModified></DeleteMarker>\
             <Version><Key>p%2Fa%3D2f</Key><VersionId>v1</VersionId><Size>7</Size>\
             <LastModified>2026-11-30T14:00:52.250Z</LastModified></Version>\
             <Version><Key>p%2Fc</Key><Size>0</Size>\
             <LastModified>2026-11-30T14:00:52Z</LastModified></Version>\
             <CommonPrefixes><Prefix>p%2Fd%2F</Prefix></CommonPrefixes></ListVersionsResult>";
        let page = Page::read(document.as_bytes()).unwrap();
        let short = |one: &Listed| (one.key.clone(), one.version.clone(), one.bytes);
        let versions: Vec<_> = page.versions.iter().map(short).collect();
        let expected = [
            ("p/a", "v2", None),
            ("p/a=2f", "v1", Some(7)),
            ("p/c", "null", Some(0)),
        ];
        let expected = expected.map(|(key, version, bytes)| (key.into(), version.into(), bytes));
        assert_eq!(versions, expected);
        assert_eq!(page.folders, ["p/d/"]);
        let next = ("p/a b=".to_owned(), Some("v0".to_owned()));
        assert_eq!(page.next, Some(next));
        assert_eq!(page.versions[1].modified.timestamp_subsec_millis(), 250);
    }

    #[test]
    fn a_page_that_lacks_something_is_refused() {
        for (document, word) in [
            ("<L><IsTruncated>true</IsTruncated></L>", "where"),
            (
                "<L><Version><Key>a</Key><Size>1</Size></Version></L>",
                "time",
            ),
            (
                "<L><Version><Key>a</Key><LastModified>2026-11-30T14:00:52Z</LastModified></Version></L>",
                "key",
            ),
        ] {
            let error = Page::read(document.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn keys_that_no_store_can_write_in_xml_are_decoded() {
        for (text, expected) in [
            ("a%2Fb%3D2f", "a/b=2f"),
            ("a+b", "a b"),
            ("%01", "\u{1}"),
            ("100%", "100%"),
            ("%zz%4", "%zz%4"),
            ("%FF", "\u{fffd}"),
        ] {
            assert_eq!(decoded(text), expected);
        }
    }
}
