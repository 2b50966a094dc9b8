//! A table of text: columns as wide as their widest cell, nothing between them but space, and no line
//! wider than a terminal where that can be helped.

use std::io::{self, Write};

use unicode_width::UnicodeWidthStr;

use super::wrap::{WIDTH, wrapped};

/// What stands between two columns.
const GAP: &str = "  ";

/// A table with this many columns.
pub(super) struct Table<const N: usize> {
    columns: [Column; N],
    has_titles: bool,
    rows: Vec<[String; N]>,
}

/// What all rows have in common.
struct Layout<'a, const N: usize> {
    indent: &'a str,
    widths: [usize; N],
    /// The column of the names.
    names: usize,
}

/// What all cells of a column have in common.
#[derive(Clone, Copy)]
pub(super) struct Column {
    kind: Kind,
    title: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Name,
    Left,
    Right,
    Note,
}

impl Column {
    /// A column of names of any length: one for which there is no room has a line of its own. Where no column is
    /// one, the first is.
    pub(super) fn name(title: &'static str) -> Self {
        let kind = Kind::Name;
        Self { kind, title }
    }

    pub(super) fn left(title: &'static str) -> Self {
        let kind = Kind::Left;
        Self { kind, title }
    }

    pub(super) fn right(title: &'static str) -> Self {
        let kind = Kind::Right;
        Self { kind, title }
    }

    /// The last column, of text of any length: what does not fit behind its row stands below it.
    pub(super) fn note(title: &'static str) -> Self {
        let kind = Kind::Note;
        Self { kind, title }
    }
}

impl<const N: usize> Table<N> {
    /// A table with nothing in it, not even titles.
    pub(super) fn untitled(columns: [Column; N]) -> Self {
        Self {
            columns,
            has_titles: false,
            rows: Vec::new(),
        }
    }

    /// A table with nothing but the columns' titles.
    pub(super) fn new(columns: [Column; N]) -> Self {
        Self {
            has_titles: true,
            ..Self::untitled(columns)
        }
    }

    /// Appends a row.
    pub(super) fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells);
    }

    /// Prints all rows behind an indent, none with spaces at its end.
    pub(super) fn print(&self, indent: &str, out: &mut dyn Write) -> io::Result<()> {
        let mut columns = self.columns.iter();
        let names = columns.position(|column| column.kind == Kind::Name);
        let names = names.unwrap_or(0);
        let layout = Layout {
            indent,
            widths: self.widths(indent.width(), names),
            names,
        };
        if self.has_titles {
            let titles = self.columns.map(|column| column.title);
            self.print_row(titles, &layout, out)?;
        }
        for row in &self.rows {
            let cells = std::array::from_fn(|index| row[index].as_str());
            self.print_row(cells, &layout, out)?;
        }
        Ok(())
    }

    /// How wide each column is; that of the names is as wide as those of its cells that fit.
    fn widths(&self, indent: usize, names: usize) -> [usize; N] {
        let title = |index: usize| {
            let title = self.has_titles.then(|| self.columns[index].title.width());
            title.unwrap_or(0)
        };
        let widest = |index: usize, limit: usize| {
            let cells = self.rows.iter().map(|row| row[index].width());
            let cells = cells.filter(|width| *width <= limit);
            cells.max().unwrap_or(0).max(title(index))
        };
        let mut widths = std::array::from_fn(|index| match self.columns[index].kind {
            Kind::Note => 0,
            Kind::Name | Kind::Left | Kind::Right => widest(index, usize::MAX),
        });
        let gaps = self.columns.iter().skip(1);
        let gaps = gaps.filter(|column| column.kind != Kind::Note).count() * GAP.len();
        let others: usize = indent + gaps + widths.iter().sum::<usize>() - widths[names];
        widths[names] = widest(names, WIDTH.saturating_sub(others));
        widths
    }

    /// Prints a row. A name that is wider than its column has a line of its own before the others.
    fn print_row(
        &self,
        cells: [&str; N],
        layout: &Layout<'_, N>,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let &Layout {
            indent,
            widths,
            names,
        } = layout;
        let mut line = indent.to_owned();
        for (index, (column, width)) in self.columns.iter().zip(widths).enumerate() {
            let mut cell = cells[index];
            if index > 0 && (column.kind != Kind::Note || !cell.is_empty()) {
                line.push_str(GAP);
            }
            if index == names && cell.width() > width {
                writeln!(out, "{line}{cell}")?;
                line = " ".repeat(line.width());
                cell = "";
            }
            let space = " ".repeat(width.saturating_sub(cell.width()));
            match column.kind {
                Kind::Name | Kind::Left => line.extend([cell, &space]),
                Kind::Right => line.extend([&space, cell]),
                Kind::Note if line.width() + cell.width() <= WIDTH => line.push_str(cell),
                Kind::Note => {
                    writeln!(out, "{}", line.trim_end())?;
                    return wrapped(out, &format!("{indent}    "), cell);
                }
            }
        }
        writeln!(out, "{}", line.trim_end())
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

    #[test]
    fn a_name_that_does_not_fit_is_not_cut_wherever_its_column_is() {
        let columns = [
            Column::left(""),
            Column::name("HOST"),
            Column::left("STATE"),
            Column::right("NEWEST COPY"),
        ];
        let long = "db1-with-a-long-name.of-the-customer.in-the-datacenter.example.com";
        let rows = [["", "db1", "ok", "3 hours ago"], ["!", long, "late", ""]];
        assert_eq!(
            printed(Table::new(columns), &rows),
            concat!(
                "    HOST  STATE  NEWEST COPY\n",
                "    db1   ok     3 hours ago\n",
                " !  db1-with-a-long-name.of-the-customer.in-the-datacenter.example.com\n",
                "          late\n"
            )
        );
    }

    #[test]
    fn no_line_is_wider_than_a_terminal() {
        let columns = [
            Column::left("BACKUP"),
            Column::right("ROWS"),
            Column::left("VERIFIED"),
            Column::note("REASON"),
        ];
        let long = "manual_before_the_migration_of_all_the_orders_20250709_020000";
        let reason = "before the migration of all the orders of all the customers of last year";
        let rows = [
            ["backup_20250709_020000", "2", "2025-07-09 02:00 +03:00", ""],
            [long, "1,346,111", "2025-07-09 02:00 +03:00", "[pinned]"],
            [long, "3", "DAMAGED", reason],
        ];
        assert_eq!(
            printed(Table::new(columns), &rows),
            concat!(
                " BACKUP                       ROWS  VERIFIED                 REASON\n",
                " backup_20250709_020000          2  2025-07-09 02:00 +03:00\n",
                " manual_before_the_migration_of_all_the_orders_20250709_020000\n",
                "                         1,346,111  2025-07-09 02:00 +03:00  [pinned]\n",
                " manual_before_the_migration_of_all_the_orders_20250709_020000\n",
                "                                 3  DAMAGED\n",
                "     before the migration of all the orders of all the customers of last year\n"
            )
        );
    }
}
