//! What deserves a word although a backup succeeds. Pure.

use std::path::Path;

use crate::postgres::Programs;

/// That the programs configured were not fit for the server. Pure.
pub(super) fn passed_over(configured: Option<&Path>, used: &Programs) -> Option<String> {
    let configured = configured.filter(|configured| *configured != used.directory)?;
    Some(format!(
        "no pg_dump that fits the server was found in {} (programs): that of {} was used",
        configured.display(),
        used.directory.display()
    ))
}

/// What to say of a connection by which the server does not get what its sessions ask for.
pub(super) const POOLED: &str = "the connection leads through a connection pooler, which keeps from the \
    server what a dump asks for at its start: settings of the role or the database can stop or change a \
    dump. Set host and port of the connection to the server's own";

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
    use super::forecast;

    const GIB: u64 = 1 << 30;

    #[test]
    fn a_backup_that_may_not_fit_is_foretold() {
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
