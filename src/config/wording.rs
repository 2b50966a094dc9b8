//! serde's errors in the words of somebody who edits a file.

use figment::error::{Actual, Kind};

use super::conninfo::keyword::{self, Treatment};
use super::nearest::nearest;
use super::problem::What;

/// What serde found wrong at this path in an operator's words, with the way out, and which part of the
/// setting is meant.
pub(super) fn describe(path: &[String], kind: Kind) -> (String, Option<String>, What) {
    let holds_secret = |name: &String| name.contains("pass") || name == "url" || name == "headers";
    let secret = path.iter().any(holds_secret);
    match kind {
        Kind::UnknownField(word, known) => {
            let table = path.split_last().map_or(&[][..], |(_, table)| table);
            (
                unknown_setting(table),
                Some(way_to(&word, table, known)),
                What::Key,
            )
        }
        Kind::UnknownVariant(word, known) => {
            let hint = nearest(&word, known.iter().copied()).map_or_else(
                || one_of(known),
                |right| format!("did you mean \"{right}\"?"),
            );
            (format!("invalid value {word:?}"), Some(hint), What::Value)
        }
        Kind::InvalidType(_, expected) if secret => {
            (format!("expected {expected} in quotes"), None, What::Value)
        }
        Kind::InvalidType(actual, expected) => {
            let actual = kind_of(&actual);
            (
                format!("expected {expected}, found {actual}"),
                None,
                What::Value,
            )
        }
        Kind::InvalidValue(_, expected) | Kind::InvalidLength(_, expected) => {
            (format!("expected {expected}"), None, What::Value)
        }
        Kind::Message(_) if secret => ("this is not allowed here".to_owned(), None, What::Value),
        Kind::Message(text) => match text.split_once('\n') {
            Some((message, help)) => (message.to_owned(), Some(help.to_owned()), What::Value),
            None => (text, None, What::Value),
        },
        other => (other.to_string(), None, What::Value),
    }
}

fn unknown_setting(table: &[String]) -> String {
    if table.is_empty() {
        "unknown setting".to_owned()
    } else {
        format!("unknown setting in {}", table.join("."))
    }
}

/// What an unknown word was probably meant to be.
fn way_to(word: &str, table: &[String], known: &[&str]) -> String {
    let in_connection = table.last().is_some_and(|name| name == "connection");
    // What libpq knows and our own connection cannot follow is refused rather than forgotten.
    if in_connection
        && let Some(Treatment::Refused(instead)) = keyword::find(word).map(|one| one.treatment)
    {
        return instead.to_owned();
    }
    if let Some(right) = nearest(word, known.iter().copied()) {
        return format!("did you mean {right}?");
    }
    match word {
        "dbname" if in_connection => {
            "databases are named by database or databases, not in the connection".to_owned()
        }
        "cron" | "when" | "at" if known.contains(&"schedule") => {
            "did you mean schedule?".to_owned()
        }
        "database" | "databases" | "timezone" | "directory" | "programs" | "blackout"
            if !table.is_empty() =>
        {
            format!("{word} belongs at the top of the file, above the first [table]")
        }
        _ => one_of(known),
    }
}

fn one_of(known: &[&str]) -> String {
    format!("there are: {}", known.join(", "))
}

/// What a value is, without saying it: it may be a secret.
fn kind_of(actual: &Actual) -> String {
    match actual {
        Actual::Bool(value) => value.to_string(),
        Actual::Unsigned(number) => number.to_string(),
        Actual::Signed(number) => number.to_string(),
        Actual::Float(number) => number.to_string(),
        Actual::Str(_) | Actual::Char(_) => "text".to_owned(),
        Actual::Seq => "a list".to_owned(),
        Actual::Map => "a table".to_owned(),
        other => other.to_string(),
    }
}
