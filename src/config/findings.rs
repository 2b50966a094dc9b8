//! What the checks of a configuration find, and what they share.

use super::problem::{Problem, What};
use super::settings::Settings;

/// What the checks have found so far, and the settings, in which places are found.
pub(super) struct Findings<'s> {
    pub(super) settings: &'s Settings,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<String>,
}

impl Findings<'_> {
    /// Notes that a setting's value cannot stand.
    pub(super) fn refuse(&mut self, key: &[String], message: String, help: Option<String>) {
        let problem = self.settings.problem(key, What::Value);
        self.problems.push(Problem {
            message,
            help,
            ..problem
        });
    }

    /// Notes what is sound but deserves a word.
    pub(super) fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    /// Whether something is wrong with one of these settings, their levels joined by dots.
    pub(super) fn concern(&self, keys: &[&str]) -> bool {
        self.problems
            .iter()
            .any(|problem| keys.contains(&&*problem.key))
    }

    /// Notes that a setting or a table should not be there, or lacks something.
    pub(super) fn refuse_key(&mut self, key: &[String], message: String, help: Option<String>) {
        let problem = self.settings.problem(key, What::Key);
        self.problems.push(Problem {
            message,
            help,
            ..problem
        });
    }
}

/// A key made of its levels.
pub(super) fn key(levels: &[&str]) -> Vec<String> {
    levels.iter().map(|&level| level.to_owned()).collect()
}

/// The value of a setting that has a default.
#[expect(
    clippy::expect_used,
    reason = "defaults.toml sets it, and no layer can unset a setting"
)]
pub(super) fn set<T>(value: Option<T>) -> T {
    value.expect("a setting with a default is always set")
}

/// Whether a name that the operator made up can be one: it becomes part of paths and of variables.
pub(super) fn is_name(name: &str) -> bool {
    let sound = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    (1..=64).contains(&name.len()) && name.bytes().all(sound)
}

/// The form of a name that an operator makes up.
pub(super) fn names_are() -> String {
    "names are made of ASCII letters, digits, - and _, 64 at most".to_owned()
}
