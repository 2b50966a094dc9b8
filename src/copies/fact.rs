//! Later facts of a copy: that it is pinned or no longer, and its key for further recipients. Signed like a
//! manifest.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::layout::Place;
use super::manifest::{Document, DocumentError, Signed, inconsistent, read_document};
use super::object::{CopyName, FactKind, Object};
use super::signature::{Signer, SignerError};
use crate::destination::Key;

/// A fact. Nothing in it says more of the backup than its key and the copy's manifest do: there is no reason
/// and no user in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CopyFact {
    /// [`COPY_FORMAT`](super::COPY_FORMAT). A newer one is refused.
    pub format: u32,
    /// [`Document::Fact`].
    pub document: Document,
    /// The host's name, as in the key.
    pub host: String,
    /// The server's name, as in the key.
    pub server: String,
    /// The database's name, as in the key.
    pub database: String,
    /// The copy, as in the key.
    pub copy: CopyName,
    /// What it says, as in the key.
    pub fact: FactKind,
    /// Its own id, as in the key.
    pub id: Uuid,
    /// When it was made, by the host's clock.
    pub made: DateTime<Utc>,
    /// The pins and unpins that were known when it was made. They no longer count, whatever time the store has
    /// for them: an old one that is put again has no effect.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub supersedes: Vec<Uuid>,
    /// With [`FactKind::Key`]: the fingerprints of the recipients that `key` is sealed to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<String>,
    /// With [`FactKind::Key`]: the secret half of the copy's key pair, sealed to them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// A fact that cannot be made ready.
#[derive(Debug, thiserror::Error)]
pub enum FactError {
    /// An internal error.
    #[error(transparent)]
    Text(#[from] serde_json::Error),
    /// It cannot be signed.
    #[error(transparent)]
    Sign(#[from] SignerError),
}

impl CopyFact {
    /// The objects to put, in their order: the signature first, since a document without one counts for nothing.
    ///
    /// # Errors
    /// Only by an internal error.
    pub fn objects(&self, place: &Place, signer: &Signer) -> Result<[(Key, Bytes); 2], FactError> {
        let bytes = self.to_bytes()?;
        let signature = signer.sign(&bytes)?;
        let (kind, id) = (self.fact, self.id);
        let key = |object| place.object(&self.copy, &object);
        Ok([
            (key(Object::FactSignature { kind, id }), signature.into()),
            (key(Object::Fact { kind, id }), bytes.into()),
        ])
    }

    /// The fact as the bytes of its object: these are what is signed.
    ///
    /// # Errors
    /// Only by an internal error.
    pub fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads a fact whose signature was verified, and compares its names with those of its key.
    ///
    /// # Errors
    /// When it is too long, newer than this program or malformed, or names something else than its key.
    pub fn read(bytes: &[u8], key: &Key) -> Result<Self, DocumentError> {
        let fact: Self = read_document(bytes)?;
        let has_key = fact.fact == FactKind::Key;
        if fact.document != Document::Fact
            || has_key != fact.key.is_some()
            || has_key == fact.recipients.is_empty()
        {
            return Err(inconsistent("it is no fact, or not one of its kind"));
        }
        let signed = Signed {
            place: [&fact.host, &fact.server, &fact.database],
            copy: &fact.copy,
            object: Object::Fact {
                kind: fact.fact,
                id: fact.id,
            },
        };
        signed.compare(key)?;
        Ok(fact)
    }
}
