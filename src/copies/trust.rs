//! Whose signatures count: the host's own key, lines of OpenSSH's `allowed_signers`, fingerprints that were
//! given, or everybody's. Time is the store's, never a document's own.

use chrono::{DateTime, Utc};
use ssh_key::{HashAlg, PublicKey};

use super::signature::{self, InvalidSignature, NAMESPACE, PublicSigner};
use crate::allowed_signer::AllowedSigner;

/// Whose signatures count. Nobody's at first.
#[derive(Clone, Debug, Default)]
pub struct TrustedSigners {
    own: Vec<(String, PublicKey)>,
    allowed: Vec<AllowedSigner>,
    fingerprints: Vec<String>,
    is_any: bool,
}

/// A signature that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedSignature {
    /// The fingerprint of the key: `SHA256:…`.
    pub fingerprint: String,
    /// The key, as a line of a `.pub` file without a comment.
    pub public_key: String,
    /// Why it counts.
    pub by: TrustedBy,
}

/// Why a signature counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrustedBy {
    /// It is by the key of this host.
    Own,
    /// A line of `trusted_signers` says so.
    AllowedSigner,
    /// Its fingerprint was given.
    Fingerprint,
    /// Every signer is trusted, because the operator said so.
    Any,
}

/// Why a signature does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    /// It is no signature of the document.
    #[error(transparent)]
    Invalid(#[from] InvalidSignature),
    /// Nobody trusts the key.
    #[error("it is signed by {0}, which is not trusted")]
    Unknown(String),
    /// The key is trusted, and not for this host.
    #[error("it is signed by {fingerprint}, which is not trusted for host {host:?}")]
    OtherHost {
        /// The key.
        fingerprint: String,
        /// The host in the object's key.
        host: String,
    },
    /// The key is trusted for the host, and not for this purpose.
    #[error("it is signed by {0}, which is not trusted for the namespace {NAMESPACE}")]
    OtherNamespace(String),
    /// The key was not trusted yet, or no longer, when the store got the object.
    #[error("it is signed by {fingerprint}, which was not trusted at {at}, when the store got it")]
    OtherTime {
        /// The key.
        fingerprint: String,
        /// The store's time.
        at: DateTime<Utc>,
    },
}

impl Untrusted {
    /// The fingerprint of the key, where it is a signature of the document.
    pub fn fingerprint(&self) -> Option<&str> {
        match self {
            Self::Invalid(_) => None,
            Self::Unknown(fingerprint)
            | Self::OtherHost { fingerprint, .. }
            | Self::OtherNamespace(fingerprint)
            | Self::OtherTime { fingerprint, .. } => Some(fingerprint),
        }
    }
}

/// Why a line of trusted signers cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSigners {
    /// Something is wrong with a line.
    #[error("line {line} of the trusted signers: {reason}")]
    Line {
        /// Which, from 1.
        line: usize,
        /// What.
        reason: String,
    },
    /// A text is no fingerprint.
    #[error(
        "invalid fingerprint {0:?}: expected SHA256: and 43 characters\n\
         hint: `pgbackupd key show` and `ssh-keygen -lf FILE` print it"
    )]
    Fingerprint(String),
}

impl TrustedSigners {
    /// Trusts whoever signs. Only the operator may ask for that.
    pub fn any() -> Self {
        Self {
            is_any: true,
            ..Self::default()
        }
    }

    /// Trusts the host's own key, for the host alone.
    #[must_use]
    pub fn with_own(mut self, host: &str, signer: &PublicSigner) -> Self {
        self.own.push((host.to_owned(), signer.key().clone()));
        self
    }

    /// Trusts the keys of lines in the form of OpenSSH's `allowed_signers`.
    ///
    /// # Errors
    /// When a line is not understood: nothing of it is guessed.
    pub fn with_allowed_signers(mut self, text: &str) -> Result<Self, InvalidSigners> {
        for (line, number) in text.lines().zip(1..) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let signer = AllowedSigner::parse(line).map_err(|reason| InvalidSigners::Line {
                line: number,
                reason: reason.to_string(),
            })?;
            self.allowed.push(signer);
        }
        Ok(self)
    }

    /// Trusts the keys of these lines.
    #[must_use]
    pub fn with_allowed(mut self, lines: &[AllowedSigner]) -> Self {
        self.allowed.extend_from_slice(lines);
        self
    }

    /// Trusts the key with this fingerprint, for every host.
    ///
    /// # Errors
    /// When it is no fingerprint.
    pub fn with_fingerprint(mut self, text: &str) -> Result<Self, InvalidSigners> {
        let text = text.trim();
        let fingerprint: ssh_key::Fingerprint = text
            .parse()
            .map_err(|_| InvalidSigners::Fingerprint(text.to_owned()))?;
        if !fingerprint.is_sha256() {
            return Err(InvalidSigners::Fingerprint(text.to_owned()));
        }
        self.fingerprints.push(fingerprint.to_string());
        Ok(self)
    }

    /// Verifies the signature of a document that lies under a host's key, and that the store got at this time.
    ///
    /// # Errors
    /// When it is no signature of the document, or its key is not trusted for the host at that time.
    pub fn verify(
        &self,
        host: &str,
        document: &[u8],
        signature: (&[u8], DateTime<Utc>),
    ) -> Result<TrustedSignature, Untrusted> {
        let (signature, at) = signature;
        let key = signature::check(document, signature)?;
        self.judge(host, &key, at)
    }

    /// Whether a key is trusted for a host at a time.
    fn judge(
        &self,
        host: &str,
        key: &PublicKey,
        at: DateTime<Utc>,
    ) -> Result<TrustedSignature, Untrusted> {
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        let trusted = |by| {
            Ok(TrustedSignature {
                fingerprint: fingerprint.clone(),
                public_key: key.to_openssh().unwrap_or_default(),
                by,
            })
        };
        let is_this = |other: &PublicKey| other.key_data() == key.key_data();
        let mut own = self.own.iter();
        if own.any(|(own_host, own)| own_host == host && is_this(own)) {
            return trusted(TrustedBy::Own);
        }
        let mut refused = Untrusted::Unknown(fingerprint.clone());
        if self.own.iter().any(|(_, own)| is_this(own)) {
            refused = Untrusted::OtherHost {
                fingerprint: fingerprint.clone(),
                host: host.to_owned(),
            };
        }
        for line in self.allowed.iter().filter(|line| is_this(line.key())) {
            match refusal(line, host, &fingerprint, at) {
                None => return trusted(TrustedBy::AllowedSigner),
                Some(reason) => refused = reason,
            }
        }
        if self.fingerprints.contains(&fingerprint) {
            return trusted(TrustedBy::Fingerprint);
        }
        if self.is_any {
            return trusted(TrustedBy::Any);
        }
        Err(refused)
    }
}

/// Why a line does not trust its key here; none where it does.
fn refusal(
    line: &AllowedSigner,
    host: &str,
    fingerprint: &str,
    at: DateTime<Utc>,
) -> Option<Untrusted> {
    let fingerprint = fingerprint.to_owned();
    if !line.is_for(host) {
        let host = host.to_owned();
        return Some(Untrusted::OtherHost { fingerprint, host });
    }
    if !line.is_within(NAMESPACE) {
        return Some(Untrusted::OtherNamespace(fingerprint));
    }
    (!line.is_valid_at(at)).then_some(Untrusted::OtherTime { fingerprint, at })
}

#[cfg(test)]
mod tests;
