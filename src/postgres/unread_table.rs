//! A table whose rows the server does not give: which one made `pg_dump` fail, what is wrong with it, and
//! how a dump goes without its rows.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt as _;

use super::client::Client;
use super::extract::raw;
use super::query_error::QueryError;
use super::quote::identifier;
use super::system_catalog_text::{as_bytes, required, value};

/// What stands before a table in the statements that `pg_dump` repeats when they have failed, in all
/// versions: its rows, its rows by a condition, and a sequence's value (`dumpTableData_copy` and
/// `dumpSequenceData` in `pg_dump.c`).
const STATEMENTS: [&str; 2] = ["was: COPY ", "was: SELECT last_value, is_called FROM "];

/// What stands before the server's own words.
const MESSAGES: [&str; 2] = ["from server: ", "query failed: "];

/// The table that `pg_dump` was reading when it failed, by its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedTable {
    schema: String,
    name: String,
    /// What the server said, without its details: they may show rows.
    message: Option<String>,
}

impl FailedTable {
    /// What the server said.
    pub fn message(&self) -> Option<&str> {
        self.message.as_deref()
    }
}

impl fmt::Display for FailedTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", readable(&self.schema), readable(&self.name))
    }
}

/// A name for people, in quotes where SQL wants them.
fn readable(name: &str) -> String {
    let mut bytes = name.bytes();
    let is_plain = bytes
        .next()
        .is_some_and(|first| first.is_ascii_lowercase() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    if is_plain {
        name.to_owned()
    } else {
        identifier(name)
    }
}

/// Reads in `pg_dump`'s stderr at which table or sequence it failed; none if at something else. Pure.
pub fn failed_table(stderr: &str) -> Option<FailedTable> {
    let statement = STATEMENTS.iter().find_map(|head| {
        let at = stderr.find(head)?;
        Some(&stderr[at + head.len()..])
    })?;
    let table = match statement.strip_prefix("(SELECT ") {
        Some(columns) => after_columns(columns)?,
        None => statement,
    };
    let (schema, rest) = name(table)?;
    let (name, _) = name(rest.strip_prefix('.')?)?;
    let message = stderr.lines().find_map(|line| {
        let at = MESSAGES
            .iter()
            .find_map(|head| Some(line.find(head)? + head.len()))?;
        Some(line[at..].trim().to_owned())
    });
    Some(FailedTable {
        schema,
        name,
        message,
    })
}

/// What follows `a, "b", c FROM `.
fn after_columns(mut text: &str) -> Option<&str> {
    loop {
        text = name(text)?.1;
        match text.strip_prefix(", ") {
            Some(rest) => text = rest,
            None => return text.strip_prefix(" FROM "),
        }
    }
}

/// The name at the beginning of a text, without its quotes, and what follows it.
fn name(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let is_of_it = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$' | '\u{fffd}');
        let end = text.find(|c| !is_of_it(c)).unwrap_or(text.len());
        return (end > 0).then(|| (text[..end].to_owned(), &text[end..]));
    };
    let mut name = String::new();
    let mut rest = quoted;
    loop {
        let (part, after) = rest.split_once('"')?;
        name.push_str(part);
        match after.strip_prefix('"') {
            Some(further) => {
                name.push('"');
                rest = further;
            }
            None => return Some((name, after)),
        }
    }
}

/// A table or sequence of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundTable {
    /// As people read it.
    pub shown: String,
    /// As our own session writes it.
    sql: String,
    /// Its schema and name in the encoding of the database, which is that of the dump.
    raw: (Vec<u8>, Vec<u8>),
    is_sequence: bool,
}

impl FoundTable {
    /// The argument by which `pg_dump` leaves out its rows, and nobody else's. In double quotes, every
    /// character of a pattern means itself (the manual's "Patterns" of psql).
    pub fn without_its_rows(&self) -> OsString {
        let (schema, name) = &self.raw;
        let mut argument = b"--exclude-table-data=".to_vec();
        quote_into(&mut argument, schema);
        argument.push(b'.');
        quote_into(&mut argument, name);
        OsString::from_vec(argument)
    }
}

fn quote_into(text: &mut Vec<u8>, name: &[u8]) {
    text.push(b'"');
    for &byte in name {
        if byte == b'"' {
            text.push(b'"');
        }
        text.push(byte);
    }
    text.push(b'"');
}

/// Looks for the table that is meant; none if there is none of that name, or if several names look like
/// it, which bytes that are no UTF-8 can do.
///
/// # Errors
/// The server does not answer, or refuses.
pub async fn find_table(
    client: &Client,
    table: &FailedTable,
) -> Result<Option<FoundTable>, QueryError> {
    const WHAT: &str = "look for a table";
    // Names that arrive as they are can be compared there; of others, only the length is known.
    let sql = format!(
        "SELECT {}, {}, {schema}, {name}, c.relkind = 'S' FROM pg_catalog.pg_class c \
           JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
          WHERE c.relkind IN ('r', 'p', 'f', 'm', 'S') AND {}",
        raw("n.nspname"),
        raw("c.relname"),
        only(table),
        schema = as_bytes(client, "n.nspname"),
        name = as_bytes(client, "c.relname"),
    );
    let mut found = Vec::new();
    for row in &client.query(WHAT, &sql, &[]).await? {
        let raw: (Vec<u8>, Vec<u8>) = (value(client, WHAT, row, 0)?, value(client, WHAT, row, 1)?);
        let (schema, name) = (
            required(client, WHAT, row, 2)?,
            required(client, WHAT, row, 3)?,
        );
        let looks_like = |bytes: &[u8], text: &str, wanted: &str| {
            text == wanted || String::from_utf8_lossy(bytes) == wanted
        };
        if looks_like(&raw.0, &schema, &table.schema) && looks_like(&raw.1, &name, &table.name) {
            found.push(FoundTable {
                shown: format!("{}.{}", readable(&schema), readable(&name)),
                sql: format!("{}.{}", identifier(&schema), identifier(&name)),
                raw,
                is_sequence: value(client, WHAT, row, 4)?,
            });
        }
    }
    Ok(if found.len() == 1 { found.pop() } else { None })
}

/// A condition that holds for the table, and for few others.
fn only(table: &FailedTable) -> String {
    use super::quote::literal;
    let is = |column: &str, name: &str| {
        if name.is_ascii() {
            format!("{column} = {}", literal(name))
        } else {
            format!(r"{column}::text ~ E'[^\\x01-\\x7f]'")
        }
    };
    format!(
        "{} AND {}",
        is("n.nspname", &table.schema),
        is("c.relname", &table.name)
    )
}

/// How reading a table to its end has ended.
#[derive(Debug)]
pub struct TableRead {
    /// So many rows came.
    pub rows: u64,
    /// Why not all; none if all did.
    pub refused: Option<QueryError>,
}

/// Reads all rows of a table, as `pg_dump` does, and counts them.
pub async fn read_table(client: &Client, table: &FoundTable) -> TableRead {
    let mut rows = 0;
    let refused = count_rows(client, table, &mut rows).await.err();
    TableRead { rows, refused }
}

async fn count_rows(client: &Client, table: &FoundTable, rows: &mut u64) -> Result<(), QueryError> {
    let sql = if table.is_sequence {
        format!(
            "COPY (SELECT last_value, is_called FROM {}) TO STDOUT",
            table.sql
        )
    } else {
        format!("COPY {} TO STDOUT", table.sql)
    };
    let mut copy = client.copy_out(&sql).await?;
    while let Some(bytes) = copy.next().await? {
        // A line break in a value is written as \n.
        *rows += memchr::memchr_iter(b'\n', bytes.as_ref()).count() as u64;
    }
    Ok(())
}

/// Whether an error says that the rows themselves cannot be read: they are damaged, too long, or need
/// something that is not there. Trying again does not help, nor does another privilege. (The manual's
/// appendix "PostgreSQL Error Codes".) Pure.
pub fn is_of_the_rows(sqlstate: &str) -> bool {
    let class = sqlstate.get(..2).unwrap_or_default();
    match class {
        // Connections, transactions, privileges and names, operators and configuration.
        "08" | "25" | "28" | "3D" | "40" | "42" | "55" | "57" | "72" | "F0" => {
            // An undefined function or file of a type is the rows' own.
            sqlstate == "42883"
        }
        // Of resources, memory alone is the value's.
        "53" => sqlstate == "53200",
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read_in_what_pg_dump_repeats() {
        for (statement, expected) in [
            (
                "Command was: COPY public.doc (b) TO stdout;",
                Some(("public", "doc")),
            ),
            // Version 14.
            (
                "The command was: COPY public.doc (b) TO stdout;",
                Some(("public", "doc")),
            ),
            (
                "Query was: COPY public.doc  TO stdout;",
                Some(("public", "doc")),
            ),
            (
                "Command was: COPY \"A.b\".\"it's \"\"x\"\" *?$\" (\"(\") TO stdout;",
                Some(("A.b", "it's \"x\" *?$")),
            ),
            (
                "Command was: COPY (SELECT a, \"b FROM c.d\" FROM s.t WHERE x) TO stdout;",
                Some(("s", "t")),
            ),
            (
                "Query was: SELECT last_value, is_called FROM public.s",
                Some(("public", "s")),
            ),
            ("Query was: LOCK TABLE public.t IN ACCESS SHARE MODE", None),
            ("Command was: COPY public", None),
            ("Command was: COPY public.\"never ends", None),
            ("", None),
        ] {
            let stderr = format!(
                "pg_dump: error: x\npg_dump: detail: Error message from server: ERROR:  bad page\n\
                 DETAIL:  secret\npg_dump: detail: {statement}"
            );
            let found = failed_table(&stderr);
            let message = found.as_ref().and_then(FailedTable::message);
            assert!(found.is_none() || message == Some("ERROR:  bad page"));
            let found = found
                .as_ref()
                .map(|it| (it.schema.as_str(), it.name.as_str()));
            assert_eq!(found, expected, "{statement}");
        }
    }

    #[test]
    fn any_name_is_one_pattern() {
        let table = |schema: &str, name: &[u8]| FoundTable {
            shown: String::new(),
            sql: String::new(),
            raw: (schema.into(), name.into()),
            is_sequence: false,
        };
        for (schema, name, expected) in [
            ("public", "t", r#""public"."t""#),
            ("A b", "x.y*?$", r#""A b"."x.y*?$""#),
            ("s", r#"it's "q""#, r#""s"."it's ""q""""#),
        ] {
            let argument = table(schema, name.as_bytes()).without_its_rows();
            let expected = format!("--exclude-table-data={expected}");
            assert_eq!(argument, OsString::from(expected));
        }
        let latin = table("s", b"caf\xe9").without_its_rows().into_vec();
        assert!(latin.ends_with(b".\"caf\xe9\""));
        let shown = FailedTable {
            schema: "public".to_owned(),
            name: "Big".to_owned(),
            message: None,
        };
        assert_eq!(shown.to_string(), "public.\"Big\"");
    }

    #[test]
    fn only_what_is_wrong_with_the_rows_leaves_them_out() {
        for (sqlstate, expected) in [
            ("XX000", true),
            ("XX001", true),
            ("54000", true),
            ("58P01", true),
            ("58030", true),
            ("53200", true),
            ("22P05", true),
            ("42883", true),
            ("53300", false),
            ("53100", false),
            ("42501", false),
            ("42P01", false),
            ("57014", false),
            ("57P01", false),
            ("40001", false),
            ("40P01", false),
            ("55P03", false),
            ("08006", false),
            ("25006", false),
        ] {
            assert_eq!(is_of_the_rows(sqlstate), expected, "{sqlstate}");
        }
    }
}
