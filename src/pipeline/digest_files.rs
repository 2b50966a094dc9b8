//! The digests of files and directories as they stand on the disk.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use super::compression;
use super::digest::{Digest, Digesting};
use super::stream::{Progress, StreamError};
use crate::regular_file::forget_cached;

/// Takes the digest of a file as it stands on the disk.
///
/// # Errors
/// When the file cannot be read.
pub fn digest_file(file: File, progress: &Progress) -> Result<Digest, StreamError> {
    forget_cached(&file);
    let mut source = Digesting::new(file);
    let mut block = Vec::with_capacity(compression::BLOCK);
    loop {
        compression::fill(&mut source, &mut block).map_err(StreamError::Read)?;
        if block.is_empty() {
            return Ok(source.finish().0);
        }
        progress.found(block.len())?;
    }
}

/// Takes the digest of a directory of files: that of the text that `sha256sum *` prints in it, in
/// the order of the names' bytes; its length is the sum of the files'.
///
/// # Errors
/// When a file cannot be read, or the directory holds anything but files.
pub fn digest_directory(directory: &Path, progress: &Progress) -> Result<Digest, StreamError> {
    digest_files(directory, progress).map(|(digest, _)| digest)
}

/// A file in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredFile {
    /// Its name.
    pub(super) name: OsString,
    /// Its length.
    pub(super) bytes: u64,
}

/// The same, with the files that it is made from, in their order.
///
/// # Errors
/// As there.
pub(super) fn digest_files(
    directory: &Path,
    progress: &Progress,
) -> Result<(Digest, Vec<StoredFile>), StreamError> {
    let mut files = Vec::new();
    let read = |name: &OsStr, file: File| {
        let digest = digest_file(file, progress)?;
        files.push(StoredFile {
            name: name.to_owned(),
            bytes: digest.bytes,
        });
        Ok(digest)
    };
    let digest = digest_listing(directory, read, StreamError::Read)?;
    Ok((digest, files))
}

/// Takes the digest of a directory from those of its files, which `read` is given in the order of their names'
/// bytes. An error of the file system becomes one of `read`'s by `failed`.
///
/// # Errors
/// When the directory or a file in it cannot be opened, or `read` fails.
pub fn digest_listing<E>(
    directory: &Path,
    mut read: impl FnMut(&OsStr, File) -> Result<Digest, E>,
    failed: impl Fn(io::Error) -> E,
) -> Result<Digest, E> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(&failed)? {
        names.push(entry.map_err(&failed)?.file_name());
    }
    names.sort_by(|a, b| a.as_encoded_bytes().cmp(b.as_encoded_bytes()));
    let mut files = Vec::with_capacity(names.len());
    for name in names {
        let file = crate::regular_file::open(directory.join(&name)).map_err(&failed)?;
        let digest = read(&name, file)?;
        files.push((name, digest));
    }
    Ok(listing_digest(files))
}

/// The digest of a directory, from those of its files.
pub fn listing_digest(mut files: Vec<(OsString, Digest)>) -> Digest {
    files.sort_by(|(a, _), (b, _)| a.as_encoded_bytes().cmp(b.as_encoded_bytes()));
    let mut list = Digesting::new(io::sink());
    let mut bytes = 0;
    for (name, digest) in files {
        bytes += digest.bytes;
        // A sink takes everything.
        let _ = writeln!(list, "{}  {}", digest.sha256, name.display());
    }
    let sha256 = list.finish().0.sha256;
    Digest { sha256, bytes }
}
