//! Names of tables as an operator writes them: the patterns of psql's `\d` (psql's manual,
//! "Patterns"), as far as they have a use here. Pure.
//!
//! Letters are small unless they stand in double quotes; `*` stands for any number of letters, `?`
//! for one; a dot parts the schema from the table; in quotes all of them are themselves. Without a
//! schema, a table of any schema is meant.

/// Which tables are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    schema: Option<Vec<Part>>,
    table: Vec<Part>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Any,
    One,
    Letter(char),
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong with it, a sentence.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut names = vec![Vec::new()];
        let mut quoted = false;
        let mut letters = text.chars().peekable();
        while let Some(letter) = letters.next() {
            let part = match letter {
                '"' if quoted && letters.next_if_eq(&'"').is_some() => Part::Letter('"'),
                '"' => {
                    quoted = !quoted;
                    continue;
                }
                '.' if !quoted => {
                    names.push(Vec::new());
                    continue;
                }
                '*' if !quoted => Part::Any,
                '?' if !quoted => Part::One,
                // As the server does it with names of more than one byte a letter.
                other if !quoted => Part::Letter(other.to_ascii_lowercase()),
                other => Part::Letter(other),
            };
            if let Some(name) = names.last_mut() {
                name.push(part);
            }
        }
        if quoted {
            return Err(format!("--table {text:?}: a double quote is not closed"));
        }
        if names.iter().any(Vec::is_empty) {
            return Err(format!(
                "--table {text:?} has an empty name\nhint: write TABLE or SCHEMA.TABLE"
            ));
        }
        let mut names = names.into_iter().rev();
        let (table, schema, more) = (names.next(), names.next(), names.next());
        match (table, more) {
            (Some(table), None) => Ok(Self { schema, table }),
            _ => Err(format!(
                "--table {text:?} has more than one dot\nhint: write SCHEMA.TABLE, and a dot that \
                 belongs to a name in double quotes"
            )),
        }
    }

    /// Whether this table is meant.
    pub(super) fn matches(&self, schema: &str, table: &str) -> bool {
        let fits = |parts: &[Part], name: &str| {
            let letters: Vec<char> = name.chars().collect();
            matches(parts, &letters)
        };
        self.schema.as_ref().is_none_or(|parts| fits(parts, schema)) && fits(&self.table, table)
    }

    /// The table's name without any quotes, for finding what it is like.
    pub(super) fn plain_table(&self) -> String {
        let letters = self.table.iter().filter_map(|part| match part {
            Part::Letter(letter) => Some(*letter),
            Part::Any | Part::One => None,
        });
        letters.collect()
    }
}

/// Whether a name fits, without going back further than to the last `*`.
fn matches(parts: &[Part], name: &[char]) -> bool {
    let (mut part, mut at) = (0, 0);
    let mut last_any = None;
    while at < name.len() {
        match parts.get(part) {
            Some(Part::Any) => {
                last_any = Some((part, at));
                part += 1;
            }
            Some(Part::One) => (part, at) = (part + 1, at + 1),
            Some(Part::Letter(letter)) if *letter == name[at] => (part, at) = (part + 1, at + 1),
            _ => match last_any {
                Some((any, from)) => {
                    last_any = Some((any, from + 1));
                    (part, at) = (any + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    parts[part..].iter().all(|part| *part == Part::Any)
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn patterns_are_those_of_psql() {
        for (pattern, schema, table, expected) in [
            ("orders", "public", "orders", true),
            ("orders", "sales", "orders", true),
            ("orders", "public", "orders_old", false),
            ("Orders", "public", "orders", true),
            ("Orders", "public", "Orders", false),
            ("\"Orders\"", "public", "Orders", true),
            ("\"Orders\"", "public", "orders", false),
            ("sales.*", "sales", "x", true),
            ("sales.*", "sales2", "x", false),
            ("s*.o?ders", "sales", "orders", true),
            ("s*.o?ders", "sales", "oders", false),
            ("*a*b*", "s", "xxaxxbxx", true),
            ("*a*b", "s", "xxabxab", true),
            ("*a*b", "s", "ba", false),
            ("\"a.b\".\"c*\"", "a.b", "c*", true),
            ("\"a.b\".\"c*\"", "a.b", "cd", false),
            ("\"say \"\"hi\"\"\"", "s", "say \"hi\"", true),
            ("طلبات", "public", "طلبات", true),
            ("طلب??", "public", "طلبات", true),
            ("مبيعات.*", "مبيعات", "طلبات", true),
            ("ORDERS\"X\"", "s", "ordersX", true),
            ("$1", "s", "$1", true),
        ] {
            let parsed = Pattern::parse(pattern).unwrap();
            assert_eq!(
                parsed.matches(schema, table),
                expected,
                "{pattern} {schema} {table}"
            );
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_the_way_out() {
        for (text, word) in [
            ("", "empty name"),
            ("public.", "empty name"),
            (".t", "empty name"),
            ("\"\"", "empty name"),
            ("\"a", "not closed"),
            ("db.public.t", "more than one dot"),
        ] {
            let refused = Pattern::parse(text).unwrap_err();
            assert!(refused.contains(word), "{text}: {refused}");
        }
    }
}
