//! What a list needs of a manifest, read at as little cost as can be.

use std::io;

use chrono::{DateTime, FixedOffset};
use memchr::memmem;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use uuid::Uuid;

use super::Entry;
use crate::config::{Compression, Format};
use crate::repository::manifest::{ENCRYPTED_FORMAT, ManifestError, check_format, check_seal};
use crate::repository::names::Stem;
use crate::repository::state::State;

/// The members of a manifest that a list needs.
#[derive(Deserialize)]
pub(super) struct Brief {
    format: u32,
    name: String,
    run: Uuid,
    database: String,
    #[serde(default)]
    reason: Option<String>,
    #[serde(deserialize_with = "moment")]
    started: DateTime<FixedOffset>,
    #[serde(deserialize_with = "moment")]
    verified: DateTime<FixedOffset>,
    artifact: BriefArtifact,
    #[serde(default)]
    globals: Option<BriefFile>,
    census: BriefCensus,
    #[serde(default)]
    skipped_tables: Vec<BriefTable>,
    #[serde(default)]
    encrypted_to: Vec<String>,
    /// Read apart: it stands near the end.
    #[serde(skip)]
    system_identifier: Option<u64>,
}

#[derive(Deserialize)]
struct BriefTable {
    table: String,
}

#[derive(Deserialize)]
struct BriefArtifact {
    format: Format,
    compression: Compression,
    bytes: u64,
}

#[derive(Deserialize)]
struct BriefFile {
    bytes: u64,
}

#[derive(Deserialize)]
struct BriefCensus {
    bytes: u64,
    summary: BriefSummary,
}

#[derive(Deserialize)]
struct BriefSummary {
    rows: u64,
    tables: u64,
}

/// RFC 3339, without the many other spellings that chrono's own reading tries.
fn moment<'de, D: Deserializer<'de>>(from: D) -> Result<DateTime<FixedOffset>, D::Error> {
    let text = <&str>::deserialize(from)?;
    DateTime::parse_from_rfc3339(text).map_err(D::Error::custom)
}

impl Brief {
    /// The entry, still without its state.
    pub(super) fn into_entry(self, stem: Stem) -> Entry {
        let globals = self.globals.map_or(0, |globals| globals.bytes);
        Entry {
            stem,
            run: self.run,
            database: self.database,
            reason: self.reason,
            started: self.started,
            verified: self.verified,
            format: self.artifact.format,
            compression: self.artifact.compression,
            bytes: self.artifact.bytes + self.census.bytes + globals,
            rows: self.census.summary.rows,
            tables: self.census.summary.tables,
            skipped_tables: self.skipped_tables.into_iter().map(|it| it.table).collect(),
            encrypted_to: self.encrypted_to,
            system_identifier: self.system_identifier,
            state: State::default(),
        }
    }
}

/// Reads what a list needs of a manifest that is as it was written.
///
/// The text is as before afterwards.
pub(super) fn read_brief(text: &mut [u8], name: &str) -> Result<Brief, ManifestError> {
    // What was changed is no ground to count or to remove a backup on.
    let brief = match check_seal(text) {
        Ok(()) => front(text),
        Err(_) => None,
    };
    let brief = match brief {
        Some(brief) if brief.format <= ENCRYPTED_FORMAT => {
            if brief.name == name {
                Ok(brief)
            } else {
                Err(ManifestError::Misnamed(brief.name))
            }
        }
        _ => read_any(text, name),
    };
    brief.map(|brief| Brief {
        system_identifier: system_identifier(text),
        ..brief
    })
}

/// The server's identifier in a sealed manifest; none where it was not known. As with the front, only
/// the member itself can stand behind a line break.
fn system_identifier(text: &[u8]) -> Option<u64> {
    const MEMBER: &[u8] = b"\n    \"system_identifier\": \"";
    let from = memmem::rfind(text, MEMBER)? + MEMBER.len();
    let digits = text[from..].split(|byte| *byte == b'"').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Reads the members of a sealed manifest up to those that a list needs no more: reading the rest
/// too would double the time that a list of many backups takes. None if that cannot be done.
fn front(text: &mut [u8]) -> Option<Brief> {
    // At this depth and with these characters only the member itself can stand: a line break in a
    // string is written otherwise.
    let end = memmem::find(text, b",\n  \"seconds\": ")?;
    text[end] = b'}';
    let front = std::str::from_utf8(&text[..=end]).ok();
    let brief = front.and_then(|front| serde_json::from_str(front).ok());
    text[end] = b',';
    brief
}

/// Reads what may be of a newer program's making or damaged, and says what is wrong with it.
fn read_any(text: &[u8], name: &str) -> Result<Brief, ManifestError> {
    let text = std::str::from_utf8(text)
        .map_err(|error| ManifestError::Read(io::Error::new(io::ErrorKind::InvalidData, error)))?;
    check_format(text)?;
    let brief: Brief = serde_json::from_str(text).map_err(ManifestError::Malformed)?;
    check_seal(text.as_bytes())?;
    if brief.name == name {
        Ok(brief)
    } else {
        Err(ManifestError::Misnamed(brief.name))
    }
}
