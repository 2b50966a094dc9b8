//! The sizes that a backup may have (P18: 50 to 200 MB).

use std::fmt;

/// A range of sizes, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeRange {
    from: u64,
    to: u64,
}

impl SizeRange {
    /// From one number of bytes to another; none where the first is larger.
    pub fn new(from: u64, to: u64) -> Option<Self> {
        (from <= to).then_some(Self { from, to })
    }

    /// Whether a number of bytes is within.
    pub fn contains(self, bytes: u64) -> bool {
        (self.from..=self.to).contains(&bytes)
    }

    /// The least number of bytes, and the largest.
    pub fn ends(self) -> (u64, u64) {
        (self.from, self.to)
    }
}

impl fmt::Display for SizeRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As the policy writes them.
        let size = |bytes| bytesize::ByteSize::b(bytes).display().si();
        write!(f, "{} to {}", size(self.from), size(self.to))
    }
}
