//! The tables of a census one by one, and counting rows that come from elsewhere in the same way:
//! for whoever takes single tables out of a dump and wants to prove that they came out whole.

use super::rows::{Progress, Rows};
use super::{Census, MultisetHash, printable};
use crate::pipeline::sql::identifier;

/// A table's schema and name, without quotes, in the bytes of the dump's encoding.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TableName {
    /// The schema.
    pub schema: Vec<u8>,
    /// The name.
    pub name: Vec<u8>,
}

/// Rows of a table: how many, and the hash of all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// How many.
    pub rows: u64,
    /// Of their content; it depends neither on the order of rows nor on that of columns.
    pub hash: MultisetHash,
}

/// Counts rows in COPY's text format as the census does.
pub struct RowCounter(Rows);

impl TableName {
    /// Reads a name as a dump writes it: `public."Orders"`.
    pub fn parse(written: &[u8]) -> Option<Self> {
        let (schema, at) = identifier(written, 0)?;
        if written.get(at) != Some(&b'.') {
            return None;
        }
        let (name, end) = identifier(written, at + 1)?;
        (end == written.len()).then_some(Self { schema, name })
    }
}

impl RowCounter {
    /// For rows with these columns, by their names without quotes, in the dump's encoding.
    pub fn new(columns: &[Vec<u8>]) -> Self {
        Self(Rows::new(columns))
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// When a row does not have as many values as there are columns: gives its number.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), u64> {
        match self.0.push(bytes) {
            Progress::More => Ok(()),
            Progress::Done(_) | Progress::Malformed => Err(self.0.count() + 1),
        }
    }

    /// What has passed.
    pub fn counted(&self) -> Counted {
        Counted {
            rows: self.0.count(),
            hash: self.0.hash(),
        }
    }
}

impl Census {
    /// Every table whose rows the dump holds, in the order of names as it writes them.
    pub fn tables(&self) -> impl Iterator<Item = (TableName, Counted)> {
        self.tables.iter().filter_map(|(written, table)| {
            let counted = Counted {
                rows: table.rows,
                hash: table.hash,
            };
            Some((TableName::parse(written)?, counted))
        })
    }

    /// The rows of each table that has a data section, sorted; none if some came as INSERT statements.
    pub fn row_counts(&self) -> Option<Vec<u64>> {
        let mut counts: Vec<u64> = self.tables.values().map(|table| table.rows).collect();
        counts.sort_unstable();
        self.inserted.is_empty().then_some(counts)
    }

    /// Schema and name of every object of a kind, such as `TABLE`.
    pub fn objects(&self, kind: &str) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.objects
            .keys()
            .filter(move |id| *id.kind == *kind.as_bytes())
            .map(|id| (&*id.schema, &*id.name))
    }
}

impl TableName {
    /// Schema and name for people, without quotes.
    pub fn shown(&self) -> String {
        format!("{}.{}", printable(&self.schema), printable(&self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_name_is_schema_and_table_without_quotes() {
        for (written, schema, name) in [
            ("public.orders", "public", "orders"),
            ("\"a.b\".\"c \"\"d\"", "a.b", "c \"d"),
            ("public.\"طلبات\"", "public", "طلبات"),
        ] {
            let expected = TableName {
                schema: schema.into(),
                name: name.into(),
            };
            assert_eq!(
                TableName::parse(written.as_bytes()),
                Some(expected),
                "{written}"
            );
        }
        for written in ["orders", "a.b.c", "", "a."] {
            assert_eq!(TableName::parse(written.as_bytes()), None, "{written}");
        }
    }

    #[test]
    fn rows_from_elsewhere_are_counted_as_those_of_a_dump() {
        let columns = [b"a".to_vec(), b"b".to_vec()];
        let mut one = RowCounter::new(&columns);
        assert_eq!(one.push(b"1\tx\n2\t"), Ok(()));
        assert_eq!(one.push(b"y\n"), Ok(()));
        let mut other = RowCounter::new(&columns);
        assert_eq!(other.push(b"2\ty\n1\tx\n"), Ok(()));
        assert_eq!(one.counted(), other.counted());
        assert_eq!(one.counted().rows, 2);
        assert_eq!(RowCounter::new(&columns).push(b"1\n"), Err(1));
    }
}
