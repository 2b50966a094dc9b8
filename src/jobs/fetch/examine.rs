//! A copy that is read where it lies, and compared with what was signed and sealed, without a trace on the disk.

use std::ffi::OsString;
use std::io::{self, Read, Write as _};

use tokio::sync::mpsc;

use super::agreement::{self, file_of};
use super::unpack::each_file;
use super::{CopySource, Download, Opening};
use crate::config::Format;
use crate::copies::{CopiedFile, Copy, CopyManifest, FileRole, Identities};
use crate::jobs::error::JobError;
use crate::jobs::run::Run;
use crate::pipeline::{Amount, Digest, Digesting, Phase, listing_digest};
use crate::policy::CopyState;
use crate::repository::Manifest;
use crate::threads;

/// Reads a copy as a whole. Without a key every volume of an encrypted copy is compared with what was signed;
/// else what is in them with the backup's own manifest as well. Gives how far the copy is proved with that.
///
/// # Errors
/// When the copy is damaged or cannot be read, no identity opens it, or the run is to end.
pub async fn verify_copy(
    run: &Run<'_>,
    source: &CopySource,
    copy: &Copy,
    identities: Option<&Identities>,
) -> Result<CopyState, JobError> {
    let manifest = &copy.manifest.manifest;
    let opening = if manifest.is_encrypted() && identities.is_none() {
        Opening::Sealed
    } else {
        super::opening(copy, &copy.manifest, identities)?
    };
    run.progress.enter(Phase::Fetching);
    run.progress.expect(Amount::Bytes(manifest.bytes()));
    let is_sealed = matches!(opening, Opening::Sealed);
    let examination = Examination {
        download: Download::new(run, source, opening),
        copy: manifest,
    };
    if is_sealed {
        for file in &manifest.files {
            examination.download.file(file, 0, async |_| Ok(())).await?;
        }
        return Ok(CopyState::ReadBack);
    }
    let own = examination.own_manifest().await?;
    for (role, digest) in [
        (FileRole::Census, Some(&own.census.digest)),
        (
            FileRole::Globals,
            own.globals.as_ref().map(|globals| &globals.digest),
        ),
        (FileRole::Artifact, Some(&own.artifact.digest)),
    ] {
        if let (Some(file), Some(digest)) = (file_of(manifest, role), digest) {
            examination.compare(file, digest).await?;
        }
    }
    Ok(CopyState::Opened)
}

/// The reading of a copy that can be opened.
struct Examination<'a> {
    download: Download<'a>,
    copy: &'a CopyManifest,
}

impl Examination<'_> {
    /// The backup's own manifest.
    async fn own_manifest(&self) -> Result<Manifest, JobError> {
        let file = file_of(self.copy, FileRole::Manifest);
        let file =
            file.ok_or_else(|| JobError::Internal("a copy without a manifest".to_owned()))?;
        let mut text = Vec::new();
        let each = async |content: Vec<u8>| {
            text.extend_from_slice(&content);
            Ok(())
        };
        self.download.file(file, 0, each).await?;
        let text = String::from_utf8(text).map_err(|_| self.damaged("it is not UTF-8"))?;
        let read = agreement::read(self.copy, &text);
        read.map(|(manifest, _)| manifest)
            .map_err(|why| self.damaged(&why))
    }

    fn damaged(&self, why: &str) -> JobError {
        JobError::Damaged(format!(
            "the backup's own manifest in the copy {} cannot be used: {why}",
            self.copy.copy
        ))
    }

    /// Compares a file with what its manifest says.
    async fn compare(&self, file: &CopiedFile, digest: &Digest) -> Result<(), JobError> {
        let is_archive = file.role == FileRole::Artifact && self.copy.dump == Format::Directory;
        let found = if is_archive {
            self.digest_of_archive(file).await?
        } else {
            let mut content = Digesting::new(io::sink());
            let each = async |piece: Vec<u8>| {
                let written = content.write_all(&piece);
                written.map_err(|error| JobError::Internal(error.to_string()))
            };
            self.download.file(file, 0, each).await?;
            content.finish().0
        };
        if found == *digest {
            return Ok(());
        }
        Err(JobError::Damaged(format!(
            "{} at {} is not the file that its manifest describes: it has {found}, and should have {digest}",
            file.name, self.download.source.label
        )))
    }

    /// The digest of the files in an archive, taken while it passes.
    async fn digest_of_archive(&self, file: &CopiedFile) -> Result<Digest, JobError> {
        let (sender, pieces) = mpsc::channel(1);
        let reading = threads::start("unpack", move || digest_files(Pieces::new(pieces)))?;
        let each = async |piece: Vec<u8>| {
            // Whoever reads has given up, and says why.
            let _ = sender.send(piece).await;
            Ok(())
        };
        let read = self.download.file(file, 0, each).await;
        drop(sender);
        let digest = reading.await?;
        read?;
        digest.map_err(|error| {
            JobError::Damaged(format!(
                "the archive {} at {} is not usable: {error}",
                file.name, self.download.source.label
            ))
        })
    }
}

fn digest_files(source: impl Read) -> io::Result<Digest> {
    let mut files: Vec<(OsString, Digest)> = Vec::new();
    each_file(source, |name, content| {
        let mut content = Digesting::new(content);
        io::copy(&mut content, &mut io::sink())?;
        files.push((name.to_owned(), content.finish().0));
        Ok(())
    })?;
    Ok(listing_digest(files))
}

/// Reads what another thread hands over.
struct Pieces {
    source: mpsc::Receiver<Vec<u8>>,
    piece: io::Cursor<Vec<u8>>,
}

impl Pieces {
    fn new(source: mpsc::Receiver<Vec<u8>>) -> Self {
        Self {
            source,
            piece: io::Cursor::default(),
        }
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.piece.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            match self.source.blocking_recv() {
                Some(piece) => self.piece = io::Cursor::new(piece),
                None => return Ok(0),
            }
        }
    }
}
