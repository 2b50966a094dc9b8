//! What the differences between a backup and its restored copy mean, in words. Pure.

use std::collections::BTreeSet;

use crate::display::{count, counted};
use crate::jobs::proof::{ComparisonLevel, major_of};
use crate::pipeline::census::Difference;
use crate::postgres::Programs;
use crate::repository::Manifest;

/// How closely a dump of the restored database can be compared with the backup. Where versions differ,
/// objects are looked for by their names, also in a version for which nobody has shown that it uses the
/// same ones: in a test restore a false alarm costs less than a false peace.
pub(super) fn comparison_level(manifest: &Manifest, programs: &Programs) -> ComparisonLevel {
    let pg_dump = major_of(&manifest.pg_dump).unwrap_or_default();
    match ComparisonLevel::between(
        [manifest.server.major(), pg_dump],
        [programs.version.major; 2],
    ) {
        ComparisonLevel::Text => ComparisonLevel::Text,
        ComparisonLevel::Names | ComparisonLevel::Listed | ComparisonLevel::Rows => {
            ComparisonLevel::Names
        }
    }
}

/// What it is about the version of the temporary cluster that is worth a word; none if everything can be
/// compared.
pub(super) fn about_the_version(manifest: &Manifest, programs: &Programs) -> Option<String> {
    let (server, major) = (manifest.server.major(), programs.version.major);
    let dumped_by = major_of(&manifest.pg_dump).unwrap_or(server);
    let how = if comparison_level(manifest, programs) == ComparisonLevel::Text {
        return None;
    } else if major == server {
        format!("dumped by pg_dump {dumped_by} and restored into PostgreSQL {major}")
    } else {
        format!(
            "restored into PostgreSQL {major}, because none of version {server} is installed here"
        )
    };
    Some(format!(
        "{how}: definitions were compared with what PostgreSQL {major} makes of the backup's own"
    ))
}

/// The differences in sentences. Pure.
pub(super) fn display_differences(differences: &[Difference]) -> Vec<String> {
    let mut named: Vec<String> = differences
        .iter()
        .map(|difference| match difference {
            Difference::Rows {
                table,
                expected: Some(expected),
                found: Some(found),
            } => format!(
                "{table}: {} in the backup, {} restored",
                counted(*expected, "row", "rows"),
                count(*found)
            ),
            Difference::Rows {
                table, expected, ..
            } if expected.is_some() => format!("table {table} is missing after the restore"),
            Difference::Rows { table, .. } => format!("table {table} is not in the backup"),
            Difference::Content { .. } => difference.to_string(),
            Difference::Missing(what) => format!("{what} is missing after the restore"),
            Difference::Unexpected(what) => format!("{what} is not in the backup"),
            Difference::Changed(what) | Difference::Definition(what) => {
                format!("{what} differs after the restore")
            }
            Difference::Owner(what) => format!("the owner of {what} differs after the restore"),
        })
        .collect();
    // Of a table, both its rows and itself.
    let mut seen = BTreeSet::new();
    named.retain(|sentence| seen.insert(sentence.clone()));
    named
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
            Difference::Definition("view v".to_owned()),
            Difference::Owner("view w".to_owned()),
        ];
        assert_eq!(
            display_differences(&differences),
            [
                "public.orders: 1,204,338 rows in the backup, 1,204,337 restored",
                "table public.orders is missing after the restore",
                "table public.orders is not in the backup",
                "index a is missing after the restore",
                "large object 7 differs after the restore",
                "view v differs after the restore",
                "the owner of view w differs after the restore",
            ]
        );
    }
}
