//! The state of a host, which it puts at its destinations: so that its silence, and what it had to report last,
//! is seen from anywhere.
//!
//! Signed like a manifest. In the clear are the host, the time and when the next one is due; the rest is sealed
//! to the recipients. A plain destination gets the numbers of concerns alone: whoever reads there may well be
//! somebody who is not to know hosts, paths and errors.

use chrono::{DateTime, SubsecRound as _, Utc};
use serde::{Deserialize, Serialize};

use super::encryption::{OpenError, SealError, seal_to};
use super::layout::status_at;
use super::manifest::{COPY_FORMAT, Document, DocumentError, inconsistent, read_document};
use crate::age_identities::Identities;
use crate::destination::Key;
use crate::policy::{CopyState, Severity};
use crate::recipient::Recipient;

/// The longest state that is read, in bytes.
pub(super) const LONGEST_STATUS: u64 = 1 << 20;

/// What is sealed is filled up to a multiple of so many bytes: its length shows neither that something is wrong
/// nor how much.
const STEP: usize = 8 << 10;

/// So many concerns are in a state.
const MOST_CONCERNS: usize = 200;

/// So many databases are in a state. The manifests of their copies show the others.
const MOST_DATABASES: usize = 500;

/// So long is a sentence in it at most, in characters.
const LONGEST_SENTENCE: usize = 400;

/// The state of a host, as it lies at a destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostStatus {
    /// [`COPY_FORMAT`]. A newer one is refused.
    pub format: u32,
    /// [`Document::Status`].
    pub document: Document,
    /// The host's name, as in the key.
    pub host: String,
    /// When it was made, by the host's clock, as in the key.
    pub made: DateTime<Utc>,
    /// When the next one is put at the latest: without it, the host has gone silent.
    pub next_due: DateTime<Utc>,
    /// The fingerprint of the key that signs it.
    pub signer: String,
    /// The fingerprints of the recipients that it is sealed to. None at a plain destination.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<String>,
    /// The [`HostState`], an age file in ASCII armour. None at a plain destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<String>,
    /// How many concerns there are. Only at a plain destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concerns: Option<ConcernCounts>,
}

/// How many concerns of each severity there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConcernCounts {
    /// Data is lost or unprotected.
    pub critical: u64,
    /// What can wait for working hours.
    pub warning: u64,
}

/// What only the recipients read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostState {
    /// The program's version.
    pub version: String,
    /// What needs attention, what is worst first.
    pub concerns: Vec<HostConcern>,
    /// How many more there are.
    #[serde(default)]
    pub more_concerns: u64,
    /// The databases.
    pub databases: Vec<HostDatabase>,
}

/// Something that needs attention, as `status --json` has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostConcern {
    /// By what it is known while it lasts.
    pub id: String,
    /// What it is. Another version may know more kinds.
    pub kind: String,
    /// How urgent it is.
    pub severity: Severity,
    /// What it is about, as it is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// What is wrong, and the way out.
    pub message: String,
}

/// How one database stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostDatabase {
    /// The server's name in the configuration.
    pub server: String,
    /// The database.
    pub database: String,
    /// When the run of its newest intact backup on the host started.
    pub newest: Option<DateTime<Utc>>,
    /// Its copies.
    pub copies: Vec<HostCopies>,
}

/// The copies of a database at one destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostCopies {
    /// The destination, as the host calls it.
    pub destination: String,
    /// When the run of the newest backup with a copy started.
    pub newest: Option<DateTime<Utc>>,
    /// How far that copy is proved.
    pub state: Option<CopyState>,
}

impl HostState {
    /// The same within bounds: sentences are cut, and so many concerns and databases are left at most.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        let others = self.concerns.len().saturating_sub(MOST_CONCERNS);
        self.concerns.truncate(MOST_CONCERNS);
        self.more_concerns += others as u64;
        self.databases.truncate(MOST_DATABASES);
        for concern in &mut self.concerns {
            let cut = concern.message.char_indices().nth(LONGEST_SENTENCE);
            if let Some((at, _)) = cut {
                concern.message.truncate(at);
                concern.message.push('…');
            }
        }
        self
    }

    /// Seals it. The length of what comes out says little of it.
    ///
    /// # Errors
    /// When there is no recipient, or the encryption fails.
    pub fn seal(&self, recipients: &[Recipient]) -> Result<String, SealError> {
        let failed = |error: serde_json::Error| SealError::Failed(error.to_string());
        let mut text = serde_json::to_vec(self).map_err(failed)?;
        // Blanks behind JSON mean nothing.
        text.resize(text.len().next_multiple_of(STEP), b' ');
        seal_to(&text, recipients)
    }
}

impl HostStatus {
    /// A state of a host, made at this time, to the second.
    pub fn new(
        host: &str,
        signer: String,
        (made, next_due): (DateTime<Utc>, DateTime<Utc>),
    ) -> Self {
        Self {
            format: COPY_FORMAT,
            document: Document::Status,
            host: host.to_owned(),
            made: made.trunc_subsecs(0),
            next_due: next_due.trunc_subsecs(0),
            signer,
            recipients: Vec::new(),
            sealed: None,
            concerns: None,
        }
    }

    /// The state as the bytes of its object: these are what is signed.
    ///
    /// # Errors
    /// Only by an internal error.
    pub fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads a state whose signature was verified, and compares its host and time with those of its key.
    ///
    /// # Errors
    /// When it is too long, newer than this program or malformed, or names something else than its key.
    pub fn read(bytes: &[u8], key: &Key) -> Result<Self, DocumentError> {
        let length = bytes.len() as u64;
        if length > LONGEST_STATUS {
            return Err(DocumentError::Long(length));
        }
        let status: Self = read_document(bytes)?;
        if status.document != Document::Status {
            return Err(inconsistent("it is not the state of a host"));
        }
        let own = status_at(&status.host, status.made);
        let own = own.map(|key| key.to_string()).unwrap_or_default();
        if own != key.as_str() {
            return Err(DocumentError::Misnamed {
                key: key.to_string(),
                signed: format!("{own:?}"),
            });
        }
        Ok(status)
    }

    /// Opens what is sealed; none at a plain destination.
    ///
    /// # Errors
    /// When none of the identities opens it, or it is damaged.
    pub fn open(&self, identities: &Identities) -> Option<Result<HostState, OpenError>> {
        let sealed = self.sealed.as_deref()?;
        let opened = identities.open_text(sealed, LONGEST_STATUS);
        Some(opened.and_then(|text| {
            serde_json::from_slice(&text).map_err(|error| OpenError::Damaged(error.to_string()))
        }))
    }
}

#[cfg(test)]
mod tests;
