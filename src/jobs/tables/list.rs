//! Which entries of an archive are wanted: `pg_restore --list`, chosen from, is what
//! `pg_restore --use-list` takes. Pure.

use crate::pipeline::census::TableName;

/// The entries that define something, in their order: all but rows and large objects.
pub(super) fn definitions(list: &str) -> String {
    chosen(list, |entry| {
        [
            "TABLE DATA ",
            "BLOB",
            "LARGE OBJECT",
            "MATERIALIZED VIEW DATA ",
            "STATISTICS DATA ",
        ]
        .iter()
        .all(|word| !entry.starts_with(word))
    })
}

/// The entries with the rows of these tables. Of names with spaces one more may be among them,
/// which whoever reads the rows passes over.
pub(super) fn rows_of<'a>(
    list: &str,
    tables: impl Iterator<Item = &'a TableName> + Clone,
) -> String {
    let heads: Vec<String> = tables
        .map(|table| {
            let name = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(['\n', '\r'], " ");
            format!("TABLE DATA {} {} ", name(&table.schema), name(&table.name))
        })
        .collect();
    chosen(list, |entry| {
        heads.iter().any(|head| entry.starts_with(head.as_str()))
    })
}

/// The lines whose entry is wanted: what follows `4711; 1259 16400 `.
fn chosen(list: &str, wanted: impl Fn(&str) -> bool) -> String {
    let mut text = String::new();
    for line in list.lines().filter(|line| !line.starts_with(';')) {
        let entry = line.splitn(4, ' ').nth(3).unwrap_or_default();
        if wanted(entry) {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = ";\n; Archive created at 2026\n;\n\
        215; 1259 16385 TABLE public orders postgres\n\
        3338; 0 16385 TABLE DATA public orders postgres\n\
        3339; 0 16390 TABLE DATA public orders old postgres\n\
        3340; 0 16399 TABLE DATA sales a b postgres\n\
        3400; 0 0 SEQUENCE SET public orders_id_seq postgres\n\
        3401; 2613 16400 BLOB - 16400 postgres\n\
        3402; 0 0 BLOBS - BLOBS \n\
        3190; 2606 16393 CONSTRAINT public orders orders_pkey postgres\n";

    #[test]
    fn definitions_are_all_but_rows_and_large_objects() {
        let chosen = definitions(LIST);
        let numbers: Vec<&str> = chosen
            .lines()
            .filter_map(|line| line.split(';').next())
            .collect();
        assert_eq!(numbers, ["215", "3400", "3190"]);
    }

    #[test]
    fn the_rows_of_a_table_are_its_entry() {
        let tables =
            [("public", "orders old"), ("sales", "a\nb")].map(|(schema, name)| TableName {
                schema: schema.into(),
                name: name.into(),
            });
        let chosen = rows_of(LIST, tables.iter());
        let numbers: Vec<&str> = chosen
            .lines()
            .filter_map(|line| line.split(';').next())
            .collect();
        assert_eq!(numbers, ["3339", "3340"]);
    }
}
