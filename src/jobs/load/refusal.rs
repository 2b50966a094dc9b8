//! What a program that loads a dump was refused, in full and without rows.

use crate::postgres::{Exit, ServerError, read_errors};

/// At most so many errors are printed in short.
const TOLD: usize = 3;

/// The code of two statements that waited for each other.
const DEADLOCK: &str = "40P01";

/// The code of a privilege that is lacking.
const PRIVILEGE: &str = "42501";

/// What the server says when a right is missing, in the words of its messages (with `lc_messages` C).
const REFUSALS: [&str; 8] = [
    "permission denied",
    "must be superuser",
    "must be owner of",
    "must be member of role",
    "must be able to SET ROLE",
    "only superuser",
    "Only roles with",
    "would be affected by row-level security policy",
];

/// How lines begin that are no part of a message before them.
const OWN_LINES: [&str; 3] = ["psql:", "pg_restore:", "server closed the connection"];

/// What begins that follows a message, with `lc_messages` C.
const LABELS: [&str; 5] = ["DETAIL:", "HINT:", "QUERY:", "CONTEXT:", "LINE "];

/// The server or the program refused something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::jobs) struct Refusal {
    /// How the program ended.
    pub(in crate::jobs) how: String,
    /// What it said, with details and context, which may show rows: for a terminal.
    pub(in crate::jobs) detail: String,
    /// The errors in it, where it is psql that has said it.
    errors: Vec<ServerError>,
}

impl Refusal {
    /// Of a program that ended so, with what it has said.
    pub(super) fn new(how: String, exit: &Exit) -> Self {
        let (detail, errors) = read_errors(exit.stderr.trim());
        Self {
            how,
            detail,
            errors,
        }
    }

    /// What records get: what failed where, and no row.
    pub(in crate::jobs) fn in_short(&self) -> String {
        if self.errors.is_empty() {
            return errors_in(&self.detail);
        }
        let sentences: Vec<String> = self
            .errors
            .iter()
            .take(TOLD)
            .map(ServerError::in_short)
            .collect();
        sentences.join("; ")
    }

    /// The first error, where it is psql that has said it.
    pub(in crate::jobs) fn error(&self) -> Option<&ServerError> {
        self.errors.first()
    }

    /// Whether it was a statement of the dump that the server refused, and not the program that failed.
    pub(in crate::jobs) fn is_of_a_statement(&self) -> bool {
        const OF_PG_RESTORE: [&str; 2] =
            ["error: could not execute query:", "error: COPY failed for "];
        let is_printed = OF_PG_RESTORE
            .iter()
            .any(|words| self.detail.contains(words));
        is_printed || !self.errors.is_empty()
    }

    /// The messages alone, without details, context and quoted values: what decides why it was refused must
    /// not find its words in rows.
    pub(in crate::jobs) fn reason(&self) -> String {
        let mut is_detail = false;
        let mut lines = Vec::new();
        for line in self.detail.lines() {
            if OWN_LINES.iter().any(|start| line.starts_with(start)) {
                is_detail = false;
            } else if LABELS.iter().any(|label| line.starts_with(label)) {
                is_detail = true;
            }
            if !is_detail {
                lines.push(without_value(line));
            }
        }
        lines.join("\n")
    }

    /// Whether the server refused for what passes, or lacks: a conflict with another session, resources, an
    /// end from outside. That says nothing about what was loaded.
    pub(in crate::jobs) fn may_pass(&self) -> bool {
        let code = self.errors.first().map(|error| error.sqlstate.as_str());
        code.is_some_and(|code| {
            code == "55P03"
                || ["40", "53", "57"]
                    .iter()
                    .any(|class| code.starts_with(class))
        })
    }

    /// Whether it was for a privilege that our user lacks: by the code where there is one, else by words
    /// of `lc_messages` C.
    pub(in crate::jobs) fn is_about_privileges(&self) -> bool {
        match self.errors.first() {
            Some(error) => error.sqlstate == PRIVILEGE,
            None => REFUSALS.iter().any(|words| self.detail.contains(words)),
        }
    }
}

/// Whether psql ended because its statement and another one waited for each other.
pub(super) fn is_deadlock(exit: &Exit) -> bool {
    let (_, errors) = read_errors(&exit.stderr);
    !exit.success()
        && errors
            .first()
            .is_some_and(|error| error.sqlstate == DEADLOCK)
}

/// The lines of a program's words that are errors, without the others next to them, which may show rows, and
/// without values that are quoted at a line's end. `pg_restore` passes on no code.
fn errors_in(detail: &str) -> String {
    let is_error = |line: &&str| {
        ["ERROR:", "FATAL:", "error:"]
            .iter()
            .any(|word| line.contains(word))
    };
    let lines: Vec<String> = detail
        .lines()
        .filter(is_error)
        .take(TOLD)
        .map(without_value)
        .collect();
    if lines.is_empty() {
        return detail
            .lines()
            .next()
            .map_or_else(|| "it printed nothing".to_owned(), without_value);
    }
    lines.join("; ")
}

/// `invalid input syntax for type integer: "…"` without what stands between the quotes.
fn without_value(line: &str) -> String {
    let quoted = [": \"", ": »", ": „", ": «"]
        .iter()
        .filter_map(|start| line.find(start))
        .min();
    match quoted {
        Some(at) => format!("{}: …", &line[..at]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Refusal, errors_in};
    use crate::postgres::read_errors;

    fn refusal(stderr: &str) -> Refusal {
        let (detail, errors) = read_errors(stderr);
        Refusal {
            how: "psql ended with status 3".to_owned(),
            detail,
            errors,
        }
    }

    #[test]
    fn a_reason_is_looked_for_in_no_row() {
        for (detail, expected) in [
            (
                "psql:<stdin>:7: ERROR:  23505: duplicate key\n\
                 DETAIL:  Key (note)=(out of memory\nNo space left on device) already exists.\n\
                 CONTEXT:  COPY t, line 1\n\
                 psql:<stdin>:8: error: connection to server was lost",
                "psql:<stdin>:7: ERROR:  duplicate key\n\
                 psql:<stdin>:8: error: connection to server was lost",
            ),
            (
                "pg_restore: error: COPY failed for table \"t\": ERROR:  invalid input syntax for type \
                 integer: \"out of memory\"\nCONTEXT:  COPY t, line 1, column i: \"out of memory\"",
                "pg_restore: error: COPY failed for table \"t\": ERROR:  invalid input syntax for type \
                 integer: …",
            ),
            (
                "FATAL:  terminating connection\nserver closed the connection unexpectedly",
                "FATAL:  terminating connection\nserver closed the connection unexpectedly",
            ),
        ] {
            assert_eq!(refusal(detail).reason(), expected);
        }
    }

    #[test]
    fn what_passes_is_known_by_its_code() {
        for (code, expected) in [
            ("40P01", true),
            ("53300", true),
            ("57014", true),
            ("55P03", true),
            ("23505", false),
            ("42P01", false),
        ] {
            let stderr = format!("psql:<stdin>:7: FEHLER:  {code}: warum");
            assert_eq!(refusal(&stderr).may_pass(), expected, "{code}");
        }
        assert!(!refusal("pg_restore: error: ERROR:  why").may_pass());
    }

    #[test]
    fn a_lacking_privilege_is_known_by_its_code_in_every_language() {
        for (stderr, expected) in [
            (
                "psql:<stdin>:7: FEHLER:  42501: keine Berechtigung für Schema s",
                true,
            ),
            (
                "psql:<stdin>:7: ERROR:  42601: syntax error at or near \"must be \"",
                false,
            ),
            (
                "pg_restore: error: could not execute query: ERROR:  must be owner of table t",
                true,
            ),
            (
                "pg_restore: error: could not execute query: ERROR:  syntax error",
                false,
            ),
        ] {
            assert_eq!(refusal(stderr).is_about_privileges(), expected, "{stderr}");
        }
    }

    #[test]
    fn of_what_a_program_said_only_errors_are_reported_and_no_values() {
        for (detail, sentences) in [
            (
                "pg_restore: error: COPY failed for table \"t\": ERROR:  duplicate key\n\
                 DETAIL:  Key (card)=(4711) exists.\nCONTEXT:  COPY cards, line 2",
                "pg_restore: error: COPY failed for table \"t\": ERROR:  duplicate key",
            ),
            (
                "pg_restore: error: COPY failed for table \"t\": FEHLER:  ungültige Eingabesyntax für Typ \
                 integer: »4711«",
                "pg_restore: error: COPY failed for table \"t\": FEHLER:  ungültige Eingabesyntax für Typ \
                 integer: …",
            ),
            (
                "ERROR:  invalid input syntax for type integer: \"4711\"",
                "ERROR:  invalid input syntax for type integer: …",
            ),
            (
                "ERROR:  relation \"x\" does not exist",
                "ERROR:  relation \"x\" does not exist",
            ),
            ("", "it printed nothing"),
        ] {
            assert_eq!(errors_in(detail), sentences);
        }
    }
}
