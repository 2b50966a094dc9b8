//! Identities: the operator's secret keys, which open copies. They are read where a person gives them, and
//! nothing of them is kept.

use std::fmt;
use std::io::Read as _;
use std::sync::Arc;

use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;

use super::encryption::{OpenError, RunSecret, unsealed};
use crate::pipeline::{Opener, SharedIdentity};
use crate::recipient::Recipient;

/// The longest file of identities that is read, in bytes.
const LONGEST: usize = 1 << 20;

/// The most work that a passphrase may ask for: 2 to the power of this. age's own files ask for 18.
const HARDEST_PASSPHRASE: u8 = 22;

/// Asks for a passphrase, with a text that says of what; none where nobody can be asked.
pub type AskPassphrase<'a> = &'a mut dyn FnMut(&str) -> Option<SecretString>;

/// Secret keys of one file.
pub struct Identities {
    all: Vec<(Recipient, SharedIdentity)>,
}

/// Why a text holds no identities. Nothing of the text is shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// There is no key in it.
    #[error(
        "there is no identity in it\n\
         hint: give the file that age-keygen wrote, or an OpenSSH private key of type ed25519"
    )]
    Empty,
    /// It is a public key.
    #[error(
        "it is a public key, which opens nothing\n\
         hint: give the file with the secret half"
    )]
    Public,
    /// A line is no identity.
    #[error("line {0} is not an identity: expected AGE-SECRET-KEY-1…, complete and in one line")]
    Line(usize),
    /// An identity of a kind that is not supported.
    #[error("line {line} holds a key of the kind {kind}, which is not supported")]
    Unsupported {
        /// Which line, from 1.
        line: usize,
        /// The kind.
        kind: &'static str,
    },
    /// An OpenSSH key that cannot be used.
    #[error("the OpenSSH private key cannot be used: {0}")]
    Ssh(&'static str),
    /// An age file that is not encrypted to a passphrase.
    #[error("it is an age file that is not encrypted to a passphrase, so it is no identity file")]
    NotByPassphrase,
    /// The passphrase is wrong.
    #[error("the passphrase is wrong")]
    WrongPassphrase,
    /// Nobody gave a passphrase.
    #[error("it needs a passphrase, and none was given")]
    NoPassphrase,
    /// It is damaged.
    #[error("the encrypted identity file is damaged: {0}")]
    Damaged(String),
    /// It is too long.
    #[error("it is too long for a file of identities")]
    Long,
}

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
    /// Reads identities: a file of age's, one that is encrypted to a passphrase, or an OpenSSH private key of
    /// type ed25519. A passphrase is asked for only where one is needed, once.
    ///
    /// # Errors
    /// When there is none in it, one is damaged or of another kind, or a passphrase is missing or wrong.
    pub fn read(text: &[u8], ask: AskPassphrase<'_>) -> Result<Self, IdentityError> {
        if text.len() > LONGEST {
            return Err(IdentityError::Long);
        }
        let start = text.trim_ascii_start();
        if start.starts_with(b"-----BEGIN AGE ENCRYPTED FILE-----")
            || start.starts_with(b"age-encryption.org/")
        {
            let text = decrypt(start, ask)?;
            return Self::of_lines(&text);
        }
        if start.starts_with(b"-----BEGIN ") {
            return Self::of_ssh(start, ask);
        }
        Self::of_lines(text)
    }

    fn of_lines(text: &[u8]) -> Result<Self, IdentityError> {
        let mut all: Vec<(Recipient, SharedIdentity)> = Vec::new();
        for (line, number) in text.split(|byte| *byte == b'\n').zip(1..) {
            let line = std::str::from_utf8(line).map_err(|_| IdentityError::Line(number))?;
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let Ok(identity) = line.parse::<age::x25519::Identity>() else {
                return Err(why_no_identity(line, number));
            };
            let recipient = Recipient::parse(&identity.to_public().to_string())
                .map_err(|_| IdentityError::Line(number))?;
            all.push((recipient, Arc::new(identity)));
        }
        if all.is_empty() {
            return Err(IdentityError::Empty);
        }
        Ok(Self { all })
    }

    fn of_ssh(text: &[u8], ask: AskPassphrase<'_>) -> Result<Self, IdentityError> {
        use age::ssh::Identity;

        let damaged = || IdentityError::Ssh("it is damaged");
        let wrong_kind = || IdentityError::Ssh("only keys of type ed25519 are supported");
        let identity = Identity::from_buffer(text, None).map_err(|_| damaged())?;
        let recipient =
            age::ssh::Recipient::try_from(identity.clone()).map_err(|_| wrong_kind())?;
        let recipient = Recipient::parse(&recipient.to_string()).map_err(|_| wrong_kind())?;
        let key = match identity {
            Identity::Unencrypted(key) => key,
            Identity::Encrypted(key) => {
                let passphrase = ask(&format!("the OpenSSH key {}", recipient.fingerprint()))
                    .ok_or(IdentityError::NoPassphrase)?;
                key.decrypt(passphrase)
                    .map_err(|_| IdentityError::WrongPassphrase)?
            }
            Identity::Unsupported(_) => return Err(wrong_kind()),
        };
        Ok(Self {
            all: vec![(recipient, Arc::new(Identity::from(key)))],
        })
    }

    /// What opens the files of encrypted backups with them.
    pub fn opener(&self) -> Opener {
        let all = self.all.iter().map(|(recipient, identity)| {
            let fingerprint = recipient.fingerprint().to_owned();
            (Arc::clone(identity), fingerprint)
        });
        Opener::new(all)
    }

    /// The public halves.
    pub fn recipients(&self) -> impl Iterator<Item = &Recipient> {
        self.all.iter().map(|(recipient, _)| recipient)
    }

    /// The fingerprints of those identities that open a sealed key, each tried by itself.
    pub fn that_open(&self, sealed: &str) -> Vec<String> {
        let opens = |identity: &dyn age::Identity| {
            RunSecret::unseal(sealed, std::iter::once(identity)).is_ok()
        };
        let all = self.all.iter();
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
            .all
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
}

impl Identities {
    /// Opens a text that is sealed to recipients, of so many bytes at most.
    ///
    /// # Errors
    /// When none of the identities opens it, or it is damaged.
    pub(super) fn open_text(&self, sealed: &str, longest: u64) -> Result<Vec<u8>, OpenError> {
        let identities = self
            .all
            .iter()
            .map(|(_, identity)| &**identity as &dyn age::Identity);
        // Armour makes a third more of it, and each recipient has some lines.
        let longest_sealed = usize::try_from(longest * 2).unwrap_or(usize::MAX);
        let text = unsealed(sealed, identities, (longest_sealed, longest))?;
        Ok(text.to_vec())
    }
}

/// Shows which keys they are, and nothing of them.
impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.recipients().map(Recipient::fingerprint))
            .finish()
    }
}

/// Why a line is no identity, as far as its beginning says.
fn why_no_identity(line: &str, number: usize) -> IdentityError {
    let is_public = line.starts_with("age1") || line.starts_with("ssh-");
    if is_public {
        return IdentityError::Public;
    }
    let kinds = [
        ("AGE-PLUGIN-", "age plugin"),
        ("AGE-SECRET-KEY-PQ-", "post-quantum"),
    ];
    let kind = kinds.iter().find(|(start, _)| line.starts_with(start));
    kind.map_or(IdentityError::Line(number), |(_, kind)| {
        IdentityError::Unsupported { line: number, kind }
    })
}

/// The content of a file of identities that is encrypted to a passphrase.
fn decrypt(text: &[u8], ask: AskPassphrase<'_>) -> Result<Zeroizing<Vec<u8>>, IdentityError> {
    use age::DecryptError;

    let armored = age::armor::ArmoredReader::new(text);
    let decryptor = age::Decryptor::new_buffered(armored)
        .map_err(|error| IdentityError::Damaged(error.to_string()))?;
    if !decryptor.is_scrypt() {
        return Err(IdentityError::NotByPassphrase);
    }
    let passphrase = ask("the identity file").ok_or(IdentityError::NoPassphrase)?;
    let mut identity = age::scrypt::Identity::new(passphrase);
    identity.set_max_work_factor(HARDEST_PASSPHRASE);
    let identity: &dyn age::Identity = &identity;
    let reader = decryptor
        .decrypt(std::iter::once(identity))
        .map_err(|error| match error {
            DecryptError::DecryptionFailed
            | DecryptError::KeyDecryptionFailed
            | DecryptError::NoMatchingKeys => IdentityError::WrongPassphrase,
            error => IdentityError::Damaged(error.to_string()),
        })?;
    let mut content = Zeroizing::new(Vec::new());
    reader
        .take(LONGEST as u64)
        .read_to_end(&mut content)
        .map_err(|error| IdentityError::Damaged(error.to_string()))?;
    Ok(content)
}

#[cfg(test)]
mod tests;
