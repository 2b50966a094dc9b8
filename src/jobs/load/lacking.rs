//! What a machine lacks for a dump, by what PostgreSQL's programs say.

/// How libraries say that they want to be loaded when a server starts.
const WANTING_TO_BE_PRELOADED: [&str; 3] = [
    "via shared_preload_libraries",
    "must be preloaded",
    "is not in shared_preload_libraries",
];

/// What is lacking then.
pub(in crate::jobs) const NOT_PRELOADED: &str = "an extension must be loaded when a server starts \
    (shared_preload_libraries), and the temporary cluster has not loaded it";

/// The messages of what lacks something of this machine, and what that is.
const LACKS: &[(&[&str], &str)] = &[
    (
        &[
            "ERROR:  time zone \"",
            "invalid value for parameter \"TimeZone\"",
        ],
        "a time zone is not installed on this machine",
    ),
    (
        &["No space left on device", "Disk quota exceeded"],
        "the disk of the temporary cluster is full",
    ),
    (
        &["out of memory", "out of shared memory"],
        "the temporary cluster ran out of memory",
    ),
    // Before what may stand in its details: how the connection failed.
    (
        &[
            "ERROR:  could not connect to server \"",
            "ERROR:  could not establish connection",
        ],
        "it reads from another server while it is loaded, which the temporary cluster cannot reach",
    ),
    // The server calls its own files by paths from its data directory.
    (
        &[
            "ERROR:  could not open file \"/",
            "ERROR:  could not stat file \"/",
            "ERROR:  could not open directory \"/",
        ],
        "it reads files of the server's machine while it is loaded, which the temporary cluster cannot",
    ),
    (
        &[
            "server closed the connection unexpectedly",
            "connection to server",
            "no connection to the server",
            "terminating connection",
        ],
        "the temporary cluster ended",
    ),
    (
        &["could not open extension control file", "is not available"],
        "an extension is not installed on this machine",
    ),
    (
        &["cannot open shared object file: Permission denied"],
        "a library of functions is where the temporary cluster may not read",
    ),
    (
        &["incompatible library \""],
        "a library of functions that is installed on this machine was made for another PostgreSQL",
    ),
    (
        &[
            "could not access file \"",
            "could not load library \"",
            "could not find function \"",
        ],
        "a library of functions is not installed on this machine",
    ),
    (&WANTING_TO_BE_PRELOADED, NOT_PRELOADED),
    (
        &[
            "could not open dictionary file \"",
            "could not open affix file \"",
            "could not open stop-word file \"",
            "could not open synonym file \"",
            "could not open thesaurus file \"",
            "could not open unaccent file \"",
        ],
        "a file of a text search dictionary is not installed on this machine",
    ),
    (
        &[
            "unsupported XML feature",
            "requires the server to be built with",
        ],
        "the server on this machine was built without a feature",
    ),
    (
        &[
            "could not create locale \"",
            "could not open collator for locale",
            "invalid locale name",
            "is not supported in this build",
            "is not supported by this build",
            "ICU is not supported",
        ],
        "a locale is not installed on this machine",
    ),
];

/// What of this machine kept a dump from being loaded, judged by the messages of what the program
/// printed; none when it was the dump itself. The words are those of `PostgreSQL`'s messages (with `lc_messages` C).
pub(in crate::jobs) fn lacking(detail: &str) -> Option<&'static str> {
    LACKS.iter().find_map(|(words, what)| {
        words
            .iter()
            .any(|word| detail.contains(word))
            .then_some(*what)
    })
}

#[cfg(test)]
mod tests {
    use super::lacking;

    #[test]
    fn what_the_machine_lacks_is_reported_from_what_is_wrong_with_the_dump() {
        for (detail, of_the_machine) in [
            (
                "psql:<stdin>:20: ERROR:  could not extend file \"base/1/2\": No space left on device",
                true,
            ),
            (
                "ERROR:  could not open extension control file \"/usr/share/postgresql/15/extension/postgis.control\": No such file or directory",
                true,
            ),
            ("ERROR:  extension \"postgis\" is not available", true),
            (
                "ERROR:  could not access file \"$libdir/mine\": No such file or directory",
                true,
            ),
            ("server closed the connection unexpectedly", true),
            (
                "ERROR:  could not create locale \"xx_XX\": No such file",
                true,
            ),
            (
                "ERROR:  pg_cron can only be loaded via shared_preload_libraries",
                true,
            ),
            ("ERROR:  pglogical is not in shared_preload_libraries", true),
            (
                "ERROR:  unrecognized configuration parameter \"app.tenant\"",
                false,
            ),
            (
                "ERROR:  could not open dictionary file \"/usr/share/postgresql/15/tsearch_data/xx.dict\": No such file or directory",
                true,
            ),
            ("ERROR:  time zone \"US/Pacific\" not recognized", true),
            ("ERROR:  unsupported XML feature", true),
            (
                "psql:<stdin>:91: ERROR:  could not open file \"/srv/rates.csv\" for reading: Permission denied",
                true,
            ),
            (
                "ERROR:  incompatible library \"/opt/f.so\": version mismatch",
                true,
            ),
            (
                "pg_restore: error: could not open input file \"x.dir/1.dat.gz\": No such file or directory",
                false,
            ),
            ("ERROR:  syntax error at or near \"CREAT\"", false),
            (
                "ERROR:  insert or update on table \"a\" violates foreign key constraint \"f\"",
                false,
            ),
            (
                "ERROR:  invalid input syntax for type integer: \"x\"",
                false,
            ),
            ("ERROR:  role \"reader\" does not exist", false),
        ] {
            assert_eq!(lacking(detail).is_some(), of_the_machine, "{detail}");
        }
    }

    #[test]
    fn what_cannot_be_reached_is_reported_apart_from_a_server_that_ended() {
        for (detail, words) in [
            (
                "ERROR:  could not connect to server \"far\"\nDETAIL:  connection to server on socket \"/x\" failed",
                "another server",
            ),
            (
                "ERROR:  could not establish connection\nDETAIL:  connection to server at \"db\" failed",
                "another server",
            ),
            (
                "psql: error: connection to server on socket \"/x\" failed: No such file or directory",
                "the temporary cluster ended",
            ),
            (
                "ERROR:  could not load library \"/opt/f.so\": /opt/f.so: cannot open shared object file: Permission denied",
                "may not read",
            ),
            (
                "ERROR:  could not access file \"$libdir/f\": No such file or directory",
                "not installed",
            ),
        ] {
            let lack = lacking(detail).unwrap_or_default();
            assert!(lack.contains(words), "{detail}: {lack}");
        }
    }
}
