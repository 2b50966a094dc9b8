//! Counting and hashing the rows of one `COPY … FROM stdin` block as they pass.

use xxhash_rust::xxh3::{Xxh3, xxh3_64, xxh3_128_with_seed};

use super::delimiters::Delimiters;
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

    /// Whether a row has one value alone.
    pub(super) fn has_one_column(&self) -> bool {
        self.seeds.len() == 1
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
        let mut delimiters = Delimiters::of(block);
        let mut start = 0;
        // Only the first value can have begun in an earlier block.
        if let Some(mut broken_off) = self.broken_off.take() {
            let Some(end) = delimiters.next() else {
                broken_off.push(block);
                self.broken_off = Some(broken_off);
                return Progress::More;
            };
            let (hash, is_end_mark) = broken_off.finish(&block[..end]);
            start = end + 1;
            if let Some(end) = self.add(hash, is_end_mark, block[end], start) {
                return end;
            }
        }
        for end in delimiters {
            let Some(&seed) = self.seeds.get(self.column) else {
                return Progress::Malformed;
            };
            let value = &block[start..end];
            let hash = xxh3_128_with_seed(value, seed);
            start = end + 1;
            if let Some(end) = self.add(hash, value == END_MARK, block[end], start) {
                return end;
            }
        }
        let rest = &block[start..];
        if !rest.is_empty() {
            let Some(&seed) = self.seeds.get(self.column) else {
                return Progress::Malformed;
            };
            let mut broken_off = BrokenOff::new(seed);
            broken_off.push(rest);
            self.broken_off = Some(broken_off);
        }
        Progress::More
    }

    /// Adds the next column's value, and the row that ends with it. Where that ends the block, of
    /// which so many bytes are used then, gives how.
    #[inline]
    #[expect(
        clippy::too_many_arguments,
        reason = "inlined into the loop over all values"
    )]
    fn add(
        &mut self,
        hash: u128,
        is_end_mark: bool,
        delimiter: u8,
        used: usize,
    ) -> Option<Progress> {
        if delimiter == b'\t' {
            self.row.add(hash);
            self.column += 1;
            return None;
        }
        if self.column == 0 && is_end_mark {
            return Some(Progress::Done(used));
        }
        if self.column + 1 != self.seeds.len() {
            return Some(Progress::Malformed);
        }
        self.row.add(hash);
        self.sum.add(self.row.sealed(ROW_SEED));
        self.count += 1;
        self.row = MultisetHash::default();
        self.column = 0;
        None
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
    use proptest::prelude::*;
    use xxhash_rust::xxh3::{xxh3_64, xxh3_128_with_seed};

    use super::{Progress, ROW_SEED, Rows};
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

    /// The same by the definition alone, of a text of whole lines: how it ends, the complete rows,
    /// and their hash.
    fn by_definition(names: &[Vec<u8>], text: &[u8]) -> (Progress, u64, MultisetHash) {
        let seeds: Vec<u64> = match names {
            [] => vec![0],
            names => names.iter().map(|name| xxh3_64(name)).collect(),
        };
        let (mut used, mut count, mut sum) = (0, 0, MultisetHash::default());
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            used += line.len();
            if line == b"\\.\n" {
                return (Progress::Done(used), count, sum);
            }
            let values: Vec<&[u8]> = line[..line.len() - 1]
                .split(|byte| *byte == b'\t')
                .collect();
            if values.len() != seeds.len() {
                return (Progress::Malformed, count, sum);
            }
            let mut row = MultisetHash::default();
            for (value, seed) in values.into_iter().zip(&seeds) {
                row.add(xxh3_128_with_seed(value, *seed));
            }
            sum.add(row.sealed(ROW_SEED));
            count += 1;
        }
        (Progress::More, count, sum)
    }

    /// How it ends, the complete rows, and their hash, of a text that comes in pieces of these sizes,
    /// over and over.
    fn in_pieces(names: &[Vec<u8>], text: &[u8], sizes: &[usize]) -> (Progress, u64, MultisetHash) {
        let mut rows = Rows::new(names);
        let mut sizes = sizes.iter().cycle();
        let mut begin = 0;
        while begin < text.len() {
            let end = text.len().min(begin + sizes.next().unwrap());
            match rows.push(&text[begin..end]) {
                Progress::More => begin = end,
                Progress::Done(used) => {
                    return (Progress::Done(begin + used), rows.count(), rows.hash());
                }
                Progress::Malformed => return (Progress::Malformed, rows.count(), rows.hash()),
            }
        }
        (Progress::More, rows.count(), rows.hash())
    }

    /// Values as they come, and the bytes that are easily taken for what ends one.
    fn value() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![
            4 => any::<u8>(),
            1 => prop::sample::select(b"\\.N\r\x08\x0b\x89\x8a".as_slice()),
        ]
        .prop_map(|byte| match byte {
            b'\t' | b'\n' => b'x',
            other => other,
        });
        let pattern = prop::collection::vec(byte, 1..12);
        let length = prop_oneof![
            12 => 0..20_usize,
            6 => 20..150_usize,
            1 => 230..1100_usize,
        ];
        let repeated = (pattern, length)
            .prop_map(|(pattern, length)| pattern.into_iter().cycle().take(length).collect());
        prop_oneof![
            12 => repeated,
            1 => Just(b"\\N".to_vec()),
            1 => Just(b"\\.".to_vec()),
        ]
    }

    /// The names of some columns, and lines that mostly have a value for each.
    fn table() -> impl Strategy<Value = (Vec<Vec<u8>>, Vec<u8>)> {
        (0..6_usize).prop_flat_map(|columns| {
            let names = prop::collection::vec(prop::collection::vec(any::<u8>(), 1..4), columns);
            let width = prop_oneof![60 => Just(columns.max(1)), 1 => 1..7_usize];
            let row = width.prop_flat_map(move |width| match columns {
                0 => Just(vec![Vec::new(); width]).boxed(),
                _ => prop::collection::vec(value(), width).boxed(),
            });
            (names, prop::collection::vec(row, 0..10), any::<bool>()).prop_map(
                |(names, rows, is_ended)| {
                    let mut text = Vec::new();
                    for row in rows {
                        text.extend_from_slice(&row.join(&b'\t'));
                        text.push(b'\n');
                    }
                    if is_ended {
                        text.extend_from_slice(b"\\.\n\n--\n-- Name: t\tType\n");
                    }
                    (names, text)
                },
            )
        })
    }

    proptest! {
        #[test]
        fn rows_are_what_the_definition_says_however_they_are_cut(
            (names, text) in table(),
            sizes in prop::collection::vec(prop_oneof![1..20_usize, 1..200_usize], 1..8),
        ) {
            let defined = by_definition(&names, &text);
            prop_assert_eq!(&in_pieces(&names, &text, &[text.len().max(1)]), &defined);
            prop_assert_eq!(&in_pieces(&names, &text, &sizes), &defined);
        }
    }

    #[test]
    fn a_value_of_any_length_may_end_anywhere_in_a_block() {
        let names = columns(&["a", "b"]);
        for length in 0..=130 {
            for before in 0..=17 {
                let mut text = vec![b'b'; before];
                text.push(b'\t');
                text.resize(before + 1 + length, b'v');
                text.extend_from_slice(b"\nx\ty\n");
                let defined = by_definition(&names, &text);
                assert_eq!(defined.1, 2);
                for size in [before + length + 1, 64, 1000] {
                    let found = in_pieces(&names, &text, &[size]);
                    assert_eq!(
                        found, defined,
                        "{length} behind {before} in pieces of {size}"
                    );
                }
            }
        }
    }
}
