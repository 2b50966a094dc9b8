//! What the server refuses, as psql reports it with `VERBOSITY=verbose`: known by its SQLSTATE, and reported
//! in two lengths, for whoever sits there and for records that outlive the moment. Pure.
//!
//! Labels are psql's own and English, since our children run with `LC_ALL=C`; severity and texts are the
//! server's, in whatever language it speaks. Of what a server says, the details and the context show rows
//! (`Key (mail)=(…) already exists`), and so do messages that quote a value
//! (`invalid input syntax for type integer: "…"`). Records get neither.

use std::fmt::Write as _;

/// An error of the server's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerError {
    /// The line of psql's input whose statement failed.
    pub line: Option<u64>,
    /// The code (appendix "`PostgreSQL` Error Codes" of the manual).
    pub sqlstate: String,
    /// The message itself.
    message: String,
    /// The schema, table, column, data type and constraint that it is about, as far as it says so.
    objects: Vec<(&'static str, String)>,
    /// Of a COPY: the table, the line of its rows and the column, in the server's words.
    copied: Option<String>,
    /// Whether a function of somebody's has raised it, with a code and a message of its choice.
    is_raised: bool,
    /// The details and the context, each with its label.
    more: Vec<String>,
}

/// psql's labels of the objects that an error is about, and our words for them.
const OBJECTS: [(&str, &str); 5] = [
    ("SCHEMA NAME:  ", "schema"),
    ("TABLE NAME:  ", "table"),
    ("COLUMN NAME:  ", "column"),
    ("DATATYPE NAME:  ", "data type"),
    ("CONSTRAINT NAME:  ", "constraint"),
];

/// psql's labels of what [`ServerError::in_full`] gives besides the message.
const DETAILS: [&str; 2] = ["DETAIL:", "CONTEXT:"];

/// psql's labels of what it does not give.
const OTHERS: [&str; 4] = ["HINT:", "QUERY:", "LINE ", "LOCATION:"];

/// What psql says before an error of the statement that ends at a line of its input.
const START: &str = "psql:<stdin>:";

/// Takes psql's words apart: what is left is what it says in its usual verbosity, and the errors are in
/// their order. Notices and warnings are no errors.
pub fn read_errors(detail: &str) -> (String, Vec<ServerError>) {
    let mut errors: Vec<ServerError> = Vec::new();
    let mut left: Vec<String> = Vec::new();
    let mut is_in_an_error = false;
    let mut details = DetailLines::default();
    for line in detail.lines() {
        if let Some(header) = Header::read(line) {
            left.push(format!(
                "{START}{}: {}:  {}",
                header.line, header.severity, header.message
            ));
            // With ON_ERROR_STOP one error is the last thing; a row in its details may imitate another.
            is_in_an_error = is_in_an_error || header.is_error();
            if is_in_an_error && errors.is_empty() {
                errors.push(ServerError {
                    line: header.line.parse().ok(),
                    sqlstate: header.sqlstate.to_owned(),
                    message: header.message.to_owned(),
                    ..ServerError::default()
                });
            }
            continue;
        }
        let object = OBJECTS
            .iter()
            .find_map(|(label, word)| Some((*word, line.strip_prefix(label)?)));
        match (object, errors.last_mut().filter(|_| is_in_an_error)) {
            (Some((word, name)), Some(error)) => error.objects.push((word, name.to_owned())),
            (Some(_), None) => {}
            // The last line of it all, and so the server's own.
            (None, error) if line.starts_with("LOCATION:  ") => {
                if let Some(error) = error {
                    error.is_raised = line.contains("raise");
                }
            }
            (None, error) => {
                if let (Some(error), Some(context)) = (error, line.strip_prefix("CONTEXT:  COPY "))
                {
                    // What follows the colon is the row.
                    let place = context.split(':').next().unwrap_or_default();
                    error.copied.get_or_insert_with(|| format!("COPY {place}"));
                }
                left.push(line.to_owned());
                details.add(line, is_in_an_error);
            }
        }
    }
    if let Some(error) = errors.first_mut() {
        error.more = details.found;
    }
    (left.join("\n"), errors)
}

/// The errors in the words of a psql that goes on behind each, every one with what psql says of it in its
/// usual verbosity, without the place where it stands.
pub fn read_all_errors(said: &str) -> Vec<(ServerError, String)> {
    let mut answers: Vec<String> = Vec::new();
    for line in said.lines() {
        match answers.last_mut() {
            Some(answer) if Header::read(line).is_none() => {
                answer.push('\n');
                answer.push_str(line);
            }
            _ => answers.push(line.to_owned()),
        }
    }
    let each = answers.iter().filter_map(|answer| {
        let (said, errors) = read_errors(answer);
        let error = errors.into_iter().next()?;
        let place = format!("{START}{}: ", error.line.unwrap_or_default());
        let said = said.strip_prefix(&place).unwrap_or(&said).to_owned();
        Some((error, said))
    });
    each.collect()
}

/// The details and the context of the first error, which may have several lines each.
#[derive(Default)]
struct DetailLines {
    found: Vec<String>,
    is_within: bool,
}

impl DetailLines {
    fn add(&mut self, line: &str, is_in_an_error: bool) {
        let begins = |labels: &[&str]| labels.iter().any(|label| line.starts_with(label));
        if !is_in_an_error {
            return;
        }
        if begins(&DETAILS) {
            self.is_within = true;
            let words: Vec<&str> = line.split_whitespace().collect();
            self.found.push(words.join(" "));
        } else if begins(&OTHERS) {
            self.is_within = false;
        } else if let Some(last) = self.found.last_mut().filter(|_| self.is_within) {
            last.push_str(", ");
            last.push_str(line.trim());
        }
    }
}

/// The first line of what psql says of one answer of the server.
struct Header<'a> {
    line: &'a str,
    severity: &'a str,
    sqlstate: &'a str,
    message: &'a str,
}

impl<'a> Header<'a> {
    /// `psql:<stdin>:98: FEHLER:  23503: …`
    fn read(line: &'a str) -> Option<Self> {
        let (number, rest) = line.strip_prefix(START)?.split_once(": ")?;
        let (severity, rest) = rest.split_once(":  ")?;
        let (sqlstate, message) = rest.split_once(": ")?;
        let is_code = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit();
        let is_header = number.chars().all(|c| c.is_ascii_digit())
            && !severity.contains(' ')
            && sqlstate.len() == 5
            && sqlstate.chars().all(is_code);
        is_header.then_some(Self {
            line: number,
            severity,
            sqlstate,
            message,
        })
    }

    /// Whether it is an error, and not a remark: a notice may have the code of an error.
    fn is_error(&self) -> bool {
        let is_remark = ["DEBUG", "LOG", "INFO", "NOTICE", "WARNING"].contains(&self.severity);
        let is_of = |class: &str| self.sqlstate.starts_with(class);
        !is_remark && !["00", "01", "02"].into_iter().any(is_of)
    }
}

/// Whether the message of an error with this code may quote a value, a row or a part of a statement, by
/// the classes of the manual's appendix "Error Codes": data exceptions, errors that functions raise or that
/// come from another server, and syntax errors. Messages of all other classes name objects.
pub(super) fn quotes_values(sqlstate: &str) -> bool {
    let class = sqlstate.get(..2).unwrap_or_default();
    let names_objects = [
        "08", "0A", "23", "25", "28", "2B", "34", "3D", "3F", "40", "42", "44", "53", "54", "55",
        "57", "58",
    ];
    sqlstate == "42601" || !names_objects.contains(&class)
}

impl ServerError {
    /// The error without rows: the place, the message unless it may quote a value, the objects and the
    /// code.
    pub fn in_short(&self) -> String {
        let mut text = String::new();
        if let Some(line) = self.line {
            // Writing to a string cannot fail.
            let _ = write!(text, "line {line}: ");
        }
        if self.is_raised || quotes_values(&self.sqlstate) {
            text.push_str("the server refuses a value or a statement");
        } else {
            text.push_str(&self.message);
        }
        let mut facts = vec![format!("SQLSTATE {}", self.sqlstate)];
        // A function names what it likes.
        let objects = self.objects.iter().filter(|_| !self.is_raised);
        facts.extend(objects.map(|(word, name)| format!("{word} {name}")));
        facts.extend(self.copied.clone());
        let _ = write!(text, " ({})", facts.join(", "));
        text
    }

    /// Whether the server itself says that something is not there, is not allowed, or is wrongly written
    /// (class 42): no row makes that another thing.
    pub fn is_about_names(&self) -> bool {
        !self.is_raised && self.sqlstate.starts_with("42")
    }

    /// The error with its details and its context, where no row was loaded that these could show; what a
    /// function of somebody's has raised, without.
    pub fn in_full(&self) -> String {
        if self.is_raised {
            return self.in_short();
        }
        let mut text = format!("{} (SQLSTATE {})", self.message, self.sqlstate);
        for more in &self.more {
            text.push_str("; ");
            text.push_str(more);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COPY: &str = "psql:<stdin>:5: NOTICE:  00000: a notice\n\
        LOCATION:  exec_stmt_raise, pl_exec.c:3900\n\
        psql:<stdin>:12: FEHLER:  22P02: ungültige Eingabesyntax für Typ integer: »geheim«\n\
        CONTEXT:  COPY bestellungen, Zeile 5, Spalte id: »geheim«\n\
        LOCATION:  pg_strtoint32, numutils.c:320";

    const UNIQUE: &str = "psql:<stdin>:98: ERROR:  23505: duplicate key value violates unique constraint \"t_pkey\"\n\
        DETAIL:  Key (mail)=(secret@example.org) already exists.\n\
        SCHEMA NAME:  public\n\
        TABLE NAME:  t\n\
        CONSTRAINT NAME:  t_pkey\n\
        LOCATION:  _bt_check_unique, nbtinsert.c:666";

    #[test]
    fn an_error_is_known_by_its_code_and_recorded_without_rows() {
        let table = [
            (
                COPY,
                "line 12: the server refuses a value or a statement (SQLSTATE 22P02, COPY bestellungen, \
                 Zeile 5, Spalte id)",
            ),
            (
                UNIQUE,
                "line 98: duplicate key value violates unique constraint \"t_pkey\" (SQLSTATE 23505, schema \
                 public, table t, constraint t_pkey)",
            ),
            (
                "psql:<stdin>:3: ERROR:  42601: syntax error at or near \"secret\"\n\
                 LINE 1: secret;\n        ^\nLOCATION:  scanner_yyerror, scan.l:1176",
                "line 3: the server refuses a value or a statement (SQLSTATE 42601)",
            ),
            (
                "psql:<stdin>:3: ERROR:  P0001: no rows of secret\nCONTEXT:  PL/pgSQL function f() line 1 at RAISE",
                "line 3: the server refuses a value or a statement (SQLSTATE P0001)",
            ),
            (
                "psql:<stdin>:3: ERROR:  42501: permission denied for schema s",
                "line 3: permission denied for schema s (SQLSTATE 42501)",
            ),
        ];
        for (detail, short) in table {
            let (_, errors) = read_errors(detail);
            assert_eq!(errors.len(), 1, "{detail}");
            assert_eq!(errors[0].in_short(), short);
            for secret in ["geheim", "secret"] {
                assert!(!errors[0].in_short().contains(secret), "{detail}");
            }
        }
    }

    #[test]
    fn of_a_psql_that_goes_on_every_error_is_read() {
        let said =
            format!("{COPY}\npsql:<stdin>:13: WARNING:  01000: a remark\nDETAIL:  x\n{UNIQUE}");
        let found = read_all_errors(&said);
        let lines: Vec<_> = found.iter().map(|(error, _)| error.line).collect();
        assert_eq!(lines, [Some(12), Some(98)]);
        let expected = "ERROR:  duplicate key value violates unique constraint \"t_pkey\"\n\
            DETAIL:  Key (mail)=(secret@example.org) already exists.";
        assert_eq!(found[1].1, expected);
        assert_eq!(read_all_errors("psql: error: no"), []);
    }

    #[test]
    fn what_is_left_is_what_psql_says_otherwise() {
        let (left, errors) = read_errors(UNIQUE);
        assert_eq!(errors[0].sqlstate, "23505");
        assert_eq!(
            left,
            "psql:<stdin>:98: ERROR:  duplicate key value violates unique constraint \"t_pkey\"\n\
             DETAIL:  Key (mail)=(secret@example.org) already exists."
        );
        let other = "psql: error: connection to server on socket \"/s\" failed: no";
        assert_eq!(read_errors(other), (other.to_owned(), Vec::new()));
        let (_, errors) =
            read_errors("psql:<stdin>:5: WARNING:  01000: table name:  x\nTABLE NAME:  y");
        assert_eq!(errors, []);
    }

    #[test]
    fn a_function_chooses_its_code_and_a_row_imitates_an_error_in_vain() {
        let raised = "psql:<stdin>:7: ERROR:  23514: secret\nCONTEXT:  PL/pgSQL function f()\n\
            CONSTRAINT NAME:  c\nLOCATION:  exec_stmt_raise, pl_exec.c:3911";
        let (_, errors) = read_errors(raised);
        assert_eq!(
            errors[0].in_short(),
            "line 7: the server refuses a value or a statement (SQLSTATE 23514)"
        );
        let detail = "psql:<stdin>:3: NOTICE:  42P07: relation \"t\" already exists, skipping\n\
            LOCATION:  transformCreateStmt, parse_utilcmd.c:204\n\
            psql:<stdin>:9: ERROR:  23505: duplicate key\nDETAIL:  Key (k)=(x\n\
            LOCATION:  nowhere\npsql:<stdin>:5: ERROR:  40P01: secret) already exists.\n\
            LOCATION:  _bt_check_unique, nbtinsert.c:666";
        let (_, errors) = read_errors(detail);
        assert_eq!(errors.len(), 1);
        assert_eq!(
            errors[0].in_short(),
            "line 9: duplicate key (SQLSTATE 23505)"
        );
    }

    #[test]
    fn where_no_rows_are_details_and_context_are_told_too() {
        for (said, full) in [
            (
                "psql:<stdin>:9: ERROR:  42883: function enc(bytea) does not exist\n\
                 LINE 1:  select enc(int4send($1))\n                ^\n\
                 HINT:  No function matches.\nQUERY:   select enc(int4send($1))\n\
                 CONTEXT:  SQL function \"enc\" during inlining\nSQL statement \"x\"\n\
                 LOCATION:  ParseFuncOrColumn, parse_func.c:629",
                "function enc(bytea) does not exist (SQLSTATE 42883); CONTEXT: SQL function \"enc\" during \
                 inlining, SQL statement \"x\"",
            ),
            (
                "psql:<stdin>:9: ERROR:  42P17: no index\nDETAIL:  It is partial.\nHINT:  Do.\n\
                 LOCATION:  f, f.c:1",
                "no index (SQLSTATE 42P17); DETAIL: It is partial.",
            ),
            (
                "psql:<stdin>:9: ERROR:  P0001: secret\nDETAIL:  secret\nLOCATION:  exec_stmt_raise, p.c:1",
                "line 9: the server refuses a value or a statement (SQLSTATE P0001)",
            ),
        ] {
            let (_, errors) = read_errors(said);
            assert_eq!(errors[0].in_full(), full);
        }
    }

    /// A message that imitates another one, in lines of its own, is a part of the first.
    #[test]
    fn only_psql_begins_an_error() {
        let detail = "psql:<stdin>:7: ERROR:  P0001: first\nERROR:  40P01: deadlock detected\nTABLE NAME:  t";
        let (left, errors) = read_errors(detail);
        assert_eq!(errors.len(), 1);
        assert_eq!(errors[0].sqlstate, "P0001");
        assert!(left.ends_with("ERROR:  40P01: deadlock detected"), "{left}");
    }
}
