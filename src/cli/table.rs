//! A table of text: columns as wide as their widest cell, nothing between them but space.

use std::io::{self, Write};

use comfy_table::{CellAlignment, presets};

/// A table with this many columns.
pub(super) struct Table<const N: usize> {
    table: comfy_table::Table,
    columns: [Column; N],
}

/// What all cells of a column have in common.
#[derive(Clone, Copy)]
pub(super) struct Column {
    alignment: CellAlignment,
    title: &'static str,
}

impl Column {
    pub(super) fn left(title: &'static str) -> Self {
        let alignment = CellAlignment::Left;
        Self { alignment, title }
    }

    pub(super) fn right(title: &'static str) -> Self {
        let alignment = CellAlignment::Right;
        Self { alignment, title }
    }
}

impl<const N: usize> Table<N> {
    /// A table with nothing in it, not even titles.
    pub(super) fn untitled(columns: [Column; N]) -> Self {
        let mut table = comfy_table::Table::new();
        table.load_preset(presets::NOTHING);
        Self { table, columns }
    }

    /// A table with nothing but the columns' titles.
    pub(super) fn new(columns: [Column; N]) -> Self {
        let mut table = Self::untitled(columns);
        table.table.set_header(columns.map(|column| column.title));
        table.align();
        table
    }

    /// Appends a row.
    pub(super) fn row(&mut self, cells: [String; N]) {
        self.table.add_row(cells);
        if self.table.row_count() == 1 {
            self.align();
        }
    }

    /// Says how the columns stand, which the first row makes.
    fn align(&mut self) {
        for (made, column) in self.table.column_iter_mut().zip(&self.columns) {
            made.set_padding((0, 2));
            made.set_cell_alignment(column.alignment);
        }
    }

    /// Prints all rows behind an indent, each on a line that does not end in spaces.
    pub(super) fn print(&self, indent: &str, out: &mut dyn Write) -> io::Result<()> {
        for line in self.table.lines() {
            writeln!(out, "{indent}{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Column, Table};

    fn printed<const N: usize>(mut table: Table<N>, rows: &[[&str; N]]) -> String {
        for row in rows {
            table.row(row.map(str::to_owned));
        }
        let mut printed = Vec::new();
        table.print(" ", &mut printed).unwrap();
        String::from_utf8(printed).unwrap()
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_in_any_script() {
        let columns = || {
            [
                Column::left("NAME"),
                Column::right("ROWS"),
                Column::left("WHY"),
            ]
        };
        let rows = [
            ["a", "1,346,111", "x"],
            ["ترقية", "2", ""],
            ["備份", "", "z "],
        ];
        assert_eq!(
            printed(Table::new(columns()), &rows),
            concat!(
                " NAME        ROWS  WHY\n",
                " a      1,346,111  x\n",
                " ترقية          2\n",
                " 備份              z\n"
            )
        );
        assert_eq!(
            printed(Table::untitled(columns()), &rows),
            concat!(
                " a      1,346,111  x\n",
                " ترقية          2\n",
                " 備份              z\n"
            )
        );
        assert_eq!(printed(Table::untitled(columns()), &[]), "");
    }
}
