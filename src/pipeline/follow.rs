//! Reading a file back from the disk while it is still being written.
//!
//! Reading back costs as much as writing. A dump that waits for the server leaves processor time
//! over, so the reader follows the writer: it syncs what has been written so far, has the page
//! cache forget it, and reads that from the disk, while the writer goes on behind it.

use std::fs::File;
use std::io::{self, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rustix::fs::{Advice, fadvise};

/// So much is synced and read at once, at least and at most. What is read last is read when nothing
/// is written any more, so a step is a small part of the file; with a large file, syncs are few.
const SMALLEST_STEP: u64 = 4 << 20;
const LARGEST_STEP: u64 = 32 << 20;

/// How much is read in one step behind so many bytes.
fn step(seen: u64) -> u64 {
    (seen / 16).clamp(SMALLEST_STEP, LARGEST_STEP)
}

/// The page cache forgets whole pages only.
const PAGE: u64 = 4096;

/// How far a file has been written; shared by its writer and its reader.
#[derive(Debug, Default)]
pub struct WriteProgress {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    bytes: u64,
    /// The reader waits for so many.
    awaited: u64,
    end: Option<End>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// All of it is on the disk.
    Synced,
    /// The writer has failed, or nobody wants the file any more.
    GivenUp,
}

impl WriteProgress {
    /// Tells that the file has so many bytes.
    pub(super) fn reached(&self, bytes: u64) {
        let mut state = self.state();
        let before = state.bytes;
        state.bytes = bytes;
        if before < state.awaited && bytes >= state.awaited {
            self.changed.notify_all();
        }
    }

    /// Tells that the file is complete, has so many bytes, and is synced.
    pub(super) fn synced(&self, bytes: u64) {
        let mut state = self.state();
        state.bytes = bytes;
        state.end.get_or_insert(End::Synced);
        self.changed.notify_all();
    }

    /// Tells that there will be no complete file.
    pub fn give_up(&self) {
        self.state().end.get_or_insert(End::GivenUp);
        self.changed.notify_all();
    }

    /// Waits until there is a step to read behind so many bytes, or an end.
    fn wait(&self, seen: u64) -> State {
        let mut state = self.state();
        state.awaited = seen + step(seen);
        let waiting = |state: &mut State| state.end.is_none() && state.bytes < state.awaited;
        *self
            .changed
            .wait_while(state, waiting)
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a growing file from the disk.
pub(super) struct TailReader {
    file: File,
    write_progress: Arc<WriteProgress>,
    /// Up to here the file is on the disk, and may be read.
    durable: u64,
    position: u64,
}

impl TailReader {
    /// A reader of the file from its start.
    pub(super) fn new(file: File, write_progress: Arc<WriteProgress>) -> Self {
        Self {
            file,
            write_progress,
            durable: 0,
            position: 0,
        }
    }

    /// Waits for more of the file to be on the disk; gives whether there is more.
    fn advance(&mut self) -> io::Result<bool> {
        let State { bytes, end, .. } = self.write_progress.wait(self.durable);
        let durable = match end {
            Some(End::GivenUp) => return Err(io::Error::other("the file was given up")),
            Some(End::Synced) => bytes,
            None => {
                self.file.sync_data()?;
                bytes / PAGE * PAGE
            }
        };
        // What was just written still stands in memory; the proof wanted is of the disk. Where the
        // file system does not take the advice, the bytes are checked all the same.
        let _ = fadvise(&self.file, self.durable, None, Advice::DontNeed);
        let more = durable > self.durable;
        self.durable = durable;
        Ok(more)
    }
}

impl Read for TailReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position == self.durable && !self.advance()? {
            return Ok(0);
        }
        let there = usize::try_from(self.durable - self.position).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(there);
        let read = self.file.read(&mut buffer[..wanted])?;
        if read == 0 && wanted > 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the file is shorter than what was written",
            ));
        }
        self.position += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Write};
    use std::sync::Arc;
    use std::thread;

    use super::{SMALLEST_STEP, TailReader, WriteProgress, step};

    #[test]
    fn a_tail_reader_reads_all_that_was_written_and_ends_with_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("grows");
        let mut file = File::create(&path).unwrap();
        let write_progress = Arc::new(WriteProgress::default());
        let mut tail_reader =
            TailReader::new(File::open(&path).unwrap(), Arc::clone(&write_progress));
        let reading = thread::spawn(move || {
            let mut read = Vec::new();
            tail_reader.read_to_end(&mut read).map(|_| read)
        });
        let piece: Vec<u8> = (0..999_983_u32).map(|i| i.to_le_bytes()[1]).collect();
        let mut written = Vec::new();
        while (written.len() as u64) < 17 * SMALLEST_STEP + SMALLEST_STEP / 2 {
            file.write_all(&piece).unwrap();
            written.extend_from_slice(&piece);
            write_progress.reached(written.len() as u64);
        }
        file.sync_all().unwrap();
        write_progress.synced(written.len() as u64);
        assert!(reading.join().unwrap().unwrap() == written);
    }

    #[test]
    fn a_step_is_a_sixteenth_of_what_was_read_within_bounds() {
        for (seen, mebibytes) in [(0, 4), (64, 4), (160, 10), (512, 32), (1 << 20, 32)] {
            assert_eq!(step(seen << 20), mebibytes << 20, "behind {seen} MiB");
        }
    }

    #[test]
    fn a_tail_reader_of_a_file_that_is_given_up_does_not_wait() {
        let write_progress = Arc::new(WriteProgress::default());
        let file = tempfile::tempfile().unwrap();
        let mut tail_reader = TailReader::new(file, Arc::clone(&write_progress));
        let reading = thread::spawn(move || tail_reader.read(&mut [0]).is_err());
        write_progress.give_up();
        assert!(reading.join().unwrap());
    }

    #[test]
    fn a_file_shorter_than_what_was_written_is_no_end() {
        let write_progress = Arc::new(WriteProgress::default());
        write_progress.synced(10);
        let mut tail_reader = TailReader::new(tempfile::tempfile().unwrap(), write_progress);
        assert!(tail_reader.read(&mut [0; 100]).is_err());
    }
}
