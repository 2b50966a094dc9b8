//! How closely a restored copy can be held against its backup, and which differences then mean that
//! something did not come back. Pure.
//!
//! The same version writes the same text, but for some definitions: `PostgreSQL` rewrites expressions when
//! they are loaded (`varchar IN (…)`, `BETWEEN … AND x`, `-1::int`), and any release may write them in a way
//! of its own. What it means to say, a reference shows: what the server of the copy makes of the backup's
//! own definitions, loaded once more without any rows. Another major version calls every object by the same name, as the
//! sample database and the themes of `tests/fixtures` have shown for 14 to 18 in every direction
//! upwards, but for the frames around large objects, which 17 makes for a few at a time and others for
//! all; and it may not write what it makes by itself.

use std::ops::RangeInclusive;

use crate::display::counted;
use crate::pipeline::census::{Compared, Difference};

/// The versions for whose `pg_dump` that was shown.
const SHOWN: RangeInclusive<u32> = 14..=18;

/// What of a copy is comparable with its backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::jobs) enum ComparisonLevel {
    /// Every word of it.
    Text,
    /// Rows, large objects, sequences, owners, and that every other object is there, and no other; how it
    /// is written only by a reference.
    Names,
    /// Of a dump file, whose options are not known: rows, values of sequences, and that every object is there
    /// that the file names. There may be others, and owners are not compared.
    Listed,
    /// Rows.
    Rows,
}

impl ComparisonLevel {
    /// Of a copy and its backup, each with the versions of its server and of the `pg_dump` that has
    /// written it.
    pub(in crate::jobs) fn between(backup: [u32; 2], copy: [u32; 2]) -> Self {
        if backup == copy {
            Self::Text
        } else if [backup, copy]
            .as_flattened()
            .iter()
            .all(|one| SHOWN.contains(one))
        {
            Self::Names
        } else {
            Self::Rows
        }
    }

    /// Of a copy and the dump file that it was made of, of which the same is known.
    pub(in crate::jobs) fn of_file(file: [u32; 2], copy: [u32; 2]) -> Self {
        match Self::between(file, copy) {
            Self::Rows => Self::Rows,
            _ if file.iter().all(|one| SHOWN.contains(one)) => Self::Listed,
            _ => Self::Rows,
        }
    }

    /// What differences mean. The definitions among them count only where the copy is not what its server
    /// makes of the backup's own; without that reference, as before.
    pub(super) fn judge(self, compared: Vec<Compared>) -> Verdict {
        let mut verdict = Verdict::default();
        for one in compared {
            match self.meaning(&one) {
                Meaning::Lost => verdict.lost.push(one.difference),
                Meaning::OfTheVersion => verdict.of_the_version.push(one.difference),
                Meaning::Rewritten => verdict.rewritten += 1,
            }
        }
        verdict
    }

    fn meaning(self, one: &Compared) -> Meaning {
        use Difference::{Changed, Content, Definition, Missing, Owner, Rows, Unexpected};
        let as_in_reference = one.as_in_reference;
        let unless_the_reference_says_otherwise = match as_in_reference {
            Some(false) => Meaning::Lost,
            Some(true) | None => Meaning::OfTheVersion,
        };
        match (self, &one.difference) {
            (_, Definition(_)) if as_in_reference == Some(true) => Meaning::Rewritten,
            (Self::Text, _) | (_, Rows { .. } | Content { .. }) | (Self::Names, Owner(_)) => {
                Meaning::Lost
            }
            // Without owners (--no-owner) a large object is another one.
            (Self::Listed, Changed(what)) if is_value_of_sequence(what) => Meaning::Lost,
            (Self::Listed, Missing(what)) if !may_be_implied(what) => Meaning::Lost,
            (Self::Rows | Self::Listed, _) => Meaning::OfTheVersion,
            (Self::Names, Changed(what) | Missing(what) | Unexpected(what)) if is_content(what) => {
                Meaning::Lost
            }
            (Self::Names, Missing(what) | Unexpected(what)) if !may_be_implied(what) => {
                Meaning::Lost
            }
            (Self::Names, _) => unless_the_reference_says_otherwise,
        }
    }
}

/// What one difference means.
enum Meaning {
    Lost,
    OfTheVersion,
    Rewritten,
}

/// What the differences between a copy and its backup mean.
#[derive(Debug, Default)]
pub(in crate::jobs) struct Verdict {
    /// Did not come back, or not as it was.
    pub(in crate::jobs) lost: Vec<Difference>,
    /// May differ between versions, and nothing tells more.
    pub(in crate::jobs) of_the_version: Vec<Difference>,
    /// So many definitions are written differently by the server of the copy, and say the same.
    pub(in crate::jobs) rewritten: u64,
}

/// What is to be known of definitions that are written differently; nothing if there are none. Pure.
pub(in crate::jobs) fn about_rewritten(rewritten: u64) -> Option<String> {
    let definitions = counted(rewritten, "definition is", "definitions are");
    (rewritten > 0).then(|| format!("{definitions} written differently by this server"))
}

/// That foreign keys hold only for what is written from now on; nothing if there are none. Pure.
pub(in crate::jobs) fn about_unvalidated(keys: &[String]) -> Option<String> {
    (!keys.is_empty()).then(|| {
        format!(
            "not validated, since rows that they refer to are missing: {}; once the rows are there: ALTER TABLE \
             … VALIDATE CONSTRAINT …",
            keys.join(", ")
        )
    })
}

/// The major version in `15.18 (Debian 15.18-0+deb12u1)`.
pub(in crate::jobs) fn major_of(version: &str) -> Option<u32> {
    let end = version
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(version.len());
    version[..end].parse().ok()
}

/// Large objects, and the values of sequences, are written alike by all versions.
fn is_content(what: &str) -> bool {
    what.contains("large object") || is_value_of_sequence(what)
}

fn is_value_of_sequence(what: &str) -> bool {
    what.starts_with("the value of sequence ")
}

/// What `pg_dump` writes only where it differs from what the server makes by itself, which another
/// version may do otherwise; and the frames around large objects.
fn may_be_implied(what: &str) -> bool {
    matches!(what, "schema public" | "the comment on SCHEMA public")
        || [
            "blobs ",
            "table data ",
            "statistics data ",
            "the access list of ",
            "default acl ",
        ]
        .iter()
        .any(|words| what.starts_with(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_version_writes_the_same_text_and_a_known_one_the_same_names() {
        for (backup, copy, expected) in [
            ([15, 15], [15, 15], ComparisonLevel::Text),
            ([15, 17], [15, 17], ComparisonLevel::Text),
            ([19, 19], [19, 19], ComparisonLevel::Text),
            ([15, 15], [17, 17], ComparisonLevel::Names),
            ([15, 15], [15, 17], ComparisonLevel::Names),
            ([14, 14], [18, 18], ComparisonLevel::Names),
            ([13, 15], [15, 15], ComparisonLevel::Rows),
            ([18, 18], [19, 19], ComparisonLevel::Rows),
        ] {
            assert_eq!(
                ComparisonLevel::between(backup, copy),
                expected,
                "{backup:?} {copy:?}"
            );
        }
    }

    #[test]
    fn of_a_file_by_a_known_version_what_it_names_is_to_be_there() {
        for (file, copy, expected) in [
            ([15, 15], [15, 15], ComparisonLevel::Listed),
            ([14, 16], [18, 18], ComparisonLevel::Listed),
            ([0, 0], [15, 15], ComparisonLevel::Rows),
            ([15, 0], [15, 15], ComparisonLevel::Rows),
            ([9, 9], [15, 15], ComparisonLevel::Rows),
            ([19, 19], [19, 19], ComparisonLevel::Rows),
        ] {
            let found = ComparisonLevel::of_file(file, copy);
            assert_eq!(found, expected, "{file:?} {copy:?}");
        }
    }

    #[test]
    fn what_is_missing_or_new_counts_unless_a_version_may_imply_it() {
        let (missing, new, changed, owner, definition) = (
            Difference::Missing as fn(String) -> Difference,
            Difference::Unexpected as fn(String) -> Difference,
            Difference::Changed as fn(String) -> Difference,
            Difference::Owner as fn(String) -> Difference,
            Difference::Definition as fn(String) -> Difference,
        );
        for (difference, what, by_names) in [
            (missing, "index public.i", true),
            (new, "index public.i", true),
            (definition, "view public.v", false),
            (owner, "view public.v", true),
            (changed, "the value of sequence public.s", true),
            (missing, "large object 7", true),
            (missing, "blobs BLOBS", false),
            (new, "blobs 900001..900002", false),
            (missing, "the access list of SCHEMA public", false),
            (new, "default acl DEFAULT PRIVILEGES FOR TABLES", false),
            (missing, "schema public", false),
            (missing, "schema public_too", true),
        ] {
            let difference = difference(what.to_owned());
            let counts = |level: ComparisonLevel| loses(level, &difference, None);
            assert_eq!(counts(ComparisonLevel::Names), by_names, "{difference:?}");
            assert!(counts(ComparisonLevel::Text), "{difference:?}");
            assert!(!counts(ComparisonLevel::Rows), "{difference:?}");
            let is_owner_or_more =
                matches!(difference, Difference::Owner(_) | Difference::Unexpected(_));
            assert_eq!(
                counts(ComparisonLevel::Listed),
                by_names && !is_owner_or_more,
                "{difference:?}"
            );
        }
        let rows = Difference::Content {
            table: "public.t".to_owned(),
        };
        assert!(loses(ComparisonLevel::Rows, &rows, None));
    }

    /// Whether a difference means that something did not come back.
    fn loses(
        level: ComparisonLevel,
        difference: &Difference,
        as_in_reference: Option<bool>,
    ) -> bool {
        let compared = vec![Compared {
            difference: difference.clone(),
            as_in_reference,
        }];
        !level.judge(compared).lost.is_empty()
    }

    #[test]
    fn a_reference_excuses_definitions_alone_and_in_other_versions_makes_the_comparison_closer() {
        let named = |kind: fn(String) -> Difference, what: &str| kind(what.to_owned());
        let (changed, owner, definition) = (
            Difference::Changed as fn(String) -> Difference,
            Difference::Owner as fn(String) -> Difference,
            Difference::Definition as fn(String) -> Difference,
        );
        let acl = "the access list of TABLE t";
        // As the text is; by names; by rows.
        for (difference, as_in_reference, lost) in [
            (
                named(definition, "view v"),
                Some(true),
                [false, false, false],
            ),
            (
                named(definition, "view v"),
                Some(false),
                [true, true, false],
            ),
            (named(definition, "view v"), None, [true, false, false]),
            (named(owner, "view v"), Some(true), [true, true, false]),
            (named(owner, "view v"), None, [true, true, false]),
            (named(changed, acl), Some(true), [true, false, false]),
            (named(changed, acl), Some(false), [true, true, false]),
            (
                named(changed, "the value of sequence s"),
                None,
                [true, true, false],
            ),
            (named(changed, "large object 7"), None, [true, true, false]),
            (
                named(Difference::Missing, "view v"),
                Some(true),
                [true, true, false],
            ),
            (
                named(Difference::Unexpected, "view v"),
                Some(true),
                [true, true, false],
            ),
            (
                named(Difference::Missing, "schema public"),
                Some(true),
                [true, false, false],
            ),
            (
                named(Difference::Missing, "schema public"),
                Some(false),
                [true, true, false],
            ),
        ] {
            let all = [
                ComparisonLevel::Text,
                ComparisonLevel::Names,
                ComparisonLevel::Rows,
            ];
            let found = all.map(|level| loses(level, &difference, as_in_reference));
            assert_eq!(found, lost, "{difference:?} {as_in_reference:?}");
        }
    }

    #[test]
    fn what_is_written_differently_is_one_remark() {
        let one = |as_in_reference| Compared {
            difference: Difference::Definition("view v".to_owned()),
            as_in_reference: Some(as_in_reference),
        };
        let verdict =
            ComparisonLevel::Text.judge(vec![one(true), one(false), one(true), one(true)]);
        assert_eq!((verdict.lost.len(), verdict.rewritten), (1, 3));
        let remark = about_rewritten(verdict.rewritten);
        let expected = "3 definitions are written differently by this server";
        assert_eq!(remark.as_deref(), Some(expected));
        assert_eq!(about_rewritten(0), None);
    }

    #[test]
    fn a_version_is_read_as_the_manifest_has_it() {
        assert_eq!(major_of("15.18 (Debian 15.18-0+deb12u1)"), Some(15));
        assert_eq!(major_of("18beta1"), Some(18));
        assert_eq!(major_of(""), None);
    }
}
