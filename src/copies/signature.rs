//! Signatures: SSHSIG by the host's Ed25519 key, as `ssh-keygen -Y sign -n pgbackupd-copy` makes them, so that
//! `ssh-keygen -Y verify` is enough to check one.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ssh_key::rand_core::OsRng;
use ssh_key::{Algorithm, HashAlg, LineEnding, PrivateKey, PublicKey, SshSig};
use uuid::Uuid;

use crate::secret_file::FileMode;
use crate::ssh_private_key::{KeyFault, KeyUse};

/// The namespace of all signatures at a destination: a signature for another purpose never passes here.
pub const NAMESPACE: &str = "pgbackupd-copy";

/// The longest signature that is looked at, in bytes. One by an Ed25519 key has 300.
pub const LONGEST_SIGNATURE: u64 = 4096;

/// The host's signing key.
pub struct Signer {
    key: PrivateKey,
    public: PublicSigner,
}

/// The public half of a signing key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicSigner(PublicKey);

/// Why there is no signing key.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// The file cannot be read or written.
    #[error("cannot {doing} the signing key {}: {source}", path.display())]
    File {
        /// What failed.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others can read the file.
    #[error("the signing key {} can be read by others\nhint: {advice}", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// What closes it.
        advice: String,
    },
    /// It is no key that can sign.
    #[error("the signing key is not usable: its file {0}")]
    Unusable(KeyFault),
    /// The signature could not be made.
    #[error("cannot sign: {0}")]
    Sign(ssh_key::Error),
}

impl Signer {
    /// Reads the key in a file, or makes a new one there, which others cannot read and which is on the disk
    /// when this returns. Of two that make one at once, both get the same.
    ///
    /// # Errors
    /// When the file cannot be read or written, can be read by others, or holds no Ed25519 key.
    pub fn open_or_create(path: &Path) -> Result<Self, SignerError> {
        remove_left_over(path);
        match Self::open(path) {
            Err(SignerError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                create(path).map_err(|source| SignerError::File {
                    doing: "make",
                    path: path.to_owned(),
                    source,
                })?;
                Self::open(path)
            }
            signer => signer,
        }
    }

    /// Reads the key in a file.
    ///
    /// # Errors
    /// When the file cannot be read, can be read by others, or holds no Ed25519 key.
    pub fn open(path: &Path) -> Result<Self, SignerError> {
        let failed = |source| SignerError::File {
            doing: "read",
            path: path.to_owned(),
            source,
        };
        let file = crate::regular_file::open(path).map_err(failed)?;
        if let Some(mode) = FileMode::of(&file.metadata().map_err(failed)?) {
            return Err(SignerError::Exposed {
                path: path.to_owned(),
                advice: mode.closing_advice(path),
            });
        }
        let mut text = secrecy::zeroize::Zeroizing::new(String::new());
        io::Read::read_to_string(&mut io::Read::take(file, 1 << 16), &mut text).map_err(failed)?;
        Self::read(&text)
    }

    /// Reads a key: an OpenSSH private key of type ed25519 without a passphrase, such as a credential has.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(text: &str) -> Result<Self, SignerError> {
        if let Some(fault) = KeyFault::of(text, KeyUse::Sign) {
            return Err(SignerError::Unusable(fault));
        }
        let key = PrivateKey::from_openssh(text);
        let key = key.map_err(|_| SignerError::Unusable(KeyFault::NoKey))?;
        Ok(Self {
            public: PublicSigner(PublicKey::new(key.public_key().key_data().clone(), "")),
            key,
        })
    }

    /// Its fingerprint, as `ssh-keygen -l` prints it: `SHA256:…`.
    pub fn fingerprint(&self) -> String {
        self.public.fingerprint()
    }

    /// Its public half.
    pub fn public(&self) -> &PublicSigner {
        &self.public
    }

    /// Signs a document. The result is what `ssh-keygen -Y verify` reads.
    ///
    /// # Errors
    /// When the signature could not be made.
    pub fn sign(&self, document: &[u8]) -> Result<String, SignerError> {
        let signature = self.key.sign(NAMESPACE, HashAlg::Sha512, document);
        let signature = signature.map_err(SignerError::Sign)?;
        signature.to_pem(LineEnding::LF).map_err(SignerError::Sign)
    }
}

impl PublicSigner {
    /// Reads it: a line of a `.pub` file; none where it is no such line.
    pub fn parse(line: &str) -> Option<Self> {
        let key: PublicKey = line.trim_end().parse().ok()?;
        Some(Self(PublicKey::new(key.key_data().clone(), "")))
    }

    /// Its fingerprint, as `ssh-keygen -l` prints it: `SHA256:…`.
    pub fn fingerprint(&self) -> String {
        self.0.fingerprint(HashAlg::Sha256).to_string()
    }

    /// It as a line of a `.pub` file without a comment.
    ///
    /// # Panics
    /// Never: the key is of a kind that has a text.
    #[expect(clippy::expect_used, reason = "an Ed25519 key always has a text")]
    pub fn line(&self) -> String {
        let line = self.0.to_openssh();
        line.expect("an Ed25519 key has a text")
            .trim_end()
            .to_owned()
    }

    /// The line of an `allowed_signers` file that trusts this key for a host.
    pub fn allowed_signers_line(&self, host: &str) -> String {
        format!("{host} namespaces=\"{NAMESPACE}\" {}", self.line())
    }

    /// The key.
    pub(super) fn key(&self) -> &PublicKey {
        &self.0
    }
}

/// Shows which key it is, and nothing of the secret.
impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Signer").field(&self.fingerprint()).finish()
    }
}

/// What a process that was killed while it made a key can have left for so long.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

/// Removes keys that a process has left that was killed while it made one. One that is being made is younger.
fn remove_left_over(path: &Path) {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return;
    };
    let begins = format!("{}.", name.to_string_lossy());
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let id = name.to_str().and_then(|name| {
            let id = name.strip_prefix(&begins)?.strip_suffix(".tmp")?;
            id.parse::<Uuid>().ok()
        });
        let age = entry.metadata().and_then(|found| found.modified());
        let age = age.map(|modified| modified.elapsed().unwrap_or_default());
        if id.is_some()
            && age.is_ok_and(|age| age > ABANDONED)
            && let Err(error) = fs::remove_file(entry.path())
        {
            tracing::debug!("cannot remove {}: {error}", entry.path().display());
        }
    }
}

/// Makes a new key under a name that has none. A hard link never replaces a file, and the file is complete
/// before it has the name.
fn create(path: &Path) -> io::Result<()> {
    let key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519).map_err(io::Error::other)?;
    let text = key.to_openssh(LineEnding::LF).map_err(io::Error::other)?;
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.tmp", Uuid::now_v7()));
    let temporary = PathBuf::from(temporary);
    let written = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        match fs::hard_link(&temporary, path) {
            // Another process was faster, and its key is the one.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            linked => linked,
        }
    };
    let written = written();
    let removed = match fs::remove_file(&temporary) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    };
    written.and(removed)?;
    let directory = path.parent().filter(|above| !above.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

/// Why a signature is not that of a document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSignature {
    /// It cannot be read.
    #[error("the signature is damaged")]
    Malformed,
    /// By a key of another kind.
    #[error("the signature is by a key of type {0}; only ed25519 is accepted")]
    Algorithm(String),
    /// For another purpose.
    #[error("the signature is for {0:?}, not for {NAMESPACE}")]
    Namespace(String),
    /// It is not the signature of these bytes.
    #[error("the signature does not match: the document or the signature was changed")]
    Mismatch,
}

/// Reads a signature and checks that it is that of the document, by whomever. Gives the public key.
pub(super) fn check(document: &[u8], signature: &[u8]) -> Result<PublicKey, InvalidSignature> {
    if signature.len() as u64 > LONGEST_SIGNATURE {
        return Err(InvalidSignature::Malformed);
    }
    let read = SshSig::from_pem(signature).map_err(|_| InvalidSignature::Malformed)?;
    // One signature, one spelling: there is nothing in it that is not checked. Its version is not signed.
    let spelled = read.to_pem(LineEnding::LF).unwrap_or_default();
    let is_spelled = spelled.trim_end().as_bytes() == signature.trim_ascii_end();
    if !is_spelled || !read.reserved().is_empty() || read.version() != SshSig::VERSION {
        return Err(InvalidSignature::Malformed);
    }
    if read.algorithm() != Algorithm::Ed25519 {
        let algorithm = read.algorithm().to_string();
        return Err(InvalidSignature::Algorithm(algorithm));
    }
    if read.namespace() != NAMESPACE {
        return Err(InvalidSignature::Namespace(read.namespace().to_owned()));
    }
    let key = PublicKey::new(read.public_key().clone(), "");
    key.verify(NAMESPACE, document, &read)
        .map_err(|_| InvalidSignature::Mismatch)?;
    Ok(key)
}

#[cfg(test)]
mod tests;
