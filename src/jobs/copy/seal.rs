//! Whether and to whom a copy is sealed.

use crate::copies::{PublicHalf, RunSecret, SealError};
use crate::jobs::error::JobError;
use crate::recipient::Recipient;
use crate::repository::CopyStart;

/// How the volumes of a copy are sealed.
#[derive(Clone, Debug)]
pub(super) enum Sealing {
    /// Not at all.
    Plain,
    /// To the copy's own key.
    Encrypted(PublicHalf),
}

impl Sealing {
    /// What lies at the destination of this part of a file, which it may take.
    pub(super) fn seal(&self, content: &mut Vec<u8>) -> Result<Vec<u8>, JobError> {
        match self {
            Self::Plain => Ok(std::mem::take(content)),
            Self::Encrypted(public) => public.seal(content).map_err(unsealed),
        }
    }
}

/// The key of one copy: what opens its volumes, as far as this run knows.
#[derive(Debug)]
pub(super) struct CopyKey {
    pub(super) sealing: Sealing,
    /// What opens them; none when a run before this one has made the key, and for plain volumes.
    pub(super) secret: Option<RunSecret>,
    /// The secret, sealed to the recipients.
    pub(super) sealed: Option<String>,
}

impl CopyKey {
    /// A new key for a copy to these recipients; none for a plain one.
    ///
    /// # Errors
    /// When the key cannot be sealed to them.
    pub(super) fn fresh(recipients: Option<&[Recipient]>) -> Result<Self, JobError> {
        let Some(recipients) = recipients else {
            return Ok(Self {
                sealing: Sealing::Plain,
                secret: None,
                sealed: None,
            });
        };
        let secret = RunSecret::fresh();
        Ok(Self {
            sealing: Sealing::Encrypted(secret.public()),
            sealed: Some(secret.seal_to(recipients).map_err(unsealed)?),
            secret: Some(secret),
        })
    }

    /// Its public half; none of a plain copy.
    pub(super) fn public(&self) -> Option<String> {
        match &self.sealing {
            Sealing::Plain => None,
            Sealing::Encrypted(public) => Some(public.to_string()),
        }
    }

    /// The key with which a copy was begun; none if it cannot be gone on with.
    pub(super) fn of_start(start: &CopyStart) -> Option<Self> {
        let sealing = match (&start.public, &start.sealed) {
            (None, None) => Sealing::Plain,
            (Some(public), Some(_)) => Sealing::Encrypted(PublicHalf::parse(public).ok()?),
            _ => return None,
        };
        Some(Self {
            sealing,
            secret: None,
            sealed: start.sealed.clone(),
        })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "map_err hands it over")]
fn unsealed(error: SealError) -> JobError {
    JobError::Internal(format!("cannot encrypt the copy: {error}"))
}

/// The fingerprints of recipients, sorted.
pub(in crate::jobs) fn fingerprints(recipients: Option<&[Recipient]>) -> Vec<String> {
    let recipients = recipients.unwrap_or_default().iter();
    let mut prints: Vec<String> = recipients.map(|one| one.fingerprint().to_owned()).collect();
    prints.sort();
    prints
}
