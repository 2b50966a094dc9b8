//! What a program wrote to its stderr, kept within bounds: the beginning, where the cause usually
//! stands, and the end, where the last word does.

use std::collections::VecDeque;

/// So many bytes are kept of the beginning, and so many of the end, unless more are wanted.
const KEPT: usize = 16 * 1024;

/// The beginning and the end of a text of any length.
#[derive(Debug)]
pub(super) struct Excerpt {
    /// How much of the beginning is kept.
    room: usize,
    head: Vec<u8>,
    tail: VecDeque<u8>,
    omitted: u64,
}

impl Default for Excerpt {
    fn default() -> Self {
        Self {
            room: KEPT,
            head: Vec::new(),
            tail: VecDeque::new(),
            omitted: 0,
        }
    }
}

impl Excerpt {
    /// Keeps more of the beginning, so many bytes in all.
    pub(super) fn keep(&mut self, bytes: usize) {
        self.room = bytes;
    }

    /// Whether something in the middle is missing.
    pub(super) fn is_cut(&self) -> bool {
        self.omitted > 0
    }

    /// Takes in the next bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let room = self.room.saturating_sub(self.head.len()).min(bytes.len());
        let (head, rest) = bytes.split_at(room);
        self.head.extend_from_slice(head);
        // Of a piece longer than the tail only its own end can remain.
        let skipped = rest.len().saturating_sub(KEPT);
        self.tail.extend(&rest[skipped..]);
        let surplus = self.tail.len().saturating_sub(KEPT);
        self.tail.drain(..surplus);
        // No platform has a usize beyond 64 bits.
        self.omitted += (skipped + surplus) as u64;
    }

    /// The text; says how much is missing in the middle, if any.
    pub(super) fn text(&self) -> String {
        let (first, second) = self.tail.as_slices();
        if self.omitted == 0 {
            let whole = [&self.head, first, second].concat();
            return String::from_utf8_lossy(&whole).trim_end().to_owned();
        }
        let head = String::from_utf8_lossy(&self.head).into_owned();
        let tail = [first, second].concat();
        let tail = String::from_utf8_lossy(&tail);
        format!(
            "{head}\n[… {} bytes omitted …]\n{}",
            self.omitted,
            tail.trim_end()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_text_is_kept_whole() {
        let mut excerpt = Excerpt::default();
        let long = "é".repeat(KEPT - 10);
        for piece in long.as_bytes().chunks(1000) {
            excerpt.push(piece);
        }
        assert_eq!(excerpt.text(), long);
    }

    #[test]
    fn of_a_long_text_both_ends_are_kept_whatever_the_pieces() {
        let text: Vec<u8> = (0..200_000u32).map(|i| b'a' + (i % 26) as u8).collect();
        for size in [1, 7, 4096, 40_000, 200_000] {
            let mut excerpt = Excerpt::default();
            for piece in text.chunks(size) {
                excerpt.push(piece);
            }
            let shown = excerpt.text();
            let start = std::str::from_utf8(&text[..KEPT]).unwrap();
            let end = std::str::from_utf8(&text[text.len() - KEPT..]).unwrap();
            let omitted = text.len() - 2 * KEPT;
            assert_eq!(
                shown,
                format!("{start}\n[… {omitted} bytes omitted …]\n{end}"),
                "{size}"
            );
        }
    }
}
