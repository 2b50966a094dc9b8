//! The databases in a text that makes its databases itself, as `pg_dump --create` and `pg_dumpall` write
//! it: where each begins and ends, and which statements are about a database and not about what is in it.
//! Pure.

use memchr::memmem;

use crate::pipeline::allow::tokens::{Token, Tokens};
use crate::pipeline::census::ObjectId;
use crate::pipeline::sql::identifier;

/// Where in such a text a piece stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sections {
    /// The database whose content comes, if one's does.
    current: Option<Vec<u8>>,
    /// Whether the text says that it is of a cluster.
    is_cluster: bool,
    /// Whether the last line of the cluster has come.
    is_complete: bool,
    /// Whether what the cluster's databases share is over.
    is_past_globals: bool,
}

/// What a line between statements means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Another database begins, or the same one again.
    Connect,
    /// The content of the database is complete.
    Completed(Vec<u8>),
    /// The next statements belong to this object.
    Object(ObjectId),
    /// Nothing that matters here.
    Other,
}

impl Sections {
    /// The database whose content comes.
    pub(super) fn current(&self) -> Option<&[u8]> {
        self.current.as_deref()
    }

    /// Whether the text says that it is of a cluster.
    pub(super) fn is_cluster(&self) -> bool {
        self.is_cluster
    }

    /// Whether the last line of the cluster has come.
    pub(super) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Whether what comes is what the databases of a cluster share.
    pub(super) fn is_in_globals(&self) -> bool {
        self.is_cluster && !self.is_past_globals
    }

    /// Takes a comment, or a command of psql's.
    pub(super) fn line(&mut self, line: &[u8]) -> Line {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        if let Some(name) = connected_to(line) {
            self.current = Some(name);
            self.is_past_globals = true;
            return Line::Connect;
        }
        self.is_past_globals |= [
            b"-- Databases".as_slice(),
            b"-- Database \"",
            b"-- PostgreSQL database dump",
        ]
        .iter()
        .any(|head| line.starts_with(head));
        if line.starts_with(b"-- PostgreSQL database cluster dump") {
            self.is_cluster = true;
            self.is_complete |= line.ends_with(b" complete");
        } else if line.starts_with(b"-- PostgreSQL database dump complete") {
            return self.current.take().map_or(Line::Other, Line::Completed);
        }
        ObjectId::from_comment(line).map_or(Line::Other, Line::Object)
    }
}

/// The database that a `\connect` names, as `pg_dump` and `pg_dumpall` write it
/// (`appendPsqlMetaConnect` in `string_utils.c`).
fn connected_to(line: &[u8]) -> Option<Vec<u8>> {
    let rest = line.strip_prefix(b"\\connect ")?.trim_ascii();
    let Some(string) = rest.strip_prefix(b"-reuse-previous=on ") else {
        let (name, end) = identifier(rest, 0)?;
        return (end == rest.len()).then_some(name);
    };
    let (string, end) = identifier(string, 0).filter(|(_, end)| *end == string.len())?;
    let value = string[..end.min(string.len())].strip_prefix(b"dbname=")?;
    let Some(quoted) = value
        .strip_prefix(b"'")
        .and_then(|it| it.strip_suffix(b"'"))
    else {
        return Some(value.to_vec());
    };
    let mut name = Vec::with_capacity(quoted.len());
    let mut bytes = quoted.iter();
    while let Some(byte) = bytes.next() {
        name.push(if *byte == b'\\' {
            *bytes.next()?
        } else {
            *byte
        });
    }
    Some(name)
}

/// The database that a statement is about: that it makes, drops, changes, gives something to, or says
/// something of.
pub(super) fn about(text: &[u8]) -> Option<Vec<u8>> {
    // Most statements need no second look.
    let head = &text[..text.len().min(4096)];
    memmem::find(head, b" DATABASE ")?;
    let mut tokens = Tokens::of(text, false);
    let verb = tokens.next()?;
    if verb.is("alter") && tokens.accept("role") {
        return (tokens.next().is_some_and(Token::is_name) && tokens.accept_all("in database"))
            .then(|| tokens.next().and_then(name_of))?;
    }
    if verb.is("comment") || verb.is("security") || verb.is("grant") || verb.is("revoke") {
        // Privileges and a provider come first.
        while !tokens.next()?.is("on") {}
    } else if !(verb.is("create") || verb.is("drop") || verb.is("alter")) {
        return None;
    }
    if !tokens.accept("database") {
        return None;
    }
    tokens.accept_all("if exists");
    tokens.next().and_then(name_of)
}

/// A name without its quotes.
pub(super) fn name_of(token: Token<'_>) -> Option<Vec<u8>> {
    match token {
        Token::Word(word) => Some(word.to_ascii_lowercase()),
        Token::Quoted(quoted) => identifier(quoted, 0).map(|(name, _)| name),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_begins_where_it_is_connected_to() {
        for (line, expected) in [
            ("\\connect app", Some("app")),
            ("\\connect \"We ird\"", Some("We ird")),
            (
                "\\connect -reuse-previous=on \"dbname='we ird'\"",
                Some("we ird"),
            ),
            (
                "\\connect -reuse-previous=on \"dbname='a\\'b\\\\\"\"c'\"",
                Some("a'b\\\"c"),
            ),
            ("\\connect -reuse-previous=on dbname=app", Some("app")),
            ("\\connect -reuse-previous=on \"dbname=app\"", Some("app")),
            ("\\connect -reuse-previous=on \"host=x dbname=app\"", None),
            ("\\connect app user", None),
            ("\\connect ", None),
            ("\\c app", None),
            ("-- \\connect app", None),
        ] {
            let found = connected_to(line.as_bytes());
            assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{line}");
        }
    }

    #[test]
    fn a_statement_about_a_database_names_it() {
        for (text, expected) in [
            (
                "CREATE DATABASE app WITH TEMPLATE = template0;",
                Some("app"),
            ),
            ("DROP DATABASE IF EXISTS \"A b\";", Some("A b")),
            ("ALTER DATABASE app SET search_path TO 'x';", Some("app")),
            (
                "ALTER ROLE r IN DATABASE app SET work_mem TO '1MB';",
                Some("app"),
            ),
            ("COMMENT ON DATABASE app IS 'x';", Some("app")),
            ("GRANT ALL ON DATABASE app TO r;", Some("app")),
            (
                "REVOKE CONNECT,TEMPORARY ON DATABASE app FROM PUBLIC;",
                Some("app"),
            ),
            (
                "SECURITY LABEL FOR selinux ON DATABASE app IS 'x';",
                Some("app"),
            ),
            ("COMMENT ON TABLE t IS ' DATABASE app ';", None),
            ("CREATE TABLE t (a text DEFAULT ' DATABASE app ');", None),
            ("ALTER ROLE r SET work_mem TO ' DATABASE ';", None),
            ("GRANT r TO s;", None),
        ] {
            let found = about(text.as_bytes());
            assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{text}");
        }
    }
}
