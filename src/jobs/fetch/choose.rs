//! Which copy is fetched, of those of a database.

use chrono::{DateTime, Utc};

use crate::copies::{Catalogue, Copy};
use crate::policy::Series;

/// Which copy is meant.
#[derive(Clone, Debug)]
pub enum WhichCopy<'a> {
    /// That of the backup of this name, as `list` shows it or as it is called on the host.
    Named(&'a str),
    /// The newest that has all its volumes and all rows.
    Newest {
        /// Of backups that began before this.
        before: Option<DateTime<Utc>>,
        /// Of this series.
        series: Option<&'a Series>,
    },
}

/// Why no copy is chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoCopy {
    /// There is none.
    None,
    /// Several have the name: these.
    Several(Vec<String>),
}

/// A copy, and what was passed over for it, one sentence each.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Choice<'a> {
    pub(super) copy: &'a Copy,
    pub(super) passed_over: Vec<String>,
}

/// Chooses.
///
/// # Errors
/// When none fits, or several have the name.
pub(super) fn choose<'a>(
    catalogue: &'a Catalogue,
    which: &WhichCopy<'_>,
) -> Result<Choice<'a>, NoCopy> {
    match which {
        WhichCopy::Named(name) => named(catalogue, name),
        WhichCopy::Newest { before, series } => newest(catalogue, *before, *series),
    }
}

fn named<'a>(catalogue: &'a Catalogue, name: &str) -> Result<Choice<'a>, NoCopy> {
    let copies = catalogue.copies.iter();
    let found: Vec<&Copy> = copies.filter(|copy| copy.is_called(name)).collect();
    match found[..] {
        [] => Err(NoCopy::None),
        [copy] => Ok(Choice {
            copy,
            passed_over: Vec::new(),
        }),
        _ => {
            let names = found.iter().map(|copy| copy.name.to_string());
            Err(NoCopy::Several(names.collect()))
        }
    }
}

fn newest<'a>(
    catalogue: &'a Catalogue,
    before: Option<DateTime<Utc>>,
    series: Option<&Series>,
) -> Result<Choice<'a>, NoCopy> {
    let mut passed_over = Vec::new();
    for copy in catalogue.copies.iter().rev() {
        let manifest = &copy.manifest.manifest;
        let is_meant = before.is_none_or(|before| manifest.started.to_utc() < before)
            && series.is_none_or(|series| manifest.series == *series);
        if !is_meant {
            continue;
        }
        if !copy.is_complete() {
            passed_over.push(format!(
                "{} is passed over: of its volumes, {} not there in full",
                copy.name.stem(),
                match copy.lacking.len() {
                    1 => "1 is".to_owned(),
                    many => format!("{many} are"),
                }
            ));
        } else if manifest.is_partial {
            let stem = copy.name.stem();
            passed_over.push(format!("{stem} is passed over: it is partial"));
        } else {
            return Ok(Choice { copy, passed_over });
        }
    }
    Err(NoCopy::None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copies::Lacking;
    use crate::jobs::fetch::sample::copy;

    fn catalogue() -> Catalogue {
        let mut copies = vec![
            copy("backup_20261101_020000", 1, false),
            copy("manual_20261102_020000", 2, false),
            copy("backup_20261103_020000", 3, false),
            copy("backup_20261104_020000", 4, true),
            copy("backup_20261105_020000", 5, false),
            copy("backup_20261105_020000", 6, false),
        ];
        for copy in &mut copies[4..] {
            copy.lacking.push(Lacking {
                key: "v1/x".to_owned(),
                bytes: 1,
                listed: None,
            });
        }
        Catalogue {
            copies,
            ..Catalogue::default()
        }
    }

    #[test]
    fn the_newest_that_is_complete_and_not_partial_is_chosen_and_the_newer_ones_are_named() {
        let catalogue = catalogue();
        let daily = Series::daily();
        let manual = Series::manual();
        let at = |text: &str| Some(text.parse::<DateTime<Utc>>().unwrap());
        for (before, series, expected, passed) in [
            (None, None, Some(3), 3),
            (None, Some(&daily), Some(3), 3),
            (None, Some(&manual), Some(2), 0),
            (at("2026-11-03T02:00:00Z"), None, Some(2), 0),
            (at("2026-11-03T02:00:01Z"), None, Some(3), 0),
            (at("2026-11-03T02:00:00Z"), Some(&daily), Some(1), 0),
            (at("2026-11-01T02:00:00Z"), None, None, 0),
        ] {
            let chosen = choose(&catalogue, &WhichCopy::Newest { before, series });
            let expected = expected.map(|run: usize| &catalogue.copies[run - 1]);
            match chosen {
                Ok(choice) => {
                    assert_eq!(Some(choice.copy), expected, "{before:?} {series:?}");
                    assert_eq!(choice.passed_over.len(), passed, "{:?}", choice.passed_over);
                }
                Err(error) => assert_eq!((error, expected), (NoCopy::None, None)),
            }
        }
    }

    #[test]
    fn a_copy_is_named_as_it_is_listed_or_as_the_host_names_its_backup() {
        let catalogue = catalogue();
        let chosen = |name: &str| {
            let chosen = choose(&catalogue, &WhichCopy::Named(name));
            chosen.map(|choice| choice.copy.name.run().to_string())
        };
        let run = |number: u32| Ok(format!("01900000-0000-7000-8000-{number:012}"));
        assert_eq!(chosen("backup_20261101_020000"), run(1));
        assert_eq!(chosen("manual_20261102_020000"), run(2));
        // Encrypted copies do not say why a backup was made.
        assert_eq!(chosen("manual_before-the-change_20261102_020000"), run(2));
        // Partial ones can be named.
        assert_eq!(chosen("backup_20261104_020000"), run(4));
        let name = &catalogue.copies[5].name.to_string();
        assert_eq!(chosen(name), run(6));
        assert!(matches!(
            chosen("backup_20261105_020000"),
            Err(NoCopy::Several(names)) if names.len() == 2 && names.contains(name)
        ));
        assert_eq!(chosen("backup_20261106_020000"), Err(NoCopy::None));
        assert_eq!(chosen("nonsense"), Err(NoCopy::None));
    }
}
