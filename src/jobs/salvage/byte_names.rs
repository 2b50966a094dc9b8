//! Rows of tables with names that are no UTF-8: a database in `SQL_ASCII` may have them, and the driver cannot
//! send them. Statements go in hexadecimal. A COPY cannot be sent that way, so its rows go through a temporary
//! table whose own name is ASCII. Pure.

/// The temporary table; a column list is not needed to fill it.
const TABLE: &str = "pg_temp.pgbackupd_rows";

/// The way of one COPY block's rows through a temporary table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Detour {
    /// Makes the temporary table.
    pub(super) make: String,
    /// Moves its rows into the table that they belong to.
    pub(super) pass_on: String,
    /// Empties it.
    pub(super) empty: String,
    /// Removes it.
    pub(super) remove: String,
}

impl Detour {
    /// For rows of a table as the dump writes it, with these columns, which have no quotes.
    pub(super) fn of(table: &[u8], columns: &[Vec<u8>]) -> Self {
        let columns: Vec<Vec<u8>> = columns.iter().map(|one| quoted(one)).collect();
        let columns = columns.join(b", ".as_slice());
        let make = [
            b"CREATE TEMPORARY TABLE pgbackupd_rows AS SELECT ",
            columns.as_slice(),
            b" FROM ",
            table,
            b" WITH NO DATA",
        ];
        let list = if columns.is_empty() {
            Vec::new()
        } else {
            [b" (", columns.as_slice(), b")"].concat()
        };
        // COPY gives values to identity columns, too.
        let pass_on = [
            b"INSERT INTO ",
            table,
            &list,
            b" OVERRIDING SYSTEM VALUE SELECT * FROM ",
            TABLE.as_bytes(),
        ];
        Self {
            make: in_hexadecimal(&make.concat()),
            pass_on: in_hexadecimal(&pass_on.concat()),
            empty: format!("TRUNCATE {TABLE}"),
            remove: format!("DROP TABLE IF EXISTS {TABLE}"),
        }
    }

    /// The COPY that fills it with rows in this encoding.
    pub(super) fn copy(encoding: &str) -> String {
        format!("COPY {TABLE} FROM stdin WITH (ENCODING '{encoding}')")
    }
}

/// A name as SQL writes it.
fn quoted(name: &[u8]) -> Vec<u8> {
    let mut quoted = vec![b'"'];
    for byte in name {
        if *byte == b'"' {
            quoted.push(b'"');
        }
        quoted.push(*byte);
    }
    quoted.push(b'"');
    quoted
}

/// Statements whose bytes are no UTF-8, as a statement that executes them.
pub(super) fn in_hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut digits = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(digits, "{byte:02x}");
    }
    format!(
        "DO $pgbackupd$ BEGIN EXECUTE pg_catalog.convert_from(pg_catalog.decode('{digits}', 'hex'), \
         'SQL_ASCII'); END $pgbackupd$"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_the_bytes_that_they_are() {
        let detour = Detour::of(b"public.\"caf\xe9\"", &[b"a\"\xff".to_vec(), b"b".to_vec()]);
        let make = b"CREATE TEMPORARY TABLE pgbackupd_rows AS SELECT \"a\"\"\xff\", \"b\" FROM \
            public.\"caf\xe9\" WITH NO DATA";
        assert_eq!(detour.make, in_hexadecimal(make));
        let pass_on =
            b"INSERT INTO public.\"caf\xe9\" (\"a\"\"\xff\", \"b\") OVERRIDING SYSTEM VALUE \
            SELECT * FROM pg_temp.pgbackupd_rows";
        assert_eq!(detour.pass_on, in_hexadecimal(pass_on));
        let detour = Detour::of(b"public.\"\xe9\"", &[]);
        let pass_on = b"INSERT INTO public.\"\xe9\" OVERRIDING SYSTEM VALUE SELECT * FROM pg_temp.pgbackupd_rows";
        assert_eq!(detour.pass_on, in_hexadecimal(pass_on));
    }
}
