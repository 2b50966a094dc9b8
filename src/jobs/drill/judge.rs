//! What the differences between a backup and its restored copy mean, in words. Pure.

use std::collections::BTreeSet;

use crate::pipeline::census::Difference;
use crate::postgres::Programs;
use crate::repository::Manifest;
use crate::words::{count, counted};

/// Whether a dump of the restored database writes every object as the backup does.
pub(super) fn is_comparable(manifest: &Manifest, programs: &Programs) -> bool {
    let major = programs.version.major;
    manifest.server.major() == major && major_of(&manifest.pg_dump) == Some(major)
}

/// The major version in `15.18 (Debian 15.18-0+deb12u1)`.
pub(super) fn major_of(version: &str) -> Option<u32> {
    let end = version
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(version.len());
    version[..end].parse().ok()
}

/// What it is about the version of the throw-away server that is worth a word; none if everything can be
/// compared.
pub(super) fn about_the_version(manifest: &Manifest, programs: &Programs) -> Option<String> {
    let (server, major) = (manifest.server.major(), programs.version.major);
    let dumped_by = major_of(&manifest.pg_dump).unwrap_or(server);
    let why = if is_comparable(manifest, programs) {
        return None;
    } else if major > server.max(dumped_by) {
        format!(
            "because none of version {} is installed here",
            server.max(dumped_by)
        )
    } else {
        format!("because pg_dump {dumped_by} has dumped the server of version {server}")
    };
    Some(format!(
        "restored into PostgreSQL {major}, {why}: rows, large objects, roles and the database's own \
         properties were compared, and that every other object is there, but not how it is written, \
         which differs between versions"
    ))
}

/// The differences in sentences, and how many objects were passed over because versions write them
/// differently: then it only counts that an object is there. Pure.
pub(super) fn in_words(differences: &[Difference], comparable: bool) -> (Vec<String>, u64) {
    let mut passed_over = 0;
    let mut named: Vec<String> = differences
        .iter()
        .filter_map(|difference| match difference {
            Difference::Rows {
                table,
                expected: Some(expected),
                found: Some(found),
            } => Some(format!(
                "{table}: {} in the backup, {} restored",
                counted(*expected, "row", "rows"),
                count(*found)
            )),
            Difference::Rows {
                table, expected, ..
            } => Some(if expected.is_some() {
                format!("table {table} is missing after the restore")
            } else {
                format!("table {table} is not in the backup")
            }),
            Difference::Content { .. } => Some(difference.to_string()),
            Difference::Unexpected(what) | Difference::Changed(what)
                if !comparable && !is_content(what) =>
            {
                passed_over += 1;
                None
            }
            Difference::Missing(what) if !comparable && may_be_implied(what) => {
                passed_over += 1;
                None
            }
            Difference::Missing(what) => Some(format!("{what} is missing after the restore")),
            Difference::Unexpected(what) => Some(format!("{what} is not in the backup")),
            Difference::Changed(what) => Some(format!("{what} differs after the restore")),
        })
        .collect();
    // Of a table, both its rows and itself.
    let mut seen = BTreeSet::new();
    named.retain(|sentence| seen.insert(sentence.clone()));
    (named, passed_over)
}

/// Large objects, and the values of sequences, are written alike by all versions.
fn is_content(what: &str) -> bool {
    what.contains("large object") || what.starts_with("the value of sequence ")
}

/// What `pg_dump` writes only where it differs from what the server makes by itself, which a newer
/// version may do otherwise; and the frame around large objects.
fn may_be_implied(what: &str) -> bool {
    [
        "blobs BLOBS",
        "the access list of ",
        "default acl ",
        "schema public",
        "the comment on SCHEMA public",
    ]
    .iter()
    .any(|words| what.starts_with(words))
}

/// The lines of a program's words that are errors: those beside them may show rows.
pub(super) fn errors_in(said: &str) -> String {
    let lines: Vec<&str> = said
        .lines()
        .filter(|line| {
            line.contains("ERROR:") || line.contains("FATAL:") || line.contains("error:")
        })
        .take(3)
        .collect();
    if lines.is_empty() {
        return said.lines().next().unwrap_or("it said nothing").to_owned();
    }
    lines.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_say_what_the_backup_has_and_what_came_back() {
        let rows = |expected, found| Difference::Rows {
            table: "public.orders".to_owned(),
            expected,
            found,
        };
        let differences = [
            rows(Some(1_204_338), Some(1_204_337)),
            rows(Some(1), None),
            rows(None, Some(1)),
            Difference::Missing("index a".to_owned()),
            Difference::Changed("large object 7".to_owned()),
        ];
        let (named, passed_over) = in_words(&differences, true);
        assert_eq!(
            named,
            [
                "public.orders: 1,204,338 rows in the backup, 1,204,337 restored",
                "table public.orders is missing after the restore",
                "table public.orders is not in the backup",
                "index a is missing after the restore",
                "large object 7 differs after the restore",
            ]
        );
        assert_eq!(passed_over, 0);
        let (named, passed_over) = in_words(&differences, false);
        // The index is missing in any version's words.
        assert_eq!((named.len(), passed_over), (5, 0));
        let differences = [
            Difference::Changed("view v".to_owned()),
            Difference::Unexpected("constraint c".to_owned()),
            Difference::Missing("the access list of SCHEMA public".to_owned()),
            Difference::Changed("the value of sequence s".to_owned()),
        ];
        assert_eq!(in_words(&differences, true).0.len(), 4);
        let (named, passed_over) = in_words(&differences, false);
        assert_eq!(named, ["the value of sequence s differs after the restore"]);
        assert_eq!(passed_over, 3);
    }

    #[test]
    fn of_what_a_program_said_only_errors_are_told() {
        let said = "psql:<stdin>:9: ERROR:  duplicate key\nDETAIL:  Key (card)=(4711) exists.\n\
                    CONTEXT:  COPY cards, line 2";
        assert_eq!(errors_in(said), "psql:<stdin>:9: ERROR:  duplicate key");
        assert_eq!(errors_in(""), "it said nothing");
    }

    #[test]
    fn a_version_is_read_as_the_manifest_has_it() {
        assert_eq!(major_of("15.18 (Debian 15.18-0+deb12u1)"), Some(15));
        assert_eq!(major_of("18beta1"), Some(18));
        assert_eq!(major_of(""), None);
    }
}
