//! A table of text: columns as wide as their widest cell, nothing between them but space.

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::thread;

use unicode_width::UnicodeWidthStr;

use crate::threads::share;

/// A table with this many columns, its rows filled cell by cell.
///
/// All cells stand in one text: a list may have a hundred thousand rows, and a string for each
/// cell would take longer than finding out what stands in it.
pub(super) struct Table<const N: usize> {
    columns: [Column; N],
    text: String,
    /// Of each cell, row by row.
    cells: Vec<Cell>,
}

/// So many rows are not worth a thread.
const FEW: usize = 1000;

/// What all cells of a column have in common.
#[derive(Clone, Copy)]
pub(super) struct Column {
    to_the_right: bool,
    /// Of the widest cell so far, in columns of a terminal.
    width: usize,
    title: &'static str,
}

struct Cell {
    /// Where its text ends; it starts where the one before ends.
    end: usize,
    width: usize,
}

impl Column {
    pub(super) fn left(title: &'static str) -> Self {
        Self {
            to_the_right: false,
            width: 0,
            title,
        }
    }

    pub(super) fn right(title: &'static str) -> Self {
        Self {
            to_the_right: true,
            ..Self::left(title)
        }
    }
}

impl<const N: usize> Table<N> {
    /// A table with nothing in it, not even titles.
    pub(super) fn untitled(columns: [Column; N]) -> Self {
        Self {
            columns,
            text: String::new(),
            cells: Vec::new(),
        }
    }

    /// A table with nothing but the columns' titles.
    pub(super) fn new(columns: [Column; N]) -> Self {
        let titles = columns.each_ref().map(|column| column.title);
        let mut table = Self::untitled(columns);
        for title in titles {
            table.cell(|text| text.write_str(title));
        }
        table
    }

    /// Appends a row for each thing, on all cores where there are many.
    pub(super) fn fill<T: Sync>(self, things: &[T], add_row: fn(&mut Self, &T)) -> Self {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let length = things.len().div_ceil(threads).max(FEW);
        let mut shares = things.chunks(length);
        let first = shares.next().unwrap_or_default();
        let add_all = move |mut table: Self, things: &[T]| {
            for thing in things {
                add_row(&mut table, thing);
            }
            table
        };
        thread::scope(|scope| {
            let columns = self.columns;
            let others: Vec<_> = shares
                .map(|things| share(scope, move || add_all(Self::untitled(columns), things)))
                .collect();
            let mut table = add_all(self, first);
            for part in others {
                table.append(part.join());
            }
            table
        })
    }

    fn append(&mut self, other: Self) {
        for (column, theirs) in self.columns.iter_mut().zip(&other.columns) {
            column.width = column.width.max(theirs.width);
        }
        let end = self.text.len();
        self.text.push_str(&other.text);
        let cells = other.cells.into_iter().map(|cell| Cell {
            end: end + cell.end,
            ..cell
        });
        self.cells.extend(cells);
    }

    /// Appends a cell; after the last one of a row, the next row begins.
    pub(super) fn cell(&mut self, write: impl FnOnce(&mut String) -> fmt::Result) {
        let start = self.text.len();
        // Writing to a string cannot fail.
        let _ = write(&mut self.text);
        let cell = &self.text[start..];
        let width = if cell.is_ascii() {
            cell.len()
        } else {
            cell.width()
        };
        let column = &mut self.columns[self.cells.len() % N];
        column.width = column.width.max(width);
        let end = self.text.len();
        self.cells.push(Cell { end, width });
    }

    /// Appends a row.
    pub(super) fn row(&mut self, cells: [String; N]) {
        for cell in cells {
            self.cell(|text| text.write_str(&cell));
        }
    }

    /// Prints all rows behind an indent, each on a line that does not end in spaces.
    pub(super) fn print(&self, indent: &str, out: &mut dyn Write) -> io::Result<()> {
        let mut line = String::new();
        let mut start = 0;
        for row in self.cells.chunks(N) {
            line.clear();
            line.push_str(indent);
            for (cell, column) in row.iter().zip(&self.columns) {
                let text = &self.text[start..cell.end];
                start = cell.end;
                let missing = column.width - cell.width;
                let (before, behind) = if column.to_the_right {
                    (missing, 0)
                } else {
                    (0, missing)
                };
                line.extend(std::iter::repeat_n(' ', before));
                line.push_str(text);
                line.extend(std::iter::repeat_n(' ', behind + 2));
            }
            line.truncate(line.trim_end().len());
            line.push('\n');
            out.write_all(line.as_bytes())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::{Column, Table};

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_in_any_script() {
        let mut table = Table::new([
            Column::left("NAME"),
            Column::right("ROWS"),
            Column::left("WHY"),
        ]);
        for row in [
            ["a", "1,346,111", "x"],
            ["ترقية", "2", ""],
            ["備份", "", "z "],
        ] {
            for cell in row {
                table.cell(|text| text.write_str(cell));
            }
        }
        let mut printed = Vec::new();
        table.print(" ", &mut printed).unwrap();
        assert_eq!(
            String::from_utf8(printed).unwrap(),
            concat!(
                " NAME        ROWS  WHY\n",
                " a      1,346,111  x\n",
                " ترقية          2\n",
                " 備份              z\n"
            )
        );
    }
}
