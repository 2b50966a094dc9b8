//! The names of databases that stand next to the one that is restored. Pure.
//!
//! ```text
//! app_restoring_20250709_143000         being loaded
//! app_before_restore_20250709_143000    what bore the name before
//! app_undone_20250709_150000            a restore that was undone
//! ```

use std::collections::BTreeMap;

use chrono::{DateTime, FixedOffset, NaiveDateTime};
use xxhash_rust::xxh3::xxh3_64;

use crate::postgres::Standing;

/// The longest name of a database, in bytes (`NAMEDATALEN` less one).
const LONGEST: usize = 63;

/// How a time stamp is written.
const TIME: &str = "%Y%m%d_%H%M%S";

/// The bytes of a time stamp, and of a count behind it.
const TIME_AND_COUNT: usize = 15 + 3;

/// What a database next to another one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::jobs) enum SideName {
    /// It is being loaded.
    Restoring,
    /// It bore the name before.
    Before,
    /// It bore the name until a restore was undone.
    Undone,
}

impl SideName {
    fn word(self) -> &'static str {
        match self {
            Self::Restoring => "_restoring_",
            Self::Before => "_before_restore_",
            Self::Undone => "_undone_",
        }
    }

    /// What the names of all such databases begin with. A name that would become too long is cut
    /// between letters, and a hash of all of it keeps two such names apart.
    fn prefix(self, database: &str) -> String {
        let room = LONGEST - self.word().len() - TIME_AND_COUNT;
        if database.len() <= room {
            return format!("{database}{}", self.word());
        }
        let hash = format!("~{:08x}", xxh3_64(database.as_bytes()) >> 32);
        let mut end = room - hash.len();
        while !database.is_char_boundary(end) {
            end -= 1;
        }
        format!("{}{hash}{}", &database[..end], self.word())
    }

    /// A name that no database has yet.
    pub(in crate::jobs) fn name<T>(
        self,
        database: &str,
        at: DateTime<FixedOffset>,
        taken: &BTreeMap<String, T>,
    ) -> String {
        let name = format!("{}{}", self.prefix(database), at.naive_local().format(TIME));
        if !taken.contains_key(&name) {
            return name;
        }
        // Nobody restores a database a hundred times in a second.
        (2..100)
            .map(|count| format!("{name}_{count}"))
            .find(|name| !taken.contains_key(name))
            .unwrap_or(name)
    }

    /// Whether a name is one of those that stand next to a database in this way.
    pub(in crate::jobs) fn is(self, name: &str, database: &str) -> bool {
        name.strip_prefix(&self.prefix(database))
            .is_some_and(|rest| order(rest).is_some())
    }

    /// The newest of these databases that stands next to another one in this way.
    pub(in crate::jobs) fn newest<T>(
        self,
        database: &str,
        all: &BTreeMap<String, T>,
    ) -> Option<String> {
        let prefix = self.prefix(database);
        all.keys()
            .filter_map(|name| Some((order(name.strip_prefix(&prefix)?)?, name)))
            .max()
            .map(|(_, name)| name.clone())
    }
}

/// The names of the databases that a restore of a whole database makes and leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::jobs) struct Names {
    /// It is loaded into this one.
    pub(in crate::jobs) loads_into: String,
    /// In this one definitions are compared.
    pub(in crate::jobs) compares_with: String,
    /// The database that bore the name before gets this one.
    pub(in crate::jobs) keeps_as: String,
}

impl Names {
    /// Names that no database has yet.
    pub(in crate::jobs) fn free(
        database: &str,
        at: DateTime<FixedOffset>,
        taken: &BTreeMap<String, Standing>,
    ) -> Self {
        let loads_into = SideName::Restoring.name(database, at, taken);
        let mut all = taken.clone();
        all.insert(loads_into.clone(), Standing::default());
        Self {
            compares_with: SideName::Restoring.name(database, at, &all),
            keeps_as: SideName::Before.name(database, at, taken),
            loads_into,
        }
    }
}

/// The comment on a database that is being restored, by which a later restore of the same one knows
/// what a killed one left.
pub(in crate::jobs) fn mark(host: &str, database: &str) -> String {
    format!("pgbackupd on {host} restores {database:?} here")
}

/// When, and the how manieth of that second; none if it is no time stamp.
fn order(text: &str) -> Option<(NaiveDateTime, u32)> {
    let (time, count) = match text.get(15..)? {
        "" => (text, 1),
        rest => (&text[..15], rest.strip_prefix('_')?.parse().ok()?),
    };
    Some((NaiveDateTime::parse_from_str(time, TIME).ok()?, count))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at() -> DateTime<FixedOffset> {
        DateTime::parse_from_rfc3339("2025-07-09T14:30:00+03:00").unwrap()
    }

    fn all(names: &[&str]) -> BTreeMap<String, u8> {
        names.iter().map(|name| ((*name).to_owned(), 0)).collect()
    }

    #[test]
    fn a_database_s_neighbours_bear_its_name_and_a_time() {
        let none = all(&[]);
        for (kind, name) in [
            (SideName::Restoring, "app_restoring_20250709_143000"),
            (SideName::Before, "app_before_restore_20250709_143000"),
            (SideName::Undone, "app_undone_20250709_143000"),
        ] {
            assert_eq!(kind.name("app", at(), &none), name);
        }
        let taken = all(&[
            "app_before_restore_20250709_143000",
            "app_before_restore_20250709_143000_2",
        ]);
        assert_eq!(
            SideName::Before.name("app", at(), &taken),
            "app_before_restore_20250709_143000_3"
        );
    }

    #[test]
    fn the_newest_is_found_and_nobody_else_s() {
        let databases = all(&[
            "app",
            "app_before_restore_20250709_143000",
            "app_before_restore_20250709_143000_2",
            "app_before_restore_20250708_235959",
            "app_before_restore_2026",
            "app_before_restore_20250709_143000_x",
            "app_before_restore_20990101_000000_before_restore_20250709_143000",
            "app2_before_restore_20990101_000000",
            "app_undone_20990101_000000",
        ]);
        assert_eq!(
            SideName::Before.newest("app", &databases).as_deref(),
            Some("app_before_restore_20250709_143000_2")
        );
        assert_eq!(SideName::Before.newest("ap", &databases), None);
        assert!(SideName::Restoring.is("app_restoring_20250709_143000_2", "app"));
        for other in [
            "app",
            "app_restoring_",
            "app_restoring_x",
            "app_undone_20250709_143000",
        ] {
            assert!(!SideName::Restoring.is(other, "app"), "{other}");
        }
    }

    #[test]
    fn two_long_names_share_no_neighbour() {
        let (one, other) = ("x".repeat(63), format!("{}y", "x".repeat(62)));
        let none = all(&[]);
        assert_ne!(
            SideName::Before.name(&one, at(), &none),
            SideName::Before.name(&other, at(), &none)
        );
    }

    proptest! {
        #[test]
        fn every_name_fits_and_is_found_again(name in "\\PC{1,63}") {
            prop_assume!(name.len() <= LONGEST);
            for kind in [SideName::Restoring, SideName::Before, SideName::Undone] {
                let mut taken = all(&[]);
                let first = kind.name(&name, at(), &taken);
                taken.insert(first.clone(), 0);
                let second = kind.name(&name, at(), &taken);
                taken.insert(second.clone(), 0);
                prop_assert!(first.len() <= LONGEST && second.len() <= LONGEST);
                prop_assert_eq!(kind.newest(&name, &taken), Some(second));
            }
        }
    }
}
