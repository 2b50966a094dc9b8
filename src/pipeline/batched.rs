//! Reading a pipe in large pieces.

use std::io::{self, Read};
use std::thread;
use std::time::Duration;

/// A read that brings less than this is followed by a pause.
const SMALL: usize = 128 * 1024;

/// In this time the fastest dump does not fill half of a roomy pipe.
const PAUSE: Duration = Duration::from_micros(700);

/// Reads from a roomy pipe, and lets it fill a little when it is nearly empty.
///
/// `pg_dump` writes a few KiB at a time. A reader that waits for each is woken for each, and on a
/// busy machine those tens of thousands of switches a second slow the dump itself.
pub struct Batched<R> {
    inner: R,
    pauses: bool,
    was_small: bool,
}

impl<R: Read> Batched<R> {
    /// A reader of a pipe of this capacity, in bytes; one that is not roomy is read as it comes.
    pub fn new(inner: R, capacity: usize) -> Self {
        Self {
            inner,
            pauses: capacity >= 4 * SMALL,
            was_small: false,
        }
    }

    /// What it reads from.
    pub fn get_mut(&mut self) -> &mut R {
        &mut self.inner
    }
}

impl<R: Read> Read for Batched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.pauses && self.was_small {
            thread::sleep(PAUSE);
        }
        let read = self.inner.read(buffer)?;
        // The end of a buffer is no sign of an empty pipe.
        self.was_small = read < SMALL && read < buffer.len();
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::thread;

    use super::Batched;

    /// Counts the reads that reach the pipe.
    struct Counted<R>(R, usize);

    impl<R: Read> Read for Counted<R> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.1 += 1;
            self.0.read(buffer)
        }
    }

    #[test]
    fn many_small_writes_are_read_in_few_pieces_and_whole() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let capacity = rustix::pipe::fcntl_setpipe_size(&writer, 1 << 20).unwrap_or(0);
        let text: Vec<u8> = (0..4_000_000_u32).map(|i| i.to_le_bytes()[0]).collect();
        let expected = text.clone();
        let writing = thread::spawn(move || {
            for piece in text.chunks(4000) {
                writer.write_all(piece).unwrap();
            }
        });
        let mut counted = Counted(reader, 0);
        let mut read = Vec::with_capacity(expected.len() + 1);
        Batched::new(&mut counted, capacity)
            .read_to_end(&mut read)
            .unwrap();
        writing.join().unwrap();
        assert!(read == expected);
        if capacity >= 1 << 20 {
            assert!(counted.1 < 500, "{} reads for 1,000 writes", counted.1);
        }
    }
}
