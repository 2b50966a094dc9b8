//! The libraries that a server loads when it starts: their names, and the packages they come in.

/// Takes a list of libraries apart, as the setting `shared_preload_libraries` is written: names between
/// commas, in double quotes where they have a comma or a space in them (`SplitDirectoriesString` in
/// `PostgreSQL`'s `varlena.c`).
pub(super) fn library_list(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let mut name = String::new();
        if let Some(quoted) = rest.strip_prefix('"') {
            rest = quoted;
            while let Some((part, after)) = rest.split_once('"') {
                name.push_str(part);
                rest = after;
                // Twice is once.
                let Some(further) = rest.strip_prefix('"') else {
                    break;
                };
                name.push('"');
                rest = further;
            }
            rest = rest.split_once(',').map_or("", |(_, after)| after);
        } else {
            let (part, after) = rest.split_once(',').unwrap_or((rest, ""));
            name.push_str(part.trim_end());
            rest = after;
        }
        if !name.is_empty() {
            names.push(name);
        }
        rest = rest.trim_start();
    }
    names
}

/// The name of a library without its directory and its ending: `pg_cron` for `$libdir/pg_cron`.
pub fn library_name(written: &str) -> &str {
    let name = written.rsplit('/').next().unwrap_or(written);
    name.strip_suffix(".so").unwrap_or(name)
}

/// What Debian's packages for a major version call an extension or library, where that is not its own
/// name with hyphens.
const PACKAGES: &[(&str, &str)] = &[
    ("pg_cron", "cron"),
    ("pg_partman", "partman"),
    ("pg_partman_bgw", "partman"),
    ("pg_repack", "repack"),
    ("pg_similarity", "similarity"),
    ("postgis", "postgis-3"),
    ("postgis_raster", "postgis-3"),
    ("postgis_sfcgal", "postgis-3"),
    ("postgis_topology", "postgis-3"),
    ("postgis_tiger_geocoder", "postgis-3"),
    ("address_standardizer", "postgis-3"),
    ("address_standardizer_data_us", "postgis-3"),
    ("vector", "pgvector"),
];

/// Extensions and libraries that Debian has in packages named like them.
const PACKAGED: &[&str] = &[
    "debversion",
    "hll",
    "hypopg",
    "ip4r",
    "orafce",
    "periods",
    "pgaudit",
    "pglogical",
    "pgrouting",
    "pgtap",
    "pg_qualstats",
    "pg_stat_kcache",
    "pg_wait_sampling",
    "plpgsql_check",
    "plr",
    "prefix",
    "q3c",
    "rum",
    "semver",
    "set_user",
    "tdigest",
    "unit",
    "wal2json",
];

/// The package that has an extension or a library, if that is known: the one of Debian and of
/// `PostgreSQL`'s own repository for it.
pub fn package_of(name: &str, major: u32) -> Option<String> {
    let known = PACKAGES.iter().find(|(one, _)| *one == name);
    let package = match known {
        Some((_, package)) => (*package).to_owned(),
        None => PACKAGED.contains(&name).then(|| name.replace('_', "-"))?,
    };
    Some(format!("postgresql-{major}-{package}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_libraries_is_taken_apart_as_the_server_does_it() {
        for (text, expected) in [
            ("", &[] as &[&str]),
            ("pg_cron", &["pg_cron"]),
            (
                " pg_stat_statements, pg_cron ,pgaudit",
                &["pg_stat_statements", "pg_cron", "pgaudit"],
            ),
            (
                "\"/opt/a, b/x.so\", \"two\"\"quotes\" , $libdir/c",
                &["/opt/a, b/x.so", "two\"quotes", "$libdir/c"],
            ),
            (",\"", &[]),
        ] {
            assert_eq!(library_list(text), expected, "{text}");
        }
    }

    #[test]
    fn a_library_is_known_by_its_name_alone() {
        for (written, name) in [
            ("pg_cron", "pg_cron"),
            ("$libdir/pg_cron", "pg_cron"),
            ("/opt/pgsql/lib/postgis-3.so", "postgis-3"),
            ("timescaledb-2.11.0", "timescaledb-2.11.0"),
        ] {
            assert_eq!(library_name(written), name);
        }
    }

    #[test]
    fn the_package_is_named_where_it_is_known() {
        for (name, package) in [
            ("pg_cron", Some("postgresql-15-cron")),
            ("pg_wait_sampling", Some("postgresql-15-pg-wait-sampling")),
            ("postgis", Some("postgresql-15-postgis-3")),
            ("unheard_of", None),
        ] {
            assert_eq!(package_of(name, 15).as_deref(), package);
        }
    }
}
