//! Counting and hashing the rows of one `COPY … FROM stdin` block as they pass.

use memchr::memchr2_iter;
use xxhash_rust::xxh3::{Xxh3, xxh3_64, xxh3_128_with_seed};

use super::multiset::MultisetHash;

/// Keeps the hash of a row apart from the hash of a value with the same bytes.
const ROW_SEED: u64 = 0x726f_7773;

/// The rows of one table: how many, and the hash of all of them.
///
/// A value is hashed with a seed made of its column's name, a row is the sum of its values, and
/// the table is the sum of its sealed rows. So neither the order of rows nor that of columns
/// counts, but the place of every value does: swapping two values between columns changes the
/// row's sum, and between rows changes both sealed rows.
///
/// No row and no value is ever held: one that does not end in a block goes on being hashed in the
/// next, so memory does not depend on their size.
pub(super) struct Rows {
    /// One seed a column, in the order of the block's column list; one for the empty line that
    /// stands for a row without columns.
    seeds: Vec<u64>,
    /// The column that the next byte belongs to.
    column: usize,
    /// The sum of this row's values so far.
    row: MultisetHash,
    /// The value that the last block broke off in, if it did.
    broken_off: Option<BrokenOff>,
    /// Complete rows.
    count: u64,
    /// The sum of the complete rows.
    sum: MultisetHash,
}

/// A value of which only a part has been seen.
struct BrokenOff {
    hasher: Box<Xxh3>,
    /// Its first bytes, as many as the end mark has, and its length so far: enough to know the
    /// end mark when it is cut in two.
    head: [u8; 2],
    length: u64,
}

/// The line that ends the data of a COPY block (the manual's page on COPY, "Text Format").
const END_MARK: &[u8; 2] = b"\\.";

/// What a block of bytes did to the rows.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// All of it was rows.
    More,
    /// The end mark was met; so many bytes were used, the mark's own line included.
    Done(usize),
    /// The row after so many complete ones has more or fewer values than the block has columns.
    Malformed,
}

impl Rows {
    /// For a block with these columns, by their names without quotes.
    pub(super) fn new(columns: &[Vec<u8>]) -> Self {
        let mut seeds: Vec<u64> = columns.iter().map(|name| xxh3_64(name)).collect();
        if seeds.is_empty() {
            seeds.push(0);
        }
        Self {
            seeds,
            column: 0,
            row: MultisetHash::default(),
            broken_off: None,
            count: 0,
            sum: MultisetHash::default(),
        }
    }

    /// Complete rows so far.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The hash of the complete rows so far.
    pub(super) fn hash(&self) -> MultisetHash {
        self.sum
    }

    /// Takes the next bytes of the dump.
    pub(super) fn push(&mut self, block: &[u8]) -> Progress {
        let mut start = 0;
        for end in memchr2_iter(b'\t', b'\n', block) {
            let value = &block[start..end];
            let Some(&seed) = self.seeds.get(self.column) else {
                return Progress::Malformed;
            };
            let (hash, is_end_mark) = match self.broken_off.take() {
                None => (xxh3_128_with_seed(value, seed), value == END_MARK),
                Some(broken_off) => broken_off.finish(value),
            };
            start = end + 1;
            if block[end] == b'\t' {
                self.row.add(hash);
                self.column += 1;
                continue;
            }
            if self.column == 0 && is_end_mark {
                return Progress::Done(start);
            }
            if self.column + 1 != self.seeds.len() {
                return Progress::Malformed;
            }
            self.row.add(hash);
            self.sum.add(self.row.sealed(ROW_SEED));
            self.count += 1;
            self.row = MultisetHash::default();
            self.column = 0;
        }
        let rest = &block[start..];
        if !rest.is_empty() {
            let Some(&seed) = self.seeds.get(self.column) else {
                return Progress::Malformed;
            };
            self.broken_off
                .get_or_insert_with(|| BrokenOff::new(seed))
                .push(rest);
        }
        Progress::More
    }
}

impl BrokenOff {
    fn new(seed: u64) -> Self {
        Self {
            hasher: Box::new(Xxh3::with_seed(seed)),
            head: [0; 2],
            length: 0,
        }
    }

    fn push(&mut self, part: &[u8]) {
        let known = usize::try_from(self.length).unwrap_or(usize::MAX).min(2);
        for (slot, byte) in self.head[known..].iter_mut().zip(part) {
            *slot = *byte;
        }
        self.length += part.len() as u64;
        self.hasher.update(part);
    }

    /// The value's hash, and whether it is the end mark.
    fn finish(mut self, last: &[u8]) -> (u128, bool) {
        self.push(last);
        let is_end_mark = self.length == 2 && self.head == *END_MARK;
        (self.hasher.digest128(), is_end_mark)
    }
}

#[cfg(test)]
mod tests {
    use super::{Progress, Rows};
    use crate::pipeline::census::multiset::MultisetHash;

    fn columns(names: &[&str]) -> Vec<Vec<u8>> {
        names.iter().map(|name| name.as_bytes().to_vec()).collect()
    }

    /// Pushes the text in pieces of this size; gives the rows and their hash.
    fn count(names: &[&str], text: &str, piece: usize) -> (u64, MultisetHash) {
        let mut rows = Rows::new(&columns(names));
        for part in text.as_bytes().chunks(piece) {
            assert_eq!(rows.push(part), Progress::More);
        }
        (rows.count(), rows.hash())
    }

    #[test]
    fn neither_the_order_of_rows_nor_of_columns_counts() {
        let first = count(&["a", "b"], "1\tx\n2\ty\n", 100);
        assert_eq!(first, count(&["a", "b"], "2\ty\n1\tx\n", 100));
        assert_eq!(first, count(&["b", "a"], "x\t1\ny\t2\n", 100));
    }

    #[test]
    fn every_change_of_content_counts() {
        let whole = count(&["a", "b"], "1\tx\n2\ty\n", 100);
        for (what, text) in [
            ("a bit", "1\tx\n2\tx\n"),
            ("a missing row", "1\tx\n"),
            ("a doubled row", "1\tx\n2\ty\n2\ty\n"),
            ("values swapped between columns", "x\t1\n2\ty\n"),
            ("values swapped between rows", "1\ty\n2\tx\n"),
            ("null for empty", "1\tx\n2\t\\N\n"),
        ] {
            assert_ne!(whole, count(&["a", "b"], text, 100), "{what} was not seen");
        }
        assert_ne!(
            count(&["a"], "\n", 100),
            count(&["a"], "\\N\n", 100),
            "an empty text and a null are the same"
        );
        assert_ne!(
            count(&["a"], "1\n1\n", 100).1,
            count(&["a"], "2\n2\n", 100).1,
            "two equal rows cancel out"
        );
    }

    #[test]
    fn where_blocks_end_does_not_matter() {
        let text = "1\tlonger than a piece\n22\t\n\\N\ty\\\\.\n\\\\.\t\n";
        let whole = count(&["a", "b"], text, 1000);
        for piece in 1..text.len() {
            assert_eq!(whole, count(&["a", "b"], text, piece), "pieces of {piece}");
        }
    }

    #[test]
    fn the_end_mark_ends_the_block_wherever_it_is_cut() {
        let text = b"1\n\\.\n-- next";
        for cut in 0..text.len() {
            let mut rows = Rows::new(&columns(&["a"]));
            let used = match rows.push(&text[..cut]) {
                Progress::Done(used) => used,
                Progress::More => match rows.push(&text[cut..]) {
                    Progress::Done(used) => cut + used,
                    other => panic!("cut at {cut}: {other:?}"),
                },
                Progress::Malformed => panic!("cut at {cut}: malformed"),
            };
            assert_eq!((used, rows.count()), (5, 1), "cut at {cut}");
        }
    }

    #[test]
    fn a_row_with_too_many_or_too_few_values_is_refused() {
        for text in ["1\n", "1\t2\t3\n", "1\t2\t3"] {
            let mut rows = Rows::new(&columns(&["a", "b"]));
            assert_eq!(rows.push(text.as_bytes()), Progress::Malformed, "{text:?}");
        }
    }

    #[test]
    fn rows_without_columns_are_counted() {
        let mut rows = Rows::new(&[]);
        assert_eq!(rows.push(b"\n\n\\.\n"), Progress::Done(5));
        assert_eq!(rows.count(), 2);
    }
}
