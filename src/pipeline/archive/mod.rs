//! Whether an archive that `pg_dump` wrote by itself is complete: compares its files on the disk, what
//! `pg_restore` makes of them, and what its own list names.

mod contents;
mod tar;

use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use super::census::{Census, Dependencies};
use super::digest_files::{StoredFile, digest_file, digest_files};
use super::stream::{Progress, StreamError, StreamSummary, take_census};
use super::{Adaptation, Digest, Findings};
use crate::config::Format;
use contents::Contents;

pub use tar::TarMembers;

/// An archive's files, read from the disk in full.
#[derive(Debug)]
pub struct ArchiveFiles {
    path: PathBuf,
    digest: Digest,
    /// Of an archive in directory format.
    files: Option<Vec<StoredFile>>,
}

/// The dump's text that `pg_restore` made of an archive, read to its end.
#[derive(Debug)]
pub struct ArchiveText {
    bytes: u64,
    census: Census,
    findings: Findings,
    dependencies: Dependencies,
}

/// The list of contents that `pg_restore --list` prints of an archive.
#[derive(Debug)]
pub struct ArchiveList(Contents);

/// An archive that was read from the disk, decoded to its end, and found complete. Nothing but that
/// reading gives one.
#[derive(Clone, Debug)]
pub struct ArchiveReceipt {
    path: PathBuf,
    stream_summary: StreamSummary,
    files: usize,
    remark: Option<String>,
}

impl ArchiveFiles {
    /// Reads the files of an archive and takes their digest.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn read(path: PathBuf, format: Format, progress: &Progress) -> Result<Self, StreamError> {
        let (digest, files) = if format == Format::Directory {
            let (digest, files) = digest_files(&path, progress)?;
            (digest, Some(files))
        } else {
            let file = crate::regular_file::open(&path).map_err(StreamError::Read)?;
            (digest_file(file, progress)?, None)
        };
        Ok(Self {
            path,
            digest,
            files,
        })
    }

    /// Joins what was read of the archive in each way; the inner error is what is missing, in a
    /// sentence.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn complete(
        self,
        text: ArchiveText,
        list: &ArchiveList,
    ) -> io::Result<Result<ArchiveReceipt, String>> {
        let ArchiveList(contents) = list;
        if contents.entries == Some(0) {
            return Ok(Err(
                "its list of contents is empty: even a dump of an empty database has entries"
                    .to_owned(),
            ));
        }
        let mut remark = None;
        if let Some(files) = &self.files {
            let found = match contents::account(&self.path, files, contents)? {
                Ok(found) => found,
                Err(missing) => return Ok(Err(missing)),
            };
            if let Some(made) = text
                .census
                .large_objects()
                .filter(|made| *made > found.large_objects)
            {
                return Ok(Err(format!(
                    "it makes {made} large objects, and has files for {} only",
                    found.large_objects
                )));
            }
            remark = contents::remark(&found.extra);
        }
        let stream_summary = StreamSummary {
            digest: self.digest,
            text_bytes: text.bytes,
            census: text.census,
            findings: text.findings,
            dependencies: text.dependencies,
        };
        Ok(Ok(ArchiveReceipt {
            path: self.path,
            stream_summary,
            files: self.files.map_or(0, |files| files.len()),
            remark,
        }))
    }
}

impl ArchiveText {
    /// Takes the census of the text.
    ///
    /// # Errors
    /// When the source fails, or the text is not a complete dump.
    pub fn read(
        source: impl Read,
        adaptation: Option<&Adaptation>,
        progress: &Progress,
    ) -> Result<Self, StreamError> {
        let (census, bytes, findings, dependencies) = take_census(source, adaptation, progress)?;
        Ok(Self {
            bytes,
            census,
            findings,
            dependencies,
        })
    }

    /// The census of the text.
    pub fn into_census(self) -> Census {
        self.census
    }
}

impl ArchiveList {
    /// Reads the list.
    ///
    /// # Errors
    /// When the source fails.
    pub fn read(source: impl Read) -> Result<Self, StreamError> {
        Contents::read(BufReader::new(source))
            .map(Self)
            .map_err(StreamError::Read)
    }
}

impl ArchiveReceipt {
    /// The archive that was read.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many files an archive in directory format has; 0 of any other.
    pub fn files(&self) -> usize {
        self.files
    }

    /// What deserves a word although the archive is complete.
    pub fn remark(&self) -> Option<&str> {
        self.remark.as_deref()
    }

    /// What the archive holds.
    pub fn into_summary(self) -> StreamSummary {
        self.stream_summary
    }
}
