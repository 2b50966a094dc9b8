//! Hashing a statement with a list in it whose order says nothing, and may change by a restore.
//!
//! A restored table that inherits, or is a partition, may have its columns in another order without
//! loss, and lists of its columns follow the order in the table; the roles of a policy come in the
//! order in which the system catalogs happen to hold them.

use memchr::memmem;
use xxhash_rust::xxh3::xxh3_128;

use super::multiset::MultisetHash;
use crate::pipeline::sql::{
    List, after, elements_of, identifier, qualified, split, starts_with_any,
};

/// Keeps the elements of a list apart from other sums.
const ELEMENTS_SEED: u64 = 0x656c_656d;

/// The hash of a statement. Where the order of a list in it says nothing, it does not count.
pub(super) fn hash(text: &[u8]) -> u128 {
    let Some((list, elements)) = unordered_list(text) else {
        return xxh3_128(text);
    };
    let mut sum = MultisetHash::default();
    for element in elements {
        sum.add(xxh3_128(element.trim_ascii()));
    }
    let mut frame = Vec::with_capacity(text.len() - list.len() + 16);
    frame.extend_from_slice(&text[..list.start]);
    frame.extend_from_slice(&sum.sealed(ELEMENTS_SEED).to_le_bytes());
    frame.extend_from_slice(&text[list.end..]);
    xxh3_128(&frame)
}

/// The list whose order says nothing, if the statement has one.
fn unordered_list(text: &[u8]) -> Option<List<'_>> {
    let makes_a_table = [
        b"CREATE TABLE ".as_slice(),
        b"CREATE UNLOGGED TABLE ",
        b"CREATE FOREIGN TABLE ",
    ];
    if starts_with_any(text, &makes_a_table) {
        elements_of(text)
    } else if text.starts_with(b"CREATE POLICY ") {
        roles_of_a_policy(text)
    } else if text.starts_with(b"CREATE STATISTICS ") {
        columns_of_statistics(text)
    } else if text.starts_with(b"ALTER PUBLICATION ") {
        columns_of_a_publication(text)
    } else {
        None
    }
}

/// `CREATE POLICY p ON s.t AS RESTRICTIVE FOR UPDATE TO a, b USING (…)`: a and b.
pub(super) fn roles_of_a_policy(text: &[u8]) -> Option<List<'_>> {
    let (_, at) = identifier(text, b"CREATE POLICY ".len())?;
    let (_, at) = qualified(text, after(text, at, b" ON ")?)?;
    // Between the table and the roles stand only keywords.
    let words = memmem::find(&text[at..], b" TO ")?;
    if text[at..at + words].contains(&b'(') {
        return None;
    }
    identifiers(text, at + words + b" TO ".len())
}

/// `CREATE STATISTICS s.n (kinds) ON a, b FROM s.t`: a and b, which may be expressions.
fn columns_of_statistics(text: &[u8]) -> Option<List<'_>> {
    let (_, at) = qualified(text, b"CREATE STATISTICS ".len())?;
    // Between the name and the columns stands at most a list of kinds.
    let start = at + memmem::find(&text[at..], b" ON ")? + b" ON ".len();
    let mut list = start..start;
    let elements = split(text, &mut list, |rest| rest.starts_with(b" FROM "))?;
    Some((list, elements))
}

/// `ALTER PUBLICATION p ADD TABLE ONLY s.t (a, b) WHERE (…)`: a and b.
fn columns_of_a_publication(text: &[u8]) -> Option<List<'_>> {
    let (_, at) = identifier(text, b"ALTER PUBLICATION ".len())?;
    let (_, at) = qualified(text, after(text, at, b" ADD TABLE ONLY ")?)?;
    identifiers(text, after(text, at, b" (")?)
}

/// The comma-separated identifiers that start at an offset.
fn identifiers(text: &[u8], start: usize) -> Option<List<'_>> {
    let mut elements = Vec::new();
    let mut at = start;
    loop {
        let (_, end) = identifier(text, at)?;
        elements.push(&text[at..end]);
        match after(text, end, b", ") {
            Some(next) => at = next,
            None => return Some((start..end, elements)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::hash;

    #[test]
    fn the_order_of_a_list_counts_only_where_it_says_something() {
        for (text, moved, is_same) in [
            (
                "CREATE POLICY p ON s.t FOR UPDATE TO a, \"b, c\" USING ((x > 1));",
                "CREATE POLICY p ON s.t FOR UPDATE TO \"b, c\", a USING ((x > 1));",
                true,
            ),
            (
                "CREATE POLICY \" TO \" ON s.t AS RESTRICTIVE TO a, b;",
                "CREATE POLICY \" TO \" ON s.t AS RESTRICTIVE TO b, a;",
                true,
            ),
            (
                "CREATE POLICY p ON s.t USING ((x = ANY (ARRAY[' TO a, b'])));",
                "CREATE POLICY p ON s.t USING ((x = ANY (ARRAY[' TO b, a'])));",
                false,
            ),
            (
                "CREATE STATISTICS s.n (mcv, ndistinct) ON a, \"b FROM\", lower(c, ' FROM ,') FROM s.t;",
                "CREATE STATISTICS s.n (mcv, ndistinct) ON lower(c, ' FROM ,'), a, \"b FROM\" FROM s.t;",
                true,
            ),
            (
                "ALTER PUBLICATION p ADD TABLE ONLY s.t (a, b) WHERE ((x, y) = (1, 2));",
                "ALTER PUBLICATION p ADD TABLE ONLY s.t (b, a) WHERE ((x, y) = (1, 2));",
                true,
            ),
            (
                "ALTER PUBLICATION p ADD TABLE ONLY s.t WHERE ((x, y) = (1, 2));",
                "ALTER PUBLICATION p ADD TABLE ONLY s.t WHERE ((y, x) = (1, 2));",
                false,
            ),
            (
                "CREATE INDEX i ON s.t USING btree (a, b);",
                "CREATE INDEX i ON s.t USING btree (b, a);",
                false,
            ),
        ] {
            let (text, moved) = (text.as_bytes(), moved.as_bytes());
            assert_eq!(
                hash(text) == hash(moved),
                is_same,
                "{}",
                text.escape_ascii()
            );
        }
    }

    #[test]
    fn every_element_of_an_unordered_list_counts() {
        let policy = |roles: &str| hash(format!("CREATE POLICY p ON t TO {roles};").as_bytes());
        for roles in ["a", "a, c", "a, b, b", "\"a, b\""] {
            assert_ne!(policy("a, b"), policy(roles), "{roles}");
        }
    }
}
