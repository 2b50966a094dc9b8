//! Copies for tests, and a store in memory that holds them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, TimeZone as _, Utc};
use uuid::Uuid;

use super::{
    COPY_FORMAT, CopiedFile, CopiedVolume, CopyFact, CopyManifest, CopyName, Document, FactKind,
    FileRole, Object, Place, RunSecret, Sha256Sum, Signer, TrustedSigners, Versions, VolumeName,
};
use crate::config::{Compression, Format};
use crate::destination::{
    DestinationError, DestinationErrorKind, Key, Listed, ObjectFacts, Store, Stored,
};
use crate::recipient::Recipient;

/// A store in memory. Its clock stands until it is moved.
#[derive(Debug)]
pub(super) struct Memory {
    objects: Mutex<BTreeMap<Key, (Bytes, DateTime<Utc>)>>,
    clock: Mutex<DateTime<Utc>>,
    pub(super) reads: AtomicUsize,
}

impl Memory {
    pub(super) fn put(&self, key: &Key, bytes: impl Into<Bytes>) {
        let object = (bytes.into(), self.now());
        self.objects.lock().unwrap().insert(key.clone(), object);
    }

    pub(super) fn bytes(&self, key: &Key) -> Bytes {
        self.objects.lock().unwrap()[key].0.clone()
    }

    pub(super) fn remove(&self, key: &Key) {
        assert!(self.objects.lock().unwrap().remove(key).is_some());
    }

    pub(super) fn keys(&self) -> Vec<Key> {
        self.objects.lock().unwrap().keys().cloned().collect()
    }

    pub(super) fn now(&self) -> DateTime<Utc> {
        *self.clock.lock().unwrap()
    }

    pub(super) fn wait(&self, time: TimeDelta) {
        *self.clock.lock().unwrap() += time;
    }
}

#[async_trait]
impl Store for Memory {
    async fn put_new(&self, key: &Key, body: Bytes) -> Result<Stored, DestinationError> {
        self.put(key, body);
        Ok(Stored {
            is_checked: true,
            version: None,
        })
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Bytes, DestinationError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let objects = self.objects.lock().unwrap();
        let (bytes, _) = objects.get(key).ok_or_else(|| DestinationError {
            doing: format!("read {key}"),
            kind: DestinationErrorKind::Missing,
            cause: "there is none".to_owned(),
        })?;
        let range = range.unwrap_or(0..bytes.len() as u64);
        let end = usize::try_from(range.end).unwrap().min(bytes.len());
        Ok(bytes.slice(usize::try_from(range.start).unwrap()..end))
    }

    async fn head(&self, _: &Key) -> Result<Option<ObjectFacts>, DestinationError> {
        unreachable!("a catalogue asks for no single object")
    }

    async fn list(&self, under: &Key) -> Result<Vec<Listed>, DestinationError> {
        let start = format!("{under}/");
        let objects = self.objects.lock().unwrap();
        let below = objects
            .iter()
            .filter(|(key, _)| key.as_str().starts_with(&start));
        Ok(below
            .map(|(key, (bytes, modified))| Listed {
                key: key.clone(),
                bytes: bytes.len() as u64,
                modified: *modified,
            })
            .collect())
    }

    async fn folders(&self, under: &Key) -> Result<Vec<Key>, DestinationError> {
        let start = format!("{under}/");
        let keys = self.keys();
        let mut folders: Vec<Key> = keys
            .iter()
            .filter_map(|key| key.as_str().strip_prefix(&start)?.split_once('/'))
            .map(|(name, _)| Key::new(&format!("{start}{name}")).unwrap())
            .collect();
        folders.dedup();
        Ok(folders)
    }

    async fn delete(&self, keys: &[Key]) -> Result<(), DestinationError> {
        for key in keys {
            self.remove(key);
        }
        Ok(())
    }
}

/// A host with its signing key and a store.
pub(super) struct Host {
    directory: tempfile::TempDir,
    pub(super) signer: Signer,
    pub(super) place: Place,
    pub(super) store: Memory,
    pub(super) secret: RunSecret,
}

impl Host {
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self {
            signer: Signer::open_or_create(&directory.path().join("signer")).unwrap(),
            directory,
            place: Place::new("db1", "main", "app/2").unwrap(),
            store: Memory {
                objects: Mutex::default(),
                clock: Mutex::new(Utc.with_ymd_and_hms(2026, 11, 30, 3, 0, 0).unwrap()),
                reads: AtomicUsize::new(0),
            },
            secret: RunSecret::fresh(),
        }
    }

    /// Another key, which nobody trusts.
    pub(super) fn stranger(&self) -> Signer {
        Signer::open_or_create(&self.directory.path().join("stranger")).unwrap()
    }

    pub(super) fn trusted(&self) -> TrustedSigners {
        TrustedSigners::default().with_own(&self.place.host, self.signer.public())
    }

    /// Puts the volumes of files, and makes the manifest of a copy of them.
    pub(super) fn copy(&self, files: &[(FileRole, &str, &[u8])], to: &[Recipient]) -> CopyManifest {
        let stem = "backup_20261130_020000".parse().unwrap();
        let name = CopyName::new(&stem, Uuid::now_v7(), !to.is_empty());
        let files = files.iter().map(|(role, suffix, content)| {
            let file = name.file(suffix);
            let volumes = content.chunks(1000).zip(1..).map(|(part, number)| {
                let volume = VolumeName::fresh(&file, number, !to.is_empty());
                let key = self.place.object(&name, &Object::Volume(volume));
                let part = if to.is_empty() {
                    part.to_vec()
                } else {
                    self.secret.public().seal(part).unwrap()
                };
                self.store.put(&key, part.clone());
                CopiedVolume {
                    key: key.to_string(),
                    bytes: part.len() as u64,
                    sha256: Sha256Sum::of(&part),
                    version: None,
                }
            });
            CopiedFile {
                role: *role,
                bytes: content.len() as u64,
                volumes: volumes.collect(),
                name: file.clone(),
            }
        });
        let files = files.collect();
        CopyManifest {
            recipients: to.iter().map(|one| one.fingerprint().to_owned()).collect(),
            key: (!to.is_empty()).then(|| self.secret.seal_to(to).unwrap()),
            files,
            ..self.manifest(name)
        }
    }

    /// A manifest without files.
    fn manifest(&self, copy: CopyName) -> CopyManifest {
        let started = DateTime::parse_from_rfc3339("2026-11-30T02:00:00+01:00").unwrap();
        CopyManifest {
            format: COPY_FORMAT,
            document: Document::Copy,
            host: self.place.host.clone(),
            server: self.place.server.clone(),
            database: self.place.database.clone(),
            copy,
            attempt: Uuid::now_v7(),
            series: "daily".parse().unwrap(),
            started,
            zone: "Europe/Berlin".to_owned(),
            verified: started + TimeDelta::minutes(1),
            made: self.store.now(),
            next_due: Some(self.store.now() + TimeDelta::days(1)),
            is_partial: false,
            is_pinned: false,
            dump: Format::Plain,
            compression: Compression::Gzip,
            versions: Versions {
                program: "pgbackupd 0.1.0".to_owned(),
                server: "17.2".to_owned(),
                pg_dump: "pg_dump (PostgreSQL) 17.2".to_owned(),
            },
            signer: self.signer.fingerprint(),
            recipients: Vec::new(),
            key: None,
            sequence: 1,
            previous: None,
            files: Vec::new(),
        }
    }

    /// A small copy in the clear.
    pub(super) fn small(&self) -> CopyManifest {
        let files = [
            (FileRole::Manifest, ".json", &b"{}\n"[..]),
            (FileRole::Artifact, ".sql.gz", &[7; 2500]),
        ];
        self.copy(&files, &[])
    }

    /// Puts a manifest under its key with this signer's signature.
    pub(super) fn put(&self, manifest: &CopyManifest, signer: &Signer) -> Key {
        let attempt = manifest.attempt;
        let object = Object::Manifest { attempt };
        let key = self.place.object(&manifest.copy, &object);
        self.put_signed(&key, &manifest.to_bytes().unwrap(), signer);
        key
    }

    /// Puts a document and its signature.
    pub(super) fn put_signed(&self, key: &Key, bytes: &[u8], signer: &Signer) {
        self.store
            .put(&signature_of(key), signer.sign(bytes).unwrap());
        self.store.put(key, bytes.to_vec());
    }

    pub(super) fn fact(&self, copy: &CopyName, fact: FactKind) -> CopyFact {
        CopyFact {
            format: COPY_FORMAT,
            document: Document::Fact,
            host: self.place.host.clone(),
            server: self.place.server.clone(),
            database: self.place.database.clone(),
            copy: copy.clone(),
            fact,
            id: Uuid::now_v7(),
            made: self.store.now(),
            supersedes: Vec::new(),
            recipients: Vec::new(),
            key: None,
        }
    }

    pub(super) fn put_fact(&self, fact: &CopyFact, signer: &Signer) -> Key {
        let object = Object::Fact {
            kind: fact.fact,
            id: fact.id,
        };
        let key = self.place.object(&fact.copy, &object);
        self.put_signed(&key, &fact.to_bytes().unwrap(), signer);
        key
    }
}

/// Where the signature of a document lies.
pub(super) fn signature_of(key: &Key) -> Key {
    Key::new(&format!("{key}.sig")).unwrap()
}
