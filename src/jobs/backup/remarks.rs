//! What deserves a word although a backup succeeds. Pure.

use std::path::Path;

use crate::postgres::{LeftOut, LeftOutKind, ProgramVersion, Programs};

/// That the programs configured were not fit for the server. Pure.
pub(super) fn passed_over(configured: Option<&Path>, used: &Programs) -> Option<String> {
    let configured = configured.filter(|configured| *configured != used.directory)?;
    Some(format!(
        "no pg_dump that matches the server was found in {} (programs): that of {} was used",
        configured.display(),
        used.directory.display()
    ))
}

/// What to say of a connection by which the server does not get what its sessions ask for.
pub(super) const POOLED: &str = "the connection goes through a connection pooler, which drops the \
    settings that a dump sets at its start; settings of the role or the database can stop or change the \
    dump. Set host and port of the connection to the server's own";

/// That the dump was made by a `pg_dump` of another release than the server's own: of a newer major version,
/// or of an older minor release, which may not know what the server keeps. Pure.
pub(super) fn other_release(server: u32, pg_dump: &ProgramVersion) -> Option<String> {
    let (major, minor) = (server / 10_000, server % 10_000);
    let own = format!("{major}.{minor}");
    let of_pg_dump = &pg_dump.text;
    if pg_dump.major > major {
        return Some(format!(
            "pg_dump {of_pg_dump} is newer than the server, which is PostgreSQL {own}: install \
             postgresql-client-{major}, or an archive can be read only by pg_restore {} and newer",
            pg_dump.major
        ));
    }
    let is_older = pg_dump.major == major && pg_dump.minor()? < minor;
    is_older.then(|| {
        format!(
            "pg_dump {of_pg_dump} is older than the server, which is PostgreSQL {own}: upgrade \
             postgresql-client-{major}, or the dump may hold what no server loads"
        )
    })
}

/// Whether a remark of `pg_dump`'s says again what is known to be left out. Pure.
pub(super) fn says_again(remark: &str, left_out: &[LeftOut]) -> bool {
    const NO_SUBSCRIPTIONS: &str = "pg_dump reported: pg_dump: warning: subscriptions not dumped because \
                                    current user is not a superuser";
    let is_named = |one: &LeftOut| one.what == LeftOutKind::Subscriptions;
    remark == NO_SUBSCRIPTIONS && left_out.iter().any(is_named)
}

/// What the free space, in bytes, makes of the next backup, judged by the last one. Pure.
pub(super) fn forecast(free: u64, wanted: u64, last: Option<u64>) -> Option<String> {
    let size = |bytes: u64| bytesize::ByteSize::b(bytes).display().iec();
    if let Some(last) = last
        && last > free
    {
        return Some(format!(
            "the last backup took {}, and only {} are free: this one may not fit",
            size(last),
            size(free)
        ));
    }
    (free < wanted).then(|| {
        format!(
            "only {} are free in the backup directory, less than limits.free_space asks for ({})",
            size(free),
            size(wanted)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::{ProgramVersion, forecast, other_release};

    const GIB: u64 = 1 << 30;

    #[test]
    fn a_pg_dump_of_another_release_is_remarked_on_where_that_can_matter() {
        for (server, major, text, expected) in [
            (150_018, 15, "15.18 (Debian 15.18-0+deb12u1)", None),
            (150_018, 15, "15.20", None),
            (150_020, 15, "15.18", Some("pg_dump 15.18 is older")),
            (150_018, 17, "17.11", Some("pg_dump 17.11 is newer")),
            (180_000, 18, "18beta1", None),
            (180_001, 18, "18beta1", None),
            (180_010, 18, "18.9", Some("pg_dump 18.9 is older")),
        ] {
            let text = text.to_owned();
            let found = other_release(server, &ProgramVersion { major, text });
            let found = found.as_deref();
            match expected {
                None => assert_eq!(found, None),
                Some(start) => assert!(found.unwrap().starts_with(start), "{found:?}"),
            }
        }
    }

    #[test]
    fn a_backup_that_may_not_fit_is_predicted() {
        for (free, wanted, last, warned) in [
            (20 * GIB, 10 * GIB, None, None),
            (20 * GIB, 10 * GIB, Some(GIB), None),
            (
                5 * GIB,
                10 * GIB,
                None,
                Some("only 5.0 GiB are free in the backup directory"),
            ),
            (
                5 * GIB,
                10 * GIB,
                Some(6 * GIB),
                Some("the last backup took 6.0 GiB, and only 5.0 GiB"),
            ),
            (
                5 * GIB,
                GIB,
                Some(6 * GIB),
                Some("the last backup took 6.0 GiB"),
            ),
        ] {
            let found = forecast(free, wanted, last);
            match warned {
                None => assert_eq!(found, None),
                Some(start) => assert!(found.unwrap().starts_with(start)),
            }
        }
    }
}
