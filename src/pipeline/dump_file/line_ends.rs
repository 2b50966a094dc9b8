//! The ends of lines as `pg_dump` writes them on Unix: without the mark that editors put before a text, and
//! without the carriage returns that Windows puts before line feeds.
//!
//! Where the first line ends in both, all do: the program that wrote them knows of no others. What was in
//! the database is then without them, as `pg_dump` has read it there, and a carriage return that was in the
//! database has one more line feed of its own to keep (`\r\r\n`). In rows it is written `\r`.

use memchr::memchr;

use crate::pipeline::census::ByteOrderMark;

/// Takes the bytes of a text, and gives those of the same text with the usual ends of lines.
#[derive(Debug, Default)]
pub(super) struct LineEnds {
    mark: ByteOrderMark,
    ends: Ends,
    /// Whether the last byte was a carriage return, which is not passed on yet.
    holds_return: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Ends {
    /// No line has ended yet.
    #[default]
    Unknown,
    LineFeed,
    Both,
}

impl LineEnds {
    /// Takes the next bytes.
    pub(super) fn push(&mut self, block: &[u8], out: &mut Vec<u8>) {
        let (none, used) = self.mark.take(block);
        for part in [none, &block[used..]] {
            if self.ends == Ends::Unknown {
                self.learn(part);
            }
            if self.ends == Ends::LineFeed {
                self.release(out);
                out.extend_from_slice(part);
            } else {
                self.convert(part, out);
            }
        }
    }

    /// What is left at the end of the text.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.mark.beginning());
        self.release(out);
    }

    /// How the lines end, if the first of them ends in this part.
    fn learn(&mut self, part: &[u8]) {
        let Some(at) = memchr(b'\n', part) else {
            return;
        };
        let has_return = match at.checked_sub(1) {
            Some(before) => part[before] == b'\r',
            None => self.holds_return,
        };
        self.ends = if has_return {
            Ends::Both
        } else {
            Ends::LineFeed
        };
    }

    fn release(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.holds_return) {
            out.push(b'\r');
        }
    }

    /// Passes everything on but returns before a line feed.
    fn convert(&mut self, part: &[u8], out: &mut Vec<u8>) {
        let Some(first) = part.first() else {
            return;
        };
        if *first == b'\n' {
            self.holds_return = false;
        } else {
            self.release(out);
        }
        let mut rest = part;
        while let Some(at) = memchr(b'\r', rest) {
            out.extend_from_slice(&rest[..at]);
            match rest.get(at + 1) {
                None => self.holds_return = true,
                Some(b'\n') => {}
                Some(_) => out.push(b'\r'),
            }
            rest = &rest[at + 1..];
        }
        out.extend_from_slice(rest);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::LineEnds;

    fn read(text: &[u8], piece: usize) -> Vec<u8> {
        let mut ends = LineEnds::default();
        let mut out = Vec::new();
        for part in text.chunks(piece) {
            ends.push(part, &mut out);
        }
        ends.finish(&mut out);
        out
    }

    #[test]
    fn lines_end_in_line_feeds_however_the_text_is_cut() {
        for (text, expected) in [
            (b"--\r\na\r\n".as_slice(), b"--\na\n".as_slice()),
            (b"\xef\xbb\xbf--\r\n", b"--\n"),
            (b"\xef\xbb\xbf--\n", b"--\n"),
            // Returns of the database's own keep one.
            (b"--\r\n'x\r\r\ny'\r\n", b"--\n'x\r\ny'\n"),
            (b"--\r\na\rb\r\n", b"--\na\rb\n"),
            // Of a text whose first line ends otherwise, all are its own.
            (b"--\n'x\r\ny'\n", b"--\n'x\r\ny'\n"),
            (b"a\r", b"a\r"),
            (b"\r\n", b"\n"),
            (b"\n\r\n", b"\n\r\n"),
            (b"\xef\xbb", b"\xef\xbb"),
            (b"\xef\r\n", b"\xef\n"),
            (b"", b""),
        ] {
            for piece in 1..=text.len().max(1) {
                assert_eq!(read(text, piece), expected, "{text:?} by {piece}");
            }
        }
    }

    proptest! {
        #[test]
        fn what_windows_makes_of_any_text_becomes_that_text_again(
            mut text in "[a\r\n\\\\.;']{0,60}",
            piece in 1..9_usize,
            has_mark: bool,
        ) {
            text.insert_str(0, "--\n");
            let mut of_windows = text.replace('\n', "\r\n").into_bytes();
            if has_mark {
                of_windows.splice(0..0, *b"\xef\xbb\xbf");
            }
            prop_assert_eq!(read(&of_windows, piece), text.into_bytes());
        }
    }
}
