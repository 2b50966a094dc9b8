//! Settings that a dump makes for its own loading and that not every server knows: a newer `pg_dump` writes
//! them for older servers too. Without them nothing else is loaded, for the server has nothing that they
//! could change.

/// Such a setting, and the first major version of a server that knows it (`_doSetFixedOutputState` in
/// `PostgreSQL`'s `pg_backup_archiver.c`).
const SINCE: [(&[u8], u32); 1] = [(b"transaction_timeout", 17)];

/// Whether a server of this major version knows a setting that a dump makes.
pub fn is_known(setting: &[u8], server_major: u32) -> bool {
    SINCE
        .iter()
        .all(|(name, since)| *name != setting || server_major >= *since)
}

/// Whether a server of this major version knows every setting that programs of another version write into
/// a dump.
pub fn are_all_known(written_by: u32, server_major: u32) -> bool {
    let mut since = SINCE.iter().map(|(_, since)| *since);
    since.all(|since| written_by < since || server_major >= since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_came_later_than_the_server_is_unknown_to_it() {
        for (setting, server_major, known) in [
            ("transaction_timeout", 16, false),
            ("transaction_timeout", 17, true),
            ("statement_timeout", 14, true),
            ("default_table_access_method", 14, true),
        ] {
            let found = is_known(setting.as_bytes(), server_major);
            assert_eq!(found, known, "{setting} {server_major}");
        }
        for (written_by, server_major, known) in [
            (15, 15, true),
            (16, 14, true),
            (17, 15, false),
            (18, 16, false),
            (18, 17, true),
        ] {
            let found = are_all_known(written_by, server_major);
            assert_eq!(found, known, "{written_by} {server_major}");
        }
    }
}
