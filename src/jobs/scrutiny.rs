//! How closely a restored copy can be held against its backup, and which differences then mean that
//! something did not come back. Pure.
//!
//! The same version writes the same text. Another one calls every object by the same name, as the
//! sample database and the themes of `tests/fixtures` have shown for 14 to 18 in every direction
//! upwards, but for the frames around large objects, which 17 makes for a few at a time and others for
//! all; and it may not write what it makes by itself.

use std::ops::RangeInclusive;

use crate::pipeline::census::Difference;

/// The versions for whose `pg_dump` that was shown.
const SHOWN: RangeInclusive<u32> = 14..=18;

/// What of a copy is comparable with its backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scrutiny {
    /// Every word of it.
    Text,
    /// Rows, large objects, sequences, and that every other object is there, and no other.
    Names,
    /// Rows.
    Rows,
}

impl Scrutiny {
    /// Of a copy and its backup, each with the versions of its server and of the `pg_dump` that has
    /// written it.
    pub(super) fn between(backup: [u32; 2], copy: [u32; 2]) -> Self {
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

    /// Whether a difference means that something did not come back, and not just that it is written
    /// differently.
    pub(super) fn counts(self, difference: &Difference) -> bool {
        match (self, difference) {
            (Self::Text, _) | (_, Difference::Rows { .. } | Difference::Content { .. }) => true,
            (Self::Rows, _) => false,
            (Self::Names, Difference::Changed(what)) => is_content(what),
            (Self::Names, Difference::Missing(what) | Difference::Unexpected(what)) => {
                is_content(what) || !may_be_implied(what)
            }
        }
    }
}

/// The major version in `15.18 (Debian 15.18-0+deb12u1)`.
pub(super) fn major_of(version: &str) -> Option<u32> {
    let end = version
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(version.len());
    version[..end].parse().ok()
}

/// Large objects, and the values of sequences, are written alike by all versions.
fn is_content(what: &str) -> bool {
    what.contains("large object") || what.starts_with("the value of sequence ")
}

/// What `pg_dump` writes only where it differs from what the server makes by itself, which another
/// version may do otherwise; and the frames around large objects.
fn may_be_implied(what: &str) -> bool {
    matches!(what, "schema public" | "the comment on SCHEMA public")
        || ["blobs ", "the access list of ", "default acl "]
            .iter()
            .any(|words| what.starts_with(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_version_writes_the_same_text_and_a_known_one_the_same_names() {
        for (backup, copy, expected) in [
            ([15, 15], [15, 15], Scrutiny::Text),
            ([15, 17], [15, 17], Scrutiny::Text),
            ([19, 19], [19, 19], Scrutiny::Text),
            ([15, 15], [17, 17], Scrutiny::Names),
            ([15, 15], [15, 17], Scrutiny::Names),
            ([14, 14], [18, 18], Scrutiny::Names),
            ([13, 15], [15, 15], Scrutiny::Rows),
            ([18, 18], [19, 19], Scrutiny::Rows),
        ] {
            assert_eq!(
                Scrutiny::between(backup, copy),
                expected,
                "{backup:?} {copy:?}"
            );
        }
    }

    #[test]
    fn what_is_missing_or_new_counts_unless_a_version_may_imply_it() {
        let (missing, new, changed) = (
            Difference::Missing as fn(String) -> Difference,
            Difference::Unexpected as fn(String) -> Difference,
            Difference::Changed as fn(String) -> Difference,
        );
        for (difference, what, by_names) in [
            (missing, "index public.i", true),
            (new, "index public.i", true),
            (changed, "view public.v", false),
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
            let counts = |scrutiny: Scrutiny| scrutiny.counts(&difference);
            assert_eq!(counts(Scrutiny::Names), by_names, "{difference:?}");
            assert!(counts(Scrutiny::Text), "{difference:?}");
            assert!(!counts(Scrutiny::Rows), "{difference:?}");
        }
        let rows = Difference::Content {
            table: "public.t".to_owned(),
        };
        assert!(Scrutiny::Rows.counts(&rows));
    }

    #[test]
    fn a_version_is_read_as_the_manifest_has_it() {
        assert_eq!(major_of("15.18 (Debian 15.18-0+deb12u1)"), Some(15));
        assert_eq!(major_of("18beta1"), Some(18));
        assert_eq!(major_of(""), None);
    }
}
