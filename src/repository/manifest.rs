//! The manifest: the small file that makes a backup of a set of files.

use std::io::{self, Read as _};
use std::path::Path;

use chrono::{DateTime, FixedOffset};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::names::{AtRest, Role};
use super::requester::Requester;
use super::seal::{fits, sealed};
use crate::config::{Compression, Format};
use crate::display::{counted, size};
use crate::pipeline::Digest;
use crate::pipeline::census::Summary;
use crate::policy::Series;
use crate::postgres::{
    DatabaseProperties, LeftOut, LeftOutKind, SecurityLabel, ServerProperties, ServerSetting,
    Setting,
};

/// The longest manifest, in bytes: none is written that is longer, and no more is read. Comments and settings of a
/// database, which are in it, can have megabytes.
pub(super) const LONGEST_MANIFEST: usize = 64 << 20;

/// The format of a backup of a whole database.
pub const MANIFEST_FORMAT: u32 = 1;

/// The format of a partial backup, which a program that knows none must not take for more.
pub const PARTIAL_FORMAT: u32 = 2;

/// The format of a backup whose files are encrypted, partial or not: a program that knows none would look for
/// files of other names, and take these for damaged. The newest that this program reads.
pub const ENCRYPTED_FORMAT: u32 = 3;

/// Everything about one backup, written last and never changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`MANIFEST_FORMAT`], [`PARTIAL_FORMAT`] or [`ENCRYPTED_FORMAT`]. A newer one is refused.
    pub format: u32,
    /// The program that wrote it, with its version.
    pub program: String,
    /// The stem of the backup's files.
    pub name: String,
    /// The run that made it, as in the ledger.
    pub run: Uuid,
    /// The database's name on the server.
    pub database: String,
    /// The series.
    pub series: Series,
    /// Why it was made, in the words of whoever asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When the run started, on the wall clock of the schedule's zone.
    pub started: DateTime<FixedOffset>,
    /// When the read-back had found it whole.
    pub verified: DateTime<FixedOffset>,
    /// The schedule's zone by its IANA name.
    pub zone: String,
    /// The dump.
    pub artifact: Artifact,
    /// Roles and tablespaces of the cluster, unless they were switched off or could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub globals: Option<Globals>,
    /// What the dump contains.
    pub census: CensusFile,
    /// Tables whose rows are not in the backup, because the server did not give them. With one of them it
    /// is partial. Before what a list does not read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped_tables: Vec<SkippedTable>,
    /// The fingerprints of the recipients that the files of the backup are encrypted to, sorted; empty where
    /// they are in the clear. Before what a list does not read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub encrypted_to: Vec<String>,
    /// How long the parts of the run took.
    pub seconds: Seconds,
    /// What the operator should know about this backup, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// What a server computes again when it loads the dump, so that nobody compares it: materialized
    /// views and stored generated columns, in words. None in manifests of programs that did not look.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recomputed: Vec<String>,
    /// What the database has and the dump does not, by `pg_dump`'s rules. None in manifests of programs
    /// that did not ask.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    /// Who asked for it.
    pub requested_by: Requester,
    /// `pg_dump --version` of the program that made the dump.
    pub pg_dump: String,
    /// The server it came from.
    pub server: ServerProperties,
    /// The database's own properties, which no dump in plain format holds.
    pub properties: DatabaseProperties,
    /// Of an encrypted backup what is no fact about the backup but content: [`SealedContent`] as an age file in
    /// ASCII armour. Server and properties are without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<String>,
}

/// What the manifest of an encrypted backup has in its sealed part, as JSON. These values can be secrets of an
/// application's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedContent {
    /// Of the server: settings that decide how a dump is read.
    pub server_settings: Vec<ServerSetting>,
    /// Of the database: what `ALTER DATABASE … SET` has set.
    pub settings: Vec<Setting>,
    /// Of the database: its comment.
    pub comment: Option<String>,
    /// Of the database: its security labels.
    pub labels: Vec<SecurityLabel>,
}

impl SealedContent {
    /// Takes it out of what is known of a server and a database.
    pub fn take(server: &mut ServerProperties, properties: &mut DatabaseProperties) -> Self {
        Self {
            server_settings: std::mem::take(&mut server.settings),
            settings: std::mem::take(&mut properties.settings),
            comment: properties.comment.take(),
            labels: std::mem::take(&mut properties.labels),
        }
    }
}

/// The dump.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// Its file name, in the manifest's directory.
    pub file: String,
    /// Its shape.
    pub format: Format,
    /// Its compression.
    pub compression: Compression,
    /// Its digest; of a directory, that of the sorted output of `sha256sum *` in it.
    #[serde(flatten)]
    pub digest: Digest,
    /// Bytes of the dump as SQL text.
    pub text_bytes: u64,
}

/// Roles and tablespaces of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Globals {
    /// Its file name, in the manifest's directory.
    pub file: String,
    /// Its digest.
    #[serde(flatten)]
    pub digest: Digest,
    /// Whether it holds the roles' password verifiers, which a superuser or a member of
    /// `pg_read_all_data` can read.
    pub role_passwords: bool,
}

/// The stored census.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CensusFile {
    /// Its file name, in the manifest's directory.
    pub file: String,
    /// Its digest.
    #[serde(flatten)]
    pub digest: Digest,
    /// The census in a few numbers.
    pub summary: Summary,
}

/// A table whose rows are not in a partial backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedTable {
    /// Its name, as SQL writes it.
    pub table: String,
    /// So many rows could be read before the failure.
    pub rows_read: u64,
    /// Why not all, in the server's words.
    pub reason: String,
}

/// How long the parts of a run took, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Seconds {
    /// The dump, to the end of its sync.
    pub dump: f64,
    /// Reading it back, as far as that went on after the end of the dump.
    pub check: f64,
    /// The whole run, up to publishing.
    pub total: f64,
}

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The file cannot be read.
    #[error("cannot read it: {0}")]
    Read(#[source] io::Error),
    /// It is longer than those that are written.
    #[error("it is longer than a manifest can be, {}", size(LONGEST_MANIFEST as u64))]
    TooLong,
    /// A newer program wrote it.
    #[error("it has format {0}, which is newer than this program: upgrade pgbackupd")]
    Newer(u32),
    /// It is no manifest.
    #[error("it cannot be understood: {0}")]
    Malformed(#[source] serde_json::Error),
    /// It is not as it was written.
    #[error("it has been changed since it was written: its checksum does not match")]
    Changed,
    /// It names another backup than its file does, or files of another.
    #[error("it is the manifest of {0:?}: it has been renamed")]
    Misnamed(String),
}

#[derive(Deserialize)]
struct Versioned {
    format: u32,
}

impl Manifest {
    /// Whether it holds less than a backup should: the rows of some tables are missing.
    pub fn is_partial(&self) -> bool {
        !self.skipped_tables.is_empty()
    }

    /// Bytes of all files of the backup but the manifest itself.
    pub fn bytes(&self) -> u64 {
        let globals = self.globals.as_ref();
        self.artifact.digest.bytes
            + self.census.digest.bytes
            + globals.map_or(0, |globals| globals.digest.bytes)
    }

    /// The files that it vouches for, the artifact last.
    pub fn files(&self) -> Vec<(Role, Digest)> {
        let globals = self.globals.iter();
        globals
            .map(|globals| (self.globals_role(), globals.digest.clone()))
            .chain([
                (self.census_role(), self.census.digest.clone()),
                (self.artifact_role(), self.artifact.digest.clone()),
            ])
            .collect()
    }

    /// Whether the files that it vouches for are encrypted.
    pub fn is_encrypted(&self) -> bool {
        !self.encrypted_to.is_empty()
    }

    /// How these files are stored.
    pub fn at_rest(&self) -> AtRest {
        if self.is_encrypted() {
            AtRest::Encrypted
        } else {
            AtRest::Clear
        }
    }

    /// What its dump is in the repository.
    pub fn artifact_role(&self) -> Role {
        Role::Artifact(
            self.artifact.format,
            self.artifact.compression,
            self.at_rest(),
        )
    }

    /// The same of its roles and tablespaces.
    pub fn globals_role(&self) -> Role {
        Role::Globals(self.at_rest())
    }

    /// The same of its census.
    pub fn census_role(&self) -> Role {
        Role::Census(self.at_rest())
    }

    /// Puts back what its sealed part had.
    pub fn put_content(&mut self, content: SealedContent) {
        self.server.settings = content.server_settings;
        self.properties.settings = content.settings;
        self.properties.comment = content.comment;
        self.properties.labels = content.labels;
    }

    /// What the database had and a copy of the backup does not, one sentence each. Whose extensions are
    /// another's, the copy itself shows.
    pub fn not_in_the_backup(&self) -> Vec<String> {
        let mut all = self.skipped();
        all.extend(self.left_out_but_for(|what| what == LeftOutKind::ExtensionOwners));
        all
    }

    /// The rows among that, of tables that the backup has.
    pub fn rows_not_in_the_backup(&self) -> Vec<String> {
        let mut all = self.skipped();
        all.extend(self.left_out_but_for(|what| what != LeftOutKind::UnloggedRows));
        all
    }

    fn skipped(&self) -> Vec<String> {
        let skipped = self.skipped_tables.iter();
        skipped
            .map(|one| {
                format!(
                    "the backup is partial, without the rows of {}: {} (read before that: {})",
                    one.table,
                    one.reason,
                    counted(one.rows_read, "row", "rows")
                )
            })
            .collect()
    }

    fn left_out_but_for(&self, is_excepted: impl Fn(LeftOutKind) -> bool) -> Vec<String> {
        let left_out = self.left_out.iter();
        left_out
            .filter(|one| !is_excepted(one.what))
            .map(LeftOut::sentence)
            .collect()
    }

    /// The manifest as the text of its file.
    ///
    /// # Errors
    /// Only by a fault of the program's own.
    pub fn to_text(&self) -> Result<String, serde_json::Error> {
        sealed(self)
    }

    /// Reads a manifest and proves that it is as it was written.
    ///
    /// # Errors
    /// When the file cannot be read, is newer than this program, or has been changed or renamed.
    pub fn read(path: &Path) -> Result<Self, ManifestError> {
        let manifest = Self::from_text(&read_text(path)?)?;
        if path
            .file_stem()
            .is_some_and(|stem| stem.as_encoded_bytes() == manifest.name.as_bytes())
        {
            Ok(manifest)
        } else {
            Err(ManifestError::Misnamed(manifest.name))
        }
    }

    /// The way back from [`to_text`](Self::to_text).
    ///
    /// # Errors
    /// As [`read`](Self::read), but for reading and names.
    pub fn from_text(text: &str) -> Result<Self, ManifestError> {
        check_format(text)?;
        let manifest = serde_json::from_str(text).map_err(ManifestError::Malformed)?;
        check_seal(text.as_bytes())?;
        Ok(manifest)
    }
}

/// The text of a manifest's file.
///
/// # Errors
/// When it cannot be read, or is too long.
pub(super) fn read_text(path: &Path) -> Result<String, ManifestError> {
    let file = crate::regular_file::open(path).map_err(ManifestError::Read)?;
    let mut text = Vec::new();
    file.take(LONGEST_MANIFEST as u64 + 1)
        .read_to_end(&mut text)
        .map_err(ManifestError::Read)?;
    if text.len() > LONGEST_MANIFEST {
        return Err(ManifestError::TooLong);
    }
    String::from_utf8(text)
        .map_err(|error| ManifestError::Read(io::Error::new(io::ErrorKind::InvalidData, error)))
}

/// Refuses what is not as it was written.
pub(super) fn check_seal(text: &[u8]) -> Result<(), ManifestError> {
    if fits(text) {
        Ok(())
    } else {
        Err(ManifestError::Changed)
    }
}

/// Refuses what a newer program wrote, before anything else in it is looked at.
pub(super) fn check_format(text: &str) -> Result<(), ManifestError> {
    let Versioned { format } = serde_json::from_str(text).map_err(ManifestError::Malformed)?;
    if format > ENCRYPTED_FORMAT {
        return Err(ManifestError::Newer(format));
    }
    Ok(())
}
