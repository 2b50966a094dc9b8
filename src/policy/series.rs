//! The name of a line of backups.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The line of backups that one backup job makes: `daily`, `weekly`, `manual` or a name of the
/// operator's. Retention is counted per series.
///
/// A series' name becomes the head of a file name that ends at an underscore, so it is made of
/// lower-case ASCII letters, digits and hyphens, starts with a letter, and has at most 32 of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Series(String);

/// Why a text is not the name of a series.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a series' name: use up to 32 lower-case letters, digits and hyphens, \
     starting with a letter"
)]
pub struct InvalidSeries(pub String);

impl Series {
    /// The policy's daily backups (P1).
    pub const DAILY: &'static str = "daily";
    /// Backups made on demand, with a reason (P6).
    pub const MANUAL: &'static str = "manual";

    /// The series of backups made on demand.
    pub fn manual() -> Self {
        Self(Self::MANUAL.to_owned())
    }

    /// The series of the policy's daily backups.
    pub fn daily() -> Self {
        Self(Self::DAILY.to_owned())
    }

    /// The name as written in the configuration and in file names.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the series of backups made on demand, whose names carry a reason.
    pub fn is_manual(&self) -> bool {
        self.0 == Self::MANUAL
    }
}

impl FromStr for Series {
    type Err = InvalidSeries;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let starts_well = text.starts_with(|c: char| c.is_ascii_lowercase());
        let spelled_well = text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        if starts_well && spelled_well && text.len() <= 32 {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidSeries(text.to_owned()))
        }
    }
}

impl TryFrom<String> for Series {
    type Error = InvalidSeries;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Series> for String {
    fn from(series: Series) -> Self {
        series.0
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Series;

    #[test]
    fn a_name_is_accepted_only_when_it_is_safe_at_the_head_of_a_file_name() {
        for good in ["daily", "weekly", "manual", "a", "every-6h", "x2"] {
            assert_eq!(
                good.parse::<Series>().map(String::from),
                Ok(good.to_owned())
            );
        }
        let long = "a".repeat(33);
        for bad in [
            "",
            "Daily",
            "a_b",
            "-a",
            "1st",
            "a/b",
            "..",
            "يومي",
            " a",
            long.as_str(),
        ] {
            assert!(bad.parse::<Series>().is_err(), "{bad:?} was accepted");
        }
    }
}
