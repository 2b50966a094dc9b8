//! The encryption of copies: each copy has a key pair of its own, whose secret half is sealed to the operator's
//! recipients. All of it is age's format, so that age itself opens it.
//!
//! The secret half exists in memory only, and is wiped when it is dropped.

use std::fmt;
use std::io::{self, Read, Write};

use secrecy::ExposeSecret as _;
use secrecy::zeroize::Zeroizing;

use crate::recipient::Recipient;

/// The longest sealed key that is opened, in bytes: one for a thousand recipients is shorter.
const LONGEST_SEALED_KEY: usize = 1 << 20;

/// The longest content of a sealed key, in bytes.
const LONGEST_RUN_KEY: u64 = 4096;

/// The public half of a copy's key pair. It is no secret, and a resumed run goes on with it.
#[derive(Clone)]
pub struct PublicHalf(age::x25519::Recipient);

/// The secret half of a copy's key pair: it opens the copy. It has no text but the sealed one.
#[derive(Clone)]
pub struct RunSecret(age::x25519::Identity);

/// Something could not be encrypted.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// There is nobody to encrypt to.
    #[error("there is no recipient to encrypt to")]
    NoRecipient,
    /// The encryption failed.
    #[error("encryption failed: {0}")]
    Failed(String),
}

/// Something could not be decrypted.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is no age file, or has been changed.
    #[error("it is damaged, or no age file: {0}")]
    Damaged(String),
    /// It is encrypted to another key.
    #[error("it is encrypted to another key")]
    OtherKey,
    /// A sealed key holds something else.
    #[error("its content is not the key of a copy")]
    NoKey,
}

/// A text that is no public half.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the public half of the copy's key is damaged")]
pub struct InvalidPublicHalf;

impl PublicHalf {
    /// Reads the text of [`Display`](fmt::Display).
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, InvalidPublicHalf> {
        text.parse().map(Self).map_err(|_| InvalidPublicHalf)
    }

    /// Encrypts a volume.
    ///
    /// # Errors
    /// When the encryption fails.
    pub fn seal(&self, content: &[u8]) -> Result<Vec<u8>, SealError> {
        let failed = |error: io::Error| SealError::Failed(error.to_string());
        let recipient = std::iter::once(&self.0 as &dyn age::Recipient);
        let encryptor = age::Encryptor::with_recipients(recipient)
            .map_err(|error| SealError::Failed(error.to_string()))?;
        // A buffer that grows has twice its length for a moment. Each 64 KiB get 16 bytes, and a head precedes all.
        let sealed = Vec::with_capacity(content.len() + content.len() / 4096 + 1024);
        let mut writer = encryptor.wrap_output(sealed).map_err(failed)?;
        writer.write_all(content).map_err(failed)?;
        writer.finish().map_err(failed)
    }
}

impl fmt::Display for PublicHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for PublicHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PartialEq for PublicHalf {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for PublicHalf {}

impl RunSecret {
    /// A new one.
    pub fn fresh() -> Self {
        Self(age::x25519::Identity::generate())
    }

    /// Its public half.
    pub fn public(&self) -> PublicHalf {
        PublicHalf(self.0.to_public())
    }

    /// Seals it to recipients: an age file in ASCII armour, whose content is an identity as `age -i` reads it.
    ///
    /// # Errors
    /// When there is no recipient, or the encryption fails.
    pub fn seal_to(&self, recipients: &[Recipient]) -> Result<String, SealError> {
        let secret = self.0.to_string();
        let line = Zeroizing::new(format!("{}\n", secret.expose_secret()));
        seal_to(line.as_bytes(), recipients)
    }

    /// Decrypts a volume and passes it on. Its SHA-256 has to be compared with the signed one before.
    ///
    /// # Errors
    /// When it is no age file, has been changed, is encrypted to another key, or cannot be passed on.
    pub fn open_into(&self, sealed: &[u8], to: &mut impl Write) -> Result<(), OpenError> {
        let decryptor = age::Decryptor::new_buffered(sealed).map_err(damaged)?;
        let mut reader = decryptor
            .decrypt(std::iter::once(&self.0 as &dyn age::Identity))
            .map_err(damaged)?;
        io::copy(&mut reader, to).map_err(|error| OpenError::Damaged(error.to_string()))?;
        Ok(())
    }

    /// Decrypts a volume.
    ///
    /// # Errors
    /// As [`Self::open_into`].
    pub fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
        let mut content = Vec::with_capacity(sealed.len());
        self.open_into(sealed, &mut content)?;
        Ok(content)
    }

    /// Opens a sealed key with any of these identities.
    pub(super) fn unseal<'a>(
        sealed: &str,
        identities: impl Iterator<Item = &'a dyn age::Identity>,
    ) -> Result<Self, OpenError> {
        let text = unsealed(sealed, identities, (LONGEST_SEALED_KEY, LONGEST_RUN_KEY))?;
        let text = std::str::from_utf8(&text).map_err(|_| OpenError::NoKey)?;
        let secret = text.trim_end().parse().map_err(|_| OpenError::NoKey)?;
        Ok(Self(secret))
    }
}

/// Shows nothing of the secret.
impl fmt::Debug for RunSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunSecret").finish_non_exhaustive()
    }
}

/// Seals a text to recipients: an age file in ASCII armour.
///
/// # Errors
/// When there is no recipient, or the encryption fails.
pub(super) fn seal_to(text: &[u8], recipients: &[Recipient]) -> Result<String, SealError> {
    if recipients.is_empty() {
        return Err(SealError::NoRecipient);
    }
    let failed = |error: io::Error| SealError::Failed(error.to_string());
    let recipients: Vec<_> = recipients.iter().map(Recipient::for_encryption).collect();
    let recipients = recipients.iter().map(|one| &**one as &dyn age::Recipient);
    let encryptor = age::Encryptor::with_recipients(recipients)
        .map_err(|error| SealError::Failed(error.to_string()))?;
    let armor = age::armor::Format::AsciiArmor;
    let armored = age::armor::ArmoredWriter::wrap_output(Vec::new(), armor).map_err(failed)?;
    let mut writer = encryptor.wrap_output(armored).map_err(failed)?;
    writer.write_all(text).map_err(failed)?;
    let sealed = writer.finish().and_then(age::armor::ArmoredWriter::finish);
    String::from_utf8(sealed.map_err(failed)?).map_err(|error| SealError::Failed(error.to_string()))
}

/// Opens a sealed text with any of these identities. `limits` are the most bytes of the sealed text and of what
/// is in it.
pub(super) fn unsealed<'a>(
    sealed: &str,
    identities: impl Iterator<Item = &'a dyn age::Identity>,
    (longest_sealed, longest): (usize, u64),
) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    if sealed.len() > longest_sealed {
        return Err(OpenError::Damaged(format!("it has {} bytes", sealed.len())));
    }
    let armored = age::armor::ArmoredReader::new(sealed.as_bytes());
    let decryptor = age::Decryptor::new_buffered(armored).map_err(damaged)?;
    let reader = decryptor.decrypt(identities).map_err(damaged)?;
    let mut text = Zeroizing::new(Vec::new());
    reader
        .take(longest)
        .read_to_end(&mut text)
        .map_err(|error| OpenError::Damaged(error.to_string()))?;
    Ok(text)
}

fn damaged(error: age::DecryptError) -> OpenError {
    match error {
        age::DecryptError::NoMatchingKeys => OpenError::OtherKey,
        error => OpenError::Damaged(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
