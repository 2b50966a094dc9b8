//! Gzip on several threads.
//!
//! The output is a sequence of independent gzip members (RFC 1952, section 2.2), which every
//! gunzip reads as one. Each member's header has an extra field `MZ` with the length of its
//! compressed data, so that members can be found, and decompressed side by side, without
//! decompressing the ones before.

use std::io::{self, Write};
use std::num::NonZeroU8;

use libdeflater::{CompressionLvl, Compressor, crc32};

use super::workers::Workers;

/// The fixed part of the header, the length of the extra field, and the extra field.
pub(super) const HEADER: usize = 20;
/// The checksum and the length of what was compressed.
pub(super) const TRAILER: usize = 8;
/// All of the header but the length at its end: deflate, an extra field, no time, unknown system.
pub(super) const HEADER_START: [u8; 16] =
    [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255, 8, 0, b'M', b'Z', 4, 0];

/// Compresses blocks into gzip members.
pub struct Gzip<W> {
    inner: W,
    workers: Workers,
    empty: bool,
}

impl<W: Write> Gzip<W> {
    /// Levels are libdeflate's, 1 to 12.
    pub(super) fn new(inner: W, level: u8, threads: NonZeroU8) -> io::Result<Self> {
        let level = CompressionLvl::new(i32::from(level)).unwrap_or_default();
        let workers = Workers::start(
            usize::from(threads.get()),
            move || Deflate {
                compressor: Compressor::new(level),
                room: Vec::new(),
            },
            Deflate::write_member,
        )?;
        Ok(Self {
            inner,
            workers,
            empty: true,
        })
    }

    pub(super) fn write_block(&mut self, block: Vec<u8>) -> io::Result<Vec<u8>> {
        if block.is_empty() {
            return Ok(block);
        }
        self.empty = false;
        if self.workers.is_full() {
            self.write_first()?;
        }
        self.workers.put(block)?;
        Ok(self.workers.buffer())
    }

    fn write_first(&mut self) -> io::Result<()> {
        let block = self.workers.take()?;
        self.inner.write_all(&block.output)?;
        self.workers.give_back(block);
        Ok(())
    }

    pub(super) fn finish(mut self) -> io::Result<W> {
        if self.empty {
            // No member at all would be no gzip file.
            self.workers.put(Vec::new())?;
        }
        while !self.workers.is_idle() {
            self.write_first()?;
        }
        Ok(self.inner)
    }
}

/// What a thread needs for one member after the other.
struct Deflate {
    compressor: Compressor,
    /// As long as what was compressed could become at worst. It is kept, for making it again would write
    /// zeros to all of it for every member.
    room: Vec<u8>,
}

impl Deflate {
    fn write_member(&mut self, input: &[u8], member: &mut Vec<u8>) -> io::Result<()> {
        let bound = self.compressor.deflate_compress_bound(input.len());
        if self.room.len() < bound {
            self.room.resize(bound, 0);
        }
        let length = self
            .compressor
            .deflate_compress(input, &mut self.room)
            .map_err(|error| io::Error::other(format!("cannot compress: {error}")))?;
        member.clear();
        member.reserve_exact(HEADER + length + TRAILER);
        member.extend_from_slice(&HEADER_START);
        member.extend_from_slice(&as_u32(length)?.to_le_bytes());
        member.extend_from_slice(&self.room[..length]);
        member.extend_from_slice(&crc32(input).to_le_bytes());
        member.extend_from_slice(&as_u32(input.len())?.to_le_bytes());
        Ok(())
    }
}

fn as_u32(length: usize) -> io::Result<u32> {
    u32::try_from(length).map_err(|_| super::broken("a gzip member is larger than 4 GiB"))
}
