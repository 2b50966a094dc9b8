//! What an operator is likely to run next, as SQL. Pure.

use crate::postgres::quoted;

#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact about the table by itself"
)]
/// A table that came back, as far as the next statements are concerned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Back<'a> {
    /// Its number, where the numbers in `references` are from.
    pub(super) oid: u32,
    /// The tables that its foreign keys refer to.
    pub(super) references: &'a [u32],
    /// The table that it was, as SQL writes it.
    pub(super) original: &'a str,
    /// The table that it is now, as SQL writes it.
    pub(super) restored: &'a str,
    /// Its columns but the generated ones.
    pub(super) columns: &'a str,
    /// The same in a form that can be compared.
    pub(super) comparable: &'a str,
    /// Whether a unique index tells which rows are there already.
    pub(super) has_key: bool,
    /// Whether an identity takes values only when asked to.
    pub(super) has_identity_always: bool,
    /// Whether it has child tables, whose rows are not to be taken for its own.
    pub(super) has_children: bool,
    /// Whether the table that it was is there.
    pub(super) original_stands: bool,
    /// The schema of the table that it was.
    pub(super) schema: &'a str,
}

/// The statements, with a comment before each kind.
pub(super) fn statements(tables: &[Back<'_>], made_schema: Option<&str>) -> Vec<String> {
    let mut lines = Vec::new();
    let (standing, gone): (Vec<_>, Vec<_>) = referenced_first(tables)
        .into_iter()
        .filter(|table| table.original != table.restored)
        .partition(|table| table.original_stands);
    if !standing.is_empty() {
        lines.push("-- rows of the backup that are not there now, or are others".to_owned());
        lines.extend(standing.iter().map(|table| compare(table)));
        lines.push("-- bring back what is missing".to_owned());
        lines.extend(standing.iter().map(|table| bring_back(table)));
    }
    if !gone.is_empty() {
        lines.push("-- put it where it was".to_owned());
        lines.extend(gone.iter().map(|table| {
            format!(
                "ALTER TABLE {} SET SCHEMA {};",
                table.restored,
                quoted(table.schema)
            )
        }));
    }
    if let Some(schema) = made_schema {
        lines.push(once_not_needed(&format!(
            "SCHEMA {} CASCADE",
            quoted(schema)
        )));
    }
    lines
}

/// What drops something, as a comment: all of the statements may be pasted at once.
pub(super) fn once_not_needed(what: &str) -> String {
    format!("-- once nothing in it is needed: DROP {what};")
}

/// The tables in an order in which foreign keys let rows in. A circle of references has none, and begins
/// with its first.
fn referenced_first<'t, 'a>(tables: &'t [Back<'a>]) -> Vec<&'t Back<'a>> {
    let mut left: Vec<&Back<'_>> = tables.iter().collect();
    let mut ordered = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let waits = |table: &Back<'_>| {
            let mut others = left.iter().filter(|other| other.oid != table.oid);
            others.any(|other| table.references.contains(&other.oid))
        };
        let next = left.iter().position(|table| !waits(table)).unwrap_or(0);
        ordered.push(left.remove(next));
    }
    ordered
}

impl Back<'_> {
    fn only(&self) -> &'static str {
        if self.has_children { "ONLY " } else { "" }
    }
}

fn compare(table: &Back<'_>) -> String {
    format!(
        "SELECT {columns} FROM {only}{} EXCEPT SELECT {columns} FROM {only}{};",
        table.restored,
        table.original,
        columns = table.comparable,
        only = table.only(),
    )
}

fn bring_back(table: &Back<'_>) -> String {
    let identity = if table.has_identity_always {
        "OVERRIDING SYSTEM VALUE "
    } else {
        ""
    };
    let only = table.only();
    let missing = if table.has_key {
        format!("{only}{} ON CONFLICT DO NOTHING", table.restored)
    } else {
        format!(
            "{only}{} AS r WHERE NOT EXISTS (SELECT FROM {only}{} AS o WHERE ROW(o.*)::text = ROW(r.*)::text)",
            table.restored, table.original
        )
    };
    format!(
        "INSERT INTO {} ({columns}) {identity}SELECT {columns} FROM {missing};",
        table.original,
        columns = table.columns,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn back(stands: bool, has_key: bool) -> Back<'static> {
        Back {
            oid: 1,
            references: &[],
            original: "public.\"Orders\"",
            restored: "restored_1.\"Orders\"",
            columns: "id, note",
            comparable: "id, note::text",
            has_key,
            has_identity_always: has_key,
            has_children: false,
            original_stands: stands,
            schema: "public",
        }
    }

    #[test]
    fn what_stands_is_compared_and_filled_and_what_is_gone_is_put_back() {
        assert_eq!(
            statements(&[back(true, true)], Some("restored_1")),
            [
                "-- rows of the backup that are not there now, or are others",
                "SELECT id, note::text FROM restored_1.\"Orders\" EXCEPT SELECT id, note::text FROM public.\"Orders\";",
                "-- bring back what is missing",
                "INSERT INTO public.\"Orders\" (id, note) OVERRIDING SYSTEM VALUE SELECT id, note FROM restored_1.\"Orders\" ON CONFLICT DO NOTHING;",
                "-- once nothing in it is needed: DROP SCHEMA \"restored_1\" CASCADE;",
            ]
        );
        assert_eq!(
            statements(&[back(false, true)], None),
            [
                "-- put it where it was",
                "ALTER TABLE restored_1.\"Orders\" SET SCHEMA \"public\";",
            ]
        );
    }

    #[test]
    fn what_is_referred_to_comes_first() {
        let table = |oid, references| Back {
            oid,
            references,
            ..back(true, true)
        };
        for (tables, expected) in [
            (vec![table(1, &[]), table(2, &[]), table(3, &[])], [1, 2, 3]),
            (
                vec![table(1, &[3]), table(2, &[]), table(3, &[2])],
                [2, 3, 1],
            ),
            // To itself, to one that is not here, and in a circle.
            (
                vec![table(1, &[1, 2]), table(2, &[9]), table(3, &[])],
                [2, 1, 3],
            ),
            (
                vec![table(1, &[2]), table(2, &[1]), table(3, &[1])],
                [1, 2, 3],
            ),
        ] {
            let order: Vec<u32> = referenced_first(&tables)
                .iter()
                .map(|one| one.oid)
                .collect();
            assert_eq!(order, expected);
        }
    }

    #[test]
    fn rows_of_heirs_are_not_taken_for_the_table_s_own() {
        let parent = Back {
            has_children: true,
            ..back(true, true)
        };
        let lines = statements(&[parent], None);
        assert!(lines[1].contains("FROM ONLY restored_1."), "{lines:?}");
        assert!(lines[3].contains("FROM ONLY restored_1."), "{lines:?}");
    }

    #[test]
    fn without_a_key_only_other_rows_are_brought_back() {
        let lines = statements(&[back(true, false)], None);
        assert_eq!(
            lines[3],
            "INSERT INTO public.\"Orders\" (id, note) SELECT id, note FROM restored_1.\"Orders\" AS r WHERE NOT EXISTS (SELECT FROM public.\"Orders\" AS o WHERE ROW(o.*)::text = ROW(r.*)::text);"
        );
    }
}
