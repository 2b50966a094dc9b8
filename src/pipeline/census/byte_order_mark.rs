//! The byte order mark that may stand before a dump, in blocks of any size.

/// The bytes that some editors put before a text in UTF-8, and that psql passes over.
#[derive(Debug, Default)]
pub(in crate::pipeline) struct ByteOrderMark {
    seen: usize,
    is_past: bool,
}

impl ByteOrderMark {
    const BYTES: &'static [u8] = b"\xef\xbb\xbf";

    /// How many of the next bytes belong to it; and what belonged to it so far, where these show that it
    /// was none, and a part of the text.
    pub(in crate::pipeline) fn take(&mut self, block: &[u8]) -> (&'static [u8], usize) {
        if self.is_past {
            return (&[], 0);
        }
        let before = self.seen;
        let pairs = Self::BYTES[before..].iter().zip(block);
        let length = pairs.take_while(|(one, other)| one == other).count();
        self.seen += length;
        self.is_past = self.seen == Self::BYTES.len() || length < block.len();
        if self.seen < Self::BYTES.len() && self.is_past {
            return (&Self::BYTES[..before], 0);
        }
        (&[], length)
    }

    /// Its first bytes, if the text has had no others.
    pub(in crate::pipeline) fn beginning(&self) -> &'static [u8] {
        if self.is_past {
            &[]
        } else {
            &Self::BYTES[..self.seen]
        }
    }
}
