//! Finding the tabs and line ends of COPY's text format.
//!
//! Most values are a few bytes long, so looking for the end of each again costs more than the
//! looking itself. Here 64 bytes are compared at once, and what is found in them stands in the bits
//! of one word until it is asked for.

use wide::u8x64;

/// So many bytes are looked at together: one for every bit of a word.
const WINDOW: usize = 64;

/// The offsets of a text's tabs and line ends, in order.
pub(super) struct Delimiters<'a> {
    text: &'a [u8],
    /// Where the window begins.
    window: usize,
    /// What was found in the window and not yet given out; the lowest bit is its first byte.
    found: u64,
}

impl<'a> Delimiters<'a> {
    pub(super) fn of(text: &'a [u8]) -> Self {
        Self {
            text,
            window: 0,
            found: delimiters(text),
        }
    }
}

impl Iterator for Delimiters<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        while self.found == 0 {
            let window = self.window + WINDOW;
            let rest = self.text.get(window..).filter(|rest| !rest.is_empty())?;
            self.window = window;
            self.found = delimiters(rest);
        }
        let offset = self.window + self.found.trailing_zeros() as usize;
        // The lowest bit goes.
        self.found &= self.found - 1;
        Some(offset)
    }
}

/// The tabs and line ends in the window with which a text begins.
#[inline]
fn delimiters(text: &[u8]) -> u64 {
    let bytes = u8x64::new(text.first_chunk().copied().unwrap_or_else(|| {
        let mut padded = [0; WINDOW];
        padded[..text.len()].copy_from_slice(text);
        padded
    }));
    (bytes.simd_eq(b'\t') | bytes.simd_eq(b'\n')).to_bitmask()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Delimiters, WINDOW};

    fn one_by_one(text: &[u8]) -> Vec<usize> {
        let is_delimiter = |at: &usize| matches!(text[*at], b'\t' | b'\n');
        (0..text.len()).filter(is_delimiter).collect()
    }

    #[test]
    fn a_delimiter_is_found_wherever_it_is_and_whatever_is_next_to_it() {
        for length in 1..=3 * WINDOW + 1 {
            for at in 0..length {
                for (delimiter, other) in [(b'\t', 0x08), (b'\n', 0x0b), (b'\n', 0x8a)] {
                    let mut text = vec![other; length];
                    text[at] = delimiter;
                    let found: Vec<usize> = Delimiters::of(&text).collect();
                    assert_eq!(found, [at], "{delimiter} in {length} times {other}");
                }
            }
        }
        assert_eq!(Delimiters::of(b"").count(), 0);
    }

    proptest! {
        #[test]
        fn all_are_found_and_nothing_else(
            text in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'\t'), Just(b'\n')], 0..300),
        ) {
            prop_assert_eq!(Delimiters::of(&text).collect::<Vec<_>>(), one_by_one(&text));
        }
    }
}
