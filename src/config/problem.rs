//! What is wrong with the configuration, and where: one value for each problem, shown as a compiler
//! shows its errors.

use std::fmt;
use std::path::{Path, PathBuf};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use crate::display::one_line;
use crate::mask::mask;

/// Everything that is wrong with a configuration.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", rendered(.problems))]
pub struct ConfigError {
    /// At least one, in the order of the files and their lines.
    pub problems: Vec<Problem>,
}

impl ConfigError {
    /// The same, where a line that is missing is said to belong into this file.
    pub(super) fn naming(mut self, file: &Path) -> Self {
        if self.names_no_database()
            && let Some(problem) = self.problems.first_mut()
        {
            problem.help = Some(format!(
                "write one line at the top of {}: database = \"NAME\" (or set PGDATABASE in the \
                 environment)",
                file.display()
            ));
        }
        self
    }

    /// Whether nothing is wrong but that nothing names a database.
    pub(crate) fn names_no_database(&self) -> bool {
        let [only] = self.problems.as_slice() else {
            return false;
        };
        only.key == "database" && only.place.is_none()
    }
}

/// Which part of a setting is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Its name.
    Key,
    /// What it is set to.
    Value,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Problem {
    /// The setting, its levels joined by dots: `jobs.daily.schedule`; empty for a file as a whole.
    pub key: String,
    /// What is wrong, without the place.
    #[serde(serialize_with = "without_passwords")]
    pub message: String,
    /// The way out, when there is one to name.
    pub help: Option<String>,
    /// Where it stands.
    pub place: Option<ProblemLocation>,
}

impl Problem {
    /// What is wrong and where, in one line.
    pub(crate) fn in_short(&self) -> String {
        let place = match &self.place {
            Some(ProblemLocation::File {
                path,
                line: Some(mark),
            }) => format!("{}:{}: ", shown(path), mark.line),
            Some(ProblemLocation::File { path, line: None }) => format!("{}: ", shown(path)),
            Some(ProblemLocation::Variable(name)) => format!("{name}: "),
            None => String::new(),
        };
        let key = if self.key.is_empty() {
            String::new()
        } else {
            format!("{}: ", self.key)
        };
        one_line(&format!("{place}{key}{}", self.shown_message()))
    }

    /// What is wrong as a warning, without the place.
    pub(super) fn as_warning(&self) -> String {
        let help = self.help.as_ref().map(|help| format!("; {help}"));
        let message = self.shown_message();
        format!("{}: {message}{}", self.key, help.unwrap_or_default())
    }

    /// The message as it is shown. It may quote the value, and a connection string may be where none belongs.
    fn shown_message(&self) -> String {
        mask(&self.message, &[])
    }

    /// Whether the rest of the configuration says where backups and servers are all the same.
    pub(crate) fn concerns_no_place(&self) -> bool {
        let table = self.key.split('.').next().unwrap_or_default();
        self.key != table
            && matches!(
                table,
                "dump"
                    | "limits"
                    | "retry"
                    | "objectives"
                    | "anomaly"
                    | "logs"
                    | "metrics"
                    | "web"
                    | "retention"
                    | "series"
                    | "jobs"
                    | "alerts"
                    | "destinations"
                    | "encryption"
            )
    }
}

fn without_passwords<S: Serializer>(message: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&mask(message, &[]))
}

/// Where something stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "Place")]
pub enum ProblemLocation {
    /// In a file.
    File {
        /// Which.
        path: PathBuf,
        /// The line, counted from 1; none for the file as a whole.
        line: Option<Mark>,
    },
    /// In an environment variable of this name.
    Variable(String),
}

/// A place in a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Mark {
    /// The line, counted from 1.
    pub line: usize,
    /// The column in characters, counted from 1.
    pub column: usize,
    /// The line itself; what may be a secret in it is starred out.
    pub text: String,
    /// The bytes of the line that are meant, for the caret.
    #[serde(skip)]
    pub(super) start: usize,
    /// Where they end.
    #[serde(skip)]
    pub(super) end: usize,
}

impl Mark {
    /// The place of a range of bytes in a file's text. What goes on over further lines is cut at
    /// the end of the first.
    pub(super) fn new(text: &str, range: std::ops::Range<usize>) -> Self {
        let mut at = range.start.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        let line_start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = text[at..]
            .find('\n')
            .map_or(text.len(), |newline| at + newline);
        let end = range.end.clamp(at, line_end);
        Self {
            line: text[..line_start].matches('\n').count() + 1,
            column: text[line_start..at].chars().count() + 1,
            text: starred(text[line_start..line_end].trim_end_matches('\r')),
            start: at - line_start,
            end: end - line_start,
        }
    }
}

/// A line with every value starred out that may be a secret: all after the first `=` of a line that
/// speaks of a connection string, or of a password in any spelling. As long in bytes as before, so
/// that carets fit.
fn starred(line: &str) -> String {
    let lower = line
        .to_lowercase()
        .replace("password_file", "")
        .replace("passfile", "")
        .replace("url_file", "");
    let is_like_password = |word: &str| strsim::damerau_levenshtein(word, "password") <= 3;
    let secret = [
        "pass", "pwd", "secret", "uri", "://", "conninfo", "url", "header", "token", "-key",
        "authoriz",
    ]
    .iter()
    .any(|word| lower.contains(word))
        || lower
            .split(|c: char| !c.is_alphanumeric())
            .any(is_like_password);
    match line.find('=') {
        Some(equals) if secret => {
            let (key, value) = line.split_at(equals + 1);
            let value = value.bytes().map(|b| if b == b' ' { ' ' } else { '*' });
            key.chars().chain(value).collect()
        }
        None if secret => "*".repeat(line.len()),
        _ => line.to_owned(),
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let title = if self.key.is_empty() {
            self.shown_message()
        } else {
            format!("{}: {}", self.key, self.shown_message())
        };
        let mut group = Group::with_title(Level::ERROR.primary_title(title));
        let path;
        match &self.place {
            Some(ProblemLocation::File {
                path: file,
                line: Some(mark),
            }) => {
                path = shown(file);
                group =
                    group.element(
                        Snippet::source(mark.text.as_str())
                            .line_start(mark.line)
                            .path(path.as_str())
                            .annotation(AnnotationKind::Primary.span(
                                mark.start.min(mark.text.len())..mark.end.min(mark.text.len()),
                            )),
                    );
            }
            Some(ProblemLocation::File {
                path: file,
                line: None,
            }) => {
                group = group.element(Level::NOTE.message(format!("in {}", shown(file))));
            }
            Some(ProblemLocation::Variable(name)) => {
                let message = format!("in the environment variable {name}");
                group = group.element(Level::NOTE.message(message));
            }
            None => {}
        }
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        f.write_str(&Renderer::plain().render(&[group]))
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn rendered(problems: &[Problem]) -> String {
    let mut text = String::new();
    for problem in problems {
        text.push_str(&problem.to_string());
        text.push_str("\n\n");
    }
    let count = problems.len();
    let noun = if count == 1 { "problem" } else { "problems" };
    text + &format!("the configuration has {count} {noun}")
}

#[cfg(test)]
mod tests {
    use super::{Mark, Problem, starred};

    #[test]
    fn a_mark_counts_lines_from_one_and_columns_in_characters() {
        let text = "a = 1\nnáme = 'x' # no\nb = 2\n";
        let at = text.find("'x'").unwrap();
        let mark = Mark::new(text, at..at + 3);
        assert_eq!((mark.line, mark.column), (2, 8));
        assert_eq!(&mark.text[mark.start..mark.end], "'x'");
        let multi = Mark::new(text, at..text.len());
        assert_eq!(&multi.text[multi.start..multi.end], "'x' # no");
        let past_the_end = Mark::new("a =", 3..3);
        assert_eq!((past_the_end.line, past_the_end.column), (1, 4));
    }

    #[test]
    fn no_message_shows_a_password_that_the_value_has() {
        for (value, shown) in [
            ("postgres://u:123/PW@h/d", "postgres://u:********@h/d"),
            ("host=h password=PW", "host=h password=********"),
        ] {
            let problem = Problem {
                key: "connection.port".to_owned(),
                message: format!("expected a port, found {value}"),
                help: None,
                place: None,
            };
            let document = serde_json::to_string(&problem).unwrap();
            for text in [problem.to_string(), problem.in_short(), document] {
                assert!(text.contains(shown) && !text.contains("PW"), "{text}");
            }
        }
    }

    #[test]
    fn a_line_that_may_hold_a_secret_is_starred_out_at_its_own_length() {
        assert_eq!(starred("password = \"x y\""), "password = ** **");
        assert_eq!(starred("pasword = 'é'"), "pasword = ****");
        assert_eq!(starred("PASWRD = 'x'"), "PASWRD = ***");
        assert_eq!(
            starred("c = { uri = \"postgres://u:p@h\" }").find('p'),
            None
        );
        assert_eq!(starred("password_file = \"/x\""), "password_file = \"/x\"");
        assert_eq!(starred("schedule = \"x\""), "schedule = \"x\"");
    }
}
