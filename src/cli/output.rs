//! The output of a command, which may fail before the command does: its work goes on.

use std::io::{self, Write};

use super::failure::Failure;

/// Passes on what is printed until that fails, and remembers why.
///
/// `pgbackupd backup | head -1` is not to leave the second database without a backup, nor is a log
/// on a full disk; and a check that finds damage has to fail although nobody listens.
pub(super) struct Output<'a> {
    out: &'a mut dyn Write,
    failed: Option<io::Error>,
}

impl<'a> Output<'a> {
    pub(super) fn new(out: &'a mut dyn Write) -> Self {
        Self { out, failed: None }
    }

    /// Prints what is still held.
    ///
    /// # Errors
    /// When something could not be printed; of kind
    /// [`OutputClosed`](super::FailureKind::OutputClosed) when the reader has gone away.
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        self.attempt(|out| out.flush());
        self.failed.map_or(Ok(()), |error| Err(error.into()))
    }

    fn attempt(&mut self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) {
        if self.failed.is_none() {
            self.failed = write(self.out).err();
        }
    }
}

impl Write for Output<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.attempt(|out| out.write_all(buffer));
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.attempt(|out| out.flush());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, ErrorKind, Write};

    use super::Output;
    use crate::cli::FailureKind;

    struct Failing(ErrorKind);

    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_output_that_fails_is_told_at_the_end_only() {
        for (kind, told) in [
            (ErrorKind::BrokenPipe, FailureKind::OutputClosed),
            (ErrorKind::StorageFull, FailureKind::CannotCreate),
        ] {
            let mut failing = Failing(kind);
            let mut output = Output::new(&mut failing);
            writeln!(output, "one").unwrap();
            writeln!(output, "two").unwrap();
            assert_eq!(output.finish().unwrap_err().kind, told);
        }
    }

    #[test]
    fn what_is_read_is_passed_on() {
        let mut text = Vec::new();
        let mut output = Output::new(&mut text);
        writeln!(output, "one").unwrap();
        output.finish().unwrap();
        assert_eq!(text, b"one\n");
    }
}
