//! Identities: the operator's secret keys, which open copies and encrypted backups, as files of age's and
//! OpenSSH's have them. Nothing of them is kept.

use std::fmt;
use std::io::Read as _;
use std::sync::Arc;

use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;

use crate::recipient::Recipient;
use crate::ssh_private_key;

/// The longest file of identities that is read, in bytes.
const LONGEST: usize = 1 << 20;

/// The most work that a passphrase may ask for: 2 to the power of this. age's own files ask for 18.
const HARDEST_PASSPHRASE: u8 = 22;

/// Asks for a passphrase, with a text that says of what; none where nobody can be asked.
pub type AskPassphrase<'a> = &'a mut dyn FnMut(&str) -> Option<SecretString>;

/// What a passphrase protects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protected {
    /// A file of age's.
    AgeFile,
    /// An OpenSSH private key.
    SshKey,
}

/// A secret key that opens age files, shared by threads.
pub type SharedIdentity = Arc<dyn age::Identity + Send + Sync>;

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
    NoPassphrase(Protected),
    /// It is read where nobody can be asked for a passphrase.
    #[error(
        "it needs a passphrase, which nobody can enter\n\
         hint: make one for this purpose alone: `pgbackupd key generate --output FILE`, and add its recipient"
    )]
    Unattended,
    /// It is damaged.
    #[error("the encrypted identity file is damaged: {0}")]
    Damaged(String),
    /// It is too long.
    #[error("it is too long for a file of identities")]
    Long,
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

    /// The same of a file that is read where nobody can be asked.
    ///
    /// # Errors
    /// As there; and when a passphrase is needed.
    pub fn read_unattended(text: &[u8]) -> Result<Self, IdentityError> {
        Self::read(text, &mut |_| None).map_err(|error| match error {
            IdentityError::NoPassphrase(_) => IdentityError::Unattended,
            error => error,
        })
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
                    .ok_or(IdentityError::NoPassphrase(Protected::SshKey))?;
                key.decrypt(passphrase)
                    .map_err(|_| IdentityError::WrongPassphrase)?
            }
            Identity::Unsupported(_) => return Err(wrong_kind()),
        };
        Ok(Self {
            all: vec![(recipient, Arc::new(Identity::from(key)))],
        })
    }

    /// The public halves.
    pub fn recipients(&self) -> impl Iterator<Item = &Recipient> {
        self.all.iter().map(|(recipient, _)| recipient)
    }

    /// Each with its public half.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &(Recipient, SharedIdentity)> {
        self.all.iter()
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
    if line.starts_with("age1") || ssh_private_key::is_public(line) {
        return IdentityError::Public;
    }
    let kinds = [
        ("AGE-PLUGIN-", "age plugin"),
        ("AGE-SECRET-KEY-PQ-", "post-quantum"),
        ("PuTTY-User-Key-File-", "PuTTY"),
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
    let passphrase =
        ask("the identity file").ok_or(IdentityError::NoPassphrase(Protected::AgeFile))?;
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
pub(crate) mod tests;
