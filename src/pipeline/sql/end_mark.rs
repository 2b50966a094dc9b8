//! Where the rows of a COPY block end.

use memchr::memchr;

/// The line that ends them (the manual's page on COPY, "Text Format"), with the end of the line
/// before it.
const MARK: &[u8] = b"\n\\.\n";

/// Looks for the line that ends the rows, in blocks of any size.
#[derive(Debug)]
pub(in crate::pipeline) struct EndMark {
    mark: &'static [u8],
    /// So many bytes of it were the last ones.
    matched: usize,
}

impl Default for EndMark {
    /// At the beginning of the rows, which is that of a line.
    fn default() -> Self {
        Self::of(MARK)
    }
}

impl EndMark {
    /// Looks for other lines, which begin with a line break here.
    pub(in crate::pipeline) fn of(mark: &'static [u8]) -> Self {
        Self { mark, matched: 1 }
    }

    /// Takes the next bytes; gives how many belong to the rows, the mark's line included, if they
    /// end among them.
    pub(in crate::pipeline) fn push(&mut self, block: &[u8]) -> Option<usize> {
        let mut at = 0;
        while at < block.len() {
            if self.matched == 0 {
                at += memchr(b'\n', &block[at..])?;
            }
            let byte = block[at];
            at += 1;
            self.matched = if byte == self.mark[self.matched] {
                self.matched + 1
            } else {
                // Only the end of a line can begin it again.
                usize::from(byte == b'\n')
            };
            if self.matched == self.mark.len() {
                return Some(at);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::EndMark;

    #[test]
    fn only_a_line_of_its_own_ends_the_rows_however_they_are_cut() {
        for (rows, rest) in [
            ("\\.\n", "x"),
            ("1\n\\.\n", "\\.\n"),
            ("\n\n\\.\n", ""),
            ("a\\.\n\\.b\n\\\\.\n\\.\n", "c"),
            ("\\\n\\.\n", ""),
        ] {
            let text = format!("{rows}{rest}");
            for piece in 1..=text.len() {
                let mut mark = EndMark::default();
                let mut seen = 0;
                let end = text.as_bytes().chunks(piece).find_map(|part| {
                    let end = mark.push(part);
                    let at = seen;
                    seen += part.len();
                    end.map(|end| at + end)
                });
                assert_eq!(end, Some(rows.len()), "{text:?} in pieces of {piece}");
            }
        }
        assert_eq!(EndMark::default().push(b"1\n2\\.\n\\. \n"), None);
    }
}
