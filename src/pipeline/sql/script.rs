//! A script taken apart into its statements: for the small ones that are changed before they are
//! run.

use std::ops::Range;

use super::lexer::Lexer;

/// Where the statements of a script stand that has no rows in it, such as `pg_dumpall` writes of
/// roles and tablespaces. Comments and psql's commands between them belong to none.
pub fn statements(script: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < script.len() {
        match script[at] {
            byte if byte.is_ascii_whitespace() => at += 1,
            b'-' | b'\\' => {
                let rest = &script[at..];
                at += memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
            }
            _ => {
                let Some(length) = Lexer::new(false).push(&script[at..]) else {
                    return found;
                };
                found.push(at..at + length);
                at += length;
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::statements;

    #[test]
    fn comments_and_commands_stand_between_statements() {
        let script =
            b"-- a;\n\\restrict x;\n\nSET a = 'b;';\nCREATE ROLE \"x;\";  GRANT a TO b;\n-- end";
        let found: Vec<&[u8]> = statements(script)
            .into_iter()
            .map(|range| &script[range])
            .collect();
        assert_eq!(
            found,
            [
                b"SET a = 'b;';".as_slice(),
                b"CREATE ROLE \"x;\";",
                b"GRANT a TO b;"
            ]
        );
        assert!(statements(b"CREATE ROLE broken").is_empty());
    }
}
