//! The manifest of a copy: what lies at the destination, and under which names. It is signed, and readable by
//! whoever reads the store.
//!
//! Nothing in it fingerprints the content of an encrypted copy: there is no digest of a file in the clear, no
//! count of rows or tables, no name of a table or role, no reason, and no text of the operator's. All of that
//! is in the backup's own manifest, which is one of the sealed files. Sizes are no secret: the lengths of the
//! volumes show them anyway.

use std::path::Path;

use chrono::{DateTime, FixedOffset, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::layout::Place;
use super::object::{CopyName, Object};
use super::sha256::Sha256Sum;
use crate::config::{Compression, Format};
use crate::destination::Key;
use crate::policy::Series;

/// The newest format of copy manifests and facts that this program writes and reads.
pub const COPY_FORMAT: u32 = 1;

/// The longest manifest, fact or signature that is read, in bytes: whoever holds the store's key can put any
/// bytes there. A manifest of 1 TiB in volumes of 16 MiB has less than 24 MiB.
pub const LONGEST_DOCUMENT: u64 = 32 << 20;

/// The largest volume that a manifest may name, in bytes: a volume is read into memory before its digest is
/// compared. What is written has 16 MiB, and a little more encrypted.
pub const LARGEST_VOLUME: u64 = 64 << 20;

/// What a signed document is, so that none passes for one of another kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Document {
    /// A copy's manifest.
    Copy,
    /// A later fact of a copy.
    Fact,
    /// The state of a host.
    Status,
}

/// Everything about one copy. Each field says what of the backup it shows in the clear.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CopyManifest {
    /// [`COPY_FORMAT`]. A newer one is refused.
    pub format: u32,
    /// [`Document::Copy`].
    pub document: Document,
    /// The host's name, as in the key.
    pub host: String,
    /// The server's name in the host's configuration, as in the key.
    pub server: String,
    /// The database's name, as in the key.
    pub database: String,
    /// The backup's stem and run, as in the key: without the reason's slug if the copy is encrypted.
    pub copy: CopyName,
    /// The attempt that put this manifest, as in the key: random bits and the time.
    #[serde(rename = "try")]
    pub attempt: Uuid,
    /// The series: retention counts by it without opening anything.
    pub series: Series,
    /// When the backup's run started, on the wall clock of the schedule's zone, as in the stem.
    pub started: DateTime<FixedOffset>,
    /// The schedule's zone by its IANA name: retention counts days, weeks and months on it.
    pub zone: String,
    /// When the backup's read-back on the host had found it intact.
    pub verified: DateTime<FixedOffset>,
    /// When this manifest was made, by the host's clock.
    pub made: DateTime<Utc>,
    /// When the next backup of the series was due: a reader of the destination sees from it alone that the
    /// newest is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_due: Option<DateTime<Utc>>,
    /// Whether the backup lacks rows that it should have. Which, only its own manifest says.
    pub is_partial: bool,
    /// Whether the backup was pinned when this was made. By whom, only the host knows.
    pub is_pinned: bool,
    /// The dump's format, which the names of files show anyway.
    pub dump: Format,
    /// The dump's compression, which the names of files show anyway.
    pub compression: Compression,
    /// The versions of what made it: which programs a restore needs.
    pub versions: Versions,
    /// The fingerprint of the key that signs this manifest, as `ssh-keygen -l` prints it.
    pub signer: String,
    /// The fingerprints of the recipients that `key` is sealed to: which identity opens the copy. None of a
    /// plain copy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<String>,
    /// The secret half of the copy's own key pair, sealed to the recipients: an age file in ASCII armour.
    /// None of a plain copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The number of this manifest among those that the host put for this database at this destination.
    pub sequence: u64,
    /// The SHA-256 of the manifest before it, whose bytes hold nothing but what is listed here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Sha256Sum>,
    /// The files, in the order in which a restore reads them.
    pub files: Vec<CopiedFile>,
}

/// The versions of what made a backup and its copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Versions {
    /// The program that made the copy, with its version.
    pub program: String,
    /// The server, as in the backup's manifest.
    pub server: String,
    /// `pg_dump --version` of the program that made the dump.
    pub pg_dump: String,
}

/// A file of a backup at the destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CopiedFile {
    /// What it is.
    pub role: FileRole,
    /// Its name, as [`CopyName::file`] makes it: without the reason's slug if the copy is encrypted.
    pub name: String,
    /// Its length before encryption, in bytes, which follows from the lengths of the volumes.
    pub bytes: u64,
    /// Its parts, in order.
    pub volumes: Vec<CopiedVolume>,
}

/// What a copied file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileRole {
    /// The backup's own manifest, unchanged.
    Manifest,
    /// The dump; one in directory format as a tar.
    Artifact,
    /// Roles and tablespaces of the cluster.
    Globals,
    /// What the dump contains.
    Census,
}

/// A part of a file, an object of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CopiedVolume {
    /// Its key, relative to the address of the destination.
    pub key: String,
    /// The length of what lies there, in bytes.
    pub bytes: u64,
    /// The SHA-256 of what lies there: encrypted, it says nothing of the content.
    pub sha256: Sha256Sum,
    /// The store's version of it, where the store keeps versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// Why a document at a destination cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// It is longer than any that is written.
    #[error("it has {0} bytes, more than any that a program of this version writes")]
    Long(u64),
    /// A newer program wrote it.
    #[error("it has format {0}, which is newer than this program: upgrade pgbackupd")]
    Newer(u32),
    /// It is no such document.
    #[error("it cannot be understood: {0}")]
    Malformed(#[source] serde_json::Error),
    /// What it names is not what its key names.
    #[error("it lies under {key}, and belongs under {signed}")]
    Misnamed {
        /// Where it lies.
        key: String,
        /// The key that it names, quoted.
        signed: String,
    },
    /// Its parts do not fit together.
    #[error("it contradicts itself: {0}")]
    Inconsistent(String),
}

#[derive(Deserialize)]
struct Versioned {
    format: u32,
}

/// Reads a document of the current format. The caller has verified its signature: nothing else in it may be
/// looked at before.
pub(super) fn read_document<T: serde::de::DeserializeOwned>(
    bytes: &[u8],
) -> Result<T, DocumentError> {
    let length = bytes.len() as u64;
    if length > LONGEST_DOCUMENT {
        return Err(DocumentError::Long(length));
    }
    let Versioned { format } = serde_json::from_slice(bytes).map_err(DocumentError::Malformed)?;
    if format > COPY_FORMAT {
        return Err(DocumentError::Newer(format));
    }
    serde_json::from_slice(bytes).map_err(DocumentError::Malformed)
}

impl CopyManifest {
    /// Whether the files of the backup were encrypted before they were copied.
    pub fn is_of_encrypted_files(&self) -> bool {
        let dumps = self
            .files
            .iter()
            .filter(|file| file.role == FileRole::Artifact);
        dumps.map(|file| &file.name).any(|name| {
            Path::new(name)
                .extension()
                .is_some_and(|ending| ending == "age")
        })
    }

    /// The manifest as the bytes of its object: these are what is signed.
    ///
    /// # Errors
    /// Only by an internal error.
    pub fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads a manifest whose signature was verified, and compares its names with those of its key.
    ///
    /// # Errors
    /// When it is too long, newer than this program or malformed, names another copy than its key, or volumes
    /// that are not its own.
    pub fn read(bytes: &[u8], key: &Key) -> Result<Self, DocumentError> {
        let manifest: Self = read_document(bytes)?;
        manifest.check_names(key)?;
        manifest.check_content()?;
        manifest.check_files()?;
        Ok(manifest)
    }

    /// The place that it names.
    ///
    /// # Errors
    /// When its names make no key.
    pub fn place(&self) -> Result<Place, super::layout::LayoutError> {
        Place::new(&self.host, &self.server, &self.database)
    }

    /// Whether the volumes are encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.key.is_some()
    }

    /// All volumes, in the order of the files.
    pub fn volumes(&self) -> impl Iterator<Item = &CopiedVolume> {
        self.files.iter().flat_map(|file| &file.volumes)
    }

    /// The bytes of all volumes.
    pub fn bytes(&self) -> u64 {
        self.volumes()
            .fold(0, |sum, volume| sum.saturating_add(volume.bytes))
    }

    /// The latest of its dates, none of which may be after the store's time of the object.
    pub fn latest_date(&self) -> DateTime<Utc> {
        self.made
            .max(self.started.to_utc())
            .max(self.verified.to_utc())
    }

    fn check_names(&self, key: &Key) -> Result<(), DocumentError> {
        if self.document != Document::Copy {
            return Err(inconsistent("it is no manifest of a copy"));
        }
        let signed = Signed {
            place: [&self.host, &self.server, &self.database],
            copy: &self.copy,
            object: Object::Manifest {
                attempt: self.attempt,
            },
        };
        signed.compare(key)
    }

    fn check_content(&self) -> Result<(), DocumentError> {
        if self.key.is_some() == self.recipients.is_empty() {
            return Err(inconsistent("only one of key and recipients is there"));
        }
        let stem = self.copy.stem();
        if stem.series != self.series {
            return Err(inconsistent("the stem is of another series"));
        }
        let count = |role| self.files.iter().filter(|file| file.role == role).count();
        if [FileRole::Manifest, FileRole::Artifact].map(count) != [1, 1]
            || count(FileRole::Globals) > 1
            || count(FileRole::Census) > 1
        {
            return Err(inconsistent(
                "it has not one dump and one manifest, and at most one of each other file",
            ));
        }
        Ok(())
    }

    /// Every volume lies below the copy's own name, as the next part of its file, and none twice.
    fn check_files(&self) -> Result<(), DocumentError> {
        let place = self
            .place()
            .map_err(|error| inconsistent(&error.to_string()))?;
        let mut seen = std::collections::HashSet::new();
        for file in &self.files {
            let is_own_name = file
                .name
                .strip_prefix(&self.copy.stem().to_string())
                .is_some_and(|suffix| suffix.starts_with('.'));
            if !is_own_name || file.volumes.is_empty() || !seen.insert(&file.name) {
                return Err(inconsistent(&format!(
                    "the file {:?} is not the copy's, is named twice, or has no volumes",
                    file.name
                )));
            }
            for (volume, number) in file.volumes.iter().zip(1_u32..) {
                let is_own = Key::new(&volume.key).ok().and_then(|key| place.parse(&key));
                let is_own = is_own.is_some_and(|(copy, object)| {
                    matches!(object, Object::Volume(name) if copy == self.copy
                        && name.file() == file.name
                        && name.number() == number
                        && name.is_encrypted() == self.is_encrypted())
                });
                if !is_own || !(1..=LARGEST_VOLUME).contains(&volume.bytes) {
                    return Err(inconsistent(&format!(
                        "{:?} of {} bytes is not volume {number} of {}",
                        volume.key, volume.bytes, file.name
                    )));
                }
            }
        }
        Ok(())
    }
}

pub(super) fn inconsistent(what: &str) -> DocumentError {
    DocumentError::Inconsistent(what.to_owned())
}

/// The names in a signed document that its key has too.
pub(super) struct Signed<'a> {
    /// Host, server and database.
    pub(super) place: [&'a String; 3],
    pub(super) copy: &'a CopyName,
    pub(super) object: Object,
}

impl Signed<'_> {
    /// Refuses a document that lies under another key than the one that it names.
    pub(super) fn compare(&self, key: &Key) -> Result<(), DocumentError> {
        let [host, server, database] = self.place;
        let own = Place::new(host, server, database)
            .map(|place| place.object(self.copy, &self.object).to_string())
            .unwrap_or_default();
        if own == key.as_str() {
            return Ok(());
        }
        Err(DocumentError::Misnamed {
            key: key.to_string(),
            signed: format!("{own:?}"),
        })
    }
}

#[cfg(test)]
mod tests;
