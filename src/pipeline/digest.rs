//! The SHA-256 of a file, taken while it is written or read.

use std::fmt::{self, Write as _};
use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A file's SHA-256 and its length: what `sha256sum` and `wc -c` say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// 64 hexadecimal digits in lower case.
    pub sha256: String,
    /// Bytes.
    pub bytes: u64,
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes, sha256 {}", self.bytes, self.sha256)
    }
}

/// Passes bytes on and takes their digest.
pub struct Digesting<T> {
    inner: T,
    hasher: Sha256,
    bytes: u64,
}

impl<T> Digesting<T> {
    /// A digest of nothing so far.
    pub fn new(inner: T) -> Self {
        Self {
            inner,
            hasher: Sha256::new(),
            bytes: 0,
        }
    }

    /// Bytes so far.
    pub fn length(&self) -> u64 {
        self.bytes
    }

    /// The digest of everything that passed, and what it passed to or came from.
    pub fn finish(self) -> (Digest, T) {
        let mut sha256 = String::with_capacity(64);
        for byte in self.hasher.finalize() {
            // Writing to a string cannot fail.
            let _ = write!(sha256, "{byte:02x}");
        }
        let digest = Digest {
            sha256,
            bytes: self.bytes,
        };
        (digest, self.inner)
    }

    fn take(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
    }
}

impl<W: Write> Write for Digesting<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(buffer)?;
        self.take(&buffer[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read> Read for Digesting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.take(&buffer[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::Digesting;

    #[test]
    fn the_digest_is_sha256_both_ways() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let mut writer = Digesting::new(Vec::new());
        writer.write_all(b"a").unwrap();
        writer.write_all(b"bc").unwrap();
        let (digest, written) = writer.finish();
        assert_eq!((digest.sha256.as_str(), digest.bytes), (expected, 3));

        let mut reader = Digesting::new(written.as_slice());
        std::io::copy(&mut reader.by_ref(), &mut std::io::sink()).unwrap();
        assert_eq!(reader.finish().0, digest);
    }
}
