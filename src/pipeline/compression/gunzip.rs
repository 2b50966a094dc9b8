//! Gzip's way back: side by side where the members say how long they are, else one by one.

use std::io::{self, Chain, Cursor, Read};

use async_compression::tokio::bufread::GzipDecoder;
use futures::executor::block_on;
use futures::io::{AllowStdIo, BufReader};
use libdeflater::{Decompressor, crc32};
use tokio::io::AsyncReadExt;
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt};

use super::gzip::{HEADER, HEADER_START, TRAILER};
use super::workers::Workers;
use super::{BLOCK, broken};

/// A member that claims to be larger is left to the decoder that needs no memory for it.
const LARGEST_MEMBER: usize = 4 * BLOCK;

/// Decompresses gzip members.
pub struct Gunzip<R: Read + Unpin> {
    source: Source<R>,
}

enum Source<R: Read + Unpin> {
    /// Members that say how long they are.
    Sized {
        inner: R,
        workers: Workers,
    },
    /// The last of those are under way; what comes next, from these bytes on, says nothing.
    Draining {
        inner: R,
        workers: Workers,
        seen: Vec<u8>,
    },
    Any(Box<AnyGzip<R>>),
    Ended,
}

/// Any gzip data, by the streaming decoder.
type AnyGzip<R> = GzipDecoder<Compat<BufReader<AllowStdIo<Chain<Cursor<Vec<u8>>, R>>>>>;

/// What stands at the front of the input.
enum Front {
    /// A member that says how long it is, whole.
    Member(Vec<u8>),
    /// Something else, of which these bytes have been read.
    Other(Vec<u8>),
    End,
}

impl<R: Read + Unpin> Gunzip<R> {
    pub(super) fn new(inner: R) -> io::Result<Self> {
        let threads = std::thread::available_parallelism()
            .map_or(1, usize::from)
            .min(2);
        let workers = Workers::start(threads, Decompressor::new, read_member)?;
        Ok(Self {
            source: Source::Sized { inner, workers },
        })
    }

    pub(super) fn next_block(&mut self, block: &mut Vec<u8>) -> io::Result<()> {
        loop {
            match &mut self.source {
                Source::Sized { inner, workers } => {
                    let mut stop = None;
                    while stop.is_none() && !workers.is_full() {
                        match front(inner, workers.buffer())? {
                            Front::Member(member) => workers.put(member)?,
                            Front::Other(seen) => stop = Some(seen),
                            Front::End => stop = Some(Vec::new()),
                        }
                    }
                    if let Some(seen) = stop {
                        let source = std::mem::replace(&mut self.source, Source::Ended);
                        if let Source::Sized { inner, workers } = source {
                            self.source = Source::Draining {
                                inner,
                                workers,
                                seen,
                            };
                        }
                        continue;
                    }
                    return hand_out(workers, block);
                }
                Source::Draining { workers, .. } if !workers.is_idle() => {
                    return hand_out(workers, block);
                }
                Source::Draining { .. } => {
                    let source = std::mem::replace(&mut self.source, Source::Ended);
                    if let Source::Draining { inner, seen, .. } = source
                        && !seen.is_empty()
                    {
                        self.source = Source::Any(Box::new(any_gzip(inner, seen)));
                    }
                }
                Source::Any(decoder) => {
                    block.clear();
                    block_on(decoder.as_mut().take(BLOCK as u64).read_to_end(block))?;
                    if block.is_empty() {
                        self.source = Source::Ended;
                    }
                    return Ok(());
                }
                Source::Ended => {
                    block.clear();
                    return Ok(());
                }
            }
        }
    }
}

fn hand_out(workers: &mut Workers, block: &mut Vec<u8>) -> io::Result<()> {
    let mut done = workers.take()?;
    std::mem::swap(block, &mut done.output);
    workers.give_back(done);
    Ok(())
}

fn any_gzip<R: Read + Unpin>(inner: R, seen: Vec<u8>) -> AnyGzip<R> {
    let whole = Read::chain(Cursor::new(seen), inner);
    let reader = BufReader::with_capacity(256 * 1024, AllowStdIo::new(whole)).compat();
    let mut decoder = GzipDecoder::new(reader);
    decoder.multiple_members(true);
    decoder
}

fn front(inner: &mut impl Read, mut member: Vec<u8>) -> io::Result<Front> {
    member.clear();
    inner.take(HEADER as u64).read_to_end(&mut member)?;
    if member.is_empty() {
        return Ok(Front::End);
    }
    let length = match member.last_chunk::<4>() {
        Some(length) if member.len() == HEADER && member.starts_with(&HEADER_START) => {
            usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX)
        }
        _ => return Ok(Front::Other(member)),
    };
    if length > LARGEST_MEMBER {
        return Ok(Front::Other(member));
    }
    let rest = length + TRAILER;
    let read = inner.take(rest as u64).read_to_end(&mut member)?;
    if read < rest {
        return Err(broken("the gzip data breaks off"));
    }
    Ok(Front::Member(member))
}

fn read_member(
    decompressor: &mut Decompressor,
    member: &[u8],
    output: &mut Vec<u8>,
) -> io::Result<()> {
    let (data, trailer) = member[HEADER..].split_at(member.len() - HEADER - TRAILER);
    let number = |at: usize| {
        let bytes = [
            trailer[at],
            trailer[at + 1],
            trailer[at + 2],
            trailer[at + 3],
        ];
        u32::from_le_bytes(bytes)
    };
    let (checksum, length) = (number(0), number(4) as usize);
    if length > LARGEST_MEMBER {
        return Err(broken("a gzip member claims to be larger than any is"));
    }
    output.resize(length, 0);
    let written = decompressor
        .deflate_decompress(data, output)
        .map_err(|_| broken("the gzip data is damaged"))?;
    if written != length || crc32(output) != checksum {
        return Err(broken("the gzip data does not have the checksum it should"));
    }
    Ok(())
}
