//! The rows of a COPY block in a dump that may be damaged: they are passed on although one does not fit the
//! columns, and end where the next object begins if the line that ends them is lost.

use super::rows::{Progress, Rows};
use crate::pipeline::sql::EndMark;

/// How `pg_dump` begins what follows a table's rows. In a table of one column that could be three rows.
const NEXT: [&[u8]; 2] = [b"\n--\n-- Name: ", b"\n--\n-- Data for Name: "];

/// The bytes of these before the comment that names the object.
const BEFORE_COMMENT: usize = b"\n--\n".len();

/// Such rows.
pub(super) struct LenientRows {
    /// None once a row did not fit.
    rows: Option<Rows>,
    end: EndMark,
    next: Option<[EndMark; 2]>,
}

/// What a block of bytes did to the rows.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Passed {
    /// All of it was rows.
    More,
    /// The line that ends them was met, and so many bytes were used.
    Ended(usize),
    /// It is lost: so many bytes were rows, so many were used, and this begins the comment on the next object.
    Lost {
        rows: usize,
        used: usize,
        comment: &'static [u8],
    },
}

impl LenientRows {
    pub(super) fn new(rows: Rows) -> Self {
        let next = (!rows.has_one_column()).then(|| NEXT.map(EndMark::of));
        Self {
            rows: Some(rows),
            end: EndMark::default(),
            next,
        }
    }

    /// Takes the next bytes; with them the rows that can be counted, once no more can.
    pub(super) fn push(&mut self, block: &[u8]) -> (Passed, Option<Rows>) {
        let ended = self.end.push(block);
        let before = &block[..ended.unwrap_or(block.len())];
        let marks = self.next.iter_mut().flatten().zip(NEXT);
        let next = marks.filter_map(|(mark, text)| Some((mark.push(before)?, text)));
        let passed = match (next.min_by_key(|(at, _)| *at), ended) {
            (Some((used, text)), _) => Passed::Lost {
                rows: (used + 1).saturating_sub(text.len()),
                used,
                comment: &text[BEFORE_COMMENT..],
            },
            (None, Some(used)) => Passed::Ended(used),
            (None, None) => Passed::More,
        };
        let part = match passed {
            Passed::More => block,
            Passed::Ended(used) => &block[..used],
            Passed::Lost { rows, .. } => &block[..rows],
        };
        let fits = self
            .rows
            .as_mut()
            .is_none_or(|rows| rows.push(part) != Progress::Malformed);
        let is_over = !fits || passed != Passed::More;
        let counted = self.rows.take_if(|_| is_over);
        (passed, counted)
    }

    /// The rows that can be counted where the dump breaks off.
    pub(super) fn counted(&self) -> Option<&Rows> {
        self.rows.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_whose_end_is_lost_end_where_the_next_object_begins() {
        let text = b"1\ta\n2\n\n--\n-- Data for Name: t; Type";
        let columns = [b"i".to_vec(), b"t".to_vec()];
        let mut rows = LenientRows::new(Rows::new(&columns));
        let (passed, counted) = rows.push(text);
        let comment: &[u8] = b"-- Data for Name: ";
        let used = text.len() - b"t; Type".len();
        let lost = Passed::Lost {
            rows: b"1\ta\n2\n\n".len(),
            used,
            comment,
        };
        assert_eq!((passed, counted.map(|rows| rows.count())), (lost, Some(1)));
        // In a table of one column they may be rows.
        let mut rows = LenientRows::new(Rows::new(&columns[..1]));
        assert_eq!(rows.push(b"1\n--\n-- Name: x\n").0, Passed::More);
        assert_eq!(rows.push(b"\\.\nrest").0, Passed::Ended(3));
    }
}
