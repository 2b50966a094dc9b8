//! Which libraries a temporary cluster has to load when it starts, for a backup to load. Pure.

use std::collections::BTreeSet;

use crate::postgres::{DatabaseProperties, library_name, package_of};

/// Extensions that are made in a server that has loaded their library, and in no other. Whoever has one
/// of them has a server that preloads it, also where the manifest does not say so.
const MUST_BE_PRELOADED: &[&str] = &["citus", "pg_cron", "pgaudit", "pglogical"];

/// Extensions whose dumps cannot be loaded as they are, and why.
const NOT_AS_THEY_ARE: &[(&str, &str)] = &[(
    // "Logical backup" in TimescaleDB's documentation.
    "timescaledb",
    "its dumps load between timescaledb_pre_restore() and timescaledb_post_restore() only, which are \
     not called here",
)];

/// The libraries to load: of those that the dumped server loads, whatever has functions of the
/// database, or the name of an extension or of a provider of labels; and those of the configuration.
///
/// All others stay away: what they look at or forbid is no part of the database.
pub(super) fn libraries(
    properties: &DatabaseProperties,
    recorded: Option<&[String]>,
    label_providers: &BTreeSet<String>,
    configured: &[String],
) -> Vec<String> {
    let extensions = properties.extensions.iter();
    let extensions: BTreeSet<&str> = extensions.map(|one| one.name.as_str()).collect();
    let functions = properties.libraries.iter();
    let functions: BTreeSet<&str> = functions.map(|one| library_name(one)).collect();
    let is_needed = |name: &str| {
        extensions.contains(name) || functions.contains(name) || label_providers.contains(name)
    };
    let recorded = recorded.unwrap_or_default().iter();
    let of_the_server = recorded
        .map(|one| library_name(one))
        .filter(|name| is_needed(name));
    let without_saying = MUST_BE_PRELOADED
        .iter()
        .copied()
        .filter(|name| extensions.contains(name));
    let configured = configured.iter().map(String::as_str);
    let mut libraries: Vec<String> = Vec::new();
    // In the server's order: some want to be the first.
    for name in of_the_server.chain(without_saying).chain(configured) {
        if !libraries.iter().any(|one| one == name) {
            libraries.push(name.to_owned());
        }
    }
    libraries
}

/// Why a backup cannot be tried whatever is installed, if so.
pub(super) fn hindrance(properties: &DatabaseProperties) -> Option<String> {
    let mut extensions = properties.extensions.iter();
    extensions.find_map(|extension| {
        let (name, why) = NOT_AS_THEY_ARE
            .iter()
            .find(|(name, _)| *name == extension.name)?;
        Some(format!("it has the extension {name}: {why}"))
    })
}

/// Extensions or libraries that are not installed, each with the package to install where that is known.
pub(super) fn with_packages<'a>(
    missing: impl IntoIterator<Item = (&'a str, String)>,
    major: u32,
) -> String {
    let named: Vec<String> = missing
        .into_iter()
        .map(|(name, shown)| match package_of(name, major) {
            Some(package) => format!("{shown} (Debian's package {package})"),
            None => shown,
        })
        .collect();
    named.join(", ")
}

/// What to do about a library that a server was to load and that nobody has named.
pub(super) fn way_out(recorded: Option<&[String]>) -> &'static str {
    if recorded.is_some() {
        "name its library in drill.preload"
    } else {
        "the manifest does not say what the dumped server loads when it starts, because the user of \
         the backup may not read that (GRANT pg_read_all_settings) or the backup is an older one: \
         name its library in drill.preload"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::Extension;

    fn properties(extensions: &[&str], libraries: &[&str]) -> DatabaseProperties {
        let extension = |name: &&str| Extension {
            name: (*name).to_owned(),
            version: "1.0".to_owned(),
            schema: "public".to_owned(),
            owner: None,
        };
        DatabaseProperties {
            extensions: extensions.iter().map(extension).collect(),
            libraries: libraries.iter().map(ToString::to_string).collect(),
            ..crate::jobs::drill::placeholders::tests::properties("o")
        }
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_the_database_needs_is_loaded_and_nothing_else_of_what_its_server_loads() {
        // Extensions; libraries of functions; what the server loads; the configuration; what comes of it.
        type Names = &'static [&'static str];
        let table: [(Names, Names, Option<Names>, Names, Names); 8] = [
            (
                &["plpgsql"],
                &["$libdir/plpgsql"],
                Some(&["auto_explain"]),
                &[],
                &[],
            ),
            (
                &["pg_stat_statements", "plpgsql"],
                &[],
                Some(&["auto_explain", "$libdir/pg_stat_statements"]),
                &[],
                &["pg_stat_statements"],
            ),
            (
                &["acme_types"],
                &["$libdir/acme-2", "$libdir/plpgsql"],
                Some(&["set_user", "/opt/acme/acme-2.so"]),
                &[],
                &["acme-2"],
            ),
            // The server's order, and the configuration's after it.
            (
                &["a", "b"],
                &[],
                Some(&["b", "a"]),
                &["c", "a"],
                &["b", "a", "c"],
            ),
            // What the manifest does not say, and could not be otherwise.
            (
                &["pg_cron", "pgaudit"],
                &[],
                None,
                &[],
                &["pg_cron", "pgaudit"],
            ),
            (&["pg_cron"], &[], Some(&[]), &[], &["pg_cron"]),
            (&["pg_stat_statements"], &[], None, &[], &[]),
            (&[], &[], None, &["mine"], &["mine"]),
        ];
        for (extensions, functions, recorded, configured, expected) in table {
            let recorded = recorded.map(names);
            assert_eq!(
                libraries(
                    &properties(extensions, functions),
                    recorded.as_deref(),
                    &BTreeSet::new(),
                    &names(configured)
                ),
                expected,
                "{extensions:?} {functions:?} {recorded:?} {configured:?}"
            );
        }
        let providers = BTreeSet::from(["anon".to_owned()]);
        let loaded = names(&["pg_cron", "anon"]);
        let found = libraries(&properties(&[], &[]), Some(&loaded), &providers, &[]);
        assert_eq!(found, ["anon"]);
    }

    #[test]
    fn a_dump_that_cannot_be_loaded_as_it_is_is_not_tried() {
        assert_eq!(hindrance(&properties(&["pg_cron"], &[])), None);
        let sentence = hindrance(&properties(&["plpgsql", "timescaledb"], &[])).unwrap();
        assert!(sentence.contains("timescaledb_pre_restore()"), "{sentence}");
    }

    #[test]
    fn packages_are_named_where_they_are_known() {
        let missing = [
            ("pg_cron", "pg_cron 1.4".to_owned()),
            ("mine", "mine".to_owned()),
        ];
        assert_eq!(
            with_packages(missing, 16),
            "pg_cron 1.4 (Debian's package postgresql-16-cron), mine"
        );
    }
}
