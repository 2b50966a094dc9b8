//! Zstandard, by async-compression, whose codecs are asynchronous: over a blocking reader or
//! writer they never wait, so a thread that may block can drive them to the end.

use std::io::{self, Read, Write};
use std::num::NonZeroU8;

use async_compression::Level;
use async_compression::tokio::bufread::ZstdDecoder;
use async_compression::tokio::write::ZstdEncoder;
use async_compression::zstd::CParameter;
use futures::executor::block_on;
use futures::io::{AllowStdIo, BufReader};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt, FuturesAsyncWriteCompatExt};

/// Compresses into one zstd frame with a checksum.
pub struct Zstd<W: Write>(ZstdEncoder<Compat<AllowStdIo<W>>>);

impl<W: Write> Zstd<W> {
    /// Levels are zstd's, 1 to 19.
    pub(super) fn new(inner: W, level: u8, threads: NonZeroU8) -> Self {
        let parameters = [
            CParameter::checksum_flag(true),
            CParameter::nb_workers(u32::from(threads.get())),
        ];
        Self(ZstdEncoder::with_quality_and_params(
            AllowStdIo::new(inner).compat_write(),
            Level::Precise(i32::from(level)),
            &parameters,
        ))
    }

    pub(super) fn write_all(&mut self, block: &[u8]) -> io::Result<()> {
        block_on(self.0.write_all(block))
    }

    pub(super) fn finish(mut self) -> io::Result<W> {
        block_on(self.0.shutdown())?;
        Ok(self.0.into_inner().into_inner().into_inner())
    }
}

/// Decompresses one or more zstd frames.
pub struct Unzstd<R: Read + Unpin>(ZstdDecoder<Compat<BufReader<AllowStdIo<R>>>>);

impl<R: Read + Unpin> Unzstd<R> {
    pub(super) fn new(inner: R) -> Self {
        let reader = BufReader::with_capacity(256 * 1024, AllowStdIo::new(inner)).compat();
        let mut decoder = ZstdDecoder::new(reader);
        decoder.multiple_members(true);
        Self(decoder)
    }
}

impl<R: Read + Unpin> Read for Unzstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        block_on(self.0.read(buffer))
    }
}
