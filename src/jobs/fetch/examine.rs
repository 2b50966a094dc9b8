//! A copy that is read where it lies, and compared with what was signed and sealed, without a trace on the disk.

use std::ffi::OsString;
use std::io::{self, Read, Write as _};

use tokio::sync::mpsc;

use super::agreement::{self, file_of};
use super::unpack::each_file;
use super::{CopySource, Download, Opening};
use crate::config::Format;
use crate::copies::{CopiedFile, Copy, CopyManifest, FileRole, Identities, SignedManifest};
use crate::jobs::error::JobError;
use crate::jobs::pace::Pace;
use crate::jobs::run::Run;
use crate::pipeline::{Amount, Digest, Digesting, Phase, listing_digest};
use crate::policy::CopyState;
use crate::repository::{Manifest, Stem};
use crate::threads;

/// Reads a copy as a whole. Without a key every volume of an encrypted copy is compared with what was signed;
/// else what is in them with the backup's own manifest as well. Gives how far the copy is proved with that. A copy
/// with several manifests is intact if what one of them names is.
///
/// # Errors
/// When the copy is damaged or cannot be read, no identity opens it, or the run is to end.
pub async fn verify_copy(
    run: &Run<'_>,
    source: &CopySource,
    copy: &Copy,
    identities: Option<&Identities>,
) -> Result<CopyState, JobError> {
    verify_copy_at(run, (source, None), copy, identities).await
}

/// The same, not faster than this.
///
/// # Errors
/// As those of [`verify_copy`].
pub(in crate::jobs) async fn verify_copy_at(
    run: &Run<'_>,
    (source, pace): (&CopySource, Option<&Pace>),
    copy: &Copy,
    identities: Option<&Identities>,
) -> Result<CopyState, JobError> {
    let mut failure = None;
    for signed in super::manifests(copy) {
        let verifying = verify_manifest(run, (source, pace), (copy, signed), identities);
        match verifying.await {
            Err(error) if super::is_damage(&error) => {
                failure.get_or_insert(error);
            }
            outcome => return outcome,
        }
    }
    Err(failure.unwrap_or_else(|| JobError::Internal("a copy without a manifest".to_owned())))
}

/// Reads what one manifest names.
async fn verify_manifest(
    run: &Run<'_>,
    (source, pace): (&CopySource, Option<&Pace>),
    (copy, signed): (&Copy, &SignedManifest),
    identities: Option<&Identities>,
) -> Result<CopyState, JobError> {
    let manifest = &signed.manifest;
    let opening = if manifest.is_encrypted() && identities.is_none() {
        Opening::Sealed
    } else {
        super::opening(copy, signed, identities)?
    };
    run.progress.enter(Phase::Fetching);
    run.progress.expect(Amount::Bytes(manifest.bytes()));
    let is_sealed = matches!(opening, Opening::Sealed);
    let mut examination = Examination::new((run, source), opening, manifest);
    examination.download = examination.download.paced(pace);
    if is_sealed {
        for file in &manifest.files {
            examination.download.file(file, 0, async |_| Ok(())).await?;
        }
        return Ok(CopyState::ReadBack);
    }
    let (own, ..) = examination.own_manifest().await?;
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

/// The backup's own manifest, which is one of the sealed files.
///
/// # Errors
/// As [`verify_copy`].
pub(in crate::jobs) async fn own_manifest(
    run: &Run<'_>,
    source: &CopySource,
    copy: &Copy,
    identities: Option<&Identities>,
) -> Result<Manifest, JobError> {
    let opening = super::opening(copy, &copy.manifest, identities)?;
    let examination = Examination::new((run, source), opening, &copy.manifest.manifest);
    let (manifest, ..) = examination.own_manifest().await?;
    Ok(manifest)
}

/// The reading of a copy that can be opened.
pub(super) struct Examination<'a> {
    pub(super) download: Download<'a>,
    pub(super) copy: &'a CopyManifest,
}

impl<'a> Examination<'a> {
    pub(super) fn new(
        (run, source): (&'a Run<'a>, &'a CopySource),
        opening: Opening,
        copy: &'a CopyManifest,
    ) -> Self {
        Self {
            download: Download::new(run, source, opening),
            copy,
        }
    }

    /// The backup's own manifest, with the backup's name, and its text.
    pub(super) async fn own_manifest(&self) -> Result<(Manifest, Stem, String), JobError> {
        let file = file_of(self.copy, FileRole::Manifest);
        let file =
            file.ok_or_else(|| JobError::Internal("a copy without a manifest".to_owned()))?;
        let (text, _) = self.content(file).await?;
        let text = String::from_utf8(text).map_err(|_| self.damaged("it is not UTF-8"))?;
        match agreement::read(self.copy, &text) {
            Ok((manifest, stem)) => Ok((manifest, stem, text)),
            Err(why) => Err(self.damaged(&why)),
        }
    }

    /// All that is in a small file, with its digest.
    pub(super) async fn content(&self, file: &CopiedFile) -> Result<(Vec<u8>, Digest), JobError> {
        let mut content = Digesting::new(Vec::new());
        let each = async |piece: Vec<u8>| {
            let written = content.write_all(&piece);
            written.map_err(|error| JobError::Internal(error.to_string()))
        };
        self.download.file(file, 0, each).await?;
        let (digest, content) = content.finish();
        Ok((content, digest))
    }

    fn damaged(&self, why: &str) -> JobError {
        JobError::Damaged(format!(
            "the backup's own manifest in the copy {} cannot be used: {why}",
            self.copy.copy
        ))
    }

    /// Compares a file with what its manifest says.
    pub(super) async fn compare(&self, file: &CopiedFile, digest: &Digest) -> Result<(), JobError> {
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
        self.agree(file, &found, digest)
    }

    /// Refuses a file that is not what its manifest says.
    pub(super) fn agree(
        &self,
        file: &CopiedFile,
        found: &Digest,
        expected: &Digest,
    ) -> Result<(), JobError> {
        if found == expected {
            return Ok(());
        }
        Err(JobError::Damaged(format!(
            "{} at {} is not the file that its manifest describes: it has {found}, and should have {expected}",
            file.name, self.download.source.label
        )))
    }

    /// Lets a file pass through a thread, and gives what came of that, with the digest of all its bytes.
    pub(super) async fn through<T: Send + 'static>(
        &self,
        file: &CopiedFile,
        work: impl FnOnce(Pieces) -> T + Send + 'static,
    ) -> Result<(T, Digest), JobError> {
        let (sender, pieces) = mpsc::channel(1);
        let reading = threads::start("read", move || work(Pieces::new(pieces)))?;
        let digest = self.feed(file, sender).await;
        let outcome = reading.await?;
        Ok((outcome, digest?))
    }

    /// Hands over a file piece by piece, and gives the digest of all its bytes.
    pub(super) async fn feed(
        &self,
        file: &CopiedFile,
        sender: mpsc::Sender<Vec<u8>>,
    ) -> Result<Digest, JobError> {
        let mut content = Digesting::new(io::sink());
        let each = async |piece: Vec<u8>| {
            let written = content.write_all(&piece);
            written.map_err(|error| JobError::Internal(error.to_string()))?;
            // Whoever reads has given up, and says why; whether the bytes are right is known at their end.
            let _ = sender.send(piece).await;
            Ok(())
        };
        self.download.file(file, 0, each).await?;
        Ok(content.finish().0)
    }

    /// The digest of the files in an archive, taken while it passes.
    async fn digest_of_archive(&self, file: &CopiedFile) -> Result<Digest, JobError> {
        let (digest, _) = self.through(file, digest_files).await?;
        digest.map_err(|error| self.unusable_archive(file, &error))
    }

    pub(super) fn unusable_archive(&self, file: &CopiedFile, error: &io::Error) -> JobError {
        JobError::Damaged(format!(
            "the archive {} at {} is not usable: {error}",
            file.name, self.download.source.label
        ))
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
pub(super) struct Pieces {
    source: mpsc::Receiver<Vec<u8>>,
    piece: io::Cursor<Vec<u8>>,
}

impl Pieces {
    pub(super) fn new(source: mpsc::Receiver<Vec<u8>>) -> Self {
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
