use chrono::{TimeDelta, TimeZone as _};

use super::*;

fn at(second: i64) -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 11, 30, 3, 0, 0).unwrap() + TimeDelta::seconds(second)
}

fn version(key: &Key, version: &str, second: i64, bytes: Option<u64>) -> ObjectVersion {
    ObjectVersion {
        key: key.clone(),
        version: version.to_owned(),
        modified: at(second),
        bytes,
    }
}

/// The objects of a copy, by their names below the place.
fn key(name: &str) -> Key {
    let run = "01900000-0000-7000-8000-000000000001";
    let stem = "v1/db1/main/app/backup_20261130_020000";
    Key::new(&format!("{stem}.{run}{name}")).unwrap()
}

const MANIFEST: &str = ".01900000-0000-7000-8000-000000000002.json";
const VOLUME: &str = "/backup_20261130_020000.sql.gz.1-0000000000000001";

/// What is listed as of a second: the versions by name.
fn listed(versions: &[ObjectVersion], second: i64) -> Vec<String> {
    let under = Key::new("v1/db1/main/app").unwrap();
    let found = as_it_was(&under, versions.to_vec(), at(second));
    found.into_values().map(|one| one.version).collect()
}

#[test]
fn a_document_is_there_in_the_version_that_was_the_newest_then() {
    let manifest = key(MANIFEST);
    let versions = [
        version(&manifest, "replayed", 50, Some(9)),
        version(&manifest, "removed", 40, None),
        version(&manifest, "forged later", 30, Some(7)),
        version(&manifest, "forged", 30, Some(8)),
        version(&manifest, "ours", 10, Some(9)),
    ];
    for (second, expected) in [
        (9, None),
        (10, Some("ours")),
        (29, Some("ours")),
        // Of one moment, the store's order counts.
        (30, Some("forged later")),
        (40, None),
        (49, None),
        (50, Some("replayed")),
        (1000, Some("replayed")),
    ] {
        let expected: Vec<String> = expected.map(str::to_owned).into_iter().collect();
        assert_eq!(listed(&versions, second), expected, "{second}");
    }
    let mut sorted = versions.to_vec();
    sorted.sort_by_key(|one| one.version != "ours");
    assert_eq!(listed(&sorted, 20), ["ours"], "whatever the order");
}

#[test]
fn a_volume_is_there_in_its_first_version_for_as_long_as_its_copy_has_a_manifest() {
    let (manifest, volume) = (key(MANIFEST), key(VOLUME));
    let versions = [
        version(&volume, "removed", 40, None),
        version(&volume, "other bytes", 30, Some(99)),
        version(&volume, "ours", 10, Some(16)),
        version(&manifest, "no manifest", 60, None),
        version(&manifest, "manifest", 20, Some(9)),
    ];
    for (second, expected) in [
        (5, &[][..]),
        // Without a manifest it is an upload that goes on, as it was then.
        (15, &["ours"]),
        (20, &["manifest", "ours"]),
        (35, &["manifest", "ours"]),
        (45, &["manifest", "ours"]),
        // Retention removed the copy.
        (60, &[]),
    ] {
        let mut found = listed(&versions, second);
        found.sort();
        assert_eq!(found, expected, "{second}");
    }
    // What was there under the name before it is nobody's but ours.
    let none = [
        version(&volume, "late", 30, Some(16)),
        version(&manifest, "manifest", 20, Some(9)),
    ];
    assert_eq!(listed(&none, 25), ["manifest"]);
}

/// A bucket in memory, that has all versions and can lose some between the pages of a long listing.
#[derive(Debug, Default)]
struct Bucket {
    versions: Vec<(ObjectVersion, Bytes)>,
    /// So many versions of the first listing are left out.
    lost: usize,
    reads: std::sync::atomic::AtomicUsize,
}

impl Bucket {
    fn put(&mut self, key: &Key, (name, second): (&str, i64), body: &'static str) {
        let version = version(key, name, second, Some(body.len() as u64));
        self.versions.push((version, body.into()));
    }

    fn matching(&self, is_meant: impl Fn(&str) -> bool) -> Vec<ObjectVersion> {
        let all = self.versions.iter().map(|(version, _)| version);
        all.filter(|one| is_meant(one.key.as_str()))
            .cloned()
            .collect()
    }
}

#[async_trait]
impl Versions for Bucket {
    async fn are_kept(&self) -> Result<Option<bool>, DestinationError> {
        Ok(Some(true))
    }

    async fn versions_below(&self, under: &Key) -> Result<Vec<ObjectVersion>, DestinationError> {
        let start = format!("{under}/");
        let mut found = self.matching(|key| key.starts_with(&start));
        if found.len() > PAGE {
            found.drain(..self.lost);
        }
        Ok(found)
    }

    async fn versions_beginning(
        &self,
        start: &Key,
    ) -> Result<Vec<ObjectVersion>, DestinationError> {
        Ok(self.matching(|key| key.starts_with(start.as_str())))
    }

    async fn versions_of(&self, key: &Key) -> Result<Vec<ObjectVersion>, DestinationError> {
        Ok(self.matching(|one| one == key.as_str()))
    }

    async fn folders_ever(&self, _: &Key) -> Result<Vec<Key>, DestinationError> {
        unreachable!("a place has no folders of interest")
    }

    async fn get_version(
        &self,
        (key, version): (&Key, &str),
        _: Option<Range<u64>>,
    ) -> Result<Bytes, DestinationError> {
        self.reads
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut all = self.versions.iter();
        let found = all.find(|(one, _)| one.key == *key && one.version == version);
        found
            .map(|(_, body)| body.clone())
            .ok_or_else(|| DestinationError {
                doing: format!("read {key}"),
                kind: DestinationErrorKind::Missing,
                cause: "NoSuchVersion".to_owned(),
            })
    }
}

#[async_trait]
impl Store for Bucket {
    async fn put_new(&self, _: &Key, _: Bytes) -> Result<Stored, DestinationError> {
        unreachable!("it is only read")
    }

    async fn get(&self, _: &Key, _: Option<Range<u64>>) -> Result<Bytes, DestinationError> {
        unreachable!("only versions are read")
    }

    async fn head(&self, _: &Key) -> Result<Option<ObjectFacts>, DestinationError> {
        unreachable!("only versions are looked at")
    }

    async fn list(&self, _: &Key) -> Result<Vec<Listed>, DestinationError> {
        unreachable!("only versions are listed")
    }

    async fn folders(&self, _: &Key) -> Result<Vec<Key>, DestinationError> {
        unreachable!("only versions are listed")
    }

    async fn delete(&self, _: &[Key]) -> Result<(), DestinationError> {
        unreachable!("it is only read")
    }

    fn versions(&self) -> Option<&dyn Versions> {
        Some(self)
    }
}

#[tokio::test]
async fn a_volume_is_found_by_its_version_or_by_its_digest_and_never_another() {
    let volume = key(VOLUME);
    let sum = Sha256Sum::of(b"ours").to_string();
    for (recorded, has_ours, found, reads) in [
        (Some("v2"), true, true, 1),
        // The store that the copy was moved to has versions of its own.
        (Some("other store"), true, true, 3),
        (None, true, true, 2),
        // One of another length is not even read.
        (Some("v2"), false, false, 3),
    ] {
        let mut bucket = Bucket::default();
        bucket.put(&volume, ("v4", 40), "of another length");
        bucket.put(&volume, ("v3", 30), "evil");
        bucket.put(&volume, ("v2", 20), if has_ours { "ours" } else { "them" });
        bucket.put(&volume, ("v1", 10), "mine");
        let bucket = Arc::new(bucket);
        let store = StoreAsOf::new(Arc::clone(&bucket) as Arc<dyn Store>, at(25));
        let expected = Expected {
            bytes: 4,
            sha256: &sum,
            version: recorded,
        };
        let read = store.get_expected(&volume, expected).await;
        match read {
            Ok(bytes) => assert!(found && bytes == "ours", "{recorded:?}"),
            Err(error) => {
                assert!(!found, "{error}");
                assert_eq!(error.kind, DestinationErrorKind::Damaged, "{error}");
            }
        }
        let made = bucket.reads.load(std::sync::atomic::Ordering::Relaxed);
        assert_eq!(made, reads, "{recorded:?}");
        let body = Bytes::from_static(b"x");
        assert!(store.put_new(&volume, body).await.is_err());
        assert!(store.delete(std::slice::from_ref(&volume)).await.is_err());
    }
}

#[tokio::test]
async fn what_a_long_listing_loses_is_found_when_each_copy_is_listed() {
    let (manifest, volume) = (key(MANIFEST), key(VOLUME));
    let mut bucket = Bucket {
        lost: 1,
        ..Bucket::default()
    };
    bucket.put(&manifest, ("manifest", 10), "m");
    for number in (0..PAGE).rev() {
        bucket.put(&volume, (&format!("v{number}"), 10), "v");
    }
    let store = StoreAsOf::new(Arc::new(bucket), at(25));
    let listed = store.list(&Key::new("v1/db1/main/app").unwrap()).await;
    let keys: Vec<Key> = listed.unwrap().into_iter().map(|one| one.key).collect();
    assert_eq!(keys, [manifest, volume]);
}
