//! The pipes to and from a program, which end with the program.
//!
//! What a program has started may outlive it and hold its stdin or stdout open: ssh does that, and so
//! may anything that a wrapper runs. Whoever reads to the end of such a pipe, or writes more into it
//! than it holds, would wait for that, and no limit of ours would reach it.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd as _;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;

/// As much as an unprivileged process may have (pipe(7)): nobody waits for every block.
const CAPACITY: usize = 1 << 20;

/// Says that a program has ended, or is no longer waited for, by being dropped.
#[derive(Debug)]
pub struct EndMark {
    _open: PipeWriter,
}

/// What a program writes to its stdout, until the program has ended.
#[derive(Debug)]
pub struct ProgramOutput {
    pipe: PipeReader,
    end: PipeReader,
    capacity: usize,
    patience: Option<Duration>,
}

/// A way to a program's stdin, until the program has ended.
#[derive(Debug)]
pub struct ProgramInput {
    pipe: PipeWriter,
    end: PipeReader,
}

/// A pipe from a program: our end, the program's, and what says that it has ended.
///
/// # Errors
/// The machine has no more file descriptors.
pub fn output_pipe() -> io::Result<(ProgramOutput, PipeWriter, EndMark)> {
    let (pipe, theirs) = io::pipe()?;
    // Smaller is only slower.
    let capacity = rustix::pipe::fcntl_setpipe_size(&theirs, CAPACITY).unwrap_or_default();
    let (end, mark) = end()?;
    let ours = ProgramOutput {
        pipe,
        end,
        capacity,
        patience: None,
    };
    Ok((ours, theirs, mark))
}

/// A pipe to a program: our end, the program's, and what says that it has ended.
///
/// # Errors
/// The machine has no more file descriptors.
pub fn input_pipe() -> io::Result<(ProgramInput, PipeReader, EndMark)> {
    let (theirs, pipe) = io::pipe()?;
    // Smaller is only slower.
    let _ = rustix::pipe::fcntl_setpipe_size(&pipe, CAPACITY);
    // A pipe that takes a byte need not take all that there is to write.
    let flags = fcntl_getfl(&pipe)?;
    fcntl_setfl(&pipe, flags | OFlags::NONBLOCK)?;
    let (end, mark) = end()?;
    Ok((ProgramInput { pipe, end }, theirs, mark))
}

fn end() -> io::Result<(PipeReader, EndMark)> {
    let (end, open) = io::pipe()?;
    Ok((end, EndMark { _open: open }))
}

/// Waits until the pipe is ready, or the program has ended; gives whether each is so. With patience, neither
/// is an error after that time.
fn wait(
    pipe: &impl std::os::fd::AsFd,
    wanted: PollFlags,
    end: &PipeReader,
    patience: Option<Duration>,
) -> io::Result<(bool, bool)> {
    let mut both = [
        PollFd::new(pipe, wanted),
        PollFd::from_borrowed_fd(end.as_fd(), PollFlags::IN),
    ];
    loop {
        let patience = patience.and_then(|patience| Timespec::try_from(patience).ok());
        match poll(&mut both, patience.as_ref()) {
            Err(Errno::INTR) => {}
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Err(error) => return Err(error.into()),
            // At its end, a pipe is ready too.
            Ok(_) => {
                let [ready, ended] = both.map(|one| !one.revents().is_empty());
                return Ok((ready, ended));
            }
        }
    }
}

impl ProgramOutput {
    /// How many bytes the pipe holds; 0 where that is not known.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// From now on the text ends where nothing comes for so long.
    pub fn lose_patience_after(&mut self, patience: Duration) {
        self.patience = Some(patience);
    }
}

impl Read for ProgramOutput {
    /// What the program has written stands in the pipe when it ends, and is read before the end.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match wait(&self.pipe, PollFlags::IN, &self.end, self.patience) {
            Ok((true, _)) => self.pipe.read(buffer),
            Ok((false, _)) => Ok(0),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(0),
            Err(error) => Err(error),
        }
    }
}

impl Write for ProgramInput {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        loop {
            if let (_, true) = wait(&self.pipe, PollFlags::OUT, &self.end, None)? {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            match self.pipe.write(buffer) {
                // There is less room than is written at once.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    std::thread::yield_now();
                }
                written => return written,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    #[test]
    fn what_was_written_is_read_and_then_the_end_although_another_holds_the_pipe() {
        let (mut ours, mut theirs, mark) = output_pipe().unwrap();
        let held = theirs.try_clone().unwrap();
        theirs.write_all(b"all of it").unwrap();
        drop(theirs);
        drop(mark);
        let mut read = Vec::new();
        ours.read_to_end(&mut read).unwrap();
        assert_eq!(read, b"all of it");
        drop(held);
    }

    #[test]
    fn patience_ends_where_nothing_comes() {
        let (mut ours, mut theirs, _mark) = output_pipe().unwrap();
        theirs.write_all(b"a").unwrap();
        ours.lose_patience_after(Duration::from_millis(10));
        assert_eq!(ours.read(&mut [0; 9]).unwrap(), 1);
        assert_eq!(ours.read(&mut [0; 9]).unwrap(), 0);
    }

    #[test]
    fn what_nobody_takes_any_more_is_refused_although_another_holds_the_pipe() {
        let (mut ours, theirs, mark) = input_pipe().unwrap();
        let writing = std::thread::spawn(move || ours.write_all(&vec![0; 3 << 20]));
        std::thread::sleep(Duration::from_millis(50));
        assert!(!writing.is_finished());
        drop(mark);
        let error = writing.join().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        drop(theirs);
    }

    #[test]
    fn a_long_text_passes_through_both_ways() {
        let (mut to, mut reader, _mark) = input_pipe().unwrap();
        let (mut from, mut writer, _other) = output_pipe().unwrap();
        let text: Vec<u8> = (0..3_000_000_u32).map(|i| i.to_le_bytes()[0]).collect();
        let sent = text.clone();
        let writing = std::thread::spawn(move || to.write_all(&sent));
        let passing = std::thread::spawn(move || io::copy(&mut reader, &mut writer));
        let mut read = Vec::new();
        from.read_to_end(&mut read).unwrap();
        writing.join().unwrap().unwrap();
        passing.join().unwrap().unwrap();
        assert!(read == text);
    }
}
