//! The output of a command, which may fail before the command does: its work goes on.

use std::borrow::Cow;
use std::io::{self, Write};

use super::failure::Failure;
use super::hint::Hints;
use crate::display::Printable;

/// Passes on what is printed until that fails, and remembers why.
///
/// `pgbackupd backup | head -1` is not to leave the second database without a backup, nor is a log
/// on a full disk; and a check that finds damage has to fail although nobody listens.
pub(super) struct Output<'a> {
    out: &'a mut dyn Write,
    /// What completes the commands in it, for people.
    hints: Option<&'a Hints>,
    /// A line that has not ended: a command in it may come in pieces.
    line: Vec<u8>,
    failed: Option<io::Error>,
}

impl<'a> Output<'a> {
    pub(super) fn new(out: &'a mut dyn Write, hints: Option<&'a Hints>) -> Self {
        Self {
            out,
            hints,
            line: Vec::new(),
            failed: None,
        }
    }

    /// Prints what is still held.
    ///
    /// # Errors
    /// When something could not be printed; of kind
    /// [`OutputClosed`](super::FailureKind::OutputClosed) when the reader has gone away.
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        // What fails is remembered.
        let _ = self.flush();
        self.failed.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Passes on what is held.
    fn pass_on(&mut self) {
        let line = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&line);
        let text = self
            .hints
            .map_or(Cow::Borrowed(&*text), |hints| hints.complete(&text));
        self.attempt(|out| write_printable(&text, out));
    }

    fn attempt(&mut self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) {
        if self.failed.is_none() {
            self.failed = write(self.out).err();
        }
    }
}

impl Write for Output<'_> {
    /// Takes pieces of lines; each line is passed on when it ends.
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(buffer);
        if let Some(end) = buffer.iter().rposition(|&byte| byte == b'\n') {
            let begun = self
                .line
                .split_off(self.line.len() - (buffer.len() - end - 1));
            self.pass_on();
            self.line = begun;
        }
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pass_on();
        self.attempt(|out| out.flush());
        Ok(())
    }
}

/// Names come from servers and files. Each command shows them by
/// [`one_line`](super::report::one_line), and what it has forgotten ends here: of all that commands a
/// terminal only colours pass.
fn write_printable(text: &str, out: &mut dyn Write) -> io::Result<()> {
    let mut rest = text;
    while let Some(at) = rest.find('\x1b') {
        let (before, sequence) = rest.split_at(at);
        let (colours, after) = sequence.split_at(colours(sequence));
        write!(out, "{}{colours}", Printable(before))?;
        rest = after;
        if colours.is_empty() {
            let (escape, after) = rest.split_at(1);
            write!(out, "{}", Printable(escape))?;
            rest = after;
        }
    }
    write!(out, "{}", Printable(rest))
}

/// The length of the sequence that sets colours (ECMA-48, SGR) at a text's start; 0 without one.
fn colours(text: &str) -> usize {
    let Some(parameters) = text.strip_prefix("\x1b[") else {
        return 0;
    };
    match parameters.find(|c: char| !c.is_ascii_digit() && c != ';') {
        Some(end) if parameters[end..].starts_with('m') => "\x1b[".len() + end + "m".len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, ErrorKind, Write};
    use std::path::Path;

    use super::{Hints, Output};
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
    fn an_output_that_fails_is_reported_at_the_end_only() {
        for (kind, expected) in [
            (ErrorKind::BrokenPipe, FailureKind::OutputClosed),
            (ErrorKind::StorageFull, FailureKind::CannotCreate),
        ] {
            let mut failing = Failing(kind);
            let mut output = Output::new(&mut failing, None);
            writeln!(output, "one").unwrap();
            writeln!(output, "two").unwrap();
            assert_eq!(output.finish().unwrap_err().kind, expected);
        }
    }

    #[test]
    fn what_is_read_is_passed_on() {
        let mut text = Vec::new();
        let mut output = Output::new(&mut text, None);
        writeln!(output, "one").unwrap();
        output.finish().unwrap();
        assert_eq!(text, b"one\n");
    }

    #[test]
    fn a_command_that_is_printed_in_pieces_is_completed() {
        let hints = Hints::of(Some(Path::new("/etc/x.toml")), None);
        let mut text = Vec::new();
        let mut output = Output::new(&mut text, Some(&hints));
        let command = "pgbackupd undo-restore --database a";
        write!(output, "first\nkept; `{command}` swaps it back, é").unwrap();
        output.write_all(b"\n`pgbackupd ").unwrap();
        output.write_all(b"list`").unwrap();
        output.finish().unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "first\nkept; `pgbackupd --config /etc/x.toml undo-restore --database a` swaps it back, \
             é\n`pgbackupd --config /etc/x.toml list`"
        );
    }

    #[test]
    fn only_colours_pass_of_what_a_terminal_obeys() {
        for (printed, shown) in [
            ("قاعدة 🌙\ta\n", "قاعدة 🌙\ta\n"),
            (
                "\u{1b}[1m\u{1b}[38;5;9mred\u{1b}[0m\n",
                "\u{1b}[1m\u{1b}[38;5;9mred\u{1b}[0m\n",
            ),
            (
                "\u{1b}[2J\u{1b}]0;title\u{7}",
                "\\u{1b}[2J\\u{1b}]0;title\\u{7}",
            ),
            ("\u{1b}[31", "\\u{1b}[31"),
            (
                "a\rb\u{9b}31m\u{7f}\u{202e}",
                "a\\rb\\u{9b}31m\\u{7f}\\u{202e}",
            ),
        ] {
            let mut text = Vec::new();
            let mut output = Output::new(&mut text, None);
            write!(output, "{printed}").unwrap();
            output.finish().unwrap();
            assert_eq!(String::from_utf8(text).unwrap(), shown);
        }
    }
}
