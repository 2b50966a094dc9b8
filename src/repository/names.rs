//! The names of files in a database's directory: how they are made, and how they are read.
//!
//! The policy fixes them: `backup_20250709_020000.sql.gz` for the daily series,
//! `weekly_backup_…` for the weekly one and every other, `manual_<reason>_…` for backups on demand.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use chrono::{Datelike, NaiveDate, NaiveDateTime, Timelike};

use crate::config::{Compression, Format};
use crate::policy::Series;

/// The part that the names of all files of one backup share.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stem {
    /// The series the backup belongs to.
    pub series: Series,
    /// Why it was made, as far as that fits into a name; only in the manual series.
    pub slug: Option<Slug>,
    /// When it was started, on the wall clock of the schedule's zone, to the second.
    pub local: NaiveDateTime,
    /// 1, or more where the same second was taken already: another run within it, or a clock set
    /// back.
    pub count: u16,
}

/// A reason in a form that is safe in a file name: letters and digits of any script and hyphens,
/// 60 bytes at most.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slug(String);

/// A text that is not the stem of a backup's files.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the name of a backup")]
pub struct InvalidStem(pub String);

impl Slug {
    const LONGEST: usize = 60;

    /// What remains of a reason; none if nothing does.
    pub fn of(reason: &str) -> Option<Self> {
        let mut slug = String::new();
        for c in reason.chars() {
            let c = if c.is_alphanumeric() { c } else { '-' };
            if c == '-' && (slug.is_empty() || slug.ends_with('-')) {
                continue;
            }
            if slug.len() + c.len_utf8() > Self::LONGEST {
                break;
            }
            slug.push(c);
        }
        let slug = slug.trim_end_matches('-');
        (!slug.is_empty()).then(|| Self(slug.to_owned()))
    }

    /// Whether a text can be one: nothing in it commands a terminal or ends a line.
    fn is_made(text: &str) -> bool {
        text.chars().all(|c| c.is_alphanumeric() || c == '-')
    }

    /// As it stands in the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Stem {
    /// The same without the reason: so the copies of a backup are called in keys, where it is left out.
    #[must_use]
    pub fn without_slug(&self) -> Self {
        Self {
            slug: None,
            ..self.clone()
        }
    }

    /// Where a file of the backup is in a directory once it is published.
    pub(super) fn file(&self, directory: &Path, role: Role) -> PathBuf {
        directory.join(format!("{self}{}", role.suffix()))
    }
}

impl fmt::Display for Stem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.series.as_str() {
            Series::DAILY => f.write_str("backup")?,
            Series::MANUAL => f.write_str("manual")?,
            other => write!(f, "{other}_backup")?,
        }
        if let Some(slug) = &self.slug {
            write!(f, "_{}", slug.0)?;
        }
        // chrono's own formatting costs more than all the rest of a list of many backups.
        let (date, time) = (self.local.date(), self.local.time());
        write!(f, "_{:04}{:02}{:02}", date.year(), date.month(), date.day())?;
        write!(
            f,
            "_{:02}{:02}{:02}",
            time.hour(),
            time.minute(),
            time.second()
        )?;
        if self.count > 1 {
            write!(f, "_{}", self.count)?;
        }
        Ok(())
    }
}

impl FromStr for Stem {
    type Err = InvalidStem;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidStem(text.to_owned());
        // From the back: a count has fewer digits than a time of day.
        let (head, last) = text.rsplit_once('_').ok_or_else(invalid)?;
        let (head, count) = if last.len() < 6 {
            let count: u16 = last.parse().map_err(|_| invalid())?;
            (head, count)
        } else {
            (text, 1)
        };
        let (head, time) = head.rsplit_once('_').ok_or_else(invalid)?;
        let (head, date) = head.rsplit_once('_').ok_or_else(invalid)?;
        let local = time_stamp(date, time).ok_or_else(invalid)?;
        let (series, slug) = match head.split_once('_') {
            None if head == "backup" => (Series::daily(), None),
            None if head == "manual" => (Series::manual(), None),
            Some(("manual", slug)) if Slug::is_made(slug) => {
                (Series::manual(), Some(Slug(slug.to_owned())))
            }
            Some((series, "backup")) => (series.parse().map_err(|_| invalid())?, None),
            _ => return Err(invalid()),
        };
        let stem = Self {
            series,
            slug,
            local,
            count,
        };
        // One backup, one spelling: whatever would be written otherwise is not a stem.
        if stem.to_string() == text {
            Ok(stem)
        } else {
            Err(invalid())
        }
    }
}

/// Reads `YYYYMMDD` and `HHMMSS`.
fn time_stamp(date: &str, time: &str) -> Option<NaiveDateTime> {
    let number = |text: &str, from: usize, to: usize| -> Option<u32> {
        let digits = text.get(from..to)?;
        digits
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            .then_some(())?;
        digits.parse().ok()
    };
    if date.len() != 8 || time.len() != 6 {
        return None;
    }
    let year = i32::try_from(number(date, 0, 4)?).ok()?;
    NaiveDate::from_ymd_opt(year, number(date, 4, 6)?, number(date, 6, 8)?)?.and_hms_opt(
        number(time, 0, 2)?,
        number(time, 2, 4)?,
        number(time, 4, 6)?,
    )
}

/// How a file of a backup is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtRest {
    /// Readable by whoever can read the file.
    Clear,
    /// As an age file, which only a recipient's identity opens.
    Encrypted,
}

/// What a file of a backup is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The dump.
    Artifact(Format, Compression, AtRest),
    /// Roles and tablespaces of the cluster.
    Globals(AtRest),
    /// What the dump contains.
    Census(AtRest),
    /// The manifest.
    Manifest,
    /// What is known of the backup beyond its manifest: pins and later checks.
    State,
}

impl Role {
    /// Every kind of artifact there is.
    pub(crate) const ARTIFACTS: [Self; 9] = [
        Self::Artifact(Format::Plain, Compression::Gzip, AtRest::Clear),
        Self::Artifact(Format::Plain, Compression::Zstd, AtRest::Clear),
        Self::Artifact(Format::Plain, Compression::None, AtRest::Clear),
        Self::Artifact(Format::Custom, Compression::None, AtRest::Clear),
        Self::Artifact(Format::Directory, Compression::None, AtRest::Clear),
        Self::Artifact(Format::Plain, Compression::Gzip, AtRest::Encrypted),
        Self::Artifact(Format::Plain, Compression::Zstd, AtRest::Encrypted),
        Self::Artifact(Format::Plain, Compression::None, AtRest::Encrypted),
        Self::Artifact(Format::Custom, Compression::None, AtRest::Encrypted),
    ];

    /// Every other kind of file of a backup.
    pub(crate) const OTHERS: [Self; 6] = [
        Self::Globals(AtRest::Clear),
        Self::Globals(AtRest::Encrypted),
        Self::Census(AtRest::Clear),
        Self::Census(AtRest::Encrypted),
        Self::Manifest,
        Self::State,
    ];

    /// Every kind of file that a backup can have, artifacts first.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        Self::ARTIFACTS.into_iter().chain(Self::OTHERS)
    }

    /// What follows the stem in the file's name.
    pub fn suffix(self) -> &'static str {
        use AtRest::{Clear, Encrypted};
        match self {
            Self::Artifact(Format::Plain, Compression::Gzip, Clear) => ".sql.gz",
            Self::Artifact(Format::Plain, Compression::Zstd, Clear) => ".sql.zst",
            Self::Artifact(Format::Plain, Compression::None, Clear) => ".sql",
            Self::Artifact(Format::Custom, _, Clear) => ".dump",
            Self::Artifact(Format::Plain, Compression::Gzip, Encrypted) => ".sql.gz.age",
            Self::Artifact(Format::Plain, Compression::Zstd, Encrypted) => ".sql.zst.age",
            Self::Artifact(Format::Plain, Compression::None, Encrypted) => ".sql.age",
            Self::Artifact(Format::Custom, _, Encrypted) => ".dump.age",
            // A directory is never encrypted: `pg_dump` writes its files itself.
            Self::Artifact(Format::Directory, ..) => ".dir",
            Self::Globals(Clear) => ".globals.gz",
            Self::Globals(Encrypted) => ".globals.gz.age",
            Self::Census(Clear) => ".census.gz",
            Self::Census(Encrypted) => ".census.gz.age",
            Self::Manifest => ".json",
            Self::State => ".state",
        }
    }

    /// How it is stored. Manifest and state are always in the clear.
    pub fn at_rest(self) -> AtRest {
        match self {
            Self::Artifact(.., at_rest) | Self::Globals(at_rest) | Self::Census(at_rest) => at_rest,
            Self::Manifest | Self::State => AtRest::Clear,
        }
    }

    /// The word for it in the name of a temporary file.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Artifact(..) => "artifact",
            Self::Globals(_) => "globals",
            Self::Census(_) => "census",
            Self::Manifest => "manifest",
            Self::State => "state",
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::{NaiveDate, NaiveDateTime};
    use proptest::prelude::*;

    use super::{Slug, Stem};

    fn stem(series: &str, reason: Option<&str>, count: u16) -> Stem {
        Stem {
            series: series.parse().unwrap(),
            slug: reason.and_then(Slug::of),
            local: local(),
            count,
        }
    }

    fn local() -> NaiveDateTime {
        NaiveDate::from_ymd_opt(2025, 7, 9)
            .unwrap()
            .and_hms_opt(2, 0, 0)
            .unwrap()
    }

    #[test]
    fn names_are_the_policy_s_and_read_back() {
        for (stem, name) in [
            (stem("daily", None, 1), "backup_20250709_020000"),
            (stem("weekly", None, 1), "weekly_backup_20250709_020000"),
            (
                stem("every-6h", None, 12),
                "every-6h_backup_20250709_020000_12",
            ),
            (
                stem("manual", Some("pre-deployment"), 1),
                "manual_pre-deployment_20250709_020000",
            ),
            (
                stem("manual", Some("قبل الترقية"), 2),
                "manual_قبل-الترقية_20250709_020000_2",
            ),
            (
                stem("manual", Some("../../x"), 1),
                "manual_x_20250709_020000",
            ),
            (stem("manual", Some("../.."), 1), "manual_20250709_020000"),
            (
                stem("manual", Some("a_b c\n$(d)"), 1),
                "manual_a-b-c-d_20250709_020000",
            ),
            (stem("backup", None, 1), "backup_backup_20250709_020000"),
        ] {
            assert_eq!(stem.to_string(), name);
            assert_eq!(name.parse(), Ok(stem));
        }
    }

    #[test]
    fn what_is_no_backup_s_name_is_refused() {
        for text in [
            "",
            "backup",
            "backup_20250709",
            "backup_20250709_0200",
            "backup_20250709_020000_1",
            "backup_20250709_020000_02",
            "backup_20251309_020000",
            "_backup_20250709_020000",
            "Daily_backup_20250709_020000",
            "x_20250709_020000",
            "daily_backup_20250709_020000",
            "a_b_backup_20250709_020000",
            "backup_20250709_020000.sql",
            "manual_ev\u{1b}[31mil_20260101_000000",
            "manual_a\nb_20260101_000000",
        ] {
            assert!(text.parse::<Stem>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn a_long_reason_is_cut_between_letters() {
        let slug = Slug::of(&"ترقية".repeat(30)).unwrap();
        assert!(slug.as_str().len() <= 60);
    }

    proptest! {
        #[test]
        fn any_reason_makes_a_name_that_is_one_path_component_and_reads_back(reason in any::<String>()) {
            let stem = stem("manual", Some(&reason), 1);
            let name = stem.to_string();
            prop_assert!(!name.contains(['/', '\0', '\n', ' ']) && !name.starts_with('.'));
            prop_assert!(name.len() < 200);
            prop_assert_eq!(name.parse(), Ok(stem));
        }
    }
}
