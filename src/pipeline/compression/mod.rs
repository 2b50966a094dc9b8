//! Compression and its way back, in blocks, on threads of the caller's own.
//!
//! Everything here blocks, and is meant for a thread that may: never for one of the runtime's
//! workers, which answer signals.

mod gunzip;
mod gzip;
mod workers;
mod zstd;

use std::io::{self, Read, Write};
use std::num::NonZeroU8;

use crate::config::Compression;

use gunzip::Gunzip;
use gzip::Gzip;
use zstd::{Unzstd, Zstd};

/// So many bytes are compressed at a time: large enough that compressing them apart costs less
/// than half a percent of size, small enough that a few per thread fit into the memory promised.
pub const BLOCK: usize = 1 << 20;

/// So much is read from a file at once.
pub(super) const READ_AHEAD: usize = 256 * 1024;

/// How a stream is compressed, complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The format.
    pub compression: Compression,
    /// The level in the format's own scale.
    pub level: u8,
    /// How many threads compress.
    pub threads: NonZeroU8,
}

impl Settings {
    /// The settings asked for, completed with the measured defaults: gzip at libdeflate's level 4,
    /// which is as small as gzip(1) makes it; zstd at level 2, which on dumps is smaller than the
    /// command's default 3 and half as fast again (docs/performance.md); one thread a core, up to
    /// four.
    pub fn new(compression: Compression, level: Option<u8>, threads: Option<NonZeroU8>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let default = u8::try_from(cores.min(4)).ok().and_then(NonZeroU8::new);
        Self {
            compression,
            level: level.unwrap_or(match compression {
                Compression::Gzip => 4,
                Compression::Zstd => 2,
                Compression::None => 0,
            }),
            threads: threads.or(default).unwrap_or(NonZeroU8::MIN),
        }
    }
}

/// Compresses blocks into a writer.
pub enum Encoder<W: Write> {
    /// Independent gzip members, compressed side by side.
    Gzip(Gzip<W>),
    /// One zstd frame.
    Zstd(Box<Zstd<W>>),
    /// As it comes.
    None(W),
}

impl<W: Write> Encoder<W> {
    /// An encoder that writes to `inner`.
    ///
    /// # Errors
    /// When its threads cannot be started.
    pub fn new(settings: Settings, inner: W) -> io::Result<Self> {
        Ok(match settings.compression {
            Compression::Gzip => Self::Gzip(Gzip::new(inner, settings.level, settings.threads)?),
            Compression::Zstd => {
                Self::Zstd(Box::new(Zstd::new(inner, settings.level, settings.threads)))
            }
            Compression::None => Self::None(inner),
        })
    }

    /// Takes a block; gives back a buffer for the next one, in which anything may still stand.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn write_block(&mut self, block: Vec<u8>) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip(gzip) => return gzip.write_block(block),
            Self::Zstd(zstd) => zstd.write_all(&block)?,
            Self::None(inner) => inner.write_all(&block)?,
        }
        Ok(block)
    }

    /// Writes what is left and the format's own end, and gives the writer back.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn finish(self) -> io::Result<W> {
        match self {
            Self::Gzip(gzip) => gzip.finish(),
            Self::Zstd(zstd) => zstd.finish(),
            Self::None(inner) => Ok(inner),
        }
    }
}

/// Collects small writes into blocks for an encoder.
pub struct BlockWriter<W: Write> {
    encoder: Encoder<W>,
    block: Vec<u8>,
}

impl<W: Write> BlockWriter<W> {
    /// A writer in front of an encoder.
    pub fn new(encoder: Encoder<W>) -> Self {
        Self {
            encoder,
            block: Vec::new(),
        }
    }

    /// Writes what is left and the format's own end, and gives the innermost writer back.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn finish(mut self) -> io::Result<W> {
        self.encoder.write_block(self.block)?;
        self.encoder.finish()
    }
}

impl<W: Write> Write for BlockWriter<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if self.block.len() >= BLOCK {
            let full = std::mem::take(&mut self.block);
            self.block = self.encoder.write_block(full)?;
            self.block.clear();
        }
        let taken = buffer.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&buffer[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Decompresses a reader block by block.
pub enum Decoder<R: Read + Unpin> {
    /// One or more gzip members, of this program's making or not.
    Gzip(Box<Gunzip<R>>),
    /// One or more zstd frames.
    Zstd(Box<Unzstd<R>>),
    /// As it comes.
    None(R),
    /// Up to where the input is damaged.
    UpToDamage(UpToDamage),
}

/// Decodes as far as the input is whole, and only then says what is wrong.
pub struct UpToDamage {
    reader: Box<dyn Read + Send>,
    error: Option<io::Error>,
}

impl UpToDamage {
    fn next_block(&mut self, block: &mut Vec<u8>) -> io::Result<()> {
        block.clear();
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        block.resize(BLOCK, 0);
        let mut length = 0;
        while length < BLOCK {
            match self.reader.read(&mut block[length..]) {
                Ok(0) => break,
                Ok(more) => length += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if length == 0 => return Err(error),
                Err(error) => {
                    self.error = Some(error);
                    break;
                }
            }
        }
        block.truncate(length);
        Ok(())
    }
}

impl<R: Read + Unpin> Decoder<R> {
    /// A decoder that reads from `inner`.
    ///
    /// # Errors
    /// When its threads cannot be started.
    pub fn new(compression: Compression, inner: R) -> io::Result<Self> {
        Ok(match compression {
            Compression::Gzip => Self::Gzip(Box::new(Gunzip::new(inner)?)),
            Compression::Zstd => Self::Zstd(Box::new(Unzstd::new(inner))),
            Compression::None => Self::None(inner),
        })
    }

    /// The next block, in the buffer given, which may be another one afterwards; empty at the end.
    ///
    /// # Errors
    /// When the reader fails, or what it gives is not whole.
    pub fn next_block(&mut self, block: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::Gzip(gunzip) => gunzip.next_block(block),
            Self::Zstd(unzstd) => fill(unzstd.as_mut(), block),
            Self::None(inner) => fill(inner, block),
            Self::UpToDamage(decoder) => decoder.next_block(block),
        }
    }
}

impl<R: Read + Unpin + Send + 'static> Decoder<R> {
    /// A decoder for input that may be damaged, which gives all that comes before.
    pub fn up_to_damage(compression: Compression, inner: R) -> Self {
        let reader: Box<dyn Read + Send> = match compression {
            Compression::Gzip => Box::new(flate2::read::MultiGzDecoder::new(inner)),
            Compression::Zstd => Box::new(Unzstd::new(inner)),
            Compression::None => Box::new(inner),
        };
        Self::UpToDamage(UpToDamage {
            reader,
            error: None,
        })
    }
}

/// Reads the text of a decoder as a stream.
pub struct Blocks<'a, R: Read + Unpin> {
    decoder: &'a mut Decoder<R>,
    block: Vec<u8>,
    used: usize,
}

impl<'a, R: Read + Unpin> Blocks<'a, R> {
    /// A reader in front of a decoder.
    pub fn new(decoder: &'a mut Decoder<R>) -> Self {
        Self {
            decoder,
            block: Vec::new(),
            used: 0,
        }
    }
}

impl<R: Read + Unpin> Read for Blocks<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.used == self.block.len() {
            self.decoder.next_block(&mut self.block)?;
            self.used = 0;
        }
        let mut rest = &self.block[self.used..];
        let read = rest.read(buffer)?;
        self.used += read;
        Ok(read)
    }
}

/// Reads until the block is full or the input ends, over whatever stands in the block.
///
/// A block that is used again has its length already, so that nothing is written over it but what
/// is read.
///
/// # Errors
/// When the reader fails.
pub fn fill(reader: &mut impl Read, block: &mut Vec<u8>) -> io::Result<()> {
    block.resize(BLOCK, 0);
    let mut filled = 0;
    while filled < BLOCK {
        match reader.read(&mut block[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    block.truncate(filled);
    Ok(())
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests;
