//! The encryption of a backup's files: a stage between compression and digest, in age's format, so that digests
//! are of what lies on the disk and age itself opens it.
//!
//! A run encrypts to the operator's recipients and to a key of its own, which exists in memory only. With that it
//! reads back what it has written; once it has ended, only the operator's identities open the file.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use age::stream::{StreamReader, StreamWriter};

use super::compression::{BLOCK, READ_AHEAD};
use super::digest::{Digest, Digesting};
use crate::age_identities::SharedIdentity;
use crate::recipient::Recipient;

/// To whom the files of one run are encrypted.
#[derive(Clone)]
pub struct Sealer {
    recipients: Arc<[Recipient]>,
    own: age::x25519::Identity,
}

/// What opens encrypted files. It has no text, and nothing of it is kept.
#[derive(Clone)]
pub struct Opener {
    identities: Arc<[SharedIdentity]>,
    /// Whose they are.
    fingerprints: Arc<[String]>,
}

/// A file of a backup as it is read: where it is, and what opens it where it is encrypted.
#[derive(Clone, Debug)]
pub struct InputFile {
    path: PathBuf,
    opener: Option<Opener>,
}

/// What a file holds, in the clear; whatever it is read from can be encrypted.
pub enum Content<R: Read> {
    /// As it comes.
    Clear(R),
    /// Decrypted while it is read. Each piece is authenticated before it is given out.
    Encrypted(Box<StreamReader<BufReader<R>>>),
}

/// Where a file is written to, encrypted or not.
pub(super) enum Sealed<W: Write> {
    Clear(W),
    Encrypted(Box<StreamWriter<W>>),
}

impl Sealer {
    /// One for a run, to these recipients; none without any.
    pub fn new(recipients: &[Recipient]) -> Option<Self> {
        (!recipients.is_empty()).then(|| Self {
            recipients: recipients.into(),
            own: age::x25519::Identity::generate(),
        })
    }

    /// The fingerprints of the recipients, sorted.
    pub fn fingerprints(&self) -> Vec<String> {
        let recipients = self.recipients.iter();
        let mut all: Vec<String> = recipients.map(|one| one.fingerprint().to_owned()).collect();
        all.sort();
        all
    }

    /// What opens the files of this run as long as it lasts.
    pub fn opener(&self) -> Opener {
        Opener::new([(Arc::new(self.own.clone()) as SharedIdentity, String::new())])
    }

    /// Encrypts a short text, to the recipients alone: an age file in ASCII armour.
    ///
    /// # Errors
    /// When the encryption fails.
    pub fn seal_text(&self, text: &[u8]) -> io::Result<String> {
        let format = age::armor::Format::AsciiArmor;
        let armored = age::armor::ArmoredWriter::wrap_output(Vec::new(), format)?;
        let mut writer = self.encryptor(None)?.wrap_output(armored)?;
        writer.write_all(text)?;
        let sealed = writer.finish()?.finish()?;
        String::from_utf8(sealed).map_err(io::Error::other)
    }

    fn wrap<W: Write>(&self, inner: W) -> io::Result<StreamWriter<W>> {
        self.encryptor(Some(self.own.to_public()))?
            .wrap_output(inner)
    }

    fn encryptor(&self, own: Option<age::x25519::Recipient>) -> io::Result<age::Encryptor> {
        let mut all: Vec<Box<dyn age::Recipient + Send>> = self
            .recipients
            .iter()
            .map(Recipient::for_encryption)
            .collect();
        all.extend(own.map(|own| Box::new(own) as Box<dyn age::Recipient + Send>));
        let all = all.iter().map(|one| &**one as &dyn age::Recipient);
        age::Encryptor::with_recipients(all).map_err(io::Error::other)
    }
}

impl Opener {
    /// One of these identities, each with its recipient's fingerprint.
    pub fn new(identities: impl IntoIterator<Item = (SharedIdentity, String)>) -> Self {
        let (identities, fingerprints): (Vec<_>, Vec<_>) = identities.into_iter().unzip();
        Self {
            identities: identities.into(),
            fingerprints: fingerprints.into(),
        }
    }

    /// The fingerprints of the recipients whose identities these are.
    pub fn fingerprints(&self) -> &[String] {
        &self.fingerprints
    }

    /// Opens a text that was sealed by [`Sealer::seal_text`], of so many bytes at most.
    ///
    /// # Errors
    /// When it is damaged, or encrypted to another key.
    pub fn open_text(&self, sealed: &str, longest: u64) -> io::Result<Vec<u8>> {
        let armored = age::armor::ArmoredReader::new(sealed.as_bytes());
        let reader = self.decrypt(BufReader::new(armored))?;
        let mut text = Vec::new();
        reader.take(longest).read_to_end(&mut text)?;
        Ok(text)
    }

    /// Whether one of these identities opens what a source holds, as far as its beginning says.
    ///
    /// # Errors
    /// When it cannot be read, or its beginning is damaged.
    pub fn opens(&self, source: impl Read) -> io::Result<bool> {
        let identities = self.identities.iter();
        let decrypted = age::Decryptor::new_buffered(BufReader::new(source))
            .and_then(|all| all.decrypt(identities.map(|one| &**one as &dyn age::Identity)));
        match decrypted {
            Ok(_) => Ok(true),
            Err(age::DecryptError::NoMatchingKeys) => Ok(false),
            Err(error) => Err(unopened(error)),
        }
    }

    fn decrypt<R: io::BufRead>(&self, source: R) -> io::Result<StreamReader<R>> {
        let identities = self.identities.iter();
        age::Decryptor::new_buffered(source)
            .and_then(|all| all.decrypt(identities.map(|one| &**one as &dyn age::Identity)))
            .map_err(unopened)
    }
}

fn unopened(error: age::DecryptError) -> io::Error {
    match error {
        age::DecryptError::Io(error) => error,
        error => io::Error::new(io::ErrorKind::InvalidData, error.to_string()),
    }
}

impl InputFile {
    /// A file; what opens it, where it is encrypted.
    pub fn new(path: impl Into<PathBuf>, opener: Option<Opener>) -> Self {
        Self {
            path: path.into(),
            opener,
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.opener.is_some()
    }

    /// Opens it; gives what it holds, in the clear.
    ///
    /// # Errors
    /// When it cannot be read; where it is encrypted, also when it is damaged at its beginning.
    pub fn open(&self) -> io::Result<Content<File>> {
        Content::of(crate::regular_file::open(&self.path)?, self.opener.as_ref())
    }

    /// Opens it; gives its bytes as they lie on the disk, and what opens them.
    pub(super) fn raw(&self) -> io::Result<(File, Option<&Opener>)> {
        let file = crate::regular_file::open(&self.path)?;
        Ok((file, self.opener.as_ref()))
    }
}

impl<R: Read> Content<R> {
    /// What a source holds, in the clear.
    ///
    /// # Errors
    /// When it is encrypted, and cannot be read or is damaged at its beginning.
    pub fn of(source: R, opener: Option<&Opener>) -> io::Result<Self> {
        let Some(opener) = opener else {
            return Ok(Self::Clear(source));
        };
        let reader = opener.decrypt(BufReader::with_capacity(READ_AHEAD, source))?;
        Ok(Self::Encrypted(Box::new(reader)))
    }
}

impl<R: Read> Read for Content<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Clear(source) => source.read(buffer),
            Self::Encrypted(reader) => reader.read(buffer),
        }
    }
}

impl<W: Write> Sealed<W> {
    pub(super) fn new(inner: W, sealer: Option<&Sealer>) -> io::Result<Self> {
        Ok(match sealer {
            None => Self::Clear(inner),
            Some(sealer) => Self::Encrypted(Box::new(sealer.wrap(inner)?)),
        })
    }

    /// Writes what is left and the end, and gives the inner writer back.
    pub(super) fn finish(self) -> io::Result<W> {
        match self {
            Self::Clear(inner) => Ok(inner),
            Self::Encrypted(writer) => writer.finish(),
        }
    }
}

impl<W: Write> Write for Sealed<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Clear(inner) => inner.write(buffer),
            Self::Encrypted(writer) => writer.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Clear(inner) => inner.flush(),
            Self::Encrypted(writer) => writer.flush(),
        }
    }
}

/// Lets `read` read what a source holds, in the clear, and gives with its result the digest of all bytes of the
/// source, those behind the end of the encryption too.
///
/// # Errors
/// What `read` gives, and when the source cannot be read.
pub(super) fn digest_beneath<R: Read, T, E: From<io::Error>>(
    source: R,
    opener: Option<&Opener>,
    read: impl FnOnce(Content<&mut Digesting<R>>) -> Result<T, E>,
) -> Result<(T, Digest), E> {
    let mut source = Digesting::new(source);
    let result = read(Content::of(&mut source, opener)?)?;
    if opener.is_some() {
        let mut rest = vec![0; BLOCK];
        while source.read(&mut rest)? > 0 {}
    }
    Ok((result, source.finish().0))
}

/// Shows to whom it encrypts.
impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.fingerprints()).finish()
    }
}

/// Shows whose keys they are, and nothing of them.
impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&*self.fingerprints).finish()
    }
}

#[cfg(test)]
mod tests;
