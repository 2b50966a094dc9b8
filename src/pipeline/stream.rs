//! The whole stream: from `pg_dump`'s text to a file, and from the file back to the text.
//!
//! Both directions block and are run on a thread that may; `jobs` starts it.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::num::NonZeroU8;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use super::allow::{Finding, Findings};
use super::census::{self, Census, Dependencies, Flaw, Scanner, StoredCensusError};
use super::compression::{self, BlockWriter, Blocks, Decoder, Encoder, READ_AHEAD, Settings};
use super::digest::{Digest, Digesting};
use super::dump_file::{Adaptation, Adapter, Inside, Surveyor};
use super::encryption::{Content, InputFile, Opener, Sealed, Sealer, digest_beneath};
use super::follow::{TailReader, WriteProgress};
use crate::config::Compression;
use crate::regular_file::forget_cached;

/// How far a backup has come, for whoever watches; written by the stream's threads.
#[derive(Debug, Default)]
pub struct Progress {
    phase: AtomicU8,
    text: AtomicU64,
    stored: AtomicU64,
    checked: AtomicU64,
    rows: AtomicU64,
    ahead: AtomicU64,
    ahead_in_rows: AtomicBool,
    cancelled: AtomicBool,
}

/// How much of something there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// Bytes of a dump's text.
    Bytes(u64),
    /// Rows of all tables.
    Rows(u64),
}

/// What a backup is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Connecting, and dumping the cluster's globals.
    Preparing = 0,
    /// The dump streams to the disk.
    Dumping = 1,
    /// What was written is read back and checked.
    Checking = 2,
    /// The files get their names.
    Publishing = 3,
    /// A backup is loaded into a server.
    Loading = 4,
    /// What was loaded is dumped again and compared.
    Comparing = 5,
    /// The volumes of a copy are read from a destination.
    Fetching = 6,
}

impl Progress {
    /// What is being done now.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            1 => Phase::Dumping,
            2 => Phase::Checking,
            3 => Phase::Publishing,
            4 => Phase::Loading,
            5 => Phase::Comparing,
            6 => Phase::Fetching,
            _ => Phase::Preparing,
        }
    }

    /// Enters a phase; with the dump, with fetching, and with those of a test restore, all bytes count from
    /// nothing again.
    pub fn enter(&self, phase: Phase) {
        if matches!(
            phase,
            Phase::Dumping | Phase::Loading | Phase::Comparing | Phase::Fetching
        ) {
            for counter in [&self.text, &self.stored, &self.checked, &self.rows] {
                counter.store(0, Ordering::Relaxed);
            }
        }
        self.expect(Amount::Bytes(0));
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Tells how much the phase has before it.
    pub fn expect(&self, amount: Amount) {
        let (number, in_rows) = match amount {
            Amount::Bytes(number) => (number, false),
            Amount::Rows(number) => (number, true),
        };
        self.ahead.store(number, Ordering::Relaxed);
        self.ahead_in_rows.store(in_rows, Ordering::Relaxed);
    }

    /// How much of how much is done, in the same unit; none where that is not known.
    pub fn done_of(&self) -> Option<(Amount, Amount)> {
        let ahead = self.ahead.load(Ordering::Relaxed);
        if ahead == 0 {
            return None;
        }
        Some(if self.ahead_in_rows.load(Ordering::Relaxed) {
            let done = self.rows.load(Ordering::Relaxed).min(ahead);
            (Amount::Rows(done), Amount::Rows(ahead))
        } else {
            let done = self.checked_bytes().min(ahead);
            (Amount::Bytes(done), Amount::Bytes(ahead))
        })
    }

    /// Tells how many rows another program has loaded; a smaller number than before does not count.
    pub fn loaded_rows(&self, rows: u64) {
        self.rows.fetch_max(rows, Ordering::Relaxed);
    }

    /// Bytes of dump text, or of an archive, that have been read back.
    pub fn checked_bytes(&self) -> u64 {
        self.checked.load(Ordering::Relaxed)
    }

    /// Bytes of dump text that have been written.
    pub fn text_bytes(&self) -> u64 {
        self.text.load(Ordering::Relaxed)
    }

    /// Bytes of the artifact that have been written.
    pub fn stored_bytes(&self) -> u64 {
        self.stored.load(Ordering::Relaxed)
    }

    /// Tells how much of the artifact another program has written.
    pub fn set_stored_bytes(&self, bytes: u64) {
        self.stored.store(bytes, Ordering::Relaxed);
    }

    /// Asks the stream to stop at the next block.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Lets the next stream begin after one that was asked to stop.
    pub fn renew(&self) {
        self.cancelled.store(false, Ordering::Relaxed);
    }

    fn passed(&self, text: usize, stored: u64) -> Result<(), StreamError> {
        self.text.fetch_add(text as u64, Ordering::Relaxed);
        self.stored.store(stored, Ordering::Relaxed);
        self.go_on()
    }

    /// Counts bytes that were read back.
    ///
    /// # Errors
    /// When the stream was asked to stop.
    pub fn found(&self, bytes: usize) -> Result<(), StreamError> {
        self.checked.fetch_add(bytes as u64, Ordering::Relaxed);
        self.go_on()
    }

    fn go_on(&self) -> Result<(), StreamError> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(StreamError::Cancelled);
        }
        Ok(())
    }
}

/// What has been written, or read back: the two must agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamSummary {
    /// Of the file.
    pub digest: Digest,
    /// Bytes of dump text.
    pub text_bytes: u64,
    /// What the dump contains.
    pub census: Census,
    /// What of it a restore does not simply send.
    pub findings: Findings,
    /// The roles and tablespaces that it takes for granted.
    pub dependencies: Dependencies,
}

/// What [`write_dump`] has written; nothing else gives one.
#[derive(Clone, Debug)]
pub struct Written(StreamSummary);

/// What [`follow_dump`] has read back of a file while it was written; nothing else gives one.
#[derive(Clone, Debug)]
pub struct ReadBack(StreamSummary);

impl Written {
    /// What it holds.
    pub fn stream_summary(&self) -> &StreamSummary {
        &self.0
    }
}

impl ReadBack {
    /// What it holds.
    pub fn into_summary(self) -> StreamSummary {
        self.0
    }
}

#[cfg(test)]
impl From<StreamSummary> for Written {
    fn from(stream_summary: StreamSummary) -> Self {
        Self(stream_summary)
    }
}

#[cfg(test)]
impl From<StreamSummary> for ReadBack {
    fn from(stream_summary: StreamSummary) -> Self {
        Self(stream_summary)
    }
}

/// Why a stream ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The source gave an error: the pipe from a program, or the file.
    #[error("cannot read: {0}")]
    Read(#[source] io::Error),
    /// The file cannot be written.
    #[error("cannot write: {0}")]
    Write(#[source] io::Error),
    /// What passed is not a complete dump.
    #[error(transparent)]
    Flaw(#[from] Flaw),
    /// It holds what a restore does not send.
    #[error("{0}")]
    Refused(Box<Finding>),
    /// It was asked to stop.
    #[error("interrupted")]
    Cancelled,
}

/// An error of the file that is read.
impl From<io::Error> for StreamError {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

/// Compresses a dump in plain format into a file, encrypted where there is a sealer, while taking its census and
/// digest, and syncs the file. Whoever follows the writing can read it back meanwhile.
///
/// # Errors
/// When the source or the file fails, or the text is not a complete dump.
#[expect(
    clippy::too_many_arguments,
    reason = "where the dump comes from, where it goes, and who watches"
)]
pub fn write_dump(
    mut source: impl Read,
    file: File,
    (settings, sealer): (Settings, Option<&Sealer>),
    write_progress: &WriteProgress,
    progress: &Progress,
) -> Result<Written, StreamError> {
    let _unless_synced = GiveUp(write_progress);
    let stored = Arc::default();
    let file = Tallied {
        inner: Digesting::new(file),
        tally: Arc::clone(&stored),
    };
    let mut encoder = Sealed::new(file, sealer)
        .and_then(|file| Encoder::new(settings, file))
        .map_err(StreamError::Write)?;
    let mut scanner = Scanner::new();
    let mut text_bytes = 0;
    let mut block = Vec::with_capacity(compression::BLOCK);
    loop {
        compression::fill(&mut source, &mut block).map_err(StreamError::Read)?;
        if block.is_empty() {
            break;
        }
        scanner.push(&block)?;
        let length = block.len();
        text_bytes += length as u64;
        block = encoder.write_block(block).map_err(StreamError::Write)?;
        let stored = stored.load(Ordering::Relaxed);
        write_progress.reached(stored);
        progress.passed(length, stored)?;
    }
    let (findings, dependencies) = (scanner.take_findings(), scanner.take_dependencies());
    let census = scanner.finish()?;
    let file = encoder.finish().and_then(Sealed::finish);
    let (digest, file) = file.map_err(StreamError::Write)?.inner.finish();
    file.sync_all().map_err(StreamError::Write)?;
    write_progress.synced(digest.bytes);
    Ok(Written(StreamSummary {
        digest,
        text_bytes,
        census,
        findings,
        dependencies,
    }))
}

/// Tells the reader when the writer ends in any other way than with a synced file.
struct GiveUp<'a>(&'a WriteProgress);

impl Drop for GiveUp<'_> {
    fn drop(&mut self) {
        self.0.give_up();
    }
}

/// Counts the bytes that pass; whoever has the tally sees them too.
struct Tallied<W> {
    inner: W,
    tally: Arc<AtomicU64>,
}

impl<W: Write> Write for Tallied<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(buffer)?;
        self.tally.fetch_add(written as u64, Ordering::Relaxed);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Encrypts an archive, which `pg_dump` has compressed itself, into a file, and syncs the file; gives the file's
/// digest.
///
/// # Errors
/// When the source or the file fails.
pub fn write_archive(
    mut source: impl Read,
    file: File,
    sealer: &Sealer,
    progress: &Progress,
) -> Result<Digest, StreamError> {
    let file = Sealed::new(Digesting::new(file), Some(sealer));
    let mut file = file.map_err(StreamError::Write)?;
    let (mut block, mut bytes) = (Vec::with_capacity(compression::BLOCK), 0);
    loop {
        compression::fill(&mut source, &mut block).map_err(StreamError::Read)?;
        if block.is_empty() {
            break;
        }
        file.write_all(&block).map_err(StreamError::Write)?;
        bytes += block.len() as u64;
        progress.passed(0, bytes)?;
    }
    let (digest, file) = file.finish().map_err(StreamError::Write)?.finish();
    file.sync_all().map_err(StreamError::Write)?;
    Ok(digest)
}

/// Writes a census, compressed and encrypted where there is a sealer, into a file, and syncs the file.
///
/// # Errors
/// When the file cannot be written.
pub fn write_census(census: &Census, file: File, sealer: Option<&Sealer>) -> io::Result<Digest> {
    let settings = Settings::new(Compression::Gzip, None, Some(NonZeroU8::MIN));
    let file = Sealed::new(Digesting::new(file), sealer)?;
    let mut writer = BlockWriter::new(Encoder::new(settings, file)?);
    census::write(census, &mut writer)?;
    let (digest, file) = writer.finish()?.finish()?.finish();
    file.sync_all()?;
    Ok(digest)
}

/// Reads a census back, and takes the digest of its file.
///
/// # Errors
/// When the file cannot be read, or is no whole census.
pub fn read_census(file: &InputFile) -> Result<(Census, Digest), StoredCensusError> {
    let (source, opener) = file.raw()?;
    read_census_stream(source, opener)
}

/// The same of a census that comes from elsewhere, and is kept nowhere.
///
/// # Errors
/// As there.
pub fn read_census_stream(
    source: impl Read + Unpin,
    opener: Option<&Opener>,
) -> Result<(Census, Digest), StoredCensusError> {
    digest_beneath(source, opener, |content| {
        let buffered = BufReader::with_capacity(READ_AHEAD, content);
        let mut decoder = Decoder::new(Compression::Gzip, buffered)?;
        census::read(BufReader::new(Blocks::new(&mut decoder)))
    })
}

/// Reads a file back from the disk, all of it, and takes the same census and digest.
///
/// # Errors
/// When the file cannot be read, cannot be decompressed, or holds no whole dump.
pub fn read_dump(
    file: &InputFile,
    compression: Compression,
    progress: &Progress,
) -> Result<StreamSummary, StreamError> {
    let (source, opener) = file.raw()?;
    forget_cached(&source);
    read_back((source, opener), compression, None, progress)
}

/// The same of a dump that comes from elsewhere, and is kept nowhere.
///
/// # Errors
/// As there.
pub fn read_dump_stream(
    (source, opener): (impl Read + Unpin, Option<&Opener>),
    compression: Compression,
    progress: &Progress,
) -> Result<StreamSummary, StreamError> {
    read_back((source, opener), compression, None, progress)
}

/// The same of a file that there is no manifest for.
///
/// # Errors
/// As there.
pub fn read_dump_file(
    file: &InputFile,
    compression: Compression,
    adaptation: &Adaptation,
    progress: &Progress,
) -> Result<StreamSummary, StreamError> {
    let (source, opener) = file.raw()?;
    forget_cached(&source);
    let adapter = Adapter::new(adaptation);
    read_back((source, opener), compression, Some(adapter), progress)
}

/// Reads a file back from the disk while it is written, as [`read_dump`] does with one that is
/// complete.
///
/// # Errors
/// As there; and when the writer gives up.
pub fn follow_dump(
    file: &InputFile,
    write_progress: Arc<WriteProgress>,
    compression: Compression,
    progress: &Progress,
) -> Result<ReadBack, StreamError> {
    let (source, opener) = file.raw()?;
    let source = TailReader::new(source, write_progress);
    read_back((source, opener), compression, None, progress).map(ReadBack)
}

fn read_back(
    (source, opener): (impl Read + Unpin, Option<&Opener>),
    compression: Compression,
    adapter: Option<Adapter>,
    progress: &Progress,
) -> Result<StreamSummary, StreamError> {
    let (stream_summary, digest) = digest_beneath(source, opener, |content| {
        read_content(content, compression, adapter, progress)
    })?;
    Ok(StreamSummary {
        digest,
        ..stream_summary
    })
}

/// Reads the dump that is in a file; the digest is left to whoever has the file.
fn read_content(
    content: Content<impl Read + Unpin>,
    compression: Compression,
    mut adapter: Option<Adapter>,
    progress: &Progress,
) -> Result<StreamSummary, StreamError> {
    let buffered = BufReader::with_capacity(READ_AHEAD, content);
    let mut decoder = Decoder::new(compression, buffered).map_err(StreamError::Read)?;
    let mut scanner = Scanner::new();
    let mut text_bytes = 0;
    let mut block = Vec::with_capacity(compression::BLOCK);
    loop {
        decoder.next_block(&mut block).map_err(StreamError::Read)?;
        pass(&mut scanner, adapter.as_mut(), &block)?;
        if block.is_empty() {
            break;
        }
        text_bytes += block.len() as u64;
        progress.found(block.len())?;
    }
    let findings = scanner.take_findings();
    Ok(StreamSummary {
        digest: Digest::default(),
        text_bytes,
        dependencies: scanner.take_dependencies(),
        census: finish(scanner, &findings)?,
        findings,
    })
}

/// Lets a block pass. What is no dump to the census may be one that is refused for a better reason.
fn push(scanner: &mut Scanner, block: &[u8]) -> Result<(), StreamError> {
    scanner
        .push(block)
        .map_err(|flaw| because(flaw, scanner.findings()))
}

/// The same, as it is adapted; an empty block is the end.
fn pass(
    scanner: &mut Scanner,
    adapter: Option<&mut Adapter>,
    block: &[u8],
) -> Result<(), StreamError> {
    let Some(adapter) = adapter else {
        return push(scanner, block);
    };
    let mut text = Vec::with_capacity(block.len());
    adapter.push(block, &mut text);
    push(scanner, &text)
}

fn finish(scanner: Scanner, findings: &Findings) -> Result<Census, StreamError> {
    scanner.finish().map_err(|flaw| because(flaw, findings))
}

fn because(flaw: Flaw, findings: &Findings) -> StreamError {
    match &findings.refused {
        Some(finding) => StreamError::Refused(Box::new(finding.clone())),
        None => flaw.into(),
    }
}

/// Takes the census of a dump in plain format that is not kept, such as `pg_restore` makes of an
/// archive; gives it with the number of bytes of text, what of it is not simply sent, and what it takes
/// for granted.
///
/// # Errors
/// When the source fails, or the text is not a complete dump.
pub fn take_census(
    mut source: impl Read,
    adaptation: Option<&Adaptation>,
    progress: &Progress,
) -> Result<(Census, u64, Findings, Dependencies), StreamError> {
    let mut scanner = Scanner::new();
    let mut adapter = adaptation.map(Adapter::new);
    let mut text_bytes = 0;
    let mut block = Vec::with_capacity(compression::BLOCK);
    loop {
        compression::fill(&mut source, &mut block).map_err(StreamError::Read)?;
        pass(&mut scanner, adapter.as_mut(), &block)?;
        if block.is_empty() {
            let (findings, dependencies) = (scanner.take_findings(), scanner.take_dependencies());
            return Ok((
                finish(scanner, &findings)?,
                text_bytes,
                findings,
                dependencies,
            ));
        }
        text_bytes += block.len() as u64;
        progress.found(block.len())?;
    }
}

/// Reads a file as far as it can hold several databases: a text that neither makes nor connects to any is
/// read to its first object.
///
/// # Errors
/// When it cannot be read.
pub fn databases_inside(
    file: &InputFile,
    compression: Compression,
    progress: &Progress,
) -> Result<Inside, StreamError> {
    let buffered = BufReader::with_capacity(READ_AHEAD, file.open()?);
    let mut decoder = Decoder::new(compression, buffered).map_err(StreamError::Read)?;
    let (mut surveyor, mut block) = (Surveyor::new(), Vec::new());
    loop {
        decoder.next_block(&mut block).map_err(StreamError::Read)?;
        if let Some(inside) = surveyor.push(&block).map_err(StreamError::Read)? {
            return Ok(inside);
        }
        progress.go_on()?;
    }
}

/// Reads all text of a small file, such as that of the globals, and takes the digest of the file.
///
/// # Errors
/// When the file cannot be read or decompressed, or its text is longer than `longest`.
pub fn read_text(
    file: &InputFile,
    compression: Compression,
    longest: usize,
) -> Result<(Vec<u8>, Digest), StreamError> {
    let (source, opener) = file.raw()?;
    digest_beneath(source, opener, |content| {
        let buffered = BufReader::with_capacity(READ_AHEAD, content);
        let mut decoder = Decoder::new(compression, buffered).map_err(StreamError::Read)?;
        let (mut text, mut block) = (Vec::new(), Vec::new());
        loop {
            decoder.next_block(&mut block).map_err(StreamError::Read)?;
            if block.is_empty() {
                return Ok(text);
            }
            if text.len() + block.len() > longest {
                let reason = format!("its text is longer than {longest} bytes");
                return Err(StreamError::Read(io::Error::other(reason)));
            }
            text.extend_from_slice(&block);
        }
    })
}
