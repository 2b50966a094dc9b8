//! Documents that were read and verified before, by what the listing says of them: a thousand copies are not
//! two thousand requests each time.
//!
//! Nothing in the cache is trusted. It has the signatures too, and they are verified again at each reading: a
//! file that was changed, or swapped with another, counts for nothing, and the store is asked.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::catalogue::Wanted;
use super::manifest::LONGEST_DOCUMENT;
use super::sha256::Sha256Sum;
use super::signature::LONGEST_SIGNATURE;

/// A directory of documents of one place at one destination.
#[derive(Clone, Debug)]
pub struct ManifestCache {
    directory: PathBuf,
}

impl ManifestCache {
    /// The cache in a directory, which is made when something is put into it. It has to be this cache's alone.
    pub fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
        }
    }

    /// The document and its signature as they were read before; none if they were not, or if the listing says
    /// anything else of them now.
    pub(super) fn get(&self, wanted: &Wanted) -> Option<(Vec<u8>, Vec<u8>)> {
        let path = self.directory.join(name(wanted));
        let length = fs::metadata(&path).ok()?.len();
        if length > 8 + LONGEST_DOCUMENT + LONGEST_SIGNATURE {
            return None;
        }
        let mut bytes = crate::regular_file::read(&path).ok()?;
        let (length, _) = bytes.split_first_chunk::<8>()?;
        let length = usize::try_from(u64::from_be_bytes(*length)).ok()?;
        let mut document = bytes.split_off(8);
        if length > document.len() {
            return None;
        }
        let signature = document.split_off(length);
        Some((document, signature))
    }

    /// Keeps a document and its signature. It is no loss if it is not on the disk after a crash.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn put(
        &self,
        wanted: &Wanted,
        (document, signature): (&[u8], &[u8]),
    ) -> io::Result<()> {
        fs::create_dir_all(&self.directory)?;
        let length = (document.len() as u64).to_be_bytes();
        let name = name(wanted);
        let temporary = self
            .directory
            .join(format!("{name}.{}", uuid::Uuid::now_v7()));
        let written = fs::write(&temporary, [&length, document, signature].concat())
            .and_then(|()| fs::rename(&temporary, self.directory.join(&name)));
        if written.is_err() {
            // What could not be written is in nobody's way.
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    /// Removes what is of no object in the listing any more.
    ///
    /// # Errors
    /// When the directory cannot be read, or a file in it not be removed.
    pub(super) fn keep_only(&self, all: &[Wanted]) -> io::Result<()> {
        let names: HashSet<String> = all.iter().map(name).collect();
        let files = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            files => files?,
        };
        for file in files {
            let file = file?;
            let is_known = file
                .file_name()
                .to_str()
                .is_some_and(|name| names.contains(name));
            if !is_known {
                match fs::remove_file(file.path()) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    removed => removed?,
                }
            }
        }
        Ok(())
    }
}

/// The name of a file: another one whenever the listing says anything else of the two objects.
fn name(wanted: &Wanted) -> String {
    let of = [&wanted.document, &wanted.signature]
        .map(|one| format!("{} {} {}\n", one.key, one.bytes, one.modified.to_rfc3339()));
    Sha256Sum::of(of.concat().as_bytes()).to_string()
}
