//! Which tables of a backup are meant. Pure.

use super::pattern::Pattern;
use crate::pipeline::census::Census;

/// So many names like the one that was not found are reported.
const NEAR: usize = 5;

/// What can be mistaken for a table, by its kind in a dump.
const OTHERS: [(&str, &str); 4] = [
    ("VIEW", "a view, which holds no rows"),
    (
        "MATERIALIZED VIEW",
        "a materialized view, which is computed from its tables",
    ),
    (
        "FOREIGN TABLE",
        "a foreign table, whose rows are on another server",
    ),
    (
        "SEQUENCE",
        "a sequence, which comes with the table that owns it",
    ),
];

/// Schema and name as the dump has them in its comments.
pub(super) type Name = (Vec<u8>, Vec<u8>);

/// The tables that these patterns mean, in the order of their names.
///
/// # Errors
/// A pattern is none, or means no table: a sentence, with what was probably meant.
pub(super) fn choose_tables(census: &Census, patterns: &[String]) -> Result<Vec<Name>, String> {
    let tables: Vec<(&[u8], &[u8])> = census.objects("TABLE").collect();
    let mut chosen = Vec::new();
    for text in patterns {
        let pattern = Pattern::parse(text)?;
        let before = chosen.len();
        for (schema, name) in &tables {
            if pattern.matches(&shown(schema), &shown(name)) {
                chosen.push((schema.to_vec(), name.to_vec()));
            }
        }
        if chosen.len() == before {
            return Err(nothing(census, &tables, text, &pattern));
        }
    }
    chosen.sort();
    chosen.dedup();
    Ok(chosen)
}

/// That no table is meant, and why that may be.
fn nothing(census: &Census, tables: &[(&[u8], &[u8])], text: &str, pattern: &Pattern) -> String {
    let other = OTHERS.iter().find_map(|(kind, what)| {
        census
            .objects(kind)
            .find(|(schema, name)| pattern.matches(&shown(schema), &shown(name)))
            .map(|(schema, name)| format!("{} is {what}", quoted(&shown(schema), &shown(name))))
    });
    if let Some(other) = other {
        return format!("no table of the backup matches --table {text:?}: {other}");
    }
    let near = near(tables, &pattern.plain_table());
    if !near.is_empty() {
        return format!(
            "no table of the backup matches --table {text:?}; there is {}",
            near.join(", ")
        );
    }
    let mut all: Vec<String> = tables
        .iter()
        .map(|(schema, name)| quoted(&shown(schema), &shown(name)))
        .collect();
    all.sort();
    let more = all.len().saturating_sub(2 * NEAR);
    all.truncate(2 * NEAR);
    match (all.is_empty(), more) {
        (true, _) => format!("no table of the backup matches --table {text:?}: it holds none"),
        (_, 0) => format!(
            "no table of the backup matches --table {text:?}; it holds {}",
            all.join(", ")
        ),
        (_, more) => format!(
            "no table of the backup matches --table {text:?}; it holds {} and {more} more",
            all.join(", ")
        ),
    }
}

/// The tables whose names are most like this one. Case does not count.
fn near(tables: &[(&[u8], &[u8])], word: &str) -> Vec<String> {
    let word = word.to_lowercase();
    // A third of the letters may be wrong, as with settings.
    let tolerance = (word.chars().count() / 3).max(1);
    let mut near: Vec<(usize, String)> = tables
        .iter()
        .filter_map(|(schema, name)| {
            let lower = shown(name).to_lowercase();
            let distance = strsim::damerau_levenshtein(&word, &lower);
            let part = word.chars().count() > 2 && lower.contains(&word);
            (distance <= tolerance || part)
                .then(|| (distance, quoted(&shown(schema), &shown(name))))
        })
        .collect();
    near.sort();
    near.truncate(NEAR);
    near.into_iter().map(|(_, name)| name).collect()
}

fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

/// A name as it has to be written in a pattern that means it alone.
fn quoted(schema: &str, table: &str) -> String {
    let one = |name: &str| {
        let plain = |letter: char| !letter.is_ascii_uppercase() && !"\".*?".contains(letter);
        if !name.is_empty() && name.chars().all(plain) {
            name.to_owned()
        } else {
            format!("\"{}\"", name.replace('"', "\"\""))
        }
    };
    format!("{}.{}", one(schema), one(table))
}

/// A name as `pg_dump` writes it in a comment.
pub(super) fn flat((schema, name): &(Vec<u8>, Vec<u8>)) -> (Vec<u8>, Vec<u8>) {
    let one = |name: &[u8]| {
        let letter = |byte: &u8| {
            if matches!(byte, b'\n' | b'\r') {
                b' '
            } else {
                *byte
            }
        };
        name.iter().map(letter).collect()
    };
    (one(schema), one(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::census::Scanner;

    fn census(objects: &[(&str, &str, &str)]) -> Census {
        let mut dump = String::new();
        for (kind, schema, name) in objects {
            let comment = format!("-- Name: {name}; Type: {kind}; Schema: {schema}; Owner: o");
            dump.push_str(&comment);
            dump.push_str("\n\nCREATE X;\n");
        }
        dump.push_str("-- PostgreSQL database dump complete\n");
        let mut scanner = Scanner::new();
        scanner.push(dump.as_bytes()).unwrap();
        scanner.finish().unwrap()
    }

    fn chosen(patterns: &[&str]) -> Result<Vec<String>, String> {
        let census = census(&[
            ("TABLE", "public", "orders"),
            ("TABLE", "public", "Orders"),
            ("TABLE", "sales", "order_items"),
            ("TABLE", "sales", "طلبات"),
            ("VIEW", "sales", "totals"),
            ("INDEX", "public", "orders_x"),
        ]);
        let patterns: Vec<String> = patterns.iter().map(|text| (*text).to_owned()).collect();
        let name = |(schema, name): &Name| format!("{}.{}", shown(schema), shown(name));
        choose_tables(&census, &patterns).map(|names| names.iter().map(name).collect())
    }

    #[test]
    fn every_pattern_means_at_least_one_table_and_none_counts_twice() {
        assert_eq!(
            chosen(&["orders", "sales.*", "طلبات"]).unwrap(),
            ["public.orders", "sales.order_items", "sales.طلبات"]
        );
        assert_eq!(chosen(&["\"Orders\""]).unwrap(), ["public.Orders"]);
    }

    #[test]
    fn what_was_probably_meant_is_reported() {
        for (pattern, expected) in [
            ("ordes", "there is public.\"Orders\", public.orders"),
            ("طلبت", "there is sales.طلبات"),
            ("items", "there is sales.order_items"),
            ("totals", "sales.totals is a view"),
            (
                "nothing_like_it",
                "it holds public.\"Orders\", public.orders, ",
            ),
        ] {
            let refused = chosen(&["orders", pattern]).unwrap_err();
            assert!(refused.contains(expected), "{refused}");
        }
    }
}
