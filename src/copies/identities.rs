//! What identities open at a destination, and of encrypted backups.

use std::sync::Arc;

use super::encryption::{OpenError, RunSecret, unsealed};
use crate::age_identities::Identities;
use crate::pipeline::Opener;
use crate::recipient::Recipient;

/// Why a copy's key could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum RunKeyError {
    /// Other identities are wanted.
    #[error(
        "this copy is encrypted to other keys: wanted is the identity of {wanted}, given was {given}\n\
         hint: `age-keygen -y FILE` prints the recipient of an identity, `ssh-keygen -lf FILE` a fingerprint"
    )]
    OtherKey {
        /// The fingerprints that the copy names.
        wanted: String,
        /// The fingerprints of the identities.
        given: String,
    },
    /// It cannot be opened at all.
    #[error("the copy's key cannot be opened: {0}")]
    Unreadable(#[source] OpenError),
}

impl Identities {
    /// What opens the files of encrypted backups with them.
    pub fn opener(&self) -> Opener {
        let all = self.iter().map(|(recipient, identity)| {
            let fingerprint = recipient.fingerprint().to_owned();
            (Arc::clone(identity), fingerprint)
        });
        Opener::new(all)
    }

    /// The fingerprints of those identities that open a sealed key, each tried by itself.
    pub fn that_open(&self, sealed: &str) -> Vec<String> {
        let opens = |identity: &dyn age::Identity| {
            RunSecret::unseal(sealed, std::iter::once(identity)).is_ok()
        };
        let all = self.iter();
        all.filter(|(_, identity)| opens(&**identity))
            .map(|(recipient, _)| recipient.fingerprint().to_owned())
            .collect()
    }

    /// Opens the sealed key of a copy. `wanted` are the recipients' fingerprints that its manifest or its fact
    /// names, for the error.
    ///
    /// # Errors
    /// When none of the identities opens it, or it is damaged.
    pub fn open_run_key(&self, sealed: &str, wanted: &[String]) -> Result<RunSecret, RunKeyError> {
        let identities = self
            .iter()
            .map(|(_, identity)| &**identity as &dyn age::Identity);
        RunSecret::unseal(sealed, identities).map_err(|error| match error {
            OpenError::OtherKey => RunKeyError::OtherKey {
                wanted: wanted.join(" or "),
                given: self
                    .recipients()
                    .map(Recipient::fingerprint)
                    .collect::<Vec<_>>()
                    .join(" and "),
            },
            error => RunKeyError::Unreadable(error),
        })
    }

    /// Opens a text that is sealed to recipients, of so many bytes at most.
    ///
    /// # Errors
    /// When none of the identities opens it, or it is damaged.
    pub(super) fn open_text(&self, sealed: &str, longest: u64) -> Result<Vec<u8>, OpenError> {
        let identities = self
            .iter()
            .map(|(_, identity)| &**identity as &dyn age::Identity);
        // Armour makes a third more of it, and each recipient has some lines.
        let longest_sealed = usize::try_from(longest * 2).unwrap_or(usize::MAX);
        let text = unsealed(sealed, identities, (longest_sealed, longest))?;
        Ok(text.to_vec())
    }
}

#[cfg(test)]
mod tests;
